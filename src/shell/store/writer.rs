//! The writer thread: when to commit, what to do when it fails.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::batch::Batch;
use super::engine::Engine;
use super::neighbourhood::{Neighbourhood, Sign};
use super::shares::{self, Division, Range};
use super::{Done, Shared, Waiting, share};
use crate::lease::Neighbour;
use crate::node::rows::{StoreFault, StoreSin, WriteId};
use crate::shell::clock::NodeClock;

/// Rows that are not urgent wait for company no longer than this.
const PATIENCE: Duration = Duration::from_millis(200);
/// Commits begin at least this far apart: alone a row waits for nothing, under load several share a commit.
/// A commit costs the disk as much for one row as for fifty, and a call set up 20 ms later is no later to a person.
const LINGER: Duration = Duration::from_millis(20);
/// The clock is stored with a commit when the stored one is older than this,
const CLOCK_WITH_COMMIT: Duration = Duration::from_secs(1);
/// and alone when it is older than this.
const CLOCK_ALONE: Duration = Duration::from_secs(5);
/// Old records are deleted so many at a time: a lease that comes meanwhile waits for less than a commit.
const DELETED_AT_ONCE: usize = 50;
/// Between two such deletions: while there are more, and when there were none.
const DELETE_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// How often the numbers are divided among the nodes of a database.
const DIVIDE_EVERY: Duration = Duration::from_secs(1);
/// Between attempts while the store fails; doubled every time.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the thread remembers between commits.
struct Writer<'a> {
    engine: Engine,
    clock: NodeClock,
    answers: &'a mpsc::Sender<Done>,
    last_commit: Instant,
    last_clock: Instant,
    /// When old records are looked for next.
    delete_at: Instant,
    /// `None`: all numbers are this node's.
    division: Option<Division>,
    /// When the numbers are divided anew.
    divide_at: Instant,
    /// The other nodes, as told last.
    neighbours: Vec<Neighbour>,
    /// The store fails: why, how long to wait between attempts, when to try again.
    failing: Option<(StoreFault, Duration, Instant)>,
}

