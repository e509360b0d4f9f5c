//! NA-7, DI-14, DI-15 where a trunk is a name: the node's part of RFC 3263.

use crate::world::{Agent, Toml, World, alice, backup, psap};
use sosbridge::base::Protocol::{Tcp, Udp};

const NAME: &str = "sbc.carrier.example";

fn second() -> Agent {
    Agent::new("second", "203.0.113.83:5080")
}

/// The first trunk is a name.
fn toml() -> Toml {
    Toml::default().change("sip:203.0.113.80:5080", &format!("sip:{NAME}"))
}

fn world() -> World {
    let mut world = World::of(&toml());
    world.register(&alice());
    world
}

#[test]
fn na_7_the_next_record_is_tried_when_one_fails() {
    let mut world = world();
    world.answer_dns(NAME, &[(Udp, "203.0.113.83:5080", 20, 0), (Udp, "203.0.113.80:5080", 10, 0)]);
    let (_, first) = world.dialled();
    // Silence: the next record of the same name, before the next trunk.
    world.run(2_100);
    let next = world.take(&second(), "INVITE");
    world.none(&backup(), "INVITE");
    assert_ne!(next.header("Call-ID"), first.header("Call-ID"));
    world.send(&second(), &second().reply(&next, 503));
    world.take(&backup(), "INVITE");
    let record = world.node.calls_view(0).rows;
    assert_eq!(record[0].trunk.as_deref(), Some("backup"));
}

#[test]
fn na_7_a_record_that_failed_is_tried_after_the_trunks_that_answer() {
    let mut world = world();
    world.answer_dns(NAME, &[(Udp, "203.0.113.80:5080", 10, 0), (Udp, "203.0.113.83:5080", 20, 0)]);
    world.dialled();
    world.run(2_100);
    let refuse = |world: &mut World, by: Agent| {
        let offered = world.take(&by, "INVITE");
        world.send(&by, &by.reply(&offered, 486));
    };
    refuse(&mut world, second());
    refuse(&mut world, backup());
    world.wire.clear();
    // The next round: what is silent costs the caller its wait, and nobody pays that while somebody answers.
    world.run(1_100);
    refuse(&mut world, second());
    world.none(&psap(), "INVITE");
    refuse(&mut world, backup());
    world.take(&psap(), "INVITE");
}

/// Most carriers have records of several transports that lead to one host. When that is dead, its silence costs the wait once.
#[test]
fn na_7_what_is_silent_over_one_transport_is_asked_over_another_after_all_others() {
    let mut world = world();
    let places =
        [(Udp, "203.0.113.80:5080", 10, 0), (Tcp, "203.0.113.80:5080", 20, 0), (Udp, "203.0.113.83:5080", 30, 0)];
    world.answer_dns(NAME, &places);
    world.dialled();
    for (next, is_over_tcp) in [(second(), false), (backup(), false), (psap(), true)] {
        world.wire.clear();
        world.run(2_000);
        let sent = world.on_wire(&next, "INVITE");
        assert_eq!(sent.first().map(|sent| sent.connection.is_some()), Some(is_over_tcp), "{}", next.name);
    }
}

/// Two names of a carrier may stand for one machine.
#[test]
fn na_7_two_records_of_one_place_are_one_to_try() {
    let mut world = world();
    let places = [("203.0.113.80:5080", 10, 0), ("203.0.113.80:5080", 10, 1), ("203.0.113.80:5080", 20, 0)];
    world.answer_dns(NAME, &places.map(|(place, priority, weight)| (Udp, place, priority, weight)));
    world.dialled();
    world.run(2_000);
    world.take(&backup(), "INVITE");
}

#[test]
fn na_7_the_transport_is_that_of_the_record() {
    let mut world = world();
    world.answer_dns(NAME, &[(Tcp, "203.0.113.80:5080", 0, 0), (Udp, "203.0.113.83:5080", 1 << 16, 0)]);
    world.dial(&alice(), "sip:911@example.com");
    let sent = world.on_wire(&psap(), "INVITE");
    assert!(sent[0].connection.is_some(), "over a connection");
    assert!(sent[0].msg.header("Via").starts_with("SIP/2.0/TCP "), "{}", sent[0].text);
}

