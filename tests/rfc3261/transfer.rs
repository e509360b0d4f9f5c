//! RE-1 to RE-8: a trunk hands its caller on (RFC 3515, 5589, 3891, 4488, 3892).

use crate::world::{
    Agent, Call, Dialog, Msg, Toml, World, alice, backup, bob, carrier, description, media, param, psap, register,
};

/// Somebody at the second trunk of the route.
const THERE: &str = "<sip:desk@203.0.113.81:5080>";

/// A REFER inside the trunk's dialog.
pub fn refer(call: &mut Call, to: &str) -> Msg {
    let contact = call.trunk.agent.contact();
    call.trunk.request("REFER").with("Contact", &contact).with("Refer-To", to)
}

/// Takes the next NOTIFY, agrees to it, and gives what it says.
#[track_caller]
pub fn told(world: &mut World, agent: &Agent) -> (String, Msg) {
    let notify = world.take(agent, "NOTIFY");
    world.send(agent, &agent.reply(&notify, 200));
    assert_eq!(notify.header("Content-Type"), "message/sipfrag;version=2.0");
    (notify.body.trim_end().to_owned(), notify)
}

/// The agent has asked for a transfer, and the target's INVITE is on the wire.
#[track_caller]
pub fn referred(world: &mut World, call: &mut Call, to: &str, target: &Agent) -> Msg {
    let refer = refer(call, to);
    assert_eq!(world.ask(&psap(), &refer).code(), 202);
    assert_eq!(told(world, &psap()).0, "SIP/2.0 100 Trying");
    world.take(target, "INVITE")
}

/// The target answers, and the phone takes its media.
#[track_caller]
pub fn accepted(world: &mut World, call: &mut Call, target: &Agent, invite: &Msg) -> Dialog {
    let answer = target.reply(invite, 200).sdp(&target.offer());
    world.send(target, &answer);
    world.take(target, "ACK");
    let offered = world.take(&alice(), "INVITE");
    assert_eq!(media(&offered.body), media(&target.offer()));
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    call.trunk = Dialog::callee(*target, invite, &answer);
    Dialog::callee(*target, invite, &answer)
}

/// The agent hears of the success, and is hung up.
#[track_caller]
pub fn dismissed(world: &mut World, agent: &Agent) {
    let (status, last) = told(world, agent);
    assert_eq!(status, "SIP/2.0 200 OK");
    assert_eq!(last.header("Subscription-State"), "terminated;reason=noresource");
    let bye = world.take(agent, "BYE");
    world.send(agent, &agent.reply(&bye, 200));
    world.silent();
}

fn lease_calls(world: &World) -> Vec<(u32, String)> {
    world.node.leases_view(0).rows.iter().map(|lease| (lease.calls, format!("{:?}", lease.state))).collect()
}

/// Rule 5.1b.
#[test]
fn re_1_blind_transfer() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let asked = refer(&mut call, THERE).with("Referred-By", "<sip:agent@203.0.113.80>;cid=\"2UWQFN309shb3@x\"");
    let accepted_refer = world.ask(&psap(), &asked);
    assert_eq!((accepted_refer.code(), accepted_refer.has("Contact")), (202, true));
    let (status, first) = told(&mut world, &psap());
    assert_eq!(status, "SIP/2.0 100 Trying");
    assert_eq!(first.header("Event"), format!("refer;id={}", asked.cseq()));
    assert_eq!(first.header("Subscription-State"), "active;expires=180");
    assert!(first.has("Contact"));

    let invite = world.take(&backup(), "INVITE");
    assert_eq!(invite.uri(), "sip:desk@203.0.113.81:5080");
    let from = |message: &Msg| message.header("From").split(";tag").next().unwrap().to_owned();
    assert_eq!(from(&invite), from(&call.offered));
    assert_eq!(invite.header("P-Asserted-Identity"), call.offered.header("P-Asserted-Identity"));
    assert_eq!(invite.header("Referred-By"), "<sip:agent@203.0.113.80>");
    assert_eq!(media(&invite.body), media(&call.offered.body));
    assert_ne!(invite.header("Call-ID"), call.offered.header("Call-ID"));
    world.none(&alice(), "*");

    world.send(&backup(), &backup().reply(&invite, 180));
    assert_eq!(told(&mut world, &psap()).0, "SIP/2.0 180 Ringing");
    accepted(&mut world, &mut call, &backup(), &invite);
    assert_eq!(lease_calls(&world), [(1, "Active".to_owned())]);
    dismissed(&mut world, &psap());

    let up = world.node.calls_view(0).rows;
    assert_eq!((up.len(), up[0].trunk.as_deref()), (1, Some("backup")));
    world.hang_up(&mut call);
    let record = world.record();
    let attempts: Vec<_> = record.attempts.iter().map(|attempt| (attempt.target.as_str(), attempt.status)).collect();
    assert_eq!(attempts, [("sip:203.0.113.80:5080", Some(200)), ("sip:desk@203.0.113.81:5080", Some(200))]);
    assert_eq!(world.node.records_view(9).len(), 1);
    assert!(lease_calls(&world).iter().all(|(calls, state)| (*calls, state.as_str()) == (0, "Held")));
}

