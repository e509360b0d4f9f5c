//! What is in a recording: how long a tone is heard at the frequency and the level at which it was played.

use std::f64::consts::{SQRT_2, TAU};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::phone::LEVEL;
use crate::process::{Running, tool};

const RATE: f64 = 8000.0;
/// A tenth of a second, in which tones of 10 Hz and its multiples have whole waves.
const WINDOW: usize = 800;
/// In dB; G.711 is much better, a gain control is much worse.
const TOLERANCE: f64 = 2.0;
/// Of the energy, what has to be at the frequency.
const PURITY: f64 = 0.95;

/// Seconds of the tone in a sound file.
pub fn seconds_of(recording: &Path, hertz: u32) -> Outcome<f64> {
    let raw = recording.with_extension("raw");
    let mut command = Command::new(tool("sox", "sox")?);
    command.arg(recording).args(["-t", "raw", "-r", "8000", "-b", "16", "-c", "1", "-e", "signed-integer", "-L"]);
    // It warns of a file that still grows.
    command.arg(&raw).stdin(Stdio::null()).stderr(Stdio::null());
    let status = Running::start("sox", &mut command)?.finish(Duration::from_secs(10))?;
    if !status.success() {
        return Err(format!("{} is no sound: {status}", recording.display()));
    }
    let bytes = std::fs::read(&raw).map_err(|error| format!("{}: {error}", raw.display()))?;
    let (pairs, _) = bytes.as_chunks::<2>();
    let samples: Vec<f64> = pairs.iter().map(|pair| f64::from(i16::from_le_bytes(*pair)) / 32768.0).collect();
    let tenths = samples.chunks_exact(WINDOW).filter(|window| has_tone(window, f64::from(hertz))).count();
    Ok(f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0)
}

fn has_tone(window: &[f64], hertz: f64) -> bool {
    let count = window.iter().map(|_| 1.0).sum::<f64>();
    let energy: f64 = window.iter().map(|sample| sample * sample).sum();
    let (mut real, mut imaginary, mut phase) = (0.0, 0.0, 0.0_f64);
    for sample in window {
        real += sample * phase.cos();
        imaginary += sample * phase.sin();
        phase += TAU * hertz / RATE;
    }
    let at_frequency = 2.0 * (real * real + imaginary * imaginary) / count;
    let level = 20.0 * ((energy / count).sqrt() * SQRT_2 / LEVEL).log10();
    energy > 0.0 && at_frequency >= PURITY * energy && level.abs() <= TOLERANCE
}
