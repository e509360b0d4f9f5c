//! The checked configuration: every key of INTERFACE.md, as the type it means.
//!
//! Lists keep the order of the file. References are resolved: a user holds its resource, a route holds [`TrunkIdx`].

use super::Aor;
use super::civic::Civic;
use super::country::{Country, CountryRow};
use super::index::Index;
use super::security::{ListenerTls, PeerTls, PemFile};
use super::store::StorePlace;
use crate::base::{E164, Protocol};
use compact_str::CompactString;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole, checked configuration. Immutable; a reload makes a new one.
#[derive(Debug)]
pub struct Config {
    pub node: NodeKeys,
    pub store: StoreKeys,
    pub sip: SipKeys,
    /// `[[sip.listen]]`, at least one. `transport::ListenerId` counts in this order.
    pub listeners: Vec<Listener>,
    pub timers: Timers,
    pub registrar: RegistrarKeys,
    pub resources: Vec<Arc<Resource>>,
    /// In file order; find one with [`Config::user`].
    pub users: Vec<User>,
    pub pbxs: Vec<Pbx>,
    /// The built-in rows with `[[countries]]` replacing and adding; sorted by code.
    pub countries: Vec<CountryRow>,
    pub geo: GeoKeys,
    pub lease: LeaseKeys,
    pub pools: Vec<Pool>,
    /// [`TrunkIdx`] counts in this order; find one with [`Config::trunk`].
    pub trunks: Vec<Trunk>,
    pub routes: Vec<Route>,
    pub routing: Routing,
    pub callback: Callback,
    pub other_calls: OtherCalls,
    pub media: Media,
    pub notify: Notify,
    pub admin: Admin,
    pub(super) index: Index,
    /// The built-in answer to a test number without a route.
    pub(super) test_line: Route,
}

/// A trunk by its place in [`Config::trunks`]. Means nothing in another `Config`: across a reload, use the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkIdx(pub u32);

/// A PBX by its place in [`Config::pbxs`]; means nothing in another `Config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PbxIdx(pub u32);

/// `[node]`
#[derive(Clone, Debug)]
pub struct NodeKeys {
    /// Default `node-1`.
    pub name: CompactString,
    /// How long a shutdown waits for calls to end. Default 30 s.
    pub drain: Duration,
    /// Host name that identifiers made here end in (NENA-STA-010, element identifier).
    pub element: Option<CompactString>,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreKeys {
    /// Default the SQLite file `data/sosbridge.db` beside the configuration.
    pub place: StorePlace,
    /// Past it an emergency call goes out on a lease held in memory. Default 200 ms.
    pub write_deadline: Duration,
    /// Records are deleted this long after their call. Default zero: never.
    pub keep_records: Duration,
}

/// `[sip]`
#[derive(Clone, Debug)]
pub struct SipKeys {
    /// Domains the registrar serves, in lower case. Default: the users' domains and the listeners' hosts.
    pub domains: Vec<CompactString>,
    /// Server and User-Agent header. Default `sosbridge`.
    pub user_agent: CompactString,
    /// Name servers; empty: those of the system.
    pub dns: Vec<SocketAddr>,
    /// Session interval we ask for (RFC 4028); zero: none. Default 30 min.
    pub session_expires: Duration,
    /// A shorter one is refused. Default 90 s, which is also the least.
    pub min_se: Duration,
}

/// `[[sip.listen]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub protocol: Protocol,
    /// Port 0: any free port.
    pub address: SocketAddr,
    /// Host put in Via and Contact, IPv6 in brackets.
    pub advertise_host: CompactString,
    /// Port put in Via and Contact; `None`: the port that was bound.
    pub advertise_port: Option<u16>,
    /// Always there for `tls` and `wss`, never for others.
    pub tls: Option<ListenerTls>,
}

/// `[sip.timers]`, RFC 3261 §17.1.1.1: defaults 500 ms, 4 s, 5 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
}

/// `[registrar]`. Durations are whole seconds on the wire.
#[derive(Clone, Debug)]
pub struct RegistrarKeys {
    /// Digest realm. Default: the first domain.
    pub realm: CompactString,
    /// A shorter request gets 423. Default 60 s.
    pub min_expires: Duration,
    /// A longer request is cut to it. Default 1 h.
    pub max_expires: Duration,
    /// When the phone names none. Default 1 h.
    pub default_expires: Duration,
    /// Every phone gets an OPTIONS this often. Default zero: never.
    pub options_interval: Duration,
}

