//! The media of calls (SPEC §8): each leg has a pair of ports for each of its streams, which its peer sends to. What one leg says
//! of its media reaches another leg in one place (`passage`); what the data plane has to know follows from what the legs have
//! said, after every step (`settle`); what it tells of packets is kept with the leg (`health`).
//!
//! A pair is taken when the first description that names it is written, and given back when the leg is no longer of its
//! call, or names it no more. It is never in two legs.

mod again;
mod certificate;
mod count;
mod engine;
mod health;
mod own;
mod park;
mod passage;
mod settle;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::history::Report;
use super::{Call, Calls, Parts};
use crate::base::{Instant, limits};
use crate::config::{self, MediaMode};
use crate::media::{Bank, Counters, Kind, News, Order, PairId, Peer, Ports, Voice};
use crate::ua::{CallId, LegId};

pub(super) use engine::{Opening, Resume, Start};
pub use health::MediaHealth;
pub(super) use own::Speaks;
pub(super) use passage::Passage;

/// The pairs, and whose they are.
#[derive(Default)]
pub(super) struct Media {
    bank: Bank,
    /// Not in a map of slots: the key of a leg that is gone is soon the key of another, but for its version.
    legs: BTreeMap<LegId, LegMedia>,
    /// Who has a pair.
    legs_by_pair: BTreeMap<PairId, LegId>,
    /// Pairs that ordinary calls have, or had a moment ago, of IPv6 and IPv4.
    ordinary: [usize; 2],
    /// When they were given back, and of which family: the data plane has them rest.
    resting: VecDeque<(Instant, bool)>,
    now: Instant,
    /// Addresses that a reload has taken away, and the ports before it.
    left: Vec<IpAddr>,
    left_ports: Option<(u16, u16)>,
    orders: Vec<Order>,
    engine: engine::Engine,
    /// Calls in which something may have changed.
    touched: SmallVec<[CallId; 4]>,
}

/// The media of one leg.
struct LegMedia {
    call: CallId,
    /// Of its trunk, where that says.
    mode: Option<MediaMode>,
    /// By the order of m= lines.
    slots: Vec<Option<Slot>>,
    /// What was heard of streams that are gone.
    past: Vec<MediaHealth>,
    /// The last offer to its peer names our pairs, so what it answers is relayed too.
    is_relayed: bool,
    /// It names ports of rtpengine.
    is_engines: bool,
    /// The leg whose description its peer was told last.
    told_of: Option<LegId>,
    /// Which streams its peer was told with rtcp-mux.
    told_mux: SmallVec<[bool; 4]>,
    /// Sessions of rtpengine that its peer was told of.
    sessions: usize,
    /// What its peer said last before anything that counts.
    preview: Bytes,
}

/// What a call may take of the pairs.
#[derive(Clone, Copy)]
enum Claim {
    /// Emergency calls, their tests, their callbacks: whatever is there.
    Emergency,
    /// All others, of a range of so many pairs: half of them, those that rest included, and never the last ones that are ready.
    Ordinary { range: usize },
}

/// A pair in use.
struct Slot {
    ports: Ports,
    is_ordinary: bool,
    peer: Option<Peer>,
    /// As ordered.
    joined: Option<PairId>,
    /// What is to be heard there, and whether it is.
    voice: Option<Voice>,
    is_playing: bool,
    kind: Kind,
    clock_rate: u32,
    /// Its peer has said that it sends.
    sends: bool,
    counters: Counters,
    /// Its silence was told.
    is_told: bool,
    /// That others are there instead was told.
    is_stranger_told: bool,
}

impl Media {
    /// Pairs of one family that wait for their use.
    pub fn ready(&self, is_ipv4: bool) -> usize {
        self.bank.ready(is_ipv4)
    }

    /// Streams that have a pair, for invariants.
    pub fn in_use(&self) -> usize {
        self.legs_by_pair.len()
    }

    fn slot(&self, leg: LegId, at: usize) -> Option<&Slot> {
        self.legs.get(&leg)?.slots.get(at)?.as_ref()
    }

    fn slot_mut(&mut self, leg: LegId, at: usize) -> Option<&mut Slot> {
        self.legs.get_mut(&leg)?.slots.get_mut(at)?.as_mut()
    }

    fn slot_of(&mut self, pair: PairId) -> Option<&mut Slot> {
        let leg = *self.legs_by_pair.get(&pair)?;
        self.legs.get_mut(&leg)?.slots.iter_mut().flatten().find(|slot| slot.ports.pair == pair)
    }

