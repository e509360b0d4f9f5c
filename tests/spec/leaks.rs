//! SPEC §4, from the side of somebody who wants to know: a word that only the phone knows, in every place where a phone can write one.

use crate::world::{Dialog, Msg, Toml, World, alice, description, psap};

const NUMBER: &str = "+14255551000";
/// What no trunk may read.
const WORD: &str = "zebra";

fn world() -> World {
    let mut world = World::with_alice();
    world.secrets.push(WORD);
    world
}

/// Headers of a phone that may stand in any of its messages.
fn talkative(message: Msg) -> Msg {
    message
        .with("Server", "zebra phone")
        .with("P-Asserted-Identity", "\"zebra\" <sip:zebra@example.com>")
        .with("P-Preferred-Identity", "<sip:zebra@example.com>")
        .with("Remote-Party-ID", "<sip:zebra@example.com>")
        .with("Call-Info", "<http://example.com/zebra>;purpose=icon")
        .with("Alert-Info", "<http://zebra.example.com/>")
        .with("Error-Info", "<sip:zebra@example.com>")
        .with("Reply-To", "<sip:zebra@example.com>")
        .with("Organization", "zebra")
        .with("Warning", "399 zebra \"zebra\"")
        .with("s", "zebra")
        .with("X-Zebra", "zebra")
        .with("Geolocation-Error", "100 ;code=\"zebra\"")
        .with("User-to-User", "zebra")
        .with("Retry-After", "5 (zebra)")
        .with("Unsupported", "zebra")
        .with("Accept", "application/zebra")
        .with("Allow-Events", "zebra")
        .with("Session-ID", "zebra")
        .with("Date", "zebra")
        .with("Require", "")
}

/// A description of somebody with much to tell.
fn told() -> String {
    description(
        "zebra",
        1,
        &[
            "m=audio 6000 RTP/AVP 0",
            "k=clear:zebra",
            "b=X-zebra:10",
            "a=tool:zebra 1.2",
            "a=keywds:zebra",
            "a=cat:zebra",
            "a=ssrc:1 cname:alice@zebra.local",
            "a=sendrecv",
        ],
    )
    .replace("s=-\r\n", "s=zebra\r\ni=zebra\r\nu=http://zebra\r\ne=zebra@example.com\r\np=+1 zebra\r\n")
}

#[test]
fn section_4_an_invite() {
    let mut world = world();
    world.send(&alice(), &talkative(alice().invite("sip:911@example.com").sdp(&told())));
    world.take(&psap(), "INVITE");
}

#[test]
fn section_4_requests_and_answers_of_the_phone_in_a_call() {
    let mut world = world();
    let mut call = world.talking();
    for method in ["INVITE", "UPDATE"] {
        world.send(&alice(), &talkative(call.phone.request(method)).sdp(&told()));
        // The trunk has not said that it knows UPDATE.
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
        world.take(&alice(), &format!("200 {method}"));
        if method == "INVITE" {
            let ack = talkative(call.phone.request("ACK"));
            world.send(&alice(), &ack);
        }
        world.wire.clear();
    }
    for method in ["INFO", "MESSAGE"] {
        let request = talkative(call.phone.request(method)).body("text/plain", "5");
        world.send(&alice(), &request);
        let carried = world.take(&psap(), method);
        world.send(&psap(), &psap().reply(&carried, 200));
        world.take(&alice(), &format!("200 {method}"));
        // And the other way round.
        world.send(&psap(), &call.trunk.request(method).body("text/plain", "5"));
        let carried = world.take(&alice(), method);
        let mut answer = talkative(alice().reply(&carried, 480));
        answer.start = "SIP/2.0 480 zebra is away".to_owned();
        world.send(&alice(), &answer);
        world.take(&psap(), &format!("480 {method}"));
    }
    for (method, status) in [("INVITE", 200), ("UPDATE", 200), ("INVITE", 488)] {
        let request = call.trunk.request(method).sdp(&psap().offer());
        world.send(&psap(), &request);
        // Nor has the phone.
        let carried = world.take(&alice(), "INVITE");
        let mut answer = talkative(alice().reply(&carried, status)).sdp(&told());
        answer.start = format!("SIP/2.0 {status} zebra");
        world.send(&alice(), &answer);
        let seen = world.take(&psap(), &format!("{status} {method}"));
        if method == "INVITE" {
            world.send(&psap(), &if status == 200 { call.trunk.request("ACK") } else { request.ack_of(&seen) });
        }
        world.wire.clear();
    }
    let bye = talkative(call.phone.request("BYE"))
        .with("Reason", "SIP;cause=200;text=\"zebra\"")
        .with("Reason", "zebra;cause=16;text=\"zebra\"");
    world.send(&alice(), &bye);
    world.take(&psap(), "BYE");
}

#[test]
fn section_4_a_caller_who_cancels() {
    for reason in ["SIP;cause=487;text=\"zebra\"", "zebra;cause=1", "SIP ;text=zebra ;cause=487", "SIP;cause=zebra"] {
        let mut world = world();
        let (invite, offered) = world.dialled();
        world.send(&psap(), &psap().reply(&offered, 180));
        world.send(&alice(), &invite.cancel().with("Reason", reason));
        world.take(&psap(), "CANCEL");
    }
}

