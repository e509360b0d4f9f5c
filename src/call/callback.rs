//! The call back to a leased number: the device that called, then the user's others, then whatever registers in time
//! (SPEC §6, RFC 7090).

use std::time::Duration;

use compact_str::{CompactString, format_compact};

use super::history::{Kind, Report};
use super::lent::Holder;
use super::neighbours::{Devices, is_to_a_stranger};
use super::ring::{Hold, Ringing, device_of};
use super::routing::flow_to_uri;
use super::{Alarm, Branch, Call, Calls, Parts, Stage};
use crate::base::{E164, Instant, Protocol, limits};
use crate::config::{Aor, Ring, TrunkIdx};
use crate::lease::Device;
use crate::registrar::Binding;
use crate::sip::{Message, Uri};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::trunk::Whose;
use crate::ua::{CallId, Refusal};

/// How long the device that called rings alone before the user's others join.
const ORIGIN_ALONE: Duration = Duration::from_secs(20);
/// Between tries of the last known flow of a phone that is offline.
const REDIAL: Duration = Duration::from_secs(5);

impl Calls {
    pub(super) fn start_callback(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        trunk: TrunkIdx,
        number: E164,
    ) {
        let now = parts.context.now;
        let Some(holder) = Holder::of(parts, number) else { return };
        let lease = holder.lease().clone();
        let Ok(user) = format!("sip:{}", lease.user).parse::<Aor>() else {
            parts.ua.reply(&mut parts.context, server, invite, flow, &Refusal::new(404));
            return;
        };
        let is_counted = super::lent::call_up(parts, number);
        let hold = Hold {
            until: now + parts.config.callback.hold,
            origin: lease.device,
            others_rung: false,
            queued: false,
            desk_rung: false,
            refused: None,
            unwilling: None,
            redial_due: None,
            neighbours_asked: false,
        };
        let (nena_call_id, incident_id) = super::i3::identifiers(invite);
        let call = Call {
            nena_call_id,
            incident_id,
            shared: lease.kind == crate::lease::Kind::Overflow,
            test: lease.test,
            user: Some(user.clone()),
            number: Some(number),
            is_elsewhere: !is_counted,
            country: Some(lease.country),
            dialled: format_compact!("{number}"),
            callback_of: Some(format_compact!("{number}")),
            stage: Stage::Ringing(Box::new(Ringing::new(invite.clone(), user.clone(), Some(hold)))),
            ..Call::new(Kind::Callback, now)
        };
        let id = self.admit(parts, call, server, invite, flow, true);
        self.sign_caller(parts, id, Some(trunk));
        if let Some(history) = self.history(id).map(Box::new) {
            self.reports.push(Report::CalledBack { history });
        }
        self.waiting.entry(user).or_default().push(id);
        self.wake(now + parts.config.callback.hold, id, Alarm::HoldOver);
        self.wake(now + parts.config.lease.window / 2, id, Alarm::Renew);
        match parts.config.callback.ring {
            Ring::OriginFirst => {
                self.ring_origin(parts, id);
                self.wake(now + ORIGIN_ALONE, id, Alarm::RingOthers);
            }
            Ring::All => {
                self.ring_origin(parts, id);
                self.ring_others(parts, id);
            }
        }
        self.wake_phones(parts, id);
    }

