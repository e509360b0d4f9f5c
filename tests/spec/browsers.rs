//! SPEC §8, §9: browsers without rtpengine. Their calls go on, nobody hears anything, and the operator knows.

use sosbridge::transport::ListenerId;

use crate::world::{Agent, Dialog, Toml, World, alice, bob, description, psap};

const WSS: ListenerId = ListenerId(3);

fn offer() -> String {
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let lines = ["m=audio 50000 UDP/TLS/RTP/SAVPF 0", "a=ice-ufrag:abcd", "a=setup:actpass", &fingerprint];
    description("alice", 1, &lines)
}

fn world(toml: Toml) -> (World, Agent) {
    let mut world = World::of(&toml);
    let browser = world.connect_web(WSS, alice());
    world.register(&browser);
    (world, browser)
}

fn told(world: &World) -> f64 {
    world.metric("sosbridge_media_not_converted_total")
}

#[test]
fn a_browser_whose_media_nobody_converts_is_told_of_once() {
    let (mut world, browser) = world(Toml::secure().relay());
    let invite = browser.request("INVITE", "sip:911@example.com").sdp(&offer());
    world.send(&browser, &invite);
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(told(&world), 1.0);
    // The call goes on all the same, over the next trunk too.
    world.send(&psap(), &psap().reply(&offered, 503));
    world.take(&psap(), "ACK");
    let offered = world.take(&crate::world::backup(), "INVITE");
    let contact = offered.contact();
    let number = contact.trim_start_matches("sip:").split('@').next().unwrap();
    world.send(&crate::world::backup(), &crate::world::backup().reply(&offered, 200).sdp(&psap().offer()));
    let ok = world.take(&browser, "200");
    let mut phone = Dialog::caller(browser, &invite, &ok);
    world.send(&browser, &phone.request("ACK"));
    assert_eq!(world.ask(&browser, &phone.request("BYE")).code(), 200);
    world.run(70_000);
    assert_eq!(told(&world), 1.0);
    let note = world.record().note.unwrap_or_default();
    assert_eq!(note, "without rtpengine the media of a browser cannot be converted");
    // Who calls back does not know that it is a browser.
    world.call_back(&psap(), number);
    world.take(&browser, "INVITE");
    assert_eq!(told(&world), 2.0);
}

#[test]
fn nothing_is_told_of_phones_nor_of_browsers_with_an_rtpengine_nor_where_media_pass() {
    for toml in [Toml::secure().engine(), Toml::secure()] {
        let (mut world, browser) = world(toml);
        world.send(&browser, &browser.request("INVITE", "sip:911@example.com").sdp(&offer()));
        world.take(&psap(), "INVITE");
        assert_eq!(told(&world), 0.0);
    }
    let mut world = World::of(&Toml::secure().relay());
    world.register(&bob());
    world.dial(&bob(), "sip:911@example.com");
    world.take(&psap(), "INVITE");
    assert_eq!(told(&world), 0.0);
}

/// Rule 7.1b: without a voice, the number is in the header.
#[test]
fn a_browser_that_dials_933_is_told_of_too() {
    for (toml, tells) in [(Toml::secure().relay(), 1.0), (Toml::secure(), 0.0)] {
        let (mut world, browser) = world(toml);
        world.send(&browser, &browser.request("INVITE", "sip:933@example.com").sdp(&offer()));
        let ok = world.take(&browser, "200");
        assert_eq!(ok.header("X-Emergency-Number"), "+14255551000");
        assert_eq!(told(&world), tells);
    }
}
