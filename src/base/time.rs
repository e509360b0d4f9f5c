//! The node clock: one time line for timers and for leases.
//!
//! It is counted in microseconds since the Unix epoch as it was believed at the very first start, and from then on it only
//! ever advances with real elapsed time: it never jumps when the wall clock is set (SPEC §3, "Clock"). The shell makes
//! the instants (`shell::clock`); nothing below the shell reads a clock.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point on the node clock, microsecond resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time elapsed from `earlier` to `self`; zero when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The same moment on a clock that is `ms` milliseconds ahead, in whole milliseconds.
    pub const fn moved_ms(self, ms: i64) -> Self {
        Self::from_millis(self.as_millis().saturating_add_signed(ms))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let early = Instant::from_micros(5);
        assert_eq!(early - Duration::from_secs(1), Instant::from_micros(0));
        assert_eq!(early.since(Instant::from_millis(1)), Duration::ZERO);
        let late = Instant::from_micros(u64::MAX);
        assert_eq!(late + Duration::from_secs(1), late);
    }
}
