//! The side that was called: answers to a peer's INVITE, first or repeated inside the dialog (RFC 3261 §13.3, §14.2).

use std::cmp::Reverse;

use bytes::Bytes;

use super::content::{Content, Origin};
use super::leg::{Answer, Leg, Side, Stage, Uas};
use super::refresh::print_grant;
use super::reliable::Reliable;
use super::{CallId, Cause, Context, Event, LegId, Owner, Refusal, Ua};
use crate::base::Instant;
use crate::dialog::{Dialog, Exchange};
use crate::sip::{self, Message, Name, NameAddr, Scheme, Uri, Writer};
use crate::transaction::ServerId;
use crate::transport::Flow;

/// Methods a peer may use toward us (RFC 3261 §20.5).
pub(super) const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK";
/// Bodies that a leg takes (§20.1).
pub(super) const ACCEPT: &[u8] = b"application/sdp, multipart/mixed, application/pidf+xml, */*;q=0.5";
/// A trunk may transfer its caller too.
pub(super) const ALLOW_TRUNK: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK, REFER";

impl Ua {
    /// Takes a first INVITE: the caller's leg of `call`. Nothing is answered yet.
    pub fn accept(
        &mut self,
        context: &mut Context<'_>,
        call: CallId,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        follows_target: bool,
    ) -> LegId {
        let random = context.rng.u64();
        let session = context.rng.u64();
        let asked = invite.extensions();
        let reliable = Reliable::of(&asked, context.rng);
        let id = self.legs.insert_with_key(|id| Leg {
            call: Some(call),
            side: Side::Caller,
            stage: Stage::Inviting,
            dialog: Dialog::from_request(invite, tag_of(id, random).as_bytes()),
            forks: Vec::new(),
            flow,
            follows_target,
            contact_user: user_of(invite.request_uri()),
            secure: flow.protocol.is_secure() && is_secure(invite),
            uas: Some(Uas { server, cseq: invite.cseq(), first: true, answer: None, asked, reliable }),
            uac: None,
            requests: smallvec::SmallVec::new(),
            asking: None,
            timer: None,
            notifier: None,
            min_se: asked.min_se.unwrap_or(0),
            retries: 0,
            origin: Origin::new(session),
            farewell: None,
            ack_with_answer: None,
            signing: None,
        });
        context.transactions.set_owner(server, Owner::Leg(id));
        if let Some(leg) = self.legs.get_mut(id) {
            leg.dialog.takes_update = asked.update;
            if let Some(offer) = Content::description_of(invite) {
                leg.dialog.offers.received(offer);
            }
        }
        id
    }

    /// Answers the peer's INVITE with 200, and repeats it until the ACK (§13.3.1.4). It waits for the PRACK of a description
    /// that went before it (RFC 3262 §3), and has no description after one (RFC 6337 §3.1.1).
    pub fn answer(&mut self, context: &mut Context<'_>, id: LegId, content: Option<&Content>) {
        if self.hold_answer(id, content) {
            return;
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(uas) = leg.uas.as_ref().filter(|uas| uas.answer.is_none()) else { return };
        let (server, first, asked) = (uas.server, uas.first, uas.asked);
        let content = content.filter(|_| !(first && leg.dialog.negotiated));
        let Some(request) = context.transactions.request_of(server) else { return };
        start_dialog_reply(&mut self.writer, &self.settings, leg, request, 200);
        let granted = self.settings.session.grant(&asked);
        print_grant(&mut self.writer, granted);
        let bytes = finish(&mut self.writer, content);
        match content {
            Some(content) => leg.dialog.offers.sent(&content.description),
            None if first && leg.dialog.negotiated => {}
            None => leg.dialog.offers.abandoned(),
        }
        context.transactions.respond(context.now, server, 200, bytes.clone(), context.out);
        let next = context.now + self.settings.t1;
        let give_up = context.now + self.settings.t1 * 64;
        if leg.stage == Stage::Inviting {
            leg.stage = Stage::Answered;
        }
        if let Some(uas) = &mut leg.uas {
            uas.answer = Some(Answer { bytes, interval: self.settings.t1, next, give_up });
        }
        self.alarms.push(Reverse((next, id)));
        self.set_timer(id, self.settings.session.of_answer(context.now, granted));
    }

    /// Refuses the peer's INVITE. A first one takes the leg with it; a later one leaves the session as it was (§14.1).
    pub fn refuse(&mut self, context: &mut Context<'_>, id: LegId, refusal: &Refusal) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(uas) = leg.uas.take_if(|uas| uas.answer.is_none()) else { return };
        if let Some(request) = context.transactions.request_of(uas.server) {
            let bytes = refusal_bytes(&mut self.writer, &self.settings, leg, request, refusal);
            context.transactions.respond(context.now, uas.server, refusal.status, bytes, context.out);
        }
        if uas.first {
            self.legs.remove(id);
        } else {
            leg.dialog.offers.abandoned();
        }
    }

    /// CANCEL reached the INVITE transaction in time; it is answered already, the INVITE not (§9.2).
    pub fn cancelled(&mut self, context: &mut Context<'_>, id: LegId, server: ServerId, cancel: &Message) {
        let Some(leg) = self.legs.get(id) else { return };
        let Some(uas) = leg.uas.as_ref().filter(|uas| uas.server == server && uas.answer.is_none()) else { return };
        let event = if uas.first {
            Event::Cancelled { reason: cancel.header(Name::Reason).map(Bytes::copy_from_slice) }
        } else {
            Event::Withdrawn { server }
        };
        self.report(id, event);
        self.refuse(context, id, &Refusal::new(487));
    }

    /// ACK to our 2xx.
    pub fn acknowledged(&mut self, context: &mut Context<'_>, id: LegId, ack: &Message, flow: Flow) {
        self.find(context, id, flow);
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.dialog.owns(ack)) else { return };
        let Some(_) = leg.uas.take_if(|uas| uas.answer.is_some() && uas.cseq == ack.cseq()) else { return };
        if leg.stage == Stage::Answered {
            leg.stage = Stage::Confirmed;
        }
        if leg.exchange() == Exchange::OfferSent {
            match Content::description_of(ack) {
                Some(answer) => leg.dialog.offers.received(answer),
                None => leg.dialog.offers.abandoned(),
            }
        }
        match leg.farewell.take() {
            Some(reason) => self.hang_up(context, id, reason.as_deref()),
            None => self.report(id, Event::Acknowledged { message: ack.clone() }),
        }
    }

