//! Where an attempt goes: the targets of the trunks in their order, and what the one that is tried is asked for.

use std::collections::VecDeque;

use compact_str::{CompactString, format_compact};

use super::Parts;
use super::dialling::{Dialling, Hop, Wanted};
use super::routing::hostport;
use crate::config::{RequestUri, Trunk, TrunkIdx};
use crate::transport::Flow;
use crate::trunk::Target;

pub(super) fn hops(parts: &mut Parts<'_>, trunks: &[TrunkIdx]) -> VecDeque<Hop> {
    let targets = parts.trunks.candidates(parts.context.rng, trunks);
    let mut hops = VecDeque::with_capacity(targets.len());
    for id in targets {
        let places = parts.trunks.target(id).map(|target| target.places(parts.context.rng)).unwrap_or_default();
        hops.extend(places.into_iter().map(|place| Hop { target: id, place, is_bare: false }));
    }
    // One that failed comes after those of the other targets too: each that is silent costs the caller its wait.
    let hopelessness = |hop: &Hop| {
        let target = parts.trunks.target(hop.target);
        target.map_or(u8::MAX, |target| target.hopelessness_at(hop.place))
    };
    hops.make_contiguous().sort_by_key(hopelessness);
    hops
}

pub(super) fn hops_in_words(parts: &Parts<'_>, hops: &VecDeque<Hop>) -> String {
    let name = |hop: &Hop| {
        let trunk = parts.trunks.target(hop.target).and_then(|target| parts.config.trunk(target.trunk()?));
        format!("{} at {}", trunk.map(|trunk| trunk.name.as_str()).unwrap_or_default(), hop.place.remote)
    };
    match hops.is_empty() {
        true => "The address of no target of these trunks is known".to_owned(),
        false => format!("Tried in this order: {}", hops.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}

pub(super) fn request_uri(dialling: &Dialling, trunk: &Trunk, target: &Target, flow: Flow) -> CompactString {
    let wanted = dialling.referred.as_ref().and_then(|referred| referred.wanted.as_ref());
    if let Some(Wanted::Uri(uri)) = wanted {
        return uri.clone();
    }
    match (trunk.request_uri, &dialling.service) {
        (RequestUri::Urn, Some(service)) => service.clone(),
        _ if !target.config.user.is_empty() && wanted.is_none() => target.config.uri.clone(),
        _ if target.config.is_sips() => format_compact!("sips:{}@{}", dialling.number, flow.remote),
        _ => format_compact!("sip:{}@{}", dialling.number, hostport(flow.remote, flow.protocol)),
    }
}

/// The Route that leads to the target when the Request-URI is a service, which is nowhere (RFC 6881 ED-62).
pub(super) fn way_to(request_uri: &str, target: &Target) -> CompactString {
    if !request_uri.starts_with("urn:") {
        return CompactString::default();
    }
    let config = &target.config;
    let scheme = if config.is_sips() { "sips" } else { "sip" };
    let port = config.port.map(|port| format_compact!(":{port}")).unwrap_or_default();
    let transport = config.protocol.filter(|_| !config.is_sips());
    let transport =
        transport.map(|protocol| format_compact!(";transport={}", protocol.uri_token())).unwrap_or_default();
    format_compact!("<{scheme}:{}{port}{transport};lr>", config.host)
}
