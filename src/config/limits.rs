//! The bounds of a configuration, each with its unit.

use std::time::Duration;

/// Shortest lease of a number after a call (SPEC §3).
pub(super) const LEASE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Longest value of an element of a civic address: what DHCP can carry (RFC 4776 §3.2).
pub(super) const CIVIC_VALUE_BYTES: usize = 255;
/// Longest duration any key takes: one Julian year.
pub(super) const LONGEST: Duration = Duration::from_secs(31_557_600);
/// Shortest time between two OPTIONS to one phone.
pub(super) const OPTIONS_INTERVAL: Duration = Duration::from_secs(5);
/// `[[sip.listen]]` entries: `transport::ListenerId` is a byte.
pub(super) const LISTENERS: usize = 255;
/// Shared numbers of a resource: each is looked at when the pools are exhausted.
pub(super) const OVERFLOW_NUMBERS: usize = 100;
/// Numbers in all pools together.
pub(super) const POOL_NUMBERS: u64 = 10_000_000;
