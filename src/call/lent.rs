//! Calls to a temporary number, and to a user's own number that was lent as one because nothing else was left (SPEC §3, §6).

use super::Parts;
use super::i3::is_esnet;
use crate::base::E164;
use crate::lease::{Kind, Lease, Leases};
use crate::sip::{Message, Name};

/// Who was given a number last: the lease of this node, or a newer one of another node (as of a shared number).
pub(super) enum Holder<'a> {
    Here(&'a Lease),
    Elsewhere(&'a Lease),
}

impl<'a> Holder<'a> {
    pub(super) fn of(parts: &'a Parts<'_>, number: E164) -> Option<Self> {
        let here = parts.leases.find(number);
        let elsewhere = parts.elsewhere.find(parts.context.now, parts.config.lease.quarantine, number);
        match (here, elsewhere) {
            (Some(here), Some(elsewhere)) if elsewhere.dialled > here.dialled => Some(Self::Elsewhere(elsewhere)),
            (Some(here), _) => Some(Self::Here(here)),
            (None, elsewhere) => elsewhere.map(Self::Elsewhere),
        }
    }

    pub(super) fn lease(&self) -> &'a Lease {
        match self {
            Self::Here(lease) | Self::Elsewhere(lease) => lease,
        }
    }
}

/// A callback is up on the number, and renews its lease (SPEC §3); that of another node here too, which hears of it. False where that
/// one is shared, or nobody has the number.
pub(super) fn call_up(parts: &mut Parts<'_>, number: E164) -> bool {
    let theirs = match Holder::of(parts, number) {
        Some(Holder::Elsewhere(lease)) => lease.clone(),
        Some(Holder::Here(_)) | None => return parts.leases.call_up(number),
    };
    let has_own = |leases: &Leases| leases.find(number).is_some_and(|own| own.user == theirs.user);
    let is_counted = (parts.leases.adopt(&theirs) || has_own(parts.leases)) && parts.leases.call_up(number);
    if is_counted {
        parts.leases.renew(parts.context.now, number);
    }
    is_counted
}

/// True when the call of a trunk to this number is a callback: the number is leased, or rests. Where it was lent and is a user's
/// own, an ordinary call is for that user: only what says that it is a callback is one (RFC 7090, RFC 7135).
pub(super) fn is_callback(parts: &Parts<'_>, invite: &Message, number: E164) -> bool {
    let Some(lease) = Holder::of(parts, number).map(|holder| holder.lease()) else { return false };
    let owner = parts.config.user_by_number(number).filter(|_| lease.kind == Kind::Overflow);
    owner.is_none_or(|owner| owner.aor.as_str() == lease.user || says_callback(invite))
}

/// True for a number that only trunks may call (SPEC §6). A user's own number is not one, though an emergency call has shown it.
pub(super) fn is_for_trunks(parts: &Parts<'_>, number: E164) -> bool {
    Holder::of(parts, number).is_some() && parts.config.user_by_number(number).is_none()
}

fn says_callback(invite: &Message) -> bool {
    let is_psap = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"psap-callback");
    invite.values(Name::Priority).any(is_psap) || invite.values(Name::ResourcePriority).any(is_esnet)
}
