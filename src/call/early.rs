//! From the first sign of a branch to the answer: what rings, what is answered before the answer, and whose dialog it becomes
//! (CONFORMANCE OA-1, OA-2, PR-1 to PR-6, DI-10, TX-7).

use super::history::Outcome;
use super::{Alarm, Calls, Parts, Stage};
use crate::base::limits;
use crate::dialog::Exchange;
use crate::sip::Message;
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::trunk::Sign;
use crate::ua::{CallId, Confirms, LegId, Refusal, location_error};

impl Calls {
    /// A branch rings, or more. `described`: with a description that counts.
    pub(super) fn progressed(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        message: &Message,
        reliable: bool,
        described: bool,
    ) {
        let status = message.code();
        if status == 182 && self.neighbour_waits(parts, id, leg) {
            return;
        }
        let Some(branch) = self.branch(id, leg) else { return };
        branch.heard = true;
        // CONFORMANCE TX-7: the 100 of one leg is not for the other. Nor is a 199: the dialog of the caller goes on (RFC 6228 §6).
        if matches!(status, 100 | 199) {
            if reliable {
                self.confirm_alone(parts, id, Box::new((leg, message.clone())));
            }
            return;
        }
        let is_first = !std::mem::replace(&mut branch.alerting, true);
        branch.rang_at = parts.context.now;
        let target = branch.target;
        if is_first {
            self.wake(parts.context.now + limits::RINGING, id, Alarm::Mute(leg));
        }
        self.note_location_error(id, leg, location_error(message));
        if let Some((target, place)) = target {
            parts.trunks.report(parts.context.now, target, place, Sign::Answered(status));
        }
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        // What the caller was told reliably stays (RFC 6337 §3.1.1); how it ends is settled with the answer.
        let is_told = parts.ua.leg(caller).is_some_and(crate::ua::Leg::is_negotiated);
        let is_announced = self.calls.get(id).is_some_and(|call| call.announced.is_some());
        let content = match described && !is_told && !is_announced {
            // A malformed early description is dropped alone; the answer will bring another.
            true => self.relayed(parts, id, leg, caller, message).unwrap_or_default(),
            false => None,
        };
        let confirms = reliable.then(|| Box::new((leg, message.clone())));
        let is_held = parts.ua.progress(&mut parts.context, caller, status, content.as_ref(), confirms);
        if is_held && let Some(call) = self.calls.get_mut(id) {
            call.early = Some(leg);
        }
        if reliable && !is_held {
            self.confirm_alone(parts, id, Box::new((leg, message.clone())));
        }
        if let (Some(content), Some(branch)) = (content, self.branch(id, leg)) {
            branch.early = Some(content);
        }
    }

    /// PRACK to a branch without waiting for the caller; where the branch makes an offer, with what the caller has said of
    /// itself to another one.
    fn confirm_alone(&mut self, parts: &mut Parts<'_>, id: CallId, confirms: Confirms) {
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        let leg = confirms.0;
        let is_offer = parts.ua.leg(leg).is_some_and(|leg| leg.exchange() == Exchange::OfferReceived);
        let content = if is_offer { self.heard(parts, id, caller, leg) } else { None };
        match self.calls.get_mut(id) {
            // RFC 3262 §5: its PRACK has the answer, which the caller owes to another one.
            Some(call) if is_offer && content.is_none() => call.unconfirmed.push(confirms),
            _ => drop(parts.ua.confirm(&mut parts.context, leg, &confirms.1, content.as_ref())),
        }
    }

    /// The caller acknowledged a description in a provisional response: the branch it came from gets its PRACK, with the
    /// answer or the new offer in it (CONFORMANCE PR-4).
    pub(super) fn confirmed(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        prack: Message,
        confirms: Option<Confirms>,
        asks: Option<(ServerId, Flow)>,
    ) {
        let Some(confirms) = confirms else {
            // The branch has its PRACK already: another offer is an UPDATE there.
            if let Some((server, flow)) = asks {
                self.carry(parts, id, leg, server, prack, flow);
            }
            return;
        };
        let (to, response) = *confirms;
        let content = self.relayed(parts, id, leg, to, &prack).unwrap_or_default();
        let client = parts.ua.confirm(&mut parts.context, to, &response, content.as_ref());
        match (asks, client) {
            (Some((server, flow)), Some(client)) => self.cross(id, leg, server, client, prack, flow),
            // The branch is gone: the offer has nobody to answer it.
            (Some((server, flow)), None) => {
                let refusal = Refusal::warn(488, "The party that was asked is gone");
                parts.ua.refuse_carried(&mut parts.context, leg, server, &prack, flow, &refusal);
            }
            (None, _) => {}
        }
        let unconfirmed = self.calls.get_mut(id).map(|call| std::mem::take(&mut call.unconfirmed));
        unconfirmed.unwrap_or_default().into_iter().for_each(|confirms| self.confirm_alone(parts, id, confirms));
    }

