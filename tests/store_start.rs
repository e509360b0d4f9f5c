//! The real daemon on a store that cannot be opened when it starts: no call is lost for it, and what the store remembers is taken
//! over when it can be read (SPEC §10).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "real/postgres.rs"]
mod postgres;
mod real;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postgres::Server;
use real::{CONFIG, Daemon, Party, admin, free, hang_up, listen, talk, trunk};

const HOME: &str = "127.0.0.1";
/// The resource's own number, which calls show when it is not known which numbers are the node's.
const OVERFLOW: &str = "+14255550100";
const SQLITE: &str = "sqlite:real.db";

/// A daemon, its phones and the call center.
struct Scene {
    daemon: Daemon,
    sip: SocketAddr,
    alice: Party,
    bob: Party,
    psap: Party,
}

impl Scene {
    fn on(store: &str) -> Self {
        let [sip, center] = [HOME; 2].map(free);
        let config = [CONFIG.replace(SQLITE, store), listen("udp", sip), trunk(center, "udp"), admin(free(HOME))];
        let daemon = Daemon::serve(&config.concat());
        let [mut alice, mut bob] = ["alice", "bob"].map(|name| Party::udp(name, free(HOME), sip));
        alice.register();
        bob.register();
        Self { daemon, sip, alice, bob, psap: Party::udp("psap", center, sip) }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.daemon.file(&format!("real.db{suffix}"))
    }

    /// Alice calls 911 and hangs up; the number that the call center saw.
    fn alice_calls(&mut self) -> String {
        let (mut call, took) = talk(&mut self.alice, &mut self.psap);
        assert!(took < Duration::from_secs(1), "{took:?}");
        hang_up(&mut call, &mut self.alice, &mut self.psap);
        call.trunk.target_user()
    }

    fn bob_calls(&mut self) -> String {
        let (mut call, took) = talk(&mut self.bob, &mut self.psap);
        assert!(took < Duration::from_secs(1), "{took:?}");
        hang_up(&mut call, &mut self.bob, &mut self.psap);
        call.trunk.target_user()
    }

    /// The call center calls the number, and that phone rings.
    fn call_back(&mut self, number: &str, who: fn(&mut Self) -> &mut Party) {
        let callback = self.psap.agent.invite(&format!("sip:{number}@{}", self.sip));
        self.psap.send(&callback);
        let phone = who(self);
        let ring = phone.take("INVITE");
        assert_eq!(ring.header("Priority"), "psap-callback");
        phone.send(&phone.agent.reply(&ring, 180));
        phone.send(&phone.agent.reply(&ring, 486));
        self.psap.take("486 INVITE");
    }

    /// The numbers that are leased, and who has them.
    fn leases(&self) -> Vec<(String, String)> {
        let leases = self.daemon.ask("leases");
        let text = |lease: &serde_json::Value, key: &str| lease[key].as_str().unwrap().to_owned();
        leases.as_array().unwrap().iter().map(|lease| (text(lease, "number"), text(lease, "user"))).collect()
    }
}

fn alice(scene: &mut Scene) -> &mut Party {
    &mut scene.alice
}

fn bob(scene: &mut Scene) -> &mut Party {
    &mut scene.bob
}

/// Rules 3.8c, 3.8d, 3.8f, 3.8g.
#[test]
fn a_damaged_file_costs_no_call_and_a_good_one_in_its_place_gets_what_waited() {
    let mut scene = Scene::on(SQLITE);
    let before = scene.alice_calls();
    scene.daemon.stop();
    let aside = scene.file(".aside");
    fs::rename(scene.file(""), &aside).unwrap();
    fs::write(scene.file(""), "this is a letter to my mother, and no database at all".repeat(99)).unwrap();

    scene.daemon.start();
    scene.daemon.says("file is not a database; it is no sosbridge store or it is damaged: move it away");
    scene.bob.register();
    let given = scene.bob_calls();
    scene.call_back(&given, bob);
    let leased = [(given.clone(), "sip:bob@example.com".to_owned())];
    assert_eq!(scene.leases(), leased);

    fs::remove_file(scene.file("")).unwrap();
    scene.daemon.says("the store is back");
    scene.daemon.crash();
    assert_eq!(scene.leases(), leased);
    scene.call_back(&given, bob);
    // The operator has a copy after all.
    scene.daemon.stop();
    fs::write(scene.file(""), "no database").unwrap();
    scene.daemon.start();
    scene.bob.register();
    let given = scene.bob_calls();
    fs::rename(&aside, scene.file("")).unwrap();
    scene.daemon.says_times("the store is back", 2);
    if before != given {
        scene.call_back(&before, alice);
    }
    scene.call_back(&given, bob);
    scene.daemon.crash();
    scene.call_back(&given, bob);
}