    /// A repetition of our 2xx is due, or its time is up (CONFORMANCE TX-6).
    pub(super) fn repeat_answer(&mut self, context: &mut Context<'_>, id: LegId, at: Instant) {
        let t2 = self.settings.t2;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(uas) = &mut leg.uas else { return };
        let (server, Some(answer)) = (uas.server, uas.answer.as_mut()) else { return };
        if answer.next != at {
            return;
        }
        if at >= answer.give_up {
            leg.uas = None;
            leg.stage = Stage::Confirmed;
            let reason = Bytes::from_static(b"SIP;cause=408;text=\"ACK missing\"");
            self.hang_up(context, id, Some(&reason));
            self.report(id, Event::Ended { reason: Some(reason), cause: Cause::NoAck });
            return;
        }
        let bytes = answer.bytes.clone();
        answer.interval = (answer.interval * 2).min(t2);
        answer.next = (at + answer.interval).min(answer.give_up);
        let next = answer.next;
        context.transactions.respond(context.now, server, 200, bytes, context.out);
        self.alarms.push(Reverse((next, id)));
    }
}

/// Our tag on a leg: its key, so that requests find it without a search, and chance, so that nobody guesses it (RFC 3261 §19.3).
pub(super) fn tag_of(id: LegId, random: u64) -> String {
    use slotmap::Key;
    format!("{:x}-{random:016x}", id.data().as_ffi())
}

/// The leg that made `tag`, if it has the form of ours; whether it is truly its tag the dialog decides.
pub(crate) fn leg_of_tag(tag: &[u8]) -> Option<LegId> {
    let text = std::str::from_utf8(tag).ok()?;
    let (key, _) = text.split_once('-')?;
    let key = u64::from_str_radix(key, 16).ok()?;
    Some(LegId::from(slotmap::KeyData::from_ffi(key)))
}

pub(super) fn is_sips(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.scheme == Scheme::Sips)
}

/// RFC 3261 §12.1.1: a sips URI in the Request-URI, or on top of the Record-Route, or without one in the Contact.
fn is_secure(invite: &Message) -> bool {
    let route = invite.values(Name::RecordRoute).next().and_then(|value| NameAddr::parse(value).ok());
    let hop = route.map_or_else(|| invite.contact().map(|contact| contact.uri), |route| Some(route.uri));
    is_sips(invite.request_uri()) || hop.is_some_and(is_sips)
}

/// What the peer of a leg may send.
pub(super) fn allow(leg: &Leg) -> &'static [u8] {
    if leg.is_server() { ALLOW_TRUNK } else { ALLOW }
}

fn user_of(uri: &[u8]) -> compact_str::CompactString {
    let user = Uri::parse(uri).map(|uri| uri.user).unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    std::str::from_utf8(user).ok().filter(|_| user.iter().all(plain)).unwrap_or_default().into()
}

/// Starts a response above 100 to an INVITE: with our tag, Contact and the peer's Record-Route (§12.1.1).
pub(super) fn start_dialog_reply(
    writer: &mut Writer,
    settings: &super::Settings,
    leg: &Leg,
    request: &Message,
    status: u16,
) {
    sip::reply(writer, request, leg.flow.remote, status, None, Some(leg.dialog.local_tag()));
    writer.copy(request, Name::RecordRoute);
    let Some(local) = settings.locals.get(usize::from(leg.flow.listener.0)) else { return };
    writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
    writer.header("Allow", allow(leg));
    writer.header("Server", settings.product.as_bytes());
}

pub(super) fn finish(writer: &mut Writer, content: Option<&Content>) -> Bytes {
    match content {
        None => writer.finish(),
        Some(content) => {
            writer.lines(&content.lines);
            writer.finish_with(&content.content_type, &content.body)
        }
    }
}

fn refusal_bytes(
    writer: &mut Writer,
    settings: &super::Settings,
    leg: &Leg,
    request: &Message,
    refusal: &Refusal,
) -> Bytes {
    sip::reply(writer, request, leg.flow.remote, refusal.status, refusal.phrase, Some(leg.dialog.local_tag()));
    let agent = settings.locals.get(usize::from(leg.flow.listener.0)).map_or("sosbridge", |local| &local.host);
    refusal.print(writer, agent);
    writer.header("Server", settings.product.as_bytes());
    writer.finish()
}
