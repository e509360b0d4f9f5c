//! The pools: ranges of numbers, which are never spelled out in memory, and the order in which numbers are taken.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::Country;
use super::machine::State;
use super::row::Lease;
use crate::base::{E164, Instant};
use crate::config;

/// A `[[pools]]` entry.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The `pool` label of metrics and alarms.
    pub name: CompactString,
    pub countries: Vec<Country>,
    /// Only for this resource, if given.
    pub resource: Option<CompactString>,
    pub ranges: Vec<RangeInclusive<E164>>,
}

impl From<&config::Pool> for Pool {
    fn from(pool: &config::Pool) -> Self {
        Self {
            name: pool.name.clone(),
            countries: pool.countries.clone(),
            resource: pool.resource.as_ref().map(|resource| resource.name.clone()),
            ranges: pool.numbers.iter().map(|range| range.first..=range.last).collect(),
        }
    }
}

impl Pool {
    /// The same pool with those of its numbers only that are in `share`, which is in ascending order.
    pub fn within(self, share: &[RangeInclusive<E164>]) -> Self {
        let common = |range: &RangeInclusive<E164>| {
            let from = share.partition_point(|part| part.end() < range.start());
            let parts = share.iter().skip(from).take_while(|part| part.start() <= range.end());
            let cut = |part: &RangeInclusive<E164>| *part.start().max(range.start())..=*part.end().min(range.end());
            parts.map(cut).collect::<Vec<_>>()
        };
        let ranges = self.ranges.iter().flat_map(common).collect();
        Self { ranges, ..self }
    }
}

/// How well filled a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No number is free.
    Empty,
    /// A fifth or less is free.
    Low,
    Enough,
}

/// The numbers of a pool, counted by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus<'a> {
    pub name: &'a str,
    pub capacity: u64,
    pub free: u64,
    pub active: u64,
    pub held: u64,
    pub quarantined: u64,
}

/// A pool is on another level than was told of it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolAlarm {
    pub pool: CompactString,
    pub level: Level,
    pub free: u64,
    pub capacity: u64,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Low => "low",
            Self::Enough => "enough",
        }
    }
}

impl PoolStatus<'_> {
    /// The level to tell of after `told`: a worse one at once, a better one only with a tenth of the pool to spare, so that a
    /// single number coming and going is one alarm.
    pub const fn level_after(&self, told: Level) -> Level {
        let (tenths, capacity) = (self.free.saturating_mul(10), self.capacity);
        match (told, self.level()) {
            (Level::Empty, Level::Low) if tenths <= capacity => Level::Empty,
            (Level::Empty | Level::Low, Level::Enough) if tenths <= capacity.saturating_mul(3) => Level::Low,
            (_, level) => level,
        }
    }

    pub const fn level(&self) -> Level {
        if self.free == 0 {
            Level::Empty
        } else if self.free.saturating_mul(5) <= self.capacity {
            Level::Low
        } else {
            Level::Enough
        }
    }
}

/// One pool at work.
pub(super) struct Shelf {
    pool: Pool,
    /// First and last digits in the order in which they are given, disjoint from those of every other shelf.
    ranges: Vec<(u64, u64)>,
    capacity: u64,
    /// Numbers before this place (range, offset) have been looked at: they are known to `Leases`.
    cursor: (usize, u64),
    active: u64,
    held: u64,
    /// By the time their rest began.
    quarantined: BTreeSet<(Instant, E164)>,
    /// Free again, by the time their rest began.
    rested: BTreeSet<(Instant, E164)>,
}

impl Shelf {
    pub(super) fn serves(&self, country: Country) -> bool {
        self.pool.countries.contains(&country)
    }

