//! The streams of a session description as a relay must see them (RFC 8866, RFC 3264): one for each m= line, in their order.

use std::net::{IpAddr, SocketAddr};

use super::{Codec, Peer, Ports, Reach};
use crate::base::network;
use crate::sip::sdp::{Direction, Line, Sdp};

/// What is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Audio,
    Video,
    /// RFC 4103.
    Text,
    Other,
}

/// One m= line and what belongs to it.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    pub kind: Kind,
    /// As written: `audio`, `image`, …
    pub name: &'a [u8],
    /// 0: refused, or not wanted any more (RFC 3264 §6, §8.2).
    pub port: u16,
    pub protocol: &'a [u8],
    /// As written: payload types, for RTP.
    pub formats: &'a [u8],
    pub direction: Direction,
    /// The host of its own c= line, else of that of the session.
    pub host: &'a [u8],
    /// RFC 5761.
    pub mux: bool,
    /// The values of its a= lines.
    pub attributes: Vec<&'a [u8]>,
}

impl<'a> Stream<'a> {
    /// Every m= line of a well-formed description.
    pub fn all(description: &'a [u8]) -> Vec<Self> {
        let sdp = Sdp::new(description);
        let session = sdp.connection().unwrap_or_default();
        let mut streams: Vec<Self> = Vec::new();
        let mut media = sdp.media();
        let mut is_session = true;
        for Line { kind, value } in sdp.lines() {
            match (kind, streams.last_mut()) {
                (b'm', _) => {
                    is_session = false;
                    let Some(media) = media.next() else { break };
                    streams.push(Self {
                        kind: kind_of(media.kind),
                        name: media.kind,
                        port: media.port,
                        protocol: media.protocol,
                        formats: media.formats,
                        direction: media.direction,
                        host: session,
                        mux: false,
                        attributes: Vec::new(),
                    });
                }
                (b'c', Some(stream)) if !is_session => stream.host = host_of(value),
                (b'a', Some(stream)) if !is_session => {
                    stream.mux |= value.trim_ascii_end() == b"rtcp-mux";
                    stream.attributes.push(value.trim_ascii_end());
                }
                _ => {}
            }
        }
        streams
    }

    /// True when a pair of ports can stand for it: RTP over UDP, in whatever profile.
    pub fn is_rtp(&self) -> bool {
        let protocol = self.protocol.to_ascii_uppercase();
        memchr::memmem::find(&protocol, b"RTP/").is_some() && !protocol.starts_with(b"TCP/")
    }

    /// True when its address is none: hold as RFC 2543 had it (RFC 3264 §8.4).
    pub fn is_nowhere(&self) -> bool {
        self.address().is_some_and(|address| address.is_unspecified())
    }

