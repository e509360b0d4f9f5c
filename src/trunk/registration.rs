//! Our registration at a trunk that wants one (RFC 3261 §10.2): when to send REGISTER, where, and what its answer means.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use smallvec::SmallVec;

use super::TargetId;
use crate::base::{Instant, Rng};
use crate::transport::{ConnId, Flow, Place};

/// What we ask for first.
const WANTED: Duration = Duration::from_secs(3600);
/// However short or long the registrar makes it, it is renewed within these bounds.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(86_400);
/// The pause after a failure: the first, doubled up to the last (RFC 5626 §4.5 has 30 s and half an hour; callbacks cannot
/// wait that long).
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// An answer is given up after this: Timer F and a little (RFC 3261 §17.1.2.2).
const PATIENCE: Duration = Duration::from_secs(35);
/// How long a drain waits for the answer to the last REGISTER.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked yet, or no answer has come.
    Trying,
    Registered {
        expires_at: Instant,
    },
    /// Refused, or unanswered; tried again.
    Failed,
    /// Taken back at the end of the daemon.
    Ended,
}

/// What became of a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// For how long.
    Granted(Duration),
    /// 423: not for less than this (§10.2.8).
    TooBrief(Duration),
    /// Another final response.
    Refused(u16),
    /// No answer (408), or no way there (503).
    Lost(u16),
}

/// A REGISTER to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    pub target: TargetId,
    pub place: Place,
    /// Zero takes the registration back.
    pub expires: Duration,
    pub call_id: CompactString,
    pub cseq: u32,
}

/// The registration at one trunk.
pub(super) struct Registration {
    pub standing: Standing,
    pub last_status: Option<u16>,
    /// The flow it was made over: calls that come over it are the trunk's.
    pub flow: Option<Flow>,
    call_id: CompactString,
    cseq: u32,
    wanted: Duration,
    failures: u32,
    /// Where the last REGISTER went, and where it has failed since one place after the other has its turn.
    asked: Option<Place>,
    failed_at: SmallVec<[Place; 2]>,
    /// Connections it was made over and that were lost, one after the other.
    losses: u32,
    /// When to send the next REGISTER, or give up on the last.
    due: Instant,
    is_leaving: bool,
}

