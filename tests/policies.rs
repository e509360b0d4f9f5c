//! Who is rung when the PSAP calls back: the same arrivals of emergency calls and callbacks, replayed through our pool and
//! through what others have published of theirs. `cargo test --test policies -- --nocapture` shows the table.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use sosbridge::base::{E164, Instant, Protocol, Rng};
use sosbridge::config::Overflow;
use sosbridge::lease::{Ask, Country, Device, Kind, Leases, Pool, Settings};
use sosbridge::transport::{Flow, ListenerId};

const FIRST: u64 = 14_255_551_000;
const OVERFLOW: u64 = 14_255_550_100;
const MINUTE: u64 = 60_000;
const USERS: u64 = 500;

/// A plan of numbers: which one a caller shows, and whom a call to it reaches. Times in milliseconds.
trait Policy {
    /// The number, and whether it is one that the policy itself says is shared or taken from somebody.
    fn dial(&mut self, now: u64, user: u64) -> (u64, bool);
    fn hang_up(&mut self, now: u64, number: u64);
    fn whom(&mut self, now: u64, number: u64) -> Option<u64>;
}

/// The pool of this daemon; no user has a number of its own, so that what follows the quarantine is the shared number.
struct Ours(Leases);

fn instant(now: u64) -> Instant {
    Instant::from_millis(now)
}

impl Ours {
    fn new(size: u64) -> Self {
        let ranges = vec![E164::from_digits(FIRST).unwrap()..=E164::from_digits(FIRST + size - 1).unwrap()];
        let pool = Pool { name: "pool".into(), countries: vec![Country::US], resource: None, ranges };
        let (window, quarantine) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
        Self(Leases::new(&[pool], Settings { window, quarantine }))
    }
}

impl Policy for Ours {
    fn dial(&mut self, now: u64, user: u64) -> (u64, bool) {
        let remote = "192.0.2.1:5060".parse().unwrap();
        let flow = Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None };
        let name = format!("user{user}@example.com");
        let device = Device { key: name.as_str().into(), contact: name.as_str().into(), push: "".into(), flow };
        let overflow = &Overflow::one(E164::from_digits(OVERFLOW).unwrap());
        let ask = Ask {
            user: &name,
            device: &device,
            resource: "contoso",
            country: Country::US,
            pool_country: Country::US,
            own: None,
            overflow,
        };
        let grant = self.0.acquire(instant(now), &ask);
        (grant.number().digits(), grant.kind() == Kind::Overflow)
    }

    fn hang_up(&mut self, now: u64, number: u64) {
        self.0.call_down(instant(now), E164::from_digits(number).unwrap());
    }

    fn whom(&mut self, now: u64, number: u64) -> Option<u64> {
        self.0.handle_timeout(instant(now));
        let lease = self.0.find(E164::from_digits(number).unwrap())?;
        lease.user.strip_prefix("user")?.split('@').next()?.parse().ok()
    }
}

/// Microsoft, Set-CsTeamsSharedCallingRoutingPolicy: a number is reserved for the 60 minutes after the call; "if no free emergency
/// numbers are available, the first number in the list will be reused".
struct TeamsSharedCalling {
    /// Whose, and until when.
    numbers: Vec<Option<(u64, u64)>>,
}

impl Policy for TeamsSharedCalling {
    fn dial(&mut self, now: u64, user: u64) -> (u64, bool) {
        let free = |slot: &Option<(u64, u64)>| slot.is_none_or(|(_, until)| until <= now);
        let own = self.numbers.iter().position(|slot| slot.is_some_and(|(of, until)| of == user && until > now));
        let at = own.or_else(|| self.numbers.iter().position(free)).unwrap_or(0);
        self.numbers[at] = Some((user, now + 60 * MINUTE));
        (at as u64, false)
    }

    fn hang_up(&mut self, _: u64, _: u64) {}

    fn whom(&mut self, now: u64, number: u64) -> Option<u64> {
        self.numbers[usize::try_from(number).unwrap()].filter(|(_, until)| *until > now).map(|(user, _)| user)
    }
}

/// Cisco Emergency Responder Administration Guide 11.5(2): the numbers of a location are reused and remembered for up to three
/// hours; of two numbers and three calls in that time "the first emergency caller's ELIN mapping is replaced by the third caller's
/// extension". In turn, and a caller who is remembered keeps its number: what is not said is taken in its favour.
struct EmergencyResponder {
    numbers: Vec<Option<(u64, u64)>>,
    next: usize,
}