    /// The pair of stream `at` of a leg, taken from the bank where it has none; `None`: there is none for it.
    fn ensure(&mut self, leg: LegId, at: usize, is_ipv4: bool, claim: Claim) -> Option<Ports> {
        let known = self.slot(leg, at).map(|slot| slot.ports);
        if let Some(ports) = known.filter(|ports| ports.address.is_ipv4() == is_ipv4) {
            return Some(ports);
        }
        if at >= limits::STREAMS_PER_LEG || !self.legs.contains_key(&leg) || !self.is_left(is_ipv4, claim) {
            return None;
        }
        let ports = self.bank.take(is_ipv4)?;
        // A phone that goes from one network to another may change its family.
        self.release(leg, at);
        let media = self.legs.get_mut(&leg)?;
        media.slots.resize_with(media.slots.len().max(at + 1), || None);
        let is_ordinary = matches!(claim, Claim::Ordinary { .. });
        if let Some(place) = media.slots.get_mut(at) {
            *place = Some(Slot::new(ports, is_ordinary));
        }
        if let Some(ordinary) = self.ordinary.get_mut(usize::from(is_ipv4)).filter(|_| is_ordinary) {
            *ordinary += 1;
        }
        self.legs_by_pair.insert(ports.pair, leg);
        self.orders.push(Order::Take(ports.pair));
        Some(ports)
    }

    fn is_left(&mut self, is_ipv4: bool, claim: Claim) -> bool {
        let Claim::Ordinary { range } = claim else { return true };
        let now = self.now;
        while let Some((_, is_ipv4)) = self.resting.front().filter(|(since, _)| now.since(*since) >= limits::PORTS_REST)
        {
            if let Some(ordinary) = self.ordinary.get_mut(usize::from(*is_ipv4)) {
                *ordinary = ordinary.saturating_sub(1);
            }
            self.resting.pop_front();
        }
        let used = self.ordinary.get(usize::from(is_ipv4)).copied().unwrap_or_default();
        used < range / 2 && self.bank.ready(is_ipv4) > limits::PORTS_RESERVED.min(range / 4)
    }

    fn release(&mut self, leg: LegId, at: usize) {
        let Some(media) = self.legs.get_mut(&leg) else { return };
        let Some(slot) = media.slots.get_mut(at).and_then(Option::take) else { return };
        if slot.counters.packets > 0 && media.past.len() < limits::PAST_STREAMS {
            media.past.push(MediaHealth::of(&slot, false));
        }
        if let Some(other) = slot.joined.and_then(|other| self.slot_of(other))
            && other.joined == Some(slot.ports.pair)
        {
            other.joined = None;
        }
        let is_ipv4 = slot.ports.address.is_ipv4();
        if slot.is_ordinary {
            self.resting.push_back((self.now, is_ipv4));
        }
        self.legs_by_pair.remove(&slot.ports.pair);
        self.orders.push(Order::Release(slot.ports.pair));
    }

    pub(super) fn touch(&mut self, call: CallId) {
        if self.touched.last() != Some(&call) {
            self.touched.push(call);
        }
    }
}

impl Slot {
    const fn new(ports: Ports, is_ordinary: bool) -> Self {
        Self {
            ports,
            is_ordinary,
            peer: None,
            joined: None,
            voice: None,
            is_playing: false,
            kind: Kind::Other,
            clock_rate: 8000,
            sends: false,
            counters: Counters {
                packets: 0,
                bytes: 0,
                lost: 0,
                jitter: 0,
                strange: 0,
                elsewhere: 0,
                reported_lost: None,
                reported_jitter: None,
                silent: std::time::Duration::ZERO,
            },
            is_told: false,
            is_stranger_told: false,
        }
    }
}

impl Calls {
    /// A leg is of a call; `mode`: what its trunk says of media.
    pub(super) fn open_media(&mut self, id: CallId, leg: LegId, mode: Option<MediaMode>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.legs.push(leg);
        let media = LegMedia {
            call: id,
            mode,
            slots: Vec::new(),
            past: Vec::new(),
            is_relayed: false,
            is_engines: false,
            told_of: None,
            told_mux: SmallVec::new(),
            sessions: 0,
            preview: Bytes::new(),
        };
        self.media.legs.insert(leg, media);
        self.media.touch(id);
    }

    /// What the trunk of a leg says of media.
    pub(super) fn set_media_mode(&mut self, leg: LegId, mode: Option<MediaMode>) {
        if let Some(media) = self.media.legs.get_mut(&leg) {
            media.mode = mode;
        }
    }

    /// A leg goes over to another call, and its pairs with it.
    pub(super) fn move_media(&mut self, leg: LegId, to: CallId) {
        let Some(from) = self.media.legs.get_mut(&leg).map(|media| std::mem::replace(&mut media.call, to)) else {
            return;
        };
        self.media.engine.move_leg(leg, to);
        if let Some(call) = self.calls.get_mut(from) {
            call.legs.retain(|known| *known != leg);
        }
        if let Some(call) = self.calls.get_mut(to) {
            call.legs.push(leg);
        }
        self.media.touch(to);
    }

