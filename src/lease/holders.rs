//! Who holds which numbers: from a user, or one device of a user, to the numbers given to it.

use std::collections::BTreeSet;

use compact_str::{CompactString, format_compact};

use super::row::Lease;
use crate::base::E164;

/// Numbers by holder. The key is `user NUL device NUL`, so that all devices of a user lie side by side.
///
/// A device mostly has one number; another one beside it when it called from another country, or had a shared one before.
#[derive(Default)]
pub(super) struct Holders {
    numbers_by_holder: BTreeSet<(CompactString, E164)>,
}

impl Holders {
    pub(super) fn of_device(&self, user: &str, device: &str) -> impl Iterator<Item = E164> {
        self.between(format_compact!("{user}\0{device}\0"), format_compact!("{user}\0{device}\u{1}"))
    }

    pub(super) fn of_user(&self, user: &str) -> impl Iterator<Item = E164> {
        self.between(format_compact!("{user}\0"), format_compact!("{user}\u{1}"))
    }

    pub(super) fn put(&mut self, lease: &Lease) {
        self.numbers_by_holder.insert(entry(lease));
    }

    pub(super) fn remove(&mut self, lease: &Lease) {
        self.numbers_by_holder.remove(&entry(lease));
    }

    fn between(&self, from: CompactString, to: CompactString) -> impl Iterator<Item = E164> {
        self.numbers_by_holder.range((from, E164::MIN)..(to, E164::MIN)).map(|(_, number)| *number)
    }
}

fn entry(lease: &Lease) -> (CompactString, E164) {
    (format_compact!("{}\0{}\0", lease.user, lease.device.key), lease.number)
}