/// A phone that answers a callback.
fn called_back(toml: &Toml) -> (World, Msg, Msg) {
    let mut world = World::of(toml);
    world.secrets.push(WORD);
    world.register(&alice());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let invite = psap().invite(&format!("sip:{NUMBER}@192.0.2.1:5060")).with("Supported", "100rel");
    world.send(&psap(), &invite);
    let ring = world.take(&alice(), "INVITE");
    (world, invite, ring)
}

#[test]
fn section_4_answers_of_the_phone_to_a_callback() {
    for status in [180, 183, 200, 486, 603, 302, 401, 420, 485] {
        let (mut world, _, ring) = called_back(&Toml::default());
        let mut answer = talkative(alice().reply(&ring, status))
            .with("Reason", "SIP;cause=200;text=\"zebra\"")
            .with("WWW-Authenticate", "Digest realm=\"zebra\", nonce=\"x\"");
        answer.start = format!("SIP/2.0 {status} zebra");
        let answer = if status < 300 { answer.sdp(&told()) } else { answer };
        world.send(&alice(), &answer.set("Contact", "\"zebra\" <sip:zebra@10.0.0.9>"));
        world.run(30_000);
    }
}

#[test]
fn section_4_a_reliable_answer_and_its_prack() {
    let (mut world, _, ring) = called_back(&Toml::default());
    let reliable = talkative(alice().reply(&ring, 183)).set("Require", "100rel").with("RSeq", "7").sdp(&told());
    world.send(&alice(), &reliable);
    let told_of = world.take(&psap(), "183");
    let mut trunk = Dialog::caller(psap(), &ring, &told_of);
    trunk.call_id = told_of.header("Call-ID").to_owned();
    trunk.local = told_of.header("From").to_owned();
    let rack = format!("{} {}", told_of.header("RSeq"), told_of.header("CSeq"));
    world.send(&psap(), &trunk.request("PRACK").with("RAck", &rack));
    let prack = world.take(&alice(), "PRACK");
    world.send(&alice(), &talkative(alice().reply(&prack, 200)));
    world.take(&psap(), "200 PRACK");
    world.run(5_000);
}

/// The phone hangs up a callback.
#[test]
fn section_4_a_callback_ended_by_the_phone() {
    let (mut world, invite, ring) = called_back(&Toml::default());
    let answer = talkative(alice().reply(&ring, 200)).sdp(&told());
    world.send(&alice(), &answer);
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
    let mut phone = Dialog::callee(alice(), &ring, &answer);
    world.send(&alice(), &talkative(phone.request("BYE")).with("Reason", "Q.850;cause=16;text=\"zebra\""));
    world.take(&psap(), "BYE");
}

/// Lines of a description as parsers of many kinds may see them.
#[test]
fn section_4_lines_that_hide_in_others() {
    for line in [
        "a=sendrecv\re=zebra@example.com",
        "a=ptime:20\u{b}e=zebra",
        "a=X-phone:1 10.9.8.7",
        "a=cname:box at 10.9.8.7",
        "A=zebra",
        "x=zebra",
    ] {
        let mut world = world();
        world.secrets.push("10.9.8.7");
        let body = description("alice", 1, &["m=audio 6000 RTP/AVP 0", line]);
        world.send(&alice(), &alice().invite("sip:911@example.com").sdp(&body));
        world.take(&psap(), "INVITE");
    }
}

/// The name that the phone gives itself in From is not the only one it has.
#[test]
fn section_4_folded_and_compact_headers() {
    let mut world = world();
    let invite = alice().invite("sip:911@example.com").to_string();
    let invite = invite.replace(
        "\r\nUser-Agent",
        "\r\nP-Asserted-Identity:\r\n <sip:zebra@example.com>\r\nb:\r\n\t<sip:zebra@example.com>\r\ny: zebra\r\n\
         Geolocation:\r\n <https://example.com/x>\r\nr: <sip:zebra@x>\r\nUser-Agent",
    );
    world.send_bytes(&alice(), invite.as_bytes());
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(offered.header("Geolocation"), "<https://example.com/x>");
}

/// The URI that is dialled is the phone's own text too.
#[test]
fn section_4_what_stands_beside_the_number_that_is_dialled() {
    for uri in [
        "sip:911;zebra=1@example.com;user=phone",
        "sip:911:zebra@example.com",
        "sip:911@example.com;x-zebra=zebra",
        "tel:911;phone-context=zebra.example.com",
        "sip:%39%31%31@example.com;zebra",
        "urn:service:sos.zebra",
        "URN:SERVICE:SOS.fire.zebra",
    ] {
        let mut world = World::of(&Toml::default().psap("request_uri = \"urn\""));
        world.register(&alice());
        world.secrets.push(WORD);
        let invite = alice().invite(uri).set("To", "\"zebra\" <sip:911@zebra.example.com>");
        world.send(&alice(), &invite);
        let offered = world.take(&psap(), "INVITE");
        assert!(offered.uri().starts_with("urn:service:sos"), "{offered}");
    }
}
