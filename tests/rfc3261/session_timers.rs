//! ST-1 to ST-4: session timers, each leg with its own (RFC 4028), and what keeps a caller from waiting for ever.

use crate::world::{Agent, Call, Dialog, Msg, Toml, World, alice, backup, bob, description, media, psap};

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK";

/// A call of alice whose INVITE has `asked`, answered with `granted`.
fn talking(asked: &[(&str, &str)], granted: &[(&str, &str)]) -> (World, Call) {
    let mut world = World::with_alice();
    let with =
        |message: Msg, lines: &[(&str, &str)]| lines.iter().fold(message, |all, (name, value)| all.with(name, value));
    let invite = with(alice().invite("sip:911@example.com"), asked);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    let answer = with(psap().reply(&offered, 200).sdp(&psap().offer()), granted);
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    world.silent();
    let trunk = Dialog::callee(psap(), &offered, &answer);
    (world, Call { phone, trunk, invite, offered, ok })
}

/// Answers whatever asks whether `agent` is there; how many did.
fn answer_all(world: &mut World, agent: &Agent) -> usize {
    let asked = world.take_all(agent, "OPTIONS");
    for sent in &asked {
        world.send(agent, &agent.reply(&sent.msg, 200));
    }
    asked.len()
}

#[test]
fn st_1_each_leg_has_its_own() {
    let (mut world, call) = talking(
        &[("Supported", "timer"), ("Session-Expires", "600"), ("Allow", ALLOW)],
        &[("Require", "timer"), ("Session-Expires", "300;refresher=uac"), ("Allow", ALLOW)],
    );
    assert_eq!(
        (call.offered.header("Session-Expires"), call.offered.header("Supported")),
        ("1800", "100rel, timer, replaces, norefersub")
    );
    assert_eq!((call.ok.header("Session-Expires"), call.ok.header("Require")), ("600;refresher=uas", "timer"));
    // We refresh both, each at half its interval.
    world.run(149_000);
    world.silent();
    world.run(1_100);
    let refresh = world.take(&psap(), "UPDATE");
    assert_eq!((refresh.header("Session-Expires"), refresh.body.as_str()), ("300;refresher=uac", ""));
    world.none(&alice(), "*");
    let ok = psap().reply(&refresh, 200).with("Require", "timer").with("Session-Expires", "300;refresher=uac");
    world.send(&psap(), &ok);
    world.run(149_950);
    world.none(&psap(), "*");
    let refresh = world.take(&alice(), "UPDATE");
    assert_eq!(refresh.header("Session-Expires"), "600;refresher=uac");
    let ok = alice().reply(&refresh, 200).with("Require", "timer").with("Session-Expires", "600;refresher=uac");
    world.send(&alice(), &ok);
    world.run(1_100);
    world.take(&psap(), "UPDATE");
}

#[test]
fn st_1_a_peer_without_them_is_asked_whether_it_is_there() {
    let (mut world, mut call) = talking(&[], &[]);
    assert!(!call.ok.has("Session-Expires") && !call.ok.has("Require"), "{}", call.ok);
    for _ in 0..4 {
        world.run(900_100);
        assert_eq!((answer_all(&mut world, &alice()), answer_all(&mut world, &psap())), (1, 1));
        world.silent();
    }
    world.hang_up(&mut call);
}

#[test]
fn st_1_refresh_by_reinvite_where_update_is_not_allowed() {
    let (mut world, mut call) = talking(&[], &[("Require", "timer"), ("Session-Expires", "600;refresher=uac")]);
    world.run(300_100);
    let refresh = world.take(&psap(), "INVITE");
    // The same description under the same version: nothing has changed (RFC 4028 §7.4).
    assert_eq!(
        (refresh.body.as_str(), refresh.header("Session-Expires")),
        (call.offered.body.as_str(), "600;refresher=uac")
    );
    let again = psap().reply(&refresh, 200).with("Require", "timer").with("Session-Expires", "600;refresher=uac");
    world.send(&psap(), &again.sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.silent();
    // Glare and other refusals are no end: it is tried again.
    world.run(300_100);
    let refresh = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&refresh, 491));
    world.take(&psap(), "ACK");
    world.run(4_100);
    world.take(&psap(), "INVITE");
    world.wire.clear();
    call.phone.cseq += 1;
}

