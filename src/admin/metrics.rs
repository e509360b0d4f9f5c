//! The metrics of INTERFACE.md, without a global registry: every node has its own, also in the simulator.
//!
//! The node counts; the HTTP thread renders from its clone without asking the node. Handles of all fixed labels are
//! made once, so that counting is an atomic addition. Handles with names from the configuration (pools, trunk targets)
//! are made at load and kept by their owner.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::messages::Messages;
use super::views::{CallKind, LeaseState, Outcome};
use crate::base::Protocol;
use crate::lease::Level;
use crate::sip::Method;

/// Which way a message went, seen from this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What the shell threw away because a bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A datagram that the kernel did not take, or not in time; its sender retransmits.
    Datagram,
    /// A connection closed for a new one at `limits::CONNECTIONS`.
    Connection,
    /// A connection whose peer did not read (`limits::CONNECTION_BACKLOG_BYTES`).
    Backlog,
    /// A name to resolve beyond the bound on questions at once.
    Resolve,
    /// A TLS or WebSocket handshake ended for a new one at `limits::HANDSHAKES`.
    Handshake,
    /// Orders to the relay of media that it did not take.
    Media,
}

impl Dropped {
    const ALL: [Self; 6] =
        [Self::Datagram, Self::Connection, Self::Backlog, Self::Resolve, Self::Handshake, Self::Media];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Connection => "connection",
            Self::Backlog => "backlog",
            Self::Resolve => "resolve",
            Self::Handshake => "handshake",
            Self::Media => "media",
        }
    }
}

type Label = (&'static str, &'static str);
type Named = (&'static str, String);

/// Cheap to clone; all clones count into the same place.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// By kind, then by outcome.
    calls: Vec<Vec<Counter>>,
    /// By kind.
    active: Vec<Gauge>,
    setup: Histogram,
    leases: Family<[Named; 2], Gauge>,
    pool_free: Family<[Named; 1], Gauge>,
    pool_alarm: Family<[Named; 1], Gauge>,
    registrations: Gauge,
    trunk_up: Family<[Named; 2], Gauge>,
    trunk_registered: Family<[Named; 1], Gauge>,
    messages: Arc<Messages>,
    parse_errors: Family<[Label; 1], Counter>,
    store_write: Histogram,
    store_errors: Counter,
    /// By outcome.
    callbacks: Vec<Counter>,
    dropped: Vec<Counter>,
    ports_short: Counter,
    not_converted: Counter,
    handshakes_failed: Family<[Label; 1], Counter>,
    files_unusable: Gauge,
    trunks_failed: Counter,
    rerouted: Counter,
    webhooks: Webhooks,
}

struct Webhooks {
    notifications: Family<[Label; 2], Counter>,
    pending: Gauge,
    wakes: Family<[Label; 1], Counter>,
}

impl Webhooks {
    fn new(registry: &mut Registry) -> Self {
        let new = Self { notifications: Family::default(), pending: Gauge::default(), wakes: Family::default() };
        registry.register("notifications", "Posts to the webhook, by event and outcome", new.notifications.clone());
        registry.register("notifications_pending", "Notifications nobody has acknowledged", new.pending.clone());
        registry.register("wakes", "Posts that wake a phone, by outcome", new.wakes.clone());
        new
    }
}

/// The gauges of one pool.
#[derive(Clone)]
pub struct PoolGauges {
    leases: [Gauge; 3],
    free: Gauge,
}

impl PoolGauges {
    pub fn set(&self, active: usize, held: usize, quarantined: usize, free: usize) {
        for (gauge, count) in self.leases.iter().zip([active, held, quarantined]) {
            gauge.set(gauge_value(count));
        }
        self.free.set(gauge_value(free));
    }
}

/// The gauge of one target of a trunk.
#[derive(Clone)]
pub struct TargetGauge(Gauge);

