//! A store that cannot be opened, or written, keeps nobody from calling (SPEC §10). The daemon starts on what can be read of it,
//! rows wait in memory, and the store is tried again until it is open; then the node takes over what the store remembers, and all is
//! written.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::batch::Batch;
use super::engine::Engine;
use super::fault::OpenFault;
use super::shares::Division;
use super::writer::{self, BACKOFF};
use super::{Done, Loaded, Shared, Sign, Store, peek, ranges, share};
use crate::base::E164;
use crate::config::{Pool, StorePlace};
use crate::node::Remembered;
use crate::node::rows::{StoreFault, StoreSin};
use crate::shell::clock::{NodeClock, Stored};

/// Rows that the node takes over at once: calls go on before the next are there.
const PART: usize = 1000;
/// Clocks that differ by less are the same.
const SAME_CLOCK_MS: u64 = 1000;

/// Whether a start waits for a database: that is away, and that still has the session of a daemon that has just died.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Start,
    None,
}

impl Patience {
    pub(super) const fn with(self, sin: StoreSin) -> Duration {
        match (self, sin) {
            (Self::Start, StoreSin::Away) => Duration::from_secs(3),
            (Self::Start, StoreSin::Locked | StoreSin::Taken) => Duration::from_secs(8),
            _ => Duration::ZERO,
        }
    }
}

/// The way to a store.
pub(super) struct Opening {
    place: StorePlace,
    node: String,
    /// That of the file, from the first time that it could be had until the end of the daemon.
    lock: Option<Arc<File>>,
}

impl Opening {
    pub(super) fn new(place: &StorePlace, node: &str) -> Self {
        Self { place: place.clone(), node: node.to_owned(), lock: None }
    }

    /// An engine whose store can be read, what that remembers, and its node clock.
    pub(super) fn read(&mut self, patience: Patience) -> Result<(Engine, Loaded, Option<Stored>), OpenFault> {
        let mut engine = Engine::open(&self.place, &self.node, &mut self.lock, patience)?;
        let (loaded, stored) = engine.load()?;
        Ok((engine, loaded, stored))
    }

    /// The start of a daemon as it should be.
    pub(super) fn begin(&mut self, pools: &[Pool]) -> Result<(Engine, Option<Division>, NodeClock, Loaded), OpenFault> {
        let (mut engine, mut loaded, stored) = self.read(Patience::Start)?;
        let clock = NodeClock::start(stored.as_ref());
        engine.prove_writable(&clock.to_store())?;
        let sign = Sign { addresses: "", clock: &clock.to_store() };
        let division = engine.divide(&ranges(pools), &[], sign);
        let division = division.map_err(|fault| OpenFault::dividing(&self.place, &fault))?;
        loaded.share = division.as_ref().map(|division| share(&division.share));
        match engine.elsewhere() {
            Ok(elsewhere) => loaded.elsewhere = elsewhere.news(),
            Err(fault) => tracing::warn!(%fault, "what other nodes hold is not known yet"),
        }
        Ok((engine, division, clock, loaded))
    }

    /// What can be read of a store that cannot be opened. Of a database nothing: which numbers are this node's is not known, and it gives
    /// none of them (SPEC §3, "Unique").
    fn peek(&self) -> (Loaded, Option<Stored>) {
        match &self.place {
            StorePlace::Sqlite(path) => peek::peek(path),
            StorePlace::Postgres(_) => {
                (Loaded { is_unknown: true, share: Some(Vec::new()), ..Loaded::default() }, None)
            }
        }
    }
}

impl Store {
    /// As `open`. Only that a store that cannot be opened now is opened later; until then rows wait in memory, and every answer is a
    /// fault.
    ///
    /// # Errors
    /// Another daemon has the store, or the system gives no thread.
    pub fn open_later(
        place: &StorePlace,
        node: &str,
        pools: &[Pool],
        answers: mpsc::Sender<Done>,
    ) -> Result<(Self, NodeClock, Loaded), OpenFault> {
        let mut opening = Opening::new(place, node);
        let fault = match opening.begin(pools) {
            Ok((engine, division, clock, loaded)) => {
                let run = move |shared: &Shared| writer::run(engine, division, clock, shared, &answers, None);
                return Ok((Self::start(pools, Batch::default(), run)?, clock, loaded));
            }
            Err(fault) if fault.is_anothers => return Err(fault),
            Err(fault) => fault,
        };
        let (loaded, stored) = opening.peek();
        let clock = NodeClock::start(stored.as_ref());
        // Another store may be in its place when it can be opened.
        let waiting = Batch::of(&loaded);
        let late = Late { opening, clock, fault: unopened(&fault), has_rows: false, may_lend: true };
        let store = Self::start(pools, waiting, move |shared| late.run(shared, &answers))?;
        Ok((store, clock, loaded))
    }
}

fn unopened(fault: &OpenFault) -> StoreFault {
    StoreFault { sin: StoreSin::Unopened, detail: fault.to_string() }
}

/// The writer before it can write.
struct Late {
    opening: Opening,
    clock: NodeClock,
    fault: StoreFault,
    /// Rows wait that nobody has written.
    has_rows: bool,
    /// No other daemon has the store.
    may_lend: bool,
}

