//! Scripts for the transactions in virtual time: what was sent and what the layers above heard, and when.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod cancel;
mod client;
mod oracle;
mod server;
mod storm;
mod transport;

use std::fmt::Debug;
use std::net::SocketAddr;

use bytes::Bytes;

use super::{Branch, ClientId, Event, Reopened, ServerId, Timers, Transactions};
use crate::base::{Instant, Protocol, Rng};
use crate::sip::{Message, Method};
use crate::transport::{ConnId, Flow, ListenerId, Outbox};

/// A table in words: a line for each pair that does something, and one a state for the events that do nothing.
pub(super) fn table<S: Debug + Copy + PartialEq, E: Debug + Copy, A: Debug + 'static>(
    states: &[S],
    events: &[E],
    step: impl Fn(S, E) -> (S, &'static [A]),
) -> String {
    let mut text = String::new();
    for &state in states {
        let mut idle = Vec::new();
        for &event in events {
            let (next, actions) = step(state, event);
            if next == state && actions.is_empty() {
                idle.push(format!("{event:?}"));
                continue;
            }
            let actions: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
            text += format!("{state:?} + {event:?} -> {next:?}: {}", actions.join(" ")).trim_end_matches([':', ' ']);
            text.push('\n');
        }
        text += &format!("{state:?} ignores {}\n", idle.join(" "));
    }
    text
}

pub(super) const LISTENER: ListenerId = ListenerId(0);
pub(super) const CONNECTION: ConnId = ConnId(9);

pub(super) fn remote() -> SocketAddr {
    "192.0.2.9:5070".parse().unwrap()
}

pub(super) fn udp() -> Flow {
    Flow { protocol: Protocol::Udp, listener: LISTENER, remote: remote(), connection: None }
}

pub(super) fn tcp() -> Flow {
    Flow { protocol: Protocol::Tcp, listener: LISTENER, remote: remote(), connection: Some(CONNECTION) }
}