impl Policy for EmergencyResponder {
    fn dial(&mut self, now: u64, user: u64) -> (u64, bool) {
        let own = self.numbers.iter().position(|slot| slot.is_some_and(|(of, until)| of == user && until > now));
        let at = own.unwrap_or_else(|| {
            let at = self.next;
            self.next = (at + 1) % self.numbers.len();
            at
        });
        self.numbers[at] = Some((user, now + 180 * MINUTE));
        (at as u64, false)
    }

    fn hang_up(&mut self, _: u64, _: u64) {}

    fn whom(&mut self, now: u64, number: u64) -> Option<u64> {
        self.numbers[usize::try_from(number).unwrap()].filter(|(_, until)| *until > now).map(|(user, _)| user)
    }
}

/// AudioCodes Mediant 800 MSBR User's Manual (LTRT-12809), on ELINs that are all in use: "the lowest count", then "the greatest amount
/// of time passed" since its call ended. That order is taken for those not in use too, in its favour. A number is good for callbacks
/// for 30 minutes after its call by default (Mediant 3000 User's Manual, LTRT-89729).
struct AudioCodes {
    numbers: Vec<Elin>,
}

#[derive(Clone, Default)]
struct Elin {
    user: Option<u64>,
    count: u32,
    ended: u64,
}

impl Policy for AudioCodes {
    fn dial(&mut self, _: u64, user: u64) -> (u64, bool) {
        let order = |(_, elin): &(usize, &Elin)| (elin.count, elin.ended);
        let (at, _) = self.numbers.iter().enumerate().min_by_key(order).unwrap();
        self.numbers[at].count += 1;
        self.numbers[at].user = Some(user);
        (at as u64, false)
    }

    fn hang_up(&mut self, now: u64, number: u64) {
        let elin = &mut self.numbers[usize::try_from(number).unwrap()];
        elin.count -= 1;
        elin.ended = now;
    }

