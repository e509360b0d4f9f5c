//! What the daemon says itself to who takes no plain RTP, a browser or a phone with SRTP: rtpengine stands between, as it does toward a
//! trunk. It is asked what the offer is in plain RTP, then what our answer is to whoever made it, and then who waits goes on.

use bytes::Bytes;

use super::engine::{Engine, Purpose, Session, SessionId, profile_of, tag};
use super::passage::address_of;
use crate::call::voice::{is_in_need, spoken_of};
use crate::call::{Calls, Parts, Stage};
use crate::dialog::Exchange;
use crate::media::Stream;
use crate::media::ng::{AskId, Command, HASHES, Profile, Told};
use crate::sip::{Message, Method, sdp};
use crate::ua::{CallId, Event, LegId};

/// Who goes on when rtpengine has answered, or nobody will.
pub(in crate::call) enum Speaks {
    /// The test line answers this INVITE.
    Test(Box<Message>),
    /// The test line answers a request that is parked.
    TestAgain,
    /// A held callback.
    Hold,
    /// A refusal of this INVITE.
    Refusal(Box<Message>),
}

/// Our own voice, where a leg would be. No leg has this key.
fn own_voice() -> LegId {
    LegId::default()
}

impl Session {
    pub(super) fn is_own(&self) -> bool {
        self.spoke == Some(own_voice())
    }
}

impl Engine {
    /// The offer `description` of a leg's peer in plain RTP.
    fn plain(&self, leg: LegId, description: &[u8]) -> Option<Bytes> {
        self.rewritten(leg, own_voice(), description)
    }

    /// What we have answered to it, and what its peer is to see of that.
    fn own_answer(&self, leg: LegId, description: &[u8]) -> Option<(Bytes, Bytes)> {
        self.plain(leg, description)?;
        let (_, session) = self.session(leg, own_voice())?;
        let answer = session.known.iter().find(|known| !known.by_hub).filter(|_| session.is_answered)?;
        Some((answer.original.clone(), answer.text.clone()))
    }

    /// What we and rtpengine have said to each other on behalf of a leg whose peer says `theirs`: ours first.
    pub(super) fn between(&self, leg: LegId, theirs: &[u8]) -> Option<(Bytes, Bytes)> {
        Some((self.own_answer(leg, theirs)?.0, self.plain(leg, theirs)?))
    }
}

impl Calls {
    /// What `description` of a leg's peer is to our voice.
    pub(in crate::call) fn heard_of(&self, leg: LegId, description: &Bytes) -> Bytes {
        self.media.engine.plain(leg, description).unwrap_or_else(|| description.clone())
    }

    /// Our answer to `description` where rtpengine stands between, and what its peer is to see of it.
    pub(in crate::call) fn answer_between(&self, leg: LegId, description: &[u8]) -> Option<(Bytes, Bytes)> {
        self.media.engine.own_answer(leg, description)
    }

    /// Asks rtpengine to stand between our voice and who makes this offer. `None`: it is not needed, or there is none.
    pub(in crate::call) fn ask_voice(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        message: &Message,
        speaks: Speaks,
    ) -> Option<AskId> {
        let description = message.body().get(sdp::locate(message)?)?;
        let streams = Stream::all(Some(description).filter(|text| sdp::Sdp::new(text).well_formed())?);
        if streams.iter().any(|stream| spoken_of(stream).is_some()) || !streams.iter().any(is_in_need) {
            return None;
        }
        let wants = profile_of(parts.ua.leg(leg)?);
        let is_ipv4 = self.is_ipv4(parts, leg, None);
        let is_ipv4 = is_ipv4 == address_of(parts, is_ipv4).is_some();
        let engine = &mut self.media.engine;
        let known = engine.session(leg, own_voice()).map(|(session, _)| session);
        let lost = known.filter(|session| engine.may_leave(*session));
        engine.close(|session, _| Some(session) == lost);
        let known = known.filter(|_| lost.is_none());
        let session = known.unwrap_or_else(|| engine.open(id, leg, Some(own_voice()), parts.context.rng.u64(), wants));
        let state = engine.sessions.get_mut(&session)?;
        state.is_answered = false;
        let (name, from) = (state.name.clone(), tag(true));
        let told = Told { description, profile: Profile::Plain, is_ipv4, hash: HASHES[0] };
        let command = Command::Offer { call: &name, from, to: None, told };
        let ask = engine.client.ask(parts.context.now, parts.context.rng, state.instance, &command);
        let Some(ask) = ask else {
            self.not_spoken(parts, session, leg, description);
            return None;
        };
        let original = Bytes::copy_from_slice(description);
        let purpose = Purpose::Voice { session, name, call: id, by_hub: true, original, speaks };
        engine.asks.insert(ask, purpose);
        Some(ask)
    }

