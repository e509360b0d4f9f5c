//! The relay under load beside the least that could do its work: calls of G.711 in both directions, 50 packets a second each.
//!
//! In turns the same packets go straight to the other party, through a forwarder that only receives and sends, and through the
//! data plane. Printed are packets lost, the time from sending to receiving, the processor time of the thread between, and what a
//! relayed call takes of memory. `cargo bench --bench relay -- [calls] [seconds]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use sosbridge::media::{News, Order, Peer, Ports, Reach};
use sosbridge::node::Input;
use sosbridge::shell::events::Event;
use sosbridge::shell::media::MediaPlane;
use sosbridge::shell::mmsg;
use tokio::sync::mpsc;

const PACE: Duration = Duration::from_millis(20);
/// Packets of one direction leave in this many portions of the pace.
const PORTIONS: usize = 20;
const ROUNDS: usize = 3;
const PACKET: usize = 172;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let (calls, seconds) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(10));
    mmsg::raise_open_files().unwrap();
    let parties: Vec<UdpSocket> = (0..2 * calls).map(|_| socket()).collect();
    let places: Vec<SocketAddr> = parties.iter().map(|party| party.local_addr().unwrap()).collect();
    let straight: Vec<SocketAddr> = (0..2 * calls).map(|at| places[at ^ 1]).collect();
    let bare = Bare::start(&places);
    let relay = Relay::start(&places);
    let mut field = Field::new(parties);
    println!("{calls} calls, {} packets a second, {seconds} s a round", calls * 100);
    println!(
        "{:<10} {:>9} {:>8} {:>9} {:>9} {:>9} {:>12}",
        "", "sent", "lost", "p50 us", "p99 us", "max us", "us CPU each"
    );
    let mut cost = [Vec::new(), Vec::new()];
    let mut p99 = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let direct = field.round(&straight, seconds, None);
        direct.print("straight");
        for (at, (name, ways, thread)) in
            [("bare", &bare.ways, "bare"), ("relay", &relay.ways, "media")].into_iter().enumerate()
        {
            let round = field.round(ways, seconds, Some(thread));
            round.print(name);
            cost[at].push(round.cpu);
            p99[at].push(round.at(99) - direct.at(99));
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [bare_cost, relay_cost] = &mut cost;
    println!("processor time of a packet, relay / bare: {:.2}", median(relay_cost) / median(bare_cost));
    let [_, added] = &mut p99;
    println!("p99 that the relay adds to the straight way: {:.0} us", median(added));
    println!("memory of a relayed call: {} bytes", relay.memory / calls);
}

fn socket() -> UdpSocket {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

/// All parties: they send, and look at what comes.
struct Field {
    parties: Vec<UdpSocket>,
    poll: Poll,
    began: Instant,
}

struct Round {
    sent: usize,
    /// From sending to receiving, in microseconds, sorted.
    delays: Vec<f64>,
    /// Of one packet, in microseconds.
    cpu: f64,
}

impl Round {
    fn at(&self, percent: usize) -> f64 {
        self.delays[(self.delays.len() - 1) * percent / 100]
    }

    fn print(&self, name: &str) {
        let lost = self.sent - self.delays.len();
        let (p50, p99, max) = (self.at(50), self.at(99), self.at(100));
        println!("{name:<10} {:>9} {lost:>8} {p50:>9.0} {p99:>9.0} {max:>9.0} {:>12.2}", self.sent, self.cpu);
    }
}

impl Field {
    fn new(mut parties: Vec<UdpSocket>) -> Self {
        let poll = Poll::new().unwrap();
        for (party, at) in parties.iter_mut().zip(0..) {
            poll.registry().register(party, Token(at), Interest::READABLE).unwrap();
        }
        Self { parties, poll, began: Instant::now() }
    }

    /// `thread`: whose processor time is read.
    fn round(&mut self, ways: &[SocketAddr], seconds: usize, thread: Option<&str>) -> Round {
        let began = self.began;
        let (parties, poll) = (&self.parties, &mut self.poll);
        let is_over = AtomicBool::new(false);
        let before = thread.map(cpu);
        let (sent, mut delays) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(parties, poll, began, &is_over));
            let sent = send(parties, ways, began, seconds);
            std::thread::sleep(Duration::from_millis(200));
            is_over.store(true, Ordering::Relaxed);
            (sent, receiver.join().unwrap())
        });
        let cpu = thread.zip(before).map_or(0.0, |(thread, before)| (cpu(thread) - before).as_secs_f64() * 1e6);
        delays.sort_by(f64::total_cmp);
        Round { sent, cpu: cpu / sent as f64, delays }
    }
}

