//! How a stream of RTP is heard (RFC 3550 §6.4.1, appendices A.1, A.3 and A.8).

use super::packet::Rtp;
use crate::base::Instant;

/// Loss and jitter of what one peer sends. A new source begins anew; what was lost of the one before stays counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hearing {
    source: Option<Source>,
    lost_before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Extended by the cycles of the sequence number.
    first: u64,
    highest: u64,
    received: u64,
    transit: i64,
    /// In 16ths of a timestamp unit, as the appendix keeps it.
    jitter: u32,
}

/// A jump further than this begins anew: the sender has restarted (appendix A.1, MAX_DROPOUT).
const DROPOUT: u64 = 3000;

impl Hearing {
    pub fn heard(&mut self, now: Instant, clock_rate: u32, packet: Rtp) {
        let transit = arrival(now, clock_rate) - i64::from(packet.timestamp);
        if let Some(source) = self.source.as_mut().filter(|source| source.ssrc == packet.ssrc)
            && source.takes(packet.sequence, transit)
        {
            return;
        }
        self.lost_before = self.lost();
        let first = u64::from(packet.sequence);
        self.source = Some(Source { ssrc: packet.ssrc, first, highest: first, received: 1, transit, jitter: 0 });
    }

    pub fn lost(&self) -> u64 {
        self.lost_before
            + self.source.map_or(0, |source| (source.highest - source.first + 1).saturating_sub(source.received))
    }

    /// In timestamp units.
    pub fn jitter(&self) -> u32 {
        self.source.map_or(0, |source| source.jitter >> 4)
    }

    pub fn ssrc(&self) -> Option<u32> {
        self.source.map(|source| source.ssrc)
    }
}

impl Source {
    /// False when the packet is of another sequence altogether.
    fn takes(&mut self, sequence: u16, transit: i64) -> bool {
        // Forward by less than half the circle, else backward.
        let step = sequence.wrapping_sub(self.highest as u16);
        if step < 0x8000 {
            if u64::from(step) > DROPOUT {
                return false;
            }
            self.highest += u64::from(step);
        } else if u64::from(step.wrapping_neg()) > DROPOUT {
            return false;
        }
        self.received += 1;
        // Timestamps count in a circle too.
        let difference = i64::from((transit.wrapping_sub(self.transit) as i32).unsigned_abs());
        self.transit = transit;
        let jitter = i64::from(self.jitter);
        self.jitter = u32::try_from(jitter + difference - ((jitter + 8) >> 4)).unwrap_or(0);
        true
    }
}

/// The time in timestamp units.
fn arrival(now: Instant, clock_rate: u32) -> i64 {
    let ticks = u128::from(now.as_micros()) * u128::from(clock_rate) / 1_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(packets: impl IntoIterator<Item = (u64, u16, u32)>) -> Hearing {
        let mut hearing = Hearing::default();
        for (ms, sequence, timestamp) in packets {
            hearing.heard(Instant::from_millis(ms), 8000, Rtp { sequence, timestamp, ssrc: 1 });
        }
        hearing
    }

    #[test]
    fn an_even_stream_has_no_loss_and_no_jitter() {
        let hearing =
            hear((0..500).map(|n: u16| (1000 + u64::from(n) * 20, 65_300_u16.wrapping_add(n), u32::from(n) * 160)));
        assert_eq!((hearing.lost(), hearing.jitter()), (0, 0));
    }

    #[test]
    fn what_is_missing_is_counted_over_the_turn_of_the_numbers() {
        let kept = (0..1000_u16).filter(|n| n % 10 != 3);
        let hearing = hear(kept.map(|n| (u64::from(n) * 20, 65_000_u16.wrapping_add(n), u32::from(n) * 160)));
        assert_eq!(hearing.lost(), 100);
    }

    #[test]
    fn what_comes_late_is_not_lost() {
        let order = [0_u16, 2, 1, 3, 5, 4, 6];
        let hearing = hear(order.map(|n| (100, n, u32::from(n) * 160)));
        assert_eq!(hearing.lost(), 0);
    }

    #[test]
    fn uneven_arrival_is_jitter() {
        let hearing =
            hear((0..200).map(|n: u16| (1000 + u64::from(n) * 20 + u64::from(n % 2) * 10, n, u32::from(n) * 160)));
        // 10 ms early and late in turn: 80 units between neighbours.
        assert!((70..=80).contains(&hearing.jitter()), "{}", hearing.jitter());
    }

    #[test]
    fn a_new_source_and_a_jump_begin_anew() {
        let mut hearing = hear([(0, 1, 0), (60, 4, 480)]);
        assert_eq!(hearing.lost(), 2);
        hearing.heard(Instant::from_millis(80), 8000, Rtp { sequence: 40_000, timestamp: 0, ssrc: 2 });
        hearing.heard(Instant::from_millis(100), 8000, Rtp { sequence: 20_000, timestamp: 0, ssrc: 2 });
        assert_eq!((hearing.lost(), hearing.ssrc()), (2, Some(2)));
    }
}
