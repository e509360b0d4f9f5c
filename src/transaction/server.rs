//! One server transaction: which table it follows, and what the actions of the table mean (RFC 3261 §17.2).

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::context::Context;
use super::timers::{Running, Timer, Whose};
use super::{Event, ServerId, server_invite, server_non_invite};
use crate::sip::{Message, Method};
use crate::transport::{Flow, Transmit};

/// What the two server tables ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The response from above goes out, and is kept for repetition.
    Send,
    /// The last response goes out again, if there is one.
    Repeat,
    /// The kept response is not to be repeated.
    Forget,
    /// The ACK goes up.
    DeliverAck,
    /// `Event::AckMissing` goes up.
    AckMissing,
    /// A timer starts, in place of the one of its kind (retransmission or end).
    Start(Timer),
    /// All timers stop.
    Stop,
}

/// Which table, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Invite(server_invite::State),
    NonInvite(server_non_invite::State),
}

/// What can befall a server transaction of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Request,
    Ack,
    /// A response from above, by its status code.
    Response(u16),
    /// The same, from 300 on, as the first word to an INVITE from nobody we know.
    Rebuff(u16),
    Timer(Timer),
}

/// The keys of one transaction: its own, the one shared by merged requests, the one of an ACK of RFC 2543.
pub(super) type Keys = SmallVec<[Arc<[u8]>; 2]>;

/// One request of a peer. Once answered it shrinks to what absorbs repetitions.
pub(super) struct Server<O> {
    pub machine: Machine,
    /// How often timer G fired.
    pub repeats: u8,
    pub running: Running,
    pub owner: Option<O>,
    /// Where responses go.
    pub flow: Flow,
    /// Until the final response.
    pub request: Option<Box<Message>>,
    /// The last response, while it may have to be repeated.
    pub response: Bytes,
    /// The source address of this INVITE may be forged.
    pub is_unproven: bool,
    pub keys: Keys,
}

/// What came with a happening.
pub(super) enum Given {
    Nothing,
    Response(Bytes),
    Ack(Box<(Message, Flow)>),
}

impl<O: Copy> Server<O> {
    /// The first state of `request`, whose responses go to `flow`.
    pub fn new(request: Message, flow: Flow, keys: Keys) -> Self {
        let machine = if request.method() == Method::Invite {
            Machine::Invite(server_invite::State::Proceeding)
        } else {
            Machine::NonInvite(server_non_invite::START.0)
        };
        Self {
            machine,
            repeats: 0,
            running: Running::default(),
            owner: None,
            flow,
            request: Some(Box::new(request)),
            response: Bytes::new(),
            is_unproven: false,
            keys,
        }
    }

    /// The entry of the first state of a non-INVITE request.
    pub fn start(&mut self, context: &mut Context<'_>, id: ServerId) {
        for &action in server_non_invite::START.1 {
            self.act(context, id, action, &mut Given::Nothing);
        }
    }

    /// True while an INVITE waits for its final response.
    pub fn is_open_invite(&self) -> bool {
        self.machine == Machine::Invite(server_invite::State::Proceeding)
    }

    /// True when `again`, a CANCEL or a repetition that came over `flow`, is of whoever sent this request: these of its fields are
    /// the same (RFC 3261 §9.1), and so is its source. A branch can be guessed where a phone counts its own up. Once the request is
    /// answered neither has an effect, and its source is all that is asked.
    pub fn is_of_sender(&self, again: &Message, flow: &Flow) -> bool {
        let is_same_source = self.flow.remote.ip().to_canonical() == flow.remote.ip().to_canonical();
        let is_of = |invite: &Message| {
            invite.call_id() == again.call_id()
                && invite.cseq() == again.cseq()
                && invite.from_tag() == again.from_tag()
        };
        is_same_source && self.request.as_deref().is_none_or(is_of)
    }

    /// Does what of `action` touches this transaction; a timer that does not wait happens next.
    pub fn act(
        &mut self,
        context: &mut Context<'_>,
        id: ServerId,
        action: Action,
        given: &mut Given,
    ) -> Option<Happening> {
        match action {
            Action::Send => {
                if let Given::Response(bytes) = std::mem::replace(given, Given::Nothing) {
                    self.response = bytes;
                }
                self.transmit(context);
            }
            Action::Repeat => self.transmit(context),
            Action::Forget => self.response = Bytes::new(),
            Action::Start(timer) => {
                let wait = context.timers.wait(timer, self.flow.protocol.is_reliable(), self.repeats)?;
                if wait.is_zero() {
                    return Some(Happening::Timer(timer));
                }
                context.agenda.start(&mut self.running, context.now, wait, Whose::Server(id), timer);
            }
            Action::Stop => self.running.stop(),
            Action::DeliverAck | Action::AckMissing => {}
        }
        None
    }

