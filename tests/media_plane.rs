//! The data plane of media with real sockets on loopback: who is heard, where it goes, what is said, and when ports come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::alloc::System;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sosbridge::media::{Codec, Counters, News, Order, PairId, Peer, Ports, Prompt, Reach, Voice};
use sosbridge::node::Input;
use sosbridge::shell::events::Event;
use sosbridge::shell::media::MediaPlane;
use sosbridge::shell::mmsg;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::mpsc;

/// Counts what is allocated, by all threads.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time: allocations are counted of all threads.
static TURN: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come.
const NOTHING: Duration = Duration::from_millis(150);

/// A data plane and what it has said.
struct Plane {
    plane: MediaPlane,
    events: mpsc::Receiver<Event>,
    bound: Vec<Ports>,
    played: Vec<PairId>,
    counted: Vec<(PairId, Counters)>,
    scarce: Vec<String>,
}

impl Plane {
    fn start(ports: (u16, u16)) -> Self {
        Self::of("[\"127.0.0.1\", \"::1\"]", ports)
    }

    /// `addresses`: as the configuration has them.
    fn of(addresses: &str, ports: (u16, u16)) -> Self {
        let text = format!(
            "[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
             [media]\naddress = {addresses}\nports = \"{}-{}\"\n",
            ports.0, ports.1
        );
        let media = sosbridge::config::load(&text, std::path::Path::new("/")).unwrap().config.media;
        let (sender, events) = mpsc::channel(1024);
        let random = u64::from(std::process::id()) * 7919;
        let (plane, news) = MediaPlane::start(&media, sender, random).unwrap();
        let mut started = Self { plane, events, bound: vec![], played: vec![], counted: vec![], scarce: vec![] };
        news.into_iter().for_each(|news| started.take(news));
        started
    }

    /// Takes the news that are there.
    fn catch_up(&mut self) {
        while let Ok(Event::Input(Input::Media(news))) = self.events.try_recv() {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Bound(ports) => self.bound.extend(ports),
            News::Played(pair) => self.played.push(pair),
            News::Counted(counted) => self.counted = counted,
            News::Scarce { reason } => self.scarce.push(reason),
        }
    }

    /// A pair that is ready.
    fn pair(&mut self, is_ipv4: bool) -> Ports {
        let at = self.bound.iter().position(|ports| ports.address.is_ipv4() == is_ipv4).expect("a ready pair");
        self.bound.remove(at)
    }

    fn order(&mut self, orders: impl IntoIterator<Item = Order>) {
        orders.into_iter().for_each(|order| self.plane.order(order));
        assert!(self.plane.flush());
        std::thread::sleep(Duration::from_millis(30));
    }

