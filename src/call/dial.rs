//! Out to the trunks: targets in order, the next one on silence or failure, round after round while the caller holds on (SPEC §5).

use std::time::Duration;

use compact_str::format_compact;

use super::dialling::{Dialling, Hop};
use super::history::{Attempt, Kind, Outcome, Report};
use super::i3::Attempted;
use super::media::{Resume, Start};
use super::rewrite;
use super::routing::flow_to;
use super::way::{hops, hops_in_words, request_uri, way_to};
use super::{Alarm, Branch, Call, Calls, Parts, Stage, classify};
use crate::base::{Instant, limits};
use crate::sip::Message;
use crate::transaction::ServerId;
use crate::transport::{Flow, Place};
use crate::trunk::{Sign, TargetId, Whose};
use crate::ua::{CallId, Content, Invitation, Leg, LegId, Refusal};

/// The pause between two rounds over all trunks is doubled up to this.
const LAST_PAUSE: Duration = Duration::from_secs(4);
/// How often the wait of one attempt may begin, at most.
const TRIES: u32 = 3;

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
        let order = hops_in_words(parts, &dialling.hops);
        let Some(call) = self.calls.get_mut(id) else { return };
        call.decide(parts, order);
        call.stage = Stage::Dialling(Box::new(dialling));
        self.next_target(parts, id);
    }

    /// Tries the next target; after the last one pauses for another round, or gives up.
    pub(super) fn next_target(&mut self, parts: &mut Parts<'_>, id: CallId) {
        loop {
            let Some(call) = self.calls.get_mut(id) else { return };
            let may_try = call.is_urgent() || call.attempts.len() < limits::ATTEMPTS_PER_CALL;
            let Some(dialling) = call.dialling_mut() else { return };
            let Some(hop) = dialling.hops.pop_front() else { break };
            dialling.trying = Some(hop.target);
            dialling.added = None;
            if may_try && self.attempt(parts, id, &hop) {
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
        let now = parts.context.now;
        if let Some(dialling) = call.dialling().filter(|_| call.is_urgent()) {
            let is_its = |whose| matches!(whose, Whose::Trunk(trunk) if dialling.trunks.contains(&trunk));
            parts.trunks.are_last_resort(now, is_its);
        }
        let is_tried_again = call.dialling().is_some_and(|dialling| now < dialling.give_up);
        if is_tried_again {
            parts.ua.progress(&mut parts.context, call.caller, 182, None, None);
        }
        self.round_over(parts, id);
    }

    pub(super) fn next_round(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Dialling(dialling) = &mut call.stage else { return };
        dialling.go_round(hops(parts, &dialling.trunks));
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
        let Ok(content) = dialling.content(parts.ua, leg, &passage, hop.is_bare) else {
            parts.ua.discard(leg);
            return false;
        };
        let mut lines = rewrite::lines_for(trunk, dialling, &local.host, hop.is_bare);
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
        // What the record has no room for takes the place of the last ones that are over.
        let is_full = |attempts: &[Attempt]| attempts.len() >= limits::ATTEMPTS_PER_CALL;
        while is_full(&call.attempts) && call.attempts.last().is_some_and(|last| last.ended_at.is_some()) {
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
        if let Some(until) = self.asked_again_until(parts, id, leg) {
            return self.wake(until, id, Alarm::Silent(leg));
        }
        parts.trunks.report(parts.context.now, target, place, Sign::Silent);
        parts.context.streams.silent(place.remote);
        if let Some(dialling) = self.calls.get_mut(id).and_then(Call::dialling_mut) {
            let in_fragments = parts.ua.leg(leg).is_some_and(Leg::invites_in_fragments);
            dialling.silent(target, place, in_fragments);
        }
        let branch = self.close_branch(parts, id, leg, 408);
        let started = branch.as_ref().and_then(|branch| self.calls.get(id)?.attempts.get(branch.attempt));
        let over = parts.ua.leg(leg).and_then(|leg| leg.invited_over(parts.context.transactions));
        if let (Some(attempt), Some(flow)) = (started, over) {
            parts.context.streams.leave(parts.context.now, flow, parts.context.now.since(attempt.started_at));
        }
        parts.ua.hang_up(&mut parts.context, leg, None);
        self.tried(parts, id, branch, &Refusal::new(408));
    }

    /// A challenge is an answer, and a session interval that is too small one too: what was asked again has its time for another, but
    /// not without end.
    fn asked_again_until(&self, parts: &Parts<'_>, id: CallId, leg: LegId) -> Option<Instant> {
        let call = self.calls.get(id)?;
        let branch = call.branches.iter().find(|branch| branch.leg == leg)?;
        let trunk = parts.trunks.target(branch.target?.0).and_then(|target| parts.config.trunk(target.trunk()?))?;
        let asked_at = parts.ua.leg(leg)?.invited_at()?;
        let last = call.attempts.get(branch.attempt)?.started_at + trunk.answer_wait * TRIES;
        Some((asked_at + trunk.answer_wait).min(last)).filter(|until| *until > parts.context.now)
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
        // That no datagram holds it says nothing of the trunk, and less may go there.
        let is_too_long = parts.ua.leg(leg).is_some_and(Leg::invites_beyond_datagrams);
        let too_long = Refusal::new(513);
        let refusal = if is_too_long { &too_long } else { refusal };
        let Some(branch) = self.close_branch(parts, id, leg, refusal.status) else { return };
        if let Some((target, place)) = branch.target.filter(|_| !is_too_long) {
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
                let has_rung = branch.as_ref().is_some_and(|branch| branch.alerting);
                let attempt = branch.and_then(|branch| call.attempts.get(branch.attempt));
                let device = attempt.map(|attempt| attempt.target.clone());
                self.device_failed(parts, id, &device.unwrap_or_default(), refusal, has_rung);
            }
            Stage::Granting(_) | Stage::TestLine | Stage::Refusing(_) => {}
        }
    }
}

/// A peer's refusal as the caller may see it: no redirections, no challenges of the other side (CONFORMANCE DI-14, AU-3).
pub(super) fn for_caller(refusal: Refusal) -> Refusal {
    let status = crossing(refusal.status);
    let reason = Some(refusal.as_reason());
    Refusal { reason, retry_after: refusal.retry_after, ..Refusal::new(status) }
}

/// The status that one leg is told of what the other answered: where to go and who to be is between us and that one, and no
/// endpoint is to see a 430 (RFC 5626 §11.5).
pub(super) const fn crossing(status: u16) -> u16 {
    match status {
        300..=399 | 430 => 480,
        401 | 407 => 500,
        status => status,
    }
}
