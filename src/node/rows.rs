//! What the node asks the store to remember, and what the store answers. The store itself is in `shell::store`.

use std::sync::Arc;

use crate::call::routing::listener_now;
use crate::config::Config;
use crate::transport::ListenerId;
use crate::{admin, lease, registrar};

/// A write, numbered by the node; the store's answer carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// One thing to remember. A later row of the same key replaces an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Key: the number.
    Lease(lease::Row),
    /// Key: user and slot.
    Binding(registrar::Row),
    /// Forgets a binding.
    Unbind(registrar::RowKey),
    /// An ended call; written once.
    Record(Arc<admin::Record>),
    /// Key: its number.
    Notice(Box<admin::Notice>),
    /// Forgets a notice.
    Unnotice(u64),
}

/// Why the store could not write. The rows stay in memory and are written when it can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot write: {sin}: {detail}")]
pub struct StoreFault {
    pub sin: StoreSin,
    pub detail: String,
}

/// What is wrong with the store, for alarms and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreSin {
    #[error("no space is left on the disk")]
    Full,
    #[error("it is read-only")]
    ReadOnly,
    #[error("another program holds it locked")]
    Locked,
    #[error("another sosbridge has it")]
    Taken,
    #[error("it could not be opened since the start")]
    Unopened,
    #[error("it is damaged")]
    Corrupt,
    #[error("it was removed or replaced")]
    Missing,
    #[error("the database does not answer")]
    Away,
    #[error("another daemon has taken the place of this one in the database")]
    Fenced,
    #[error("the disk reports an error")]
    Disk,
    #[error("too many rows wait for it")]
    Backlog,
    #[error("it answers with an error")]
    Other,
}

/// Gives the flows that the store kept a listener of their kind, however the configuration numbers them now.
pub(super) fn find_listeners<'a>(
    config: &Config,
    leases: impl Iterator<Item = &'a mut lease::Row>,
    bindings: &mut [registrar::Row],
) {
    for row in leases {
        if let lease::Row::Lease(lease) = row {
            let flow = &mut lease.device.flow;
            flow.listener = listener_now(config, flow.listener, flow.protocol, flow.remote);
        }
    }
    for row in bindings {
        row.listener = listener_now(config, ListenerId(row.listener), row.protocol, row.remote).0;
    }
}
