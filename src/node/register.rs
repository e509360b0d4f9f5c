//! REGISTER: who may, what is kept, and what it sets off (RFC 3261 §10.3, §22).

use super::Node;
use crate::base::Private;
use crate::config::Aor;
use crate::registrar::{Outcome, Verdict};
use crate::sip::{self, Lines, Message, Uri};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::Refusal;

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
        if self.draining {
            let refusal = Refusal { retry_after: Some(30), ..Refusal::warn(503, "Shutting down") };
            return self.refuse(server, request, flow, &refusal);
        }
        let config = std::sync::Arc::clone(&self.config);
        let user = match self.auth.verify(self.now, request, &config) {
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
                for (left, flow) in self.registrar.take_moves() {
                    self.streams.inherit(left, flow);
                }
                self.confirm(server, request, flow, user, outbound);
                self.gauges_due.get_or_insert(self.now);
                tracing::debug!(user = %Private(user), %flow, "registered");
                self.keep_device(user, &flow);
                let (calls, mut parts) = self.parts();
                calls.registered(&mut parts, user, &flow);
            }
            Outcome::TooBrief { min } => {
                let mut lines = Lines::default();
                lines.push(b"Min-Expires", min.as_secs().to_string().as_bytes());
                let (_, mut parts) = self.parts();
                parts.ua.reply_with(&mut parts.context, server, request, flow, &Refusal::new(423), &lines);
            }
            Outcome::Refused { status, why } => self.refuse(server, request, flow, &Refusal::warn(status, why)),
        }
    }

    /// A device with a lease is rung where it was seen last, also after a restart.
    fn keep_device(&mut self, user: &Aor, flow: &Flow) {
        if let Some(binding) = self.registrar.binding_on_flow(flow, user) {
            self.leases.refresh_device(user.as_str(), &crate::call::ring::device_of(binding));
        }
    }

    fn confirm(&mut self, server: ServerId, request: &Message, flow: Flow, user: &Aor, outbound: bool) {
        let product = self.ua.settings().product.clone();
        let tag = format!("g{:016x}", self.rng.u64());
        let writer = sip::reply(self.ua.writer(), request, flow.remote, 200, None, Some(tag.as_bytes()));
        self.registrar.write_contacts(self.now, user, writer);
        if outbound {
            writer.header("Require", b"outbound");
        }
        writer.header("Server", product.as_bytes());
        let bytes = writer.finish();
        self.transactions.respond(self.now, server, 200, bytes, &mut self.outbox);
    }
}
