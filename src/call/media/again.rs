//! A description has crossed rtpengine, or not. An answer to an offer that rtpengine does not know, because it has begun anew since or
//! was silent then, is no use to who takes no plain RTP, a browser say: it would refuse it, and the call would be over. So rtpengine is
//! told the offer, and then the answer; who answered is offered the rest of it when the call is up.

use bytes::Bytes;

use super::engine::{Asked, Crossing, profile_of};
use crate::call::rewrite::Secrets;
use crate::call::{Calls, Parts};
use crate::media::ng::{AskId, Profile};
use crate::media::scrub;
use crate::ua::{CallId, LegId};

impl Calls {
    /// What a leg says, without what tells another one who the user is.
    pub(super) fn bare_for(&self, parts: &Parts<'_>, id: CallId, from: LegId, to: LegId, description: &Bytes) -> Bytes {
        let bare = || {
            let call = self.calls.get(id).filter(|call| call.hides_user_from(to))?;
            let number = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
            Secrets::of_peer(parts.ua.leg(from)?, call.user.as_ref(), number).remove_from(description)
        };
        bare().map_or_else(|| description.clone(), Bytes::from)
    }

    /// Tells rtpengine the offer that `answer` is to; `None`: nobody needs it, or nobody can be told.
    pub(super) fn ask_again(&mut self, parts: &mut Parts<'_>, id: CallId, answer: Crossing) -> Option<AskId> {
        let (offerer, answerer) = (answer.to, answer.from);
        let is_plain = |leg: LegId| parts.ua.leg(leg).is_none_or(|leg| profile_of(leg) == Profile::Plain);
        if answer.is_again || (is_plain(offerer) && is_plain(answerer)) {
            return None;
        }
        let original = parts.ua.leg(offerer)?.offer()?.clone();
        let asked = self.bare_for(parts, id, offerer, answerer, &original);
        let then = Some(Box::new(Crossing { is_again: true, ..answer }));
        let offer = Crossing { from: offerer, to: answerer, original, asked, is_offered: true, is_again: true, then };
        let ask = self.ask_crossing(parts, id, offer)?;
        if let Some(call) = self.calls.get_mut(id) {
            call.alignment.expect_both(answerer);
        }
        Some(ask)
    }

    /// rtpengine has answered, or will not: what waits goes on, unless it has to be asked again.
    pub(super) fn crossing_said(&mut self, parts: &mut Parts<'_>, ask: AskId, asked: Asked, text: Option<Bytes>) {
        let Asked { session, call, by_hub, profile, is_answer, crossing } = asked;
        let Crossing { from, to, ref original, .. } = crossing;
        let is_known = text.is_some();
        let known = self.media.engine.sessions.get_mut(&session);
        // A leg may have gone over to another one meanwhile.
        let call = known.as_ref().map_or(call, |known| known.call);
        if let (Some(known), Some(text)) = (known, text) {
            let text = if profile == Profile::Browser { text } else { scrub(&text, original).into() };
            // Nobody is offered by us what he has.
            known.is_answered |= crossing.is_offered && parts.ua.leg(to).is_some_and(|leg| leg.holds(&text));
            known.learn(by_hub, original.clone(), text);
        }
        let parked = self.media.engine.parked.iter().find(|(_, parked)| parked.ask == ask);
        let id = parked.map_or(call, |(id, _)| *id);
        let next = match crossing.then {
            Some(answer) if is_known => self.ask_crossing(parts, id, *answer),
            None if !is_known && is_answer => self.ask_again(parts, id, Crossing { then: None, ..crossing }),
            Some(_) | None => None,
        };
        if let (Some(next), Some(parked)) = (next, self.media.engine.parked.get_mut(&id)) {
            parked.ask = next;
            return;
        }
        self.offer_asked(parts, id, ask);
        self.align_asked(parts, id, ask);
        self.unpark(parts, id, ask);
        self.gone_astray(parts, id, Some(from).filter(|_| is_answer && !is_known));
    }
}