    fn transmit(&self, context: &mut Context<'_>) {
        if !self.response.is_empty() {
            context.out.push(Transmit { flow: self.flow, bytes: self.response.clone() });
        }
    }

    pub fn event(&self, transaction: ServerId, action: Action, given: &mut Given) -> Option<Event<O>> {
        match action {
            Action::DeliverAck => match std::mem::replace(given, Given::Nothing) {
                Given::Ack(ack) => {
                    let (message, flow) = *ack;
                    Some(Event::Ack { message, flow })
                }
                Given::Nothing | Given::Response(_) => None,
            },
            Action::AckMissing => Some(Event::AckMissing { transaction, owner: self.owner }),
            Action::Send | Action::Repeat | Action::Forget | Action::Start(_) | Action::Stop => None,
        }
    }

    /// Drops what the state needs no more.
    pub fn settle(&mut self) {
        use server_invite::State as Invite;
        use server_non_invite::State as NonInvite;
        match self.machine {
            Machine::Invite(Invite::Proceeding) | Machine::NonInvite(NonInvite::Trying | NonInvite::Proceeding) => {}
            Machine::Invite(Invite::Completed) | Machine::NonInvite(NonInvite::Completed) => self.request = None,
            Machine::Invite(Invite::Accepted | Invite::Confirmed | Invite::Terminated)
            | Machine::NonInvite(NonInvite::Terminated) => {
                self.request = None;
                self.response = Bytes::new();
            }
        }
    }
}

impl Machine {
    pub fn step(self, happening: Happening) -> (Self, &'static [Action]) {
        match self {
            Self::Invite(state) => match happening.to_invite() {
                Some(event) => {
                    let (state, actions) = server_invite::step(state, event);
                    (Self::Invite(state), actions)
                }
                None => (self, &[]),
            },
            Self::NonInvite(state) => match happening.to_non_invite() {
                Some(event) => {
                    let (state, actions) = server_non_invite::step(state, event);
                    (Self::NonInvite(state), actions)
                }
                None => (self, &[]),
            },
        }
    }

    pub fn is_terminated(self) -> bool {
        self == Self::Invite(server_invite::State::Terminated)
            || self == Self::NonInvite(server_non_invite::State::Terminated)
    }
}

impl Happening {
    /// As an event of the INVITE table; `None` for what that table does not know.
    fn to_invite(self) -> Option<server_invite::Event> {
        use server_invite::Event;
        match self {
            Self::Request => Some(Event::Request),
            Self::Ack => Some(Event::Ack),
            Self::Response(code) => Some(match code {
                ..200 => Event::Provisional,
                200..300 => Event::Success,
                300.. => Event::Failure,
            }),
            Self::Rebuff(_) => Some(Event::Rebuff),
            Self::Timer(timer) => match timer {
                Timer::G => Some(Event::TimerG),
                Timer::H => Some(Event::TimerH),
                Timer::I => Some(Event::TimerI),
                Timer::L => Some(Event::TimerL),
                Timer::J | Timer::Unanswered => None,
                Timer::A | Timer::B | Timer::D | Timer::E | Timer::F | Timer::K | Timer::M | Timer::Cancelled => None,
            },
        }
    }

    /// As an event of the non-INVITE table; `None` for what that table does not know.
    fn to_non_invite(self) -> Option<server_non_invite::Event> {
        use server_non_invite::Event;
        match self {
            Self::Request => Some(Event::Request),
            Self::Ack => None,
            Self::Response(code) | Self::Rebuff(code) => match code {
                ..=100 => Some(Event::Provisional),
                101..200 => None, // RFC 4320 §4.1
                408 => Some(Event::Withhold),
                200.. => Some(Event::Final),
            },
            Self::Timer(timer) => match timer {
                Timer::J => Some(Event::TimerJ),
                Timer::Unanswered => Some(Event::TimerUnanswered),
                Timer::G | Timer::H | Timer::I | Timer::L => None,
                Timer::A | Timer::B | Timer::D | Timer::E | Timer::F | Timer::K | Timer::M | Timer::Cancelled => None,
            },
        }
    }
}
