//! What an adversary found: each test is a call that was lost, misrouted or left hanging once.

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, psap, register};

/// A reload in the middle of a call must not change which trunk the call goes to: trunks are counted in the order of the file.
#[test]
fn reload_between_two_rounds_keeps_the_trunk() {
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (psap_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let (backup_part, rest) = rest.split_once("[[trunks]]").unwrap();
    // The same trunks, in another order.
    let other = Toml(format!("{start}[[trunks]]{backup_part}[[trunks]]{psap_part}[[trunks]]{rest}"));
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 503));
    world.take(&psap(), "ACK");
    world.reload(&other);
    world.run(1_500);
    world.none(&backup(), "INVITE");
    world.take(&psap(), "INVITE");
}

/// A reload that takes the trunk of a call away: the call goes where the new configuration sends it.
#[test]
fn reload_that_removes_the_trunk_of_a_call() {
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 503));
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (_, rest) = rest.split_once("[[trunks]]").unwrap();
    let other = Toml(format!("{start}[[trunks]]{rest}")).change("trunks = [\"psap\"]", "trunks = [\"backup\"]");
    world.reload(&other);
    world.run(1_500);
    world.take(&backup(), "INVITE");
}

/// While its number is being written, too.
#[test]
fn reload_while_the_number_is_written() {
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (psap_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let (backup_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let other = Toml(format!("{start}[[trunks]]{backup_part}[[trunks]]{psap_part}[[trunks]]{rest}"));
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    world.store = crate::world::Store::Silent;
    world.dial(&alice(), "sip:911@example.com");
    world.reload(&other);
    world.run(300);
    world.none(&backup(), "INVITE");
    world.take(&psap(), "INVITE");
}

/// DI-12 speaks of 408 and 481; a connection lost during a re-INVITE says nothing about the dialog.
#[test]
fn di_12_connection_lost_during_a_reinvite() {
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    let invite = world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&phone, &invite, &psap(), &offered);
    let hold = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &hold);
    world.take(&phone, "INVITE");
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    let refused = world.take(&psap(), "*");
    let refused = if refused.code() == 100 { world.take(&psap(), "*") } else { refused };
    assert!(refused.code() >= 500, "{refused}");
    world.send(&psap(), &hold.ack_of(&refused));
    world.none(&psap(), "BYE");
    assert_eq!(world.node.sizes().0, 1, "the call is up");
}

/// TX-5: a 2xx without To tag (RFC 2543), repeated because its ACK was lost, is the same answer, not another fork.
#[test]
fn tx_5_repeated_2xx_without_to_tag() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    let answer = answer.set("To", offered.header("To"));
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    world.none(&psap(), "BYE");
}

/// TX-14: the other fork has its own Contact: that is where its ACK and BYE belong.
#[test]
fn tx_14_the_other_fork_is_ended_where_it_is() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let fork = Agent::new("fork", "203.0.113.83:5083");
    let answer = fork.reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    let ack = world.take(&fork, "ACK");
    assert_eq!(ack.header("To"), answer.header("To"));
    let bye = world.take(&fork, "BYE");
    assert_eq!(bye.header("To"), answer.header("To"));
    world.none(&psap(), "*");
    // Its 2xx again: only the ACK was lost, one BYE is enough.
    world.send(&psap(), &answer);
    world.take(&fork, "ACK");
}

/// The call center has called alice over a connection from a port of the moment, under this Contact; her BYE.
fn called_over_a_connection(contact: &str) -> (World, Agent, Msg) {
    let toml = Toml::default().change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = [\"203.0.113.80/32\"]");
    let mut world = World::after_a_call(&toml);
    let trunk = world.connect(Agent { address: "203.0.113.80:41000".parse().unwrap(), ..psap() });
    let invite = trunk.invite("sip:+14255551000@192.0.2.1").set("Contact", contact);
    world.send(&trunk, &invite);
    let ring = world.take(&alice(), "INVITE");
    let answer = alice().reply(&ring, 200).sdp(&alice().offer());
    world.send(&alice(), &answer);
    let ok = world.take(&trunk, "200 INVITE");
    world.send(&trunk, &Dialog::caller(trunk, &invite, &ok).request("ACK"));
    let bye = Dialog::callee(alice(), &ring, &answer).request("BYE");
    (world, trunk, bye)
}

