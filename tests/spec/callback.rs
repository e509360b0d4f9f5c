//! SPEC §6: the callback.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, outsider, psap, register};

const NUMBER: &str = "+14255551000";

fn other_phone() -> Agent {
    Agent::new("alice", "198.51.100.79:5079")
}

/// Rules 6.1a, 6.2a, 6.2c, 6.3a.
#[test]
fn rings_the_phone_that_called_though_inbound_is_off() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.call_back(&psap(), NUMBER);
    world.take(&psap(), "100");
    let ring = world.take(&alice(), "INVITE");
    assert_eq!(ring.uri(), "sip:alice@198.51.100.71:5071");
    assert_eq!(ring.values("Priority"), ["psap-callback"]);
    assert!(ring.header("From").contains("+12065550000"), "{ring}");
    assert!(!ring.to_string().contains("203.0.113."), "the trunk's address stays with us\n{ring}");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.take(&psap(), "180");
    let answer = alice().reply(&ring, 200).sdp(&alice().offer());
    world.send(&alice(), &answer);
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    let mut trunk = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &trunk.request("ACK"));
    let bye = trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
    let record = world.record();
    assert_eq!((record.call.kind.as_str(), record.outcome.as_str()), ("callback", "answered"));
    assert_eq!(record.callback_of.as_deref(), Some(NUMBER));
    assert_eq!(world.metric("sosbridge_callbacks_total{outcome=\"answered\"}"), 1.0);
}

#[test]
fn the_number_in_every_way_a_trunk_dials_it() {
    let ways = [
        "sip:+14255551000@192.0.2.1",
        "sip:14255551000@192.0.2.1",
        "sip:+1-425-555-1000@192.0.2.1;user=phone",
        "sip:+14255551000;npdi@192.0.2.1",
        "tel:+14255551000",
        "tel:+1-425-555-1000",
        "sip:%2B14255551000@example.com",
        // As it is dialled in its country, or from another.
        "sip:4255551000@192.0.2.1",
        "sip:425-555-1000@192.0.2.1;user=phone",
        "tel:4255551000;phone-context=+1",
        "sip:5551000;phone-context=+1425@192.0.2.1;user=phone",
        "sip:0014255551000@192.0.2.1",
        "sip:01114255551000@192.0.2.1",
    ];
    for way in ways {
        let mut world = World::after_a_call(&Toml::default());
        world.send(&psap(), &psap().invite(way));
        world.take(&alice(), "INVITE");
    }
    let ways = [
        "sip:5551000@192.0.2.1",
        "tel:4255551000;phone-context=+44",
        "tel:4255551000;phone-context=example.com",
        "sip:994255551000@192.0.2.1",
        "sip:*4255551000@192.0.2.1",
    ];
    for way in ways {
        let mut world = World::after_a_call(&Toml::default());
        let refused = world.ask(&psap(), &psap().invite(way));
        assert_eq!(refused.code(), 404, "{way}");
    }
}

/// Rules 6.1c, 6.1d, 6.3a.
#[test]
fn from_any_trunk_and_any_number() {
    // PSAPs call back from other numbers, over other trunks, and withhold theirs.
    for (trunk, from) in [
        (psap(), "<sip:anonymous@anonymous.invalid>;tag=a"),
        (backup(), "<sip:+442079460999@203.0.113.81>;tag=b"),
        (Agent::new("neighbour", "203.0.113.81:6066"), "\"Dispatch\" <tel:+12065551234>;tag=c"),
    ] {
        let mut world = World::after_a_call(&Toml::default());
        let invite = trunk.invite(&format!("sip:{NUMBER}@192.0.2.1")).set("From", from);
        world.send(&trunk, &invite);
        assert_eq!(world.take(&alice(), "INVITE").header("Priority"), "psap-callback", "{from}");
    }
}

/// Rules 6.2a, 6.2b.
#[test]
fn the_origin_first_then_the_others() {
    let mut world = World::after_a_call(&Toml::default());
    world.register(&other_phone());
    world.call_back(&psap(), NUMBER);
    let first = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&first, 180));
    world.run(19_000);
    world.none(&other_phone(), "INVITE");
    world.run(2_000);
    let second = world.take(&other_phone(), "INVITE");
    assert_eq!(second.header("Priority"), "psap-callback");
    // Whoever answers has the call; the other stops ringing.
    world.send(&other_phone(), &other_phone().reply(&second, 200).sdp(&alice().offer()));
    world.take(&alice(), "CANCEL");
    world.take(&psap(), "200 INVITE");
}

