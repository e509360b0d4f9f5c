//! Times as people read them: RFC 3339, UTC, milliseconds.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::Instant;

/// A wall-clock time, in milliseconds since the Unix epoch. Prints and serialises as `2026-11-22T15:04:05.678Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Latest time RFC 3339 can write: 9999-12-31T23:59:59.999Z.
    const LAST_MS: u64 = 253_402_300_799_999;

    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(if millis > Self::LAST_MS { Self::LAST_MS } else { millis })
    }

    /// `at` on the node clock, shown on the wall clock that is `offset_ms` ahead of it (`Input::Wall`).
    pub const fn new(at: Instant, offset_ms: i64) -> Self {
        Self::from_unix_millis(at.as_millis().saturating_add_signed(offset_ms))
    }

    pub const fn unix_millis(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.0)).fmt(f)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
        Ok(Self::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shown_in_utc_with_milliseconds_and_read_back() {
        let stamp = Stamp::new(Instant::from_millis(1_000), 678);
        assert_eq!(serde_json::to_string(&stamp).unwrap(), "\"1970-01-01T00:00:01.678Z\"");
        assert_eq!(serde_json::from_str::<Stamp>("\"1970-01-01T00:00:01.678Z\"").unwrap(), stamp);
        assert_eq!(serde_json::from_str::<Stamp>("\"1970-01-01T00:00:01Z\"").unwrap().unix_millis(), 1_000);
    }

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Stamp::new(Instant::from_millis(5), -10).unix_millis(), 0);
        assert_eq!(Stamp::new(Instant::from_micros(u64::MAX), i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
