//! A description has crossed rtpengine, or not. An answer to an offer that rtpengine does not know, because it has begun anew since or
//! was silent then, is no use to who takes no plain RTP, a browser say: it would refuse it, and the call would be over. So rtpengine is
//! told the offer, and then the answer; who answered is offered the rest of it when the call is up.

use bytes::Bytes;

use super::count::ice_name;
use super::engine::{Asked, Crossing, profile_of};
use crate::call::rewrite::Secrets;
use crate::call::transfer::{Step, Transfer};
use crate::call::{Calls, Parts};
use crate::dialog::Exchange;
use crate::media::ng::{AskId, Profile};
use crate::media::{Stream, scrub, without_candidates};
use crate::ua::{CallId, LegId};

/// How often rtpengine is asked for another place.
const MOVES: u8 = 3;

impl Calls {
    /// What a leg says, without what tells another one who the user is, to be told on our own account. A browser is called where it
    /// was by an rtpengine that reads of that place, in the middle of its handshake with the session before: it comes by itself.
    pub(super) fn bare_for(&self, parts: &Parts<'_>, id: CallId, from: LegId, to: LegId, description: &Bytes) -> Bytes {
        let bare = || {
            let call = self.calls.get(id).filter(|call| call.hides_user_from(to))?;
            let number = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
            Secrets::of_peer(parts.ua.leg(from)?, call.user.as_ref(), number).remove_from(description)
        };
        let bare = bare().map_or_else(|| description.clone(), Bytes::from);
        // A phone that speaks DTLS without ICE does not come by itself.
        let is_browser = ice_name(&bare).is_some() && Stream::all(&bare).iter().any(Stream::is_dtls);
        if is_browser { without_candidates(&bare).into() } else { bare }
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
        let moves = answer.moves;
        let then = Some(Box::new(Crossing { is_again: true, ..answer }));
        let (from, to) = (offerer, answerer);
        let offer = Crossing { from, to, original, asked, is_offered: true, is_again: true, moves, then };
        let ask = self.ask_crossing(parts, id, offer)?;
        if let Some(call) = self.calls.get_mut(id) {
            call.alignment.expect_both(answerer);
        }
        Some(ask)
    }

    /// Tells another session the offer, after what the one has said who is to have it: his streams keep their names (RFC 5888 §9).
    fn ask_elsewhere(&mut self, parts: &mut Parts<'_>, id: CallId, offer: Crossing) -> Option<AskId> {
        let (from, to, moves) = (offer.to, offer.from, offer.moves);
        let original = parts.ua.leg(from)?.theirs().clone();
        if original.is_empty() {
            return self.ask_crossing(parts, id, offer);
        }
        let asked = self.bare_for(parts, id, from, to, &original);
        let then = Some(Box::new(offer));
        let first = Crossing { from, to, original, asked, is_offered: true, is_again: false, moves, then };
        self.ask_crossing(parts, id, first)
    }

    /// rtpengine has answered, or will not: what waits goes on, unless it has to be asked again.
    pub(super) fn crossing_said(&mut self, parts: &mut Parts<'_>, ask: AskId, asked: Asked, text: Option<Bytes>) {
        let Asked { session, call, by_hub, profile, is_answer, crossing } = asked;
        let Crossing { from, to, ref original, is_again, moves, .. } = crossing;
        // A leg may have gone over to another one meanwhile.
        let call = self.media.engine.sessions.get(&session).map_or(call, |known| known.call);
        let parked = self.media.engine.parked.iter().find(|(_, parked)| parked.ask == ask);
        let id = parked.map_or(call, |(id, _)| *id);
        let leads_back = moves < MOVES && text.as_ref().is_some_and(|text| self.media.engine.left.has(to, text));
        if leads_back {
            self.media.engine.close(|id, _| id == session);
        }
        let text = text.filter(|_| !leads_back);
        let is_known = text.is_some();
        if let (Some(known), Some(text)) = (self.media.engine.sessions.get_mut(&session), text) {
            let text = if profile == Profile::Browser { text } else { scrub(&text, original).into() };
            // Nobody is offered by us what he has; what his peer asks for is on its way all the same, and may be refused.
            let is_asked = parts.ua.leg(from).is_some_and(|leg| leg.exchange() == Exchange::OfferReceived);
            known.is_answered |= !is_asked && parts.ua.leg(to).is_some_and(|leg| leg.holds(&text));
            known.learn(by_hub, original.clone(), text);
        }
        let (is_again, moves) = (is_again && !leads_back, moves + u8::from(leads_back));
        let next = match crossing.then {
            Some(answer) if is_known => self.ask_crossing(parts, id, *answer),
            then if leads_back && !is_answer => self.ask_elsewhere(parts, id, Crossing { then, moves, ..crossing }),
            None if !is_known && is_answer => {
                self.ask_again(parts, id, Crossing { then: None, is_again, moves, ..crossing })
            }
            Some(_) | None => None,
        };
        if next.is_some_and(|next| self.wait_instead(id, ask, next)) {
            return;
        }
        self.offer_asked(parts, id, ask);
        self.align_asked(parts, id, ask);
        self.unpark(parts, id, ask);
        self.gone_astray(parts, id, Some(from).filter(|_| is_answer && !is_known));
    }

    /// What waits for one answer of rtpengine waits for another one; false: nothing does.
    fn wait_instead(&mut self, id: CallId, ask: AskId, next: AskId) -> bool {
        let parked = self.media.engine.parked.get_mut(&id).map(|parked| &mut parked.ask);
        let call = self.calls.get_mut(id);
        let of_call = call.into_iter().flat_map(|call| {
            let of_transfer = match call.transfer.as_deref_mut() {
                Some(Transfer { step: Step::Offering { asked, .. }, .. }) => asked.as_mut(),
                _ => None,
            };
            of_transfer.into_iter().chain(call.alignment.asked_mut())
        });
        let waiting = parked.into_iter().chain(of_call).filter(|waits| **waits == ask);
        waiting.map(|waits| *waits = next).count() > 0
    }
}
