//! One session with the server: begun, locked, and what is asked in it.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::{CONNECT, rows, sql};
use crate::base::limits;
use crate::config::PostgresPlace;
use crate::node::rows::{StoreFault, StoreSin};
use crate::shell::clock::Stored;
use crate::shell::store::fault::of_postgres;
use crate::shell::store::lease_columns::signed;
use crate::shell::store::shares::{self, Plan, Range, Seen};
use crate::shell::store::{Loaded, Neighbourhood, Sign};

/// Between attempts to get the lock, after the former session of this daemon was ended.
const UNLOCKED: Duration = Duration::from_millis(50);

pub(super) struct Session {
    client: Client,
    /// Reads and writes the socket, while something is waited for.
    connection: JoinHandle<()>,
    /// The process of the server that serves it.
    backend: i32,
    /// Made ready with the first commit, when there are tables.
    commit: tokio::sync::OnceCell<Statement>,
}

/// Waits for the database, but no longer than `limit`.
pub(super) fn within<T>(
    runtime: &Runtime,
    limit: Duration,
    work: impl Future<Output = Result<T, StoreFault>>,
) -> Result<T, StoreFault> {
    let late = |_| StoreFault { sin: StoreSin::Away, detail: format!("no answer in {} s", limit.as_secs()) };
    runtime.block_on(async { timeout(limit, work).await }).map_err(late)?
}

impl Session {
    /// Connects and takes the lock of the node. `former`: the process of the last session of this daemon, which is ended.
    pub(super) async fn open(place: &PostgresPlace, node: &str, former: Option<i32>) -> Result<Self, StoreFault> {
        let (client, connection) = config(place, node).connect(NoTls).await.map_err(|error| of_postgres(&error))?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut session = Self { client, connection, backend: 0, commit: tokio::sync::OnceCell::new() };
        session.prepare(node, former).await?;
        Ok(session)
    }

    async fn prepare(&mut self, node: &str, former: Option<i32>) -> Result<(), StoreFault> {
        self.client.batch_execute(sql::SETTINGS).await.map_err(|error| of_postgres(&error))?;
        self.backend = self.value("SELECT pg_backend_pid()", &[]).await?;
        let encoding: String = self.value("SELECT current_setting('server_encoding')", &[]).await?;
        if encoding != "UTF8" {
            let detail = format!("its encoding is {encoding}: make a database with the encoding UTF8");
            return Err(StoreFault { sin: StoreSin::Other, detail });
        }
        if self.lock(node).await? {
            return Ok(());
        }
        if let Some(former) = former {
            let ended = self.client.query(sql::END_FORMER, &[&node, &sql::OURS, &former]).await;
            if !ended.map_err(|error| of_postgres(&error))?.is_empty() {
                // Until the time for connecting is over.
                while !self.lock(node).await? {
                    sleep(UNLOCKED).await;
                }
                return Ok(());
            }
        }
        let detail = format!(
            "another sosbridge named {node:?} is running on it: end that one, or give this one another [node] name"
        );
        Err(StoreFault { sin: StoreSin::Taken, detail })
    }

    async fn lock(&self, node: &str) -> Result<bool, StoreFault> {
        self.value(sql::LOCK, &[&node, &sql::OURS]).await
    }

