//! OA-4 to OA-6 and DI-12 with UPDATE and PRACK (RFC 3311, RFC 6337 §3.2 and §4), and what races leave behind.

use crate::world::{Agent, Call, Dialog, Msg, World, alice, description, media, param, psap};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK";

fn hold() -> String {
    description("hold", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"])
}

fn held() -> String {
    description("held", 2, &["m=audio 9000 RTP/AVP 0", "a=recvonly"])
}

/// A call whose parties allow UPDATE, or not.
fn talking(phone_allows: bool, trunk_allows: bool) -> (World, Call) {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com");
    let invite = if phone_allows { invite.with("Allow", ALLOW) } else { invite };
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    let answer = if trunk_allows { answer.with("Allow", ALLOW) } else { answer };
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    world.silent();
    let trunk = Dialog::callee(psap(), &offered, &answer);
    (world, Call { phone, trunk, invite, offered, ok })
}

/// A call that rings, with its first exchange complete on both legs.
fn early() -> (World, Dialog, Dialog, Msg, Msg) {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").with("Supported", "100rel").with("Allow", ALLOW);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    let ringing = psap().reply(&offered, 183).with("Require", "100rel").with("RSeq", "1").with("Allow", ALLOW);
    let ringing = ringing.sdp(&psap().offer());
    world.send(&psap(), &ringing);
    let shown = world.take(&alice(), "183");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    let rack = format!("{} 1 INVITE", shown.header("RSeq"));
    assert_eq!(world.ask(&alice(), &phone.request("PRACK").with("RAck", &rack)).code(), 200);
    let ours = world.take(&psap(), "PRACK");
    world.send(&psap(), &psap().reply(&ours, 200));
    world.silent();
    (world, phone, Dialog::callee(psap(), &offered, &ringing), invite, offered)
}

#[test]
fn oa_6_update_crosses_in_a_call_that_is_up() {
    for from_phone in [true, false] {
        let (mut world, mut call) = talking(true, true);
        let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
        let agent = side.agent;
        world.send(&agent, &side.request("UPDATE").sdp(&hold()));
        let carried = world.take(&other, "UPDATE");
        assert_eq!((media(&carried.body), carried.has("Contact")), (media(&hold()), true));
        world.send(&other, &other.reply(&carried, 200).sdp(&held()));
        let ok = world.take(&agent, "200 UPDATE");
        assert_eq!((media(&ok.body), ok.has("Contact")), (media(&held()), true));
        world.silent();
        world.hang_up(&mut call);
    }
}

#[test]
fn oa_6_reinvite_where_update_is_not_allowed() {
    for from_phone in [true, false] {
        let (mut world, mut call) = talking(from_phone, !from_phone);
        let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
        let agent = side.agent;
        world.send(&agent, &side.request("UPDATE").sdp(&hold()));
        world.none(&other, "UPDATE");
        let carried = world.take(&other, "INVITE");
        assert_eq!(media(&carried.body), media(&hold()));
        world.send(&other, &other.reply(&carried, 200).sdp(&held()));
        world.take(&other, "ACK");
        assert_eq!(media(&world.take(&agent, "200 UPDATE").body), media(&held()));
        world.silent();
        world.hang_up(&mut call);
    }
}

#[test]
fn oa_6_an_update_is_answered_in_time_even_if_the_reinvite_is_not() {
    let (mut world, mut call) = talking(true, false);
    world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 180));
    world.run(20_000);
    assert_eq!(world.take(&alice(), "504").method(), "UPDATE");
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&carried, 487));
    world.take(&psap(), "ACK");
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn oa_6_update_without_offer_stays_on_its_leg() {
    let (mut world, mut call) = talking(true, true);
    let ok = world.ask(&alice(), &call.phone.request("UPDATE"));
    assert_eq!((ok.code(), ok.body.as_str(), ok.has("Contact")), (200, "", true));
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn di_3_target_refresh_by_update() {
    let (mut world, mut call) = talking(true, true);
    let moved = call.phone.request("UPDATE").set("Contact", "<sip:alice@198.51.100.71:5999>");
    assert_eq!(world.ask(&alice(), &moved).code(), 200);
    world.silent();
    world.send(&psap(), &call.trunk.request("BYE"));
    assert_eq!(world.take(&alice(), "BYE").uri(), "sip:alice@198.51.100.71:5999");
}

#[test]
fn oa_6_early_update_crosses_both_ways() {
    let (mut world, mut phone, mut trunk, _, _) = early();
    for from_phone in [true, false] {
        let (side, other) = if from_phone { (&mut phone, psap()) } else { (&mut trunk, alice()) };
        let agent = side.agent;
        world.send(&agent, &side.request("UPDATE").sdp(&hold()));
        let carried = world.take(&other, "UPDATE");
        assert_eq!(media(&carried.body), media(&hold()));
        world.send(&other, &other.reply(&carried, 200).sdp(&held()));
        assert_eq!(media(&world.take(&agent, "200 UPDATE").body), media(&held()));
    }
    world.silent();
}

/// What one side says reaches the other, and its answer comes back.
fn crosses(world: &mut World, phone: &mut Dialog, trunk: &mut Dialog, method: &str, from_phone: bool) {
    let (side, other) = if from_phone { (phone, psap()) } else { (trunk, alice()) };
    let agent = side.agent;
    world.send(&agent, &side.request(method).body("text/plain", "stay where you are"));
    let carried = world.take(&other, method);
    assert_eq!(carried.body, "stay where you are");
    world.send(&other, &other.reply(&carried, 200));
    world.take(&agent, &format!("200 {method}"));
}

#[test]
fn info_and_message_cross_before_the_answer() {
    // RFC 6086 §4.2.1.
    let (mut world, mut phone, mut trunk, _, _) = early();
    for (method, from_phone) in [("INFO", true), ("INFO", false), ("MESSAGE", true), ("MESSAGE", false)] {
        crosses(&mut world, &mut phone, &mut trunk, method, from_phone);
    }
    // A transfer waits for the answer.
    assert_eq!(world.ask(&psap(), &trunk.request("REFER").with("Refer-To", "<sip:112@203.0.113.80>")).code(), 481);
    world.silent();
}

/// A call that rings as most do: nothing of it is acknowledged.
fn ringing() -> (World, Dialog, Dialog, Msg) {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    let ringing = psap().reply(&offered, 180);
    world.send(&psap(), &ringing);
    let shown = world.take(&alice(), "180");
    (world, Dialog::caller(alice(), &invite, &shown), Dialog::callee(psap(), &offered, &ringing), offered)
}

#[test]
fn info_and_message_cross_while_it_rings_plainly() {
    // RFC 3261 §12.1.2: an unreliable 180 forms an early dialog too.
    let (mut world, mut phone, mut trunk, offered) = ringing();
    for (method, from_phone) in [("INFO", false), ("INFO", true), ("MESSAGE", true), ("MESSAGE", false)] {
        crosses(&mut world, &mut phone, &mut trunk, method, from_phone);
    }
    // Another branch of the trunk answers: its dialog is the one (RFC 3261 §13.2.2.4).
    let answer = psap().reply(&offered, 200).set("To", "<sip:911@203.0.113.80:5080>;tag=two").sdp(&psap().offer());
    world.send(&psap(), &answer);
    assert!(world.take(&psap(), "ACK").header("To").ends_with(";tag=two"));
    world.take(&alice(), "200 INVITE");
    world.send(&alice(), &phone.request("ACK"));
    world.send(&alice(), &phone.request("BYE"));
    world.take(&alice(), "200 BYE");
    assert!(world.take(&psap(), "BYE").header("To").ends_with(";tag=two"));
}

#[test]
fn info_that_nobody_can_be_told_yet_ends_no_dialog() {
    // Nobody rings: the callback is held for a phone that is away.
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.take_all(&alice(), "*");
    world.call_back(&psap(), "+14255551000");
    world.run(4_000);
    let queued = world.take(&psap(), "182");
    let invite = psap().invite("sip:+14255551000@192.0.2.1:5060");
    let back = Dialog::caller(psap(), &invite, &queued);
    let mut back =
        Dialog { call_id: queued.header("Call-ID").to_owned(), local: queued.header("From").to_owned(), ..back };
    let refused = world.ask(&psap(), &back.request("INFO").body("text/plain", "anybody?"));
    assert_eq!(refused.code(), 500, "RFC 3261 §12.2.1.2: a 481 would end the dialog");
    assert_eq!(refused.header("Retry-After"), "5");
    // The phone rings: now it crosses.
    let rung = world.take_all(&alice(), "INVITE").pop().expect("it is tried").msg;
    world.send(&alice(), &alice().reply(&rung, 180));
    world.take(&psap(), "180");
    world.send(&psap(), &back.request("INFO").body("text/plain", "anybody?"));
    world.take(&alice(), "INFO");
}

#[test]
fn info_while_several_phones_ring_reaches_none_and_ends_nothing() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.take_all(&alice(), "*");
    let desk = Agent::new("alice", "198.51.100.79:5079");
    world.register(&desk);
    let invite = world.call_back(&psap(), "+14255551000");
    let rung = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&rung, 180));
    world.run(20_000);
    let beside = world.take(&desk, "INVITE");
    world.send(&desk, &desk.reply(&beside, 180));
    let shown = world.take_all(&psap(), "180").remove(0).msg;
    let mut back = Dialog::caller(psap(), &invite, &shown);
    for method in ["INFO", "MESSAGE"] {
        assert_eq!(world.ask(&psap(), &back.request(method).body("text/plain", "who is there?")).code(), 500);
    }
    world.none(&alice(), "*");
    world.none(&desk, "*");
    // One answers: now it crosses, to that one.
    world.send(&desk, &desk.reply(&beside, 200).sdp(&desk.offer()));
    world.take(&desk, "ACK");
    world.take(&alice(), "CANCEL");
    world.take(&psap(), "200 INVITE");
    world.send(&psap(), &back.request("ACK"));
    world.send(&psap(), &back.request("INFO").body("text/plain", "who is there?"));
    world.take(&desk, "INFO");
    world.none(&alice(), "INFO");
}

