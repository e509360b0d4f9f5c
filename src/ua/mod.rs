//! User agents: one leg of a call each (RFC 3261 §13 to §15; RFC 7092 for the two together).
//!
//! A leg is a dialog with an INVITE usage. What a peer does comes up as [`Event`]s; what the call wants goes down as methods of
//! [`Ua`]. This floor acknowledges, repeats 2xx answers, refuses what does not fit the dialog, and lets abandoned legs die
//! properly: a late answer to one is acknowledged and hung up at once. It never decides what a call is for.

mod account;
mod content;
mod dialogue;
mod leg;
mod local;
mod notifier;
mod refresh;
mod refusal;
mod reliable;
mod sending;
mod signing;
mod uac;
mod uas;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use slotmap::SlotMap;

use crate::base::{Instant, Rng};
use crate::dialog::Terms;
use crate::sip::{Message, Writer};
use crate::transaction::{ClientId, ServerId, Transactions};
use crate::transport::{ConnId, Flow, Outbox, Streams};

pub use account::{AccountId, Accounts};
pub use content::{Content, Part, Unacceptable};
pub use leg::{Leg, Side, Stage};
pub use local::Local;
pub use refusal::{Refusal, location_error};
pub use reliable::Confirms;
pub use signing::{again, with_credentials};
pub use uac::Invitation;

slotmap::new_key_type! {
    /// One leg.
    pub struct LegId;
    /// The call a leg belongs to; the floor above owns the calls.
    pub struct CallId;
}

/// Who gets what a transaction reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Leg(LegId),
    /// Not a leg's: a request of the node itself, numbered by it.
    Errand(u32),
}

/// What everything that acts needs: the time, chance, the transactions and the way out.
pub struct Context<'a> {
    pub now: Instant,
    pub rng: &'a mut Rng,
    pub transactions: &'a mut Transactions<Owner>,
    pub streams: &'a mut Streams,
    pub out: &'a mut Outbox,
}

/// What happened on a leg.
#[derive(Debug)]
pub enum Event {
    /// A provisional response to our first INVITE, 100 included; a reliable one only once and in order, and it wants
    /// [`Ua::confirm`]. `described`: with a session description that counts.
    Progress { message: Message, reliable: bool, described: bool },
    /// PRACK to a provisional response of ours that carried a description, or PRACK that carries one. `asks`: it makes an
    /// offer, and waits for its answer.
    Confirmed { message: Message, confirms: Option<Confirms>, asks: Option<(ServerId, Flow)> },
    /// 2xx to our first INVITE. When we made the offer it is acknowledged already.
    Answered { message: Message },
    /// Our first INVITE failed: a final response, or none (408), or nowhere to send it (503). The leg is gone.
    Failed { refusal: Refusal },
    /// The caller gave up before an answer; it has its 487. The leg is gone.
    Cancelled { reason: Option<Bytes> },
    /// ACK to our 2xx.
    Acknowledged { message: Message },
    /// A request inside the dialog that the other leg has to hear of: re-INVITE, UPDATE with an offer, INFO, MESSAGE, REFER.
    Request { server: ServerId, message: Message, flow: Flow },
    /// The peer took back a re-INVITE; it has its 487.
    Withdrawn { server: ServerId },
    /// The final response to a request we carried across; none, and why, as a status: none in time (408), no way there (503).
    Reply { client: ClientId, message: Result<Message, u16> },
    /// A refresh of ours was answered with another description than the peer had; the other leg has to hear of it.
    Changed,
    /// The last NOTIFY of a REFER was answered, or the subscriber is gone.
    Notified,
    /// The peer answered a request that asked whether it is there.
    Alive,
    /// It did not, or missed its own refresh (RFC 4028 §10): the call decides what becomes of it.
    Silent { refresh: bool },
    /// The peer hung up, or the dialog is over for the reason given (RFC 3326). The leg is gone or going.
    Ended { reason: Option<Bytes>, cause: Cause },
}

/// Why a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Bye,
    /// Our 2xx was never acknowledged (CONFORMANCE TX-6).
    NoAck,
    /// 408 or 481 to a request inside the dialog (CONFORMANCE DI-12).
    Gone,
    /// Our reliable provisional response was never acknowledged (CONFORMANCE PR-3).
    NoPrack,
    /// Nobody refreshed the session (CONFORMANCE ST-3).
    Expired,
}

/// Settings of this floor.
pub struct Settings {
    pub t1: Duration,
    pub t2: Duration,
    pub session: Terms,
    /// The Server and User-Agent header.
    pub product: String,
    /// One per listener, by [`crate::transport::ListenerId`].
    pub locals: Vec<Local>,
}

/// All legs of the node.
pub struct Ua {
    legs: SlotMap<LegId, Leg>,
    settings: Settings,
    writer: Writer,
    events: VecDeque<(LegId, CallId, Event)>,
    /// When something is due on a leg: a repetition of its 2xx or of a reliable provisional response, its session timer.
    alarms: BinaryHeap<Reverse<(Instant, LegId)>>,
    accounts: Accounts,
}

impl Ua {
    pub fn new(settings: Settings) -> Self {
        Self {
            legs: SlotMap::with_key(),
            settings,
            writer: Writer::new(),
            events: VecDeque::new(),
            alarms: BinaryHeap::new(),
            accounts: Accounts::default(),
        }
    }

    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.get(id)
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The shared printer, for the few messages that other floors send outside a leg.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// What happened since the last call; poll until `None`.
    pub fn poll_event(&mut self) -> Option<(LegId, CallId, Event)> {
        self.events.pop_front()
    }

    /// Lets a leg go its own way: it ends itself, and nothing more is heard of it.
    pub fn orphan(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.call = None;
        }
    }

    /// Phones in a dialog that are spoken to over `connection`.
    pub fn phones_on(&self, connection: ConnId) -> Vec<LegId> {
        let is_on = |leg: &Leg| !leg.is_server() && leg.flow().connection == Some(connection);
        self.legs.iter().filter(|(_, leg)| is_on(leg)).map(|(id, _)| id).collect()
    }

    /// The peer of a leg is reached over `flow` from now on.
    pub fn lead(&mut self, id: LegId, flow: Flow) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.flow = flow;
        }
    }

    /// Drops a prepared leg whose INVITE was never sent.
    pub fn discard(&mut self, id: LegId) {
        self.legs.remove(id);
    }

    pub fn len(&self) -> usize {
        self.legs.len()
    }

    #[cfg(test)]
    pub fn alarms(&self) -> usize {
        self.alarms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Does what is due on the legs: repetitions, refreshes. An alarm that is no longer true is passed over.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) {
        while let Some(&Reverse((at, id))) = self.alarms.peek() {
            if at > context.now {
                return;
            }
            self.alarms.pop();
            self.repeat_answer(context, id, at);
            self.repeat_provisional(context, id, at);
            self.session_due(context, id, at);
        }
    }

    fn report(&mut self, id: LegId, event: Event) {
        if let Some(call) = self.legs.get(id).and_then(|leg| leg.call) {
            self.events.push_back((id, call, event));
        }
    }
}