    /// The same for a request in the dialog of the test line.
    pub(super) fn ask_for_test_line(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        event: &Event,
    ) -> Option<AskId> {
        let Event::Request { message, .. } = event else { return None };
        let is_test_line = self.calls.get(id).is_some_and(|call| matches!(call.stage, Stage::TestLine));
        let may_offer = matches!(message.method(), Method::Invite | Method::Update);
        if is_test_line && may_offer { self.ask_voice(parts, id, leg, message, Speaks::TestAgain) } else { None }
    }

    /// rtpengine has said what the offer is, or our answer; where it has not, its session is gone.
    pub(super) fn voice_said(
        &mut self,
        parts: &mut Parts<'_>,
        (call, session): (CallId, SessionId),
        ask: AskId,
        by_hub: bool,
        speaks: Speaks,
    ) {
        let state = self.media.engine.sessions.get(&session);
        let call = state.map_or(call, |state| state.call);
        let offer = state
            .and_then(|state| state.known.iter().find(|known| known.by_hub))
            .map(|known| (known.original.clone(), known.text.clone()));
        let Some(leg) = state.map(|state| state.hub) else {
            let leg = self.calls.get(call).map(|call| call.caller);
            let offer = leg.and_then(|leg| parts.ua.leg(leg)?.offer().cloned());
            if let Some((leg, offer)) = leg.zip(offer) {
                self.not_spoken(parts, session, leg, &offer);
            }
            return self.speak_on(parts, call, ask, speaks);
        };
        let Some((offered, plain)) = offer.filter(|_| by_hub) else { return self.speak_on(parts, call, ask, speaks) };
        match self.ask_own_answer(parts, call, (session, leg), &plain) {
            Some((next, purpose)) => {
                self.media.engine.asks.insert(next, purpose(speaks));
                if let Some(parked) = self.media.engine.parked.get_mut(&call).filter(|parked| parked.ask == ask) {
                    parked.ask = next;
                }
            }
            None => {
                self.not_spoken(parts, session, leg, &offered);
                self.speak_on(parts, call, ask, speaks);
            }
        }
    }

    /// Asks what our answer to the offer `plain` is on the other side; `None`: there is none, or nobody to ask.
    fn ask_own_answer(
        &mut self,
        parts: &mut Parts<'_>,
        call: CallId,
        (session, leg): (SessionId, LegId),
        plain: &[u8],
    ) -> Option<(AskId, impl FnOnce(Speaks) -> Purpose + use<>)> {
        let description = Bytes::from(self.own_answer_to(parts, leg, plain)?);
        let peer = parts.ua.leg(leg)?;
        let (profile, is_ipv4) = (profile_of(peer), peer.flow().remote.ip().to_canonical().is_ipv4());
        let hash = self.hash_for(leg, session);
        let engine = &mut self.media.engine;
        let state = engine.sessions.get_mut(&session)?;
        let (name, from, to) = (state.name.clone(), tag(true), tag(false));
        let told = Told { description: &description, profile, is_ipv4, hash };
        let command = Command::Answer { call: &name, from, to, told };
        let ask = engine.client.ask(parts.context.now, parts.context.rng, state.instance, &command)?;
        state.is_answered = true;
        let original = description.clone();
        Some((ask, move |speaks| Purpose::Voice { session, name, call, by_hub: false, original, speaks }))
    }

    /// Nobody stands between: a browser hears nothing of us, and the operator is told.
    fn not_spoken(&mut self, parts: &Parts<'_>, session: SessionId, leg: LegId, theirs: &[u8]) {
        self.media.engine.close(|id, _| id == session);
        if self.is_of_browser(parts, leg, theirs) && self.relays(parts, leg, leg) {
            self.not_converted(leg);
        }
    }

    fn speak_on(&mut self, parts: &mut Parts<'_>, id: CallId, ask: AskId, speaks: Speaks) {
        self.media.touch(id);
        match speaks {
            Speaks::Test(invite) => self.test_answers(parts, id, &invite),
            Speaks::TestAgain => self.unpark(parts, id, ask),
            Speaks::Hold => self.hold_is_said(parts, id),
            Speaks::Refusal(invite) => self.say_refusal(parts, id, &invite),
        }
    }

    /// The instance that stood between is gone, and nobody hears us.
    pub(super) fn voice_lost(&mut self, parts: &mut Parts<'_>, session: SessionId, call: CallId, leg: LegId) {
        let theirs = parts.ua.leg(leg).map(|leg| leg.theirs().clone()).unwrap_or_default();
        self.not_spoken(parts, session, leg, &theirs);
        self.test_is_mute(parts, call);
    }

    /// A leg that has heard us is told of another description: nothing stands between any more.
    pub(super) fn end_own(&mut self, parts: &Parts<'_>, id: LegId) {
        let Some(leg) = parts.ua.leg(id).filter(|leg| !leg.is_early() && leg.exchange() == Exchange::Stable) else {
            return;
        };
        let answer = self.media.engine.own_answer(id, leg.theirs());
        if answer.is_none_or(|(_, text)| !leg.holds(&text)) {
            self.media.engine.close(|_, session| session.is_own() && session.hub == id);
        }
    }
}
