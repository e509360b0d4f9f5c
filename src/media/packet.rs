//! What a datagram on a media port is, by its first bytes (RFC 7983 §7, RFC 5761 §4).

/// Kinds of packets that share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    Rtp,
    Rtcp,
    Dtls,
    Stun,
}

const RTP_HEADER: usize = 12;
const RTCP_HEADER: usize = 8;
const DTLS_HEADER: usize = 13;
const STUN_HEADER: usize = 20;

impl Packet {
    /// `None`: none of them, or too short to be one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (kind, least) = match (first, second) {
            (0..=3, _) => (Self::Stun, STUN_HEADER),
            (20..=63, _) => (Self::Dtls, DTLS_HEADER),
            // ZRTP (RFC 6189 §5) agrees on keys as DTLS does.
            (16, _) if bytes.get(4..8) == Some(b"ZRTP") => (Self::Dtls, DTLS_HEADER),
            (128..=191, 192..=223) => (Self::Rtcp, RTCP_HEADER),
            (128..=191, _) => (Self::Rtp, RTP_HEADER),
            _ => return None,
        };
        (bytes.len() >= least).then_some(kind)
    }
}

/// The fields of an RTP header that a relay reads (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Rtp {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self { sequence: u16_at(bytes, 2)?, timestamp: u32_at(bytes, 4)?, ssrc: u32_at(bytes, 8)? })
    }
}

/// A report block: how somebody hears a source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Who is heard.
    pub ssrc: u32,
    /// In 256ths.
    pub fraction_lost: u8,
    /// In timestamp units.
    pub jitter: u32,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const BLOCK: usize = 24;

/// The block about `ssrc` in a compound RTCP packet. Encrypted ones (SRTCP) hold none that fits.
pub fn report_about(packet: &[u8], ssrc: u32) -> Option<Block> {
    let mut rest = packet;
    while let (Some(&first), Some(&kind), Some(words)) = (rest.first(), rest.get(1), u16_at(rest, 2)) {
        let length = (usize::from(words) + 1) * 4;
        let part = rest.get(..length)?;
        let blocks = match kind {
            SENDER_REPORT => part.get(28..),
            RECEIVER_REPORT => part.get(8..),
            _ => None,
        };
        let count = usize::from(first & 0x1f);
        let found = blocks.unwrap_or_default().chunks_exact(BLOCK).take(count).find_map(|block| {
            let (about, jitter) = (u32_at(block, 0)?, u32_at(block, 12)?);
            (about == ssrc).then_some(Block { ssrc, fraction_lost: *block.get(4)?, jitter })
        });
        if found.is_some() {
            return found;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn packets_are_told_apart_by_their_first_bytes() {
        let of = |first: u8, second: u8, length: usize| {
            let mut bytes = vec![0; length];
            bytes[0] = first;
            bytes[1] = second;
            Packet::of(&bytes)
        };
        assert_eq!(of(0x80, 0, 12), Some(Packet::Rtp));
        assert_eq!(of(0x80, 0x80 | 101, 12), Some(Packet::Rtp));
        assert_eq!(of(0x80, 0, 11), None);
        assert_eq!(of(0x81, 200, 28), Some(Packet::Rtcp));
        assert_eq!(of(0x81, 223, 8), Some(Packet::Rtcp));
        assert_eq!(of(0x81, 224, 12), Some(Packet::Rtp));
        assert_eq!(of(0x81, 201, 7), None);
        assert_eq!(of(22, 254, 13), Some(Packet::Dtls));
        assert_eq!(of(0, 1, 20), Some(Packet::Stun));
        assert_eq!(of(0, 1, 19), None);
        assert_eq!(of(64, 0, 100), None);
        assert_eq!(of(255, 0, 100), None);
        assert_eq!(Packet::of(&[]), None);
    }

    #[test]
    fn a_report_is_found_in_a_compound_packet() {
        let mut packet = vec![0x81, 200, 0, 12];
        packet.extend([0; 24]);
        packet.extend(7_u32.to_be_bytes());
        packet.extend([64, 0, 0, 9, 0, 0, 0, 1]);
        packet.extend(33_u32.to_be_bytes());
        packet.extend([0; 8]);
        assert_eq!(report_about(&packet, 7), Some(Block { ssrc: 7, fraction_lost: 64, jitter: 33 }));
        assert_eq!(report_about(&packet, 8), None);
        // Behind another part, and never beyond the packet.
        let mut compound = vec![0x80, 202, 0, 1, 0, 0, 0, 0];
        compound.extend(&packet);
        assert!(report_about(&compound, 7).is_some());
        for cut in 0..compound.len() {
            report_about(&compound[..cut], 7);
        }
        // More blocks are claimed than are there.
        packet[0] = 0x9f;
        assert!(report_about(&packet, 8).is_none());
    }
}
