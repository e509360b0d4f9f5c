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

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &[State] = &[State::Trying, State::Proceeding, State::Completed, State::Terminated];
    const EVENTS: &[Event] = &[
        Event::TimerE,
        Event::TimerF,
        Event::TimerK,
        Event::Provisional,
        Event::Final,
        Event::Unreachable,
        Event::Closed,
    ];
    const TABLE: &str = "\
Trying + TimerE -> Trying: Send Start(E)
Trying + TimerF -> Terminated: Timeout
Trying + Provisional -> Proceeding: Deliver SlowDown
Trying + Final -> Completed: Deliver Stop Start(K)
Trying + Unreachable -> Terminated: Unreachable
Trying + Closed -> Terminated: Unreachable
Trying ignores TimerK
Proceeding + TimerE -> Proceeding: Send Start(E)
Proceeding + TimerF -> Terminated: Timeout
Proceeding + Provisional -> Proceeding: Deliver
Proceeding + Final -> Completed: Deliver Stop Start(K)
Proceeding + Closed -> Terminated: Unreachable
Proceeding ignores TimerK Unreachable
Completed + TimerK -> Terminated
Completed ignores TimerE TimerF Provisional Final Unreachable Closed
Terminated ignores TimerE TimerF TimerK Provisional Final Unreachable Closed
";

    #[test]
    fn every_state_and_event() {
        assert_eq!(crate::transaction::tests::table(STATES, EVENTS, step), TABLE);
    }
}
