//! Both address families on one daemon (CONFORMANCE NA-8): each leg has the names of its own, and parties are found again.

use sosbridge::node::Row;

use crate::world::{
    Agent, Dialog, Msg, TCP, TCP6, Toml, UDP, UDP6, World, alice, alice6, authorized, authorized_with, backup,
    description, outsider, param, psap, psap6, register,
};

/// Our name toward a party.
fn ours(party: &Agent) -> &'static str {
    party.pick("192.0.2.1:5060", "[2001:db8::1]:5060")
}

/// What the origin line of a description for this party ends with.
fn origin(party: &Agent) -> &'static str {
    party.pick(" IN IP4 192.0.2.1", " IN IP6 2001:db8::1")
}

#[track_caller]
fn has_origin(body: &str, party: &Agent) {
    let line = body.lines().find(|line| line.starts_with("o=")).unwrap_or_default();
    assert!(line.ends_with(origin(party)), "{line} to {}", party.address);
}

#[test]
fn na_8_a_whole_story_over_every_pair_of_families_and_transports() {
    for kind in 0..16 {
        let bit = |at: u32| kind >> at & 1 == 1;
        let (phone, trunk) = (if bit(0) { alice6() } else { alice() }, if bit(1) { psap6() } else { psap() });
        a_whole_story(phone, trunk, bit(2), bit(3));
    }
}

fn a_whole_story(phone: Agent, trunk: Agent, phone_tcp: bool, trunk_tcp: bool) {
    let token = if trunk_tcp { "tcp" } else { "udp" };
    let mut world = World::of(&Toml::dual().call_center_at(&trunk, token));
    let phone = if phone_tcp { world.connect(phone) } else { phone };
    world.register(&phone);

    // The call.
    let invite = world.dial(&phone, "sip:911@example.com");
    let sent = world.on_wire(&trunk, "INVITE").remove(0);
    let listener = if trunk_tcp { trunk.pick(TCP, TCP6) } else { trunk.pick(UDP, UDP6) };
    assert_eq!((sent.listener, sent.connection.is_some()), (listener, trunk_tcp));
    let trunk = Agent { connection: sent.connection, ..trunk };
    let offered = world.take(&trunk, "INVITE");
    let (address, host) = (trunk.address, ours(&trunk).trim_end_matches(":5060"));
    let transport = if trunk_tcp { ";transport=tcp" } else { "" };
    assert_eq!(offered.uri(), format!("sip:911@{address}{transport}"));
    let via = format!("SIP/2.0/{} {};branch=", trunk.transport(), ours(&trunk));
    assert!(offered.header("Via").starts_with(&via), "{offered}");
    assert_eq!(offered.contact(), format!("sip:+14255551000@{}{transport}", ours(&trunk)));
    for name in ["From", "P-Asserted-Identity"] {
        let identity = format!("<sip:+14255551000@{host};user=phone>");
        assert!(offered.header(name).starts_with(&identity), "{offered}");
    }
    has_origin(&offered.body, &trunk);
    let mut call = world.answer(&phone, &invite, &trunk, &offered);
    assert!(call.ok.contact().contains(&format!("@{}", ours(&phone))), "{}", call.ok);
    has_origin(&call.ok.body, &phone);

    // Hold, from the call center.
    let hold = description("agent", 2, &["m=audio 9000 RTP/AVP 0", "a=sendonly"]);
    let reinvite = call.trunk.request("INVITE").sdp(&hold);
    world.send(&trunk, &reinvite);
    world.take(&trunk, "100");
    let carried = world.take(&phone, "INVITE");
    let via = format!("SIP/2.0/{} {};branch=", phone.transport(), ours(&phone));
    assert!(carried.header("Via").starts_with(&via), "{carried}");
    has_origin(&carried.body, &phone);
    world.send(&phone, &phone.reply(&carried, 200).sdp(&phone.offer()));
    world.take(&phone, "ACK");
    has_origin(&world.take(&trunk, "200 INVITE").body, &trunk);
    let ack = call.trunk.request("ACK");
    world.send(&trunk, &ack);
    world.hang_up(&mut call);

    // And the callback, to where the phone is.
    world.call_back(&trunk, "+14255551000");
    world.take(&trunk, "100");
    let ring = world.take(&phone, "INVITE");
    assert!(ring.header("From").contains(&format!("@{}>", ours(&phone).trim_end_matches(":5060"))), "{ring}");
    assert!(ring.contact().contains(ours(&phone)), "{ring}");
    world.send(&phone, &phone.reply(&ring, 180));
    world.send(&phone, &phone.reply(&ring, 486));
    world.take(&trunk, "486");
}

