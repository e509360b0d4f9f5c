//! TLS and WebSocket on IPv6 (CONFORMANCE NA-8).

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::daemon::Daemon;
use crate::peer::{Peer, tls};
use crate::sip::{code, header, ok, options, register};
use crate::trunks::{accept, trunk};
use crate::websocket::{ask, upgrade};

const LISTEN: &str = r#"
[[sip.listen]]
transport = "tls"
address = "[::1]:0"
cert = "own.pem"
key = "own-key.pem"
[[sip.listen]]
transport = "ws"
address = "[::1]:0"
[[sip.listen]]
transport = "wss"
address = "[::1]:0"
cert = "own.pem"
key = "own-key.pem"
"#;

/// Where it listens for this transport on IPv6.
fn address(daemon: &Daemon, transport: &str) -> SocketAddr {
    let told = format!("listening {transport} [");
    let log = daemon.log();
    let line = log.lines().find_map(|line| line.split_once(&told)).unwrap_or_else(|| panic!("no {told} in\n{log}"));
    format!("[{}", line.1.trim()).parse().unwrap()
}

#[tokio::test]
async fn na_8_phones_on_tls_and_websocket_over_ipv6() {
    let daemon = Daemon::start("", LISTEN).await;
    let stream = tls(address(&daemon, "tls"), &daemon.authority.client(None)).await.unwrap();
    let source = stream.get_ref().0.local_addr().unwrap();
    let mut phone = Peer::new(stream);
    let contact = "<sip:alice@[2001:db8::7]:5061;transport=tls>";
    let challenge = phone.ask(&register("TLS", contact, None)).await;
    let answer = phone.ask(&register("TLS", contact, Some(&challenge))).await;
    assert_eq!(code(&answer), 200, "{answer}");
    assert!(header(&answer, "Via").unwrap().contains(";received=::1;"), "{answer}");
    assert!(daemon.get("/api/v1/registrations").contains(&format!("\"source\":\"{source}\"")));

    let plain = TcpStream::connect(address(&daemon, "ws")).await.unwrap();
    let mut browser = upgrade(plain, Some("sip")).await.unwrap();
    assert_eq!(code(&ask(&mut browser, &options("WS", 1)).await), 200);
    let secure = tls(address(&daemon, "wss"), &daemon.authority.client(None)).await.unwrap();
    let mut browser = upgrade(secure, Some("sip")).await.unwrap();
    assert_eq!(code(&ask(&mut browser, &options("WSS", 2)).await), 200);
}

#[tokio::test]
async fn na_8_a_trunk_on_tls_over_ipv6() {
    let socket = TcpListener::bind("[::1]:0").await.unwrap();
    let uri = format!("sip:{};transport=tls", socket.local_addr().unwrap());
    let daemon = Daemon::start("", &format!("{LISTEN}{}", trunk(&uri, "ca = \"ca.pem\""))).await;
    // Its certificate is for the address that the target names.
    let config = daemon.authority.server(&daemon.authority.issue(&["::1"]), false);
    let mut trunk = accept(&socket, &config).await.unwrap();
    let request = trunk.receive().await;
    let own = address(&daemon, "tls");
    assert!(header(&request, "Via").unwrap().starts_with(&format!("SIP/2.0/TLS {own};")), "{request}");
    assert!(header(&request, "Contact").unwrap().contains(&own.to_string()), "{request}");
    trunk.send(&ok(&request)).await;
    daemon.target("up", |target| target["state"] == "up").await;
}
