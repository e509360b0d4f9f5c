//! Stream connections: which are open, what has half arrived on them, and which one leads where (RFC 3261 §18.1.1, §18.3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;

use super::instead::Refused;
use super::{ConnId, Flow, ListenerId};
use crate::base::{Instant, Protocol, limits};
use crate::sip::framing::{Frame, Framer, FramingFault};

/// A connection to be opened by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    pub connection: ConnId,
    pub protocol: Protocol,
    pub listener: ListenerId,
    pub remote: SocketAddr,
    /// What [`Streams::toward`] was given.
    pub peer: Option<u64>,
}

/// What came over a connection.
#[derive(Debug)]
pub enum Arrival {
    Message(Flow, Bytes),
    /// A double CRLF, to be answered by a single one (RFC 5626 §3.5.1).
    Ping(Flow),
    /// The stream makes no sense any more; the connection has to go, and only it (CONFORMANCE NA-9).
    Broken(FramingFault),
}

struct Connection {
    flow: Flow,
    framer: Framer,
    /// A message has begun and must end by then; of a connection in place of datagrams: it must be there, or have said
    /// something.
    half_until: Option<Instant>,
    /// It is there.
    is_connected: bool,
    /// When something came over it last.
    heard_at: Option<Instant>,
    /// It was held to be dead then, and nothing new is sent over it.
    left_at: Option<Instant>,
    /// Names its certificate proves (RFC 5922 §7.1); empty for most.
    identities: Vec<CompactString>,
}

/// All stream connections of the node.
#[derive(Default)]
pub struct Streams {
    /// Those of the start, in the order of the configuration.
    listeners: Vec<(Protocol, SocketAddr)>,
    connections: HashMap<ConnId, Connection>,
    /// Connections to different peers are different ones, at one address too.
    by_remote: HashMap<(Protocol, SocketAddr, u16), ConnId>,
    /// Whom connections of ours may have to lead to; the place, counted from 1, stands in their `ConnId`.
    peers: Vec<u64>,
    half: BTreeSet<(Instant, ConnId)>,
    /// Accepted connections that have carried no call and no registration, oldest first.
    strangers: BTreeSet<ConnId>,
    /// A connection whose phone has moved -> where it is now. At most `limits::MOVED_CONNECTIONS`, the oldest forgotten.
    heirs: BTreeMap<ConnId, Flow>,
    pub(super) refused: Refused,
    /// Connections at once.
    bound: usize,
    last: u64,
    connects: Vec<Connect>,
}

impl Streams {
    pub fn new(listeners: Vec<(Protocol, SocketAddr)>) -> Self {
        Self { listeners, bound: limits::CONNECTIONS, ..Self::default() }
    }

    /// The listener for requests to `ip` over `protocol`.
    pub fn listener_toward(&self, protocol: Protocol, ip: IpAddr) -> Option<ListenerId> {
        super::listener_toward(self.listeners.iter().copied(), protocol, ip)
    }

    /// A peer connected. `is_peer`: a trunk or PBX is configured at `remote`.
    pub fn accepted(&mut self, flow: Flow, is_peer: bool) {
        let Some(connection) = flow.connection else { return };
        self.strangers.insert(connection);
        // A phone is reached over the connection it has opened, as long as that is there; the next one from the same address may
        // be of another phone behind the same NAT (RFC 5626 §5.3). Of a trunk the address is the proof (RFC 3261 §18), but
        // under TLS, where a connection of ours leads to whom we mean.
        if is_peer && !flow.protocol.is_secure() {
            self.by_remote.insert((flow.protocol, flow.remote, 0), connection);
        }
        self.insert(connection, flow, true);
    }

    /// A connection of ours is there.
    pub fn connected(&mut self, now: Instant, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_connected = true;
        if connection.half_until.is_some() {
            self.limit(id, now + limits::SILENT_INSTEAD);
        }
    }

    /// Something must come over it by `until`, or it is overdue.
    pub fn limit(&mut self, id: ConnId, until: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(before) = connection.half_until.replace(until) {
            self.half.remove(&(before, id));
        }
        self.half.insert((until, id));
    }

