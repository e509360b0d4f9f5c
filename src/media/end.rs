//! One end of a relayed stream: a pair of ports and the peer that uses it. The data plane asks it of every packet, and
//! nothing here allocates.
//!
//! The source of packets is learnt from the first that comes from where the peer may be, and from then on is the only one
//! that is heard (RFC 7362 §4): where the description says, or any port of the address that it or its signalling has, for NATs
//! give a stream another port. It changes when signalling points elsewhere, when packets come from exactly where the description
//! says, or after silence. So a third party that floods the port is neither heard nor answered.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::hearing::Hearing;
use super::order::{Counters, Peer, Reach};
use super::packet::{Packet, Rtp, report_about};
use crate::base::Instant;

/// A source that has said nothing this long gives way to another that may be the peer: a NAT has forgotten its port, a phone
/// has moved.
const SILENCE: Duration = Duration::from_secs(5);

/// How long packets go to an address that nothing has come from, neither media nor signalling, and that nobody vouches for.
const UNHEARD: Duration = Duration::from_secs(30);

/// And how many bytes in all, as they are on the wire: so much sound in G.711. No other address is lent any more, or two parties could
/// have us send to strangers by naming one after the other.
const UNHEARD_BYTES: usize = 30 * 50 * 200;

/// Headers of IP and UDP.
const HEADERS: usize = 28;

/// The two ports of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Rtp,
    Rtcp,
}

/// What is known of the source of one port, and when it was last heard.
#[derive(Clone, Copy, Debug, Default)]
struct Latch {
    source: Option<(SocketAddr, Instant)>,
    /// Where the peer's keep-alives come from (RFC 6263 §4): it may say nothing else, muted behind a NAT.
    hole: Option<(SocketAddr, Instant)>,
}

impl Latch {
    /// Where its packets come from; its keep-alives, when these have come alone since.
    fn source(&self, now: Instant) -> Option<SocketAddr> {
        match (self.source, self.hole) {
            (Some((_, last)), Some((hole, since))) if now.since(last) >= SILENCE && since > last => Some(hole),
            (source, hole) => source.or(hole).map(|(source, _)| source),
        }
    }
}

/// Takes note of a packet; false when it is of another than the one that is heard.
fn learn(known: &mut Option<(SocketAddr, Instant)>, now: Instant, from: SocketAddr, may_be_peer: bool) -> bool {
    let is_heard = match *known {
        Some((source, _)) if source == from => true,
        Some((_, last)) => may_be_peer && now.since(last) >= SILENCE,
        None => may_be_peer,
    };
    if is_heard {
        *known = Some((from, now));
    }
    is_heard
}

/// One end of a stream.
#[derive(Clone, Debug)]
pub struct End {
    peer: Option<Peer>,
    rtp: Latch,
    rtcp: Latch,
    hearing: Hearing,
    packets: u64,
    bytes: u64,
    strange: u64,
    elsewhere: u64,
    reported: Option<(u8, u32)>,
    last: Instant,
    /// The place that was described last, and since when its address is.
    place: Option<SocketAddr>,
    pointed: Instant,
    /// Something has come from that address.
    is_heard_there: bool,
    /// The address that media have come from since then.
    learnt: Option<IpAddr>,
    /// Bytes that went where nothing had come from.
    lent: usize,
}

/// Whether packets may go to a described place that nothing has come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Vouched,
    Lent,
    Refused,
}

