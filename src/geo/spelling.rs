//! The ways a number or a service is written in a URI, made one (SPEC §1, RFC 3261 §19.1, RFC 3966, RFC 5031).

use crate::config::NumberKind;
use crate::sip::uri::unescape;
use compact_str::CompactString;

pub(super) const SOS: &str = "urn:service:sos";
pub(super) const TEST_SOS: &str = "urn:service:test.sos";

/// The sub-services of `sos` that are registered (RFC 5031 §4.2, RFC 8147 §9.1); any other counts as `sos`.
const SUB_SERVICES: [&str; 11] = [
    "ambulance",
    "animal-control",
    "ecall.automatic",
    "ecall.manual",
    "fire",
    "gas",
    "marine",
    "mountain",
    "physician",
    "poison",
    "police",
];

/// Longer user parts are no emergency numbers, in bytes.
const LONGEST_USER: usize = 256;
/// Most digits of a dialled emergency number with its prefix or country code.
const MOST_DIGITS: usize = 24;

pub(super) enum Spelling {
    Urn { kind: NumberKind, urn: CompactString },
    Number(Number),
}

/// Dialled digits without separators.
pub(super) struct Number {
    pub plus: bool,
    pub digits: CompactString,
}

/// Reads a URI, or a bare user part. `None`: neither digits nor a service.
pub(super) fn read(uri: &[u8]) -> Option<Spelling> {
    let uri = uri.trim_ascii();
    let Some(colon) = memchr::memchr(b':', uri) else { return read_user(uri).map(Spelling::Number) };
    let (scheme, rest) = (uri.get(..colon)?, uri.get(colon + 1..)?);
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("sip") || is("sips") => {
            let user = rest.get(..memchr::memchr(b'@', rest)?)?;
            read_user(user).map(Spelling::Number)
        }
        () if is("tel") => read_user(rest).map(Spelling::Number),
        () if is("urn") => read_urn(rest),
        () => None,
    }
}

/// The digits of a user part: escapes decoded, parameters (`;phone-context=…`) and password cut, visual separators
/// (RFC 3966 §5.1.1) and blanks dropped, and the `#` that some phones send behind a number. `None` when anything else is in it.
pub(super) fn read_user(user: &[u8]) -> Option<Number> {
    if user.len() > LONGEST_USER {
        return None;
    }
    let user = unescape(user);
    let mut number = Number { plus: false, digits: CompactString::default() };
    let end = user.iter().position(|&byte| byte == b';' || byte == b':').unwrap_or(user.len());
    let dialled = user.get(..end).unwrap_or_default().trim_ascii();
    for &byte in dialled.strip_suffix(b"#").unwrap_or(dialled) {
        match byte {
            b'0'..=b'9' if number.digits.len() < MOST_DIGITS => number.digits.push(char::from(byte)),
            b'+' if number.digits.is_empty() && !number.plus => number.plus = true,
            b'-' | b'.' | b'(' | b')' | b' ' => {}
            _ => return None,
        }
    }
    (!number.digits.is_empty()).then_some(number)
}

/// What follows `urn:`. Case does not matter (RFC 5031 §4); `?`, `#` and `;` start components that do not either.
fn read_urn(rest: &[u8]) -> Option<Spelling> {
    let end = rest.iter().position(|byte| b"?#;".contains(byte)).unwrap_or(rest.len());
    let name = rest.get(..end)?.to_ascii_lowercase();
    let service = name.strip_prefix(b"service:")?;
    let labels = |service: &[u8], top: &[u8]| match service.strip_prefix(top)? {
        [] => Some(Vec::new()),
        [b'.', sub @ ..] => Some(sub.to_vec()),
        _ => None,
    };
    if labels(service, b"test.sos").is_some() {
        return Some(Spelling::Urn { kind: NumberKind::Test, urn: TEST_SOS.into() });
    }
    let sub = labels(service, b"sos")?;
    let known = SUB_SERVICES.iter().find(|known| known.as_bytes() == sub);
    let urn = known.map_or(SOS.into(), |known| compact_str::format_compact!("{SOS}.{known}"));
    Some(Spelling::Urn { kind: NumberKind::Emergency, urn })
}
