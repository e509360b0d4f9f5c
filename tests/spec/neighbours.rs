//! SPEC §3, §6: nodes that share a database. A call was made at one node, and its callback comes to another.

use std::net::SocketAddr;

use sosbridge::lease::{self, ElsewhereNews, Neighbour};
use sosbridge::node::{Input, Row};

use crate::world::config::Toml;
use crate::world::{Agent, Dialog, Msg, World, alice, bob, outsider, psap, register};

pub const NUMBER: &str = "+14255551000";
pub const FIRST: &str = "192.0.2.1:5060";
pub const SECOND: &str = "192.0.2.2:5060";

/// Two nodes, and what is sent from one to the other.
pub struct Nodes {
    pub first: World,
    pub second: World,
    pub is_cut: bool,
}

fn node(address: &str) -> Agent {
    Agent::new("node", address)
}

pub fn config() -> Toml {
    let second = Toml::default().change(FIRST, SECOND).change(FIRST, SECOND);
    second.change("+14255551000-+14255551009", "+14255551010-+14255551019")
}

impl Nodes {
    /// Alice's phone is registered at the first node, has called 911 there and hung up.
    pub fn after_a_call() -> Self {
        Self::of(World::after_a_call(&Toml::default()))
    }

    fn of(first: World) -> Self {
        Self::with(first, World::of(&config()))
    }

    pub fn with(first: World, second: World) -> Self {
        let mut nodes = Self { first, second, is_cut: false };
        let behind = nodes.first.clock() - nodes.second.clock();
        nodes.second.run(behind);
        nodes.learn(true);
        nodes
    }

    /// Each reads what the other has written.
    pub fn learn(&mut self, is_running: bool) {
        let rows = |world: &World| -> Vec<lease::Row> {
            let lease = |row: &Row| if let Row::Lease(row) = row { Some(row.clone()) } else { None };
            world.rows.iter().filter_map(lease).collect()
        };
        let [of_first, of_second] = [rows(&self.first), rows(&self.second)];
        let news = |name: &str, address: &str, rows: Vec<lease::Row>| {
            let addresses = vec![address.parse::<SocketAddr>().unwrap()].into();
            let nodes = vec![Neighbour { name: name.into(), addresses, is_running }];
            let rows = rows.into_iter().map(|row| (name.into(), row)).collect();
            Input::Elsewhere(ElsewhereNews { nodes, rows })
        };
        self.first.input(news("second", SECOND, of_second));
        self.second.input(news("first", FIRST, of_first));
    }

    /// The first node is gone, as the database sees it.
    pub fn dead() -> Self {
        let mut nodes = Self::after_a_call();
        nodes.is_cut = true;
        nodes.learn(false);
        nodes
    }

    /// Carries what the nodes send to each other.
    pub fn carry(&mut self) {
        loop {
            let to_first = self.second.take_all(&node(FIRST), "*");
            let to_second = self.first.take_all(&node(SECOND), "*");
            if to_first.is_empty() && to_second.is_empty() {
                return;
            }
            if self.is_cut {
                continue;
            }
            to_first.iter().for_each(|sent| self.first.send_bytes(&node(SECOND), sent.text.as_bytes()));
            to_second.iter().for_each(|sent| self.second.send_bytes(&node(FIRST), sent.text.as_bytes()));
        }
    }

    pub fn run(&mut self, millis: u64) {
        for _ in 0..millis / 100 {
            self.first.run(100);
            self.second.run(100);
            self.carry();
        }
    }

    /// The trunk calls the number back, at the second node.
    pub fn call_back(&mut self) -> Msg {
        let invite = self.second.call_back(&psap(), NUMBER);
        self.carry();
        self.second.take(&psap(), "100");
        invite
    }

    /// A phone of the first node answers; who speaks with whom.
    pub fn answer(&mut self, phone: &Agent, invite: &Msg) -> (Dialog, Dialog) {
        let ring = self.first.take(phone, "INVITE");
        self.first.send(phone, &phone.reply(&ring, 180));
        self.carry();
        self.second.take(&psap(), "180");
        let ok = phone.reply(&ring, 200).sdp(&phone.offer());
        self.first.send(phone, &ok);
        self.carry();
        self.first.take(phone, "ACK");
        let answer = self.second.take(&psap(), "200 INVITE");
        let mut trunk = Dialog::caller(psap(), invite, &answer);
        self.second.send(&psap(), &trunk.request("ACK"));
        (Dialog::callee(*phone, &ring, &ok), trunk)
    }

