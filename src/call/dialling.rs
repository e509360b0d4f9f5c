//! What a call on its way over trunks remembers: what every attempt is made from, where it may go, how long it goes on.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};

use super::callback::is_refusal_of_a_person;
use super::direct::Fallback;
use super::i3;
use super::media::{Opening, Passage};
use super::refer_to::Callee;
use super::rewrite::{self, Secrets};
use super::way::hops;
use super::{Parts, classify};
use crate::base::{E164, Instant};
use crate::config::{Config, Trunk, TrunkIdx};
use crate::lease::Shown;
use crate::sip::{Message, Name, Uri};
use crate::transport::{Flow, Place};
use crate::trunk::{Target, TargetId, Trunks};
use crate::ua::{Content, LegId, Refusal, Ua, Unacceptable};

/// The pause after the first round over all trunks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A call on its way over trunks.
pub(super) struct Dialling {
    /// The caller's INVITE, which every attempt is made from; on a transfer there may be none.
    pub(super) invite: Option<Message>,
    /// A transfer: what takes the place of what was dialled.
    pub(super) referred: Option<Box<Referred>>,
    /// Who the trunk sees: the temporary number, or on a call that is no emergency the user itself.
    pub(super) identity: CompactString,
    /// What the trunk is asked for.
    pub(super) number: CompactString,
    pub(super) service: Option<CompactString>,
    /// A direct route: what comes after its trunks.
    pub(super) fallback: Option<Box<Fallback>>,
    pub(super) secrets: Option<Secrets>,
    pub(super) trunks: Vec<TrunkIdx>,
    pub(super) hops: VecDeque<Hop>,
    /// The target of the last attempt.
    pub(super) trying: Option<TargetId>,
    pub(super) pause: Duration,
    /// The last attempt, when we had added a location to it.
    pub(super) added: Option<Hop>,
    /// Where an INVITE with more than a session description went in fragments, and was not answered.
    pub(super) unheard: Vec<Place>,
    /// No new round after this.
    pub(super) give_up: Instant,
    pub(super) last: Option<Refusal>,
    /// A whole round has failed, which was told.
    pub(super) has_failed: bool,
}

/// What a REFER makes of an attempt.
pub(super) struct Referred {
    /// The Request-URI; `None`: the emergency number, as the trunk wants to be asked for it.
    pub wanted: Option<Wanted>,
    /// The caller's session description, as the target is to see it.
    pub description: Vec<u8>,
    pub lines: Vec<(&'static [u8], Box<[u8]>)>,
}

/// Whom a REFER asks for.
pub(super) enum Wanted {
    Uri(CompactString),
    /// The number at whatever target is tried.
    Number,
}

#[derive(Clone, Copy)]
pub(super) struct Hop {
    pub(super) target: TargetId,
    pub(super) place: Place,
    /// With the session description alone: it refused the call with a location, or anything else beside it.
    pub is_bare: bool,
}

impl Dialling {
    pub(super) fn emergency(
        parts: &mut Parts<'_>,
        shown: Shown,
        emergency: classify::Emergency,
        invite: Message,
        trunks: Vec<TrunkIdx>,
    ) -> Self {
        let classify::Caller { aor, number, .. } = &emergency.caller;
        Self {
            secrets: Some(Secrets::of(&invite, Some(aor), *number)),
            identity: format_compact!("{}", shown.number()),
            number: emergency.service.number,
            service: Some(emergency.service.urn),
            give_up: parts.context.now + parts.config.routing.retry,
            ..Self::new(Some(invite), trunks, parts.context.now)
        }
    }

    /// A transfer under `shown`, the number the trunks of the call have seen already (SPEC §5); `invite` is what is left of the
    /// caller's.
    pub(super) fn transfer(
        parts: &mut Parts<'_>,
        shown: E164,
        callee: Callee,
        referred: Referred,
        invite: Option<Message>,
    ) -> Self {
        Self {
            identity: format_compact!("{shown}"),
            number: callee.number,
            service: callee.service,
            referred: Some(Box::new(referred)),
            hops: hops(parts, &callee.trunks),
            ..Self::new(invite, callee.trunks, parts.context.now)
        }
    }

