//! Out to the trunks: targets in order, the next one on silence or failure, round after round while the caller holds on (SPEC §5).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};

use super::callback::is_refusal_of_a_person;
use super::direct::Fallback;
use super::history::{Attempt, Kind, Outcome, Report};
use super::i3::{self, Attempted};
use super::media::{Opening, Passage, Resume, Start};
use super::refer_to::Callee;
use super::rewrite::{self, Secrets};
use super::routing::{flow_to, hostport};
use super::{Alarm, Branch, Call, Calls, Parts, Stage, classify};
use crate::base::{E164, Instant, limits};
use crate::config::{Config, RequestUri, Trunk, TrunkIdx};
use crate::lease::Shown;
use crate::sip::{Message, Name, Uri};
use crate::transaction::ServerId;
use crate::transport::{Flow, Place};
use crate::trunk::{Sign, Target, TargetId, Trunks};
use crate::ua::{CallId, Content, Invitation, LegId, Refusal, Ua, Unacceptable};

/// The pause between two rounds over all trunks: the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// A call on its way over trunks.
pub(super) struct Dialling {
    /// The caller's INVITE, which every attempt is made from; on a transfer there may be none.
    invite: Option<Message>,
    /// A transfer: what takes the place of what was dialled.
    referred: Option<Box<Referred>>,
    /// Who the trunk sees: the temporary number, or on a call that is no emergency the user itself.
    identity: CompactString,
    /// What the trunk is asked for.
    number: CompactString,
    service: Option<CompactString>,
    /// A direct route: what comes after its trunks.
    fallback: Option<Box<Fallback>>,
    secrets: Option<Secrets>,
    trunks: Vec<TrunkIdx>,
    hops: VecDeque<Hop>,
    /// The target of the last attempt.
    trying: Option<TargetId>,
    pause: Duration,
    /// The last attempt, when we had added a location to it.
    added: Option<Hop>,
    /// No new round after this.
    give_up: Instant,
    last: Option<Refusal>,
    /// A whole round has failed, which was told.
    has_failed: bool,
}

/// What a REFER makes of an attempt.
pub(super) struct Referred {
    /// The Request-URI; `None`: the emergency number, as the trunk wants to be asked for it.
    pub wanted: Option<Wanted>,
    /// The caller's session description, as the target is to see it.
    pub description: Vec<u8>,
    pub lines: Vec<(&'static [u8], Box<[u8]>)>,
}

/// Whom a REFER asks for.
pub(super) enum Wanted {
    Uri(CompactString),
    /// The number at whatever target is tried.
    Number,
}

#[derive(Clone, Copy)]
pub(super) struct Hop {
    target: TargetId,
    place: Place,
    /// Without the location that we would add: it refused the call with it.
    pub is_bare: bool,
}

impl Dialling {
    pub(super) fn emergency(
        parts: &mut Parts<'_>,
        shown: Shown,
        emergency: classify::Emergency,
        invite: Message,
        trunks: Vec<TrunkIdx>,
    ) -> Self {
        let classify::Caller { aor, number, .. } = &emergency.caller;
        Self {
            secrets: Some(Secrets::of(&invite, Some(aor), *number)),
            identity: format_compact!("{}", shown.number()),
            number: emergency.service.number,
            service: Some(emergency.service.urn),
            give_up: parts.context.now + parts.config.routing.retry,
            ..Self::new(Some(invite), trunks, parts.context.now)
        }
    }

    /// A transfer under `shown`, the number the trunks of the call have seen already (SPEC §5); `invite` is what is left of the
    /// caller's.
    pub(super) fn transfer(
        parts: &mut Parts<'_>,
        shown: E164,
        callee: Callee,
        referred: Referred,
        invite: Option<Message>,
    ) -> Self {
        Self {
            identity: format_compact!("{shown}"),
            number: callee.number,
            service: callee.service,
            referred: Some(Box::new(referred)),
            hops: hops(parts, &callee.trunks),
            ..Self::new(invite, callee.trunks, parts.context.now)
        }
    }

