//! The shared numbers of a resource, for when the pools are exhausted (SPEC §3, "Pool exhausted").

use std::collections::BTreeSet;

use super::limits;
use super::types::{Resource, User};
use crate::base::E164;

/// The numbers of last resort of a resource, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow {
    first: E164,
    others: Vec<E164>,
    is_lent: bool,
}

impl Overflow {
    /// One number, which belongs to no user.
    pub const fn one(number: E164) -> Self {
        Self { first: number, others: Vec::new(), is_lent: false }
    }

    /// Several, at least one, for tests.
    #[cfg(test)]
    pub(crate) fn several(numbers: &[E164], is_lent: bool) -> Option<Self> {
        let (first, others) = numbers.split_first()?;
        Some(Self { first: *first, others: others.to_vec(), is_lent })
    }

    /// Those that are configured, else the numbers with `make_calls` that are no user's own, else users' own. `None`: the
    /// resource makes no emergency calls (SPEC §2).
    pub(super) fn of(resource: &Resource, owned: &BTreeSet<E164>) -> Option<Self> {
        let bought = || resource.numbers.iter().filter(|number| number.make_calls).map(|number| number.number);
        let lowest = |numbers: BTreeSet<E164>| numbers.into_iter().take(limits::OVERFLOW_NUMBERS).collect::<Vec<_>>();
        let of_nobody = match resource.overflow.is_empty() {
            true => lowest(bought().filter(|number| !owned.contains(number)).collect()),
            false => resource.overflow.clone(),
        };
        let is_lent = of_nobody.is_empty();
        let mut numbers = if is_lent { lowest(bought().collect()) } else { of_nobody }.into_iter();
        Some(Self { first: numbers.next()?, others: numbers.collect(), is_lent })
    }

    /// True when every one of them is some user's own number: nothing else was bought.
    pub const fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// In the order of preference.
    pub fn numbers(&self) -> impl Iterator<Item = E164> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The number that comes first by `key`; of several the preferred one.
    pub fn least<K: Ord>(&self, key: impl Fn(E164) -> K) -> E164 {
        self.numbers().min_by_key(|number| key(*number)).unwrap_or(self.first)
    }
}

/// The numbers that are users' own.
pub(super) fn owned(users: &[User]) -> BTreeSet<E164> {
    users.iter().filter_map(|user| user.number).collect()
}
