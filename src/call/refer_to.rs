//! Where a REFER asks a caller to be sent, and whether its trunk may send them there (RFC 3515 §2.1; CONFORMANCE RE-4).

use compact_str::CompactString;

use super::classify::digits_of;
use super::dialling::Wanted;
use super::{Call, Parts};
use crate::config::{NumberKind, RouteAction, TransferTo, TrunkIdx};
use crate::geo::{Dialled, Wishes};
use crate::sip::uri::requestable;
use crate::sip::{NameAddr, Replaces, Scheme, Uri};
use crate::ua::{LegId, Refusal};

/// Who takes the caller over.
pub(super) enum Destination {
    /// Somebody to be called.
    Callee(Callee),
    /// The other party of the call that this leg is in (RFC 5589 §7).
    Leg(LegId),
}

/// Somebody to be called over trunks.
pub(super) struct Callee {
    pub trunks: Vec<TrunkIdx>,
    /// `None`: the emergency service `number`, `service`.
    pub wanted: Option<Wanted>,
    pub number: CompactString,
    pub service: Option<CompactString>,
    /// A dialog that lives there and is to be replaced.
    pub replaces: Option<Box<[u8]>>,
}

/// What `refer_to`, from `trunk`, means for `call`.
pub(super) fn destination(
    parts: &Parts<'_>,
    call: &Call,
    trunk: TrunkIdx,
    refer_to: &[u8],
) -> Result<Destination, Refusal> {
    let bad = || Refusal::warn(400, "Refer-To is not one address");
    let forbidden = || Refusal::warn(403, "The caller may not be transferred there: see transfer_to of the trunk");
    let address = NameAddr::parse(refer_to).map_err(|_| bad())?;
    let uri = Uri::parse(address.uri).map_err(|_| bad())?;
    if uri.params.value("method").is_some_and(|method| method != b"INVITE") {
        return Err(Refusal::warn(403, "Nothing but a call can be referred to"));
    }
    let replaces = uri.header("Replaces");
    let replaces = match replaces.as_deref().map(Replaces::parse) {
        Some(None) => return Err(bad()),
        Some(Some(named)) => Some(named),
        None => None,
    };
    if let Some(leg) = replaces.as_ref().and_then(|named| parts.ua.leg_named(named)) {
        return Ok(Destination::Leg(leg));
    }
    let replaces = replaces.map(|named| named.print().into());
    let digits = digits_of(&uri);
    let is_allowed = |digits: Option<&str>| may_transfer(parts, trunk, &uri, digits);
    let to_uri = |trunks: Vec<TrunkIdx>| {
        let plain = requestable(address.uri);
        let wanted = Some(Wanted::Uri(std::str::from_utf8(&plain).ok()?.into()));
        let place = Callee { trunks, wanted, number: CompactString::default(), service: None, replaces: None };
        Some(Destination::Callee(place))
    };
    let with_replaces = |destination| match destination {
        Destination::Callee(place) => Destination::Callee(Callee { replaces, ..place }),
        leg @ Destination::Leg(_) => leg,
    };
    let found = match (uri.scheme, serving(parts, call, trunk, &uri)) {
        (Scheme::Sip, Some(serving)) if is_allowed(digits.as_deref()) => to_uri(vec![serving]),
        (Scheme::Sip, Some(_)) => None,
        // Elsewhere: by way of the trunk that asks, if it is expressly allowed.
        (Scheme::Sip, None) if !is_ours(parts, &uri) => {
            let is_listed = parts.config.trunk(trunk).is_some_and(|trunk| trunk.transfer_to.is_some());
            if is_listed && is_allowed(None) { to_uri(vec![trunk]) } else { None }
        }
        (Scheme::Sip | Scheme::Tel | Scheme::Urn, _) => match emergency(parts, call, address.uri) {
            Some(place) => Some(Destination::Callee(place)),
            None => digits.filter(|digits| is_allowed(Some(digits))).map(|number| {
                let trunks = vec![trunk];
                Destination::Callee(Callee {
                    trunks,
                    wanted: Some(Wanted::Number),
                    number,
                    service: None,
                    replaces: None,
                })
            }),
        },
        (Scheme::Sips | Scheme::Other, _) => None,
    };
    found.map(with_replaces).ok_or_else(forbidden)
}