/// Rule 6.2b.
#[test]
fn the_others_join_at_once_when_the_origin_cannot() {
    let cases: [fn(&mut World, &Msg); 3] = [
        |world, ring| world.send(&alice(), &alice().reply(ring, 480)),
        |world, _| {
            world.input(sosbridge::node::Input::Unreachable { listener: crate::world::UDP, remote: alice().address })
        },
        |world, _| world.run(2_100),
    ];
    for fails in cases {
        let mut world = World::after_a_call(&Toml::default());
        world.register(&other_phone());
        world.call_back(&psap(), NUMBER);
        let ring = world.take(&alice(), "INVITE");
        fails(&mut world, &ring);
        world.take(&other_phone(), "INVITE");
    }
}

#[test]
fn all_at_once_where_configured() {
    let mut world = World::after_a_call(&Toml::default().change("ring = \"origin-first\"", "ring = \"all\""));
    world.register(&other_phone());
    world.call_back(&psap(), NUMBER);
    world.take(&alice(), "INVITE");
    world.take(&other_phone(), "INVITE");
}

#[test]
fn a_person_who_declines() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.send(&alice(), &alice().reply(&ring, 603));
    let refused = world.take(&psap(), "603");
    world.send(&psap(), &invite.ack_of(&refused));
    world.over();
}

/// Rules 6.4a, 6.4c, 6.4e.
#[test]
fn held_for_a_phone_that_is_offline_until_it_registers() {
    let mut world = World::after_a_call(&Toml::default());
    // Gone without a word.
    world.run(3_600_000);
    world.register(&bob());
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
    let invite = world.call_back(&psap(), NUMBER);
    world.take(&psap(), "100");
    world.run(2_000);
    world.take(&psap(), "182");
    world.run(30_000);
    world.none(&psap(), "480");
    // The last known flow is tried all the while.
    assert!(world.take_all(&alice(), "INVITE").len() > 2);
    let back = Agent::new("alice", "198.51.100.77:6007");
    world.register(&back);
    let ring = world.take(&back, "INVITE");
    assert_eq!((ring.header("Priority"), ring.uri()), ("psap-callback", "sip:alice@198.51.100.77:6007"));
    world.send(&back, &back.reply(&ring, 200).sdp(&back.offer()));
    let ok = world.take(&psap(), "200 INVITE");
    world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
    assert_eq!(world.node.calls_view(0).rows[0].state, sosbridge::admin::CallState::Answered);
}

/// Rule 6.4c.
#[test]
fn rings_the_moment_the_same_phone_registers() {
    let mut world = World::after_a_call(&Toml::default());
    world.call_back(&psap(), NUMBER);
    world.run(10_000);
    world.take_all(&alice(), "*");
    world.register_as(&alice(), &register(&alice()));
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    world.take(&psap(), "200 INVITE");
}

/// Rule 6.4d.
#[test]
fn not_held_for_ever() {
    for (hold, seconds) in [("60s", 60), ("15s", 15)] {
        let mut world = World::after_a_call(&Toml::default().change("hold = \"60s\"", &format!("hold = \"{hold}\"")));
        let invite = world.call_back(&psap(), NUMBER);
        world.run(seconds * 1000 - 1);
        world.none(&psap(), "480");
        world.run(6_000);
        let refused = world.take(&psap(), "480");
        assert!(refused.header("Warning").contains("not reachable"), "{refused}");
        world.send(&psap(), &invite.ack_of(&refused));
        world.over();
        assert_eq!(world.record().outcome.as_str(), "unanswered");
        // The lease is renewed by the try.
        assert_eq!(world.node.leases_view(0).rows[0].state, sosbridge::admin::LeaseState::Held);
    }
}

#[test]
fn the_call_taker_gives_up_while_it_holds() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.call_back(&psap(), NUMBER);
    world.run(8_000);
    world.wire.clear();
    world.send(&psap(), &invite.cancel());
    world.take(&psap(), "200 CANCEL");
    let refused = world.take(&psap(), "487");
    world.send(&psap(), &invite.ack_of(&refused));
    world.register(&Agent::new("alice", "198.51.100.77:6007"));
    world.none(&Agent::new("alice", "198.51.100.77:6007"), "INVITE");
    world.over();
}

