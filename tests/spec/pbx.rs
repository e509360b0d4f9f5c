//! SPEC §2: a trusted PBX in place of registered phones.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, outsider, psap};

const ASSERTED: &str = "<sip:+14255550177@pbx.internal>";

/// It calls itself what it likes in From.
fn pbx() -> Agent {
    Agent::new("alice", "198.51.100.9:5060")
}

fn toml() -> Toml {
    Toml::default().resource("unknown_country = \"US\"").add(
        "[[pbxs]]\nname = \"HQ pbx\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\n\
         target = \"sip:198.51.100.9:5070\"\n",
    )
}

/// Where its callbacks go.
fn target() -> Agent {
    Agent::new("alice", "198.51.100.9:5070")
}

fn world() -> World {
    let mut world = World::of(&toml());
    world.secrets.extend(["4255550177", "198.51.100.9:"]);
    world
}

fn dial(world: &mut World, uri: &str, asserted: &str) -> Msg {
    let invite = pbx().invite(uri).with("P-Asserted-Identity", asserted);
    world.send(&pbx(), &invite);
    world.take(&pbx(), "100");
    invite
}

fn number(world: &World, user: &str) -> String {
    let leases = world.node.leases_view(0).rows;
    let lease = leases.iter().find(|lease| lease.user == user).unwrap_or_else(|| panic!("no {user} in {leases:?}"));
    lease.number.to_string()
}

/// Rules 2.3c, 2.3d.
#[test]
fn a_pbx_dials_911_and_is_called_back_with_the_identity_it_asserted() {
    let mut world = world();
    let invite = dial(&mut world, "sip:911@192.0.2.1", ASSERTED);
    let offered = world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:+14255550177@hq-pbx");
    assert!(offered.header("From").contains(&leased) && offered.header("P-Asserted-Identity").contains(&leased));
    let mut call = world.answer(&pbx(), &invite, &psap(), &offered);
    assert_eq!(world.node.calls_view(0).rows[0].user.as_deref(), Some("sip:+14255550177@hq-pbx"));
    world.hang_up(&mut call);
    assert_eq!(world.record().call.user.as_deref(), Some("sip:+14255550177@hq-pbx"));

    let cb = world.call_back(&psap(), &leased);
    let ring = world.take(&target(), "INVITE");
    assert_eq!(ring.uri(), "sip:+14255550177@198.51.100.9:5070;user=phone");
    assert_eq!(ring.header("To"), "<sip:+14255550177@198.51.100.9:5070;user=phone>");
    assert_eq!(ring.header("Priority"), "psap-callback");
    // It follows the route the PBX records.
    let edge = Agent::new("edge", "198.51.100.10:5060");
    let ok = target().reply(&ring, 200).with("Record-Route", "<sip:198.51.100.10;lr>").sdp(&target().offer());
    world.send(&target(), &ok);
    let ack = world.take(&edge, "ACK");
    assert_eq!(ack.header("Route"), "<sip:198.51.100.10;lr>");
    let ok = world.take(&psap(), "200");
    let mut trunk = Dialog::caller(psap(), &cb, &ok);
    let ack = trunk.request("ACK");
    world.send(&psap(), &ack);
    let bye = trunk.request("BYE");
    world.ask(&psap(), &bye);
    let bye = world.take(&edge, "BYE");
    world.send(&edge, &edge.reply(&bye, 200));
    world.over();
}

/// Rule 2.3c.
#[test]
fn the_identity_is_the_asserted_one_else_that_of_from_and_each_has_its_own_number() {
    let mut world = world();
    let cases = [
        (Some("\"Desk\" <sip:1001@pbx.internal;user=phone>"), "sip:1001@hq-pbx"),
        (Some("<tel:+1-425-555-0178;ext=7>"), "sip:+14255550178@hq-pbx"),
        (Some("<urn:x:y>"), "sip:alice@hq-pbx"),
        (None, "sip:alice@hq-pbx"),
    ];
    let mut numbers = std::collections::BTreeSet::new();
    for (asserted, user) in cases {
        let invite = pbx().invite("sip:911@192.0.2.1");
        let invite = match asserted {
            Some(value) => invite.with("P-Asserted-Identity", value),
            None => invite,
        };
        world.send(&pbx(), &invite);
        world.take(&psap(), "INVITE");
        numbers.insert(number(&world, user));
    }
    assert_eq!(numbers.len(), 3, "one for each identity");
    // The same caller again: the same number.
    dial(&mut world, "sip:911@192.0.2.1", "<sip:1001@pbx.internal>");
    let again = world.take(&psap(), "INVITE");
    assert!(again.header("From").contains(&number(&world, "sip:1001@hq-pbx")));
}

#[test]
fn a_pbx_that_calls_itself_alice_is_not_alice() {
    let mut world = world();
    world.register(&alice());
    dial(&mut world, "sip:911@192.0.2.1", "<sip:alice@example.com>");
    world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:alice@hq-pbx");
    world.call_back(&psap(), &leased);
    world.take(&target(), "INVITE");
    world.none(&alice(), "INVITE");
}

