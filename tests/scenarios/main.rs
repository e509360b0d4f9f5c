//! SIPp stories, real phones and other parties against the real daemon: `cargo test --test scenarios`, or `… -- NAME` for one.
//!
//! A story is a folder of `sip-scenarios/`; to add one is to add a folder.
#![allow(clippy::disallowed_methods)]

mod browser;
mod certificates;
mod daemon;
mod ears;
mod expect;
mod kamailio;
mod nat;
mod network;
mod parties;
mod party;
mod phone;
mod phones;
mod plan;
mod ports;
mod process;
mod rtpengine;
mod sipp;
mod sound;
mod story;
mod test_line;
mod vars;
mod webhook;

use libtest_mimic::{Arguments, Failed, Trial};

/// What went wrong, in words for whoever reads the test output.
pub type Outcome<T> = Result<T, String>;

/// Stories mostly wait for timers, so more of them go at once than there are processors.
const AT_ONCE: usize = 6;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let names = story::names().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1);
    });
    let told = |name: String| Trial::test(format!("story::{name}"), move || story::play(&name).map_err(Failed::from));
    let called = |(name, cast)| Trial::test(name, move || phones::play(cast).map_err(Failed::from));
    let met = |(name, cast)| Trial::test(name, move || parties::play(cast).map_err(Failed::from));
    let yardstick = Trial::test("expectations-can-fail", || expect::self_check().map_err(Failed::from));
    let trials = phones::all().into_iter().map(called).chain(parties::all().into_iter().map(met));
    let numbers = Trial::test("test-line::ten-numbers-are-understood", || test_line::play().map_err(Failed::from));
    let browsers = browser::all().map(|(name, play)| Trial::test(name, move || play().map_err(Failed::from)));
    let behind_nat = Trial::test("nat::two-phones-with-one-address", || nat::play().map_err(Failed::from));
    let trials = trials
        .chain(browsers)
        .chain([numbers, behind_nat])
        .chain(names.into_iter().map(told))
        .chain([yardstick])
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
