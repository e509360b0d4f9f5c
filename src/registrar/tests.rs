//! REGISTER as phones send it: RFC 3261 §10.3, RFC 5626 §6, RFC 4475.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::{Protocol, limits};
use crate::transport::ListenerId;

const START: Instant = Instant::from_millis(1_700_000_000_000);

pub(super) fn settings() -> Settings {
    Settings {
        min_expires: Duration::from_secs(60),
        max_expires: Duration::from_secs(3600),
        default_expires: Duration::from_secs(1800),
    }
}

pub(super) fn after(seconds: u64) -> Instant {
    START + Duration::from_secs(seconds)
}

pub(super) fn alice() -> Aor {
    "alice@example.com".parse().unwrap()
}

pub(super) fn udp(port: u16) -> Flow {
    let remote = SocketAddr::from(([192, 0, 2, 1], port));
    Flow { protocol: Protocol::Udp, listener: ListenerId(0), remote, connection: None }
}

fn tcp(port: u16, connection: u64) -> Flow {
    Flow { protocol: Protocol::Tcp, listener: ListenerId(1), connection: Some(ConnId(connection)), ..udp(port) }
}

/// `headers`: lines with `\n`; Call-ID is `a` unless they say otherwise.
pub(super) fn request(cseq: u32, headers: &str) -> Message {
    let call_id = if headers.contains("Call-ID:") { "" } else { "Call-ID: a\n" };
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\nMax-Forwards: 70\n\
         From: <sip:alice@example.com>;tag=1\nTo: <sip:alice@example.com>\n{call_id}CSeq: {cseq} REGISTER\n{headers}\n\n"
    );
    Message::parse(Bytes::from(text.replace("\n\n\n", "\n\n").replace('\n', "\r\n"))).unwrap()
}

const OK: Outcome = Outcome::Accepted { outbound: false };

fn status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Accepted { .. } => 200,
        Outcome::Unsupported { .. } => 420,
        Outcome::TooBrief { .. } => 423,
        Outcome::Refused { status, .. } => status,
    }
}

/// The Contact lines of the 200.
pub(super) fn contacts(registrar: &mut Registrar, now: Instant) -> Vec<String> {
    let mut writer = Writer::new();
    writer.response(200, b"OK");
    registrar.write_contacts(now, &alice(), false, &mut writer);
    let text = String::from_utf8(writer.finish().to_vec()).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("Contact: ")).map(str::to_owned).collect()
}

fn uris(registrar: &Registrar) -> Vec<&str> {
    registrar.bindings(&alice()).iter().map(Binding::contact).collect()
}

/// One REGISTER after the other, each from its own flow on UDP; the status of each.
fn run(registrar: &mut Registrar, steps: &[(u32, &str)]) -> Vec<u16> {
    let register = |(cseq, headers): &(u32, &str)| {
        status(registrar.register(START, &alice(), &request(*cseq, headers), udp(5060)))
    };
    steps.iter().map(register).collect()
}

#[test]
fn the_contact_comes_back_as_it_was_sent() {
    let cases = [
        // RFC 4475 §3.3.12: without brackets it is a parameter of Contact
        (
            "Contact: sip:+19725552222@gw1.example.net;unknownparam",
            "<sip:+19725552222@gw1.example.net>;unknownparam;expires=1800",
        ),
        // RFC 4475 §3.3.13: within brackets it is the URI's
        (
            "Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
            "<sip:+19725552222@gw1.example.net;unknownparam>;expires=1800",
        ),
        // RFC 4475 §3.3.14
        (
            "M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
            "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=1800",
        ),
        (
            "Contact: \"A; <B>\" <sip:a@B;lr>; Expires=7200 ;q=0.5; +sip.instance=\"<urn:uuid:1;2>\"",
            "<sip:a@B;lr>;q=0.5;+sip.instance=\"<urn:uuid:1;2>\";expires=3600",
        ),
        ("Contact: <sip:a@b>\r\n ;x=\"1\r\n  2\"", "<sip:a@b>;x=\"1 2\";expires=1800"),
        ("Contact: <sip:%00@host5.example.com>", "<sip:%00@host5.example.com>;expires=1800"),
    ];
    for (sent, back) in cases {
        let mut registrar = Registrar::new(settings());
        assert_eq!(
            registrar.register(START, &alice(), &request(1, &sent.replace("\r\n", "\n")), udp(5060)),
            OK,
            "{sent}"
        );
        assert_eq!(contacts(&mut registrar, START), [back]);
    }
}

