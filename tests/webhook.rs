//! The real daemon and webhooks that fail, hang, hang up and come late: SPEC §9, told until it is acknowledged, and no call
//! waits for it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "tls/certs.rs"]
#[allow(dead_code)]
mod certs;
mod real;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use real::{Daemon, Party, admin, durable, free, hang_up, listen, talk, trunk};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the endpoint does with a request it has read.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16),
    HangUp,
    /// Says nothing, for ever.
    Hang,
    /// Byte by byte.
    Slowly,
}

struct Request {
    head: String,
    body: Value,
}

/// A web server of the test: does what it was told for each request in turn, and the last for all further ones.
struct Endpoint {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Endpoint {
    fn start(acts: &[Act]) -> Self {
        Self::at(free("127.0.0.1"), acts, None)
    }

    fn at(address: SocketAddr, acts: &[Act], tls: Option<Arc<ServerConfig>>) -> Self {
        let socket = TcpListener::bind(address).unwrap();
        let (seen, requests) = channel();
        let acts = Arc::new(Mutex::new(acts.iter().rev().copied().collect::<Vec<_>>()));
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let (seen, acts, tls) = (seen.clone(), Arc::clone(&acts), tls.clone());
                std::thread::spawn(move || match tls {
                    None => visit(stream, &seen, &acts),
                    Some(tls) => visit(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &seen, &acts),
                });
            }
        });
        Self { address, requests }
    }

    fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