/// It listens where its Contact says, on 5060 where that names no port (§19.1.2); of a name, or an address behind a NAT, the port there.
const LISTENS: [(&str, &str); 5] = [
    ("<sip:psap@203.0.113.80:5080;transport=tcp>", "203.0.113.80:5080"),
    ("<sip:psap@203.0.113.80;transport=tcp>", "203.0.113.80:5060"),
    ("<sip:psap@sbc.carrier.example:5080;transport=tcp>", "203.0.113.80:5080"),
    ("<sip:psap@sbc.carrier.example>", "203.0.113.80:5060"),
    ("<sip:psap@10.0.0.9:5080;transport=tcp>", "203.0.113.80:5080"),
];

#[test]
fn na_2_bye_to_a_trunk_that_closed_its_connection() {
    for (contact, listens) in LISTENS {
        let (mut world, trunk, bye) = called_over_a_connection(contact);
        world.input(Input::Closed { connection: trunk.connection.unwrap() });
        assert_eq!(world.ask(&alice(), &bye).code(), 200);
        world.take(&Agent::new("psap", listens), "BYE");
    }
}

/// Nobody knew that the connection was dead until the BYE went over it: on the port it came from nobody listens.
#[test]
fn na_2_bye_on_a_dead_connection_that_the_trunk_had_opened() {
    for (contact, listens) in LISTENS {
        let (mut world, trunk, bye) = called_over_a_connection(contact);
        assert_eq!(world.ask(&alice(), &bye).code(), 200);
        let lost = world.take(&trunk, "BYE");
        world.input(Input::Closed { connection: trunk.connection.unwrap() });
        assert_eq!(world.take(&Agent::new("psap", listens), "BYE"), lost);
    }
}

/// A phone on TCP is called where it registered from, never at a place of its choosing: a Contact that names a trunk would make
/// calls of ours of the calls to it.
#[test]
fn a_contact_elsewhere_is_not_connected_to() {
    let mut world = World::new();
    let phone = world.connect(bob());
    let contact = "<sip:+19005550000@203.0.113.80:5080;transport=tcp>";
    world.register_as(&phone, &register(&phone).set("Contact", contact));
    world.register(&alice());
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    world.dial(&alice(), "sip:bob@example.com");
    world.none(&psap(), "INVITE");
}

/// RFC 5626 §4.3: a phone with two flows is rung over the second when the first is dead.
#[test]
fn na_4_callback_over_the_second_flow_of_the_phone() {
    let mut world = World::new();
    let instance = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    let (first, second) = (alice(), Agent::new("alice", "198.51.100.71:5099"));
    for (agent, id) in [(&second, 2), (&first, 1)] {
        world.run(1_000);
        let contact = format!("<sip:alice@198.51.100.71:5071>{instance};reg-id={id}");
        world.register_as(agent, &register(agent).set("Contact", &contact));
    }
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.call_back(&psap(), "+14255551000");
    world.take(&first, "INVITE");
    world.run(2_500);
    world.take(&second, "INVITE");
}

/// A phone that said 100 and died rings when it is back.
#[test]
fn a_phone_that_died_after_100_rings_when_it_registers() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &ring.respond(100));
    world.run(10_000);
    world.none(&alice(), "INVITE");
    world.register(&alice());
    world.take(&alice(), "INVITE");
}

/// A lease from a store whose listener is no more: the user's other phone rings at once, and the trunk is told to wait.
#[test]
fn a_device_on_a_listener_that_is_gone() {
    use sosbridge::lease;
    let mut world = World::with_alice();
    world.talking();
    let mut leases: Vec<lease::Row> = Vec::new();
    for row in &world.rows {
        if let sosbridge::node::Row::Lease(row) = row {
            leases.push(row.clone());
        }
    }
    let mut row = leases.pop().unwrap();
    let lease::Row::Lease(lease) = &mut row else { panic!() };
    lease.device.flow.listener = sosbridge::transport::ListenerId(9);
    let mut world = World::of_rows(&Toml::default(), vec![row]);
    let other = Agent::new("alice", "198.51.100.79:5079");
    world.register(&other);
    world.call_back(&psap(), "+14255551000");
    world.run(2_500);
    world.take(&other, "INVITE");
}

