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
