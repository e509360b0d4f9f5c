//! What can be wrong with the store: said at start with its name and what to do, while running as a `StoreFault`.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::config::{PostgresPlace, StorePlace};
use crate::node::rows::{StoreFault, StoreSin};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct OpenFault {
    /// The file, or the address of the database without its password.
    pub place: String,
    /// What is wrong, and what to do about it.
    pub what: String,
    /// Another daemon has it. Nothing else keeps the daemon from starting.
    pub is_anothers: bool,
}

impl OpenFault {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { place: file.display().to_string(), what: what.into(), is_anothers: false }
    }

    pub(super) fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let remedy = match sin(error) {
            StoreSin::Full => "free some space on this disk",
            StoreSin::ReadOnly => "make the file and its directory writable for the user that runs sosbridge",
            StoreSin::Locked => "end the program that has it locked (an sqlite3 shell in a transaction?)",
            StoreSin::Corrupt => {
                "it is no sosbridge store or it is damaged: move it away and restore a backup, or start without one"
            }
            StoreSin::Missing => {
                "check the path, that the user that runs sosbridge may read and write there, and that the disk is not read-only"
            }
            _ => "see that the disk is not full, and look at the system log",
        };
        Self::new(file, format!("{error}; {remedy}"))
    }

    pub(super) fn dividing(place: &StorePlace, fault: &StoreFault) -> Self {
        let place = match place {
            StorePlace::Sqlite(path) => path.display().to_string(),
            StorePlace::Postgres(place) => place.to_string(),
        };
        let what = format!("the numbers of the pools cannot be divided: {}", fault.detail);
        Self { place, what, is_anothers: false }
    }

    pub(super) fn postgres(place: &PostgresPlace, fault: StoreFault) -> Self {
        let remedy = match fault.sin {
            StoreSin::Away => "; see that PostgreSQL runs there and lets this machine in",
            StoreSin::Full => "; free some space on its disk",
            StoreSin::ReadOnly => "; name the server that takes writes, and a user who may write and make tables",
            StoreSin::Locked | StoreSin::Taken | StoreSin::Fenced | StoreSin::Missing => "",
            StoreSin::Corrupt | StoreSin::Disk | StoreSin::Backlog | StoreSin::Unopened | StoreSin::Other => {
                "; check [store] url, and the log of the database"
            }
        };
        let is_anothers = fault.sin == StoreSin::Taken;
        Self { place: place.to_string(), what: format!("{}{remedy}", fault.detail), is_anothers }
    }
}

/// The sin behind an error of SQLite.
pub(super) fn sin(error: &rusqlite::Error) -> StoreSin {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreSin::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreSin::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreSin::Locked,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreSin::Corrupt,
        Some(ErrorCode::CannotOpen) => StoreSin::Missing,
        Some(ErrorCode::SystemIoFailure) => StoreSin::Disk,
        _ => StoreSin::Other,
    }
}

pub(super) fn while_running(error: &rusqlite::Error) -> StoreFault {
    StoreFault { sin: sin(error), detail: error.to_string() }
}

/// What PostgreSQL or the way to it says. The details of the server are left out: they name the values of rows.
pub(super) fn of_postgres(error: &tokio_postgres::Error) -> StoreFault {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        let is_away = error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>());
        let cause = cause.map(ToString::to_string).filter(|cause| !error.to_string().contains(cause.as_str()));
        let detail = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        return StoreFault { sin: if is_away { StoreSin::Away } else { StoreSin::Other }, detail };
    };
    // PostgreSQL, Appendix A: classes and codes.
    let sin = match said.code().code() {
        "53100" => StoreSin::Full,
        "25006" | "42501" => StoreSin::ReadOnly,
        "55P03" | "57014" => StoreSin::Locked,
        "53300" | "57P01" | "57P02" | "57P03" => StoreSin::Away,
        "3F000" | "42P01" => StoreSin::Missing,
        code if code.starts_with("08") => StoreSin::Away,
        code if code.starts_with("XX") => StoreSin::Corrupt,
        code if code.starts_with("58") => StoreSin::Disk,
        _ => StoreSin::Other,
    };
    StoreFault { sin, detail: format!("{} ({})", said.message(), said.code().code()) }
}
