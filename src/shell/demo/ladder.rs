//! The SIP ladder in the terminal: phone, sosbridge, call center, and an arrow for every message that passed.
//!
//! Messages are recorded when they pass and drawn with pauses at the next quiet moment of the script, so that drawing
//! never holds a message back. The time beside an arrow is when the message passed, in seconds since the start.

use std::io::Write;
use std::time::{Duration, Instant};

use super::paint::{Paint, Style};
use super::stop::Stop;
use crate::sip::{Message, Uri};

/// Characters between two uprights.
const LANE: usize = 42;
/// Where the upright of the phone stands.
const INDENT: usize = 11;
/// Of the whole drawing.
const WIDTH: usize = INDENT + 3 + 2 * LANE + 2;

/// Between which uprights something passes or stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Phone,
    Center,
}

/// Pauses for people; none with `--fast`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub arrow: Duration,
    pub note: Duration,
    pub heading: Duration,
}

impl Pace {
    pub const CALM: Self = Self {
        arrow: Duration::from_millis(110),
        note: Duration::from_millis(60),
        heading: Duration::from_millis(250),
    };
    pub const NONE: Self = Self { arrow: Duration::ZERO, note: Duration::ZERO, heading: Duration::ZERO };
}

/// What was recorded and what is drawn.
pub struct Ladder {
    output: Box<dyn Write>,
    style: Style,
    pace: Pace,
    began: Instant,
    waiting: Vec<(String, Duration)>,
    stop: Stop,
}

impl Ladder {
    pub fn new(output: Box<dyn Write>, style: Style, pace: Pace, stop: Stop) -> Self {
        Self { output, style, pace, began: Instant::now(), waiting: Vec::new(), stop }
    }

    pub fn style(&self) -> Style {
        self.style
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A message passed just now; `outward`: from sosbridge to the party of the lane.
    pub fn arrow(&mut self, lane: Lane, outward: bool, message: &Message) {
        let rightward = outward == (lane == Lane::Center);
        let (label, paint) = (label(message), paint_of(message));
        let label = self.style.fit(&label, LANE - 8);
        let dashes = LANE - 3 - label.chars().count();
        let dash = |count: usize| self.style.dash.to_string().repeat(count);
        let (before, after) = (dash(dashes / 2), dash(dashes - dashes / 2));
        let faint = |text: String| self.style.paint(Paint::Faint, &text);
        let label = self.style.paint(paint, &label);
        let arrow = match rightward {
            true => format!("{} {label} {}", faint(before), faint(format!("{after}{}", self.style.to_right))),
            false => format!("{} {label} {}", faint(format!("{}{before}", self.style.to_left)), faint(after)),
        };
        let time = self.began.elapsed();
        let line = self.row(Some(time), lane, &arrow);
        self.waiting.push((line, self.pace.arrow));
    }

    /// A remark under an arrow, in its lane; a long one takes several lines.
    pub fn detail(&mut self, lane: Lane, paint: Paint, text: &str) {
        for part in wrapped(text, LANE - 1) {
            let text = format!("{:<LANE$}", format!(" {part}"));
            let line = self.row(None, lane, &self.style.paint(paint, &text));
            self.waiting.push((line, self.pace.note));
        }
    }

    /// A remark across the whole ladder: something that is no message happened just now.
    pub fn event(&mut self, paint: Paint, text: &str) {
        let width = 2 * LANE + 1;
        let text = format!("{:^width$}", self.style.fit(text, width - 2));
        let bar = self.bar();
        let time = self.time(Some(self.began.elapsed()));
        let line = format!("{time}{bar}{}{bar}", self.style.paint(paint, &text));
        self.waiting.push((line, self.pace.note));
    }

    /// Begins a step; the heads name who stands at the uprights.
    pub fn heading(&mut self, number: usize, title: &str, right: &str) {
        let rule = self.style.rule.to_string();
        let start = format!("{} {number}  {title} ", rule.repeat(2));
        let rest = rule.repeat(WIDTH.saturating_sub(start.chars().count()));
        let start = self.style.paint(Paint::Strong, &start);
        self.waiting.push((format!("\n{start}{}", self.style.paint(Paint::Faint, &rest)), self.pace.heading));
        let heads = format!("{:<9}{:<37}{:^17}{:>37}", "", "phone", "sosbridge", right);
        self.waiting.push((self.style.paint(Paint::Strong, &heads), Duration::ZERO));
    }

    /// Ends a step: what it has shown.
    pub fn proven(&mut self, text: &str) {
        let tick = self.style.paint(Paint::Good, self.style.tick);
        self.waiting.push((format!("{:indent$}{tick} {text}", "", indent = INDENT), self.pace.heading));
        self.catch_up();
    }

    /// A line outside the ladder.
    pub fn say(&mut self, text: String) {
        self.waiting.push((text, self.pace.note));
        self.catch_up();
    }

    /// Draws what was recorded, with pauses.
    pub fn catch_up(&mut self) {
        for (line, pause) in std::mem::take(&mut self.waiting) {
            // Nobody reads any more: the rest goes on without the pauses of a show.
            let is_read = writeln!(self.output, "{}", line.trim_end()).and_then(|()| self.output.flush()).is_ok();
            if is_read {
                self.stop.sleep(pause);
            }
        }
    }

    fn row(&self, time: Option<Duration>, lane: Lane, text: &str) -> String {
        let (bar, time, empty) = (self.bar(), self.time(time), " ".repeat(LANE));
        let (left, right) = match lane {
            Lane::Phone => (text, empty.as_str()),
            Lane::Center => (empty.as_str(), text),
        };
        format!("{time}{bar}{left}{bar}{right}{bar}")
    }

    fn bar(&self) -> String {
        self.style.paint(Paint::Faint, &self.style.bar.to_string())
    }

    fn time(&self, time: Option<Duration>) -> String {
        let text = time.map(|time| format!("{:8.3}", time.as_secs_f64())).unwrap_or_default();
        self.style.paint(Paint::Faint, &format!("{text:<INDENT$}"))
    }
}

/// `INVITE 911`, `200 OK`: what the message itself says.
pub fn label(message: &Message) -> String {
    if !message.is_request() {
        let reason = String::from_utf8_lossy(message.reason());
        let method = String::from_utf8_lossy(message.method_name()).into_owned();
        return match message.code() {
            200 => format!("200 {reason} ({method})"),
            code => format!("{code} {reason}"),
        };
    }
    let method = String::from_utf8_lossy(message.method_name());
    let whom = Uri::parse(message.request_uri()).map_or_else(
        |_| String::from_utf8_lossy(message.request_uri()).into_owned(),
        |uri| match uri.user.is_empty() {
            true => String::from_utf8_lossy(message.request_uri()).into_owned(),
            false => String::from_utf8_lossy(uri.user).into_owned(),
        },
    );
    format!("{method} {whom}")
}

/// `text` in lines of at most `width` characters, broken at spaces where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        let room = lines.last().map_or(0, |line| width.saturating_sub(line.chars().count() + 1));
        if let Some(line) = lines.last_mut().filter(|_| letters.len() <= room) {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        while letters.len() > width {
            let rest = letters.split_off(width);
            lines.push(letters.into_iter().collect());
            letters = rest;
        }
        lines.push(letters.into_iter().collect());
    }
    lines
}

