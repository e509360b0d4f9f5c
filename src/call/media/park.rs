//! What happens on a leg waits until rtpengine has rewritten the description in it, and so does all that happens to its call
//! after that; the end of a leg waits for nobody.

use std::collections::VecDeque;

use bytes::Bytes;

use super::engine::{Crossing, Known, Parked, profile_of};
use crate::base::limits;
use crate::call::rewrite::Secrets;
use crate::call::transfer::{Step, Transfer};
use crate::call::{Call, Calls, Parts};
use crate::config::MediaMode;
use crate::media::ng::{AskId, Profile};
use crate::sip::{Message, Method, sdp};
use crate::ua::{CallId, Event, LegId};

impl Call {
    /// The leg whose media are offered to whoever is called.
    pub(in crate::call) fn hub(&self) -> LegId {
        self.callee.and(self.sides()).map_or(self.caller, |(_, phone)| phone)
    }

    /// Nobody is called, and nobody is about to be.
    pub(in crate::call) fn is_alone(&self) -> bool {
        self.branches.is_empty() && self.asking.is_empty()
    }
}

impl Calls {
    /// Keeps an event that has to wait; what comes back need not.
    pub(in crate::call) fn park(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        event: Event,
    ) -> Option<Event> {
        if let Some(Parked { ask, waiting, .. }) = self.media.engine.parked.get_mut(&id) {
            let ask = *ask;
            let is_end = matches!(event, Event::Ended { .. } | Event::Cancelled { .. });
            if !is_end && waiting.len() < limits::EVENTS_WAITING {
                waiting.push_back((leg, event));
                return None;
            }
            self.unpark(parts, id, ask);
            return Some(event);
        }
        // Two questions about one pair of legs would overtake each other.
        let is_end = matches!(event, Event::Ended { .. } | Event::Cancelled { .. });
        if let Some(ask) = self.asked_ahead(id).filter(|_| !is_end) {
            let parked = Parked { ask, is_own: false, waiting: VecDeque::from([(leg, event)]) };
            self.media.engine.parked.insert(id, parked);
            return None;
        }
        let ask = match self.crossing(parts, id, leg, &event) {
            Some(crossing) => self.ask_crossing(parts, id, crossing),
            None => self.ask_for_test_line(parts, id, leg, &event),
        };
        let Some(ask) = ask else { return Some(event) };
        if let Some(branch) = self.branch(id, leg) {
            branch.heard = true;
        }
        let parked = Parked { ask, is_own: true, waiting: VecDeque::from([(leg, event)]) };
        self.media.engine.parked.insert(id, parked);
        None
    }

    /// The answer to `ask` is there, or nobody waits for it any more.
    pub(super) fn unpark(&mut self, parts: &mut Parts<'_>, id: CallId, ask: AskId) {
        if self.media.engine.parked.get(&id).is_none_or(|parked| parked.ask != ask) {
            return;
        }
        let Some(Parked { is_own, waiting, .. }) = self.media.engine.parked.remove(&id) else { return };
        let mut waiting = waiting.into_iter().peekable();
        if let Some((leg, event)) = waiting.next_if(|_| is_own) {
            self.media.touch(id);
            self.happened(parts, id, leg, event);
        }
        // The next one may have to wait in its turn, and then those after it.
        for (leg, event) in waiting {
            self.event(parts, id, leg, event);
        }
    }

    /// Asks for what a leg says that is about to be offered to another; `None`: nothing to wait for. What rtpengine has made of
    /// an answer is no offer: a browser answers it with new credentials of ICE, and is taken for one that restarts it.
    pub(in crate::call) fn ask_ahead(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        from: LegId,
        to: LegId,
        description: &[u8],
    ) -> Option<AskId> {
        let known = self.media.engine.known(from, to, description);
        let told = parts.ua.leg(to)?;
        let will_do = |known: &Known| known.is_offer || profile_of(told) == Profile::Plain || told.holds(&known.text);
        if !self.is_engines(parts, from, to) || known.is_some_and(will_do) {
            return None;
        }
        let description = Some(description).filter(|description| sdp::Sdp::new(description).well_formed())?;
        let original = Bytes::copy_from_slice(description);
        let asked = self.bare_for(parts, id, from, to, &original);
        let crossing = Crossing { from, to, original, asked, is_offered: true, is_again: false, moves: 0, then: None };
        self.ask_crossing(parts, id, crossing)
    }

