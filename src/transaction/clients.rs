//! All client transactions: our requests, found by our own branch (RFC 3261 §17.1.3).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use slotmap::{KeyData, SlotMap};

use super::client::{Action, Cancel, Client, Happening, Machine};
use super::context::Context;
use super::timers::{Due, Timer};
use super::{Branch, ClientId, Event, messages};
use crate::base::Rng;
use crate::sip::{Message, Method};
use crate::transport::{ConnId, Flow, ListenerId};

/// Who is at the other end, as the transport names it when it reports an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Datagram(ListenerId, SocketAddr),
    Stream(ConnId),
}

/// All client transactions.
pub(super) struct Clients<O> {
    clients: SlotMap<ClientId, Client<O>>,
    /// Those without a final response, by peer: what a transport error ends.
    unanswered: BTreeSet<(Peer, ClientId)>,
}

impl<O: Copy> Clients<O> {
    pub fn new() -> Self {
        Self { clients: SlotMap::with_key(), unanswered: BTreeSet::new() }
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    #[cfg(test)]
    pub fn indexed(&self) -> usize {
        self.unanswered.len()
    }

    pub fn open(&mut self, rng: &mut Rng, owner: O) -> (ClientId, Branch) {
        let id = self.clients.insert(Client::new(Method::Other, owner, 0, Cancel::None));
        let branch = Branch::new(id, rng);
        if let Some(client) = self.clients.get_mut(id) {
            client.random = branch.random;
        }
        (id, branch)
    }

    pub fn send(&mut self, context: &mut Context<'_>, id: ClientId, method: Method, flow: Flow, bytes: Bytes) {
        let opened = |client: &&mut Client<O>| client.machine == Machine::Opened;
        let Some(client) = self.clients.get_mut(id).filter(opened) else { return };
        client.start(context, id, method, flow, bytes);
        self.unanswered.insert((Peer::of(flow), id));
    }

    /// What to send, and where, if the connection of an unanswered request comes to nothing.
    pub fn set_otherwise(&mut self, id: ClientId, otherwise: Option<(Flow, Bytes)>) {
        if let Some(client) = self.clients.get_mut(id) {
            client.otherwise = otherwise.map(Box::new);
        }
    }

    pub fn cancel(&mut self, context: &mut Context<'_>, invite: ClientId, reason: Option<&[u8]>) {
        let Some(client) = self.clients.get_mut(invite).filter(|client| !client.machine.is_answered()) else { return };
        match client.cancel {
            Cancel::None => client.cancel = Cancel::Held(reason.map(Box::from)),
            Cancel::Held(_) | Cancel::By(_) | Cancel::Itself => return,
        }
        self.drive(context, invite, Happening::Cancel, None);
    }

    /// Removes a transaction, and the CANCEL that depends on it.
    pub fn remove(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(id) else { return };
        if let Some(flow) = client.flow {
            self.unanswered.remove(&(Peer::of(flow), id));
        }
        if let Cancel::By(cancel) = client.cancel {
            self.remove(cancel);
        }
    }

    pub fn is_alive(&self, id: ClientId) -> bool {
        self.clients.contains_key(id)
    }

    /// Over what its request went.
    pub fn flow_of(&self, id: ClientId) -> Option<Flow> {
        self.clients.get(id)?.flow
    }

    /// True when requests over `connection` have no final response.
    pub fn wait_over(&self, connection: ConnId) -> bool {
        !self.unanswered_by(Peer::Stream(connection)).is_empty()
    }

    pub fn is_own_branch(&self, branch: &[u8]) -> bool {
        let Some(branch) = Branch::parse(branch) else { return false };
        self.clients.get(branch.id()).is_some_and(|client| client.random == branch.random)
    }

    /// A response. One that belongs to nothing is dropped (TX-11).
    pub fn response(&mut self, context: &mut Context<'_>, message: Message) -> Option<Event<O>> {
        let branch = Branch::parse(message.top_via().branch()?)?;
        let invite = branch.id();
        let client = self.clients.get(invite).filter(|client| client.random == branch.random)?;
        // RFC 3261 §17.1.3: the method of CSeq tells the response to a CANCEL from that to its INVITE.
        let id = match client.cancel {
            Cancel::By(cancel) if message.method() == Method::Cancel => cancel,
            Cancel::None | Cancel::Held(_) | Cancel::By(_) | Cancel::Itself => invite,
        };
        self.clients.get(id).filter(|client| client.method == message.method())?;
        let happening = Happening::Response(message.code());
        self.drive(context, id, happening, Some(message))
    }

    pub fn is_running(&self, id: ClientId, due: &Due) -> bool {
        self.clients.get(id).is_some_and(|client| client.running.is(due))
    }

    pub fn fire(&mut self, context: &mut Context<'_>, id: ClientId, timer: Timer) -> Option<Event<O>> {
        if let Some(client) = self.clients.get_mut(id).filter(|_| timer.repeats()) {
            client.repeats = client.repeats.saturating_add(1);
        }
        self.drive(context, id, Happening::Timer(timer), None)
    }

    pub fn unreachable(
        &mut self,
        context: &mut Context<'_>,
        listener: ListenerId,
        remote: SocketAddr,
    ) -> Vec<Event<O>> {
        self.lose(context, Peer::Datagram(listener, remote), Happening::Unreachable, |_| Reopened::Gone)
    }

    pub fn closed(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnId,
        reopened: impl FnMut(O) -> Reopened,
    ) -> Vec<Event<O>> {
        self.lose(context, Peer::Stream(connection), Happening::Closed, reopened)
    }

    /// Whoever is at the other end of `connection` is reached another way now.
    pub fn moved(&mut self, context: &mut Context<'_>, connection: ConnId, mut reopened: impl FnMut(O) -> Reopened) {
        for id in self.unanswered_by(Peer::Stream(connection)) {
            self.send_otherwise(context, id, &mut reopened);
        }
    }

    /// What went over `connection` in place of datagrams, and has had no response, goes as datagrams after all.
    pub fn doubted(&mut self, context: &mut Context<'_>, connection: ConnId) {
        for id in self.unanswered_by(Peer::Stream(connection)) {
            self.send_otherwise(context, id, |_| Reopened::Gone);
        }
    }

    fn unanswered_by(&self, peer: Peer) -> Vec<ClientId> {
        let first = ClientId::from(KeyData::from_ffi(1 << 32));
        self.unanswered.range((peer, first)..).take_while(|(at, _)| *at == peer).map(|&(_, id)| id).collect()
    }

    fn lose(
        &mut self,
        context: &mut Context<'_>,
        peer: Peer,
        happening: Happening,
        mut reopened: impl FnMut(O) -> Reopened,
    ) -> Vec<Event<O>> {
        let lost = self.unanswered_by(peer);
        let mut befall = |id| match happening == Happening::Closed && self.send_otherwise(context, id, &mut reopened) {
            true => None,
            false => {
                // It is said once.
                self.unanswered.remove(&(peer, id));
                self.drive(context, id, happening, None)
            }
        };
        lost.into_iter().filter_map(&mut befall).collect()
    }

    /// The connection is gone, or in doubt. Where it stood for datagrams the request begins again as one; where another can be had,
    /// once over that: under the branch it has, so that whoever has heard it hears a repetition. A BYE to who may come back waits for
    /// that, until its time is up. False when it has been answered, or nobody wants it any more.
    fn send_otherwise(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        mut reopened: impl FnMut(O) -> Reopened,
    ) -> bool {
        let is_wanted =
            |client: &&mut Client<O>| client.machine.is_unheard() && !matches!(client.cancel, Cancel::Held(_));
        let Some(client) = self.clients.get_mut(id).filter(is_wanted) else { return false };
        let otherwise = match client.otherwise.take() {
            // The CANCEL of a request is not moved with it.
            Some(otherwise) => Some(*otherwise).filter(|_| matches!(client.cancel, Cancel::None)),
            // A registration belongs to the connection it was made over, and is renewed soon.
            None if client.is_repeated || client.method == Method::Register => None,
            None => match reopened(client.owner) {
                Reopened::Over(flow) => Some((flow, client.kept.clone())),
                Reopened::Later(left) if client.method == Method::Bye => {
                    let over = client.flow.replace(left);
                    over.map(|over| self.unanswered.remove(&(Peer::of(over), id)));
                    return self.unanswered.insert((Peer::of(left), id));
                }
                Reopened::Later(_) | Reopened::Gone => None,
            },
        };
        let (Some(over), Some((flow, bytes))) = (client.flow, otherwise) else { return false };
        client.is_repeated = true;
        let method = client.method;
        client.start(context, id, method, flow, bytes);
        self.unanswered.remove(&(Peer::of(over), id));
        self.unanswered.insert((Peer::of(flow), id));
        true
    }

    /// Lets the table decide, does what it says, and goes on while that makes something else happen.
    fn drive(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        happening: Happening,
        mut message: Option<Message>,
    ) -> Option<Event<O>> {
        let (mut next, mut event) = (Some(happening), None);
        while let Some(happening) = next.take() {
            let client = self.clients.get_mut(id)?;
            let (machine, actions) = client.machine.step(happening);
            client.machine = machine;
            let mut cancel = false;
            for &action in actions {
                next = client.act(context, id, action, message.as_ref()).or(next);
                cancel |= action == Action::SendCancel;
                event = client.event(id, action, &mut message).or(event);
            }
            if next.is_none() && client.cancel_is_due(happening) {
                next = Some(Happening::Cancel);
            }
            if client.machine.is_answered() {
                client.settle();
                if let Some(flow) = client.flow {
                    self.unanswered.remove(&(Peer::of(flow), id));
                }
            }
            if cancel {
                self.send_cancel(context, id);
            }
            if machine.is_terminated() {
                self.remove(id);
                break;
            }
        }
        event
    }

    /// RFC 3261 §9.1: the CANCEL is a request of its own on the branch of the INVITE.
    fn send_cancel(&mut self, context: &mut Context<'_>, id: ClientId) {
        let Some(invite) = self.clients.get_mut(id) else { return };
        let (Some(flow), Cancel::Held(reason)) = (invite.flow, std::mem::take(&mut invite.cancel)) else { return };
        let Some(bytes) = messages::cancel(context.writer, &invite.kept, reason.as_deref()) else { return };
        let (owner, random) = (invite.owner, invite.random);
        let cancel = self.clients.insert(Client::new(Method::Cancel, owner, random, Cancel::Itself));
        if let Some(invite) = self.clients.get_mut(id) {
            invite.cancel = Cancel::By(cancel);
        }
        self.send(context, cancel, Method::Cancel, flow, bytes);
    }
}

/// What becomes of a request whose connection is gone.
#[derive(Clone, Copy, Debug)]
pub enum Reopened {
    /// It goes again over this.
    Over(Flow),
    /// Nobody can be reached until somebody is back who was at this.
    Later(Flow),
    Gone,
}

impl Peer {
    fn of(flow: Flow) -> Self {
        match flow.connection {
            Some(connection) => Self::Stream(connection),
            None => Self::Datagram(flow.listener, flow.remote),
        }
    }
}
