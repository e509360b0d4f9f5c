//! `[geo] database`: reading it. Without it the daemon runs all the same.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, Problem};
use crate::geo::Database;
use crate::node::Input;

/// Largest file read, in bytes; the largest of MaxMind's, by city, is an eighth of it.
const BYTES: u64 = 1 << 30;

/// What became of `[geo] database`.
#[derive(Clone, Debug, Default)]
pub enum Geography {
    /// The key is not there.
    #[default]
    Absent,
    Read(Arc<Database>),
    /// The key is there and its file cannot be used: an older one stays in use.
    Unusable,
}

impl Geography {
    /// What the node is told; `None`: nothing changes.
    pub fn input(&self) -> Option<Input> {
        match self {
            Self::Absent => Some(Input::Geography(None)),
            Self::Read(database) => {
                tracing::info!(%database, "country by IP address");
                Some(Input::Geography(Some(Arc::clone(database))))
            }
            Self::Unusable => None,
        }
    }
}

/// Reads the database that `config` names; a warning when that cannot be done.
pub fn load(config: &Config) -> (Geography, Option<Problem>) {
    let Some(path) = &config.geo.database else { return (Geography::Absent, None) };
    let read =
        read(path).and_then(|bytes| Database::from_bytes(bytes).map_err(|fault| format!("cannot be used: {fault}")));
    match read {
        Ok(database) => (Geography::Read(Arc::new(database)), None),
        Err(what) => (Geography::Unusable, Some(Problem::of_geography(&config.geo, &what))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(BYTES).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}