/// Writes until the store is dropped. `fault`: what has kept it from that since the start.
pub(super) fn run(
    engine: Engine,
    division: Option<Division>,
    clock: NodeClock,
    shared: &Shared,
    answers: &mpsc::Sender<Done>,
    fault: Option<StoreFault>,
) {
    let last_commit = Instant::now();
    let mut writer = Writer {
        engine,
        clock,
        answers,
        last_commit,
        last_clock: last_commit,
        delete_at: last_commit,
        division,
        divide_at: last_commit + DIVIDE_EVERY,
        neighbours: Vec::new(),
        failing: fault.map(|fault| (fault, BACKOFF.0, last_commit)),
    };
    loop {
        let mut waiting = shared.lock();
        while let Some(pause) = writer.due(&waiting).checked_duration_since(Instant::now()) {
            if writer.failing.is_some() && !waiting.batch.writes.is_empty() {
                break;
            }
            let woken = shared.news.wait_timeout(waiting, pause);
            waiting = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        if let Some(fault) = writer.refusal(&waiting) {
            let writes = std::mem::take(&mut waiting.batch.writes);
            // Never answer with the lock held: the node may wait for the lock and not for answers.
            drop(waiting);
            writer.answer(writes, Err(fault));
            continue;
        }
        if writer.may_delete(&waiting) && writer.delete_at <= Instant::now() {
            let keep = waiting.keep_records;
            drop(waiting);
            writer.delete_records(keep);
            continue;
        }
        let (batch, stop) = (std::mem::take(&mut waiting.batch), waiting.stop);
        let pools = waiting.has_share.then(|| Arc::clone(&waiting.pools));
        let addresses = Arc::clone(&waiting.addresses);
        drop(waiting);
        let was_fenced = writer.is_fenced();
        match writer.commit(batch) {
            Some(failed) => shared.lock().batch.take_back(failed),
            None => writer.divide(pools.as_deref(), &addresses, shared),
        }
        if writer.is_fenced() && !was_fenced {
            writer.tell(Division::default(), shared);
        }
        if stop {
            return;
        }
    }
}

impl Writer<'_> {
    /// When the next commit begins.
    fn due(&self, waiting: &Waiting) -> Instant {
        if waiting.stop {
            return self.last_commit;
        }
        if let Some((_, _, again)) = &self.failing {
            return *again;
        }
        let clock = self.last_clock + CLOCK_ALONE;
        let rows = match waiting.batch.since {
            Some(_) if waiting.batch.urgent => self.last_commit + LINGER,
            Some(since) => since + PATIENCE,
            None => clock,
        };
        let clock = if self.division.is_some() { clock.min(self.divide_at) } else { clock };
        let due = rows.min(clock);
        if self.may_delete(waiting) { due.min(self.delete_at) } else { due }
    }

    /// Old records go when nothing else is to be done.
    fn may_delete(&self, waiting: &Waiting) -> bool {
        !waiting.keep_records.is_zero() && waiting.batch.is_empty() && !waiting.stop && self.failing.is_none()
    }

    /// `pools`: `None` while the node has not taken the last share.
    fn divide(&mut self, pools: Option<&[Vec<Range>]>, addresses: &str, shared: &Shared) {
        if self.division.is_none() || self.divide_at > Instant::now() {
            return;
        }
        self.divide_at = Instant::now() + DIVIDE_EVERY;
        let (Some(pools), Some(before)) = (pools, &self.division) else { return };
        let sign = Sign { addresses, clock: &self.clock.to_store() };
        match self.engine.divide(pools, &before.offer, sign) {
            Ok(Some(division)) => self.tell(division, shared),
            Ok(None) => {}
            // The next commit finds out, and says it.
            Err(fault) => return tracing::debug!(%fault, "the numbers are not divided anew"),
        }
        match self.engine.elsewhere() {
            Ok(seen) => self.tell_elsewhere(seen),
            Err(fault) => tracing::debug!(%fault, "what other nodes hold cannot be read"),
        }
    }

    fn tell_elsewhere(&mut self, seen: Neighbourhood) {
        if seen.rows.is_empty() && seen.nodes == self.neighbours {
            return;
        }
        self.neighbours.clone_from(&seen.nodes);
        let elsewhere = Some(seen.news());
        let _gone = self.answers.blocking_send(Done { elsewhere, ..Done::new(Vec::new(), self.fares()) });
    }

    /// How the store fares.
    fn fares(&self) -> Result<(), StoreFault> {
        self.failing.as_ref().map_or(Ok(()), |(fault, ..)| Err(fault.clone()))
    }

    /// Another daemon has the name: the numbers are no longer ours to give.
    fn is_fenced(&self) -> bool {
        self.failing.as_ref().is_some_and(|(fault, ..)| fault.sin == StoreSin::Fenced)
    }

    fn tell(&mut self, division: Division, shared: &Shared) {
        let Some(before) = self.division.replace(division.clone()) else { return };
        if before.share == division.share {
            return;
        }
        tracing::info!(numbers = shares::count(&division.share), "the share of this node in the pools has changed");
        shared.lock().has_share = false;
        let share = Some(share(&division.share));
        let _gone = self.answers.blocking_send(Done { share, ..Done::new(Vec::new(), self.fares()) });
    }

    fn delete_records(&mut self, keep: Duration) {
        let deleted = self.engine.delete_records(self.clock.wall_or_earlier_ms(), keep, DELETED_AT_ONCE);
        if let Err(fault) = &deleted {
            tracing::debug!(%fault, "old records cannot be deleted");
        }
        let (soon, later) = DELETE_EVERY;
        let is_more = deleted.is_ok_and(|deleted| deleted > 0);
        self.delete_at = Instant::now() + if is_more { soon } else { later };
    }

    /// While the store fails nobody is kept waiting: the answer is the fault, the rows stay for the next attempt.
    fn refusal(&self, waiting: &Waiting) -> Option<StoreFault> {
        let (fault, _, again) = self.failing.as_ref()?;
        let answerable = !waiting.batch.writes.is_empty() && !waiting.stop && *again > Instant::now();
        answerable.then(|| fault.clone())
    }

    /// Gives the batch back when it could not be written.
    fn commit(&mut self, mut batch: Batch) -> Option<Batch> {
        let writes = std::mem::take(&mut batch.writes);
        // After a fault only a write tells that the store is back.
        let clock = self.failing.is_some() || self.last_clock.elapsed() >= CLOCK_WITH_COMMIT;
        let stored = clock.then(|| self.clock.to_store());
        self.last_commit = Instant::now();
        match self.engine.write(&batch, stored.as_ref()) {
            Ok(()) => {
                if clock {
                    self.last_clock = self.last_commit;
                }
                let recovered = self.failing.take().is_some();
                if recovered || !writes.is_empty() {
                    self.answer(writes, Ok(()));
                }
                None
            }
            Err(fault) => {
                tracing::debug!(%fault, rows = batch.len(), "nothing is written");
                let (first, longest) = BACKOFF;
                let pause = self.failing.as_ref().map_or(first, |(_, pause, _)| longest.min(*pause * 2));
                let news = self.failing.is_none();
                self.failing = Some((fault.clone(), pause, Instant::now() + pause));
                if news || !writes.is_empty() {
                    self.answer(writes, Err(fault));
                }
                Some(batch)
            }
        }
    }

    /// When nobody listens any more, the daemon is on its way down; the rows are written all the same.
    fn answer(&self, writes: Vec<WriteId>, result: Result<(), StoreFault>) {
        let _gone = self.answers.blocking_send(Done::new(writes, result));
    }
}
