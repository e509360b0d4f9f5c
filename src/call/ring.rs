//! In to a user's devices: ordinary calls ring all of them, a callback the one that called first (SPEC §5, §6).

use std::net::SocketAddr;
use std::time::Duration;

use compact_str::{CompactString, format_compact};

use super::callback::is_refusal_of_a_person;
use super::dial::for_caller;
use super::history::{Attempt, Kind, Outcome};
use super::media::{Opening, Resume, Start};
use super::routing::flow_to_uri;
use super::{Call, Calls, Parts, Stage, classify};
use crate::base::{Instant, limits};
use crate::config::Aor;
use crate::lease::Device;
use crate::registrar::{Binding, push};
use crate::sip::{Lines, Message, Name, Scheme, Uri, sdp};
use crate::transaction::ServerId;
use crate::transport::{Flow, Place};
use crate::trunk::TargetId;
use crate::ua::{CallId, Content, Invitation, LegId, Refusal};

/// A phone that has sent nothing at all in this time is taken for dead or asleep.
const PHONE_WAIT: Duration = Duration::from_secs(2);

/// A call on its way to phones.
pub(super) struct Ringing {
    pub(super) invite: Message,
    pub(super) user: Aor,
    /// Only this phone of the user (RFC 5627 §6.1).
    instance: Option<CompactString>,
    /// Only phones under TLS: the caller has asked for a sips URI (RFC 5630 §3.1.4). Never of a callback.
    is_secure: bool,
    /// A callback: it holds for a phone that is offline, until then.
    pub(super) hold: Option<Hold>,
    /// The refusal worth telling, when all have refused.
    best: Option<Refusal>,
    /// Who was offered more than a session description.
    dressed: Vec<Resumed>,
    /// Contacts that refused it, and get the description alone.
    bare: Vec<CompactString>,
}

/// What a callback remembers while it looks for its phone.
pub(super) struct Hold {
    pub(super) until: Instant,
    /// The device that made the emergency call.
    pub(super) origin: Device,
    pub(super) others_rung: bool,
    /// The device that called, or the user for all devices, has said no.
    pub(super) refused: Option<Refusal>,
    /// The device that called does not ring, as it has said last: somebody else may.
    pub(super) unwilling: Option<Refusal>,
    /// When the device that called is tried again.
    pub(super) redial_due: Option<Instant>,
    /// 182 has been said.
    pub(super) queued: bool,
    /// The last resort was tried.
    pub(super) desk_rung: bool,
    /// Other nodes were asked for the device that called.
    pub(super) neighbours_asked: bool,
}

impl Ringing {
    pub(super) fn new(invite: Message, user: Aor, hold: Option<Hold>) -> Self {
        let (dressed, bare) = (Vec::new(), Vec::new());
        Self { invite, user, instance: None, is_secure: false, hold, best: None, dressed, bare }
    }

    /// What a device is offered, of all that there is.
    fn dress(&mut self, content: Option<Content>, to: Resumed) -> Option<Content> {
        if self.bare.contains(&to.device.contact) {
            return content.and_then(Content::bare);
        }
        if content.as_ref().is_some_and(|content| !content.is_bare()) {
            self.dressed.retain(|known| (&known.device.contact, known.flow) != (&to.device.contact, to.flow));
            self.dressed.push(to);
        }
        content
    }

    /// Who refused with this status what it was offered, and may take the description alone (RFC 5621 §4.2).
    fn undress(&mut self, contact: &str, status: u16) -> Option<Resumed> {
        if !matches!(status, 400 | 413 | 415 | 424 | 488 | 513 | 606) {
            return None;
        }
        let at = self.dressed.iter().position(|dressed| dressed.device.contact == contact)?;
        self.bare.push(contact.into());
        Some(self.dressed.swap_remove(at))
    }

    /// Nobody has heard it: what stood beside the description may be why.
    pub(super) fn undress_all(&mut self) {
        self.bare.extend(self.dressed.drain(..).map(|dressed| dressed.device.contact));
    }

    pub(super) fn is_holding(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.queued)
    }
}

/// A device that is called when its offer is there.
pub(super) struct Resumed {
    pub(super) device: Device,
    flow: Flow,
    target: Option<(TargetId, Place)>,
}

/// What is offered to a device; `None`: nothing.
fn opening(ringing: &Ringing, from: LegId, flow: Flow) -> Option<Opening> {
    let invite = &ringing.invite;
    let original = invite.slice(invite.body().get(sdp::locate(invite)?)?);
    let is_ipv4 = flow.remote.ip().to_canonical().is_ipv4();
    Some(Opening { from, mode: None, protocol: flow.protocol, is_ipv4, original, bare: None })
}

