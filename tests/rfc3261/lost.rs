//! Connections that are lost under a call: what was being said over them is said once more, taken back, or ended; nothing is said
//! twice (RFC 3261 §9.1, §13.2.2.4, §17.1.4, §18.2.2, RFC 5626 §4.5).

use sosbridge::node::Input;

use crate::world::{Agent, Call, Dialog, Msg, Toml, UDP, World, alice, authorized, backup, psap};

/// The call center over the connection that the last request to it went over.
fn over(world: &World, pattern: &str) -> Agent {
    let sent = world.on_wire(&psap(), pattern);
    Agent { connection: sent.last().unwrap_or_else(|| panic!("no {pattern}")).connection, ..psap() }
}

fn lose(world: &mut World, agent: &Agent) {
    world.input(Input::Closed { connection: agent.connection.unwrap() });
}

/// The call center is reached over TCP, and has spoken over the connection in a call that is up.
fn talking() -> (World, Agent, Call) {
    let mut world = World::of(&Toml::one_trunk().call_center_at(&psap(), "tcp"));
    world.register(&alice());
    let invite = world.dial(&alice(), "sip:911@example.com");
    let trunk = over(&world, "INVITE");
    let offered = world.take(&trunk, "INVITE");
    let call = world.answer(&alice(), &invite, &trunk, &offered);
    (world, trunk, call)
}

/// That call is over, and the connection is idle.
fn idle() -> (World, Agent) {
    let (mut world, trunk, mut call) = talking();
    world.hang_up(&mut call);
    (world, trunk)
}

/// The call center over a connection that it opens itself.
fn opened_by_psap(world: &mut World) -> Agent {
    let ephemeral = Agent { address: "203.0.113.80:41000".parse().unwrap(), ..psap() };
    let there = world.connect(ephemeral);
    Agent { address: ephemeral.address, ..there }
}

/// An idle connection that a firewall has forgotten is reset by the first request. The same request again, under its branch, is one
/// call, whether the first had arrived or not.
#[test]
fn na_2_an_invite_on_a_connection_that_was_dead() {
    let (mut world, trunk) = idle();
    world.dial(&alice(), "sip:911@example.com");
    let first = world.take(&trunk, "INVITE");
    lose(&mut world, &trunk);
    let again = over(&world, "INVITE");
    assert_ne!(again.connection, trunk.connection);
    let repeated = world.take(&again, "INVITE");
    assert_eq!(repeated, first, "a repetition");
    world.none(&alice(), "182");
    // Once: whoever resets it again does not want it.
    lose(&mut world, &again);
    world.none(&psap(), "INVITE");
    world.run(1_100);
    let next = world.take(&psap(), "INVITE");
    assert_ne!(next.header("Call-ID"), first.header("Call-ID"));
}

/// A BYE that nobody heard would leave the call taker with a dead line.
#[test]
fn na_2_a_bye_on_a_connection_that_was_dead() {
    let (mut world, trunk, mut call) = talking();
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    let first = world.take(&trunk, "BYE");
    lose(&mut world, &trunk);
    let again = over(&world, "BYE");
    assert_eq!(world.take(&again, "BYE"), first);
    world.send(&again, &again.reply(&first, 200));
    world.over();
}

/// Another call has found out that the connection is dead, and has left it; that is no reason to keep the BYE from going anew.
#[test]
fn na_2_a_bye_on_a_connection_that_another_call_has_left() {
    let (mut world, trunk, mut call) = talking();
    world.run(10_000);
    assert_eq!(world.ask(&alice(), &call.phone.request("BYE")).code(), 200);
    let first = world.take(&trunk, "BYE");
    world.register(&crate::world::bob());
    world.dial(&crate::world::bob(), "sip:911@example.com");
    world.take(&trunk, "INVITE");
    world.run(3_100);
    let again = over(&world, "INVITE");
    assert_ne!(again.connection, trunk.connection);
    lose(&mut world, &trunk);
    assert_eq!(world.take(&again, "BYE"), first);
    assert_eq!(world.opened.len(), 2);
}

/// SPEC §5: the caller goes to the next target; where it rang is told so over another connection, and its answer is ended.
#[test]
fn ca_3_a_trunk_rings_and_loses_its_connection() {
    let mut world = World::of(&Toml::default().call_center_at(&psap(), "tcp"));
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let trunk = over(&world, "INVITE");
    let offered = world.take(&trunk, "INVITE");
    world.send(&trunk, &trunk.reply(&offered, 180));
    world.take(&alice(), "180");
    lose(&mut world, &trunk);
    let second = world.take(&backup(), "INVITE");
    let again = over(&world, "CANCEL");
    assert_ne!(again.connection, trunk.connection);
    assert_eq!(world.take(&again, "CANCEL").branch(), offered.branch());
    // RFC 3261 §18.2.2: its answer comes over a connection of its own.
    let answering = opened_by_psap(&mut world);
    world.send(&answering, &trunk.reply(&offered, 200).sdp(&trunk.offer()));
    world.take(&psap(), "ACK");
    world.take(&psap(), "BYE");
    world.none(&alice(), "200");
    world.send(&backup(), &backup().reply(&second, 200).sdp(&backup().offer()));
    world.take(&alice(), "200");
}

