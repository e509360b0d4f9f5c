//! Calls whose media go through rtpengine: what it is asked, and what it said. Each pair of legs is a call of its own there, so
//! that no branch of a fork has to do with another. Whatever it does not answer in time goes through our relay.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};

use super::certificate::{Certificate, Left};
use super::count::COUNT;
use super::health::Count;
use super::own::Speaks;
use crate::base::{Instant, Protocol};
use crate::call::ring::Resumed;
use crate::call::{Calls, Parts};
use crate::config::{Config, MediaMode};
use crate::dialog::Exchange;
use crate::media::Stream;
use crate::media::ng::{AskId, Client, Command, HASHES, Heard, Profile, Refused, Reply, Told};
use crate::media::scrub;
use crate::ua::{CallId, Event, Leg, LegId};

/// Descriptions of a pair of legs that are remembered with what became of them.
const KNOWN: usize = 8;
/// A pair of legs, as rtpengine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::call) struct SessionId(u64);

#[derive(Default)]
pub(super) struct Engine {
    pub(super) client: Client,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    last: u64,
    pub(super) asks: BTreeMap<AskId, Purpose>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) left: Left,
    /// Events of calls that wait for an answer.
    pub(super) parked: BTreeMap<CallId, Parked>,
    /// A call that goes on without.
    without: Option<CallId>,
    count_due: Option<Instant>,
    /// For how many counts calls of browsers have been mute.
    pub(super) mute_rounds: BTreeMap<CallId, u32>,
    /// What rtpengine has to be told of, and by which name.
    over: Vec<(SocketAddr, CompactString)>,
}

/// Events of one call, the oldest first.
pub(super) struct Parked {
    /// What they wait for.
    pub ask: AskId,
    /// It is about the first one.
    pub is_own: bool,
    pub waiting: VecDeque<(LegId, Event)>,
}

pub(super) struct Session {
    pub(super) name: CompactString,
    pub(super) call: CallId,
    pub(super) instance: Option<SocketAddr>,
    pub(super) hub: LegId,
    /// `None`: it is not called yet. [`own_voice`]: we speak ourselves.
    pub(super) spoke: Option<LegId>,
    /// Who made the last offer: the hub?
    pub(super) offered_by_hub: bool,
    pub(super) is_answered: bool,
    /// Of an offer that came to nothing it was told what holds instead.
    pub(super) is_told_again: bool,
    /// Its instance was gone, and nobody else there: ICE has given up since.
    pub(super) was_lost: bool,
    pub(super) known: VecDeque<Known>,
    /// How many sessions the peers of hub and spoke were told of before it.
    pub(super) turns: [Option<usize>; 2],
    /// Of hub and spoke.
    pub(super) counts: [Vec<Count>; 2],
    wants: Profile,
}

pub(super) struct Known {
    pub(super) by_hub: bool,
    pub(super) is_offer: bool,
    pub(super) original: Bytes,
    pub(super) text: Bytes,
}

/// What is asked of a description on its way between two legs.
pub(super) struct Asked {
    pub session: SessionId,
    pub call: CallId,
    pub by_hub: bool,
    pub profile: Profile,
    pub is_answer: bool,
    pub crossing: Crossing,
}

/// What was asked, and what for.
pub(super) enum Purpose {
    /// A description on its way between two legs.
    Crossing {
        name: CompactString,
        asked: Asked,
    },
    /// The offer to a leg that is not called yet.
    First {
        session: SessionId,
        name: CompactString,
        original: Bytes,
        asked: Bytes,
        resume: Resume,
    },
    /// Between a leg and our own voice: its offer, then our answer.
    Voice {
        session: SessionId,
        name: CompactString,
        call: CallId,
        by_hub: bool,
        original: Bytes,
        speaks: Speaks,
    },
    Count {
        session: SessionId,
    },
    /// The fingerprint `at` of a certificate, which no call waits for.
    Certificate {
        name: CompactString,
        usual: CompactString,
        at: usize,
    },
}

impl Purpose {
    pub(super) const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Crossing { asked, .. } => Some(asked.session),
            Self::First { session, .. } | Self::Voice { session, .. } | Self::Count { session } => Some(*session),
            Self::Certificate { .. } => None,
        }
    }

    /// The hub says it.
    const fn is_of_hub(&self) -> bool {
        match self {
            Self::Crossing { asked, .. } => asked.by_hub,
            Self::Voice { by_hub, .. } => *by_hub,
            Self::First { .. } | Self::Count { .. } | Self::Certificate { .. } => true,
        }
    }
}

