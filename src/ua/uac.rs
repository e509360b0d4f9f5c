//! The side that calls: our INVITEs, what comes back, and the ACKs (RFC 3261 §13.2, §14.1).

use compact_str::CompactString;

use super::account::AccountId;
use super::content::{Content, Origin};
use super::leg::{Asking, Leg, Side, Stage, Uac};
use super::refresh::print_terms;
use super::sending::{Outgoing, send, send_ack};
use super::signing::{Signing, signed};
use super::uas::{finish, is_sips, tag_of};
use super::{CallId, Cause, Context, Event, LegId, Owner, Refusal, Ua};
use crate::dialog::{Dialog, Exchange};
use crate::sip::{Lines, Message, Method, Name};
use crate::transaction::{Branch, ClientId};
use crate::transport::Flow;

/// A first INVITE of ours, ready to be sent.
pub struct Invitation<'a> {
    pub flow: Flow,
    /// Later requests follow route set and Contact (trunks), or stay on `flow` (phones).
    pub follows_target: bool,
    pub request_uri: &'a [u8],
    /// From and To values without tag.
    pub from: &'a [u8],
    pub to: &'a [u8],
    pub contact_user: &'a str,
    /// Route values that lead to a phone behind proxies; mostly empty.
    pub path: &'a str,
    /// What challenges are answered with; `None`: not at all.
    pub account: Option<AccountId>,
}

/// Lines of an INVITE that each try of it prints anew.
const OF_EACH_TRY: [Name; 10] = [
    Name::Via,
    Name::MaxForwards,
    Name::Route,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::ContentLength,
    Name::SessionExpires,
    Name::MinSe,
];

impl Ua {
    /// Makes a leg for an INVITE that [`Ua::invite`] will send; its session description can be printed meanwhile.
    pub fn prepare(&mut self, context: &mut Context<'_>, call: CallId, invitation: &Invitation<'_>) -> LegId {
        let (random, session) = (context.rng.u64(), context.rng.u64());
        let call_id = format!("{:016x}{:016x}", context.rng.u64(), context.rng.u64());
        self.legs.insert_with_key(|id| {
            let tag = tag_of(id, random);
            let mut local = Vec::with_capacity(invitation.from.len() + 5 + tag.len());
            local.extend_from_slice(invitation.from);
            local.extend_from_slice(b";tag=");
            local.extend_from_slice(tag.as_bytes());
            let mut dialog =
                Dialog::to_target(call_id.as_bytes(), &local, tag.as_bytes(), invitation.to, invitation.request_uri);
            dialog.preload(invitation.path);
            Leg {
                call: Some(call),
                side: Side::Callee,
                stage: Stage::Inviting,
                dialog,
                forks: Vec::new(),
                flow: invitation.flow,
                follows_target: invitation.follows_target,
                contact_user: CompactString::from(invitation.contact_user),
                secure: invitation.flow.protocol.is_secure() && is_sips(invitation.request_uri),
                uas: None,
                uac: None,
                requests: smallvec::SmallVec::new(),
                asking: None,
                timer: None,
                notifier: None,
                min_se: 0,
                retries: 0,
                origin: Origin::new(session),
                farewell: None,
                ack_with_answer: None,
                signing: invitation.account.map(Signing::new),
            }
        })
    }

    /// Sends the first INVITE of a prepared leg to where its invitation said. `answers_early`: where it makes no offer, the
    /// answer to an offer in a reliable provisional response can be had.
    pub fn invite(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        lines: &Lines,
        content: Option<&Content>,
        answers_early: bool,
    ) {
        let reliable = answers_early || content.is_some_and(|content| !content.description.is_empty());
        self.send_invite(context, id, lines, content, true, reliable);
    }

    /// Sends an INVITE inside the dialog. `None`: another INVITE is under way on this leg (§14.1; CONFORMANCE OA-4).
    pub fn reinvite(&mut self, context: &mut Context<'_>, id: LegId, content: Option<&Content>) -> Option<ClientId> {
        if !self.may_reinvite(id) {
            return None;
        }
        self.send_invite(context, id, &Lines::default(), content, false, false)
    }

