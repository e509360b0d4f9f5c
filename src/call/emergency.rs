//! An emergency call up to its number: lease, wait for the disk within the deadline, go all the same after it (SPEC §3).

use compact_str::{CompactString, format_compact};

use super::classify;
use super::dialling::Dialling;
use super::history::{Dialled, Kind, Report};
use super::identify::phone_at;
use super::media::{Opening, Resume};
use super::refuse::Refused;
use super::rewrite::Secrets;
use super::{Alarm, Call, Calls, GrantId, Parts, Stage};
use crate::base::{E164, Protocol, limits};
use crate::config::{Aor, RouteAction, TrunkIdx};
use crate::lease::{self, Ask, Device, Grant, Overdue, Shown, WriteAck};
use crate::registrar::{Binding, gruu, push};
use crate::sip::{Message, sdp};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{CallId, LegId, Refusal};

/// A call whose number is on its way to the disk.
pub(super) struct Granting {
    grant: Grant,
    id: GrantId,
    invite: Message,
    emergency: classify::Emergency,
}

impl Granting {
    /// Where it will go; `None`: to the test line.
    pub(super) fn trunks_mut(&mut self) -> Option<&mut Vec<TrunkIdx>> {
        match &mut self.emergency.action {
            RouteAction::Trunks(trunks) => Some(trunks),
            RouteAction::TestLine => None,
        }
    }
}

impl Calls {
    pub(super) fn start_emergency(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        emergency: classify::Emergency,
    ) {
        let grant = match self.grant(parts, invite, flow, &emergency) {
            Ok(grant) => grant,
            Err(refusal) => {
                let classify::Emergency { kind, caller, service, country, source, .. } = emergency;
                let (user, place) = (Some(caller.aor), source.map(|source| (country, source)));
                let dialled = service.number;
                return self.turn_away(
                    parts,
                    server,
                    invite,
                    flow,
                    Refused { kind, user, called_back: None, dialled, refusal, place },
                );
            }
        };
        let (number, kind, is_pbx) = (grant.number(), emergency.kind, emergency.caller.pbx.is_some());
        let call = Call {
            user: Some(emergency.caller.aor.clone()),
            number: Some(number),
            country: Some(emergency.country),
            country_source: emergency.source,
            dialled: emergency.service.number.clone(),
            shared: grant.kind() == lease::Kind::Overflow,
            note: emergency.note.clone(),
            ..Call::new(kind, parts.context.now)
        };
        let opening = opening(parts, invite, &emergency);
        let (stage, grant) = self.granting(grant, invite.clone(), emergency);
        let id = self.admit(parts, Call { stage, ..call }, server, invite, flow, is_pbx);
        self.tell_dialled(id, Some(number), invite);
        self.await_grant(parts, id, grant);
        let hub = self.calls.get(id).map(Call::hub);
        if let (Some(opening), Some(from)) = (opening, hub) {
            // While the disk writes; the attempt finds it ready.
            self.open_session(parts, id, Some(Opening { from, ..opening }), || Resume::Target);
        }
    }

    /// For somebody on site (47 CFR 9.16). Told before anything waits, it waits for nothing.
    pub(super) fn tell_dialled(&mut self, id: CallId, number: Option<E164>, invite: &Message) {
        if let Some(history) = self.history(id) {
            self.reports.push(Report::Dialled(Box::new(Dialled::new(history, number, invite))));
        }
    }

    /// Hands the row of a grant to the store; the stage of a call that waits for it.
    pub(super) fn granting(
        &mut self,
        grant: Grant,
        invite: Message,
        emergency: classify::Emergency,
    ) -> (Stage, GrantId) {
        let id = GrantId(self.next_grant);
        self.next_grant += 1;
        self.writes.push((id, grant.row()));
        if let Some(note) = emergency.note.clone() {
            self.reports.push(Report::Rerouted { note });
        }
        if grant.kind() != lease::Kind::Pooled {
            self.reports.push(Report::PoolExhausted { number: grant.number(), kind: grant.kind() });
        }
        (Stage::Granting(Box::new(Granting { grant, id, invite, emergency })), id)
    }

