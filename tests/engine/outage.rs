//! Every instance of rtpengine is silent for longer than a moment. A browser has no use for the relay: it keeps what it has, and is
//! offered what the first instance that answers makes of the other party's media (SPEC §8, §10).

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use sosbridge::transport::ListenerId;

use crate::browser::{ice, talking, web};
use crate::world::engine::{Engine, NG, PLACE, PLACE6};
use crate::world::{Agent, Call, Dialog, Toml, World, alice, description, psap};

/// Whoever is offered something answers, for so long; what the browser was offered last.
fn serve(world: &mut World, browser: &Agent, ms: u64) -> Option<crate::world::Msg> {
    let mut last = None;
    for round in 0..ms / 100 {
        for offered in world.take_all(browser, "INVITE") {
            world.send(browser, &browser.reply(&offered.msg, 200).sdp(&web(2, "active")));
            last = Some(offered.msg);
        }
        for offered in world.take_all(&psap(), "INVITE") {
            let version = u32::try_from(round).unwrap() + 2;
            let answer = description("psap", version, &["m=audio 6000 RTP/AVP 0", "a=sendrecv"]);
            world.send(&psap(), &psap().reply(&offered.msg, 200).sdp(&answer));
        }
        world.take_all(&psap(), "ACK");
        world.take_all(browser, "ACK");
        world.run(100);
    }
    last
}

fn none_is_told(world: &mut World, parties: [Agent; 2]) {
    for party in parties {
        world.none(&party, "INVITE");
    }
}

/// All is said, and one call is left there.
fn ends(mut world: World, browser: Agent, mut call: Call) {
    assert_eq!(world.engine.as_ref().unwrap().borrow().calls.len(), 1);
    assert!(serve(&mut world, &browser, 10_000).is_none(), "all is said");
    none_is_told(&mut world, [browser, psap()]);
    world.wire.clear();
    world.hang_up(&mut call);
    world.over();
}

#[test]
fn a_browser_in_a_call_hears_again_when_an_instance_answers_again() {
    for seconds in [1, 8, 60] {
        let mut world = World::with_alice();
        let call = talking(&mut world, &alice());
        let was = ice(&call.ok);
        let answers = world.ng.take();
        for _ in 0..seconds {
            world.run(1000);
            none_is_told(&mut world, [alice(), psap()]);
        }
        assert_eq!(world.metric("sosbridge_media_not_converted_total"), if seconds > 1 { 1.0 } else { 0.0 });
        world.ng = answers;
        let offered = serve(&mut world, &alice(), 6000);
        // ICE waits for a moment only.
        if seconds > 1 {
            let offered = offered.expect("an offer to the browser");
            assert!(offered.body.contains(PLACE) && ice(&offered) != was, "{offered}");
        }
        ends(world, alice(), call);
    }
}

/// The other party puts it on hold meanwhile, over the relay, which the browser refuses.
#[test]
fn a_browser_that_was_offered_the_relay_hears_again_too() {
    let mut world = World::with_alice();
    let mut call = talking(&mut world, &alice());
    let answers = world.ng.take();
    world.may_relay = true;
    world.run(8000);
    let asked = call.trunk.request("INVITE").sdp(&psap().offer());
    world.send(&psap(), &asked);
    world.run(300);
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 488));
    let refusal = world.take(&psap(), "488");
    world.send(&psap(), &asked.ack_of(&refusal));
    world.run(2000);
    // It has not heard of the end of what it knew, and has ended that itself when no packets came.
    world.engine.as_ref().unwrap().borrow_mut().calls.clear();
    world.ng = answers;
    let offered = serve(&mut world, &alice(), 6000).expect("an offer to the browser");
    assert!(offered.body.contains(" UDP/TLS/RTP/SAVPF ") && offered.body.contains(PLACE), "{offered}");
    ends(world, alice(), call);
}

/// On a WebSocket.
fn web_world() -> (World, Agent) {
    let mut world = World::of(&Toml::secure());
    let browser = world.connect_web(ListenerId(3), alice());
    world.register(&browser);
    (world, browser)
}

const WEB: &str = " UDP/TLS/RTP/SAVPF ";

