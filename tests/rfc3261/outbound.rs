//! NA-3, NA-4, NA-5: keep-alives, flows of one phone, the way through a proxy, and its own URI (RFC 5626, 3327, 5627).

use sosbridge::node::Input;

use crate::world::{Agent, Msg, Toml, UDP, World, alice, bob, param, psap};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";

/// A REGISTER of bob for this contact and these parameters.
fn register(agent: &Agent, params: &str) -> Msg {
    let contact = format!("{};{params}", agent.contact());
    crate::world::register(agent).set("Contact", &contact).with("Supported", "path, outbound, gruu")
}

fn binding_request() -> Vec<u8> {
    b"\0\x01\0\0\x21\x12\xA4\x42abcdefghijkl".to_vec()
}

#[test]
fn na_3_stun_on_the_sip_port() {
    let mut world = World::new();
    for (source, family) in [("198.51.100.9:40123", 1), ("[2001:db8::9]:40123", 2)] {
        let source = source.parse().unwrap();
        world.input(Input::Datagram { listener: UDP, remote: source, bytes: binding_request().into() });
        let (to, answer) = world.stun.pop().expect("an answer");
        assert_eq!((to, &answer[..2], &answer[8..20]), (source, &[1, 1][..], &b"abcdefghijkl"[..]));
        // XOR-MAPPED-ADDRESS: family, and the port under the magic cookie.
        assert_eq!((answer[25], u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112), (family, 40123));
    }
    // A response, and what is neither STUN nor SIP, is answered by nothing.
    for bytes in [&b"\x01\x01\0\0\x21\x12\xA4\x42abcdefghijkl"[..], b"\0\x01\0\0"] {
        world.input(Input::Datagram { listener: UDP, remote: alice().address, bytes: bytes.to_vec().into() });
    }
    assert!(world.stun.is_empty());
    world.silent();
}

#[test]
fn na_3_options_to_phones_at_an_interval() {
    let toml = Toml::default().change("[registrar]", "[registrar]\noptions_interval = \"25s\"");
    let mut world = World::of(&toml);
    world.register(&alice());
    let phone = world.connect(bob());
    world.register_as(&phone, &register(&phone, "x"));
    world.run(100_000);
    let asked = [alice(), phone].map(|agent| (agent, world.take_all(&agent, "OPTIONS")));
    for (agent, asked) in asked {
        assert!((3..=4).contains(&asked.len()), "{}", asked.len());
        assert!(asked.windows(2).all(|pair| pair[1].at - pair[0].at >= 20_000), "{asked:?}");
        assert_eq!(asked[0].msg.uri(), crate::world::uri_of(&agent.contact()));
        // The answer wakes nobody.
        world.send(&agent, &agent.reply(&asked[0].msg, 200));
        world.silent();
    }
    assert!(world.node.is_idle());
    // No connection is opened for it, and a reload may end it.
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    world.run(30_000);
    assert!(world.on_wire(&bob(), "*").is_empty() && !world.take_all(&alice(), "OPTIONS").is_empty());
    world.reload(&Toml::default());
    world.run(60_000);
    world.silent();
}

#[test]
fn na_3_no_options_unless_configured() {
    let mut world = World::with_alice();
    world.run(600_000);
    world.silent();
}

#[test]
fn na_4_outbound_is_confirmed_on_datagrams_too() {
    // STUN answers there (RFC 5626 §4.4.2).
    let mut world = World::new();
    let ok = world.register_as(&bob(), &register(&bob(), &format!("{INSTANCE};reg-id=1")));
    assert_eq!(ok.header("Require"), "outbound");
    let ok = world.register_as(&bob(), &register(&bob(), INSTANCE));
    assert!(!ok.has("Require"), "without reg-id it is an ordinary binding");
}

#[test]
fn na_4_an_empty_instance_id_is_of_no_phone() {
    for instance in ["", "<>"] {
        let mut world = World::new();
        let params = format!("+sip.instance=\"{instance}\";reg-id=1");
        for phone in [bob(), Agent::new("bob", "198.51.100.72:6072")] {
            let ok = world.register_as(&phone, &register(&phone, &params));
            assert!(!ok.to_string().contains("gruu=") && !ok.has("Require"), "{ok}");
            let invite = phone.invite("sip:911@example.com");
            world.send(&phone, &invite.set("Contact", &format!("{};{params}", phone.contact())));
        }
        assert_eq!(world.node.registrations_view(0).rows.len(), 2, "{instance:?}");
        assert_eq!(world.node.leases_view(0).rows.len(), 2, "two phones have two numbers");
    }
}