#[test]
fn re_1_what_both_say_in_the_new_call_crosses() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    let mut target = accepted(&mut world, &mut call, &backup(), &invite);
    dismissed(&mut world, &psap());
    for from_phone in [true, false] {
        let (side, other) = if from_phone { (&mut call.phone, backup()) } else { (&mut target, alice()) };
        let agent = side.agent;
        world.send(&agent, &side.request("INFO").body("text/plain", "here"));
        let info = world.take(&other, "INFO");
        world.send(&other, &other.reply(&info, 200));
        world.take(&agent, "200 INFO");
    }
    // The target may hand the caller on again, and may hang up.
    call.trunk = target;
    let again = refer(&mut call, "<sip:psap@203.0.113.80:5080>");
    assert_eq!(world.ask(&backup(), &again).code(), 202);
    let notify = world.take(&backup(), "NOTIFY");
    world.send(&backup(), &backup().reply(&notify, 200));
    let invite = world.take(&psap(), "INVITE");
    accepted(&mut world, &mut call, &psap(), &invite);
    dismissed(&mut world, &backup());
    assert_eq!(world.ask(&psap(), &call.trunk.request("BYE")).code(), 200);
    let bye = world.take(&alice(), "BYE");
    world.send(&alice(), &alice().reply(&bye, 200));
    world.over();
    world.silent();
    assert_eq!(world.record().attempts.len(), 3);
}

#[test]
fn re_1_a_caller_on_hold_is_resumed() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let hold = description("psap", 2, &["m=audio 6000 RTP/AVP 0 101", "a=sendonly"]);
    world.send(&psap(), &call.trunk.request("INVITE").sdp(&hold));
    world.take(&psap(), "100");
    let carried = world.take(&alice(), "INVITE");
    let held = description("alice", 2, &["m=audio 6000 RTP/AVP 0 101", "a=recvonly"]);
    world.send(&alice(), &alice().reply(&carried, 200).sdp(&held));
    world.take(&alice(), "ACK");
    world.take(&psap(), "200");
    world.send(&psap(), &call.trunk.request("ACK"));
    let invite = referred(&mut world, &mut call, THERE, &backup());
    assert!(invite.body.contains("a=sendrecv") && !invite.body.contains("a=recvonly"), "{invite}");
    let answer = backup().reply(&invite, 200).sdp(&backup().offer());
    world.send(&backup(), &answer);
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    // The phone says more than it did while on hold: the target hears of it.
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    let told_target = world.take(&backup(), "INVITE");
    assert_eq!(media(&told_target.body), media(&alice().offer()));
    world.send(&backup(), &backup().reply(&told_target, 200).sdp(&backup().offer()));
    world.take(&backup(), "ACK");
    dismissed(&mut world, &psap());
    call.trunk = Dialog::callee(backup(), &invite, &answer);
    world.hang_up(&mut call);
}