fn send(parties: &[UdpSocket], ways: &[SocketAddr], began: Instant, seconds: usize) -> usize {
    let mut packet = [0; PACKET];
    packet[0] = 0x80;
    let start = Instant::now();
    let (turns, portion) = (seconds * 1000 / PACE.as_millis() as usize, parties.len().div_ceil(PORTIONS));
    let mut sent = 0;
    for turn in 0..turns * PORTIONS {
        let due = start + PACE * turn as u32 / PORTIONS as u32;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        packet[2..4].copy_from_slice(&((turn / PORTIONS) as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&((turn / PORTIONS * 160) as u32).to_be_bytes());
        let from = turn % PORTIONS * portion;
        for (party, way) in parties.iter().zip(ways).skip(from).take(portion) {
            let nanos = began.elapsed().as_nanos() as u64;
            packet[12..20].copy_from_slice(&nanos.to_be_bytes());
            sent += usize::from(party.send_to(&packet, *way).is_ok());
        }
    }
    sent
}

fn receive(parties: &[UdpSocket], poll: &mut Poll, began: Instant, is_over: &AtomicBool) -> Vec<f64> {
    let (mut events, mut buffer, mut delays) = (Events::with_capacity(1024), [0; 2048], Vec::with_capacity(1 << 21));
    while !is_over.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in &events {
            while let Ok((PACKET, _)) = parties[event.token().0].recv_from(&mut buffer) {
                let sent = u64::from_be_bytes(buffer[12..20].try_into().unwrap());
                delays.push((began.elapsed().as_nanos() as u64).saturating_sub(sent) as f64 / 1000.0);
            }
        }
    }
    delays
}

/// Processor time of a thread of this process, by its name.
fn cpu(name: &str) -> Duration {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            // Nanoseconds on a processor.
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).unwrap();
            return Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap());
        }
    }
    panic!("no thread {name}");
}

/// Receives at one socket and sends from another; nothing else.
struct Bare {
    ways: Vec<SocketAddr>,
}

impl Bare {
    fn start(places: &[SocketAddr]) -> Self {
        let mut sockets: Vec<UdpSocket> = places.iter().map(|_| socket()).collect();
        let ways = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let mut poll = Poll::new().unwrap();
        for (socket, at) in sockets.iter_mut().zip(0..) {
            poll.registry().register(socket, Token(at), Interest::READABLE).unwrap();
        }
        let places: Arc<[SocketAddr]> = places.into();
        let forward = move || {
            let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 9216]);
            loop {
                poll.poll(&mut events, None).unwrap();
                for event in &events {
                    let at = event.token().0;
                    while let Ok((length, _)) = sockets[at].recv_from(&mut buffer) {
                        let _ = sockets[at ^ 1].send_to(&buffer[..length], places[at ^ 1]);
                    }
                }
            }
        };
        std::thread::Builder::new().name("bare".into()).spawn(forward).unwrap();
        Self { ways }
    }
}

/// The data plane, with every party at a pair of its own.
struct Relay {
    ways: Vec<SocketAddr>,
    /// Bytes that all its calls take.
    memory: usize,
    _plane: MediaPlane,
}

impl Relay {
    fn start(places: &[SocketAddr]) -> Self {
        let text =
            "[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n[media]\nports = \"20000-29999\"\n";
        let media = sosbridge::config::load(text, std::path::Path::new("/")).unwrap().config.media;
        let (sender, mut events) = mpsc::channel(1024);
        let before = memory();
        let (mut plane, news) = MediaPlane::start(&media, sender, 4711).unwrap();
        let mut ready: Vec<Ports> = Vec::new();
        let mut take = |news| match news {
            News::Bound(ports) => ports,
            News::Played(_) | News::Counted(_) | News::Scarce { .. } => Vec::new(),
        };
        ready.extend(news.into_iter().flat_map(&mut take));
        let mut ways = Vec::new();
        let mut pairs = Vec::new();
        for place in places {
            while ready.is_empty() {
                match events.blocking_recv() {
                    Some(Event::Input(Input::Media(news))) => ready.extend(take(news)),
                    other => panic!("{other:?}"),
                }
            }
            let ports = ready.remove(0);
            let peer = Peer {
                rtp: Some(*place),
                rtcp: None,
                mux: false,
                clock_rate: 8000,
                sources: smallvec::smallvec![place.ip()],
                is_anywhere: false,
                reach: Reach::Described,
            };
            plane.order(Order::Point(ports.pair, peer));
            if let [.., last] = pairs[..]
                && pairs.len() % 2 == 1
            {
                plane.order(Order::Join(last, ports.pair));
            }
            assert!(plane.flush());
            pairs.push(ports.pair);
            ways.push(SocketAddr::new(ports.address, ports.rtp));
        }
        std::thread::sleep(Duration::from_millis(500));
        // What it tells from now on nobody waits for.
        std::thread::spawn(move || while events.blocking_recv().is_some() {});
        Self { ways, memory: memory().saturating_sub(before), _plane: plane }
    }
}

/// Anonymous memory of this process, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
