//! The two engines behind the writer thread: an SQLite file, or a PostgreSQL database.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::database::Database;
use super::fault::OpenFault;
use super::postgres::Postgres;
use super::shares::{Division, Range};
use super::{Loaded, Neighbourhood, Patience, Sign};
use crate::config::StorePlace;
use crate::node::rows::StoreFault;
use crate::shell::clock::Stored;

pub(super) enum Engine {
    Sqlite(Database),
    Postgres(Box<Postgres>),
}

impl Engine {
    /// `node`: whose rows they are, where several nodes share a database.
    pub(super) fn open(
        place: &StorePlace,
        node: &str,
        lock: &mut Option<Arc<File>>,
        patience: Patience,
    ) -> Result<Self, OpenFault> {
        Ok(match place {
            StorePlace::Sqlite(path) => Self::Sqlite(Database::open(path, lock)?),
            StorePlace::Postgres(place) => Self::Postgres(Box::new(Postgres::open(place, node, patience)?)),
        })
    }

    /// Everything the daemon needs at start, and the node clock as last stored.
    pub(super) fn load(&mut self) -> Result<(Loaded, Option<Stored>), OpenFault> {
        match self {
            Self::Sqlite(database) => Ok((database.load()?, database.load_clock()?)),
            Self::Postgres(postgres) => postgres.load(),
        }
    }

    /// The first write of a run: a store that takes none is found out before the daemon starts.
    pub(super) fn prove_writable(&mut self, clock: &Stored) -> Result<(), OpenFault> {
        match self {
            Self::Sqlite(database) => database.prove_writable(clock),
            Self::Postgres(postgres) => postgres.prove_writable(clock),
        }
    }

    /// Commits all rows or none.
    pub(super) fn write(&mut self, batch: &Batch, clock: Option<&Stored>) -> Result<(), StoreFault> {
        match self {
            Self::Sqlite(database) => database.write(batch, clock),
            Self::Postgres(postgres) => postgres.write(batch, clock),
        }
    }

    /// Divides the numbers of the pools among the nodes of a database; `None`: nothing new; at start, all are this node's.
    pub(super) fn divide(
        &mut self,
        pools: &[Vec<Range>],
        given_up: &[Range],
        sign: Sign<'_>,
    ) -> Result<Option<Division>, StoreFault> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(postgres) => postgres.divide(pools, given_up, sign),
        }
    }

    /// What the other nodes of a database have changed since the last time.
    pub(super) fn elsewhere(&mut self) -> Result<Neighbourhood, StoreFault> {
        match self {
            Self::Sqlite(_) => Ok(Neighbourhood::default()),
            Self::Postgres(postgres) => postgres.elsewhere(),
        }
    }

    /// Deletes the oldest `at_most` of the records that ended more than `keep` before `now_ms`, and says how many those were.
    pub(super) fn delete_records(&mut self, now_ms: u64, keep: Duration, at_most: usize) -> Result<usize, StoreFault> {
        let before = now_ms.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Sqlite(database) => database.delete_records(before, at_most),
            Self::Postgres(postgres) => postgres.delete_records(before, at_most),
        }
    }
}
