//! One target of a trunk: its addresses, how they answer, when to ask them and DNS again.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::order::{self, Choice};
use crate::base::{Instant, Protocol, Rng, limits};
use crate::config::{self, PbxIdx, TrunkIdx};
use crate::transport::{Found, Place, Question, Server};

/// How long after a failure the target is asked again, and for one without probes: given another chance.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The same for a target that is not probed: its failures are forgotten.
const FORGIVENESS: Duration = Duration::from_secs(30);
/// How long a target that took a call and said nothing more comes after all others: at first, then twice as long each time, at most.
/// That it answers probes meanwhile says nothing of calls.
const FIRST_REST: Duration = Duration::from_secs(300);
const LAST_REST: Duration = Duration::from_secs(3600);
/// A probe without a report is given up after this: Timer F and a little (RFC 3261 §17.1.2.2).
const PROBE_PATIENCE: Duration = Duration::from_secs(35);
/// A look-up without an answer is given up after this.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(60);
/// However short its TTL, an answer is believed this long; however long, no longer than that.
const SHORTEST_TTL: Duration = Duration::from_secs(5);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// After a look-up that failed.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// What was seen of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Any response to a call, by its status code.
    Answered(u16),
    /// The same of a request that is no call.
    Alive(u16),
    /// It took a call, and said nothing more in the time allowed.
    Stalled,
    /// Nothing in the time allowed.
    Silent,
    /// ICMP error, connection refused.
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Up,
    Down,
    /// Nothing was tried yet.
    Unknown,
}

/// Whose target it is, in the configuration now in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Trunk(TrunkIdx),
    /// Where the callbacks of its users go.
    Pbx(PbxIdx),
}

/// Where calls of a trunk, or callbacks to a PBX, may go.
#[derive(Clone, Debug)]
pub struct Target {
    pub whose: Whose,
    /// As configured.
    pub config: config::Target,
    pub last_ok: Option<Instant>,
    pub last_status: Option<u16>,
    /// Why the last connection failed; `None` once it answers.
    pub last_error: Option<String>,
    /// Until then its certificate need not hold.
    pub(super) last_resort_until: Option<Instant>,
    addresses: Vec<Address>,
    /// `None`: not probed.
    interval: Option<Duration>,
    /// When to probe next, or without probes to forgive; `None`: nothing to do.
    due: Option<Instant>,
    /// `None`: the host is an address.
    resolve_at: Option<Instant>,
    /// DNS has answered every question once.
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    server: Server,
    state: State,
    probed_at: Option<Instant>,
    /// It comes last until then.
    rests_until: Option<Instant>,
    /// How long it had to, last time; zero once a call has got on.
    rest: Duration,
}

impl Sign {
    /// Whoever answers is alive, unless the answer says that nobody behind it is (RFC 3263 §4.3: 503 counts as a failure;
    /// 408 and 430 are a proxy telling of silence, RFC 5626 §11.5).
    pub const fn means(self) -> State {
        match self {
            Self::Answered(408 | 430 | 503) | Self::Alive(408 | 430 | 503) => State::Down,
            Self::Silent | Self::Stalled | Self::Unreachable => State::Down,
            Self::Answered(_) | Self::Alive(_) => State::Up,
        }
    }
}

impl Target {
    pub(super) fn new(whose: Whose, config: &config::Target, interval: Option<Duration>, now: Instant) -> Self {
        let literal =
            config.literal().map(|remote| Place { protocol: config.protocol.unwrap_or(Protocol::Udp), remote });
        Self {
            whose,
            config: config.clone(),
            last_ok: None,
            last_status: None,
            last_error: None,
            last_resort_until: None,
            addresses: literal.map(Address::of_literal).into_iter().collect(),
            interval,
            due: interval.map(|_| now),
            resolve_at: if literal.is_some() { None } else { Some(now) },
            is_whole: false,
        }
    }

    /// The same target under a new configuration: what was learnt of it stays.
    pub(super) fn carry_over(
        &mut self,
        whose: Whose,
        config: &config::Target,
        interval: Option<Duration>,
        now: Instant,
    ) {
        self.whose = whose;
        self.config = config.clone();
        if self.interval != interval {
            self.interval = interval;
            self.due = Some(now);
        }
    }

    /// `None`: a PBX.
    pub fn trunk(&self) -> Option<TrunkIdx> {
        match self.whose {
            Whose::Trunk(trunk) => Some(trunk),
            Whose::Pbx(_) => None,
        }
    }

