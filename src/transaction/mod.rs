//! The transaction floor (RFC 3261 §17, RFC 6026, RFC 4320): retransmits, absorbs retransmissions, gives up in time.
//!
//! Four pure machines, one a file, each one table from (state, event) to (state, actions); `Transactions` holds the living
//! ones, finds the one a message belongs to, and does what the tables say. 2xx to an INVITE, and their ACK, belong to `ua`.

mod branch;
mod client;
mod client_invite;
mod client_non_invite;
mod clients;
mod context;
mod keys;
mod messages;
mod server;
mod server_invite;
mod server_non_invite;
mod servers;
mod table;
#[cfg(test)]
mod tests;
mod timers;

pub use branch::Branch;
pub use clients::Reopened;
pub use table::Transactions;
pub use timers::Timers;

use crate::sip::Message;
use crate::transport::Flow;

slotmap::new_key_type! {
    /// A client transaction: a request of ours.
    pub struct ClientId;
    /// A server transaction: a request of a peer.
    pub struct ServerId;
}

/// What the layers above hear. `O` is the owner they gave.
#[derive(Debug)]
pub enum Event<O> {
    /// A server transaction was opened: any method but ACK and CANCEL. An INVITE has been answered 100.
    Request { transaction: ServerId, message: Message, flow: Flow },
    /// An ACK that no transaction absorbs: that of a 2xx, or a stray one; its dialog knows.
    Ack { message: Message, flow: Flow },
    /// A CANCEL of an INVITE that has no final response; the CANCEL has been answered 200, the INVITE waits for its 487.
    Cancel { invite: ServerId, owner: Option<O>, message: Message },
    /// A response to a request of ours: each provisional, the final, and each repetition of a 2xx to an INVITE.
    Response { transaction: ClientId, owner: O, message: Message },
    /// No final response in time (timers B and F, and 64*T1 after a CANCEL).
    Timeout { transaction: ClientId, owner: O },
    /// The transport cannot reach the peer, or its connection closed.
    Unreachable { transaction: ClientId, owner: O },
    /// Our non-2xx final response to an INVITE was never acknowledged (timer H).
    AckMissing { transaction: ServerId, owner: Option<O> },
}
