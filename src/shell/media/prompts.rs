//! The recorded sounds, in both kinds of G.711; `assets/prompts/make` makes them.

use crate::media::{Codec, Prompt};

/// Samples in a second.
pub const RATE: usize = 8000;
/// Half a second of nothing.
const PAUSE: usize = RATE / 2;
static NOTHING: [[u8; PAUSE]; 2] = [[silence(Codec::Pcmu); PAUSE], [silence(Codec::Pcma); PAUSE]];

macro_rules! sound {
    ($codec:expr, $name:literal) => {
        match $codec {
            Codec::Pcmu => include_bytes!(concat!("../../../assets/prompts/", $name, ".ul")).as_slice(),
            Codec::Pcma => include_bytes!(concat!("../../../assets/prompts/", $name, ".al")).as_slice(),
        }
    };
}

/// The sample that is silence (ITU-T G.711).
pub const fn silence(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0xff,
        Codec::Pcma => 0xd5,
    }
}

/// A byte a sample.
pub fn samples(codec: Codec, prompt: Prompt) -> &'static [u8] {
    match (prompt, codec) {
        (Prompt::Test, codec) => sound!(codec, "test"),
        (Prompt::Again, codec) => sound!(codec, "again"),
        (Prompt::Goodbye, codec) => sound!(codec, "goodbye"),
        (Prompt::Hold, codec) => sound!(codec, "hold"),
        (Prompt::Refused, codec) => sound!(codec, "refused"),
        (Prompt::Plus, codec) => sound!(codec, "plus"),
        (Prompt::Digit(0), codec) => sound!(codec, "0"),
        (Prompt::Digit(1), codec) => sound!(codec, "1"),
        (Prompt::Digit(2), codec) => sound!(codec, "2"),
        (Prompt::Digit(3), codec) => sound!(codec, "3"),
        (Prompt::Digit(4), codec) => sound!(codec, "4"),
        (Prompt::Digit(5), codec) => sound!(codec, "5"),
        (Prompt::Digit(6), codec) => sound!(codec, "6"),
        (Prompt::Digit(7), codec) => sound!(codec, "7"),
        (Prompt::Digit(8), codec) => sound!(codec, "8"),
        (Prompt::Digit(9), codec) => sound!(codec, "9"),
        (Prompt::Pause | Prompt::Digit(_), Codec::Pcmu) => &NOTHING[0],
        (Prompt::Pause | Prompt::Digit(_), Codec::Pcma) => &NOTHING[1],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    /// The size of a sample, 0 to 127, whatever its sign.
    fn size(codec: Codec, sample: u8) -> u8 {
        match codec {
            Codec::Pcmu => !sample & 0x7f,
            Codec::Pcma => (sample ^ 0x55) & 0x7f,
        }
    }

    #[test]
    fn every_prompt_can_be_heard_and_none_is_long() {
        let spoken = [Prompt::Test, Prompt::Again, Prompt::Goodbye, Prompt::Hold, Prompt::Refused, Prompt::Plus];
        for prompt in spoken.into_iter().chain((0..10).map(Prompt::Digit)) {
            for codec in [Codec::Pcmu, Codec::Pcma] {
                let samples = samples(codec, prompt);
                let seconds = samples.len() as f64 / RATE as f64;
                assert!((0.3..8.0).contains(&seconds), "{prompt:?} takes {seconds} s");
                let loudest = samples.iter().map(|sample| size(codec, *sample)).max().unwrap_or(0);
                assert!(loudest >= 100, "{prompt:?} in {codec:?} is at most {loudest} of 127");
                let loud = samples.iter().filter(|sample| size(codec, **sample) > 60).count();
                assert!(loud * 10 > samples.len(), "{prompt:?} in {codec:?} is mostly silence");
            }
        }
        assert!(samples(Codec::Pcmu, Prompt::Pause).iter().all(|sample| size(Codec::Pcmu, *sample) == 0));
        assert!(samples(Codec::Pcma, Prompt::Pause).iter().all(|sample| size(Codec::Pcma, *sample) == 0));
    }

    #[test]
    fn ten_digits_are_ten_sounds() {
        let digits: Vec<_> = (0..10).map(|digit| samples(Codec::Pcmu, Prompt::Digit(digit))).collect();
        for (at, one) in digits.iter().enumerate() {
            assert!(digits[at + 1..].iter().all(|other| other != one));
        }
    }
}
