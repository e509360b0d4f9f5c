//! SPEC §6: phones that are offline when the call taker calls back; waking them (RFC 8599), and the desk as the last resort.

use sosbridge::node::Hook;

use crate::world::{Agent, Dialog, Msg, Posted, Toml, World, alice, bob, carrier, psap, register};

const NUMBER: &str = "+14255551000";

fn desk() -> Agent {
    Agent::new("desk", "198.51.100.99:5060")
}

fn with(lines: &str) -> Toml {
    Toml::default().change("hold = \"60s\"", &format!("hold = \"60s\"\n{lines}"))
}

fn at_the_desk() -> Toml {
    with("desk = \"sip:desk@198.51.100.99\"")
}

/// The phone registers again; true when it is rung.
fn returns(world: &mut World) -> bool {
    world.take_all(&alice(), "INVITE");
    world.register(&alice());
    !world.on_wire(&alice(), "INVITE").is_empty()
}

/// Rules 6.4a, 6.4c, 6.4d.
#[test]
fn a_phone_that_returns_after_5_20_or_50_seconds_is_rung_and_after_61_the_desk_was() {
    for seconds in [5, 20, 50] {
        let mut world = World::after_a_call(&at_the_desk());
        world.call_back(&psap(), NUMBER);
        world.run(seconds * 1000);
        world.take(&psap(), "182");
        world.none(&desk(), "INVITE");
        assert!(returns(&mut world), "after {seconds} s");
        let ring = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
        world.take(&psap(), "200 INVITE");
    }
    let mut world = World::after_a_call(&at_the_desk());
    let invite = world.call_back(&psap(), NUMBER);
    world.run(59_900);
    world.none(&desk(), "INVITE");
    world.run(1_100);
    let ring = world.take(&desk(), "INVITE");
    assert_eq!((ring.uri(), ring.header("Priority")), ("sip:desk@198.51.100.99", "psap-callback"));
    assert!(ring.header("To").contains("alice@example.com"), "the desk sees whom it is about\n{ring}");
    let answer = desk().reply(&ring, 200).sdp(&desk().offer());
    world.send(&desk(), &answer);
    let ok = world.take(&psap(), "200 INVITE");
    let mut trunk = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &trunk.request("ACK"));
    world.take_all(&alice(), "*");
    assert_eq!(world.ask(&psap(), &trunk.request("BYE")).code(), 200);
    let bye = world.take(&desk(), "BYE");
    world.send(&desk(), &desk().reply(&bye, 200));
    world.over();
    let record = world.record();
    let last = record.attempts.last().unwrap();
    assert_eq!((last.target.as_str(), last.status), ("sip:desk@198.51.100.99", Some(200)));
    assert_eq!(record.outcome.as_str(), "answered");
}

/// Rule 9.1a.
#[test]
fn the_record_tells_that_the_call_was_held_and_which_phone_came_back() {
    let mut world = World::after_a_call(&Toml::default());
    let invite = world.call_back(&psap(), NUMBER);
    world.run(5_000);
    world.take(&psap(), "182");
    assert!(returns(&mut world));
    let ring = world.take(&alice(), "INVITE");
    let mut call = world.answer(&psap(), &invite, &alice(), &ring);
    assert_eq!(world.ask(&psap(), &call.phone.request("BYE")).code(), 200);
    let steps = [
        "The call comes from trunk psap",
        "+14255551000 is the emergency number of sip:alice@example.com: a callback",
        "No phone rings: the call is held, for at most 1m",
        "sip:alice@198.51.100.71:5071 has registered: it is rung",
    ];
    assert_eq!(world.record().decisions, steps);
}

/// Rule 6.4d.
#[test]
fn the_hold_is_as_long_as_configured() {
    let toml = Toml::default().change("hold = \"60s\"", "hold = \"20s\"");
    for (seconds, is_rung) in [(19, true), (21, false)] {
        let mut world = World::after_a_call(&toml);
        world.call_back(&psap(), NUMBER);
        world.run(seconds * 1000);
        assert_eq!(world.on_wire(&psap(), "480").is_empty(), is_rung);
        assert_eq!(returns(&mut world), is_rung, "after {seconds} s");
    }
}

