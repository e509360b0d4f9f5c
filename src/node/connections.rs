//! Stream connections: what comes over them, which are wanted, and what their end means.

use std::net::SocketAddr;

use bytes::Bytes;
use compact_str::CompactString;

use super::{Node, Output};
use crate::admin::Dropped;
use crate::config::Aor;
use crate::registrar::Binding;
use crate::sip::{NameAddr, Uri};
use crate::transaction::Reopened;
use crate::transport::streams::{Arrival, Connect};
use crate::transport::{ConnId, Flow, ListenerId, Transmit};
use crate::trunk::TargetId;
use crate::ua::{Leg, Owner, Ua};

impl Node {
    pub(super) fn accepted(
        &mut self,
        connection: ConnId,
        listener: ListenerId,
        remote: SocketAddr,
        identities: Vec<CompactString>,
    ) {
        if let Some(configured) = self.config.listeners.get(usize::from(listener.0)) {
            let flow = Flow { protocol: configured.protocol, listener, remote, connection: Some(connection) };
            let is_peer = self.trunks.accepts(flow.protocol, remote).is_some() || self.trunks.are_at(remote);
            self.streams.accepted(flow, is_peer);
            self.streams.certify(connection, identities);
        }
        // Its own connection, when all others have carried something.
        if let Some(stranger) = self.streams.dispensable() {
            self.metrics.dropped(Dropped::Connection);
            self.drop_connection(stranger);
        }
    }

    /// There may be so many connections at once.
    pub fn limit_connections(&mut self, bound: usize) {
        self.streams.set_bound(bound);
    }

    pub(super) fn stream(&mut self, connection: ConnId, bytes: &[u8]) {
        self.streams.push(self.now, connection, bytes);
        while let Some(arrival) = self.streams.next(self.now, connection) {
            match arrival {
                Arrival::Message(flow, bytes) => self.message(flow, bytes),
                Arrival::Ping(flow) => self.outbox.push(Transmit { flow, bytes: Bytes::from_static(b"\r\n") }),
                Arrival::Broken(fault) => {
                    tracing::debug!(?connection, %fault, "stream broken");
                    self.metrics.parse_error("framing");
                    self.drop_connection(connection);
                    return;
                }
            }
        }
    }

