//! A description as the other side may see it: the ports of a pair in the place of its own, and nothing else that tells where
//! its owner is. What the media need otherwise passes as it is.

use std::net::IpAddr;

use super::Ports;
use super::streams::{Stream, host_of};
use crate::sip::sdp::{Direction, Line, Sdp};

/// Candidates may come later (RFC 8838).
const TRICKLE: &[u8] = b"ice-options:trickle";

/// What becomes of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its packets come to this pair.
    Relayed(Ports),
    /// Its own address stays: its packets do not come to us.
    Direct,
    /// It is not offered (port 0): a pair cannot stand for it.
    Refused,
}

/// `description` with each stream on its way, by the order of m= lines; one that has no way is refused. `own`: an address of
/// ours, for streams without one.
pub fn rewrite(description: &[u8], ways: &[Way], own: IpAddr) -> Vec<u8> {
    let streams = Stream::all(description);
    let relayed = ways.iter().find_map(|way| match way {
        Way::Relayed(ports) => Some(ports.address),
        Way::Direct | Way::Refused => None,
    });
    let session = relayed.unwrap_or(own);
    let places = places(description);
    let mut writer = Writer { text: Vec::with_capacity(description.len() + 64), places, session, own: None };
    let mut at: Option<usize> = None;
    for line in Sdp::new(description).lines() {
        if line.kind == b'm' {
            writer.end(at.and_then(|at| streams.get(at)));
            let next = at.map_or(0, |at| at + 1);
            at = Some(next);
            let Some(stream) = streams.get(next) else { continue };
            let way = if stream.port == 0 { Way::Refused } else { *ways.get(next).unwrap_or(&Way::Refused) };
            writer.begin(line, stream, way);
            continue;
        }
        match at {
            None => writer.session_line(line),
            Some(at) => {
                if let Some(stream) = streams.get(at) {
                    writer.media_line(line, stream);
                }
            }
        }
    }
    writer.end(at.and_then(|at| streams.get(at)));
    writer.text
}

/// What somebody else has made of the description `of`, without the lines that still tell where the owner of that is.
pub fn scrub(description: &[u8], of: &[u8]) -> Vec<u8> {
    let places = places(of);
    let mut kept = Vec::with_capacity(description.len());
    for line in Sdp::new(description).lines() {
        let is_told = match line.kind {
            b'a' if line.value.starts_with(b"rtcp:") => false,
            b'a' => has_address(line.value) || places.iter().any(|place| names(line.value, place)),
            b's' | b'i' | b'u' | b'e' | b'p' => places.iter().any(|place| names(line.value, place)),
            _ => false,
        };
        match (is_told, line.kind) {
            (true, b's') => kept.extend_from_slice(b"s=-\r\n"),
            (true, _) => {}
            (false, kind) => {
                kept.extend_from_slice(&[kind, b'=']);
                kept.extend_from_slice(line.value);
                kept.extend_from_slice(b"\r\n");
            }
        }
    }
    kept
}

/// A description of streams over ICE as it is before their owner knows of any candidate (RFC 8840): where it was before is not
/// where it is now. Each of them says that it is so: else no address means hold. And who could begin DTLS will: browsers do, and one
/// that does before its answer is there would meet a beginner.
pub fn without_candidates(description: &[u8]) -> Vec<u8> {
    const OF_PLACE: [&[u8]; 4] = [b"candidate", b"end-of-candidates", b"rtcp", b"ice-options"];
    let mut kept = Vec::with_capacity(description.len());
    let mut streams = Stream::all(description).into_iter();
    let mut line = |kind: u8, value: &[u8]| {
        kept.extend_from_slice(&[kind, b'=']);
        kept.extend_from_slice(value);
        kept.extend_from_slice(b"\r\n");
    };
    let mut is_live = false;
    for Line { kind, value } in Sdp::new(description).lines() {
        match kind {
            b'a' if OF_PLACE.contains(&name_of(value)) => {}
            b'a' if value == b"setup:actpass" => line(kind, b"setup:active"),
            b'c' => line(kind, b"IN IP4 0.0.0.0"),
            b'm' => {
                if std::mem::take(&mut is_live) {
                    line(b'a', TRICKLE);
                }
                match streams.next().filter(|stream| stream.port != 0) {
                    Some(stream) => {
                        let name = value.split(|byte| *byte == b' ').next().unwrap_or_default();
                        line(kind, &[name, b" 9 ", stream.protocol, b" ", stream.formats].concat());
                        is_live = true;
                    }
                    None => line(kind, value),
                }
            }
            _ => line(kind, value),
        }
    }
    if is_live {
        line(b'a', TRICKLE);
    }
    kept
}