#[test]
fn st_1_the_peer_refreshes() {
    let (mut world, mut call) =
        talking(&[("Supported", "timer"), ("Session-Expires", "600;refresher=uac"), ("Allow", ALLOW)], &[]);
    assert_eq!((call.ok.header("Session-Expires"), call.ok.header("Require")), ("600;refresher=uac", "timer"));
    for _ in 0..5 {
        world.run(300_000);
        let refresh =
            call.phone.request("UPDATE").with("Supported", "timer").with("Session-Expires", "600;refresher=uac");
        let ok = world.ask(&alice(), &refresh);
        assert_eq!((ok.code(), ok.header("Session-Expires")), (200, "600;refresher=uac"));
        world.none(&alice(), "*");
        answer_all(&mut world, &psap());
    }
    assert_eq!(world.node.sizes().0, 1);
}

#[test]
fn st_2_too_short_an_interval() {
    let mut world = World::of(&Toml::default().sip("min_se = \"5m\""));
    world.register(&alice());
    world.register(&bob());
    let asked = |invite: Msg| invite.with("Supported", "timer").with("Session-Expires", "120");
    let refused = world.ask(&alice(), &asked(alice().invite("sip:bob@example.com")));
    assert_eq!((refused.code(), refused.header("Min-SE")), (422, "300"));
    // No emergency call fails for that (SPEC §10).
    world.send(&alice(), &asked(alice().invite("sip:911@example.com")));
    let offered = world.take(&psap(), "INVITE");
    assert_eq!((offered.header("Session-Expires"), offered.header("Min-SE")), ("1800", "300"));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    assert_eq!(world.take(&alice(), "200 INVITE").header("Session-Expires"), "120;refresher=uas");
}

/// SPEC §10: whoever asks for a century is still asked once a day whether it is there.
#[test]
fn st_2_nobody_puts_the_timer_to_sleep() {
    const CENTURY: &str = "4294967295";
    let long = |refresher: &str| format!("{CENTURY};refresher={refresher}");
    let (mut world, call) = talking(
        &[("Supported", "timer"), ("Session-Expires", &long("uac")), ("Min-SE", CENTURY), ("Allow", ALLOW)],
        &[("Require", "timer"), ("Session-Expires", &long("uac")), ("Allow", ALLOW)],
    );
    assert_eq!(call.ok.header("Session-Expires"), "86400;refresher=uac");
    world.run(43_200_100);
    assert_eq!(world.take(&psap(), "UPDATE").header("Session-Expires"), "86400;refresher=uac");
}

#[test]
fn st_2_our_own_retry_on_422() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 422).with("Min-SE", "3600"));
    world.take(&psap(), "ACK");
    let again = world.take(&psap(), "INVITE");
    assert_eq!((again.header("Session-Expires"), again.header("Min-SE"), again.cseq()), ("3600", "3600", 2));
    assert_ne!(again.branch(), offered.branch());
    for name in ["Call-ID", "From", "To", "Contact", "P-Asserted-Identity", "Supported", "Content-Type"] {
        assert_eq!(again.values(name), offered.values(name), "{name}");
    }
    assert_eq!(again.body, offered.body);
    world.none(&backup(), "*");
    // A trunk that is never content is left for the next one.
    world.send(&psap(), &psap().reply(&again, 422).with("Min-SE", "3600"));
    world.take(&backup(), "INVITE");
}

/// Nor is one asked without end that wants more each time, as fast as it answers.
#[test]
fn st_2_a_trunk_that_wants_more_each_time_is_left_too() {
    let mut world = World::with_alice();
    let (_, mut offered) = world.dialled();
    let mut asked = 1;
    while asked < 10 {
        world.send(&psap(), &psap().reply(&offered, 422).with("Min-SE", &(1800 + asked).to_string()));
        let Some(again) = world.on_wire(&psap(), "INVITE").pop() else { break };
        offered = again.msg;
        world.wire.retain(|sent| sent.msg.method() != "INVITE" || sent.to != psap().address);
        asked += 1;
    }
    assert_eq!(asked, 4);
    world.take(&backup(), "INVITE");

    let granted = [("Require", "timer"), ("Session-Expires", "600;refresher=uac"), ("Allow", ALLOW)];
    let (mut world, _) = talking(&[], &granted);
    world.run(300_100);
    for asked in 1..=4 {
        let refresh = world.take(&psap(), "UPDATE");
        world.send(&psap(), &psap().reply(&refresh, 422).with("Min-SE", &(1200 + asked).to_string()));
        world.run(10);
    }
    world.none(&psap(), "UPDATE");
    world.run(600_000);
    world.take(&psap(), "UPDATE");
}