    /// Takes news until one of them is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE * 2;
        while !wanted(self) {
            assert!(Instant::now() < end, "never: {what}");
            match self.events.try_recv() {
                Ok(Event::Input(Input::Media(news))) => self.take(news),
                Ok(other) => panic!("{other:?}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn counters(&mut self, pair: PairId) -> Counters {
        // What waits was counted before.
        self.catch_up();
        self.counted.clear();
        self.until("counts", |plane| plane.counted.iter().any(|(of, _)| *of == pair));
        self.counted.iter().find(|(of, _)| *of == pair).unwrap().1
    }
}

/// A peer: its RTP and its RTCP.
struct Party {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet in time");
    (buffer[..length].to_vec(), from)
}

fn nothing(socket: &UdpSocket) {
    socket.set_read_timeout(Some(NOTHING)).unwrap();
    let mut buffer = [0; 4096];
    assert!(socket.recv_from(&mut buffer).is_err(), "nobody should have been heard");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

impl Party {
    fn at(ip: &str) -> Self {
        Self { rtp: socket(ip), rtcp: socket(ip) }
    }

    fn peer(&self, mux: bool) -> Peer {
        let rtp = self.rtp.local_addr().unwrap();
        let rtcp = if mux { rtp } else { self.rtcp.local_addr().unwrap() };
        Peer {
            rtp: Some(rtp),
            rtcp: Some(rtcp),
            mux,
            clock_rate: 8000,
            sources: smallvec::smallvec![],
            is_anywhere: false,
            reach: Reach::Described,
        }
    }
}

fn at(ports: Ports, offset: u16) -> SocketAddr {
    SocketAddr::new(ports.address, ports.rtp + offset)
}

fn rtp(payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(0x5050_0001_u32.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn rtcp(kind: u8) -> Vec<u8> {
    vec![0x80, kind, 0, 1, 0x50, 0x50, 0, 1]
}

/// Two parties joined by the relay.
fn joined(plane: &mut Plane, ips: (&str, &str), mux: (bool, bool)) -> (Party, Party, Ports, Ports) {
    let (alice, bob) = (Party::at(ips.0), Party::at(ips.1));
    let (a, b) = (plane.pair(!ips.0.contains(':')), plane.pair(!ips.1.contains(':')));
    plane.order([
        Order::Point(a.pair, alice.peer(mux.0)),
        Order::Point(b.pair, bob.peer(mux.1)),
        Order::Join(a.pair, b.pair),
    ]);
    (alice, bob, a, b)
}

/// As far as the system lets it, and where signalling has another processor. This machine says which through a thread of the test.
#[test]
fn who_carries_media_goes_before_other_threads() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let _plane = Plane::start((48_600, 48_699));
    let may = std::thread::spawn(|| mmsg::run_before_others().is_ok()).join().unwrap();
    let has_another = std::thread::available_parallelism().unwrap().get() > 1;
    // proc_pid_stat(5): the name in parentheses is the second field, the policy the 41st. 2: SCHED_RR.
    let policy = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        before.ends_with("(media").then(|| after.split(' ').nth(38).unwrap().to_owned())
    };
    let is_first =
        || std::fs::read_dir("/proc/self/task").unwrap().flatten().filter_map(policy).any(|policy| policy == "2");
    let late = Instant::now() + PATIENCE;
    while may && has_another && !is_first() && Instant::now() < late {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(is_first(), may && has_another);
}

#[test]
fn packets_cross_untouched_between_all_families() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    for ips in [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("::1", "::1")] {
        let (alice, bob, a, b) = joined(&mut plane, ips, (false, false));
        // Sound, telephone-event, video, T.140, and something encrypted.
        let payloads: [(u8, &[u8]); 5] = [
            (0, &[0xd5; 160]),
            (101, &[5, 0x0a, 3, 0x20]),
            (0x80 | 96, &[9; 1200]),
            (98, b"h\xc3\xa9"),
            (111, &[0xff; 90]),
        ];
        for (sequence, (payload_type, payload)) in (1..).zip(payloads) {
            let packet = rtp(payload_type, sequence, payload);
            alice.rtp.send_to(&packet, at(a, 0)).unwrap();
            assert_eq!(heard(&bob.rtp), (packet.clone(), at(b, 0)), "{ips:?}");
            bob.rtp.send_to(&packet, at(b, 0)).unwrap();
            assert_eq!(heard(&alice.rtp), (packet, at(a, 0)));
        }
        alice.rtcp.send_to(&rtcp(201), at(a, 1)).unwrap();
        assert_eq!(heard(&bob.rtcp), (rtcp(201), at(b, 1)));
        bob.rtcp.send_to(&rtcp(200), at(b, 1)).unwrap();
        assert_eq!(heard(&alice.rtcp), (rtcp(200), at(a, 1)));
        let hello = [&[22, 254, 253][..], &[0; 60]].concat();
        alice.rtp.send_to(&hello, at(a, 0)).unwrap();
        assert_eq!(heard(&bob.rtp).0, hello, "DTLS is between the two");
    }
}

#[test]
fn rtcp_on_the_port_of_rtp_and_on_its_own() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (true, false));
    alice.rtp.send_to(&rtcp(200), at(a, 0)).unwrap();
    assert_eq!(heard(&bob.rtcp), (rtcp(200), at(b, 1)));
    bob.rtcp.send_to(&rtcp(201), at(b, 1)).unwrap();
    assert_eq!(heard(&alice.rtp), (rtcp(201), at(a, 0)));
}

/// SPEC §4, in media: many phones name their user in what RTCP calls the source (RFC 3550 §6.5).
#[test]
fn section_4_rtcp_names_nobody() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    // An empty report, then the source 7 with its CNAME.
    let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 202, 0, 7, 0, 0, 0, 7, 1, 21];
    report.extend(b"sip:alice@example.com\0");
    for mux in [false, true] {
        let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.1"), (mux, mux));
        let (from, to, port) = if mux { (&alice.rtp, &bob.rtp, 0) } else { (&alice.rtcp, &bob.rtcp, 1) };
        from.send_to(&report, at(a, port)).unwrap();
        let (seen, source) = heard(to);
        assert_eq!((seen.len(), source, &seen[..18]), (report.len(), at(b, port), &report[..18]));
        assert!(!String::from_utf8_lossy(&seen).contains("alice"), "{seen:?}");
    }
}

