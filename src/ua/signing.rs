//! Requests to a trunk that wants to know who we are: sent with credentials, and again when they were asked for
//! (RFC 3261 §22.2, §8.1.3.5; CONFORMANCE AU-3).
//!
//! The floors above know a request by the transaction it was first sent in, whatever became of it.

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::account::{AccountId, Accounts};
use super::leg::{Leg, Stage};
use super::sending::{Outgoing, send};
use super::{Context, LegId, Owner, Ua};
use crate::dialog::Dialog;
use crate::sip::{Lines, Message, Method, Name, Writer};
use crate::transaction::ClientId;
use crate::transport::Flow;

/// Answers to challenges of one request.
const ANSWERS: u8 = 2;
/// Requests of one leg that may still be challenged; older ones will not be.
const PENDING: usize = 8;

/// What a leg toward a trunk with credentials remembers.
pub(super) struct Signing {
    account: AccountId,
    pending: SmallVec<[Pending; 2]>,
    /// Those of the last INVITE.
    credentials: Lines,
}

/// A request of ours without a final answer.
pub(super) struct Pending {
    first: ClientId,
    current: ClientId,
    method: Method,
    flow: Flow,
    bytes: Bytes,
    answers: u8,
    withdrawn: bool,
}

impl Signing {
    pub(super) fn new(account: AccountId) -> Box<Self> {
        Box::new(Self { account, pending: SmallVec::new(), credentials: Lines::default() })
    }

    /// What the ACK of a 2xx repeats of its INVITE (RFC 3261 §22.1); not to where another trunk is.
    pub(super) fn of_ack(&self, accounts: &Accounts, remote: SocketAddr) -> Option<&Lines> {
        accounts.may_see(self.account, remote).then_some(&self.credentials)
    }
}

impl Leg {
    /// The transaction in which the request first sent in `first` is now.
    pub(super) fn current(&self, first: ClientId) -> ClientId {
        let pending = self.signing.iter().flat_map(|signing| &signing.pending);
        pending.into_iter().find(|pending| pending.first == first).map_or(first, |pending| pending.current)
    }
}

/// The request with the credentials known for its account, and remembered in case they are not enough.
pub(super) fn signed(
    context: &mut Context<'_>,
    accounts: &mut Accounts,
    writer: &mut Writer,
    signing: &mut Signing,
    (client, method, flow): (ClientId, Method, Flow),
    bytes: Bytes,
) -> Bytes {
    let Ok(request) = Message::parse(bytes.clone()) else { return bytes };
    let lines = accounts.credentials(signing.account, context.rng, flow.remote, method.as_str(), request.request_uri());
    let signed = if lines.is_empty() { bytes.clone() } else { with_credentials(writer, &request, &lines) };
    if method == Method::Invite {
        signing.credentials = lines;
        signing.pending.retain(|pending| pending.method != Method::Invite);
    }
    if signing.pending.len() >= PENDING {
        signing.pending.remove(0);
    }
    let (first, current) = (client, client);
    signing.pending.push(Pending { first, current, method, flow, bytes, answers: 0, withdrawn: false });
    signed
}

/// `request` with credentials in place of those it has.
pub fn with_credentials(writer: &mut Writer, request: &Message, credentials: &Lines) -> Bytes {
    again(writer, request, credentials, None)
}

