//! Pools that a reload removes, brings back, and moves to another tenant or country: no number is ever two users'; and how
//! pools of a million numbers, and pools that run low, behave.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::{E164, Instant, Protocol};
use crate::config::Overflow;
use crate::transport::{Flow, ListenerId};

const WINDOW: Duration = Duration::from_secs(3600);
const SETTINGS: Settings = Settings { window: WINDOW, quarantine: Duration::from_secs(7200) };
const TENANTS: [&str; 2] = ["contoso", "fabrikam"];
/// Blocks of numbers that pools are made of, and how many numbers each has.
const BLOCKS: usize = 4;
const BLOCK: u64 = 2;

fn number(digits: u64) -> E164 {
    E164::from_digits(14_255_551_000 + digits).unwrap()
}

/// Whose a block is: nobody's, of all, of one tenant, or another country's.
fn pools(owners: [u8; BLOCKS]) -> Vec<Pool> {
    let block = |(at, owner): (u64, u8)| {
        let resource = TENANTS.get(usize::from(owner).wrapping_sub(2)).map(|name| (*name).into());
        let countries = if owner == 4 { vec![Country::GB] } else { vec![Country::US] };
        let ranges = vec![number(at * BLOCK)..=number(at * BLOCK + BLOCK - 1)];
        (owner != 0).then(|| Pool { name: format!("block-{at}").into(), countries, resource, ranges })
    };
    (0..).zip(owners).filter_map(block).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Dial { user: u8, device: u8, gb: bool },
    Test { user: u8 },
    HangUp { pick: usize },
    Wait { seconds: u64 },
    Reload { owners: [u8; BLOCKS] },
    Restart { owners: [u8; BLOCKS] },
}

fn step() -> impl Strategy<Value = Step> {
    let owners = || prop::array::uniform4(0..5u8);
    prop_oneof![
        6 => (0..8u8, 0..2u8, any::<bool>()).prop_map(|(user, device, gb)| Step::Dial { user, device, gb }),
        1 => (0..8u8).prop_map(|user| Step::Test { user }),
        4 => any::<usize>().prop_map(|pick| Step::HangUp { pick }),
        2 => prop_oneof![0..100u64, 3000..4000u64, 7000..12_000u64].prop_map(|seconds| Step::Wait { seconds }),
        2 => owners().prop_map(|owners| Step::Reload { owners }),
        1 => owners().prop_map(|owners| Step::Restart { owners }),
    ]
}

/// Who was shown a number, how many of its calls are up, and until when it is promised.
struct Promise {
    user: u8,
    calls: u32,
    until: Instant,
}

fn device(key: u8) -> Device {
    let flow = Flow {
        protocol: Protocol::Udp,
        listener: ListenerId(0),
        remote: "127.0.0.1:6000".parse().unwrap(),
        connection: None,
    };
    Device { key: format!("d{key}").into(), contact: "sip:d@127.0.0.1".into(), push: "".into(), flow }
}

