//! Numbers that are shared because no other is left: they go round, and whoever has a number to himself keeps it.
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

fn number(digits: u64) -> E164 {
    E164::from_digits(14_255_551_000 + digits).unwrap()
}

/// Users 0 to 2 have one.
fn own(user: u8) -> Option<E164> {
    (user < 3).then(|| number(100 + u64::from(user)))
}

fn device(key: u8) -> Device {
    let remote = format!("127.0.0.1:{}", 6000 + u16::from(key)).parse().unwrap();
    let flow = Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None };
    let key = format!("urn:uuid:{key}");
    Device { contact: key.as_str().into(), key: key.into(), push: "".into(), flow }
}

#[derive(Clone, Debug)]
enum Step {
    Dial { user: u8, device: u8 },
    HangUp { pick: usize },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..7u8, 0..2u8).prop_map(|(user, device)| Step::Dial { user, device }),
        4 => any::<usize>().prop_map(|pick| Step::HangUp { pick }),
        2 => prop_oneof![1..100u64, 3000..4000u64, 7000..12_000u64].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What the trunk has seen of a number.
#[derive(Default)]
struct Seen {
    /// Who has it alone, and until when.
    alone: Option<(u8, Instant)>,
    calls: u32,
    dialled: Option<Instant>,
}

/// True when no other shared number has rested longer: those with a call up, and those that are somebody's alone, stand back.
fn is_next(seen: &BTreeMap<E164, Seen>, shared: [E164; 2], number: E164, user: u8) -> bool {
    let last = |number: &E164| seen.get(number).and_then(|seen| seen.dialled);
    let stands_back = |other: &E164| {
        seen.get(other).is_some_and(|seen| seen.calls > 0 || seen.alone.is_some_and(|(holder, _)| holder != user))
    };
    let mut others = shared.iter().filter(|other| **other != number);
    others.all(|other| stands_back(other) || last(&number) <= last(other))
}

fn follow(is_lent: bool, steps: &[Step]) {
    let shared = if is_lent { [own(0).unwrap(), own(1).unwrap()] } else { [number(200), number(201)] };
    let overflow = Overflow::several(&shared, is_lent).unwrap();
    let ranges = vec![number(0)..=number(1)];
    let pool = Pool { name: "us".into(), countries: vec![Country::US], resource: None, ranges };
    let mut leases = Leases::new(&[pool], SETTINGS);
    let mut now = Instant::from_millis(1_000_000);
    let mut seen: BTreeMap<E164, Seen> = BTreeMap::new();
    for step in steps {
        now += Duration::from_millis(1);
        match *step {
            Step::Dial { user, device: key } => {
                let (name, device) = (format!("user{user}"), device(key));
                let (resource, country) = ("contoso", Country::US);
                let own = own(user);
                let ask = Ask {
                    user: &name,
                    device: &device,
                    resource,
                    country,
                    pool_country: country,
                    own,
                    overflow: &overflow,
                };
                let held =
                    |number: E164| leases.find(number).filter(|lease| lease.user == name && lease.device == device);
                let keeps = shared.iter().find(|number| held(**number).is_some()).copied();
                let grant = leases.acquire(now, &ask);
                let (number, kind) = (grant.number(), grant.kind());
                let before = seen.entry(number).or_default();
                let is_held = |since: Instant| before.calls > 0 || since + WINDOW > now;
                if before.alone.is_none_or(|(holder, since)| holder == user || !is_held(since)) {
                    assert_eq!(leases.find(number).unwrap().user, name, "{number} is nobody else's any more");
                    before.alone = before.alone.filter(|(holder, _)| *holder == user);
                }
                before.calls += 1;
                match kind {
                    Kind::Pooled | Kind::OwnNumber => before.alone = Some((user, now)),
                    Kind::Overflow => {
                        assert!(shared.contains(&number) || Some(number) == own);
                        let is_next = is_next(&seen, shared, number, user);
                        assert!(keeps == Some(number) || Some(number) == own || is_next, "{number} is not the next");
                    }
                }
                seen.entry(number).or_default().dialled = Some(now);
            }
            Step::HangUp { pick } => {
                let up: Vec<E164> = seen.iter().filter(|(_, seen)| seen.calls > 0).map(|(number, _)| *number).collect();
                if let Some(number) = pick.checked_rem(up.len()).map(|at| up[at]) {
                    leases.call_down(now, number);
                    let seen = seen.get_mut(&number).unwrap();
                    seen.calls -= 1;
                    seen.alone = seen.alone.map(|(user, _)| (user, now));
                }
            }
            Step::Wait { seconds } => now += Duration::from_secs(seconds),
        }
        leases.handle_timeout(now);
        seen.retain(|number, _| leases.find(*number).is_some());
        for (number, Seen { alone, calls, .. }) in &seen {
            let lease = leases.find(*number).unwrap();
            assert_eq!(lease.calls, *calls, "{number}");
            if let Some((user, since)) = alone.filter(|(_, since)| *calls > 0 || *since + WINDOW > now) {
                assert_eq!(lease.user, format!("user{user}"), "{number} was lost, held since {since:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Rules 3.2a, 3.7c.
    #[test]
    fn shared_numbers_go_round_and_take_nobodys_own(is_lent: bool, steps in prop::collection::vec(step(), 1..80)) {
        follow(is_lent, &steps);
    }
}
