//! NA-1, NA-2, NA-4: finding the way back (RFC 3581, RFC 3261 §10.3 and §18, RFC 5626).

use crate::world::{Agent, Call, Dialog, Msg, Toml, World, alice, bob, param, psap};
use sosbridge::node::Input;

fn register(agent: &Agent, contact: &str) -> Msg {
    let aor = format!("<sip:{}@example.com>", agent.name);
    let request = agent.request("REGISTER", "sip:example.com").set("To", &aor).set("From", &format!("{aor};tag=r"));
    if contact.is_empty() { request.without("Contact") } else { request.set("Contact", contact) }
}

/// The contacts of a 200 to REGISTER, without what follows their URI.
fn contacts(ok: &Msg) -> Vec<String> {
    ok.values("Contact").into_iter().map(crate::world::uri_of).collect()
}

#[test]
fn na_1_responses_go_where_the_request_came_from() {
    let mut world = World::new();
    let source = Agent::new("nat", "198.51.100.9:40123");
    // (Via, where the answer goes)
    let cases = [
        ("SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKone;rport", "198.51.100.9:40123"),
        ("SIP/2.0/UDP 198.51.100.9:40123;branch=z9hG4bKtwo", "198.51.100.9:40123"),
        ("SIP/2.0/UDP phone.invalid;branch=z9hG4bKthree;rport", "198.51.100.9:40123"),
    ];
    for (via, goes_to) in cases {
        world.send(&source, &source.request("OPTIONS", "sip:example.com").set("Via", via));
        let answer = world.take(&Agent::new("there", goes_to), "200");
        assert!(answer.header("Via").starts_with(via.trim_end_matches(";rport")), "{answer}");
        if via.ends_with("rport") {
            assert_eq!(param(answer.header("Via"), "rport"), "40123");
            assert_eq!(param(answer.header("Via"), "received"), "198.51.100.9");
        }
    }
    world.silent();
}

#[test]
fn na_1_without_rport_the_port_is_that_of_via() {
    // §18.2.2: received address, and the port of sent-by, 5060 where it names none.
    let mut world = World::new();
    let source = Agent::new("nat", "198.51.100.9:40123");
    for (via, goes_to) in [("10.0.0.5:5062", "198.51.100.9:5062"), ("10.0.0.5", "198.51.100.9:5060")] {
        let via = format!("SIP/2.0/UDP {via};branch=z9hG4bKna1");
        let request = source.request("OPTIONS", "sip:example.com").set("Via", &via);
        world.send(&source, &request);
        let answer = world.take(&Agent::new("there", goes_to), "200");
        assert_eq!(param(answer.header("Via"), "received"), "198.51.100.9");
    }
}

#[test]
fn na_1_private_contact_behind_nat() {
    let mut world = World::new();
    let phone = Agent::new("alice", "198.51.100.9:40123");
    let private = "<sip:alice@10.0.0.5:5062>";
    let register = register(&phone, private).set("Via", "SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKr1;rport");
    world.register_as(&phone, &register);
    let invite = phone.invite("sip:911@example.com").set("Contact", private);
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&phone, &invite, &psap(), &offered);
    // Requests inside the dialog go to the flow, with the Contact as their Request-URI.
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    let bye = world.take(&phone, "BYE");
    assert_eq!(bye.uri(), "sip:alice@10.0.0.5:5062");
    world.send(&phone, &phone.reply(&bye, 200));
    world.over();
    // And so does the callback.
    world.call_back(&psap(), "+14255551000");
    assert_eq!(world.take(&phone, "INVITE").uri(), "sip:alice@10.0.0.5:5062");
}

/// The same of a PBX behind NAT, or a trunk, that does not know its address outside: nothing leads to the one it names, and without
/// ACK it hung up.
#[test]
fn na_1_private_contact_of_a_pbx() {
    let pbx = "[[pbxs]]\nname = \"HQ\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\n\
               target = \"sip:198.51.100.9:5070\"\n";
    let (pbx, toml) = (Agent::new("alice", "198.51.100.9:5070"), Toml::default().add(pbx));
    for contact in ["<sip:alice@192.168.1.5:5060>", "<sip:alice@127.0.0.1>", "<sip:alice@0.0.0.0:5070>"] {
        let mut world = World::of(&toml.clone().resource("unknown_country = \"US\""));
        world.secrets.push("198.51.100.9:");
        let invite = pbx.invite("sip:911@192.0.2.1").set("Contact", contact);
        world.send(&pbx, &invite);
        world.take(&pbx, "100");
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(&pbx, &invite, &psap(), &offered);
        let bye = call.trunk.request("BYE");
        assert_eq!(world.ask(&psap(), &bye).code(), 200);
        let bye = world.take(&pbx, "BYE");
        assert_eq!(bye.uri(), crate::world::uri_of(contact));
        world.send(&pbx, &pbx.reply(&bye, 200));
        world.over();
        world.call_back(&psap(), "+14255551000");
        let ring = world.take(&pbx, "INVITE");
        world.send(&pbx, &pbx.reply(&ring, 200).set("Contact", contact).sdp(&pbx.offer()));
        world.take(&pbx, "ACK");
    }
}