    /// A callback that lasts: other nodes, one of which may have given the number, go by its row.
    pub(super) fn renew_lease(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| !call.is_elsewhere) else { return };
        if let Some(number) = call.number
            && parts.elsewhere.nodes().next().is_some()
        {
            parts.leases.renew(parts.context.now, number);
        }
        self.wake(parts.context.now + parts.config.lease.window / 2, id, Alarm::Renew);
    }

    /// Rings the device that made the emergency call: where it is registered now, else where it was last seen.
    fn ring_origin(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let Some(hold) = &ringing.hold else { return };
        if let Some((pbx, _)) = parts.config.pbx_of(&ringing.user) {
            let origin = hold.origin.clone();
            return self.ring_pbx(parts, id, pbx, &origin);
        }
        let bindings = parts.registrar.bindings(&ringing.user);
        let registered = bindings.iter().map(device_of).find(|device| device.key == hold.origin.key);
        // What is registered here may have moved on without a word, as is seen when it does not answer.
        let (is_away, is_later) = (registered.is_none(), hold.others_rung && hold.unwilling.is_none());
        if let Some(device) = registered {
            self.ring(parts, id, &device);
        }
        let is_asked_for = (is_away || is_later) && self.ask_neighbours(parts, id, Devices::Origin);
        if is_away && !is_asked_for {
            self.ring_last_seen(parts, id);
        }
        self.look_on_if_alone(parts, id);
    }

    /// Rings the device that made the emergency call where it called from, unless that is being tried.
    pub(super) fn ring_last_seen(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let Some(hold) = &ringing.hold else { return };
        let is_tried = self.branch_to(id, |_, target| target == hold.origin.contact);
        if !is_tried && !is_of_another(parts, &hold.origin, &ringing.user) {
            let origin = hold.origin.clone();
            self.ring(parts, id, &origin);
        }
    }

    /// There was no way to where the device is, as after a restart without its listener: it is away.
    pub(super) fn look_on_if_alone(&mut self, parts: &mut Parts<'_>, id: CallId) {
        if self.calls.get(id).is_some_and(Call::is_alone) {
            self.look_on(parts, id);
        }
    }

    /// Rings the user's other devices beside the one that called.
    pub(super) fn ring_others(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(hold) = self.hold(id) else { return };
        if std::mem::replace(&mut hold.others_rung, true) {
            return;
        }
        let origin = hold.origin.key.clone();
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let bindings = parts.registrar.bindings(&ringing.user);
        // The flow of the origin that ring_origin took; a second one of it is as good as another device (RFC 5626 §4.3).
        let rung = bindings.iter().map(device_of).position(|device| device.key == origin);
        let others = bindings.iter().map(device_of).enumerate().filter(|(at, _)| Some(*at) != rung);
        let others: Vec<Device> = others.map(|(_, device)| device).collect();
        for device in others {
            self.ring(parts, id, &device);
        }
        let does_origin_ring =
            self.branch_to(id, |branch, target| branch.alerting && self.is_origin(parts, id, target));
        // Asked already, or has answered itself.
        let is_settled = |hold: &mut Hold| hold.neighbours_asked || hold.refused.is_some() || hold.unwilling.is_some();
        let is_settled = does_origin_ring || self.hold(id).is_some_and(is_settled);
        self.ask_neighbours(parts, id, if is_settled { Devices::Others } else { Devices::All });
    }

    /// The device that called has said nothing: the others join, the trunk is told to wait, and the device is still tried.
    pub(super) fn origin_silent(&mut self, parts: &mut Parts<'_>, id: CallId) {
        if self.hold(id).is_some_and(|hold| hold.desk_rung) {
            if self.calls.get(id).is_some_and(|call| call.branches.iter().all(|branch| !branch.heard)) {
                self.hang_up_branches(parts, id, None, None);
                self.desk_failed(parts, id);
            }
            return;
        }
        self.ring_others(parts, id);
        self.look_for_nodes(parts, id);
        if self.calls.get(id).is_some_and(|call| call.branches.iter().all(|branch| !branch.heard)) {
            self.say_queued(parts, id);
        }
    }

    /// A device refused, or could not be reached. Only the one that made the emergency call, or a refusal for all of the
    /// user's devices (6xx, RFC 3261 §21.6), ends the callback: busy elsewhere is no answer of the person in danger.
    pub(super) fn callback_branch_failed(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        device: &str,
        refusal: &Refusal,
        has_rung: bool,
    ) {
        if (!is_refusal_of_a_person(refusal.status) || is_to_a_stranger(refusal.status))
            && self.number_held(id).is_some_and(|number| Devices::Origin.are_asked_at(parts, number, device))
        {
            return self.neighbour_has_none(parts, id);
        }
        let (is_origin, is_users) = (self.is_origin(parts, id, device), self.is_users(parts, id, device));
        if let Some(hold) = self.hold(id)
            && is_refusal_of_a_person(refusal.status)
            && (is_origin || (is_users && refusal.status >= 600))
        {
            match is_of_a_setting(refusal.status, has_rung) {
                false => hold.refused = Some(refusal.clone()),
                true if is_origin => hold.unwilling = Some(refusal.clone()),
                true => {}
            }
        }
        if self.hold(id).is_some_and(|hold| hold.desk_rung) {
            return self.desk_failed(parts, id);
        }
        self.ring_others(parts, id);
        let is_over = self.calls.get(id).is_some_and(Call::is_alone);
        match self.hold(id).map(|hold| hold.refused.is_some()) {
            Some(true) if is_over => self.give_up_callback(parts, id),
            // Somebody on site may go and look.
            _ if is_over && self.is_unwilling(id) && self.ring_desk(parts, id) => {}
            _ if is_over && matches!(refusal.status, 408 | 503) && self.has_other_place(parts, id) => {
                self.redial(parts, id)
            }
            _ => self.look_on(parts, id),
        }
    }

    fn is_unwilling(&mut self, id: CallId) -> bool {
        self.hold(id).is_some_and(|hold| hold.unwilling.is_some())
    }

    /// True when the contact `device` is of a phone of whom the callback is for, and not of the desk.
    fn is_users(&self, parts: &Parts<'_>, id: CallId, device: &str) -> bool {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return false };
        let is_at_neighbour =
            self.number_held(id).is_some_and(|number| Devices::asked_at(parts, number, device).is_some());
        is_at_neighbour || parts.registrar.bindings(&ringing.user).iter().any(|binding| binding.contact() == device)
    }

    /// True when the contact `device` is that of the device that made the emergency call.
    fn is_origin(&self, parts: &Parts<'_>, id: CallId, device: &str) -> bool {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return false };
        if parts.config.pbx_of(&ringing.user).is_some() {
            return true;
        }
        let Some(hold) = &ringing.hold else { return false };
        let mut bindings = parts.registrar.bindings(&ringing.user).iter().map(device_of);
        hold.origin.contact == device
            || self.number_held(id).is_some_and(|number| Devices::Origin.are_asked_at(parts, number, device))
            || bindings.any(|known| known.contact == device && known.key == hold.origin.key)
    }

    /// While nobody rings: the user's other devices, then the device that called again and again until the hold is over. That one
    /// too while others ring.
    fn look_on(&mut self, parts: &mut Parts<'_>, id: CallId) {
        self.ring_others(parts, id);
        let Some(is_alone) = self.calls.get(id).map(Call::is_alone) else { return };
        if self.redial_later(parts.context.now, id) {
            if is_alone {
                self.say_queued(parts, id);
            }
        } else if is_alone {
            self.give_up_callback(parts, id);
        }
    }

    /// False when the hold is over.
    pub(super) fn redial_later(&mut self, now: Instant, id: CallId) -> bool {
        let Some(hold) = self.hold(id).filter(|hold| now < hold.until) else { return false };
        if hold.redial_due.is_none() {
            hold.redial_due = Some(now + REDIAL);
            self.wake(now + REDIAL, id, Alarm::Redial);
        }
        true
    }

    /// The last known flow is tried again: the phone may be back without having registered, or out of another call.
    pub(super) fn redial(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let now = parts.context.now;
        let is_tried = self.is_origin_tried(parts, id);
        let Some(hold) = self.hold(id) else { return };
        hold.redial_due = None;
        let is_over = now >= hold.until;
        let is_alone = self.calls.get(id).is_some_and(Call::is_alone);
        if is_alone || !(is_over || is_tried) {
            let user = self.calls.get(id).and_then(|call| call.user.as_ref());
            if let Some((pbx, _)) = user.and_then(|user| parts.config.pbx_of(user)) {
                parts.trunks.are_last_resort(now, |whose| whose == Whose::Pbx(pbx));
            }
            if let Some(Call { stage: Stage::Ringing(ringing), .. }) = self.calls.get_mut(id) {
                ringing.undress_all();
            }
            self.ring_origin(parts, id);
        } else if !is_over {
            self.ask_neighbours_again(parts, id);
        }
    }

    /// True while the device that called rings, or is asked to.
    fn is_origin_tried(&self, parts: &Parts<'_>, id: CallId) -> bool {
        self.branch_to(id, |_, target| self.is_origin(parts, id, target))
    }

    /// True when a branch of the call, to a target, is such.
    pub(super) fn branch_to(&self, id: CallId, is_such: impl Fn(&Branch, &str) -> bool) -> bool {
        let Some(call) = self.calls.get(id) else { return false };
        let target_of = |branch: &Branch| call.attempts.get(branch.attempt).map(|attempt| &attempt.target);
        call.branches.iter().any(|branch| target_of(branch).is_some_and(|target| is_such(branch, target)))
    }

    pub(super) fn hold_over(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        if !matches!(call.stage, Stage::Ringing(_)) {
            return;
        }
        // What rings by now may ring on, beside the desk: the call taker decides how long.
        if call.branches.iter().any(|branch| branch.alerting) {
            self.ring_desk(parts, id);
        } else {
            self.give_up_callback(parts, id);
        }
    }

    /// To the desk; where there is none, or it was tried, the callback is over.
    fn give_up_callback(&mut self, parts: &mut Parts<'_>, id: CallId) {
        self.hang_up_branches(parts, id, None, None);
        if !self.ring_desk(parts, id) {
            self.desk_failed(parts, id);
        }
    }

    /// 182 to the trunk, once: the call is held for a phone (RFC 3261 §21.1.4).
    fn say_queued(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(hold) = self.hold(id) else { return };
        if std::mem::replace(&mut hold.queued, true) {
            return;
        }
        let at_most = humantime::format_duration(parts.config.callback.hold);
        self.decide_once(parts, id, format!("No phone rings: the call is held, for at most {at_most}"));
        let Some(Call { stage: Stage::Ringing(ringing), caller, .. }) = self.calls.get(id) else { return };
        let (invite, caller) = (ringing.invite.clone(), *caller);
        if !self.announce_hold(parts, id, &invite) {
            parts.ua.progress(&mut parts.context, caller, 182, None, None);
        }
    }

    /// A user's phone has registered: callbacks that look for it ring it at once.
    pub fn registered(&mut self, parts: &mut Parts<'_>, user: &Aor, device: &Device) {
        let Some(waiting) = self.waiting.get(user).cloned() else { return };
        let flow = device.flow;
        for id in waiting {
            let Some(call) = self.calls.get(id).filter(|call| matches!(call.stage, Stage::Ringing(_))) else {
                continue;
            };
            let reached = call.branches.iter().any(|branch| {
                let target = call.attempts.get(branch.attempt).map(|attempt| &attempt.target);
                // Over the connection that it has just spoken on: nothing of it can be lost, and it would ring against itself.
                let leg = parts.ua.leg(branch.leg).filter(|_| flow.connection.is_some());
                let is_there = leg.is_some_and(|leg| leg.flow().connection == flow.connection);
                is_there || (branch.alerting && target == Some(&device.contact))
            });
            let is_origin = self.hold(id).is_some_and(|hold| hold.origin.key == device.key);
            // A phone that has said 100 and no more may have died of it.
            let looking = self.calls.get(id).is_some_and(|call| call.branches.iter().all(|branch| !branch.alerting));
            if !reached && (is_origin || looking) {
                self.decide_once(parts, id, format!("{} has registered: it is rung", device.contact));
                self.drop_silent(parts, id, device);
                self.ring(parts, id, device);
            }
        }
    }

    /// For the record; a phone that registers again and again fills it with nothing.
    fn decide_once(&mut self, parts: &Parts<'_>, id: CallId, words: String) {
        let is_news =
            |call: &&mut Call| call.decisions.len() < limits::ATTEMPTS_PER_CALL && !call.decisions.contains(&words);
        if let Some(call) = self.calls.get_mut(id).filter(is_news) {
            call.decide(parts, words);
        }
    }

    /// Ends unanswered tries toward a device that has just shown where it is.
    fn drop_silent(&mut self, parts: &mut Parts<'_>, id: CallId, device: &Device) {
        let Some(call) = self.calls.get(id) else { return };
        let is_stale = |branch: &&super::Branch| {
            !branch.alerting
                && call.attempts.get(branch.attempt).is_some_and(|attempt| attempt.target == device.contact)
        };
        let stale: Vec<_> = call.branches.iter().filter(is_stale).map(|branch| branch.leg).collect();
        for leg in stale {
            self.close_branch(parts, id, leg, 408);
            parts.ua.hang_up(&mut parts.context, leg, None);
            parts.ua.orphan(leg);
        }
    }

    pub(super) fn hold(&mut self, id: CallId) -> Option<&mut Hold> {
        match &mut self.calls.get_mut(id)?.stage {
            Stage::Ringing(ringing) => ringing.hold.as_mut(),
            Stage::Granting(_) | Stage::Dialling(_) | Stage::TestLine | Stage::Refusing(_) | Stage::Bridged => None,
        }
    }
}

