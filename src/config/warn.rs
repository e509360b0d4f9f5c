//! What would refuse an emergency call although the configuration can be run (SPEC §1, §2; the command `check`).

use super::build::Places;
use super::read::Report;
use super::types::*;
use super::{Country, NumberKind, Overflow};
use crate::base::Protocol;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub(super) fn check(config: &Config, places: &Places, report: &Report) {
    resources(config, places, report);
    users(config, places, report);
    routes(config, places, report);
    pools(config, places, report);
    trunks(config, places, report);
    transfers(config, places, report);
    sources(config, places, report);
    within(config, places, report);
    pbxs(config, places, report);
    desk(config, places, report);
    told(config, places, report);
    media(config, places, report);
}

/// Where the relay is told to be must be a place that phones and trunks reach.
fn media(config: &Config, places: &Places, report: &Report) {
    let relays = |mode: MediaMode| mode != MediaMode::Pass;
    let trunks = || config.trunks.iter().filter_map(|trunk| trunk.media);
    if !relays(config.media.mode) && !trunks().any(relays) {
        return;
    }
    browsers(config, places, report);
    let key = || "media.address".to_owned();
    let is_abroad = |listener: &&Listener| !listener.address.ip().is_loopback();
    let loopback = config.media.addresses.iter().find(|address| address.is_loopback());
    if let (Some(address), Some(listener)) = (loopback, config.listeners.iter().find(is_abroad)) {
        let message = format!(
            "media is told to be at {address}, and calls come to {} from elsewhere: nothing would be heard",
            listener.address
        );
        let help = "set media.address to the address by which phones and trunks reach this machine";
        warn(report, Some(&places.media), key(), message, help);
    }
    for (family, is_ipv4) in [("IPv4", true), ("IPv6", false)] {
        let listens = config.listeners.iter().any(|listener| listener.address.is_ipv4() == is_ipv4);
        if listens && !config.media.addresses.iter().any(|address| address.is_ipv4() == is_ipv4) {
            let message = format!(
                "calls come over {family}, and the relay has no {family} address: their media goes between the parties"
            );
            let help = r#"list an address of each family, as in address = ["192.0.2.1", "2001:db8::1"]"#;
            warn(report, Some(&places.media), key(), message, help);
        }
    }
}

/// Browsers speak DTLS-SRTP with ICE and nothing else, and the relay converts nothing.
fn browsers(config: &Config, places: &Places, report: &Report) {
    let is_web = |listener: &&Listener| matches!(listener.protocol, Protocol::Ws | Protocol::Wss);
    let Some(listener) = config.listeners.iter().find(is_web) else { return };
    let is_relayed = |trunk: &&Trunk| trunk.media.unwrap_or(config.media.mode) == MediaMode::Relay;
    if let Some(trunk) = config.trunks.iter().find(is_relayed) {
        let message = format!(
            "browsers call over {}, and calls over trunk {:?} go through the relay, which cannot convert their media: nothing would be heard",
            listener.address, trunk.name
        );
        let help = r#"set media.mode = "rtpengine", and run one"#;
        warn(report, Some(&places.media), "media.mode".to_owned(), message, help);
    }
}

fn warn(report: &Report, span: Option<&Range<usize>>, key: String, message: String, help: &str) {
    report.warning(span.unwrap_or(&(0..0)), key, message, Some(help.to_owned()));
}

fn users_of<'c>(config: &'c Config, resource: &'c Arc<Resource>) -> impl Iterator<Item = (usize, &'c User)> {
    config.users.iter().enumerate().filter(move |(_, user)| Arc::ptr_eq(&user.resource, resource))
}

/// The country that counts for a user when a call does not tell another.
fn home(user: &User) -> Option<Country> {
    user.country.or(user.resource.unknown_country).map(Country::normalised)
}

/// Direct routes take calls without a number of the resource.
fn beside_direct(resource: &Resource) -> &'static str {
    if resource.direct_routes.is_empty() { "" } else { " that none of its direct_routes takes" }
}

/// A call of which no country is known.
fn untold(config: &Config) -> &'static str {
    match config.geo.database {
        None => "a call that does not tell its country",
        Some(_) => "a call that does not tell its country, from an address the database does not know,",
    }
}

fn serves(pool: &Pool, resource: &Arc<Resource>) -> bool {
    pool.resource.as_ref().is_none_or(|only| Arc::ptr_eq(only, resource))
}

