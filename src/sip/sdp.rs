//! Session descriptions as far as a bridge must read them (RFC 8866, RFC 3264): where they are, their origin line, their
//! directions. Everything else passes byte for byte.

use std::net::IpAddr;
use std::ops::Range;

use memchr::memchr;

use super::text::{decimal, split_once, trim_end};
use super::{Message, mime};

/// Where the SDP of a message is in its body: the whole body, or a part of a multipart.
pub fn locate(message: &Message) -> Option<Range<usize>> {
    let content_type = message.content_type()?;
    mime::locate(content_type, message.body(), "application/sdp").filter(|range| !range.is_empty())
}

/// Where all the SDP of a message is, in its order.
///
/// # Errors
/// There may be SDP where it cannot be read: in a part that is encoded, nested too deep, or in a body that is; in a body of no
/// type, or divided by a boundary that its type does not tell.
pub fn locate_all(message: &Message) -> Result<mime::Places, mime::Opaque> {
    if message.body().is_empty() {
        return Ok(mime::Places::new());
    }
    let content_type = message.content_type().ok_or(mime::Opaque)?;
    if mime::untold_boundary(content_type, message.body()).is_some() {
        return Err(mime::Opaque);
    }
    let mut places = mime::locate_all(content_type, message.body(), "application/sdp")?;
    places.retain(|range| range.start < range.end);
    // RFC 3261 §20.12: under another encoding nothing is what it seems.
    let may_hold = !places.is_empty() || mime::is_multipart(content_type);
    let is_encoded = || message.header(super::Name::ContentEncoding).is_some_and(|encoding| !mime::is_plain(encoding));
    if may_hold && is_encoded() { Err(mime::Opaque) } else { Ok(places) }
}

/// The SDP of a message.
pub fn of(message: &Message) -> Option<Sdp<'_>> {
    message.body().get(locate(message)?).map(Sdp::new)
}

/// An origin line of ours: it tells nothing about the caller's device (RFC 8866 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub session_id: u64,
    pub version: u64,
    pub address: IpAddr,
}

/// `sdp` with its first `o=` line replaced, all else byte for byte. Without an `o=` line nothing changes.
pub fn rewrite_origin(sdp: &[u8], origin: &Origin) -> Vec<u8> {
    let Some(old) = Sdp::new(sdp).lines().find(|line| line.kind == b'o') else { return sdp.to_vec() };
    let start = old.value.as_ptr() as usize - sdp.as_ptr() as usize;
    let family = if origin.address.is_ipv4() { "IP4" } else { "IP6" };
    let new = format!("- {} {} IN {family} {}", origin.session_id, origin.version, origin.address);
    mime::replace(sdp, start..start + old.value.len(), new.as_bytes())
}

/// `answer` with as many streams as `offer` has, in their order (RFC 3264 §6): those that it leaves out are refused, those that it has
/// besides are left out. `None`: it has as many.
pub fn fitted(answer: &[u8], offer: &[u8]) -> Option<Vec<u8>> {
    let count = |text| Sdp::new(text).lines().filter(|line| line.kind == b'm').count();
    let (has, wants) = (count(answer), count(offer));
    if has == wants {
        return None;
    }
    let mut fitted = Vec::with_capacity(answer.len() + offer.len());
    let mut begun = 0;
    for raw in raw_lines(answer) {
        begun += usize::from(raw.starts_with(b"m="));
        if begun > wants {
            break;
        }
        if !raw.is_empty() {
            fitted.extend_from_slice(raw);
            fitted.extend_from_slice(b"\r\n");
        }
    }
    for Media { kind, protocol, formats, .. } in Sdp::new(offer).media().skip(has) {
        fitted.extend_from_slice(&[b"m=", kind, b" 0 ", protocol, b" ", formats, b"\r\n"].concat());
    }
    Some(fitted)
}

