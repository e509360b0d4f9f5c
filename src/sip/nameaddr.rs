//! Addresses in headers: `"Display" <uri>;params` or `uri;params` (RFC 3261 §20.10, §25.1 `name-addr`, `addr-spec`).

use memchr::{memchr, memchr3};

use super::Fault;
use super::params::Params;
use super::text::{is_space, quoted, trim, trim_start};

/// One address with its header parameters, in pieces of the text it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// Without the quotes, escapes left in (`text::unescape`); empty when there is none.
    pub display: &'a [u8],
    /// Without `<` and `>`. Has a scheme; `Uri::parse` says more.
    pub uri: &'a [u8],
    /// Header parameters; those of the URI are inside `uri`.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Parses one value (not a list).
    pub fn parse(value: &'a [u8]) -> Result<Self, Fault> {
        Self::read(trim(value)).ok_or(Fault::Address)
    }

    fn read(text: &'a [u8]) -> Option<Self> {
        if text.first() == Some(&b'"') {
            let (display, rest) = quoted(text)?;
            return Self::bracketed(display, trim_start(rest));
        }
        if let Some((display, rest)) = memchr(b'<', text).and_then(|at| text.split_at_checked(at))
            && memchr3(b',', b';', b'"', display).is_none()
        {
            return Self::bracketed(trim(display), rest);
        }
        // RFC 3261 §20.10: without brackets every `;` starts a header parameter, and `?` and `,` may not appear.
        let end = text.iter().position(|&byte| byte == b';' || is_space(byte)).unwrap_or(text.len());
        let (uri, params) = text.split_at_checked(end)?;
        if memchr(b'?', uri).is_some() {
            return None;
        }
        Self::new(b"", uri, params)
    }

    fn bracketed(display: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        let inside = rest.strip_prefix(b"<")?;
        let close = memchr(b'>', inside)?;
        Self::new(display, inside.get(..close)?, inside.get(close + 1..)?)
    }

    fn new(display: &'a [u8], uri: &'a [u8], params: &'a [u8]) -> Option<Self> {
        let params = Params::checked(params)?;
        absolute(uri).then_some(Self { display, uri, params })
    }

    /// What stands for an address in a message that has no readable one.
    pub(super) const fn none() -> NameAddr<'static> {
        NameAddr { display: b"", uri: b"", params: Params::empty() }
    }

    /// The dialog tag of From and To; `None` when missing or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }
}

/// `scheme ":" something`, with no byte that could end the URI or the line it is printed on.
pub(super) fn absolute(uri: &[u8]) -> bool {
    let stray = |byte: &u8| *byte <= b' ' || *byte == 0x7f || matches!(byte, b'<' | b'>' | b'"');
    let scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    super::text::split_once(uri, b':').is_some_and(|(scheme, rest)| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(scheme_byte)
            && !rest.is_empty()
            && !rest.iter().any(stray)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_forms_phones_send() {
        let a =
            NameAddr::parse(br#""A \"q\" <x>"   <sip:a@b;lr?h=v> ; tag = t1;+sip.instance="<urn:uuid:1>""#).unwrap();
        assert_eq!((a.display, a.uri), (&br#"A \"q\" <x>"#[..], &b"sip:a@b;lr?h=v"[..]));
        assert_eq!(a.tag(), Some(&b"t1"[..]));
        assert_eq!(a.params.value("+sip.instance"), Some(&b"<urn:uuid:1>"[..]));
        let b = NameAddr::parse(b"sip:a@b;tag=7").unwrap();
        assert_eq!((b.display, b.uri, b.tag()), (&b""[..], &b"sip:a@b"[..], Some(&b"7"[..])));
        let c = NameAddr::parse(b"J\xf6rg M.<tel:+43144;phone-context=x>").unwrap();
        assert_eq!((c.display, c.uri, c.tag()), (&b"J\xf6rg M."[..], &b"tel:+43144;phone-context=x"[..], None));
        assert_eq!(NameAddr::parse(b"<urn:service:sos>;tag=").unwrap().tag(), None);
        assert!(NameAddr::parse(b"<sip:a@b>;").is_ok());
    }

    #[test]
    fn what_is_no_address() {
        for bad in [
            "",
            "*",
            "<>",
            "<sip:>",
            "<sip:a@b",
            "\"A <sip:a@b>",
            "A, B <sip:a@b>",
            "<sip:a@b>;;",
            "<sip:a@b>, <sip:c@d>",
            "sip:a@b, sip:c@d",
            "< sip:a@b >",
            "sip:a@b?x=y",
            "<a@b>",
            "<sip:a b@c>",
            "<sip:a@b> x",
            "\"A\" x <sip:a@b>",
            "sip:a@b x",
        ] {
            assert_eq!(NameAddr::parse(bad.as_bytes()), Err(Fault::Address), "{bad}");
        }
    }
}
