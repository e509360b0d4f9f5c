//! rtpengine is silent, late, wrong or gone: no emergency call waits for it longer than 300 ms.

use std::net::SocketAddr;

use bytes::Bytes;
use sosbridge::node::Input;

use super::{commands, engine, nobody, real, reply, sound, world};
use crate::world::{Dialog, RELAY, World, alice, psap};

fn is_relayed(world: &mut World) -> bool {
    sound(&world.take(&psap(), "INVITE")).ip().to_string() == RELAY
}

#[test]
fn nobody_answers_and_the_call_leaves_through_the_relay() {
    let mut world = world(&[nobody()], None);
    let invite = world.dial(&alice(), "sip:911@example.com");
    world.run(299);
    world.none(&psap(), "INVITE");
    world.run(1);
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(sound(&offered).ip().to_string(), RELAY);
    let asked = commands(&world, "offer");
    assert!(asked.len() == 3 && asked.iter().all(|again| *again == asked[0]), "{asked:?}");
    // What it says now is too late.
    let sdp = psap().offer();
    let late = format!("d6:result2:ok3:sdp{}:{sdp}e", sdp.len());
    world.input(Input::Ng { from: nobody(), bytes: reply(asked[0].as_bytes(), late.as_bytes()) });
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    assert_eq!(sound(&call.ok).ip().to_string(), RELAY);
    world.hang_up(&mut call);
    // It is passed over from then on.
    world.dial(&alice(), "sip:911@example.com");
    assert!(is_relayed(&mut world));
}

#[test]
fn nonsense_is_as_good_as_silence() {
    let other_streams = "v=0\r\no=- 1 1 IN IP4 192.0.2.3\r\ns=-\r\nt=0 0\r\n";
    let nested = [&b"d"[..], &b"1:al".repeat(15_000)].concat();
    let cases: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"d".to_vec(),
        b"d6:result2:oke".to_vec(),
        b"d6:result5:error12:error-reason8:no portse".to_vec(),
        b"d6:result2:ok3:sdp5:\xff\xfe\x00\x01\x02e".to_vec(),
        b"d6:result99999999999:oke".to_vec(),
        format!("d6:result2:ok3:sdp{}:{other_streams}e", other_streams.len()).into_bytes(),
        nested,
        vec![0xff; 60_000],
    ];
    for case in cases {
        let text = case.clone();
        let answers = move |_: SocketAddr, command: &[u8]| Some(reply(command, &text));
        let mut world = world(&[nobody()], Some(Box::new(answers)));
        world.dial(&alice(), "sip:911@example.com");
        assert!(is_relayed(&mut world), "{}", case.escape_ascii());
    }
}

#[test]
fn answers_without_a_command_are_nothing() {
    let mut world = world(&[nobody()], None);
    for bytes in [&b""[..], b" ", b"x d6:result2:oke", b"0123456789abcdef1 d6:result2:oke", &[0xff; 3000]] {
        for from in [nobody(), "192.0.2.77:7".parse().unwrap()] {
            world.input(Input::Ng { from, bytes: Bytes::copy_from_slice(bytes) });
        }
    }
    world.silent();
}

#[test]
fn a_caller_who_gives_up_does_not_wait() {
    let mut world = world(&[nobody()], None);
    let invite = world.dial(&alice(), "sip:911@example.com");
    world.send(&alice(), &invite.cancel());
    let refused = world.take(&alice(), "487");
    world.send(&alice(), &invite.ack_of(&refused));
    world.take(&alice(), "200");
    let offers = commands(&world, "offer");
    // It may have had the offer all the same.
    assert_eq!(commands(&world, "delete").len(), 1);
    world.run(2000);
    assert_eq!(commands(&world, "offer"), offers, "nobody waits for it any more");
    world.none(&psap(), "INVITE");
    world.over();
}

#[test]
fn an_answer_is_not_lost_with_its_instance() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let mut world = world(&[engine.ng], real());
    let (invite, offered) = world.dialled();
    world.ng = None;
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.none(&alice(), "200");
    world.run(300);
    let ok = world.take(&alice(), "200");
    assert_eq!(sound(&ok).ip().to_string(), RELAY, "nobody is told where the other one is: {ok}");
    let mut caller = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &caller.request("ACK"));
    // The trunk has an address of the instance that is gone.
    let again = world.take(&psap(), "INVITE");
    assert_eq!(sound(&again).ip().to_string(), RELAY, "{again}");
    world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.run(10_000);
    world.silent();
    let place = |description: &crate::world::Msg| world.plane.leads_to(sound(description).port());
    assert!([place(&ok), place(&again)].iter().all(|place| place.is_some_and(|to| to.port() == 6000)));
    assert_eq!(world.node.ports_in_use(), 2);
    assert_eq!(world.ask(&alice(), &caller.request("BYE")).code(), 200);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

