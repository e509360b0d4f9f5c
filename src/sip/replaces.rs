//! Replaces (RFC 3891 §6.1): the header that names a dialog of the peer's, in an INVITE or inside a Refer-To (RFC 5589 §7).

use memchr::memchr;

use super::params::Params;
use super::text::{is_token, trim};

/// A dialog as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    pub call_id: &'a [u8],
    /// Tag of the side that gets this header.
    pub to_tag: &'a [u8],
    pub from_tag: &'a [u8],
    /// Only while it is not answered.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// `None` without exactly one Call-ID and one tag of each side.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (call_id, params) = value.split_at_checked(memchr(b';', value)?)?;
        let (call_id, params) = (trim(call_id), Params::new(params));
        let only = |name: &str| {
            let mut found = params.iter().filter(|param| param.name.eq_ignore_ascii_case(name.as_bytes()));
            let tag = found.next()?.value.filter(|tag| is_token(tag))?;
            found.next().is_none().then_some(tag)
        };
        let is_word = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
        (!call_id.is_empty() && call_id.iter().all(is_word)).then_some(())?;
        let (to_tag, from_tag) = (only("to-tag")?, only("from-tag")?);
        Some(Self { call_id, to_tag, from_tag, early_only: params.has("early-only") })
    }

    /// The value of the header.
    pub fn print(&self) -> Vec<u8> {
        let early: &[u8] = if self.early_only { b";early-only" } else { b"" };
        [self.call_id, b";to-tag=", self.to_tag, b";from-tag=", self.from_tag, early].concat()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_of_rfc_3891() {
        let found = Replaces::parse(b"98732@sip.example.com\t;from-tag=r33th4x0r ;to-tag=ff87ff").unwrap();
        let expected = Replaces {
            call_id: b"98732@sip.example.com",
            to_tag: b"ff87ff",
            from_tag: b"r33th4x0r",
            early_only: false,
        };
        assert_eq!(found, expected);
        let found = Replaces::parse(b"12adf2f34456gs5;to-tag=12345;from-tag=54321;early-only").unwrap();
        assert!(found.early_only);
        assert_eq!(found.print(), b"12adf2f34456gs5;to-tag=12345;from-tag=54321;early-only");
    }

    #[test]
    fn what_names_no_dialog() {
        for bad in [
            "",
            "c",
            "c;to-tag=1",
            "c;from-tag=1",
            ";to-tag=1;from-tag=2",
            "c;to-tag=1;from-tag=2;to-tag=3",
            "c;to-tag=;from-tag=2",
            "c;to-tag=\"1\r\nVia: x\";from-tag=2",
            "c d;to-tag=1;from-tag=2",
            "c, d;to-tag=1;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
