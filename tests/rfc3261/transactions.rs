//! TX: transactions and ACK (RFC 3261 §17, RFC 6026, RFC 4320).

use crate::world::{Dialog, Msg, Toml, World, alice, backup, bob, description, psap};

/// When messages were sent, in milliseconds after the first.
fn gaps(sent: &[crate::world::Sent]) -> Vec<u64> {
    let first = sent.first().map_or(0, |sent| sent.at);
    sent.iter().map(|sent| sent.at - first).collect()
}

#[test]
fn tx_1_invite_retransmitted() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    world.send(&psap(), &psap().reply(&offered, 180));
    let ringing = world.take(&alice(), "180");
    world.send(&alice(), &invite);
    assert_eq!(world.take(&alice(), "180"), ringing);
    world.silent();
    assert_eq!(world.node.sizes().0, 1);
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
}

#[test]
fn tx_2_timer_a_doubles_until_timer_b() {
    let config = Toml::one_trunk().psap("answer_wait = \"32s\"").change("retry = \"30s\"", "retry = \"0s\"");
    let mut world = World::of(&config);
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    world.run(70_000);
    let sent = world.take_all(&psap(), "INVITE");
    assert_eq!(gaps(&sent), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert!(sent.iter().all(|again| again.text == sent[0].text));
    let refused = world.take(&alice(), "503");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
}

#[test]
fn tx_2_the_shorter_wait_of_the_trunk() {
    let mut world = World::with_alice();
    let (_, _) = world.dialled();
    world.run(1_999);
    assert_eq!(gaps(&world.take_all(&psap(), "INVITE")), [0, 1000]);
    world.none(&backup(), "INVITE");
    world.run(1);
    world.take(&backup(), "INVITE");
    world.run(60_000);
    world.none(&psap(), "CANCEL");
}

#[test]
fn tx_3_a_provisional_stops_the_repetitions() {
    for code in [100, 180, 183] {
        let mut world = World::of(&Toml::default().psap("progress_wait = \"90s\""));
        world.register(&alice());
        let (_, offered) = world.dialled();
        world.run(499);
        world.send(&psap(), &psap().reply(&offered, code));
        world.run(60_000);
        world.none(&psap(), "INVITE");
        world.none(&backup(), "INVITE");
    }
}

#[test]
fn tx_4_non_2xx_twice_is_acknowledged_twice() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let busy = psap().reply(&offered, 486);
    world.send(&psap(), &busy);
    let ack = world.take(&psap(), "ACK");
    assert_eq!((ack.branch(), ack.uri()), (offered.branch(), offered.uri()));
    assert_eq!(ack.header("CSeq"), "1 ACK");
    assert_eq!((ack.header("To"), ack.header("From")), (busy.header("To"), offered.header("From")));
    assert_eq!(ack.values("Via").len(), 1);
    world.run(20_000);
    world.send(&psap(), &busy);
    assert_eq!(world.take(&psap(), "ACK"), ack);
    // Timer D is over 32 s after the first.
    world.run(12_100);
    world.send(&psap(), &busy);
    world.none(&psap(), "ACK");
}

#[test]
fn tx_5_ack_of_a_2xx_is_its_own_transaction() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    let answer = psap().reply(&offered, 200).sdp(&psap().offer()).set("Contact", "<sip:desk7@203.0.113.80:5090>");
    let answer = answer.with("Record-Route", "<sip:203.0.113.80:5085;lr>");
    world.send(&psap(), &answer);
    let at_route = crate::world::Agent::new("route", "203.0.113.80:5085");
    let ack = world.take(&at_route, "ACK");
    assert_eq!(ack.uri(), "sip:desk7@203.0.113.80:5090");
    assert_eq!(ack.values("Route"), ["<sip:203.0.113.80:5085;lr>"]);
    assert!(ack.branch().starts_with("z9hG4bK") && ack.branch() != offered.branch(), "{ack}");
    assert_eq!(ack.header("CSeq"), "1 ACK");
    world.run(500);
    world.take_all(&alice(), "200");
    world.send(&psap(), &answer);
    assert_eq!(world.take(&at_route, "ACK").uri(), ack.uri());
    world.none(&alice(), "200");
}

