//! Bencode (BEP 3), bounded. serde_bencode nests as deep as a datagram says, and bendy wants sorted keys, which rtpengine does not
//! send; hence this.

use std::fmt;

/// Lists and dictionaries inside each other.
const DEPTH: usize = 16;
/// Values in one datagram.
const VALUES: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Integer(i64),
    /// Any bytes.
    Text(&'a [u8]),
    List(Vec<Self>),
    /// In the order they stand.
    Table(Vec<(&'a [u8], Self)>),
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends in the middle of a value.
    Short,
    /// A byte where no value can begin, or a key that is no text.
    Strange(u8),
    Number,
    /// More than [`DEPTH`] levels.
    Deep,
    /// More than [`VALUES`] values.
    Many,
    /// Something comes after the value.
    Rest,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("bencode that ends too early"),
            Self::Strange(byte) => write!(f, "bencode with the byte 0x{byte:02x} where a value begins"),
            Self::Number => f.write_str("bencode with a number that is none"),
            Self::Deep => write!(f, "bencode nested deeper than {DEPTH}"),
            Self::Many => write!(f, "bencode of more than {VALUES} values"),
            Self::Rest => f.write_str("bencode with more behind it"),
        }
    }
}

impl<'a> Value<'a> {
    /// Reads one value that fills `text`.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn read(text: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader { rest: text, left: VALUES };
        let value = reader.value(DEPTH)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(Fault::Rest) }
    }

    pub fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Integer(number) => into.extend_from_slice(format!("i{number}e").as_bytes()),
            Self::Text(text) => write_text(text, into),
            Self::List(items) => {
                into.push(b'l');
                items.iter().for_each(|item| item.write(into));
                into.push(b'e');
            }
            Self::Table(rows) => {
                into.push(b'd');
                for (key, value) in rows {
                    write_text(key, into);
                    value.write(into);
                }
                into.push(b'e');
            }
        }
    }

    /// The value of a key of a dictionary; the first, if it is there twice.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.rows().iter().find(|(known, _)| *known == key.as_bytes()).map(|(_, value)| value)
    }

    pub fn rows(&self) -> &[(&'a [u8], Self)] {
        if let Self::Table(rows) = self { rows } else { &[] }
    }

    pub fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    pub fn text(&self) -> Option<&'a [u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A count; below zero it is none.
    pub fn count(&self) -> Option<u64> {
        if let Self::Integer(number) = self { u64::try_from(*number).ok() } else { None }
    }
}

fn write_text(text: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("{}:", text.len()).as_bytes());
    into.extend_from_slice(text);
}

struct Reader<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        self.left = self.left.checked_sub(1).ok_or(Fault::Many)?;
        let (first, rest) = self.rest.split_first().ok_or(Fault::Short)?;
        match first {
            b'0'..=b'9' => self.text().map(Value::Text),
            b'i' => {
                self.rest = rest;
                let digits = self.until(b'e')?;
                let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
                digits.and_then(|digits| digits.parse().ok()).map(Value::Integer).ok_or(Fault::Number)
            }
            b'l' | b'd' => {
                let depth = depth.checked_sub(1).ok_or(Fault::Deep)?;
                self.rest = rest;
                if *first == b'l' { self.list(depth) } else { self.table(depth) }
            }
            byte => Err(Fault::Strange(*byte)),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        let mut items = Vec::new();
        while !self.ends() {
            items.push(self.value(depth)?);
        }
        Ok(Value::List(items))
    }

    fn table(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        let mut rows = Vec::new();
        while !self.ends() {
            let key = match self.rest.first().ok_or(Fault::Short)? {
                b'0'..=b'9' => self.text()?,
                byte => return Err(Fault::Strange(*byte)),
            };
            rows.push((key, self.value(depth)?));
        }
        Ok(Value::Table(rows))
    }

    fn ends(&mut self) -> bool {
        let ended = self.rest.strip_prefix(b"e");
        self.rest = ended.unwrap_or(self.rest);
        ended.is_some()
    }

    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let digits = self.until(b':')?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let length: usize = std::str::from_utf8(digits)
            .ok()
            .filter(|_| is_number)
            .and_then(|digits| digits.parse().ok())
            .ok_or(Fault::Number)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(text)
    }

    /// A number and its end; no number is longer than 20 digits.
    fn until(&mut self, end: u8) -> Result<&'a [u8], Fault> {
        let at = self.rest.iter().take(21).position(|byte| *byte == end);
        let at = at.ok_or(if self.rest.len() > 20 { Fault::Number } else { Fault::Short })?;
        let (digits, rest) = self.rest.split_at(at);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(digits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_rtpengine_sends_is_read_and_what_is_broken_is_named() {
        let reply = Value::read(b"d3:sdp4:v=0\xff6:result2:ok4:datali-1eee").unwrap();
        assert_eq!(reply.get("sdp").unwrap().text(), Some(&b"v=0\xff"[..]));
        assert_eq!(reply.get("data").unwrap().items(), [Value::Integer(-1)]);
        let deep = [b"l".repeat(60_000), b"e".repeat(60_000)].concat();
        let many = [&b"l"[..], &b"0:".repeat(5000), b"e"].concat();
        let cases: [(&[u8], Fault); 12] = [
            (b"", Fault::Short),
            (b"d6:result", Fault::Short),
            (b"9:short", Fault::Short),
            (b"99999999999999999999999:x", Fault::Number),
            (b"18446744073709551615:x", Fault::Short),
            (b"i12", Fault::Short),
            (b"i1-e", Fault::Number),
            (b"i+1e", Fault::Number),
            (b"di1e1:xe", Fault::Strange(b'i')),
            (b"x", Fault::Strange(b'x')),
            (b"i1ei2e", Fault::Rest),
            (&deep, Fault::Deep),
        ];
        for (text, fault) in cases {
            assert_eq!(Value::read(text), Err(fault), "{}", text.escape_ascii());
        }
        assert_eq!(Value::read(&many), Err(Fault::Many));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(proptest::sample::select(b"dlie0123:-x\xff".to_vec()), 0..64)) {
            if let Ok(value) = Value::read(&text) {
                let mut again = Vec::new();
                value.write(&mut again);
                proptest::prop_assert_eq!(Value::read(&again).unwrap(), value);
            }
        }
    }
}
