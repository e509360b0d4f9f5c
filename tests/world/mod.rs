//! A node, a wire and a clock for tests: parties write raw SIP, time passes when a test says so, and what nobody delivers
//! is lost.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod agent;
pub mod config;
pub mod engine;
pub mod message;
pub mod mmdb;
pub mod plane;
mod scenes;
pub mod torture;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sosbridge::admin::{Metrics, Record};
use sosbridge::base::{Instant, Protocol};
use sosbridge::config::Config;
use sosbridge::media::{News, Order, PairId, Ports};
use sosbridge::node::{Boot, Hook, Input, Node, Output, QueryId, Row, StoreFault, StoreSin, WriteId};
use sosbridge::transport::{ConnId, Flow, Found, ListenerId, Place, Question, Server};
use sosbridge::trunk::Peer;

pub use agent::{Agent, Dialog, description};
pub use config::Toml;
pub use message::{Msg, fresh, param, uri_of};
pub use scenes::{Call, authorized, authorized_with, register};

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    Answers,
    /// Takes rows and never says anything.
    Silent,
    Fails,
}

/// What the node sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Milliseconds since the world began.
    pub at: u64,
    pub to: SocketAddr,
    pub listener: ListenerId,
    pub connection: Option<ConnId>,
    pub msg: Msg,
    pub text: String,
}

/// A connection the node wanted.
#[derive(Clone, Debug)]
pub struct Opened {
    pub connection: ConnId,
    pub protocol: Protocol,
    pub remote: SocketAddr,
    pub peer: Option<Peer>,
}

/// JSON to a webhook.
#[derive(Clone, Debug)]
pub struct Posted {
    pub at: u64,
    pub hook: Hook,
    pub post: u64,
    pub body: serde_json::Value,
}

/// What an rtpengine at an address answers to a datagram.
pub type Answering = Box<dyn FnMut(SocketAddr, &[u8]) -> Option<Bytes>>;

pub struct World {
    pub node: Node,
    pub now: Instant,
    pub metrics: Metrics,
    pub store: Store,
    /// What was sent and no party has taken yet.
    pub wire: Vec<Sent>,
    pub rows: Vec<Row>,
    pub writes: Vec<WriteId>,
    pub closed: Vec<ConnId>,
    /// What the node wanted to open.
    pub opened: Vec<Opened>,
    /// Every connection it has asked for.
    asked_for: Vec<ConnId>,
    /// A firewall throws away what opens connections.
    pub drops_connects: bool,
    /// Connections that are WebSockets.
    web: Vec<ConnId>,
    /// Questions to DNS that have no answer yet.
    pub asked: Vec<(QueryId, Question)>,
    /// What the data plane was told.
    pub orders: Vec<Order>,
    pub plane: plane::Plane,
    /// What was posted to webhooks and no test has taken yet.
    pub posts: Vec<Posted>,
    /// What rtpengine was sent, and what it answers at once; nobody answers without.
    pub asked_ng: Vec<(SocketAddr, Bytes)>,
    pub ng: Option<Answering>,
    /// The one by script, where all tests are done with it.
    pub engine: Option<Rc<RefCell<engine::Engine>>>,
    /// The relay may stand in for it.
    pub may_relay: bool,
    pub pongs: usize,
    /// STUN responses, and whom they went to.
    pub stun: Vec<(SocketAddr, Vec<u8>)>,
    /// Texts that no message to a trunk may hold (SPEC §4).
    pub secrets: Vec<&'static str>,
    began: Instant,
    accepted: u64,
    bound: u16,
}

/// Where the relay is, as descriptions tell.
pub const RELAY: &str = "192.0.2.9";
pub const RELAY6: &str = "2001:db8::9";

pub const UDP: ListenerId = ListenerId(0);
pub const TCP: ListenerId = ListenerId(1);
/// Of [`Toml::dual`].
pub const UDP6: ListenerId = ListenerId(2);
pub const TCP6: ListenerId = ListenerId(3);