    /// The caller's INVITE, where a transfer will want something of it.
    pub(super) fn kept_invite(&self, config: &Config) -> Option<Box<[u8]>> {
        let invite = self.invite.as_ref().filter(|_| self.secrets.is_some())?;
        rewrite::is_telling(config, invite).then(|| invite.bytes().as_ref().into())
    }

    /// Takes note of a failure. What a person says to a transfer is its end: the call taker knows whom else to ask.
    pub(super) fn failed(&mut self, refusal: Refusal) {
        if self.referred.is_some() && is_refusal_of_a_person(refusal.status) {
            self.hops.clear();
        }
        // Equipment that cannot read a body of several parts, or this address, may take the call without it.
        let without = self.added.take().map(|hop| Hop { is_bare: true, ..hop });
        if let (Some(hop), 400 | 413 | 415 | 424 | 488 | 513 | 606) = (without, refusal.status) {
            self.hops.push_front(hop);
        }
        self.last = Some(refusal);
    }

    /// The last attempt had a location of ours.
    pub(super) fn has_added(&mut self, hop: Hop) {
        self.added = Some(hop);
    }

    pub(super) fn is_test(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.starts_with("urn:service:test"))
    }

    /// Whom the trunk sees.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// True when the caller has told where it is.
    pub(super) fn tells_location(&self) -> bool {
        self.invite.as_ref().is_some_and(i3::tells_location)
    }

    pub(super) fn says(&self, name: Name) -> bool {
        self.invite.as_ref().is_some_and(|invite| invite.header(name).is_some())
    }

    /// What an attempt over `leg` offers.
    fn content(&self, ua: &mut Ua, leg: LegId, passage: &Passage) -> Result<Option<Content>, Unacceptable> {
        let edit = |description: &[u8]| {
            let bare = self.secrets.as_ref().and_then(|secrets| secrets.remove_from(description));
            passage.edit(bare.as_deref().unwrap_or(description)).or(bare)
        };
        match (&self.referred, &self.invite) {
            (None, Some(invite)) => ua.relayed(leg, invite, edit),
            (Some(referred), Some(invite)) if crate::sip::sdp::of(invite).is_some() => {
                let described = || passage.edit(&referred.description).unwrap_or_else(|| referred.description.clone());
                ua.relayed(leg, invite, |_| Some(described()))
            }
            (Some(referred), _) => Ok(ua.described(leg, &referred.description, edit)),
            (None, None) => Ok(None),
        }
    }

    /// The description an attempt offers, before anything is changed of it.
    fn described(&self) -> Option<Bytes> {
        match (&self.referred, &self.invite) {
            (Some(referred), _) => Some(referred.description.clone().into()),
            (None, Some(invite)) => Some(invite.slice(invite.body().get(crate::sip::sdp::locate(invite)?)?)),
            (None, None) => None,
        }
    }

    /// The same for rtpengine.
    fn opening(&self, from: LegId, trunk: &Trunk, flow: Flow) -> Option<Opening> {
        let original = self.described()?;
        let bare = self.secrets.as_ref().and_then(|secrets| secrets.remove_from(&original));
        let is_ipv4 = flow.remote.ip().to_canonical().is_ipv4();
        Some(Opening { from, mode: trunk.media, protocol: flow.protocol, is_ipv4, original, bare })
    }

    /// CONFORMANCE DI-14: a redirection to another target of the trunk that sent it is tried first; to any other place never.
    fn follow(&mut self, trunks: &Trunks, uri: &[u8]) {
        let Ok(uri) = Uri::parse(uri) else { return };
        let trunk_of = |id: TargetId| trunks.target(id).and_then(Target::trunk);
        let Some(from) = self.trying.and_then(trunk_of) else { return };
        let is_meant = |hop: &Hop| {
            let same_port = uri.port.is_none_or(|port| port == hop.place.remote.port());
            let by_name = || trunks.target(hop.target).is_some_and(|target| target.config.host == uri.host.text());
            let is_there = uri.host.ip().is_some_and(|ip| ip == hop.place.remote.ip()) || by_name();
            trunk_of(hop.target) == Some(from) && same_port && is_there
        };
        if let Some(hop) = self.hops.iter().position(is_meant).and_then(|at| self.hops.remove(at)) {
            self.hops.push_front(hop);
        }
    }