/// `[[resources]]`: a tenant.
#[derive(Clone, Debug)]
pub struct Resource {
    pub name: CompactString,
    pub numbers: Vec<ResourceNumber>,
    /// Shared numbers of last resort, as configured; [`Config::overflow`] says which they are when it is empty.
    pub overflow: Vec<E164>,
    /// `inbound` of users who do not say. Default true.
    pub inbound_default: bool,
    /// Country of a caller when nothing else tells. Unset by default.
    pub unknown_country: Option<Country>,
    pub outside_countries: OutsideCountries,
    pub foreign_numbers: ForeignNumbers,
    /// Digits dialled for an outside line.
    pub outside_line_prefix: Option<CompactString>,
    pub direct_routes: Vec<DirectRoute>,
    /// Where data about whoever provides the service can be had (RFC 7852 §4.1).
    pub provider_info: Option<CompactString>,
}

impl Resource {
    /// True when the resource owns a number enabled for outbound dialling, without which no emergency call is made (SPEC §2).
    pub fn may_call(&self) -> bool {
        self.numbers.iter().any(|number| number.make_calls)
    }
}

/// A number a resource bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceNumber {
    pub number: E164,
    /// Enabled for outbound dialling. Default false.
    pub make_calls: bool,
}

/// What happens to an emergency call from outside the supported countries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutsideCountries {
    #[default]
    Reject,
    BestEffort,
}

/// What a foreign emergency number means in a supported country (911 dialled in GB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForeignNumbers {
    /// It is that country's own emergency number.
    #[default]
    Treat,
    Reject,
}

/// `[[resources.direct_routes]]`
#[derive(Clone, Debug)]
pub struct DirectRoute {
    /// On the dialled digits.
    pub pattern: regex::Regex,
    pub trunks: Vec<TrunkIdx>,
}

/// `[[users]]`
#[derive(Clone, Debug)]
pub struct User {
    pub aor: Aor,
    pub secret: Secret,
    pub resource: Arc<Resource>,
    /// The user's own number (`alternateCallerId`).
    pub number: Option<E164>,
    /// Whether ordinary calls reach the user; callbacks always do.
    pub inbound: bool,
    /// As configured; territories not yet normalised.
    pub country: Option<Country>,
    /// Where the user is, for trunks that want it.
    pub location: Option<Civic>,
}

/// What a user proves its identity with: HA1 = H(user:realm:password) (RFC 7616 §3.4.2, RFC 8760).
/// The username is the user part of the address of record, the realm is `registrar.realm`.
/// An algorithm without its HA1 cannot be offered to that user. At least one is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub ha1_md5: Option<[u8; 16]>,
    pub ha1_sha256: Option<[u8; 32]>,
    /// For phones whose username is the whole `user@domain`; there when the password is known.
    pub whole_ha1_md5: Option<[u8; 16]>,
    pub whole_ha1_sha256: Option<[u8; 32]>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A password or token: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub CompactString);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// `[[pbxs]]`: a trusted PBX in place of registered phones.
#[derive(Clone, Debug)]
pub struct Pbx {
    pub name: CompactString,
    /// What stands behind the @ of its users here: the name, as a host.
    pub domain: CompactString,
    pub resource: Arc<Resource>,
    /// Who it is; see [`Config::pbx_accepting`].
    pub addresses: Vec<AcceptFrom>,
    /// Where its callbacks go.
    pub target: Target,
    pub tls: PeerTls,
}

/// `[geo]`
#[derive(Clone, Debug, Default)]
pub struct GeoKeys {
    /// Absolute path of a MaxMind-format database.
    pub database: Option<PathBuf>,
    /// Of that path in the file.
    pub(super) span: Range<usize>,
    /// Networks whose geolocation is not believed.
    pub unreliable: Vec<IpNet>,
}

/// `[lease]`
#[derive(Clone, Debug)]
pub struct LeaseKeys {
    /// At least (and by default) 60 min.
    pub window: Duration,
    /// Default 24 h.
    pub quarantine: Duration,
    /// Test calls per user and hour. Default 10.
    pub tests_per_hour: u32,
}

