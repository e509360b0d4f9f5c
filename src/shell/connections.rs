//! Stream connections, whatever they are made of: one task each, between its peer and the run loop.
//!
//! What is read becomes `Input::Stream` (framing is the node's) or, from a WebSocket, `Input::Frame`. Reading stops while
//! the loop's channel is full; a peer that does not read is closed at `limits::CONNECTION_BACKLOG_BYTES`. Every connection
//! ends in exactly one `Input::Closed` or `Input::Failed`, whoever ended it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use compact_str::CompactString;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsStream;

use super::events::Event;
use super::secure::Secure;
use super::{tcp, tls, ws};
use crate::admin::{Dropped, Metrics};
use crate::base::{Protocol, limits};
use crate::node::Input;
use crate::transport::{ConnId, ListenerId};
use crate::trunk::Peer;

/// Most bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long `Output::Connect` tries.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a connection the node closed may take to write what was sent before.
const CLOSE_FLUSH: Duration = Duration::from_secs(2);
/// How long a connection whose peer sends no more can still be written to: some clients half-close after their request.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// A connection that is open, with its handshakes behind it.
pub enum Channel {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Ws(Box<ws::Socket<TcpStream>>),
    Wss(Box<ws::Socket<TlsStream<TcpStream>>>),
}

/// A connection that a peer has opened.
pub struct Accepted {
    pub listener: ListenerId,
    pub channel: Channel,
    pub remote: SocketAddr,
    /// SIP domains of its certificate.
    pub identities: Vec<CompactString>,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accepted({:?}, {})", self.listener, self.remote)
    }
}

/// The living connections, owned by the run loop.
pub struct Connections {
    open: HashMap<ConnId, Connection>,
    accepted: u64,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
    secure: Secure,
    /// Of each listener; connections for it are opened from there.
    local: Vec<IpAddr>,
}

/// The loop's end of a connection. Dropping it closes the connection after what was sent is written.
struct Connection {
    outgoing: mpsc::UnboundedSender<Bytes>,
    /// Bytes in `outgoing`, bounded by `limits::CONNECTION_BACKLOG_BYTES`.
    backlog: Arc<AtomicUsize>,
    kill: oneshot::Sender<()>,
}

/// The task's end of a connection.
struct Ends {
    connection: ConnId,
    events: mpsc::Sender<Event>,
    outgoing: Outgoing,
    kill: oneshot::Receiver<()>,
}

/// What is to be written.
pub(super) struct Outgoing {
    pub(super) queue: mpsc::UnboundedReceiver<Bytes>,
    pub(super) backlog: Arc<AtomicUsize>,
}

impl Outgoing {
    /// `None`: the node has closed the connection. What is taken out and then dropped counts as written.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let bytes = self.queue.recv().await?;
        self.backlog.fetch_sub(cost(&bytes), Ordering::Relaxed);
        Some(bytes)
    }
}

/// What `bytes` count in a backlog: a pong is two bytes, and its place in the queue is more.
fn cost(bytes: &Bytes) -> usize {
    bytes.len() + limits::BACKLOG_ENTRY_BYTES
}

impl Connections {
    pub fn new(events: mpsc::Sender<Event>, metrics: Metrics, secure: Secure, local: Vec<IpAddr>) -> Self {
        Self { open: HashMap::new(), accepted: 0, events, metrics, secure, local }
    }

    /// Other certificates, for the handshakes to come.
    pub fn renew(&mut self, material: tls::Material) {
        self.secure.renew(material);
    }

    /// Files of TLS that could not be used when they were read last.
    pub fn unusable(&self) -> &tls::Unusable {
        self.secure.unusable()
    }

    pub fn warn_of_certificates(&self) {
        self.secure.warn_of_certificates(SystemTime::now());
    }

    /// Takes an accepted connection in. The node closes another when there are too many.
    pub fn accepted(&mut self, accepted: Accepted) -> Input {
        let Accepted { listener, channel, remote, identities } = accepted;
        let connection = ConnId(ConnId::ACCEPTED | self.accepted);
        self.accepted += 1;
        let ends = self.register(connection);
        let is_plain = matches!(channel, Channel::Tcp(_));
        let task = async move {
            let events = ends.events.clone();
            if let Err(error) = serve(channel, ends).await {
                tracing::debug!(%remote, %error, "connection broken");
            }
            let _ = events.send(Event::Input(Input::Closed { connection })).await;
        };
        if is_plain {
            tokio::spawn(task);
        } else {
            self.secure.spawn(task);
        }
        Input::Accepted { connection, listener, remote, identities }
    }

    /// Connects for the node; answers with `Connected` and, at the end or on failure, `Closed` or `Failed`.
    pub fn connect(
        &mut self,
        connection: ConnId,
        protocol: Protocol,
        listener: ListenerId,
        remote: SocketAddr,
        peer: Option<&Peer>,
    ) {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let from = self.local.get(usize::from(listener.0)).copied().unwrap_or(any);
        let ends = self.register(connection);
        match protocol {
            Protocol::Tcp => {
                tokio::spawn(open(ends, remote, async move { Ok(Channel::Tcp(tcp::connect(from, remote).await?)) }));
            }
            Protocol::Tls => self.secure.spawn(open(ends, remote, self.secure.connect(from, remote, peer))),
            // The node asks for none of these.
            Protocol::Udp | Protocol::Ws | Protocol::Wss => {
                let closed = Event::Input(Input::Closed { connection });
                tokio::spawn(async move { ends.events.send(closed).await });
            }
        }
    }

