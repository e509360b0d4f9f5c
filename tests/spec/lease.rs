//! SPEC §3: the temporary number, and the store under it.

use sosbridge::admin::LeaseState;
use sosbridge::node::{Input, Row, StoreFault, StoreSin};

use crate::numbers::ended;
use crate::world::{Agent, Msg, Store, Toml, World, alice, bob, psap, register};

fn number(offered: &Msg) -> String {
    crate::world::uri_of(offered.header("From")).trim_start_matches("sip:").split('@').next().unwrap().to_owned()
}

/// Dials 911, is shown, and gives up.
fn number_of(world: &mut World, agent: &Agent) -> String {
    let invite = world.dial(agent, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 180));
    ended(world, agent, &invite);
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.wire.clear();
    number(&offered)
}

fn state(world: &World, number: &str) -> Option<LeaseState> {
    let rows = world.node.leases_view(0).rows;
    rows.iter().find(|lease| lease.number.to_string() == number).map(|lease| lease.state)
}

/// Rule 3.8a.
#[test]
fn durable_before_the_invite_leaves() {
    let mut world = World::with_alice();
    world.store = Store::Silent;
    world.rows.clear();
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.none(&psap(), "*");
    let is_lease = |row: &Row| matches!(row, Row::Lease(row) if row.number().to_string() == "+14255551000");
    assert!(world.rows.iter().any(is_lease), "{:?}", world.rows);
    world.run(150);
    world.none(&psap(), "*");
    let write = *world.writes.last().unwrap();
    world.input(Input::Stored { write, result: Ok(()) });
    world.take(&psap(), "INVITE");
}

/// Rule 3.8e.
#[test]
fn past_the_write_deadline_the_call_leaves_all_the_same() {
    for (deadline, wait) in [("200ms", 200), ("50ms", 50)] {
        let mut world = World::of(&Toml::default().add(&format!("[store]\nwrite_deadline = \"{deadline}\"\n")));
        world.register(&alice());
        world.store = Store::Silent;
        world.send(&alice(), &alice().invite("sip:911@example.com"));
        world.run(wait - 1);
        world.none(&psap(), "*");
        world.run(1);
        let offered = world.take(&psap(), "INVITE");
        assert_eq!(number(&offered), "+14255551000");
        // The answer that comes too late changes nothing.
        let write = *world.writes.last().unwrap();
        world.input(Input::Stored { write, result: Ok(()) });
        world.none(&psap(), "*");
        assert_eq!(world.node.sizes().0, 1);
    }
}

/// Rules 3.8d, 3.8f.
#[test]
fn a_failing_store_costs_no_call() {
    let mut world = World::with_alice();
    world.store = Store::Fails;
    let before = world.metric("sosbridge_store_errors_total");
    let invite = world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    assert!(world.metric("sosbridge_store_errors_total") > before);
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
    // The callback is not lost with it.
    world.call_back(&psap(), "+14255551000");
    world.take(&alice(), "INVITE");
}

/// Rule 3.8g.
#[test]
fn a_store_that_is_back_is_told_what_it_missed() {
    let mut world = World::with_alice();
    world.store = Store::Silent;
    let invite = world.dial(&alice(), "sip:911@example.com");
    world.run(200);
    let offered = world.take(&psap(), "INVITE");
    let fault = || Err(StoreFault { sin: StoreSin::Full, detail: "test".into() });
    for write in std::mem::take(&mut world.writes) {
        world.input(Input::Stored { write, result: fault() });
    }
    world.store = Store::Answers;
    world.rows.clear();
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
    assert!(world.rows.iter().any(|row| matches!(row, Row::Lease(row) if row.number().to_string() == "+14255551000")));
}

/// Rules 3.3d, 3.5.
#[test]
fn the_same_device_keeps_its_number() {
    let mut world = World::with_alice();
    world.register(&bob());
    let first = number_of(&mut world, &alice());
    let other = number_of(&mut world, &bob());
    assert_ne!(first, other);
    world.run(50 * 60_000);
    assert_eq!(number_of(&mut world, &alice()), first);
    // The second call has renewed it.
    world.run(50 * 60_000);
    assert_eq!(state(&world, &first), Some(LeaseState::Held));
    assert_eq!(state(&world, &other), Some(LeaseState::Quarantined));
}

#[test]
fn two_devices_of_a_user_have_two_numbers() {
    let mut world = World::new();
    let (desk, mobile) = (alice(), Agent::new("alice", "198.51.100.79:5079"));
    world.register(&desk);
    world.register(&mobile);
    let (first, second) = (number_of(&mut world, &desk), number_of(&mut world, &mobile));
    assert_ne!(first, second);
    assert_eq!((number_of(&mut world, &desk), number_of(&mut world, &mobile)), (first, second));
}

/// Rule 3.5.
#[test]
fn a_device_is_known_by_its_instance() {
    // The same phone with another address after a restart.
    let mut world = World::new();
    let instance = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
    let mut numbers = Vec::new();
    for address in ["198.51.100.71:5071", "198.51.100.77:6001"] {
        let phone = Agent::new("alice", address);
        let contact = format!("{}{instance}", phone.contact());
        world.register_as(&phone, &register(&phone).set("Contact", &contact));
        let invite = phone.invite("sip:911@example.com").set("Contact", &contact);
        world.send(&phone, &invite);
        numbers.push(number(&world.take(&psap(), "INVITE")));
        ended(&mut world, &phone, &invite);
        world.wire.clear();
    }
    assert_eq!(numbers[0], numbers[1]);
}

