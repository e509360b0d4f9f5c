//! The PostgreSQL database: one session of the store's thread, one statement and one round trip a commit.
//!
//! A node has one session, which holds an advisory lock of the node's name: no statement of an earlier one can still run when a
//! later one writes. Each start of a daemon begins a run, numbered in the row of its node; a commit compares the number, so that a
//! daemon whose place another has taken writes nothing. A session that is lost is begun anew with the next commit.

#[cfg(test)]
mod nodes_tests;
mod rows;
mod session;
mod sql;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use self::session::{Session, within};
use super::batch::Batch;
use super::fault::OpenFault;
use super::lease_columns::signed;
use super::shares::{self, Division, Range};
use super::{Loaded, Neighbourhood, Patience, Sign};
use crate::config::PostgresPlace;
use crate::node::rows::{StoreFault, StoreSin};
use crate::shell::clock::Stored;

/// To a session that may write, its server found among those named.
const CONNECT: Duration = Duration::from_secs(4);
/// A commit of few rows; every `ROWS` more have a second more.
const COMMIT: Duration = Duration::from_secs(2);
const ROWS: usize = 10_000;
/// Reading everything, and making the tables.
const LOAD: Duration = Duration::from_secs(60);
/// Between two divisions of numbers, so many times as long as the last one took.
const UNDIVIDED: u32 = 20;
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Postgres {
    place: PostgresPlace,
    node: String,
    runtime: Runtime,
    /// `None`: lost.
    session: Option<Session>,
    /// The process that served the last session.
    backend: i32,
    /// The number of this run.
    epoch: i64,
    /// The place of the next record.
    next_record: i64,
    /// When the numbers are divided next.
    divide_at: Instant,
    /// The snapshot in which the rows of other nodes were read last.
    read_from: String,
}

