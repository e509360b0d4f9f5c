//! From one party to another: the phone is offered the media of whoever takes the agent's place, and when it has taken them the
//! agent goes (RFC 5589 §6; CONFORMANCE RE-1 to RE-3, RE-8). Until then everything can be taken back.

use std::time::Duration;

use super::dial::crossing;
use super::history::Outcome;
use super::transfer::{Newcomer, Step, Transfer};
use super::{Alarm, Calls, Parts};
use crate::media::ng::AskId;
use crate::ua::{self, CallId, LegId, Refusal};

/// How long the phone may take to change over.
const CHANGE_OVER: Duration = Duration::from_secs(15);
/// Between tries while the phone is in the middle of another exchange, shortest and longest (RFC 3261 §14.1).
const BUSY_MS: (u64, u64) = (500, 1500);
/// The call taker hangs up when it has heard of the success; after this time we do.
const FAREWELL: Duration = Duration::from_secs(4);

impl Calls {
    /// The leg in the place of the agent's is up: the phone is offered its media.
    pub(super) fn offer(&mut self, parts: &mut Parts<'_>, id: CallId, agent: LegId, to: Newcomer) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let step = Step::Offering { to, client: None, give_up: now + CHANGE_OVER, asked: None };
        call.transfer = Some(Transfer::new(agent, step, now));
        self.offer_phone(parts, id);
    }

    fn offer_phone(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let now = parts.context.now;
        let Some(call) = self.calls.get(id) else { return };
        let Some((_, phone)) = call.sides() else { return };
        let Some(Transfer { step: Step::Offering { to, give_up, asked, .. }, .. }) = call.transfer.as_deref() else {
            return;
        };
        let (to, give_up, mut asked) = (*to, *give_up, *asked);
        let described = parts.ua.leg(to.leg()).and_then(|leg| match to {
            Newcomer::Called(_) => Some(leg.theirs().to_vec()),
            Newcomer::Joined(_) => Some(resumed(leg.theirs())),
            Newcomer::Replacing(_) => leg.offer().map(|offer| offer.to_vec()),
        });
        let Some(description) = described.filter(|description| !description.is_empty()) else {
            return self.transfer_failed(parts, id, 488);
        };
        let may_offer = parts.ua.may_reinvite(phone);
        let is_new = may_offer && asked.is_none();
        let waits = if is_new { self.ask_ahead(parts, id, to.leg(), phone, &description) } else { None };
        asked = asked.or(waits);
        let client = match may_offer && waits.is_none() {
            true => {
                let passage = self.passage(parts, to.leg(), phone, &description);
                let content = parts.ua.described(phone, &description, |description| passage.edit(description));
                parts.ua.reinvite(&mut parts.context, phone, content.as_ref())
            }
            false => None,
        };
        if client.is_none() && now >= give_up {
            return self.transfer_failed(parts, id, 504);
        }
        let wait = Duration::from_millis(BUSY_MS.0 + parts.context.rng.below(BUSY_MS.1 - BUSY_MS.0 + 1));
        let due = if client.is_some() { give_up.max(now + FAREWELL) } else { now + wait };
        if let Some(transfer) = self.calls.get_mut(id).and_then(|call| call.transfer.as_mut()) {
            transfer.step = Step::Offering { to, client, give_up, asked };
            transfer.due = due;
        }
        self.wake(due, id, Alarm::Transfer);
    }

    /// rtpengine has answered `ask`, or nobody will.
    pub(super) fn offer_asked(&mut self, parts: &mut Parts<'_>, id: CallId, ask: AskId) {
        let transfer = self.calls.get(id).and_then(|call| call.transfer.as_deref());
        if let Some(Transfer { step: Step::Offering { client: None, asked: Some(asked), .. }, .. }) = transfer
            && *asked == ask
        {
            self.offer_phone(parts, id);
        }
    }

    /// The phone has answered the offer.
    pub(super) fn phone_replied(&mut self, parts: &mut Parts<'_>, id: CallId, status: u16) {
        match status {
            200..=299 => self.complete(parts, id),
            491 => {
                let wait = Duration::from_millis(2100 + parts.context.rng.below(1900));
                let due = parts.context.now + wait;
                if let Some(transfer) = self.calls.get_mut(id).and_then(|call| call.transfer.as_mut())
                    && let Step::Offering { client, .. } = &mut transfer.step
                {
                    (*client, transfer.due) = (None, due);
                }
                self.wake(due, id, Alarm::Transfer);
            }
            // Its dialog is over: the end of the leg follows.
            408 | 481 => {}
            status => self.transfer_failed(parts, id, crossing(status)),
        }
    }

    /// The phone is with the newcomer: what it says of itself goes there, and the agent may go.
    fn complete(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let Some((_, phone)) = call.sides() else { return };
        let Some(Transfer { agent, step: Step::Offering { to, .. }, .. }) = call.transfer.as_deref() else { return };
        let (agent, to) = (*agent, *to);
        match to {
            Newcomer::Called(_) => {}
            Newcomer::Replacing(leg) => {
                let content = self.heard(parts, id, phone, leg);
                parts.ua.answer(&mut parts.context, leg, content.as_ref());
            }
            Newcomer::Joined(leg) => {
                if !self.take_over(parts, id, leg) {
                    self.transfer_failed(parts, id, 480);
                    return self.unsettle(parts, id, phone);
                }
            }
        }
        self.hand_over(parts, id, agent, to.leg());
        if !matches!(to, Newcomer::Replacing(_)) {
            self.unsettle(parts, id, to.leg());
        }
    }

