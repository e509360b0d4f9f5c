//! A browser that is told of more than one session of rtpengine.

use sosbridge::media::ng::Value;
use sosbridge::transport::ListenerId;

use crate::transfer::{dismissed, referred};
use crate::world::engine::{Engine, PLACE, PLACE6};
use crate::world::{Agent, Call, Dialog, Msg, Toml, World, alice, backup, bob, description, psap};

pub fn web(version: u32, setup: &str) -> String {
    let fingerprint = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    // An answer names what both can.
    let codecs = if setup == "actpass" { "111 0" } else { "0" };
    let media = format!("m=audio 50000 UDP/TLS/RTP/SAVPF {codecs}");
    let (setup, name) = (format!("a=setup:{setup}"), format!("a=ice-ufrag:v{version}"));
    let candidate = "a=candidate:1 1 udp 2113937151 198.51.100.77 50000 typ host";
    description("alice", version, &[&media, "a=rtpmap:111 opus/48000/2", &fingerprint, &setup, &name, candidate])
}

/// Who has offered and answered in the session of rtpengine that was opened last, as it was told.
fn told(world: &World) -> Vec<String> {
    let said = |(_, bytes): &(_, bytes::Bytes)| {
        let at = bytes.iter().position(|byte| *byte == b' ')? + 1;
        let command = Value::read(&bytes[at..]).ok()?;
        let field = |key| Some(std::str::from_utf8(command.get(key)?.text()?).unwrap().to_owned());
        let kind = field("command").filter(|kind| matches!(kind.as_str(), "offer" | "answer"))?;
        let tags = [field("from-tag"), field("to-tag")].into_iter().flatten();
        Some((field("call-id")?, [kind].into_iter().chain(tags).collect::<Vec<_>>().join(" ")))
    };
    let all: Vec<(String, String)> = world.asked_ng.iter().filter_map(said).collect();
    let last = all.last().map(|(call, _)| call.clone()).unwrap_or_default();
    all.into_iter().filter(|(call, _)| *call == last).map(|(_, text)| text).collect()
}

/// By which name rtpengine speaks ICE with a browser.
pub fn ice(message: &Msg) -> String {
    message.body.split("a=ice-ufrag:").nth(1).unwrap().lines().next().unwrap().to_owned()
}

/// Where a browser is to send its sound.
fn port(message: &Msg) -> &str {
    message.body.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap()
}

/// By which hash a browser is told of a certificate.
fn hash(message: &Msg) -> String {
    message.body.split("a=fingerprint:").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// A browser has dialled 911, and the call center has answered.
pub fn talking(world: &mut World, browser: &Agent) -> Call {
    let invite = browser.request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
    world.send(browser, &invite);
    world.take(browser, "100");
    let offered = world.take(&psap(), "INVITE");
    world.answer(browser, &invite, &psap(), &offered)
}

/// A browser on a WebSocket has called and hung up, and is called back.
struct CalledBack {
    world: World,
    browser: Agent,
    call: Call,
    invite: Msg,
    /// The INVITE that the browser got.
    ring: Msg,
}

impl CalledBack {
    fn scene() -> Self {
        let mut world = World::of(&Toml::secure());
        let browser = world.connect_web(ListenerId(3), alice());
        world.register(&browser);
        let mut call = talking(&mut world, &browser);
        world.wire.clear();
        world.hang_up(&mut call);
        let invite = world.call_back(&psap(), &call.trunk.target_user());
        let ring = world.take(&browser, "INVITE");
        Self { world, browser, call, invite, ring }
    }
}

/// The first trunk lets a browser hear something, and the second one takes its call; by which hashes it was told of the two.
fn taken_by_the_second(world: &mut World) -> (Call, [String; 2]) {
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
    world.send(&alice(), &invite);
    let first = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&first, 183).sdp(&psap().offer()));
    let early = world.take(&alice(), "183");
    world.send(&psap(), &psap().reply(&first, 503));
    world.take(&psap(), "ACK");
    let second = world.take(&backup(), "INVITE");
    let call = world.answer(&alice(), &invite, &backup(), &second);
    let hashes = [hash(&early), hash(&call.ok)];
    (call, hashes)
}

