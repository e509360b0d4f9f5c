//! The composition of all floors into one pure state machine: input and time go in, outputs come out.
//!
//! `handle` or `handle_timeout`, then `poll_output` until `None`, then sleep until `poll_timeout`. No sockets, files, clocks,
//! randomness, tasks or locks: the shell has those, and the simulator has others.

mod connections;
mod deadlines;
mod dispatch;
mod errands;
pub mod io;
mod keepalive;
mod media;
mod notices;
mod notify;
mod persist;
mod recall;
mod register;
mod report;
pub mod rows;
mod views;
mod wake;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub use io::{Hook, Input, Output, QueryId, Why};
pub use recall::Remembered;
pub use rows::{Row, StoreFault, StoreSin, WriteId};

use crate::admin::{Metrics, Notice, Record};
use crate::base::{E164, Instant, Rng};
use crate::call::{Calls, GrantId, Parts, Trace};
use crate::config::Config;
use crate::geo::{self, Countries};
use crate::lease::{self, Elsewhere, ElsewhereNews, Leases};
use crate::registrar::{self, Auth, Registrar};
use crate::transaction::{Timers, Transactions};
use crate::transport::{Outbox, Streams};
use crate::trunk::Trunks;
use crate::ua::{self, Local, Owner, Ua};

/// What the node wakes up with.
pub struct Boot {
    pub now: Instant,
    /// Randomness for everything the node makes up.
    pub seed: [u8; 32],
    /// Wall clock minus node clock, in milliseconds.
    pub wall_offset_ms: i64,
    pub leases: Vec<lease::Row>,
    pub bindings: Vec<registrar::Row>,
    /// Oldest first.
    pub records: Vec<Record>,
    /// In any order.
    pub notices: Vec<Notice>,
}

/// The daemon without its shell.
pub struct Node {
    config: Arc<Config>,
    now: Instant,
    wall_offset_ms: i64,
    rng: Rng,
    draining: bool,
    trace: Trace,

    streams: Streams,
    transactions: Transactions<Owner>,
    ua: Ua,
    calls: Calls,
    leases: Leases,
    elsewhere: Elsewhere,
    /// Of the numbers of the pools, those of this node; `None`: all.
    share: Option<Vec<RangeInclusive<E164>>>,
    trunks: Trunks,
    registrar: Registrar,
    auth: Auth,
    countries: Countries,
    geography: Option<Arc<geo::Database>>,

    /// Newest last.
    records: VecDeque<Arc<Record>>,
    /// Writes that calls wait for -> since when, and which of them.
    writes: BTreeMap<WriteId, (Instant, Vec<GrantId>)>,
    last_write: u64,
    confirmations: register::Confirmations,
    keep_alive: keepalive::Round,
    errands: errands::Errands,
    metrics: Metrics,
    gauges: report::Gauges,
    /// When the gauges are brought up to date next; `None`: they are.
    gauges_due: Option<Instant>,
    /// Since when the store fails.
    store_fails: Option<Instant>,
    /// False while nobody knows what was leased before the start.
    knows_leases: bool,
    notices: notices::Notices,
    /// When the want of media ports was told last.
    ports_alarm: Option<Instant>,
    strangers: report::Strangers,
    tests_refused: report::Strangers,

    outbox: Outbox,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that remembers what the store kept. Leases, quarantine and bindings are back before the first message is handled.
    pub fn new(config: Arc<Config>, boot: Boot, metrics: Metrics) -> Self {
        let Boot { now, seed, wall_offset_ms, leases: mut lease_rows, mut bindings, records, notices } = boot;
        rows::find_listeners(&config, lease_rows.iter_mut(), &mut bindings);
        let mut rng = Rng::from_seed(seed);
        let pools: Vec<_> = config.pools.iter().map(lease::Pool::from).collect();
        let mut leases = Leases::new(&pools, lease_settings(&config));
        leases.load(lease_rows, now);
        let mut secret = [0; 64];
        rng.fill(&mut secret);
        let mut registrar = Registrar::new(registrar_settings(&config)).with_gruus(secret);
        registrar.load(bindings, now);
        let timers = Timers { t1: config.timers.t1, t2: config.timers.t2, t4: config.timers.t4 };
        let mut node = Self {
            now,
            wall_offset_ms,
            draining: false,
            trace: Trace::default(),
            streams: Streams::new(
                config.listeners.iter().map(|listener| (listener.protocol, listener.address)).collect(),
            ),
            transactions: Transactions::new(timers),
            ua: Ua::new(ua_settings(&config)),
            calls: Calls::new(),
            leases,
            elsewhere: Elsewhere::default(),
            share: None,
            trunks: Trunks::new(Arc::clone(&config), now),
            registrar,
            auth: Auth::new(&config, &mut rng),
            countries: Countries::new(&config),
            geography: None,
            records: records.into_iter().map(Arc::new).collect(),
            writes: BTreeMap::new(),
            last_write: 0,
            confirmations: register::Confirmations::default(),
            keep_alive: keepalive::Round::after(now, config.registrar.options_interval),
            errands: errands::Errands::default(),
            gauges: report::Gauges::new(&metrics, &config),
            gauges_due: Some(now),
            store_fails: None,
            knows_leases: true,
            notices: notices::Notices::new(notices, now),
            ports_alarm: None,
            strangers: report::Strangers::default(),
            tests_refused: report::Strangers::default(),
            metrics,
            outbox: Outbox::new(),
            outputs: VecDeque::new(),
            rng,
            config,
        };
        node.tell_accounts();
        node.calls.set_rtpengine(now, Some(&node.config));
        node.settle();
        node
    }

