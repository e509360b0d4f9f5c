//! Callbacks where several nodes share a database. A trunk brings one to any of them, and a phone is registered at any of them: the
//! node it comes to rings the phone where it is, by asking the others for the devices that they have (SPEC §3, §6). The node that is
//! asked rings what is registered with it; holding, waking, the desk and the record are the asking one's.

use compact_str::{CompactString, format_compact};

use super::callback::is_of_another;
use super::classify::number_of;
use super::history::{Kind, Outcome};
use super::lent::Holder;
use super::ring::{Ringing, device_of};
use super::routing::flow_to;
use super::{Call, Calls, Parts, Stage};
use crate::base::{E164, Protocol};
use crate::config::Aor;
use crate::lease::{self, Device, Neighbour};
use crate::sip::{Message, Uri};
use crate::transaction::ServerId;
use crate::transport::{Flow, Place};
use crate::ua::{CallId, LegId, Refusal};

/// Which of a user's devices another node is asked to ring: a parameter of the Request-URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Devices {
    /// The one that made the emergency call.
    Origin,
    /// All but that one.
    Others,
    All,
}

impl Devices {
    const ALL: [Self; 3] = [Self::Origin, Self::Others, Self::All];
    const PARAMETER: &'static str = "devices";

    const fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Others => "others",
            Self::All => "all",
        }
    }

    /// What is asked of a node, and where.
    fn uri_at(self, node: &Neighbour, number: E164) -> impl Iterator<Item = (CompactString, Place)> {
        node.addresses.iter().map(move |address| {
            let uri = format_compact!("sip:{number}@{address};{}={}", Self::PARAMETER, self.as_str());
            (uri, Place { protocol: Protocol::Udp, remote: *address })
        })
    }

    /// True when `target` is a node that is asked for these.
    pub(super) fn are_asked_at(self, parts: &Parts<'_>, number: E164, target: &str) -> bool {
        parts.elsewhere.nodes().any(|node| self.uri_at(node, number).any(|(uri, _)| uri == target))
    }

    /// Which a node is asked for at `target`; `None` when no node is.
    pub(super) fn asked_at(parts: &Parts<'_>, number: E164, target: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|devices| devices.are_asked_at(parts, number, target))
    }
}

/// What a node answers that does not know yet, or not from where it was asked, that a node asks: no phone has said it.
pub(super) fn is_to_a_stranger(status: u16) -> bool {
    matches!(status, 401 | 403 | 407)
}

/// What another node asks for.
pub(super) struct Asked {
    pub(super) number: E164,
    devices: Devices,
}

impl Asked {
    /// `None` when no node asks.
    pub(super) fn of(parts: &Parts<'_>, invite: &Message, flow: &Flow) -> Option<Self> {
        let uri = Uri::parse(invite.request_uri()).ok()?;
        let named = uri.params.value(Devices::PARAMETER).filter(|_| parts.elsewhere.is_at(flow))?;
        let devices = Devices::ALL.into_iter().find(|devices| devices.as_str().as_bytes() == named)?;
        Some(Self { number: number_of(invite.request_uri())?, devices })
    }
}

impl Calls {
    /// Asks the other nodes that run for devices of the user; each once at a time. True when one is being asked.
    pub(super) fn ask_neighbours(&mut self, parts: &mut Parts<'_>, id: CallId, devices: Devices) -> bool {
        let Some(number) = self.number_held(id) else { return false };
        let is_asked = |node: &&Neighbour| {
            let mut kinds = [devices, Devices::All].into_iter();
            kinds.any(|kind| kind.uri_at(node, number).any(|(uri, _)| self.is_asking(id, &uri)))
        };
        let nodes = parts.elsewhere.running().filter(|node| !is_asked(node));
        let ways: Vec<_> = nodes.filter_map(|node| self.way_to(parts, id, devices, node, number)).collect();
        for (uri, flow) in ways {
            let device = Device { key: uri.clone(), contact: uri, push: CompactString::default(), flow };
            self.ring_at(parts, id, &device, flow, None);
        }
        let is_asking = self.branch_to(id, |_, target| devices.are_asked_at(parts, number, target));
        if let Some(hold) = self.hold(id).filter(|_| devices == Devices::Origin) {
            hold.neighbours_asked = is_asking;
        }
        is_asking
    }

