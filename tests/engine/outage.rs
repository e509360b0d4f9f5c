//! Every instance of rtpengine is silent for longer than a moment. A browser has no use for the relay: it keeps what it has, and is
//! offered what the first instance that answers makes of the other party's media (SPEC §8, §10).

use crate::browser::{ice, talking, web};
use crate::world::engine::PLACE;
use crate::world::{Agent, Call, World, alice, psap};

/// Whoever is offered something answers, for so long; what the browser was offered last.
fn serve(world: &mut World, ms: u64) -> Option<crate::world::Msg> {
    let mut last = None;
    for _ in 0..ms / 100 {
        for offered in world.take_all(&alice(), "INVITE") {
            world.send(&alice(), &alice().reply(&offered.msg, 200).sdp(&web(2, "active")));
            last = Some(offered.msg);
        }
        for offered in world.take_all(&psap(), "INVITE") {
            world.send(&psap(), &psap().reply(&offered.msg, 200).sdp(&psap().offer()));
        }
        world.take_all(&psap(), "ACK");
        world.take_all(&alice(), "ACK");
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
fn ends(mut world: World, mut call: Call) {
    assert_eq!(world.engine.as_ref().unwrap().borrow().calls.len(), 1);
    serve(&mut world, 10_000);
    none_is_told(&mut world, [alice(), psap()]);
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
        let offered = serve(&mut world, 6000);
        // Which has kept the call, and was not missed for long; else ICE has given up.
        if seconds > 1 {
            let offered = offered.expect("an offer to the browser");
            assert!(offered.body.contains(PLACE) && ice(&offered) != was, "{offered}");
        }
        ends(world, call);
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
    let offered = serve(&mut world, 6000).expect("an offer to the browser");
    assert!(offered.body.contains(" UDP/TLS/RTP/SAVPF ") && offered.body.contains(PLACE), "{offered}");
    ends(world, call);
}
