//! Every spelling of SPEC §1 in every country, behind a prefix and not, and what must not be taken for an emergency number.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::config::load;
use std::path::Path;

fn countries() -> Countries {
    let sample = include_str!("../../config.toml");
    let australia = "\n[[countries]]\ncode = \"AU\"\nemergency = [\"000\"]\ntest = []\ndial_code = \"61\"\n";
    Countries::new(&load(&format!("{sample}{australia}"), Path::new(".")).unwrap().config)
}

const NINE: Wishes<'static> = Wishes { outside_line_prefix: Some("9"), foreign_numbers: ForeignNumbers::Treat };

fn country(code: &str) -> Country {
    code.parse().unwrap()
}

/// Country, dial code, emergency numbers, test numbers.
const TABLE: [(&str, &str, &[&str], &[&str]); 10] = [
    ("US", "1", &["911"], &["933"]),
    ("GU", "1", &["911"], &["933"]),
    ("VI", "1", &["911"], &["933"]),
    ("MP", "1", &["911"], &["933"]),
    ("AS", "1", &["911"], &["933"]),
    ("PR", "1", &["911"], &[]),
    ("CA", "1", &["911"], &[]),
    ("GB", "44", &["999", "112"], &[]),
    ("DK", "45", &["112"], &[]),
    ("AU", "61", &["000"], &[]),
];

/// Every way to write a number of a country with that code.
fn spellings(number: &str, dial_code: &str) -> Vec<String> {
    let escaped: String = number.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let dashed: Vec<String> = number.chars().map(String::from).collect();
    let (dashed, dotted) = (dashed.join("-"), dashed.join("."));
    let users = [
        number.to_owned(),
        format!("+{number}"),
        format!("+{dial_code}{number}"),
        format!("%2B{dial_code}{number}"),
        format!("+{dial_code}-{dashed}"),
        dashed,
        dotted,
        format!("({number})"),
        escaped,
    ];
    let mut all = vec![number.to_owned(), format!("+{number}")];
    for user in users {
        all.extend([
            format!("sip:{user}@example.com"),
            format!("sip:{user}@127.0.0.1:5060;transport=tcp;user=phone"),
            format!("sips:{user}@[2001:db8::1]"),
            format!("SIP:{user}@EXAMPLE.com;user=phone?Subject=x"),
            format!("sip:{user};phone-context=example.com@h;user=phone"),
            format!("sip:{user};phone-context=+{dial_code}@h;user=phone"),
            format!("sip:{user}%3Bphone-context=x@h"),
            format!("sip:{user}:secret@h"),
            format!("tel:{user}"),
            format!("tel:{user};phone-context=+{dial_code}"),
            format!("TEL:{user};phone-context=example.com"),
        ]);
    }
    all
}

/// Rules 1.1a, 1.1b, 1.1c, 1.1d, 1.1e, 1.2a, 1.2b, 1.2c, 1.2d, 1.2e, 1.2j.
#[test]
fn every_spelling_in_every_country() {
    let table = countries();
    for (code, dial_code, emergency, tests) in TABLE {
        for (numbers, kind, urn) in
            [(emergency, NumberKind::Emergency, "urn:service:sos"), (tests, NumberKind::Test, "urn:service:test.sos")]
        {
            for number in numbers {
                let wanted = Service { kind, number: (*number).into(), urn: urn.into(), foreign: false };
                for uri in spellings(number, dial_code) {
                    for wishes in [Wishes::default(), NINE, Wishes { foreign_numbers: ForeignNumbers::Reject, ..NINE }]
                    {
                        let got = table.classify(uri.as_bytes(), Some(country(code)), wishes);
                        assert_eq!(got, Dialled::Emergency(wanted.clone()), "{uri} in {code}");
                    }
                    assert!(table.is_reserved(uri.as_bytes()), "{uri}");
                    assert_eq!(
                        table.is_emergency(uri.as_bytes(), Wishes::default()),
                        kind == NumberKind::Emergency,
                        "{uri}"
                    );
                }
                for uri in
                    [format!("sip:9{number}@h"), format!("tel:9-{number};phone-context=+1"), format!("9{number}")]
                {
                    let got = table.classify(uri.as_bytes(), Some(country(code)), NINE);
                    assert_eq!(got, Dialled::Emergency(wanted.clone()), "{uri} in {code}");
                    let without = table.classify(uri.as_bytes(), Some(country(code)), Wishes::default());
                    assert_eq!(without, Dialled::Ordinary, "{uri} in {code} without a prefix");
                }
            }
        }
    }
}

