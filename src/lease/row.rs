//! A lease as a value: what is kept in memory, what the store remembers, what operators see.

use std::time::Duration;

use compact_str::CompactString;

use super::Country;
use super::machine::State;
use crate::base::{E164, Instant};
use crate::transport::Flow;

/// The device that made the call: what is needed to ring it again, after a restart too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its `+sip.instance` (RFC 5626 §4.1) if it gave one, else its contact URI. Tells devices of a user apart.
    pub key: CompactString,
    /// Its contact URI.
    pub contact: CompactString,
    /// How it is woken: the `pn-` parameters of its contact (RFC 8599 §4.1), each with its leading `;`; empty when it gave none.
    pub push: CompactString,
    /// The flow its INVITE came over; the store keeps all but the connection.
    pub flow: Flow,
}

/// Where a number came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// From a pool: one holder only.
    Pooled,
    /// The pools were exhausted: the user's own number.
    OwnNumber,
    /// All was exhausted: the shared number of the resource; a callback reaches its most recent caller.
    Overflow,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::OwnNumber => "own-number",
            Self::Overflow => "overflow",
        }
    }

    /// The reverse of `as_str`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pooled, Self::OwnNumber, Self::Overflow].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One number and its holder. Times have millisecond resolution, so that a lease read back from the store is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub number: E164,
    pub kind: Kind,
    /// Never `Free` here.
    pub state: State,
    pub resource: CompactString,
    pub country: Country,
    /// Address of record.
    pub user: CompactString,
    pub device: Device,
    /// When the last emergency (or first test) call on it was dialled.
    pub dialled: Instant,
    /// Held: when the window is over. Quarantined: when it was over. Active: the earliest it could be, `dialled + window`.
    pub expires: Instant,
    /// Calls up on the number now.
    pub calls: u32,
    /// Only test calls were made with it.
    pub test: bool,
}

/// What the store has to remember about one number; the newest row of a number replaces the older ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Lease(Lease),
    /// Free again, and how long it has rested: keeps "longest-rested first" true across restarts.
    Rested {
        number: E164,
        since: Instant,
    },
    /// Nothing to remember any more: the number is in no pool.
    Forget {
        number: E164,
    },
}

impl Row {
    pub const fn number(&self) -> E164 {
        match self {
            Self::Lease(lease) => lease.number,
            Self::Rested { number, .. } | Self::Forget { number } => *number,
        }
    }

    /// Its times, to be put on another clock.
    pub fn instants_mut(&mut self) -> impl Iterator<Item = &mut Instant> {
        let instants = match self {
            Self::Lease(lease) => [Some(&mut lease.dialled), Some(&mut lease.expires)],
            Self::Rested { since, .. } => [Some(since), None],
            Self::Forget { .. } => [None, None],
        };
        instants.into_iter().flatten()
    }
}

/// A lease as operators see it; times are on the node clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub number: E164,
    pub kind: Kind,
    pub state: State,
    pub resource: CompactString,
    pub country: Country,
    pub user: CompactString,
    pub contact: CompactString,
    pub dialled_at: Instant,
    /// While a call is up: what it would be if the call ended now.
    pub expires_at: Instant,
    pub quarantine_until: Instant,
    pub calls: u32,
    pub test: bool,
}

impl View {
    pub(super) fn of(lease: &Lease, now: Instant, window: Duration, quarantine: Duration) -> Self {
        let expires_at = match lease.state {
            State::Active => lease.dialled.max(now) + window,
            State::Free | State::Held | State::Quarantined => lease.expires,
        };
        Self {
            number: lease.number,
            kind: lease.kind,
            state: lease.state,
            resource: lease.resource.clone(),
            country: lease.country,
            user: lease.user.clone(),
            contact: lease.device.contact.clone(),
            dialled_at: lease.dialled,
            expires_at,
            quarantine_until: expires_at + quarantine,
            calls: lease.calls,
            test: lease.test,
        }
    }
}
