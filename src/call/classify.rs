//! What an INVITE asks for, before anything is done about it (SPEC §1, §2, §5, §6).

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::Parts;
use super::called::number_called;
use super::country::country_of;
use super::direct::{self, Direct};
use super::history::{CountrySource, Kind};
use super::identify::{Sender, aor_of, identify};
use super::lent::{Holder, is_callback, is_for_trunks};
use super::neighbours::Asked;
use crate::base::E164;
use crate::config::{
    Aor, Config, Country, NumberKind, OutsideCountries, PbxIdx, Resource, Route, RouteAction, TrunkIdx, User,
};
use crate::geo::{self, Dialled, Service};
use crate::registrar::gruu::Wanted;
use crate::sip::{Message, Scheme, Uri};
use crate::transport::Flow;
use crate::ua::Refusal;

/// What an INVITE outside any dialog asks for, and who sends it.
pub(super) struct Verdict {
    /// A user, or somebody behind a PBX; not a trunk.
    pub caller: Option<Aor>,
    pub decision: Decision,
}

/// What is to be done about it.
pub(super) enum Decision {
    Emergency(Box<Emergency>),
    Callback(TrunkIdx, E164),
    /// A callback that has come to another node.
    Neighbour(Asked),
    Direct(Box<Direct>),
    Ordinary(Box<Ordinary>),
    Outbound(Box<Outbound>),
    Challenge {
        stale: bool,
    },
    Refuse {
        kind: Kind,
        dialled: CompactString,
        refusal: Refusal,
        /// Where an emergency number was dialled, and what told it.
        place: Option<(Country, CountrySource)>,
    },
}

impl Decision {
    /// True when a call comes of it.
    pub fn is_call(&self) -> bool {
        match self {
            Self::Emergency(_)
            | Self::Callback(..)
            | Self::Neighbour(_)
            | Self::Direct(_)
            | Self::Ordinary(_)
            | Self::Outbound(_) => true,
            Self::Challenge { .. } | Self::Refuse { .. } => false,
        }
    }
}

impl Decision {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Emergency(emergency) => emergency.kind,
            Self::Direct(direct) => kind_of(&direct.service),
            Self::Callback(..) | Self::Neighbour(_) => Kind::Callback,
            Self::Ordinary(ordinary) => ordinary.kind,
            Self::Outbound(_) => Kind::Outbound,
            Self::Challenge { .. } => Kind::Internal,
            Self::Refuse { kind, .. } => *kind,
        }
    }

    /// What was dialled, as records tell it.
    pub fn dialled(&self) -> CompactString {
        match self {
            Self::Emergency(emergency) => emergency.service.number.clone(),
            Self::Direct(direct) => direct.service.number.clone(),
            Self::Callback(_, number) | Self::Neighbour(Asked { number, .. }) => format_compact!("{number}"),
            Self::Ordinary(ordinary) => format_compact!("{}", ordinary.callee),
            Self::Outbound(outbound) => outbound.number.clone(),
            Self::Refuse { dialled, .. } => dialled.clone(),
            Self::Challenge { .. } => CompactString::default(),
        }
    }

    /// Refused, wherever the caller is.
    fn refuse(kind: Kind, dialled: CompactString, refusal: Refusal) -> Self {
        Self::Refuse { kind, dialled, refusal, place: None }
    }

    /// Where an emergency number was dialled, and what told it.
    pub fn place(&self) -> Option<(Country, CountrySource)> {
        match self {
            Self::Emergency(emergency) => emergency.source.map(|source| (emergency.country, source)),
            Self::Direct(direct) => direct.place,
            Self::Refuse { place, .. } => *place,
            Self::Callback(..)
            | Self::Neighbour(_)
            | Self::Ordinary(_)
            | Self::Outbound(_)
            | Self::Challenge { .. } => None,
        }
    }

    /// True for what no limit stops: emergency calls and callbacks (SPEC §2, §6), and what becomes no call at all.
    pub fn is_urgent(&self) -> bool {
        match self {
            Self::Emergency(emergency) => emergency.kind == Kind::Emergency,
            Self::Direct(direct) => direct.service.kind == NumberKind::Emergency,
            Self::Callback(..) | Self::Neighbour(_) | Self::Challenge { .. } | Self::Refuse { .. } => true,
            Self::Ordinary(_) | Self::Outbound(_) => false,
        }
    }
}

