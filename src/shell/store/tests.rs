//! The store on a real disk: what it remembers, and what it says and does when the disk or the file fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant as Monotonic};

use rusqlite::Connection;

#[path = "../../../tests/real/postgres.rs"]
pub(super) mod server;

use self::server::Server;
use super::database::Database;
use super::*;
use crate::base::{E164, Instant, Protocol};
use crate::config::Country;
use crate::lease::{Device, Kind, Lease, State};
use crate::transport::{Flow, ListenerId};

/// A store of one engine, opened again and again.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) server: Option<Server>,
    pub(super) node: &'static str,
    next: u64,
}

impl Bench {
    pub(super) fn sqlite() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), server: None, node: "node-1", next: 0 }
    }

    pub(super) fn postgres() -> Self {
        Self { server: Some(Server::start()), ..Self::sqlite() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data/sosbridge.db")
    }

    fn place(&self) -> StorePlace {
        match &self.server {
            None => StorePlace::Sqlite(self.path()),
            Some(server) => place(&server.url()),
        }
    }

    pub(super) fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    pub(super) fn open(&self) -> (Store, mpsc::Receiver<Done>, Loaded) {
        let (answers, done) = mpsc::channel(64);
        let (store, _clock, loaded) = Store::open(&self.place(), self.node, &[], answers).unwrap();
        (store, done, loaded)
    }

    pub(super) fn refused(&self) -> String {
        let (answers, _done) = mpsc::channel(64);
        Store::open(&self.place(), self.node, &[], answers).err().expect("a fault").to_string()
    }

    /// Behind the back of the store.
    fn execute(&self, sql: &str) {
        match &self.server {
            None => Connection::open(self.path()).unwrap().execute_batch(sql).unwrap(),
            Some(server) => drop(server.query(sql)),
        }
    }

    pub(super) fn count(&self, of: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {of}");
        match &self.server {
            None => Connection::open(self.path()).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap(),
            Some(server) => server.query(&sql).parse().unwrap(),
        }
    }

    /// Writes one urgent row and waits for the answer.
    pub(super) fn write(&mut self, store: &Store, done: &mut mpsc::Receiver<Done>, row: Row) -> Result<(), StoreFault> {
        self.next += 1;
        store.submit(WriteId(self.next), vec![row], true).unwrap();
        loop {
            let done = done.blocking_recv().unwrap();
            if done.writes.contains(&WriteId(self.next)) {
                return done.result;
            }
        }
    }
}

/// The address of a store, as a configuration has it.
pub(super) fn place(url: &str) -> StorePlace {
    let text = include_str!("../../../config.toml").replace("sqlite:data/sosbridge.db", url);
    crate::config::load(&text, std::path::Path::new("/")).unwrap().config.store.place
}

pub(super) fn lease(at: u64, state: State) -> lease::Row {
    let flow = Flow {
        protocol: Protocol::Tcp,
        listener: ListenerId(1),
        remote: "[::1]:5062".parse().unwrap(),
        connection: None,
    };
    lease::Row::Lease(Lease {
        number: number(at),
        kind: Kind::Pooled,
        state,
        resource: "contoso".into(),
        country: Country::US,
        user: "alice@example.com".into(),
        device: Device {
            key: "urn:uuid:1".into(),
            contact: "sip:alice@127.0.0.1".into(),
            push: ";pn-prid=1".into(),
            flow,
        },
        dialled: Instant::from_millis(5),
        expires: Instant::from_millis(u64::from(u32::MAX) * 1000),
        calls: 2,
        test: at == 1,
    })
}

pub(super) fn number(at: u64) -> E164 {
    E164::from_digits(14_255_551_000 + at).unwrap()
}

pub(super) fn record(id: u64) -> admin::Record {
    let json = r#"{"id": "ID", "kind": "emergency", "user": "sip:alice@example.com", "number": "+14255551000", "country": "US",
        "dialled": "911", "trunk": "call-center", "state": "ended", "started_at": "2026-11-22T15:04:05Z", "answered_at": null,
        "ended_at": "2026-11-22T15:04:ENDZ", "outcome": "answered", "status": 200}"#;
    serde_json::from_str(&json.replace("ID", &id.to_string()).replace("END", &format!("{:02}", id % 60))).unwrap()
}