    /// Of the addresses of a node, the one that has failed least in this call.
    fn way_to(
        &self,
        parts: &Parts<'_>,
        id: CallId,
        devices: Devices,
        node: &Neighbour,
        number: E164,
    ) -> Option<(CompactString, Flow)> {
        let ours = parts.config.datagram_addresses();
        let attempts = self.calls.get(id).map_or(&[][..], |call| &call.attempts);
        let failed: Vec<&str> = attempts.iter().filter(|it| is_unreached(it.status)).map(|it| &*it.target).collect();
        let failures = |place: &Place| {
            let at = format_compact!("@{};{}=", place.remote, Devices::PARAMETER);
            failed.iter().filter(|target| target.contains(at.as_str())).count()
        };
        let ways = devices.uri_at(node, number).filter(|(_, place)| !ours.contains(&place.remote));
        let ways = ways.filter_map(|(uri, place)| Some((failures(&place), uri, flow_to(parts.config, place)?)));
        ways.min_by_key(|(failures, ..)| *failures).map(|(_, uri, flow)| (uri, flow))
    }

    /// The leased number that is called back, while the callback looks for its phone.
    pub(super) fn number_held(&self, id: CallId) -> Option<E164> {
        let call = self.calls.get(id)?;
        let is_held = matches!(&call.stage, Stage::Ringing(ringing) if ringing.hold.is_some());
        call.number.filter(|_| is_held)
    }

    fn is_asking(&self, id: CallId, uri: &str) -> bool {
        self.branch_to(id, |_, target| target == uri)
    }

    /// The phone may have come to another node than the one that is trying it, or the node that has it runs again.
    pub(super) fn ask_neighbours_again(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let does_ring = self.branch_to(id, |branch, _| branch.alerting);
        if !does_ring && self.hold(id).is_some_and(|hold| !hold.desk_rung) {
            self.ask_neighbours(parts, id, Devices::Origin);
            self.look_for_nodes(parts, id);
        }
    }

    /// Where there are other nodes, one that comes back is asked.
    pub(super) fn look_for_nodes(&mut self, parts: &Parts<'_>, id: CallId) {
        if parts.elsewhere.nodes().next().is_some() {
            self.redial_later(parts.context.now, id);
        }
    }

    /// A branch says that what it calls does not answer, or not yet: of another node, whose phone is silent, the callback looks on. False
    /// for any other branch.
    pub(super) fn neighbour_waits(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) -> bool {
        let Some(number) = self.number_held(id) else { return false };
        if !self.branch_to(id, |branch, target| branch.leg == leg && Devices::asked_at(parts, number, target).is_some())
        {
            return false;
        }
        let Some(branch) = self.branch(id, leg).filter(|branch| !branch.alerting) else { return true };
        branch.heard = false;
        self.origin_silent(parts, id);
        true
    }

    /// A branch has had no answer at all. Another node may be asked at another of its addresses; where there is none, its phone is
    /// looked for where it called from.
    pub(super) fn neighbour_silent(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let Some((number, call)) = self.number_held(id).zip(self.calls.get(id)) else { return };
        let branch = call.branches.iter().find(|branch| branch.leg == leg);
        let target = branch.and_then(|branch| call.attempts.get(branch.attempt)).map(|attempt| &attempt.target);
        let Some(devices) = target.and_then(|target| Devices::asked_at(parts, number, target)) else { return };
        let has_others = parts.elsewhere.running().any(|node| {
            let mut uris = devices.uri_at(node, number).map(|(uri, _)| uri);
            uris.any(|uri| Some(&uri) == target) && node.addresses.len() > 1
        });
        if has_others {
            self.close_branch(parts, id, leg, 408);
            parts.ua.hang_up(&mut parts.context, leg, None);
            parts.ua.orphan(leg);
            self.ask_neighbours(parts, id, devices);
        }
        if devices == Devices::Origin {
            self.ring_last_seen(parts, id);
        }
    }

