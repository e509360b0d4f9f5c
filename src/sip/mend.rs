//! Session descriptions that break RFC 8866 and can be used all the same. What is wrong is put right or left out, and a stream that
//! cannot be used is disabled; none is invented, none is lost (RFC 3264 §6).

use std::ops::Range;

use bytes::Bytes;

use super::sdp::{self, Direction, Line, Sdp};
use super::text::trim_end;
use super::{Message, Name, mime};

/// The message with session descriptions that are well-formed; `None` where no stream of one of them can be used. Where there may be
/// others that cannot be read, with the first that can be used, alone.
pub fn mended(message: &Message) -> Option<Message> {
    let divided = with_boundary(message);
    let message = divided.as_ref().unwrap_or(message);
    let Ok(places) = sdp::locate_all(message) else { return with_what_is_readable(message) };
    let mut body = message.body().to_vec();
    for place in places.into_iter().rev() {
        let description = body.get(place.clone())?;
        if !Sdp::new(description).well_formed() {
            body = mime::replace_content(&body, place, &mended_description(description)?);
        }
    }
    with_body(message, &body)
}

/// With a Content-Type that tells how the parts are divided.
fn with_boundary(message: &Message) -> Option<Message> {
    let content_type = message.header(Name::ContentType)?;
    let boundary = mime::untold_boundary(content_type, message.body())?;
    let mut told = mime::media_type(content_type).to_vec();
    for param in mime::params(content_type).iter().filter(|param| !param.name.eq_ignore_ascii_case(b"boundary")) {
        told.extend_from_slice(&[b";", param.raw].concat());
    }
    let told = [told.as_slice(), b";boundary=\"", boundary, b"\""].concat();
    Message::parse(Bytes::from(mime::replace(message.bytes(), place_of(message, content_type)?, &told))).ok()
}

fn with_what_is_readable(message: &Message) -> Option<Message> {
    let Some(content_type) = message.content_type() else { return with_body(message, b"") };
    // RFC 3261 §20.12: under another encoding nothing is what it seems.
    if !message.header(Name::ContentEncoding).is_none_or(mime::is_plain) {
        return None;
    }
    let places = mime::locate_readable(content_type, message.body(), "application/sdp");
    let description = places.into_iter().find_map(|place| {
        let description = message.body().get(place)?;
        if Sdp::new(description).well_formed() { Some(description.to_vec()) } else { mended_description(description) }
    })?;
    let alone = mime::replace(message.bytes(), place_of(message, content_type)?, b"application/sdp");
    with_body(&Message::parse(Bytes::from(alone)).ok()?, &description)
}

fn mended_description(description: &[u8]) -> Option<Vec<u8>> {
    let description = plainly(description);
    let raw = description.split(|&byte| byte == b'\n');
    let lines: Vec<Line<'_>> = raw.filter_map(|raw| sdp::line(trim_end(raw))).collect();
    let first = lines.iter().position(|line| line.kind == b'm')?;
    let (session, media) = lines.split_at_checked(first)?;
    let of = |kinds: &'static [u8]| session.iter().filter(move |line| kinds.contains(&line.kind) && is_whole(line));
    let mut mended = Vec::with_capacity(description.len() + 32);
    push(&mut mended, b'v', b"0");
    let origin = of(b"o").map(|line| line.value).find(|value| sdp::version_of(value).is_some());
    push(&mut mended, b'o', origin.unwrap_or(b"- 1 1 IN IP4 0.0.0.0"));
    push(&mut mended, b's', of(b"s").next().map_or(b"-", |line| line.value));
    of(b"iuep").for_each(|line| push(&mut mended, line.kind, line.value));
    let mut has_place = of(b"c").next().is_some();
    of(b"c").for_each(|line| push(&mut mended, line.kind, line.value));
    if !has_place && !media.iter().any(|line| line.kind == b'c' && is_whole(line)) {
        // Where its owner says that it is.
        let place: Vec<&[u8]> = origin.into_iter().flat_map(fields).skip(3).collect();
        has_place = place.len() == 3;
        if has_place {
            push(&mut mended, b'c', &place.join(&b' '));
        }
    }
    of(b"b").for_each(|line| push(&mut mended, line.kind, line.value));
    if of(b"t").next().is_none() {
        push(&mut mended, b't', b"0 0");
    }
    of(b"trzka").for_each(|line| push(&mut mended, line.kind, line.value));
    let sections = media.chunk_by(|_, next| next.kind != b'm');
    // Not `any`, which would stop at the first.
    let used = sections.filter(|section| push_section(&mut mended, section, has_place)).count();
    (used > 0 && Sdp::new(&mended).well_formed()).then_some(mended)
}

