//! CA: CANCEL (RFC 3261 §9, RFC 3326).

use crate::world::{Agent, Dialog, Msg, Store, Toml, UDP, World, alice, backup, bob, outsider, psap};
use sosbridge::node::Input;

/// Alice dialled 911, the trunk rings.
fn ringing() -> (World, Msg, Msg) {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&alice(), "180");
    (world, invite, offered)
}

/// Takes what a cancelled caller gets and acknowledges the 487.
fn cancelled(world: &mut World, agent: &Agent, invite: &Msg) -> Msg {
    world.take(agent, "200 CANCEL");
    let refused = world.take(agent, "487 INVITE");
    world.send(agent, &invite.ack_of(&refused));
    refused
}

#[test]
fn ca_1_caller_cancels_while_the_trunk_rings() {
    let (mut world, invite, offered) = ringing();
    world.send(&alice(), &invite.cancel());
    let answered = world.on_wire(&alice(), "200 CANCEL")[0].msg.clone();
    let refused = cancelled(&mut world, &alice(), &invite);
    // §9.2: the To tag of the 200 is the one of the answer to the INVITE.
    assert_eq!(answered.header("To"), refused.header("To"));
    let cancel = world.take(&psap(), "CANCEL");
    assert_eq!((cancel.branch(), cancel.uri()), (offered.branch(), offered.uri()));
    for name in ["From", "To", "Call-ID", "Route"] {
        assert_eq!(cancel.values(name), offered.values(name), "{name}");
    }
    assert_eq!(cancel.header("CSeq"), "1 CANCEL");
    assert_eq!((cancel.values("Via").len(), cancel.has("Require"), cancel.body.as_str()), (1, false, ""));
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    assert_eq!(world.take(&psap(), "ACK").branch(), offered.branch());
    world.over();
    world.silent();
    let record = world.record();
    assert_eq!((record.outcome.as_str(), record.status), ("cancelled", Some(487)));
}

#[test]
fn ca_1_the_number_stays_leased() {
    let (mut world, invite, _) = ringing();
    world.send(&alice(), &invite.cancel());
    cancelled(&mut world, &alice(), &invite);
    world.run(59 * 60_000);
    let lease = world.node.leases_view(0).rows.remove(0);
    assert_eq!((lease.user.as_str(), lease.state), ("sip:alice@example.com", sosbridge::admin::LeaseState::Held));
}

#[test]
fn ca_2_cancel_waits_for_the_first_provisional() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&alice(), &invite.cancel());
    cancelled(&mut world, &alice(), &invite);
    world.run(1_500);
    world.none(&psap(), "CANCEL");
    // §9.1: whoever has not heard the INVITE by now shall not ring any more.
    world.none(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 100));
    let cancel = world.take(&psap(), "CANCEL");
    assert_eq!(cancel.branch(), offered.branch());
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.take(&psap(), "ACK");
    world.over();
    world.silent();
}

#[test]
fn ca_2_no_provisional_ever() {
    let mut world = World::with_alice();
    let (invite, _) = world.dialled();
    world.send(&alice(), &invite.cancel());
    cancelled(&mut world, &alice(), &invite);
    world.over();
    world.silent();
}

#[test]
fn ca_3_200_crosses_cancel() {
    let (mut world, invite, offered) = ringing();
    world.send(&alice(), &invite.cancel());
    cancelled(&mut world, &alice(), &invite);
    let cancel = world.take(&psap(), "CANCEL");
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    let ack = world.take(&psap(), "ACK");
    assert_ne!(ack.branch(), offered.branch());
    let bye = world.take(&psap(), "BYE");
    assert_eq!(bye.header("To"), answer.header("To"));
    assert!(bye.has("Reason"), "{bye}");
    // The answer repeated, since the ACK may be lost.
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    world.none(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&cancel, 481));
    world.send(&psap(), &psap().reply(&bye, 200));
    world.none(&alice(), "*");
    world.over();
    world.silent();
    assert_eq!(world.record().outcome.as_str(), "cancelled");
}

