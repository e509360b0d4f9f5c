//! SPEC §8: media through the relay, as signalling has it: whose ports are told to whom, and what the data plane is ordered.

use sosbridge::media::{Order, Reach};

use crate::world::agent::MEDIA;
use crate::world::{Dialog, Msg, RELAY, RELAY6, Toml, World, alice, alice6, backup, bob, description, psap};

/// The ports of the m= lines of a message that comes from us; every place in it is ours.
#[track_caller]
pub fn ports(message: &Msg) -> Vec<u16> {
    for line in message.body.lines().filter(|line| line.starts_with("c=")) {
        assert!(line.ends_with(RELAY), "{message}");
    }
    let told = message.to_string();
    assert!(!told.contains(MEDIA) && !told.contains("198.51.100.7 "), "{message}");
    let port = |line: &str| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok();
    message.body.lines().filter_map(port).collect()
}

fn world() -> World {
    let mut world = World::of(&Toml::default().relay());
    world.register(&alice());
    world
}

fn place(port: u16) -> Option<std::net::SocketAddr> {
    Some(format!("{MEDIA}:{port}").parse().unwrap())
}

fn offer(name: &str, media: &[&str]) -> String {
    description(name, 1, media)
}

/// Answers what a trunk or a phone got, with this audio port.
fn answer(agent: crate::world::Agent, offered: &Msg, port: u16) -> Msg {
    agent.reply(offered, 200).sdp(&offer(agent.name, &[&format!("m=audio {port} RTP/AVP 0")]))
}

/// Rule 4.2u.
#[test]
fn each_party_knows_a_port_of_ours_that_leads_to_the_other() {
    let mut world = world();
    let (invite, offered) = world.dialled();
    let to_trunk = ports(&offered)[0];
    world.send(&psap(), &answer(psap(), &offered, 9000));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    let to_phone = ports(&ok)[0];
    assert_ne!(to_phone, to_trunk);
    assert_eq!((world.plane.leads_to(to_trunk), world.plane.leads_to(to_phone)), (place(6000), place(9000)));
    // A phone behind a NAT sends from where its signalling comes from.
    let sources = &world.plane.at(to_phone).peer.as_ref().unwrap().sources;
    assert_eq!(sources[..], [alice().address.ip()]);
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200);
    let bye = world.take(&psap(), "BYE");
    assert_eq!(world.node.ports_in_use(), 0, "at once, not with the answer to the BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

#[test]
fn oa_1_early_media_is_that_of_the_branch_the_caller_was_told_of() {
    let mut world = world();
    let (_, offered) = world.dialled();
    let early = psap().reply(&offered, 183).sdp(&offer("psap", &["m=audio 9100 RTP/AVP 0"]));
    world.send(&psap(), &early);
    let to_phone = ports(&world.take(&alice(), "183"))[0];
    assert_eq!(world.plane.leads_to(to_phone), place(9100));
    assert_eq!(world.plane.leads_to(ports(&offered)[0]), place(6000));
    // The target fails: the next one has ports of its own, and those of the first are given back.
    world.send(&psap(), &psap().reply(&offered, 503));
    world.take(&psap(), "ACK");
    let next = world.take(&backup(), "INVITE");
    assert_ne!(ports(&next), ports(&offered));
    assert_eq!(world.plane.leads_to(to_phone), None);
    assert_eq!(world.node.ports_in_use(), 2, "{:?}", world.orders);
    world.send(&backup(), &answer(backup(), &next, 9200));
    assert_eq!(ports(&world.take(&alice(), "200"))[0], to_phone);
    assert_eq!((world.plane.leads_to(to_phone), world.plane.leads_to(ports(&next)[0])), (place(9200), place(6000)));
}

#[test]
fn every_stream_has_its_pair_and_every_other_line_passes() {
    let mut world = world();
    let media = [
        "m=audio 6000 RTP/SAVP 0 101",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:30",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
        "a=rtcp:6009",
        "a=candidate:1 1 UDP 2130706431 10.0.0.5 6000 typ host",
        "a=ice-ufrag:abcd",
        "m=video 6002 RTP/AVPF 96",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-mux",
        "m=text 6004 RTP/AVP 98",
        "a=rtpmap:98 t140/1000",
        "m=video 0 RTP/AVP 31",
        "m=message 7394 TCP/MSRP *",
    ];
    world.send(&alice(), &alice().request("INVITE", "sip:911@example.com").sdp(&offer("alice", &media)));
    let offered = world.take(&psap(), "INVITE");
    let told = ports(&offered);
    assert_eq!((told[3], told[4], told.len()), (0, 0, 5), "{offered}");
    for kept in
        ["a=fmtp:101 0-16", "a=ptime:30", "a=crypto:1 ", "a=rtcp-fb:96 nack pli", "a=rtcp-mux", "a=rtpmap:98 t140/1000"]
    {
        assert!(offered.body.contains(kept), "{kept}\n{offered}");
    }
    assert!(offered.body.contains(&format!("a=rtcp:{}\r\n", told[0] + 1)), "{offered}");
    assert!(!offered.body.contains("candidate") && !offered.body.contains("ice-"), "{offered}");
    let taken = [
        "m=audio 9000 RTP/SAVP 0",
        "m=video 9002 RTP/AVPF 96",
        "a=rtcp-mux",
        "m=text 9004 RTP/AVP 98",
        "m=video 0 RTP/AVP 31",
        "m=message 0 TCP/MSRP *",
    ];
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&offer("psap", &taken)));
    let back = ports(&world.take(&alice(), "200"));
    for (at, (theirs, own)) in [(9000, 6000), (9002, 6002), (9004, 6004)].into_iter().enumerate() {
        assert_eq!((world.plane.leads_to(back[at]), world.plane.leads_to(told[at])), (place(theirs), place(own)));
    }
    let rtcp = |port: u16| world.plane.at(port).peer.clone().map(|peer| (peer.rtcp, peer.mux));
    assert_eq!(rtcp(back[0]), Some((place(6009), false)));
    assert_eq!(rtcp(back[1]), Some((place(6002), true)), "agreed end to end");
    assert_eq!(rtcp(told[2]), Some((place(9005), false)));
}

