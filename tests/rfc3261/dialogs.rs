//! DI-1 to DI-5, DI-10, DI-13 to DI-15: identities, route sets, and what fits no dialog (RFC 3261 §8, §12, §13).

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, bob, outsider, param, psap, uri_of};

#[test]
fn di_1_identities_of_the_two_legs() {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com");
    let invite = invite
        .set("Max-Forwards", "12")
        .with("Record-Route", "<sip:198.51.100.200;lr>")
        .with("Via", "SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bKinner");
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    assert_ne!(offered.header("Call-ID"), invite.header("Call-ID"));
    assert_ne!(param(offered.header("From"), "tag"), param(invite.header("From"), "tag"));
    assert_eq!((offered.cseq(), offered.header("Max-Forwards")), (1, "70"));
    assert_eq!(offered.contact(), "sip:+14255551000@192.0.2.1:5060");
    assert_eq!(offered.values("Via").len(), 1);
    assert!(offered.header("Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK"), "{offered}");
    for name in ["Route", "Record-Route"] {
        assert!(!offered.has(name), "{name} in\n{offered}");
    }

    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    let answer = answer.set("Contact", "<sip:desk7@203.0.113.80:5080>").with("Record-Route", "<sip:203.0.113.80;lr>");
    world.send(&psap(), &answer);
    let ok = world.take(&alice(), "200 INVITE");
    assert_eq!(ok.contact(), "sip:911@192.0.2.1:5060");
    assert_eq!(ok.values("Record-Route"), ["<sip:198.51.100.200;lr>"]);
    assert_eq!(ok.values("Via"), invite.values("Via").iter().map(|via| stamped(via)).collect::<Vec<_>>());
    assert_ne!(param(ok.header("To"), "tag"), param(answer.header("To"), "tag"));
    assert_eq!((ok.header("Call-ID"), ok.header("From")), (invite.header("Call-ID"), invite.header("From")));
    assert!(!ok.to_string().contains("desk7"), "{ok}");
}

/// As RFC 3581 §4 has the node stamp the top Via; others stay.
fn stamped(via: &str) -> String {
    match via.strip_suffix(";rport") {
        Some(start) => format!("{start};received=198.51.100.71;rport=5071"),
        None => via.to_owned(),
    }
}

