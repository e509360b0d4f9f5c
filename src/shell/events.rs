//! What reaches the run loop over its channel: everything that is not read by the loop itself.

use super::connections::Accepted;
use super::file::Configuration;
use super::tls::Material;
use crate::node::Input;

/// Events waiting for the loop; senders wait beyond it, which reaches TCP peers as a closed window.
pub const QUEUE: usize = 1024;

#[derive(Debug)]
pub enum Event {
    /// For the node as it is.
    Input(Input),
    /// A peer connected; the connection gets its number from the loop.
    Accepted(Accepted),
    /// The configuration was read again and is right.
    Reloaded(Box<Configuration>),
    /// Files of TLS that could not be used were read again.
    Reread(Box<Material>),
}
