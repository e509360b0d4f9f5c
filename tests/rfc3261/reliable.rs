//! PR-1 to PR-6: provisional responses that must arrive, each leg for itself (RFC 3262, RFC 6337 §3).

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, description, media as media_of, param, psap};

fn media(message: &Msg) -> Vec<String> {
    media_of(&message.body)
}

/// Alice dials 911 with these lines in her INVITE; hers, and what the call center got.
fn dialled_with(world: &mut World, lines: &[(&str, &str)], with_offer: bool) -> (Msg, Msg) {
    let invite = alice().request("INVITE", "sip:911@example.com");
    let invite = if with_offer { invite.sdp(&alice().offer()) } else { invite };
    let invite = lines.iter().fold(invite, |invite, (name, value)| invite.with(name, value));
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    (invite, world.take(&psap(), "INVITE"))
}

/// A reliable provisional response of the call center, from the branch `tag` of a fork.
fn rings(offered: &Msg, code: u16, rseq: u32, tag: &str) -> Msg {
    let to = format!("{};tag={tag}", offered.header("To"));
    let response = psap().reply(offered, code).set("To", &to);
    response.with("Require", "100rel").with("RSeq", &rseq.to_string())
}

/// PRACK of `dialog` for `response`.
fn prack(dialog: &mut Dialog, response: &Msg) -> Msg {
    let rack = format!("{} {}", response.header("RSeq"), response.header("CSeq"));
    dialog.request("PRACK").with("RAck", &rack)
}

const SUPPORTED: &[(&str, &str)] =
    &[("Supported", "100rel, timer"), ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK")];

#[test]
fn pr_1_100rel_on_the_trunk_leg_only() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[], true);
    assert!(offered.header("Supported").contains("100rel"), "{offered}");
    let early = rings(&offered, 183, 77, "t1").sdp(&psap().offer());
    world.send(&psap(), &early);
    let ours = world.take(&psap(), "PRACK");
    assert_eq!((ours.header("RAck"), ours.cseq(), ours.body.as_str()), ("77 1 INVITE", 2, ""));
    assert_eq!((ours.uri(), param(ours.header("To"), "tag")), (early.contact().as_str(), "t1"));
    world.send(&psap(), &psap().reply(&ours, 200));
    let shown = world.take(&alice(), "183");
    assert!(!shown.has("RSeq") && !shown.has("Require"), "{shown}");
    assert_eq!(media(&shown), media(&early));
    // The 2xx needs no description; the phone gets the answer it saw.
    let ok = psap().reply(&offered, 200).set("To", early.header("To"));
    world.send(&psap(), &ok);
    world.take(&psap(), "ACK");
    assert_eq!(world.take(&alice(), "200 INVITE").body, shown.body);
    assert!(!invite.has("Supported"));
    world.silent();
}

#[test]
fn pr_1_100rel_on_the_phone_leg_only() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 180));
    let ringing = world.take(&alice(), "180");
    assert_eq!(ringing.header("Require"), "100rel");
    assert!(ringing.header("RSeq").parse::<u32>().is_ok_and(|rseq| rseq > 0 && rseq < 1 << 31));
    world.none(&psap(), "PRACK");
    let mut phone = Dialog::caller(alice(), &invite, &ringing);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &ringing)).code(), 200);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(media(&ok), media_of(&psap().offer()));
    let mut ack = phone.request("ACK");
    ack = ack.set("CSeq", "1 ACK");
    world.send(&alice(), &ack);
    world.run(40_000);
    world.silent();
    assert_eq!(world.node.sizes().0, 1);
}

#[test]
fn pr_1_a_phone_that_only_supports_it_gets_plain_responses_of_a_plain_trunk() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, SUPPORTED, true);
    world.send(&psap(), &psap().reply(&offered, 180));
    assert!(!world.take(&alice(), "180").has("RSeq"));
}