/// Which way media may flow (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn from_bytes(attribute: &[u8]) -> Option<Self> {
        match attribute {
            b"sendrecv" => Some(Self::SendRecv),
            b"sendonly" => Some(Self::SendOnly),
            b"recvonly" => Some(Self::RecvOnly),
            b"inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// `k=value`, without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub kind: u8,
    pub value: &'a [u8],
}

/// One `m=` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// `audio`, `video`, `text`, …
    pub kind: &'a [u8],
    /// 0: refused or disabled (RFC 3264 §6).
    pub port: u16,
    /// `RTP/AVP`, …
    pub protocol: &'a [u8],
    /// The formats, as written.
    pub formats: &'a [u8],
    /// Its own direction, else that of the session, else `SendRecv`.
    pub direction: Direction,
}

/// What is wrong with a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpFault {
    #[error("SDP does not start with v=0")]
    Version,
    #[error("SDP line {0} is not `x=…`")]
    Line(usize),
    #[error("SDP has no usable o= line")]
    Origin,
    #[error("SDP has no t= line")]
    Time,
    #[error("SDP m= section {0} is unusable")]
    Media(usize),
    #[error("SDP m= section {0} has no c= line, nor has the session")]
    Connection(usize),
}

/// A view of a session description.
#[derive(Clone, Copy, Debug)]
pub struct Sdp<'a> {
    text: &'a [u8],
}

impl<'a> Sdp<'a> {
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// Lines in their order; a bare LF ends one too (RFC 8866 §5: parsers should accept it). What is no `x=…` is passed over.
    pub fn lines(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        raw_lines(self.text).filter_map(line)
    }

    /// `None`: good enough to be offered to the other side. Lenient where phones are sloppy: order, `s=`, unknown lines.
    pub fn fault(&self) -> Option<SdpFault> {
        let bad = raw_lines(self.text).position(|raw| !raw.is_empty() && line(raw).is_none());
        if let Some(at) = bad {
            return Some(SdpFault::Line(at + 1));
        }
        if self.lines().next() != Some(Line { kind: b'v', value: b"0" }) {
            return Some(SdpFault::Version);
        }
        if self.version().is_none() {
            return Some(SdpFault::Origin);
        }
        if !self.lines().any(|line| line.kind == b't') {
            return Some(SdpFault::Time);
        }
        self.media_fault()
    }

    /// The fault in words, with the line it is in, counted from 1.
    pub fn fault_in_words(&self) -> Option<String> {
        let fault = self.fault()?;
        let nth = |kind: u8, section: usize| {
            let at = |(_, raw): &(usize, &[u8])| raw.starts_with(&[kind, b'=']);
            raw_lines(self.text).enumerate().filter(at).nth(section.saturating_sub(1)).map(|(at, _)| at + 1)
        };
        let line = match fault {
            SdpFault::Line(_) | SdpFault::Time => None,
            SdpFault::Version => Some(1),
            SdpFault::Origin => nth(b'o', 1),
            SdpFault::Media(section) | SdpFault::Connection(section) => nth(b'm', section),
        };
        Some(line.map_or(fault.to_string(), |line| format!("{fault} (line {line})")))
    }

    pub fn well_formed(&self) -> bool {
        self.fault().is_none()
    }

    fn media_fault(&self) -> Option<SdpFault> {
        let (mut sections, mut session_c, mut own_c) = (0, false, true);
        for line in self.lines() {
            match line.kind {
                b'c' if sections == 0 => session_c = true,
                b'c' => own_c = true,
                b'm' if !own_c && !session_c => return Some(SdpFault::Connection(sections)),
                b'm' => {
                    sections += 1;
                    let media = media_line(line.value, Direction::SendRecv).filter(|media| !media.formats.is_empty());
                    let Some(media) = media else { return Some(SdpFault::Media(sections)) };
                    own_c = media.port == 0;
                }
                _ => {}
            }
        }
        (!own_c && !session_c).then_some(SdpFault::Connection(sections))
    }

    /// The `sess-version` of the origin line: the same version means the same description (RFC 3264 §8).
    pub fn version(&self) -> Option<u64> {
        let origin = self.lines().find(|line| line.kind == b'o')?;
        version_of(origin.value)
    }

