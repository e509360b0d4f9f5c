//! NA-6: requests over 1300 bytes go over TCP where a trunk takes it, else as datagrams all the same (RFC 3261 §18.1.1).

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, bob, description, psap};

/// A description of many codecs.
fn long_offer(version: u32) -> String {
    let codecs: Vec<String> = (96..127).map(|at| format!("a=rtpmap:{at} a-codec-of-some-length/48000/2")).collect();
    let mut lines = vec!["m=audio 6000 RTP/AVP 0 101", "a=sendrecv"];
    lines.extend(codecs.iter().map(String::as_str));
    description("alice", version, &lines)
}

fn world() -> World {
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    world
}

/// Alice dials 911 with a long offer.
fn dials(world: &mut World) -> Msg {
    let invite = alice().request("INVITE", "sip:911@example.com").sdp(&long_offer(1));
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    invite
}

/// The trunk at the other end of the last connection that was wanted.
fn over_tcp(world: &World) -> Agent {
    Agent { connection: Some(world.opened.last().expect("a connection").connection), ..psap() }
}

#[track_caller]
fn closes(world: &mut World, trunk: &Agent) {
    world.input(Input::Failed { connection: trunk.connection.unwrap(), reason: "connection refused".to_owned() });
}

#[track_caller]
fn is_datagram(world: &mut World, method: &str) -> Msg {
    let sent = world.on_wire(&psap(), method);
    assert!(sent.len() == 1 && sent[0].connection.is_none(), "{sent:?}");
    let request = world.take(&psap(), method);
    assert!(request.header("Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{request}");
    request
}

#[test]
fn na_6_a_long_invite_goes_over_tcp() {
    let mut world = world();
    let invite = dials(&mut world);
    let trunk = over_tcp(&world);
    let offered = world.take(&trunk, "INVITE");
    assert!(offered.to_string().len() > 1300);
    assert!(offered.header("Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;branch="), "{offered}");
    assert_eq!(offered.contact(), "sip:+14255551000@192.0.2.1:5060", "we are where we were");
    world.send(&trunk, &trunk.reply(&offered, 100));
    world.run(1_900);
    world.none(&psap(), "*");
    let answer = trunk.reply(&offered, 200).set("Contact", &psap().contact()).sdp(&psap().offer());
    world.send(&trunk, &answer);
    let ok = world.take(&alice(), "200");
    let ack = is_datagram(&mut world, "ACK");
    assert_eq!(ack.cseq(), offered.cseq());
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    let ack = phone.request("ACK");
    world.send(&alice(), &ack);
    // Inside the dialog by the same rule: what is long over TCP, what is short as a datagram.
    let hold = phone.request("INVITE").sdp(&long_offer(2));
    world.send(&alice(), &hold);
    let carried = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&carried, 200).set("Contact", &psap().contact()).sdp(&psap().offer()));
    is_datagram(&mut world, "ACK");
    world.take(&alice(), "200 INVITE");
    let ack = phone.request("ACK");
    world.send(&alice(), &ack);
    let bye = phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let bye = is_datagram(&mut world, "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

/// What we add to it makes it so long. Nothing is lost on an attempt that cannot succeed, and nobody else's call to that trunk.
#[test]
fn na_6_what_no_datagram_can_hold_goes_over_tcp_or_with_its_description_alone() {
    let dials_with = |bytes: usize| {
        let mut world = World::of(&Toml::default());
        let phone = world.connect(alice());
        world.register(&phone);
        let part = |kind: &str, content: &str| format!("--x\r\nContent-Type: {kind}\r\n\r\n{content}\r\n");
        let body = part("application/sdp", &phone.offer()) + &part("text/plain", &"x".repeat(bytes)) + "--x--\r\n";
        world.send(&phone, &phone.request("INVITE", "sip:911@example.com").body("multipart/mixed;boundary=x", &body));
        world.take(&phone, "100");
        world
    };
    let sent = |world: &World| world.wire.iter().find(|sent| sent.msg.method() == "INVITE").cloned().unwrap();
    let bare = sent(&dials_with(20_000)).text.len() - 20_000;
    for (length, is_too_long) in [(65_507, false), (65_508, true)] {
        let mut world = dials_with(length - bare);
        let first = sent(&world);
        assert_eq!((first.to, first.text.len()), (psap().address, length));
        world.wire.clear();
        closes(&mut world, &Agent { connection: first.connection, ..psap() });
        let next = sent(&world);
        assert_eq!((next.to, next.connection), (psap().address, None), "{length}");
        assert_eq!(next.text.len() < 2_000, is_too_long, "with its description alone: {length}");
        world.send(&psap(), &psap().reply(&next.msg, 180));
        world.take(&Agent { connection: None, ..alice() }, "180");
        let state = world.node.trunks_view()[0].targets[0].state;
        assert_eq!(state, sosbridge::admin::TargetState::Up);
    }
}

#[test]
fn na_6_a_short_invite_is_a_datagram() {
    let mut world = world();
    world.dialled();
    assert!(world.opened.is_empty());
}

#[test]
fn na_6_where_tcp_is_refused_the_same_request_goes_as_a_datagram_at_once() {
    let mut world = world();
    let invite = dials(&mut world);
    let trunk = over_tcp(&world);
    let over = world.take(&trunk, "INVITE");
    let before = world.clock();
    closes(&mut world, &trunk);
    assert_eq!(world.clock(), before);
    let offered = is_datagram(&mut world, "INVITE");
    assert_eq!((offered.branch(), offered.cseq(), &offered.body), (over.branch(), over.cseq(), &over.body));
    // It is a datagram in full: repeated until it is heard, and nobody else is tried meanwhile.
    world.run(500);
    is_datagram(&mut world, "INVITE");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
    // The next long one does not ask again.
    dials(&mut world);
    is_datagram(&mut world, "INVITE");
    assert_eq!(world.opened.len(), 1);
}

#[test]
fn na_6_no_answer_to_the_connection_costs_300_ms() {
    let mut world = world();
    world.drops_connects = true;
    dials(&mut world);
    let trunk = over_tcp(&world);
    world.take(&trunk, "INVITE");
    world.run(299);
    world.none(&psap(), "INVITE");
    world.run(1);
    is_datagram(&mut world, "INVITE");
    assert_eq!(world.closed, [trunk.connection.unwrap()], "what waits in it is not said twice");
}

#[test]
fn na_6_a_connection_over_which_nothing_comes_costs_a_second() {
    let mut world = world();
    let invite = dials(&mut world);
    world.run(999);
    world.wire.retain(|sent| sent.connection.is_none());
    world.none(&psap(), "INVITE");
    world.run(1);
    let offered = is_datagram(&mut world, "INVITE");
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
}

/// A firewall has forgotten the connection, or the other end has: nothing comes back, and TCP itself finds that out after a quarter of
/// an hour.
#[test]
fn na_6_a_connection_that_was_good_once_and_has_died_costs_a_second() {
    let mut world = world();
    dials(&mut world);
    let trunk = over_tcp(&world);
    let ringing = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&ringing, 180));
    world.take(&alice(), "180");
    world.register(&bob());
    world.run(5_000);
    let invite = bob().request("INVITE", "sip:911@example.com").sdp(&long_offer(1));
    world.send(&bob(), &invite);
    world.take(&bob(), "100");
    let unheard = world.take(&trunk, "INVITE");
    world.run(999);
    world.none(&psap(), "*");
    world.run(1);
    let offered = is_datagram(&mut world, "INVITE");
    assert_eq!((offered.branch(), &offered.body), (unheard.branch(), &unheard.body));
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&bob(), "180");
    // The next long one is worth another connection.
    dials(&mut world);
    assert_eq!(world.opened.len(), 2);
    // Whatever rings over the first goes on ringing, should it live after all.
    assert!(world.closed.is_empty());
    let answer = trunk.reply(&ringing, 200).set("Contact", &psap().contact()).sdp(&psap().offer());
    world.send(&trunk, &answer);
    world.take(&alice(), "200");
}

