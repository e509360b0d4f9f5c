//! The lexical ground of SIP: white space, tokens, quoted strings, lists (RFC 3261 §25.1).
//!
//! White space in a value is also CR and LF: a line break that survived the scan is a fold (§7.3.1).

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `token` characters (RFC 3261 §25.1).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// One or more token characters.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    text
}

pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// Without white space (folds included) at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Splits at the first `separator`, which belongs to neither side.
pub(super) fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = text.split_at_checked(memchr(separator, text)?)?;
    Some((before, rest.get(1..)?))
}

/// A header value on one line: each fold becomes one space (RFC 3261 §7.3.1). Copies only when there is a fold.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut flat = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        flat.extend_from_slice(trim_end(before));
        rest = trim_start(after);
        if !flat.is_empty() && !rest.is_empty() {
            flat.push(b' ');
        }
    }
    flat.extend_from_slice(rest);
    Cow::Owned(flat)
}

/// The first CRLF that is no fold (RFC 3261 §7.3.1).
pub(super) fn line_end(text: &[u8]) -> Option<usize> {
    let mut breaks = memchr::memmem::find_iter(text, b"\r\n");
    breaks.find(|at| !matches!(text.get(at + 2), Some(b' ' | b'\t')))
}

/// Digits only, one or more, no more than fit.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    text.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(byte)?))
}

/// `text` starts with `"`: what is between the quotes (escapes left in), and what follows. `None` when it never closes.
pub(super) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', inside.get(at..)?)?;
        if inside.get(at) == Some(&b'"') {
            return Some((inside.get(..at)?, inside.get(at + 1..)?));
        }
        at += 2; // a quoted-pair
    }
}

/// The inside of a quoted-string without its `\` escapes.
pub fn unescape(inside: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'\\' { bytes.next().copied() } else { Some(byte) };
        plain.extend(byte);
    }
    Cow::Owned(plain)
}

/// The values of a comma-separated line, trimmed, empty ones left out; commas in quotes and in `<>` do not separate.
pub(super) fn values(line: &[u8]) -> Values<'_> {
    Values { rest: line }
}

/// The values of a line such as Route has them.
pub fn list_values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    values(line)
}

#[derive(Clone)]
pub(super) struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = value_end(self.rest);
            let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
            self.rest = rest.get(1..).unwrap_or_default();
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
        None
    }
}

/// Where the first value of a list ends: at its comma or at the end.
pub(super) fn value_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(step) = text.get(at..).and_then(|rest| memchr3(b',', b'"', b'<', rest)) {
        at += step;
        let rest = text.get(at..).unwrap_or_default();
        at += match rest.first() {
            Some(b'"') => match quoted(rest) {
                Some((_, after)) => rest.len() - after.len(),
                None => return text.len(),
            },
            Some(b'<') => memchr(b'>', rest).map_or(1, |close| close + 1),
            _ => return at,
        };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folds_become_one_space() {
        assert_eq!(&*unfold(b"a\r\n  b \r\n\tc"), b"a b c");
        assert!(matches!(unfold(b"a b"), Cow::Borrowed(_)));
        assert_eq!(&*unfold(b"\r\n a\r\n "), b"a");
    }

    #[test]
    fn numbers_have_digits_only_and_fit() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"-1"), None);
        assert_eq!(decimal(b"18446744073709551616"), None);
    }

    #[test]
    fn quoted_strings_close_where_they_close() {
        assert_eq!(quoted(br#""a\"b" x"#).unwrap(), (&br#"a\"b"#[..], &b" x"[..]));
        assert_eq!(quoted(br#""a\"#), None);
        assert_eq!(quoted(br#""a\""#), None);
        assert_eq!(&*unescape(br#"a\"b\\"#), br#"a"b\"#);
    }

    #[test]
    fn lists_split_at_top_level_commas_only() {
        let list = br#" "a,b" <sip:c,d@e>;x="," ,, <sip:f>, sip:g "#;
        let split: Vec<_> = values(list).collect();
        assert_eq!(split, [&br#""a,b" <sip:c,d@e>;x=",""#[..], b"<sip:f>", b"sip:g"]);
        assert_eq!(values(b" , ").count(), 0);
        assert_eq!(values(b"\"open, x").count(), 1);
    }
}
