//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): challenges and credentials, read and printed, and the response.

use std::borrow::Cow;
use std::fmt;

use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::text::{is_space, quoted, split_once, trim, trim_start, unescape};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// `None` for algorithms we do not offer, the `-sess` ones among them.
    pub fn from_bytes(token: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|known| token.eq_ignore_ascii_case(known.as_str().as_bytes()))
    }

    /// The hash of the parts joined by `:`.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Self::Md5 => Hex::new(&joined::<Md5>(parts)),
            Self::Sha256 => Hex::new(&joined::<Sha256>(parts)),
        }
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize()
}

/// A hash in lower-case hexadecimal, as it is on the wire. Compares in constant time.
#[derive(Clone, Copy)]
pub struct Hex {
    digits: [u8; 64],
    length: u8,
}

impl Hex {
    /// Of a hash of 16 or 32 bytes.
    pub fn new(hash: &[u8]) -> Self {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            }
        }
        Self { digits, length: u8::try_from(hash.len() * 2).unwrap_or(64).min(64) }
    }

    /// From configuration: 32 or 64 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let good = matches!(text.len(), 32 | 64) && text.iter().all(u8::is_ascii_hexdigit);
        let mut hex = Self { digits: [0; 64], length: u8::try_from(text.len()).ok()? };
        hex.digits.iter_mut().zip(text).for_each(|(digit, byte)| *digit = byte.to_ascii_lowercase());
        good.then_some(hex)
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// True when `text` is this hash, in any case; takes as long for a near miss as for a far one.
    pub fn matches(&self, text: &[u8]) -> bool {
        same_secret(self.as_bytes(), &text.to_ascii_lowercase())
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

impl fmt::Debug for Hex {
    /// It may be an HA1: as good as a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hex(…)")
    }
}

/// Equality whose time does not depend on where two texts of one length differ.
pub fn same_secret(one: &[u8], two: &[u8]) -> bool {
    one.ct_eq(two).into()
}

/// `H(user:realm:password)` (RFC 7616 §3.4.2).
pub fn ha1(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Hex {
    algorithm.hash(&[user, realm, password])
}

/// What `qop=auth` adds to the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qop<'a> {
    /// Eight hexadecimal digits, as written.
    pub nc: Cow<'a, [u8]>,
    pub cnonce: Cow<'a, [u8]>,
}

impl Qop<'_> {
    /// The use count of the nonce, for replay protection.
    pub fn count(&self) -> Option<u32> {
        u32::from_str_radix(std::str::from_utf8(&self.nc).ok()?, 16).ok()
    }
}

/// The `response` of RFC 7616 §3.4.1; without `qop`, that of RFC 2069.
pub fn response(
    algorithm: Algorithm,
    ha1: &Hex,
    nonce: &[u8],
    qop: Option<&Qop<'_>>,
    method: &[u8],
    uri: &[u8],
) -> Hex {
    let ha2 = algorithm.hash(&[method, uri]);
    match qop {
        Some(qop) => algorithm.hash(&[ha1.as_bytes(), nonce, &qop.nc, &qop.cnonce, b"auth", ha2.as_bytes()]),
        None => algorithm.hash(&[ha1.as_bytes(), nonce, ha2.as_bytes()]),
    }
}

/// A WWW-Authenticate or Proxy-Authenticate value; prints with `qop="auth"` when `qop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    pub realm: Cow<'a, [u8]>,
    pub nonce: Cow<'a, [u8]>,
    pub opaque: Option<Cow<'a, [u8]>>,
    /// MD5 when not given. `None` when it is one we do not know: pass over this challenge.
    pub algorithm: Option<Algorithm>,
    pub stale: bool,
    /// `auth` is among the offered qualities of protection; else none is offered (RFC 2069).
    pub qop: bool,
}

