//! TCP: one accept task a listener, one task a connection.
//!
//! A connection reads chunks into `Input::Stream` (framing is the node's) and writes what the node sends. Reading
//! stops while the loop's channel is full; a peer that does not read is closed at
//! `limits::CONNECTION_BACKLOG_BYTES`. Every connection ends in exactly one `Input::Closed`, whoever ended it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::events::Event;
use crate::admin::{Dropped, Metrics};
use crate::base::limits;
use crate::node::Input;
use crate::transport::{ConnId, ListenerId};

/// Connections the kernel completes before we accept them.
const ACCEPT_QUEUE: i32 = 1024;
/// Most bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long `Output::Connect` tries.
const CONNECT: Duration = Duration::from_secs(4);
/// How long a connection the node closed may take to write what was sent before.
const CLOSE_FLUSH: Duration = Duration::from_secs(2);
/// How long a connection whose peer sends no more can still be written to: some clients half-close after their request.
const HALF_CLOSED: Duration = Duration::from_secs(1);
/// Pause after the system refused an accept (out of files): a tight loop would starve the calls.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A silent connection is probed by the kernel after this time, then every `KEEPALIVE_EVERY`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// Binds without a runtime, so that a wrong address is reported before anything runs.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the TIME_WAIT of its predecessor's connections; a living listener still refuses.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(socket.into())
}

/// Starts accepting on a socket of [`bind`].
pub fn listen(id: ListenerId, socket: std::net::TcpListener, events: mpsc::Sender<Event>) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    tokio::spawn(accept(id, socket, events));
    Ok(())
}