#[test]
fn di_2_loose_route_set_per_leg() {
    let mut world = World::with_alice();
    let (proxy, edge) = (Agent::new("proxy", "203.0.113.85:5060"), Agent::new("edge", "203.0.113.86:5060"));
    let (invite, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    let answer = answer.with("Record-Route", "<sip:203.0.113.86;lr>, <sip:203.0.113.85;lr>");
    world.send(&psap(), &answer);
    // §12.1.2: in reverse order.
    let ack = world.take(&proxy, "ACK");
    assert_eq!(ack.values("Route").join(", "), "<sip:203.0.113.85;lr>, <sip:203.0.113.86;lr>");
    assert_eq!(ack.uri(), answer.contact());
    let mut phone = Dialog::caller(alice(), &invite, &world.take(&alice(), "200"));
    world.send(&alice(), &phone.request("ACK"));
    let bye = phone.request("BYE");
    world.send(&alice(), &bye);
    let bye = world.take(&proxy, "BYE");
    assert_eq!((bye.values("Route"), bye.uri()), (ack.values("Route"), ack.uri()));
    world.none(&edge, "*");
    world.none(&psap(), "BYE");
}

#[test]
fn di_2_strict_route_set() {
    let mut world = World::with_alice();
    let strict = Agent::new("strict", "203.0.113.85:5060");
    let (_, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    let answer = answer.with("Record-Route", "<sip:203.0.113.86;lr>").with("Record-Route", "<sip:203.0.113.85>");
    world.send(&psap(), &answer);
    // §12.2.1.1: the first hop is the Request-URI, the target the last route.
    let ack = world.take(&strict, "ACK");
    assert_eq!(ack.uri(), "sip:203.0.113.85");
    assert_eq!(ack.values("Route"), ["<sip:203.0.113.86;lr>", &format!("<{}>", answer.contact())]);
}

#[test]
fn di_2_route_set_of_a_dialog_the_trunk_began() {
    let mut world = World::with_alice();
    world.register(&bob());
    world.secrets.clear();
    let proxy = Agent::new("proxy", "203.0.113.85:5070");
    let invite = psap().invite("sip:bob@example.com");
    let invite = invite
        .with("Record-Route", "<sip:203.0.113.85:5070;lr>")
        .with("Record-Route", "<sip:203.0.113.86;lr>")
        .set("Contact", "<sip:taker@203.0.113.99:5080>");
    world.send(&psap(), &invite);
    let ring = world.take(&bob(), "INVITE");
    assert!(!ring.has("Record-Route") && !ring.has("Route"), "{ring}");
    let answer = bob().reply(&ring, 200).sdp(&bob().offer());
    world.send(&bob(), &answer);
    let ok = world.take(&psap(), "200 INVITE");
    assert_eq!(ok.values("Record-Route"), invite.values("Record-Route"));
    world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
    let bye = Dialog::callee(bob(), &ring, &answer).request("BYE");
    assert_eq!(world.ask(&bob(), &bye).code(), 200);
    // §12.1.1: in order, on a dialog that the peer began.
    let bye = world.take(&proxy, "BYE");
    assert_eq!(bye.values("Route"), ["<sip:203.0.113.85:5070;lr>", "<sip:203.0.113.86;lr>"]);
    assert_eq!(bye.uri(), "sip:taker@203.0.113.99:5080");
}

#[test]
fn di_5_unknown_dialog() {
    let mut world = World::with_alice();
    let call = world.talking();
    for method in ["BYE", "INVITE", "INFO", "OPTIONS", "UPDATE", "MESSAGE"] {
        let strange = [
            Dialog { call_id: "another".into(), ..call.phone.clone() },
            Dialog { remote: "<sip:911@example.com>;tag=1-2".into(), ..call.phone.clone() },
            Dialog { remote: "<sip:911@example.com>;tag=nonsense".into(), ..call.phone.clone() },
            Dialog { local: "<sip:alice@example.com>;tag=guessed".into(), ..call.phone.clone() },
        ];
        for mut dialog in strange {
            dialog.cseq = 40;
            let refused = world.ask(&alice(), &dialog.request(method));
            assert_eq!(refused.code(), 481, "{method}\n{refused}");
        }
    }
    world.send(&alice(), &Dialog { call_id: "another".into(), ..call.phone.clone() }.request("ACK"));
    world.none(&psap(), "*");
    world.take_all(&alice(), "100");
    world.silent();
    assert_eq!(world.node.sizes().0, 1);
}

#[test]
fn di_10_one_dialog_toward_the_caller() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    let mut tags = Vec::new();
    for (tag, code) in [("a", 180), ("b", 180), ("c", 183), ("b", 180)] {
        let early = psap().reply(&offered, code).set("To", &format!("<sip:911@203.0.113.80:5080>;tag={tag}"));
        world.send(&psap(), &early.with("Record-Route", &format!("<sip:203.0.113.8{};lr>", tags.len() + 4)));
        tags.push(param(world.take(&alice(), &code.to_string()).header("To"), "tag").to_owned());
    }
    let answer = psap().reply(&offered, 200).set("To", "<sip:911@203.0.113.80:5080>;tag=b").sdp(&psap().offer());
    world.send(&psap(), &answer);
    let ack = world.take(&psap(), "ACK");
    assert!(ack.header("To").ends_with(";tag=b"));
    assert!(!ack.has("Route"), "the route set is that of the 2xx\n{ack}");
    let ok = world.take(&alice(), "200 INVITE");
    tags.push(param(ok.header("To"), "tag").to_owned());
    assert!(tags.iter().all(|tag| *tag == tags[0] && !tag.is_empty()), "{tags:?}");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    let bye = phone.request("BYE");
    world.send(&alice(), &bye);
    assert!(world.take(&psap(), "BYE").header("To").ends_with(";tag=b"));
}

#[test]
fn di_13_unknown_extensions() {
    let mut world = World::with_alice();
    let call = world.talking();
    let requests: Vec<Msg> = vec![
        // One to an emergency number is not refused for it (SPEC §10).
        alice().invite("sip:bob@example.com"),
        alice().request("OPTIONS", "sip:example.com"),
        alice().request("REGISTER", "sip:example.com"),
        call.phone.clone().request("INVITE").sdp(&alice().offer()),
        call.phone.clone().request("INFO"),
    ];
    for request in requests {
        let request = request.with("Require", "quantum, 100rel").with("Proxy-Require", "teleport");
        let refused = world.ask(&alice(), &request);
        assert_eq!(refused.code(), 420, "{request}");
        let unsupported = refused.values("Unsupported").join(",").replace(' ', "");
        // RFC 3262 §4: only an INVITE can require 100rel.
        let expected = if request.method() == "INVITE" { "quantum,teleport" } else { "quantum,100rel,teleport" };
        assert_eq!(unsupported, expected, "{request}");
        world.take_all(&alice(), "100");
    }
    world.none(&psap(), "*");
    assert_eq!(world.node.sizes().0, 1);
}

#[test]
fn di_13_options_says_what_is_true() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let ok = world.ask(&alice(), &alice().request("OPTIONS", "sip:example.com"));
    assert_eq!(ok.code(), 200);
    let list = |name: &str| ok.values(name).join(", ");
    for method in list("Allow").split(", ") {
        // None of them is refused as unknown.
        if !["ACK", "CANCEL"].contains(&method) {
            let request = call.phone.clone().request(method);
            let request = if method == "REGISTER" { crate::world::register(&alice()) } else { request };
            world.send(&alice(), &request);
            assert!(
                world.take_all(&alice(), "*").iter().all(|sent| ![405, 501].contains(&sent.msg.code())),
                "{method}"
            );
        }
    }
    for extension in list("Supported").split(", ") {
        let request = crate::world::register(&alice()).with("Require", extension);
        if ["path", "outbound", "gruu"].contains(&extension) {
            assert_eq!(world.ask(&alice(), &request).code(), 401, "{extension}");
        }
    }
    for name in ["Accept", "Accept-Encoding", "Accept-Language", "Server"] {
        assert!(ok.has(name), "{name}");
    }
    // Inside a dialog it is asked of the call.
    let ok = world.ask(&alice(), &call.phone.request("OPTIONS"));
    assert!(ok.code() == 481 || !ok.values("Allow").join(",").contains("REGISTER"), "{ok}");
}

