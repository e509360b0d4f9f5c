//! From bytes to the floor that answers, and from the outbox to outputs.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{Node, Output, QueryId};
use crate::admin::Direction;
use crate::sip::{self, Lines, Malformed, Message, Method, Name, Scheme, Uri};
use crate::transaction::{self, ServerId};
use crate::transport::{ConnId, Flow, ListenerId, Transmit, response_flow, stun};
use crate::trunk::Sign;
use crate::ua::{Owner, Refusal};

impl Node {
    pub(super) fn datagram(&mut self, listener: ListenerId, remote: SocketAddr, bytes: Bytes) {
        let Some(protocol) = self.config.listeners.get(usize::from(listener.0)).map(|listener| listener.protocol)
        else {
            return;
        };
        // Keep-alives of NATed phones: CRLFs, or single zero bytes (RFC 5626 §3.5.1 says CRLF; the rest is habit).
        if bytes.len() <= 4 && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
            return;
        }
        let flow = Flow { protocol, listener, remote, connection: None };
        // RFC 5626 §8: STUN is told from SIP by its first byte. No message of ours: it goes out uncounted.
        if stun::is_stun(&bytes) {
            let answer = stun::answer(&bytes, remote).map(|bytes| Transmit { flow, bytes: bytes.into() });
            self.outputs.extend(answer.map(Output::Transmit));
            return;
        }
        self.message(flow, bytes);
    }

    pub(super) fn message(&mut self, flow: Flow, bytes: Bytes) {
        match Message::parse(bytes) {
            Ok(message) => {
                match message.is_request() {
                    true => self.metrics.request(Direction::In, flow.protocol, message.method()),
                    false => self.metrics.response(Direction::In, flow.protocol, message.code()),
                }
                if let Some(event) = self.transactions.receive(self.now, message, flow, &mut self.outbox) {
                    self.transaction_event(event);
                }
            }
            Err(malformed) => self.refuse_malformed(flow, malformed),
        }
    }

    /// 4xx where one can be built, else silence (SPEC §10). Without state: a repetition is answered again.
    fn refuse_malformed(&mut self, flow: Flow, malformed: Malformed) {
        let Malformed { status, fault, message } = malformed;
        tracing::debug!(%flow, %fault, "malformed message");
        self.metrics.parse_error(fault.label());
        let Some(request) = message.filter(|message| message.is_request() && message.method() != Method::Ack) else {
            return;
        };
        if self.is_for_help(&request) {
            self.tell_malformed(&request, status, fault, flow);
        }
        let to = response_flow(&request.top_via(), flow);
        let tag = format!("m{:016x}", self.rng.u64());
        let product = self.ua.settings().product.clone();
        let writer = sip::reply(self.ua.writer(), &request, flow.remote, status, None, Some(tag.as_bytes()));
        writer.header_fmt("Warning", format_args!("399 sosbridge \"{}\"", fault.to_string().replace(['"', '\\'], "'")));
        writer.header("Server", product.as_bytes());
        let bytes = writer.finish();
        self.outbox.push(Transmit { flow: to, bytes });
    }

    pub(super) fn transaction_event(&mut self, event: transaction::Event<Owner>) {
        use transaction::Event;
        match event {
            Event::Request { transaction, message, flow } => {
                if message.method() == Method::Invite && !self.is_acquainted(&message, &flow) {
                    self.transactions.distrust(transaction);
                }
                self.request(transaction, &message, flow);
                self.events();
                self.transactions.trying(self.now, transaction, &message, flow, &mut self.outbox);
            }
            Event::Ack { message, flow } => {
                if let Some(leg) = self.ua.leg_of(&message) {
                    let (_, mut parts) = self.parts();
                    parts.ua.acknowledged(&mut parts.context, leg, &message, flow);
                }
            }
            Event::Cancel { invite, owner: Some(Owner::Leg(leg)), message } => {
                let (_, mut parts) = self.parts();
                parts.ua.cancelled(&mut parts.context, leg, invite, &message);
            }
            Event::Response { transaction, owner: Owner::Leg(leg), message } => {
                let (_, mut parts) = self.parts();
                parts.ua.responded(&mut parts.context, leg, transaction, &message);
            }
            Event::Timeout { transaction, owner: Owner::Leg(leg) } => self.unanswered(leg, transaction, 408),
            Event::Unreachable { transaction, owner: Owner::Leg(leg) } => self.unanswered(leg, transaction, 503),
            Event::Response { owner: Owner::Errand(errand), message, .. } => self.errand_answered(errand, &message),
            Event::Timeout { owner: Owner::Errand(errand), .. } => self.errand_lost(errand, Sign::Silent),
            Event::Unreachable { owner: Owner::Errand(errand), .. } => self.errand_lost(errand, Sign::Unreachable),
            Event::Cancel { .. } | Event::AckMissing { .. } => {}
        }
        self.events();
    }

    /// True when this comes in a dialog of ours, or from where a trunk, a PBX or a registered phone is.
    fn is_acquainted(&self, request: &Message, flow: &Flow) -> bool {
        self.ua.leg_of(request).is_some()
            || self.trunks.accepts(flow.protocol, flow.remote).is_some()
            || self.config.pbx_accepting(flow.remote, &[]).is_some()
            || self.registrar.users_on_flow(flow).next().is_some()
    }

    fn unanswered(&mut self, leg: crate::ua::LegId, client: transaction::ClientId, status: u16) {
        let (_, mut parts) = self.parts();
        parts.ua.unanswered(&mut parts.context, leg, client, status);
    }

    /// Hands to the calls what happened on their legs.
    pub(super) fn events(&mut self) {
        while let Some((leg, call, event)) = self.ua.poll_event() {
            let (calls, mut parts) = self.parts();
            calls.event(&mut parts, call, leg, event);
        }
    }

    fn request(&mut self, server: ServerId, request: &Message, flow: Flow) {
        if request.to_tag().is_some() {
            match self.ua.leg_of(request) {
                Some(_) if has_unknown_extension(request).is_some() => self.refuse_extension(server, request, flow),
                Some(leg) => {
                    let (_, mut parts) = self.parts();
                    parts.ua.requested(&mut parts.context, leg, server, request, flow);
                }
                // CONFORMANCE DI-5
                None => self.refuse(server, request, flow, &Refusal::new(481)),
            }
            return;
        }
        if let Some(refusal) = self.unfit(request) {
            self.refuse(server, request, flow, &refusal);
        } else if has_unknown_extension(request).is_some() && !self.is_for_help(request) {
            self.refuse_extension(server, request, flow);
        } else {
            self.outside_dialog(server, request, flow);
        }
    }

    fn outside_dialog(&mut self, server: ServerId, request: &Message, flow: Flow) {
        match request.method() {
            Method::Register => self.register(server, request, flow),
            Method::Invite => {
                let (calls, mut parts) = self.parts();
                calls.incoming(&mut parts, server, request, flow);
            }
            Method::Options => {
                let (_, mut parts) = self.parts();
                parts.ua.reply_ok(&mut parts.context, server, request, flow);
            }
            Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify | Method::Refer => {
                self.refuse(server, request, flow, &Refusal::new(481));
            }
            Method::Message | Method::Subscribe | Method::Publish | Method::Ack | Method::Cancel => {
                self.refuse(server, request, flow, &Refusal::new(405));
            }
            Method::Other => self.refuse(server, request, flow, &Refusal::new(501)),
        }
    }

    /// What is refused of a request outside any dialog before anybody looks at what it wants (§8.2.2, §16.3).
    fn unfit(&self, request: &Message) -> Option<Refusal> {
        let uri = match Uri::parse(request.request_uri()) {
            Ok(uri) => uri,
            Err(fault) => return Some(Refusal::warn(400, format!("Request-URI: {fault}"))),
        };
        let is_invite = request.method() == Method::Invite;
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => {}
            Scheme::Tel if is_invite => {}
            Scheme::Urn if is_invite && self.countries.is_reserved(request.request_uri()) => {}
            Scheme::Tel | Scheme::Urn | Scheme::Other => return Some(Refusal::new(416)),
        }
        if is_invite && request.max_forwards() == Some(0) && !self.is_for_help(request) {
            return Some(Refusal::new(483));
        }
        (is_invite && self.has_looped(request)).then(|| Refusal::new(482))
    }

    /// An emergency or a test call: it has reached whom it is for, and is not refused for what it asks besides (SPEC §10).
    fn is_for_help(&self, request: &Message) -> bool {
        request.method() == Method::Invite && self.countries.is_reserved(request.request_uri())
    }

    /// CONFORMANCE DI-15: a live branch of ours in any Via means that our own request has come back.
    fn has_looped(&self, request: &Message) -> bool {
        let is_ours = |via: &sip::Via<'_>| {
            let at = |local: &crate::ua::Local| {
                let port = via.port.unwrap_or_else(|| local.protocol.default_port());
                port == local.port && via.host.eq_ignore_ascii_case(local.host.as_bytes())
            };
            self.ua.settings().locals.iter().any(at)
        };
        let is_own_branch = |via: &sip::Via<'_>| via.branch().is_some_and(|own| self.transactions.is_own_branch(own));
        let vias = request.values(Name::Via).filter_map(|value| sip::Via::parse(value).ok());
        vias.filter(is_own_branch).any(|via| is_ours(&via))
    }

    /// 420 that names every extension we do not know (§8.2.2.3).
    fn refuse_extension(&mut self, server: ServerId, request: &Message, flow: Flow) {
        let mut lines = Lines::default();
        let unknown: Vec<&[u8]> = unknown_extensions(request).collect();
        lines.push(b"Unsupported", &unknown.join(&b", "[..]));
        let (_, mut parts) = self.parts();
        parts.ua.reply_with(&mut parts.context, server, request, flow, &Refusal::new(420), &lines);
    }

    pub(super) fn refuse(&mut self, server: ServerId, request: &Message, flow: Flow, refusal: &Refusal) {
        let (_, mut parts) = self.parts();
        parts.ua.reply(&mut parts.context, server, request, flow, refusal);
    }

    pub(super) fn resolve(&mut self) {
        while let Some(query) = self.trunks.wants_resolve(self.now) {
            self.outputs.push_back(Output::Resolve { query: QueryId(query.id.0), question: query.question });
        }
    }

    /// Moves what is to be sent into the outputs; what was meant for a connection that is gone finds another, or nobody.
    pub(super) fn send(&mut self) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for Transmit { flow, bytes } in outbox.drain(..) {
            let Some(flow) = self.streams.existing(flow).or_else(|| self.way_back(flow, &bytes)) else { continue };
            self.count_out(&flow, &bytes);
            self.outputs.push_back(Output::Transmit(Transmit { flow, bytes }));
        }
        self.outbox = outbox;
    }

    /// A new connection for what was meant for one that is gone: for a response to where the request came from, at the port of its
    /// sent-by (RFC 3261 §18.2.2), for a CANCEL or an ACK to where its INVITE went (§9.1, §17.1.1.3). Only to trunks and PBXs: what
    /// is neither listens to nobody behind its NAT, or is a stranger who would have us open connections.
    fn way_back(&mut self, flow: Flow, bytes: &Bytes) -> Option<Flow> {
        let is_ours = flow.connection.is_some_and(|connection| connection.0 & ConnId::ACCEPTED == 0);
        let mut there = flow;
        let is_known = if bytes.starts_with(b"SIP/2.0 ") {
            let response = Message::parse(bytes.clone()).ok()?;
            there.remote.set_port(response.top_via().port.unwrap_or(flow.protocol.default_port()));
            there.connection = None;
            self.trunks.accepts(flow.protocol, flow.remote).is_some()
                || self.config.pbx_accepting(flow.remote, &[]).is_some()
                || (flow.protocol.is_secure() && self.trunks.peer_at(flow.protocol, there.remote).is_some())
        } else {
            is_ours && [&b"CANCEL "[..], b"ACK "].iter().any(|method| bytes.starts_with(method))
        };
        let there = is_known.then(|| self.streams.settle(there))?;
        self.connect();
        self.streams.existing(there)
    }

    fn count_out(&self, flow: &Flow, bytes: &[u8]) {
        match bytes.strip_prefix(b"SIP/2.0 ") {
            Some(rest) => {
                let code =
                    rest.get(..3).and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse().ok());
                self.metrics.response(Direction::Out, flow.protocol, code.unwrap_or(0));
            }
            None => {
                let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
                self.metrics.request(Direction::Out, flow.protocol, Method::from_bytes(method));
            }
        }
    }
}

/// Extensions this daemon understands in Require (§20.32).
fn knows(request: &Message, extension: &[u8]) -> bool {
    let known: &[&[u8]] = match request.method() {
        Method::Register => &[b"outbound", b"path", b"gruu"],
        // RFC 3262 §4: 100rel is for INVITE alone.
        Method::Invite => &[b"100rel", b"timer", b"replaces"],
        Method::Update => &[b"timer"],
        Method::Refer => &[b"norefersub"],
        _ => &[],
    };
    // RFC 4412 §3: in requests of any method.
    known.iter().any(|known| known.eq_ignore_ascii_case(extension))
        || extension.eq_ignore_ascii_case(b"resource-priority")
}

fn unknown_extensions(request: &Message) -> impl Iterator<Item = &[u8]> {
    let required = request.values(Name::Require).chain(request.values(Name::ProxyRequire));
    required.filter(move |extension| !extension.is_empty() && !knows(request, extension))
}

/// §8.2.2.3; ACK and CANCEL never come here.
fn has_unknown_extension(request: &Message) -> Option<&[u8]> {
    unknown_extensions(request).next()
}
