//! A configured civic address as PIDF-LO (RFC 4119, RFC 5139, RFC 5491).

use crate::config::Civic;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::Writer;
use std::io;

/// Who the location is of, and when it was told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// A pres URI that names nobody but this call.
    pub entity: &'a str,
    /// RFC 3339. It is kept for 24 hours from then, which is what a document without `retention-expiry` says (RFC 4119 §2.2.2).
    pub timestamp: &'a str,
}

/// The document. Nothing in it is of the user but the address.
///
/// # Errors
/// None that a vector in memory would give.
pub fn pidf_lo(civic: &Civic, told: Told<'_>) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::with_capacity(1024));
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("presence")
        .with_attributes([
            ("xmlns", "urn:ietf:params:xml:ns:pidf"),
            ("xmlns:gp", "urn:ietf:params:xml:ns:pidf:geopriv10"),
            ("xmlns:gbp", "urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"),
            ("xmlns:ca", "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr"),
            ("entity", told.entity),
        ])
        .write_inner_content(|writer| {
            // RFC 5491 §3: a `device` would have to name the phone, a `tuple` names nothing.
            writer.create_element("tuple").with_attribute(("id", "sos")).write_inner_content(|writer| {
                writer.create_element("status").write_inner_content(|writer| geopriv(writer, civic))?;
                text(writer, "timestamp", told.timestamp)
            })?;
            Ok(())
        })?;
    Ok(writer.into_inner())
}

fn geopriv(writer: &mut Writer<Vec<u8>>, civic: &Civic) -> io::Result<()> {
    writer.create_element("gp:geopriv").write_inner_content(|writer| {
        writer.create_element("gp:location-info").write_inner_content(|writer| address(writer, civic))?;
        // The call center hands it on to a PSAP.
        writer
            .create_element("gp:usage-rules")
            .write_inner_content(|writer| text(writer, "gbp:retransmission-allowed", "true"))?;
        text(writer, "gp:method", "Manual")
    })?;
    Ok(())
}

fn address(writer: &mut Writer<Vec<u8>>, civic: &Civic) -> io::Result<()> {
    let lang = civic.lang.as_deref().map(|lang| ("xml:lang", lang));
    writer.create_element("ca:civicAddress").with_attributes(lang).write_inner_content(|writer| {
        civic.elements.iter().try_for_each(|(name, value)| text(writer, &format!("ca:{name}"), value))
    })?;
    Ok(())
}

fn text(writer: &mut Writer<Vec<u8>>, name: &str, value: &str) -> io::Result<()> {
    writer.create_element(name).write_text_content(BytesText::new(value))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::config::Country;
    use compact_str::CompactString;
    use proptest::prelude::*;
    use quick_xml::NsReader;
    use quick_xml::events::BytesRef;
    use quick_xml::name::{Namespace, ResolveResult};

    const TOLD: Told<'_> = Told { entity: "pres:+14255551000@192.0.2.1", timestamp: "2026-11-26T15:00:00Z" };

    fn document(civic: &Civic) -> String {
        String::from_utf8(pidf_lo(civic, TOLD).unwrap()).unwrap()
    }

    fn resolved(entity: &BytesRef<'_>) -> char {
        match (entity.resolve_char_ref().unwrap(), entity.as_ref()) {
            (Some(letter), _) => letter,
            (None, "lt") => '<',
            (None, "gt") => '>',
            (None, "amp") => '&',
            (None, "apos") => '\'',
            (None, "quot") => '"',
            (None, other) => panic!("no entity of XML: {other}"),
        }
    }

    /// What a reader of its own finds in `civicAddress`, in document order.
    fn read(document: &str) -> Vec<(String, String)> {
        let mut reader = NsReader::from_str(document);
        reader.config_mut().check_end_names = true;
        let mut found: Vec<(String, String)> = Vec::new();
        let mut is_inside = false;
        loop {
            let (namespace, event) = reader.read_resolved_event().unwrap();
            let civic = Namespace("urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr");
            let is_civic = namespace == ResolveResult::Bound(civic);
            match event {
                Event::Start(start) if is_civic && start.local_name().as_ref() == "civicAddress" => is_inside = true,
                Event::Start(start) if is_civic => found.push((start.local_name().as_ref().into(), String::new())),
                Event::End(end) if is_civic && end.local_name().as_ref() == "civicAddress" => is_inside = false,
                Event::Text(part) if is_inside => found.last_mut().unwrap().1.push_str(part.as_ref()),
                Event::GeneralRef(entity) if is_inside => found.last_mut().unwrap().1.push(resolved(&entity)),
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    #[test]
    fn as_the_rfcs_have_it() {
        let elements = [("country", "US"), ("A1", "WA"), ("RD", "One & Only <\"'>"), ("HNO", "1")];
        let elements = elements.map(|(name, value)| (name, value.into())).into();
        let civic = Civic { elements, lang: Some("en-US".into()) };
        assert_eq!(
            document(&civic),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
             xmlns:gp=\"urn:ietf:params:xml:ns:pidf:geopriv10\" xmlns:gbp=\"urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy\" \
             xmlns:ca=\"urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr\" \
             entity=\"pres:+14255551000@192.0.2.1\"><tuple id=\"sos\"><status><gp:geopriv><gp:location-info>\
             <ca:civicAddress xml:lang=\"en-US\"><ca:country>US</ca:country><ca:A1>WA</ca:A1>\
             <ca:RD>One &amp; Only &lt;&quot;&apos;&gt;</ca:RD><ca:HNO>1</ca:HNO></ca:civicAddress></gp:location-info>\
             <gp:usage-rules><gbp:retransmission-allowed>true</gbp:retransmission-allowed></gp:usage-rules>\
             <gp:method>Manual</gp:method></gp:geopriv></status><timestamp>2026-11-26T15:00:00Z</timestamp></tuple></presence>"
        );
        let country = super::super::country_from_pidf(document(&civic).as_bytes());
        assert_eq!(country, Country::parse(b"US"), "our own reader of countries believes it");
    }

    proptest! {
        /// Any value that the configuration lets in comes out of another parser as it went in.
        #[test]
        fn read_back_equal(values in proptest::collection::vec("[^\\p{C} ][^\\p{C}]{0,40}[^\\p{C} ]|[<>&\"'\\]]{1,9}", 1..8)) {
            let names = ["A1", "A3", "RD", "HNO", "NAM", "LOC", "ADDCODE"];
            let elements: Vec<_> = names.into_iter().zip(values.iter().map(CompactString::from)).collect();
            let expected: Vec<(String, String)> = elements.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect();
            let civic = Civic { elements: elements.into(), lang: None };
            prop_assert_eq!(read(&document(&civic)), expected);
        }
    }
}
