//! Requests inside an established dialog, from the peer and from us (RFC 3261 §12.2, §14, §15).

use bytes::Bytes;

use super::content::{Content, Unacceptable};
use super::leg::{Asking, Leg, Stage, Uas};
use super::refresh::{print_grant, print_terms};
use super::sending::{Outgoing, send};
use super::signing::signed;
use super::uas::finish;
use super::{Cause, Context, Event, LegId, Owner, Refusal, Ua};
use crate::dialog::{Exchange, Keeper, Order};
use crate::sip::{self, Lines, Message, Method, Name};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;

impl Ua {
    /// The leg a request belongs to by its dialog identifiers (§12.2.2; CONFORMANCE DI-5, AU-4).
    pub fn leg_of(&self, request: &Message) -> Option<LegId> {
        let id = super::uas::leg_of_tag(request.to_tag()?)?;
        let leg = self.legs.get(id)?;
        let is_its = leg.dialog.owns(request) || leg.forks.iter().any(|fork| fork.owns(request));
        is_its.then_some(id)
    }

    /// A request of the peer inside the dialog of leg `id`; never ACK or CANCEL.
    pub fn requested(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        self.find(context, id, flow);
        let Some(dialog) = self.legs.get_mut(id).and_then(|leg| leg.dialog_of(request)) else { return };
        if dialog.advance(request.cseq()) == Order::OutOfOrder {
            self.reply(context, server, request, flow, &Refusal::warn(500, "CSeq lower than seen in this dialog"));
            return;
        }
        match request.method() {
            Method::Bye => self.bye(context, id, server, request, flow),
            Method::Invite => self.reinvited(context, id, server, request, flow),
            Method::Update => self.updated(context, id, server, request, flow),
            Method::Prack => self.pracked(context, id, server, request, flow),
            Method::Info | Method::Message | Method::Refer => self.carried(context, id, server, request, flow),
            Method::Options => self.reply_ok(context, server, request, flow),
            method => {
                let status = if method == Method::Other { 501 } else { 405 };
                self.reply(context, server, request, flow, &Refusal::new(status));
            }
        }
    }

    /// A phone that speaks over another connection, its own being gone, is there now (CONFORMANCE NA-2), also for the answer to its
    /// INVITE.
    pub(super) fn find(&mut self, context: &mut Context<'_>, id: LegId, flow: Flow) {
        let is_lost = |leg: &&mut Leg| !leg.follows_target && !context.streams.is_open(&leg.flow);
        let Some(leg) = self.legs.get_mut(id).filter(is_lost) else { return };
        leg.flow = flow;
        if let Some(uas) = &leg.uas {
            context.transactions.follow(uas.server, flow);
        }
    }

    fn bye(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        self.reply_ok(context, server, request, flow);
        let Some(leg) = self.legs.get(id) else { return };
        // CONFORMANCE DI-6: both BYEs are answered; the call has ended already. One branch of a fork ends for itself.
        if leg.stage == Stage::Ending || !leg.dialog.owns(request) {
            return;
        }
        // RFC 3261 §15: whom we called may not hang up before it answers. It is not there, and that is all.
        if leg.stage == Stage::Inviting && leg.side == super::Side::Callee {
            self.report(id, Event::Failed { refusal: Refusal::new(480) });
            return self.abort_invite(context, id, None);
        }
        // CONFORMANCE DI-7, RFC 3261 §15.1.2: what is pending on this leg is answered 487.
        let first = leg.uas.as_ref().is_some_and(|uas| uas.first && uas.answer.is_none());
        let reason = request.header(Name::Reason).map(Bytes::copy_from_slice);
        self.report(id, Event::Ended { reason, cause: Cause::Bye });
        self.refuse(context, id, &Refusal::new(487));
        if !first {
            self.forget(context, id);
        }
    }