#[test]
fn lifetimes() {
    // (headers, granted seconds or the refusal)
    let cases: &[(&str, Result<u64, u16>)] = &[
        ("Contact: <sip:a@b>", Ok(1800)),
        ("Contact: <sip:a@b>\nExpires: 300", Ok(300)),
        ("Contact: <sip:a@b>;expires=120\nExpires: 300", Ok(120)),
        ("Contact: <sip:a@b>;expires=60", Ok(60)),
        ("Contact: <sip:a@b>;expires=59", Err(423)),
        ("Contact: <sip:a@b>\nExpires: 1", Err(423)),
        ("Contact: <sip:c@d>;expires=600, <sip:a@b>;expires=10", Err(423)),
        ("Contact: <sip:a@b>;expires=86400", Ok(3600)),
        ("Contact: <sip:a@b>;expires=99999999999999999999999", Ok(3600)),
        ("Contact: <sip:a@b>;expires=soon", Ok(3600)), // RFC 3261 §20.10
        ("Contact: <sip:a@b>;expires", Ok(3600)),
        ("Contact: <sip:a@b>;expires=0", Ok(0)),
    ];
    for (headers, granted) in cases {
        let mut registrar = Registrar::new(settings());
        let outcome = registrar.register(START, &alice(), &request(1, headers), udp(5060));
        let left = registrar.listed(&alice()).first().map_or(0, |binding| binding.expires_at.since(START).as_secs());
        match granted {
            Ok(seconds) => assert_eq!((outcome, left), (OK, *seconds), "{headers}"),
            Err(code) => assert_eq!((status(outcome), registrar.len()), (*code, 0), "{headers}"),
        }
    }
    let brief =
        Registrar::new(settings()).register(START, &alice(), &request(1, "Contact: <sip:a@b>;expires=9"), udp(1));
    assert_eq!(brief, Outcome::TooBrief { min: Duration::from_secs(60) });
}

#[test]
fn the_star_goes_alone_and_with_zero() {
    let two = (1, "Contact: <sip:a@b>, <sip:c@d>");
    for bad in
        ["Contact: *", "Contact: *\nExpires: 60", "Contact: *, <sip:a@b>\nExpires: 0", "Contact: *, *\nExpires: 0"]
    {
        let mut registrar = Registrar::new(settings());
        assert_eq!(run(&mut registrar, &[two, (2, bad)]), [200, 400], "{bad}");
        assert_eq!(registrar.len(), 2);
    }
    let mut registrar = Registrar::new(settings());
    let star = "Contact: *\nExpires: 0";
    assert_eq!(
        run(&mut registrar, &[two, (1, star), (2, "Contact: <sip:e@f>\nCall-ID: b"), (2, star)]),
        [200, 500, 200, 200]
    );
    assert!(registrar.is_empty() && registrar.next_deadline().is_none_or(|due| due > START));
    assert_eq!(run(&mut registrar, &[(1, star)]), [200]);
}

#[test]
fn a_request_that_was_overtaken_changes_nothing() {
    let mut registrar = Registrar::new(settings());
    let steps = [
        (5, "Contact: <sip:a@b>"),
        (5, "Contact: <sip:a@b>"),
        (4, "Contact: <sip:new@b>, <sip:a@b>;expires=0"),
        (4, "Contact: <sip:a@b>;expires=0"),
        (1, "Contact: <sip:a@b>;q=0.1\nCall-ID: other"), // RFC 3261 §10.3: another Call-ID, another numbering
        (1, "Contact: <sip:new@b>, <sip:a@b>\nCall-ID: other"),
        (6, "Contact: <sip:a@b>"),
    ];
    assert_eq!(run(&mut registrar, &steps), [200, 500, 500, 500, 200, 500, 200]);
    assert_eq!(contacts(&mut registrar, START), ["<sip:a@b>;expires=1800"]);
}

