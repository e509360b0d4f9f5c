//! From one leg to another: the one place where a description crosses. Who answers is relayed as the offer was that it answers.

use std::net::IpAddr;

use bytes::Bytes;
use compact_str::format_compact;

use super::Claim;
use super::count::is_browser;
use crate::base::{Protocol, limits};
use crate::call::history::Report;
use crate::call::{Call, Calls, Parts};
use crate::config::MediaMode;
use crate::dialog::Exchange;
use crate::media::{Stream, Way, rewrite, suit};
use crate::sip::{Message, sdp};
use crate::ua::{Leg, LegId};

/// What a record says of a browser's call through the relay.
const NOT_CONVERTED: &str = "without rtpengine the media of a browser cannot be converted";

/// What becomes of a description on its way between two legs.
#[derive(Default)]
pub(in crate::call) struct Passage {
    /// By the order of m= lines, and an address of ours; `None`: it passes as it is.
    ways: Option<(Vec<Way>, IpAddr)>,
    /// As rtpengine has it.
    text: Option<Bytes>,
    suits: Option<Suits>,
}

/// What nobody converts is put as its receiver takes it, for a call is worth more than what is heard in it.
enum Suits {
    Plain,
    /// A browser, which has said this.
    Web {
        theirs: Bytes,
        is_answer: bool,
        is_silent: bool,
    },
}

impl Passage {
    /// The description as the other leg's peer is to see it, but for its origin line; `None`: unchanged.
    pub fn edit(&self, description: &[u8]) -> Option<Vec<u8>> {
        if let Some(text) = &self.text {
            return Some(text.to_vec());
        }
        let (ways, own) = self.ways.as_ref()?;
        let text = rewrite(description, ways, *own);
        Some(match &self.suits {
            None => text,
            Some(Suits::Plain) => suit::plain(&text),
            Some(Suits::Web { theirs, is_answer, is_silent }) => suit::web(&text, theirs, *is_answer, *is_silent),
        })
    }
}

/// What the relay carries of a description.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Nothing,
    Offer,
    Answer,
    /// The answer to an offer of an rtpengine that is gone: who made the offer is led to us; who answers will be.
    Half,
}

impl Calls {
    /// The way of `description`, which the peer of `from` gave, to the peer of `to`: pairs are taken where it needs them.
    pub(in crate::call) fn passage(
        &mut self,
        parts: &Parts<'_>,
        from: LegId,
        to: LegId,
        description: &[u8],
    ) -> Passage {
        let Some(is_offer) = parts.ua.leg(to).map(|leg| leg.exchange() != Exchange::OfferReceived) else {
            return Passage::default();
        };
        let is_early = parts.ua.leg(from).is_some_and(|leg| leg.is_early() && leg.theirs().is_empty());
        let text = self.media.engine.rewritten(from, to, description);
        let offered = self.media.legs.get(&from).map(|media| (media.is_relayed, media.is_engines));
        let (was_relayed, was_engines) = offered.unwrap_or_default();
        let carries = match is_offer {
            _ if text.is_some() => Carries::Nothing,
            true if self.relays(parts, from, to) => Carries::Offer,
            false if was_relayed => Carries::Answer,
            false if was_engines => Carries::Half,
            true | false => Carries::Nothing,
        };
        let relays = carries != Carries::Nothing;
        let is_converted = matches!(carries, Carries::Nothing | Carries::Answer);
        if !is_converted && self.is_of_browser(parts, to, description) {
            self.not_converted(to);
        }
        let streams = Stream::all(description);
        for leg in [from, to] {
            if let Some(call) = self.media.legs.get(&leg).map(|media| media.call) {
                self.media.touch(call);
            }
        }
        if let Some(media) = self.media.legs.get_mut(&from).filter(|_| is_early) {
            media.preview = bytes::Bytes::copy_from_slice(description);
        }
        if let Some(media) = self.media.legs.get_mut(&to) {
            media.told_of = Some(from);
            media.told_mux = streams.iter().map(|stream| stream.mux).collect();
            if is_offer {
                (media.is_relayed, media.is_engines) = (relays, text.is_some());
            }
        }
        if !relays {
            return Passage { ways: None, text, suits: None };
        }
        let ways = self.ways(parts, from, to, carries, &streams);
        let is_any = |wanted: fn(&Way) -> bool| ways.iter().any(wanted);
        if is_any(|way| *way == Way::Direct) && !is_any(|way| matches!(way, Way::Relayed(_))) {
            // No port for any of it: as it is (SPEC §10).
            if let Some(media) = self.media.legs.get_mut(&to).filter(|_| is_offer) {
                media.is_relayed = false;
            }
            return Passage::default();
        }
        let is_ipv4 = self.is_ipv4(parts, to, None);
        let own = address_of(parts, is_ipv4).or_else(|| address_of(parts, !is_ipv4));
        let suits = suits(parts, from, to, is_offer);
        Passage { ways: own.map(|own| (ways, own)), text: None, suits }
    }

