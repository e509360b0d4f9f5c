//! A message: its bytes, and where things are in them (RFC 3261 §7).
//!
//! Typed views are made when somebody asks; bytes that nobody asked about are never touched.

use std::fmt;

use bytes::Bytes;
use memchr::memchr;

use super::check;
use super::scan::{Line, Lines, Scan, Span};
use super::text::values;
use super::{Fault, Malformed, Method, Name, NameAddr, Via};
use crate::base::limits;

/// A request or a response that keeps the promises of `parse`.
#[derive(Clone)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) lines: Lines,
    /// 0 for a request.
    pub(super) code: u16,
    pub(super) method: Method,
    pub(super) method_name: Span,
    /// Request-URI or reason phrase.
    pub(super) subject: Span,
    pub(super) head_end: u16,
    pub(super) body: u16,
    pub(super) cseq: u32,
    pub(super) max_forwards: Option<u8>,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub name: Name,
    pub raw_name: &'a [u8],
    /// Trimmed, folds left in.
    pub value: &'a [u8],
    /// All of it, with its CRLF.
    pub line: &'a [u8],
}

impl Message {
    /// Reads one datagram or one framed message. Line breaks before it are passed over, and what follows the body.
    ///
    /// What it returns has a valid start line, top Via, From, To, Call-ID, CSeq with the method of the request line, a
    /// Content-Length that the body fills (without one, the body is the rest), a Max-Forwards of 0 to 255 if any, a request's
    /// Contacts are addresses or `*`, and no single-value header stands twice.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() > limits::MESSAGE_BYTES {
            return Err(Malformed { status: Fault::TooLong.status(), fault: Fault::TooLong, message: None });
        }
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count(); // RFC 3261 §7.5
        let bytes = if blank == 0 { bytes } else { bytes.slice(blank..) };
        if bytes.is_empty() {
            return Err(Malformed { status: Fault::Empty.status(), fault: Fault::Empty, message: None });
        }
        let scan = Scan::run(&bytes);
        let mut message = Self {
            method: Method::from_bytes(scan.method.of(&bytes)),
            bytes,
            lines: scan.lines,
            code: scan.code,
            method_name: scan.method,
            subject: scan.subject,
            head_end: Span::new(scan.head_end, 0).start,
            body: Span::new(scan.body, 0).start,
            cseq: 0,
            max_forwards: None,
        };
        match check::run(&mut message, scan.fault) {
            Ok(()) => Ok(message),
            Err(fault) => {
                let message = check::answerable(&message).then(|| Box::new(message));
                Err(Malformed { status: fault.status(), fault, message })
            }
        }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `part`, a piece of this message, as `Bytes` of its own: no copy. Empty when it is no piece of it.
    pub fn slice(&self, part: &[u8]) -> Bytes {
        let start = (part.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize);
        let inside = |start: &usize| start.saturating_add(part.len()) <= self.bytes.len();
        start.filter(inside).map_or_else(Bytes::new, |start| self.bytes.slice(start..start + part.len()))
    }

    pub fn is_request(&self) -> bool {
        self.code == 0
    }

    /// Of the request; for a response, of its CSeq.
    pub fn method(&self) -> Method {
        self.method
    }

    pub fn method_name(&self) -> &[u8] {
        self.method_name.of(&self.bytes)
    }

    /// Empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        if self.is_request() { self.subject.of(&self.bytes) } else { b"" }
    }

    /// 0 for a request.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Empty for a request.
    pub fn reason(&self) -> &[u8] {
        if self.is_request() { b"" } else { self.subject.of(&self.bytes) }
    }

    /// The first value line of that name, trimmed; folds are left in (`unfold`).
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        let line = self.lines.iter().find(|line| line.name == name)?;
        Some(line.value.of(&self.bytes))
    }

    /// Any header, by its long name in any case.
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        match Name::from_bytes(name.as_bytes()) {
            Name::Other => {}
            known => return self.header(known),
        }
        let unknown = self.headers().filter(|header| header.name == Name::Other);
        unknown
            .into_iter()
            .find(|header| header.raw_name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value)
    }

    /// All header lines in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let ends = self.lines.iter().skip(1).map(|next| next.start).chain([self.head_end]);
        self.lines.iter().zip(ends).map(|(line, end)| self.view(line, end))
    }

    fn view(&self, line: &Line, end: u16) -> Header<'_> {
        let text = Span { start: line.start, end }.of(&self.bytes);
        let name = text.get(..memchr(b':', text).unwrap_or(0)).unwrap_or_default();
        Header { name: line.name, raw_name: name.trim_ascii_end(), value: line.value.of(&self.bytes), line: text }
    }

    /// Every value of that name: all its lines, split at top-level commas, trimmed, empty ones left out.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let lines = self.lines.iter().filter(move |line| line.name == name);
        lines.flat_map(|line| values(line.value.of(&self.bytes)))
    }

    /// True when `token` is among the values of that name, in any case: option tags, methods, events.
    pub fn lists(&self, name: Name, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    pub fn top_via(&self) -> Via<'_> {
        self.values(Name::Via).next().and_then(|value| Via::parse(value).ok()).unwrap_or(Via::none())
    }

    pub fn from(&self) -> NameAddr<'_> {
        self.address(Name::From)
    }

    pub fn to(&self) -> NameAddr<'_> {
        self.address(Name::To)
    }

    fn address(&self, name: Name) -> NameAddr<'_> {
        self.header(name).and_then(|value| NameAddr::parse(value).ok()).unwrap_or(NameAddr::none())
    }

    pub fn from_tag(&self) -> Option<&[u8]> {
        self.from().tag()
    }

    pub fn to_tag(&self) -> Option<&[u8]> {
        self.to().tag()
    }

    pub fn call_id(&self) -> &[u8] {
        self.header(Name::CallId).unwrap_or_default()
    }

    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The first Contact; `None` for `*`.
    pub fn contact(&self) -> Option<NameAddr<'_>> {
        self.values(Name::Contact).next().and_then(|value| NameAddr::parse(value).ok())
    }

    pub fn body(&self) -> &[u8] {
        self.bytes.get(usize::from(self.body)..).unwrap_or_default()
    }

    pub fn body_bytes(&self) -> Bytes {
        self.slice(self.body())
    }

    pub fn max_forwards(&self) -> Option<u8> {
        self.max_forwards
    }

    /// `None` where the body has none. A session description is known by its first line, if it must be (RFC 3261 §20.15).
    pub fn content_type(&self) -> Option<&[u8]> {
        let told = self.header(Name::ContentType).filter(|told| !told.is_empty());
        told.or_else(|| self.body().trim_ascii_start().starts_with(b"v=").then_some(&b"application/sdp"[..]))
    }
}

