//! OA: offers and answers across the two legs (RFC 3264, RFC 3261 §13.2.1 and §14, RFC 6337).

use crate::world::{Call, Dialog, Msg, Toml, World, alice, description, media, psap};

/// The origin line: session id, version, address.
fn origin(message: &Msg) -> (u64, u64, String) {
    let line = message.body.lines().find_map(|line| line.strip_prefix("o=")).expect("an origin line");
    let fields: Vec<&str> = line.split(' ').collect();
    (fields[1].parse().unwrap(), fields[2].parse().unwrap(), fields[5].to_owned())
}

fn offer(version: u32, direction: &str) -> String {
    description("alice", version, &["m=audio 6000 RTP/AVP 0", direction])
}

/// A re-INVITE of one side, carried to the other, answered and acknowledged. Gives what crossed: the INVITE, the 200, the ACK.
fn reinvite(world: &mut World, call: &mut Call, from_phone: bool, offer: &str, answer: &str) -> (Msg, Msg, Msg) {
    let (side, other) =
        if from_phone { (&mut call.phone, call.trunk.agent) } else { (&mut call.trunk, call.phone.agent) };
    let agent = side.agent;
    let request = side.request("INVITE");
    let request = if offer.is_empty() { request } else { request.sdp(offer) };
    world.send(&agent, &request);
    world.take(&agent, "100");
    let carried = world.take(&other, "INVITE");
    world.send(&other, &other.reply(&carried, 200).sdp(answer));
    let ok = world.take(&agent, "200 INVITE");
    let ack = side.request("ACK");
    world.send(&agent, &if offer.is_empty() { ack.sdp(&agent.offer()) } else { ack });
    (carried, ok, world.take(&other, "ACK"))
}

#[test]
fn oa_1_offer_in_invite_answer_in_2xx() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    assert_eq!(media(&offered.body), media(&invite.body));
    let answer = description("agent", 1, &["m=audio 9000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&answer));
    assert_eq!(world.take(&psap(), "ACK").body, "");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!((media(&ok.body), ok.header("Content-Type")), (media(&answer), "application/sdp"));
}

#[test]
fn oa_1_early_description_is_repeated_unchanged() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let answer = psap().offer();
    for code in [183, 180] {
        world.send(&psap(), &psap().reply(&offered, code).sdp(&answer));
    }
    let (first, second) = (world.take(&alice(), "183"), world.take(&alice(), "180"));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&answer));
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(media(&first.body), media(&answer));
    assert_eq!((&first.body, &first.body), (&second.body, &ok.body));
}

#[test]
fn oa_1_early_description_and_a_2xx_without_one() {
    // RFC 6337 §3.1: the answer is due in the 2xx. A trunk that leaves it out has answered in its 183 only.
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
    let early = world.take(&alice(), "183");
    world.send(&psap(), &psap().reply(&offered, 200));
    assert_eq!(world.take(&alice(), "200 INVITE").body, early.body);
}

#[test]
fn oa_2_delayed_offer_from_the_phone() {
    let mut world = World::with_alice();
    let invite = alice().request("INVITE", "sip:911@example.com");
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    assert_eq!((offered.body.as_str(), offered.has("Content-Type")), ("", false));
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    // The ACK has to bring the answer, so it waits for the phone's.
    world.none(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(media(&ok.body), media(&psap().offer()));
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK").sdp(&alice().offer()));
    let ack = world.take(&psap(), "ACK");
    assert_eq!(media(&ack.body), media(&alice().offer()));
    assert_eq!(ack.header("Content-Type"), "application/sdp");
    // CONFORMANCE TX-5: a repeated 2xx gets the same ACK, with its answer.
    world.send(&psap(), &answer);
    assert_eq!(world.take(&psap(), "ACK").body, ack.body);
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.take(&psap(), "BYE");
}

#[test]
fn oa_2_delayed_offer_of_a_callback() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    let invite = psap().request("INVITE", "sip:+14255551000@192.0.2.1:5060");
    world.send(&psap(), &invite);
    world.take(&psap(), "100");
    let ring = world.take(&alice(), "INVITE");
    assert_eq!(ring.body, "");
    let answer = alice().reply(&ring, 200).sdp(&alice().offer());
    world.send(&alice(), &answer);
    world.none(&alice(), "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK").sdp(&psap().offer()));
    assert_eq!(media(&world.take(&alice(), "ACK").body), media(&psap().offer()));
}

