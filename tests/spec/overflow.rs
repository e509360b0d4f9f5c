//! SPEC §3, "Pool exhausted", last step: the shared numbers of a resource, and the numbers of users, which ring whose they are.

use crate::lease_rules::{rings, shown};
use crate::world::{Agent, Msg, Toml, World, alice, bob, nomad, psap};

const BOUGHT: &str = "numbers = [{ number = \"+14255550100\", make_calls = true }]";

/// Users without a number of their own.
fn tourist(at: u16) -> Agent {
    Agent::new(["ann", "ben", "cid"][usize::from(at)], &format!("198.51.100.{}:5060", 120 + at))
}

/// A pool of one number, which alice has dialled with; `numbers` are what the resource bought.
fn exhausted(toml: Toml, numbers: &str) -> World {
    let tourists: String = ["ann", "ben", "cid"]
        .map(|name| format!("[[users]]\naor = \"sip:{name}@example.com\"\npassword = \"x\"\nresource = \"contoso\"\ncountry = \"US\"\n"))
        .concat();
    let toml = toml.change("+14255551000-+14255551009", "+14255551000").change(BOUGHT, numbers).add(&tourists);
    let mut world = World::of(&toml);
    for agent in [alice(), bob(), nomad()] {
        world.register(&agent);
    }
    assert_eq!(dials(&mut world, &alice()), "+14255551000");
    world
}

fn dials(world: &mut World, agent: &Agent) -> String {
    let invite = agent.invite("sip:911@example.com").with("X-Country-Code", "US");
    if ["ann", "ben", "cid"].contains(&agent.name) {
        let challenge = world.ask(agent, &invite);
        return shown(world, agent, &crate::world::authorized_with(&invite, &challenge, agent.name, "x", "MD5"));
    }
    shown(world, agent, &invite)
}

/// The number that the resource bought is bob's.
fn of_bob() -> Toml {
    Toml::default().change("+14255550124", "+14255550100")
}

/// Ends what rings `callee`.
fn refuses(world: &mut World, callee: &Agent) -> Msg {
    let ring = world.take(callee, "INVITE");
    world.send(callee, &callee.reply(&ring, 180));
    world.send(callee, &callee.reply(&ring, 486));
    world.run(1_000);
    ring
}

/// Rules 3.7b, 3.7c, 3.7f.
#[test]
fn a_number_of_nobody_is_shared_before_one_of_a_user() {
    let two = "numbers = [{ number = \"+14255550100\", make_calls = true }, { number = \"+14255550150\", make_calls = true }]";
    let mut world = exhausted(of_bob(), two);
    assert_eq!(dials(&mut world, &nomad()), "+14255550150");
    assert_eq!(dials(&mut world, &tourist(0)), "+14255550150");
    assert_eq!(dials(&mut world, &bob()), "+14255550100", "his own");
    rings(&mut world, "+14255550100", &bob(), &[nomad(), tourist(0)]);
    assert!(!world.record().shared);
}

/// Rules 3.7d, 3.7f, 6.1a.
#[test]
fn an_ordinary_call_rings_whose_number_it_is_though_it_had_to_be_lent() {
    let mut world = exhausted(of_bob(), BOUGHT);
    assert_eq!(dials(&mut world, &nomad()), "+14255550100", "never refused");
    assert!(world.record().shared);
    // What says that it is a callback is one (RFC 7090; RFC 7135).
    for (header, value) in [("Priority", "psap-callback"), ("Resource-Priority", "esnet.0")] {
        let callback = psap().invite("sip:+14255550100@192.0.2.1:5060").with(header, value);
        world.send(&psap(), &callback);
        world.none(&bob(), "INVITE");
        refuses(&mut world, &nomad());
        let ended = world.take(&psap(), "486");
        world.send(&psap(), &callback.ack_of(&ended));
        assert_eq!((world.record().call.kind.as_str(), world.record().shared), ("callback", true));
        world.wire.clear();
    }
    // What does not is a call for bob.
    world.call_back(&psap(), "+14255550100");
    world.none(&nomad(), "INVITE");
    assert_eq!(refuses(&mut world, &bob()).header("Priority"), "");
    assert_eq!(world.record().call.kind.as_str(), "inbound");
    world.wire.clear();
    // So is one of a colleague.
    world.dial(&alice(), "sip:+14255550100@example.com");
    world.none(&nomad(), "INVITE");
    refuses(&mut world, &bob());
    assert_eq!(world.record().call.kind.as_str(), "internal");
}

