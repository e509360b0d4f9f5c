//! RTP on the loopback, as tshark sees it: how many packets with sound a phone has sent, and how many went to it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;
use crate::process::{Running, tool, until};

/// The header of RTP without extensions (RFC 3550 §5.1).
const HEADER: usize = 12;
/// Silence is the same byte again and again; a tone is not.
const LOUD: usize = 5;

pub struct Ears {
    _capture: Running,
    packets: PathBuf,
    media: Range<u16>,
}

/// Packets with sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub from_phone: usize,
    pub to_phone: usize,
}

impl Ears {
    /// Listens to the RTP ports of one phone.
    pub fn open(media: Range<u16>, folder: &Path) -> Outcome<Self> {
        let packets = folder.join("rtp.txt");
        let errors = folder.join("tshark.txt");
        let create = |file: &Path| std::fs::File::create(file).map_err(|error| error.to_string());
        let mut command = Command::new(tool("tshark", "tshark")?);
        command.args(["-i", "lo", "-n", "-l", "-a", "duration:90"]);
        command.args(["-f", &format!("udp portrange {}-{}", media.start, media.end)]);
        command.args(["-T", "fields", "-e", "udp.srcport", "-e", "udp.payload"]);
        command.stdin(Stdio::null()).stdout(create(&packets)?).stderr(create(&errors)?);
        let mut capture = Running::start("tshark", &mut command)?;
        let said = || std::fs::read_to_string(&errors).unwrap_or_default();
        let captures = until(Duration::from_secs(20), || match capture.has_ended() {
            true => Some(false),
            false => said().contains("Capturing on").then_some(true),
        });
        match captures {
            Some(true) => Ok(Self { _capture: capture, packets, media }),
            _ => Err(format!("tshark does not capture on lo (it needs the right to): {}", said())),
        }
    }

    pub fn heard(&self) -> Heard {
        let text = std::fs::read_to_string(&self.packets).unwrap_or_default();
        let mut heard = Heard::default();
        for (port, payload) in text.lines().filter_map(|line| line.split_once('\t')) {
            if has_sound(payload) {
                match port.parse().is_ok_and(|port| self.media.contains(&port)) {
                    true => heard.from_phone += 1,
                    false => heard.to_phone += 1,
                }
            }
        }
        heard
    }

    /// Waits until a second of sound more than at `start` has gone each way.
    pub fn both_ways(&self, start: Heard) -> Outcome<()> {
        let enough = |heard: Heard| {
            let packets = 50; // of 20 ms
            heard.from_phone >= start.from_phone + packets && heard.to_phone >= start.to_phone + packets
        };
        let heard = until(Duration::from_secs(20), || enough(self.heard()).then_some(()));
        heard.ok_or_else(|| format!("no sound both ways: before the call {start:?}, now {:?}", self.heard()))
    }

    /// Waits until no more sound goes to the phone: it holds.
    pub fn nothing_to_phone(&self) -> Outcome<()> {
        let is_silent = || {
            let before = self.heard().to_phone;
            sleep(Duration::from_millis(600)); // longer than tshark keeps what it has seen
            (self.heard().to_phone == before).then_some(())
        };
        until(Duration::from_secs(10), is_silent).ok_or_else(|| "the phone holds and still gets sound".to_owned())
    }
}

/// PCMU with more than a few different samples; not RTCP, which shares the port range.
fn has_sound(payload: &str) -> bool {
    let hex = payload.replace(':', "");
    let bytes: Vec<&str> = (0..hex.len() / 2).filter_map(|at| hex.get(2 * at..2 * at + 2)).collect();
    let is_pcmu = bytes.first() == Some(&"80") && matches!(bytes.get(1), Some(&"00" | &"80"));
    let mut samples: Vec<&str> = bytes.into_iter().skip(HEADER).collect();
    samples.sort_unstable();
    samples.dedup();
    is_pcmu && samples.len() >= LOUD
}