#[test]
fn na_6_a_trunk_that_knows_us_by_datagrams_only() {
    let mut world = world();
    dials(&mut world);
    let trunk = over_tcp(&world);
    let offered = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&offered, 403));
    world.take(&trunk, "ACK");
    world.run(1_000);
    let again = is_datagram(&mut world, "INVITE");
    assert_eq!(again.body.len(), offered.body.len());
    // A busy line is no such word.
    let mut world = self::world();
    dials(&mut world);
    let trunk = over_tcp(&world);
    let offered = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&offered, 486));
    world.take(&trunk, "ACK");
    world.run(1_000);
    world.take(&trunk, "INVITE");
}

#[test]
fn na_6_a_dialog_that_is_unknown_over_tcp_is_not_over() {
    let mut world = world();
    let mut call = world.talking();
    let update = call.phone.request("INVITE").sdp(&long_offer(2));
    world.send(&alice(), &update);
    let trunk = over_tcp(&world);
    let carried = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&carried, 481));
    let refused = world.take(&alice(), "503 INVITE");
    world.send(&alice(), &update.ack_of(&refused));
    world.take(&trunk, "ACK");
    world.run(5_000);
    world.none(&psap(), "BYE");
    let again = call.phone.request("INVITE").sdp(&long_offer(3));
    world.send(&alice(), &again);
    let carried = is_datagram(&mut world, "INVITE");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    is_datagram(&mut world, "ACK");
    world.take(&alice(), "200 INVITE");
    let ack = call.phone.request("ACK");
    world.send(&alice(), &ack);
    world.wire.clear();
    world.hang_up(&mut call);
}

