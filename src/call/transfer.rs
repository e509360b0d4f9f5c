//! A trunk hands its caller on by REFER (RFC 3515, RFC 5589 §6; CONFORMANCE RE-1 to RE-7). The phone never sees the REFER: the
//! target is called in its stead, under the number that the trunk has seen, and when it answers the phone is offered its media.
//! Until the phone has taken them the call stays as it is, so that a transfer that fails costs the caller nothing.

use super::dialling::{Dialling, Referred};
use super::handover::resumed;
use super::history::{Attempt, Kind};
use super::identify::trunk_on;
use super::refer_to::{Callee, Destination, destination};
use super::rewrite::Secrets;
use super::{Alarm, Call, Calls, Parts, Stage};
use crate::base::{Instant, limits};
use crate::config::TrunkIdx;
use crate::media::ng::AskId;
use crate::sip::{Message, Name, NameAddr};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;
use crate::trunk::Sign;
use crate::ua::{CallId, Event, LegId, Refusal, Side};

/// One transfer under way.
pub(super) struct Transfer {
    /// The leg of the trunk that hands the caller on.
    pub(super) agent: LegId,
    pub(super) step: Step,
    /// When something is due of it.
    pub(super) due: Instant,
}

/// How far it has come.
pub(super) enum Step {
    /// The target is called.
    Calling(Box<Dialling>),
    /// It has answered, and the phone is offered its media; `asked`: after rtpengine was.
    Offering { to: Newcomer, client: Option<ClientId>, give_up: Instant, asked: Option<AskId> },
    /// The caller is with the target; the call taker is told.
    Leaving,
}

/// The leg that takes the place of the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomer {
    /// We called it.
    Called(LegId),
    /// It called us, with Replaces.
    Replacing(LegId),
    /// It is the other party of another call of the agent's.
    Joined(LegId),
}

impl Newcomer {
    pub(super) const fn leg(self) -> LegId {
        match self {
            Self::Called(leg) | Self::Replacing(leg) | Self::Joined(leg) => leg,
        }
    }
}

impl Transfer {
    pub(super) fn new(agent: LegId, step: Step, due: Instant) -> Box<Self> {
        Box::new(Self { agent, step, due })
    }
}

impl Call {
    /// The leg toward the trunk, and that toward the user; `None` where there is no trunk.
    pub(super) fn sides(&self) -> Option<(LegId, LegId)> {
        let callee = self.callee.filter(|_| !self.without_trunk)?;
        match self.kind {
            Kind::Emergency | Kind::Test | Kind::Outbound => Some((callee, self.caller)),
            Kind::Callback | Kind::Inbound => Some((self.caller, callee)),
            Kind::Internal => None,
        }
    }

    /// Puts `newcomer` in the place of the leg `agent`.
    pub(super) fn hand_over(&mut self, agent: LegId, newcomer: LegId) {
        if self.callee == Some(agent) {
            self.callee = Some(newcomer);
        } else {
            self.caller = newcomer;
        }
    }

    /// The search for a trunk that is under way, of the call or of its transfer.
    pub(super) fn dialling(&self) -> Option<&Dialling> {
        match (&self.stage, self.transfer.as_deref()) {
            (Stage::Dialling(dialling), _) | (_, Some(Transfer { step: Step::Calling(dialling), .. })) => {
                Some(dialling)
            }
            _ => None,
        }
    }

    pub(super) fn dialling_mut(&mut self) -> Option<&mut Dialling> {
        match (&mut self.stage, self.transfer.as_deref_mut()) {
            (Stage::Dialling(dialling), _) | (_, Some(Transfer { step: Step::Calling(dialling), .. })) => {
                Some(dialling)
            }
            _ => None,
        }
    }
}

impl Calls {
    /// A REFER inside a dialog.
    pub(super) fn refer(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        from: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let (destination, trunk) = match self.asked(parts, id, from, request) {
            Ok(asked) => asked,
            Err(refusal) => {
                return parts.ua.refuse_carried(&mut parts.context, from, server, request, flow, &refusal);
            }
        };
        parts.ua.accept_refer(&mut parts.context, from, server, request, flow);
        parts.ua.notify(&mut parts.context, from, 100);
        match destination {
            Destination::Callee(callee) => self.call_target(parts, id, from, callee, request),
            Destination::Leg(leg) => {
                let Some((target, joined)) = self.party_of(parts, leg) else { return };
                self.note_attempt(parts, id, trunk, &format!("call {target}"));
                self.offer(parts, id, from, Newcomer::Joined(joined));
            }
        }
    }

