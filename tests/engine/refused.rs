//! Offers that a party refuses after rtpengine has seen them: it must not go on believing them.

use crate::world::{World, alice, description, psap};

fn alice_is_said_to(world: &World) -> String {
    let engine = world.engine.as_ref().unwrap().borrow();
    let session = engine.calls.values().next().unwrap();
    session.said["hub"].clone()
}

#[test]
fn a_hold_that_is_refused_is_none_for_rtpengine() {
    for refuses in [488, 491, 200] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        // And once more.
        for _ in 0..2 {
            let hold = description("alice", 2, &["m=audio 6000 RTP/AVP 0", "a=sendonly"]);
            let asked = call.phone.request("INVITE").sdp(&hold);
            world.send(&alice(), &asked);
            world.take(&alice(), "100");
            let offered = world.take(&psap(), "INVITE");
            let mut answer = psap().reply(&offered, refuses);
            if refuses == 200 {
                answer = answer.sdp(&description("psap", 2, &["m=audio 6000 RTP/AVP 0", "a=recvonly"]));
            }
            world.send(&psap(), &answer);
            world.take(&psap(), "ACK");
            world.take(&alice(), &refuses.to_string());
            let ack = call.phone.request("ACK");
            // RFC 3261 §17.1.1.3.
            let ack = if refuses == 200 { ack } else { ack.set("Via", asked.header("Via")) };
            world.send(&alice(), &ack);
            assert!(alice_is_said_to(&world).contains("a=sendonly"));
            world.run(5100);
            assert_eq!(alice_is_said_to(&world).contains("a=sendonly"), refuses == 200);
        }
        world.silent();
        // The next offer is one, whoever makes it.
        let resumed = description("psap", 3, &["m=audio 6002 RTP/AVP 0"]);
        world.send(&psap(), &call.trunk.request("INVITE").sdp(&resumed));
        world.take(&psap(), "100");
        let offered = world.take(&alice(), "INVITE");
        world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
        world.take(&alice(), "ACK");
        world.take(&psap(), "200");
        let ack = call.trunk.request("ACK");
        world.send(&psap(), &ack);
        world.silent();
        let engine = world.engine.clone().unwrap();
        assert!(engine.borrow().calls.values().all(|session| session.is_answered));
        world.hang_up(&mut call);
    }
}
