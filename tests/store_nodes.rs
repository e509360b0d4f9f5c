//! Several real daemons on one PostgreSQL, with the same pools: no number is ever two callers' (SPEC §3, "Unique"), and a callback
//! rings the phone whichever of them it comes to (SPEC §6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "real/postgres.rs"]
mod postgres;
mod real;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postgres::Server;
use real::world::{Dialog, Msg};
use real::{Daemon, Party, admin, durable, free, hang_up, listen, talk, trunk};

const HOME: &str = "127.0.0.1";
/// Where a PBX is, which calls for many users.
const OFFICE: &str = "127.0.0.9";
const PBX: &str = r#"
[[pbxs]]
name = "hq"
resource = "contoso"
addresses = ["127.0.0.9/32"]
target = "sip:127.0.0.9:5060;transport=udp"
"#;
/// The resource's own number, which calls show when nothing else is left.
const OVERFLOW: &str = "14255550100";

struct Node {
    name: &'static str,
    daemon: Daemon,
    pbx: Party,
    psap: Party,
    sip: SocketAddr,
    calls: BTreeSet<String>,
}

impl Node {
    fn on(server: &Server, name: &'static str) -> Self {
        let [sip, center] = [HOME; 2].map(free);
        let config = [
            durable().replace("sqlite:real.db", &server.url()),
            format!("[node]\nname = \"{name}\"\n"),
            PBX.to_owned(),
            listen("udp", sip),
            listen("tcp", sip),
            trunk(center, "udp"),
            admin(free(HOME)),
        ];
        let daemon = Daemon::serve(&config.concat());
        let (pbx, psap) = (Party::udp("pbx", free(OFFICE), sip), Party::udp("psap", center, sip));
        Self { name, daemon, pbx, psap, sip, calls: BTreeSet::new() }
    }

    /// Somebody else dials 911, and stays; the number that the call center sees.
    fn dial(&mut self) -> String {
        let user = format!("<sip:{}-{}@hq.example.com>", self.name, self.calls.len());
        let invite = self.pbx.agent.invite("sip:911@127.0.0.1").set("P-Asserted-Identity", &user);
        self.pbx.send(&invite.set("X-Country-Code", "US"));
        loop {
            let offered = self.psap.take("INVITE");
            self.psap.send(&self.psap.agent.reply(&offered, 180));
            if self.calls.insert(offered.header("Call-ID").to_owned()) {
                return offered.contact().trim_start_matches("sip:+").split('@').next().unwrap().to_owned();
            }
        }
    }

    fn dial_times(&mut self, times: usize) -> Vec<String> {
        (0..times).map(|_| self.dial()).collect()
    }

    /// Alice registers over a connection of her own, dials 911 and hangs up: her phone, and the number that was shown.
    fn alice_calls(&mut self) -> (Party, String) {
        let mut phone = Party::connected("alice", self.sip);
        phone.register();
        let (mut call, _) = talk(&mut phone, &mut self.psap);
        hang_up(&mut call, &mut phone, &mut self.psap);
        (phone, call.trunk.target_user())
    }

    /// The call center calls the number; the INVITE, that it has sent.
    fn call_back(&mut self, number: &str) -> Msg {
        let invite = self.psap.agent.invite(&format!("sip:{number}@{}", self.sip));
        self.psap.send(&invite);
        invite
    }

    /// The phone answers its callback, and both have heard so.
    fn talks_with(&mut self, phone: &mut Party, invite: &Msg) {
        let ring = phone.take("INVITE");
        let ok = phone.agent.reply(&ring, 200).sdp(&phone.agent.offer());
        phone.send(&ok);
        phone.take("ACK");
        let answer = self.psap.take("200 INVITE");
        let mut dialog = Dialog::caller(self.psap.agent, invite, &answer);
        self.psap.send(&dialog.request("ACK"));
        self.psap.send(&dialog.request("BYE"));
        let bye = phone.take("BYE");
        phone.send(&phone.agent.reply(&bye, 200));
        self.psap.take("200 BYE");
    }