fn resources(config: &Config, places: &Places, report: &Report) {
    for (at, resource) in config.resources.iter().enumerate() {
        let users = users_of(config, resource).count();
        if users > 0 && !resource.may_call() {
            let message = format!(
                "resource {:?} owns no number with make_calls: every emergency call of its {users} users{} is refused",
                resource.name,
                beside_direct(resource)
            );
            let help = "add make_calls = true to one of its numbers";
            warn(report, places.resources.get(at), format!("resources[{at}].numbers"), message, help);
        }
        let is_used = users > 0 || config.pbxs.iter().any(|pbx| Arc::ptr_eq(&pbx.resource, resource));
        if is_used && config.overflow(resource).is_some_and(Overflow::is_lent) {
            let message = format!(
                "every number with make_calls of resource {:?} is a user's own: when the pools run out, calls go out with them, \
                 and a callback that does not say it is one rings whose number it is",
                resource.name
            );
            let help = "set overflow to a number of nobody, or buy one more with make_calls";
            warn(report, places.resources.get(at), format!("resources[{at}].overflow"), message, help);
        }
    }
}

fn users(config: &Config, places: &Places, report: &Report) {
    for resource in &config.resources {
        let unknown: Vec<_> = users_of(config, resource).filter(|(_, user)| home(user).is_none()).collect();
        if let (Some((at, first)), OutsideCountries::Reject) = (unknown.first(), resource.outside_countries) {
            let message = format!(
                "{} without a country, and resource {:?} has no unknown_country: {} is refused",
                count(unknown.len(), first),
                resource.name,
                untold(config),
            );
            let help = "give the users a country, or the resource an unknown_country";
            warn(report, places.users.get(*at), format!("users[{at}].country"), message, help);
        }
        let abroad = |user: &User| home(user).is_some_and(|country| config.country(country).is_none());
        let outside: Vec<_> = users_of(config, resource).filter(|(_, user)| abroad(user)).collect();
        if let (Some((at, first)), OutsideCountries::Reject) = (outside.first(), resource.outside_countries) {
            let message = format!(
                "{} in a country without emergency numbers: the calls are refused",
                count(outside.len(), first)
            );
            let help = r#"add [[countries]], or set outside_countries = "best-effort""#;
            warn(report, places.users.get(*at), format!("users[{at}].country"), message, help);
        }
    }
    let served = |user: &User| config.sip.domains.iter().any(|domain| domain == user.aor.domain());
    let strange: Vec<_> = config.users.iter().enumerate().filter(|(_, user)| !served(user)).collect();
    if let Some((at, first)) = strange.first() {
        let message = format!(
            "{} of a domain that `sip.domains` does not name, and cannot register",
            count(strange.len(), first)
        );
        warn(report, places.users.get(*at), format!("users[{at}].aor"), message, "add the domain to sip.domains");
    }
}

/// `sip:alice@example.com is`, `3 users (the first is sip:alice@example.com) are`.
fn count(users: usize, first: &User) -> String {
    if users == 1 { format!("{} is", first.aor) } else { format!("{users} users (the first is {}) are", first.aor) }
}

fn routes(config: &Config, places: &Places, report: &Report) {
    let (mut unrouted, mut rerouted) = (Vec::new(), Vec::new());
    for row in &config.countries {
        for number in &row.emergency {
            match config.route_or_instead(row.code, number, NumberKind::Emergency) {
                None => unrouted.push(format!("{} {number}", row.code)),
                Some((_, asked)) if asked != number => rerouted.push(format!("{} {number} (as {asked})", row.code)),
                Some(_) => {}
            }
        }
    }
    if !rerouted.is_empty() {
        let message = format!(
            "no route of their own for {}: these emergency calls go by that of another number, with an alarm",
            rerouted.join(", ")
        );
        let help = "name them in `numbers` of a route, or leave out `numbers`";
        warn(report, places.routes.first(), "routes".to_owned(), message, help);
    }
    if !unrouted.is_empty() {
        let message = format!("no route for {}: these emergency calls are refused", unrouted.join(", "));
        warn(report, places.routes.first(), "routes".to_owned(), message, "add [[routes]] for them");
    }
    for (at, route) in config.routes.iter().enumerate() {
        let bare: Vec<_> = route
            .countries
            .iter()
            .filter(|country| !config.pools.iter().any(|pool| pool.countries.contains(country)))
            .collect();
        if !bare.is_empty() {
            let countries: Vec<_> = bare.iter().map(ToString::to_string).collect();
            let message = format!(
                "no pool has temporary numbers for {}: calls there go out on the user's own number or a shared one",
                countries.join(", ")
            );
            warn(
                report,
                places.routes.get(at),
                format!("routes[{at}].countries"),
                message,
                "add [[pools]] with these countries",
            );
        }
    }
}