#[test]
fn pr_2_own_numbers_on_each_leg() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    let mut numbers = Vec::new();
    let mut phone = None;
    for (rseq, code) in [(900, 180), (901, 183)] {
        let response = rings(&offered, code, rseq, "t1");
        let response = if code == 183 { response.sdp(&psap().offer()) } else { response };
        world.send(&psap(), &response);
        let shown = world.take(&alice(), &code.to_string());
        numbers.push(shown.header("RSeq").parse::<u32>().unwrap());
        if code == 183 {
            // The answer is acknowledged end to end.
            world.none(&psap(), "PRACK");
        }
        let dialog = phone.get_or_insert_with(|| Dialog::caller(alice(), &invite, &shown));
        assert_eq!(world.ask(&alice(), &prack(dialog, &shown)).code(), 200);
        let ours = world.take(&psap(), "PRACK");
        assert_eq!(ours.header("RAck"), format!("{rseq} 1 INVITE"));
        world.send(&psap(), &psap().reply(&ours, 200));
    }
    assert_eq!(numbers[1], numbers[0] + 1);
    assert_ne!(numbers[0], 900);
    world.send(&psap(), &psap().reply(&offered, 200).set("To", &format!("{};tag=t1", offered.header("To"))));
    world.take(&psap(), "ACK");
    // RFC 6337 §3.1.1: the answer was given.
    assert_eq!(world.take(&alice(), "200 INVITE").body, "");
    world.silent();
}

#[test]
fn oa_1_answer_in_a_reliable_18x() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    world.send(&psap(), &rings(&offered, 183, 9, "t1").sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    assert_eq!(media(&shown), media_of(&psap().offer()));
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &shown)).code(), 200);
    world.take(&psap(), "PRACK");
    // What a 2xx repeats is no offer, and nobody is told anew (RFC 6337 §3.1.1).
    let again = psap().reply(&offered, 200).set("To", &format!("{};tag=t1", offered.header("To")));
    world.send(&psap(), &again.sdp(&psap().offer()));
    assert_eq!(world.take(&psap(), "ACK").body, "");
    assert_eq!(world.take(&alice(), "200 INVITE").body, "");
    world.send(&alice(), &phone.request("ACK").set("CSeq", "1 ACK"));
    world.none(&alice(), "UPDATE");
    world.none(&alice(), "INVITE");
}

#[test]
fn pr_3_our_response_is_repeated_until_its_prack() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.run(7_600);
    let rings = world.take_all(&alice(), "180");
    // T1, doubling without cap: 0, 0.5, 1.5, 3.5, 7.5 s.
    assert_eq!(rings.len(), 5, "{rings:?}");
    assert!(rings.iter().all(|ring| ring.text == rings[0].text));
    let ringing = &rings[0].msg;
    let mut phone = Dialog::caller(alice(), &invite, ringing);
    let acknowledge = prack(&mut phone, ringing);
    assert_eq!(world.ask(&alice(), &acknowledge).code(), 200);
    // Repeated, it is answered again and does nothing; made anew, it matches nothing.
    assert_eq!(world.ask(&alice(), &acknowledge).code(), 200);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, ringing)).code(), 481);
    world.run(30_000);
    world.none(&alice(), "180");
}

#[test]
fn pr_3_a_prack_that_never_comes() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.run(31_900);
    world.none(&alice(), "504");
    world.run(200);
    let refused = world.take(&alice(), "504");
    world.send(&alice(), &invite.ack_of(&refused));
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.take(&psap(), "ACK");
    world.over();
    assert_eq!((world.record().outcome.as_str(), world.record().status), ("failed", Some(504)));
}

#[test]
fn pr_3_repeated_and_overtaken_responses_of_the_trunk() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[], true);
    let first = rings(&offered, 180, 10, "t1");
    world.send(&psap(), &first);
    let ours = world.take(&psap(), "PRACK");
    world.take(&alice(), "180");
    // Repeated because our PRACK is late; then one that comes before its predecessor; then that one.
    world.send(&psap(), &first);
    world.send(&psap(), &rings(&offered, 183, 12, "t1"));
    world.silent();
    world.send(&psap(), &rings(&offered, 181, 11, "t1"));
    assert_eq!(world.take(&psap(), "PRACK").header("RAck"), "11 1 INVITE");
    world.take(&alice(), "181");
    // Lost: it is repeated as any request is.
    world.run(600);
    assert!(world.take_all(&psap(), "PRACK").iter().any(|sent| sent.msg.branch() == ours.branch()));
}

