//! The pool at work: giving numbers, counting calls, expiring, and saying what the disk must remember.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compact_str::CompactString;

use super::Country;
use super::grant::Grant;
use super::holders::Holders;
use super::machine::{Event, State};
use super::pool::{Level, Pool, PoolAlarm, PoolStatus, Shelves};
use super::row::{Device, Kind, Lease, Row, View};
use crate::base::{E164, Instant};
use crate::config::{self, Overflow};

/// What another node promises beyond this is longer; less is how exactly two nodes know each other's clocks.
const PROMISES_APART: Duration = Duration::from_secs(10);

/// Who asks for a number.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Address of record.
    pub user: &'a str,
    pub device: &'a Device,
    pub resource: &'a str,
    /// Of the caller.
    pub country: Country,
    /// Whose pools serve the call: mostly the same.
    pub pool_country: Country,
    /// The user's own number.
    pub own: Option<E164>,
    /// The resource's shared numbers of last resort. So an emergency call always gets a number.
    pub overflow: &'a Overflow,
}

/// `[lease]` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub window: Duration,
    pub quarantine: Duration,
}

impl From<&config::LeaseKeys> for Settings {
    fn from(keys: &config::LeaseKeys) -> Self {
        Self { window: keys.window, quarantine: keys.quarantine }
    }
}

/// All leases, and the pools they come from.
pub struct Leases {
    settings: Settings,
    shelves: Shelves,
    /// The place in each pool from which on numbers are given.
    begin_at: u64,
    leases: BTreeMap<E164, Lease>,
    /// Pool numbers that were used and are free again, with the time their rest began.
    rested: BTreeMap<E164, Instant>,
    holders: Holders,
    /// When a held lease or a quarantine ends.
    deadlines: BTreeSet<(Instant, E164)>,
    /// Numbers whose row in the store is out of date.
    dirty: BTreeSet<E164>,
    /// What was told last of pools that had not enough.
    level_by_pool: BTreeMap<CompactString, Level>,
}

impl Leases {
    pub fn new(pools: &[Pool], settings: Settings) -> Self {
        Self {
            settings,
            shelves: Shelves::new(pools, 0),
            begin_at: 0,
            leases: BTreeMap::new(),
            rested: BTreeMap::new(),
            holders: Holders::default(),
            deadlines: BTreeSet::new(),
            dirty: BTreeSet::new(),
            level_by_pool: BTreeMap::new(),
        }
    }

    /// Takes over what the store remembers, at start. A lease whose call was up is held from `now` on, a whole window.
    pub fn load(&mut self, rows: Vec<Row>, now: Instant) {
        for row in rows {
            match row {
                Row::Lease(lease) => self.load_lease(lease, now),
                Row::Rested { number, since } => {
                    self.rested.insert(number, since);
                }
                Row::Forget { .. } => {}
            }
        }
        self.stock();
        self.handle_timeout(now);
    }

    fn load_lease(&mut self, lease: Lease, now: Instant) {
        let Some(lease) = self.restarted(lease, now) else { return };
        self.holders.put(&lease);
        self.leases.insert(lease.number, lease);
    }

    /// What a start makes of a lease.
    fn restarted(&mut self, mut lease: Lease, now: Instant) -> Option<Lease> {
        let was = lease.state;
        lease.state = was.after(Event::Restarted)?;
        lease.calls = 0;
        if was == State::Active {
            lease.expires = round_up(lease.dialled.max(now) + self.settings.window);
            self.dirty.insert(lease.number);
        }
        Some(lease)
    }

    /// For a node that does not know which numbers are leased: those from `place` on are given first, counted through each pool.
    /// `pools`: as they are.
    pub fn begin_at(&mut self, place: u64, pools: &[Pool]) {
        self.begin_at = place;
        self.reload(pools, self.settings);
    }

    /// Takes over what the store remembers and could not be asked for at start. Who has called since keeps the number; says how many
    /// callers have lost theirs to another so.
    pub fn recall(&mut self, rows: Vec<Row>, now: Instant) -> usize {
        let mut lost = 0;
        for row in rows {
            let number = row.number();
            match row {
                Row::Lease(theirs) => {
                    let Some(theirs) = self.restarted(theirs, now) else { continue };
                    lost += usize::from(!self.recall_lease(theirs, now));
                }
                Row::Rested { since, .. } if !self.leases.contains_key(&number) => self.rest(number, since),
                Row::Rested { .. } | Row::Forget { .. } => {}
            }
        }
        self.handle_timeout(now);
        lost
    }

