//! `kill -9` at any moment loses no lease the store has answered for, on a file and in a database, and a store that fails says so
//! and when it is back (SPEC §3, "Durable").
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "real/postgres.rs"]
mod postgres;
mod real;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use sosbridge::base::{E164, Instant};
use sosbridge::config::{self, StorePlace};
use sosbridge::lease;
use sosbridge::node::rows::{Row, WriteId};
use sosbridge::shell::store::Store;
use tokio::sync::mpsc;

use real::{CONFIG, Daemon, Party, admin, free, hang_up, listen, talk, trunk};

/// Names the store to a child that this test starts and kills.
const STORE: &str = "SOSBRIDGE_TEST_STORE";
/// At least.
const LIVES: u64 = 20;
const ENOUGH: usize = 1000;

fn row(digits: u64) -> Row {
    let number = E164::from_digits(digits).unwrap();
    Row::Lease(lease::Row::Rested { number, since: Instant::from_millis(digits) })
}

fn place(url: &str) -> StorePlace {
    let text = include_str!("../config.toml").replace("sqlite:data/sosbridge.db", url);
    config::load(&text, std::path::Path::new("/")).unwrap().config.store.place
}

/// The child: writes leases as fast as it can and prints each number once the store has answered for it.
#[test]
fn child_that_writes_until_it_is_killed() {
    let (Ok(url), Ok(first)) = (std::env::var(STORE), std::env::var("FIRST")) else { return };
    let first: u64 = first.parse().unwrap();
    let (answers, mut done) = mpsc::channel(1024);
    let (store, _clock, _loaded) = Store::open(&place(&url), "node-1", &[], answers).unwrap();
    let mut out = std::io::stdout().lock();
    let mut next = first;
    loop {
        for _ in 0..next % 15 + 1 {
            store.submit(WriteId(next), vec![row(next)], true).unwrap();
            next += 1;
        }
        let done = done.blocking_recv().unwrap();
        done.result.unwrap();
        for write in done.writes {
            writeln!(out, "stored {}", write.0).unwrap();
        }
    }
}

/// Rule 3.8c.
#[test]
fn no_answered_lease_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    live_and_die(&format!("sqlite:{}", directory.path().join("store.db").display()));
}

/// Rules 3.8b, 3.8c.
#[test]
fn no_answered_lease_is_lost_in_a_database() {
    live_and_die(&postgres::Server::start().url());
}

fn live_and_die(url: &str) {
    let mut answered = BTreeSet::new();
    // A machine that is busy writes less in one life.
    for life in 0..LIVES * 10 {
        if life >= LIVES && answered.len() > ENOUGH {
            break;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env(STORE, url)
            .env("FIRST", (14_250_000_000 + life * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let numbers = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("stored ")?.parse().ok());
            numbers.collect::<Vec<u64>>()
        });
        std::thread::sleep(Duration::from_millis(100 + 17 * (life % LIVES)));
        child.kill().unwrap();
        child.wait().unwrap();
        answered.extend(reader.join().unwrap());
    }
    assert!(answered.len() > ENOUGH, "only {} leases were answered for", answered.len());
    let (answers, _done) = mpsc::channel(1);
    let (_store, _clock, loaded) = Store::open(&place(url), "node-1", &[], answers).unwrap();
    let stored: BTreeSet<_> = loaded.leases.iter().map(|row| row.number().digits()).collect();
    let lost: Vec<_> = answered.difference(&stored).collect();
    assert!(lost.is_empty(), "{} of {} answered leases lost: {lost:?}", lost.len(), answered.len());
    println!("{} leases answered for, none lost", answered.len());
}

/// Rules 3.8f, 3.8g: the alarm ends when what waited is written, although nobody calls again.
#[test]
fn a_store_that_comes_back_says_so_without_another_call() {
    let [phone, place, center] = ["127.0.0.1", "127.0.0.1", "127.0.0.2"].map(free);
    let config = [CONFIG, &listen("udp", place), &trunk(center, "udp"), &admin(free("127.0.0.1"))];
    let daemon = Daemon::serve(&config.concat());
    let [mut phone, mut center] = [("alice", phone), ("psap", center)].map(|(name, own)| Party::udp(name, own, place));
    phone.register();
    let other = rusqlite::Connection::open(daemon.file("real.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (mut call, _) = talk(&mut phone, &mut center);
    hang_up(&mut call, &mut phone, &mut center);
    daemon.says("the store is failing");
    // The record of the call has been refused as well: nothing waits for an answer any more.
    std::thread::sleep(Duration::from_secs(1));
    other.execute_batch("ROLLBACK").unwrap();
    daemon.says("the store is back");
}
