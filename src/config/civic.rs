//! A civic address as configured: element names of RFC 4119 and RFC 5139, values as they may stand in a PIDF-LO.

use super::read::{At, Fault, Keys};
use super::{Country, limits, values};
use compact_str::CompactString;

/// A civic address: at least one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Civic {
    /// XML element names and values, in the order of the schema (RFC 5139 §4).
    pub elements: Box<[(&'static str, CompactString)]>,
    /// The language of the values, as in `xml:lang`.
    pub lang: Option<CompactString>,
}

/// Keys and the elements they become, in the order of the schema (RFC 5139 §4).
const ELEMENTS: [(&str, &str); 31] = [
    ("country", "country"),
    ("a1", "A1"),
    ("a2", "A2"),
    ("a3", "A3"),
    ("a4", "A4"),
    ("a5", "A5"),
    ("a6", "A6"),
    ("prm", "PRM"),
    ("prd", "PRD"),
    ("rd", "RD"),
    ("sts", "STS"),
    ("pod", "POD"),
    ("pom", "POM"),
    ("rdsec", "RDSEC"),
    ("rdbr", "RDBR"),
    ("rdsubbr", "RDSUBBR"),
    ("hno", "HNO"),
    ("hns", "HNS"),
    ("lmk", "LMK"),
    ("loc", "LOC"),
    ("flr", "FLR"),
    ("nam", "NAM"),
    ("pc", "PC"),
    ("bld", "BLD"),
    ("unit", "UNIT"),
    ("room", "ROOM"),
    ("seat", "SEAT"),
    ("plc", "PLC"),
    ("pcn", "PCN"),
    ("pobox", "POBOX"),
    ("addcode", "ADDCODE"),
];

/// A `location` table; `None` when it is empty. An address without `country` is in `home`.
pub(super) fn read(mut keys: Keys<'_>, home: Option<Country>) -> Option<Civic> {
    let mut elements: Vec<_> = ELEMENTS
        .iter()
        .filter_map(|&(key, element)| {
            let parsed = match key {
                "country" => keys.parsed(key, country),
                _ => keys.parsed(key, value),
            };
            parsed.map(|At { value, .. }| (element, value))
        })
        .collect();
    let lang = keys.parsed("lang", language).map(|at| at.value);
    keys.finish();
    match (elements.first(), home) {
        (None, _) => return None,
        (Some((first, _)), Some(home)) if *first != "country" => elements.insert(0, ("country", home.as_str().into())),
        (Some(_), _) => {}
    }
    Some(Civic { elements: elements.into(), lang })
}

/// RFC 5139 §3.3: two capital letters.
fn country(text: &str) -> Result<CompactString, Fault> {
    values::country(text).map(|country| country.as_str().into())
}

/// RFC 5139 §3.6: an XML token, so blanks are collapsed.
fn value(text: &str) -> Result<CompactString, Fault> {
    if text.chars().any(|letter| letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}')) {
        return Err("holds characters that XML or a reader would stumble over: no control characters".into());
    }
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let collapsed = CompactString::from(words.join(" "));
    if collapsed.is_empty() {
        return Err("is blank".into());
    }
    if collapsed.len() > limits::CIVIC_VALUE_BYTES {
        return Err(format!("is longer than {} bytes", limits::CIVIC_VALUE_BYTES).into());
    }
    Ok(collapsed)
}

/// A language tag, by its shape (RFC 5646 §2.1).
fn language(text: &str) -> Result<CompactString, Fault> {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let begins_with_letters = text.bytes().take_while(|byte| *byte != b'-').all(|byte| byte.is_ascii_alphabetic());
    if text.len() <= 35 && begins_with_letters && text.split('-').all(is_part) {
        Ok(text.into())
    } else {
        Err(Fault::helped("is not a language tag", r#"as in "en" or "en-US""#))
    }
}