#[test]
fn na_1_the_nat_gives_another_port_during_the_call() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let moved = Agent::new("alice", "198.51.100.71:33333");
    call.phone.agent = moved;
    let reinvite = call.phone.request("INVITE").sdp(&alice().offer()).set("Contact", &alice().contact());
    world.send(&moved, &reinvite);
    world.take(&moved, "100");
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    world.take(&moved, "200 INVITE");
    let ack = call.phone.request("ACK");
    world.send(&moved, &ack);
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take(&moved, "BYE");
    world.none(&alice(), "*");
}

#[test]
fn na_2_reached_over_its_own_connection() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.register(&phone);
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&phone, "INVITE");
    assert!(ring.header("Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060"), "{ring}");
    assert_eq!(ring.contact(), "sip:alice@192.0.2.1:5060;transport=tcp");
    world.send(&phone, &phone.reply(&ring, 200).sdp(&phone.offer()));
    world.take(&phone, "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(ok.contact(), "sip:bob@192.0.2.1:5060");
    let mut caller = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &caller.request("ACK"));
    world.send(&alice(), &caller.request("BYE"));
    world.take(&phone, "BYE");
}

#[test]
fn na_2_connection_lost() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.register(&phone);
    world.register(&alice());
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    assert_eq!(world.node.registrations_view(0).rows.len(), 2, "the binding is kept");
    world.take_all(&bob(), "*");
    // Tried anew where its contact says, over a new connection.
    world.dial(&alice(), "sip:bob@example.com");
    let again = world.on_wire(&bob(), "INVITE");
    assert_eq!(again.len(), 1);
    assert!(again[0].connection.is_some() && again[0].connection != phone.connection);
    // It comes back and registers: its calls take the new connection.
    let back = world.connect(Agent::new("bob", "198.51.100.72:40999"));
    world.register_as(&back, &register(&back, &phone.contact()));
    world.take_all(&bob(), "*");
    world.dial(&alice(), "sip:bob@example.com");
    world.take(&back, "INVITE");
}

#[test]
fn na_4_several_contacts_q_values_and_their_order() {
    let mut world = World::new();
    let phone = alice();
    let two = "<sip:alice@198.51.100.71:5071>;q=0.4, <sip:alice@198.51.100.71:5999>;q=0.9";
    let ok = world.register_as(&phone, &register(&phone, two).with("Expires", "600"));
    assert_eq!(contacts(&ok), ["sip:alice@198.51.100.71:5999", "sip:alice@198.51.100.71:5071"]);
    assert!(ok.values("Contact").iter().all(|contact| contact.contains("expires=600")), "{ok}");
    // §10.3: one is removed by `expires=0`, the other stays.
    let ok = world.register_as(&phone, &register(&phone, "<sip:alice@198.51.100.71:5999>;expires=0"));
    assert_eq!(contacts(&ok), ["sip:alice@198.51.100.71:5071"]);
    // No Contact: the list.
    world.run(10_000);
    let ok = world.register_as(&phone, &register(&phone, ""));
    assert!(ok.header("Contact").contains("expires=590"), "{ok}");
    // `*` wants Expires: 0, and to be alone.
    for (contact, expires) in [("*", "60"), ("*, <sip:alice@198.51.100.71:1>", "0")] {
        let request = register(&phone, contact).set("Expires", expires);
        let challenge = world.ask(&phone, &request);
        let refused = world.ask(&phone, &crate::authentication::answered(&request, &challenge));
        assert_eq!(refused.code(), 400, "{contact}");
    }
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
    let ok = world.register_as(&phone, &register(&phone, "*").with("Expires", "0"));
    assert!(!ok.has("Contact"));
    assert!(world.node.registrations_view(0).rows.is_empty());
}

#[test]
fn na_4_expiries() {
    let mut world = World::new();
    let phone = alice();
    // (asked for, given)
    for (asked, given) in
        [("60", "60"), ("3600", "3600"), ("7200", "3600"), ("nonsense", "3600"), ("99999999999", "3600")]
    {
        let ok = world.register_as(&phone, &register(&phone, &phone.contact()).with("Expires", asked));
        assert_eq!(param(ok.header("Contact"), "expires"), given, "asked for {asked}");
    }
    let ok = world.register_as(&phone, &register(&phone, &format!("{};expires=120", phone.contact())));
    assert_eq!(param(ok.header("Contact"), "expires"), "120");
    let request = register(&phone, &phone.contact()).with("Expires", "59");
    let challenge = world.ask(&phone, &request);
    let brief = world.ask(&phone, &crate::authentication::answered(&request, &challenge));
    assert_eq!((brief.code(), brief.header("Min-Expires")), (423, "60"));
    world.run(119_000);
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
    world.run(1_500);
    assert!(world.node.registrations_view(0).rows.is_empty(), "a binding ends when its time is over");
}

