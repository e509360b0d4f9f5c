//! SPEC §9, explain: what it says is what happens. The same INVITE goes to a node that serves calls, from a phone that has
//! registered there.

use proptest::prelude::*;
use proptest::sample::select;
use sosbridge::shell::explain::{Phone, Question, explain_at_once};

use crate::world::{Agent, Msg, Toml, World, checked};

/// What differs from one run to the next, and nothing else: branch, tags, Call-ID, session id.
fn without_chance(text: &str) -> String {
    let cut = |line: &str| match line {
        _ if line.starts_with("Via:") => line.split(";branch=").next().unwrap().to_owned(),
        _ if line.starts_with("From:") || line.starts_with("To:") => line.split(";tag=").next().unwrap().to_owned(),
        _ if line.starts_with("Call-Info: <urn:emergency:") => line.split("id:").next().unwrap().to_owned(),
        _ if line.starts_with("<?xml") => line.split("<timestamp>").next().unwrap().to_owned(),
        _ if line.starts_with("Geolocation:") || line.starts_with("Content-") => {
            line.split(['=', ':']).next().unwrap().to_owned()
        }
        _ if line.starts_with("--") => "--".to_owned(),
        _ if line.starts_with("Call-ID:") || line.starts_with("o=") || line.starts_with("CSeq:") => String::new(),
        _ => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Alice, with an address.
const LOCATED: &str = "inbound = false\nlocation = { country = \"US\", a3 = \"Redmond\" }";

fn config() -> impl Strategy<Value = Toml> {
    let resource = select(vec![
        "",
        "unknown_country = \"US\"",
        "unknown_country = \"DE\"",
        "outside_countries = \"best-effort\"",
        "foreign_numbers = \"reject\"",
        "outside_line_prefix = \"9\"",
        "[[resources.direct_routes]]\npattern = '^\\+?911$'\ntrunks = [\"backup\"]",
        "foreign_numbers = \"reject\"\n[[resources.direct_routes]]\npattern = '^(112|933)$'\ntrunks = [\"backup\"]",
    ]);
    let i3 = "request_uri = \"urn\"\nlocation = \"add\"\nresource_priority = \"esnet.1\"\nadd_nena_ids = true";
    let trunk = select(vec!["", "request_uri = \"urn\"", "identity = \"both\"", "identity = \"tel\"", i3]);
    let calls = select(vec!["", "[other_calls]\nusers = false\n", "[other_calls]\ntrunk = \"carrier\"\n"]);
    let gb = "countries = [\"GB\", \"DK\"]\n";
    let routed = select(vec!["", "numbers = [\"999\"]\n", "numbers = [\"112\"]\n"])
        .prop_map(move |numbers| format!("{gb}{numbers}trunks"));
    let us = "countries = [\"US\", \"PR\", \"CA\"]\nnumbers";
    let pooled = select(vec![us, us, "countries = [\"CA\"]\nnumbers"]);
    (resource, trunk, calls, routed, pooled).prop_map(move |(resource, trunk, calls, routed, pooled)| {
        let toml = Toml::default().change("inbound = false", LOCATED).resource(resource).psap(trunk).add(calls);
        toml.change(&format!("{gb}trunks"), &routed).change(us, pooled)
    })
}

fn dialled() -> impl Strategy<Value = String> {
    let known = select(vec![
        "911",
        "112",
        "999",
        "933",
        "000",
        "+911",
        "+1911",
        "+44999",
        "+45112",
        "9911",
        "9-1-1",
        "bob",
        "alice",
        "nobody",
        "urn:service:sos",
        "urn:service:sos.police",
        "urn:service:sos.no-such",
        "urn:service:test.sos",
        "urn:service:counseling",
        "tel:911",
        "tel:911;phone-context=+1",
        "tel:+14255550124",
        "sips:911@example.com",
        "sip:911;phone-context=+1@example.com;user=phone",
        "sip:bob@example.com",
        "sip:bob@elsewhere.example",
        "+14255550124",
        "+14255551000",
    ]);
    prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[0-9+]{1,15}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Rule 9.5.
    #[test]
    fn what_is_explained_is_what_is_sent(
        toml in config(),
        user in select(vec!["alice", "bob", "nomad", "mute"]),
        country in select(vec![None, Some("US"), Some("PR"), Some("GU"), Some("CA"), Some("GB"), Some("DK"), Some("DE")]),
        dialled in dialled(),
    ) {
        // Bob, called by himself, is rung where he is registered, which no explanation knows.
        prop_assume!(user != "bob" || !["bob", "sip:bob@example.com", "+14255550124", "tel:+14255550124"].contains(&&*dialled));
        let question = Question {
            user: format!("sip:{user}@example.com"),
            dialled: dialled.clone(),
            source: Some("198.51.100.71".parse().unwrap()),
            country: country.map(str::to_owned),
        };
        let config = checked(&toml);
        let explained = explain_at_once(config.clone(), &question).unwrap();
        let phone = Phone::of(&config, &question).unwrap();
        prop_assert!(!explained.notes.is_empty());

        let agent = Agent::new(user, "198.51.100.71:5060");
        prop_assert_eq!(phone.flow().remote, agent.address);
        let mut world = World::of(&toml);
        world.secrets.clear();
        world.register(&agent);
        world.send_bytes(&agent, &phone.invite());
        let invites: Vec<_> = world.wire.iter().filter(|sent| sent.msg.code() == 0 && sent.msg.method() == "INVITE").collect();
        match &explained.sent {
            Some((flow, invite)) => {
                prop_assert_eq!(invites.len(), 1, "{}", explained);
                prop_assert_eq!(invites[0].to, flow.remote);
                let said = String::from_utf8_lossy(invite.bytes());
                prop_assert_eq!(without_chance(&said), without_chance(&invites[0].text));
            }
            None => prop_assert_eq!(invites.len(), 0, "{}", explained),
        }
        let answers = world.on_wire(&agent, "*").into_iter().filter(|sent| sent.msg.code() > 100);
        let answer = answers.map(|sent| sent.msg).next_back();
        let said = explained.answer.as_ref().map(|answer| Msg::read(&String::from_utf8_lossy(answer.bytes())));
        prop_assert_eq!(said.as_ref().map(Msg::code), answer.as_ref().map(Msg::code), "{}", explained);
        let warning = |answer: &Option<Msg>| answer.as_ref().map(|answer| answer.values("Warning").join(",").to_owned());
        prop_assert_eq!(warning(&said), warning(&answer));
    }
}

/// Rule 9.5.
#[test]
fn every_rule_that_decided_is_named_in_its_order() {
    let toml = Toml::default().resource("outside_line_prefix = \"9\"");
    let question = Question {
        user: "sip:alice@example.com".into(),
        dialled: "9112".into(),
        source: None,
        country: Some("GU".into()),
    };
    let explained = explain_at_once(checked(&toml), &question).unwrap();
    assert_eq!(
        explained.notes,
        [
            "The caller is sip:alice@example.com of resource contoso",
            "Country: the header X-Country-Code of the call says GU, which is served as US",
            "9112 is an emergency number of another country, and means 911 here",
            "Resource contoso owns a number with make_calls",
            "routes[0] is the first that serves 911 in US: to trunks psap, backup",
            "The temporary number is +14255551000, from pool pool-1: on disk before the call leaves",
            "Tried in this order: psap at 203.0.113.80:5080, backup at 203.0.113.81:5080",
        ]
    );
    let (flow, invite) = explained.sent.as_ref().unwrap();
    assert_eq!(flow.remote.to_string(), "203.0.113.80:5080");
    assert!(String::from_utf8_lossy(invite.bytes()).contains("From: <sip:+14255551000@"));
    assert!(!explained.is_refused());
}

#[test]
fn what_becomes_of_the_configured_location_is_said() {
    for (trunk, country, says) in [
        ("location = \"add\"", "US", "goes along (trunk psap)"),
        ("location = \"add\"", "CA", "is not sent: it is in another country (trunk psap)"),
        ("", "US", "is not sent: the trunk takes what phones send (trunk psap)"),
    ] {
        let toml = Toml::default().change("inbound = false", LOCATED).psap(trunk);
        let country = Some(country.to_owned());
        let question = Question { user: "sip:alice@example.com".into(), dialled: "911".into(), source: None, country };
        let explained = explain_at_once(checked(&toml), &question).unwrap();
        assert_eq!(explained.notes.last().unwrap(), &format!("The configured location {says}"));
        let (_, invite) = explained.sent.as_ref().unwrap();
        assert_eq!(String::from_utf8_lossy(invite.bytes()).contains("Redmond"), says.starts_with("goes"));
    }
}

/// Rule 9.5.
#[test]
fn a_refusal_is_said_with_its_reason() {
    let question = Question { user: "sip:mute@example.com".into(), dialled: "911".into(), source: None, country: None };
    let explained = explain_at_once(checked(&Toml::default()), &question).unwrap();
    assert!(explained.is_refused());
    let answer = Msg::read(&String::from_utf8_lossy(explained.answer.as_ref().unwrap().bytes()));
    assert_eq!(answer.code(), 403);
    assert!(answer.header("Warning").contains("make_calls"), "{answer}");
}

#[test]
fn a_question_about_nobody_is_answered_so() {
    let config = checked(&Toml::default());
    for (user, dialled, source, country, says) in [
        ("alice", "911", None, None, "not an address of record"),
        ("sip:nobody@example.com", "911", None, None, "no [[users]]"),
        ("sip:alice@example.com", "9 1 1", None, None, "cannot be dialled"),
        ("sip:alice@example.com", "911", Some("2001:db8::7"), None, "no [[sip.listen]]"),
        ("sip:alice@example.com", "911", None, Some("USA"), "not a code of two letters"),
    ] {
        let question = Question {
            user: user.into(),
            dialled: dialled.into(),
            source: source.map(|source| source.parse().unwrap()),
            country: country.map(str::to_owned),
        };
        let fault = explain_at_once(config.clone(), &question).unwrap_err().to_string();
        assert!(fault.contains(says), "{fault}");
    }
}
