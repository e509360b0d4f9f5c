//! An answered call: what one leg says is carried to the other (RFC 7092; CONFORMANCE OA-1 to OA-5, DI-7, CA-6).

use super::history::{Kind, Outcome};
use super::rewrite::{Secrets, bare_reason};
use super::{Call, Calls, Crossing, Parts, Stage};
use crate::sip::{Lines, Message, Method, Name};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;
use crate::ua::{CallId, Cause, Content, LegId, Refusal, Unacceptable};

impl Call {
    /// True when `to` is the trunk of an emergency: it must not learn from the phone who its user is (SPEC §4).
    pub(super) fn hides_user_from(&self, to: LegId) -> bool {
        match self.kind {
            Kind::Emergency | Kind::Test => to != self.caller,
            Kind::Callback => to == self.caller,
            Kind::Internal | Kind::Outbound | Kind::Inbound => false,
        }
    }
}

impl Calls {
    /// A branch rings, or more.
    pub(super) fn progressed(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, message: &Message) {
        let status = message.code();
        let Some(branch) = self.branch(id, leg) else { return };
        branch.heard = true;
        // CONFORMANCE TX-7: the 100 of one leg is not for the other.
        if status == 100 {
            return;
        }
        branch.alerting = true;
        let target = branch.target;
        if let Some((target, remote)) = target {
            parts.trunks.report(parts.context.now, target, remote, crate::trunk::Sign::Answered(status));
        }
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        let content = match Content::has_description(message) {
            // A malformed early description is dropped alone; the answer will bring another.
            true => self.relayed(parts, id, caller, message).unwrap_or_default(),
            false => None,
        };
        parts.ua.progress(&mut parts.context, caller, status, content.as_ref());
        if let (Some(content), Some(branch)) = (content, self.branch(id, leg)) {
            branch.early = Some(content);
        }
    }

    /// A branch answered: it is bridged with the caller, the others are taken back.
    pub(super) fn answered(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, message: &Message) {
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        let Ok(content) = self.relayed(parts, id, caller, message) else {
            let refusal = Refusal::warn(488, "Malformed session description in the answer");
            parts.ua.hang_up(&mut parts.context, leg, Some(&refusal.as_reason()));
            parts.ua.orphan(leg);
            self.branch_failed(parts, id, leg, &refusal);
            return;
        };
        let Some(branch) = self.close_branch(parts, id, leg, message.code()) else { return };
        if let Some((target, remote)) = branch.target {
            parts.trunks.report(parts.context.now, target, remote, crate::trunk::Sign::Answered(message.code()));
        }
        let content = content.or(branch.early);
        self.hang_up_branches(parts, id, None, Some(200));
        let now = parts.context.now;
        self.stop_waiting(id);
        let Some(call) = self.calls.get_mut(id) else { return };
        call.callee = Some(leg);
        call.answered_at = Some(now);
        call.stage = Stage::Bridged;
        call.branches.shrink_to_fit();
        call.attempts.shrink_to_fit();
        parts.ua.answer(&mut parts.context, caller, content.as_ref());
    }

    /// ACK of one leg: where it brings the answer to a delayed offer, the other leg's ACK takes it along (CONFORMANCE OA-2).
    pub(super) fn acknowledged(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, ack: &Message) {
        let Some(other) = self.other(id, leg) else { return };
        if !parts.ua.leg(other).is_some_and(crate::ua::Leg::is_inviting) {
            return;
        }
        match self.relayed(parts, id, other, ack) {
            Ok(content) => parts.ua.acknowledge(&mut parts.context, other, content.as_ref()),
            // Nobody can be told of a bad answer in an ACK; the session stays as it was (CONFORMANCE OA-8).
            Err(_) => parts.ua.acknowledge(&mut parts.context, other, None),
        }
    }

