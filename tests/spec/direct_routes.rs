//! SPEC §5, direct routing: a pattern that fits an emergency number makes it a regular call over the resource's own trunks.

use sosbridge::node::Input;

use crate::world::{Agent, Toml, World, alice, nomad, psap};

fn sbc() -> Agent {
    Agent::new("sbc", "192.0.2.90:5090")
}

fn second_sbc() -> Agent {
    Agent::new("sbc-2", "192.0.2.91:5090")
}

/// The resource of alice has two trunks of its own, for what fits `pattern`.
fn with_route(pattern: &str) -> Toml {
    let trunk = |agent: Agent| {
        let Agent { name, address, .. } = agent;
        format!(
            "[[trunks]]\nname = \"{name}\"\ntargets = [{{ uri = \"sip:{address}\" }}]\naccept_from = [\"{address}\"]\noptions_interval = \"0s\"\n"
        )
    };
    let route = format!("[[resources.direct_routes]]\npattern = '{pattern}'\ntrunks = [\"sbc\", \"sbc-2\"]");
    Toml::default().resource(&route).add(&trunk(sbc())).add(&trunk(second_sbc()))
}

fn without_purchased_number(toml: Toml) -> Toml {
    toml.change("make_calls = true", "make_calls = false")
}

/// Rule 5.2a.
#[test]
fn a_pattern_that_fits_makes_it_a_regular_call_with_the_users_own_number() {
    let mut world = World::of(&with_route("^\\+?911$"));
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&sbc(), "INVITE");
    assert!(offered.uri().starts_with("sip:911@192.0.2.90"), "{offered}");
    for name in ["From", "P-Asserted-Identity", "Contact"] {
        assert!(offered.header(name).contains("+14255550123"), "{name} of {offered}");
    }
    assert!(world.node.leases_view(0).rows.is_empty(), "no temporary number");
    let mut call = world.answer(&alice(), &invite, &sbc(), &offered);
    let row = world.node.calls_view(0).rows.remove(0);
    assert_eq!((row.kind.as_str(), row.number, row.dialled.as_str()), ("outbound", None, "911"));
    world.hang_up(&mut call);
    let record = world.record();
    assert_eq!(record.direct_route.as_deref(), Some("^\\+?911$"));
    assert_eq!(record.country_source.as_deref(), Some("user"));
}

/// Rules 5.2a, 5.2b.
#[test]
fn patterns_see_the_number_as_dialled_and_the_number_it_means() {
    // (pattern, prefix, dialled, what the trunk is asked for; nothing: it is the emergency service's)
    let cases = [
        ("^911$", "", "sip:911@example.com", Some("911")),
        ("^\\+?911$", "", "sip:+911@example.com", Some("+911")),
        ("^911$", "", "sip:+1911@example.com", Some("911")),
        ("^\\+1911$", "", "sip:+1911@example.com", Some("+1911")),
        ("^911$", "", "sip:9-1-1@example.com", Some("911")),
        ("^911$", "", "tel:911;phone-context=+1", Some("911")),
        ("^911$", "outside_line_prefix = \"9\"", "sip:9911@example.com", Some("911")),
        ("^9911$", "outside_line_prefix = \"9\"", "sip:9911@example.com", Some("9911")),
        ("^911$", "", "urn:service:sos", Some("911")),
        ("^933$", "", "sip:933@example.com", Some("933")),
        ("^112$", "", "sip:911@example.com", None),
        ("^911$", "", "sip:933@example.com", None),
        // 112 in the US is 911 there.
        ("^911$", "", "sip:112@example.com", Some("911")),
        ("^112$", "", "sip:112@example.com", Some("112")),
    ];
    for (pattern, prefix, dialled, asked) in cases {
        let mut world = World::of(
            &with_route(pattern)
                .change("# resource", "# resource\n")
                .change("name = \"contoso\"\n", &format!("name = \"contoso\"\n{prefix}\n")),
        );
        world.register(&alice());
        world.dial(&alice(), dialled);
        match asked {
            Some(number) => {
                let offered = world.take(&sbc(), "INVITE");
                assert!(offered.uri().starts_with(&format!("sip:{number}@")), "{pattern} {dialled}: {offered}");
                assert!(world.node.leases_view(0).rows.is_empty());
            }
            None => {
                world.none(&sbc(), "INVITE");
                assert_eq!(world.node.leases_view(0).rows.len(), 1, "{pattern} {dialled}");
            }
        }
    }
}