#[test]
fn re_1_a_callback_is_transferred_under_its_number() {
    let mut world = World::with_alice();
    let mut first = world.talking();
    let number = first.trunk.target_user();
    world.hang_up(&mut first);
    let invite = world.call_back(&psap(), &number);
    world.take(&psap(), "100");
    let rung = world.take(&alice(), "INVITE");
    let answer = alice().reply(&rung, 200).sdp(&alice().offer());
    world.send(&alice(), &answer);
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200");
    let mut trunk = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &trunk.request("ACK"));
    let phone = Dialog::callee(alice(), &rung, &answer);
    let mut call = Call { phone, trunk, invite: rung.clone(), offered: invite, ok };
    let invite = referred(&mut world, &mut call, THERE, &backup());
    assert!(invite.header("From").contains(&number), "{invite}");
    accepted(&mut world, &mut call, &backup(), &invite);
    dismissed(&mut world, &psap());
    assert_eq!(lease_calls(&world), [(1, "Active".to_owned())]);
    world.hang_up(&mut call);
}

#[test]
fn re_1_location_goes_along() {
    let mut world =
        World::of(&Toml::default().change("name = \"backup\"", "name = \"backup\"\nallow_headers = [\"X-Site\"]"));
    world.register(&alice());
    let body = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <l@x>\r\n\r\n<presence/>\r\n--b--\r\n",
        alice().offer()
    );
    let invite = alice().request("INVITE", "sip:911@example.com").with("Geolocation", "<cid:l@x>").with("X-Site", "7");
    let invite = invite.body("multipart/mixed;boundary=b", &body);
    world.send(&alice(), &invite);
    world.take(&alice(), "100");
    let offered = world.take(&psap(), "INVITE");
    assert!(!offered.has("X-Site"));
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    let invite = referred(&mut world, &mut call, THERE, &backup());
    assert_eq!((invite.header("Geolocation"), invite.header("X-Site")), ("<cid:l@x>", "7"));
    assert!(invite.body.contains("<presence/>") && invite.body.contains("m=audio "), "{invite}");
    accepted(&mut world, &mut call, &backup(), &invite);
    dismissed(&mut world, &psap());
}

#[test]
fn re_2_a_failed_transfer_leaves_the_caller_with_the_agent() {
    for status in [486, 404, 503, 302, 603] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let invite = referred(&mut world, &mut call, THERE, &backup());
        world.send(&backup(), &backup().reply(&invite, status));
        world.take(&backup(), "ACK");
        let (line, last) = told(&mut world, &psap());
        assert!(line.starts_with(&format!("SIP/2.0 {}", if status == 302 { 480 } else { status })), "{line}");
        assert!(last.header("Subscription-State").starts_with("terminated"));
        world.silent();
        // Another one may follow, and the call goes on.
        let invite = referred(&mut world, &mut call, THERE, &backup());
        world.send(&backup(), &backup().reply(&invite, 480));
        world.take(&backup(), "ACK");
        told(&mut world, &psap());
        world.hang_up(&mut call);
        assert_eq!(world.record().outcome.as_str(), "answered");
    }
}

