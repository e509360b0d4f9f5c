//! The network: datagrams that are lost, doubled, late and out of order; streams that are cut anywhere and break.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sosbridge::base::Instant;
use sosbridge::node::Input;
use sosbridge::transport::{ConnId, ListenerId};

use crate::chance::{between, ms, percent, secs};
use crate::party::{Mood, Path};
use crate::text::cut;
use crate::trace;
use crate::world::{Event, World};

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub doubling: u64,
    pub delay_ms: u64,
}

impl Weather {
    pub const CALM: Self = Self { loss: 0, doubling: 0, delay_ms: 15 };
}

/// A connection between the node and a party.
pub struct Connection {
    node_id: ConnId,
    life: u32,
    pub party: usize,
    pub open: bool,
    /// When the last byte sent so far arrives, each way.
    to_node_at: Instant,
    to_party_at: Instant,
    inbox: Vec<u8>,
}

pub const UDP: ListenerId = ListenerId(0);
pub const TCP: ListenerId = ListenerId(1);

impl Connection {
    /// Its name in this life of the node.
    pub fn on_life(&self, life: u32) -> Option<ConnId> {
        (self.life == life).then_some(self.node_id)
    }
}

impl World {
    fn delay(&mut self) -> Duration {
        between(&mut self.rng, 1, self.weather.delay_ms.max(1))
    }

    /// How many copies of a datagram arrive.
    fn copies(&mut self) -> u64 {
        if percent(&mut self.rng, self.weather.loss) {
            return 0;
        }
        1 + u64::from(percent(&mut self.rng, self.weather.doubling))
    }

    /// From a party to the node.
    pub fn send_from(&mut self, party: usize, path: Path, bytes: Vec<u8>) {
        if !self.parties[party].online {
            return;
        }
        match path {
            Path::Udp => {
                let from = self.parties[party].address;
                for _ in 0..self.copies() {
                    let after = self.delay();
                    self.later(after, Event::ToNode { from, bytes: bytes.clone().into() });
                }
            }
            Path::Tcp(wanted) => {
                let is_open = |id: &u64| self.connections.get(id).is_some_and(|connection| connection.open);
                let known = wanted.filter(is_open).or(self.parties[party].connection.filter(is_open));
                // A trunk opens one for its response too (RFC 3261 §18.2.2).
                let may_open = !bytes.starts_with(b"SIP/2.0") || self.parties[party].is_trunk();
                let Some(id) = known.or_else(|| may_open.then(|| self.connect_to_node(party)).flatten()) else {
                    return;
                };
                self.watch.asked(self.now, Some(id), &bytes);
                self.stream(id, true, &bytes);
            }
        }
    }

    fn connect_to_node(&mut self, party: usize) -> Option<u64> {
        self.node.as_ref()?;
        let serial = self.next_serial();
        let id = self.insert_connection(ConnId(ConnId::ACCEPTED | serial), party);
        let port = 40_000 + u16::try_from(serial % 20_000).unwrap_or(0);
        let remote = SocketAddr::new(self.parties[party].address.ip(), port);
        // Its own is gone, which it has not heard yet: a phone registers anew over another (RFC 5626 §4.5).
        if self.parties[party].connection.replace(id).is_some() {
            self.lost_registration(party);
        }
        let after = self.delay();
        let at = self.now + after;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.to_node_at = at;
        }
        self.at(at, Event::Accepted { id, remote });
        Some(id)
    }

    fn insert_connection(&mut self, node_id: ConnId, party: usize) -> u64 {
        let id = self.next_serial();
        let (now, life) = (self.now, self.life);
        let connection =
            Connection { node_id, life, party, open: true, to_node_at: now, to_party_at: now, inbox: Vec::new() };
        self.connections.insert(id, connection);
        id
    }

    /// The node wants a connection.
    pub fn connect_to_party(&mut self, node_id: ConnId, remote: SocketAddr) {
        let listens = |party: &crate::party::Party| {
            party.address == remote
                && party.listens
                && party.online
                && party.mood != Mood::Closed
                && party.phone.is_none()
        };
        let (party, life) = (self.parties.iter().position(listens), self.life);
        let after = self.delay();
        match party {
            Some(party) => {
                let id = self.insert_connection(node_id, party);
                self.later(after, Event::Connected { id });
            }
            None => {
                // Refused, or nobody says anything.
                let after = if percent(&mut self.rng, 30) { secs(4) } else { after };
                self.later(after, Event::Refused { life, node_id });
            }
        }
    }

    pub fn connection_of_node(&self, node_id: ConnId) -> Option<u64> {
        let is_it = |connection: &Connection| connection.node_id == node_id && connection.life == self.life;
        self.connections.iter().find(|(_, connection)| is_it(connection) && connection.open).map(|(id, _)| *id)
    }

    /// Bytes onto a stream, cut anywhere.
    pub fn stream(&mut self, id: u64, to_node: bool, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let whole = percent(&mut self.rng, 60);
            let length =
                if whole { rest.len() } else { 1 + usize::try_from(self.rng.below(rest.len() as u64)).unwrap_or(0) };
            let (piece, after) = rest.split_at(length);
            rest = after;
            let delay = self.delay();
            let now = self.now;
            let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.open) else { return };
            let last = if to_node { &mut connection.to_node_at } else { &mut connection.to_party_at };
            *last = (*last).max(now + delay);
            let at = *last;
            self.at(at, Event::Stream { id, to_node, bytes: Bytes::copy_from_slice(piece) });
        }
    }

    pub fn stream_arrived(&mut self, id: u64, to_node: bool, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if to_node {
            let (node_id, life) = (connection.node_id, connection.life);
            if life == self.life {
                self.feed(Input::Stream { connection: node_id, bytes });
            }
            return;
        }
        connection.inbox.extend_from_slice(&bytes);
        let party = connection.party;
        while let Some(message) = self.connections.get_mut(&id).and_then(|connection| cut(&mut connection.inbox)) {
            self.deliver(party, Path::Tcp(Some(id)), &message);
        }
    }

    /// The connection is gone for both ends.
    pub fn break_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.open) else { return };
        connection.open = false;
        self.watch.connection_lost(id);
        let party = connection.party;
        trace::note(self.now, &self.parties[party].name, "connection broken");
        let (to_node_at, to_party_at) = (connection.to_node_at, connection.to_party_at);
        let soon = self.now + ms(1);
        self.at(to_node_at.max(soon), Event::Closed { id, to_node: true });
        self.at(to_party_at.max(soon), Event::Closed { id, to_node: false });
    }

    pub fn connection_closed(&mut self, id: u64, to_node: bool) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (node_id, life, party) = (connection.node_id, connection.life, connection.party);
        if to_node {
            if life == self.life {
                self.feed(Input::Closed { connection: node_id });
            }
        } else if self.parties[party].connection == Some(id) {
            self.parties[party].connection = None;
            self.lost_registration(party);
        }
    }

    /// A datagram of the node arrives where it was sent.
    pub fn datagram_arrived(&mut self, to: SocketAddr, bytes: &[u8]) {
        let is_there = |party: &crate::party::Party| party.address == to && party.online && party.mood != Mood::Closed;
        match self.parties.iter().position(is_there) {
            Some(party) => self.deliver(party, Path::Udp, bytes),
            None => {
                // A dead host is silent, a closed port is not.
                let closed = |party: &crate::party::Party| party.address.ip() == to.ip() && party.online;
                if self.parties.iter().any(closed) && percent(&mut self.rng, 80) {
                    let (life, after) = (self.life, self.delay());
                    self.later(after, Event::Unreachable { life, remote: to });
                }
            }
        }
    }
}
