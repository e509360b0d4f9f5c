//! TCP sockets: binding, accepting, connecting. What becomes of a connection is told in `connections`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::connections::{Accepted, Channel};
use super::events::Event;
use crate::transport::ListenerId;

/// Connections the kernel completes before we accept them.
const ACCEPT_QUEUE: i32 = 1024;
/// Pause after the system refused an accept (out of files): a tight loop would starve the calls.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A silent connection is probed by the kernel after this time, then every `KEEPALIVE_EVERY`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// What a peer that we went to has not acknowledged in this time says that it is gone: while a transaction still waits (RFC 3261
/// §17.1.2.2), so that a BYE is said once more; no sooner, since a network that is gone for some seconds takes no call from who
/// rings. The kernel by itself would wait a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(24);
/// The same of a phone, which nobody can go to when its connection is gone. With such a time the kernel counts no probes: an idle
/// connection ends by the first one without an answer once it has passed, so that three may be lost here.
const UNACKNOWLEDGED_BY_PHONE: Duration = Duration::from_secs(110);

/// Binds without a runtime, so that a wrong address is reported before anything runs.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = reserve(address)?;
    open(&socket)?;
    Ok(socket)
}

/// Binds; whoever connects is refused until [`open`].
pub fn reserve(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the TIME_WAIT of its predecessor's connections; a living listener still refuses.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub fn open(socket: &std::net::TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(ACCEPT_QUEUE)
}

/// Starts accepting on a socket of [`bind`].
pub fn listen(id: ListenerId, socket: std::net::TcpListener, events: mpsc::Sender<Event>) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    tokio::spawn(accept(id, socket, events));
    Ok(())
}

async fn accept(listener: ListenerId, socket: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        let Some((stream, remote)) = next(&socket, listener).await else { continue };
        let accepted = Accepted { listener, channel: Channel::Tcp(stream), remote, identities: Vec::new() };
        if events.send(Event::Accepted(accepted)).await.is_err() {
            return;
        }
    }
}

/// The next connection; `None` when the system refused one, after a pause.
pub async fn next(socket: &TcpListener, listener: ListenerId) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok((stream, remote)) => {
            tune(&stream, UNACKNOWLEDGED_BY_PHONE);
            Some((stream, remote))
        }
        Err(error) => {
            tracing::warn!(listener = listener.0, %error, "accepting a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Connects from that address, unless it stands for any or is of the other family: peers know us by it, as over UDP.
pub async fn connect(from: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !from.is_unspecified() && from.is_ipv4() == remote.is_ipv4() {
        // An address that this machine has lost is no reason not to try.
        if let Err(error) = socket.bind(SocketAddr::new(from, 0)) {
            tracing::debug!(%from, %error, "connecting from another address");
        }
    }
    let stream = socket.connect(remote).await?;
    tune(&stream, UNACKNOWLEDGED);
    Ok(stream)
}

fn tune(stream: &TcpStream, patience: Duration) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(patience));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// CONFORMANCE NA-2.
    #[tokio::test]
    async fn na_2_a_dead_peer_is_noticed_and_a_lost_probe_ends_no_connection_of_a_phone() {
        let listener = TcpListener::from_std(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, accepted) = tokio::join!(connect(address.ip(), address), next(&listener, ListenerId(0)));
        let (opened, accepted) = (opened.unwrap(), accepted.unwrap().0);
        let patience = SockRef::from(&opened).tcp_user_timeout().unwrap().unwrap();
        assert!(patience + Duration::from_secs(6) < crate::transaction::Timers::default().lifetime(), "{patience:?}");
        // Linux ends an idle connection at the first probe after this time that comes back unanswered once.
        let socket = SockRef::from(&accepted);
        let probed = socket.tcp_keepalive_time().unwrap() + 2 * socket.tcp_keepalive_interval().unwrap();
        let patience = socket.tcp_user_timeout().unwrap().unwrap();
        assert!(patience > probed && patience < Duration::from_secs(150), "{patience:?}");
    }
}