    /// Takes one input at `now`, which never goes back.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Datagram { listener, remote, bytes } => self.datagram(listener, remote, bytes),
            Input::Accepted { connection, listener, remote, identities } => {
                self.accepted(connection, listener, remote, identities);
            }
            Input::Connected { connection } => self.streams.connected(self.now, connection),
            Input::Failed { connection, reason } => self.failed(connection, &reason),
            Input::Stream { connection, bytes } => self.stream(connection, &bytes),
            Input::Frame { connection, bytes } => self.frame(connection, bytes),
            Input::Closed { connection } => self.closed(connection),
            Input::Unreachable { listener, remote } => {
                let events = self.transactions.unreachable(self.now, listener, remote);
                events.into_iter().for_each(|event| self.transaction_event(event));
            }
            Input::Stored { write, result } => self.stored(write, &result),
            Input::Store(result) => self.store_fares(&result),
            Input::Remembered(remembered) => self.recall(*remembered),
            Input::Resolved { query, found } => {
                self.trunks.resolved(crate::trunk::QueryId(query.0), &found, self.now);
                self.tell_places();
            }
            Input::Media(news) => self.media_news(news),
            Input::Posted { hook: Hook::Notify, post, result } => self.notified(post, &result),
            Input::Posted { hook: Hook::Wake, post, result } => self.woken(post, &result),
            Input::Ng { from, bytes } => self.rtpengine_sent(from, &bytes),
            Input::Wall { offset_ms } => self.wall_offset_ms = offset_ms,
            Input::Geography(database) => self.geography = database,
            Input::Reload(config) => self.reload(config),
            Input::Share(share) => {
                self.share = Some(share);
                self.leases.reload(&self.pools(), lease_settings(&self.config));
                self.gauges_due.get_or_insert(self.now);
            }
            Input::Elsewhere(news) => self.learn(news),
            Input::Drain => {
                self.draining = true;
                self.registrar.flush_prolonged();
            }
        }
        self.settle();
    }

    /// What the shell has to do next; call until `None` after every `handle` and `handle_timeout`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// True when a drain was asked for and no call is up any more.
    pub fn is_drained(&self) -> bool {
        self.draining && self.calls.is_empty() && self.trunks.has_left()
    }

    /// From now on what decides about calls is noted, in words; see [`Node::take_notes`].
    pub fn explain(&mut self) {
        self.trace = Trace::on();
        self.calls.set_rtpengine(self.now, None);
    }

    /// What decided since the last time, in its order.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.trace.take()
    }

    /// Nothing is alive but bindings, leases and connections: no call, leg or transaction.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.ua.is_empty() && self.transactions.is_empty()
    }

    /// Calls, legs and transactions alive, for invariants and benchmarks.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.calls.len(), self.ua.len(), self.transactions.len())
    }

    /// Takes another configuration. Calls, leases and bindings stay; listeners, store and timers are those of the start.
    fn reload(&mut self, config: Arc<Config>) {
        let was = std::mem::replace(&mut self.config, Arc::clone(&config));
        self.calls.reload(&was, &config);
        self.calls.relay_at(&was.media, &config.media);
        self.leases.reload(&self.pools(), lease_settings(&config));
        self.trunks.reload(Arc::clone(&config), self.now);
        self.tell_accounts();
        self.registrar.set_settings(registrar_settings(&config));
        self.auth.reload(&config);
        if was.registrar.options_interval != config.registrar.options_interval {
            self.keep_alive = keepalive::Round::after(self.now, config.registrar.options_interval);
        }
        self.countries = Countries::new(&config);
        self.gauges = self.gauges.renewed(&self.metrics, &config);
        self.calls.set_rtpengine(self.now, Some(&self.config));
        self.gauges_due.get_or_insert(self.now);
        tracing::info!(users = config.users.len(), trunks = config.trunks.len(), "configuration reloaded");
    }

    fn learn(&mut self, mut news: ElsewhereNews) {
        for node in &news.nodes {
            let is_known = self.elsewhere.running().any(|running| running.name == node.name);
            match (is_known, node.is_running) {
                (false, true) => tracing::info!(node = %node.name, "another node runs"),
                (true, false) => tracing::warn!(node = %node.name, "another node has not been seen for a while"),
                (true, true) | (false, false) => {}
            }
        }
        rows::find_listeners(&self.config, news.rows.iter_mut().map(|(_, row)| row), &mut []);
        for (_, row) in &news.rows {
            if let lease::Row::Lease(lease) = row
                && lease.kind == lease::Kind::Pooled
            {
                self.leases.promised(lease.number, &lease.user, lease.expires);
            }
        }
        self.elsewhere.learn(self.now, self.config.lease.quarantine, news);
    }

    /// The pools, as far as their numbers are this node's.
    fn pools(&self) -> Vec<lease::Pool> {
        let pools = self.config.pools.iter().map(lease::Pool::from);
        match &self.share {
            None => pools.collect(),
            Some(share) => pools.map(|pool| pool.within(share)).collect(),
        }
    }

    /// Accounts at trunks, and where those are: nobody else gets an answer to a challenge (CONFORMANCE AU-3).
    fn tell_accounts(&mut self) {
        let config = Arc::clone(&self.config);
        self.ua.accounts().reload(&config);
        self.tell_places();
    }

    fn tell_places(&mut self) {
        for (_, trunk) in self.config.trunks.iter().zip(0..) {
            let trunk = crate::config::TrunkIdx(trunk);
            let targets = self.trunks.targets_of(trunk).iter().filter_map(|id| self.trunks.target(*id));
            self.ua.accounts().set_places(trunk, targets.flat_map(|target| target.known().map(|place| place.remote)));
        }
    }

    /// The calls, and everything they act on.
    fn parts(&mut self) -> (&mut Calls, Parts<'_>) {
        let Self {
            now,
            rng,
            transactions,
            streams,
            outbox,
            ua,
            config,
            countries,
            geography,
            leases,
            elsewhere,
            trunks,
            registrar,
            auth,
            trace,
            ..
        } = self;
        let context = ua::Context { now: *now, rng, transactions, streams, out: outbox };
        let (draining, knows_leases, wall_offset_ms) = (self.draining, self.knows_leases, self.wall_offset_ms);
        let geography = geography.as_deref();
        let parts = Parts {
            context,
            ua,
            config,
            countries,
            geography,
            leases,
            elsewhere,
            trunks,
            registrar,
            auth,
            draining,
            knows_leases,
            trace,
            wall_offset_ms,
        };
        (&mut self.calls, parts)
    }

    /// Lets everything that an input set off run to its end, and turns it into outputs.
    fn settle(&mut self) {
        self.events();
        if self.draining && !self.trunks.has_left() {
            self.register_at_trunks();
        }
        while !self.connect() {
            self.events();
        }
        self.settle_media();
        self.tell_reports();
        self.tell_trunks();
        self.tell_webhook();
        self.wake_phones();
        self.persist();
        self.resolve();
        self.send();
    }
}

fn lease_settings(config: &Config) -> lease::Settings {
    lease::Settings { window: config.lease.window, quarantine: config.lease.quarantine }
}

fn registrar_settings(config: &Config) -> registrar::Settings {
    let keys = &config.registrar;
    registrar::Settings {
        min_expires: keys.min_expires,
        max_expires: keys.max_expires,
        default_expires: keys.default_expires,
    }
}

fn ua_settings(config: &Config) -> ua::Settings {
    let local = |listener: &crate::config::Listener| {
        let host = listener.advertise_host.to_string();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        Local {
            protocol: listener.protocol,
            address: bare.parse().unwrap_or_else(|_| listener.address.ip()),
            port: listener.advertise_port.unwrap_or(listener.address.port()),
            host,
        }
    };
    ua::Settings {
        t1: config.timers.t1,
        t2: config.timers.t2,
        session: crate::dialog::Terms {
            interval: u32::try_from(config.sip.session_expires.as_secs()).unwrap_or(0),
            min_se: u32::try_from(config.sip.min_se.as_secs()).unwrap_or(0),
        },
        product: config.sip.user_agent.to_string(),
        locals: config.listeners.iter().map(local).collect(),
    }
}

#[cfg(test)]
mod tests;
