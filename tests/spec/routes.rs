//! SPEC §5: which route takes a call, and in which order its targets are tried.

use crate::world::{Agent, Msg, Toml, World, alice, backup, carrier, nomad, psap};

/// Dials, sees who is asked first, and gives up.
fn first_asked(world: &mut World, invite: &Msg, agent: &Agent, trunks: &[Agent]) -> &'static str {
    world.send(agent, invite);
    let asked = trunks.iter().find(|trunk| !world.on_wire(trunk, "INVITE").is_empty()).expect("a trunk is asked");
    let offered = world.take(asked, "INVITE");
    world.send(asked, &asked.reply(&offered, 180));
    world.send(agent, &invite.cancel());
    let cancel = world.take(asked, "CANCEL");
    world.send(asked, &asked.reply(&cancel, 200));
    world.send(asked, &asked.reply(&offered, 487));
    let refused = world.take(agent, "487");
    world.send(agent, &invite.ack_of(&refused));
    world.wire.clear();
    asked.name
}

/// Rule 5.3a: the first that fits, though others would.
#[test]
fn routes_are_tried_in_their_order() {
    let routes = "[[routes]]\ncountries = [\"US\", \"PR\", \"CA\"]\ntrunks = [\"psap\", \"backup\"]";
    let narrow = "[[routes]]\ncountries = [\"CA\"]\ntrunks = [\"backup\"]\n";
    for (first, second, asked) in [(narrow, routes, "backup"), (routes, narrow, "psap")] {
        let toml = Toml::default().change(routes, &format!("{first}\n{second}"));
        let mut world = World::of(&toml);
        world.register(&nomad());
        let invite = |country| nomad().invite("sip:911@example.com").with("X-Country-Code", country);
        assert_eq!(first_asked(&mut world, &invite("CA"), &nomad(), &[psap(), backup()]), asked);
        assert_eq!(first_asked(&mut world, &invite("US"), &nomad(), &[psap(), backup()]), "psap");
    }
}

/// Rules 5.1a, 5.1c: the carrier hears of no other country, the call center of none of theirs; not after a failure either.
#[test]
fn no_call_of_gb_or_dk_is_the_call_centers() {
    for (country, dialled) in [("GB", "999"), ("GB", "112"), ("DK", "112")] {
        let mut world = World::new();
        world.register(&nomad());
        let invite = nomad().invite(&format!("sip:{dialled}@example.com")).with("X-Country-Code", country);
        world.send(&nomad(), &invite);
        let offered = world.take(&carrier(), "INVITE");
        world.send(&carrier(), &carrier().reply(&offered, 503));
        world.run(40_000);
        for center in [psap(), backup()] {
            world.none(&center, "*");
        }
        world.take(&nomad(), "503");
    }
}

/// Targets at two places for the trunk `psap`, with these keys.
fn two_targets(first: &str, second: &str) -> (Toml, [Agent; 2]) {
    let targets = format!(
        "targets = [{{ uri = \"sip:203.0.113.83:5080\"{first} }}, {{ uri = \"sip:203.0.113.84:5080\"{second} }}]"
    );
    let toml = Toml::default().change("targets = [{ uri = \"sip:203.0.113.80:5080\" }]", &targets);
    (toml, [Agent::new("first", "203.0.113.83:5080"), Agent::new("second", "203.0.113.84:5080")])
}

fn share_of_first(toml: &Toml, targets: [Agent; 2]) -> usize {
    let mut world = World::of(toml);
    world.secrets.clear();
    world.register(&alice());
    let asked = |_| first_asked(&mut world, &alice().invite("sip:911@example.com"), &alice(), &targets) == "first";
    (0..400).map(asked).filter(|is_first| *is_first).count()
}

/// Rule 5.3c.
#[test]
fn targets_of_one_priority_share_the_calls_by_weight() {
    let (toml, targets) = two_targets(", weight = 3", ", weight = 1");
    let first = share_of_first(&toml, targets);
    assert!((260..340).contains(&first), "{first} of 400 at three to one");
    let (toml, targets) = two_targets(", weight = 100", ", weight = 0");
    let first = share_of_first(&toml, targets);
    assert!((385..=400).contains(&first), "{first} of 400: what has no weight is asked seldom");
}

/// Rules 5.3b, 5.3c.
#[test]
fn weight_says_nothing_between_priorities() {
    let (toml, targets) = two_targets(", priority = 2, weight = 1000", ", priority = 1, weight = 1");
    assert_eq!(share_of_first(&toml, targets), 0);
}

/// Rule 5.2a: its targets of one priority are asked in random order.
#[test]
fn targets_of_a_direct_route_are_asked_in_random_order() {
    let (toml, targets) = two_targets("", "");
    let route = "[[resources.direct_routes]]\npattern = '^911$'\ntrunks = [\"psap\"]";
    let first = share_of_first(&toml.clone().resource(route), targets);
    assert!((160..240).contains(&first), "{first} of 400");
    // And the other one when the first fails.
    let mut world = World::of(&toml.resource(route));
    world.secrets.clear();
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let asked = targets.iter().position(|target| !world.on_wire(target, "INVITE").is_empty()).unwrap();
    let offered = world.take(&targets[asked], "INVITE");
    assert!(world.node.leases_view(0).rows.is_empty(), "a regular call");
    world.send(&targets[asked], &targets[asked].reply(&offered, 503));
    world.take(&targets[1 - asked], "INVITE");
}

/// Rules 5.1c, 5.3a: no emergency number is refused while a route of the country leads to a trunk.
#[test]
fn a_number_without_a_route_of_its_own_goes_by_that_of_another_of_the_country() {
    let only = |numbers: &str| {
        let routes = format!("countries = [\"GB\", \"DK\"]\nnumbers = [{numbers}]\ntrunks = [\"carrier\"]");
        Toml::default()
            .change("countries = [\"GB\", \"DK\"]\ntrunks = [\"carrier\"]", &routes)
            .change("request_uri = \"urn\"\n", "")
    };
    for (routed, dialled, asked) in [("\"999\"", "112", "999"), ("\"112\"", "999", "112"), ("\"112\"", "911", "112")] {
        let mut world = World::of(&only(routed));
        world.register(&nomad());
        let invite = nomad().invite(&format!("sip:{dialled}@example.com")).with("X-Country-Code", "GB");
        world.send(&nomad(), &invite);
        let offered = world.take(&carrier(), "INVITE");
        assert_eq!(offered.uri(), format!("sip:{asked}@203.0.113.82:5080"), "{dialled}");
        assert_eq!(world.metric("sosbridge_rerouted_total"), 1.0, "an alarm");
        let record = crate::numbers::ended(&mut world, &nomad(), &invite);
        let note = record.note.as_deref().unwrap_or_default();
        assert!(note.starts_with("no route for ") && note.ends_with(&format!("in GB: it goes as {asked}")), "{note}");
        // A number with a route has none to tell.
        let own = nomad().invite(&format!("sip:{asked}@example.com")).with("X-Country-Code", "GB");
        world.wire.clear();
        world.send(&nomad(), &own);
        world.take(&carrier(), "INVITE");
        assert_eq!(crate::numbers::ended(&mut world, &nomad(), &own).note, None);
    }
    // A line for tests is no path.
    let tests = "[[countries]]\ncode = \"GB\"\ntest = [\"933\"]\n";
    let mut world = World::of(&only("\"933\"").add(tests));
    world.register(&nomad());
    let invite = nomad().invite("sip:999@example.com").with("X-Country-Code", "GB");
    assert_eq!(world.ask(&nomad(), &invite).code(), 503);
    world.none(&carrier(), "*");
}
