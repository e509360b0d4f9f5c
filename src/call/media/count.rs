//! How calls fare that go through rtpengine, asked every few seconds: what has arrived, whether it still knows them, and whether it
//! still believes an offer that came to nothing.

use std::time::Duration;

use super::engine::{Purpose, Session, SessionId, profile_of, tag};
use super::health::Count;
use crate::call::{Calls, Parts};
use crate::dialog::Exchange;
use crate::media::ng::{Command, Profile, Refused, Reply};
use crate::sip::sdp::Sdp;
use crate::ua::{CallId, LegId, Stage};

/// How often rtpengine is asked what has arrived.
pub(super) const COUNT: Duration = Duration::from_secs(5);

impl Calls {
    /// Calls of an instance that is gone go on without it.
    pub(super) fn leave_lost(&mut self, parts: &mut Parts<'_>) {
        let engine = &self.media.engine;
        // An offer that nobody answers is not the last word.
        let is_settled = |session: &Session| session.is_answered || session.is_told_again;
        let settled = engine.sessions.iter().filter(|(_, session)| is_settled(session)).map(|(id, _)| *id);
        let lost: Vec<SessionId> = settled.filter(|id| engine.is_lost(*id)).collect();
        for session in lost {
            match self.waits_for_another(parts, session) {
                Some(leg) => {
                    if let Some(session) = self.media.engine.sessions.get_mut(&session) {
                        session.was_lost = true;
                    }
                    self.not_converted(leg);
                }
                None => self.go_on_without(parts, session),
            }
        }
    }

    /// A leg of a browser, to which the relay is no use: it keeps what it has until some instance answers.
    fn waits_for_another(&self, parts: &Parts<'_>, session: SessionId) -> Option<LegId> {
        let session = self.media.engine.sessions.get(&session).filter(|session| !session.is_own())?;
        let is_nobody_there = self.media.engine.client.preferred().is_none();
        let mut legs = [Some(session.hub), session.spoke].into_iter().flatten().filter(|_| is_nobody_there);
        legs.find(|leg| is_browser(parts, *leg))
    }

    /// An instance answers that did not. Browsers whose calls went on without are offered what it makes of the other party's media.
    pub(super) fn join_mute(&mut self, parts: &mut Parts<'_>) {
        if !self.media.engine.client.take_gained() {
            return;
        }
        self.leave_lost(parts);
        for (call, callee) in self.mute(parts) {
            self.gone_astray(parts, call, Some(callee));
        }
    }

    /// The same of an instance that answered and would not have the call, or whose offer a party refused: after ten seconds, then
    /// after twice as long each time.
    fn join_refused(&mut self, parts: &mut Parts<'_>) {
        let mute = self.mute(parts);
        let rounds = std::mem::take(&mut self.media.engine.mute_rounds);
        let rounds = mute.iter().map(|(call, _)| (*call, rounds.get(call).map_or(1, |rounds| rounds + 1)));
        self.media.engine.mute_rounds = rounds.collect();
        if self.media.engine.client.preferred().is_none() {
            return;
        }
        for (call, callee) in mute {
            let rounds = self.media.engine.mute_rounds.get(&call).copied().unwrap_or_default();
            if rounds > 1 && rounds.is_power_of_two() {
                self.gone_astray(parts, call, Some(callee));
            }
        }
    }

    /// Calls of browsers whose media nobody converts, and who was called.
    fn mute(&self, parts: &Parts<'_>) -> Vec<(CallId, LegId)> {
        let is_mute = |one: LegId, other: LegId| {
            self.is_engines(parts, one, other)
                && self.media.engine.session(one, other).is_none()
                && (is_browser(parts, one) || is_browser(parts, other))
        };
        let pairs = self.calls.iter().filter_map(|(id, call)| Some((id, call.caller, call.callee?)));
        pairs.filter(|(_, one, other)| is_mute(*one, *other)).map(|(id, _, callee)| (id, callee)).collect()
    }

