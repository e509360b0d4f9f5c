//! AU-1, AU-2, AU-4: who is who (RFC 3261 §22, RFC 7616, RFC 8760).

use crate::world::{
    Agent, Dialog, Msg, Toml, World, alice, authorized, authorized_with, bob, outsider, param, psap, register,
};

/// A request again with the right answer to its challenge.
pub fn answered(request: &Msg, challenge: &Msg) -> Msg {
    authorized(request, challenge, "alice", "MD5")
}

/// A phone nobody has heard of.
fn stranger() -> Agent {
    Agent::new("alice", "198.51.100.200:5060")
}

#[test]
fn au_1_both_algorithms_strongest_first() {
    let mut world = World::new();
    let challenge = world.ask(&alice(), &register(&alice()));
    assert_eq!(challenge.code(), 401);
    let offers = challenge.values("WWW-Authenticate");
    assert_eq!(offers.len(), 2, "{challenge}");
    assert!(offers[0].contains("algorithm=SHA-256") && offers[1].contains("algorithm=MD5"), "{challenge}");
    for offer in offers {
        assert!(offer.starts_with("Digest ") && offer.contains("realm=\"example.com\""), "{offer}");
        assert!(
            offer.contains("qop=\"auth\"") && offer.contains("nonce=\"") && !offer.contains("stale=true"),
            "{offer}"
        );
    }
    for algorithm in ["MD5", "SHA-256"] {
        let mut world = World::new();
        let challenge = world.ask(&alice(), &register(&alice()));
        let answer = authorized(&register(&alice()), &challenge, "alice", algorithm);
        assert_eq!(world.ask(&alice(), &answer).code(), 200, "{algorithm}");
    }
}

#[test]
fn au_1_same_answer_for_unknown_users() {
    let mut world = World::new();
    let mut answers = Vec::new();
    for name in ["alice", "nobody"] {
        let agent = Agent { name, ..alice() };
        let challenge = world.ask(&agent, &register(&agent));
        assert_eq!(challenge.code(), 401);
        let wrong = authorized_with(&register(&agent), &challenge, name, "guess", "SHA-256");
        let refused = world.ask(&agent, &wrong);
        let names = |message: &Msg| message.lines.iter().map(|line| line.0.clone()).collect::<Vec<_>>();
        answers.push((challenge.start.clone(), names(&challenge), refused.start.clone(), names(&refused)));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].2.contains("403"));
}

#[test]
fn au_1_nonce_expires_and_is_stale() {
    let mut world = World::new();
    let challenge = world.ask(&alice(), &register(&alice()));
    world.run(3_700_000);
    let late = world.ask(&alice(), &answered(&register(&alice()), &challenge));
    assert_eq!(late.code(), 401);
    assert!(late.values("WWW-Authenticate").iter().all(|offer| offer.contains("stale=true")), "{late}");
    let good = answered(&register(&alice()), &late);
    assert_eq!(world.ask(&alice(), &good).code(), 200);
}

#[test]
fn au_1_replay_is_refused() {
    let mut world = World::new();
    let challenge = world.ask(&alice(), &register(&alice()));
    let good = answered(&register(&alice()), &challenge);
    assert_eq!(world.ask(&alice(), &good).code(), 200);
    // The same credentials, from elsewhere, for another contact.
    let thief = outsider();
    let replay = good.clone().set("Via", &thief.via()).set("Contact", &thief.contact()).set("Call-ID", "thief");
    let refused = world.ask(&thief, &replay);
    assert_eq!(refused.code(), 401);
    assert!(refused.header("WWW-Authenticate").contains("stale=true"), "{refused}");
    assert_eq!(world.node.registrations_view(0).rows.len(), 1);
}

#[test]
fn au_1_forged_nonces_other_methods_and_other_users() {
    let mut world = World::new();
    let challenge = world.ask(&alice(), &register(&alice()));
    let forged = challenge
        .clone()
        .set("WWW-Authenticate", "Digest realm=\"example.com\", nonce=\"AAAA\", qop=\"auth\", algorithm=MD5");
    assert_eq!(world.ask(&alice(), &answered(&register(&alice()), &forged)).code(), 401);
    // The answer to a challenge for INVITE is none for REGISTER.
    let invite = authorized(&register(&alice()), &challenge, "alice", "MD5");
    let mut other = alice().invite("sip:example.com");
    other = other.set("Authorization", invite.header("Authorization"));
    assert!(matches!(world.ask(&alice(), &other).code(), 401 | 403));
    // Bob's password does not register alice.
    let challenge = world.ask(&alice(), &register(&alice()));
    let as_bob = authorized(&register(&alice()), &challenge, "bob", "MD5");
    assert_eq!(world.ask(&alice(), &as_bob).code(), 403);
    assert!(world.node.registrations_view(0).rows.is_empty());
}