#[test]
fn oa_6_no_early_update_before_the_first_exchange_is_complete() {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").with("Supported", "100rel").with("Allow", ALLOW);
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 180));
    let ringing = world.take(&alice(), "180");
    let refused = world.ask(&alice(), &Dialog::caller(alice(), &invite, &ringing).request("UPDATE").sdp(&hold()));
    assert_eq!(refused.code(), 500);
    assert!(refused.header("Retry-After").parse::<u32>().is_ok_and(|seconds| seconds <= 10), "{refused}");
    world.none(&psap(), "UPDATE");
}

#[test]
fn oa_4_update_crossing_update() {
    let (mut world, mut call) = talking(true, true);
    world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
    let carried = world.take(&psap(), "UPDATE");
    assert_eq!(world.ask(&psap(), &call.trunk.request("UPDATE").sdp(&held())).code(), 491);
    // And an INVITE meets it too.
    assert_eq!(world.ask(&psap(), &call.trunk.request("INVITE").sdp(&held())).code(), 491);
    world.send(&psap(), &psap().reply(&carried, 491));
    assert_eq!(world.take(&alice(), "491").method(), "UPDATE");
    // Neither is the session changed: the next one goes through.
    world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
    let carried = world.take(&psap(), "UPDATE");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&held()));
    assert_eq!(media(&world.take(&alice(), "200 UPDATE").body), media(&held()));
    world.hang_up(&mut call);
}