impl End {
    /// A pair that is given out at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            peer: None,
            rtp: Latch::default(),
            rtcp: Latch::default(),
            hearing: Hearing::default(),
            packets: 0,
            bytes: 0,
            strange: 0,
            elsewhere: 0,
            reported: None,
            last: now,
            place: None,
            pointed: now,
            is_heard_there: false,
            learnt: None,
            lent: 0,
        }
    }

    /// Signalling says where the peer is. Who wants nothing for a while is where he was, when he wants it again.
    pub fn point(&mut self, now: Instant, peer: Peer) {
        if let Some(place) = peer.rtp.filter(|place| self.place != Some(*place)) {
            if self.place.is_none_or(|before| before.ip() != place.ip()) {
                (self.pointed, self.is_heard_there, self.learnt) = (now, false, None);
            }
            (self.rtp, self.rtcp) = (Latch::default(), Latch::default());
            self.place = Some(place);
        }
        self.peer = Some(peer);
    }

    /// What `bytes` are, when they come from the peer and are for the peer of the other end. `heard`: the source that the other end's
    /// peer sends as, whose reception this one may report.
    pub fn arrived(
        &mut self,
        now: Instant,
        port: Port,
        from: SocketAddr,
        bytes: &[u8],
        heard: Option<u32>,
    ) -> Option<Packet> {
        let packet = Packet::of(bytes);
        let is_peer = match (packet, port) {
            // Without ICE nobody asks for it (RFC 8445): a keep-alive, or somebody's probe.
            (None | Some(Packet::Stun), _) => {
                self.kept_alive(now, port, from);
                false
            }
            (Some(Packet::Rtp), Port::Rtcp) => false,
            (Some(packet), port) => {
                // Reports that come to the port of RTP uninvited say nothing of where RTP comes from.
                let mux = self.peer.as_ref().is_some_and(|peer| peer.mux);
                let port = if packet == Packet::Rtcp && !mux { Port::Rtcp } else { port };
                let is_peer = self.is_from_peer(now, port, from);
                self.elsewhere = self.elsewhere.saturating_add(u64::from(!is_peer));
                is_peer
            }
        };
        if !is_peer {
            self.strange = self.strange.saturating_add(1);
            return None;
        }
        self.last = now;
        match packet {
            Some(Packet::Rtp) => {
                self.packets += 1;
                self.bytes += bytes.len() as u64;
                let rate = self.peer.as_ref().map_or(8000, |peer| peer.clock_rate);
                if let Some(rtp) = Rtp::read(bytes) {
                    self.hearing.heard(now, rate, rtp);
                }
            }
            Some(Packet::Rtcp) => {
                if let Some(report) = heard.and_then(|ssrc| report_about(bytes, ssrc)) {
                    self.reported = Some((report.fraction_lost, report.jitter));
                }
            }
            Some(Packet::Dtls | Packet::Stun) | None => {}
        }
        packet
    }

    fn may_be_peer(&self, from: SocketAddr) -> bool {
        let Some(peer) = &self.peer else { return false };
        let ip = from.ip().to_canonical();
        let is_described = |place: Option<SocketAddr>| place.is_some_and(|place| place.ip() == ip);
        let is_open = peer.is_anywhere && self.learnt.is_none_or(|learnt| learnt == ip);
        is_open || is_described(peer.rtp) || is_described(peer.rtcp) || peer.sources.contains(&ip)
    }

    fn is_from_peer(&mut self, now: Instant, port: Port, from: SocketAddr) -> bool {
        let may_be = self.may_be_peer(from);
        // Who is exactly where the description says takes the place of one who only might be he.
        if port == Port::Rtp && self.place == Some(from) && self.rtp.source.is_some_and(|(source, _)| source != from) {
            self.rtp = Latch::default();
        }
        let is_heard = learn(&mut self.latch(port).source, now, from, may_be);
        if is_heard {
            let ip = from.ip().to_canonical();
            self.learnt = Some(ip);
            self.is_heard_there |= self.place.is_some_and(|place| place.ip() == ip);
        }
        is_heard
    }

    fn kept_alive(&mut self, now: Instant, port: Port, from: SocketAddr) {
        let may_be = self.may_be_peer(from);
        learn(&mut self.latch(port).hole, now, from, may_be);
    }

    fn latch(&mut self, port: Port) -> &mut Latch {
        match port {
            Port::Rtp => &mut self.rtp,
            Port::Rtcp => &mut self.rtcp,
        }
    }

    /// From which port and to where a packet of `length` bytes leaves to the peer; `None` while it wants none.
    pub fn send(&mut self, now: Instant, packet: Packet, length: usize) -> Option<(Port, SocketAddr)> {
        let (port, place, trust) = self.destination(now, packet)?;
        if trust == Trust::Lent {
            self.lent = self.lent.saturating_add(length + HEADERS);
        }
        Some((port, place))
    }

    fn destination(&self, now: Instant, packet: Packet) -> Option<(Port, SocketAddr, Trust)> {
        let peer = self.peer.as_ref()?;
        let described = peer.rtp?;
        let (port, latch, place) = match packet {
            Packet::Rtcp if !peer.mux => (Port::Rtcp, &self.rtcp, peer.rtcp),
            Packet::Rtp | Packet::Dtls | Packet::Rtcp => (Port::Rtp, &self.rtp, Some(described)),
            Packet::Stun => return None,
        };
        if let Some(source) = latch.source(now) {
            return Some((port, source, Trust::Vouched));
        }
        let place = place?;
        let trust = self.trust(now, peer, place);
        (trust != Trust::Refused).then_some((port, place, trust))
    }

    fn trust(&self, now: Instant, peer: &Peer, place: SocketAddr) -> Trust {
        let is_heard = self.is_heard_there && self.place.is_some_and(|described| described.ip() == place.ip());
        let is_lent = now.since(self.pointed) < UNHEARD && self.lent < UNHEARD_BYTES;
        match peer.reach {
            Reach::Trusted => Trust::Vouched,
            Reach::Hidden | Reach::Described if is_heard => Trust::Vouched,
            Reach::Hidden => Trust::Refused,
            Reach::Described if peer.sources.contains(&place.ip()) => Trust::Vouched,
            Reach::Described if is_lent => Trust::Lent,
            Reach::Described => Trust::Refused,
        }
    }

    /// The source its peer sends as.
    pub fn ssrc(&self) -> Option<u32> {
        self.hearing.ssrc()
    }

    pub fn counters(&self, now: Instant) -> Counters {
        Counters {
            packets: self.packets,
            bytes: self.bytes,
            lost: self.hearing.lost(),
            jitter: self.hearing.jitter(),
            strange: self.strange,
            elsewhere: self.elsewhere,
            reported_lost: self.reported.map(|(lost, _)| lost),
            reported_jitter: self.reported.map(|(_, jitter)| jitter),
            silent: now.since(self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn peer(rtp: &str) -> Peer {
        Peer {
            rtp: Some(at(rtp)),
            rtcp: Some(at("10.0.0.7:6001")),
            mux: false,
            clock_rate: 8000,
            sources: smallvec::smallvec!["203.0.113.9".parse().unwrap()],
            is_anywhere: false,
            reach: Reach::Described,
        }
    }

    fn packet() -> [u8; 172] {
        let mut bytes = [0; 172];
        bytes[0] = 0x80;
        bytes
    }

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn goes_to(end: &End, now: u64, packet: Packet) -> Option<(Port, SocketAddr)> {
        end.destination(ms(now), packet).map(|(port, place, _)| (port, place))
    }

    fn heard(end: &mut End, now: u64, from: &str) -> bool {
        end.arrived(ms(now), Port::Rtp, at(from), &packet(), None).is_some()
    }

    #[test]
    fn nobody_is_heard_before_signalling_says_who() {
        let mut end = End::new(ms(0));
        assert!(!heard(&mut end, 1, "203.0.113.9:7000"));
        assert_eq!(goes_to(&end, 0, Packet::Rtp), None);
        assert_eq!(end.counters(ms(5)).strange, 1);
    }

    #[test]
    fn a_phone_behind_a_nat_is_heard_and_answered_where_it_sends_from() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert_eq!(goes_to(&end, 0, Packet::Rtp), Some((Port::Rtp, at("10.0.0.7:6000"))));
        assert!(heard(&mut end, 1, "203.0.113.9:41000"));
        assert_eq!(goes_to(&end, 0, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:41000"))));
        assert_eq!(goes_to(&end, 0, Packet::Rtcp), Some((Port::Rtcp, at("10.0.0.7:6001"))));
    }

    #[test]
    fn a_third_party_neither_steals_nor_reaches_a_stream() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(!heard(&mut end, 1, "198.51.100.66:6000"));
        assert!(heard(&mut end, 2, "10.0.0.7:6000"));
        for moment in 3..20_000 {
            assert!(!heard(&mut end, moment, "198.51.100.66:6000"));
            assert!(moment % 20 != 0 || heard(&mut end, moment, "10.0.0.7:6000"));
            // Another port of the same address neither, while the first one speaks.
            assert!(!heard(&mut end, moment, "203.0.113.9:9999"));
        }
        assert_eq!(goes_to(&end, 0, Packet::Rtp), Some((Port::Rtp, at("10.0.0.7:6000"))));
    }

    #[test]
    fn after_silence_another_source_that_may_be_the_peer_is_heard() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(heard(&mut end, 0, "203.0.113.9:41000"));
        assert!(!heard(&mut end, 4999, "203.0.113.9:42000"));
        assert!(!heard(&mut end, 5001, "198.51.100.66:41000"));
        assert!(heard(&mut end, 5001, "203.0.113.9:42000"));
        assert!(!heard(&mut end, 5002, "203.0.113.9:41000"));
    }

    #[test]
    fn signalling_that_points_elsewhere_is_followed_and_a_repetition_changes_nothing() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(heard(&mut end, 0, "203.0.113.9:41000"));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(!heard(&mut end, 1, "203.0.113.9:42000"));
        // But who is exactly where it says is the peer.
        assert!(heard(&mut end, 2, "10.0.0.7:6000") && !heard(&mut end, 3, "203.0.113.9:41000"));
        end.point(ms(0), peer("10.0.0.7:6002"));
        assert_eq!(goes_to(&end, 0, Packet::Rtp), Some((Port::Rtp, at("10.0.0.7:6002"))));
        assert!(heard(&mut end, 2, "10.0.0.7:6002"));
    }

    #[test]
    fn a_peer_on_hold_gets_nothing() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(heard(&mut end, 0, "10.0.0.7:6000"));
        end.point(ms(0), Peer { rtp: None, rtcp: None, ..peer("10.0.0.7:6000") });
        assert_eq!(goes_to(&end, 0, Packet::Rtp), None);
        assert_eq!(goes_to(&end, 0, Packet::Rtcp), None);
    }

    #[test]
    fn rtcp_goes_by_its_own_port_unless_both_have_agreed_on_one() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        let mut report = [0; 8];
        report[..2].copy_from_slice(&[0x80, 201]);
        assert_eq!(end.arrived(ms(1), Port::Rtcp, at("203.0.113.9:41001"), &report, None), Some(Packet::Rtcp));
        assert_eq!(goes_to(&end, 0, Packet::Rtcp), Some((Port::Rtcp, at("203.0.113.9:41001"))));
        end.point(ms(0), Peer { mux: true, ..peer("10.0.0.7:6000") });
        assert_eq!(goes_to(&end, 0, Packet::Rtcp), Some((Port::Rtp, at("10.0.0.7:6000"))));
        // RTP has no business on the port of RTCP.
        assert_eq!(end.arrived(ms(2), Port::Rtcp, at("203.0.113.9:41001"), &packet(), None), None);
    }

    #[test]
    fn dtls_passes_and_stun_does_not() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        let mut hello = [0; 64];
        hello[0] = 22;
        assert_eq!(end.arrived(ms(1), Port::Rtp, at("10.0.0.7:6000"), &hello, None), Some(Packet::Dtls));
        hello[0] = 0;
        assert_eq!(end.arrived(ms(1), Port::Rtp, at("10.0.0.7:6000"), &hello, None), None);
        assert_eq!(end.counters(ms(1)).strange, 1);
    }

    #[test]
    fn behind_a_proxy_and_a_nat_the_first_one_that_speaks_is_the_peer() {
        let mut end = End::new(ms(0));
        end.point(ms(0), Peer { is_anywhere: true, ..peer("10.0.0.7:6000") });
        assert!(heard(&mut end, 1, "192.0.2.80:40000"));
        assert_eq!(goes_to(&end, 1, Packet::Rtp), Some((Port::Rtp, at("192.0.2.80:40000"))));
        assert!(!heard(&mut end, 2, "198.51.100.66:40000"));
        // After silence another port of the same NAT, and nobody else.
        assert!(!heard(&mut end, 6000, "198.51.100.66:40000"));
        assert!(heard(&mut end, 6001, "192.0.2.80:40002"));
    }

    #[test]
    fn a_muted_phone_behind_a_nat_hears_through_the_hole_that_it_keeps_open() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        let keep_alive = |end: &mut End, from| {
            // A STUN Binding Request without anything in it, and an empty datagram.
            let mut binding = [0; 20];
            binding[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            [&binding[..], &[]].iter().for_each(|bytes| {
                assert_eq!(end.arrived(ms(1), Port::Rtp, at(from), bytes, None), None);
            });
        };
        keep_alive(&mut end, "198.51.100.66:6000");
        assert_eq!(goes_to(&end, 1, Packet::Rtp), Some((Port::Rtp, at("10.0.0.7:6000"))));
        keep_alive(&mut end, "203.0.113.9:41000");
        assert_eq!(goes_to(&end, 1, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:41000"))));
        // Its first packet tells better.
        assert!(heard(&mut end, 2, "203.0.113.9:42000"));
        keep_alive(&mut end, "203.0.113.9:41000");
        assert_eq!(goes_to(&end, 3, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:42000"))));
        assert_eq!((end.counters(ms(3)).strange, end.counters(ms(3)).elsewhere), (6, 0), "none of it is media");
    }

    #[test]
    fn an_address_that_stays_silent_is_sent_to_for_half_a_minute() {
        let goes = |end: &End, now| goes_to(end, now, Packet::Rtp).is_some();
        let mut end = End::new(ms(0));
        end.point(ms(1000), peer("192.0.2.66:53"));
        assert!(goes(&end, 30_999) && !goes(&end, 31_000));
        // Another port of the same victim is no news.
        end.point(ms(32_000), peer("192.0.2.66:80"));
        assert!(!goes(&end, 32_000));
        // Nor is a hold now and then.
        end.point(ms(40_000), Peer { rtp: None, rtcp: None, ..peer("192.0.2.66:80") });
        end.point(ms(41_000), peer("192.0.2.66:80"));
        assert!(!goes(&end, 41_000));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 0];
        let reports = |end: &mut End, from| end.arrived(ms(42_000), Port::Rtcp, at(from), &report, None).is_some();
        assert!(reports(&mut end, "203.0.113.9:41001") && !goes(&end, 42_000));
        // One packet of whatever kind from there, and it is sent to again, whichever port it names.
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("192.0.2.66:7000"));
        assert!(reports(&mut end, "192.0.2.66:7001") && goes(&end, 60_000));
        end.point(ms(60_000), peer("192.0.2.66:7002"));
        assert!(goes(&end, 120_000));
        // Who names the address that its signalling comes from, or is vouched for, may listen in silence.
        for peer in [peer("203.0.113.9:7000"), Peer { reach: Reach::Trusted, ..peer("192.0.2.66:53") }] {
            let mut end = End::new(ms(0));
            end.point(ms(0), peer);
            assert!(goes(&end, 3_600_000));
        }
    }

    /// Two parties that have us send to a third, whatever they call what they send.
    #[test]
    fn what_goes_to_addresses_that_stay_silent_is_little_however_many_are_named() {
        for packet in [Packet::Rtp, Packet::Rtcp, Packet::Dtls] {
            let mut end = End::new(ms(0));
            let mut bytes = 0;
            for victim in 1..200 {
                end.point(ms(victim), Peer { mux: true, ..peer(&format!("192.0.2.{victim}:53")) });
                bytes += (0..100).filter(|_| end.send(ms(victim), packet, 1200).is_some()).count() * 1228;
            }
            assert!((300_000..302_000).contains(&bytes), "{bytes}");
            // Who speaks is sent to.
            end.point(ms(300), peer("192.0.2.7:7000"));
            assert_eq!(end.send(ms(300), packet, 1200), None);
            assert!(heard(&mut end, 301, "192.0.2.7:7000") && end.send(ms(302), Packet::Rtp, 1200).is_some());
        }
        // In an emergency nobody has to speak to hear.
        let mut end = End::new(ms(0));
        end.point(ms(0), Peer { reach: Reach::Trusted, ..peer("192.0.2.66:7000") });
        assert!((0..1_000_000).all(|at| end.send(ms(at * 20), Packet::Rtp, 172).is_some()));
    }

    fn stun() -> [u8; 20] {
        let mut binding = [0; 20];
        binding[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        binding
    }

    fn kept_alive(end: &mut End, now: u64, from: &str) {
        assert_eq!(end.arrived(ms(now), Port::Rtp, at(from), &stun(), None), None);
    }

    #[test]
    fn a_phone_that_is_muted_later_hears_at_the_new_port_of_its_nat() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(heard(&mut end, 1, "203.0.113.9:41000"));
        (1..60).for_each(|second| kept_alive(&mut end, second * 1000, "203.0.113.9:42000"));
        assert_eq!(goes_to(&end, 60_000, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:42000"))));
        assert_eq!(goes_to(&end, 2000, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:41000"))));
    }

    #[test]
    fn a_keep_alive_of_a_neighbour_takes_nothing_away() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        kept_alive(&mut end, 1000, "203.0.113.9:41000");
        kept_alive(&mut end, 1001, "203.0.113.9:45555");
        assert_eq!(goes_to(&end, 1002, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:41000"))));
    }

    #[test]
    fn after_a_hold_a_phone_is_where_it_was() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        assert!(heard(&mut end, 1, "203.0.113.9:41000"));
        end.point(ms(2), Peer { rtp: None, rtcp: None, ..peer("10.0.0.7:6000") });
        assert_eq!(goes_to(&end, 3, Packet::Rtp), None);
        end.point(ms(4), peer("10.0.0.7:6000"));
        assert_eq!(goes_to(&end, 5, Packet::Rtp), Some((Port::Rtp, at("203.0.113.9:41000"))));
    }

    #[test]
    fn another_port_of_a_hidden_phone_opens_its_stream_to_nobody_else() {
        let anywhere = |rtp| Peer { is_anywhere: true, reach: Reach::Hidden, ..peer(rtp) };
        let mut end = End::new(ms(0));
        end.point(ms(0), anywhere("10.0.0.7:6000"));
        assert_eq!(goes_to(&end, 1, Packet::Rtp), None, "nobody here has that address");
        kept_alive(&mut end, 1, "192.0.2.80:39999");
        assert_eq!(goes_to(&end, 2, Packet::Rtp), Some((Port::Rtp, at("192.0.2.80:39999"))));
        assert!(heard(&mut end, 3, "192.0.2.80:40000"));
        end.point(ms(10_000), anywhere("10.0.0.7:6002"));
        assert!(!heard(&mut end, 10_001, "198.51.100.66:6666"), "a stranger who sprays the ports");
        assert!(heard(&mut end, 10_002, "192.0.2.80:40002"));
    }

    #[test]
    fn reports_on_the_port_of_rtp_do_not_keep_rtp_out() {
        let mut end = End::new(ms(0));
        end.point(ms(0), peer("10.0.0.7:6000"));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 0];
        assert!(end.arrived(ms(1), Port::Rtp, at("10.0.0.7:6001"), &report, None).is_some());
        assert!(heard(&mut end, 2, "10.0.0.7:6000"));
    }
}
