//! Text to types and back (RFC 3261 §7, §19, §20, §25): the one floor that reads what peers send.
//!
//! A [`Message`] is the bytes as they came and an index of where its lines are, made in one pass. Headers become types
//! ([`Via`], [`NameAddr`], [`Uri`]) when somebody asks; what nobody asks about passes byte for byte, whatever it is.
//! A message that breaks the rules the floors above stand on is refused here, with the status to answer ([`Malformed`]).
//! [`Writer`] prints; a value given to it can never start a line of its own. [`framing`] cuts streams, [`digest`]
//! authenticates, [`mime`] and [`sdp`] find and edit bodies. Nothing here knows time, addresses of ours, or any state.

mod check;
pub mod compat;
pub mod digest;
mod extensions;
mod fault;
pub mod framing;
mod lines;
mod mend;
mod message;
mod method;
pub mod mime;
mod name;
mod nameaddr;
mod params;
mod reason;
mod replaces;
mod reply;
mod scan;
pub mod sdp;
pub mod text;
pub mod uri;
mod via;
mod writer;

pub use extensions::{Extensions, Role, SessionExpires};
pub use fault::{Fault, Malformed};
pub use lines::Lines;
pub use mend::mended;
pub use message::{Header, Message};
pub use method::Method;
pub use name::Name;
pub use nameaddr::NameAddr;
pub use params::{Param, Params};
pub use reason::reason_phrase;
pub use replaces::Replaces;
pub use reply::{reply, stamped};
pub use text::{list_values, unfold};
pub use uri::{Host, Scheme, Uri};
pub use via::Via;
pub use writer::Writer;