#[test]
fn a_contact_that_cannot_be_kept_refuses_them_all() {
    let long = format!("Contact: <sip:ok@b>, <sip:{}@b>", "a".repeat(limits::KEPT_VALUE_BYTES));
    let many: Vec<String> = (0..=limits::BINDINGS_PER_USER).map(|at| format!("<sip:{at}@b>")).collect();
    let many = format!("Contact: {}", many.join(", "));
    let mut registrar = Registrar::new(settings());
    let call_id = format!("Contact: <sip:a@b>\nCall-ID: {}", "a".repeat(limits::KEPT_VALUE_BYTES + 1));
    assert_eq!(run(&mut registrar, &[(1, &long), (1, &many), (1, &call_id)]), [400, 403, 400]);
    assert!(registrar.is_empty() && registrar.take_rows().is_empty());
}

#[test]
fn without_contact_it_lists() {
    let mut registrar = Registrar::new(settings());
    assert_eq!(run(&mut registrar, &[(1, "Contact: <sip:a@b>"), (1, "Expires: 0"), (1, "")]), [200, 200, 200]);
    assert_eq!(contacts(&mut registrar, after(100)), ["<sip:a@b>;expires=1700"]);
}

#[test]
fn equal_uris_are_one_binding() {
    // RFC 3261 §19.1.4
    let mut registrar = Registrar::new(settings());
    run(
        &mut registrar,
        &[
            (1, "Contact: <sip:%61lice@AtLanTa.CoM;Transport=tcp>"),
            (2, "Contact: <sip:alice@atlanta.com;transport=TCP>"),
        ],
    );
    assert_eq!(uris(&registrar), ["sip:alice@atlanta.com;transport=TCP"]);
    run(&mut registrar, &[(3, "Contact: <sip:alice@atlanta.com:5060;transport=TCP>")]);
    assert_eq!(registrar.len(), 2);
}

#[test]
fn best_first_by_q_then_by_the_latest_refresh() {
    let mut registrar = Registrar::new(settings());
    let contacts = ["<sip:low@b>;q=0.1", "<mailto:alice@b>", "<sip:first@b>", "<sip:second@b>", "<sip:odd@b>;q=high"];
    for (contact, at) in contacts.iter().zip(1u32..) {
        let register = request(1, &format!("Contact: {contact}\nCall-ID: {at}"));
        assert_eq!(registrar.register(after(u64::from(at)), &alice(), &register, udp(5060)), OK);
    }
    assert_eq!(uris(&registrar), ["sip:odd@b", "sip:second@b", "sip:first@b", "sip:low@b"]);
    let refresh = request(2, "Contact: <sip:first@b>\nCall-ID: 3");
    registrar.register(after(9), &alice(), &refresh, udp(5060));
    assert_eq!(uris(&registrar), ["sip:first@b", "sip:odd@b", "sip:second@b", "sip:low@b"]);
    assert_eq!(registrar.listed(&alice()).last().map(Binding::contact), Some("mailto:alice@b"));
}

#[test]
fn at_the_limit_the_longest_silent_contact_gives_way() {
    let mut registrar = Registrar::new(settings());
    for at in 0..=limits::BINDINGS_PER_USER {
        let register = request(1, &format!("Contact: <sip:{at}@b>\nCall-ID: {at}"));
        assert_eq!(registrar.register(after(at as u64), &alice(), &register, udp(5060)), OK);
    }
    assert_eq!(registrar.len(), limits::BINDINGS_PER_USER);
    assert!(!uris(&registrar).contains(&"sip:0@b") && uris(&registrar).contains(&"sip:16@b"));
    assert!(registrar.listed(&alice()).iter().all(|binding| usize::from(binding.slot) < limits::BINDINGS_PER_USER));
}