/// What goes on when the first offer is there.
pub(in crate::call) enum Resume {
    /// The search for a trunk.
    Target,
    Ring(Box<Resumed>),
}

impl Resume {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Target, Self::Target) => true,
            (Self::Ring(one), Self::Ring(other)) => one.device.contact == other.device.contact,
            (_, _) => false,
        }
    }
}

/// What an attempt does.
pub(in crate::call) enum Start {
    /// With this session, or without rtpengine.
    Now(Option<SessionId>),
    /// It is taken up again.
    Later,
}

/// An offer that is to be made to a leg that is not called yet.
pub(in crate::call) struct Opening {
    pub from: LegId,
    /// What the trunk says of media.
    pub mode: Option<MediaMode>,
    pub protocol: Protocol,
    pub is_ipv4: bool,
    pub original: Bytes,
    /// Without what tells who the user is.
    pub bare: Option<Vec<u8>>,
}

/// A description that crosses between two legs.
pub(super) struct Crossing {
    pub from: LegId,
    pub to: LegId,
    pub original: Bytes,
    pub asked: Bytes,
    /// Whatever it was to who said it, `to` is offered it.
    pub is_offered: bool,
    /// It was asked before, of an rtpengine that did not know what it is about.
    pub is_again: bool,
    /// How often what rtpengine made of it led where another session was.
    pub moves: u8,
    /// What is asked after it: the answer.
    pub then: Option<Box<Crossing>>,
}

impl Engine {
    pub(super) fn session(&self, one: LegId, other: LegId) -> Option<(SessionId, &Session)> {
        let is_it = |session: &Session| {
            let legs = [Some(session.hub), session.spoke];
            legs == [Some(one), Some(other)] || legs == [Some(other), Some(one)]
        };
        self.sessions.iter().find(|(_, session)| is_it(session)).map(|(id, session)| (*id, session))
    }

    pub(super) fn open(
        &mut self,
        call: CallId,
        hub: LegId,
        spoke: Option<LegId>,
        name: u64,
        wants: Profile,
    ) -> SessionId {
        self.last += 1;
        let session = Session {
            name: format_compact!("sosbridge-{name:016x}-{:x}", self.last),
            call,
            instance: None,
            hub,
            spoke,
            offered_by_hub: true,
            is_answered: false,
            is_told_again: false,
            was_lost: false,
            known: VecDeque::new(),
            turns: [None; 2],
            counts: Default::default(),
            wants,
        };
        self.sessions.insert(SessionId(self.last), session);
        SessionId(self.last)
    }

    pub(super) fn is_lost(&self, session: SessionId) -> bool {
        let Some(session) = self.sessions.get(&session) else { return false };
        session.was_lost || session.instance.is_some_and(|instance| self.client.is_gone(instance))
    }

    /// Its instance is silent, and another one is not.
    pub(super) fn may_leave(&self, session: SessionId) -> bool {
        let instance = self.sessions.get(&session).and_then(|session| session.instance);
        let is_silent = instance.is_some_and(|instance| !self.client.is_up(instance));
        is_silent && (self.is_lost(session) || self.client.preferred().is_some())
    }

    /// Pairs of legs that are no more.
    pub(super) fn close(&mut self, is_over: impl Fn(SessionId, &Session) -> bool) {
        let Self { sessions, over, left, .. } = self;
        sessions.retain(|id, session| {
            let is_over = is_over(*id, session);
            if is_over {
                left.note(session);
            }
            if let Some(instance) = session.instance.filter(|_| is_over) {
                over.push((instance, session.name.clone()));
            }
            !is_over
        });
    }

    /// A call is over, with whatever is asked for it: who was asked may have it already, and nobody will tell.
    pub(super) fn close_call(&mut self, call: CallId) {
        let Self { client, sessions, asks, over, .. } = self;
        asks.retain(|ask, purpose| {
            let session = purpose.session().and_then(|session| sessions.get(&session));
            let Some(session) = session.filter(|session| session.call == call) else { return true };
            let [asked, left] = client.forget(*ask);
            let asked = asked.filter(|_| session.instance.is_none());
            over.extend(asked.into_iter().chain(left).map(|instance| (instance, session.name.clone())));
            false
        });
        self.close(|_, session| session.call == call);
        self.parked.remove(&call);
    }

    /// A leg goes over to another call.
    pub(super) fn move_leg(&mut self, leg: LegId, to: CallId) {
        for session in self.sessions.values_mut().filter(|session| session.has(leg)) {
            session.call = to;
        }
    }

    /// What `description` of the peer of `from` has become for that of `to`.
    pub(super) fn rewritten(&self, from: LegId, to: LegId, description: &[u8]) -> Option<Bytes> {
        self.known(from, to, description).map(|known| known.text.clone())
    }