#[test]
fn na_8_received_and_rport_of_an_ipv6_source() {
    let mut world = World::of(&Toml::dual());
    let phone = alice6();
    let via_of = |world: &mut World, sent_by: &str| {
        let via = format!("SIP/2.0/UDP {sent_by};branch=z9hG4bK{}", crate::world::fresh());
        world.send(&phone, &phone.request("OPTIONS", "sip:example.com").set("Via", &via));
        let sent = world.wire.remove(0);
        (sent.to.to_string(), sent.msg.header("Via").to_owned())
    };
    // RFC 3581 §4: to the source, and it is told what that was; no brackets in received (RFC 5118 §4.5).
    let (to, via) = via_of(&mut world, "phone.example;rport");
    assert_eq!(
        (to.as_str(), param(&via, "received"), param(&via, "rport")),
        ("[2001:db8:71::1]:5071", "2001:db8:71::1", "5071")
    );
    // RFC 3261 §18.2.2: without rport, the port of sent-by; the same address in another spelling is the same.
    for sent_by in ["[2001:db8:71::1]:5099", "[2001:DB8:71:0::1]:5099"] {
        let (to, via) = via_of(&mut world, sent_by);
        assert_eq!((to.as_str(), param(&via, "received")), ("[2001:db8:71::1]:5099", ""), "{via}");
    }
    let (to, via) = via_of(&mut world, "[2001:db8:71::2]");
    assert_eq!((to.as_str(), param(&via, "received")), ("[2001:db8:71::1]:5060", "2001:db8:71::1"));
}

#[test]
fn na_8_route_sets_of_ipv6_literals() {
    let mut world = World::of(&Toml::dual().call_center_at(&psap6(), "udp"));
    let phone = alice6();
    world.register(&phone);
    let hop = "<sip:[2001:db8:71::90]:5090;lr>";
    let invite = phone.invite("sip:911@example.com").with("Record-Route", hop);
    world.send(&phone, &invite);
    let offered = world.take(&psap6(), "INVITE");
    assert!(!offered.has("Record-Route"), "{offered}");
    let proxy = Agent::new("proxy", "[2001:db8:80::90]:5090");
    let route = "<sip:[2001:db8:80::90]:5090;lr>";
    let answer = psap6().reply(&offered, 200).with("Record-Route", route).sdp(&psap6().offer());
    world.send(&psap6(), &answer);
    let ack = world.take(&proxy, "ACK");
    assert_eq!((ack.uri(), ack.header("Route")), ("sip:psap@[2001:db8:80::80]:5080", route));
    let ok = world.take(&phone, "200");
    assert_eq!(ok.header("Record-Route"), hop);
    let mut dialog = Dialog::caller(phone, &invite, &ok);
    let ack = dialog.request("ACK");
    world.send(&phone, &ack);
    let mut trunk = Dialog::callee(psap6(), &offered, &answer);
    let bye = trunk.request("BYE");
    assert_eq!(world.ask(&psap6(), &bye).code(), 200);
    let bye = world.take(&phone, "BYE");
    assert_eq!((bye.header("Route"), bye.uri()), (hop, "sip:alice@[2001:db8:71::1]:5071"));
}

