//! The contract between the node and the data plane.
//!
//! The data plane binds pairs of ports ahead of need and hands them over as [`News::Bound`]; the node gives one pair to each
//! media stream of a leg and tells by [`Order`]s what becomes of it. So no call ever waits for a socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

/// A pair of bound ports: RTP, and RTCP on the next one. Never used again after its [`Order::Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId(pub u64);

/// Where a pair is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub pair: PairId,
    /// As written into session descriptions.
    pub address: IpAddr,
    /// Even; RTCP has the next one (RFC 3550 §11).
    pub rtp: u16,
}

/// What signalling says about the peer of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its session description wants RTP; `None`: it wants none (port 0, or an address of nowhere).
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP: `a=rtcp` (RFC 3605), else the next port; with rtcp-mux the same as `rtp`.
    pub rtcp: Option<SocketAddr>,
    /// RTP and RTCP share one port (RFC 5761), as both sides have agreed.
    pub mux: bool,
    /// Ticks of the RTP clock in a second (RFC 3550 §5.1), for jitter.
    pub clock_rate: u32,
    /// Addresses besides that of `rtp` its packets may come from: where its signalling comes from. A phone behind a NAT
    /// sends from there and not from where its description says.
    pub sources: SmallVec<[IpAddr; 2]>,
    /// Its signalling comes over a proxy, and the address that it describes is of a network of its own: nothing says where its NAT is, so
    /// whoever speaks first is taken for it (RFC 7362 §4).
    pub is_anywhere: bool,
    pub reach: Reach,
}

/// Whether packets go where a peer's description wants them before any have come from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As long as there are any.
    Trusted,
    /// For a while: somebody else may be flooded by an address that a stranger gives for his own.
    Described,
    /// Never: the address is of a network that we are not in, or of something here that is no party.
    Hidden,
}

/// G.711 (RFC 3551 §4.5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    Pcmu,
    Pcma,
}

/// One recorded sound. The files are in `assets/prompts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prompt {
    /// This is a test of emergency calling; your call comes from the number:
    Test,
    Plus,
    /// 0 to 9.
    Digit(u8),
    /// Once more:
    Again,
    Goodbye,
    /// Please hold: a phone is being called.
    Hold,
    /// An emergency call that is refused.
    Refused,
    /// Nothing, for half a second.
    Pause,
}

/// Prompts one after the other, sent as RTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    pub codec: Codec,
    /// As the peer knows the codec.
    pub payload_type: u8,
    pub prompts: Vec<Prompt>,
    /// Begin anew at the end, until [`Order::Silence`] or [`Order::Release`].
    pub repeats: bool,
}

/// What the node wants of the data plane. Orders are carried out in their sequence; one about an unknown pair is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A leg has the pair; what follows is about it. Whoever is told of a port is so much later than this.
    Take(PairId),
    /// Pairs are bound at these addresses from now on, and at no others; between the first and the last of these ports.
    Serve(Vec<IpAddr>, (u16, u16)),
    /// What arrives at one leaves from the other, to its peer, from now on. Whatever either was joined with before is not any more.
    Join(PairId, PairId),
    /// Ends a `Join`: what arrives goes nowhere.
    Part(PairId),
    /// Who the peer is. When `rtp` differs from before, the source of its packets is learnt anew; else what was learnt stays.
    Point(PairId, Peer),
    /// Plays to the peer of the pair, in place of what another pair would send it. A [`News::Played`] tells its end.
    Play(PairId, Voice),
    Silence(PairId),
    /// Not needed any more, and joined with nobody. Its ports rest a while before they are bound again, for what is still on its way.
    Release(PairId),
}

/// What the data plane tells the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Pairs ready for use.
    Bound(Vec<Ports>),
    /// Ports of the range could not be bound; the rest is still there.
    Scarce { reason: String },
    /// The voice of a pair has been heard to its end.
    Played(PairId),
    /// How pairs that are in use have fared, about once a second.
    Counted(Vec<(PairId, Counters)>),
}

/// What has arrived at a pair from its peer since it was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets: u64,
    pub bytes: u64,
    /// Missing by sequence numbers (RFC 3550 §6.4.1).
    pub lost: u64,
    /// Interarrival jitter in RTP timestamp units (RFC 3550 §6.4.1).
    pub jitter: u32,
    /// From elsewhere than the peer, or no RTP and no RTCP: dropped.
    pub strange: u64,
    /// Of these, media from elsewhere than the peer.
    pub elsewhere: u64,
    /// The fraction lost that the peer reports of what it hears, in 256ths (RFC 3550 §6.4.1); `None`: no report yet.
    pub reported_lost: Option<u8>,
    /// Jitter that the peer reports, in timestamp units.
    pub reported_jitter: Option<u32>,
    /// Since the last packet from the peer; since the pair was given out when there was none.
    pub silent: Duration,
}
