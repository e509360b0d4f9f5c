//! The non-INVITE client transaction (RFC 3261 §17.1.2).

use super::client::Action::{self, *};
use super::timers::Timer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    TimerE,
    TimerF,
    TimerK,
    /// 1xx.
    Provisional,
    /// 2xx to 6xx.
    Final,
    /// The network says that nobody listens at the address (ICMP).
    Unreachable,
    /// The connection the request went over is gone.
    Closed,
}

/// The entry of `Trying`.
pub const START: (State, &[Action]) = (State::Trying, &[Send, Start(Timer::E), Start(Timer::F)]);

/// The table.
pub fn step(state: State, event: Event) -> (State, &'static [Action]) {
    match state {
        State::Trying => match event {
            Event::TimerE => (state, &[Send, Start(Timer::E)]),
            Event::TimerF => (State::Terminated, &[Timeout]),
            // From now on timer E runs for T2 (RFC 3261 §17.1.2.2).
            Event::Provisional => (State::Proceeding, &[Deliver, SlowDown]),
            Event::Final => (State::Completed, &[Deliver, Stop, Start(Timer::K)]),
            Event::Unreachable | Event::Closed => (State::Terminated, &[Unreachable]),
            Event::TimerK => (state, &[]),
        },
        State::Proceeding => match event {
            Event::TimerE => (state, &[Send, Start(Timer::E)]),
            Event::TimerF => (State::Terminated, &[Timeout]),
            Event::Provisional => (state, &[Deliver]),
            Event::Final => (State::Completed, &[Deliver, Stop, Start(Timer::K)]),
            Event::Closed => (State::Terminated, &[Unreachable]),
            // Somebody answered, so an ICMP error now is of a retransmission, or forged.
            Event::Unreachable | Event::TimerK => (state, &[]),
        },
        State::Completed => match event {
            Event::TimerK => (State::Terminated, &[]),
            Event::TimerE | Event::TimerF | Event::Provisional | Event::Final => (state, &[]),
            Event::Unreachable | Event::Closed => (state, &[]),
        },
        State::Terminated => match event {
            Event::TimerE | Event::TimerF | Event::TimerK | Event::Provisional | Event::Final => (state, &[]),
            Event::Unreachable | Event::Closed => (state, &[]),
        },
    }
}
