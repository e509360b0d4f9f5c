//! Countries (ISO 3166-1 alpha-2) and the numbers they dial for help: the built-in rows (SPEC §1).

use compact_str::CompactString;
use std::fmt;
use std::str::FromStr;

/// An ISO 3166-1 alpha-2 code: two capital letters. The shape is checked, not whether the country exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// A text that is not a country code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two letters, as in ISO 3166-1 alpha-2 (\"US\")")]
pub struct NotACountry;

impl Country {
    pub const US: Self = Self(*b"US");
    pub const PR: Self = Self(*b"PR");
    pub const CA: Self = Self(*b"CA");
    pub const GB: Self = Self(*b"GB");
    pub const DK: Self = Self(*b"DK");

    /// Reads a code in either case; surrounding blanks are ignored, since it may come from a header or from XML.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let [first, second] = text.trim_ascii() else { return None };
        let letters = first.is_ascii_alphabetic() && second.is_ascii_alphabetic();
        let code = Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]);
        // Reserved for the United Kingdom, which many know by no other.
        letters.then_some(if code.0 == *b"UK" { Self::GB } else { code })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// The country whose rules hold in a territory: GU, VI, MP and AS are treated as US; PR keeps its own code (SPEC §1).
    pub fn normalised(self) -> Self {
        match &self.0 {
            b"GU" | b"VI" | b"MP" | b"AS" => Self::US,
            _ => self,
        }
    }
}

impl FromStr for Country {
    type Err = NotACountry;

    fn from_str(text: &str) -> Result<Self, NotACountry> {
        Self::parse(text.as_bytes()).ok_or(NotACountry)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a dialled service number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberKind {
    Emergency,
    /// Reads the temporary number back (SPEC §7).
    Test,
}

/// One supported country: a row of the table of SPEC §1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryRow {
    pub code: Country,
    /// The digits dialled for help; the first is the one a foreign emergency number becomes.
    pub emergency: Vec<CompactString>,
    /// The digits dialled for a test call; may be empty.
    pub test: Vec<CompactString>,
    /// ITU country code, digits only: `1` for US, PR and CA.
    pub dial_code: CompactString,
}

/// The rows known without any configuration; `[[countries]]` replaces or adds rows.
const BUILT_IN: [(Country, &[&str], &[&str], &str); 5] = [
    (Country::US, &["911"], &["933"], "1"),
    (Country::PR, &["911"], &[], "1"),
    (Country::CA, &["911"], &[], "1"),
    (Country::GB, &["999", "112"], &[], "44"),
    (Country::DK, &["112"], &[], "45"),
];

impl CountryRow {
    pub(crate) fn built_in() -> Vec<Self> {
        let texts = |numbers: &[&str]| numbers.iter().copied().map(CompactString::from).collect();
        BUILT_IN
            .iter()
            .map(|&(code, emergency, test, dial_code)| Self {
                code,
                emergency: texts(emergency),
                test: texts(test),
                dial_code: dial_code.into(),
            })
            .collect()
    }

    /// What `digits` are for in this country, if anything.
    pub fn kind_of(&self, digits: &str) -> Option<NumberKind> {
        if self.emergency.iter().any(|number| number == digits) {
            return Some(NumberKind::Emergency);
        }
        self.test.iter().any(|number| number == digits).then_some(NumberKind::Test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule 1.4a.
    #[test]
    fn codes_are_two_letters_in_either_case() {
        assert_eq!(Country::parse(b" us "), Some(Country::US));
        assert_eq!("gb".parse::<Country>().map(|c| c.to_string()), Ok("GB".to_owned()));
        for bad in ["", "U", "USA", "U1", "ÜS"] {
            assert_eq!(bad.parse::<Country>(), Err(NotACountry), "{bad}");
        }
    }

    /// Rules 1.5a, 1.5b.
    #[test]
    fn territories_are_treated_as_the_united_states_except_puerto_rico() {
        for territory in [b"GU", b"VI", b"MP", b"AS"] {
            assert_eq!(Country(*territory).normalised(), Country::US);
        }
        assert_eq!(Country::PR.normalised(), Country::PR);
        assert_eq!(Country::DK.normalised(), Country::DK);
    }
}