/// Bob's phone has two flows; alice calls him.
fn two_flows(world: &mut World) -> (Agent, Agent) {
    world.register(&alice());
    let second = Agent::new("bob", "198.51.100.72:6072");
    world.register_as(&second, &register(&second, &format!("{INSTANCE};reg-id=2")));
    world.run(10);
    world.register_as(&bob(), &register(&bob(), &format!("{INSTANCE};reg-id=1")));
    world.dial(&alice(), "sip:bob@example.com");
    (bob(), second)
}

#[test]
fn na_4_one_flow_of_a_phone_at_a_time() {
    let mut world = World::new();
    let (first, second) = two_flows(&mut world);
    let ring = world.take(&first, "INVITE");
    world.none(&second, "INVITE");
    // RFC 5626 §7: 430 leads to the other flow, and the phone's own answer is final.
    world.send(&first, &first.reply(&ring, 430));
    world.take(&first, "ACK");
    let ring = world.take(&second, "INVITE");
    world.none(&alice(), "430");
    world.send(&second, &second.reply(&ring, 486));
    world.take(&second, "ACK");
    world.take(&alice(), "486");
    world.none(&first, "INVITE");
}

#[test]
fn na_4_the_last_flow_that_fails_is_told() {
    let mut world = World::new();
    let (first, second) = two_flows(&mut world);
    for flow in [first, second] {
        let ring = world.take(&flow, "INVITE");
        world.send(&flow, &flow.reply(&ring, 430));
        world.take(&flow, "ACK");
    }
    // §11.5: no endpoint is to see a 430.
    assert_eq!(world.take(&alice(), "480").code(), 480);
    world.silent();
}

#[test]
fn na_4_a_silent_flow_is_left_for_the_next() {
    let mut world = World::new();
    let (first, second) = two_flows(&mut world);
    world.run(2_000);
    let ring = world.take(&second, "INVITE");
    world.send(&second, &second.reply(&ring, 180));
    world.take(&alice(), "180");
    // The first one answers after all: it is hung up, and the call is not disturbed.
    let late = world.take(&first, "INVITE");
    world.send(&first, &first.reply(&late, 200).sdp(&first.offer()));
    world.take(&first, "ACK");
    world.take(&first, "BYE");
    world.none(&alice(), "200");
}

#[test]
fn na_4_another_phone_of_the_user_rings_beside() {
    let mut world = World::new();
    let third = Agent::new("bob", "198.51.100.72:7072");
    world.register_as(&third, &register(&third, "+sip.instance=\"<urn:uuid:other>\";reg-id=1"));
    let (first, second) = two_flows(&mut world);
    world.take(&first, "INVITE");
    world.take(&third, "INVITE");
    world.none(&second, "INVITE");
}

#[test]
fn na_4_ob_in_a_contact_changes_nothing() {
    // RFC 5626 §4.3: requests of the dialog take the flow; to phones all do.
    let mut world = World::new();
    let phone = Agent::new("alice", "198.51.100.9:40123");
    let contact = "<sip:alice@10.0.0.5:5062;ob>";
    world.register_as(&phone, &register(&phone, &format!("{INSTANCE};reg-id=1")).set("Contact", contact));
    let invite = phone.invite("sip:911@example.com").set("Contact", contact);
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let offered = world.take(&crate::world::psap(), "INVITE");
    let mut call = world.answer(&phone, &invite, &crate::world::psap(), &offered);
    let bye = call.trunk.request("BYE");
    assert_eq!(world.ask(&crate::world::psap(), &bye).code(), 200);
    assert_eq!(world.take(&phone, "BYE").uri(), "sip:alice@10.0.0.5:5062;ob");
    assert_eq!(param(offered.header("Contact"), "ob"), "");
}

const PATH: &str = "<sip:edge.example.net;lr;ob>, <sip:inner.example.net:5070;lr>";

/// Bob's phone behind a proxy, which adds itself.
fn behind_proxy(world: &mut World, params: &str) -> (Agent, Msg) {
    let proxy = Agent::new("bob", "198.51.100.50:5060");
    let register = register(&proxy, params).set("Contact", &format!("<sip:bob@10.0.0.5>;{params}")).with("Path", PATH);
    let ok = world.register_as(&proxy, &register);
    (proxy, ok)
}

