//! Bodies of several parts (RFC 2046, RFC 5621), and the methods that carry them inside a dialog (RFC 6086, RFC 3428).

use crate::world::{Dialog, Msg, Toml, World, alice, bob, media, psap};

const PIDF: &str = "<presence>\r\n --x\r\n</presence>";

fn part(head: &str, content: &str) -> String {
    format!("--x\r\n{head}\r\n\r\n{content}\r\n")
}

fn sdp() -> String {
    part("Content-Type: application/sdp", &alice().offer())
}

/// Everything but the lines we make our own.
fn without_origin(body: &str) -> String {
    body.split_inclusive('\n').filter(|line| !line.starts_with("o=")).collect()
}

#[test]
fn oa_8_every_session_description_of_a_body_is_cleaned() {
    // The world looks for the caller's names in every byte to the trunk.
    let offer = alice().offer();
    let inner = format!("--y\r\nc: application/sdp\r\n\r\n{offer}\r\n--y--");
    let nested = part("Content-Type: multipart/alternative; boundary=\"y\"", &inner);
    let bodies = [
        sdp() + &sdp(),
        sdp() + &nested,
        nested.clone() + &part("Content-Type: application/pidf+xml", PIDF) + &sdp(),
        sdp().replace("application/sdp", "Application / SDP"),
        (sdp() + &sdp()).replace("\r\n", "\n"),
    ];
    for body in bodies {
        let mut world = World::with_alice();
        let invite = alice().invite("sip:911@example.com").body("multipart/mixed;boundary=x", &(body + "--x--\r\n"));
        world.send(&alice(), &invite);
        world.take(&alice(), "100");
        let offered = world.take(&psap(), "INVITE");
        match crate::world::relays() {
            true => assert_eq!(media(&offered.body), media(&invite.body)),
            false => assert_eq!(without_origin(&offered.body), without_origin(&invite.body)),
        }
        let origins: Vec<&str> = offered.body.lines().filter(|line| line.starts_with("o=")).collect();
        assert!(origins.iter().all(|origin| origin.starts_with("o=- ") && *origin == origins[0]), "{origins:?}");
    }
}

#[test]
fn oa_8_what_may_hide_a_session_description_is_refused() {
    let offer = alice().offer();
    let base64 = "dj0wDQpvPWFsaWNl";
    let nest = |depth: usize| {
        (0..depth).fold(part("Content-Type: application/sdp", &offer).replace("--x", "--n"), |body, level| {
            let boundary = if level == 0 { "n".to_owned() } else { format!("n{level}") };
            let next = format!("n{}", level + 1);
            format!("--{next}\r\nContent-Type: multipart/mixed;boundary={boundary}\r\n\r\n{body}\r\n--{next}--")
        })
    };
    let mixed = "multipart/mixed;boundary=x";
    let cases: Vec<(&str, String, &str)> = vec![
        (mixed, part("Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64", base64), ""),
        (mixed, sdp(), "gzip"),
        ("application/sdp", offer.clone(), "deflate"),
        (mixed, part("Content-Type: text/plain\r\nContent-Type: application/sdp", &offer), ""),
        ("multipart/mixed;boundary=n6", nest(6), ""),
        (mixed, sdp() + &part("Content-Type: application/sdp", "v=0\r\nnonsense"), ""),
    ];
    for (content_type, body, encoding) in cases {
        let mut world = World::with_alice();
        let mut invite = alice().invite("sip:911@example.com").body(content_type, &body);
        if !encoding.is_empty() {
            invite = invite.with("Content-Encoding", encoding);
        }
        // RFC 3261 §8.2.3, §8.1.3.5: with what may be read the phone may try again. What can be read and not used is OA-8.
        let code = if body.contains("nonsense") { 488 } else { 415 };
        let refused = world.ask(&alice(), &invite);
        assert_eq!((refused.code(), refused.header("Accept-Encoding") == "identity"), (code, code == 415), "{invite}");
        world.none(&psap(), "*");
        // Nor inside a call, which stays up.
        let mut call = world.talking();
        let info = call.phone.request("INFO").body(content_type, &body);
        let info = if encoding.is_empty() { info } else { info.with("Content-Encoding", encoding) };
        assert_eq!(world.ask(&alice(), &info).code(), code, "{info}");
        world.hang_up(&mut call);
    }
}