/// Who calls: a user, or somebody behind a PBX.
#[derive(Clone)]
pub(super) struct Caller {
    pub aor: Aor,
    pub resource: Arc<Resource>,
    /// As configured.
    pub country: Option<Country>,
    /// The caller's own.
    pub number: Option<E164>,
    pub pbx: Option<PbxIdx>,
}

impl Caller {
    fn of(user: &User) -> Self {
        let User { aor, resource, country, number, .. } = user;
        Self { aor: aor.clone(), resource: Arc::clone(resource), country: *country, number: *number, pbx: None }
    }

    /// A number that the resource did not buy, or that is a user's, is not believed to be the caller's own: a callback to it
    /// might go elsewhere.
    fn behind(pbx: PbxIdx, config: &Config, aor: Aor) -> Option<Self> {
        let resource = Arc::clone(&config.pbx(pbx)?.resource);
        let own = E164::from_dialled(aor.user().as_bytes());
        let is_bought = |own: &E164| resource.numbers.iter().any(|bought| bought.number == *own);
        let number = own.filter(|own| is_bought(own) && config.user_by_number(*own).is_none());
        Some(Self { aor, resource, country: None, number, pbx: Some(pbx) })
    }
}

/// An emergency (or test) call that may be made.
pub(super) struct Emergency {
    pub caller: Caller,
    pub kind: Kind,
    /// The number and URN of the country's emergency service.
    pub service: Service,
    pub country: Country,
    /// What told the country; `None`: nothing did, and it is the one the call is served in.
    pub source: Option<CountrySource>,
    /// Whose pools are asked for a number: that of the route, where it serves callers outside the supported countries.
    pub pool_country: Country,
    pub action: RouteAction,
    /// What is out of the ordinary about its route.
    pub note: Option<CompactString>,
}

/// A call that rings a user as any phone would.
pub(super) struct Ordinary {
    pub kind: Kind,
    pub callee: Aor,
    /// Only this phone of the callee (RFC 5627).
    pub instance: Option<CompactString>,
    pub trunk: Option<TrunkIdx>,
    pub is_pbx: bool,
}

/// Whom an INVITE is for: a user, or one phone of it.
struct Callee<'a> {
    user: &'a User,
    instance: Option<CompactString>,
}

/// A call of a user out over the configured trunk.
pub(super) struct Outbound {
    pub caller: Caller,
    pub trunk: TrunkIdx,
    pub number: CompactString,
}

pub(super) fn classify(parts: &mut Parts<'_>, invite: &Message, flow: Flow) -> Verdict {
    if let Some(asked) = Asked::of(parts, invite, &flow) {
        return Verdict { caller: None, decision: Decision::Neighbour(asked) };
    }
    let sender = identify(parts, invite, &flow);
    parts.trace.note(|| sender.in_words(parts.config));
    let caller = match &sender {
        Sender::User(aor) | Sender::Pbx(_, aor) | Sender::Unknown { live_source: Some(aor), .. } => Some(aor.clone()),
        Sender::Trunk(_) | Sender::Unknown { live_source: None, .. } => None,
    };
    Verdict { caller, decision: decide(parts, invite, flow, sender) }
}

fn decide(parts: &mut Parts<'_>, invite: &Message, flow: Flow, sender: Sender) -> Decision {
    let dialled = dialled_text(invite.request_uri());
    match sender {
        Sender::User(aor) => from_user(parts, invite, &flow, &aor, dialled),
        Sender::Trunk(trunk) => from_trunk(parts, invite, trunk, dialled),
        Sender::Pbx(pbx, aor) => match Caller::behind(pbx, &parts.config.clone(), aor) {
            Some(caller) => from_caller(parts, invite, &flow, &caller, dialled),
            None => Decision::refuse(Kind::Internal, dialled, Refusal::new(403)),
        },
        Sender::Unknown { stale, wrong, live_source } => {
            let is_emergency = is_emergency(parts, invite, live_source.as_ref());
            if let Some(refusal) = leased_number(parts, invite) {
                return Decision::refuse(Kind::Callback, dialled, refusal);
            }
            match (is_emergency, wrong, live_source) {
                // AU-2: wrong credentials do not stop an emergency call from a source that is registered.
                (true, true, Some(aor)) => from_user(parts, invite, &flow, &aor, dialled),
                (true, true, None) => Decision::refuse(
                    Kind::Emergency,
                    dialled,
                    Refusal::warn(
                        403,
                        "Emergency call refused: wrong credentials and no registration from this source",
                    ),
                ),
                (false, true, _) => Decision::refuse(Kind::Internal, dialled, Refusal::new(403)),
                // AU-2: whoever it says it is, an emergency call may prove who it is.
                (true, false, _) => Decision::Challenge { stale },
                (false, false, _) => unknown_sender(parts, invite, stale, dialled),
            }
        }
    }
}