    /// Rounds of an emergency call go on until then.
    pub(super) fn begin_anew(&mut self, give_up: Instant) {
        self.give_up = if self.service.is_some() { give_up } else { self.give_up };
    }

    pub(super) fn trunks_mut(&mut self) -> &mut Vec<TrunkIdx> {
        &mut self.trunks
    }

    /// An emergency number over the resource's own trunks, as any other call goes out; `urn` is what it means (SPEC §5).
    pub(super) fn direct(
        identity: CompactString,
        number: CompactString,
        urn: CompactString,
        fallback: Option<Box<Fallback>>,
        give_up: Instant,
        invite: Message,
        trunks: Vec<TrunkIdx>,
    ) -> Self {
        let service = Some(urn);
        Self { identity, number, service, fallback, give_up, ..Self::new(Some(invite), trunks, give_up) }
    }

    /// A callback that goes on to a desk behind a trunk, under the number that was called back.
    pub(super) fn desk(
        identity: CompactString,
        number: CompactString,
        trunk: TrunkIdx,
        invite: Message,
        now: Instant,
    ) -> Self {
        Self { identity, number, ..Self::new(Some(invite), vec![trunk], now) }
    }

    /// What a direct route falls back to, and the INVITE it goes on with; once.
    pub(super) fn fall_back(&mut self) -> Option<(Box<Fallback>, Message)> {
        let fallback = self.fallback.take()?;
        Some((fallback, self.invite.clone()?))
    }

    fn new(invite: Option<Message>, trunks: Vec<TrunkIdx>, now: Instant) -> Self {
        Self {
            invite,
            referred: None,
            identity: CompactString::default(),
            number: CompactString::default(),
            service: None,
            fallback: None,
            secrets: None,
            trunks,
            hops: VecDeque::new(),
            trying: None,
            added: None,
            pause: FIRST_PAUSE,
            give_up: now,
            last: None,
            has_failed: false,
        }
    }
}

impl Calls {
    /// A user calls out over the configured trunk: an ordinary call, under the user's own identity.
    pub(super) fn start_outbound(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        outbound: classify::Outbound,
    ) {
        let now = parts.context.now;
        let classify::Caller { aor, number, pbx, .. } = outbound.caller;
        let identity = number.map_or_else(|| aor.user().into(), |number| format_compact!("{number}"));
        let dialling = Dialling {
            identity,
            number: outbound.number.clone(),
            ..Dialling::new(Some(invite.clone()), vec![outbound.trunk], now)
        };
        let call = Call { user: Some(aor), dialled: outbound.number, ..Call::new(Kind::Outbound, now) };
        let id = self.admit(parts, call, server, invite, flow, pbx.is_some());
        self.start_dialling(parts, id, dialling);
    }

    pub(super) fn start_dialling(&mut self, parts: &mut Parts<'_>, id: CallId, mut dialling: Dialling) {
        dialling.hops = hops(parts, &dialling.trunks);
        parts.trace.note(|| hops_in_words(parts, &dialling.hops));
        let Some(call) = self.calls.get_mut(id) else { return };
        call.stage = Stage::Dialling(Box::new(dialling));
        self.next_target(parts, id);
    }

    /// Tries the next target; after the last one pauses for another round, or gives up.
    pub(super) fn next_target(&mut self, parts: &mut Parts<'_>, id: CallId) {
        loop {
            let Some(call) = self.calls.get_mut(id) else { return };
            let (attempts, is_help) = (call.attempts.len(), call.is_help());
            let Some(dialling) = call.dialling_mut() else { return };
            let Some(hop) = dialling.hops.pop_front() else { break };
            dialling.trying = Some(hop.target);
            dialling.added = None;
            if (is_help || attempts < limits::ATTEMPTS_PER_CALL) && self.attempt(parts, id, &hop) {
                return;
            }
        }
        if !self.fall_back(parts, id) {
            self.round_over(parts, id);
        }
    }

