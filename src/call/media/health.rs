//! How the packets of a call fare, as the data plane counts them: shown in `calls` and `records`. Silence is told and ends
//! nothing.

use std::time::Duration;

use super::Slot;
use crate::base::limits;
use crate::call::history::Report;
use crate::call::{Call, Calls, Parts};
use crate::media::{Counters, Kind, PairId};
use crate::ua::{CallId, LegId};

/// A stream with a packet in this time flows: real-time text sends that often at least while somebody types, comfort noise too.
const FLOWS: Duration = Duration::from_secs(15);

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
    fn of(slot: &Slot, is_caller: bool) -> Self {
        Self { is_caller, kind: slot.kind, counters: slot.counters, clock_rate: slot.clock_rate }
    }
}

impl Calls {
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
        slots.flatten().any(|slot| slot.counters.packets > 0 && slot.counters.silent < FLOWS)
    }

    /// The streams of a call: those of legs that are gone, then those that are up.
    pub(in crate::call) fn health(&self, call: &Call) -> Vec<MediaHealth> {
        let up = call.legs.iter().filter_map(|leg| Some((*leg, self.media.legs.get(leg)?)));
        let up = up.flat_map(|(leg, media)| media.slots.iter().flatten().map(move |slot| (leg, slot)));
        let up = up.map(|(leg, slot)| MediaHealth::of(slot, leg == call.caller));
        call.past_media.iter().cloned().chain(up).collect()
    }

    /// What arrived from a leg that leaves its call is still told.
    pub(super) fn keep_health(&mut self, id: CallId, leg: LegId) {
        let (Some(call), Some(media)) = (self.calls.get_mut(id), self.media.legs.get(&leg)) else { return };
        let heard = media.slots.iter().flatten().filter(|slot| slot.counters.packets > 0);
        let room = limits::PAST_STREAMS.saturating_sub(call.past_media.len());
        call.past_media.extend(heard.take(room).map(|slot| MediaHealth::of(slot, leg == call.caller)));
    }
}
