//! Both legs of a call tell of the same media: where a race or a fork has left a peer with another description than the
//! other leg's, it is offered that one (RFC 3264 §8; CONFORMANCE OA-1, DI-10, CA-3). And a leg that has fallen silent
//! (RFC 4028; CONFORMANCE ST-3).

use super::history::{Kind, Report};
use super::{Alarm, Calls, Parts};
use crate::media::ng::AskId;
use crate::sip::{Lines, Message, Method};
use crate::transaction::ClientId;
use crate::ua::{CallId, Cause, LegId};

/// Offers of this kind that one disagreement may cost: one to each leg, and one more.
const ROUNDS: u8 = 3;

/// A leg that has to be told what the other one says.
#[derive(Default)]
pub(super) struct Alignment {
    told: Option<LegId>,
    client: Option<ClientId>,
    rounds: u8,
    /// The other one may have another description too, whatever becomes of this one.
    both: bool,
    /// rtpengine was asked what to offer; `true` until it has answered.
    asked: Option<(AskId, bool)>,
}

impl Alignment {
    /// The peer of `told` may have another description than the peer of the other leg gave.
    pub fn expect(&mut self, told: LegId) {
        *self = Self { told: Some(told), ..Self::default() };
    }

    /// The same, and the other one has his turn after that; or before, where he is to be told already.
    pub fn expect_both(&mut self, told: LegId) {
        if self.told.is_none() {
            self.expect(told);
        }
        self.both = true;
    }

    /// What rtpengine is asked.
    pub fn waits_for(&self) -> Option<AskId> {
        self.asked.filter(|(_, waits)| *waits).map(|(ask, _)| ask)
    }

    /// The same, to be changed.
    pub fn asked_mut(&mut self) -> Option<&mut AskId> {
        self.asked.as_mut().map(|(ask, _)| ask)
    }

    pub fn is_expected(&self) -> bool {
        self.told.is_some()
    }
}

impl Calls {
    /// Tells the peer of `told` what the other leg's says, if it does not have it.
    pub(super) fn unsettle(&mut self, parts: &mut Parts<'_>, id: CallId, told: LegId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.alignment.expect(told);
        }
        self.align(parts, id);
    }

    /// Offers a leg what the other one says, if it does not have it; later, while something else is under way there.
    pub(super) fn align(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Alignment { told: Some(told), client: None, rounds, asked, .. }) =
            self.calls.get(id).map(|call| &call.alignment)
        else {
            return;
        };
        let (told, rounds, asked) = (*told, *rounds, *asked);
        if asked.is_some_and(|(_, waits)| waits) || (asked.is_none() && self.asks_alignment(parts, id, told)) {
            return;
        }
        let known = self.other(id, told).and_then(|teller| self.known(parts, id, teller, told));
        let Some((description, edits)) = known.filter(|_| rounds < ROUNDS) else { return self.settled(id) };
        let edit = |description: &[u8]| edits.edit(description);
        let edited = edit(&description);
        if parts.ua.leg(told).is_some_and(|leg| leg.holds(edited.as_deref().unwrap_or(&description))) {
            return self.held(parts, id, told);
        }
        let may_update = parts.ua.may_update(told);
        if !may_update && !parts.ua.may_reinvite(told) {
            return self.align_later(parts, id, told);
        }
        let content = parts.ua.described(told, &description, edit);
        let client = match may_update {
            true => parts.ua.request(&mut parts.context, told, Method::Update, &Lines::default(), content.as_ref()),
            false => parts.ua.reinvite(&mut parts.context, told, content.as_ref()),
        };
        if let Some(call) = self.calls.get_mut(id) {
            let both = call.alignment.both;
            call.alignment = Alignment { told: Some(told), client, rounds: rounds + 1, both, asked };
        }
    }

    /// True when rtpengine is asked first.
    fn asks_alignment(&mut self, parts: &mut Parts<'_>, id: CallId, told: LegId) -> bool {
        let Some(teller) = self.other(id, told) else { return false };
        let Some(description) = parts.ua.leg(teller).map(|leg| leg.theirs().clone()) else { return false };
        let ask = self.ask_ahead(parts, id, teller, told, &description);
        if let (Some(ask), Some(call)) = (ask, self.calls.get_mut(id)) {
            call.alignment.asked = Some((ask, true));
        }
        ask.is_some()
    }

    /// rtpengine has answered `ask`, or nobody will.
    pub(super) fn align_asked(&mut self, parts: &mut Parts<'_>, id: CallId, ask: AskId) {
        let asked = self.calls.get_mut(id).and_then(|call| call.alignment.asked.as_mut());
        if let Some((_, waits)) = asked.filter(|(asked, _)| *asked == ask) {
            *waits = false;
            self.align(parts, id);
        }
    }

    /// The answer to such an offer; false when `client` is none. What its peer now says, the other leg may have to hear.
    pub(super) fn aligned(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) -> bool {
        let Some(call) = self.calls.get_mut(id).filter(|call| call.alignment.client == Some(client)) else {
            return false;
        };
        call.alignment.client = None;
        match response.map_or_else(|status| status, Message::code) {
            200..=299 => {
                let other = self.other(id, leg);
                if let Some(call) = self.calls.get_mut(id) {
                    (call.alignment.told, call.alignment.asked) = (other, None);
                }
                self.align(parts, id);
            }
            491 => self.align_later(parts, id, leg),
            _ => self.settled(id),
        }
        true
    }

    fn align_later(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let wait = parts.ua.glare_wait(parts.context.rng, leg);
        self.wake(parts.context.now + wait, id, Alarm::Align);
    }

    /// `told` has it already.
    fn held(&mut self, parts: &mut Parts<'_>, id: CallId, told: LegId) {
        let other = self.other(id, told);
        match self.calls.get_mut(id).map(|call| &mut call.alignment).filter(|alignment| alignment.both) {
            Some(alignment) => {
                (alignment.told, alignment.asked, alignment.both) = (other, None, false);
                self.align(parts, id);
            }
            None => self.settled(id),
        }
    }

    fn settled(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.alignment = Alignment::default();
        }
    }

    /// A leg's peer did not answer, or missed its refresh. An ordinary call is over. An emergency call or a callback stays up,
    /// with an alarm, as long as the other leg's peer is there, or packets of either arrive: whoever hears nothing hangs up.
    pub(super) fn silent(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, missed_refresh: bool) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let is_urgent = matches!(call.kind, Kind::Emergency | Kind::Callback);
        let both = call.silent.is_some_and(|silent| silent != leg);
        let Some(other) = self.other(id, leg) else { return self.expired(parts, id, leg) };
        // Nobody is cut off who is heard, whatever signalling says.
        if !is_urgent || (both && !missed_refresh && !self.flows(id)) {
            return self.expired(parts, id, leg);
        }
        if let Some(call) = self.calls.get_mut(id) {
            let is_caller = call.caller == leg;
            self.reports.push(Report::Silent { kind: call.kind, is_caller, missed_refresh });
            // A missed refresh proves nothing yet: the peer itself is asked.
            if !missed_refresh {
                call.silent = Some(leg);
            }
        }
        parts.ua.ask(&mut parts.context, if missed_refresh { leg } else { other });
    }

    /// A leg's peer is there.
    pub(super) fn alive(&mut self, id: CallId, leg: LegId) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| call.silent == Some(leg)) {
            call.silent = None;
        }
    }

    fn expired(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let reason = b"SIP;cause=408;text=\"Session expired\"";
        parts.ua.hang_up(&mut parts.context, leg, Some(reason));
        self.leg_ended(parts, id, leg, Some(reason), Cause::Expired);
    }
}