    fn round_over(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let is_help = call.is_help();
        let Stage::Dialling(dialling) = &mut call.stage else {
            let last = call.dialling_mut().and_then(|dialling| dialling.last.take());
            return self.transfer_failed(parts, id, last.map_or(503, |last| crossing(last.status)));
        };
        if is_help && !std::mem::replace(&mut dialling.has_failed, true) {
            return self.round_failed(parts, id);
        }
        if now < dialling.give_up && (is_help || call.attempts.len() < limits::ATTEMPTS_PER_CALL) {
            let at = (now + dialling.pause).min(dialling.give_up);
            dialling.pause = (dialling.pause * 2).min(LAST_PAUSE);
            self.wake(at, id, Alarm::NextRound);
            return;
        }
        let last = dialling.last.take();
        let refusal = match call.kind {
            Kind::Outbound if call.direct_route.is_none() => for_caller(last.unwrap_or(Refusal::new(503))),
            Kind::Emergency | Kind::Test | Kind::Outbound => {
                self.reports.push(Report::NoPath { dialled: call.dialled.clone() });
                let reason = last.map(|last| last.as_reason());
                Refusal { reason, retry_after: Some(5), ..Refusal::warn(503, "No trunk took the call") }
            }
            _ => for_caller(last.unwrap_or(Refusal::new(503))),
        };
        let outcome = if call.kind == Kind::Callback { Outcome::Unanswered } else { Outcome::Failed };
        self.refuse_caller(parts, id, &refusal, outcome);
    }

    /// The first round over all trunks came to nothing: an alarm, and a 182 to the caller, who is not forgotten (RFC 3261
    /// §21.1.4).
    fn round_failed(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(history) = self.history(id).map(Box::new) else { return };
        self.reports.push(Report::RoundFailed { history });
        let Some(call) = self.calls.get(id) else { return };
        let is_tried_again = call.dialling().is_some_and(|dialling| parts.context.now < dialling.give_up);
        if is_tried_again {
            parts.ua.progress(&mut parts.context, call.caller, 182, None, None);
        }
        self.round_over(parts, id);
    }

    pub(super) fn next_round(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Dialling(dialling) = &mut call.stage else { return };
        dialling.hops = hops(parts, &dialling.trunks);
        self.next_target(parts, id);
    }

    /// Sends the INVITE to one target; false when it cannot even be built.
    fn attempt(&mut self, parts: &mut Parts<'_>, id: CallId, hop: &Hop) -> bool {
        let config = parts.config.clone();
        let Some(target) = parts.trunks.target(hop.target) else { return false };
        let Some((index, trunk)) = target.trunk().and_then(|at| Some((at, config.trunk(at)?))) else { return false };
        let Some(flow) = flow_to(&config, hop.place) else { return false };
        let flow = parts.context.streams.toward(flow, hop.target.number());
        let Some(local) = parts.ua.settings().locals.get(usize::from(flow.listener.0)).cloned() else { return false };
        let Some(call) = self.calls.get(id) else { return false };
        let Some(dialling) = call.dialling() else { return false };

        let hub = call.hub();
        let opening = dialling.opening(hub, trunk, flow);
        let Start::Now(session) = self.open_session(parts, id, opening, || Resume::Target) else {
            if let Some(dialling) = self.calls.get_mut(id).and_then(Call::dialling_mut) {
                dialling.hops.push_front(*hop);
            }
            return true;
        };
        let Some(target) = parts.trunks.target(hop.target) else { return false };
        let Some(dialling) = self.calls.get(id).and_then(Call::dialling) else { return false };
        let request_uri = request_uri(dialling, trunk, target, flow);
        let from = format_compact!("<{}>", rewrite::sip_identity(&dialling.identity, &local.host));
        let to = format_compact!("<{request_uri}>");
        let invitation = Invitation {
            flow,
            follows_target: true,
            request_uri: request_uri.as_bytes(),
            from: from.as_bytes(),
            to: to.as_bytes(),
            contact_user: &dialling.identity,
            path: &way_to(&request_uri, target),
            account: parts.ua.accounts().of_trunk(index),
        };
        let leg = parts.ua.prepare(&mut parts.context, id, &invitation);
        let described = dialling.described();
        self.open_media(id, leg, trunk.media);
        self.adopt(session, leg);
        let passage = described.map(|described| self.passage(parts, hub, leg, &described)).unwrap_or_default();
        let Some(dialling) = self.calls.get(id).and_then(Call::dialling) else { return false };
        let Ok(content) = dialling.content(parts.ua, leg, &passage) else {
            parts.ua.discard(leg);
            return false;
        };
        let mut lines = rewrite::lines_for(trunk, &dialling.identity, &local.host, dialling.invite.as_ref());
        for (name, value) in dialling.referred.iter().flat_map(|referred| &referred.lines) {
            lines.push(name, value);
        }
        let attempt = Attempt {
            trunk: trunk.name.clone(),
            target: if dialling.referred.is_some() { request_uri.clone() } else { target.config.uri.clone() },
            status: 0,
            started_at: parts.context.now,
            ended_at: None,
            location_error: None,
        };
        let wait = trunk.answer_wait;
        let takes_reliable = |invite: &Message| invite.extensions().reliable;
        let offers = content.as_ref().is_some_and(Content::describes);
        // On a transfer the caller is talking, and has no PRACK to answer in.
        let may_answer = !offers && dialling.referred.is_none();
        let answers_early = may_answer && dialling.invite.as_ref().is_some_and(takes_reliable);
        let attempted = Attempted { hop: *hop, trunk, lines: &mut lines, content };
        let content = self.accompany(parts, id, attempted);
        self.launch(parts, id, leg, attempt, wait, Some((hop.target, hop.place)));
        parts.ua.invite(&mut parts.context, leg, &lines, content.as_ref(), answers_early);
        true
    }

