//! Browsers: SIP over WebSocket, plain and under TLS (RFC 7118).

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::daemon::Daemon;
use crate::peer::tls;
use crate::sip::{code, options, register};

/// The upgrade, with these subprotocols offered.
pub async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offered: Option<&'static str>,
) -> Result<WebSocketStream<S>, Box<Error>> {
    let mut request = "ws://localhost/".into_client_request().unwrap();
    if let Some(offered) = offered {
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(offered));
    }
    let (socket, response) = client_async(request, stream).await.map_err(Box::new)?;
    assert_eq!(response.headers().get("Sec-WebSocket-Protocol").unwrap(), "sip");
    Ok(socket)
}

async fn plain(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address("ws")).await.unwrap()
}

/// The next message of SIP; it must be one whole message.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> String {
    loop {
        match socket.next().await.expect("open").unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Binary(bytes) => return String::from_utf8(bytes.to_vec()).unwrap(),
            _ => {}
        }
    }
}

pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, text: &str) -> String {
    socket.send(Message::text(text)).await.unwrap();
    receive(socket).await
}

/// The code of the close that ends it.
async fn closed<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Option<CloseCode> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code);
        }
    }
    None
}

#[tokio::test]
async fn rfc7118_4_1_the_subprotocol_sip_is_required() {
    let daemon = Daemon::start("", "").await;
    for offered in [None, Some("xmpp"), Some("sipx, msrp")] {
        match upgrade(plain(&daemon).await, offered).await.map_err(|fault| *fault) {
            Err(Error::Http(response)) => assert_eq!(response.status(), 400),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    for offered in ["sip", "msrp, SIP"] {
        upgrade(plain(&daemon).await, Some(offered)).await.ok();
    }
    let failed = || daemon.metric("sosbridge_handshakes_failed_total{transport=\"ws\"}") == Some(3.0);
    daemon.until("three refused upgrades", failed).await;
}

#[tokio::test]
async fn rfc7118_5_a_browser_registers_over_wss() {
    let daemon = Daemon::start("", "").await;
    let stream = tls(daemon.address("wss"), &daemon.authority.client(None)).await.unwrap();
    let mut browser = upgrade(stream, Some("sip")).await.unwrap();
    let contact = "<sip:x7@df7jal23ls0d.invalid;transport=ws>";
    let challenge = ask(&mut browser, &register("WSS", contact, None)).await;
    assert_eq!(code(&challenge), 401, "{challenge}");
    let answer = ask(&mut browser, &register("WSS", contact, Some(&challenge))).await;
    assert_eq!(code(&answer), 200, "{answer}");
    assert!(daemon.get("/api/v1/registrations").contains(r#""transport":"wss""#));
    browser.close(None).await.unwrap();
    closed(&mut browser).await;
    assert!(daemon.get("/api/v1/registrations").contains(r#""transport":"wss""#), "NA-2: the binding is kept");
}

#[tokio::test]
async fn rfc7118_5_one_message_in_text_or_binary_with_or_without_a_length() {
    let daemon = Daemon::start("", "").await;
    let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    assert_eq!(code(&ask(&mut browser, &options("WS", 1)).await), 200);
    let bare = options("WS", 2).replace("Content-Length: 0\r\n", "");
    assert_eq!(code(&ask(&mut browser, &bare).await), 200, "RFC 7118 §5.1: the frame tells the length");
    let latin: Vec<u8> =
        options("WS", 3).replace("Max-Forwards: 70", "Subject: \u{e9}\r\nMax-Forwards: 70").into_bytes();
    browser.send(Message::binary(latin)).await.unwrap();
    assert_eq!(code(&receive(&mut browser).await), 200);
    // Half a message is no message: it never waits for a second half.
    let whole = options("WS", 4);
    let (half, _) = whole.split_at(100);
    browser.send(Message::text(half)).await.unwrap();
    assert_eq!(code(&ask(&mut browser, &options("WS", 5)).await), 200);
}

#[tokio::test]
async fn rfc7118_6_keep_alives_by_ping_and_by_crlf() {
    let daemon = Daemon::start("", "").await;
    let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    browser.send(Message::Ping(Bytes::from_static(b"here?"))).await.unwrap();
    match browser.next().await.unwrap().unwrap() {
        Message::Pong(echo) => assert_eq!(&echo[..], b"here?"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&mut browser, "\r\n\r\n").await, "\r\n", "NA-3");
    assert_eq!(code(&ask(&mut browser, &options("WS", 1)).await), 200);
}

#[tokio::test]
async fn rfc7118_a_message_that_is_too_long_closes_with_1009() {
    let daemon = Daemon::start("", "").await;
    let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    let _ = browser.send(Message::text("x".repeat(70_000))).await;
    assert_eq!(closed(&mut browser).await, Some(CloseCode::Size));
}

#[tokio::test]
async fn rfc6455_frames_without_mask_close_with_1002() {
    let daemon = Daemon::start("", "").await;
    let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    browser.get_mut().write_all(&[0x81, 0x02, b'h', b'i']).await.unwrap();
    assert_eq!(closed(&mut browser).await, Some(CloseCode::Protocol));
}

/// What a hostile client writes after the upgrade, and the code of the close that ends it; `None`: nothing wrong, it is answered.
#[tokio::test]
async fn rfc6455_what_breaks_the_rules_closes_that_connection_alone() {
    let daemon = Daemon::start("", "").await;
    let mut bystander = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    let masked = |first: u8, length: &[u8], payload: &[u8]| [&[first][..], length, &[0; 4], payload].concat();
    let text = |payload: &[u8]| masked(0x81, &[0x80 | u8::try_from(payload.len()).unwrap()], payload);
    let long_ping = masked(0x89, &[0xfe, 0, 126], &[b'x'; 126]);
    let table: [(&str, Vec<u8>, CloseCode); 12] = [
        ("a reserved bit", masked(0xc1, &[0x82], b"hi"), CloseCode::Protocol),
        ("two reserved bits", masked(0xb1, &[0x82], b"hi"), CloseCode::Protocol),
        ("a reserved opcode", masked(0x83, &[0x82], b"hi"), CloseCode::Protocol),
        ("a reserved control opcode", masked(0x8b, &[0x82], b"hi"), CloseCode::Protocol),
        ("a continuation without a start", masked(0x80, &[0x82], b"hi"), CloseCode::Protocol),
        ("a start within a message", [masked(0x01, &[0x81], b"a"), text(b"b")].concat(), CloseCode::Protocol),
        ("a ping of 126 bytes", long_ping, CloseCode::Protocol),
        ("a ping in fragments", masked(0x09, &[0x82], b"hi"), CloseCode::Protocol),
        ("a close of one byte", masked(0x88, &[0x81], b"x"), CloseCode::Protocol),
        ("text that is none", text(b"\xc3\x28"), CloseCode::Invalid),
        (
            "half a letter across fragments",
            [masked(0x01, &[0x81], b"\xc3"), masked(0x80, &[0x81], b"\x28")].concat(),
            CloseCode::Invalid,
        ),
        ("a frame of 2^63 bytes", masked(0x82, &[0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255], b""), CloseCode::Size),
    ];
    for (what, bytes, code) in table {
        let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
        browser.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(closed(&mut browser).await, Some(code), "{what}");
    }
    // Its own close is answered with the code it gives, or none.
    for (payload, code) in [(&b""[..], None), (b"\x03\xe8bye", Some(CloseCode::Normal))] {
        let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
        browser
            .get_mut()
            .write_all(&masked(0x88, &[0x80 | u8::try_from(payload.len()).unwrap()], payload))
            .await
            .unwrap();
        assert_eq!(closed(&mut browser).await, code, "{payload:?}");
    }
    assert_eq!(code(&ask(&mut bystander, &options("WS", 1)).await), 200);
}

#[tokio::test]
async fn rfc6455_5_4_a_message_in_a_thousand_fragments_among_pings() {
    let daemon = Daemon::start("", "").await;
    let mut browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    let whole = options("WS", 1).replace("Max-Forwards", &format!("Subject: {}\r\nMax-Forwards", "x".repeat(1_000)));
    let mut bytes = Vec::new();
    for (at, byte) in whole.bytes().enumerate() {
        let is_last = if at + 1 == whole.len() { 0x80 } else { 0 };
        let first = u8::from(at == 0) | is_last;
        bytes.extend([0x89, 0x81, 0, 0, 0, 0, b'p', first, 0x81, 0, 0, 0, 0, byte]);
        if is_last == 0 {
            let empty = [0, 0x80, 0, 0, 0, 0];
            bytes.extend(empty);
        }
    }
    browser.get_mut().write_all(&bytes).await.unwrap();
    assert_eq!(code(&receive(&mut browser).await), 200);
    // Two messages of SIP in one of the WebSocket: the second is no body of the first (RFC 7118 §5).
    let two = [options("WS", 2), options("WS", 3)].concat();
    browser.send(Message::text(two)).await.unwrap();
    let answers = receive(&mut browser).await;
    assert!(matches!(code(&answers), 200 | 400), "{answers}");
    assert_eq!(code(&ask(&mut browser, &options("WS", 4)).await), 200);
}

#[tokio::test]
async fn rfc6455_4_2_an_upgrade_that_is_none_is_refused_and_ended() {
    let daemon = Daemon::start("", "").await;
    let good = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n";
    let table: [(&str, String); 11] = [
        ("a page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        ("a form", format!("{}\r\n", good.replace("GET", "POST"))),
        ("HTTP/1.0", format!("{}\r\n", good.replace("HTTP/1.1", "HTTP/1.0"))),
        ("an old version", format!("{}\r\n", good.replace("13", "8"))),
        ("no key", format!("{}\r\n", good.replace("Sec-WebSocket-Key", "X-Key"))),
        ("no upgrade", format!("{}\r\n", good.replace("Upgrade: websocket", "Upgrade: h2c"))),
        ("a body", format!("{good}Content-Length: 5\r\n\r\nhello")),
        ("a request behind it", format!("{good}\r\n{}", "GET /api/v1/calls HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("a thousand headers", format!("{good}{}\r\n", "X: y\r\n".repeat(1_000))),
        ("a header without end", format!("{good}X: {}", "y".repeat(200_000))),
        ("SIP", options("TCP", 1)),
    ];
    for (what, request) in &table {
        let mut peer = crate::peer::Peer::new(plain(&daemon).await);
        let began = std::time::Instant::now();
        // It may be closed before all is written.
        let _ = peer.stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer.stream, &mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{what}: {}", String::from_utf8_lossy(&answer));
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{what}");
    }
    let failed = || daemon.metric("sosbridge_handshakes_failed_total{transport=\"ws\"}") == Some(11.0);
    daemon.until("each is counted", failed).await;
    assert!(upgrade(plain(&daemon).await, Some("sip")).await.is_ok());
}

/// RFC 6455 §5.5.2; SPEC §10.
#[tokio::test]
async fn a_client_that_floods_with_pings_and_reads_nothing_is_closed_and_disturbs_nobody() {
    let daemon = Daemon::start("", "").await;
    let mut bystander = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    let browser = upgrade(plain(&daemon).await, Some("sip")).await.unwrap();
    let mut raw = browser.into_inner();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory();
    let asked = options("WS", 9);
    let ask_frame =
        [&[0x81, 0xfe][..], &u16::try_from(asked.len()).unwrap().to_be_bytes(), &[0; 4], asked.as_bytes()].concat();
    let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[b'p'; 125]].concat();
    let flood: Vec<u8> = [ping.repeat(50), ask_frame].concat().repeat(200);
    // Ten seconds, or until it is closed.
    let written = async {
        for _ in 0..200 {
            if raw.write_all(&flood).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), written).await;
    assert_eq!(code(&ask(&mut bystander, &options("WS", 1)).await), 200);
    assert!(memory() < before + 16 * 1024, "{before} kB before, {} kB", memory());
}