#[test]
fn oa_3_hold_and_resume_from_either_side() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let cases = [
        (true, "a=sendonly", "a=recvonly"),
        (true, "a=sendrecv", "a=sendrecv"),
        (false, "a=inactive", "a=inactive"),
        (false, "a=sendrecv", "a=sendrecv"),
    ];
    for (version, (from_phone, offered, answered)) in (2..).zip(cases) {
        let offer = offer(version, offered);
        let answer = description("peer", version, &["m=audio 9000 RTP/AVP 0", answered]);
        let (carried, ok, ack) = reinvite(&mut world, &mut call, from_phone, &offer, &answer);
        assert_eq!(media(&carried.body), media(&offer));
        assert_eq!(media(&ok.body), media(&answer));
        assert_eq!(ack.cseq(), carried.cseq());
        // Each leg counts its own requests: two of ours on each leg, after the INVITE of the trunk's.
        let earlier = if from_phone { 1 } else { 0 };
        let round = if matches!(version, 2 | 4) { 1 } else { 2 };
        assert_eq!(carried.cseq(), earlier + round);
    }
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn oa_3_reinvite_without_description() {
    for from_phone in [true, false] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let answer = description("peer", 2, &["m=audio 9000 RTP/AVP 0"]);
        let (carried, ok, ack) = reinvite(&mut world, &mut call, from_phone, "", &answer);
        assert_eq!(carried.body, "");
        assert_eq!(media(&ok.body), media(&answer));
        let agent = if from_phone { alice() } else { psap() };
        assert_eq!(media(&ack.body), media(&agent.offer()));
        world.hang_up(&mut call);
    }
}

#[test]
fn oa_4_glare() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let first = call.phone.request("INVITE").sdp(&offer(2, "a=sendonly"));
    world.send(&alice(), &first);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    // The call center's crosses it.
    let second = call.trunk.request("INVITE").sdp(&psap().offer());
    let refused = world.ask(&psap(), &second);
    assert_eq!(refused.code(), 491);
    world.none(&alice(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 491));
    world.take(&psap(), "ACK");
    let refused = world.take(&alice(), "491");
    world.send(&alice(), &first.ack_of(&refused));
    world.run(20_000);
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn oa_5_offer_while_one_is_pending() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let first = call.phone.request("INVITE").sdp(&offer(2, "a=sendonly"));
    world.send(&alice(), &first);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    // §14.2: another INVITE of theirs, while the first has no answer of ours.
    let refused = world.ask(&alice(), &call.phone.request("INVITE").sdp(&offer(3, "a=inactive")));
    assert_eq!(refused.code(), 500);
    let seconds: u32 = refused.header("Retry-After").parse().expect("Retry-After");
    assert!(seconds <= 10, "{refused}");
    world.none(&psap(), "INVITE");
    // The first is answered all the same.
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(ok.cseq(), first.cseq());
}

#[test]
fn oa_5_reinvite_before_the_ack() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    // The trunk is faster than the phone's ACK: the other leg cannot take an INVITE yet.
    let mut trunk = Dialog::callee(psap(), &offered, &answer);
    let refused = world.ask(&psap(), &trunk.request("INVITE").sdp(&psap().offer()));
    assert_eq!(refused.code(), 491);
    world.none(&alice(), "INVITE");
    assert!(world.node.sizes().0 == 1 && ok.code() == 200);
}