    /// Enters a prepared leg as a branch of the call.
    pub(super) fn launch(
        &mut self,
        parts: &Parts<'_>,
        id: CallId,
        leg: LegId,
        attempt: Attempt,
        wait: Duration,
        target: Option<(TargetId, Place)>,
    ) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        // What the record has no room for takes the place of the last that is over.
        let is_full = call.attempts.len() >= limits::ATTEMPTS_PER_CALL;
        if is_full && call.attempts.last().is_some_and(|last| last.ended_at.is_some()) {
            call.attempts.pop();
        }
        if call.attempts.is_empty() {
            self.reports.push(Report::Sent { started: call.started_at, sent: now });
        }
        call.branches.push(Branch {
            leg,
            attempt: call.attempts.len(),
            target,
            heard: false,
            alerting: false,
            rang_at: now,
            early: None,
        });
        call.attempts.push(attempt);
        self.wake(now + wait, id, Alarm::Silent(leg));
    }

    /// A leg has had no response within its wait: to the next target, and whatever comes late is ended (SPEC §5).
    pub(super) fn branch_silent(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let Some(branch) = self.branch(id, leg) else { return };
        if branch.heard {
            return self.watch_progress(parts, id, leg);
        }
        let Some((target, place)) = branch.target else { return self.device_silent(parts, id, leg) };
        parts.trunks.report(parts.context.now, target, place, Sign::Silent);
        parts.context.streams.silent(place.remote);
        let branch = self.close_branch(parts, id, leg, 408);
        parts.ua.hang_up(&mut parts.context, leg, None);
        self.tried(parts, id, branch, &Refusal::new(408));
    }

    pub(super) fn try_another(&mut self, parts: &mut Parts<'_>, id: CallId, refusal: Refusal) {
        if let Some(dialling) = self.calls.get_mut(id).and_then(Call::dialling_mut) {
            if let Some(uri) = &refusal.redirect {
                dialling.follow(parts.trunks, uri);
            }
            dialling.failed(refusal);
        }
        self.next_target(parts, id);
    }

    /// Takes a branch off the call and notes how it ended.
    pub(super) fn close_branch(&mut self, parts: &Parts<'_>, id: CallId, leg: LegId, status: u16) -> Option<Branch> {
        let call = self.calls.get_mut(id)?;
        let at = call.branches.iter().position(|branch| branch.leg == leg)?;
        let branch = call.branches.remove(at);
        if let Some(attempt) = call.attempts.get_mut(branch.attempt) {
            attempt.status = status;
            attempt.ended_at = Some(parts.context.now);
        }
        Some(branch)
    }

    /// The leg of a branch failed and is gone.
    pub(super) fn branch_failed(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, refusal: &Refusal) {
        self.note_location_error(id, leg, refusal.location_error);
        let Some(branch) = self.close_branch(parts, id, leg, refusal.status) else { return };
        if let Some((target, place)) = branch.target {
            parts.trunks.report(parts.context.now, target, place, Sign::Answered(refusal.status));
        }
        self.tried(parts, id, Some(branch), refusal);
    }

    /// A target or device did not take the call: the next one.
    pub(super) fn tried(&mut self, parts: &mut Parts<'_>, id: CallId, branch: Option<Branch>, refusal: &Refusal) {
        let Some(call) = self.calls.get_mut(id) else { return };
        match &mut call.stage {
            Stage::Dialling(_) | Stage::Bridged => self.try_another(parts, id, refusal.clone()),
            Stage::Ringing(_) => {
                let attempt = branch.and_then(|branch| call.attempts.get(branch.attempt));
                let device = attempt.map(|attempt| attempt.target.clone());
                self.device_failed(parts, id, &device.unwrap_or_default(), refusal);
            }
            Stage::Granting(_) | Stage::TestLine | Stage::Refusing(_) => {}
        }
    }
}