    /// `None`: a name.
    pub fn address(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// Its keys are agreed by DTLS (RFC 5764), as browsers have it.
    pub fn is_dtls(&self) -> bool {
        self.protocol.starts_with(b"UDP/TLS/")
    }

    /// Sound or picture is expected of whoever described it.
    pub fn sends(&self) -> bool {
        self.port != 0 && matches!(self.direction, Direction::SendRecv | Direction::SendOnly)
    }

    /// Where its describer wants packets. `from`: where its signalling comes from; `mux`: both sides have agreed on it.
    pub fn peer(&self, from: IpAddr, mux: bool) -> Peer {
        // A name is not looked up for this: packets come from where signalling does, and tell the rest.
        let address = self.address().map_or(Some(from), |address| place(address, from)).filter(|_| self.port != 0);
        let rtp = address.map(|address| SocketAddr::new(address, self.port));
        let next = |address| Some(SocketAddr::new(address, self.port.checked_add(1)?));
        let rtcp = address.and_then(|address| self.rtcp(address, from).or_else(|| next(address)));
        let rtcp = if mux { rtp } else { rtcp };
        let sources = smallvec::smallvec![from];
        Peer { rtp, rtcp, mux, clock_rate: self.clock_rate(), sources, is_anywhere: false, reach: Reach::Described }
    }

    /// `a=rtcp:port [nettype addrtype address]` (RFC 3605 §2.1).
    fn rtcp(&self, address: IpAddr, from: IpAddr) -> Option<SocketAddr> {
        let value = self.attributes.iter().find_map(|attribute| attribute.strip_prefix(b"rtcp:"))?;
        let mut fields = value.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let port = std::str::from_utf8(fields.next()?).ok()?.parse().ok().filter(|port| *port != 0)?;
        let own = fields.nth(2).and_then(ip).and_then(|own| place(own, from));
        Some(SocketAddr::new(own.unwrap_or(address), port))
    }

    /// True when its address is of a private network that `from` is not in. Behind a proxy so is this machine, or a link of it.
    pub fn is_inner(&self, from: IpAddr, is_behind_proxy: bool) -> bool {
        let Some(address) = self.address() else { return false };
        let network = network::block_of(address);
        (network.is_some() && network != network::block_of(from))
            || (is_behind_proxy && (address.is_loopback() || network::is_link_local(address)))
    }

    fn payload_types(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.formats.split(|byte| *byte == b' ').filter(|format| !format.is_empty())
    }

    /// Encoding and clock rate of a payload type (RFC 8866 §6.6).
    fn mapped(&self, payload_type: &[u8]) -> Option<(&'a [u8], u32)> {
        self.attributes.iter().find_map(|attribute| {
            let rest = attribute.strip_prefix(b"rtpmap:")?.strip_prefix(payload_type)?.strip_prefix(b" ")?;
            let mut parts = rest.trim_ascii().split(|byte| *byte == b'/');
            let encoding = parts.next()?;
            Some((encoding, std::str::from_utf8(parts.next()?).ok()?.trim().parse().ok()?))
        })
    }

    /// The first G.711 among its formats, and its payload type.
    pub fn g711(&self) -> Option<(Codec, u8)> {
        self.payload_types().find_map(|text| {
            let payload_type =
                std::str::from_utf8(text).ok()?.parse().ok().filter(|payload_type| *payload_type < 128)?;
            let codec = match (self.mapped(text), payload_type) {
                (Some((encoding, 8000)), _) if encoding.eq_ignore_ascii_case(b"PCMU") => Codec::Pcmu,
                (Some((encoding, 8000)), _) if encoding.eq_ignore_ascii_case(b"PCMA") => Codec::Pcma,
                (None, 0) => Codec::Pcmu,
                (None, 8) => Codec::Pcma,
                _ => return None,
            };
            Some((codec, payload_type))
        })
    }

    /// Ticks of its clock in a second: of its first format.
    pub fn clock_rate(&self) -> u32 {
        let mapped = self.payload_types().next().and_then(|first| self.mapped(first)).map(|(_, rate)| rate);
        mapped.filter(|rate| *rate != 0).unwrap_or(match self.kind {
            Kind::Video => 90_000,
            Kind::Text => 1000,
            Kind::Audio | Kind::Other => 8000,
        })
    }

    /// True when `ports` are what it names.
    pub fn names(&self, ports: &Ports) -> bool {
        self.port == ports.rtp && self.address() == Some(ports.address)
    }
}

fn kind_of(kind: &[u8]) -> Kind {
    match kind {
        b"audio" => Kind::Audio,
        b"video" => Kind::Video,
        b"text" => Kind::Text,
        _ => Kind::Other,
    }
}

/// The host of a c= line's value, without the TTL that multicast has behind it (RFC 8866 §5.7).
pub(super) fn host_of(connection: &[u8]) -> &[u8] {
    let host = connection.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(2).unwrap_or_default();
    host.split(|byte| *byte == b'/').next().unwrap_or_default().trim_ascii_end()
}

fn ip(host: &[u8]) -> Option<IpAddr> {
    let ip: IpAddr = std::str::from_utf8(host).ok()?.trim().parse().ok()?;
    Some(ip.to_canonical())
}

/// Where packets go when a party at `from` wants them at `address`; `None`: nowhere. This machine and a link are meant by those who
/// are there; of anybody else it is a mistake, or the relay would be a way in.
fn place(address: IpAddr, from: IpAddr) -> Option<IpAddr> {
    let is_broadcast = matches!(address, IpAddr::V4(ip) if ip.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        return None;
    }
    let is_elsewhere = (address.is_loopback() && !from.is_loopback())
        || (network::is_link_local(address) && !network::is_link_local(from));
    Some(if is_elsewhere { from } else { address })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const FROM: &str = "198.51.100.7";

    fn peer(media: &str, mux: bool) -> Peer {
        let text = format!("v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\n{media}");
        Stream::all(text.as_bytes())[0].peer(FROM.parse().unwrap(), mux)
    }

    fn places(peer: &Peer) -> (String, String) {
        let show = |at: Option<SocketAddr>| at.map(|at| at.to_string()).unwrap_or_default();
        (show(peer.rtp), show(peer.rtcp))
    }

    #[test]
    fn where_packets_are_wanted() {
        let cases = [
            ("m=audio 6000 RTP/AVP 0\r\n", false, "10.0.0.4:6000", "10.0.0.4:6001"),
            ("m=audio 6000 RTP/AVP 0\r\na=rtcp:7000\r\n", false, "10.0.0.4:6000", "10.0.0.4:7000"),
            ("m=audio 6000 RTP/AVP 0\r\na=rtcp:7000 IN IP4 10.0.0.5\r\n", false, "10.0.0.4:6000", "10.0.0.5:7000"),
            ("m=audio 6000 RTP/AVP 0\r\na=rtcp:0\r\n", false, "10.0.0.4:6000", "10.0.0.4:6001"),
            ("m=audio 6000 RTP/AVP 0\r\na=rtcp-mux\r\n", true, "10.0.0.4:6000", "10.0.0.4:6000"),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP6 2001:db8::4\r\n", false, "[2001:db8::4]:6000", "[2001:db8::4]:6001"),
            ("m=audio 65535 RTP/AVP 0\r\n", false, "10.0.0.4:65535", ""),
            ("m=audio 0 RTP/AVP 0\r\n", false, "", ""),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n", false, "", ""),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", false, "", ""),
            ("m=audio 2223 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n", false, "198.51.100.7:2223", "198.51.100.7:2224"),
            (
                "m=audio 2223 RTP/AVP 0\r\nc=IN IP6 ::ffff:127.0.0.1\r\n",
                false,
                "198.51.100.7:2223",
                "198.51.100.7:2224",
            ),
            ("m=audio 2223 RTP/AVP 0\r\nc=IN IP6 ::1\r\n", false, "198.51.100.7:2223", "198.51.100.7:2224"),
            ("m=audio 80 RTP/AVP 0\r\nc=IN IP4 169.254.169.254\r\n", false, "198.51.100.7:80", "198.51.100.7:81"),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 255.255.255.255\r\n", false, "", ""),
            ("m=audio 6000 RTP/AVP 0\r\na=rtcp:53 IN IP4 127.0.0.53\r\n", false, "10.0.0.4:6000", "198.51.100.7:53"),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP6 ::ffff:10.0.0.9\r\n", false, "10.0.0.9:6000", "10.0.0.9:6001"),
            ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 phone.example\r\n", false, "198.51.100.7:6000", "198.51.100.7:6001"),
        ];
        for (media, mux, rtp, rtcp) in cases {
            assert_eq!(places(&peer(media, mux)), (rtp.to_owned(), rtcp.to_owned()), "{media}");
        }
    }

