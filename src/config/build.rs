//! From text to [`Config`]: the sections in the order in which they need each other.

use super::index::Index;
use super::links::{self, Claims};
use super::problem::{Problem, Severity};
use super::read::{Keys, Report};
use super::types::{Config, Route, RouteAction, User};
use super::{Loaded, sections, tenants, traffic, warn};
use compact_str::CompactString;
use std::collections::BTreeSet;
use std::path::Path;
use toml::de::DeTable;

pub(super) fn load(text: &str, base_dir: &Path) -> Result<Loaded, Vec<Problem>> {
    let (document, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        // What follows a broken line is guesswork: better the true faults alone.
        return Err(faults.iter().map(|fault| syntax_problem(fault, text)).collect());
    }
    let report = Report::default();
    let root = Keys::root(document.get_ref(), &report);
    let (config, places) = build(root, base_dir, &report);
    if report.is_without_errors() {
        warn::check(&config, &places, &report);
    }
    let (errors, warnings) = report.into_parts();
    if errors.is_empty() { Ok(Loaded { config, warnings }) } else { Err(errors) }
}

/// Where the lists of the configuration stand in the file, for warnings.
pub(super) struct Places {
    pub resources: Vec<std::ops::Range<usize>>,
    pub users: Vec<std::ops::Range<usize>>,
    pub pbxs: Vec<std::ops::Range<usize>>,
    pub pools: Vec<std::ops::Range<usize>>,
    pub trunks: Vec<std::ops::Range<usize>>,
    pub routes: Vec<std::ops::Range<usize>>,
    /// `[media]`, or the file where there is none.
    pub media: std::ops::Range<usize>,
    pub callback: std::ops::Range<usize>,
}

fn build(mut root: Keys<'_>, base_dir: &Path, report: &Report) -> (Config, Places) {
    let mut claims = Claims::default();
    let node = sections::node(root.section("node"));
    let store = sections::store(root.section("store"), base_dir);
    let (mut sip, listeners, timers) = sections::sip(root.section("sip"), base_dir);
    let default_realm = sip.domains.first().map_or("sosbridge", CompactString::as_str);
    let registrar = sections::registrar(root.section("registrar"), default_realm);
    let countries = tenants::countries(&mut root);
    let trunks = traffic::trunks(&mut root, base_dir);
    let resources = tenants::resources(&mut root, &trunks.names, &mut claims);
    let users = tenants::users(&mut root, &resources, &countries, &registrar.realm, &mut claims);
    let pbxs = tenants::pbxs(&mut root, &resources, base_dir);
    let pools = tenants::pools(&mut root, &resources, &countries, &mut claims);
    let routes = traffic::routes(&mut root, &trunks.names, &countries);
    links::check(claims, report);
    if sip.domains.is_empty() {
        let hosts = listeners.iter().map(|listener| listener.advertise_host.clone());
        sip.domains = default_domains(&users.list, hosts);
    }
    links::pbx_domains(&pbxs.list, &pbxs.spans, &users.list, &sip.domains, report);
    let (media, callback) = (root.span_of("media"), root.span_of("callback"));
    let config = Config {
        geo: sections::geo(root.section("geo"), base_dir),
        lease: sections::lease(root.section("lease")),
        routing: sections::routing(root.section("routing")),
        callback: sections::callback(root.section("callback")),
        other_calls: traffic::other_calls(root.section("other_calls"), &trunks.names),
        media: sections::media(root.section("media"), &listeners),
        notify: sections::notify(root.section("notify"), base_dir),
        admin: sections::admin(root.section("admin")),
        index: Index::new(&users.list, &trunks.list, &resources.list),
        test_line: Route { countries: Vec::new(), numbers: Vec::new(), action: RouteAction::TestLine },
        node,
        store,
        sip,
        listeners,
        timers,
        registrar,
        resources: resources.list,
        users: users.list,
        pbxs: pbxs.list,
        countries,
        pools: pools.list,
        trunks: trunks.list,
        routes: routes.list,
    };
    root.finish();
    let places = Places {
        resources: resources.spans,
        users: users.spans,
        pbxs: pbxs.spans,
        pools: pools.spans,
        trunks: trunks.spans,
        routes: routes.spans,
        media,
        callback,
    };
    (config, places)
}

fn default_domains(users: &[User], hosts: impl Iterator<Item = CompactString>) -> Vec<CompactString> {
    let domains: BTreeSet<CompactString> = users.iter().map(|user| user.aor.domain().into()).chain(hosts).collect();
    domains.into_iter().collect()
}

fn syntax_problem(fault: &toml::de::Error, text: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        message: format!("this is not TOML: {}", fault.message()),
        help: None,
        span: fault.span().unwrap_or(text.len()..text.len()),
        key: String::new(),
    }
}
