//! URIs: `sip:` and `sips:` in full, `tel:`, `urn:` and others by scheme (RFC 3261 §19.1, RFC 3966, RFC 5031).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::{CompactString, format_compact};
use memchr::memchr;

use super::Fault;
use super::nameaddr::absolute;
use super::params::Params;
use super::text::{decimal, split_once};
use crate::base::Protocol;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Urn,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    Name(&'a [u8]),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// A URI in pieces of the text it came in.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    pub scheme: Scheme,
    /// Escapes left in (`unescaped_user`). `tel`: the number as written. `urn` and others: all after the scheme but parameters.
    pub user: &'a [u8],
    pub password: Option<&'a [u8]>,
    /// An empty name for schemes other than `sip` and `sips`.
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// After the `?`: `name=value&name=value`, escaped. Never to be turned into headers (RFC 4475 §3.1.2.11).
    pub headers: &'a [u8],
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one.eq_ignore_ascii_case(two),
            (Self::V4(one), Self::V4(two)) => one == two,
            (Self::V6(one), Self::V6(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl Host<'_> {
    /// The host as it is written in a URI: an IPv6 address in brackets.
    pub fn text(&self) -> CompactString {
        match self {
            Self::Name(name) => CompactString::from_utf8_lossy(name),
            Self::V4(address) => format_compact!("{address}"),
            Self::V6(address) => format_compact!("[{address}]"),
        }
    }

    /// Where packets go: an IPv4-mapped address leads to an IPv4 host (RFC 4291 §2.5.5.2).
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(ip.to_canonical()),
        }
    }
}

impl<'a> Uri<'a> {
    /// The fault says which part is wrong.
    pub fn parse(text: &'a [u8]) -> Result<Self, Fault> {
        let (scheme, rest) = split_once(text, b':').ok_or(Fault::UriScheme)?;
        if !absolute(text) {
            return Err(Fault::UriScheme);
        }
        let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("sip") => Self::sip(Scheme::Sip, rest),
            () if is("sips") => Self::sip(Scheme::Sips, rest),
            () if is("tel") => Self::opaque(Scheme::Tel, rest),
            () if is("urn") => Self::opaque(Scheme::Urn, rest),
            () => Self::opaque(Scheme::Other, rest),
        }
    }

    fn sip(scheme: Scheme, rest: &'a [u8]) -> Result<Self, Fault> {
        // Userinfo may hold `;` and `?`, and an `@` is never bare elsewhere: it is the first thing to look for.
        let (userinfo, rest) = match split_once(rest, b'@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        if userinfo.is_some_and(<[u8]>::is_empty) {
            return Err(Fault::UriUser);
        }
        let userinfo = userinfo.unwrap_or_default();
        let (user, password) = match split_once(userinfo, b':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        let end = rest.iter().position(|byte| matches!(byte, b';' | b'?')).unwrap_or(rest.len());
        let (host_port, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let (host, port) = host_port_of(host_port)?;
        let (params, headers) = split_once(rest, b'?').unwrap_or((rest, &[]));
        let params = Params::checked(params).ok_or(Fault::UriParams)?;
        Ok(Self { scheme, user, password, host, port, params, headers })
    }

    fn opaque(scheme: Scheme, rest: &'a [u8]) -> Result<Self, Fault> {
        let (rest, headers) = split_once(rest, b'?').unwrap_or((rest, &[]));
        let (user, params) = rest.split_at_checked(memchr(b';', rest).unwrap_or(rest.len())).unwrap_or((rest, &[]));
        if user.is_empty() {
            return Err(Fault::UriUser);
        }
        let params = Params::new(params);
        Ok(Self { scheme, user, password: None, host: Host::Name(b""), port: None, params, headers })
    }

    /// The user part with `%hh` decoded, once (RFC 4475 §3.1.1.3). `%00` is a NUL like any other byte.
    pub fn unescaped_user(&self) -> Cow<'a, [u8]> {
        unescape(self.user)
    }

    /// The transport the URI asks for, if it is one that we speak: its `transport` parameter, under TLS where the scheme is
    /// `sips` (RFC 3261 §26.2.2, RFC 7118 §5.3).
    pub fn transport(&self) -> Option<Protocol> {
        let named = self.params.value("transport").and_then(Protocol::from_token);
        match (self.scheme, named) {
            (Scheme::Sips, Some(Protocol::Ws | Protocol::Wss)) => Some(Protocol::Wss),
            (Scheme::Sips, _) => Some(Protocol::Tls),
            (_, named) => named,
        }
    }

    /// The value of a header in the URI, without its escapes (§19.1.1); the first of that name.
    pub fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let named =
            |header: &'a [u8]| split_once(header, b'=').filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
        self.headers.split(|byte| *byte == b'&').find_map(named).map(|(_, value)| unescape(value))
    }

    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Equality of RFC 3261 §19.1.4; for other schemes than `sip` and `sips` the text, without case in the scheme only.
    pub fn matches(&self, other: &Uri<'_>) -> bool {
        self.scheme == other.scheme
            && unescape(self.user) == unescape(other.user)
            && self.password.map(unescape) == other.password.map(unescape)
            && self.host == other.host
            && self.port == other.port
            && params_match(self.params, other.params)
            && headers_match(self.headers, other.headers)
    }
}