    /// False when its number is another caller's by now.
    fn recall_lease(&mut self, theirs: Lease, now: Instant) -> bool {
        let number = theirs.number;
        // A test promises nobody a callback.
        let is_later = |ours: &Lease| ours.dialled >= theirs.dialled && (theirs.test || !ours.test);
        let ours = self.leases.get(&number).filter(|ours| ours.calls > 0 || is_later(ours));
        let Some(ours) = ours else {
            let is_newer = self.leases.contains_key(&number) || self.rested.contains_key(&number);
            self.dirty.extend(is_newer.then_some(number));
            self.withdraw(number);
            self.holders.put(&theirs);
            self.put(theirs);
            return true;
        };
        let (is_same, expires) = (ours.user == theirs.user, ours.expires);
        if is_same && expires < theirs.expires {
            self.prolong(number, theirs.expires);
        } else if !is_same {
            self.dirty.insert(number);
        }
        is_same || theirs.kind == Kind::Overflow || theirs.expires <= now
    }

    /// The later rest of a number counts. It is kept when the pools do not have the number, too: they may soon.
    fn rest(&mut self, number: E164, since: Instant) {
        if let Some(known) = self.rested.get(&number) {
            if since <= *known {
                return;
            }
            self.dirty.insert(number);
        }
        self.withdraw(number);
        self.rested.insert(number, since);
        if let Some(shelf) = self.shelves.of_mut(number) {
            shelf.put_rested(since, number);
        }
    }

    /// New pools and settings. Every lease stays, those whose number left the pools too; promised times are not shortened.
    pub fn reload(&mut self, pools: &[Pool], settings: Settings) {
        self.settings = settings;
        self.shelves = Shelves::new(pools, self.begin_at);
        self.stock();
    }

    /// Fills shelves and deadlines from the leases and the rested numbers.
    fn stock(&mut self) {
        self.deadlines.clear();
        let quarantine = self.settings.quarantine;
        for lease in self.leases.values() {
            if let Some(shelf) = self.shelves.of_mut(lease.number) {
                shelf.put(lease);
            }
            self.deadlines.extend(deadline(lease, quarantine));
        }
        let (shelves, dirty, leases) = (&mut self.shelves, &mut self.dirty, &self.leases);
        self.rested.retain(|number, since| {
            let shelf = shelves.of_mut(*number).filter(|_| !leases.contains_key(number));
            match shelf {
                Some(shelf) => shelf.put_rested(*since, *number),
                None => {
                    dirty.insert(*number);
                    return false;
                }
            }
            true
        });
        for shelf in self.shelves.iter_mut() {
            shelf.next_unused(|number| self.leases.contains_key(&number) || self.rested.contains_key(&number));
        }
    }

    /// The number of an emergency call; never refused. Counts the call as up: end it with one `call_down`.
    ///
    /// The same device keeps its number. Else free, oldest in quarantine, own, overflow (SPEC §3, "Pool exhausted").
    pub fn acquire(&mut self, now: Instant, ask: &Ask<'_>) -> Grant {
        self.handle_timeout(now);
        let (number, kind) = self.choose(ask);
        if kind == Kind::Overflow && self.leases.get(&number).is_some_and(|lease| is_anothers(lease, ask)) {
            // There is no other number at all. Whose lease it is keeps it, and is called back.
            self.call_up(number);
            self.dirty.remove(&number);
            if let Some(lease) = self.leases.get(&number).cloned() {
                return Grant { lease, kind };
            }
        }
        self.give(now, ask, number, kind, false)
    }

    /// The number of a test call, which must not use up the pool (SPEC §7): the number the user already has, else a free
    /// one while more than a tenth of the pool (and more than one number) is free, else `None`. Counts the call as up.
    pub fn acquire_test(&mut self, now: Instant, ask: &Ask<'_>) -> Option<Grant> {
        self.handle_timeout(now);
        let others = || self.best(self.holders.of_user(ask.user));
        if let Some(lease) = self.held_by(ask.user, &ask.device.key).or_else(others) {
            let number = lease.number;
            self.call_up(number);
            self.dirty.remove(&number);
            return self.leases.get(&number).map(|lease| Grant { lease: lease.clone(), kind: lease.kind });
        }
        let spare = |free: u64, capacity: u64| free > 1.max(capacity.div_ceil(10));
        let number = self.free(ask, spare)?;
        Some(self.give(now, ask, number, Kind::Pooled, true))
    }

