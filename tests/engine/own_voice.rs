//! What the daemon says itself to who takes no plain RTP, a browser or a phone with SRTP: rtpengine stands between (SPEC §6 to §8).

use sosbridge::media::{News, Prompt};
use sosbridge::node::Input;
use sosbridge::transport::ListenerId;

use crate::world::engine::PLACE;
use crate::world::plane::{Pair, Plane};
use crate::world::{Agent, Dialog, Msg, RELAY, Toml, World, alice, description, nomad, psap};

const WSS: ListenerId = ListenerId(3);

fn web(name: &str, version: u32, direction: &str) -> String {
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    let media = "m=audio 50000 UDP/TLS/RTP/SAVPF 111 0";
    description(name, version, &[media, "a=rtpmap:111 opus/48000/2", &fingerprint, direction])
}

fn world(toml: Toml) -> (World, Agent) {
    let mut world = World::of(&toml);
    let browser = world.connect_web(WSS, alice());
    world.register(&browser);
    (world, browser)
}

fn dial(world: &mut World, browser: &Agent) -> Msg {
    let invite = browser.request("INVITE", "sip:933@example.com").sdp(&web("alice", 1, "a=sendrecv"));
    world.send(browser, &invite);
    invite
}

fn port(description: &str) -> u16 {
    let port = |line: &str| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok();
    description.lines().find_map(port).unwrap()
}

/// What our side has said to rtpengine, and the pair that it named.
fn ours(world: &World) -> (String, &Pair) {
    let engine = world.engine.as_ref().unwrap().borrow();
    let said = engine.calls.values().next().unwrap().said["spoke"].clone();
    let port = port(&said);
    (said, world.plane.at(port))
}

fn told(world: &World) -> f64 {
    world.metric("sosbridge_media_not_converted_total")
}

/// Rules 7.1e, 7.1f, 7.1g.
#[test]
fn a_browser_hears_its_number_through_rtpengine() {
    let (mut world, browser) = world(Toml::secure());
    let invite = dial(&mut world, &browser);
    let ok = world.take(&browser, "200 INVITE");
    assert!(ok.body.contains(&format!("c=IN IP4 {PLACE}")) && ok.body.contains(" UDP/TLS/RTP/SAVPF 0\r\n"), "{ok}");
    assert_eq!(ok.header("X-Emergency-Number"), "+14255551000");
    let (said, pair) = ours(&world);
    assert!(said.contains(&format!("c=IN IP4 {RELAY}")) && said.contains(" RTP/AVP 0\r\n"), "{said}");
    assert_eq!(pair.voice, None, "not before the browser has its answer");
    // We speak to rtpengine, and to nobody else.
    assert_eq!(pair.peer.as_ref().unwrap().rtp.unwrap().ip().to_string(), PLACE);
    let mut phone = Dialog::caller(browser, &invite, &ok);
    world.send(&browser, &phone.request("ACK"));
    let voice = ours(&world).1.voice.clone().unwrap();
    assert_eq!(Plane::digits(&voice), "14255551000".repeat(2));
    // Hold and resume.
    for (version, direction, answer) in [(2, "a=sendonly", "a=recvonly"), (3, "a=sendrecv", "a=sendrecv")] {
        let method = if version == 2 { "INVITE" } else { "UPDATE" };
        let again = phone.request(method).sdp(&web("alice", version, direction));
        let answered = world.ask(&browser, &again);
        assert!(answered.body.contains(answer) && port(&answered.body) == port(&ok.body), "{answered}");
        if method == "INVITE" {
            world.send(&browser, &phone.request("ACK"));
        }
        assert_eq!(ours(&world).1.voice.is_some(), version == 3);
    }
    world.run(20_000);
    let pair = ours(&world).1.ports.pair;
    world.input(Input::Media(News::Played(pair)));
    let bye = world.take(&browser, "BYE");
    world.send(&browser, &browser.reply(&bye, 200));
    world.over();
    assert_eq!((told(&world), world.record().note), (0.0, None));
}

#[test]
fn a_phone_with_srtp_hears_it_too() {
    let mut world = World::with_alice();
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let offer = description("alice", 1, &["m=audio 6000 RTP/SAVP 8", key]);
    world.send(&alice(), &alice().request("INVITE", "sip:933@example.com").sdp(&offer));
    let ok = world.take(&alice(), "200 INVITE");
    assert!(ok.body.contains(" RTP/SAVP 8\r\n") && ok.body.contains(&format!("c=IN IP4 {PLACE}")), "{ok}");
    assert!(ours(&world).0.contains(" RTP/AVP 8\r\n"));
}

