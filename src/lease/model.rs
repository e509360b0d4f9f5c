//! The pool against a naive model of what was promised, under random calls, time, restarts and reloads; and each rule alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::{E164, Instant, Protocol};
use crate::config::Overflow;
use crate::transport::{Flow, ListenerId};

const WINDOW: Duration = Duration::from_secs(3600);
const QUARANTINE: Duration = Duration::from_secs(24 * 3600);
const SETTINGS: Settings = Settings { window: WINDOW, quarantine: QUARANTINE };
const OVERFLOW: u64 = 19_000_000_000;

fn number(digits: u64) -> E164 {
    E164::from_digits(digits).unwrap()
}

fn nth(at: u64) -> E164 {
    number(14_255_551_000 + at)
}

fn own(user: u8) -> E164 {
    number(15_000_000_000 + u64::from(user))
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis((1_000_000 + seconds) * 1000)
}

fn device(key: u8) -> Device {
    let remote = format!("127.0.0.1:{}", 6000 + u16::from(key)).parse().unwrap();
    let flow = Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None };
    Device {
        key: format!("urn:uuid:{key}").into(),
        contact: format!("sip:d{key}@127.0.0.1").into(),
        push: "".into(),
        flow,
    }
}

fn pool(first: u64, count: u64) -> Pool {
    let ranges = if count == 0 { vec![] } else { vec![nth(first)..=nth(first + count - 1)] };
    Pool { name: format!("pool-{first}").into(), countries: vec![Country::US], resource: None, ranges }
}

fn leases(size: u64) -> Leases {
    Leases::new(&[pool(0, size)], SETTINGS)
}

/// The one shared number.
fn shared() -> &'static Overflow {
    static SHARED: LazyLock<Overflow> = LazyLock::new(|| Overflow::one(number(OVERFLOW)));
    &SHARED
}

fn ask<'a>(user: &'a str, device: &'a Device) -> Ask<'a> {
    Ask {
        user,
        device,
        resource: "contoso",
        country: Country::US,
        pool_country: Country::US,
        own: None,
        overflow: shared(),
    }
}

/// Dials and hangs up at once.
fn call(leases: &mut Leases, now: Instant, user: &str, device: &Device) -> E164 {
    let number = leases.acquire(now, &ask(user, device)).number();
    leases.call_down(now, number);
    number
}

/// Rule 3.5.
#[test]
fn a_device_keeps_its_number_and_another_device_gets_another() {
    let mut leases = leases(10);
    let (phone, desk) = (device(1), device(2));
    assert_eq!(call(&mut leases, at(0), "alice", &phone), nth(0));
    assert_eq!(call(&mut leases, at(1), "alice", &desk), nth(1));
    assert_eq!(call(&mut leases, at(3000), "alice", &phone), nth(0));
    assert_eq!(leases.find(nth(0)).unwrap().expires, at(3000) + WINDOW);
    assert_eq!(leases.find(nth(1)).unwrap().device, desk);
    // In quarantine the number is nobody else's: the same device gets it back.
    assert_eq!(call(&mut leases, at(10_000), "alice", &phone), nth(0));
    assert_eq!(call(&mut leases, at(10_000), "bob", &phone), nth(2));
}

/// Rules 3.3b, 3.3c, 3.3e.
#[test]
fn the_window_runs_from_the_last_end_of_a_call_and_not_while_one_is_up() {
    let mut leases = leases(3);
    let given = leases.acquire(at(0), &ask("alice", &device(1))).number();
    leases.handle_timeout(at(100_000));
    assert_eq!((leases.find(given).unwrap().state, leases.next_deadline()), (State::Active, None));
    assert!(leases.call_up(given), "a callback while the first leg is up");
    leases.call_down(at(100_000), given);
    assert_eq!(leases.find(given).unwrap().state, State::Active);
    leases.call_down(at(100_001), given);
    assert_eq!(leases.next_deadline(), Some(at(100_001) + WINDOW));
    leases.handle_timeout(at(100_001 + 3600));
    assert_eq!(leases.find(given).unwrap().state, State::Quarantined);
    // A callback in quarantine still finds its holder and renews the lease.
    assert!(leases.call_up(given));
    leases.call_down(at(110_000), given);
    assert_eq!(leases.next_deadline(), Some(at(110_000) + WINDOW));
    leases.handle_timeout(at(110_000) + WINDOW + QUARANTINE);
    assert_eq!(leases.find(given), None);
    assert!(!leases.call_up(given));
}

