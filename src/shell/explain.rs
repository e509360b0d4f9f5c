//! `sosbridge explain`: what would happen if this user dialled that, without placing the call.
//!
//! A node like the one that serves calls is started on the configuration, without sockets and store, and gets the INVITE of a
//! phone that proves who it is. What it notes and what it would send is the answer: the same code decides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::credentials;
use super::dns::Resolver;
use super::events::{self, Event};
use super::file::Configuration;
use crate::admin::Metrics;
use crate::base::{Instant, Protocol};
use crate::config::{Aor, Config, User};
use crate::media::{News, PairId, Ports};
use crate::node::{Boot, Input, Node, Output};
use crate::sip::digest::{Algorithm, Hex};
use crate::sip::{Message, Method};
use crate::transport::{ConnId, Flow, ListenerId};

/// How long names of trunks may take to be found.
const NAMES: Duration = Duration::from_secs(10);
/// Where a phone calls from that nobody said a place of: addresses for documentation, which belong to nobody (RFC 5737, RFC 3849).
const SOMEWHERE: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const PORT: u16 = 5060;
/// Pairs of media ports for one call.
const PAIRS: usize = 64;
const CONNECTION: ConnId = ConnId(ConnId::ACCEPTED | 1);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Address of record of the caller.
    pub user: String,
    /// As dialled: digits or a URI.
    pub dialled: String,
    pub source: Option<IpAddr>,
    /// `X-Country-Code` of the call.
    pub country: Option<String>,
}

/// What would happen.
#[derive(Debug)]
pub struct Explanation {
    /// What decided, in its order.
    pub notes: Vec<String>,
    /// The INVITE that would leave, and where to.
    pub sent: Option<(Flow, Message)>,
    /// The answer that the phone would get first, beside 100.
    pub answer: Option<Message>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainFault {
    #[error("--user {0}: not an address of record such as sip:alice@example.com")]
    NoAor(String),
    #[error("--user {0}: no [[users]] of the configuration")]
    NoUser(String),
    #[error("{0}: cannot be dialled: {1}")]
    Undialable(String, crate::sip::Malformed),
    #[error("--source {0}: no [[sip.listen]] has an address of its family")]
    NoListener(IpAddr),
    #[error("--country {0}: not a code of two letters")]
    NoCountry(String),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Asks a node of its own.
///
/// # Errors
/// The question names nobody, or nothing that can be dialled.
pub fn explain(configuration: Configuration, question: &Question) -> Result<Explanation, ExplainFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(configuration, question))
}

/// As [`explain`], for a configuration whose trunks are named by address.
///
/// # Errors
/// As [`explain`].
pub fn explain_at_once(config: Arc<Config>, question: &Question) -> Result<Explanation, ExplainFault> {
    let phone = Phone::of(&config, question)?;
    Ok(Trial::new(config, Metrics::new()).run(&phone))
}

async fn ask(configuration: Configuration, question: &Question) -> Result<Explanation, ExplainFault> {
    let Configuration { config, geography, .. } = configuration;
    let config = Arc::new(config);
    let phone = Phone::of(&config, question)?;
    let metrics = Metrics::new();
    let (sender, mut events) = mpsc::channel(events::QUEUE);
    let resolver = Resolver::new(&config.sip.dns, sender, metrics.clone())?;
    let mut trial = Trial::new(config, metrics);
    if let Some(input) = geography.input() {
        trial.input(input);
    }
    let deadline = tokio::time::Instant::now() + NAMES;
    let mut waiting = trial.resolve(&resolver);
    while waiting > 0
        && let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await
    {
        if let Event::Input(input) = event {
            waiting -= 1;
            trial.input(input);
            waiting += trial.resolve(&resolver);
        }
    }
    Ok(trial.run(&phone))
}

/// The caller's phone.
pub struct Phone {
    user: User,
    flow: Flow,
    uri: String,
    country: Option<String>,
}

