//! Single values of the configuration: text to type, with what to write instead when it does not fit.

use super::aor::is_host;
use super::read::Fault;
use super::types::{AcceptFrom, EVENTS, Hidden, MediaMode, NumberRange, Target, TransferTo};
use super::{Aor, Country};
use crate::base::{E164, Protocol};
use crate::sip::{Host, Scheme, Uri};
use compact_str::{CompactString, format_compact};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, SocketAddr};

pub(super) type Parsed<T> = Result<T, Fault>;

const NUMBER: &str = r#"write it with its country code, as in "+14255550100""#;
/// Names end up in metrics, records and log lines.
const NAME_CHARS: usize = 64;

pub(super) fn name(text: &str) -> Parsed<CompactString> {
    if text.chars().count() > NAME_CHARS || text.chars().any(char::is_control) {
        return Err(format!("is not a name: at most {NAME_CHARS} characters, none of them a control character").into());
    }
    Ok(text.into())
}

/// Text that may stand in a header as it is.
pub(super) fn line(text: &str) -> Parsed<CompactString> {
    if text.chars().any(char::is_control) { Err("must not hold control characters".into()) } else { Ok(text.into()) }
}

pub(super) fn number(text: &str) -> Parsed<E164> {
    text.parse().map_err(|error| Fault::helped(format!("is not a number: {error}"), NUMBER))
}

pub(super) fn country(text: &str) -> Parsed<Country> {
    text.parse().map_err(|error| Fault::from(format!("is not a country: {error}")))
}

pub(super) fn aor(text: &str) -> Parsed<Aor> {
    text.parse().map_err(|error| {
        Fault::helped(format!("is not an address of record: {error}"), r#"as in "sip:alice@example.com""#)
    })
}

pub(super) fn digits(text: &str) -> Parsed<CompactString> {
    let fits = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(text.into()) } else { Err("must be 1 to 10 digits".into()) }
}

pub(super) fn dial_code(text: &str) -> Parsed<CompactString> {
    let fits =
        (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if fits { Ok(text.into()) } else { Err("must be a country calling code: 1 to 3 digits without `+`".into()) }
}

pub(super) fn host(text: &str) -> Parsed<CompactString> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(Ok(address)) = inside.map(str::parse) {
        Ok(host_of(IpAddr::V6(address)))
    } else if inside.is_none() && is_host(text.as_bytes()) {
        Ok(text.to_ascii_lowercase().into())
    } else {
        Err("is not a host: a name, an IPv4 address, or an IPv6 address in brackets".into())
    }
}

