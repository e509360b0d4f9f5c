//! AU-3: a trunk challenges us (RFC 3261 §22, RFC 7616, RFC 8760).

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, backup, psap};

const USER: &str = "carrier-user";
const PASSWORD: &str = "s3cret";

fn toml() -> Toml {
    Toml::default().psap(&format!("username = \"{USER}\"\npassword = \"{PASSWORD}\""))
}

fn world() -> World {
    let mut world = World::of(&toml());
    world.register(&alice());
    world
}

fn challenge(request: &Msg, code: u16, value: &str) -> Msg {
    let name = if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
    psap().reply(request, code).without("Contact").with(name, value)
}

fn md5(nonce: &str) -> String {
    format!("Digest realm=\"trunk.example\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5, opaque=\"o\"")
}

/// `name="value"` or `name=value` of a Digest value.
fn field<'a>(value: &'a str, name: &str) -> &'a str {
    let at = value.find(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {value}"));
    value[at + name.len() + 2..].split(',').next().unwrap().trim().trim_matches('"')
}

/// What a trunk computes to check the credentials, by another implementation.
#[track_caller]
fn check(request: &Msg, header: &str, challenge: &str) {
    let credentials = request.header(header);
    let mut prompt = digest_auth::parse(challenge).unwrap();
    let mut context = digest_auth::AuthContext::new_with_method(
        USER,
        PASSWORD,
        field(credentials, "uri"),
        None::<&[u8]>,
        digest_auth::HttpMethod::from(request.method().to_owned()),
    );
    if credentials.contains("cnonce=") {
        context.set_custom_cnonce(field(credentials, "cnonce").to_owned());
        prompt.nc = u32::from_str_radix(field(credentials, "nc"), 16).unwrap() - 1;
    }
    let expected = prompt.respond(&context).unwrap().to_string();
    assert_eq!(field(credentials, "response"), field(&expected, "response"), "{request}");
    assert_eq!(field(credentials, "uri"), request.uri());
    assert_eq!(field(credentials, "username"), USER);
}

/// Refuses what the trunk got with a challenge; takes the ACK and what comes then.
#[track_caller]
fn challenged(world: &mut World, request: &Msg, code: u16, value: &str) -> Msg {
    world.send(&psap(), &challenge(request, code, value));
    if request.method() == "INVITE" {
        let ack = world.take(&psap(), "ACK");
        assert_eq!((ack.branch(), ack.cseq()), (request.branch(), request.cseq()));
        assert!(!ack.has("Authorization") && !ack.has("Proxy-Authorization"));
    }
    let again = world.take(&psap(), request.method());
    assert_eq!(again.cseq(), request.cseq() + 1);
    assert_ne!(again.branch(), request.branch());
    for same in ["Call-ID", "From", "To", "Contact", "P-Asserted-Identity", "Max-Forwards"] {
        assert_eq!(again.header(same), request.header(same), "{same}");
    }
    assert_eq!(again.body, request.body);
    again
}

#[test]
fn au_3_an_invite_is_answered_with_the_trunks_credentials() {
    for (code, header) in [(401, "Authorization"), (407, "Proxy-Authorization")] {
        for algorithm in ["MD5", "SHA-256"] {
            let mut world = world();
            let (invite, first) = world.dialled();
            assert!(!first.has("Authorization"));
            let value = md5("n1").replace("MD5", algorithm);
            let again = challenged(&mut world, &first, code, &value);
            check(&again, header, &value);
            assert_eq!(field(again.header(header), "nc"), "00000001");
            // The caller and the lease have noticed nothing.
            world.silent();
            assert_eq!(world.node.leases_view(0).rows.len(), 1);
            let mut call = world.answer(&alice(), &invite, &psap(), &again);
            world.hang_up(&mut call);
            assert_eq!(world.record().attempts.len(), 1);
        }
    }
}