/// The end of either leg is not kept waiting behind an answer that is.
#[test]
fn an_end_does_not_wait_behind_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    for caller_ends in [true, false] {
        let mut world = world(&[engine.ng], real());
        let (invite, offered) = world.dialled();
        world.ng = None;
        let answer = psap().reply(&offered, 200).sdp(&psap().offer());
        world.send(&psap(), &answer);
        world.take(&psap(), "ACK");
        world.none(&alice(), "200");
        if caller_ends {
            world.send(&alice(), &invite.cancel());
            let refused = world.take(&alice(), "487");
            world.send(&alice(), &invite.ack_of(&refused));
            world.take(&alice(), "200");
            let bye = world.take(&psap(), "BYE");
            world.send(&psap(), &psap().reply(&bye, 200));
        } else {
            let mut center = Dialog::callee(psap(), &offered, &answer);
            assert_eq!(world.ask(&psap(), &center.request("BYE")).code(), 200);
            let ok = world.take(&alice(), "200");
            world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
            let bye = world.take(&alice(), "BYE");
            world.send(&alice(), &alice().reply(&bye, 200));
        }
        world.run(5000);
        world.over();
    }
}

#[test]
fn a_callback_rings_once_when_nobody_answers() {
    let mut world = world(&[nobody()], None);
    let mut call = {
        let invite = world.dial(&alice(), "sip:911@example.com");
        world.run(300);
        let offered = world.take(&psap(), "INVITE");
        world.answer(&alice(), &invite, &psap(), &offered)
    };
    let number = call.trunk.target_user();
    world.hang_up(&mut call);
    // It answers a ping, and then no more.
    world.ng = Some(Box::new(|_, command| Some(reply(command, b"d6:result4:ponge"))));
    world.run(2500);
    world.ng = None;
    world.call_back(&psap(), &number);
    world.take(&psap(), "100");
    world.none(&alice(), "INVITE");
    world.run(300);
    assert_eq!(sound(&world.take(&alice(), "INVITE")).ip().to_string(), RELAY);
    world.run(400);
    // Only its repetition.
    let again = world.take_all(&alice(), "INVITE");
    assert!(again.len() <= 1, "{again:?}");
    world.none(&psap(), "182");
}

#[test]
fn the_next_instance_takes_new_calls_and_the_relay_when_all_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (engine(&folder), engine(&folder));
    let places = [first.ng, second.ng];
    let mut world = world(&places, real());
    let (_, offered) = world.dialled();
    assert_eq!(sound(&offered).ip(), places[0].ip());
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&alice(), "180");

    // The first is killed, and nobody has noticed yet: the last try goes to the second.
    drop(first);
    let dead = places[0];
    let mut answers = real().unwrap();
    world.ng = Some(Box::new(move |to, bytes| if to == dead { None } else { answers(to, bytes) }));
    world.dial(&alice(), "sip:911@example.com");
    world.run(200);
    assert_eq!(sound(&world.take(&psap(), "INVITE")).ip(), places[1].ip());
    // And then it is known.
    world.dial(&alice(), "sip:911@example.com");
    assert_eq!(sound(&world.take(&psap(), "INVITE")).ip(), places[1].ip());

    drop(second);
    world.ng = None;
    world.dial(&alice(), "sip:911@example.com");
    world.run(300);
    assert!(is_relayed(&mut world));
}

/// Nobody hears anything through it any more: both are told of the relay, and not at somebody's next re-INVITE.
#[test]
fn a_call_that_is_up_survives_its_instance() {
    for is_restarted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let first = engine(&folder);
        let mut world = world(&[first.ng], real());
        world.talking();
        let mut answers = real().unwrap();
        world.ng = Some(Box::new(move |to, bytes| {
            let is_query = bytes.windows(12).any(|part| part == b"7:command5:q");
            let unknown = b"d6:result5:error12:error-reason15:Unknown call-ide";
            match is_restarted {
                true if is_query => Some(reply(bytes, unknown)),
                true => answers(to, bytes),
                false => None,
            }
        }));
        for _ in 0..52 {
            // A party answers at once.
            if world.on_wire(&psap(), "INVITE").is_empty() {
                world.run(100);
            }
        }
        let mut told = Vec::new();
        for party in [psap(), alice()] {
            let offered = world.take(&party, "INVITE");
            told.push(sound(&offered).ip().to_string() == RELAY);
            world.send(&party, &party.reply(&offered, 200).sdp(&party.offer()));
            world.take(&party, "ACK");
        }
        // One that has begun anew takes the call again.
        assert_eq!(told, [!is_restarted; 2]);
        world.run(4000);
        world.silent();
        assert_eq!(world.node.sizes().0, 1);
    }
}
