//! SPEC §6, §10: a callback rings the phone that called, and nobody else's, wherever phones have moved and whatever they share.

use crate::world::{Agent, Dialog, Msg, World, alice, psap, register};

const NUMBER: &str = "+14255551000";

/// Alice has called 911, hung up and gone; bob's phone has her address now.
fn her_address_is_his() -> (World, Agent) {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    let gone = register(&alice()).set("Expires", "0");
    world.register_as(&alice(), &gone);
    let successor = Agent { name: "bob", ..alice() };
    world.register(&successor);
    (world, successor)
}

fn answered(world: &mut World, invite: &Msg, phone: &Agent, ring: &Msg) {
    world.send(phone, &phone.reply(ring, 200).sdp(&phone.offer()));
    let ok = world.take(&psap(), "200 INVITE");
    world.send(&psap(), &Dialog::caller(psap(), invite, &ok).request("ACK"));
}

#[test]
fn section_10_the_last_address_of_a_phone_that_is_another_users_now_is_not_rung() {
    let (mut world, successor) = her_address_is_his();
    let invite = world.call_back(&psap(), NUMBER);
    world.take(&psap(), "182");
    world.run(30_000);
    world.none(&successor, "INVITE");
    // She is still looked for.
    let back = Agent::new("alice", "198.51.100.78:5078");
    world.register(&back);
    let ring = world.take(&back, "INVITE");
    answered(&mut world, &invite, &back, &ring);
    world.none(&successor, "INVITE");
}

#[test]
fn section_10_her_other_phone_rings_at_once_instead() {
    let (mut world, successor) = her_address_is_his();
    let other = Agent::new("alice", "198.51.100.79:5079");
    world.register(&other);
    world.call_back(&psap(), NUMBER);
    world.take(&other, "INVITE");
    world.none(&successor, "INVITE");
}

#[test]
fn section_6_an_address_that_nobody_else_has_or_that_she_shares_is_tried() {
    let (mut world, successor) = her_address_is_his();
    world.register_as(&successor, &register(&successor).set("Expires", "0"));
    world.call_back(&psap(), NUMBER);
    world.take(&alice(), "INVITE");

    // Both are behind one proxy.
    let (mut world, _) = her_address_is_his();
    world.register_as(&alice(), &register(&alice()).set("Contact", "<sip:alice@10.0.0.9>"));
    world.call_back(&psap(), NUMBER);
    world.take(&alice(), "INVITE");
}
