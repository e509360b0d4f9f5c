//! The parsers under mutated torture messages: no panic, and what is accepted keeps its promises.
//! A bounded number of rounds here; `cargo bolero test NAME` goes on for as long as it is let.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::LazyLock;

use bytes::Bytes;
use sosbridge::sip::digest::{Challenge, Credentials};
use sosbridge::sip::framing::Framer;
use sosbridge::sip::sdp::{self, Sdp};
use sosbridge::sip::{Message, Name, NameAddr, Params, Uri, Via, Writer, mime, reply, unfold};
use sosbridge::transport::stun;

const ROUNDS: usize = 20_000;

/// What mutations insert: the bytes and words the grammar turns on.
const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"=",
    b":",
    b"@",
    b"?",
    b"%",
    b"/",
    b"[",
    b"]",
    b" ",
    b"*",
    b"\xff",
    b"99999999999999999999",
    b"-1",
    b"l: 5\r\n",
    b"Via: SIP/2.0/UDP h\r\n",
    b"\r\n\r\n",
    b";tag=",
    b"--boundary",
    b"v=0\r\n",
];

/// Which seed, and what is done to it: at which place, what, with which word.
type Mutation = (u8, Vec<(u16, u8, u8)>);

fn mutated(seeds: &[Vec<u8>], (seed, edits): &Mutation) -> Vec<u8> {
    let mut bytes = seeds.get(usize::from(*seed) % seeds.len()).unwrap().clone();
    for &(place, action, word) in edits.iter().take(8) {
        let at = usize::from(place) % (bytes.len() + 1);
        let end = (at + usize::from(word)).min(bytes.len());
        let word_bytes = WORDS.get(usize::from(word) % WORDS.len()).unwrap();
        match action % 5 {
            0 => drop(bytes.splice(at..at, word_bytes.iter().copied())),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= word),
            _ => drop(bytes.splice(at..at, bytes.get(at..end).unwrap().to_vec())),
        }
    }
    bytes
}

fn torture() -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rfc4475/messages")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(torture);

/// The header values of all torture messages, for the parsers of one value.
static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let lines = MESSAGES.iter().flat_map(|message| message.split(|&byte| byte == b'\n'));
    lines.filter_map(|line| line.splitn(2, |&byte| byte == b':').nth(1)).map(<[u8]>::to_vec).take(250).collect()
});

fn fuzz(seeds: &'static [Vec<u8>], test: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    bolero::check!()
        .with_type::<Mutation>()
        .with_iterations(ROUNDS)
        .for_each(|mutation| test(&mutated(seeds, mutation)));
}

fn read_all(message: &Message) {
    let via = message.top_via();
    let _ = (via.branch(), via.rport(), via.received(), via.maddr(), via.host_ip());
    let _ = (message.from_tag(), message.to_tag(), message.contact(), message.max_forwards(), message.content_type());
    let _ = (message.header_named("subject"), message.header_named("X-None"), message.reason(), message.code());
    assert!(!message.call_id().is_empty() && !message.method_name().is_empty());
    assert!(!message.from().uri.is_empty() && !message.to().uri.is_empty() && !via.host.is_empty());
    assert_eq!(message.is_request(), message.code() == 0);
    assert_eq!(message.body_bytes(), message.body());
    let mut whole = message.bytes().len() - message.body().len() - 2;
    for header in message.headers() {
        whole -= header.line.len();
        assert!(header.line.ends_with(b"\r\n") && !unfold(header.value).contains(&b'\n'));
        for value in message.values(header.name) {
            let _ = NameAddr::parse(value).map(|address| Uri::parse(address.uri).map(|uri| uri.matches(&uri)));
        }
    }
    assert_eq!(message.bytes().get(..whole).map(|start| start.ends_with(b"\r\n")), Some(true));
    let _ = sdp::of(message).map(|sdp| (sdp.fault(), sdp.version(), sdp.media().count()));
}

/// Printed again, it reads the same; answered, the answer is a message.
fn reprint(message: &Message) {
    let mut writer = Writer::new();
    if message.is_request() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let answer = reply(&mut writer, message, source, 400, None, Some(b"ours")).finish();
        let answer = Message::parse(answer).unwrap();
        assert_eq!(
            (answer.cseq(), answer.call_id(), answer.from_tag()),
            (message.cseq(), message.call_id(), message.from_tag())
        );
        let to = String::from_utf8_lossy(message.header(Name::To).unwrap()).into_owned();
        assert_eq!(answer.to_tag(), message.to_tag().or(Some(b"ours")), "{to:?}");
        assert_eq!(answer.top_via().branch(), message.top_via().branch());
        writer.request(message.method_name(), message.request_uri());
    } else {
        writer.response(message.code(), message.reason());
    }
    for header in message.headers().filter(|header| header.name != Name::ContentLength) {
        match header.name {
            Name::Other => writer.header(std::str::from_utf8(header.raw_name).unwrap(), header.value),
            known => writer.header(known.as_str(), header.value),
        };
    }
    let again = Message::parse(writer.finish_body(message.body())).unwrap();
    assert_eq!((again.body(), again.cseq(), again.method()), (message.body(), message.cseq(), message.method()));
    assert_eq!(again.call_id(), message.call_id());
    assert_eq!(again.from_tag(), message.from_tag().map(unfold).as_deref());
    assert_eq!(again.to_tag(), message.to_tag().map(unfold).as_deref());
    assert_eq!(again.top_via().branch(), message.top_via().branch());
}

