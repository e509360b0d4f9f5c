//! The built-in test line: answers a test call under its temporary number, states it and hangs up (SPEC §7). The number is told
//! in the header `X-Emergency-Number` of the 200 too; that is all of it where the caller offers no G.711, no port is free, or
//! a browser calls and no rtpengine stands between.

use std::time::Duration;

use super::history::Outcome;
use super::media::Speaks;
use super::voice::{described, refused, spoken_of, wants};
use super::{Alarm, Calls, Parts, Stage};
use crate::base::E164;
use crate::lease::Shown;
use crate::media::{Codec, Kind, Prompt, Stream, Voice};
use crate::sip::sdp::Sdp;
use crate::sip::{Message, Method, sdp};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{CallId, Content, LegId, Refusal};

/// How long a silent line stays up.
const STAYS: Duration = Duration::from_secs(5);
/// How long a line stays up at most that speaks, or is on hold.
const SPEAKS: Duration = Duration::from_secs(90);

impl Calls {
    pub(super) fn answer_test(&mut self, parts: &mut Parts<'_>, id: CallId, shown: Shown, invite: &Message) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.stage = Stage::TestLine;
        call.number = Some(shown.number());
        let caller = call.caller;
        let speaks = Speaks::Test(Box::new(invite.clone()));
        if self.ask_voice(parts, id, caller, invite, speaks).is_none() {
            self.test_answers(parts, id, invite);
        }
    }

    /// As it can: with a voice, or without.
    pub(super) fn test_answers(&mut self, parts: &mut Parts<'_>, id: CallId, invite: &Message) {
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        call.answered_at = Some(now);
        let (caller, number) = (call.caller, call.number);
        let spoken = self.spoken(parts, caller, invite);
        let stays = if spoken.is_some() { SPEAKS } else { STAYS };
        let Some(mut content) = spoken.or_else(|| silence(parts, caller, invite)) else {
            let refusal = Refusal::warn(488, "The test line needs an audio offer");
            self.refuse_caller(parts, id, &refusal, Outcome::Failed);
            return;
        };
        if let Some(number) = number {
            content.lines.push(b"X-Emergency-Number", number.to_string().as_bytes());
        }
        parts.ua.answer(&mut parts.context, caller, Some(&content));
        self.wake(now + stays, id, Alarm::TestOver);
    }

    /// What a caller asks inside the dialog: hold and the like get their answer, digits are taken, texts have no reader.
    pub(super) fn asked_of_test_line(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        leg: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let offer = || Refusal::warn(488, "The test line needs an audio offer");
        let (content, refusal) = match request.method() {
            Method::Invite | Method::Update => {
                match self.spoken(parts, leg, request).or_else(|| silence(parts, leg, request)) {
                    Some(content) => (Some(content), None),
                    None => (None, Some(offer())),
                }
            }
            Method::Info => (None, None),
            _ => (None, Some(Refusal::warn(480, "Nobody reads what is written to the test line"))),
        };
        match refusal {
            Some(refusal) => parts.ua.refuse_carried(&mut parts.context, leg, server, request, flow, &refusal),
            None if request.method() == Method::Invite => parts.ua.answer(&mut parts.context, leg, content.as_ref()),
            None => {
                parts.ua.reply_carried(&mut parts.context, leg, server, request, flow, 200, content.as_ref());
                self.speak(parts, id);
            }
        }
    }

    /// The caller has heard how it is answered: the line speaks, from the beginning where it was on hold.
    pub(super) fn speak(&mut self, parts: &Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| matches!(call.stage, Stage::TestLine)) else { return };
        let (caller, number) = (call.caller, call.number);
        let Some(theirs) = parts.ua.leg(caller).map(|leg| self.heard_of(caller, leg.theirs())) else { return };
        for (at, stream) in Stream::all(&theirs).iter().enumerate() {
            let voice = spoken_of(stream).filter(|_| wants(stream)).zip(number);
            self.say(caller, at, voice.map(|((codec, payload_type), number)| message(codec, payload_type, number)));
        }
    }

    /// Nobody hears it any more.
    pub(super) fn test_is_mute(&mut self, parts: &Parts<'_>, id: CallId) {
        if self.calls.get(id).is_some_and(|call| matches!(call.stage, Stage::TestLine)) {
            self.wake(parts.context.now + STAYS, id, Alarm::TestOver);
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

/// SPEC §7: digit by digit, twice. The phone may need a moment before it listens.
fn message(codec: Codec, payload_type: u8, number: E164) -> Voice {
    let digits = || number.to_string().into_bytes().into_iter().filter(u8::is_ascii_digit).map(|digit| digit - b'0');
    let number = || std::iter::once(Prompt::Plus).chain(digits().map(Prompt::Digit));
    let prompts = [Prompt::Pause, Prompt::Pause, Prompt::Test].into_iter().chain(number());
    let prompts = prompts.chain([Prompt::Pause, Prompt::Again]).chain(number()).chain([Prompt::Pause, Prompt::Goodbye]);
    Voice { codec, payload_type, prompts: prompts.collect(), repeats: false }
}

/// An answer that takes the first audio stream as inactive and refuses the others (RFC 3264 §6); an offer of one inactive
/// stream where the INVITE has none.
fn silence(parts: &mut Parts<'_>, leg: LegId, invite: &Message) -> Option<Content> {
    let listener = parts.ua.leg(leg)?.flow().listener;
    let address = parts.ua.settings().locals.get(usize::from(listener.0))?.address;
    let Some(description) = sdp::locate(invite).and_then(|place| invite.body().get(place)) else {
        return described(parts, leg, address, "m=audio 9 RTP/AVP 0\r\na=inactive\r\n");
    };
    if !Sdp::new(description).well_formed() {
        return None;
    }
    let mut media = String::new();
    let mut taken = false;
    for stream in Stream::all(description) {
        let takes = !taken && stream.kind == Kind::Audio && stream.port != 0;
        taken |= takes;
        let line = refused(&stream);
        media.push_str(&if takes { line.replacen(" 0 ", " 9 ", 1) + "a=inactive\r\n" } else { line });
    }
    if taken { described(parts, leg, address, &media) } else { None }
}
