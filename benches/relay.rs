//! The relay under load beside the least that could do its work: calls of G.711 in both directions, 50 packets a second each.
//!
//! In turns the same packets go straight to the other party, through a forwarder that only receives and sends, and through the
//! data plane. Printed are packets lost, the time from sending to the arrival at the other socket (by the clock of the kernel: how
//! late this program looks is no matter), the processor time of the thread between, and what a relayed call
//! takes of memory. `cargo bench --bench relay -- [calls] [seconds]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use sosbridge::media::{News, Order, Peer, Ports, Reach};
use sosbridge::node::Input;
use sosbridge::shell::events::Event;
use sosbridge::shell::media::MediaPlane;
use sosbridge::shell::mmsg;
use tokio::sync::mpsc;

const PACE: Duration = Duration::from_millis(20);
/// Packets of one direction leave in this many portions of the pace.
const PORTIONS: usize = 400;
const ROUNDS: usize = 3;
const PACKET: usize = 172;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let (calls, seconds) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(10));
    mmsg::raise_open_files().unwrap();
    let parties = Parties::new();
    let places = parties.places(2 * calls);
    let straight: Vec<SocketAddr> = (0..2 * calls).map(|at| places[at ^ 1]).collect();
    let bare = Bare::start(&places);
    let relay = Relay::start(&places);
    println!("{calls} calls, {} packets a second, {seconds} s a round", calls * 100);
    println!(
        "{:<10} {:>9} {:>8} {:>9} {:>9} {:>9} {:>12}",
        "", "sent", "lost", "p50 us", "p99 us", "max us", "us CPU each"
    );
    let mut cost = [Vec::new(), Vec::new()];
    let mut p99 = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let direct = parties.round(&straight, seconds, None);
        direct.print("straight");
        for (at, (name, ways, thread)) in
            [("bare", &bare.ways, "bare"), ("relay", &relay.ways, "media")].into_iter().enumerate()
        {
            let round = parties.round(ways, seconds, Some(thread));
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

/// The phones and the call centers. All phones share a socket, and all call centers: who carries their packets has sockets for
/// each of them all the same, and this program leaves him a processor.
struct Parties {
    sockets: [UdpSocket; 2],
}

struct Round {
    sent: usize,
    /// From sending to arrival, in microseconds, sorted.
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

impl Parties {
    fn new() -> Self {
        let sockets = [socket(), socket()];
        for party in &sockets {
            setsockopt(party, sockopt::ReceiveTimestampns, &true).unwrap();
            // Many packets of one moment; root may have more than others.
            let _ = setsockopt(party, sockopt::RcvBufForce, &(1 << 22));
        }
        Self { sockets }
    }

    /// Where the party of this number gets its packets.
    fn places(&self, count: usize) -> Vec<SocketAddr> {
        (0..count).map(|at| self.sockets[at % 2].local_addr().unwrap()).collect()
    }

    /// `thread`: whose processor time is read.
    fn round(&self, ways: &[SocketAddr], seconds: usize, thread: Option<&str>) -> Round {
        let before = thread.map(cpu);
        let start = Instant::now();
        let (turns, portion) = (seconds * 1000 / PACE.as_millis() as usize, ways.len().div_ceil(PORTIONS));
        let (mut sent, mut delays) = (0, Vec::with_capacity(1 << 21));
        for turn in 0..turns * PORTIONS {
            let due = start + PACE * turn as u32 / PORTIONS as u32;
            // Not asleep: the timer of the system is coarser than the pace.
            while Instant::now() < due {
                self.receive(&mut delays);
            }
            let from = turn % PORTIONS * portion;
            let ways = ways.iter().enumerate().skip(from).take(portion);
            sent += ways.filter(|(at, way)| self.send(*at, **way, turn / PORTIONS)).count();
        }
        let over = Instant::now() + Duration::from_millis(500);
        while Instant::now() < over {
            self.receive(&mut delays);
        }
        let cpu = thread.zip(before).map_or(0.0, |(thread, before)| (cpu(thread) - before).as_secs_f64() * 1e6);
        delays.sort_by(f64::total_cmp);
        Round { sent, cpu: cpu / sent as f64, delays }
    }

    /// One packet of G.711 with the time in its sound.
    fn send(&self, party: usize, way: SocketAddr, count: usize) -> bool {
        let mut packet = [0; PACKET];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&(count as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(count as u32 * 160).to_be_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        packet[12..20].copy_from_slice(&(now.as_nanos() as u64).to_be_bytes());
        self.sockets[party % 2].send_to(&packet, way).is_ok()
    }

    /// The kernel has said of each packet when it came: how late it is looked at is no matter.
    fn receive(&self, delays: &mut Vec<f64>) {
        let (mut buffer, mut control) = ([0; 2048], cmsg_space!(TimeSpec));
        for party in &self.sockets {
            for _ in 0..32 {
                let mut vectors = [IoSliceMut::new(&mut buffer)];
                let flags = MsgFlags::MSG_DONTWAIT;
                let Ok(message) = recvmsg::<()>(party.as_raw_fd(), &mut vectors, Some(&mut control), flags) else {
                    break;
                };
                assert_eq!(message.bytes, PACKET);
                let came = message.cmsgs().unwrap().find_map(|said| match said {
                    ControlMessageOwned::ScmTimestampns(came) => Some(Duration::from(came)),
                    _ => None,
                });
                let sent = u64::from_be_bytes(buffer[12..20].try_into().unwrap());
                delays.push((came.unwrap().as_nanos() as u64).saturating_sub(sent) as f64 / 1000.0);
            }
        }
    }
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
            let _ = mmsg::run_before_others();
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