    fn over(&mut self) {
        self.run(100_000);
        self.first.over();
        self.second.over();
    }

    fn expires(&self) -> u64 {
        self.first.node.leases_view(0).rows[0].expires_at.unix_millis()
    }
}

#[test]
fn section_6_a_callback_rings_the_phone_at_the_node_where_it_is() {
    let mut nodes = Nodes::after_a_call();
    let expired = nodes.expires();
    nodes.run(30_000);
    let invite = nodes.call_back();
    let ring = nodes.first.on_wire(&alice(), "INVITE").remove(0).msg;
    assert_eq!(ring.header("Priority"), "psap-callback");
    let (mut phone, mut trunk) = nodes.answer(&alice(), &invite);
    nodes.run(20_000);
    let bye = phone.request("BYE");
    nodes.first.send(&alice(), &bye);
    nodes.carry();
    nodes.first.take(&alice(), "200 BYE");
    let bye = nodes.second.take(&psap(), "BYE");
    nodes.second.send(&psap(), &trunk.agent.reply(&bye, 200));
    let _ = trunk.request("BYE");
    nodes.over();
    assert!(nodes.expires() >= expired + 50_000, "the callback renews the lease");
    let record = nodes.second.record();
    let told = (record.call.kind.as_str(), record.outcome.as_str(), record.call.number.unwrap().to_string());
    assert_eq!(told, ("callback", "answered", NUMBER.to_owned()));
    assert_eq!(nodes.first.record().call.kind.as_str(), "emergency", "one node tells of it");
}

#[test]
fn section_6_the_trunk_gives_up_and_the_phone_stops_ringing() {
    let mut nodes = Nodes::after_a_call();
    let invite = nodes.call_back();
    let ring = nodes.first.take(&alice(), "INVITE");
    nodes.first.send(&alice(), &alice().reply(&ring, 180));
    nodes.carry();
    nodes.second.send(&psap(), &invite.cancel());
    nodes.carry();
    nodes.first.take(&alice(), "CANCEL");
    nodes.first.send(&alice(), &alice().reply(&ring, 487));
    nodes.over();
}

#[test]
fn section_6_the_word_of_the_person_in_danger_counts_over_nodes() {
    let mut nodes = Nodes::after_a_call();
    nodes.second.register(&bob());
    nodes.call_back();
    let ring = nodes.first.take(&alice(), "INVITE");
    nodes.first.send(&alice(), &alice().reply(&ring, 180));
    nodes.carry();
    nodes.first.send(&alice(), &alice().reply(&ring, 603));
    nodes.carry();
    nodes.second.take(&psap(), "603");
}

#[test]
fn section_6_the_users_other_phones_join_at_their_nodes() {
    let mut nodes = Nodes::after_a_call();
    let kitchen = Agent::new("alice", "198.51.100.77:5077");
    nodes.second.register(&kitchen);
    let cellar = Agent::new("alice", "198.51.100.78:5078");
    nodes.first.register(&cellar);
    nodes.call_back();
    let ring = nodes.first.take(&alice(), "INVITE");
    nodes.first.send(&alice(), &alice().reply(&ring, 180));
    nodes.run(19_000);
    nodes.second.none(&kitchen, "INVITE");
    nodes.first.none(&cellar, "INVITE");
    nodes.run(2_000);
    nodes.second.take(&kitchen, "INVITE");
    nodes.first.take(&cellar, "INVITE");
    nodes.first.none(&alice(), "INVITE");
}

#[test]
fn section_6_a_phone_that_has_come_to_the_node_of_the_callback_rings_there() {
    for mut nodes in [Nodes::after_a_call(), Nodes::dead()] {
        nodes.second.register(&alice());
        nodes.call_back();
        nodes.second.take(&alice(), "INVITE");
        nodes.first.none(&alice(), "INVITE");
    }
}

