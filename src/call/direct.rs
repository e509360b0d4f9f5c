//! Direct routing (SPEC §5): a resource's own trunks by dialled-number pattern. What they take is a regular call: no temporary
//! number, the user's own identity. An emergency number that none of them takes goes on to the emergency service.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::classify::{Caller, Emergency};
use super::dialling::Dialling;
use super::history::{CountrySource, Kind, Report};
use super::{Call, Calls, Parts, Stage};
use crate::config::{Country, NumberKind, Resource, TrunkIdx};
use crate::geo::Service;
use crate::sip::{Message, Uri};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::CallId;

/// An emergency (or test) number that goes out over the resource's own trunks.
pub(super) struct Direct {
    pub caller: Caller,
    pub service: Service,
    pub place: Option<(Country, CountrySource)>,
    pub way: Way,
    /// The emergency service, where the resource may use it.
    pub fallback: Option<Box<Emergency>>,
}

/// The direct route that fits.
pub(super) struct Way {
    pub pattern: CompactString,
    /// What fitted, and what the trunks are asked for.
    pub number: CompactString,
    pub trunks: Vec<TrunkIdx>,
}

/// What a call does when no trunk of its direct route takes it.
pub(super) struct Fallback {
    emergency: Box<Emergency>,
    flow: Flow,
}

/// The first direct route of the resource whose pattern fits the number as dialled, or the emergency number it means.
pub(super) fn way(resource: &Arc<Resource>, request_uri: &[u8], service: &Service) -> Option<Way> {
    let dialled = Uri::parse(request_uri).ok().and_then(|uri| super::classify::digits_of(&uri));
    let spellings = || dialled.iter().chain([&service.number]);
    let fits = |route: &crate::config::DirectRoute| spellings().find(|number| route.pattern.is_match(number)).cloned();
    let (route, number) = resource.direct_routes.iter().find_map(|route| Some((route, fits(route)?)))?;
    Some(Way { pattern: route.pattern.as_str().into(), number, trunks: route.trunks.clone() })
}

impl Calls {
    pub(super) fn start_direct(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        direct: Direct,
    ) {
        let now = parts.context.now;
        let Direct { caller, service, place, way, fallback } = direct;
        let identity = caller.number.map_or_else(|| caller.aor.user().into(), |number| format_compact!("{number}"));
        // Where there is nothing behind them, these trunks are all there is: they are tried as those of the service are.
        let give_up = if fallback.is_none() { now + parts.config.routing.retry } else { now };
        let fallback = fallback.map(|emergency| Box::new(Fallback { emergency, flow }));
        let dialling =
            Dialling::direct(identity, way.number, service.urn, fallback, give_up, invite.clone(), way.trunks);
        let call = Call {
            user: Some(caller.aor),
            country: place.map(|(country, _)| country),
            country_source: place.map(|(_, source)| source),
            dialled: service.number,
            direct_route: Some(way.pattern),
            test: service.kind == NumberKind::Test,
            ..Call::new(Kind::Outbound, now)
        };
        let id = self.admit(parts, call, server, invite, flow, caller.pbx.is_some());
        self.tell_dialled(id, caller.number, invite);
        self.start_dialling(parts, id, dialling);
    }

    /// No trunk of the direct route took the call: it becomes an emergency call, with all that makes one. False when that is not
    /// possible either.
    pub(super) fn fall_back(&mut self, parts: &mut Parts<'_>, id: CallId) -> bool {
        let Some(Call { stage: Stage::Dialling(dialling), .. }) = self.calls.get_mut(id) else { return false };
        let Some((fallback, invite)) = dialling.fall_back() else { return false };
        let Fallback { mut emergency, flow } = *fallback;
        let kind = match emergency.kind {
            Kind::Test => NumberKind::Test,
            _ => NumberKind::Emergency,
        };
        // The configuration may be another one by now.
        if let Some(route) = parts.config.route(emergency.pool_country, &emergency.service.number, kind) {
            emergency.action = parts.config.onward(route, emergency.pool_country, &emergency.service.number, kind);
        }
        parts.trace.begin();
        parts.trace.note(|| "No trunk of the direct route took the call: the emergency service does".to_owned());
        let grant = self.grant(parts, &invite, flow, &emergency);
        let decisions = parts.trace.so_far();
        parts.trace.end();
        let Ok(grant) = grant else { return false };
        let (number, kind) = (grant.number(), emergency.kind);
        let note = emergency.note.clone();
        let shared = grant.kind() == crate::lease::Kind::Overflow;
        let Some(history) = self.history(id).map(Box::new) else { return false };
        self.reports.push(Report::DirectFailed { history, to: kind });
        let (stage, grant_id) = self.granting(grant, invite.clone(), *emergency);
        let Some(call) = self.calls.get_mut(id) else { return false };
        Arc::make_mut(&mut call.decisions).extend(decisions);
        call.kind = kind;
        call.number = Some(number);
        call.shared = shared;
        call.note = note;
        call.stage = stage;
        // The number to call back is another one now.
        self.tell_dialled(id, Some(number), &invite);
        self.await_grant(parts, id, grant_id);
        true
    }
}