impl Phone {
    /// # Errors
    /// As [`explain`].
    pub fn of(config: &Config, question: &Question) -> Result<Self, ExplainFault> {
        let named = &question.user;
        let aor: Aor = named.parse().map_err(|_| ExplainFault::NoAor(named.clone()))?;
        let user = config.user_served(&aor).ok_or_else(|| ExplainFault::NoUser(named.clone()))?.clone();
        if let Some(code) =
            question.country.as_ref().filter(|code| crate::config::Country::parse(code.as_bytes()).is_none())
        {
            return Err(ExplainFault::NoCountry(code.clone()));
        }
        let fits = |address: SocketAddr| question.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        let mut listeners = config.listeners.iter().zip(0u8..).filter(|(listener, _)| fits(listener.address));
        let is_udp = |(listener, _): &(&crate::config::Listener, u8)| listener.protocol == Protocol::Udp;
        let first = listeners.clone().find(is_udp).or_else(|| listeners.next());
        let nowhere = || question.source.unwrap_or(IpAddr::V4(SOMEWHERE.0));
        let (listener, at) = first.ok_or_else(|| ExplainFault::NoListener(nowhere()))?;
        let somewhere = if listener.address.is_ipv4() { SOMEWHERE.0.into() } else { SOMEWHERE.1.into() };
        let remote = SocketAddr::new(question.source.unwrap_or(somewhere), PORT);
        let connection = (listener.protocol != Protocol::Udp).then_some(CONNECTION);
        let flow = Flow { protocol: listener.protocol, listener: ListenerId(at), remote, connection };
        let uri = match question.dialled.contains(':') {
            true => question.dialled.clone(),
            false => format!("sip:{}@{}", question.dialled, user.aor.domain()),
        };
        let phone = Self { user, flow, uri, country: question.country.clone() };
        match Message::parse(phone.invite()) {
            Ok(_) => Ok(phone),
            Err(malformed) => Err(ExplainFault::Undialable(question.dialled.clone(), malformed)),
        }
    }

    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// What it sends first.
    pub fn invite(&self) -> Bytes {
        self.print(1, "")
    }

    fn print(&self, cseq: u8, lines: &str) -> Bytes {
        let Self { user, flow, uri, country } = self;
        let (aor, at) = (&user.aor, flow.remote);
        let family = if at.is_ipv4() { "IP4" } else { "IP6" };
        let country = country.as_ref().map(|code| format!("X-Country-Code: {code}\r\n")).unwrap_or_default();
        let body = format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
            ip = at.ip(),
        );
        let message = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {at};branch=z9hG4bKexplain{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <{aor}>;tag=explain\r\nTo: <{uri}>\r\nCall-ID: explain\r\nCSeq: {cseq} INVITE\r\n\
             Contact: <sip:{local}@{at}>\r\n{country}{lines}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
            via = flow.protocol.via_token(),
            local = aor.user(),
            length = body.len(),
        );
        Bytes::from(message)
    }

    /// The INVITE again, with the answer to a challenge.
    fn answering(&self, challenge: &Message) -> Option<Bytes> {
        let secret = &self.user.secret;
        let ha1 = |algorithm, _: &[u8]| match algorithm {
            Algorithm::Md5 => secret.ha1_md5.map(|hash| Hex::new(&hash)),
            Algorithm::Sha256 => secret.ha1_sha256.map(|hash| Hex::new(&hash)),
        };
        let asked = (Method::Invite.as_str(), self.uri.as_str());
        let (value, _) = credentials::answer(challenge, self.user.aor.user(), "explain", asked, ha1)?;
        Some(self.print(2, &format!("Authorization: {value}\r\n")))
    }
}

/// A node without a world around it.
struct Trial {
    node: Node,
    now: Instant,
    questions: Vec<Output>,
    sent: Vec<(Flow, Message)>,
}