/// Rule 6.5.
#[test]
fn while_the_first_leg_is_still_up() {
    let mut world = World::of(&Toml::default().sip("session_expires = \"0s\""));
    world.register(&alice());
    let mut first = world.talking();
    let invite = world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    let answer = alice().reply(&ring, 200).sdp(&alice().offer());
    world.send(&alice(), &answer);
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    let mut second = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &second.request("ACK"));
    assert_eq!(world.node.calls_view(0).rows.len(), 2);
    // The first ends, the second stays.
    let bye = first.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.run(3 * 3_600_000);
    assert_eq!(world.node.leases_view(0).rows[0].state, sosbridge::admin::LeaseState::Active);
    let bye = second.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take(&alice(), "BYE");
}

/// Rules 6.6a, 6.6b.
#[test]
fn refused_from_anybody_but_a_trunk() {
    let mut world = World::after_a_call(&Toml::default());
    world.register(&bob());
    let target = format!("sip:{NUMBER}@192.0.2.1:5060");
    let from_outside = world.ask(&outsider(), &outsider().invite(&target).set("From", "<sip:psap@203.0.113.80>;tag=x"));
    let from_user = world.ask(&bob(), &bob().invite(&target));
    for refused in [from_outside, from_user] {
        assert_eq!(refused.code(), 403);
        assert!(refused.header("Warning").contains("configured trunks only"), "{refused}");
    }
    world.none(&alice(), "*");
    assert_eq!(world.metric("sosbridge_callbacks_total{outcome=\"refused\"}"), 2.0);
}

/// Rule 6.6d.
#[test]
fn a_number_never_leased() {
    let mut world = World::after_a_call(&Toml::default());
    world.call_back(&psap(), "+14255551009");
    world.take(&psap(), "404");
    world.call_back(&psap(), "+12125550000");
    world.take(&psap(), "404");
    world.none(&alice(), "*");
}

/// Rule 6.3b.
#[test]
fn the_mark_is_removed_from_every_other_call() {
    let mut world = World::with_alice();
    world.register(&bob());
    world.secrets.clear();
    // From a user, from a trunk to a user, and toward a trunk.
    world.send(&alice(), &alice().invite("sip:bob@example.com").with("Priority", "psap-callback"));
    assert!(!world.take(&bob(), "INVITE").has("Priority"));
    world.send(&psap(), &psap().invite("sip:bob@example.com").with("Priority", "psap-callback"));
    assert!(!world.take(&bob(), "INVITE").has("Priority"));
    world.send(&alice(), &alice().invite("sip:911@example.com").with("Priority", "psap-callback"));
    assert!(!world.take(&psap(), "INVITE").has("Priority"));
}

#[test]
fn a_callback_survives_a_new_configuration_without_the_user() {
    let mut world = World::after_a_call(&Toml::default());
    let gone = Toml::default().change("sip:alice@example.com", "sip:alison@example.com");
    world.reload(&gone);
    world.call_back(&psap(), NUMBER);
    // The number was promised: it rings whom it was given to.
    world.take(&alice(), "INVITE");
}

/// Two users, two numbers: each callback rings its own, whatever crosses.
/// Rules 3.2a, 6.2a.
#[test]
fn never_the_wrong_person() {
    let mut world = World::with_alice();
    world.register(&bob());
    let mut shown = Vec::new();
    for agent in [alice(), bob()] {
        world.dial(&agent, "sip:911@example.com");
        let offered = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&offered, 180));
        world.take(&agent, "180");
        shown.push((agent, crate::world::uri_of(offered.header("From"))));
    }
    for (agent, uri) in shown {
        let number = uri.trim_start_matches("sip:").split('@').next().unwrap().to_owned();
        world.call_back(&psap(), &number);
        assert!(world.take(&agent, "INVITE").uri().contains(&agent.address.to_string()), "{number}");
        for other in [alice(), bob()] {
            world.none(&other, "INVITE");
        }
    }
}

#[test]
fn the_reason_of_the_phone_does_not_name_it() {
    let named = "SIP;text=\"alice; cause=7\";cause=200";
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.send(&alice(), &invite.cancel().with("Reason", named));
    assert_eq!(world.take(&psap(), "CANCEL").header("Reason"), "SIP;cause=200");

    let mut world = World::after_a_call(&Toml::default());
    world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.send(&alice(), &alice().reply(&ring, 603).with("Reason", named));
    assert_eq!(world.take(&psap(), "603").header("Reason"), "SIP;cause=200");

    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &reinvite);
    let carried = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&carried, 488).with("Reason", named));
    assert_eq!(world.take(&psap(), "488").header("Reason"), "SIP;cause=200");
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bye = call.phone.request("BYE").with("Reason", "SIP;cause=200;text=\"alice has hung up\"");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    assert!(world.take(&psap(), "BYE").header("Reason").contains("cause=200"));
}