fn hops(parts: &mut Parts<'_>, trunks: &[TrunkIdx]) -> VecDeque<Hop> {
    let targets = parts.trunks.candidates(parts.context.rng, trunks);
    let mut hops = VecDeque::with_capacity(targets.len());
    for id in targets {
        let places = parts.trunks.target(id).map(|target| target.places(parts.context.rng)).unwrap_or_default();
        hops.extend(places.into_iter().map(|place| Hop { target: id, place, is_bare: false }));
    }
    hops
}

fn hops_in_words(parts: &Parts<'_>, hops: &VecDeque<Hop>) -> String {
    let name = |hop: &Hop| {
        let trunk = parts.trunks.target(hop.target).and_then(|target| parts.config.trunk(target.trunk()?));
        format!("{} at {}", trunk.map(|trunk| trunk.name.as_str()).unwrap_or_default(), hop.place.remote)
    };
    match hops.is_empty() {
        true => "The address of no target of these trunks is known".to_owned(),
        false => format!("Tried in this order: {}", hops.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}

fn request_uri(dialling: &Dialling, trunk: &Trunk, target: &crate::trunk::Target, flow: Flow) -> CompactString {
    let wanted = dialling.referred.as_ref().and_then(|referred| referred.wanted.as_ref());
    if let Some(Wanted::Uri(uri)) = wanted {
        return uri.clone();
    }
    match (trunk.request_uri, &dialling.service) {
        (RequestUri::Urn, Some(service)) => service.clone(),
        _ if !target.config.user.is_empty() && wanted.is_none() => target.config.uri.clone(),
        _ if target.config.is_sips() => format_compact!("sips:{}@{}", dialling.number, flow.remote),
        _ => format_compact!("sip:{}@{}", dialling.number, hostport(flow.remote, flow.protocol)),
    }
}

/// The Route that leads to the target when the Request-URI is a service, which is nowhere (RFC 6881 ED-62).
fn way_to(request_uri: &str, target: &Target) -> CompactString {
    if !request_uri.starts_with("urn:") {
        return CompactString::default();
    }
    let config = &target.config;
    let scheme = if config.is_sips() { "sips" } else { "sip" };
    let port = config.port.map(|port| format_compact!(":{port}")).unwrap_or_default();
    let transport = config.protocol.filter(|_| !config.is_sips());
    let transport =
        transport.map(|protocol| format_compact!(";transport={}", protocol.uri_token())).unwrap_or_default();
    format_compact!("<{scheme}:{}{port}{transport};lr>", config.host)
}

/// A peer's refusal as the caller may see it: no redirections, no challenges of the other side (CONFORMANCE DI-14, AU-3).
pub(super) fn for_caller(refusal: Refusal) -> Refusal {
    let status = crossing(refusal.status);
    let reason = Some(refusal.as_reason());
    Refusal { reason, retry_after: refusal.retry_after, ..Refusal::new(status) }
}

/// The status that one leg is told of what the other answered: where to go and who to be is between us and that one.
pub(super) const fn crossing(status: u16) -> u16 {
    match status {
        300..=399 => 480,
        401 | 407 => 500,
        status => status,
    }
}