#[test]
fn pr_4_offer_in_the_response_answer_in_prack() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, false);
    assert_eq!(offered.header("Supported"), "100rel, timer, replaces, norefersub");
    world.send(&psap(), &rings(&offered, 183, 5, "t1").sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    assert_eq!(media(&shown), media_of(&psap().offer()));
    world.none(&psap(), "PRACK");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    let answer = prack(&mut phone, &shown).sdp(&alice().offer());
    assert_eq!(world.ask(&alice(), &answer).code(), 200);
    let ours = world.take(&psap(), "PRACK");
    assert_eq!(media(&ours), media_of(&alice().offer()));
    world.send(&psap(), &psap().reply(&ours, 200));
    world.send(&psap(), &psap().reply(&offered, 200).set("To", &format!("{};tag=t1", offered.header("To"))));
    assert_eq!(world.take(&psap(), "ACK").body, "");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(ok.body, "");
    world.send(&alice(), &phone.request("ACK").set("CSeq", "1 ACK"));
    world.silent();
}

#[test]
fn pr_4_no_early_offer_is_invited_that_the_phone_could_not_answer() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[], false);
    assert_eq!(offered.header("Supported"), "timer, replaces, norefersub");
}

#[test]
fn pr_4_a_phone_that_requires_it_rings_only_with_an_offer() {
    // RFC 3262 §5: the first reliable response to an INVITE without offer makes one.
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[("Require", "100rel")], false);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.silent();
    world.send(&psap(), &rings(&offered, 183, 1, "t1").sdp(&psap().offer()));
    assert!(world.take(&alice(), "183").has("RSeq"));
}

#[test]
fn pr_4_another_offer_in_prack() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    world.send(&psap(), &rings(&offered, 183, 5, "t1").sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    let another = description("alice", 2, &["m=audio 6000 RTP/AVP 8"]);
    let asks = prack(&mut phone, &shown).sdp(&another);
    world.send(&alice(), &asks);
    let ours = world.take(&psap(), "PRACK");
    assert_eq!(media(&ours), media_of(&another));
    world.none(&alice(), "200");
    // The 2xx may be faster than the answer: it waits for it.
    let to = format!("{};tag=t1", offered.header("To"));
    world.send(&psap(), &psap().reply(&offered, 200).set("To", &to));
    world.take(&psap(), "ACK");
    world.none(&alice(), "200");
    let answer = description("psap", 2, &["m=audio 9000 RTP/AVP 8"]);
    world.send(&psap(), &psap().reply(&ours, 200).sdp(&answer));
    let answered = world.take(&alice(), "200 PRACK");
    assert_eq!(media(&answered), media_of(&answer));
    assert_eq!(world.take(&alice(), "200 INVITE").body, "");
    world.silent();
}

#[test]
fn pr_4_an_offer_in_prack_to_a_trunk_that_is_acknowledged_already() {
    // The phone requires 100rel, the trunk has none: what was a preview there is an answer here.
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    let refused = world.ask(&alice(), &prack(&mut phone, &shown).sdp(&alice().offer()));
    assert_eq!(refused.code(), 481);
    world.none(&psap(), "*");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    assert_eq!(world.take(&alice(), "200 INVITE").body, "");
}

#[test]
fn pr_5_forks_are_numbered_apart() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[], true);
    for (tag, rseq) in [("a", 100), ("b", 5000), ("a", 101), ("b", 5001), ("c", 1)] {
        world.send(&psap(), &rings(&offered, 180, rseq, tag));
        let ours = world.take(&psap(), "PRACK");
        assert_eq!(ours.header("RAck"), format!("{rseq} 1 INVITE"));
        assert_eq!(param(ours.header("To"), "tag"), tag);
        // Each dialog counts its own requests (RFC 3261 §12.2.1.1).
        assert_eq!(ours.cseq(), if rseq == 101 || rseq == 5001 { 3 } else { 2 });
        world.send(&psap(), &psap().reply(&ours, 200));
        world.take(&alice(), "180");
    }
    // Out of order on one branch alone.
    world.send(&psap(), &rings(&offered, 180, 103, "a"));
    world.silent();
}