#[test]
fn ca_3_200_instead_of_the_first_provisional() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&alice(), &invite.cancel());
    cancelled(&mut world, &alice(), &invite);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let bye = world.take(&psap(), "BYE");
    world.none(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    world.silent();
}

#[test]
fn ca_3_an_answer_of_a_target_that_was_said_to_be_away() {
    // An ICMP error tells of a datagram, perhaps an older one: whoever is there all the same must not ring for ever.
    for code in [180, 200] {
        let mut world = World::with_alice();
        let (invite, offered) = world.dialled();
        world.input(Input::Unreachable { listener: UDP, remote: psap().address });
        let second = world.take(&backup(), "INVITE");
        let mut call = world.answer(&alice(), &invite, &backup(), &second);
        world.run(3_000);
        world.none(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&offered, code).sdp(&psap().offer()));
        if code == 180 {
            let cancel = world.take(&psap(), "CANCEL");
            world.send(&psap(), &psap().reply(&cancel, 200));
            world.send(&psap(), &psap().reply(&offered, 487));
            world.take(&psap(), "ACK");
        } else {
            world.take(&psap(), "ACK");
            let bye = world.take(&psap(), "BYE");
            world.send(&psap(), &psap().reply(&bye, 200));
        }
        world.none(&alice(), "*");
        world.hang_up(&mut call);
    }
}

#[test]
fn ca_4_cancel_after_our_2xx() {
    let (mut world, invite, offered) = ringing();
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    world.send(&alice(), &invite.cancel());
    world.take(&alice(), "200 CANCEL");
    world.silent();
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.take(&psap(), "BYE");
}

#[test]
fn ca_4_cancel_after_our_refusal() {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:nobody@example.com");
    world.send(&alice(), &invite);
    world.take(&alice(), "404");
    world.send(&alice(), &invite.cancel());
    world.take(&alice(), "200 CANCEL");
    world.silent();
}

#[test]
fn ca_5_cancel_matching_nothing() {
    let mut world = World::with_alice();
    let (invite, _) = world.dialled();
    let strange = invite.cancel().branched("z9hG4bK-of-nobody");
    assert_eq!(world.ask(&alice(), &strange).code(), 481);
    world.silent();
    assert_eq!(world.node.sizes().0, 1);
}

#[test]
fn ca_5_cancel_by_somebody_else() {
    // §9.2, §17.2.3: the branch alone is not enough, the sent-by must match too.
    let (mut world, invite, _) = ringing();
    let via = format!("SIP/2.0/UDP {};branch={}", outsider().address, invite.branch());
    world.send(&outsider(), &invite.cancel().set("Via", &via));
    assert_eq!(world.take(&outsider(), "*").code(), 481);
    world.silent();
}

/// Many phones count their branches up: whoever guesses one ends no emergency call with it.
#[test]
fn ca_5_cancel_with_a_guessed_branch() {
    let (mut world, invite, offered) = ringing();
    let from = format!("{}x", invite.header("From"));
    let next = format!("{} CANCEL", invite.cseq() + 1);
    for (name, value) in [("Call-ID", "guessed"), ("From", from.as_str()), ("CSeq", next.as_str())] {
        let forged = invite.cancel().set(name, value);
        assert_eq!(world.ask(&alice(), &forged).code(), 481, "{name}: §9.1 has it equal that of the INVITE");
    }
    world.send(&outsider(), &invite.cancel());
    assert_eq!(world.take(&outsider(), "*").code(), 481, "all of it right, from another host");
    world.silent();
    // The phone's own, whose port a NAT has changed.
    let moved = Agent { address: (alice().address.ip(), 40_000).into(), ..alice() };
    world.send(&moved, &invite.cancel());
    assert_eq!(world.take(&psap(), "CANCEL").branch(), offered.branch());
}

#[test]
fn ca_6_reason_is_carried_across() {
    let (mut world, invite, _) = ringing();
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
    world.send(&alice(), &invite.cancel().with("Reason", reason));
    // The text is for people, and stays with them (SPEC §4).
    assert_eq!(world.take(&psap(), "CANCEL").header("Reason"), "SIP;cause=200");

    for from_phone in [true, false] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let reason = "Q.850;cause=31;text=\"Normal, unspecified\"";
        let (side, other) = if from_phone { (&mut call.phone, psap()) } else { (&mut call.trunk, alice()) };
        let bye = side.request("BYE").with("Reason", reason);
        let agent = side.agent;
        assert_eq!(world.ask(&agent, &bye).code(), 200);
        let expected = if from_phone { "Q.850;cause=31" } else { reason };
        assert_eq!(world.take(&other, "BYE").header("Reason"), expected);
    }
}

