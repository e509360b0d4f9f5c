//! What the daemon says itself: descriptions of a stream of G.711 that ends here, and what is heard on it.

use std::net::IpAddr;

use super::history::Outcome;
use super::media::Speaks;
use super::{Alarm, Call, Calls, Parts, Stage};
use crate::base::limits;
use crate::media::{Codec, Kind, Prompt, Stream, Voice};
use crate::sip::sdp::{Direction, Sdp};
use crate::sip::{Message, sdp};
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{CallId, Content, LegId};

impl Calls {
    /// An answer that takes the first stream of G.711 and refuses the others (RFC 3264 §6); an offer of one where `message` has
    /// none. `None`: no such stream, or no port.
    pub(super) fn spoken(&mut self, parts: &mut Parts<'_>, leg: LegId, message: &Message) -> Option<Content> {
        let Some(description) = sdp::locate(message).and_then(|place| message.body().get(place)) else {
            let ports = self.own_ports(parts, leg, 0, None, false)?;
            let media = format!("m=audio {} RTP/AVP 0 8\r\na=ptime:20\r\n", ports.rtp);
            return described(parts, leg, ports.address, &media);
        };
        if !Sdp::new(description).well_formed() {
            return None;
        }
        if let Some((answer, text)) = self.answer_between(leg, description) {
            return parts.ua.described(leg, &answer, |_| Some(text.to_vec()));
        }
        let answer = self.own_answer_to(parts, leg, description)?;
        parts.ua.described(leg, answer.as_bytes(), |_| None)
    }

    /// Our answer to an offer in plain RTP.
    pub(super) fn own_answer_to(&mut self, parts: &Parts<'_>, leg: LegId, description: &[u8]) -> Option<String> {
        let streams = Stream::all(description);
        let (at, (codec, payload_type)) =
            streams.iter().enumerate().find_map(|(at, stream)| Some((at, spoken_of(stream)?)))?;
        let taken = streams.get(at)?;
        let ports = self.own_ports(parts, leg, at, taken.address(), taken.mux)?;
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
            media.push_str(if stream.mux { "a=rtcp-mux\r\n" } else { "" });
            // RFC 3264 §6.1
            media.push_str(match (stream.direction, wants(stream)) {
                (Direction::SendRecv, true) => "a=sendrecv\r\n",
                (_, true) => "a=sendonly\r\n",
                (Direction::SendRecv | Direction::SendOnly, false) => "a=recvonly\r\n",
                (Direction::RecvOnly | Direction::Inactive, false) => "a=inactive\r\n",
            });
        }
        Some(text_of(ports.address, &media))
    }

    /// A callback waits for its phone: the call taker is told so by a voice, where the configuration wants it and the offer
    /// has G.711. False: it was not.
    pub(super) fn announce_hold(&mut self, parts: &mut Parts<'_>, id: CallId, invite: &Message) -> bool {
        let Some(call) = self.calls.get(id).filter(|_| parts.config.callback.announcement) else { return false };
        let caller = call.caller;
        // What a phone has said before stays (CONFORMANCE OA-1).
        if self.is_told(caller) {
            return false;
        }
        self.ask_voice(parts, id, caller, invite, Speaks::Hold).is_some() || self.say_hold(parts, id, invite)
    }

    fn say_hold(&mut self, parts: &mut Parts<'_>, id: CallId, invite: &Message) -> bool {
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return false };
        let content = self.say_early(parts, caller, invite, &[Prompt::Hold, Prompt::Pause], true);
        let is_said = content.is_some();
        if let Some(call) = self.calls.get_mut(id) {
            call.announced = content;
        }
        is_said
    }

    /// rtpengine has said how, or will not: the call taker is told, unless there is more to tell by now.
    pub(super) fn hold_is_said(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Call { stage: Stage::Ringing(ringing), caller, .. }) = self.calls.get(id) else { return };
        let (invite, caller) = (ringing.invite.clone(), *caller);
        if !self.is_told(caller) && !self.say_hold(parts, id, &invite) {
            parts.ua.progress(&mut parts.context, caller, 182, None, None);
        }
    }

    /// 183 to the first INVITE of a leg, and a voice; what was described. `None`: the offer has no G.711, or no port is free.
    fn say_early(
        &mut self,
        parts: &mut Parts<'_>,
        leg: LegId,
        invite: &Message,
        prompts: &[Prompt],
        repeats: bool,
    ) -> Option<Content> {
        let description = invite.slice(invite.body().get(sdp::locate(invite)?)?);
        let description = self.heard_of(leg, &description);
        let streams = Stream::all(&description);
        let (at, (codec, payload_type)) =
            streams.iter().enumerate().find_map(|(at, stream)| Some((at, spoken_of(stream)?)))?;
        streams.get(at).filter(|stream| wants(stream))?;
        let content = self.spoken(parts, leg, invite)?;
        parts.ua.progress(&mut parts.context, leg, 183, Some(&content), None);
        self.say(leg, at, Some(Voice { codec, payload_type, prompts: prompts.to_vec(), repeats }));
        Some(content)
    }

    /// An emergency call that cannot be taken: where the configuration wants it, the caller hears so before it is told by the
    /// status. False: it was not said, and the refusal is due at once.
    pub(super) fn announce_refusal(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        server: ServerId,
        invite: &Message,
        flow: Flow,
    ) -> bool {
        let is_wanted = parts.config.media.announce_refusals && self.refusing < limits::REFUSALS_SAID;
        if !is_wanted || Content::is_malformed(invite) {
            return false;
        }
        let leg = parts.ua.accept(&mut parts.context, id, server, invite, flow, false);
        self.refusing += 1;
        if let Some(call) = self.calls.get_mut(id) {
            call.caller = leg;
        }
        self.open_media(id, leg, None);
        if self.ask_voice(parts, id, leg, invite, Speaks::Refusal(Box::new(invite.clone()))).is_none() {
            self.say_refusal(parts, id, invite);
        }
        true
    }

    pub(super) fn say_refusal(&mut self, parts: &mut Parts<'_>, id: CallId, invite: &Message) {
        let Some(leg) = self.calls.get(id).map(|call| call.caller) else { return };
        match self.say_early(parts, leg, invite, &[Prompt::Pause, Prompt::Refused], false) {
            Some(_) => self.wake(parts.context.now + limits::REFUSAL, id, Alarm::RefusalOver),
            None => self.refusal_over(parts, id),
        }
    }

    /// The refusal has been said, or has taken long enough.
    pub(super) fn refusal_over(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(Stage::Refusing(refusal)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let refusal = (**refusal).clone();
        self.refuse_caller(parts, id, &refusal, Outcome::Refused);
    }

    /// The phone has answered: nothing is said any more. What was described in the 183, which the 2xx has to repeat (CONFORMANCE
    /// OA-1).
    pub(super) fn end_announcement(&mut self, id: CallId) -> Option<Content> {
        let call = self.calls.get_mut(id)?;
        let content = call.announced.take()?;
        let caller = call.caller;
        for at in 0..limits::STREAMS_PER_LEG {
            self.say(caller, at, None);
        }
        Some(content)
    }
}