pub(super) fn binding(slot: u8) -> registrar::Row {
    let json = r#"{"user": "sip:alice@example.com", "slot": SLOT, "uri": "sip:alice@127.0.0.1:5062", "cid": "c", "cseq": 7, "via": "udp",
        "on": 0, "from": "127.0.0.1:5062", "until": 99, "seen": 5, "q": 1000}"#;
    serde_json::from_str(&json.replace("SLOT", &slot.to_string())).unwrap()
}

fn all_rows_come_back_after_a_restart(mut bench: Bench) {
    let (store, mut done, loaded) = bench.open();
    assert!(loaded.leases.is_empty() && loaded.bindings.is_empty() && loaded.records.is_empty());
    let rested = lease::Row::Rested { number: number(2), since: Instant::from_millis(77) };
    let leases = [lease(0, State::Active), lease(1, State::Quarantined), rested];
    let mut rows: Vec<_> = leases.iter().cloned().map(Row::Lease).collect();
    rows.extend([Row::Lease(lease(3, State::Held)), Row::Binding(binding(0)), Row::Binding(binding(1))]);
    rows.extend([Row::Record(record(1).into()), Row::Record(record(2).into())]);
    store.submit(WriteId(100), rows, false).unwrap();
    bench.write(&store, &mut done, Row::Lease(lease::Row::Forget { number: number(3) })).unwrap();
    let gone = Row::Unbind(binding(0).key());
    store.submit(WriteId(101), vec![gone], false).unwrap();
    drop(store);
    assert_eq!(done.blocking_recv().unwrap().writes, [WriteId(101)], "what waits is written on the way down");
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases, leases);
    assert_eq!(loaded.bindings, [binding(1)]);
    assert_eq!(loaded.records, [record(1), record(2)]);
    assert_eq!(loaded.unreadable, Vec::<String>::new());
}

/// Takes away what version 3 has brought.
const TO_VERSION_2: &str = "ALTER TABLE leases DROP COLUMN push; DROP VIEW notice_list; DROP TABLE notices;
    PRAGMA user_version = 2;";

fn without_push(row: lease::Row) -> lease::Row {
    match row {
        lease::Row::Lease(mut lease) => {
            lease.device.push = "".into();
            lease::Row::Lease(lease)
        }
        other => other,
    }
}

pub(super) fn notice(seq: u64, state: admin::NoticeState) -> admin::Notice {
    let (event, body) = (admin::NoticeEvent::EmergencyCall, format!("{{\"n\":{seq}}}"));
    admin::Notice { seq, event, about: "call-1".into(), at_ms: 5, state, attempts: 1, delivered_at: None, body }
}

#[test]
fn a_file_of_version_2_keeps_all_and_takes_notices() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    bench.write(&store, &mut done, Row::Binding(binding(0))).unwrap();
    bench.write(&store, &mut done, Row::Record(record(1).into())).unwrap();
    drop(store);
    Connection::open(bench.path()).unwrap().execute_batch(TO_VERSION_2).unwrap();
    let (store, mut done, loaded) = bench.open();
    assert_eq!(loaded.leases, [without_push(lease(0, State::Held))]);
    assert_eq!((loaded.bindings, loaded.records), (vec![binding(0)], vec![record(1)]));
    assert!(loaded.notices.is_empty() && loaded.unreadable.is_empty());
    let notice = |seq| notice(seq, admin::NoticeState::Pending);
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    bench.write(&store, &mut done, Row::Notice(notice(1).into())).unwrap();
    drop(store);
    let loaded = bench.open().2;
    assert_eq!((loaded.leases, loaded.notices), (vec![lease(0, State::Held)], vec![notice(1)]));
}

fn of_a_notice_the_newest_word_stays(mut bench: Bench) {
    use admin::NoticeState::{Delivered, Pending};
    let (store, mut done, _) = bench.open();
    for seq in 1..=3 {
        bench.write(&store, &mut done, Row::Notice(notice(seq, Pending).into())).unwrap();
    }
    bench.write(&store, &mut done, Row::Notice(notice(2, Delivered).into())).unwrap();
    bench.write(&store, &mut done, Row::Unnotice(1)).unwrap();
    drop(store);
    assert_eq!(bench.open().2.notices, [notice(2, Delivered), notice(3, Pending)]);
    assert_eq!(bench.count("notice_list WHERE state = 'pending' AND about = 'call-1'"), 1);
}

