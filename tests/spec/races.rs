//! SPEC §6, §10: several things at once around a callback, each to its end.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, psap, register};

const NUMBER: &str = "+14255551000";

fn picks_up(world: &mut World, phone: &Agent, ring: &Msg, trunk: &Agent, invite: &Msg) -> (Dialog, Dialog) {
    let answer = phone.reply(ring, 200).sdp(&phone.offer());
    world.send(phone, &answer);
    world.take(phone, "ACK");
    let ok = world.take(trunk, "200 INVITE");
    let mut caller = Dialog::caller(*trunk, invite, &ok);
    world.send(trunk, &caller.request("ACK"));
    (caller, Dialog::callee(*phone, ring, &answer))
}

fn hangs_up(world: &mut World, one: &mut Dialog, other: &Agent) {
    let bye = one.request("BYE");
    assert_eq!(world.ask(&one.agent.clone(), &bye).code(), 200);
    let bye = world.take(other, "BYE");
    world.send(other, &other.reply(&bye, 200));
}

fn calls(world: &World) -> u32 {
    world.node.leases_view(0).rows[0].calls
}

#[test]
fn section_6_two_call_takers_call_the_same_number_back() {
    let mut world = World::after_a_call(&Toml::default());
    let first = world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    let second = world.call_back(&backup(), NUMBER);
    let other = world.take(&alice(), "INVITE");
    assert_eq!(calls(&world), 2);
    let (mut caller, _) = picks_up(&mut world, &alice(), &other, &backup(), &second);
    world.send(&alice(), &alice().reply(&ring, 180));
    let (mut held, _) = picks_up(&mut world, &alice(), &ring, &psap(), &first);
    hangs_up(&mut world, &mut caller, &alice());
    assert_eq!(calls(&world), 1);
    hangs_up(&mut world, &mut held, &alice());
    assert_eq!(calls(&world), 0);
    world.over();
}

#[test]
fn section_6_a_callback_while_the_caller_dials_again() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let callback = world.call_back(&psap(), NUMBER);
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.header("From").contains(NUMBER), "{offered}");
    let ring = world.take(&alice(), "INVITE");
    // Busy: she is dialling.
    world.send(&alice(), &alice().reply(&ring, 486));
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    // The call taker gives the callback up.
    world.send(&psap(), &callback.cancel());
    world.take(&psap(), "200 CANCEL");
    let ended = world.take(&psap(), "487");
    world.send(&psap(), &callback.ack_of(&ended));
    assert_eq!(calls(&world), 1);
    world.run(20_000);
    world.none(&alice(), "INVITE");
    world.wire.clear();
    world.hang_up(&mut call);
    assert_eq!(calls(&world), 0);
}

#[test]
fn section_6_an_answer_that_crosses_the_cancel_of_the_call_taker() {
    let mut world = World::after_a_call(&Toml::default());
    let callback = world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.send(&psap(), &callback.cancel());
    world.take(&alice(), "CANCEL");
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    let ended = world.take(&psap(), "487");
    world.send(&psap(), &callback.ack_of(&ended));
    world.over();
    assert_eq!(calls(&world), 0);
}

/// The phone is back in the very millisecond in which the hold is over, before it or after it.
#[test]
fn section_6_a_phone_that_is_back_as_the_hold_ends() {
    for late in [59_999, 60_000, 60_001] {
        let mut world = World::after_a_call(&Toml::default());
        world.register_as(&alice(), &register(&alice()).set("Expires", "0"));
        let callback = world.call_back(&psap(), NUMBER);
        let begun = world.clock();
        while world.clock() < begun + late {
            let step = 500.min(begun + late - world.clock());
            world.run(step);
            for ring in world.take_all(&alice(), "INVITE") {
                world.send(&alice(), &alice().reply(&ring.msg, 480));
            }
        }
        world.wire.retain(|sent| sent.to != alice().address);
        world.register(&alice());
        let rings = world.take_all(&alice(), "INVITE");
        if late < 60_000 {
            let (mut caller, _) = picks_up(&mut world, &alice(), &rings[0].msg, &psap(), &callback);
            hangs_up(&mut world, &mut caller, &alice());
        } else if rings.is_empty() {
            let ended = world.take(&psap(), "480");
            world.send(&psap(), &callback.ack_of(&ended));
        }
        world.over();
        assert_eq!(calls(&world), 0, "{late}");
    }
}

/// Two callbacks wait for one phone; each has its own tries, and both end with it.
#[test]
fn section_6_two_callbacks_wait_for_one_phone() {
    let mut world = World::after_a_call(&Toml::default());
    world.register_as(&alice(), &register(&alice()).set("Expires", "0"));
    let callbacks = [(psap(), world.call_back(&psap(), NUMBER)), (backup(), world.call_back(&backup(), NUMBER))];
    world.run(10_000);
    world.take_all(&alice(), "INVITE");
    let back = Agent::new("alice", "198.51.100.78:5078");
    world.register(&back);
    let rings = world.take_all(&back, "INVITE");
    assert_eq!(rings.len(), 2);
    for ring in &rings {
        world.send(&back, &back.reply(&ring.msg, 180));
        world.send(&back, &back.reply(&ring.msg, 603));
    }
    // Where she was before is asked until it is sure that nobody is there.
    world.run(35_000);
    for (trunk, callback) in &callbacks {
        let ended = world.take(trunk, "603");
        world.send(trunk, &callback.ack_of(&ended));
    }
    world.over();
    assert_eq!(calls(&world), 0);
}
