//! A batch as the JSON of one statement, and rows of the tables as values.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::Row as Columns;

use crate::lease::Neighbour;
use crate::node::rows::{StoreFault, StoreSin};
use crate::shell::clock::{Reading, Stored};
use crate::shell::store::batch::Batch;
use crate::shell::store::lease_columns::{LeaseColumns, signed, unsigned};
use crate::shell::store::shares::{self, Range};
use crate::shell::store::{Elsewhere, Loaded};
use crate::{admin, lease, registrar};

/// What `sql::COMMIT` takes.
#[derive(Default, Serialize)]
struct Rows<'a> {
    clock: Option<Clock<'a>>,
    leases: Vec<LeaseColumns<'a>>,
    forget: Vec<Number>,
    bindings: Vec<Binding<'a>>,
    unbind: Vec<Slot<'a>>,
    records: Vec<Record>,
    notices: Vec<Notice>,
    unnotice: Vec<Seq>,
}

#[derive(Serialize)]
struct Clock<'a> {
    node_ms: i64,
    wall_ms: i64,
    boot_id: &'a str,
    boottime_ms: i64,
}

#[derive(Serialize)]
struct Number {
    number: i64,
}

#[derive(Serialize)]
struct Slot<'a> {
    user: &'a str,
    slot: u8,
}

#[derive(Serialize)]
struct Binding<'a> {
    user: &'a str,
    slot: u8,
    value: String,
}

#[derive(Serialize)]
struct Record {
    at: i64,
    ended_at: i64,
    json: String,
}

#[derive(Serialize)]
struct Notice {
    seq: i64,
    json: String,
}

#[derive(Serialize)]
struct Seq {
    seq: i64,
}

/// `next_record`: the place of the first record of the batch. Written again after a commit of which nobody knows whether it was
/// one, every row replaces itself.
pub(super) fn json(batch: &Batch, next_record: i64, clock: Option<&Stored>) -> Result<String, StoreFault> {
    let written = rows(batch, next_record, clock).and_then(|rows| serde_json::to_string(&rows));
    let text = written.map_err(|error| StoreFault { sin: StoreSin::Other, detail: error.to_string() })?;
    // The one character that PostgreSQL has no room for in a text.
    Ok(text.replace("\\u0000", "\\ufffd"))
}

fn rows<'a>(batch: &'a Batch, next_record: i64, clock: Option<&'a Stored>) -> serde_json::Result<Rows<'a>> {
    let mut rows = Rows {
        clock: clock.map(|Stored { node_ms, reading }| Clock {
            node_ms: signed(*node_ms),
            wall_ms: signed(reading.wall_ms),
            boot_id: &reading.boot_id,
            boottime_ms: signed(reading.boottime_ms),
        }),
        ..Rows::default()
    };
    for row in batch.lease_by_number.values() {
        match LeaseColumns::of(row) {
            Some(columns) => rows.leases.push(columns),
            None => rows.forget.push(Number { number: signed(row.number().digits()) }),
        }
    }
    for (key, row) in &batch.binding_by_key {
        let (user, slot) = (key.user.as_str(), key.slot);
        match row {
            Some(row) => rows.bindings.push(Binding { user, slot, value: serde_json::to_string(row)? }),
            None => rows.unbind.push(Slot { user, slot }),
        }
    }
    for (at, record) in (next_record..).zip(&batch.records) {
        let ended_at = signed(record.ended_at.unix_millis());
        rows.records.push(Record { at, ended_at, json: serde_json::to_string(record)? });
    }
    for (seq, notice) in &batch.notice_by_seq {
        let seq = signed(*seq);
        match notice {
            Some(notice) => rows.notices.push(Notice { seq, json: serde_json::to_string(notice)? }),
            None => rows.unnotice.push(Seq { seq }),
        }
    }
    Ok(rows)
}

type Read<T> = Result<Result<T, String>, tokio_postgres::Error>;

