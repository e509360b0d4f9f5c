//! DI-3, DI-4, DI-6 to DI-9, DI-11, DI-12: inside a dialog, up to its end (RFC 3261 §12.2, §14, §15).

use crate::world::{Agent, Dialog, World, alice, bob, description, psap, register};

fn hold() -> String {
    description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"])
}

#[test]
fn di_3_target_refresh_by_reinvite() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    // The call center moves.
    let moved = Agent::new("moved", "203.0.113.84:5099");
    let reinvite = call.trunk.request("INVITE").set("Contact", "<sip:moved@203.0.113.84:5099>").sdp(&psap().offer());
    world.send(&psap(), &reinvite);
    world.take(&psap(), "100");
    let carried = world.take(&alice(), "INVITE");
    assert_eq!(carried.uri(), call.phone.agent.contact().trim_matches(['<', '>']), "the phone's own target stays");
    world.send(&alice(), &alice().reply(&carried, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    let mut ack = call.trunk.request("ACK");
    ack.start = format!("ACK {} SIP/2.0", ok.contact());
    world.send(&psap(), &ack);
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = world.take(&moved, "BYE");
    assert_eq!(bye.uri(), "sip:moved@203.0.113.84:5099");
    world.none(&psap(), "BYE");
}

#[test]
fn di_3_target_refresh_by_the_answer() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.phone.request("INVITE").sdp(&hold());
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    let moved = Agent::new("moved", "203.0.113.84:5099");
    let answer = psap().reply(&carried, 200).set("Contact", "<sip:moved@203.0.113.84:5099>").sdp(&psap().offer());
    world.send(&psap(), &answer);
    assert_eq!(world.take(&moved, "ACK").uri(), "sip:moved@203.0.113.84:5099");
    world.take(&alice(), "200 INVITE");
}

#[test]
fn di_3_headers_and_method_of_a_contact_are_in_no_request_line() {
    // RFC 3261 §16.6 step 2, §19.1.1: registered contacts may have both; elsewhere they are a mistake.
    for odd in ["?Subject=a&X-Y=z", ";method=INVITE", ";method=BYE;x=y?Subject=a", "?"] {
        let bare = |agent: Agent| {
            let x = if odd.contains(";x=y") { ";x=y" } else { "" };
            crate::world::uri_of(&agent.contact()) + x
        };
        let contact = |agent: Agent| agent.contact().replace('>', &format!("{odd}>"));
        let mut world = World::with_alice();
        world.register_as(&bob(), &register(&bob()).set("Contact", &contact(bob())));
        let invite = world.dial(&alice(), "sip:bob@example.com");
        let ring = world.take(&bob(), "INVITE");
        assert_eq!(ring.uri(), bare(bob()));
        let answer = bob().reply(&ring, 200).set("Contact", &contact(bob())).sdp(&bob().offer());
        world.send(&bob(), &answer);
        assert_eq!(world.take(&bob(), "ACK").uri(), bare(bob()));
        let ok = world.take(&alice(), "200 INVITE");
        let mut caller = Dialog::caller(alice(), &invite, &ok);
        let ack = caller.request("ACK");
        world.send(&alice(), &ack);
        let (_, offered) = world.dialled();
        let answer = psap().reply(&offered, 200).set("Contact", &contact(psap())).sdp(&psap().offer());
        world.send(&psap(), &answer);
        assert_eq!(world.take(&psap(), "ACK").uri(), bare(psap()));
    }
}

#[test]
fn di_4_cseq_lower_than_seen() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    call.phone.cseq = 10;
    let info = call.phone.request("INFO").body("text/plain", "eleven");
    world.send(&alice(), &info);
    let carried = world.take(&psap(), "INFO");
    world.send(&psap(), &psap().reply(&carried, 200));
    world.take(&alice(), "200 INFO");
    for method in ["INFO", "BYE", "INVITE", "OPTIONS"] {
        let mut behind = Dialog { cseq: 3, ..call.phone.clone() };
        let refused = world.ask(&alice(), &behind.request(method));
        assert_eq!(refused.code(), 500, "{method}");
        world.take_all(&alice(), "100");
    }
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn di_6_bye_crossing_bye() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let ours = world.take(&psap(), "BYE");
    let theirs = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &theirs).code(), 200);
    world.send(&psap(), &psap().reply(&ours, 200));
    world.none(&alice(), "BYE");
    world.over();
    world.silent();
    assert_eq!(world.node.records_view(10).len(), 1);
}

#[test]
fn di_7_bye_during_reinvite() {
    for from_phone in [true, false] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
        let agent = side.agent;
        let reinvite = side.request("INVITE").sdp(&hold());
        world.send(&agent, &reinvite);
        world.take(&agent, "100");
        let carried = world.take(&other, "INVITE");
        world.send(&other, &other.reply(&carried, 100));
        let bye = side.request("BYE");
        assert_eq!(world.ask(&agent, &bye).code(), 200);
        let refused = world.take(&agent, "487 INVITE");
        world.send(&agent, &reinvite.ack_of(&refused));
        // The other side: its INVITE is taken back, or ended with the call.
        let bye = world.take(&other, "BYE");
        world.send(&other, &other.reply(&bye, 200));
        for cancel in world.take_all(&other, "CANCEL") {
            world.send(&other, &other.reply(&cancel.msg, 200));
        }
        world.send(&other, &other.reply(&carried, 487));
        world.take(&other, "ACK");
        world.over();
        world.silent();
    }
}

