//! A party on a stream: whole messages out and in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub struct Peer<S> {
    pub stream: S,
    read: Vec<u8>,
}

/// A TLS connection to the daemon, verified.
pub async fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next message without a body; whatever stands before a double line end.
    pub async fn receive(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let message = self.read.drain(..end + 4).collect();
                return String::from_utf8(message).unwrap();
            }
            assert!(self.more().await, "closed; so far: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// The final answer to a request.
    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        loop {
            let answer = self.receive().await;
            if crate::sip::code(&answer) >= 200 {
                return answer;
            }
        }
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "closed");
        }
        self.read.drain(..count).collect()
    }

    /// True when the daemon has closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        while self.more().await {}
        true
    }

    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut chunk));
        let count = read
            .await
            .unwrap_or_else(|_| panic!("nothing came in 10 s after {:?}", String::from_utf8_lossy(&self.read)))
            .unwrap_or(0);
        self.read.extend_from_slice(&chunk[..count]);
        count > 0
    }
}
