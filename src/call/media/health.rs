//! How the packets of a call fare, as the data plane counts them: shown in `calls` and `records`. Silence is told and ends
//! nothing.

use std::time::Duration;

use super::engine::{Session, SessionId};
use super::{LegMedia, Slot};
use crate::base::{Instant, limits};
use crate::call::history::Report;
use crate::call::{Call, Calls, Parts};
use crate::media::{Counters, Kind, PairId, Stream};
use crate::ua::{CallId, LegId};

/// A stream with a packet in this time flows: real-time text sends that often at least while somebody types, comfort noise too.
const FLOWS: Duration = Duration::from_secs(15);

/// So many packets from elsewhere are no accident: a second of sound.
const STRANGERS: u64 = 50;

/// One stream of one leg.
#[derive(Clone, Debug)]
pub struct MediaHealth {
    pub is_caller: bool,
    pub kind: Kind,
    pub counters: Counters,
    /// Ticks of the stream's clock in a second.
    pub clock_rate: u32,
}

impl MediaHealth {
    pub(super) fn of(slot: &Slot, is_caller: bool) -> Self {
        Self { is_caller, kind: slot.kind, counters: slot.counters, clock_rate: slot.clock_rate }
    }
}

/// One stream of one side of a pair of legs, as rtpengine counts it.
#[derive(Clone, Debug)]
pub(super) struct Count {
    kind: Kind,
    clock_rate: u32,
    sends: bool,
    counters: Counters,
    /// When the number of packets was seen to change.
    changed: Option<Instant>,
    is_told: bool,
}

impl Count {
    /// What its side says of itself.
    pub fn describe(counts: &mut Vec<Self>, description: &[u8]) {
        let streams = Stream::all(description);
        let new = |stream: &Stream<'_>| Self {
            kind: stream.kind,
            clock_rate: stream.clock_rate(),
            sends: stream.sends(),
            counters: Counters::default(),
            changed: None,
            is_told: false,
        };
        let add = streams.iter().take(limits::STREAMS_PER_LEG).skip(counts.len()).map(new);
        counts.extend(add);
        for (count, stream) in counts.iter_mut().zip(&streams) {
            count.sends = stream.sends();
        }
    }

    pub fn renew(counts: &mut [Self], streams: &[Counters], now: Instant) {
        for (count, counters) in counts.iter_mut().zip(streams) {
            if count.counters.packets != counters.packets || count.changed.is_none() {
                count.changed = Some(now);
            }
            let silent = count.changed.map(|changed| now.since(changed)).unwrap_or_default();
            count.counters = Counters { silent, ..*counters };
        }
    }
}

/// The sides of a pair of legs.
fn sides(session: &Session) -> impl Iterator<Item = (LegId, &Vec<Count>)> {
    let legs = [Some(session.hub), session.spoke];
    legs.into_iter().zip(&session.counts).filter_map(|(leg, counts)| Some((leg?, counts)))
}

impl LegMedia {
    /// Its streams: those that are gone, then those that are up.
    fn health(&self, is_caller: bool) -> impl Iterator<Item = MediaHealth> {
        let past = self.past.iter().map(move |past| MediaHealth { is_caller, ..past.clone() });
        past.chain(self.slots.iter().flatten().map(move |slot| MediaHealth::of(slot, is_caller)))
    }
}

impl Calls {
    /// As [`Calls::counted`], of what goes through rtpengine.
    pub(super) fn tell_silence(&mut self, parts: &Parts<'_>, session: SessionId) {
        let Some(session) = self.media.engine.sessions.get_mut(&session) else { return };
        let Some(call) = self.calls.get(session.call) else { return };
        let idle = parts.config.media.idle;
        let is_up = call.answered_at.is_some_and(|at| parts.context.now.since(at) >= idle);
        let id = super::super::name_of(session.call, call.started_at);
        let legs = [Some(session.hub), session.spoke];
        for (leg, counts) in legs.into_iter().zip(&mut session.counts) {
            for count in counts {
                let is_silent = count.counters.silent >= idle && count.sends && is_up;
                if is_silent && !std::mem::replace(&mut count.is_told, is_silent) {
                    let (id, kind, is_caller) = (id.clone(), call.kind, leg == Some(call.caller));
                    let (stream, silent) = (count.kind, count.counters.silent);
                    self.reports.push(Report::NoMedia { id, kind, is_caller, stream, silent });
                }
                count.is_told = is_silent;
            }
        }
    }