/// With lines that end and begin as they should, and one space between the words of an m= line.
fn plainly(description: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(description.len());
    for raw in description.split(|&byte| byte == b'\n' || byte == b'\r') {
        match raw.trim_ascii_start() {
            [kind, b'=', value @ ..] if kind.eq_ignore_ascii_case(&b'm') => {
                plain.extend_from_slice(b"m=");
                plain.extend_from_slice(&fields(value).collect::<Vec<_>>().join(&b' '));
            }
            line => plain.extend_from_slice(line),
        }
        plain.push(b'\n');
    }
    plain
}

fn fields(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// True when the stream can be used.
fn push_section(mended: &mut Vec<u8>, section: &[Line<'_>], has_place: bool) -> bool {
    let Some((head, rest)) = section.split_first() else { return false };
    let stream = sdp::media_line(head.value, Direction::SendRecv).filter(|stream| !stream.formats.is_empty());
    let is_placed = has_place || rest.iter().any(|line| line.kind == b'c' && is_whole(line));
    match stream {
        Some(stream) if stream.port == 0 || is_placed => {
            push(mended, b'm', head.value);
            rest.iter().filter(|line| is_whole(line)).for_each(|line| push(mended, line.kind, line.value));
            stream.port != 0
        }
        Some(_) | None => {
            let mut words = head.value.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
            let (kind, _, protocol) = (words.next(), words.next(), words.next());
            let words = [kind.unwrap_or(b"audio"), b"0", protocol.unwrap_or(b"RTP/AVP"), words.next().unwrap_or(b"0")];
            push(mended, b'm', &words.join(&b' '));
            false
        }
    }
}

/// A connection line names a place.
fn is_whole(line: &Line<'_>) -> bool {
    line.kind != b'c' || line.value.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).count() >= 3
}

fn push(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    to.extend_from_slice(&[kind, b'=']);
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

fn with_body(message: &Message, body: &[u8]) -> Option<Message> {
    let head = message.bytes().get(..place_of(message, message.body())?.start)?;
    let mut new = match message.header(Name::ContentLength) {
        Some(length) => mime::replace(head, place_of(message, length)?, body.len().to_string().as_bytes()),
        None => head.to_vec(),
    };
    new.extend_from_slice(body);
    Message::parse(Bytes::from(new)).ok()
}

/// Where `part`, a piece of a message, is in it.
fn place_of(message: &Message, part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(message.bytes().as_ptr() as usize)?;
    Some(start..start + part.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::{prop, prop_assert, proptest};

    const GOOD: &str = "v=0\r\no=alice 1 7 IN IP4 10.0.0.4\r\ns=-\r\nc=IN IP4 10.0.0.4\r\nt=0 0\r\na=tool:x\r\n\
        m=audio 49170 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\nm=video 5000 RTP/SAVP 31\r\na=recvonly\r\n";

    #[track_caller]
    fn mends(bad: &str) -> Option<String> {
        assert!(!Sdp::new(bad.as_bytes()).well_formed(), "{bad}");
        mended_description(bad.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn what_is_wrong_is_put_right_and_nothing_else_changes() {
        for bad in [
            GOOD.replace("v=0\r\n", ""),
            GOOD.replace("v=0", "v=1"),
            GOOD.replace("v=0", " v=0"),
            GOOD.replace("t=0 0\r\n", ""),
            GOOD.replace("s=-\r\n", "s\r\n"),
            GOOD.replace("a=tool:x\r\n", "a=tool:x\r\nnonsense\r\n"),
            format!("\u{0}\r\n{GOOD}"),
        ] {
            assert_eq!(mends(&bad).as_deref(), Some(GOOD), "{bad}");
        }
        let origin = GOOD.replace("o=alice 1 7 IN IP4 10.0.0.4", "o=- 1 1 IN IP4 0.0.0.0");
        for bad in ["o=alice", "o=alice x y IN IP4 10.0.0.4", "o"] {
            let bad = GOOD.replace("o=alice 1 7 IN IP4 10.0.0.4", bad);
            assert_eq!(mends(&bad).as_deref(), Some(origin.as_str()), "{bad}");
        }
    }

    #[test]
    fn a_stream_that_cannot_be_used_is_disabled_where_it_stands() {
        let disabled = |line: &str| GOOD.replace("m=video 5000 RTP/SAVP 31\r\na=recvonly\r\n", &format!("{line}\r\n"));
        for (bad, line) in [
            ("m=video 99999 RTP/SAVP 31", "m=video 0 RTP/SAVP 31"),
            ("m=video 5000 RTP/SAVP", "m=video 0 RTP/SAVP 0"),
            ("m=video", "m=video 0 RTP/AVP 0"),
            ("m=", "m=audio 0 RTP/AVP 0"),
        ] {
            let mended = mends(&GOOD.replace("m=video 5000 RTP/SAVP 31", bad));
            assert_eq!(mended.as_deref(), Some(disabled(line).as_str()), "{bad}");
        }
        let placeless = GOOD.replace("c=IN IP4 10.0.0.4\r\n", "").replace("0 8\r\n", "0 8\r\nc=IN IP4 10.0.0.4\r\n");
        assert!(mends(&placeless).unwrap().contains("m=video 0 RTP/SAVP 31\r\n"));
    }

    #[test]
    fn what_has_no_stream_to_use_is_not_mended() {
        for bad in [
            String::new(),
            "v=0\r\n".to_owned(),
            GOOD.replace("c=IN IP4 10.0.0.4\r\n", "").replace(" IN IP4 10.0.0.4", ""),
            GOOD.replace("49170", "x").replace("5000", "x"),
            GOOD.replace("49170", "0").replace("5000", "x"),
        ] {
            assert_eq!(mends(&bad), None, "{bad}");
        }
    }

    #[test]
    fn the_message_around_it_keeps_its_lines_and_has_the_new_length() {
        let head = "INVITE sip:911@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.4;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:911@example.com>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n";
        let bad = GOOD.replace("t=0 0\r\n", "");
        for (length, expected) in
            [(format!("l:  {}\r\n", bad.len()), format!("l:  {}\r\n", GOOD.len())), (String::new(), String::new())]
        {
            let message = Message::parse(format!("{head}{length}\r\n{bad}").into()).unwrap();
            assert_eq!(mended(&message).unwrap().bytes(), format!("{head}{expected}\r\n{GOOD}").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_of_it_is_well_formed(text in prop::collection::vec(prop::sample::select(vec![
            "v=0", "o=- 1 1 IN IP4 1.1.1.1", "o=", "s=-", "c=IN IP4 1.1.1.1", "c=IN", "t=0 0", "m=audio 9 RTP/AVP 0", "m=audio", "m=x 1", "a=y", "", "z", "m= 0 ",
        ]), 0..12)) {
            let text = text.join("\r\n");
            if let Some(mended) = mended_description(text.as_bytes()) {
                prop_assert!(Sdp::new(&mended).well_formed());
                let streams = |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count();
                prop_assert!(streams(&mended) == streams(text.as_bytes()));
            }
        }
    }
}
