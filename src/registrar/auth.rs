//! Digest authentication of phones (RFC 3261 §22, RFC 7616, RFC 8760): challenges, and what to think of the answers.
//!
//! An unknown user gets the same answer after the same work as a wrong password.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use compact_str::CompactString;

use super::nonce::Nonces;
use super::quirks::Reads;
use crate::base::{Instant, Rng, limits};
use crate::config::{Aor, Config, User};
use crate::sip::digest::{Algorithm, Challenge, Credentials, Hex};
use crate::sip::{Lines, Message, Method, Name, Uri, unfold};

/// What the credentials of a request are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are this user's.
    Ok(Aor),
    /// There are none for our realm.
    Missing,
    /// The right password over a nonce that is too old, used before, sent to another address, or not ours: challenge with `stale`.
    Stale,
    Wrong,
}

/// The authenticator of the configured realm.
pub struct Auth {
    realm: CompactString,
    secret: [u8; 64],
    nonces: Nonces,
    offered: &'static [Algorithm],
    /// Who was challenged and has not answered, with the time; at most `limits::CHALLENGES`.
    unanswered: BTreeMap<(IpAddr, CompactString), Instant>,
    /// HA1s of nobody.
    decoys: [Hex; 2],
}

/// How long a phone that could not read a challenge takes to come back.
const COMES_BACK: Duration = Duration::from_secs(300);

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
        Self { realm, secret, nonces, offered: offered(&config.users), unanswered: BTreeMap::new(), decoys }
    }

    /// Takes another config; nonces stay good while the realm stays.
    pub fn reload(&mut self, config: &Config) {
        self.offered = offered(&config.users);
        if self.realm != config.registrar.realm {
            self.realm = config.registrar.realm.clone();
            self.nonces = Nonces::new(&self.secret, &self.realm);
        }
    }

    /// As [`Auth::challenge`], for a REGISTER from `source`. A phone that comes back without an answer could not read the
    /// last challenge: some know MD5 only, and give up where SHA-256 is offered beside it. It is offered MD5 alone.
    pub fn challenge_register(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        stale: bool,
        request: &Message,
        source: IpAddr,
        lines: &mut Lines,
    ) {
        let key = (source, CompactString::from_utf8_lossy(request.to().uri));
        let last = self.unanswered.get(&key);
        let comes_back = last.is_some_and(|last| now.since(*last) < COMES_BACK);
        if self.unanswered.len() >= limits::CHALLENGES {
            self.unanswered.clear();
        }
        self.unanswered.insert(key, now);
        let reads = if comes_back { Reads::OnlyMd5 } else { Reads::of(request) };
        self.print_challenges(now, rng, stale, reads, source, lines);
    }

    /// The phone has answered, well or not: it can read what it was offered.
    pub fn answered(&mut self, request: &Message, source: IpAddr) {
        if !self.unanswered.is_empty() {
            self.unanswered.remove(&(source, CompactString::from_utf8_lossy(request.to().uri)));
        }
    }

    /// The `WWW-Authenticate` headers of a 401, strongest first (RFC 8760 §2.4).
    pub fn challenge(
        &self,
        now: Instant,
        rng: &mut Rng,
        stale: bool,
        request: &Message,
        source: IpAddr,
        lines: &mut Lines,
    ) {
        self.print_challenges(now, rng, stale, Reads::of(request), source, lines);
    }

    fn print_challenges(
        &self,
        now: Instant,
        rng: &mut Rng,
        stale: bool,
        reads: Reads,
        source: IpAddr,
        lines: &mut Lines,
    ) {
        let offered: &[Algorithm] = match reads {
            Reads::OnlyMd5 if self.offered.len() > 1 => &[Algorithm::Md5],
            Reads::FirstMd5 if self.offered.len() > 1 => &[Algorithm::Md5, Algorithm::Sha256],
            Reads::All | Reads::OnlyMd5 | Reads::FirstMd5 => self.offered,
        };
        let nonce = self.nonces.issue(now, rng, source);
        for algorithm in offered {
            let challenge = Challenge {
                realm: Cow::Borrowed(self.realm.as_bytes()),
                nonce: Cow::Borrowed(nonce.as_bytes()),
                opaque: None,
                algorithm: Some(*algorithm),
                stale,
                qop: true,
            };
            lines.push(b"WWW-Authenticate", challenge.to_string().as_bytes());
        }
    }

    /// Judges the `Authorization` of a request from `source`. A nonce count that was accepted is spent.
    pub fn verify(&mut self, now: Instant, request: &Message, source: IpAddr, config: &Config) -> Verdict {
        let lines = request.headers().filter(|header| header.name == Name::Authorization);
        let read = lines.map(|header| unfold(header.value)).collect::<Vec<_>>();
        let ours = |credentials: &Credentials<'_>| *credentials.realm == *self.realm.as_bytes();
        let Some(credentials) = read.iter().filter_map(|value| Credentials::parse(value).ok()).find(ours) else {
            return Verdict::Missing;
        };
        let user = user_of(&credentials.username, request, config);
        let ha1 = user.and_then(|user| ha1_of(user, &credentials)).unwrap_or_else(|| self.decoy(credentials.algorithm));
        let right = credentials.verify(&ha1, request.method_name());
        let Some(user) = user.filter(|_| right && is_for(&credentials.uri, request.request_uri(), config)) else {
            return Verdict::Wrong;
        };
        let count = match &credentials.qop {
            Some(qop) => qop.count().or(Some(0)),
            None => None, // RFC 2069
        };
        let issue = self.nonces.read(&credentials.nonce, source);
        let spent = issue.is_some_and(|issue| self.nonces.spend(now, issue, count));
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
        (Algorithm::Md5, true) => secret.whole_ha1_md5.map(|hash| Hex::new(&hash)),
        (Algorithm::Sha256, true) => secret.whole_ha1_sha256.map(|hash| Hex::new(&hash)),
    }
}

