//! Where calls go: trunks, routes, other calls.

use super::names::Names;
use super::read::{At, Fault, Keys};
use super::types::*;
use super::{Country, CountryRow, NumberKind, crossing, security, values};
use compact_str::CompactString;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Trunks with their names and the place of each in the file.
pub(super) struct Trunks {
    pub list: Vec<Trunk>,
    pub names: Names,
    /// Of the name.
    pub spans: Vec<Range<usize>>,
}

pub(super) fn trunks(root: &mut Keys<'_>, base_dir: &Path) -> Trunks {
    let mut trunks = Trunks { list: Vec::new(), names: Names::new("trunk"), spans: Vec::new() };
    for mut keys in root.tables("trunks") {
        if let Some((name, trunk)) = trunk(&mut keys, base_dir) {
            trunks.names.add(&keys, &name, trunks.list.len());
            trunks.spans.push(name.span);
            trunks.list.push(trunk);
        }
        keys.finish();
    }
    trunks
}

fn trunk(keys: &mut Keys<'_>, base_dir: &Path) -> Option<(At<CompactString>, Trunk)> {
    let uris = [("number", RequestUri::Number), ("urn", RequestUri::Urn)];
    let identities = [("sip", Identity::Sip), ("tel", Identity::Tel), ("both", Identity::Both)];
    let locations = [("pass", Location::Pass), ("add", Location::Add)];
    let hour = Duration::from_secs(3600);
    let name = keys.required("name", values::name);
    let interval = keys.duration("options_interval", Duration::from_secs(30), Duration::ZERO..=hour);
    let trunk = Trunk {
        name: name.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
        targets: keys.tables("targets").filter_map(target).collect(),
        accept_from: keys.list("accept_from", values::accept_from).into_iter().map(|at| at.value).collect(),
        request_uri: keys
            .parsed("request_uri", |text| values::one_of(text, &uris))
            .map_or(RequestUri::default(), |at| at.value),
        identity: keys
            .parsed("identity", |text| values::one_of(text, &identities))
            .map_or(Identity::default(), |at| at.value),
        resource_priority: keys.parsed("resource_priority", values::resource_priority).map(|at| at.value),
        add_nena_ids: keys.flag("add_nena_ids", false),
        location: keys
            .parsed("location", |text| values::one_of(text, &locations))
            .map_or(Location::default(), |at| at.value),
        allow_headers: keys.list("allow_headers", crossing::allowed_header).into_iter().map(|at| at.value).collect(),
        options_interval: Some(interval).filter(|interval| !interval.is_zero()),
        answer_wait: keys.duration(
            "answer_wait",
            Duration::from_secs(2),
            Duration::from_millis(100)..=Duration::from_secs(32),
        ),
        progress_wait: keys.duration(
            "progress_wait",
            Duration::from_secs(20),
            Duration::from_secs(1)..=Duration::from_secs(180),
        ),
        username: keys.parsed("username", values::line).map(|at| at.value),
        password: keys.parsed("password", values::line).map(|at| Hidden(at.value)),
        register: keys.flag("register", false),
        transfer_to: transfer_to(keys),
        media: keys.parsed("media", values::media_mode).map(|at| at.value),
        tls: security::peer(keys, base_dir),
    };
    if trunk.password.is_some() != trunk.username.is_some() {
        let (has, lacks) = if trunk.username.is_some() { ("username", "password") } else { ("password", "username") };
        keys.fault(has, &keys.span_of(has), format!("is of no use without {lacks}").into());
    }
    if trunk.register && trunk.username.is_none() {
        let help = "write username and password";
        keys.fault("register", &keys.span_of("register"), Fault::helped("needs to know as whom", help));
    }
    Some((name?, trunk))
}

/// The key `transfer_to`; an empty list allows emergency numbers alone.
fn transfer_to(keys: &mut Keys<'_>) -> Option<Vec<TransferTo>> {
    let is_set = keys.has("transfer_to");
    let listed = keys.list("transfer_to", values::transfer_to).into_iter().map(|at| at.value).collect();
    is_set.then_some(listed)
}

fn target(mut keys: Keys<'_>) -> Option<Target> {
    let uri = keys.required("uri", values::target);
    let priority = keys.integer("priority", 1, 0..=u32::from(u16::MAX));
    let weight = keys.integer("weight", 1, 0..=u32::from(u16::MAX));
    keys.finish();
    let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    Some(Target { priority: narrow(priority), weight: narrow(weight), ..uri?.value })
}

