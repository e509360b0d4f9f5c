//! A browser that is told of more than one session of rtpengine.

use crate::world::{World, alice, backup, description, psap};

/// How rtpengine was to tell of its certificate, offer and answer alike.
fn hashes(world: &World) -> Vec<String> {
    let texts = world.asked_ng.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
    let hash = |text: String| text.split("16:DTLS-fingerprint7:").nth(1).map(|rest| rest[..7].to_owned());
    texts.filter_map(hash).collect()
}

/// RFC 8122 §5: browsers begin DTLS anew for another fingerprint, and for nothing else.
#[test]
fn another_session_has_another_fingerprint_and_keeps_it() {
    let mut world = World::with_alice();
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let web = |version: u32| description("alice", version, &["m=audio 50000 UDP/TLS/RTP/SAVPF 0", &fingerprint]);
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&web(1));
    world.send(&alice(), &invite);
    let first = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&first, 183).sdp(&psap().offer()));
    world.send(&psap(), &psap().reply(&first, 503));
    world.take(&psap(), "ACK");
    let second = world.take(&backup(), "INVITE");
    let mut call = world.answer(&alice(), &invite, &backup(), &second);
    assert_eq!(hashes(&world), ["sha-256", "sha-384"]);
    let resumed = description("backup", 2, &["m=audio 6002 RTP/AVP 0"]);
    world.send(&backup(), &call.trunk.request("INVITE").sdp(&resumed));
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&web(2)));
    world.take(&backup(), "200");
    let ack = call.trunk.request("ACK");
    world.send(&backup(), &ack);
    assert_eq!(hashes(&world), ["sha-256", "sha-384", "sha-384"]);
    world.wire.clear();
    world.hang_up(&mut call);
}