/// True when whoever describes the stream so is to be sent something.
pub(super) fn wants(stream: &Stream<'_>) -> bool {
    matches!(stream.direction, Direction::SendRecv | Direction::RecvOnly) && stream.port != 0 && !stream.is_nowhere()
}

/// The codec of ours that a stream takes, and its payload type there; plain RTP only.
pub(super) fn spoken_of(stream: &Stream<'_>) -> Option<(Codec, u8)> {
    let is_plain = matches!(stream.protocol, b"RTP/AVP" | b"RTP/AVPF");
    let takes = stream.kind == Kind::Audio && stream.port != 0 && is_plain;
    if takes { stream.g711() } else { None }
}

/// True for a stream that we could take if it were plain RTP.
pub(super) fn is_in_need(stream: &Stream<'_>) -> bool {
    stream.kind == Kind::Audio && stream.port != 0 && stream.is_rtp() && stream.g711().is_some()
}

/// The m= line of a stream that is not taken.
pub(super) fn refused(stream: &Stream<'_>) -> String {
    let name = String::from_utf8_lossy(stream.name);
    let protocol = String::from_utf8_lossy(stream.protocol);
    let formats = String::from_utf8_lossy(stream.formats);
    format!("m={name} 0 {protocol} {}\r\n", formats.split_whitespace().next().unwrap_or("0"))
}

pub(super) fn described(parts: &mut Parts<'_>, leg: LegId, address: IpAddr, media: &str) -> Option<Content> {
    parts.ua.described(leg, text_of(address, media).as_bytes(), |_| None)
}

fn text_of(address: IpAddr, media: &str) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!("v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n{media}")
}
