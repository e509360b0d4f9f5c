//! The SIP that the parties speak: requests as text, answers to what came, digest (RFC 3261 §8, §12, §22).

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use bytes::Bytes;

use super::party::Party;
use super::wrong::Wrong;
use crate::shell::credentials;
use crate::sip::digest::{self, Algorithm};
use crate::sip::{self, Message, Name, Writer};

/// A dialog, or what will become one, as one party sees it.
#[derive(Clone)]
pub struct Dialog {
    pub call_id: String,
    /// The From of our requests, with our tag.
    pub local: String,
    /// The To of our requests; with their tag once they answered.
    remote: String,
    /// The Request-URI of our next request.
    target: String,
    cseq: u32,
}

impl Dialog {
    /// Before the first request: `local` and `remote` are name-addrs.
    pub fn new(party: &Party, target: &str, local: &str, remote: &str) -> Self {
        Self {
            call_id: format!("{}-{}", party.user, fresh()),
            local: format!("{local};tag={}", fresh()),
            remote: remote.to_owned(),
            target: target.to_owned(),
            cseq: 0,
        }
    }

    /// Takes over what their answer says (RFC 3261 §12.1.2).
    pub fn answered(&mut self, answer: &Message) {
        self.remote = header(answer, Name::To);
        if let Some(contact) = answer.contact() {
            self.target = text(contact.uri);
        }
    }

    /// The next request. An ACK to a 2xx has the number of its INVITE (RFC 3261 §13.2.2.4).
    pub fn request(&mut self, party: &Party, method: &str, extra: &str, sdp: Option<&str>) -> Bytes {
        if method != "ACK" {
            self.cseq += 1;
        }
        self.print(party, method, &format!("z9hG4bK{}", fresh()), extra, sdp)
    }

    /// The ACK to a refusal: of the same transaction as the INVITE (RFC 3261 §17.1.1.3).
    pub fn ack_refusal(&mut self, party: &Party, invite: &Bytes, refusal: &Message) -> Bytes {
        let branch = Message::parse(invite.clone()).ok();
        let branch = branch.as_ref().and_then(|invite| invite.top_via().branch().map(text)).unwrap_or_default();
        self.remote = header(refusal, Name::To);
        self.print(party, "ACK", &branch, "", None)
    }

    fn print(&self, party: &Party, method: &str, branch: &str, extra: &str, sdp: Option<&str>) -> Bytes {
        let Self { call_id, local, remote, target, cseq } = self;
        let (user, address, agent) = (party.user, party.address, party.name);
        let mut message = format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: {local}\r\n\
             To: {remote}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{address}>\r\n\
             User-Agent: {agent} of the demo\r\n\
             {extra}"
        );
        if sdp.is_some() {
            message.push_str("Content-Type: application/sdp\r\n");
        }
        let body = sdp.unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(message, "Content-Length: {}\r\n\r\n{body}", body.len());
        Bytes::from(message)
    }
}

/// An answer to a request that came; `tag` goes into To where it has none.
pub fn answer(party: &Party, request: &Message, code: u16, tag: &str, sdp: Option<&str>) -> Bytes {
    let mut writer = Writer::new();
    let writer = sip::reply(&mut writer, request, party.address, code, None, Some(tag.as_bytes()));
    writer.header_fmt("Contact", format_args!("<sip:{}@{}>", party.user, party.address));
    match sdp {
        Some(sdp) => writer.finish_with(b"application/sdp", sdp.as_bytes()),
        None => writer.finish(),
    }
}

/// `Authorization` for the strongest challenge in a 401 (RFC 8760 §2.4).
pub fn authorization(
    challenge: &Message,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> Result<(String, Algorithm), Wrong> {
    let ha1 = |algorithm, realm: &[u8]| Some(digest::ha1(algorithm, user.as_bytes(), realm, password.as_bytes()));
    match credentials::answer(challenge, user, &fresh(), (method, uri), ha1) {
        Some((value, algorithm)) => Ok((format!("Authorization: {value}\r\n"), algorithm)),
        None => Err(Wrong::message("a digest challenge with MD5 or SHA-256", challenge)),
    }
}

/// A text nobody can guess: for tags, branches, Call-IDs.
pub fn fresh() -> String {
    // Every RandomState has its own random keys.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn header(message: &Message, name: Name) -> String {
    message.header(name).map(text).unwrap_or_default()
}