    fn choose(&mut self, ask: &Ask<'_>) -> (E164, Kind) {
        let suiting = |number: &E164| self.leases.get(number).is_some_and(|lease| self.suits(lease, ask));
        let mine = self.best(self.holders.of_device(ask.user, &ask.device.key).filter(suiting));
        let mine = mine.map(|lease| (lease.number, lease.kind));
        // A shared number is left for one of its own as soon as there is one.
        if let Some(kept @ (_, Kind::Pooled | Kind::OwnNumber)) = mine {
            return kept;
        }
        if let Some(number) = self.free(ask, |_, _| true).or_else(|| self.oldest_quarantined(ask)) {
            return (number, Kind::Pooled);
        }
        let kept = || mine.filter(|(number, _)| ask.overflow.numbers().any(|shared| shared == *number));
        self.own(ask).or_else(kept).unwrap_or_else(|| (self.least_shared(ask), Kind::Overflow))
    }

    /// The user's own number, unless somebody else holds it for himself; it is shared when others have shown it, or may.
    fn own(&self, ask: &Ask<'_>) -> Option<(E164, Kind)> {
        let own = ask.own?;
        let may_be_shared = !ask.overflow.is_lent() && ask.overflow.numbers().any(|shared| shared == own);
        let lease = self.leases.get(&own).filter(|lease| lease.user != ask.user && lease.state != State::Quarantined);
        match lease {
            Some(lease) if is_anothers(lease, ask) => None,
            Some(_) => Some((own, Kind::Overflow)),
            None if may_be_shared => Some((own, Kind::Overflow)),
            None => Some((own, Kind::OwnNumber)),
        }
    }

    /// Of the shared numbers one that nobody has, else the one dialled longest ago; one with a call up, and one that is somebody's
    /// alone, as late as can be.
    fn least_shared(&self, ask: &Ask<'_>) -> E164 {
        ask.overflow.least(|number| {
            self.leases.get(&number).map(|lease| (is_anothers(lease, ask), lease.state == State::Active, lease.dialled))
        })
    }

    /// True when a number the device already has is right for this call too: same tenant, and a country its pool serves.
    fn suits(&self, lease: &Lease, ask: &Ask<'_>) -> bool {
        let served = || self.shelves.of(lease.number).is_some_and(|shelf| shelf.serves(ask.pool_country));
        lease.resource == ask.resource && (lease.country == ask.country || served())
    }

    fn free(&mut self, ask: &Ask<'_>, allowed: impl Fn(u64, u64) -> bool) -> Option<E164> {
        let (leases, rested) = (&self.leases, &self.rested);
        for at in self.shelves.serving(ask.resource, ask.pool_country) {
            let Some(shelf) = self.shelves.get_mut(at) else { continue };
            let status = shelf.status();
            if !allowed(status.free, status.capacity) {
                continue;
            }
            let known = |number: E164| leases.contains_key(&number) || rested.contains_key(&number);
            if let Some(number) = shelf.next_free(known) {
                return Some(number);
            }
        }
        None
    }

    fn oldest_quarantined(&self, ask: &Ask<'_>) -> Option<E164> {
        let serving = self.shelves.serving(ask.resource, ask.pool_country);
        let oldest = serving.into_iter().filter_map(|at| self.shelves.get(at)?.oldest_quarantined());
        oldest.min().map(|(_, number)| number)
    }

    fn give(&mut self, now: Instant, ask: &Ask<'_>, number: E164, kind: Kind, test: bool) -> Grant {
        let before = self.withdraw(number);
        let was = before.as_ref().map_or(State::Free, |lease| lease.state);
        let lease = Lease {
            number,
            kind,
            state: was.after(Event::Dialled).unwrap_or(State::Active),
            resource: CompactString::from(ask.resource),
            country: ask.country,
            user: CompactString::from(ask.user),
            device: ask.device.clone(),
            dialled: Instant::from_millis(now.as_millis()),
            expires: round_up(now + self.settings.window),
            calls: before.map_or(0, |lease| lease.calls).saturating_add(1),
            test,
        };
        self.holders.put(&lease);
        self.put(lease.clone());
        self.dirty.remove(&number);
        Grant { lease, kind }
    }