#[test]
fn re_2_a_phone_that_will_not_change_stays() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let invite = referred(&mut world, &mut call, THERE, &backup());
    world.send(&backup(), &backup().reply(&invite, 200).sdp(&backup().offer()));
    world.take(&backup(), "ACK");
    let offered = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&offered, 488));
    world.take(&alice(), "ACK");
    let bye = world.take(&backup(), "BYE");
    world.send(&backup(), &backup().reply(&bye, 200));
    assert!(told(&mut world, &psap()).0.starts_with("SIP/2.0 488"));
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn re_3_two_calls_of_the_agent_are_joined() {
    let mut world = World::with_alice();
    world.register(&bob());
    let mut call = world.talking();
    // The agent calls bob.
    let invite = psap().invite("sip:bob@example.com");
    world.send(&psap(), &invite);
    world.take(&psap(), "100");
    let rung = world.take(&bob(), "INVITE");
    let answer = bob().reply(&rung, 200).sdp(&bob().offer());
    world.send(&bob(), &answer);
    world.take(&bob(), "ACK");
    let ok = world.take(&psap(), "200");
    let mut consult = Dialog::caller(psap(), &invite, &ok);
    world.send(&psap(), &consult.request("ACK"));
    world.silent();

    let named = format!(
        "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
        consult.call_id,
        param(&consult.remote, "tag"),
        param(&consult.local, "tag")
    );
    let asked = refer(&mut call, &format!("<sip:bob@192.0.2.1:5060?Replaces={named}>"));
    assert_eq!(world.ask(&psap(), &asked).code(), 202);
    assert_eq!(told(&mut world, &psap()).0, "SIP/2.0 100 Trying");
    let offered = world.take(&alice(), "INVITE");
    assert_eq!(media(&offered.body), media(&bob().offer()));
    let moved = description("alice", 2, &["m=audio 6100 RTP/AVP 0"]);
    world.send(&alice(), &alice().reply(&offered, 200).sdp(&moved));
    world.take(&alice(), "ACK");
    let changed = world.take(&bob(), "INVITE");
    assert_eq!(media(&changed.body), media(&moved));
    world.send(&bob(), &bob().reply(&changed, 200).sdp(&bob().offer()));
    world.take(&bob(), "ACK");
    let bye = world.take(&psap(), "BYE");
    assert_eq!(bye.header("Call-ID"), consult.call_id);
    world.send(&psap(), &psap().reply(&bye, 200));
    dismissed(&mut world, &psap());
    assert_eq!(world.node.calls_view(0).rows.len(), 1);
    call.trunk = Dialog::callee(bob(), &rung, &answer);
    // Bob is nobody's agent now.
    assert_eq!(world.ask(&bob(), &refer(&mut call, THERE)).code(), 403);
    world.hang_up(&mut call);
    assert_eq!(world.node.records_view(9).len(), 2);
}

#[test]
fn re_3_a_dialog_at_the_trunk_is_replaced_there() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let to = "<sip:desk@203.0.113.81:5080?Replaces=c1%40pbx%3Bto-tag%3Dt%3Bfrom-tag%3Df&Require=replaces&X-Evil=1>";
    let invite = referred(&mut world, &mut call, to, &backup());
    assert_eq!(invite.uri(), "sip:desk@203.0.113.81:5080");
    assert_eq!((invite.header("Replaces"), invite.header("Require")), ("c1@pbx;to-tag=t;from-tag=f", "replaces"));
    assert!(!invite.has("X-Evil"));
    accepted(&mut world, &mut call, &backup(), &invite);
    dismissed(&mut world, &psap());
    world.hang_up(&mut call);
}

#[test]
fn re_4_only_where_the_trunk_may() {
    let listed = "transfer_to = [\"^\\\\+1(206|425)\\\\d{7}$\", \"sip:desk@psap.example\", \"sip:203.0.113.90\"]";
    // Refer-To, by default, and with the list: what is asked for, or nothing.
    let cases: [(&str, Option<&str>, Option<&str>); 14] = [
        ("<sip:desk@203.0.113.80:5080>", Some("sip:desk@203.0.113.80:5080"), None),
        (
            "<sip:+12065550199@203.0.113.80:5080>",
            Some("sip:+12065550199@203.0.113.80:5080"),
            Some("sip:+12065550199@203.0.113.80:5080"),
        ),
        ("<sip:+12065550199@192.0.2.1:5060;user=phone>", None, Some("sip:+12065550199@203.0.113.80:5080")),
        ("<tel:+1-425-555-0199>", None, Some("sip:+14255550199@203.0.113.80:5080")),
        ("<tel:+19005550199>", None, None),
        ("<sip:+19005550199@192.0.2.1:5060>", None, None),
        ("<sip:desk@psap.example>", None, Some("sip:desk@psap.example")),
        ("<sip:other@psap.example>", None, None),
        ("<sip:x@203.0.113.90;method=INVITE>", None, Some("sip:x@203.0.113.90")),
        ("<sip:x@elsewhere.example>", None, None),
        ("<sip:alice@example.com>", None, None),
        ("<sip:desk@203.0.113.80:5080;method=BYE>", None, None),
        ("<mailto:x@203.0.113.80>", None, None),
        ("<tel:911>", Some("sip:911@203.0.113.80:5080"), Some("sip:911@203.0.113.80:5080")),
    ];
    for (to, by_default, by_list) in cases {
        for (toml, expected) in [(Toml::default(), by_default), (Toml::default().psap(listed), by_list)] {
            let mut world = World::of(&toml);
            world.register(&alice());
            let mut call = world.talking();
            let asked = refer(&mut call, to);
            let answer = world.ask(&psap(), &asked);
            match expected {
                Some(uri) => {
                    assert_eq!(answer.code(), 202, "{to}");
                    assert_eq!(world.take(&psap(), "INVITE").uri(), uri, "{to}");
                }
                None => {
                    assert_eq!((answer.code(), answer.has("Warning")), (403, true), "{to}");
                    world.silent();
                }
            }
        }
    }
}