#[test]
fn na_5_path_is_the_route_to_the_phone() {
    let mut world = World::new();
    world.register(&alice());
    let (proxy, ok) = behind_proxy(&mut world, "x");
    assert_eq!(ok.header("Path"), PATH, "RFC 3327 §5.3: it comes back in the 200");
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&proxy, "INVITE");
    assert_eq!(ring.uri(), "sip:bob@10.0.0.5");
    let expected = ["<sip:edge.example.net;lr;ob>", "<sip:inner.example.net:5070;lr>"];
    assert_eq!(ring.values("Route"), expected);
    // CANCEL takes the same way (§9.1), and the dialog the one that the phone's answer names.
    world.send(&proxy, &proxy.reply(&ring, 180));
    world.take(&alice(), "180");
    let cancel = invite.cancel();
    assert_eq!(world.ask(&alice(), &cancel).code(), 200);
    assert_eq!(world.take(&proxy, "CANCEL").values("Route"), expected);
    // It outlives a restart.
    let kept = world.rows.iter().rev().find_map(|row| match row {
        sosbridge::node::Row::Binding(row) if !row.path.is_empty() => Some(row.clone()),
        _ => None,
    });
    assert_eq!(kept.expect("a row").path, PATH);
    // The phone comes without its proxy.
    world.wire.clear();
    world.register_as(&proxy, &register(&proxy, "x").set("Contact", "<sip:bob@10.0.0.5>;x"));
    world.dial(&alice(), "sip:bob@example.com");
    assert!(!world.take(&proxy, "INVITE").has("Route"));
}

/// RFC 5626 §4.3, §4.5: what is to be said to a phone whose connection is gone goes over its other one, and a callback at once.
#[test]
fn na_4_the_other_connection_of_a_phone_takes_the_place_of_one_that_is_lost() {
    for lost in [0, 1] {
        let mut world = World::new();
        let flows = [("alice", "198.51.100.71:6071"), ("alice", "198.51.100.71:6072")]
            .map(|(name, address)| world.connect(Agent::new(name, address)));
        let contact = |id: usize| format!("<sip:alice@10.0.0.5:5071;transport=tcp>;{INSTANCE};reg-id={id}");
        for (id, flow) in flows.iter().enumerate() {
            world.register_as(flow, &register(flow, "x").set("Contact", &contact(id + 1)));
            world.run(10);
        }
        let (gone, left) = (&flows[lost], &flows[1 - lost]);
        let invite = gone.invite("sip:911@example.com").set("Contact", &contact(lost + 1));
        world.send(gone, &invite);
        world.take(gone, "100");
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(gone, &invite, &psap(), &offered);
        world.input(Input::Closed { connection: gone.connection.unwrap() });
        let bye = call.trunk.request("BYE");
        assert_eq!(world.ask(&psap(), &bye).code(), 200);
        let bye = world.take(left, "BYE");
        world.send(left, &left.reply(&bye, 200));
        world.call_back(&psap(), "+14255551000");
        world.take(left, "INVITE");
        // And back, when it has registered anew.
        let back = world.connect(*gone);
        world.register_as(&back, &register(&back, "x").set("Contact", &contact(lost + 1)));
    }
}

/// Alice's phone, known by its instance, in an emergency call over a connection of its own.
fn talking_over(world: &mut World, reg_id: u32) -> (Agent, crate::world::Call) {
    let phone = world.connect(Agent::new("alice", "198.51.100.71:6071"));
    let contact = format!("<sip:alice@10.0.0.5:6071;transport=tcp>;{INSTANCE};reg-id={reg_id}");
    world.register_as(&phone, &register(&phone, "x").set("Contact", &contact));
    let invite = phone.invite("sip:911@example.com").set("Contact", "<sip:alice@10.0.0.5:6071;transport=tcp>");
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let offered = world.take(&psap(), "INVITE");
    let call = world.answer(&phone, &invite, &psap(), &offered);
    (phone, call)
}

/// The same phone registers over another connection.
fn back_over(world: &mut World, reg_id: u32) -> Agent {
    let back = world.connect(Agent::new("alice", "198.51.100.71:6072"));
    let contact = format!("<sip:alice@10.0.0.5:6072;transport=tcp>;{INSTANCE};reg-id={reg_id}");
    world.register_as(&back, &register(&back, "x").set("Contact", &contact));
    back
}