#[test]
fn old_and_new_contact_in_one_request_in_either_order() {
    for swap in [
        "<sip:old@b>;expires=0, <sip:new@b>",
        "<sip:new@b>, <sip:old@b>;expires=0",
        "<sip:new@b>;expires=0, <sip:new@b>, <sip:old@b>;expires=0",
    ] {
        let mut registrar = Registrar::new(settings());
        assert_eq!(run(&mut registrar, &[(1, "Contact: <sip:old@b>"), (2, &format!("Contact: {swap}"))]), [200, 200]);
        assert_eq!(uris(&registrar), ["sip:new@b"], "{swap}");
    }
}

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:f81d4fae>\"";

#[test]
fn an_instance_and_its_reg_id_are_one_binding() {
    let mut registrar = Registrar::new(settings());
    let contact =
        |uri: &str, reg_id: u32| format!("Supported: path, outbound\nContact: <{uri}>;{INSTANCE};reg-id={reg_id}");
    let mut step = |cseq: u32, headers: &str, flow: Flow| {
        registrar.register(after(u64::from(cseq)), &alice(), &request(cseq, headers), flow)
    };
    assert_eq!(step(1, &contact("sip:a@1.1.1.1", 1), tcp(4000, 1)), Outcome::Accepted { outbound: true });
    assert_eq!(step(2, &contact("sip:a@2.2.2.2", 1), udp(4000)), Outcome::Accepted { outbound: true });
    assert_eq!(step(3, &contact("sip:a@2.2.2.2", 2), tcp(4001, 2)), Outcome::Accepted { outbound: true });
    assert_eq!(step(4, "Contact: <sip:b@3.3.3.3>;reg-id=1", udp(1)), OK); // no instance: ignored
    assert_eq!(
        step(5, &format!("Contact: <sip:c@4.4.4.4>, <sip:d@5.5.5.5>;{INSTANCE};reg-id=3"), udp(1)),
        refused(400, "a contact with reg-id is registered alone")
    );
    assert_eq!(uris(&registrar), ["sip:b@3.3.3.3", "sip:a@2.2.2.2", "sip:a@2.2.2.2"]);
    assert_eq!(registrar.listed(&alice())[1].instance(), Some(&b"<urn:uuid:f81d4fae>"[..]));
    assert_eq!(registrar.listed(&alice())[0].reg_id, None);
}

#[test]
fn behind_a_proxy_reg_id_is_refused_or_ignored() {
    let contact = format!("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\nContact: <sip:a@b>;{INSTANCE};reg-id=1");
    let mut registrar = Registrar::new(settings());
    assert_eq!(run(&mut registrar, &[(1, &format!("Supported: outbound\n{contact}")), (1, &contact)]), [439, 200]);
    assert_eq!(registrar.listed(&alice())[0].reg_id, None);
}

#[test]
fn who_is_on_a_flow() {
    let mut registrar = Registrar::new(settings());
    let bob: Aor = "bob@example.com".parse().unwrap();
    let on =
        |registrar: &Registrar, flow: Flow| registrar.users_on_flow(&flow).map(ToString::to_string).collect::<Vec<_>>();
    registrar.register(START, &alice(), &request(1, "Contact: <sip:a@b>"), tcp(4000, 7));
    registrar.register(START, &bob, &request(1, "Contact: <sip:b@b>"), tcp(4000, 7));
    registrar.register(START, &alice(), &request(1, "Contact: <sip:a@c>\nCall-ID: b"), udp(5060));
    assert_eq!(on(&registrar, tcp(4000, 7)), ["sip:alice@example.com", "sip:bob@example.com"]);
    assert_eq!(on(&registrar, tcp(4000, 8)), [""; 0], "another connection of the same address");
    assert_eq!(on(&registrar, udp(5060)), ["sip:alice@example.com"]);
    assert_eq!(on(&registrar, Flow { listener: ListenerId(1), ..udp(5060) }), [""; 0]);
    assert_eq!(registrar.binding_on_flow(&tcp(4000, 7), &alice()).map(Binding::contact), Some("sip:a@b"));
    assert!(registrar.binding_on_flow(&udp(5060), &bob).is_none());

    registrar.connection_closed(ConnId(7));
    assert_eq!(on(&registrar, tcp(4000, 7)), [""; 0]);
    assert_eq!(registrar.bindings(&bob)[0].flow, Flow { connection: None, ..tcp(4000, 7) });

    registrar.register(START, &bob, &request(2, "Contact: <sip:b@b>"), udp(1));
    assert_eq!(on(&registrar, udp(1)), ["sip:bob@example.com"]);
}

