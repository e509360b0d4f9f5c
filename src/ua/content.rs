//! Bodies on their way from one leg to the other: byte for byte, but for the origin line of their session description.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use bytes::Bytes;

use crate::sip::sdp::{self, Sdp};
use crate::sip::{Lines, Message, Name, mime};

/// A body as it is sent on a leg.
#[derive(Clone, Debug)]
pub struct Content {
    pub content_type: Bytes,
    /// Further header lines that describe the body (RFC 3261 §20.11 to §20.15, RFC 2045).
    pub lines: Lines,
    pub body: Bytes,
}

/// The body cannot be relayed: its session description is malformed (CONFORMANCE OA-8: 488).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacceptable;

/// The o= line of one leg: a session id of ours that stays, a version that counts changes (RFC 3264 §8; CONFORMANCE OA-9).
pub struct Origin {
    session_id: u64,
    version: u64,
    digest: Option<u64>,
}

impl Origin {
    pub fn new(random: u64) -> Self {
        // RFC 3264 §5: the version must fit in 63 bits; starting at the session id leaves room for every change.
        let session_id = random >> 2;
        Self { session_id, version: session_id, digest: None }
    }

    /// The origin for `description`: the next version when anything but its own origin line has changed.
    fn next(&mut self, description: &[u8], address: IpAddr) -> sdp::Origin {
        let mut hasher = DefaultHasher::new();
        for line in Sdp::new(description).lines().filter(|line| line.kind != b'o') {
            hasher.write_u8(line.kind);
            hasher.write(line.value);
        }
        let digest = hasher.finish();
        if self.digest.is_some_and(|last| last != digest) {
            self.version = self.version.saturating_add(1);
        }
        self.digest = Some(digest);
        sdp::Origin { session_id: self.session_id, version: self.version, address }
    }
}

impl Content {
    /// A body of our own making.
    pub fn own(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content_type = Bytes::from_static(content_type.as_bytes());
        Self { content_type, lines: Lines::default(), body: body.into() }
    }

    /// The body of `message`, for the leg that `origin` belongs to. `edit` may change the session description further.
    pub(super) fn relay(
        message: &Message,
        origin: &mut Origin,
        address: IpAddr,
        edit: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Self>, Unacceptable> {
        let mut body = message.body_bytes();
        if body.is_empty() {
            return Ok(None);
        }
        if let Some(range) = sdp::locate(message) {
            let description = body.get(range.clone()).ok_or(Unacceptable)?;
            if !Sdp::new(description).well_formed() {
                return Err(Unacceptable);
            }
            let edited = edit(description);
            let description = edited.as_deref().unwrap_or(description);
            let ours = sdp::rewrite_origin(description, &origin.next(description, address));
            body = mime::replace(&body, range, &ours).into();
        }
        let content_type = message.content_type().map(Bytes::copy_from_slice).unwrap_or_default();
        Ok(Some(Self { content_type, lines: describing_lines(message), body }))
    }

    /// True when `message` carries a session description that no leg may see (CONFORMANCE OA-8).
    pub fn is_malformed(message: &Message) -> bool {
        sdp::of(message).is_some_and(|description| !description.well_formed())
    }

    /// True when `message` carries a session description: an offer or an answer.
    pub fn has_description(message: &Message) -> bool {
        sdp::locate(message).is_some()
    }
}

fn describing_lines(message: &Message) -> Lines {
    let mut lines = Lines::default();
    for header in message.headers() {
        if let Name::MimeVersion
        | Name::ContentDisposition
        | Name::ContentEncoding
        | Name::ContentLanguage
        | Name::ContentId = header.name
        {
            lines.push(header.raw_name, header.value);
        }
    }
    lines
}