/// Rule 3.6b.
#[test]
fn never_used_numbers_go_first_then_the_longest_rested() {
    let mut leases = leases(3);
    call(&mut leases, at(0), "a", &device(1));
    call(&mut leases, at(10), "b", &device(2));
    let later = at(10) + WINDOW + QUARANTINE;
    assert_eq!(call(&mut leases, later, "c", &device(3)), nth(2));
    assert_eq!(call(&mut leases, later, "d", &device(4)), nth(0));
    assert_eq!(call(&mut leases, later, "e", &device(5)), nth(1));
}

/// Rules 3.7a, 3.7b, 3.7c.
#[test]
fn an_exhausted_pool_gives_the_oldest_in_quarantine_then_own_then_overflow() {
    let mut leases = leases(2);
    call(&mut leases, at(1), "a", &device(1));
    call(&mut leases, at(0), "b", &device(2));
    let later = at(4000);
    let with_own = |user, device| Ask { own: Some(own(7)), ..ask(user, device) };
    let (c, d, e, f) = (device(3), device(4), device(5), device(6));
    let grants: Vec<_> = [("c", &c), ("d", &d), ("e", &e)]
        .map(|(user, device)| leases.acquire(later, &with_own(user, device)))
        .iter()
        .map(|grant| (grant.number(), grant.kind()))
        .collect();
    let expected = vec![(nth(1), Kind::Pooled), (nth(0), Kind::Pooled), (own(7), Kind::OwnNumber)];
    assert_eq!(grants, expected);
    for (user, device) in [("f", &f), ("a", &c)] {
        let grant = leases.acquire(later, &with_own(user, device));
        assert_eq!((grant.number(), grant.kind()), (number(OVERFLOW), Kind::Overflow));
        assert_eq!(leases.find(number(OVERFLOW)).unwrap().user, user);
    }
    assert_eq!(leases.find(number(OVERFLOW)).unwrap().calls, 2);
    assert_eq!(leases.pools().next().unwrap().level(), Level::Empty);
}

#[test]
fn a_shared_number_is_left_for_a_free_one() {
    let mut leases = leases(1);
    let first = leases.acquire(at(0), &ask("a", &device(1))).number();
    assert_eq!(call(&mut leases, at(0), "b", &device(2)), number(OVERFLOW));
    leases.call_down(at(0), first);
    assert_eq!(call(&mut leases, at(3700), "b", &device(2)), nth(0));
    assert_eq!(leases.find(number(OVERFLOW)).unwrap().user, "b");
}

/// Rule 7.1i.
#[test]
fn tests_share_the_users_number_and_leave_a_reserve() {
    let mut leases = leases(10);
    let phones: Vec<_> = (0..20).map(device).collect();
    let names: Vec<_> = (0..20).map(|user| format!("user{user}")).collect();
    let tested = (0..20).filter(|&n| leases.acquire_test(at(0), &ask(&names[n], &phones[n])).is_some()).count();
    assert_eq!(tested, 9);
    assert!(leases.views(at(0)).all(|view| view.test));
    // The other device of a user who has one shares it, and the callback still belongs to the first device.
    let shared = leases.acquire_test(at(0), &ask("user3", &phones[19])).unwrap();
    assert_eq!((shared.number(), leases.find(nth(3)).unwrap().device.clone()), (nth(3), phones[3].clone()));
    // An emergency call takes the reserve; on a number had for a test it clears the mark.
    assert_eq!(leases.acquire(at(0), &ask("user18", &phones[18])).number(), nth(9));
    assert_eq!(leases.acquire(at(0), &ask("user2", &phones[2])).number(), nth(2));
    assert!(!leases.find(nth(2)).unwrap().test);
    // A pool of one number is for emergencies only.
    assert!(self::leases(1).acquire_test(at(0), &ask("a", &phones[0])).is_none());
}

