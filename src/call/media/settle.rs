//! What the data plane has to know, from what the legs have said: peers, joins, voices, and the pairs nobody needs. Only what
//! has changed is ordered.

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Claim;
use crate::call::transfer::{Newcomer, Step, Transfer};
use crate::call::{Call, Calls, Parts};
use crate::config::Config;
use crate::dialog::Exchange;
use crate::media::{Order, Ports, Reach, Stream};
use crate::ua::{CallId, LegId};

impl Call {
    /// The legs whose media are this call's. A call taker who is leaving is none of them.
    fn media_legs(&self) -> SmallVec<[LegId; 8]> {
        let newcomer = self.transfer.as_deref().and_then(|transfer| match transfer {
            Transfer { step: Step::Offering { to: Newcomer::Called(leg) | Newcomer::Replacing(leg), .. }, .. } => {
                Some(*leg)
            }
            _ => None,
        });
        let branches = self.branches.iter().map(|branch| branch.leg);
        std::iter::once(self.caller).chain(self.callee).chain(branches).chain(newcomer).collect()
    }
}

impl Calls {
    /// Orders what the last step has changed.
    pub fn settle_media(&mut self, parts: &Parts<'_>) {
        self.media.now = parts.context.now;
        let mut touched = std::mem::take(&mut self.media.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            self.settle_media_of(parts, id);
        }
    }

    fn settle_media_of(&mut self, parts: &Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let present = call.media_legs();
        let (kept, gone): (SmallVec<[LegId; 4]>, SmallVec<[LegId; 4]>) =
            call.legs.iter().copied().partition(|leg| present.contains(leg));
        call.legs = kept;
        let (caller, callee) = (call.caller, call.callee);
        let told_of = self.media.legs.get(&caller).and_then(|media| media.told_of);
        let early = told_of.filter(|told| call.branches.iter().any(|branch| branch.leg == *told));
        for leg in gone {
            self.keep_health(id, leg);
            self.close_media(leg);
        }
        let slots = present.iter().filter_map(|leg| self.media.legs.get(leg)).flat_map(|media| media.slots.iter());
        let own = slots.flatten().map(|slot| slot.ports).collect();
        for leg in &present {
            self.end_own(parts, *leg);
            self.settle_leg(parts, *leg, &own);
        }
        self.join(caller, callee.or(early));
        for leg in present {
            self.play(leg);
        }
    }

