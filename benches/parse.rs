//! Reading a 1 KB INVITE: this crate beside rsip, in the same run.
//!
//! `parse` is all that the transaction floor needs to be sure of; `typed` also reads what it matches by.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rsip::prelude::{HeadersExt, ToTypedHeader};
use sosbridge::sip::{Message, Writer, reply};

const INVITE: &str = concat!(
    "INVITE sip:911@sos.example.com;user=phone SIP/2.0\r\n",
    "Via: SIP/2.0/UDP 192.168.13.37:5062;rport;branch=z9hG4bK-524287-1---f1d2d2f924e986ac\r\n",
    "Max-Forwards: 70\r\n",
    "Contact: <sip:alice@192.168.13.37:5062;transport=udp>\r\n",
    "To: <sip:911@sos.example.com;user=phone>\r\n",
    "From: \"Alice Example\" <sip:alice@sos.example.com>;tag=86f7e437faa5\r\n",
    "Call-ID: 84983e441c3bd26ebaae4aa1f95129e5@192.168.13.37\r\n",
    "CSeq: 2 INVITE\r\n",
    "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, MESSAGE, UPDATE\r\n",
    "Supported: replaces, outbound, timer, norefersub\r\n",
    "User-Agent: Bench Softphone 5.6.1 rv2.10.18\r\n",
    "Session-Expires: 1800;refresher=uac\r\n",
    "Min-SE: 90\r\n",
    "Accept: application/sdp\r\n",
    "X-Country-Code: AT\r\n",
    "Content-Type: application/sdp\r\n",
    "Content-Length: 330\r\n",
    "\r\n",
    "v=0\r\n",
    "o=- 3903123456 1 IN IP4 192.168.13.37\r\n",
    "s=Bench call\r\n",
    "c=IN IP4 192.168.13.37\r\n",
    "t=0 0\r\n",
    "m=audio 50424 RTP/AVP 0 8 9 101 111\r\n",
    "a=rtpmap:0 PCMU/8000\r\n",
    "a=rtpmap:8 PCMA/8000\r\n",
    "a=rtpmap:9 G722/8000\r\n",
    "a=rtpmap:101 telephone-event/8000\r\n",
    "a=rtpmap:111 opus/48000/2\r\n",
    "a=fmtp:101 0-15\r\n",
    "a=ptime:20\r\n",
    "a=sendrecv\r\n",
    "a=rtcp:50425 IN IP4 192.168.13.37\r\n",
);

fn read(criterion: &mut Criterion) {
    let invite = Bytes::from_static(INVITE.as_bytes());
    let mut group = criterion.benchmark_group(format!("INVITE of {} bytes", invite.len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("sosbridge parse", |bench| bench.iter(|| Message::parse(black_box(invite.clone())).unwrap()));
    group.bench_function("sosbridge parse + Via, From, To, CSeq, Call-ID", |bench| {
        bench.iter(|| {
            let message = Message::parse(black_box(invite.clone())).unwrap();
            black_box((message.top_via().branch().map(<[u8]>::len), message.from().uri.len(), message.to().uri.len()));
            black_box((message.cseq(), message.call_id().len()))
        });
    });
    group.bench_function("sosbridge parse + print the 180", |bench| {
        let mut writer = Writer::new();
        let source = "192.0.2.1:5062".parse().unwrap();
        bench.iter(|| {
            let message = Message::parse(black_box(invite.clone())).unwrap();
            reply(&mut writer, &message, source, 180, None, Some(b"86f7e437")).finish()
        });
    });
    group.bench_function("rsip parse", |bench| {
        bench.iter(|| rsip::Request::try_from(black_box(&invite[..])).unwrap());
    });
    group.bench_function("rsip parse + Via, From, To, CSeq, Call-ID", |bench| {
        bench.iter(|| {
            let request = rsip::Request::try_from(black_box(&invite[..])).unwrap();
            let via = request.via_header().unwrap().typed().unwrap();
            let from = request.from_header().unwrap().typed().unwrap();
            let to = request.to_header().unwrap().typed().unwrap();
            let cseq = request.cseq_header().unwrap().typed().unwrap();
            let call_id = request.call_id_header().unwrap().clone();
            black_box((via, from, to, cseq, call_id))
        });
    });
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
