//! SPEC §4 and RFC 6442: where the caller is, as the phone tells it or as it is configured.

use sosbridge::geo::country_from_body;
use sosbridge::node::Input;
use sosbridge::sip::mime;

use crate::numbers::{ended, with_location};
use crate::world::{Agent, Call, Dialog, Msg, Toml, World, alice, backup, bob, nomad, psap};

const ADDRESS: &str =
    r#"location = { a1 = "WA", a3 = "Redmond", rd = "One & Only", sts = "Way", hno = "1", pc = "98052" }"#;
const CIVIC: &str = "<ca:civicAddress><ca:country>US</ca:country><ca:A1>WA</ca:A1><ca:A3>Redmond</ca:A3>\
    <ca:RD>One &amp; Only</ca:RD><ca:STS>Way</ca:STS><ca:HNO>1</ca:HNO><ca:PC>98052</ca:PC></ca:civicAddress>";
const NUMBER: &str = "+14255551000";

/// Alice has an address, and the trunk `psap` wants it.
fn located() -> Toml {
    Toml::default().psap("location = \"add\"").change("inbound = false", &format!("inbound = false\n{ADDRESS}"))
}

fn world(toml: &Toml) -> World {
    let mut world = World::of(toml);
    world.register(&alice());
    world
}

fn offered(world: &mut World, invite: &Msg) -> Msg {
    world.send(&alice(), invite);
    world.take(&psap(), "INVITE")
}

/// The call center has asked for a transfer; gives the INVITE to its target.
#[track_caller]
pub fn referred(world: &mut World, call: &mut Call, to: &str, target: &Agent) -> Msg {
    let contact = call.trunk.agent.contact();
    let refer = call.trunk.request("REFER").with("Contact", &contact).with("Refer-To", to);
    assert_eq!(world.ask(&psap(), &refer).code(), 202);
    world.take(target, "INVITE")
}

/// The part of a type in a body of several parts.
fn part(message: &Msg, kind: &str) -> String {
    let place = mime::locate(message.header("Content-Type").as_bytes(), message.body.as_bytes(), kind);
    message.body[place.unwrap_or_else(|| panic!("no {kind} in\n{message}"))].to_owned()
}

/// The document, which Geolocation points at by the Content-ID of its part.
fn document(message: &Msg) -> String {
    let pointer = message.header("Geolocation");
    let id =
        pointer.strip_prefix("<cid:").and_then(|rest| rest.strip_suffix('>')).unwrap_or_else(|| panic!("{message}"));
    assert_eq!(
        message
            .to_string()
            .matches(&format!("Content-ID: <{id}>\r\nContent-Disposition: by-reference;handling=optional\r\n"))
            .count(),
        1,
        "{message}"
    );
    assert_eq!(message.values("Geolocation-Routing"), ["yes"]);
    part(message, "application/pidf+xml")
}

#[test]
fn the_configured_address_goes_along_where_the_phone_tells_none() {
    let mut world = world(&located());
    world.input(Input::Wall { offset_ms: 1_700_000_000_000 });
    let (invite, offered) = world.dialled();
    let document = document(&offered);
    assert!(document.contains(CIVIC), "{document}");
    assert!(document.contains(&format!("entity=\"pres:{NUMBER}@192.0.2.1\"")), "{document}");
    assert!(document.contains("<timestamp>2023-11-26T12:00:00Z</timestamp>"), "{document}");
    let kind = offered.header("Content-Type");
    assert!(kind.starts_with("multipart/mixed;boundary="), "{kind}");
    assert_eq!(country_from_body(kind.as_bytes(), offered.body.as_bytes()).unwrap().as_str(), "US");
    let origin = |line: &&str| !line.starts_with("o=");
    let [sent, seen] = [invite.body.clone(), part(&offered, "application/sdp")];
    assert!(sent.lines().filter(origin).eq(seen.lines().filter(origin)), "the description is as it was\n{seen}");
    assert_eq!(offered.header("Content-Length"), offered.body.len().to_string());
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
}

#[test]
fn not_to_trunks_that_do_not_want_it_nor_of_users_without_one() {
    let mut plain = world(&located().change("location = \"add\"", "location = \"pass\""));
    assert_eq!(plain.dialled().1.header("Content-Type"), "application/sdp");
    let mut other = World::of(&located());
    other.register(&bob());
    other.dial(&bob(), "sip:911@example.com");
    assert!(!other.take(&psap(), "INVITE").has("Geolocation"));
    // An ordinary call tells nobody where its caller is.
    let mut ordinary = world(&located().add("[other_calls]\ntrunk = \"psap\"\n"));
    ordinary.secrets.clear();
    ordinary.dial(&alice(), "sip:+12065550199@example.com");
    assert!(!ordinary.take(&psap(), "INVITE").to_string().contains("Redmond"));
}