#[test]
fn ca_6_our_own_endings_carry_one() {
    let (mut world, invite, _) = ringing();
    world.send(&alice(), &invite.cancel());
    let cancel = world.take(&psap(), "CANCEL");
    assert!(cancel.header("Reason").starts_with("SIP;cause=487"), "{cancel}");
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = world.take(&psap(), "BYE");
    assert!(bye.header("Reason").starts_with("Q.850;cause=16"), "{bye}");
}

#[test]
fn ca_6_answered_on_another_device() {
    let mut world = World::new();
    let desk = bob();
    let mobile = Agent::new("bob", "198.51.100.82:5082");
    world.register(&desk);
    world.register(&mobile);
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let (at_desk, at_mobile) = (world.take(&desk, "INVITE"), world.take(&mobile, "INVITE"));
    world.send(&desk, &desk.reply(&at_desk, 180));
    world.send(&mobile, &mobile.reply(&at_mobile, 180));
    world.send(&desk, &desk.reply(&at_desk, 200).sdp(&desk.offer()));
    let cancel = world.take(&mobile, "CANCEL");
    assert!(cancel.header("Reason").starts_with("SIP;cause=200"), "{cancel}");
    let ok = world.take(&alice(), "200 INVITE");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    world.send(&mobile, &mobile.reply(&cancel, 200));
    world.send(&mobile, &mobile.reply(&at_mobile, 487));
    assert_eq!(world.take(&mobile, "ACK").branch(), at_mobile.branch());
}

/// CANCEL in every state a call can be in before its answer: the caller always gets its 487, and nothing is left.
#[test]
fn ca_cancel_at_every_moment() {
    type Scene = fn(&mut World) -> Msg;
    let scenes: [(&str, Scene); 6] = [
        ("waiting for the store", |world| {
            world.store = Store::Silent;
            world.dial(&alice(), "sip:911@example.com")
        }),
        ("first target silent", |world| world.dialled().0),
        ("second target", |world| {
            let (invite, _) = world.dialled();
            world.run(2_000);
            world.take(&backup(), "INVITE");
            invite
        }),
        ("between two rounds", |world| {
            let (invite, offered) = world.dialled();
            world.send(&psap(), &psap().reply(&offered, 503));
            let offered = world.take(&backup(), "INVITE");
            world.send(&backup(), &backup().reply(&offered, 503));
            invite
        }),
        ("in the second round", |world| {
            let (invite, offered) = world.dialled();
            world.send(&psap(), &psap().reply(&offered, 503));
            let offered = world.take(&backup(), "INVITE");
            world.send(&backup(), &backup().reply(&offered, 503));
            world.run(1_000);
            invite
        }),
        ("early media", |world| {
            let (invite, offered) = world.dialled();
            world.send(&psap(), &psap().reply(&offered, 183).sdp(&psap().offer()));
            invite
        }),
    ];
    for (what, scene) in scenes {
        let mut world = World::of(&Toml::default());
        world.register(&alice());
        let invite = scene(&mut world);
        world.send(&alice(), &invite.cancel());
        let refused = cancelled(&mut world, &alice(), &invite);
        assert_eq!(refused.branch(), invite.branch(), "{what}");
        let (invites, ackd) = (world.on_wire(&psap(), "INVITE").len(), world.on_wire(&backup(), "INVITE").len());
        world.over();
        assert_eq!(world.on_wire(&psap(), "INVITE").len(), invites, "{what}: a cancelled call was sent on");
        assert_eq!(world.on_wire(&backup(), "INVITE").len(), ackd, "{what}: a cancelled call was sent on");
        assert_eq!(world.record().outcome.as_str(), "cancelled", "{what}");
    }
}
