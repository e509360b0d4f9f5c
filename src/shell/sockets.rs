//! Binding what the configuration says, before anything runs: a wrong address never starts half a daemon.

use std::io;
use std::net::SocketAddr;

use super::events::Event;
use super::secure::Secure;
use super::{tcp, udp};
use crate::admin::Metrics;
use crate::base::Protocol;
use crate::config::Listener;
use crate::transport::ListenerId;
use rustls::ServerConfig;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    #[error("[[sip.listen]] number {entry}, {protocol} {address}: {reason}")]
    Listener { entry: usize, protocol: &'static str, address: SocketAddr, reason: String },
    #[error("[admin] listen {address}: {reason}")]
    Admin { address: SocketAddr, reason: String },
}

/// A bound listener, not yet read.
pub enum Bound {
    Udp(std::net::UdpSocket),
    Tcp(std::net::TcpListener),
    /// TLS, WebSocket or both.
    Secure(Protocol, std::net::TcpListener),
}

/// Binds every listener, in order; then each `address` is the one that was bound (port 0 asks for any free one). One that should
/// have TLS and has nothing for it among `servers` refuses whoever connects.
pub fn bind_all(listeners: &mut [Listener], servers: &[Option<Arc<ServerConfig>>]) -> Result<Vec<Bound>, BindFault> {
    let mut all = Vec::with_capacity(listeners.len());
    for (at, listener) in listeners.iter_mut().enumerate() {
        let protocol = listener.protocol.uri_token();
        let is_closed = listener.protocol.is_secure() && servers.get(at).is_none_or(Option::is_none);
        let bound = bind(listener.protocol, listener.address, is_closed).map_err(|error| BindFault::Listener {
            entry: at + 1,
            protocol,
            address: listener.address,
            reason: explain(&error),
        })?;
        let local = match &bound {
            Bound::Udp(socket) => socket.local_addr(),
            Bound::Tcp(socket) | Bound::Secure(_, socket) => socket.local_addr(),
        };
        listener.address = local.unwrap_or(listener.address);
        match is_closed {
            true => tracing::error!("listening later: {protocol} {}", listener.address),
            false => tracing::info!("listening {protocol} {}", listener.address),
        }
        all.push(bound);
    }
    Ok(all)
}

/// Binds the admin address.
pub fn bind_admin(address: SocketAddr) -> Result<std::net::TcpListener, BindFault> {
    let fault = |error: io::Error| BindFault::Admin { address, reason: explain(&error) };
    let socket = tcp::bind(address).map_err(fault)?;
    tracing::info!("listening http {}", socket.local_addr().unwrap_or(address));
    Ok(socket)
}

fn bind(protocol: Protocol, address: SocketAddr, is_closed: bool) -> io::Result<Bound> {
    match protocol {
        Protocol::Udp => udp::bind(address).map(Bound::Udp),
        Protocol::Tcp => tcp::bind(address).map(Bound::Tcp),
        Protocol::Tls | Protocol::Ws | Protocol::Wss => {
            let socket = if is_closed { tcp::reserve(address) } else { tcp::bind(address) };
            socket.map(|socket| Bound::Secure(protocol, socket))
        }
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another program (is sosbridge already running?)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned(),
        _ => error.to_string(),
    }
}

/// Starts reading: UDP listeners by their place in the configuration, the others accepting by themselves.
pub fn start_all(
    bound: Vec<Bound>,
    events: &mpsc::Sender<Event>,
    secure: &Secure,
    metrics: &Metrics,
) -> io::Result<Vec<Option<udp::UdpListener>>> {
    let mut all = Vec::with_capacity(bound.len());
    for (at, bound) in bound.into_iter().enumerate() {
        let id = ListenerId(u8::try_from(at).map_err(|_| io::Error::other("more than 256 listeners"))?);
        all.push(match bound {
            Bound::Udp(socket) => Some(udp::UdpListener::start(id, socket, events.clone())?),
            Bound::Tcp(socket) => {
                tcp::listen(id, socket, events.clone())?;
                None
            }
            Bound::Secure(protocol, socket) => {
                secure.listen(id, protocol, socket, events.clone(), metrics.clone())?;
                None
            }
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn listener(protocol: Protocol, address: &str) -> Listener {
        let address = address.parse().unwrap();
        Listener { protocol, address, advertise_host: "127.0.0.1".into(), advertise_port: None, tls: None }
    }

    #[test]
    fn port_0_becomes_the_port_that_was_bound() {
        let mut listeners = [listener(Protocol::Udp, "127.0.0.1:0"), listener(Protocol::Tcp, "127.0.0.1:0")];
        let bound = bind_all(&mut listeners, &[]).unwrap();
        assert_eq!(bound.len(), 2);
        assert!(listeners.iter().all(|listener| listener.address.port() != 0));
    }

    #[test]
    fn a_port_in_use_names_the_entry() {
        for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Ws] {
            let mut listeners = [listener(protocol, "127.0.0.1:0")];
            let _held = bind_all(&mut listeners, &[]).unwrap();
            let taken = listeners[0].address.to_string();
            let mut again = [listener(Protocol::Udp, "127.0.0.1:0"), listener(protocol, &taken)];
            let fault = bind_all(&mut again, &[]).err().unwrap().to_string();
            let name = protocol.uri_token();
            assert!(
                fault.starts_with(&format!("[[sip.listen]] number 2, {name} {taken}: the port is in use")),
                "{fault}"
            );
        }
        let fault = bind_admin("192.0.2.1:8060".parse().unwrap()).err().unwrap().to_string();
        assert_eq!(fault, "[admin] listen 192.0.2.1:8060: this machine does not have that address");
    }
}