impl Registration {
    pub fn new(now: Instant) -> Self {
        Self {
            standing: Standing::Trying,
            last_status: None,
            flow: None,
            call_id: CompactString::default(),
            cseq: 0,
            wanted: WANTED,
            failures: 0,
            asked: None,
            failed_at: SmallVec::new(),
            losses: 0,
            due: now,
            is_leaving: false,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.standing {
            Standing::Registered { expires_at } => Some(self.due.min(expires_at)),
            Standing::Trying | Standing::Failed => Some(self.due),
            Standing::Ended => None,
        }
    }

    /// The next REGISTER when it is time; `places` are those of the trunk, the best first.
    pub fn next(&mut self, now: Instant, rng: &mut Rng, places: &[(TargetId, Place)]) -> Option<Register> {
        if let Standing::Registered { expires_at } = self.standing
            && expires_at <= now
        {
            (self.standing, self.flow) = (Standing::Trying, None);
        }
        if self.due > now || self.standing == Standing::Ended {
            return None;
        }
        if self.is_leaving && (self.due != Instant::default() || self.flow.is_none()) {
            self.standing = Standing::Ended;
            return None;
        }
        self.due = now + if self.is_leaving { FAREWELL } else { PATIENCE };
        let Some((target, place)) = self.choose(places) else {
            self.due = now + FIRST_PAUSE;
            return None;
        };
        self.asked = Some(place);
        self.cseq = self.cseq.saturating_add(1);
        if self.call_id.is_empty() {
            self.call_id = format_compact!("g{:016x}{:016x}", rng.u64(), rng.u64());
        }
        let expires = if self.is_leaving { Duration::ZERO } else { self.wanted };
        Some(Register { target, place, expires, call_id: self.call_id.clone(), cseq: self.cseq })
    }

    /// Where it stands it is renewed; after a failure each of the other places has its turn, whatever becomes of their order.
    fn choose(&mut self, places: &[(TargetId, Place)]) -> Option<(TargetId, Place)> {
        let renewed = self.flow.map(|flow| Place { protocol: flow.protocol, remote: flow.remote });
        let stays = places.iter().find(|(_, place)| Some(*place) == renewed).filter(|_| self.failures == 0);
        self.failed_at.retain(|failed| places.iter().any(|(_, place)| place == failed));
        if places.iter().all(|(_, place)| self.failed_at.contains(place)) {
            self.failed_at.clear();
        }
        stays.or_else(|| places.iter().find(|(_, place)| !self.failed_at.contains(place))).copied()
    }

    /// The number of a REGISTER that was sent again with credentials.
    pub fn counted(&mut self, cseq: u32) {
        self.cseq = self.cseq.max(cseq);
    }

    pub fn over(&mut self, now: Instant, rng: &mut Rng, flow: Option<Flow>, outcome: Outcome) {
        if self.is_leaving {
            (self.standing, self.flow) = (Standing::Ended, None);
            return;
        }
        match outcome {
            Outcome::Granted(expires) => {
                let expires = expires.clamp(SHORTEST, LONGEST);
                self.standing = Standing::Registered { expires_at: now + expires };
                // Renewed over the connection it was made over: that one lasts.
                self.losses = if self.flow == flow { 0 } else { self.losses };
                (self.last_status, self.flow, self.failures) = (Some(200), flow, 0);
                self.failed_at.clear();
                self.due = now + expires * 3 / 4;
            }
            Outcome::TooBrief(least) if least > self.wanted && least <= LONGEST => {
                let is_first = self.wanted == WANTED;
                self.wanted = least;
                // One that wants more each time gets it as slowly as one that refuses.
                if is_first { self.due = now } else { self.failed(now, rng, 423) }
            }
            Outcome::TooBrief(_) => self.failed(now, rng, 423),
            Outcome::Refused(status) | Outcome::Lost(status) => self.failed(now, rng, status),
        }
    }

    fn failed(&mut self, now: Instant, rng: &mut Rng, status: u16) {
        self.last_status = Some(status);
        // A registration that still runs is not over for a renewal that failed.
        if !matches!(self.standing, Standing::Registered { expires_at } if expires_at > now) {
            (self.standing, self.flow) = (Standing::Failed, None);
        }
        self.failed_at.extend(self.asked);
        let pause = doubled(FIRST_PAUSE, self.failures);
        self.failures = self.failures.saturating_add(1);
        let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX);
        self.due = now + pause / 2 + Duration::from_millis(rng.below(half));
    }

    /// The connection it was made over is gone: it is made anew, and calls find us again; not at once for ever, where every
    /// connection is closed.
    pub fn connection_lost(&mut self, now: Instant, connection: ConnId) {
        if self.flow.is_some_and(|flow| flow.connection == Some(connection)) {
            self.due = self.due.min(now + doubled(FIRST_PAUSE / 5, self.losses));
            self.losses = self.losses.saturating_add(1);
        }
    }

    /// The account, or where it is, has changed: it is made anew at once, and what stands counts until then.
    pub fn begin_anew(&mut self, now: Instant) {
        if !self.is_leaving {
            (self.due, self.failures, self.wanted) = (now, 0, WANTED);
            self.call_id = CompactString::default();
            self.failed_at.clear();
        }
    }

    /// Takes the registration back; what was never made is over at once.
    pub fn leave(&mut self) {
        if !self.is_leaving {
            (self.is_leaving, self.due) = (true, Instant::default());
            if self.flow.is_none() {
                self.standing = Standing::Ended;
            }
        }
    }
}