    /// The data plane has counted.
    pub(super) fn counted(&mut self, parts: &Parts<'_>, counted: Vec<(PairId, Counters)>) {
        let idle = parts.config.media.idle;
        for (pair, counters) in counted {
            let Some(leg) = self.media.legs_by_pair.get(&pair).copied() else { continue };
            let call = self.media.legs.get(&leg).and_then(|media| Some((media.call, self.calls.get(media.call)?)));
            let Some((id, call)) = call else { continue };
            let is_up = call.answered_at.is_some_and(|at| parts.context.now.since(at) >= idle);
            let (kind, is_caller) = (call.kind, call.caller == leg);
            let Some(slot) = self.media.slot_of(pair) else { continue };
            slot.counters = counters;
            let is_stranger = counters.packets == 0 && counters.elsewhere >= STRANGERS;
            if is_stranger && !std::mem::replace(&mut slot.is_stranger_told, true) {
                let (id, stream) = (super::super::name_of(id, call.started_at), slot.kind);
                self.reports.push(Report::StrangeMedia { id, kind, is_caller, stream });
            }
            let is_silent = counters.silent >= idle && slot.sends && is_up;
            let was_told = std::mem::replace(&mut slot.is_told, is_silent);
            if is_silent && !was_told {
                let id = super::super::name_of(id, call.started_at);
                let stream = slot.kind;
                let silent = counters.silent;
                self.reports.push(Report::NoMedia { id, kind, is_caller, stream, silent });
            }
        }
    }

    /// True while packets of a party of the call arrive.
    pub(in crate::call) fn flows(&self, id: CallId) -> bool {
        let Some(call) = self.calls.get(id) else { return false };
        let slots = call.legs.iter().filter_map(|leg| self.media.legs.get(leg)).flat_map(|media| media.slots.iter());
        let sessions = self.media.engine.sessions.values().filter(|session| session.call == id);
        let counts = sessions.flat_map(|session| session.counts.iter().flatten()).map(|count| count.counters);
        let mut counters = slots.flatten().map(|slot| slot.counters).chain(counts);
        counters.any(|counters| counters.packets > 0 && counters.silent < FLOWS)
    }

    /// The streams of a call: those of legs that are gone, then of those that are up.
    pub(in crate::call) fn health(&self, call: &Call) -> Vec<MediaHealth> {
        let up = call.legs.iter().filter_map(|leg| Some((*leg, self.media.legs.get(leg)?)));
        let up = up.flat_map(|(leg, media)| media.health(leg == call.caller));
        let sessions = self.media.engine.sessions.values().filter(|session| call.legs.contains(&session.hub));
        let sessions = sessions.flat_map(sides).flat_map(|(leg, counts)| counts.iter().map(move |count| (leg, count)));
        let counted = sessions.filter(|(_, count)| count.changed.is_some()).map(|(leg, count)| MediaHealth {
            is_caller: leg == call.caller,
            kind: count.kind,
            counters: count.counters,
            clock_rate: count.clock_rate,
        });
        call.past_media.iter().cloned().chain(up).chain(counted).collect()
    }

    /// What arrived from a leg that leaves its call is still told.
    pub(super) fn keep_health(&mut self, id: CallId, leg: LegId) {
        let (Some(call), Some(media)) = (self.calls.get_mut(id), self.media.legs.get(&leg)) else { return };
        let heard = media.health(leg == call.caller).filter(|stream| stream.counters.packets > 0);
        let room = limits::PAST_STREAMS.saturating_sub(call.past_media.len());
        call.past_media.extend(heard.take(room));
    }
}
