//! The real daemon while a source sends more than it can take: it still hears who asks it to end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[store]
url = "sqlite:flood.db"
[sip]
domains = ["example.com"]
[[sip.listen]]
transport = "udp"
address = "127.0.0.1:0"
[registrar]
realm = "example.com"
[media]
mode = "pass"
[admin]
listen = "127.0.0.1:0"
"#;

#[test]
fn sigterm_is_heard_in_a_flood() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_sosbridge"))
        .args(["serve", "--config"])
        .arg(&config)
        .env("SOSBRIDGE_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = log.find(|line| line.contains("listening udp ")).unwrap();
    let address = listening.rsplit(' ').next().unwrap().to_owned();
    log.find(|line| line.contains("ready")).unwrap();

    let over = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for number in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let _ = socket.send_to(options(number).as_bytes(), &address);
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let asked = Instant::now();
        let killed = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
        assert!(killed.success());
        while daemon.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        asked.elapsed()
    });
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "it ended only when the flood did");
}

fn options(number: u64) -> String {
    format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{number};rport\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: {number}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}