#[test]
fn pr_5_a_bound_on_forks() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[], true);
    for branch in 0..40 {
        world.send(&psap(), &rings(&offered, 180, 1, &format!("t{branch}")));
    }
    assert_eq!(world.take_all(&psap(), "PRACK").len(), 9);
}

#[test]
fn pr_6_the_2xx_waits_for_the_prack_of_a_description() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.run(2_000);
    world.none(&alice(), "200");
    assert!(!world.take_all(&alice(), "183").is_empty());
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    world.send(&alice(), &prack(&mut phone, &shown));
    let finals: Vec<u16> = world.take_all(&alice(), "*").iter().map(|sent| sent.msg.code()).collect();
    assert_eq!(finals, [200, 200], "PRACK first, then the INVITE");
}

#[test]
fn pr_6_a_2xx_that_waits_in_vain() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.run(32_100);
    let refused = world.take(&alice(), "504");
    world.send(&alice(), &invite.ack_of(&refused));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.wire.clear();
    world.over();
}

#[test]
fn pr_6_a_response_without_description_holds_nothing() {
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(media(&ok), media_of(&psap().offer()));
    world.take_all(&alice(), "180");
    world.run(3_000);
    world.none(&alice(), "180");
}

#[test]
fn pr_4_the_caller_cancels_while_its_prack_is_out() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    world.send(&psap(), &rings(&offered, 183, 5, "t1").sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    world.send(&alice(), &invite.cancel());
    world.take(&alice(), "200 CANCEL");
    let refused = world.take(&alice(), "487");
    world.send(&alice(), &invite.ack_of(&refused));
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &shown)).code(), 481);
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487).set("To", &format!("{};tag=t1", offered.header("To"))));
    world.take(&psap(), "ACK");
    world.over();
    world.silent();
}

#[test]
fn di_10_a_target_that_fails_after_its_early_answer() {
    // The first target answered reliably and then failed; the phone hears of the second one's media after the call is up.
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    world.send(&psap(), &rings(&offered, 183, 5, "t1").sdp(&psap().offer()));
    let shown = world.take(&alice(), "183");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &shown)).code(), 200);
    world.take(&psap(), "PRACK");
    world.send(&psap(), &psap().reply(&offered, 503).set("To", &format!("{};tag=t1", offered.header("To"))));
    world.take(&psap(), "ACK");
    let second = world.take(&backup(), "INVITE");
    let other_media = description("backup", 1, &["m=audio 9444 RTP/AVP 0"]);
    world.send(&backup(), &backup().reply(&second, 200).sdp(&other_media));
    world.take(&backup(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(ok.body, "");
    world.send(&alice(), &phone.request("ACK").set("CSeq", "1 ACK"));
    let told = world.take(&alice(), "UPDATE");
    assert_eq!(media(&told), media_of(&other_media));
    world.send(&alice(), &alice().reply(&told, 200).sdp(&alice().offer()));
    world.run(10_000);
    world.take_all(&psap(), "PRACK");
    world.silent();
}

/// A trunk that forks (TX-14, DI-10): two branches answered early, another one takes the call.
#[test]
fn di_10_the_branch_that_answers_need_not_be_the_one_that_rang() {
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (invite, offered) = dialled_with(&mut world, SUPPORTED, true);
    let (one, two) = (psap().offer(), description("two", 1, &["m=audio 9222 RTP/AVP 0", "a=ptime:30"]));
    world.send(&psap(), &rings(&offered, 183, 5, "one").sdp(&one));
    let shown = world.take(&alice(), "183");
    world.send(&psap(), &rings(&offered, 183, 60, "two").sdp(&two));
    // The second branch is acknowledged at once: the phone has its answer.
    let second = world.take(&psap(), "PRACK");
    assert_eq!(param(second.header("To"), "tag"), "two");
    let mut phone = Dialog::caller(alice(), &invite, &shown);
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &shown)).code(), 200);
    let again = world.take(&alice(), "183");
    assert_eq!((again.body.as_str(), param(again.header("To"), "tag")), ("", param(shown.header("To"), "tag")));
    assert_eq!(world.ask(&alice(), &prack(&mut phone, &again)).code(), 200);
    for ours in world.take_all(&psap(), "PRACK") {
        world.send(&psap(), &psap().reply(&ours.msg, 200));
    }
    let answered = |tag: &str| psap().reply(&offered, 200).set("To", &format!("{};tag={tag}", offered.header("To")));
    world.send(&psap(), &answered("two"));
    assert_eq!(param(world.take(&psap(), "ACK").header("To"), "tag"), "two");
    world.take(&alice(), "200 INVITE");
    world.send(&alice(), &phone.request("ACK").set("CSeq", "1 ACK"));
    let told = world.take(&alice(), "UPDATE");
    assert_eq!(media(&told), media_of(&two));
    world.send(&alice(), &alice().reply(&told, 200).sdp(&alice().offer()));
    // TX-14: the other branch answers too, and is hung up with a number it has not seen.
    world.send(&psap(), &answered("one"));
    assert_eq!(param(world.take(&psap(), "ACK").header("To"), "tag"), "one");
    let bye = world.take(&psap(), "BYE");
    assert_eq!((param(bye.header("To"), "tag"), bye.cseq()), ("one", 3));
    world.send(&psap(), &psap().reply(&bye, 200));
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    assert_eq!(param(world.take(&psap(), "BYE").header("To"), "tag"), "two");
}

