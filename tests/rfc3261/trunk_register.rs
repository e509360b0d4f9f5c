//! `register = true`: our registration at a trunk (RFC 3261 §10.2), seen by its registrar.

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, outsider, param, psap};
use sosbridge::admin::RegistrationState;
use sosbridge::node::Input;

fn toml() -> Toml {
    Toml::default().psap("username = \"carrier-user\"\npassword = \"s3cret\"\nregister = true")
}

/// The trunk calls from nowhere that the file names.
fn closed_toml() -> Toml {
    toml().change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = []")
}

fn digest(nonce: &str) -> String {
    format!("Digest realm=\"trunk.example\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5")
}

fn ok(register: &Msg, expires: u32) -> Msg {
    let contact = format!("{};expires={expires}", register.header("Contact"));
    let other = "<sip:somebody@198.51.100.250:5060>;expires=17";
    psap().reply(register, 200).set("Contact", other).with("Contact", &contact)
}

/// A world whose registration stands.
fn registered(toml: &Toml, expires: u32) -> World {
    let mut world = World::of(toml);
    world.run(0);
    let first = world.take(&psap(), "REGISTER");
    world.send(&psap(), &psap().reply(&first, 401).without("Contact").with("WWW-Authenticate", &digest("n1")));
    let second = world.take(&psap(), "REGISTER");
    world.send(&psap(), &ok(&second, expires));
    assert_eq!(standing(&world), RegistrationState::Registered);
    world
}

fn standing(world: &World) -> RegistrationState {
    world.node.trunks_view()[0].registration.as_ref().unwrap().state
}

#[test]
fn it_registers_with_its_credentials_and_renews_in_time() {
    let mut world = World::of(&toml());
    world.run(0);
    let first = world.take(&psap(), "REGISTER");
    assert_eq!(first.uri(), "sip:203.0.113.80:5080");
    assert_eq!(first.header("To"), "<sip:carrier-user@203.0.113.80>");
    assert_eq!(first.contact(), "sip:carrier-user@192.0.2.1:5060");
    assert!(first.header("Expires").parse::<u32>().unwrap() >= 600 && !first.has("Authorization"));
    world.send(&psap(), &psap().reply(&first, 401).without("Contact").with("WWW-Authenticate", &digest("n1")));
    let second = world.take(&psap(), "REGISTER");
    assert!(second.header("Authorization").contains("username=\"carrier-user\""));
    assert_eq!((second.header("Call-ID"), second.cseq()), (first.header("Call-ID"), first.cseq() + 1));
    world.send(&psap(), &ok(&second, 120));
    assert_eq!(standing(&world), RegistrationState::Registered);
    world.run(1_100);
    assert_eq!(world.metric("sosbridge_trunk_registered{trunk=\"psap\"}") as u8, 1);
    // Three quarters of what it was granted, with the nonce that is known.
    world.run(87_000);
    world.none(&psap(), "REGISTER");
    world.run(3_000);
    let renewed = world.take_all(&psap(), "REGISTER").remove(0).msg;
    assert!(renewed.header("Authorization").contains("nc=00000002"), "{renewed}");
    assert_eq!((renewed.header("Call-ID"), renewed.cseq()), (first.header("Call-ID"), second.cseq() + 1));
    world.send(&psap(), &ok(&renewed, 120));
    world.silent();
}

#[test]
fn too_brief_is_asked_for_longer_and_a_refusal_backs_off() {
    let mut world = World::of(&toml());
    world.run(0);
    let first = world.take(&psap(), "REGISTER");
    world.send(&psap(), &psap().reply(&first, 423).with("Min-Expires", "7200"));
    world.run(10);
    let longer = world.take(&psap(), "REGISTER");
    assert_eq!(longer.header("Expires"), "7200");
    world.send(&psap(), &psap().reply(&longer, 403));
    assert_eq!(standing(&world), RegistrationState::Failed);
    let mut times = vec![world.clock()];
    for _ in 0..6 {
        while world.on_wire(&psap(), "REGISTER").is_empty() {
            world.run(500);
        }
        let sent = world.take_all(&psap(), "REGISTER");
        assert_eq!(sent.len(), 1);
        times.push(sent[0].at);
        world.send(&psap(), &psap().reply(&sent[0].msg, 403));
    }
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] <= 5_500 && pauses[5] > 60_000, "{pauses:?}");
    assert_eq!(world.node.trunks_view()[0].registration.as_ref().unwrap().last_status, Some(403));
    // Wrong credentials are not repeated within one attempt.
    let mut world = World::of(&toml());
    world.run(0);
    for nonce in ["n1", "n2"] {
        let asked = world.take(&psap(), "REGISTER");
        world.send(&psap(), &psap().reply(&asked, 401).with("WWW-Authenticate", &digest(nonce)));
    }
    world.silent();
}