/// RFC 8122 §5: browsers begin DTLS anew for another fingerprint, and for nothing else.
#[test]
fn another_session_has_another_fingerprint_and_keeps_it() {
    let mut world = World::with_alice();
    let (mut call, hashes) = taken_by_the_second(&mut world);
    assert_eq!(hashes, ["sha-256", "sha-384"]);
    let resumed = description("backup", 2, &["m=audio 6002 RTP/AVP 0"]);
    world.send(&backup(), &call.trunk.request("INVITE").sdp(&resumed));
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&web(2, "active")));
    world.take(&backup(), "200");
    let ack = call.trunk.request("ACK");
    world.send(&backup(), &ack);
    assert_eq!(hash(&offered), "sha-384");
    world.wire.clear();
    world.hang_up(&mut call);
}

/// An rtpengine that was at its limit when it was asked for the other fingerprints is asked again.
#[test]
fn what_was_not_told_of_a_certificate_is_asked_again() {
    let mut world = World::with_alice();
    let engine = world.engine.clone().unwrap();
    let refuses = move |_, bytes: &[u8]| {
        let is_for_certificate = bytes.windows(15).any(|part| part.starts_with(b"-sha-") && part.ends_with(b"8:from-"));
        let cookie = bytes.split(|byte| *byte == b' ').next().unwrap();
        let error = &b" d12:error-reason20:Ran out of resources6:result5:errore"[..];
        Some(if is_for_certificate { [cookie, error].concat().into() } else { engine.borrow_mut().asked(bytes) })
    };
    let answers = world.ng.replace(Box::new(refuses));
    let (mut call, hashes) = taken_by_the_second(&mut world);
    assert_eq!(hashes, ["sha-256", "sha-256"], "nothing else is known");
    world.wire.clear();
    world.hang_up(&mut call);
    world.ng = answers;
    let (mut call, hashes) = taken_by_the_second(&mut world);
    assert_eq!(hashes, ["sha-256", "sha-384"]);
    world.wire.clear();
    world.hang_up(&mut call);
}

/// RFC 5589 §6. What a browser is offered was an offer to rtpengine, and what it answers is an answer: it begins ICE anew, and
/// rtpengine would begin anew again for an offer of that.
#[test]
fn a_browser_is_transferred_by_offer_and_answer() {
    let mut world = World::with_alice();
    let mut call = talking(&mut world, &alice());
    let invited = referred(&mut world, &mut call, "<sip:desk@203.0.113.81:5080>", &backup());
    assert_eq!(told(&world), ["offer hub"]);
    let early = backup().reply(&invited, 183).sdp(&backup().offer());
    world.send(&backup(), &early);
    world.take(&psap(), "NOTIFY");
    let answer = backup().reply(&invited, 200).sdp(&backup().offer());
    world.send(&backup(), &answer);
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    assert_eq!(told(&world), ["offer hub", "offer spoke hub"]);
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&web(2, "active")));
    world.take(&alice(), "ACK");
    assert_eq!(told(&world), ["offer hub", "offer spoke hub", "answer spoke hub"]);
    let mut center = Dialog::callee(backup(), &invited, &answer);
    // It was called with what the browser had said before.
    let again = world.take(&backup(), "INVITE");
    world.send(&backup(), &backup().reply(&again, 200).sdp(&backup().offer()));
    world.take(&backup(), "ACK");
    assert_eq!(told(&world)[3..], ["offer spoke hub"]);
    dismissed(&mut world, &psap());
    assert_eq!(world.ask(&backup(), &center.request("BYE")).code(), 200);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
}

