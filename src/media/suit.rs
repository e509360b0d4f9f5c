//! A description between a browser and who speaks plain RTP, where nobody converts their media: each is told what it takes, for a
//! browser that is answered in plain RTP ends its call, and many a trunk refuses what a browser offers. Nobody hears anything until
//! an rtpengine is there; but the call is up by then.

use super::rewrite::name_of;
use crate::sip::sdp::{Direction, Line, Sdp};

/// What a browser wants to be told (RFC 8829 §5.2.1). No candidates: it sends nowhere. And no certificate has this fingerprint.
const NOBODY: &str = "a=ice-ufrag:none\r\na=ice-pwd:nobodyIsThereToSpeakWith\r\na=rtcp-mux\r\n";

/// Attributes that tell how media are carried, and not what is in them.
const OF_CARRIAGE: [&[u8]; 19] = [
    b"candidate",
    b"crypto",
    b"end-of-candidates",
    b"extmap",
    b"extmap-allow-mixed",
    b"fingerprint",
    b"group",
    b"ice-options",
    b"ice-pwd",
    b"ice-ufrag",
    b"mid",
    b"msid",
    b"msid-semantic",
    b"rtcp-fb",
    b"rtcp-mux",
    b"rtcp-rsize",
    b"setup",
    b"ssrc",
    b"tls-id",
];

/// As who speaks plain RTP takes it.
pub fn plain(description: &[u8]) -> Vec<u8> {
    rewritten(description, b"RTP/AVP", is_of_carriage, |_| String::new())
}

/// As a browser takes it that has said `theirs`: its offer, where this answers one. One that had media before is silent until it has
/// them again: else it keeps what it cannot send, and pours it all out at whoever comes. An rtpengine that is sent so much at once
/// hears nothing on that port any more.
pub fn web(description: &[u8], theirs: &[u8], is_answer: bool, is_silent: bool) -> Vec<u8> {
    let fingerprint = ["00"; 32].join(":");
    let setup = if is_answer { "passive" } else { "actpass" };
    let direction = if is_silent { "a=inactive\r\n" } else { "" };
    let is_left = |line: &[u8]| is_of_carriage(line) || (is_silent && Direction::from_bytes(line).is_some());
    rewritten(description, b"UDP/TLS/RTP/SAVPF", is_left, |at| {
        // Else as rtpengine names them: what a stream is called once it keeps (RFC 8829 §5.2.2).
        let mid = mid(theirs, at).map_or_else(|| (at + 1).to_string(), |mid| String::from_utf8_lossy(mid).into_owned());
        format!("a=mid:{mid}\r\n{NOBODY}a=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n{direction}")
    })
}

fn is_of_carriage(attribute: &[u8]) -> bool {
    OF_CARRIAGE.contains(&name_of(attribute))
}

/// With another protocol in its m= lines of RTP, without the attributes that are left out, and `more` at the end of each.
fn rewritten(
    description: &[u8],
    protocol: &[u8],
    is_left: impl Fn(&[u8]) -> bool,
    more: impl Fn(usize) -> String,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(description.len() + 256);
    let mut next = 0;
    for Line { kind, value } in Sdp::new(description).lines() {
        if kind == b'a' && is_left(value) {
            continue;
        }
        if kind == b'm' {
            if next > 0 {
                text.extend_from_slice(more(next - 1).as_bytes());
            }
            next += 1;
        }
        text.extend_from_slice(&[kind, b'=']);
        match kind {
            b'm' => told(value, protocol, &mut text),
            _ => text.extend_from_slice(value),
        }
        text.extend_from_slice(b"\r\n");
    }
    if next > 0 {
        text.extend_from_slice(more(next - 1).as_bytes());
    }
    text
}

/// The value of an m= line.
fn told(value: &[u8], protocol: &[u8], text: &mut Vec<u8>) {
    for (at, field) in value.split(|byte| *byte == b' ').enumerate() {
        if at > 0 {
            text.push(b' ');
        }
        let is_rtp = at == 2 && memchr::memmem::find(field, b"RTP/").is_some();
        text.extend_from_slice(if is_rtp { protocol } else { field });
    }
}

/// What stream `at` is called.
fn mid(description: &[u8], at: usize) -> Option<&[u8]> {
    let mut next = 0;
    Sdp::new(description).lines().find_map(|line| {
        next += usize::from(line.kind == b'm');
        let mid = line.value.strip_prefix(b"mid:").filter(|_| line.kind == b'a');
        mid.filter(|_| next == at + 1).map(<[u8]>::trim_ascii)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

    #[test]
    fn a_browsers_offer_becomes_plain_and_the_answer_to_it_a_browsers() {
        let web_lines = "a=mid:sound\r\na=ice-ufrag:x\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\n";
        let offer = format!("{HEAD}a=group:BUNDLE sound\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{web_lines}a=sendrecv\r\n");
        let told = String::from_utf8(plain(offer.as_bytes())).unwrap();
        assert_eq!(told, format!("{HEAD}m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"));
        let answer = format!("{HEAD}m=audio 6 RTP/AVP 0\r\na=sendonly\r\nm=video 0 RTP/AVP 96\r\n");
        let told = String::from_utf8(web(answer.as_bytes(), offer.as_bytes(), true, false)).unwrap();
        let streams: Vec<&str> = told.split("m=").skip(1).collect();
        assert!(streams[0].starts_with("audio 6 UDP/TLS/RTP/SAVPF 0\r\na=sendonly\r\na=mid:sound\r\n"), "{told}");
        assert!(streams[1].starts_with("video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n"), "{told}");
        for wanted in ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 00:", "a=setup:passive", "a=rtcp-mux"] {
            assert!(streams.iter().all(|stream| stream.contains(wanted)), "{wanted} in {told}");
        }
        // RFC 8839 §5.4: at least 4 and 22 of these.
        let is_of_ice = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        for (name, least) in [("a=ice-ufrag:", 4), ("a=ice-pwd:", 22)] {
            let value = told.split(name).nth(1).unwrap().lines().next().unwrap();
            assert!(value.len() >= least && value.bytes().all(is_of_ice), "{value}");
        }
        let told = String::from_utf8(web(answer.as_bytes(), offer.as_bytes(), true, true)).unwrap();
        assert_eq!((told.matches("a=inactive\r\n").count(), told.matches("a=send").count()), (2, 0), "{told}");
    }
}
