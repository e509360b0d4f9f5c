//! The SQLite file: opening, reading, one transaction, and getting it back when somebody removes it under us.
//!
//! Write-ahead log with `synchronous = FULL`: a commit that returned is on the disk.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row as Columns, Transaction, TransactionBehavior};

use super::Loaded;
use super::batch::Batch;
use super::columns;
use super::fault::{OpenFault, sin, while_running};
use crate::base::limits;
use crate::node::rows::{StoreFault, StoreSin};
use crate::shell::clock::Stored;

/// "SOSB": tells our files from other SQLite files.
const APPLICATION_ID: i64 = 0x534f_5342;
/// How long a commit waits for another program's lock; below the write deadline of an emergency call.
const PATIENCE: Duration = Duration::from_millis(100);

/// The open file. Only one process has it: it keeps `FILE.lock` locked.
pub(super) struct Database {
    path: PathBuf,
    /// `None` after a fault that wants it opened anew.
    connection: Option<Connection>,
    /// The file and its log as they were when opened.
    opened: Files,
    /// The place of the next record.
    next_record: i64,
    _lock: Arc<File>,
}

/// Which files (device, inode) bear the names of the database and of its write-ahead log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files {
    database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

impl Database {
    /// `lock`: that of the file, kept from the first time that it could be had.
    pub(super) fn open(path: &Path, lock: &mut Option<Arc<File>>) -> Result<Self, OpenFault> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .map_err(|error| OpenFault::new(path, format!("its directory cannot be made: {error}")))?;
        }
        let lock = match lock {
            Some(lock) => Arc::clone(lock),
            None => Arc::clone(lock.insert(Arc::new(self::lock(path)?))),
        };
        let fault = |error: rusqlite::Error| OpenFault::sqlite(path, &error);
        let mut connection = connect(path).map_err(fault)?;
        prepare(path, &connection)?;
        make_log(&mut connection).map_err(fault)?;
        let next_record = next_record(&connection).map_err(fault)?;
        let opened = Files::of(path);
        Ok(Self { path: path.to_owned(), connection: Some(connection), opened, next_record, _lock: lock })
    }

    /// Everything the daemon needs at start.
    pub(super) fn load(&self) -> Result<Loaded, OpenFault> {
        let Some(connection) = &self.connection else { return Ok(Loaded::default()) };
        let (loaded, results) = load(connection);
        let whole: rusqlite::Result<()> = results.into_iter().collect();
        whole.map(|()| loaded).map_err(|error| OpenFault::sqlite(&self.path, &error))
    }

    pub(super) fn load_clock(&self) -> Result<Option<Stored>, OpenFault> {
        let Some(connection) = &self.connection else { return Ok(None) };
        clock(connection).map_err(|error| OpenFault::sqlite(&self.path, &error))
    }

    /// The first write of a run: a disk that is full or read-only is found out before the daemon starts.
    pub(super) fn prove_writable(&mut self, clock: &Stored) -> Result<(), OpenFault> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let written = commit(connection, &Batch::default(), self.next_record, Some(clock));
        self.opened = Files::of(&self.path);
        written.map_err(|error| OpenFault::sqlite(&self.path, &error))
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(super) fn connection_for_tests(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }

    /// Commits all rows or none.
    pub(super) fn write(&mut self, batch: &Batch, clock: Option<&Stored>) -> Result<(), StoreFault> {
        let now = Files::of(&self.path);
        if self.connection.is_none() {
            self.reconnect()?;
        } else if now != self.opened {
            self.rescue(now)?;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        commit(connection, batch, self.next_record, clock).map_err(|error| {
            if matches!(sin(&error), StoreSin::Disk | StoreSin::ReadOnly) {
                // After a failed fsync nothing held in memory about the file is to be believed; and a file opened to be read only stays so.
                self.connection = None;
            }
            while_running(&error)
        })?;
        self.next_record = self.next_record.saturating_add_unsigned(batch.records.len() as u64);
        Ok(())
    }

    /// `ended_before`: of the wall clock.
    pub(super) fn delete_records(&self, ended_before: u64, at_most: usize) -> Result<usize, StoreFault> {
        let Some(connection) = self.connection.as_ref().filter(|_| Files::of(&self.path) == self.opened) else {
            return Ok(0);
        };
        columns::delete_records(connection, ended_before, at_most).map_err(|error| while_running(&error))
    }

    /// The names no longer bear the files we have open, which still hold everything: writes them out under the old name.
    fn rescue(&mut self, now: Files) -> Result<(), StoreFault> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let missing = |detail: String| StoreFault { sin: StoreSin::Missing, detail };
        let path = self.path.display();
        if now.database == self.opened.database {
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(|error| missing(format!("{path}-wal was removed, and saving what it held fails: {error}")))?;
            self.connection = None;
            return self.reconnect();
        }
        if now.database.is_some() {
            return Err(missing(format!("another file was put in the place of {path}; move it away")));
        }
        let copy = beside(&self.path, ".rescue");
        let saved = save(connection, &self.path, &copy);
        saved.map_err(|error| missing(format!("{path} was removed, and writing it again fails: {error}")))?;
        // Closing removes the log by its name: only then may a new file bear the old name.
        self.connection = None;
        for name in ["-wal", "-shm"] {
            let _absent = fs::remove_file(beside(&self.path, name));
        }
        fs::rename(&copy, &self.path).map_err(|error| missing(format!("{path} was removed: {error}")))?;
        self.reconnect()
    }

    fn reconnect(&mut self) -> Result<(), StoreFault> {
        let mut connection = connect(&self.path).map_err(|error| while_running(&error))?;
        prepare(&self.path, &connection)
            .map_err(|fault| StoreFault { sin: StoreSin::Other, detail: fault.to_string() })?;
        make_log(&mut connection).map_err(|error| while_running(&error))?;
        self.connection = Some(connection);
        self.opened = Files::of(&self.path);
        Ok(())
    }
}