#[test]
fn di_13_unknown_and_unsupported_methods() {
    let mut world = World::with_alice();
    let call = world.talking();
    let cases = [
        ("MESSAGE", 405),
        ("SUBSCRIBE", 405),
        ("PUBLISH", 405),
        ("REFER", 481),
        ("FROBNICATE", 501),
        ("invite", 501),
        ("NOTIFY", 481),
        ("PRACK", 481),
        ("BYE", 481),
        ("INFO", 481),
        ("UPDATE", 481),
    ];
    for (method, status) in cases {
        let refused = world.ask(&alice(), &alice().request(method, "sip:911@example.com"));
        assert_eq!(refused.code(), status, "{method}");
        assert_eq!(refused.has("Allow"), matches!(status, 405 | 501), "{refused}");
        assert!(!param(refused.header("To"), "tag").is_empty(), "{refused}");
    }
    for (method, status) in [("SUBSCRIBE", 405), ("NOTIFY", 405), ("FROBNICATE", 501)] {
        let refused = world.ask(&alice(), &call.phone.clone().request(method));
        assert_eq!((refused.code(), refused.has("Allow")), (status, true), "{method}");
    }
    world.silent();
}

#[test]
fn di_13_no_subscription_and_no_publication_of_any_package() {
    // RFC 3261 §8.2.1: 405 with Allow. 489 would say that of another package there is one (RFC 6665 §4.2.1.1, RFC 3903 §6), and
    // that of `refer` is made by REFER alone (RFC 3515 §2.4.4).
    let mut world = World::with_alice();
    let call = world.talking();
    for event in ["refer", "presence", "message-summary", "unheard-of"] {
        for method in ["SUBSCRIBE", "PUBLISH"] {
            let request = alice().request(method, "sip:alice@example.com").with("Event", event).with("Expires", "600");
            let inside = call.phone.clone().request(method).with("Event", event);
            let by_trunk = call.trunk.clone().request(method).with("Event", event);
            for (agent, request) in [(alice(), request), (alice(), inside), (psap(), by_trunk)] {
                let refused = world.ask(&agent, &request);
                assert_eq!((refused.code(), refused.has("Allow")), (405, true), "{method} {event}");
                assert!(!refused.header("Allow").contains(method), "{refused}");
            }
        }
    }
    world.silent();
}