#[test]
fn na_6_cancel_goes_where_the_invite_went() {
    let mut world = world();
    let invite = dials(&mut world);
    let trunk = over_tcp(&world);
    let offered = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&offered, 180));
    world.send(&alice(), &invite.cancel());
    let cancel = world.take(&trunk, "CANCEL");
    assert_eq!((cancel.branch(), cancel.header("Via")), (offered.branch(), offered.header("Via")));
    // Abandoned before the connection is there: nobody is to ring any more.
    let mut world = self::world();
    world.drops_connects = true;
    let invite = dials(&mut world);
    world.send(&alice(), &invite.cancel());
    let trunk = over_tcp(&world);
    closes(&mut world, &trunk);
    world.wire.retain(|sent| sent.connection.is_none());
    world.none(&psap(), "*");
    world.over();
}

#[test]
fn na_6_a_phone_is_reached_over_its_flow() {
    // It registered over UDP: behind its NAT nothing else leads to it (RFC 5626 §5.3).
    let mut world = world();
    let mut call = world.talking();
    world.hang_up(&mut call);
    let mut back = psap().request("INVITE", "sip:+14255551000@192.0.2.1:5060").sdp(&long_offer(1));
    back = back.set("From", "<sip:+12065550000@203.0.113.80>;tag=cb");
    world.send(&psap(), &back);
    let ring = world.on_wire(&alice(), "INVITE");
    assert!(ring.len() == 1 && ring[0].connection.is_none() && ring[0].text.len() > 1300, "{ring:?}");
    assert!(world.opened.is_empty());
}

/// Many networks lose fragments. Where nobody takes TCP either, a location in the body kept the call from every trunk, round after
/// round (SPEC §10).
#[test]
fn na_6_a_long_invite_that_nobody_hears_goes_with_its_description_alone() {
    let mut world = World::of(&Toml::default());
    world.register(&alice());
    world.drops_connects = true;
    let part = |kind: &str, content: &str| format!("--x\r\nContent-Type: {kind}\r\n\r\n{content}\r\n");
    let body = part("application/sdp", &alice().offer()) + &part("text/plain", &"x".repeat(1_500)) + "--x--\r\n";
    let invite = alice().request("INVITE", "sip:911@example.com").body("multipart/mixed;boundary=x", &body);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    // Nobody hears what is too long for one packet.
    let mut heard = Vec::new();
    let mut long = 0;
    while heard.is_empty() && world.clock() < 20_000 {
        world.run(50);
        let sent = std::mem::take(&mut world.wire);
        let datagrams =
            sent.into_iter().filter(|sent| sent.connection.is_none() && sent.msg.start.starts_with("INVITE"));
        let (short, fragments): (Vec<_>, Vec<_>) = datagrams.partition(|sent| sent.text.len() <= 1_472);
        long += fragments.len();
        heard.extend(short);
    }
    assert!(long > 2 && !heard.is_empty(), "{long}");
    assert!(heard[0].at < 6_000, "with the second round: {}", heard[0].at);
    assert_eq!((heard[0].to, heard[0].msg.header("Content-Type")), (psap().address, "application/sdp"));
    // The round after that asks for everything again, where it is still not heard.
    world.run(3_000);
    world.wire.clear();
    world.run(6_000);
    let whole = |sent: &crate::world::Sent| sent.msg.header("Content-Type").starts_with("multipart/mixed");
    assert!(world.wire.iter().any(|sent| sent.msg.start.starts_with("INVITE") && whole(sent)));
}
