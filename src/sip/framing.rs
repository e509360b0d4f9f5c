//! Messages out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use super::Name;
use super::text::{decimal, line_end, split_once, trim};
use crate::base::limits;

/// Cuts one connection's stream into messages, however it was cut on the way.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of `buffer` known to hold no end of the headers.
    searched: usize,
    /// Length of the whole message whose headers are read.
    expected: Option<usize>,
    /// One CRLF came between messages: a second one makes it a ping.
    half_ping: bool,
    broken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    /// CRLFCRLF between messages: answer CRLF (RFC 5626 §3.5.1).
    Ping,
}

/// Why nothing behind this point of the stream can be understood: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    #[error("no Content-Length on a stream")]
    NoLength,
    #[error("bad Content-Length")]
    BadLength,
    #[error("more than one Content-Length")]
    TwoLengths,
    #[error("message too long")]
    TooLong,
}

impl Framer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what was read from the connection. After a fault it is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole message or ping; `None` until more is pushed. After a fault only `None`.
    #[allow(clippy::should_implement_trait)] // more may come after `None`
    pub fn next(&mut self) -> Option<Result<Frame, FramingFault>> {
        let frame = self.cut().transpose();
        if let Some(Err(_)) = frame {
            self.broken = true;
            self.buffer = BytesMut::new();
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new(); // an idle connection holds no heap
        }
        frame
    }

    /// A message has started and not ended: the clock of `limits::HALF_MESSAGE` runs.
    pub fn is_mid_message(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn cut(&mut self) -> Result<Option<Frame>, FramingFault> {
        if self.expected.is_none() {
            if self.pass_line_breaks() {
                return Ok(Some(Frame::Ping));
            }
            self.expected = self.head()?;
        }
        let Some(length) = self.expected.filter(|&length| length <= self.buffer.len()) else { return Ok(None) };
        let message = Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default());
        self.buffer.advance(length);
        (self.expected, self.searched, self.half_ping) = (None, 0, false);
        Ok(Some(Frame::Message(message)))
    }

    /// Eats the line breaks in front of a message; true when they are a ping.
    fn pass_line_breaks(&mut self) -> bool {
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.half_ping = !self.half_ping;
            if !self.half_ping {
                return true;
            }
        }
        false
    }

    /// The length of the message at the front, once its headers are there.
    fn head(&mut self) -> Result<Option<usize>, FramingFault> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = memmem::find(unsearched, b"\r\n\r\n").map(|at| self.searched + at + 4) else {
            self.searched = self.buffer.len().saturating_sub(3);
            return if self.buffer.len() > limits::MESSAGE_BYTES { Err(FramingFault::TooLong) } else { Ok(None) };
        };
        let length = content_length(self.buffer.get(..end).unwrap_or_default())?;
        let total = end.checked_add(length).filter(|&total| total <= limits::MESSAGE_BYTES);
        total.map(Some).ok_or(FramingFault::TooLong)
    }
}

fn content_length(head: &[u8]) -> Result<usize, FramingFault> {
    let mut found = None;
    let mut rest = head;
    while let Some(end) = line_end(rest) {
        let line = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 2..).unwrap_or_default();
        let Some((name, value)) = split_once(line, b':') else { continue };
        if Name::from_bytes(name.trim_ascii_end()) != Name::ContentLength {
            continue;
        }
        if found.is_some() {
            return Err(FramingFault::TwoLengths);
        }
        let length = decimal(trim(value)).and_then(|length| usize::try_from(length).ok());
        found = Some(length.ok_or(FramingFault::BadLength)?);
    }
    found.ok_or(FramingFault::NoLength)
}
