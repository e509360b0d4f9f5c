//! One client transaction: which table it follows, and what the actions of the table mean (RFC 3261 §17.1).

use bytes::Bytes;

use super::context::Context;
use super::timers::{Running, Timer, Whose};
use super::{ClientId, Event, client_invite, client_non_invite, messages};
use crate::sip::{Message, Method};
use crate::transport::{Flow, Transmit};

/// What the two client tables ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What the transaction keeps goes out: the request, in `Completed` the ACK.
    Send,
    /// The ACK of a non-2xx is made from the INVITE, kept in its place, and sent (RFC 3261 §17.1.1.3).
    Ack,
    /// The response goes up.
    Deliver,
    /// `Event::Timeout` goes up.
    Timeout,
    /// `Event::Unreachable` goes up.
    Unreachable,
    /// A CANCEL goes out, in a transaction of its own.
    SendCancel,
    /// The CANCEL is to go out with the first provisional response.
    HoldCancel,
    /// A timer starts, in place of the one of its kind (retransmission or end).
    Start(Timer),
    /// All timers stop.
    Stop,
    /// Retransmissions from now on wait the longest time.
    SlowDown,
}

/// Which table, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// Opened, nothing sent yet.
    Opened,
    Invite(client_invite::State),
    NonInvite(client_non_invite::State),
}

/// What can befall a client transaction of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Timer(Timer),
    /// A response, by its status code.
    Response(u16),
    Cancel,
    Unreachable,
    Closed,
}

/// A CANCEL and the INVITE it cancels.
#[derive(Debug, Default)]
pub(super) enum Cancel {
    #[default]
    None,
    /// Wanted, with this Reason, as soon as a provisional response arrives.
    Held(Option<Box<[u8]>>),
    /// This INVITE was cancelled by that transaction.
    By(ClientId),
    /// This is a CANCEL itself.
    Itself,
}

/// One request of ours.
pub(super) struct Client<O> {
    pub machine: Machine,
    pub method: Method,
    /// How often the running retransmission timer fired.
    pub repeats: u8,
    pub random: u64,
    pub owner: O,
    pub running: Running,
    pub cancel: Cancel,
    /// Set by `send`.
    pub flow: Option<Flow>,
    /// The request until a final response came, then the ACK of a non-2xx, then nothing.
    pub kept: Bytes,
    /// The datagram in whose place it went over a connection.
    pub otherwise: Option<Box<(Flow, Bytes)>>,
    /// It was sent again over another connection.
    pub is_repeated: bool,
}

impl<O: Copy> Client<O> {
    /// A transaction in which nothing has been sent yet.
    pub fn new(method: Method, owner: O, random: u64, cancel: Cancel) -> Self {
        Self {
            machine: Machine::Opened,
            method,
            repeats: 0,
            random,
            owner,
            running: Running::default(),
            cancel,
            flow: None,
            kept: Bytes::new(),
            otherwise: None,
            is_repeated: false,
        }
    }

    /// Sends the request: the entry of the first state.
    pub fn start(&mut self, context: &mut Context<'_>, id: ClientId, method: Method, flow: Flow, bytes: Bytes) {
        let (machine, actions) = if method == Method::Invite {
            (Machine::Invite(client_invite::START.0), client_invite::START.1)
        } else {
            (Machine::NonInvite(client_non_invite::START.0), client_non_invite::START.1)
        };
        (self.machine, self.method, self.flow, self.kept) = (machine, method, Some(flow), bytes);
        for &action in actions {
            self.act(context, id, action, None);
        }
    }

    /// Does what of `action` touches this transaction alone; a timer that does not wait happens next.
    pub fn act(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        action: Action,
        response: Option<&Message>,
    ) -> Option<Happening> {
        let flow = self.flow?;
        match action {
            Action::Send => self.transmit(context, flow),
            Action::Ack => {
                let ack = response.and_then(|response| messages::ack(context.writer, &self.kept, response));
                self.kept = ack.unwrap_or_default();
                self.transmit(context, flow);
            }
            Action::Start(timer) => {
                let wait = context.timers.wait(timer, flow.protocol.is_reliable(), self.repeats)?;
                if wait.is_zero() {
                    return Some(Happening::Timer(timer));
                }
                context.agenda.start(&mut self.running, context.now, wait, Whose::Client(id), timer);
            }
            Action::Stop => self.running.stop(),
            Action::SlowDown => self.repeats = u8::MAX,
            Action::HoldCancel | Action::SendCancel => {}
            Action::Deliver | Action::Timeout | Action::Unreachable => {}
        }
        None
    }

    fn transmit(&self, context: &mut Context<'_>, flow: Flow) {
        if !self.kept.is_empty() {
            context.out.push(Transmit { flow, bytes: self.kept.clone() });
        }
    }

