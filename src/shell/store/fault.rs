//! What can be wrong with the file: said at start with the file's name and what to do, while running as a `StoreFault`.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::node::rows::{StoreFault, StoreSin};

/// Why the store cannot be opened. The daemon does not start without it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct OpenFault {
    pub file: PathBuf,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl OpenFault {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into() }
    }

    pub(super) fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let remedy = match sin(error) {
            StoreSin::Full => "free some space on this disk",
            StoreSin::ReadOnly => "make the file and its directory writable for the user that runs sosbridge",
            StoreSin::Locked => "end the program that has it locked (an sqlite3 shell in a transaction?)",
            StoreSin::Corrupt => {
                "it is no sosbridge store or it is damaged: move it away and restore a backup, or start without one"
            }
            StoreSin::Missing => "check the path, and that the user that runs sosbridge may read and write it",
            StoreSin::Disk | StoreSin::Backlog | StoreSin::Other => "check the disk and the system log",
        };
        Self::new(file, format!("{error}; {remedy}"))
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
