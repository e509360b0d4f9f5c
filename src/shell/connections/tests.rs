//! Streams of bytes, by TCP; what TLS and WebSocket add is tested in `tests/tls`.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use tokio::io::AsyncReadExt;

const LISTENER: ListenerId = ListenerId(0);
/// Where connections of the listener are opened from.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 20));

async fn start() -> (Connections, SocketAddr, mpsc::Receiver<Event>) {
    let socket = tcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let (events, received) = mpsc::channel(16);
    tcp::listen(LISTENER, socket, events.clone()).unwrap();
    let secure = Secure::start(tls::Material::default(), limits::HANDSHAKES).unwrap();
    (Connections::new(events, Metrics::new(), secure, vec![OWN]), address, received)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(8), events.recv()).await.unwrap().unwrap()
}

async fn accepted(connections: &mut Connections, events: &mut mpsc::Receiver<Event>) -> ConnId {
    let Event::Accepted(accepted) = next(events).await else { panic!() };
    let Input::Accepted { connection, .. } = connections.accepted(accepted) else { panic!() };
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
async fn na_3_pongs_that_nobody_reads_count_by_their_number() {
    let (mut connections, address, mut events) = start().await;
    let peer = TcpStream::connect(address).await.unwrap();
    let connection = accepted(&mut connections, &mut events).await;
    for _ in 0..limits::CONNECTION_BACKLOG_BYTES / limits::BACKLOG_ENTRY_BYTES {
        connections.send(connection, Bytes::from_static(b"\r\n"));
    }
    assert!(connections.open.is_empty());
    until_closed(&mut connections, &mut events, connection).await;
    drop(peer);
}

#[tokio::test]
async fn connecting_succeeds_or_is_closed() {
    let (mut connections, address, mut events) = start().await;
    connections.connect(ConnId(7), Protocol::Tcp, LISTENER, address, None);
    connections.send(ConnId(7), Bytes::from_static(b"early"));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut events).await {
            Event::Input(Input::Connected { connection: ConnId(7) }) => seen.push("connected"),
            Event::Accepted(Accepted { channel: Channel::Tcp(mut stream), .. }) => {
                let mut read = [0; 5];
                stream.read_exact(&mut read).await.unwrap();
                assert_eq!((&read, stream.peer_addr().unwrap().ip()), (b"early", OWN));
                seen.push("accepted");
            }
            other => panic!("{other:?}"),
        }
    }
    until_closed(&mut connections, &mut events, ConnId(7)).await;

    // Closed while it opens: nothing is written, not even what was sent before.
    connections.connect(ConnId(9), Protocol::Tcp, LISTENER, address, None);
    connections.send(ConnId(9), Bytes::from_static(b"too late"));
    connections.close(ConnId(9));
    match next(&mut events).await {
        Event::Input(Input::Failed { connection: ConnId(9), .. }) => {}
        other => panic!("{other:?}"),
    }

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    connections.connect(ConnId(8), Protocol::Tcp, LISTENER, nobody, None);
    match next(&mut events).await {
        Event::Input(Input::Failed { connection: ConnId(8), reason }) => assert_eq!(reason, "connection refused"),
        other => panic!("{other:?}"),
    }
}
