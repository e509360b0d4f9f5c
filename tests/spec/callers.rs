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

/// Rules 1.2j, 2.2c: who has not proven who it is dials for an outside line too.
#[test]
fn an_outside_line_is_known_before_the_caller_is() {
    let toml = || Toml::default().resource("outside_line_prefix = \"9\"");
    let dialled = |uri: &str, from: &str| outsider().invite(uri).set("From", from);
    let strange = "<sip:+12065550111@elsewhere.example>;tag=x";
    // Whoever it says it is, it may prove it.
    let mut world = World::of(&toml());
    for (uri, code) in [("sip:911@192.0.2.1", 401), ("sip:9911@192.0.2.1", 401), ("sip:8911@192.0.2.1", 403)] {
        assert_eq!(world.ask(&outsider(), &dialled(uri, strange)).code(), code, "{uri}");
    }
    // Wrong credentials do not stop it where somebody is registered, and are no way to call anybody else.
    for (prefix, uri, is_call) in [
        (true, "sip:911@example.com", true),
        (true, "sip:9911@example.com", true),
        (false, "sip:9911@example.com", false),
        (true, "sip:99112@example.com", false),
        (true, "sip:bob@example.com", false),
    ] {
        let mut world = World::of(&if prefix { toml() } else { Toml::default() });
        world.register(&alice());
        world.register(&bob());
        let invite = alice().invite(uri).set("From", "<sip:bob@example.com>;tag=x");
        let challenge = world.ask(&outsider(), &dialled(uri, "<sip:bob@example.com>;tag=y"));
        world.send(&alice(), &crate::world::authorized_with(&invite, &challenge, "bob", "wrong", "MD5"));
        assert_eq!(world.on_wire(&psap(), "INVITE").len(), usize::from(is_call), "{uri}");
        world.none(&bob(), "INVITE");
        if is_call {
            assert_eq!(world.node.leases_view(0).rows[0].user, "sip:alice@example.com");
        } else {
            world.take(&alice(), "403");
        }
    }
}

/// Rules 1.4d, 1.4i: what another phone of the user said of its country is not this one's.
#[test]
fn a_registration_tells_the_country_of_its_own_phone_only() {
    let instance = |at: u8| format!(";+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-00000000000{at}>\"");
    let [desk, mobile] = ["198.51.100.75:5075", "198.51.100.76:5076"].map(|at| Agent::new("alice", at));
    let toml = Toml::default().change("inbound = false\ncountry = \"US\"", "inbound = false\ncountry = \"DK\"");
    let contact = |agent: &Agent, at: u8| {
        format!("<sip:alice@{}>{}", agent.address, if at == 0 { String::new() } else { instance(at) })
    };
    // (phones registered with instance and country, instance of the call and where from, country it is in)
    let [moved, desk_only, both] =
        [&[(mobile, 2, "CA")][..], &[(desk, 1, "GB")], &[(desk, 1, "GB"), (mobile, 2, "CA")]];
    let nameless = &[(desk, 0, "GB"), (mobile, 0, "CA")][..];
    let elsewhere = Agent::new("alice", "198.51.100.77:5077");
    let cases = [
        (both, 1, desk, "GB"),
        (both, 2, mobile, "CA"),
        // It comes from somewhere else than it registered from.
        (both, 2, elsewhere, "CA"),
        (both, 3, elsewhere, "DK"),
        (both, 0, elsewhere, "DK"),
        (both, 0, mobile, "CA"),
        (nameless, 0, mobile, "CA"),
        (nameless, 0, elsewhere, "DK"),
        // The only one there is, unless it is surely another.
        (desk_only, 0, elsewhere, "GB"),
        (desk_only, 3, elsewhere, "DK"),
        (moved, 2, elsewhere, "CA"),
    ];
    for (phones, called, from, country) in cases {
        let mut world = World::of(&toml);
        for (agent, at, says) in phones {
            let request = crate::world::register(agent).set("Contact", &contact(agent, *at));
            world.register_as(agent, &request.with("X-Country-Code", says));
        }
        let invite = from.invite("sip:112@example.com").set("Contact", &contact(&from, called));
        world.send(&from, &invite);
        if let Some(challenge) = world.take_all(&from, "401").pop() {
            world.send(&from, &invite.ack_of(&challenge.msg));
            world.send(&from, &authorized(&invite, &challenge.msg, "alice", "MD5"));
        }
        let call = world.node.calls_view(0).rows.remove(0);
        assert_eq!(call.country.as_deref(), Some(country), "{called} from {} among {phones:?}", from.address);
    }
}
