//! Somebody on site who is told: a web server of the story. It refuses the first POST it gets and takes every other.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::{Outcome, ports};

pub struct Webhook {
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    pub fn start() -> Outcome<Self> {
        let address = ports::free(ports::STRANGER)?;
        let socket = TcpListener::bind(address).map_err(|error| format!("webhook: {error}"))?;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&taken);
        std::thread::spawn(move || {
            for (visits, stream) in socket.incoming().flatten().enumerate() {
                if let Some(body) = visit(stream, if visits == 0 { 503 } else { 204 })
                    && visits > 0
                {
                    theirs.lock().unwrap_or_else(PoisonError::into_inner).push(body);
                }
            }
        });
        Ok(Self { address, taken })
    }

    /// What it was told and has acknowledged.
    pub fn rows(&self) -> Vec<Value> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads one request and answers it.
fn visit(stream: TcpStream, status: u16) -> Option<Value> {
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    serde_json::from_slice(&body).ok()
}
