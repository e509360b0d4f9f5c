//! Where a SIP URI leads: what to ask of DNS, and what the answers mean (RFC 3263 §4). Pure: the shell asks, the node chooses.

use std::net::SocketAddr;
use std::time::Duration;

use compact_str::{CompactString, format_compact};

use crate::base::Protocol;

/// Transports a request can be sent over, in the order in which they are preferred where DNS does not say.
const DIALLED: [Protocol; 3] = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];

/// One way to a server: what is spoken there, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub protocol: Protocol,
    pub remote: SocketAddr,
}

/// The host of a URI that is no address, with the port and transport it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub host: CompactString,
    pub port: Option<u16>,
    pub protocol: Option<Protocol>,
    /// The protocol is that of a sips URI, which need not name it: DNS says where it is spoken.
    pub is_sips: bool,
}

/// One address in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub place: Place,
    /// Which record it belongs to; the addresses of one record are tried one after the other.
    pub record: u16,
    /// Lower goes first: by NAPTR, then by SRV.
    pub priority: u32,
    /// Share among the records of one priority.
    pub weight: u16,
}

/// What DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub servers: Vec<Server>,
    /// How long it may be believed.
    pub ttl: Duration,
    /// False when some of the questions got no answer: what was known before is better.
    pub is_whole: bool,
}

/// A NAPTR record (RFC 3403 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: Box<[u8]>,
    pub services: Box<[u8]>,
    pub replacement: CompactString,
}

impl Found {
    /// No answer at all.
    pub const fn nothing() -> Self {
        Self { servers: Vec::new(), ttl: Duration::ZERO, is_whole: false }
    }
}

impl Question {
    /// §4.1: only when the URI names neither transport nor port.
    pub fn wants_naptr(&self) -> bool {
        self.port.is_none() && (self.protocol.is_none() || self.is_sips)
    }

    /// The SRV names that NAPTR records lead to, best first (§4.1; RFC 3403 §4.1: by order, then preference): those of the
    /// protocol that is to be spoken.
    pub fn among(&self, records: Vec<Naptr>) -> Vec<(Protocol, CompactString)> {
        let mut services = services(records);
        services.retain(|(protocol, _)| self.protocol.is_none_or(|wanted| wanted == *protocol));
        services
    }

    /// The SRV names to ask for when there is no NAPTR record (§4.1, §4.2); none when the URI names a port.
    pub fn services(&self) -> Vec<(Protocol, CompactString)> {
        if self.port.is_some() {
            return Vec::new();
        }
        let named = self.protocol.map(|protocol| vec![protocol]);
        let protocols = named.unwrap_or_else(|| DIALLED.to_vec());
        protocols.into_iter().filter_map(|protocol| Some((protocol, self.srv_name(protocol)?))).collect()
    }

    fn srv_name(&self, protocol: Protocol) -> Option<CompactString> {
        let service = match protocol {
            Protocol::Udp => "_sip._udp",
            Protocol::Tcp => "_sip._tcp",
            Protocol::Tls => "_sips._tcp",
            Protocol::Ws | Protocol::Wss => return None, // RFC 7118 §6: no SRV for WebSocket
        };
        Some(format_compact!("{service}.{}", self.host))
    }

    /// What is spoken at the addresses of the host itself, and on which port (§4.1, §4.2, last paragraphs).
    pub fn direct(&self) -> (Protocol, u16) {
        let protocol = self.protocol.unwrap_or(Protocol::Udp);
        (protocol, self.port.unwrap_or_else(|| protocol.default_port()))
    }
}

fn services(mut records: Vec<Naptr>) -> Vec<(Protocol, CompactString)> {
    records.sort_by_key(|record| (record.order, record.preference));
    let service = |record: Naptr| {
        let protocol = match record.services.to_ascii_uppercase().as_slice() {
            b"SIP+D2U" => Protocol::Udp,
            b"SIP+D2T" => Protocol::Tcp,
            b"SIPS+D2T" => Protocol::Tls,
            _ => return None,
        };
        let is_srv = record.flags.eq_ignore_ascii_case(b"s") && !matches!(record.replacement.as_str(), "" | ".");
        (is_srv && DIALLED.contains(&protocol)).then_some((protocol, record.replacement))
    };
    records.into_iter().filter_map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(port: Option<u16>, protocol: Option<Protocol>) -> Question {
        Question { host: "sbc.example.com".into(), port, protocol, is_sips: false }
    }

    fn names(question: &Question) -> Vec<String> {
        question.services().into_iter().map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn na_7_what_is_asked_by_what_the_uri_names() {
        let bare = question(None, None);
        assert!(bare.wants_naptr());
        let all = ["_sip._udp.sbc.example.com", "_sip._tcp.sbc.example.com", "_sips._tcp.sbc.example.com"];
        assert_eq!(names(&bare), all);
        assert_eq!(bare.direct(), (Protocol::Udp, 5060));
        let tcp = question(None, Some(Protocol::Tcp));
        assert!(!tcp.wants_naptr());
        assert_eq!(names(&tcp), ["_sip._tcp.sbc.example.com"]);
        assert_eq!(tcp.direct(), (Protocol::Tcp, 5060));
        let port = question(Some(5080), None);
        assert!(!port.wants_naptr() && names(&port).is_empty());
        assert_eq!(port.direct(), (Protocol::Udp, 5080));
        let both = question(Some(5080), Some(Protocol::Tcp));
        assert!(!both.wants_naptr() && names(&both).is_empty());
        assert_eq!(both.direct(), (Protocol::Tcp, 5080));
        // §4.1: NAPTR of a sips URI too; of what it leads to, TLS.
        let sips = Question { is_sips: true, ..question(None, Some(Protocol::Tls)) };
        assert!(sips.wants_naptr());
        assert_eq!(names(&sips), ["_sips._tcp.sbc.example.com"]);
        assert_eq!(sips.direct(), (Protocol::Tls, 5061));
        assert!(!Question { port: Some(5061), ..sips }.wants_naptr());
    }

    #[test]
    fn na_7_naptr_by_order_then_preference() {
        // RFC 3263 §4.1, the example, with noise.
        let record = |order, preference, flags: &str, services: &str, replacement: &str| Naptr {
            order,
            preference,
            flags: flags.as_bytes().into(),
            services: services.as_bytes().into(),
            replacement: replacement.into(),
        };
        let records = vec![
            record(100, 50, "s", "SIP+D2U", "_sip._udp.example.com."),
            record(90, 50, "S", "sip+d2t", "_sip._tcp.example.com."),
            record(90, 40, "s", "E2U+email", "mail.example.com."),
            record(90, 30, "u", "SIP+D2U", "_sip._udp.wrong.example.com."),
            record(80, 10, "s", "SIP+D2U", "."),
        ];
        let (tcp, udp) =
            ((Protocol::Tcp, "_sip._tcp.example.com.".into()), (Protocol::Udp, "_sip._udp.example.com.".into()));
        assert_eq!(question(None, Some(Protocol::Tls)).among(records.clone()), []);
        assert_eq!(question(None, Some(Protocol::Udp)).among(records.clone()), std::slice::from_ref(&udp));
        assert_eq!(question(None, None).among(records), [tcp, udp]);
    }
}
