//! SPEC §5, last row: calls that are not emergency calls.

use crate::world::{Agent, Dialog, Toml, World, alice, bob, nomad, psap};

/// Rule 5.5a.
#[test]
fn user_to_user_respects_inbound() {
    let mut world = World::with_alice();
    world.register(&bob());
    let refused = world.ask(&bob(), &bob().invite("sip:alice@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("Inbound calling is disabled"), "{refused}");
    world.none(&alice(), "*");
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&bob(), "INVITE");
    assert!(ring.header("From").starts_with("\"Alice Liddell\" <sip:alice@example.com>;tag="), "{ring}");
    let answer = bob().reply(&ring, 200).sdp(&bob().offer());
    world.send(&bob(), &answer);
    world.take(&bob(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    let mut callee = Dialog::callee(bob(), &ring, &answer);
    let bye = callee.request("BYE");
    assert_eq!(world.ask(&bob(), &bye).code(), 200);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
    assert_eq!(world.record().call.kind.as_str(), "internal");
    assert!(world.node.leases_view(0).rows.is_empty());
}

/// Rules 5.5b, 6.6c.
#[test]
fn trunk_to_user_respects_inbound() {
    // (dialled, user, status)
    let cases = [
        ("sip:bob@example.com", Some(bob()), 0),
        ("sip:+14255550124@192.0.2.1", Some(bob()), 0),
        ("tel:+1-425-555-0124", Some(bob()), 0),
        ("sip:alice@example.com", None, 403),
        ("sip:+14255550123@192.0.2.1", None, 403),
        ("sip:nobody@example.com", None, 404),
        ("sip:+12125550000@192.0.2.1", None, 404),
        ("sip:911@192.0.2.1", None, 404),
        ("sip:nomad@example.com", None, 480),
    ];
    for (dialled, rings, status) in cases {
        let mut world = World::with_alice();
        world.secrets.clear();
        world.register(&bob());
        let invite = psap().invite(dialled);
        match rings {
            Some(agent) => {
                world.send(&psap(), &invite);
                let ring = world.take(&agent, "INVITE");
                assert!(!ring.has("Priority"), "{dialled}");
                assert_eq!(world.node.calls_view(0).rows[0].kind.as_str(), "inbound");
            }
            None => assert_eq!(world.ask(&psap(), &invite).code(), status, "{dialled}"),
        }
        world.none(&alice(), "*");
    }
}

/// Rule 5.5b.
#[test]
fn inbound_default_of_the_resource() {
    for (default, status) in [("true", 480), ("false", 403)] {
        let mut world = World::of(&Toml::default().resource(&format!("inbound_default = {default}")));
        assert_eq!(world.ask(&psap(), &psap().invite("sip:nomad@example.com")).code(), status);
        // Emergency calls do not ask.
        world.register(&nomad());
        world.send(&nomad(), &nomad().invite("sip:911@example.com").with("X-Country-Code", "US"));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn all_phones_of_a_user_ring_and_the_best_answer_counts() {
    let mut world = World::with_alice();
    let (desk, mobile) = (bob(), Agent::new("bob", "198.51.100.82:5082"));
    world.register(&desk);
    world.register(&mobile);
    // Both refuse: busy says more than unavailable.
    for order in [[(desk, 480), (mobile, 486)], [(desk, 486), (mobile, 503)]] {
        let invite = world.dial(&alice(), "sip:bob@example.com");
        for (phone, code) in order {
            let ring = world.take(&phone, "INVITE");
            world.send(&phone, &phone.reply(&ring, code));
        }
        let refused = world.take(&alice(), "486");
        world.send(&alice(), &invite.ack_of(&refused));
        world.wire.clear();
    }
}

#[test]
fn the_caller_hangs_up_while_phones_ring() {
    let mut world = World::with_alice();
    world.register(&bob());
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 180));
    world.send(&alice(), &invite.cancel());
    let cancel = world.take(&bob(), "CANCEL");
    world.send(&bob(), &bob().reply(&cancel, 200));
    world.send(&bob(), &bob().reply(&ring, 487));
    let refused = world.take(&alice(), "487");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
    assert_eq!(world.record().outcome.as_str(), "cancelled");
}

/// Rules 5.5c, 5.5d.
#[test]
fn out_to_a_number() {
    let mut world = World::with_alice();
    let refused = world.ask(&alice(), &alice().invite("sip:+12065550199@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("Only emergency numbers"), "{refused}");
    let mut world = World::of(&Toml::default().add("[other_calls]\ntrunk = \"backup\"\n"));
    world.secrets.clear();
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:+1-206-555-0199@example.com");
    let offered = world.take(&crate::world::backup(), "INVITE");
    assert_eq!(offered.uri(), "sip:+12065550199@203.0.113.81:5080");
    let mut call = world.answer(&alice(), &invite, &crate::world::backup(), &offered);
    world.hang_up(&mut call);
    assert_eq!(world.record().call.kind.as_str(), "outbound");
    // Its failure is told as it is, once: no rounds.
    let invite = world.dial(&alice(), "sip:+12065550199@example.com");
    let offered = world.take(&crate::world::backup(), "INVITE");
    world.send(&crate::world::backup(), &crate::world::backup().reply(&offered, 486));
    let refused = world.take(&alice(), "486");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
}

/// Rule 2.4b.
#[test]
fn between_users_switched_off() {
    let mut world = World::of(&Toml::default().add("[other_calls]\nusers = false\n"));
    world.register(&alice());
    world.register(&bob());
    assert_eq!(world.ask(&alice(), &alice().invite("sip:bob@example.com")).code(), 403);
    world.none(&bob(), "*");
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
}

#[test]
fn a_user_who_calls_itself() {
    let mut world = World::with_alice();
    let refused = world.ask(&alice(), &alice().invite("sip:alice@example.com"));
    assert_eq!(refused.code(), 403);
    // Bob may be called, also by himself: his other phone rings, and this one.
    world.register(&bob());
    world.dial(&bob(), "sip:bob@example.com");
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 486));
    world.take(&bob(), "486");
}
