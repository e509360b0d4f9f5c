//! The right to show a number: a `Shown` exists only after the store answered, or after the wait for it was given up.

use super::row::{Kind, Lease, Row};
use crate::base::E164;

/// A number given to a call but not yet to be seen by anybody: its row must be written first (SPEC §3, "Durable").
#[derive(Debug)]
#[must_use = "persist `row()`, then call `durable` or `volatile`; the call it counts must end with `Leases::call_down`"]
pub struct Grant {
    pub(super) lease: Lease,
    /// `Overflow` on the lease of somebody else: there was no other number.
    pub(super) kind: Kind,
}

/// Proof that the store committed the row of a grant. Made only where the store's answer comes in.
#[derive(Debug)]
pub struct WriteAck(());

/// Why a grant is shown without being durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// `[store] write_deadline` passed without an answer.
    Deadline,
    /// The store answered with a fault.
    Fault,
}

impl Overdue {
    /// What the disk did, for the record of the call.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Deadline => "did not answer in time",
            Self::Fault => "failed",
        }
    }
}

/// A number that may be put in an INVITE to a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    number: E164,
    kind: Kind,
    overdue: Option<Overdue>,
}

impl WriteAck {
    /// To be called on the store's answer for the write that carried the grant's row, and nowhere else.
    pub const fn stored() -> Self {
        Self(())
    }
}

impl Grant {
    pub const fn number(&self) -> E164 {
        self.lease.number
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What the store must commit before the number is shown.
    pub fn row(&self) -> Row {
        Row::Lease(self.lease.clone())
    }

    /// The row is on disk.
    pub fn durable(self, _proof: WriteAck) -> Shown {
        Shown { number: self.lease.number, kind: self.kind, overdue: None }
    }

    /// The row is not on disk and the call must go out all the same; the caller raises the alarm.
    pub fn volatile(self, why: Overdue) -> Shown {
        Shown { number: self.lease.number, kind: self.kind, overdue: Some(why) }
    }
}

impl Shown {
    pub const fn number(&self) -> E164 {
        self.number
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// `None` when the lease was durable before it was shown.
    pub const fn overdue(&self) -> Option<Overdue> {
        self.overdue
    }
}