/// An Authorization or Proxy-Authorization value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub username: Cow<'a, [u8]>,
    pub realm: Cow<'a, [u8]>,
    pub nonce: Cow<'a, [u8]>,
    pub uri: Cow<'a, [u8]>,
    pub response: Cow<'a, [u8]>,
    /// MD5 when not given. `None` when it is one we do not know.
    pub algorithm: Option<Algorithm>,
    pub opaque: Option<Cow<'a, [u8]>>,
    /// `None` when the peer uses no `qop` (RFC 2069).
    pub qop: Option<Qop<'a>>,
}

/// Why credentials or a challenge cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestFault {
    #[error("not the Digest scheme")]
    Scheme,
    #[error("bad digest parameters")]
    Syntax,
    #[error("no `{0}` in the digest")]
    Missing(&'static str),
    #[error("`{0}` stands twice in the digest")]
    Twice(&'static str),
    #[error("a qop other than `auth`")]
    Qop,
}

/// The known parameters of one value, each at most once; unknown ones are passed over.
struct Fields<'a, const N: usize> {
    names: [&'static str; N],
    found: [Option<Cow<'a, [u8]>>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// `Digest name=value, name="value", …` (RFC 3261 §25.1 `challenge`, `credentials`).
    fn read(names: [&'static str; N], value: &'a [u8]) -> Result<Self, DigestFault> {
        let value = trim(value);
        let gap = value.iter().position(|&byte| is_space(byte)).ok_or(DigestFault::Scheme)?;
        let (scheme, rest) = value.split_at_checked(gap).ok_or(DigestFault::Scheme)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return Err(DigestFault::Scheme);
        }
        Self::parse(names, rest)
    }

    /// `name=value, name="value", …`
    fn parse(names: [&'static str; N], mut rest: &'a [u8]) -> Result<Self, DigestFault> {
        let mut fields = Self { names, found: [const { None }; N] };
        loop {
            rest = trim_start(rest);
            while let Some(more) = rest.strip_prefix(b",") {
                rest = trim_start(more);
            }
            if rest.is_empty() {
                return Ok(fields);
            }
            let (name, after) = split_once(rest, b'=').ok_or(DigestFault::Syntax)?;
            let after = trim_start(after);
            let (value, after) = match quoted(after) {
                Some((inside, after)) => (unescape(inside), trim_start(after)),
                None if after.first() == Some(&b'"') => return Err(DigestFault::Syntax),
                None => {
                    let end = after.iter().position(|&byte| byte == b',').unwrap_or(after.len());
                    let (bare, after) = after.split_at_checked(end).ok_or(DigestFault::Syntax)?;
                    (Cow::Borrowed(trim(bare)), after)
                }
            };
            if !matches!(after.first(), None | Some(b',')) {
                return Err(DigestFault::Syntax);
            }
            fields.put(trim(name), value)?;
            rest = after;
        }
    }

    fn put(&mut self, name: &[u8], value: Cow<'a, [u8]>) -> Result<(), DigestFault> {
        for (known, found) in self.names.iter().zip(&mut self.found) {
            if name.eq_ignore_ascii_case(known.as_bytes()) && found.replace(value.clone()).is_some() {
                return Err(DigestFault::Twice(known));
            }
        }
        Ok(())
    }
}

fn needed<'a>(name: &'static str, value: Option<Cow<'a, [u8]>>) -> Result<Cow<'a, [u8]>, DigestFault> {
    value.ok_or(DigestFault::Missing(name))
}

fn algorithm_of(value: Option<&[u8]>) -> Option<Algorithm> {
    value.map_or(Some(Algorithm::Md5), Algorithm::from_bytes)
}

impl<'a> Challenge<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, DigestFault> {
        let fields = Fields::read(["realm", "nonce", "opaque", "algorithm", "stale", "qop"], value)?;
        let [realm, nonce, opaque, algorithm, stale, qop] = fields.found;
        let is_auth = |one: &[u8]| trim(one).eq_ignore_ascii_case(b"auth");
        let qop = qop.filter(|list| !list.is_empty());
        if qop.as_ref().is_some_and(|list| !list.split(|&byte| byte == b',').any(is_auth)) {
            return Err(DigestFault::Qop);
        }
        Ok(Self {
            realm: needed("realm", realm)?,
            nonce: needed("nonce", nonce)?,
            opaque,
            algorithm: algorithm_of(algorithm.as_deref()),
            stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
            qop: qop.is_some(),
        })
    }

    /// What answering it takes along, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.realm.len() + self.nonce.len() + self.opaque.as_ref().map_or(0, |opaque| opaque.len())
    }
}