/// `[[pools]]`: temporary numbers.
#[derive(Clone, Debug)]
pub struct Pool {
    /// `pool-1` and so on by place in the file, unless the key `name` says otherwise; the label of metrics.
    pub name: CompactString,
    /// Normalised (territories as their country).
    pub countries: Vec<Country>,
    /// Only for this resource; `None`: for all.
    pub resource: Option<Arc<Resource>>,
    /// Sorted, without overlap.
    pub numbers: Vec<NumberRange>,
}

impl Pool {
    /// How many numbers the pool holds.
    pub fn len(&self) -> u64 {
        self.numbers.iter().map(NumberRange::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub fn contains(&self, number: E164) -> bool {
        let after = self.numbers.partition_point(|range| range.first <= number);
        after.checked_sub(1).and_then(|at| self.numbers.get(at)).is_some_and(|range| number <= range.last)
    }
}

/// Numbers from `first` to `last`, both included; `first <= last`, same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberRange {
    pub first: E164,
    pub last: E164,
}

impl NumberRange {
    /// How many numbers; at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.last.digits() - self.first.digits() + 1
    }

    /// Every number of the range, in order.
    pub fn iter(&self) -> impl Iterator<Item = E164> + use<> {
        (self.first.digits()..=self.last.digits()).filter_map(E164::from_digits)
    }
}

/// `[[trunks]]`: a way to a call center, a PSAP or a carrier.
#[derive(Clone, Debug)]
pub struct Trunk {
    pub name: CompactString,
    pub targets: Vec<Target>,
    /// Where its calls (callbacks) come from; see [`Config::trunk_accepting`].
    pub accept_from: Vec<AcceptFrom>,
    pub request_uri: RequestUri,
    pub identity: Identity,
    /// Resource-Priority value to add (RFC 4412), such as `esnet.1`.
    pub resource_priority: Option<CompactString>,
    /// Add the NENA call and incident identifiers.
    pub add_nena_ids: bool,
    pub location: Location,
    /// Further header names that may cross to the trunk, as written; compare without case.
    pub allow_headers: Vec<CompactString>,
    /// Between OPTIONS probes. Default 30 s; `None` (written `"0s"`): no probes.
    pub options_interval: Option<Duration>,
    /// No response in this time: next target. Default 2 s.
    pub answer_wait: Duration,
    /// A target that says 100 and nothing more in this time is left for the next one. Default 20 s.
    pub progress_wait: Duration,
    /// Digest username toward the trunk.
    pub username: Option<CompactString>,
    pub password: Option<Hidden>,
    pub register: bool,
    /// Where its call takers may transfer a caller; `None`: to its own targets and those of the emergency routes.
    pub transfer_to: Option<Vec<TransferTo>>,
    /// Overrides `[media] mode`.
    pub media: Option<MediaMode>,
    pub tls: PeerTls,
}

impl Trunk {
    /// The user of the Contact that we register there; `None`: we do not register.
    pub fn registered_user(&self) -> Option<&str> {
        self.username.as_deref().filter(|_| self.register)?.split('@').next()
    }
}

/// One place calls are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As written.
    pub uri: CompactString,
    /// User part of the URI, still escaped; empty when it has none.
    pub user: CompactString,
    /// Name, IPv4 address, or IPv6 address in brackets.
    pub host: CompactString,
    /// As written; `None`: the default port, or DNS SRV for a name (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// As written in `;transport=`; `None`: UDP, or DNS for a name (RFC 3263 §4.1).
    pub protocol: Option<Protocol>,
    /// Lower is tried first. Default 1.
    pub priority: u16,
    /// Share among the targets of one priority. Default 1.
    pub weight: u16,
}

impl Target {
    /// True when the URI demands TLS all the way (RFC 3261 §19.1).
    pub fn is_sips(&self) -> bool {
        self.uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
    }

    /// The address, when the host is one: no DNS is needed.
    pub fn literal(&self) -> Option<SocketAddr> {
        let host = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        let address: IpAddr = host.parse().ok()?;
        Some(SocketAddr::new(
            address.to_canonical(),
            self.port.unwrap_or(self.protocol.unwrap_or(Protocol::Udp).default_port()),
        ))
    }
}

/// One place callers may be transferred to.
#[derive(Clone, Debug)]
pub enum TransferTo {
    /// On the digits of the number.
    Number(regex::Regex),
    /// Host and port, and where it is not empty the user part.
    Address { user: CompactString, host: CompactString, port: Option<u16> },
}

/// One way to recognise calls of a trunk or a PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptFrom {
    Network(IpNet),
    /// Address and source port.
    Address(SocketAddr),
    /// A name in its TLS certificate, lower case.
    Certificate(CompactString),
}