    /// The connection address of the session.
    pub fn connection(&self) -> Option<&'a [u8]> {
        let session = self.lines().take_while(|line| line.kind != b'm');
        session.into_iter().find(|line| line.kind == b'c').and_then(|line| fields(line.value).nth(2))
    }

    /// True when it has sound, but none that flows both ways: the other side is put on hold (RFC 3264 §8.4).
    pub fn holds(&self) -> bool {
        let is_nowhere = self.connection().is_some_and(|host| matches!(host, b"0.0.0.0" | b"::"));
        let flows = |media: &Media<'_>| !is_nowhere && media.port != 0 && media.direction == Direction::SendRecv;
        let mut sound = self.media().filter(|media| media.kind == b"audio").peekable();
        sound.peek().is_some() && !sound.any(|media| flows(&media))
    }

    /// The `m=` sections in their order; one that cannot be read is passed over.
    pub fn media(&self) -> impl Iterator<Item = Media<'a>> + use<'a> {
        let mut lines = self.lines().peekable();
        let mut session = Direction::SendRecv;
        while let Some(line) = lines.next_if(|line| line.kind != b'm') {
            session = direction(line).unwrap_or(session);
        }
        std::iter::from_fn(move || {
            loop {
                let first = lines.next()?;
                let mut own = session;
                while let Some(line) = lines.next_if(|line| line.kind != b'm') {
                    own = direction(line).unwrap_or(own);
                }
                if let Some(media) = media_line(first.value, own) {
                    return Some(media);
                }
            }
        })
    }
}

/// The version in the value of an origin line that has all its fields.
pub(super) fn version_of(origin: &[u8]) -> Option<u64> {
    let mut fields = fields(origin);
    let version = fields.nth(2)?;
    fields.nth(2)?; // nettype, addrtype, address
    decimal(version)
}

fn raw_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

pub(super) fn line(raw: &[u8]) -> Option<Line<'_>> {
    match raw {
        [kind @ b'a'..=b'z', b'=', value @ ..] => Some(Line { kind: *kind, value }),
        _ => None,
    }
}

fn fields(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b' ').filter(|field| !field.is_empty())
}

fn direction(line: Line<'_>) -> Option<Direction> {
    if line.kind == b'a' { Direction::from_bytes(trim_end(line.value)) } else { None }
}

