//! SPEC §10 and what happens while it runs: draining, a new configuration, restarts, strangers' requests.

use sosbridge::admin::Readiness;
use sosbridge::node::{Input, Row};

use crate::world::{Toml, World, alice, authorized, bob, outsider, psap, register};

/// Rule 2.4b.
#[test]
fn draining_refuses_what_is_no_emergency() {
    let mut world = World::with_alice();
    world.register(&bob());
    let mut call = world.talking();
    world.input(Input::Drain);
    assert_eq!(world.node.readiness(), Readiness::Draining);
    assert!(!world.node.is_drained());
    for refused in [
        world.ask(&alice(), &alice().invite("sip:bob@example.com")),
        world.ask(&psap(), &psap().invite("sip:bob@example.com")),
    ] {
        assert_eq!(refused.code(), 503);
        assert!(refused.has("Retry-After") && refused.header("Warning").contains("Shutting down"), "{refused}");
    }
    // A callback rings who is registered: phones may register to the end, and what they are promised is written at once.
    world.rows.clear();
    world.register(&alice());
    assert!(world.rows.iter().any(|row| matches!(row, Row::Binding(_))), "{:?}", world.rows);
    // Emergency calls and callbacks go on.
    world.send(&bob(), &bob().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
    world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 486));
    world.wire.clear();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    assert!(!world.node.is_drained(), "bob still waits for his call");
    world.run(120_000);
    assert!(world.node.is_drained());
}

#[test]
fn reload_keeps_calls_bindings_and_leases() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    // A configuration in which nothing is as it was.
    let other = Toml::default()
        .change("+14255551000-+14255551009", "+14255552000-+14255552009")
        .change("sip:203.0.113.80:5080", "sip:203.0.113.90:5080")
        .change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = [\"203.0.113.90:5080\"]");
    world.reload(&other);
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
    assert_eq!(world.node.leases_view(0).rows.len(), 1);
    let hold = call.phone.request("INVITE").sdp(&alice().offer());
    world.send(&alice(), &hold);
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    world.take(&alice(), "200 INVITE");
    let ack = call.phone.request("ACK");
    world.send(&alice(), &ack);
    world.wire.clear();
    world.hang_up(&mut call);
    // A number that has left the pools still reaches its holder, from a trunk of the new configuration only.
    world.call_back(&psap(), "+14255551000");
    world.take(&psap(), "403");
    let new = crate::world::Agent::new("new", "203.0.113.90:5080");
    world.call_back(&new, "+14255551000");
    world.take(&alice(), "INVITE");
}

#[test]
fn an_emergency_call_of_a_user_that_was_removed_is_told_why_it_is_refused() {
    let mut world = World::with_alice();
    world.reload(&Toml::default().change("sip:alice@example.com", "sip:alison@example.com"));
    let refused = world.ask(&alice(), &alice().invite("sip:911@example.com"));
    assert_eq!(refused.code(), 403);
    assert!(refused.header("Warning").contains("not configured any more"), "{refused}");
    let metrics = world.metrics.render();
    assert!(metrics.contains(r#"sosbridge_calls_total{kind="emergency",outcome="refused"} 1"#), "{metrics}");
}

/// Rules 3.2b, 3.8c.
#[test]
fn restart_brings_back_leases_and_bindings() {
    let mut world = World::with_alice();
    world.talking();
    // kill -9, in the call; back 10 s later.
    world.run(10_000);
    world.restart(&Toml::default());
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
    world.call_back(&psap(), "+14255551000");
    let ring = world.take(&alice(), "INVITE");
    assert_eq!(ring.header("Priority"), "psap-callback");
    // Another user does not get her number.
    world.register(&bob());
    world.send(&bob(), &bob().invite("sip:911@example.com"));
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.header("From").contains("+14255551001"), "{offered}");
    // A BYE of the call that died with us.
    let refused =
        world.ask(&psap(), &psap().request("BYE", "sip:+14255551000@192.0.2.1").set("To", "<sip:911@x>;tag=1-2"));
    assert_eq!(refused.code(), 481);
}

#[test]
fn options_tell_what_we_can() {
    let mut world = World::new();
    for from in [outsider(), psap(), alice()] {
        let answer = world.ask(&from, &from.request("OPTIONS", "sip:192.0.2.1:5060"));
        assert_eq!(answer.code(), 200);
        for name in ["Allow", "Accept", "Accept-Encoding", "Accept-Language", "Server"] {
            assert!(answer.has(name), "{name}: {answer}");
        }
        for method in ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"] {
            assert!(answer.header("Allow").contains(method), "{answer}");
        }
    }
    world.over();
}

#[test]
fn strange_schemes() {
    let mut world = World::with_alice();
    for (uri, status) in [("http://example.com", 416), ("urn:service:counseling", 416), ("mailto:911@example.com", 416)]
    {
        assert_eq!(world.ask(&alice(), &alice().invite(uri)).code(), status, "{uri}");
    }
    assert_eq!(world.ask(&alice(), &alice().request("OPTIONS", "tel:911")).code(), 416);
    world.silent();
}

#[test]
fn registering_under_another_name_is_refused() {
    let mut world = World::new();
    let as_bob = register(&alice()).set("To", "<sip:bob@example.com>");
    let challenge = world.ask(&alice(), &as_bob);
    let refused = world.ask(&alice(), &authorized(&as_bob, &challenge, "alice", "MD5"));
    assert_eq!(refused.code(), 403);
    // And a domain that is not ours.
    let elsewhere = register(&alice()).set("To", "<sip:alice@elsewhere.org>");
    let challenge = world.ask(&alice(), &elsewhere);
    assert!(matches!(challenge.code(), 401 | 403 | 404), "{challenge}");
    assert!(world.node.registrations_view(0).rows.is_empty());
}

#[test]
fn a_flood_of_garbage_leaves_nothing_behind() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let seeds = ["INVITE sip:911@example.com SIP/2.0\r\n", "SIP/2.0 200 OK\r\n", "\r\n\r\n", "REGISTER", "\u{0}\u{7f}"];
    for (at, byte) in (0..2_000_u32).zip((0..=255_u8).cycle()) {
        let mut bytes = seeds[at as usize % seeds.len()].as_bytes().to_vec();
        bytes.extend(std::iter::repeat_n(byte, at as usize % 97));
        world.send_bytes(&outsider(), &bytes);
    }
    world.wire.clear();
    world.hang_up(&mut call);
}