/// Rules 3.1a, 3.1b.
#[test]
fn pools_are_chosen_by_tenant_and_country() {
    let gb = Pool { countries: vec![Country::GB], ..pool(100, 5) };
    let own = Pool { resource: Some("contoso".into()), ..pool(200, 1) };
    let foreign = Pool { resource: Some("fabrikam".into()), ..pool(300, 5) };
    let mut leases = Leases::new(&[pool(0, 1), gb, own, foreign], SETTINGS);
    let phone = device(1);
    let in_gb = Ask { country: Country::GB, pool_country: Country::GB, ..ask("a", &phone) };
    assert_eq!(leases.acquire(at(0), &ask("a", &phone)).number(), nth(200));
    assert_eq!(
        leases.acquire(at(0), &in_gb).number(),
        nth(100),
        "a call from another country: a number of that country"
    );
    assert_eq!(leases.acquire(at(0), &ask("b", &device(2))).number(), nth(0));
    assert_eq!(leases.acquire(at(0), &ask("c", &device(3))).kind(), Kind::Overflow);
    let levels: Vec<_> = leases.pools().map(|pool| pool.level()).collect();
    assert_eq!(levels, [Level::Empty, Level::Enough, Level::Empty, Level::Enough]);
}

#[test]
fn a_big_pool_costs_nothing_and_overlaps_count_once() {
    let mut leases = Leases::new(&[pool(0, 100_000_000), pool(50, 100)], SETTINGS);
    assert_eq!(call(&mut leases, at(0), "a", &device(1)), nth(0));
    let status: Vec<_> = leases.pools().map(|pool| (pool.capacity, pool.free, pool.held)).collect();
    assert_eq!(status, [(100_000_000, 99_999_999, 1), (0, 0, 0)]);
}

#[test]
fn a_number_that_left_the_pools_serves_its_holder_and_is_then_forgotten() {
    let mut leases = leases(2);
    let given = call(&mut leases, at(0), "a", &device(1));
    leases.reload(&[pool(50, 5)], SETTINGS);
    assert_eq!(leases.find(given).unwrap().user, "a");
    assert_eq!(call(&mut leases, at(1), "a", &device(1)), given);
    leases.take_rows();
    leases.handle_timeout(at(1) + WINDOW + QUARANTINE);
    assert_eq!(leases.take_rows(), [Row::Forget { number: given }]);
}

#[test]
fn shown_says_whether_it_was_durable() {
    let mut leases = leases(2);
    let grant = leases.acquire(at(0), &ask("a", &device(1)));
    assert_eq!(grant.row().number(), grant.number());
    assert_eq!(grant.durable(WriteAck::stored()).overdue(), None);
    let shown = leases.acquire(at(0), &ask("b", &device(2))).volatile(Overdue::Deadline);
    assert_eq!((shown.number(), shown.kind(), shown.overdue()), (nth(1), Kind::Pooled, Some(Overdue::Deadline)));
}

/// What was promised, said without queues or indexes.
#[derive(Clone, Debug)]
struct Promise {
    user: u8,
    device: u8,
    calls: u32,
    until: Instant,
    /// What even a crash that loses every row but those of grants must leave.
    floor: Instant,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Step {
    Dial { user: u8, device: u8, own: bool },
    Test { user: u8, device: u8 },
    Callback { pick: usize },
    HangUp { pick: usize },
    Wait { seconds: u64 },
    Restart { torn: bool },
    Reload { size: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6u8, 0..3u8, any::<bool>()).prop_map(|(user, device, own)| Step::Dial { user, device, own }),
        2 => (0..6u8, 0..3u8).prop_map(|(user, device)| Step::Test { user, device }),
        2 => any::<usize>().prop_map(|pick| Step::Callback { pick }),
        6 => any::<usize>().prop_map(|pick| Step::HangUp { pick }),
        3 => prop_oneof![0..100u64, 3000..4000u64, 80_000..100_000u64].prop_map(|seconds| Step::Wait { seconds }),
        1 => any::<bool>().prop_map(|torn| Step::Restart { torn }),
        1 => (0..12u64).prop_map(|size| Step::Reload { size }),
    ]
}

