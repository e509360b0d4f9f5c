//! All transactions of the node: finds the one that a message, a timer or a transport error belongs to, and lets it act.

use std::net::SocketAddr;

use bytes::Bytes;

use super::clients::{Clients, Reopened};
use super::context::Context;
use super::servers::Servers;
use super::timers::{Agenda, Timers, Whose};
use super::{Branch, ClientId, Event, ServerId};
use crate::base::{Instant, Rng, limits};
use crate::sip::{Message, Method, Writer};
use crate::transport::{ConnId, Flow, ListenerId, Outbox};

/// The transaction floor. `O` is the tag by which the layers above know whose transaction it is.
pub struct Transactions<O> {
    timers: Timers,
    clients: Clients<O>,
    servers: Servers<O>,
    agenda: Agenda,
    writer: Writer,
    /// Transactions at once; INVITEs may have twice as many, since one of them may be an emergency.
    bound: usize,
}

impl<O: Copy> Transactions<O> {
    pub fn new(timers: Timers) -> Self {
        Self {
            timers,
            clients: Clients::new(),
            servers: Servers::new(),
            agenda: Agenda::default(),
            writer: Writer::new(),
            bound: limits::TRANSACTIONS,
        }
    }

    /// A message from the wire. Retransmissions, the ACK of a non-2xx and stray responses end here; a CANCEL that matches
    /// nothing is answered 481, a merged request 482, a request beyond the bound 503.
    pub fn receive(&mut self, now: Instant, message: Message, flow: Flow, out: &mut Outbox) -> Option<Event<O>> {
        let (clients, servers, mut context, bound) = self.open_up(now, out);
        if !message.is_request() {
            return clients.response(&mut context, message);
        }
        let bound = if message.method() == Method::Invite { bound.saturating_mul(2) } else { bound };
        let room = clients.len() + servers.len() < bound;
        servers.request(&mut context, message, flow, room)
    }

    /// Sends a response to the request of `transaction`, printed in `bytes`. A final response is sent once and repeated here,
    /// except a 2xx to an INVITE: that one is repeated by calling this again (RFC 6026 §7.1). To a non-INVITE request
    /// neither 408 nor a provisional response other than 100 leaves (RFC 4320).
    pub fn respond(&mut self, now: Instant, transaction: ServerId, code: u16, bytes: Bytes, out: &mut Outbox) {
        let (_, servers, mut context, _) = self.open_up(now, out);
        servers.respond(&mut context, transaction, code, bytes);
    }

    /// Answers `invite` of `transaction`, which came over `flow`, 100, unless it has an answer: what is not settled at once may
    /// take longer than the 200 ms that its sender is left without a word (RFC 3261 §17.2.1; CONFORMANCE TX-7).
    pub fn trying(&mut self, now: Instant, transaction: ServerId, invite: &Message, flow: Flow, out: &mut Outbox) {
        let (_, servers, mut context, _) = self.open_up(now, out);
        servers.trying(&mut context, transaction, invite, flow);
    }

    /// Tells that the source of this INVITE has proven nothing: a refusal that is the first word to it is not repeated unasked.
    pub fn distrust(&mut self, transaction: ServerId) {
        self.servers.distrust(transaction);
    }

    /// Tells whose request it is; events carry it from now on.
    pub fn set_owner(&mut self, transaction: ServerId, owner: O) {
        self.servers.set_owner(transaction, owner);
    }

    /// The request, as long as it has no final response.
    pub fn request_of(&self, transaction: ServerId) -> Option<&Message> {
        self.servers.request_of(transaction)
    }

    /// Opens a client transaction; the request to `send` in it carries the branch in its Via.
    pub fn open(&mut self, rng: &mut Rng, owner: O) -> (ClientId, Branch) {
        self.clients.open(rng, owner)
    }

    /// Sends the request of `transaction`, once; it is repeated here, and its end is an event in any case.
    pub fn send(
        &mut self,
        now: Instant,
        transaction: ClientId,
        method: Method,
        flow: Flow,
        bytes: Bytes,
        out: &mut Outbox,
    ) {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.send(&mut context, transaction, method, flow, bytes);
    }

    /// The same over a connection in place of datagrams: where that comes to nothing before any response, the datagram of
    /// `otherwise` is sent after all (RFC 3261 §18.1.1).
    pub fn send_instead(
        &mut self,
        now: Instant,
        transaction: ClientId,
        method: Method,
        over: (Flow, Bytes),
        otherwise: Option<(Flow, Bytes)>,
        out: &mut Outbox,
    ) {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.send(&mut context, transaction, method, over.0, over.1);
        clients.set_otherwise(transaction, otherwise);
    }

