//! An answered call: what one leg says is carried to the other (RFC 7092; CONFORMANCE OA-1 to OA-5, DI-7, CA-6).

use std::time::Duration;

use super::history::{Kind, Outcome};
use super::media::Passage;
use super::rewrite::{Secrets, bare_reason};
use super::{Alarm, Call, Calls, Crossing, Parts, Stage};
use crate::base::limits;
use crate::sip::sdp::{self, Sdp};
use crate::sip::{Lines, Message, Method, Name};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;
use crate::ua::{CallId, Cause, Content, LegId, Refusal, Unacceptable};

/// An UPDATE whose offer became a re-INVITE on the other leg has its answer by then, before its sender gives up (Timer F).
const PROMPT: Duration = Duration::from_secs(20);
/// When what cannot be said now, before the answer or among much else, may be tried again.
const RETRY_SECONDS: u32 = 5;

/// What is changed of a description between two legs.
pub(super) struct Edits {
    secrets: Option<Secrets>,
    passage: Passage,
}

impl Edits {
    pub(super) fn edit(&self, description: &[u8]) -> Option<Vec<u8>> {
        let bare = self.secrets.as_ref().and_then(|secrets| secrets.remove_from(description));
        self.passage.edit(bare.as_deref().unwrap_or(description)).or(bare)
    }
}

impl Call {
    /// True when `to` is the trunk of an emergency: it must not learn from the phone who its user is (SPEC §4).
    pub(super) fn hides_user_from(&self, to: LegId) -> bool {
        match self.kind {
            Kind::Emergency | Kind::Test => to != self.caller,
            Kind::Callback => to == self.caller,
            Kind::Internal | Kind::Outbound | Kind::Inbound => false,
        }
    }
}