impl fmt::Debug for Message {
    /// The method or code only: the rest names people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            0 => write!(f, "Message({})", String::from_utf8_lossy(self.method_name())),
            code => write!(f, "Message({code} to {})", String::from_utf8_lossy(self.method_name())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INVITE: &str = "INVITE sip:911@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@x>;tag=1\r\nTo: <sip:911@x>\r\n\
        Call-ID: c1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n";

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn with(lines: &str) -> Result<Message, Malformed> {
        parse(&format!("{INVITE}{lines}\r\n"))
    }

    fn fault(text: &str) -> Fault {
        parse(text).unwrap_err().fault
    }

    #[test]
    fn the_body_is_what_content_length_says_or_the_rest() {
        assert_eq!(parse(&format!("{INVITE}\r\nabc")).unwrap().body(), b"abc");
        let cut = parse(&format!("\r\n\r\n{INVITE}l: 2\r\n\r\nabcINVITE")).unwrap();
        assert_eq!((cut.body(), cut.body_bytes()), (&b"ab"[..], Bytes::from_static(b"ab")));
        assert!(cut.bytes().starts_with(b"INVITE") && cut.bytes().ends_with(b"\r\n\r\nab"));
        let short = parse(&format!("{INVITE}Content-Length: 4\r\n\r\nabc")).unwrap_err();
        assert_eq!((short.status, short.fault), (400, Fault::ShortBody));
        assert_eq!(short.message.unwrap().call_id(), b"c1");
        for bad in ["-1", "+1", "1 1", "99999999999999999999", "", "1,1"] {
            assert!(with(&format!("Content-Length: {bad}\r\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn header_lines_come_back_as_they_were() {
        let message =
            with("X-A :  one\r\n\ttwo \r\nx-b:\r\nContact: <sip:a@h>, \"B, C\" <sip:b@h>\r\nm: *\r\n").unwrap();
        let lines: Vec<u8> = message.headers().flat_map(|header| header.line.to_vec()).collect();
        let head = message.bytes().len() - "INVITE sip:911@x SIP/2.0\r\n".len() - 2;
        assert_eq!(lines.len(), head);
        assert_eq!(message.header_named("x-A"), Some(&b"one\r\n\ttwo"[..]));
        assert_eq!(message.header_named("X-B"), Some(&b""[..]));
        assert_eq!(message.header_named("from"), Some(&b"<sip:a@x>;tag=1"[..]));
        assert_eq!(message.header_named("X-C"), None);
        let contacts: Vec<_> = message.values(Name::Contact).collect();
        assert_eq!(contacts, [&b"<sip:a@h>"[..], b"\"B, C\" <sip:b@h>", b"*"]);
        assert_eq!(message.slice(message.request_uri()), Bytes::from_static(b"sip:911@x"));
        assert_eq!(message.slice(b"elsewhere"), Bytes::new());
    }

    #[test]
    fn any_byte_survives_outside_the_grammar() {
        let mut text = INVITE.as_bytes().to_vec();
        text.extend_from_slice(b"User-Agent: J\xf6rg \xff\x00\x01\r\nX-\r\n");
        assert!(Message::parse(text.clone().into()).is_err());
        text.truncate(text.len() - 4);
        text.extend_from_slice(b"\r\n\xff\x00\r\n\r\n");
        let message = Message::parse(text.into()).unwrap();
        assert_eq!(message.header(Name::UserAgent), Some(&b"J\xf6rg \xff\x00\x01"[..]));
        assert_eq!(message.body(), b"\xff\x00\r\n\r\n");
    }

    #[test]
    fn the_first_sin_is_named() {
        assert_eq!(fault(""), Fault::Empty);
        assert_eq!(fault("\r\n\r\n"), Fault::Empty);
        assert_eq!(fault("GET / HTTP/1.1\r\n\r\n"), Fault::StartLine);
        assert_eq!(fault("\u{16}\u{3}\u{1}"), Fault::Unfinished);
        assert_eq!(fault(INVITE), Fault::Unfinished);
        assert_eq!(with("To: <sip:b@x>\r\n").unwrap_err().fault, Fault::Duplicate(Name::To));
        assert_eq!(with("no colon\r\n").unwrap_err().fault, Fault::HeaderLine { line: 7 });
        assert_eq!(with(" \r\nX Y: z\r\n").unwrap_err().fault, Fault::HeaderLine { line: 7 });
        assert!(matches!(with("X: a\nTo: b\r\n").unwrap_err().fault, Fault::BareLineBreak { .. }));
        assert!(matches!(with("X: a\rTo: b\r\n").unwrap_err().fault, Fault::BareLineBreak { .. }));
        assert_eq!(fault(&format!("{}\r\n", INVITE.replace("70", "256"))), Fault::Value(Name::MaxForwards));
        assert_eq!(
            fault(&format!("{}\r\n", INVITE.replace("1 INVITE", "4294967296 INVITE"))),
            Fault::Value(Name::CSeq)
        );
        assert_eq!(fault(&format!("{}\r\n", INVITE.replace("1 INVITE", "1 ACK"))), Fault::CseqMethod { known: true });
        assert_eq!(fault(&format!("{}\r\n", INVITE.replace("Call-ID: c1\r\n", ""))), Fault::Missing(Name::CallId));
        assert_eq!(fault(&format!("{}\r\n", INVITE.replace("SIP/2.0\r", "SIP/3.0\r"))), Fault::Version);
        assert_eq!(fault(&format!("{}\r\n", INVITE.replace("tag=1", "tag="))), Fault::Value(Name::From));
    }

    #[test]
    fn bounds_on_lines_and_bytes() {
        let lines = limits::HEADER_LINES - 6;
        assert!(with(&"X-A: y\r\n".repeat(lines)).is_ok());
        assert!(!with(&"X-A: y\r\n".repeat(18)).unwrap().lines.spilled(), "the index of 24 lines is no allocation");
        let many = with(&"X-A: y\r\n".repeat(lines + 1)).unwrap_err();
        assert_eq!((many.status, many.fault), (513, Fault::TooManyLines));
        let room = limits::MESSAGE_BYTES - INVITE.len() - 2;
        assert_eq!(parse(&format!("{INVITE}\r\n{}", "b".repeat(room))).unwrap().body().len(), room);
        assert_eq!(fault(&format!("{INVITE}\r\n{}", "b".repeat(room + 1))), Fault::TooLong);
        let long = parse(&format!("{INVITE}X: {}\r\n\r\n", "v".repeat(room - 5))).unwrap();
        assert_eq!(long.header_named("x").map(<[u8]>::len), Some(room - 5));
    }

    #[test]
    fn responses_and_what_is_never_answered() {
        let ok = "SIP/2.0 200 \r\nv: SIP/2.0/TCP h;branch=z9hG4bK1\r\nf: sip:a@x;tag=1\r\nt: sip:b@x;tag=2\r\ni: c\r\nCSeq: 7\r\n BYE\r\n\r\n";
        let message = parse(ok).unwrap();
        assert_eq!(
            (message.code(), message.method(), message.method_name(), message.cseq()),
            (200, Method::Bye, &b"BYE"[..], 7)
        );
        assert_eq!((message.reason(), message.request_uri(), message.to_tag()), (&b""[..], &b""[..], Some(&b"2"[..])));
        assert_eq!(parse(&ok.replace("200 ", "200")).unwrap().code(), 200);
        assert_eq!(parse(&ok.replace("200 ", "480 Nobody home ")).unwrap().reason(), b"Nobody home ");
        for bad in ["099 x", "700 x", "2000 x", "20 x", "-20 x"] {
            assert!(parse(&ok.replace("200 ", bad)).unwrap_err().message.is_none(), "{bad}");
        }
        let ack = INVITE.replace("INVITE", "ACK").replace("70", "700");
        assert!(parse(&format!("{ack}\r\n")).unwrap_err().message.is_none());
    }
}