#[test]
fn oa_7_streams_never_shrink_and_keep_their_order() {
    let mut world = World::with_alice();
    let offer = description("alice", 1, &["m=video 0 RTP/AVP 31", "m=audio 6000 RTP/AVP 0", "m=text 6004 RTP/AVP 98"]);
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&offer);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(media(&offered.body), media(&offer));
    let answer = description("agent", 1, &["m=video 0 RTP/AVP 31", "m=audio 9000 RTP/AVP 0", "m=text 0 RTP/AVP 98"]);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&answer));
    assert_eq!(media(&world.take(&alice(), "200 INVITE").body), media(&answer));
}

/// RFC 3264 §6: an answer has as many streams as its offer, and a browser refuses any other.
#[test]
fn oa_7_an_answer_that_counts_otherwise_is_fitted_to_its_offer() {
    const AUDIO: &str = "m=audio 9000 RTP/AVP 0";
    let offer = description("alice", 1, &["m=audio 6000 RTP/AVP 0", "m=video 6004 RTP/AVP 31"]);
    let cases: [(&[&str], &[&str]); 2] = [
        (&[AUDIO], &[AUDIO, "m=video 0 RTP/AVP 31"]),
        (&[AUDIO, "m=video 0 RTP/AVP 31", "m=text 9008 RTP/AVP 98"], &[AUDIO, "m=video 0 RTP/AVP 31"]),
    ];
    for (answer, told) in cases {
        let mut world = World::with_alice();
        let invite = alice().request("INVITE", "sip:911@example.com").sdp(&offer);
        world.send(&alice(), &invite);
        world.take(&alice(), "100");
        let offered = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&offered, 200).sdp(&description("agent", 1, answer)));
        assert_eq!(media(&world.take(&alice(), "200 INVITE").body), media(&description("agent", 1, told)));
    }
}

const BROKEN: [&str; 4] = [
    "v=0\r\n",
    "this is no description\r\n",
    "v=0\r\no=alice 1 1 IN IP4\r\ns=-\r\nc=IN IP4 198.51.100.99\r\nt=0 0\r\nm=audio\r\n",
    "o=alice 1 1 IN IP4 198.51.100.7\r\nv=0\r\ns=-\r\nt=0 0\r\n",
];

#[test]
fn oa_8_malformed_description_in_an_ordinary_invite_and_reinvite() {
    for broken in BROKEN {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let refused = world.ask(&alice(), &call.phone.request("INVITE").sdp(broken));
        assert_eq!(refused.code(), 488, "{broken}");
        world.silent();
        let refused = world.ask(&psap(), &call.trunk.request("INVITE").sdp(broken));
        assert_eq!(refused.code(), 488, "{broken}");
        world.silent();
        world.hang_up(&mut call);
    }
}

#[test]
fn oa_8_malformed_description_in_an_emergency_invite() {
    for broken in BROKEN {
        let mut world = World::with_alice();
        let invite = alice().request("INVITE", "sip:911@example.com").sdp(broken);
        world.send(&alice(), &invite);
        world.none(&psap(), "INVITE");
        world.run(32_000);
        world.none(&psap(), "INVITE");
        let refused = world.take(&alice(), "488");
        world.send(&alice(), &invite.ack_of(&refused));
    }
}

#[test]
fn oa_8_malformed_answer_of_a_trunk() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 200).sdp(BROKEN[0]));
    world.take(&psap(), "ACK");
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.none(&alice(), "200");
    world.take(&crate::world::backup(), "INVITE");
}