    /// Whether the REFER can be carried out, and for whom.
    fn asked(
        &self,
        parts: &Parts<'_>,
        id: CallId,
        from: LegId,
        request: &Message,
    ) -> Result<(Destination, TrunkIdx), Refusal> {
        let call = self.calls.get(id).ok_or(Refusal::new(481))?;
        let refused = |why: &str| Refusal::warn(403, why);
        let is_leased = matches!(call.kind, Kind::Emergency | Kind::Test | Kind::Callback);
        let agent = call.sides().map(|(agent, _)| agent);
        if !is_leased || agent != Some(from) {
            return Err(refused("Only the trunk of an emergency call or of a callback may transfer it"));
        }
        let trunk = self.trunk_of(parts, id, from).ok_or_else(|| refused("This leg leads to no trunk"))?;
        if call.transfer.is_some() {
            return Err(Refusal::warn(491, "A transfer of this call is under way"));
        }
        let mut values = request.values(Name::ReferTo);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refusal::warn(400, "REFER needs one Refer-To"));
        };
        let destination = destination(parts, call, trunk, value)?;
        if let Destination::Leg(leg) = destination {
            self.may_join(parts, id, trunk, leg)?;
        }
        Ok((destination, trunk))
    }

    /// Calls the target, as the trunk's next one would be called.
    fn call_target(&mut self, parts: &mut Parts<'_>, id: CallId, agent: LegId, mut callee: Callee, request: &Message) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let phone = call.sides().and_then(|(_, phone)| parts.ua.leg(phone));
        let (Some(number), Some(phone)) = (call.number, phone) else { return };
        let own = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
        let theirs = resumed(phone.theirs());
        let description = Secrets::of_peer(phone, call.user.as_ref(), own).remove_from(&theirs).unwrap_or(theirs);
        let mut lines: Vec<(&'static [u8], Box<[u8]>)> = Vec::new();
        if let Some(replaces) = callee.replaces.take() {
            lines.push((b"Replaces", replaces));
            lines.push((b"Require", (*b"replaces").into()));
        }
        if let Some(referrer) = request.header(Name::ReferredBy).and_then(|value| NameAddr::parse(value).ok()) {
            // RFC 3892 §3, without a token of its own: that one's body stays behind.
            lines.push((b"Referred-By", [b"<", referrer.uri, b">"].concat().into()));
        }
        let referred = Referred { wanted: callee.wanted.take(), description, lines };
        let invite = call.invite.as_deref().and_then(|bytes| Message::parse(bytes.to_vec().into()).ok());
        let dialling = Dialling::transfer(parts, number, callee, referred, invite);
        let due = now + limits::TRANSFER;
        call.transfer = Some(Transfer::new(agent, Step::Calling(Box::new(dialling)), due));
        self.wake(due, id, Alarm::Transfer);
        self.next_target(parts, id);
    }

    /// Takes the events that are a transfer's business; gives back the others.
    pub(super) fn of_transfer(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) -> Option<Event> {
        let Some(call) = self.calls.get(id) else { return Some(event) };
        let Some(transfer) = call.transfer.as_deref() else { return Some(event) };
        if leg == transfer.agent {
            return self.of_agent(parts, id, leg, event);
        }
        match (&transfer.step, event) {
            (Step::Calling(_), event) if call.branches.iter().any(|branch| branch.leg == leg) => {
                self.of_target(parts, id, leg, event)
            }
            (Step::Offering { to, .. }, event) if to.leg() == leg => {
                self.of_newcomer(parts, id, leg, event);
                None
            }
            (Step::Offering { client: Some(awaited), .. }, Event::Reply { client, message }) if client == *awaited => {
                self.phone_replied(parts, id, message.map_or_else(|status| status, |response| response.code()));
                None
            }
            (_, event) => Some(event),
        }
    }

    /// The call taker: it may hang up at any time, and the transfer goes on (RFC 5589 §6.1).
    fn of_agent(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) -> Option<Event> {
        let transfer = self.calls.get_mut(id)?.transfer.as_deref()?;
        match (&transfer.step, event) {
            (Step::Leaving, Event::Ended { .. } | Event::Notified) => {
                self.dismiss(parts, id);
                None
            }
            (_, Event::Ended { .. }) => None,
            (Step::Leaving, Event::Request { server, message, flow }) => {
                parts.ua.refuse_carried(&mut parts.context, leg, server, &message, flow, &Refusal::new(481));
                None
            }
            (Step::Leaving, _) => None,
            (_, event) => Some(event),
        }
    }

    /// A target that is being called.
    fn of_target(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) -> Option<Event> {
        match event {
            Event::Progress { message, reliable, .. } => {
                if reliable {
                    parts.ua.confirm(&mut parts.context, leg, &message, None);
                }
                self.target_rings(parts, id, leg, message.code());
            }
            Event::Answered { message } => self.target_answered(parts, id, leg, &message),
            Event::Failed { refusal } => return Some(Event::Failed { refusal }),
            event => self.of_newcomer(parts, id, leg, event),
        }
        None
    }

    fn target_rings(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, status: u16) {
        let Some(branch) = self.branch(id, leg) else { return };
        branch.heard = true;
        // RFC 6228 §6: where one early dialog ends another may ring.
        let rings = !matches!(status, 100 | 199);
        branch.alerting |= rings;
        if let Some((target, remote)) = branch.target {
            parts.trunks.report(parts.context.now, target, remote, Sign::Answered(status));
        }
        let agent = self.calls.get(id).and_then(|call| call.transfer.as_deref()).map(|transfer| transfer.agent);
        if let Some(agent) = agent.filter(|_| rings) {
            parts.ua.notify(&mut parts.context, agent, status);
        }
    }

    fn target_answered(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, answer: &Message) {
        let Some(branch) = self.close_branch(parts, id, leg, answer.code()) else { return };
        if let Some((target, remote)) = branch.target {
            parts.trunks.report(parts.context.now, target, remote, Sign::Answered(answer.code()));
        }
        let agent = self.calls.get(id).and_then(|call| call.transfer.as_deref()).map(|transfer| transfer.agent);
        if let Some(agent) = agent {
            self.offer(parts, id, agent, Newcomer::Called(leg));
        }
    }

    /// What a leg does that is up and not yet in the call.
    fn of_newcomer(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) {
        match event {
            Event::Ended { .. } | Event::Cancelled { .. } => self.transfer_failed(parts, id, 480),
            Event::Request { server, message, flow } => {
                let refusal = Refusal::warn(491, "The transfer to this party is under way");
                parts.ua.refuse_carried(&mut parts.context, leg, server, &message, flow, &refusal);
            }
            _ => {}
        }
    }

    /// The trunk at the other end of a leg; `None` toward a phone.
    pub(super) fn trunk_of(&self, parts: &Parts<'_>, id: CallId, leg: LegId) -> Option<TrunkIdx> {
        let peer = parts.ua.leg(leg).filter(|leg| leg.is_server())?;
        let attempts = || self.calls.get(id)?.attempts.iter().rev().find(|attempt| matches!(attempt.status, 200..=299));
        match peer.side() {
            Side::Caller => trunk_on(parts, &peer.flow()),
            Side::Callee => parts.config.trunk_named(&attempts()?.trunk).map(|(trunk, _)| trunk),
        }
    }

    /// A transfer without a call of ours, as the record shows it.
    pub(super) fn note_attempt(&mut self, parts: &Parts<'_>, id: CallId, trunk: TrunkIdx, target: &str) {
        let now = parts.context.now;
        let trunk = parts.config.trunk(trunk).map(|trunk| trunk.name.clone()).unwrap_or_default();
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.attempts.len() < limits::ATTEMPTS_PER_CALL {
            let (target, location_error) = (target.into(), None);
            let attempt = Attempt { trunk, target, status: 200, started_at: now, ended_at: Some(now), location_error };
            call.attempts.push(attempt);
        }
    }
}