/// Phones differ in how they write the URI of the digest: with or without port and parameters, the host they send to in
/// place of the one they ask for. The server may decide what is the same resource (RFC 7616 §3.4.6); here it must be a URI
/// of this server. What was heard once cannot be used for another request: every nonce count is accepted once.
fn is_for(uri: &[u8], request_uri: &[u8], config: &Config) -> bool {
    if uri.eq_ignore_ascii_case(request_uri) {
        return true;
    }
    let (Ok(uri), Ok(request_uri)) = (Uri::parse(uri), Uri::parse(request_uri)) else { return false };
    let host = uri.host.text();
    let is_served = config.sip.domains.iter().any(|domain| host.eq_ignore_ascii_case(domain));
    let is_listener = || config.listeners.iter().any(|listener| listener.advertise_host == host);
    let is_same_user = uri.user.is_empty() || uri.unescaped_user() == request_uri.unescaped_user();
    uri.is_sip() && is_same_user && (uri.host == request_uri.host || is_served || is_listener())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::sip::digest::{Qop, ha1, response};

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const START: Instant = Instant::from_millis(1_700_000_000_000);

    fn config(users: &str) -> Config {
        let text = format!(
            r#"
            [sip]
            domains = ["example.com", "127.0.0.1"]
            [[sip.listen]]
            transport = "udp"
            address = "127.0.0.1:5060"
            [registrar]
            realm = "example.com"
            [[resources]]
            name = "contoso"
            {users}"#
        );
        crate::config::load(&text, Path::new("/")).unwrap().config
    }

    fn alice_and_bob() -> Config {
        let user = |name: &str| {
            format!(
                "[[users]]\naor = \"sip:{name}@example.com\"\npassword = \"secret of {name}\"\nresource = \"contoso\"\n"
            )
        };
        config(&(user("alice") + &user("bob")))
    }

    fn request(method: &str, uri: &str, host: &str, authorization: &str) -> Message {
        let header =
            if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:alice@{host}>;tag=1\r\n\
             To: <sip:alice@{host}>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n{header}\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    /// A phone that answers a challenge as RFC 7616 says.
    struct Phone {
        username: &'static str,
        password: &'static str,
        algorithm: Algorithm,
        /// `None`: RFC 2069.
        nc: Option<u32>,
        uri: &'static str,
    }

    impl Phone {
        const ALICE: Self = Self {
            username: "alice",
            password: "secret of alice",
            algorithm: Algorithm::Sha256,
            nc: Some(1),
            uri: "sip:example.com",
        };

        fn answer(&self, nonce: &str) -> String {
            let ha1 = ha1(self.algorithm, self.username.as_bytes(), b"example.com", self.password.as_bytes());
            let nc = |count| format!("{count:08x}").into_bytes();
            let qop = self.nc.map(|count| Qop { nc: Cow::Owned(nc(count)), cnonce: Cow::Borrowed(b"c") });
            let hash = response(self.algorithm, &ha1, nonce.as_bytes(), qop.as_ref(), b"REGISTER", self.uri.as_bytes());
            let response = hash.as_bytes().to_vec();
            let credentials = Credentials {
                username: Cow::Borrowed(self.username.as_bytes()),
                realm: Cow::Borrowed(b"example.com"),
                nonce: Cow::Borrowed(nonce.as_bytes()),
                uri: Cow::Borrowed(self.uri.as_bytes()),
                response: Cow::Owned(response),
                algorithm: Some(self.algorithm),
                opaque: None,
                qop,
            };
            credentials.to_string()
        }
    }

    struct Bench {
        auth: Auth,
        config: Config,
        rng: Rng,
    }

    impl Bench {
        fn new(config: Config) -> Self {
            let mut rng = Rng::from_u64(1);
            Self { auth: Auth::new(&config, &mut rng), config, rng }
        }

        fn challenges(&mut self, stale: bool) -> Vec<String> {
            let mut lines = Lines::default();
            let register = request("REGISTER", "sip:example.com", "example.com", "");
            self.auth.challenge(START, &mut self.rng, stale, &register, HOME, &mut lines);
            let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
            text.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: ")).map(str::to_owned).collect()
        }

        fn nonce(&mut self) -> String {
            let challenges = self.challenges(false);
            let challenge = Challenge::parse(challenges[0].as_bytes()).unwrap();
            String::from_utf8(challenge.nonce.to_vec()).unwrap()
        }

        fn verify(&mut self, at: Instant, authorization: &str) -> Verdict {
            let register = request("REGISTER", "sip:example.com", "example.com", authorization);
            self.auth.verify(at, &register, HOME, &self.config)
        }

        /// The verdict on a first answer to a new challenge.
        fn first(&mut self, phone: &Phone) -> Verdict {
            let nonce = self.nonce();
            self.verify(START, &phone.answer(&nonce))
        }
    }

    fn alice() -> Verdict {
        Verdict::Ok("alice@example.com".parse().unwrap())
    }

    #[test]
    fn both_algorithms_are_offered_strongest_first() {
        let mut bench = Bench::new(alice_and_bob());
        let [sha256, md5] = &bench.challenges(true)[..] else { unreachable!() };
        assert!(sha256.starts_with("Digest realm=\"example.com\", nonce=\""), "{sha256}");
        assert!(sha256.ends_with("algorithm=SHA-256, stale=true, qop=\"auth\""), "{sha256}");
        assert!(md5.ends_with("algorithm=MD5, stale=true, qop=\"auth\""), "{md5}");
        assert!(!bench.challenges(false)[0].contains("stale"));
    }

    /// Some phones give up where SHA-256 is offered, and begin anew half a minute later.
    #[test]
    fn who_comes_back_without_an_answer_is_offered_md5_alone() {
        let mut bench = Bench::new(alice_and_bob());
        let ask = |bench: &mut Bench, at: Instant, source: &str| {
            let (mut lines, register) = (Lines::default(), request("REGISTER", "sip:example.com", "example.com", ""));
            let Bench { auth, rng, .. } = bench;
            auth.challenge_register(at, rng, false, &register, source.parse().unwrap(), &mut lines);
            String::from_utf8(lines.as_bytes().to_vec()).unwrap().matches("algorithm=").count()
        };
        let later = START + Duration::from_secs(30);
        assert_eq!(ask(&mut bench, START, "127.0.0.1"), 2);
        assert_eq!(ask(&mut bench, later, "127.0.0.2"), 2, "another phone");
        assert_eq!(ask(&mut bench, later, "127.0.0.1"), 1);
        bench.auth.answered(&request("REGISTER", "sip:example.com", "example.com", ""), "127.0.0.1".parse().unwrap());
        assert_eq!(ask(&mut bench, later, "127.0.0.1"), 2, "it could read that one");
        assert_eq!(ask(&mut bench, later + COMES_BACK, "127.0.0.1"), 2, "long ago");
    }

    #[test]
    fn only_what_every_user_can_answer_is_offered() {
        let hashed = "[[users]]\naor = \"sip:carol@example.com\"\nha1_md5 = \"0123456789abcdef0123456789abcdef\"\nresource = \"contoso\"\n";
        let mut bench = Bench::new(config(hashed));
        assert_eq!(bench.challenges(false).len(), 1);
        assert!(bench.challenges(false)[0].contains("algorithm=MD5"));
    }

    #[test]
    fn right_answers() {
        let mut bench = Bench::new(alice_and_bob());
        for phone in [
            Phone::ALICE,
            Phone { algorithm: Algorithm::Md5, ..Phone::ALICE },
            Phone { username: "alice@example.com", ..Phone::ALICE },
            Phone { username: "alice@example.com", algorithm: Algorithm::Md5, ..Phone::ALICE },
            Phone { nc: None, ..Phone::ALICE },
            Phone { nc: None, algorithm: Algorithm::Md5, ..Phone::ALICE },
            Phone { uri: "sip:EXAMPLE.com:5060;transport=udp", ..Phone::ALICE },
            Phone { uri: "sip:127.0.0.1:5060", ..Phone::ALICE },
        ] {
            assert_eq!(bench.first(&phone), alice(), "{} {}", phone.username, phone.uri);
        }
    }

    #[test]
    fn the_domain_is_that_of_the_request_or_ours() {
        let mut bench = Bench::new(alice_and_bob());
        for host in ["example.com", "127.0.0.1", "elsewhere.invalid"] {
            let nonce = bench.nonce();
            let message = request("REGISTER", "sip:example.com", host, &Phone::ALICE.answer(&nonce));
            assert_eq!(bench.auth.verify(START, &message, HOME, &bench.config), alice(), "{host}");
        }
    }

    #[test]
    fn wrong_answers() {
        let mut bench = Bench::new(alice_and_bob());
        for phone in [
            Phone { password: "guess", ..Phone::ALICE },
            Phone { username: "nobody", ..Phone::ALICE },
            Phone { username: "alice@example.org", ..Phone::ALICE },
            Phone { username: "bob", ..Phone::ALICE },
            Phone { uri: "sip:example.org", ..Phone::ALICE },
            Phone { uri: "sip:bob@example.com", ..Phone::ALICE },
        ] {
            assert_eq!(bench.first(&phone), Verdict::Wrong, "{} {}", phone.username, phone.uri);
        }
        let nonce = bench.nonce();
        let answer = Phone::ALICE.answer(&nonce);
        let invite = request("INVITE", "sip:example.com", "example.com", &answer);
        assert_eq!(bench.auth.verify(START, &invite, HOME, &bench.config), Verdict::Wrong, "made for another method");
        assert_eq!(bench.verify(START, &answer.replace("SHA-256", "SHA-512-256")), Verdict::Wrong);
        for missing in [
            "",
            "Basic YTpi",
            "NoOneKnowsThisScheme opaque-data=here",
            &answer.replace("realm=\"example.com\"", "realm=\"x\""),
        ] {
            assert_eq!(bench.verify(START, missing), Verdict::Missing, "{missing}");
        }
    }

    #[test]
    fn a_nonce_is_good_for_rising_counts_until_it_is_old() {
        let mut bench = Bench::new(alice_and_bob());
        let nonce = bench.nonce();
        let with = |nc: u32| Phone { nc: Some(nc), ..Phone::ALICE }.answer(&nonce);
        assert_eq!(bench.verify(START, &with(1)), alice());
        assert_eq!(bench.verify(START, &with(1)), Verdict::Stale, "replayed");
        assert_eq!(bench.verify(START, &with(3)), alice());
        assert_eq!(bench.verify(START, &with(2)), Verdict::Stale);
        let guess = Phone { password: "guess", nc: Some(9), ..Phone::ALICE }.answer(&nonce);
        assert_eq!(bench.verify(START, &guess), Verdict::Wrong, "a wrong answer spends nothing");
        assert_eq!(bench.verify(START, &with(4)), alice());
        assert_eq!(bench.verify(START + Duration::from_secs(301), &with(5)), Verdict::Stale);
        let legacy = bench.nonce();
        let once = Phone { nc: None, ..Phone::ALICE }.answer(&legacy);
        assert_eq!((bench.verify(START, &once), bench.verify(START, &once)), (alice(), Verdict::Stale));
    }

    #[test]
    fn after_a_restart_or_for_another_realm_the_nonce_is_stale() {
        let mut bench = Bench::new(alice_and_bob());
        let nonce = bench.nonce();
        bench.auth.reload(&bench.config);
        assert_eq!(bench.verify(START, &Phone::ALICE.answer(&nonce)), alice());
        bench.auth = Auth::new(&bench.config, &mut bench.rng);
        let later = Phone { nc: Some(2), ..Phone::ALICE };
        assert_eq!(bench.verify(START, &later.answer(&nonce)), Verdict::Stale);
        assert_eq!(bench.verify(START, &later.answer("made up")), Verdict::Stale);
    }
}
