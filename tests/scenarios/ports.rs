//! Addresses of parties: loopback addresses of their own, so that no port of a story meets an ephemeral port of the machine.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::process::until;

/// Where each kind of party lives. What the daemon trusts as a trunk is told by address in the base configuration.
pub const SOSBRIDGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 20);
pub const PHONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);
pub const TRUNK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 22);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 23);
pub const PBX: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 24);

static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// What a party takes from its port on: SIP, RTP, RTCP, and the RTP of a video that SIPp opens whether or not it is asked to.
const BLOCK: u16 = 4;

/// A port of `ip` that is free on UDP and TCP, as is the block after it, and was not given to anybody else in this run.
pub fn free(ip: Ipv4Addr) -> Outcome<SocketAddr> {
    let mut given = GIVEN.lock().map_err(|_| "a story died while it took a port")?;
    for _ in 0..200 {
        let probe = UdpSocket::bind((ip, 0)).map_err(|error| format!("no free port on {ip}: {error}"))?;
        let port = probe.local_addr().map_err(|error| error.to_string())?.port();
        let Some(end) = port.checked_add(BLOCK) else { continue };
        let at = |port| SocketAddr::V4(SocketAddrV4::new(ip, port));
        let is_free =
            TcpListener::bind(at(port)).is_ok() && (port + 1..end).all(|port| UdpSocket::bind(at(port)).is_ok());
        drop(probe);
        // A child that another story starts meanwhile has a copy of the sockets until it runs its program.
        let is_let_go =
            || (port..end).all(|port| !is_bound(at(port), true) && !is_bound(at(port), false)).then_some(());
        if is_free
            && (port..end).all(|port| !given.contains(&at(port)))
            && until(Duration::from_secs(10), is_let_go).is_some()
        {
            given.extend((port..end).map(at));
            return Ok(at(port));
        }
    }
    Err(format!("no free block of ports on {ip}"))
}

/// A block of ports for RTP that belongs to one phone of this run; below the ports of the relay, since some phones take a port of
/// every address of the machine, and below the ephemeral ones.
pub fn media() -> Range<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 500).unwrap_or(0);
    let at = 10_000 + (process * 40 + NEXT.fetch_add(10, Ordering::Relaxed)) % 10_000;
    at..at + 9
}

/// True when a process listens on this address (`/proc/net`, so that asking takes no port away).
pub fn is_bound(address: SocketAddr, is_tcp: bool) -> bool {
    let SocketAddr::V4(address) = address else { return false };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let wanted = format!("{ip:08X}:{:04X}", address.port());
    let table = if is_tcp { "/proc/net/tcp" } else { "/proc/net/udp" };
    let text = std::fs::read_to_string(table).unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().nth(1) == Some(wanted.as_str()))
}
