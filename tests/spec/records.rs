//! SPEC §9: what operators read of leases, calls, phones and trunks, and what is kept of a call that is over.

use serde_json::Value;
use sosbridge::shell::explain::{Question, explain_at_once};

use crate::world::{Store, Toml, World, alice, backup, checked, psap};

/// The row has these fields, and maybe others.
#[track_caller]
fn has(row: impl serde::Serialize, names: &[&str]) -> Value {
    let row = serde_json::to_value(row).unwrap();
    let missing: Vec<_> = names.iter().filter(|name| row.get(**name).is_none()).collect();
    assert!(missing.is_empty(), "no {missing:?} in {row}");
    row
}

const CALL: [&str; 10] =
    ["id", "kind", "user", "number", "country", "dialled", "trunk", "state", "started_at", "answered_at"];

/// Rule 9.4.
#[test]
fn rows_have_the_fields_of_the_interface() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let lease = has(
        world.node.leases_view(0).rows.remove(0),
        &[
            "number",
            "resource",
            "country",
            "user",
            "contact",
            "state",
            "dialled_at",
            "expires_at",
            "quarantine_until",
            "calls",
            "test",
        ],
    );
    assert_eq!((&lease["state"], &lease["user"]), (&"active".into(), &"sip:alice@example.com".into()));
    let up = has(world.node.calls_view(0).rows.remove(0), &CALL);
    assert_eq!((&up["kind"], &up["state"], &up["trunk"]), (&"emergency".into(), &"answered".into(), &"psap".into()));
    let phone = has(
        world.node.registrations_view(0).rows.remove(0),
        &["user", "contact", "transport", "source", "expires_at", "user_agent"],
    );
    assert_eq!((&phone["transport"], &phone["source"]), (&"udp".into(), &alice().address.to_string().into()));
    let trunk = has(world.node.trunks_view().remove(0), &["name", "targets"]);
    let target = has(trunk["targets"][0].clone(), &["uri", "state", "last_ok", "last_status"]);
    assert_eq!((&target["state"], &target["last_status"]), (&"up".into(), &200.into()));
    world.hang_up(&mut call);
    let record = has(world.record(), &CALL);
    has(record.clone(), &["ended_at", "outcome", "status", "attempts", "country_source", "callback_of"]);
    has(record["attempts"][0].clone(), &["trunk", "target", "status", "started_at", "ended_at"]);
    assert_eq!((&record["outcome"], &record["status"]), (&"answered".into(), &200.into()));
    let ended = record["ended_at"].as_str().unwrap();
    assert!(ended.ends_with('Z') && ended.as_bytes()[10] == b'T', "RFC 3339: {ended}");
    assert_eq!(world.node.leases_view(0).rows[0].state.as_str(), "held");
}

/// Rule 9.1b: each with its target, its status and its times, in their order.
#[test]
fn a_record_has_every_attempt() {
    let mut world = World::of(&Toml::default().psap("answer_wait = \"700ms\""));
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    world.run(700);
    world.take_all(&psap(), "INVITE");
    let offered = world.take(&backup(), "INVITE");
    world.run(250);
    world.send(&backup(), &backup().reply(&offered, 486));
    world.run(1_000);
    let again = world.take_all(&psap(), "INVITE").pop().or_else(|| world.take_all(&backup(), "INVITE").pop()).unwrap();
    let trunk = if again.to == psap().address { psap() } else { backup() };
    world.wire.clear();
    let mut call = world.answer(&alice(), &invite, &trunk, &again.msg);
    world.hang_up(&mut call);
    let attempts = world.record().attempts;
    let told: Vec<_> = attempts.iter().map(|attempt| (attempt.target.as_str(), attempt.status)).collect();
    let last = (format!("sip:{}", trunk.address), Some(200));
    assert_eq!(told[..2], [("sip:203.0.113.80:5080", Some(408)), ("sip:203.0.113.81:5080", Some(486))]);
    assert_eq!(*told.last().unwrap(), (last.0.as_str(), last.1), "{told:?}");
    let lasted = |at: usize| attempts[at].ended_at.unwrap().unix_millis() - attempts[at].started_at.unix_millis();
    assert_eq!((lasted(0), lasted(1)), (700, 250));
    assert!(attempts.windows(2).all(|two| two[0].started_at <= two[1].started_at));
}

