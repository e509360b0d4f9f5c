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
