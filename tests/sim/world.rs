//! The world: one clock, one queue of what will happen, the node in the middle. It starts, feeds, kills and revives the node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sosbridge::admin::Metrics;
use sosbridge::base::{Instant, Rng};
use sosbridge::media::News;
use sosbridge::node::{Boot, Input, Node, Output, StoreFault, WriteId};
use sosbridge::transport::{ConnId, Found, Place, Question, Server};

use crate::chance::{between, ms, percent, secs};
use crate::engines::{self, Engines};
use crate::media::Supply;
use crate::model::Model;
use crate::net::{Connection, TCP, UDP, Weather};
use crate::party::{Effect, Moment, Party, Path, Tick};
use crate::setup::Stage;
use crate::store::Store;
use crate::text::Msg;
use crate::trace;
use crate::watch::Watch;

/// What will happen.
pub enum Event {
    ToNode { from: SocketAddr, bytes: Bytes },
    ToParty { to: SocketAddr, bytes: Bytes },
    Stream { id: u64, to_node: bool, bytes: Bytes },
    Accepted { id: u64, remote: SocketAddr },
    Connected { id: u64 },
    Refused { life: u32, node_id: ConnId },
    Closed { id: u64, to_node: bool },
    Unreachable { life: u32, remote: SocketAddr },
    Stored { life: u32, write: WriteId, result: Result<(), StoreFault> },
    Resolved { life: u32, query: sosbridge::node::QueryId, question: Question },
    News { life: u32, news: News },
    ToEngine { at: usize, bytes: Bytes },
    FromEngine { life: u32, at: usize, bytes: Bytes },
    Tick { party: usize, tick: Tick },
    Restart,
}

pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub stage: Stage,
    pub parties: Vec<Party>,
    pub node: Option<Node>,
    /// Counts the lives of the node: what was meant for an earlier one is lost.
    pub life: u32,
    /// When the present life began, if there was one before.
    began: Instant,
    pub store: Store,
    pub weather: Weather,
    pub calm: bool,
    pub closing: bool,
    /// The node dies after so many outputs.
    pub crash_in: Option<u64>,
    pub connections: BTreeMap<u64, Connection>,
    pub model: Model,
    pub watch: Watch,
    pub supply: Supply,
    pub engines: Engines,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    /// Steps without time going on.
    stuck: u32,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed);
        let supply = Supply::new(seed);
        let engines = Engines::new(seed, supply.has_engine);
        let mode = match supply.kept {
            0 => "\"pass\"".to_owned(),
            _ if engines.is_used() => engines::configured(),
            _ => "\"relay\"".to_owned(),
        };
        let mut stage = Stage::new(&mut rng, &mode, supply.announces);
        let model = Model::new(stage.rules.clone());
        let mut world = Self {
            now: Instant::from_millis(1_800_000_000_000),
            parties: std::mem::take(&mut stage.parties),
            rng,
            stage,
            node: None,
            life: 0,
            began: Instant::default(),
            store: Store::new(),
            weather: Weather::CALM,
            calm: true,
            closing: false,
            crash_in: None,
            connections: BTreeMap::new(),
            model,
            watch: Watch::default(),
            supply,
            engines,
            queue: BTreeMap::new(),
            serial: 0,
            stuck: 0,
        };
        world.start_node();
        world
    }

    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn at(&mut self, at: Instant, event: Event) {
        let serial = self.next_serial();
        self.queue.insert((at.max(self.now), serial), event);
    }

    pub fn later(&mut self, after: Duration, event: Event) {
        self.at(self.now + after, event);
    }

    fn start_node(&mut self) {
        self.life += 1;
        self.began = if self.life > 1 { self.now } else { Instant::default() };
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let boot = Boot {
            now: self.now,
            seed,
            wall_offset_ms: 0,
            leases: self.store.leases(),
            bindings: self.store.bindings(),
            records: Vec::new(),
            notices: Vec::new(),
        };
        trace::note(self.now, "node", "starts");
        let config = if self.closing { &self.stage.quiet_config } else { &self.stage.config };
        self.node = Some(Node::new(config.clone(), boot, Metrics::new()));
        self.supply.restarted();
        self.engines.forgotten();
        self.drain();
        self.supply();
    }

    /// The node dies where it stands.
    pub fn crash(&mut self) {
        trace::note(self.now, "node", "DIES");
        self.node = None;
        self.crash_in = None;
        self.store.crash();
        self.model.crashed();
        self.watch.crashed();
        let doubtful = |at: Instant| !self.store.is_sound(self.now) || self.now.since(at) < secs(1);
        for party in &mut self.parties {
            if let Some(phone) = &mut party.phone {
                phone.confirmed_at = phone.confirmed_at.filter(|at| !doubtful(*at));
            }
        }
        let open: Vec<u64> = self.connections.iter().filter(|(_, one)| one.open).map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.break_connection(id));
        let down = between(&mut self.rng, 50, if self.calm { 2000 } else { 15_000 });
        self.later(down, Event::Restart);
    }

    /// A phone's connection is gone: it has to register over another one.
    pub fn lost_registration(&mut self, party: usize) {
        let Some(phone) = &mut self.parties[party].phone else { return };
        phone.confirmed_at = None;
        let serial = phone.serial;
        let after = between(&mut self.rng, 300, 4000);
        self.later(after, Event::Tick { party, tick: Tick::Register { serial } });
    }

    pub fn feed(&mut self, input: Input) {
        let Some(node) = &mut self.node else { return };
        node.handle(self.now, input);
        self.drain();
        self.check_pairs();
        self.supply();
    }

    /// Carries out what the node wants; it may die between any two wishes.
    fn drain(&mut self) {
        loop {
            if self.crash_in == Some(0) {
                return self.crash();
            }
            let Some(output) = self.node.as_mut().and_then(Node::poll_output) else { return };
            self.crash_in = self.crash_in.map(|left| left - 1);
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                self.inspect_output(&transmit);
                match transmit.flow.connection {
                    Some(node_id) => {
                        if let Some(id) = self.connection_of_node(node_id) {
                            self.stream(id, false, &transmit.bytes);
                        }
                    }
                    None => self.send_datagram(transmit.flow.remote, transmit.bytes),
                }
            }
            Output::Connect { connection, remote, .. } => self.connect_to_party(connection, remote),
            Output::Close { connection } => {
                if let Some(id) = self.connection_of_node(connection) {
                    self.break_connection(id);
                }
            }
            Output::Persist { write, rows, urgent } => self.store.write(self.now, &mut self.rng, write, rows, urgent),
            Output::Media(order) => self.ordered(&order),
            Output::Post { .. } => {}
            Output::Ng { to, bytes } => self.engine_asked(to, bytes),
            Output::Resolve { query, question } => {
                let (life, after) = (self.life, between(&mut self.rng, 10, 500));
                self.later(after, Event::Resolved { life, query, question });
            }
        }
    }

    fn send_datagram(&mut self, to: SocketAddr, bytes: Bytes) {
        if percent(&mut self.rng, self.weather.loss) {
            return;
        }
        for _ in 0..1 + u64::from(percent(&mut self.rng, self.weather.doubling)) {
            let after = between(&mut self.rng, 1, self.weather.delay_ms);
            self.later(after, Event::ToParty { to, bytes: bytes.clone() });
        }
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let event = self.queue.first_key_value().map(|(&(at, _), _)| at);
            let timer = self.node.as_mut().and_then(Node::poll_timeout).map(|(at, _)| at.max(self.now));
            let disk = self.store.next().filter(|_| self.node.is_some()).map(|at| at.max(self.now));
            let next = [event, timer, disk].into_iter().flatten().min().unwrap_or(end);
            if next > end {
                break;
            }
            self.stuck = if next > self.now { 0 } else { self.stuck + 1 };
            assert!(self.stuck < 20_000, "time stands still: {:?}", self.node.as_mut().and_then(Node::poll_timeout));
            self.now = next;
            if disk == Some(next) {
                self.disk_works();
            } else if timer == Some(next) {
                self.node.as_mut().unwrap().handle_timeout(next);
                self.drain();
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event);
            } else {
                break;
            }
        }
        self.now = end;
        if self.store.is_sound(end) {
            self.model.caught_up();
        }
        self.watch.overdue(end);
        self.count_packets();
    }

    fn disk_works(&mut self) {
        if let Some((write, result)) = self.store.work(self.now) {
            let (life, after) = (self.life, between(&mut self.rng, 0, 10));
            self.later(after, Event::Stored { life, write, result });
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToNode { from, bytes } => {
                if self.node.is_some() {
                    self.watch.asked(self.now, None, &bytes);
                    self.feed(Input::Datagram { listener: UDP, remote: from, bytes });
                }
            }
            Event::ToParty { to, bytes } => self.datagram_arrived(to, &bytes),
            Event::Stream { id, to_node, bytes } => self.stream_arrived(id, to_node, bytes),
            Event::Accepted { id, remote } => {
                if let Some(connection) = self.connections.get(&id).filter(|_| self.node.is_some())
                    && let Some(connection) = connection.on_life(self.life)
                {
                    self.feed(Input::Accepted { connection, listener: TCP, remote, identities: Vec::new() });
                }
            }
            Event::Connected { id } => {
                if let Some(connection) = self.connections.get(&id).and_then(|one| one.on_life(self.life)) {
                    self.feed(Input::Connected { connection });
                }
            }
            Event::Refused { life, node_id } if life == self.life => self.feed(Input::Closed { connection: node_id }),
            Event::Closed { id, to_node } => self.connection_closed(id, to_node),
            Event::Unreachable { life, remote } if life == self.life => {
                self.feed(Input::Unreachable { listener: UDP, remote });
            }
            Event::Stored { life, write, result } if life == self.life => self.feed(Input::Stored { write, result }),
            Event::Resolved { life, query, question } if life == self.life => {
                let fails = !self.calm && percent(&mut self.rng, 30);
                let (protocol, port) = question.direct();
                let place = Place { protocol, remote: SocketAddr::new("10.9.1.1".parse().unwrap(), port) };
                let whole = Found {
                    servers: vec![Server { place, record: 0, priority: 0, weight: 0 }],
                    ttl: Duration::from_secs(60),
                    is_whole: true,
                };
                let found = if fails { Found::nothing() } else { whole };
                self.feed(Input::Resolved { query, found });
            }
            Event::News { life, news } if life == self.life => self.played(news),
            Event::ToEngine { at, bytes } => self.engine_answers(at, &bytes),
            Event::FromEngine { life, at, bytes } if life == self.life => self.engine_said(at, bytes),
            Event::News { .. }
            | Event::FromEngine { .. }
            | Event::Refused { .. }
            | Event::Unreachable { .. }
            | Event::Stored { .. }
            | Event::Resolved { .. } => {}
            Event::Tick { party, tick: Tick::Return { port } } => self.return_party(party, port),
            Event::Tick { party, tick } => self.with(party, |party, moment| party.wake(moment, tick)),
            Event::Restart => {
                if self.node.is_none() {
                    self.start_node();
                }
            }
        }
    }

    /// A party that was away is back, perhaps elsewhere.
    pub fn return_party(&mut self, party: usize, port: u16) {
        let it = &mut self.parties[party];
        it.online = true;
        trace::note(self.now, &it.name, &format!("is back at port {port}"));
        if it.phone.is_some() {
            if it.address.port() != port {
                it.address.set_port(port);
                it.moved_at = Some(self.now);
                it.phone.iter_mut().for_each(|phone| phone.confirmed_at = None);
            }
            self.with(party, |party, moment| party.register(moment));
        }
    }

    pub fn deliver(&mut self, party: usize, path: Path, bytes: &[u8]) {
        if self.parties[party].online && self.parties[party].mood != crate::party::Mood::Closed {
            self.with(party, |party, moment| party.receive(moment, path, bytes));
        }
    }

    /// Lets a party do something, and then what it wants.
    pub fn with(&mut self, party: usize, act: impl FnOnce(&mut Party, &mut Moment<'_>)) {
        let mut effects = Vec::new();
        let (now, calm, closing) = (self.now, self.calm, self.closing);
        let mut moment = Moment { now, rng: &mut self.rng, calm, closing, effects: &mut effects };
        act(&mut self.parties[party], &mut moment);
        for effect in effects {
            match effect {
                Effect::Send { path, bytes } => {
                    if let Some(message) = Msg::parse(&bytes) {
                        trace::note(now, &format!("{} ->", self.parties[party].name), &message.summary());
                    }
                    self.send_from(party, path, bytes);
                }
                Effect::Later { after, tick } => self.later(after, Event::Tick { party, tick }),
                Effect::Outcome { call_id, code } => self.outcome(party, &call_id, code),
                Effect::Saw { number } => self.watch.saw(number),
                Effect::Registered { expires } => {
                    if self.node.is_none() || now.since(self.began) < secs(1) {
                        // It may have been said by a node that died before its disk knew.
                        self.parties[party].phone.iter_mut().for_each(|phone| phone.confirmed_at = None);
                    }
                    trace::note(now, &self.parties[party].name, &format!("registered for {} s", expires.as_secs()));
                }
            }
        }
    }

    /// The party of a name.
    pub fn party(&self, name: &str) -> usize {
        self.parties.iter().position(|party| party.name == name).unwrap()
    }

    /// The node has registered this phone where it is now, and will not forget it.
    pub fn is_reachable(&self, phone: usize) -> bool {
        let party = &self.parties[phone];
        let known = |phone: &crate::phone::Registration| {
            phone.confirmed_at.is_some() && phone.expires_at > self.now + secs(100)
        };
        party.online && party.phone.as_ref().is_some_and(known)
    }

    /// Waits until the node lives.
    pub fn wait_for_node(&mut self) {
        while self.node.is_none() {
            self.run_for(ms(100));
        }
    }
}