#[test]
fn a_stream_comes_and_goes_with_its_pair() {
    let mut world = world();
    let mut call = world.talking();
    let (audio, video) = ("m=audio 6000 RTP/AVP 0", "m=video 6002 RTP/AVP 31");
    let mut reoffer = |world: &mut World, version: u32, own: &[&str], theirs: &[&str]| {
        let request = call.phone.request("INVITE").sdp(&description("alice", version, own));
        world.send(&alice(), &request);
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, 200).sdp(&description("psap", version, theirs)));
        let ok = world.take(&alice(), "200 INVITE");
        world.send(&alice(), &call.phone.request("ACK"));
        (ports(&carried), ports(&ok))
    };
    let (told, back) = reoffer(&mut world, 2, &[audio, video], &["m=audio 9000 RTP/AVP 0", "m=video 9002 RTP/AVP 31"]);
    assert_eq!((told[0], back[0]), (ports(&call.offered)[0], ports(&call.ok)[0]), "what was there stays");
    assert_eq!((world.plane.leads_to(told[1]), world.plane.leads_to(back[1])), (place(6002), place(9002)));
    assert_eq!(world.node.ports_in_use(), 4);
    let gone = "m=video 0 RTP/AVP 31";
    reoffer(&mut world, 3, &[audio, gone], &["m=audio 9000 RTP/AVP 0", gone]);
    assert_eq!(world.node.ports_in_use(), 2);
    let (again, _) = reoffer(&mut world, 4, &[audio, video], &["m=audio 9000 RTP/AVP 0", "m=video 9002 RTP/AVP 31"]);
    assert_ne!(again[1], told[1], "a pair is never used twice");
}

#[test]
fn an_old_hold_reaches_the_other_side_as_hold() {
    let mut world = world();
    let mut call = world.talking();
    let held = alice().offer().replace(&format!("c=IN IP4 {MEDIA}"), "c=IN IP4 0.0.0.0");
    world.send(&alice(), &call.phone.request("INVITE").sdp(&held));
    let carried = world.take(&psap(), "INVITE");
    assert_eq!(ports(&carried), ports(&call.offered));
    assert!(carried.body.contains("a=sendonly") && !carried.body.contains("0.0.0.0"), "{carried}");
    let taken = psap().offer().replace("a=sendrecv", "a=recvonly");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&taken));
    let to_phone = ports(&world.take(&alice(), "200 INVITE"))[0];
    assert_eq!(world.plane.at(to_phone).peer.as_ref().unwrap().rtp, None, "nothing is sent to a phone that is nowhere");
}

