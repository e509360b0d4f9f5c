//! What one emergency call costs the bare node, from the first byte in to the last byte out: parsing, transactions, dialogs,
//! lease, rewriting and printing of its fourteen messages, without sockets and disk. Prints also what a held call keeps.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sosbridge::admin::Metrics;
use sosbridge::base::Instant;
use sosbridge::config;
use sosbridge::node::{Boot, Input, Node, Output};
use sosbridge::transport::ListenerId;

/// Counts what is allocated, so that the cost in allocations and in memory is told beside the time.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call to the system allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USERS: usize = 20_000;
const SDP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n";

struct Bench {
    node: Node,
    now: Instant,
    phone: SocketAddr,
    center: SocketAddr,
    sent: Vec<(SocketAddr, Bytes)>,
}

impl Bench {
    fn new() -> Self {
        let mut text = String::from(
            "[sip]\ndomains = [\"example.com\"]\n[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
             [[resources]]\nname = \"r\"\nnumbers = [{ number = \"+14255550100\", make_calls = true }]\n\
             [[pools]]\ncountries = [\"US\"]\nnumbers = [\"+14256000000-+14256099999\"]\n\
             [[trunks]]\nname = \"c\"\ntargets = [{ uri = \"sip:127.0.0.1:5080\" }]\naccept_from = [\"127.0.0.1:5080\"]\noptions_interval = \"0s\"\n\
             [[routes]]\ncountries = [\"US\"]\ntrunks = [\"c\"]\n[media]\nmode = \"pass\"\n",
        );
        for user in 0..USERS {
            text.push_str(&format!("[[users]]\naor = \"sip:user{user:06}@example.com\"\npassword = \"secret\"\nresource = \"r\"\ncountry = \"US\"\n"));
        }
        let config = config::load(&text, Path::new("/")).unwrap().config;
        let now = Instant::from_millis(1_000_000_000);
        let bindings = (0..USERS)
            .map(|user| {
                serde_json::from_value(serde_json::json!({
            "user": format!("user{user:06}@example.com"), "slot": 0, "uri": format!("sip:user{user:06}@127.0.0.1:5071"),
            "cid": "c", "cseq": 1, "via": "udp", "on": 0, "from": "127.0.0.1:5071",
            "until": 9_000_000_000u64, "seen": 1, "q": 1000 }))
                .unwrap()
            })
            .collect();
        let boot =
            Boot { now, seed: [7; 32], wall_offset_ms: 0, leases: vec![], bindings, records: vec![], notices: vec![] };
        let node = Node::new(Arc::new(config), boot, Metrics::new());
        Self {
            node,
            now,
            phone: "127.0.0.1:5071".parse().unwrap(),
            center: "127.0.0.1:5080".parse().unwrap(),
            sent: Vec::new(),
        }
    }

    fn receive(&mut self, remote: SocketAddr, bytes: Bytes) {
        self.node.handle(self.now, Input::Datagram { listener: ListenerId(0), remote, bytes });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => self.sent.push((transmit.flow.remote, transmit.bytes)),
                Output::Persist { write, .. } => self.node.handle(self.now, Input::Stored { write, result: Ok(()) }),
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, to: SocketAddr, start: &[u8]) -> Bytes {
        let at = self.sent.iter().position(|(remote, bytes)| *remote == to && bytes.starts_with(start)).unwrap();
        self.sent.swap_remove(at).1
    }

    /// Up to the ACK; what is still to be told to hang up comes back.
    fn call(&mut self, user: usize, number: usize) -> (Bytes, Bytes) {
        let (phone, center) = (self.phone, self.center);
        self.receive(phone, Bytes::from(format!(
            "INVITE sip:911@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bKi{number}\r\nFrom: <sip:user{user:06}@example.com>;tag=f{number}\r\n\
             To: <sip:911@example.com>\r\nCall-ID: {number}@bench\r\nCSeq: 1 INVITE\r\nContact: <sip:user{user:06}@127.0.0.1:5071>\r\nMax-Forwards: 70\r\n\
             Subject: Performance Test\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())));
        let invite = self.take(center, b"INVITE");
        let head = std::str::from_utf8(&invite).unwrap();
        let copied: String = head
            .lines()
            .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = head.lines().find(|line| line.starts_with("To:")).unwrap();
        self.receive(center, Bytes::from(format!("SIP/2.0 180 Ringing\r\n{copied}{to};tag=c{number}\r\nContact: <sip:127.0.0.1:5080>\r\nContent-Length: 0\r\n\r\n")));
        self.receive(center, Bytes::from(format!("SIP/2.0 200 OK\r\n{copied}{to};tag=c{number}\r\nContact: <sip:127.0.0.1:5080>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())));
        let ok = self.take(phone, b"SIP/2.0 200");
        self.take(center, b"ACK");
        self.sent.clear();
        let ok_to = std::str::from_utf8(&ok).unwrap().lines().find(|line| line.starts_with("To:")).unwrap().to_owned();
        let request = |method: &str, cseq: u32| {
            Bytes::from(format!(
                "{method} sip:911@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bK{method}{number}\r\nFrom: <sip:user{user:06}@example.com>;tag=f{number}\r\n\
             {ok_to}\r\nCall-ID: {number}@bench\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            ))
        };
        (request("ACK", 1), request("BYE", 2))
    }

    fn hang_up(&mut self, bye: Bytes) {
        let (phone, center) = (self.phone, self.center);
        self.receive(phone, bye);
        let bye = self.take(center, b"BYE");
        let head = std::str::from_utf8(&bye).unwrap();
        let copied: String = head
            .lines()
            .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
            .map(|line| format!("{line}\r\n"))
            .collect();
        self.receive(center, Bytes::from(format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")));
        self.sent.clear();
    }

    fn pass(&mut self, micros: u64) {
        self.now += Duration::from_micros(micros);
        while self.node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.sent.clear();
    }
}

fn main() {
    let mut bench = Bench::new();
    let mut number = 0;
    // Calls at 1000 a second of virtual time, so that the transactions of 32 s linger as in life.
    let mut round = |bench: &mut Bench, calls: usize| {
        for _ in 0..calls {
            let (ack, bye) = bench.call(number % USERS, number);
            bench.receive(bench.phone, ack);
            bench.hang_up(bye);
            bench.pass(1000);
            number += 1;
        }
    };
    round(&mut bench, 35_000);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let (allocations, start) = (ALLOCATIONS.load(Ordering::Relaxed), std::time::Instant::now());
        round(&mut bench, 5_000);
        let taken = start.elapsed().as_secs_f64() * 1e6 / 5_000.0;
        let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - allocations) / 5_000;
        println!("a call through the node, generator included: {taken:.1} µs, {allocations} allocations");
        best = best.min(taken);
    }
    println!("best of five: {best:.1} µs");
    bench.pass(40_000_000);
    let before = LIVE.load(Ordering::Relaxed);
    for held in 0..5_000 {
        let (ack, _) = bench.call(held, 1_000_000 + held);
        bench.receive(bench.phone, ack);
    }
    bench.pass(40_000_000);
    println!("a held call keeps {} bytes on the heap", (LIVE.load(Ordering::Relaxed) - before) / 5_000);
}
