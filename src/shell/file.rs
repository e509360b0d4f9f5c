//! The configuration file: reading it, and saying what is wrong with it.

use std::path::{Path, PathBuf};

use crate::config::{self, Loaded};

/// Why a file cannot be used; prints ready for a terminal or a log.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error("cannot read {path}: {reason}")]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{0}")]
    Wrong(String),
}

/// Reads and checks `path`. Warnings go to the log.
pub fn load(path: &Path) -> Result<Loaded, FileFault> {
    let (loaded, warnings) = load_with_warnings(path)?;
    if !warnings.is_empty() {
        tracing::warn!("the configuration may be run, but:\n{}", warnings.trim_end());
    }
    Ok(loaded)
}

/// Like [`load`], with the warnings as text ready to print; empty when there are none.
pub fn load_with_warnings(path: &Path) -> Result<(Loaded, String), FileFault> {
    let unreadable = |reason| FileFault::Unreadable { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let whole = std::path::absolute(path).map_err(unreadable)?;
    let base_dir = whole.parent().unwrap_or(&whole);
    let name = path.display().to_string();
    match config::load(&text, base_dir) {
        Ok(loaded) => {
            let warnings = config::render(&loaded.warnings, &name, &text);
            Ok((loaded, warnings))
        }
        Err(problems) => Err(FileFault::Wrong(config::render(&problems, &name, &text))),
    }
}
