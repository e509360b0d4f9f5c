//! The sections that stand once in a file: node, store, sip, registrar, geo, lease, routing, callback, media, notify, admin.

use super::read::{Fault, Keys};
use super::store::StorePlace;
use super::types::*;
use super::{limits, security, values};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const DAY: Duration = seconds(24 * 3600);
/// RFC 4028 §4: no session interval is shorter.
const LEAST_SE: Duration = seconds(90);
const ANY: RangeInclusive<Duration> = Duration::ZERO..=limits::LONGEST;

pub(super) fn node(mut keys: Keys<'_>) -> NodeKeys {
    let node = NodeKeys {
        name: keys.parsed("name", values::name).map_or("node-1".into(), |at| at.value),
        drain: keys.duration("drain", seconds(30), ANY),
        element: keys.parsed("element", values::host_name).map(|at| at.value),
    };
    keys.finish();
    node
}

pub(super) fn store(mut keys: Keys<'_>, base_dir: &Path) -> StoreKeys {
    let place = keys.parsed("url", |text| StorePlace::parse(text, base_dir));
    let store = StoreKeys {
        place: place.map_or_else(|| StorePlace::Sqlite(base_dir.join("data/sosbridge.db")), |at| at.value),
        write_deadline: keys.duration("write_deadline", millis(200), millis(1)..=seconds(10)),
        keep_records: keys.duration("keep_records", Duration::ZERO, Duration::ZERO..=limits::LONGEST * 10),
    };
    keys.finish();
    store
}

/// `[sip]` with its listeners and timers; `domains` may still be empty.
pub(super) fn sip(mut keys: Keys<'_>, base_dir: &Path) -> (SipKeys, Vec<Listener>, Timers) {
    let session_expires = keys.duration("session_expires", seconds(30 * 60), ANY);
    let min_se = keys.duration("min_se", LEAST_SE, LEAST_SE..=DAY);
    if !session_expires.is_zero() && session_expires < min_se {
        keys.fault("session_expires", &keys.span_of("session_expires"), "is shorter than min_se".into());
    } else if session_expires > DAY {
        keys.fault("session_expires", &keys.span_of("session_expires"), "is longer than a day".into());
    }
    let sip = SipKeys {
        session_expires,
        min_se,
        domains: keys.list("domains", values::host).into_iter().map(|at| at.value).collect(),
        user_agent: keys.parsed("user_agent", values::line).map_or("sosbridge".into(), |at| at.value),
        dns: keys.list("dns", values::name_server).into_iter().map(|at| at.value).collect(),
    };
    let mut listeners: Vec<Listener> = Vec::new();
    for table in keys.tables("listen") {
        if listeners.len() == limits::LISTENERS {
            keys.fault("listen", &table.span, format!("has more than {} entries", limits::LISTENERS).into());
        }
        listener(table, base_dir, &mut listeners);
    }
    if listeners.is_empty() && keys.report.is_clean(&keys.path_of("listen")) {
        let help = "write [[sip.listen]] with transport and address";
        keys.fault("listen", &keys.span_of("listen"), Fault::helped("is missing: nothing would be listened on", help));
    }
    let timers = timers(keys.section("timers"));
    keys.finish();
    (sip, listeners, timers)
}

fn listener(mut keys: Keys<'_>, base_dir: &Path, listeners: &mut Vec<Listener>) {
    let protocol = keys.required("transport", values::transport);
    let tls = security::listener(&mut keys, protocol.as_ref().map(|at| at.value), base_dir);
    let address = keys.required("address", values::socket);
    let advertise = keys.parsed("advertise", values::advertise);
    if let (Some(protocol), Some(address)) = (protocol, &address) {
        let twin = |other: &Listener| other.protocol == protocol.value && other.address == address.value;
        if address.value.port() != 0 && listeners.iter().any(twin) {
            keys.fault("address", &address.span, "is listened on twice".into());
        }
        if address.value.ip().is_unspecified() && !keys.has("advertise") {
            let help = "write advertise = the address phones and trunks reach this machine at";
            keys.fault(
                "address",
                &address.span,
                Fault::helped("is every address of the machine, so `advertise` is required", help),
            );
        }
        let own_port = Some(address.value.port()).filter(|&port| port != 0);
        let (host, port) = advertise.map_or_else(|| (values::host_of(address.value.ip()), None), |at| at.value);
        listeners.push(Listener {
            protocol: protocol.value,
            address: address.value,
            advertise_host: host,
            advertise_port: port.or(own_port),
            tls,
        });
    }
    keys.finish();
}