    /// The same of the description in `message`; nothing to do without one that can be read.
    pub(in crate::call) fn passage_of(
        &mut self,
        parts: &Parts<'_>,
        from: LegId,
        to: LegId,
        message: &Message,
    ) -> Passage {
        let description = sdp::locate(message).and_then(|place| message.body().get(place));
        match description.filter(|description| sdp::Sdp::new(description).well_formed()) {
            Some(description) => self.passage(parts, from, to, description),
            None => Passage::default(),
        }
    }

    /// True when a request offers streams, and none that can cross: fax over UDPTL, say (RFC 3261 §14.2).
    pub(in crate::call) fn is_beyond(&self, parts: &Parts<'_>, from: LegId, to: LegId, request: &Message) -> bool {
        let description = sdp::locate(request).and_then(|place| request.body().get(place)).unwrap_or_default();
        let streams = Stream::all(description);
        let mut live = streams.iter().filter(|stream| stream.port != 0).peekable();
        live.peek().is_some()
            && live.all(|stream| !stream.is_rtp())
            && self.relays(parts, from, to)
            && self.media.engine.rewritten(from, to, description).is_none()
    }

    /// True when a browser makes this offer, or is to take it: it speaks DTLS-SRTP with ICE and nothing else (RFC 8834).
    pub(super) fn is_of_browser(&self, parts: &Parts<'_>, to: LegId, offer: &[u8]) -> bool {
        let is_web = |protocol: Protocol| matches!(protocol, Protocol::Ws | Protocol::Wss);
        Stream::all(offer).iter().any(Stream::is_dtls)
            || parts.ua.leg(to).is_some_and(|leg| is_web(leg.flow().protocol))
    }

    /// The relay carries what it cannot convert: nobody will hear anything, and the operator is told.
    pub(super) fn not_converted(&mut self, leg: LegId) {
        let Some(id) = self.media.legs.get(&leg).map(|media| media.call) else { return };
        let Some(call) = self.calls.get_mut(id) else { return };
        let before = call.note.take().unwrap_or_default();
        if before.ends_with(NOT_CONVERTED) {
            call.note = Some(before);
            return;
        }
        let between = if before.is_empty() { "" } else { "; " };
        call.note = Some(format_compact!("{before}{between}{NOT_CONVERTED}"));
        let (id, kind) = (crate::call::name_of(id, call.started_at), call.kind);
        self.reports.push(Report::NotConverted { id, kind });
    }

    /// True when the two are joined by the relay and not by each other's address: a trunk that says `pass` gets the description
    /// as it is.
    pub(super) fn relays(&self, parts: &Parts<'_>, from: LegId, to: LegId) -> bool {
        let named = |leg: LegId| self.media.legs.get(&leg).and_then(|media| media.mode);
        mode_of(parts, [named(from), named(to)]) != MediaMode::Pass
    }

