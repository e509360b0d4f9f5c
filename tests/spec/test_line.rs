//! SPEC §7: the test number.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, description, nomad, psap};

fn test_call(world: &mut World, agent: &Agent) -> (Msg, Msg) {
    let invite = world.dial(agent, "sip:933@example.com");
    let ok = world.take(agent, "200 INVITE");
    (invite, ok)
}

/// Rules 7.1b, 7.1g, 7.1h.
#[test]
fn says_the_number_and_hangs_up_after_five_seconds() {
    let mut world = World::with_alice();
    let (invite, ok) = test_call(&mut world, &alice());
    assert_eq!(ok.header("X-Emergency-Number"), "+14255551000");
    assert!(ok.body.contains("m=audio 9 RTP/AVP 0\r\n"), "{ok}");
    world.none(&psap(), "*");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    let call = world.node.calls_view(0).rows.remove(0);
    assert_eq!((call.kind.as_str(), call.state), ("test", sosbridge::admin::CallState::Answered));
    assert!(world.node.leases_view(0).rows[0].test);
    world.run(4_999);
    world.none(&alice(), "BYE");
    world.run(1);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
    let record = world.record();
    assert_eq!((record.call.kind.as_str(), record.outcome.as_str()), ("test", "answered"));
}

/// Rule 7.1b.
#[test]
fn the_number_said_is_the_one_that_is_shown() {
    let mut world = World::with_alice();
    let (invite, ok) = test_call(&mut world, &alice());
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    let said = ok.header("X-Emergency-Number").to_owned();
    let (_, offered) = world.dialled();
    assert_eq!(crate::world::uri_of(offered.header("P-Asserted-Identity")), format!("sip:{said}@192.0.2.1;user=phone"));
    assert!(!world.node.leases_view(0).rows[0].test, "an emergency call makes it real");
}

#[test]
fn the_caller_hangs_up_first() {
    let mut world = World::with_alice();
    let (invite, ok) = test_call(&mut world, &alice());
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.over();
    world.silent();
    assert_eq!(world.record().outcome.as_str(), "answered");
}

#[test]
fn answers_every_stream_of_the_offer() {
    let mut world = World::with_alice();
    let offer =
        description("alice", 1, &["m=video 6002 RTP/AVP 31", "m=audio 6000 RTP/AVP 8 0", "m=audio 6004 RTP/AVP 0"]);
    let invite = alice().request("INVITE", "sip:933@example.com").sdp(&offer);
    world.send(&alice(), &invite);
    let ok = world.take(&alice(), "200 INVITE");
    let streams: Vec<&str> = ok.body.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(streams, ["m=video 0 RTP/AVP 31", "m=audio 9 RTP/AVP 8", "m=audio 0 RTP/AVP 0"]);
}

#[test]
fn a_delayed_offer_is_answered_by_one() {
    let mut world = World::with_alice();
    let invite = alice().request("INVITE", "sip:933@example.com");
    world.send(&alice(), &invite);
    let ok = world.take(&alice(), "200 INVITE");
    assert!(ok.body.contains("m=audio"), "{ok}");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK").sdp(&alice().offer()));
    world.run(5_000);
    world.take(&alice(), "BYE");
}

/// Rules 1.1d, 7.1a.
#[test]
fn the_same_checks_as_a_real_call() {
    let mut world = World::new();
    world.register(&nomad());
    let refused = world.ask(&nomad(), &nomad().invite("sip:933@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("country"), "{refused}");
    // A test number has a meaning in its own country only.
    let refused = world.ask(&nomad(), &nomad().invite("sip:933@example.com").with("X-Country-Code", "GB"));
    assert!(matches!(refused.code(), 403 | 404), "{refused}");
}

/// Rule 7.1i.
#[test]
fn tests_cannot_exhaust_the_pool() {
    let names = ["ann", "ben", "cid", "dan", "eve", "fay", "gus", "hal", "ida", "joe", "kim", "leo"];
    let users = names.map(|name| {
        format!(
            "[[users]]\naor = \"sip:{name}@example.com\"\npassword = \"no password of anybody\"\nresource = \"contoso\"\ncountry = \"US\"\n"
        )
    });
    let mut world = World::of(&Toml::default().add(&users.concat()));
    world.register(&alice());
    let mut given = 0;
    for (at, name) in (110..).zip(names) {
        let phone = Agent::new(name, &format!("198.51.100.{at}:5071"));
        world.register(&phone);
        world.send(&phone, &phone.invite("sip:933@example.com"));
        if world.on_wire(&phone, "200 INVITE").is_empty() {
            world.take(&phone, "503");
            let record = world.record();
            let told = (record.call.kind.as_str(), record.outcome.as_str(), record.status);
            assert_eq!(told, ("test", "refused", Some(503)), "{record:?}");
        } else {
            given += 1;
        }
    }
    assert_eq!(given, 9, "a tenth of ten numbers stays");
    let (_, offered) = world.dialled();
    assert!(offered.header("P-Asserted-Identity").starts_with("<sip:+14255551009"), "{offered}");
}

/// Rule 7.1d.
#[test]
fn the_built_in_test_line_may_be_a_trunk() {
    let toml = Toml::default().change("service = \"test-line\"", "trunks = [\"psap\"]");
    let mut world = World::of(&toml);
    world.register(&alice());
    world.dial(&alice(), "sip:933@example.com");
    assert_eq!(world.take(&psap(), "INVITE").uri(), "sip:933@203.0.113.80:5080");
    assert_eq!(world.node.calls_view(0).rows[0].kind.as_str(), "test");
}