    pub(super) fn known(&self, from: LegId, to: LegId, description: &[u8]) -> Option<&Known> {
        let (_, session) = self.session(from, to)?;
        let by_hub = session.hub == from;
        session.known.iter().find(|known| known.by_hub == by_hub && known.original == description)
    }
}

impl Session {
    pub(super) fn has(&self, leg: LegId) -> bool {
        self.hub == leg || self.spoke == Some(leg)
    }

    pub(super) fn learn(&mut self, by_hub: bool, original: Bytes, text: Bytes) {
        let is_offer = self.offered_by_hub == by_hub;
        if let Some(counts) = self.counts.get_mut(usize::from(!by_hub)) {
            Count::describe(counts, &original);
        }
        self.known.retain(|known| known.by_hub != by_hub || known.original != original);
        self.known.truncate(KNOWN - 1);
        self.known.push_front(Known { by_hub, is_offer, original, text });
    }
}

pub(super) const fn tag(is_hub: bool) -> &'static str {
    if is_hub { "hub" } else { "spoke" }
}

/// What a leg takes: as its own description says, else as what it speaks over.
pub(super) fn profile_of(leg: &Leg) -> Profile {
    let said = leg.offer().unwrap_or(leg.theirs());
    match Stream::all(said).first() {
        Some(stream) if stream.is_dtls() => Profile::Browser,
        Some(stream) if stream.protocol.starts_with(b"RTP/SAVP") => Profile::Same,
        Some(_) => Profile::Plain,
        None => profile_over(leg.flow().protocol),
    }
}

/// Who speaks over a WebSocket is a browser (RFC 7118).
const fn profile_over(protocol: Protocol) -> Profile {
    match protocol {
        Protocol::Ws | Protocol::Wss => Profile::Browser,
        Protocol::Udp | Protocol::Tcp | Protocol::Tls => Profile::Plain,
    }
}

impl Calls {
    /// The instances of the configuration; none where no call can want them.
    pub fn set_rtpengine(&mut self, now: Instant, config: Option<&Config>) {
        let engine = &mut self.media.engine;
        let trunks = || config.into_iter().flat_map(|config| &config.trunks).map(|trunk| trunk.media);
        let is_wanted = config.is_some_and(|config| config.media.mode == MediaMode::Rtpengine)
            || trunks().any(|mode| mode == Some(MediaMode::Rtpengine));
        let instances = config.filter(|_| is_wanted).map(|config| &config.media.rtpengine[..]);
        engine.client.set_instances(now, instances.unwrap_or_default());
        engine.count_due = is_wanted.then(|| now + COUNT);
    }

    pub fn rtpengine_deadline(&self) -> Option<Instant> {
        self.media.engine.client.next_deadline().into_iter().chain(self.media.engine.count_due).min()
    }

    /// The next datagram for an instance.
    pub fn poll_rtpengine(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.media.engine.client.poll_output()
    }

    pub fn rtpengine_timeout(&mut self, parts: &mut Parts<'_>) {
        let now = parts.context.now;
        for heard in self.media.engine.client.handle_timeout(now, parts.context.rng) {
            self.rtpengine_said(parts, heard);
        }
        if self.media.engine.client.take_lost() {
            self.leave_lost(parts);
        }
        self.join_mute(parts);
        if self.media.engine.count_due.is_some_and(|due| due <= now) {
            self.media.engine.count_due = Some(now + COUNT);
            self.ask_counts(parts);
        }
    }

    /// A datagram of an instance.
    pub fn rtpengine_sent(&mut self, parts: &mut Parts<'_>, from: SocketAddr, datagram: &[u8]) {
        if let Some(heard) = self.media.engine.client.received(from, datagram) {
            self.rtpengine_said(parts, heard);
        }
        self.join_mute(parts);
    }

