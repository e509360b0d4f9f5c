//! `sosbridge demo`: the main job on loopback, with the real daemon as a child process and a phone, a call center and an
//! outsider played here. Everything shown is what passed on the sockets; the first wrong answer ends it with exit 1.

mod audio;
mod daemon;
mod emergency;
mod ladder;
mod paint;
mod party;
mod script;
mod stop;
mod story;
mod wrong;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use daemon::Daemon;
use emergency::{clock, lease_left};
use ladder::{Ladder, Pace};
use paint::{Paint, Style};
use stop::Stop;
use story::{Cast, STEPS, Times, play};
use wrong::{Failure, Wrong};

/// Lines of the daemon's log shown after a failure.
const LAST_WORDS: usize = 15;

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Options {
    /// ASCII without colours, as in a pipe.
    #[arg(long)]
    pub plain: bool,
    /// Without the pauses for people.
    #[arg(long)]
    pub fast: bool,
}

/// Plays the story; 0 when every step went as it must, else 1.
pub fn run(options: Options) -> ExitCode {
    let style = Style::of_stdout(options.plain);
    let (pace, times) = if options.fast { (Pace::NONE, Times::FAST) } else { (Pace::CALM, Times::CALM) };
    match stage(style, pace, times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            // A closed terminal or pipe changes nothing.
            let _ = writeln!(std::io::stderr(), "\n{} {report}", style.paint(Paint::Bad, style.cross));
            ExitCode::FAILURE
        }
    }
}

/// Sets up the daemon and the cast, plays, and ends both; else the report of what failed.
fn stage(style: Style, pace: Pace, times: Times) -> Result<(), String> {
    let before = |wrong: Wrong| Failure::new("setting the stage failed", wrong).to_string();
    let signals = |error| before(Wrong::system("to listen to signals", &error));
    let stop = Stop::on_signals().map_err(signals)?;
    let program = std::env::current_exe();
    let program = program.map_err(|error| before(Wrong::system("to find our own program", &error)))?;
    let mut daemon = Daemon::new(program, stop.clone()).map_err(before)?;
    let ladder = Ladder::new(Box::new(std::io::stdout()), style, pace, stop.clone());
    let mut cast = Cast::new(daemon.sip, ladder, times, stop).map_err(before)?;
    let played = open(&mut cast, &mut daemon).and_then(|()| {
        let shown = play(&mut cast, &mut daemon, &STEPS)?;
        let left = lease_left(&cast, &daemon);
        let left = left.map_err(|wrong| Failure::new("the end of the story failed", wrong))?;
        summary(&mut cast, &shown, left);
        Ok(())
    });
    played.map_err(|failure| match &failure.wrong {
        Wrong::Stopped => failure.to_string(),
        Wrong::Unexpected { .. } => format!("{failure}\n\n{}", last_words(&mut daemon)),
    })
}

/// The title, and the daemon's start.
fn open(cast: &mut Cast, daemon: &mut Daemon) -> Result<(), Failure> {
    let failed = |wrong| Failure::new("starting the daemon failed", wrong);
    daemon.configure(&cast.configuration()).map_err(failed)?;
    let took = daemon.start().map_err(failed)?;
    let style = cast.ladder.style();
    let id = daemon.id().unwrap_or_default();
    let parties = [
        (
            "sosbridge",
            cast.server,
            format!("the real daemon: process {id}, ready after {:.0} ms", took.as_secs_f64() * 1e3),
        ),
        ("phone", cast.phone.address, "Alice's; her inbound calling is off".to_owned()),
        ("call center", cast.center.address, "the trunk for 911, and the PSAP behind it".to_owned()),
        ("outsider", cast.outsider.address, "nobody the daemon knows".to_owned()),
    ];
    let mut text = style.paint(Paint::Strong, "sosbridge demo: an emergency call on loopback, and the way back");
    text.push('\n');
    for (name, address, what) in parties {
        text.push_str(&format!("\n  {name:<12} {:<16} {what}", address.to_string()));
    }
    text.push_str("\n\n  Every arrow is a message that passed; the time is in seconds since the start.");
    cast.ladder.say(text);
    Ok(())
}

fn summary(cast: &mut Cast, shown: &[(String, Duration)], left: Duration) {
    let style = cast.ladder.style();
    let total = cast.ladder.elapsed().as_secs_f64();
    let mut text = format!("\n{}\n", style.paint(Paint::Strong, &style.rule.to_string().repeat(100)));
    for ((number, step), (_, took)) in (1..).zip(&STEPS).zip(shown) {
        let tick = style.paint(Paint::Good, style.tick);
        text.push_str(&format!("  {tick} {number}  {:<78}{:>6.2} s\n", step.title, took.as_secs_f64()));
    }
    if let Some(number) = cast.number {
        let number = style.paint(Paint::Strong, &number.to_string());
        text.push_str(&format!(
            "\n  {number} stays Alice's for {} more (minutes:seconds), then it rests for 24 h.\n",
            clock(left)
        ));
    }
    text.push_str(&format!("  {} steps in {total:.1} s, all as they must be.\n", shown.len()));
    text.push_str("  Next: sosbridge serve --config config.toml, register a phone as alice, dial 933.");
    cast.ladder.say(text);
}

/// What the daemon has to say about it.
fn last_words(daemon: &mut Daemon) -> String {
    let fate = daemon.fate().map(|status| format!("the daemon has ended: {status}\n")).unwrap_or_default();
    match daemon.last_words(LAST_WORDS) {
        words if words.is_empty() => format!("{fate}the daemon has logged nothing"),
        words => format!("{fate}the last lines of the daemon's log:\n{words}"),
    }
}