/// What an rtpengine that has begun anew tells one party may be what it was told before, and still the other is told. A browser knows
/// the place that it lends again by the credentials of before, and hears nothing there; nor is it where it was.
#[test]
fn a_browser_hears_of_an_rtpengine_that_has_begun_anew() {
    let mut world = World::with_alice();
    let mut call = talking(&mut world, &alice());
    *world.engine.as_ref().unwrap().borrow_mut() = Engine::default();
    world.asked_ng.clear();
    world.run(5000);
    world.none(&psap(), "INVITE");
    let offered = world.take(&alice(), "INVITE");
    assert!(ice(&offered) != ice(&call.ok) && port(&offered) != port(&call.ok), "{offered}");
    let retold: Vec<_> = world.asked_ng.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
    let retold: Vec<_> = retold.iter().filter(|text| text.contains("UDP/TLS/RTP/SAVPF 111 0")).collect();
    assert!(!retold.is_empty());
    for text in retold {
        assert!(text.contains("m=audio 9 ") && text.contains("c=IN IP4 0.0.0.0"), "{text}");
        assert!(!text.contains("candidate") && !text.contains("198.51.100.77"), "{text}");
    }
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&web(2, "active")));
    world.take(&alice(), "ACK");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.run(10_000);
    world.silent();
    world.hang_up(&mut call);
}

/// A browser that is answered in plain RTP ends its call. What was the matter with rtpengine while it rang is over.
#[test]
fn a_browser_is_answered_by_an_rtpengine_that_knows_nothing_of_its_offer() {
    for is_silent in [false, true] {
        let mut world = World::with_alice();
        world.may_relay = is_silent;
        let invite = alice().request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
        let answers = if is_silent { world.ng.take() } else { None };
        world.send(&alice(), &invite);
        world.run(300);
        let offered = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&offered, 180));
        if let Some(answers) = answers {
            world.ng = Some(answers);
            world.run(2000);
        } else {
            *world.engine.as_ref().unwrap().borrow_mut() = Engine::new([PLACE, PLACE6], (40_000, 49_999));
        }
        let mut call = world.answer(&alice(), &invite, &psap(), &offered);
        assert!(call.ok.body.contains(" UDP/TLS/RTP/SAVPF 0 101\r\n") && call.ok.body.contains(PLACE), "{}", call.ok);
        let again = world.take(&psap(), "INVITE");
        assert!(again.body.contains(" RTP/AVP 111 0\r\n") && again.body.contains(PLACE), "{again}");
        world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
        world.take(&psap(), "ACK");
        // Each hears what the other has answered.
        for _ in 0..3 {
            for offered in world.take_all(&alice(), "INVITE") {
                world.send(&alice(), &alice().reply(&offered.msg, 200).sdp(&web(2, "active")));
            }
            for offered in world.take_all(&psap(), "INVITE") {
                world.send(&psap(), &psap().reply(&offered.msg, 200).sdp(&psap().offer()));
            }
        }
        world.take_all(&psap(), "ACK");
        world.take_all(&alice(), "ACK");
        world.run(10_000);
        world.none(&psap(), "INVITE");
        world.none(&alice(), "INVITE");
        let engine = world.engine.clone().unwrap();
        assert_eq!(engine.borrow().calls.len(), 1);
        world.wire.clear();
        world.hang_up(&mut call);
        world.over();
    }
}

/// SPEC §5, §6: the call back to a browser is handed on too.
#[test]
fn a_browser_that_was_called_back_is_told_of_another_fingerprint() {
    let CalledBack { mut world, browser, mut call, invite, ring } = CalledBack::scene();
    let answer = browser.reply(&ring, 200).sdp(&web(1, "active"));
    world.send(&browser, &answer);
    let ok = world.take(&psap(), "200 INVITE");
    call.trunk = Dialog::caller(psap(), &invite, &ok);
    let ack = call.trunk.request("ACK");
    world.send(&psap(), &ack);
    let invited = referred(&mut world, &mut call, "<sip:desk@203.0.113.81:5080>", &backup());
    world.take(&browser, "ACK");
    world.send(&backup(), &backup().reply(&invited, 200).sdp(&backup().offer()));
    let offered = world.take(&browser, "INVITE");
    assert_eq!([hash(&ring), hash(&offered)], ["sha-256", "sha-384"]);
}