/// It ends a call that is answered in plain RTP, and many a trunk refuses one that is offered otherwise.
#[test]
fn a_browser_that_dials_while_nobody_answers_is_in_a_call_and_hears_later() {
    let (mut world, browser) = web_world();
    let answers = world.ng.take();
    world.may_relay = true;
    let invite = browser.request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
    world.send(&browser, &invite);
    world.run(300);
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.body.contains(" RTP/AVP 111 0\r\n"), "{offered}");
    assert!(["a=ice", "a=fingerprint", "a=setup"].iter().all(|line| !offered.body.contains(line)), "{offered}");
    let call = world.answer(&browser, &invite, &psap(), &offered);
    assert!(call.ok.body.contains(WEB) && call.ok.body.contains("a=setup:passive"), "{}", call.ok);
    world.run(20_000);
    none_is_told(&mut world, [browser, psap()]);
    world.ng = answers;
    let offered = serve(&mut world, &browser, 6000).expect("an offer to the browser");
    assert!(offered.body.contains(WEB) && offered.body.contains(PLACE), "{offered}");
    ends(world, browser, call);
}

#[test]
fn a_browser_that_is_called_back_while_nobody_answers_rings_and_hears_later() {
    let (mut world, browser) = web_world();
    let mut call = talking(&mut world, &browser);
    world.wire.clear();
    world.hang_up(&mut call);
    let answers = world.ng.take();
    world.may_relay = true;
    let invite = world.call_back(&psap(), &call.trunk.target_user());
    world.run(300);
    let ring = world.take(&browser, "INVITE");
    assert!(ring.body.contains(WEB) && ring.body.contains("a=setup:actpass"), "{ring}");
    let answer = browser.reply(&ring, 200).sdp(&web(1, "active"));
    world.send(&browser, &answer);
    world.take(&browser, "ACK");
    let ok = world.take(&psap(), "200 INVITE");
    assert!(ok.body.contains(" RTP/AVP 0\r\n") && !ok.body.contains("a=ice"), "{ok}");
    let mut center = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &center.request("ACK"));
    world.ng = answers;
    let offered = serve(&mut world, &browser, 6000).expect("an offer to the browser");
    assert!(offered.body.contains(WEB) && offered.body.contains(PLACE), "{offered}");
    world.wire.clear();
    assert_eq!(world.ask(&psap(), &center.request("BYE")).code(), 200);
    let bye = world.take(&browser, "BYE");
    world.send(&browser, &browser.reply(&bye, 200));
    world.over();
}

/// One that has had media says nothing until it has them again: it would pour out all of it at the rtpengine that comes, which hears
/// nothing on its port after that. What is told of it is that it begins DTLS, as it may before its answer is there.
#[test]
fn a_browser_that_holds_and_resumes_while_nobody_answers_is_silent_until_then() {
    // The place that is lent again is where the browser was, or another one.
    for is_same_place in [false, true] {
        let (mut world, browser) = web_world();
        let mut call = talking(&mut world, &browser);
        let answers = world.ng.take();
        world.may_relay = true;
        world.run(8000);
        for (version, says) in [(2, "sendonly"), (3, "sendrecv")] {
            let offer = web(1, "actpass").replace("o=alice 77 1 ", &format!("o=alice 77 {version} "));
            let asked = call.phone.request("INVITE").sdp(&format!("{offer}a={says}\r\n"));
            world.send(&browser, &asked);
            serve(&mut world, &browser, 300);
            let told = world.take(&browser, "200");
            assert!(told.body.contains(WEB) && told.body.contains("a=inactive"), "{told}");
            assert!(!told.body.contains("a=sendrecv") && !told.body.contains("a=recvonly"), "{told}");
            world.send(&browser, &call.phone.request("ACK"));
            world.run(100);
        }
        let anew = if is_same_place { Engine::default() } else { Engine::new([PLACE, PLACE6], (40_000, 49_999)) };
        *world.engine.as_ref().unwrap().borrow_mut() = anew;
        world.asked_ng.clear();
        world.ng = answers;
        let offered = serve(&mut world, &browser, 6000).expect("an offer to the browser");
        assert!(offered.body.contains(WEB) && offered.body.contains(PLACE), "{offered}");
        assert!(offered.body.contains("a=sendrecv"), "{offered}");
        let asked: Vec<_> = world.asked_ng.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect();
        let first = asked.iter().find(|text| text.contains("m=audio 9 UDP/TLS")).expect("what the browser has said");
        assert!(first.contains("a=setup:active\r\n"), "{first}");
        ends(world, browser, call);
    }
}

