//! TCP in place of UDP, for requests too long for a datagram (RFC 3261 §18.1.1; CONFORMANCE NA-6).
//!
//! Only toward trunks and PBXs, at the address where they take datagrams. One that takes no connection there in a round trip,
//! or nothing over it, is sent datagrams again, and for a while no connection is tried.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use memchr::memmem;

use super::{ConnId, Flow, Streams};
use crate::base::{Instant, Protocol, limits};

/// Until when no connection is tried to those who are spoken to by datagrams.
#[derive(Default)]
pub(super) struct Refused(BTreeMap<SocketAddr, Instant>);

impl Refused {
    pub(super) fn insert(&mut self, now: Instant, remote: SocketAddr) {
        self.0.insert(remote, now + limits::DATAGRAMS_ONLY);
        if self.0.len() > limits::DATAGRAM_PEERS {
            let oldest = self.0.iter().min_by_key(|(_, until)| **until).map(|(remote, _)| *remote);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
    }

    fn holds(&mut self, now: Instant, remote: SocketAddr) -> bool {
        self.0.retain(|_, until| *until > now);
        self.0.contains_key(&remote)
    }
}

impl Streams {
    /// The flow over a connection to the remote of `flow`, which is one of datagrams, for a request of `length` bytes; `None`: it
    /// goes as a datagram.
    pub fn instead(&mut self, now: Instant, flow: Flow, length: usize) -> Option<Flow> {
        let Flow { protocol, listener, remote, .. } = flow;
        if protocol != Protocol::Udp || length <= limits::DATAGRAM_REQUEST_BYTES {
            return None;
        }
        if self.refused.holds(now, remote) && length <= limits::DATAGRAM_BYTES {
            return None;
        }
        let listener = self.listener_beside(listener).unwrap_or(listener);
        let over = |connection| Flow { protocol: Protocol::Tcp, listener, remote, connection: Some(connection) };
        if let Some(connection) = self.connected_to(Protocol::Tcp, remote, 0) {
            self.expect(now, connection);
            return Some(over(connection));
        }
        let is_new = self.existing(over(ConnId::to_peer(ConnId::INSTEAD, 0))).is_none();
        let settled = self.settle(over(ConnId::to_peer(ConnId::INSTEAD, 0)));
        match settled.connection {
            Some(connection) if is_new => self.limit(connection, now + limits::CONNECT_INSTEAD),
            Some(connection) => self.expect(now, connection),
            None => {}
        }
        Some(settled)
    }

    /// The same for what nobody would send again: only over a connection that is there.
    pub fn connected_instead(&self, flow: Flow, length: usize) -> Option<Flow> {
        let Flow { protocol, listener, remote, .. } = flow;
        let is_long = protocol == Protocol::Udp && length > limits::DATAGRAM_REQUEST_BYTES;
        let to = |peer| self.connected_to(Protocol::Tcp, remote, peer).filter(|_| is_long);
        let connection = to(0).or_else(|| to(ConnId::INSTEAD).filter(|id| self.is_heard(*id)))?;
        let listener = self.listener_beside(listener).unwrap_or(listener);
        Some(Flow { protocol: Protocol::Tcp, listener, remote, connection: Some(connection) })
    }

    /// What came over TCP in place of a datagram was refused there: it may be that the peer knows us by datagrams only.
    pub fn refused_instead(&mut self, now: Instant, remote: SocketAddr) {
        self.refused.insert(now, remote);
    }

