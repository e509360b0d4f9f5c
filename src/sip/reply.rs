//! The common part of every answer (RFC 3261 §8.2.6).

use std::io::Write as _;
use std::net::SocketAddr;

use super::reason::reason_phrase;
use super::text::{trim_end, unfold, value_end};
use super::{Message, Name, Via, Writer};

/// Prints the status line, the Vias (the top one stamped with where the request came from), From, To (with `to_tag` if it has no
/// tag), Call-ID and CSeq; a 100 gets the Timestamp (§8.2.6.1). `reason`: `None` for the usual phrase.
pub fn reply<'w>(
    writer: &'w mut Writer,
    request: &Message,
    source: SocketAddr,
    code: u16,
    reason: Option<&str>,
    to_tag: Option<&[u8]>,
) -> &'w mut Writer {
    writer.response(code, reason.unwrap_or_else(|| reason_phrase(code)).as_bytes());
    let mut first = true;
    for header in request.headers().filter(|header| header.name == Name::Via) {
        if std::mem::take(&mut first) {
            writer.header("Via", &stamped(header.value, source));
        } else {
            writer.copy_line(&header);
        }
    }
    writer.copy(request, Name::From);
    match to_tag.filter(|_| request.to_tag().is_none()) {
        Some(tag) => {
            let to = unfold(request.header(Name::To).unwrap_or_default());
            let to = trim_end(&to);
            let to = to.strip_suffix(b";").unwrap_or(to);
            writer.header("To", &[to, b";tag=", tag].concat());
        }
        None => {
            writer.copy(request, Name::To);
        }
    }
    writer.copy(request, Name::CallId).copy(request, Name::CSeq);
    if code == 100 {
        writer.copy(request, Name::Timestamp);
    }
    writer
}

/// A Via line whose first value has `received` (RFC 3261 §18.2.1) and `rport` (RFC 3581 §4) filled in from `source`.
pub fn stamped(line: &[u8], source: SocketAddr) -> Vec<u8> {
    let (first, others) = line.split_at_checked(value_end(line)).unwrap_or((line, &[]));
    let mut stamped = Vec::with_capacity(line.len() + 64);
    match Via::parse(first) {
        Ok(via) => {
            stamp(&mut stamped, first, via, source);
            stamped.extend_from_slice(others);
        }
        Err(_) => stamped.extend_from_slice(line),
    }
    stamped
}

fn stamp(out: &mut Vec<u8>, value: &[u8], via: Via<'_>, source: SocketAddr) {
    let source_ip = source.ip().to_canonical();
    let value = trim_end(value);
    let sent_by = value.get(..value.len().saturating_sub(via.params.raw().len())).unwrap_or_default();
    out.extend_from_slice(trim_end(sent_by));
    for param in via.params.iter().filter(|param| !is_stamp(param.name)) {
        out.push(b';');
        out.extend_from_slice(param.raw);
    }
    let asked = via.rport().is_some();
    if asked || via.host_ip().map(|ip| ip.to_canonical()) != Some(source_ip) {
        let _ = write!(out, ";received={source_ip}"); // writing to memory cannot fail
    }
    if asked {
        let _ = write!(out, ";rport={}", source.port());
    }
}

fn is_stamp(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn stamp_of(line: &str, source: &str) -> String {
        String::from_utf8(stamped(line.as_bytes(), source.parse().unwrap())).unwrap()
    }

    #[test]
    fn the_top_via_is_stamped() {
        // RFC 3581 §4: an rport is always filled in, with a received beside it.
        assert_eq!(
            stamp_of("SIP/2.0/UDP 10.1.1.1:4540;rport ; branch=z9hG4bKkjshdyff", "192.0.2.1:9988"),
            "SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.1;rport=9988"
        );
        // RFC 3261 §18.2.1: received only where the sent-by is another address, or a name.
        assert_eq!(stamp_of("SIP/2.0/UDP 192.0.2.1;branch=b", "192.0.2.1:9988"), "SIP/2.0/UDP 192.0.2.1;branch=b");
        assert_eq!(
            stamp_of("SIP/2.0/UDP h.example ;branch=b", "192.0.2.1:9988"),
            "SIP/2.0/UDP h.example;branch=b;received=192.0.2.1"
        );
        assert_eq!(stamp_of("SIP/2.0/UDP [2001:db8::1]:5060", "[2001:db8::1]:9"), "SIP/2.0/UDP [2001:db8::1]:5060");
        assert_eq!(stamp_of("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:9"), "SIP/2.0/UDP 192.0.2.1");
    }

    #[test]
    fn a_forged_received_goes_and_further_values_stay() {
        assert_eq!(
            stamp_of("SIP/2.0/UDP h;received=203.0.113.9;branch=b, SIP/2.0/TCP g;branch=c", "192.0.2.1:5060"),
            "SIP/2.0/UDP h;branch=b;received=192.0.2.1, SIP/2.0/TCP g;branch=c"
        );
    }

    #[test]
    fn an_answer_copies_what_it_must() {
        let text = "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=b\r\nv: SIP/2.0/TCP g\r\nf: sip:a@x;tag=1\r\nTo: sip:b@x;\r\n\
            Timestamp: 5\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nSubject: no\r\n\r\n";
        let request = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
        let source = "192.0.2.1:5060".parse().unwrap();
        let mut writer = Writer::new();
        let trying = reply(&mut writer, &request, source, 100, None, None).finish();
        let expected = "SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=b\r\nv: SIP/2.0/TCP g\r\nf: sip:a@x;tag=1\r\nTo: sip:b@x;\r\n\
            Call-ID: c\r\nCSeq: 1 INVITE\r\nTimestamp: 5\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(std::str::from_utf8(&trying).unwrap(), expected);
        let busy =
            Message::parse(reply(&mut writer, &request, source, 486, Some("Later"), Some(b"2")).finish()).unwrap();
        assert_eq!((busy.code(), busy.reason(), busy.to_tag()), (486, &b"Later"[..], Some(&b"2"[..])));
        assert_eq!(busy.from_tag(), Some(&b"1"[..]));
    }
}