/// RFC 3261 §20.15 wants a type with every body. What begins as a description is one; what else it is nobody can tell.
#[test]
fn oa_8_a_description_without_a_type_is_one() {
    for untyped in [|message: Msg| message.without("Content-Type"), |message: Msg| message.set("Content-Type", "")] {
        let mut world = World::with_alice();
        let invite = untyped(alice().invite("sip:911@example.com"));
        world.send(&alice(), &invite);
        world.take(&alice(), "100");
        let offered = world.take(&psap(), "INVITE");
        assert_eq!((offered.header("Content-Type"), media(&offered.body)), ("application/sdp", media(&invite.body)));
        let ok = untyped(psap().reply(&offered, 200).sdp(&psap().offer()));
        world.send(&psap(), &ok);
        world.take(&psap(), "ACK");
        let ok = world.take(&alice(), "200");
        assert_eq!((ok.header("Content-Type"), media(&ok.body)), ("application/sdp", media(&psap().offer())));
        let mut phone = Dialog::caller(alice(), &invite, &ok);
        world.send(&alice(), &phone.request("ACK"));
        let info = untyped(phone.request("INFO").body("text/plain", "Signal=1"));
        assert_eq!(world.ask(&alice(), &info).code(), 415, "{info}");
        world.silent();
    }
}

/// RFC 2046 §5.1.1: how its parts are divided is found in the body, where its type says nothing or something else.
#[test]
fn an_emergency_call_whose_parts_are_divided_by_what_its_type_does_not_tell_goes_on() {
    let parts = sdp() + &part("Content-Type: application/pidf+xml\r\nContent-ID: <here@x>", PIDF) + "--x--\r\n";
    for kind in ["", ";boundary", ";boundary=", "; boundary=\"\"", ";boundary=\"x", ";boundary=X"] {
        let kind = format!("multipart/mixed;charset=utf-8{kind}");
        for body in [parts.clone(), format!("to whom it may concern\r\n{parts}"), parts.replace("--x--\r\n", "")] {
            let mut world = World::with_alice();
            let invite = alice().invite("sip:911@example.com").body(&kind, &body).with("Geolocation", "<cid:here@x>");
            world.send(&alice(), &invite);
            world.take(&alice(), "100");
            let offered = world.take(&psap(), "INVITE");
            assert_eq!(offered.header("Content-Type"), "multipart/mixed;charset=utf-8;boundary=\"x\"");
            assert_eq!(offered.header("Content-Length"), offered.body.len().to_string());
            assert_eq!(media(&offered.body), media(&body));
            let rest = |body: &str| body.split_once("--x\r\nContent-Type: application/pidf").unwrap().1.to_owned();
            assert_eq!(rest(&offered.body), rest(&body));
            let mut call = world.answer(&alice(), &invite, &psap(), &offered);
            // No emergency is in what comes later: it is refused alone.
            assert_eq!(world.ask(&alice(), &call.phone.request("INFO").body(&kind, &body)).code(), 415);
            world.hang_up(&mut call);
        }
    }
}

/// What cannot be read may be lost, the call not.
#[test]
fn an_emergency_call_goes_on_with_the_description_that_can_be_read() {
    let deep = "--n\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n--n--";
    for other in [
        part("Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64", "dj0wDQpvPWFsaWNl"),
        part("Content-Type: multipart/mixed;boundary=n", deep),
        part("Content-Type: application/sdp", "v=0\r\n").repeat(70),
    ] {
        for body in [sdp() + &other, other.clone() + &sdp()] {
            if body.starts_with("--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--x") {
                continue;
            }
            let mut world = World::with_alice();
            let invite =
                alice().invite("sip:911@example.com").body("multipart/mixed;boundary=x", &(body + "--x--\r\n"));
            let invite = invite.with("Content-Disposition", "session;handling=optional").with("MIME-Version", "1.0");
            world.send(&alice(), &invite);
            world.take(&alice(), "100");
            let offered = world.take(&psap(), "INVITE");
            assert_eq!(
                (offered.header("Content-Type"), media(&offered.body)),
                ("application/sdp", media(&alice().offer()))
            );
            let mut call = world.answer(&alice(), &invite, &psap(), &offered);
            world.hang_up(&mut call);
        }
    }
}