#[test]
fn a_file_of_version_1_keeps_its_leases_and_its_records_in_order() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    drop(store);
    let file = Connection::open(bench.path()).unwrap();
    file.execute_batch(TO_VERSION_2).unwrap();
    let old = "DROP VIEW record_list; DROP TABLE records; PRAGMA user_version = 1;
        CREATE TABLE records (
          id TEXT PRIMARY KEY, ended_at INTEGER NOT NULL, kind TEXT NOT NULL, user TEXT, number INTEGER, json TEXT NOT NULL
        ) STRICT;
        CREATE INDEX records_by_end ON records (ended_at);";
    file.execute_batch(old).unwrap();
    for id in [2, 1, 3] {
        let json = serde_json::to_string(&record(id)).unwrap();
        let row = rusqlite::params![id.to_string(), record(id).ended_at.unix_millis() as i64, json];
        file.execute("INSERT INTO records VALUES (?1, ?2, 'emergency', NULL, NULL, ?3)", row).unwrap();
    }
    drop(file);
    let (store, mut done, loaded) = bench.open();
    assert_eq!(loaded.leases, [without_push(lease(0, State::Held))]);
    assert_eq!(loaded.records, [record(1), record(2), record(3)]);
    bench.write(&store, &mut done, Row::Record(record(4).into())).unwrap();
    drop(store);
    assert_eq!(bench.open().2.records, [record(1), record(2), record(3), record(4)]);
    let listed = "SELECT count(*) FROM record_list WHERE kind = 'emergency' AND number = '+14255551000'";
    let file = Connection::open(bench.path()).unwrap();
    assert_eq!(file.query_row(listed, [], |row| row.get::<_, i64>(0)).unwrap(), 4);
}