    #[test]
    fn addresses_of_networks_that_we_are_not_in() {
        for (address, from, is_behind_proxy, is_inner) in [
            ("IN IP4 10.0.0.4", FROM, false, true),
            ("IN IP4 192.168.1.4", "10.0.0.6", true, true),
            ("IN IP4 10.1.0.4", "10.0.0.6", true, false),
            ("IN IP4 192.0.0.4", FROM, false, true),
            ("IN IP4 100.64.0.4", FROM, false, true),
            ("IN IP4 192.168.1.4", "2001:db8::1", false, true),
            ("IN IP6 fd00::4", "2001:db8::1", false, true),
            ("IN IP4 203.0.113.4", FROM, true, false),
            ("IN IP4 127.0.0.53", "127.0.0.1", false, false),
            ("IN IP4 127.0.0.53", "127.0.0.1", true, true),
            ("IN IP4 phone.example", FROM, true, false),
        ] {
            let text = format!("v=0\r\ns=-\r\nc={address}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n");
            let streams = Stream::all(text.as_bytes());
            assert_eq!(streams[0].is_inner(from.parse().unwrap(), is_behind_proxy), is_inner, "{address} {from}");
        }
    }

    #[test]
    fn the_first_g711_of_an_offer() {
        let cases = [
            ("m=audio 6000 RTP/AVP 0 8\r\n", Some((Codec::Pcmu, 0))),
            ("m=audio 6000 RTP/AVP 9 8 0\r\n", Some((Codec::Pcma, 8))),
            ("m=audio 6000 RTP/AVP 97 0\r\na=rtpmap:97 pcma/8000\r\n", Some((Codec::Pcma, 97))),
            ("m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 opus/48000/2\r\n", None),
            ("m=audio 6000 RTP/AVP 97\r\na=rtpmap:97 PCMA/16000\r\n", None),
            ("m=audio 6000 RTP/AVP 9 300\r\n", None),
        ];
        for (media, expected) in cases {
            let text = format!("v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\n{media}");
            assert_eq!(Stream::all(text.as_bytes())[0].g711(), expected, "{media}");
        }
    }

    #[test]
    fn what_is_known_of_a_stream() {
        let text = "v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\na=sendonly\r\n\
            m=audio 6000 RTP/SAVPF 111 0\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n\
            m=video 6002 UDP/TLS/RTP/SAVP 96\r\na=inactive\r\nm=text 6004 RTP/AVP 98\r\nm=message 9 TCP/MSRP *\r\n";
        let streams = Stream::all(text.as_bytes());
        let seen: Vec<_> = streams.iter().map(|s| (s.kind, s.is_rtp(), s.mux, s.sends(), s.clock_rate())).collect();
        let expected = [
            (Kind::Audio, true, true, true, 48_000),
            (Kind::Video, true, false, false, 90_000),
            (Kind::Text, true, false, true, 1000),
            (Kind::Other, false, false, true, 8000),
        ];
        assert_eq!(seen, expected);
    }
}