#[test]
fn fuzz_message() {
    fuzz(&MESSAGES, |bytes| match Message::parse(Bytes::copy_from_slice(bytes)) {
        Ok(message) => {
            read_all(&message);
            reprint(&message);
        }
        Err(malformed) => {
            assert!(matches!(malformed.status, 400 | 501 | 505 | 513));
            if let Some(message) = malformed.message {
                let mut writer = Writer::new();
                let source = "192.0.2.1:5060".parse().unwrap();
                let answer = reply(&mut writer, &message, source, malformed.status, None, Some(b"ours")).finish();
                let text = String::from_utf8_lossy(&answer);
                assert!(text.starts_with("SIP/2.0 ") && text.ends_with("\r\nContent-Length: 0\r\n\r\n"));
            }
        }
    });
}

#[test]
fn fuzz_addresses_and_uris() {
    fuzz(&VALUES, |bytes| {
        for text in [bytes].into_iter().chain(bytes.split(|&byte| byte == b'<')) {
            if let Ok(uri) = Uri::parse(text) {
                assert!(uri.matches(&uri) && uri.unescaped_user().len() <= uri.user.len());
            }
            if let Ok(address) = NameAddr::parse(text) {
                assert!(!address.uri.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'>')));
            }
            let _ = Params::new(text).iter().map(|param| param.name.len()).sum::<usize>();
        }
    });
}

#[test]
fn fuzz_via() {
    fuzz(&VALUES, |bytes| {
        if let Ok(via) = Via::parse(bytes) {
            assert!(!via.host.is_empty());
            let stamped = sosbridge::sip::stamped(bytes, "192.0.2.7:5999".parse().unwrap());
            let again = Via::parse(&stamped).unwrap();
            assert_eq!((again.host, again.port, again.branch()), (via.host, via.port, via.branch()));
            assert_eq!(again.rport().is_some(), via.rport().is_some());
        }
    });
}

#[test]
fn fuzz_framer() {
    fuzz(&MESSAGES, |bytes| {
        let frames = |chunks: &mut dyn Iterator<Item = &[u8]>| {
            let mut framer = Framer::new();
            let mut frames = Vec::new();
            for chunk in chunks {
                framer.push(chunk);
                frames.extend(framer.by_ref());
            }
            frames
        };
        assert_eq!(frames(&mut std::iter::once(bytes)), frames(&mut bytes.chunks(7)));
    });
}

#[test]
fn fuzz_digest() {
    fuzz(&VALUES, |bytes| {
        let digest = [b"Digest realm=\"r\", nonce=n, username=\"u\", response=0, uri=", bytes].concat();
        for text in [bytes, &digest] {
            let printed = Credentials::parse(text).map(|credentials| credentials.to_string());
            assert!(printed.map_or(true, |printed| Credentials::parse(printed.as_bytes()).is_ok()));
            let _ = Challenge::parse(text).map(|challenge| challenge.to_string());
        }
    });
}

#[test]
fn fuzz_sdp_and_multipart() {
    fuzz(&MESSAGES, |bytes| {
        let origin = sdp::Origin { session_id: 1, version: 2, address: "192.0.2.1".parse().unwrap() };
        let new = sdp::rewrite_origin(bytes, &origin);
        let had = Sdp::new(bytes).lines().any(|line| line.kind == b'o');
        assert_eq!(Sdp::new(&new).version(), if had { Some(2) } else { None });
        let _ = (Sdp::new(bytes).fault(), Sdp::new(bytes).media().count(), Sdp::new(bytes).connection());
        if let Some(range) = mime::locate(b"multipart/mixed;boundary=boundary", bytes, "application/sdp") {
            let part = bytes.get(range.clone()).unwrap().to_vec();
            assert_eq!(mime::replace(bytes, range, &part), bytes);
        }
    });
}

static STUN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let message = |attributes: &[u8]| {
        let length = u8::try_from(attributes.len()).unwrap();
        [b"\0\x01\0", &[length][..], b"\x21\x12\xA4\x42123456789012", attributes].concat()
    };
    let fingerprint = b"\x80\x28\0\x04\0\0\0\0";
    let attributes = [&b""[..], b"\x80\x22\0\x04name", b"\0\x06\0\x03abc\0", b"\0\x03\0\x04\0\0\0\x06", fingerprint];
    attributes.into_iter().map(message).collect()
});

#[test]
fn fuzz_stun() {
    let source = "192.0.2.1:5060".parse().unwrap();
    fuzz(&STUN, |bytes| {
        if let Some(answer) = stun::answer(bytes, source) {
            // To the one who asked, by its own number, not much longer than the question, and itself no question.
            assert!(stun::is_stun(bytes) && answer[0] == 1);
            assert_eq!(answer.get(4..20), bytes.get(4..20));
            assert!(answer.len() <= bytes.len() + 56 && answer.len() % 4 == 0);
            assert_eq!(stun::answer(&answer, source), None);
        }
    });
}