    /// A leg is not of its call any more: its pairs are given back.
    fn close_media(&mut self, leg: LegId) {
        for at in 0..self.media.legs.get(&leg).map_or(0, |media| media.slots.len()) {
            self.media.release(leg, at);
        }
        self.media.legs.remove(&leg);
        self.media.engine.close(|_, session| session.has(leg));
        self.media.engine.left.forget(leg);
    }

    /// The call is over.
    pub(super) fn close_all_media(&mut self, id: CallId, call: &Call) {
        self.media.engine.close_call(id);
        for leg in &call.legs {
            self.close_media(*leg);
        }
    }

    /// The pair of one stream of a leg that talks to nobody but us; `says`: where its peer is. `None`: the bank is empty.
    pub(super) fn own_ports(
        &mut self,
        parts: &Parts<'_>,
        leg: LegId,
        at: usize,
        says: Option<IpAddr>,
        mux: bool,
    ) -> Option<Ports> {
        let is_ipv4 = self.is_ipv4(parts, leg, says);
        // We speak on behalf of emergency calls only.
        let ports = self.media.ensure(leg, at, is_ipv4, Claim::Emergency);
        let media = self.media.legs.get_mut(&leg)?;
        media.told_mux.resize(media.told_mux.len().max(at + 1), false);
        if let Some(told) = media.told_mux.get_mut(at) {
            *told = mux;
        }
        let call = media.call;
        self.media.touch(call);
        if ports.is_none() {
            self.reports.push(Report::PortsShort { is_ipv4 });
        }
        ports
    }

    /// True when the peer of a leg was told of another leg's media.
    pub(super) fn is_told(&self, leg: LegId) -> bool {
        self.media.legs.get(&leg).is_some_and(|media| media.told_of.is_some())
    }

    /// What is to be heard on a stream of a leg: a voice of ours, or the other leg again.
    pub(super) fn say(&mut self, leg: LegId, at: usize, voice: Option<Voice>) {
        let Some(slot) = self.media.slot_mut(leg, at) else { return };
        slot.is_playing &= slot.voice == voice;
        let was_playing = std::mem::replace(&mut slot.voice, voice).is_some();
        if was_playing && slot.voice.is_none() {
            let pair = slot.ports.pair;
            self.media.orders.push(Order::Silence(pair));
        }
        if let Some(call) = self.media.legs.get(&leg).map(|media| media.call) {
            self.media.touch(call);
        }
    }

    /// Pairs of one family that wait for their use.
    pub fn ports_ready(&self, is_ipv4: bool) -> usize {
        self.media.ready(is_ipv4)
    }

    /// Pairs that legs have, for invariants.
    pub fn ports_in_use(&self) -> usize {
        self.media.in_use()
    }

    /// Descriptions from now on tell of these addresses and ports: what is ready at others is given back.
    pub fn relay_at(&mut self, was: &config::Media, media: &config::Media) {
        if was.addresses == media.addresses && was.ports == media.ports {
            return;
        }
        self.media.left = was.addresses.iter().filter(|address| !media.addresses.contains(address)).copied().collect();
        self.media.left_ports = Some(was.ports);
        let stale = self.media.bank.keep(|own| media.addresses.contains(&own.address) && is_within(media.ports, own));
        self.media.orders.extend(stale.into_iter().map(|ports| Order::Release(ports.pair)));
        self.media.orders.push(Order::Serve(media.addresses.clone(), media.ports));
    }

    /// What the data plane has to do, since the last call.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.media.orders)
    }

    /// What the data plane tells.
    pub fn media_news(&mut self, parts: &mut Parts<'_>, news: News) {
        match news {
            News::Bound(pairs) => {
                let ports = parts.config.media.ports;
                let is_late = |own: &Ports| {
                    let was_within = self.media.left_ports.is_some_and(|left| is_within(left, own));
                    self.media.left.contains(&own.address) || (was_within && !is_within(ports, own))
                };
                let (late, told): (Vec<Ports>, Vec<Ports>) = pairs.into_iter().partition(is_late);
                told.into_iter().for_each(|ports| self.media.bank.put(ports));
                // Bound before the data plane heard of other ones.
                self.media.orders.extend(late.into_iter().map(|ports| Order::Release(ports.pair)));
            }
            News::Scarce { reason } => tracing::warn!(reason, "media ports cannot be bound"),
            News::Played(pair) => {
                let call = self.media.legs_by_pair.get(&pair).and_then(|leg| self.media.legs.get(leg));
                if let Some(id) = call.map(|media| media.call) {
                    self.test_over(parts, id);
                    self.refusal_over(parts, id);
                }
            }
            News::Counted(counted) => self.counted(parts, counted),
        }
    }
}

fn is_within((first, last): (u16, u16), own: &Ports) -> bool {
    own.rtp >= first && own.rtp < last
}