async fn accept(listener: ListenerId, socket: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                if events.send(Event::Accepted { listener, stream, remote }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(listener = listener.0, %error, "accepting a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The living connections, owned by the run loop.
pub struct Connections {
    open: HashMap<ConnId, Connection>,
    accepted: u64,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
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
    outgoing: mpsc::UnboundedReceiver<Bytes>,
    backlog: Arc<AtomicUsize>,
    kill: oneshot::Receiver<()>,
}

impl Connections {
    pub fn new(events: mpsc::Sender<Event>, metrics: Metrics) -> Self {
        Self { open: HashMap::new(), accepted: 0, events, metrics }
    }

    /// Takes an accepted connection in. The node closes another when there are too many.
    pub fn accepted(&mut self, listener: ListenerId, stream: TcpStream, remote: SocketAddr) -> Input {
        let connection = ConnId(ConnId::ACCEPTED | self.accepted);
        self.accepted += 1;
        let ends = self.register(connection);
        tokio::spawn(async move {
            let events = ends.events.clone();
            serve(stream, ends).await;
            let _ = events.send(Event::Input(Input::Closed { connection })).await;
        });
        Input::Accepted { connection, listener, remote }
    }

    /// Connects for the node; answers with `Connected` and, at the end or on failure, `Closed`.
    pub fn connect(&mut self, connection: ConnId, remote: SocketAddr) {
        let ends = self.register(connection);
        tokio::spawn(async move {
            let events = ends.events.clone();
            match tokio::time::timeout(CONNECT, TcpStream::connect(remote)).await {
                Ok(Ok(stream)) => {
                    if events.send(Event::Input(Input::Connected { connection })).await.is_ok() {
                        serve(stream, ends).await;
                    }
                }
                Ok(Err(error)) => tracing::debug!(%remote, %error, "connecting"),
                Err(_) => tracing::debug!(%remote, "connecting took too long"),
            }
            let _ = events.send(Event::Input(Input::Closed { connection })).await;
        });
    }

    fn register(&mut self, connection: ConnId) -> Ends {
        let (sender, outgoing) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        self.open.insert(connection, Connection { outgoing: sender, backlog: Arc::clone(&backlog), kill });
        Ends { connection, events: self.events.clone(), outgoing, backlog, kill: killed }
    }

    /// Writes to a connection; one that is gone takes no more, and its `Closed` is on the way.
    pub fn send(&mut self, connection: ConnId, bytes: Bytes) {
        let Some(open) = self.open.get(&connection) else { return };
        let backlog = open.backlog.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
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

/// Runs a connection to its end: the peer closes, an error, [`Connections::close`], or the kill.
async fn serve(mut stream: TcpStream, ends: Ends) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let (read, write) = stream.split();
    let Ends { connection, events, outgoing, backlog, kill } = ends;
    let reading = async {
        read_chunks(read, connection, &events).await;
        tokio::time::sleep(HALF_CLOSED).await;
    };
    let killed = async {
        match kill.await {
            Ok(()) => tracing::warn!(connection = connection.0, "peer does not read: connection closed"),
            // An ordinary close: the writer ends by itself, unless its peer is stuck.
            Err(_) => tokio::time::sleep(CLOSE_FLUSH).await,
        }
    };
    tokio::select! {
        () = reading => {}
        () = write_all(write, outgoing, &backlog) => {}
        () = killed => {}
    }
}

async fn read_chunks(read: ReadHalf<'_>, connection: ConnId, events: &mpsc::Sender<Event>) {
    loop {
        // Room in the channel is taken only when there is something to read: idle connections hold none.
        if read.readable().await.is_err() {
            return;
        }
        let Ok(room) = events.reserve().await else { return };
        match read_chunk(&read) {
            Ok(bytes) if bytes.is_empty() => return,
            Ok(bytes) => room.send(Event::Input(Input::Stream { connection, bytes })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// One read into the stack, so that an idle connection holds no buffer; one allocation of the size that came.
fn read_chunk(read: &ReadHalf<'_>) -> io::Result<Bytes> {
    let mut chunk = [0; CHUNK_BYTES];
    let length = read.try_read(&mut chunk)?;
    Ok(Bytes::copy_from_slice(chunk.get(..length).unwrap_or_default()))
}

async fn write_all(mut write: WriteHalf<'_>, mut outgoing: mpsc::UnboundedReceiver<Bytes>, backlog: &AtomicUsize) {
    while let Some(bytes) = outgoing.recv().await {
        let written = write.write_all(&bytes).await;
        backlog.fetch_sub(bytes.len(), Ordering::Relaxed);
        if written.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tokio::io::AsyncReadExt;

    const LISTENER: ListenerId = ListenerId(1);

    async fn start() -> (Connections, SocketAddr, mpsc::Receiver<Event>) {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (events, received) = mpsc::channel(16);
        listen(LISTENER, socket, events.clone()).unwrap();
        (Connections::new(events, Metrics::new()), address, received)
    }

    async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
        tokio::time::timeout(Duration::from_secs(8), events.recv()).await.unwrap().unwrap()
    }

    async fn accepted(connections: &mut Connections, events: &mut mpsc::Receiver<Event>) -> ConnId {
        let Event::Accepted { listener, stream, remote } = next(events).await else { panic!() };
        let Input::Accepted { connection, .. } = connections.accepted(listener, stream, remote) else { panic!() };
        connection
    }

    /// Reads until `Closed`; returns the bytes that came before it.
    async fn until_closed(connections: &mut Connections, events: &mut mpsc::Receiver<Event>, of: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match next(events).await {
                Event::Input(Input::Stream { connection, bytes }) if connection == of => all.extend_from_slice(&bytes),
                Event::Input(Input::Closed { connection }) if connection == of => {
                    connections.closed(connection);
                    return all;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_peer_closes_once() {
        let (mut connections, address, mut events) = start().await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        let connection = accepted(&mut connections, &mut events).await;
        assert_ne!(connection.0 & ConnId::ACCEPTED, 0);
        connections.send(connection, Bytes::from_static(b"from us"));
        let mut read = [0; 7];
        peer.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"from us");
        let large = vec![b'y'; 100_000];
        peer.write_all(&large).await.unwrap();
        drop(peer);
        assert_eq!(until_closed(&mut connections, &mut events, connection).await, large);
        assert!(connections.open.is_empty());
        assert!(tokio::time::timeout(Duration::from_millis(50), events.recv()).await.is_err(), "closed once");
    }

    #[tokio::test]
    async fn close_writes_what_was_sent_before() {
        let (mut connections, address, mut events) = start().await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        let connection = accepted(&mut connections, &mut events).await;
        connections.send(connection, vec![b'z'; 500_000].into());
        connections.close(connection);
        connections.send(connection, Bytes::from_static(b"too late"));
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 500_000);
        until_closed(&mut connections, &mut events, connection).await;
    }

    #[tokio::test]
    async fn a_peer_that_half_closes_still_gets_its_answer() {
        let (mut connections, address, mut events) = start().await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        let connection = accepted(&mut connections, &mut events).await;
        peer.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        connections.send(connection, Bytes::from_static(b"answer"));
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"answer");
        until_closed(&mut connections, &mut events, connection).await;
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_closed_at_the_bound() {
        let (mut connections, address, mut events) = start().await;
        let peer = TcpStream::connect(address).await.unwrap();
        let connection = accepted(&mut connections, &mut events).await;
        let megabyte = Bytes::from(vec![b'q'; limits::CONNECTION_BACKLOG_BYTES / 4]);
        for _ in 0..100 {
            connections.send(connection, megabyte.clone());
            tokio::task::yield_now().await;
        }
        assert!(connections.open.is_empty());
        until_closed(&mut connections, &mut events, connection).await;
        assert!(connections.metrics.render().contains(r#"sosbridge_dropped_total{what="backlog"} 1"#));
        drop(peer);
    }

    #[tokio::test]
    async fn connecting_succeeds_or_is_closed() {
        let (mut connections, address, mut events) = start().await;
        connections.connect(ConnId(7), address);
        connections.send(ConnId(7), Bytes::from_static(b"early"));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match next(&mut events).await {
                Event::Input(Input::Connected { connection: ConnId(7) }) => seen.push("connected"),
                Event::Accepted { mut stream, .. } => {
                    let mut read = [0; 5];
                    stream.read_exact(&mut read).await.unwrap();
                    assert_eq!(&read, b"early");
                    seen.push("accepted");
                }
                other => panic!("{other:?}"),
            }
        }
        until_closed(&mut connections, &mut events, ConnId(7)).await;

        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        connections.connect(ConnId(8), nobody);
        assert!(until_closed(&mut connections, &mut events, ConnId(8)).await.is_empty());
    }
}