#[test]
fn oa_2_a_delayed_offer_crosses_both_ways() {
    let mut world = world();
    let invite = alice().request("INVITE", "sip:911@example.com");
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    assert_eq!(world.node.ports_in_use(), 0);
    world.send(&psap(), &answer(psap(), &offered, 9000));
    let ok = world.take(&alice(), "200 INVITE");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK").sdp(&alice().offer()));
    let ack = world.take(&psap(), "ACK");
    assert_eq!(world.plane.leads_to(ports(&ok)[0]), place(9000));
    assert_eq!(world.plane.leads_to(ports(&ack)[0]), place(6000));
}

#[test]
fn a_trunk_may_have_descriptions_as_they_are() {
    let mut world = World::of(&Toml::default().relay().psap("media = \"pass\""));
    world.register(&alice());
    let (invite, offered) = world.dialled();
    assert!(offered.body.contains(&format!("c=IN IP4 {MEDIA}")) && offered.body.contains("m=audio 6000 "), "{offered}");
    let call = world.answer(&alice(), &invite, &psap(), &offered);
    assert!(call.ok.body.contains(MEDIA), "{}", call.ok);
    assert!(world.orders.is_empty());
    // And the other way round.
    let mut world = World::of(&Toml::default().psap("media = \"relay\""));
    world.bind(8);
    world.register(&alice());
    let (_, offered) = world.dialled();
    assert!(!offered.body.contains(MEDIA), "{offered}");
}

/// SPEC §10: no call is refused for want of a port.
#[test]
fn without_a_port_the_description_passes_as_it_is() {
    let mut world = World::of(&Toml::default());
    world.reload(&Toml::default().relay());
    world.register(&alice());
    let (invite, offered) = world.dialled();
    assert!(offered.body.contains("m=audio 6000 "), "{offered}");
    // Ports that come meanwhile change nothing for what was offered without.
    world.bind(8);
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    assert!(call.ok.body.contains(MEDIA), "{}", call.ok);
    assert_eq!(world.metric("sosbridge_media_ports_short_total"), 1.0);
    assert_eq!(world.node.ports_in_use(), 0);
    // The next offer is relayed again.
    world.send(&alice(), &call.phone.request("INVITE").sdp(&alice().offer()));
    let carried = world.take(&psap(), "INVITE");
    world.send(&psap(), &answer(psap(), &carried, 9000));
    let to_phone = ports(&world.take(&alice(), "200 INVITE"))[0];
    assert_eq!((world.plane.leads_to(to_phone), world.plane.leads_to(ports(&carried)[0])), (place(9000), place(6000)));
}

#[test]
fn a_stream_without_a_port_stays_beside_those_that_have_one() {
    let mut world = World::of(&Toml::default());
    world.reload(&Toml::default().relay());
    world.bind(2);
    world.register(&alice());
    let media = ["m=audio 6000 RTP/AVP 0", "m=video 6002 RTP/AVP 31"];
    world.send(&alice(), &alice().request("INVITE", "sip:911@example.com").sdp(&offer("alice", &media)));
    let offered = world.take(&psap(), "INVITE");
    let streams: Vec<&str> = offered.body.lines().filter(|line| line.starts_with(['m', 'c'])).collect();
    assert_eq!(streams[0], format!("c=IN IP4 {RELAY}"));
    assert_eq!(streams[2..], ["m=video 6002 RTP/AVP 31", &format!("c=IN IP4 {MEDIA}")]);
}

#[test]
fn each_phone_that_rings_has_ports_of_its_own() {
    let mut world = world();
    let second = crate::world::Agent::new("bob", "198.51.100.75:5075");
    world.register(&bob());
    world.register(&second);
    world.send(&alice(), &alice().invite("sip:bob@example.com"));
    let rings = [world.take(&bob(), "INVITE"), world.take(&second, "INVITE")];
    assert_ne!(ports(&rings[0]), ports(&rings[1]));
    assert_eq!(world.node.ports_in_use(), 3);
    world.send(&bob(), &bob().reply(&rings[0], 180));
    world.send(&second, &answer(second, &rings[1], 7000));
    let to_caller = ports(&world.take(&alice(), "200"))[0];
    assert_eq!(world.plane.leads_to(to_caller), place(7000));
    assert_eq!(world.node.ports_in_use(), 2);
    world.take(&bob(), "CANCEL");
}