    /// The caller's INVITE, where a transfer will want something of it.
    pub(super) fn kept_invite(&self, config: &Config) -> Option<Box<[u8]>> {
        let invite = self.invite.as_ref().filter(|_| self.secrets.is_some())?;
        rewrite::is_telling(config, invite).then(|| invite.bytes().as_ref().into())
    }

    /// Takes note of a failure. What a person says to a transfer is its end: the call taker knows whom else to ask.
    pub(super) fn failed(&mut self, refusal: Refusal) {
        if self.referred.is_some() && is_refusal_of_a_person(refusal.status) {
            self.hops.clear();
        }
        // Equipment that cannot read a body of several parts (RFC 5621 §4.2), or this location, may take the call without it.
        let without = self.added.take().map(|hop| Hop { is_bare: true, ..hop });
        if let (Some(hop), 400 | 413 | 415 | 424 | 488 | 513 | 606) = (without, refusal.status) {
            self.hops.push_front(hop);
        }
        self.last = Some(refusal);
    }

    /// Nothing has come from `place` in time: other transports of the target at that address are tried after all others. Where the
    /// INVITE went `in_fragments` it may be these that are lost: in the next round it goes there without what made it so long.
    pub(super) fn silent(&mut self, target: TargetId, place: Place, in_fragments: bool) {
        if in_fragments && self.added.is_some() {
            self.unheard.push(place);
        }
        let Place { protocol, remote } = place;
        let is_same_host = |hop: &Hop| hop.target == target && hop.place.remote.ip() == remote.ip();
        let is_doubtful = |hop: &Hop| is_same_host(hop) && hop.place.protocol != protocol;
        self.hops.make_contiguous().sort_by_key(is_doubtful);
    }

    /// Another round over these; the one after it asks for everything again.
    pub(super) fn go_round(&mut self, hops: VecDeque<Hop>) {
        let unheard = std::mem::take(&mut self.unheard);
        self.hops = hops;
        self.hops.iter_mut().for_each(|hop| hop.is_bare = unheard.contains(&hop.place));
    }

    /// The last attempt had more than a session description.
    pub(super) fn has_added(&mut self, hop: Hop) {
        self.added = Some(hop);
    }

    pub(super) fn is_test(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.starts_with("urn:service:test"))
    }

    /// Whom the trunk sees.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// True when the caller has told where it is.
    pub(super) fn tells_location(&self) -> bool {
        self.invite.as_ref().is_some_and(i3::tells_location)
    }

    pub(super) fn says(&self, name: Name) -> bool {
        self.invite.as_ref().is_some_and(|invite| invite.header(name).is_some())
    }

    /// What an attempt over `leg` offers.
    pub(super) fn content(
        &self,
        ua: &mut Ua,
        leg: LegId,
        passage: &Passage,
        is_bare: bool,
    ) -> Result<Option<Content>, Unacceptable> {
        let edit = |description: &[u8]| {
            let bare = self.secrets.as_ref().and_then(|secrets| secrets.remove_from(description));
            passage.edit(bare.as_deref().unwrap_or(description)).or(bare)
        };
        let content = match (&self.referred, &self.invite) {
            (None, Some(invite)) => ua.relayed(leg, invite, edit)?,
            (Some(referred), Some(invite)) if crate::sip::sdp::of(invite).is_some() => {
                let described = || passage.edit(&referred.description).unwrap_or_else(|| referred.description.clone());
                ua.relayed(leg, invite, |_| Some(described()))?
            }
            (Some(referred), _) => ua.described(leg, &referred.description, edit),
            (None, None) => None,
        };
        Ok(if is_bare { content.and_then(Content::bare) } else { content })
    }

