//! All server transactions: the requests of peers, matched by RFC 3261 §17.2.3, and what needs no transaction of its own.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use slotmap::SlotMap;

use super::context::Context;
use super::keys::{self, Key};
use super::server::{Given, Happening, Keys, Server};
use super::timers::{Due, Timer};
use super::{Event, ServerId, messages};
use crate::sip::{self, Message, Method};
use crate::transport::{Flow, Transmit, response_flow};

/// All server transactions.
pub(super) struct Servers<O> {
    servers: SlotMap<ServerId, Server<O>>,
    /// Key of `keys` -> transaction.
    by_key: HashMap<Arc<[u8]>, ServerId>,
    key: Key,
}

impl<O: Copy> Servers<O> {
    pub fn new() -> Self {
        Self { servers: SlotMap::with_key(), by_key: HashMap::new(), key: Key::default() }
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    #[cfg(test)]
    pub fn indexed(&self) -> usize {
        self.by_key.len()
    }

    pub fn set_owner(&mut self, id: ServerId, owner: O) {
        if let Some(server) = self.servers.get_mut(id) {
            server.owner = Some(owner);
        }
    }

    pub fn request_of(&self, id: ServerId) -> Option<&Message> {
        self.servers.get(id)?.request.as_deref()
    }

    /// A request from the wire; `room` is false when no further transaction may be opened for it.
    pub fn request(&mut self, context: &mut Context<'_>, message: Message, flow: Flow, room: bool) -> Option<Event<O>> {
        let found = self.by_key.get(self.key.of(&message)).copied();
        match (message.method(), found) {
            (Method::Ack, Some(id)) => self.drive(context, id, Happening::Ack, Given::Ack(Box::new((message, flow)))),
            (Method::Ack, None) => Some(Event::Ack { message, flow }),
            (Method::Cancel, found) => self.cancel(context, found, message, flow),
            (_, Some(id)) => {
                self.follow_sender(id, &message, flow);
                self.drive(context, id, Happening::Request, Given::Nothing)
            }
            (_, None) => self.open(context, message, flow, room),
        }
    }

    /// RFC 3261 §9.2. Answered without a transaction: a repeated CANCEL gets the same answer, and by then has no effect.
    fn cancel(
        &mut self,
        context: &mut Context<'_>,
        invite: Option<ServerId>,
        message: Message,
        flow: Flow,
    ) -> Option<Event<O>> {
        if let Some(id) = invite {
            self.follow_sender(id, &message, flow);
        }
        let invite = invite.and_then(|id| Some((id, self.servers.get(id)?)));
        let Some((id, server)) = invite.filter(|(_, server)| server.is_of_sender(&message, &flow)) else {
            refuse(context, &message, flow, 481);
            return None;
        };
        // The To tag should be that of the responses to the INVITE.
        let last = Message::parse(server.response.clone()).ok();
        let writer = match last.as_ref().and_then(Message::to_tag) {
            Some(tag) => sip::reply(context.writer, &message, flow.remote, 200, None, Some(tag)),
            None => messages::stateless(context.writer, &message, flow, 200),
        };
        let bytes = writer.finish();
        context.out.push(Transmit { flow: response_flow(&message.top_via(), flow), bytes });
        server.is_open_invite().then_some(Event::Cancel { invite: id, owner: server.owner, message })
    }

    /// On a stream a request is repeated only when its connection was lost, and is cancelled over another for no other reason: what
    /// is said to it goes where its sender is now.
    fn follow_sender(&mut self, id: ServerId, again: &Message, flow: Flow) {
        // Of one that is answered its key is left.
        let merged = self.key.merged(again);
        let has_key = |server: &Server<O>| server.keys.iter().any(|key| Some(&**key) == merged);
        let is_of = |server: &Server<O>| server.request.is_some() || has_key(server);
        let is_known = |server: &Server<O>| is_of(server) && server.is_of_sender(again, &flow);
        if self.servers.get(id).is_some_and(is_known) {
            self.follow(id, flow);
        }
    }

    pub fn follow(&mut self, id: ServerId, flow: Flow) {
        let is_stream = |server: &&mut Server<O>| server.flow.protocol.is_reliable() && flow.protocol.is_reliable();
        if let Some(server) = self.servers.get_mut(id).filter(is_stream) {
            server.flow = flow;
        }
    }

    /// A request not seen before.
    fn open(&mut self, context: &mut Context<'_>, message: Message, flow: Flow, room: bool) -> Option<Event<O>> {
        let mut keys = Keys::from_iter([Arc::from(self.key.as_bytes())]);
        if let Some(merged) = self.key.merged(&message) {
            if self.by_key.contains_key(merged) {
                refuse(context, &message, flow, 482); // RFC 3261 §8.2.2.2
                return None;
            }
            keys.push(Arc::from(merged));
        }
        if !room {
            refuse(context, &message, flow, 503);
            return None;
        }
        let answer_to = response_flow(&message.top_via(), flow);
        let id = self.servers.insert(Server::new(message.clone(), answer_to, keys.clone()));
        for key in keys {
            self.by_key.insert(key, id);
        }
        if message.method() != Method::Invite
            && let Some(server) = self.servers.get_mut(id)
        {
            server.start(context, id);
        }
        Some(Event::Request { transaction: id, message, flow })
    }

    /// Answers `invite`, which came over `flow`, 100, unless it has an answer.
    pub fn trying(&mut self, context: &mut Context<'_>, id: ServerId, invite: &Message, flow: Flow) {
        let waits = |server: &Server<O>| server.is_open_invite() && server.response.is_empty();
        if self.servers.get(id).is_some_and(waits) {
            let bytes = messages::trying(context.writer, invite, flow);
            self.respond(context, id, 100, bytes);
        }
    }

    /// A response from above; without effect where the table has no use for it.
    pub fn respond(&mut self, context: &mut Context<'_>, id: ServerId, code: u16, bytes: Bytes) {
        self.expect_old_ack(id, code, &bytes);
        let is_rebuff = |server: &Server<O>| server.is_unproven && server.response.is_empty() && code >= 300;
        let happening = match self.servers.get(id).is_some_and(is_rebuff) {
            true => Happening::Rebuff(code),
            false => Happening::Response(code),
        };
        self.drive(context, id, happening, Given::Response(bytes));
    }

    /// Nothing tells that the source of this INVITE is where it says.
    pub fn distrust(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(id) {
            server.is_unproven = true;
        }
    }

    /// The ACK of a peer of RFC 2543 is known by the To tag of the response it acknowledges (RFC 3261 §17.2.3).
    fn expect_old_ack(&mut self, id: ServerId, code: u16, bytes: &Bytes) {
        let Some(server) = self.servers.get_mut(id) else { return };
        let Some(invite) = server.request.as_deref() else { return };
        if code < 300 || !server.is_open_invite() || keys::has_branch(invite) {
            return;
        }
        let Ok(response) = Message::parse(bytes.clone()) else { return };
        let key: Arc<[u8]> = Arc::from(self.key.of_old_ack(invite, response.to_tag()));
        if !self.by_key.contains_key(&key) {
            self.by_key.insert(key.clone(), id);
            server.keys.push(key);
        }
    }

    pub fn is_running(&self, id: ServerId, due: &Due) -> bool {
        self.servers.get(id).is_some_and(|server| server.running.is(due))
    }

    pub fn fire(&mut self, context: &mut Context<'_>, id: ServerId, timer: Timer) -> Option<Event<O>> {
        if let Some(server) = self.servers.get_mut(id).filter(|_| timer.repeats()) {
            server.repeats = server.repeats.saturating_add(1);
        }
        self.drive(context, id, Happening::Timer(timer), Given::Nothing)
    }

    /// Lets the table decide, does what it says, and goes on while that makes something else happen.
    fn drive(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        happening: Happening,
        mut given: Given,
    ) -> Option<Event<O>> {
        let (mut next, mut event) = (Some(happening), None);
        while let Some(happening) = next.take() {
            let server = self.servers.get_mut(id)?;
            let (machine, actions) = server.machine.step(happening);
            server.machine = machine;
            for &action in actions {
                next = server.act(context, id, action, &mut given).or(next);
                event = server.event(id, action, &mut given).or(event);
            }
            server.settle();
            if machine.is_terminated() {
                self.remove(id);
                break;
            }
        }
        event
    }

    fn remove(&mut self, id: ServerId) {
        let Some(server) = self.servers.remove(id) else { return };
        for key in server.keys {
            self.by_key.remove(&key);
        }
    }
}

/// Answers without keeping state.
fn refuse(context: &mut Context<'_>, request: &Message, flow: Flow, code: u16) {
    let bytes = messages::refusal(context.writer, request, flow, code);
    context.out.push(Transmit { flow: response_flow(&request.top_via(), flow), bytes });
}
