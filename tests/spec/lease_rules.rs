//! SPEC §3, §6, §7: who holds which number when numbers are scarce, calls are tests, the daemon restarts or pools move.

use crate::numbers::ended;
use crate::world::{Agent, Dialog, Msg, Toml, World, alice, bob, nomad, psap};

fn number(offered: &Msg) -> String {
    crate::world::uri_of(offered.header("From")).trim_start_matches("sip:").split('@').next().unwrap().to_owned()
}

/// Dials, is shown, and gives up.
pub fn shown(world: &mut World, agent: &Agent, invite: &Msg) -> String {
    world.send(agent, invite);
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 180));
    ended(world, agent, invite);
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.wire.clear();
    number(&offered)
}

fn dials(world: &mut World, agent: &Agent) -> String {
    shown(world, agent, &agent.invite("sip:911@example.com"))
}

/// The callback rings `callee` and nobody of `others`.
pub fn rings(world: &mut World, number: &str, callee: &Agent, others: &[Agent]) {
    let callback = world.call_back(&psap(), number);
    let ring = world.take(callee, "INVITE");
    for other in others {
        world.none(other, "INVITE");
    }
    world.send(callee, &callee.reply(&ring, 486));
    world.run(2_000);
    let cancel = callback.cancel();
    world.send(&psap(), &cancel);
    world.run(1_000);
    world.wire.clear();
}

fn test_call(world: &mut World, agent: &Agent) -> Msg {
    let invite = agent.invite("sip:933@example.com");
    world.send(agent, &invite);
    if world.on_wire(agent, "200 INVITE").is_empty() {
        let refused = world.take(agent, "486");
        world.wire.clear();
        return refused;
    }
    let ok = world.take(agent, "200 INVITE");
    let mut phone = Dialog::caller(*agent, &invite, &ok);
    world.send(agent, &phone.request("ACK"));
    let bye = phone.request("BYE");
    assert_eq!(world.ask(agent, &bye).code(), 200);
    world.wire.clear();
    ok
}

/// A pool of one number, which alice holds; bob has no number of his own, so the shared one is next.
fn exhausted() -> World {
    let toml = Toml::default().change("+14255551000-+14255551009", "+14255551000");
    let mut world = World::of(&toml.resource("overflow = \"+14255550100\""));
    world.register(&alice());
    assert_eq!(dials(&mut world, &alice()), "+14255551000");
    world
}

/// Rule 3.7d.
#[test]
fn a_shared_number_rings_its_most_recent_caller_and_is_flagged() {
    let mut world = exhausted();
    world.register(&nomad());
    let invite = nomad().invite("sip:911@example.com").with("X-Country-Code", "US");
    assert_eq!(shown(&mut world, &nomad(), &invite), "+14255550100");
    assert!(world.record().shared, "the record of the call says that its number is shared");
    let lease = world.node.leases_view(0).rows.into_iter().find(|lease| lease.number.to_string() == "+14255550100");
    let lease = lease.unwrap();
    assert_eq!(
        (lease.origin.as_deref(), lease.shared, lease.user.as_str()),
        (Some("overflow"), true, "sip:nomad@example.com")
    );
    rings(&mut world, "+14255550100", &nomad(), &[alice()]);
    let record = world.record();
    assert_eq!((record.call.kind.as_str(), record.shared), ("callback", true));
    // A number of one holder is not.
    rings(&mut world, "+14255551000", &alice(), &[nomad()]);
    assert!(!world.record().shared);
}

/// Rule 3.7e.
#[test]
fn a_low_pool_is_told_once_each_crossing() {
    let mut world = World::new();
    let phones: Vec<Agent> =
        (0..10_u16).map(|at| Agent::new("alice", &format!("198.51.100.{}:5071", 110 + at))).collect();
    let mut levels = Vec::new();
    for phone in &phones {
        world.register(phone);
        dials(&mut world, phone);
        world.run(1_000);
        levels.push(world.metric("sosbridge_pool_alarm{pool=\"pool-1\"}"));
    }
    assert_eq!(levels, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0]);
    // All are at rest after an hour, and free after a day.
    world.run(25 * 3_600_000 + 60_000);
    assert_eq!(world.metric("sosbridge_pool_alarm{pool=\"pool-1\"}"), 0.0);
}

