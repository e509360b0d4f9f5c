//! The tables in the schema `sosbridge`, and the statements. Times are milliseconds: of the node clock, in records of the wall
//! clock. Each row is of one node, which alone writes it.

/// The version of these tables, in `sosbridge.meta`.
pub(super) const VERSION: i64 = 3;

/// `"SOSB"`: what advisory locks of this program have in common.
pub(super) const OURS: i64 = 0x534f_5342;

/// For an operator with `psql`: the same tables and views as in the file of the other engine.
pub(super) const SCHEMA: &str = r#"
CREATE SCHEMA IF NOT EXISTS sosbridge;
CREATE TABLE sosbridge.meta (id INT PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL);
INSERT INTO sosbridge.meta VALUES (1, 3);
CREATE TABLE sosbridge.nodes (
  node TEXT PRIMARY KEY, epoch BIGINT NOT NULL, node_ms BIGINT, wall_ms BIGINT, boot_id TEXT, boottime_ms BIGINT,
  seen TIMESTAMPTZ, addresses TEXT NOT NULL DEFAULT ''
);
CREATE TABLE sosbridge.slices (first BIGINT PRIMARY KEY, last BIGINT NOT NULL CHECK (last >= first), node TEXT NOT NULL);
CREATE TABLE sosbridge.leases (
  node TEXT NOT NULL, number BIGINT NOT NULL, state TEXT NOT NULL, kind TEXT NOT NULL, resource TEXT NOT NULL,
  country TEXT NOT NULL, "user" TEXT NOT NULL, device TEXT NOT NULL, contact TEXT NOT NULL, protocol TEXT NOT NULL,
  listener INT NOT NULL, remote TEXT NOT NULL, dialled_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, calls BIGINT NOT NULL,
  test BOOLEAN NOT NULL, push TEXT NOT NULL,
  changed XID8 NOT NULL DEFAULT pg_current_xact_id(), PRIMARY KEY (node, number)
);
CREATE INDEX ON sosbridge.leases (changed);
CREATE TABLE sosbridge.bindings (
  node TEXT NOT NULL, "user" TEXT NOT NULL, slot INT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (node, "user", slot)
);
CREATE TABLE sosbridge.records (
  node TEXT NOT NULL, at BIGINT NOT NULL, ended_at BIGINT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (node, at)
);
CREATE TABLE sosbridge.notices (node TEXT NOT NULL, seq BIGINT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (node, seq));
CREATE VIEW sosbridge.lease_list AS SELECT '+' || number AS number, state, kind, resource, country, "user", contact, remote,
  to_timestamp(dialled_at / 1000.0) AS dialled_at, to_timestamp(expires_at / 1000.0) AS expires_at, test, node
  FROM sosbridge.leases WHERE state <> 'free';
CREATE VIEW sosbridge.record_list AS SELECT at, json::json ->> 'id' AS id, json::json ->> 'kind' AS kind,
  json::json ->> 'user' AS "user", json::json ->> 'number' AS number, json::json ->> 'outcome' AS outcome,
  json::json ->> 'ended_at' AS ended_at, json, node FROM sosbridge.records;
CREATE VIEW sosbridge.notice_list AS SELECT seq, json::json ->> 'event' AS event, json::json ->> 'about' AS about,
  json::json ->> 'state' AS state, json::json ->> 'attempts' AS attempts, json::json ->> 'delivered_at' AS delivered_at, node
  FROM sosbridge.notices;
"#;

/// From version 1 to 2: numbers are divided among nodes.
pub(super) const FROM_VERSION_1: &str = "
ALTER TABLE sosbridge.nodes ADD COLUMN seen TIMESTAMPTZ;
CREATE TABLE sosbridge.slices (first BIGINT PRIMARY KEY, last BIGINT NOT NULL CHECK (last >= first), node TEXT NOT NULL);
UPDATE sosbridge.meta SET version = 2;
";

/// From version 2 to 3: each node reads what the others hold.
pub(super) const FROM_VERSION_2: &str = "
ALTER TABLE sosbridge.nodes ADD COLUMN addresses TEXT NOT NULL DEFAULT '';
ALTER TABLE sosbridge.leases ADD COLUMN changed XID8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX ON sosbridge.leases (changed);
UPDATE sosbridge.meta SET version = 3;
";

/// What a session is set to, where the server knows it: what was committed is on the disk of the server, at least, and a daemon
/// whose machine is gone is noticed, so that its lock is let go.
pub(super) const SETTINGS: &str = "
SELECT set_config(name, wanted, false) FROM pg_settings JOIN (VALUES
  ('default_transaction_isolation', 'read committed'), ('statement_timeout', '0'), ('lock_timeout', '0'),
  ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '2s'), ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3')
) AS wish (name, wanted) USING (name);
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// One session for each node: the key of its lock is its name.
pub(super) const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, $2))";