#[test]
fn re_5_the_phone_transfers_nobody() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let asked = call.phone.request("REFER").with("Contact", &alice().contact()).with("Refer-To", THERE);
    assert_eq!(world.ask(&alice(), &asked).code(), 403);
    world.silent();
    assert!(!call.ok.header("Allow").contains("REFER") && call.offered.header("Allow").contains("REFER"));
    world.hang_up(&mut call);
}

#[test]
fn re_6_what_is_no_transfer() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let none = call.trunk.request("REFER");
    assert_eq!(world.ask(&psap(), &none).code(), 400);
    for bad in
        ["<sip:a@203.0.113.80:5080>, <sip:b@203.0.113.80:5080>", "nobody", "<sip:a@203.0.113.80:5080?Replaces=c>"]
    {
        assert_eq!(world.ask(&psap(), &refer(&mut call, bad)).code(), 400, "{bad}");
    }
    let two = refer(&mut call, THERE).with("Refer-To", THERE);
    assert_eq!(world.ask(&psap(), &two).code(), 400);
    let required = refer(&mut call, THERE).with("Require", "tdialog");
    let refused = world.ask(&psap(), &required);
    assert_eq!((refused.code(), refused.header("Unsupported")), (420, "tdialog"));
    let outside = psap().request("REFER", "sip:192.0.2.1:5060").with("Refer-To", THERE);
    assert_eq!(world.ask(&psap(), &outside).code(), 481);
    world.silent();

    // A repeated one is absorbed, a second one refused.
    let asked = refer(&mut call, THERE);
    assert_eq!(world.ask(&psap(), &asked).code(), 202);
    world.take(&backup(), "INVITE");
    told(&mut world, &psap());
    assert_eq!(world.ask(&psap(), &asked).code(), 202);
    world.silent();
    assert_eq!(world.ask(&psap(), &refer(&mut call, THERE)).code(), 491);
    world.silent();
}

#[test]
fn re_7_no_subscription_where_none_is_wanted() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let asked = refer(&mut call, THERE).with("Refer-Sub", "false").with("Require", "norefersub");
    let answer = world.ask(&psap(), &asked);
    assert_eq!((answer.code(), answer.header("Refer-Sub")), (202, "false"));
    let invite = world.take(&backup(), "INVITE");
    world.send(&backup(), &backup().reply(&invite, 180));
    accepted(&mut world, &mut call, &backup(), &invite);
    world.none(&psap(), "NOTIFY");
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.hang_up(&mut call);
}

/// INVITE that replaces the dialog of the trunk in `call`.
fn replacing(agent: &Agent, call: &Call) -> Msg {
    let (to, from) = (param(&call.trunk.remote, "tag"), param(&call.trunk.local, "tag"));
    let named = format!("{};to-tag={to};from-tag={from}", call.trunk.call_id);
    agent.invite("sip:192.0.2.1:5060").with("Replaces", &named).with("Require", "replaces")
}

