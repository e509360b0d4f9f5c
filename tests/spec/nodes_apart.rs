//! SPEC §3, §6: nodes that share a database and know too little of each other, as one that has just begun, died or returned.

use std::net::SocketAddr;

use sosbridge::lease::{ElsewhereNews, Neighbour};
use sosbridge::node::Input;

use crate::neighbours::{FIRST, NUMBER, Nodes, SECOND, config};
use crate::world::config::Toml;
use crate::world::{Agent, Dialog, World, alice, bob, psap, register};

/// What a node is told of another: where it is.
fn at(name: &str, addresses: &[&str]) -> Input {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let node = Neighbour { name: name.into(), addresses: addresses.into(), is_running: true };
    Input::Elsewhere(ElsewhereNews { nodes: vec![node], rows: vec![] })
}

#[test]
fn section_6_a_node_that_does_not_know_the_asking_one_yet_ends_no_callback() {
    let mut nodes = Nodes::after_a_call();
    nodes.first.input(at("second", &[]));
    nodes.call_back();
    nodes.run(3_000);
    nodes.first.none(&alice(), "INVITE");
    nodes.second.none(&psap(), "403");
    nodes.second.take(&psap(), "182");
    nodes.first.input(at("second", &[SECOND]));
    nodes.run(6_000);
    nodes.first.take(&alice(), "INVITE");
}

#[test]
fn section_6_a_node_that_begins_while_the_phone_is_looked_for_is_asked() {
    let mut nodes = Nodes::dead();
    nodes.call_back();
    nodes.run(4_000);
    nodes.is_cut = false;
    nodes.learn(true);
    nodes.run(6_000);
    nodes.first.take(&alice(), "INVITE");
}

#[test]
fn section_6_where_the_asked_node_is_silent_the_phone_is_looked_for_where_it_called_from() {
    let mut nodes = Nodes::after_a_call();
    nodes.is_cut = true;
    nodes.call_back();
    nodes.run(2_500);
    nodes.second.take(&alice(), "INVITE");
}

#[test]
fn section_6_a_phone_that_rings_at_another_node_rings_on_beside_a_silent_one() {
    let desk = |toml: Toml| toml.change("hold = \"60s\"", "hold = \"60s\"\ndesk = \"sip:bob@example.com\"");
    let mut first = World::after_a_call(&Toml::default());
    let [kitchen, cellar] = [77, 78].map(|at| Agent::new("alice", &format!("198.51.100.{at}:50{at}")));
    first.register(&kitchen);
    first.register(&cellar);
    let mut nodes = Nodes::with(first, World::of(&desk(config())));
    nodes.second.register(&bob());
    nodes.call_back();
    nodes.run(2_500);
    let ring = nodes.first.take(&kitchen, "INVITE");
    nodes.first.send(&kitchen, &kitchen.reply(&ring, 180));
    nodes.run(60_000);
    nodes.second.take(&bob(), "INVITE");
    nodes.run(5_000);
    nodes.first.none(&kitchen, "CANCEL");
}

#[test]
fn section_6_a_node_is_asked_at_each_of_its_addresses() {
    let mut nodes = Nodes::after_a_call();
    // One of a network that leads nowhere from here.
    nodes.second.input(at("first", &["10.9.9.9:5060", FIRST]));
    nodes.call_back();
    nodes.run(3_000);
    nodes.first.take(&alice(), "INVITE");
    // One that is ours too: it would be asked of ourselves.
    let mut nodes = Nodes::after_a_call();
    nodes.second.input(at("first", &[SECOND, FIRST]));
    nodes.call_back();
    nodes.first.take(&alice(), "INVITE");
}

#[test]
fn section_6_a_phone_that_is_looked_for_is_called_once_at_a_time() {
    let mut nodes = Nodes::dead();
    // A third node runs, and does not have the phone.
    let third = "192.0.2.3:5060";
    nodes.second.input(at("third", &[third]));
    nodes.second.call_back(&psap(), NUMBER);
    for _ in 0..25 {
        nodes.second.run(1_000);
        for ask in nodes.second.take_all(&Agent::new("third", third), "INVITE") {
            nodes.second.send(&Agent::new("third", third), &Agent::new("third", third).reply(&ask.msg, 480));
        }
    }
    let mut calls: Vec<String> =
        nodes.second.take_all(&alice(), "INVITE").iter().map(|it| it.msg.header("Call-ID").to_owned()).collect();
    calls.dedup();
    assert_eq!(calls.len(), 1, "{calls:?}");
}

#[test]
fn section_9_a_callback_that_another_node_tells_of_is_not_counted_as_up_for_ever() {
    let mut nodes = Nodes::after_a_call();
    nodes.call_back();
    let ring = nodes.first.take(&alice(), "INVITE");
    nodes.first.send(&alice(), &alice().reply(&ring, 180));
    nodes.first.send(&alice(), &alice().reply(&ring, 603));
    nodes.carry();
    nodes.second.take(&psap(), "603");
    for world in [&nodes.first, &nodes.second] {
        assert_eq!(world.metric("sosbridge_calls_active{kind=\"callback\"}"), 0.0);
    }
}