/// A URI as a request is sent to it: without the headers and the `method` that it may have in a Contact or a Refer-To (RFC 3261
/// §16.6 step 2, §19.1.1).
pub fn requestable(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(uri) = Uri::parse(text).ok().filter(Uri::is_sip) else { return Cow::Borrowed(text) };
    let bare = text.get(..text.len() - uri.headers.len()).unwrap_or(text);
    let bare = bare.strip_suffix(b"?").unwrap_or(bare);
    if !uri.params.has("method") {
        return Cow::Borrowed(bare);
    }
    let address = bare.get(..bare.len() - uri.params.raw().len()).unwrap_or(bare);
    let others = uri.params.iter().filter(|param| !param.name.eq_ignore_ascii_case(b"method"));
    Cow::Owned(others.fold(address.to_vec(), |uri, param| [&uri, &b";"[..], param.raw].concat()))
}

fn host_port_of(text: &[u8]) -> Result<(Host<'_>, Option<u16>), Fault> {
    if let Some(inside) = text.strip_prefix(b"[") {
        let (address, after) = split_once(inside, b']').ok_or(Fault::UriHost)?;
        let port = match after {
            [] => None,
            [b':', port @ ..] => Some(port_of(port)?),
            _ => return Err(Fault::UriHost),
        };
        return Ok((Host::V6(ipv6(address).ok_or(Fault::UriHost)?), port));
    }
    let (host, port) = match split_once(text, b':') {
        Some((host, port)) => (host, Some(port_of(port)?)),
        None => (text, None),
    };
    let host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || !host.iter().all(host_byte) {
        return Err(Fault::UriHost);
    }
    let v4 = host.first().is_some_and(u8::is_ascii_digit).then(|| std::str::from_utf8(host).ok()?.parse().ok());
    Ok((v4.flatten().map_or(Host::Name(host), Host::V4), port))
}

/// An IPv6 address, also with the third colon that the grammar of RFC 3261 puts before an IPv4 part (RFC 5118 §4.10). A zone
/// behind it means something to its owner only (RFC 4007 §11.2).
pub(super) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?.split('%').next()?;
    let repaired = || {
        let (head, v4) = text.split_once(":::").filter(|(_, v4)| v4.contains('.'))?;
        format!("{head}::{v4}").parse().ok()
    };
    text.parse().ok().or_else(repaired)
}

fn port_of(text: &[u8]) -> Result<u16, Fault> {
    let port = decimal(text).and_then(|port| u16::try_from(port).ok());
    port.filter(|&port| port != 0).ok_or(Fault::UriPort)
}

/// Decodes `%hh`; a `%` that starts no escape stays.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let byte = escaped(rest);
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(plain)
}

fn escaped(text: &[u8]) -> Option<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match text {
        [b'%', high, low, ..] => Some(hex(*high)? * 16 + hex(*low)?),
        _ => None,
    }
}

/// RFC 3261 §19.1.4: what stands in both must match; `user`, `ttl`, `method`, `maddr`, `transport` may not stand in one only.
/// Of a parameter that stands twice the first counts.
fn params_match(one: Params<'_>, two: Params<'_>) -> bool {
    let first = |params: Params<'_>, name: &[u8]| {
        let found = params.iter().find(|param| param.name.eq_ignore_ascii_case(name));
        found.map(|param| unescape(param.value.unwrap_or_default()).to_ascii_lowercase())
    };
    let same = |name: &[u8]| {
        let (here, there) = (first(one, name), first(two, name));
        there.is_none() || here == there
    };
    let alone = |name: &str| one.has(name) != two.has(name);
    one.iter().all(|param| same(param.name)) && !["user", "ttl", "method", "maddr", "transport"].into_iter().any(alone)
}