#[test]
fn section_6_a_node_that_is_gone_is_not_waited_for() {
    // As the database knows: the phone is looked for where it called from.
    let mut nodes = Nodes::dead();
    nodes.call_back();
    nodes.second.take(&alice(), "INVITE");

    // As nobody knows yet.
    let mut nodes = Nodes::after_a_call();
    nodes.is_cut = true;
    let kitchen = Agent::new("alice", "198.51.100.77:5077");
    nodes.second.register(&kitchen);
    nodes.call_back();
    nodes.run(2_500);
    nodes.second.take(&kitchen, "INVITE");
    nodes.second.take(&psap(), "182");
    nodes.run(2_500);
    nodes.second.register(&alice());
    nodes.second.take(&alice(), "INVITE");
}

#[test]
fn section_6_a_phone_that_is_away_is_found_at_whichever_node_it_comes_to() {
    for comes_to_second in [true, false] {
        let mut first = World::new();
        let phone = first.connect(alice());
        first.register(&phone);
        let invite = first.dial(&phone, "sip:911@example.com");
        let offered = first.take(&psap(), "INVITE");
        let mut call = first.answer(&phone, &invite, &psap(), &offered);
        first.hang_up(&mut call);
        first.input(Input::Closed { connection: phone.connection.unwrap() });
        first.drops_connects = true;
        let mut nodes = Nodes::of(first);
        nodes.second.drops_connects = true;
        nodes.call_back();
        nodes.run(3_000);
        nodes.second.take(&psap(), "182");
        nodes.run(20_000);
        let world = if comes_to_second { &mut nodes.second } else { &mut nodes.first };
        let back = world.connect(alice());
        world.register(&back);
        nodes.run(6_000);
        let world = if comes_to_second { &mut nodes.second } else { &mut nodes.first };
        world.take(&back, "INVITE");
    }
}

#[test]
fn section_6_a_phone_that_has_left_the_node_of_its_call_is_asked_for_at_the_others() {
    let mut nodes = Nodes::after_a_call();
    nodes.first.register_as(&alice(), &register(&alice()).set("Expires", "0"));
    let moved = Agent::new("alice", "198.51.100.78:5078");
    nodes.second.register_as(&moved, &register(&moved).set("Contact", &alice().contact()));
    nodes.first.call_back(&psap(), NUMBER);
    nodes.carry();
    let ring = nodes.second.take(&moved, "INVITE");
    assert!(ring.uri().contains("198.51.100.71:5071"), "{}", ring.uri());
}

#[test]
fn section_10_only_nodes_may_ask_for_devices() {
    let mut nodes = Nodes::after_a_call();
    for devices in ["origin", "others", "all"] {
        let uri = format!("sip:{NUMBER}@{FIRST};devices={devices}");
        nodes.first.send(&outsider(), &outsider().invite(&uri));
        nodes.first.take(&outsider(), "403");
    }
    nodes.first.none(&alice(), "INVITE");
    // And they for devices only, of numbers that are leased.
    for (uri, status) in [
        (format!("sip:+14255551009@{FIRST};devices=all"), "404"),
        (format!("sip:{NUMBER}@{FIRST};devices=mine"), "403"),
        (format!("sip:{NUMBER}@{FIRST}"), "403"),
        (format!("sip:bob@{FIRST};devices=all"), "401"),
    ] {
        nodes.first.send(&node(SECOND), &node(SECOND).invite(&uri));
        nodes.first.take(&node(SECOND), status);
    }
    nodes.first.none(&alice(), "INVITE");
}

#[test]
fn section_3_of_a_number_that_two_nodes_have_lent_the_newest_caller_is_called_back() {
    let mut nodes = Nodes::after_a_call();
    let mut rows = nodes.first.rows.to_vec();
    let Some(Row::Lease(lease::Row::Lease(newest))) = rows.pop() else { panic!("a lease") };
    let lent = |after: u64, user: &str| {
        let mut lease = newest.clone();
        lease.dialled = sosbridge::base::Instant::from_millis(lease.dialled.as_millis() + after);
        lease.user = user.into();
        lease.device.key = bob().contact().trim_matches(['<', '>']).into();
        (format!("node-{after}").into(), lease::Row::Lease(lease))
    };
    let news = ElsewhereNews { nodes: vec![], rows: vec![lent(1, "bob@example.com"), lent(0, "nomad@example.com")] };
    nodes.second.register(&bob());
    nodes.second.input(Input::Elsewhere(news));
    nodes.call_back();
    nodes.second.take(&bob(), "INVITE");
    nodes.second.none(&alice(), "INVITE");
}