struct Writer<'a> {
    text: Vec<u8>,
    /// Hosts of the description's owner: no line may tell them.
    places: Vec<&'a [u8]>,
    session: IpAddr,
    /// The stream being written.
    own: Option<Own>,
}

struct Own {
    way: Way,
    /// Its c= line is not written yet.
    wants_connection: bool,
}

impl Writer<'_> {
    fn line(&mut self, kind: u8, value: &[u8]) {
        self.text.extend_from_slice(&[kind, b'=']);
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
    }

    fn connection(&mut self, address: IpAddr) {
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        self.line(b'c', format!("IN {family} {address}").as_bytes());
    }

    fn session_line(&mut self, line: Line<'_>) {
        match line.kind {
            b'c' => self.connection(self.session),
            b'a' if is_of_ice(line.value) || is_of_bundle(line.value) => {}
            _ => self.told(line),
        }
    }

    /// The m= line.
    fn begin(&mut self, line: Line<'_>, stream: &Stream<'_>, way: Way) {
        let port = match way {
            Way::Relayed(ports) => ports.rtp,
            Way::Direct => return self.begin_direct(line),
            Way::Refused => 0,
        };
        let kind = line.value.split(|byte| *byte == b' ').next().unwrap_or_default();
        let mut value = kind.to_vec();
        value.extend_from_slice(format!(" {port} ").as_bytes());
        value.extend_from_slice(stream.protocol);
        value.push(b' ');
        value.extend_from_slice(stream.formats);
        self.line(b'm', &value);
        // Where it is not the session's.
        let wants_connection = matches!(way, Way::Relayed(ports) if ports.address != self.session);
        self.own = Some(Own { way, wants_connection });
    }

    fn begin_direct(&mut self, line: Line<'_>) {
        self.line(b'm', line.value);
        self.own = Some(Own { way: Way::Direct, wants_connection: true });
    }

    fn media_line(&mut self, line: Line<'_>, stream: &Stream<'_>) {
        let Some(own) = &self.own else { return };
        let way = own.way;
        if line.kind == b'c' {
            return match way {
                Way::Direct => {
                    self.line(b'c', line.value);
                    self.has_connection();
                }
                Way::Relayed(ports) => {
                    self.connection(ports.address);
                    self.has_connection();
                }
                Way::Refused => self.connection(self.session),
            };
        }
        // RFC 8866 §5: i= stands before c=.
        if line.kind != b'i' {
            self.finish_connection(stream);
        }
        let attribute = if line.kind == b'a' { line.value.trim_ascii_end() } else { b"" };
        match (way, attribute) {
            (Way::Direct, _) => self.line(line.kind, line.value),
            (_, b"sendrecv" | b"sendonly" | b"recvonly" | b"inactive") if stream.is_nowhere() => {}
            (_, _) if is_of_ice(attribute) || is_of_bundle(attribute) => {}
            (Way::Relayed(ports), _) if attribute.starts_with(b"rtcp:") => {
                let told = attribute.get(5..).and_then(|value| value.split(|byte| *byte == b' ').next());
                let is_same = told == Some(stream.port.to_string().as_bytes());
                let port = if is_same { ports.rtp } else { ports.rtp.saturating_add(1) };
                self.line(b'a', format!("rtcp:{port}").as_bytes());
            }
            (Way::Refused, _) if attribute.starts_with(b"rtcp:") => {}
            (_, _) => self.told(line),
        }
    }

    /// The stream has no more lines.
    fn end(&mut self, stream: Option<&Stream<'_>>) {
        let Some(stream) = stream else { return };
        self.finish_connection(stream);
        let Some(Own { way: Way::Relayed(_), .. }) = self.own.take() else { return };
        // The address that said it is not there any more: nothing is to be sent (RFC 3264 §8.4).
        if stream.is_nowhere() {
            let direction: &[u8] = match stream.direction {
                Direction::SendRecv | Direction::SendOnly => b"sendonly",
                Direction::RecvOnly | Direction::Inactive => b"inactive",
            };
            self.line(b'a', direction);
        }
    }

    fn has_connection(&mut self) {
        if let Some(own) = &mut self.own {
            own.wants_connection = false;
        }
    }

    fn finish_connection(&mut self, stream: &Stream<'_>) {
        let Some(own) = self.own.as_mut().filter(|own| own.wants_connection) else { return };
        own.wants_connection = false;
        match own.way {
            Way::Relayed(ports) => self.connection(ports.address),
            Way::Direct => {
                let family: &[u8] = if stream.host.contains(&b':') { b"IN IP6 " } else { b"IN IP4 " };
                self.line(b'c', &[family, stream.host].concat());
            }
            Way::Refused => {}
        }
    }

    /// A line that may stay unless it tells where its owner is. The origin line is written anew by whoever sends it.
    fn told(&mut self, line: Line<'_>) {
        let is_place = |place: &&[u8]| names(line.value, place);
        let tells =
            line.kind != b'o' && (self.places.iter().any(is_place) || (line.kind == b'a' && has_address(line.value)));
        match (tells, line.kind) {
            (false, kind) => self.line(kind, line.value),
            // RFC 8866 §5.3: a session has one s= line.
            (true, b's') => self.line(b's', b"-"),
            (true, _) => {}
        }
    }
}