    fn whom(&mut self, now: u64, number: u64) -> Option<u64> {
        let elin = &self.numbers[usize::try_from(number).unwrap()];
        elin.user.filter(|_| elin.count > 0 || elin.ended + 30 * MINUTE > now)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    HangUp(usize),
    Callback(usize),
    Dial(usize),
}

struct Arrivals {
    /// By call.
    users: Vec<u64>,
    /// In order of time.
    events: Vec<(u64, Event)>,
}

/// Calls at random with `mean_ms` between two on average, of half a minute to eight minutes; half are called back, once within
/// 55 minutes of their end.
fn arrivals(seed: u64, mean_ms: u64, calls: usize) -> Arrivals {
    let mut rng = Rng::from_u64(seed);
    let (mut now, mut users, mut events) = (0, Vec::new(), Vec::new());
    for call in 0..calls {
        // The mean is `mean_ms`; a third of the calls come with the one before.
        now += (0..16).map(|_| rng.below(mean_ms / 8 + 1)).sum::<u64>() * rng.below(3);
        users.push(rng.below(USERS));
        let end = now + 30_000 + rng.below(450_000);
        events.push((now, Event::Dial(call)));
        events.push((end, Event::HangUp(call)));
        if rng.below(2) == 0 {
            events.push((end + 1 + rng.below(55 * MINUTE), Event::Callback(call)));
        }
    }
    events.sort_unstable();
    Arrivals { users, events }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    callbacks: u64,
    /// Rang somebody else.
    wrong: u64,
    /// Rang somebody else, and the number was not one the policy calls shared.
    wrong_unsaid: u64,
    /// Rang nobody.
    lost: u64,
    shared: u64,
}

impl Tally {
    fn per_million(count: u64, of: u64) -> u64 {
        count * 1_000_000 / of.max(1)
    }
}

fn replay(policy: &mut dyn Policy, arrivals: &Arrivals) -> Tally {
    let mut shown: BTreeMap<usize, (u64, bool)> = BTreeMap::new();
    let mut tally = Tally::default();
    for &(now, event) in &arrivals.events {
        match event {
            Event::Dial(call) => {
                let given = policy.dial(now, arrivals.users[call]);
                tally.shared += u64::from(given.1);
                shown.insert(call, given);
            }
            Event::HangUp(call) => policy.hang_up(now, shown[&call].0),
            Event::Callback(call) => {
                let (number, shared) = shown[&call];
                tally.callbacks += 1;
                match policy.whom(now, number) {
                    Some(user) if user == arrivals.users[call] => {}
                    Some(_) => {
                        tally.wrong += 1;
                        tally.wrong_unsaid += u64::from(!shared);
                    }
                    None => tally.lost += 1,
                }
            }
        }
    }
    tally
}

/// `[ours, Teams, Cisco, AudioCodes]` on the same arrivals.
fn compare(size: u64, mean_ms: u64) -> [Tally; 4] {
    let arrivals = arrivals(0x0911, mean_ms, 20_000);
    let count = usize::try_from(size).unwrap();
    let policies: [&mut dyn Policy; 4] = [
        &mut Ours::new(size),
        &mut TeamsSharedCalling { numbers: vec![None; count] },
        &mut EmergencyResponder { numbers: vec![None; count], next: 0 },
        &mut AudioCodes { numbers: vec![Elin::default(); count] },
    ];
    policies.map(|policy| replay(policy, &arrivals))
}

/// Rule 3.2a.
#[test]
fn our_callbacks_reach_who_called_until_the_pool_is_exhausted() {
    println!("callbacks that ring the wrong person, in a million (in brackets: that ring nobody)");
    println!("numbers  calls/h       sosbridge           Teams        Cisco ER      AudioCodes  shared by us");
    // Over all loads, and over those that do not exhaust our pool.
    let (mut wrong, mut wrong_in_plenty) = ([0; 4], [0; 4]);
    let loads = [(2, 60), (10, 30), (10, 6), (10, 3), (50, 3), (50, 2), (50, 1)];
    for (size, minutes) in loads {
        let tallies = compare(size, minutes * MINUTE);
        let cells = tallies.map(|tally| {
            let per_million = |count| Tally::per_million(count, tally.callbacks);
            format!("{:>7} ({:>6})", per_million(tally.wrong), per_million(tally.lost))
        });
        let ours = tallies[0];
        println!("{size:>7} {:>8} {} {:>13}", 60 / minutes, cells.join(" "), ours.shared);
        assert!(ours.callbacks > 9_000, "half of the calls are called back");
        assert_eq!(ours.lost, 0, "within the window nobody is unreachable");
        assert_eq!(ours.wrong_unsaid, 0, "a number that is not said to be shared reaches its one holder");
        for (at, tally) in tallies.iter().enumerate() {
            wrong[at] += tally.wrong;
            wrong_in_plenty[at] += if ours.shared == 0 { tally.wrong } else { 0 };
        }
    }
    let [ours, teams, cisco, _] = wrong_in_plenty;
    assert_eq!(ours, 0, "not exhausted: nobody is called back for another");
    assert!(teams + cisco > 0, "{wrong_in_plenty:?}: there are loads at which others fail and we do not");
    assert!(wrong.iter().all(|count| *count > 0), "{wrong:?}: there are loads at which each of them fails");
}

#[test]
fn the_others_behave_as_published() {
    let dial = |policy: &mut dyn Policy, users: &[u64]| -> Vec<u64> {
        users.iter().map(|user| policy.dial(*user, *user).0).collect()
    };
    let mut teams = TeamsSharedCalling { numbers: vec![None; 2] };
    assert_eq!(dial(&mut teams, &[1, 2, 3]), [0, 1, 0]);
    assert_eq!((teams.whom(10, 0), teams.whom(61 * MINUTE, 0)), (Some(3), None));
    let mut cisco = EmergencyResponder { numbers: vec![None; 2], next: 0 };
    assert_eq!(dial(&mut cisco, &[1, 2, 3]), [0, 1, 0]);
    assert_eq!((cisco.whom(10, 0), cisco.whom(10, 1)), (Some(3), Some(2)));
    let mut audiocodes = AudioCodes { numbers: vec![Elin::default(); 2] };
    assert_eq!(dial(&mut audiocodes, &[1, 2, 3]), [0, 1, 0]);
    audiocodes.hang_up(20, 1);
    assert_eq!(dial(&mut audiocodes, &[4]), [1]);
    assert_eq!(audiocodes.whom(30, 1), Some(4));
}

#[test]
fn an_exhausted_pool_shares_and_says_so() {
    let [ours, ..] = compare(2, MINUTE);
    assert!(ours.shared > 0 && ours.wrong > 0, "{ours:?}: a load at which no plan of two numbers could do better");
    assert_eq!(ours.wrong_unsaid, 0);
}
