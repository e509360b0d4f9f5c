//! SPEC §7: the test line speaks: the temporary number, digit by digit, in G.711, and hangs up.

use sosbridge::media::{Codec, News, Prompt, Voice};
use sosbridge::node::Input;

use crate::world::plane::Plane;
use crate::world::{Dialog, Msg, RELAY, Toml, World, alice, description, psap};

const NUMBER: &str = "14255551000";

/// Descriptions pass as they are: the line has ports all the same, for its media ends here.
fn world() -> World {
    let mut world = World::of(&Toml::default());
    world.bind(8);
    world.register(&alice());
    world
}

fn dial(world: &mut World, media: &[&str]) -> (Dialog, Msg) {
    let invite = alice().request("INVITE", "sip:933@example.com");
    let invite = if media.is_empty() { invite } else { invite.sdp(&description("alice", 1, media)) };
    world.send(&alice(), &invite);
    let ok = world.take(&alice(), "200 INVITE");
    (Dialog::caller(alice(), &invite, &ok), ok)
}

fn port(message: &Msg) -> u16 {
    let port = |line: &str| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok();
    message.body.lines().find_map(port).unwrap()
}

fn voice(world: &World, ok: &Msg) -> Option<Voice> {
    world.plane.at(port(ok)).voice.clone()
}

fn played(world: &mut World, ok: &Msg) {
    let pair = world.plane.at(port(ok)).ports.pair;
    world.input(Input::Media(News::Played(pair)));
}

/// Rules 7.1e, 7.1f, 7.1g.
#[test]
fn says_the_number_twice_and_hangs_up() {
    let mut world = world();
    let (mut phone, ok) = dial(&mut world, &["m=audio 6000 RTP/AVP 0 8", "a=rtcp-mux"]);
    assert_eq!(ok.header("X-Emergency-Number"), format!("+{NUMBER}"));
    assert!(ok.body.contains(&format!("c=IN IP4 {RELAY}\r\n")), "{ok}");
    for line in ["a=rtpmap:0 PCMU/8000", "a=sendrecv", "a=rtcp-mux", "a=ptime:20"] {
        assert!(ok.body.contains(line), "{line}\n{ok}");
    }
    assert_eq!(voice(&world, &ok), None, "not before the phone has its answer");
    world.send(&alice(), &phone.request("ACK"));
    let said = voice(&world, &ok).unwrap();
    assert_eq!((said.codec, said.payload_type, said.repeats), (Codec::Pcmu, 0, false));
    assert_eq!(Plane::digits(&said), NUMBER.repeat(2));
    let order = [Prompt::Test, Prompt::Plus, Prompt::Digit(1), Prompt::Again, Prompt::Goodbye];
    let at = |prompt: &Prompt| said.prompts.iter().position(|said| said == prompt).unwrap();
    assert!(order.iter().map(at).is_sorted(), "{said:?}");
    assert_eq!(world.plane.at(port(&ok)).peer.as_ref().unwrap().rtp, Some("198.51.100.99:6000".parse().unwrap()));
    world.run(30_000);
    world.none(&alice(), "BYE");
    played(&mut world, &ok);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.none(&psap(), "*");
    world.over();
}

/// Rule 7.1f.
#[test]
fn in_the_codec_the_phone_likes_best() {
    for (media, codec, payload_type) in [
        (&["m=audio 6000 RTP/AVP 9 8 0"][..], Codec::Pcma, 8),
        (&["m=audio 6000 RTP/AVP 96 97", "a=rtpmap:96 opus/48000/2", "a=rtpmap:97 PCMU/8000"], Codec::Pcmu, 97),
    ] {
        let mut world = world();
        let (mut phone, ok) = dial(&mut world, media);
        world.send(&alice(), &phone.request("ACK"));
        let said = voice(&world, &ok).unwrap();
        assert_eq!((said.codec, said.payload_type), (codec, payload_type));
        assert!(ok.body.contains(&format!("RTP/AVP {payload_type}\r\n")), "{ok}");
    }
}

#[test]
fn a_phone_without_g711_sees_the_number_all_the_same() {
    for media in [&["m=audio 6000 RTP/AVP 9"][..], &["m=audio 6000 RTP/SAVP 0"]] {
        let mut world = world();
        let (_, ok) = dial(&mut world, media);
        assert_eq!(ok.header("X-Emergency-Number"), format!("+{NUMBER}"));
        assert!(ok.body.contains("m=audio 9 ") && ok.body.contains("a=inactive"), "{ok}");
        assert_eq!(world.node.ports_in_use(), 0);
    }
}

#[test]
fn a_delayed_offer_is_ours() {
    let mut world = world();
    let (mut phone, ok) = dial(&mut world, &[]);
    assert!(ok.body.contains("RTP/AVP 0 8\r\n"), "{ok}");
    world.send(&alice(), &phone.request("ACK").sdp(&description("alice", 1, &["m=audio 6000 RTP/AVP 8"])));
    let said = voice(&world, &ok).unwrap();
    assert_eq!((said.codec, Plane::digits(&said)), (Codec::Pcma, NUMBER.repeat(2)));
}

#[test]
fn on_hold_it_waits_and_begins_anew() {
    let mut world = world();
    let (mut phone, ok) = dial(&mut world, &["m=audio 6000 RTP/AVP 0"]);
    world.send(&alice(), &phone.request("ACK"));
    let held = phone.request("INVITE").sdp(&description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]));
    let answer = world.ask(&alice(), &held);
    assert!(answer.body.contains("a=recvonly") && port(&answer) == port(&ok), "{answer}");
    world.send(&alice(), &phone.request("ACK"));
    assert_eq!(voice(&world, &ok), None);
    let resumed = phone.request("UPDATE").sdp(&description("alice", 3, &["m=audio 6000 RTP/AVP 0"]));
    assert_eq!(world.ask(&alice(), &resumed).code(), 200);
    assert!(voice(&world, &ok).is_some());
    // Whatever the phone does, the line does not stay up for ever.
    world.run(90_000);
    world.take(&alice(), "BYE");
    assert_eq!(world.node.ports_in_use(), 0);
}

#[test]
fn a_stream_it_does_not_take_is_refused() {
    let mut world = world();
    let media = ["m=video 6002 RTP/AVP 31", "m=audio 6000 RTP/AVP 9", "m=audio 6004 RTP/AVP 0"];
    let (_, ok) = dial(&mut world, &media);
    let streams: Vec<&str> = ok.body.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(streams[..2], ["m=video 0 RTP/AVP 31", "m=audio 0 RTP/AVP 9"]);
    assert!(streams[2].starts_with("m=audio 2"), "{ok}");
}
