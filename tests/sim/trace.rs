//! What happened, as a ladder for people and as one number for comparing two runs.

use std::cell::RefCell;
use std::collections::VecDeque;

use sosbridge::base::Instant;

/// Lines kept for the ladder.
const KEPT: usize = 70;

#[derive(Default)]
struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    events: u64,
}

thread_local! {
    // Here and not in the world, so that the ladder outlives a panic inside the node.
    static TRACE: RefCell<Trace> = RefCell::default();
}

pub fn clear() {
    TRACE.with_borrow_mut(|trace| *trace = Trace { hash: 0xcbf2_9ce4_8422_2325, ..Trace::default() });
}

pub fn note(at: Instant, who: &str, what: &str) {
    let micros = at.as_micros();
    let line = format!("{:>6}.{:03} {who:<24} {what}", micros / 1_000_000 % 1_000_000, micros / 1000 % 1000);
    if std::env::var_os("SIM_VERBOSE").is_some() {
        println!("{line}");
    }
    TRACE.with_borrow_mut(|trace| {
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        trace.events += 1;
        trace.lines.push_back(line);
        if trace.lines.len() > KEPT {
            trace.lines.pop_front();
        }
    });
}

/// Events so far and the hash of all of them.
pub fn sum() -> (u64, u64) {
    TRACE.with_borrow(|trace| (trace.events, trace.hash))
}

pub fn ladder() -> String {
    TRACE.with_borrow(|trace| trace.lines.iter().map(|line| format!("{line}\n")).collect())
}