    fn ways(
        &mut self,
        parts: &Parts<'_>,
        from: LegId,
        to: LegId,
        carries: Carries,
        streams: &[Stream<'_>],
    ) -> Vec<Way> {
        let is_offer = carries == Carries::Offer;
        let first = streams.iter().find(|stream| stream.port != 0).and_then(Stream::address);
        // Who offers says anew of which family its media are; an answer is of the family that it was offered.
        let says = first
            .filter(|says| is_offer && !says.is_unspecified())
            .filter(|says| address_of(parts, says.is_ipv4()).is_some());
        let from_ipv4 = says.map_or_else(|| self.is_ipv4(parts, from, first), |says| says.is_ipv4());
        let to_ipv4 = self.is_ipv4(parts, to, None);
        self.media.now = parts.context.now;
        let mut ways = Vec::with_capacity(streams.len());
        let claim = self.claim(parts, from);
        let mut short = None;
        let offer = parts.ua.leg(from).map(Leg::told).filter(|_| carries == Carries::Answer);
        let offered = Stream::all(offer.map(|offer| &offer[..]).unwrap_or_default());
        let is_unasked = |at: usize| offer.is_some() && offered.get(at).is_none_or(|stream| stream.port == 0);
        for (at, stream) in streams.iter().enumerate() {
            ways.push(match self.media.slot(from, at).is_some() {
                _ if stream.port == 0 || !stream.is_rtp() || at >= limits::STREAMS_PER_LEG => Way::Refused,
                // RFC 3264 §6: it is answered, and was not offered.
                _ if is_unasked(at) => Way::Refused,
                // Its peer has the other one's own address, and must be told of as the same.
                false if carries == Carries::Answer => Way::Direct,
                _ => {
                    let own = match carries {
                        Carries::Offer => self.media.ensure(from, at, from_ipv4, claim).ok_or(from_ipv4).map(drop),
                        Carries::Answer | Carries::Half | Carries::Nothing => Ok(()),
                    };
                    match own.and_then(|()| self.media.ensure(to, at, to_ipv4, claim).ok_or(to_ipv4)) {
                        Ok(ports) => Way::Relayed(ports),
                        Err(is_ipv4) => {
                            short = Some(is_ipv4);
                            Way::Direct
                        }
                    }
                }
            });
        }
        if let Some(is_ipv4) = short {
            self.reports.push(Report::PortsShort { is_ipv4 });
        }
        ways
    }

    pub(super) fn claim(&self, parts: &Parts<'_>, leg: LegId) -> Claim {
        let call = self.media.legs.get(&leg).and_then(|media| self.calls.get(media.call));
        if call.is_none_or(Call::is_urgent) {
            return Claim::Emergency;
        }
        let (first, last) = parts.config.media.ports;
        Claim::Ordinary { range: usize::from(last.saturating_sub(first)).div_ceil(2) }
    }

    /// The address family of a leg's media: of the pairs it has, else of what its peer says of its own where we have that, else of its
    /// signalling.
    pub(super) fn is_ipv4(&self, parts: &Parts<'_>, leg: LegId, says: Option<IpAddr>) -> bool {
        let own = self.media.legs.get(&leg).and_then(|media| media.slots.iter().flatten().next());
        if let Some(slot) = own {
            return slot.ports.address.is_ipv4();
        }
        let peer = parts.ua.leg(leg);
        let said = || {
            let peer = peer?;
            let said = peer.offer().unwrap_or(peer.theirs());
            Stream::all(said).iter().find_map(Stream::address)
        };
        let place = || peer.map(|peer| peer.flow().remote.ip().to_canonical());
        // Who names a family that we have none of reaches us over the other one, as its signalling does.
        let is_ours = |said: &IpAddr| address_of(parts, said.is_ipv4()).is_some();
        let family = says.filter(|said| !said.is_unspecified()).or_else(said).filter(is_ours).or_else(place);
        family.is_none_or(|address| address.is_ipv4())
    }
}

fn suits(parts: &Parts<'_>, from: LegId, to: LegId, is_offer: bool) -> Option<Suits> {
    let is_web = |leg: LegId| {
        let protocol = parts.ua.leg(leg).map(|leg| leg.flow().protocol);
        matches!(protocol, Some(Protocol::Ws | Protocol::Wss)) && is_browser(parts, leg)
    };
    let browser = parts.ua.leg(to)?;
    match [is_web(from), is_web(to)] {
        [true, false] => Some(Suits::Plain),
        // One that has media refuses an offer of plain RTP and keeps what it has.
        [false, true] if !is_offer || browser.theirs().is_empty() => {
            let theirs = browser.offer().unwrap_or(browser.theirs()).clone();
            Some(Suits::Web { theirs, is_answer: !is_offer, is_silent: !browser.ours().is_empty() })
        }
        _ => None,
    }
}

/// The mode between two legs, from what their trunks say.
pub(super) fn mode_of(parts: &Parts<'_>, named: [Option<MediaMode>; 2]) -> MediaMode {
    match named {
        _ if named.contains(&Some(MediaMode::Pass)) => MediaMode::Pass,
        [None, None] => parts.config.media.mode,
        [one, other] => one.or(other).unwrap_or_default(),
    }
}

pub(super) fn address_of(parts: &Parts<'_>, is_ipv4: bool) -> Option<IpAddr> {
    parts.config.media.addresses.iter().copied().find(|address| address.is_ipv4() == is_ipv4)
}
