//! What calls tell: counted, logged for a court and for a night shift, and kept as records (SPEC §9).

use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, format_compact};

use super::views::{record_of, stamp};
use super::{Node, Row};
use crate::admin::{Metrics, NoticeEvent, PoolGauges, Record, TargetGauge};
use crate::base::{E164, Instant, Private, limits};
use crate::call::{Dialled, History, Kind, Outcome, Report};
use crate::config::Config;
use crate::geo;
use crate::lease;
use crate::sip::{Fault, Message};
use crate::transport::Flow;
use crate::trunk;
use crate::ua::Refusal;

/// How often gauges follow what changed.
const GAUGES: Duration = Duration::from_secs(1);

/// How often the want of media ports is told.
const PORTS_ALARM: Duration = Duration::from_secs(60);

/// How long `limits::STRANGERS_TOLD` counts.
const STRANGERS: Duration = Duration::from_secs(60);

/// Gauges with names from the configuration.
pub(super) struct Gauges {
    pools: Vec<(String, PoolGauges)>,
    targets: Vec<(String, String, TargetGauge)>,
}

impl Gauges {
    pub fn new(metrics: &Metrics, config: &Config) -> Self {
        let pools = config.pools.iter().map(|pool| (pool.name.to_string(), metrics.pool(&pool.name))).collect();
        let targets =
            config.trunks.iter().flat_map(|trunk| trunk.targets.iter().map(move |target| (&trunk.name, &target.uri)));
        let targets =
            targets.map(|(trunk, uri)| (trunk.to_string(), uri.to_string(), metrics.trunk_target(trunk, uri)));
        Self { pools, targets: targets.collect() }
    }

    /// The gauges of another configuration; those it has no more are no longer shown.
    pub fn renewed(&self, metrics: &Metrics, config: &Config) -> Self {
        for (pool, _) in
            self.pools.iter().filter(|(name, _)| !config.pools.iter().any(|pool| pool.name == name.as_str()))
        {
            metrics.forget_pool(pool);
        }
        let is_kept = |trunk: &str, uri: &str| {
            config.trunks.iter().any(|kept| kept.name == trunk && kept.targets.iter().any(|target| target.uri == uri))
        };
        for (trunk, uri, _) in self.targets.iter().filter(|(trunk, uri, _)| !is_kept(trunk, uri)) {
            metrics.forget_trunk_target(trunk, uri);
        }
        for trunk in config.trunks.iter().filter(|trunk| !trunk.register) {
            metrics.trunk_registered(&trunk.name, None);
        }
        for (gone, _, _) in
            self.targets.iter().filter(|(name, _, _)| !config.trunks.iter().any(|trunk| trunk.name == name.as_str()))
        {
            metrics.trunk_registered(gone, None);
        }
        Self::new(metrics, config)
    }
}

/// How many were told of in the minute that began then.
#[derive(Default)]
pub(super) struct Strangers(Option<(Instant, usize)>);

impl Strangers {
    fn admit(&mut self, now: Instant) -> bool {
        let (since, count) = self.0.filter(|(since, _)| now.since(*since) < STRANGERS).unwrap_or((now, 0));
        self.0 = Some((since, count.saturating_add(1)));
        count < limits::STRANGERS_TOLD
    }
}

impl Node {
    pub(super) fn tell_reports(&mut self) {
        for report in self.calls.take_reports() {
            self.gauges_due.get_or_insert(self.now + GAUGES);
            self.tell(report);
        }
    }

    pub(super) fn tell_trunks(&mut self) {
        for trunk::Change { target, from, to } in self.trunks.take_changes() {
            self.gauges_due.get_or_insert(self.now);
            let Some(target) = self.trunks.target(target) else { continue };
            let uri = &target.config.uri;
            let pbx = || match target.whose {
                trunk::Whose::Pbx(pbx) => self.config.pbx(pbx).map(|pbx| pbx.name.as_str()),
                trunk::Whose::Trunk(_) => None,
            };
            let trunk = target.trunk().and_then(|trunk| self.config.trunk(trunk)).map(|trunk| trunk.name.as_str());
            let trunk = trunk.or_else(pbx).unwrap_or_default();
            match to {
                trunk::State::Down => tracing::warn!(trunk, target = %uri, ?from, "trunk target does not answer"),
                trunk::State::Up | trunk::State::Unknown => {
                    tracing::info!(trunk, target = %uri, ?from, "trunk target answers");
                }
            }
        }
    }