/// The first instance goes, and later the second one, when the first is back.
#[test]
fn a_browser_goes_from_one_instance_to_the_other_and_back() {
    let other = "192.0.2.26:2223";
    let (mut first, mut second) = (Engine::default(), Engine::new([PLACE, PLACE6], (30_000, 49_999)));
    let dead = Rc::new(Cell::new(other));
    let is_dead = Rc::clone(&dead);
    let answers = move |to: SocketAddr, bytes: &[u8]| match to.to_string() {
        to if to == is_dead.get() => None,
        to if to == other => Some(second.asked(bytes)),
        _ => Some(first.asked(bytes)),
    };
    let mut world =
        World::of(&Toml::secure().change(&format!("\"udp:{NG}\""), &format!("[\"udp:{NG}\", \"udp:{other}\"]")));
    world.ng = Some(Box::new(answers));
    let browser = world.connect_web(ListenerId(3), alice());
    world.register(&browser);
    let mut call = talking(&mut world, &browser);
    let mut was = ice(&call.ok);
    for gone in [NG, other, NG, other] {
        dead.set(gone);
        let offered = serve(&mut world, &browser, 20_000).expect("an offer to the browser");
        assert_ne!(ice(&offered), was);
        was = ice(&offered);
    }
    dead.set("");
    world.wire.clear();
    world.hang_up(&mut call);
}

/// As one with too much to do. Who hears nothing is not offered something after every ping, and an instance that is well is not missed.
#[test]
fn an_instance_that_answers_pings_alone_is_asked_less_and_less_often() {
    let (mut world, browser) = web_world();
    world.may_relay = true;
    let engine = world.engine.clone().unwrap();
    let is_well = Rc::new(Cell::new(false));
    let well = Rc::clone(&is_well);
    world.ng = Some(Box::new(move |_, bytes: &[u8]| {
        let is_ping = bytes.ends_with(b"4:pinge");
        (is_ping || well.get()).then(|| engine.borrow_mut().asked(bytes))
    }));
    let invite = browser.request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
    world.send(&browser, &invite);
    world.run(300);
    let offered = world.take(&psap(), "INVITE");
    let call = world.answer(&browser, &invite, &psap(), &offered);
    let mut told = 0;
    for _ in 0..600 {
        for offered in world.take_all(&browser, "INVITE") {
            told += 1;
            world.send(&browser, &browser.reply(&offered.msg, 488));
        }
        world.none(&psap(), "INVITE");
        world.run(100);
    }
    assert!((2..=6).contains(&told), "{told}");
    is_well.set(true);
    let offered = serve(&mut world, &browser, 20_000).expect("an offer to the browser");
    assert!(offered.body.contains(WEB) && offered.body.contains(PLACE), "{offered}");
    ends(world, browser, call);
}

/// As when it is at its limit. It answers all the while, so nothing else tells that it may take the call now.
#[test]
fn a_call_that_an_instance_refused_is_put_to_it_again_and_not_for_ever() {
    for refuses_for in [20_000, 600_000] {
        let (mut world, browser) = web_world();
        world.may_relay = true;
        let engine = world.engine.clone().unwrap();
        let is_full = Rc::new(Cell::new(true));
        let full = Rc::clone(&is_full);
        world.ng = Some(Box::new(move |_, bytes: &[u8]| {
            let cookie = bytes.split(|byte| *byte == b' ').next().unwrap();
            let error = &b" d12:error-reason20:Ran out of resources6:result5:errore"[..];
            let is_offer = full.get() && bytes.windows(7).any(|part| part == b"5:offer");
            Some(if is_offer { [cookie, error].concat().into() } else { engine.borrow_mut().asked(bytes) })
        }));
        let invite = browser.request("INVITE", "sip:911@example.com").sdp(&web(1, "actpass"));
        world.send(&browser, &invite);
        let offered = world.take(&psap(), "INVITE");
        let call = world.answer(&browser, &invite, &psap(), &offered);
        let mut told = 0;
        for _ in 0..refuses_for / 100 {
            for offered in world.take_all(&browser, "INVITE") {
                told += 1;
                world.send(&browser, &browser.reply(&offered.msg, 488));
            }
            world.run(100);
        }
        assert!((1..=7).contains(&told), "{told}");
        is_full.set(false);
        if refuses_for == 20_000 {
            let offered = serve(&mut world, &browser, 30_000).expect("an offer to the browser");
            assert!(offered.body.contains(WEB) && offered.body.contains(PLACE), "{offered}");
            ends(world, browser, call);
        }
    }
}
