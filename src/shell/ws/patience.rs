//! How long a peer may take for one message of a WebSocket: the bytes under it are watched, for its frames are not seen above.
//!
//! A frame that never ends, or a message whose last fragment never comes (RFC 6455 §5.4), would be kept for ever: pings between the
//! fragments are answered, and so the connection is alive.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// Longest header of a frame, in bytes (RFC 6455 §5.2).
const HEADER_BYTES: usize = 14;

/// A stream whose reads fail with [`io::ErrorKind::TimedOut`] when a message has begun and does not end in time.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// After the upgrade, which is no frame.
    frames: Option<Frames>,
    half: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, frames: None, half: None }
    }

    /// From here on there are frames.
    pub fn upgraded(&mut self) {
        self.frames = Some(Frames::default());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, patience, frames, half } = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(cx, buffer);
        let Some(frames) = frames else { return read };
        let has_ended = frames.take(buffer.filled().get(before..).unwrap_or_default());
        if has_ended || !frames.is_midway() {
            *half = None;
        }
        if frames.is_midway() && half.is_none() {
            *half = Some(Box::pin(tokio::time::sleep(*patience)));
        }
        if read.is_pending()
            && let Some(half) = half
        {
            ready!(half.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where in a frame, and in a message of several, the bytes have come to.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    payload_left: u64,
    /// A fragment has come, and not the last.
    is_fragmented: bool,
    /// The frame under way ends a message.
    is_last: bool,
    /// They make no sense, which is found above.
    is_broken: bool,
}

impl Frames {
    fn is_midway(&self) -> bool {
        !self.is_broken && (self.header_bytes > 0 || self.payload_left > 0 || self.is_fragmented)
    }

    /// Counts them; true when a message has ended among them.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while !bytes.is_empty() && !self.is_broken {
            if self.payload_left == 0 {
                let Some((first, rest)) = bytes.split_first() else { break };
                bytes = rest;
                self.header(*first);
            } else {
                let here = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
            }
            has_ended |= self.header_bytes == 0 && self.payload_left == 0 && std::mem::take(&mut self.is_last);
        }
        has_ended
    }

    fn header(&mut self, byte: u8) {
        let Some(place) = self.header.get_mut(self.header_bytes) else {
            self.is_broken = true;
            return;
        };
        *place = byte;
        self.header_bytes += 1;
        let begun = self.header.get(..self.header_bytes).unwrap_or_default();
        match FrameHeader::parse(&mut Cursor::new(begun)) {
            Ok(None) => {}
            Ok(Some((header, length))) => {
                self.header_bytes = 0;
                self.payload_left = length;
                // Between the fragments of a message there may be pings and pongs (§5.4).
                if let OpCode::Data(_) = header.opcode {
                    self.is_fragmented = !header.is_final;
                    self.is_last = header.is_final;
                }
            }
            Err(_) => self.is_broken = true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// A frame of a client, masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        let mut frame = match length {
            0..=125 => vec![first, 0x80 | u8::try_from(length).unwrap()],
            _ => [&[first, 0x80 | 126][..], &length.to_be_bytes()].concat(),
        };
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    const TEXT: u8 = 0x81;
    const FIRST: u8 = 0x01;
    const MIDDLE: u8 = 0x00;
    const LAST: u8 = 0x80;
    const PING: u8 = 0x89;

    #[test]
    fn rfc6455_5_2_midway_but_between_messages_however_they_are_cut() {
        let long = frame(TEXT, &[b'x'; 300]);
        for cut in 1..long.len() {
            let mut frames = Frames::default();
            assert!(!frames.take(&long[..cut]) && frames.is_midway(), "{cut}");
            assert!(frames.take(&long[cut..]) && !frames.is_midway(), "{cut}");
            let next = [&long[cut..], &long[..cut]].concat();
            frames.take(&long[..cut]);
            assert!(frames.take(&next) && frames.is_midway(), "one ends, one begins: {cut}");
        }
        let mut frames = Frames::default();
        assert!(frames.take(&frame(TEXT, b"")) && !frames.is_midway());
    }

    #[test]
    fn rfc6455_5_4_pings_end_no_message_of_fragments() {
        let mut frames = Frames::default();
        for part in [frame(FIRST, b"OPT"), frame(PING, b"here?"), frame(MIDDLE, b""), frame(PING, b"")] {
            assert!(!frames.take(&part) && frames.is_midway());
        }
        assert!(frames.take(&frame(LAST, b"IONS")) && !frames.is_midway());
        assert!(!frames.take(&frame(PING, b"")) && !frames.is_midway());
    }

    #[test]
    fn what_makes_no_sense_is_left_to_those_who_read_it() {
        let mut frames = Frames::default();
        frames.take(&frame(0x83, b"reserved"));
        assert!(!frames.is_midway());
    }
}