pub fn psap() -> Agent {
    Agent::new("psap", "203.0.113.80:5080")
}

pub fn backup() -> Agent {
    Agent::new("backup", "203.0.113.81:5080")
}

pub fn carrier() -> Agent {
    Agent::new("carrier", "203.0.113.82:5080")
}

/// The trunk `psap` where it has an IPv6 address.
pub fn psap6() -> Agent {
    Agent::new("psap", "[2001:db8:80::80]:5080")
}

pub fn alice6() -> Agent {
    Agent::new("alice", "[2001:db8:71::1]:5071")
}

pub fn alice() -> Agent {
    Agent::new("alice", "198.51.100.71:5071")
}

pub fn bob() -> Agent {
    Agent::new("bob", "198.51.100.72:5072")
}

pub fn nomad() -> Agent {
    Agent::new("nomad", "198.51.100.73:5073")
}

pub fn outsider() -> Agent {
    Agent::new("mallory", "198.51.100.66:5066")
}

/// True where all tests of a program are done with media through the relay, or through rtpengine.
pub fn relays() -> bool {
    env!("CARGO_CRATE_NAME") == "relay" || has_engine()
}

/// True where they are done with media through rtpengine.
pub fn has_engine() -> bool {
    env!("CARGO_CRATE_NAME") == "engine"
}

/// A description without its origin line; in a program of the relay without places too, which are the relay's on one side
/// and a party's on the other.
pub fn media(description: &str) -> Vec<String> {
    let lines = description.lines().filter(|line| !line.starts_with("o="));
    lines.map(|line| if relays() { placeless(line) } else { line.to_owned() }).collect()
}

fn placeless(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    match fields[..] {
        [kind, port, ..] if kind.starts_with("m=") && port != "0" => line.replacen(port, "somewhere", 1),
        _ if line.starts_with("c=") => "c=somewhere".to_owned(),
        _ => line.to_owned(),
    }
}

pub fn checked(toml: &Toml) -> Arc<Config> {
    let loaded = sosbridge::config::load(&toml.0, Path::new("/tmp")).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::new(loaded.config)
}

impl World {
    pub fn new() -> Self {
        Self::of(&Toml::default())
    }

    pub fn of(toml: &Toml) -> Self {
        Self::of_rows(toml, vec![])
    }

    /// A world whose store kept these leases.
    pub fn of_rows(toml: &Toml, leases: Vec<sosbridge::lease::Row>) -> Self {
        let (now, metrics) = (Instant::from_millis(1_000_000_000), Metrics::new());
        let boot =
            Boot { now, seed: [7; 32], wall_offset_ms: 0, leases, bindings: vec![], records: vec![], notices: vec![] };
        let mut world = Self {
            node: Node::new(checked(toml), boot, metrics.clone()),
            now,
            metrics,
            store: Store::Answers,
            wire: Vec::new(),
            rows: Vec::new(),
            writes: Vec::new(),
            closed: Vec::new(),
            opened: Vec::new(),
            asked_for: Vec::new(),
            drops_connects: false,
            web: Vec::new(),
            asked: Vec::new(),
            orders: Vec::new(),
            plane: plane::Plane::default(),
            posts: Vec::new(),
            asked_ng: Vec::new(),
            ng: None,
            engine: None,
            may_relay: false,
            pongs: 0,
            stun: Vec::new(),
            secrets: vec![
                "alice",
                "Alice",
                "Liddell",
                "4255550123",
                "198.51.100.7",
                ":5071",
                "-secret-",
                "Softphone",
                "2001:db8:71:",
            ],
            began: now,
            accepted: 0,
            bound: 0,
        };
        if toml.has_engine() {
            let engine = Rc::<RefCell<engine::Engine>>::default();
            world.engine = Some(engine.clone());
            world.ng = Some(Box::new(move |_, bytes| Some(engine.borrow_mut().asked(bytes))));
        }
        world.collect();
        if toml.relays() || toml.has_engine() {
            world.bind(128);
        }
        world
    }