#[test]
fn tx_6_ack_lost() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.run(31_999);
    let sent = world.take_all(&alice(), "200");
    assert_eq!(gaps(&sent), [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    world.none(&alice(), "BYE");
    world.none(&psap(), "BYE");
    world.run(1);
    let (to_phone, to_trunk) = (world.take(&alice(), "BYE"), world.take(&psap(), "BYE"));
    assert!(to_trunk.header("Reason").contains("408"), "{to_trunk}");
    world.send(&alice(), &alice().reply(&to_phone, 200));
    world.send(&psap(), &psap().reply(&to_trunk, 200));
    let lease = world.node.leases_view(0).rows.remove(0);
    assert_eq!(lease.number.to_string(), "+14255551000");
    assert_eq!(lease.state, sosbridge::admin::LeaseState::Held);
    world.over();
    world.silent();
}

#[test]
fn tx_7_trying_at_once_and_never_relayed() {
    let mut world = World::with_alice();
    world.store = crate::world::Store::Silent;
    let began = world.clock();
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    let trying = world.take_all(&alice(), "100");
    assert_eq!(trying.iter().map(|sent| sent.at).collect::<Vec<_>>(), [began]);
    assert!(!trying[0].msg.header("To").contains("tag="), "{}", trying[0].text);
    world.run(200);
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 100));
    world.silent();
}

#[test]
fn tx_8_timer_e_and_timer_f() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.run(70_000);
    let sent = world.take_all(&psap(), "BYE");
    assert_eq!(gaps(&sent), [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    world.over();
    world.silent();
}

#[test]
fn tx_8_no_408_to_a_non_invite() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let info = call.phone.request("INFO").body("application/dtmf-relay", "Signal=5\r\n");
    world.send(&alice(), &info);
    world.take(&psap(), "INFO");
    world.run(40_000);
    // The sender's own Timer F has told it by now; any answer would come too late (RFC 4320 §3).
    world.none(&alice(), "*");
    assert_eq!(world.take_all(&psap(), "INFO").len(), 10);
    world.hang_up(&mut call);
}

#[test]
fn tx_9_merged_request() {
    let mut world = World::with_alice();
    let (invite, _) = world.dialled();
    let merged = invite.clone().branched("z9hG4bK-other-way");
    world.send(&alice(), &merged);
    let refused = world.take(&alice(), "482");
    assert_eq!(refused.branch(), "z9hG4bK-other-way");
    assert_eq!(world.node.sizes().0, 1);
    world.none(&psap(), "INVITE");
}

#[test]
fn tx_10_branch_without_cookie() {
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com");
    let invite = invite.set("Via", "SIP/2.0/UDP 198.51.100.71:5071;branch=1");
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    world.take(&psap(), "INVITE");
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    world.silent();
    // The same branch in another call is another transaction.
    let second = alice().invite("sip:nobody@example.com").set("Via", "SIP/2.0/UDP 198.51.100.71:5071;branch=1");
    world.send(&alice(), &second);
    let refused = world.take(&alice(), "404");
    assert_eq!(refused.header("Call-ID"), second.header("Call-ID"));
    // Its ACK is known by the To tag of the answer.
    world.run(500);
    world.take(&alice(), "404");
    let ack = second.ack_of(&refused);
    world.send(&alice(), &ack);
    world.run(30_000);
    world.none(&alice(), "404");
    // CANCEL finds the first one.
    world.send(&alice(), &invite.cancel());
    world.take(&alice(), "200 CANCEL");
    world.take(&alice(), "487 INVITE");
}

#[test]
fn tx_10_a_whole_call_of_an_old_peer() {
    // RFC 2543: no branch, no From tag, no rport.
    let via = "SIP/2.0/UDP 198.51.100.71:5071";
    let mut world = World::with_alice();
    let invite = alice().invite("sip:911@example.com").set("Via", via).set("From", "<sip:alice@example.com>");
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200 INVITE");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK").set("Via", via));
    world.run(10_000);
    world.none(&alice(), "200 INVITE");
    world.send(&alice(), &phone.request("BYE").set("Via", via));
    world.take(&alice(), "200 BYE");
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    world.silent();
}

#[test]
fn tx_11_stray_response() {
    let mut world = World::with_alice();
    let strange = alice().invite("sip:911@192.0.2.1").set("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnot-ours");
    for code in [100, 180, 200, 302, 486, 503] {
        world.send(&psap(), &psap().reply(&strange, code));
    }
    world.over();
    world.silent();
}

