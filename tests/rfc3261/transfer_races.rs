//! RE-1 to RE-3 and RE-8 when something else happens meanwhile: somebody hangs up, nobody answers, messages are lost.

use crate::transfer::{accepted, dismissed, refer, referred, told};
use crate::world::{Agent, Dialog, Toml, World, alice, backup, description, media, param, psap};

const THERE: &str = "<sip:desk@203.0.113.81:5080>";

#[test]
fn re_1_the_caller_hangs_up_while_the_target_rings() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.send(&backup(), &backup().reply(&invite, 180));
    told(&mut world, &psap());
    assert_eq!(world.ask(&alice(), &call.phone.request("BYE")).code(), 200);
    let cancel = world.take(&backup(), "CANCEL");
    world.send(&backup(), &backup().reply(&cancel, 200));
    world.send(&backup(), &backup().reply(&invite, 487));
    world.take(&backup(), "ACK");
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 487"));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    world.silent();
    let record = world.record();
    assert_eq!((record.outcome.as_str(), record.attempts.last().unwrap().status), ("answered", Some(487)));
    assert_eq!(world.node.leases_view(0).rows[0].calls, 0);
}

#[test]
fn re_1_the_caller_hangs_up_while_it_is_offered_the_target() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.send(&backup(), &backup().reply(&invite, 200).sdp(&backup().offer()));
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 100));
    assert_eq!(world.ask(&alice(), &call.phone.request("BYE")).code(), 200);
    for cancel in world.take_all(&alice(), "CANCEL") {
        world.send(&alice(), &alice().reply(&cancel.msg, 200));
    }
    world.send(&alice(), &alice().reply(&offered, 487));
    world.take(&alice(), "ACK");
    let bye = world.take(&backup(), "BYE");
    world.send(&backup(), &backup().reply(&bye, 200));
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 487"));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
    world.silent();
}

#[test]
fn re_1_the_agent_hangs_up_and_the_transfer_goes_on() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    let mut agent = Dialog { ..call.trunk.clone() };
    assert_eq!(world.ask(&psap(), &agent.request("BYE")).code(), 200);
    world.none(&alice(), "*");
    // What the phone says meanwhile is refused alone.
    assert_eq!(world.ask(&alice(), &call.phone.request("INVITE").sdp(&alice().offer())).code(), 491);
    world.wire.clear();
    world.send(&backup(), &backup().reply(&invite, 180));
    assert_eq!(told(&mut world, &psap()).0, "SIP/2.0 180 Ringing");
    accepted(&mut world, &mut call, &backup(), &invite);
    assert_eq!(told(&mut world, &psap()).0, "SIP/2.0 200 OK");
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn re_2_the_agent_is_gone_and_the_target_fails() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    assert_eq!(world.ask(&psap(), &call.trunk.request("BYE")).code(), 200);
    world.send(&backup(), &backup().reply(&invite, 486));
    world.take(&backup(), "ACK");
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 486"));
    let bye = world.take(&alice(), "BYE");
    assert!(bye.header("Reason").contains("486"), "{bye}");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
    assert_eq!(world.node.leases_view(0).rows[0].calls, 0);
}

#[test]
fn re_2_a_silent_target_and_its_late_answer() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.run(2000);
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 408"));
    world.take_all(&backup(), "INVITE");
    world.send(&backup(), &backup().reply(&invite, 200).sdp(&backup().offer()));
    world.take(&backup(), "ACK");
    let bye = world.take(&backup(), "BYE");
    world.send(&backup(), &backup().reply(&bye, 200));
    world.none(&alice(), "*");
    world.hang_up(&mut call);
}

#[test]
fn re_2_a_target_that_rings_for_ever() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.send(&backup(), &backup().reply(&invite, 180));
    told(&mut world, &psap());
    world.run(179_000);
    world.none(&backup(), "CANCEL");
    world.run(1_100);
    let cancel = world.take(&backup(), "CANCEL");
    world.send(&backup(), &backup().reply(&cancel, 200));
    world.send(&backup(), &backup().reply(&invite, 487));
    world.take(&backup(), "ACK");
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 408"));
    world.hang_up(&mut call);
}

#[test]
fn re_2_the_next_target_of_the_trunk() {
    let two = "targets = [{ uri = \"sip:203.0.113.81:5080\" }, { uri = \"sip:203.0.113.84:5080\", priority = 2 }]";
    let mut world = World::of(&Toml::default().change("targets = [{ uri = \"sip:203.0.113.81:5080\" }]", two));
    world.register(&alice());
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.send(&backup(), &backup().reply(&invite, 503));
    world.take(&backup(), "ACK");
    let spare = Agent::new("spare", "203.0.113.84:5080");
    let invite = world.take(&spare, "INVITE");
    assert_eq!(invite.uri(), "sip:desk@203.0.113.81:5080");
    accepted(&mut world, &mut call, &spare, &invite);
    dismissed(&mut world, &psap());
    world.hang_up(&mut call);
}