impl fmt::Display for AcceptFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "{network}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Certificate(name) => f.write_str(name),
        }
    }
}

/// What the Request-URI toward a trunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequestUri {
    /// The emergency number at the target.
    #[default]
    Number,
    /// `urn:service:sos`.
    Urn,
}

/// The form of P-Asserted-Identity toward a trunk (RFC 3325).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Identity {
    #[default]
    Sip,
    Tel,
    Both,
}

/// What a trunk gets of a caller's location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Location {
    /// What the phone sent.
    #[default]
    Pass,
    /// That, and where the phone sent none the address that is configured for the user.
    Add,
}

/// `[[routes]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Normalised.
    pub countries: Vec<Country>,
    /// Empty: all emergency numbers of the countries.
    pub numbers: Vec<CompactString>,
    pub action: RouteAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// In this order.
    Trunks(Vec<TrunkIdx>),
    /// The built-in line that reads the temporary number back.
    TestLine,
}

/// `[routing]`
#[derive(Clone, Debug)]
pub struct Routing {
    /// How long all trunks are tried again while the caller holds on, before 503. Default 30 s.
    pub retry: Duration,
    /// Whether a caller may put an emergency call on hold. Default true.
    pub caller_hold: bool,
}

/// `[callback]`
#[derive(Clone, Debug)]
pub struct Callback {
    /// How long a callback waits for a phone that is offline. Default 60 s.
    pub hold: Duration,
    /// Whether the trunk is told by a voice that it waits. Default false.
    pub announcement: bool,
    pub ring: Ring,
    /// Webhook that wakes phones (RFC 8599).
    pub wake_url: Option<CompactString>,
    /// `Authorization: Bearer` there.
    pub wake_token: Option<Hidden>,
    /// Last resort: a number or SIP URI on site.
    pub desk: Option<CompactString>,
}

/// Which of the user's devices a callback rings first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ring {
    #[default]
    OriginFirst,
    All,
}

/// `[other_calls]`: calls that are not emergency calls.
#[derive(Clone, Debug)]
pub struct OtherCalls {
    /// User to user inside the daemon. Default true.
    pub users: bool,
    /// Outbound through this trunk; `None`: refused with 403.
    pub trunk: Option<TrunkIdx>,
}

/// `[media]`
#[derive(Clone, Debug)]
pub struct Media {
    pub mode: MediaMode,
    /// Addresses in SDP, at most one of each family. Default: those of the first listeners of each family.
    pub addresses: Vec<IpAddr>,
    /// First and last RTP port. Default 20000 and 29999.
    pub ports: (u16, u16),
    /// The ng sockets of rtpengine, the preferred first. Default 127.0.0.1:2223.
    pub rtpengine: Vec<SocketAddr>,
    /// No media that long: logged and shown, the call stays. Default 120 s.
    pub idle: Duration,
    /// Whether a caller whose emergency call is refused hears so. Default false.
    pub announce_refusals: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MediaMode {
    #[default]
    Relay,
    Pass,
    Rtpengine,
}

/// What the webhook of `[notify]` is told of, by name.
pub const EVENTS: [&str; 11] = [
    "emergency_call",
    "emergency_refused",
    "test_call",
    "call_ended",
    "callback_received",
    "callback_missed",
    "all_trunks_failed",
    "pool_low",
    "pool_exhausted",
    "store_failing",
    "store_back",
];

/// `[notify]`
#[derive(Clone, Debug)]
pub struct Notify {
    /// Webhook: one POST per event.
    pub url: Option<CompactString>,
    /// `Authorization: Bearer` there.
    pub token: Option<Hidden>,
    /// Who signs the certificates of the webhooks; without it those that the system trusts.
    pub ca: Option<PemFile>,
    /// Names of the events that are told; empty: all.
    pub events: Vec<CompactString>,
    /// How long a notification is tried that nobody acknowledges. Default 24 h.
    pub give_up: Duration,
}

impl Notify {
    /// Whether anything is told of `event`.
    pub fn tells(&self, event: &str) -> bool {
        self.url.is_some() && (self.events.is_empty() || self.events.iter().any(|told| told == event))
    }
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Default 127.0.0.1:8060. Port 0: any free port.
    pub listen: SocketAddr,
    /// Required in `Authorization: Bearer` when set; always set when `listen` is not loopback.
    pub token: Option<Hidden>,
}