    /// Something is asked over a connection that is there: it is answered soon, or the connection may be dead.
    pub(super) fn expect(&mut self, now: Instant, id: ConnId) {
        let is_idle = |connection: &Connection| connection.is_connected && connection.half_until.is_none();
        if self.connections.get(&id).is_some_and(is_idle) {
            self.limit(id, now + limits::SILENT_INSTEAD);
        }
    }

    /// True for one that is overdue with an answer and has been of use before. What is new goes over another; what rings over this
    /// one may go on, and it is closed when nothing comes for long.
    pub fn doubt(&mut self, now: Instant, id: ConnId) -> bool {
        let Some(connection) = self.connections.get(&id) else { return false };
        let is_of_use = self.is_heard(id) || id.peer() != ConnId::INSTEAD;
        let is_doubted = is_of_use && !connection.framer.is_mid_message() && self.leads_there(id);
        if is_doubted {
            self.abandon(now, id);
        }
        is_doubted
    }

    /// What is new to its remote goes over it.
    fn leads_there(&self, id: ConnId) -> bool {
        let place = self.connections.get(&id).map(|known| (known.flow.protocol, known.flow.remote, id.peer()));
        place.is_some_and(|place| self.by_remote.get(&place) == Some(&id))
    }

    /// True for one that was left and has spoken since: what waits for an answer over it may have it yet.
    pub fn is_slow(&self, id: ConnId) -> bool {
        let spoke = |known: &Connection| known.left_at.is_some_and(|left| known.heard_at.is_some_and(|at| at >= left));
        self.connections.get(&id).is_some_and(|known| spoke(known) && !known.framer.is_mid_message())
    }

