//! Trunks that we go to over TLS: whom we believe, what we show, what operators hear when it fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certs::Authority;
use crate::daemon::Daemon;
use crate::peer::Peer;
use crate::sip::{header, ok};

async fn listen() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub fn trunk(uri: &str, keys: &str) -> String {
    format!(
        "[[trunks]]\nname = \"psap\"\ntargets = [{{ uri = \"{uri}\" }}]\naccept_from = [\"127.0.0.1/32\"]\n\
         options_interval = \"1s\"\n{keys}\n"
    )
}

pub async fn accept(socket: &TcpListener, config: &Arc<ServerConfig>) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
    let (stream, _) = socket.accept().await.unwrap();
    TlsAcceptor::from(Arc::clone(config)).accept(stream).await.map(Peer::new)
}

#[tokio::test]
async fn a_trunk_over_tls_gets_requests_that_name_tls() {
    for (uri, contact) in [("sip:{};transport=tls", ";transport=tls>"), ("sips:{}", "<sips:")] {
        let (socket, address) = listen().await;
        let keys = "ca = \"ca.pem\"\ncert = \"own.pem\"\nkey = \"own-key.pem\"";
        let uri = uri.replace("{}", &address.to_string());
        let daemon = Daemon::start("", &trunk(&uri, keys)).await;
        // It insists on our certificate, and has one for its address (the target is written as an address).
        let config = daemon.authority.server(&daemon.authority.issue(&["127.0.0.1"]), true);
        let mut trunk = accept(&socket, &config).await.unwrap();
        let request = trunk.receive().await;
        assert!(request.starts_with(&format!("OPTIONS {uri} SIP/2.0")), "{request}");
        assert!(header(&request, "Via").unwrap().starts_with("SIP/2.0/TLS 127.0.0.1:"), "{request}");
        assert!(header(&request, "Contact").unwrap().contains(contact), "{request}");
        trunk.send(&ok(&request)).await;
        let target = daemon.target("up", |target| target["state"] == "up").await;
        assert_eq!(target["last_error"], serde_json::Value::Null, "{target}");
    }
}

/// The reason that `trunks` gives for a target that shows a certificate for `names`, signed by `authority` or a stranger.
async fn reason_for(uri: &str, names: &[&str], is_known: bool) -> String {
    let (socket, address) = listen().await;
    let uri = uri.replace("{}", &address.port().to_string());
    let daemon = Daemon::start("", &trunk(&uri, "ca = \"ca.pem\"")).await;
    let stranger = Authority::new();
    let signer = if is_known { &daemon.authority } else { &stranger };
    let config = signer.server(&signer.issue(names), false);
    assert!(accept(&socket, &config).await.is_err());
    // A failed handshake is a failed target at once; of a name, once each of its addresses has failed.
    let target = daemon.target("down", |target| target["state"] == "down" && target["last_error"].is_string()).await;
    target["last_error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn rfc5922_7_3_a_trunk_with_the_wrong_certificate_is_not_believed() {
    let by_address = "sip:127.0.0.1:{};transport=tls";
    assert_eq!(
        reason_for(by_address, &["psap.example"], true).await,
        "TLS: its certificate is for psap.example, not for 127.0.0.1"
    );
    assert_eq!(reason_for(by_address, &[], true).await, "TLS: its certificate is for nobody, not for 127.0.0.1");
    assert_eq!(
        reason_for("sip:localhost:{};transport=tls", &["sip:psap.example", "localhost"], true).await,
        "TLS: its certificate is for psap.example, not for localhost"
    );
    assert_eq!(
        reason_for(by_address, &["127.0.0.1"], false).await,
        "TLS: nobody we trust has signed its certificate (`ca`)"
    );
}

#[tokio::test]
async fn a_trunk_that_wants_a_certificate_we_do_not_have_is_told_of() {
    let (socket, address) = listen().await;
    let uri = format!("sip:{address};transport=tls");
    let daemon = Daemon::start("", &trunk(&uri, "ca = \"ca.pem\"")).await;
    let config = daemon.authority.server(&daemon.authority.issue(&["127.0.0.1"]), true);
    assert!(accept(&socket, &config).await.is_err());
    let target = daemon.target("a reason", |target| target["last_error"].is_string()).await;
    assert_eq!(target["last_error"], "TLS: the peer wants a certificate of ours (`cert`, `key`)");
    assert_eq!(target["state"], "down");
}

#[tokio::test]
async fn a_trunk_that_is_not_there_or_says_nothing_is_told_of() {
    let (socket, address) = listen().await;
    let daemon = Daemon::start("", &trunk(&format!("sip:{address};transport=tls"), "")).await;
    // Whoever connects waits in the backlog and hears nothing, for as long as the reason is looked for.
    let target = daemon.target("a reason", |target| target["last_error"].is_string()).await;
    assert_eq!(target["last_error"], "no connection within 4 s");
    drop(socket);
    daemon.target("refused", |target| target["last_error"] == "connection refused").await;
}

/// A trunk whose certificate, for `names`, does not hold any more, and a 911 that has no other way. The trunk hears the INVITE; or
/// `None` when it was not believed within `patience`.
async fn emergency_over_an_expired_certificate(names: &[&str], patience: Duration) -> (Daemon, Option<String>) {
    let (socket, address) = listen().await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let rest = trunk(&format!("sip:{address};transport=tls"), "ca = \"ca.pem\"")
        .replace("127.0.0.1/32", &address.to_string())
        + "[[routes]]\ncountries = [\"US\"]\ntrunks = [\"psap\"]\n"
        + &format!(
            "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"127.0.0.1/32\"]\ntarget = \"sip:{}\"\n",
            phone.local_addr().unwrap()
        );
    let daemon = Daemon::start("", &rest).await;
    let config = daemon.authority.server(&daemon.authority.issue_until(2020, names), false);
    // No other request is sent there: it is what it seems.
    for _ in 0..2 {
        assert!(accept(&socket, &config).await.is_err());
    }
    daemon.target("down", |target| target["last_error"] == "TLS: its certificate has expired").await;
    let text = crate::sip::invite("UDP", &format!("sip:911@{}", daemon.address("udp")), 1);
    let text = text.replace(
        "Content-Length",
        "P-Asserted-Identity: <sip:+14255550177@pbx.internal>\r\nX-Country-Code: US\r\nContent-Length",
    );
    phone.send_to(text.as_bytes(), daemon.address("udp")).await.unwrap();
    let heard = async {
        loop {
            let Ok(mut peer) = accept(&socket, &config).await else { continue };
            loop {
                let request = peer.receive().await;
                if request.starts_with("INVITE ") {
                    return request;
                }
            }
        }
    };
    let heard = tokio::time::timeout(patience, heard).await.ok();
    (daemon, heard)
}

/// SPEC §10: no emergency call is refused for a certificate while any path exists. Our own clock may be what is wrong.
#[tokio::test]
async fn an_emergency_call_that_all_trunks_failed_goes_to_one_whose_certificate_has_expired() {
    let (daemon, heard) = emergency_over_an_expired_certificate(&["127.0.0.1"], Duration::from_secs(30)).await;
    assert!(heard.expect("an INVITE").starts_with("INVITE sip:911@"));
    daemon.says("a certificate that does not hold is taken, as the last resort of an emergency call").await;
    let (_, heard) = emergency_over_an_expired_certificate(&["psap.example"], Duration::from_secs(6)).await;
    assert_eq!(heard, None, "whose it is matters all the same");
}
