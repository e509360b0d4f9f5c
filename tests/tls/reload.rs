//! SIGHUP: other certificates, without dropping a connection.

use crate::daemon::Daemon;
use crate::peer::{Peer, tls};
use crate::sip::{code, options};

#[tokio::test]
async fn a_reload_renews_the_certificate_and_keeps_connections() {
    let daemon = Daemon::start("", "").await;
    let (address, client) = (daemon.address("tls"), daemon.authority.client(None));
    let mut phone = Peer::new(tls(address, &client).await.unwrap());
    assert_eq!(code(&phone.ask(&options("TLS", 1)).await), 200);

    let renewed = daemon.authority.issue(&["localhost"]);
    renewed.write(daemon.path(), "own");
    daemon.hang_up();
    daemon.says("configuration reloaded").await;
    let new = tls(address, &client).await.unwrap();
    assert_eq!(new.get_ref().1.peer_certificates(), Some(&renewed.chain()[..]), "handshakes have the new one");
    assert_eq!(code(&phone.ask(&options("TLS", 2)).await), 200, "the old connection goes on");

    // No certificate; one whose other half is not written yet; the key of another; a file that is gone.
    let other = daemon.authority.issue(&["localhost"]);
    let (half, _) = other.cert.split_at(other.cert.len() / 2);
    let files = [("own.pem", "not a certificate"), ("own.pem", half), ("own.pem", &other.cert), ("own-key.pem", "")];
    for (times, (file, text)) in files.into_iter().enumerate() {
        std::fs::write(daemon.path().join(file), text).unwrap();
        daemon.hang_up();
        let stays = || daemon.log().matches("the new configuration is wrong, the old one stays").count() == times + 1;
        daemon.until("it is not taken", stays).await;
        daemon.says(if times < 2 { "`sip.listen[1].cert`" } else { "`sip.listen[1].key`" }).await;
        let kept = tls(address, &client).await.unwrap();
        assert_eq!(kept.get_ref().1.peer_certificates(), Some(&renewed.chain()[..]), "the last good one stays");
    }
    assert_eq!(code(&phone.ask(&options("TLS", 3)).await), 200);
}

#[test]
fn check_points_at_the_key_of_a_file_that_cannot_be_used() {
    let daemon = Daemon::prepare("", "");
    let good = daemon.check();
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    std::fs::remove_file(daemon.path().join("own-key.pem")).unwrap();
    let bad = daemon.check();
    assert_eq!(bad.status.code(), Some(2));
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    let wanted =
        ["`sip.listen[1].key`", "own-key.pem cannot be read: No such file", "key = \"own-key.pem\"", "config.toml:"];
    for part in wanted {
        assert!(told.contains(part), "no {part} in\n{told}");
    }
}
