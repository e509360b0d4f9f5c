//! SIP as a stranger reads and writes it: lines of text, headers by name, and digest answers. Shares nothing with `sosbridge::sip`.

use md5::Md5;
use sha2::{Digest as _, Sha256};

/// A message taken apart just enough to answer it.
#[derive(Clone, Debug)]
pub struct Msg {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Msg {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect();
        Some(Self { start, headers, body: body.to_owned() })
    }

    /// The first header of that name, or nothing.
    pub fn get(&self, name: &str) -> &str {
        let of_name = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers.iter().find(of_name).map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is = move |have: &str| have.eq_ignore_ascii_case(name);
        self.headers.iter().filter(move |(have, _)| is(have)).map(|(_, value)| value.as_str())
    }

    /// The status code; 0 of a request.
    pub fn code(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The method of the request, or of the request that was answered.
    pub fn method(&self) -> &str {
        match self.code() {
            0 => self.start.split(' ').next().unwrap_or_default(),
            _ => self.get("CSeq").split(' ').nth(1).unwrap_or_default(),
        }
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    pub fn call_id(&self) -> &str {
        self.get("Call-ID")
    }

    pub fn branch(&self) -> &str {
        param(self.get("Via"), "branch")
    }

    pub fn to_tag(&self) -> &str {
        param(self.get("To"), "tag")
    }

    pub fn contact(&self) -> &str {
        bare(self.get("Contact"))
    }

    /// True for an INVITE that begins a call.
    pub fn begins_call(&self) -> bool {
        self.code() == 0 && self.method() == "INVITE" && self.to_tag().is_empty()
    }

    /// What a ladder shows of it.
    pub fn summary(&self) -> String {
        let what = if self.code() == 0 { self.start.trim_end_matches(" SIP/2.0") } else { &self.start[8..] };
        let method = if self.code() == 0 { "" } else { self.method() };
        let id = self.call_id();
        format!("{what} {method} [{} {}]", id.get(..18).unwrap_or(id), self.cseq())
    }
}

/// The URI between angle brackets.
pub fn bare(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default(),
    }
}

/// The user part of a header value or URI.
pub fn user_of(value: &str) -> &str {
    let uri = bare(value);
    uri.strip_prefix("sip:").and_then(|rest| rest.split_once('@')).map_or("", |(user, _)| user)
}

/// A parameter of a header, outside the URI.
pub fn param<'a>(value: &'a str, name: &str) -> &'a str {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    let mut params = outside.split(';').skip(1).filter_map(|param| param.split_once('='));
    params.find(|(have, _)| have.trim() == name).map_or("", |(_, value)| value.trim())
}

/// The first whole message of a stream, taken off its front.
pub fn cut(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let blank = stream.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    stream.drain(..blank);
    let end = stream.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&stream[..end]).to_lowercase();
    let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
    let whole = end + length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
    (stream.len() >= whole).then(|| stream.drain(..whole).collect())
}

/// A quoted or bare value of a challenge.
fn challenged<'a>(challenge: &'a str, name: &str) -> &'a str {
    let mut pairs = challenge.trim_start_matches("Digest").split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(have, _)| have.trim().eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value.trim().trim_matches('"'))
}

/// A nonce that a phone may use again, with a higher count each time.
#[derive(Clone, Debug, Default)]
pub struct Nonce {
    nonce: String,
    realm: String,
    sha256: bool,
    pub count: u32,
}

impl Nonce {
    /// From the challenges of a 401: the algorithm that the phone knows.
    pub fn of(refusal: &Msg, prefers_sha256: bool) -> Option<Self> {
        let is_sha = |challenge: &str| challenged(challenge, "algorithm").eq_ignore_ascii_case("SHA-256");
        let wanted = refusal.all("WWW-Authenticate").find(|challenge| is_sha(challenge) == prefers_sha256);
        let challenge = wanted.or(refusal.all("WWW-Authenticate").next())?;
        let text = |name| challenged(challenge, name).to_owned();
        Some(Self { nonce: text("nonce"), realm: text("realm"), sha256: is_sha(challenge), count: 0 })
    }

    /// The value of Authorization for the next use (RFC 7616 §3.4).
    pub fn answer(&mut self, user: &str, password: &str, method: &str, uri: &str) -> String {
        self.count += 1;
        let Self { nonce, realm, sha256, count } = self;
        let hash = |text: String| match sha256 {
            true => hex(&Sha256::digest(text.as_bytes())),
            false => hex(&Md5::digest(text.as_bytes())),
        };
        let (ha1, ha2) = (hash(format!("{user}:{realm}:{password}")), hash(format!("{method}:{uri}")));
        let response = hash(format!("{ha1}:{nonce}:{count:08x}:0a4f113b:auth:{ha2}"));
        let algorithm = if *sha256 { "SHA-256" } else { "MD5" };
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={algorithm}, qop=auth, nc={count:08x}, cnonce=\"0a4f113b\""
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
