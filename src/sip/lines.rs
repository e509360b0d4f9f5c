//! Header lines made in one place and printed in another.

use super::text::{is_token, unfold};

/// Whole header lines, each with its CRLF. A value can never start a line of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Adds `name: value`; nothing when `name` is no token.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> &mut Self {
        if !is_token(name) {
            return self;
        }
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        let tame = |byte: &u8| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte };
        self.0.extend(unfold(value).iter().map(tame));
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_value_starts_no_line_and_a_bad_name_adds_none() {
        let mut lines = Lines::default();
        lines.push(b"X-Site", b"a\r\nVia: b\0").push(b"no token", b"x").push(b"Subject", b"one\r\n two");
        assert_eq!(lines.as_bytes(), b"X-Site: a Via: b \r\nSubject: one two\r\n");
    }
}