#[test]
fn st_2_422_to_a_refresh() {
    let granted = [("Require", "timer"), ("Session-Expires", "600;refresher=uac"), ("Allow", ALLOW)];
    let (mut world, _) = talking(&[], &granted);
    world.run(300_100);
    let refresh = world.take(&psap(), "UPDATE");
    world.send(&psap(), &psap().reply(&refresh, 422).with("Min-SE", "1200"));
    world.run(10);
    let again = world.take(&psap(), "UPDATE");
    assert_eq!((again.header("Session-Expires"), again.header("Min-SE")), ("1200;refresher=uac", "1200"));
}

#[test]
fn st_3_an_ordinary_call_ends_with_the_missed_refresh() {
    let mut world = World::with_alice();
    world.register(&bob());
    let invite =
        alice().invite("sip:bob@example.com").with("Supported", "timer").with("Session-Expires", "600;refresher=uac");
    world.send(&alice(), &invite);
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 200).sdp(&bob().offer()));
    world.take(&bob(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    // The least of 32 s and a third of the interval before its end (RFC 4028 §10).
    world.run(567_900);
    world.none(&alice(), "BYE");
    world.run(200);
    for agent in [alice(), bob()] {
        let bye = world.take(&agent, "BYE");
        assert!(bye.header("Reason").contains("Session expired"), "{bye}");
        world.send(&agent, &agent.reply(&bye, 200));
    }
    world.over();
}

#[test]
fn st_3_an_emergency_call_outlives_a_missed_refresh() {
    let asked = [("Supported", "timer"), ("Session-Expires", "600;refresher=uac")];
    let (mut world, mut call) = talking(&asked, &[]);
    world.run(568_100);
    // The phone is asked instead of hung up; it is there.
    assert_eq!(answer_all(&mut world, &alice()), 1);
    world.silent();
    assert_eq!(world.node.sizes().0, 1);
    world.hang_up(&mut call);
}

#[test]
fn st_3_an_emergency_call_whose_phone_is_gone_stays_while_the_call_center_is_there() {
    let asked = [("Supported", "timer"), ("Session-Expires", "600;refresher=uac")];
    let (mut world, mut call) = talking(&asked, &[]);
    world.run(568_100);
    // Nothing from the phone in Timer F: the call center is asked, and there.
    world.run(32_100);
    world.take_all(&alice(), "OPTIONS");
    assert_eq!(answer_all(&mut world, &psap()), 1);
    for _ in 0..360 {
        world.run(10_000);
        answer_all(&mut world, &psap());
    }
    assert_eq!(world.node.sizes().0, 1, "the call stays up as long as one answers");
    world.wire.clear();
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take_all(&alice(), "*");
    world.over();
}

#[test]
fn st_3_a_call_that_both_ends_have_left_is_ended() {
    let (mut world, _) = talking(&[], &[]);
    world.run(900_000);
    assert_eq!(world.node.sizes().0, 1);
    world.run(100_000);
    assert_eq!(world.node.sizes().0, 0);
    assert!(!world.take_all(&alice(), "BYE").is_empty() && !world.take_all(&psap(), "BYE").is_empty());
    world.run(70_000);
    assert!(world.node.is_idle());
}

#[test]
fn st_3_a_peer_that_knows_nothing_of_the_call_ends_it() {
    let (mut world, _) = talking(&[], &[]);
    world.run(900_100);
    let asked = world.take(&psap(), "OPTIONS");
    world.send(&psap(), &psap().reply(&asked, 481));
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.take(&psap(), "BYE");
    assert_eq!(world.node.sizes().0, 0);
}

#[test]
fn st_4_refresh_without_change_does_not_touch_the_other_leg() {
    let asked = [("Supported", "timer"), ("Session-Expires", "600;refresher=uac"), ("Allow", ALLOW)];
    let (mut world, mut call) = talking(&asked, &[]);
    let refresh = |call: &mut Call, body: &str| {
        let request = call.phone.request("INVITE").with("Supported", "timer");
        request.with("Session-Expires", "600;refresher=uac").sdp(body)
    };
    let same = refresh(&mut call, &alice().offer());
    world.send(&alice(), &same);
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!((ok.body.as_str(), ok.header("Session-Expires")), (call.ok.body.as_str(), "600;refresher=uac"));
    world.send(&alice(), &call.phone.request("ACK"));
    world.none(&psap(), "*");
    // With a change it does.
    let hold = description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]);
    world.send(&alice(), &refresh(&mut call, &hold));
    let carried = world.take(&psap(), "INVITE");
    assert_eq!(media(&carried.body), media(&hold));
}