impl Files {
    fn of(path: &Path) -> Self {
        let inode = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        Self { database: inode(path), log: inode(&beside(path, "-wal")) }
    }
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<File, OpenFault> {
    let name = beside(path, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    // Where nothing can be written, one that is there can be locked.
    let file = file.or_else(|error| File::open(&name).map_err(|_| error));
    let file = file.map_err(|error| OpenFault::new(&name, format!("{error}; make its directory writable")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = "another sosbridge is running on it: end that one, or give this one another [store] url";
            Err(OpenFault { is_anothers: true, ..OpenFault::new(path, what) })
        }
        Err(fs::TryLockError::Error(error)) => Err(OpenFault::new(&name, format!("it cannot be locked: {error}"))),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // 32 MiB of log between two checkpoints: the same pages are written many times, and checkpointed once.
    connection.pragma_update(None, "wal_autocheckpoint", 8192)?;
    Ok(connection)
}

/// The log gets its file with the first write.
fn make_log(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(Transaction::commit)
}

/// Makes the tables in a new file; refuses a file that is not ours.
fn prepare(path: &Path, connection: &Connection) -> Result<(), OpenFault> {
    let fault = |error: rusqlite::Error| OpenFault::sqlite(path, &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(fault);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(fault)?;
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, columns::VERSION) => Ok(()),
        (APPLICATION_ID, 1) => {
            let steps = [columns::FROM_VERSION_1, columns::FROM_VERSION_2].concat();
            change(connection, &steps).map_err(fault)
        }
        (APPLICATION_ID, 2) => change(connection, columns::FROM_VERSION_2).map_err(fault),
        (APPLICATION_ID, version) => Err(OpenFault::new(
            path,
            format!("it has version {version}, this sosbridge knows {}: run the one that wrote it", columns::VERSION),
        )),
        (0, 0) if tables == 0 => change(connection, columns::SCHEMA).map_err(fault),
        _ => Err(OpenFault::new(path, "it is a database of another program: give sosbridge a file of its own")),
    }
}

/// Brings the file to the version of this program, wholly or not at all.
fn change(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let version = columns::VERSION;
    let pragmas = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {sql} {pragmas} COMMIT;"))
}

/// What can be read, and how that went: leases, bindings, records, notices.
pub(super) fn load(connection: &Connection) -> (Loaded, [rusqlite::Result<()>; 4]) {
    let mut loaded = Loaded::default();
    let records = format!("SELECT at, json FROM records ORDER BY at DESC LIMIT {}", limits::RECORDS_KEPT);
    let Loaded { leases, bindings, records: kept, notices, unreadable, .. } = &mut loaded;
    let results = [
        rows(connection, columns::LEASES, columns::lease, leases, unreadable),
        rows(connection, "SELECT user, slot, value FROM bindings", columns::binding, bindings, unreadable),
        rows(connection, &records, columns::record, kept, unreadable),
        rows(connection, "SELECT seq, json FROM notices ORDER BY seq", columns::notice, notices, unreadable),
    ];
    loaded.records.reverse();
    (loaded, results)
}

fn rows<T>(
    connection: &Connection,
    select: &str,
    read: impl FnMut(&Columns<'_>) -> rusqlite::Result<Result<T, String>>,
    into: &mut Vec<T>,
    unreadable: &mut Vec<String>,
) -> rusqlite::Result<()> {
    for row in connection.prepare(select)?.query_map([], read)? {
        match row? {
            Ok(row) => into.push(row),
            Err(said) => unreadable.push(said),
        }
    }
    Ok(())
}

/// The node clock as last stored.
pub(super) fn clock(connection: &Connection) -> rusqlite::Result<Option<Stored>> {
    let clock = "SELECT node_ms, wall_ms, boot_id, boottime_ms FROM clock";
    connection.query_row(clock, [], columns::clock).optional()
}

fn next_record(connection: &Connection) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection.query_row("SELECT max(at) FROM records", [], |row| row.get(0))?;
    Ok(last.map_or(1, |last| last.saturating_add(1)))
}

/// `next_record`: the place of the first record of the batch.
fn commit(
    connection: &mut Connection,
    batch: &Batch,
    next_record: i64,
    clock: Option<&Stored>,
) -> rusqlite::Result<()> {
    if batch.is_empty() && clock.is_none() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for row in batch.lease_by_number.values() {
        columns::put_lease(&transaction, row)?;
    }
    for (key, row) in &batch.binding_by_key {
        match row {
            Some(row) => columns::put_binding(&transaction, row)?,
            None => columns::delete_binding(&transaction, key)?,
        };
    }
    for (at, record) in (next_record..).zip(&batch.records) {
        columns::put_record(&transaction, at, record)?;
    }
    for (seq, notice) in &batch.notice_by_seq {
        columns::put_notice(&transaction, *seq, notice.as_deref())?;
    }
    if let Some(clock) = clock {
        columns::put_clock(&transaction, clock)?;
    }
    transaction.commit()
}

/// Writes a whole copy of what `connection` has open, and waits until it is on the disk.
fn save(connection: &Connection, path: &Path, copy: &Path) -> Result<(), String> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    }
    let _absent = fs::remove_file(copy);
    let name = copy.to_str().ok_or("its name is not UTF-8")?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| error.to_string())?;
    File::open(copy).and_then(|file| file.sync_all()).map_err(|error| error.to_string())
}
