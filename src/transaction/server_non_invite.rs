//! The non-INVITE server transaction (RFC 3261 §17.2.2, RFC 4320).

use super::server::Action::{self, *};
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
    /// The request again.
    Request,
    /// 100 from the layers above; no other provisional response may be sent (RFC 4320 §4.1).
    Provisional,
    /// 2xx to 6xx from the layers above.
    Final,
    /// 408 from the layers above, which may not be sent (RFC 4320 §4.2).
    Withhold,
    TimerJ,
    TimerUnanswered,
}

/// The entry of `Trying`.
pub const START: (State, &[Action]) = (State::Trying, &[Start(Timer::Unanswered)]);

/// The table.
pub fn step(state: State, event: Event) -> (State, &'static [Action]) {
    match state {
        State::Trying => match event {
            Event::Provisional => (State::Proceeding, &[Send]),
            Event::Final => (State::Completed, &[Send, Start(Timer::J)]),
            Event::Withhold => (State::Completed, &[Start(Timer::J)]),
            Event::TimerUnanswered => (State::Terminated, &[]),
            Event::Request | Event::TimerJ => (state, &[]),
        },
        State::Proceeding => match event {
            Event::Request => (state, &[Repeat]),
            Event::Provisional => (state, &[Send]),
            Event::Final => (State::Completed, &[Send, Start(Timer::J)]),
            Event::Withhold => (State::Completed, &[Forget, Start(Timer::J)]),
            Event::TimerUnanswered => (State::Terminated, &[]),
            Event::TimerJ => (state, &[]),
        },
        State::Completed => match event {
            Event::Request => (state, &[Repeat]),
            Event::TimerJ => (State::Terminated, &[]),
            Event::Provisional | Event::Final | Event::Withhold | Event::TimerUnanswered => (state, &[]),
        },
        State::Terminated => match event {
            Event::Request | Event::Provisional | Event::Final | Event::Withhold => (state, &[]),
            Event::TimerJ | Event::TimerUnanswered => (state, &[]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &[State] = &[State::Trying, State::Proceeding, State::Completed, State::Terminated];
    const EVENTS: &[Event] =
        &[Event::Request, Event::Provisional, Event::Final, Event::Withhold, Event::TimerJ, Event::TimerUnanswered];
    const TABLE: &str = "\
Trying + Provisional -> Proceeding: Send
Trying + Final -> Completed: Send Start(J)
Trying + Withhold -> Completed: Start(J)
Trying + TimerUnanswered -> Terminated
Trying ignores Request TimerJ
Proceeding + Request -> Proceeding: Repeat
Proceeding + Provisional -> Proceeding: Send
Proceeding + Final -> Completed: Send Start(J)
Proceeding + Withhold -> Completed: Forget Start(J)
Proceeding + TimerUnanswered -> Terminated
Proceeding ignores TimerJ
Completed + Request -> Completed: Repeat
Completed + TimerJ -> Terminated
Completed ignores Provisional Final Withhold TimerUnanswered
Terminated ignores Request Provisional Final Withhold TimerJ TimerUnanswered
";

    #[test]
    fn every_state_and_event() {
        assert_eq!(crate::transaction::tests::table(STATES, EVENTS, step), TABLE);
    }
}
