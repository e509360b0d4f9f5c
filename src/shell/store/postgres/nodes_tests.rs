//! What a node reads of the others, where the database or the clocks are not as they should be (SPEC §3, §6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::{Duration, Instant as Monotonic};

use tokio::sync::mpsc;

use super::super::neighbourhood::Sign;
use super::super::tests::{Bench, lease, place};
use super::super::{Done, Loaded, Patience, Store};
use super::{Postgres, sql};
use crate::base::E164;
use crate::config::StorePlace;
use crate::lease::{self, State};
use crate::node::rows::Row;
use crate::shell::clock::NodeClock;

fn other(url: &str) -> (Store, mpsc::Receiver<Done>, Loaded) {
    let (answers, done) = mpsc::channel(64);
    let (store, _, loaded) = Store::open(&place(url), "node-2", &[], answers).unwrap();
    (store, done, loaded)
}

/// The numbers that are told in this time.
fn told(done: &mut mpsc::Receiver<Done>, seconds: u64, until: Option<E164>) -> Vec<E164> {
    let end = Monotonic::now() + Duration::from_secs(seconds);
    let mut told = Vec::new();
    while Monotonic::now() < end && until.is_none_or(|number| !told.contains(&number)) {
        if let Ok(Done { elsewhere: Some(news), .. }) = done.try_recv() {
            told.extend(news.rows.iter().map(|(_, row)| row.number()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    told
}

/// Another program of the server, or a dump, may take hours.
#[test]
fn beside_a_long_transaction_each_change_is_read_once() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let mut long = bench.server().hold("SELECT pg_current_xact_id()");
    std::thread::sleep(Duration::from_millis(500));
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    let (_other, mut heard, loaded) = other(&bench.server().url());
    assert_eq!(loaded.elsewhere.rows.len(), 1);
    bench.write(&store, &mut done, Row::Lease(lease(1, State::Held))).unwrap();
    assert_eq!(told(&mut heard, 4, None), [lease(1, State::Held).number()]);
    long.kill().unwrap();
    long.wait().unwrap();
}

/// Rule 3.9.
#[test]
fn a_wrong_wall_clock_shortens_no_lease_for_other_nodes() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    drop(store);
    bench.server().query("UPDATE nodes SET wall_ms = wall_ms - 864000000");
    let (_other, _, loaded) = other(&bench.server().url());
    let (lease::Row::Lease(theirs), lease::Row::Lease(ours)) = (lease(0, State::Held), &loaded.elsewhere.rows[0].1)
    else {
        panic!("{:?}", loaded.elsewhere)
    };
    let apart = ours.expires.as_millis().abs_diff(theirs.expires.as_millis());
    assert!(apart < 60_000, "{apart} ms");
}

#[test]
fn what_is_committed_after_a_standby_took_over_is_read() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    let (_other, mut heard, _) = other(&bench.server().url());
    bench.server().replicate();
    let _lost = bench.write(&store, &mut done, Row::Lease(lease(0, State::Held)));
    assert!(told(&mut heard, 20, Some(lease(0, State::Held).number())).len() == 1);
    let many = "DO $$ BEGIN FOR i IN 1..500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    bench.server().query(many);
    told(&mut heard, 3, None);
    bench.server().fail_over();
    let _lost = bench.write(&store, &mut done, Row::Lease(lease(1, State::Held)));
    let wanted = lease(1, State::Held).number();
    assert!(told(&mut heard, 20, Some(wanted)).contains(&wanted));
}

#[test]
fn rows_of_a_restored_database_are_not_read_again_and_again() {
    let mut bench = Bench::postgres();
    let (store, mut done, _) = bench.open();
    bench.write(&store, &mut done, Row::Lease(lease(0, State::Held))).unwrap();
    drop(store);
    bench.server().query("UPDATE leases SET changed = '900000000'");
    let (_other, mut heard, loaded) = other(&bench.server().url());
    assert_eq!(loaded.elsewhere.rows.len(), 1);
    assert_eq!(told(&mut heard, 3, None), []);
}

#[test]
fn a_division_that_takes_long_comes_rarely_and_the_node_shows_itself_all_the_same() {
    let mut bench = Bench::postgres();
    drop(bench.open());
    let StorePlace::Postgres(place) = place(&bench.server().url()) else { panic!("a database") };
    let mut node = Postgres::open(&place, "node-3", Patience::Start).unwrap();
    let pools = [vec![(14_255_550_000, 14_255_550_009)]];
    let clock = NodeClock::start(None).to_store();
    let mut divide = || node.divide(&pools, &[], Sign { addresses: "", clock: &clock }).unwrap();
    let count = |division: Option<super::Division>| division.map(|it| super::shares::count(&it.share));
    assert_eq!(count(divide()), Some(5), "half is for node-1, which ran just now");
    // Other nodes are at it for a second.
    let lock = format!("SELECT pg_advisory_xact_lock({}::bigint + 1); SELECT pg_sleep(1.5); COMMIT", sql::OURS);
    let mut others = bench.server().hold(&lock);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(count(divide()), Some(5));
    let seen =
        |server: &super::super::tests::server::Server| server.query("SELECT seen FROM nodes WHERE node = 'node-3'");
    let before = seen(bench.server());
    assert_eq!(count(divide()), None);
    assert_ne!(seen(bench.server()), before);
    others.kill().unwrap();
    others.wait().unwrap();
}
