//! Chance: what the seed decides.

use std::time::Duration;

use sosbridge::base::Rng;

/// True in so many of a hundred cases.
pub fn percent(rng: &mut Rng, percent: u64) -> bool {
    rng.below(100) < percent
}

/// A time between two, in milliseconds.
pub fn between(rng: &mut Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + rng.below(to_ms.saturating_sub(from_ms) + 1))
}

pub fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[usize::try_from(rng.below(from.len() as u64)).unwrap_or(0)]
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
