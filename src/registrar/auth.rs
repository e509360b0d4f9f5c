//! Digest authentication of phones (RFC 3261 §22, RFC 7616, RFC 8760): challenges, and what to think of the answers.
//!
//! An unknown user gets the same answer after the same work as a wrong password.

use std::borrow::Cow;

use compact_str::CompactString;

use super::nonce::Nonces;
use crate::base::{Instant, Rng};
use crate::config::{Aor, Config, User};
use crate::sip::digest::{Algorithm, Challenge, Credentials, Hex};
use crate::sip::{Message, Method, Name, Uri, Writer, unfold};

/// What the credentials of a request are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are this user's.
    Ok(Aor),
    /// There are none for our realm.
    Missing,
    /// The right password over a nonce that is too old, used before, or not ours: challenge with `stale`.
    Stale,
    Wrong,
}

/// The authenticator of the configured realm.
pub struct Auth {
    realm: CompactString,
    secret: [u8; 64],
    nonces: Nonces,
    offered: &'static [Algorithm],
    /// HA1s of nobody.
    decoys: [Hex; 2],
}

impl Auth {
    pub fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut secret = [0; 64];
        rng.fill(&mut secret);
        let realm = config.registrar.realm.clone();
        let nonces = Nonces::new(&secret, &realm);
        let mut noise = [0; 32];
        rng.fill(&mut noise);
        let (short, _) = noise.split_at(16);
        let decoys = [Hex::new(short), Hex::new(&noise)];
        Self { realm, secret, nonces, offered: offered(&config.users), decoys }
    }

    /// Takes another config; nonces stay good while the realm stays.
    pub fn reload(&mut self, config: &Config) {
        self.offered = offered(&config.users);
        if self.realm != config.registrar.realm {
            self.realm = config.registrar.realm.clone();
            self.nonces = Nonces::new(&self.secret, &self.realm);
        }
    }

    /// Writes the `WWW-Authenticate` headers of a 401, strongest first (RFC 8760 §2.4).
    pub fn challenge(&self, now: Instant, rng: &mut Rng, stale: bool, writer: &mut Writer) {
        let nonce = self.nonces.issue(now, rng);
        for algorithm in self.offered {
            let challenge = Challenge {
                realm: Cow::Borrowed(self.realm.as_bytes()),
                nonce: Cow::Borrowed(nonce.as_bytes()),
                opaque: None,
                algorithm: Some(*algorithm),
                stale,
                qop: true,
            };
            writer.header_fmt("WWW-Authenticate", format_args!("{challenge}"));
        }
    }

    /// Judges the `Authorization` of a request. A nonce count that was accepted is spent.
    pub fn verify(&mut self, now: Instant, request: &Message, config: &Config) -> Verdict {
        let lines = request.headers().filter(|header| header.name == Name::Authorization);
        let read = lines.map(|header| unfold(header.value)).collect::<Vec<_>>();
        let ours = |credentials: &Credentials<'_>| *credentials.realm == *self.realm.as_bytes();
        let Some(credentials) = read.iter().filter_map(|value| Credentials::parse(value).ok()).find(ours) else {
            return Verdict::Missing;
        };
        let user = user_of(&credentials.username, request, config);
        let ha1 = user.and_then(|user| ha1_of(user, &credentials)).unwrap_or_else(|| self.decoy(credentials.algorithm));
        let right = credentials.verify(&ha1, request.method_name());
        let Some(user) = user.filter(|_| right && is_for(&credentials.uri, request.request_uri())) else {
            return Verdict::Wrong;
        };
        let count = match &credentials.qop {
            Some(qop) => qop.count().or(Some(0)),
            None => None, // RFC 2069
        };
        let spent = self.nonces.read(&credentials.nonce).is_some_and(|issue| self.nonces.spend(now, issue, count));
        if spent { Verdict::Ok(user.aor.clone()) } else { Verdict::Stale }
    }

    fn decoy(&self, algorithm: Option<Algorithm>) -> Hex {
        let [short, long] = self.decoys;
        match algorithm {
            Some(Algorithm::Sha256) => long,
            Some(Algorithm::Md5) | None => short,
        }
    }
}

/// What every user can answer, so that a challenge tells nothing about who exists; all where there is no such thing.
fn offered(users: &[User]) -> &'static [Algorithm] {
    let md5 = users.iter().all(|user| user.secret.ha1_md5.is_some());
    let sha256 = users.iter().all(|user| user.secret.ha1_sha256.is_some());
    match (sha256, md5) {
        (true, false) => &[Algorithm::Sha256],
        (false, true) => &[Algorithm::Md5],
        (true, true) | (false, false) => &[Algorithm::Sha256, Algorithm::Md5],
    }
}

/// `alice@example.com`; or `alice`, of the domain the request speaks of, or else of ours.
fn user_of<'c>(username: &[u8], request: &Message, config: &'c Config) -> Option<&'c User> {
    if let Some(at) = username.iter().rposition(|&byte| byte == b'@') {
        let (user, domain) = username.split_at_checked(at)?;
        return config.user_served(&Aor::from_parts(user, domain.get(1..)?)?);
    }
    let speaker = if request.method() == Method::Register { request.to() } else { request.from() };
    let speaker = Uri::parse(speaker.uri).ok().as_ref().and_then(Aor::from_uri);
    let domains = speaker.iter().map(Aor::domain).chain(config.sip.domains.first().map(CompactString::as_str));
    domains.filter_map(|domain| config.user_served(&Aor::from_parts(username, domain.as_bytes())?)).next()
}

/// The HA1 for the spelling of the username that the phone used.
fn ha1_of(user: &User, credentials: &Credentials<'_>) -> Option<Hex> {
    let whole = credentials.username.contains(&b'@');
    let secret = &user.secret;
    match (credentials.algorithm?, whole) {
        (Algorithm::Md5, false) => secret.ha1_md5.map(|hash| Hex::new(&hash)),
        (Algorithm::Sha256, false) => secret.ha1_sha256.map(|hash| Hex::new(&hash)),
        (Algorithm::Md5, true) => None,
        (Algorithm::Sha256, true) => None,
    }
}

/// Phones differ in how they write the URI of the digest: with or without port and parameters. Scheme aside, it must be
/// for the same user at the same host (RFC 3261 §22.4, RFC 7616 §3.4.6).
fn is_for(uri: &[u8], request_uri: &[u8]) -> bool {
    if uri.eq_ignore_ascii_case(request_uri) {
        return true;
    }
    match (Uri::parse(uri), Uri::parse(request_uri)) {
        (Ok(one), Ok(two)) if one.is_sip() && two.is_sip() => {
            one.unescaped_user() == two.unescaped_user() && one.host == two.host
        }
        _ => false,
    }
}
