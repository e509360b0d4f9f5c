//! OPTIONS to phones at an interval, so that the NATs before them stay open (CONFORMANCE NA-3). Off unless configured: phones
//! that know what is good for them send CRLFs or STUN themselves (RFC 5626 §3.5).
//!
//! Nobody waits for the answer, which is dropped as one to no transaction: what a phone is to be told is tried anyhow.

use std::time::Duration;

use super::Node;
use crate::base::Instant;
use crate::registrar::Binding;
use crate::sip::uri::requestable;
use crate::transport::Transmit;

/// Phones have their turn spread over the interval, some of them every so often.
const STEP: Duration = Duration::from_millis(100);

/// Where the round over all users is.
#[derive(Default)]
pub(super) struct Round {
    began: Instant,
    /// Behind the users that have had their turn.
    cursor: u64,
    /// `None`: there is no round.
    due: Option<Instant>,
}

impl Round {
    /// The first round begins one interval after `now`.
    pub fn after(now: Instant, interval: Duration) -> Self {
        let due = (!interval.is_zero()).then(|| now + interval);
        Self { began: now, cursor: 0, due }
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Node {
    /// The next users of the round, as many as keep it in its time.
    pub(super) fn keep_alive(&mut self) {
        let Some(due) = self.keep_alive.due.filter(|due| *due <= self.now) else { return };
        let interval = self.config.registrar.options_interval;
        if interval.is_zero() {
            self.keep_alive.due = None;
            return;
        }
        if self.keep_alive.cursor == 0 {
            self.keep_alive.began = due;
        }
        let steps = interval.as_millis().div_ceil(STEP.as_millis()).max(1);
        let turns = self.registrar.len().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX));
        let mut cursor = self.keep_alive.cursor;
        let mut phones: Vec<(String, Binding)> = Vec::new();
        let mut users = self.registrar.users_from(cursor);
        for (next, user, bindings) in users.by_ref().take(turns) {
            cursor = next;
            let open = bindings.iter().filter(|binding| binding.rings && self.streams.is_open(&binding.flow));
            phones.extend(open.map(|binding| (user.to_string(), binding.clone())));
        }
        let is_more = users.next().is_some();
        drop(users);
        self.keep_alive.cursor = if is_more { cursor } else { 0 };
        self.keep_alive.due = Some(if is_more { due + STEP } else { self.keep_alive.began + interval }.max(self.now));
        for (user, binding) in phones {
            self.ask_phone(&user, &binding);
        }
    }

    fn ask_phone(&mut self, user: &str, binding: &Binding) {
        let flow = binding.flow;
        let Some(local) = self.ua.settings().locals.get(usize::from(flow.listener.0)).cloned() else { return };
        let (branch, tag, call_id) = (self.rng.u64(), self.rng.u64(), self.rng.u64());
        let product = self.ua.settings().product.clone();
        let writer = self.ua.writer();
        writer.request(b"OPTIONS", &requestable(binding.contact().as_bytes()));
        let (token, sent_by) = (flow.protocol.via_token(), local.sent_by());
        writer.header_fmt("Via", format_args!("SIP/2.0/{token} {sent_by};branch=z9hG4bKk{branch:016x};rport"));
        writer.header("Max-Forwards", b"70");
        if !binding.path().is_empty() {
            writer.header("Route", binding.path().as_bytes());
        }
        writer.header_fmt("From", format_args!("<sip:{sent_by}>;tag=k{tag:016x}"));
        writer.header_fmt("To", format_args!("<{user}>"));
        writer.header_fmt("Call-ID", format_args!("k{call_id:016x}"));
        writer.header("CSeq", b"1 OPTIONS");
        writer.header_fmt("Contact", format_args!("{}", local.contact("", false)));
        writer.header("User-Agent", product.as_bytes());
        let bytes = writer.finish();
        self.outbox.push(Transmit { flow, bytes });
    }
}