/// A boundary is text that may look like others, and lines that look like it are none.
#[test]
fn odd_boundaries_divide_what_they_should() {
    let place = |boundary: &str, other: &str| {
        let offer = alice().offer();
        format!(
            "--{boundary}x is no boundary\r\n --{boundary}\r\n\r\n--{boundary} \t\r\nc :\r\n application/sdp;x=\"a;b\"\r\n\r\n{offer}\r\n\
             --{boundary}\r\n\r\n--{boundary}-\r\n--{other}\r\n\r\n--{boundary}\r\nContent-Type: application/pidf+xml\r\nContent-ID:\r\n\t<a@b>\r\n\
             Content-Disposition: by-reference;handling=required\r\nX-Odd: \u{e9}\r\n\r\n{PIDF}\r\n--{boundary}--\t\r\n--{boundary}\r\nepilogue"
        )
    };
    for (kind, boundary, other) in [
        ("multipart/mixed;boundary=ab", "ab", "abc"),
        ("Multipart/Mixed ; Boundary=\"a b\"", "a b", "a"),
        ("multipart/mixed;a=\"boundary=y;\";boundary=\"=_(a)+b,c-d./e:f=?g'\"", "=_(a)+b,c-d./e:f=?g'", "y"),
        ("multipart/mixed;boundary=--;charset=x", "--", "-"),
        ("multipart / related; type=\"application/sdp\"; boundary=\"\\a\\b\"; start=\"<a@b>\"", "ab", "\\a\\b"),
        (
            "multipart/x-unheard-of;\r\n boundary=gc0p4Jq0M2Yt08jU534c0p",
            "gc0p4Jq0M2Yt08jU534c0p",
            "GC0P4JQ0M2YT08JU534C0P",
        ),
    ] {
        let mut world = World::with_alice();
        let body = place(boundary, other);
        let invite = alice().invite("sip:911@example.com").body(kind, &body).with("Geolocation", "<cid:a@b>");
        world.send(&alice(), &invite);
        world.take(&alice(), "100");
        let offered = world.take(&psap(), "INVITE");
        let on_one_line = |text: &str| text.replace("\r\n", "");
        assert_eq!(on_one_line(offered.header("Content-Type")), on_one_line(kind));
        assert_eq!(media(&offered.body), media(&body), "{kind}");
        let around = |text: &str| {
            let at = |mark: &str| text.find(mark).unwrap();
            (text[..at("v=0")].to_owned(), text[at(&format!("\r\n--{boundary}\r\n\r\n"))..].to_owned())
        };
        assert_eq!(around(&offered.body), around(&body), "{kind}");
        let mut call = world.answer(&alice(), &invite, &psap(), &offered);
        world.hang_up(&mut call);
    }
}

#[test]
fn other_bodies_cross_byte_for_byte() {
    let parts =
        part("Content-Type: application/EmergencyCallData.eCall.MSD\r\nContent-ID: <1>", "\u{1}\u{2}\r\n\r\n--xy")
            + &part("Content-Type: multipart/mixed;boundary=z", "--z\r\n\r\nplain\r\n--z--")
            + "--x--\r\nepilogue";
    let cases = [
        ("multipart/mixed;boundary=x", parts.as_str()),
        ("application/pidf+xml", PIDF),
        ("application/vnd.never.heard.of", "\u{0}\u{7f}\r\n"),
        ("text/plain;charset=utf-8", "help"),
        ("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n"),
    ];
    let mut world = World::with_alice();
    let mut call = world.talking();
    for (content_type, body) in cases {
        for method in ["INFO", "MESSAGE"] {
            for from_phone in [true, false] {
                let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
                let agent = side.agent;
                let request = side.request(method).body(content_type, body).with("Content-Disposition", "render");
                world.send(&agent, &request);
                let carried = world.take(&other, method);
                assert_eq!((carried.header("Content-Type"), carried.body.as_str()), (content_type, body));
                assert_eq!(carried.header("Content-Disposition"), "render");
                world.send(&other, &other.reply(&carried, 200).body(content_type, body));
                let answered = world.take(&agent, &format!("200 {method}"));
                assert_eq!((answered.header("Content-Type"), answered.body.as_str()), (content_type, body));
            }
        }
    }
    world.hang_up(&mut call);
}

const NOTED: &str = "multipart/mixed;boundary=\"x\"";

/// `message` with a note beside a description, and all the lines that tell of a body.
fn noted(message: Msg, description: &str) -> Msg {
    let note = part("content-type: TEXT/plain\r\nContent-ID:\r\n <1@x>\r\nX-Odd: 1", "\u{0}caf\u{e9}\n\r\n --x");
    let described = part("c: application/sdp\r\nContent-Disposition: session", description);
    let message = message.body(NOTED, &(described + &note + "--x--\r\nend")).with("MIME-Version", "1.0");
    message.with("Content-Language", "da").with("Content-Disposition", "session;handling=optional")
}

