//! The country in a location that came with the call: the civic `<country>` of a PIDF-LO (RFC 4119 §2.2.1, RFC 5139).

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
/// More XML events are not read.
const MOST_EVENTS: usize = 10_000;

/// The country in a message body: a PIDF-LO, or a multipart that holds one at any depth.
pub fn country_from_body(content_type: &[u8], body: &[u8]) -> Option<Country> {
    let part = mime::locate(content_type, body, "application/pidf+xml")?;
    country_from_pidf(body.get(part)?)
}

/// The first civic country in a PIDF-LO document. No entity is expanded, nothing is fetched, and broken XML counts as far as it reads.
pub fn country_from_pidf(body: &[u8]) -> Option<Country> {
    let document = String::from_utf8_lossy(body.get(..LONGEST).unwrap_or(body));
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
