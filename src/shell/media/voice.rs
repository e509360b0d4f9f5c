//! A voice on its way to a peer: one RTP packet every 20 ms by the clock, none early, none drifting (RFC 3550 §5.1, RFC 3551 §4.2).

use std::time::{Duration, Instant};

use super::prompts::{samples, silence};
use crate::media::Voice;

/// Time in one packet.
pub const PACE: Duration = Duration::from_millis(20);
/// Samples in one packet.
const SAMPLES: usize = 160;
const HEADER: usize = 12;
/// How far behind the clock it may fall before it leaves out what is missed: nobody wants to hear a burst.
const LATE: Duration = Duration::from_millis(500);

/// One packet.
pub type Frame = [u8; HEADER + SAMPLES];

pub struct Playing {
    voice: Voice,
    /// Which prompt, and how much of it has been said.
    at: (usize, usize),
    due: Instant,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    is_first: bool,
}

impl Playing {
    /// `random`: where its numbers begin (RFC 3550 §5.1).
    pub fn new(voice: Voice, now: Instant, random: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = random.to_be_bytes();
        Self {
            voice,
            at: (0, 0),
            due: now,
            sequence: u16::from_be_bytes([a, b]) & 0x7fff,
            timestamp: u32::from_be_bytes([c, d, a, b]),
            ssrc: u32::from_be_bytes([e, f, g, h]),
            is_first: true,
        }
    }

    /// When the next packet leaves.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// The packet that is due; `None`: all has been said.
    pub fn next(&mut self, now: Instant, frame: &mut Frame) -> Option<()> {
        let mut payload = [silence(self.voice.codec); SAMPLES];
        let said = self.fill(&mut payload);
        if said == 0 {
            return None;
        }
        let marker = if self.is_first { 0x80 } else { 0 };
        let header = [0x80, marker | (self.voice.payload_type & 0x7f)];
        let parts = [
            &header[..],
            &self.sequence.to_be_bytes(),
            &self.timestamp.to_be_bytes(),
            &self.ssrc.to_be_bytes(),
            &payload,
        ];
        for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        self.is_first = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(SAMPLES as u32);
        self.due += PACE;
        if now.saturating_duration_since(self.due) > LATE {
            self.due = now;
        }
        Some(())
    }

    /// How many samples of the prompts went into `payload`.
    fn fill(&mut self, payload: &mut [u8; SAMPLES]) -> usize {
        let mut said = 0;
        while said < SAMPLES {
            let (prompt, offset) = self.at;
            let Some(sound) = self.voice.prompts.get(prompt).map(|prompt| samples(self.voice.codec, *prompt)) else {
                if self.voice.repeats && !self.voice.prompts.is_empty() {
                    self.at = (0, 0);
                    continue;
                }
                break;
            };
            let rest = sound.get(offset..).unwrap_or_default();
            if rest.is_empty() {
                self.at = (prompt + 1, 0);
                continue;
            }
            let room = payload.iter_mut().skip(said);
            let copied = room.zip(rest).map(|(to, from)| *to = *from).count();
            said += copied;
            self.at = (prompt, offset + copied);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::disallowed_methods, clippy::unwrap_used)]
    use super::*;
    use crate::media::{Codec, Prompt};

    fn play(prompts: Vec<Prompt>, repeats: bool) -> Playing {
        let voice = Voice { codec: Codec::Pcma, payload_type: 8, prompts, repeats };
        Playing::new(voice, Instant::now(), 0xffff_ffff_1234_5678)
    }

    #[test]
    fn a_voice_is_cut_into_packets_of_twenty_milliseconds() {
        let prompts = vec![Prompt::Plus, Prompt::Digit(3)];
        let whole: Vec<u8> = prompts.iter().flat_map(|prompt| samples(Codec::Pcma, *prompt)).copied().collect();
        let mut playing = play(prompts, false);
        let (began, mut frame, mut heard, mut count) = (playing.due(), [0; 172], Vec::new(), 0_u16);
        while playing.next(began, &mut frame).is_some() {
            assert_eq!(frame[..2], if count == 0 { [0x80, 0x88] } else { [0x80, 0x08] });
            assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 0x7fff_u16.wrapping_add(count));
            heard.extend_from_slice(&frame[12..]);
            count += 1;
            assert_eq!(playing.due(), began + PACE * u32::from(count));
        }
        assert_eq!(heard[..whole.len()], whole);
        assert!(heard[whole.len()..].iter().all(|sample| *sample == silence(Codec::Pcma)));
        assert_eq!(usize::from(count), whole.len().div_ceil(160));
    }

    #[test]
    fn a_voice_that_repeats_has_no_end_and_an_empty_one_no_beginning() {
        let mut frame = [0; 172];
        let mut playing = play(vec![Prompt::Pause], true);
        for _ in 0..1000 {
            assert!(playing.next(playing.due(), &mut frame).is_some());
        }
        assert!(play(vec![], true).next(Instant::now(), &mut frame).is_none());
    }

    #[test]
    fn what_a_stalled_machine_has_missed_is_not_said_at_once() {
        let mut playing = play(vec![Prompt::Hold], false);
        let late = playing.due() + Duration::from_secs(3);
        let mut frame = [0; 172];
        playing.next(late, &mut frame).unwrap();
        assert_eq!(playing.due(), late);
    }
}
