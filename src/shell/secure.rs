//! TLS and WebSocket connections: a thread of their own, so that no handshake keeps a call waiting.
//!
//! Handshakes are bounded in number and time; what comes of one reaches the run loop as any accepted connection does.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use compact_str::CompactString;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::connections::{Accepted, Channel};
use super::events::Event;
use super::tls::{self, Identities, Material};
use super::{tcp, ws};
use crate::admin::{Dropped, Metrics};
use crate::base::{Protocol, limits};
use crate::transport::ListenerId;
use crate::trunk::Peer;

/// The thread, and what its handshakes are made with.
pub struct Secure {
    runtime: Handle,
    /// By `ListenerId`.
    servers: Vec<watch::Sender<Option<Arc<ServerConfig>>>>,
    clients: BTreeMap<(CompactString, CompactString), tls::Client>,
    own: tls::Validities,
    unusable: tls::Unusable,
    /// Handshakes under way at one listener.
    handshakes: usize,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<()>,
}

impl Secure {
    pub fn start(material: Material, handshakes: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("tls".to_owned()).spawn(move || {
            let _ = runtime.block_on(ended);
        })?;
        let Material { servers, clients, own, unusable, .. } = material;
        let servers = servers.into_iter().map(|server| watch::channel(server).0).collect();
        Ok(Self { runtime: handle, servers, clients, own, unusable, handshakes, _running: running })
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Starts accepting on a socket of [`tcp::bind`]; on one of [`tcp::reserve`] as soon as there is a certificate.
    pub fn listen(
        &self,
        id: ListenerId,
        protocol: Protocol,
        socket: std::net::TcpListener,
        events: mpsc::Sender<Event>,
        metrics: Metrics,
    ) -> io::Result<()> {
        let server = match protocol.is_secure() {
            true => self.servers.get(usize::from(id.0)).map(watch::Sender::subscribe),
            false => None,
        };
        let door = Door { id, protocol, server, events, metrics, handshakes: self.handshakes };
        if door.is_closed() {
            self.runtime.spawn(accept_later(door, socket));
            return Ok(());
        }
        let _inside = self.runtime.enter();
        self.runtime.spawn(accept(door, TcpListener::from_std(socket)?));
        Ok(())
    }

    /// Handshakes from now on are made with this; a listener it has nothing for goes on as before.
    pub fn renew(&mut self, material: Material) {
        let Material { servers, clients, own, unusable, .. } = material;
        for (sender, server) in self.servers.iter().zip(servers).filter(|(_, server)| server.is_some()) {
            sender.send_replace(server);
        }
        (self.clients, self.own, self.unusable) = (clients, own, unusable);
    }

    /// Files that could not be used when they were read last.
    pub fn unusable(&self) -> &tls::Unusable {
        &self.unusable
    }

    /// Says which of our certificates end, or cannot be used: whoever renews them may have forgotten us.
    pub fn warn_of_certificates(&self, now: SystemTime) {
        for what in self.unusable.words() {
            tracing::error!(what, "a file cannot be used, and what needs it waits");
        }
        for (file, what) in self.own.ending(now) {
            tracing::warn!(file = %file.display(), what, "a certificate of ours does not hold, or soon will not");
        }
    }

    /// Opens a connection to `peer`, who must prove to be that.
    pub fn connect(
        &self,
        from: IpAddr,
        remote: SocketAddr,
        peer: Option<&Peer>,
    ) -> impl Future<Output = io::Result<Channel>> + Send + 'static {
        let prepared = self.prepare(peer);
        async move {
            let (connector, name) = prepared?;
            let stream = tcp::connect(from, remote).await?;
            let stream = connector.connect(name, stream).await?;
            Ok(Channel::Tls(Box::new(TlsStream::Client(stream))))
        }
    }

    fn prepare(&self, peer: Option<&Peer>) -> io::Result<(TlsConnector, ServerName<'static>)> {
        let peer = peer.ok_or_else(|| io::Error::other("TLS: no trunk is known there"))?;
        let client = self.clients.get(&(peer.trunk.clone(), peer.pbx.clone()));
        let lacks = || io::Error::other("TLS: a file that it needs cannot be used: see `sosbridge check`");
        let tls::Client { usual, last_resort } = client.ok_or_else(lacks)?;
        let client = if peer.is_last_resort { last_resort } else { usual };
        let host = peer.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&peer.host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok((TlsConnector::from(Arc::clone(client)), name))
    }
}

/// One listener.
struct Door {
    id: ListenerId,
    protocol: Protocol,
    /// `None` for plain WebSocket.
    server: Option<watch::Receiver<Option<Arc<ServerConfig>>>>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    handshakes: usize,
}

impl Door {
    /// It should have a certificate, and has none.
    fn is_closed(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.borrow().is_none())
    }
}