/// RFC 5626 §4.3: a phone that does not hear the BYE is busy when it is called back.
#[test]
fn na_2_a_bye_that_was_lost_reaches_the_phone_when_it_is_back() {
    // Its connection is held to be open, is closed under the BYE, or was gone before it.
    for (closed_before, closed_after) in [(false, false), (false, true), (true, false)] {
        let mut world = World::new();
        world.drops_connects = true;
        let (gone, mut call) = talking_over(&mut world, 1);
        let close = || Input::Closed { connection: gone.connection.unwrap() };
        if closed_before {
            world.input(close());
        }
        assert_eq!(world.ask(&psap(), &call.trunk.request("BYE")).code(), 200);
        let bye = world.on_wire(&gone, "BYE").pop();
        if closed_after {
            world.input(close());
        }
        if let Some(opened) = world.opened.pop() {
            world.input(Input::Failed { connection: opened.connection, reason: "refused".to_owned() });
        }
        world.wire.clear();
        world.run(5_000);
        let back = back_over(&mut world, 1);
        let again = world.take(&back, "BYE");
        assert!(bye.is_none_or(|bye| bye.msg == again), "a repetition");
        world.send(&back, &back.reply(&again, 200));
        world.over();
    }
}

/// The other flow of the phone takes at once what was being said over the one that is lost.
#[test]
fn na_4_what_is_on_its_way_when_a_flow_is_lost_goes_over_the_other() {
    let mut world = World::new();
    let (gone, mut call) = talking_over(&mut world, 1);
    let left = back_over(&mut world, 2);
    let info = call.trunk.request("INFO").body("text/plain", "x");
    world.send(&psap(), &info);
    let lost = world.take(&gone, "INFO");
    world.input(Input::Closed { connection: gone.connection.unwrap() });
    assert_eq!(world.take(&left, "INFO"), lost);
    world.send(&left, &left.reply(&lost, 200));
    world.take(&psap(), "200 INFO");
}

/// A phone that changes its network while it is asked to hold is no phone that is gone: the call stays up (CONFORMANCE DI-12).
#[test]
fn di_12_a_reinvite_that_was_lost_reaches_the_phone_when_it_is_back() {
    let mut world = World::new();
    let (gone, mut call) = talking_over(&mut world, 1);
    let hold = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &hold);
    let lost = world.take(&gone, "INVITE");
    world.run(10_000);
    let back = back_over(&mut world, 1);
    assert_eq!(world.take(&back, "INVITE"), lost);
    world.send(&back, &back.reply(&lost, 200).sdp(&back.offer()));
    world.take(&psap(), "200 INVITE");
    world.run(25_000);
    world.none(&psap(), "BYE");
}

/// RFC 5626 §4.2.1: through two proxies a phone registers with one contact, which each of them finds by its own flow.
#[test]
fn na_5_each_flow_of_a_phone_has_its_own_path() {
    let mut world = World::new();
    let proxies = [
        ("198.51.100.50:5060", "<sip:aaa@one.example.net;lr;ob>"),
        ("198.51.100.51:5060", "<sip:bbb@two.example.net;lr;ob>"),
    ];
    let proxies = proxies.map(|(address, path)| (Agent::new("alice", address), path));
    for (id, (proxy, path)) in proxies.iter().enumerate() {
        let contact = format!("<sip:alice@10.0.0.5>;{INSTANCE};reg-id={}", id + 1);
        let register = register(proxy, "x").set("Contact", &contact).with("Path", path);
        world.register_as(proxy, &register.with("Via", "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKphone"));
        world.run(10);
    }
    assert_eq!(world.node.registrations_view(0).rows.len(), 2);
    // The call comes over the flow that registered last, and so does the callback; the other is rung when that says nothing.
    let [(first, of_first), (second, of_second)] = &proxies;
    let invite = second.invite("sip:911@example.com").set("Contact", &format!("<sip:alice@10.0.0.5>;{INSTANCE}"));
    world.send(second, &invite);
    world.take(second, "100");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(second, &invite, &psap(), &offered);
    world.hang_up(&mut call);
    world.call_back(&psap(), "+14255551000");
    assert_eq!(world.take(second, "INVITE").values("Route"), [*of_second]);
    world.run(2_500);
    assert_eq!(world.take(first, "INVITE").values("Route"), [*of_first]);
}

