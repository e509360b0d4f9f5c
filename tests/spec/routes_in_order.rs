//! SPEC §5: routes are tried in order, and §10: no emergency call is refused while any path exists.

use crate::world::{Agent, Toml, World, alice, backup, carrier, psap};

/// Three routes for the US, and one that only serves another number.
fn toml() -> Toml {
    let base = "[[routes]]\ncountries = [\"US\", \"PR\", \"CA\"]\ntrunks = [\"psap\", \"backup\"]";
    let routes = "[[routes]]\ncountries = [\"US\"]\ntrunks = [\"psap\"]\n\
                  [[routes]]\ncountries = [\"GB\"]\ntrunks = [\"carrier\"]\n\
                  [[routes]]\ncountries = [\"US\", \"CA\"]\nnumbers = [\"911\"]\ntrunks = [\"backup\", \"psap\"]\n\
                  [[routes]]\ncountries = [\"US\"]\ntrunks = [\"last\"]";
    let last =
        "[[trunks]]\nname = \"last\"\ntargets = [{ uri = \"sip:203.0.113.84:5080\" }]\noptions_interval = \"0s\"\n";
    Toml::default().change(base, routes).add(last)
}

fn last() -> Agent {
    Agent::new("last", "203.0.113.84:5080")
}

/// Rule 5.3a: the trunks of the next route that serves the call, each once, when all of the one before it have failed.
#[test]
fn when_a_route_fails_the_next_one_that_serves_the_call_is_tried() {
    let mut world = World::of(&toml());
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let mut number = None;
    for trunk in [psap(), backup()] {
        for other in [psap(), backup(), last(), carrier()] {
            assert_eq!(world.on_wire(&other, "INVITE").len(), usize::from(other.address == trunk.address));
        }
        let offered = world.take(&trunk, "INVITE");
        let asserted = offered.header("P-Asserted-Identity").to_owned();
        assert_eq!(number.get_or_insert(asserted.clone()), &asserted, "one number for all");
        world.send(&trunk, &trunk.reply(&offered, 503));
        world.take(&trunk, "ACK");
    }
    let offered = world.take(&last(), "INVITE");
    let mut call = world.answer(&alice(), &invite, &last(), &offered);
    world.hang_up(&mut call);
    let record = world.record();
    let told: Vec<_> = record.attempts.iter().map(|attempt| attempt.trunk.as_str()).collect();
    assert_eq!(told, ["psap", "backup", "last"]);
    let words = "Behind them those of the routes after it: to trunks psap, backup, last";
    assert!(record.decisions.iter().any(|said| said == words), "{:?}", record.decisions);
}

/// Rules 5.3a, 5.4a: and after the last one the round begins anew.
#[test]
fn a_round_is_over_all_routes() {
    let mut world = World::of(&toml());
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let mut asked = Vec::new();
    for _ in 0..40 {
        for trunk in [psap(), backup(), last(), carrier()] {
            for offered in world.take_all(&trunk, "INVITE") {
                asked.push(trunk.name);
                world.send(&trunk, &trunk.reply(&offered.msg, 500));
            }
        }
        world.run(100);
    }
    assert_eq!(asked[..3], ["psap", "backup", "last"]);
    for name in ["psap", "backup", "last"] {
        assert!(asked[3..].contains(&name), "{asked:?}");
    }
    assert!(!asked.contains(&"carrier"), "it serves another country: {asked:?}");
}