    /// What went over `connection` in place of datagrams, and has had no response, goes as datagrams after all.
    pub fn doubted(&mut self, now: Instant, connection: ConnId, out: &mut Outbox) {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.doubted(&mut context, connection);
    }

    /// Cancels an INVITE that has no final response: at once, or with its first provisional response (RFC 3261 §9.1).
    /// Its final response is still an event, be it 487 or a 2xx that crossed; without one, `Event::Timeout` 64*T1 later.
    /// `reason` is the value of a Reason header (RFC 3326).
    pub fn cancel(&mut self, now: Instant, invite: ClientId, reason: Option<&[u8]>, out: &mut Outbox) {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.cancel(&mut context, invite, reason);
    }

    /// True while something can come of it.
    pub fn is_alive(&self, transaction: ClientId) -> bool {
        self.clients.is_alive(transaction)
    }

    /// Over what the request of `transaction` went last; `None` once nothing can come of it.
    pub fn flow_of(&self, transaction: ClientId) -> Option<Flow> {
        self.clients.flow_of(transaction)
    }

    /// True when requests over `connection` have no final response.
    pub fn wait_over(&self, connection: ConnId) -> bool {
        self.clients.wait_over(connection)
    }

    /// The network says that nobody listens at `remote` (ICMP): ends the requests to it that got no response at all, but for
    /// INVITE, which is for the layers above to cancel.
    pub fn unreachable(&mut self, now: Instant, listener: ListenerId, remote: SocketAddr) -> Vec<Event<O>> {
        let mut nothing = Outbox::new();
        let (clients, _, mut context, _) = self.open_up(now, &mut nothing);
        clients.unreachable(&mut context, listener, remote)
    }

    /// The connection is gone: ends the requests over it that got no final response, but for INVITE, as in
    /// [`Transactions::unreachable`]. Those without any response go once more over what `reopened` gives for their owner. Responses to requests
    /// that came over it still name it in their flow; the node finds another way to the same remote (RFC 3261 §18.2.2).
    pub fn closed(
        &mut self,
        now: Instant,
        connection: ConnId,
        reopened: impl FnMut(O) -> Reopened,
        out: &mut Outbox,
    ) -> Vec<Event<O>> {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.closed(&mut context, connection, reopened)
    }

    /// Whoever was reached over `connection` is reached another way now: what has had no response there goes once more over what
    /// `reopened` gives.
    pub fn moved(&mut self, now: Instant, connection: ConnId, reopened: impl FnMut(O) -> Reopened, out: &mut Outbox) {
        let (clients, _, mut context, _) = self.open_up(now, out);
        clients.moved(&mut context, connection, reopened);
    }

    /// Whoever sent the request of `transaction` is at `flow` now; what it is told goes there.
    pub fn follow(&mut self, transaction: ServerId, flow: Flow) {
        self.servers.follow(transaction, flow);
    }

    /// When `handle_timeout` has to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let (clients, servers) = (&self.clients, &self.servers);
        self.agenda.next(|due| match due.whose {
            Whose::Client(id) => clients.is_running(id, due),
            Whose::Server(id) => servers.is_running(id, due),
        })
    }

    /// Lets timers fire that are due, until one of them makes an event or none is left: call it until it gives `None`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<Event<O>> {
        let (clients, servers, mut context, _) = self.open_up(now, out);
        while let Some(due) = context.agenda.pop(now) {
            let event = match due.whose {
                Whose::Client(id) if clients.is_running(id, &due) => clients.fire(&mut context, id, due.timer),
                Whose::Server(id) if servers.is_running(id, &due) => servers.fire(&mut context, id, due.timer),
                Whose::Client(_) | Whose::Server(_) => None,
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// True when `branch` is that of a request of ours that is still alive: whoever sends it to us loops it back.
    pub fn is_own_branch(&self, branch: &[u8]) -> bool {
        self.clients.is_own_branch(branch)
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The two tables, what they work with, and the bound.
    fn open_up<'a>(
        &'a mut self,
        now: Instant,
        out: &'a mut Outbox,
    ) -> (&'a mut Clients<O>, &'a mut Servers<O>, Context<'a>, usize) {
        let Self { timers, clients, servers, agenda, writer, bound } = self;
        (clients, servers, Context { now, timers, agenda, writer, out }, *bound)
    }

    #[cfg(test)]
    pub(super) fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    /// Index entries of transactions that are gone: 0, or it leaks.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> usize {
        self.clients.indexed() + self.servers.indexed() + self.agenda.len()
    }
}

/// Bytes of a client and of a server transaction in their tables.
#[cfg(test)]
pub(super) const fn sizes<O>() -> (usize, usize) {
    (std::mem::size_of::<super::client::Client<O>>(), std::mem::size_of::<super::server::Server<O>>())
}