/// Whether an emergency number was dialled, by somebody who has not proven who it is: behind the prefix of an outside line too, of
/// the resource of `user`, or of whom the call claims to come from; of any resource where that is nobody.
pub(super) fn is_emergency(parts: &Parts<'_>, invite: &Message, user: Option<&Aor>) -> bool {
    let claimed = || Uri::parse(invite.from().uri).ok().and_then(|from| aor_of(parts, &from));
    let user = user.cloned().or_else(claimed);
    let is_behind = |resource: &Resource| {
        let wishes = geo::Wishes { outside_line_prefix: resource.outside_line_prefix.as_deref(), ..Default::default() };
        parts.countries.is_emergency(invite.request_uri(), wishes)
    };
    match user.as_ref().and_then(|user| parts.config.user(user)) {
        Some(user) => is_behind(&user.resource),
        None => parts.config.resources.iter().any(|resource| is_behind(resource)),
    }
}

/// A challenge for whoever claims to be of ours; 403 for the rest of the world.
fn unknown_sender(parts: &Parts<'_>, invite: &Message, stale: bool, dialled: CompactString) -> Decision {
    let claims_ours = Uri::parse(invite.from().uri).is_ok_and(|from| {
        let host = from.host.text().to_lowercase();
        parts.config.sip.domains.contains(&host) || host.ends_with(".invalid")
    });
    if claims_ours {
        return Decision::Challenge { stale };
    }
    let refusal = Refusal::warn(403, "Calls are accepted from registered users and configured trunks only");
    Decision::refuse(Kind::Inbound, dialled, refusal)
}

/// SPEC §6: a leased number is called back by trusted trunks only.
fn leased_number(parts: &Parts<'_>, invite: &Message) -> Option<Refusal> {
    let number = number_of(invite.request_uri())?;
    is_for_trunks(parts, number)
        .then(|| Refusal::warn(403, "A callback to an emergency number is accepted from configured trunks only"))
}

fn from_user(parts: &Parts<'_>, invite: &Message, flow: &Flow, aor: &Aor, dialled: CompactString) -> Decision {
    let config = parts.config.clone();
    let Some(user) = config.user(aor) else {
        let is_emergency = is_emergency(parts, invite, None);
        let kind = if is_emergency { Kind::Emergency } else { Kind::Internal };
        let refusal = Refusal::warn(403, "The user of this registration is not configured any more");
        return Decision::refuse(kind, dialled, refusal);
    };
    from_caller(parts, invite, flow, &Caller::of(user), dialled)
}

fn from_caller(parts: &Parts<'_>, invite: &Message, flow: &Flow, caller: &Caller, dialled: CompactString) -> Decision {
    let place = country_of(parts, invite, flow, caller);
    let wishes = geo::Wishes {
        outside_line_prefix: caller.resource.outside_line_prefix.as_deref(),
        foreign_numbers: caller.resource.foreign_numbers,
    };
    let country = place.map(|(country, _)| country);
    let recognised = parts.countries.classify(invite.request_uri(), country, wishes);
    parts.trace.note(|| recognised.in_words(&dialled));
    let way = |service: &Service| {
        let way = direct::way(&caller.resource, invite.request_uri(), service)?;
        Some((service.clone(), way))
    };
    let way = recognised.service().and_then(way);
    let served = serve(parts, invite, caller, recognised, place, dialled);
    let Some((service, way)) = way else { return served };
    parts.trace.note(|| {
        let direct::Way { pattern, number, .. } = &way;
        let name = &caller.resource.name;
        format!(
            "Before that, direct route {pattern:?} of {name} fits {number}: a regular call, without a temporary number"
        )
    });
    let fallback = match served {
        Decision::Emergency(emergency) => Some(emergency),
        _ => None,
    };
    Decision::Direct(Box::new(Direct { caller: caller.clone(), service, place, way, fallback }))
}