/// Rules 4.3a, 4.3b.
#[test]
fn never_beside_what_the_phone_tells() {
    let plain = || alice().invite("sip:911@example.com");
    let hidden = "--b\r\nContent-Type: application/sdp\r\n\r\n".to_owned()
        + &plain().body
        + "\r\n--b\r\nContent-Type: application/pidf+xml\r\nContent-Transfer-Encoding: base64\r\n\r\nPHg+\r\n--b--\r\n";
    for (what, invite) in [
        ("by value", with_location(plain(), "US").with("Geolocation", "<cid:place@example.com>")),
        ("by value, without the header", with_location(plain(), "US")),
        ("by reference", plain().with("Geolocation", "<https://lis.example.org/1>").with("Geolocation-Routing", "no")),
        ("in a part nobody can read", plain().body("multipart/mixed;boundary=b", &hidden)),
    ] {
        let mut world = world(&located());
        let offered = offered(&mut world, &invite);
        assert!(!offered.to_string().contains("Redmond"), "{what}\n{offered}");
        for name in ["Geolocation", "Geolocation-Routing", "Content-Type"] {
            assert_eq!(offered.values(name), invite.values(name), "{what}");
        }
    }
}

/// RFC 6442 §4.1: ours is the last, and the phone's is not taken away. Equipment that knows one body only takes the part out, and
/// leaves what points at it.
#[test]
fn what_points_at_a_part_that_is_not_there_tells_nothing() {
    for kind in ["application/sdp", "multipart/mixed;boundary=b"] {
        let plain = alice().invite("sip:911@example.com");
        let parts = format!("--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b--\r\n", plain.body);
        let body = if kind == "application/sdp" { plain.body.clone() } else { parts };
        let mut world = world(&located());
        let offered = offered(&mut world, &plain.body(kind, &body).with("Geolocation", "<cid:place@example.com>"));
        let [theirs, ours] = offered.values("Geolocation")[..] else { panic!("{offered}") };
        assert_eq!(theirs, "<cid:place@example.com>");
        let id = ours.strip_prefix("<cid:").and_then(|rest| rest.strip_suffix('>')).unwrap();
        assert!(offered.body.contains(CIVIC) && offered.body.contains(&format!("Content-ID: <{id}>")), "{offered}");
    }
}

#[test]
fn the_phones_word_on_routing_by_location_stays() {
    let mut world = world(&located());
    let offered = offered(&mut world, &alice().invite("sip:911@example.com").with("Geolocation-Routing", "no"));
    assert_eq!(offered.values("Geolocation-Routing"), ["no"]);
    assert!(offered.body.contains(CIVIC));
}

#[test]
fn a_call_from_another_country_does_not_carry_the_address_at_home() {
    for (country, told) in [("US", true), ("GU", true), ("CA", false), ("PR", false)] {
        let mut world = world(&located());
        let offered = offered(&mut world, &alice().invite("sip:911@example.com").with("X-Country-Code", country));
        assert_eq!(offered.body.contains("Redmond"), told, "{country}");
    }
}

#[test]
fn a_delayed_offer_has_the_location_alone() {
    let mut world = world(&located());
    let offered = offered(&mut world, &alice().request("INVITE", "sip:911@example.com"));
    assert_eq!(offered.header("Content-Type"), "application/pidf+xml");
    assert!(document(&offered).contains(CIVIC));
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    assert_eq!(world.take(&alice(), "200").header("Content-Type"), "application/sdp");
}

#[test]
fn a_multipart_of_the_phone_keeps_every_byte_and_gets_a_part_more() {
    let data = "<EmergencyCallData.Comment/>";
    let body = |head: &str| {
        format!(
            "preamble\r\n--b\r\n{head}Content-Type: application/sdp\r\n\r\n{}\r\n--b\r\nContent-Type: application/EmergencyCallData.Comment+xml\r\n\
             Content-ID: <c@x>\r\n\r\n{data}\r\n--b--\r\nepilogue",
            alice().offer()
        )
    };
    for kind in ["multipart/mixed;boundary=b", "multipart/related;boundary=\"b\""] {
        let mut world = world(&located());
        let sent = alice().invite("sip:911@example.com").body(kind, &body("Content-Language: en\r\n"));
        let sent = sent.with("MIME-Version", "1.0").with("Content-Disposition", "session;handling=optional");
        let offered = offered(&mut world, &sent);
        assert!(document(&offered).contains(CIVIC));
        assert_eq!(part(&offered, "application/EmergencyCallData.Comment+xml"), data);
        let without_origin =
            |text: &str| text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
        if kind.starts_with("multipart/mixed") {
            assert_eq!(offered.header("Content-Type"), kind);
            let (ours, theirs) = (without_origin(&offered.body), without_origin(&sent.body));
            assert!(
                ours.starts_with(theirs.split("--b--").next().unwrap()) && ours.ends_with("--b--\nepilogue"),
                "{ours}"
            );
        } else {
            // Parts that belong together stay in a body of their own, with the lines that describe it.
            let whole = without_origin(&offered.body);
            assert!(whole.contains(&without_origin(&sent.body)), "{whole}");
            let head = "Content-Type: multipart/related;boundary=\"b\"\nMIME-Version: 1.0\nContent-Disposition: session;handling=optional\n";
            assert!(whole.contains(head) && !offered.has("Content-Disposition"), "{offered}");
        }
    }
}

