//! What the store says and does when the database is not as it should be: away, slow, another's, or taken over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::{Duration, Instant as Monotonic};

use tokio::sync::mpsc;

use super::super::tests::server::{PASSWORD, Server};
use super::super::tests::{Bench, lease, number, place, record};
use super::super::{Done, Store};
use crate::lease::{self, State};
use crate::node::rows::{Row, StoreFault, StoreSin, WriteId};

fn held(at: u64) -> Row {
    Row::Lease(lease(at, State::Held))
}

fn refused(url: &str) -> String {
    let (answers, _done) = mpsc::channel(64);
    let said = Store::open(&place(url), "node-1", &[], answers).err().expect("a fault").to_string();
    assert!(!said.contains(PASSWORD) && !said.contains("cr%40t"), "{said}");
    said
}

/// Waits for the word that what waited is written.
fn recovered(done: &mut mpsc::Receiver<Done>) {
    let end = Monotonic::now() + Duration::from_secs(20);
    while Monotonic::now() < end {
        if let Ok(Done { result: Ok(()), .. }) = done.try_recv() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing was written");
}

#[test]
fn a_database_that_cannot_be_used_is_refused_with_the_reason() {
    let server = Server::start();
    let right = server.url();
    let wrong = refused(&server.url_of("sosbridge", "guessed", "sosbridge"));
    assert!(
        wrong.starts_with("postgres://sosbridge@127.0.0.1:") && wrong.contains("password authentication"),
        "{wrong}"
    );
    assert!(!wrong.contains("guessed"), "{wrong}");
    let wrong = refused(&server.url_of("sosbridge", "", "sosbridge"));
    assert!(wrong.contains("password"), "{wrong}");
    assert!(refused(&server.url_to("sosbridge2")).contains("\"sosbridge2\" does not exist"));
    server.query_in("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    assert!(refused(&server.url_to("latin")).contains("LATIN1: make a database with the encoding UTF8"));
    server.query("ALTER DATABASE sosbridge SET default_transaction_read_only = on");
    let wrong = refused(&right);
    assert!(wrong.contains("does not allow") && wrong.contains("writ"), "{wrong}");
    server.query_in("postgres", "ALTER DATABASE sosbridge RESET default_transaction_read_only");
    server.query_in("postgres", &format!("CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'"));
    let wrong = refused(&right.replace("//sosbridge:", "//guest:"));
    assert!(wrong.contains("permission denied") && wrong.contains("may write"), "{wrong}");
    let (answers, _done) = mpsc::channel(64);
    drop(Store::open(&place(&right), "node-1", &[], answers).unwrap());
    server.query("UPDATE meta SET version = 99");
    assert!(refused(&right).contains("version 99, this sosbridge knows 3: run the one that wrote them"));
}

#[test]
fn one_daemon_of_a_name_and_each_name_has_rows_of_its_own() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let busy = bench.refused();
    assert!(busy.contains("another sosbridge named \"node-1\" is running"), "{busy}");
    bench.write(&store, &mut done, held(0)).unwrap();
    bench.node = "node-2";
    let (other, mut done, loaded) = bench.open();
    assert!(loaded.leases.is_empty());
    bench.write(&other, &mut done, held(1)).unwrap();
    drop((store, other));
    assert_eq!(bench.open().2.leases, [lease(1, State::Held)]);
    bench.node = "node-1";
    assert_eq!(bench.open().2.leases, [lease(0, State::Held)]);
}

#[test]
fn tables_of_earlier_versions_keep_all() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, held(0)).unwrap();
    drop(store);
    let second = "ALTER TABLE nodes DROP COLUMN addresses; ALTER TABLE leases DROP COLUMN changed; \
                  UPDATE meta SET version = 2";
    let first = format!("{second}; DROP TABLE slices; ALTER TABLE nodes DROP COLUMN seen; UPDATE meta SET version = 1");
    for old in [second, &first] {
        bench.server().query(old);
        assert_eq!(bench.open().2.leases, [lease(0, State::Held)]);
        assert_eq!(bench.server().query("SELECT version FROM meta"), "3");
    }
}

#[test]
fn a_start_waits_for_a_database_that_comes_up() {
    let mut bench = Bench::postgres();
    bench.server().kill();
    let away = refused(&bench.server().url());
    assert!(away.contains("refused") && away.contains("see that PostgreSQL runs there"), "{away}");
    let place = place(&bench.server().url());
    let (answers, _done) = mpsc::channel(64);
    let opening = std::thread::spawn(move || Store::open(&place, "node-1", &[], answers).map(drop));
    std::thread::sleep(Duration::from_secs(1));
    bench.server().run();
    opening.join().unwrap().unwrap();
}