    /// The data plane has this many more pairs ready, of each family.
    pub fn bind(&mut self, pairs: u16) {
        let mut bound = Vec::new();
        for _ in 0..pairs {
            for address in [RELAY, RELAY6] {
                self.bound += 1;
                let rtp = 20_000 + 2 * self.bound;
                bound.push(Ports { pair: PairId(self.bound.into()), address: address.parse().unwrap(), rtp });
            }
        }
        bound.iter().for_each(|ports| self.plane.bind(*ports));
        self.input(Input::Media(News::Bound(bound)));
    }

    /// `kill -9` and a start on what the store has.
    pub fn restart(&mut self, toml: &Toml) {
        let (mut leases, mut notices) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        let mut bindings = Vec::new();
        for row in std::mem::take(&mut self.rows) {
            match row {
                Row::Lease(row) => drop(leases.insert(row.number(), row)),
                Row::Binding(row) => bindings.push(row),
                Row::Notice(notice) => drop(notices.insert(notice.seq, *notice)),
                Row::Unnotice(seq) => drop(notices.remove(&seq)),
                Row::Unbind(_) | Row::Record(_) => {}
            }
        }
        let leases = leases.into_values().collect();
        let notices = notices.into_values().collect();
        let boot = Boot { now: self.now, seed: [9; 32], wall_offset_ms: 0, leases, bindings, records: vec![], notices };
        self.node = Node::new(checked(toml), boot, Metrics::new());
        self.wire.clear();
        self.posts.clear();
        self.collect();
    }

    pub fn reload(&mut self, toml: &Toml) {
        self.input(Input::Reload(checked(toml)));
    }