/// Alice's INVITE to the trunk, which has said nothing when its connection is lost; then it opens one of its own.
fn lost_unheard() -> (World, Agent, Msg, Agent) {
    let mut world = World::of(&Toml::default().call_center_at(&psap(), "tcp"));
    world.register(&alice());
    world.dial(&alice(), "sip:911@example.com");
    let trunk = over(&world, "INVITE");
    let offered = world.take(&trunk, "INVITE");
    lose(&mut world, &trunk);
    world.take(&backup(), "INVITE");
    let answering = opened_by_psap(&mut world);
    (world, trunk, offered, answering)
}

/// The same where nothing had been said yet: the INVITE may have been heard.
#[test]
fn ca_3_a_trunk_answers_after_its_new_connection_was_lost() {
    let (mut world, trunk, offered, answering) = lost_unheard();
    world.send(&answering, &trunk.reply(&offered, 200).sdp(&trunk.offer()));
    world.take(&psap(), "ACK");
    world.take(&psap(), "BYE");
    world.none(&alice(), "200");
}

/// And a refusal is acknowledged where the INVITE went (§17.1.1.3).
#[test]
fn tx_4_a_refusal_after_the_connection_was_lost() {
    let (mut world, trunk, offered, answering) = lost_unheard();
    world.send(&answering, &trunk.reply(&offered, 486));
    assert_eq!(world.take(&psap(), "ACK").branch(), offered.branch());
    world.none(&alice(), "486");
}

/// A call that is up is not ended by its trunk for want of an ACK (§13.3.1.4).
#[test]
fn di_12_the_late_answer_to_a_reinvite_is_acknowledged() {
    let (mut world, trunk, mut call) = talking();
    let hold = call.phone.request("INVITE").sdp(&alice().offer());
    world.send(&alice(), &hold);
    world.take(&alice(), "100");
    let carried = world.take(&trunk, "INVITE");
    world.send(&trunk, &carried.respond(100));
    lose(&mut world, &trunk);
    let refused = world.take(&alice(), "503");
    world.send(&alice(), &hold.ack_of(&refused));
    let answering = opened_by_psap(&mut world);
    world.send(&answering, &trunk.reply(&carried, 200).sdp(&trunk.offer()));
    world.take(&psap(), "ACK");
    world.none(&psap(), "BYE");
    assert_eq!(world.node.sizes().0, 1, "the call is up");
}

/// Nothing comes back over it, and nothing says that it is gone, as when a firewall drops what it does not know: TCP itself gives up
/// much later.
#[test]
fn na_2_a_connection_that_swallows_everything_is_left() {
    let (mut world, trunk) = idle();
    world.dial(&alice(), "sip:911@example.com");
    let lost = world.take(&trunk, "INVITE");
    world.run(3_100);
    let again = over(&world, "INVITE");
    assert_ne!(again.connection, trunk.connection);
    let offered = world.take(&again, "INVITE");
    world.send(&again, &again.reply(&offered, 180));
    // What comes late over the old one is ended there (SPEC §5).
    world.send(&trunk, &trunk.reply(&lost, 180));
    world.take(&psap(), "CANCEL");
    world.run(31_000);
    assert!(world.closed.is_empty(), "it has spoken, and may answer yet");
    world.run(40_000);
    assert_eq!(world.closed, [trunk.connection.unwrap()], "nothing is waited for");
}

#[test]
fn na_2_a_connection_that_stays_mute_is_closed() {
    let (mut world, trunk) = idle();
    world.dial(&alice(), "sip:911@example.com");
    world.run(3_100);
    let again = over(&world, "INVITE");
    let offered = world.take_all(&again, "INVITE").pop().unwrap().msg;
    world.send(&again, &again.reply(&offered, 180));
    world.run(40_000);
    assert_eq!(world.closed, [trunk.connection.unwrap()]);
}

/// Each call would open another connection to a trunk that is slow, and none would ever be closed.
#[test]
fn na_2_a_connection_that_was_left_and_speaks_after_all_is_used_again() {
    let (mut world, trunk) = idle();
    for _ in 0..20 {
        let invite = world.dial(&alice(), "sip:911@example.com");
        world.run(2_500);
        let slow = world.take(&trunk, "INVITE");
        world.send(&trunk, &trunk.reply(&slow, 486));
        world.send(&alice(), &invite.cancel());
        world.over();
        world.wire.clear();
        world.register(&alice());
    }
    assert_eq!((world.opened.len(), world.closed.len()), (1, 0));
}