#[test]
fn na_4_instance_and_reg_id() {
    let mut world = World::new();
    let phone = world.connect(alice());
    let instance = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
    let first = format!("{}{instance};reg-id=1", phone.contact());
    let ok = world.register_as(&phone, &register(&phone, &first).with("Supported", "path, outbound"));
    assert_eq!(ok.header("Require"), "outbound");
    // RFC 5626 §6: the same instance and reg-id from elsewhere replaces the binding; another reg-id stands beside it.
    let moved = world.connect(Agent::new("alice", "198.51.100.99:41000"));
    let second = format!("{}{instance};reg-id=1", moved.contact());
    let ok = world.register_as(&moved, &register(&moved, &second).with("Supported", "outbound"));
    assert_eq!(contacts(&ok), [moved.contact().trim_matches(['<', '>'])]);
    let third = format!("{}{instance};reg-id=2", phone.contact());
    let ok = world.register_as(&phone, &register(&phone, &third).with("Supported", "outbound"));
    assert_eq!(contacts(&ok).len(), 2);
}

#[test]
fn na_4_an_older_register_changes_nothing() {
    // §10.3 step 7: same Call-ID, CSeq not higher.
    let mut world = World::new();
    let phone = alice();
    let newer = register(&phone, &phone.contact()).set("CSeq", "20 REGISTER");
    world.register_as(&phone, &newer);
    let older = newer.clone().branched("z9hG4bKolder").set("CSeq", "9 REGISTER").with("Expires", "0");
    let challenge = world.ask(&phone, &older);
    let refused = world.ask(&phone, &crate::authentication::answered(&older, &challenge));
    assert!(refused.code() >= 400, "{refused}");
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
}

/// Alice talks to the call center over TCP, and her connection is lost.
fn cut_off() -> (World, Agent, Call) {
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    let invite = world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let call = world.answer(&phone, &invite, &psap(), &offered);
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    world.silent();
    (world, phone, call)
}

/// The same phone over another connection, from another port.
fn back(world: &mut World) -> Agent {
    world.connect(Agent::new("alice", "198.51.100.71:40999"))
}

#[test]
fn na_2_a_call_follows_the_phone_to_its_new_connection() {
    let (mut world, phone, mut call) = cut_off();
    let back = back(&mut world);
    world.register_as(&back, &register(&back, &phone.contact()));
    let reinvite = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &reinvite);
    world.take(&psap(), "100");
    let carried = world.take(&back, "INVITE");
    world.send(&back, &back.reply(&carried, 200).sdp(&alice().offer()));
    world.take(&back, "ACK");
    world.take(&psap(), "200 INVITE");
    let ack = call.trunk.request("ACK");
    world.send(&psap(), &ack);
    // And once more.
    world.input(Input::Closed { connection: back.connection.unwrap() });
    let again = world.connect(Agent::new("alice", "198.51.100.71:41000"));
    world.register_as(&again, &register(&again, &phone.contact()));
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    let bye = world.take(&again, "BYE");
    assert_eq!(world.on_wire(&phone, "*").len(), 0);
    world.send(&again, &again.reply(&bye, 200));
    world.over();
    world.silent();
}

#[test]
fn na_2_a_call_follows_the_phone_before_the_old_connection_is_known_to_be_dead() {
    // RFC 5626 §6: the same instance over another flow has left the first one.
    let mut world = World::new();
    let phone = world.connect(alice());
    let contact = format!("{};+sip.instance=\"<urn:uuid:1>\";reg-id=1", phone.contact());
    world.register_as(&phone, &register(&phone, &contact));
    let invite = world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&phone, &invite, &psap(), &offered);
    let back = back(&mut world);
    world.register_as(&back, &register(&back, &contact));
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take(&back, "BYE");
    world.none(&phone, "*");
}

#[test]
fn na_2_a_call_does_not_follow_another_phone() {
    let (mut world, phone, mut call) = cut_off();
    let other = back(&mut world);
    // Another device of the same user, and another user from the same place.
    world.register_as(&other, &register(&other, "<sip:alice@198.51.100.71:5999;transport=tcp>"));
    let bobs = world.connect(Agent::new("bob", "198.51.100.71:41000"));
    world.register_as(&bobs, &register(&bobs, &phone.contact()));
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.none(&other, "*");
    world.none(&bobs, "*");
}

