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

/// The next whole message or ping; `None` until more is pushed, then there may be more. After a fault only `None`.
impl Iterator for Framer {
    type Item = Result<Frame, FramingFault>;

    fn next(&mut self) -> Option<Self::Item> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    type Cut = Vec<Result<Frame, FramingFault>>;

    fn cut<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Cut {
        let mut framer = Framer::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            frames.extend(framer.by_ref());
        }
        frames
    }

    fn message(text: &str) -> Result<Frame, FramingFault> {
        Ok(Frame::Message(Bytes::copy_from_slice(text.as_bytes())))
    }

    const ONE: &str = "BYE sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\na\r\n";
    const TWO: &str = "SIP/2.0 200 OK\r\nX: y\r\nl:\r\n 0\r\n\r\n";

    #[test]
    fn pipelined_with_pings_and_pongs_between() {
        let stream = format!("\r\n{ONE}{TWO}\r\n\r\n{ONE}\r\n");
        let frames = cut([stream.as_bytes()]);
        assert_eq!(frames, [message(ONE), message(TWO), Ok(Frame::Ping), message(ONE)]);
    }

    #[test]
    fn lies_about_the_length_are_faults_and_the_end() {
        let head = |lines: &str| format!("BYE sip:a SIP/2.0\r\n{lines}\r\nabc{ONE}");
        for (lines, fault) in [
            ("", FramingFault::NoLength),
            ("Content-Length: -3\r\n", FramingFault::BadLength),
            ("Content-Length: 3, 3\r\n", FramingFault::BadLength),
            ("Content-Length:\r\n", FramingFault::BadLength),
            ("Content-Length: 99999999999999999999999\r\n", FramingFault::BadLength),
            ("Content-Length: 18446744073709551615\r\n", FramingFault::TooLong),
            ("Content-Length: 65535\r\n", FramingFault::TooLong),
            ("Content-Length: 3\r\nX: y\r\nl: 3\r\n", FramingFault::TwoLengths),
        ] {
            assert_eq!(cut([head(lines).as_bytes()]), [Err(fault)], "{lines}");
        }
    }

    #[test]
    fn the_bound_on_a_message() {
        let head = "BYE sip:a SIP/2.0\r\nl: 65000\r\nX: ";
        let fill = limits::MESSAGE_BYTES - 65_000 - head.len() - 4;
        let at_bound = format!("{head}{}\r\n\r\n{}", "x".repeat(fill), "b".repeat(65_000));
        assert_eq!(cut([at_bound.as_bytes()]), [message(&at_bound)]);
        let over = format!("{head}{}\r\n\r\n{}", "x".repeat(fill + 1), "b".repeat(65_000));
        assert_eq!(cut([over.as_bytes()]), [Err(FramingFault::TooLong)]);
        assert_eq!(cut(std::iter::repeat_n(&b"endless "[..], 9000)), [Err(FramingFault::TooLong)]);
    }

    #[test]
    fn an_idle_framer_holds_no_heap_and_a_half_message_is_known() {
        let mut framer = Framer::new();
        framer.push(ONE.as_bytes());
        framer.push(b"B");
        assert!(framer.next().is_some() && framer.next().is_none() && framer.is_mid_message());
        framer.push(ONE.get(1..).unwrap().as_bytes());
        assert!(framer.next().is_some() && framer.next().is_none());
        assert!(!framer.is_mid_message());
        assert_eq!(framer.buffer.capacity(), 0);
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(ONE.as_bytes().to_vec()),
            Just(TWO.as_bytes().to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r\n\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"BYE x\r\nContent-Length: 1\r\nl: 2\r\n\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            pieces in prop::collection::vec(piece(), 0..8),
            sizes in prop::collection::vec(1_usize..40, 1..30),
        ) {
            let stream = pieces.concat();
            let whole = cut([stream.as_slice()]);
            let mut rest = stream.as_slice();
            let mut chunks = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at(*size.min(&rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(&cut(chunks), &whole);
            prop_assert_eq!(&cut(stream.chunks(1)), &whole);
        }
    }
}