/// Rules 1.2h, 1.2i.
#[test]
fn service_urns_everywhere() {
    let table = countries();
    let rows = [
        ("urn:service:sos", NumberKind::Emergency, "urn:service:sos"),
        ("URN:Service:SOS", NumberKind::Emergency, "urn:service:sos"),
        ("urn:service:sos.police", NumberKind::Emergency, "urn:service:sos.police"),
        ("urn:service:SOS.Fire", NumberKind::Emergency, "urn:service:sos.fire"),
        ("urn:service:sos.ecall.manual", NumberKind::Emergency, "urn:service:sos.ecall.manual"),
        ("urn:service:sos.lifeguard", NumberKind::Emergency, "urn:service:sos"),
        ("urn:service:sos.", NumberKind::Emergency, "urn:service:sos"),
        ("urn:service:sos.\u{e9}", NumberKind::Emergency, "urn:service:sos"),
        ("urn:service:test.sos", NumberKind::Test, "urn:service:test.sos"),
        ("urn:service:test.sos.fire", NumberKind::Test, "urn:service:test.sos"),
    ];
    for (uri, kind, urn) in rows {
        for (code, _, emergency, tests) in TABLE {
            let number = match kind {
                NumberKind::Emergency => emergency[0],
                NumberKind::Test => tests.first().copied().unwrap_or("933"),
            };
            let wanted = Service { kind, number: number.into(), urn: urn.into(), foreign: false };
            assert_eq!(
                table.classify(uri.as_bytes(), Some(country(code)), NINE),
                Dialled::Emergency(wanted),
                "{uri} in {code}"
            );
        }
        assert!(table.is_reserved(uri.as_bytes()));
    }
}

/// Rules 1.7a, 1.7b.
#[test]
fn foreign_numbers_are_treated_as_own_or_rejected() {
    let table = countries();
    let strict = Wishes { foreign_numbers: ForeignNumbers::Reject, ..NINE };
    for (code, _, own, _) in TABLE {
        for (other, dial_code, numbers, _) in TABLE {
            for number in numbers.iter().filter(|number| !own.contains(number)) {
                for uri in spellings(number, dial_code).iter().chain([&format!("sip:9{number}@h")]) {
                    let service = |number: &str| Service {
                        kind: NumberKind::Emergency,
                        number: number.into(),
                        urn: "urn:service:sos".into(),
                        foreign: true,
                    };
                    let at = Some(country(code));
                    let treated = table.classify(uri.as_bytes(), at, NINE);
                    assert_eq!(treated, Dialled::Emergency(service(own[0])), "{uri} of {other} in {code}");
                    assert_eq!(
                        table.classify(uri.as_bytes(), at, strict),
                        Dialled::Foreign(service(number)),
                        "{uri} in {code}"
                    );
                }
            }
        }
    }
}

#[test]
fn without_a_supported_country_it_is_still_recognised() {
    let table = countries();
    for (uri, kind, number) in [
        ("sip:911@h", NumberKind::Emergency, "911"),
        ("sip:+44999@h", NumberKind::Emergency, "999"),
        ("sip:9112@h", NumberKind::Emergency, "112"),
        ("sip:933@h", NumberKind::Test, "933"),
        ("urn:service:sos", NumberKind::Emergency, "112"),
        ("urn:service:test.sos", NumberKind::Test, "933"),
    ] {
        let (Dialled::NoCountry(unknown), Dialled::Outside(outside)) =
            (table.classify(uri.as_bytes(), None, NINE), table.classify(uri.as_bytes(), Some(country("FR")), NINE))
        else {
            panic!("{uri}");
        };
        assert_eq!((unknown.kind, unknown.number.as_str(), unknown.foreign), (kind, number, false), "{uri}");
        assert_eq!(unknown, outside);
    }
}