#[test]
fn what_fails_before_an_answer_gives_its_ports_back() {
    let mut world = world();
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    assert_eq!(world.node.ports_in_use(), 2);
    world.send(&alice(), &invite.cancel());
    assert_eq!(world.node.ports_in_use(), 0);
    let released = world.orders.iter().filter(|order| matches!(order, Order::Release(_))).count();
    assert_eq!(released, 2);
}

/// CONFORMANCE NA-8: a phone on IPv6 and a trunk on IPv4 each see an address of their own family.
#[test]
fn na_8_legs_of_different_families_are_joined() {
    let mut world = World::of(&Toml::dual().relay());
    world.register(&alice6());
    let own =
        "v=0\r\no=- 1 1 IN IP6 2001:db8:71::1\r\ns=-\r\nc=IN IP6 2001:db8:71::1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
    world.send(&alice6(), &alice6().request("INVITE", "sip:911@example.com").sdp(own));
    let offered = world.take(&psap(), "INVITE");
    let to_trunk = ports(&offered)[0];
    assert!(!offered.body.contains("2001:db8:71"), "{offered}");
    world.send(&psap(), &answer(psap(), &offered, 9000));
    let ok = world.take(&alice6(), "200");
    assert!(ok.body.contains("c=IN IP6 2001:db8::9\r\n") && !ok.body.contains(MEDIA), "{ok}");
    assert_eq!(world.plane.leads_to(to_trunk), Some("[2001:db8:71::1]:6000".parse().unwrap()));
}

/// As Linphone does on a machine with both families, wherever it signals: it hears over the one that its signalling comes over.
#[test]
fn a_phone_that_names_a_family_of_which_we_have_no_address() {
    let of_six = |text: &str| text.replace(&format!("IN IP4 {MEDIA}"), "IN IP6 2001:db8:71::1");
    let said = of_six(&offer("alice", &["m=audio 6000 RTP/AVP 0"]));
    for dialled in ["911", "933"] {
        let toml = Toml::default().relay().change(&format!("[\"{RELAY}\", \"{RELAY6}\"]"), &format!("\"{RELAY}\""));
        let mut world = World::of(&toml);
        world.register(&alice());
        let invite = alice().request("INVITE", &format!("sip:{dialled}@example.com")).sdp(&said);
        world.send(&alice(), &invite);
        let mut wanted = 1;
        if dialled == "911" {
            let offered = world.take(&psap(), "INVITE");
            assert_eq!(ports(&offered).len(), 1);
            assert!(!offered.body.contains("2001:db8:71"), "{offered}");
            world.send(&psap(), &psap().reply(&offered, 200).sdp(&of_six(&offer("psap", &["m=audio 9000 RTP/AVP 0"]))));
            wanted = 2;
        }
        let ok = world.take(&alice(), "200");
        let pair = world.plane.at(ports(&ok)[0]);
        assert!(pair.ports.address.is_ipv4() && !ok.body.contains("2001:db8:71"), "{ok}");
        assert_eq!((world.node.ports_in_use(), world.metric("sosbridge_media_ports_short_total")), (wanted, 0.0));
    }
}

#[test]
fn an_offer_that_is_refused_leaves_everything_as_it_was() {
    let mut world = world();
    let mut call = world.talking();
    let media = ["m=audio 6000 RTP/AVP 0", "m=video 6002 RTP/AVP 31"];
    let request = call.phone.request("INVITE").sdp(&description("alice", 2, &media));
    world.send(&alice(), &request);
    let carried = world.take(&psap(), "INVITE");
    assert_eq!(world.node.ports_in_use(), 4);
    world.send(&psap(), &psap().reply(&carried, 488));
    let refused = world.take(&alice(), "488");
    world.send(&alice(), &request.ack_of(&refused));
    assert_eq!(world.node.ports_in_use(), 2);
    assert_eq!(world.plane.leads_to(ports(&call.offered)[0]), place(6000));
    assert_eq!(world.plane.leads_to(ports(&call.ok)[0]), place(6000));
}

/// Nobody has packets go round in a call for ever.
#[test]
fn a_peer_that_names_our_own_ports_is_sent_nothing() {
    let mut world = world();
    let (_, offered) = world.dialled();
    let to_trunk = ports(&offered)[0];
    let own = offer("psap", &[&format!("m=audio {to_trunk} RTP/AVP 0")]).replace(MEDIA, RELAY);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&own));
    let to_phone = ports(&world.take(&alice(), "200"))[0];
    assert_eq!((world.plane.leads_to(to_phone), world.plane.leads_to(to_trunk)), (None, place(6000)));
}