/// Header components count, in any order.
fn headers_match(one: &[u8], two: &[u8]) -> bool {
    let count = |headers: &[u8]| headers.split(|&byte| byte == b'&').count();
    let same = |a: &[u8], b: &[u8]| unescape(a).eq_ignore_ascii_case(&unescape(b));
    count(one) == count(two)
        && one
            .split(|&byte| byte == b'&')
            .all(|header| two.split(|&byte| byte == b'&').any(|other| same(header, other)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_schemes() {
        let sip = uri("sip:john.doe:pw@h.example:5070;transport=TCP;lr?Subject=x");
        assert_eq!((sip.user, sip.password, sip.port), (&b"john.doe"[..], Some(&b"pw"[..]), Some(5070)));
        assert_eq!(sip.host, Host::Name(b"H.EXAMPLE"));
        assert_eq!((sip.transport(), sip.headers), (Some(crate::base::Protocol::Tcp), &b"Subject=x"[..]));
        let tel = uri("tel:+43144;phone-context=example.com");
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, &b"+43144"[..]));
        assert_eq!(tel.params.value("phone-context"), Some(&b"example.com"[..]));
        let urn = uri("urn:service:sos.police");
        assert_eq!((urn.scheme, urn.user), (Scheme::Urn, &b"service:sos.police"[..]));
        assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other);
        assert_eq!(uri("sip:[2001:db8::1]:5061").host, Host::V6("2001:db8::1".parse().unwrap()));
        assert_eq!(uri("SIPS:192.0.2.1").host, Host::V4("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn ipv6_references() {
        // RFC 5118 §4.3 to §4.4, §4.9 to §4.10.
        let ambiguous = uri("sip:[2001:db8::10:5070]");
        assert_eq!((ambiguous.host.text().as_str(), ambiguous.port), ("[2001:db8::10:5070]", None));
        assert_eq!(uri("sip:[2001:db8::10]:5070").port, Some(5070));
        let mapped = uri("sip:ted@[::ffff:192.0.2.2]").host;
        assert_eq!((mapped.text().as_str(), mapped.ip()), ("[::ffff:192.0.2.2]", "192.0.2.2".parse().ok()));
        assert_eq!(uri("sip:a@[2001:db8:::192.0.2.1]").host, uri("sip:a@[2001:db8::192.0.2.1]").host);
        assert_eq!(uri("sip:a@[fe80::1%25eth0]").host.text(), "[fe80::1]");
        for bad in ["sip:2001:db8::10", "sip:a@[2001:db8:::1]", "sip:a@[::1", "sip:a@[::1]5060", "sip:a@[%eth0]"] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_user_part_may_hold_almost_anything() {
        let weird = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!(&*weird.unescaped_user(), b"user;par=u@example.net");
        assert_eq!(&*uri("sip:null-%00-null@example.com").unescaped_user(), b"null-\0-null");
        assert_eq!(&*uri("sip:sips%3Auser%40example.com@example.net").unescaped_user(), b"sips:user@example.com");
        assert_eq!(&*uri("sip:%2541%zz@a").unescaped_user(), b"%41%zz");
    }

    #[test]
    fn bad_parts_are_named() {
        for (bad, fault) in [
            ("alice@example.com", Fault::UriScheme),
            ("sip:a b@c", Fault::UriScheme),
            ("sip:@c", Fault::UriUser),
            ("sip:a@", Fault::UriHost),
            ("sip:a@b@c", Fault::UriHost),
            ("sip:a@[::g]", Fault::UriHost),
            ("sip:a@b:70000", Fault::UriPort),
            ("sip:a@b:", Fault::UriPort),
            ("sip:a@b;;x", Fault::UriParams),
            ("tel:;x", Fault::UriUser),
        ] {
            assert_eq!(Uri::parse(bad.as_bytes()).map(|uri| uri.scheme), Err(fault), "{bad}");
        }
    }

    #[test]
    fn equality_by_the_examples_of_section_19_1_4() {
        for (one, two) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(uri(one).matches(&uri(two)), "{one} {two}");
            assert!(uri(two).matches(&uri(one)), "{two} {one}");
        }
        for (one, two) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ] {
            assert!(!uri(one).matches(&uri(two)), "{one} {two}");
        }
    }
}
