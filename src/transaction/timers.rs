//! How long each timer runs (RFC 3261 table 4, RFC 6026 §8.7) and which are running, with lazy cancelling.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ClientId, ServerId};
use crate::base::Instant;

/// The three base values of RFC 3261 §17.1.1.1 that all timers derive from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round trip time.
    pub t1: Duration,
    /// Longest wait between two retransmissions of a non-INVITE request or of a final response to an INVITE.
    pub t2: Duration,
    /// Longest time a message stays in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// The timers of RFC 3261 table 4 and RFC 6026, and two that the RFCs ask for without a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    A,
    B,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    /// A cancelled INVITE still without a final response: given up after 64*T1 (RFC 3261 §9.1).
    Cancelled,
    /// A non-INVITE request not answered by us: its client gave up after 64*T1, and an answer would be of no use (RFC 4320 §4.2).
    Unanswered,
}

/// Ends of transactions of which no peer sees the exact time fall on multiples of this, so that one wake-up ends many.
const LINGER_TICK_MICROS: u64 = 250_000;
/// Timer D on unreliable transports (RFC 3261 §17.1.1.2).
const TIMER_D: Duration = Duration::from_secs(32);

impl Timers {
    /// How long a request waits for its final response: 64*T1, the value of timers B, F, H, J, L and M.
    pub fn lifetime(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// The wait of `timer`, for retransmission timers after `repeats` repetitions; `None` when it does not run on a reliable
    /// transport, zero when it fires at once there (RFC 3261 table 4).
    pub(super) fn wait(&self, timer: Timer, reliable: bool, repeats: u8) -> Option<Duration> {
        let doubled = self.t1.saturating_mul(1u32.checked_shl(repeats.into()).unwrap_or(u32::MAX));
        let unreliable = |wait: Duration| if reliable { Duration::ZERO } else { wait };
        match timer {
            Timer::A => (!reliable).then_some(doubled), // RFC 3261 §17.1.1.2: no cap
            Timer::E | Timer::G => (!reliable).then_some(doubled.min(self.t2)),
            Timer::B | Timer::F | Timer::H | Timer::L | Timer::M | Timer::Cancelled | Timer::Unanswered => {
                Some(self.lifetime())
            }
            Timer::D => Some(unreliable(TIMER_D.max(self.lifetime()))),
            Timer::I | Timer::K => Some(unreliable(self.t4)),
            Timer::J => Some(unreliable(self.lifetime())),
        }
    }
}

impl Timer {
    /// Retransmission timers run beside the one that ends the state.
    pub(super) const fn repeats(self) -> bool {
        match self {
            Self::A | Self::E | Self::G => true,
            Self::B | Self::D | Self::F | Self::H | Self::I | Self::J | Self::K | Self::L | Self::M => false,
            Self::Cancelled | Self::Unanswered => false,
        }
    }

    /// True for timers that only keep a finished transaction to absorb repetitions: later does no harm.
    const fn lingers(self) -> bool {
        match self {
            Self::D | Self::I | Self::J | Self::K | Self::L | Self::M | Self::Unanswered => true,
            Self::A | Self::B | Self::E | Self::F | Self::G | Self::H | Self::Cancelled => false,
        }
    }
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Client(ClientId),
    Server(ServerId),
}

/// A timer in the agenda. Ordered by time, then by the order in which they were started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    at: Instant,
    sequence: u64,
    pub whose: Whose,
    pub timer: Timer,
}

/// The two timers a transaction can have running, by their sequence in the agenda; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    repeat: u64,
    end: u64,
}

impl Running {
    /// True when `due` was neither stopped nor replaced since it was started.
    pub fn is(&self, due: &Due) -> bool {
        due.sequence == if due.timer.repeats() { self.repeat } else { self.end }
    }

    pub fn stop(&mut self) {
        *self = Self::default();
    }
}

/// All timers of all transactions: a queue for every length of time there is.
///
/// What waits equally long falls due in the order in which it was started, so a queue is always sorted: a timer costs the same
/// however many run, and thousands that are stopped before they fire are skipped one after the other.
#[derive(Default)]
pub(super) struct Agenda {
    queues: Vec<Queue>,
    started: u64,
}

struct Queue {
    wait: Duration,
    lingers: bool,
    timers: VecDeque<Due>,
}