    /// False when `options_interval` is zero: its state is only what calls have shown.
    pub fn is_probed(&self) -> bool {
        self.interval.is_some()
    }

    /// True when this is one of its addresses. A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        let canonical = |at: SocketAddr| (at.ip().to_canonical(), at.port());
        self.addresses.iter().any(|known| canonical(known.server.place.remote) == canonical(address))
    }

    /// Every place known, those that failed last. Empty until DNS has answered once.
    pub fn known(&self) -> impl Iterator<Item = Place> {
        let failed = |address: &&Address| address.hopelessness() > 0;
        let working = self.addresses.iter().filter(move |address| !failed(address));
        working.chain(self.addresses.iter().filter(failed)).map(|address| address.server.place)
    }

    /// Where to send, to be tried in this order: by priority, drawn by weight (RFC 3263 §4.2, RFC 2782); those that failed
    /// come last.
    pub fn places(&self, rng: &mut Rng) -> SmallVec<[Place; 2]> {
        if let [only] = self.addresses.as_slice() {
            return SmallVec::from_slice(&[only.server.place]);
        }
        let mut records: Vec<Choice<u16>> = Vec::new();
        for Address { server, .. } in &self.addresses {
            if !records.iter().any(|record| record.item == server.record) {
                records.push(Choice { item: server.record, priority: server.priority, weight: server.weight });
            }
        }
        let mut ordered: SmallVec<[&Address; 4]> = SmallVec::new();
        for record in order::order(rng, records) {
            for address in self.addresses.iter().filter(|address| address.server.record == record) {
                // Where two records lead to one place, its silence costs the caller its wait once.
                if !ordered.iter().any(|before| before.server.place == address.server.place) {
                    ordered.push(address);
                }
            }
        }
        ordered.sort_by_key(|address| address.hopelessness());
        ordered.into_iter().map(|address| address.server.place).collect()
    }

    /// What moves a target behind the others: the more, the later.
    pub(super) fn hopelessness(&self) -> u8 {
        self.addresses.iter().map(Address::hopelessness).min().unwrap_or(u8::MAX)
    }

    /// The same for one of its places.
    pub fn hopelessness_at(&self, place: Place) -> u8 {
        let there = self.addresses.iter().find(|address| address.server.place == place);
        there.map_or(u8::MAX, Address::hopelessness)
    }

    /// For operators: why calls go elsewhere first, though it answers.
    pub(super) fn rests(&self) -> Option<&'static str> {
        let is_resting = self.addresses.iter().any(|address| address.rests_until.is_some());
        is_resting.then_some("took a call and said nothing more than 100: it comes last for a while")
    }

    /// Up when one address is; down when all are.
    pub fn state(&self) -> State {
        let is = |state: State| move |address: &Address| address.state == state;
        if self.addresses.iter().any(is(State::Up)) {
            State::Up
        } else if !self.addresses.is_empty() && self.addresses.iter().all(is(State::Down)) {
            State::Down
        } else {
            State::Unknown
        }
    }

    pub(super) fn report(&mut self, now: Instant, place: Place, sign: Sign) {
        let state = sign.means();
        if let Sign::Answered(code) | Sign::Alive(code) = sign {
            self.last_status = Some(code);
        }
        for address in self.addresses.iter_mut().filter(|address| address.server.place == place) {
            address.state = state;
            address.probed_at = None;
            address.count_stalls(now, sign);
        }
        match state {
            State::Up => {
                self.last_ok = Some(now);
                self.last_error = None;
            }
            State::Down | State::Unknown => {
                let wait = if self.interval.is_some() { AFTER_FAILURE } else { FORGIVENESS };
                let soon = now + wait;
                self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
            }
        }
    }

    pub(super) fn failed(&mut self, place: Place, reason: &str) {
        if self.addresses.iter().any(|address| address.server.place == place) {
            self.last_error = Some(reason.to_owned());
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let rests = self.addresses.iter().filter_map(|address| address.rests_until);
        [self.due, self.resolve_at].into_iter().flatten().chain(rests).min()
    }

    /// The addresses to send OPTIONS to, when it is time.
    pub(super) fn probes(&mut self, now: Instant, rng: &mut Rng) -> Vec<Place> {
        for address in &mut self.addresses {
            address.rests_until = address.rests_until.filter(|until| *until > now);
        }
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let Some(interval) = self.interval else {
            self.due = None;
            self.forgive();
            return Vec::new();
        };
        let failing = self.addresses.iter().any(|address| address.state == State::Down);
        let wait = if failing { interval.min(AFTER_FAILURE) } else { interval };
        self.due = Some(now + jittered(wait, rng));
        let pending = |address: &Address| address.probed_at.is_some_and(|at| now.since(at) < PROBE_PATIENCE);
        let asked = self.addresses.iter_mut().filter(|address| !pending(address));
        asked.map(|address| address.probe(now)).collect()
    }

    fn forgive(&mut self) {
        for address in self.addresses.iter_mut().filter(|address| address.state == State::Down) {
            address.state = State::Unknown;
        }
    }

    /// What to ask of DNS, when it is time; the next time is set.
    pub(super) fn question(&mut self, now: Instant) -> Option<Question> {
        self.resolve_at.filter(|at| *at <= now)?;
        self.resolve_at = Some(now + RESOLVE_PATIENCE);
        let config::Target { host, port, protocol, .. } = &self.config;
        Some(Question { host: host.clone(), port: *port, protocol: *protocol, is_sips: self.config.is_sips() })
    }

    /// The answer of DNS. One with holes takes nothing away: stale addresses are better than none.
    pub(super) fn resolved(&mut self, found: &Found, now: Instant) {
        if found.servers.is_empty() {
            self.resolve_at = Some(now + RESOLVE_AGAIN);
            return;
        }
        let wait = if found.is_whole { found.ttl.clamp(SHORTEST_TTL, LONGEST_TTL) } else { RESOLVE_AGAIN };
        self.resolve_at = Some(now + wait);
        let known = |server: &Server| self.addresses.iter().find(|address| address.server.place == server.place);
        let servers = found.servers.iter().take(limits::ADDRESSES_PER_TARGET);
        let fresh: Vec<Address> = servers
            .map(|server| known(server).map_or(Address::new(*server), |was| Address { server: *server, ..*was }))
            .collect();
        if self.interval.is_some() && found.servers.iter().any(|server| known(server).is_none()) {
            self.due = Some(now);
        }
        let all = match std::mem::take(&mut self.addresses) {
            _ if found.is_whole => fresh.clone(),
            // What was whole stands first, whatever DNS now has no answer for.
            old if self.is_whole => one_after_the_other(old, &fresh),
            old => one_after_the_other(fresh.clone(), &old),
        };
        self.addresses = if all.len() > limits::ADDRESSES_PER_TARGET { fresh } else { all };
        self.is_whole |= found.is_whole;
    }
}