fn explained(toml: &Toml, dialled: &str, country: Option<&str>) -> Vec<String> {
    let question = Question {
        user: "sip:alice@example.com".into(),
        dialled: dialled.into(),
        source: Some(alice().address.ip()),
        country: country.map(str::to_owned),
    };
    explain_at_once(checked(toml), &question).unwrap().notes
}

/// Rule 9.1a: every rule that `explain` names for the same call, taken or refused.
#[test]
fn a_record_has_every_decision() {
    let address = "inbound = false\nlocation = { country = \"US\", a3 = \"Redmond\" }";
    let located = Toml::default().change("inbound = false", address).psap("location = \"add\"");
    let direct = "[[resources.direct_routes]]\npattern = '^911$'\ntrunks = [\"backup\"]";
    let cases = [
        (Toml::default().resource("outside_line_prefix = \"9\""), "9112", Some("GU")),
        (Toml::default().resource("foreign_numbers = \"reject\""), "112", None),
        (Toml::default().resource("outside_countries = \"best-effort\""), "911", Some("FR")),
        (Toml::default(), "911", Some("FR")),
        (Toml::default(), "933", None),
        (Toml::default().resource(direct), "911", None),
        (located, "urn:service:sos", None),
    ];
    for (toml, dialled, country) in cases {
        let mut world = World::of(&toml);
        world.register(&alice());
        let uri = if dialled.contains(':') { dialled.to_owned() } else { format!("sip:{dialled}@example.com") };
        let mut invite = alice().invite(&uri);
        if let Some(country) = country {
            invite = invite.with("X-Country-Code", country);
        }
        world.secrets.clear();
        world.send(&alice(), &invite);
        if world.node.records_view(1).is_empty() {
            world.send(&alice(), &invite.cancel());
            world.run(40_000);
        }
        assert_eq!(world.record().decisions, explained(&toml, dialled, country), "{dialled} in {country:?}");
        assert!(world.record().decisions.len() >= 3);
    }
}

/// Rule 9.1a: what is decided while the call goes on.
#[test]
fn a_record_has_what_was_decided_later() {
    let direct = "[[resources.direct_routes]]\npattern = '^911$'\ntrunks = [\"backup\"]";
    let mut world = World::of(&Toml::default().resource(direct));
    world.secrets.clear();
    world.register(&alice());
    world.store = Store::Silent;
    let invite = world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&backup(), "INVITE");
    world.send(&backup(), &backup().reply(&offered, 503));
    world.run(200);
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.take_all(&backup(), "*");
    world.hang_up(&mut call);
    let decisions = world.record().decisions;
    let last = decisions.iter().map(String::as_str).skip_while(|words| !words.starts_with("No trunk"));
    assert_eq!(
        last.collect::<Vec<_>>(),
        [
            "No trunk of the direct route took the call: the emergency service does",
            "The temporary number is +14255551000, from pool pool-1: on disk before the call leaves",
            "The disk did not answer in time: the number is in memory only",
            "Tried in this order: psap at 203.0.113.80:5080, backup at 203.0.113.81:5080",
        ]
    );
    // And of the callback.
    let invite = world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.send(&alice(), &alice().reply(&ring, 603));
    let refused = world.take(&psap(), "603");
    world.send(&psap(), &invite.ack_of(&refused));
    let decisions = world.record().decisions;
    assert!(
        decisions.contains(&"+14255551000 is the emergency number of sip:alice@example.com: a callback".to_owned())
    );
}
