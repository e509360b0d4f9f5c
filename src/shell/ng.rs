//! The socket of the ng protocol: one of each address family, opened when the first datagram goes out.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::events::Event;
use crate::node::Input;

/// The longest datagram that UDP carries.
const DATAGRAM: usize = 65_535;

/// Before a socket that had an error is read again.
const AFTER_ERROR: std::time::Duration = std::time::Duration::from_millis(10);

/// Sends to rtpengine; what comes back goes to the loop.
pub struct Ng {
    sender: mpsc::Sender<Event>,
    v4: Option<std::net::UdpSocket>,
    v6: Option<std::net::UdpSocket>,
}

impl Ng {
    pub const fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, v4: None, v6: None }
    }

    /// What cannot be sent is as good as lost, and repeated by the node.
    pub fn send(&mut self, to: SocketAddr, bytes: &Bytes) {
        let sent = self.socket(to).and_then(|socket| socket.send_to(bytes, to));
        if let Err(error) = sent {
            tracing::debug!(%to, %error, "a datagram to rtpengine was not sent");
        }
    }

    /// To send by: tokio's own would not send before its first turn of the reactor.
    fn socket(&mut self, to: SocketAddr) -> io::Result<&std::net::UdpSocket> {
        let (place, any) = match to {
            SocketAddr::V4(_) => (&mut self.v4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            SocketAddr::V6(_) => (&mut self.v6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        if place.is_none() {
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            tokio::spawn(receive(UdpSocket::from_std(socket.try_clone()?)?, self.sender.clone()));
            *place = Some(socket);
        }
        place.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Until the loop has ended.
async fn receive(socket: UdpSocket, sender: mpsc::Sender<Event>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error is that of a datagram before, which nobody took (ICMP).
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        if sender.send(Event::Input(Input::Ng { from, bytes })).await.is_err() {
            return;
        }
    }
}
