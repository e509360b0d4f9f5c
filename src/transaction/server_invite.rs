//! The INVITE server transaction (RFC 3261 §17.2.1, as changed by RFC 6026 §8.5).
//!
//! A CANCEL is no event here: it is answered on its own and reaches `ua`, which answers the INVITE 487 (RFC 3261 §9.2).

use super::server::Action::{self, *};
use super::timers::Timer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The INVITE again.
    Request,
    Ack,
    /// 1xx from the layers above.
    Provisional,
    /// 2xx from the layers above.
    Success,
    /// 3xx to 6xx from the layers above, other than the next.
    Failure,
    /// 3xx to 6xx, a challenge mostly, to who has proven nothing, its address included, when nothing has been sent before it.
    Rebuff,
    TimerG,
    TimerH,
    TimerI,
    TimerL,
}

/// The table. The transaction opens in `Proceeding`, without a response.
///
/// A rebuff is never repeated by us, which would multiply what a forged source address is sent (RFC 3261 §26.3.2.4): who has
/// heard nothing sends the INVITE again, and is answered again. Its transaction stays, so that a copy of the INVITE which comes
/// late is no new call: by then its sender may have registered.
pub fn step(state: State, event: Event) -> (State, &'static [Action]) {
    match state {
        State::Proceeding => match event {
            Event::Request => (state, &[Repeat]),
            Event::Provisional => (state, &[Send]),
            Event::Success => (State::Accepted, &[Send, Start(Timer::L)]),
            Event::Failure => (State::Completed, &[Send, Start(Timer::G), Start(Timer::H)]),
            Event::Rebuff => (State::Completed, &[Send, Start(Timer::H)]),
            Event::Ack | Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL => (state, &[]),
        },
        State::Accepted => match event {
            // RFC 6026 §7.1: the INVITE is absorbed, the ACK goes up, and so repeated 2xx go out.
            Event::Ack => (state, &[DeliverAck]),
            Event::Success => (state, &[Send]),
            Event::TimerL => (State::Terminated, &[]),
            Event::Request | Event::Provisional | Event::Failure | Event::Rebuff => (state, &[]),
            Event::TimerG | Event::TimerH | Event::TimerI => (state, &[]),
        },
        State::Completed => match event {
            Event::Request => (state, &[Repeat]),
            Event::Ack => (State::Confirmed, &[Stop, Start(Timer::I)]),
            Event::TimerG => (state, &[Repeat, Start(Timer::G)]),
            Event::TimerH => (State::Terminated, &[AckMissing]),
            Event::Provisional | Event::Success | Event::Failure | Event::Rebuff => (state, &[]),
            Event::TimerI | Event::TimerL => (state, &[]),
        },
        State::Confirmed => match event {
            Event::TimerI => (State::Terminated, &[]),
            Event::Request | Event::Ack | Event::Provisional => (state, &[]),
            Event::Success | Event::Failure | Event::Rebuff => (state, &[]),
            Event::TimerG | Event::TimerH | Event::TimerL => (state, &[]),
        },
        State::Terminated => match event {
            Event::Request | Event::Ack | Event::Provisional => (state, &[]),
            Event::Success | Event::Failure | Event::Rebuff => (state, &[]),
            Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL => (state, &[]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &[State] =
        &[State::Proceeding, State::Accepted, State::Completed, State::Confirmed, State::Terminated];
    const EVENTS: &[Event] = &[
        Event::Request,
        Event::Ack,
        Event::Provisional,
        Event::Success,
        Event::Failure,
        Event::Rebuff,
        Event::TimerG,
        Event::TimerH,
        Event::TimerI,
        Event::TimerL,
    ];
    const TABLE: &str = "\
Proceeding + Request -> Proceeding: Repeat
Proceeding + Provisional -> Proceeding: Send
Proceeding + Success -> Accepted: Send Start(L)
Proceeding + Failure -> Completed: Send Start(G) Start(H)
Proceeding + Rebuff -> Completed: Send Start(H)
Proceeding ignores Ack TimerG TimerH TimerI TimerL
Accepted + Ack -> Accepted: DeliverAck
Accepted + Success -> Accepted: Send
Accepted + TimerL -> Terminated
Accepted ignores Request Provisional Failure Rebuff TimerG TimerH TimerI
Completed + Request -> Completed: Repeat
Completed + Ack -> Confirmed: Stop Start(I)
Completed + TimerG -> Completed: Repeat Start(G)
Completed + TimerH -> Terminated: AckMissing
Completed ignores Provisional Success Failure Rebuff TimerI TimerL
Confirmed + TimerI -> Terminated
Confirmed ignores Request Ack Provisional Success Failure Rebuff TimerG TimerH TimerL
Terminated ignores Request Ack Provisional Success Failure Rebuff TimerG TimerH TimerI TimerL
";

    #[test]
    fn every_state_and_event() {
        assert_eq!(crate::transaction::tests::table(STATES, EVENTS, step), TABLE);
    }
}
