//! Commands to rtpengine and what it answers.

use std::fmt;

use bytes::Bytes;

use super::bencode::{Fault, Value};
use crate::media::{Counters, Stream};
use crate::sip::sdp::Sdp;

/// Longest description taken back, in bytes.
const DESCRIPTION_BYTES: usize = 32 * 1024;
/// Longest reason kept, in bytes.
const REASON_BYTES: usize = 200;

/// How the peer of a leg takes its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// RTP/AVP, no ICE, RTCP on its own port.
    Plain,
    /// As WebRTC has it: DTLS-SRTP, ICE, RTCP on the same port (RFC 8834).
    Browser,
    /// As the other side's are, SRTP with keys in its description included.
    Same,
}

/// One command. `call` is unique to a pair of legs; `from` and `to` are its two sides, and `from` is who made the offer.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// `to`: who made the offer before, and made none since.
    Offer {
        call: &'a str,
        from: &'a str,
        to: Option<&'a str>,
        told: Told<'a>,
    },
    Answer {
        call: &'a str,
        from: &'a str,
        to: &'a str,
        told: Told<'a>,
    },
    Delete {
        call: &'a str,
    },
    Query {
        call: &'a str,
    },
    Ping,
}

/// What one side says, and how the other side is to have it.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    pub description: &'a [u8],
    pub profile: Profile,
    pub is_ipv4: bool,
    /// Of the certificate, for DTLS: one of [`HASHES`].
    pub hash: &'static str,
}

/// What browsers know certificates by (RFC 8122 §5).
pub const HASHES: [&str; 3] = ["sha-256", "sha-384", "sha-512"];

type Row<'a> = (&'a [u8], Value<'a>);

fn text<'a>(key: &'a str, value: &'a str) -> Row<'a> {
    (key.as_bytes(), Value::Text(value.as_bytes()))
}

fn list<'a>(key: &'a str, values: &[&'a str]) -> Row<'a> {
    (key.as_bytes(), Value::List(values.iter().map(|value| Value::Text(value.as_bytes())).collect()))
}

impl Command<'_> {
    pub fn write(&self) -> Bytes {
        let rows = match self {
            Self::Ping => vec![text("command", "ping")],
            Self::Delete { call } => vec![text("command", "delete"), text("call-id", call), delete_at_once()],
            Self::Query { call } => vec![text("command", "query"), text("call-id", call)],
            Self::Offer { call, from, to, told } => {
                let mut rows = vec![text("command", "offer"), text("call-id", call), text("from-tag", from)];
                rows.extend(to.map(|to| text("to-tag", to)));
                rows.extend(common(told));
                rows.extend([text("ICE-lite", "both"), text("DTLS", "passive")]);
                rows.extend(offered(told.profile));
                rows
            }
            Self::Answer { call, from, to, told } => {
                let mut rows = vec![text("command", "answer"), text("call-id", call)];
                rows.extend([text("from-tag", from), text("to-tag", to)]);
                rows.extend(common(told));
                rows.extend(answered(told.profile));
                rows
            }
        };
        let mut bytes = Vec::with_capacity(512);
        Value::Table(rows).write(&mut bytes);
        bytes.into()
    }
}

/// rtpengine keeps a deleted call for half a minute unless it is told not to.
fn delete_at_once() -> Row<'static> {
    (b"delete delay", Value::Integer(0))
}

fn common<'a>(told: &Told<'a>) -> impl Iterator<Item = Row<'a>> + use<'a> {
    let rows = [
        (&b"sdp"[..], Value::Text(told.description)),
        list("replace", &["origin", "session-connection"]),
        text("address-family", if told.is_ipv4 { "IP4" } else { "IP6" }),
    ];
    let hash = (told.profile == Profile::Browser).then(|| text("DTLS-fingerprint", told.hash));
    rows.into_iter().chain(hash)
}

fn offered(profile: Profile) -> Vec<Row<'static>> {
    match profile {
        Profile::Plain => {
            vec![text("transport-protocol", "RTP/AVP"), text("ICE", "remove"), list("rtcp-mux", &["demux"])]
        }
        Profile::Browser => vec![
            text("transport-protocol", "UDP/TLS/RTP/SAVPF"),
            text("ICE", "force"),
            list("SDES", &["off"]),
            list("rtcp-mux", &["offer", "require"]),
            list("flags", &["generate-mid"]),
        ],
        Profile::Same => vec![text("ICE", "remove"), list("rtcp-mux", &["demux"])],
    }
}

