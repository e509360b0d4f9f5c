//! Bodies on their way from one leg to the other: byte for byte, but for the origin line of their session description.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Refusal;
use crate::sip::sdp::{self, Sdp};
use crate::sip::{Lines, Message, Name, mime};

/// A body as it is sent on a leg.
#[derive(Clone, Debug)]
pub struct Content {
    pub content_type: Bytes,
    /// Further header lines that describe the body (RFC 3261 §20.11 to §20.15, RFC 2045).
    pub lines: Lines,
    pub body: Bytes,
    /// The session description in it; empty without one.
    pub(super) description: Bytes,
}

/// What a header of the message points at, and a peer may leave alone that does not know what to do with it: without `optional` it
/// would have to refuse the call (RFC 5621 §8.1, §9.4; RFC 7852 §6.4).
const BY_REFERENCE: &str = "by-reference;handling=optional";

/// What is put beside a body.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub content_type: &'a str,
    /// Without its angle brackets.
    pub content_id: &'a str,
    pub body: &'a [u8],
}

/// The body cannot be relayed: a session description in it is malformed, or hidden from us (CONFORMANCE OA-8: 488).
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

    /// The origin for the descriptions of one body: the next version when anything but their own origin line has changed.
    fn next(&mut self, descriptions: &[Cow<'_, [u8]>], address: IpAddr) -> sdp::Origin {
        let digest = digest(descriptions);
        if self.digest.is_some_and(|last| last != digest) {
            self.version = self.version.saturating_add(1);
        }
        self.digest = Some(digest);
        sdp::Origin { session_id: self.session_id, version: self.version, address }
    }
}

/// True when two descriptions differ in nothing but their origin lines.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let lines = |text| Sdp::new(text).lines().filter(|line| line.kind != b'o');
    lines(one).eq(lines(other))
}