/// Ends the former session of this daemon, if that still has the lock: the server has not noticed yet that it is lost.
pub(super) const END_FORMER: &str = "
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = $3
  AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, $2)";

/// A new run of the node. Its number is in every commit.
pub(super) const BEGIN_RUN: &str = "
INSERT INTO sosbridge.nodes (node, epoch) VALUES ($1, 1) ON CONFLICT (node) DO UPDATE SET epoch = nodes.epoch + 1
  RETURNING epoch";

/// In a database that was restored on another server changes are of transactions that are still to come there: each reading would
/// find them again.
pub(super) const DATE_ANEW: &str =
    "UPDATE sosbridge.leases SET changed = pg_current_xact_id() WHERE changed > pg_current_xact_id()";

/// One commit: $1 the node, $2 its run, $3 the rows as JSON. Writes nothing, and counts 0, when the run is not the last one.
pub(super) const COMMIT: &str = r#"
WITH input AS (SELECT $3::text::json AS rows),
fence AS (
  UPDATE sosbridge.nodes SET
    node_ms = coalesce((input.rows #>> '{clock,node_ms}')::bigint, node_ms),
    wall_ms = coalesce((input.rows #>> '{clock,wall_ms}')::bigint, wall_ms),
    boot_id = coalesce(input.rows #>> '{clock,boot_id}', boot_id),
    boottime_ms = coalesce((input.rows #>> '{clock,boottime_ms}')::bigint, boottime_ms),
    seen = CASE WHEN input.rows #>> '{clock,node_ms}' IS NULL THEN seen ELSE clock_timestamp() END
  FROM input WHERE node = $1 AND epoch = $2 RETURNING input.rows
),
put_leases AS (
  INSERT INTO sosbridge.leases SELECT $1, new.* FROM fence, json_to_recordset(fence.rows -> 'leases') AS new (
    number BIGINT, state TEXT, kind TEXT, resource TEXT, country TEXT, "user" TEXT, device TEXT, contact TEXT, protocol TEXT,
    listener INT, remote TEXT, dialled_at BIGINT, expires_at BIGINT, calls BIGINT, test BOOLEAN, push TEXT)
  ON CONFLICT (node, number) DO UPDATE SET state = EXCLUDED.state, kind = EXCLUDED.kind, resource = EXCLUDED.resource,
    country = EXCLUDED.country, "user" = EXCLUDED."user", device = EXCLUDED.device, contact = EXCLUDED.contact,
    protocol = EXCLUDED.protocol, listener = EXCLUDED.listener, remote = EXCLUDED.remote, dialled_at = EXCLUDED.dialled_at,
    expires_at = EXCLUDED.expires_at, calls = EXCLUDED.calls, test = EXCLUDED.test, push = EXCLUDED.push,
    changed = pg_current_xact_id()
),
forget_leases AS (
  DELETE FROM sosbridge.leases USING fence, json_to_recordset(fence.rows -> 'forget') AS old (number BIGINT)
  WHERE leases.node = $1 AND leases.number = old.number
),
put_bindings AS (
  INSERT INTO sosbridge.bindings
    SELECT $1, new.* FROM fence, json_to_recordset(fence.rows -> 'bindings') AS new ("user" TEXT, slot INT, value TEXT)
  ON CONFLICT (node, "user", slot) DO UPDATE SET value = EXCLUDED.value
),
forget_bindings AS (
  DELETE FROM sosbridge.bindings USING fence, json_to_recordset(fence.rows -> 'unbind') AS old ("user" TEXT, slot INT)
  WHERE bindings.node = $1 AND bindings."user" = old."user" AND bindings.slot = old.slot
),
put_records AS (
  INSERT INTO sosbridge.records
    SELECT $1, new.* FROM fence, json_to_recordset(fence.rows -> 'records') AS new (at BIGINT, ended_at BIGINT, json TEXT)
  ON CONFLICT (node, at) DO UPDATE SET ended_at = EXCLUDED.ended_at, json = EXCLUDED.json
),
put_notices AS (
  INSERT INTO sosbridge.notices
    SELECT $1, new.* FROM fence, json_to_recordset(fence.rows -> 'notices') AS new (seq BIGINT, json TEXT)
  ON CONFLICT (node, seq) DO UPDATE SET json = EXCLUDED.json
),
forget_notices AS (
  DELETE FROM sosbridge.notices USING fence, json_to_recordset(fence.rows -> 'unnotice') AS old (seq BIGINT)
  WHERE notices.node = $1 AND notices.seq = old.seq
)
SELECT count(*) FROM fence"#;

pub(super) const LEASES: &str = r#"
SELECT number, state, kind, resource, country, "user", device, contact, protocol, listener, remote, dialled_at, expires_at, calls,
  test, push FROM sosbridge.leases WHERE node = $1 ORDER BY number"#;
pub(super) const BINDINGS: &str =
    r#"SELECT "user", slot, value FROM sosbridge.bindings WHERE node = $1 ORDER BY "user", slot"#;
pub(super) const RECORDS: &str = "SELECT at, json FROM sosbridge.records WHERE node = $1 ORDER BY at DESC LIMIT $2";
pub(super) const NOTICES: &str = "SELECT seq, json FROM sosbridge.notices WHERE node = $1 ORDER BY seq";
pub(super) const CLOCK: &str = "
SELECT node_ms, wall_ms, boot_id, boottime_ms FROM sosbridge.nodes WHERE node = $1 AND node_ms IS NOT NULL";

/// Looks at the oldest of the node only. $2: ended before, $3: how many at most, $4: the run.
pub(super) const DELETE_RECORDS: &str = "
DELETE FROM sosbridge.records WHERE node = $1 AND ended_at < $2
  AND at IN (SELECT at FROM sosbridge.records WHERE node = $1 ORDER BY at LIMIT $3)
  AND EXISTS (SELECT FROM sosbridge.nodes WHERE node = $1 AND epoch = $4)";

/// One node after the other divides numbers. Until the end of the transaction.
pub(super) const DIVIDE: &str = "SELECT pg_advisory_xact_lock($1::bigint + 1)::text";
/// A sign of life of the run, with its clock at that moment; none is counted when it is not the last one. $3: where it is, as far as
/// that is known already.
pub(super) const SEEN: &str = "
UPDATE sosbridge.nodes SET seen = clock_timestamp(), addresses = coalesce(nullif($3, ''), addresses), node_ms = $4, wall_ms = $5,
  boot_id = $6, boottime_ms = $7 WHERE node = $1 AND epoch = $2";
/// The nodes that run, by the clock of the database.
pub(super) const LIVE: &str = "
SELECT node FROM sosbridge.nodes WHERE seen > clock_timestamp() - INTERVAL '10 seconds' ORDER BY node";
/// The other nodes, and whether they run.
pub(super) const NEIGHBOURS: &str = "
SELECT node, addresses, coalesce(seen > clock_timestamp() - INTERVAL '10 seconds', false) FROM sosbridge.nodes
  WHERE node <> $1 ORDER BY node";
/// Of all transactions nothing has been read.
pub(super) const NOTHING: &str = "1:1:";
/// What other nodes have changed that the snapshot $2 did not show, and the snapshot that does. With what to add to times of each for
/// those of our clock: both have told theirs by that of the database, so that no wall clock counts. From the beginning: without what is
/// free.
pub(super) const ELSEWHERE: &str = r#"
SELECT l.number, l.state, l.kind, l.resource, l.country, l."user", l.device, l.contact, l.protocol, l.listener, l.remote,
  l.dialled_at, l.expires_at, l.calls, l.test, l.push, l.node, (coalesce(theirs.ahead, 0) - ours.ahead)::bigint, next.at
FROM (SELECT pg_current_snapshot()::text AS at, $2::text::pg_snapshot AS last) AS next
CROSS JOIN (
  SELECT coalesce(max(extract(epoch FROM seen) * 1000 - node_ms), 0) AS ahead FROM sosbridge.nodes WHERE node = $1) AS ours
LEFT JOIN sosbridge.leases AS l ON l.node <> $1 AND l.changed >= pg_snapshot_xmin($2::text::pg_snapshot)
  AND NOT pg_visible_in_snapshot(l.changed, next.last) AND ($2 <> '1:1:' OR l.state <> 'free')
LEFT JOIN (SELECT node, extract(epoch FROM seen) * 1000 - node_ms AS ahead FROM sosbridge.nodes) AS theirs ON theirs.node = l.node"#;
pub(super) const SLICES: &str = "SELECT first, last, node FROM sosbridge.slices ORDER BY first";
pub(super) const USED: &str = "SELECT number, number, node FROM sosbridge.leases WHERE state <> 'free' ORDER BY number";
pub(super) const FORGET_SLICES: &str = "DELETE FROM sosbridge.slices WHERE node = $1";
pub(super) const PUT_SLICES: &str = "
INSERT INTO sosbridge.slices SELECT first, last, $1 FROM unnest($2::bigint[], $3::bigint[]) AS mine (first, last)";