    /// True while neither an INVITE nor an offer is under way on this leg in either direction.
    pub fn may_reinvite(&self, id: LegId) -> bool {
        let free = |leg: &Leg| {
            let is_open = leg.uac.is_some() || leg.uas.is_some() || leg.exchange() != Exchange::Stable;
            !is_open && leg.stage == Stage::Confirmed
        };
        self.legs.get(id).is_some_and(free)
    }

    fn send_invite(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        lines: &Lines,
        content: Option<&Content>,
        first: bool,
        reliable: bool,
    ) -> Option<ClientId> {
        let leg = self.legs.get_mut(id)?;
        let flow = context.streams.settle(if first { leg.flow } else { leg.next_flow(context.streams) });
        let local = self.settings.locals.get(usize::from(flow.listener.0))?;
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        let cseq = leg.dialog.next_cseq();
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        leg.dialog.print_request(&mut self.writer, "INVITE", cseq, via);
        self.writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
        print_terms(&mut self.writer, &self.settings, leg, reliable);
        self.writer.header("User-Agent", self.settings.product.as_bytes());
        self.writer.lines(lines);
        let sent = finish(&mut self.writer, content);
        let mut bytes = sent.clone();
        if let Some(signing) = &mut leg.signing {
            let try_of = (client, Method::Invite, flow);
            bytes = signed(context, &mut self.accounts, &mut self.writer, signing, try_of, bytes);
        }
        let offer = content.map(|content| &content.description).filter(|description| !description.is_empty());
        if let Some(offer) = offer {
            leg.dialog.offers.sent(offer);
        }
        let (sent_at, offered) = (context.now, offer.is_some());
        leg.uac = Some(Uac { client, cseq, sent_at, first, offered, answered: false, own: false, sent });
        let request = Outgoing { client, method: Method::Invite, flow, bytes };
        send(context, &self.settings, leg.follows_target, request);
        Some(client)
    }

    /// 422 to our first INVITE: once more with the interval that the peer takes (RFC 4028 §7.3; CONFORMANCE ST-2). False when
    /// that is no way out.
    fn try_longer(&mut self, context: &mut Context<'_>, id: LegId, refusal: &Message) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let wanted = refusal.extensions().min_se.filter(|_| leg.call.is_some());
        let Some(min_se) = wanted.filter(|min_se| leg.takes_longer(*min_se)) else { return false };
        let Some(uac) = &mut leg.uac else { return false };
        let Ok(invite) = Message::parse(uac.sent.clone()) else { return false };
        let flow = context.streams.settle(leg.flow);
        let Some(local) = self.settings.locals.get(usize::from(flow.listener.0)) else { return false };
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        (uac.client, uac.sent_at) = (client, context.now);
        uac.cseq = leg.dialog.next_cseq();
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        leg.dialog.print_request(&mut self.writer, "INVITE", uac.cseq, via);
        self.writer.header_fmt("Session-Expires", format_args!("{}", min_se.max(self.settings.session.interval)));
        self.writer.header_fmt("Min-SE", format_args!("{min_se}"));
        for header in invite.headers().filter(|header| !OF_EACH_TRY.contains(&header.name)) {
            self.writer.copy_line(&header);
        }
        let mut bytes = self.writer.finish_body(invite.body());
        uac.sent = bytes.clone();
        if let Some(signing) = &mut leg.signing {
            let try_of = (client, Method::Invite, flow);
            bytes = signed(context, &mut self.accounts, &mut self.writer, signing, try_of, bytes);
        }
        let request = Outgoing { client, method: Method::Invite, flow, bytes };
        send(context, &self.settings, leg.follows_target, request);
        true
    }

    /// A response to a request of ours on leg `id`.
    pub fn responded(&mut self, context: &mut Context<'_>, id: LegId, client: ClientId, response: &Message) {
        if self.is_unknown_instead(context, id, response) {
            return self.unanswered(context, id, client, 503);
        }
        let Some(client) = self.known_as(context, id, client, Some(response)) else { return };
        let Some(leg) = self.legs.get_mut(id) else { return };
        let inviting = leg.uac.as_ref().filter(|uac| uac.client == client && !uac.answered).map(|uac| uac.first);
        let mended = inviting.and_then(|_| mended(leg, response));
        let response = mended.as_ref().unwrap_or(response);
        match (inviting, response.code()) {
            (Some(_), 100..=199) => self.provisional(context, id, response),
            (Some(first), 200..=299) => self.accepted(context, id, response, first),
            (Some(true), 422) if self.try_longer(context, id, response) => {}
            (Some(true), 300..) => self.failed(id, Refusal::of(response)),
            (Some(false), code @ 300..) => self.reinvite_refused(context, id, client, Some(response), code),
            (None, 200..=299) if response.method() == Method::Invite => self.accepted_again(context, id, response),
            (None, 200..) => self.request_done(context, id, client, Ok(response)),
            (_, _) => {}
        }
    }

