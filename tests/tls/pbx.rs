//! Callbacks to a PBX over TLS: whom we believe to be it (RFC 5922 §7.3).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};

use crate::certs::Authority;
use crate::daemon::Daemon;
use crate::sip::header;
use crate::trunks::accept;

const SECTIONS: &str = r#"
[[trunks]]
name = "psap"
targets = [{ uri = "sip:{psap}" }]
accept_from = ["{psap}"]
options_interval = "0s"
[[routes]]
countries = ["US"]
trunks = ["psap"]
[[pbxs]]
name = "hq"
resource = "contoso"
addresses = ["{pbx}"]
target = "sip:{target};transport=tls"
ca = "ca.pem"
cert = "own.pem"
key = "own-key.pem"
"#;

async fn receive(socket: &UdpSocket, method: &str) -> String {
    let mut bytes = [0; 4096];
    loop {
        let received = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut bytes)).await;
        let count = received.unwrap_or_else(|_| panic!("no {method}")).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.starts_with(method) {
            return text;
        }
    }
}

fn invite(uri: &str, from: SocketAddr, lines: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{port};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:somebody@{from}>;tag=f{port}\r\nTo: <{uri}>\r\nCall-ID: c{port}@invalid\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:somebody@{from}>\r\n{lines}Content-Length: 0\r\n\r\n",
        port = from.port()
    )
}

/// The INVITE of a callback to a PBX that shows a certificate for `names`; `None`: it was not believed.
async fn called_back(names: &[&str], is_known: bool) -> Option<String> {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (pbx, psap) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (at_pbx, at_psap) = (pbx.local_addr().unwrap(), psap.local_addr().unwrap());
    let places = [("{psap}", at_psap), ("{pbx}", at_pbx), ("{target}", target.local_addr().unwrap())];
    let place = |text: String, (name, address): &(&str, SocketAddr)| text.replace(name, &address.to_string());
    let daemon = Daemon::start("", &places.iter().fold(SECTIONS.to_owned(), place)).await;
    let ours = daemon.address("udp");
    pbx.connect(ours).await.unwrap();
    psap.connect(ours).await.unwrap();

    let lines = "P-Asserted-Identity: <sip:+14255550177@pbx.internal>\r\nX-Country-Code: US\r\n";
    pbx.send(invite(&format!("sip:911@{ours}"), at_pbx, lines).as_bytes()).await.unwrap();
    let shown = receive(&psap, "INVITE").await;
    let number = header(&shown, "From").unwrap().split([':', '@']).nth(1).unwrap().to_owned();
    psap.send(invite(&format!("sip:{number}@{ours}"), at_psap, "").as_bytes()).await.unwrap();

    let stranger = Authority::new();
    let signer = if is_known { &daemon.authority } else { &stranger };
    // It insists on our certificate.
    let config = daemon.authority.server(&signer.issue(names), true);
    match accept(&target, &config).await {
        Ok(mut peer) => Some(peer.receive().await),
        Err(_) => {
            daemon.says("TLS: ").await;
            None
        }
    }
}

/// Rule 2.3d.
#[tokio::test]
async fn a_pbx_is_called_back_over_tls_with_its_own_authority_and_our_certificate() {
    let ring = called_back(&["127.0.0.1"], true).await.expect("a callback");
    assert!(ring.starts_with("INVITE sip:+14255550177@127.0.0.1:"), "{ring}");
    assert!(header(&ring, "Via").unwrap().starts_with("SIP/2.0/TLS "), "{ring}");
    assert_eq!(header(&ring, "Priority").as_deref(), Some("psap-callback"));
}

#[tokio::test]
async fn rfc5922_7_3_a_pbx_with_the_wrong_certificate_is_not_believed() {
    assert_eq!(called_back(&["pbx.example"], true).await, None);
    assert_eq!(called_back(&["127.0.0.1"], false).await, None);
}
