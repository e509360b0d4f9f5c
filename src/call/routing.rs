//! From a place to a flow: which listener sends there, and what the place is called in a URI (RFC 3261 §18.1.1, §19.1.1).

use std::net::SocketAddr;

use compact_str::{CompactString, format_compact};

use crate::base::Protocol;
use crate::config::{Config, Listener};
use crate::sip::Uri;
use crate::transport::{Flow, ListenerId, Place, listener_toward};

/// The flow a new dialog toward `remote` uses; `None` when no listener speaks that transport and address family.
pub(crate) fn flow_to(config: &Config, Place { protocol, remote }: Place) -> Option<Flow> {
    let listeners = config.listeners.iter().map(|listener| (listener.protocol, listener.address));
    let listener = listener_toward(listeners, protocol, remote.ip())?;
    Some(Flow { protocol, listener, remote, connection: None })
}

/// The listener of a flow that the store kept. The configuration may have other listeners now, or another order of them:
/// then one of the same kind.
pub(crate) fn listener_now(config: &Config, was: ListenerId, protocol: Protocol, remote: SocketAddr) -> ListenerId {
    let fits = |listener: &Listener| listener.protocol == protocol && listener.address.is_ipv4() == remote.is_ipv4();
    match config.listeners.get(usize::from(was.0)) {
        Some(listener) if fits(listener) => was,
        _ => flow_to(config, Place { protocol, remote }).map_or(was, |flow| flow.listener),
    }
}

/// `host:port` with the transport parameter where it is not UDP.
pub(super) fn hostport(remote: SocketAddr, protocol: Protocol) -> CompactString {
    match protocol {
        Protocol::Udp => format_compact!("{remote}"),
        // RFC 7118 §5.3: there is no token for WSS.
        Protocol::Ws | Protocol::Wss => format_compact!("{remote};transport=ws"),
        stream => format_compact!("{remote};transport={}", stream.uri_token()),
    }
}

/// The flow toward a URI whose host is an address; the way back to a contact whose own flow is gone.
pub(super) fn flow_to_uri(config: &Config, uri: &[u8]) -> Option<Flow> {
    let uri = Uri::parse(uri).ok()?;
    let ip = uri.host.ip()?;
    let protocol = uri.transport().unwrap_or(Protocol::Udp);
    let remote = SocketAddr::new(ip, uri.port.unwrap_or(protocol.default_port()));
    flow_to(config, Place { protocol, remote })
}
