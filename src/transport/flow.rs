//! A flow: the five-tuple a message came over, by value (RFC 5626 §1.1).

use std::fmt;
use std::net::SocketAddr;

use crate::base::Protocol;

/// Index of a `[[sip.listen]]` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u8);

/// A stream connection. The shell numbers accepted ones (`ACCEPTED` bit set), the node those it asks for. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl ConnId {
    pub const ACCEPTED: u64 = 1 << 63;
    /// Those the node asks for tell above this bit whom they must lead to, so that a later one leads there too.
    const PEER_SHIFT: u32 = 40;
    /// Nobody's number among the peers: connections of those that are spoken to by datagrams.
    pub(super) const INSTEAD: u16 = u16::MAX;

    /// The name of a connection of ours to `peer`; the number 0 is never opened.
    pub(super) const fn to_peer(peer: u16, number: u64) -> Self {
        Self(((peer as u64) << Self::PEER_SHIFT) | number)
    }

    /// Whom a connection of ours leads to; 0: whoever is there.
    pub(super) const fn peer(self) -> u16 {
        if self.0 & Self::ACCEPTED == 0 { (self.0 >> Self::PEER_SHIFT) as u16 } else { 0 }
    }
}

/// Where a message came from, and so where the answer goes: a listener and a remote address, and for streams the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: Protocol,
    pub listener: ListenerId,
    pub remote: SocketAddr,
    /// `None` for datagrams, and for a stream flow read back from the store whose connection is gone.
    pub connection: Option<ConnId>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol.uri_token(), self.remote)
    }
}