    fn register(&mut self, connection: ConnId) -> Ends {
        let (sender, queue) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        self.open.insert(connection, Connection { outgoing: sender, backlog: Arc::clone(&backlog), kill });
        Ends { connection, events: self.events.clone(), outgoing: Outgoing { queue, backlog }, kill: killed }
    }

    /// Writes to a connection; one that is gone takes no more, and its `Closed` is on the way.
    pub fn send(&mut self, connection: ConnId, bytes: Bytes) {
        let Some(open) = self.open.get(&connection) else { return };
        let cost = cost(&bytes);
        let backlog = open.backlog.fetch_add(cost, Ordering::Relaxed) + cost;
        if backlog <= limits::CONNECTION_BACKLOG_BYTES {
            // Fails only when the task has ended.
            let _ = open.outgoing.send(bytes);
        } else if let Some(open) = self.open.remove(&connection) {
            self.metrics.dropped(Dropped::Backlog);
            let _ = open.kill.send(());
        }
    }

    /// The node wants it closed: what was sent before is still written.
    pub fn close(&mut self, connection: ConnId) {
        self.open.remove(&connection);
    }

    /// The task of `connection` has ended.
    pub fn closed(&mut self, connection: ConnId) {
        self.open.remove(&connection);
    }
}

/// A connection of ours from its opening to its end.
async fn open(mut ends: Ends, remote: SocketAddr, opening: impl Future<Output = io::Result<Channel>>) {
    let (connection, events) = (ends.connection, ends.events.clone());
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", CONNECT.as_secs()));
    let opened = tokio::select! {
        biased;
        // Closed before it is there: what waits for it is said elsewhere by now (RFC 3261 §18.1.1).
        _ = &mut ends.kill => Err(io::ErrorKind::ConnectionAborted.into()),
        opened = tokio::time::timeout(CONNECT, opening) => opened.unwrap_or_else(|_| Err(late())),
    };
    let end = match opened {
        Ok(channel) => {
            if events.send(Event::Input(Input::Connected { connection })).await.is_err() {
                return;
            }
            // The peer looks at our certificate after the handshake, as it seems to us (RFC 8446 §4.4.2.4).
            serve(channel, ends).await.err().filter(tls::is_refusal)
        }
        Err(error) => Some(error),
    };
    let input = match end {
        None => Input::Closed { connection },
        Some(error) => {
            let reason = tls::explain(&error);
            tracing::debug!(%remote, reason, "connecting");
            Input::Failed { connection, reason }
        }
    };
    let _ = events.send(Event::Input(input)).await;
}

/// Runs a connection to its end: the peer closes, an error, [`Connections::close`], or the kill.
async fn serve(channel: Channel, ends: Ends) -> io::Result<()> {
    let Ends { connection, events, mut outgoing, kill } = ends;
    // The others in boxes of their own: a task is as large as the largest of what it may do, and most connections are plain.
    let carried = async {
        match channel {
            Channel::Tcp(mut stream) => {
                let (read, write) = stream.split();
                carry(read, write, connection, &events, &mut outgoing).await
            }
            Channel::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                Box::pin(carry(read, write, connection, &events, &mut outgoing)).await
            }
            Channel::Ws(socket) => Box::pin(ws::carry(*socket, connection, &events, &mut outgoing)).await,
            Channel::Wss(socket) => Box::pin(ws::carry(*socket, connection, &events, &mut outgoing)).await,
        }
    };
    let killed = async {
        match kill.await {
            Ok(()) => tracing::warn!(connection = connection.0, "peer does not read: connection closed"),
            // An ordinary close: the writer ends by itself, unless its peer is stuck.
            Err(_) => tokio::time::sleep(CLOSE_FLUSH).await,
        }
    };
    tokio::select! {
        end = carried => end,
        () = killed => Ok(()),
    }
}

/// Bytes both ways.
async fn carry(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    connection: ConnId,
    events: &mpsc::Sender<Event>,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    let reading = async {
        read_chunks(read, connection, events).await?;
        tokio::time::sleep(HALF_CLOSED).await;
        Ok(())
    };
    tokio::select! {
        end = reading => end,
        end = write_all(write, outgoing) => end,
    }
}

async fn read_chunks(
    mut read: impl AsyncRead + Unpin,
    connection: ConnId,
    events: &mpsc::Sender<Event>,
) -> io::Result<()> {
    loop {
        let bytes = read_chunk(&mut read).await?;
        if bytes.is_empty() || events.send(Event::Input(Input::Stream { connection, bytes })).await.is_err() {
            return Ok(());
        }
    }
}

/// One read into the stack, so that an idle connection holds no buffer; one allocation of the size that came.
async fn read_chunk(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    poll_fn(|context| {
        let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *read).poll_read(context, &mut chunk))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(chunk.filled())))
    })
    .await
}

async fn write_all(mut write: impl AsyncWrite + Unpin, outgoing: &mut Outgoing) -> io::Result<()> {
    while let Some(bytes) = outgoing.next().await {
        write.write_all(&bytes).await?;
        // TLS holds back what the socket did not take.
        write.flush().await?;
    }
    write.shutdown().await
}

#[cfg(test)]
mod tests;