#[test]
fn a_callback_over_the_registration_is_the_trunks_and_from_nowhere_else() {
    let mut world = registered(&closed_toml(), 3600);
    world.register(&alice());
    let (_, offered) = world.dialled();
    let number = world.node.leases_view(0).rows[0].number.to_string();
    world.send(&psap(), &psap().reply(&offered, 486));
    world.take_all(&psap(), "*");
    world.run(100);
    for stranger in [outsider(), Agent::new("psap", "203.0.113.80:5999")] {
        let invite = stranger.invite(&format!("sip:{number}@192.0.2.1"));
        assert_eq!(world.ask(&stranger, &invite).code(), 403, "{}", stranger.address);
    }
    // The number in the Request-URI, or our Contact there and the number in To or P-Called-Party-ID.
    let to_contact = || psap().invite("sip:carrier-user@192.0.2.1:5060");
    let calls = [
        psap().invite(&format!("sip:{number}@192.0.2.1")),
        to_contact().set("To", &format!("<sip:{number}@trunk.example>")),
        to_contact().with("P-Called-Party-ID", &format!("<sip:{number}@trunk.example>")),
    ];
    for call in calls {
        world.send(&psap(), &call);
        let ring = world.take(&alice(), "INVITE");
        assert_eq!(ring.header("Priority"), "psap-callback");
        world.send(&psap(), &call.cancel());
        world.take_all(&psap(), "*");
        world.send(&alice(), &alice().reply(&ring, 180));
        world.take_all(&alice(), "*");
    }
}

#[test]
fn without_the_registration_its_calls_are_those_of_a_stranger() {
    let mut world = registered(&closed_toml(), 60);
    world.register(&alice());
    world.dialled();
    let number = world.node.leases_view(0).rows[0].number.to_string();
    // It ends: the registrar is silent.
    world.run(62_000);
    let invite = psap().invite(&format!("sip:{number}@192.0.2.1"));
    assert_eq!(world.ask(&psap(), &invite).code(), 403);
}

#[test]
fn a_drain_ends_with_the_registration_taken_back() {
    let mut world = registered(&toml(), 3600);
    world.register(&alice());
    let mut call = world.talking();
    world.input(Input::Drain);
    world.none(&psap(), "REGISTER");
    let bye = call.phone.request("BYE");
    world.ask(&alice(), &bye);
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    let last = world.take(&psap(), "REGISTER");
    assert_eq!(last.header("Expires"), "0");
    assert!(last.header("Authorization").contains("nc="));
    assert!(!world.node.is_drained());
    world.send(&psap(), &psap().reply(&last, 200).without("Contact"));
    assert!(world.node.is_drained());
    assert_eq!(standing(&world), RegistrationState::Ended);
    // Nobody waits long for a registrar that is gone.
    let mut world = registered(&toml(), 3600);
    world.input(Input::Drain);
    world.take(&psap(), "REGISTER");
    world.run(2_500);
    assert!(world.node.is_drained());
}

#[test]
fn a_reload_keeps_the_registration_and_may_end_it() {
    let mut world = registered(&toml(), 120);
    world.reload(&toml().add("[other_calls]\nusers = false\n"));
    assert_eq!(standing(&world), RegistrationState::Registered);
    world.reload(&Toml::default());
    assert!(world.node.trunks_view()[0].registration.is_none());
    world.run(300_000);
    world.none(&psap(), "REGISTER");
}