/// Attributes that lead around a relay (RFC 8839 §5).
fn is_of_ice(attribute: &[u8]) -> bool {
    const OF_ICE: [&[u8]; 9] = [
        b"candidate",
        b"remote-candidates",
        b"end-of-candidates",
        b"ice-lite",
        b"ice-mismatch",
        b"ice-ufrag",
        b"ice-pwd",
        b"ice-options",
        b"ice-pacing",
    ];
    OF_ICE.contains(&name_of(attribute))
}

/// Several streams on one port is agreed between neighbours (RFC 8843), and here each has a pair of its own.
fn is_of_bundle(attribute: &[u8]) -> bool {
    name_of(attribute) == b"bundle-only" || attribute.starts_with(b"group:BUNDLE")
}

/// Of an attribute, without its value.
pub(super) fn name_of(attribute: &[u8]) -> &[u8] {
    attribute.split(|byte| b": ".contains(byte)).next().unwrap_or_default().trim_ascii_end()
}

/// The hosts that the owner of a description names as its own.
fn places(description: &[u8]) -> Vec<&[u8]> {
    let mut places: Vec<&[u8]> = Vec::new();
    for Line { kind, value } in Sdp::new(description).lines() {
        let fields = || value.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let place = match kind {
            b'c' => Some(host_of(value)),
            b'o' => fields().nth(5),
            b'a' if value.starts_with(b"rtcp:") => fields().nth(3),
            b'a' if value.starts_with(b"candidate:") => fields().nth(4),
            _ => None,
        };
        let place = place.map(<[u8]>::trim_ascii);
        places.extend(place.filter(|place| place.len() >= 3 && !matches!(*place, b"0.0.0.0")));
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// An IPv4 address anywhere in an attribute, as in the CNAME of `a=ssrc` (RFC 5576 §6.1).
pub fn has_address(attribute: &[u8]) -> bool {
    let words = attribute.split(|byte| !byte.is_ascii_digit() && *byte != b'.');
    let is_address =
        |word: &[u8]| std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::Ipv4Addr>().is_ok());
    words.filter(|word| word.len() >= 7).any(is_address)
}

fn names(text: &[u8], place: &[u8]) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    memchr::memmem::find_iter(text, place).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        is_edge(before) && is_edge(text.get(at + place.len()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::media::PairId;

    const OWN: &str = "192.0.2.1";

    fn pair(port: u16) -> Way {
        Way::Relayed(Ports { pair: PairId(u64::from(port)), address: OWN.parse().unwrap(), rtp: port })
    }

    fn rewritten(text: &str, ways: &[Way]) -> String {
        String::from_utf8(rewrite(text.as_bytes(), ways, OWN.parse().unwrap())).unwrap()
    }

    #[test]
    fn every_place_is_ours_and_all_else_stays() {
        let text = "v=0\r\no=alice 1 2 IN IP4 10.0.0.4\r\ns=call of 10.0.0.4\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\na=ice-options:trickle\r\n\
            a=group:BUNDLE 0 1\r\na=group:LS 0 1\r\n\
            m=audio 49170/2 RTP/SAVP 0 101\r\nb=AS:64\r\na=rtcp:53020 IN IP4 10.0.0.4\r\na=rtcp-mux\r\na=fmtp:101 0-16\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
            a=candidate:1 1 UDP 2130706431 10.0.0.9 49170 typ host\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\na=end-of-candidates\r\n\
            a=ssrc:5 cname:a@10.0.0.9\r\na=sendrecv\r\nm=video 0 RTP/AVP 31\r\nc=IN IP4 10.0.0.4\r\n\
            m=text 5000 RTP/AVP 98\r\ni=10.0.0.4\r\nc=IN IP6 2001:db8::4\r\na=rtcp:5000\r\na=recvonly\r\nm=message 9 TCP/MSRP *\r\na=path:msrp://10.0.0.4:9/x;tcp\r\n";
        let expected = "v=0\r\no=alice 1 2 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=group:LS 0 1\r\n\
            m=audio 20000 RTP/SAVP 0 101\r\nb=AS:64\r\na=rtcp:20001\r\na=rtcp-mux\r\na=fmtp:101 0-16\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\na=sendrecv\r\n\
            m=video 0 RTP/AVP 31\r\nc=IN IP4 192.0.2.1\r\nm=text 20004 RTP/AVP 98\r\nc=IN IP4 192.0.2.1\r\na=rtcp:20004\r\na=recvonly\r\n\
            m=message 0 TCP/MSRP *\r\n";
        assert_eq!(rewritten(text, &[pair(20_000), Way::Refused, pair(20_004), Way::Refused]), expected);
    }

    #[test]
    fn a_browser_that_is_nowhere_yet() {
        let text = "v=0\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\na=ice-options:trickle\r\nm=audio 50000/2 UDP/TLS/RTP/SAVPF 111 0\r\n\
            c=IN IP6 2001:db8::4\r\na=rtcp:50001\r\na=rtcp-mux\r\na=rtcp-fb:111 nack\r\na=candidate:1 1 udp 1 10.0.0.4 50000 typ host\r\n\
            a=end-of-candidates\r\na=ice-ufrag:x\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\nm=audio 9 RTP/AVP 0\r\n";
        let expected = "v=0\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\n\
            a=rtcp-mux\r\na=rtcp-fb:111 nack\r\na=ice-ufrag:x\r\na=ice-options:trickle\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\nm=audio 9 RTP/AVP 0\r\na=ice-options:trickle\r\n";
        assert_eq!(String::from_utf8(without_candidates(text.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn an_old_hold_stays_one() {
        let text = |session: &str, media: &str| {
            format!("v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\n{session}t=0 0\r\nm=audio 6000 RTP/AVP 0\r\n{media}")
        };
        let nowhere = "c=IN IP4 0.0.0.0\r\n";
        let cases = [
            (nowhere, "", "sendonly"),
            (nowhere, "a=sendrecv\r\n", "sendonly"),
            (nowhere, "a=recvonly\r\n", "inactive"),
            (nowhere, "a=inactive\r\n", "inactive"),
            ("", "c=IN IP4 0.0.0.0\r\na=sendrecv\r\n", "sendonly"),
            ("", "c=IN IP6 ::\r\n", "sendonly"),
        ];
        for (session, media, direction) in cases {
            let new = rewritten(&text(session, media), &[pair(20_000)]);
            let sdp = Sdp::new(new.as_bytes());
            assert!(sdp.holds() && sdp.well_formed() && new.contains(&format!("a={direction}\r\n")), "{new}");
            assert!(!new.contains("0.0.0.0") && new.matches("a=").count() == 1, "{new}");
        }
    }

    #[test]
    fn a_direct_stream_keeps_its_place_beside_relayed_ones() {
        let text = "v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\n\
            m=audio 6000 RTP/AVP 0\r\nm=video 6002 RTP/AVP 31\r\ni=camera\r\na=rtcp:7\r\n";
        let new = rewritten(text, &[pair(20_000), Way::Direct]);
        let expected =
            "m=audio 20000 RTP/AVP 0\r\nm=video 6002 RTP/AVP 31\r\ni=camera\r\nc=IN IP4 10.0.0.4\r\na=rtcp:7\r\n";
        assert!(new.contains("c=IN IP4 192.0.2.1\r\nt=0 0\r\n") && new.ends_with(expected), "{new}");
    }

    #[test]
    fn the_port_of_rtcp_is_the_whole_of_its_number() {
        for (told, becomes) in [("5004", 20_000), ("50045", 20_001), ("5004 IN IP4 10.0.0.4", 20_000)] {
            let head =
                "v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n";
            let new = rewritten(&format!("{head}a=rtcp:{told}\r\n"), &[pair(20_000)]);
            assert!(new.ends_with(&format!("a=rtcp:{becomes}\r\n")), "{new}");
        }
    }

    proptest::proptest! {
        /// Whatever bytes a peer sends, and whoever calls this before it has looked at them.
        #[test]
        fn arbitrary_bytes_break_nothing(bytes in proptest::collection::vec(proptest::sample::select(
            b"v=om=ca=audio 0123456789/.:RTP/AVP IN IP4 rtcp:mux\r\n\n\xff\0".to_vec()), 0..300)) {
            let ways = [pair(20_000), Way::Direct, Way::Refused];
            let new = rewrite(&bytes, &ways, OWN.parse().unwrap());
            for stream in Stream::all(&new).into_iter().chain(Stream::all(&bytes)) {
                let _ = (stream.peer(OWN.parse().unwrap(), stream.mux), stream.g711(), stream.clock_rate());
            }
        }

        /// m= lines keep their number and order, and no place of the owner is told.
        #[test]
        fn whatever_is_described(
            lines in proptest::collection::vec(
                proptest::sample::select(vec![
                    "m=audio 6000 RTP/AVP 0", "m=video 0 RTP/AVP 31", "m=text 6002/2 RTP/AVP 98", "m=image 7 udptl t38",
                    "c=IN IP4 10.9.8.7", "c=IN IP4 0.0.0.0", "c=IN IP6 2001:db8::9", "a=rtcp:9 IN IP4 10.9.8.7", "a=inactive",
                    "a=candidate:1 1 UDP 1 10.9.8.6 5 typ host", "a=ssrc:1 cname:x@10.9.8.6", "i=10.9.8.7", "a=rtcp-mux", "b=AS:1",
                ]),
                0..24,
            ),
            ways in proptest::collection::vec(proptest::sample::select(vec![pair(20_000), pair(20_002), Way::Refused]), 0..8),
        ) {
            let text = format!("v=0\no=- 1 1 IN IP4 10.9.8.7\ns=-\nc=IN IP4 10.9.8.7\nt=0 0\n{}", lines.join("\n"));
            let new = rewritten(&text, &ways);
            let kinds = |text: &str| Stream::all(text.as_bytes()).iter().map(|stream| stream.kind).collect::<Vec<_>>();
            proptest::prop_assert_eq!(kinds(&text), kinds(&new));
            proptest::prop_assert!(Sdp::new(new.as_bytes()).well_formed() || !Sdp::new(text.as_bytes()).well_formed(), "{}", new);
            let rest = new.replacen("o=- 1 1 IN IP4 10.9.8.7", "", 1);
            proptest::prop_assert!(!rest.contains("10.9.8.") && !rest.contains("2001:db8"), "{}", new);
            for (at, stream) in Stream::all(new.as_bytes()).iter().enumerate() {
                let is_relayed = matches!(ways.get(at), Some(Way::Relayed(ports)) if stream.port == ports.rtp);
                proptest::prop_assert!(stream.port == 0 || is_relayed, "{}", new);
            }
        }
    }
}
