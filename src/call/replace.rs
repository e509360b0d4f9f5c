//! One leg in the place of another by name (RFC 3891, RFC 5589 §7; CONFORMANCE RE-3, RE-8): a trunk replaces one of its own
//! dialogs by a new one, or has two of its calls joined.

use compact_str::CompactString;

use super::handover::resumed;
use super::history::Outcome;
use super::identify::trunk_on;
use super::transfer::Newcomer;
use super::{Calls, Parts, Stage};
use crate::config::TrunkIdx;
use crate::sip::{Message, Name, Replaces};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{self, CallId, Content, LegId, Refusal};

impl Calls {
    /// An INVITE with Replaces; false when no trunk sends it, and it is nobody's to replace.
    pub(super) fn replace(&mut self, parts: &mut Parts<'_>, server: ServerId, invite: &Message, flow: Flow) -> bool {
        let Some(trunk) = trunk_on(parts, &flow) else { return false };
        match self.replaced(parts, trunk, invite) {
            Ok((id, agent)) => self.take_place(parts, id, agent, trunk, server, invite, flow),
            Err(refusal) => parts.ua.reply(&mut parts.context, server, invite, flow, &refusal),
        }
        true
    }

    /// The dialog of that trunk which the INVITE names (RFC 3891 §3).
    fn replaced(&self, parts: &Parts<'_>, trunk: TrunkIdx, invite: &Message) -> Result<(CallId, LegId), Refusal> {
        let value = invite.header(Name::Replaces).unwrap_or_default();
        let named = Replaces::parse(value).ok_or_else(|| Refusal::warn(400, "Replaces names no dialog"))?;
        if let Some(refusal) = Content::refusal_of(invite) {
            return Err(refusal);
        }
        let found = parts.ua.leg_named(&named).and_then(|leg| Some((parts.ua.leg(leg)?.call()?, leg)));
        let is_its = |(id, leg): &(CallId, LegId)| self.is_side_of(parts, *id, *leg, trunk);
        let (id, leg) =
            found.filter(is_its).ok_or_else(|| Refusal::warn(481, "No dialog of this trunk has that name"))?;
        match self.calls.get(id) {
            _ if named.early_only => Err(Refusal::new(486)),
            Some(call) if call.transfer.is_some() => Err(Refusal::warn(491, "A transfer of this call is under way")),
            _ => Ok((id, leg)),
        }
    }

    /// True when `leg` is the side of `trunk` in an answered call.
    fn is_side_of(&self, parts: &Parts<'_>, id: CallId, leg: LegId, trunk: TrunkIdx) -> bool {
        let Some(call) = self.calls.get(id).filter(|call| matches!(call.stage, Stage::Bridged)) else { return false };
        let is_up = parts.ua.leg(leg).is_some_and(|leg| leg.stage() == ua::Stage::Confirmed);
        let is_agent = call.sides().is_some_and(|(agent, _)| agent == leg);
        is_up && is_agent && self.trunk_of(parts, id, leg) == Some(trunk)
    }

    /// The phone is offered what the new leg says; where that makes no offer, the phone's own description is one.
    #[allow(clippy::too_many_arguments, reason = "a request is three of them")]
    fn take_place(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        agent: LegId,
        trunk: TrunkIdx,
        server: ServerId,
        invite: &Message,
        flow: Flow,
    ) {
        let Some((_, phone)) = self.calls.get(id).and_then(super::Call::sides) else { return };
        let leg = parts.ua.accept(&mut parts.context, id, server, invite, flow, true);
        self.open_media(id, leg, parts.config.trunk(trunk).and_then(|trunk| trunk.media));
        let account = parts.ua.accounts().of_trunk(trunk);
        parts.ua.sign_as(leg, account);
        self.note_attempt(parts, id, trunk, &format!("sip:{}", flow.remote));
        if parts.ua.leg(leg).is_some_and(|leg| leg.offer().is_some()) {
            return self.offer(parts, id, agent, Newcomer::Replacing(leg));
        }
        let known = self.known(parts, id, phone, leg);
        let content = known.and_then(|(description, edits)| {
            parts.ua.described(leg, &resumed(&description), |description| edits.edit(description))
        });
        parts.ua.answer(&mut parts.context, leg, content.as_ref());
        if let Some(call) = self.calls.get_mut(id) {
            // Its ACK brings what the phone has to hear.
            call.alignment.expect(phone);
        }
        self.hand_over(parts, id, agent, leg);
    }

    /// Whether the other party of the call of `leg` can be joined to call `id`, whose side of `trunk` asks for it.
    pub(super) fn may_join(&self, parts: &Parts<'_>, id: CallId, trunk: TrunkIdx, leg: LegId) -> Result<(), Refusal> {
        let unknown = || Refusal::warn(481, "No other dialog of this trunk has that name");
        let other = parts.ua.leg(leg).and_then(ua::Leg::call).filter(|other| *other != id).ok_or_else(unknown)?;
        if !self.is_side_of(parts, other, leg, trunk) {
            return Err(unknown());
        }
        let is_busy = self.calls.get(other).is_some_and(|call| call.transfer.is_some());
        if is_busy { Err(Refusal::warn(491, "A transfer of that call is under way")) } else { Ok(()) }
    }

    /// The name of the call of `leg`, and the leg it is bridged with.
    pub(super) fn party_of(&self, parts: &Parts<'_>, leg: LegId) -> Option<(CompactString, LegId)> {
        let id = parts.ua.leg(leg)?.call()?;
        Some((super::name_of(id, self.calls.get(id)?.started_at), self.other(id, leg)?))
    }

    /// Takes `leg` into call `id`; the call it was in is over, and its trunk's leg with it. False when it is up no more.
    pub(super) fn take_over(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) -> bool {
        let joined = parts.ua.leg(leg).filter(|leg| leg.stage() == ua::Stage::Confirmed);
        let Some(other) = joined.and_then(ua::Leg::call).filter(|other| *other != id) else { return false };
        let Some(left) = self.other(other, leg) else { return false };
        if self.calls.get(other).is_none_or(|call| call.transfer.is_some()) {
            return false;
        }
        let number = self.calls.get(other).and_then(|call| call.number);
        if let (Some(number), Some(call)) = (number, self.calls.get_mut(id)) {
            // Its holder is still in a call.
            parts.leases.call_up(number);
            call.joined = Some(number);
        }
        parts.ua.adopt(leg, id);
        self.move_media(leg, id);
        if let Some(call) = self.calls.get_mut(id) {
            call.without_trunk = true;
        }
        parts.ua.hang_up(&mut parts.context, left, Some(b"SIP;cause=200;text=\"Call transferred\""));
        parts.ua.orphan(left);
        self.finish(parts, other, Outcome::Answered, 200);
        true
    }
}
