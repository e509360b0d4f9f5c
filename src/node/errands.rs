//! Requests of the node itself toward trunks: OPTIONS that tell whether one answers (RFC 3261 §11), REGISTER at those that
//! want it (§10.2). A challenge to one is answered as on a leg (CONFORMANCE AU-3).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};

use super::Node;
use crate::call::routing::flow_to;
use crate::sip::{Message, Method, Name, NameAddr, Uri};
use crate::transport::{Flow, Place};
use crate::trunk::{self, Outcome, Probe, Register, Sign, TargetId};
use crate::ua::{self, Owner};

/// Answers to challenges of one request.
const ANSWERS: u8 = 2;

/// Requests that have no final answer.
#[derive(Default)]
pub(super) struct Errands {
    sent: BTreeMap<u32, Errand>,
    last: u32,
}

struct Errand {
    purpose: Purpose,
    target: TargetId,
    place: Place,
    flow: Flow,
    request: Bytes,
    cseq: u32,
    answers: u8,
}

enum Purpose {
    Probe,
    /// For how long.
    Register(Duration),
}

impl Purpose {
    const fn method(&self) -> Method {
        match self {
            Self::Probe => Method::Options,
            Self::Register(_) => Method::Register,
        }
    }
}

/// What tells one request of ours from another.
struct Heading<'a> {
    request_uri: &'a str,
    /// From and To without tag.
    identity: &'a str,
    to: &'a str,
    call_id: &'a str,
    cseq: u32,
    contact_user: &'a str,
    /// The target is a sips URI.
    is_sips: bool,
    expires: Option<Duration>,
}

impl Node {
    /// Sends the OPTIONS that tell whether a trunk answers.
    pub(super) fn probe(&mut self, Probe { target: id, place }: Probe) {
        let Some(target) = self.trunks.target(id) else { return };
        let uri = target.config.uri.clone();
        let call_id = format_compact!("p{:016x}", self.rng.u64());
        let heading = Heading {
            request_uri: &uri,
            identity: "",
            to: &uri,
            call_id: &call_id,
            cseq: 1,
            contact_user: "",
            is_sips: target.config.is_sips(),
            expires: None,
        };
        self.run_errand(id, place, Purpose::Probe, &heading);
    }

    /// Sends the REGISTERs that are due; a drain that is over takes all of them back.
    pub(super) fn register_at_trunks(&mut self) {
        if self.draining && self.calls.is_empty() {
            self.trunks.leave();
        }
        for Register { target: id, place, expires, call_id, cseq } in self.trunks.registers(self.now, &mut self.rng) {
            let Some(target) = self.trunks.target(id) else { continue };
            let username = target.trunk().and_then(|trunk| self.config.trunk(trunk)?.username.clone());
            let username = username.unwrap_or_default();
            let port = target.config.port.map(|port| format_compact!(":{port}")).unwrap_or_default();
            let scheme = if target.config.is_sips() { "sips" } else { "sip" };
            let registrar = format_compact!("{scheme}:{}{port}", target.config.host);
            let user = escaped(username.split('@').next().unwrap_or_default());
            // A username with a domain is the whole address of record.
            let identity = match username.split_once('@') {
                Some((_, domain)) => format_compact!("{scheme}:{user}@{domain}"),
                None => format_compact!("{scheme}:{user}@{}", target.config.host),
            };
            let heading = Heading {
                request_uri: &registrar,
                identity: &identity,
                to: &identity,
                call_id: &call_id,
                cseq,
                contact_user: &user,
                is_sips: target.config.is_sips(),
                expires: Some(expires),
            };
            self.run_errand(id, place, Purpose::Register(expires), &heading);
        }
    }