impl TargetGauge {
    pub fn set(&self, up: bool) {
        self.0.set(i64::from(up));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[allow(clippy::too_many_lines, reason = "one line or two a metric: the list of INTERFACE.md")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sosbridge");
        let calls: Family<[Label; 2], Counter> = Family::default();
        registry.register("calls", "Calls that ended, by kind and outcome", calls.clone());
        let active: Family<[Label; 1], Gauge> = Family::default();
        registry.register("calls_active", "Calls up now", active.clone());
        // 50 µs to 3.3 s, doubling.
        let setup = Histogram::new(doubling(50e-6, 17));
        registry.register("call_setup_seconds", "From the INVITE in to the INVITE out", setup.clone());
        let leases = Family::default();
        registry.register("leases", "Leased numbers, by state and pool", leases.clone());
        let (pool_free, pool_alarm) = pools(&mut registry);
        let registrations = Gauge::default();
        registry.register("registrations", "Contacts registered now", registrations.clone());
        let trunk_up = Family::default();
        registry.register("trunk_up", "1 while a trunk target answers", trunk_up.clone());
        let trunk_registered = Family::default();
        registry.register("trunk_registered", "1 while this daemon is registered at a trunk", trunk_registered.clone());
        let messages = Arc::new(Messages::new());
        registry.register_collector(Box::new(Arc::clone(&messages)));
        let parse_errors = Family::default();
        registry.register("parse_errors", "Messages refused by the parser, by reason", parse_errors.clone());
        let store_write = Histogram::new(doubling(100e-6, 16));
        registry.register("store_write_seconds", "From the write a call waits for to its commit", store_write.clone());
        let store_errors = Counter::default();
        registry.register("store_errors", "Writes the store could not commit", store_errors.clone());
        let callbacks: Family<[Label; 1], Counter> = Family::default();
        registry.register("callbacks", "Callbacks from trunks, by outcome", callbacks.clone());
        let dropped: Family<[Label; 1], Counter> = Family::default();
        registry.register("dropped", "Thrown away at a bound of the daemon, by what", dropped.clone());
        let (ports_short, not_converted) = (Counter::default(), Counter::default());
        registry.register("media_ports_short", "Streams for which no media port was free", ports_short.clone());
        registry.register("media_not_converted", "Calls of browsers that nobody hears", not_converted.clone());
        let (handshakes_failed, files_unusable) = handshakes(&mut registry);
        let (trunks_failed, rerouted) = routes(&mut registry);
        let webhooks = Webhooks::new(&mut registry);

        let outcomes = |kind: &CallKind| {
            let labels = |outcome: &Outcome| [("kind", kind.as_str()), ("outcome", outcome.as_str())];
            Outcome::ALL.iter().map(|outcome| calls.get_or_create_owned(&labels(outcome))).collect()
        };
        Self(Arc::new(Inner {
            calls: CallKind::ALL.iter().map(outcomes).collect(),
            active: CallKind::ALL.iter().map(|kind| active.get_or_create_owned(&[("kind", kind.as_str())])).collect(),
            callbacks: Outcome::ALL
                .iter()
                .map(|outcome| callbacks.get_or_create_owned(&[("outcome", outcome.as_str())]))
                .collect(),
            dropped: Dropped::ALL.iter().map(|what| dropped.get_or_create_owned(&[("what", what.as_str())])).collect(),
            ports_short,
            not_converted,
            registry,
            setup,
            leases,
            pool_free,
            pool_alarm,
            registrations,
            trunk_up,
            trunk_registered,
            messages,
            parse_errors,
            handshakes_failed,
            files_unusable,
            store_write,
            store_errors,
            trunks_failed,
            rerouted,
            webhooks,
        }))
    }

    pub fn call_started(&self, kind: CallKind) {
        if let Some(gauge) = self.0.active.get(kind as usize) {
            gauge.inc();
        }
    }

    /// A call that is up is of another kind from now on.
    pub fn call_turned(&self, from: CallKind, to: CallKind) {
        if let Some(gauge) = self.0.active.get(from as usize) {
            gauge.dec();
        }
        self.call_started(to);
    }

    pub fn call_ended(&self, kind: CallKind, outcome: Outcome) {
        if let Some(gauge) = self.0.active.get(kind as usize) {
            gauge.dec();
        }
        if let Some(counter) = self.0.calls.get(kind as usize).and_then(|row| row.get(outcome as usize)) {
            counter.inc();
        }
    }

    /// A call that was refused before it ever was one (`call_started` not called).
    pub fn call_refused(&self, kind: CallKind) {
        if let Some(counter) = self.0.calls.get(kind as usize).and_then(|row| row.get(Outcome::Refused as usize)) {
            counter.inc();
        }
    }

    /// From the INVITE in to the INVITE out.
    pub fn setup_seconds(&self, taken: Duration) {
        self.0.setup.observe(taken.as_secs_f64());
    }

    pub fn request(&self, direction: Direction, protocol: Protocol, method: Method) {
        self.0.messages.request(direction, protocol, method);
    }

    pub fn response(&self, direction: Direction, protocol: Protocol, code: u16) {
        self.0.messages.response(direction, protocol, code);
    }

    /// A peer wanted TLS or a WebSocket, and it came to nothing.
    pub fn handshake_failed(&self, protocol: Protocol) {
        self.0.handshakes_failed.get_or_create(&[("transport", protocol.uri_token())]).inc();
    }

    /// Certificates, keys and authorities that the configuration names.
    pub fn files_unusable(&self, count: usize) {
        self.0.files_unusable.set(gauge_value(count));
    }

    /// `reason`: one of the fixed labels of the parser's faults.
    pub fn parse_error(&self, reason: &'static str) {
        self.0.parse_errors.get_or_create(&[("reason", reason)]).inc();
    }

    pub fn store_write_seconds(&self, taken: Duration) {
        self.0.store_write.observe(taken.as_secs_f64());
    }

    pub fn store_error(&self) {
        self.0.store_errors.inc();
    }

    pub fn callback(&self, outcome: Outcome) {
        if let Some(counter) = self.0.callbacks.get(outcome as usize) {
            counter.inc();
        }
    }

    pub fn dropped(&self, what: Dropped) {
        if let Some(counter) = self.0.dropped.get(what as usize) {
            counter.inc();
        }
    }

    /// `outcome`: `delivered`, `failed`, `given_up` or `dropped`.
    pub fn notification(&self, event: &'static str, outcome: &'static str) {
        self.0.webhooks.notifications.get_or_create(&[("event", event), ("outcome", outcome)]).inc();
    }

    pub fn notifications_pending(&self, count: usize) {
        self.0.webhooks.pending.set(gauge_value(count));
    }

    /// An emergency call goes by another route than one of its own.
    pub fn rerouted(&self) {
        self.0.rerouted.inc();
    }

    /// A whole round over the trunks has failed an emergency call for the first time.
    pub fn trunks_failed(&self) {
        self.0.trunks_failed.inc();
    }

    /// `outcome`: `taken` or `failed`.
    pub fn wake(&self, outcome: &'static str) {
        self.0.webhooks.wakes.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn ports_short(&self) {
        self.0.ports_short.inc();
    }

    pub fn not_converted(&self) {
        self.0.not_converted.inc();
    }

    pub fn registrations(&self, count: usize) {
        self.0.registrations.set(gauge_value(count));
    }

    /// The gauges of a pool, made at load.
    pub fn pool(&self, name: &str) -> PoolGauges {
        let free = self.0.pool_free.get_or_create_owned(&[("pool", name.to_owned())]);
        drop(self.0.pool_alarm.get_or_create_owned(&[("pool", name.to_owned())]));
        let leases = [LeaseState::Active, LeaseState::Held, LeaseState::Quarantined]
            .map(|state| self.0.leases.get_or_create_owned(&lease_labels(state, name)));
        PoolGauges { leases, free }
    }

    /// How bad it is with a pool.
    pub fn pool_level(&self, name: &str, level: Level) {
        let alarm = match level {
            Level::Enough => 0,
            Level::Low => 1,
            Level::Empty => 2,
        };
        self.0.pool_alarm.get_or_create_owned(&[("pool", name.to_owned())]).set(alarm);
    }

    /// For a pool that a reload removed.
    pub fn forget_pool(&self, name: &str) {
        self.0.pool_free.remove(&[("pool", name.to_owned())]);
        self.0.pool_alarm.remove(&[("pool", name.to_owned())]);
        for &state in LeaseState::ALL {
            self.0.leases.remove(&lease_labels(state, name));
        }
    }

    /// The gauge of a trunk target, made at load.
    pub fn trunk_target(&self, trunk: &str, target: &str) -> TargetGauge {
        TargetGauge(self.0.trunk_up.get_or_create_owned(&[("trunk", trunk.to_owned()), ("target", target.to_owned())]))
    }

    /// For a target that a reload removed.
    pub fn forget_trunk_target(&self, trunk: &str, target: &str) {
        self.0.trunk_up.remove(&[("trunk", trunk.to_owned()), ("target", target.to_owned())]);
    }

    /// Whether we are registered at a trunk; `None`: the trunk is gone, or wants it no more.
    pub fn trunk_registered(&self, trunk: &str, is_registered: Option<bool>) {
        let labels = [("trunk", trunk.to_owned())];
        match is_registered {
            Some(is) => {
                self.0.trunk_registered.get_or_create_owned(&labels).set(i64::from(is));
            }
            None => {
                self.0.trunk_registered.remove(&labels);
            }
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String does not fail; were it to, what is there is still worth showing.
        let _ = text::encode(&mut text, &self.0.registry);
        text
    }
}

/// Calls that no trunk took, and calls without a route of their own.
fn routes(registry: &mut Registry) -> (Counter, Counter) {
    let (failed, rerouted) = (Counter::default(), Counter::default());
    registry.register("all_trunks_failed", "Calls for help that no trunk took in a round", failed.clone());
    registry.register("rerouted", "Calls for help that went by another route than their own", rerouted.clone());
    (failed, rerouted)
}

/// Handshakes that failed, and files that none can be made with.
fn handshakes(registry: &mut Registry) -> (Family<[Label; 1], Counter>, Gauge) {
    let (failed, unusable) = (Family::default(), Gauge::default());
    registry.register("handshakes_failed", "TLS and WebSocket handshakes that failed", failed.clone());
    registry.register("files_unusable", "Files of TLS that cannot be used", unusable.clone());
    (failed, unusable)
}

/// Free numbers and alarms.
fn pools(registry: &mut Registry) -> (Family<[Named; 1], Gauge>, Family<[Named; 1], Gauge>) {
    let (free, alarm) = (Family::default(), Family::default());
    registry.register("pool_free", "Numbers of a pool that are free and rested", free.clone());
    registry.register("pool_alarm", "1 while a pool is low, 2 while nothing of it is free", alarm.clone());
    (free, alarm)
}

fn lease_labels(state: LeaseState, pool: &str) -> [Named; 2] {
    [("state", state.as_str().to_owned()), ("pool", pool.to_owned())]
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn doubling(first: f64, count: u16) -> impl Iterator<Item = f64> {
    prometheus_client::metrics::histogram::exponential_buckets(first, 2.0, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule 9.3.
    #[test]
    fn names_are_those_of_the_interface() {
        let metrics = Metrics::new();
        metrics.call_started(CallKind::Emergency);
        metrics.call_started(CallKind::Emergency);
        metrics.call_ended(CallKind::Emergency, Outcome::Answered);
        metrics.setup_seconds(Duration::from_micros(70));
        metrics.request(Direction::In, Protocol::Udp, Method::Invite);
        metrics.response(Direction::Out, Protocol::Tcp, 200);
        metrics.response(Direction::Out, Protocol::Tcp, 999);
        metrics.parse_error("no_via");
        metrics.store_write_seconds(Duration::from_millis(1));
        metrics.store_error();
        metrics.callback(Outcome::Answered);
        metrics.registrations(3);
        metrics.pool("us").set(1, 2, 3, 94);
        metrics.trunk_target("psap", "sip:127.0.0.1:5080").set(true);
        let text = metrics.render();
        for line in [
            r#"sosbridge_calls_total{kind="emergency",outcome="answered"} 1"#,
            r#"sosbridge_calls_active{kind="emergency"} 1"#,
            "sosbridge_call_setup_seconds_count 1",
            r#"sosbridge_leases{state="quarantined",pool="us"} 3"#,
            r#"sosbridge_pool_free{pool="us"} 94"#,
            "sosbridge_registrations 3",
            r#"sosbridge_trunk_up{trunk="psap",target="sip:127.0.0.1:5080"} 1"#,
            r#"sosbridge_messages_total{direction="in",transport="udp",method_or_status="INVITE"} 1"#,
            r#"sosbridge_messages_total{direction="out",transport="tcp",method_or_status="200"} 1"#,
            r#"sosbridge_parse_errors_total{reason="no_via"} 1"#,
            "sosbridge_store_write_seconds_count 1",
            "sosbridge_store_errors_total 1",
            r#"sosbridge_callbacks_total{outcome="answered"} 1"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} not in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("sosbridge_messages_total")).count(), 2);
    }

    #[test]
    fn what_a_reload_removed_is_no_longer_shown() {
        let metrics = Metrics::new();
        metrics.pool("gone").set(0, 0, 0, 1);
        metrics.trunk_target("gone", "t").set(false);
        metrics.forget_pool("gone");
        metrics.forget_trunk_target("gone", "t");
        assert!(!metrics.render().contains("gone"));
    }
}