#[test]
fn a_phone_behind_a_nat_is_answered_where_it_sends_from() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (phone, center) = (Party::at("127.0.0.5"), Party::at("127.0.0.2"));
    let (a, b) = (plane.pair(true), plane.pair(true));
    // Its description names an address that nobody can send to; its signalling comes from 127.0.0.5.
    let described = Peer {
        rtp: Some("192.168.1.7:7078".parse().unwrap()),
        rtcp: Some("192.168.1.7:7079".parse().unwrap()),
        sources: smallvec::smallvec!["127.0.0.5".parse().unwrap()],
        ..phone.peer(false)
    };
    plane.order([
        Order::Point(a.pair, described),
        Order::Point(b.pair, center.peer(false)),
        Order::Join(a.pair, b.pair),
    ]);
    phone.rtp.send_to(&rtp(0, 1, &[1; 160]), at(a, 0)).unwrap();
    heard(&center.rtp);
    center.rtp.send_to(&rtp(0, 1, &[2; 160]), at(b, 0)).unwrap();
    assert_eq!(heard(&phone.rtp).0, rtp(0, 1, &[2; 160]));
}

#[test]
fn a_third_party_reaches_neither_side_and_steals_nothing() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (false, false));
    let mallory = socket("127.0.0.66");
    // Before the peer has sent anything, and after.
    for round in 0..2 {
        for sequence in 0..50 {
            for ports in [a, b] {
                mallory.send_to(&rtp(0, sequence, &[0x66; 160]), at(ports, 0)).unwrap();
                mallory.send_to(&rtcp(203), at(ports, 1)).unwrap();
            }
        }
        nothing(&alice.rtp);
        nothing(&bob.rtp);
        nothing(&alice.rtcp);
        alice.rtp.send_to(&rtp(0, round, &[1; 160]), at(a, 0)).unwrap();
        bob.rtp.send_to(&rtp(0, round, &[2; 160]), at(b, 0)).unwrap();
        assert_eq!(heard(&bob.rtp).0, rtp(0, round, &[1; 160]));
        assert_eq!(heard(&alice.rtp).0, rtp(0, round, &[2; 160]));
    }
    nothing(&mallory);
    let counters = plane.counters(a.pair);
    assert_eq!((counters.packets, counters.strange), (2, 200));
    // Nor is anything but RTP, RTCP and DTLS carried.
    for garbage in [
        &[][..],
        &[0x80],
        b"INVITE sip:911@x SIP/2.0\r\n",
        &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        alice.rtp.send_to(garbage, at(a, 0)).unwrap();
    }
    nothing(&bob.rtp);
}