async fn accept_later(mut door: Door, socket: std::net::TcpListener) {
    if let Some(server) = &mut door.server
        && server.wait_for(Option::is_some).await.is_err()
    {
        return;
    }
    let (protocol, address) = (door.protocol.uri_token(), socket.local_addr());
    match tcp::open(&socket).and_then(|()| TcpListener::from_std(socket)) {
        Ok(socket) => {
            if let Ok(address) = address {
                tracing::info!("listening {protocol} {address}");
            }
            accept(door, socket).await;
        }
        Err(error) => tracing::error!(listener = door.id.0, %error, "listening: restart for it"),
    }
}

async fn accept(door: Door, socket: TcpListener) {
    let mut handshakes = Handshakes { bound: door.handshakes, under_way: VecDeque::new() };
    loop {
        let Some((stream, remote)) = tcp::next(&socket, door.id).await else { continue };
        if handshakes.make_room() {
            door.metrics.dropped(Dropped::Handshake);
        }
        let (id, protocol) = (door.id, door.protocol);
        let acceptor = door.server.as_ref().and_then(|server| server.borrow().clone()).map(TlsAcceptor::from);
        let (events, metrics) = (door.events.clone(), door.metrics.clone());
        let handshake = tokio::spawn(async move {
            let shaken = tokio::time::timeout(limits::HANDSHAKE, shake(stream, acceptor, protocol)).await;
            let reason = match shaken {
                Ok(Ok((channel, identities))) => {
                    let accepted = Accepted { listener: id, channel, remote, identities };
                    let _ = events.send(Event::Accepted(accepted)).await;
                    return;
                }
                Ok(Err(error)) => tls::explain(&error),
                Err(_) => format!("took longer than {HANDSHAKE_S} s", HANDSHAKE_S = limits::HANDSHAKE.as_secs()),
            };
            metrics.handshake_failed(protocol);
            tracing::debug!(%remote, transport = protocol.uri_token(), reason, "handshake failed");
        });
        handshakes.under_way.push_back((network(remote.ip()), handshake.abort_handle()));
    }
}

async fn shake(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    protocol: Protocol,
) -> io::Result<(Channel, Vec<CompactString>)> {
    if protocol == Protocol::Ws {
        return Ok((Channel::Ws(Box::new(ws::accept(stream).await?)), Vec::new()));
    }
    let acceptor = acceptor.ok_or_else(|| io::Error::other("TLS: without a certificate"))?;
    let stream = acceptor.accept(stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identities = certificate.map(|der| Identities::of(der).domains).unwrap_or_default();
    let stream = TlsStream::Server(stream);
    let channel = match protocol {
        Protocol::Wss => Channel::Wss(Box::new(ws::accept(stream).await?)),
        _ => Channel::Tls(Box::new(stream)),
    };
    Ok((channel, identities))
}

/// Handshakes under way at one listener, oldest first, and where each comes from.
struct Handshakes {
    bound: usize,
    under_way: VecDeque<(IpAddr, AbortHandle)>,
}

impl Handshakes {
    /// Forgets those that are over; at the bound ends the oldest of whoever has most: one that floods us is in its own way, and
    /// not in that of a phone. True when it had to.
    fn make_room(&mut self) -> bool {
        if self.under_way.len() < self.bound {
            return false;
        }
        self.under_way.retain(|(_, handshake)| !handshake.is_finished());
        if self.under_way.len() < self.bound {
            return false;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.under_way.iter().for_each(|(network, _)| *counts.entry(*network).or_default() += 1);
        let most = counts.values().max().copied().unwrap_or(0);
        let is_greedy = |(network, _): &(IpAddr, AbortHandle)| counts.get(network) == Some(&most);
        if let Some((_, oldest)) = self.under_way.iter().position(is_greedy).and_then(|at| self.under_way.remove(at)) {
            oldest.abort();
        }
        true
    }
}

/// Whose address it is: of IPv6 everybody has 64 bits to choose from.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => std::net::Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn endless() -> tokio::task::JoinHandle<()> {
        tokio::spawn(std::future::pending())
    }

    #[tokio::test]
    async fn at_the_bound_the_oldest_handshake_of_whoever_has_most_makes_room() {
        let [phone, flood] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut handshakes = Handshakes { bound: 8, under_way: VecDeque::new() };
        let (oldest, first) = (endless(), endless());
        handshakes.under_way.push_back((phone, oldest.abort_handle()));
        let over = tokio::spawn(async {});
        handshakes.under_way.push_back((flood, over.abort_handle()));
        over.await.unwrap();
        handshakes.under_way.push_back((flood, first.abort_handle()));
        while handshakes.under_way.len() < 8 {
            handshakes.under_way.push_back((flood, endless().abort_handle()));
        }
        assert!(!handshakes.make_room(), "one was over");
        handshakes.under_way.push_back((flood, endless().abort_handle()));
        assert!(handshakes.make_room());
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(!oldest.is_finished() && handshakes.under_way.len() == 7);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let of = |ip: &str| network(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