#[test]
fn na_2_a_phone_that_speaks_in_its_dialog_is_where_it_speaks() {
    let (mut world, _, mut call) = cut_off();
    let back = back(&mut world);
    call.phone.agent = back;
    let info = call.phone.request("INFO").body("text/plain", "here");
    world.send(&back, &info);
    world.take(&psap(), "INFO");
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take(&back, "BYE");
}

#[test]
fn na_1_a_response_finds_the_phone_that_has_come_back() {
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    // Nobody opens a connection to a phone, which is behind a NAT or a stranger.
    world.send(&psap(), &psap().reply(&offered, 180));
    world.silent();
    let back = back(&mut world);
    world.register_as(&back, &register(&back, &phone.contact()));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&back, "200 INVITE");
}

#[test]
fn na_1_a_response_to_a_trunk_whose_connection_is_gone() {
    // RFC 3261 §18.2.2: to the address it came from, at the port of sent-by.
    let mut world = World::with_alice();
    let trunk = world.connect(Agent::new("backup", "203.0.113.81:47000"));
    let invite = trunk.invite("sip:bob@example.com").set("Via", "SIP/2.0/TCP 203.0.113.81:5070;branch=z9hG4bKgone");
    world.register(&bob());
    world.send(&trunk, &invite);
    world.take(&trunk, "100");
    world.input(Input::Closed { connection: trunk.connection.unwrap() });
    let ring = world.take(&bob(), "INVITE");
    world.send(&bob(), &bob().reply(&ring, 180));
    let listening = Agent::new("backup", "203.0.113.81:5070");
    let sent = world.on_wire(&listening, "180");
    assert!(sent.len() == 1 && sent[0].connection.is_some(), "{sent:?}");
}

#[test]
fn na_2_a_phone_that_registers_again_while_it_is_rung_is_not_rung_against_itself() {
    let (mut world, phone, mut call) = cut_off();
    let bye = call.trunk.request("BYE");
    world.ask(&psap(), &bye);
    world.wire.clear();
    let back = back(&mut world);
    world.register_as(&back, &register(&back, &phone.contact()));
    world.call_back(&psap(), "+14255551000");
    // A phone of several bindings may be rung at each; over its new connection it is rung once.
    let rung = world.take(&back, "INVITE");
    world.send(&back, &back.reply(&rung, 100));
    world.register_as(&back, &register(&back, &phone.contact()));
    world.none(&back, "INVITE");
    world.none(&back, "CANCEL");
    world.send(&back, &back.reply(&rung, 200).sdp(&alice().offer()));
    world.take(&back, "ACK");
    assert_eq!(world.take(&psap(), "200 INVITE").code(), 200);
}

/// Somebody else behind the NAT of `phone` is given the port that its lost connection had.
fn stranger_in_place_of(world: &mut World, phone: &Agent) -> Agent {
    world.connect(Agent { connection: None, ..*phone })
}

#[test]
fn na_2_a_stranger_at_the_address_of_a_lost_connection_hears_nothing_of_a_call() {
    // RFC 5626 §5.3: a flow is a connection, not an address.
    let (mut world, phone, mut call) = cut_off();
    let stranger = stranger_in_place_of(&mut world, &phone);
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.none(&stranger, "*");
    world.over();
}

#[test]
fn na_2_a_callback_is_not_sent_to_a_stranger_at_the_address_of_its_phone() {
    let (mut world, phone, mut call) = cut_off();
    let stranger = stranger_in_place_of(&mut world, &phone);
    let bye = call.trunk.request("BYE");
    world.ask(&psap(), &bye);
    world.wire.clear();
    world.call_back(&psap(), "+14255551000");
    world.run(5_000);
    world.none(&stranger, "*");
    // It comes back, and is rung over the connection that proves it.
    let back = back(&mut world);
    world.register_as(&back, &register(&back, &phone.contact()));
    let rung = world.take(&back, "INVITE");
    world.send(&back, &back.reply(&rung, 200).sdp(&alice().offer()));
    world.take(&back, "ACK");
    world.take(&psap(), "200 INVITE");
    world.none(&stranger, "*");
}

#[test]
fn na_2_a_response_is_not_sent_to_a_stranger_at_the_address_of_its_phone() {
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    world.dial(&phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    let stranger = stranger_in_place_of(&mut world, &phone);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.run(3_000);
    world.none(&stranger, "*");
}

#[test]
fn na_2_a_connection_that_a_trunk_has_opened_is_used_toward_it() {
    // RFC 3261 §18: of a trunk its address is the proof. It has reconnected from the port where it takes calls.
    let mut world = World::of(&Toml::one_trunk().call_center_at(&psap(), "tcp"));
    world.register(&alice());
    let trunk = world.connect(psap());
    world.dial(&alice(), "sip:911@example.com");
    world.take(&trunk, "INVITE");
    assert!(world.opened.is_empty(), "{:?}", world.opened);
}
