//! rtpengine answers.

use std::net::UdpSocket;
use std::time::Duration;

use super::{commands, engine, real, sound, world, world_of};
use crate::world::{Dialog, Store, Toml, alice, backup, description, psap};

fn party() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn says(name: &str, socket: &UdpSocket, version: u32, direction: &str) -> String {
    let port = socket.local_addr().unwrap().port();
    let text = description(name, version, &[&format!("m=audio {port} RTP/AVP 0"), &format!("a={direction}")]);
    let old = text.lines().find(|line| line.starts_with("c=")).unwrap().to_owned();
    text.replace(&old, "c=IN IP4 127.0.0.1")
}

fn packet(number: u16, voice: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend([voice; 4]);
    packet.extend([voice; 160]);
    packet
}

/// Sound goes from each to where the other's description was rewritten to, and arrives.
fn talk(one: (&UdpSocket, std::net::SocketAddr), other: (&UdpSocket, std::net::SocketAddr), from: u16) {
    for number in from..from + 20 {
        one.0.send_to(&packet(number, 1), one.1).unwrap();
        other.0.send_to(&packet(number, 2), other.1).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    for (socket, voice, from) in [(one.0, 2, other.1), (other.0, 1, one.1)] {
        let mut buffer = [0; 2000];
        let (length, source) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((length, buffer[171]), (172, voice));
        assert_ne!(source, from);
    }
}

#[test]
fn sound_crosses_both_ways_is_counted_and_the_call_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let (phone, trunk) = (party(), party());
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&says("alice", &phone, 1, "sendrecv"));
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    let answer = psap().reply(&offered, 200).sdp(&says("psap", &trunk, 1, "sendrecv"));
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    let mut caller = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &caller.request("ACK"));
    let (at_phone, at_trunk) = (sound(&ok), sound(&offered));
    assert!([at_phone, at_trunk].iter().all(|place| place.ip() == engine.ng.ip()), "{ok}{offered}");
    talk((&phone, at_phone), (&trunk, at_trunk), 0);
    assert!(world.orders.is_empty(), "{:?}", world.orders);

    // The call center holds, and resumes.
    let mut center = Dialog::callee(psap(), &offered, &answer);
    for (version, direction, seen) in [(2, "sendonly", "a=sendonly"), (3, "sendrecv", "a=sendrecv")] {
        world.send(&psap(), &center.request("INVITE").sdp(&says("psap", &trunk, version, direction)));
        world.take(&psap(), "100");
        let asked = world.take(&alice(), "INVITE");
        assert!(asked.to_string().contains(seen) && sound(&asked) == at_phone, "{asked}");
        let back = if direction == "sendonly" { "recvonly" } else { "sendrecv" };
        world.send(&alice(), &alice().reply(&asked, 200).sdp(&says("alice", &phone, version, back)));
        world.take(&alice(), "ACK");
        let answered = world.take(&psap(), "200");
        assert!(answered.to_string().contains(&format!("a={back}")) && sound(&answered) == at_trunk, "{answered}");
        world.send(&psap(), &center.request("ACK"));
    }
    talk((&phone, at_phone), (&trunk, at_trunk), 100);

    world.run(6000);
    assert!(!commands(&world, "query").is_empty());
    let bye = caller.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    let media = world.record().call.media;
    assert_eq!(media.len(), 2, "{media:?}");
    assert!(media.iter().all(|stream| stream.packets >= 20), "{media:?}");
    assert_eq!(commands(&world, "delete").len(), 1);
}

#[test]
fn the_offer_is_asked_while_the_disk_writes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    world.store = Store::Silent;
    world.dial(&alice(), "sip:911@example.com");
    assert_eq!(commands(&world, "offer").len(), 1);
    world.none(&psap(), "INVITE");
    world.run(200);
    assert_eq!(sound(&world.take(&psap(), "INVITE")).ip(), engine.ng.ip());
    assert_eq!(commands(&world, "offer").len(), 1);
}

#[test]
fn each_attempt_is_a_call_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let (invite, first) = world.dialled();
    world.send(&psap(), &psap().reply(&first, 183).sdp(&psap().offer()));
    let early = world.take(&alice(), "183");
    world.send(&psap(), &psap().reply(&first, 503));
    world.take(&psap(), "ACK");
    let second = world.take(&backup(), "INVITE");
    let call = world.answer(&alice(), &invite, &backup(), &second);
    assert_ne!(sound(&first), sound(&second));
    assert_ne!(sound(&early), sound(&call.ok));
    assert_eq!((commands(&world, "offer").len(), commands(&world, "answer").len()), (2, 2));
    assert_eq!(commands(&world, "delete").len(), 1);
    let mut call = call;
    world.hang_up(&mut call);
    assert_eq!(commands(&world, "delete").len(), 2);
}

