//! TLS and WebSocket as the node sees them: flows, names in certificates, `sips:` (RFC 3261 §26.2, RFC 5630, RFC 5922, RFC 7118).

use sosbridge::base::Protocol;
use sosbridge::node::Input;
use sosbridge::transport::ListenerId;

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, psap, register};

const TLS: ListenerId = ListenerId(2);
const WSS: ListenerId = ListenerId(3);

/// A REGISTER as browsers send it.
fn from_browser(agent: &Agent) -> Msg {
    register(agent)
        .set("Contact", "<sip:x7@df7jal23ls0d.invalid;transport=ws>")
        .set("Via", &agent.via().replace("/TCP", "/WSS").replace(&agent.address.to_string(), "df7jal23ls0d.invalid"))
}

#[test]
fn na_2_a_browser_is_reached_over_its_own_connection_and_no_other() {
    let mut world = World::of(&Toml::secure());
    let browser = world.connect_web(WSS, bob());
    world.register_as(&browser, &from_browser(&browser));
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:bob@example.com");
    let ring = world.take(&browser, "INVITE");
    assert_eq!(ring.uri(), "sip:x7@df7jal23ls0d.invalid;transport=ws");
    assert!(ring.header("Via").starts_with("SIP/2.0/WSS 192.0.2.1:8443;"), "{ring}");
    // RFC 7118 §5.3: there is no other token.
    assert_eq!(ring.contact(), "sip:alice@192.0.2.1:8443;transport=ws");
    world.send(&browser, &browser.reply(&ring, 200).sdp(&browser.offer()));
    world.take(&browser, "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    let mut caller = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &caller.request("ACK"));
    world.send(&alice(), &caller.request("BYE"));
    world.take(&browser, "BYE");

    world.input(Input::Closed { connection: browser.connection.unwrap() });
    assert_eq!(world.node.registrations_view(0).rows.len(), 2, "the binding is kept");
    let refused = world.ask(&alice(), &alice().invite("sip:bob@example.com"));
    assert_eq!(refused.code(), 503, "at once, not after a silence: {refused}");
    assert!(world.opened.is_empty(), "nobody listens in a browser: {:?}", world.opened);
}

#[test]
fn na_2_a_phone_on_tls_without_its_connection_is_not_looked_for() {
    let mut world = World::of(&Toml::secure());
    let phone = world.connect_to(TLS, bob(), &[]);
    world.register_as(&phone, &register(&phone).set("Contact", "<sip:bob@198.51.100.72:5061;transport=tls>"));
    world.register(&alice());
    world.input(Input::Closed { connection: phone.connection.unwrap() });
    let refused = world.ask(&alice(), &alice().invite("sip:bob@example.com"));
    assert_eq!(refused.code(), 503, "{refused}");
    assert!(world.opened.is_empty(), "it could not prove to be the phone: {:?}", world.opened);
}

#[test]
fn rfc5922_7_4_a_trunk_calls_back_under_the_name_of_its_certificate() {
    let certified =
        Toml::secure().change(r#"accept_from = ["203.0.113.80:5080"]"#, r#"accept_from = ["psap.example"]"#);
    let mut world = World::of(&certified);
    world.register(&alice());
    let (_, shown) = world.dialled();
    let number = shown.header("From").split(['@', ':']).nth(1).unwrap().to_owned();
    let uri = format!("sip:{number}@192.0.2.1");
    let elsewhere = Agent::new("psap", "203.0.113.99:49152");
    for (names, code) in [(&[][..], 403), (&["other.example"], 403), (&["www.example", "psap.example"], 100)] {
        let caller = world.connect_to(TLS, elsewhere, names);
        world.send(&caller, &caller.invite(&uri));
        let answer = world.take(&caller, &code.to_string());
        assert_eq!(answer.code(), code, "{names:?}");
    }
    assert_eq!(world.take(&alice(), "INVITE").header("Priority"), "psap-callback");
}

#[test]
fn a_sips_target_gets_sips_all_over_and_a_certificate_is_asked_for_its_host() {
    let sips = Toml::secure().change(r#"{ uri = "sip:203.0.113.80:5080" }"#, r#"{ uri = "sips:203.0.113.80:5080" }"#);
    let mut world = World::of(&sips);
    world.register(&alice());
    let (_, shown) = world.dialled();
    assert_eq!(shown.uri(), "sips:911@203.0.113.80:5080");
    assert!(shown.header("Via").starts_with("SIP/2.0/TLS 192.0.2.1:5061;"), "{shown}");
    // RFC 3261 §8.1.1.8; RFC 5630 §3.1.4: no transport=tls beside it.
    assert!(shown.contact().starts_with("sips:+1425555100"), "{shown}");
    assert!(shown.contact().ends_with("@192.0.2.1:5061"), "{shown}");
    let [opened] = &world.opened[..] else { panic!("{:?}", world.opened) };
    let peer = opened.peer.as_ref().expect("somebody to be sure of");
    assert_eq!((opened.protocol, opened.remote, &peer.trunk[..], &peer.host[..]), {
        (Protocol::Tls, psap().address, "psap", "203.0.113.80")
    });
}

#[test]
fn a_trunk_whose_certificate_is_not_good_is_left_at_once() {
    let tls = Toml::secure()
        .change(r#"{ uri = "sip:203.0.113.80:5080" }"#, r#"{ uri = "sip:203.0.113.80:5080;transport=tls" }"#);
    let mut world = World::of(&tls);
    world.register(&alice());
    let (_, shown) = world.dialled();
    assert!(shown.contact().ends_with("@192.0.2.1:5061;transport=tls"), "{shown}");
    let reason = "TLS: its certificate has expired".to_owned();
    world.input(Input::Failed { connection: world.opened[0].connection, reason: reason.clone() });
    world.take(&backup(), "INVITE");
    let target = &world.node.trunks_view()[0].targets[0];
    assert_eq!(target.last_error.as_deref(), Some(reason.as_str()));
}

/// Rules 1.2f, 1.2g.
#[test]
fn a_sips_request_uri_never_keeps_an_emergency_call_from_its_trunk() {
    let mut world = World::of(&Toml::secure());
    world.register(&alice());
    // SPEC §1: on any transport.
    world.dial(&alice(), "sips:911@example.com");
    let shown = world.take(&psap(), "INVITE");
    assert_eq!(shown.uri(), "sip:911@203.0.113.80:5080");
    world.send(&psap(), &psap().reply(&shown, 180));
    let ringing = world.take(&alice(), "180");
    assert_eq!(ringing.contact(), "sip:911@192.0.2.1:5060", "a sips Contact would be a lie over UDP");
}

#[test]
fn rfc3261_12_1_1_a_dialog_begun_in_sips_over_tls_has_a_sips_contact() {
    let mut world = World::of(&Toml::secure());
    let phone = world.connect_to(TLS, alice(), &[]);
    world.register(&phone);
    for (uri, contact, expected) in [
        ("sips:911@example.com", phone.contact(), "sips:911@192.0.2.1:5061"),
        ("sip:911@example.com", "<sips:alice@198.51.100.71:5071>".to_owned(), "sips:911@192.0.2.1:5061"),
        ("sip:911@example.com", phone.contact(), "sip:911@192.0.2.1:5061;transport=tls"),
    ] {
        world.send(&phone, &phone.invite(uri).set("Contact", &contact));
        let shown = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&shown, 180));
        assert_eq!(world.take(&phone, "180").contact(), expected);
    }
}

#[test]
fn rfc7118_5_a_message_ends_with_its_frame() {
    let mut world = World::of(&Toml::secure());
    let browser = world.connect_web(WSS, bob());
    let options = from_browser(&browser).to_string().replace("REGISTER", "OPTIONS");
    world.send_bytes(&browser, options.as_bytes().get(..80).unwrap());
    world.send_bytes(&browser, options.replace("Content-Length: 0\r\n", "").as_bytes());
    assert_eq!(world.take(&browser, "200").code(), 200);
    world.send_bytes(&browser, b"\r\n\r\n");
    world.send_bytes(&browser, b"\r\n");
    assert_eq!(world.pongs, 1, "NA-3");
}

#[test]
fn rfc5630_5_4_a_sips_uri_rings_no_phone_without_tls() {
    let mut world = World::of(&Toml::secure());
    world.register(&alice());
    world.register(&bob());
    let refused = world.ask(&alice(), &alice().invite("sips:bob@example.com"));
    assert_eq!(refused.code(), 480, "{refused}");
    assert!(refused.header("Warning").starts_with("380 "), "{refused}");
    world.none(&bob(), "*");
    // A second phone of his is under TLS: that one alone rings.
    let safe = world.connect_to(TLS, Agent::new("bob", "198.51.100.172:5072"), &[]);
    world.register(&safe);
    world.dial(&alice(), "sips:bob@example.com");
    world.take(&safe, "INVITE");
    world.none(&bob(), "*");
    // By sip both.
    world.dial(&alice(), "sip:bob@example.com");
    world.take(&safe, "INVITE");
    world.take(&bob(), "INVITE");
}

#[test]
fn rfc5630_5_4_a_sips_uri_rings_a_phone_over_that_flow_of_its_that_is_under_tls() {
    // RFC 5626 §7: one phone, several flows, and the first is not safe.
    let mut world = World::of(&Toml::secure());
    world.register(&alice());
    let of_phone = |contact: &str, flow| format!("{contact};+sip.instance=\"<urn:uuid:7>\";reg-id={flow}");
    world.register_as(&bob(), &register(&bob()).set("Contact", &of_phone(&bob().contact(), 1)));
    let safe = world.connect_to(TLS, Agent::new("bob", "198.51.100.72:45061"), &[]);
    let contact = of_phone("<sip:bob@198.51.100.72:5061;transport=tls>", 2);
    world.register_as(&safe, &register(&safe).set("Contact", &contact));
    world.dial(&alice(), "sips:bob@example.com");
    let ring = world.take(&safe, "INVITE");
    world.none(&bob(), "*");
    // No other flow of it is safe: it is not tried over that one.
    world.send(&safe, &safe.reply(&ring, 430));
    world.run(5_000);
    world.none(&bob(), "*");
    world.take(&alice(), "480");
}

#[test]
fn a_callback_by_sips_rings_a_phone_without_tls() {
    // SPEC §1, §6: no security keeps it from the phone that called.
    let mut world = World::of(&Toml::secure());
    world.register(&alice());
    let (_, shown) = world.dialled();
    let number = shown.header("From").split(['@', ':']).nth(1).unwrap().to_owned();
    world.send(&psap(), &psap().invite(&format!("sips:{number}@192.0.2.1")));
    assert_eq!(world.take(&alice(), "INVITE").header("Priority"), "psap-callback");
}

#[test]
fn what_goes_to_a_trunk_under_tls_stays_there() {
    let tls = Toml::secure()
        .change(r#"{ uri = "sip:203.0.113.80:5080" }"#, r#"{ uri = "sip:203.0.113.80:5080;transport=tls" }"#);
    let mut world = World::of(&tls);
    world.register(&alice());
    for transport in ["tcp", "udp", "tls"] {
        let invite = world.dial(&alice(), "sip:911@example.com");
        let trunk = Agent { connection: Some(world.opened[0].connection), ..psap() };
        let offered = world.take(&trunk, "INVITE");
        let contact = format!("<sip:psap@203.0.113.80:5062;transport={transport}>");
        world.send(&trunk, &trunk.reply(&offered, 200).set("Contact", &contact).sdp(&psap().offer()));
        let ok = world.take(&alice(), "200 INVITE");
        let mut phone = Dialog::caller(alice(), &invite, &ok);
        let ack = phone.request("ACK");
        world.send(&alice(), &ack);
        assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200);
        let told: Vec<&str> = world.wire.iter().map(|sent| sent.msg.method()).collect();
        assert_eq!(told, ["ACK", "BYE"]);
        for sent in std::mem::take(&mut world.wire) {
            assert!(sent.msg.header("Via").starts_with("SIP/2.0/TLS "), "{transport}: {}", sent.text);
        }
    }
}