    /// How the calls fare.
    pub(super) fn ask_counts(&mut self, parts: &mut Parts<'_>) {
        self.leave_lost(parts);
        let engine = &mut self.media.engine;
        for (id, session) in engine.sessions.iter().filter(|(_, session)| session.is_answered) {
            let command = Command::Query { call: &session.name };
            let (now, rng) = (parts.context.now, &mut *parts.context.rng);
            let ask = session.instance.and_then(|instance| engine.client.ask(now, rng, Some(instance), &command));
            if let Some(ask) = ask {
                engine.asks.insert(ask, Purpose::Count { session: *id });
            }
        }
        self.tell_refused(parts);
        self.join_refused(parts);
    }

    /// An offer that came to nothing has changed what rtpengine believes of its side: it is told again what holds.
    fn tell_refused(&mut self, parts: &mut Parts<'_>) {
        let engine = &self.media.engine;
        // Once: a party may refuse every offer.
        let open = engine.sessions.iter().filter(|(_, session)| !session.is_answered && !session.is_told_again);
        let open: Vec<_> =
            open.filter_map(|(id, session)| Some((*id, session.call, session.hub, session.spoke?))).collect();
        for (id, call, hub, spoke) in open {
            let is_quiet = |leg: LegId| {
                parts
                    .ua
                    .leg(leg)
                    .is_some_and(|leg| leg.stage() == Stage::Confirmed && leg.exchange() == Exchange::Stable)
            };
            let engine = &self.media.engine;
            let is_asked = engine.asks.values().any(|purpose| purpose.session() == Some(id));
            let is_settled = self.other(call, hub) == Some(spoke)
                && self.calls.get(call).is_some_and(|call| !call.alignment.is_expected());
            let Some(session) = self.media.engine.sessions.get_mut(&id) else { continue };
            if is_asked || !is_settled || ![hub, spoke].into_iter().all(is_quiet) {
                continue;
            }
            let (by_hub, [from, to]) = match session.offered_by_hub {
                true => (true, [hub, spoke]),
                false => (false, [spoke, hub]),
            };
            // One that began ICE anew has rtpengine speak it by other names too: its side is offered these.
            let offered = session.known.iter().find(|known| known.by_hub == by_hub && known.is_offer);
            let holds = parts.ua.leg(from).and_then(|leg| ice_name(leg.theirs()));
            let is_anew = holds.is_some() && offered.is_some_and(|offered| ice_name(&offered.original) != holds);
            session.known.retain(|known| known.by_hub != by_hub && !is_anew);
            session.is_told_again = true;
            self.unsettle(parts, call, if is_anew { from } else { to });
        }
    }

    /// Nobody joins the two legs any more: each is offered what the other one says.
    fn go_on_without(&mut self, parts: &mut Parts<'_>, id: SessionId) {
        let Some(session) = self.media.engine.sessions.get(&id) else { return };
        let (call, hub, spoke, is_own) = (session.call, session.hub, session.spoke, session.is_own());
        if is_own {
            return self.voice_lost(parts, id, call, hub);
        }
        self.media.engine.close(|session, _| session == id);
        self.gone_astray(parts, call, spoke);
    }

    pub(super) fn engine_counted(
        &mut self,
        parts: &mut Parts<'_>,
        id: SessionId,
        reply: Option<Result<Reply, Refused>>,
    ) {
        // It has begun anew, or has given the call up.
        if let Some(Err(Refused::Error(reason))) = &reply {
            tracing::warn!(%reason, "rtpengine has lost a call, which goes on without it");
            return self.go_on_without(parts, id);
        }
        // What reaches us of our own voice is counted here.
        let session = self.media.engine.sessions.get_mut(&id).filter(|session| !session.is_own());
        let (Some(session), Some(Ok(Reply::Counted(sides)))) = (session, reply) else { return };
        for side in sides {
            if let Some(counts) = session.counts.get_mut(usize::from(side.tag != tag(true))) {
                Count::renew(counts, &side.streams, parts.context.now);
            }
        }
        self.tell_silence(parts, id);
    }
}

pub(super) fn is_browser(parts: &Parts<'_>, leg: LegId) -> bool {
    parts.ua.leg(leg).is_some_and(|leg| profile_of(leg) == Profile::Browser)
}

/// By which name its owner speaks ICE.
pub(super) fn ice_name(description: &[u8]) -> Option<&[u8]> {
    Sdp::new(description).lines().find_map(|line| line.value.strip_prefix(b"ice-ufrag:").filter(|_| line.kind == b'a'))
}