#[test]
fn na_7_a_call_goes_out_on_old_answers_when_dns_is_down() {
    let mut world = world();
    world.answer_dns(NAME, &[(Udp, "203.0.113.80:5080", 0, 0)]);
    // The TTL is over, and nobody answers any more, for an hour.
    for _ in 0..60 {
        world.run(60_000);
        while !world.asked.is_empty() {
            world.answer_dns(NAME, &[]);
        }
    }
    world.register(&alice());
    let before = world.clock();
    world.dialled();
    assert_eq!(world.clock(), before, "without waiting");
    assert!(
        !world.asked.is_empty() || {
            world.run(11_000);
            !world.asked.is_empty()
        },
        "and it is asked on"
    );
}

#[test]
fn na_7_a_name_without_any_answer_yet_does_not_hold_up_the_call() {
    let mut world = world();
    world.dial(&alice(), "sip:911@example.com");
    let next = world.take(&backup(), "INVITE");
    world.answer_dns(NAME, &[(Udp, "203.0.113.80:5080", 0, 0)]);
    world.send(&backup(), &backup().reply(&next, 500));
    // The next round knows it.
    world.run(1_100);
    world.take(&psap(), "INVITE");
}

#[test]
fn na_7_addresses_never_touch_dns() {
    let mut world = World::with_alice();
    world.dialled();
    world.run(120_000);
    assert!(world.asked.is_empty());
}

#[test]
fn na_7_an_answer_that_changes_moves_the_next_call() {
    let mut world = world();
    world.answer_dns(NAME, &[(Udp, "203.0.113.80:5080", 0, 0)]);
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.run(1_000);
    world.answer_dns(NAME, &[(Udp, "203.0.113.83:5080", 0, 0)]);
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    world.take(&second(), "INVITE");
    world.none(&psap(), "INVITE");
}

#[test]
fn di_14_a_redirect_is_followed_to_the_trunks_own_targets_by_name() {
    let uri = |uri: &str, priority: u8| format!("{{ uri = \"sip:{uri}\", priority = {priority} }}");
    let own = [uri("203.0.113.80:5080", 1), uri("203.0.113.84:5080", 2), uri("two.carrier.example", 3)].join(", ");
    let toml = Toml::default().change("{ uri = \"sip:203.0.113.80:5080\" }", &own);
    let third = Agent::new("third", "203.0.113.84:5080");
    // (Contact of the 302, who gets the next INVITE)
    let cases = [
        ("<sip:911@two.carrier.example>", second()),
        ("<sip:911@203.0.113.83:5080>", second()),
        ("<sip:911@evil.example>", third),
        ("<sip:911@203.0.113.81:5080>", third),
        ("<sip:911@198.51.100.71:5071>", third),
    ];
    for (contact, expected) in cases {
        let mut world = World::of(&toml);
        world.register(&alice());
        world.answer_dns("two.carrier.example", &[(Udp, "203.0.113.83:5080", 0, 0)]);
        let (_, first) = world.dialled();
        world.send(&psap(), &psap().reply(&first, 302).set("Contact", contact));
        world.take(&psap(), "ACK");
        world.take(&expected, "INVITE");
        world.silent();
    }
}

#[test]
fn di_15_a_name_that_leads_to_ourselves() {
    let mut world = world();
    world.answer_dns(NAME, &[(Udp, "192.0.2.1:5060", 0, 0)]);
    world.dial(&alice(), "sip:911@example.com");
    let ourselves = Agent::new("ourselves", "192.0.2.1:5060");
    let looped = world.take(&ourselves, "INVITE");
    world.send(&ourselves, &looped);
    let refused = world.take(&ourselves, "482");
    world.send(&ourselves, &refused);
    // Once, and on to the next trunk.
    world.take(&ourselves, "ACK");
    world.take(&backup(), "INVITE");
    world.none(&ourselves, "INVITE");
}
