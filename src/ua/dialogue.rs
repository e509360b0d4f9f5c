//! Requests inside an established dialog, from the peer and from us (RFC 3261 §12.2, §14, §15).

use bytes::Bytes;

use super::content::{Content, Unacceptable};
use super::leg::{Leg, Stage, Uas};
use super::signing::signed;
use super::uas::finish;
use super::{Cause, Context, Event, LegId, Owner, Refusal, Ua};
use crate::dialog::Order;
use crate::sip::{self, Lines, Message, Method, Name};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;

impl Ua {
    /// The leg a request belongs to by its dialog identifiers (§12.2.2; CONFORMANCE DI-5, AU-4).
    pub fn leg_of(&self, request: &Message) -> Option<LegId> {
        let id = super::uas::leg_of_tag(request.to_tag()?)?;
        self.legs.get(id).filter(|leg| leg.dialog.owns(request)).map(|_| id)
    }

    /// A request of the peer inside the dialog of leg `id`; never ACK or CANCEL.
    pub fn requested(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        // A phone that speaks over another connection, its own being gone, is there now (CONFORMANCE NA-2).
        if !leg.follows_target && !context.streams.is_open(&leg.flow) {
            leg.flow = flow;
        }
        if leg.dialog.advance(request.cseq()) == Order::OutOfOrder {
            self.reply(context, server, request, flow, &Refusal::warn(500, "CSeq lower than seen in this dialog"));
            return;
        }
        match request.method() {
            Method::Bye => self.bye(context, id, server, request, flow),
            Method::Invite => self.reinvited(context, id, server, request, flow),
            Method::Info | Method::Message => self.carried(context, id, server, request, flow),
            Method::Options => self.reply_ok(context, server, request, flow),
            method => {
                let status = if method == Method::Other { 501 } else { 405 };
                self.reply(context, server, request, flow, &Refusal::new(status));
            }
        }
    }

    fn bye(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        self.reply_ok(context, server, request, flow);
        let Some(leg) = self.legs.get(id) else { return };
        // CONFORMANCE DI-6: both BYEs are answered; the call has ended already.
        if leg.stage == Stage::Ending {
            return;
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
            (None, None, Stage::Confirmed) => None,
        };
        if let Some(refusal) = refusal {
            self.reply(context, server, request, flow, &refusal);
            return;
        }
        leg.dialog.refresh_target(request);
        leg.flow = Flow { listener: leg.flow.listener, ..if leg.follows_target { leg.flow } else { flow } };
        leg.uas = Some(Uas { server, cseq: request.cseq(), first: false, answer: None });
        context.transactions.set_owner(server, Owner::Leg(id));
        self.report(id, Event::Request { server, message: request.clone(), flow });
    }

    fn carried(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, request: &Message, flow: Flow) {
        let confirmed = self.legs.get(id).is_some_and(|leg| matches!(leg.stage, Stage::Confirmed | Stage::Answered));
        if confirmed {
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
        let leg = self.legs.get_mut(id)?;
        let flow = context.streams.settle(leg.next_flow(context.streams));
        let local = self.settings.locals.get(usize::from(flow.listener.0))?;
        let (client, branch) = context.transactions.open(context.rng, Owner::Leg(id));
        let cseq = leg.dialog.next_cseq();
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", flow.protocol.via_token(), local.sent_by());
        leg.dialog.print_request(&mut self.writer, method.as_str(), cseq, via);
        if matches!(method, Method::Info | Method::Message | Method::Update) {
            self.writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
        }
        self.writer.header("User-Agent", self.settings.product.as_bytes());
        self.writer.lines(lines);
        let mut bytes = finish(&mut self.writer, content);
        if let Some(signing) = &mut leg.signing {
            bytes = signed(context, &mut self.accounts, &mut self.writer, signing, (client, method, flow), bytes);
        }
        leg.requests.push(client);
        context.transactions.send(context.now, client, method, flow, bytes, context.out);
        Some(client)
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
            leg.uas = None;
        }
        if self.request(context, id, Method::Bye, &lines, None).is_none() {
            self.legs.remove(id);
        }
    }

    /// Drops a leg whose peer has hung up; an unfinished INVITE of ours on it is taken back.
    fn forget(&mut self, context: &mut Context<'_>, id: LegId) {
        let Some(leg) = self.legs.remove(id) else { return };
        if let Some(uac) = leg.uac.as_ref().filter(|uac| !uac.answered) {
            context.transactions.cancel(context.now, leg.current(uac.client), None, context.out);
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
        let Leg { origin, flow, .. } = leg;
        let local = self.settings.locals.get(usize::from(flow.listener.0));
        let address = local.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |local| local.address);
        Content::relay(message, origin, address, edit)
    }

    /// Answers 200 without a body; to OPTIONS with what we can do (§11.2).
    pub fn reply_ok(&mut self, context: &mut Context<'_>, server: ServerId, request: &Message, flow: Flow) {
        sip::reply(&mut self.writer, request, flow.remote, 200, None, request.to_tag().or(Some(b"ok")));
        if request.method() == Method::Options {
            self.writer.header("Allow", super::uas::ALLOW);
            self.writer.header("Accept", b"application/sdp, multipart/mixed, application/pidf+xml, */*;q=0.5");
            if request.to_tag().is_none() {
                self.writer.header("Allow", b"REGISTER");
                self.writer.header("Supported", b"path, outbound, gruu");
            }
            self.writer.header("Accept-Encoding", b"identity");
            self.writer.header("Accept-Language", b"en");
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

    /// Passes the peer's final answer to a carried request back to the leg it came from.
    pub fn reply_carried(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
        request: &Message,
        flow: Flow,
        status: u16,
        content: Option<&Content>,
    ) {
        sip::reply(&mut self.writer, request, flow.remote, status, None, request.to_tag());
        self.writer.header("Server", self.settings.product.as_bytes());
        let bytes = finish(&mut self.writer, content);
        context.transactions.respond(context.now, server, status, bytes, context.out);
    }
}

/// RFC 3261 §14.2: a random time of 0 to 10 seconds.
fn retry_after(context: &mut Context<'_>) -> u32 {
    u32::try_from(context.rng.below(11)).unwrap_or(5)
}