#[test]
fn pr_6_the_caller_cancels_while_the_2xx_waits() {
    let mut world = World::with_alice();
    let (invite, offered) = dialled_with(&mut world, &[("Require", "100rel")], true);
    world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.send(&alice(), &invite.cancel());
    let refused = world.take(&alice(), "487");
    world.send(&alice(), &invite.ack_of(&refused));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.wire.clear();
    world.over();
}

#[test]
fn di_10_a_trunk_that_hangs_up_before_it_answers() {
    // RFC 3261 §15 forbids it; the caller goes on to the next target.
    let mut world = World::with_alice();
    let (_, offered) = dialled_with(&mut world, &[], true);
    let ringing = rings(&offered, 180, 5, "t1");
    world.send(&psap(), &ringing);
    world.take(&psap(), "PRACK");
    world.send(&psap(), &Dialog::callee(psap(), &offered, &ringing).request("BYE"));
    world.take(&psap(), "200 BYE");
    world.take(&psap(), "CANCEL");
    world.take(&backup(), "INVITE");
    world.none(&alice(), "487");
}

#[test]
fn pr_4_a_branch_that_was_taken_back_hears_nothing_of_the_other_party() {
    let mut world = World::with_alice();
    let desk = Agent::new("alice", "198.51.100.171:5071");
    world.register(&desk);
    let mut call = world.talking();
    world.hang_up(&mut call);
    // A callback without an offer, which two phones ring for: the first makes one before it answers.
    let invite = psap().request("INVITE", "sip:+14255551000@192.0.2.1:5060");
    let invite = SUPPORTED.iter().fold(invite, |invite, (name, value)| invite.with(name, value));
    world.send(&psap(), &invite);
    world.run(3_000);
    let (first, second) = (world.take(&alice(), "INVITE"), world.take(&desk, "INVITE"));
    let early = alice().reply(&first, 183).with("Require", "100rel").with("RSeq", "1").sdp(&alice().offer());
    world.send(&alice(), &early);
    let shown = world.take(&psap(), "183");
    world.send(&desk, &desk.reply(&second, 200).sdp(&desk.offer()));
    let cancel = world.take(&alice(), "CANCEL");
    world.send(&alice(), &alice().reply(&cancel, 200));
    // Its answer crosses the CANCEL: it is for nobody.
    let mut trunk = Dialog::caller(psap(), &invite, &shown);
    let answered = world.ask(&psap(), &prack(&mut trunk, &shown).sdp(&psap().offer()));
    assert_eq!(answered.code(), 200);
    world.none(&alice(), "PRACK");
    world.take(&psap(), "200 INVITE");
}
