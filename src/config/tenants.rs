//! Who calls and with which numbers: countries, resources, users, PBXs, pools.

use super::links::{Claim, Claims, Owner};
use super::names::Names;
use super::read::{At, Fault, Keys};
use super::types::*;
use super::{Aor, CountryRow, civic, limits, security, values};
use crate::base::E164;
use compact_str::{CompactString, format_compact};
use md5::Digest as _;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The built-in rows with those of the file; a row of a known country replaces what it names. Sorted by code.
pub(super) fn countries(root: &mut Keys<'_>) -> Vec<CountryRow> {
    let mut rows = CountryRow::built_in();
    let mut seen = Vec::new();
    for mut keys in root.tables("countries") {
        let code = keys.required("code", values::country);
        let known = code.as_ref().and_then(|code| rows.iter().find(|row| row.code == code.value)).cloned();
        let emergency = keys.list("emergency", values::digits);
        let test = keys.list("test", values::digits);
        let dial_code = match &known {
            Some(_) => keys.parsed("dial_code", values::dial_code),
            None => keys.required("dial_code", values::dial_code),
        };
        if let Some(both) = test.iter().find(|test| emergency.iter().any(|number| number.value == test.value)) {
            keys.fault("test", &both.span, "is an emergency number too".into());
        }
        if emergency.is_empty() && (known.is_none() || keys.has("emergency")) {
            keys.fault("emergency", &keys.span_of("emergency"), "has no number to dial for help".into());
        }
        if let Some(code) = &code {
            if code.value != code.value.normalised() {
                keys.fault("code", &code.span, "is a territory treated as US".into());
            }
            if seen.contains(&code.value) {
                keys.fault("code", &code.span, "has a row already".into());
            }
            seen.push(code.value);
            let built_in = known.as_ref();
            let listed =
                |key: &str, numbers: Vec<At<CompactString>>, default: fn(&CountryRow) -> &Vec<CompactString>| {
                    let numbers = numbers.into_iter().map(|at| at.value).collect();
                    if keys.has(key) { numbers } else { built_in.map(default).cloned().unwrap_or_default() }
                };
            let row = CountryRow {
                code: code.value,
                emergency: listed("emergency", emergency, |row| &row.emergency),
                test: listed("test", test, |row| &row.test),
                dial_code: dial_code
                    .map(|at| at.value)
                    .or(built_in.map(|row| row.dial_code.clone()))
                    .unwrap_or_default(),
            };
            rows.retain(|other| other.code != row.code);
            rows.push(row);
        }
        keys.finish();
    }
    rows.sort_by_key(|row| row.code);
    rows
}

/// Resources with their names and the place of each in the file.
pub(super) struct Resources {
    pub list: Vec<Arc<Resource>>,
    pub names: Names,
    /// Of the name.
    pub spans: Vec<Range<usize>>,
}

impl Resources {
    /// The resource `key` of `keys` names.
    fn named(&self, keys: &mut Keys<'_>, key: &'static str, required: bool) -> Option<Arc<Resource>> {
        let name = if required { keys.required(key, values::name) } else { keys.parsed(key, values::name) }?;
        let place = self.names.find(keys, key, &name)?;
        self.list.get(usize::try_from(place).ok()?).cloned()
    }
}

pub(super) fn resources(root: &mut Keys<'_>, trunks: &Names, claims: &mut Claims) -> Resources {
    let mut resources = Resources { list: Vec::new(), names: Names::new("resource"), spans: Vec::new() };
    for mut keys in root.tables("resources") {
        let resource = resource(&mut keys, trunks, claims);
        if let Some((name, resource)) = resource {
            resources.names.add(&keys, &name, resources.list.len());
            resources.spans.push(name.span);
            resources.list.push(Arc::new(resource));
        }
        keys.finish();
    }
    resources
}

fn resource(keys: &mut Keys<'_>, trunks: &Names, claims: &mut Claims) -> Option<(At<CompactString>, Resource)> {
    let outside = [("reject", OutsideCountries::Reject), ("best-effort", OutsideCountries::BestEffort)];
    let foreign = [("treat", ForeignNumbers::Treat), ("reject", ForeignNumbers::Reject)];
    let name = keys.required("name", values::name);
    let numbers = keys.tables("numbers").filter_map(|keys| resource_number(keys, claims)).collect();
    let overflow = overflow(keys, claims);
    let resource = Resource {
        name: name.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
        numbers,
        overflow,
        inbound_default: keys.flag("inbound_default", true),
        unknown_country: keys.parsed("unknown_country", values::country).map(|at| at.value),
        outside_countries: keys
            .parsed("outside_countries", |text| values::one_of(text, &outside))
            .map_or(OutsideCountries::default(), |at| at.value),
        foreign_numbers: keys
            .parsed("foreign_numbers", |text| values::one_of(text, &foreign))
            .map_or(ForeignNumbers::default(), |at| at.value),
        outside_line_prefix: keys.parsed("outside_line_prefix", values::digits).map(|at| at.value),
        direct_routes: keys.tables("direct_routes").filter_map(|keys| direct_route(keys, trunks)).collect(),
        provider_info: keys.parsed("provider_info", values::data_url).map(|at| at.value),
    };
    Some((name?, resource))
}

