//! Reliable provisional responses (RFC 3262): ours are repeated until their PRACK, the peer's are taken once and in order.
//! Each leg has its own; that one leg is reliable does not make the other so (CONFORMANCE PR-1, PR-2).

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::content::Content;
use super::leg::{Leg, Stage};
use super::uas::{finish, start_dialog_reply};
use super::{Cause, Context, Event, LegId, Refusal, Ua};
use crate::base::{Instant, Rng, limits};
use crate::dialog::Exchange;
use crate::sip::{Extensions, Lines, Message, Method};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;

/// The reliable response of another leg that the PRACK to ours will confirm there.
pub type Confirms = Box<(LegId, Message)>;

/// The UAS side: what is to be acknowledged on the caller's leg (RFC 3262 §3).
pub(super) struct Reliable {
    /// The caller takes no other provisional responses.
    required: bool,
    next_rseq: u32,
    /// One at a time: the next is sent when this one is acknowledged.
    out: Option<Outstanding>,
    waiting: VecDeque<Provisional>,
    /// The 2xx waits until every description before it is acknowledged (CONFORMANCE PR-6).
    held: Option<Option<Content>>,
}

struct Provisional {
    status: u16,
    content: Option<Content>,
    confirms: Option<Confirms>,
}

struct Outstanding {
    rseq: u32,
    bytes: Bytes,
    is_described: bool,
    confirms: Option<Confirms>,
    interval: Duration,
    next: Instant,
    give_up: Instant,
}

impl Reliable {
    /// For an INVITE that says `asked`; RSeq begins anywhere in the lower half (RFC 3262 §3).
    pub fn of(asked: &Extensions, rng: &mut Rng) -> Option<Box<Self>> {
        asked.reliable.then(|| {
            let next_rseq = u32::try_from(1 + rng.below(0x7fff_fffe)).unwrap_or(1);
            let required = asked.reliable_required;
            Box::new(Self { required, next_rseq, out: None, waiting: VecDeque::new(), held: None })
        })
    }

    /// When the outstanding response is to be repeated.
    pub fn next(&self) -> Option<Instant> {
        self.out.as_ref().map(|out| out.next)
    }

    /// RFC 3262 §3: no 2xx while a description before it is not acknowledged.
    fn holds_back(&self) -> bool {
        let described = |provisional: &Provisional| provisional.content.is_some();
        self.out.as_ref().is_some_and(|out| out.is_described) || self.waiting.iter().any(described)
    }
}

