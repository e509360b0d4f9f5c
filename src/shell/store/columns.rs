//! The tables of the SQLite file, and rows to columns and back. Times are milliseconds: of the node clock, in records of the wall clock.

use rusqlite::{Connection, Row as Columns, params};

use super::lease_columns::{LeaseColumns, signed, unsigned};
use crate::lease::Row;
use crate::shell::clock::{Reading, Stored};
use crate::{admin, registrar};

/// `PRAGMA user_version` of this schema.
pub(super) const VERSION: i64 = 3;

/// For an operator with `sqlite3`: `leases` and `records` as stored, `lease_list` with the times as dates.
/// Records are numbered as they end, so that a new one always goes to the end of its table, which needs no index.
pub(super) const SCHEMA: &str = "
CREATE TABLE leases (
  number INTEGER PRIMARY KEY, state TEXT NOT NULL, kind TEXT NOT NULL, resource TEXT NOT NULL, country TEXT NOT NULL,
  user TEXT NOT NULL, device TEXT NOT NULL, contact TEXT NOT NULL, protocol TEXT NOT NULL, listener INTEGER NOT NULL,
  remote TEXT NOT NULL, dialled_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, calls INTEGER NOT NULL, test INTEGER NOT NULL,
  push TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE bindings (user TEXT NOT NULL, slot INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (user, slot)) STRICT, WITHOUT ROWID;
CREATE TABLE records (at INTEGER PRIMARY KEY, ended_at INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
CREATE TABLE notices (seq INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE clock (
  id INTEGER PRIMARY KEY CHECK (id = 1), node_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL, boot_id TEXT NOT NULL, boottime_ms INTEGER NOT NULL
) STRICT;
CREATE VIEW lease_list AS SELECT '+' || number AS number, state, kind, resource, country, user, contact, remote,
  datetime(dialled_at / 1000, 'unixepoch') AS dialled_at, datetime(expires_at / 1000, 'unixepoch') AS expires_at, test
  FROM leases WHERE state <> 'free';
CREATE VIEW record_list AS SELECT at, json ->> 'id' AS id, json ->> 'kind' AS kind, json ->> 'user' AS user,
  json ->> 'number' AS number, json ->> 'outcome' AS outcome, json ->> 'ended_at' AS ended_at, json FROM records;
CREATE VIEW notice_list AS SELECT seq, json ->> 'event' AS event, json ->> 'about' AS about, json ->> 'state' AS state,
  json ->> 'attempts' AS attempts, json ->> 'delivered_at' AS delivered_at FROM notices;
";

/// From version 1 to 2: records had their id as key, and three columns that their JSON has too.
pub(super) const FROM_VERSION_1: &str = "
DROP INDEX records_by_end;
ALTER TABLE records RENAME TO old_records;
CREATE TABLE records (at INTEGER PRIMARY KEY, ended_at INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
INSERT INTO records (ended_at, json) SELECT ended_at, json FROM old_records ORDER BY ended_at;
DROP TABLE old_records;
CREATE VIEW record_list AS SELECT at, json ->> 'id' AS id, json ->> 'kind' AS kind, json ->> 'user' AS user,
  json ->> 'number' AS number, json ->> 'outcome' AS outcome, json ->> 'ended_at' AS ended_at, json FROM records;
";

/// From version 2 to 3: what the webhook is told, and the push parameters of the device of a lease.
pub(super) const FROM_VERSION_2: &str = "
ALTER TABLE leases ADD COLUMN push TEXT NOT NULL DEFAULT '';
CREATE TABLE notices (seq INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE VIEW notice_list AS SELECT seq, json ->> 'event' AS event, json ->> 'about' AS about, json ->> 'state' AS state,
  json ->> 'attempts' AS attempts, json ->> 'delivered_at' AS delivered_at FROM notices;
";

pub(super) const LEASES: &str = "SELECT number, state, kind, resource, country, user, device, contact, protocol, listener, \
     remote, dialled_at, expires_at, calls, test, push FROM leases";

/// Writes one lease row.
pub(super) fn put_lease(to: &Connection, row: &Row) -> rusqlite::Result<usize> {
    const PUT: &str =
        "INSERT OR REPLACE INTO leases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let Some(columns) = LeaseColumns::of(row) else {
        return to.prepare_cached("DELETE FROM leases WHERE number = ?1")?.execute([signed(row.number().digits())]);
    };
    to.prepare_cached(PUT)?.execute(params![
        columns.number,
        columns.state,
        columns.kind,
        columns.resource,
        columns.country,
        columns.user,
        columns.device,
        columns.contact,
        columns.protocol,
        columns.listener,
        columns.remote.as_str(),
        columns.dialled_at,
        columns.expires_at,
        columns.calls,
        columns.test,
        columns.push
    ])
}

/// Reads one lease row of `LEASES`; the outer error is the file's, the inner one names a row that makes no sense.
pub(super) fn lease(from: &Columns<'_>) -> rusqlite::Result<Result<Row, String>> {
    let text = |at: usize| -> rusqlite::Result<&str> { Ok(from.get_ref(at)?.as_str()?) };
    let columns = LeaseColumns {
        number: from.get(0)?,
        state: text(1)?,
        kind: text(2)?,
        resource: text(3)?,
        country: text(4)?,
        user: text(5)?,
        device: text(6)?,
        contact: text(7)?,
        protocol: text(8)?,
        listener: from.get(9)?,
        remote: text(10)?.into(),
        dialled_at: from.get(11)?,
        expires_at: from.get(12)?,
        calls: from.get(13)?,
        test: from.get(14)?,
        push: text(15)?,
    };
    Ok(columns.row())
}

pub(super) fn put_binding(to: &Connection, row: &registrar::Row) -> rusqlite::Result<usize> {
    let mut put = to.prepare_cached("INSERT OR REPLACE INTO bindings VALUES (?1, ?2, ?3)")?;
    put.execute(params![row.user.as_str(), row.slot, json(row)?])
}

pub(super) fn delete_binding(from: &Connection, key: &registrar::RowKey) -> rusqlite::Result<usize> {
    let mut delete = from.prepare_cached("DELETE FROM bindings WHERE user = ?1 AND slot = ?2")?;
    delete.execute(params![key.user.as_str(), key.slot])
}

pub(super) fn binding(from: &Columns<'_>) -> rusqlite::Result<Result<registrar::Row, String>> {
    let row = serde_json::from_slice(from.get_ref(2)?.as_bytes()?);
    let (user, slot) = (from.get_ref(0)?.as_str()?, from.get::<_, u8>(1)?);
    Ok(row.map_err(|error| format!("bindings: {user} {slot}: {error}")))
}

/// `at`: its place among the records. Written again after a commit of which nobody knows whether it was one, it replaces itself.
pub(super) fn put_record(to: &Connection, at: i64, row: &admin::Record) -> rusqlite::Result<usize> {
    let mut put = to.prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)")?;
    put.execute(params![at, signed(row.ended_at.unix_millis()), json(row)?])
}

/// Looks at the oldest only, which stand first. `ended_before`: of the wall clock.
pub(super) fn delete_records(from: &Connection, ended_before: u64, at_most: usize) -> rusqlite::Result<usize> {
    const DELETE: &str =
        "DELETE FROM records WHERE at IN (SELECT at FROM records ORDER BY at LIMIT ?2) AND ended_at < ?1";
    let mut delete = from.prepare_cached(DELETE)?;
    delete.execute(params![signed(ended_before), i64::try_from(at_most).unwrap_or(i64::MAX)])
}

pub(super) fn record(from: &Columns<'_>) -> rusqlite::Result<Result<admin::Record, String>> {
    let row = serde_json::from_slice(from.get_ref(1)?.as_bytes()?);
    let at: i64 = from.get(0)?;
    Ok(row.map_err(|error| format!("records: {at}: {error}")))
}

/// `None`: it is forgotten.
pub(super) fn put_notice(to: &Connection, seq: u64, row: Option<&admin::Notice>) -> rusqlite::Result<usize> {
    match row {
        Some(row) => {
            let mut put = to.prepare_cached("INSERT OR REPLACE INTO notices VALUES (?1, ?2)")?;
            put.execute(params![signed(seq), json(row)?])
        }
        None => to.prepare_cached("DELETE FROM notices WHERE seq = ?1")?.execute([signed(seq)]),
    }
}

pub(super) fn notice(from: &Columns<'_>) -> rusqlite::Result<Result<admin::Notice, String>> {
    let row = serde_json::from_slice(from.get_ref(1)?.as_bytes()?);
    let seq: i64 = from.get(0)?;
    Ok(row.map_err(|error| format!("notices: {seq}: {error}")))
}

fn json<T: serde::Serialize>(row: &T) -> rusqlite::Result<String> {
    serde_json::to_string(row).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(super) fn put_clock(to: &Connection, clock: &Stored) -> rusqlite::Result<usize> {
    let Reading { wall_ms, boot_id, boottime_ms } = &clock.reading;
    to.prepare_cached("INSERT OR REPLACE INTO clock VALUES (1, ?1, ?2, ?3, ?4)")?.execute(params![
        signed(clock.node_ms),
        signed(*wall_ms),
        boot_id,
        signed(*boottime_ms)
    ])
}

pub(super) fn clock(from: &Columns<'_>) -> rusqlite::Result<Stored> {
    let reading =
        Reading { wall_ms: unsigned(from.get(1)?), boot_id: from.get(2)?, boottime_ms: unsigned(from.get(3)?) };
    Ok(Stored { node_ms: unsigned(from.get(0)?), reading })
}
