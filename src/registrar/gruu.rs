//! The URI of one phone among those of a user, public and temporary (RFC 5627).
//!
//! A public one is the address of record with the instance id. A temporary one tells nobody but us whose it is: what it stands
//! for is encrypted in it (§5.4, as in appendix A.2), so that none has to be kept. It ends with its registration, and with this
//! process, whose secret made it; a phone gets another with every refresh.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::binding::Binding;
use crate::config::Aor;
use crate::sip::uri::unescape;
use crate::sip::{Params, Uri};

/// Begins the user part of every temporary one.
const PREFIX: &str = "tgruu.";
const NUMBER_BYTES: usize = 8;
/// User and registration.
const BODY_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// What a Request-URI with `gr` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The phone of this instance id, of the user in the URI.
    Public(CompactString),
    /// What a temporary one stands for.
    Temporary(&'a str),
}

impl<'a> Wanted<'a> {
    /// `None`: the URI is no GRUU.
    pub fn of(uri: &Uri<'a>) -> Option<Self> {
        match uri.params.get("gr").filter(|_| uri.is_sip())? {
            Some(instance) => Some(Self::Public(CompactString::from_utf8_lossy(&unescape(instance)))),
            None => std::str::from_utf8(uri.user).ok()?.strip_prefix(PREFIX).map(Self::Temporary),
        }
    }
}

/// Makes temporary ones and reads them.
pub(super) struct Gruus {
    key: Hmac<Sha256>,
    last: u64,
}

/// What a temporary one stands for: a user, and one registration of one of its phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub user: u64,
    pub registration: u64,
}

impl Gruus {
    pub fn new(secret: [u8; 64]) -> Self {
        Self { key: Hmac::<Sha256>::new(&secret.into()), last: 0 }
    }

    /// A new one, unlike all before and not to be told from those of others.
    pub fn temporary(&mut self, meaning: Meaning) -> String {
        self.last += 1;
        let number: [u8; 32] = self.digest(b"number", &[&self.last.to_be_bytes()]);
        let number = number.get(..NUMBER_BYTES).unwrap_or_default();
        let body = self.masked(number, &[meaning.user.to_be_bytes(), meaning.registration.to_be_bytes()].concat());
        let mac = self.digest(b"mac", &[number, &body]);
        let whole = [number, &body, mac.get(..MAC_BYTES).unwrap_or_default()].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole))
    }

    /// `None` when it is none of ours.
    pub fn read(&self, token: &str) -> Option<Meaning> {
        let mut whole = [0; NUMBER_BYTES + BODY_BYTES + MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut whole).ok()?;
        let (number, rest) = whole.get(..length)?.split_at_checked(NUMBER_BYTES)?;
        let (body, mac) = rest.split_at_checked(BODY_BYTES)?;
        let is_ours = self.digest(b"mac", &[number, body]).get(..MAC_BYTES)?.ct_eq(mac);
        if !bool::from(is_ours) {
            return None;
        }
        let body = self.masked(number, body);
        let (user, registration) = body.split_at_checked(8)?;
        let read = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        Some(Meaning { user: read(user)?, registration: read(registration)? })
    }

    /// What tells the registration of a binding from others of the same phone: its Call-ID (§5.1).
    pub fn registration(&self, binding: &Binding) -> u64 {
        let instance = binding.instance().unwrap_or_default();
        let digest = self.digest(b"registration", &[binding.call_id().as_bytes(), &[0], instance]);
        digest.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn masked(&self, number: &[u8], body: &[u8]) -> Vec<u8> {
        self.digest(b"mask", &[number]).iter().zip(body).map(|(mask, byte)| mask ^ byte).collect()
    }

    fn digest(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.key.clone();
        mac.update(purpose);
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

/// The Contact parameter with the public URI of an instance (§5.4): the address of record and `gr`.
pub(super) fn public(user: &Aor, instance: &[u8]) -> String {
    let mut uri = format!("{user};gr=");
    for byte in bare(instance) {
        // RFC 3261 §25.1, paramchar.
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'(' | b')' | b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// The instance id among the parameters of a Contact; an empty one tells no phone from another.
pub fn instance(params: Params<'_>) -> Option<&[u8]> {
    params.value("+sip.instance").filter(|instance| !bare(instance).is_empty())
}

/// An instance id without its angle brackets.
pub(super) fn bare(instance: &[u8]) -> &[u8] {
    instance.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).unwrap_or(instance)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn na_5_a_temporary_one_is_read_by_who_made_it_only() {
        let (mut ours, others) = (Gruus::new([7; 64]), Gruus::new([8; 64]));
        let meaning = Meaning { user: 3 << 32 | 9, registration: 77 };
        let made: Vec<String> = (0..100).map(|_| ours.temporary(meaning)).collect();
        let distinct: std::collections::BTreeSet<_> = made.iter().map(|made| made[6..20].to_owned()).collect();
        assert_eq!(distinct.len(), 100);
        for made in &made {
            let token = made.strip_prefix(PREFIX).unwrap();
            assert_eq!((ours.read(token), others.read(token)), (Some(meaning), None));
            for at in 0..token.len() {
                let mut forged = token.as_bytes().to_vec();
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(ours.read(std::str::from_utf8(&forged).unwrap()), None);
            }
        }
        for token in ["", "AAAA", "%%", &"A".repeat(200)] {
            assert_eq!(ours.read(token), None);
        }
    }

    #[test]
    fn na_5_public_ones() {
        let user: Aor = "sip:alice@example.com".parse().unwrap();
        let uri = public(&user, b"<urn:uuid:f81d;x=\"1\">");
        assert_eq!(uri, "sip:alice@example.com;gr=urn:uuid:f81d%3Bx%3D%221%22");
        let Some(Wanted::Public(instance)) = Wanted::of(&Uri::parse(uri.as_bytes()).unwrap()) else { unreachable!() };
        assert_eq!(instance.as_bytes(), bare(b"<urn:uuid:f81d;x=\"1\">"));
        assert_eq!(Wanted::of(&Uri::parse(b"sip:alice@example.com").unwrap()), None);
        assert_eq!(Wanted::of(&Uri::parse(b"sip:alice@example.com;gr").unwrap()), None);
    }
}
