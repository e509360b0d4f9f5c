//! Parameters: `;a=b;c="d"` after an address, a Via, a URI, a media type (RFC 3261 §7.3.1, §25.1 `generic-param`).

use memchr::{memchr, memchr2};

use super::text::{quoted, trim, trim_end, trim_start};

/// The text from the first `;` on, read on demand. Duplicates: the first one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a [u8],
}

/// One parameter. `value` is without quotes (escapes left in); `None` for a flag such as `;lr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
    /// As it came, without the `;`.
    pub raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Over text that is empty or starts with `;`. Nothing is checked: `iter` passes over what is no parameter.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text: trim(text) }
    }

    /// Over text that must be well-formed: no empty parameter (one `;` at the end is forgiven), no stray bytes.
    pub(super) fn checked(text: &'a [u8]) -> Option<Self> {
        let params = Self::new(text);
        let mut rest = params.text;
        while !rest.is_empty() {
            let inner = rest.strip_prefix(b";")?;
            let (param, after) = split(inner);
            let forgiven = after.is_empty() && trim(param).is_empty();
            if !forgiven && !well_formed(param) {
                return None;
            }
            rest = after;
        }
        Some(params)
    }

    pub(super) const fn empty() -> Params<'static> {
        Params { text: b"" }
    }

    /// All of it, from the first `;` on.
    pub fn raw(&self) -> &'a [u8] {
        self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// `None`: not there. `Some(None)`: there without a value. Names are case-insensitive.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find(|param| param.name.eq_ignore_ascii_case(name.as_bytes())).map(|param| param.value)
    }

    /// The value of a parameter that is there and has one.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name).flatten()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            while let Some(inner) = rest.strip_prefix(b";") {
                let (raw, after) = split(inner);
                rest = after;
                let param = read(raw);
                if !param.name.is_empty() {
                    return Some(param);
                }
            }
            None
        })
    }
}

/// At the next `;` outside quotes: what is before it, and the rest from it on.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(step) = text.get(at..).and_then(|rest| memchr2(b';', b'"', rest)) {
        at += step;
        let rest = text.get(at..).unwrap_or_default();
        if rest.first() == Some(&b';') {
            return text.split_at_checked(at).unwrap_or((text, &[]));
        }
        match quoted(rest) {
            Some((_, after)) => at += rest.len() - after.len(),
            None => break,
        }
    }
    (text, &[])
}

fn read(raw: &[u8]) -> Param<'_> {
    let raw = trim(raw);
    let Some((name, value)) = super::text::split_once(raw, b'=') else {
        return Param { name: raw, value: None, raw };
    };
    let value = trim_start(value);
    let value = quoted(value).map_or(value, |(inside, _)| inside);
    Param { name: trim_end(name), value: Some(value), raw }
}

/// `token [ = ( token / host / quoted-string ) ]`, wide enough for what peers send in the values.
fn well_formed(raw: &[u8]) -> bool {
    let raw = trim(raw);
    let (name, value) = super::text::split_once(raw, b'=').unwrap_or((raw, b"-"));
    let (name, value) = (trim_end(name), trim_start(value));
    let stray = |byte: &u8| *byte <= b' ' || matches!(byte, b'"' | b',' | b'<' | b'>');
    if name.is_empty() || name.iter().any(stray) {
        return false;
    }
    match quoted(value) {
        Some((inside, after)) => trim(after).is_empty() && memchr(0, inside).is_none(),
        None => !value.iter().any(|&byte| byte <= b' ' || matches!(byte, b'"' | b',')),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_flags_quotes_and_white_space() {
        let params = Params::checked(b" ; tag = a1 ;\r\n lr;+sip.instance=\"<urn:uuid;,\\\">\" ;expires=60").unwrap();
        assert_eq!(params.get("TAG"), Some(Some(&b"a1"[..])));
        assert_eq!(params.get("lr"), Some(None));
        assert_eq!(params.value("+sip.instance"), Some(&br#"<urn:uuid;,\">"#[..]));
        assert_eq!(params.value("expires"), Some(&b"60"[..]));
        assert_eq!(params.get("q"), None);
    }

    #[test]
    fn one_trailing_semicolon_is_forgiven_an_empty_parameter_is_not() {
        assert!(Params::checked(b";a;").is_some());
        assert!(Params::checked(b";;").is_none());
        assert!(Params::checked(b";a;;b").is_none());
        assert!(Params::checked(b";a b").is_none());
        assert!(Params::checked(b";a=b c").is_none());
        assert!(Params::checked(b";a=\"b").is_none());
        assert!(Params::checked(b";a=\"b\" c").is_none());
        assert!(Params::checked(b"x;a").is_none());
        assert!(Params::checked(b";a=b, c").is_none());
    }
}
