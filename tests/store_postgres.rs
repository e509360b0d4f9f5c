//! The real daemon on a real PostgreSQL: calls while the database is there, while it is not, and after a crash of either.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "real/postgres.rs"]
mod postgres;
mod real;

use std::time::{Duration, Instant};

use postgres::{PASSWORD, Server};
use real::world::{Call, Msg};
use real::{CONFIG, Daemon, Party, admin, durable, free, hang_up, listen, talk, talk_seen, trunk};

const HOME: &str = "127.0.0.1";

/// A daemon on the database, its phone and the call center.
struct Scene {
    daemon: Daemon,
    alice: Party,
    psap: Party,
}

impl Scene {
    fn on(server: &Server) -> Self {
        Self::with(CONFIG, server)
    }

    fn with(config: &str, server: &Server) -> Self {
        let [sip, center] = [HOME; 2].map(free);
        let config = [
            config.replace("sqlite:real.db", &server.url()),
            listen("udp", sip),
            trunk(center, "udp"),
            admin(free(HOME)),
        ];
        let daemon = Daemon::serve(&config.concat());
        let mut alice = Party::udp("alice", free(HOME), sip);
        alice.register();
        Self { daemon, alice, psap: Party::udp("psap", center, sip) }
    }

    fn talk(&mut self) -> (Call, Duration) {
        talk(&mut self.alice, &mut self.psap)
    }

    fn hang_up(&mut self, mut call: Call) {
        hang_up(&mut call, &mut self.alice, &mut self.psap);
    }

    /// The call center calls the number of `call`, and the phone of its caller rings.
    fn call_back(&mut self, call: &Call) {
        let callback = self.psap.agent.invite(&call.offered.contact());
        self.psap.send(&callback);
        let ring = self.alice.take("INVITE");
        assert_eq!(ring.header("Priority"), "psap-callback");
        self.alice.send(&self.alice.agent.reply(&ring, 180));
        self.alice.send(&self.alice.agent.reply(&ring, 486));
        self.psap.take("486 INVITE");
    }
}

/// The number that an INVITE shows, as it stands in the database.
fn digits(offered: &Msg) -> String {
    let number = offered.contact();
    number.trim_start_matches("sip:+").split('@').next().unwrap().to_owned()
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Rule 3.8b.
#[test]
fn a_lease_is_committed_before_the_invite_leaves_and_survives_kill_9() {
    let server = Server::start();
    let mut scene = Scene::with(&durable(), &server);
    let (call, _) = talk_seen(&mut scene.alice, &mut scene.psap, |offered| {
        let sql = format!("SELECT state, \"user\" FROM leases WHERE number = {}", digits(offered));
        assert_eq!(server.query(&sql), "active|alice@example.com");
    });
    scene.daemon.crash();
    scene.call_back(&call);
    let leases = scene.daemon.ask("leases");
    assert_eq!(leases[0]["number"], format!("+{}", digits(&call.offered)), "{leases}");
    let log = scene.daemon.log();
    assert!(!log.contains(PASSWORD) && !log.contains("cr%40t"), "{log}");
}

/// Rules 3.8d, 3.8f, 3.8g.
#[test]
fn a_database_that_dies_costs_no_call_and_hears_of_it_later() {
    let mut server = Server::start();
    let mut scene = Scene::on(&server);
    server.kill();
    let (call, took) = scene.talk();
    assert!(took < Duration::from_secs(1), "{took:?}");
    scene.daemon.says("the store is failing");
    scene.daemon.says("on a lease that is only in memory");
    scene.hang_up(call);
    let (call, _) = scene.talk();
    server.run();
    scene.daemon.says("the store is back");
    assert_eq!(server.query(&format!("SELECT state FROM leases WHERE number = {}", digits(&call.offered))), "active");
    scene.daemon.crash();
    scene.call_back(&call);
}

/// Rules 3.8e, 3.8g.
#[test]
fn a_database_that_hangs_keeps_a_call_no_longer_than_the_deadline() {
    let server = Server::start();
    let mut scene = Scene::on(&server);
    server.signal("STOP");
    let (call, took) = scene.talk();
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(1), "{took:?}");
    scene.daemon.says("on a lease that is only in memory");
    scene.hang_up(call);
    let (call, _) = scene.talk();
    server.signal("CONT");
    scene.hang_up(call);
    let held = "SELECT count(*) FROM leases WHERE state = 'held'";
    soon("the rows are written", || server.query(held) == "1");
    soon("the records are written", || server.query("SELECT count(*) FROM records") == "2");
    scene.daemon.says("the store is back");
}
