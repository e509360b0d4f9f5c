//! One target of a trunk: its addresses, how they answer, when to ask them and DNS again.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Instant, Protocol, Rng};
use crate::config::{self, TrunkIdx};

/// How long after a failure the target is asked again, and for one without probes: given another chance.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// The same for a target that is not probed: its failures are forgotten.
const FORGIVENESS: Duration = Duration::from_secs(30);
/// A probe without a report is given up after this: Timer F and a little (RFC 3261 §17.1.2.2).
const PROBE_PATIENCE: Duration = Duration::from_secs(35);
/// Between look-ups of a host name; the resolver caches by the TTL.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);
/// After a look-up that failed.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// What was seen of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Any response, by its status code.
    Answered(u16),
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

/// Where calls of a trunk may go.
#[derive(Clone, Debug)]
pub struct Target {
    /// In the configuration now in force.
    pub trunk: TrunkIdx,
    /// As configured.
    pub config: config::Target,
    pub last_ok: Option<Instant>,
    pub last_status: Option<u16>,
    /// Why the last connection failed; `None` once it answers.
    pub last_error: Option<String>,
    addresses: Vec<Address>,
    /// `None`: not probed.
    interval: Option<Duration>,
    /// When to probe next, or without probes to forgive; `None`: nothing to do.
    due: Option<Instant>,
    /// `None`: the host is an address.
    resolve_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    remote: SocketAddr,
    state: State,
    probed_at: Option<Instant>,
}

impl Sign {
    /// Whoever answers is alive, unless the answer says that nobody behind it is (RFC 3263 §4.3: 503 counts as a failure;
    /// 408 and 430 are a proxy telling of silence, RFC 5626 §11.5).
    pub const fn means(self) -> State {
        match self {
            Self::Answered(408 | 430 | 503) | Self::Silent | Self::Unreachable => State::Down,
            Self::Answered(_) => State::Up,
        }
    }
}

impl Target {
    pub(super) fn new(trunk: TrunkIdx, config: &config::Target, interval: Option<Duration>, now: Instant) -> Self {
        let literal = config.literal();
        Self {
            trunk,
            config: config.clone(),
            last_ok: None,
            last_status: None,
            last_error: None,
            addresses: literal.map(Address::new).into_iter().collect(),
            interval,
            due: interval.map(|_| now),
            resolve_at: if literal.is_some() { None } else { Some(now) },
        }
    }

    /// The same target under a new configuration: what was learnt of it stays.
    pub(super) fn carry_over(
        &mut self,
        trunk: TrunkIdx,
        config: &config::Target,
        interval: Option<Duration>,
        now: Instant,
    ) {
        self.trunk = trunk;
        self.config = config.clone();
        if self.interval != interval {
            self.interval = interval;
            self.due = Some(now);
        }
    }

    pub fn protocol(&self) -> Protocol {
        self.config.protocol.unwrap_or(Protocol::Udp) // RFC 3263 §4.1, without NAPTR
    }

    /// False when `options_interval` is zero: its state is only what calls have shown.
    pub fn is_probed(&self) -> bool {
        self.interval.is_some()
    }

    pub fn port(&self) -> u16 {
        self.config.port.unwrap_or(self.protocol().default_port())
    }

    /// Where to send, to be tried in this order: those that failed come last. Empty until DNS has answered once.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let failed = |address: &&Address| address.state == State::Down;
        let working = self.addresses.iter().filter(move |address| !failed(address));
        working.chain(self.addresses.iter().filter(failed)).map(|address| address.remote)
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

    pub(super) fn report(&mut self, now: Instant, remote: SocketAddr, sign: Sign) {
        let state = sign.means();
        if let Sign::Answered(code) = sign {
            self.last_status = Some(code);
        }
        for address in self.addresses.iter_mut().filter(|address| address.remote == remote) {
            address.state = state;
            address.probed_at = None;
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

    pub(super) fn failed(&mut self, remote: SocketAddr, reason: &str) {
        if self.addresses.iter().any(|address| address.remote == remote) {
            self.last_error = Some(reason.to_owned());
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.due, self.resolve_at].into_iter().flatten().min()
    }

    /// The addresses to send OPTIONS to, when it is time.
    pub(super) fn probes(&mut self, now: Instant, rng: &mut Rng) -> Vec<SocketAddr> {
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

    /// True when it is time to look the host up; the next time is set.
    pub(super) fn starts_resolving(&mut self, now: Instant) -> bool {
        let due = self.resolve_at.is_some_and(|at| at <= now);
        if due {
            self.resolve_at = Some(now + RESOLVE_EVERY);
        }
        due
    }

    /// The answer of DNS. An empty one changes nothing: old addresses are better than none.
    pub(super) fn resolved(&mut self, remotes: &[SocketAddr], now: Instant) {
        if remotes.is_empty() {
            self.resolve_at = Some(now + RESOLVE_AGAIN);
            return;
        }
        let known = |remote: &SocketAddr| self.addresses.iter().find(|address| address.remote == *remote).copied();
        let fresh: Vec<Address> =
            remotes.iter().map(|remote| known(remote).unwrap_or_else(|| Address::new(*remote))).collect();
        if self.interval.is_some() && fresh.iter().any(|address| !self.addresses.contains(address)) {
            self.due = Some(now);
        }
        self.addresses = fresh;
    }
}

impl Address {
    fn new(remote: SocketAddr) -> Self {
        Self { remote, state: State::Unknown, probed_at: None }
    }

    fn probe(&mut self, now: Instant) -> SocketAddr {
        self.probed_at = Some(now);
        self.remote
    }
}

/// Within a tenth of `wait`: probes of many trunks drift apart.
fn jittered(wait: Duration, rng: &mut Rng) -> Duration {
    let tenth = u64::try_from(wait.as_micros() / 10).unwrap_or(u64::MAX);
    wait.saturating_sub(Duration::from_micros(tenth)) + Duration::from_micros(rng.below(tenth.saturating_mul(2)))
}
