//! The outbox of the webhook: which notice is posted next, and what follows from its answer (SPEC §9).
//!
//! In order for each call: a notice waits until the one before it is acknowledged or given up. Other calls do not wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::admin::{Notice, NoticeEvent, NoticeState, Stamp};
use crate::base::{Instant, Rng, limits};

/// Between two tries of one notice: the first pause, doubled up to the last. A random part of up to half is taken off.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(300);

/// All notices that are kept: those that wait, and those whose fate records tell.
pub(super) struct Notices {
    entry_by_seq: BTreeMap<u64, Entry>,
    /// What is in order with each other, oldest first.
    seqs_by_about: BTreeMap<CompactString, SmallVec<[u64; 4]>>,
    /// The first of each order that waits for its time.
    due: BTreeSet<(Instant, u64)>,
    /// Posted, and not answered.
    posted: BTreeSet<u64>,
    /// Acknowledged or given up.
    settled: BTreeSet<u64>,
    last: u64,
    /// What the store has to be told.
    changed: BTreeSet<u64>,
    /// The webhook did not take the last one.
    is_failing: bool,
    bound: usize,
}

struct Entry {
    notice: Notice,
    pause: Duration,
    /// In `due` with this time.
    due: Option<Instant>,
    /// The webhook was there and did not want it.
    refused: bool,
}

/// What an answer has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// `back`: the first after failures.
    Delivered {
        back: bool,
    },
    /// `news`: the first failure after deliveries.
    Failed {
        news: bool,
    },
    GivenUp,
    /// It is no longer kept.
    Unknown,
}

impl Notices {
    /// With those that the store has kept; what waits is tried at once.
    pub fn new(kept: Vec<Notice>, now: Instant) -> Self {
        let mut notices = Self {
            entry_by_seq: BTreeMap::new(),
            seqs_by_about: BTreeMap::new(),
            due: BTreeSet::new(),
            posted: BTreeSet::new(),
            settled: BTreeSet::new(),
            last: 0,
            changed: BTreeSet::new(),
            is_failing: false,
            bound: limits::NOTICES,
        };
        for notice in kept {
            notices.last = notices.last.max(notice.seq);
            notices.insert(notice, now);
        }
        notices.changed.clear();
        notices
    }

