//! Media as far as signalling must know it (SPEC §8): which ports stand for which leg, what a session description says about
//! them, and the orders that the data plane carries out. RTP itself never enters the node; its counters do.

mod bank;
mod end;
mod hearing;
mod names;
pub mod ng;
pub mod order;
mod packet;
mod rewrite;
mod streams;
pub mod suit;

pub use bank::Bank;
pub use end::{End, Port};
pub use names::hide_names;
pub use order::{Codec, Counters, News, Order, PairId, Peer, Ports, Prompt, Reach, Voice};
pub use packet::Packet;
pub use rewrite::{Way, has_address, rewrite, scrub, without_candidates};
pub use streams::{Kind, Stream};