    /// The peer of a leg, and which of its pairs it still needs.
    fn settle_leg(&mut self, parts: &Parts<'_>, id: LegId, own: &SmallVec<[Ports; 8]>) {
        let is_urgent = matches!(self.claim(parts, id), Claim::Emergency);
        let Some(media) = self.media.legs.get_mut(&id).filter(|media| !media.slots.is_empty()) else { return };
        let Some(leg) = parts.ua.leg(id) else { return };
        let is_open = leg.is_early() || leg.exchange() != Exchange::Stable;
        let theirs: Bytes = match leg.theirs() {
            theirs if !theirs.is_empty() => theirs.clone(),
            _ if !media.preview.is_empty() => media.preview.clone(),
            _ => leg.offer().cloned().unwrap_or_default(),
        };
        // Where rtpengine stands between, it is the peer.
        let (own_ours, own_theirs) = self.media.engine.between(id, &theirs).unzip();
        let is_between = own_ours.is_some();
        let (ours, theirs) = (own_ours.unwrap_or_else(|| leg.ours().clone()), own_theirs.unwrap_or(theirs));
        let (ours, theirs) = (Stream::all(&ours), Stream::all(&theirs));
        let mut unneeded: SmallVec<[usize; 4]> = SmallVec::new();
        for (at, slot) in media.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            if !is_open && !ours.get(at).is_some_and(|stream| stream.names(&slot.ports)) {
                unneeded.push(at);
                continue;
            }
            let Some(stream) = theirs.get(at) else { continue };
            // An offer that is open may be refused, and then what was told with it does not hold.
            let told_mux = match is_open {
                true => media.told_mux.get(at).copied(),
                false => ours.get(at).map(|stream| stream.mux),
            };
            let from = leg.flow().remote.ip().to_canonical();
            let from = stream.address().filter(|_| is_between).unwrap_or(from);
            let mut peer = stream.peer(from, stream.mux && told_mux.unwrap_or(false));
            let is_barred = |place: &SocketAddr| !is_between && is_barred(parts.config, own, leg.is_server(), *place);
            let is_inner = !is_between && stream.is_inner(from, leg.is_behind_proxy());
            let is_far = leg.is_behind_proxy() || stream.address().is_some_and(|own| own.is_ipv4() != from.is_ipv4());
            // Nobody is taken for a peer that does not know the port yet.
            peer.is_anywhere = is_inner && is_far && media.told_of.is_some();
            peer.rtcp = peer.rtcp.filter(|place| !is_barred(place));
            peer.reach = match peer.rtp {
                Some(place) if is_barred(&place) => Reach::Hidden,
                _ if leg.is_server() || is_between => Reach::Trusted,
                _ if is_inner => Reach::Hidden,
                _ if is_urgent => Reach::Trusted,
                _ => Reach::Described,
            };
            (slot.kind, slot.clock_rate) = (stream.kind, stream.clock_rate());
            slot.sends = stream.sends();
            if slot.peer.as_ref() != Some(&peer) {
                slot.peer = Some(peer.clone());
                self.media.orders.push(Order::Point(slot.ports.pair, peer));
            }
        }
        for at in unneeded {
            self.media.release(id, at);
        }
    }

    /// Stream by stream; where the other leg has no pair the stream is parted.
    fn join(&mut self, one: LegId, other: Option<LegId>) {
        let count = |leg: LegId| self.media.legs.get(&leg).map_or(0, |media| media.slots.len());
        for at in 0..count(one) {
            let pair = |leg: LegId| self.media.slot(leg, at).map(|slot| (slot.ports.pair, slot.joined));
            let Some((own, joined)) = pair(one) else { continue };
            let partner = other.and_then(pair);
            if joined == partner.map(|(pair, _)| pair) && partner.is_none_or(|(_, back)| back == Some(own)) {
                continue;
            }
            // Whatever either was joined with is alone now.
            for left in [joined, partner.and_then(|(_, joined)| joined)].into_iter().flatten() {
                if let Some(slot) = self.media.slot_of(left) {
                    slot.joined = None;
                }
            }
            self.media.orders.push(match partner {
                Some((other, _)) => Order::Join(own, other),
                None => Order::Part(own),
            });
            let other = partner.map(|(pair, _)| pair);
            if let Some(slot) = self.media.slot_of(own) {
                slot.joined = other;
            }
            if let Some(slot) = other.and_then(|other| self.media.slot_of(other)) {
                slot.joined = Some(own);
            }
        }
    }

    /// Voices that are to be heard and are not yet.
    fn play(&mut self, leg: LegId) {
        let Some(media) = self.media.legs.get_mut(&leg) else { return };
        for slot in media.slots.iter_mut().flatten().filter(|slot| !slot.is_playing) {
            if let Some(voice) = &slot.voice {
                slot.is_playing = true;
                self.media.orders.push(Order::Play(slot.ports.pair, voice.clone()));
            }
        }
    }
}

/// True where no party has packets sent: to rtpengine's door, and into the relay itself, where they would go round for ever. A trunk
/// may name ports of another call of ours, when it joins the two; a phone has no business there.
fn is_barred(config: &Config, own: &[Ports], is_server: bool, place: SocketAddr) -> bool {
    let media = &config.media;
    let is_own = |ports: &Ports| {
        ports.address == place.ip() && (ports.rtp..=ports.rtp.saturating_add(1)).contains(&place.port())
    };
    let is_here = media.addresses.contains(&place.ip())
        || config.listeners.iter().any(|listener| listener.address.ip().to_canonical() == place.ip());
    let (first, last) = media.ports;
    let is_door = |door: &SocketAddr| *door == place || (is_here && door.port() == place.port());
    let is_relay = is_here && (first..=last).contains(&place.port());
    media.rtpengine.iter().any(is_door) || own.iter().any(is_own) || (is_relay && !is_server)
}