/// An rtpengine that has begun anew is there whenever it is looked for, and nobody hears us through it.
#[test]
fn an_rtpengine_that_has_begun_anew_is_told_and_ends_the_call() {
    let (mut world, browser) = world(Toml::secure());
    let invite = dial(&mut world, &browser);
    let ok = world.take(&browser, "200 INVITE");
    let mut phone = Dialog::caller(browser, &invite, &ok);
    world.send(&browser, &phone.request("ACK"));
    world.run(6000);
    assert_eq!(told(&world), 0.0);
    world.engine.as_ref().unwrap().borrow_mut().calls.clear();
    world.run(5000);
    assert_eq!(told(&world), 1.0);
    world.run(20_000);
    let bye = world.take(&browser, "BYE");
    world.send(&browser, &browser.reply(&bye, 200));
    world.over();
    assert!(world.record().note.unwrap().contains("rtpengine"));
}

/// A phone that takes plain RTP is spoken to without it.
#[test]
fn a_phone_needs_no_rtpengine() {
    let mut world = World::with_alice();
    world.ng = None;
    world.dial(&alice(), "sip:933@example.com");
    let ok = world.take(&alice(), "200 INVITE");
    assert!(ok.body.contains(&format!("c=IN IP4 {RELAY}")), "{ok}");
    assert_eq!(world.engine.as_ref().unwrap().borrow().offers, 0);
}

/// Whatever becomes of rtpengine, the number is told, in time.
#[test]
fn without_rtpengine_the_number_is_told_and_the_operator_too() {
    for dies_at in ["offer", "answer", "before"] {
        let (mut world, browser) = world(Toml::secure());
        let mut engine = world.ng.take().unwrap();
        world.ng = (dies_at == "answer").then(|| -> crate::world::Answering {
            Box::new(move |to, bytes| {
                let is_answer = bytes.windows(16).any(|part| part == b"7:command6:answe");
                if is_answer { None } else { engine(to, bytes) }
            })
        });
        if dies_at == "before" {
            world.run(3000);
        }
        let invite = dial(&mut world, &browser);
        assert_eq!(world.on_wire(&browser, "200 INVITE").len(), usize::from(dies_at == "before"));
        world.run(300);
        let ok = world.take(&browser, "200 INVITE");
        assert_eq!(ok.header("X-Emergency-Number"), "+14255551000");
        assert!(ok.body.contains("a=inactive"), "{ok}");
        assert_eq!(told(&world), 1.0, "{dies_at}");
        world.send(&browser, &Dialog::caller(browser, &invite, &ok).request("ACK"));
        world.run(5000);
        let bye = world.take(&browser, "BYE");
        world.send(&browser, &browser.reply(&bye, 200));
        world.run(70_000);
        assert!(world.node.is_idle() && world.node.ports_in_use() == 0);
        let note = world.record().note.unwrap_or_default();
        assert_eq!(note, "without rtpengine the media of a browser cannot be converted");
    }
}

/// The caller does not wait for rtpengine; what that says later is for nobody.
#[test]
fn a_caller_who_gives_up_meanwhile() {
    let (mut world, browser) = world(Toml::secure());
    let mut engine = world.ng.take().unwrap();
    let invite = dial(&mut world, &browser);
    world.send(&browser, &invite.cancel());
    let refused = world.take(&browser, "487");
    world.send(&browser, &invite.ack_of(&refused));
    let (to, offer) =
        world.asked_ng.iter().find(|(_, bytes)| bytes.windows(5).any(|part| part == b"offer")).cloned().unwrap();
    let late = engine(to, &offer);
    world.ng = Some(engine);
    world.input(Input::Ng { from: to, bytes: late.unwrap() });
    world.run(2500);
    assert_eq!(world.record().outcome.as_str(), "cancelled");
    world.over();
}

/// A re-INVITE waits for rtpengine, and the caller hangs up.
#[test]
fn a_caller_who_hangs_up_meanwhile() {
    let (mut world, browser) = world(Toml::secure());
    let invite = dial(&mut world, &browser);
    let ok = world.take(&browser, "200 INVITE");
    let mut phone = Dialog::caller(browser, &invite, &ok);
    world.send(&browser, &phone.request("ACK"));
    let engine = world.ng.take();
    world.send(&browser, &phone.request("INVITE").sdp(&web("alice", 2, "a=sendonly")));
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&browser, &bye).code(), 200);
    world.ng = engine;
    world.over();
}