#[test]
fn au_3_the_ack_of_a_2xx_repeats_the_credentials_of_the_invite() {
    let mut world = world();
    let (_, first) = world.dialled();
    let again = challenged(&mut world, &first, 401, &md5("n1"));
    world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
    let ack = world.take(&psap(), "ACK");
    assert_eq!(ack.header("Authorization"), again.header("Authorization"));
    assert_eq!(ack.cseq(), again.cseq());
}

#[test]
fn au_3_the_strongest_algorithm_that_both_know() {
    let mut world = world();
    let (_, first) = world.dialled();
    let (weak, strong) = (md5("n1"), md5("n2").replace("MD5", "SHA-256"));
    let unknown = md5("n3").replace("MD5", "SHA-512-256");
    let response = challenge(&first, 401, &unknown).with("WWW-Authenticate", &weak).with("WWW-Authenticate", &strong);
    world.send(&psap(), &response);
    world.take(&psap(), "ACK");
    let again = world.take(&psap(), "INVITE");
    check(&again, "Authorization", &strong);
    assert_eq!(again.values("Authorization").len(), 1, "one answer a realm");
}

#[test]
fn au_3_without_qop_as_rfc_2069() {
    let mut world = world();
    let (_, first) = world.dialled();
    let value = "Digest realm=\"old\", nonce=\"n1\"";
    let again = challenged(&mut world, &first, 401, value);
    check(&again, "Authorization", value);
    assert!(!again.header("Authorization").contains("cnonce"));
}

#[test]
fn au_3_at_most_twice_then_the_next_target() {
    // Wrong credentials: no second try.
    let mut world = self::world();
    let (_, first) = world.dialled();
    let again = challenged(&mut world, &first, 401, &md5("n1"));
    world.send(&psap(), &challenge(&again, 401, &md5("n2")));
    world.take(&psap(), "ACK");
    world.none(&psap(), "INVITE");
    world.take(&backup(), "INVITE");
    world.silent();
    // Stale nonces: a second one, and no third.
    let mut world = self::world();
    let (_, first) = world.dialled();
    let stale = |nonce: &str| format!("{}, stale=true", md5(nonce));
    let second = challenged(&mut world, &first, 401, &md5("n1"));
    let third = challenged(&mut world, &second, 401, &stale("n2"));
    check(&third, "Authorization", &stale("n2"));
    world.send(&psap(), &challenge(&third, 401, &stale("n3")));
    world.take(&psap(), "ACK");
    world.none(&psap(), "INVITE");
    world.take(&backup(), "INVITE");
    world.silent();
}

#[test]
fn au_3_a_proxy_and_then_the_trunk_behind_it() {
    let mut world = world();
    let (invite, first) = world.dialled();
    let (outer, inner) = (md5("p1").replace("trunk.example", "proxy.example"), md5("u1"));
    let second = challenged(&mut world, &first, 407, &outer);
    let third = challenged(&mut world, &second, 401, &inner);
    check(&third, "Proxy-Authorization", &outer);
    check(&third, "Authorization", &inner);
    let mut call = world.answer(&alice(), &invite, &psap(), &third);
    world.hang_up(&mut call);
}

#[test]
fn au_3_the_next_request_is_not_challenged_again() {
    let mut world = world();
    let (invite, first) = world.dialled();
    let again = challenged(&mut world, &first, 401, &md5("n1"));
    let mut call = world.answer(&alice(), &invite, &psap(), &again);
    // In the dialog: a BYE with the next count.
    let bye = call.phone.request("BYE");
    world.ask(&alice(), &bye);
    let bye = world.take(&psap(), "BYE");
    check(&bye, "Authorization", &md5("n1"));
    assert_eq!(field(bye.header("Authorization"), "nc"), "00000002");
    world.send(&psap(), &psap().reply(&bye, 200).with("Authentication-Info", "nextnonce=\"n2\", qop=auth"));
    world.over();
    // The next call, with the nonce given for it.
    world.register(&alice());
    let (_, next) = world.dialled();
    check(&next, "Authorization", &md5("n2"));
    assert_eq!(field(next.header("Authorization"), "nc"), "00000001");
}