/// Calls that overlap at such a trunk: what was left speaks when another one has its place, and is closed when nothing waits for it.
#[test]
fn na_2_a_slow_trunk_has_two_connections_and_not_one_for_each_call() {
    let (mut world, _) = idle();
    let (mut offered, mut dialled) = (Vec::new(), std::collections::VecDeque::new());
    for step in 0..600 {
        if step % 7 == 0 && step < 500 {
            dialled.push_back((step, world.dial(&alice(), "sip:911@example.com")));
        }
        world.run(100);
        offered.extend(world.take_all(&psap(), "INVITE"));
        let (now, is_slow) = (world.clock(), 2_500);
        for sent in offered.extract_if(.., |sent| sent.at + is_slow <= now) {
            let over = Agent { connection: sent.connection, ..psap() };
            world.send(&over, &over.reply(&sent.msg, 486));
        }
        if let Some((_, invite)) = dialled.pop_front_if(|(at, _)| *at + 30 < step) {
            world.send(&alice(), &invite.cancel());
        }
    }
    let open = world.opened.len() - world.closed.len();
    assert!(world.opened.len() < 5 && open <= 2, "{} opened, {} closed", world.opened.len(), world.closed.len());
    world.run(100_000);
    assert_eq!(world.opened.len() - world.closed.len(), 1, "what nobody waits for is closed");
}

/// A trunk that speaks in other calls is alive: one call that it lets wait changes nothing of its connection.
#[test]
fn na_2_a_connection_that_speaks_is_kept() {
    let (mut world, trunk, mut call) = talking();
    let invite = crate::world::bob().invite("sip:911@example.com");
    world.register(&crate::world::bob());
    world.send(&crate::world::bob(), &invite);
    world.take(&trunk, "INVITE");
    world.run(1_000);
    let info = call.trunk.request("INFO").body("text/plain", "x");
    world.send(&trunk, &info);
    world.run(2_100);
    assert_eq!(over(&world, "INVITE").connection, trunk.connection);
}

/// Alice dials 911 over TCP and loses her connection; she is back over another.
fn cut_off(lines: &[(&str, &str)]) -> (World, Agent, Agent, Msg, Msg) {
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    let invite =
        lines.iter().fold(phone.invite("sip:911@example.com"), |invite, (name, value)| invite.with(name, value));
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let offered = world.take(&psap(), "INVITE");
    let back = world.connect(Agent::new("alice", "198.51.100.71:40999"));
    (world, phone, back, invite, offered)
}

/// What is too long for a datagram comes over a connection that its phone soon closes (RFC 3261 §18.1.1): the phone is where it is
/// registered.
#[test]
fn na_1_a_phone_that_dialled_over_a_connection_is_reached_where_it_is_registered() {
    let mut world = World::with_alice();
    let over = world.connect(Agent::new("alice", "198.51.100.71:41000"));
    let invite = over.invite("sip:911@example.com").set("Contact", &alice().contact());
    let challenge = world.ask(&over, &invite);
    let invite = authorized(&invite, &challenge, "alice", "MD5");
    world.send(&over, &invite);
    world.take(&over, "100");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&over, &invite, &psap(), &offered);
    let info = |call: &mut Call| call.trunk.request("INFO").body("text/plain", "x");
    world.send(&psap(), &info(&mut call));
    let heard = world.take(&over, "INFO");
    world.send(&over, &over.reply(&heard, 200));
    world.take(&psap(), "200 INFO");
    lose(&mut world, &over);
    world.send(&psap(), &info(&mut call));
    let heard = world.take(&alice(), "INFO");
    world.send(&alice(), &alice().reply(&heard, 200));
    world.take(&psap(), "200 INFO");
    assert_eq!(world.ask(&psap(), &call.trunk.request("BYE")).code(), 200);
    world.take(&alice(), "BYE");
    assert!(world.opened.is_empty(), "{:?}", world.opened);
}

/// The same of what it says during the call. One that names the connection in its Contact has moved to it, and back.
#[test]
fn na_1_a_phone_that_says_one_thing_over_a_connection_is_still_reached_by_datagrams() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let over = world.connect(Agent::new("alice", "198.51.100.71:41000"));
    let mut holds = |world: &mut World, from: &Agent, contact: &str| {
        let hold = call.phone.request("INVITE").sdp(&alice().offer()).set("Contact", contact);
        world.send(from, &hold);
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
        world.take(&psap(), "ACK");
        world.take(from, "200 INVITE");
        world.send(from, &call.phone.request("ACK"));
        world.send(&psap(), &call.trunk.request("INFO").body("text/plain", "x"));
    };
    holds(&mut world, &over, &alice().contact());
    let heard = world.take(&alice(), "INFO");
    world.send(&alice(), &alice().reply(&heard, 200));
    holds(&mut world, &over, &over.contact());
    let heard = world.take(&over, "INFO");
    world.send(&over, &over.reply(&heard, 200));
    holds(&mut world, &alice(), &alice().contact());
    assert!(world.on_wire(&alice(), "INFO").iter().all(|sent| sent.listener == UDP && sent.connection.is_none()));
    world.take(&alice(), "INFO");
}