    pub(super) fn status(&self) -> PoolStatus<'_> {
        let quarantined = self.quarantined.len() as u64;
        let used = self.active + self.held + quarantined;
        let (name, capacity) = (self.pool.name.as_str(), self.capacity);
        let free = capacity.saturating_sub(used);
        PoolStatus { name, capacity, free, active: self.active, held: self.held, quarantined }
    }

    /// The free number to give next: one never used, else the longest-rested one. `known` tells the numbers in use or rested.
    pub(super) fn next_free(&mut self, known: impl Fn(E164) -> bool) -> Option<E164> {
        self.next_unused(known).or_else(|| self.rested.first().map(|(_, number)| *number))
    }

    pub(super) fn oldest_quarantined(&self) -> Option<(Instant, E164)> {
        self.quarantined.first().copied()
    }

    /// Moves the cursor to the next number not `known`.
    pub(super) fn next_unused(&mut self, known: impl Fn(E164) -> bool) -> Option<E164> {
        while let Some(&(first, last)) = self.ranges.get(self.cursor.0) {
            let digits = first + self.cursor.1;
            if digits > last {
                self.cursor = (self.cursor.0 + 1, 0);
                continue;
            }
            match E164::from_digits(digits) {
                Some(number) if !known(number) => return Some(number),
                _ => self.cursor.1 += 1,
            }
        }
        None
    }

    /// Numbers never used are given from the one at `place` on, and those before it at last.
    fn begin_at(&mut self, place: u64) {
        let mut before = place.checked_rem(self.capacity).unwrap_or(0);
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (from, to) in std::mem::take(&mut self.ranges) {
            let cut = before.min(to - from + 1);
            before -= cut;
            last.extend((cut > 0).then(|| (from, from + cut - 1)));
            first.extend((from + cut <= to).then_some((from + cut, to)));
        }
        first.append(&mut last);
        (self.ranges, self.cursor) = (first, (0, 0));
    }

    pub(super) fn put(&mut self, lease: &Lease) {
        match lease.state {
            State::Free => {}
            State::Active => self.active += 1,
            State::Held => self.held += 1,
            State::Quarantined => {
                self.quarantined.insert((lease.expires, lease.number));
            }
        }
    }

    pub(super) fn take(&mut self, lease: &Lease) {
        match lease.state {
            State::Free => {}
            State::Active => self.active = self.active.saturating_sub(1),
            State::Held => self.held = self.held.saturating_sub(1),
            State::Quarantined => {
                self.quarantined.remove(&(lease.expires, lease.number));
            }
        }
    }

    pub(super) fn put_rested(&mut self, since: Instant, number: E164) {
        self.rested.insert((since, number));
    }

    pub(super) fn take_rested(&mut self, since: Instant, number: E164) {
        self.rested.remove(&(since, number));
    }
}

/// All pools, and which number belongs to which.
pub(super) struct Shelves {
    shelves: Vec<Shelf>,
    /// First digits, last digits, shelf; ascending and disjoint.
    owners: Vec<(u64, u64, usize)>,
}

impl Shelves {
    /// A number named twice belongs to the range that starts first; the configuration refuses such pools beforehand.
    /// `begin_at`: the place in each pool from which on numbers are given; 0: in their order.
    pub(super) fn new(pools: &[Pool], begin_at: u64) -> Self {
        let mut owners: Vec<(u64, u64, usize)> = pools
            .iter()
            .enumerate()
            .flat_map(|(at, pool)| pool.ranges.iter().map(move |r| (r.start().digits(), r.end().digits(), at)))
            .collect();
        owners.sort_unstable();
        let mut next = 0;
        owners.retain_mut(|(first, last, _)| {
            *first = next.max(*first);
            next = next.max(last.saturating_add(1));
            *first <= *last
        });
        let shelf = |(at, pool): (usize, &Pool)| {
            let ranges: Vec<_> = owners.iter().filter(|o| o.2 == at).map(|o| (o.0, o.1)).collect();
            let capacity = ranges.iter().map(|(first, last)| last - first + 1).sum();
            let mut shelf = Shelf {
                pool: Pool { ranges: Vec::new(), ..pool.clone() },
                ranges,
                capacity,
                cursor: (0, 0),
                active: 0,
                held: 0,
                quarantined: BTreeSet::new(),
                rested: BTreeSet::new(),
            };
            shelf.begin_at(begin_at);
            shelf
        };
        let shelves = pools.iter().enumerate().map(shelf).collect();
        Self { shelves, owners }
    }

    pub(super) fn of(&self, number: E164) -> Option<&Shelf> {
        self.shelves.get(self.position(number)?)
    }

    pub(super) fn of_mut(&mut self, number: E164) -> Option<&mut Shelf> {
        let at = self.position(number)?;
        self.shelves.get_mut(at)
    }

    fn position(&self, number: E164) -> Option<usize> {
        let digits = number.digits();
        let after = self.owners.partition_point(|(first, _, _)| *first <= digits);
        let (_, last, at) = self.owners.get(after.checked_sub(1)?)?;
        (digits <= *last).then_some(*at)
    }

    /// The pools for a call, best first: the resource's own ones, then the shared ones, each in the order of the configuration.
    pub(super) fn serving(&self, resource: &str, country: Country) -> SmallVec<[usize; 8]> {
        let own = |shelf: &Shelf| shelf.pool.resource.as_deref() == Some(resource);
        let shared = |shelf: &Shelf| shelf.pool.resource.is_none();
        let at = |wanted: &dyn Fn(&Shelf) -> bool| -> SmallVec<[usize; 8]> {
            let all = self.shelves.iter().enumerate();
            all.filter(|(_, shelf)| shelf.serves(country) && wanted(shelf)).map(|(at, _)| at).collect()
        };
        let mut serving = at(&own);
        serving.extend(at(&shared));
        serving
    }

    pub(super) fn get(&self, at: usize) -> Option<&Shelf> {
        self.shelves.get(at)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Shelf> {
        self.shelves.get_mut(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shelf> {
        self.shelves.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Shelf> {
        self.shelves.iter_mut()
    }
}
