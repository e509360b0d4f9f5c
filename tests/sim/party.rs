//! A SIP party as a stranger would write it: an address, calls, requests that are repeated until answered. Phones, trunks and
//! outsiders are all this; what they do with it is in `habits`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sosbridge::base::{Instant, Rng};

use crate::chance::{ms, secs};
use crate::leg::Leg;
use crate::media::told;
use crate::phone::Registration;
use crate::text::Msg;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Udp,
    /// Over this connection; a request finds a new one when it is gone.
    Tcp(Option<u64>),
}

/// What a party wants of the world.
pub enum Effect {
    Send {
        path: Path,
        bytes: Vec<u8>,
    },
    Later {
        after: Duration,
        tick: Tick,
    },
    /// A call of this party has its final answer.
    Outcome {
        call_id: String,
        code: u16,
    },
    /// A number came with a call.
    Saw {
        number: String,
    },
    Registered {
        expires: Duration,
    },
}

/// What a party wakes up for.
#[derive(Clone, Debug)]
pub enum Tick {
    /// Repeat a request, if it is not answered.
    Request {
        branch: String,
        wait: Duration,
        left: Duration,
    },
    /// Repeat the final answer to an INVITE, if it is not acknowledged.
    Answer {
        call_id: String,
        cseq: u32,
        wait: Duration,
        left: Duration,
    },
    /// Repeat a reliable provisional response, if it is not acknowledged.
    Ringing {
        call_id: String,
        wait: Duration,
        left: Duration,
    },
    Call {
        call_id: String,
        act: Act,
    },
    Register {
        serial: u32,
    },
    Return {
        port: u16,
    },
}

/// What happens in a call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Trying,
    Ring,
    Answer,
    Refuse(u16),
    Cancel,
    Hold,
    Resume,
    Info,
    Update,
    Refresh,
    Refer,
    HangUp,
}

/// How a party treats calls that reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Rings and answers.
    Good,
    Refusing(u16),
    Silent,
    /// Answers when it has long been given up.
    Late,
    /// Nobody listens: ICMP, or connection refused.
    Closed,
    /// Each call otherwise.
    Fickle,
}

/// A request on its way.
pub struct Client {
    pub bytes: Vec<u8>,
    pub path: Path,
    pub call_id: String,
    pub method: String,
    pub heard: bool,
}

pub struct Party {
    pub name: String,
    pub address: SocketAddr,
    /// Behind a NAT: the address it believes to have.
    pub inner: Option<SocketAddr>,
    pub tcp: bool,
    /// Takes connections beside datagrams.
    pub listens: bool,
    /// Its descriptions are too long for a datagram (RFC 3261 §18.1.1).
    pub wordy: bool,
    /// The connection that new requests use.
    pub connection: Option<u64>,
    pub online: bool,
    /// When it last came back at another port.
    pub moved_at: Option<Instant>,
    pub mood: Mood,
    /// Knows 100rel, UPDATE and session timers.
    pub modern: bool,
    /// A phone: who it is.
    pub phone: Option<Registration>,
    pub legs: BTreeMap<String, Leg>,
    pub clients: BTreeMap<String, Client>,
    /// Last responses by branch and method, for repetitions.
    responses: VecDeque<(String, Vec<u8>)>,
    pub serial: u64,
}

/// The moment in which a party acts.
pub struct Moment<'a> {
    pub now: Instant,
    pub rng: &'a mut Rng,
    /// Nothing unforeseen is done.
    pub calm: bool,
    /// Calls are to end.
    pub closing: bool,
    pub effects: &'a mut Vec<Effect>,
}

impl Moment<'_> {
    pub fn later(&mut self, after: Duration, tick: Tick) {
        self.effects.push(Effect::Later { after, tick });
    }

    pub fn act(&mut self, after: Duration, call_id: &str, act: Act) {
        self.later(after, Tick::Call { call_id: call_id.to_owned(), act });
    }
}

