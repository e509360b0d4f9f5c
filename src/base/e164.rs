//! Public telephone numbers (ITU-T E.164): at most 15 digits, no leading zero.

use std::fmt;
use std::str::FromStr;

/// An E.164 number; prints as `+14255550100`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(u64);

/// Why a text is not an E.164 number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotE164 {
    #[error("an E.164 number starts with `+`")]
    NoPlus,
    #[error("an E.164 number has digits only, after the `+`")]
    NotADigit,
    #[error("an E.164 number has 2 to 15 digits and does not start with 0")]
    Length,
}

impl E164 {
    /// Below every number in use: where a range over an ordered set of numbers begins.
    pub const MIN: Self = Self(10);
    /// The longest there can be.
    pub const MAX: Self = Self(999_999_999_999_999);

    /// From the digits without `+`. `None` when longer than 15 digits or shorter than two.
    pub const fn from_digits(digits: u64) -> Option<Self> {
        if digits < 10 || digits > Self::MAX.0 { None } else { Some(Self(digits)) }
    }

    /// The digits as a number: ranges of a pool are ranges of this.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// Parses what peers send: `+` optional, visual separators of RFC 3966 (`-`, `.`, `(`, `)`) ignored.
    pub fn from_dialled(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"+").unwrap_or(text);
        let mut digits: u64 = 0;
        let mut count = 0;
        for &byte in text {
            match byte {
                b'0'..=b'9' => {
                    if count == 15 || (count == 0 && byte == b'0') {
                        return None;
                    }
                    digits = digits * 10 + u64::from(byte - b'0');
                    count += 1;
                }
                b'-' | b'.' | b'(' | b')' => {}
                _ => return None,
            }
        }
        Self::from_digits(digits)
    }
}

impl FromStr for E164 {
    type Err = NotE164;

    /// The strict form used in configuration: `+` and digits, nothing else.
    fn from_str(text: &str) -> Result<Self, NotE164> {
        let digits = text.strip_prefix('+').ok_or(NotE164::NoPlus)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotE164::NotADigit);
        }
        Self::from_dialled(digits.as_bytes()).ok_or(NotE164::Length)
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for E164 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for E164 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_form() {
        assert_eq!("+14255550100".parse::<E164>().map(|n| n.to_string()), Ok("+14255550100".to_owned()));
        assert_eq!("14255550100".parse::<E164>(), Err(NotE164::NoPlus));
        assert_eq!("+1425-555".parse::<E164>(), Err(NotE164::NotADigit));
        assert_eq!("+0123".parse::<E164>(), Err(NotE164::Length));
        assert_eq!("+1234567890123456".parse::<E164>(), Err(NotE164::Length));
        assert_eq!("+".parse::<E164>(), Err(NotE164::Length));
    }

    #[test]
    fn dialled_form_ignores_visual_separators() {
        assert_eq!(E164::from_dialled(b"+1(425)555-01.00"), "+14255550100".parse().ok());
        assert_eq!(E164::from_dialled(b"1425#"), None);
        assert_eq!(E164::from_dialled(b"alice"), None);
    }
}