#[test]
fn au_3_requests_inside_the_dialog() {
    let mut world = world();
    let mut call = world.talking();
    // re-INVITE of the phone, INFO, BYE: each challenged, each answered, and nothing of it reaches the phone.
    let reinvite = call.phone.request("INVITE").with("Contact", &alice().contact()).sdp(&alice().offer());
    world.send(&alice(), &reinvite);
    world.take(&alice(), "100");
    let asked = world.take(&psap(), "INVITE");
    let again = challenged(&mut world, &asked, 407, &md5("n1"));
    world.silent();
    world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
    let ok = world.take(&alice(), "200 INVITE");
    assert!(!ok.has("Proxy-Authenticate"));
    let ack = call.phone.request("ACK");
    world.send(&alice(), &ack);
    assert_eq!(world.take(&psap(), "ACK").cseq(), again.cseq());
    let info = call.phone.request("INFO").body("application/dtmf-relay", "Signal=1\r\n");
    world.send(&alice(), &info);
    let asked = world.take(&psap(), "INFO");
    let stale = format!("{}, stale=true", md5("n5"));
    let again = challenged(&mut world, &asked, 407, &stale);
    check(&again, "Proxy-Authorization", &stale);
    world.send(&psap(), &psap().reply(&again, 200));
    world.take(&alice(), "200 INFO");
    let bye = call.phone.request("BYE");
    world.ask(&alice(), &bye);
    let asked = world.take(&psap(), "BYE");
    let again = challenged(&mut world, &asked, 407, &format!("{}, stale=true", md5("n6")));
    world.send(&psap(), &psap().reply(&again, 200));
    world.over();
    world.silent();
}

#[test]
fn au_3_a_cancelled_invite_is_not_sent_again() {
    let mut world = world();
    let (invite, first) = world.dialled();
    world.send(&alice(), &invite.cancel());
    world.take_all(&alice(), "*");
    world.send(&psap(), &challenge(&first, 401, &md5("n1")));
    world.take(&psap(), "ACK");
    world.none(&psap(), "INVITE");
    // The same of a re-INVITE.
    let mut world = self::world();
    let mut call = world.talking();
    let reinvite = call.phone.request("INVITE").with("Contact", &alice().contact()).sdp(&alice().offer());
    world.send(&alice(), &reinvite);
    let asked = world.take(&psap(), "INVITE");
    world.send(&alice(), &reinvite.cancel());
    world.send(&psap(), &challenge(&asked, 401, &md5("n9")));
    world.take(&psap(), "ACK");
    world.none(&psap(), "INVITE");
    let refused = world.take(&alice(), "487");
    world.send(&alice(), &reinvite.ack_of(&refused));
    world.take_all(&alice(), "*");
    world.hang_up(&mut call);
}

#[test]
fn au_3_without_credentials_a_challenge_is_a_failure() {
    let mut world = World::with_alice();
    let (_, first) = world.dialled();
    world.send(&psap(), &challenge(&first, 407, &md5("n1")));
    world.take(&psap(), "ACK");
    let next = world.take(&backup(), "INVITE");
    assert!(!next.has("Authorization") && !next.has("Proxy-Authorization"));
    world.send(&backup(), &backup().reply(&next, 401).with("WWW-Authenticate", &md5("n1")));
    world.take(&backup(), "ACK");
    world.take(&alice(), "182");
    world.silent();
    world.run(40_000);
    let refused = world.take(&alice(), "503");
    assert!(!refused.has("WWW-Authenticate") && !refused.has("Proxy-Authenticate"), "{refused}");
}

