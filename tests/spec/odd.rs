//! SPEC §10, "never refuse an emergency call": what phones write that is not quite right, or asks for what nobody here knows.

use crate::world::{Msg, Toml, World, alice, carrier, psap};

#[track_caller]
fn goes(invite: &Msg) -> Msg {
    let mut world = World::with_alice();
    world.send(&alice(), invite);
    world.take(&psap(), "INVITE")
}

fn call(uri: &str) -> Msg {
    alice().invite(uri)
}

#[test]
fn section_10_an_extension_that_nobody_knows_refuses_no_emergency_call() {
    for (name, value) in [
        ("Require", "precondition"),
        ("Require", "geolocation-sip, foo"),
        ("Proxy-Require", "sec-agree"),
        ("Proxy-Require", "foo"),
    ] {
        for uri in ["sip:911@example.com", "urn:service:sos.police", "tel:+1911"] {
            let offered = goes(&call(uri).with(name, value));
            assert!(!offered.has(name), "{offered}");
        }
        // Any other call is refused, so that the phone can do without.
        let mut world = World::with_alice();
        let refused = world.ask(&alice(), &call("sip:bob@example.com").with(name, value));
        assert_eq!(refused.code(), 420);
        // A test shows what a call would do.
        world.send(&alice(), &call("sip:933@example.com").with(name, value));
        world.run(100);
        world.take(&alice(), "200 INVITE");
    }
}

#[test]
fn section_10_a_call_that_has_come_a_long_way_has_arrived() {
    goes(&call("sip:911@example.com").set("Max-Forwards", "0"));
    let mut world = World::with_alice();
    assert_eq!(world.ask(&alice(), &call("sip:bob@example.com").set("Max-Forwards", "0")).code(), 483);
}

#[test]
fn section_1_a_number_with_what_some_phones_send_behind_it() {
    for uri in
        ["sip:911%23@example.com", "sip:911#@example.com", "sip:911%20@example.com", "tel:911#", "sip:%209%2011@x"]
    {
        goes(&call(uri));
    }
    for uri in ["sip:91#1@example.com", "sip:911##@example.com", "sip:#911@example.com", "sip:#@example.com"] {
        let mut world = World::with_alice();
        assert!(world.ask(&alice(), &call(uri)).code() >= 400, "{uri}");
    }
}

#[test]
fn section_1_the_united_kingdom_is_gb_by_its_other_name() {
    let mut world = World::with_alice();
    world.send(&alice(), &call("sip:999@example.com").with("X-Country-Code", "uk"));
    world.take(&carrier(), "INVITE");
    assert_eq!(world.node.leases_view(0).rows[0].country.as_deref(), Some("GB"));
}

/// What comes of it is what the phone has meant.
#[test]
fn section_10_descriptions_that_can_be_read_are_sent_as_they_should_be() {
    let good = alice().offer();
    let place = "c=IN IP4 198.51.100.99\r\n";
    // The place of its origin line stands for the one it has left out.
    let own = good.replace(place, "").replace("IN IP4 198.51.100.7", "IN IP4 198.51.100.99");
    for bad in [
        good.replace("m=audio 6000 RTP/AVP 0 101", "m=audio  6000 RTP/AVP  0 101 "),
        good.replace("m=audio", "M=audio"),
        good.replace("\r\n", "\r"),
        own,
    ] {
        assert!(!bad.contains(place) || bad != good);
        let offered = goes(&call("sip:911@example.com").sdp(&bad));
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&offered.body), lines(&good), "{bad}");
    }
    let mut world = World::of(&Toml::default());
    world.register(&alice());
    let lost = good.replace(place, "").replace("IN IP4 198.51.100.7", "");
    assert_eq!(world.ask(&alice(), &call("sip:911@example.com").sdp(&lost)).code(), 488);
}