    /// Numbers to come are beyond `last`, whatever the store has that cannot be read.
    pub fn begin_after(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// Takes back those that the store kept and could not be asked for at start.
    pub fn recall(&mut self, kept: Vec<Notice>, now: Instant) {
        for notice in kept {
            let seq = notice.seq;
            if !self.entry_by_seq.contains_key(&seq) {
                self.last = self.last.max(seq);
                self.insert(notice, now);
                self.changed.remove(&seq);
            }
        }
    }

    /// Takes a new one in; those that had to make room for it are returned, unless their fate was settled.
    pub fn add(&mut self, now: Instant, event: NoticeEvent, about: &str, body: String) -> Vec<Notice> {
        let mut dropped = Vec::new();
        while self.entry_by_seq.len() >= self.bound {
            let Some(notice) = self.make_room(now) else { break };
            dropped.extend(Some(notice).filter(|notice| notice.state == NoticeState::Pending));
        }
        self.last += 1;
        let state = NoticeState::Pending;
        let at_ms = now.as_millis();
        let about = about.into();
        let notice = Notice { seq: self.last, event, about, at_ms, state, attempts: 0, delivered_at: None, body };
        self.insert(notice, now);
        dropped
    }

    /// The next one to post.
    pub fn post(&mut self, now: Instant) -> Option<(u64, String)> {
        let &(at, seq) = self.due.first().filter(|_| self.posted.len() < limits::NOTICES_AT_ONCE)?;
        let entry = self.entry_by_seq.get_mut(&seq).filter(|_| at <= now)?;
        self.due.remove(&(at, seq));
        entry.due = None;
        self.posted.insert(seq);
        Some((seq, entry.notice.body.clone()))
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.first().filter(|_| self.posted.len() < limits::NOTICES_AT_ONCE).map(|(at, _)| *at)
    }

    /// The webhook has answered, or could not be reached (`None`).
    pub fn answered(
        &mut self,
        (now, wall): (Instant, Stamp),
        rng: &mut Rng,
        give_up: Duration,
        seq: u64,
        status: Option<u16>,
    ) -> Fate {
        self.posted.remove(&seq);
        let Some(entry) = self.entry_by_seq.get_mut(&seq) else { return Fate::Unknown };
        self.changed.insert(seq);
        entry.notice.attempts = entry.notice.attempts.saturating_add(1);
        let is_taken = matches!(status, Some(200..=299));
        let was_failing = std::mem::replace(&mut self.is_failing, !is_taken);
        if is_taken {
            entry.notice.delivered_at = Some(wall);
            self.settle(seq, NoticeState::Delivered, now);
            if was_failing {
                self.hurry(now);
            }
            return Fate::Delivered { back: was_failing };
        }
        if now.since(Instant::from_millis(entry.notice.at_ms)) >= give_up {
            self.settle(seq, NoticeState::GivenUp, now);
            return Fate::GivenUp;
        }
        entry.refused = matches!(status, Some(400..=499));
        let millis = u64::try_from(entry.pause.as_millis()).unwrap_or(u64::MAX);
        let at = now + Duration::from_millis(millis - rng.below(millis / 2 + 1));
        entry.pause = (entry.pause * 2).min(LAST_PAUSE);
        entry.due = Some(at);
        self.due.insert((at, seq));
        Fate::Failed { news: !was_failing }
    }

    pub fn event(&self, seq: u64) -> Option<NoticeEvent> {
        self.entry_by_seq.get(&seq).map(|entry| entry.notice.event)
    }

    /// How those about a call fared, oldest first.
    pub fn about<'a>(&'a self, about: &str) -> impl Iterator<Item = &'a Notice> {
        let seqs = self.seqs_by_about.get(about).into_iter().flatten();
        seqs.filter_map(|seq| self.entry_by_seq.get(seq)).map(|entry| &entry.notice)
    }

    /// Those that nobody has acknowledged.
    pub fn waiting(&self) -> usize {
        self.entry_by_seq.len() - self.settled.len()
    }

    /// What has changed since the last time; `Err`: it is kept no more.
    pub fn take_changes(&mut self) -> Vec<Result<Notice, u64>> {
        let changed = std::mem::take(&mut self.changed);
        let now = |seq| self.entry_by_seq.get(&seq).map(|entry| entry.notice.clone()).ok_or(seq);
        changed.into_iter().map(now).collect()
    }

    fn insert(&mut self, notice: Notice, now: Instant) {
        let (seq, about) = (notice.seq, notice.about.clone());
        if notice.state != NoticeState::Pending {
            self.settled.insert(seq);
        }
        self.entry_by_seq.insert(seq, Entry { notice, pause: FIRST_PAUSE, due: None, refused: false });
        self.seqs_by_about.entry(about.clone()).or_default().push(seq);
        self.changed.insert(seq);
        self.line_up(&about, now);
    }

    /// Puts the first that waits of an order among those that are due.
    fn line_up(&mut self, about: &str, now: Instant) {
        let seqs = self.seqs_by_about.get(about).into_iter().flatten();
        let Some(&first) = seqs.into_iter().find(|seq| !self.settled.contains(seq)) else { return };
        let Some(entry) = self.entry_by_seq.get_mut(&first) else { return };
        if entry.due.is_none() && !self.posted.contains(&first) {
            entry.due = Some(now);
            self.due.insert((now, first));
        }
    }

    fn settle(&mut self, seq: u64, state: NoticeState, now: Instant) {
        let Some(entry) = self.entry_by_seq.get_mut(&seq) else { return };
        entry.notice.state = state;
        entry.notice.body = String::new();
        self.settled.insert(seq);
        let about = entry.notice.about.clone();
        self.line_up(&about, now);
    }

    /// The webhook is back: what waited for that is tried now. What it refused is not.
    fn hurry(&mut self, now: Instant) {
        for (at, seq) in std::mem::take(&mut self.due) {
            let Some(entry) = self.entry_by_seq.get_mut(&seq) else { continue };
            let at = if entry.refused { at } else { at.min(now) };
            entry.due = Some(at);
            self.due.insert((at, seq));
        }
    }

    /// Forgets the oldest that is settled, else the oldest that is of no emergency, else the oldest.
    fn make_room(&mut self, now: Instant) -> Option<Notice> {
        let is_minor = |(_, entry): &(&u64, &Entry)| {
            !matches!(entry.notice.event, NoticeEvent::EmergencyCall | NoticeEvent::EmergencyRefused)
        };
        let minor = || self.entry_by_seq.iter().find(is_minor).map(|(seq, _)| *seq);
        let oldest = || self.entry_by_seq.first_key_value().map(|(seq, _)| *seq);
        let seq = self.settled.first().copied().or_else(minor).or_else(oldest)?;
        let Entry { notice, due, .. } = self.entry_by_seq.remove(&seq)?;
        self.settled.remove(&seq);
        if let Some(at) = due {
            self.due.remove(&(at, seq));
        }
        if let Some(seqs) = self.seqs_by_about.get_mut(&notice.about) {
            seqs.retain(|kept| *kept != seq);
            if seqs.is_empty() {
                self.seqs_by_about.remove(&notice.about);
            }
        }
        self.changed.insert(seq);
        self.line_up(&notice.about, now);
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn empty() -> Notices {
        Notices::new(Vec::new(), at(0))
    }

    fn add(notices: &mut Notices, about: &str) -> usize {
        notices.add(at(0), NoticeEvent::EmergencyCall, about, about.to_owned()).len()
    }

    fn answer(notices: &mut Notices, now: Instant, seq: u64, status: Option<u16>) -> Fate {
        notices.answered((now, Stamp::new(now, 0)), &mut Rng::from_u64(1), DAY, seq, status)
    }

    #[test]
    fn a_call_is_told_in_order_and_others_do_not_wait() {
        let mut notices = empty();
        for about in ["a", "a", "b"] {
            add(&mut notices, about);
        }
        let posted = |notices: &mut Notices, now| notices.post(now).map(|(seq, _)| seq);
        assert_eq!(posted(&mut notices, at(0)), Some(1));
        assert_eq!(posted(&mut notices, at(0)), Some(3));
        assert_eq!(posted(&mut notices, at(0)), None);
        assert_eq!(answer(&mut notices, at(0), 1, Some(500)), Fate::Failed { news: true });
        assert_eq!(posted(&mut notices, at(0)), None);
        assert_eq!(posted(&mut notices, at(1)), Some(1));
        assert_eq!(answer(&mut notices, at(1), 1, Some(204)), Fate::Delivered { back: true });
        assert_eq!(posted(&mut notices, at(1)), Some(2));
        assert_eq!(answer(&mut notices, at(1), 3, Some(200)), Fate::Delivered { back: false });
        assert_eq!(notices.waiting(), 1);
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_end_after_a_day() {
        let mut notices = empty();
        add(&mut notices, "a");
        let (mut now, mut longest, mut tries) = (at(0), Duration::ZERO, 0);
        loop {
            assert!(notices.post(now).is_some());
            tries += 1;
            if answer(&mut notices, now, 1, Some(404)) == Fate::GivenUp {
                break;
            }
            let due = notices.next_deadline().unwrap_or_default();
            longest = longest.max(due.since(now));
            now = due;
        }
        assert!(longest <= LAST_PAUSE && longest > LAST_PAUSE / 2);
        assert!((280..=600).contains(&tries), "{tries}");
        assert!(now.since(at(0)) >= DAY && notices.waiting() == 0 && notices.next_deadline().is_none());
    }

    #[test]
    fn when_the_webhook_is_back_what_it_did_not_refuse_is_tried_at_once() {
        let mut notices = empty();
        for (about, status) in [("a", None), ("b", Some(503)), ("c", Some(422))] {
            add(&mut notices, about);
            let seq = notices.post(at(0)).map_or(0, |(seq, _)| seq);
            answer(&mut notices, at(0), seq, status);
        }
        add(&mut notices, "d");
        assert_eq!(notices.post(at(0)).map(|(seq, _)| seq), Some(4));
        answer(&mut notices, at(0), 4, Some(200));
        let mut tried = Vec::new();
        while let Some((seq, _)) = notices.post(at(0)) {
            tried.push(seq);
        }
        assert_eq!(tried, [1, 2]);
    }

    #[test]
    fn at_the_bound_the_told_go_first_then_what_is_no_emergency() {
        let mut notices = empty();
        notices.bound = 3;
        add(&mut notices, "told");
        notices.post(at(0));
        answer(&mut notices, at(0), 1, Some(200));
        add(&mut notices, "a");
        notices.add(at(0), NoticeEvent::CallEnded, "b", String::new());
        assert_eq!(add(&mut notices, "c"), 0);
        assert_eq!(
            notices.add(at(0), NoticeEvent::EmergencyCall, "d", String::new()).first().map(|gone| gone.seq),
            Some(3)
        );
        assert_eq!(
            notices.add(at(0), NoticeEvent::EmergencyCall, "e", String::new()).first().map(|gone| gone.seq),
            Some(2)
        );
        assert_eq!(notices.waiting(), 3);
        assert!(notices.seqs_by_about.len() == 3 && notices.due.len() == 3);
        let forgotten: Vec<_> = notices.take_changes().into_iter().filter_map(Result::err).collect();
        assert_eq!(forgotten, [1, 2, 3]);
    }

    #[test]
    fn no_more_are_posted_at_once_than_the_bound() {
        let mut notices = empty();
        for about in 0..limits::NOTICES_AT_ONCE + 1 {
            add(&mut notices, &about.to_string());
        }
        let posted = std::iter::from_fn(|| notices.post(at(0))).count();
        assert_eq!((posted, notices.next_deadline()), (limits::NOTICES_AT_ONCE, None));
        answer(&mut notices, at(0), 1, None);
        assert_eq!(notices.next_deadline(), Some(at(0)));
    }

    #[test]
    fn what_the_store_kept_goes_on_where_it_was() {
        let mut notices = empty();
        for about in ["a", "a", "b"] {
            add(&mut notices, about);
        }
        notices.post(at(0));
        answer(&mut notices, at(0), 1, Some(200));
        let kept = notices.take_changes().into_iter().filter_map(Result::ok).collect();
        let mut again = Notices::new(kept, at(9));
        assert!(again.take_changes().is_empty());
        assert_eq!(again.about("a").map(|notice| notice.attempts).collect::<Vec<_>>(), [1, 0]);
        let posted: Vec<_> = std::iter::from_fn(|| again.post(at(9))).map(|(seq, _)| seq).collect();
        assert_eq!(posted, [2, 3]);
        add(&mut again, "c");
        assert_eq!(again.last, 4);
    }
}