/// Rule 5.2b.
#[test]
fn no_match_falls_back_to_the_emergency_service_where_the_resource_has_a_number() {
    let mut world = World::of(&with_route("^112$"));
    world.register(&alice());
    world.dialled();
    assert_eq!(world.node.leases_view(0).rows.len(), 1);
    let mut world = World::of(&without_purchased_number(with_route("^112$")));
    world.register(&alice());
    let refused = world.ask(&alice(), &alice().invite("sip:911@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("make_calls"), "{refused}");
}

#[test]
fn a_match_needs_no_purchased_number_and_no_supported_country() {
    let nowhere = without_purchased_number(with_route("^911$"));
    let mut world = World::of(&nowhere);
    world.register(&nomad());
    world.secrets.clear();
    world.dial(&nomad(), "sip:911@example.com");
    world.take(&sbc(), "INVITE");
    let mut world = World::of(&nowhere);
    world.register(&alice());
    world.send(&alice(), &alice().invite("sip:911@example.com").with("X-Country-Code", "DE"));
    world.take(&sbc(), "INVITE");
}

/// Rule 9.1b.
#[test]
fn its_trunks_are_tried_in_order_then_the_emergency_service_takes_the_call() {
    let mut world = World::of(&with_route("^911$"));
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let first = world.take(&sbc(), "INVITE");
    world.send(&sbc(), &sbc().reply(&first, 486));
    let second = world.take(&second_sbc(), "INVITE");
    world.none(&psap(), "*");
    world.send(&second_sbc(), &second_sbc().reply(&second, 503));
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.header("From").contains("+1425555100"), "the temporary number: {offered}");
    let lease = world.node.leases_view(0).rows.remove(0);
    assert_eq!(lease.user, "sip:alice@example.com");
    assert_eq!(world.metric("sosbridge_calls_active{kind=\"outbound\"}"), 0.0);
    assert_eq!(world.metric("sosbridge_calls_active{kind=\"emergency\"}"), 1.0);
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    for agent in [sbc(), second_sbc()] {
        world.take_all(&agent, "ACK");
    }
    world.hang_up(&mut call);
    let record = world.record();
    assert_eq!(record.call.kind.as_str(), "emergency");
    let told: Vec<_> = record.attempts.iter().map(|attempt| (attempt.trunk.as_str(), attempt.status)).collect();
    assert_eq!(told, [("sbc", Some(486)), ("sbc-2", Some(503)), ("psap", Some(200))]);
    assert_eq!(world.metric("sosbridge_calls_active{kind=\"emergency\"}"), 0.0);
}

#[test]
fn a_cancel_while_the_emergency_service_takes_over_ends_the_call() {
    let mut world = World::of(&with_route("^911$"));
    world.register(&alice());
    world.store = crate::world::Store::Silent;
    let invite = world.dial(&alice(), "sip:911@example.com");
    for agent in [sbc(), second_sbc()] {
        let offered = world.take(&agent, "INVITE");
        world.send(&agent, &agent.reply(&offered, 503));
        world.take(&agent, "ACK");
    }
    assert_eq!(world.node.calls_view(0).rows[0].state.as_str(), "setup");
    assert_eq!(world.ask(&alice(), &invite.cancel()).code(), 200);
    assert_eq!(world.take(&alice(), "487").code(), 487);
    world.none(&psap(), "*");
    assert_eq!(world.node.leases_view(0).rows[0].calls, 0);
}

#[test]
fn with_nothing_behind_them_its_trunks_are_tried_while_the_caller_holds_on() {
    let mut world = World::of(&without_purchased_number(with_route("^911$")));
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let mut tries = 0;
    while world.clock() < 60_000 && world.on_wire(&alice(), "503").is_empty() {
        for agent in [sbc(), second_sbc()] {
            for offered in world.take_all(&agent, "INVITE") {
                tries += 1;
                world.send(&agent, &agent.reply(&offered.msg, 500));
            }
        }
        world.run(100);
    }
    assert!(tries > 4, "{tries}");
    assert!(world.take(&alice(), "503").has("Retry-After"));
}

#[test]
fn nothing_refuses_it_that_would_not_refuse_an_emergency_call() {
    let mut world = World::of(&with_route("^911$"));
    world.register(&alice());
    world.input(Input::Drain);
    world.dial(&alice(), "sip:911@example.com");
    world.take(&sbc(), "INVITE");
}

#[test]
fn a_reload_that_takes_its_trunks_away_leaves_the_call_to_the_emergency_service() {
    let mut world = World::of(&with_route("^911$"));
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let first = world.take(&sbc(), "INVITE");
    world.reload(&Toml::default());
    world.send(&sbc(), &sbc().reply(&first, 503));
    world.take_all(&second_sbc(), "INVITE").into_iter().for_each(|offered| {
        world.send(&second_sbc(), &second_sbc().reply(&offered.msg, 503));
    });
    world.take(&psap(), "INVITE");
}
