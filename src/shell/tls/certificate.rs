//! What a certificate says of its holder: SIP domains (RFC 5922 §7.1, §7.2), and how long it holds.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compact_str::{CompactString, ToCompactString};
use rustls::pki_types::ServerName;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names of one certificate that we keep; more is nobody's certificate.
const NAMES: usize = 64;

/// Who a certificate says its holder is. That it is true the verifier finds out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// In lower case.
    pub domains: Vec<CompactString>,
    /// For targets that are configured by address.
    pub addresses: Vec<IpAddr>,
}

impl Identities {
    /// RFC 5922 §7.1: the hosts of its `sip:` URIs; without one its DNS names; without any alternative name its common name.
    pub fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let Ok(alternative) = certificate.subject_alternative_name() else { return Self::default() };
        let Some(alternative) = alternative else {
            let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            return Self {
                domains: common.filter(|name| is_domain(name)).take(1).map(lower).collect(),
                ..Self::default()
            };
        };
        let names = &alternative.value.general_names;
        let sip = names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { sip_domain(uri) } else { None });
        let dns =
            names.iter().filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
        let mut domains: Vec<CompactString> = sip.take(NAMES).map(lower).collect();
        if domains.is_empty() {
            domains = dns.filter(|name| is_domain(name)).take(NAMES).map(lower).collect();
        }
        let ip = names.iter().filter_map(|name| if let GeneralName::IPAddress(ip) = name { address(ip) } else { None });
        Self { domains, addresses: ip.take(NAMES).collect() }
    }

    /// RFC 5922 §7.2: the whole name, without case; a wildcard matches nothing.
    pub fn include(&self, wanted: &ServerName<'_>) -> bool {
        match wanted {
            ServerName::DnsName(name) => self.domains.iter().any(|own| own.eq_ignore_ascii_case(name.as_ref())),
            ServerName::IpAddress(address) => self.addresses.contains(&IpAddr::from(*address)),
            _ => false,
        }
    }

    /// For people.
    pub fn names(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.domains.iter().map(ToString::to_string).chain(addresses).collect()
    }
}

/// The host of a `sip:` URI without a user (RFC 5922 §7.1). A port or parameters have no business there, and are passed over.
fn sip_domain(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_domain_uri = scheme.eq_ignore_ascii_case("sip") && !rest.contains('@');
    let host = rest.split([':', ';', '?', '/']).next().unwrap_or_default();
    (is_domain_uri && is_domain(host)).then_some(host)
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

fn lower(name: &str) -> CompactString {
    name.to_ascii_lowercase().to_compact_string()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

/// When a certificate begins and ends to hold. `None`: it cannot be read.
pub fn validity(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    Some((at(validity.not_before.timestamp()), at(validity.not_after.timestamp())))
}