#[track_caller]
fn is_whole(carried: &Msg, sent: &Msg) {
    for name in ["Content-Type", "MIME-Version", "Content-Language", "Content-Disposition"] {
        assert_eq!(carried.header(name), sent.header(name), "{carried}");
    }
    assert_eq!(media(&carried.body), media(&sent.body));
    let note = |message: &Msg| message.body[message.body.find("--x\r\ncontent-type").unwrap()..].to_owned();
    assert_eq!(note(carried), note(sent));
}

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK";

/// RFC 3261 §7.4: in requests and answers alike, with the lines that describe it.
#[test]
fn bodies_of_several_parts_cross_whole_in_every_message_of_a_call() {
    let mut world = World::with_alice();
    let invite = noted(alice().request("INVITE", "sip:911@example.com"), &alice().offer()).with("Allow", ALLOW);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    is_whole(&offered, &invite);
    let rings = noted(psap().reply(&offered, 183), &psap().offer());
    world.send(&psap(), &rings);
    is_whole(&world.take(&alice(), "183"), &rings);
    let ok = noted(psap().reply(&offered, 200), &psap().offer()).with("Allow", ALLOW);
    world.send(&psap(), &ok);
    world.take(&psap(), "ACK");
    let answer = world.take(&alice(), "200");
    is_whole(&answer, &ok);
    let mut phone = Dialog::caller(alice(), &invite, &answer);
    world.send(&alice(), &phone.request("ACK"));
    let mut trunk = Dialog::callee(psap(), &offered, &ok);
    for (method, from_phone) in [("INVITE", true), ("INVITE", false), ("UPDATE", true), ("UPDATE", false)] {
        let (side, other) = if from_phone { (&mut phone, psap()) } else { (&mut trunk, alice()) };
        let agent = side.agent;
        let request = noted(side.request(method), &agent.offer());
        world.send(&agent, &request);
        world.take_all(&agent, "100");
        let carried = world.take(&other, method);
        is_whole(&carried, &request);
        let ok = noted(other.reply(&carried, 200), &other.offer());
        world.send(&other, &ok);
        world.take_all(&other, "ACK");
        is_whole(&world.take(&agent, &format!("200 {method}")), &ok);
        if method == "INVITE" {
            world.send(&agent, &side.request("ACK"));
        }
    }
}

/// An offer in a reliable answer, answered in the PRACK; and one in the 200, answered in the ACK.
#[test]
fn bodies_of_several_parts_cross_whole_in_prack_and_ack() {
    for (code, answers) in [(183, "PRACK"), (200, "ACK")] {
        let mut world = World::with_alice();
        let invite = alice().request("INVITE", "sip:911@example.com").with("Supported", "100rel").with("Allow", ALLOW);
        world.send(&alice(), &invite);
        world.take(&alice(), "100");
        let offered = world.take(&psap(), "INVITE");
        let offers = noted(psap().reply(&offered, code), &psap().offer());
        let offers = if code == 183 { offers.with("Require", "100rel").with("RSeq", "7") } else { offers };
        world.send(&psap(), &offers);
        let told = world.take(&alice(), &code.to_string());
        is_whole(&told, &offers);
        let mut phone = Dialog::caller(alice(), &invite, &told);
        let answer = noted(phone.request(answers), &alice().offer());
        let rack = format!("{} {}", told.header("RSeq"), told.header("CSeq"));
        let answer = if code == 183 { answer.with("RAck", &rack) } else { answer };
        world.send(&alice(), &answer);
        is_whole(&world.take(&psap(), answers), &answer);
    }
}

#[test]
fn a_length_in_the_head_of_a_part_fits_what_is_in_it() {
    let offer = alice().offer();
    let head = format!("Content-Type: application/sdp\r\nContent-Length: {}", offer.len());
    let body = part(&head, &offer) + &part("Content-Type: application/pidf+xml\r\nContent-Length: 30", PIDF) + "--x--";
    let mut world = World::with_alice();
    world.send(&alice(), &alice().invite("sip:911@example.com").body("multipart/mixed;boundary=x", &body));
    let offered = world.take(&psap(), "INVITE");
    let (head, rest) = offered.body.split_once("\r\n\r\n").unwrap();
    let (description, rest) = rest.split_once("\r\n--x\r\n").unwrap();
    assert!(head.ends_with(&format!("Content-Length: {}", description.len())), "{offered}");
    assert!(rest.contains("Content-Length: 30\r\n"));
}