fn timers(mut keys: Keys<'_>) -> Timers {
    let timers = Timers {
        t1: keys.duration("t1", millis(500), millis(10)..=seconds(10)),
        t2: keys.duration("t2", seconds(4), millis(10)..=seconds(60)),
        t4: keys.duration("t4", seconds(5), millis(10)..=seconds(60)),
    };
    if timers.t2 < timers.t1 {
        keys.fault("t2", &keys.span_of("t2"), "is shorter than t1".into());
    }
    keys.finish();
    timers
}

/// `default_realm` when the file names none.
pub(super) fn registrar(mut keys: Keys<'_>, default_realm: &str) -> RegistrarKeys {
    let realm = keys.parsed("realm", |text| match values::line(text) {
        Ok(realm) if !text.contains(['"', '\\']) => Ok(realm),
        _ => Err("must not hold quotes, backslashes or control characters".into()),
    });
    let allowed = || seconds(1)..=DAY * 30;
    let max = keys.duration("max_expires", seconds(3600), allowed());
    let options_interval = keys.duration("options_interval", Duration::ZERO, Duration::ZERO..=DAY);
    if !options_interval.is_zero() && options_interval < limits::OPTIONS_INTERVAL {
        keys.fault("options_interval", &keys.span_of("options_interval"), "is shorter than 5s; \"0s\" is never".into());
    }
    let registrar = RegistrarKeys {
        realm: realm.map_or_else(|| default_realm.into(), |at| at.value),
        min_expires: keys.duration("min_expires", seconds(60).min(max), allowed()),
        max_expires: max,
        default_expires: keys.duration("default_expires", seconds(3600).min(max), allowed()),
        options_interval,
    };
    if registrar.min_expires > registrar.max_expires {
        keys.fault("min_expires", &keys.span_of("min_expires"), "is longer than max_expires".into());
    } else if !(registrar.min_expires..=registrar.max_expires).contains(&registrar.default_expires) {
        keys.fault(
            "default_expires",
            &keys.span_of("default_expires"),
            "is not between min_expires and max_expires".into(),
        );
    }
    keys.finish();
    registrar
}

pub(super) fn geo(mut keys: Keys<'_>, base_dir: &Path) -> GeoKeys {
    let database = keys.parsed("database", values::line);
    let geo = GeoKeys {
        span: database.as_ref().map(|at| at.span.clone()).unwrap_or_default(),
        database: database.map(|at| base_dir.join(at.value.as_str())),
        unreliable: keys.list("unreliable", values::network).into_iter().map(|at| at.value).collect(),
    };
    keys.finish();
    geo
}

pub(super) fn lease(mut keys: Keys<'_>) -> LeaseKeys {
    let lease = LeaseKeys {
        window: keys.duration("window", limits::LEASE_WINDOW, limits::LEASE_WINDOW..=limits::LONGEST),
        quarantine: keys.duration("quarantine", DAY, ANY),
        tests_per_hour: keys.integer("tests_per_hour", 10, 0..=1_000_000),
    };
    keys.finish();
    lease
}

pub(super) fn routing(mut keys: Keys<'_>) -> Routing {
    let retry = keys.duration("retry", seconds(30), Duration::ZERO..=seconds(180));
    let routing = Routing { retry, caller_hold: keys.flag("caller_hold", true) };
    keys.finish();
    routing
}