    fn rtpengine_said(&mut self, parts: &mut Parts<'_>, heard: Heard) {
        let Some(purpose) = self.media.engine.asks.remove(&heard.ask) else { return };
        let (session, name, asked) = match &purpose {
            Purpose::Crossing { name, asked } => (asked.session, name, &asked.crossing.asked),
            Purpose::First { session, name, asked, .. } => (*session, name, asked),
            Purpose::Voice { session, name, original, .. } => (*session, name, original),
            Purpose::Count { session } => return self.engine_counted(parts, *session, heard.reply),
            Purpose::Certificate { name, usual, at } => {
                self.media.engine.over.push((heard.instance, name.clone()));
                return self.certificate_told(heard.reply, usual, *at);
            }
        };
        let text = described(heard.reply, asked);
        // Who was asked before, or for a pair of legs that is over meanwhile, has it for nothing.
        let Engine { sessions, over, .. } = &mut self.media.engine;
        over.extend(heard.left.map(|left| (left, name.clone())));
        match sessions.get_mut(&session) {
            Some(known) => known.instance = Some(heard.instance),
            None => over.push((heard.instance, name.clone())),
        }
        if let Err(reason) = &text {
            tracing::warn!(instance = %heard.instance, %reason, "rtpengine is of no use to a call, which goes on without it");
            self.media.engine.close(|id, _| id == session);
        }
        let text = text.map(|text| self.fingerprinted(parts, session, purpose.is_of_hub(), text));
        match purpose {
            Purpose::Crossing { asked, .. } => self.crossing_said(parts, heard.ask, asked, text.ok()),
            Purpose::First { original, resume, .. } => {
                let known = self.media.engine.sessions.get_mut(&session);
                let id = match (known, text) {
                    (Some(known), Ok(text)) => {
                        let is_browser = known.wants == Profile::Browser;
                        let text = if is_browser { text } else { scrub(&text, &original).into() };
                        known.learn(true, original, text);
                        Ok(known.call)
                    }
                    (_, _) => Err(()),
                };
                self.resume(parts, id.ok(), heard.ask, resume);
            }
            Purpose::Voice { call, by_hub, original, speaks, .. } => {
                if let (Some(known), Ok(text)) = (self.media.engine.sessions.get_mut(&session), text) {
                    known.learn(by_hub, original, text);
                }
                self.voice_said(parts, (call, session), heard.ask, by_hub, speaks);
            }
            Purpose::Count { .. } | Purpose::Certificate { .. } => {}
        }
    }

    /// Goes on with what waited for the first offer.
    fn resume(&mut self, parts: &mut Parts<'_>, ready: Option<CallId>, ask: AskId, resume: Resume) {
        let Some((id, _)) = self.calls.iter().find(|(_, call)| call.asking.contains(&ask)) else { return };
        if let Some(call) = self.calls.get_mut(id) {
            call.asking.retain(|asking| *asking != ask);
        }
        self.media.engine.without = Some(id).filter(|_| ready.is_none());
        self.media.touch(id);
        match resume {
            Resume::Target => self.next_target(parts, id),
            Resume::Ring(resumed) => self.ring_resumed(parts, id, *resumed),
        }
        self.media.engine.without = None;
    }

    /// Asks for the offer to a leg that is about to be called, or says that it is there.
    pub(in crate::call) fn open_session(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        opening: Option<Opening>,
        resume: impl FnOnce() -> Resume,
    ) -> Start {
        let Some(opening) = opening else { return Start::Now(None) };
        let wants = profile_over(opening.protocol);
        let named = self.media.legs.get(&opening.from).and_then(|media| media.mode);
        let engine = &mut self.media.engine;
        if super::passage::mode_of(parts, [named, opening.mode]) != MediaMode::Rtpengine || engine.without == Some(id) {
            return Start::Now(None);
        }
        let is_ready = |session: &Session| {
            let knows = session.known.iter().any(|known| known.by_hub && known.original == opening.original);
            session.call == id && session.spoke.is_none() && session.wants == wants && knows
        };
        if let Some((session, _)) = engine.sessions.iter().find(|(_, session)| is_ready(session)) {
            return Start::Now(Some(*session));
        }
        let resume = resume();
        let is_same = |purpose: &Purpose| match purpose {
            Purpose::First { session, resume: other, .. } => {
                engine.sessions.get(session).is_some_and(|session| session.call == id) && resume.is_same(other)
            }
            Purpose::Crossing { .. } | Purpose::Voice { .. } | Purpose::Count { .. } | Purpose::Certificate { .. } => {
                false
            }
        };
        if engine.asks.values().any(is_same) {
            return Start::Later;
        }
        let session = engine.open(id, opening.from, None, parts.context.rng.u64(), wants);
        let asked: Bytes = opening.bare.map_or_else(|| opening.original.clone(), Bytes::from);
        let name = engine.sessions.get(&session).map(|session| session.name.clone()).unwrap_or_default();
        let command = Command::Offer {
            call: &name,
            from: tag(true),
            to: None,
            told: Told { description: &asked, profile: wants, is_ipv4: opening.is_ipv4, hash: HASHES[0] },
        };
        let Some(ask) = engine.client.ask(parts.context.now, parts.context.rng, None, &command) else {
            engine.sessions.remove(&session);
            return Start::Now(None);
        };
        engine.asks.insert(ask, Purpose::First { session, name, original: opening.original, asked, resume });
        if let Some(call) = self.calls.get_mut(id) {
            call.asking.push(ask);
        }
        Start::Later
    }

