//! SPEC §6: a held callback, and the voice that says so.

use sosbridge::media::{Codec, News, Prompt};
use sosbridge::node::Input;

use crate::world::{Dialog, Msg, RELAY, Toml, World, alice, description, nomad, psap};

fn toml() -> Toml {
    Toml::default().change("[callback]\n", "[callback]\nannouncement = true\n")
}

/// Alice has called 911 and is away; the call center calls back with these lines.
fn held(toml: &Toml, media: &[&str], lines: &[(&str, &str)]) -> (World, Msg) {
    let mut world = World::of(toml);
    world.bind(16);
    world.register(&alice());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let mut invite = psap().request("INVITE", "sip:+14255551000@192.0.2.1:5060");
    for (name, value) in lines {
        invite = invite.with(name, value);
    }
    let invite = if media.is_empty() { invite } else { invite.sdp(&description("psap", 1, media)) };
    world.send(&psap(), &invite);
    // The phone is silent.
    world.run(2_100);
    world.take_all(&alice(), "INVITE");
    (world, invite)
}

fn port(message: &Msg) -> u16 {
    let port = |line: &str| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok();
    message.body.lines().find_map(port).unwrap()
}

/// The phone comes back and answers; what it was offered, and the 200 of the call center.
fn answered(world: &mut World) -> (Msg, Msg) {
    world.register(&alice());
    let ring = world.take_all(&alice(), "INVITE").pop().unwrap().msg;
    let early = alice().reply(&ring, 183).sdp(&alice().offer());
    world.send(&alice(), &early);
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    (ring, world.take(&psap(), "200 INVITE"))
}

/// Rules 6.4a, 6.4b.
#[test]
fn the_call_taker_hears_it_until_the_phone_answers() {
    for mode in ["pass", "relay"] {
        let toml = if mode == "relay" { toml().relay() } else { toml() };
        let (mut world, invite) = held(&toml, &["m=audio 9000 RTP/AVP 8 0"], &[]);
        let shown = world.take(&psap(), "183");
        assert!(shown.body.contains(&format!("c=IN IP4 {RELAY}\r\n")), "{shown}");
        world.none(&psap(), "182");
        let said = world.plane.at(port(&shown)).voice.clone().unwrap();
        assert_eq!((said.codec, said.prompts[0], said.repeats), (Codec::Pcma, Prompt::Hold, true));
        let (ring, ok) = answered(&mut world);
        // CONFORMANCE OA-1
        assert_eq!(ok.body, shown.body);
        // The early description of the phone did not cross beside it.
        assert!(world.take_all(&psap(), "183").iter().all(|sent| sent.msg.body.is_empty()));
        assert_eq!(world.plane.at(port(&shown)).voice, None);
        let mut trunk = Dialog::caller(psap(), &invite, &ok);
        world.send(&psap(), &trunk.request("ACK"));
        // And then is told what the phone says.
        let told = world.take(&psap(), "INVITE");
        assert!(told.body.contains("a=rtpmap:101 telephone-event/8000"), "{told}");
        world.send(&psap(), &psap().reply(&told, 200).sdp(&description("psap", 2, &["m=audio 9000 RTP/AVP 0"])));
        if mode == "relay" {
            assert_eq!(port(&told), port(&shown));
            assert_eq!(world.plane.leads_to(port(&shown)), Some("198.51.100.99:6000".parse().unwrap()));
            assert_eq!(world.plane.leads_to(port(&ring)), Some("198.51.100.99:9000".parse().unwrap()));
        } else {
            assert_eq!(world.node.ports_in_use(), 0, "the line's pair is not needed any more");
        }
    }
}

#[test]
fn a_trunk_that_wants_reliable_responses_hears_it_too() {
    let (mut world, invite) = held(&toml().relay(), &["m=audio 9000 RTP/AVP 0"], &[("Require", "100rel")]);
    let shown = world.take(&psap(), "183");
    let rack = format!("{} {} INVITE", shown.header("RSeq"), invite.cseq());
    let mut trunk = Dialog::caller(psap(), &invite, &shown);
    assert_eq!(world.ask(&psap(), &trunk.request("PRACK").with("RAck", &rack)).code(), 200);
    let (_, ok) = answered(&mut world);
    assert_eq!(ok.body, "");
    assert_eq!(world.plane.leads_to(port(&shown)), Some("198.51.100.99:6000".parse().unwrap()));
}

/// Rule 6.4a.
#[test]
fn without_g711_it_is_a_182() {
    for (media, lines) in [(&["m=audio 9000 RTP/AVP 9"][..], &[][..]), (&[], &[])] {
        let (mut world, _) = held(&toml(), media, lines);
        world.take(&psap(), "182");
        world.none(&psap(), "183");
    }
    // Off by default.
    let (mut world, _) = held(&Toml::default(), &["m=audio 9000 RTP/AVP 0"], &[]);
    world.take(&psap(), "182");
}

#[test]
fn nobody_comes_and_the_pair_is_given_back() {
    let (mut world, invite) = held(&toml(), &["m=audio 9000 RTP/AVP 0"], &[]);
    assert_eq!(world.node.ports_in_use(), 1);
    world.run(60_000);
    let refused = world.take(&psap(), "480");
    world.send(&psap(), &invite.ack_of(&refused));
    assert_eq!(world.node.ports_in_use(), 0);
}

/// SPEC §1: not permitted, 403 with the reason; where it is configured the caller hears so first.
#[test]
fn a_refusal_is_said_before_it_is_told() {
    let toml = Toml::default().change("[media]\n", "[media]\nannounce_refusals = true\n");
    let dial = |bound: u16, media: &[&str]| {
        let mut world = World::of(&toml);
        world.bind(bound);
        world.register(&nomad());
        let invite = nomad().request("INVITE", "sip:911@example.com").sdp(&description("nomad", 1, media));
        world.send(&nomad(), &invite);
        (world, invite)
    };
    let (mut world, invite) = dial(8, &["m=audio 6000 RTP/AVP 0"]);
    let shown = world.take(&nomad(), "183");
    let pair = world.plane.at(port(&shown));
    let (said, id) = (pair.voice.clone().unwrap(), pair.ports.pair);
    assert_eq!((said.prompts.last(), said.repeats), (Some(&Prompt::Refused), false));
    world.run(4_000);
    world.none(&nomad(), "403");
    world.input(Input::Media(News::Played(id)));
    let refused = world.take(&nomad(), "403");
    assert!(refused.header("Warning").contains("country"), "{refused}");
    world.send(&nomad(), &invite.ack_of(&refused));
    world.over();
    assert_eq!(world.metric("sosbridge_calls_total{kind=\"emergency\",outcome=\"refused\"}"), 1.0);
    assert_eq!(world.metric("sosbridge_calls_active{kind=\"emergency\"}"), 0.0);
    // The data plane says nothing: in time all the same. The caller gives up: at once.
    for gives_up in [true, false] {
        let (mut world, invite) = dial(8, &["m=audio 6000 RTP/AVP 0"]);
        if gives_up {
            world.send(&nomad(), &invite.cancel());
            world.take(&nomad(), "487");
            assert_eq!(world.node.ports_in_use(), 0);
        } else {
            world.run(15_000);
            world.take(&nomad(), "403");
        }
        world.over();
    }
    // No port, or no G.711: the refusal is told at once.
    for (bound, media) in [(0, &["m=audio 6000 RTP/AVP 0"][..]), (8, &["m=audio 6000 RTP/AVP 9"])] {
        let (mut world, _) = dial(bound, media);
        world.take(&nomad(), "403");
        world.none(&nomad(), "183");
    }
}