#[test]
fn au_3_credentials_never_leave_for_another_trunk() {
    let mut world = world();
    let (_, first) = world.dialled();
    let again = challenged(&mut world, &first, 401, &md5("n1"));
    world.send(&psap(), &psap().reply(&again, 503));
    // The backup asks for the very realm of the other trunk.
    let next = world.take(&backup(), "INVITE");
    assert!(!next.has("Authorization"));
    world.send(&backup(), &backup().reply(&next, 401).with("WWW-Authenticate", &md5("n1")));
    world.take_all(&backup(), "ACK");
    world.none(&backup(), "INVITE");
    world.run(60_000);
    assert!(world.on_wire(&backup(), "*").iter().all(|sent| !sent.msg.has("Authorization")));
}

#[test]
fn au_3_a_contact_elsewhere_gets_no_answer_to_a_realm_of_its_own() {
    let stranger = Agent::new("stranger", "203.0.113.99:5060");
    for (elsewhere, realm, answered) in
        [(stranger, "other", false), (stranger, "trunk.example", true), (backup(), "trunk.example", false)]
    {
        let mut world = world();
        let (invite, first) = world.dialled();
        let again = challenged(&mut world, &first, 401, &md5("n1"));
        let ok = psap().reply(&again, 200).set("Contact", &elsewhere.contact()).sdp(&psap().offer());
        world.send(&psap(), &ok);
        assert_eq!(world.take(&elsewhere, "ACK").has("Authorization"), elsewhere.name != "backup");
        let ok = world.take(&alice(), "200");
        let mut phone = Dialog::caller(alice(), &invite, &ok);
        let ack = phone.request("ACK");
        world.send(&alice(), &ack);
        let bye = phone.request("BYE");
        world.ask(&alice(), &bye);
        let bye = world.take(&elsewhere, "BYE");
        assert_eq!(bye.has("Authorization"), elsewhere.name != "backup");
        let asked = md5("e1").replace("trunk.example", realm);
        world.send(&elsewhere, &elsewhere.reply(&bye, 401).with("WWW-Authenticate", &asked));
        let again = world.take_all(&elsewhere, "BYE");
        assert_eq!(again.len(), usize::from(answered), "{} {realm}", elsewhere.name);
        world.over();
    }
}

#[test]
fn au_3_a_callback_is_hung_up_with_credentials() {
    let mut world = world();
    let mut call = world.talking();
    let number = world.node.leases_view(0).rows[0].number.to_string();
    world.hang_up(&mut call);
    world.register(&alice());
    let cb = world.call_back(&psap(), &number);
    let ring = world.take(&alice(), "INVITE");
    world.send(&alice(), &alice().reply(&ring, 200).sdp(&alice().offer()));
    world.take(&alice(), "ACK");
    let ok = world.take(&psap(), "200");
    let mut trunk = Dialog::caller(psap(), &cb, &ok);
    let ack = trunk.request("ACK");
    world.send(&psap(), &ack);
    let mut phone = Dialog::callee(alice(), &ring, &alice().reply(&ring, 200));
    let bye = phone.request("BYE");
    world.ask(&alice(), &bye);
    let bye = world.take(&psap(), "BYE");
    let again = challenged(&mut world, &bye, 401, &md5("n1"));
    check(&again, "Authorization", &md5("n1"));
    world.send(&psap(), &psap().reply(&again, 200));
    world.over();
}

#[test]
fn au_3_a_reload_changes_the_password_and_keeps_the_call() {
    let mut world = world();
    let (invite, first) = world.dialled();
    let again = challenged(&mut world, &first, 401, &md5("n1"));
    let mut call = world.answer(&alice(), &invite, &psap(), &again);
    world.reload(&Toml::default());
    let bye = call.phone.request("BYE");
    world.ask(&alice(), &bye);
    let bye = world.take(&psap(), "BYE");
    assert!(!bye.has("Authorization"), "the credentials are gone from the file");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.over();
}

