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
