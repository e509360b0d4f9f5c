//! Names to addresses, by the system's resolver, off the run loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::events::Event;
use crate::admin::{Dropped, Metrics};
use crate::node::{Input, QueryId};

/// How long an answer may take; then the name counts as not found.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions at once. Each may hold a thread of the blocking pool until the system's resolver gives up.
const AT_ONCE: usize = 32;

pub struct Resolver {
    slots: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
}

impl Resolver {
    pub fn new(events: mpsc::Sender<Event>, metrics: Metrics) -> Self {
        Self { slots: Arc::new(Semaphore::new(AT_ONCE)), events, metrics }
    }

    /// Answers with exactly one `Input::Resolved`, empty when the name is unknown or too many are being asked.
    pub fn resolve(&self, query: QueryId, host: String, port: u16) {
        let events = self.events.clone();
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        if slot.is_err() {
            self.metrics.dropped(Dropped::Resolve);
        }
        tokio::spawn(async move {
            let addresses = match slot {
                Ok(_slot) => lookup(&host, port).await,
                Err(_) => Vec::new(),
            };
            let _ = events.send(Event::Input(Input::Resolved { query, addresses })).await;
        });
    }
}

async fn lookup(host: &str, port: u16) -> Vec<std::net::SocketAddr> {
    match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            tracing::warn!(host, %error, "name not resolved");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(host, "no answer from the resolver");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn every_question_gets_one_answer() {
        let (events, mut received) = mpsc::channel(4);
        let resolver = Resolver::new(events, Metrics::new());
        resolver.resolve(QueryId(1), "127.0.0.1".to_owned(), 5060);
        resolver.slots.close();
        resolver.resolve(QueryId(2), "127.0.0.1".to_owned(), 5060);
        for _ in 0..2 {
            match received.recv().await.unwrap() {
                Event::Input(Input::Resolved { query: QueryId(1), addresses }) => {
                    assert_eq!(addresses, ["127.0.0.1:5060".parse().unwrap()]);
                }
                Event::Input(Input::Resolved { query: QueryId(2), addresses }) => assert!(addresses.is_empty()),
                other => panic!("{other:?}"),
            }
        }
    }
}