/// An answer has the protocol of its offer.
fn answered(profile: Profile) -> Vec<Row<'static>> {
    match profile {
        Profile::Plain | Profile::Same => vec![text("ICE", "remove")],
        Profile::Browser => vec![
            text("ICE", "force"),
            text("DTLS", "passive"),
            list("SDES", &["off"]),
            list("rtcp-mux", &["accept"]),
            list("flags", &["generate-mid"]),
        ],
    }
}

/// What rtpengine says of one side of a call: by its tag, stream after stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub tag: String,
    pub streams: Vec<Counters>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Described(Bytes),
    Counted(Vec<Counted>),
    Pong,
    Done,
}

/// Why a reply is none that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Bencode(Fault),
    /// `result` is missing, or a word we do not know.
    NoResult,
    /// rtpengine's own reason.
    Error(String),
    /// No description, one that is malformed or too long, or one of other streams than was asked about.
    Description(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bencode(fault) => fault.fmt(f),
            Self::NoResult => f.write_str("a reply without a result"),
            Self::Error(reason) => write!(f, "rtpengine says: {reason}"),
            Self::Description(what) => write!(f, "a description that {what}"),
        }
    }
}

impl Reply {
    /// The dictionary of a reply.
    ///
    /// # Errors
    /// What makes it useless.
    pub fn read(text: &[u8]) -> Result<Self, Refused> {
        let reply = Value::read(text).map_err(Refused::Bencode)?;
        let field = |key| reply.get(key).and_then(Value::text);
        match field("result") {
            Some(b"pong") => return Ok(Self::Pong),
            Some(b"ok") => {}
            Some(b"error") => {
                let reason = field("error-reason").unwrap_or(b"no reason");
                let reason = reason.get(..REASON_BYTES).unwrap_or(reason);
                return Err(Refused::Error(reason.escape_ascii().to_string()));
            }
            Some(_) | None => return Err(Refused::NoResult),
        }
        if let Some(description) = field("sdp") {
            return Self::described(description);
        }
        match reply.get("tags") {
            Some(tags) => Ok(Self::Counted(counted(tags))),
            None => Ok(Self::Done),
        }
    }

    fn described(description: &[u8]) -> Result<Self, Refused> {
        if description.len() > DESCRIPTION_BYTES {
            return Err(Refused::Description("is too long"));
        }
        if !Sdp::new(description).well_formed() {
            return Err(Refused::Description("is malformed"));
        }
        Ok(Self::Described(Bytes::copy_from_slice(description)))
    }

    /// The description of a reply to an offer or an answer of `asked`.
    ///
    /// # Errors
    /// There is none, or it is of other streams.
    pub fn of(self, asked: &[u8]) -> Result<Bytes, Refused> {
        let Self::Described(description) = self else { return Err(Refused::Description("is missing")) };
        let count = |description: &[u8]| Stream::all(description).len();
        match count(&description) == count(asked) {
            true => Ok(description),
            false => Err(Refused::Description("has other streams than were asked about")),
        }
    }
}

/// RTP alone, and what arrived of it; the reply does not tell what was lost.
fn counted(tags: &Value<'_>) -> Vec<Counted> {
    let counters = |media: &Value<'_>| {
        let rtp = media.get("streams").and_then(|streams| streams.items().first());
        let stats = rtp.and_then(|rtp| rtp.get("stats"));
        let count = |key| stats.and_then(|stats| stats.get(key)).and_then(Value::count).unwrap_or_default();
        Counters { packets: count("packets"), bytes: count("bytes"), strange: count("errors"), ..Counters::default() }
    };
    let side = |(tag, side): &(&[u8], Value<'_>)| Counted {
        tag: tag.escape_ascii().to_string(),
        streams: side.get("medias").map(Value::items).unwrap_or_default().iter().map(counters).collect(),
    };
    tags.rows().iter().map(side).collect()
}