impl Calls {
    /// A device whose offer is there, or is not to be had.
    pub(super) fn ring_resumed(&mut self, parts: &mut Parts<'_>, id: CallId, resumed: Resumed) {
        let Resumed { device, flow, target } = resumed;
        self.ring_at(parts, id, &device, flow, target);
        let Some(call) = self.calls.get(id).filter(|call| call.is_alone()) else { return };
        match &call.stage {
            Stage::Ringing(ringing) if ringing.hold.is_some() => self.look_on_if_alone(parts, id),
            Stage::Ringing(_) => self.refuse_caller(parts, id, &Refusal::new(480), Outcome::Unanswered),
            _ => {}
        }
    }

    /// A call that rings a user as any phone would: all devices at once.
    pub(super) fn start_ordinary(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        ordinary: classify::Ordinary,
    ) {
        let now = parts.context.now;
        let dialled = format_compact!("{}", ordinary.callee);
        let ringing = Ringing::new(invite.clone(), ordinary.callee.clone(), None);
        let is_secure = Uri::parse(invite.request_uri()).is_ok_and(|uri| uri.scheme == Scheme::Sips);
        let ringing = Ringing { instance: ordinary.instance, is_secure, ..ringing };
        let call = Call {
            user: Some(ordinary.callee.clone()),
            dialled,
            stage: Stage::Ringing(Box::new(ringing)),
            ..Call::new(ordinary.kind, now)
        };
        let id = self.admit(parts, call, server, invite, flow, ordinary.trunk.is_some() || ordinary.is_pbx);
        self.sign_caller(parts, id, ordinary.trunk);
        self.ring_all(parts, id);
        if self.calls.get(id).is_some_and(Call::is_alone) {
            let is_away = parts.registrar.bindings(&ordinary.callee).is_empty();
            let why = if is_away || !is_secure { "The user is not registered" } else { Refusal::SIPS_NOT_ALLOWED };
            self.refuse_caller(parts, id, &Refusal::warn(480, why), Outcome::Unanswered);
        }
    }

    /// Rings every registered device that is not ringing already.
    pub(super) fn ring_all(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let is_safe = |binding: &&Binding| !ringing.is_secure || binding.flow.protocol.is_secure();
        let bindings: Vec<&Binding> = parts.registrar.bindings(&ringing.user).iter().filter(is_safe).collect();
        // RFC 5626 §7: of one phone with several flows only one is tried at a time.
        let is_first =
            |(at, binding): &(usize, &&Binding)| !bindings.iter().take(*at).any(|before| before.is_beside(binding));
        let is_wanted = |binding: &&&Binding| ringing.instance.as_deref().is_none_or(|wanted| binding.is_of(wanted));
        let devices = bindings.iter().enumerate().filter(is_first).map(|(_, binding)| binding);
        let devices: Vec<Device> = devices.filter(is_wanted).map(|binding| device_of(binding)).collect();
        for device in devices {
            self.ring(parts, id, &device);
        }
    }

    /// The phone behind `contact` could not be reached over the flow that was tried: the next of its flows that was not
    /// (RFC 5626 §7).
    fn ring_next_flow(&mut self, parts: &mut Parts<'_>, id: CallId, contact: &str) -> bool {
        let Some(call) = self.calls.get(id) else { return false };
        let Stage::Ringing(ringing) = &call.stage else { return false };
        let bindings = parts.registrar.bindings(&ringing.user);
        let Some(tried) = bindings.iter().find(|binding| binding.contact() == contact) else { return false };
        let is_safe = |binding: &Binding| {
            (!ringing.is_secure || binding.flow.protocol.is_secure())
                && !parts.trunks.would_take_datagrams_of(&binding.flow)
        };
        let is_flow =
            |binding: &&Binding| std::ptr::eq(*binding, tried) || (tried.is_beside(binding) && is_safe(binding));
        let is_of_phone = |target: &CompactString| bindings.iter().filter(is_flow).any(|flow| flow.contact() == target);
        let attempts = call.attempts.iter().filter(|attempt| is_of_phone(&attempt.target)).count();
        match bindings.iter().filter(is_flow).nth(attempts).map(device_of) {
            Some(next) => {
                self.ring(parts, id, &next);
                true
            }
            None => false,
        }
    }