#[test]
fn au_3_a_probe_is_answered_too() {
    let mut world = World::of(&toml().change("options_interval = \"0s\"", "options_interval = \"30s\""));
    world.run(0);
    let probe = world.take(&psap(), "OPTIONS");
    world.send(&psap(), &psap().reply(&probe, 401).with("WWW-Authenticate", &digest("n1")));
    let again = world.take(&psap(), "OPTIONS");
    assert!(again.header("Authorization").contains("response="), "{again}");
    assert_eq!((again.cseq(), param(again.header("Via"), "branch") == probe.branch()), (2, false));
    world.send(&psap(), &psap().reply(&again, 200));
    assert_eq!(world.node.trunks_view()[0].targets[0].last_status, Some(200));
}

#[test]
fn a_dialog_of_a_call_over_the_registration_lives_on_after_it() {
    let mut world = registered(&closed_toml(), 3600);
    world.register(&alice());
    let (_, offered) = world.dialled();
    let number = world.node.leases_view(0).rows[0].number.to_string();
    world.send(&psap(), &psap().reply(&offered, 486));
    world.take_all(&psap(), "*");
    let cb = psap().invite(&format!("sip:{number}@192.0.2.1"));
    world.send(&psap(), &cb);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    let ok = world.take(&psap(), "200");
    let mut trunk = Dialog::caller(psap(), &cb, &ok);
    let ack = trunk.request("ACK");
    world.send(&psap(), &ack);
    world.reload(&Toml::default().change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = []"));
    let bye = trunk.request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
}

#[test]
fn a_registration_under_tls_opens_no_door_for_datagrams() {
    let tls = Toml::secure()
        .psap("username = \"carrier-user\"\npassword = \"s3cret\"\nregister = true")
        .change("accept_from = [\"203.0.113.80:5080\"]", "accept_from = []")
        .change("sip:203.0.113.80:5080", "sip:203.0.113.80:5080;transport=tls");
    let mut world = World::of(&tls);
    world.run(0);
    let trunk = Agent { connection: Some(world.opened[0].connection), ..psap() };
    let register = world.take(&trunk, "REGISTER");
    world.send(&trunk, &ok(&register, 3600));
    assert_eq!(standing(&world), RegistrationState::Registered);
    world.register(&alice());
    world.dialled();
    let uri = format!("sip:{}@192.0.2.1", world.node.leases_view(0).rows[0].number);
    // The address of a datagram is whatever its sender writes.
    assert_eq!(world.ask(&psap(), &psap().invite(&uri)).code(), 403);
    world.none(&alice(), "INVITE");
    world.send(&trunk, &trunk.invite(&uri));
    world.take(&alice(), "INVITE");
}

#[test]
fn too_brief_without_end_is_asked_again_with_pauses() {
    let mut world = World::of(&toml());
    let mut sent = 0;
    for _ in 0..1_000 {
        world.run(600);
        for register in world.take_all(&psap(), "REGISTER") {
            sent += 1;
            let least = register.msg.header("Expires").parse::<u32>().unwrap() + 1;
            world.send(&psap(), &psap().reply(&register.msg, 423).with("Min-Expires", &least.to_string()));
        }
    }
    assert!((2..20).contains(&sent), "{sent} in ten minutes");
}

#[test]
fn a_registrar_that_closes_every_connection_is_not_called_without_end() {
    let mut world = World::of(&toml().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5080;transport=tcp"));
    let mut sent = 0;
    for _ in 0..1_000 {
        world.run(600);
        for register in world.take_all(&psap(), "REGISTER") {
            sent += 1;
            let trunk = Agent { connection: register.connection, ..psap() };
            world.send(&trunk, &ok(&register.msg, 3600));
            world.input(Input::Closed { connection: register.connection.unwrap() });
        }
    }
    assert!((8..20).contains(&sent), "{sent} in ten minutes");
}

/// It belongs to the connection it was made over: what comes after the loss of one is a REGISTER anew, whose connection counts.
#[test]
fn a_renewal_on_a_connection_that_was_dead() {
    let mut world = World::of(&toml().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5080;transport=tcp"));
    world.run(1_000);
    let registered = |world: &mut World| {
        let register = world.take_all(&psap(), "REGISTER").pop().expect("a REGISTER");
        let trunk = Agent { connection: register.connection, ..psap() };
        world.send(&trunk, &ok(&register.msg, 3600));
        trunk.connection.unwrap()
    };
    let dead = registered(&mut world);
    world.run(2_705_000);
    let renewal = world.take_all(&psap(), "REGISTER").pop().expect("a renewal");
    assert_eq!(renewal.connection, Some(dead));
    world.input(Input::Closed { connection: dead });
    world.run(60_000);
    let second = registered(&mut world);
    world.run(1_000);
    world.input(Input::Closed { connection: second });
    world.run(60_000);
    assert_ne!(registered(&mut world), second);
}

#[test]
fn odd_answers_of_a_registrar() {
    let ours = "<sip:carrier-user@192.0.2.1:5060>";
    // Lines of its 200, and seconds until it is renewed.
    let table: [(&[(&str, &str)], u64); 8] = [
        (&[], 2_700),
        (&[("Contact", "<sip:carrier-user@198.51.100.1:5060>;expires=17, <sip:x@192.0.2.1>;expires=9")], 2_700),
        (&[("Contact", &format!("{ours};expires=0"))], 7),
        (&[("Contact", &format!("{ours};expires=4294967295"))], 64_800),
        (&[("Contact", &format!("{ours};expires=99999999999999999999"))], 2_700),
        (&[("Contact", &format!("{ours};expires=-5")), ("Expires", "100")], 75),
        (&[("Contact", "*"), ("Expires", "0")], 7),
        (&[("Service-Route", "<sip:203.0.113.99;lr>"), ("Path", "<sip:203.0.113.99;lr>"), ("Expires", "100")], 75),
    ];
    for (lines, seconds) in table {
        let mut world = World::of(&toml());
        world.run(0);
        let register = world.take(&psap(), "REGISTER");
        let bare = psap().reply(&register, 200).without("Contact");
        world.send(&psap(), &lines.iter().fold(bare, |answer, (name, value)| answer.with(name, value)));
        assert_eq!(standing(&world), RegistrationState::Registered, "{lines:?}");
        world.run(seconds * 1_000 - 1_000);
        world.none(&psap(), "REGISTER");
        world.run(2_000);
        assert!(!world.take_all(&psap(), "REGISTER").is_empty(), "{lines:?}");
        world.silent();
    }
    // It sends us elsewhere, or away for a year: it is asked again, itself, and soon.
    let away =
        [(302, ("Contact", "<sip:203.0.113.99:5060>")), (503, ("Retry-After", "31536000")), (305, ("Contact", ours))];
    for (code, (name, value)) in away {
        let mut world = World::of(&toml());
        world.run(0);
        let register = world.take(&psap(), "REGISTER");
        world.send(&psap(), &psap().reply(&register, code).set(name, value));
        assert_eq!(standing(&world), RegistrationState::Failed);
        world.run(5_000);
        assert!(!world.take_all(&psap(), "REGISTER").is_empty(), "{code}");
        world.silent();
    }
}

#[test]
fn a_reload_with_another_password_or_place_registers_at_once() {
    // Refused for its password, it would wait for minutes.
    let mut world = World::of(&toml().change("s3cret", "wrong"));
    for _ in 0..600 {
        world.run(1_000);
        for register in world.take_all(&psap(), "REGISTER") {
            world.send(&psap(), &psap().reply(&register.msg, 403));
        }
    }
    world.reload(&toml());
    world.run(0);
    world.take(&psap(), "REGISTER");

    // Elsewhere its calls would not come for the better part of an hour. Those of the old place still may: it stands there.
    let mut world = registered(&closed_toml(), 3600);
    let moved = Agent::new("psap", "203.0.113.80:5088");
    world.reload(&closed_toml().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5088"));
    world.run(0);
    let register = world.take(&moved, "REGISTER");
    let hears = |world: &mut World, trunk: &Agent| world.ask(trunk, &trunk.invite("sip:+14255551000@192.0.2.1")).code();
    assert_eq!((hears(&mut world, &psap()), hears(&mut world, &moved)), (404, 401));
    world.send(&moved, &ok(&register, 3600));
    assert_eq!((hears(&mut world, &psap()), hears(&mut world, &moved)), (401, 404));
    // What changes nothing for it leaves it alone.
    world.reload(&closed_toml().change("sip:203.0.113.80:5080", "sip:203.0.113.80:5088").add("[other_calls]\n"));
    world.run(1_000);
    world.none(&moved, "REGISTER");
}

#[test]
fn na_7_a_registrar_that_is_silent_costs_its_silence_once() {
    // RFC 3263 §4.3. What has failed comes last in the order of places: counting on in that order led to the dead one again.
    let second = Agent::new("second", "203.0.113.83:5080");
    let first = "{ uri = \"sip:203.0.113.80:5080\" }";
    let both =
        format!("{}, {{ uri = \"sip:{}\", priority = 2 }}", first.replace(" }", ", priority = 1 }"), second.address);
    for probing in ["0s", "30s"] {
        let probing = format!("options_interval = \"{probing}\"");
        let mut world = World::of(&toml().change(first, &both).change("options_interval = \"0s\"", &probing));
        let mut asked = Vec::new();
        for _ in 0..120 {
            world.run(1_000);
            for options in world.take_all(&second, "OPTIONS") {
                world.send(&second, &second.reply(&options.msg, 200));
            }
            asked.extend(world.take_all(&psap(), "REGISTER").into_iter().map(|sent| (sent.msg.cseq(), "first")));
            for register in world.take_all(&second, "REGISTER") {
                asked.push((register.msg.cseq(), "second"));
                world.send(&second, &second.reply(&register.msg, 200).set("Contact", register.msg.header("Contact")));
            }
        }
        asked.dedup();
        assert_eq!(asked, [(1, "first"), (2, "second")], "{probing}");
        assert_eq!(standing(&world), RegistrationState::Registered);
    }
}

#[test]
fn two_accounts_at_one_registrar_are_two_trunks() {
    // Each has numbers of its own, and calls to them come to the Contact of their account (RFC 3261 §10.2).
    let twin = "[[trunks]]\nname = \"twin\"\ntargets = [{ uri = \"sip:203.0.113.80:5080\" }]\naccept_from = []\n\
                options_interval = \"0s\"\nusername = \"other-user\"\npassword = \"other\"\nregister = true\n";
    let toml = closed_toml().change("[[trunks]]\nname = \"backup\"", &format!("{twin}[[trunks]]\nname = \"backup\""));
    let mut world = World::of(&toml);
    world.run(0);
    for register in world.take_all(&psap(), "REGISTER") {
        world.send(&psap(), &ok(&register.msg, 3600));
    }
    world.register(&alice());
    let mut call = world.talking();
    world.hang_up(&mut call);
    world.register(&alice());
    for user in ["carrier-user", "other-user"] {
        let invite = psap().invite(&format!("sip:{user}@192.0.2.1")).set("To", "<sip:+14255551000@trunk.example>");
        world.send(&psap(), &invite);
        let ring = world.take(&alice(), "INVITE");
        let answer = alice().reply(&ring, 200).sdp(&alice().offer());
        world.send(&alice(), &answer);
        world.take(&alice(), "ACK");
        let ok = world.take(&psap(), "200 INVITE");
        world.send(&psap(), &Dialog::caller(psap(), &invite, &ok).request("ACK"));
        world.ask(&alice(), &Dialog::callee(alice(), &ring, &answer).request("BYE"));
        let bye = world.take(&psap(), "BYE");
        world.send(&psap(), &psap().reply(&bye, 401).with("WWW-Authenticate", &digest(user)));
        let bye = world.take(&psap(), "BYE");
        assert!(bye.header("Authorization").contains(&format!("username=\"{user}\"")), "{bye}");
        world.send(&psap(), &psap().reply(&bye, 200));
    }
}