    /// The lease of a number, whether its call is up, it is held, or in quarantine: whom a callback must reach.
    pub fn find(&self, number: E164) -> Option<&Lease> {
        self.leases.get(&number)
    }

    /// True for a number of the pools that this node may give, or has given.
    pub fn is_of_pools(&self, number: E164) -> bool {
        self.shelves.of(number).is_some()
    }

    /// A callback (or a further call of its holder) begins on the number, and renews it. False for a number of nobody.
    pub fn call_up(&mut self, number: E164) -> bool {
        let Some(mut lease) = self.leases.get(&number).cloned() else { return false };
        let Some(state) = lease.state.after(Event::CallUp) else { return false };
        self.unplace(&lease);
        if lease.state != state {
            self.dirty.insert(number);
        }
        lease.state = state;
        lease.calls = lease.calls.saturating_add(1);
        self.put(lease);
        true
    }

    /// The lease of another node, whose number is called back at this one: kept here too, so that its time counts from this call. False
    /// for a shared number, and where there is a lease already.
    pub fn adopt(&mut self, lease: &Lease) -> bool {
        if lease.kind != Kind::Pooled || self.leases.contains_key(&lease.number) {
            return false;
        }
        self.withdraw(lease.number);
        let state = if lease.state == State::Active { State::Held } else { lease.state };
        let lease = Lease { state, calls: 0, ..lease.clone() };
        self.dirty.insert(lease.number);
        self.holders.put(&lease);
        self.put(lease);
        true
    }

    /// A call is up on the number: it lasts for a window from `now` at least, for whoever reads its row.
    pub fn renew(&mut self, now: Instant, number: E164) {
        self.prolong(number, round_up(now + self.settings.window));
    }

    /// Another node has had a call of `user` on the number, and promises it until then.
    pub fn promised(&mut self, number: E164, user: &str, until: Instant) {
        let is_longer = |lease: &&Lease| lease.user == user && lease.expires + PROMISES_APART < until;
        if self.leases.get(&number).filter(is_longer).is_some() {
            self.prolong(number, until);
        }
    }

    fn prolong(&mut self, number: E164, until: Instant) {
        let Some(mut lease) = self.leases.get(&number).cloned() else { return };
        let Some(state) = lease.state.after(Event::Prolonged) else { return };
        self.unplace(&lease);
        lease.state = state;
        lease.expires = lease.expires.max(until);
        self.put(lease);
        self.dirty.insert(number);
    }

    /// A call on the number ended. After the last one the window runs anew (SPEC §3, "How long").
    pub fn call_down(&mut self, now: Instant, number: E164) {
        let Some(mut lease) = self.leases.get(&number).cloned() else { return };
        if lease.calls > 1 {
            self.leases.entry(number).and_modify(|lease| lease.calls -= 1);
            return;
        }
        let Some(state) = lease.state.after(Event::LastCallDown) else { return };
        self.unplace(&lease);
        lease.state = state;
        lease.calls = 0;
        lease.expires = round_up(lease.dialled.max(now) + self.settings.window);
        self.put(lease);
        self.dirty.insert(number);
    }

    /// The device registered again: a callback must ring it at its new contact and flow.
    pub fn refresh_device(&mut self, user: &str, device: &Device) {
        for number in self.holders.of_device(user, &device.key) {
            if let Some(lease) = self.leases.get_mut(&number).filter(|lease| lease.device != *device) {
                lease.device = device.clone();
                self.dirty.insert(number);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the windows and the quarantines that are over by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(mut lease) = self.leases.get(&number).cloned() else { continue };
            self.dirty.insert(number);
            if let Some(state) = lease.state.after(Event::WindowOver) {
                self.unplace(&lease);
                lease.state = state;
                self.put(lease);
            } else if lease.state.after(Event::Rested).is_some() {
                self.withdraw(number);
                self.release(&lease);
            }
        }
    }

    /// The rows the store has to write because of what happened since the last time, in the order of numbers.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|number| self.row(number)).collect()
    }

