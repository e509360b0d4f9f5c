//! Ports that stay free until they are bound, however long that takes: each is given once, by one process, and the system gives it
//! to nobody who asks for any.
//!
//! None is bound to find out whether it is free: a child that another thread starts meanwhile has a copy of the socket until it
//! runs its program, and until then nobody can have the port.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ephemeral ports, the usual ones of SIP and PostgreSQL, and those of media.
const PORTS: Range<u16> = 2_000..5_000;
/// So many belong to one process at a time.
const BLOCK: u16 = 100;

static BLOCKS: Mutex<Blocks> = Mutex::new(Blocks { marks: Vec::new(), left: 0..0 });

struct Blocks {
    /// Listens on the first port of each block of this process, so that no other takes that.
    marks: Vec<TcpListener>,
    left: Range<u16>,
}

/// A port of `ip` that is free for UDP and TCP.
pub fn free(ip: IpAddr) -> SocketAddr {
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = blocks.next();
        if !is_bound(port) {
            return SocketAddr::new(ip, port);
        }
    }
}

impl Blocks {
    fn next(&mut self) -> u16 {
        if self.left.is_empty() {
            let (mark, left) = block();
            self.marks.push(mark);
            self.left = left;
        }
        self.left.next().unwrap()
    }
}

/// A block that is nobody's, but for its first port. Processes beside each other begin at different places.
fn block() -> (TcpListener, Range<u16>) {
    let count = u32::from((PORTS.end - PORTS.start) / BLOCK);
    let taken = (0..count).find_map(|tried| {
        let at = u16::try_from((std::process::id() + tried) % count).unwrap();
        let first = PORTS.start + at * BLOCK;
        let mark = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        Some((mark, first + 1..first + BLOCK))
    });
    taken.unwrap_or_else(|| panic!("other tests hold all ports of {PORTS:?}"))
}

/// True when a socket has this port at any address.
fn is_bound(port: u16) -> bool {
    let ends = format!(":{port:04X}");
    ["udp", "udp6", "tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        text.lines().any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&ends)))
    })
}
