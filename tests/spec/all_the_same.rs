//! SPEC §3, §6: a call that failed keeps its number, a callback renews it, and no setting of the phone or its user ends a callback.
//! SPEC §7: tests are marked whatever becomes of them.

use sosbridge::admin::LeaseState;

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, psap};

const NUMBER: &str = "+14255551000";
const MINUTE: u64 = 60_000;

fn state(world: &World) -> LeaseState {
    world.node.leases_view(0).rows[0].state
}

fn answered(world: &mut World, invite: &Msg, phone: &Agent, ring: &Msg) -> Dialog {
    world.send(phone, &phone.reply(ring, 200).sdp(&phone.offer()));
    world.take(phone, "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    let mut trunk = Dialog::caller(psap(), invite, &ok);
    world.send(&psap(), &trunk.request("ACK"));
    trunk
}

/// Rule 3.4a.
#[test]
fn section_3_a_call_that_no_trunk_took_keeps_its_number_and_is_called_back() {
    let mut world = World::with_alice();
    let invite = world.dial(&alice(), "sip:911@example.com");
    while world.on_wire(&alice(), "503").is_empty() {
        for trunk in [psap(), backup()] {
            for offered in world.take_all(&trunk, "INVITE") {
                world.send(&trunk, &trunk.reply(&offered.msg, 500));
            }
        }
        world.run(500);
    }
    let refused = world.take(&alice(), "503");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
    world.wire.clear();
    assert_eq!((world.record().outcome.as_str(), state(&world)), ("failed", LeaseState::Held));
    world.run(50 * MINUTE);
    assert_eq!(state(&world), LeaseState::Held);
    // One of them has seen it all the same.
    world.call_back(&psap(), NUMBER);
    world.take(&alice(), "INVITE");
}

/// Rule 3.3e: answered or not.
#[test]
fn section_3_a_callback_renews_the_lease_from_its_end() {
    for is_answered in [true, false] {
        let mut world = World::of(&Toml::default().sip("session_expires = \"0s\""));
        world.register(&alice());
        let mut call = world.talking();
        world.hang_up(&mut call);
        world.run(50 * MINUTE);
        world.register(&alice());
        let invite = world.call_back(&psap(), NUMBER);
        let ring = world.take(&alice(), "INVITE");
        if is_answered {
            let mut trunk = answered(&mut world, &invite, &alice(), &ring);
            world.run(30 * MINUTE);
            assert_eq!(state(&world), LeaseState::Active, "80 minutes after it was dialled");
            assert_eq!(world.ask(&psap(), &trunk.request("BYE")).code(), 200);
            let bye = world.take(&alice(), "BYE");
            world.send(&alice(), &alice().reply(&bye, 200));
        } else {
            world.send(&alice(), &alice().reply(&ring, 180));
            world.send(&psap(), &invite.cancel());
            let refused = world.take(&psap(), "487");
            world.send(&psap(), &invite.ack_of(&refused));
            let cancel = world.take(&alice(), "CANCEL");
            world.send(&alice(), &alice().reply(&cancel, 200));
            world.send(&alice(), &alice().reply(&ring, 487));
        }
        world.run(60 * MINUTE - 1);
        assert_eq!(state(&world), LeaseState::Held, "answered: {is_answered}");
        world.run(1);
        assert_eq!(state(&world), LeaseState::Quarantined, "answered: {is_answered}");
        // At rest it still leads to her.
        world.register(&alice());
        world.wire.clear();
        world.call_back(&psap(), NUMBER);
        world.take(&alice(), "INVITE");
    }
}

/// The phone refuses by its settings, again and again, until its user has changed them; a second phone of the user rings meanwhile.
#[track_caller]
fn refuses_by_a_setting(refuse: impl Fn(&Msg) -> Msg) {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.register(&bob());
    let invite = world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    assert_eq!(ring.header("Priority"), "psap-callback", "by which a phone knows better (RFC 7090)");
    world.send(&alice(), &refuse(&ring));
    world.take(&alice(), "ACK");
    world.take(&psap(), "182");
    let second = Agent::new("alice", "198.51.100.79:5079");
    world.register(&second);
    let beside = world.take(&second, "INVITE");
    world.send(&second, &second.reply(&beside, 180));
    world.take(&psap(), "180");
    world.send(&second, &second.reply(&beside, 480));
    world.take(&second, "ACK");
    world.run(20_000);
    let again = world.take(&alice(), "INVITE");
    for nobody in [bob(), psap(), backup()] {
        world.none(&nobody, "INVITE");
    }
    answered(&mut world, &invite, &alice(), &again);
}

/// Rule 6.2d: of the phone; this daemon has none that a callback could meet.
#[test]
fn section_6_do_not_disturb_of_a_phone_does_not_end_a_callback() {
    refuses_by_a_setting(|ring| alice().reply(ring, 480));
}

/// Rule 6.2e: neither followed nor taken for a refusal.
#[test]
fn section_6_forwarding_of_a_phone_is_not_followed_and_does_not_end_a_callback() {
    for contact in ["<sip:bob@example.com>", "<sip:bob@198.51.100.72:5072>", "<sip:+12065550000@203.0.113.80:5080>"] {
        for status in [301, 302, 305] {
            refuses_by_a_setting(|ring| alice().reply(ring, status).set("Contact", contact));
        }
    }
}

/// Rule 6.2f: a phone that lets nobody ring without a number (RFC 5079).
#[test]
fn section_6_lists_of_a_phone_do_not_end_a_callback() {
    refuses_by_a_setting(|ring| alice().reply(ring, 433));
}

/// Rule 7.1h: over a direct route, where it is a regular call, and when its number is called back.
#[test]
fn section_7_a_test_is_marked_on_any_way_it_takes() {
    let trunk =
        "[[trunks]]\nname = \"sbc\"\ntargets = [{ uri = \"sip:192.0.2.90:5090\" }]\noptions_interval = \"0s\"\n";
    let route = "[[resources.direct_routes]]\npattern = '^9(11|33)$'\ntrunks = [\"sbc\"]";
    let sbc = Agent::new("sbc", "192.0.2.90:5090");
    for (dialled, is_test) in [("933", true), ("911", false)] {
        let mut world = World::of(&Toml::default().resource(route).add(trunk));
        world.register(&alice());
        world.secrets.clear();
        let invite = world.dial(&alice(), &format!("sip:{dialled}@example.com"));
        let offered = world.take(&sbc, "INVITE");
        let mut call = world.answer(&alice(), &invite, &sbc, &offered);
        assert_eq!(world.node.calls_view(0).rows[0].test, is_test);
        world.hang_up(&mut call);
        let record = world.record();
        assert_eq!((record.call.kind.as_str(), record.call.test), ("outbound", is_test), "{dialled}");
    }
    for (dialled, is_test) in [("933", true), ("911", false)] {
        let mut world = World::of(&Toml::default().change("service = \"test-line\"", "trunks = [\"psap\"]"));
        world.register(&alice());
        let invite = world.dial(&alice(), &format!("sip:{dialled}@example.com"));
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(&alice(), &invite, &psap(), &offered);
        world.hang_up(&mut call);
        assert_eq!(world.record().call.test, is_test);
        let invite = world.call_back(&psap(), NUMBER);
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 180));
        world.send(&alice(), &alice().reply(&ring, 603));
        let refused = world.take(&psap(), "603");
        world.send(&psap(), &invite.ack_of(&refused));
        let record = world.record();
        assert_eq!((record.call.kind.as_str(), record.call.test), ("callback", is_test), "{dialled}");
    }
}