/// What becomes of it without a direct route.
fn serve(
    parts: &Parts<'_>,
    invite: &Message,
    caller: &Caller,
    recognised: Dialled,
    place: Option<(Country, CountrySource)>,
    dialled: CompactString,
) -> Decision {
    match (recognised, place) {
        (Dialled::Ordinary, _) => ordinary(parts, invite, caller, dialled),
        (Dialled::Emergency(service), Some(place)) => emergency(parts, caller, service, place, dialled),
        (Dialled::Outside(service) | Dialled::NoCountry(service) | Dialled::Emergency(service), place) => {
            outside(parts, caller, service, place, dialled)
        }
        (Dialled::Foreign(service), place) => {
            let why = "Emergency number of another country, which this resource does not treat as its own";
            Decision::Refuse { kind: kind_of(&service), dialled, refusal: Refusal::warn(403, why), place }
        }
    }
}

/// An emergency number in a country where it can be dialled: the resource and the routes decide (SPEC §2, §5).
fn emergency(
    parts: &Parts<'_>,
    caller: &Caller,
    service: Service,
    (country, source): (Country, CountrySource),
    dialled: CompactString,
) -> Decision {
    if let Some(refusal) = may_not_call(caller) {
        return Decision::Refuse { kind: kind_of(&service), dialled, refusal, place: Some((country, source)) };
    }
    parts.trace.note(|| format!("Resource {} owns a number with make_calls", caller.resource.name));
    let Some((route, asked)) = parts.config.route_or_instead(country, &service.number, service.kind) else {
        let why = format!("No route for {} in {country}", service.number);
        let refusal = Refusal { retry_after: Some(30), ..Refusal::warn(503, why) };
        return Decision::Refuse { kind: kind_of(&service), dialled, refusal, place: Some((country, source)) };
    };
    let note = (asked != service.number)
        .then(|| format_compact!("no route for {} in {country}: it goes as {asked}", service.number));
    if let Some(note) = &note {
        parts.trace.note(|| format!("There is {note}"));
    }
    let service = Service { number: asked.into(), ..service };
    parts.trace.note(|| routed_in_words(parts.config, route, &service, country));
    let action = onward(parts, route, &service, country);
    let (kind, caller, pool_country) = (kind_of(&service), caller.clone(), country);
    let source = Some(source);
    Decision::Emergency(Box::new(Emergency { caller, kind, service, country, source, pool_country, action, note }))
}

/// The trunks of the route, and behind them those of the routes after it.
fn onward(parts: &Parts<'_>, route: &Route, service: &Service, country: Country) -> RouteAction {
    let action = parts.config.onward(route, country, &service.number, service.kind);
    if action != route.action {
        let to = || to_in_words(parts.config, &action);
        parts.trace.note(|| format!("Behind them those of the routes after it: to {}", to()));
    }
    action
}

/// SPEC §1, last rows: outside the supported countries the call is refused, unless the resource sends it to the first route.
fn outside(
    parts: &Parts<'_>,
    caller: &Caller,
    service: Service,
    place: Option<(Country, CountrySource)>,
    dialled: CompactString,
) -> Decision {
    if let Some(refusal) = may_not_call(caller) {
        return Decision::Refuse { kind: kind_of(&service), dialled, refusal, place };
    }
    if let (OutsideCountries::BestEffort, Some((route, served, asked))) =
        (caller.resource.outside_countries, parts.config.best_effort(&service.number, service.kind))
    {
        let note =
            format_compact!("outside_countries = \"best-effort\": {} goes as {asked} of {served}", service.number);
        parts.trace.note(|| format!("Resource {} has {note}", caller.resource.name));
        let service = Service { number: asked.into(), ..service };
        parts.trace.note(|| routed_in_words(parts.config, route, &service, served));
        let (country, source) = place.map_or((served, None), |(country, source)| (country, Some(source)));
        let action = onward(parts, route, &service, served);
        let (kind, caller, pool_country, note) = (kind_of(&service), caller.clone(), served, Some(note));
        return Decision::Emergency(Box::new(Emergency {
            caller,
            kind,
            service,
            country,
            source,
            pool_country,
            action,
            note,
        }));
    }
    let why = match place {
        Some((country, _)) => format!("Emergency calling is not available in {country}"),
        None => "Emergency calling is not available: the country of the caller is not known".to_owned(),
    };
    Decision::Refuse { kind: kind_of(&service), dialled, refusal: Refusal::warn(403, why), place }
}