    /// A request inside one dialog becomes a request inside the other.
    pub(super) fn carry(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        from: LegId,
        server: ServerId,
        request: Message,
        flow: Flow,
    ) {
        let method = request.method();
        let refuse = |parts: &mut Parts<'_>, refusal: Refusal| match method {
            Method::Invite => parts.ua.refuse(&mut parts.context, from, &refusal),
            _ => parts.ua.reply(&mut parts.context, server, &request, flow, &refusal),
        };
        let Some(to) = self.other(id, from) else { return refuse(parts, Refusal::new(481)) };
        // The other leg is in the middle of an INVITE (CONFORMANCE OA-4): no version of its description is spent (OA-9).
        if method == Method::Invite && !parts.ua.may_reinvite(to) {
            return refuse(parts, Refusal::new(491));
        }
        let Ok(content) = self.relayed(parts, id, to, &request) else {
            return refuse(parts, Refusal::warn(488, "Malformed session description"));
        };
        let client = match method {
            Method::Invite => parts.ua.reinvite(&mut parts.context, to, content.as_ref()),
            _ => {
                let mut lines = Lines::default();
                if let Some(package) = request.header(Name::InfoPackage) {
                    lines.push(b"Info-Package", package);
                }
                parts.ua.request(&mut parts.context, to, method, &lines, content.as_ref())
            }
        };
        let Some(client) = client else { return refuse(parts, Refusal::new(491)) };
        let crossing = Crossing { from, server, client, request, flow };
        if let Some(call) = self.calls.get_mut(id) {
            call.crossings.push(crossing);
        }
    }

    /// The answer to a carried request goes back where the request came from.
    pub(super) fn carry_back(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) {
        let Some(crossing) = self.take_crossing(id, |crossing| crossing.client == client) else {
            // Withdrawn meanwhile: a 2xx still wants its ACK.
            parts.ua.acknowledge(&mut parts.context, leg, None);
            return;
        };
        let status = response.map_or_else(|status| status, Message::code);
        let relayed = response.ok().map(|response| self.relayed(parts, id, crossing.from, response));
        match (crossing.request.method(), relayed, status) {
            (Method::Invite, Some(Ok(content)), 200..=299) => {
                parts.ua.answer(&mut parts.context, crossing.from, content.as_ref());
            }
            (Method::Invite, _, status) => {
                let refusal = match response {
                    Ok(response) if status >= 300 => self.refusal_for(id, crossing.from, Refusal::of(response)),
                    Ok(_) => Refusal::warn(488, "Malformed session description in the answer"),
                    Err(status) => Refusal::new(status),
                };
                parts.ua.refuse(&mut parts.context, crossing.from, &refusal);
            }
            (_, relayed, status) => {
                // RFC 4320 §4.2: 408 is no answer to a non-INVITE.
                let status = if status == 408 { 504 } else { super::dial::crossing(status) };
                let content = relayed.and_then(Result::ok).flatten();
                let Crossing { server, request, flow, .. } = &crossing;
                parts.ua.reply_carried(&mut parts.context, *server, request, *flow, status, content.as_ref());
            }
        }
    }

    /// A re-INVITE was taken back by its sender, and so it is on the other leg.
    pub(super) fn withdraw(&mut self, parts: &mut Parts<'_>, id: CallId, server: ServerId) {
        if let Some(crossing) = self.take_crossing(id, |crossing| crossing.server == server)
            && let Some(to) = self.other(id, crossing.from)
        {
            parts.ua.withdraw(&mut parts.context, to, crossing.client, None);
        }
    }

    /// One leg ended; so does the call.
    pub(super) fn leg_ended(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        reason: Option<&[u8]>,
        cause: Cause,
    ) {
        let reason = reason.unwrap_or(b"Q.850;cause=16;text=\"Normal call clearing\"");
        let (outcome, status) = match cause {
            Cause::Bye => (Outcome::Answered, 200),
            Cause::NoAck => (Outcome::Failed, 408),
            Cause::Gone => (Outcome::Answered, 481),
        };
        match self.other(id, leg) {
            Some(other) => {
                let hides = cause == Cause::Bye && self.calls.get(id).is_some_and(|call| call.hides_user_from(other));
                let bare = hides.then(|| bare_reason(reason));
                parts.ua.hang_up(&mut parts.context, other, Some(bare.as_deref().unwrap_or(reason)));
                parts.ua.orphan(other);
                self.finish(parts, id, outcome, status);
            }
            // BYE on an early dialog, or to the test line: as if cancelled (RFC 3261 §15).
            None => self.caller_gave_up(parts, id, Some(reason)),
        }
        parts.ua.orphan(leg);
    }

    fn other(&self, id: CallId, leg: LegId) -> Option<LegId> {
        let call: &Call = self.calls.get(id)?;
        let callee = call.callee?;
        match leg {
            leg if leg == call.caller => Some(callee),
            leg if leg == callee => Some(call.caller),
            _ => None,
        }
    }

    /// What the leg `to` is told of a refusal on the other leg.
    pub(super) fn refusal_for(&self, id: CallId, to: LegId, refusal: Refusal) -> Refusal {
        let hides = self.calls.get(id).is_some_and(|call| call.hides_user_from(to));
        let reason = refusal.reason.clone().map(|reason| if hides { bare_reason(&reason).into() } else { reason });
        super::dial::for_caller(Refusal { reason, ..refusal })
    }

    /// The body of `message` for the leg `to`. What the phone of an emergency says never tells a trunk who it is (SPEC §4).
    fn relayed(
        &self,
        parts: &mut Parts<'_>,
        id: CallId,
        to: LegId,
        message: &Message,
    ) -> Result<Option<Content>, Unacceptable> {
        let Some(call) = self.calls.get(id) else { return Ok(None) };
        let to_trunk = call.hides_user_from(to);
        let user = call.user.as_ref().and_then(|user| parts.config.user(user));
        let secrets = to_trunk.then(|| Secrets::of(message, user));
        parts.ua.relayed(to, message, |description| secrets.as_ref()?.remove_from(description))
    }

    fn take_crossing(&mut self, id: CallId, is_it: impl Fn(&Crossing) -> bool) -> Option<Crossing> {
        let call = self.calls.get_mut(id)?;
        let at = call.crossings.iter().position(is_it)?;
        Some(call.crossings.remove(at))
    }
}