pub(super) fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// A request with a top Via on `branch`; `more` are whole header lines.
pub(super) fn request(method: &str, branch: &str, more: &str) -> String {
    format!(
        "{method} sip:911@psap.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch={branch}\r\nMax-Forwards: 70\r\n{more}\
         From: <sip:alice@example.com>;tag=from1\r\nTo: <sip:911@psap.example>\r\nCall-ID: call-1\r\nCSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A response to `request`, as its peer would print it.
pub(super) fn response(request: &str, code: u16) -> String {
    let headers = request.split_once("\r\n").unwrap().1;
    let headers = headers.replace("To: <sip:911@psap.example>\r\n", "To: <sip:911@psap.example>;tag=to1\r\n");
    format!("SIP/2.0 {code} Because\r\n{headers}")
}

/// The transactions, a clock, and a log of both sides.
pub(super) struct Bench {
    pub table: Transactions<u32>,
    pub now: Instant,
    pub rng: Rng,
    log: Vec<String>,
    /// Every message sent, whole.
    pub wire: Vec<(Flow, String)>,
    /// Server transactions opened, in order.
    pub opened: Vec<ServerId>,
    /// What can be had in place of a connection that is lost.
    pub reopened: Option<Flow>,
}

impl Bench {
    pub fn new() -> Self {
        let table = Transactions::new(Timers::default());
        let (now, rng) = (Instant::from_micros(0), Rng::from_u64(1));
        Self { table, now, rng, log: Vec::new(), wire: Vec::new(), opened: Vec::new(), reopened: None }
    }

    fn note(&mut self, out: Outbox, events: impl IntoIterator<Item = Event<u32>>) {
        let at = self.now.as_millis();
        for transmit in out {
            let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
            let mut words = text.split(' ');
            let first = words.next().unwrap();
            let what = if first == "SIP/2.0" { words.next().unwrap() } else { first };
            self.log.push(format!("{at} send {what}"));
            self.wire.push((transmit.flow, text));
        }
        for event in events {
            let name = self.name(event);
            self.log.push(format!("{at} {name}"));
        }
    }

    fn name(&mut self, event: Event<u32>) -> String {
        match event {
            Event::Request { transaction, message, .. } => {
                self.opened.push(transaction);
                format!("Request {}", String::from_utf8_lossy(message.method_name()))
            }
            Event::Ack { .. } => "Ack".into(),
            Event::Cancel { owner, .. } => format!("Cancel of {owner:?}"),
            Event::Response { owner, message, .. } => format!("Response {} to {owner}", message.code()),
            Event::Timeout { owner, .. } => format!("Timeout of {owner}"),
            Event::Unreachable { owner, .. } => format!("Unreachable of {owner}"),
            Event::AckMissing { owner, .. } => format!("AckMissing of {owner:?}"),
        }
    }

    /// What comes; an INVITE is not settled at once.
    pub fn receive(&mut self, text: &str, flow: Flow) {
        let (mut out, mut later) = (Outbox::new(), Outbox::new());
        let event = self.table.receive(self.now, parse(text), flow, &mut out);
        if let Some(Event::Request { transaction, message, flow }) = &event {
            self.table.trying(self.now, *transaction, message, *flow, &mut later);
        }
        self.note(out, event);
        self.note(later, None);
    }

    /// Opens and sends; gives the text sent.
    pub fn send(&mut self, method: Method, flow: Flow, owner: u32) -> (ClientId, Branch, String) {
        let (id, branch) = self.table.open(&mut self.rng, owner);
        let route = "Route: <sip:a.example;lr>, <sip:b.example;lr>\r\nRoute: <sip:c.example;lr>\r\n";
        let text = request(method.as_str(), &branch.to_string(), route);
        let mut out = Outbox::new();
        self.table.send(self.now, id, method, flow, Bytes::copy_from_slice(text.as_bytes()), &mut out);
        self.note(out, None);
        (id, branch, text)
    }

    pub fn cancel(&mut self, invite: ClientId, reason: Option<&str>) {
        let mut out = Outbox::new();
        self.table.cancel(self.now, invite, reason.map(str::as_bytes), &mut out);
        self.note(out, None);
    }

    /// Answers the `index`th request that came, with the To tag `to1`.
    pub fn respond(&mut self, index: usize, request: &str, code: u16) {
        let mut out = Outbox::new();
        let bytes = Bytes::from(response(request, code).into_bytes());
        self.table.respond(self.now, self.opened[index], code, bytes, &mut out);
        self.note(out, None);
    }

    pub fn unreachable(&mut self) {
        let events = self.table.unreachable(self.now, LISTENER, remote());
        self.note(Outbox::new(), events);
    }

    pub fn closed(&mut self) {
        let mut out = Outbox::new();
        let events =
            self.table.closed(self.now, CONNECTION, |_| self.reopened.map_or(Reopened::Gone, Reopened::Over), &mut out);
        self.note(out, events);
    }

    /// Lets time pass until `millis`, stopping at every deadline.
    pub fn run_until(&mut self, millis: u64) {
        let end = Instant::from_millis(millis);
        while let Some(deadline) = self.table.next_deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline >= self.now, "a deadline in the past");
            self.now = deadline;
            loop {
                let mut out = Outbox::new();
                let event = self.table.handle_timeout(self.now, &mut out);
                let is_last = event.is_none();
                self.note(out, event);
                if is_last {
                    break;
                }
            }
        }
        self.now = end;
    }

    /// What happened since the last call.
    pub fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// The text of the last message sent.
    pub fn last(&self) -> &str {
        &self.wire.last().unwrap().1
    }

    /// Ends the script: after every timer nothing may be left.
    pub fn finish(mut self) {
        let end = self.now.as_millis() + 200_000;
        self.run_until(end);
        assert_eq!((self.table.len(), self.table.next_deadline()), (0, None));
        assert_eq!(self.table.leftovers(), 0);
    }
}

#[test]
fn lingering_transactions_stay_small() {
    let (client, server) = super::table::sizes::<u64>();
    assert!(client <= 160 && server <= 192, "client {client} bytes, server {server} bytes");
}
