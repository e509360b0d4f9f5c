//! A disk: slow, failing, hanging, and forgetful of what was not committed when the daemon dies.

use std::collections::{BTreeMap, VecDeque};

use sosbridge::base::{Instant, Rng};
use sosbridge::lease;
use sosbridge::node::{Row, StoreFault, StoreSin, WriteId};
use sosbridge::registrar;

use crate::chance::between;

/// How the disk behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    Slow,
    /// Every write fails at once; its rows are written when the disk is back.
    Failing,
    /// Nothing comes back.
    Hung,
}

/// A write on its way.
pub struct Write {
    id: WriteId,
    rows: Vec<Row>,
    due: Instant,
    answered: bool,
}

pub struct Store {
    pub health: Health,
    /// When it was last anything but good, or had something to catch up with.
    pub troubled_at: Option<Instant>,
    queue: VecDeque<Write>,
    leases: BTreeMap<u64, lease::Row>,
    bindings: BTreeMap<registrar::RowKey, registrar::Row>,
}

impl Store {
    pub fn new() -> Self {
        let health = Health::Good;
        Self { health, troubled_at: None, queue: VecDeque::new(), leases: BTreeMap::new(), bindings: BTreeMap::new() }
    }

    pub fn write(&mut self, now: Instant, rng: &mut Rng, id: WriteId, rows: Vec<Row>, urgent: bool) {
        let wait = match (self.health, urgent) {
            (Health::Good | Health::Failing, true) => between(rng, 1, 30),
            (Health::Good | Health::Failing, false) => between(rng, 50, 300),
            (Health::Slow, _) => between(rng, 150, 3000),
            (Health::Hung, _) => between(rng, 20, 60),
        };
        // Commits happen in order; an urgent one takes everything before it along.
        let due = now + wait;
        for earlier in &mut self.queue {
            earlier.due = if urgent { earlier.due.min(due) } else { earlier.due };
        }
        let due = self.queue.back().map_or(due, |last| last.due.max(due));
        self.queue.push_back(Write { id, rows, due, answered: false });
        self.note_trouble(now);
    }

    fn note_trouble(&mut self, now: Instant) {
        if self.health != Health::Good || self.queue.iter().any(|write| write.answered) {
            self.troubled_at = Some(now);
        }
    }

    pub fn next(&self) -> Option<Instant> {
        match self.health {
            Health::Hung => None,
            Health::Failing => self.queue.iter().filter(|write| !write.answered).map(|write| write.due).min(),
            Health::Good | Health::Slow => self.queue.front().map(|write| write.due),
        }
    }

    /// What the disk does when its time has come: one write, and the answer to it if it still gets one.
    pub fn work(&mut self, now: Instant) -> Option<(WriteId, Result<(), StoreFault>)> {
        self.note_trouble(now);
        if self.health == Health::Failing {
            let write = self.queue.iter_mut().find(|write| !write.answered && write.due <= now)?;
            write.answered = true;
            return Some((write.id, Err(StoreFault { sin: StoreSin::Full, detail: "simulated".into() })));
        }
        let write = self.queue.pop_front()?;
        for row in write.rows {
            self.commit(row);
        }
        (!write.answered).then_some((write.id, Ok(())))
    }

    fn commit(&mut self, row: Row) {
        match row {
            Row::Lease(lease::Row::Lease(mut lease)) => {
                lease.device.flow.connection = None;
                self.leases.insert(lease.number.digits(), lease::Row::Lease(lease));
            }
            Row::Lease(rested @ lease::Row::Rested { .. }) => {
                self.leases.insert(rested.number().digits(), rested);
            }
            Row::Lease(lease::Row::Forget { number }) => {
                self.leases.remove(&number.digits());
            }
            Row::Binding(binding) => {
                self.bindings.insert(binding.key(), binding);
            }
            Row::Unbind(key) => {
                self.bindings.remove(&key);
            }
            Row::Record(_) | Row::Notice(_) | Row::Unnotice(_) => {}
        }
    }

    /// The daemon died: what was not committed is gone.
    pub fn crash(&mut self) {
        self.queue.clear();
    }

    /// True when nothing is to be caught up with and the disk has been well for a while.
    pub fn is_sound(&self, now: Instant) -> bool {
        let waits_long = |write: &Write| write.answered || write.due > now + crate::chance::ms(400);
        self.health == Health::Good
            && !self.queue.iter().any(waits_long)
            && self.troubled_at.is_none_or(|at| now.since(at) > crate::chance::secs(5))
    }

    /// Whose lease on a number is on the disk.
    pub fn holder(&self, number: &str) -> Option<&str> {
        let digits: u64 = number.trim_start_matches('+').parse().ok()?;
        match self.leases.get(&digits)? {
            lease::Row::Lease(lease) => Some(lease.user.as_str()),
            lease::Row::Rested { .. } | lease::Row::Forget { .. } => None,
        }
    }

    pub fn leases(&self) -> Vec<lease::Row> {
        self.leases.values().cloned().collect()
    }

    pub fn bindings(&self) -> Vec<registrar::Row> {
        self.bindings.values().cloned().collect()
    }
}