#[test]
fn oa_5_update_while_an_offer_is_open() {
    let (mut world, mut call) = talking(true, true);
    world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
    let carried = world.take(&psap(), "UPDATE");
    for method in ["UPDATE", "INVITE"] {
        let refused = world.ask(&alice(), &call.phone.request(method).sdp(&hold()));
        assert_eq!(refused.code(), 500, "{method}");
        assert!(refused.has("Retry-After"), "{refused}");
    }
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&held()));
    world.take(&alice(), "200 UPDATE");
    // While a re-INVITE of the phone waits, and while one of ours waits on the other leg.
    let reinvite = call.phone.request("INVITE").sdp(&description("again", 3, &["m=audio 6000 RTP/AVP 0"]));
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    world.take(&psap(), "INVITE");
    assert_eq!(world.ask(&alice(), &call.phone.request("UPDATE").sdp(&hold())).code(), 500);
    assert_eq!(world.ask(&psap(), &call.trunk.request("UPDATE").sdp(&hold())).code(), 491);
}

#[test]
fn oa_4_prack_and_update_of_the_trunk_cross() {
    // The phone's PRACK makes an offer while the trunk's UPDATE is on its way.
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").with("Supported", "100rel").with("Allow", ALLOW);
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    let ringing = psap().reply(&offered, 183).with("Require", "100rel").with("RSeq", "1").with("Allow", ALLOW);
    let ringing = ringing.sdp(&psap().offer());
    world.send(&psap(), &ringing);
    let shown = world.take(&alice(), "183");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    let rack = format!("{} 1 INVITE", shown.header("RSeq"));
    world.send(&alice(), &phone.request("PRACK").with("RAck", &rack).sdp(&hold()));
    let ours = world.take(&psap(), "PRACK");
    let mut trunk = Dialog::callee(psap(), &offered, &ringing);
    assert_eq!(world.ask(&psap(), &trunk.request("UPDATE").sdp(&held())).code(), 491);
    assert_eq!(world.ask(&alice(), &phone.request("UPDATE").sdp(&held())).code(), 500);
    world.send(&psap(), &psap().reply(&ours, 200).sdp(&held()));
    assert_eq!(media(&world.take(&alice(), "200 PRACK").body), media(&held()));
}