    /// Sends an INVITE to one device, over its flow; over a new connection where that is gone.
    pub(super) fn ring(&mut self, parts: &mut Parts<'_>, id: CallId, device: &Device) {
        // A row of the store, from before a trunk was there.
        if parts.trunks.would_take_datagrams_of(&device.flow) {
            tracing::warn!(flow = %device.flow, "a phone registered where a trunk is, and is not rung");
            return;
        }
        let flow = match (device.flow.protocol.is_reliable(), device.flow.connection) {
            // Its connection is lost: perhaps it listens where its contact says (CONFORMANCE NA-2).
            (true, None) => {
                let listens = flow_to_uri(parts.config, device.contact.as_bytes());
                listens.filter(|flow| may_listen(parts, flow.remote, device.flow.remote)).unwrap_or(device.flow)
            }
            (_, _) => device.flow,
        };
        self.ring_at(parts, id, device, flow, None);
    }

    /// Sends an INVITE to a device over `flow`; `target`: it is a PBX, whose own word counts on where it is.
    pub(super) fn ring_at(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        device: &Device,
        flow: Flow,
        target: Option<(TargetId, Place)>,
    ) {
        let Some(call) = self.calls.get(id) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        let (is_full, most) = (call.attempts.len() >= limits::ATTEMPTS_PER_CALL, limits::BINDINGS_PER_USER);
        if is_full && (ringing.hold.is_none() || call.branches.len() >= most) {
            return;
        }
        let opening = opening(ringing, call.caller, flow);
        let resumed = || Resume::Ring(Box::new(Resumed { device: device.clone(), flow, target }));
        let Start::Now(session) = self.open_session(parts, id, opening, resumed) else { return };
        let Some(call) = self.calls.get(id) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        let Some(local) = parts.ua.settings().locals.get(usize::from(flow.listener.0)).cloned() else { return };
        let caller = caller_identity(parts, &ringing.invite, call.kind, &local.host);
        let to = match target {
            Some(_) => format_compact!("<{}>", device.contact),
            None => format_compact!("<{}>", ringing.user),
        };
        let path = path_to(parts, &ringing.user, device);
        let invitation = Invitation {
            flow,
            follows_target: target.is_some(),
            request_uri: device.contact.as_bytes(),
            from: caller.from.as_bytes(),
            to: to.as_bytes(),
            contact_user: &caller.user,
            path,
            account: None,
        };
        let leg = parts.ua.prepare(&mut parts.context, id, &invitation);
        let (invite, kind, from) = (ringing.invite.clone(), call.kind, call.caller);
        self.open_media(id, leg, None);
        self.adopt(session, leg);
        let passage = self.passage_of(parts, from, leg, &invite);
        let Ok(content) = parts.ua.relayed(leg, &invite, |description| passage.edit(description)) else {
            parts.ua.discard(leg);
            return;
        };
        let mut lines = Lines::default();
        if kind == Kind::Callback {
            // RFC 7090 §5: the leased number proves what this call is (SPEC §6).
            lines.push(b"Priority", b"psap-callback");
            // RFC 7135 §2: of a PSAP whose trunk we trust; anybody else's never gets here.
            for value in invite.values(Name::ResourcePriority).filter(|value| super::i3::is_esnet(value)) {
                lines.push(b"Resource-Priority", value);
            }
        }
        let Some(Call { stage: Stage::Ringing(ringing), .. }) = self.calls.get_mut(id) else { return };
        let content = ringing.dress(content, Resumed { device: device.clone(), flow, target });
        let answers_early = content.is_none() && invite.extensions().reliable;
        let attempt = Attempt {
            trunk: CompactString::default(),
            target: device.contact.clone(),
            status: 0,
            started_at: parts.context.now,
            ended_at: None,
            location_error: None,
        };
        self.launch(parts, id, leg, attempt, PHONE_WAIT, target);
        parts.ua.invite(&mut parts.context, leg, &lines, content.as_ref(), answers_early);
    }

    /// A device refused, or could not be reached.
    pub(super) fn device_failed(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        device: &str,
        refusal: &Refusal,
        has_rung: bool,
    ) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Ringing(ringing) = &mut call.stage else { return };
        if ringing.best.as_ref().is_none_or(|best| rank(refusal.status) < rank(best.status)) {
            ringing.best = Some(refusal.clone());
        }
        let best = ringing.best.clone();
        let is_flow_failure = ringing.hold.is_none() && matches!(refusal.status, 408 | 430 | 503);
        if let Some(Resumed { device, flow, target }) = ringing.undress(device, refusal.status) {
            self.ring_at(parts, id, &device, flow, target);
            if self.calls.get(id).is_some_and(|call| !call.is_alone()) {
                return;
            }
        }
        if is_flow_failure && self.ring_next_flow(parts, id, device) {
            return;
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Ringing(ringing) = &mut call.stage else { return };
        if ringing.hold.is_some() {
            self.callback_branch_failed(parts, id, device, refusal, has_rung);
        } else if call.is_alone() {
            let best = best.unwrap_or(Refusal::new(480));
            let outcome = if is_refusal_of_a_person(best.status) { Outcome::Refused } else { Outcome::Unanswered };
            self.refuse_caller(parts, id, &for_caller(best), outcome);
        }
    }