#[test]
fn an_offer_that_comes_with_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let invite = alice().request("INVITE", "sip:911@example.com");
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    let ok = world.take(&alice(), "200");
    let mut caller = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &caller.request("ACK").sdp(&alice().offer()));
    let ack = world.take(&psap(), "ACK");
    assert!([&ok, &ack].iter().all(|message| sound(message).ip() == engine.ng.ip()), "{ok}{ack}");
    assert_eq!((commands(&world, "offer").len(), commands(&world, "answer").len()), (1, 1));
}

#[test]
fn a_trunk_may_have_it_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let toml = Toml::default().psap("media = \"pass\"");
    let mut world = world_of(toml, &[engine.ng], real());
    let (_, offered) = world.dialled();
    assert_ne!(sound(&offered).ip(), engine.ng.ip());
    assert!(commands(&world, "offer").is_empty());
}

#[test]
fn a_callback_rings_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let mut call = world.talking();
    let number = call.trunk.target_user();
    world.hang_up(&mut call);
    world.call_back(&psap(), &number);
    world.take(&psap(), "100");
    let ringing = world.take(&alice(), "INVITE");
    assert_eq!(sound(&ringing).ip(), engine.ng.ip());
    world.send(&alice(), &alice().reply(&ringing, 200).sdp(&alice().offer()));
    assert_eq!(sound(&world.take(&psap(), "200")).ip(), engine.ng.ip());
}

/// SDP of what a browser says: DTLS-SRTP, ICE and rtcp-mux are on its side alone, and nothing of its candidates crosses.
#[test]
fn a_browser_is_joined_to_a_plain_trunk() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let fingerprint = ["AB"; 32].join(":");
    let browser = description(
        "alice",
        1,
        &[
            "m=audio 50000 UDP/TLS/RTP/SAVPF 111 0",
            "a=rtpmap:111 opus/48000/2",
            "a=candidate:1 1 udp 2113937151 198.51.100.77 50000 typ host",
            "a=ice-ufrag:abcd",
            "a=ice-pwd:abcdefghabcdefghabcdefgh",
            &format!("a=fingerprint:sha-256 {fingerprint}"),
            "a=setup:actpass",
            "a=mid:0",
            "a=rtcp-mux",
            "a=ssrc:5 cname:alice@198.51.100.77",
        ],
    );
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&browser);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    let text = offered.to_string();
    assert!(text.contains(" RTP/AVP 111 0"), "{text}");
    for word in ["ice-", "candidate", "fingerprint", "rtcp-mux", "198.51.100.77", "setup", "cname"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let answer = description("psap", 1, &["m=audio 6000 RTP/AVP 0"]);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&answer));
    let ok = world.take(&alice(), "200").to_string();
    // It comes by itself, and nobody calls it before it has the answer.
    let own = ["a=ice-lite", "a=setup:passive"];
    for word in
        ["UDP/TLS/RTP/SAVPF 0", "a=fingerprint:", "a=rtcp-mux", "a=ice-ufrag:", "a=candidate:"].into_iter().chain(own)
    {
        assert!(ok.contains(word), "{word}: {ok}");
    }
}

/// Nobody puts the call center on hold who does not say so.
#[test]
fn a_phone_with_dtls_and_no_ice_stays_where_it_is_told_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let said = description("alice", 1, &["m=audio 50000 UDP/TLS/RTP/SAVP 0", &fingerprint, "a=setup:actpass"]);
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&said);
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    world.answer(&alice(), &invite, &psap(), &offered);
    engine.restart(folder.path()).unwrap();
    world.run(5500);
    let again = world.take(&alice(), "INVITE");
    world.send(
        &alice(),
        &alice().reply(&again, 200).sdp(&said.replace(" 77 1 ", " 77 2 ").replace("actpass", "active")),
    );
    world.run(5000);
    for told in world.on_wire(&psap(), "INVITE") {
        assert!(!told.text.contains("0.0.0.0") && !told.text.contains("a=sendonly"), "{}", told.text);
    }
}