    fn row(&self, number: E164) -> Row {
        match (self.leases.get(&number), self.rested.get(&number)) {
            (Some(lease), _) => Row::Lease(lease.clone()),
            (None, Some(&since)) => Row::Rested { number, since },
            (None, None) => Row::Forget { number },
        }
    }

    /// All leases as operators see them, in the order of numbers.
    pub fn views(&self, now: Instant) -> impl Iterator<Item = View> {
        self.views_from(now, E164::MIN)
    }

    /// As `views`, from number `first` on.
    pub fn views_from(&self, now: Instant, first: E164) -> impl Iterator<Item = View> {
        let Settings { window, quarantine } = self.settings;
        self.leases.range(first..).map(|(_, lease)| lease).map(move |lease| View::of(lease, now, window, quarantine))
    }

    /// The pools in the order of the configuration.
    pub fn pools(&self) -> impl Iterator<Item = PoolStatus<'_>> {
        self.shelves.iter().map(|shelf| shelf.status())
    }

    /// The pools that came to another level since the last time; what reload takes away is forgotten.
    pub fn take_alarms(&mut self) -> Vec<PoolAlarm> {
        let told = std::mem::take(&mut self.level_by_pool);
        let mut alarms = Vec::new();
        for status in self.shelves.iter().map(|shelf| shelf.status()).filter(|status| status.capacity > 0) {
            let before = told.get(status.name).copied().unwrap_or(Level::Enough);
            let level = status.level_after(before);
            if level != Level::Enough {
                self.level_by_pool.insert(status.name.into(), level);
            }
            if level != before {
                let (pool, free, capacity) = (status.name.into(), status.free, status.capacity);
                alarms.push(PoolAlarm { pool, level, free, capacity });
            }
        }
        alarms
    }

    fn held_by(&self, user: &str, device: &str) -> Option<&Lease> {
        self.best(self.holders.of_device(user, device))
    }

    /// Of several numbers of a holder: one that is its alone before a shared one, then the one dialled last.
    fn best(&self, numbers: impl Iterator<Item = E164>) -> Option<&Lease> {
        let leases = numbers.filter_map(|number| self.leases.get(&number));
        leases.max_by_key(|lease| (lease.kind != Kind::Overflow, lease.dialled, lease.number))
    }

    /// Takes the number out of every queue, whoever has it.
    fn withdraw(&mut self, number: E164) -> Option<Lease> {
        if let Some(since) = self.rested.remove(&number)
            && let Some(shelf) = self.shelves.of_mut(number)
        {
            shelf.take_rested(since, number);
        }
        let lease = self.leases.remove(&number)?;
        self.holders.remove(&lease);
        self.unplace(&lease);
        Some(lease)
    }

    fn unplace(&mut self, lease: &Lease) {
        if let Some(shelf) = self.shelves.of_mut(lease.number) {
            shelf.take(lease);
        }
        if let Some(deadline) = deadline(lease, self.settings.quarantine) {
            self.deadlines.remove(&deadline);
        }
    }

    fn put(&mut self, lease: Lease) {
        if let Some(shelf) = self.shelves.of_mut(lease.number) {
            shelf.put(&lease);
        }
        self.deadlines.extend(deadline(&lease, self.settings.quarantine));
        self.leases.insert(lease.number, lease);
    }

    fn release(&mut self, lease: &Lease) {
        if let Some(shelf) = self.shelves.of_mut(lease.number) {
            shelf.put_rested(lease.expires, lease.number);
            self.rested.insert(lease.number, lease.expires);
        }
    }
}

/// True when somebody else has the number to himself. One that only rests is anybody's, where no other is left.
fn is_anothers(lease: &Lease, ask: &Ask<'_>) -> bool {
    lease.user != ask.user && lease.kind != Kind::Overflow && lease.state != State::Quarantined
}

fn deadline(lease: &Lease, quarantine: Duration) -> Option<(Instant, E164)> {
    match lease.state {
        State::Free | State::Active => None,
        State::Held => Some((lease.expires, lease.number)),
        State::Quarantined => Some((lease.expires + quarantine, lease.number)),
    }
}

/// To the next whole millisecond: the store keeps milliseconds and must not promise less than memory does.
fn round_up(instant: Instant) -> Instant {
    Instant::from_millis(instant.as_micros().div_ceil(1000))
}
