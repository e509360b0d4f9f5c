//! Who sends an INVITE: a user on the flow it registered from, a user with credentials, a trunk, a PBX, or nobody we know
//! (SPEC §2; CONFORMANCE AU-1, AU-2).

use super::Parts;
use super::classify::is_emergency;
use crate::base::limits;
use crate::config::{Aor, Config, PbxIdx, Trunk, TrunkIdx};
use crate::registrar::{Binding, Verdict};
use crate::sip::{Message, Name, NameAddr, Scheme, Uri};
use crate::transport::Flow;

/// Who calls from a PBX without a name.
const NAMELESS: &[u8] = b"unknown";

/// The sender of an INVITE.
pub(super) enum Sender {
    /// Registered on this very flow, or proven by digest.
    User(Aor),
    Trunk(TrunkIdx),
    /// Somebody behind a trusted PBX, under the identity it asserts.
    Pbx(PbxIdx, Aor),
    Unknown {
        /// The nonce was ours but old: the credentials may be right.
        stale: bool,
        /// Credentials came, and were wrong.
        wrong: bool,
        /// Somebody is registered from the same source address, whoever this is.
        live_source: Option<Aor>,
    },
}

impl Sender {
    /// For `explain`.
    pub fn in_words(&self, config: &Config) -> String {
        match self {
            Self::User(aor) => {
                let resource = config.user(aor).map(|user| user.resource.name.as_str()).unwrap_or_default();
                format!("The caller is {aor} of resource {resource}")
            }
            Self::Trunk(trunk) => {
                let name = config.trunk(*trunk).map(|trunk| trunk.name.as_str()).unwrap_or_default();
                format!("The call comes from trunk {name}")
            }
            Self::Pbx(pbx, aor) => {
                let name = config.pbx(*pbx).map(|pbx| pbx.name.as_str()).unwrap_or_default();
                format!("The call comes from PBX {name} for {aor}")
            }
            Self::Unknown { wrong: true, .. } => "The caller has shown wrong credentials".to_owned(),
            Self::Unknown { .. } => "The caller has not shown who it is: it is challenged, or refused".to_owned(),
        }
    }
}

pub(super) fn identify(parts: &mut Parts<'_>, invite: &Message, flow: &Flow) -> Sender {
    let from = Uri::parse(invite.from().uri).ok().and_then(|uri| aor_of(parts, &uri));
    // AU-2: a registered flow is an authenticated one; a call on it is not delayed by a challenge.
    if let Some(aor) = &from
        && parts.registrar.binding_on_flow(flow, aor).is_some()
    {
        return Sender::User(aor.clone());
    }
    if let Some(trunk) = trunk_on(parts, flow).filter(|_| !dials_for_help(parts, invite, flow)) {
        return Sender::Trunk(account_called(parts, invite, flow).unwrap_or(trunk));
    }
    if let Some(pbx) = parts.config.pbx_accepting(flow.remote, parts.context.streams.identities(flow))
        && let Some(identity) = identity_at(parts, pbx, invite)
    {
        return Sender::Pbx(pbx, identity);
    }
    let config = parts.config.clone();
    match parts.auth.verify(parts.context.now, invite, flow.remote.ip(), &config) {
        Verdict::Ok(aor) => Sender::User(aor),
        Verdict::Missing => match sole_user_on(parts, flow) {
            // The phone hides its name (anonymous From), but only one user is registered over this flow.
            Some(aor) => Sender::User(aor),
            None => Sender::Unknown { stale: false, wrong: false, live_source: None },
        },
        Verdict::Stale => Sender::Unknown { stale: true, wrong: false, live_source: None },
        Verdict::Wrong => Sender::Unknown { stale: false, wrong: true, live_source: live_user_on(parts, invite, flow) },
    }
}

/// True when somebody in the network of a trunk, who is not that trunk as far as we know, dials an emergency or a test number: a
/// phone or a PBX, since trunks bring no calls to those (SPEC §10).
fn dials_for_help(parts: &Parts<'_>, invite: &Message, flow: &Flow) -> bool {
    let is_trunk = || {
        parts.config.trunk_certified(parts.context.streams.identities(flow)).is_some()
            || parts.trunks.is_trunk_at(flow.remote)
    };
    let is_help = || is_emergency(parts, invite, None) || parts.countries.is_reserved(invite.request_uri());
    is_help() && !is_trunk()
}

