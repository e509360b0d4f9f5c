//! Who sends an INVITE: a user on the flow it registered from, a user with credentials, a trunk, or nobody we know
//! (SPEC §2; CONFORMANCE AU-1, AU-2).

use super::Parts;
use crate::config::{Aor, TrunkIdx};
use crate::registrar::Verdict;
use crate::sip::{Message, Uri};
use crate::transport::Flow;

/// The sender of an INVITE.
pub(super) enum Sender {
    /// Registered on this very flow, or proven by digest.
    User(Aor),
    Trunk(TrunkIdx),
    Unknown {
        /// The nonce was ours but old: the credentials may be right.
        stale: bool,
        /// Credentials came, and were wrong.
        wrong: bool,
        /// Somebody is registered from the same source address, whoever this is.
        live_source: Option<Aor>,
    },
}

pub(super) fn identify(parts: &mut Parts<'_>, invite: &Message, flow: &Flow) -> Sender {
    let from = Uri::parse(invite.from().uri).ok().and_then(|uri| aor_of(parts, &uri));
    // AU-2: a registered flow is an authenticated one; a call on it is not delayed by a challenge.
    if let Some(aor) = &from
        && parts.registrar.binding_on_flow(flow, aor).is_some()
    {
        return Sender::User(aor.clone());
    }
    if let Some(trunk) = trunk_on(parts, flow) {
        return Sender::Trunk(trunk);
    }
    let config = parts.config.clone();
    match parts.auth.verify(parts.context.now, invite, &config) {
        Verdict::Ok(aor) => Sender::User(aor),
        Verdict::Missing => match sole_user_on(parts, flow) {
            // The phone hides its name (anonymous From), but only one user is registered over this flow.
            Some(aor) => Sender::User(aor),
            None => Sender::Unknown { stale: false, wrong: false, live_source: None },
        },
        Verdict::Stale => Sender::Unknown { stale: true, wrong: false, live_source: None },
        Verdict::Wrong => Sender::Unknown { stale: false, wrong: true, live_source: live_user_on(parts, flow) },
    }
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
fn trunk_on(parts: &Parts<'_>, flow: &Flow) -> Option<TrunkIdx> {
    let certified = parts.config.trunk_certified(parts.context.streams.identities(flow));
    certified.or_else(|| parts.config.trunk_accepting(flow.remote))
}

fn live_user_on(parts: &Parts<'_>, flow: &Flow) -> Option<Aor> {
    parts.registrar.users_on_flow(flow).next().cloned()
}

fn sole_user_on(parts: &Parts<'_>, flow: &Flow) -> Option<Aor> {
    let mut users = parts.registrar.users_on_flow(flow);
    let first = users.next()?;
    users.next().is_none().then(|| first.clone())
}
