//! The ground floor: time, randomness, telephone numbers, transport protocols, networks, limits, values that must not be printed.
//! Imports nothing from the rest of the daemon.

pub mod e164;
pub mod limits;
pub mod network;
pub mod private;
pub mod protocol;
pub mod rng;
pub mod time;

pub use e164::E164;
pub use private::Private;
pub use protocol::Protocol;
pub use rng::Rng;
pub use time::Instant;