#[test]
fn a_long_hold_does_not_run_out_of_attempts() {
    let mut world = World::after_a_call(&Toml::default().change("hold = \"60s\"", "hold = \"600s\""));
    let listener = crate::world::UDP;
    world.call_back(&psap(), NUMBER);
    // The host of the phone says at once that nobody is there.
    for _ in 0..590 {
        world.run(1_000);
        if !world.take_all(&alice(), "INVITE").is_empty() {
            world.input(sosbridge::node::Input::Unreachable { listener, remote: alice().address });
        }
    }
    assert!(returns(&mut world));
}

#[test]
fn section_6_in_a_long_hold_the_phone_is_woken_to_the_end_and_a_desk_given_by_number_is_dialled() {
    let lines = "wake_url = \"http://127.0.0.1:1/wake\"\ndesk = \"+12065550190\"";
    let toml = with(lines).change("hold = \"60s\"", "hold = \"600s\"").add("[other_calls]\ntrunk = \"carrier\"\n");
    let mut world = World::of(&toml);
    let contact = format!("<sip:alice@198.51.100.71:5071{PUSH}>");
    world.register_as(&alice(), &register(&alice()).set("Contact", &contact));
    let mut call = world.talking();
    world.hang_up(&mut call);
    let listener = crate::world::UDP;
    let invite = world.call_back(&psap(), NUMBER);
    let (mut wakes_at, mut tries) = (Vec::new(), 0);
    for second in 0..599 {
        for post in wakes(&mut world) {
            wakes_at.push(second);
            world.answer_post(&post, Some(200));
        }
        world.run(1_000);
        tries += world.take_all(&alice(), "INVITE").len();
        world.input(sosbridge::node::Input::Unreachable { listener, remote: alice().address });
    }
    assert_eq!(wakes_at.len(), 40, "every 15 s: {wakes_at:?}");
    assert!(tries > 100, "{tries}");
    world.run(1_500);
    let offered = world.take(&carrier(), "INVITE");
    assert!(offered.uri().starts_with("sip:+12065550190@"), "{offered}");
    world.send(&carrier(), &carrier().reply(&offered, 200).sdp(&carrier().offer()));
    let ok = world.take(&psap(), "200 INVITE");
    let mut trunk = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &trunk.request("ACK"));
    assert_eq!(world.ask(&psap(), &trunk.request("BYE")).code(), 200);
    // What the record has no room for is left out, and how it ended is in it.
    let attempts = world.record().attempts;
    assert!(attempts.len() <= 65, "{}", attempts.len());
    let last = attempts.last().unwrap();
    assert_eq!((last.trunk.as_str(), last.status), ("carrier", Some(200)));
}

