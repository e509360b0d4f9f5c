//! One pass over a message: where the start line, the header lines and the body are, and the first fault met.
//!
//! The pass goes on behind a fault, so that a bad request can still be answered.

use memchr::{memchr, memchr2, memrchr};
use smallvec::SmallVec;

use super::text::{is_token, trim, trim_start};
use super::{Fault, Name};
use crate::base::limits;

/// A range of the message. Messages are at most 65,535 bytes (`limits::MESSAGE_BYTES`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u16,
    pub end: u16,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        let clamp = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        Self { start: clamp(start), end: clamp(end) }
    }

    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

/// A header line: from its first byte; its trimmed value. It ends where the next one starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub start: u16,
    pub value: Span,
    pub name: Name,
}

/// Most messages have fewer lines than this: their index is no allocation.
pub(super) type Lines = SmallVec<[Line; 24]>;

/// What the pass found. `code` is 0 for a request.
pub(super) struct Scan {
    pub code: u16,
    /// Of a request.
    pub method: Span,
    /// Request-URI or reason phrase.
    pub subject: Span,
    pub lines: Lines,
    /// Where the empty line after the headers starts.
    pub head_end: usize,
    pub body: usize,
    pub fault: Option<Fault>,
}

impl Scan {
    /// Over bytes that start with the start line and are at most `limits::MESSAGE_BYTES` long.
    pub fn run(bytes: &[u8]) -> Self {
        let mut scan = Self {
            code: 0,
            method: Span::default(),
            subject: Span::default(),
            lines: Lines::new(),
            head_end: bytes.len(),
            body: bytes.len(),
            fault: None,
        };
        let start_end = scan.line_end(bytes, 0);
        scan.start_line(bytes.get(..start_end).unwrap_or_default());
        scan.headers(bytes, start_end + 2);
        scan
    }

    /// Keeps the first fault.
    pub fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Where the CRLF is that ends the line (folds included) starting at `at`; the end of the bytes when there is none.
    fn line_end(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(step) = bytes.get(at..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
            at += step;
            match bytes.get(at..) {
                Some([b'\r', b'\n', b' ' | b'\t', ..]) => at += 3, // RFC 3261 §7.3.1: a fold
                Some([b'\r', b'\n', ..]) => return at,
                _ => {
                    self.blame(Fault::BareLineBreak { at: Span::new(at, at).start });
                    at += 1;
                }
            }
        }
        self.blame(Fault::Unfinished);
        bytes.len()
    }

    fn headers(&mut self, bytes: &[u8], mut at: usize) {
        loop {
            match bytes.get(at..) {
                Some([b'\r', b'\n', ..]) => {
                    (self.head_end, self.body) = (at, at + 2);
                    return;
                }
                None | Some([]) => return self.blame(Fault::Unfinished),
                Some(_) => {}
            }
            let end = self.line_end(bytes, at);
            if self.lines.len() == limits::HEADER_LINES {
                return self.blame(Fault::TooManyLines);
            }
            self.line(at, bytes.get(at..end).unwrap_or_default());
            at = end + 2;
        }
    }

    fn line(&mut self, at: usize, line: &[u8]) {
        let colon = memchr(b':', line);
        let name = colon.and_then(|colon| line.get(..colon)).unwrap_or_default();
        let name = name.trim_ascii_end();
        let known = Name::from_bytes(name);
        let Some(colon) = colon.filter(|_| known != Name::Other || is_token(name)) else {
            let line = u16::try_from(self.lines.len() + 1).unwrap_or(u16::MAX);
            return self.blame(Fault::HeaderLine { line });
        };
        let after = line.get(colon + 1..).unwrap_or_default();
        let from_value = trim_start(after);
        let start = at + line.len() - from_value.len();
        let value = Span::new(start, start + trim(from_value).len());
        self.lines.push(Line { start: Span::new(at, at).start, value, name: known });
    }

    fn start_line(&mut self, line: &[u8]) {
        let fault = match line.get(..4) {
            Some(start) if start.eq_ignore_ascii_case(b"SIP/") => self.status_line(line),
            _ => self.request_line(line),
        };
        if let Some(fault) = fault {
            self.blame(fault);
        }
    }

    /// RFC 3261 §7.1: single spaces, none elsewhere.
    fn request_line(&mut self, line: &[u8]) -> Option<Fault> {
        let Some((first, last)) = memchr(b' ', line).zip(memrchr(b' ', line)).filter(|(first, last)| first < last)
        else {
            return Some(Fault::StartLine);
        };
        self.method = Span::new(0, first);
        self.subject = Span::new(first + 1, last);
        if !is_token(self.method.of(line)) {
            self.method = Span::default();
            return Some(Fault::StartLine);
        }
        let version = line.get(last + 1..).unwrap_or_default();
        if version.eq_ignore_ascii_case(b"SIP/2.0") {
            return None;
        }
        let other = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
        Some(if other { Fault::Version } else { Fault::StartLine })
    }

    /// RFC 3261 §7.2; the space before an empty reason may be missing.
    fn status_line(&mut self, line: &[u8]) -> Option<Fault> {
        let Some((version, rest)) = super::text::split_once(line, b' ') else { return Some(Fault::StartLine) };
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            return Some(Fault::Version);
        }
        let (code, reason) = super::text::split_once(rest, b' ').unwrap_or((rest, &[]));
        let number = match code {
            [b'1'..=b'6', b'0'..=b'9', b'0'..=b'9'] => super::text::decimal(code),
            _ => None,
        };
        self.code = number.and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
        self.subject = Span::new(line.len() - reason.len(), line.len());
        (self.code == 0).then_some(Fault::StartLine)
    }
}
