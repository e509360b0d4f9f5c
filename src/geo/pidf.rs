//! The country in a location that came with the call: the civic `<country>` of a PIDF-LO (RFC 4119 §2.2.1, RFC 5139).

use std::borrow::Cow;

use super::Country;
use crate::sip::mime;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// RFC 4119 wrote the first, RFC 5139 the second. A document that declares neither is believed by its element names.
const CIVIC: [&str; 2] =
    ["urn:ietf:params:xml:ns:pidf:geopriv10:civicLoc", "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"];
/// More of a body is not read, in bytes.
const LONGEST: usize = 65_535;
/// More documents are not read.
const MOST_DOCUMENTS: usize = 4;
/// More XML events are not read.
const MOST_EVENTS: usize = 10_000;

/// The country in a message body: a PIDF-LO, or a multipart that holds some at any depth. The first that tells one counts.
pub fn country_from_body(content_type: &[u8], body: &[u8]) -> Option<Country> {
    let places = mime::locate_readable(content_type, body, "application/pidf+xml");
    places.into_iter().take(MOST_DOCUMENTS).find_map(|place| country_from_pidf(body.get(place)?))
}

/// The first civic country in a PIDF-LO document. No entity is expanded, nothing is fetched, and broken XML counts as far as it reads.
pub fn country_from_pidf(body: &[u8]) -> Option<Country> {
    let document = decoded(body.get(..LONGEST).unwrap_or(body));
    let mut reader = NsReader::from_str(&document);
    reader.config_mut().check_end_names = false;
    let mut civic_depth = 0_usize;
    let mut text: Option<String> = None;
    for _ in 0..MOST_EVENTS {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let civic = is_civic(&namespace);
        match event {
            Event::Start(start) => match start.local_name().as_ref() {
                "civicAddress" if civic => civic_depth += 1,
                "country" if civic && civic_depth > 0 => text = Some(String::new()),
                _ => {}
            },
            Event::End(end) => match end.local_name().as_ref() {
                "civicAddress" => civic_depth = civic_depth.saturating_sub(1),
                "country" => {
                    if let Some(country) = text.take().and_then(|text| Country::parse(text.as_bytes())) {
                        return Some(country);
                    }
                }
                _ => {}
            },
            Event::Text(part) => text.iter_mut().for_each(|text| text.push_str(part.as_ref())),
            Event::CData(part) => text.iter_mut().for_each(|text| text.push_str(part.as_ref())),
            Event::Eof => return None,
            // An entity in a country code: not one we can believe.
            Event::GeneralRef(_) => text = None,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    None
}

/// UTF-8, or UTF-16 with the mark that has to come first (XML 1.0 §4.3.3).
fn decoded(document: &[u8]) -> Cow<'_, str> {
    let (mark, units) = document.as_chunks::<2>().0.split_first().unwrap_or((&[0, 0], &[]));
    let of_unit = match mark {
        [0xFF, 0xFE] => u16::from_le_bytes,
        [0xFE, 0xFF] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(document),
    };
    char::decode_utf16(units.iter().copied().map(of_unit))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn is_civic(namespace: &ResolveResult<'_>) -> bool {
    match namespace {
        ResolveResult::Bound(Namespace(name)) => CIVIC.contains(name),
        ResolveResult::Unbound | ResolveResult::Unknown(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4119 §4.2, shortened.
    const PIDF: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"
    xmlns:cl="urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr" entity="pres:x@example.com">
 <tuple id="sg89ae"><status><gp:geopriv><gp:location-info>
   <cl:civicAddress>
     <cl:country>dk</cl:country><cl:A1>Hovedstaden</cl:A1>
   </cl:civicAddress>
 </gp:location-info></gp:geopriv></status></tuple>
</presence>"#;

    fn country(text: &str) -> Option<&'static str> {
        let found = country_from_pidf(text.as_bytes())?;
        ["DK", "US", "GB"].into_iter().find(|code| *code == found.as_str())
    }

    #[test]
    fn any_prefix_and_both_namespaces() {
        assert_eq!(country(PIDF), Some("DK"));
        assert_eq!(country(&PIDF.replace("cl:", "ca:").replace("xmlns:cl", "xmlns:ca")), Some("DK"));
        assert_eq!(country(&PIDF.replace("civicAddr\"", "civicLoc\"")), Some("DK"));
        let default = PIDF
            .replace("<cl:civicAddress>", "<civicAddress xmlns=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\">");
        assert_eq!(country(&default.replace("cl:", "").replace("xmlns:=", "xmlns:cl=")), Some("DK"));
        assert_eq!(country("<civicAddress><country> US </country></civicAddress>"), Some("US"));
        assert_eq!(country(&PIDF.replace(">dk<", "><!-- x -->\n<![CDATA[gb]]> <")), Some("GB"));
    }

    #[test]
    fn what_is_not_a_civic_country_is_none() {
        for text in [
            "",
            "no xml",
            "<country>US</country>",
            "<civicAddress><country>USA</country></civicAddress>",
            "<civicAddress><country/></civicAddress>",
            "<civicAddress><country>U&#83;</country></civicAddress>",
            "<!-- <civicAddress><country>US</country></civicAddress> -->",
            "<civicAddress xmlns='urn:other'><country>US</country></civicAddress>",
            "<civicAddress><A1><![CDATA[<country>US</country>]]></A1></civicAddress>",
        ] {
            assert_eq!(country_from_pidf(text.as_bytes()), None, "{text}");
        }
        assert_eq!(country_from_pidf("<a>".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn found_in_a_multipart() {
        let body = format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n{PIDF}\r\n--b--\r\n"
        );
        assert_eq!(country_from_body(b"multipart/mixed;boundary=b", body.as_bytes()), Country::parse(b"DK"));
        assert_eq!(country_from_body(b"application/sdp", body.as_bytes()), None);
        assert_eq!(country_from_body(b"application/pidf+xml; charset=utf-8", PIDF.as_bytes()), Country::parse(b"DK"));
    }

    /// What a phone sends before its address, a point or a picture say, hides it no more than what cannot be read does.
    #[test]
    fn found_behind_others_and_in_utf_16() {
        let point = "<presence><Point><pos>1 2</pos></Point></presence>";
        let part = |head: &str, text: &str| format!("--b\r\nContent-Type: {head}\r\n\r\n{text}\r\n");
        let pidf = part("application/pidf+xml", PIDF);
        for others in [
            part("application/pidf+xml", point),
            part("application/pidf+xml\r\nContent-Transfer-Encoding: base64", "PHg+"),
            part("multipart/mixed", "no boundary"),
        ] {
            let body = others + &pidf;
            assert_eq!(country_from_body(b"multipart/mixed;boundary=b", body.as_bytes()), Country::parse(b"DK"));
            assert_eq!(country_from_body(b"multipart/mixed", body.as_bytes()), Country::parse(b"DK"));
        }
        let units =
            |mark: char| format!("{mark}{}", PIDF.replace("UTF-8", "UTF-16")).encode_utf16().collect::<Vec<_>>();
        for bytes in [|unit: &u16| unit.to_le_bytes(), |unit: &u16| unit.to_be_bytes()] {
            let document: Vec<u8> = units('\u{feff}').iter().flat_map(bytes).collect();
            assert_eq!(country_from_pidf(&document), Country::parse(b"DK"));
            assert_eq!(country_from_pidf(document.get(..201).unwrap_or_default()), None);
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().with_iterations(20_000).with_type::<(u16, u8, Vec<u8>)>().for_each(|(at, cut, insert)| {
            let mut bytes = PIDF.as_bytes().to_vec();
            let at = usize::from(*at) % bytes.len();
            let end = (at + usize::from(*cut)).min(bytes.len());
            bytes.splice(at..end, insert.iter().copied());
            country_from_pidf(&bytes);
            country_from_pidf(insert);
        });
    }
}
