//! SPEC §1, "Outside the supported countries": best effort, with a number of whose route it is.

use crate::lease_rules::shown;
use crate::world::{Dialog, Msg, Toml, World, alice, backup, carrier, nomad, psap};

fn best_effort() -> Toml {
    Toml::default().resource("outside_countries = \"best-effort\"")
}

fn from(country: &str, dialled: &str) -> Msg {
    let invite = nomad().invite(&format!("sip:{dialled}@example.com"));
    if country.is_empty() { invite } else { invite.with("X-Country-Code", country) }
}

/// Rules 1.6e, 3.1a.
#[test]
fn best_effort_takes_a_number_of_the_pool_of_its_route_and_records_where_the_caller_is() {
    for (country, recorded) in [("FR", "FR"), ("AU", "AU"), ("", "US")] {
        let mut world = World::of(&best_effort().resource("overflow = \"+14255550100\""));
        world.register(&nomad());
        let given = shown(&mut world, &nomad(), &from(country, "112"));
        assert_eq!(given, "+14255551000", "the pool is free: no shared number for {country:?}");
        let record = world.record();
        assert_eq!((record.call.country.as_deref(), record.shared), (Some(recorded), false));
        let told = (!country.is_empty()).then_some("header");
        assert_eq!(record.country_source.as_deref(), told, "nothing tells the country of {country:?}");
        assert!(record.note.as_deref().is_some_and(|note| note.contains("best-effort")), "{record:?}");
        let lease = world.node.leases_view(0).rows.remove(0);
        assert_eq!((lease.country.as_deref(), lease.origin), (Some(recorded), None));
        // The same device keeps it.
        assert_eq!(shown(&mut world, &nomad(), &from(country, "112")), given);
        assert_eq!(world.metric("sosbridge_rerouted_total"), 2.0);
    }
}

/// Rule 1.6e.
#[test]
fn best_effort_asks_for_a_number_that_its_route_knows() {
    let britain_first = |toml: Toml| {
        toml.change(
            "countries = [\"US\", \"PR\", \"CA\"]\ntrunks = [\"psap\", \"backup\"]",
            "countries = [\"GB\"]\nnumbers = [\"112\"]\ntrunks = [\"psap\"]",
        )
    };
    // (config, dialled, asked)
    let cases = [
        (best_effort(), "112", "sip:911@203.0.113.80:5080"),
        (best_effort(), "911", "sip:911@203.0.113.80:5080"),
        (britain_first(best_effort()), "112", "sip:112@203.0.113.80:5080"),
        (britain_first(best_effort()), "999", "sip:112@203.0.113.80:5080"),
    ];
    for (toml, dialled, asked) in cases {
        let mut world = World::of(&toml);
        world.register(&nomad());
        world.send(&nomad(), &from("FR", dialled));
        assert_eq!(world.take(&psap(), "INVITE").uri(), asked, "{dialled}");
    }
}

/// Rules 1.6e, 7.1e.
#[test]
fn best_effort_sends_no_test_to_a_call_center_and_no_emergency_to_a_line_for_tests() {
    // A route of tests comes first.
    let tests = "[[routes]]\ncountries = [\"US\"]\nnumbers = [\"933\"]\ntrunks = [\"backup\"]\n[[routes]]\ncountries = [\"US\", \"PR\", \"CA\"]";
    for (toml, is_at_a_trunk) in [
        (best_effort(), false),
        (best_effort().change("[[routes]]\ncountries = [\"US\", \"PR\", \"CA\"]", tests), true),
    ] {
        let mut world = World::of(&toml);
        world.register(&nomad());
        world.send(&nomad(), &from("FR", "112"));
        world.take(&psap(), "INVITE");
        world.send(&nomad(), &from("FR", "933"));
        world.none(&psap(), "INVITE");
        if is_at_a_trunk {
            assert!(world.take(&backup(), "INVITE").uri().starts_with("sip:933@"));
        } else {
            world.take(&nomad(), "200 INVITE");
        }
    }
}