/// Rules 3.3c, 3.6c, 6.1b.
#[test]
fn sixty_minutes_then_quarantine_then_free() {
    // Nobody here answers session timers for hours.
    let mut world = World::of(&Toml::default().sip("session_expires = \"0s\""));
    world.register(&alice());
    let mut call = world.talking();
    // Never while the call is up.
    world.run(3 * 3_600_000);
    assert_eq!(state(&world, "+14255551000"), Some(LeaseState::Active));
    world.hang_up(&mut call);
    world.run(58 * 60_000);
    assert_eq!(state(&world, "+14255551000"), Some(LeaseState::Held));
    world.run(60_000);
    assert_eq!(state(&world, "+14255551000"), Some(LeaseState::Quarantined));
    // The quarantined number still reaches its last holder.
    world.register(&alice());
    world.call_back(&psap(), "+14255551000");
    world.take(&alice(), "INVITE");
}

/// Rule 3.6b.
#[test]
fn the_longest_rested_number_goes_first() {
    let toml = Toml::default().change("+14255551000-+14255551009", "+14255551000-+14255551001");
    let mut world = World::of(&toml.change("[routing]", "[lease]\nquarantine = \"1h\"\n[routing]"));
    world.register(&alice());
    world.register(&bob());
    let (first, second) = (number_of(&mut world, &alice()), number_of(&mut world, &bob()));
    world.run(3 * 3_600_000);
    assert!(world.node.leases_view(0).rows.is_empty());
    world.register(&bob());
    assert_eq!(number_of(&mut world, &bob()), first);
    world.register(&alice());
    assert_eq!(number_of(&mut world, &alice()), second);
}

/// Rule 3.9.
#[test]
fn the_wall_clock_jumps_and_nothing_happens() {
    let mut world = World::with_alice();
    let number = number_of(&mut world, &alice());
    for offset_ms in [86_400_000, -86_400_000, 0] {
        world.input(Input::Wall { offset_ms });
        world.run(60_000);
        assert_eq!(state(&world, &number), Some(LeaseState::Held));
    }
}

/// A pool of one number and who gets what after it: the oldest quarantined, the user's own, the shared one.
/// Rules 3.7a, 3.7b, 3.7c, 3.7f.
#[test]
fn pool_exhaustion_never_refuses_a_call() {
    let toml = Toml::default().change("+14255551000-+14255551009", "+14255551000");
    let toml = toml.resource("overflow = \"+14255550100\"");
    let mut world = World::of(&toml);
    let nomad = crate::world::nomad();
    for agent in [alice(), bob(), nomad] {
        world.register(&agent);
    }
    // Free.
    let invite = world.dial(&alice(), "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(number(&offered), "+14255551000");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    // The user's own number.
    let second = world.dial(&bob(), "sip:911@example.com");
    assert_eq!(number(&world.take(&psap(), "INVITE")), "+14255550124");
    // The resource's overflow number.
    let third = nomad.invite("sip:911@example.com").with("X-Country-Code", "US");
    world.send(&nomad, &third);
    assert_eq!(number(&world.take(&psap(), "INVITE")), "+14255550100");
    for (agent, invite) in [(bob(), second), (nomad, third)] {
        ended(&mut world, &agent, &invite);
    }
    world.wire.clear();
    world.hang_up(&mut call);
    // The oldest in quarantine.
    world.run(61 * 60_000);
    assert_eq!(state(&world, "+14255551000"), Some(LeaseState::Quarantined));
    world.register(&nomad);
    world.send(&nomad, &nomad.invite("sip:911@example.com").with("X-Country-Code", "US"));
    assert_eq!(number(&world.take(&psap(), "INVITE")), "+14255551000");
    // Whose it was is reached by it no more.
    assert_eq!(world.node.leases_view(0).rows[0].user, "sip:nomad@example.com");
}

/// Rule 3.2a.
#[test]
fn no_number_is_shown_for_two_users_at_once() {
    let users: String = (0..30)
        .map(|at| format!("[[users]]\naor = \"sip:user{at}@example.com\"\npassword = \"x\"\nresource = \"contoso\"\ncountry = \"US\"\nnumber = \"+142555502{at:02}\"\n"))
        .collect();
    let mut world = World::of(&Toml::default().add(&users));
    let mut shown = std::collections::BTreeMap::new();
    for at in 0..30 {
        let name: &'static str = Box::leak(format!("user{at}").into_boxed_str());
        let agent = Agent::new(name, &format!("198.51.100.{}:5060", 100 + at));
        let invite = agent.invite("sip:911@example.com");
        let challenge = world.ask(&agent, &invite);
        world.send(&agent, &crate::world::authorized_with(&invite, &challenge, name, "x", "MD5"));
        let number = number(&world.take(&psap(), "INVITE"));
        assert_eq!(shown.insert(number.clone(), name), None, "{number} twice");
    }
    assert_eq!(shown.keys().filter(|number| number.starts_with("+142555510")).count(), 10);
}

#[test]
fn a_contact_too_long_to_be_kept_is_replaced_by_where_the_call_came_from() {
    let mut world = World::new();
    let long = format!("<sip:{}@203.0.113.9>", "a".repeat(1100));
    let invite = alice().invite("sip:911@example.com").set("Contact", &long);
    let challenge = world.ask(&alice(), &invite);
    world.send(&alice(), &crate::world::authorized(&invite, &challenge, "alice", "MD5"));
    world.take(&psap(), "INVITE");
    assert_eq!(
        world.node.leases_view(0).rows[0].contact.as_deref(),
        Some(format!("sip:alice@{}", alice().address).as_str())
    );
}