#[test]
fn na_2_a_phone_that_acknowledges_over_another_connection() {
    let (mut world, phone, back, invite, offered) = cut_off(&[]);
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&phone, "200");
    lose(&mut world, &phone);
    let mut dialog = Dialog::caller(back, &invite, &ok);
    world.send(&back, &dialog.request("ACK"));
    let bye = Dialog::callee(psap(), &offered, &answer).request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
    world.take(&back, "BYE");
    assert!(world.opened.is_empty(), "{:?}", world.opened);
}

#[test]
fn pr_3_a_phone_that_pracks_over_another_connection() {
    let (mut world, phone, back, invite, offered) = cut_off(&[("Supported", "100rel")]);
    let early = psap().reply(&offered, 183).sdp(&psap().offer()).with("Require", "100rel").with("RSeq", "7");
    world.send(&psap(), &early);
    let early = world.take(&phone, "183");
    lose(&mut world, &phone);
    let mut dialog = Dialog::caller(back, &invite, &early);
    let rack = format!("{} {} INVITE", early.header("RSeq"), invite.cseq());
    let prack = dialog.request("PRACK").with("RAck", &rack);
    assert_eq!(world.ask(&back, &prack).code(), 200);
    world.take(&psap(), "PRACK");
    world.send(&psap(), &psap().reply(&offered, 200));
    world.take(&back, "200 INVITE");
}

#[test]
fn tx_1_an_invite_again_over_another_connection() {
    let (mut world, phone, back, invite, offered) = cut_off(&[]);
    lose(&mut world, &phone);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.none(&phone, "*");
    world.send(&back, &invite);
    world.take(&back, "180");
    world.none(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&back, "200 INVITE");
}

/// The 200, or a refusal, was lost with the connection.
#[test]
fn tx_1_an_invite_again_over_another_connection_after_its_answer() {
    let (mut world, phone, back, invite, offered) = cut_off(&[]);
    lose(&mut world, &phone);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    let other = world.connect(Agent { connection: None, ..back });
    world.send(&other, &invite.clone().set("Call-ID", "guessed"));
    world.send(&back, &invite);
    world.run(5_000);
    world.none(&other, "*");
    let ok = world.take(&back, "200 INVITE");
    world.send(&back, &Dialog::caller(back, &invite, &ok).request("ACK"));
    world.run(40_000);
    assert_eq!(world.node.sizes().0, 1, "the call is up");

    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    let invite = phone.invite("sip:nobody@example.com");
    world.send(&phone, &invite);
    world.take(&phone, "404");
    lose(&mut world, &phone);
    let back = world.connect(Agent { connection: None, ..back });
    world.send(&back, &invite);
    world.take(&back, "404");
}

#[test]
fn ca_1_cancelled_over_another_connection() {
    let (mut world, phone, back, invite, offered) = cut_off(&[]);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&phone, "180");
    lose(&mut world, &phone);
    world.send(&back, &invite.cancel());
    world.take(&back, "200 CANCEL");
    world.take(&back, "487 INVITE");
    world.take(&psap(), "CANCEL");
}

/// Nobody else gets the responses of a call by its branch, which can be guessed.
#[test]
fn tx_1_an_invite_with_the_branch_of_another_is_told_nothing() {
    let (mut world, phone, back, invite, offered) = cut_off(&[]);
    lose(&mut world, &phone);
    let guessed = invite.set("Call-ID", "guessed");
    world.send(&back, &guessed);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.none(&back, "200");
}

/// RFC 3261 §18.2.2 for a PBX, which listens where its Via says.
#[test]
fn na_1_a_response_to_a_pbx_whose_connection_is_gone() {
    let pbx = "[[pbxs]]\nname = \"HQ\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\n\
               target = \"sip:198.51.100.9:5070\"\n";
    let mut world = World::of(&Toml::default().resource("unknown_country = \"US\"").add(pbx));
    world.secrets.push("198.51.100.9:");
    let pbx = world.connect(Agent::new("alice", "198.51.100.9:43000"));
    let via = "SIP/2.0/TCP 198.51.100.9:5060;branch=z9hG4bKpbx";
    world.send(&pbx, &pbx.invite("sip:911@192.0.2.1").set("Via", via));
    let offered = world.take(&psap(), "INVITE");
    lose(&mut world, &pbx);
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&Agent::new("alice", "198.51.100.9:5060"), "200 INVITE");
}