    pub fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.collect();
    }

    pub fn send(&mut self, from: &Agent, message: &Msg) {
        self.send_bytes(from, message.to_string().as_bytes());
    }

    pub fn send_bytes(&mut self, from: &Agent, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.input(match from.connection {
            Some(connection) if self.web.contains(&connection) => Input::Frame { connection, bytes },
            Some(connection) => Input::Stream { connection, bytes },
            None => Input::Datagram { listener: from.pick(UDP, UDP6), remote: from.address, bytes },
        });
    }

    /// The same party over a TCP connection it has opened to us.
    pub fn connect(&mut self, agent: Agent) -> Agent {
        self.connect_to(agent.pick(TCP, TCP6), agent, &[])
    }

    /// The same over a WebSocket.
    pub fn connect_web(&mut self, listener: ListenerId, agent: Agent) -> Agent {
        let agent = self.connect_to(listener, agent, &[]);
        self.web.extend(agent.connection);
        agent
    }

    /// The same at another listener, with a certificate for these names.
    pub fn connect_to(&mut self, listener: ListenerId, agent: Agent, names: &[&str]) -> Agent {
        self.accepted += 1;
        let connection = ConnId(ConnId::ACCEPTED | self.accepted);
        let identities = names.iter().map(|name| (*name).into()).collect();
        self.input(Input::Accepted { connection, listener, remote: agent.address, identities });
        Agent { connection: Some(connection), ..agent }
    }

    fn collect(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.sent(transmit.flow, &transmit.bytes);
                }
                Output::Persist { write, rows, .. } => {
                    self.rows.extend(rows);
                    self.writes.push(write);
                    let fault = StoreFault { sin: StoreSin::Full, detail: "test".into() };
                    match self.store {
                        Store::Answers => self.node.handle(self.now, Input::Stored { write, result: Ok(()) }),
                        Store::Fails => self.node.handle(self.now, Input::Stored { write, result: Err(fault) }),
                        Store::Silent => {}
                    }
                }
                Output::Connect { connection, protocol, remote, peer, .. } => {
                    self.asked_for.push(connection);
                    self.opened.push(Opened { connection, protocol, remote, peer });
                    if !self.drops_connects {
                        self.node.handle(self.now, Input::Connected { connection });
                    }
                }
                Output::Close { connection } => self.closed.push(connection),
                Output::Resolve { query, question } => self.asked.push((query, question)),
                Output::Post { hook, post, body } => {
                    let at = u64::try_from(self.now.since(self.began).as_millis()).unwrap();
                    self.posts.push(Posted { at, hook, post, body: serde_json::from_str(&body).unwrap() });
                }
                Output::Media(order) => {
                    self.plane.order(&order);
                    self.orders.push(order);
                }
                Output::Ng { to, bytes } => {
                    self.asked_ng.push((to, bytes.clone()));
                    if let Some(answer) = &mut self.ng
                        && let Some(bytes) = answer(to, &bytes)
                    {
                        self.node.handle(self.now, Input::Ng { from: to, bytes });
                    }
                }
            }
        }
    }

    fn sent(&mut self, flow: Flow, bytes: &Bytes) {
        let Flow { remote: to, listener, connection, .. } = flow;
        let is_ours = |id: &ConnId| self.asked_for.contains(id);
        let is_there = |id: &ConnId| id.0 & ConnId::ACCEPTED != 0 || is_ours(id);
        assert!(connection.as_ref().is_none_or(is_there), "over a connection that nobody has asked for: {flow}");
        if &bytes[..] == b"\r\n" {
            self.pongs += 1;
            return;
        }
        if bytes.first().is_some_and(|first| *first < 4) {
            self.stun.push((to, bytes.to_vec()));
            return;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        // A 400 repeats what was wrong with the request.
        if let (Err(malformed), false) =
            (sosbridge::sip::Message::parse(bytes.clone()), text.starts_with("SIP/2.0 400"))
        {
            panic!("the node sent what it would refuse itself: {malformed:?}\n{text}");
        }
        if ["203.0.113.8", "2001:db8:80:"].iter().any(|trunks| to.ip().to_string().starts_with(trunks)) {
            for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
                let told = text.replace(agent::MEDIA, "");
                assert!(!told.contains(secret), "{secret} crossed to the trunk:\n{text}");
            }
        }
        if self.engine.is_some() && text.contains("m=audio") {
            let told = text.contains(&format!("c=IN IP4 {}", agent::MEDIA));
            assert!(!told, "a party is told where another one is:\n{text}");
            // The test line speaks for itself.
            let is_relayed = text.contains(&format!("c=IN IP4 {RELAY}")) && !text.contains("sip:933@");
            assert!(!is_relayed || self.may_relay, "not through rtpengine:\n{text}");
        }
        let at = u64::try_from(self.now.since(self.began).as_millis()).unwrap();
        self.wire.push(Sent { at, to, listener, connection, msg: Msg::read(&text), text });
    }

    /// DNS answers the question about `host`: places by priority and weight, each a record of its own.
    #[track_caller]
    pub fn answer_dns(&mut self, host: &str, servers: &[(Protocol, &str, u32, u16)]) {
        let at = self.asked.iter().position(|(_, question)| question.host == host);
        let (query, _) = self.asked.remove(at.unwrap_or_else(|| panic!("nobody asked for {host}: {:?}", self.asked)));
        let server = |(&(protocol, remote, priority, weight), record): (&(Protocol, &str, u32, u16), u16)| {
            let place = Place { protocol, remote: remote.parse().unwrap() };
            Server { place, record, priority, weight }
        };
        let is_whole = !servers.is_empty();
        let servers = servers.iter().zip(0..).map(server).collect();
        let found = Found { servers, ttl: std::time::Duration::from_secs(60), is_whole };
        self.input(Input::Resolved { query, found });
    }

    /// Takes what was posted to a webhook.
    pub fn take_posts(&mut self, hook: Hook) -> Vec<Posted> {
        let (taken, left) = std::mem::take(&mut self.posts).into_iter().partition(|post| post.hook == hook);
        self.posts = left;
        taken
    }

    /// The webhook answers with a status, or is not there.
    pub fn answer_post(&mut self, post: &Posted, status: Option<u16>) {
        let result = status.ok_or_else(|| "nobody is there".to_owned());
        self.input(Input::Posted { hook: post.hook, post: post.post, result });
    }

    /// Lets time pass, timer by timer.
    pub fn run(&mut self, millis: u64) {
        let end = Instant::from_millis(self.now.as_millis() + millis);
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    /// What is on the wire to `agent` that `pattern` fits: a method, a status, `200 BYE`, or `*`.
    pub fn on_wire(&self, agent: &Agent, pattern: &str) -> Vec<Sent> {
        self.wire.iter().filter(|sent| fits(sent, agent, pattern)).cloned().collect()
    }

    /// Takes the first such message off the wire.
    #[track_caller]
    pub fn take(&mut self, agent: &Agent, pattern: &str) -> Msg {
        let Some(at) = self.wire.iter().position(|sent| fits(sent, agent, pattern)) else {
            panic!("no {pattern} to {} ({}) among:\n{}", agent.name, agent.address, self.listing());
        };
        self.wire.remove(at).msg
    }

    /// Takes them all, with their times.
    pub fn take_all(&mut self, agent: &Agent, pattern: &str) -> Vec<Sent> {
        let (taken, left) = std::mem::take(&mut self.wire).into_iter().partition(|sent| fits(sent, agent, pattern));
        self.wire = left;
        taken
    }

    /// Nothing of the kind is on the wire.
    #[track_caller]
    pub fn none(&self, agent: &Agent, pattern: &str) {
        let found = self.on_wire(agent, pattern);
        assert!(found.is_empty(), "{pattern} to {}:\n{}", agent.name, found[0].text);
    }

    /// Nothing at all is on the wire, to anybody.
    #[track_caller]
    pub fn silent(&self) {
        assert!(self.wire.is_empty(), "{}", self.listing());
    }

    /// Start lines of what is on the wire; whole messages when they are few.
    fn listing(&self) -> String {
        let few = self.wire.len() <= 2;
        let line = |sent: &Sent| match few {
            true => format!("{} ms, to {}:\n{}", sent.at, sent.to, sent.text),
            false => format!("{} ms, to {}: {} ({})", sent.at, sent.to, sent.msg.start, sent.msg.header("CSeq")),
        };
        self.wire.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Milliseconds since the world began.
    pub fn clock(&self) -> u64 {
        u64::try_from(self.now.since(self.began).as_millis()).unwrap()
    }

    /// Every timer has run out: no call, leg or transaction is left.
    #[track_caller]
    pub fn over(&mut self) {
        self.run(70_000);
        assert!(self.node.is_idle(), "calls, legs, transactions left: {:?}", self.node.sizes());
        assert!(self.plane.pairs.is_empty() && self.node.ports_in_use() == 0, "{:?}", self.plane.pairs);
        if let Some(engine) = &self.engine {
            let left = &engine.borrow().calls;
            assert!(left.is_empty(), "rtpengine was not told that these are over: {left:?}");
        }
    }

    /// The newest record.
    #[track_caller]
    pub fn record(&self) -> Record {
        self.node.records_view(1).first().expect("a record").as_ref().clone()
    }

    /// The value of a metric by the start of its line.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.metrics.render();
        let found = text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    }
}

fn fits(sent: &Sent, agent: &Agent, pattern: &str) -> bool {
    let same_way = agent.connection.is_none() || sent.connection == agent.connection;
    let (first, method) = pattern.split_once(' ').unwrap_or((pattern, ""));
    let code = sent.msg.code();
    let start = match (first, code) {
        ("*", _) => true,
        (_, 0) => sent.msg.method() == first,
        (_, code) => code.to_string() == first,
    };
    sent.to == agent.address && same_way && start && (method.is_empty() || sent.msg.method() == method)
}
