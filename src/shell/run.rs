//! The run loop: one thread that receives, lets the node decide, and sends, without a hand-over.
//!
//! Every round takes a bounded number of inputs from every source, performs the outputs of each, sends the datagrams
//! in batches, and only then waits. No source can keep another waiting for longer than a round.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, Sleep};

use super::clock::NodeClock;
use super::connections::Connections;
use super::dns::Resolver;
use super::events::Event;
use super::http::Ask;
use super::media::MediaPlane;
use super::ng::Ng;
use super::post::Posts;
use super::store::{Done, Store};
use super::tls::Material;
use super::udp::UdpListener;
use super::{mmsg, reload};
use crate::admin::{Answer, Dropped, Metrics, Query};
use crate::base::limits;
use crate::config::Config;
use crate::node::{Input, Node, Output};

/// Most events taken in one round.
const ROUND: usize = 64;
/// How often the wall clock is compared with the node clock.
const WALL: Duration = Duration::from_secs(5);
/// How soon datagrams are tried again that a full kernel buffer did not take.
const FULL_BUFFER: Duration = Duration::from_millis(1);
/// Between the last output of the node and the end of the process.
const LAST_WRITES: Duration = Duration::from_millis(50);
/// How often certificates are looked at; at the start and with each configuration they are too.
const CERTIFICATES: Duration = Duration::from_secs(24 * 3600);
/// How often files that cannot be used are read again.
const REREAD: Duration = Duration::from_secs(15);
/// A difference worth telling the node, in milliseconds.
const WALL_STEP_MS: u64 = 50;

/// Above this many datagrams a second the loop lets a few arrive before it takes them: waking for each of them would cost
/// more than their work. A datagram then waits for at most `COALESCE`.
const COALESCE_ABOVE: u32 = 2000;
const COALESCE: Duration = Duration::from_millis(2);
/// Over which time the rate is taken.
const PACE: Duration = Duration::from_millis(10);

/// Everything the loop owns.
pub struct Loop {
    pub node: Node,
    pub clock: NodeClock,
    pub store: Store,
    pub config: Arc<Config>,
    pub config_path: PathBuf,
    /// By `ListenerId`; `None` for streams.
    pub udp: Vec<Option<UdpListener>>,
    pub connections: Connections,
    pub resolver: Resolver,
    pub media: MediaPlane,
    pub posts: Posts,
    pub ng: Ng,
    pub metrics: Metrics,
    pub sender: mpsc::Sender<Event>,
    pub events: mpsc::Receiver<Event>,
    pub written: mpsc::Receiver<Done>,
    pub asks: mpsc::Receiver<Ask>,
}

/// What only the running loop needs.
struct Running {
    batch: mmsg::Inbound,
    /// Inputs made while performing outputs: taken in the next round.
    own: VecDeque<Input>,
    pace: Pace,
    sleep: std::pin::Pin<Box<Sleep>>,
    wall: Interval,
    wall_offset_ms: i64,
    certificates_due: Instant,
    /// When files that cannot be used are read again; `None` while they are.
    reread_due: Option<Instant>,
    stop: Stop,
    /// When a drain ends, whoever is still talking.
    drained_by: Option<Instant>,
    has_store: bool,
}

/// How many datagrams arrive.
struct Pace {
    since: crate::base::Instant,
    count: u32,
    is_fast: bool,
}

impl Pace {
    fn count(&mut self, datagrams: usize) {
        self.count = self.count.saturating_add(u32::try_from(datagrams).unwrap_or(u32::MAX));
    }

    fn tick(&mut self, now: crate::base::Instant) {
        let elapsed = now.since(self.since);
        if elapsed >= PACE {
            self.is_fast = f64::from(self.count) > f64::from(COALESCE_ABOVE) * elapsed.as_secs_f64();
            self.since = now;
            self.count = 0;
        }
    }
}