impl Address {
    fn of_literal(place: Place) -> Self {
        let server = Server { place, record: 0, priority: 0, weight: 0 };
        Self::new(server)
    }

    const fn new(server: Server) -> Self {
        Self { server, state: State::Unknown, probed_at: None, rests_until: None, rest: Duration::ZERO }
    }

    fn count_stalls(&mut self, now: Instant, sign: Sign) {
        match sign {
            Sign::Stalled => {
                self.rest = (self.rest * 2).clamp(FIRST_REST, LAST_REST);
                self.rests_until = Some(now + self.rest);
            }
            Sign::Answered(101..) if sign.means() == State::Up => {
                self.rest = Duration::ZERO;
                self.rests_until = None;
            }
            Sign::Answered(_) | Sign::Alive(_) | Sign::Silent | Sign::Unreachable => {}
        }
    }

    /// One that does not answer costs a call less time than one that keeps it waiting.
    fn hopelessness(&self) -> u8 {
        match self.state {
            _ if self.rests_until.is_some() => 2,
            State::Down => 1,
            State::Up | State::Unknown => 0,
        }
    }

    fn probe(&mut self, now: Instant) -> Place {
        self.probed_at = Some(now);
        self.server.place
    }
}

/// The `first`, and of the `second` those that are not among them, behind all that has a place in the order.
fn one_after_the_other(mut first: Vec<Address>, second: &[Address]) -> Vec<Address> {
    for one in second {
        if first.iter().all(|other| other.server.place != one.server.place) {
            let server = Server { record: u16::MAX, priority: u32::MAX, ..one.server };
            first.push(Address { server, ..*one });
        }
    }
    first
}

/// Within a tenth of `wait`: probes of many trunks drift apart.
fn jittered(wait: Duration, rng: &mut Rng) -> Duration {
    let tenth = u64::try_from(wait.as_micros() / 10).unwrap_or(u64::MAX);
    wait.saturating_sub(Duration::from_micros(tenth)) + Duration::from_micros(rng.below(tenth.saturating_mul(2)))
}