/// A host by its name, as in DNS.
pub(super) fn host_name(text: &str) -> Parsed<CompactString> {
    let name = host(text)?;
    match name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
        true => Err(Fault::helped("is an address, and must be a name", r#"as in "sos.example.net""#)),
        false => Ok(name),
    }
}

/// Values of Resource-Priority, as they stand in the header (RFC 4412 §3.1).
pub(super) fn resource_priority(text: &str) -> Parsed<CompactString> {
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-!%*_+`'~".contains(&byte))
    };
    for value in text.split(',').map(str::trim) {
        let Some((namespace, priority)) = value.split_once('.').filter(|(one, other)| is_token(one) && is_token(other))
        else {
            return Err(Fault::helped("is not namespace.priority (RFC 4412)", r#"as in "esnet.1""#));
        };
        if namespace.eq_ignore_ascii_case("esnet") && !matches!(priority, "0" | "1" | "2" | "3" | "4") {
            return Err("is no priority of esnet, which has esnet.0 to esnet.4 (RFC 7135)".into());
        }
    }
    Ok(text.into())
}

pub(super) fn socket(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        Fault::helped("is not an address", r#"an address is IP:port, as in "127.0.0.1:5060" or "[::1]:5060""#)
    })
}

/// An address, with the port of DNS where it names none.
pub(super) fn name_server(text: &str) -> Parsed<SocketAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, 53)),
        Err(_) => socket(text),
    }
}

pub(super) fn ip(text: &str) -> Parsed<IpAddr> {
    text.parse().map_err(|_| "is not an IP address".into())
}

/// An address that others can send to.
pub(super) fn media_address(text: &str) -> Parsed<IpAddr> {
    match ip(text)? {
        address if address.is_unspecified() || address.is_multicast() => {
            Err("is not an address that media can be sent to".into())
        }
        address => Ok(address),
    }
}

/// An IPv4-mapped one is that of IPv4 hosts, which are never seen otherwise.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    let network = text
        .parse::<IpNet>()
        .or(single)
        .map_err(|_| Fault::helped("is not a network", r#"as in "198.51.100.0/24" or "2001:db8::/32""#))?;
    let IpNet::V6(six) = network else { return Ok(network) };
    let mapped = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    Ok(mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4))
}

/// Host, or host and port.
pub(super) fn advertise(text: &str) -> Parsed<(CompactString, Option<u16>)> {
    if let Ok(IpAddr::V6(address)) = text.parse() {
        return Ok((format!("[{address}]").into(), None));
    }
    let (name, port) = split_port(text).ok_or_else(|| Fault::from("must be a host or host:port"))?;
    Ok((host(name)?, port))
}

/// Splits `host:port`, minding brackets. `None` when the port is not one.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|&port: &u16| port != 0)?;
            Some((host, Some(port)))
        }
        _ => Some((text, None)),
    }
}

pub(super) fn transport(text: &str) -> Parsed<Protocol> {
    let help = "udp, tcp, tls, ws and wss are available";
    Protocol::from_token(text.as_bytes()).ok_or_else(|| Fault::helped(format!("is not a transport: {text:?}"), help))
}

/// The transport of a URI calls are sent to. RFC 7118 has no WebSocket toward servers.
fn target_transport(uri: &Uri<'_>) -> Parsed<Option<Protocol>> {
    let Some(token) = uri.params.value("transport") else { return Ok(uri.transport()) };
    let named = transport(&String::from_utf8_lossy(token))
        .map_err(|fault| Fault::from(format!("has a transport that {}", fault.message)))?;
    match (uri.scheme, named) {
        (_, Protocol::Ws | Protocol::Wss) => {
            Err("has the transport of browsers: calls are sent over udp, tcp or tls".into())
        }
        (Scheme::Sips, Protocol::Udp) => Err("is a sips URI over udp: sips is TLS (RFC 3261 §19.1)".into()),
        (_, _) => Ok(uri.transport()),
    }
}

/// A SIP URI calls are sent to: `sip:[user@]host[:port][;transport=…]`, or `sips:`.
pub(super) fn target(text: &str) -> Parsed<Target> {
    let example = r#"as in "sip:192.0.2.1:5060;transport=udp""#;
    let bad = |why: String| Fault::helped(format!("is not a SIP URI to send calls to: {why}"), example);
    let uri = Uri::parse(text.as_bytes()).map_err(|fault| bad(fault.to_string()))?;
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Urn | Scheme::Other => return Err(bad("it does not start with sip:".to_owned())),
    }
    if !uri.headers.is_empty() {
        return Err(bad("it has headers".to_owned()));
    }
    if uri.params.has("maddr") {
        // RFC 3263 §4: calls would go there, and not to the host.
        return Err(bad("it says maddr, where the host is to be".to_owned()));
    }
    let protocol = target_transport(&uri)?;
    let host = match uri.host {
        Host::Name(name) => CompactString::from_utf8_lossy(name).to_ascii_lowercase(),
        Host::V4(address) => host_of(address.into()),
        Host::V6(address) => host_of(address.into()),
    };
    let user = CompactString::from_utf8_lossy(uri.user);
    Ok(Target { uri: text.into(), user, host, port: uri.port, protocol, priority: 1, weight: 1 })
}

/// `sip:[user@]host[:port]`, or a regular expression on digits.
pub(super) fn transfer_to(text: &str) -> Parsed<TransferTo> {
    if text.starts_with("sip:") {
        return target(text).map(|Target { user, host, port, .. }| TransferTo::Address { user, host, port });
    }
    pattern(text).map(TransferTo::Number)
}

/// A regular expression on dialled digits.
pub(super) fn pattern(text: &str) -> Parsed<regex::Regex> {
    // The reason is at the end of the picture that `regex` draws.
    let last_line = |text: &str| text.lines().last().unwrap_or(text).trim().trim_start_matches("error: ").to_owned();
    regex::Regex::new(text)
        .map_err(|error| format!("is not a regular expression: {}", last_line(&error.to_string())).into())
}

/// As it stands in a URI: IPv6 in brackets.
pub(super) fn host_of(address: IpAddr) -> CompactString {
    match address {
        IpAddr::V4(address) => format_compact!("{address}"),
        IpAddr::V6(address) => format_compact!("[{address}]"),
    }
}

pub(super) fn accept_from(text: &str) -> Parsed<AcceptFrom> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(AcceptFrom::Address(SocketAddr::new(address.ip().to_canonical(), address.port())));
    }
    if let Ok(network) = network(text) {
        return Ok(AcceptFrom::Network(network));
    }
    let looks_numeric = text.contains(['/', ':']) || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match host(text) {
        Ok(name) if !looks_numeric => Ok(AcceptFrom::Certificate(name)),
        _ => Err(Fault::helped(
            "is not a source of calls",
            r#"a network ("192.0.2.0/24"), an address with its port ("192.0.2.1:5060") or the name in a certificate"#,
        )),
    }
}

/// `+1…` or `+1…-+1…`.
pub(super) fn range(text: &str) -> Parsed<NumberRange> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first.trim())?, number(last.trim())?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err("ends before it starts".into());
    }
    if first.digits().ilog10() != last.digits().ilog10() {
        return Err("has ends of different length".into());
    }
    Ok(NumberRange { first, last })
}

pub(super) fn ports(text: &str) -> Parsed<(u16, u16)> {
    let ends = text.split_once('-').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    // A pair begins at an even one.
    let fits = ends.filter(|&(low, high): &(u16, u16)| low >= 1024 && low.saturating_add(low % 2) < high);
    fits.ok_or_else(|| {
        Fault::helped(
            "is not a range of ports",
            r#"from 1024 on an even one and the next at least, as in "20000-29999""#,
        )
    })
}

pub(super) fn rtpengine(text: &str) -> Parsed<SocketAddr> {
    let address = text.strip_prefix("udp:").and_then(|address| address.parse().ok());
    address.ok_or_else(|| Fault::helped("is not an rtpengine address", r#"as in "udp:127.0.0.1:2223""#))
}

pub(super) fn media_mode(text: &str) -> Parsed<MediaMode> {
    one_of(text, &[("relay", MediaMode::Relay), ("pass", MediaMode::Pass), ("rtpengine", MediaMode::Rtpengine)])
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Parsed<T> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("is {text:?}, and must be one of: {}", all.join(", ")).into()
    })
}

pub(super) fn web_url(text: &str) -> Parsed<CompactString> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    let place = authority.map(|authority| authority.rsplit_once('@').map_or(authority, |(_, place)| place));
    let fits = place.is_some_and(|place| advertise(place).is_ok()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(text.into())
    } else {
        Err(Fault::helped("is not a web address", r#"as in "https://example.com/hook""#))
    }
}

/// Where data about a call can be had: over TLS (RFC 7852 §6.1), and fit to stand in a header between `<` and `>`.
pub(super) fn data_url(text: &str) -> Parsed<CompactString> {
    match text.starts_with("https://") && !text.contains(['<', '>', '"']) {
        true => web_url(text),
        false => Err(Fault::helped("is not a web address over TLS", r#"as in "https://example.com/provider""#)),
    }
}

/// What stands behind `Bearer` (RFC 6750).
pub(super) fn token(text: &str) -> Parsed<Hidden> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Hidden(text.into())),
        false => Err("must be printable ASCII without blanks".into()),
    }
}

/// One of the events that are told to the webhook.
pub(super) fn event(text: &str) -> Parsed<CompactString> {
    match EVENTS.contains(&text) {
        true => Ok(text.into()),
        false => Err(format!("is no event: they are {}", EVENTS.join(", ")).into()),
    }
}

/// A number or a SIP URI on site.
pub(super) fn desk(text: &str) -> Parsed<CompactString> {
    let internal = text.bytes().all(|byte| byte.is_ascii_digit());
    if internal || number(text).is_ok() || target(text).is_ok() {
        return Ok(text.into());
    }
    Err(Fault::helped("is neither a number nor a SIP URI", r#"as in "+14255550100" or "sip:desk@192.0.2.1""#))
}

pub(super) fn header_name(text: &str) -> Parsed<CompactString> {
    // RFC 3261 §25.1: token
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte));
    if fits { Ok(text.into()) } else { Err("is not the name of a header".into()) }
}

/// Hexadecimal digits of exactly `N` bytes.
pub(super) fn hex<const N: usize>(text: &str) -> Parsed<[u8; N]> {
    let wrong = || Fault::from(format!("must be {} hexadecimal digits", N * 2));
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
    }
    Ok(bytes)
}
