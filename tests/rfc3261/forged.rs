//! Forged sources of datagrams: no phone's binding leads to a trunk, which would take an INVITE for a call of ours to any number.

use crate::world::{Agent, Toml, World, alice, authorized, bob, register};

const PREMIUM: &str = "<sip:+19005550199@198.51.100.200:5080>";

/// A trunk in a network whose bytes the test's own watch for leaks does not look at.
fn far() -> Agent {
    Agent::new("far", "198.51.100.200:5080")
}

fn with_far() -> Toml {
    Toml::default()
        .change("sip:203.0.113.82:5080", "sip:198.51.100.200:5080")
        .change("accept_from = [\"203.0.113.82:5080\"]", "accept_from = [\"198.51.100.200:5080\"]")
}

/// Bob, with the address of another.
fn bob_at(agent: &Agent) -> Agent {
    Agent { address: agent.address, ..bob() }
}

#[test]
fn au_1_a_nonce_is_good_only_where_it_was_sent() {
    let mut world = World::of(&with_far());
    world.register(&alice());
    let asked = register(&bob()).set("Contact", PREMIUM);
    let challenge = world.ask(&bob(), &asked);
    for forged in [bob_at(&far()), bob_at(&Agent::new("elsewhere", "198.51.100.201:5060"))] {
        let answer = authorized(&asked, &challenge, "bob", "MD5").set("Call-ID", &forged.address.to_string());
        let again = world.ask(&forged, &answer);
        assert_eq!(again.code(), 401, "{again}");
        assert!(again.header("WWW-Authenticate").contains("stale=true"), "{again}");
    }
    let refused = world.ask(&alice(), &alice().invite("sip:bob@example.com"));
    assert_eq!(refused.code(), 480);
    world.none(&far(), "*");
    // From another port, as behind a NAT that has forgotten the first.
    let rebound = Agent { address: (bob().address.ip(), 40_000).into(), ..bob() };
    let answer = authorized(&register(&bob()), &challenge, "bob", "MD5").set("Call-ID", "rebound");
    let answer = world.ask(&rebound, &answer);
    assert_eq!(answer.code(), 200, "{answer}");
}

/// A phone on the host of a trunk, or behind the same NAT, can read what is sent there.
#[test]
fn no_phone_registers_where_a_trunk_is() {
    let mut world = World::of(&with_far());
    world.register(&alice());
    let asked = register(&bob()).set("Contact", PREMIUM);
    let challenge = world.ask(&bob_at(&far()), &asked);
    let refused = world.ask(&bob_at(&far()), &authorized(&asked, &challenge, "bob", "MD5"));
    assert_eq!(refused.code(), 403, "{refused}");
    let refused = world.ask(&alice(), &alice().invite("sip:bob@example.com"));
    assert_eq!(refused.code(), 480);
    world.none(&far(), "INVITE");
    // A phone beside it is one like any other.
    let beside = bob_at(&Agent::new("beside", "198.51.100.200:5060"));
    world.register(&beside);
    world.dial(&alice(), "sip:bob@example.com");
    world.take(&beside, "INVITE");
}

#[test]
fn a_stored_binding_where_a_trunk_is_now_is_not_rung() {
    for emptied in [false, true] {
        let mut world = World::new();
        world.register(&alice());
        let there = bob_at(&far());
        world.register_as(&there, &register(&there).set("Contact", PREMIUM));
        let desk = Agent::new("bob", "198.51.100.83:5060");
        if !emptied {
            world.register(&desk);
        }
        world.restart(&with_far());
        world.run(100);
        world.send(&alice(), &alice().invite("sip:bob@example.com"));
        world.none(&far(), "INVITE");
        match emptied {
            true => assert_eq!(world.take(&alice(), "480").code(), 480),
            false => assert_eq!(world.take(&desk, "INVITE").uri(), desk.contact().trim_matches(['<', '>'])),
        }
    }
}
