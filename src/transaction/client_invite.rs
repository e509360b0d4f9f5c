//! The INVITE client transaction (RFC 3261 §17.1.1, as changed by RFC 6026 §8.4), and what CANCEL does to it (§9.1).

use super::client::Action::{self, *};
use super::timers::Timer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    TimerA,
    TimerB,
    TimerD,
    TimerM,
    /// 64*T1 after our CANCEL.
    TimerCancelled,
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 3xx to 6xx.
    Failure,
    /// The layers above no longer want the answer.
    Cancel,
    /// The network says that nobody listens at the address (ICMP).
    Unreachable,
    /// The connection the INVITE went over is gone.
    Closed,
}

/// The entry of `Calling`.
pub const START: (State, &[Action]) = (State::Calling, &[Send, Start(Timer::A), Start(Timer::B)]);

/// The table.
pub fn step(state: State, event: Event) -> (State, &'static [Action]) {
    match state {
        State::Calling => match event {
            Event::TimerA => (state, &[Send, Start(Timer::A)]),
            Event::TimerB => (State::Terminated, &[Timeout]),
            Event::Provisional => (State::Proceeding, &[Deliver, Stop]),
            Event::Success => (State::Accepted, &[Deliver, Stop, Start(Timer::M)]),
            Event::Failure => (State::Completed, &[Ack, Deliver, Stop, Start(Timer::D)]),
            // RFC 3261 §9.1: no CANCEL before a provisional response. Nor is the INVITE repeated: whoever has not heard it
            // by now must not ring any more.
            Event::Cancel => (state, &[HoldCancel, Stop, Start(Timer::B)]),
            Event::Unreachable | Event::Closed => (State::Terminated, &[Unreachable]),
            Event::TimerD | Event::TimerM | Event::TimerCancelled => (state, &[]),
        },
        State::Proceeding => match event {
            Event::Provisional => (state, &[Deliver]),
            Event::Success => (State::Accepted, &[Deliver, Stop, Start(Timer::M)]),
            Event::Failure => (State::Completed, &[Ack, Deliver, Stop, Start(Timer::D)]),
            Event::Cancel => (state, &[SendCancel, Start(Timer::Cancelled)]),
            Event::TimerCancelled => (State::Terminated, &[Timeout]),
            Event::Closed => (State::Terminated, &[Unreachable]),
            // Somebody answered, so an ICMP error now is of a retransmission, or forged.
            Event::Unreachable => (state, &[]),
            Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerM => (state, &[]),
        },
        State::Accepted => match event {
            // RFC 6026 §8.4: every 2xx goes up, where each gets its ACK.
            Event::Success => (state, &[Deliver]),
            Event::TimerM => (State::Terminated, &[]),
            Event::Provisional | Event::Failure | Event::Cancel | Event::Unreachable | Event::Closed => (state, &[]),
            Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerCancelled => (state, &[]),
        },
        State::Completed => match event {
            // What is sent here is the ACK.
            Event::Failure => (state, &[Send]),
            Event::TimerD => (State::Terminated, &[]),
            Event::Provisional | Event::Success | Event::Cancel | Event::Unreachable | Event::Closed => (state, &[]),
            Event::TimerA | Event::TimerB | Event::TimerM | Event::TimerCancelled => (state, &[]),
        },
        State::Terminated => match event {
            Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerM | Event::TimerCancelled => (state, &[]),
            Event::Provisional | Event::Success | Event::Failure => (state, &[]),
            Event::Cancel | Event::Unreachable | Event::Closed => (state, &[]),
        },
    }
}
