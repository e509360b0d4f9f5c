//! What reaches the run loop over its channel: everything that is not read by the loop itself.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::config::Loaded;
use crate::node::Input;
use crate::transport::ListenerId;

/// Events waiting for the loop; senders wait beyond it, which reaches TCP peers as a closed window.
pub const QUEUE: usize = 1024;

#[derive(Debug)]
pub enum Event {
    /// For the node as it is.
    Input(Input),
    /// A peer connected; the connection gets its number from the loop.
    Accepted { listener: ListenerId, stream: TcpStream, remote: SocketAddr },
    /// The configuration was read again and is right.
    Reloaded(Box<Loaded>),
}
