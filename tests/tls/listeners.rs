//! Phones and trunks that come to us over TLS.

use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use sosbridge::base::limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::certs::Authority;
use crate::daemon::Daemon;
use crate::peer::{Peer, tls};
use crate::sip::{code, header, invite, options, register};

#[tokio::test]
async fn na_2_a_phone_registers_over_tls_and_is_known_by_its_connection() {
    let daemon = Daemon::start("", "").await;
    let stream = tls(daemon.address("tls"), &daemon.authority.client(None)).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let mut phone = Peer::new(stream);
    let contact = "<sip:alice@192.0.2.7:5061;transport=tls>";
    let challenge = phone.ask(&register("TLS", contact, None)).await;
    let answer = phone.ask(&register("TLS", contact, Some(&challenge))).await;
    assert_eq!(code(&answer), 200, "{answer}");
    assert!(daemon.get("/api/v1/registrations").contains(r#""transport":"tls""#));
    // SPEC §10: a call to the phone goes over that connection; nothing is ever opened to its Contact.
    let answer = phone.ask(&options("TLS", 1)).await;
    assert_eq!(code(&answer), 200);
}

#[tokio::test]
async fn na_3_na_9_keep_alive_and_framing_are_those_of_tcp() {
    let daemon = Daemon::start("", "").await;
    let mut phone = Peer::new(tls(daemon.address("tls"), &daemon.authority.client(None)).await.unwrap());
    phone.send("\r\n\r\n").await;
    assert_eq!(phone.bytes(2).await, b"\r\n");
    let request = options("TLS", 1);
    for byte in request.as_bytes() {
        phone.stream.write_all(&[*byte]).await.unwrap();
        phone.stream.flush().await.unwrap();
    }
    assert_eq!(code(&phone.receive().await), 200, "cut anywhere");
    phone.send(&format!("{}{}", options("TLS", 2), options("TLS", 3))).await;
    assert_eq!((code(&phone.receive().await), code(&phone.receive().await)), (200, 200), "two in one");
    // The connection may be closed before all of it is written.
    let _ = phone.stream.write_all("x".repeat(200_000).as_bytes()).await;
    assert!(phone.is_closed().await, "what makes no sense closes the connection");
    assert_eq!(daemon.metric("sosbridge_parse_errors_total{reason=\"framing\"}"), Some(1.0));
}

#[tokio::test]
async fn a_bad_handshake_is_counted_and_disturbs_nobody() {
    let daemon = Daemon::start("", "").await;
    let address = daemon.address("tls");
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut wrong = Peer::new(TcpStream::connect(address).await.unwrap());
    wrong.send(&options("TCP", 1)).await;
    assert!(wrong.is_closed().await);
    let stranger = Authority::new();
    let fault = tls(address, &stranger.client(None)).await.unwrap_err();
    assert!(fault.to_string().contains("UnknownIssuer"), "{fault}");
    let failed = || daemon.metric("sosbridge_handshakes_failed_total{transport=\"tls\"}") == Some(2.0);
    daemon.until("two failed handshakes", failed).await;
    daemon.until("one line each", || daemon.log().matches("handshake failed").count() == 2).await;
    assert!(daemon.log().contains("what the peer says is not TLS"), "{}", daemon.log());

    let began = Instant::now();
    let mut phone = Peer::new(tls(address, &daemon.authority.client(None)).await.unwrap());
    assert_eq!(code(&phone.ask(&options("TLS", 1)).await), 200);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let daemon = Daemon::start("", "").await;
    let stuck = ["tls", "wss", "ws"].map(|transport| daemon.address(transport));
    let mut peers = Vec::new();
    for address in stuck {
        peers.push(Peer::new(TcpStream::connect(address).await.unwrap()));
    }
    tokio::time::sleep(limits::HANDSHAKE).await;
    for mut peer in peers {
        assert!(peer.is_closed().await);
    }
    daemon.until("one line each", || daemon.log().matches("took longer than 10 s").count() == 3).await;
}

/// Callbacks are accepted from `psap.example` by its certificate only.
const TRUNK: &str = r#"
[[trunks]]
name = "psap"
targets = [{ uri = "sip:127.0.0.1:9;transport=udp" }]
accept_from = ["PSAP.example"]
options_interval = "0s"
"#;

#[tokio::test]
async fn rfc5922_7_4_a_trunk_is_known_by_the_name_in_its_certificate() {
    let daemon = Daemon::start("client_ca = \"ca.pem\"", TRUNK).await;
    let address = daemon.address("tls");
    // Not a number of anybody: a trunk hears 404, an outsider that it has no business here.
    let call = |number| invite("TLS", "sip:+14255559999@example.com", number);
    let mut last = 0;
    let mut answer_to = async |names: Option<&[&str]>| {
        last += 1;
        let own = names.map(|names| daemon.authority.issue(names));
        let mut peer = Peer::new(tls(address, &daemon.authority.client(own.as_ref())).await.unwrap());
        code(&peer.ask(&call(last)).await)
    };
    let outsider = answer_to(None).await;
    assert!(matches!(outsider, 401 | 403), "{outsider}");
    assert_eq!(answer_to(Some(&["psap.example"])).await, 404);
    assert_eq!(answer_to(Some(&["sip:psap.example"])).await, 404);
    for stranger in [&["other.example"][..], &["sip:other.example", "psap.example"], &["*.example"]] {
        assert_eq!(answer_to(Some(stranger)).await, outsider, "{stranger:?}");
    }

    let forged = Authority::new().issue(&["psap.example"]);
    let mut forger = Peer::new(tls(address, &daemon.authority.client(Some(&forged))).await.unwrap());
    let _ = forger.stream.write_all(call(100).as_bytes()).await;
    assert!(forger.is_closed().await, "a certificate that is given is verified");
    daemon.says("nobody we trust has signed its certificate").await;
}

#[tokio::test]
async fn rfc5922_7_4_a_certificate_that_has_expired_is_nobodys() {
    let daemon = Daemon::start("client_ca = \"ca.pem\"", TRUNK).await;
    let expired = daemon.authority.issue_until(2020, &["psap.example"]);
    let mut late = Peer::new(tls(daemon.address("tls"), &daemon.authority.client(Some(&expired))).await.unwrap());
    let _ = late.stream.write_all(invite("TLS", "sip:+14255559999@example.com", 1).as_bytes()).await;
    assert!(late.is_closed().await);
    daemon.says("its certificate has expired").await;
}

#[tokio::test]
async fn what_is_no_client_hello_is_ended_and_counted() {
    let daemon = Daemon::start("", "").await;
    let address = daemon.address("tls");
    let record = |kind: u8, length: u16, rest: &[u8]| [&[kind, 3, 1][..], &length.to_be_bytes(), rest].concat();
    let table: [(&str, Vec<u8>); 6] = [
        ("a record that is too long", record(0x16, 0xffff, &[0; 100])),
        ("a hello of 16 MB", record(0x16, 4, &[1, 0xff, 0xff, 0xff])),
        ("an empty hello", record(0x16, 4, &[1, 0, 0, 0])),
        ("data before the hello", record(0x17, 4, b"data")),
        ("an alert", record(0x15, 2, &[2, 0])),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80]),
    ];
    for (what, bytes) in &table {
        let mut peer = Peer::new(TcpStream::connect(address).await.unwrap());
        peer.stream.write_all(bytes).await.unwrap();
        assert!(peer.is_closed().await, "{what}");
    }
    let failed = || daemon.metric("sosbridge_handshakes_failed_total{transport=\"tls\"}") == Some(6.0);
    daemon.until("each is counted", failed).await;
    assert!(tls(address, &daemon.authority.client(None)).await.is_ok());
}

#[tokio::test]
async fn a_sips_request_is_answered_in_sips() {
    let daemon = Daemon::start("", "").await;
    let mut phone = Peer::new(tls(daemon.address("tls"), &daemon.authority.client(None)).await.unwrap());
    let contact = "<sips:alice@192.0.2.7:5061>";
    let challenge = phone.ask(&register("TLS", contact, None)).await;
    phone.ask(&register("TLS", contact, Some(&challenge))).await;
    let call = invite("TLS", "sips:933@example.com", 1).replace("+12065550199@carrier.example", "alice@example.com");
    let answer = phone.ask(&call).await;
    assert_eq!(code(&answer), 200, "{answer}");
    // RFC 3261 §12.1.1
    assert!(header(&answer, "Contact").unwrap().starts_with("<sips:933@127.0.0.1:"), "{answer}");
}
