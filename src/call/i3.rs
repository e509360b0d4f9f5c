//! What this daemon itself adds to an emergency call on its way to a trunk that wants it: the configured location, priority,
//! identifiers, and where data about the provider is (SPEC §4; RFC 6442, RFC 7135, RFC 7852, NENA-STA-010). Nothing of it names the user.

use std::time::{Duration, UNIX_EPOCH};

use compact_str::{CompactString, format_compact};
use memchr::memmem;

use super::dialling::{Dialling, Hop};
use super::history::{Kind, Report};
use super::rewrite::pointed_at;
use super::{Call, Calls, Parts};
use crate::base::limits;
use crate::config::{Civic, Config, Country, Location, Resource, Trunk};
use crate::geo;
use crate::sip::{Lines, Message, Name, NameAddr, mime};
use crate::ua::{CallId, Content, LegId, Part};

const PIDF_LO: &str = "application/pidf+xml";
/// Last second that RFC 3339 can write, in milliseconds.
const LAST_TIME: u64 = 253_402_300_799_000;

/// What NENA-STA-010.3 §2.1.6 and §2.1.7 call the two identifiers: the purpose, in any version, and the name within the URN.
const CALL_ID: (&str, &str) = ("emergency-CallId", "callid");
const INCIDENT_ID: (&str, &str) = ("emergency-IncidentId", "incidentid");

/// The header lines and the body of an attempt, to be completed.
pub(super) struct Attempted<'a> {
    pub hop: Hop,
    pub trunk: &'a Trunk,
    pub lines: &'a mut Lines,
    pub content: Option<Content>,
}

impl Calls {
    /// Adds to an attempt what its trunk wants; gives the body back.
    pub(super) fn accompany(&mut self, parts: &mut Parts<'_>, id: CallId, attempted: Attempted<'_>) -> Option<Content> {
        let Attempted { hop, trunk, lines, content } = attempted;
        let config = parts.config.clone();
        let element = element(parts);
        let Some(call) = self.calls.get_mut(id) else { return content };
        let is_emergency = call.kind != Kind::Outbound || call.direct_route.is_some();
        let Some(dialling) = call.dialling().filter(|_| is_emergency) else { return content };
        let is_test = call.kind == Kind::Test || dialling.is_test();
        let may_add = trunk.location == Location::Add && !hop.is_bare && !dialling.tells_location();
        let user = call.user.as_ref();
        let civic = user.and_then(|user| config.user(user)?.location.as_ref());
        let mut words = None;
        let civic = civic.filter(|civic| {
            let is_there = is_there(civic, call.country);
            words = Some(location_in_words(trunk, dialling, is_there));
            may_add && is_there
        });
        if let Some(priority) = trunk.resource_priority.as_ref().filter(|_| !is_test) {
            lines.push(b"Resource-Priority", priority.as_bytes());
        }
        if let Some(url) = resource(&config, call).and_then(|resource| resource.provider_info.as_ref()) {
            lines.push(b"Call-Info", format!("<{url}>;purpose=EmergencyCallData.ProviderInfo").as_bytes());
        }
        let has_more = content.as_ref().is_some_and(|content| !content.is_bare()) || dialling.says(Name::Geolocation);
        let content = match civic {
            Some(civic) => locate(parts, dialling, civic, &element, lines, content),
            None => content,
        };
        let bare = || format!("To trunk {} once more, with the session description alone", trunk.name);
        for words in words.into_iter().chain(hop.is_bare.then(bare)) {
            if !call.decisions.contains(&words) {
                call.decide(parts, words);
            }
        }
        if civic.is_some() || (has_more && !hop.is_bare) {
            call.dialling_mut().into_iter().for_each(|dialling| dialling.has_added(hop));
        }
        if trunk.add_nena_ids {
            let rng = &mut *parts.context.rng;
            for ((purpose, name), id) in [(CALL_ID, &mut call.nena_call_id), (INCIDENT_ID, &mut call.incident_id)] {
                let (one, other) = (rng.u64(), rng.u32());
                let new = || format_compact!("urn:emergency:uid:{name}:{one:016x}{other:08x}:{element}");
                let urn = id.get_or_insert_with(new);
                lines.push(b"Call-Info", format!("<{urn}>;purpose={purpose}").as_bytes());
            }
        }
        content
    }

    /// A trunk says that it could not make use of the location (RFC 6442 §4.4). That is for whoever looks after the configuration:
    /// the phone is not told, since it may be our location, and nobody in danger can do anything about it.
    pub(super) fn note_location_error(&mut self, id: CallId, leg: LegId, code: Option<u16>) {
        let (Some(code), Some(call)) = (code, self.calls.get_mut(id)) else { return };
        let branch = call.branches.iter().find(|branch| branch.leg == leg);
        let attempt = branch.and_then(|branch| call.attempts.get_mut(branch.attempt));
        if let Some(attempt) = attempt.filter(|attempt| !attempt.trunk.is_empty()) {
            let is_new = attempt.location_error.replace(code) != Some(code);
            if is_new {
                self.reports.push(Report::LocationError { trunk: attempt.trunk.clone(), code });
            }
        }
    }
}

