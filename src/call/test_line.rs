//! The built-in test line: answers a test call under its temporary number and hangs up (SPEC §7).
//! The number is told in the header `X-Emergency-Number` of the 200; the media is silence.

use std::time::Duration;

use super::history::Outcome;
use super::{Alarm, Calls, Parts, Stage};
use crate::lease::Shown;
use crate::sip::{Message, Method, sdp};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{CallId, Content, LegId, Refusal};

/// How long the line stays up.
const STAYS: Duration = Duration::from_secs(5);

impl Calls {
    pub(super) fn answer_test(&mut self, parts: &mut Parts<'_>, id: CallId, shown: Shown, invite: &Message) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        call.stage = Stage::TestLine;
        call.answered_at = Some(now);
        let caller = call.caller;
        let Some(mut content) = silence(parts, caller, invite) else {
            let refusal = Refusal::warn(488, "The test line needs an audio offer");
            self.refuse_caller(parts, id, &refusal, Outcome::Failed);
            return;
        };
        content.lines.push(b"X-Emergency-Number", shown.number().to_string().as_bytes());
        parts.ua.answer(&mut parts.context, caller, Some(&content));
        self.wake(now + STAYS, id, Alarm::TestOver);
    }

    /// What a caller asks inside the dialog: hold and the like get their answer, digits are taken, texts have no reader.
    pub(super) fn asked_of_test_line(
        &mut self,
        parts: &mut Parts<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let offer = || Refusal::warn(488, "The test line needs an audio offer");
        let (content, refusal) = match request.method() {
            Method::Invite | Method::Update => match silence(parts, leg, request) {
                Some(content) => (Some(content), None),
                None => (None, Some(offer())),
            },
            Method::Info => (None, None),
            _ => (None, Some(Refusal::warn(480, "Nobody reads what is written to the test line"))),
        };
        match refusal {
            Some(refusal) => parts.ua.refuse_carried(&mut parts.context, leg, server, request, flow, &refusal),
            None if request.method() == Method::Invite => parts.ua.answer(&mut parts.context, leg, content.as_ref()),
            None => {
                parts.ua.reply_carried(&mut parts.context, leg, server, request, flow, 200, content.as_ref());
            }
        }
    }

    pub(super) fn test_over(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| matches!(call.stage, Stage::TestLine)) else { return };
        let caller = call.caller;
        parts.ua.hang_up(&mut parts.context, caller, Some(b"Q.850;cause=16;text=\"Test over\""));
        parts.ua.orphan(caller);
        self.finish(parts, id, Outcome::Answered, 200);
    }
}

/// An answer that takes the first audio stream as inactive and refuses the others (RFC 3264 §6); an offer of one inactive
/// stream where the INVITE has none.
fn silence(parts: &mut Parts<'_>, leg: LegId, invite: &Message) -> Option<Content> {
    let listener = parts.ua.leg(leg)?.flow().listener;
    let address = parts.ua.settings().locals.get(usize::from(listener.0))?.address;
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let mut text = format!("v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n");
    let Some(offer) = sdp::of(invite) else {
        text.push_str("m=audio 9 RTP/AVP 0\r\na=inactive\r\n");
        return parts.ua.described(leg, text.as_bytes(), |_| None);
    };
    if !offer.well_formed() {
        return None;
    }
    let mut taken = false;
    for media in offer.media() {
        let kind = String::from_utf8_lossy(media.kind);
        let protocol = String::from_utf8_lossy(media.protocol);
        let formats = String::from_utf8_lossy(media.formats);
        let first = formats.split_whitespace().next().unwrap_or("0").to_owned();
        let takes = !taken && media.kind == b"audio" && media.port != 0;
        taken |= takes;
        let port = if takes { 9 } else { 0 };
        text.push_str(&format!("m={kind} {port} {protocol} {first}\r\n"));
        if takes {
            text.push_str("a=inactive\r\n");
        }
    }
    if taken { parts.ua.described(leg, text.as_bytes(), |_| None) } else { None }
}
