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
    /// 64*T1 after our CANCEL, or the loss of the connection.
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
            // Of this datagram or of one before it: a repetition may have been heard, and what comes of that has to be ended.
            // The same of a connection that is gone: what was written may have arrived (RFC 3261 §18.2.2).
            Event::Unreachable | Event::Closed => (state, &[Unreachable]),
            Event::TimerD | Event::TimerM | Event::TimerCancelled => (state, &[]),
        },
        State::Proceeding => match event {
            Event::Provisional => (state, &[Deliver]),
            Event::Success => (State::Accepted, &[Deliver, Stop, Start(Timer::M)]),
            Event::Failure => (State::Completed, &[Ack, Deliver, Stop, Start(Timer::D)]),
            Event::Cancel => (state, &[SendCancel, Start(Timer::Cancelled)]),
            Event::TimerCancelled => (State::Terminated, &[Timeout]),
            // It has arrived, and what comes of it has to be ended.
            Event::Closed => (state, &[Unreachable, Start(Timer::Cancelled)]),
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

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &[State] = &[State::Calling, State::Proceeding, State::Accepted, State::Completed, State::Terminated];
    const EVENTS: &[Event] = &[
        Event::TimerA,
        Event::TimerB,
        Event::TimerD,
        Event::TimerM,
        Event::TimerCancelled,
        Event::Provisional,
        Event::Success,
        Event::Failure,
        Event::Cancel,
        Event::Unreachable,
        Event::Closed,
    ];
    const TABLE: &str = "\
Calling + TimerA -> Calling: Send Start(A)
Calling + TimerB -> Terminated: Timeout
Calling + Provisional -> Proceeding: Deliver Stop
Calling + Success -> Accepted: Deliver Stop Start(M)
Calling + Failure -> Completed: Ack Deliver Stop Start(D)
Calling + Cancel -> Calling: HoldCancel Stop Start(B)
Calling + Unreachable -> Calling: Unreachable
Calling + Closed -> Calling: Unreachable
Calling ignores TimerD TimerM TimerCancelled
Proceeding + TimerCancelled -> Terminated: Timeout
Proceeding + Provisional -> Proceeding: Deliver
Proceeding + Success -> Accepted: Deliver Stop Start(M)
Proceeding + Failure -> Completed: Ack Deliver Stop Start(D)
Proceeding + Cancel -> Proceeding: SendCancel Start(Cancelled)
Proceeding + Closed -> Proceeding: Unreachable Start(Cancelled)
Proceeding ignores TimerA TimerB TimerD TimerM Unreachable
Accepted + TimerM -> Terminated
Accepted + Success -> Accepted: Deliver
Accepted ignores TimerA TimerB TimerD TimerCancelled Provisional Failure Cancel Unreachable Closed
Completed + TimerD -> Terminated
Completed + Failure -> Completed: Send
Completed ignores TimerA TimerB TimerM TimerCancelled Provisional Success Cancel Unreachable Closed
Terminated ignores TimerA TimerB TimerD TimerM TimerCancelled Provisional Success Failure Cancel Unreachable Closed
";

    #[test]
    fn every_state_and_event() {
        assert_eq!(crate::transaction::tests::table(STATES, EVENTS, step), TABLE);
    }
}
