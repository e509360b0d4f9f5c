//! Rows that wait to be written: the newest of each key, so that a long outage does not fill the memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::Loaded;
use crate::base::{E164, limits};
use crate::node::rows::{Row, WriteId};
use crate::{admin, lease, registrar};

/// The rows of one commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lease_by_number: HashMap<E164, lease::Row>,
    /// `None`: to be forgotten.
    pub(super) binding_by_key: HashMap<registrar::RowKey, Option<registrar::Row>>,
    pub(super) records: Vec<Arc<admin::Record>>,
    /// `None`: to be forgotten.
    pub(super) notice_by_seq: BTreeMap<u64, Option<Box<admin::Notice>>>,
    /// Whom to answer when it is committed.
    pub(super) writes: Vec<WriteId>,
    pub(super) urgent: bool,
    /// When the first row came in.
    pub(super) since: Option<Instant>,
}

impl Batch {
    /// All that the node was given at start.
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self {
            lease_by_number: loaded.leases.iter().map(|row| (row.number(), row.clone())).collect(),
            binding_by_key: loaded.bindings.iter().map(|row| (row.key(), Some(row.clone()))).collect(),
            notice_by_seq: loaded.notices.iter().map(|row| (row.seq, Some(Box::new(row.clone())))).collect(),
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.lease_by_number.len() + self.binding_by_key.len() + self.records.len() + self.notice_by_seq.len()
    }

    /// False when rows were dropped for lack of room. Leases never are: there are no more of them than numbers.
    pub(super) fn add(&mut self, rows: Vec<Row>) -> bool {
        self.since.get_or_insert_with(Instant::now);
        let mut room = limits::STORE_QUEUE.saturating_sub(self.len().max(self.writes.len()));
        let mut all = true;
        for row in rows {
            if let Row::Lease(row) = row {
                self.lease_by_number.insert(row.number(), row);
                continue;
            }
            if room == 0 {
                all = false;
                continue;
            }
            room -= 1;
            match row {
                Row::Lease(_) => {}
                Row::Binding(row) => {
                    self.binding_by_key.insert(row.key(), Some(row));
                }
                Row::Unbind(key) => {
                    self.binding_by_key.insert(key, None);
                }
                Row::Record(record) => self.records.push(record),
                Row::Notice(notice) => drop(self.notice_by_seq.insert(notice.seq, Some(notice))),
                Row::Unnotice(seq) => drop(self.notice_by_seq.insert(seq, None)),
            }
        }
        all
    }

    /// Takes back the rows of a commit that failed, unless newer ones came meanwhile. Its writes have been answered.
    pub(super) fn take_back(&mut self, failed: Self) {
        let Self { lease_by_number, binding_by_key, mut records, notice_by_seq, since, .. } = failed;
        for (seq, row) in notice_by_seq {
            self.notice_by_seq.entry(seq).or_insert(row);
        }
        for (number, row) in lease_by_number {
            self.lease_by_number.entry(number).or_insert(row);
        }
        for (key, row) in binding_by_key {
            self.binding_by_key.entry(key).or_insert(row);
        }
        records.append(&mut self.records);
        self.records = records;
        self.since = since.or(self.since);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(id: usize) -> Row {
        Row::Record(Arc::new(crate::shell::store::tests::record(id as u64)))
    }

    fn unbind() -> Row {
        Row::Unbind(registrar::RowKey { user: "sip:a@b".parse().unwrap(), slot: 0 })
    }

    #[test]
    fn the_newest_row_of_a_key_stays() {
        let number = E164::from_digits(14255550100).unwrap();
        let rested = |ms| lease::Row::Rested { number, since: crate::base::Instant::from_millis(ms) };
        let mut failed = Batch::default();
        failed.add(vec![Row::Lease(rested(1)), unbind(), record(1)]);
        let mut batch = Batch::default();
        batch.add(vec![Row::Lease(rested(2)), record(2)]);
        batch.take_back(failed);
        assert_eq!(batch.lease_by_number.get(&number), Some(&rested(2)));
        assert_eq!(batch.binding_by_key.len(), 1);
        assert_eq!(batch.records.iter().map(|record| record.call.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn beyond_the_bound_only_leases_get_in() {
        let mut batch = Batch::default();
        assert!(batch.add((0..limits::STORE_QUEUE).map(record).collect()));
        assert!(!batch.add(vec![record(0)]));
        let number = E164::from_digits(14255550100).unwrap();
        assert!(batch.add(vec![Row::Lease(lease::Row::Forget { number })]));
        assert_eq!(batch.len(), limits::STORE_QUEUE + 1);
    }
}