impl Late {
    fn run(mut self, shared: &Shared, answers: &mpsc::Sender<Done>) {
        let _gone = answers.blocking_send(Done::new(Vec::new(), Err(self.fault.clone())));
        let (first, longest) = BACKOFF;
        let (mut pause, mut again) = (first, Instant::now() + first);
        let (engine, loaded, stored) = loop {
            let stop = self.wait(again, shared, answers);
            match self.opening.read(Patience::None) {
                Ok(read) => break read,
                Err(fault) => self.still(&fault, answers),
            }
            if stop {
                if self.has_rows {
                    tracing::error!(fault = %self.fault, "what waited for the store is lost");
                }
                return;
            }
            pause = longest.min(pause * 2);
            again = Instant::now() + pause;
        };
        self.lend(true, answers);
        self.remember(loaded, stored.as_ref(), shared, answers);
        let division = matches!(engine, Engine::Postgres(_)).then(Division::default);
        writer::run(engine, division, self.clock, shared, answers, Some(self.fault));
    }

    /// Until it is time to try again. Nobody is kept waiting meanwhile. True when the daemon ends.
    fn wait(&mut self, again: Instant, shared: &Shared, answers: &mpsc::Sender<Done>) -> bool {
        loop {
            let mut waiting = shared.lock();
            let writes = std::mem::take(&mut waiting.batch.writes);
            if !writes.is_empty() {
                drop(waiting);
                self.has_rows = true;
                let _gone = answers.blocking_send(Done::new(writes, Err(self.fault.clone())));
                continue;
            }
            if waiting.stop {
                return true;
            }
            let Some(pause) = again.checked_duration_since(Instant::now()) else { return false };
            drop(shared.news.wait_timeout(waiting, pause));
        }
    }

    /// What is wrong may have changed.
    fn still(&mut self, fault: &OpenFault, answers: &mpsc::Sender<Done>) {
        if fault.is_anothers {
            self.lend(false, answers);
        }
        let fault = unopened(fault);
        if fault != self.fault {
            tracing::error!(%fault, "the store still cannot be opened");
            self.fault = fault;
        }
    }

    /// A file that another daemon has taken meanwhile: the numbers are that one's to give, until it ends (SPEC §3, "Unique"). Of a database
    /// the division tells.
    fn lend(&mut self, may: bool, answers: &mpsc::Sender<Done>) {
        if matches!(self.opening.place, StorePlace::Postgres(_)) || std::mem::replace(&mut self.may_lend, may) == may {
            return;
        }
        let share = Some(if may { vec![E164::MIN..=E164::MAX] } else { Vec::new() });
        let _gone = answers.blocking_send(Done { share, ..Done::new(Vec::new(), Err(self.fault.clone())) });
    }

    /// Hands over to the node what the store remembers, and waits until that has taken it.
    fn remember(&self, mut loaded: Loaded, stored: Option<&Stored>, shared: &Shared, answers: &mpsc::Sender<Done>) {
        for unreadable in &loaded.unreadable {
            tracing::error!("a row of the store cannot be read and stays there: {unreadable}");
        }
        let (leases, bindings) = (loaded.leases.len(), loaded.bindings.len());
        let is_moved = loaded.set_clock(stored, &self.clock);
        let older = if is_moved { Batch::of(&loaded) } else { Batch::default() };
        shared.lock().batch.take_back(older);
        for part in parts(loaded) {
            shared.lock().is_recalling = true;
            let remembered = Some(Box::new(part));
            let _gone = answers.blocking_send(Done { remembered, ..Done::new(Vec::new(), Err(self.fault.clone())) });
            let mut waiting = shared.lock();
            while waiting.is_recalling && !waiting.stop {
                waiting = shared.news.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
        tracing::info!(leases, bindings, "the store can be read: what it remembers is taken over");
    }
}

/// At least one, the last of which says so.
fn parts(loaded: Loaded) -> Vec<Remembered> {
    let Loaded { mut leases, mut bindings, records, notices, .. } = loaded;
    let mut parts = vec![Remembered { records, notices, ..Remembered::default() }];
    while !leases.is_empty() || !bindings.is_empty() {
        let leases = leases.split_off(leases.len().saturating_sub(PART));
        let bindings = bindings.split_off(bindings.len().saturating_sub(PART));
        parts.push(Remembered { leases, bindings, ..Remembered::default() });
    }
    if let Some(last) = parts.last_mut() {
        last.is_all = true;
    }
    parts
}

impl Loaded {
    /// Puts times of the clock that was `stored` on `clock`; false when that is the same.
    fn set_clock(&mut self, stored: Option<&Stored>, clock: &NodeClock) -> bool {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let theirs = NodeClock::start(stored).now();
        let ahead_ms = signed(clock.now().as_millis()).saturating_sub(signed(theirs.as_millis()));
        if ahead_ms.unsigned_abs() < SAME_CLOCK_MS {
            return false;
        }
        let ours = |ms: &mut u64| *ms = ms.saturating_add_signed(ahead_ms);
        self.leases.iter_mut().flat_map(|row| row.instants_mut()).for_each(|at| *at = at.moved_ms(ahead_ms));
        for row in &mut self.bindings {
            [&mut row.expires_at_ms, &mut row.refreshed_at_ms].into_iter().for_each(ours);
        }
        self.notices.iter_mut().for_each(|notice| ours(&mut notice.at_ms));
        true
    }
}
