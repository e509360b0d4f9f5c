//! The pool of temporary numbers: who holds which number, until when, and who gets the next one (SPEC §3).
//!
//! Pure: it keeps no clock and writes no disk. A number goes free -> active -> held -> quarantined -> free (`machine`).
//! What it promises and the disk must remember comes out as `Row`s; what is to be shown to a trunk comes out as a `Grant`,
//! and only a grant whose row is durable, or whose write is expressly overdue, becomes a `Shown` number.

mod elsewhere;
mod grant;
mod holders;
mod leases;
mod machine;
#[cfg(test)]
mod model;
#[cfg(test)]
mod moves;
mod pool;
mod row;
#[cfg(test)]
mod shared;

pub use elsewhere::{Elsewhere, ElsewhereNews, Neighbour};
pub use grant::{Grant, Overdue, Shown, WriteAck};
pub use leases::{Ask, Leases, Settings};
pub use machine::{Event, State};
pub use pool::{Level, Pool, PoolAlarm, PoolStatus};
pub use row::{Device, Kind, Lease, Row, View};

pub use crate::config::Country;