    /// No response came in time, or none can come (RFC 3261 §8.1.3.1: as if 408, or 503).
    pub fn unanswered(&mut self, context: &mut Context<'_>, id: LegId, client: ClientId, status: u16) {
        let (current, is_alive) = (client, context.transactions.is_alive(client));
        let Some(client) = self.known_as(context, id, client, None) else { return };
        let Some(leg) = self.legs.get(id) else { return };
        match leg.uac.as_ref().filter(|uac| uac.client == client).map(|uac| uac.first) {
            // A datagram that nobody was there to hear; if somebody is there now, it must not ring (SPEC §5).
            Some(true) if is_alive => {
                self.report(id, Event::Failed { refusal: Refusal::new(status) });
                self.abort_invite(context, id, None);
            }
            Some(true) => self.failed(id, Refusal::new(status)),
            Some(false) => {
                // What it may be answered yet is acknowledged: for want of an ACK its peer would hang up (RFC 3261 §13.3.1.4).
                context.transactions.cancel(context.now, current, None, context.out);
                self.reinvite_refused(context, id, client, None, status);
            }
            None => self.request_done(context, id, client, Err(status)),
        }
    }

    fn provisional(&mut self, context: &mut Context<'_>, id: LegId, response: &Message) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if leg.call.is_none() {
            self.abort_invite(context, id, None);
            return;
        }
        if leg.uac.as_ref().is_some_and(|uac| uac.first) {
            self.ringing(id, response);
        }
    }

    fn accepted(&mut self, context: &mut Context<'_>, id: LegId, response: &Message, first: bool) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if first {
            confirm_dialog(leg, response);
            leg.stage = Stage::Confirmed;
        } else {
            leg.dialog.refresh_target(response);
        }
        let Some(uac) = &mut leg.uac else { return };
        uac.answered = true;
        let (client, own) = (uac.client, uac.own);
        let described = Content::description_of(response).filter(|_| !(first && leg.dialog.negotiated));
        let is_new = described.as_ref().is_some_and(|described| described != leg.theirs());
        if let Some(description) = described {
            leg.dialog.offers.received(description);
        } else if leg.exchange() == Exchange::OfferSent {
            // A peer that answered in an unreliable 18x only, or not at all (RFC 6337 §3.1.1).
            let before = leg.theirs().clone();
            leg.dialog.offers.received(before);
        }
        let extensions = response.extensions();
        leg.dialog.takes_update |= extensions.update;
        // The ACK waits for the answer of the other leg where the 2xx made the offer (CONFORMANCE OA-2).
        if leg.exchange() != Exchange::OfferReceived || leg.call.is_none() {
            self.acknowledge(context, id, None);
        }
        self.refreshed(context.now, id, &extensions);
        if own {
            self.report(id, Event::Alive);
            if is_new {
                self.report(id, Event::Changed);
            }
            return;
        }
        // RFC 6026 §7.2, CONFORMANCE CA-3: the late answer to an abandoned call is ended at once.
        if self.legs.get(id).is_some_and(|leg| leg.call.is_none()) {
            self.hang_up(context, id, Some(b"SIP;cause=487;text=\"Call abandoned\""));
            return;
        }
        self.report(
            id,
            match first {
                true => Event::Answered { message: response.clone() },
                false => Event::Reply { client, message: Ok(response.clone()) },
            },
        );
    }

    /// A repeated 2xx gets its ACK again; one from another fork gets ACK and BYE (CONFORMANCE TX-5, TX-14).
    fn accepted_again(&mut self, context: &mut Context<'_>, id: LegId, response: &Message) {
        let Some(leg) = self.legs.get(id) else { return };
        // A peer of RFC 2543 may have no tag at all.
        if response.to_tag().unwrap_or_default() != leg.dialog.remote_tag() {
            self.end_fork(context, id, response);
        } else if leg.uac.is_none() {
            match leg.ack_with_answer.as_ref().filter(|(cseq, _)| *cseq == response.cseq()) {
                Some((_, bytes)) => {
                    let (flow, bytes) = (context.streams.settle(leg.next_flow(context.streams)), bytes.clone());
                    send_ack(context, &self.settings, leg, flow, bytes);
                }
                None => self.send_ack(context, id, response.cseq(), None),
            }
        }
    }

    /// Acknowledges the 2xx that waits for it; with the answer, where the peer made the offer (CONFORMANCE OA-2).
    pub fn acknowledge(&mut self, context: &mut Context<'_>, id: LegId, content: Option<&Content>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(uac) = leg.uac.take_if(|uac| uac.answered) else { return };
        match content {
            Some(content) => leg.dialog.offers.sent(&content.description),
            None if leg.exchange() == Exchange::OfferReceived => leg.dialog.offers.abandoned(),
            None => {}
        }
        self.send_ack(context, id, uac.cseq, content);
    }

    fn send_ack(&mut self, context: &mut Context<'_>, id: LegId, cseq: u32, content: Option<&Content>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let flow = context.streams.settle(leg.next_flow(context.streams));
        let Some(local) = self.settings.locals.get(usize::from(flow.listener.0)) else { return };
        let branch = Branch::of_ack(context.rng);
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        leg.dialog.print_request(&mut self.writer, "ACK", cseq, via);
        if let Some(lines) = leg.signing.as_ref().and_then(|signing| signing.of_ack(&self.accounts, flow.remote)) {
            self.writer.lines(lines);
        }
        let bytes = finish(&mut self.writer, content);
        if content.is_some() {
            leg.ack_with_answer = Some((cseq, bytes.clone()));
        }
        send_ack(context, &self.settings, leg, flow, bytes);
    }

    /// ACK and BYE to an answer that came from another branch of a forking trunk.
    fn end_fork(&mut self, context: &mut Context<'_>, id: LegId, response: &Message) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let mut fork = leg.dialog.fork(response.cseq(), false);
        fork.establish(response);
        // One that sent reliable provisional responses has seen more requests of ours.
        if let Some(known) = leg.forks.iter().find(|known| known.remote_tag() == fork.remote_tag()) {
            fork.skip_to(known);
        }
        let flow = context.streams.settle(leg.flow_of(&fork, context.streams));
        let Some(local) = self.settings.locals.get(usize::from(flow.listener.0)) else { return };
        let (token, sent_by) = (flow.protocol.via_token(), local.sent_by());
        let branch = Branch::of_ack(context.rng);
        let via = format_args!("SIP/2.0/{token} {sent_by};branch={branch};rport");
        fork.print_request(&mut self.writer, "ACK", response.cseq(), via);
        if let Some(lines) = leg.signing.as_ref().and_then(|signing| signing.of_ack(&self.accounts, flow.remote)) {
            self.writer.lines(lines);
        }
        context.out.push(crate::transport::Transmit { flow, bytes: self.writer.finish() });
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        let cseq = fork.next_cseq();
        let via = format_args!("SIP/2.0/{token} {sent_by};branch={branch};rport");
        fork.print_request(&mut self.writer, "BYE", cseq, via);
        let mut bytes = self.writer.finish();
        if let Some(signing) = &mut leg.signing {
            let bye = (client, Method::Bye, flow);
            bytes = signed(context, &mut self.accounts, &mut self.writer, signing, bye, bytes);
        }
        let request = Outgoing { client, method: Method::Bye, flow, bytes };
        send(context, &self.settings, leg.follows_target, request);
    }

    fn failed(&mut self, id: LegId, refusal: Refusal) {
        self.report(id, Event::Failed { refusal });
        self.legs.remove(id);
    }

    /// `status` tells a peer that is silent (408) from a transport that failed (503).
    fn reinvite_refused(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        client: ClientId,
        response: Option<&Message>,
        status: u16,
    ) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.dialog.offers.abandoned();
        if leg.uac.take().is_some_and(|uac| uac.own) {
            return self.asked(context, id, response.ok_or(status));
        }
        self.report(id, Event::Reply { client, message: response.cloned().ok_or(status) });
        // RFC 3261 §12.2.1.2; CONFORMANCE DI-12. A lost connection ends no dialog: the phone may come back over another.
        if matches!(status, 408 | 481) {
            self.gone(context, id, status);
        }
    }

    pub(super) fn gone(&mut self, context: &mut Context<'_>, id: LegId, status: u16) {
        let reason = Refusal::new(status).as_reason();
        self.hang_up(context, id, Some(&reason));
        self.report(id, Event::Ended { reason: Some(reason), cause: Cause::Gone });
    }

    /// Takes back our first INVITE. The leg goes its own way from here: a late answer is acknowledged and hung up.
    pub(super) fn abort_invite(&mut self, context: &mut Context<'_>, id: LegId, reason: Option<&[u8]>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.call = None;
        if let Some(uac) = &leg.uac {
            let first = uac.client;
            self.withdraw(context, id, first, reason);
        }
    }

    /// A finished request of ours other than INVITE.
    fn request_done(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(at) = leg.requests.iter().position(|request| request.client == client) else { return };
        let Asking { method, offered, .. } = leg.requests.remove(at);
        if method == Method::Notify {
            self.notified(context, id, client, response);
            return self.bury(id);
        }
        if leg.stage == Stage::Ending {
            return self.bury(id);
        }
        if leg.asking == Some(client) {
            if let Some(response) = response.ok().filter(|response| response.code() < 300 && method == Method::Update) {
                leg.dialog.refresh_target(response);
            }
            return self.asked(context, id, response);
        }
        if matches!(method, Method::Prack | Method::Update) {
            self.settle_offer(context, id, offered, response);
        }
        self.report(id, Event::Reply { client, message: response.cloned() });
        let status = response.map_or_else(|status| status, Message::code);
        if method == Method::Update && matches!(status, 408 | 481) {
            self.gone(context, id, status);
        }
    }

    /// What the answer to a PRACK or UPDATE of ours does to the offer in it (RFC 3262 §5, RFC 3311 §5.3).
    fn settle_offer(&mut self, context: &mut Context<'_>, id: LegId, offered: bool, response: Result<&Message, u16>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let tag = response.ok().and_then(Message::to_tag).unwrap_or(leg.dialog.remote_tag()).to_vec();
        let Some(dialog) = leg.dialog_with(&tag) else { return };
        let accepted = response.ok().filter(|response| response.code() < 300);
        if offered && dialog.offers.exchange() == Exchange::OfferSent {
            match accepted.and_then(Content::description_of) {
                Some(answer) => dialog.offers.received(answer),
                None => dialog.offers.abandoned(),
            }
        }
        if let Some(response) = accepted.filter(|response| response.method() == Method::Update) {
            dialog.refresh_target(response);
            self.refreshed(context.now, id, &response.extensions());
        }
    }
}