    /// A device has not even said 100: a callback looks further, any other call tries its next flow.
    pub(super) fn device_silent(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let Some(call) = self.calls.get(id) else { return };
        let Call { stage: Stage::Ringing(ringing), branches, attempts, .. } = call else { return };
        if call.for_neighbour && branches.iter().all(|branch| !branch.alerting) {
            // It need not wait for this one (RFC 3261 §21.1.4).
            parts.ua.progress(&mut parts.context, call.caller, 182, None, None);
        }
        if ringing.hold.is_some() {
            self.neighbour_silent(parts, id, leg);
            return self.origin_silent(parts, id);
        }
        let branch = branches.iter().find(|branch| branch.leg == leg);
        let Some(contact) = branch.and_then(|branch| attempts.get(branch.attempt)).map(|tried| tried.target.clone())
        else {
            return;
        };
        if self.ring_next_flow(parts, id, &contact) {
            self.close_branch(parts, id, leg, 408);
            parts.ua.hang_up(&mut parts.context, leg, None);
            parts.ua.orphan(leg);
        }
    }
}

/// The proxies on the way to a device. Flows of one phone through several may have one contact (RFC 5626 §4.2.1).
fn path_to<'a>(parts: &Parts<'a>, user: &Aor, device: &Device) -> &'a str {
    let bindings = parts.registrar.bindings(user).iter();
    let at_contact = bindings.filter(|binding| binding.contact() == device.contact);
    at_contact.min_by_key(|binding| !binding.is_on(&device.flow)).map_or("", Binding::path)
}

/// True when a phone that registered from `source` may be looked for at `contact`: on the same host (all of 127/8 is one),
/// and not where a trunk is, which would take our INVITE for a call of ours to any number.
fn may_listen(parts: &Parts<'_>, contact: SocketAddr, source: SocketAddr) -> bool {
    let (there, here) = (contact.ip(), source.ip());
    let is_same_host = there == here || (there.is_loopback() && here.is_loopback());
    let is_trunk = parts.config.trunk_accepting(contact).is_some() || parts.trunks.are_at(contact);
    is_same_host && !is_trunk
}

/// A final answer of a person ranks before one of a machine, a machine's before silence.
fn rank(status: u16) -> u8 {
    match status {
        600..=699 => 0,
        486 => 1,
        408 | 430 | 480 | 503 => 3,
        _ => 2,
    }
}

pub(crate) fn device_of(binding: &Binding) -> Device {
    let push = push::parameters(binding.contact().as_bytes());
    Device { key: key_of(binding), contact: binding.contact().into(), push, flow: binding.flow }
}

/// The key that tells devices of one user apart: the instance id, else the contact URI.
pub(super) fn key_of(binding: &Binding) -> CompactString {
    binding.instance().map_or_else(|| binding.contact().into(), CompactString::from_utf8_lossy)
}

struct CallerIdentity {
    from: CompactString,
    user: CompactString,
}

/// The From a phone sees: who calls, at our own host; nothing of the other leg's device.
fn caller_identity(parts: &Parts<'_>, invite: &Message, kind: Kind, host: &str) -> CallerIdentity {
    let from = invite.from();
    let uri = Uri::parse(from.uri).ok();
    let user = uri.as_ref().map(|uri| CompactString::from_utf8_lossy(uri.user)).unwrap_or_default();
    let is_plain =
        !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._~*#%".contains(&byte));
    let user = if is_plain { user } else { "anonymous".into() };
    let asserted = |name| invite.header(name).is_some();
    let host = match (&uri, kind) {
        // A user's address of record keeps its domain.
        (Some(uri), Kind::Internal) if !asserted(Name::Privacy) => {
            let domain = uri.host.text();
            if parts.config.sip.domains.contains(&domain) { domain } else { host.into() }
        }
        (Some(_) | None, _) => host.into(),
    };
    let display = CompactString::from_utf8_lossy(from.display);
    let name = match display.is_empty() {
        true => CompactString::default(),
        false => format_compact!("\"{}\" ", display.replace(['"', '\\', '\r', '\n'], "")),
    };
    CallerIdentity { from: format_compact!("{name}<sip:{user}@{host}>"), user }
}
