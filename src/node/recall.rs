//! A start without what the store remembers, and what becomes of it when that comes after all (SPEC §10).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Node, rows};
use crate::admin::{Notice, Record};
use crate::base::limits;
use crate::{lease, registrar};

/// What the store kept of the lives before, or a part of it, with times of the node clock.
#[derive(Debug, Default)]
pub struct Remembered {
    pub leases: Vec<lease::Row>,
    pub bindings: Vec<registrar::Row>,
    /// Oldest first.
    pub records: Vec<Record>,
    /// In any order.
    pub notices: Vec<Notice>,
    /// Nothing follows.
    pub is_all: bool,
}

impl Node {
    /// What was leased before nobody knows yet: numbers are given from somewhere in each pool, where it is least likely that one is
    /// another's, and notices are numbered beyond all that may be in the store.
    pub fn begin_without_leases(&mut self) {
        self.knows_leases = false;
        let place = self.rng.below(u64::MAX);
        self.leases.begin_at(place, &self.pools());
        self.notices.begin_after(self.now.as_millis());
    }

    /// What has happened since the start counts more.
    pub(super) fn recall(&mut self, remembered: Remembered) {
        let Remembered { mut leases, mut bindings, records, notices, is_all } = remembered;
        rows::find_listeners(&self.config, leases.iter_mut(), &mut bindings);
        let lost = self.leases.recall(leases, self.now);
        if lost > 0 {
            tracing::warn!(
                numbers = lost,
                "numbers were given anew that the store knows to be others': callbacks ring who called last"
            );
        }
        self.registrar.recall(bindings, self.now);
        self.notices.recall(notices, self.now);
        self.recall_records(records);
        self.knows_leases |= is_all;
        self.gauges_due.get_or_insert(self.now);
    }

    fn recall_records(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let known: BTreeSet<_> = self.records.iter().map(|record| record.call.id.clone()).collect();
        let room = limits::RECORDS_KEPT.saturating_sub(known.len());
        let before = records.into_iter().rev().filter(|record| !known.contains(&record.call.id)).take(room);
        before.for_each(|record| self.records.push_front(Arc::new(record)));
    }
}