/// Forwarding, a list of whom the phone lets ring (RFC 5079), do-not-disturb, or another call that it is in: not what the person in
/// danger says to this call (SPEC §6). Who declines has heard it ring.
fn is_of_a_setting(status: u16, has_rung: bool) -> bool {
    matches!(status, 300..=399 | 433) || (!has_rung && matches!(status, 486 | 600 | 603))
}

/// True where a phone of somebody else is registered now, and none of `user`: it would be rung in the place of the one that has left.
/// Behind a proxy, which goes by the contact, only a phone at the same place is in its place.
pub(super) fn is_of_another(parts: &Parts<'_>, device: &Device, user: &Aor) -> bool {
    let Device { contact, flow, .. } = device;
    let mut users = parts.registrar.users_on_flow(flow).peekable();
    if users.peek().is_some() {
        let place = place_of(contact.as_bytes());
        let may_take = |binding: &Binding| {
            !binding.is_behind_proxy() || place.is_none() || place_of(binding.contact().as_bytes()) == place
        };
        let others: Vec<&Aor> = users.collect();
        let mut on_flow =
            others.iter().flat_map(|other| parts.registrar.listed(other)).filter(|other| other.is_on(flow));
        return !others.contains(&user) && on_flow.any(may_take);
    }
    // Its connection is lost: it would be looked for where it listens.
    let listens = flow_to_uri(parts.config, contact.as_bytes()).filter(|_| flow.protocol.is_reliable());
    let Some(listens) = listens else { return false };
    let is_there = |binding: &Binding| {
        flow_to_uri(parts.config, binding.contact().as_bytes()).is_some_and(|flow| flow.remote == listens.remote)
    };
    let mut users = parts.registrar.users_with(listens.remote.ip(), is_there).peekable();
    users.peek().is_some() && users.all(|other| other != user)
}

/// Where a contact is: its host and port.
fn place_of(contact: &[u8]) -> Option<(CompactString, u16)> {
    let uri = Uri::parse(contact).ok().filter(Uri::is_sip)?;
    let port = uri.transport().unwrap_or(Protocol::Udp).default_port();
    Some((uri.host.text().to_lowercase(), uri.port.unwrap_or(port)))
}

/// True for what only a person (or a device that is surely there) answers; the rest means that the phone is away.
pub(super) fn is_refusal_of_a_person(status: u16) -> bool {
    !matches!(status, 404 | 408 | 410 | 430 | 480 | 481 | 500 | 502 | 503 | 504)
}