/// The key `overflow`: one number, or several.
fn overflow(keys: &mut Keys<'_>, claims: &mut Claims) -> Vec<E164> {
    let span = keys.span_of("overflow");
    let listed = keys.one_or_more("overflow", values::number);
    if listed.len() > limits::OVERFLOW_NUMBERS {
        let fault = format!("has more than {} numbers", limits::OVERFLOW_NUMBERS);
        keys.fault("overflow", &span, fault.into());
        return Vec::new();
    }
    let mut numbers = Vec::new();
    for (at, number) in listed.iter().enumerate() {
        let key = if listed.len() > 1 { format!("overflow[{at}]") } else { "overflow".to_owned() };
        if numbers.contains(&number.value) {
            keys.fault(&key, &number.span, "is listed already".into());
        }
        claims.points.push(Claim::number(number, Owner::Overflow, keys.path_of(&key)));
        numbers.push(number.value);
    }
    numbers
}

fn resource_number(mut keys: Keys<'_>, claims: &mut Claims) -> Option<ResourceNumber> {
    let number = keys.required("number", values::number);
    let make_calls = keys.flag("make_calls", false);
    if let Some(number) = &number {
        claims.points.push(Claim::number(number, Owner::Resource, keys.path_of("number")));
    }
    keys.finish();
    Some(ResourceNumber { number: number?.value, make_calls })
}

fn direct_route(mut keys: Keys<'_>, trunks: &Names) -> Option<DirectRoute> {
    let pattern = keys.required("pattern", values::pattern);
    let trunks = super::traffic::trunk_list(&mut keys, trunks);
    keys.finish();
    Some(DirectRoute { pattern: pattern?.value, trunks })
}

/// Users with the place of each in the file.
pub(super) struct Users {
    pub list: Vec<User>,
    /// Of the address of record.
    pub spans: Vec<Range<usize>>,
}

pub(super) fn users(
    root: &mut Keys<'_>,
    resources: &Resources,
    countries: &[CountryRow],
    realm: &str,
    claims: &mut Claims,
) -> Users {
    let tables = root.tables("users");
    let most = tables.size_hint().1.unwrap_or(0);
    let mut users = Users { list: Vec::with_capacity(most), spans: Vec::with_capacity(most) };
    let mut seen: HashSet<Aor> = HashSet::with_capacity(most);
    for mut keys in tables {
        let aor = keys.required("aor", values::aor);
        let resource = resources.named(&mut keys, "resource", true);
        let number = keys.parsed("number", values::number);
        if let Some(aor) = &aor {
            if !seen.insert(aor.value.clone()) {
                keys.fault("aor", &aor.span, format!("is {}, another user already", aor.value).into());
            }
            if countries.iter().any(|row| is_service(row, aor.value.user())) {
                keys.fault("aor", &aor.span, "is an emergency or test number, which no device may register".into());
            }
        }
        if let Some(number) = &number {
            claims.points.push(Claim::number(number, Owner::User, keys.path_of("number")));
        }
        let secret = secret(&mut keys, aor.as_ref().map(|aor| &aor.value), realm);
        let inbound_default = resource.as_ref().is_none_or(|resource| resource.inbound_default);
        let inbound = keys.flag("inbound", inbound_default);
        let country = keys.parsed("country", values::country).map(|at| at.value);
        let location = keys.optional_section("location").and_then(|keys| civic::read(keys, country));
        keys.finish();
        if let (Some(aor), Some(secret), Some(resource)) = (aor, secret, resource) {
            let number = number.map(|at| at.value);
            users.list.push(User { aor: aor.value, secret, resource, number, inbound, country, location });
            users.spans.push(aor.span);
        }
    }
    users
}

/// A number, `+` and number, or `+`, country code and number: no device may register as one (SPEC §1).
fn is_service(row: &CountryRow, user: &str) -> bool {
    let global = user.strip_prefix('+');
    let national = global.and_then(|digits| digits.strip_prefix(row.dial_code.as_str()));
    [Some(user), global, national].into_iter().flatten().any(|digits| row.kind_of(digits).is_some())
}