/// Nor over two calls, nor by the port of RTCP; and nobody reaches what this daemon speaks with.
#[test]
fn a_phone_reaches_neither_the_relay_nor_what_is_behind_it() {
    let mut world = world();
    world.register(&bob());
    let (_, other) = world.dialled();
    let of_other = ports(&other)[0];
    let rtcp = format!("a=rtcp:{of_other} IN IP4 {RELAY}");
    let media =
        ["m=audio 6000 RTP/AVP 0", &rtcp, &format!("m=audio {of_other} RTP/AVP 0"), &format!("c=IN IP4 {RELAY}")];
    let media = [&media[..], &["m=audio 2223 RTP/AVP 0", "c=IN IP4 127.0.0.1"]].concat();
    world.send(&alice(), &alice().invite("sip:bob@example.com").sdp(&offer("alice", &media)));
    world.take(&bob(), "INVITE");
    let peers: Vec<_> = world.plane.pairs.values().filter_map(|pair| pair.peer.clone()).collect();
    let at =
        |port: u16| peers.iter().filter_map(|peer| peer.rtp).filter(|place| place.port() == port).collect::<Vec<_>>();
    assert_eq!(at(of_other).len(), 1);
    assert!(peers.iter().all(|peer| peer.rtp != Some(at(of_other)[0]) || peer.reach == Reach::Hidden));
    assert_eq!(at(2223), [std::net::SocketAddr::new(alice().address.ip(), 2223)], "his own machine, not ours");
    let trusted = peers.iter().filter(|peer| peer.reach == Reach::Trusted).filter_map(|peer| peer.rtp);
    assert_eq!(trusted.map(|place| place.port()).collect::<Vec<_>>(), [6000], "the caller of 911 only");
    assert!(!peers.iter().filter_map(|peer| peer.rtcp).any(|place| place.ip().to_string() == RELAY));
}

/// Behind a proxy and a NAT nothing says where packets will come from; and nobody else is taken for a phone that does not know
/// the port yet.
#[test]
fn a_phone_behind_a_proxy_is_heard_from_anywhere_when_its_address_is_private() {
    for (own, header, is_anywhere, reach) in [
        ("10.0.0.5", "Record-Route", true, Reach::Hidden),
        ("10.0.0.5", "X-Nothing", false, Reach::Hidden),
        ("203.0.113.200", "Record-Route", false, Reach::Trusted),
    ] {
        let mut world = world();
        let sdp = offer("alice", &["m=audio 6000 RTP/AVP 0"]).replace(MEDIA, own);
        let invite =
            alice().request("INVITE", "sip:911@example.com").with(header, "<sip:198.51.100.71:5071;lr>").sdp(&sdp);
        world.send(&alice(), &invite);
        let offered = world.take(&psap(), "INVITE");
        let to_trunk = ports(&offered)[0];
        let peer = |world: &World| {
            let of_phone = world.plane.pairs.values().filter_map(|pair| pair.peer.clone());
            of_phone.into_iter().find(|peer| peer.rtp.is_some_and(|place| place.ip().to_string() == own)).unwrap()
        };
        assert!(!peer(&world).is_anywhere);
        world.send(&psap(), &answer(psap(), &offered, 9000));
        world.take(&alice(), "200");
        assert_eq!((peer(&world).is_anywhere, peer(&world).reach), (is_anywhere, reach), "{own} {header}");
        assert!(world.plane.at(to_trunk).joined.is_some());
    }
}

/// DS-Lite and the like: signalling has IPv6 and no NAT, media have both.
#[test]
fn a_phone_that_signals_over_another_family_is_heard_from_anywhere() {
    let mut world = World::of(&Toml::dual().relay());
    world.register(&alice6());
    let sdp = offer("alice", &["m=audio 6000 RTP/AVP 0"]).replace(MEDIA, "192.168.1.20");
    world.send(&alice6(), &alice6().request("INVITE", "sip:911@example.com").sdp(&sdp));
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &answer(psap(), &offered, 9000));
    let ok = world.take(&alice6(), "200");
    let pair = world.plane.at(ports(&ok)[0]);
    assert!(pair.ports.address.is_ipv4() && pair.peer.as_ref().unwrap().is_anywhere, "{pair:?}");
}