impl Party {
    pub fn new(name: &str, address: &str, tcp: bool) -> Self {
        Self {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            inner: None,
            tcp,
            listens: tcp,
            wordy: false,
            connection: None,
            online: true,
            moved_at: None,
            mood: Mood::Good,
            modern: false,
            phone: None,
            legs: BTreeMap::new(),
            clients: BTreeMap::new(),
            responses: VecDeque::new(),
            serial: 0,
        }
    }

    pub fn is_trunk(&self) -> bool {
        self.address.to_string().starts_with("10.9.")
    }

    pub fn path(&self) -> Path {
        if self.tcp { Path::Tcp(self.connection) } else { Path::Udp }
    }

    /// Names that a phone must not find at a trunk begin with what `world` looks for there.
    pub fn token(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{}{kind}-{}-{}", if self.phone.is_some() { "phone" } else { "" }, self.name, self.serial)
    }

    /// Its address as it writes it.
    pub fn own_address(&self) -> SocketAddr {
        self.inner.unwrap_or(self.address)
    }

    pub fn via(&self, path: Path, branch: &str) -> String {
        let transport = if path == Path::Udp { "UDP" } else { "TCP" };
        format!("Via: SIP/2.0/{transport} {};branch={branch};rport\r\n", self.own_address())
    }

    pub fn contact(&self, user: &str) -> String {
        let transport = if self.tcp { ";transport=tcp" } else { "" };
        let instance = self.phone.as_ref().map(Registration::instance).unwrap_or_default();
        format!("Contact: <sip:{user}@{}{transport}>{instance}\r\n", self.own_address())
    }

    /// Sends a request and repeats it until it is answered.
    pub fn request(&mut self, moment: &mut Moment<'_>, path: Path, branch: &str, call_id: &str, text: String) {
        let method = text.split(' ').next().unwrap_or_default().to_owned();
        let bytes = text.into_bytes();
        moment.effects.push(Effect::Send { path, bytes: bytes.clone() });
        let call_id = call_id.to_owned();
        self.clients.insert(
            format!("{branch} {method}"),
            Client { bytes, path, call_id, method: method.clone(), heard: false },
        );
        let branch = format!("{branch} {method}");
        moment.later(ms(500), Tick::Request { branch, wait: ms(500), left: secs(32) });
    }

    fn repeat_request(&mut self, moment: &mut Moment<'_>, branch: String, wait: Duration, left: Duration) {
        let Some(client) = self.clients.get(&branch) else { return };
        let invite = client.method == "INVITE";
        if left.is_zero() {
            if invite && client.heard {
                return;
            }
            let client = self.clients.remove(&branch).unwrap();
            self.unanswered(moment, &client);
            return;
        }
        if client.path == Path::Udp && !(invite && client.heard) {
            moment.effects.push(Effect::Send { path: client.path, bytes: client.bytes.clone() });
        }
        let cap = if invite { secs(32) } else { secs(4) };
        let next = (wait * 2).min(cap).min(left);
        moment.later(next, Tick::Request { branch, wait: next, left: left.saturating_sub(next) });
    }

    fn unanswered(&mut self, moment: &mut Moment<'_>, client: &Client) {
        match client.method.as_str() {
            "INVITE" => self.call_failed(moment, &client.call_id, 408),
            "BYE" => drop(self.legs.remove(&client.call_id)),
            "REGISTER" => self.register_failed(moment),
            _ => {}
        }
    }

    pub fn wake(&mut self, moment: &mut Moment<'_>, tick: Tick) {
        match tick {
            Tick::Request { branch, wait, left } => self.repeat_request(moment, branch, wait, left),
            Tick::Answer { call_id, cseq, wait, left } => self.repeat_answer(moment, &call_id, cseq, wait, left),
            Tick::Ringing { call_id, wait, left } => self.ring_again(moment, &call_id, wait, left),
            Tick::Call { call_id, act } => self.act(moment, &call_id, act),
            Tick::Register { serial } => self.refresh(moment, serial),
            Tick::Return { .. } => {}
        }
    }

