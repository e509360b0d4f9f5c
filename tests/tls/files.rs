//! SPEC §10: no call is lost for a certificate. What cannot be read at the start is done without until it can.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::daemon::Daemon;
use crate::peer::tls;
use crate::sip::{code, options};
use crate::trunks::trunk;

/// What a party on UDP hears.
fn over_udp(daemon: &Daemon) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(options("UDP", 1).as_bytes(), daemon.address("udp")).unwrap();
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    code(std::str::from_utf8(&answer[..length]).unwrap())
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_closes_its_listener_and_no_other() {
    let mut daemon = Daemon::prepare("", "");
    let good = std::fs::read_to_string(daemon.path().join("own.pem")).unwrap();
    let (half, _) = good.split_at(good.len() / 2);
    for bad in [Some("not a certificate"), Some(half), None] {
        daemon.stop();
        let file = daemon.path().join("own.pem");
        match bad {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        assert_eq!(daemon.check().status.code(), Some(2), "`check` says what it always has");
        daemon.serve().await;
        assert_eq!(over_udp(&daemon), 200);
        assert!(TcpStream::connect(daemon.address("ws")).await.is_ok());
        for transport in ["tls", "wss"] {
            let waiting = daemon.address(&format!("later: {transport}"));
            assert!(TcpStream::connect(waiting).await.is_err(), "{transport}: phones go elsewhere at once");
        }
        let log = daemon.log();
        assert!(log.contains("ERROR") && log.contains("`sip.listen[1].cert`") && log.contains("`sip.listen[2].cert`"));
        assert!(daemon.get("/readyz").contains("ready"));
        assert_eq!(daemon.metric("sosbridge_files_unusable "), Some(2.0));
    }

    // Another fault in the file of the configuration is one, and what this daemon does without anyway keeps nothing back.
    daemon.hang_up();
    daemon.says("configuration reloaded").await;
    // By itself, whoever was late with it: a disk at the start, the script that renews it.
    std::fs::write(daemon.path().join("own.pem"), &good).unwrap();
    daemon.says("every file of the configuration can be used").await;
    let client = daemon.authority.client(None);
    for transport in ["tls", "wss"] {
        // Another thread opens it.
        daemon.says(&format!("listening {transport} ")).await;
        tls(daemon.address(transport), &client).await.unwrap();
        assert_eq!(daemon.address(transport), daemon.address(&format!("later: {transport}")));
    }
    assert_eq!(daemon.metric("sosbridge_files_unusable "), Some(0.0));
}

#[tokio::test]
async fn a_trunk_whose_file_cannot_be_read_is_down_and_says_why() {
    let daemon = Daemon::start(
        "",
        &trunk("sip:127.0.0.1:9;transport=tls", "ca = \"ca.pem\"\ncert = \"none.pem\"\nkey = \"none.pem\""),
    )
    .await;
    assert_eq!(over_udp(&daemon), 200);
    let target = daemon.target("down", |target| target["last_error"].is_string()).await;
    assert_eq!(target["last_error"], "TLS: a file that it needs cannot be used: see `sosbridge check`");
}

#[test]
fn a_daemon_that_could_listen_nowhere_does_not_start() {
    let daemon = Daemon::prepare("", "");
    let config = std::fs::read_to_string(daemon.path().join("config.toml")).unwrap();
    let config = config.replace("\"udp\"", "\"tls\"\ncert = \"own.pem\"\nkey = \"own-key.pem\"");
    let config = config.replace("\"ws\"", "\"wss\"\ncert = \"own.pem\"\nkey = \"own-key.pem\"");
    std::fs::write(daemon.path().join("config.toml"), config).unwrap();
    std::fs::remove_file(daemon.path().join("own.pem")).unwrap();
    let ended = daemon.run("serve");
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("`sip.listen[0].cert`"));
}
