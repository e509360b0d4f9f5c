//! Offers of streams that the relay does not carry.

use crate::world::agent::MEDIA;
use crate::world::{Dialog, Toml, World, alice, bob, description, psap};

fn world() -> World {
    let mut world = World::of(&Toml::default().relay());
    world.register(&alice());
    world
}

#[test]
fn a_fax_is_refused_and_the_talk_goes_on() {
    for (method, media) in [
        ("INVITE", &["m=image 5000 udptl t38", "a=T38FaxVersion:0"][..]),
        ("UPDATE", &["m=audio 0 RTP/AVP 0", "m=image 5000 udptl t38"]),
    ] {
        let mut world = world();
        let mut call = world.talking();
        let held = world.plane.pairs.len();
        for from_trunk in [true, false] {
            let (party, dialog) = if from_trunk { (psap(), &mut call.trunk) } else { (alice(), &mut call.phone) };
            let offer = dialog.request(method).sdp(&description(party.name, 2, media));
            let refused = world.ask(&party, &offer);
            assert_eq!(refused.code(), 488, "{refused}");
            if method == "INVITE" {
                world.send(&party, &dialog.request("ACK").set("Via", offer.header("Via")));
            }
            let other = if from_trunk { alice() } else { psap() };
            world.none(&other, method);
            world.none(&other, "INVITE");
            assert_eq!(world.plane.pairs.len(), held);
        }
        world.hang_up(&mut call);
    }
}

#[test]
fn odd_streams_of_the_first_offer_cost_nobody_the_call() {
    for media in [
        &["m=audio 5004/2 RTP/AVP 0"][..],
        &["m=audio 6000 RTP/AVP 0", "c=IN IP6 ff15::101/3"],
        &["m=audio 6000 RTP/AVP 0", "a=rtcp:70000"],
        &["m=audio 6000 RTP/AVP 0", "a=rtcp:6001 IN IP6 2001:db8::1"],
        &["m=audio 6000 RTP/AVP 0", "a=rtcp:"],
        &["m=image 5000 udptl t38"],
        &["m=audio 0 RTP/AVP 0"],
        &["m=hologram 6000 RTP/AVP 0", "m=audio 6002 RTP/AVP 0"],
        &["m=audio 6000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"],
    ] {
        for dialled in ["911", "933"] {
            let mut world = world();
            let invite = alice().request("INVITE", &format!("sip:{dialled}@example.com"));
            let invite = invite.sdp(&description("alice", 1, media));
            world.send(&alice(), &invite);
            if dialled == "911" {
                world.take(&alice(), "100");
                let offered = world.take(&psap(), "INVITE");
                let streams = offered.body.lines().filter(|line| line.starts_with("m=")).count();
                assert_eq!(streams, media.iter().filter(|line| line.starts_with("m=")).count(), "{offered}");
                world.send(&psap(), &psap().reply(&offered, 200).sdp(&description("psap", 1, media)));
            }
            if dialled == "933" && !world.on_wire(&alice(), "488").is_empty() {
                assert!(
                    media.iter().all(|line| !line.starts_with("m=audio") || line.starts_with("m=audio 0")),
                    "{media:?}"
                );
                continue;
            }
            let ok = world.take(&alice(), "200");
            let mut phone = Dialog::caller(alice(), &invite, &ok);
            world.send(&alice(), &phone.request("ACK"));
            world.run(20_000);
            if world.node.sizes().0 > 0 {
                assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200, "{media:?}");
                for bye in world.take_all(&psap(), "BYE") {
                    world.send(&psap(), &psap().reply(&bye.msg, 200));
                }
            }
            world.over();
        }
    }
}

/// A party that answers more than was offered gives its address away by it.
#[test]
fn what_is_answered_for_a_stream_that_was_not_offered_tells_no_address() {
    for media in [&["m=image 5000 udptl t38"][..], &["m=audio 0 RTP/AVP 0"], &[]] {
        let mut world = world();
        world.register(&bob());
        for (dialled, other) in [("911", psap()), ("bob", bob())] {
            let invite = alice().request("INVITE", &format!("sip:{dialled}@example.com"));
            world.send(&alice(), &invite.sdp(&description("alice", 1, media)));
            let offered = world.take(&other, "INVITE");
            let taken = description(other.name, 1, &["m=audio 9000 RTP/AVP 0"]);
            world.send(&other, &other.reply(&offered, 200).sdp(&taken));
            let ok = world.take(&alice(), "200");
            assert!(!ok.body.contains(MEDIA) && !ok.body.contains(" 9000 "), "{media:?}\n{ok}");
            let streams = ok.body.lines().filter(|line| line.starts_with("m=")).count();
            assert_eq!(streams, media.len(), "{ok}");
        }
    }
}