#[test]
fn au_1_invite_is_challenged() {
    let mut world = World::new();
    world.register(&bob());
    let invite = stranger().invite("sip:bob@example.com");
    let challenge = world.ask(&stranger(), &invite);
    assert_eq!((challenge.code(), challenge.values("WWW-Authenticate").len()), (401, 2));
    world.none(&bob(), "INVITE");
    let right = answered(&invite, &challenge);
    world.send(&stranger(), &right);
    let ring = world.take(&bob(), "INVITE");
    // Credentials do not cross.
    assert!(!ring.has("Authorization"), "{ring}");
    let wrong = authorized_with(&stranger().invite("sip:bob@example.com"), &challenge, "alice", "guess", "MD5");
    assert_eq!(world.ask(&stranger(), &wrong).code(), 403);
}

#[test]
fn au_2_emergency_from_a_registered_flow_is_not_challenged() {
    let mut world = World::with_alice();
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.none(&alice(), "401");
    world.take(&psap(), "INVITE");
}

#[test]
fn au_2_emergency_from_elsewhere_is_challenged_once() {
    let mut world = World::new();
    let invite = stranger().invite("sip:911@example.com");
    let challenge = world.ask(&stranger(), &invite);
    assert_eq!(challenge.code(), 401);
    world.silent();
    world.send(&stranger(), &answered(&invite, &challenge));
    let offered = world.take(&psap(), "INVITE");
    assert!(!offered.has("Authorization"));
}