/// One request; a handshake that fails is none.
fn visit(stream: impl Read + Write, seen: &Sender<Request>, acts: &Mutex<Vec<Act>>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let act = {
        let mut acts = acts.lock().unwrap();
        if acts.len() > 1 { acts.pop().unwrap() } else { acts[0] }
    };
    let _ = seen.send(Request { head, body: serde_json::from_slice(&body).unwrap() });
    let stream = reader.get_mut();
    match act {
        Act::Answer(status) => {
            let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        }
        Act::HangUp => {}
        Act::Hang => std::thread::sleep(Duration::from_secs(3600)),
        Act::Slowly => {
            for byte in b"HTTP/1.1 200 At last\r\nContent-Length: 0\r\n\r\n" {
                let _ = stream.write_all(&[*byte]).and_then(|()| stream.flush());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

struct Site {
    daemon: Daemon,
    phone: Party,
    center: Party,
}

impl Site {
    /// With these lines of configuration at the end.
    fn open(notify: &str) -> Self {
        let [udp, center] = ["127.0.0.1"; 2].map(free);
        let center = SocketAddr::new("127.0.0.2".parse().unwrap(), center.port());
        let config = [&durable(), &listen("udp", udp), &trunk(center, "udp"), &admin(free("127.0.0.1")), notify];
        let daemon = Daemon::serve(&config.concat());
        let mut phone = Party::udp("alice", free("127.0.0.1"), udp);
        phone.register();
        Self { daemon, phone, center: Party::udp("psap", center, udp) }
    }

    /// An emergency call from beginning to end.
    fn call(&mut self) {
        let (mut call, _) = talk(&mut self.phone, &mut self.center);
        hang_up(&mut call, &mut self.phone, &mut self.center);
    }

    /// Waits until the file of the store has such a row.
    fn stores(&self, row: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        let file = rusqlite::Connection::open(self.daemon.file("real.db")).unwrap();
        let sql = format!("SELECT count(*) FROM {row}");
        while file.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            assert!(std::time::Instant::now() < end, "no {row}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The notifications of the newest record, once that is so.
    fn notifications(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let told = self.daemon.ask("records")[0]["notifications"].clone();
            if is_so(&told) {
                return told;
            }
            assert!(std::time::Instant::now() < end, "{told}\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn hook(endpoint: &Endpoint) -> String {
    format!("[notify]\nurl = \"http://{}/hook?site=1\"\n", endpoint.address)
}

/// Rules 9.2d, 9.2f.
#[test]
fn tried_again_until_acknowledged_under_the_same_id_and_in_order() {
    let endpoint = Endpoint::start(&[Act::Answer(500), Act::HangUp, Act::Slowly, Act::Answer(204)]);
    let mut site = Site::open(&(hook(&endpoint) + "token = \"s3cret\"\n"));
    site.call();
    let tries = [(); 4].map(|()| endpoint.next());
    let head = tries[0].head.to_lowercase();
    assert!(head.starts_with("post /hook?site=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer s3cret\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert_eq!(
        tries.each_ref().map(|tried| tried.body["event"].as_str().unwrap()),
        ["emergency_call", "emergency_call", "emergency_call", "call_ended"]
    );
    assert!(tries[1].body == tries[0].body && tries[2].body == tries[0].body);
    assert_eq!(tries[0].body["callback_number"], "+14255551000");
    let told = site.notifications(|told| told[1]["state"] == "delivered");
    assert_eq!((&told[0]["attempts"], &told[0]["state"]), (&3.into(), &"delivered".into()));
}

/// Rule 9.2c.
#[test]
fn an_endpoint_that_hangs_keeps_no_call_waiting() {
    let endpoint = Endpoint::start(&[Act::Hang]);
    let mut site = Site::open(&hook(&endpoint));
    // Each call is told of, is answered and ends while the endpoint has answered nothing at all.
    for _ in 0..3 {
        site.call();
        assert_eq!(endpoint.next().body["event"], "emergency_call");
    }
    let pending = site.notifications(|told| told[1]["state"] == "pending");
    assert_eq!(pending[0]["state"], "pending");
}

/// Rules 9.2a, 9.2f.
#[test]
fn kill_9_between_dialling_and_delivery_loses_nothing() {
    let address = free("127.0.0.1");
    let mut site = Site::open(&format!("[notify]\nurl = \"http://{address}/\"\n"));
    let invite = site.phone.agent.invite("sip:911@example.com");
    site.phone.send(&invite);
    // The call center sees the call: from here on the notice is on the disk.
    site.center.take("INVITE");
    site.daemon.kill();
    let endpoint = Endpoint::at(address, &[Act::Answer(200)], None);
    site.daemon.start();
    let told = endpoint.next();
    assert_eq!((&told.body["event"], &told.body["user"]), (&"emergency_call".into(), &"sip:alice@example.com".into()));
    // And once told, it is not told again.
    site.stores("notice_list WHERE state = 'delivered'");
    let log = site.daemon.log();
    assert!(
        !log.contains("takes notifications again"),
        "the first try after the start was the one that succeeded: {log}"
    );
    site.daemon.crash();
    site.phone.register();
    site.call();
    let next = endpoint.next();
    assert!(next.body["event"] == "emergency_call" && next.body["call"] != told.body["call"], "{}", next.body);
}

#[test]
fn over_tls_only_to_whom_the_authority_vouches_for() {
    let [ours, theirs] = [(); 2].map(|()| certs::Authority::new());
    let folder = tempfile::tempdir().unwrap();
    ours.write(folder.path());
    let issued = ours.issue(&["127.0.0.1"]);
    let section = |address: SocketAddr| {
        let ca = folder.path().join("ca.pem");
        format!("[notify]\nurl = \"https://{address}/\"\nca = \"{}\"\n", ca.display())
    };
    let good = Endpoint::at(free("127.0.0.1"), &[Act::Answer(200)], Some(ours.server(&issued, false)));
    let mut site = Site::open(&section(good.address));
    site.call();
    assert_eq!(good.next().body["event"], "emergency_call");
    drop(site);

    let wrong = theirs.server(&theirs.issue(&["127.0.0.1"]), false);
    let bad = Endpoint::at(free("127.0.0.1"), &[Act::Answer(200)], Some(wrong));
    let mut site = Site::open(&section(bad.address));
    site.call();
    let told = site.notifications(|told| told[0]["attempts"] == 1);
    assert_eq!(told[0]["state"], "pending");
    assert!(bad.requests.try_recv().is_err(), "nothing of the caller is told to a stranger");
    site.daemon.says("the webhook does not take notifications");
    site.daemon.says("certificate");
}

/// Rule 6.4f.
#[test]
fn a_phone_that_sleeps_is_woken_by_way_of_the_other_webhook() {
    let endpoint = Endpoint::start(&[Act::Answer(200)]);
    let section = format!("[callback]\nwake_url = \"http://{}/wake\"\nwake_token = \"s3cret\"\n", endpoint.address);
    let mut site = Site::open(&section);
    let agent = site.phone.agent;
    let contact = format!("<sip:alice@{};pn-provider=apns;pn-param=team.app;pn-prid=00fc>", agent.address);
    let register = real::world::register(&agent).set("Contact", &contact);
    let challenge = site.phone.ask(&register);
    let answer = site.phone.ask(&real::world::authorized(&register, &challenge, "alice", "MD5"));
    assert_eq!(answer.code(), 200, "{answer}");
    site.call();
    site.center.send(&site.center.agent.invite("sip:+14255551000@example.com"));
    let woken = endpoint.next();
    assert!(woken.head.to_lowercase().contains("\r\nauthorization: bearer s3cret\r\n"), "{}", woken.head);
    assert_eq!((&woken.body["pn_provider"], &woken.body["pn_prid"]), (&"apns".into(), &"00fc".into()));
}
