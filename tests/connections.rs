//! The real daemon while 10,000 connections are held, a tenth of them in the middle of a message: nobody who calls notices.
//! Where the limit on open files allows fewer, as many as it does, and at least 2,000.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod real;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use real::{CONFIG, Daemon, Party, admin, free, hang_up, listen, talk, trunk};
use sosbridge::shell::mmsg::raise_open_files;

const WANTED: usize = 10_000;
const FEWEST: usize = 2_000;
/// Files that daemon and test need beside the connections.
const OTHER_FILES: usize = 1_000;
const CALLS: usize = 40;
/// T1: nobody has to say anything twice (RFC 3261 §17.1.1.2).
const UNNOTICED: Duration = Duration::from_millis(500);

#[test]
fn na_9_ten_thousand_connections_a_tenth_of_them_half_said() {
    let limit = usize::try_from(raise_open_files().unwrap()).unwrap_or(usize::MAX);
    // Half of them are for connections.
    let count = WANTED.min((limit / 2).saturating_sub(OTHER_FILES));
    println!("{count} connections; the limit on open files is {limit}");
    assert!(count >= FEWEST, "a limit of {limit} open files is too low for this test");

    let [udp, tcp, center] = ["127.0.0.1"; 3].map(free);
    let center = SocketAddr::new("127.0.0.2".parse().unwrap(), center.port());
    let config = [CONFIG, &listen("udp", udp), &listen("tcp", tcp), &trunk(center, "udp"), &admin(free("127.0.0.1"))];
    let daemon = Daemon::serve(&config.concat());
    let mut phone = Party::udp("alice", free("127.0.0.1"), udp);
    let mut psap = Party::udp("psap", center, udp);
    phone.register();
    let before = calls(&mut phone, &mut psap);

    let held = hold(tcp, count);
    let is_held = || open_files(&daemon) >= count;
    let end = Instant::now() + Duration::from_secs(20);
    while !is_held() {
        assert!(Instant::now() < end, "{} of {count} connections are accepted", open_files(&daemon));
        std::thread::sleep(Duration::from_millis(20));
    }
    let during = calls(&mut phone, &mut psap);
    println!("INVITE in to INVITE out, median and worst: {before:?} before, {during:?} with {count} connections");
    assert!(during.1 < UNNOTICED, "{during:?}");

    // Also for who comes on a new connection, and for one of those that are held.
    let mut newcomer = Party::connected("bob", tcp);
    newcomer.register();
    let (mut call, took) = talk(&mut newcomer, &mut psap);
    assert!(took < UNNOTICED, "{took:?}");
    hang_up(&mut call, &mut newcomer, &mut psap);
    assert!(is_held(), "no connection was closed to make room");
    for (at, rest) in [(0, REST), (1, WHOLE)] {
        answers(&held[at], rest);
    }
}

/// SPEC §10: nor for capacity, while any path exists.
#[test]
fn strangers_do_not_hold_the_files_that_a_call_needs() {
    const FILES: usize = 1_600;
    let [udp, tcp] = ["127.0.0.1"; 2].map(free);
    let center = SocketAddr::new("127.0.0.2".parse().unwrap(), free("127.0.0.2").port());
    let config = [CONFIG, &listen("udp", udp), &listen("tcp", tcp), &trunk(center, "tcp"), &admin(free("127.0.0.1"))];
    let daemon = Daemon::serve_within(&config.concat(), FILES);
    let mut phone = Party::udp("alice", free("127.0.0.1"), udp);
    phone.register();
    let held: Vec<TcpStream> = (0..2 * FILES).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    // Until it has taken what it will.
    let mut before = 0;
    while std::mem::replace(&mut before, open_files(&daemon)) != before {
        std::thread::sleep(Duration::from_millis(300));
    }
    println!("{before} files of {FILES} are open");
    let mut psap = Party::listening("psap", center, tcp);
    let (mut call, _) = talk(&mut phone, &mut psap);
    let mut newcomer = Party::connected("bob", tcp);
    newcomer.register();
    hang_up(&mut call, &mut phone, &mut psap);
    drop(held);
}

const START: &str =
    "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP held.invalid;branch=z9hG4bKheld\r\nFrom: <sip:h@";
const REST: &str =
    "example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: half\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
const WHOLE: &str = "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP held.invalid;branch=z9hG4bKwhole\r\nFrom: <sip:h@example.com>;tag=1\r\n\
    To: <sip:example.com>\r\nCall-ID: whole\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// Every tenth has begun to say something.
fn hold(daemon: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connection = |at: usize| {
        let mut stream = TcpStream::connect(daemon).unwrap();
        if at.is_multiple_of(10) {
            stream.write_all(START.as_bytes()).unwrap();
        }
        stream
    };
    (0..count).map(connection).collect()
}

fn answers(mut stream: &TcpStream, rest: &str) {
    stream.write_all(rest.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut start = [0; 11];
    std::io::Read::read_exact(&mut stream, &mut start).unwrap();
    assert_eq!(&start, b"SIP/2.0 200");
}

/// Median and worst time from INVITE to INVITE, of calls one after the other.
fn calls(phone: &mut Party, psap: &mut Party) -> (Duration, Duration) {
    let once = |_| {
        let (mut call, took) = talk(phone, psap);
        hang_up(&mut call, phone, psap);
        took
    };
    let mut times: Vec<Duration> = (0..CALLS).map(once).collect();
    times.sort_unstable();
    (times[CALLS / 2], times[CALLS - 1])
}

fn open_files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
}