#[test]
fn na_5_record_route_of_the_answer_replaces_the_path() {
    let mut world = World::new();
    world.register(&alice());
    let (proxy, _) = behind_proxy(&mut world, "x");
    world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&proxy, "INVITE");
    let answer = proxy.reply(&ring, 200).sdp(&proxy.offer()).with("Record-Route", "<sip:edge.example.net;lr>");
    world.send(&proxy, &answer);
    let ack = world.take(&proxy, "ACK");
    assert_eq!(ack.values("Route"), ["<sip:edge.example.net;lr>"]);
}

#[test]
fn na_5_a_path_without_brackets_is_as_good_as_one_with_them() {
    let mut world = World::new();
    world.register(&alice());
    world.register_as(
        &bob(),
        &register(&bob(), "x").with("Path", "sip:edge.example.net;lr, <sip:inner.example.net;lr>"),
    );
    world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&bob(), "INVITE");
    assert_eq!(ring.uri(), crate::world::uri_of(&bob().contact()));
    assert_eq!(ring.values("Route"), ["<sip:edge.example.net;lr>", "<sip:inner.example.net;lr>"]);
}

#[test]
fn na_5_path_that_the_phone_does_not_know_of_or_nobody_can_use() {
    let mut world = World::new();
    let long = format!("<sip:{};lr>", "p".repeat(1100));
    let cases = [
        ("outbound", PATH, 420),
        ("path", "<mailto:p@example.net>", 400),
        ("path", "nonsense", 400),
        ("path", long.as_str(), 400),
    ];
    for (supported, path, code) in cases {
        let request = register(&bob(), "x").set("Supported", supported).with("Path", path);
        let challenge = world.ask(&bob(), &request);
        let refused = world.ask(&bob(), &crate::world::authorized(&request, &challenge, "bob", "MD5"));
        assert_eq!(refused.code(), code, "{path}");
        assert_eq!(refused.header("Unsupported"), if code == 420 { "path" } else { "" });
    }
    assert!(world.node.registrations_view(0).rows.is_empty());
    let ok = world.register_as(&bob(), &register(&bob(), "x").with("Require", "path, gruu"));
    assert!(!ok.has("Unsupported"));
}

#[test]
fn na_5_outbound_through_a_proxy_that_keeps_the_flow() {
    // RFC 5626 §6: with `ob` in the Path, else 439.
    let mut world = World::new();
    let params = format!("{INSTANCE};reg-id=1");
    let via = "SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKphone";
    for (path, code) in [(PATH, 200), ("<sip:edge.example.net;lr>", 439)] {
        let request = register(&bob(), &params).with("Path", path).with("Via", via);
        let challenge = world.ask(&bob(), &request);
        let answer = world.ask(&bob(), &crate::world::authorized(&request, &challenge, "bob", "MD5"));
        assert_eq!(answer.code(), code, "{path}");
        assert_eq!(answer.header("Require"), if code == 200 { "outbound" } else { "" });
    }
}

/// The value of a quoted Contact parameter.
fn quoted(contact: &str, name: &str) -> String {
    let after = contact.split_once(&format!("{name}=\"")).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default().to_owned()
}

#[test]
fn na_5_gruu_leads_to_that_phone_alone() {
    let mut world = World::new();
    world.register(&alice());
    let other = Agent::new("bob", "198.51.100.72:7072");
    world.register_as(&other, &register(&other, "+sip.instance=\"<urn:uuid:other>\""));
    let ok = world.register_as(&bob(), &register(&bob(), INSTANCE));
    let contact = ok.values("Contact").into_iter().find(|contact| contact.contains("5072")).unwrap().to_owned();
    let (public, temporary) = (quoted(&contact, "pub-gruu"), quoted(&contact, "temp-gruu"));
    assert_eq!(public, "sip:bob@example.com;gr=urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF");
    assert!(temporary.starts_with("sip:tgruu.") && temporary.ends_with("@example.com;gr"), "{temporary}");
    assert!(!temporary.contains("bob"));
    let refreshed = world
        .register_as(&bob(), &register(&bob(), INSTANCE).set("Call-ID", &ok_call_id(&ok)).set("CSeq", "9 REGISTER"));
    assert!(!refreshed.to_string().contains(&temporary), "another one each time");
    for gruu in [&public, &temporary] {
        let invite = world.dial(&alice(), gruu);
        let ring = world.take(&bob(), "INVITE");
        assert_eq!(ring.uri(), crate::world::uri_of(&bob().contact()));
        world.none(&other, "*");
        world.send(&bob(), &bob().reply(&ring, 486));
        world.take(&bob(), "ACK");
        let busy = world.take(&alice(), "486");
        world.send(&alice(), &invite.ack_of(&busy));
    }
    // The address of record rings both.
    world.dial(&alice(), "sip:bob@example.com");
    world.take(&bob(), "INVITE");
    world.take(&other, "INVITE");
}