    pub fn receive(&mut self, moment: &mut Moment<'_>, path: Path, bytes: &[u8]) {
        let Some(message) = Msg::parse(bytes) else { return };
        if message.code() > 0 {
            self.response(moment, &message);
        } else {
            self.incoming(moment, path, &message);
        }
        if let (Some(leg), Some(port)) = (self.legs.get_mut(message.call_id()), told(&message)) {
            leg.told = Some(port);
        }
    }

    fn response(&mut self, moment: &mut Moment<'_>, message: &Msg) {
        let key = format!("{} {}", message.branch(), message.method());
        let Some(client) = self.clients.get_mut(&key) else {
            // A repeated 2xx wants its ACK again.
            if message.method() == "INVITE" && (200..300).contains(&message.code()) {
                self.acknowledge_again(moment, message);
            }
            return;
        };
        client.heard = true;
        if message.code() < 200 {
            return self.provisional(moment, message);
        }
        let client = self.clients.remove(&key).unwrap();
        match client.method.as_str() {
            "INVITE" => self.invite_answered(moment, &client, message),
            "REGISTER" => self.register_answered(moment, message),
            "BYE" => drop(self.legs.remove(&client.call_id)),
            _ => {}
        }
    }

    fn incoming(&mut self, moment: &mut Moment<'_>, path: Path, message: &Msg) {
        if self.mood == Mood::Silent && !self.legs.contains_key(message.call_id()) {
            return;
        }
        let key = format!("{} {}", message.branch(), message.method());
        if let Some((_, bytes)) = self.responses.iter().find(|(have, _)| *have == key) {
            moment.effects.push(Effect::Send { path, bytes: bytes.clone() });
            return;
        }
        match message.method() {
            "INVITE" => self.invited(moment, path, message),
            "ACK" => self.acknowledged(message),
            "CANCEL" => self.cancelled(moment, path, message),
            "BYE" => self.hung_up(moment, path, message),
            "PRACK" => self.pracked(moment, path, message),
            "UPDATE" => self.updated(moment, path, message),
            "OPTIONS" if matches!(self.mood, Mood::Refusing(503)) => self.answer(moment, path, message, 503, "", ""),
            _ => self.answer(moment, path, message, 200, "", ""),
        }
    }

    /// Sends a response; `lines` are whole header lines. The last one is kept for repetitions of the request.
    pub fn answer(&mut self, moment: &mut Moment<'_>, path: Path, request: &Msg, code: u16, lines: &str, body: &str) {
        let bytes = self.response_to(request, code, lines, body);
        let key = format!("{} {}", request.branch(), request.method());
        self.responses.retain(|(have, _)| *have != key);
        self.responses.push_back((key, bytes.clone()));
        if self.responses.len() > 40 {
            self.responses.pop_front();
        }
        moment.effects.push(Effect::Send { path, bytes });
    }

    pub fn last_response(&self) -> Vec<u8> {
        self.responses.back().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    fn response_to(&self, request: &Msg, code: u16, lines: &str, body: &str) -> Vec<u8> {
        let mut text = format!("SIP/2.0 {code} {}\r\n", phrase(code));
        for via in request.all("Via") {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        let mut to = request.get("To").to_owned();
        if request.to_tag().is_empty() && code > 100 {
            let tag = self.legs.get(request.call_id()).map_or("none", |leg| leg.local_tag.as_str());
            to.push_str(&format!(";tag={tag}"));
        }
        let (from, call_id, cseq) = (request.get("From"), request.call_id(), request.get("CSeq"));
        text.push_str(&format!("From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n{lines}"));
        text.push_str(&with_body(body));
        text.into_bytes()
    }
}

/// The end of a message.
pub fn with_body(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        503 => "Service Unavailable",
        _ => "No",
    }
}
