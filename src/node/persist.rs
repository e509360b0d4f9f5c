//! To the store and back: what must be durable before a call goes on, and what may follow (SPEC §3).

use compact_str::{CompactString, format_compact};

use super::{Node, Output, Row, StoreFault, WriteId};
use crate::admin::NoticeEvent;
use crate::base::Instant;
use crate::call::GrantId;
use crate::lease;
use crate::registrar::Change;

impl Node {
    /// Hands over every row that is out of date; at once when a call waits for one of them.
    pub(super) fn persist(&mut self) {
        let waiting = self.calls.take_writes();
        let mut rows: Vec<Row> = self.leases.take_rows().into_iter().map(Row::Lease).collect();
        let (grants, granted): (Vec<GrantId>, Vec<lease::Row>) = waiting.into_iter().unzip();
        for row in granted {
            let number = row.number();
            let is_there = |known: &Row| matches!(known, Row::Lease(known) if known.number() == number);
            if !rows.iter().any(is_there) {
                rows.push(Row::Lease(row));
            }
        }
        let mut urgent = !grants.is_empty();
        for change in self.registrar.take_rows() {
            match change {
                Change::Put { row, urgent: now } => {
                    urgent |= now;
                    rows.push(Row::Binding(row));
                }
                Change::Delete { key, urgent: now } => {
                    urgent |= now;
                    rows.push(Row::Unbind(key));
                }
            }
        }
        if !rows.is_empty() {
            let write = self.hand_over(rows, urgent, grants);
            self.confirm_after(write);
        }
    }

    pub(super) fn hand_over(&mut self, rows: Vec<Row>, urgent: bool, grants: Vec<GrantId>) -> WriteId {
        self.last_write += 1;
        let write = WriteId(self.last_write);
        if !grants.is_empty() {
            self.writes.insert(write, (self.now, grants));
        }
        self.outputs.push_back(Output::Persist { write, rows, urgent });
        write
    }

    /// A call could not wait any longer for its row. What the store could not do otherwise it has said itself.
    pub(super) fn store_stalls(&mut self) {
        self.metrics.store_error();
        if self.store_fails.is_none() {
            self.store_fails = Some(self.now);
            self.notify_fact(NoticeEvent::StoreFailing, &episode(self.now), "no answer in time for an emergency call");
        }
    }

    pub(super) fn stored(&mut self, write: WriteId, result: &Result<(), StoreFault>) {
        self.store_fares(result);
        self.confirm_stored(write);
        let Some((since, grants)) = self.writes.remove(&write) else { return };
        if result.is_ok() {
            self.metrics.store_write_seconds(self.now.since(since));
        }
        for grant in grants {
            let (calls, mut parts) = self.parts();
            calls.stored(&mut parts, grant, result.is_ok());
        }
    }

    /// Raises the alarm, or takes it back.
    pub(super) fn store_fares(&mut self, result: &Result<(), StoreFault>) {
        match (result, self.store_fails) {
            (Err(fault), None) => {
                tracing::error!(%fault, "the store is failing: emergency calls go on, on leases held in memory");
                self.store_fails = Some(self.now);
                self.notify_fact(NoticeEvent::StoreFailing, &episode(self.now), &fault.to_string());
            }
            (Ok(()), Some(since)) => {
                tracing::warn!("the store is back");
                self.store_fails = None;
                self.notify_fact(NoticeEvent::StoreBack, &episode(since), "what waited is written");
            }
            (Ok(()), None) | (Err(_), Some(_)) => {}
        }
        if result.is_err() {
            self.metrics.store_error();
        }
    }
}

/// What the notices of one failure of the store have in common.
fn episode(since: Instant) -> CompactString {
    format_compact!("store-{:x}", since.as_millis())
}