/// The instance dies while we speak: whoever hears nothing is not kept for a minute and a half.
#[test]
fn rtpengine_dies_while_we_speak() {
    let (mut world, browser) = world(Toml::secure());
    let invite = dial(&mut world, &browser);
    let ok = world.take(&browser, "200 INVITE");
    world.send(&browser, &Dialog::caller(browser, &invite, &ok).request("ACK"));
    world.ng = None;
    world.run(15_000);
    let bye = world.take(&browser, "BYE");
    world.send(&browser, &browser.reply(&bye, 200));
    assert_eq!((told(&world), world.node.ports_in_use()), (1.0, 0));
}

/// Rules 6.4a, 6.4b: a call taker with a browser. What it heard stays what it was told, until the phone is there.
#[test]
fn a_call_taker_with_a_browser_hears_that_the_callback_is_held() {
    for lives in [true, false] {
        let mut world = World::of(&Toml::default().change("[callback]\n", "[callback]\nannouncement = true\n"));
        world.register(&alice());
        let mut call = world.talking();
        world.hang_up(&mut call);
        world.ng = world.ng.take().filter(|_| lives);
        world.may_relay = !lives;
        let invite = psap().request("INVITE", "sip:+14255551000@192.0.2.1:5060").sdp(&web("psap", 1, "a=sendrecv"));
        world.send(&psap(), &invite);
        world.run(3000);
        world.take_all(&alice(), "INVITE");
        if !lives {
            world.take(&psap(), "182");
            world.none(&psap(), "183");
            assert!(told(&world) >= 1.0);
            continue;
        }
        let shown = world.take(&psap(), "183");
        assert!(shown.body.contains(" UDP/TLS/RTP/SAVPF 0\r\n") && shown.body.contains(PLACE), "{shown}");
        let speaks = |world: &World| world.plane.pairs.values().filter_map(|pair| pair.voice.clone()).next();
        assert_eq!(speaks(&world).unwrap().prompts[0], Prompt::Hold);
        world.register(&alice());
        let ring = world.take_all(&alice(), "INVITE").pop().unwrap().msg;
        world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
        world.take(&alice(), "ACK");
        let ok = world.take(&psap(), "200 INVITE");
        assert_eq!(ok.body, shown.body);
        assert_eq!(speaks(&world), None);
        let mut center = Dialog::caller(psap(), &invite, &ok);
        world.send(&psap(), &center.request("ACK"));
        let again = world.take(&psap(), "INVITE");
        assert_ne!(port(&again.body), port(&shown.body));
        world.send(&psap(), &psap().reply(&again, 200).sdp(&web("psap", 2, "a=sendrecv")));
        world.take(&psap(), "ACK");
        // Whatever the phone has to be told after that.
        for told in world.take_all(&alice(), "INVITE") {
            world.send(&alice(), &alice().reply(&told.msg, 200).sdp(&alice().offer()));
        }
        world.run(1000);
        let engine = world.engine.clone().unwrap();
        assert_eq!((engine.borrow().calls.len(), world.node.ports_in_use()), (1, 0), "{:?}", engine.borrow().calls);
        assert_eq!(world.ask(&psap(), &center.request("BYE")).code(), 200);
        let bye = world.take(&alice(), "BYE");
        world.send(&alice(), &alice().reply(&bye, 200));
        world.over();
    }
}

/// SPEC §1.
#[test]
fn a_browser_hears_why_it_is_refused() {
    for lives in [true, false] {
        let mut world = World::of(&Toml::secure().change("[media]\n", "[media]\nannounce_refusals = true\n"));
        let browser = world.connect_web(WSS, nomad());
        world.register(&browser);
        world.ng = world.ng.take().filter(|_| lives);
        let invite = browser.request("INVITE", "sip:911@example.com").sdp(&web("nomad", 1, "a=sendrecv"));
        world.send(&browser, &invite);
        if lives {
            let shown = world.take(&browser, "183");
            assert!(shown.body.contains(" UDP/TLS/RTP/SAVPF 0\r\n") && shown.body.contains(PLACE), "{shown}");
            let pair = ours(&world).1;
            assert_eq!(pair.voice.as_ref().unwrap().prompts.last(), Some(&Prompt::Refused));
            let id = pair.ports.pair;
            world.input(Input::Media(News::Played(id)));
        } else {
            world.none(&browser, "403");
            world.run(300);
            world.none(&browser, "183");
            assert_eq!(told(&world), 1.0);
        }
        let refused = world.take(&browser, "403");
        world.send(&browser, &invite.ack_of(&refused));
        world.over();
    }
}