    /// A branch answered: it is bridged with the caller, the others are taken back.
    pub(super) fn answered(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, message: &Message) {
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        let is_told = parts.ua.leg(caller).is_some_and(crate::ua::Leg::is_negotiated);
        let is_known = parts.ua.leg(leg).is_some_and(crate::ua::Leg::is_negotiated);
        let is_announced = self.calls.get(id).is_some_and(|call| call.announced.is_some());
        let content = match (is_told || is_announced, is_known) {
            // No version of the description is spent on what is not said (CONFORMANCE OA-9).
            (true, _) => Ok(None),
            (false, true) => Ok(self.heard(parts, id, leg, caller)),
            (false, false) => self.relayed(parts, id, leg, caller, message),
        };
        let malformed = (is_told || is_announced) && !is_known && crate::ua::Content::is_malformed(message);
        let Some(content) = content.ok().filter(|_| !malformed) else {
            let refusal = Refusal::warn(488, "Malformed session description in the answer");
            parts.ua.hang_up(&mut parts.context, leg, Some(&refusal.as_reason()));
            parts.ua.orphan(leg);
            self.branch_failed(parts, id, leg, &refusal);
            return;
        };
        self.note_location_error(id, leg, location_error(message));
        let Some(branch) = self.close_branch(parts, id, leg, message.code()) else { return };
        if let Some((target, place)) = branch.target {
            parts.trunks.report(parts.context.now, target, place, Sign::Answered(message.code()));
        }
        let announced = self.end_announcement(id).filter(|_| !is_told);
        let is_other = announced.is_some();
        let content = announced.or(content).or(branch.early);
        self.hang_up_branches(parts, id, None, Some(200));
        let now = parts.context.now;
        self.stop_waiting(id);
        let Some(call) = self.calls.get_mut(id) else { return };
        call.callee = Some(leg);
        call.answered_at = Some(now);
        if let Stage::Dialling(dialling) = &call.stage {
            call.invite = dialling.kept_invite(parts.config);
        }
        call.stage = Stage::Bridged;
        call.branches.shrink_to_fit();
        call.attempts.shrink_to_fit();
        if is_told || is_other {
            // With its ACK the caller hears of another description than that of its 18x.
            call.alignment.expect(caller);
        }
        parts.ua.answer(&mut parts.context, caller, content.as_ref());
    }

    /// ACK of one leg: where it brings the answer to a delayed offer, the other leg's ACK takes it along (CONFORMANCE OA-2).
    pub(super) fn acknowledged(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, ack: &Message) {
        let Some(other) = self.other(id, leg) else { return self.speak(parts, id) };
        if parts.ua.leg(other).is_some_and(crate::ua::Leg::awaits_ack) {
            // Nobody can be told of a bad answer in an ACK; the session stays as it was (CONFORMANCE OA-8).
            let content = self.relayed(parts, id, leg, other, ack).unwrap_or_default();
            // A caller that answered in its PRACK already has no description in its ACK.
            let content = content.or_else(|| self.heard(parts, id, leg, other));
            parts.ua.acknowledge(&mut parts.context, other, content.as_ref());
        }
        if self.calls.get(id).is_some_and(|call| call.alignment.is_expected()) {
            self.align(parts, id);
        }
    }

    /// The call is over before its answer, for a reason of the caller's leg.
    pub(super) fn caller_failed(&mut self, parts: &mut Parts<'_>, id: CallId, reason: &[u8], status: u16) {
        self.hang_up_branches(parts, id, Some(reason), None);
        if let Some(callee) = self.calls.get(id).and_then(|call| call.callee) {
            parts.ua.hang_up(&mut parts.context, callee, Some(reason));
            parts.ua.orphan(callee);
        }
        self.finish(parts, id, Outcome::Failed, status);
    }
}