#[test]
fn na_8_a_contact_of_the_other_family_is_followed() {
    for (reached, listens) in [(psap(), psap6()), (psap6(), psap())] {
        let mut world = World::of(&Toml::dual().call_center_at(&reached, "udp"));
        world.register(&alice());
        let invite = world.dial(&alice(), "sip:911@example.com");
        let offered = world.take(&reached, "INVITE");
        let answer = reached.reply(&offered, 200).set("Contact", &listens.contact()).sdp(&reached.offer());
        world.send(&reached, &answer);
        let ack = world.on_wire(&listens, "ACK").remove(0);
        assert_eq!(ack.listener, listens.pick(UDP, UDP6));
        assert!(ack.msg.header("Via").starts_with(&format!("SIP/2.0/UDP {};", ours(&listens))), "{}", ack.text);
        let ok = world.take(&alice(), "200 INVITE");
        let mut phone = Dialog::caller(alice(), &invite, &ok);
        let ack = phone.request("ACK");
        world.send(&alice(), &ack);
        // A re-INVITE tells it where we are on that side.
        let hold = phone.request("INVITE").sdp(&alice().offer());
        world.send(&alice(), &hold);
        let carried = world.take(&listens, "INVITE");
        assert!(carried.contact().ends_with(ours(&listens)), "{carried}");
        world.send(&listens, &listens.reply(&carried, 200).sdp(&listens.offer()));
        world.take(&listens, "ACK");
        world.take(&alice(), "200 INVITE");
        let ack = phone.request("ACK");
        world.send(&alice(), &ack);
        let bye = phone.request("BYE");
        assert_eq!(world.ask(&alice(), &bye).code(), 200);
        world.take(&listens, "BYE");
    }
}

#[test]
fn na_8_a_contact_of_a_family_without_listener_is_not_followed() {
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let answer = psap().reply(&offered, 200).set("Contact", &psap6().contact()).sdp(&psap().offer());
    world.send(&psap(), &answer);
    let ack = world.take(&psap(), "ACK");
    assert_eq!(ack.uri(), "sip:psap@[2001:db8:80::80]:5080");
}

#[test]
fn na_8_bindings_and_leases_of_ipv6_phones_outlive_a_restart() {
    for tcp in [false, true] {
        let toml = Toml::dual();
        let mut world = World::of(&toml);
        let phone = if tcp { world.connect(alice6()) } else { alice6() };
        world.register(&phone);
        world.dial(&phone, "sip:911@example.com");
        world.take(&psap(), "INVITE");
        // As the store keeps it.
        let row = world.rows.iter().find_map(|row| if let Row::Binding(row) = row { Some(row) } else { None });
        let text = serde_json::to_string(row.unwrap()).unwrap();
        assert!(text.contains("\"from\":\"[2001:db8:71::1]:5071\""), "{text}");
        assert_eq!(serde_json::from_str::<sosbridge::registrar::Row>(&text).unwrap(), *row.unwrap());
        world.restart(&toml);
        let view = world.node.registrations_view(0);
        assert_eq!(view.rows[0].source.to_string(), "[2001:db8:71::1]:5071");
        world.call_back(&psap(), "+14255551000");
        // Over TCP: to where its Contact says it listens, by a new connection.
        let ring = world.on_wire(&alice6(), "INVITE").remove(0);
        assert_eq!((ring.connection.is_some(), ring.listener), (tcp, if tcp { TCP6 } else { UDP6 }));
        assert!(ring.msg.header("Via").contains(" [2001:db8::1]:5060;"), "{}", ring.text);
    }
}

#[test]
fn na_8_phones_are_found_when_listeners_have_changed_their_order() {
    let first = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:5060\"\n";
    let before = Toml::dual();
    let after = Toml::one_trunk().change(first, &format!("{}{first}", first.replace("192.0.2.1", "[2001:db8::1]")));
    for phone in [alice(), alice6()] {
        // Registered, and unregistered since: only the lease knows where it was.
        for is_registered in [true, false] {
            let mut world = World::of(&before);
            world.register(&phone);
            world.dial(&phone, "sip:911@example.com");
            world.take(&psap(), "INVITE");
            if !is_registered {
                world.rows.retain(|row| !matches!(row, Row::Binding(_)));
            }
            world.restart(&after);
            world.call_back(&psap(), "+14255551000");
            let ring = world.on_wire(&phone, "INVITE").remove(0);
            assert_eq!(ring.listener.0, phone.pick(1, 0));
            assert!(ring.msg.header("Via").contains(ours(&phone)), "{}", ring.text);
        }
    }
}

