//! Every bound of the daemon in one place, each with its unit (HOUSE, style 6).

use std::time::Duration;

/// Longest SIP message accepted, in bytes: what a UDP datagram can carry.
pub const MESSAGE_BYTES: usize = 65_535;
/// Most header lines in one message.
pub const HEADER_LINES: usize = 256;
/// Most contacts (bindings) of one address of record.
pub const BINDINGS_PER_USER: usize = 16;
/// Longest one value we keep from a peer (Contact URI, User-Agent, Call-ID, tag), in bytes.
pub const KEPT_VALUE_BYTES: usize = 1024;
/// Server and client transactions alive at once; a request beyond gets a stateless 503.
pub const TRANSACTIONS: usize = 1_000_000;
/// Calls up at once, emergency calls excepted.
pub const CALLS: usize = 100_000;
/// Stream connections at once, and at most one for two files that may be open beside those of ports: calls need files too. For a
/// new one the oldest is closed that has carried no call and no registration.
pub const CONNECTIONS: usize = 20_000;
/// Bytes waiting to be written to one stream connection before it is closed as stuck.
pub const CONNECTION_BACKLOG_BYTES: usize = 1 << 20;
/// What each message in it counts beside its own length.
pub const BACKLOG_ENTRY_BYTES: usize = 64;
/// A stream connection on which a started message does not end in this time is closed.
pub const HALF_MESSAGE: Duration = Duration::from_secs(32);
/// Connections of which is remembered where their phone has moved; beyond, the oldest are forgotten.
pub const MOVED_CONNECTIONS: usize = 20_000;
/// How often in a row one phone is followed from connection to connection.
pub const MOVES_FOLLOWED: usize = 8;
/// Longest request sent as a datagram, in bytes, where the path MTU is not known (RFC 3261 §18.1.1).
pub const DATAGRAM_REQUEST_BYTES: usize = 1300;
/// Longest datagram over IPv4, in bytes (RFC 791 §3.1, RFC 768): what is longer goes over a connection or not at all.
pub const DATAGRAM_BYTES: usize = 65_507;
/// How long a connection opened for a request that is too long for a datagram may take: a round trip, and no retransmission.
pub const CONNECT_INSTEAD: Duration = Duration::from_millis(300);
/// A peer that has said nothing in this time over such a connection takes nothing there.
pub const SILENT_INSTEAD: Duration = Duration::from_secs(1);
/// How long a peer that takes nothing over TCP is sent datagrams of any length.
pub const DATAGRAMS_ONLY: Duration = Duration::from_secs(3600);
/// Peers of which that is remembered; beyond, the oldest are forgotten, which costs one more try each.
pub const DATAGRAM_PEERS: usize = 1024;
/// Targets of trunks that TLS connections are told apart by, all configurations since the start together.
pub const PEERS: usize = 65_534;
/// TLS and WebSocket handshakes under way at one listener, and at most one for eight such files; for a new one the
/// oldest of the network that has most is ended.
pub const HANDSHAKES: usize = 1024;
/// How long one may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Nonces whose `nc` count is remembered, against replay.
pub const NONCES: usize = 100_000;
/// Addresses of one trunk target that DNS gave; the rest is left out.
pub const ADDRESSES_PER_TARGET: usize = 32;
/// Realms of one trunk whose challenge is kept; the oldest gives way.
pub const REALMS_PER_TRUNK: usize = 4;
/// Phones that were challenged and have not answered yet; beyond, all are forgotten, which costs some of them one more try.
pub const CHALLENGES: usize = 10_000;
/// Test calls of the last hour that are remembered, against `[lease] tests_per_hour`; beyond, the oldest are forgotten.
pub const TESTS_REMEMBERED: usize = 100_000;
/// Writes waiting for the store.
pub const STORE_QUEUE: usize = 200_000;
/// Notices to the webhook that are kept, acknowledged ones included; beyond, the oldest of those go first.
pub const NOTICES: usize = 10_000;
/// Notices posted to the webhook at once.
pub const NOTICES_AT_ONCE: usize = 8;
/// Longest location of a caller (a PIDF-LO) that a notice tells, in bytes.
pub const NOTICE_LOCATION_BYTES: usize = 16 * 1024;
/// Ended calls kept in memory for `records` (all are in the store).
pub const RECORDS_KEPT: usize = 10_000;
/// Refused emergency calls of people nobody knows that are recorded and told in a minute; further ones are counted and logged.
pub const STRANGERS_TOLD: usize = 10;
/// Attempts (legs towards trunks or phones) of one call.
pub const ATTEMPTS_PER_CALL: usize = 64;
/// INFO, MESSAGE and the like of one leg that wait for the answer of the other.
pub const CROSSINGS_PER_LEG: usize = 32;
/// Pairs of media ports that are bound ahead of need, of each address family.
pub const PORTS_READY: usize = 256;
/// Of these, pairs that only emergency calls, their tests and their callbacks get; at most a quarter of the range.
pub const PORTS_RESERVED: usize = 64;
/// How long the ports of a pair rest that was used, for what is still on its way to them.
pub const PORTS_REST: Duration = Duration::from_secs(5);
/// Streams (m= lines) of one leg that are relayed; further ones are refused.
pub const STREAMS_PER_LEG: usize = 16;
/// Refusals that are said at once; further calls hear none.
pub const REFUSALS_SAID: usize = 64;
/// How long the saying of one may take.
pub const REFUSAL: Duration = Duration::from_secs(15);
/// Streams of legs that have left a call, whose health its record tells.
pub const PAST_STREAMS: usize = 32;
/// How long a phone that rings may say nothing: it is to say so every minute (RFC 3261 §13.3.1.1), and Timer C gives three (§16.6).
pub const RINGING: Duration = Duration::from_secs(180);
/// The same of a trunk, where queues are long, gateways say nothing while they ring, and the caller hangs up when it has enough.
pub const TRUNK_RINGING: Duration = Duration::from_secs(3600);
/// How long the target of a transfer may ring.
pub const TRANSFER: Duration = Duration::from_secs(180);
/// Early dialogs of one forked INVITE of ours beside its first; reliable provisional responses of further ones are dropped.
pub const FORKS: usize = 8;
/// Provisional responses of one call that wait for the PRACK of the one before; further ones are dropped.
pub const PROVISIONALS_WAITING: usize = 8;
/// Longest session interval taken from a peer, in seconds.
pub const SESSION_INTERVAL_SECONDS: u32 = 24 * 3600;
/// Alarms of the legs kept for each of them, on average; beyond, those that are no longer true are dropped.
pub const ALARMS_PER_LEG: usize = 4;
/// Questions to rtpengine without an answer; beyond, calls go through the relay of the daemon.
pub const RTPENGINE_QUESTIONS: usize = 10_000;
/// Certificates of rtpengine that are remembered: one an instance, and those before.
pub const RTPENGINE_CERTIFICATES: usize = 16;
/// Events of one call that wait for rtpengine; beyond, the call goes on without it.
pub const EVENTS_WAITING: usize = 32;
