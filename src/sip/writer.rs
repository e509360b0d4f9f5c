//! Printing: one scratch buffer, used again for every message.
//!
//! Nothing given to it can start a line of its own: line breaks and NULs in values become spaces.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use super::text::{is_token, unfold};
use super::{Header, Message, Name};

/// Prints one message after the other: `request` or `response`, then headers, then `finish`.
#[derive(Default)]
pub struct Writer {
    scratch: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a request; what was not finished before is dropped. White space in `uri` is left out.
    pub fn request(&mut self, method: &[u8], uri: &[u8]) -> &mut Self {
        self.scratch.clear();
        self.scratch.extend(method.iter().filter(|byte| is_token(&[**byte])));
        self.scratch.push(b' ');
        self.scratch.extend(uri.iter().filter(|&&byte| byte > b' ' && byte != 0x7f));
        self.scratch.extend_from_slice(b" SIP/2.0\r\n");
        self
    }

    /// Starts a response; what was not finished before is dropped.
    pub fn response(&mut self, code: u16, reason: &[u8]) -> &mut Self {
        self.scratch.clear();
        self.print(format_args!("SIP/2.0 {code} "));
        self.value(reason);
        self.end_line()
    }

    /// One header line. Folds in `value` are undone.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.name(name);
        self.value(value);
        self.end_line()
    }

    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Self {
        self.name(name);
        let start = self.scratch.len();
        self.print(value);
        self.tame(start);
        self.end_line()
    }

    /// Every line of that name, in its order and as it came.
    pub fn copy(&mut self, message: &Message, name: Name) -> &mut Self {
        for header in message.headers().filter(|header| header.name == name) {
            self.copy_line(&header);
        }
        self
    }

    /// One line as it came.
    pub fn copy_line(&mut self, header: &Header<'_>) -> &mut Self {
        self.scratch.extend_from_slice(header.line); // parsed: it holds no line break but folds and the last
        self
    }

    /// The message without a body.
    pub fn finish(&mut self) -> Bytes {
        self.scratch.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.take()
    }

    /// The message with a body, byte for byte.
    pub fn finish_with(&mut self, content_type: &[u8], body: &[u8]) -> Bytes {
        self.header(Name::ContentType.as_str(), content_type);
        self.finish_body(body)
    }

    /// As `finish_with`, where Content-Type is printed already.
    pub fn finish_body(&mut self, body: &[u8]) -> Bytes {
        self.print(format_args!("Content-Length: {}\r\n\r\n", body.len()));
        self.scratch.extend_from_slice(body);
        self.take()
    }

    fn take(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.scratch);
        self.scratch.clear();
        bytes
    }

    fn name(&mut self, name: &str) {
        self.scratch.extend(name.bytes().filter(|byte| is_token(&[*byte])));
        self.scratch.extend_from_slice(b": ");
    }

    pub(super) fn value(&mut self, value: &[u8]) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(&unfold(value));
        self.tame(start);
    }

    fn print(&mut self, text: fmt::Arguments<'_>) {
        // Writing to memory cannot fail; an error of a `Display` leaves a shorter value.
        let _ = Sink(&mut self.scratch).write_fmt(text);
    }

    fn tame(&mut self, start: usize) {
        for byte in self.scratch.iter_mut().skip(start).filter(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            *byte = b' ';
        }
    }

    pub(super) fn end_line(&mut self) -> &mut Self {
        self.scratch.extend_from_slice(b"\r\n");
        self
    }
}

struct Sink<'a>(&'a mut Vec<u8>);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