fn ok_call_id(ok: &Msg) -> String {
    ok.header("Call-ID").to_owned()
}

/// A phone may give it for its Contact (RFC 5627 §4.4.1). Behind a proxy it would lead from there to us again, and not to the phone.
#[test]
fn na_5_a_phone_that_calls_under_its_gruu_is_called_back_where_it_is_registered() {
    for kind in ["pub-gruu", "temp-gruu"] {
        let mut world = World::new();
        let proxy = Agent::new("alice", "198.51.100.90:5060");
        let hosts = ["10.0.0.1:5060", "10.0.0.2:5060"];
        let gruus = hosts.map(|host| {
            let contact = format!("<sip:alice@{host}>;+sip.instance=\"<urn:uuid:{host}>\"");
            let request = crate::world::register(&proxy).set("Contact", &contact).with("Supported", "gruu");
            let ok = world.register_as(&proxy, &request);
            quoted(ok.values("Contact").into_iter().find(|contact| contact.contains(host)).unwrap(), kind)
        });
        for (gruu, host) in gruus.iter().zip(hosts) {
            let invite = proxy.invite("sip:911@example.com").set("Contact", &format!("<{gruu}>"));
            world.send(&proxy, &invite);
            let offered = world.take(&psap(), "INVITE");
            world.wire.clear();
            let shown = crate::world::uri_of(offered.header("From"));
            world.call_back(&psap(), shown.trim_start_matches("sip:").split('@').next().unwrap());
            assert_eq!(world.take(&proxy, "INVITE").uri(), format!("sip:alice@{host}"), "{kind}");
            world.none(&proxy, "INVITE");
        }
        assert_eq!(world.node.leases_view(0).rows.len(), 2, "a number for each");
    }
}

#[test]
fn na_5_gruu_ends_with_its_registration() {
    let mut world = World::new();
    world.register(&alice());
    let ok = world.register_as(&bob(), &register(&bob(), INSTANCE));
    let (public, temporary) = (quoted(ok.header("Contact"), "pub-gruu"), quoted(ok.header("Contact"), "temp-gruu"));
    let status = |world: &mut World, uri: &str| world.ask(&alice(), &alice().invite(uri)).code();
    // RFC 5627 §5.1: another Call-ID ends the temporary ones.
    world.register_as(&bob(), &register(&bob(), INSTANCE));
    assert_eq!(status(&mut world, &temporary), 404);
    let ok = world.register_as(&bob(), &register(&bob(), INSTANCE));
    let temporary = quoted(ok.header("Contact"), "temp-gruu");
    world.register_as(&bob(), &register(&bob(), INSTANCE).set("Expires", "0"));
    // §5.3: a public one stays valid while its phone is away.
    assert_eq!((status(&mut world, &temporary), status(&mut world, &public)), (404, 480));
    for forged in ["sip:tgruu.AAAA@example.com;gr", "sip:bob@example.com;gr=urn:uuid:nobody"] {
        assert!([404, 480].contains(&status(&mut world, forged)), "{forged}");
    }
}

#[test]
fn na_5_gruu_only_for_phones_that_ask() {
    let mut world = World::new();
    let plain = register(&bob(), INSTANCE).set("Supported", "path");
    let ok = world.register_as(&bob(), &plain);
    assert!(!ok.to_string().contains("gruu"), "{ok}");
    let ok = world.register_as(&bob(), &register(&bob(), "x"));
    assert!(!ok.values("Contact").iter().any(|contact| contact.contains(";x") && contact.contains("gruu")), "{ok}");
    // It is not for the phone to choose, nor to register (RFC 5627 §5.1).
    let chosen = format!("{INSTANCE};pub-gruu=\"sip:mallory@example.com\"");
    assert!(!world.register_as(&bob(), &register(&bob(), &chosen)).to_string().contains("mallory"));
    let itself = register(&bob(), "x").set("Contact", &format!("<sip:bob@example.com;gr=urn:x>;{INSTANCE}"));
    let challenge = world.ask(&bob(), &itself);
    assert_eq!(world.ask(&bob(), &crate::world::authorized(&itself, &challenge, "bob", "MD5")).code(), 403);
}