    pub(super) fn is_heard(&self, id: ConnId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.heard_at.is_some())
    }

    /// The TCP listener that stands for the same host as `listener`, one of datagrams.
    pub(super) fn listener_beside(&self, listener: ListenerId) -> Option<ListenerId> {
        let (_, address) = self.listeners.get(usize::from(listener.0))?;
        let beside = |wanted: SocketAddr| self.listeners.iter().position(|one| *one == (Protocol::Tcp, wanted));
        let same_host = || self.listeners.iter().position(|(of, at)| *of == Protocol::Tcp && at.ip() == address.ip());
        beside(*address).or_else(same_host).and_then(|at| u8::try_from(at).ok()).map(ListenerId)
    }

    /// The connection that leads to `remote`, if it is there.
    pub(super) fn connected_to(&self, protocol: Protocol, remote: SocketAddr, peer: u16) -> Option<ConnId> {
        let id = self.by_remote.get(&(protocol, remote, peer)).copied()?;
        self.connections.get(&id).is_some_and(|connection| connection.is_connected).then_some(id)
    }

    /// The flow for what only `peer` may see: under TLS the connection is one on which the peer has proved to be that, also when
    /// others have the same address. Past `limits::PEERS` it is anybody's there.
    pub fn toward(&mut self, flow: Flow, peer: u64) -> Flow {
        if !flow.protocol.is_secure() {
            return flow;
        }
        let known = self.peers.iter().position(|known| *known == peer);
        let place = known.or_else(|| {
            let has_room = self.peers.len() < limits::PEERS;
            has_room.then(|| self.peers.push(peer)).map(|()| self.peers.len() - 1)
        });
        let peer = place.and_then(|place| u16::try_from(place + 1).ok()).unwrap_or_default();
        Flow { connection: Some(ConnId::to_peer(peer, 0)), ..flow }
    }

    /// The peer has proved that it is these, by a certificate.
    pub fn certify(&mut self, connection: ConnId, identities: Vec<CompactString>) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.identities = identities;
        }
    }

    /// The domains whose certificate the peer of this flow has shown, in lower case.
    pub fn identities(&self, flow: &Flow) -> &[CompactString] {
        let connection = flow.connection.and_then(|connection| self.connections.get(&connection));
        connection.map_or(&[], |connection| &connection.identities)
    }

    /// The flow of a connection, while it is open.
    pub fn flow(&self, connection: ConnId) -> Option<Flow> {
        self.connections.get(&connection).map(|connection| connection.flow)
    }

    /// A call or a registration has come over this flow: its connection is not closed to make room.
    pub fn vouch(&mut self, flow: &Flow) {
        if let Some(connection) = &flow.connection {
            self.strangers.remove(connection);
        }
    }

    /// True for one of ours, and for one that such a thing has come over.
    pub fn is_vouched(&self, connection: ConnId) -> bool {
        self.connections.contains_key(&connection) && !self.strangers.contains(&connection)
    }

    /// There may be so many at once, at most `limits::CONNECTIONS`.
    pub fn set_bound(&mut self, bound: usize) {
        self.bound = bound.min(limits::CONNECTIONS);
    }

    /// The connection to close when there are more than may be.
    pub fn dispensable(&self) -> Option<ConnId> {
        let is_crowded = self.connections.len() > self.bound;
        self.strangers.first().copied().filter(|_| is_crowded)
    }

    fn insert(&mut self, connection: ConnId, flow: Flow, is_connected: bool) {
        let (framer, half_until, heard_at, identities) = (Framer::new(), None, None, Vec::new());
        let left_at = None;
        self.connections
            .insert(connection, Connection { flow, framer, half_until, is_connected, heard_at, left_at, identities });
    }

    /// The phone at the other end of `connection` has shown that it is to be reached over `flow` now (RFC 5626 §6): what is
    /// still meant for that connection goes there.
    pub fn inherit(&mut self, connection: ConnId, flow: Flow) {
        if let Some(present) = flow.connection {
            self.heirs.remove(&present);
        }
        self.heirs.insert(connection, flow);
        if self.heirs.len() > limits::MOVED_CONNECTIONS {
            self.heirs.pop_first();
        }
    }

    /// The flow with its connection: where its phone has moved, else the one it names while that is open, else another to the
    /// same remote, else a new one.
    pub fn settle(&mut self, flow: Flow) -> Flow {
        let flow = self.present(flow);
        if self.is_open(&flow) {
            return flow;
        }
        let settled = self.existing(flow).unwrap_or_else(|| {
            self.last += 1;
            let peer = peer_of(&flow);
            let connection = ConnId::to_peer(peer, self.last);
            let Flow { protocol, listener, remote, .. } = flow;
            let named = usize::from(peer).checked_sub(1).and_then(|place| self.peers.get(place)).copied();
            self.connects.push(Connect { connection, protocol, listener, remote, peer: named });
            let flow = Flow { connection: Some(connection), ..flow };
            self.by_remote.insert((protocol, remote, peer), connection);
            self.insert(connection, flow, false);
            flow
        });
        Flow { listener: flow.listener, ..settled }
    }

    /// Where the phone on this flow is now; a phone that moves on and on is followed for a while.
    fn present(&self, mut flow: Flow) -> Flow {
        for _ in 0..limits::MOVES_FOLLOWED {
            match flow.connection.and_then(|connection| self.heirs.get(&connection)) {
                Some(heir) => flow = *heir,
                None => break,
            }
        }
        flow
    }

    /// True when the connection of this flow is open, or it needs none.
    pub fn is_open(&self, flow: &Flow) -> bool {
        !flow.protocol.is_reliable()
            || flow.connection.is_some_and(|connection| self.connections.contains_key(&connection))
    }

    /// The flow over the connection it names while that is open (RFC 3261 §18.2.2), else where its phone has moved, else
    /// another open connection to its remote.
    pub fn existing(&self, flow: Flow) -> Option<Flow> {
        if self.is_open(&flow) {
            return Some(flow);
        }
        let flow = self.present(flow);
        if !flow.protocol.is_reliable() {
            return Some(flow);
        }
        let open = flow.connection.filter(|connection| self.connections.contains_key(connection));
        let connection = open.or_else(|| self.by_remote.get(&(flow.protocol, flow.remote, peer_of(&flow))).copied())?;
        Some(Flow { connection: Some(connection), ..flow })
    }

    /// Takes bytes in; [`Streams::next`] gives what they complete.
    pub fn push(&mut self, now: Instant, connection: ConnId, bytes: &[u8]) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.framer.push(bytes);
            known.heard_at = Some(now);
            // A peer that is slow, and not dead: one connection to it is enough.
            let place = (known.flow.protocol, known.flow.remote, connection.peer());
            if known.left_at.is_some() && *self.by_remote.entry(place).or_insert(connection) == connection {
                known.left_at = None;
            }
        }
    }

    /// What has arrived whole on a connection; call until `None`.
    pub fn next(&mut self, now: Instant, id: ConnId) -> Option<Arrival> {
        let connection = self.connections.get_mut(&id)?;
        let arrival = match connection.framer.next() {
            Some(Ok(Frame::Message(bytes))) => Some(Arrival::Message(connection.flow, bytes)),
            Some(Ok(Frame::Ping)) => Some(Arrival::Ping(connection.flow)),
            Some(Err(fault)) => Some(Arrival::Broken(fault)),
            None => None,
        };
        let is_half = arrival.is_none() && connection.framer.is_mid_message();
        match (is_half, connection.half_until) {
            (true, None) => {
                let until = now + limits::HALF_MESSAGE;
                connection.half_until = Some(until);
                self.half.insert((until, id));
            }
            (false, Some(until)) => {
                // One whose place another has taken is closed once nothing comes over it.
                connection.half_until = connection.left_at.map(|_| now + limits::HALF_MESSAGE);
                self.half.remove(&(until, id));
                self.half.extend(connection.half_until.map(|until| (until, id)));
            }
            (true, Some(_)) | (false, None) => {}
        }
        arrival
    }

    /// A connection is gone. What was being said over one that led to a peer, and was in use, may be said again over the flow given
    /// back: a firewall forgets what is idle, and resets it when it speaks.
    pub fn closed(&mut self, now: Instant, id: ConnId) -> Option<Flow> {
        self.strangers.remove(&id);
        let connection = self.connections.remove(&id)?;
        let is_heard = connection.heard_at.is_some();
        if id.peer() == ConnId::INSTEAD && !is_heard {
            self.refused.insert(now, connection.flow.remote);
        }
        if let Some(until) = connection.half_until {
            self.half.remove(&(until, id));
        }
        let place = (connection.flow.protocol, connection.flow.remote, id.peer());
        let is_found = self.by_remote.get(&place) == Some(&id);
        if is_found {
            self.by_remote.remove(&place);
        }
        // One of ours leads where another can; one that was left is known by nobody else.
        let leads_back = is_found || id.0 & ConnId::ACCEPTED == 0;
        let anew = Flow { connection: Some(ConnId::to_peer(id.peer(), 0)), ..connection.flow };
        Some(anew).filter(|_| leads_back && is_heard && id.peer() != ConnId::INSTEAD)
    }

    /// A request that went over `flow` has had no answer for so long. Where nothing else came back either the connection may be dead,
    /// which TCP itself finds out much later: the next request goes over another, and unless something comes over this one yet it
    /// is overdue.
    pub fn leave(&mut self, now: Instant, flow: Flow, wait: Duration) {
        let Some(id) = flow.connection.filter(|id| self.leads_there(*id)) else { return };
        let heard_at = self.connections.get(&id).and_then(|connection| connection.heard_at);
        if heard_at.is_none_or(|at| now.since(at) >= wait) {
            self.abandon(now, id);
        }
    }

    /// What is new goes over another connection than this one, which is closed when it stays mute.
    fn abandon(&mut self, now: Instant, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.left_at = Some(now);
            self.by_remote.remove(&(connection.flow.protocol, connection.flow.remote, id.peer()));
            self.limit(id, now + limits::HALF_MESSAGE);
        }
    }

    /// Connections to open, in the order they were asked for.
    pub fn take_connects(&mut self) -> Vec<Connect> {
        std::mem::take(&mut self.connects)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.half.first().map(|(until, _)| *until)
    }

    /// A connection that has kept us waiting too long; call until `None`.
    pub fn overdue(&mut self, now: Instant) -> Option<ConnId> {
        self.half.first().filter(|(until, _)| *until <= now).map(|(_, id)| *id)
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

fn peer_of(flow: &Flow) -> u16 {
    flow.connection.map_or(0, ConnId::peer)
}