#[test]
fn na_8_an_ipv4_mapped_network_is_one_of_ipv4_hosts() {
    for network in ["::ffff:203.0.113.80/128", "::ffff:203.0.113.0/120", "::ffff:203.0.113.80"] {
        let toml =
            Toml::default().change("accept_from = [\"203.0.113.80:5080\"]", &format!("accept_from = [\"{network}\"]"));
        let mut world = World::after_a_call(&toml);
        world.call_back(&psap(), "+14255551000");
        assert_eq!(world.take(&alice(), "INVITE").header("Priority"), "psap-callback", "{network}");
    }
}

#[test]
fn na_8_a_trunk_is_known_by_its_ipv6_network() {
    let mut world = World::of(&Toml::dual());
    world.register(&alice6());
    world.dial(&alice6(), "sip:911@example.com");
    world.take(&psap(), "INVITE");
    let elsewhere = Agent::new("psap", "[2001:db8:80:ffff::7]:40000");
    world.call_back(&elsewhere, "+14255551000");
    assert_eq!(world.take(&alice6(), "INVITE").header("Priority"), "psap-callback");
    let stranger = Agent::new("mallory", "[2001:db8:81::7]:5080");
    world.call_back(&stranger, "+14255551000");
    assert!([401, 403].contains(&world.take_all(&stranger, "*").pop().unwrap().msg.code()));
    let mapped = Agent::new("psap", "[::ffff:203.0.113.80]:5080");
    world.call_back(&mapped, "+14255551000");
    assert_eq!(world.take_all(&mapped, "*")[0].msg.code(), 100, "an IPv4 trunk as a socket of both families shows it");
}

/// A phone that has no address but that of its link, and writes with it which link it means (RFC 4007 §11, RFC 6874 §2).
#[test]
fn na_8_a_phone_on_the_link_writes_its_zone() {
    let phone = Agent::new("alice", "[fe80::71%2]:5071");
    for zone in ["%25eth0", "%eth0"] {
        let mut world = World::of(&Toml::dual());
        let at = format!("[fe80::71{zone}]:5071");
        // Without rport: to the port of sent-by, over the link that the request came from.
        let zoned = |request: Msg| {
            let via = request.header("Via").replace(&phone.address.to_string(), &at).replace(";rport", "");
            request.set("Via", &via).set("Contact", &format!("<sip:alice@{at}>"))
        };
        let register = zoned(register(&phone));
        let challenge = world.ask(&phone, &register);
        let answered = zoned(authorized(&register, &challenge, "alice", "MD5"));
        assert_eq!(world.ask(&phone, &answered).code(), 200, "{zone}");
        let invite = zoned(phone.invite(&format!("sip:911@[fe80::1{zone}]")));
        world.send(&phone, &invite);
        world.take(&phone, "100");
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(&phone, &invite, &psap(), &offered);
        let bye = call.trunk.request("BYE");
        assert_eq!(world.ask(&psap(), &bye).code(), 200);
        world.take(&phone, "BYE");
    }
}

#[test]
fn na_8_the_advertised_address_of_a_listener() {
    let listener = "address = \"[2001:db8::1]:5060\"\n";
    for (advertise, name) in [
        ("2001:db8::99", "[2001:db8::99]:5060"),
        ("[2001:DB8::99]", "[2001:db8::99]:5060"),
        ("[2001:db8::99]:5070", "[2001:db8::99]:5070"),
        ("sos.example.com", "sos.example.com:5060"),
    ] {
        let toml = Toml::dual()
            .call_center_at(&psap6(), "udp")
            .change(listener, &format!("{listener}advertise = \"{advertise}\"\n"));
        let mut world = World::of(&toml);
        world.register(&alice());
        world.dial(&alice(), "sip:911@example.com");
        let offered = world.take(&psap6(), "INVITE");
        assert!(offered.header("Via").starts_with(&format!("SIP/2.0/UDP {name};")), "{offered}");
        assert_eq!(offered.contact(), format!("sip:+14255551000@{name}"));
        let address = if advertise.contains("99") { "2001:db8::99" } else { "2001:db8::1" };
        assert!(offered.body.contains(&format!(" IN IP6 {address}\r\n")), "{offered}");
    }
}

