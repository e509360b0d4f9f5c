//! SIP over WebSocket (RFC 7118): the upgrade, and one message of SIP in each message of the WebSocket.

mod patience;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use self::patience::Patient;
use super::connections::Outgoing;
use super::events::Event;
use crate::base::limits;
use crate::node::Input;
use crate::transport::ConnId;

const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol";
/// A browser cannot ping by itself: we do, which holds its NAT open.
const PING: Duration = Duration::from_secs(25);
/// Without a sign of life in this time the browser is gone.
const SILENT: Duration = Duration::from_secs(80);
/// Buffer of an idle connection.
const BUFFER_BYTES: usize = 4096;

/// A WebSocket over `S`, with the upgrade behind it.
pub type Socket<S> = WebSocketStream<Patient<S>>;

/// Answers the upgrade. Whoever does not offer the subprotocol `sip` is refused (RFC 7118 §4.1).
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<Socket<S>> {
    accept_with(stream, limits::HALF_MESSAGE).await
}

async fn accept_with<S: AsyncRead + AsyncWrite + Unpin>(stream: S, patience: Duration) -> io::Result<Socket<S>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(limits::CONNECTION_BACKLOG_BYTES)
        .max_message_size(Some(limits::MESSAGE_BYTES))
        .max_frame_size(Some(limits::MESSAGE_BYTES));
    let stream = Patient::new(stream, patience);
    let accepted = accept_hdr_async_with_config(stream, upgrade, Some(config)).await;
    let mut socket = accepted.map_err(io::Error::other)?;
    socket.get_mut().upgraded();
    Ok(socket)
}

#[allow(clippy::result_large_err, reason = "the signature of the handshake's callback")]
fn upgrade(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers = request.headers().get_all(SUBPROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if offers.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("sip")) {
        response.headers_mut().append(SUBPROTOCOL, HeaderValue::from_static("sip"));
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("The subprotocol \"sip\" is not offered (RFC 7118)".to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

/// Runs a WebSocket to its end.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: Socket<S>,
    connection: ConnId,
    events: &mpsc::Sender<Event>,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let fault = tokio::select! {
            bytes = outgoing.next() => match bytes {
                Some(bytes) => socket.send(message(bytes)).await.err(),
                None => return close(&mut socket, CloseCode::Away, "").await,
            },
            read = socket.next() => {
                heard = Instant::now();
                match read {
                    None | Some(Ok(Message::Close(_))) => return flush(&mut socket).await,
                    Some(Ok(Message::Text(text))) => hand_over(events, connection, text.into()).await?,
                    Some(Ok(Message::Binary(bytes))) => hand_over(events, connection, bytes).await?,
                    // Pongs go out by themselves, with the next read.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
                    Some(Err(fault)) => Some(fault),
                }
            }
            _ = ping.tick() => match heard.elapsed() >= SILENT {
                true => return close(&mut socket, CloseCode::Away, "silent").await,
                false => socket.send(Message::Ping(Bytes::new())).await.err(),
            },
        };
        match fault {
            None => {}
            Some(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                return close(&mut socket, CloseCode::Size, "longer than any SIP message").await;
            }
            Some(Error::Utf8(_)) => return close(&mut socket, CloseCode::Invalid, "not UTF-8").await,
            Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Ok(()),
            Some(Error::Protocol(fault)) => return close(&mut socket, CloseCode::Protocol, &fault.to_string()).await,
            Some(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(()),
            Some(Error::Io(fault)) if fault.kind() == io::ErrorKind::TimedOut => {
                return close(&mut socket, CloseCode::Policy, "a message that does not end").await;
            }
            Some(fault) => return Err(io::Error::other(fault)),
        }
    }
}

async fn hand_over(events: &mpsc::Sender<Event>, connection: ConnId, bytes: Bytes) -> io::Result<Option<Error>> {
    let sent = events.send(Event::Input(Input::Frame { connection, bytes })).await;
    sent.map(|()| None).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Text where it is text: scripts read that most easily (RFC 7118 §5).
fn message(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

/// Ends it from our side, and waits for the peer to agree; the caller bounds how long.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    code: CloseCode,
    reason: &str,
) -> io::Result<()> {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    if socket.close(Some(frame)).await.is_ok() {
        let agreed = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), agreed).await;
    }
    Ok(())
}

/// The answer to the peer's close still has to go out.
async fn flush<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> io::Result<()> {
    let _ = socket.flush().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio_tungstenite::client_async;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// A browser, and what the node is told of it.
    async fn start() -> (WebSocketStream<DuplexStream>, mpsc::Receiver<Event>) {
        let (ours, theirs) = tokio::io::duplex(limits::MESSAGE_BYTES);
        let (events, told) = mpsc::channel(16);
        tokio::spawn(async move {
            let (keeper, queue) = mpsc::unbounded_channel();
            let mut outgoing = Outgoing { queue, backlog: Arc::new(AtomicUsize::new(0)) };
            let socket = accept_with(ours, PATIENCE).await.unwrap();
            carry(socket, ConnId(7), &events, &mut outgoing).await.unwrap();
            drop(keeper);
        });
        let mut request = "ws://localhost/".into_client_request().unwrap();
        request.headers_mut().insert(SUBPROTOCOL, HeaderValue::from_static("sip"));
        (client_async(request, theirs).await.unwrap().0, told)
    }

    /// The code that it is closed with; pongs may come before.
    async fn closed(browser: &mut WebSocketStream<DuplexStream>) -> CloseCode {
        loop {
            match tokio::time::timeout(Duration::from_secs(8), browser.next()).await.unwrap().unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code,
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    const FIRST_FRAGMENT: &[u8] = &[0x01, 0x83, 0, 0, 0, 0, b'O', b'P', b'T'];
    const LAST_FRAGMENT: &[u8] = &[0x80, 0x84, 0, 0, 0, 0, b'I', b'O', b'N', b'S'];
    const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

    #[tokio::test]
    async fn rfc6455_5_4_a_message_of_fragments_must_end() {
        let (mut browser, mut told) = start().await;
        browser.get_mut().write_all(FIRST_FRAGMENT).await.unwrap();
        let began = Instant::now();
        let pings = async {
            // Alive all the time.
            loop {
                tokio::time::sleep(PATIENCE / 10).await;
                browser.get_mut().write_all(PING).await.unwrap();
                if began.elapsed() > PATIENCE / 2 {
                    break;
                }
            }
        };
        pings.await;
        assert_eq!(closed(&mut browser).await, CloseCode::Policy);
        assert!(began.elapsed() >= PATIENCE);
        assert!(told.recv().await.is_none(), "nothing has come of it");
    }

    #[tokio::test]
    async fn rfc6455_5_2_a_frame_must_end() {
        let (mut browser, mut told) = start().await;
        browser.get_mut().write_all(&FIRST_FRAGMENT[..7]).await.unwrap();
        assert_eq!(closed(&mut browser).await, CloseCode::Policy);
        assert!(told.recv().await.is_none(), "nothing has come of it");
    }

    #[tokio::test]
    async fn rfc6455_5_4_one_that_ends_in_time_is_whole_and_the_silence_after_it_is_no_fault() {
        let (mut browser, mut told) = start().await;
        for part in [FIRST_FRAGMENT, PING, LAST_FRAGMENT] {
            browser.get_mut().write_all(part).await.unwrap();
        }
        let Some(Event::Input(Input::Frame { bytes, .. })) = told.recv().await else { panic!() };
        assert_eq!(bytes, "OPTIONS");
        assert!(tokio::time::timeout(2 * PATIENCE, told.recv()).await.is_err(), "it stays open");
    }
}