#[test]
fn the_desk_takes_what_a_person_refuses_and_rings_beside_a_phone_that_nobody_answers() {
    let mut world = World::after_a_call(&at_the_desk());
    world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 603));
    let ring = world.take(&desk(), "INVITE");
    world.send(&desk(), &desk().reply(&ring, 486));
    world.take(&psap(), "603");

    let mut world = World::after_a_call(&at_the_desk());
    world.call_back(&psap(), NUMBER);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.run(61_000);
    let second = world.take(&desk(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    world.take(&psap(), "200 INVITE");
    world.send(&desk(), &desk().reply(&second, 180));
    world.take(&desk(), "CANCEL");
}

#[test]
fn a_desk_that_is_not_there_ends_it() {
    let mut world = World::after_a_call(&at_the_desk());
    let invite = world.call_back(&psap(), NUMBER);
    world.run(64_000);
    assert!(!world.take_all(&desk(), "INVITE").is_empty());
    let refused = world.take(&psap(), "480");
    world.send(&psap(), &invite.ack_of(&refused));
    world.over();
    assert_eq!(world.record().outcome.as_str(), "unanswered");
}

#[test]
fn the_desk_is_a_user_or_a_number_behind_the_trunk_of_other_calls() {
    for named in ["sip:bob@example.com", "+14255550124"] {
        let mut world = World::after_a_call(&with(&format!("desk = \"{named}\"")));
        world.register(&bob());
        world.call_back(&psap(), NUMBER);
        world.run(61_000);
        let ring = world.take(&bob(), "INVITE");
        assert_eq!(ring.header("Priority"), "psap-callback", "{named}");
        world.send(&bob(), &bob().reply(&ring, 200).sdp(&bob().offer()));
        world.take(&psap(), "200 INVITE");
    }
    let outward = with("desk = \"+12065550190\"").add("[other_calls]\ntrunk = \"carrier\"\n");
    let mut world = World::after_a_call(&outward);
    let invite = world.call_back(&psap(), NUMBER);
    world.run(61_000);
    let offered = world.take(&carrier(), "INVITE");
    assert!(offered.uri().starts_with("sip:+12065550190@"), "{offered}");
    assert!(offered.header("From").contains(NUMBER), "{offered}");
    world.send(&carrier(), &carrier().reply(&offered, 200).sdp(&carrier().offer()));
    let ok = world.take(&psap(), "200 INVITE");
    world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
    assert_eq!(world.node.calls_view(0).rows[0].trunk.as_deref(), Some("carrier"));
}

const PUSH: &str = ";pn-provider=fcm;pn-param=proj;pn-prid=ZTY4%3A1";

fn waking() -> Toml {
    with("wake_url = \"http://127.0.0.1:1/wake\"")
}

/// As `after_a_call`, of a phone that has said how it is woken.
fn after_a_call_of_a_sleeper() -> World {
    let mut world = World::of(&waking());
    let contact = format!("<sip:alice@198.51.100.71:5071{PUSH}>");
    world.register_as(&alice(), &register(&alice()).set("Contact", &contact));
    let mut call = world.talking();
    world.hang_up(&mut call);
    world
}

fn wakes(world: &mut World) -> Vec<Posted> {
    world.take_posts(Hook::Wake)
}

/// Rule 6.4f.
#[test]
fn a_phone_that_sleeps_is_woken_at_once_and_again_until_it_rings() {
    let mut world = after_a_call_of_a_sleeper();
    world.call_back(&psap(), NUMBER);
    let posts = wakes(&mut world);
    assert_eq!(posts.len(), 1);
    let body = &posts[0].body;
    for (name, value) in [("event", "wake"), ("user", "sip:alice@example.com"), ("pn_provider", "fcm")] {
        assert_eq!(body[name], value, "{body}");
    }
    assert_eq!((&body["pn_param"], &body["pn_prid"]), (&"proj".into(), &"ZTY4:1".into()));
    assert_eq!(body["call"], world.node.calls_view(0).rows[0].id.as_str());
    assert!(!body.to_string().contains("1206555"), "nothing of the call taker goes to whoever pushes: {body}");
    world.answer_post(&posts[0], Some(200));
    world.run(44_000);
    let again = wakes(&mut world);
    assert_eq!(again.len(), 2, "every 15 s");
    world.answer_post(&again[0], None);
    assert!(returns(&mut world));
    let ring: Msg = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 180));
    world.run(30_000);
    assert!(wakes(&mut world).is_empty(), "it rings");
    world.send(&alice(), &alice().reply(&ring, 603));
    world.take(&psap(), "603");
    world.run(60_000);
    assert!(wakes(&mut world).is_empty());
    let record = world.record();
    let woken = record.attempts.iter().filter(|attempt| attempt.target == "wake:fcm");
    assert_eq!(woken.map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(200), None, None]);
    assert_eq!(world.metric("sosbridge_wakes_total{outcome=\"taken\"}"), 1.0);
    assert_eq!(world.metric("sosbridge_wakes_total{outcome=\"failed\"}"), 1.0);
}

/// Rule 6.4f.
#[test]
fn how_it_is_woken_outlives_its_registration_and_a_restart() {
    let mut world = after_a_call_of_a_sleeper();
    world.run(3_601_000);
    assert!(world.node.registrations_view(0).rows.is_empty());
    world.restart(&waking());
    world.call_back(&psap(), NUMBER);
    assert_eq!(wakes(&mut world)[0].body["pn_prid"], "ZTY4:1");
}

#[test]
fn who_gave_no_parameters_is_not_woken_and_nothing_is_without_a_webhook() {
    let mut world = World::after_a_call(&waking());
    world.call_back(&psap(), NUMBER);
    world.run(30_000);
    assert!(wakes(&mut world).is_empty());
    let mut world = World::of(&Toml::default());
    let contact = format!("<sip:alice@198.51.100.71:5071{PUSH}>");
    world.register_as(&alice(), &register(&alice()).set("Contact", &contact));
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.call_back(&psap(), NUMBER);
    assert!(world.posts.is_empty());
}