/// Rules 3.3b, 3.3c, 3.3e: the lease lasts an hour from the end of the callback, whichever node it came to.
#[test]
fn section_3_a_callback_at_another_node_renews_the_lease() {
    let config = config().sip("session_expires = \"0s\"");
    let mut nodes = Nodes::with(World::after_a_call(&Toml::default()), World::of(&config));
    // Its phone has moved.
    nodes.second.register(&alice());
    nodes.run(3_000_000);
    nodes.second.register(&alice());
    let invite = nodes.second.call_back(&psap(), NUMBER);
    let ring = nodes.second.take(&alice(), "INVITE");
    let ok = alice().reply(&ring, 200).sdp(&alice().offer());
    nodes.second.send(&alice(), &ok);
    nodes.second.take(&alice(), "ACK");
    let answer = nodes.second.take(&psap(), "200 INVITE");
    let mut trunk = Dialog::caller(psap(), &invite, &answer);
    nodes.second.send(&psap(), &trunk.request("ACK"));
    let state = |nodes: &Nodes| nodes.first.node.leases_view(0).rows[0].state.as_str().to_owned();
    // Longer than a window: two hours.
    for _ in 0..12 {
        nodes.learn(true);
        nodes.run(600_000);
        assert_eq!(state(&nodes), "held");
    }
    nodes.second.send(&psap(), &trunk.request("BYE"));
    nodes.second.run(1_000);
    nodes.learn(true);
    let (first, second) = (nodes.first.node.leases_view(0), nodes.second.node.leases_view(0));
    let ends = [first, second].map(|view| view.rows[0].expires_at.unix_millis());
    assert!(ends[0].abs_diff(ends[1]) < 60_000 && ends[1] >= nodes.second.clock() + 3_590_000, "{ends:?}");
    // And it ends where nobody calls.
    for _ in 0..60 {
        nodes.learn(true);
        nodes.run(70_000);
    }
    assert_eq!(state(&nodes), "quarantined");
}

#[test]
fn section_6_a_phone_is_looked_for_where_it_called_from_by_one_node() {
    let mut nodes = Nodes::after_a_call();
    let invite = nodes.call_back();
    let (mut phone, trunk) = nodes.answer(&alice(), &invite);
    let bye = phone.request("BYE");
    nodes.first.send(&alice(), &bye);
    nodes.carry();
    let bye = nodes.second.take(&psap(), "BYE");
    nodes.second.send(&psap(), &trunk.agent.reply(&bye, 200));
    nodes.learn(true);
    // Its registration has ended, and it may be there all the same.
    nodes.first.register_as(&alice(), &register(&alice()).set("Expires", "0"));
    nodes.first.call_back(&psap(), NUMBER);
    nodes.carry();
    nodes.first.take(&alice(), "INVITE");
    nodes.second.none(&alice(), "INVITE");
}

#[test]
fn section_6_a_hold_of_ten_minutes_among_three_nodes_keeps_asking_and_stays_small() {
    let long = config().change("hold = \"60s\"", "hold = \"600s\"");
    let mut nodes = Nodes::with(World::after_a_call(&Toml::default()), World::of(&long));
    let others = ["192.0.2.3:5060", "192.0.2.4:5060"].map(|place| Agent::new("node", place));
    let news = others.map(|other| {
        let Input::Elsewhere(news) = at(&other.address.to_string(), &[&other.address.to_string()]) else {
            panic!("news")
        };
        news.nodes
    });
    nodes.second.input(Input::Elsewhere(ElsewhereNews { nodes: news.concat(), rows: vec![] }));
    nodes.second.call_back(&psap(), NUMBER);
    let mut asked = [0; 2];
    for second in 0..590 {
        nodes.second.run(1_000);
        for (other, asked) in others.iter().zip(&mut asked) {
            for ask in nodes.second.take_all(other, "INVITE") {
                *asked += 1;
                nodes.second.send(other, &other.reply(&ask.msg, 480));
            }
        }
        let rings = nodes.second.metric("sosbridge_calls_active{kind=\"callback\"}");
        assert_eq!(rings, 1.0, "at {second} s");
    }
    assert!(asked.iter().all(|asked| (100..130).contains(asked)), "{asked:?}");
    nodes.second.run(15_000);
    nodes.second.take(&psap(), "480");
    let attempts = nodes.second.record().attempts.len();
    assert!(attempts <= 68, "{attempts}");
}

#[test]
fn section_6_a_phone_whose_person_has_declined_is_not_rung_again_by_another_node() {
    for (rings, status) in [(true, 603), (false, 486)] {
        let mut nodes = Nodes::after_a_call();
        nodes.second.register(&alice());
        nodes.call_back();
        let ring = nodes.second.take(&alice(), "INVITE");
        if rings {
            nodes.second.send(&alice(), &alice().reply(&ring, 180));
        }
        nodes.second.send(&alice(), &alice().reply(&ring, status));
        nodes.carry();
        nodes.first.none(&alice(), "INVITE");
        if rings {
            nodes.second.take(&psap(), "603");
            continue;
        }
        // It is tried again where it has answered.
        nodes.run(5_500);
        nodes.second.take(&alice(), "INVITE");
        nodes.first.none(&alice(), "INVITE");
    }
}
