//! Networks that are not of everybody (RFC 1918, RFC 6598, RFC 7335, RFC 4193), and what an address means there.

use std::net::IpAddr;

/// Which block of private addresses it is of.
pub fn block_of(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(ip) => match ip.octets() {
            [first @ 10, ..] | [first @ 172, 16..=31, _, _] => Some(first),
            [first @ 192, 168, _, _] | [first @ 100, 64..=127, _, _] => Some(first),
            [192, 0, 0, 0..=7] => Some(0),
            _ => None,
        },
        IpAddr::V6(ip) => ip.is_unique_local().then_some(6),
    }
}

pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// True when `address` leads nowhere, or only within a network that `from`, an address of everybody's, is not in.
pub fn is_inner(address: IpAddr, from: IpAddr) -> bool {
    let (address, from) = (address.to_canonical(), from.to_canonical());
    let is_inner = |ip: IpAddr| block_of(ip).is_some() || ip.is_loopback() || is_link_local(ip);
    address.is_unspecified() || (is_inner(address) && !is_inner(from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inner_is_what_leads_nowhere_from_outside() {
        let inner = |address: &str, from: &str| is_inner(address.parse().unwrap(), from.parse().unwrap());
        for address in ["10.0.0.9", "172.20.1.1", "192.168.1.5", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fd00::1"] {
            assert!(inner(address, "203.0.113.80") && inner(address, "2001:db8::1"), "{address}");
            // Networks of one house may all lead to each other.
            assert!(!inner(address, "10.1.1.1") && !inner(address, "127.0.0.2"), "{address}");
        }
        assert!(inner("0.0.0.0", "10.1.1.1") && inner("::", "::1") && inner("::ffff:10.0.0.9", "203.0.113.80"));
        assert!(!inner("203.0.113.81", "203.0.113.80") && !inner("172.32.0.1", "203.0.113.80"));
    }
}
