//! The simulator: the whole node in virtual time, between phones and trunks that speak raw text over a bad network, on a
//! disk that fails, dying and reviving at any moment. One seed decides everything.
//!
//! `cargo test --test sim` plays 200 seeds; `SIM_SEED=123 cargo test --test sim -- --nocapture` plays one again;
//! `SIM_SEEDS=5000` plays more, `SIM_VERBOSE=1` prints every event.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may"
)]

mod acts;
mod calls;
mod chance;
#[path = "../world/engine.rs"]
mod engine;
mod engines;
mod extensions;
mod leg;
mod manners;
mod media;
mod model;
mod net;
mod party;
mod phone;
#[path = "../world/plane.rs"]
mod plane;
mod setup;
mod store;
mod text;
mod trace;
mod trials;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Plays one seed; what it came to, or the ladder of what went wrong.
fn run(seed: u64) -> Result<(u64, u64), String> {
    trace::clear();
    match catch_unwind(AssertUnwindSafe(|| acts::play(seed))) {
        Ok(()) => Ok(trace::sum()),
        Err(why) => {
            let text = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied());
            let again = format!("SIM_SEED={seed} cargo test --test sim -- --nocapture");
            Err(format!("{}\n{}\nseed {seed}: {again}\n", trace::ladder(), text.unwrap_or("panic")))
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_under_every_seed() {
    let (first, count) = match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("SIM_FIRST").unwrap_or(0), number("SIM_SEEDS").unwrap_or(200)),
    };
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let events = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2.min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    match run(seed) {
                        Ok((seen, _)) => drop(events.fetch_add(seen, Ordering::Relaxed)),
                        Err(ladder) => failures.lock().unwrap().push((seed, ladder)),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    println!("{count} seeds, {} events", events.into_inner());
    if let Some((_, ladder)) = failures.first() {
        let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
        panic!("{ladder}\nfailing seeds: {seeds:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let seed = number("SIM_SEED").unwrap_or(7);
    let (one, two) = (run(seed).unwrap_or_default(), run(seed).unwrap_or_default());
    assert_eq!(one, two, "(events, hash) of seed {seed}");
}