#[test]
fn au_3_a_challenge_that_cannot_be_answered_is_passed_over() {
    // Another quality of protection alone (RFC 7616 §3.4: the response would be of another form), or more than is kept.
    let strong = md5("n2").replace("MD5", "SHA-256");
    let long = "x".repeat(2_000);
    for value in [
        strong.replace("qop=\"auth\"", "qop=\"auth-int\""),
        strong.replace("opaque=\"o\"", &format!("opaque=\"{long}\"")),
        strong.replace("nonce=\"n2\"", &format!("nonce=\"{long}\"")),
        strong.replace("trunk.example", &long),
        strong.replace("SHA-256", "SHA-256-sess"),
        strong.replace("SHA-256", "SHA-512-256"),
    ] {
        let mut world = world();
        let (_, first) = world.dialled();
        world.send(&psap(), &challenge(&first, 401, &value));
        world.take(&psap(), "ACK");
        world.none(&psap(), "INVITE");
        world.take(&backup(), "INVITE");
        // One beside it is answered.
        let mut world = self::world();
        let (_, first) = world.dialled();
        world.send(&psap(), &challenge(&first, 401, &value).with("WWW-Authenticate", &md5("n1")));
        world.take(&psap(), "ACK");
        let again = world.take(&psap(), "INVITE");
        check(&again, "Authorization", &md5("n1"));
    }
    for fine in ["qop=\"auth-int, AUTH\"", "qop=auth", "qop=\"\"", "qop=\"auth,auth-int,something\""] {
        let mut world = world();
        let (_, first) = world.dialled();
        let value = md5("n1").replace("qop=\"auth\"", fine);
        let again = challenged(&mut world, &first, 401, &value);
        let is_old = fine == "qop=\"\"";
        check(&again, "Authorization", &if is_old { md5("n1").replace("qop=\"auth\", ", "") } else { md5("n1") });
        assert_eq!(again.header("Authorization").contains("cnonce"), !is_old, "{fine}");
    }
}

#[test]
fn au_3_a_forking_proxy_passes_on_the_challenges_of_both_kinds_at_once() {
    // RFC 3261 §22.3, §16.7: a 401 or 407 may have those of other branches too.
    let mut world = world();
    let (_, first) = world.dialled();
    let outer = md5("p1").replace("trunk.example", "proxy.example");
    world.send(&psap(), &challenge(&first, 401, &md5("u1")).with("Proxy-Authenticate", &outer));
    world.take(&psap(), "ACK");
    let again = world.take(&psap(), "INVITE");
    check(&again, "Proxy-Authorization", &outer);
    check(&again, "Authorization", &md5("u1"));
}