fn old_records_are_deleted_a_few_at_a_time_and_leases_do_not_wait_for_it(mut bench: Bench) {
    let (store, mut done, _) = bench.open();
    let of_year = |id: u64, year: &str| {
        let mut record = record(id);
        record.ended_at = serde_json::from_str(&format!("\"{year}-11-22T15:04:05Z\"")).unwrap();
        Row::Record(record.into())
    };
    let rows = (0..320).map(|id| of_year(id, "2020")).chain((320..325).map(|id| of_year(id, "2099")));
    store.submit(WriteId(100), rows.collect(), true).unwrap();
    assert_eq!(done.blocking_recv().unwrap().writes, [WriteId(100)]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.count("records"), 325, "nothing is deleted unasked");
    let (begun, mut waits) = (Monotonic::now(), Vec::new());
    store.keep_records(Duration::from_secs(90 * 24 * 3600));
    loop {
        let left = bench.count("records");
        // By and by: 50 at once, and the next when their time has come.
        let due = 50 * (1 + begun.elapsed().as_millis() / 250);
        assert!(325 - left as u128 <= due, "{left} are left after {:?}", begun.elapsed());
        if left <= 5 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        let asked = Monotonic::now();
        bench.write(&store, &mut done, Row::Lease(lease(0, State::Active))).unwrap();
        waits.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Not the longest: a busy machine keeps this thread waiting, too.
    assert!(waits.iter().min().is_none_or(|least| *least < Duration::from_millis(200)), "{waits:?}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.count("records"), 5);
}

fn rows_that_are_not_urgent_wait_for_company_but_not_long(bench: Bench) {
    let (store, mut done, _) = bench.open();
    let begun = Monotonic::now();
    for id in 0..10 {
        store.submit(WriteId(id), vec![Row::Record(record(id).into())], false).unwrap();
    }
    let answer = done.blocking_recv().unwrap();
    assert_eq!(answer.writes.len(), 10, "one commit for all");
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_is_not_ours_is_refused_by_name_and_with_advice() {
    let bench = Bench::sqlite();
    let (store, _done, _) = bench.open();
    let busy = bench.refused();
    assert!(busy.contains("sosbridge.db") && busy.contains("another sosbridge is running"), "{busy}");
    drop(store);
    Connection::open(bench.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(bench.refused().contains("version 99"), "{}", bench.refused());

    let bench = Bench::sqlite();
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), "this is a letter to my mother, and no database at all".repeat(99)).unwrap();
    assert!(bench.refused().contains("not a database"), "{}", bench.refused());
    fs::remove_file(bench.path()).unwrap();
    Connection::open(bench.path()).unwrap().execute_batch("CREATE TABLE songs (title)").unwrap();
    assert!(bench.refused().contains("another program"), "{}", bench.refused());
    fs::remove_file(bench.path()).unwrap();
    fs::create_dir_all(bench.path()).unwrap();
    assert!(bench.refused().contains("unable to open"), "{}", bench.refused());
    let bench = Bench::sqlite();
    fs::write(bench.directory.path().join("data"), "").unwrap();
    assert!(bench.refused().contains("directory"), "{}", bench.refused());
}

#[test]
fn a_damaged_file_is_refused() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    for at in 0..300 {
        bench.write(&store, &mut done, Row::Lease(lease(at, State::Held))).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(bench.path()).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(bench.path(), bytes).unwrap();
    assert!(bench.refused().contains("malformed"), "{}", bench.refused());
}

fn a_row_that_makes_no_sense_is_named_and_the_others_are_read(mut bench: Bench) {
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    bench.write(&store, &mut done, Row::Lease(lease(1, State::Held))).unwrap();
    drop(store);
    bench.execute("UPDATE leases SET kind = 'odd' WHERE test");
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases, [lease(0, State::Held)]);
    assert_eq!(loaded.unreadable, ["leases: number 14255551001: kind makes no sense"]);
}

#[test]
fn while_the_file_is_locked_answers_say_so_and_the_rows_are_written_later() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    let other = Connection::open(bench.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for at in 1..20 {
        let fault = bench.write(&store, &mut done, Row::Lease(lease(at, State::Active))).unwrap_err();
        assert_eq!(fault.sin, StoreSin::Locked, "{fault}");
    }
    bench.write(&store, &mut done, Row::Lease(lease(1, State::Held))).unwrap_err();
    other.execute_batch("ROLLBACK").unwrap();
    let recovered = done.blocking_recv().unwrap();
    assert_eq!((recovered.writes.len(), recovered.result), (0, Ok(())));
    drop(store);
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases.len(), 20);
    assert_eq!(loaded.leases[1], lease(1, State::Held));
}

#[test]
fn a_full_disk_loses_nothing_that_waits() {
    let bench = Bench::sqlite();
    let mut database = Database::open(&bench.path(), &mut None).unwrap();
    let connection = database.connection_for_tests();
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages).unwrap();
    let mut batch = Batch::default();
    batch.add((0..1000).map(|at| Row::Lease(lease(at, State::Held))).collect());
    assert_eq!(database.write(&batch, None).unwrap_err().sin, StoreSin::Full);
    assert_eq!(database.load().unwrap().leases.len(), 0, "all or nothing");
    database.connection_for_tests().pragma_update(None, "max_page_count", 100_000).unwrap();
    database.write(&batch, None).unwrap();
    assert_eq!(database.load().unwrap().leases.len(), 1000);
}

/// As after a disk was mounted read-only for a while.
#[test]
fn a_file_that_was_open_to_be_read_only_is_opened_anew() {
    let bench = Bench::sqlite();
    let mut database = Database::open(&bench.path(), &mut None).unwrap();
    database.connection_for_tests().pragma_update(None, "query_only", true).unwrap();
    let mut batch = Batch::default();
    batch.add(vec![Row::Lease(lease(0, State::Held))]);
    assert_eq!(database.write(&batch, None).unwrap_err().sin, StoreSin::ReadOnly);
    database.write(&batch, None).unwrap();
    assert_eq!(database.load().unwrap().leases, [lease(0, State::Held)]);
}