/// An emergency number, in any spelling: its route in the country of the call.
fn emergency(parts: &Parts<'_>, call: &Call, uri: &[u8]) -> Option<Callee> {
    let country = parts.config.serving(call.country?);
    let Dialled::Emergency(service) = parts.countries.classify(uri, Some(country), Wishes::default()) else {
        return None;
    };
    let (route, asked) = parts.config.route_or_instead(country, &service.number, service.kind)?;
    let RouteAction::Trunks(trunks) = &route.action else { return None };
    (service.kind == NumberKind::Emergency).then(|| Callee {
        trunks: trunks.clone(),
        wanted: None,
        number: asked.into(),
        service: Some(service.urn),
        replaces: None,
    })
}

/// The trunk that is at the host of `uri`: the one that asks, else one of the emergency routes of the call.
fn serving(parts: &Parts<'_>, call: &Call, own: TrunkIdx, uri: &Uri<'_>) -> Option<TrunkIdx> {
    let country = call.country.map(|country| parts.config.serving(country));
    let routes = parts.config.routes.iter().filter(|route| country.is_some_and(|own| route.countries.contains(&own)));
    let routed = routes.flat_map(|route| match &route.action {
        RouteAction::Trunks(trunks) => trunks.as_slice(),
        RouteAction::TestLine => &[],
    });
    std::iter::once(&own).chain(routed).copied().find(|trunk| is_at(parts, *trunk, uri))
}

/// True when `uri` is a target of the trunk, or a place its calls come from.
fn is_at(parts: &Parts<'_>, trunk: TrunkIdx, uri: &Uri<'_>) -> bool {
    let host = uri.host.text();
    let protocol = uri.transport().unwrap_or(crate::base::Protocol::Udp);
    let port = uri.port.unwrap_or(protocol.default_port());
    let address = uri.host.ip().map(|ip| (ip, port).into());
    let is_target = |id: &crate::trunk::TargetId| {
        parts.trunks.target(*id).is_some_and(|target| {
            let is_named = target.config.host.eq_ignore_ascii_case(&host)
                && uri.port.is_none_or(|own| own == port_of(&target.config));
            is_named || address.is_some_and(|address| target.known().any(|own| own.remote == address))
        })
    };
    parts.trunks.targets_of(trunk).iter().any(is_target)
        || address.is_some_and(|address| parts.trunks.accepts(protocol, address) == Some(trunk))
}

fn port_of(target: &crate::config::Target) -> u16 {
    target.port.unwrap_or(target.protocol.unwrap_or(crate::base::Protocol::Udp).default_port())
}

/// True when the host is this daemon: the number is what counts.
fn is_ours(parts: &Parts<'_>, uri: &Uri<'_>) -> bool {
    let host = uri.host.text().to_lowercase();
    let is_local = |local: &crate::ua::Local| {
        local.host.eq_ignore_ascii_case(&host) && uri.port.unwrap_or(local.protocol.default_port()) == local.port
    };
    parts.config.sip.domains.contains(&host) || parts.ua.settings().locals.iter().any(is_local)
}

/// Whether the configuration of the trunk allows it. Without `transfer_to` its own hosts decide, and no number does.
fn may_transfer(parts: &Parts<'_>, trunk: TrunkIdx, uri: &Uri<'_>, digits: Option<&str>) -> bool {
    let Some(trunk) = parts.config.trunk(trunk) else { return false };
    let Some(allowed) = &trunk.transfer_to else { return !is_ours(parts, uri) && uri.scheme == Scheme::Sip };
    let host = uri.host.text();
    allowed.iter().any(|allowed| match allowed {
        TransferTo::Number(pattern) => digits.is_some_and(|digits| pattern.is_match(digits)),
        TransferTo::Address { user, host: own, port } => {
            uri.scheme == Scheme::Sip
                && own.eq_ignore_ascii_case(&host)
                && (user.is_empty() || user.as_bytes() == uri.user)
                && port.is_none_or(|port| uri.port == Some(port))
        }
    })
}