impl Agenda {
    /// Starts `timer` to fire after `wait`, in place of the one of its kind that runs. `now` never goes back.
    pub fn start(&mut self, running: &mut Running, now: Instant, wait: Duration, whose: Whose, timer: Timer) {
        let (exact, lingers) = (now + wait, timer.lingers());
        let at = if lingers {
            Instant::from_micros(exact.as_micros().div_ceil(LINGER_TICK_MICROS).saturating_mul(LINGER_TICK_MICROS))
        } else {
            exact
        };
        self.started += 1;
        let sequence = self.started;
        if timer.repeats() {
            running.repeat = sequence;
        } else {
            running.end = sequence;
        }
        let due = Due { at, sequence, whose, timer };
        match self.queues.iter_mut().find(|queue| queue.wait == wait && queue.lingers == lingers) {
            Some(queue) => queue.timers.push_back(due),
            None => self.queues.push(Queue { wait, lingers, timers: VecDeque::from([due]) }),
        }
    }

    /// Takes the next timer that is due; it may have been stopped since.
    pub fn pop(&mut self, now: Instant) -> Option<Due> {
        let due = |queue: &&mut Queue| queue.timers.front().is_some_and(|due| due.at <= now);
        self.queues.iter_mut().filter(due).min_by_key(|queue| queue.timers.front().copied())?.timers.pop_front()
    }

    /// The time of the first timer that `is_live`; those before it that are not are thrown away.
    pub fn next(&mut self, is_live: impl Fn(&Due) -> bool) -> Option<Instant> {
        let first = |queue: &mut Queue| {
            while let Some(due) = queue.timers.front() {
                if is_live(due) {
                    return Some(due.at);
                }
                queue.timers.pop_front();
            }
            None
        };
        self.queues.iter_mut().filter_map(first).min()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.timers.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_table_4() {
        let timers = Timers::default();
        let seconds = Duration::from_secs;
        let udp = |timer, repeats| timers.wait(timer, false, repeats);
        assert_eq!(udp(Timer::A, 0), Some(timers.t1));
        assert_eq!(udp(Timer::A, 5), Some(seconds(16)), "no cap");
        assert_eq!(udp(Timer::E, 3), Some(seconds(4)));
        assert_eq!(udp(Timer::E, u8::MAX), Some(seconds(4)), "capped at T2");
        assert_eq!(udp(Timer::G, 200), Some(seconds(4)));
        for timer in [Timer::B, Timer::F, Timer::H, Timer::J, Timer::L, Timer::M, Timer::D, Timer::Cancelled] {
            assert_eq!(udp(timer, 0), Some(seconds(32)), "{timer:?}");
        }
        assert_eq!((udp(Timer::I, 0), udp(Timer::K, 0)), (Some(seconds(5)), Some(seconds(5))));
    }

    #[test]
    fn tx_13_reliable_transport() {
        let timers = Timers::default();
        for timer in [Timer::A, Timer::E, Timer::G] {
            assert_eq!(timers.wait(timer, true, 0), None, "{timer:?} does not run");
        }
        for timer in [Timer::D, Timer::I, Timer::J, Timer::K] {
            assert_eq!(timers.wait(timer, true, 0), Some(Duration::ZERO), "{timer:?}");
        }
        for timer in [Timer::B, Timer::F, Timer::H, Timer::L, Timer::M] {
            assert_eq!(timers.wait(timer, true, 0), Some(timers.lifetime()), "{timer:?}");
        }
    }

    #[test]
    fn a_restarted_timer_replaces_the_one_before_it() {
        let (mut agenda, mut running) = (Agenda::default(), Running::default());
        let whose = Whose::Client(ClientId::default());
        let start = Instant::from_micros(0);
        agenda.start(&mut running, start, Duration::from_millis(10), whose, Timer::B);
        agenda.start(&mut running, start, Duration::from_millis(20), whose, Timer::Cancelled);
        assert_eq!(agenda.next(|due| running.is(due)), Some(Instant::from_millis(20)));
        assert_eq!(agenda.pop(Instant::from_millis(19)), None);
        assert_eq!(agenda.pop(Instant::from_millis(20)).map(|due| due.timer), Some(Timer::Cancelled));
        assert_eq!(agenda.len(), 0);
    }

    #[test]
    fn lingering_ends_share_a_tick() {
        let (mut agenda, mut running) = (Agenda::default(), Running::default());
        let whose = Whose::Server(ServerId::default());
        agenda.start(&mut running, Instant::from_micros(1), Duration::from_secs(5), whose, Timer::I);
        assert_eq!(agenda.next(|_| true), Some(Instant::from_millis(5_250)));
    }
}