    /// A leg is called with the offer of a session.
    pub(in crate::call) fn adopt(&mut self, session: Option<SessionId>, leg: LegId) {
        let Some(session) = session else { return };
        if let Some(session) = self.media.engine.sessions.get_mut(&session) {
            session.spoke = Some(leg);
        }
        self.hash_for(leg, session);
    }

    /// Asks for a description on its way; `None`: it goes without.
    pub(super) fn ask_crossing(&mut self, parts: &mut Parts<'_>, id: CallId, crossing: Crossing) -> Option<AskId> {
        let Crossing { from, to, is_offered, .. } = crossing;
        let leg = parts.ua.leg(to)?;
        let (awaits, profile) = (leg.exchange() == Exchange::OfferReceived, profile_of(leg));
        let is_ipv4 = leg.flow().remote.ip().to_canonical().is_ipv4();
        let is_offer = parts.ua.leg(from).is_some_and(|leg| leg.exchange() == Exchange::OfferReceived);
        let engine = &mut self.media.engine;
        let known = engine.session(from, to).map(|(id, session)| {
            let by_hub = session.hub == from;
            // An offer that was refused may be open there still.
            let is_due = session.offered_by_hub != by_hub && (awaits || !session.is_answered);
            (id, by_hub, !is_offer && !is_offered && is_due)
        });
        let (session, by_hub, is_answer) = match known {
            Some((_, _, false)) if awaits => return None,
            // The offer went another way.
            None if awaits => return self.ask_again(parts, id, crossing),
            // Its instance is gone: another one takes it with this offer.
            Some((session, _, false)) if engine.may_leave(session) => {
                engine.close(|id, _| id == session);
                (engine.open(id, from, Some(to), parts.context.rng.u64(), profile), true, false)
            }
            Some(known) => known,
            None => (engine.open(id, from, Some(to), parts.context.rng.u64(), profile), true, false),
        };
        let hash = self.hash_for(to, session);
        let engine = &mut self.media.engine;
        let state = engine.sessions.get_mut(&session)?;
        let name = state.name.clone();
        let told = Told { description: &crossing.asked, profile, is_ipv4, hash };
        let command = if is_answer {
            let (from, to) = (tag(!by_hub), tag(by_hub));
            Command::Answer { call: &name, from, to, told }
        } else {
            // The first one was the hub's.
            let to = (!by_hub).then(|| tag(true));
            Command::Offer { call: &name, from: tag(by_hub), to, told }
        };
        let ask = engine.client.ask(parts.context.now, parts.context.rng, state.instance, &command);
        match is_answer {
            true => state.is_answered = true,
            false => (state.offered_by_hub, state.is_answered) = (by_hub, false),
        }
        state.is_told_again &= !is_offer;
        let Some(ask) = ask else {
            self.media.engine.close(|id, _| id == session);
            if let Some(call) = self.calls.get_mut(id).filter(|_| is_answer) {
                call.alignment.expect_both(from);
            }
            return None;
        };
        let asked = Asked { session, call: id, by_hub, profile, is_answer, crossing };
        engine.asks.insert(ask, Purpose::Crossing { name, asked });
        Some(ask)
    }

    /// The one who answered has an offer of an instance that nobody joins with his answer: he is offered the other one's own
    /// description when the call is up.
    pub(super) fn gone_astray(&mut self, parts: &mut Parts<'_>, id: CallId, answerer: Option<LegId>) {
        let (Some(answerer), Some(call)) = (answerer, self.calls.get_mut(id)) else { return };
        call.alignment.expect_both(answerer);
        if self.other(id, answerer).is_some() {
            self.align(parts, id);
        }
    }

    /// Tells rtpengine which pairs of legs are over.
    pub fn delete_sessions(&mut self, parts: &mut Parts<'_>) {
        for (instance, name) in std::mem::take(&mut self.media.engine.over) {
            let command = Command::Delete { call: &name };
            self.media.engine.client.ask(parts.context.now, parts.context.rng, Some(instance), &command);
        }
    }
}

fn described(reply: Option<Result<Reply, Refused>>, asked: &[u8]) -> Result<Bytes, String> {
    match reply {
        None => Err("no answer in time".to_owned()),
        Some(Err(refused)) => Err(refused.to_string()),
        Some(Ok(reply)) => reply.of(asked).map_err(|refused| refused.to_string()),
    }
}