    pub(super) fn await_grant(&mut self, parts: &Parts<'_>, id: CallId, grant: GrantId) {
        self.granting.insert(grant, id);
        self.wake(parts.context.now + parts.config.store.write_deadline, id, Alarm::Write);
    }

    /// The number for the call; an error only for a test call, while numbers are scarce or its user makes too many.
    pub(super) fn grant(
        &mut self,
        parts: &mut Parts<'_>,
        invite: &Message,
        flow: Flow,
        emergency: &classify::Emergency,
    ) -> Result<Grant, Refusal> {
        let now = parts.context.now;
        let is_test = emergency.kind == Kind::Test;
        if is_test && let Some(refusal) = self.too_many_tests(parts, &emergency.caller.aor) {
            return Err(refusal);
        }
        let classify::Caller { aor, resource, number, .. } = &emergency.caller;
        let device = device_of(parts, invite, flow, &emergency.caller);
        let config = parts.config.clone();
        let ask = Ask {
            user: aor.as_str(),
            device: &device,
            resource: &resource.name,
            country: emergency.country,
            pool_country: emergency.pool_country,
            own: *number,
            // `classify` lets nobody through whose resource has none (SPEC §2).
            overflow: config.overflow(resource).ok_or_else(|| Refusal::new(403))?,
        };
        let grant = if is_test { parts.leases.acquire_test(now, &ask) } else { Some(parts.leases.acquire(now, &ask)) };
        if is_test && grant.is_some() {
            self.quota.count(now, aor);
        }
        parts.trace.note(|| match &grant {
            Some(grant) => {
                let pool = parts.config.pools.iter().find(|pool| pool.contains(grant.number()));
                let from = pool.map_or_else(|| grant.kind().as_str().to_owned(), |pool| format!("pool {}", pool.name));
                format!("The temporary number is {}, from {from}: on disk before the call leaves", grant.number())
            }
            None => "No number is free for a test call".to_owned(),
        });
        let scarce = || Refusal::warn(503, "No number is free for a test call; emergency calls come first");
        grant.ok_or_else(|| Refusal { retry_after: Some(60), ..scarce() })
    }

    /// RFC 6881 ED-82: repeated tests are refused with 486 (which, other than 503, sends no phone to another server).
    fn too_many_tests(&mut self, parts: &Parts<'_>, aor: &Aor) -> Option<Refusal> {
        let limit = parts.config.lease.tests_per_hour;
        let wait = self.quota.wait(parts.context.now, limit, aor)?;
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        parts.trace.note(|| format!("{aor} has made the {limit} test calls of an hour ([lease] tests_per_hour)"));
        let refusal = Refusal::warn(486, format!("Too many test calls: {limit} in an hour are allowed"));
        Some(Refusal { retry_after: Some(seconds), ..refusal })
    }

    /// The store answered for the row of a call.
    pub fn stored(&mut self, parts: &mut Parts<'_>, grant: GrantId, is_durable: bool) {
        let Some(id) = self.granting.remove(&grant) else { return };
        self.show(parts, id, |grant| match is_durable {
            true => grant.durable(WriteAck::stored()),
            false => grant.volatile(Overdue::Fault),
        });
    }

    /// The store took too long: the call goes out on a lease in memory, with an alarm.
    pub(super) fn write_overdue(&mut self, parts: &mut Parts<'_>, id: CallId) {
        self.show(parts, id, |grant| grant.volatile(Overdue::Deadline));
    }

