//! Who holds which number: from a user and a device to the number last given to it.

use std::collections::BTreeMap;

use compact_str::{CompactString, format_compact};

use super::row::Lease;
use crate::base::E164;

/// Numbers by holder. The key is `user NUL device`, so that all devices of a user lie side by side.
#[derive(Default)]
pub(super) struct Holders {
    number_by_holder: BTreeMap<CompactString, E164>,
}

impl Holders {
    pub(super) fn number_of(&self, user: &str, device: &str) -> Option<E164> {
        self.number_by_holder.get(&key(user, device)).copied()
    }

    pub(super) fn numbers_of(&self, user: &str) -> impl Iterator<Item = E164> {
        let (from, to) = (key(user, ""), format_compact!("{user}\u{1}"));
        self.number_by_holder.range(from..to).map(|(_, number)| *number)
    }

    pub(super) fn put(&mut self, lease: &Lease) {
        self.number_by_holder.insert(key(&lease.user, &lease.device.key), lease.number);
    }

    /// Forgets the holder of `lease`, unless it was given another number since.
    pub(super) fn remove(&mut self, lease: &Lease) {
        let key = key(&lease.user, &lease.device.key);
        if self.number_by_holder.get(&key) == Some(&lease.number) {
            self.number_by_holder.remove(&key);
        }
    }
}

fn key(user: &str, device: &str) -> CompactString {
    format_compact!("{user}\0{device}")
}