/// Rules 1.6a, 1.6d: whatever is known of the caller, until the resource says otherwise.
#[test]
fn nothing_leaves_for_a_trunk_without_best_effort() {
    let mut world = World::with_alice();
    world.register(&nomad());
    for (at, (agent, country)) in [(nomad(), "FR"), (nomad(), ""), (alice(), "BR")].into_iter().enumerate() {
        let invite = from(country, "112");
        let invite = if agent.name == "alice" {
            agent.invite("sip:112@example.com").with("X-Country-Code", country)
        } else {
            invite
        };
        let refused = world.ask(&agent, &invite);
        assert!(refused.code() == 403 && refused.header("Warning").starts_with("399 "), "{refused}");
        let counted = world.metric("sosbridge_calls_total{kind=\"emergency\",outcome=\"refused\"}");
        assert_eq!(counted, (at + 1) as f64);
    }
    for trunk in [psap(), carrier()] {
        world.none(&trunk, "*");
    }
    assert!(world.node.leases_view(0).rows.is_empty());
}

/// Rules 1.6e, 5.1b: who is served as if in another country is handed on as if there, on a callback too.
#[test]
fn a_caller_by_best_effort_is_transferred_like_any_other() {
    for (to, trunk, asked) in [
        ("<tel:911>", psap(), "sip:911@203.0.113.80:5080"),
        ("<urn:service:sos.police>", psap(), "sip:911@203.0.113.80:5080"),
        ("<sip:desk@203.0.113.81:5080>", backup(), "sip:desk@203.0.113.81:5080"),
    ] {
        let mut world = World::of(&best_effort());
        world.register(&nomad());
        let invite = from("FR", "112");
        world.send(&nomad(), &invite);
        let offered = world.take(&psap(), "INVITE");
        let mut call = world.answer(&nomad(), &invite, &psap(), &offered);
        let number = world.node.leases_view(0).rows[0].number.to_string();
        let refer = call.trunk.request("REFER").with("Contact", &psap().contact()).with("Refer-To", to);
        assert_eq!(world.ask(&psap(), &refer).code(), 202, "{to}");
        let handed_on = world.take(&trunk, "INVITE");
        assert_eq!(handed_on.uri(), asked);
        assert!(handed_on.header("P-Asserted-Identity").contains(&number), "{handed_on}");
        world.send(&trunk, &trunk.reply(&handed_on, 486));
        for notify in world.take_all(&psap(), "NOTIFY") {
            world.send(&psap(), &psap().reply(&notify.msg, 200));
        }
        world.wire.clear();
        world.hang_up(&mut call);

        let callback = world.call_back(&psap(), &number);
        let ring = world.take(&nomad(), "INVITE");
        let answer = nomad().reply(&ring, 200).sdp(&nomad().offer());
        world.send(&nomad(), &answer);
        let ok = world.take(&psap(), "200");
        let mut taker = Dialog::caller(psap(), &callback, &ok);
        world.send(&psap(), &taker.request("ACK"));
        let refer = taker.request("REFER").with("Contact", &psap().contact()).with("Refer-To", to);
        assert_eq!(world.ask(&psap(), &refer).code(), 202, "{to}");
        assert_eq!(world.take(&trunk, "INVITE").uri(), asked);
    }
}

/// Rules 1.6e, 5.4a.
#[test]
fn a_reload_leaves_a_call_by_best_effort_the_trunks_that_its_route_has_now() {
    let mut world = World::of(&best_effort());
    world.register(&nomad());
    world.send(&nomad(), &from("FR", "112"));
    let offered = world.take(&psap(), "INVITE");
    let moved = best_effort().change("trunks = [\"psap\", \"backup\"]", "trunks = [\"third\"]");
    let moved =
        Toml(moved.0.replace("name = \"psap\"", "name = \"first\"").replace("name = \"backup\"", "name = \"third\""));
    world.reload(&moved);
    world.send(&psap(), &psap().reply(&offered, 503));
    world.run(2_000);
    world.take(&backup(), "INVITE");
}