#[test]
fn re_1_a_subscriber_that_refuses_or_never_answers() {
    for refuses in [true, false] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let asked = refer(&mut call, THERE);
        assert_eq!(world.ask(&psap(), &asked).code(), 202);
        let notify = world.take(&psap(), "NOTIFY");
        if refuses {
            world.send(&psap(), &psap().reply(&notify, 481));
        }
        let invite = world.take(&backup(), "INVITE");
        world.send(&backup(), &backup().reply(&invite, 180));
        accepted(&mut world, &mut call, &backup(), &invite);
        world.run(4_000);
        let notifies = world.take_all(&psap(), "NOTIFY");
        assert_eq!(notifies.is_empty(), refuses);
        assert!(notifies.iter().all(|sent| !sent.msg.body.contains("180")), "one at a time, but for the last");
        let bye = world.take(&psap(), "BYE");
        world.send(&psap(), &psap().reply(&bye, 200));
        world.run(40_000);
        world.take_all(&psap(), "BYE");
        world.take_all(&psap(), "NOTIFY");
        world.hang_up(&mut call);
    }
}

#[test]
fn re_1_the_phone_is_in_the_middle_of_something() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    // Alice resumes while the target answers: her re-INVITE is on its way to the agent.
    let hold = description("alice", 2, &["m=audio 6000 RTP/AVP 0 101", "a=sendonly"]);
    let reinvite = call.phone.request("INVITE").sdp(&hold);
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    let carried = world.take(&psap(), "INVITE");
    let answer = backup().reply(&invite, 200).sdp(&backup().offer());
    world.send(&backup(), &answer);
    world.take(&backup(), "ACK");
    world.none(&alice(), "INVITE");
    world.send(&psap(), &psap().reply(&carried, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    world.take(&alice(), "200 INVITE");
    world.send(&alice(), &call.phone.request("ACK"));
    world.run(1_600);
    let offered = world.take(&alice(), "INVITE");
    world.take_all(&alice(), "INVITE");
    assert_eq!(media(&offered.body), media(&backup().offer()));
    // 491, and another try.
    world.send(&alice(), &alice().reply(&offered, 491));
    world.take(&alice(), "ACK");
    world.run(4_100);
    let offered = world.take(&alice(), "INVITE");
    world.take_all(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    dismissed(&mut world, &psap());
    call.trunk = Dialog::callee(backup(), &invite, &answer);
    world.hang_up(&mut call);
}

#[test]
fn re_2_the_target_hangs_up_before_the_phone_is_there() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    let answer = backup().reply(&invite, 200).sdp(&description("backup", 1, &["m=audio 7000 RTP/AVP 0", "a=ptime:30"]));
    world.send(&backup(), &answer);
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    let mut target = Dialog::callee(backup(), &invite, &answer);
    assert_eq!(world.ask(&backup(), &target.request("BYE")).code(), 200);
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 480"));
    // The phone has taken the media of a party that is gone: it is given back that of the agent.
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    let back = world.take(&alice(), "INVITE");
    assert_eq!(media(&back.body), media(&psap().offer()));
    world.send(&alice(), &alice().reply(&back, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn re_8_a_replacement_that_is_cancelled_changes_nothing() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let (to, from) = (param(&call.trunk.remote, "tag"), param(&call.trunk.local, "tag"));
    let named = format!("{};to-tag={to};from-tag={from}", call.trunk.call_id);
    let offer = description("psap", 1, &["m=audio 7000 RTP/AVP 0"]);
    let invite = psap().request("INVITE", "sip:192.0.2.1:5060").sdp(&offer).with("Replaces", &named);
    world.send(&psap(), &invite);
    world.take(&psap(), "100");
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 100));
    world.send(&psap(), &invite.cancel());
    world.take(&psap(), "200 CANCEL");
    let refused = world.take(&psap(), "487");
    world.send(&psap(), &invite.ack_of(&refused));
    let cancel = world.take(&alice(), "CANCEL");
    world.send(&alice(), &alice().reply(&cancel, 200));
    world.send(&alice(), &alice().reply(&offered, 487));
    world.take(&alice(), "ACK");
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn re_1_a_reliable_183_of_the_target() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    let ringing = backup().reply(&invite, 183).with("Require", "100rel").with("RSeq", "7").sdp(&backup().offer());
    world.send(&backup(), &ringing);
    let prack = world.take(&backup(), "PRACK");
    world.send(&backup(), &backup().reply(&prack, 200));
    told(&mut world, &psap());
    let answer = backup().reply(&invite, 200);
    world.send(&backup(), &answer);
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    assert_eq!(media(&offered.body), media(&backup().offer()));
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    dismissed(&mut world, &psap());
    call.trunk = Dialog::callee(backup(), &invite, &answer);
    world.hang_up(&mut call);
}

#[test]
fn re_1_the_last_notify_is_answered_before_an_older_one() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let asked = refer(&mut call, THERE);
    assert_eq!(world.ask(&psap(), &asked).code(), 202);
    let first = world.take(&psap(), "NOTIFY");
    let invite = world.take(&backup(), "INVITE");
    assert_eq!(world.ask(&psap(), &call.trunk.request("BYE")).code(), 200);
    accepted(&mut world, &mut call, &backup(), &invite);
    assert_eq!(told(&mut world, &psap()).0, "SIP/2.0 200 OK");
    world.send(&psap(), &psap().reply(&first, 200));
    world.silent();
    // Nothing is left of the agent's leg.
    world.hang_up(&mut call);
}
