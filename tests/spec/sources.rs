//! SPEC §2, §10: a source that is named for one party and is in the network of another. Who dials for help from there is served.

use crate::world::{Agent, Toml, World, alice, authorized, psap};

fn pbx() -> Agent {
    Agent::new("alice", "198.51.100.9:5060")
}

/// The trunk takes calls from a whole network, with the phones and the PBX in it.
fn wide() -> Toml {
    Toml::default()
        .change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = [\"203.0.113.80:5080\", \"198.51.100.0/24\"]")
        .resource("unknown_country = \"US\"")
        .add(
            "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\n\
             target = \"sip:198.51.100.9:5070\"\n",
        )
}

#[test]
fn section_10_a_pbx_in_the_network_of_a_trunk_dials_911() {
    // From where its callbacks go, too, as most do.
    for pbx in [pbx(), Agent::new("alice", "198.51.100.9:5070")] {
        let mut world = World::of(&wide());
        world.secrets.clear();
        world.send(&pbx, &pbx.invite("sip:911@192.0.2.1").with("P-Asserted-Identity", "<sip:+14255550177@hq>"));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn section_10_a_phone_in_the_network_of_a_trunk_dials_911() {
    let mut world = World::of(&wide());
    world.register(&alice());
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
    // Not registered, and its From hides who it is.
    for from in ["sip:alice@example.com", "sip:anonymous@anonymous.invalid"] {
        let mut world = World::of(&wide());
        let invite = alice().invite("sip:911@example.com").set("From", &format!("<{from}>;tag=x"));
        let challenge = world.ask(&alice(), &invite);
        assert_eq!(challenge.code(), 401, "{challenge}");
        world.send(&alice(), &authorized(&invite, &challenge, "alice", "MD5"));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn section_6_a_trunk_calls_back_from_there_all_the_same() {
    let mut world = World::of(&wide());
    world.register(&alice());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let agent = Agent::new("agent", "198.51.100.200:5060");
    world.call_back(&agent, "+14255551000");
    world.take(&alice(), "INVITE");
}