    fn leases(&self) -> BTreeSet<String> {
        let leases = self.daemon.ask("leases");
        leases.as_array().unwrap().iter().map(|lease| lease["number"].as_str().unwrap()[1..].to_owned()).collect()
    }
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the nodes have so many numbers, as `a|5 b|5`.
fn divided(server: &Server, wanted: &str) {
    divided_somehow(server, &[wanted]);
}

/// As [`divided`], in one of these ways; which.
fn divided_somehow(server: &Server, wanted: &[&str]) -> String {
    let sql = "SELECT node, sum(last - first + 1) FROM slices GROUP BY node ORDER BY node";
    let now = || server.query(sql).replace('\n', " ");
    soon(&wanted.join(" or "), || wanted.contains(&now().as_str()));
    // And until each has heard of it.
    std::thread::sleep(Duration::from_millis(1500));
    now()
}

fn all_differ(numbers: &[String]) {
    let set: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(set.len(), numbers.len(), "{numbers:?}");
    assert!(!numbers.iter().any(|number| number == OVERFLOW), "{numbers:?}");
}

/// Rules 3.2b, 3.2c.
#[test]
fn two_nodes_never_give_one_number_to_two_users() {
    let server = Server::start();
    let mut a = Node::on(&server, "a");
    divided(&server, "a|10");
    let mut b = Node::on(&server, "b");
    divided(&server, "a|5 b|5");
    let mut given = [a.dial_times(5), b.dial_times(2)].concat();
    // The one that has used up its numbers gets of those that the other has left: of all five, if it has been slow.
    let divided = divided_somehow(&server, &["a|6 b|4", "a|7 b|3"]);
    // Where more are free, so that nothing is divided anew meanwhile.
    for node in if divided == "a|6 b|4" { ["b", "b", "a"] } else { ["a", "b", "a"] } {
        given.push(if node == "a" { a.dial() } else { b.dial() });
    }
    all_differ(&given);
    assert_eq!(given.len(), 10, "the pool is used up");
    assert_eq!([a.dial(), b.dial()], [OVERFLOW, OVERFLOW]);

    let before = a.leases();
    a.daemon.crash();
    assert_eq!(a.leases(), before, "its own are back, and no others");
    assert!(before.intersection(&b.leases()).all(|number| number == OVERFLOW));
}

/// Rule 3.2c.
#[test]
fn without_the_database_each_node_goes_on_with_its_own_numbers() {
    let mut server = Server::start();
    let (mut a, mut b) = (Node::on(&server, "a"), Node::on(&server, "b"));
    divided(&server, "a|5 b|5");
    let mut given = [a.dial_times(2), b.dial_times(2)].concat();
    server.kill();
    given.extend([a.dial_times(3), b.dial_times(3)].concat());
    all_differ(&given);
    assert_eq!([a.dial(), b.dial()], [OVERFLOW, OVERFLOW]);
    server.run();
    a.daemon.says("the store is back");
    b.daemon.says("the store is back");
    soon("all are stored", || server.query("SELECT count(DISTINCT number) FROM leases") == "11");
    divided(&server, "a|5 b|5");
}

/// Rule 3.2c.
#[test]
fn a_node_that_starts_without_the_database_gives_none_of_the_numbers_until_it_is_back() {
    let mut server = Server::start();
    let (mut a, mut b) = (Node::on(&server, "a"), Node::on(&server, "b"));
    divided(&server, "a|5 b|5");
    let mut given = [a.dial_times(2), b.dial_times(1)].concat();
    let (phone, number) = b.alice_calls();
    given.push(number.trim_start_matches('+').to_owned());
    let before = b.leases();
    drop(phone);
    b.daemon.kill();
    server.kill();
    b.daemon.start();
    assert_eq!(b.dial(), OVERFLOW);
    given.extend(a.dial_times(3));
    assert_eq!([a.dial(), b.dial()], [OVERFLOW, OVERFLOW]);
    server.run();
    a.daemon.says("the store is back");
    b.daemon.says("the store is back");
    divided(&server, "a|6 b|4");
    given.extend(a.dial_times(1));
    given.extend(b.dial_times(2));
    all_differ(&given);
    assert_eq!(given.len(), 10, "the pool is used up");
    assert!(before.is_subset(&b.leases()), "{before:?} {:?}", b.leases());
    let invite = b.call_back(&number);
    b.psap.take("182");
    let mut phone = Party::connected("alice", b.sip);
    phone.register();
    b.talks_with(&mut phone, &invite);
}

/// Rule 3.2c.
#[test]
fn a_node_that_was_written_off_gives_no_number_any_more() {
    let server = Server::start();
    let (mut a, mut b) = (Node::on(&server, "a"), Node::on(&server, "b"));
    divided(&server, "a|5 b|5");
    let kept = a.dial();
    server.query("DELETE FROM slices WHERE node = 'a'; DELETE FROM nodes WHERE node = 'a'");
    a.daemon.says("another daemon has taken the place of this one");
    a.daemon.says("the share of this node in the pools has changed numbers=0");
    assert_eq!(a.dial(), OVERFLOW);
    divided(&server, "b|9");
    let mut given = b.dial_times(9);
    given.push(kept);
    all_differ(&given);
}

/// Waits until the nodes have read what the others hold.
fn told() {
    std::thread::sleep(Duration::from_millis(2500));
}

#[test]
fn a_callback_that_comes_to_another_node_rings_the_phone_over_its_connection() {
    let mut server = Server::start();
    let (mut a, mut b) = (Node::on(&server, "a"), Node::on(&server, "b"));
    divided(&server, "a|5 b|5");
    let (mut phone, number) = a.alice_calls();
    told();
    let invite = b.call_back(&number);
    b.talks_with(&mut phone, &invite);
    // What was read stays without the database.
    server.kill();
    let invite = b.call_back(&number);
    b.talks_with(&mut phone, &invite);
    server.run();
    b.daemon.says("the store is back");
    let records = b.daemon.ask("records");
    let told: Vec<_> = records.as_array().unwrap().iter().map(|record| (&record["kind"], &record["number"])).collect();
    let callback = (&"callback".into(), &number.clone().into());
    assert_eq!(told, [callback, callback]);
    assert_eq!(a.daemon.ask("records").as_array().unwrap().len(), 1, "its own call");
}

#[test]
fn a_callback_after_the_node_of_its_call_is_gone_rings_the_phone_where_it_has_come_to() {
    let server = Server::start();
    let (mut a, mut b) = (Node::on(&server, "a"), Node::on(&server, "b"));
    divided(&server, "a|5 b|5");
    let (phone, number) = a.alice_calls();
    told();
    let Node { daemon, .. } = a;
    drop((daemon, phone));
    // Nobody has noticed yet.
    let invite = b.call_back(&number);
    b.psap.take("182");
    let mut phone = Party::connected("alice", b.sip);
    phone.register();
    b.talks_with(&mut phone, &invite);
    b.daemon.says("another node has not been seen for a while");
    let invite = b.call_back(&number);
    b.talks_with(&mut phone, &invite);
    // A node that begins anew reads all.
    b.daemon.crash();
    let mut phone = Party::connected("alice", b.sip);
    phone.register();
    let invite = b.call_back(&number);
    b.talks_with(&mut phone, &invite);
}