/// From one network to another in the middle of a call.
#[test]
fn a_phone_that_changes_its_family_has_a_pair_of_the_new_one() {
    let mut world = World::of(&Toml::dual().relay());
    world.register(&alice());
    let mut call = world.talking();
    let before = ports(&call.ok)[0];
    call.phone.agent = alice6();
    let moved =
        offer("alice", &["m=audio 6000 RTP/AVP 0"]).replace(&format!("IN IP4 {MEDIA}"), "IN IP6 2001:db8:71::1");
    world.send(&alice6(), &call.phone.request("INVITE").sdp(&moved));
    let carried = world.take(&psap(), "INVITE");
    assert_eq!(ports(&carried), ports(&call.offered), "the trunk has what it had");
    world.send(&psap(), &answer(psap(), &carried, 9000));
    let ok = world.take(&alice6(), "200 INVITE");
    assert!(ok.body.contains("c=IN IP6 2001:db8::9\r\n"), "{ok}");
    let after =
        ok.body.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok()).unwrap();
    assert_eq!(world.plane.leads_to(ports(&carried)[0]), Some("[2001:db8:71::1]:6000".parse().unwrap()));
    assert_eq!(world.plane.leads_to(after), place(9000));
    assert!(world.plane.pairs.values().all(|pair| pair.ports.rtp != before), "given back");
    assert_eq!(world.node.ports_in_use(), 2);
}

/// A NAT may have another address now, though the description that is repeated is the same.
#[test]
fn a_refresh_from_another_address_moves_the_source_of_media() {
    let mut world = world();
    let timer = |request: Msg| request.with("Supported", "timer").with("Session-Expires", "600;refresher=uac");
    let invite = timer(alice().invite("sip:911@example.com"));
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    let call = world.answer(&alice(), &invite, &psap(), &offered);
    let mut phone = call.phone;
    let moved = crate::world::Agent::new("alice", "198.51.100.171:5071");
    phone.agent = moved;
    world.send(&moved, &timer(phone.request("INVITE")).sdp(&alice().offer()));
    world.take(&moved, "200 INVITE");
    let peer = world.plane.at(ports(&call.ok)[0]).peer.clone().unwrap();
    assert_eq!(peer.sources[..], [moved.address.ip()]);
}

/// A caller at our own public address, which STUN told it: nothing is sent there unasked, and whatever comes from there is answered.
#[test]
fn a_phone_behind_our_own_nat_is_sent_to_where_it_speaks() {
    let mut world = World::of(&Toml::default().relay());
    let inside = crate::world::Agent::new("alice", "10.0.0.50:5071");
    world.register(&inside);
    let sdp = offer("alice", &["m=audio 23456 RTP/AVP 0"]).replace(MEDIA, RELAY);
    let (invite, offered) = {
        let invite = inside.request("INVITE", "sip:911@example.com").sdp(&sdp);
        world.send(&inside, &invite);
        (invite, world.take(&psap(), "INVITE"))
    };
    let call = world.answer(&inside, &invite, &psap(), &offered);
    let peer = world.plane.at(ports(&call.ok)[0]).peer.clone().unwrap();
    assert!(peer.rtp.is_some() && peer.reach == Reach::Hidden && peer.sources[..] == [inside.address.ip()], "{peer:?}");
}

/// What rings has ports, though its peer has said nothing: the data plane binds others in their stead.
#[test]
fn the_data_plane_hears_of_every_pair_that_is_taken() {
    let mut world = world();
    let (_, offered) = world.dialled();
    assert_eq!((world.plane.pairs.len(), world.node.ports_in_use()), (2, 2));
    world.send(&psap(), &psap().reply(&offered, 180));
    assert_eq!(world.plane.pairs.len(), 2);
}

#[test]
fn an_offer_that_is_refused_leaves_rtcp_mux_as_it_was() {
    let mut world = world();
    let with = |name, port| offer(name, &[&format!("m=audio {port} RTP/AVP 0"), "a=rtcp-mux"]);
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&with("alice", 6000));
    world.send(&alice(), &invite);
    let offered = world.take(&psap(), "INVITE");
    let answer = psap().reply(&offered, 200).sdp(&with("psap", 9000));
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    let mux = |world: &World| world.plane.at(ports(&ok)[0]).peer.as_ref().map(|peer| peer.mux);
    assert_eq!(mux(&world), Some(true));
    let mut trunk = Dialog::callee(psap(), &offered, &answer);
    let request = trunk.request("INVITE").sdp(&description("psap", 2, &["m=audio 9000 RTP/AVP 0"]));
    world.send(&psap(), &request);
    let carried = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&carried, 488));
    let refused = world.take(&psap(), "488");
    world.send(&psap(), &request.ack_of(&refused));
    assert_eq!(mux(&world), Some(true));
}