pub(super) fn callback(mut keys: Keys<'_>) -> Callback {
    let rings = [("origin-first", Ring::OriginFirst), ("all", Ring::All)];
    let callback = Callback {
        hold: keys.duration("hold", seconds(60), Duration::ZERO..=seconds(600)),
        announcement: keys.flag("announcement", false),
        ring: keys.parsed("ring", |text| values::one_of(text, &rings)).map_or(Ring::default(), |at| at.value),
        wake_url: keys.parsed("wake_url", values::web_url).map(|at| at.value),
        wake_token: keys.parsed("wake_token", values::token).map(|at| at.value),
        desk: keys.parsed("desk", values::desk).map(|at| at.value),
    };
    keys.finish();
    callback
}

/// The address at which a listener is reached: what it advertises, where that is an address.
pub(super) fn told_address(listener: &Listener) -> Option<IpAddr> {
    let host = listener.advertise_host.trim_matches(['[', ']']);
    let told = host.parse().unwrap_or(listener.address.ip());
    Some(told).filter(|told| !told.is_unspecified() && told.is_ipv4() == listener.address.is_ipv4())
}

pub(super) fn media(mut keys: Keys<'_>, listeners: &[Listener]) -> Media {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for at in keys.one_or_more("address", values::media_address) {
        match addresses.iter().any(|known| known.is_ipv4() == at.value.is_ipv4()) {
            true => keys.fault("address", &at.span, "is a second address of its family, and only one is used".into()),
            false => addresses.push(at.value),
        }
    }
    if addresses.is_empty() {
        let ips = || listeners.iter().filter_map(told_address);
        addresses.extend(ips().find(IpAddr::is_ipv4));
        addresses.extend(ips().find(IpAddr::is_ipv6));
    }
    if addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let mut rtpengine: Vec<SocketAddr> = Vec::new();
    for at in keys.one_or_more("rtpengine", values::rtpengine) {
        match rtpengine.contains(&at.value) {
            true => keys.fault("rtpengine", &at.span, "is listed twice".into()),
            false => rtpengine.push(at.value),
        }
    }
    if rtpengine.is_empty() {
        rtpengine.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 2223)));
    }
    let media = Media {
        mode: keys.parsed("mode", values::media_mode).map_or(MediaMode::default(), |at| at.value),
        addresses,
        ports: keys.parsed("ports", values::ports).map_or((20_000, 29_999), |at| at.value),
        rtpengine,
        idle: keys.duration("idle", seconds(120), seconds(1)..=limits::LONGEST),
        announce_refusals: keys.flag("announce_refusals", false),
    };
    keys.finish();
    media
}

pub(super) fn notify(mut keys: Keys<'_>, base_dir: &Path) -> Notify {
    let notify = Notify {
        url: keys.parsed("url", values::web_url).map(|at| at.value),
        token: keys.parsed("token", values::token).map(|at| at.value),
        ca: security::file(&mut keys, "ca", base_dir),
        events: keys.list("events", values::event).into_iter().map(|at| at.value).collect(),
        give_up: keys.duration("give_up", DAY, seconds(60)..=limits::LONGEST),
    };
    keys.finish();
    notify
}

pub(super) fn admin(mut keys: Keys<'_>) -> Admin {
    let listen = keys.parsed("listen", values::socket);
    let token = keys.parsed("token", values::token);
    if let (Some(listen), None) = (&listen, &token)
        && !listen.value.ip().is_loopback()
        && keys.report.is_clean(&keys.path_of("token"))
    {
        let help = "set admin.token, or listen on 127.0.0.1";
        let fault = Fault::helped("is not a loopback address, so `admin.token` is required", help);
        keys.fault("listen", &listen.span, fault);
    }
    keys.finish();
    Admin {
        listen: listen.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8060)), |at| at.value),
        token: token.map(|at| at.value),
    }
}