    /// Another node does not reach the device that called, and another one may. When none does, it is looked for where it called
    /// from.
    pub(super) fn neighbour_has_none(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(number) = self.number_held(id) else { return };
        if !self.branch_to(id, |_, target| Devices::Origin.are_asked_at(parts, number, target)) {
            self.ring_last_seen(parts, id);
        }
        self.redial_later(parts.context.now, id);
        self.look_on_if_alone(parts, id);
    }

    /// Another node asks for devices of the user whose emergency number it was called at.
    pub(super) fn ring_for_neighbour(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        asked: Asked,
    ) {
        let Asked { number, devices } = asked;
        let now = parts.context.now;
        let holder = Holder::of(parts, number);
        let user = holder.as_ref().and_then(|holder| format!("sip:{}", holder.lease().user).parse::<Aor>().ok());
        let (Some(holder), Some(user)) = (holder, user) else {
            return parts.ua.reply(&mut parts.context, server, invite, flow, &Refusal::new(404));
        };
        let wanted = wanted(parts, &user, &holder, devices);
        let (is_ours, lease) = (matches!(holder, Holder::Here(_)), holder.lease().clone());
        if is_ours {
            parts.leases.call_up(number);
        }
        if wanted.is_empty() {
            // Every callback renews the lease (SPEC §3).
            if is_ours {
                parts.leases.call_down(now, number);
            }
            return parts.ua.reply(&mut parts.context, server, invite, flow, &Refusal::new(480));
        }
        let call = Call {
            for_neighbour: true,
            is_elsewhere: !is_ours,
            test: lease.test,
            user: Some(user.clone()),
            number: Some(number),
            country: Some(lease.country),
            dialled: format_compact!("{number}"),
            callback_of: Some(format_compact!("{number}")),
            stage: Stage::Ringing(Box::new(Ringing::new(invite.clone(), user.clone(), None))),
            ..Call::new(Kind::Callback, now)
        };
        let id = self.admit(parts, call, server, invite, flow, true);
        self.sign_caller(parts, id, None);
        self.waiting.entry(user).or_default().push(id);
        for device in wanted {
            self.ring(parts, id, &device);
        }
        if self.calls.get(id).is_some_and(Call::is_alone) {
            self.refuse_caller(parts, id, &Refusal::new(480), Outcome::Unanswered);
        }
    }
}

/// No answer, or no way there.
fn is_unreached(status: u16) -> bool {
    matches!(status, 408 | 503)
}

/// Those of the devices that are registered here. The one that called, if it is not, where it called from, at the node that has given
/// the number: it may still be on the connection.
fn wanted(parts: &Parts<'_>, user: &Aor, holder: &Holder<'_>, devices: Devices) -> Vec<Device> {
    let origin = &holder.lease().device;
    let registered = parts.registrar.bindings(user).iter().map(device_of);
    let (mut origins, others): (Vec<_>, Vec<_>) = registered.partition(|device| device.key == origin.key);
    origins.truncate(1);
    let has_given = matches!(holder, Holder::Here(lease) if lease.kind != lease::Kind::Pooled || parts.leases.is_of_pools(lease.number));
    if origins.is_empty() && has_given && !is_of_another(parts, origin, user) {
        origins.push(origin.clone());
    }
    match devices {
        Devices::Origin => origins,
        Devices::Others => others,
        Devices::All => origins.into_iter().chain(others).collect(),
    }
}