/// `first` times two for each one before, up to the last pause.
fn doubled(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(10)).min(LAST_PAUSE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use slotmap::SlotMap;

    use super::*;
    use crate::base::Protocol;
    use crate::transport::ListenerId;

    const START: Instant = Instant::from_millis(1_700_000_000_000);

    fn after(seconds: u64) -> Instant {
        START + Duration::from_secs(seconds)
    }

    fn place(port: u16) -> Place {
        Place { protocol: Protocol::Udp, remote: ([10, 0, 0, 1], port).into() }
    }

    fn flow(place: Place) -> Flow {
        Flow { protocol: place.protocol, listener: ListenerId(0), remote: place.remote, connection: None }
    }

    struct Bench {
        registration: Registration,
        rng: Rng,
        places: Vec<(TargetId, Place)>,
    }

    impl Bench {
        fn new() -> Self {
            let rng = Rng::from_u64(1);
            let mut ids: SlotMap<TargetId, ()> = SlotMap::default();
            let places = vec![(ids.insert(()), place(5060)), (ids.insert(()), place(5061))];
            Self { registration: Registration::new(START), rng, places }
        }

        fn next(&mut self, now: Instant) -> Option<(u16, u64, u32)> {
            let next = self.registration.next(now, &mut self.rng, &self.places)?;
            Some((next.place.remote.port(), next.expires.as_secs(), next.cseq))
        }

        fn over(&mut self, now: Instant, port: u16, outcome: Outcome) {
            self.registration.over(now, &mut self.rng, Some(flow(place(port))), outcome);
        }
    }

    #[test]
    fn it_is_renewed_before_it_ends_and_where_it_stands() {
        let mut bench = Bench::new();
        assert_eq!(bench.next(START), Some((5060, 3600, 1)));
        assert_eq!(bench.next(START), None, "one at a time");
        bench.over(START, 5060, Outcome::Granted(Duration::from_secs(100)));
        assert_eq!(bench.registration.standing, Standing::Registered { expires_at: after(100) });
        assert_eq!((bench.registration.deadline(), bench.next(after(74))), (Some(after(75)), None));
        assert_eq!(bench.next(after(75)), Some((5060, 3600, 2)));
        // A renewal that fails leaves it standing until it ends.
        bench.over(after(76), 5060, Outcome::Lost(408));
        assert_eq!(bench.registration.standing, Standing::Registered { expires_at: after(100) });
        assert_eq!(bench.next(after(82)), Some((5061, 3600, 3)), "the other place has its turn");
        bench.over(after(101), 5061, Outcome::Refused(503));
        assert_eq!((bench.registration.standing, bench.registration.flow), (Standing::Failed, None));
    }

    #[test]
    fn it_backs_off_and_comes_back() {
        let mut bench = Bench::new();
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..12 {
            bench.next(now).unwrap();
            bench.over(now, 5060, Outcome::Refused(403));
            let next = bench.registration.deadline().unwrap();
            waits.push(next.since(now).as_millis());
            now = next;
        }
        assert!((2_500..=5_000).contains(&waits[0]) && waits[11] <= 300_000 && waits[11] >= 150_000, "{waits:?}");
        bench.next(now).unwrap();
        bench.over(now, 5060, Outcome::Granted(Duration::from_secs(1)));
        assert_eq!(bench.registration.standing, Standing::Registered { expires_at: now + SHORTEST });
    }

    #[test]
    fn too_brief_asks_for_longer_once() {
        let mut bench = Bench::new();
        bench.next(START).unwrap();
        bench.over(START, 5060, Outcome::TooBrief(Duration::from_secs(7200)));
        assert_eq!(bench.next(START), Some((5060, 7200, 2)));
        bench.over(START, 5060, Outcome::TooBrief(Duration::from_secs(7200)));
        assert_eq!((bench.registration.standing, bench.registration.last_status), (Standing::Failed, Some(423)));
        bench.over(START, 5060, Outcome::TooBrief(Duration::from_secs(u64::MAX / 2)));
        assert_eq!(bench.registration.standing, Standing::Failed);
    }

    #[test]
    fn it_is_taken_back_and_not_waited_for_for_long() {
        let mut bench = Bench::new();
        bench.next(START).unwrap();
        bench.over(START, 5060, Outcome::Granted(Duration::from_secs(100)));
        bench.registration.leave();
        assert_eq!(bench.next(after(1)), Some((5060, 0, 2)));
        bench.registration.leave();
        assert_eq!((bench.next(after(2)), bench.registration.standing == Standing::Ended), (None, false));
        assert_eq!((bench.next(after(3)), bench.registration.standing), (None, Standing::Ended));
        assert_eq!(bench.registration.deadline(), None);
        let mut never = Bench::new();
        never.registration.leave();
        assert_eq!(never.registration.standing, Standing::Ended);
    }
}