#[test]
fn re_8_a_new_dialog_of_the_trunk_takes_the_place_of_the_old() {
    for with_offer in [true, false] {
        let mut world = World::with_alice();
        let mut call = world.talking();
        let desk = Agent::new("desk", "203.0.113.80:5080");
        let there = description("desk", 1, &["m=audio 7000 RTP/AVP 0"]);
        let mut invite = replacing(&desk, &call).sdp(&there);
        if !with_offer {
            world.may_relay = true;
            invite = Msg { body: String::new(), ..invite.without("Content-Type") };
        }
        world.send(&desk, &invite);
        if with_offer {
            world.take(&desk, "100");
        }
        let take_offer = |world: &mut World| {
            let offered = world.take(&alice(), "INVITE");
            assert_eq!(media(&offered.body), media(&there));
            world.send(&alice(), &alice().reply(&offered, 200).sdp(&alice().offer()));
            world.take(&alice(), "ACK");
        };
        if with_offer {
            take_offer(&mut world);
        }
        let ok = world.take(&desk, "200 INVITE");
        assert_eq!(media(&ok.body), media(&call.offered.body));
        let bye = world.take(&desk, "BYE");
        assert_eq!(bye.header("Call-ID"), call.trunk.call_id);
        world.send(&desk, &desk.reply(&bye, 200));
        let mut trunk = Dialog::caller(desk, &invite, &ok);
        let ack = trunk.request("ACK");
        world.send(&desk, &if with_offer { ack } else { ack.sdp(&there) });
        if !with_offer {
            take_offer(&mut world);
        }
        call.trunk = trunk;
        if !with_offer && crate::world::has_engine() {
            // It was answered before rtpengine knew of it, and is told the rest.
            let offered = world.take(&desk, "INVITE");
            assert_eq!(media(&offered.body), media(&alice().offer()));
            world.send(&desk, &desk.reply(&offered, 200).sdp(&there));
            world.take(&desk, "ACK");
        }
        assert_eq!(lease_calls(&world), [(1, "Active".to_owned())]);
        world.hang_up(&mut call);
    }
}

#[test]
fn re_8_else_481() {
    let mut world = World::with_alice();
    let mut call = world.talking();
    let good = replacing(&psap(), &call);
    let value = good.header("Replaces").to_owned();
    let cases = [
        (value.replace("to-tag=", "to-tag=x"), 481),
        (value.replace("from-tag=", "from-tag=x"), 481),
        (format!("x{value}"), 481),
        (format!("{value};early-only"), 486),
        ("no-tags".to_owned(), 400),
    ];
    for (value, status) in cases {
        let invite = replacing(&psap(), &call).set("Replaces", &value);
        assert_eq!(world.ask(&psap(), &invite).code(), status, "{value}");
    }
    // Not the phone's own dialog, and not by another trunk.
    let (to, from) = (param(&call.phone.remote, "tag"), param(&call.phone.local, "tag"));
    let phone = format!("{};to-tag={to};from-tag={from}", call.phone.call_id);
    assert_eq!(world.ask(&psap(), &replacing(&psap(), &call).set("Replaces", &phone)).code(), 481);
    assert_eq!(world.ask(&carrier(), &replacing(&carrier(), &call)).code(), 481);
    // Nor by a phone; and a phone's emergency call is made whatever it replaces.
    world.register_as(&bob(), &register(&bob()));
    let ordinary = bob().invite("sip:alice@example.com").with("Replaces", &value);
    assert_eq!(world.ask(&bob(), &ordinary).code(), 403);
    let urgent = bob().invite("sip:911@example.com").with("Replaces", &value);
    world.send(&bob(), &urgent);
    world.take(&bob(), "100");
    let out = world.take(&psap(), "INVITE");
    assert!(!out.has("Replaces"));
    world.send(&psap(), &psap().reply(&out, 486));
    world.take(&psap(), "ACK");
    world.wire.clear();
    world.none(&alice(), "*");
    let bye = call.phone.request("BYE");
    assert_eq!(world.ask(&alice(), &bye).code(), 200);
    world.take(&psap(), "BYE");
}
