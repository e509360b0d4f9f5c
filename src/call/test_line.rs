//! The built-in test line: answers a test call under its temporary number, states it and hangs up (SPEC §7). The number is told
//! in the header `X-Emergency-Number` of the 200 too; that is all of it where the caller offers no G.711, or no port is free.

use std::time::Duration;

use super::history::Outcome;
use super::{Alarm, Calls, Parts, Stage};
use crate::base::E164;
use crate::lease::Shown;
use crate::media::{Codec, Kind, Prompt, Stream, Voice};
use crate::sip::sdp::{Direction, Sdp};
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
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        call.stage = Stage::TestLine;
        call.answered_at = Some(now);
        let caller = call.caller;
        let spoken = self.spoken(parts, caller, invite);
        let stays = if spoken.is_some() { SPEAKS } else { STAYS };
        let Some(mut content) = spoken.or_else(|| silence(parts, caller, invite)) else {
            let refusal = Refusal::warn(488, "The test line needs an audio offer");
            self.refuse_caller(parts, id, &refusal, Outcome::Failed);
            return;
        };
        content.lines.push(b"X-Emergency-Number", shown.number().to_string().as_bytes());
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
        let Some(leg) = parts.ua.leg(caller) else { return };
        for (at, stream) in Stream::all(leg.theirs()).iter().enumerate() {
            let voice = spoken_of(stream).filter(|_| wants(stream)).zip(number);
            self.say(caller, at, voice.map(|((codec, payload_type), number)| message(codec, payload_type, number)));
        }
    }

    pub(super) fn test_over(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| matches!(call.stage, Stage::TestLine)) else { return };
        let caller = call.caller;
        parts.ua.hang_up(&mut parts.context, caller, Some(b"Q.850;cause=16;text=\"Test over\""));
        parts.ua.orphan(caller);
        self.finish(parts, id, Outcome::Answered, 200);
    }

    /// An answer that takes the first stream of G.711 and refuses the others (RFC 3264 §6); an offer of one where `message` has
    /// none. `None`: no such stream, or no port.
    pub(super) fn spoken(&mut self, parts: &mut Parts<'_>, leg: LegId, message: &Message) -> Option<Content> {
        let Some(description) = sdp::locate(message).and_then(|place| message.body().get(place)) else {
            let ports = self.own_ports(parts, leg, 0, false)?;
            let media = format!("m=audio {} RTP/AVP 0 8\r\na=ptime:20\r\n", ports.rtp);
            return described(parts, leg, ports.address, &media);
        };
        if !Sdp::new(description).well_formed() {
            return None;
        }
        let streams = Stream::all(description);
        let (at, (codec, payload_type)) =
            streams.iter().enumerate().find_map(|(at, stream)| Some((at, spoken_of(stream)?)))?;
        let mux = streams.get(at).is_some_and(|stream| stream.mux);
        let ports = self.own_ports(parts, leg, at, mux)?;
        let mut media = String::new();
        for (this, stream) in streams.iter().enumerate() {
            if this != at {
                media.push_str(&refused(stream));
                continue;
            }
            let name = match codec {
                Codec::Pcmu => "PCMU",
                Codec::Pcma => "PCMA",
            };
            let protocol = String::from_utf8_lossy(stream.protocol);
            media.push_str(&format!("m=audio {} {protocol} {payload_type}\r\n", ports.rtp));
            media.push_str(&format!("a=rtpmap:{payload_type} {name}/8000\r\na=ptime:20\r\n"));
            media.push_str(if mux { "a=rtcp-mux\r\n" } else { "" });
            // RFC 3264 §6.1
            media.push_str(match (stream.direction, wants(stream)) {
                (Direction::SendRecv, true) => "a=sendrecv\r\n",
                (_, true) => "a=sendonly\r\n",
                (Direction::SendRecv | Direction::SendOnly, false) => "a=recvonly\r\n",
                (Direction::RecvOnly | Direction::Inactive, false) => "a=inactive\r\n",
            });
        }
        described(parts, leg, ports.address, &media)
    }
}

/// True when whoever describes the stream so is to be sent something.
fn wants(stream: &Stream<'_>) -> bool {
    matches!(stream.direction, Direction::SendRecv | Direction::RecvOnly) && stream.port != 0 && !stream.is_nowhere()
}

/// The codec of ours that a stream takes, and its payload type there; plain RTP only.
fn spoken_of(stream: &Stream<'_>) -> Option<(Codec, u8)> {
    let is_plain = matches!(stream.protocol, b"RTP/AVP" | b"RTP/AVPF");
    let takes = stream.kind == Kind::Audio && stream.port != 0 && is_plain;
    if takes { stream.g711() } else { None }
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

/// The m= line of a stream that is not taken.
fn refused(stream: &Stream<'_>) -> String {
    let name = String::from_utf8_lossy(stream.name);
    let protocol = String::from_utf8_lossy(stream.protocol);
    let formats = String::from_utf8_lossy(stream.formats);
    format!("m={name} 0 {protocol} {}\r\n", formats.split_whitespace().next().unwrap_or("0"))
}

fn described(parts: &mut Parts<'_>, leg: LegId, address: std::net::IpAddr, media: &str) -> Option<Content> {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let text = format!("v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n{media}");
    parts.ua.described(leg, text.as_bytes(), |_| None)
}