/// A user with a password is that user, and not whom its From says.
#[test]
fn a_user_cannot_call_under_the_name_of_another() {
    let mut world = World::with_alice();
    world.register(&bob());
    let mallory = Agent::new("bob", "198.51.100.66:5066");
    let invite = mallory.invite("sip:bob@example.com").set("From", "<sip:alice@example.com>;tag=x");
    let challenge = world.ask(&mallory, &invite);
    assert_eq!(challenge.code(), 401);
    let answer = world.ask(&mallory, &crate::world::authorized(&invite, &challenge, "bob", "MD5"));
    assert_eq!(answer.code(), 403);
    world.none(&bob(), "INVITE");
}

/// SPEC §4: Call-Info passes when its purpose is emergency call data, not when it only says so somewhere.
#[test]
fn call_info_of_another_purpose_stays() {
    let mut world = World::with_alice();
    world.secrets.push("photo");
    let invite = alice().invite("sip:911@example.com");
    let invite = invite
        .with("Call-Info", "<http://photo.example/EmergencyCallData.jpg>;purpose=icon")
        .with("Call-Info", "<cid:data@x>;purpose=EmergencyCallData.ProviderInfo");
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(offered.values("Call-Info").len(), 1);
}

/// Another of the user's devices is busy while the one that called is away: the callback is held for the one that called.
#[test]
fn another_phone_that_is_busy_does_not_end_the_callback() {
    let mut world = World::with_alice();
    world.talking();
    let desk = Agent::new("alice", "198.51.100.79:5079");
    world.register(&desk);
    world.call_back(&psap(), "+14255551000");
    // Nobody is where the phone was that called; the other one rings, and is busy.
    world.take(&alice(), "INVITE");
    world.input(sosbridge::node::Input::Unreachable { listener: crate::world::UDP, remote: alice().address });
    let ring = world.take(&desk, "INVITE");
    world.send(&desk, &desk.reply(&ring, 486));
    world.none(&psap(), "486");
    // It is tried again, is back, and says no itself.
    world.run(5_500);
    let again = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&again, 180));
    world.send(&alice(), &alice().reply(&again, 486));
    world.take(&psap(), "486");
}

#[test]
fn a_trunk_that_rings_and_says_nothing_more_for_an_hour_is_gone() {
    // It is not for ever. The caller that still holds on is not refused: its rounds begin anew.
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.run(3_599_000);
    world.none(&psap(), "*");
    world.run(1_000);
    let cancel = world.take(&psap(), "CANCEL");
    assert_eq!(cancel.branch(), offered.branch());
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.run(1_100);
    let again = world.take(&psap(), "INVITE");
    assert_ne!(again.header("Call-ID"), offered.header("Call-ID"));
    world.none(&alice(), "503");
}

#[test]
fn a_phone_that_died_while_it_rang_ends_its_callback() {
    // RFC 3261 §13.3.1.1, and §16.6 for how long.
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.take(&psap(), "180");
    world.run(181_000);
    world.take(&alice(), "CANCEL");
    world.run(40_000);
    world.take(&psap(), "480");
    world.over();
}

#[test]
fn a_phone_that_died_before_it_rang_ends_the_call_to_it() {
    // A 100 ends the retransmissions, and no timer of the transaction is left (RFC 3261 §17.1.1.2).
    let mut world = World::with_alice();
    world.register(&bob());
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 100));
    world.run(179_000);
    world.none(&bob(), "*");
    world.run(2_000);
    let cancel = world.take(&bob(), "CANCEL");
    assert_eq!(cancel.branch(), ring.branch());
    let refused = world.take(&alice(), "408");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
}