    fn reinvited(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let refusal = match (&leg.uas, &leg.uac, leg.stage) {
            (_, _, Stage::Ending) => Some(Refusal::new(481)),
            // RFC 3261 §14.2: theirs is unanswered.
            (Some(_), _, _) => Some(Refusal { retry_after: Some(retry_after(context)), ..Refusal::new(500) }),
            // RFC 3261 §14.2: ours is unanswered (CONFORMANCE OA-4).
            (None, Some(_), _) => Some(Refusal::new(491)),
            (None, None, Stage::Inviting | Stage::Answered) => {
                Some(Refusal { retry_after: Some(retry_after(context)), ..Refusal::new(500) })
            }
            (None, None, Stage::Confirmed) => match leg.exchange() {
                Exchange::Stable => None,
                // An UPDATE of ours, or of theirs, is unanswered (RFC 3311 §5.2, RFC 6337 §4.3).
                Exchange::OfferSent => Some(Refusal::new(491)),
                Exchange::OfferReceived => {
                    Some(Refusal { retry_after: Some(retry_after(context)), ..Refusal::new(500) })
                }
            },
        };
        if let Some(refusal) = refusal {
            self.reply(context, server, request, flow, &refusal);
            return;
        }
        let asked = request.extensions();
        if self.settings.session.is_too_short(&asked) {
            return self.refuse_interval(context, server, request, flow);
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.follow(request, flow);
        leg.dialog.takes_update |= asked.update;
        leg.min_se = leg.min_se.max(asked.min_se.unwrap_or(0));
        leg.uas = Some(Uas { server, cseq: request.cseq(), first: false, answer: None, asked, reliable: None });
        context.transactions.set_owner(server, Owner::Leg(id));
        let offer = Content::description_of(request);
        // CONFORMANCE ST-4: a refresh that changes nothing is nobody else's business.
        let is_refresh =
            asked.session_expires.is_some() && leg.timer.is_some_and(|timer| timer.keeper != Keeper::Nobody);
        if is_refresh && !leg.dialog.offers.ours().is_empty() && offer.as_ref() == Some(leg.theirs()) {
            let same = Content::own(leg.dialog.offers.ours().clone());
            leg.dialog.offers.received(offer.unwrap_or_default());
            self.answer(context, id, Some(&same));
            // Not what it says, but where it says it from may be new.
            self.report(id, Event::Alive);
            return;
        }
        if let Some(offer) = offer {
            leg.dialog.offers.received(offer);
        }
        self.report(id, Event::Request { server, message: request.clone(), flow });
    }

    /// UPDATE (RFC 3311 §5.2): with an offer it is for the other leg too, without one it is answered here.
    fn updated(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        let asked = request.extensions();
        if self.settings.session.is_too_short(&asked) {
            return self.refuse_interval(context, server, request, flow);
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        let offer = Content::description_of(request);
        let unacceptable = Content::refusal_of(request);
        let is_own = leg.dialog.owns(request);
        let (theirs_open, ours_open) = match leg.stage {
            Stage::Inviting => (false, false),
            _ => (leg.uas.as_ref().is_some_and(|uas| uas.answer.is_none()), leg.uac.is_some()),
        };
        let later = Refusal { retry_after: Some(retry_after(context)), ..Refusal::new(500) };
        let refusal = match (leg.stage, leg.exchange()) {
            (Stage::Ending, _) => Some(Refusal::new(481)),
            _ if unacceptable.is_some() => unacceptable,
            _ if offer.is_none() => None,
            // Another branch of a forked INVITE cannot change what the caller has.
            _ if !is_own => Some(Refusal::new(491)),
            (_, Exchange::OfferSent) => Some(Refusal::new(491)),
            (_, Exchange::OfferReceived) => Some(later),
            (_, Exchange::Stable) if ours_open => Some(Refusal::new(491)),
            (_, Exchange::Stable) if theirs_open => Some(later),
            // RFC 3311 §5.1: before the first exchange is complete there is nothing to change.
            (Stage::Inviting, Exchange::Stable) if !leg.dialog.negotiated => Some(later),
            (_, Exchange::Stable) => None,
        };
        if let Some(refusal) = refusal {
            return self.reply(context, server, request, flow, &refusal);
        }
        if is_own {
            leg.follow(request, flow);
        }
        leg.min_se = leg.min_se.max(asked.min_se.unwrap_or(0));
        match offer {
            Some(offer) => {
                leg.dialog.offers.received(offer);
                self.report(id, Event::Request { server, message: request.clone(), flow });
            }
            None => self.reply_carried(context, id, server, request, flow, 200, None),
        }
    }

    /// 422 with what we take (RFC 4028 §6, §9).
    pub fn refuse_interval(&mut self, context: &mut Context<'_>, server: ServerId, request: &Message, flow: Flow) {
        let mut lines = Lines::default();
        lines.push(b"Min-SE", self.settings.session.min_se.to_string().as_bytes());
        self.reply_with(context, server, request, flow, &Refusal::new(422), &lines);
    }

    fn carried(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        // RFC 6086 §4.2.1: INFO in an early dialog too; it crosses where both legs have one.
        let is_early_too = matches!(request.method(), Method::Info | Method::Message);
        let may = |leg: &Leg| match leg.stage {
            Stage::Confirmed | Stage::Answered => true,
            Stage::Inviting => is_early_too,
            Stage::Ending => false,
        };
        if self.legs.get(id).is_some_and(may) {
            self.report(id, Event::Request { server, message: request.clone(), flow });
        } else {
            self.reply(context, server, request, flow, &Refusal::new(481));
        }
    }

    /// Sends a request inside the dialog that is not INVITE; its final response comes back as [`Event::Reply`].
    pub fn request(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        method: Method,
        lines: &Lines,
        content: Option<&Content>,
    ) -> Option<ClientId> {
        self.request_with(context, id, None, method, lines, content)
    }

    /// The same with the peer of that `tag`, which may be another branch of a forked INVITE of ours.
    pub(super) fn request_with(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        tag: Option<&[u8]>,
        method: Method,
        lines: &Lines,
        content: Option<&Content>,
    ) -> Option<ClientId> {
        let leg = self.legs.get_mut(id)?;
        let is_other = |tag: &&[u8]| leg.dialog.remote_tag() != *tag;
        let flow = match tag.filter(is_other) {
            None => leg.next_flow(context.streams),
            Some(tag) => leg.flow_of(leg.forks.iter().find(|fork| fork.remote_tag() == tag)?, context.streams),
        };
        let flow = context.streams.settle(flow);
        let local = self.settings.locals.get(usize::from(flow.listener.0))?;
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        let dialog = match tag {
            None => &mut leg.dialog,
            Some(tag) => leg.dialog_with(tag)?,
        };
        let cseq = dialog.next_cseq();
        dialog.print_request(&mut self.writer, method.as_str(), cseq, via);
        let description = content.map(|content| &content.description).filter(|description| !description.is_empty());
        let offered = description.is_some() && dialog.offers.exchange() == Exchange::Stable;
        if let Some(description) = description {
            dialog.offers.sent(description);
        }
        if matches!(method, Method::Info | Method::Message | Method::Update | Method::Notify) {
            self.writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
        }
        if method == Method::Update {
            print_terms(&mut self.writer, &self.settings, leg, false);
        }
        self.writer.header("User-Agent", self.settings.product.as_bytes());
        self.writer.lines(lines);
        let mut bytes = finish(&mut self.writer, content);
        if let Some(signing) = &mut leg.signing {
            bytes = signed(context, &mut self.accounts, &mut self.writer, signing, (client, method, flow), bytes);
        }
        leg.requests.push(Asking { client, method, offered });
        send(context, &self.settings, leg.follows_target, Outgoing { client, method, flow, bytes });
        Some(client)
    }

    /// True when an UPDATE with an offer can be sent, early or not (RFC 3311 §5.1; CONFORMANCE OA-6).
    pub fn may_update(&self, id: LegId) -> bool {
        let takes = |leg: &&Leg| leg.dialog.takes_update && leg.exchange() == Exchange::Stable;
        let Some(leg) = self.legs.get(id).filter(takes) else { return false };
        match leg.stage {
            Stage::Inviting => leg.dialog.negotiated,
            Stage::Confirmed => leg.uac.is_none() && leg.uas.is_none(),
            // Our 2xx may still be on its way, or lost: what came after it would come before it (RFC 5407 §3).
            Stage::Answered | Stage::Ending => false,
        }
    }

    /// Ends the leg from our side, whatever it is doing. Nothing more is reported of it.
    pub fn hang_up(&mut self, context: &mut Context<'_>, id: LegId, reason: Option<&[u8]>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        match (leg.stage, leg.side) {
            (Stage::Inviting, super::Side::Callee) => self.abort_invite(context, id, reason),
            (Stage::Inviting, super::Side::Caller) => self.refuse(context, id, &Refusal::new(480)),
            (Stage::Answered, _) => leg.farewell = Some(reason.map(Bytes::copy_from_slice)),
            (Stage::Confirmed, _) => self.send_bye(context, id, reason),
            (Stage::Ending, _) => {}
        }
    }

    fn send_bye(&mut self, context: &mut Context<'_>, id: LegId, reason: Option<&[u8]>) {
        self.acknowledge(context, id, None);
        self.refuse(context, id, &Refusal::new(487));
        let mut lines = Lines::default();
        if let Some(reason) = reason {
            lines.push(b"Reason", reason);
        }
        if let Some(leg) = self.legs.get_mut(id) {
            leg.stage = Stage::Ending;
            // The answers to older requests no longer matter; the leg waits for the BYE alone.
            leg.requests.clear();
            (leg.uas, leg.notifier) = (None, None);
        }
        if self.request(context, id, Method::Bye, &lines, None).is_none() {
            self.legs.remove(id);
        }
    }

    /// Drops a leg whose peer has hung up; an unfinished INVITE of ours on it is taken back. One that still has something to
    /// notify stays for that.
    fn forget(&mut self, context: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        if let Some(uac) = leg.uac.take_if(|uac| !uac.answered) {
            context.transactions.cancel(context.now, leg.current(uac.client), None, context.out);
        }
        (leg.stage, leg.uas) = (Stage::Ending, None);
        if leg.notifier.is_none() {
            self.legs.remove(id);
        }
    }

    /// The body of `message`, as leg `id` is to see it: same bytes, our origin line.
    pub fn relayed(
        &mut self,
        id: LegId,
        message: &Message,
        edit: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Content>, Unacceptable> {
        let Some(leg) = self.legs.get_mut(id) else { return Ok(None) };
        let offer = leg.offer().cloned();
        let Leg { origin, flow, .. } = leg;
        let local = self.settings.locals.get(usize::from(flow.listener.0));
        let address = local.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |local| local.address);
        Content::relay(message, origin, address, |description| fitted(description, edit(description), offer.as_deref()))
    }

    /// `description` of the other leg, well-formed, as leg `id` is to see it.
    pub fn described(
        &mut self,
        id: LegId,
        description: &[u8],
        edit: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<Content> {
        let leg = self.legs.get_mut(id)?;
        let local = self.settings.locals.get(usize::from(leg.flow.listener.0))?;
        let edited = fitted(description, edit(description), leg.offer().map(|offer| &offer[..]));
        Some(Content::describe(edited.as_deref().unwrap_or(description), &mut leg.origin, local.address))
    }

    /// Answers 200 without a body; to OPTIONS with what we can do (§11.2).
    pub fn reply_ok(&mut self, context: &mut Context<'_>, server: ServerId, request: &Message, flow: Flow) {
        sip::reply(&mut self.writer, request, flow.remote, 200, None, request.to_tag().or(Some(b"ok")));
        if request.method() == Method::Options {
            self.writer.header("Allow", super::uas::ALLOW);
            self.writer.header("Accept", super::uas::ACCEPT);
            if request.to_tag().is_none() {
                self.writer.header("Allow", b"REGISTER");
                self.writer.header("Supported", b"path, outbound, gruu");
            }
            self.writer.header("Accept-Encoding", b"identity");
            self.writer.header("Accept-Language", b"en");
            self.writer.header("Supported", b"100rel, timer, resource-priority");
            // RFC 4412 §4.4
            self.writer.header("Accept-Resource-Priority", b"esnet.4, esnet.3, esnet.2, esnet.1, esnet.0");
        }
        self.writer.header("Server", self.settings.product.as_bytes());
        let bytes = self.writer.finish();
        context.transactions.respond(context.now, server, 200, bytes, context.out);
    }

    /// Refuses any request, in a dialog or not.
    pub fn reply(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        refusal: &Refusal,
    ) {
        self.reply_with(context, server, request, flow, refusal, &Lines::default());
    }

    /// As [`Ua::reply`], with further header lines.
    pub fn reply_with(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        refusal: &Refusal,
        lines: &Lines,
    ) {
        let tag = format!("r{:016x}", context.rng.u64());
        sip::reply(&mut self.writer, request, flow.remote, refusal.status, refusal.phrase, Some(tag.as_bytes()));
        let agent = self.settings.locals.get(usize::from(flow.listener.0)).map_or("sosbridge", |local| &local.host);
        refusal.print(&mut self.writer, agent);
        self.writer.lines(lines);
        self.writer.header("Server", self.settings.product.as_bytes());
        let bytes = self.writer.finish();
        context.transactions.respond(context.now, server, refusal.status, bytes, context.out);
    }

    /// Passes the peer's final answer to a carried request back to leg `id`, where it came from. To an UPDATE it is a refresh
    /// of target and session (RFC 3311 §5.2, RFC 4028 §9).
    #[allow(clippy::too_many_arguments, reason = "a request is three of them")]
    pub fn reply_carried(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        status: u16,
        content: Option<&Content>,
    ) {
        sip::reply(&mut self.writer, request, flow.remote, status, None, request.to_tag());
        let mut timer = None;
        if let (Method::Update, 200..=299, Some(leg)) = (request.method(), status, self.legs.get(id)) {
            if let Some(local) = self.settings.locals.get(usize::from(leg.flow.listener.0)) {
                self.writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
            }
            self.writer.header("Allow", super::uas::allow(leg));
            let granted = self.settings.session.grant(&request.extensions());
            print_grant(&mut self.writer, granted);
            timer = Some(self.settings.session.of_answer(context.now, granted));
        }
        self.writer.header("Server", self.settings.product.as_bytes());
        let bytes = finish(&mut self.writer, content);
        context.transactions.respond(context.now, server, status, bytes, context.out);
        if let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.exchange() == Exchange::OfferReceived) {
            match content.filter(|_| status < 300) {
                Some(content) => leg.dialog.offers.sent(&content.description),
                None if matches!(request.method(), Method::Update | Method::Prack) => leg.dialog.offers.abandoned(),
                None => {}
            }
        }
        if let Some(timer) = timer.filter(|_| self.legs.get(id).is_some_and(|leg| !leg.is_early())) {
            self.set_timer(id, timer);
        }
        self.release(context, id);
    }

    /// Refuses a carried request of leg `id`: an offer in it is as if it had never been made.
    pub fn refuse_carried(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
        refusal: &Refusal,
    ) {
        if request.method() == Method::Invite {
            return self.refuse(context, id, refusal);
        }
        self.reply(context, server, request, flow, refusal);
        let is_offer = matches!(request.method(), Method::Update | Method::Prack);
        if let Some(leg) = self.legs.get_mut(id).filter(|leg| is_offer && leg.exchange() == Exchange::OfferReceived) {
            leg.dialog.offers.abandoned();
        }
        self.release(context, id);
    }
}

/// What a leg with an open offer of its peer is answered has as many streams as that; some peers count otherwise.
fn fitted(description: &[u8], edited: Option<Vec<u8>>, offer: Option<&[u8]>) -> Option<Vec<u8>> {
    let fitted = offer.and_then(|offer| sip::sdp::fitted(edited.as_deref().unwrap_or(description), offer));
    fitted.or(edited)
}

/// RFC 3261 §14.2: a random time of 0 to 10 seconds.
fn retry_after(context: &mut Context<'_>) -> u32 {
    u32::try_from(context.rng.below(11)).unwrap_or(5)
}
