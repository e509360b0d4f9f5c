//! What was promised: which number was shown for whom, and what follows from it. Knows SPEC §3 and §6, and nothing of the
//! daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use sosbridge::base::Instant;

use crate::chance::secs;

/// SPEC §3: at least 60 minutes from dialling, and from the end of the last call.
const WINDOW: Duration = secs(3600);
/// Clocks of the model and the daemon look at a call at slightly different moments.
const SLACK: Duration = secs(40);

/// Where it is remembered who called last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    OnDisk,
    InMemory,
    /// The daemon died of it: it may know of an earlier call only.
    Nowhere,
}

/// What an emergency call was.
#[derive(Clone, Copy, Debug)]
pub struct Dialled {
    /// The phone that called.
    pub phone: usize,
    /// When it dialled, with the address it had.
    pub at: Instant,
    /// When the call came to the daemon.
    pub came: Instant,
    pub kept: Kept,
}

/// A number and the user it leads to.
#[derive(Clone, Debug)]
pub struct Promise {
    pub user: usize,
    pub by: Dialled,
    /// When it was last shown.
    pub shown: Instant,
    /// Last time that it is certain that the lease was renewed.
    pub renewed: Instant,
    /// The disk was in trouble when the number was shown: a crash may forget it.
    pub weak: bool,
}

/// The numbers of the configuration, and how scarce they are.
#[derive(Clone, Debug)]
pub struct Rules {
    pub pool: std::ops::RangeInclusive<u64>,
    pub quarantine: Duration,
    /// There are fewer numbers than users: SPEC §3, "Pool exhausted".
    pub scarce: bool,
    pub own: Vec<Option<String>>,
    pub overflow: String,
}

pub struct Model {
    rules: Rules,
    promises: BTreeMap<String, Promise>,
    /// Calls seen up a moment ago.
    fresh: Vec<(Instant, String)>,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self { rules, promises: BTreeMap::new(), fresh: Vec::new() }
    }

    /// A trunk was sent an emergency call of this user's phone under this number: one just `dialled`, or one that another
    /// trunk hands on.
    pub fn shown(&mut self, at: Instant, number: &str, user: usize, by: Dialled, sound: bool) -> Result<(), String> {
        self.may_show(at, number, user)?;
        let held = self.promises.get(number).filter(|held| held.user == user);
        let weak = !sound && held.is_none_or(|held| held.weak);
        let durable = held.filter(|held| !sound && !held.weak).map(|held| held.renewed);
        let renewed = durable.unwrap_or(at);
        let by = held.map(|held| held.by).filter(|held| held.came > by.came).unwrap_or(by);
        self.promises.insert(number.to_owned(), Promise { user, by, shown: at, renewed, weak });
        Ok(())
    }

    /// Rules 3.2a, 3.2b.
    fn may_show(&self, at: Instant, number: &str, user: usize) -> Result<(), String> {
        let Rules { pool, scarce, own, overflow, .. } = &self.rules;
        let digits: u64 = number.trim_start_matches('+').parse().map_err(|_| format!("{number} is no number"))?;
        if !pool.contains(&digits) {
            let is_own = own[user].as_deref() == Some(number);
            return match *scarce && (is_own || number == overflow) {
                true => Ok(()),
                false => Err(format!("{number} of user {user} is not from the pool")),
            };
        }
        match self.promises.get(number) {
            Some(held) if held.user != user && at < self.unique_until(held) => {
                Err(format!("{number} was shown for user {} and now for user {user}", held.user))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn is_pooled(&self, number: &str) -> bool {
        number.trim_start_matches('+').parse().is_ok_and(|digits| self.rules.pool.contains(&digits))
    }

    /// Until when nobody else may get the number (never, once a crash was allowed to forget it): in scarcity the quarantine does not count.
    fn unique_until(&self, held: &Promise) -> Instant {
        let rest = if self.rules.scarce { Duration::ZERO } else { self.rules.quarantine };
        if held.renewed == Instant::default() { held.renewed } else { held.renewed + WINDOW + rest }
    }

    /// A call on the number was certainly up at `at`. It counts once the disk has had time to learn of it.
    pub fn touched(&mut self, at: Instant, number: &str, sound: bool) {
        if sound {
            self.fresh.push((at, number.to_owned()));
        }
        let (old, fresh) = self.fresh.drain(..).partition(|(touched, _)| at.since(*touched) > secs(1));
        self.fresh = fresh;
        for (touched, number) in old {
            if let Some(held) = self.promises.get_mut(&number).filter(|held| held.renewed > Instant::default()) {
                held.renewed = held.renewed.max(touched - SLACK);
            }
        }
    }

    /// A callback to `number` was sent to a phone of `user`.
    pub fn rang(&mut self, at: Instant, number: &str, user: usize, sound: bool) -> Result<(), String> {
        if let Some(held) = self.promises.get(number).filter(|held| number != self.rules.overflow && held.user != user)
            && at < self.unique_until(held)
        {
            return Err(format!("{number} was shown for user {} and rings user {user}", held.user));
        }
        self.touched(at, number, sound);
        Ok(())
    }

    /// The daemon died. What the disk could not take may be forgotten, so nobody holds the daemon to it.
    pub fn crashed(&mut self) {
        self.fresh.clear();
        self.promises.values_mut().filter(|held| held.weak).for_each(|held| held.renewed = Instant::default());
        let in_memory = self.promises.values_mut().filter(|held| held.by.kept == Kept::InMemory);
        in_memory.for_each(|held| held.by.kept = Kept::Nowhere);
    }

    /// The disk has caught up: whatever is still remembered is durable.
    pub fn caught_up(&mut self) {
        self.promises.values_mut().filter(|held| held.renewed > Instant::default()).for_each(|held| held.weak = false);
        let in_memory = self.promises.values_mut().filter(|held| held.by.kept == Kept::InMemory);
        in_memory.for_each(|held| held.by.kept = Kept::OnDisk);
    }

    /// The numbers that must ring their user at `at` and for a while longer; the one that is shared leads to whoever came last.
    pub fn live(&self, at: Instant) -> Vec<(String, Promise)> {
        let lives = |held: &Promise| held.renewed > Instant::default() && at + secs(90) < held.renewed + WINDOW;
        let shared = |number: &String| *number == self.rules.overflow;
        self.promises
            .iter()
            .filter(|(n, held)| lives(held) && !shared(n))
            .map(|(n, held)| (n.clone(), held.clone()))
            .collect()
    }
}