/// Of all lines but the origin lines.
fn digest(descriptions: &[Cow<'_, [u8]>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let lines = descriptions.iter().flat_map(|description| Sdp::new(description).lines());
    for line in lines.filter(|line| line.kind != b'o') {
        hasher.write_u8(line.kind);
        hasher.write(line.value);
    }
    hasher.finish()
}

impl Content {
    /// A session description of our own making.
    pub fn own(description: impl Into<Bytes>) -> Self {
        let body: Bytes = description.into();
        let content_type = Bytes::from_static(b"application/sdp");
        Self { content_type, lines: Lines::default(), description: body.clone(), body }
    }

    /// What a NOTIFY tells of a response (RFC 3420, RFC 3515 §2.4.5).
    pub(super) fn fragment(body: Bytes) -> Self {
        let content_type = Bytes::from_static(b"message/sipfrag;version=2.0");
        Self { content_type, lines: Lines::default(), description: Bytes::new(), body }
    }

    /// `description` of a peer, well-formed, for the leg that `origin` belongs to.
    pub(super) fn describe(description: &[u8], origin: &mut Origin, address: IpAddr) -> Self {
        Self::own(sdp::rewrite_origin(description, &origin.next(&[Cow::Borrowed(description)], address)))
    }

    /// The body of `message`, for the leg that `origin` belongs to. `edit` may change its session descriptions further.
    pub(super) fn relay(
        message: &Message,
        origin: &mut Origin,
        address: IpAddr,
        edit: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Self>, Unacceptable> {
        let body = message.body_bytes();
        if body.is_empty() {
            return Ok(None);
        }
        let places = sdp::locate_all(message).map_err(|_| Unacceptable)?;
        let (body, description) = match places.is_empty() {
            true => (body, Bytes::new()),
            false => with_origin(&body, places, origin, address, edit)?,
        };
        let content_type = message.content_type().map(Bytes::copy_from_slice).unwrap_or_default();
        Ok(Some(Self { content_type, lines: describing_lines(message), body, description }))
    }

    /// This body, if there is one, with a part beside it: in its own multipart/mixed, or in one of ours (RFC 5621 §3.1).
    pub fn with_part(content: Option<Self>, boundary: &str, part: &Part<'_>) -> Self {
        let Part { content_type, content_id, body } = part;
        let Some(own) = content else {
            // RFC 8262 §3: the one body of a message may have an identifier too.
            let mut lines = Lines::default();
            lines.push(b"Content-ID", format!("<{content_id}>").as_bytes());
            lines.push(b"Content-Disposition", BY_REFERENCE.as_bytes());
            let body = Bytes::copy_from_slice(body);
            return Self {
                content_type: content_type.as_bytes().to_vec().into(),
                lines,
                body,
                description: Bytes::new(),
            };
        };
        let head = format!(
            "Content-Type: {content_type}\r\nContent-ID: <{content_id}>\r\nContent-Disposition: {BY_REFERENCE}\r\n\r\n"
        );
        let part = [head.as_bytes(), body].concat();
        if let Some(whole) = mime::append(&own.content_type, &own.body, &part) {
            return Self { body: whole.into(), ..own };
        }
        let delimiter = format!("--{boundary}\r\n");
        let end = format!("\r\n--{boundary}--\r\n");
        let whole = [
            delimiter.as_bytes(),
            b"Content-Type: ",
            &own.content_type,
            b"\r\n",
            own.lines.as_bytes(),
            b"\r\n",
            &own.body,
            b"\r\n",
            delimiter.as_bytes(),
            &part,
            end.as_bytes(),
        ]
        .concat();
        let content_type = format!("multipart/mixed;boundary={boundary}").into_bytes().into();
        Self { content_type, lines: Lines::default(), body: whole.into(), description: own.description }
    }

    /// The session description alone, where it has one.
    pub fn bare(self) -> Option<Self> {
        self.describes().then(|| Self::own(self.description))
    }

    /// True when it is a session description and nothing else.
    pub fn is_bare(&self) -> bool {
        self.describes() && self.lines.is_empty() && self.body == self.description
    }

    /// True when it describes media.
    pub fn describes(&self) -> bool {
        !self.description.is_empty()
    }

    /// The session description of `message`, well-formed or not.
    pub(super) fn description_of(message: &Message) -> Option<Bytes> {
        Some(message.slice(message.body().get(sdp::locate(message)?)?))
    }

    /// True when `message` carries a session description that no leg may see (CONFORMANCE OA-8).
    pub fn is_malformed(message: &Message) -> bool {
        Self::refusal_of(message).is_some()
    }

    /// Why it may not: 415 where it may be hidden (RFC 3261 §8.2.3), 488 where it can be read and not used.
    pub fn refusal_of(message: &Message) -> Option<Refusal> {
        let Ok(places) = sdp::locate_all(message) else {
            return Some(Refusal::warn(415, "The body is encoded, or cannot be read"));
        };
        let at = |place: std::ops::Range<usize>| message.body().get(place).map(Sdp::new);
        let fault = places.into_iter().filter_map(at).find_map(|description| description.fault_in_words())?;
        Some(Refusal::warn(488, format!("Malformed session description: {fault}")))
    }
}

/// `body` with its session descriptions, which are at `places`, edited and under an origin line of ours.
fn with_origin(
    body: &[u8],
    places: mime::Places,
    origin: &mut Origin,
    address: IpAddr,
    edit: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<(Bytes, Bytes), Unacceptable> {
    let mut descriptions = SmallVec::<[Cow<'_, [u8]>; 1]>::new();
    for place in &places {
        let description = body.get(place.clone()).ok_or(Unacceptable)?;
        if !Sdp::new(description).well_formed() {
            return Err(Unacceptable);
        }
        descriptions.push(edit(description).map_or(Cow::Borrowed(description), Cow::Owned));
    }
    let ours = origin.next(&descriptions, address);
    let mut whole: Option<Bytes> = None;
    let mut first = Bytes::new();
    // From the end, so that the places before stay where they are.
    for (place, description) in places.into_iter().zip(&descriptions).rev() {
        first = sdp::rewrite_origin(description, &ours).into();
        whole = Some(match whole {
            None if place == (0..body.len()) => first.clone(),
            whole => mime::replace_content(whole.as_deref().unwrap_or(body), place, &first).into(),
        });
    }
    Ok((whole.unwrap_or_default(), first))
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
