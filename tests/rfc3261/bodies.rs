//! Bodies of several parts (RFC 2046, RFC 5621), and the methods that carry them inside a dialog (RFC 6086, RFC 3428).

use crate::world::{Msg, World, alice, media, psap};

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
        ("multipart/mixed", sdp(), ""),
        ("multipart/mixed;boundary=n6", nest(6), ""),
        (mixed, sdp() + &part("Content-Type: application/sdp", "v=0\r\nnonsense"), ""),
    ];
    for (content_type, body, encoding) in cases {
        let mut world = World::with_alice();
        let mut invite = alice().invite("sip:911@example.com").body(content_type, &body);
        if !encoding.is_empty() {
            invite = invite.with("Content-Encoding", encoding);
        }
        assert_eq!(world.ask(&alice(), &invite).code(), 488, "{invite}");
        world.none(&psap(), "*");
        // Nor inside a call, which stays up.
        let mut call = world.talking();
        let info = call.phone.request("INFO").body(content_type, &body);
        let info = if encoding.is_empty() { info } else { info.with("Content-Encoding", encoding) };
        assert_eq!(world.ask(&alice(), &info).code(), 488, "{info}");
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