struct World {
    leases: Leases,
    disk: BTreeMap<E164, Row>,
    promises: BTreeMap<E164, Promise>,
    now: Instant,
    size: u64,
}

impl World {
    fn write(&mut self, row: Row) {
        match row {
            Row::Forget { number } => self.disk.remove(&number),
            row => self.disk.insert(row.number(), row),
        };
    }

    fn dial(&mut self, user: u8, key: u8, has_own: bool) {
        let (name, device) = (format!("user{user}"), device(key));
        let own = has_own.then(|| own(user));
        let free = self.leases.pools().next().unwrap().free;
        let mine: Vec<_> = self.promises.iter().filter(|(_, p)| (p.user, p.device) == (user, key)).collect();
        let mine = if let [(number, promise)] = mine[..] { Some((*number, promise.clone())) } else { None };
        let grant = self.leases.acquire(self.now, &Ask { own, ..ask(&name, &device) });
        self.write(grant.row());
        let (number, kind) = (grant.number(), grant.kind());
        let before = self.promises.get(&number);
        if let Some(other) = before.filter(|other| other.user != user && kind != Kind::Overflow) {
            assert!(other.calls == 0 && other.until <= self.now, "{number} was still promised to {other:?}");
            assert_eq!(free, 0, "a number in quarantine is taken only from an exhausted pool");
            let oldest =
                self.promises.iter().filter(|(n, p)| p.kind == Kind::Pooled && self.pooled(**n) && p.calls == 0);
            let oldest = oldest.map(|(_, promise)| promise.until).min();
            assert_eq!(oldest, Some(other.until), "the oldest first");
        }
        if let Some((kept, promise)) = mine
            && promise.kind != Kind::Overflow
        {
            assert_eq!(number, kept, "the same device keeps its number");
        }
        let calls = before.map_or(0, |promise| promise.calls) + 1;
        self.promises.insert(
            number,
            Promise { user, device: key, calls, until: self.now + WINDOW, floor: self.now + WINDOW, kind },
        );
    }

    fn test(&mut self, user: u8, key: u8) {
        let (name, device) = (format!("user{user}"), device(key));
        let status = self.leases.pools().next().unwrap();
        let (free, capacity) = (status.free, status.capacity);
        let Some(grant) = self.leases.acquire_test(self.now, &ask(&name, &device)) else { return };
        self.write(grant.row());
        let until = self.now + WINDOW;
        match self.promises.get_mut(&grant.number()) {
            Some(promise) if promise.user == user => promise.calls += 1,
            other => {
                assert!(other.is_none(), "a test takes nothing from anybody");
                assert!(free > 1 && free * 10 > capacity, "a test leaves the reserve");
                let promise = Promise { user, device: key, calls: 1, until, floor: until, kind: Kind::Pooled };
                self.promises.insert(grant.number(), promise);
            }
        }
    }

    fn pooled(&self, number: E164) -> bool {
        (nth(0)..nth(self.size)).contains(&number)
    }

    fn step(&mut self, step: &Step) {
        let pick = |promises: &BTreeMap<E164, Promise>, pick: usize| {
            let all: Vec<_> = promises.keys().copied().collect();
            (!all.is_empty()).then(|| all[pick % all.len()])
        };
        match *step {
            Step::Dial { user, device, own } => self.dial(user, device, own),
            Step::Test { user, device } => self.test(user, device),
            Step::Callback { pick: at } => {
                let Some(number) = pick(&self.promises, at) else { return };
                assert!(self.leases.call_up(number));
                self.promises.get_mut(&number).unwrap().calls += 1;
            }
            Step::HangUp { pick: at } => {
                let Some(number) = pick(&self.promises, at) else { return };
                self.leases.call_down(self.now, number);
                let promise = self.promises.get_mut(&number).unwrap();
                if promise.calls > 0 {
                    promise.calls -= 1;
                    promise.until = self.now + WINDOW;
                }
            }
            Step::Wait { seconds } => self.now += Duration::from_millis(seconds * 1000 + 1),
            Step::Restart { torn } => self.restart(torn),
            Step::Reload { size } => {
                self.size = size;
                self.leases.reload(&[pool(0, size)], SETTINGS);
            }
        }
        self.leases.handle_timeout(self.now);
        self.promises.retain(|_, promise| promise.calls > 0 || promise.until + QUARANTINE > self.now);
    }

