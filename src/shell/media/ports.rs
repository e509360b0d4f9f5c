//! Pairs of sockets out of `[media] ports`: RTP on an even port, RTCP on the next (RFC 3550 §11).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Domain, Socket, Type};

/// Expedited forwarding (RFC 4594 §4.1): the DSCP of voice, in its place in the byte.
const VOICE: u32 = 46 << 2;
/// Room for a burst, in bytes: a second of video.
const BUFFER: usize = 256 * 1024;

/// Places tried in one go: who carries packets meanwhile has others to carry.
const TRIES: usize = 64;

/// Addresses that are remembered as of this machine, or not.
const LOCALS: usize = 64;

/// A pair of sockets.
pub struct Bound {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub address: IpAddr,
    /// They have every address of this machine.
    pub is_any: bool,
    pub port: u16,
}

/// The ports of one address.
pub struct Range {
    pub address: IpAddr,
    first: u16,
    pairs: u16,
    next: u16,
    /// The pairs that were bound, by half their port: those of an earlier range too.
    is_own: Vec<bool>,
    /// Places that were looked at, those of the first round.
    tried: usize,
}

impl Range {
    /// One range of `ports` for each address; each begins at a place of chance.
    pub fn of(addresses: &[IpAddr], ports: (u16, u16), random: u64) -> Vec<Self> {
        let (first, pairs) = places(ports);
        let next = u16::try_from(random % u64::from(pairs)).unwrap_or(0);
        let is_own = vec![false; usize::from(u16::MAX / 2) + 1];
        let range = |&address| Self { address, first, pairs, next, is_own: is_own.clone(), tried: 0 };
        addresses.iter().map(range).collect()
    }

    /// Pairs are bound out of these ports from now on.
    pub fn change(&mut self, ports: (u16, u16)) {
        (self.first, self.pairs) = places(ports);
        self.next %= self.pairs;
        self.tried = 0;
    }

    /// True when a pair at `port` may be given out.
    pub fn contains(&self, port: u16) -> bool {
        port.checked_sub(self.first).is_some_and(|offset| offset / 2 < self.pairs)
    }

    /// True when the port is one of a pair that was bound.
    pub fn has(&self, port: u16) -> bool {
        self.is_own.get(usize::from(port / 2)).copied().unwrap_or(false)
    }

    /// The pair that was bound at `port` is not used.
    pub fn give_up(&mut self, port: u16) {
        if let Some(is_own) = self.is_own.get_mut(usize::from(port / 2)) {
            *is_own = false;
        }
    }

    /// False once every place of it was looked at.
    pub fn has_untried(&self) -> bool {
        self.tried < usize::from(self.pairs)
    }

    /// True when every pair is one that was bound: nobody else is in the way.
    pub fn is_used_up(&self) -> bool {
        (0..self.pairs).all(|place| self.has(self.first + 2 * place))
    }

    /// The next pair that is free; ports that somebody else has are passed over.
    ///
    /// # Errors
    /// None of the next places can be bound, or all are bound; the error is of the last try.
    pub fn bind(&mut self) -> io::Result<Bound> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        let mut tries = 0;
        for _ in 0..self.pairs {
            let place = self.next;
            let port = self.first + 2 * place;
            let is_own = self.has(port);
            if tries == TRIES {
                break;
            }
            self.next = (self.next + 1) % self.pairs;
            self.tried = self.tried.saturating_add(1);
            if is_own {
                continue;
            }
            tries += 1;
            match self.bind_at(port) {
                Ok(bound) => {
                    if let Some(is_own) = self.is_own.get_mut(usize::from(port / 2)) {
                        *is_own = true;
                    }
                    return Ok(bound);
                }
                // Neither is mended by another port.
                Err(error) if is_of_the_machine(&error) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_at(&self, port: u16) -> io::Result<Bound> {
        let rtp = bind(self.address, port)?;
        let rtcp = bind(self.address, port.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?)?;
        let is_any = rtp.local_addr()?.ip().is_unspecified();
        Ok(Bound { rtp, rtcp, address: self.address, is_any, port })
    }
}

/// Which addresses are of this machine, as far as anybody asked.
#[derive(Default)]
pub struct Locals(Vec<(IpAddr, bool)>);

impl Locals {
    pub fn contains(&mut self, address: IpAddr) -> bool {
        if let Some((_, is_local)) = self.0.iter().find(|(known, _)| *known == address) {
            return *is_local;
        }
        let is_local = std::net::UdpSocket::bind((address, 0)).is_ok();
        if self.0.len() >= LOCALS {
            self.0.clear();
        }
        self.0.push((address, is_local));
        is_local
    }
}

/// The first even port, and how many pairs there are from it on.
fn places((first, last): (u16, u16)) -> (u16, u16) {
    let first = first.next_multiple_of(2);
    (first, (last.saturating_sub(first).saturating_add(1) / 2).max(1))
}

fn is_of_the_machine(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, port)), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Best effort: the network may not care, and the kernel may have a smaller limit.
    let _ = if address.is_ipv4() { socket.set_tos_v4(VOICE) } else { socket.set_tclass_v6(VOICE) };
    let _ = socket.set_recv_buffer_size(BUFFER);
    match socket.bind(&SocketAddr::new(address, port).into()) {
        // The address that phones see is that of a NAT in front of us: packets come to any of ours.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
            socket.bind(&SocketAddr::new(any, port).into())?;
        }
        bound => bound?,
    }
    Ok(UdpSocket::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_range_is_used_up_and_no_port_of_it_twice() {
        // Where nobody else is likely to be.
        let mut range = Range::of(&[Ipv4Addr::LOCALHOST.into()], (48_001, 48_008), 1).remove(0);
        let bound: Vec<Bound> = std::iter::from_fn(|| range.bind().ok()).collect();
        let mut ports: Vec<u16> = bound.iter().map(|bound| bound.port).collect();
        ports.sort_unstable();
        assert!(ports.iter().all(|port| port % 2 == 0 && (48_002..=48_007).contains(port)), "{ports:?}");
        ports.dedup();
        assert_eq!(ports.len(), bound.len());
        assert!(range.bind().is_err() && !range.has_untried() && range.is_used_up());
    }

    #[test]
    fn a_range_that_others_have_is_gone_through_in_steps() {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
        let port = |place: u16| 48_100 + 2 * place;
        let taken: Vec<_> = (0..80).map(|place| std::net::UdpSocket::bind((address, port(place))).unwrap()).collect();
        let mut range = Range::of(&[address], (port(0), port(81) - 1), 0).remove(0);
        assert!(range.bind().is_err() && range.has_untried() && !range.is_used_up());
        assert_eq!(range.bind().unwrap().port, port(80));
        drop(taken);
        assert_eq!(range.bind().unwrap().port, port(0));
    }
}
