//! `sosbridge_messages_total{direction,transport,method_or_status}`: one flat table of atomics.
//!
//! A count is one relaxed addition at a computed index: no hash, no lock, no allocation. Only words that were ever
//! seen are shown.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::metrics::Direction;
use crate::base::Protocol;
use crate::sip::Method;

const PROTOCOLS: [Protocol; 5] = [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss];
const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];
/// Slots for methods, before those for status codes. `Method::Other` is the last.
const METHODS: usize = Method::Other as usize + 1;
const FIRST_CODE: u16 = 100;
const LAST_CODE: u16 = 699;
const WORDS: usize = METHODS + (LAST_CODE - FIRST_CODE) as usize + 1;

/// Counts of SIP messages by direction, transport, and method or status code.
pub(super) struct Messages {
    counts: Box<[AtomicU64]>,
}

impl Messages {
    pub(super) fn new() -> Self {
        let size = DIRECTIONS.len() * PROTOCOLS.len() * WORDS;
        Self { counts: (0..size).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn request(&self, direction: Direction, protocol: Protocol, method: Method) {
        self.add(direction, protocol, method as usize);
    }

    /// Codes outside 100..=699 do not exist in SIP and are not counted here.
    pub(super) fn response(&self, direction: Direction, protocol: Protocol, code: u16) {
        if (FIRST_CODE..=LAST_CODE).contains(&code) {
            self.add(direction, protocol, METHODS + usize::from(code - FIRST_CODE));
        }
    }

    fn add(&self, direction: Direction, protocol: Protocol, word: usize) {
        if let Some(count) = self.counts.get(slot(direction, protocol) * WORDS + word) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const fn slot(direction: Direction, protocol: Protocol) -> usize {
    direction as usize * PROTOCOLS.len() + protocol as usize
}

/// The label value of a word: `INVITE`, or `200`.
fn word_label(word: usize) -> String {
    const NAMED: [Method; METHODS] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Register,
        Method::Options,
        Method::Info,
        Method::Update,
        Method::Prack,
        Method::Refer,
        Method::Notify,
        Method::Subscribe,
        Method::Publish,
        Method::Message,
        Method::Other,
    ];
    match NAMED.get(word) {
        Some(Method::Other) => "other".to_owned(),
        Some(method) => method.as_str().to_owned(),
        None => (word - METHODS + usize::from(FIRST_CODE)).to_string(),
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}

impl Collector for Messages {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut family =
            encoder.encode_descriptor("messages", "SIP messages received and sent", None, MetricType::Counter)?;
        for direction in DIRECTIONS {
            for protocol in PROTOCOLS {
                let counts = self.counts.iter().skip(slot(direction, protocol) * WORDS).take(WORDS);
                for (word, count) in counts.enumerate() {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [
                            ("direction", direction.as_str().to_owned()),
                            ("transport", protocol.uri_token().to_owned()),
                            ("method_or_status", word_label(word)),
                        ];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_own_name_at_its_own_place() {
        let names: std::collections::BTreeSet<String> = (0..METHODS).map(word_label).collect();
        assert_eq!(names.len(), METHODS);
        assert_eq!(word_label(Method::Invite as usize), "INVITE");
        assert_eq!(word_label(Method::Message as usize), "MESSAGE");
        assert_eq!(word_label(METHODS), "100");
        assert_eq!(word_label(WORDS - 1), "699");
    }
}