#[test]
fn au_2_an_emergency_call_is_challenged_whatever_its_from_says() {
    for from in ["<sip:alice@192.0.2.1>;tag=x", "<sip:4711@pbx.local>;tag=x", "<tel:+14255550123>;tag=x"] {
        let mut world = World::new();
        let invite = stranger().invite("sip:911@example.com").set("From", from);
        let challenge = world.ask(&stranger(), &invite);
        assert_eq!(challenge.code(), 401, "{from}");
        world.send(&stranger(), &answered(&invite, &challenge));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn au_2_wrong_credentials_on_an_emergency_call() {
    let wrong = |world: &mut World, agent: &Agent, uri: &str| {
        let invite = Agent { name: "alice", ..*agent }.invite(uri).set("From", "<sip:carol@example.com>;tag=c");
        let challenge = world.ask(&stranger(), &register(&stranger()));
        let invite = authorized_with(&invite, &challenge, "alice", "guess", "MD5");
        world.send(agent, &invite);
        world.take_all(agent, "100");
    };
    // Somebody is registered over the flow it came from: the call goes out.
    let mut world = World::with_alice();
    wrong(&mut world, &alice(), "sip:911@example.com");
    world.take(&psap(), "INVITE");
    // Nobody is: 403 with the reason.
    let mut world = World::with_alice();
    wrong(&mut world, &stranger(), "sip:911@example.com");
    let refused = world.take(&stranger(), "403");
    assert!(refused.header("Warning").starts_with("399 "), "{refused}");
    world.none(&psap(), "INVITE");
    // No emergency: refused in any case.
    let mut world = World::with_alice();
    world.register(&bob());
    wrong(&mut world, &alice(), "sip:bob@example.com");
    world.take(&alice(), "403");
    world.none(&bob(), "INVITE");
}

#[test]
fn au_2_anonymous_from_on_a_registered_flow() {
    let mut world = World::with_alice();
    let invite =
        alice().invite("sip:911@example.com").set("From", "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=x");
    world.send(&alice(), &invite);
    world.take(&psap(), "INVITE");
    assert_eq!(world.node.leases_view(0).rows[0].user, "sip:alice@example.com");
}

#[test]
fn au_4_in_dialog_requests_need_the_dialogs_identifiers() {
    let mut world = World::with_alice();
    world.register(&bob());
    let mut call = world.talking();
    // The dialog of the trunk's leg from the phone's flow, and guesses from an outsider.
    let guesses = [
        (
            bob(),
            Dialog {
                agent: bob(),
                remote: "<sip:911@example.com>;tag=100000001-0000000000000000".into(),
                ..call.phone.clone()
            },
        ),
        (outsider(), Dialog { agent: outsider(), local: "<sip:alice@example.com>;tag=x".into(), ..call.phone.clone() }),
        (outsider(), Dialog { agent: outsider(), call_id: "x".into(), ..call.trunk.clone() }),
        (alice(), Dialog { agent: alice(), call_id: call.phone.call_id.clone(), ..call.trunk.clone() }),
    ];
    for (agent, mut dialog) in guesses {
        for method in ["BYE", "INVITE", "INFO"] {
            assert_eq!(world.ask(&agent, &dialog.request(method)).code(), 481, "{method}");
        }
    }
    world.silent();
    assert!(param(call.ok.header("To"), "tag").len() >= 16, "a tag nobody guesses: {}", call.ok);
    world.hang_up(&mut call);
}

#[test]
fn au_users_of_nobody_are_refused_not_challenged() {
    let mut world = World::of(&Toml::default());
    let invite = outsider().invite("sip:bob@example.com").set("From", "<sip:spam@203.0.113.200>;tag=s");
    let refused = world.ask(&outsider(), &invite);
    assert_eq!(refused.code(), 403);
    assert!(!refused.has("WWW-Authenticate") && refused.has("Warning"), "{refused}");
}

/// A source address may be forged: whoever it belongs to gets one answer for one datagram (RFC 3261 §26.3.2.4).
#[test]
fn au_1_a_challenge_is_not_repeated_unasked() {
    let mut world = World::with_alice();
    let unproven = stranger().invite("sip:911@example.com").set("From", "<sip:alice@example.com>;tag=forged");
    world.send(&stranger(), &unproven);
    world.run(40_000);
    let answers: Vec<u16> = world.take_all(&stranger(), "*").iter().map(|sent| sent.msg.code()).collect();
    assert_eq!(answers, [401]);
}

/// Nor is any other refusal to who has proven nothing: it multiplies as much. Each INVITE has its one answer.
#[test]
fn au_1_no_refusal_is_repeated_to_strangers_unasked() {
    let nobody = |invite: Msg| invite.set("From", "<sip:spam@203.0.113.200>;tag=s");
    let to = |uri: &str| nobody(stranger().invite(uri));
    let cases = [
        (to("sip:bob@example.com"), 403),
        (to("mailto:911@example.com"), 416),
        (to("sip:bob@example.com").set("Max-Forwards", "0"), 483),
        (to("sip:bob@example.com").with("Require", "foo"), 420),
        (to("sip:911@example.com").set("To", "<sip:911@example.com>;tag=none"), 481),
    ];
    for (unproven, code) in cases {
        let mut world = World::with_alice();
        world.send(&stranger(), &unproven);
        world.run(10_000);
        world.send(&stranger(), &unproven);
        world.run(40_000);
        let answers: Vec<u16> = world.take_all(&stranger(), "*").iter().map(|sent| sent.msg.code()).collect();
        assert_eq!(answers, [code, code]);
    }
    // A phone that is registered has no less than before (RFC 3261 §17.2.1).
    let mut world = World::with_alice();
    world.send(&alice(), &alice().invite("sip:nobody@example.com"));
    world.run(40_000);
    assert_eq!(world.take_all(&alice(), "404").len(), 11);
}

/// And one that is lost is asked for again: nothing before it made the phone wait (RFC 3261 §17.1.1.2).
#[test]
fn au_1_a_lost_challenge_comes_again() {
    let mut world = World::with_alice();
    let unproven = stranger().invite("sip:911@example.com").set("From", "<sip:alice@example.com>;tag=forged");
    world.send(&stranger(), &unproven);
    world.take(&stranger(), "401");
    world.send(&stranger(), &unproven);
    world.take(&stranger(), "401");
    world.none(&stranger(), "*");
}

/// A copy of the INVITE that comes late, when the phone has registered meanwhile, calls nobody a second time.
#[test]
fn au_1_a_late_copy_of_a_challenged_invite_is_no_call() {
    let mut world = World::new();
    let unproven = alice().invite("sip:911@example.com");
    world.send(&alice(), &unproven);
    let challenge = world.take(&alice(), "401");
    world.register(&alice());
    world.send(&alice(), &unproven);
    world.take(&alice(), "401");
    world.send(&alice(), &unproven.ack_of(&challenge));
    world.send(&alice(), &unproven);
    world.none(&psap(), "INVITE");
    world.none(&alice(), "*");
}