    fn show(&mut self, parts: &mut Parts<'_>, id: CallId, prove: impl FnOnce(Grant) -> Shown) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if !matches!(call.stage, Stage::Granting(_)) {
            return;
        }
        let Stage::Granting(granting) = std::mem::replace(&mut call.stage, Stage::Bridged) else { return };
        let Granting { grant, id: grant_id, invite, emergency } = *granting;
        self.granting.remove(&grant_id);
        let shown = prove(grant);
        if let Some(why) = shown.overdue() {
            call.decide(parts, format!("The disk {}: the number is in memory only", why.in_words()));
            self.reports.push(Report::VolatileGrant { number: shown.number(), why });
        }
        match &emergency.action {
            RouteAction::TestLine => self.answer_test(parts, id, shown, &invite),
            RouteAction::Trunks(trunks) => {
                let trunks = trunks.clone();
                let dialling = Dialling::emergency(parts, shown, emergency, invite, trunks);
                self.start_dialling(parts, id, dialling);
            }
        }
    }
}

/// What the first trunk will be offered.
fn opening(parts: &Parts<'_>, invite: &Message, emergency: &classify::Emergency) -> Option<Opening> {
    let RouteAction::Trunks(trunks) = &emergency.action else { return None };
    let mode = parts.config.trunk(*trunks.first()?)?.media;
    let original = invite.slice(invite.body().get(sdp::locate(invite)?)?);
    let classify::Caller { aor, number, .. } = &emergency.caller;
    let bare = Secrets::of(invite, Some(aor), *number).remove_from(&original);
    let from = LegId::default();
    Some(Opening { from, mode, protocol: Protocol::Udp, is_ipv4: true, original, bare })
}

/// What is needed to ring the calling device again (SPEC §6): its registration, else what the INVITE says, else where the INVITE
/// came from.
fn device_of(parts: &Parts<'_>, invite: &Message, flow: Flow, caller: &classify::Caller) -> Device {
    if let Some(pbx) = caller.pbx.and_then(|pbx| parts.config.pbx(pbx)) {
        return super::pbx::device_of(pbx, &caller.aor, flow);
    }
    let is_kept = |value: &&[u8]| !value.is_empty() && value.len() <= limits::KEPT_VALUE_BYTES;
    let contact = invite.contact();
    let uri = contact.as_ref().map(|contact| contact.uri).filter(is_kept).map(CompactString::from_utf8_lossy);
    let uri = uri.unwrap_or_else(|| format_compact!("sip:{}@{}", caller.aor.user(), flow.remote));
    let instance = contact.as_ref().and_then(|contact| gruu::instance(contact.params)).filter(is_kept);
    let own = push::parameters(uri.as_bytes());
    let registered =
        |binding: &Binding| if own.is_empty() { push::parameters(binding.contact().as_bytes()) } else { own.clone() };
    if let Some(binding) = parts.registrar.named(&caller.aor, uri.as_bytes()) {
        return Device { flow, ..super::ring::device_of(binding) };
    }
    if let Some(instance) = instance {
        let mut bindings = parts.registrar.bindings(&caller.aor).iter();
        let push =
            bindings.find(|binding| binding.instance() == Some(instance)).map_or_else(|| own.clone(), registered);
        return Device { key: CompactString::from_utf8_lossy(instance), contact: uri, push, flow };
    }
    match binding_of(parts, uri.as_bytes(), &flow, &caller.aor) {
        Some(binding) => Device { flow, push: registered(binding), ..super::ring::device_of(binding) },
        None => Device { key: uri.clone(), contact: uri, push: own, flow },
    }
}

/// The registration of the phone at `contact`: by that, else the only one on the flow, where it has registered under another name.
/// A flow from a proxy is that of many phones.
fn binding_of<'a>(parts: &Parts<'a>, contact: &[u8], flow: &Flow, user: &Aor) -> Option<&'a Binding> {
    let on_flow = || parts.registrar.listed(user).iter().filter(|binding| binding.is_on(flow));
    let is_sole = || on_flow().count() == 1 && parts.registrar.users_on_flow(flow).count() == 1;
    phone_at(parts, contact, flow, user).or_else(|| on_flow().next().filter(|_| is_sole()))
}