#[test]
fn a_file_removed_while_running_is_written_again_whole() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    let mut at = 0;
    for names in [vec![""], vec!["-wal"], vec!["-wal", "-shm"], vec!["", "-wal", "-shm"]] {
        bench.write(&store, &mut done, Row::Lease(lease(at, State::Held))).unwrap();
        for name in names {
            fs::remove_file(format!("{}{name}", bench.path().display())).unwrap();
        }
        bench.write(&store, &mut done, Row::Lease(lease(at + 1, State::Held))).unwrap();
        at += 2;
    }
    fs::remove_dir_all(bench.path().parent().unwrap()).unwrap();
    bench.write(&store, &mut done, Row::Lease(lease(at, State::Held))).unwrap();
    drop(store);
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases, (0..=at).map(|at| lease(at, State::Held)).collect::<Vec<_>>());
}

#[test]
fn a_file_put_in_its_place_is_left_alone() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    let aside = bench.directory.path().join("aside");
    fs::rename(bench.path(), &aside).unwrap();
    fs::write(bench.path(), "precious").unwrap();
    let fault = bench.write(&store, &mut done, Row::Lease(lease(1, State::Held))).unwrap_err();
    assert_eq!(fault.sin, StoreSin::Missing, "{fault}");
    assert_eq!(fs::read(bench.path()).unwrap(), b"precious");
    fs::rename(&aside, bench.path()).unwrap();
    assert_eq!(done.blocking_recv().unwrap().result, Ok(()), "put back, it goes on");
    drop(store);
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases.len(), 2);
}

/// What the node would do: the parts of what is remembered, until the store is well.
fn recalled(store: &Store, done: &mut mpsc::Receiver<Done>) -> crate::node::Remembered {
    let mut all = crate::node::Remembered::default();
    loop {
        let Done { remembered, result, .. } = done.blocking_recv().unwrap();
        if let Some(part) = remembered {
            std::thread::sleep(Duration::from_millis(20));
            assert!(done.try_recv().is_err(), "calls go on between two parts");
            all.leases.extend(part.leases);
            all.bindings.extend(part.bindings);
            all.records.extend(part.records);
            all.notices.extend(part.notices);
            all.is_all |= part.is_all;
            store.has_recalled();
        }
        if result.is_ok() {
            return all;
        }
    }
}

fn moved(row: lease::Row, ms: i64) -> lease::Row {
    let mut row = row;
    row.instants_mut().for_each(|at| *at = at.moved_ms(ms));
    row
}

#[test]
fn a_store_that_comes_later_is_read_then_and_what_waited_is_written() {
    const DAY: i64 = 86_400_000;
    let far = |at: u64| moved(lease(at, State::Held), 9 * DAY);
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    for at in 0..2500 {
        store.submit(WriteId(at), vec![Row::Lease(far(at))], false).unwrap();
    }
    bench.write(&store, &mut done, Row::Binding(binding(0))).unwrap();
    bench.write(&store, &mut done, Row::Record(record(1).into())).unwrap();
    bench.write(&store, &mut done, Row::Notice(notice(1, admin::NoticeState::Pending).into())).unwrap();
    drop(store);
    // As if the wall clock had been a day ahead when it was written.
    bench.execute("UPDATE clock SET node_ms = node_ms + 86400000, boot_id = ''");
    let aside = bench.directory.path().join("aside");
    fs::rename(bench.path(), &aside).unwrap();
    fs::write(bench.path(), "no database").unwrap();

    let (answers, mut done) = mpsc::channel(64);
    let (store, _clock, loaded) = Store::open_later(&bench.place(), bench.node, &[], answers).unwrap();
    assert!(loaded.is_unknown && loaded.leases.is_empty() && loaded.share.is_none());
    let fault = bench.write(&store, &mut done, Row::Lease(far(3000))).unwrap_err();
    assert_eq!(fault.sin, StoreSin::Unopened);
    assert!(fault.detail.contains("sosbridge.db") && fault.detail.contains("move it away"), "{fault}");
    let (others, _done) = mpsc::channel(64);
    let refused = Store::open_later(&bench.place(), bench.node, &[], others).err().expect("a fault");
    assert!(refused.is_anothers, "{refused}");

    fs::rename(&aside, bench.path()).unwrap();
    let remembered = recalled(&store, &mut done);
    assert!(remembered.is_all);
    assert_eq!((remembered.leases.len(), remembered.records), (2500, vec![record(1)]));
    assert_eq!((remembered.bindings.len(), remembered.notices.len()), (1, 1));
    let is_moved = |row: &lease::Row| {
        let (mut is, mut was) = (row.clone(), far(row.number().digits() - number(0).digits()));
        is.instants_mut().zip(was.instants_mut()).all(|(is, was)| (was.since(*is).as_secs() + 5) / 10 == 8640)
    };
    assert!(remembered.leases.iter().all(is_moved), "{:?}", remembered.leases[0]);
    drop(store);
    let mut loaded = bench.open().2;
    assert_eq!(loaded.leases.pop(), Some(far(3000)));
    assert!(loaded.leases.len() == 2500 && loaded.leases.iter().all(is_moved));
    assert_eq!(loaded.records, [record(1)]);
}