    /// Datagrams are not answered there either: the next long request may try TCP again.
    pub fn silent(&mut self, remote: SocketAddr) {
        self.refused.0.remove(&remote);
    }
}

/// A request of ours as it is sent over another transport: the top Via says so (§18.1.1).
pub fn retold(request: &Bytes, protocol: Protocol, sent_by: impl std::fmt::Display) -> Bytes {
    let begins = memmem::find(request, b"\r\nVia: ").map(|at| at + b"\r\nVia: ".len());
    let value = begins.and_then(|at| request.get(at..));
    let ends = value.and_then(|value| Some(begins? + memchr::memchr2(b';', b'\r', value)?));
    let (Some(begins), Some(ends)) = (begins, ends) else { return request.clone() };
    let (before, after) = (request.get(..begins).unwrap_or_default(), request.get(ends..).unwrap_or_default());
    let via = format!("SIP/2.0/{} {sent_by}", protocol.via_token());
    [before, via.as_bytes(), after].concat().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::ListenerId;

    const LONG: usize = limits::DATAGRAM_REQUEST_BYTES + 1;

    fn streams() -> (Streams, Flow) {
        let address = "192.0.2.1:5060".parse().unwrap();
        let streams = Streams::new(vec![(Protocol::Udp, address), (Protocol::Tcp, address)]);
        let remote = "203.0.113.80:5080".parse().unwrap();
        (streams, Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None })
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn na_6_the_bound_and_the_listener() {
        let (mut streams, flow) = streams();
        assert_eq!(streams.instead(at(0), flow, LONG - 1), None);
        let instead = streams.instead(at(0), flow, LONG).unwrap();
        assert_eq!((instead.protocol, instead.listener, instead.remote), (Protocol::Tcp, ListenerId(1), flow.remote));
        assert_eq!(streams.instead(at(0), flow, LONG), Some(instead), "the same connection");
        assert_eq!(streams.take_connects().len(), 1);
        assert_eq!(streams.next_deadline(), Some(at(300)));
        streams.connected(at(20), instead.connection.unwrap());
        assert_eq!(streams.next_deadline(), Some(at(1020)));
    }

    #[test]
    fn na_6_a_refusal_is_remembered_for_a_while() {
        let (mut streams, flow) = streams();
        let instead = streams.instead(at(0), flow, LONG).unwrap();
        streams.closed(at(5), instead.connection.unwrap());
        assert_eq!(streams.instead(at(10), flow, LONG), None);
        let later = at(5) + limits::DATAGRAMS_ONLY;
        assert!(streams.instead(later, flow, LONG).is_some());
    }

    #[test]
    fn na_6_a_connection_that_has_spoken_may_end() {
        let (mut streams, flow) = streams();
        let instead = streams.instead(at(0), flow, LONG).unwrap();
        let connection = instead.connection.unwrap();
        assert_eq!(streams.connected_instead(flow, LONG), None, "not there");
        streams.connected(at(20), connection);
        assert_eq!(streams.connected_instead(flow, LONG), None, "has said nothing");
        streams.push(at(25), connection, b"\r\n");
        assert!(streams.next(at(30), connection).is_none());
        assert_eq!(streams.next_deadline(), None);
        assert_eq!(streams.connected_instead(flow, LONG), Some(instead));
        assert_eq!(streams.connected_instead(flow, LONG - 1), None);
        streams.closed(at(5000), connection);
        assert!(streams.instead(at(5001), flow, LONG).is_some());
    }

    #[test]
    fn na_6_a_connection_that_stays_mute_is_overdue() {
        let (mut streams, flow) = streams();
        let connection = streams.instead(at(0), flow, LONG).unwrap().connection.unwrap();
        streams.connected(at(20), connection);
        assert_eq!(streams.overdue(at(1019)), None);
        assert_eq!(streams.overdue(at(1020)), Some(connection));
        streams.closed(at(1020), connection);
        assert_eq!(streams.instead(at(1021), flow, LONG), None);
    }

    #[test]
    fn na_6_when_datagrams_are_silent_too_it_is_tried_again() {
        let (mut streams, flow) = streams();
        let instead = streams.instead(at(0), flow, LONG).unwrap();
        streams.closed(at(5), instead.connection.unwrap());
        streams.silent(flow.remote);
        assert!(streams.instead(at(2000), flow, LONG).is_some());
    }

    #[test]
    fn na_6_at_most_so_many_are_remembered() {
        let mut refused = Refused::default();
        let remote = |port: u16| SocketAddr::new([203, 0, 113, 1].into(), port);
        for (port, millis) in (1..=1025).zip(0..) {
            refused.insert(at(millis), remote(port));
        }
        assert_eq!(refused.0.len(), limits::DATAGRAM_PEERS);
        assert!(!refused.holds(at(2000), remote(1)), "the oldest is forgotten");
        assert!(refused.holds(at(2000), remote(2)));
    }

    #[test]
    fn na_6_the_via_says_tcp() {
        let request = b"INVITE sip:911@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9;rport\r\nVia: SIP/2.0/UDP x\r\n\r\n";
        let retold = retold(&Bytes::from_static(request), Protocol::Tcp, "192.0.2.1:5070");
        let wanted =
            "INVITE sip:911@x SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5070;branch=z9;rport\r\nVia: SIP/2.0/UDP x\r\n\r\n";
        assert_eq!(retold, wanted);
    }
}