impl Running {
    /// Lets the connections and the reactor have their turn; hears what may not wait until a flood is over.
    async fn pass(&mut self) -> Woken {
        let Stop { terminate, interrupt } = &mut self.stop;
        tokio::select! {
            biased;
            _ = terminate.recv() => Woken::Stop,
            _ = interrupt.recv() => Woken::Stop,
            _ = self.wall.tick() => Woken::Wall,
            () = tokio::task::yield_now() => Woken::Round,
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

/// What ended a wait.
enum Woken {
    /// Datagrams, a deadline of the node, or nothing in particular: the round will see.
    Round,
    Event(Event),
    Written(Done),
    StoreLost,
    Ask(Ask),
    Wall,
    Stop,
}

impl Loop {
    /// Runs until a signal ended it and the calls are over, or `[node] drain` is.
    pub async fn run(mut self) -> std::io::Result<()> {
        let stop = Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        reload::on_hangup(self.config_path.clone(), self.sender.clone())?;
        let mut running = Running {
            batch: mmsg::Inbound::default(),
            own: VecDeque::from([Input::Wall { offset_ms: self.clock.wall_offset_ms() }]),
            pace: Pace { since: self.clock.now(), count: 0, is_fast: false },
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            wall: tokio::time::interval(WALL),
            wall_offset_ms: self.clock.wall_offset_ms(),
            certificates_due: Instant::now() + CERTIFICATES,
            reread_due: Some(Instant::now()),
            stop,
            drained_by: None,
            has_store: true,
        };
        loop {
            let is_busy = self.round(&mut running);
            if self.is_over(&running) {
                // What was sent last is with the connections, which write it now.
                tokio::time::sleep(LAST_WRITES).await;
                return Ok(());
            }
            if running.pace.is_fast && !is_busy {
                // Not an await: nothing this thread serves has anything to do meanwhile, and the timer of the runtime
                // is too coarse.
                std::thread::sleep(COALESCE);
            }
            let woken = if is_busy { running.pass().await } else { self.wait(&mut running).await };
            if self.woken(&mut running, woken) {
                return Ok(());
            }
        }
    }

    /// Takes what is there, a bounded number from each source; true when there may be more.
    fn round(&mut self, running: &mut Running) -> bool {
        let mut is_busy = false;
        for _ in 0..running.own.len() {
            let Some(input) = running.own.pop_front() else { break };
            self.handle(running, input);
        }
        for at in 0..self.udp.len() {
            let Some(Some(listener)) = self.udp.get(at) else { continue };
            let (id, count) = (listener.id(), listener.receive(&mut running.batch));
            is_busy |= count == mmsg::BATCH;
            running.pace.count(count);
            for at in 0..count {
                if let Some((remote, bytes)) = running.batch.datagram(at) {
                    self.handle(running, Input::Datagram { listener: id, remote, bytes });
                }
            }
        }
        is_busy |= self.take(running);
        let now = self.clock.now();
        running.pace.tick(now);
        if self.node.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
            self.node.handle_timeout(now);
            self.perform(running);
        }
        for listener in self.udp.iter_mut().flatten() {
            listener.flush(&self.metrics, |input| running.own.push_back(input));
        }
        is_busy || !running.own.is_empty()
    }

    /// Takes what waits in the channels; true when there may be more.
    fn take(&mut self, running: &mut Running) -> bool {
        let mut left = ROUND;
        while left > 0
            && let Ok(done) = self.written.try_recv()
        {
            self.written(running, done);
            left -= 1;
        }
        while left > 0
            && let Ok(event) = self.events.try_recv()
        {
            self.event(running, event);
            left -= 1;
        }
        // One question a round: a page of a listing costs as much as twenty messages.
        if let Ok(ask) = self.asks.try_recv() {
            self.answer(ask);
        }
        left == 0
    }

    async fn wait(&mut self, running: &mut Running) -> Woken {
        let deadline = self.node.poll_timeout().map(|(deadline, _)| self.clock.to_monotonic(deadline).into());
        if let Some(deadline) = deadline
            && running.sleep.deadline() != deadline
        {
            running.sleep.as_mut().reset(deadline);
        }
        let udp = &self.udp;
        let is_stuck = udp.iter().flatten().any(UdpListener::is_stuck);
        let Stop { terminate, interrupt } = &mut running.stop;
        tokio::select! {
            biased;
            // First what is rare: a socket that is always ready must not hide it.
            _ = terminate.recv() => Woken::Stop,
            _ = interrupt.recv() => Woken::Stop,
            _ = running.wall.tick() => Woken::Wall,
            () = poll_fn(|context| poll_udp(udp, context)) => Woken::Round,
            done = self.written.recv(), if running.has_store => done.map_or(Woken::StoreLost, Woken::Written),
            Some(event) = self.events.recv() => Woken::Event(event),
            () = &mut running.sleep, if deadline.is_some() => Woken::Round,
            () = tokio::time::sleep(FULL_BUFFER), if is_stuck => Woken::Round,
            Some(ask) = self.asks.recv() => Woken::Ask(ask),
            () = sleep_until(running.drained_by) => Woken::Round,
        }
    }

    /// True when the process is to end at once.
    fn woken(&mut self, running: &mut Running, woken: Woken) -> bool {
        match woken {
            Woken::Round => {}
            Woken::Event(event) => self.event(running, event),
            Woken::Written(done) => self.written(running, done),
            Woken::StoreLost => {
                running.has_store = false;
                tracing::error!("the store has ended: calls go on, leases live in memory only. Restart soon");
            }
            Woken::Ask(ask) => self.answer(ask),
            Woken::Wall => {
                self.compare_clocks(running);
                if running.certificates_due <= Instant::now() {
                    running.certificates_due += CERTIFICATES;
                    self.connections.warn_of_certificates();
                }
                let is_due = running.reread_due.is_some_and(|due| due <= Instant::now());
                if is_due && !self.connections.unusable().is_empty() {
                    running.reread_due = None;
                    reload::reread(Arc::clone(&self.config), self.sender.clone());
                }
            }
            Woken::Stop if running.drained_by.is_some() => {
                tracing::warn!("stopped at once by a second signal");
                return true;
            }
            Woken::Stop => {
                let drain = self.config.node.drain;
                tracing::info!(drain_s = drain.as_secs(), "stopping: waiting for calls to end");
                running.drained_by = Some(Instant::now() + drain);
                self.handle(running, Input::Drain);
            }
        }
        false
    }

    fn is_over(&self, running: &Running) -> bool {
        let Some(by) = running.drained_by else { return false };
        if self.node.is_drained() {
            tracing::info!("stopped: all calls are over");
            return true;
        }
        let is_late = Instant::now() >= by;
        if is_late {
            tracing::warn!("stopped with calls still up: [node] drain has passed");
        }
        is_late
    }

    fn handle(&mut self, running: &mut Running, input: Input) {
        self.node.handle(self.clock.now(), input);
        self.perform(running);
    }

    /// Performs everything the node wants. Datagrams are queued; the end of the round sends them.
    fn perform(&mut self, running: &mut Running) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let flow = transmit.flow;
                    if let Some(connection) = flow.connection {
                        self.connections.send(connection, transmit.bytes);
                    } else if let Some(Some(listener)) = self.udp.get_mut(usize::from(flow.listener.0)) {
                        listener.send(flow.remote, transmit.bytes, &self.metrics);
                    } else {
                        tracing::error!(%flow, "the node sent to a stream without a connection");
                    }
                }
                Output::Connect { connection, protocol, listener, remote, peer } => {
                    self.connections.connect(connection, protocol, listener, remote, peer.as_ref());
                }
                Output::Close { connection } => self.connections.close(connection),
                Output::Persist { write, rows, urgent } => {
                    if let Err(fault) = self.store.submit(write, rows, urgent) {
                        running.own.push_back(Input::Stored { write, result: Err(fault) });
                    }
                }
                Output::Resolve { query, question } => self.resolver.resolve(query, question),
                Output::Media(order) => self.media.order(order),
                Output::Post { hook, post, body } => {
                    if let Err(reason) = self.posts.post(hook, post, body) {
                        running.own.push_back(Input::Posted { hook, post, result: Err(reason) });
                    }
                }
                Output::Ng { to, bytes } => self.ng.send(to, &bytes),
            }
        }
        if !self.media.flush() {
            self.metrics.dropped(Dropped::Media);
            tracing::error!("the relay of media takes no orders: calls go on without sound. Restart soon");
        }
    }

    fn event(&mut self, running: &mut Running, event: Event) {
        match event {
            Event::Input(input) => {
                if let Input::Closed { connection } | Input::Failed { connection, .. } = &input {
                    self.connections.closed(*connection);
                }
                self.handle(running, input);
            }
            Event::Accepted(accepted) => {
                let input = self.connections.accepted(accepted);
                self.handle(running, input);
            }
            Event::Reread(material) => {
                running.reread_due = Some(Instant::now() + REREAD);
                let known = self.connections.unusable();
                if known.include(&material.unusable) && !material.unusable.include(known) {
                    self.renew(*material);
                }
            }
            Event::Reloaded(new) => {
                // What is done without already keeps nothing else back.
                if !self.connections.unusable().include(&new.tls.unusable) {
                    tracing::error!("the new configuration is wrong, the old one stays:\n{}", new.faults);
                    return;
                }
                let new = reload::adopt(&self.config, *new);
                self.config = Arc::new(new.config);
                self.renew(new.tls);
                if let Some(input) = new.geography.input() {
                    self.handle(running, input);
                }
                self.handle(running, Input::Reload(Arc::clone(&self.config)));
                self.store.set_pools(&self.config.pools);
            }
        }
    }

    /// Other certificates, for handshakes to come.
    fn renew(&mut self, material: Material) {
        if let Err(error) = self.posts.renew(&self.config, &material.web) {
            tracing::error!(%error, "webhooks stay as they were: the system gives no threads");
        }
        let (before, now) = (self.connections.unusable().count(), material.unusable.count());
        self.metrics.files_unusable(now);
        self.connections.renew(material);
        if before > 0 && now == 0 {
            tracing::info!("every file of the configuration can be used");
        }
    }

    fn written(&mut self, running: &mut Running, done: Done) {
        if let Some(remembered) = done.remembered {
            self.handle(running, Input::Remembered(remembered));
            self.store.has_recalled();
        }
        if let Some(share) = done.share {
            self.handle(running, Input::Share(share));
            self.store.takes_share();
        }
        if let Some(news) = done.elsewhere {
            self.handle(running, Input::Elsewhere(news));
        }
        if done.writes.is_empty() {
            return self.handle(running, Input::Store(done.result));
        }
        for write in done.writes {
            self.handle(running, Input::Stored { write, result: done.result.clone() });
        }
    }

    fn compare_clocks(&mut self, running: &mut Running) {
        let offset_ms = self.clock.wall_offset_ms();
        if offset_ms.abs_diff(running.wall_offset_ms) >= WALL_STEP_MS {
            running.wall_offset_ms = offset_ms;
            self.handle(running, Input::Wall { offset_ms });
        }
    }

    /// Plain data out of the node, a page at most; the HTTP thread makes the text.
    fn answer(&self, ask: Ask) {
        let answer = match ask.query {
            Query::Leases { from } => Answer::Leases(self.node.leases_view(from)),
            Query::Calls { from } => Answer::Calls(self.node.calls_view(from)),
            Query::Registrations { from } => Answer::Registrations(self.node.registrations_view(from)),
            Query::Records { limit } => Answer::Records(self.node.records_view(limit.min(limits::RECORDS_KEPT))),
            Query::Trunks => Answer::Trunks(self.node.trunks_view()),
            Query::Readiness => Answer::Readiness(self.node.readiness()),
        };
        // Whoever asked may have given up.
        let _ = ask.reply.send(answer);
    }
}

fn poll_udp(listeners: &[Option<UdpListener>], context: &mut Context<'_>) -> Poll<()> {
    let mut ready = Poll::Pending;
    // All are polled, so that each of them will wake us.
    for listener in listeners.iter().flatten() {
        if listener.poll_ready(context).is_ready() {
            ready = Poll::Ready(());
        }
    }
    ready
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