    /// The description an attempt offers, before anything is changed of it.
    pub(super) fn described(&self) -> Option<Bytes> {
        match (&self.referred, &self.invite) {
            (Some(referred), _) => Some(referred.description.clone().into()),
            (None, Some(invite)) => Some(invite.slice(invite.body().get(crate::sip::sdp::locate(invite)?)?)),
            (None, None) => None,
        }
    }

    /// The same for rtpengine.
    pub(super) fn opening(&self, from: LegId, trunk: &Trunk, flow: Flow) -> Option<Opening> {
        let original = self.described()?;
        let bare = self.secrets.as_ref().and_then(|secrets| secrets.remove_from(&original));
        let is_ipv4 = flow.remote.ip().to_canonical().is_ipv4();
        Some(Opening { from, mode: trunk.media, protocol: flow.protocol, is_ipv4, original, bare })
    }

    /// CONFORMANCE DI-14: a redirection to another target of the trunk that sent it is tried first; to any other place never.
    pub(super) fn follow(&mut self, trunks: &Trunks, uri: &[u8]) {
        let Ok(uri) = Uri::parse(uri) else { return };
        let trunk_of = |id: TargetId| trunks.target(id).and_then(Target::trunk);
        let Some(from) = self.trying.and_then(trunk_of) else { return };
        let is_meant = |hop: &Hop| {
            let same_port = uri.port.is_none_or(|port| port == hop.place.remote.port());
            let by_name = || trunks.target(hop.target).is_some_and(|target| target.config.host == uri.host.text());
            let is_there = uri.host.ip().is_some_and(|ip| ip == hop.place.remote.ip()) || by_name();
            trunk_of(hop.target) == Some(from) && same_port && is_there
        };
        if let Some(hop) = self.hops.iter().position(is_meant).and_then(|at| self.hops.remove(at)) {
            self.hops.push_front(hop);
        }
    }

    /// Rounds of an emergency call go on until then.
    pub(super) fn begin_anew(&mut self, give_up: Instant) {
        self.give_up = if self.service.is_some() { give_up } else { self.give_up };
    }

    pub(super) fn trunks_mut(&mut self) -> &mut Vec<TrunkIdx> {
        &mut self.trunks
    }

    /// An emergency number over the resource's own trunks, as any other call goes out; `urn` is what it means (SPEC §5).
    pub(super) fn direct(
        identity: CompactString,
        number: CompactString,
        urn: CompactString,
        fallback: Option<Box<Fallback>>,
        give_up: Instant,
        invite: Message,
        trunks: Vec<TrunkIdx>,
    ) -> Self {
        let service = Some(urn);
        Self { identity, number, service, fallback, give_up, ..Self::new(Some(invite), trunks, give_up) }
    }

    /// A callback that goes on to a desk behind a trunk, under the number that was called back.
    pub(super) fn desk(
        identity: CompactString,
        number: CompactString,
        trunk: TrunkIdx,
        invite: Message,
        now: Instant,
    ) -> Self {
        Self { identity, number, ..Self::new(Some(invite), vec![trunk], now) }
    }

    /// What a direct route falls back to, and the INVITE it goes on with; once.
    pub(super) fn fall_back(&mut self) -> Option<(Box<Fallback>, Message)> {
        let fallback = self.fallback.take()?;
        Some((fallback, self.invite.clone()?))
    }

    pub(super) fn new(invite: Option<Message>, trunks: Vec<TrunkIdx>, now: Instant) -> Self {
        Self {
            invite,
            referred: None,
            identity: CompactString::default(),
            number: CompactString::default(),
            service: None,
            fallback: None,
            secrets: None,
            trunks,
            hops: VecDeque::new(),
            trying: None,
            added: None,
            unheard: Vec::new(),
            pause: FIRST_PAUSE,
            give_up: now,
            last: None,
            has_failed: false,
        }
    }
}