/// The 2xx to a forked INVITE makes its branch the dialog of the leg (RFC 3261 §13.2.2.4).
fn confirm_dialog(leg: &mut Leg, response: &Message) {
    let tag = response.to_tag().unwrap_or_default();
    if !leg.dialog.remote_tag().is_empty() && leg.dialog.remote_tag() != tag {
        let offered = leg.uac.as_ref().is_some_and(|uac| uac.offered);
        match leg.forks.iter_mut().find(|fork| fork.remote_tag() == tag) {
            Some(fork) => std::mem::swap(fork, &mut leg.dialog),
            None => {
                let fork = leg.dialog.fork(response.cseq(), offered);
                leg.forks.push(std::mem::replace(&mut leg.dialog, fork));
            }
        }
    }
    leg.dialog.establish(response);
}

/// What a peer says of its media in an answer, put right where that can be done: nobody can ask it for another.
fn mended(leg: &Leg, response: &Message) -> Option<Message> {
    let code = response.code();
    let fault = Some(response).filter(|_| (101..=299).contains(&code)).and_then(Content::refusal_of)?.warning;
    let mended = crate::sip::mended(response).filter(|mended| Content::description_of(mended).is_some())?;
    let (source, fault) = (leg.flow(), fault.unwrap_or_default());
    tracing::warn!(%source, code, %fault, "a malformed session description was put right: the call goes on");
    Some(mended)
}
