//! What one leg remembers: its dialog, where it is in its life, and the INVITEs not yet finished on it.

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use super::content::Origin;
use super::notifier::Notifier;
use super::reliable::Reliable;
use super::signing::Signing;
use super::{CallId, Owner};
use crate::base::{Instant, Protocol, limits, network};
use crate::dialog::{Dialog, Exchange, SessionTimer};
use crate::sip::{Extensions, Message, Method, Uri};
use crate::transaction::{ClientId, ServerId, Transactions};
use crate::transport::{Flow, Streams};

/// Which end began the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer called us: UAS of the first INVITE.
    Caller,
    /// We called the peer: UAC of the first INVITE.
    Callee,
}

/// Where a leg is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An INVITE without a final answer yet, theirs or ours.
    Inviting,
    /// Our 2xx is out, its ACK has not come.
    Answered,
    /// Both ends know that the session stands.
    Confirmed,
    /// Our BYE is out; only its answer, or a crossing BYE, is still expected (CONFORMANCE DI-6, DI-9).
    Ending,
}

/// A peer that wants a longer session each time is followed so often: there may be several, each with its own.
const RETRIES: u8 = 3;

/// One end of a call.
pub struct Leg {
    /// `None`: abandoned; it ends itself.
    pub(super) call: Option<CallId>,
    pub(super) side: Side,
    pub(super) stage: Stage,
    pub(super) dialog: Dialog,
    /// The other early dialogs of our forked INVITE; those that sent reliable provisional responses (CONFORMANCE PR-5).
    pub(super) forks: Vec<Dialog>,
    /// Where the peer was reached or came from.
    pub(super) flow: Flow,
    /// Requests follow the route set and the peer's Contact (trunks), or stay on `flow` (phones behind NAT; CONFORMANCE NA-1).
    pub(super) follows_target: bool,
    /// User part of our Contact on this leg.
    pub(super) contact_user: CompactString,
    /// The dialog was begun with a sips URI over TLS, so our Contact is one too (RFC 3261 §8.1.1.8, §12.1.1).
    pub(super) secure: bool,
    /// Their INVITE, until its ACK.
    pub(super) uas: Option<Uas>,
    /// Our INVITE, until its final answer is acknowledged.
    pub(super) uac: Option<Uac>,
    /// Our other requests inside the dialog that wait for an answer.
    pub(super) requests: SmallVec<[Asking; 1]>,
    /// The one among them that only asks whether the peer is there, or refreshes the session.
    pub(super) asking: Option<ClientId>,
    pub(super) timer: Option<SessionTimer>,
    /// The subscription of a REFER on this leg.
    pub(super) notifier: Option<Box<Notifier>>,
    /// The largest Min-SE the peer named, in seconds (RFC 4028 §7.4).
    pub(super) min_se: u32,
    /// How often it was followed at once.
    pub(super) retries: u8,
    pub(super) origin: Origin,
    /// Hang up with this reason as soon as the ACK comes (RFC 3261 §15: no BYE before it).
    pub(super) farewell: Option<Option<Bytes>>,
    /// An ACK that carried an answer, for a repeated 2xx (CONFORMANCE TX-5, OA-2).
    pub(super) ack_with_answer: Option<(u32, Bytes)>,
    /// Toward a trunk that we have credentials for.
    pub(super) signing: Option<Box<Signing>>,
}

/// A request of ours other than INVITE that waits for its answer.
pub(super) struct Asking {
    pub client: ClientId,
    pub method: Method,
    /// It made an offer.
    pub offered: bool,
}

/// An INVITE of the peer in progress.
pub(super) struct Uas {
    pub server: ServerId,
    pub cseq: u32,
    pub first: bool,
    pub answer: Option<Answer>,
    /// What the INVITE says of extensions.
    pub asked: Extensions,
    /// Its peer takes reliable provisional responses; first INVITEs only.
    pub reliable: Option<Box<Reliable>>,
}

/// A 2xx of ours that waits for its ACK (RFC 3261 §13.3.1.4).
pub(super) struct Answer {
    pub bytes: Bytes,
    pub interval: std::time::Duration,
    pub next: Instant,
    pub give_up: Instant,
}

/// An INVITE of ours in progress.
pub(super) struct Uac {
    pub client: ClientId,
    pub cseq: u32,
    /// When it was sent last, as a request of its own: anew after a challenge, or with a longer session interval.
    pub sent_at: Instant,
    pub first: bool,
    /// We made the offer.
    pub offered: bool,
    /// The 2xx is here; the ACK waits for the answer of the other leg.
    pub answered: bool,
    /// It refreshes the session, and nobody else hears of it.
    pub own: bool,
    /// As it was sent, for another try after 422.
    pub sent: Bytes,
}