    fn tell(&mut self, report: Report) {
        match report {
            Report::Started { kind } => self.metrics.call_started(kind),
            Report::Sent { started, sent } => self.metrics.setup_seconds(sent.since(started)),
            Report::Refused { kind, dialled, refusal, source, told } => {
                self.count_refused(kind, &dialled, &refusal, source);
                if let Some(told) = told {
                    self.refused(&told, &refusal);
                }
            }
            Report::Mended { kind, fault, source } => {
                tracing::warn!(kind = %kind, fault, %source, "a malformed session description was put right: the call goes on");
            }
            Report::Ended { history, outcome, status, ended_at } => self.ended(&history, outcome, status, ended_at),
            Report::VolatileGrant { number, why } => {
                tracing::error!(number = %Private(number), ?why, "emergency call on a lease that is only in memory");
                if why == lease::Overdue::Deadline {
                    self.store_stalls();
                }
            }
            Report::PoolLow { pool, level, free, capacity } => self.pool_low(&pool, level, free, capacity),
            Report::PoolExhausted { number, kind } => {
                tracing::error!(number = %Private(number), kind = kind.as_str(), "pools exhausted: call goes out on a number of last resort");
                self.pool_exhausted(number, kind);
            }
            Report::Rerouted { note } => {
                self.metrics.rerouted();
                tracing::warn!(%note, "an emergency call goes by another route: there is none of its own");
            }
            Report::Dialled(dialled) => self.notify_dialled(&dialled),
            Report::CalledBack { history } => {
                if history.shared {
                    tracing::warn!(id = %history.id, "callback to a shared number: it rings the most recent caller, who may be another than is meant");
                }
                self.notify_call(NoticeEvent::CallbackReceived, &history, None);
            }
            Report::RoundFailed { history } => {
                self.metrics.trunks_failed();
                let (id, dialled) = (&history.id, &history.dialled);
                tracing::error!(%id, %dialled, "every trunk has failed an emergency call: they are tried again while the caller holds on");
                self.notify_call(NoticeEvent::AllTrunksFailed, &history, None);
            }
            Report::Silent { kind, is_caller, missed_refresh } => {
                let party = if is_caller { "caller" } else { "called" };
                tracing::warn!(kind = %kind, party, missed_refresh, "a party does not answer: the call stays up while the other does");
            }
            Report::PortsShort { is_ipv4 } => self.ports_short(is_ipv4),
            Report::NotConverted { id, kind } => self.not_converted(&id, kind),
            Report::NoMedia { id, kind, is_caller, stream, silent } => {
                let party = if is_caller { "caller" } else { "called" };
                let seconds = silent.as_secs();
                tracing::warn!(%id, kind = %kind, party, ?stream, seconds, "nothing is heard of a party: the call stays up");
            }
            Report::StrangeMedia { id, kind, is_caller, stream } => {
                let party = if is_caller { "caller" } else { "called" };
                tracing::warn!(%id, kind = %kind, party, ?stream, "media comes from another place than a party's own: it is not let in");
            }
            Report::DirectFailed { history, to } => {
                self.metrics.call_turned(history.kind, to);
                self.metrics.trunks_failed();
                let dialled = &history.dialled;
                tracing::error!(%dialled, "no trunk of the direct route took the call: the emergency service does");
                self.notify_call(NoticeEvent::AllTrunksFailed, &history, None);
            }
            Report::LocationError { trunk, code } => {
                tracing::warn!(%trunk, code, "the trunk could not make use of the caller's location");
            }
            Report::NoPath { dialled } => tracing::error!(%dialled, "no trunk took an emergency call"),
        }
    }

    /// An emergency call that nobody can read is refused, and not in silence (SPEC §10).
    pub(super) fn tell_malformed(&self, request: &Message, status: u16, fault: Fault, source: Flow) {
        let is_emergency = self.countries.is_emergency(request.request_uri(), geo::Wishes::default());
        let kind = if is_emergency { Kind::Emergency } else { Kind::Test };
        let uri = request.request_uri();
        let dialled = String::from_utf8_lossy(uri.get(..limits::KEPT_VALUE_BYTES).unwrap_or(uri));
        self.count_refused(kind, &dialled, &Refusal::warn(status, fault.to_string()), source);
    }

    fn count_refused(&self, kind: Kind, dialled: &str, refusal: &Refusal, source: Flow) {
        self.metrics.call_refused(kind);
        if kind == Kind::Callback {
            self.metrics.callback(Outcome::Refused);
        }
        let why = refusal.warning.as_deref().unwrap_or_default();
        match kind {
            Kind::Emergency | Kind::Test | Kind::Callback => {
                tracing::warn!(kind = %kind, %dialled, status = refusal.status, %source, why, "call refused");
            }
            Kind::Internal | Kind::Outbound | Kind::Inbound => {
                tracing::info!(kind = %kind, status = refusal.status, %source, why, "call refused");
            }
        }
    }

    /// Alarms of pools, once each crossing.
    pub(super) fn tell_pools(&mut self) {
        for alarm in self.leases.take_alarms() {
            let lease::PoolAlarm { pool, level, free, capacity } = alarm;
            self.tell(Report::PoolLow { pool, level, free, capacity });
        }
    }

