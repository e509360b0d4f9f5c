//! What one leg remembers: its dialog, where it is in its life, and the INVITEs not yet finished on it.

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use super::CallId;
use super::content::Origin;
use super::signing::Signing;
use crate::base::{Instant, Protocol};
use crate::dialog::Dialog;
use crate::sip::Uri;
use crate::transaction::{ClientId, ServerId};
use crate::transport::{Flow, Streams};

/// Which end began the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer called us: UAS of the first INVITE.
    Caller,
    /// We called the peer: UAC of the first INVITE.
    Callee,
}

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An INVITE without a final answer yet, theirs or ours.
    Inviting,
    /// Our 2xx is out, its ACK has not come.
    Answered,
    /// Both ends know that the session stands.
    Confirmed,
    /// Our BYE is out; only its answer, or a crossing BYE, is still expected (CONFORMANCE DI-6, DI-9).
    Ending,
}

/// One end of a call.
pub struct Leg {
    /// `None`: abandoned; it ends itself.
    pub(super) call: Option<CallId>,
    pub(super) side: Side,
    pub(super) stage: Stage,
    pub(super) dialog: Dialog,
    /// Where the peer was reached or came from.
    pub(super) flow: Flow,
    /// Requests follow the route set and the peer's Contact (trunks), or stay on `flow` (phones behind NAT; CONFORMANCE NA-1).
    pub(super) follows_target: bool,
    /// User part of our Contact on this leg.
    pub(super) contact_user: CompactString,
    /// The dialog was begun with a sips URI over TLS, so our Contact is one too (RFC 3261 §8.1.1.8, §12.1.1).
    pub(super) secure: bool,
    /// Their INVITE, until its ACK.
    pub(super) uas: Option<Uas>,
    /// Our INVITE, until its final answer is acknowledged.
    pub(super) uac: Option<Uac>,
    /// Our other requests inside the dialog that wait for an answer.
    pub(super) requests: SmallVec<[ClientId; 1]>,
    pub(super) origin: Origin,
    /// Hang up with this reason as soon as the ACK comes (RFC 3261 §15: no BYE before it).
    pub(super) farewell: Option<Option<Bytes>>,
    /// An ACK that carried an answer, for a repeated 2xx (CONFORMANCE TX-5, OA-2).
    pub(super) ack_with_answer: Option<(u32, Bytes)>,
    /// Toward a trunk that we have credentials for.
    pub(super) signing: Option<Box<Signing>>,
}

/// An INVITE of the peer in progress.
pub(super) struct Uas {
    pub server: ServerId,
    pub cseq: u32,
    pub first: bool,
    pub answer: Option<Answer>,
}

/// A 2xx of ours that waits for its ACK (RFC 3261 §13.3.1.4).
pub(super) struct Answer {
    pub bytes: Bytes,
    pub interval: std::time::Duration,
    pub next: Instant,
    pub give_up: Instant,
}

/// An INVITE of ours in progress.
pub(super) struct Uac {
    pub client: ClientId,
    pub cseq: u32,
    pub first: bool,
    /// We made the offer, so the ACK needs no body and is ours to send at once.
    pub offered: bool,
    /// The 2xx is here; the ACK waits for the answer of the other leg.
    pub answered: bool,
}

impl Leg {
    pub fn side(&self) -> Side {
        self.side
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// True while a re-INVITE of ours on this leg has no final answer, or the ACK to its 2xx still waits for the other leg.
    pub fn is_inviting(&self) -> bool {
        self.uac.is_some()
    }

    /// Where the next request inside the dialog goes (RFC 3261 §12.2.1.1, §8.1.2).
    pub(super) fn next_flow(&self, streams: &Streams) -> Flow {
        self.flow_of(&self.dialog, streams)
    }

    /// The same for `dialog`: this leg's, or that of another branch of its forked INVITE.
    pub(super) fn flow_of(&self, dialog: &Dialog, streams: &Streams) -> Flow {
        // To a browser there is no way but its own connection (RFC 7118 §3).
        if !self.follows_target || self.flow.protocol.is_web_socket() {
            return self.flow;
        }
        let Ok(uri) = Uri::parse(dialog.next_hop()) else { return self.flow };
        let Some(ip) = uri.host.ip().filter(|ip| ip.is_ipv4() == self.flow.remote.is_ipv4()) else { return self.flow };
        let named = uri.transport();
        // A peer that names no transport and sits where we already talk to it is kept on its connection.
        let protocol = named.unwrap_or(if ip == self.flow.remote.ip() { self.flow.protocol } else { Protocol::Udp });
        if protocol.is_reliable() && protocol == self.flow.protocol && ip == self.flow.remote.ip() {
            // Once its connection is gone it listens where it says, not on the port it called from (RFC 3261 §18.1.1).
            if uri.port.is_none() || streams.existing(self.flow).is_some() {
                return self.flow;
            }
        }
        let port = uri.port.unwrap_or_else(|| protocol.default_port());
        let remote = (ip, port).into();
        let connection = if protocol == self.flow.protocol { self.flow.connection } else { None };
        Flow { protocol, listener: self.flow.listener, remote, connection }
    }
}