    /// `torn`: what was not waited for (all but grants) is lost. What the trunk saw must be held for a window all the same.
    fn restart(&mut self, torn: bool) {
        let rows = self.leases.take_rows();
        if !torn {
            rows.into_iter().for_each(|row| self.write(row));
        }
        let mut leases = Leases::new(&[pool(0, self.size)], SETTINGS);
        leases.load(self.disk.values().cloned().collect(), self.now);
        if !torn {
            let key = |view: View| (view.number, view.user, view.kind, view.test);
            let before: Vec<_> = self.leases.views(self.now).map(key).collect();
            let after: Vec<_> = leases.views(self.now).map(key).collect();
            assert_eq!(before, after);
            assert_eq!(self.leases.pools().next().unwrap().free, leases.pools().next().unwrap().free);
        }
        for (number, promise) in &mut self.promises {
            let up = std::mem::take(&mut promise.calls) > 0;
            promise.until = if up { self.now + WINDOW } else { promise.until };
            let Some(lease) = leases.find(*number) else {
                assert!(torn && promise.floor + QUARANTINE <= self.now, "{number} was lost");
                continue;
            };
            if torn {
                assert!(lease.expires >= promise.floor, "{number} is held too short");
                promise.until = lease.expires;
            }
        }
        self.promises.retain(|number, _| leases.find(*number).is_some());
        for view in leases.views(self.now) {
            // A row that says "call up" comes back for a window although the promise was over: longer, never shorter.
            assert!(torn || self.promises.contains_key(&view.number));
            let lease = leases.find(view.number).unwrap();
            let digit = |text: &str| text.bytes().last().unwrap() - b'0';
            let (user, device) = (digit(&lease.user), digit(&lease.device.key));
            let promise =
                Promise { user, device, calls: 0, until: lease.expires, floor: lease.expires, kind: lease.kind };
            self.promises.entry(view.number).or_insert(promise);
        }
        self.leases = leases;
    }

    fn check(&self) {
        let views: BTreeMap<_, _> = self.leases.views(self.now).map(|view| (view.number, view)).collect();
        assert_eq!(views.keys().collect::<Vec<_>>(), self.promises.keys().collect::<Vec<_>>());
        for (number, promise) in &self.promises {
            let (view, lease) = (&views[number], self.leases.find(*number).unwrap());
            let state = match promise.calls {
                0 if promise.until > self.now => State::Held,
                0 => State::Quarantined,
                _ => State::Active,
            };
            assert_eq!((view.state, view.calls), (state, promise.calls), "{number}");
            assert_eq!(
                (lease.user.as_str(), &lease.device.key),
                (&*format!("user{}", promise.user), &device(promise.device).key)
            );
            assert!(view.expires_at >= promise.until, "{number} ends too early");
            if state == State::Held {
                assert!(view.expires_at.since(promise.until) < Duration::from_millis(1));
            }
        }
        let status = self.leases.pools().next().unwrap();
        let used = self.promises.keys().filter(|number| self.pooled(**number)).count() as u64;
        assert_eq!((status.free, status.active + status.held + status.quarantined), (self.size - used, used));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Rules 3.2a, 3.2b, 3.5, 3.7a.
    #[test]
    fn promises_are_kept(size in 0..10u64, steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World {
            leases: leases(size), disk: BTreeMap::new(), promises: BTreeMap::new(), now: at(0), size,
        };
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}