fn paint_of(message: &Message) -> Paint {
    match message.code() {
        0 => Paint::Request,
        100..=199 | 401 | 407 => Paint::Waiting,
        200..=299 => Paint::Good,
        _ => Paint::Refused,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn message(start: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    #[test]
    fn arrows_point_where_the_message_went_and_every_line_fits() {
        let paper = Paper::default();
        let mut ladder = Ladder::new(Box::new(paper.clone()), Style::PLAIN, Pace::NONE, Stop::default());
        ladder.heading(1, "A step", "call center");
        ladder.arrow(Lane::Phone, false, &message("INVITE sip:911@example.com SIP/2.0"));
        ladder.arrow(Lane::Center, true, &message("INVITE sip:911@example.com SIP/2.0"));
        ladder.arrow(Lane::Center, false, &message("SIP/2.0 180 Ringing"));
        ladder.arrow(Lane::Phone, true, &message(&format!("SIP/2.0 603 {}", "No ".repeat(40))));
        ladder.detail(Lane::Phone, Paint::Plain, &format!("{} and words {}", "x".repeat(90), "y".repeat(34)));
        ladder.event(Paint::Plain, "something");
        ladder.proven("shown");
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= 100), "{text}");
        let arrows: Vec<&str> = lines.iter().filter_map(|line| line.split_once('|')).map(|(_, row)| row).collect();
        let lane = |at: usize, lane: usize| arrows.get(at).unwrap().split('|').nth(lane).unwrap();
        assert!(lane(0, 0).starts_with("--") && lane(0, 0).ends_with(" INVITE 911 --------------->"), "{text}");
        assert!(lane(1, 1).ends_with('>') && lane(1, 0).trim().is_empty(), "{text}");
        assert!(lane(2, 1).starts_with('<') && lane(2, 1).contains(" 180 Ringing "), "{text}");
        assert!(lane(3, 0).starts_with('<') && lane(3, 0).contains(".. "), "{text}");
        let x = |count| format!(" {}", "x".repeat(count));
        let details: Vec<&str> = (4..8).map(|at| lane(at, 0).trim_end()).collect();
        assert_eq!(details, [x(41), x(41), format!("{} and words", x(8)), format!(" {}", "y".repeat(34))]);
        assert!(arrows.iter().take(8).all(|row| row.matches('|').count() == 2), "{text}");
    }
}