/// Its lock could not be had at start either. Rule 3.2a.
#[test]
fn a_store_that_another_takes_before_it_opens_lends_no_numbers_meanwhile() {
    let bench = Bench::sqlite();
    let theirs = bench.open();
    let directory = tempfile::tempdir().unwrap();
    let [way, other, file] = ["way", "other", "file"].map(|name| directory.path().join(name));
    fs::write(&file, "no directory").unwrap();
    std::os::unix::fs::symlink(&file, &way).unwrap();
    std::os::unix::fs::symlink(bench.path().parent().unwrap(), &other).unwrap();
    let place = StorePlace::Sqlite(way.join(bench.path().file_name().unwrap()));
    let (answers, mut done) = mpsc::channel(64);
    let (_store, _clock, loaded) = Store::open_later(&place, bench.node, &[], answers).unwrap();
    assert!(loaded.is_unknown && loaded.share.is_none());
    fs::rename(other, way).unwrap();
    let mut share = || {
        let until = Monotonic::now() + Duration::from_secs(20);
        while Monotonic::now() < until {
            if let Some(share) = done.try_recv().ok().and_then(|done| done.share) {
                return Some(share);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    };
    assert_eq!(share(), Some(Vec::new()));
    drop(theirs);
    assert_eq!(share(), Some(vec![E164::MIN..=E164::MAX]));
}

#[test]
fn of_a_damaged_file_what_can_be_read_is_read_and_kept() {
    let mut bench = Bench::sqlite();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    drop(store);
    bench.execute("DROP VIEW record_list; DROP TABLE records");
    let (answers, mut done) = mpsc::channel(64);
    let (store, _clock, loaded) = Store::open_later(&bench.place(), bench.node, &[], answers).unwrap();
    assert_eq!((loaded.leases, loaded.is_unknown), (vec![lease(0, State::Held)], false));
    fs::remove_file(bench.path()).unwrap();
    recalled(&store, &mut done);
    drop(store);
    assert_eq!(bench.open().2.leases, [lease(0, State::Held)]);
}

fn the_node_clock_goes_on_where_it_was(bench: Bench) {
    let (answers, _done) = mpsc::channel(1);
    let (store, clock, _) = Store::open(&bench.place(), bench.node, &[], answers.clone()).unwrap();
    drop(store);
    // As if the wall clock had been a day ahead when the clock was stored.
    let table = if bench.server.is_some() { "nodes" } else { "clock" };
    bench.execute(&format!("UPDATE {table} SET node_ms = node_ms + 86400000, wall_ms = wall_ms + 86400000"));
    let (_store, again, _) = Store::open(&bench.place(), bench.node, &[], answers).unwrap();
    let ahead = again.now().since(clock.now());
    assert!(ahead > Duration::from_secs(86399) && ahead < Duration::from_secs(86401), "{ahead:?}");
}

macro_rules! over_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $test() { super::$test(super::Bench::sqlite()); })*
        }
        mod on_postgres {
            $(#[test] fn $test() { super::$test(super::Bench::postgres()); })*
        }
    };
}

over_both_engines!(
    all_rows_come_back_after_a_restart,
    of_a_notice_the_newest_word_stays,
    old_records_are_deleted_a_few_at_a_time_and_leases_do_not_wait_for_it,
    rows_that_are_not_urgent_wait_for_company_but_not_long,
    a_row_that_makes_no_sense_is_named_and_the_others_are_read,
    the_node_clock_goes_on_where_it_was,
);
