//! Legs of different kinds: the same calls with phone and trunk on UDP and TCP, in any combination; and what two legs make
//! of each other's odd moments.

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Toml, World, alice, description, psap};

const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// A world with alice registered, and the transports of phone and trunk.
fn world(phone_tcp: bool, trunk_tcp: bool) -> (World, Agent) {
    let transport = if trunk_tcp { "sip:203.0.113.80:5080;transport=tcp" } else { "sip:203.0.113.80:5080" };
    let mut world = World::of(&Toml::one_trunk().change("sip:203.0.113.80:5080", transport));
    let phone = if phone_tcp { world.connect(alice()) } else { alice() };
    world.register(&phone);
    (world, phone)
}

/// The trunk as it was called: over the connection that the node opened.
fn trunk_of(world: &World) -> Agent {
    Agent { connection: world.on_wire(&psap(), "INVITE")[0].connection, ..psap() }
}

#[test]
fn a_whole_story_over_every_pair_of_transports() {
    for (phone_tcp, trunk_tcp) in KINDS {
        let (mut world, phone) = world(phone_tcp, trunk_tcp);
        let invite = world.dial(&phone, "sip:911@example.com");
        let trunk = trunk_of(&world);
        assert_eq!(trunk.connection.is_some(), trunk_tcp);
        let offered = world.take(&trunk, "INVITE");
        let token = if trunk_tcp { "SIP/2.0/TCP 192.0.2.1:5060;branch=" } else { "SIP/2.0/UDP 192.0.2.1:5060;branch=" };
        assert!(offered.header("Via").starts_with(token), "{offered}");
        assert_eq!(offered.contact().ends_with(";transport=tcp"), trunk_tcp, "{offered}");
        let mut call = world.answer(&phone, &invite, &trunk, &offered);
        assert_eq!(call.ok.contact().ends_with(";transport=tcp"), phone_tcp, "{}", call.ok);
        // Hold, from the call center.
        let hold =
            call.trunk.request("INVITE").sdp(&description("agent", 2, &["m=audio 9000 RTP/AVP 0", "a=sendonly"]));
        world.send(&trunk, &hold);
        world.take(&trunk, "100");
        let carried = world.take(&phone, "INVITE");
        world.send(&phone, &phone.reply(&carried, 200).sdp(&phone.offer()));
        world.take(&phone, "ACK");
        world.take(&trunk, "200 INVITE");
        let ack = call.trunk.request("ACK");
        world.send(&trunk, &ack);
        // DTMF, from the phone.
        let info = call.phone.request("INFO").body("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n");
        world.send(&phone, &info);
        let carried = world.take(&trunk, "INFO");
        assert_eq!(carried.body, "Signal=1\r\nDuration=160\r\n");
        world.send(&trunk, &trunk.reply(&carried, 200));
        world.take(&phone, "200 INFO");
        world.hang_up(&mut call);
        // And the callback.
        world.call_back(&trunk, "+14255551000");
        world.take(&trunk, "100");
        let ring = world.take(&phone, "INVITE");
        assert_eq!(ring.header("Priority"), "psap-callback");
        world.send(&phone, &phone.reply(&ring, 180));
        world.send(&phone, &phone.reply(&ring, 486));
        world.take(&trunk, "486");
    }
}

#[test]
fn cancel_over_every_pair_of_transports() {
    for (phone_tcp, trunk_tcp) in KINDS {
        let (mut world, phone) = world(phone_tcp, trunk_tcp);
        let invite = world.dial(&phone, "sip:911@example.com");
        let trunk = trunk_of(&world);
        let offered = world.take(&trunk, "INVITE");
        world.send(&trunk, &trunk.reply(&offered, 180));
        world.take(&phone, "180");
        world.send(&phone, &invite.cancel());
        world.take(&phone, "200 CANCEL");
        let refused = world.take(&phone, "487 INVITE");
        world.send(&phone, &invite.ack_of(&refused));
        let cancel = world.take(&trunk, "CANCEL");
        assert_eq!(cancel.branch(), offered.branch());
        world.send(&trunk, &trunk.reply(&cancel, 200));
        world.send(&trunk, &trunk.reply(&offered, 487));
        world.take(&trunk, "ACK");
        world.over();
        world.silent();
    }
}

#[test]
fn tx_6_the_2xx_is_repeated_on_streams_too() {
    // §13.3.1.4: the ACK is end to end, so a reliable hop does not help.
    let (mut world, phone) = world(true, false);
    world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.run(1_600);
    assert_eq!(world.take_all(&phone, "200 INVITE").len(), 3);
}

#[test]
fn a_trunk_that_refuses_the_connection() {
    let toml = Toml::default().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5080;transport=tcp");
    let mut world = World::of(&toml);
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let connection = trunk_of(&world).connection.expect("a connection");
    world.none(&crate::world::backup(), "*");
    world.input(Input::Closed { connection });
    world.take(&crate::world::backup(), "INVITE");
}

#[test]
fn oa_2_bye_where_the_answer_was_due() {
    // The phone hangs up instead of acknowledging a delayed offer: the trunk gets its ACK all the same, then BYE.
    let mut world = World::with_alice();
    let invite = alice().request("INVITE", "sip:911@example.com");
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.none(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    let bye = Dialog::caller(alice(), &invite, &ok).request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let started: Vec<String> =
        world.on_wire(&psap(), "*").into_iter().map(|sent| sent.msg.method().to_owned()).collect();
    assert_eq!(started, ["ACK", "BYE"]);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

#[test]
fn ca_1_a_reinvite_is_taken_back() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.phone.request("INVITE").sdp(&alice().offer());
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 100));
    world.send(&alice(), &reinvite.cancel());
    world.take(&alice(), "200 CANCEL");
    let refused = world.take(&alice(), "487 INVITE");
    world.send(&alice(), &reinvite.ack_of(&refused));
    let cancel = world.take(&psap(), "CANCEL");
    assert_eq!(cancel.branch(), carried.branch());
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&carried, 487));
    world.take(&psap(), "ACK");
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn ca_3_a_200_crosses_the_cancel_of_a_reinvite() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let reinvite = call.phone.request("INVITE").sdp(&alice().offer());
    world.send(&alice(), &reinvite);
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 100));
    world.send(&alice(), &reinvite.cancel());
    let refused = world.take(&alice(), "487 INVITE");
    world.send(&alice(), &reinvite.ack_of(&refused));
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    world.send(&psap(), &psap().reply(&cancel, 200));
    // Acknowledged, and the call stays up.
    assert_eq!(world.take(&psap(), "ACK").cseq(), carried.cseq());
    world.wire.clear();
    world.hang_up(&mut call);
}

#[test]
fn a_phone_whose_connection_is_gone_when_the_call_ends() {
    let (mut world, phone) = world(true, false);
    let invite = world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&phone, &invite, &psap(), &offered);
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    assert_eq!(world.node.sizes().0, 1, "the call stays up");
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    // Tried over a new connection; and nothing is left whether it arrives or not.
    let bye = world.on_wire(&alice(), "BYE");
    assert!(bye.len() == 1 && bye[0].connection != phone.connection, "{bye:?}");
    world.over();
}