    fn pool_low(&mut self, pool: &str, level: lease::Level, free: u64, capacity: u64) {
        match level {
            lease::Level::Empty => tracing::error!(pool, capacity, "no number of the pool is free"),
            lease::Level::Low => tracing::warn!(pool, free, capacity, "the pool is low: a fifth or less is free"),
            lease::Level::Enough => tracing::info!(pool, free, capacity, "the pool has enough numbers again"),
        }
        self.metrics.pool_level(pool, level);
        let detail = format!("pool {pool} is {}: {free} of {capacity} numbers are free", level.as_str());
        // Each crossing by itself: one that the webhook refuses holds up no later one.
        let about = format_compact!("pool-{pool}-{}-{:x}", level.as_str(), self.now.as_millis());
        self.notify_fact(NoticeEvent::PoolLow, &about, &detail);
    }

    fn pool_exhausted(&mut self, number: E164, kind: lease::Kind) {
        let about = format_compact!("pool-{number}-{:x}", self.now.as_millis());
        let detail = format!("a call goes out on {number} ({})", kind.as_str());
        self.notify_fact(NoticeEvent::PoolExhausted, &about, &detail);
        if kind == lease::Kind::Overflow && self.config.user_by_number(number).is_some() {
            tracing::error!(number = %Private(number), "emergency call on a number that a user has: nothing else is left");
        }
    }

    fn not_converted(&self, id: &str, kind: Kind) {
        self.metrics.not_converted();
        tracing::error!(%id, kind = %kind, "media of a browser cannot be converted without rtpengine: nothing is heard");
    }

    /// An alarm a minute; the metric counts them all.
    fn ports_short(&mut self, is_ipv4: bool) {
        self.metrics.ports_short();
        if self.ports_alarm.is_none_or(|last| self.now.since(last) >= PORTS_ALARM) {
            self.ports_alarm = Some(self.now);
            let family = if is_ipv4 { "IPv4" } else { "IPv6" };
            tracing::error!(family, "no media port is free: media goes between the parties");
        }
    }

    fn ended(&mut self, history: &History, outcome: Outcome, status: u16, ended_at: Instant) {
        self.metrics.call_ended(history.kind, outcome);
        if history.kind == Kind::Callback {
            self.metrics.callback(outcome);
        }
        let incident = self.incident_of(history);
        let record = record_of(history, outcome, status, stamp(ended_at, self.wall_offset_ms), self.wall_offset_ms);
        let user = history.user.as_ref().map(Private);
        let number = history.number.map(Private);
        let seconds = ended_at.since(history.started_at).as_secs();
        self.keep_record(Record { incident_id: incident, ..record });
        tracing::info!(id = %history.id, kind = %history.kind, test = history.test, ?user, ?number, outcome = %outcome, status, seconds, "call ended");
        self.notify_ended(history, outcome, status);
    }

    /// An emergency call, a test, or a callback, that came to nothing at once. Of people nobody knows, and of tests, only so many are
    /// told of: they can be as many as somebody likes.
    fn refused(&mut self, told: &Dialled, refusal: &Refusal) {
        let history = &told.history;
        let is_test = history.kind == Kind::Test;
        let admitted = match is_test {
            true => self.tests_refused.admit(self.now),
            false => history.user.is_some() || self.strangers.admit(self.now),
        };
        if !admitted {
            return;
        }
        let now = stamp(self.now, self.wall_offset_ms);
        let record = record_of(history, Outcome::Refused, refusal.status, now, self.wall_offset_ms);
        let reason = refusal.warning.as_deref();
        self.keep_record(Record { reason: reason.map(CompactString::from), ..record });
        // Of a test nobody on site need know before there is somebody in danger.
        if !is_test {
            self.notify_refused(told, refusal.status, reason);
        }
    }

    fn keep_record(&mut self, record: Record) {
        if self.records.len() >= limits::RECORDS_KEPT {
            self.records.pop_front();
        }
        let record = Arc::new(record);
        self.hand_over(vec![Row::Record(Arc::clone(&record))], false, Vec::new());
        self.records.push_back(record);
    }

    /// A callback belongs to the incident of the call it answers.
    fn incident_of(&self, history: &History) -> Option<CompactString> {
        let number = history.number.filter(|_| history.kind == Kind::Callback && history.incident_id.is_none());
        let Some(number) = number else { return history.incident_id.clone() };
        let told = |record: &&Arc<Record>| record.call.number == Some(number) && record.incident_id.is_some();
        let ended = || self.records.iter().rev().find(told).and_then(|record| record.incident_id.clone());
        self.calls.incident_of(number).or_else(ended)
    }

    pub(super) fn set_gauges(&self) {
        self.metrics.registrations(self.registrar.len());
        for (status, (_, gauges)) in self.leases.pools().zip(&self.gauges.pools) {
            let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            gauges.set(count(status.active), count(status.held), count(status.quarantined), count(status.free));
        }
        for trunk in self.trunks.views() {
            if let Some((standing, _)) = trunk.registration {
                let is_registered = matches!(standing, trunk::Standing::Registered { .. });
                self.metrics.trunk_registered(trunk.name, Some(is_registered));
            }
        }
        let targets = self.trunks.views();
        let states = targets.flat_map(|trunk| trunk.targets.into_iter().map(|target| target.state));
        for (state, (_, _, gauge)) in states.zip(&self.gauges.targets) {
            gauge.set(state == trunk::State::Up);
        }
    }
}
