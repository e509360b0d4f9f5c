//! The 49 messages of RFC 4475 at the text floor: which are taken, which are refused and how.
//! `rfc4475.tsv` says what a whole element may answer; a refusal here must be one of those answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use regex::Regex;
use sosbridge::base::Protocol;
use sosbridge::sip::{Malformed, Message, Method, Name, Scheme, Uri, unfold};

fn load(name: &str) -> Result<Message, Malformed> {
    let path = format!("{}/tests/rfc4475/messages/{name}.dat", env!("CARGO_MANIFEST_DIR"));
    Message::parse(Bytes::from(std::fs::read(path).unwrap()))
}

fn accepted(name: &str) -> Message {
    load(name).unwrap_or_else(|malformed| panic!("{name}: {malformed}"))
}

/// What this floor refuses: the status, and whether an answer can be built (never for responses).
const REFUSED: [(&str, u16, bool); 21] = [
    ("badinv01", 400, false),
    ("clerr", 400, true),
    ("ncl", 400, true),
    ("scalar02", 400, true),
    ("scalarlg", 400, false),
    ("quotbal", 400, true),
    ("ltgtruri", 400, true),
    ("lwsruri", 400, true),
    ("lwsstart", 400, true),
    ("trws", 400, true),
    ("escruri", 400, true),
    ("regbadct", 400, true),
    ("badaspec", 400, true),
    ("baddn", 400, true),
    ("badvers", 505, true),
    ("mismatch01", 400, true),
    ("mismatch02", 501, true),
    ("bigcode", 400, false),
    ("insuf", 400, false),
    ("multi01", 400, true),
    ("mcl01", 400, true),
];

#[test]
fn every_message_is_taken_or_refused_as_the_table_says() {
    let table = include_str!("rfc4475/rfc4475.tsv");
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 49);
    let mut failures = Vec::new();
    for row in rows {
        let (name, kind, verdict, allowed) = (row[0], row[2], row[4], row[5]);
        let expected = REFUSED.iter().find(|refused| refused.0 == name);
        match (load(name), expected) {
            (Ok(message), None) => {
                if message.is_request() != kind.starts_with("req") {
                    failures.push(format!("{name}: a request taken for a response, or the reverse"));
                }
            }
            (Ok(_), Some(_)) => failures.push(format!("{name}: taken, should be refused")),
            (Err(malformed), None) => failures.push(format!("{name}: refused: {malformed}")),
            (Err(malformed), Some(&(_, status, answerable))) => {
                if (malformed.status, malformed.message.is_some()) != (status, answerable) {
                    failures.push(format!("{name}: {malformed:?}, not {status} {answerable}"));
                }
                if verdict == "accept" {
                    failures.push(format!("{name}: must be accepted"));
                }
                let answers = Regex::new(&format!("^({allowed})$")).unwrap();
                if kind.starts_with("req") && !answers.is_match(&status.to_string()) {
                    failures.push(format!("{name}: {status} is none of {allowed}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn wsinv_is_understood_in_spite_of_its_white_space() {
    let message = accepted("wsinv");
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.from_tag(), Some(&b"98asjd8"[..]));
    assert_eq!(message.to_tag(), Some(&b"1918181833n"[..]));
    assert_eq!((message.cseq(), message.max_forwards()), (9, Some(68)));
    assert_eq!(message.call_id(), b"wsinv.ndaksdj@192.0.2.1");
    assert_eq!(message.body().len(), 150);
    let vias: Vec<_> = message.values(Name::Via).map(|value| sosbridge::sip::Via::parse(value).unwrap()).collect();
    let branches: Vec<_> = vias.iter().map(|via| via.branch().unwrap()).collect();
    assert_eq!(branches, [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"]);
    assert_eq!(vias[1].protocol, Some(Protocol::Tcp));
    let contact = message.contact().unwrap();
    assert_eq!((contact.uri, contact.params.value("q")), (&b"sip:jdrosen@example.com"[..], Some(&b"0.33"[..])));
    assert_eq!(contact.params.value("newparam"), Some(&b"newvalue"[..]));
    assert_eq!(
        message.header_named("newfangledheader").map(unfold).unwrap(),
        &b"newfangled value continued newfangled value"[..]
    );
    assert_eq!(message.values(Name::Route).count(), 1);
}

#[test]
fn methods_names_and_users_are_not_unescaped_where_they_must_not() {
    let intmeth = accepted("intmeth");
    assert_eq!(intmeth.method(), Method::Other);
    assert_eq!(intmeth.method_name(), b"!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(intmeth.from_tag(), Some(&b"_token~1'+`*%!-."[..]));
    assert!(intmeth.to().display.contains(&0));
    let esc02 = accepted("esc02");
    assert_eq!((esc02.method(), esc02.method_name()), (Method::Other, &b"RE%47IST%45R"[..]));
    assert_eq!(esc02.values(Name::Contact).count(), 2);
    let esc01 = accepted("esc01");
    let uri = Uri::parse(esc01.request_uri()).unwrap();
    assert_eq!((&*uri.unescaped_user(), uri.scheme), (&b"sips:user@example.com"[..], Scheme::Sip));
    let escnull = accepted("escnull");
    let users: Vec<_> = escnull
        .values(Name::Contact)
        .map(|value| sosbridge::sip::NameAddr::parse(value).unwrap().uri.to_vec())
        .collect();
    assert_eq!(users.len(), 2);
    assert!(!Uri::parse(&users[0]).unwrap().matches(&Uri::parse(&users[1]).unwrap()));
    let semiuri = accepted("semiuri");
    let uri = Uri::parse(semiuri.request_uri()).unwrap();
    assert_eq!(&*uri.unescaped_user(), b"user;par=u@example.net");
    assert_eq!(uri.host, sosbridge::sip::Host::Name(b"example.com"));
}

#[test]
fn the_second_message_of_a_datagram_does_not_exist() {
    let message = accepted("dblreq");
    assert_eq!(message.method(), Method::Register);
    assert!(message.body().is_empty());
    assert!(message.bytes().ends_with(b"\r\n\r\n"));
    assert_eq!(message.headers().count(), message.bytes().split(|&byte| byte == b'\n').count() - 3);
}

#[test]
fn contact_parameters_stay_on_their_side_of_the_bracket() {
    let contact = accepted("cparam01");
    let contact = contact.contact().unwrap();
    assert!(contact.params.has("unknownparam"));
    assert!(!Uri::parse(contact.uri).unwrap().params.has("unknownparam"));
    let contact = accepted("cparam02");
    let contact = contact.contact().unwrap();
    assert!(!contact.params.has("unknownparam"));
    assert!(Uri::parse(contact.uri).unwrap().params.has("unknownparam"));
    let contact = accepted("regescrt");
    assert!(!Uri::parse(contact.contact().unwrap().uri).unwrap().headers.is_empty());
}

#[test]
fn old_peers_strange_transports_and_bodies() {
    let old = accepted("inv2543");
    assert_eq!((old.top_via().branch(), old.from_tag(), old.max_forwards()), (None, None, None));
    assert!(old.body().starts_with(b"v=0"));
    assert_eq!(accepted("badbranch").top_via().branch(), Some(&b"z9hG4bK"[..]));
    let transports = accepted("transports");
    let strange =
        transports.values(Name::Via).filter(|value| sosbridge::sip::Via::parse(value).unwrap().protocol.is_none());
    assert_eq!(strange.count(), 2);
    assert!(accepted("mpart01").body().contains(&0));
    assert_eq!(accepted("noreason").reason(), b"");
    assert_eq!(accepted("longreq").values(Name::Via).count(), 34);
}
