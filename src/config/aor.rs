//! Addresses of record, in the one spelling that may be compared (RFC 3261 §10.3 step 5).

use crate::sip::{Host, Uri};
use compact_str::CompactString;
use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A user's address of record, canonical: `user@domain`, the domain in lower case, the user part with every escape
/// decoded that need not be one. No scheme, port or parameters. Displays as `sip:user@domain`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aor(CompactString);

/// A text that is not an address of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of record is sip:user@domain, without port or parameters")]
pub struct NotAnAor;

impl Aor {
    /// From the user part (still escaped, as it stands in a URI) and the host of a URI.
    /// `None` when either is empty or holds a byte no URI may hold.
    pub fn from_parts(user: &[u8], host: &[u8]) -> Option<Self> {
        if user.is_empty() || !is_host(host) {
            return None;
        }
        let mut text = CompactString::with_capacity(user.len() + 1 + host.len());
        let mut rest = user;
        while let [byte, tail @ ..] = rest {
            let (decoded, after) = match (byte, tail) {
                (b'%', [high, low, after @ ..]) => (hex_pair(*high, *low)?, after),
                (b'%', _) => return None,
                _ if is_user_byte(*byte) => (*byte, tail),
                _ => return None,
            };
            push_user_byte(&mut text, decoded);
            rest = after;
        }
        text.push('@');
        push_host(&mut text, host);
        Some(Self(text))
    }

    /// From a `sip` or `sips` URI; port, password and parameters do not count (RFC 3261 §10.3 step 5).
    pub fn from_uri(uri: &Uri<'_>) -> Option<Self> {
        match uri.host {
            _ if !uri.is_sip() => None,
            Host::Name(name) => Self::from_parts(uri.user, name),
            Host::V4(address) => Self::from_parts(uri.user, address.to_string().as_bytes()),
            Host::V6(address) => Self::from_parts(uri.user, format!("[{address}]").as_bytes()),
        }
    }

    /// `user@domain`, without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before `@`: also the digest username.
    pub fn user(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(user, _)| user)
    }

    /// The part after `@`, in lower case.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// unreserved and user-unreserved of RFC 3261 §25.1: what may stand in a user part without an escape.
fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

pub(super) fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', inside @ .., b']'] => inside.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)),
        _ => !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)),
    }
}

/// In lower case; an IPv6 address in its one canonical form (RFC 5952).
fn push_host(text: &mut CompactString, host: &[u8]) {
    let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let address = inside.and_then(|inside| std::str::from_utf8(inside).ok()?.parse::<Ipv6Addr>().ok());
    match address {
        Some(address) => {
            let _ = write!(text, "[{address}]");
        }
        None => host.iter().for_each(|byte| text.push(char::from(byte.to_ascii_lowercase()))),
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn push_user_byte(text: &mut CompactString, byte: u8) {
    if is_user_byte(byte) {
        text.push(char::from(byte));
    } else {
        let _ = write!(text, "%{byte:02X}");
    }
}

impl FromStr for Aor {
    type Err = NotAnAor;

    /// Reads `sip:user@domain` or `user@domain`.
    fn from_str(text: &str) -> Result<Self, NotAnAor> {
        let text = match text.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => rest,
            _ => text,
        };
        let (user, host) = text.rsplit_once('@').ok_or(NotAnAor)?;
        Self::from_parts(user.as_bytes(), host.as_bytes()).ok_or(NotAnAor)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sip:{}", self.0)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Aor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Aor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_spelling_for_one_user() {
        let alice: Aor = "sip:alice@Example.COM".parse().unwrap();
        assert_eq!(alice.to_string(), "sip:alice@example.com");
        assert_eq!((alice.user(), alice.domain()), ("alice", "example.com"));
        assert_eq!(Aor::from_parts(b"%61lice", b"EXAMPLE.com"), Some(alice.clone()));
        assert_ne!(Aor::from_parts(b"Alice", b"example.com"), Some(alice)); // RFC 3261 §19.1.4: the user part is case-sensitive
        let odd = Aor::from_parts(b"a%20%62%2f%40", b"[2001:DB8::1]").unwrap();
        assert_eq!(odd.as_str(), "a%20b/%40@[2001:db8::1]");
        assert_eq!(Aor::from_parts(b"a", b"[2001:db8:0:0::1]"), Aor::from_parts(b"a", b"[2001:DB8::1]"));
        assert_eq!(odd.to_string().parse::<Aor>().unwrap(), odd);
    }

    #[test]
    fn refuses_what_is_not_an_address_of_record() {
        for bad in [
            "",
            "sip:",
            "alice",
            "sip:@example.com",
            "sip:alice@",
            "sip:alice@h:5060",
            "sip:al ice@h",
            "sip:a%4@h",
            "sip:a@h;x=1",
            "a:b@h",
        ] {
            assert_eq!(bad.parse::<Aor>(), Err(NotAnAor), "{bad}");
        }
    }
}