/// A daemon that has ended as it should, and one that was killed: what it wrote last is in the log of the file only.
fn what_can_be_read_is_known(end: fn(&mut Daemon), in_the_way: &str) {
    let mut scene = Scene::on(SQLITE);
    let before = scene.alice_calls();
    end(&mut scene.daemon);
    let obstacle = scene.file(in_the_way);
    let _absent = fs::remove_file(&obstacle);
    fs::create_dir(&obstacle).unwrap();

    scene.daemon.start();
    scene.daemon.says("the store is failing");
    scene.call_back(&before, alice);
    let given = scene.bob_calls();
    assert_ne!(given, before, "it is Alice's");
    assert_eq!(scene.alice_calls(), before, "it is still hers");

    fs::remove_dir(&obstacle).unwrap();
    scene.daemon.says("the store is back");
    scene.daemon.crash();
    assert_eq!(scene.leases().len(), 2);
    scene.call_back(&before, alice);
    scene.call_back(&given, bob);
}

/// Rules 3.8d, 3.8g.
#[test]
fn a_file_that_can_only_be_read_is_read() {
    what_can_be_read_is_known(Daemon::stop, "-wal");
}

/// Rules 3.8c, 3.8d, 3.8g.
#[test]
fn so_is_one_whose_daemon_was_killed() {
    what_can_be_read_is_known(Daemon::kill, "-shm");
}

/// Rules 3.2c, 3.8c, 3.8d, 3.8g.
#[test]
fn a_database_that_is_away_costs_no_call_and_its_leases_are_known_when_it_comes() {
    let mut server = Server::start();
    let mut scene = Scene::on(&server.url());
    let before = scene.alice_calls();
    scene.daemon.kill();
    server.kill();

    let begun = Instant::now();
    scene.daemon.start();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    scene.daemon.says("see that PostgreSQL runs there");
    scene.bob.register();
    let given = scene.bob_calls();
    assert_eq!(given, OVERFLOW, "none of those that may be another node's");
    scene.call_back(&given, bob);
    // Another node may know whose it is: a trunk that hears 503 goes there, after 404 it would not (RFC 3263 §4.3).
    let callback = scene.psap.agent.invite(&format!("sip:{before}@{}", scene.sip));
    scene.psap.send(&callback);
    scene.psap.take("503 INVITE");

    server.run();
    scene.daemon.says("the store is back");
    scene.call_back(&before, alice);
    let stored = || server.query("SELECT '+' || number, \"user\" FROM leases WHERE state <> 'free' ORDER BY number");
    assert_eq!(stored(), format!("{OVERFLOW}|bob@example.com\n{before}|alice@example.com"));
    scene.daemon.says("the share of this node in the pools has changed");
    let own = scene.bob_calls();
    assert!(own != OVERFLOW && own != before, "{own}");
    scene.daemon.crash();
    assert_eq!(scene.leases().len(), 3);
    scene.call_back(&before, alice);
    scene.call_back(&own, bob);
}

/// Rule 3.2a.
#[test]
fn a_second_daemon_on_a_store_does_not_start() {
    let scene = Scene::on(SQLITE);
    let config = fs::read_to_string(scene.daemon.file("config.toml")).unwrap();
    let (mine, others) = (scene.sip.to_string(), free(HOME).to_string());
    let admin = config.lines().rev().find(|line| line.starts_with("listen = ")).unwrap();
    let config = config.replace(&mine, &others).replace(admin, &format!("listen = \"{}\"", free(HOME)));
    fs::write(scene.daemon.file("second.toml"), config).unwrap();
    let (status, log) = scene.daemon.serve_beside("second.toml");
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("another sosbridge is running on it"), "{log}");
}