/// `password`, or one or both HA1 (RFC 7616 §3.4.2).
fn secret(keys: &mut Keys<'_>, aor: Option<&Aor>, realm: &str) -> Option<Secret> {
    let password = keys.parsed("password", values::line);
    let ha1_md5 = keys.parsed("ha1_md5", values::hex::<16>);
    let ha1_sha256 = keys.parsed("ha1_sha256", values::hex::<32>);
    let hashed = ha1_md5.is_some() || ha1_sha256.is_some();
    match password {
        Some(password) if hashed => {
            keys.fault("password", &password.span, Fault::helped("stands beside an HA1", "keep one kind of secret"));
            None
        }
        Some(password) => {
            let (short, whole) = aor.map_or(("", ""), |aor| (aor.user(), aor.as_str()));
            let text = |username: &str| format!("{username}:{realm}:{}", password.value);
            Some(Secret {
                ha1_md5: Some(md5::Md5::digest(text(short)).into()),
                ha1_sha256: Some(sha2::Sha256::digest(text(short)).into()),
                whole_ha1_md5: Some(md5::Md5::digest(text(whole)).into()),
                whole_ha1_sha256: Some(sha2::Sha256::digest(text(whole)).into()),
            })
        }
        None if hashed => {
            let (ha1_md5, ha1_sha256) = (ha1_md5.map(|at| at.value), ha1_sha256.map(|at| at.value));
            Some(Secret { ha1_md5, ha1_sha256, whole_ha1_md5: None, whole_ha1_sha256: None })
        }
        None => {
            if ["password", "ha1_md5", "ha1_sha256"].iter().all(|key| keys.report.is_clean(&keys.path_of(key))) {
                let help = "write password, or ha1_md5 and ha1_sha256";
                keys.fault("password", &keys.span_of("password"), Fault::helped("is missing or empty", help));
            }
            None
        }
    }
}

/// PBXs with the place of each in the file.
pub(super) struct Pbxs {
    pub list: Vec<Pbx>,
    /// Of the name.
    pub spans: Vec<Range<usize>>,
}

pub(super) fn pbxs(root: &mut Keys<'_>, resources: &Resources, base_dir: &Path) -> Pbxs {
    let mut names = Names::new("pbx");
    let mut pbxs = Pbxs { list: Vec::new(), spans: Vec::new() };
    for mut keys in root.tables("pbxs") {
        let name = keys.required("name", values::name);
        let resource = resources.named(&mut keys, "resource", true);
        let addresses: Vec<_> = keys.list("addresses", values::accept_from).into_iter().map(|at| at.value).collect();
        let target = keys.required("target", values::target);
        let tls = security::peer(&mut keys, base_dir);
        if addresses.is_empty() && keys.report.is_clean(&keys.path_of("addresses")) {
            keys.fault("addresses", &keys.span_of("addresses"), "is empty: nobody would be this PBX".into());
        }
        if let Some(name) = &name {
            names.add(&keys, name, pbxs.list.len());
            let domain = as_domain(&name.value);
            if pbxs.list.iter().any(|other: &Pbx| other.domain == domain && other.name != name.value) {
                let help = "its users are told from others by it: letters, digits, dots and hyphens count";
                keys.fault("name", &name.span, Fault::helped("is too like the name of another PBX", help));
            }
        }
        keys.finish();
        if let (Some(name), Some(resource), Some(target)) = (name, resource, target) {
            let (domain, target) = (as_domain(&name.value), target.value);
            pbxs.list.push(Pbx { name: name.value, domain, resource, addresses, target, tls });
            pbxs.spans.push(name.span);
        }
    }
    pbxs
}

/// The name of a PBX as the domain of its users.
fn as_domain(name: &str) -> CompactString {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || letter == '.' => letter,
        _ => '-',
    };
    name.chars().map(letter).collect()
}

/// Pools with the place of each in the file.
pub(super) struct Pools {
    pub list: Vec<Pool>,
    /// Of the header.
    pub spans: Vec<Range<usize>>,
}

pub(super) fn pools(
    root: &mut Keys<'_>,
    resources: &Resources,
    countries: &[CountryRow],
    claims: &mut Claims,
) -> Pools {
    let mut names = Names::new("pool");
    let mut pools = Pools { list: Vec::new(), spans: Vec::new() };
    let mut total = 0;
    for mut keys in root.tables("pools") {
        let number = pools.list.len() + 1;
        let name = keys.parsed("name", values::name);
        let name = name.unwrap_or_else(|| At { value: format_compact!("pool-{number}"), span: keys.span.clone() });
        names.add(&keys, &name, pools.list.len());
        let countries = super::traffic::country_list(&mut keys, countries);
        let resource = resources.named(&mut keys, "resource", false);
        let listed = keys.list("numbers", values::range);
        if listed.is_empty() && keys.report.is_clean(&keys.path_of("numbers")) {
            keys.fault("numbers", &keys.span_of("numbers"), "has no numbers".into());
        }
        for (at, range) in listed.iter().enumerate() {
            total += range.value.len();
            if total > limits::POOL_NUMBERS {
                let fault = format!("brings the pools to more than {} numbers", limits::POOL_NUMBERS);
                keys.fault(&format!("numbers[{at}]"), &range.span, fault.into());
            }
            claims.pools.push(Claim::range(range, keys.path_of(&format!("numbers[{at}]"))));
        }
        let mut numbers: Vec<_> = listed.into_iter().map(|at| at.value).collect();
        numbers.sort_unstable();
        pools.spans.push(keys.span.clone());
        pools.list.push(Pool { name: name.value, countries, resource, numbers });
        keys.finish();
    }
    pools
}
