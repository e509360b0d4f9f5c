//! REGISTER: who may, what is kept, and what it sets off (RFC 3261 §10.3, §22).

use std::collections::BTreeMap;

use super::{Node, WriteId};
use crate::base::{Instant, Private};
use crate::call::ring::device_of;
use crate::config::Aor;
use crate::registrar::{Outcome, Verdict};
use crate::sip::{self, Lines, Message, Name, Uri};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::Refusal;

/// REGISTERs that are carried out and whose 200 waits for the store: what it promises is to outlive us.
#[derive(Default)]
pub(super) struct Confirmations {
    /// Not handed to the store yet.
    new: Vec<Registered>,
    /// By the write that holds their rows, with the time by which they are answered all the same.
    waiting: BTreeMap<WriteId, (Instant, Vec<Registered>)>,
    /// The alarm has been raised and no answer of the store has come since.
    is_late: bool,
}

/// A REGISTER that was carried out.
struct Registered {
    server: ServerId,
    request: Message,
    flow: Flow,
    user: Aor,
    outbound: bool,
}

impl Confirmations {
    /// When the first of them is answered without the store.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, (deadline, _))| *deadline)
    }
}

impl Node {
    pub(super) fn register(&mut self, server: ServerId, request: &Message, flow: Flow) {
        let to = Uri::parse(request.to().uri);
        let Some(to) = to.ok().filter(Uri::is_sip) else {
            return self.refuse(server, request, flow, &Refusal::warn(400, "To is no SIP URI"));
        };
        // SPEC §1: no device may be an emergency number.
        if self.countries.is_reserved(request.to().uri) {
            tracing::warn!(%flow, "REGISTER as an emergency number refused");
            return self.refuse(server, request, flow, &Refusal::warn(403, "An emergency number cannot be registered"));
        }
        // Also while draining: a callback can only ring a phone that is registered, and the binding outlives the restart.
        let config = std::sync::Arc::clone(&self.config);
        let user = match self.auth.verify(self.now, request, flow.remote.ip(), &config) {
            Verdict::Ok(user) => user,
            Verdict::Missing => return self.challenge(server, request, flow, false),
            Verdict::Stale => {
                self.auth.answered(request, flow.remote.ip());
                return self.challenge(server, request, flow, true);
            }
            Verdict::Wrong => return self.refuse(server, request, flow, &Refusal::new(403)),
        };
        self.auth.answered(request, flow.remote.ip());
        let claimed = Aor::from_uri(&to).and_then(|aor| config.user_served(&aor).map(|user| user.aor.clone()));
        if claimed.as_ref() != Some(&user) {
            let refusal = Refusal::warn(403, "The credentials are of another user");
            return self.refuse(server, request, flow, &refusal);
        }
        // A forged source: what is sent to a phone there, a trunk takes for a call of ours to any number.
        if self.trunks.would_take_datagrams_of(&flow) {
            tracing::warn!(%flow, "REGISTER from where a trunk is refused");
            return self.refuse(server, request, flow, &Refusal::warn(403, "A trunk is at this address"));
        }
        self.bind(server, request, flow, &user);
    }

    fn challenge(&mut self, server: ServerId, request: &Message, flow: Flow, stale: bool) {
        let mut lines = Lines::default();
        self.auth.challenge_register(self.now, &mut self.rng, stale, request, flow.remote.ip(), &mut lines);
        let (_, mut parts) = self.parts();
        parts.ua.reply_with(&mut parts.context, server, request, flow, &Refusal::new(401), &lines);
    }

    fn bind(&mut self, server: ServerId, request: &Message, flow: Flow, user: &Aor) {
        match self.registrar.register(self.now, user, request, flow) {
            Outcome::Accepted { outbound } => {
                self.streams.vouch(&flow);
                self.phones_moved();
                if self.draining {
                    self.registrar.flush_prolonged();
                }
                self.gauges_due.get_or_insert(self.now);
                tracing::debug!(user = %Private(user), %flow, "registered");
                self.keep_device(request, user, &flow);
                let registered = Registered { server, request: request.clone(), flow, user: user.clone(), outbound };
                match self.registrar.is_urgent() {
                    true => self.confirmations.new.push(registered),
                    false => self.confirm(&registered),
                }
            }
            Outcome::TooBrief { min } => {
                self.refuse_with(server, request, flow, 423, ("Min-Expires", &min.as_secs().to_string()));
            }
            Outcome::Unsupported { extension } => {
                self.refuse_with(server, request, flow, 420, ("Unsupported", extension));
            }
            Outcome::Refused { status, why } => self.refuse(server, request, flow, &Refusal::warn(status, why)),
        }
    }

    fn refuse_with(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        status: u16,
        (name, value): (&str, &str),
    ) {
        let mut lines = Lines::default();
        lines.push(name.as_bytes(), value.as_bytes());
        let (_, mut parts) = self.parts();
        parts.ua.reply_with(&mut parts.context, server, request, flow, &Refusal::new(status), &lines);
    }

    /// A device with a lease is rung where it was seen last, also after a restart.
    fn keep_device(&mut self, request: &Message, user: &Aor, flow: &Flow) {
        if let Some(binding) = self.registrar.made_by(request, flow, user) {
            self.leases.refresh_device(user.as_str(), &device_of(binding));
        }
    }

    /// The write that has just been handed over holds the rows of what was registered in this step.
    pub(super) fn confirm_after(&mut self, write: WriteId) {
        if !self.confirmations.new.is_empty() {
            let deadline = self.now + self.config.store.write_deadline;
            self.confirmations.waiting.insert(write, (deadline, std::mem::take(&mut self.confirmations.new)));
        }
    }

    /// The store has answered; when it failed the alarm is raised elsewhere, and the phone gets its 200 all the same.
    pub(super) fn confirm_stored(&mut self, write: WriteId) {
        self.confirmations.is_late = false;
        if let Some((_, registered)) = self.confirmations.waiting.remove(&write) {
            registered.iter().for_each(|registered| self.confirm(registered));
        }
    }

    /// Answers what has waited for the store too long: a phone that is told nothing is out of reach now, one whose row is lost
    /// only after a crash.
    pub(super) fn confirm_overdue(&mut self) {
        while self.confirmations.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            let Some((_, (_, registered))) = self.confirmations.waiting.pop_first() else { return };
            if !std::mem::replace(&mut self.confirmations.is_late, true) {
                tracing::error!("registrations are answered before they are on disk: the store is late");
                self.metrics.store_error();
            }
            registered.iter().for_each(|registered| self.confirm(registered));
        }
    }

    fn confirm(&mut self, registered: &Registered) {
        let Registered { server, request, flow, user, outbound } = registered;
        let product = self.ua.settings().product.clone();
        let tag = format!("g{:016x}", self.rng.u64());
        let writer = sip::reply(self.ua.writer(), request, flow.remote, 200, None, Some(tag.as_bytes()));
        self.registrar.write_contacts(self.now, user, request.lists(Name::Supported, "gruu"), writer);
        writer.copy(request, Name::Path); // RFC 3327 §5.3
        if *outbound {
            writer.header("Require", b"outbound");
        }
        writer.header("Server", product.as_bytes());
        let bytes = writer.finish();
        self.transactions.respond(self.now, *server, 200, bytes, &mut self.outbox);
        if let Some(device) = self.registrar.made_by(request, flow, user).map(device_of) {
            let (calls, mut parts) = self.parts();
            calls.registered(&mut parts, user, &device);
        }
    }
}