#[test]
fn hold_and_a_new_place_follow_signalling() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (false, false));
    alice.rtp.send_to(&rtp(0, 1, &[1; 160]), at(a, 0)).unwrap();
    heard(&bob.rtp);
    plane.order([Order::Point(b.pair, Peer { rtp: None, rtcp: None, ..bob.peer(false) })]);
    alice.rtp.send_to(&rtp(0, 2, &[1; 160]), at(a, 0)).unwrap();
    nothing(&bob.rtp);
    let desk = Party::at("127.0.0.3");
    plane.order([Order::Point(b.pair, desk.peer(false))]);
    alice.rtp.send_to(&rtp(0, 3, &[1; 160]), at(a, 0)).unwrap();
    assert_eq!(heard(&desk.rtp).0, rtp(0, 3, &[1; 160]));
    bob.rtp.send_to(&rtp(0, 4, &[2; 160]), at(b, 0)).unwrap();
    nothing(&alice.rtp);
    plane.order([Order::Part(a.pair)]);
    alice.rtp.send_to(&rtp(0, 5, &[1; 160]), at(a, 0)).unwrap();
    nothing(&desk.rtp);
}

#[test]
fn a_voice_is_said_to_its_end_at_the_pace_of_speech() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (false, false));
    let prompts = vec![Prompt::Digit(4), Prompt::Digit(2)];
    let voice = Voice { codec: Codec::Pcma, payload_type: 8, prompts, repeats: false };
    plane.order([Order::Play(a.pair, voice.clone())]);
    // While it speaks the other side is not heard.
    bob.rtp.send_to(&rtp(0, 9, &[7; 160]), at(b, 0)).unwrap();
    let mut said = vec![heard(&alice.rtp).0];
    plane.until("played", |plane| plane.played == [a.pair]);
    alice.rtp.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2048];
    while let Ok(length) = alice.rtp.recv(&mut buffer) {
        said.push(buffer[..length].to_vec());
    }
    alice.rtp.set_nonblocking(false).unwrap();
    assert!((40..150).contains(&said.len()), "{}", said.len());
    for (at, pair) in said.windows(2).enumerate() {
        let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        let time = |packet: &[u8]| u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        assert_eq!((pair[0].len(), pair[1][1]), (172, 8));
        assert_eq!(number(&pair[1]), number(&pair[0]).wrapping_add(1), "{at}");
        assert_eq!(time(&pair[1]), time(&pair[0]).wrapping_add(160));
    }
    assert_eq!(said[0][1], 0x88, "the first has the marker");
    bob.rtp.send_to(&rtp(0, 10, &[7; 160]), at(b, 0)).unwrap();
    assert_eq!(heard(&alice.rtp).0, rtp(0, 10, &[7; 160]));
    // One that repeats is told when to end.
    plane.order([Order::Play(b.pair, Voice { repeats: true, ..voice })]);
    heard(&bob.rtp);
    plane.order([Order::Silence(b.pair)]);
    bob.rtp.set_nonblocking(true).unwrap();
    while bob.rtp.recv(&mut buffer).is_ok() {}
    bob.rtp.set_nonblocking(false).unwrap();
    nothing(&bob.rtp);
}

#[test]
fn ports_rest_before_they_are_given_out_again() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Room for very few: all are bound at the start, and come back only by being released.
    let mut plane = Plane::start((30_100, 30_131));
    let all = plane.bound.len();
    assert!((2..=32).contains(&all), "{all}");
    let pairs: Vec<Ports> = std::mem::take(&mut plane.bound);
    let party = Party::at("127.0.0.1");
    plane.order(pairs.iter().map(|ports| Order::Point(ports.pair, party.peer(false))));
    let released = Instant::now();
    plane.order(pairs.iter().map(|ports| Order::Release(ports.pair)));
    // Whoever still sends is not heard by anybody, and gets no answer.
    party.rtp.send_to(&rtp(0, 1, &[1; 160]), at(pairs[0], 0)).unwrap();
    nothing(&party.rtp);
    plane.until("ports come back", |plane| plane.bound.len() >= all);
    assert!(released.elapsed() >= Duration::from_secs(4));
    let again: Vec<PairId> = plane.bound.iter().map(|ports| ports.pair).collect();
    assert!(pairs.iter().all(|ports| !again.contains(&ports.pair)), "a name is never used again");
    let places = |pairs: &[Ports]| {
        let mut places: Vec<_> = pairs.iter().map(|ports| (ports.address, ports.rtp)).collect();
        places.sort_unstable();
        places
    };
    assert_eq!(places(&pairs), places(&plane.bound));
    // An order about a pair of before is passed over.
    plane.order([Order::Point(pairs[0].pair, party.peer(false)), Order::Release(pairs[0].pair)]);
}

