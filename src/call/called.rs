//! The number that a trunk calls. Most tell it as E.164 has it, with `+` or without; many a carrier as it is dialled in its country
//! (RFC 3966 §5.1.5). Of those only what is one number of ours, and no other, is taken for it.

use super::Parts;
use super::classify::{digits_of, number_of};
use super::lent::Holder;
use crate::base::E164;
use crate::config::{CountryRow, RouteAction, TrunkIdx};
use crate::sip::{Message, NameAddr, Scheme, Uri};

/// What opens a number of another country, where that is no `+` (ITU-T E.164 §7.3.2.1).
const ABROAD: [&str; 2] = ["00", "011"];

/// In the Request-URI; in a call to the Contact we registered at the trunk it stands in P-Called-Party-ID (RFC 7315 §4.2) or To.
pub(super) fn number_called(parts: &Parts<'_>, invite: &Message, trunk: TrunkIdx) -> Option<E164> {
    number_in(parts, trunk, invite.request_uri()).or_else(|| {
        let ours = parts.config.trunk(trunk)?.registered_user()?;
        Uri::parse(invite.request_uri()).ok().filter(|uri| *uri.unescaped_user() == *ours.as_bytes())?;
        let called = invite.header_named("P-Called-Party-ID").and_then(|value| NameAddr::parse(value).ok());
        let called = called.and_then(|called| number_in(parts, trunk, called.uri));
        called.or_else(|| number_in(parts, trunk, invite.to().uri))
    })
}

fn number_in(parts: &Parts<'_>, trunk: TrunkIdx, uri: &[u8]) -> Option<E164> {
    let told = number_of(uri);
    let is_ours =
        |number: &E164| Holder::of(parts, *number).is_some() || parts.config.user_by_number(*number).is_some();
    if told.as_ref().is_some_and(is_ours) {
        return told;
    }
    let mut meant = Uri::parse(uri).map(|uri| meanings(parts, trunk, &uri)).unwrap_or_default();
    meant.retain(is_ours);
    meant.sort_unstable();
    meant.dedup();
    match meant.as_slice() {
        [only] => Some(*only),
        _ => told,
    }
}

/// What digits without `+` may stand for: in the context they name, else in the countries whose calls go to the trunk.
fn meanings(parts: &Parts<'_>, trunk: TrunkIdx, uri: &Uri<'_>) -> Vec<E164> {
    let is_number = matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel);
    let digits = digits_of(uri).filter(|digits| is_number && !digits.starts_with('+'));
    let Some(digits) = digits else { return Vec::new() };
    let number = |text: String| E164::from_dialled(text.as_bytes());
    if let Some(context) = context_of(uri) {
        // Numbers of a domain are nobody's elsewhere.
        let global = context.starts_with('+').then(|| number(format!("{context}{digits}")));
        return global.flatten().into_iter().collect();
    }
    let abroad = ABROAD.iter().filter_map(|prefix| number(digits.strip_prefix(prefix)?.to_owned()));
    let rows = rows_of(parts, trunk);
    let national = rows.iter().flat_map(|row| {
        let without = digits.strip_prefix('0').unwrap_or(&digits);
        [number(format!("{}{digits}", row.dial_code)), number(format!("{}{without}", row.dial_code))]
    });
    abroad.chain(national.flatten()).collect()
}

/// The value of `phone-context`: also in the user part, where the URI stands for a telephone number (RFC 3261 §19.1.6).
fn context_of(uri: &Uri<'_>) -> Option<String> {
    let user = uri.unescaped_user();
    let in_user = || user.split(|byte| *byte == b';').find_map(|param| param.strip_prefix(b"phone-context="));
    let context = uri.params.value("phone-context").or_else(in_user)?;
    Some(String::from_utf8_lossy(context).into_owned())
}

/// The countries of the routes that lead to the trunk; of one that only brings calls, all.
fn rows_of<'a>(parts: &Parts<'a>, trunk: TrunkIdx) -> Vec<&'a CountryRow> {
    let leads = |action: &RouteAction| matches!(action, RouteAction::Trunks(trunks) if trunks.contains(&trunk));
    let routes = || parts.config.routes.iter();
    let is_led_to = routes().any(|route| leads(&route.action));
    let routes = routes().filter(|route| !is_led_to || leads(&route.action));
    routes.flat_map(|route| &route.countries).filter_map(|country| parts.countries.row(*country)).collect()
}