#[test]
fn di_7_bye_from_the_side_that_was_reinvited() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.phone.request("INVITE").sdp(&hold());
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    let refused = world.take(&alice(), "487 INVITE");
    world.send(&alice(), &reinvite.ack_of(&refused));
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.send(&psap(), &psap().reply(&carried, 487));
    world.take(&psap(), "ACK");
    world.take_all(&psap(), "CANCEL");
    world.over();
    world.silent();
}

#[test]
fn di_8_bye_before_ack() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    let bye = Dialog::caller(alice(), &invite, &ok).request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    // The 200 to the INVITE is not repeated to somebody who has hung up.
    world.silent();
}

#[test]
fn di_8_bye_of_the_trunk_before_the_phone_acknowledged() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    let bye = Dialog::callee(psap(), &offered, &answer).request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    // §15: the side that was called sends no BYE before the ACK.
    world.none(&alice(), "BYE");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
}

#[test]
fn di_9_no_answer_to_our_bye() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.run(31_000);
    assert_eq!(world.node.sizes().0, 0, "the call itself is long over");
    assert_eq!(world.node.sizes().1, 1);
    world.run(1_100);
    assert_eq!(world.node.sizes().1, 0);
    assert!(world.node.is_idle());
    assert_eq!(world.take_all(&psap(), "BYE").len(), 11);
    world.silent();
}

#[test]
fn di_11_bad_messages_inside_a_live_dialog() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bad: Vec<String> = vec![
        call.phone.request("INFO").set("CSeq", "4294967296 INFO").to_string(),
        call.phone.request("INFO").set("CSeq", "20 OPTIONS").to_string(),
        call.phone.request("BYE").with("Call-ID", "twice").to_string(),
        call.phone.request("BYE").with("Content-Length", "900").to_string(),
        call.phone.request("BYE").set("Max-Forwards", "300").to_string(),
        call.phone.request("BYE").without("From").to_string(),
        call.phone.request("BYE").to_string().replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
        "BYE sip:911@192.0.2.1 SIP/2.0\r\n\r\n".into(),
        "\u{0}\u{1}\u{2}".into(),
        call.phone.request("INFO").with("Require", "nothing").to_string(),
    ];
    for text in bad {
        world.send_bytes(&alice(), text.as_bytes());
        let answers = world.take_all(&alice(), "*");
        assert!(answers.iter().all(|answer| (400..=505).contains(&answer.msg.code())), "{text}\n{answers:?}");
        world.silent();
    }
    assert_eq!(world.node.sizes().0, 1);
    call.phone.cseq += 10;
    world.hang_up(&mut call);
}

#[test]
fn di_12_481_to_reinvite() {
    for code in [408, 481] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let reinvite = call.phone.request("INVITE").sdp(&hold());
        world.send(&alice(), &reinvite);
        world.take(&alice(), "100");
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, code));
        world.take(&psap(), "ACK");
        let refused = world.take(&alice(), &code.to_string());
        world.send(&alice(), &reinvite.ack_of(&refused));
        let bye = world.take(&alice(), "BYE");
        assert!(bye.header("Reason").contains(&format!("cause={code}")), "{bye}");
        world.send(&alice(), &alice().reply(&bye, 200));
        world.over();
        world.take_all(&psap(), "BYE");
        world.silent();
    }
}

#[test]
fn di_12_no_answer_to_reinvite() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &reinvite);
    world.take(&psap(), "100");
    assert_eq!(world.on_wire(&alice(), "INVITE").len(), 1);
    world.run(32_000);
    let refused = world.take(&psap(), "408");
    world.send(&psap(), &reinvite.ack_of(&refused));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

#[test]
fn di_12_any_other_failure_leaves_the_session() {
    for code in [302, 401, 415, 480, 486, 488, 491, 500, 503, 603] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let reinvite = call.phone.request("INVITE").sdp(&hold());
        world.send(&alice(), &reinvite);
        world.take(&alice(), "100");
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, code).without("Contact"));
        assert_eq!(world.take(&psap(), "ACK").branch(), carried.branch());
        let refused = world.wire.iter().find(|sent| sent.msg.code() >= 300).expect("a refusal").msg.clone();
        world.take(&alice(), &refused.code().to_string());
        world.send(&alice(), &reinvite.ack_of(&refused));
        world.silent();
        world.run(40_000);
        world.silent();
        world.hang_up(&mut call);
    }
}

/// What waits for an answer has a bound, for each leg; the call knows nothing of it.
#[test]
fn di_11_a_flood_of_info_is_bounded() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    for _ in 0..100 {
        world.send(&alice(), &call.phone.request("INFO").body("text/plain", "x"));
    }
    let carried = world.take_all(&psap(), "INFO");
    assert_eq!(carried.len(), 32);
    let refused = world.take_all(&alice(), "500 INFO");
    assert_eq!(refused.len(), 68);
    assert!(refused.iter().all(|sent| !sent.msg.values("Retry-After").is_empty()));
    // The other side is not silenced by it, and one answer makes room for one more.
    let from_trunk = call.trunk.request("INFO").body("text/plain", "y");
    world.send(&psap(), &from_trunk);
    world.take(&alice(), "INFO");
    world.send(&psap(), &psap().reply(&carried[0].msg, 200));
    world.take(&alice(), "200 INFO");
    for _ in 0..2 {
        world.send(&alice(), &call.phone.request("INFO").body("text/plain", "z"));
    }
    assert_eq!(world.take_all(&psap(), "INFO").len(), 1);
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.take(&psap(), "BYE");
}