#[test]
fn who_has_left_a_connection() {
    const INSTANCE: &str = ";+sip.instance=\"<urn:uuid:1>\"";
    // (parameters of the contact, is its connection lost, is it left)
    for (params, lost, left) in [("", true, true), ("", false, false), (INSTANCE, false, true), (INSTANCE, true, true)]
    {
        let mut registrar = Registrar::new(settings());
        let contact = format!("Contact: <sip:a@b>{params}");
        registrar.register(START, &alice(), &request(1, &contact), tcp(4000, 7));
        if lost {
            registrar.connection_closed(ConnId(7));
        }
        // Another phone of the user, then the same.
        registrar.register(START, &alice(), &request(2, "Contact: <sip:other@b>"), tcp(4000, 8));
        assert_eq!(registrar.take_moves(), [], "{params} {lost}");
        registrar.register(START, &alice(), &request(3, &contact), tcp(4000, 9));
        let moves = if left { vec![(ConnId(7), tcp(4000, 9))] } else { vec![] };
        assert_eq!(registrar.take_moves(), moves, "{params} {lost}");
        registrar.register(START, &alice(), &request(4, &contact), tcp(4000, 9));
        assert_eq!(registrar.take_moves(), [], "it is where it was");
    }
}

#[test]
fn bindings_end_when_their_time_is_over() {
    let mut registrar = Registrar::new(settings());
    run(&mut registrar, &[(1, "Contact: <sip:a@b>;expires=60, <sip:c@d>;expires=120")]);
    registrar.take_rows();
    assert_eq!(registrar.next_deadline(), Some(after(60)));
    registrar.handle_timeout(after(59));
    assert_eq!(registrar.len(), 2);
    registrar.handle_timeout(after(60));
    assert_eq!((uris(&registrar), registrar.next_deadline()), (vec!["sip:c@d"], Some(after(120))));
    registrar.handle_timeout(after(120));
    assert_eq!((registrar.len(), registrar.next_deadline()), (0, None));
    assert_eq!(registrar.users_on_flow(&udp(5060)).count(), 0);
    let ended: Vec<bool> =
        registrar.take_rows().iter().map(|row| matches!(row, Change::Delete { urgent: false, .. })).collect();
    assert_eq!(ended, [true, true]);
}

#[test]
fn only_what_a_restart_would_miss_is_urgent() {
    let mut registrar = Registrar::new(settings());
    let urgency = |registrar: &mut Registrar| -> Vec<bool> {
        let urgent = |change: &Change| match change {
            Change::Put { urgent, .. } | Change::Delete { urgent, .. } => *urgent,
        };
        registrar.take_rows().iter().map(urgent).collect()
    };
    let step = |registrar: &mut Registrar, cseq: u32, contact: &str, flow: Flow| {
        assert_eq!(
            registrar.register(after(u64::from(cseq)), &alice(), &request(cseq, &format!("Contact: {contact}")), flow),
            OK
        );
    };
    step(&mut registrar, 1, "<sip:a@b>", udp(5060));
    assert_eq!(urgency(&mut registrar), [true]);
    step(&mut registrar, 2, "<sip:a@b>", udp(5060));
    step(&mut registrar, 3, "<sip:a@b>;expires=900", udp(5060));
    assert_eq!(urgency(&mut registrar), [false; 0], "held back");
    assert_eq!(registrar.next_deadline(), Some(after(2) + PROLONG_EVERY));
    registrar.handle_timeout(after(2) + PROLONG_EVERY);
    let rows = registrar.take_rows();
    assert!(matches!(&rows[..], [Change::Put { row, urgent: false }] if row.expires_at_ms == after(903).as_millis()));
    step(&mut registrar, 4, "<sip:a@b>", udp(5061));
    assert_eq!(urgency(&mut registrar), [true]);
    step(&mut registrar, 5, "<sip:a@b>;expires=0", udp(5061));
    assert_eq!(urgency(&mut registrar), [true]);
}

