//! SPEC §6, §10: a callback rings the phone that called, and nobody else's, wherever phones have moved and whatever they share.

use crate::world::{Agent, Dialog, Msg, World, alice, authorized_with, bob, psap, register};

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

/// The same of phones that are reached where they listen, since their connection is lost.
#[test]
fn section_10_a_phone_of_another_user_that_listens_where_the_one_that_called_did_is_not_rung() {
    for is_taken in [false, true] {
        let mut world = World::new();
        let phone = world.connect(alice());
        world.register(&phone);
        let invite = world.dial(&phone, "sip:911@example.com");
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(&phone, &invite, &psap(), &offered);
        world.hang_up(&mut call);
        let connection = phone.connection.unwrap();
        world.register_as(&phone, &register(&phone).set("Expires", "0"));
        world.input(sosbridge::node::Input::Closed { connection });
        let successor = Agent { name: "bob", address: "198.51.100.71:49152".parse().unwrap(), connection: None };
        let successor = world.connect(successor);
        let listens = if is_taken { "198.51.100.71:5071" } else { "198.51.100.71:5072" };
        let contact = format!("<sip:bob@{listens};transport=tcp>");
        world.register_as(&successor, &register(&successor).set("Contact", &contact));
        world.opened.clear();
        world.call_back(&psap(), NUMBER);
        world.run(10_000);
        assert_eq!(world.opened.is_empty(), is_taken, "{:?}", world.opened);
        world.none(&successor, "INVITE");
        assert_eq!(world.on_wire(&alice(), "INVITE").is_empty(), is_taken);
    }
}

/// The phone of `name` at `host`, behind the proxy that all requests come from.
fn behind_proxy(name: &'static str) -> Agent {
    Agent::new(name, "198.51.100.90:5060")
}

fn at(message: &Msg, host: &str) -> Msg {
    let name = crate::world::uri_of(message.header("Contact"));
    let name = name.trim_start_matches("sip:").split('@').next().unwrap();
    message.clone().set("Contact", &format!("<sip:{name}@{host}>"))
}

fn shown(world: &mut World, phone: &Agent, invite: &Msg) -> String {
    world.send(phone, invite);
    let offered = world.take(&psap(), "INVITE");
    world.wire.clear();
    crate::world::uri_of(offered.header("From")).trim_start_matches("sip:").split('@').next().unwrap().to_owned()
}

#[test]
fn section_3_two_phones_of_a_user_behind_one_proxy_have_two_numbers_and_each_is_rung_on_its_own() {
    let mut world = World::new();
    let proxy = behind_proxy("alice");
    let hosts = ["10.0.0.1:5060", "10.0.0.2:5060"];
    for host in hosts {
        world.register_as(&proxy, &at(&register(&proxy), host));
    }
    assert_eq!(world.node.registrations_view(0).rows.len(), 2);
    let numbers = hosts.map(|host| shown(&mut world, &proxy, &at(&proxy.invite("sip:911@example.com"), host)));
    assert_ne!(numbers[0], numbers[1]);
    for (number, host) in numbers.iter().zip(hosts) {
        world.call_back(&psap(), number);
        assert_eq!(world.take(&proxy, "INVITE").uri(), format!("sip:alice@{host}"));
        world.none(&proxy, "INVITE");
    }
}

#[test]
fn section_3_a_phone_that_the_proxy_has_not_registered_is_not_taken_for_one_that_it_has() {
    let mut world = World::new();
    let (proxy, other) = (behind_proxy("alice"), behind_proxy("bob"));
    world.register_as(&proxy, &at(&register(&proxy), "10.0.0.1:5060"));
    world.register_as(&other, &at(&register(&other), "10.0.0.2:5060"));
    let number = shown(&mut world, &proxy, &at(&proxy.invite("sip:911@example.com"), "10.0.0.3:5060"));
    world.call_back(&psap(), &number);
    assert_eq!(world.take(&proxy, "INVITE").uri(), "sip:alice@10.0.0.3:5060");
}

#[test]
fn section_2_of_several_users_behind_one_proxy_wrong_credentials_are_whose_phone_it_is() {
    for (from, contact, expected) in [
        ("sip:robert@example.com", "sip:bob@10.0.0.2:5060", "bob"),
        ("sip:robert@example.com", "sip:alice@10.0.0.1:5060", "alice"),
        ("sip:bob@10.0.0.2", "sip:somebody@10.0.0.7", "bob"),
    ] {
        let mut world = World::new();
        let (proxy, other) = (behind_proxy("alice"), behind_proxy("bob"));
        world.register_as(&proxy, &at(&register(&proxy), "10.0.0.1:5060"));
        world.register_as(&other, &at(&register(&other), "10.0.0.2:5060"));
        let invite = proxy.invite("sip:911@example.com").set("From", &format!("<{from}>;tag=x"));
        let invite = invite.set("Contact", &format!("<{contact}>"));
        let challenge = world.ask(&proxy, &invite);
        world.send(&proxy, &authorized_with(&invite, &challenge, "bob", "wrong", "MD5"));
        world.take(&psap(), "INVITE");
        let lease = world.node.leases_view(0).rows.remove(0);
        assert_eq!(lease.user, format!("sip:{expected}@example.com"), "{from} {contact}");
        let number = lease.number.to_string();
        world.call_back(&psap(), &number);
        assert_eq!(world.take(&proxy, "INVITE").uri(), contact);
    }
}

