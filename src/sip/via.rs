//! Via values (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use memchr::{memchr, memchr3};

use super::Fault;
use super::params::Params;
use super::text::{decimal, is_space, is_token, split_once, trim, trim_end, trim_start};
use super::uri::ipv6;
use crate::base::Protocol;

/// One Via value, in pieces of the text it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// `None` for a transport that we do not speak (RFC 4475 §3.1.1.10).
    pub protocol: Option<Protocol>,
    pub transport: &'a [u8],
    /// As written: an IPv6 address keeps its brackets.
    pub host: &'a [u8],
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Parses one value (not a list). White space is allowed around every separator.
    pub fn parse(value: &'a [u8]) -> Result<Self, Fault> {
        Self::read(value).ok_or(Fault::Via)
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let (name, rest) = split_once(trim(value), b'/')?;
        let (version, rest) = split_once(rest, b'/')?;
        if !is_token(trim(name)) || !is_token(trim(version)) {
            return None;
        }
        let rest = trim_start(rest);
        let (transport, rest) = rest.split_at_checked(rest.iter().position(|&byte| is_space(byte))?)?;
        let rest = trim_start(rest);
        let (sent_by, params) = rest.split_at_checked(memchr(b';', rest).unwrap_or(rest.len()))?;
        let (host, port) = host_port(trim_end(sent_by))?;
        let protocol = Protocol::from_token(transport);
        let params = Params::checked(params)?;
        is_token(transport).then_some(Self { protocol, transport, host, port, params })
    }

    /// What stands for a Via in a message that has no readable one.
    pub(super) const fn none() -> Via<'static> {
        Via { protocol: None, transport: b"", host: b"", port: None, params: Params::empty() }
    }

    /// `None` when missing or empty: a peer of RFC 2543.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// `Some(None)`: asked for and not filled in yet (RFC 3581 §3).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|value| value.and_then(port))
    }

    pub fn received(&self) -> Option<IpAddr> {
        self.params.value("received").and_then(ip)
    }

    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value("maddr")
    }

    /// The sent-by host, where it is an address and not a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }
}

/// An IP address in text, with or without brackets (RFC 5118 §4.5).
pub(super) fn ip(text: &[u8]) -> Option<IpAddr> {
    let bare = text.strip_prefix(b"[").and_then(|inside| inside.strip_suffix(b"]")).unwrap_or(text);
    let plain: Option<IpAddr> = std::str::from_utf8(bare).ok()?.parse().ok();
    plain.or_else(|| ipv6(bare).map(IpAddr::V6))
}

fn port(text: &[u8]) -> Option<u16> {
    decimal(text).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
}

/// `host [ COLON port ]`, white space around the colon allowed.
fn host_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let bracket = if text.first() == Some(&b'[') { memchr(b']', text)? } else { 0 };
    let colon = memchr(b':', text.get(bracket..)?).map(|at| at + bracket);
    let (host, number) = match colon.and_then(|at| text.split_at_checked(at)) {
        Some((host, number)) => (trim_end(host), Some(port(trim_start(number.get(1..)?))?)),
        None => (text, None),
    };
    let stray = host.iter().any(|&byte| byte <= b' ') || memchr3(b',', b'"', b'@', host).is_some();
    (!host.is_empty() && !stray).then_some((host, number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_phone_behind_nat() {
        let via = Via::parse(b"SIP/2.0/UDP 192.168.1.4:5062;rport;branch=z9hG4bK1;received=192.0.2.1").unwrap();
        assert_eq!(via.protocol, Some(Protocol::Udp));
        assert_eq!((via.host, via.port), (&b"192.168.1.4"[..], Some(5062)));
        assert_eq!(via.branch(), Some(&b"z9hG4bK1"[..]));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.received(), "192.0.2.1".parse().ok());
    }

    #[test]
    fn white_space_and_folds_everywhere() {
        let via =
            Via::parse(b"SIP  /   2.0\r\n /UDP\r\n    [2001:db8::9] : 5060 ; branch=\r\n z9hG4bK30239; rport = 7")
                .unwrap();
        assert_eq!((via.host, via.port), (&b"[2001:db8::9]"[..], Some(5060)));
        assert_eq!(via.host_ip(), "2001:db8::9".parse().ok());
        assert_eq!(via.branch(), Some(&b"z9hG4bK30239"[..]));
        assert_eq!(via.rport(), Some(Some(7)));
    }

    #[test]
    fn what_is_no_via() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 a.b",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a:99999",
            "SIP/2.0/UDP a:",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP [::1",
            "/2.0/UDP a",
            "SIP/2.0/U(P a",
        ] {
            assert_eq!(Via::parse(bad.as_bytes()), Err(Fault::Via), "{bad}");
        }
    }
}