    fn run_errand(&mut self, target: TargetId, place: Place, purpose: Purpose, heading: &Heading<'_>) {
        let Some(flow) = flow_to(&self.config, place) else {
            match purpose {
                // No listener of its address family, or none over UDP: a place like one where nobody listens.
                Purpose::Probe => self.trunks.report(self.now, target, place, Sign::Unreachable),
                Purpose::Register(_) => {
                    let sent = (None, heading.cseq);
                    self.trunks.register_over(self.now, &mut self.rng, target, sent, Outcome::Lost(503));
                }
            }
            return;
        };
        let Some(local) = self.ua.settings().locals.get(usize::from(flow.listener.0)).cloned() else { return };
        let flow = self.streams.toward(flow, target.number());
        let flow = self.streams.settle(flow);
        self.errands.last = self.errands.last.wrapping_add(1);
        let number = self.errands.last;
        let method = purpose.method();
        let (client, branch) = self.transactions.open(&mut self.rng, Owner::Errand(number));
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        let request = self.print_errand(&local, method, via, heading);
        let bytes = match self.account_of(target) {
            None => request.clone(),
            Some(account) => {
                let uri = heading.request_uri.as_bytes();
                let accounts = self.ua.accounts();
                let lines = accounts.credentials(account, &mut self.rng, place.remote, method.as_str(), uri);
                match Message::parse(request.clone()) {
                    Ok(message) if !lines.is_empty() => ua::with_credentials(self.ua.writer(), &message, &lines),
                    _ => request.clone(),
                }
            }
        };
        let cseq = heading.cseq;
        self.errands.sent.insert(number, Errand { purpose, target, place, flow, request, cseq, answers: 0 });
        let (_, mut parts) = self.parts();
        parts.ua.send(&mut parts.context, client, method, flow, bytes);
    }

    fn print_errand(
        &mut self,
        local: &ua::Local,
        method: Method,
        via: std::fmt::Arguments<'_>,
        heading: &Heading<'_>,
    ) -> Bytes {
        let (tag, product) = (self.rng.u64(), self.ua.settings().product.clone());
        let sent_by = local.sent_by();
        let writer = self.ua.writer();
        writer.request(method.as_str().as_bytes(), heading.request_uri.as_bytes());
        writer.header_fmt("Via", via);
        writer.header("Max-Forwards", b"70");
        match heading.identity {
            "" => writer.header_fmt("From", format_args!("<sip:{sent_by}>;tag=p{tag:016x}")),
            identity => writer.header_fmt("From", format_args!("<{identity}>;tag=p{tag:016x}")),
        };
        writer.header_fmt("To", format_args!("<{}>", heading.to));
        writer.header("Call-ID", heading.call_id.as_bytes());
        writer.header_fmt("CSeq", format_args!("{} {}", heading.cseq, method.as_str()));
        writer.header_fmt("Contact", format_args!("{}", local.contact(heading.contact_user, heading.is_sips)));
        match heading.expires {
            Some(expires) => writer.header_fmt("Expires", format_args!("{}", expires.as_secs())),
            None => writer.header("Accept", b"application/sdp"),
        };
        writer.header("User-Agent", product.as_bytes());
        writer.finish()
    }

    /// A response to a request of the node.
    pub(super) fn errand_answered(&mut self, number: u32, response: &Message) {
        if response.code() < 200 {
            return;
        }
        let Some(mut errand) = self.errands.sent.remove(&number) else { return };
        if matches!(response.code(), 401 | 407) && self.answer_errand(number, &mut errand, response) {
            self.errands.sent.insert(number, errand);
            return;
        }
        self.trunks.report(self.now, errand.target, errand.place, Sign::Alive(response.code()));
        if let (Some(account), 200..=299) = (self.account_of(errand.target), response.code()) {
            self.ua.accounts().succeeded(account, response);
        }
        if let Purpose::Register(asked) = errand.purpose {
            let outcome = match response.code() {
                200..=299 => Outcome::Granted(granted(response, &errand.request).unwrap_or(asked)),
                423 => Outcome::TooBrief(seconds(response.header(Name::MinExpires)).unwrap_or_default()),
                status => Outcome::Refused(status),
            };
            self.register_over(&errand, outcome);
        }
    }