#[test]
fn section_6_one_phone_alone_on_its_flow_is_known_by_it() {
    // Behind a NAT the Contact of an INVITE may be another than that of the REGISTER.
    let mut world = World::new();
    world.register(&bob());
    let number = shown(&mut world, &bob(), &at(&bob().invite("sip:911@example.com"), "10.0.0.5:6000"));
    world.call_back(&psap(), &number);
    assert_eq!(world.take(&bob(), "INVITE").uri(), "sip:bob@198.51.100.72:5072");
}

/// Alice has called from behind a proxy and her registration is over; bob is registered through the same proxy.
fn she_left_the_proxy(bob_at: &str, lines: &[(&str, &str)]) -> (World, Agent, String) {
    let mut world = World::new();
    let (proxy, other) = (behind_proxy("alice"), behind_proxy("bob"));
    let through = |message: Msg| lines.iter().fold(message, |message, (name, value)| message.with(name, value));
    let hers = || through(at(&register(&proxy), "10.0.0.1:5060"));
    world.register_as(&proxy, &hers());
    let number = shown(&mut world, &proxy, &at(&proxy.invite("sip:911@example.com"), "10.0.0.1:5060"));
    world.register_as(&proxy, &hers().set("Expires", "0"));
    world.register_as(&other, &through(at(&register(&other), bob_at)));
    (world, proxy, number)
}

#[test]
fn section_6_a_phone_that_has_left_its_proxy_is_looked_for_there_while_others_are_registered_through_it() {
    let path: &[_] = &[("Supported", "path"), ("Path", "<sip:198.51.100.90;lr>")];
    let via: &[_] = &[("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKbehind")];
    for lines in [path, via] {
        let (mut world, proxy, number) = she_left_the_proxy("10.0.0.2:5060", lines);
        world.call_back(&psap(), &number);
        assert_eq!(world.take(&proxy, "INVITE").uri(), "sip:alice@10.0.0.1:5060");
        // Her place is bob's.
        let (mut world, proxy, number) = she_left_the_proxy("10.0.0.1:5060", lines);
        world.call_back(&psap(), &number);
        world.run(30_000);
        world.none(&proxy, "INVITE");
    }
    // Nothing says that it is a proxy: a phone that takes whatever comes is as likely.
    let (mut world, proxy, number) = she_left_the_proxy("10.0.0.2:5060", &[]);
    world.call_back(&psap(), &number);
    world.run(30_000);
    world.none(&proxy, "INVITE");
}

/// The phone that called has registered again; another of the user's, which it likes better, is there all the time.
#[test]
fn section_6_of_two_phones_behind_one_proxy_the_one_that_registers_is_the_one_that_is_back() {
    let mut world = World::new();
    let proxy = behind_proxy("alice");
    let registration = |host: &str, q: &str| {
        let request = at(&register(&proxy), host);
        let contact = format!("{};q={q}", request.header("Contact"));
        request.set("Contact", &contact)
    };
    world.register_as(&proxy, &registration("10.0.0.1:5060", "1.0"));
    world.register_as(&proxy, &registration("10.0.0.2:5060", "0.5"));
    let number = shown(&mut world, &proxy, &at(&proxy.invite("sip:911@example.com"), "10.0.0.2:5060"));
    world.register_as(&proxy, &registration("10.0.0.2:5060", "0.5").set("Expires", "0"));
    world.call_back(&psap(), &number);
    // The proxy knows no way to it; the other one rings.
    while let Some(rung) = world.on_wire(&proxy, "INVITE").pop() {
        world.take(&proxy, "INVITE");
        let is_other = rung.msg.uri().contains("10.0.0.1");
        world.send(&proxy, &proxy.reply(&rung.msg, if is_other { 180 } else { 480 }));
        world.run(1_000);
    }
    world.wire.clear();
    world.register_as(&proxy, &registration("10.0.0.2:5060", "0.5"));
    assert_eq!(world.take(&proxy, "INVITE").uri(), "sip:alice@10.0.0.2:5060");
}
