//! SPEC §6: a callback ignores do-not-disturb. A phone that refuses without having rung speaks for its settings, or is in another
//! call; a person answers when it has rung.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, psap};

const NUMBER: &str = "+14255551000";

fn softphone() -> Agent {
    Agent::new("alice", "198.51.100.74:5074")
}

fn desk() -> Agent {
    Agent::new("desk", "198.51.100.90:5090")
}

fn with_desk() -> Toml {
    Toml::default().change("[callback]", "[callback]\ndesk = \"sip:desk@198.51.100.90:5090\"")
}

fn refuses(world: &mut World, phone: &Agent, status: u16) -> Msg {
    let ring = world.take(phone, "INVITE");
    world.send(phone, &phone.reply(&ring, status));
    world.take(phone, "ACK");
    ring
}

#[test]
fn section_6_a_phone_that_is_not_to_be_disturbed_is_looked_for_on() {
    for status in [486, 600, 603] {
        let mut world = World::after_a_call(&Toml::default());
        world.register(&softphone());
        let invite = world.call_back(&psap(), NUMBER);
        refuses(&mut world, &alice(), status);
        // Her other phone joins at once; that one is not there.
        refuses(&mut world, &softphone(), 480);
        world.take(&psap(), "182");
        world.none(&psap(), &status.to_string());
        // In another call until now.
        world.run(5_000);
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 180));
        world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
        let ok = world.take(&psap(), "200 INVITE");
        world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
    }
}

#[test]
fn section_6_another_phone_that_is_not_to_be_disturbed_does_not_end_the_search_for_the_one_that_called() {
    for status in [486, 603] {
        let mut world = World::after_a_call(&Toml::default());
        world.register_as(&alice(), &crate::world::register(&alice()).set("Expires", "0"));
        world.register(&softphone());
        world.call_back(&psap(), NUMBER);
        refuses(&mut world, &alice(), 480);
        refuses(&mut world, &softphone(), status);
        world.none(&psap(), &status.to_string());
        world.run(20_000);
        world.take_all(&alice(), "INVITE");
        world.register(&alice());
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 180));
        world.take(&psap(), "180");
    }
}

/// While her other phone rings and nobody is there, the phone that called is tried all the same.
#[test]
fn section_6_the_phone_that_called_is_tried_beside_one_that_rings() {
    let mut world = World::after_a_call(&Toml::default());
    world.register(&softphone());
    world.call_back(&psap(), NUMBER);
    refuses(&mut world, &alice(), 486);
    let ring = world.take(&softphone(), "INVITE");
    world.send(&softphone(), &softphone().reply(&ring, 180));
    world.run(5_000);
    refuses(&mut world, &alice(), 486);
    world.run(5_000);
    let again = world.take_all(&alice(), "INVITE");
    assert_eq!(again.len(), 1, "one try in five seconds");
    world.send(&alice(), &alice().reply(&again[0].msg, 200).sdp(&alice().offer()));
    world.take(&psap(), "200 INVITE");
    world.take(&softphone(), "CANCEL");
}

#[test]
fn section_6_who_is_busy_to_the_end_is_busy() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.call_back(&psap(), NUMBER);
    refuses(&mut world, &alice(), 486);
    let mut tries = 1;
    while world.clock() < 200_000 && world.on_wire(&psap(), "486").is_empty() {
        world.run(1_000);
        if let Some(ring) = world.take_all(&alice(), "INVITE").pop() {
            tries += 1;
            world.send(&alice(), &alice().reply(&ring.msg, 486));
        }
    }
    let refused = world.take(&psap(), "486");
    world.send(&psap(), &invite.ack_of(&refused));
    assert!((10..14).contains(&tries), "{tries}");
    assert_eq!(world.record().outcome.to_string(), "unanswered");
    world.over();
}

/// Who declines has seen who calls.
#[test]
fn section_6_a_person_who_declines_is_believed() {
    for status in [486, 603] {
        let mut world = World::after_a_call(&Toml::default());
        world.call_back(&psap(), NUMBER);
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 180));
        world.send(&alice(), &alice().reply(&ring, status));
        world.take(&psap(), &status.to_string());
        assert_eq!(world.record().outcome.to_string(), "refused");
    }
}

/// The desk need not wait for the end of the hold: nobody comes back who has not left.
#[test]
fn section_6_the_desk_rings_at_once_for_a_phone_that_will_not() {
    let mut world = World::after_a_call(&with_desk());
    world.call_back(&psap(), NUMBER);
    refuses(&mut world, &alice(), 603);
    refuses(&mut world, &desk(), 486);
    world.take(&psap(), "603");
}

#[test]
fn section_6_what_the_desk_says_is_not_what_the_caller_says() {
    let mut world = World::after_a_call(&with_desk());
    world.register_as(&alice(), &crate::world::register(&alice()).set("Expires", "0"));
    world.call_back(&psap(), NUMBER);
    let begun = world.clock();
    while world.on_wire(&desk(), "INVITE").is_empty() && world.clock() < begun + 70_000 {
        world.run(1_000);
    }
    let ring = world.take(&desk(), "INVITE");
    world.send(&desk(), &desk().reply(&ring, 180));
    world.send(&desk(), &desk().reply(&ring, 603));
    world.take(&psap(), "480");
    assert_eq!(world.record().outcome.to_string(), "unanswered");
}