/// RFC 5621 §4.2: a phone that knows nothing of bodies with several parts, as carriers send them beside signalling of their own,
/// says 415, which is no answer of the person who called.
#[test]
fn a_phone_that_cannot_take_what_is_beside_the_description_is_asked_once_more_with_that_alone() {
    let sent = |whole: Msg| noted(whole, &psap().offer());
    for status in [400, 413, 415, 488, 513, 606] {
        let mut world = World::after_a_call(&Toml::default());
        let invite = sent(psap().request("INVITE", "sip:+14255551000@192.0.2.1"));
        world.send(&psap(), &invite);
        world.take(&psap(), "100");
        let ring = world.take(&alice(), "INVITE");
        assert_eq!(ring.header("Content-Type"), invite.header("Content-Type"));
        world.send(&alice(), &alice().reply(&ring, status));
        world.take(&alice(), "ACK");
        let again = world.take(&alice(), "INVITE");
        assert_eq!(again.header("Content-Type"), "application/sdp");
        assert_eq!(media(&again.body), media(&psap().offer()));
        for name in ["Content-Disposition", "Content-Language", "MIME-Version"] {
            assert!(!again.has(name), "{again}");
        }
        world.none(&psap(), &status.to_string());
        // No third time.
        world.send(&alice(), &alice().reply(&again, status));
        world.take(&alice(), "ACK");
        world.none(&alice(), "INVITE");
        // What is a description alone is not sent again.
        let mut world = World::after_a_call(&Toml::default());
        world.call_back(&psap(), "+14255551000");
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, status));
        world.take(&alice(), "ACK");
        world.none(&alice(), "INVITE");
    }
    // Users among themselves too.
    let mut world = World::with_alice();
    world.register(&bob());
    let invite = noted(alice().request("INVITE", "sip:bob@example.com"), &alice().offer());
    world.send(&alice(), &invite);
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 415));
    world.take(&bob(), "ACK");
    let again = world.take(&bob(), "INVITE");
    assert_eq!(again.header("Content-Type"), "application/sdp");
}

/// Nor is its silence: what stands beside the description makes fragments of an INVITE, which many NATs lose.
#[test]
fn a_phone_that_does_not_hear_a_callback_of_several_parts_is_tried_again_with_the_description_alone() {
    let mut world = World::after_a_call(&Toml::default());
    world.send(&psap(), &noted(psap().request("INVITE", "sip:+14255551000@192.0.2.1"), &psap().offer()));
    world.run(50_000);
    let rings = world.take_all(&alice(), "INVITE");
    let types: Vec<_> = rings.iter().map(|ring| ring.msg.header("Content-Type").to_owned()).collect();
    assert!(
        types.first().unwrap().starts_with("multipart/") && types.last().unwrap() == "application/sdp",
        "{types:?}"
    );
}

#[test]
fn info_packages_cross_and_refusals_come_back() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let info = call.phone.request("INFO").with("Info-Package", "EmergencyCallData.eCall.MSD").body("text/plain", "x");
    world.send(&alice(), &info);
    let carried = world.take(&psap(), "INFO");
    assert_eq!(carried.header("Info-Package"), "EmergencyCallData.eCall.MSD");
    world.send(&psap(), &psap().reply(&carried, 469));
    world.take(&alice(), "469");
    world.hang_up(&mut call);
}

#[test]
fn au_3_a_challenge_inside_a_dialog_does_not_cross() {
    for code in [401, 407] {
        for method in ["INFO", "MESSAGE", "INVITE"] {
            let mut world = World::with_alice();
            let mut call = world.talking();
            for from_phone in [true, false] {
                let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
                let agent = side.agent;
                let request = side.request(method);
                let request =
                    if method == "INVITE" { request.sdp(&agent.offer()) } else { request.body("text/plain", "x") };
                world.send(&agent, &request);
                world.take_all(&agent, "100");
                let carried = world.take(&other, method);
                let challenge = "Digest realm=\"there\", nonce=\"n\", algorithm=MD5";
                let refusal = other.reply(&carried, code).without("Contact");
                world.send(&other, &refusal.with("WWW-Authenticate", challenge).with("Proxy-Authenticate", challenge));
                world.take_all(&other, "ACK");
                let refused: Msg = world.take(&agent, "500");
                assert!(!refused.to_string().contains("Digest"), "{refused}");
                if method == "INVITE" {
                    world.send(&agent, &request.ack_of(&refused));
                }
            }
            world.hang_up(&mut call);
        }
    }
}
