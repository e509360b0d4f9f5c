//! The text floor beside two strangers, rsip and sipx-sip: where they take a message, they must read the same in it.
//! Where a stranger is known to misread, the row says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
use sipx_sip::{Limits, parse_datagram};
use sosbridge::sip::{Message, compat};

/// What identifies transaction and dialog, as text.
#[derive(Debug, PartialEq)]
struct Reading {
    branch: Option<String>,
    from_tag: Option<String>,
    to_tag: Option<String>,
    cseq: u32,
    call_id: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ours(message: &Message) -> Reading {
    Reading {
        branch: message.top_via().branch().map(text),
        from_tag: message.from_tag().map(text),
        to_tag: message.to_tag().map(text),
        cseq: message.cseq(),
        call_id: text(message.call_id()),
    }
}

fn sipx(bytes: Bytes) -> Option<Reading> {
    use sipx_sip::headers::{CSeq, CallId, From, To, Via};
    let parsed = parse_datagram(bytes, &Limits::datagram()).ok()?;
    let headers = parsed.headers();
    Some(Reading {
        branch: headers.typed_all::<Via>().next()?.ok()?.branch().map(text),
        from_tag: headers.typed::<From>()?.ok()?.0.tag().map(text),
        to_tag: headers.typed::<To>()?.ok()?.0.tag().map(text),
        cseq: headers.typed::<CSeq>()?.ok()?.sequence,
        call_id: text(&headers.typed::<CallId>()?.ok()?.0),
    })
}

fn rsip_reading(message: &impl HeadersExt) -> Option<Reading> {
    let via = message.via_header().ok()?.typed().ok()?;
    Some(Reading {
        branch: via.branch().map(|branch| branch.value().to_owned()),
        from_tag: message.from_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_owned()),
        to_tag: message.to_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_owned()),
        cseq: message.cseq_header().ok()?.typed().ok()?.seq,
        call_id: message.call_id_header().ok()?.value().to_owned(),
    })
}

fn rsip_of(message: &Message) -> Option<Reading> {
    match compat::to_rsip(message).ok()? {
        rsip::SipMessage::Request(request) => rsip_reading(&request),
        rsip::SipMessage::Response(response) => rsip_reading(&response),
    }
}

/// What phones, trunks and proxies send, beside the torture messages.
const FIELD: [&str; 6] = [
    "REGISTER sip:x.example SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.7:49152;branch=z9hG4bK.a~b;rport\r\nFrom: <sip:a@x.example>;tag=Qx-1\r\n\
     To: sip:a@x.example\r\nCSeq: 20 REGISTER\r\nCall-ID: WvN8@10\r\nMax-Forwards: 70\r\n\
     Contact: <sip:a@10.0.0.7:49152;transport=tcp>;+sip.instance=\"<urn:uuid:0-1>\";expires=600\r\n\r\n",
    "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;received=192.0.2.1;rport=5060\r\n\
     From: \"A \\\"q\\\" <x>\" <sip:a@x>;tag=ft\r\nTo: <sip:b@x>;x=y;tag=tt\r\nCall-ID: 1\r\nCSeq: 102 INVITE\r\nContent-Length: 0\r\n\r\n",
    "INVITE urn:service:sos SIP/2.0\r\nv: SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bKv6\r\nf: <tel:+43144>;tag=1\r\nt: <urn:service:sos>\r\n\
     i: c\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n",
    "BYE sip:b@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b;branch=2\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
     Call-ID: c\r\nCSeq: 4294967295 BYE\r\nUser-Agent: J\u{f6}rg\r\n\r\n",
    "SIP/2.0 480 Nobody home\r\nVia:SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom:a<sip:a@x> ; tag = ft\r\nTo:sip:b@x;tag=tt\r\nCall-ID:1\r\n\
     CSeq:102\r\n INVITE\r\n\r\n",
    "ACK sip:john.doe@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: c\r\nCSeq: 1 ACK\r\n\r\n",
];

fn corpus() -> Vec<(String, Bytes)> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rfc4475/messages")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let torture = files.iter().map(|path| (path.display().to_string(), Bytes::from(std::fs::read(path).unwrap())));
    let field = FIELD.iter().enumerate().map(|(at, text)| (format!("field {at}"), Bytes::from_static(text.as_bytes())));
    torture.chain(field).collect()
}

#[test]
fn three_readers_read_the_same() {
    let (mut by_sipx, mut by_rsip) = (0, 0);
    let mut different = Vec::new();
    for (name, bytes) in corpus() {
        let Ok(message) = Message::parse(bytes.clone()) else { continue };
        let own = ours(&message);
        for (stranger, reading, count) in
            [("sipx", sipx(bytes), &mut by_sipx), ("rsip", rsip_of(&message), &mut by_rsip)]
        {
            let Some(reading) = reading else { continue };
            *count += 1;
            if reading != own {
                different.push(format!("{name}: {stranger} {reading:?}, we {own:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(by_sipx >= 30 && by_rsip >= 25, "compared with sipx {by_sipx}, with rsip {by_rsip}");
}
