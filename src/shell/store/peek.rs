//! Reading an SQLite file that cannot be opened for writing: the disk is full or read-only, or the file is damaged.

use std::fs;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::Loaded;
use super::database::{self, beside};
use crate::shell::clock::Stored;

/// What can be read of the file, which stays as it is, and the node clock.
pub(super) fn peek(path: &Path) -> (Loaded, Option<Stored>) {
    let nothing = || (Loaded { is_unknown: true, ..Loaded::default() }, None);
    let Ok(connection) = open(path) else { return nothing() };
    // Without its clock nobody knows when a lease ends.
    let Ok(Some(clock)) = database::clock(&connection) else { return nothing() };
    let (mut loaded, [leases, ..]) = database::load(&connection);
    loaded.is_unknown = leases.is_err();
    (loaded, Some(clock))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.is_file() && log.len() > 0) {
        // SQLite would make a log.
        let name = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let name = format!("file:{name}?immutable=1");
        return Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_URI);
    }
    // With the index of the log in memory, which wants a lock that only a file open for writing has; `FILE.lock` is ours, or there is
    // none.
    let connection = Connection::open_with_flags_and_vfs(path, flags, "unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    Ok(connection)
}