/// Rules 4.3a, 4.3c.
#[test]
fn nested_multiparts_with_a_location_cross_byte_for_byte() {
    let inner = "--i\r\nContent-Type: application/pidf+xml\r\nContent-ID: <deep@x>\r\n\r\n<presence/>\r\n--i\r\n\r\ntext\r\n--i--";
    let body = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\nContent-Type: multipart/alternative; boundary=\"i\"\r\n\r\n{inner}\r\n--b--\r\n",
        alice().offer()
    );
    let mut world = world(&located());
    let sent = alice().invite("sip:911@example.com").body("multipart/mixed;boundary=b", &body);
    let offered = offered(&mut world, &sent.with("Geolocation", "<cid:deep@x>"));
    assert_eq!(offered.header("Geolocation"), "<cid:deep@x>");
    assert_eq!(
        offered.body.split_once("--b\r\nContent-Type: multipart").unwrap().1,
        body.split_once("--b\r\nContent-Type: multipart").unwrap().1
    );
}

#[test]
fn the_next_target_gets_it_too_and_a_transfer_as_well() {
    let toml = located().change("name = \"backup\"", "name = \"backup\"\nlocation = \"add\"");
    let mut first = world(&toml);
    let (_, offered) = first.dialled();
    first.send(&psap(), &psap().reply(&offered, 503));
    assert!(document(&first.take(&backup(), "INVITE")).contains(CIVIC));

    let mut world = world(&toml);
    let (invite, offered) = world.dialled();
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    let referral = referred(&mut world, &mut call, "<sip:desk@203.0.113.81:5080>", &backup());
    assert!(document(&referral).contains(CIVIC), "{referral}");
}

#[test]
fn equipment_that_cannot_take_it_is_asked_once_more_without() {
    for status in [400, 413, 415, 424, 488, 513] {
        let mut world = world(&located().change("trunks = [\"psap\", \"backup\"]", "trunks = [\"psap\"]"));
        let (invite, offered) = world.dialled();
        assert!(offered.has("Geolocation"));
        world.send(&psap(), &psap().reply(&offered, status));
        world.take(&psap(), "ACK");
        let again = world.take(&psap(), "INVITE");
        assert_eq!((again.header("Content-Type"), again.has("Geolocation")), ("application/sdp", false), "{status}");
        let mut call = world.answer(&alice(), &invite, &psap(), &again);
        world.hang_up(&mut call);
        let statuses: Vec<_> = world.record().attempts.iter().map(|attempt| attempt.status).collect();
        assert_eq!(statuses, [Some(status), Some(200)]);
    }
    // Any other failure is that of the target, and a second refusal is one too.
    let mut world = world(&located());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 415));
    let again = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&again, 415));
    world.none(&psap(), "INVITE");
    world.take(&backup(), "INVITE");
}