impl<'a> Credentials<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, DigestFault> {
        let names = ["username", "realm", "nonce", "uri", "response", "algorithm", "opaque", "qop", "nc", "cnonce"];
        let fields = Fields::read(names, value)?;
        let [username, realm, nonce, uri, response, algorithm, opaque, qop, nc, cnonce] = fields.found;
        let qop = match qop {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                Some(Qop { nc: hex8(needed("nc", nc)?)?, cnonce: needed("cnonce", cnonce)? })
            }
            Some(_) => return Err(DigestFault::Qop),
        };
        Ok(Self {
            username: needed("username", username)?,
            realm: needed("realm", realm)?,
            nonce: needed("nonce", nonce)?,
            uri: needed("uri", uri)?,
            response: needed("response", response)?,
            algorithm: algorithm_of(algorithm.as_deref()),
            opaque,
            qop,
        })
    }

    /// True when whoever made these knew the password behind `ha1`. An unknown algorithm never verifies.
    pub fn verify(&self, ha1: &Hex, method: &[u8]) -> bool {
        let Some(algorithm) = self.algorithm else { return false };
        response(algorithm, ha1, &self.nonce, self.qop.as_ref(), method, &self.uri).matches(&self.response)
    }
}

/// The nonce for the next request, of an Authentication-Info value (RFC 7616 §3.5).
pub fn next_nonce(info: &[u8]) -> Option<Cow<'_, [u8]>> {
    let fields = Fields::parse(["nextnonce"], info).ok()?;
    let [next] = fields.found;
    next.filter(|next| !next.is_empty())
}

/// RFC 7616 §3.4: `nc` is eight hexadecimal digits.
fn hex8(nc: Cow<'_, [u8]>) -> Result<Cow<'_, [u8]>, DigestFault> {
    let good = nc.len() == 8 && nc.iter().all(u8::is_ascii_hexdigit);
    good.then_some(nc).ok_or(DigestFault::Syntax)
}

/// Bytes as a quoted-string; what is no UTF-8 shows as `U+FFFD`, as our own values never are.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for letter in String::from_utf8_lossy(self.0).chars() {
            if matches!(letter, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{letter}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", Quoted(&self.realm), Quoted(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", Quoted(opaque))?;
        }
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.as_str())?;
        }
        f.write_str(if self.stale { ", stale=true" } else { "" })?;
        f.write_str(if self.qop { ", qop=\"auth\"" } else { "" })
    }
}

