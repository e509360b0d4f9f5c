//! SPEC §2: who may call.

use crate::world::{Agent, Toml, World, alice, authorized, bob, outsider, psap};

fn mute() -> Agent {
    Agent::new("mute", "198.51.100.74:5074")
}

/// Rules 2.1a, 7.1a.
#[test]
fn a_resource_without_a_number_to_dial_with() {
    for dialled in ["sip:911@example.com", "sip:933@example.com", "urn:service:sos"] {
        let mut world = World::new();
        world.register(&mute());
        let refused = world.ask(&mute(), &mute().invite(dialled));
        assert_eq!(refused.code(), 403, "{dialled}");
        assert!(
            refused.header("Warning").contains("Resource mute owns no number enabled for outbound calls"),
            "{refused}"
        );
        world.silent();
        assert!(world.node.leases_view(0).rows.is_empty());
    }
}

#[test]
fn a_reload_that_gives_it_one() {
    let mut world = World::new();
    world.register(&mute());
    world.reload(&Toml::default().change("make_calls = false", "make_calls = true"));
    world.send(&mute(), &mute().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
}

/// Rules 2.2c, 3.1d.
#[test]
fn emergency_calling_is_on_for_every_user() {
    // Without inbound, without an own number, without anything but a resource that may call.
    let plain = "[[users]]\naor = \"sip:plain@example.com\"\npassword = \"no password of anybody\"\nresource = \"contoso\"\ncountry = \"US\"\n";
    let mut world = World::of(&Toml::default().add(plain));
    let phone = Agent::new("plain", "198.51.100.75:5075");
    world.register(&phone);
    world.send(&phone, &phone.invite("sip:911@example.com"));
    assert!(world.take(&psap(), "INVITE").header("From").starts_with("<sip:+14255551000@"));
}

/// Rules 2.2a, 2.2b.
#[test]
fn credentials_of_either_kind_let_an_unregistered_phone_call() {
    for algorithm in ["MD5", "SHA-256"] {
        let mut world = World::new();
        let invite = alice().invite("sip:911@example.com");
        let challenge = world.ask(&alice(), &invite);
        world.send(&alice(), &authorized(&invite, &challenge, "alice", algorithm));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn nobody_else_reaches_a_phone_or_a_trunk() {
    let mut world = World::with_alice();
    world.register(&bob());
    let targets =
        ["sip:911@example.com", "sip:bob@example.com", "sip:+14255550124@example.com", "sip:+12065550000@example.com"];
    for from in [
        "<sip:alice@example.com>;tag=x",
        "<sip:bob@example.com>;tag=x",
        "<sip:x@203.0.113.80:5080>;tag=x",
        "<sip:x@192.0.2.1>;tag=x",
    ] {
        for target in targets {
            let refused = world.ask(&outsider(), &outsider().invite(target).set("From", from));
            assert!(matches!(refused.code(), 401 | 403), "{from} to {target}: {refused}");
        }
    }
    // A trunk's address, but not its port.
    let neighbour = Agent::new("neighbour", "203.0.113.80:6000");
    let refused =
        world.ask(&neighbour, &neighbour.invite("sip:bob@example.com").set("From", "<sip:x@203.0.113.80>;tag=x"));
    assert_eq!(refused.code(), 403);
    world.none(&bob(), "*");
    world.none(&psap(), "*");
    world.over();
}

#[test]
fn an_identity_is_that_of_the_flow_not_of_the_headers() {
    // Bob writes alice into his headers: the call is his.
    let mut world = World::with_alice();
    world.register(&bob());
    let invite = bob().invite("sip:911@example.com").set("From", "<sip:alice@example.com>;tag=b");
    world.send(&bob(), &invite.with("P-Asserted-Identity", "<sip:alice@example.com>"));
    world.take(&psap(), "INVITE");
    assert_eq!(world.node.leases_view(0).rows[0].user, "sip:bob@example.com");
}