#[test]
fn st_4_a_refresh_of_ours_that_is_answered_with_a_change_is_told_to_the_other_leg() {
    let (mut world, call) = talking(&[], &[("Require", "timer"), ("Session-Expires", "600;refresher=uac")]);
    world.run(300_100);
    let refresh = world.take(&psap(), "INVITE");
    let moved = description("psap", 2, &["m=audio 9555 RTP/AVP 0", "a=ptime:30"]);
    world.send(&psap(), &psap().reply(&refresh, 200).sdp(&moved));
    world.take(&psap(), "ACK");
    let told = world.take(&alice(), "INVITE");
    assert_eq!(media(&told.body), media(&moved));
    world.send(&alice(), &alice().reply(&told, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    world.silent();
    assert!(call.ok.body != told.body);
}

#[test]
fn a_target_that_says_100_and_nothing_more_is_left() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 100));
    world.run(19_900);
    world.none(&backup(), "*");
    world.run(200);
    world.take(&backup(), "INVITE");
    assert_eq!(world.take(&psap(), "CANCEL").branch(), offered.branch());
    // SPEC §5: the late answer is acknowledged and hung up.
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.take(&psap(), "BYE");
    world.none(&alice(), "200");
}

#[test]
fn a_target_that_rings_is_never_left() {
    for code in [180, 181, 182, 183] {
        let mut world = World::with_alice();
        let (_, offered) = world.dialled();
        world.send(&psap(), &psap().reply(&offered, 100));
        world.run(5_000);
        world.send(&psap(), &psap().reply(&offered, code));
        world.run(600_000);
        world.none(&psap(), "CANCEL");
        world.none(&backup(), "*");
    }
}

#[test]
fn requests_to_the_test_line_have_their_answers() {
    let mut world = World::with_alice();
    let invite = world.dial(&alice(), "sip:933@example.com");
    let ok = world.take(&alice(), "200 INVITE");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    let digits = phone.request("INFO").body("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n");
    assert_eq!(world.ask(&alice(), &digits).code(), 200);
    let held = phone.request("INVITE").sdp(&description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]));
    let answer = world.ask(&alice(), &held);
    assert_eq!(answer.code(), 200);
    let (direction, port) =
        if crate::world::relays() { ("a=recvonly", "m=audio 200") } else { ("a=inactive", "m=audio 9 ") };
    assert!(answer.body.contains(direction) && answer.body.contains(port), "{answer}");
    let mut ack = phone.request("ACK");
    ack = ack.set("CSeq", &format!("{} ACK", held.cseq()));
    world.send(&alice(), &ack);
    let updated = world.ask(&alice(), &phone.request("UPDATE").sdp(&alice().offer()));
    assert_eq!(updated.code(), 200, "{updated}");
    assert_eq!(world.ask(&alice(), &phone.request("MESSAGE").body("text/plain", "hello")).code(), 480);
    assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200);
    world.over();
}

#[test]
fn pr_1_the_test_line_takes_a_phone_that_requires_100rel() {
    let mut world = World::with_alice();
    let answer = world.ask(&alice(), &alice().invite("sip:933@example.com").with("Require", "100rel, timer"));
    assert_eq!(answer.code(), 200, "{answer}");
}