/// Who calls from a PBX: the PBX and the identity it asserts, else that of From (SPEC §2, RFC 3325 §9.1).
fn identity_at(parts: &Parts<'_>, pbx: PbxIdx, invite: &Message) -> Option<Aor> {
    let domain = parts.config.pbx(pbx)?.domain.as_bytes();
    let asserted = invite.values(Name::PAssertedIdentity).filter_map(|value| Some(NameAddr::parse(value).ok()?.uri));
    let mut uris = asserted.chain([invite.from().uri]).filter_map(|uri| Uri::parse(uri).ok());
    let named = uris.find_map(|uri| match uri.scheme {
        Scheme::Sip | Scheme::Sips => {
            let user = uri.user.split(|byte| *byte == b';').next().unwrap_or_default();
            Aor::from_parts(user, domain).filter(|_| user.len() <= limits::KEPT_VALUE_BYTES)
        }
        Scheme::Tel => {
            let number = uri.unescaped_user();
            let number = number.split(|byte| *byte == b';').next().unwrap_or_default();
            let digits: Vec<u8> = number.iter().copied().filter(|byte| !b"-.()".contains(byte)).collect();
            Aor::from_parts(&digits, domain).filter(|_| digits.len() <= limits::KEPT_VALUE_BYTES)
        }
        Scheme::Urn | Scheme::Other => None,
    });
    named.or_else(|| Aor::from_parts(NAMELESS, domain))
}

/// The user a URI names, spelt as the configuration spells it.
pub(super) fn aor_of(parts: &Parts<'_>, uri: &Uri<'_>) -> Option<Aor> {
    if !uri.is_sip() {
        return None;
    }
    let aor = Aor::from_uri(uri)?;
    parts.config.user_served(&aor).map(|user| user.aor.clone())
}

/// The trunk at the other end of a flow: by its certificate, else by its address (RFC 5922 §7.4).
pub(super) fn trunk_on(parts: &Parts<'_>, flow: &Flow) -> Option<TrunkIdx> {
    let certified = parts.config.trunk_certified(parts.context.streams.identities(flow));
    certified.or_else(|| parts.trunks.accepts(flow.protocol, flow.remote))
}

/// Of several accounts at the registrar that calls, the one whose Contact is called (RFC 3261 §10.2).
fn account_called(parts: &Parts<'_>, invite: &Message, flow: &Flow) -> Option<TrunkIdx> {
    let uri = Uri::parse(invite.request_uri()).ok()?;
    let user = uri.unescaped_user();
    let is_called = |trunk: &TrunkIdx| {
        let ours = parts.config.trunk(*trunk).and_then(Trunk::registered_user);
        ours.is_some_and(|ours| *user == *ours.as_bytes())
    };
    parts.trunks.all_registered_at(flow.protocol, flow.remote).find(is_called)
}

/// Somebody who is registered on the flow: whose phone has this Contact, else whose name From has, else anybody.
fn live_user_on(parts: &Parts<'_>, invite: &Message, flow: &Flow) -> Option<Aor> {
    let (contact, from) = (invite.contact(), Uri::parse(invite.from().uri).ok());
    let has_phone =
        |user: &&Aor| contact.as_ref().is_some_and(|contact| phone_at(parts, contact.uri, flow, user).is_some());
    let is_named = |user: &&Aor| from.as_ref().is_some_and(|from| *from.unescaped_user() == *user.user().as_bytes());
    let users = || parts.registrar.users_on_flow(flow);
    users().find(has_phone).or_else(|| users().find(is_named)).or_else(|| users().next()).cloned()
}

/// The registration of `user` over this flow under this contact.
pub(super) fn phone_at<'a>(parts: &Parts<'a>, contact: &[u8], flow: &Flow, user: &Aor) -> Option<&'a Binding> {
    let mut on_flow = parts.registrar.listed(user).iter().filter(|binding| binding.is_on(flow));
    on_flow.find(|binding| same_uri(binding.contact().as_bytes(), contact))
}

/// RFC 3261 §19.1.4.
fn same_uri(one: &[u8], other: &[u8]) -> bool {
    let matches = || Some(Uri::parse(one).ok()?.matches(&Uri::parse(other).ok()?));
    one == other || matches().unwrap_or(false)
}

fn sole_user_on(parts: &Parts<'_>, flow: &Flow) -> Option<Aor> {
    let mut users = parts.registrar.users_on_flow(flow);
    let first = users.next()?;
    users.next().is_none().then(|| first.clone())
}