/// `request` as a new one of the same dialog: other branch, other CSeq (RFC 3261 §22.2).
pub fn again(
    writer: &mut Writer,
    request: &Message,
    credentials: &Lines,
    next: Option<(std::fmt::Arguments<'_>, u32)>,
) -> Bytes {
    writer.request(request.method_name(), request.request_uri());
    for header in request.headers() {
        match (header.name, next) {
            (Name::Via, Some((via, _))) => writer.header_fmt("Via", via),
            (Name::CSeq, Some((_, cseq))) => {
                writer.header_fmt("CSeq", format_args!("{cseq} {}", request.method().as_str()))
            }
            (Name::Authorization | Name::ProxyAuthorization | Name::ContentLength, _) => writer,
            (_, _) => writer.copy_line(&header),
        };
    }
    writer.lines(credentials);
    writer.finish_body(request.body())
}

impl Ua {
    /// The accounts at the trunks.
    pub fn accounts(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// From now on challenges to our requests on this leg are answered with these credentials.
    pub fn sign_as(&mut self, id: LegId, account: Option<AccountId>) {
        if let (Some(leg), Some(account)) = (self.legs.get_mut(id), account) {
            leg.signing = Some(Signing::new(account));
        }
    }

    /// Takes back an INVITE of ours inside the dialog, or the first one.
    pub fn withdraw(&mut self, context: &mut Context<'_>, id: LegId, first: ClientId, reason: Option<&[u8]>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let current = leg.current(first);
        let pending = leg.signing.iter_mut().flat_map(|signing| &mut signing.pending);
        pending.filter(|pending| pending.first == first).for_each(|pending| pending.withdrawn = true);
        context.transactions.cancel(context.now, current, reason, context.out);
    }

    /// The transaction by which the floors above know the request that `response` is for; `None` when it was a challenge,
    /// and is answered.
    pub(super) fn known_as(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        client: ClientId,
        response: Option<&Message>,
    ) -> Option<ClientId> {
        let Some(signing) = self.legs.get_mut(id).and_then(|leg| leg.signing.as_mut()) else { return Some(client) };
        let Some(at) = signing.pending.iter().position(|pending| pending.current == client) else {
            return Some(client);
        };
        let first = signing.pending.get(at).map_or(client, |pending| pending.first);
        match response.map(Message::code) {
            Some(100..=199) => Some(first),
            Some(401 | 407) if response.is_some_and(|response| self.answer_challenge(context, id, at, response)) => {
                None
            }
            Some(code) => {
                let account = signing_account(self.legs.get_mut(id), at, code >= 200);
                if let (Some(account), Some(response), 200..=299) = (account, response, code) {
                    self.accounts.succeeded(account, response);
                }
                Some(first)
            }
            None => {
                signing_account(self.legs.get_mut(id), at, true);
                Some(first)
            }
        }
    }

    /// Sends the request again with an answer to its challenge; false when there is none, or enough were given.
    fn answer_challenge(&mut self, context: &mut Context<'_>, id: LegId, at: usize, response: &Message) -> bool {
        let Self { legs, accounts, settings, writer, .. } = self;
        let Some(leg) = legs.get_mut(id) else { return false };
        let is_abandoned = leg.call.is_none() && leg.stage == Stage::Inviting;
        let Some(signing) = leg.signing.as_mut().filter(|_| !is_abandoned) else { return false };
        let account = signing.account;
        let Some(pending) = signing.pending.get_mut(at).filter(|pending| !pending.withdrawn) else { return false };
        let learnt = accounts.challenged(account, pending.flow.remote, response);
        // The first challenge is always worth an answer; after that only one that says what was wrong (§22.2).
        if !learnt.is_some_and(|learnt| pending.answers == 0 || (learnt.is_news && pending.answers < ANSWERS)) {
            return false;
        }
        let Ok(request) = Message::parse(pending.bytes.clone()) else { return false };
        let flow = context.streams.settle(pending.flow);
        let Some(local) = settings.locals.get(usize::from(flow.listener.0)) else { return false };
        let credentials =
            accounts.credentials(account, context.rng, flow.remote, pending.method.as_str(), request.request_uri());
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        (pending.current, pending.flow, pending.answers) = (client, flow, pending.answers + 1);
        let (method, first) = (pending.method, pending.first);
        // Each branch of a fork counts for itself (§12.2.1.1); one that was only hung up is not kept.
        let dialog = match request.to_tag() {
            None => Some(&mut leg.dialog),
            Some(tag) => leg.dialog_with(tag),
        };
        let cseq = dialog.map_or(request.cseq().saturating_add(1), Dialog::next_cseq);
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        let bytes = again(writer, &request, &credentials, Some((via, cseq)));
        if let (Method::Invite, Some(signing)) = (method, &mut leg.signing) {
            signing.credentials = credentials;
            let again = leg.uac.iter_mut().filter(|uac| uac.client == first);
            again.for_each(|uac| (uac.cseq, uac.sent_at) = (cseq, context.now));
        }
        send(context, settings, leg.follows_target, Outgoing { client, method, flow, bytes });
        true
    }
}

/// Whose request it was; a finished one is forgotten.
fn signing_account(leg: Option<&mut Leg>, at: usize, is_over: bool) -> Option<AccountId> {
    let signing = leg?.signing.as_mut()?;
    // An answered INVITE stays for its repeated 2xx, until the next one.
    if is_over && signing.pending.get(at).is_some_and(|pending| pending.method != Method::Invite) {
        signing.pending.remove(at);
    }
    Some(signing.account)
}