#[test]
fn au_3_what_a_challenge_says_is_said_back_as_it_was() {
    // Quotes, backslashes, commas, an empty opaque; folded lines.
    for value in [
        r#"Digest realm="a \"b\", c=d \\", nonce="n\"1, nonce=2", opaque="", qop="auth", algorithm=MD5"#,
        "Digest realm=\"trunk.example\",\r\n nonce=\"n1\",\r\n\topaque=\"o\",   qop=\"auth\"",
        "DIGEST REALM=\"trunk.example\",NONCE=\"n1\",QOP=\"AUTH\",ALGORITHM=md5,charset=UTF-8,userhash=true,domain=\"sip:x\"",
    ] {
        let mut world = world();
        let (_, first) = world.dialled();
        world.send(&psap(), &challenge(&first, 401, value));
        world.take(&psap(), "ACK");
        let again = world.take(&psap(), "INVITE");
        let answer = again.header("Authorization");
        assert_eq!(again.values("Authorization").len(), 1);
        for (name, said) in [("realm", r#"realm="a \"b\", c=d \\""#), ("nonce", r#"nonce="n\"1, nonce=2""#)] {
            assert!(!value.contains("c=d") || answer.contains(said), "{name}: {answer}");
        }
    }
    // No challenge at all, or none that can be read.
    for value in ["", "Digest", "Basic realm=\"x\"", "Digest realm=\"x", "Digest realm=\"x\", nonce=\"n\", nonce=\"m\""]
    {
        let mut world = world();
        let (_, first) = world.dialled();
        world.send(&psap(), &challenge(&first, 401, value));
        world.take(&psap(), "ACK");
        world.none(&psap(), "INVITE");
        world.take(&backup(), "INVITE");
    }
}

#[test]
fn au_3_a_prack_that_is_challenged_keeps_to_the_numbers_of_its_own_dialog() {
    // RFC 3261 §12.2.1.1, CONFORMANCE PR-5.
    let mut world = world();
    let (_, first) = world.dialled();
    let offered = challenged(&mut world, &first, 401, &md5("n1"));
    let to = |tag: &str| format!("{};tag={tag}", offered.header("To"));
    let mut numbers = Vec::new();
    for (tag, rseq) in [("a", 7), ("b", 5000), ("b", 5001)] {
        let rings = psap().reply(&offered, 180).set("To", &to(tag)).with("Require", "100rel");
        world.send(&psap(), &rings.with("RSeq", &rseq.to_string()));
        let prack = world.take(&psap(), "PRACK");
        let stale = format!("{}, stale=true", md5("n2"));
        let again = challenged(&mut world, &prack, 401, &stale);
        numbers.extend([(tag, prack.cseq()), (tag, again.cseq())]);
        world.send(&psap(), &psap().reply(&again, 200));
    }
    assert_eq!(numbers, [("a", 3), ("a", 4), ("b", 3), ("b", 4), ("b", 5), ("b", 6)]);
}

#[test]
fn au_3_another_branch_that_answers_is_hung_up_with_credentials() {
    // CONFORMANCE TX-14.
    let mut world = world();
    let (invite, first) = world.dialled();
    let offered = challenged(&mut world, &first, 401, &md5("n1"));
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    let other = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &other.set("To", &format!("{};tag=second-fork", offered.header("To"))));
    let (ack, bye) = (world.take(&psap(), "ACK"), world.take(&psap(), "BYE"));
    assert_eq!(ack.header("Authorization"), offered.header("Authorization"), "RFC 3261 §22.1");
    check(&bye, "Authorization", &md5("n1"));
    let again = challenged(&mut world, &bye, 401, &format!("{}, stale=true", md5("n2")));
    world.send(&psap(), &psap().reply(&again, 200));
    world.silent();
    world.hang_up(&mut call);
}

#[test]
fn au_3_what_is_asked_again_has_its_time_for_an_answer() {
    // SPEC §5: a trunk is left on no response. It has given one, late; the request that it got then is a tenth of a second old.
    let refusals: [&dyn Fn(&Msg) -> Msg; 2] =
        [&|first| challenge(first, 401, &md5("n1")), &|first| psap().reply(first, 422).with("Min-SE", "3600")];
    for refusal in refusals {
        let mut world = world();
        let (_, first) = world.dialled();
        world.run(1_900);
        world.send(&psap(), &refusal(&first));
        let again = world.on_wire(&psap(), "INVITE").pop().expect("asked again").msg;
        world.run(1_900);
        world.none(&backup(), "INVITE");
        world.send(&psap(), &psap().reply(&again, 180));
        world.take(&alice(), "180");
        world.run(5_000);
        world.none(&backup(), "INVITE");
    }
    // One that says nothing more is left as soon as any other.
    let mut world = world();
    let (_, first) = world.dialled();
    world.run(1_900);
    world.send(&psap(), &challenge(&first, 401, &md5("n1")));
    world.run(1_999);
    world.none(&backup(), "INVITE");
    world.run(1);
    world.take(&backup(), "INVITE");
    // And one that wants something else each time does not keep the caller for ever.
    let mut world = self::world();
    let (_, mut asked) = world.dialled();
    for least in 3600..3603 {
        world.run(1_900);
        world.send(&psap(), &psap().reply(&asked, 422).with("Min-SE", &least.to_string()));
        asked = world.on_wire(&psap(), "INVITE").pop().expect("asked again").msg;
    }
    world.run(400);
    world.take(&backup(), "INVITE");
}