/// SPEC §10: what can be put right in the answer of a call center, or of the phone that is called back, ends no call.
#[test]
fn oa_8_a_sloppy_answer_is_put_right() {
    let sloppy: [fn(&str) -> String; 4] = [
        |whole| whole.replace("t=0 0\r\n", ""),
        |whole| whole.replace("\r\ns=", " x\r\nthis is no line\r\ns="),
        |whole| whole.replace(" IN IP4 198.51.100.7", ""),
        |whole| whole.replace("v=0\r\n", ""),
    ];
    for spoil in sloppy {
        for early in [None, Some(false), Some(true)] {
            let mut world = World::with_alice();
            let invite = alice().invite("sip:911@example.com").with("Supported", "100rel");
            world.send(&alice(), &invite);
            world.take(&alice(), "100");
            let offered = world.take(&psap(), "INVITE");
            let answer = spoil(&psap().offer());
            if let Some(is_reliable) = early {
                let progress = psap().reply(&offered, 183).sdp(&answer);
                let reliable = progress.clone().with("Require", "100rel").with("RSeq", "1");
                world.send(&psap(), if is_reliable { &reliable } else { &progress });
                let told = world.take(&alice(), "183");
                assert_eq!(media(&told.body), media(&psap().offer()), "{answer}");
            }
            world.send(&psap(), &psap().reply(&offered, 200).sdp(&answer));
            world.take(&psap(), "ACK");
            if early != Some(true) {
                let ok = world.take(&alice(), "200 INVITE");
                assert_eq!(media(&ok.body), media(&psap().offer()), "{answer}");
            }
            world.none(&psap(), "BYE");
        }
        let mut world = World::after_a_call(&Toml::default());
        world.call_back(&psap(), "+14255551000");
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 200).sdp(&spoil(&alice().offer())));
        world.take(&alice(), "ACK");
        assert_eq!(media(&world.take(&psap(), "200 INVITE").body), media(&alice().offer()));
    }
}

#[test]
fn oa_9_origin_line_per_leg() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    let first = origin(&offered);
    assert_ne!(first.0, 77, "the phone's session id does not cross");
    assert_eq!(first.2, "192.0.2.1");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    let to_phone = origin(&call.ok);
    assert_ne!(to_phone.0, first.0);
    // The same session again: same version. Another one: the next.
    let answer = description("psap", 9, &["m=audio 9000 RTP/AVP 0"]);
    let (same, ok, _) = reinvite(&mut world, &mut call, true, &alice().offer(), &answer);
    assert_eq!(origin(&same), first);
    assert_eq!((origin(&ok).0, origin(&ok).1), (to_phone.0, to_phone.1 + 1));
    let (changed, ok, _) = reinvite(&mut world, &mut call, true, &offer(2, "a=sendonly"), &answer);
    assert_eq!((origin(&changed).0, origin(&changed).1), (first.0, first.1 + 1));
    assert_eq!((origin(&ok).0, origin(&ok).1), (to_phone.0, to_phone.1 + 1));
    let (back, _, _) = reinvite(&mut world, &mut call, false, &answer, &offer(2, "a=sendonly"));
    assert_eq!((origin(&back).0, origin(&back).1), (to_phone.0, to_phone.1 + 1));
    world.hang_up(&mut call);
}

#[test]
fn oa_10_the_caller_cannot_hold_an_emergency_call_where_the_configuration_says_so() {
    let mut world = World::of(&Toml::default().change("[routing]\n", "[routing]\ncaller_hold = false\n"));
    world.register(&alice());
    let mut call = world.talking();
    for (version, held) in (2..).zip(["a=sendonly", "a=inactive", "a=recvonly"]) {
        let offer = offer(version, held);
        let refused = world.ask(&alice(), &call.phone.request("INVITE").sdp(&offer));
        assert_eq!(refused.code(), 488, "{held}");
        assert!(refused.header("Warning").contains("not put on hold"), "{refused}");
        world.none(&psap(), "INVITE");
    }
    // The call center may, and the caller's other offers cross.
    let answer = description("peer", 9, &["m=audio 9000 RTP/AVP 0", "a=recvonly"]);
    reinvite(&mut world, &mut call, false, &offer(9, "a=sendonly"), &answer);
    let answer = description("peer", 10, &["m=audio 9000 RTP/AVP 0"]);
    reinvite(&mut world, &mut call, true, &offer(10, "a=sendrecv"), &answer);
    world.hang_up(&mut call);
}
