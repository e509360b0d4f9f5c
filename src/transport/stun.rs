//! STUN on the SIP port, as far as keep-alives of phones need it (RFC 5626 §8, RFC 8489): a Binding request gets a Binding
//! response. No credentials, no state; nothing is ever sent that was not asked for, and nothing to anybody else.
//!
//! The small crates of the field bring clients, TURN or their own sockets along; this is one message each way.

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_RESPONSE: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// What a Binding request may carry that need not be looked at here: USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, and their like
/// of RFC 8489. This server asks for no credentials.
const CREDENTIALS: [u16; 8] = [0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x001F];
/// Attributes below this must be understood (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;
/// Most unknown attributes that are named in an error.
const NAMED: usize = 8;

/// True for what is STUN and no SIP: SIP begins with a letter (RFC 5626 §8).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER
        && datagram.first().is_some_and(|first| *first < 4)
        && datagram.get(4..8) == Some(&MAGIC_COOKIE)
}

/// The answer to a Binding request from `source`; `None` for everything else, which is dropped (RFC 8489 §6.3).
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let (header, attributes) = datagram.split_at_checked(HEADER).filter(|_| is_stun(datagram))?;
    let is_whole = word(header, 2).map(usize::from) == Some(attributes.len()) && attributes.len() % 4 == 0;
    if word(header, 0) != Some(BINDING_REQUEST) || !is_whole {
        return None;
    }
    let mut unknown = Vec::new();
    let mut has_fingerprint = false;
    let mut at = 0;
    while at < attributes.len() {
        let (kind, length) = (word(attributes, at)?, usize::from(word(attributes, at + 2)?));
        let value = attributes.get(at + 4..at + 4 + length)?;
        match kind {
            FINGERPRINT => {
                let sum = fingerprint(datagram.get(..HEADER + at)?);
                // RFC 8489 §7.3: it is the last attribute, and it fits, or this is no STUN message.
                if value != sum || HEADER + at + 8 != datagram.len() {
                    return None;
                }
                has_fingerprint = true;
            }
            kind if kind < OPTIONAL && !CREDENTIALS.contains(&kind) && unknown.len() < NAMED => unknown.push(kind),
            _ => {}
        }
        at += 4 + length.next_multiple_of(4);
    }
    let mut answer = Vec::with_capacity(64);
    let is_error = !unknown.is_empty();
    answer.extend_from_slice(&if is_error { BINDING_ERROR } else { BINDING_RESPONSE }.to_be_bytes());
    answer.extend_from_slice(&[0, 0]);
    answer.extend_from_slice(header.get(4..)?);
    if is_error {
        // RFC 8489 §6.3.1.
        push(&mut answer, ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
        push(&mut answer, UNKNOWN_ATTRIBUTES, &unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect::<Vec<_>>());
    } else {
        push(&mut answer, XOR_MAPPED_ADDRESS, &xor_mapped(header.get(4..)?, source));
    }
    if has_fingerprint {
        set_length(&mut answer, 8);
        let sum = fingerprint(&answer);
        push(&mut answer, FINGERPRINT, &sum);
    }
    set_length(&mut answer, 0);
    Some(answer)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    pair.try_into().ok().map(u16::from_be_bytes)
}

/// One attribute, padded (RFC 8489 §14).
fn push(answer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    answer.extend_from_slice(&kind.to_be_bytes());
    answer.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    answer.extend_from_slice(value);
    answer.resize(answer.len().next_multiple_of(4), 0);
}

/// Writes the length of the attributes, and of `more` bytes that are to come, into the header.
fn set_length(answer: &mut [u8], more: usize) {
    let length = u16::try_from(answer.len() - HEADER + more).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = answer.get_mut(2..4) {
        place.copy_from_slice(&length);
    }
}

/// RFC 8489 §14.2; `mask`: magic cookie and transaction id.
fn xor_mapped(mask: &[u8], source: SocketAddr) -> Vec<u8> {
    let (family, octets) = match source.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = source.port().to_be_bytes();
    let masked = |bytes: &[u8]| bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>();
    [vec![0, family], masked(&port), masked(&octets)].concat()
}

/// RFC 8489 §14.7.
fn fingerprint(message: &[u8]) -> [u8; 4] {
    (crc32(message) ^ 0x5354_554e).to_be_bytes()
}

/// CRC-32 of ITU V.42, bit by bit: once for a message of some thirty bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const ID: &[u8; 12] = b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&[0, 1][..], &length, &MAGIC_COOKIE, ID, attributes].concat()
    }

    #[test]
    fn na_3_addresses_of_the_test_vectors() {
        // RFC 5769 §2.2 and §2.3: the same transaction id and addresses.
        let at = |source: &str| answer(&request(&[]), source.parse().unwrap()).unwrap();
        let four = at("192.0.2.1:32853");
        assert_eq!(four[..8], [1, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(&four[8..20], ID);
        assert_eq!(four[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!(at("[::ffff:192.0.2.1]:32853"), four, "a dual-stack socket");
        let six = at("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
        assert_eq!(six[20..26], [0, 0x20, 0, 20, 0, 2]);
        let mapped = b"\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        assert_eq!(&six[26..], mapped);
    }

    #[test]
    fn na_3_fingerprints() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let plain = request(&[0; 8]);
        let sum = fingerprint(&plain[..HEADER]);
        let mut signed = plain.clone();
        signed[HEADER..HEADER + 4].copy_from_slice(&[0x80, 0x28, 0, 4]);
        signed[HEADER + 4..].copy_from_slice(&sum);
        let source = "192.0.2.1:1".parse().unwrap();
        let answered = answer(&signed, source).unwrap();
        let (body, sum) = answered.split_at(answered.len() - 8);
        assert_eq!(sum[4..], fingerprint(body));
        signed[HEADER + 7] ^= 1;
        assert_eq!(answer(&signed, source), None, "the sum is wrong");
    }

    #[test]
    fn what_must_be_understood_and_is_not_gets_420() {
        let source = "192.0.2.1:1".parse().unwrap();
        let answered = answer(&request(b"\x00\x03\x00\x04\0\0\0\x06\x80\x22\x00\x01x\0\0\0"), source).unwrap();
        assert_eq!(answered[..2], [1, 0x11]);
        assert_eq!(answered[HEADER..HEADER + 8], [0, 9, 0, 21, 0, 0, 4, 20]);
        assert!(answered.ends_with(&[0, 0x0A, 0, 2, 0, 3, 0, 0]), "{answered:x?}");
        assert_eq!(usize::from(word(&answered, 2).unwrap()), answered.len() - HEADER);
        // Credentials that nobody asked for are passed over.
        assert_eq!(answer(&request(b"\x00\x06\x00\x04user"), source).unwrap()[..2], [1, 1]);
    }

    #[test]
    fn everything_else_is_dropped() {
        let source = "192.0.2.1:1".parse().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = request(&[]);
            bytes[at] = byte;
            bytes
        };
        let cases = [
            with(1, 0x11),                    // an indication
            with(0, 1),                       // a response: never answered, or two servers would talk for ever
            with(3, 4),                       // its length lies
            with(4, 0),                       // no magic cookie
            request(b"\x00\x06\x00\x05user"), // an attribute beyond the end
            request(b"\x00\x06"),
            b"REGISTER sip:h SIP/2.0\r\n\r\n".to_vec(),
            vec![],
        ];
        for case in cases {
            assert_eq!(answer(&case, source), None, "{case:x?}");
        }
    }
}
