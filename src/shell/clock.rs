//! The node clock (`base::time`): elapsed real time only, carried across restarts and reboots; no jump of the wall clock moves it.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::Instant;

/// `/proc/uptime` counts hundredths of a second.
const UPTIME_STEP_MS: u64 = 10;

/// What the clocks of the machine said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall clock, since the Unix epoch.
    pub wall_ms: u64,
    /// Differs after every boot of the machine; empty when unknown.
    pub boot_id: String,
    /// Since that boot, suspended time included (CLOCK_BOOTTIME).
    pub boottime_ms: u64,
}

/// The node clock as last stored, with the reading of that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub node_ms: u64,
    pub reading: Reading,
}

/// Counts on from the time at start. Cheap to copy; all copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    base: Instant,
    started: std::time::Instant,
}

impl Reading {
    /// Reads the clocks of this machine.
    pub fn now() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let boottime_ms = u64::try_from(Duration::from_secs_f64(seconds.max(0.0)).as_millis()).unwrap_or(0);
        Self { wall_ms: wall_ms(), boot_id: boot_id.trim().to_owned(), boottime_ms }
    }
}

/// The time to go on from at start, in milliseconds of the node clock.
///
/// Within one boot the time since boot tells what has elapsed. After a reboot only the wall clock can; if it went back, nothing
/// has elapsed as far as leases are concerned: they last longer, never shorter.
pub fn base_ms(stored: Option<&Stored>, now: &Reading) -> u64 {
    let Some(Stored { node_ms, reading: then }) = stored else { return now.wall_ms };
    let same_boot = !now.boot_id.is_empty() && now.boot_id == then.boot_id;
    let elapsed = if same_boot && now.boottime_ms >= then.boottime_ms {
        (now.boottime_ms - then.boottime_ms).saturating_sub(UPTIME_STEP_MS)
    } else {
        now.wall_ms.saturating_sub(then.wall_ms)
    };
    node_ms.saturating_add(elapsed)
}

impl NodeClock {
    /// Starts from what the store remembers.
    pub fn start(stored: Option<&Stored>) -> Self {
        let base = Instant::from_millis(base_ms(stored, &Reading::now()));
        Self { base, started: std::time::Instant::now() }
    }

    pub fn now(&self) -> Instant {
        self.base + self.started.elapsed()
    }

    /// When an instant of the node clock comes, for sleeping until then.
    pub fn to_monotonic(&self, instant: Instant) -> std::time::Instant {
        self.started + instant.since(self.base)
    }

    /// The wall clock; the node clock where that is behind. For what may come too late and not too early: a wall clock that
    /// jumps ahead is not believed.
    pub fn wall_or_earlier_ms(&self) -> u64 {
        wall_ms().min(self.now().as_millis())
    }

    /// What to add to the node clock to get the wall clock, for showing times to people.
    pub fn wall_offset_ms(&self) -> i64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        signed(wall_ms()).saturating_sub(signed(self.now().as_millis()))
    }

    /// What to store now.
    pub fn to_store(&self) -> Stored {
        Stored { node_ms: self.now().as_millis(), reading: Reading::now() }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn reading(wall_ms: u64, boot: &str, boottime_ms: u64) -> Reading {
        Reading { wall_ms, boot_id: boot.to_owned(), boottime_ms }
    }

    fn stored() -> Stored {
        Stored { node_ms: 1000 * HOUR, reading: reading(2000 * HOUR, "a", HOUR) }
    }

    #[test]
    fn the_first_start_takes_the_wall_clock() {
        assert_eq!(base_ms(None, &reading(42, "a", 7)), 42);
    }

    /// Rule 3.9.
    #[test]
    fn within_a_boot_no_jump_of_the_wall_clock_counts() {
        for wall in [0, 1999 * HOUR, 2000 * HOUR + 5000, 9000 * HOUR] {
            assert_eq!(base_ms(Some(&stored()), &reading(wall, "a", HOUR + 5000)), 1000 * HOUR + 5000 - 10);
        }
        assert_eq!(base_ms(Some(&stored()), &reading(0, "a", HOUR + 3)), 1000 * HOUR);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_but_never_backwards() {
        assert_eq!(base_ms(Some(&stored()), &reading(2003 * HOUR, "b", 1)), 1003 * HOUR);
        assert_eq!(base_ms(Some(&stored()), &reading(5, "b", 1)), 1000 * HOUR);
        assert_eq!(base_ms(Some(&stored()), &reading(2003 * HOUR, "", 1)), 1003 * HOUR);
        // A boot id that stayed although the machine was restored from an image.
        assert_eq!(base_ms(Some(&stored()), &reading(2001 * HOUR, "a", 5)), 1001 * HOUR);
    }

    #[test]
    fn the_clock_of_this_machine_advances_and_survives_a_restart() {
        let clock = NodeClock::start(None);
        assert!(clock.wall_offset_ms().abs() < 1000);
        let (early, saved) = (clock.now(), clock.to_store());
        assert!(!saved.reading.boot_id.is_empty() && saved.reading.boottime_ms > 0);
        let again = NodeClock::start(Some(&saved));
        assert!(again.now() >= early - Duration::from_millis(20));
        assert_eq!(clock.to_monotonic(clock.base), clock.started);
    }
}