/// User parts that look like one.
const ORDINARY_USERS: &[&str] = &[
    "9111",
    "19110",
    "1911",
    "+1911555",
    "+19115550100",
    "0911",
    "91",
    "9",
    "99911",
    "9199",
    "+9911",
    "++911",
    "9+911",
    "911+",
    "911x",
    "911*",
    "#911",
    "*911",
    "sos",
    "SOS",
    "emergency",
    "alice",
    "911alice",
    "alice911",
    "%00911",
    "+44911",
    "+1999",
    "+45999",
    "+1112",
    "",
    "-",
    "+",
    "\u{663}11",
    "911911911911911911911911911911",
];

#[test]
fn what_is_not_an_emergency_number() {
    let table = countries();
    for (code, ..) in TABLE {
        for user in ORDINARY_USERS {
            for uri in [format!("sip:{user}@example.com"), format!("sips:{user}@h;user=phone"), format!("tel:{user}")] {
                let got = table.classify(
                    uri.as_bytes(),
                    Some(country(code)),
                    Wishes { outside_line_prefix: Some("8"), ..NINE },
                );
                assert_eq!(got, Dialled::Ordinary, "{uri} in {code}");
            }
        }
        for uri in [
            "urn:service:sosx",
            "urn:service:so",
            "urn:service:counseling",
            "urn:service:test",
            "urn:service:test.sosx",
            "urn:service",
            "urn:sos",
            "urn:uuid:911",
            "service:sos",
            "http://911@h",
            "mailto:911@h",
            "sip:911",
            "sip:h;user=911",
            "sip:sos@911",
            "sip:a@112",
            "",
            ":",
            "sip:",
            "tel:",
            "urn:",
            "im:911@h",
        ] {
            assert_eq!(table.classify(uri.as_bytes(), Some(country(code)), NINE), Dialled::Ordinary, "{uri} in {code}");
        }
    }
    for user in ORDINARY_USERS {
        assert!(!table.is_emergency_user(user.as_bytes()), "{user}");
    }
    // A test number means something in its own country only.
    for code in ["PR", "CA", "GB", "DK", "AU"] {
        assert_eq!(table.classify(b"sip:933@h", Some(country(code)), NINE), Dialled::Ordinary, "{code}");
    }
}

#[test]
fn no_device_may_register_as_a_service() {
    let table = countries();
    for user in ["911", "+911", "+1911", "9-1-1", "%39%31%31", "112", "999", "000", "933", "+44999", "911;x=y"] {
        assert!(table.is_emergency_user(user.as_bytes()), "{user}");
    }
    assert!(!table.is_emergency_user(b"9911"), "behind a prefix it may be an extension");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Separators and escapes anywhere change nothing.
        /// Rule 1.2e.
        #[test]
        fn separators_and_escapes_change_nothing(
            which in 0..TABLE.len(), marks in prop::collection::vec(prop::sample::select(vec!["", "-", ".", "(", ")"]), 8),
            escape in any::<[bool; 8]>(), plus in any::<bool>(), coded in any::<bool>(),
        ) {
            let (code, dial_code, numbers, _) = TABLE[which];
            let lead = match (plus, coded) { (true, true) => format!("+{dial_code}"), (true, false) => "+".to_owned(), _ => String::new() };
            let mut user = lead;
            for ((digit, mark), escaped) in numbers[0].bytes().zip(marks).zip(escape) {
                user += mark;
                user += &if escaped { format!("%{digit:02X}") } else { char::from(digit).to_string() };
            }
            let got = countries().classify(format!("sip:{user}@h").as_bytes(), Some(country(code)), Wishes::default());
            let found = matches!(&got, Dialled::Emergency(service) if service.number == numbers[0] && !service.foreign);
            prop_assert!(found, "{} {:?}", user, got);
        }

        /// Of all short digit strings only the listed ones are emergency numbers.
        #[test]
        fn no_other_digits(digits in "[0-9]{1,5}") {
            let got = countries().classify(digits.as_bytes(), Some(Country::US), Wishes::default());
            let listed = ["911", "933", "999", "112", "000"].contains(&digits.as_str());
            prop_assert_eq!(got != Dialled::Ordinary, listed);
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let table = countries();
        bolero::check!().with_iterations(100_000).with_type::<Vec<u8>>().for_each(|bytes| {
            table.classify(bytes, Some(Country::GB), NINE);
            table.classify(&[b"urn:service:".as_slice(), bytes].concat(), None, NINE);
            table.classify(&[b"sip:911".as_slice(), bytes].concat(), Some(Country::US), NINE);
            table.is_emergency_user(bytes);
        });
    }
}
