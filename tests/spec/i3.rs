//! SPEC §4, last rows: trunks of the kind of NENA i3, with service URNs, priority, identifiers, and data about the provider.

use std::collections::BTreeSet;

use crate::location::referred;
use crate::world::{Agent, Msg, Toml, World, alice, backup, bob, nomad, psap};

const NUMBER: &str = "+14255551000";
const PROFILE: &str = "request_uri = \"urn\"\nresource_priority = \"esnet.1\"\nadd_nena_ids = true\nlocation = \"add\"";

fn i3() -> Toml {
    Toml::default()
        .psap(PROFILE)
        .change("name = \"backup\"", &format!("name = \"backup\"\n{PROFILE}"))
        .add("[node]\nelement = \"sos.example.net\"\n")
}

fn world(toml: &Toml) -> World {
    let mut world = World::of(toml);
    world.register(&alice());
    world
}

/// The URN of a purpose in Call-Info; there must be one.
#[track_caller]
fn id(message: &Msg, purpose: &str) -> String {
    let end = format!(">;purpose={purpose}");
    let all: Vec<_> = message.values("Call-Info").into_iter().filter_map(|value| value.strip_suffix(&end)).collect();
    assert_eq!(all.len(), 1, "{purpose} in {message}");
    all[0].trim_start_matches('<').to_owned()
}

fn ids(message: &Msg) -> (String, String) {
    (id(message, "emergency-CallId"), id(message, "emergency-IncidentId"))
}