/// RFC 5621 §4.2: equipment that knows nothing of bodies with several parts says 415. The phone would be told nothing else of it
/// by any target, and the call would be lost for its location (SPEC §10).
#[test]
fn equipment_that_cannot_take_what_the_phone_tells_is_asked_once_more_with_the_description_alone() {
    let plain = || alice().invite("sip:911@example.com");
    let unheard = alice().request("INVITE", "sip:911@example.com").body("application/vnd.never.heard.of", "x");
    for (what, sent) in [
        ("parts", with_location(plain(), "US").with("Geolocation", "<cid:place@example.com>")),
        ("a reference", plain().with("Geolocation", "<https://lis.example.org/1>")),
        ("no description", unheard.with("Content-Disposition", "render;handling=required")),
    ] {
        for status in [400, 413, 415, 424, 488, 513] {
            let toml = Toml::default().change("trunks = [\"psap\", \"backup\"]", "trunks = [\"psap\"]");
            let mut world = world(&toml);
            let sent = sent.clone().with("Call-Info", "<cid:c@x>;purpose=EmergencyCallData.Comment");
            let sent = sent.with("Geolocation-Routing", "yes").with("Accept-Language", "da");
            let offered = offered(&mut world, &sent);
            world.take(&alice(), "100");
            assert_eq!(offered.header("Content-Type"), sent.header("Content-Type"), "{what}");
            world.send(&psap(), &psap().reply(&offered, status));
            world.take(&psap(), "ACK");
            let again = world.take(&psap(), "INVITE");
            let is_described = what != "no description";
            assert_eq!(
                (again.header("Content-Type") == "application/sdp", again.body.is_empty()),
                (is_described, !is_described)
            );
            for name in ["Geolocation", "Geolocation-Routing", "Call-Info", "Content-Disposition"] {
                assert!(!again.has(name), "{what} {status}\n{again}");
            }
            assert_eq!(again.header("Accept-Language"), "da");
            if is_described {
                let mut call = world.answer(&alice(), &sent, &psap(), &again);
                world.hang_up(&mut call);
                let statuses: Vec<_> = world.record().attempts.iter().map(|attempt| attempt.status).collect();
                assert_eq!(statuses, [Some(status), Some(200)], "{what}");
                let is_said = |words: &String| words.ends_with("with the session description alone");
                assert!(world.record().decisions.iter().any(is_said));
            }
        }
    }
    // There is nothing to leave out: the next target.
    let mut world = world(&Toml::default());
    let offered = offered(&mut world, &plain());
    world.send(&psap(), &psap().reply(&offered, 415));
    world.take(&backup(), "INVITE");
    world.none(&psap(), "INVITE");
}

#[test]
fn a_test_call_over_a_trunk_is_located_as_a_real_one() {
    let toml = located().change("service = \"test-line\"", "trunks = [\"psap\"]");
    let mut world = world(&toml);
    world.dial(&alice(), "sip:933@example.com");
    assert!(document(&world.take(&psap(), "INVITE")).contains(CIVIC));
}

#[test]
fn what_the_trunk_says_of_the_location_is_for_the_operator_and_not_for_the_phone() {
    let mut world = world(&located());
    let (invite, offered) = world.dialled();
    let error = "102 ;code=\"Location not found\"";
    world.send(&psap(), &psap().reply(&offered, 424).with("Geolocation-Error", error));
    world.take(&psap(), "ACK");
    let again = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&again, 183).with("Geolocation-Error", "100"));
    assert!(!world.take(&alice(), "183").has("Geolocation-Error"));
    let answer = psap().reply(&again, 200).sdp(&psap().offer()).with("Geolocation-Error", "nonsense");
    world.send(&psap(), &answer);
    world.take(&psap(), "ACK");
    let ok = world.take(&alice(), "200");
    assert!(!ok.has("Geolocation-Error"));
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200);
    let errors: Vec<_> = world.record().attempts.iter().map(|attempt| attempt.location_error).collect();
    assert_eq!(errors, [Some(102), Some(100)]);
}

/// SPEC §1: a point, or what cannot be read, hides the address behind it no more than a boundary that the type does not tell.
#[test]
fn the_country_is_that_of_the_part_that_tells_it() {
    let plain = || nomad().invite("sip:911@example.com");
    let part = |head: &str, text: &str| format!("--here\r\nContent-Type: {head}\r\n\r\n{text}\r\n");
    let point = part("application/pidf+xml", "<presence><Point><pos>1 2</pos></Point></presence>");
    let told = with_location(plain(), "US");
    let behind = |kind: &str, other: &str| told.clone().body(kind, &(other.to_owned() + &told.body));
    let mixed = "multipart/mixed;boundary=here";
    for invite in [
        behind(mixed, &point),
        behind(mixed, &part("application/pidf+xml\r\nContent-Transfer-Encoding: base64", "PHg+")),
        behind("multipart/mixed", ""),
    ] {
        let mut world = World::of(&Toml::default());
        world.register(&nomad());
        world.send(&nomad(), &invite);
        world.take(&nomad(), "100");
        assert!(world.take(&psap(), "INVITE").body.contains("Anytown"));
    }
}

#[test]
fn a_caller_who_tells_another_country_is_believed_over_the_address() {
    let mut world = World::of(&located());
    world.register(&nomad());
    let invite = with_location(nomad().invite("sip:911@example.com"), "US");
    world.send(&nomad(), &invite);
    world.take(&nomad(), "100");
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.body.contains("Anytown") && !offered.body.contains("Redmond"));
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&nomad(), "180");
    assert_eq!(ended(&mut world, &nomad(), &invite).country_source.as_deref(), Some("pidf"));
}
