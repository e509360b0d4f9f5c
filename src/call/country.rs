//! The country of a caller, and what told it (SPEC §1).

use super::Parts;
use super::classify::Caller;
use super::history::CountrySource;
use crate::config::{Aor, Country};
use crate::geo;
use crate::registrar::Binding;
use crate::sip::Message;
use crate::transport::Flow;

/// The caller's country and what told it, in the order of SPEC §1.
pub(super) fn country_of(
    parts: &Parts<'_>,
    invite: &Message,
    flow: &Flow,
    caller: &Caller,
) -> Option<(Country, CountrySource)> {
    let header = || invite.header_named("X-Country-Code").and_then(Country::parse);
    let body = || geo::country_from_body(invite.content_type().unwrap_or_default(), invite.body());
    let registration = || binding_of_caller(parts, invite, flow, &caller.aor).and_then(|binding| binding.country);
    let told = |source: CountrySource| {
        let country = match source {
            CountrySource::CallHeader => header(),
            CountrySource::Location => body(),
            CountrySource::Registration => registration(),
            CountrySource::User => caller.country,
            CountrySource::Geolocation => parts.country_at(flow),
            CountrySource::Resource => caller.resource.unknown_country,
        };
        parts.trace.note(|| match country {
            None if source == CountrySource::Geolocation && parts.is_unreliable(flow) => {
                "Country: the IP address is in a network of [geo] unreliable, and is not asked for it".to_owned()
            }
            None => format!("Country: {} tells none", source.in_words()),
            Some(country) if country != country.normalised() => {
                format!("Country: {} says {country}, which is served as {}", source.in_words(), country.normalised())
            }
            Some(country) => format!("Country: {} says {country}, and decides", source.in_words()),
        });
        Some((country?.normalised(), source))
    };
    CountrySource::ALL.into_iter().find_map(told)
}

/// The registration of the phone that calls: that of its instance, else of its contact, else the only one over its flow, else
/// the only one at all. What another phone of the user said of its country is not this one's.
fn binding_of_caller<'a>(parts: &'a Parts<'_>, invite: &Message, flow: &Flow, user: &Aor) -> Option<&'a Binding> {
    let bindings = parts.registrar.bindings(user);
    let contact = invite.contact();
    let instance = contact.as_ref().and_then(|contact| contact.params.value("+sip.instance"));
    let uri = contact.as_ref().map(|contact| contact.uri);
    let is_its = |binding: &&Binding| instance.is_some() && binding.instance() == instance;
    let may_be_its =
        |binding: &&Binding| instance.is_none() || binding.instance().is_none_or(|own| Some(own) == instance);
    let is_there = |binding: &&Binding| Some(binding.contact().as_bytes()) == uri && may_be_its(binding);
    let only = |is_fit: &dyn Fn(&Binding) -> bool| {
        let mut fit = bindings.iter().filter(|binding| is_fit(binding));
        let first = fit.next().filter(may_be_its)?;
        fit.next().is_none().then_some(first)
    };
    let named = || parts.registrar.named(user, uri?);
    let known = bindings.iter().find(is_its).or_else(|| bindings.iter().find(is_there)).or_else(named);
    known.or_else(|| only(&|binding| binding.is_on(flow))).or_else(|| only(&|_| true))
}