/// The identifiers that the sender of `message` has given the call and its incident.
pub(super) fn identifiers(message: &Message) -> (Option<CompactString>, Option<CompactString>) {
    let find = |(purpose, _): (&str, &str)| {
        let named = |value| NameAddr::parse(value).ok().filter(|info| is_for(info, purpose)).map(|info| info.uri);
        let uri = message.values(Name::CallInfo).find_map(named)?;
        (uri.len() <= limits::KEPT_VALUE_BYTES).then(|| CompactString::from_utf8_lossy(uri))
    };
    (find(CALL_ID), find(INCIDENT_ID))
}

/// True for a value of Call-Info that identifies a call or an incident. Ours are the only ones that a trunk gets.
pub(super) fn is_identifier(call_info: &[u8]) -> bool {
    let info = NameAddr::parse(call_info);
    info.is_ok_and(|info| [CALL_ID, INCIDENT_ID].iter().any(|(purpose, _)| is_for(&info, purpose)))
}

/// Its older spelling counts too: `nena-CallId`.
fn is_for(info: &NameAddr<'_>, purpose: &str) -> bool {
    let older = purpose.replace("emergency-", "nena-");
    let said = info.params.value("purpose").unwrap_or_default();
    said.eq_ignore_ascii_case(purpose.as_bytes()) || said.eq_ignore_ascii_case(older.as_bytes())
}

/// A Resource-Priority value of a PSAP (RFC 7135).
pub(super) fn is_esnet(priority: &[u8]) -> bool {
    priority.get(..6).is_some_and(|namespace| namespace.eq_ignore_ascii_case(b"esnet."))
}

/// True when a priority must be understood, and is not one of ours (RFC 4412 §4.6.2).
pub(super) fn is_priority_unknown(invite: &Message) -> bool {
    let is_required = invite.values(Name::Require).any(|tag| tag.eq_ignore_ascii_case(b"resource-priority"));
    is_required && !invite.values(Name::ResourcePriority).any(is_esnet)
}

/// The body with the address beside what it had, and the lines that point at it.
fn locate(
    parts: &mut Parts<'_>,
    dialling: &Dialling,
    civic: &Civic,
    element: &str,
    lines: &mut Lines,
    content: Option<Content>,
) -> Option<Content> {
    let now = parts.context.now.as_millis().saturating_add_signed(parts.wall_offset_ms).min(LAST_TIME);
    let timestamp = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(now)).to_string();
    let entity = format!("pres:{}@{element}", dialling.identity());
    let Ok(body) = geo::pidf_lo(civic, geo::Told { entity: &entity, timestamp: &timestamp }) else { return content };
    let content_id = format!("{:016x}@{element}", parts.context.rng.u64());
    let boundary = format!("{:016x}", parts.context.rng.u64());
    lines.push(b"Geolocation", format!("<cid:{content_id}>").as_bytes());
    // RFC 6442 §4.2: at most one.
    if !dialling.says(Name::GeolocationRouting) {
        lines.push(b"Geolocation-Routing", b"yes");
    }
    let part = Part { content_type: PIDF_LO, content_id: &content_id, body: &body };
    Some(Content::with_part(content, &boundary, &part))
}

/// True when `invite` brings a location, or a body in which one may be hidden (RFC 6442 §4.1: none is added to it then). What points
/// at a part that was taken out on its way tells nothing.
pub(super) fn tells_location(invite: &Message) -> bool {
    let is_there = |value: &[u8]| pointed_at(value).is_none_or(|id| memmem::find(invite.body(), id).is_some());
    let found = mime::locate_all(invite.content_type().unwrap_or_default(), invite.body(), PIDF_LO);
    invite.values(Name::Geolocation).any(is_there) || !found.is_ok_and(|places| places.is_empty())
}

/// An address in another country than the call is in is out of date: worse than none.
fn is_there(civic: &Civic, country: Option<Country>) -> bool {
    let of_address = civic.elements.iter().find(|(name, _)| *name == "country");
    let of_address = of_address.and_then(|(_, code)| Country::parse(code.as_bytes()));
    match (of_address, country) {
        (Some(one), Some(other)) => one.normalised() == other.normalised(),
        _ => true,
    }
}

fn location_in_words(trunk: &Trunk, dialling: &Dialling, is_there: bool) -> String {
    let why = match (trunk.location, dialling.tells_location(), is_there) {
        (Location::Pass, _, _) => "is not sent: the trunk takes what phones send",
        (Location::Add, true, _) => "is not sent: the phone tells where it is",
        (Location::Add, false, false) => "is not sent: it is in another country",
        (Location::Add, false, true) => "goes along",
    };
    format!("The configured location {why} (trunk {})", trunk.name)
}

/// Who is responsible for the caller.
fn resource<'c>(config: &'c Config, call: &Call) -> Option<&'c Resource> {
    let user = call.user.as_ref()?;
    let of_pbx = || config.pbx_of(user).map(|(_, pbx)| &*pbx.resource);
    config.user(user).map(|user| &*user.resource).or_else(of_pbx)
}

/// The name of this daemon in what it identifies.
fn element(parts: &Parts<'_>) -> CompactString {
    if let Some(name) = &parts.config.node.element {
        return name.clone();
    }
    let mut hosts = parts.ua.settings().locals.iter().map(|local| &local.host);
    // The brackets of an IPv6 address have no place in a URN.
    hosts.find(|host| !host.starts_with('[')).map_or("sosbridge.invalid".into(), |host| host.as_str().into())
}
