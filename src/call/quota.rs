//! How many test calls a user may make in an hour (`[lease] tests_per_hour`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::{Instant, limits};
use crate::config::Aor;

const HOUR: Duration = Duration::from_secs(3600);

/// The test calls of the last hour; who calls through a PBX counts for itself.
#[derive(Default)]
pub(super) struct Quota {
    times_by_user: BTreeMap<Aor, VecDeque<Instant>>,
    /// Whose they are, oldest first.
    order: VecDeque<Aor>,
}

impl Quota {
    /// How long the user has to wait for its next test; `None`: not at all.
    pub fn wait(&mut self, now: Instant, limit: u32, user: &Aor) -> Option<Duration> {
        self.expire(now);
        let times = self.times_by_user.get(user);
        let count = times.map_or(0, VecDeque::len);
        let excess = count.checked_sub(usize::try_from(limit).unwrap_or(usize::MAX))?;
        // Of a limit of 0 nobody can say how long it lasts.
        Some(times.and_then(|times| times.get(excess)).map_or(HOUR, |time| (*time + HOUR).since(now)))
    }

    /// The user makes a test. Beyond the bound the oldest is forgotten, which gives somebody one more.
    pub fn count(&mut self, now: Instant, user: &Aor) {
        while self.order.len() >= limits::TESTS_REMEMBERED {
            self.forget_oldest();
        }
        self.times_by_user.entry(user.clone()).or_default().push_back(now);
        self.order.push_back(user.clone());
    }

    fn expire(&mut self, now: Instant) {
        let oldest = |quota: &Self| quota.times_by_user.get(quota.order.front()?)?.front().copied();
        while oldest(self).is_some_and(|time| time + HOUR <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(user) = self.order.pop_front() else { return };
        if let Some(times) = self.times_by_user.get_mut(&user) {
            times.pop_front();
            if times.is_empty() {
                self.times_by_user.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn an_hour_slides() {
        let mut quota = Quota::default();
        let aor = |name: &str| -> Aor { format!("sip:{name}@example.com").parse().unwrap() };
        let (alice, bob) = (aor("alice"), aor("bob"));
        for second in [0, 10] {
            assert_eq!(quota.wait(at(second), 2, &alice), None);
            quota.count(at(second), &alice);
        }
        assert_eq!(quota.wait(at(20), 2, &alice), Some(Duration::from_secs(3580)));
        assert_eq!(quota.wait(at(20), 2, &bob), None);
        // Another limit by a reload: the second has to be over too.
        assert_eq!(quota.wait(at(20), 1, &alice), Some(Duration::from_secs(3590)));
        assert_eq!(quota.wait(at(20), 3, &alice), None);
        assert_eq!(quota.wait(at(20), 0, &bob), Some(HOUR));
        assert_eq!(quota.wait(at(3600), 2, &alice), None);
        assert_eq!(quota.wait(at(3610), 1, &alice), None);
        assert!(quota.times_by_user.is_empty() && quota.order.is_empty());
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut quota = Quota::default();
        for user in 0..limits::TESTS_REMEMBERED + 10 {
            quota.count(at(1), &format!("sip:u{user}@example.com").parse().unwrap());
        }
        let bound = limits::TESTS_REMEMBERED;
        assert_eq!((quota.order.len(), quota.times_by_user.len()), (bound, bound));
    }
}