    /// What of `action` the layers above hear; of a CANCEL they hear nothing.
    pub fn event(&self, transaction: ClientId, action: Action, message: &mut Option<Message>) -> Option<Event<O>> {
        let owner = match self.cancel {
            Cancel::Itself => return None,
            Cancel::None | Cancel::Held(_) | Cancel::By(_) => self.owner,
        };
        match action {
            Action::Deliver => message.take().map(|message| Event::Response { transaction, owner, message }),
            Action::Timeout => Some(Event::Timeout { transaction, owner }),
            Action::Unreachable => Some(Event::Unreachable { transaction, owner }),
            Action::Send | Action::Ack | Action::SendCancel | Action::HoldCancel => None,
            Action::Start(_) | Action::Stop | Action::SlowDown => None,
        }
    }

    /// True when the first provisional response has just freed a CANCEL that was held back.
    pub fn cancel_is_due(&self, happening: Happening) -> bool {
        self.machine == Machine::Invite(client_invite::State::Proceeding)
            && matches!(self.cancel, Cancel::Held(_))
            && happening != Happening::Cancel
    }

    /// Drops what an answered transaction needs no more.
    pub fn settle(&mut self) {
        self.otherwise = None;
        if self.machine != Machine::Invite(client_invite::State::Completed) {
            self.kept = Bytes::new();
        }
        if matches!(self.cancel, Cancel::Held(_)) {
            self.cancel = Cancel::None;
        }
    }
}

impl Machine {
    pub fn step(self, happening: Happening) -> (Self, &'static [Action]) {
        match self {
            Self::Opened => (self, &[]),
            Self::Invite(state) => match happening.to_invite() {
                Some(event) => {
                    let (state, actions) = client_invite::step(state, event);
                    (Self::Invite(state), actions)
                }
                None => (self, &[]),
            },
            Self::NonInvite(state) => match happening.to_non_invite() {
                Some(event) => {
                    let (state, actions) = client_non_invite::step(state, event);
                    (Self::NonInvite(state), actions)
                }
                None => (self, &[]),
            },
        }
    }

    pub fn is_answered(self) -> bool {
        match self {
            Self::Opened => false,
            Self::Invite(state) => match state {
                client_invite::State::Calling | client_invite::State::Proceeding => false,
                client_invite::State::Accepted | client_invite::State::Completed => true,
                client_invite::State::Terminated => true,
            },
            Self::NonInvite(state) => match state {
                client_non_invite::State::Trying | client_non_invite::State::Proceeding => false,
                client_non_invite::State::Completed | client_non_invite::State::Terminated => true,
            },
        }
    }

    /// Sent, and no response at all.
    pub fn is_unheard(self) -> bool {
        self == Self::Invite(client_invite::State::Calling) || self == Self::NonInvite(client_non_invite::State::Trying)
    }

    pub fn is_terminated(self) -> bool {
        self == Self::Invite(client_invite::State::Terminated)
            || self == Self::NonInvite(client_non_invite::State::Terminated)
    }
}

impl Happening {
    /// As an event of the INVITE table; `None` for what that table does not know.
    fn to_invite(self) -> Option<client_invite::Event> {
        use client_invite::Event;
        match self {
            Self::Timer(timer) => match timer {
                Timer::A => Some(Event::TimerA),
                Timer::B => Some(Event::TimerB),
                Timer::D => Some(Event::TimerD),
                Timer::M => Some(Event::TimerM),
                Timer::Cancelled => Some(Event::TimerCancelled),
                Timer::E | Timer::F | Timer::K => None,
                Timer::G | Timer::H | Timer::I | Timer::J | Timer::L | Timer::Unanswered => None,
            },
            Self::Response(code) => Some(match code {
                ..200 => Event::Provisional,
                200..300 => Event::Success,
                300.. => Event::Failure,
            }),
            Self::Cancel => Some(Event::Cancel),
            Self::Unreachable => Some(Event::Unreachable),
            Self::Closed => Some(Event::Closed),
        }
    }

    /// As an event of the non-INVITE table; `None` for what that table does not know.
    fn to_non_invite(self) -> Option<client_non_invite::Event> {
        use client_non_invite::Event;
        match self {
            Self::Timer(timer) => match timer {
                Timer::E => Some(Event::TimerE),
                Timer::F => Some(Event::TimerF),
                Timer::K => Some(Event::TimerK),
                Timer::A | Timer::B | Timer::D | Timer::M | Timer::Cancelled => None,
                Timer::G | Timer::H | Timer::I | Timer::J | Timer::L | Timer::Unanswered => None,
            },
            Self::Response(code) => Some(if code < 200 { Event::Provisional } else { Event::Final }),
            Self::Cancel => None,
            Self::Unreachable => Some(Event::Unreachable),
            Self::Closed => Some(Event::Closed),
        }
    }
}