impl Postgres {
    pub(super) fn open(place: &PostgresPlace, node: &str, patience: Patience) -> Result<Self, OpenFault> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| {
            let detail = format!("no runtime for it: {error}");
            OpenFault::postgres(place, StoreFault { sin: StoreSin::Other, detail })
        })?;
        let (begun_at, mut is_told) = (Instant::now(), false);
        let (session, epoch) = loop {
            let begun = within(&runtime, CONNECT, Session::open(place, node, None))
                .and_then(|session| within(&runtime, LOAD, session.begin(node)).map(|epoch| (session, epoch)));
            match begun {
                Ok(begun) => break begun,
                Err(fault) if begun_at.elapsed() < patience.with(fault.sin) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%fault, "waiting for the database, to start");
                    }
                    std::thread::sleep(AGAIN);
                }
                Err(fault) => return Err(OpenFault::postgres(place, fault)),
            }
        };
        let backend = session.backend();
        let (place, node) = (place.clone(), node.to_owned());
        Ok(Self {
            place,
            node,
            runtime,
            session: Some(session),
            backend,
            epoch,
            next_record: 1,
            divide_at: Instant::now(),
            read_from: sql::NOTHING.to_owned(),
        })
    }

    /// Everything the daemon needs at start.
    pub(super) fn load(&mut self) -> Result<(Loaded, Option<Stored>), OpenFault> {
        let Some(session) = &self.session else { return Ok(Default::default()) };
        let (loaded, clock, last) = within(&self.runtime, LOAD, session.load(&self.node))
            .map_err(|fault| OpenFault::postgres(&self.place, fault))?;
        self.next_record = last.saturating_add(1);
        Ok((loaded, clock))
    }

    pub(super) fn prove_writable(&mut self, clock: &Stored) -> Result<(), OpenFault> {
        self.write(&Batch::default(), Some(clock)).map_err(|fault| OpenFault::postgres(&self.place, fault))
    }

    /// Commits all rows or none.
    pub(super) fn write(&mut self, batch: &Batch, clock: Option<&Stored>) -> Result<(), StoreFault> {
        if batch.is_empty() && clock.is_none() {
            return Ok(());
        }
        let rows = rows::json(batch, self.next_record, clock)?;
        let extra = u64::try_from(batch.len() / ROWS).unwrap_or(0);
        let limit = COMMIT + Duration::from_secs(extra);
        let (had_session, begun) = (self.session.is_some(), Instant::now());
        let mut written = self.commit(&rows, limit);
        let is_over = |fault: &StoreFault| fault.sin == StoreSin::Away && begun.elapsed() < limit;
        // The server has begun anew, or ended the session: no reason to keep a call waiting.
        if had_session && written.as_ref().is_err_and(is_over) {
            written = self.commit(&rows, limit);
        }
        written?;
        self.next_record = self.next_record.saturating_add_unsigned(batch.records.len() as u64);
        Ok(())
    }

    /// After any fault the session is given up: another server may be the one that takes writes now.
    fn commit(&mut self, rows: &str, limit: Duration) -> Result<(), StoreFault> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.reconnect()?,
        };
        within(&self.runtime, limit, session.commit(&self.node, self.epoch, rows))?;
        self.session = Some(session);
        Ok(())
    }

    fn reconnect(&mut self) -> Result<Session, StoreFault> {
        let open = async {
            let session = Session::open(&self.place, &self.node, Some(self.backend)).await?;
            session.go_on(&self.node, self.epoch).await?;
            Ok(session)
        };
        let session = within(&self.runtime, CONNECT, open)?;
        self.backend = session.backend();
        // It may be another server, a standby that was behind: its transactions have numbers that were read already.
        sql::NOTHING.clone_into(&mut self.read_from);
        Ok(session)
    }

    /// Divides the numbers of the pools among the nodes that run. `given_up`: the last offer, which the node does not use any more;
    /// what it has leased since then stays its own. `None`: not yet, only a sign of life. With many leases a division takes long, and rows
    /// that calls wait for wait for it.
    pub(super) fn divide(
        &mut self,
        pools: &[Vec<Range>],
        given_up: &[Range],
        sign: Sign<'_>,
    ) -> Result<Option<Division>, StoreFault> {
        let Some(session) = self.session.take() else {
            return Err(StoreFault { sin: StoreSin::Away, detail: "the session is lost".to_owned() });
        };
        let (begun, run) = (Instant::now(), (self.node.as_str(), self.epoch));
        if begun < self.divide_at && given_up.is_empty() {
            within(&self.runtime, COMMIT, session.seen(run, sign))?;
            self.session = Some(session);
            return Ok(None);
        }
        let divided = within(&self.runtime, COMMIT, session.divide(run, sign, pools, given_up));
        self.divide_at = Instant::now() + begun.elapsed() * UNDIVIDED;
        let (owned, offer) = divided?;
        self.session = Some(session);
        Ok(Some(Division { share: shares::minus(&owned, &offer), offer }))
    }

    /// What the other nodes have changed since the last time.
    pub(super) fn elsewhere(&mut self) -> Result<Neighbourhood, StoreFault> {
        let Some(session) = self.session.take() else {
            return Err(StoreFault { sin: StoreSin::Away, detail: "the session is lost".to_owned() });
        };
        let limit = if self.read_from == sql::NOTHING { LOAD } else { COMMIT };
        let (read, next) = within(&self.runtime, limit, session.elsewhere(&self.node, &self.read_from))?;
        (self.session, self.read_from) = (Some(session), next);
        Ok(read)
    }

    /// `ended_before`: of the wall clock. Nothing is deleted while the session is lost.
    pub(super) fn delete_records(&self, ended_before: u64, at_most: usize) -> Result<usize, StoreFault> {
        let Some(session) = &self.session else { return Ok(0) };
        let (before, at_most) = (signed(ended_before), i64::try_from(at_most).unwrap_or(i64::MAX));
        within(&self.runtime, COMMIT, session.delete_records(&self.node, self.epoch, before, at_most))
    }
}
