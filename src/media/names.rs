//! What RTCP says of the person who speaks, made unreadable before it is sent on: many phones put the address of record in their
//! CNAME and the name of the device in TOOL (RFC 3550 §6.5), and a trunk sees the temporary number alone (SPEC §4).

use std::hash::{DefaultHasher, Hasher};

use super::packet::u16_at;

const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const PRIVATE: u8 = 8;

/// Replaces every text of a compound RTCP packet by one of the same length that tells nothing, and is the same wherever the same
/// text stood: receivers know by it which streams belong together (RFC 3550 §6.5.1). `key`: chosen at random, once.
///
/// What is encrypted (SRTCP) or is no RTCP stays as it is.
pub fn hide_names(packet: &mut [u8], key: u64) {
    if !is_plain(packet) {
        return;
    }
    let mut rest = packet;
    while let Some(length) = length_of(rest) {
        let Some((part, behind)) = rest.split_at_mut_checked(length) else { return };
        let count = part.first().map_or(0, |first| usize::from(first & 0x1f));
        match part.get(1) {
            Some(&SOURCE_DESCRIPTION) => hide_chunks(part.get_mut(4..).unwrap_or_default(), count, key),
            // The reason for leaving (RFC 3550 §6.6).
            Some(&GOODBYE) => {
                if let Some(text) = part.get_mut(4 + 4 * count..).and_then(counted) {
                    hide(text, key);
                }
            }
            _ => {}
        }
        rest = behind;
    }
}

/// True when it is parts of RTCP from the first byte to the last.
fn is_plain(packet: &[u8]) -> bool {
    let mut rest = packet;
    while let Some(length) = length_of(rest) {
        let Some(behind) = rest.get(length..) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// In bytes, of the part that `rest` begins with.
fn length_of(rest: &[u8]) -> Option<usize> {
    let is_part = matches!(rest, [128..=191, 192..=223, ..]);
    u16_at(rest, 2).filter(|_| is_part).map(|words| (usize::from(words) + 1) * 4)
}

fn hide_chunks(chunks: &mut [u8], count: usize, key: u64) {
    let mut at = 0;
    for _ in 0..count {
        // The SSRC, then items up to one of type 0, then zeros up to the next whole word.
        at += 4;
        while let Some(&kind) = chunks.get(at).filter(|kind| **kind != 0) {
            let Some(text) = chunks.get_mut(at + 1..).and_then(counted) else { return };
            let length = text.len();
            // RFC 3550 §6.5.8: the prefix of a private item has a count of its own.
            match if kind == PRIVATE { counted(text) } else { None } {
                Some(prefix) => {
                    let prefix = 1 + prefix.len();
                    text.get_mut(prefix..).into_iter().for_each(|value| hide(value, key));
                }
                None => hide(text, key),
            }
            at += 2 + length;
        }
        at = (at / 4 + 1) * 4;
    }
}

/// A text behind its length in one byte.
fn counted(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let (length, rest) = bytes.split_first_mut()?;
    rest.get_mut(..usize::from(*length))
}

fn hide(text: &mut [u8], key: u64) {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(key);
    hasher.write(text);
    let mut alias = hasher.finish();
    for byte in text {
        *byte = b"0123456789abcdef".get((alias % 16) as usize).copied().unwrap_or(b'0');
        alias = alias.rotate_right(4);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    fn part(kind: u8, count: u8, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let words = u16::try_from(body.len() / 4).unwrap_or(0).to_be_bytes();
        [&[0x80 | count, kind, words[0], words[1]], &body[..]].concat()
    }

    fn item(kind: u8, text: &str) -> Vec<u8> {
        [&[kind, u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat()
    }

    /// As a softphone sends it: a report, then who it is.
    fn compound(cname: &str) -> Vec<u8> {
        let mut chunk = [&7_u32.to_be_bytes()[..], &item(1, cname), &item(2, "Alice Liddell"), &[0]].concat();
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        let private = [&[8, 10, 4], &b"mailalice"[..]].concat();
        let other = [&8_u32.to_be_bytes()[..], &item(6, "Softphone of Alice"), &private, &[0]].concat();
        let leaves = [&7_u32.to_be_bytes()[..], &[10], b"Alice left"].concat();
        [part(201, 0, &7_u32.to_be_bytes()), part(202, 2, &[chunk, other].concat()), part(203, 1, &leaves)].concat()
    }

    #[test]
    fn nobody_is_named_and_nothing_else_changes() {
        let (before, mut after) = (compound("sip:alice@example.com"), compound("sip:alice@example.com"));
        hide_names(&mut after, 1);
        let told = String::from_utf8_lossy(&after).to_lowercase();
        assert!(!told.contains("alice") && !told.contains("liddell") && !told.contains("softphone"), "{told}");
        assert!(told.contains("mail"), "what kind of thing it is may be known");
        let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || b":@. ".contains(byte);
        let changed = |(one, other): (&u8, &u8)| one != other && !(is_text(one) && is_text(other));
        assert!(before.len() == after.len() && !before.iter().zip(&after).any(changed));
    }

    #[test]
    fn the_same_name_is_known_again_in_another_stream_and_no_other_is() {
        let alias = |cname: &str, key: u64| {
            let mut packet = compound(cname);
            hide_names(&mut packet, key);
            packet
        };
        assert_eq!(alias("alice@10.0.0.4", 1), alias("alice@10.0.0.4", 1));
        assert_ne!(alias("alice@10.0.0.4", 1), alias("alice@10.0.0.5", 1));
        assert_ne!(alias("alice@10.0.0.4", 1), alias("alice@10.0.0.4", 2));
    }

    #[test]
    fn what_is_encrypted_stays_as_it_is() {
        // RFC 3711 §3.4: the first eight bytes are plain, behind the rest is an index and a tag.
        let plain = compound("sip:alice@example.com");
        let mut encrypted: Vec<u8> =
            plain.iter().enumerate().map(|(at, byte)| byte ^ if at < 8 { 0 } else { 0x5a }).collect();
        encrypted.extend([0x80, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        let mut unencrypted = [&plain[..], &[0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]].concat();
        for packet in [&mut encrypted, &mut unencrypted] {
            let before = packet.clone();
            hide_names(packet, 1);
            assert_eq!(*packet, before);
        }
    }

    proptest! {
        #[test]
        fn no_packet_is_too_odd(mut packet in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..120) {
            let length = packet.len();
            hide_names(&mut packet, 1);
            prop_assert_eq!(packet.len(), length);
            let mut short = compound("alice");
            short.truncate(cut);
            hide_names(&mut short, 1);
            hide_chunks(&mut packet, 31, 1);
        }
    }
}
