//! What goes into the node and what comes out of it: the whole contract with the shell.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::base::{E164, Protocol};
use crate::config::Config;
use crate::geo::Database;
use crate::lease::ElsewhereNews;
use crate::media;
use crate::node::recall::Remembered;
use crate::node::rows::{Row, StoreFault, WriteId};
use crate::transport::{ConnId, Found, ListenerId, Question, Transmit};
use crate::trunk::Peer;

/// One question to the resolver; answered by exactly one [`Input::Resolved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

#[derive(Debug)]
pub enum Input {
    Datagram {
        listener: ListenerId,
        remote: SocketAddr,
        bytes: Bytes,
    },
    /// A peer connected to a stream listener.
    Accepted {
        connection: ConnId,
        listener: ListenerId,
        remote: SocketAddr,
        /// The SIP domains its TLS certificate names, in lower case (RFC 5922 §7.1).
        identities: Vec<CompactString>,
    },
    /// An [`Output::Connect`] succeeded; its failure is a [`Input::Failed`] or [`Input::Closed`].
    Connected {
        connection: ConnId,
    },
    /// An [`Output::Connect`] came to nothing, or the peer would not have us; nothing more comes of the connection.
    Failed {
        connection: ConnId,
        /// For the operator.
        reason: String,
    },
    Stream {
        connection: ConnId,
        bytes: Bytes,
    },
    /// One message of a WebSocket, which is one SIP message or a keep-alive (RFC 7118 §5).
    Frame {
        connection: ConnId,
        bytes: Bytes,
    },
    Closed {
        connection: ConnId,
    },
    /// ICMP said that nobody listens at `remote`.
    Unreachable {
        listener: ListenerId,
        remote: SocketAddr,
    },
    Stored {
        write: WriteId,
        result: Result<(), StoreFault>,
    },
    /// How the store fares, when no write waits to hear it.
    Store(Result<(), StoreFault>),
    /// What the store remembers, that could not be asked for it at start.
    Remembered(Box<Remembered>),
    Resolved {
        query: QueryId,
        found: Found,
    },
    Media(media::News),
    /// The answer to an [`Output::Post`].
    Posted {
        hook: Hook,
        post: u64,
        /// Its HTTP status, or why there was none.
        result: Result<u16, String>,
    },
    /// A datagram of an rtpengine.
    Ng {
        from: SocketAddr,
        bytes: Bytes,
    },
    /// Wall clock minus node clock, in milliseconds; for showing times to people only.
    Wall {
        offset_ms: i64,
    },
    /// `[geo] database`, read; `None`: there is none.
    Geography(Option<Arc<Database>>),
    Reload(Arc<Config>),
    /// Of the numbers of the pools, those that this node may give, where several nodes share a database. Until the first: all.
    Share(Vec<RangeInclusive<E164>>),
    /// What the other nodes that share the database hold, and where they are.
    Elsewhere(ElsewhereNews),
    /// Refuse new work that is not an emergency; [`super::Node::is_drained`] says when all calls are over.
    Drain,
}

#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Connect {
        connection: ConnId,
        protocol: Protocol,
        listener: ListenerId,
        remote: SocketAddr,
        /// Whom the peer must prove to be under TLS; `None`: nobody is known there.
        peer: Option<Peer>,
    },
    Close {
        connection: ConnId,
    },
    /// `urgent`: a call waits for it; commit now. Otherwise within a fraction of a second.
    Persist {
        write: WriteId,
        rows: Vec<Row>,
        urgent: bool,
    },
    Resolve {
        query: QueryId,
        question: Question,
    },
    Media(media::Order),
    /// JSON to a webhook; answered by exactly one [`Input::Posted`].
    Post {
        hook: Hook,
        /// Tells the posts of one hook apart.
        post: u64,
        body: String,
    },
    /// A datagram to an rtpengine; its answer is an [`Input::Ng`].
    Ng {
        to: SocketAddr,
        bytes: Bytes,
    },
}

/// The webhooks of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// `[notify] url`
    Notify,
    /// `[callback] wake_url`
    Wake,
}

/// Whose deadline comes next; shown in traces of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Transaction,
    Leg,
    Call,
    Lease,
    Binding,
    Confirmation,
    Notice,
    KeepAlive,
    Trunk,
    HalfMessage,
    Gauges,
    Media,
}