#[test]
fn loss_and_reports_are_counted() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (false, false));
    for sequence in (0..100).filter(|sequence| sequence % 4 != 1) {
        alice.rtp.send_to(&rtp(0, sequence, &[1; 160]), at(a, 0)).unwrap();
        heard(&bob.rtp);
    }
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    report.extend(0x5050_0001_u32.to_be_bytes());
    report.extend([64, 0, 0, 25, 0, 0, 0, 99, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
    bob.rtcp.send_to(&report, at(b, 1)).unwrap();
    heard(&alice.rtcp);
    let counters = plane.counters(a.pair);
    assert_eq!((counters.packets, counters.lost, counters.bytes), (75, 25, 75 * 172));
    let counters = plane.counters(b.pair);
    assert_eq!((counters.reported_lost, counters.reported_jitter), (Some(64), Some(16)));
}

#[test]
fn nothing_is_allocated_for_a_packet() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, b) = joined(&mut plane, ("127.0.0.1", "::1"), (false, false));
    let (packet, mut buffer) = (rtp(0, 1, &[1; 160]), [0; 2048]);
    let (to_a, to_b) = (at(a, 0), at(b, 0));
    let mut exchange = |times: usize| {
        for _ in 0..times {
            alice.rtp.send_to(&packet, to_a).unwrap();
            bob.rtp.recv_from(&mut buffer).unwrap();
            bob.rtp.send_to(&packet, to_b).unwrap();
            alice.rtp.recv_from(&mut buffer).unwrap();
        }
    };
    exchange(100);
    let before = ALLOCATOR.stats().allocations;
    exchange(5000);
    let made = ALLOCATOR.stats().allocations - before;
    // Once a second the counts are told.
    assert!(made < 200, "{made} allocations for 10,000 packets");
}

/// A call that rings has two pairs, of which only the caller's is pointed anywhere.
#[test]
fn calls_that_ring_do_not_use_the_range_up() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    for _ in 0..300 {
        plane.until("a pair", |plane| plane.bound.iter().any(|ports| ports.address.is_ipv4()));
        let ports = plane.pair(true);
        plane.plane.order(Order::Take(ports.pair));
        assert!(plane.plane.flush());
    }
}

#[test]
fn ports_are_bound_at_the_addresses_that_are_told() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let old: Vec<Ports> = std::mem::take(&mut plane.bound);
    let new: IpAddr = "127.0.0.9".parse().unwrap();
    let released = old.iter().map(|ports| Order::Release(ports.pair));
    plane.order(released.chain([Order::Serve(vec![new], (20_000, 29_999))]));
    plane.until("pairs of the new address", |plane| plane.bound.len() >= 256);
    // And it stays at that when the old ones have rested.
    std::thread::sleep(Duration::from_secs(6));
    plane.catch_up();
    assert!(plane.bound.iter().all(|ports| ports.address == new));
}

/// Who looks for another program that has the ports looks in vain.
#[test]
fn that_calls_have_all_ports_is_told() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::of("[\"127.0.0.1\"]", (20_200, 20_203));
    for _ in 0..2 {
        let ports = plane.pair(true);
        plane.order([Order::Take(ports.pair)]);
    }
    plane.until("the want of ports", |plane| !plane.scarce.is_empty());
    assert_eq!(plane.scarce, ["127.0.0.1: all of them are in use, or rest"]);
}

/// An operator who gives other ports is told whether these are any better.
#[test]
fn that_others_have_the_ports_of_a_new_range_too_is_told() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let taken: Vec<_> = (20_300..20_308).map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap()).collect();
    let mut plane = Plane::of("[\"127.0.0.1\"]", (20_300, 20_303));
    for (count, ports) in [(1, (20_304, 20_307)), (2, (20_300, 20_307))] {
        plane.until("the want of ports", |plane| plane.scarce.len() == count);
        plane.order([Order::Serve(vec!["127.0.0.1".parse().unwrap()], ports)]);
    }
    drop(taken);
    plane.until("pairs", |plane| plane.bound.len() == 4);
}

