//! Our branches (RFC 3261 §8.1.1.7): cookie, the place of the client transaction in its table, and a random part.
//! A response finds its transaction without a hash, and nobody who did not see the request can make one up.

use std::fmt;

use slotmap::{Key, KeyData};

use super::ClientId;
use crate::base::Rng;

/// The magic cookie of RFC 3261 §8.1.1.7.
pub(super) const COOKIE: &[u8] = b"z9hG4bK";

/// The branch parameter of a Via of ours; its `Display` is the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    pub(super) place: u64,
    pub(super) random: u64,
}

impl Branch {
    pub(super) fn new(id: ClientId, rng: &mut Rng) -> Self {
        Self { place: id.data().as_ffi(), random: rng.u64() }
    }

    /// A branch of no transaction: for the ACK of a 2xx, which nobody answers (RFC 3261 §13.2.2.4).
    pub fn of_ack(rng: &mut Rng) -> Self {
        Self { place: 0, random: rng.u64() }
    }

    /// Reads back what `Display` wrote; `None` for anything else.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (place, random) = text.strip_prefix(COOKIE)?.split_at_checked(16)?;
        Some(Self { place: hex(place)?, random: hex(random)? })
    }

    pub(super) fn id(self) -> ClientId {
        KeyData::from_ffi(self.place).into()
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "z9hG4bK{:016x}{:016x}", self.place, self.random)
    }
}

/// Exactly 16 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    if digits.len() != 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_back_what_it_wrote_and_nothing_else() {
        let mut rng = Rng::from_u64(1);
        let branch = Branch::new(KeyData::from_ffi(0x0000_0003_0000_0007).into(), &mut rng);
        let text = branch.to_string();
        assert!(text.starts_with("z9hG4bK0000000300000007"), "{text}");
        assert_eq!(Branch::parse(text.as_bytes()), Some(branch));
        assert_eq!(Branch::parse(text.as_bytes()).unwrap().id().data().as_ffi(), branch.place);
        for bad in ["", "z9hG4bK", "z9hG4bK00", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert_eq!(Branch::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Branch::parse(text.to_uppercase().as_bytes()), None);
    }
}
