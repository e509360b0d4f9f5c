//! Logs to stderr by a thread of their own: a full pipe, a closed terminal or a full disk never holds a call.
//!
//! Level and targets by `SOSBRIDGE_LOG` (default `info`), colours only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// Lines waiting for stderr; beyond, lines are lost and counted.
const QUEUE_LINES: usize = 8192;
/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a line waits for others to be written with it, and how much is written at once.
const COMPANY: Duration = Duration::from_millis(20);
const TOGETHER_BYTES: usize = 64 * 1024;

/// Writes what is still queued when dropped.
pub struct Guard {
    lines: SyncSender<Line>,
    done: Receiver<()>,
}

enum Line {
    Text(Vec<u8>),
    Last,
}

/// Starts logging for the whole process. A second call in one process changes nothing.
pub fn start() -> io::Result<Guard> {
    let (lines, queued) = mpsc::sync_channel(QUEUE_LINES);
    let (finished, done) = mpsc::channel();
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer { lines: lines.clone(), lost: Arc::clone(&lost) };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        write_lines(&queued, &lost, io::stderr());
        let _ = finished.send(());
    })?;
    let filter = EnvFilter::try_from_env("SOSBRIDGE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Already set means already logging.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(move || writer.clone())
        .try_init();
    Ok(Guard { lines, done })
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.lines.try_send(Line::Last);
        // After that time stderr is stuck: whoever reads it has lost interest.
        let _ = self.done.recv_timeout(LAST_WORDS);
    }
}

/// Hands a formatted line over; never waits, never fails.
#[derive(Clone)]
struct Writer {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(text.into())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Errors of `output` are ignored: there is nobody left to tell.
fn write_lines(queued: &Receiver<Line>, lost: &AtomicU64, mut output: impl Write) {
    let mut is_last = false;
    while !is_last && let Ok(Line::Text(mut text)) = queued.recv() {
        // Under load lines come by the thousand: they share a write.
        std::thread::sleep(COMPANY);
        while text.len() < TOGETHER_BYTES
            && let Ok(next) = queued.try_recv()
        {
            match next {
                Line::Text(next) => text.extend_from_slice(&next),
                Line::Last => is_last = true,
            }
        }
        let _ = output.write_all(&text);
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(output, "{lost} log lines were lost: stderr was not read fast enough");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_loses_lines_and_says_so() {
        let (lines, queued) = mpsc::sync_channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { lines: lines.clone(), lost: Arc::clone(&lost) };
        for _ in 0..5 {
            writer.write_all(b"line\n").unwrap();
        }
        drop((writer, lines));
        let mut output = Vec::new();
        write_lines(&queued, &lost, &mut output);
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text, "line\nline\n3 log lines were lost: stderr was not read fast enough\n");
    }

    #[test]
    fn a_closed_stderr_is_survived() {
        let (lines, queued) = mpsc::sync_channel(2);
        lines.send(Line::Text(b"line".to_vec())).unwrap();
        lines.send(Line::Last).unwrap();
        write_lines(&queued, &AtomicU64::new(1), Closed);
    }
}