fn follow(steps: &[Step]) {
    let mut leases = Leases::new(&pools([1, 2, 3, 4]), SETTINGS);
    let mut disk: BTreeMap<E164, Row> = BTreeMap::new();
    let mut promises: BTreeMap<E164, Promise> = BTreeMap::new();
    let mut now = Instant::from_millis(1_000_000);
    for step in steps {
        let (user, key, gb, test) = match *step {
            Step::Dial { user, device, gb } => (user, device, gb, false),
            Step::Test { user } => (user, 0, false, true),
            Step::HangUp { pick } => {
                let up: Vec<E164> = promises.iter().filter(|(_, p)| p.calls > 0).map(|(number, _)| *number).collect();
                if let Some(number) = up.get(pick % up.len().max(1)) {
                    leases.call_down(now, *number);
                    let promise = promises.get_mut(number).unwrap();
                    promise.calls -= 1;
                    promise.until = now + WINDOW;
                }
                continue;
            }
            Step::Wait { seconds } => {
                now += Duration::from_secs(seconds);
                continue;
            }
            Step::Reload { owners } => {
                leases.reload(&pools(owners), SETTINGS);
                continue;
            }
            Step::Restart { owners } => {
                disk.extend(leases.take_rows().into_iter().map(|row| (row.number(), row)));
                leases = Leases::new(&pools(owners), SETTINGS);
                leases.load(disk.values().cloned().collect(), now);
                for promise in promises.values_mut().filter(|promise| promise.calls > 0) {
                    (promise.calls, promise.until) = (0, now + WINDOW);
                }
                continue;
            }
        };
        let (name, device) = (format!("user{user}"), device(key));
        let (resource, country) = (TENANTS[usize::from(user % 2)], if gb { Country::GB } else { Country::US });
        let overflow = &Overflow::one(E164::from_digits(19_000_000_000 + u64::from(user % 2)).unwrap());
        let ask = Ask { user: &name, device: &device, resource, country, pool_country: country, own: None, overflow };
        let grant = if test { leases.acquire_test(now, &ask) } else { Some(leases.acquire(now, &ask)) };
        let Some(grant) = grant else { continue };
        disk.insert(grant.number(), grant.row());
        let before = promises.get(&grant.number());
        if let Some(other) = before.filter(|other| other.user != user && grant.kind() != Kind::Overflow) {
            assert!(other.calls == 0 && other.until <= now, "{} is still user{}'s", grant.number(), other.user);
        }
        let calls = before.map_or(0, |promise| promise.calls) + 1;
        let until = before.map_or(now, |promise| promise.until).max(if test { now } else { now + WINDOW });
        promises.insert(grant.number(), Promise { user, calls, until });
        for (number, promise) in &promises {
            if promise.calls > 0 || promise.until > now {
                assert_eq!(leases.find(*number).unwrap().user, format!("user{}", promise.user), "{number} was lost");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_number_has_one_user_wherever_its_pool_goes(steps in prop::collection::vec(step(), 1..80)) {
        follow(&steps);
    }
}

#[test]
fn a_pool_of_a_million_keeps_nothing_for_a_number_nobody_has() {
    let range = number(0)..=number(999_999);
    let pool = Pool { name: "us".into(), countries: vec![Country::US], resource: None, ranges: vec![range] };
    let mut leases = Leases::new(std::slice::from_ref(&pool), SETTINGS);
    let phone = device(1);
    let overflow = &Overflow::one(number(5_000_000));
    let ask = Ask {
        user: "alice",
        device: &phone,
        resource: "contoso",
        country: Country::US,
        pool_country: Country::US,
        own: None,
        overflow,
    };
    assert_eq!(leases.acquire(Instant::from_millis(0), &ask).number(), number(0));
    leases.reload(&[pool], SETTINGS);
    // What there is a thing for each of: one lease, nothing at rest, no deadline while its call is up, no row to write.
    assert_eq!(leases.views(Instant::from_millis(0)).count(), 1);
    assert_eq!((leases.next_deadline(), leases.take_rows().len()), (None, 0));
    let status = leases.pools().next().unwrap();
    assert_eq!((status.capacity, status.free, status.active), (1_000_000, 999_999, 1));
}

#[test]
fn alarms_of_a_pool_are_one_a_crossing() {
    let pool = |last| Pool {
        name: "us".into(),
        countries: vec![Country::US],
        resource: None,
        ranges: vec![number(0)..=number(last)],
    };
    let status = |free| PoolStatus { name: "us", capacity: 10, free, active: 10 - free, held: 0, quarantined: 0 };
    let told = [3, 2, 3, 2, 1, 0, 1, 0, 2, 3, 4, 3].iter().scan(Level::Enough, |level, free| {
        *level = status(*free).level_after(*level);
        Some(*level)
    });
    use Level::{Empty, Enough, Low};
    let expected = [Enough, Low, Low, Low, Low, Empty, Empty, Empty, Low, Low, Enough, Enough];
    assert_eq!(told.collect::<Vec<_>>(), expected);

    let mut leases = Leases::new(&[pool(0)], SETTINGS);
    let phone = device(1);
    let (user, resource, overflow) = ("alice", "contoso", &Overflow::one(number(5_000_000)));
    assert_eq!(leases.take_alarms(), []);
    let _given = leases.acquire(
        Instant::from_millis(0),
        &Ask { user, device: &phone, resource, country: Country::US, pool_country: Country::US, own: None, overflow },
    );
    let alarm = |level, free, capacity| [PoolAlarm { pool: "us".into(), level, free, capacity }];
    assert_eq!(leases.take_alarms(), alarm(Empty, 0, 1));
    assert_eq!(leases.take_alarms(), []);
    leases.reload(&[pool(9)], SETTINGS);
    assert_eq!(leases.take_alarms(), alarm(Enough, 9, 10));
}

#[test]
fn who_does_not_know_what_is_leased_begins_somewhere_and_goes_round() {
    let ranges = vec![number(0)..=number(2), number(10)..=number(12)];
    let pool = [Pool { name: "us".into(), countries: vec![Country::US], resource: None, ranges }];
    for place in 0..8 {
        let mut leases = Leases::new(&pool, SETTINGS);
        leases.begin_at(place, &pool);
        leases.reload(&pool, SETTINGS);
        let (phone, overflow) = (device(1), &Overflow::one(number(5_000_000)));
        let mut given = |user: &str| {
            let (resource, country) = ("contoso", Country::US);
            let ask = Ask { user, device: &phone, resource, country, pool_country: country, own: None, overflow };
            leases.acquire(Instant::from_millis(0), &ask).number()
        };
        let order = [0, 1, 2, 10, 11, 12].map(number);
        let expected: Vec<_> = order.iter().cycle().skip(place as usize).take(6).copied().collect();
        assert_eq!(["a", "b", "c", "d", "e", "f"].map(&mut given).to_vec(), expected);
        assert_eq!(given("g"), number(5_000_000));
    }
}

/// What was leased before comes when others have called; each row is the store's of then, and of now.
#[test]
fn what_is_recalled_takes_nothing_from_who_has_called_since() {
    let pool = pools([1, 0, 0, 0]);
    let at = |seconds: u64| Instant::from_millis(1_000_000 + seconds * 1000);
    let (phone, overflow) = (device(1), Overflow::one(number(5_000_000)));
    let dial = |leases: &mut Leases, now: Instant, user: &str| {
        let (resource, country) = ("contoso", Country::US);
        let ask =
            Ask { user, device: &phone, resource, country, pool_country: country, own: None, overflow: &overflow };
        leases.acquire(now, &ask)
    };
    let mut before = Leases::new(&pool, SETTINGS);
    let kept: Vec<Row> = ["alice", "carol"].map(|user| dial(&mut before, at(0), user).row()).to_vec();
    assert_eq!(kept.iter().map(Row::number).collect::<Vec<_>>(), [number(0), number(1)]);

    let mut since = Leases::new(&pool, SETTINGS);
    let bobs = dial(&mut since, at(100), "bob").number();
    assert_eq!(bobs, number(0));
    since.call_down(at(101), bobs);
    since.take_rows();
    assert_eq!(since.recall(kept.clone(), at(200)), 1, "Alice's is Bob's by now");
    let holder = |leases: &Leases, at: u64| leases.find(number(at)).map(|lease| lease.user.clone());
    assert_eq!((holder(&since, 0), holder(&since, 1)), (Some("bob".into()), Some("carol".into())));
    let carols = since.find(number(1)).unwrap();
    assert_eq!((carols.state, carols.expires), (State::Held, at(200) + WINDOW), "its call was up");
    let rows: Vec<_> = since.take_rows().iter().map(Row::number).collect();
    assert_eq!(rows, [number(0), number(1)], "as it is now the store has to know it");
    assert_eq!(dial(&mut since, at(201), "carol").number(), number(1));
    assert_eq!(dial(&mut since, at(202), "alice").number(), number(5_000_000));
    // Once more, all is known: nobody loses anything, also not in a call.
    since.recall(kept, at(300));
    assert_eq!((holder(&since, 0), holder(&since, 1)), (Some("bob".into()), Some("carol".into())));
    assert_eq!((since.find(number(1)).unwrap().calls, since.find(number(1)).unwrap().state), (1, State::Active));
    let status = since.pools().next().unwrap();
    assert_eq!((status.active, status.held, status.free), (1, 1, 0));

    // Another store came, that knows more than the one that was read at start: it is not written over.
    let kept = |user: &str, seconds: u64| {
        let mut lease = dial(&mut Leases::new(&pool, SETTINGS), at(seconds), user).row();
        if let Row::Lease(lease) = &mut lease {
            (lease.state, lease.calls) = (State::Held, 0);
        }
        vec![lease]
    };
    let mut since = Leases::new(&pool, SETTINGS);
    since.load(kept("alice", 0), at(10));
    since.take_rows();
    assert_eq!(since.recall(kept("bob", 5), at(10)), 0);
    assert!(matches!(&since.take_rows()[..], [Row::Lease(lease)] if lease.user == "bob"));

    let rested = Row::Rested { number: number(0), since: at(5) };
    let mut since = Leases::new(&pool, SETTINGS);
    assert_eq!(since.recall(vec![rested.clone(), rested], at(10)), 0);
    assert_eq!(dial(&mut since, at(11), "bob").number(), number(1), "one that never was used goes first");
}

/// A test promises nobody a callback: it has taken the number from nobody.
#[test]
fn a_test_made_without_the_store_gives_its_number_back() {
    let pool = pools([1, 0, 0, 0]);
    let at = |seconds: u64| Instant::from_millis(1_000_000 + seconds * 1000);
    let (phone, overflow) = (device(1), Overflow::one(number(5_000_000)));
    let ask = |user| Ask {
        user,
        device: &phone,
        resource: "contoso",
        country: Country::US,
        pool_country: Country::US,
        own: None,
        overflow: &overflow,
    };
    let kept = vec![Leases::new(&pool, SETTINGS).acquire(at(0), &ask("alice")).row()];
    let mut since = Leases::new(&pool, SETTINGS);
    assert_eq!(since.acquire_test(at(6), &ask("bob")).map(|grant| grant.number()), Some(number(0)));
    since.call_down(at(7), number(0));
    since.take_rows();
    assert_eq!(since.recall(kept, at(10)), 0);
    assert!(matches!(&since.take_rows()[..], [Row::Lease(lease)] if lease.user == "alice" && !lease.test));
}