#[test]
fn ports_are_bound_out_of_the_range_that_is_told() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 20_003));
    let own: IpAddr = "127.0.0.1".parse().unwrap();
    let (ports, other) = (plane.pair(true), plane.pair(true));
    plane.order([Order::Serve(vec![own], (20_100, 20_103))]);
    let is_new = |ports: &Ports| (20_100..20_104).contains(&ports.rtp) && ports.address == own;
    plane.until("pairs of the new range", |plane| plane.bound.iter().filter(|ports| is_new(ports)).count() == 2);
    // What was given out before serves on, and is not given out again.
    let party = Party::at("127.0.0.5");
    plane.order([Order::Point(ports.pair, party.peer(false)), Order::Join(ports.pair, other.pair)]);
    let place = at(ports, 0);
    party.rtp.send_to(&rtp(0, 1, b"x"), place).unwrap();
    plane.until("the packet", |plane| {
        plane.counted.iter().any(|(pair, counters)| *pair == ports.pair && counters.packets == 1)
    });
    plane.bound.clear();
    plane.order([Order::Release(ports.pair), Order::Release(other.pair)]);
    std::thread::sleep(Duration::from_secs(6));
    plane.catch_up();
    assert!(plane.bound.is_empty(), "{:?}", plane.bound);
    // They are there when their range is again.
    plane.order([Order::Serve(vec![own], (20_000, 20_003))]);
    plane.until("the pairs of the old range", |plane| plane.bound.len() == 2);
}

/// Where the relay is behind a NAT its sockets have all addresses of this machine, and a phone may name one of them over two calls.
#[test]
fn no_packet_goes_round_over_another_address_of_this_machine() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Nobody's here (RFC 5737), so the sockets are bound to any address.
    let mut plane = Plane::of("[\"192.0.2.1\"]", (20_000, 29_999));
    let mallory = Party::at("127.0.0.66");
    let pairs: Vec<Ports> = (0..4).map(|_| plane.pair(true)).collect();
    let here = |ports: Ports| {
        let place = SocketAddr::new("127.0.0.1".parse().unwrap(), ports.rtp);
        let sources = smallvec::smallvec!["127.0.0.66".parse().unwrap()];
        Peer { rtp: Some(place), rtcp: Some(place), sources, ..mallory.peer(true) }
    };
    plane.order([
        Order::Point(pairs[0].pair, here(pairs[3])),
        Order::Point(pairs[1].pair, here(pairs[2])),
        Order::Join(pairs[0].pair, pairs[1].pair),
        Order::Point(pairs[2].pair, here(pairs[1])),
        Order::Point(pairs[3].pair, here(pairs[0])),
        Order::Join(pairs[2].pair, pairs[3].pair),
    ]);
    mallory.rtp.send_to(&rtp(0, 1, &[1; 160]), ("127.0.0.1", pairs[0].rtp)).unwrap();
    mallory.rtcp.send_to(&rtcp(201), ("127.0.0.1", pairs[0].rtp + 1)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let arrived: u64 = pairs.iter().map(|ports| plane.counters(ports.pair)).map(|at| at.packets + at.strange).sum();
    assert!(arrived <= 4, "{arrived} packets of one");
}

/// ZRTP is between the parties, as all encryption is.
#[test]
fn zrtp_crosses() {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut plane = Plane::start((20_000, 29_999));
    let (alice, bob, a, _) = joined(&mut plane, ("127.0.0.1", "127.0.0.2"), (false, false));
    let hello = [&[0x10, 0, 0, 1][..], b"ZRTP", &[0; 100]].concat();
    alice.rtp.send_to(&hello, at(a, 0)).unwrap();
    assert_eq!(heard(&bob.rtp).0, hello);
}