fn pools(config: &Config, places: &Places, report: &Report) {
    // Users by resource and country, and what they may draw from.
    let mut demand = Demand::new();
    for user in &config.users {
        if let Some(country) = home(user) {
            demand.entry((&user.resource.name, country)).or_insert((&user.resource, 0)).1 += 1;
        }
    }
    // How many call from behind a PBX nobody knows.
    for pbx in &config.pbxs {
        if let Some(country) = pbx.resource.unknown_country.map(Country::normalised) {
            demand.entry((&pbx.resource.name, country)).or_insert((&pbx.resource, 0));
        }
    }
    small_pools(config, places, report, &demand);
    for ((name, country), (resource, _)) in &demand {
        let has_any = config.pools.iter().any(|pool| pool.countries.contains(country));
        let has_own = config.pools.iter().any(|pool| pool.countries.contains(country) && serves(pool, resource));
        if has_any && !has_own {
            let at = config.resources.iter().position(|other| Arc::ptr_eq(other, resource)).unwrap_or(0);
            let message = format!(
                "callers of resource {name:?} are in {country}, and no pool for {country} is open to them: their calls go out on their \
                 own number or a shared one"
            );
            warn(report, places.resources.get(at), "pools".to_owned(), message, "add [[pools]] for this resource");
        }
    }
}