    /// What rtpengine is asked for a call on our own account.
    fn asked_ahead(&self, id: CallId) -> Option<AskId> {
        let call = self.calls.get(id)?;
        let of_transfer = match call.transfer.as_deref() {
            Some(Transfer { step: Step::Offering { client: None, asked, .. }, .. }) => *asked,
            _ => None,
        };
        let is_open = |ask: &AskId| self.media.engine.asks.contains_key(ask);
        of_transfer.filter(is_open).or_else(|| call.alignment.waits_for().filter(is_open))
    }

    /// True when what crosses between two legs goes through rtpengine.
    pub(super) fn is_engines(&self, parts: &Parts<'_>, from: LegId, to: LegId) -> bool {
        let mode = |leg: LegId| self.media.legs.get(&leg).and_then(|media| media.mode);
        super::passage::mode_of(parts, [mode(from), mode(to)]) == MediaMode::Rtpengine
    }

    /// The description in what happened, where it goes on through rtpengine.
    fn crossing(&self, parts: &Parts<'_>, id: CallId, from: LegId, event: &Event) -> Option<Crossing> {
        let call = self.calls.get(id)?;
        let (to, message) = self.receiver(parts, id, call, from, event)?;
        if to == from || !self.is_engines(parts, from, to) {
            return None;
        }
        let description = message.body().get(sdp::locate(message)?)?;
        let description = Some(description).filter(|description| sdp::Sdp::new(description).well_formed())?;
        let bare = call.hides_user_from(to).then(|| {
            let number = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
            Secrets::of(message, call.user.as_ref(), number).remove_from(description)
        });
        let original = Bytes::copy_from_slice(description);
        let asked = bare.flatten().map_or_else(|| original.clone(), Bytes::from);
        // In a call that is up, what a transfer's target answers is offered.
        let is_offered = matches!(event, Event::Answered { .. }) && call.callee.is_some();
        Some(Crossing { from, to, original, asked, is_offered, is_again: false, moves: 0, then: None })
    }

    /// Whom a message of a leg is for.
    fn receiver<'m>(
        &self,
        parts: &Parts<'_>,
        id: CallId,
        call: &Call,
        leg: LegId,
        event: &'m Event,
    ) -> Option<(LegId, &'m Message)> {
        match event {
            // Nobody hears of a transfer's target before it has answered.
            Event::Progress { .. } if call.callee.is_some() => None,
            Event::Progress { message, described: true, .. } | Event::Answered { message } => {
                let hub = call.hub();
                let is_told = call.callee.is_none() && parts.ua.leg(hub)?.is_negotiated();
                (!is_told).then_some((hub, message))
            }
            Event::Confirmed { message, confirms, .. } => {
                let to = confirms.as_ref().map(|confirms| confirms.0).or_else(|| self.counterpart(id, leg));
                Some((to?, message))
            }
            Event::Acknowledged { message } => Some((self.other(id, leg)?, message)),
            Event::Request { message, .. } => {
                let carries = matches!(message.method(), Method::Invite | Method::Update | Method::Prack);
                let to = self.counterpart(id, leg).filter(|_| carries)?;
                Some((to, message))
            }
            Event::Reply { client, message: Ok(message) } if message.code() < 300 => {
                let crossing = call.crossings.iter().find(|crossing| crossing.client == *client);
                let newcomer = match call.transfer.as_deref() {
                    Some(Transfer { step: Step::Offering { to, .. }, .. }) => Some(to.leg()),
                    _ => None,
                };
                let to = crossing.map(|crossing| crossing.from).or(newcomer).or_else(|| self.other(id, leg));
                Some((to?, message))
            }
            _ => None,
        }
    }
}
