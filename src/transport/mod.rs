//! Where messages come from and go to: flows, Via stamping, response routing (RFC 3261 §18, RFC 3581).

pub mod finding;
pub mod flow;
mod instead;
mod route;
pub mod streams;
pub mod stun;

pub use finding::{Found, Place, Question, Server};
pub use flow::{ConnId, Flow, ListenerId};
pub use instead::retold;
pub use route::{listener_toward, response_flow};
pub use streams::Streams;

use bytes::Bytes;

/// A whole message on its way to the wire.
#[derive(Clone, Debug)]
pub struct Transmit {
    pub flow: Flow,
    pub bytes: Bytes,
}

/// What the floors below the node have to send, in order; the node drains it into its outputs.
pub type Outbox = Vec<Transmit>;