    pub(super) fn errand_lost(&mut self, number: u32, sign: Sign) {
        let Some(errand) = self.errands.sent.remove(&number) else { return };
        self.trunks.report(self.now, errand.target, errand.place, sign);
        if sign == Sign::Silent {
            self.streams.leave(self.now, errand.flow, self.config.timers.t1 * 64);
        }
        if let Purpose::Register(_) = errand.purpose {
            let status = if sign == Sign::Silent { 408 } else { 503 };
            self.register_over(&errand, Outcome::Lost(status));
        }
    }

    fn register_over(&mut self, errand: &Errand, outcome: Outcome) {
        let trunk = self.trunks.target(errand.target).and_then(trunk::Target::trunk);
        let trunk =
            trunk.and_then(|trunk| self.config.trunk(trunk)).map(|trunk| trunk.name.clone()).unwrap_or_default();
        match outcome {
            Outcome::Granted(expires) => tracing::debug!(%trunk, seconds = expires.as_secs(), "registered at a trunk"),
            Outcome::TooBrief(_) => {}
            Outcome::Refused(status) | Outcome::Lost(status) => {
                tracing::warn!(%trunk, status, "registration at a trunk failed");
            }
        }
        let sent = (Some(errand.flow), errand.cseq);
        self.trunks.register_over(self.now, &mut self.rng, errand.target, sent, outcome);
        self.gauges_due.get_or_insert(self.now);
    }

    /// Sends an errand again with an answer to its challenge (§22.2); false when there is none, or enough were given.
    fn answer_errand(&mut self, number: u32, errand: &mut Errand, response: &Message) -> bool {
        let Some(account) = self.account_of(errand.target) else { return false };
        let learnt = self.ua.accounts().challenged(account, errand.place.remote, response);
        if !learnt.is_some_and(|learnt| errand.answers == 0 || (learnt.is_news && errand.answers < ANSWERS)) {
            return false;
        }
        let Ok(request) = Message::parse(errand.request.clone()) else { return false };
        let method = errand.purpose.method();
        let uri = request.request_uri();
        let accounts = self.ua.accounts();
        let lines = accounts.credentials(account, &mut self.rng, errand.place.remote, method.as_str(), uri);
        errand.flow = self.streams.settle(errand.flow);
        let flow = errand.flow;
        let Some(local) = self.ua.settings().locals.get(usize::from(flow.listener.0)).cloned() else { return false };
        let (client, branch) = self.transactions.open(&mut self.rng, Owner::Errand(number));
        (errand.cseq, errand.answers) = (errand.cseq.saturating_add(1), errand.answers + 1);
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        let bytes = ua::again(self.ua.writer(), &request, &lines, Some((via, errand.cseq)));
        let (_, mut parts) = self.parts();
        parts.ua.send(&mut parts.context, client, method, flow, bytes);
        true
    }

    fn account_of(&mut self, target: TargetId) -> Option<ua::AccountId> {
        let trunk = self.trunks.target(target)?.trunk()?;
        self.ua.accounts().of_trunk(trunk)
    }
}

/// How long the registrar keeps our Contact (§10.2.4): what it says of it, else its Expires.
fn granted(response: &Message, request: &Bytes) -> Option<Duration> {
    let request = Message::parse(request.clone()).ok()?;
    let ours = request.contact()?;
    let ours = Uri::parse(ours.uri).ok()?;
    let is_ours = |contact: &NameAddr<'_>| {
        let uri = Uri::parse(contact.uri);
        uri.is_ok_and(|uri| uri.user == ours.user && uri.host.text() == ours.host.text() && uri.port == ours.port)
    };
    let contacts = response.values(Name::Contact).filter_map(|value| NameAddr::parse(value).ok());
    let named = contacts.filter(is_ours).find_map(|contact| seconds(contact.params.value("expires")));
    named.or_else(|| seconds(response.header(Name::Expires)))
}

fn seconds(value: Option<&[u8]>) -> Option<Duration> {
    let seconds: u32 = std::str::from_utf8(value?).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// As the user part of a URI (RFC 3261 §25.1).
fn escaped(user: &str) -> CompactString {
    use std::fmt::Write as _;
    let mut text = CompactString::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