    /// One message of a WebSocket.
    pub(super) fn frame(&mut self, connection: ConnId, bytes: Bytes) {
        let Some(flow) = self.streams.flow(connection) else { return };
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            // A double CRLF is answered by a single one, which nobody answers (RFC 7118 §6, RFC 5626 §3.5.1).
            if bytes.len() >= 4 {
                self.outbox.push(Transmit { flow, bytes: Bytes::from_static(b"\r\n") });
            }
            return;
        }
        self.message(flow, bytes);
    }

    /// Asks the shell for the connections that are wanted; false when one is not to be had, which has set off more. What is
    /// opened to a trunk under TLS must be that trunk. A phone on TLS or WebSocket is reached over the connection it has
    /// opened: it has no certificate to know it by, and a browser takes no connections (RFC 7118 §3).
    pub(super) fn connect(&mut self) -> bool {
        let mut has_all = true;
        for connect in self.streams.take_connects() {
            let Connect { connection, protocol, listener, remote, peer } = connect;
            let target = peer.map(TargetId::of_number);
            let whom = || {
                target.and_then(|id| self.trunks.peer(self.now, id)).or_else(|| self.trunks.peer_at(protocol, remote))
            };
            let peer = protocol.is_secure().then(whom).flatten();
            if protocol.is_web_socket() || (protocol.is_secure() && peer.is_none()) {
                self.closed(connection);
                has_all = false;
                continue;
            }
            if let Some(peer) = &peer {
                // It holds from the first byte the peer can send: the shell lets nobody else in.
                self.streams.certify(connection, vec![peer.host.clone()]);
            }
            self.outputs.push_back(Output::Connect { connection, protocol, listener, remote, peer });
        }
        has_all
    }

    /// A connection we asked for is not to be had.
    pub(super) fn failed(&mut self, connection: ConnId, reason: &str) {
        if let Some(flow) = self.streams.flow(connection) {
            self.trunks.failed(flow.protocol, flow.remote, reason);
        }
        self.closed(connection);
    }

    /// Closes a connection from our side.
    pub(super) fn drop_connection(&mut self, connection: ConnId) {
        // What was to be said on it is said first.
        self.send();
        self.outputs.push_back(Output::Close { connection });
        self.closed(connection);
    }

    pub(super) fn closed(&mut self, connection: ConnId) {
        let lost = self.streams.flow(connection);
        let is_only_of_calls = self.streams.is_vouched(connection) && !self.registrar.is_used(connection);
        let anew = self.streams.closed(self.now, connection);
        self.registrar.connection_closed(connection);
        self.phones_moved();
        if is_only_of_calls {
            self.lead_back(connection);
        }
        self.trunks.connection_lost(self.now, connection);
        let (ua, streams) = (&self.ua, &mut self.streams);
        let reopened = |owner| {
            let way = match owner {
                // One that the peer has opened leads from a port of the moment: it listens where its Contact says.
                Owner::Leg(leg) if connection.0 & ConnId::ACCEPTED != 0 => {
                    ua.leg(leg).filter(|leg| leg.is_server()).map(|leg| leg.next_flow(streams))
                }
                Owner::Leg(_) | Owner::Errand(_) => anew,
            };
            let is_like = |way: &Flow| Some(way.protocol) == lost.map(|lost| lost.protocol);
            match (way.filter(is_like), phone_of(ua, owner)) {
                (Some(way), _) => Reopened::Over(streams.settle(way)),
                (None, Some(phone)) => match streams.existing(phone.flow()).filter(is_like) {
                    Some(way) => Reopened::Over(way),
                    None => Reopened::Later(phone.flow()),
                },
                (None, None) => Reopened::Gone,
            }
        };
        let events = self.transactions.closed(self.now, connection, reopened, &mut self.outbox);
        events.into_iter().for_each(|event| self.transaction_event(event));
    }

    /// Phones have left connections for other flows: what they have not heard there is said to them again.
    pub(super) fn phones_moved(&mut self) {
        for (left, flow) in self.registrar.take_moves() {
            self.streams.inherit(left, flow);
            let ua = &self.ua;
            // A request says in its Via over which transport it goes.
            let is_like = |phone: &&Leg| phone.flow().protocol == flow.protocol;
            let reopened = |owner| match phone_of(ua, owner).filter(is_like) {
                Some(_) => Reopened::Over(flow),
                None => Reopened::Gone,
            };
            self.transactions.moved(self.now, left, reopened, &mut self.outbox);
        }
    }

    /// Phones that have called over a connection where they are not registered are reached where they are: it was for an INVITE that
    /// was too long for a datagram, and stays no longer than that (RFC 3261 §18.1.1).
    fn lead_back(&mut self, connection: ConnId) {
        for id in self.ua.phones_on(connection) {
            if let Some(flow) = self.ua.leg(id).and_then(|leg| self.registered(leg)) {
                self.ua.lead(id, flow);
            }
        }
    }

    /// Where the phone of a leg is registered with the Contact that it has in the dialog.
    fn registered(&self, leg: &Leg) -> Option<Flow> {
        let (address, target, _) = leg.peer();
        let (address, target) = (NameAddr::parse(address).ok()?, Uri::parse(target).ok()?);
        let user = self.config.user_served(&Aor::from_uri(&Uri::parse(address.uri).ok()?)?)?;
        let host = |flow: Flow| flow.remote.ip().to_canonical();
        let is_its = |binding: &&Binding| {
            host(binding.flow) == host(leg.flow())
                && self.streams.is_open(&binding.flow)
                && Uri::parse(binding.contact().as_bytes()).is_ok_and(|contact| contact.matches(&target))
        };
        self.registrar.listed(&user.aor).iter().find(is_its).map(|binding| binding.flow)
    }
}

/// The phone that a request is for, once it is in a dialog: one that is only called is called anew.
fn phone_of(ua: &Ua, owner: Owner) -> Option<&Leg> {
    match owner {
        Owner::Leg(leg) => ua.leg(leg).filter(|leg| !leg.is_server() && !leg.is_early()),
        Owner::Errand(_) => None,
    }
}