/// The outer error is the database's, the inner one names a row that makes no sense.
pub(super) fn lease(from: &Columns) -> Read<lease::Row> {
    let small = |value: i64| u8::try_from(value).unwrap_or(0);
    let columns = LeaseColumns {
        number: from.try_get(0)?,
        state: from.try_get(1)?,
        kind: from.try_get(2)?,
        resource: from.try_get(3)?,
        country: from.try_get(4)?,
        user: from.try_get(5)?,
        device: from.try_get(6)?,
        contact: from.try_get(7)?,
        protocol: from.try_get(8)?,
        listener: small(i64::from(from.try_get::<_, i32>(9)?)),
        remote: from.try_get::<_, &str>(10)?.into(),
        dialled_at: from.try_get(11)?,
        expires_at: from.try_get(12)?,
        calls: u32::try_from(from.try_get::<_, i64>(13)?).unwrap_or(0),
        test: from.try_get(14)?,
        push: from.try_get(15)?,
    };
    Ok(columns.row())
}

pub(super) fn binding(from: &Columns) -> Read<registrar::Row> {
    let (user, slot): (&str, i32) = (from.try_get(0)?, from.try_get(1)?);
    let row = serde_json::from_str(from.try_get(2)?);
    Ok(row.map_err(|error| format!("bindings: {user} {slot}: {error}")))
}

pub(super) fn record(from: &Columns) -> Read<admin::Record> {
    let at: i64 = from.try_get(0)?;
    let row = serde_json::from_str(from.try_get(1)?);
    Ok(row.map_err(|error| format!("records: {at}: {error}")))
}

pub(super) fn notice(from: &Columns) -> Read<admin::Notice> {
    let seq: i64 = from.try_get(0)?;
    let row = serde_json::from_str(from.try_get(1)?);
    Ok(row.map_err(|error| format!("notices: {seq}: {error}")))
}

pub(super) fn clock(from: &Columns) -> Result<Stored, tokio_postgres::Error> {
    let reading = Reading {
        wall_ms: unsigned(from.try_get(1)?),
        boot_id: from.try_get(2)?,
        boottime_ms: unsigned(from.try_get(3)?),
    };
    Ok(Stored { node_ms: unsigned(from.try_get(0)?), reading })
}

/// Ranges of numbers by their node, of rows that have first, last and node.
pub(super) fn ranges(from: &[Columns]) -> Result<BTreeMap<String, Vec<Range>>, tokio_postgres::Error> {
    let mut by_node: BTreeMap<String, Vec<Range>> = BTreeMap::new();
    for row in from {
        let range = (unsigned(row.try_get(0)?), unsigned(row.try_get(1)?));
        by_node.entry(row.try_get(2)?).or_default().push(range);
    }
    Ok(by_node.into_iter().map(|(node, ranges)| (node, shares::merged(ranges))).collect())
}

pub(super) fn neighbour(from: &Columns) -> Result<Neighbour, tokio_postgres::Error> {
    let addresses: &str = from.try_get(1)?;
    let addresses = addresses.split(' ').filter_map(|address| address.parse().ok()).collect();
    Ok(Neighbour { name: from.try_get::<_, &str>(0)?.into(), addresses, is_running: from.try_get(2)? })
}

/// `None`: there is none, or it makes no sense, as its own node has said.
pub(super) fn of_neighbour(from: &Columns) -> Result<Option<Elsewhere>, tokio_postgres::Error> {
    if from.try_get::<_, Option<i64>>(0)?.is_none() {
        return Ok(None);
    }
    let (node, ahead_ms): (&str, i64) = (from.try_get(16)?, from.try_get(17)?);
    Ok(lease(from)?.ok().map(|row| Elsewhere { node: node.into(), ahead_ms, row }))
}

/// Adds what can be read, and says what cannot.
pub(super) fn take<T>(
    from: &[Columns],
    read: impl Fn(&Columns) -> Read<T>,
    into: impl Fn(&mut Loaded) -> &mut Vec<T>,
    loaded: &mut Loaded,
) -> Result<(), tokio_postgres::Error> {
    for columns in from {
        match read(columns)? {
            Ok(row) => into(loaded).push(row),
            Err(unreadable) => loaded.unreadable.push(unreadable),
        }
    }
    Ok(())
}