/// Users by resource and country.
type Demand<'c> = BTreeMap<(&'c str, Country), (&'c Arc<Resource>, u64)>;

/// Pools with fewer numbers than users: for all who draw on a pool together, and for those of one resource in one country, who may have
/// less to draw on than the others.
fn small_pools(config: &Config, places: &Places, report: &Report, demand: &Demand<'_>) {
    let draws = |country: Country, resource: &Arc<Resource>, pool: &Pool| {
        pool.countries.contains(&country) && serves(pool, resource)
    };
    for (at, pool) in config.pools.iter().enumerate() {
        let drawn: Vec<_> = demand
            .iter()
            .map(|((_, country), (resource, users))| (*country, *resource, *users))
            .filter(|(country, resource, _)| draws(*country, resource, pool))
            .collect();
        let open_to = |those: &[(Country, &Arc<Resource>, u64)]| -> (u64, u64) {
            let is_open = |pool: &&Pool| those.iter().any(|(country, resource, _)| draws(*country, resource, pool));
            let numbers = config.pools.iter().filter(is_open).map(Pool::len).sum();
            (those.iter().map(|(_, _, users)| users).sum(), numbers)
        };
        let alone = drawn.iter().map(|one| open_to(std::slice::from_ref(one)));
        let short = std::iter::once(open_to(&drawn)).chain(alone).find(|(users, numbers)| users > numbers);
        if let Some((users, numbers)) = short {
            let message = format!(
                "{users} users draw on {numbers} numbers here: when they run out, callbacks may reach only the overflow number"
            );
            let help = "add numbers, at least one for each user";
            warn(report, places.pools.get(at), format!("pools[{at}].numbers"), message, help);
        }
    }
}

fn trunks(config: &Config, places: &Places, report: &Report) {
    for (at, trunk) in config.trunks.iter().enumerate() {
        if trunk.targets.is_empty() {
            let message = format!("trunk {:?} has no targets: no call can be sent to it", trunk.name);
            warn(
                report,
                places.trunks.get(at),
                format!("trunks[{at}].targets"),
                message,
                r#"add targets = [{ uri = "sip:…" }]"#,
            );
        }
        for target in trunk.targets.iter().filter(|target| !is_reachable(config, target)) {
            let message = format!("no listener can send to {}: no call reaches that target", target.uri);
            let help = "add [[sip.listen]] with its transport and an address of its family";
            warn(report, places.trunks.get(at), format!("trunks[{at}].targets"), message, help);
        }
        let is_tls = |protocol: Option<Protocol>| protocol == Some(Protocol::Tls);
        let listens = config.listeners.iter().any(|listener| listener.protocol == Protocol::Tls);
        if !listens && trunk.targets.iter().any(|target| is_tls(target.protocol)) {
            let message = format!(
                "trunk {:?} is reached over tls, and no listener is tls: our Contact there names another",
                trunk.name
            );
            let help =
                "add [[sip.listen]] with transport = \"tls\", or requests inside a call may not find their way back";
            warn(report, places.trunks.get(at), format!("trunks[{at}].targets"), message, help);
        }
        if trunk.accept_from.is_empty() {
            let message = format!("trunk {:?} has no accept_from: callbacks from it are refused", trunk.name);
            warn(
                report,
                places.trunks.get(at),
                format!("trunks[{at}].accept_from"),
                message,
                "add the networks its calls come from",
            );
        }
    }
}

/// Numbers that cost, at a trunk that takes ordinary calls, within reach of another trunk's call takers (CONFORMANCE RE-4).
fn transfers(config: &Config, places: &Places, report: &Report) {
    let direct = config.resources.iter().flat_map(|resource| &resource.direct_routes).flat_map(|route| &route.trunks);
    let ordinary: Vec<TrunkIdx> = config.other_calls.trunk.iter().chain(direct).copied().collect();
    let routed = |country: Country| {
        let routes = config.routes.iter().filter(move |route| route.countries.contains(&country));
        routes.flat_map(|route| match &route.action {
            RouteAction::Trunks(trunks) => trunks.as_slice(),
            RouteAction::TestLine => &[],
        })
    };
    let trunks = (0..).map(TrunkIdx).zip(&config.trunks).enumerate();
    for (at, (own, trunk)) in trunks.filter(|(_, (_, trunk))| trunk.transfer_to.is_none()) {
        let countries = config.countries.iter().map(|row| row.code).filter(|code| routed(*code).any(|idx| *idx == own));
        let mut reached: Vec<TrunkIdx> =
            countries.flat_map(routed).copied().filter(|other| *other != own && ordinary.contains(other)).collect();
        reached.sort_unstable();
        reached.dedup();
        let names: Vec<_> = reached.iter().filter_map(|idx| config.trunk(*idx)).map(|other| &other.name).collect();
        if !names.is_empty() {
            let message = format!(
                "trunk {:?} has no transfer_to: its call takers may transfer a caller to any number over {names:?}, which ordinary \
                 calls use too",
                trunk.name
            );
            let help =
                "write in transfer_to the numbers and hosts they hand callers on to; [] is emergency numbers alone";
            warn(report, places.trunks.get(at), format!("trunks[{at}].transfer_to"), message, help);
        }
    }
}

/// What is configured for trunks to be told, and no trunk is.
fn told(config: &Config, places: &Places, report: &Report) {
    let located = config.users.iter().position(|user| user.location.is_some());
    let wanted = config.trunks.iter().any(|trunk| trunk.location == Location::Add);
    if let (Some(at), false) = (located, wanted) {
        let message = "users have a location, and no trunk wants it: it is never sent".to_owned();
        let help = r#"write location = "add" in the [[trunks]] that take multipart bodies"#;
        warn(report, places.users.get(at), format!("users[{at}].location"), message, help);
    }
    let marked = config.trunks.iter().position(|trunk| trunk.add_nena_ids);
    if let (Some(at), None) = (marked, &config.node.element) {
        let message =
            "identifiers of calls end in the name of this daemon, and it has none: an address stands there".to_owned();
        let help = r#"write [node] element = "sos.example.net", a host name of yours"#;
        warn(report, places.trunks.get(at), format!("trunks[{at}].add_nena_ids"), message, help);
    }
}

/// Calls from one source are those of one trunk, or of one PBX.
fn sources(config: &Config, places: &Places, report: &Report) {
    let mut owners: Vec<(&AcceptFrom, String)> = Vec::new();
    let trunks = config.trunks.iter().zip(&places.trunks).enumerate().map(|(at, (trunk, span))| {
        (format!("trunk {:?}", trunk.name), &trunk.accept_from, span, format!("trunks[{at}].accept_from"))
    });
    let pbxs = config.pbxs.iter().zip(&places.pbxs).enumerate().map(|(at, (pbx, span))| {
        (format!("PBX {:?}", pbx.name), &pbx.addresses, span, format!("pbxs[{at}].addresses"))
    });
    for (owner, sources, span, key) in trunks.chain(pbxs) {
        for source in sources {
            let earlier = owners.iter().find(|(known, other)| *known == source && *other != owner);
            if let Some((_, earlier)) = earlier {
                let message =
                    format!("{owner} names the same source as {earlier}, which gets all calls from there: {source}");
                warn(report, Some(span), key.clone(), message, "tell them apart by address:port");
            }
            owners.push((source, owner.clone()));
        }
    }
}

/// A trunk's network is asked before a PBX's address: what is no call for help would be taken for a call of the trunk.
fn within(config: &Config, places: &Places, report: &Report) {
    for (at, pbx) in config.pbxs.iter().enumerate() {
        for source in &pbx.addresses {
            let is_around = |known: &AcceptFrom| match (known, source) {
                (AcceptFrom::Network(wide), AcceptFrom::Network(narrow)) => wide != narrow && wide.contains(narrow),
                (AcceptFrom::Network(wide), AcceptFrom::Address(address)) => wide.contains(&address.ip()),
                _ => false,
            };
            let around = config.trunks.iter().find(|trunk| trunk.accept_from.iter().any(is_around));
            let Some(trunk) = around else { continue };
            let message = format!(
                "PBX {:?} at {source} is in a network of trunk {:?}: of its calls only those to emergency numbers are its own",
                pbx.name, trunk.name
            );
            let help = "name the addresses of the trunk alone in its accept_from";
            warn(report, places.pbxs.get(at), format!("pbxs[{at}].addresses"), message, help);
        }
    }
}

fn pbxs(config: &Config, places: &Places, report: &Report) {
    for (at, pbx) in config.pbxs.iter().enumerate() {
        if !pbx.resource.may_call() {
            let message = format!(
                "resource {:?} owns no number with make_calls: every emergency call of PBX {:?}{} is refused",
                pbx.resource.name,
                pbx.name,
                beside_direct(&pbx.resource)
            );
            let help = "add make_calls = true to one of its numbers";
            warn(report, places.pbxs.get(at), format!("pbxs[{at}].resource"), message, help);
        }
        let is_strict = pbx.resource.outside_countries == OutsideCountries::Reject;
        let unknown = pbx.resource.unknown_country.map(Country::normalised);
        if let Some(country) = unknown.filter(|country| is_strict && config.country(*country).is_none()) {
            let message = format!(
                "unknown_country of resource {:?} is {country}, without emergency numbers: calls of PBX {:?} that do not tell their \
                 country are refused",
                pbx.resource.name, pbx.name
            );
            let help = r#"add [[countries]], or set outside_countries = "best-effort""#;
            warn(report, places.pbxs.get(at), format!("pbxs[{at}].resource"), message, help);
        }
        if is_strict && unknown.is_none() {
            let message = format!(
                "resource {:?} of PBX {:?} has no unknown_country: {} is refused",
                pbx.resource.name,
                pbx.name,
                untold(config)
            );
            let help = "give the resource an unknown_country";
            warn(report, places.pbxs.get(at), format!("pbxs[{at}].resource"), message, help);
        }
        if !is_reachable(config, &pbx.target) {
            let message = format!("no listener can send to {}: no callback reaches PBX {:?}", pbx.target.uri, pbx.name);
            let help = "add [[sip.listen]] with its transport and an address of its family";
            warn(report, places.pbxs.get(at), format!("pbxs[{at}].target"), message, help);
        }
    }
}

/// A desk that a callback could never ring.
fn desk(config: &Config, places: &Places, report: &Report) {
    let Some(desk) = &config.callback.desk else { return };
    let (what, help) = match crate::sip::Uri::parse(desk.as_bytes()).ok().filter(crate::sip::Uri::is_sip) {
        Some(uri) => {
            let user = super::Aor::from_uri(&uri).and_then(|aor| config.user_served(&aor));
            if user.is_some() || uri.host.ip().is_some() {
                return;
            }
            ("is neither a user nor at an address", "write the address of the desk, as in \"sip:desk@192.0.2.1\"")
        }
        None => {
            let user = desk.parse().ok().and_then(|number| config.user_by_number(number));
            if user.is_some() || config.other_calls.trunk.is_some() {
                return;
            }
            ("is a number, and no trunk leads there", "set [other_calls] trunk")
        }
    };
    let message = format!("desk {desk:?} {what}: a callback that reaches nobody ends");
    warn(report, Some(&places.callback), "callback.desk".to_owned(), message, help);
}

/// Whether a listener has the address family of the target, and for datagrams is one of datagrams.
fn is_reachable(config: &Config, target: &Target) -> bool {
    let is_udp = target.protocol.unwrap_or(Protocol::Udp) == Protocol::Udp;
    let family = |listener: &Listener| target.literal().is_none_or(|at| at.is_ipv4() == listener.address.is_ipv4());
    config.listeners.iter().any(|listener| family(listener) && (!is_udp || listener.protocol == Protocol::Udp))
}
