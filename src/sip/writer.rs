//! Printing: one scratch buffer, used again for every message.
//!
//! Nothing given to it can start a line of its own: line breaks and NULs in values become spaces.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use super::text::{is_token, line_end, unfold};
use super::{Header, Lines, Message, Name};

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
        self.name(name.as_bytes());
        self.value(value);
        self.end_line()
    }

    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Self {
        self.name(name.as_bytes());
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

    /// One line as it came. A line of a malformed message that is not one clean line is printed anew.
    pub fn copy_line(&mut self, header: &Header<'_>) -> &mut Self {
        if line_end(header.line) == header.line.len().checked_sub(2) && only_folds(header.line) {
            self.scratch.extend_from_slice(header.line);
            return self;
        }
        let name = if header.name == Name::Other { header.raw_name } else { header.name.as_str().as_bytes() };
        self.name(name);
        self.value(header.value);
        self.end_line()
    }

    /// Lines made elsewhere.
    pub fn lines(&mut self, lines: &Lines) -> &mut Self {
        self.scratch.extend_from_slice(lines.as_bytes());
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

    fn name(&mut self, name: &[u8]) {
        self.scratch.extend(name.iter().filter(|byte| is_token(&[**byte])));
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

/// True when every CR is before a LF and every LF behind a CR.
fn only_folds(line: &[u8]) -> bool {
    let breaks = memchr::memchr2_iter(b'\r', b'\n', line);
    breaks.into_iter().all(|at| match line.get(at) {
        Some(b'\r') => line.get(at + 1) == Some(&b'\n'),
        _ => at > 0 && line.get(at - 1) == Some(&b'\r'),
    })
}

struct Sink<'a>(&'a mut Vec<u8>);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_with_a_body() {
        let mut writer = Writer::new();
        writer.request(b"BYE", b"sip:dropped@x");
        writer
            .request(b"INVITE", b"sip:a@x")
            .header("To", b"<sip:a@x>")
            .header_fmt("CSeq", format_args!("{} INVITE", 1));
        let bytes = writer.finish_with(b"text/plain", b"\r\n\0");
        let text = b"INVITE sip:a@x SIP/2.0\r\nTo: <sip:a@x>\r\nCSeq: 1 INVITE\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n\r\n\0";
        assert_eq!(&bytes[..], &text[..]);
        assert_eq!(&writer.response(200, b"OK").finish()[..], b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn no_value_can_start_a_line() {
        let mut writer = Writer::new();
        let evil = "a\r\nRoute: <sip:evil>\r\n\r\nbody\0\n\rX: y";
        writer.request(b"IN\r\nVITE", b"sip:a@x\r\nRoute: <sip:evil>").header("Sub\r\nject", evil.as_bytes());
        writer.header_fmt("X", format_args!("{evil}")).header("Y", b"\r\n\r\n");
        let bytes = writer.finish();
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 6);
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\r').count(), 6);
        assert!(!bytes.contains(&0));
        let reason = writer.response(486, evil.as_bytes()).finish();
        assert_eq!(reason.iter().filter(|&&byte| byte == b'\n').count(), 3);
    }

    #[test]
    fn lines_are_copied_as_they_came() {
        let text = "OPTIONS sip:x SIP/2.0\r\nv:  SIP/2.0/UDP\r\n h\r\nf: sip:a@x\r\nt: sip:b@x\r\ni: c\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP g\r\n\r\n";
        let message = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
        let bytes =
            Writer::new().request(b"OPTIONS", b"sip:y").copy(&message, Name::Via).copy(&message, Name::Route).finish();
        let copied =
            b"OPTIONS sip:y SIP/2.0\r\nv:  SIP/2.0/UDP\r\n h\r\nVia: SIP/2.0/UDP g\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(&bytes[..], &copied[..]);
    }
}