    /// The newcomer is the call's; the agent is told, and goes.
    pub(super) fn hand_over(&mut self, parts: &mut Parts<'_>, id: CallId, agent: LegId, newcomer: LegId) {
        let due = parts.context.now + FAREWELL;
        let Some(call) = self.calls.get_mut(id) else { return };
        call.hand_over(agent, newcomer);
        call.silent = None;
        call.transfer = Some(Transfer::new(agent, Step::Leaving, due));
        // What was being carried between the phone and the agent has nobody to answer it any more.
        for crossing in std::mem::take(&mut call.crossings) {
            let refusal = Refusal::warn(480, "The call was transferred");
            let super::Crossing { from, server, request, flow, .. } = crossing;
            parts.ua.refuse_carried(&mut parts.context, from, server, &request, flow, &refusal);
        }
        parts.ua.notify(&mut parts.context, agent, 200);
        match parts.ua.is_notifying(agent) {
            true => self.wake(due, id, Alarm::Transfer),
            false => self.dismiss(parts, id),
        }
    }

    /// The agent has heard of the success, or wants to hear nothing: its leg ends.
    pub(super) fn dismiss(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(transfer) = self.calls.get_mut(id).and_then(|call| call.transfer.take()) else { return };
        parts.ua.hang_up(&mut parts.context, transfer.agent, Some(b"SIP;cause=200;text=\"Call transferred\""));
        parts.ua.orphan(transfer.agent);
    }

    /// The transfer has come to nothing: the caller stays with the agent, or where that one has hung up the call is over.
    pub(super) fn transfer_failed(&mut self, parts: &mut Parts<'_>, id: CallId, status: u16) {
        let Some(call) = self.calls.get(id) else { return };
        let Some(agent) = call.transfer.as_deref().map(|transfer| transfer.agent) else { return };
        let phone = call.sides().map(|(_, phone)| phone);
        self.drop_transfer(parts, id, status);
        let is_gone = parts.ua.leg(agent).is_none_or(|leg| leg.stage() == ua::Stage::Ending);
        if let Some(phone) = phone.filter(|_| is_gone) {
            let reason = Refusal::new(status).as_reason();
            parts.ua.hang_up(&mut parts.context, phone, Some(&reason));
            parts.ua.orphan(phone);
            self.finish(parts, id, Outcome::Answered, status);
        }
    }

    /// Takes back whatever the transfer has begun, and tells the agent.
    pub(super) fn drop_transfer(&mut self, parts: &mut Parts<'_>, id: CallId, status: u16) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some(transfer) = call.transfer.take() else { return };
        let phone = call.sides().map(|(_, phone)| phone);
        let agent = transfer.agent;
        match transfer.step {
            Step::Calling(_) => self.hang_up_branches(parts, id, None, None),
            Step::Offering { to, client, .. } => {
                if let (Some(phone), Some(client)) = (phone, client) {
                    parts.ua.withdraw(&mut parts.context, phone, client, None);
                }
                match to {
                    Newcomer::Called(leg) => {
                        parts.ua.hang_up(&mut parts.context, leg, Some(b"SIP;cause=487;text=\"Transfer failed\""));
                        parts.ua.orphan(leg);
                    }
                    Newcomer::Replacing(leg) => parts.ua.refuse(&mut parts.context, leg, &Refusal::new(status)),
                    Newcomer::Joined(_) => {}
                }
            }
            Step::Leaving => {
                parts.ua.hang_up(&mut parts.context, agent, None);
                parts.ua.orphan(agent);
            }
        }
        parts.ua.notify(&mut parts.context, agent, status);
    }

    /// Something is due of a transfer.
    pub(super) fn transfer_due(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let now = parts.context.now;
        let Some(transfer) = self.calls.get(id).and_then(|call| call.transfer.as_deref()) else { return };
        match &transfer.step {
            _ if transfer.due > now => {}
            Step::Calling(_) => self.transfer_failed(parts, id, 408),
            Step::Offering { client: None, .. } => self.offer_phone(parts, id),
            Step::Offering { client: Some(_), .. } => self.transfer_failed(parts, id, 504),
            Step::Leaving => self.dismiss(parts, id),
        }
    }
}

/// A description as its owner would offer it: the hold that somebody else put it on is not passed on (RFC 3264 §8.4).
pub(super) fn resumed(description: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(description.len());
    for line in description.split_inclusive(|byte| *byte == b'\n') {
        match line.trim_ascii_end() {
            b"a=recvonly" | b"a=inactive" => whole.extend_from_slice(b"a=sendrecv\r\n"),
            _ => whole.extend_from_slice(line),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::resumed;

    #[test]
    fn a_hold_of_the_other_side_is_not_passed_on() {
        let held = b"v=0\r\nm=audio 1 RTP/AVP 0\r\na=recvonly\r\nm=video 2 RTP/AVP 31\r\na=inactive\r\nm=text 3 RTP/AVP 98\r\na=sendonly\r\n";
        let free = b"v=0\r\nm=audio 1 RTP/AVP 0\r\na=sendrecv\r\nm=video 2 RTP/AVP 31\r\na=sendrecv\r\nm=text 3 RTP/AVP 98\r\na=sendonly\r\n";
        assert_eq!(resumed(held), free);
    }
}