/// SPEC §10: what is not an emergency takes no port from one.
#[test]
fn the_last_ports_are_for_emergency_calls() {
    let mut world = World::of(&Toml::default());
    world.reload(&Toml::default().relay());
    world.bind(70);
    world.register(&alice());
    world.register(&bob());
    let media = ["m=audio 6000 RTP/AVP 0"; 16];
    world.send(&alice(), &alice().invite("sip:bob@example.com").sdp(&offer("alice", &media)));
    world.take(&bob(), "INVITE");
    assert_eq!((world.node.ports_in_use(), world.node.ports_ready(true)), (6, 64));
    assert_eq!(world.metric("sosbridge_media_ports_short_total"), 1.0);
    let (_, offered) = world.dialled();
    assert!(offered.body.contains(&format!("c=IN IP4 {RELAY}")), "{offered}");
    assert_eq!(world.node.ports_ready(true), 62);
}

#[test]
fn ordinary_calls_take_half_of_a_range_and_give_it_back() {
    let toml = || Toml::default().change("[media]\n", "[media]\nports = \"20000-20031\"\n");
    let mut world = World::of(&toml());
    world.reload(&toml().relay());
    world.bind(16);
    world.register(&alice());
    world.register(&bob());
    let offer = offer("alice", &["m=audio 6000 RTP/AVP 0"; 16]);
    for _ in 0..2 {
        let invite = alice().invite("sip:bob@example.com").sdp(&offer);
        world.send(&alice(), &invite);
        let ring = world.take(&bob(), "INVITE");
        assert_eq!(world.node.ports_in_use(), 8);
        world.send(&bob(), &bob().reply(&ring, 486));
        world.take(&alice(), "486");
        assert_eq!(world.node.ports_in_use(), 0);
        // They rest, and are not there for the next ordinary call.
        world.bind(8);
        assert_eq!(world.node.ports_ready(true), 16);
        world.send(&alice(), &alice().invite("sip:bob@example.com").sdp(&offer));
        let ring = world.take(&bob(), "INVITE");
        assert_eq!(world.node.ports_in_use(), 0);
        world.send(&bob(), &bob().reply(&ring, 486));
        world.take(&alice(), "486");
        world.run(5000);
    }
}

#[test]
fn after_a_reload_descriptions_tell_of_the_new_address() {
    let mut world = world();
    let call = world.talking();
    let moved = Toml::default().relay().change(RELAY, "192.0.2.10");
    world.reload(&moved);
    assert_eq!(world.node.ports_ready(true), 0, "what was bound for the old address is given back");
    assert_eq!(world.plane.leads_to(ports(&call.ok)[0]), place(6000), "calls stay");
    let addresses = vec!["192.0.2.10".parse().unwrap(), RELAY6.parse().unwrap()];
    assert!(world.orders.contains(&Order::Serve(addresses, (20_000, 29_999))));
    // What was bound for the old one before the data plane heard of it.
    world.bind(4);
    assert_eq!(world.node.ports_ready(true), 0);
}

/// An operator gives more ports, or other ones, and no call ends for it.
#[test]
fn after_a_reload_descriptions_tell_of_the_new_ports() {
    let mut world = world();
    let call = world.talking();
    let with = |ports: &str| Toml::default().relay().change("[media]\n", &format!("[media]\nports = \"{ports}\"\n"));
    let ready = world.node.ports_ready(true);
    world.reload(&with("20000-39999"));
    assert_eq!(world.node.ports_ready(true), ready, "they are good still");
    world.reload(&with("40000-40999"));
    let addresses = vec![RELAY.parse().unwrap(), RELAY6.parse().unwrap()];
    assert!(world.orders.contains(&Order::Serve(addresses, (40_000, 40_999))), "{:?}", world.orders);
    assert_eq!(world.plane.leads_to(ports(&call.ok)[0]), place(6000), "calls stay");
    // Bound out of the old ones before the data plane heard of it.
    world.bind(4);
    assert_eq!(world.node.ports_ready(true), 0);
}