#[test]
fn whose_number_was_lent_has_it_all_the_same() {
    let mut world = exhausted(of_bob(), BOUGHT);
    assert_eq!(dials(&mut world, &nomad()), "+14255550100");
    assert_eq!(dials(&mut world, &bob()), "+14255550100");
    assert!(world.record().shared, "two have shown it");
    rings(&mut world, "+14255550100", &bob(), &[nomad()]);
}

#[test]
fn a_lease_is_not_lost_to_somebody_who_has_no_number() {
    let quiet = of_bob().change("inbound = true", "inbound = false");
    let mut world = exhausted(quiet, BOUGHT);
    assert_eq!(dials(&mut world, &bob()), "+14255550100");
    assert!(!world.record().shared);
    assert_eq!(dials(&mut world, &nomad()), "+14255550100", "never refused");
    assert!(world.record().shared, "and it is told that the number is shared");
    let lease = world.node.leases_view(0).rows.into_iter().find(|lease| lease.user == "sip:bob@example.com").unwrap();
    assert_eq!((lease.origin.as_deref(), lease.calls), (Some("own-number"), 0));
    // Bob's lease stands, and so does his callback, although his inbound calling is off.
    rings(&mut world, "+14255550100", &bob(), &[nomad()]);
}

/// Rule 3.7c.
#[test]
fn several_numbers_are_shared_the_least_recently_used_first() {
    let overflow = "overflow = [\"+14255550101\", \"+14255550102\"]";
    let mut world = exhausted(Toml::default().resource(overflow), BOUGHT);
    let given: Vec<String> = [nomad(), tourist(0), tourist(1)]
        .iter()
        .map(|agent| {
            world.run(1_000);
            dials(&mut world, agent)
        })
        .collect();
    assert_eq!(given, ["+14255550101", "+14255550102", "+14255550101"]);
    // Who has one keeps it.
    world.run(1_000);
    assert_eq!(dials(&mut world, &tourist(0)), "+14255550102");
    assert_eq!(dials(&mut world, &tourist(2)), "+14255550101");
    rings(&mut world, "+14255550102", &tourist(0), &[nomad(), tourist(1), tourist(2)]);
}

#[test]
fn a_reload_that_makes_a_shared_number_a_users_turns_its_ordinary_calls_to_that_user() {
    let shared = Toml::default().resource("overflow = \"+14255550101\"");
    let shared = shared.change("+14255551000-+14255551009", "+14255551000");
    let mut world = World::of(&shared);
    for agent in [alice(), bob(), nomad()] {
        world.register(&agent);
    }
    dials(&mut world, &alice());
    assert_eq!(dials(&mut world, &nomad()), "+14255550101");
    world.reload(&shared.change("overflow = \"+14255550101\"", "").change("+14255550124", "+14255550101"));
    world.call_back(&psap(), "+14255550101");
    world.none(&nomad(), "INVITE");
    world.take(&bob(), "INVITE");
}

#[test]
fn what_a_pbx_asserts_is_not_its_own_when_it_is_a_users_or_shared() {
    let pbx = Agent::new("desk", "198.51.100.9:5060");
    let more = "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\ntarget = \"sip:198.51.100.9\"\n";
    let numbers = "numbers = [{ number = \"+14255550100\", make_calls = true }, { number = \"+14255550150\", make_calls = true }]";
    let mut world = exhausted(of_bob().add(more), numbers);
    for asserted in ["+14255550100", "+14255550150"] {
        let invite = pbx.invite("sip:911@192.0.2.1").with("X-Country-Code", "US");
        let invite = invite.with("P-Asserted-Identity", &format!("<sip:{asserted}@pbx.internal>"));
        assert_eq!(shown(&mut world, &pbx, &invite), "+14255550150", "{asserted}");
        assert!(world.record().shared, "{asserted}");
    }
}