impl Ua {
    /// Sends a provisional answer to the caller's first INVITE; 100 is never relayed (CONFORMANCE TX-7). It is reliable when the
    /// caller wants no other, or takes it and the other leg's was. True when its PRACK will confirm the other leg's.
    pub fn progress(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        status: u16,
        content: Option<&Content>,
        confirms: Option<Confirms>,
    ) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let Some(uas) = leg.uas.as_mut().filter(|uas| uas.answer.is_none() && uas.first) else { return false };
        // What was said reliably is said once (RFC 6337 §3.1.1).
        let content = content.filter(|_| !leg.dialog.negotiated);
        match uas.reliable.as_deref_mut() {
            Some(reliable) if reliable.held.is_some() => return false,
            Some(reliable) if reliable.required || confirms.is_some() => {
                let may_lack_offer = leg.dialog.negotiated || leg.dialog.offers.exchange() == Exchange::OfferReceived;
                let has_room = reliable.waiting.len() < limits::PROVISIONALS_WAITING;
                // RFC 3262 §5: the first reliable response to an INVITE without offer makes one.
                if has_room && (content.is_some() || may_lack_offer) {
                    leg.dialog.negotiated |= content.is_some();
                    let confirms = confirms.filter(|_| content.is_some());
                    let is_held = confirms.is_some();
                    reliable.waiting.push_back(Provisional { status, content: content.cloned(), confirms });
                    self.send_next_provisional(context, id);
                    return is_held;
                }
                if reliable.required {
                    return false;
                }
            }
            Some(_) | None => {}
        }
        self.send_provisional(context, id, status, content, &Lines::default());
        false
    }

    fn send_provisional(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        status: u16,
        content: Option<&Content>,
        lines: &Lines,
    ) -> Bytes {
        let Some((leg, uas)) = self.legs.get(id).and_then(|leg| Some((leg, leg.uas.as_ref()?))) else {
            return Bytes::new();
        };
        let server = uas.server;
        let Some(request) = context.transactions.request_of(server) else { return Bytes::new() };
        start_dialog_reply(&mut self.writer, &self.settings, leg, request, status);
        self.writer.lines(lines);
        let bytes = finish(&mut self.writer, content);
        context.transactions.respond(context.now, server, status, bytes.clone(), context.out);
        bytes
    }

    fn send_next_provisional(&mut self, context: &mut Context<'_>, id: LegId) {
        let Some(reliable) = self.reliable(id).filter(|reliable| reliable.out.is_none()) else { return };
        let Some(Provisional { status, content, confirms }) = reliable.waiting.pop_front() else { return };
        let rseq = reliable.next_rseq;
        reliable.next_rseq = rseq.saturating_add(1);
        let mut lines = Lines::default();
        lines.push(b"Require", b"100rel").push(b"RSeq", rseq.to_string().as_bytes());
        let bytes = self.send_provisional(context, id, status, content.as_ref(), &lines);
        if let (Some(leg), Some(content)) = (self.legs.get_mut(id), &content) {
            leg.dialog.offers.sent(&content.description);
        }
        let interval = self.settings.t1;
        let (next, give_up) = (context.now + interval, context.now + interval * 64);
        let is_described = content.is_some();
        if let Some(reliable) = self.reliable(id) {
            reliable.out = Some(Outstanding { rseq, bytes, is_described, confirms, interval, next, give_up });
        }
        self.alarms.push(Reverse((next, id)));
    }

    /// A repetition of our provisional response is due: T1, doubling without cap, or its time is up (RFC 3262 §3).
    pub(super) fn repeat_provisional(&mut self, context: &mut Context<'_>, id: LegId, at: Instant) {
        let Some(uas) = self.legs.get_mut(id).and_then(|leg| leg.uas.as_mut()) else { return };
        let server = uas.server;
        // A final answer ends the repetitions.
        let Some(reliable) = uas.reliable.as_mut().filter(|_| uas.answer.is_none()) else { return };
        let Some(out) = reliable.out.as_mut().filter(|out| out.next == at) else { return };
        if at >= out.give_up {
            let reason = Bytes::from_static(b"SIP;cause=504;text=\"PRACK missing\"");
            self.report(id, Event::Ended { reason: Some(reason), cause: Cause::NoPrack });
            let refusal = Refusal::warn(504, "A reliable provisional response was not acknowledged");
            self.refuse(context, id, &refusal);
            return;
        }
        out.interval *= 2;
        out.next = (at + out.interval).min(out.give_up);
        let (bytes, next) = (out.bytes.clone(), out.next);
        context.transactions.respond(context.now, server, 180, bytes, context.out);
        self.alarms.push(Reverse((next, id)));
    }

    /// PRACK of the caller (RFC 3262 §3).
    pub(super) fn pracked(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        server: ServerId,
        prack: &Message,
        flow: Flow,
    ) {
        let acknowledged = |uas: &mut super::leg::Uas| {
            let (rseq, _) = prack.rack().filter(|(_, cseq)| *cseq == uas.cseq)?;
            uas.reliable.as_mut()?.out.take_if(|out| out.rseq == rseq)
        };
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(out) = leg.uas.as_mut().and_then(acknowledged) else {
            self.reply(context, server, prack, flow, &Refusal::new(481));
            return;
        };
        let described = Content::description_of(prack);
        let (is_described, unacceptable) = (described.is_some(), Content::refusal_of(prack));
        if let Some(description) = described {
            leg.dialog.offers.received(description);
        }
        let is_offer = is_described && leg.exchange() == Exchange::OfferReceived;
        match (unacceptable, is_offer) {
            (Some(refusal), _) => self.reply(context, server, prack, flow, &refusal),
            (None, true) => {}
            (None, false) => self.reply_ok(context, server, prack, flow),
        }
        if out.confirms.is_some() || is_offer {
            let asks = is_offer.then_some((server, flow));
            self.report(id, Event::Confirmed { message: prack.clone(), confirms: out.confirms, asks });
        }
        self.send_next_provisional(context, id);
        self.release(context, id);
    }

    /// Keeps a 2xx back as long as it must not be sent; true when it is kept.
    pub(super) fn hold_answer(&mut self, id: LegId, content: Option<&Content>) -> bool {
        let is_open =
            self.legs.get(id).is_some_and(|leg| leg.dialog.negotiated && leg.exchange() == Exchange::OfferReceived);
        let Some(reliable) = self.reliable(id).filter(|reliable| is_open || reliable.holds_back()) else {
            return false;
        };
        // No second word on what rings: what waits without a description is not sent any more.
        reliable.waiting.retain(|provisional| provisional.content.is_some());
        reliable.held = Some(content.cloned());
        true
    }

    /// Sends the 2xx that was held, when nothing holds it any more: no description unacknowledged, no offer unanswered.
    pub(super) fn release(&mut self, context: &mut Context<'_>, id: LegId) {
        let is_open = self.legs.get(id).is_some_and(|leg| leg.exchange() == Exchange::OfferReceived);
        let Some(reliable) = self.reliable(id).filter(|reliable| !is_open && !reliable.holds_back()) else { return };
        if let Some(content) = reliable.held.take() {
            self.answer(context, id, content.as_ref());
        }
    }

    fn reliable(&mut self, id: LegId) -> Option<&mut Reliable> {
        self.legs.get_mut(id)?.uas.as_mut()?.reliable.as_deref_mut()
    }

    /// Takes a provisional response to our first INVITE. One that comes reliably forms its dialog (RFC 3262 §4); repeated or
    /// out of order it goes no further.
    pub(super) fn ringing(&mut self, id: LegId, response: &Message) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let description = Content::description_of(response);
        let (mut described, mut reliable) = (description.is_some() && !leg.dialog.negotiated, false);
        let tag = response.to_tag().filter(|_| response.code() > 100);
        if let (Some(rseq), Some(tag)) = (response.rseq(), tag) {
            let Some(dialog) = early_dialog(leg, response, tag) else { return };
            if !dialog.is_reliable() {
                // A plain one may have said less of the way.
                dialog.establish(response);
            }
            if !dialog.take_rseq(rseq) {
                return;
            }
            reliable = true;
            dialog.takes_update |= response.extensions().update;
            described = description.is_some() && !dialog.negotiated;
            if let Some(description) = description.filter(|_| described) {
                dialog.negotiated = true;
                dialog.offers.received(description);
            }
        } else if let Some(tag) = tag.filter(|_| response.contact().is_some()) {
            // RFC 3261 §12.1.2: a plain one forms the dialog too.
            early_dialog(leg, response, tag);
        }
        self.report(id, Event::Progress { message: response.clone(), reliable, described });
    }

    /// PRACK for a reliable provisional `response` of leg `id` (RFC 3262 §4); with the answer where that made the offer, or
    /// with another offer.
    pub fn confirm(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        response: &Message,
        content: Option<&Content>,
    ) -> Option<ClientId> {
        let (rseq, tag) = (response.rseq()?, response.to_tag()?);
        // Only while it rings: what was abandoned, or is answered, needs no PRACK.
        self.legs.get(id).filter(|leg| leg.stage == Stage::Inviting && leg.call.is_some())?;
        let mut lines = Lines::default();
        lines.push(b"RAck", format!("{rseq} {} INVITE", response.cseq()).as_bytes());
        self.request_with(context, id, Some(tag), Method::Prack, &lines, content)
    }
}

/// The dialog that a provisional response belongs to, formed by it where it is not yet: the leg's own for the first peer that
/// answers, another for each other branch of a forking trunk (RFC 3261 §12.1.2, §13.2.2.4).
fn early_dialog<'a>(leg: &'a mut Leg, response: &Message, tag: &[u8]) -> Option<&'a mut crate::dialog::Dialog> {
    if leg.dialog.remote_tag().is_empty() {
        leg.dialog.establish(response);
    } else if leg.dialog_with(tag).is_none() && leg.forks.len() < limits::FORKS {
        let mut fork = leg.dialog.fork(response.cseq(), leg.uac.as_ref().is_some_and(|uac| uac.offered));
        fork.establish(response);
        leg.forks.push(fork);
    }
    leg.dialog_with(tag)
}
