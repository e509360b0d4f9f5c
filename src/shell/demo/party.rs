//! A party of the story: a UDP socket that speaks SIP with the daemon, and shows all that passes on the ladder.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ladder::{Ladder, Lane};
use super::stop::{LOOK, Stop};
use super::wrong::Wrong;
use crate::sip::{Message, Method};

/// How long a message may take that must come.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long nothing must come where nothing may come.
const SILENCE: Duration = Duration::from_millis(60);
/// Largest UDP datagram, in bytes.
const DATAGRAM: usize = 65_535;

/// One of the parties around the daemon.
pub struct Party {
    pub name: &'static str,
    /// The user part of its Contact.
    pub user: &'static str,
    pub address: SocketAddr,
    lane: Lane,
    socket: UdpSocket,
    server: SocketAddr,
    /// What came before: a repetition of it is not news.
    seen: Vec<Bytes>,
    stop: Stop,
}

impl Party {
    pub fn bind(
        name: &'static str,
        user: &'static str,
        lane: Lane,
        server: SocketAddr,
        stop: Stop,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        Ok(Self { name, user, address, lane, socket, server, seen: Vec::new(), stop })
    }

    /// Sends one message to the daemon.
    pub fn send(&self, ladder: &mut Ladder, bytes: &Bytes) -> Result<(), Wrong> {
        let readable = |_| Wrong::new("a SIP message of our own", String::from_utf8_lossy(bytes));
        let message = Message::parse(bytes.clone()).map_err(readable)?;
        self.socket.send_to(bytes, self.server).map_err(|error| Wrong::system("a datagram to leave", &error))?;
        ladder.arrow(self.lane, false, &message);
        Ok(())
    }

    /// The next message must be this response to the request of that method; a 100 on the way is shown and passed over.
    pub fn response(&mut self, ladder: &mut Ladder, code: u16, method: Method) -> Result<Message, Wrong> {
        let expected = format!("{code} to the {} of {}", method.as_str(), self.name);
        self.next(ladder, &expected, |message| message.code() == code && message.method() == method)
    }

    /// The next message must be a request of that method.
    pub fn request(&mut self, ladder: &mut Ladder, method: Method) -> Result<Message, Wrong> {
        let expected = format!("{} to {}", method.as_str(), self.name);
        self.next(ladder, &expected, |message| message.is_request() && message.method() == method)
    }

    /// Nothing may come.
    pub fn hears_nothing(&mut self, ladder: &mut Ladder) -> Result<(), Wrong> {
        match self.receive(ladder, SILENCE)? {
            None => Ok(()),
            Some(message) => Err(Wrong::message(format!("nothing to {}", self.name), &message)),
        }
    }

    fn next(&mut self, ladder: &mut Ladder, expected: &str, fits: impl Fn(&Message) -> bool) -> Result<Message, Wrong> {
        loop {
            match self.receive(ladder, PATIENCE)? {
                Some(message) if fits(&message) => return Ok(message),
                Some(message) if message.code() == 100 => {}
                Some(message) => return Err(Wrong::message(expected, &message)),
                None => return Err(Wrong::new(expected, format!("nothing in {} s", PATIENCE.as_secs()))),
            }
        }
    }

    /// The next message that is no repetition; `None` when none came in time.
    fn receive(&mut self, ladder: &mut Ladder, patience: Duration) -> Result<Option<Message>, Wrong> {
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; DATAGRAM];
        while Instant::now() < deadline {
            if self.stop.is_set() {
                return Err(Wrong::Stopped);
            }
            let length = match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.server => length,
                Ok(_) => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Wrong::system("a datagram to arrive", &error)),
            };
            let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            if self.seen.contains(&bytes) {
                continue;
            }
            self.seen.push(bytes.clone());
            let unreadable = |_| Wrong::new("a SIP message", String::from_utf8_lossy(&bytes));
            let message = Message::parse(bytes.clone()).map_err(unreadable)?;
            ladder.arrow(self.lane, true, &message);
            if message.code() >= 300
                && let Some(warning) = message.header_named("Warning")
            {
                let text = String::from_utf8_lossy(warning);
                let text = text.split('"').nth(1).unwrap_or(&text);
                ladder.detail(self.lane, super::paint::Paint::Faint, text);
            }
            return Ok(Some(message));
        }
        Ok(None)
    }
}
