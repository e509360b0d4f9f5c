//! SPEC §3 and §6, what a 200 to REGISTER promises: that the phone can be rung after a restart too.

use sosbridge::node::{Input, Row, StoreFault, StoreSin};

use crate::world::{Store, World, alice, authorized, psap, register};

/// Alice's REGISTER has been sent; the store has said nothing yet.
fn asked() -> (World, crate::world::Msg) {
    let mut world = World::new();
    world.store = Store::Silent;
    let challenge = world.ask(&alice(), &register(&alice()));
    let request = authorized(&register(&alice()), &challenge, "alice", "MD5");
    world.send(&alice(), &request);
    world.none(&alice(), "200");
    (world, request)
}

#[test]
fn the_answer_waits_for_the_store() {
    let (mut world, request) = asked();
    let write = *world.writes.last().unwrap();
    assert!(world.rows.iter().any(|row| matches!(row, Row::Binding(_))));
    // Repetitions are absorbed meanwhile.
    world.run(100);
    world.send(&alice(), &request);
    world.silent();
    world.input(Input::Stored { write, result: Ok(()) });
    let ok = world.take(&alice(), "200");
    assert!(ok.header("Contact").contains("expires=3600"), "{ok}");
    world.run(5_000);
    world.silent();
    assert_eq!(world.metric("sosbridge_store_errors_total"), 0.0);
}

#[test]
fn a_store_that_is_late_costs_the_promise_and_not_the_phone() {
    let (mut world, _) = asked();
    world.run(199);
    world.silent();
    world.run(1);
    world.take(&alice(), "200");
    assert_eq!(world.metric("sosbridge_store_errors_total"), 1.0);
    // The store wakes up: nothing is said twice.
    let write = *world.writes.last().unwrap();
    world.input(Input::Stored { write, result: Ok(()) });
    world.silent();
}

#[test]
fn a_store_that_fails_is_not_waited_for() {
    let (mut world, _) = asked();
    let fault = StoreFault { sin: StoreSin::Full, detail: "test".into() };
    let write = *world.writes.last().unwrap();
    world.input(Input::Stored { write, result: Err(fault) });
    world.take(&alice(), "200");
}

#[test]
fn a_refresh_waits_for_nothing() {
    let mut world = World::with_alice();
    world.store = Store::Silent;
    world.register(&alice());
}

#[test]
fn an_emergency_call_does_not_wait_for_the_answer() {
    let (mut world, _) = asked();
    world.store = Store::Answers;
    world.dialled();
    world.none(&alice(), "401");
    assert!(world.on_wire(&psap(), "INVITE").is_empty());
}

#[test]
fn a_callback_rings_right_behind_the_answer() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    world.hang_up(&mut call);
    let gone = register(&alice()).set("Expires", "0");
    world.register_as(&alice(), &gone);
    world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 480));
    world.wire.clear();
    world.store = Store::Silent;
    let challenge = world.ask(&alice(), &register(&alice()));
    world.send(&alice(), &authorized(&register(&alice()), &challenge, "alice", "MD5"));
    world.silent();
    let write = *world.writes.last().unwrap();
    world.input(Input::Stored { write, result: Ok(()) });
    let order: Vec<&str> =
        world.wire.iter().filter(|sent| sent.to == alice().address).map(|sent| sent.msg.method()).collect();
    assert_eq!(order, ["REGISTER", "INVITE"]);
}