#[test]
fn tx_12_stray_ack() {
    let mut world = World::with_alice();
    let call = world.talking();
    let unknown = Dialog { call_id: "no such call".into(), ..call.phone.clone() }.request("ACK");
    world.send(&alice(), &unknown);
    world.send(&alice(), &alice().request("ACK", "sip:911@example.com"));
    world.silent();
    // The ACK of the answer once more, and one that numbers another INVITE.
    let mut again = call.phone.clone();
    world.send(&alice(), &again.request("ACK"));
    again.cseq = 99;
    world.send(&alice(), &again.request("ACK"));
    world.silent();
}

#[test]
fn tx_13_streams_repeat_nothing() {
    let toml = Toml::one_trunk().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5080;transport=tcp");
    let mut world = World::of(&toml.psap("answer_wait = \"32s\""));
    let phone = world.connect(alice());
    world.register(&phone);
    let invite = phone.invite("sip:911@example.com");
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let connection = world.on_wire(&psap(), "INVITE")[0].connection;
    let trunk = crate::world::Agent { connection, ..psap() };
    let offered = world.take(&trunk, "INVITE");
    assert!(offered.header("Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;"), "{offered}");
    world.run(20_000);
    world.none(&trunk, "INVITE");
    let busy = trunk.reply(&offered, 486);
    world.send(&trunk, &busy);
    world.take(&trunk, "ACK");
    // Timer D is zero: nothing is left to acknowledge a repetition, which a stream does not make.
    world.send(&trunk, &busy);
    world.none(&trunk, "ACK");
}

#[test]
fn tx_13_no_repetition_of_a_refusal_on_a_stream() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.register(&phone);
    let invite = phone.invite("sip:nobody@example.com");
    world.send(&phone, &invite);
    world.take(&phone, "404");
    world.run(31_000);
    world.silent();
    let (_, _, transactions) = world.node.sizes();
    assert_eq!(transactions, 1);
    world.run(1_100);
    assert!(world.node.is_idle());
}

#[test]
fn tx_14_every_other_2xx_gets_ack_and_bye() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    let other = psap().reply(&offered, 200).sdp(&psap().offer());
    let other =
        other.set("To", "<sip:911@203.0.113.80:5080>;tag=second-fork").set("Contact", "<sip:fork@203.0.113.80:5080>");
    world.send(&psap(), &other);
    let (ack, bye) = (world.take(&psap(), "ACK"), world.take(&psap(), "BYE"));
    for request in [&ack, &bye] {
        assert_eq!(request.uri(), "sip:fork@203.0.113.80:5080");
        assert!(request.header("To").ends_with(";tag=second-fork"), "{request}");
        assert_eq!(request.header("Call-ID"), offered.header("Call-ID"));
    }
    assert!(bye.cseq() > offered.cseq(), "{bye}");
    world.none(&alice(), "*");
    world.send(&psap(), &psap().reply(&bye, 200));
    let info = call.phone.request("INFO").body("text/plain", "still here");
    world.send(&alice(), &info);
    let info = world.take(&psap(), "INFO");
    world.send(&psap(), &psap().reply(&info, 200));
    world.take(&alice(), "200 INFO");
    world.hang_up(&mut call);
}

#[test]
fn tx_14_a_fork_that_answers_late_rings_nobody_twice() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    for (tag, code) in [("one", 180), ("two", 183)] {
        let early: Msg = psap().reply(&offered, code).set("To", &format!("<sip:911@203.0.113.80:5080>;tag={tag}"));
        world.send(&psap(), &early);
    }
    world.take(&alice(), "180");
    world.take(&alice(), "183");
    let answer = psap().reply(&offered, 200).set("To", "<sip:911@203.0.113.80:5080>;tag=two");
    world.send(&psap(), &answer.sdp(&description("agent", 1, &["m=audio 9000 RTP/AVP 0"])));
    assert!(world.take(&psap(), "ACK").header("To").ends_with(";tag=two"));
    let ok = world.take(&alice(), "200");
    world.send(&alice(), &Dialog::caller(alice(), &invite, &ok).request("ACK"));
    world.silent();
}