impl Calls {
    /// A request inside one dialog becomes a request inside the other.
    pub(super) fn carry(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        from: LegId,
        server: ServerId,
        request: Message,
        flow: Flow,
    ) {
        let method = request.method();
        if method == Method::Refer {
            return self.refer(parts, id, from, server, &request, flow);
        }
        let refuse = |parts: &mut Parts<'_>, refusal: Refusal| {
            parts.ua.refuse_carried(&mut parts.context, from, server, &request, flow, &refusal);
        };
        let Some(to) = self.counterpart(id, from).or_else(|| self.ringing_counterpart(parts, id, from, method)) else {
            return match self.calls.get(id).map(|call| &call.stage) {
                Some(Stage::TestLine) => self.asked_of_test_line(parts, id, from, server, &request, flow),
                // Nobody has answered, or several ring: there is a dialog, and a 481 would end it (RFC 3261 §12.2.1.2, §21.5.1).
                Some(Stage::Granting(_) | Stage::Dialling(_) | Stage::Ringing(_)) if method != Method::Prack => {
                    refuse(parts, Refusal { retry_after: Some(RETRY_SECONDS), ..Refusal::new(500) });
                }
                _ => refuse(parts, Refusal::new(481)),
            };
        };
        // An offer of a PRACK whose branch has had its own is an UPDATE there.
        let is_offer = matches!(method, Method::Update | Method::Prack);
        // The other leg is in the middle of an INVITE (CONFORMANCE OA-4): no version of its description is spent (OA-9).
        let may_carry = match method {
            Method::Invite => parts.ua.may_reinvite(to),
            _ if is_offer => parts.ua.may_update(to) || parts.ua.may_reinvite(to),
            _ => true,
        };
        if !may_carry {
            return refuse(parts, Refusal::new(491));
        }
        if !is_offer && method != Method::Invite && self.is_crowded(id, from) {
            return refuse(parts, Refusal { retry_after: Some(RETRY_SECONDS), ..Refusal::new(500) });
        }
        if self.is_unwanted_hold(parts, id, to, &request) {
            return refuse(parts, Refusal::warn(488, "An emergency call is not put on hold"));
        }
        if matches!(method, Method::Invite | Method::Update) && self.is_beyond(parts, from, to, &request) {
            return refuse(parts, Refusal::warn(488, "None of these streams can be relayed"));
        }
        let Ok(content) = self.relayed(parts, id, from, to, &request) else {
            return refuse(parts, Content::refusal_of(&request).unwrap_or(Refusal::new(488)));
        };
        let content = content.as_ref();
        let client = match method {
            // CONFORMANCE OA-6: never an UPDATE that the peer does not allow.
            _ if is_offer && parts.ua.may_update(to) => {
                parts.ua.request(&mut parts.context, to, Method::Update, &Lines::default(), content)
            }
            _ if is_offer || method == Method::Invite => parts.ua.reinvite(&mut parts.context, to, content),
            _ => {
                let mut lines = Lines::default();
                if let Some(package) = request.header(Name::InfoPackage) {
                    lines.push(b"Info-Package", package);
                }
                parts.ua.request(&mut parts.context, to, method, &lines, content)
            }
        };
        let Some(client) = client else { return refuse(parts, Refusal::new(491)) };
        if is_offer {
            self.wake(parts.context.now + PROMPT, id, Alarm::Overdue(client));
        }
        self.cross(id, from, server, client, request, flow);
    }

    /// True when as many requests of this leg wait for the answer of the other as may.
    fn is_crowded(&self, id: CallId, from: LegId) -> bool {
        let is_from = |crossing: &&Crossing| crossing.from == from;
        self.calls
            .get(id)
            .is_some_and(|call| call.crossings.iter().filter(is_from).count() >= limits::CROSSINGS_PER_LEG)
    }

    /// RFC 6881 ED-66; CONFORMANCE OA-10: where the configuration says so the call center goes on hearing the caller.
    fn is_unwanted_hold(&self, parts: &Parts<'_>, id: CallId, to: LegId, request: &Message) -> bool {
        let is_emergency = |call: &Call| match call.kind {
            Kind::Emergency | Kind::Test | Kind::Callback => call.hides_user_from(to),
            Kind::Internal | Kind::Outbound | Kind::Inbound => false,
        };
        !parts.config.routing.caller_hold
            && self.calls.get(id).is_some_and(is_emergency)
            && sdp::of(request).is_some_and(|offer| offer.holds())
    }

    /// A request of one leg waits for the answer of the other.
    pub(super) fn cross(
        &mut self,
        id: CallId,
        from: LegId,
        server: ServerId,
        client: ClientId,
        request: Message,
        flow: Flow,
    ) {
        if let Some(call) = self.calls.get_mut(id) {
            call.crossings.push(Crossing { from, server, client, request, flow });
        }
    }

    /// An UPDATE wants its answer soon (RFC 3311 §5.2), and the re-INVITE it became has none: it is taken back.
    pub(super) fn crossing_overdue(&mut self, parts: &mut Parts<'_>, id: CallId, client: ClientId) {
        let Some(crossing) = self.take_crossing(id, |crossing| crossing.client == client) else { return };
        let Crossing { from, server, request, flow, .. } = &crossing;
        let refusal = Refusal::warn(504, "The other party has not answered in time");
        parts.ua.refuse_carried(&mut parts.context, *from, *server, request, *flow, &refusal);
        if let Some(to) = self.counterpart(id, *from) {
            parts.ua.withdraw(&mut parts.context, to, client, None);
        }
    }

    /// The answer to a carried request goes back where the request came from.
    pub(super) fn carry_back(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) {
        let Some(crossing) = self.take_crossing(id, |crossing| crossing.client == client) else {
            return self.not_awaited(parts, id, leg, client, response);
        };
        let status = response.map_or_else(|status| status, Message::code);
        let relayed = response.ok().map(|response| self.relayed(parts, id, leg, crossing.from, response));
        match (crossing.request.method(), relayed, status) {
            (Method::Invite, Some(Ok(content)), 200..=299) => {
                parts.ua.answer(&mut parts.context, crossing.from, content.as_ref());
            }
            (Method::Invite, _, status) => {
                let refusal = match response {
                    Ok(response) if status >= 300 => self.refusal_for(id, crossing.from, Refusal::of(response)),
                    Ok(_) => Refusal::warn(488, "Malformed session description in the answer"),
                    Err(status) => Refusal::new(status),
                };
                parts.ua.refuse(&mut parts.context, crossing.from, &refusal);
            }
            (_, relayed, status) => {
                // RFC 4320 §4.2: 408 is no answer to a non-INVITE. Nor is what only our own side of the other leg can act upon.
                let status = match status {
                    408 => 504,
                    422 => 500,
                    status => super::dial::crossing(status),
                };
                let content = relayed.and_then(Result::ok).flatten();
                let Crossing { from, server, request, flow, .. } = &crossing;
                parts.ua.reply_carried(
                    &mut parts.context,
                    *from,
                    *server,
                    request,
                    *flow,
                    status,
                    content.filter(|_| status < 300).as_ref(),
                );
            }
        }
    }

    /// A response that nobody waits for any more. A 2xx to an INVITE that was withdrawn still wants its ACK, and what its peer
    /// now believes is put right (CONFORMANCE CA-3).
    fn not_awaited(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) {
        if self.aligned(parts, id, leg, client, response) {
            return;
        }
        let is_accepted = response.is_ok_and(|response| response.code() < 300 && response.method() == Method::Invite);
        let Some(other) = self.other(id, leg).filter(|_| is_accepted) else { return };
        let content = self.heard(parts, id, other, leg);
        parts.ua.acknowledge(&mut parts.context, leg, content.as_ref());
        self.unsettle(parts, id, leg);
    }

    /// A re-INVITE was taken back by its sender, and so it is on the other leg.
    pub(super) fn withdraw(&mut self, parts: &mut Parts<'_>, id: CallId, server: ServerId) {
        if let Some(crossing) = self.take_crossing(id, |crossing| crossing.server == server)
            && let Some(to) = self.other(id, crossing.from)
        {
            parts.ua.withdraw(&mut parts.context, to, crossing.client, None);
        }
    }

    /// One leg ended; so does the call.
    pub(super) fn leg_ended(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        reason: Option<&[u8]>,
        cause: Cause,
    ) {
        let reason = reason.unwrap_or(b"Q.850;cause=16;text=\"Normal call clearing\"");
        let (outcome, status) = match cause {
            Cause::Bye => (Outcome::Answered, 200),
            Cause::NoAck => (Outcome::Failed, 408),
            Cause::Gone => (Outcome::Answered, 481),
            Cause::Expired => (Outcome::Answered, 408),
            Cause::NoPrack => return self.caller_failed(parts, id, reason, 504),
        };
        self.drop_transfer(parts, id, 487);
        match self.other(id, leg) {
            Some(other) => {
                let hides = cause == Cause::Bye && self.calls.get(id).is_some_and(|call| call.hides_user_from(other));
                let bare = hides.then(|| bare_reason(reason));
                parts.ua.hang_up(&mut parts.context, other, Some(bare.as_deref().unwrap_or(reason)));
                parts.ua.orphan(other);
                self.finish(parts, id, outcome, status);
            }
            // BYE on an early dialog, or to the test line: as if cancelled (RFC 3261 §15).
            None => self.caller_gave_up(parts, id, Some(reason)),
        }
        parts.ua.orphan(leg);
    }

    /// The leg that a request of `leg` is for: the one it is bridged with, or before the answer the one whose description the
    /// caller has acknowledged (RFC 6337 §3.2).
    pub(super) fn counterpart(&self, id: CallId, leg: LegId) -> Option<LegId> {
        let call = self.calls.get(id)?;
        if call.callee.is_some() {
            return self.other(id, leg);
        }
        let early = call.early.filter(|early| call.branches.iter().any(|branch| branch.leg == *early))?;
        match leg {
            leg if leg == call.caller => Some(early),
            leg if leg == early => Some(call.caller),
            _ => None,
        }
    }

    /// For what may be said while it rings (RFC 6086 §4.2.1), where nothing was acknowledged: the only branch that has a dialog.
    fn ringing_counterpart(&self, parts: &Parts<'_>, id: CallId, leg: LegId, method: Method) -> Option<LegId> {
        let call = self.calls.get(id).filter(|call| call.callee.is_none())?;
        let is_early = |leg: &LegId| parts.ua.leg(*leg).is_some_and(crate::ua::Leg::has_early_dialog);
        let mut ringing = call.branches.iter().map(|branch| branch.leg).filter(is_early);
        let only = ringing.next().filter(|_| ringing.next().is_none())?;
        match (method, leg) {
            (Method::Info | Method::Message, leg) if leg == call.caller => Some(only),
            (Method::Info | Method::Message, leg) if leg == only => Some(call.caller),
            _ => None,
        }
    }

    pub(super) fn other(&self, id: CallId, leg: LegId) -> Option<LegId> {
        let call: &Call = self.calls.get(id)?;
        let callee = call.callee?;
        match leg {
            leg if leg == call.caller => Some(callee),
            leg if leg == callee => Some(call.caller),
            _ => None,
        }
    }

    /// What the leg `to` is told of a refusal on the other leg.
    pub(super) fn refusal_for(&self, id: CallId, to: LegId, refusal: Refusal) -> Refusal {
        let hides = self.calls.get(id).is_some_and(|call| call.hides_user_from(to));
        let reason = refusal.reason.clone().map(|reason| if hides { bare_reason(&reason).into() } else { reason });
        super::dial::for_caller(Refusal { reason, ..refusal })
    }

    /// The body of `message` of `from` for the leg `to`. What the phone of an emergency says never tells a trunk who it is
    /// (SPEC §4).
    pub(super) fn relayed(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        from: LegId,
        to: LegId,
        message: &Message,
    ) -> Result<Option<Content>, Unacceptable> {
        let Some(call) = self.calls.get(id) else { return Ok(None) };
        let secrets = call.hides_user_from(to).then(|| {
            let number = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
            Secrets::of(message, call.user.as_ref(), number)
        });
        let passage = self.passage_of(parts, from, to, message);
        let edits = Edits { secrets, passage };
        parts.ua.relayed(to, message, |description| edits.edit(description))
    }

    /// What the peer of `from` last said of its media, for the leg `to`; `None` when nothing is known.
    pub(super) fn heard(&mut self, parts: &mut Parts<'_>, id: CallId, from: LegId, to: LegId) -> Option<Content> {
        let (description, edits) = self.known(parts, id, from, to)?;
        parts.ua.described(to, &description, |description| edits.edit(description))
    }

    /// The description that holds for the peer of `from`, and what of it is changed on its way to `to`.
    pub(super) fn known(
        &mut self,
        parts: &Parts<'_>,
        id: CallId,
        from: LegId,
        to: LegId,
    ) -> Option<(bytes::Bytes, Edits)> {
        let call = self.calls.get(id)?;
        let leg = parts.ua.leg(from)?;
        let description = Some(leg.theirs().clone()).filter(|description| Sdp::new(description).well_formed())?;
        let number = call.user.as_ref().and_then(|user| parts.config.user(user)?.number);
        let secrets = call.hides_user_from(to).then(|| Secrets::of_peer(leg, call.user.as_ref(), number));
        let passage = self.passage(parts, from, to, &description);
        Some((description, Edits { secrets, passage }))
    }

    fn take_crossing(&mut self, id: CallId, is_it: impl Fn(&Crossing) -> bool) -> Option<Crossing> {
        let call = self.calls.get_mut(id)?;
        let at = call.crossings.iter().position(is_it)?;
        Some(call.crossings.remove(at))
    }
}