#[test]
fn di_14_redirections_are_not_shown() {
    for code in [300, 301, 302, 305, 380] {
        let config = Toml::one_trunk().change("retry = \"30s\"", "retry = \"0s\"");
        let mut world = World::of(&config);
        world.register(&alice());
        let (_, offered) = world.dialled();
        let elsewhere = Agent::new("elsewhere", "203.0.113.99:5060");
        let redirected = psap().reply(&offered, code).set("Contact", "<sip:elsewhere@203.0.113.99>");
        world.send(&psap(), &redirected);
        world.take(&psap(), "ACK");
        world.none(&elsewhere, "*");
        let refused = world.take(&alice(), "503");
        assert!(!refused.has("Contact") && !refused.to_string().contains("203.0.113.99"), "{refused}");
    }
}

#[test]
fn di_14_redirection_leads_to_the_next_target() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 302).set("Contact", "<sip:mallory@198.51.100.66:5066>"));
    world.none(&outsider(), "*");
    world.take(&backup(), "INVITE");
    world.none(&alice(), "302");
}

#[test]
fn di_15_a_target_that_loops_back() {
    // The trunk returns our INVITE to us, as a proxy would: its Via on top of ours.
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let mut looped = offered.clone();
    looped.start = "INVITE sip:911@192.0.2.1:5060 SIP/2.0".into();
    looped.lines.insert(0, ("Via".into(), psap().via()));
    let before = world.node.sizes().0;
    world.send(&psap(), &looped);
    assert_eq!(world.take(&psap(), "482").header("Call-ID"), offered.header("Call-ID"));
    assert_eq!(world.node.sizes().0, before);
    world.none(&psap(), "INVITE");
}

#[test]
fn di_15_a_target_that_is_ourselves() {
    let mut world = World::of(&Toml::default().change("sip:203.0.113.80:5080", "sip:192.0.2.1:5060"));
    let ourselves = Agent::new("ourselves", "192.0.2.1:5060");
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    // Whatever we send to ourselves arrives.
    for _ in 0..20 {
        for sent in world.take_all(&ourselves, "*") {
            world.send_bytes(&ourselves, sent.text.as_bytes());
        }
    }
    world.take(&backup(), "INVITE");
    assert_eq!(world.node.sizes().0, 1);
    world.silent();
}

#[test]
fn di_15_max_forwards() {
    let mut world = World::with_alice();
    let refused = world.ask(&alice(), &alice().invite("sip:bob@example.com").set("Max-Forwards", "0"));
    assert_eq!(refused.code(), 483);
    assert_eq!(uri_of(refused.header("To")), "sip:bob@example.com");
}

/// RFC 6228: one branch of a forking trunk is over, the call is not. A reliable one gets its PRACK.
#[test]
fn di_10_the_end_of_one_early_dialog_is_not_for_the_caller() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&alice(), "180");
    let ended = offered
        .respond(199)
        .set("To", &format!("{};tag=other", offered.header("To")))
        .set("Contact", &psap().contact());
    world.send(&psap(), &ended);
    world.send(&psap(), &ended.clone().with("Require", "100rel").with("RSeq", "3"));
    world.none(&alice(), "*");
    assert_eq!(world.take(&psap(), "PRACK").header("RAck"), "3 1 INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&alice(), "200");
}
