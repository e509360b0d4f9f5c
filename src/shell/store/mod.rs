//! The store: an SQLite file or a PostgreSQL database, written by one thread, many rows to a commit (SPEC §3, "Durable").
//!
//! Rows not yet written wait in memory, the newest of each key only, also while the disk is full or the database away: what
//! the store could not write, it writes when it can again. Every answer says truly whether the rows of a write are durable.

mod batch;
mod columns;
mod database;
mod engine;
mod fault;
mod late;
mod lease_columns;
mod neighbourhood;
mod peek;
mod postgres;
mod shares;
#[cfg(test)]
mod tests;
mod writer;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use self::batch::Batch;
pub use self::fault::OpenFault;
use self::late::{Opening, Patience};
use self::neighbourhood::{Elsewhere, Neighbourhood, Sign};
use self::shares::Range;
use crate::base::E164;
use crate::config::{Pool, StorePlace};
use crate::lease::ElsewhereNews;
use crate::node::Remembered;
use crate::node::rows::{Row, StoreFault, StoreSin, WriteId};
use crate::shell::clock::NodeClock;
use crate::{admin, lease, registrar};

/// What the store remembered.
#[derive(Debug, Default)]
pub struct Loaded {
    pub leases: Vec<lease::Row>,
    pub bindings: Vec<registrar::Row>,
    /// The newest `limits::RECORDS_KEPT` records, oldest first.
    pub records: Vec<admin::Record>,
    pub notices: Vec<admin::Notice>,
    /// Rows that could not be read, said for the log; they stay in the file.
    pub unreadable: Vec<String>,
    /// The pool numbers that are this node's; `None`: all are.
    pub share: Option<Share>,
    /// What other nodes hold.
    pub elsewhere: ElsewhereNews,
    /// Not all leases could be read.
    pub is_unknown: bool,
}

/// The pool numbers that a node may lease from, where several share a database.
pub type Share = Vec<RangeInclusive<E164>>;

/// The answer for the writes of one commit. No writes and `Ok`: the rows that waited because of a fault are written now.
#[derive(Debug)]
pub struct Done {
    pub writes: Vec<WriteId>,
    pub result: Result<(), StoreFault>,
    /// The share of this node is another; to be answered with `Store::takes_share`.
    pub share: Option<Share>,
    /// Other nodes hold something else, or are elsewhere.
    pub elsewhere: Option<ElsewhereNews>,
    /// What could not be read at start, or a part of it; to be answered with `Store::has_recalled`.
    pub remembered: Option<Box<Remembered>>,
}

impl Done {
    const fn new(writes: Vec<WriteId>, result: Result<(), StoreFault>) -> Self {
        Self { writes, result, share: None, elsewhere: None, remembered: None }
    }
}

/// The running store. Dropping it writes what waits, as far as the disk lets it.
pub struct Store {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// Between the node and the writer thread.
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// Records are deleted this long after their call; zero: never.
    keep_records: Duration,
    /// The ranges of each pool.
    pools: Arc<[Vec<Range>]>,
    /// Where this node takes datagrams, for other nodes: separated by spaces.
    addresses: Arc<str>,
    /// The node knows the last share that it was told of, and its rows until then are in the batch.
    has_share: bool,
    /// The node has a part of what the store remembers, and has not taken it over yet.
    is_recalling: bool,
    stop: bool,
}

impl Store {
    /// Opens or creates the store, reads all that is the node's, starts the node clock from it and the writer thread after it.
    /// The answers to `submit` come through `answers`; an answer the receiver has no room for makes the writer wait.
    pub fn open(
        place: &StorePlace,
        node: &str,
        pools: &[Pool],
        answers: mpsc::Sender<Done>,
    ) -> Result<(Self, NodeClock, Loaded), OpenFault> {
        let (engine, division, clock, loaded) = Opening::new(place, node).begin(pools)?;
        let run = move |shared: &Shared| writer::run(engine, division, clock, shared, &answers, None);
        Ok((Self::start(pools, Batch::default(), run)?, clock, loaded))
    }

    fn start(pools: &[Pool], batch: Batch, run: impl FnOnce(&Shared) + Send + 'static) -> Result<Self, OpenFault> {
        let waiting = Waiting { batch, pools: ranges(pools), has_share: true, ..Waiting::default() };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), news: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store".to_owned());
        let no_thread = |error| OpenFault::new(Path::new("the store"), format!("no thread for it: {error}"));
        let writer = thread.spawn(move || run(&theirs)).map_err(no_thread)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Deletes records from now on, `keep` after the end of their call; zero: none. A few at a time, when nothing else waits.
    pub fn keep_records(&self, keep: Duration) {
        self.shared.lock().keep_records = keep;
        self.shared.news.notify_one();
    }

    /// Tells other nodes where this one takes datagrams.
    pub fn is_reached_at(&self, addresses: &[SocketAddr]) {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        self.shared.lock().addresses = addresses.join(" ").into();
    }

    /// Other pools, of a configuration that the node has taken already.
    pub fn set_pools(&self, pools: &[Pool]) {
        self.shared.lock().pools = ranges(pools);
    }

    /// The node has taken the share of the last answer, and all its rows from before were submitted.
    pub fn takes_share(&self) {
        self.shared.lock().has_share = true;
    }

    /// The node has taken over what came with the last answer.
    pub fn has_recalled(&self) {
        self.shared.lock().is_recalling = false;
        self.shared.news.notify_one();
    }

    /// Queues the rows; never waits for the disk. `urgent` rows are committed at once, others within 200 ms.
    ///
    /// # Errors
    /// When too many rows wait. Leases are taken all the same; other rows of this call are lost, and no answer follows.
    pub fn submit(&self, write: WriteId, rows: Vec<Row>, urgent: bool) -> Result<(), StoreFault> {
        let mut waiting = self.shared.lock();
        let (idle, accepted) = (waiting.batch.is_empty(), waiting.batch.add(rows));
        waiting.batch.urgent |= urgent;
        if accepted {
            waiting.batch.writes.push(write);
        }
        drop(waiting);
        if idle || urgent {
            self.shared.news.notify_one();
        }
        let detail = "more than limits::STORE_QUEUE".to_owned();
        if accepted { Ok(()) } else { Err(StoreFault { sin: StoreSin::Backlog, detail }) }
    }
}

fn ranges(pools: &[Pool]) -> Arc<[Vec<Range>]> {
    let of = |pool: &Pool| pool.numbers.iter().map(|range| (range.first.digits(), range.last.digits())).collect();
    pools.iter().map(of).map(shares::merged).collect()
}

fn share(of: &[Range]) -> Share {
    let range = |(first, last): &Range| Some(E164::from_digits(*first)?..=E164::from_digits(*last)?);
    of.iter().filter_map(range).collect()
}

impl Shared {
    /// A thread that died holding the lock left whole rows only: the rest may go on with them.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.news.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}