#[test]
fn while_the_database_is_dead_answers_say_so_and_the_rows_are_written_later() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, held(0)).unwrap();
    bench.server().kill();
    for at in 1..20 {
        let fault = bench.write(&store, &mut done, Row::Lease(lease(at, State::Active))).unwrap_err();
        assert_eq!(fault.sin, StoreSin::Away, "{fault}");
    }
    bench.write(&store, &mut done, held(1)).unwrap_err();
    bench.server().run();
    recovered(&mut done);
    drop(store);
    let (_store, _done, loaded) = bench.open();
    assert_eq!(loaded.leases.len(), 20);
    assert_eq!(loaded.leases[1], lease(1, State::Held));
}

#[test]
fn a_database_that_hangs_is_given_up_after_two_seconds_and_comes_back() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, held(0)).unwrap();
    bench.server().signal("STOP");
    let begun = Monotonic::now();
    let fault = bench.write(&store, &mut done, Row::Record(record(1).into())).unwrap_err();
    assert_eq!(fault.sin, StoreSin::Away, "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    bench.server().signal("CONT");
    recovered(&mut done);
    bench.write(&store, &mut done, Row::Record(record(2).into())).unwrap();
    drop(store);
    assert_eq!(
        bench.open().2.records,
        [record(1), record(2)],
        "each once, though the first may have been written twice"
    );
}

/// The statement of a session that was given up runs on; what is written later must not be undone by it.
#[test]
fn a_commit_that_hangs_in_the_database_never_comes_after_a_later_one() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let mut other = bench.server().hold("LOCK TABLE leases");
    std::thread::sleep(Duration::from_millis(300));
    let fault = bench.write(&store, &mut done, Row::Lease(lease(0, State::Active))).unwrap_err();
    assert_eq!(fault.sin, StoreSin::Away, "{fault}");
    bench.write(&store, &mut done, held(0)).unwrap_err();
    bench.server().query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()");
    other.wait().unwrap();
    recovered(&mut done);
    std::thread::sleep(Duration::from_millis(500));
    drop(store);
    assert_eq!(bench.open().2.leases, [lease(0, State::Held)]);
}

#[test]
fn a_session_that_the_server_ends_is_begun_anew_and_no_call_waits() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    for at in 0..5 {
        bench.server().query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sosbridge node-1'",
        );
        bench.write(&store, &mut done, held(at)).unwrap();
    }
    assert_eq!(bench.count("leases"), 5);
}

#[test]
fn a_daemon_whose_place_another_has_taken_writes_nothing() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, held(0)).unwrap();
    // The session is lost, another daemon of the name runs for a while.
    bench.server().query("UPDATE nodes SET epoch = epoch + 1");
    for at in 1..4 {
        let fault = bench.write(&store, &mut done, held(at)).unwrap_err();
        assert_eq!(fault.sin, StoreSin::Fenced, "{fault}");
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(store);
    assert_eq!(bench.count("leases"), 1);
    // A backup without the tables, or with those of others, is no place to write to either.
    let (store, mut done, _) = bench.open();
    bench.server().query("DROP SCHEMA sosbridge CASCADE");
    let fault = bench.write(&store, &mut done, held(1)).unwrap_err();
    assert_eq!(fault.sin, StoreSin::Missing, "{fault}");
    drop(store);
    assert_eq!(bench.server().query("SELECT count(*) FROM pg_namespace WHERE nspname = 'sosbridge'"), "0");
}

#[test]
fn texts_that_the_database_has_no_room_for_cost_no_row() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let odd = |contact: &str| {
        let lease::Row::Lease(mut lease) = lease(0, State::Held) else { panic!() };
        lease.device.contact = contact.into();
        lease::Row::Lease(lease)
    };
    for contact in ["\0", "\\u0000", "\\\0'\"\u{1}\u{FFFF}é\u{10FFFF}"] {
        bench.write(&store, &mut done, Row::Lease(odd(contact))).unwrap();
    }
    drop(store);
    assert_eq!(bench.open().2.leases, [odd("\\\u{FFFD}'\"\u{1}\u{FFFF}é\u{10FFFF}")]);
}

#[test]
fn a_long_outage_is_written_in_one_go() {
    let bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let rows = (0..20_000)
        .map(|at| Row::Lease(lease::Row::Rested { number: number(at), since: crate::base::Instant::from_millis(at) }));
    let rows: Vec<_> = rows.chain((0..20_000).map(|id| Row::Record(record(id).into()))).collect();
    store.submit(WriteId(7000), rows, true).unwrap();
    let answer: Result<(), StoreFault> = loop {
        let done = done.blocking_recv().unwrap();
        if done.writes.contains(&WriteId(7000)) {
            break done.result;
        }
    };
    answer.unwrap();
    assert_eq!((bench.count("leases"), bench.count("records")), (20_000, 20_000));
    drop(store);
    assert_eq!(bench.open().2.leases.len(), 20_000);
}