    /// The first column of the only row.
    async fn value<T: FromSqlOwned>(&self, statement: &str, of: &[&(dyn ToSql + Sync)]) -> Result<T, StoreFault> {
        let row = self.client.query_one(statement, of).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| of_postgres(&error))
    }

    /// A new run: makes the tables in a new database, refuses one that is not ours. Tells the number of the run.
    pub(super) async fn begin(&self, node: &str) -> Result<i64, StoreFault> {
        // One node after the other: none finds half of the tables.
        self.value::<String>("SELECT pg_advisory_lock($1)::text", &[&sql::OURS]).await?;
        let is_new: bool = self.value("SELECT to_regclass('sosbridge.meta') IS NULL", &[]).await?;
        if is_new {
            let made = self.client.batch_execute(&format!("BEGIN; {} COMMIT;", sql::SCHEMA)).await;
            made.map_err(|error| of_postgres(&error))?;
        }
        let mut version: i64 = self.value("SELECT version FROM sosbridge.meta", &[]).await?;
        if version == 1 {
            let changed = self.client.batch_execute(&format!("BEGIN; {} COMMIT;", sql::FROM_VERSION_1)).await;
            changed.map_err(|error| of_postgres(&error))?;
            version = 2;
        }
        if version == 2 {
            let changed = self.client.batch_execute(&format!("BEGIN; {} COMMIT;", sql::FROM_VERSION_2)).await;
            changed.map_err(|error| of_postgres(&error))?;
            version = sql::VERSION;
        }
        if version != sql::VERSION {
            let known = sql::VERSION;
            let detail =
                format!("its tables have version {version}, this sosbridge knows {known}: run the one that wrote them");
            return Err(StoreFault { sin: StoreSin::Missing, detail });
        }
        self.client.batch_execute(sql::DATE_ANEW).await.map_err(|error| of_postgres(&error))?;
        let epoch = self.value(sql::BEGIN_RUN, &[&node]).await?;
        self.value::<bool>("SELECT pg_advisory_unlock($1)", &[&sql::OURS]).await?;
        Ok(epoch)
    }

    /// A run that goes on after its session was lost: nobody else may have begun one.
    pub(super) async fn go_on(&self, node: &str, epoch: i64) -> Result<(), StoreFault> {
        let found: Option<i64> = self.value("SELECT max(epoch) FROM sosbridge.nodes WHERE node = $1", &[&node]).await?;
        if found == Some(epoch) { Ok(()) } else { Err(fenced(node)) }
    }

    /// With the place of the last record.
    pub(super) async fn load(&self, node: &str) -> Result<(Loaded, Option<Stored>, i64), StoreFault> {
        self.load_rows(node).await.map_err(|error| of_postgres(&error))
    }

    async fn load_rows(&self, node: &str) -> Result<(Loaded, Option<Stored>, i64), tokio_postgres::Error> {
        let mut loaded = Loaded::default();
        let leases = self.client.query(sql::LEASES, &[&node]).await?;
        rows::take(&leases, rows::lease, |loaded| &mut loaded.leases, &mut loaded)?;
        let bindings = self.client.query(sql::BINDINGS, &[&node]).await?;
        rows::take(&bindings, rows::binding, |loaded| &mut loaded.bindings, &mut loaded)?;
        let kept = i64::try_from(limits::RECORDS_KEPT).unwrap_or(i64::MAX);
        let records = self.client.query(sql::RECORDS, &[&node, &kept]).await?;
        rows::take(&records, rows::record, |loaded| &mut loaded.records, &mut loaded)?;
        loaded.records.reverse();
        let notices = self.client.query(sql::NOTICES, &[&node]).await?;
        rows::take(&notices, rows::notice, |loaded| &mut loaded.notices, &mut loaded)?;
        let clock = self.client.query_opt(sql::CLOCK, &[&node]).await?;
        let clock = clock.as_ref().map(rows::clock).transpose()?;
        let last = records.first().map_or(Ok(0), |newest| newest.try_get(0))?;
        Ok((loaded, clock, last))
    }

    pub(super) async fn commit(&self, node: &str, epoch: i64, rows: &str) -> Result<(), StoreFault> {
        let commit = self.commit.get_or_try_init(|| self.client.prepare(sql::COMMIT)).await;
        let commit = commit.map_err(|error| of_postgres(&error))?;
        let written = self.client.query_one(commit, &[&node, &epoch, &rows]).await;
        let written: i64 = written.and_then(|row| row.try_get(0)).map_err(|error| of_postgres(&error))?;
        if written == 1 { Ok(()) } else { Err(fenced(node)) }
    }

    pub(super) async fn delete_records(
        &self,
        node: &str,
        epoch: i64,
        ended_before: i64,
        at_most: i64,
    ) -> Result<usize, StoreFault> {
        let deleted = self.client.execute(sql::DELETE_RECORDS, &[&node, &ended_before, &at_most, &epoch]).await;
        Ok(usize::try_from(deleted.map_err(|error| of_postgres(&error))?).unwrap_or(usize::MAX))
    }

    /// Divides the numbers of the pools anew, in one transaction. What was `given_up` is let go where it has no lease. Tells what
    /// is this node's now, and what of it the node is to give up.
    pub(super) async fn divide(
        &self,
        (node, epoch): (&str, i64),
        sign: Sign<'_>,
        pools: &[Vec<Range>],
        given_up: &[Range],
    ) -> Result<(Vec<Range>, Vec<Range>), StoreFault> {
        self.client.batch_execute("BEGIN").await.map_err(|error| of_postgres(&error))?;
        self.value::<String>(sql::DIVIDE, &[&sql::OURS]).await?;
        self.seen((node, epoch), sign).await?;
        let divided = self.divide_rows(node, pools, given_up).await.map_err(|error| of_postgres(&error))?;
        self.client.batch_execute("COMMIT").await.map_err(|error| of_postgres(&error))?;
        Ok(divided)
    }

    /// A sign of life.
    pub(super) async fn seen(&self, (node, epoch): (&str, i64), sign: Sign<'_>) -> Result<(), StoreFault> {
        let Sign { addresses, clock } = sign;
        let (node_ms, wall_ms) = (signed(clock.node_ms), signed(clock.reading.wall_ms));
        let (boot_id, boottime_ms) = (&clock.reading.boot_id, signed(clock.reading.boottime_ms));
        let now: [&(dyn ToSql + Sync); 7] = [&node, &epoch, &addresses, &node_ms, &wall_ms, boot_id, &boottime_ms];
        let seen = self.client.execute(sql::SEEN, &now).await;
        if seen.map_err(|error| of_postgres(&error))? == 1 { Ok(()) } else { Err(fenced(node)) }
    }

    async fn divide_rows(
        &self,
        node: &str,
        pools: &[Vec<Range>],
        given_up: &[Range],
    ) -> Result<(Vec<Range>, Vec<Range>), tokio_postgres::Error> {
        let live = self.client.query(sql::LIVE, &[]).await?;
        let live: Vec<String> = live.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let owned_by_node = rows::ranges(&self.client.query(sql::SLICES, &[]).await?)?;
        let before = owned_by_node.get(node).cloned().unwrap_or_default();
        let pooled = shares::merged(pools.concat());
        let given_up = shares::merged([given_up, &shares::minus(&before, &pooled)].concat());
        // A node alone that has all its pools, mostly: nothing to divide.
        if live.len() <= 1 && given_up.is_empty() && before == pooled {
            return Ok((before, Vec::new()));
        }
        let used_by_node = rows::ranges(&self.client.query(sql::USED, &[]).await?)?;
        let mut seen = Seen { live, owned_by_node, used_by_node };
        let used = seen.used_by_node.get(node).map_or(&[][..], Vec::as_slice);
        let kept = shares::minus(&before, &shares::minus(&given_up, used));
        seen.owned_by_node.insert(node.to_owned(), kept.clone());
        let Plan { claim, offer } = shares::plan(pools, node, &seen);
        let after = shares::merged([kept, claim].concat());
        if after != before {
            let (first, last): (Vec<i64>, Vec<i64>) =
                after.iter().map(|(first, last)| (signed(*first), signed(*last))).unzip();
            self.client.execute(sql::FORGET_SLICES, &[&node]).await?;
            self.client.execute(sql::PUT_SLICES, &[&node, &first, &last]).await?;
        }
        Ok((after, offer))
    }

    /// What the other nodes have changed since the snapshot `since`, and the one to ask from the next time.
    pub(super) async fn elsewhere(&self, node: &str, since: &str) -> Result<(Neighbourhood, String), StoreFault> {
        let read = async {
            let nodes = self.client.query(sql::NEIGHBOURS, &[&node]).await?;
            let nodes = nodes.iter().map(rows::neighbour).collect::<Result<_, _>>()?;
            let changed = self.client.query(sql::ELSEWHERE, &[&node, &since]).await?;
            let next = changed.first().map_or(Ok(since.to_owned()), |row| row.try_get(18))?;
            let rows =
                changed.iter().filter_map(|row| rows::of_neighbour(row).transpose()).collect::<Result<_, _>>()?;
            Ok((Neighbourhood { nodes, rows }, next))
        };
        read.await.map_err(|error| of_postgres(&error))
    }

    pub(super) fn backend(&self) -> i32 {
        self.backend
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn config(place: &PostgresPlace, node: &str) -> Config {
    let mut config = Config::new();
    for (host, port) in &place.hosts {
        config.host(host).port(*port);
    }
    config.user(&place.user).dbname(&place.database).application_name(format!("sosbridge {node}"));
    if !place.password.is_empty() {
        config.password(&place.password);
    }
    let share = u32::try_from(place.hosts.len()).unwrap_or(u32::MAX).max(1);
    config.connect_timeout(CONNECT / share).tcp_user_timeout(CONNECT).keepalives_idle(CONNECT);
    config.ssl_mode(SslMode::Disable).target_session_attrs(TargetSessionAttrs::ReadWrite);
    config
}

fn fenced(node: &str) -> StoreFault {
    let detail = format!(
        "the database no longer knows this run of the node {node:?}: another daemon of that name has begun one there, or a \
         backup was restored"
    );
    StoreFault { sin: StoreSin::Fenced, detail }
}
