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

    pub fn content_type(&self) -> Option<&[u8]> {
        self.header(Name::ContentType)
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