/// `kind port[/count] protocol formats…` (RFC 8866 §5.14).
pub(super) fn media_line(value: &[u8], direction: Direction) -> Option<Media<'_>> {
    let (kind, rest) = split_once(value, b' ')?;
    let (port, rest) = split_once(rest, b' ')?;
    let port = port.get(..memchr(b'/', port).unwrap_or(port.len()))?;
    let port = u16::try_from(decimal(port)?).ok()?;
    let (protocol, formats) = split_once(rest, b' ').unwrap_or((rest, &[]));
    let media = Media { kind, port, protocol, formats: trim_end(formats), direction };
    (!kind.is_empty() && !protocol.is_empty()).then_some(media)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 2890844526 2890844527 IN IP4 10.0.0.4\r\ns= \r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\na=sendonly\r\n\
        m=audio 49170/2 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\nm=video 0 RTP/SAVP 31\r\na=recvonly\r\nm=text 5000 RTP/AVP 98\r\na=inactive \r\n";

    #[test]
    fn only_the_origin_line_changes() {
        let origin = Origin { session_id: 7, version: 8, address: "192.0.2.1".parse().unwrap() };
        let new = rewrite_origin(OFFER.as_bytes(), &origin);
        let expected = OFFER.replace("o=alice 2890844526 2890844527 IN IP4 10.0.0.4", "o=- 7 8 IN IP4 192.0.2.1");
        assert_eq!(new, expected.as_bytes());
        let v6 = Origin { address: "2001:db8::1".parse().unwrap(), ..origin };
        assert_eq!(rewrite_origin(b"v=0\no=x\nb", &v6), b"v=0\no=- 7 8 IN IP6 2001:db8::1\nb");
        assert_eq!(rewrite_origin(b"v=0\r\n\xff", &v6), b"v=0\r\n\xff");
        let empty = OFFER.replace("o=alice 2890844526 2890844527 IN IP4 10.0.0.4", "o=");
        assert_eq!(rewrite_origin(empty.as_bytes(), &origin), expected.into_bytes());
    }

    #[test]
    fn the_view() {
        let sdp = Sdp::new(OFFER.as_bytes());
        assert_eq!((sdp.fault(), sdp.version(), sdp.connection()), (None, Some(2_890_844_527), Some(&b"10.0.0.4"[..])));
        let media: Vec<_> = sdp.media().map(|media| (media.kind, media.port, media.direction)).collect();
        let expected: [(&[u8], u16, Direction); 3] = [
            (b"audio", 49170, Direction::SendOnly),
            (b"video", 0, Direction::RecvOnly),
            (b"text", 5000, Direction::Inactive),
        ];
        assert_eq!(media, expected);
        let first = sdp.media().next().unwrap();
        assert_eq!((first.protocol, first.formats), (&b"RTP/AVP"[..], &b"0 8"[..]));
    }

    #[test]
    fn what_phones_get_wrong_is_forgiven_what_cannot_be_used_is_not() {
        for good in [
            OFFER.replace("\r\n", "\n"),
            OFFER.replace("s= \r\n", ""),
            OFFER.replace("s= \r\n", "X=\r\n").replace("X=", "z=unknown"),
            format!("{OFFER}\r\n"),
            OFFER.trim_end().to_owned(),
            OFFER
                .replace("c=IN IP4 10.0.0.4\r\n", "")
                .replace("m=text", "m=text 0 x 0\r\nm=text")
                .replace("49170/2", "0")
                .replace("5000", "0"),
        ] {
            assert_eq!(Sdp::new(good.as_bytes()).fault(), None, "{good}");
        }
        for (bad, fault) in [
            (String::new(), SdpFault::Version),
            (OFFER.replace("v=0", "v=1"), SdpFault::Version),
            (OFFER.replace("v=0\r\n", ""), SdpFault::Version),
            (OFFER.replace("s= ", "s"), SdpFault::Line(3)),
            (OFFER.replace("2890844527", "-1"), SdpFault::Origin),
            (OFFER.replace("IN IP4 10.0.0.4\r\ns", "\r\ns"), SdpFault::Origin),
            (OFFER.replace("t=0 0\r\n", ""), SdpFault::Time),
            (OFFER.replace("49170/2", "99999"), SdpFault::Media(1)),
            (OFFER.replace("RTP/SAVP 31", "RTP/SAVP"), SdpFault::Media(2)),
            (OFFER.replace("c=IN IP4 10.0.0.4\r\n", ""), SdpFault::Connection(1)),
        ] {
            assert_eq!(Sdp::new(bad.as_bytes()).fault(), Some(fault), "{bad}");
        }
    }

    #[test]
    fn what_holds() {
        let text =
            |media: &str| format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}");
        let cases = [
            ("m=audio 6000 RTP/AVP 0\r\n", false),
            ("m=audio 6000 RTP/AVP 0\r\na=sendonly\r\n", true),
            ("m=audio 6000 RTP/AVP 0\r\na=inactive\r\n", true),
            ("m=audio 0 RTP/AVP 0\r\n", true),
            ("m=audio 6000 RTP/AVP 0\r\na=sendonly\r\nm=audio 6002 RTP/AVP 0\r\n", false),
            ("m=text 6000 RTP/AVP 98\r\na=sendonly\r\n", false),
        ];
        for (media, held) in cases {
            assert_eq!(Sdp::new(text(media).as_bytes()).holds(), held, "{media}");
        }
        let nowhere = text("m=audio 6000 RTP/AVP 0\r\n").replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
        assert!(Sdp::new(nowhere.as_bytes()).holds());
    }
}