#[test]
fn a_restart_brings_them_back() {
    let mut registrar = Registrar::new(settings());
    let full = format!(
        "User-Agent: Phone/1.0\nX-Country-Code: gb\nContact: <sip:a@b;x>;q=0.7;{INSTANCE};reg-id=4\nSupported: outbound"
    );
    registrar.register(START, &alice(), &request(1, &full), tcp(4000, 3));
    registrar.register(START, &alice(), &request(1, "Contact: <mailto:x@y>;expires=60\nCall-ID: b"), udp(5060));
    let rows: Vec<Row> = registrar
        .take_rows()
        .into_iter()
        .map(|change| match change {
            Change::Put { row, .. } => serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap(),
            Change::Delete { .. } => panic!("nothing was removed"),
        })
        .collect();
    let mut restarted = Registrar::new(settings());
    restarted.load(rows.clone(), after(59));
    assert_eq!(contacts(&mut restarted, after(59)), contacts(&mut registrar, after(59)));
    let binding = &restarted.bindings(&alice())[0];
    assert_eq!((binding.user_agent(), binding.country), ("Phone/1.0", Some(Country::GB)));
    assert_eq!(binding.flow, Flow { connection: None, ..tcp(4000, 3) });
    assert_eq!(run(&mut restarted, &[(1, &full)]), [500], "the order of requests is known across a restart");

    let mut late = Registrar::new(settings());
    late.load(rows, after(60));
    assert_eq!(uris(&late), ["sip:a@b;x"]);
    assert!(matches!(&late.take_rows()[..], [Change::Delete { key, .. }] if key.slot == 1));
}

#[test]
fn what_the_store_kept_is_recalled_beside_what_phones_said_since() {
    let register = |registrar: &mut Registrar, cseq: u32, contact: &str| {
        registrar.register(
            after(u64::from(cseq)),
            &alice(),
            &request(cseq, &format!("Contact: <{contact}>")),
            udp(5060),
        );
    };
    let rows = |registrar: &mut Registrar| -> Vec<Row> {
        let put = |change| if let Change::Put { row, .. } = change { row } else { panic!("nothing was removed") };
        registrar.take_rows().into_iter().map(put).collect()
    };
    let mut before = Registrar::new(settings());
    ["sip:desk@b", "sip:cell@b", "sip:gone@b"]
        .into_iter()
        .zip(1..)
        .for_each(|(uri, cseq)| register(&mut before, cseq, uri));
    let mut kept = rows(&mut before);
    kept[2].expires_at_ms = after(5).as_millis();
    let mut store: std::collections::BTreeMap<RowKey, Row> = kept.iter().map(|row| (row.key(), row.clone())).collect();

    let mut since = Registrar::new(settings());
    register(&mut since, 11, "sip:cell@b");
    store.extend(rows(&mut since).into_iter().map(|row| (row.key(), row)));
    for _ in 0..2 {
        since.recall(kept.clone(), after(12));
        assert_eq!(uris(&since), ["sip:cell@b", "sip:desk@b"]);
        for change in since.take_rows() {
            match change {
                Change::Put { row, .. } => drop(store.insert(row.key(), row)),
                Change::Delete { key, .. } => drop(store.remove(&key)),
            }
        }
        let mut again = Registrar::new(settings());
        again.load(store.values().cloned(), after(12));
        assert_eq!(contacts(&mut again, after(12)), contacts(&mut since, after(12)));
    }
}

#[test]
fn a_binding_is_small() {
    assert!(size_of::<Binding>() <= 136, "{}", size_of::<Binding>());
}