/// The key `trunks` of a route: names in order, at least one.
pub(super) fn trunk_list(keys: &mut Keys<'_>, names: &Names) -> Vec<TrunkIdx> {
    let listed = keys.list("trunks", values::name);
    if listed.is_empty() && keys.report.is_clean(&keys.path_of("trunks")) {
        keys.fault("trunks", &keys.span_of("trunks"), "names no trunk".into());
    }
    let found =
        |(at, name): (usize, &At<CompactString>)| names.find(keys, &format!("trunks[{at}]"), name).map(TrunkIdx);
    listed.iter().enumerate().filter_map(found).collect()
}

/// The key `countries`: at least one, each with a row; territories as their country.
pub(super) fn country_list(keys: &mut Keys<'_>, rows: &[CountryRow]) -> Vec<Country> {
    let listed = keys.list("countries", values::country);
    if listed.is_empty() && keys.report.is_clean(&keys.path_of("countries")) {
        keys.fault("countries", &keys.span_of("countries"), "names no country".into());
    }
    let mut countries = Vec::new();
    for (at, code) in listed.iter().enumerate() {
        let country = code.value.normalised();
        if !rows.iter().any(|row| row.code == country) {
            let fault = format!("is {country}, whose emergency numbers are not known");
            let help = format!("add [[countries]] with code = \"{country}\", emergency and dial_code");
            keys.fault(&format!("countries[{at}]"), &code.span, Fault::helped(fault, help));
        }
        if !countries.contains(&country) {
            countries.push(country);
        }
    }
    countries
}

/// Routes with the place of each in the file.
pub(super) struct Routes {
    pub list: Vec<Route>,
    /// Of the header.
    pub spans: Vec<Range<usize>>,
}

pub(super) fn routes(root: &mut Keys<'_>, trunks: &Names, rows: &[CountryRow]) -> Routes {
    let mut routes = Routes { list: Vec::new(), spans: Vec::new() };
    for mut keys in root.tables("routes") {
        routes.spans.push(keys.span.clone());
        routes.list.push(route(&mut keys, trunks, rows));
        keys.finish();
    }
    routes
}

fn route(keys: &mut Keys<'_>, trunks: &Names, rows: &[CountryRow]) -> Route {
    let countries = country_list(keys, rows);
    let served: Vec<_> = rows.iter().filter(|row| countries.contains(&row.code)).collect();
    let numbers = keys.list("numbers", values::digits);
    let service = keys.parsed("service", |text| values::one_of(text, &[("test-line", ())]));
    for (at, number) in numbers.iter().enumerate() {
        let kinds = || served.iter().filter_map(|row| row.kind_of(&number.value));
        let key = format!("numbers[{at}]");
        if kinds().next().is_none() && !served.is_empty() {
            let known: Vec<_> = served.iter().flat_map(|row| row.emergency.iter().chain(&row.test)).cloned().collect();
            let fault = format!("is {:?}, no emergency or test number of these countries", number.value);
            keys.fault(&key, &number.span, Fault::helped(fault, format!("they have {}", known.join(", "))));
        } else if service.is_some() && kinds().any(|kind| kind == NumberKind::Emergency) {
            keys.fault(&key, &number.span, "is an emergency number: a test line must not answer it".into());
        }
    }
    if let (Some(service), true) = (&service, numbers.is_empty()) {
        keys.fault("service", &service.span, "needs `numbers`: without them the route is for emergency numbers".into());
    }
    let action = match (&service, keys.has("trunks")) {
        (Some(service), true) => {
            keys.fault("service", &service.span, "stands beside `trunks`: a route goes to one of them".into());
            RouteAction::TestLine
        }
        (Some(_), false) => RouteAction::TestLine,
        (None, _) => RouteAction::Trunks(trunk_list(keys, trunks)),
    };
    Route { countries, numbers: numbers.into_iter().map(|at| at.value).collect(), action }
}

pub(super) fn other_calls(mut keys: Keys<'_>, trunks: &Names) -> OtherCalls {
    let users = keys.flag("users", true);
    let trunk = keys.parsed("trunk", values::name);
    let trunk = trunk.and_then(|name| trunks.find(&keys, "trunk", &name)).map(TrunkIdx);
    keys.finish();
    OtherCalls { users, trunk }
}