/// Rules 4.4b, 4.4c, 4.4d.
#[test]
fn an_emergency_call_over_an_i3_trunk() {
    let mut world = world(&i3());
    let (invite, offered) = world.dialled();
    assert_eq!((offered.uri(), offered.header("To")), ("urn:service:sos", "<urn:service:sos>"));
    assert_eq!(offered.values("Route"), ["<sip:203.0.113.80:5080;lr>"]);
    assert_eq!(offered.values("Resource-Priority"), ["esnet.1"]);
    let (call, incident) = ids(&offered);
    for (urn, name) in [(&call, "callid"), (&incident, "incidentid")] {
        // NENA-STA-010.3 §2.1.6: 10 to 32 letters and digits, then the name of who gave it.
        let start = format!("urn:emergency:uid:{name}:");
        let text = urn.strip_prefix(&start).and_then(|rest| rest.strip_suffix(":sos.example.net")).expect(urn);
        assert!((10..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{urn}");
    }
    assert_ne!(call.split(':').nth(4), incident.split(':').nth(4));
    let mut up = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut up);
    let record = world.record();
    assert_eq!((record.nena_call_id.as_deref(), record.incident_id.as_deref()), (Some(&*call), Some(&*incident)));
}

/// Rule 4.4c.
#[test]
fn sub_services_stay_as_they_were_dialled() {
    for (dialled, asked) in [
        ("sip:911@example.com", "urn:service:sos"),
        ("urn:service:sos", "urn:service:sos"),
        ("urn:service:sos.police", "urn:service:sos.police"),
        ("URN:Service:SOS.Fire", "urn:service:sos.fire"),
        ("urn:service:sos.nonsense", "urn:service:sos"),
    ] {
        let mut world = world(&i3());
        world.dial(&alice(), dialled);
        let offered = world.take(&psap(), "INVITE");
        assert_eq!((offered.uri(), offered.header("To")), (asked, &*format!("<{asked}>")), "{dialled}");
    }
}

#[test]
fn the_route_names_the_target_as_it_is_configured() {
    for (uri, route) in [
        ("sip:203.0.113.80:5080", "<sip:203.0.113.80:5080;lr>"),
        ("sip:203.0.113.80:5080;transport=udp", "<sip:203.0.113.80:5080;transport=udp;lr>"),
        ("sip:911@203.0.113.80:5080;transport=udp", "<sip:203.0.113.80:5080;transport=udp;lr>"),
    ] {
        let toml = i3().change("uri = \"sip:203.0.113.80:5080\"", &format!("uri = \"{uri}\""));
        let mut world = world(&toml);
        let (invite, offered) = world.dialled();
        assert_eq!((offered.uri(), offered.values("Route")), ("urn:service:sos", vec![route]), "{uri}");
        // RFC 3261 §9.1, §17.1.1.3: what belongs to the INVITE goes the same way.
        world.send(&psap(), &psap().reply(&offered, 180));
        world.send(&alice(), &invite.cancel());
        let cancel = world.take(&psap(), "CANCEL");
        assert_eq!((cancel.uri(), cancel.values("Route")), ("urn:service:sos", vec![route]));
        world.send(&psap(), &psap().reply(&offered, 487));
        let ack = world.take(&psap(), "ACK");
        assert_eq!((ack.uri(), ack.values("Route")), ("urn:service:sos", vec![route]));
    }
    // Once there is a dialog its own route counts.
    let mut world = world(&i3());
    let (invite, offered) = world.dialled();
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.send(&alice(), &call.phone.request("INFO").body("text/plain", "x"));
    let info = world.take(&psap(), "INFO");
    assert!(!info.has("Route") && info.uri().starts_with("sip:psap@203.0.113.80"), "{info}");
    world.send(&psap(), &psap().reply(&info, 200));
    world.take(&alice(), "200 INFO");
    world.hang_up(&mut call);
}

/// Rule 4.4d.
#[test]
fn identifiers_are_of_the_call_through_targets_and_transfers() {
    let mut first = world(&i3());
    let (_, offered) = first.dialled();
    first.send(&psap(), &psap().reply(&offered, 503));
    assert_eq!(ids(&first.take(&backup(), "INVITE")), ids(&offered));

    let mut second = world(&i3());
    let (invite, offered) = second.dialled();
    let mut call = second.answer(&alice(), &invite, &psap(), &offered);
    let referral = referred(&mut second, &mut call, "<sip:desk@203.0.113.81:5080>", &backup());
    assert_eq!(ids(&referral), ids(&offered));
    assert_eq!(referral.values("Resource-Priority"), ["esnet.1"]);

    // Each call has its own.
    let mut third = world(&i3());
    third.register(&bob());
    let mut seen = BTreeSet::new();
    for agent in [alice(), bob(), alice()] {
        third.dial(&agent, "sip:911@example.com");
        let (call, incident) = ids(&third.take(&psap(), "INVITE"));
        assert!(seen.insert(call) && seen.insert(incident));
    }
}

#[test]
fn nothing_of_it_on_trunks_that_did_not_ask_or_on_ordinary_calls() {
    let is_plain = |offered: &Msg| {
        ["Resource-Priority", "Call-Info", "Route", "Geolocation"].iter().all(|name| !offered.has(name))
    };
    assert!(is_plain(&World::with_alice().dialled().1));
    let mut world = world(&i3().add("[other_calls]\ntrunk = \"psap\"\n"));
    world.secrets.clear();
    world.dial(&alice(), "sip:+12065550199@example.com");
    let offered = world.take(&psap(), "INVITE");
    assert!(is_plain(&offered), "{offered}");
}

#[test]
fn tests_have_no_priority() {
    let mut world = world(&i3().change("service = \"test-line\"", "trunks = [\"psap\"]"));
    world.dial(&alice(), "sip:933@example.com");
    let offered = world.take(&psap(), "INVITE");
    assert_eq!((offered.uri(), offered.has("Resource-Priority")), ("urn:service:test.sos", false));
    ids(&offered);
}

/// Rules 4.3e, 4.4a.
#[test]
fn what_the_phone_claims_is_not_forwarded() {
    let claims = [
        ("Resource-Priority", "esnet.4"),
        ("Call-Info", "<urn:emergency:uid:callid:aaaaaaaaaa:evil.example>;purpose=emergency-CallId"),
        ("Call-Info", "<urn:nena:uid:incidentid:aaaaaaaaaa:evil.example>;purpose=nena-IncidentId"),
        ("Call-Info", "<https://data.example.org/x>;purpose=EmergencyCallData.DeviceInfo"),
        ("Call-Info", "<https://example.org/photo>;purpose=icon"),
    ];
    let invite =
        || claims.iter().fold(alice().invite("sip:911@example.com"), |invite, (name, value)| invite.with(name, value));
    for (listed, passing) in [("[]", vec![3]), ("[\"call-info\"]", vec![3, 4])] {
        let mut world = world(&i3().psap(&format!("allow_headers = {listed}")));
        world.send(&alice(), &invite());
        let offered = world.take(&psap(), "INVITE");
        assert_eq!(offered.values("Resource-Priority"), ["esnet.1"]);
        ids(&offered);
        for (at, (_, value)) in claims.iter().enumerate().skip(1) {
            let count = offered.values("Call-Info").iter().filter(|have| *have == value).count();
            assert_eq!(count, usize::from(passing.contains(&at)), "{value} with {listed}\n{offered}");
        }
    }
}

#[test]
fn where_data_about_the_provider_is() {
    const URL: &str = "<https://provider.example.org/contoso>;purpose=EmergencyCallData.ProviderInfo";
    let mut world = world(&Toml::default().resource("provider_info = \"https://provider.example.org/contoso\""));
    let (_, offered) = world.dialled();
    assert_eq!(offered.values("Call-Info"), [URL]);
    world.send(&psap(), &psap().reply(&offered, 503));
    assert_eq!(world.take(&backup(), "INVITE").values("Call-Info"), [URL]);
}

#[test]
fn callers_behind_a_pbx_have_no_configured_address_and_all_the_rest() {
    let pbx = Agent::new("desk", "198.51.100.9:5060");
    let toml = i3().resource("unknown_country = \"US\"\nprovider_info = \"https://provider.example.org/contoso\"");
    let toml = toml.add(
        "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\ntarget = \"sip:198.51.100.9:5060\"\n",
    );
    let mut world = World::of(&toml);
    world.send(&pbx, &pbx.invite("sip:911@192.0.2.1").with("P-Asserted-Identity", "<sip:1001@pbx.internal>"));
    let offered = world.take(&psap(), "INVITE");
    ids(&offered);
    assert_eq!(offered.values("Resource-Priority"), ["esnet.1"]);
    assert_eq!(id(&offered, "EmergencyCallData.ProviderInfo"), "https://provider.example.org/contoso");
    assert!(!offered.has("Geolocation"));
}

#[test]
fn the_priority_of_a_callback_reaches_the_phone_and_no_other_does() {
    let mut world = world(&i3());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let emergency = world.record();
    let callback = |priority: &str| {
        let invite = psap().invite(&format!("sip:{NUMBER}@192.0.2.1:5060"));
        invite.with("Resource-Priority", priority).with("Require", "resource-priority")
    };
    for (sent, seen) in [
        ("esnet.0", vec!["esnet.0"]),
        ("esnet.2, ets.0", vec!["esnet.2"]),
        ("ESNET.0", vec!["ESNET.0"]),
        // A callback is taken whatever priority it asks for.
        ("ets.0", vec![]),
    ] {
        let invite = callback(sent);
        world.send(&psap(), &invite);
        let rung = world.take(&alice(), "INVITE");
        assert_eq!(rung.values("Resource-Priority"), seen, "{sent}");
        assert!(!rung.has("Require"), "{rung}");
        world.send(&alice(), &alice().reply(&rung, 180));
        world.send(&alice(), &alice().reply(&rung, 486));
        let refused = world.take(&psap(), "486");
        world.send(&psap(), &invite.ack_of(&refused));
        // Whom the PSAP calls back it knows by the incident.
        assert_eq!((world.record().incident_id, world.record().nena_call_id), (emergency.incident_id.clone(), None));
        world.run(40_000);
        world.wire.clear();
    }
    // An ordinary call of the trunk, and a user's.
    let ordinary = psap().invite("sip:+14255550124@192.0.2.1:5060").with("Resource-Priority", "esnet.0");
    world.register(&bob());
    world.send(&psap(), &ordinary);
    assert!(!world.take(&bob(), "INVITE").has("Resource-Priority"));
    world.run(2_000);
    world.send(&nomad(), &nomad().invite("sip:911@example.com").with("Resource-Priority", "esnet.0"));
    world.take(&nomad(), "401");
}

#[test]
fn the_incident_a_psap_names_is_the_one_of_the_record() {
    let mut world = world(&i3());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let incident = "urn:emergency:uid:incidentid:0123456789:psap.example.gov";
    let invite = psap().invite(&format!("sip:{NUMBER}@192.0.2.1:5060"));
    let invite = invite.with("Call-Info", &format!("<{incident}>;purpose=emergency-IncidentId"));
    world.send(&psap(), &invite);
    let rung = world.take(&alice(), "INVITE");
    assert!(!rung.has("Call-Info"));
    world.send(&alice(), &alice().reply(&rung, 180));
    world.send(&alice(), &alice().reply(&rung, 603));
    world.take(&psap(), "603");
    assert_eq!(world.record().incident_id.as_deref(), Some(incident));
}

#[test]
fn a_priority_that_must_be_understood() {
    // RFC 4412 §4.6.2; an emergency call is never refused for it.
    let mut world = world(&i3());
    world.register(&bob());
    let required = |uri: &str, value: &str| {
        alice().invite(uri).with("Require", "resource-priority").with("Resource-Priority", value)
    };
    assert_eq!(world.ask(&alice(), &required("sip:bob@example.com", "dsn.flash")).code(), 417);
    world.send(&alice(), &required("sip:bob@example.com", "esnet.1"));
    assert!(!world.take(&bob(), "INVITE").has("Resource-Priority"));
    world.send(&alice(), &required("sip:911@example.com", "dsn.flash"));
    assert_eq!(world.take(&psap(), "INVITE").values("Resource-Priority"), ["esnet.1"]);
}
