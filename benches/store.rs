//! What the store costs on this disk: a thousand grants a second, and a start with a hundred thousand leases and bindings.
//! `cargo bench --bench store`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::path::Path;
use std::time::{Duration, Instant as Monotonic};

use sosbridge::base::{E164, Instant, Protocol};
use sosbridge::config::{Country, Overflow, StorePlace};
use sosbridge::lease::{self, Ask, Device, Leases, Pool, Settings};
use sosbridge::node::rows::{Row, WriteId};
use sosbridge::registrar;
use sosbridge::shell::store::{Done, Store};
use sosbridge::transport::{Flow, ListenerId};
use tokio::sync::mpsc;

const FIRST: u64 = 14_250_000_000;
const MANY: u64 = 100_000;

fn number(at: u64) -> E164 {
    E164::from_digits(FIRST + at).unwrap()
}

fn leases() -> Leases {
    let ranges = vec![number(0)..=number(MANY - 1)];
    let pool = Pool { name: "pool".into(), countries: vec![Country::US], resource: None, ranges };
    let settings = Settings { window: Duration::from_secs(3600), quarantine: Duration::from_secs(86400) };
    Leases::new(&[pool], settings)
}

fn grant(leases: &mut Leases, now: Instant, at: u64) -> lease::Row {
    let remote = format!("127.0.0.1:{}", 10_000 + at % 50_000).parse().unwrap();
    let flow = Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None };
    let contact = format!("sip:user{at}@{remote};transport=udp").into();
    let device =
        Device { key: format!("urn:uuid:00000000-0000-4000-8000-{at:012}").into(), contact, push: "".into(), flow };
    let (user, overflow) = (format!("user{at}@example.com"), &Overflow::one(number(MANY)));
    let ask = Ask {
        user: &user,
        device: &device,
        resource: "contoso",
        country: Country::US,
        pool_country: Country::US,
        own: None,
        overflow,
    };
    leases.acquire(now, &ask).row()
}

fn binding(at: u64) -> registrar::Row {
    let json = format!(
        r#"{{"user": "sip:user{at}@example.com", "slot": 0, "uri": "sip:user{at}@127.0.0.1:5062", "cid": "c{at}@127.0.0.1", "cseq": 7,
        "ua": "Linphone/5", "via": "udp", "on": 0, "from": "127.0.0.1:5062", "until": 99, "seen": 5, "q": 1000}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// CPU time of the store's thread, in microseconds.
fn cpu_us() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let of = |path: &Path| -> Option<u64> {
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let used = std::fs::read_to_string(path.join("schedstat")).ok()?;
        (name.trim() == "store").then_some(used.split(' ').next()?.parse().ok()?)
    };
    tasks.filter_map(|task| of(&task)).sum::<u64>() / 1000
}

fn wait(done: &mut mpsc::Receiver<Done>, mut writes: usize) {
    while writes > 0 {
        let done = done.blocking_recv().unwrap();
        done.result.unwrap();
        writes -= done.writes.len();
    }
}

fn a_thousand_grants_a_second() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let (answers, mut done) = mpsc::channel(1024);
    let (store, clock, _) =
        Store::open(&StorePlace::Sqlite(directory.path().join("store.db")), "node-1", &[], answers).unwrap();
    let mut leases = leases();
    let reader = std::thread::spawn(move || {
        let mut answered = Vec::new();
        let mut commits = 0;
        while let Some(done) = done.blocking_recv() {
            done.result.unwrap();
            commits += 1;
            answered.extend(done.writes.into_iter().map(|write| (write.0, Monotonic::now())));
        }
        (answered, commits)
    });
    let (count, begun, mut sent) = (10_000u64, Monotonic::now(), Vec::new());
    let before = cpu_us();
    for at in 0..count {
        std::thread::sleep((begun + Duration::from_millis(at)).saturating_duration_since(Monotonic::now()));
        let row = grant(&mut leases, clock.now(), at);
        sent.push(Monotonic::now());
        store.submit(WriteId(at), vec![Row::Lease(row)], true).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    let used = cpu_us() - before;
    drop(store);
    let (answered, commits) = reader.join().unwrap();
    assert_eq!(answered.len() as u64, count);
    let mut waits: Vec<_> = answered.iter().map(|(write, at)| *at - sent[*write as usize]).collect();
    waits.sort_unstable();
    let at = |share: usize| waits[waits.len() * share / 1000 - 1];
    println!(
        "1000 grants/s: {:.1} us CPU a grant, {:.1} rows a commit; wait {:?} median, {:?} p99, {:?} longest",
        used as f64 / count as f64,
        count as f64 / f64::from(commits),
        at(500),
        at(990),
        at(1000)
    );
}

fn a_hundred_thousand_leases_and_bindings_at_start() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let place = StorePlace::Sqlite(directory.path().join("store.db"));
    let (answers, mut done) = mpsc::channel(1024);
    let (store, clock, _) = Store::open(&place, "node-1", &[], answers.clone()).unwrap();
    let mut before = leases();
    let begun = Monotonic::now();
    let rows: Vec<_> = (0..MANY).map(|at| Row::Lease(grant(&mut before, clock.now(), at))).collect();
    println!("{:?} a grant in the pool", begun.elapsed() / MANY as u32);
    let begun = Monotonic::now();
    store.submit(WriteId(1), rows, true).unwrap();
    store.submit(WriteId(2), (0..MANY).map(|at| Row::Binding(binding(at))).collect(), true).unwrap();
    wait(&mut done, 2);
    println!("{MANY} leases and bindings written in {:?}", begun.elapsed());
    drop(store);
    let begun = Monotonic::now();
    let (_store, clock, loaded) = Store::open(&place, "node-1", &[], answers).unwrap();
    let read = begun.elapsed();
    assert_eq!((loaded.leases.len() as u64, loaded.bindings.len() as u64), (MANY, MANY));
    let mut after = leases();
    let begun = Monotonic::now();
    after.load(loaded.leases, clock.now());
    println!("{MANY} leases and bindings read in {read:?}, leases taken over in {:?}", begun.elapsed());
    let begun = Monotonic::now();
    assert_eq!(after.take_rows().len() as u64, MANY);
    println!("their rows written anew: {:?} in the pool", begun.elapsed());
}

fn main() {
    a_thousand_grants_a_second();
    a_hundred_thousand_leases_and_bindings_at_start();
}
