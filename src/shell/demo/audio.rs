//! The voice of a party: G.711 in RTP (RFC 3550), sent where the peer's SDP says, and counted where it arrives.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::stop::Stop;
use super::wrong::Wrong;
use crate::sip::{Message, sdp};

/// Between packets, and the samples in one.
const PACKET: Duration = Duration::from_millis(20);
const SAMPLES: u32 = 160;
/// µ-law silence.
const QUIET: u8 = 0xff;

/// One RTP socket.
pub struct Voice {
    socket: UdpSocket,
    address: SocketAddr,
    user: &'static str,
}

impl Voice {
    pub fn bind(user: &'static str) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, user })
    }

    /// What this party offers or answers.
    pub fn sdp(&self) -> String {
        let (user, ip, port) = (self.user, self.address.ip(), self.address.port());
        format!(
            "v=0\r\no={user} 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    /// How many packets have arrived and were not counted yet.
    fn arrived(&self) -> u32 {
        let mut buffer = [0; 256];
        let mut count = 0;
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            count += u32::from(length == 12 + SAMPLES as usize);
        }
        count
    }
}

/// Where the SDP of a message wants audio.
pub fn destination(message: &Message) -> Result<SocketAddr, Wrong> {
    let wanted = || Wrong::message("SDP with an address and a port for audio", message);
    let session = sdp::of(message).ok_or_else(wanted)?;
    let address =
        session.connection().and_then(|line| std::str::from_utf8(line).ok()?.rsplit(' ').next()?.parse().ok());
    let port = session.media().find(|media| media.kind == b"audio").map(|media| media.port);
    match (address, port) {
        (Some(address), Some(port)) if port != 0 => Ok(SocketAddr::new(address, port)),
        _ => Err(wanted()),
    }
}

/// Both talk that long, each to where the other one's SDP led; packets that arrived at `one` and at `two`.
pub fn talk(
    (one, to_one): (&Voice, SocketAddr),
    (two, to_two): (&Voice, SocketAddr),
    length: Duration,
    stop: &Stop,
) -> Result<(u32, u32), Wrong> {
    let began = Instant::now();
    let (mut sent, mut at_one, mut at_two) = (0_u32, 0, 0);
    while PACKET * sent < length {
        if stop.is_set() {
            return Err(Wrong::Stopped);
        }
        let left = |error| Wrong::system("an RTP packet to leave", &error);
        one.socket.send_to(&packet(sent, 1), to_two).map_err(left)?;
        two.socket.send_to(&packet(sent, 2), to_one).map_err(left)?;
        sent += 1;
        std::thread::sleep((PACKET * sent).saturating_sub(began.elapsed()));
        at_one += one.arrived();
        at_two += two.arrived();
    }
    if at_one < sent || at_two < sent {
        let came = format!("{at_one} and {at_two}");
        return Err(Wrong::new(format!("{sent} RTP packets to arrive on either side"), came));
    }
    Ok((at_one, at_two))
}

/// RFC 3550 §5.1: version 2, payload type 0 (PCMU).
fn packet(number: u32, source: u32) -> Vec<u8> {
    let sequence = u16::try_from(number % 65_536).unwrap_or_default();
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&number.wrapping_mul(SAMPLES).to_be_bytes());
    packet.extend_from_slice(&source.to_be_bytes());
    packet.resize(12 + SAMPLES as usize, QUIET);
    packet
}