#[test]
fn na_8_a_domain_that_is_an_ipv6_address() {
    let user =
        "[[users]]\naor = \"sip:dora@[2001:db8:0::d]\"\npassword = \"x\"\nresource = \"contoso\"\ncountry = \"US\"\n";
    let domains = "domains = [\"example.com\", \"[2001:DB8::000d]\"]";
    let mut world = World::of(&Toml::dual().change("domains = [\"example.com\"]", domains).add(user));
    let phone = Agent::new("dora", "[2001:db8:71::d]:5060");
    let aor = "<sip:dora@[2001:db8::d]>";
    let request = phone.request("REGISTER", "sip:[2001:db8::d]").set("From", &format!("{aor};tag=r")).set("To", aor);
    let challenge = world.ask(&phone, &request);
    let answer = world.ask(&phone, &authorized_with(&request, &challenge, "dora", "x", "MD5"));
    assert_eq!(answer.code(), 200, "{answer}");
    let dial = phone.invite("sip:911@[2001:db8::d]").set("From", &format!("{aor};tag=i"));
    world.send(&phone, &dial);
    world.take(&psap(), "INVITE");
}

#[test]
fn na_8_a_target_that_no_listener_leads_to_is_passed_over() {
    let toml = Toml::default().change("sip:203.0.113.80:5080", "sip:[2001:db8:80::80]:5080");
    let mut world = World::of(&toml);
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    assert_eq!(world.clock(), 0);
    world.take(&backup(), "INVITE");
}

#[test]
fn na_8_a_phone_changes_its_family() {
    let mut world = World::of(&Toml::dual());
    let registers = |world: &mut World, phone: &Agent| {
        let contact = format!("{};+sip.instance=\"<urn:uuid:1>\";reg-id=1", phone.contact());
        world.register_as(phone, &register(phone).set("Contact", &contact).with("Supported", "outbound"));
    };
    registers(&mut world, &alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
    registers(&mut world, &alice6());
    world.call_back(&psap(), "+14255551000");
    let ring = world.on_wire(&alice6(), "INVITE").remove(0);
    assert_eq!((ring.listener, ring.msg.uri()), (UDP6, "sip:alice@[2001:db8:71::1]:5071"));
    world.none(&alice(), "INVITE");
}

#[test]
fn na_8_the_test_line_answers_in_the_family_of_the_phone() {
    for phone in [alice(), alice6()] {
        let mut world = World::of(&Toml::dual());
        world.register(&phone);
        world.dial(&phone, "sip:933@example.com");
        let answer = world.take(&phone, "200 INVITE");
        has_origin(&answer.body, &phone);
        // Where it speaks, in the family of the media that it was offered.
        let spoken = format!("IN IP4 {}", crate::world::RELAY);
        let place = if crate::world::relays() { spoken } else { origin(&phone).trim_start().to_owned() };
        assert!(answer.body.contains(&format!("c={place}")), "{answer}");
    }
}

#[test]
fn na_8_an_outsider_is_one_in_either_family() {
    let mut world = World::of(&Toml::dual());
    for stranger in [outsider(), Agent::new("mallory", "[2001:db8:66::1]:5060")] {
        assert_eq!(world.ask(&stranger, &stranger.invite("sip:+14255551000@192.0.2.1")).code(), 401);
        assert_eq!(world.ask(&stranger, &stranger.request("OPTIONS", "sip:example.com")).code(), 200);
    }
}