#[test]
fn the_callback_route_of_a_pbx_outlives_a_restart() {
    let mut world = world();
    dial(&mut world, "sip:911@192.0.2.1", ASSERTED);
    world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:+14255550177@hq-pbx");
    let rows = world.rows.iter().filter_map(|row| match row {
        sosbridge::node::Row::Lease(row) => Some(row.clone()),
        _ => None,
    });
    let mut world = World::of_rows(&toml(), rows.collect());
    world.call_back(&psap(), &leased);
    let ring = world.take(&target(), "INVITE");
    assert_eq!(ring.uri(), "sip:+14255550177@198.51.100.9:5070;user=phone");
}

#[test]
fn a_callback_to_a_pbx_that_is_away_waits_and_tries_again() {
    let mut world = world();
    dial(&mut world, "sip:911@192.0.2.1", ASSERTED);
    world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:+14255550177@hq-pbx");
    let cb = world.call_back(&psap(), &leased);
    let first = world.take(&target(), "INVITE");
    world.run(3_000);
    world.take(&psap(), "182");
    world.run(5_000);
    let second = world.take_all(&target(), "INVITE").pop().unwrap().msg;
    assert_ne!(first.header("Call-ID"), second.header("Call-ID"));
    world.send(&target(), &target().reply(&second, 200).sdp(&target().offer()));
    let ok = world.take(&psap(), "200");
    assert_eq!(ok.header("Call-ID"), cb.header("Call-ID"));
    // A person who refuses ends it.
    let mut world = self::world();
    dial(&mut world, "sip:911@192.0.2.1", ASSERTED);
    world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:+14255550177@hq-pbx");
    world.call_back(&psap(), &leased);
    let ring = world.take(&target(), "INVITE");
    world.send(&target(), &target().reply(&ring, 180));
    world.send(&target(), &target().reply(&ring, 486));
    world.take(&psap(), "486");
}

/// Rule 2.3a.
#[test]
fn a_pbx_is_known_by_its_address_alone() {
    let mut world = world();
    // The same words from elsewhere.
    let invite = outsider().invite("sip:911@example.com").with("P-Asserted-Identity", ASSERTED);
    assert_eq!(world.ask(&outsider(), &invite).code(), 401);
    assert!(world.node.leases_view(0).rows.is_empty());
    // Any port, and TCP.
    let phone = world.connect(Agent::new("alice", "198.51.100.9:40123"));
    world.send(&phone, &phone.invite("sip:911@192.0.2.1").with("P-Asserted-Identity", ASSERTED));
    world.take(&psap(), "INVITE");
}

#[test]
fn the_rules_of_the_resource_count_for_a_pbx() {
    // No country known.
    let text = toml().change("unknown_country = \"US\"\n", "");
    let mut world = World::of(&text);
    let invite = pbx().invite("sip:911@192.0.2.1").with("P-Asserted-Identity", ASSERTED);
    let refused = world.ask(&pbx(), &invite);
    assert!(refused.code() == 403 && refused.has("Warning"), "{refused}");
    // Told with the call.
    let mut world = World::of(&text);
    world.send(&pbx(), &invite.clone().branched("z9hG4bKtold").with("X-Country-Code", "US"));
    world.take(&psap(), "INVITE");
    // A resource that may not call out.
    let mut world = World::of(&toml().change("resource = \"contoso\"\naddresses", "resource = \"mute\"\naddresses"));
    let invite = invite.branched("z9hG4bKmute").with("X-Country-Code", "US");
    assert_eq!(world.ask(&pbx(), &invite).code(), 403);
    // Its own number when all others are gone, if the resource bought it.
    let own = "+14255550100";
    let few = toml().change("+14255551000-+14255551009", "+14255551000");
    let mut world = World::of(&few);
    for user in ["1001", "1002", own] {
        dial(&mut world, "sip:911@192.0.2.1", &format!("<sip:{user}@pbx>"));
    }
    let offered = world.take_all(&psap(), "INVITE");
    assert_eq!(offered.len(), 3);
    assert!(offered[2].msg.header("From").contains(own), "{}", offered[2].text);
}

#[test]
fn ordinary_calls_of_a_pbx() {
    let mut world = world();
    world.register(&bob());
    dial(&mut world, "sip:bob@example.com", ASSERTED);
    let ring = world.take(&bob(), "INVITE");
    assert!(!ring.header("From").contains("@example.com"), "a PBX does not speak for our domain: {ring}");
    // Out over a trunk only where that is configured, and as itself.
    let invite = pbx().invite("sip:+12065550199@192.0.2.1").with("P-Asserted-Identity", ASSERTED);
    assert_eq!(world.ask(&pbx(), &invite).code(), 403);
    let mut world = World::of(&toml().add("[other_calls]\ntrunk = \"backup\"\n"));
    world.secrets.clear();
    let invite = invite.branched("z9hG4bKout");
    world.send(&pbx(), &invite);
    let out = world.take(&backup(), "INVITE");
    assert!(out.header("From").contains("+14255550177"), "{out}");
    // A leased number is not for a PBX to call.
    let mut world = self::world();
    dial(&mut world, "sip:911@192.0.2.1", ASSERTED);
    world.take(&psap(), "INVITE");
    let leased = number(&world, "sip:+14255550177@hq-pbx");
    assert_eq!(world.ask(&pbx(), &pbx().invite(&format!("sip:{leased}@192.0.2.1"))).code(), 403);
}
