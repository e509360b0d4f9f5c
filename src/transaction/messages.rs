//! The messages that transactions make themselves: ACK of a non-2xx, CANCEL, 100, and refusals without a transaction.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::sip::{self, Message, Name, Writer};
use crate::transport::Flow;

/// Seconds after which a peer refused for want of room may come back: a lingering transaction lives that long.
const RETRY_AFTER_S: u8 = 32;

/// RFC 3261 §17.1.1.3: from the INVITE, except To, which is that of the response. `None` when `invite` is not a message.
pub(super) fn ack(writer: &mut Writer, invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let to = response.header(Name::To)?;
    Some(on_branch_of(&invite, writer, "ACK", to)?.finish())
}

/// RFC 3261 §9.1; `reason` is the value of a Reason header (RFC 3326). `None` when `invite` is not a message.
pub(super) fn cancel(writer: &mut Writer, invite: &Bytes, reason: Option<&[u8]>) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let to = invite.header(Name::To)?;
    let writer = on_branch_of(&invite, writer, "CANCEL", to)?;
    if let Some(reason) = reason {
        writer.header("Reason", reason);
    }
    Some(writer.finish())
}

/// Begins a request that follows an INVITE hop by hop: same Request-URI, top Via, Route, From, Call-ID and CSeq number.
fn on_branch_of<'w>(invite: &Message, writer: &'w mut Writer, method: &str, to: &[u8]) -> Option<&'w mut Writer> {
    let via = invite.header(Name::Via)?;
    let from = invite.header(Name::From)?;
    let writer = writer.request(method.as_bytes(), invite.request_uri());
    writer.header("Via", via).copy(invite, Name::Route).header("Max-Forwards", b"70");
    writer.header("From", from).header("To", to).header("Call-ID", invite.call_id());
    Some(writer.header_fmt("CSeq", format_args!("{} {method}", invite.cseq())))
}

/// RFC 3261 §8.2.6.1: without a To tag.
pub(super) fn trying(writer: &mut Writer, invite: &Message, flow: Flow) -> Bytes {
    sip::reply(writer, invite, flow.remote, 100, None, None).finish()
}

/// An answer of which no state is kept: its To tag is the same each time (RFC 3261 §8.2.7).
pub(super) fn stateless<'w>(writer: &'w mut Writer, request: &Message, flow: Flow, code: u16) -> &'w mut Writer {
    let tag = stateless_tag(request);
    sip::reply(writer, request, flow.remote, code, None, Some(tag.as_bytes()))
}

/// A refusal of which no state is kept; a 503 says when to come back.
pub(super) fn refusal(writer: &mut Writer, request: &Message, flow: Flow, code: u16) -> Bytes {
    let writer = stateless(writer, request, flow, code);
    if code == 503 {
        writer.header_fmt("Retry-After", format_args!("{RETRY_AFTER_S}"));
    }
    writer.finish()
}

/// 16 hexadecimal digits that depend on the request alone.
fn stateless_tag(request: &Message) -> String {
    let mut hasher = DefaultHasher::new();
    request.call_id().hash(&mut hasher);
    request.from_tag().hash(&mut hasher);
    request.top_via().branch().hash(&mut hasher);
    request.cseq().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