#[test]
fn oa_8_malformed_description_in_update_and_prack() {
    let (mut world, mut call) = talking(true, true);
    for agent in [alice(), psap()] {
        let side = if agent.name == "alice" { &mut call.phone } else { &mut call.trunk };
        assert_eq!(world.ask(&agent, &side.request("UPDATE").sdp("v=0\r\n")).code(), 488);
    }
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn oa_9_update_counts_the_version_too() {
    let (mut world, mut call) = talking(true, true);
    let origin = |message: &Msg| {
        let line = message.body.lines().find_map(|line| line.strip_prefix("o=")).expect("an origin line").to_owned();
        line.split(' ').nth(2).and_then(|version| version.parse::<u64>().ok()).expect("a version")
    };
    let first = origin(&call.offered);
    for step in 1..=3 {
        let changed = [format!("m=audio {} RTP/AVP 0", 6000 + 2 * step), format!("a=ptime:{}", 10 * step)];
        let offer = description("alice", 5, &[&changed[0], &changed[1]]);
        world.send(&alice(), &call.phone.request("UPDATE").sdp(&offer));
        let carried = world.take(&psap(), "UPDATE");
        assert_eq!(origin(&carried), first + step);
        world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
        assert_eq!(origin(&world.take(&alice(), "200 UPDATE")), origin(&call.ok));
    }
    world.hang_up(&mut call);
}

#[test]
fn di_12_408_or_481_to_update() {
    for code in [408, 481] {
        let (mut world, mut call) = talking(true, true);
        world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
        let carried = world.take(&psap(), "UPDATE");
        world.send(&psap(), &psap().reply(&carried, code));
        world.take(&alice(), if code == 408 { "504" } else { "481" });
        let bye = world.take(&alice(), "BYE");
        world.send(&alice(), &alice().reply(&bye, 200));
        world.take_all(&psap(), "BYE");
        world.over();
    }
}

#[test]
fn di_12_no_answer_to_update() {
    let (mut world, mut call) = talking(true, true);
    world.send(&alice(), &call.phone.request("UPDATE").sdp(&hold()));
    world.run(32_100);
    assert_eq!(world.take(&alice(), "504").method(), "UPDATE");
    world.take(&alice(), "BYE");
}

#[test]
fn di_12_any_other_failure_of_update_leaves_the_session() {
    for code in [401, 405, 422, 488, 491, 500, 504, 603] {
        let (mut world, mut call) = talking(true, true);
        world.send(&psap(), &call.trunk.request("UPDATE").sdp(&hold()));
        let carried = world.take(&alice(), "UPDATE");
        world.send(&alice(), &alice().reply(&carried, code).without("Contact"));
        let refused = world.on_wire(&psap(), "*").into_iter().map(|sent| sent.msg).next().expect("an answer");
        let expected = if matches!(code, 401 | 422) { 500 } else { code };
        assert_eq!((refused.code(), refused.body.as_str()), (expected, ""));
        world.wire.clear();
        world.hang_up(&mut call);
    }
}

#[test]
fn ca_3_legs_agree_after_a_withdrawn_reinvite_that_was_answered() {
    // The call center holds the new description, the phone has taken it back: it is offered the old one again.
    let (mut world, mut call) = talking(true, false);
    let reinvite = call.phone.request("INVITE").sdp(&hold());
    world.send(&alice(), &reinvite);
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 100));
    world.send(&alice(), &reinvite.cancel());
    let refused = world.take(&alice(), "487 INVITE");
    world.send(&alice(), &reinvite.ack_of(&refused));
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&held()));
    world.take(&psap(), "ACK");
    let again = world.take(&psap(), "INVITE");
    assert_eq!(media(&again.body), media(&call.invite.body));
    // Glare: tried once more after the wait of §14.1 (OA-4).
    world.send(&psap(), &psap().reply(&again, 491));
    world.take(&psap(), "ACK");
    world.wire.clear();
    world.run(2_000);
    world.silent();
    world.run(2_100);
    let again = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.wire.clear();
    world.run(20_000);
    world.silent();
    assert!(!param(again.header("To"), "tag").is_empty());
    world.hang_up(&mut call);
}

#[test]
fn oa_5_update_before_the_ack() {
    // The phone may not even have the 200: an offer must not overtake it.
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").with("Allow", ALLOW);
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    let answer = psap().reply(&offered, 200).with("Allow", ALLOW).sdp(&psap().offer());
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    world.take(&alice(), "200 INVITE");
    let refused = world.ask(&psap(), &Dialog::callee(psap(), &offered, &answer).request("UPDATE").sdp(&hold()));
    assert_eq!(refused.code(), 491);
    world.none(&alice(), "UPDATE");
}