/// A callback, which a browser answers.
#[test]
fn a_browser_answers_though_rtpengine_has_begun_anew() {
    let CalledBack { mut world, browser, invite, ring, .. } = CalledBack::scene();
    *world.engine.as_ref().unwrap().borrow_mut() = Engine::default();
    world.send(&browser, &browser.reply(&ring, 200).sdp(&web(1, "active")));
    world.take(&browser, "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    assert!(ok.body.contains(" RTP/AVP 0\r\n") && ok.body.contains(PLACE), "{ok}");
    let mut center = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &center.request("ACK"));
    let again = world.take(&browser, "INVITE");
    assert!(ice(&again) != ice(&ring) && port(&again) != port(&ring), "{again}");
    assert_ne!(hash(&again), "sha-256");
    world.send(&browser, &browser.reply(&again, 200).sdp(&web(2, "active")));
    world.take(&browser, "ACK");
    world.run(6000);
    world.wire.clear();
    assert_eq!(world.ask(&psap(), &center.request("BYE")).code(), 200);
    let bye = world.take(&browser, "BYE");
    world.send(&browser, &browser.reply(&bye, 200));
    world.over();
}

/// What was refused is told once more, and not again and again.
#[test]
fn a_browser_that_refuses_every_offer_is_not_asked_for_ever() {
    let mut world = World::with_alice();
    let mut call = talking(&mut world, &alice());
    let hold = description("psap", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]);
    let asked = call.trunk.request("INVITE").sdp(&hold);
    world.send(&psap(), &asked);
    let mut refused = 0;
    for _ in 0..60 {
        for offered in world.take_all(&alice(), "INVITE") {
            world.send(&alice(), &alice().reply(&offered.msg, 488));
            refused += 1;
        }
        for refusal in world.take_all(&psap(), "488") {
            world.send(&psap(), &asked.ack_of(&refusal.msg));
        }
        world.run(1000);
    }
    assert!(refused <= 3, "{refused}");
    world.wire.clear();
    world.hang_up(&mut call);
}

/// RFC 8839 §4.4.1: rtpengine speaks ICE by other names from the offer on, whatever becomes of it. Who goes on with the old ones is
/// not heard any more when ICE is next looked after.
#[test]
fn a_browser_that_began_ice_anew_in_vain_is_told_how_rtpengine_speaks_now() {
    for begins_anew in [true, false] {
        let mut world = World::with_alice();
        let mut call = talking(&mut world, &alice());
        let was = ice(&call.ok);
        let mut offer = web(2, "actpass");
        if !begins_anew {
            offer = offer.replace("a=ice-ufrag:v2", "a=ice-ufrag:v1");
        }
        let asked = call.phone.request("INVITE").sdp(&offer);
        world.send(&alice(), &asked);
        let offered = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&offered, 488));
        world.take(&psap(), "ACK");
        let refusal = world.take(&alice(), "488");
        world.send(&alice(), &asked.ack_of(&refusal));
        world.run(5000);
        if begins_anew {
            let offered = world.take(&alice(), "INVITE");
            assert_ne!(ice(&offered), was);
            world.send(&alice(), &alice().reply(&offered, 200).sdp(&web(3, "active")));
            world.take(&alice(), "ACK");
            let told = told(&world);
            assert_eq!(told[told.len() - 2..], ["offer spoke hub", "answer spoke hub"], "{told:?}");
            for offered in world.take_all(&psap(), "INVITE") {
                world.send(&psap(), &psap().reply(&offered.msg, 200).sdp(&psap().offer()));
            }
            world.take_all(&psap(), "ACK");
        }
        world.wire.clear();
        world.run(20_000);
        world.silent();
        world.hang_up(&mut call);
    }
}

/// An instance that is silent for a moment is not gone: calls stay with it, whenever that is.
#[test]
fn a_moment_of_silence_moves_no_call() {
    for moment in 0..10 {
        let mut world = World::with_alice();
        world.register(&bob());
        talking(&mut world, &alice());
        world.run(moment * 500);
        let answers = world.ng.take();
        world.may_relay = true;
        // Somebody else's call notices it.
        world.dial(&bob(), "sip:911@example.com");
        world.run(700);
        world.ng = answers;
        world.run(6000);
        let moved = world.on_wire(&alice(), "INVITE");
        assert!(moved.is_empty(), "{moment}: {moved:?}");
        let others = world.take_all(&psap(), "INVITE");
        assert!(others.iter().all(|sent| !sent.msg.header("To").contains("tag=")), "{moment} {others:?}");
    }
}