fn routed_in_words(config: &Config, route: &Route, service: &Service, country: Country) -> String {
    let at = config.routes.iter().position(|other| std::ptr::eq(other, route));
    let name = at.map_or("The built-in route of test numbers".to_owned(), |at| format!("routes[{at}]"));
    let to = to_in_words(config, &route.action);
    format!("{name} is the first that serves {} in {country}: to {to}", service.number)
}

fn to_in_words(config: &Config, action: &RouteAction) -> String {
    match action {
        RouteAction::TestLine => "the test line".to_owned(),
        RouteAction::Trunks(trunks) => {
            let names = trunks.iter().filter_map(|trunk| Some(config.trunk(*trunk)?.name.as_str()));
            format!("trunks {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

/// SPEC §2: without a number enabled for outbound calls the resource makes no emergency calls.
fn may_not_call(caller: &Caller) -> Option<Refusal> {
    let why = || format!("Resource {} owns no number enabled for outbound calls (make_calls)", caller.resource.name);
    (!caller.resource.may_call()).then(|| Refusal::warn(403, why()))
}

fn kind_of(service: &Service) -> Kind {
    match service.kind {
        NumberKind::Emergency => Kind::Emergency,
        NumberKind::Test => Kind::Test,
    }
}

/// A user, or somebody behind a PBX, calls something that is no emergency number.
fn ordinary(parts: &Parts<'_>, invite: &Message, caller: &Caller, dialled: CompactString) -> Decision {
    if let Some(refusal) = leased_number(parts, invite) {
        return Decision::refuse(Kind::Callback, dialled, refusal);
    }
    if parts.draining {
        let refusal = Refusal { retry_after: Some(60), ..Refusal::warn(503, "Shutting down") };
        return Decision::refuse(Kind::Internal, dialled, refusal);
    }
    let claimed = Uri::parse(invite.from().uri).ok().and_then(|from| aor_of(parts, &from));
    if caller.pbx.is_none() && claimed.is_some_and(|claimed| claimed != caller.aor) {
        let refusal = Refusal::warn(403, "From names another user than the credentials");
        return Decision::refuse(Kind::Internal, dialled, refusal);
    }
    if let Some(callee) = callee_of(parts, invite) {
        if !parts.config.other_calls.users {
            let refusal = Refusal::warn(403, "Calls between users are switched off");
            return Decision::refuse(Kind::Internal, dialled, refusal);
        }
        let kind = if caller.pbx.is_some() { Kind::Inbound } else { Kind::Internal };
        return ring_user(callee, kind, None, caller.pbx.is_some(), dialled);
    }
    let digits = Uri::parse(invite.request_uri()).ok().and_then(|uri| digits_of(&uri));
    match (parts.config.other_calls.trunk, digits) {
        (Some(trunk), Some(number)) => Decision::Outbound(Box::new(Outbound { caller: caller.clone(), trunk, number })),
        (None, Some(_)) => {
            let refusal = Refusal::warn(403, "Only emergency numbers and users of this system can be called");
            Decision::refuse(Kind::Outbound, dialled, refusal)
        }
        (_, None) => Decision::refuse(Kind::Internal, dialled, Refusal::new(404)),
    }
}

/// A trunk calls: a callback when the number is leased or rests, else an ordinary call to a user (SPEC §6).
fn from_trunk(parts: &Parts<'_>, invite: &Message, trunk: TrunkIdx, dialled: CompactString) -> Decision {
    let meant = number_called(parts, invite, trunk);
    if let Some(number) = meant.filter(|number| is_callback(parts, invite, *number)) {
        let holder = Holder::of(parts, number).map(|holder| holder.lease().user.clone()).unwrap_or_default();
        parts.trace.note(|| format!("{number} is the emergency number of sip:{holder}: a callback"));
        return Decision::Callback(trunk, number);
    }
    let by_number = || meant.and_then(|number| parts.config.user_by_number(number));
    match callee_of(parts, invite).or_else(|| by_number().map(|user| Callee { user, instance: None })) {
        Some(_) if parts.draining => {
            let refusal = Refusal { retry_after: Some(60), ..Refusal::warn(503, "Shutting down") };
            Decision::refuse(Kind::Inbound, dialled, refusal)
        }
        Some(callee) => ring_user(callee, Kind::Inbound, Some(trunk), false, dialled),
        None if !parts.knows_leases => {
            // Another node may know the number: the trunk goes on to it (RFC 3263 §4.3). Without Retry-After: the next callback may be to
            // a number of today.
            let refusal = Refusal::warn(503, "What was leased before is not known");
            Decision::refuse(Kind::Inbound, dialled, refusal)
        }
        None => Decision::refuse(Kind::Inbound, dialled, Refusal::new(404)),
    }
}

fn ring_user(
    callee: Callee<'_>,
    kind: Kind,
    trunk: Option<TrunkIdx>,
    is_pbx: bool,
    dialled: CompactString,
) -> Decision {
    let Callee { user, instance } = callee;
    if !user.inbound {
        let refusal = Refusal::warn(403, "Inbound calling is disabled for this user");
        return Decision::refuse(kind, dialled, refusal);
    }
    Decision::Ordinary(Box::new(Ordinary { kind, callee: user.aor.clone(), instance, trunk, is_pbx }))
}

/// The user an INVITE is for: by address of record, by own number, or by the URI of one phone.
fn callee_of<'a>(parts: &'a Parts<'_>, invite: &Message) -> Option<Callee<'a>> {
    let uri = Uri::parse(invite.request_uri()).ok()?;
    if let Some(Wanted::Temporary(token)) = Wanted::of(&uri) {
        let (aor, instance) = parts.registrar.meant_by(token)?;
        return Some(Callee { user: parts.config.user(aor)?, instance: Some(instance) });
    }
    let by_number = || number_of(invite.request_uri()).and_then(|number| parts.config.user_by_number(number));
    let user = aor_of(parts, &uri).and_then(|aor| parts.config.user(&aor)).or_else(by_number)?;
    let instance = match Wanted::of(&uri) {
        Some(Wanted::Public(instance)) => Some(instance),
        Some(Wanted::Temporary(_)) | None => None,
    };
    Some(Callee { user, instance })
}

/// Digits as dialled, visual separators removed; `None` for names.
pub(super) fn digits_of(uri: &Uri<'_>) -> Option<CompactString> {
    if matches!(uri.scheme, Scheme::Urn | Scheme::Other) {
        return None;
    }
    let user = uri.unescaped_user();
    let mut digits = CompactString::default();
    for byte in user.split(|byte| *byte == b';').next()? {
        match byte {
            b'0'..=b'9' | b'*' | b'#' | b'+' => digits.push(char::from(*byte)),
            b'-' | b'.' | b'(' | b')' => {}
            _ => return None,
        }
    }
    (!digits.is_empty() && digits.len() <= 32).then_some(digits)
}

/// The user part of the Request-URI, or all of it where there is none; bounded.
fn dialled_text(request_uri: &[u8]) -> CompactString {
    let uri = Uri::parse(request_uri).ok().filter(|uri| uri.is_sip() && !uri.user.is_empty());
    let user = uri.map(|uri| uri.unescaped_user());
    let shown = user.as_deref().unwrap_or(request_uri);
    CompactString::from_utf8_lossy(shown.get(..128).unwrap_or(shown))
}

pub(super) fn number_of(uri: &[u8]) -> Option<E164> {
    let uri = Uri::parse(uri).ok()?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => {
            let user = uri.unescaped_user();
            E164::from_dialled(user.split(|byte| *byte == b';').next().unwrap_or_default())
        }
        Scheme::Urn | Scheme::Other => None,
    }
}