/// Rule 6.6d.
#[test]
fn after_the_quarantine_a_number_is_nobodys() {
    let mut world = World::of(&Toml::default().change("[routing]", "[lease]\nquarantine = \"1h\"\n[routing]"));
    world.register(&alice());
    let given = dials(&mut world, &alice());
    world.run(3 * 3_600_000);
    world.register(&alice());
    world.wire.clear();
    world.call_back(&psap(), &given);
    world.take(&psap(), "404");
    world.none(&alice(), "INVITE");
}

/// Rules 3.2b, 6.2a.
#[test]
fn each_device_is_called_back_on_its_own_number_after_a_restart_too() {
    let toml = Toml::default();
    let mut world = World::of(&toml);
    let (desk, mobile) = (alice(), Agent::new("alice", "198.51.100.79:5079"));
    world.register(&desk);
    world.register(&mobile);
    let (first, second) = (dials(&mut world, &desk), dials(&mut world, &mobile));
    assert_ne!(first, second);
    rings(&mut world, &first, &desk, &[mobile]);
    rings(&mut world, &second, &mobile, &[desk]);
    world.restart(&toml);
    assert_eq!(world.node.leases_view(0).rows.len(), 2);
    world.call_back(&psap(), &second);
    world.take(&mobile, "INVITE");
    world.none(&desk, "INVITE");
}

#[test]
fn tests_are_counted_for_each_user_and_hour() {
    let limited =
        |limit: u32| Toml::default().change("[routing]", &format!("[lease]\ntests_per_hour = {limit}\n[routing]"));
    let mut world = World::of(&limited(2));
    world.register(&alice());
    world.register(&bob());
    for _ in 0..2 {
        assert_eq!(test_call(&mut world, &alice()).code(), 200);
    }
    // RFC 6881 ED-82.
    let refused = test_call(&mut world, &alice());
    assert_eq!(refused.code(), 486, "{refused}");
    assert!(refused.header("Warning").contains("2 in an hour"), "{refused}");
    let record = world.record();
    assert_eq!((record.outcome.as_str(), record.status, record.call.test), ("refused", Some(486), true), "{record:?}");
    assert_eq!(record.call.user.as_deref(), Some("sip:alice@example.com"));
    assert!(record.reason.unwrap().contains("2 in an hour"));
    let wait: u32 = refused.header("Retry-After").parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(world.metric("sosbridge_calls_total{kind=\"test\",outcome=\"refused\"}"), 1.0);
    // Others are not concerned, nor is a real call.
    assert_eq!(test_call(&mut world, &bob()).code(), 200);
    dials(&mut world, &alice());
    world.reload(&limited(3));
    assert_eq!(test_call(&mut world, &alice()).code(), 200);
    assert_eq!(test_call(&mut world, &alice()).code(), 486);
    world.run(3_600_000);
    world.register(&alice());
    world.wire.clear();
    assert_eq!(test_call(&mut world, &alice()).code(), 200);
}

/// Rule 7.1b.
#[test]
fn a_test_shares_a_real_lease_and_leaves_it_real() {
    let mut world = World::with_alice();
    let given = dials(&mut world, &alice());
    let before = world.node.leases_view(0).rows.remove(0);
    world.run(60_000);
    assert_eq!(test_call(&mut world, &alice()).header("X-Emergency-Number"), given);
    let after = world.node.leases_view(0).rows.remove(0);
    assert_eq!((after.test, after.dialled_at), (false, before.dialled_at));
    assert!(after.expires_at >= before.expires_at, "never shorter");
}

/// Rule 7.1h.
#[test]
fn the_test_service_is_a_test_in_every_country() {
    // GB and DK have no test number (RFC 6881 ED-77: the service is the same everywhere).
    for country in ["US", "PR", "CA", "GB", "DK"] {
        for urn in ["urn:service:test.sos", "urn:service:test.sos.fire"] {
            let mut world = World::new();
            world.register(&nomad());
            let invite = nomad().invite(urn).with("X-Country-Code", country);
            world.send(&nomad(), &invite);
            world.take(&nomad(), "200 INVITE");
            assert_eq!(world.node.calls_view(0).rows[0].kind.as_str(), "test", "{urn} in {country}");
            assert!(world.node.leases_view(0).rows[0].test);
        }
    }
}