impl Leg {
    /// The call it belongs to.
    pub fn call(&self) -> Option<CallId> {
        self.call
    }

    /// True toward a trunk or a PBX, false toward a phone.
    pub fn is_server(&self) -> bool {
        self.follows_target
    }

    /// True when proxies stand between us and the peer, as far as they have said so.
    pub fn is_behind_proxy(&self) -> bool {
        self.dialog.has_routes()
    }

    pub fn side(&self) -> Side {
        self.side
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Takes the Min-SE of a 422; true when the request is worth another try at once (RFC 4028 §7.3, §7.4).
    pub(super) fn takes_longer(&mut self, min_se: u32) -> bool {
        let is_longer = min_se > self.min_se && self.retries < RETRIES;
        self.min_se = self.min_se.max(min_se);
        self.retries += u8::from(is_longer);
        is_longer
    }

    /// True while the ACK to the 2xx to our INVITE waits for the other leg.
    pub fn awaits_ack(&self) -> bool {
        self.uac.as_ref().is_some_and(|uac| uac.answered)
    }

    /// When our INVITE under way was sent last: one that was refused and is asked again differently has its time anew.
    pub fn invited_at(&self) -> Option<Instant> {
        self.uac.as_ref().map(|uac| uac.sent_at)
    }

    /// Over what our INVITE under way went.
    pub fn invited_over(&self, transactions: &Transactions<Owner>) -> Option<Flow> {
        transactions.flow_of(self.current(self.uac.as_ref()?.client))
    }

    /// True when our INVITE is so long that its datagrams travel in fragments, which many networks lose.
    pub fn invites_in_fragments(&self) -> bool {
        self.datagram_bytes() > limits::DATAGRAM_REQUEST_BYTES
    }

    /// True when it is longer than any datagram.
    pub fn invites_beyond_datagrams(&self) -> bool {
        self.datagram_bytes() > limits::DATAGRAM_BYTES
    }

    fn datagram_bytes(&self) -> usize {
        let uac = self.uac.as_ref().filter(|_| self.flow.protocol == Protocol::Udp);
        uac.map_or(0, |uac| uac.sent.len())
    }

    /// True while the caller's INVITE, or ours, is not answered.
    pub fn is_early(&self) -> bool {
        self.stage == Stage::Inviting
    }

    /// True when the exchange of the first INVITE began in a reliable provisional response.
    pub fn is_negotiated(&self) -> bool {
        self.dialog.negotiated
    }

    /// True when there is a dialog, and no answer yet (RFC 3261 §12.1).
    pub fn has_early_dialog(&self) -> bool {
        self.stage == Stage::Inviting && !self.dialog.remote_tag().is_empty()
    }

    pub fn exchange(&self) -> Exchange {
        self.dialog.offers.exchange()
    }

    /// Who the peer is: its From or To value, its target, the Call-ID.
    pub fn peer(&self) -> (&[u8], &[u8], &[u8]) {
        self.dialog.peer()
    }

    /// True when `description` is what the peer was told of the other side, but for the origin line.
    pub fn holds(&self, description: &[u8]) -> bool {
        super::content::is_same(self.dialog.offers.ours(), description)
    }

    /// The peer's offer that we have not answered.
    pub fn offer(&self) -> Option<&Bytes> {
        (self.exchange() == Exchange::OfferReceived).then(|| self.dialog.offers.pending())
    }

    /// What the peer was offered last, or was told: what it says of its streams is about those.
    pub fn told(&self) -> &Bytes {
        match self.exchange() {
            Exchange::OfferSent => self.dialog.offers.pending(),
            Exchange::Stable | Exchange::OfferReceived => self.dialog.offers.ours(),
        }
    }

    /// Our description that holds; empty when there is none.
    pub fn ours(&self) -> &Bytes {
        self.dialog.offers.ours()
    }

    /// The peer's description that holds; empty when none is known.
    pub fn theirs(&self) -> &Bytes {
        self.dialog.offers.theirs()
    }

    /// True when something is due at `at`: the session timer, or a repetition of the 2xx or of the provisional response.
    pub(super) fn is_due(&self, at: Instant) -> bool {
        let repeated = self.uas.as_ref().is_some_and(|uas| {
            let provisional = uas.reliable.as_ref().and_then(|reliable| reliable.next());
            uas.answer.as_ref().is_some_and(|answer| answer.next == at) || provisional == Some(at)
        });
        repeated || self.timer.is_some_and(|timer| timer.due == at)
    }

    /// A target refresh (RFC 3261 §12.2.2): the peer's Contact, and of a phone the place it now sends from.
    pub(super) fn follow(&mut self, request: &Message, flow: Flow) {
        self.dialog.refresh_target(request);
        if self.follows_target || self.is_detour(request, flow) {
            return;
        }
        let listener = if flow.protocol == self.flow.protocol { self.flow.listener } else { flow.listener };
        self.flow = Flow { listener, ..flow };
    }

    /// True where a phone that is reached by datagrams has opened a connection for what is too long for one (RFC 3261 §18.1.1): it
    /// closes that soon, and does not name it in its Contact.
    fn is_detour(&self, request: &Message, flow: Flow) -> bool {
        let is_same_host = flow.remote.ip().to_canonical() == self.flow.remote.ip().to_canonical();
        let named = request.contact().and_then(|contact| Uri::parse(contact.uri).ok()?.transport());
        is_same_host && flow.protocol.is_reliable() && !self.flow.protocol.is_reliable() && named != Some(flow.protocol)
    }

    /// The dialog a request of the peer belongs to: the leg's, or while our INVITE forks, one of the others.
    pub(super) fn dialog_of(&mut self, request: &Message) -> Option<&mut Dialog> {
        if self.dialog.owns(request) {
            return Some(&mut self.dialog);
        }
        self.forks.iter_mut().find(|fork| fork.owns(request))
    }

    /// The dialog with the peer's `tag`.
    pub(super) fn dialog_with(&mut self, tag: &[u8]) -> Option<&mut Dialog> {
        if self.dialog.remote_tag() == tag {
            return Some(&mut self.dialog);
        }
        self.forks.iter_mut().find(|fork| fork.remote_tag() == tag)
    }

    /// Where the next request inside the dialog goes (RFC 3261 §12.2.1.1, §8.1.2).
    pub fn next_flow(&self, streams: &Streams) -> Flow {
        self.flow_of(&self.dialog, streams)
    }

    /// The same for `dialog`: this leg's, or that of another branch of its forked INVITE.
    pub(super) fn flow_of(&self, dialog: &Dialog, streams: &Streams) -> Flow {
        // To a browser there is no way but its own connection (RFC 7118 §3).
        if !self.follows_target || self.flow.protocol.is_web_socket() {
            return self.flow;
        }
        let Ok(uri) = Uri::parse(dialog.next_hop()) else { return self.flow };
        let named = uri.transport();
        // A name is not looked up for this, and no way leads into a network behind a NAT: what is there is where it came from.
        let Some(ip) = uri.host.ip().filter(|ip| !network::is_inner(*ip, self.flow.remote.ip())) else {
            let port = uri.port.filter(|_| named.is_none_or(|named| named == self.flow.protocol));
            return self.flow_back(port, streams);
        };
        // What goes to a trunk under TLS stays under TLS, whatever its Contact says of transports.
        if self.flow.protocol.is_secure() && named.is_some_and(|named| !named.is_secure()) {
            return self.flow;
        }
        // A peer that names no transport and sits where we already talk to it is kept on its connection.
        let protocol = named.unwrap_or(if ip == self.flow.remote.ip() { self.flow.protocol } else { Protocol::Udp });
        if protocol.is_reliable() && protocol == self.flow.protocol && ip == self.flow.remote.ip() {
            // Once its connection is gone it listens where it says, not on the port it called from (RFC 3261 §18.1.1).
            let listens = uri.port.is_none() && self.side == Side::Callee;
            if listens || streams.existing(self.flow).is_some() {
                return self.flow;
            }
        }
        let port = uri.port.unwrap_or_else(|| protocol.default_port());
        let remote = (ip, port).into();
        let same_family = ip.is_ipv4() == self.flow.remote.is_ipv4();
        let connection = self.flow.connection.filter(|_| same_family && protocol == self.flow.protocol);
        let own = same_family.then_some(self.flow.listener);
        // Of the other family: where we have none, where we know the peer to be.
        let Some(listener) = own.or_else(|| streams.listener_toward(protocol, ip)) else { return self.flow };
        Flow { protocol, listener, remote, connection }
    }

    /// To where the peer came from; once a connection that it had opened is gone, to the port on which it listens there.
    fn flow_back(&self, port: Option<u16>, streams: &Streams) -> Flow {
        let mut flow = self.flow;
        if self.side == Side::Caller && flow.protocol.is_reliable() && streams.existing(flow).is_none() {
            flow.remote.set_port(port.unwrap_or(flow.protocol.default_port()));
        }
        flow
    }
}