impl Trial {
    fn new(config: Arc<Config>, metrics: Metrics) -> Self {
        let now = Instant::from_millis(1);
        // An INVITE may tell the time.
        let wall_offset_ms = i64::try_from(super::clock::Reading::now().wall_ms).unwrap_or(0);
        let boot = Boot {
            now,
            seed: [0; 32],
            wall_offset_ms,
            leases: vec![],
            bindings: vec![],
            records: vec![],
            notices: vec![],
        };
        let mut node = Node::new(Arc::clone(&config), boot, metrics);
        node.explain();
        // Ports that nobody has bound, for the description to tell of.
        let (first, last) = config.media.ports;
        let pairs = (first.next_multiple_of(2)..last).step_by(2).take(PAIRS).zip(0..);
        let at = |address: &IpAddr| {
            let address = *address;
            pairs.clone().map(move |(rtp, pair)| Ports {
                pair: PairId(2 * pair + u64::from(address.is_ipv6())),
                address,
                rtp,
            })
        };
        let bound = config.media.addresses.iter().flat_map(at).collect();
        node.handle(now, Input::Media(News::Bound(bound)));
        let mut trial = Self { node, now, questions: Vec::new(), sent: Vec::new() };
        trial.collect();
        trial
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    if let Ok(message) = Message::parse(transmit.bytes) {
                        self.sent.push((transmit.flow, message));
                    }
                }
                Output::Connect { connection, .. } => self.node.handle(self.now, Input::Connected { connection }),
                Output::Persist { write, .. } => self.node.handle(self.now, Input::Stored { write, result: Ok(()) }),
                question @ Output::Resolve { .. } => self.questions.push(question),
                Output::Close { .. } | Output::Media(_) | Output::Post { .. } | Output::Ng { .. } => {}
            }
        }
    }

    /// Asks for the names that the node wants to know; how many.
    fn resolve(&mut self, resolver: &Resolver) -> usize {
        let questions = std::mem::take(&mut self.questions);
        let count = questions.len();
        for output in questions {
            if let Output::Resolve { query, question } = output {
                resolver.resolve(query, question);
            }
        }
        count
    }

    fn say(&mut self, phone: &Phone, bytes: Bytes) {
        let Flow { protocol, listener, remote, connection } = phone.flow;
        self.input(match connection {
            None => Input::Datagram { listener, remote, bytes },
            Some(connection) if protocol.is_web_socket() => Input::Frame { connection, bytes },
            Some(connection) => Input::Stream { connection, bytes },
        });
    }

    /// The answer to the phone, 100 apart.
    fn answer(&self, phone: &Phone) -> Option<Message> {
        let is_answer = |(flow, message): &&(Flow, Message)| flow.remote == phone.flow.remote && message.code() > 100;
        self.sent.iter().rfind(is_answer).map(|(_, message)| message.clone())
    }

    fn run(mut self, phone: &Phone) -> Explanation {
        let Flow { listener, remote, connection, .. } = phone.flow;
        if let Some(connection) = connection {
            self.input(Input::Accepted { connection, listener, remote, identities: vec![] });
        }
        self.node.take_notes();
        self.say(phone, phone.invite());
        if let Some(challenge) = self.answer(phone).filter(|answer| answer.code() == 401)
            && let Some(again) = phone.answering(&challenge)
        {
            self.node.take_notes();
            self.sent.clear();
            self.say(phone, again);
        }
        let answer = self.answer(phone);
        let is_invite = |(_, message): &&(Flow, Message)| message.is_request() && message.method() == Method::Invite;
        let sent = self.sent.iter().find(is_invite).cloned();
        let mut notes = self.node.take_notes();
        if let (true, Some(answer)) = (notes.is_empty(), &answer) {
            notes.push(format!(
                "Before any rule of calls it is refused with {}: no call can be made of it",
                answer.code()
            ));
        }
        Explanation { notes, sent, answer }
    }
}

impl Explanation {
    /// The call would come to nothing.
    pub fn is_refused(&self) -> bool {
        self.sent.is_none() && self.answer.as_ref().is_none_or(|answer| answer.code() >= 300)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (note, number) in self.notes.iter().zip(1..) {
            writeln!(f, "{number:>2}. {note}")?;
        }
        writeln!(
            f,
            "    A running daemon is not asked: what it has leased and who is registered there is not known here"
        )?;
        match (&self.sent, &self.answer) {
            (Some((flow, invite)), _) => {
                writeln!(f, "\nSent to {flow}:\n")?;
                f.write_str(&String::from_utf8_lossy(invite.bytes()).replace("\r\n", "\n"))
            }
            (None, Some(answer)) => {
                writeln!(f, "\nAnswered by this daemon:\n")?;
                f.write_str(&String::from_utf8_lossy(answer.bytes()).replace("\r\n", "\n"))
            }
            (None, None) => f.write_str("\nNo trunk can be tried now: the caller waits, and gets 503\n"),
        }
    }
}