impl fmt::Display for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest username={}, realm={}", Quoted(&self.username), Quoted(&self.realm))?;
        write!(f, ", nonce={}, uri={}, response={}", Quoted(&self.nonce), Quoted(&self.uri), Quoted(&self.response))?;
        if let Some(algorithm) = self.algorithm {
            write!(f, ", algorithm={}", algorithm.as_str())?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", Quoted(opaque))?;
        }
        match &self.qop {
            Some(qop) => {
                write!(f, ", qop=auth, nc={}, cnonce={}", String::from_utf8_lossy(&qop.nc), Quoted(&qop.cnonce))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use digest_auth::{AuthContext, WwwAuthenticateHeader};

    use super::*;

    /// RFC 7616 §3.9.1.
    const MUFASA: &str = r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=ALG,
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        qop=auth, response="RESPONSE", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

    #[test]
    fn the_vectors_of_rfc_7616() {
        let sha = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        for (algorithm, expected) in [(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"), (Algorithm::Sha256, sha)] {
            let text = MUFASA.replace("ALG", algorithm.as_str()).replace("RESPONSE", expected);
            let credentials = Credentials::parse(text.as_bytes()).unwrap();
            let ha1 = ha1(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
            assert!(credentials.verify(&ha1, b"GET"));
            assert!(!credentials.verify(&ha1, b"POST"));
            let printed = credentials.to_string();
            assert_eq!(Credentials::parse(printed.as_bytes()).unwrap(), credentials);
            assert_eq!(credentials.qop.unwrap().count(), Some(1));
        }
    }

    #[test]
    fn a_stranger_answers_our_challenges() {
        for (algorithm, qop) in
            [(Algorithm::Md5, true), (Algorithm::Md5, false), (Algorithm::Sha256, true), (Algorithm::Sha256, false)]
        {
            let challenge = Challenge {
                realm: Cow::Borrowed(b"sos \"x\".example"),
                nonce: Cow::Borrowed(b"n0"),
                opaque: Some(Cow::Borrowed(b"o0")),
                algorithm: Some(algorithm),
                stale: true,
                qop,
            };
            let text = challenge.to_string();
            assert_eq!(Challenge::parse(text.as_bytes()).unwrap(), challenge);
            let mut stranger = WwwAuthenticateHeader::parse(&text).unwrap();
            let context = AuthContext::new_with_method("alice", "s\"ecret", "sip:x", None::<&[u8]>, "REGISTER".into());
            let answer = stranger.respond(&context).unwrap().to_string();
            let credentials = Credentials::parse(answer.as_bytes()).unwrap();
            assert_eq!((credentials.algorithm, credentials.qop.is_some()), (Some(algorithm), qop));
            let ha1 = ha1(algorithm, b"alice", b"sos \"x\".example", b"s\"ecret");
            assert!(credentials.verify(&ha1, b"REGISTER"), "{answer}");
        }
    }

    #[test]
    fn sloppy_and_wrong_credentials() {
        let plain =
            Credentials::parse(b"digest  username=a , realm=r,nonce=n,uri=sip:x,response=0 ,, x=\"y,z\"").unwrap();
        assert_eq!((&*plain.username, &*plain.uri, plain.algorithm), (&b"a"[..], &b"sip:x"[..], Some(Algorithm::Md5)));
        let unknown =
            Credentials::parse(b"Digest username=a,realm=r,nonce=n,uri=u,response=0,algorithm=MD5-sess").unwrap();
        assert!(unknown.algorithm.is_none() && !unknown.verify(&ha1(Algorithm::Md5, b"a", b"r", b""), b"X"));
        for (bad, fault) in [
            ("Basic QWxhZGRpbg==", DigestFault::Scheme),
            ("Digest", DigestFault::Scheme),
            ("Digest username", DigestFault::Syntax),
            ("Digest username=\"a", DigestFault::Syntax),
            ("Digest username=\"a\" x", DigestFault::Syntax),
            ("Digest username=a,username=b", DigestFault::Twice("username")),
            ("Digest username=a,realm=r,nonce=n,uri=u", DigestFault::Missing("response")),
            ("Digest username=a,realm=r,nonce=n,uri=u,response=0,qop=auth", DigestFault::Missing("nc")),
            ("Digest username=a,realm=r,nonce=n,uri=u,response=0,qop=auth,nc=1,cnonce=c", DigestFault::Syntax),
            ("Digest username=a,realm=r,nonce=n,uri=u,response=0,qop=auth-int", DigestFault::Qop),
        ] {
            assert_eq!(Credentials::parse(bad.as_bytes()), Err(fault), "{bad}");
        }
    }

    #[test]
    fn hashes_compare_in_any_case_and_show_only_on_purpose() {
        let hash = ha1(Algorithm::Md5, b"a", b"b", b"c");
        let text = hash.to_string();
        assert!(
            hash.matches(text.to_uppercase().as_bytes())
                && !hash.matches(b"")
                && !hash.matches(text.trim_start_matches(|_| true).as_bytes())
        );
        assert!(Hex::parse(text.to_uppercase().as_bytes()).unwrap().matches(text.as_bytes()));
        assert!(Hex::parse(b"xyz").is_none());
        assert_eq!(format!("{hash:?}"), "Hex(…)");
        assert!(same_secret(b"one", b"one") && !same_secret(b"one", b"two") && !same_secret(b"one", b"ones"));
    }
}
