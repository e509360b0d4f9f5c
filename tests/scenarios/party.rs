//! A party that a script of `parties/` drives: PJSIP, or JsSIP in Chromium. A JSON object a line, each way.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::Outcome;
use crate::expect::contains;
use crate::process::Running;

/// One thing that is waited for may take so long; browsers start slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Pjsip,
    /// A page of its own in a browser of its own.
    Jssip,
}

/// Who a party is: the first line a script reads.
#[derive(Serialize)]
pub struct Identity {
    pub user: &'static str,
    /// Of its address of record.
    pub domain: String,
    /// Where its SIP goes, over `transport`.
    pub server: SocketAddr,
    pub transport: &'static str,
    /// Whether it registers; the password is "secret".
    pub registers: bool,
    /// Where its own SIP listens, and the first port of its RTP. Browsers have neither.
    pub own: SocketAddr,
    pub media: u16,
    /// What PJSIP plays, in Hz, and whether it rings until it is told to answer.
    pub tone: u16,
    pub rings: bool,
    /// Whom it trusts, and who it is: certificate and key in one file.
    pub ca: PathBuf,
    pub cert: PathBuf,
    /// The hash of the one key that a browser trusts.
    pub server_key: String,
}

/// A party that answers calls and plays something to whoever it speaks with.
pub struct Party {
    name: &'static str,
    running: Running,
    events: Receiver<Value>,
    /// What it told so far, and what it logged.
    told: Vec<Value>,
    log: PathBuf,
}

impl Party {
    /// Starts it; it is ready for calls, and registered where it registers.
    pub fn start(make: Make, identity: &Identity, folder: &Path) -> Outcome<Self> {
        let (name, script) = match make {
            Make::Pjsip => ("PJSIP", "pjsip.py"),
            Make::Jssip => ("JsSIP", "jssip.py"),
        };
        let log = folder.join(format!("{}-{name}.log", identity.user));
        let errors = std::fs::File::create(&log).map_err(|error| error.to_string())?;
        let mut command = Command::new(installed("venv/bin/python")?);
        command.arg(scripts().join(script)).arg(installed("")?).current_dir(folder).env("HOME", folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut running = Running::start(name, &mut command)?;
        let stdout = running.stdout().ok_or("a party without a voice")?;
        let (tell, events) = channel();
        // It ends with the party.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(event).is_err() {
                    break;
                }
            }
        });
        let mut party = Self { name, running, events, told: Vec::new(), log };
        party.say(&json!(identity))?;
        party.wait(&json!({"event": "ready"}))?;
        if identity.registers {
            party.wait(&json!({"event": "registered", "status": 200}))?;
        }
        Ok(party)
    }

    /// `dial` or `transfer` with a URI, `answer`, `hold`, `resume`, `hang up`.
    pub fn act(&mut self, what: &str) -> Outcome<()> {
        match what.split_once(' ') {
            Some((act @ ("dial" | "transfer"), uri)) => self.say(&json!({"do": act, "uri": uri})),
            _ => self.say(&json!({"do": what})),
        }
    }

    /// The next event that has these fields; those before it are passed over.
    pub fn wait(&mut self, wanted: &Value) -> Outcome<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).map_err(|error| self.missed(wanted, &error.to_string()))?;
            self.told.push(event.clone());
            if contains(&event, wanted) {
                return Ok(event);
            }
        }
    }

    /// Its media are `active`, or it `holds`, or is `held`.
    pub fn wait_media(&mut self, state: &str) -> Outcome<Value> {
        self.wait(&json!({"event": "media", "state": state}))
    }

    /// Waits until it has heard a good deal of sound from now on.
    pub fn hears(&mut self) -> Outcome<()> {
        self.heard().map(|_| ())
    }

    /// The same, and what it tells of that.
    pub fn heard(&mut self) -> Outcome<Value> {
        self.say(&json!({"do": "listen"}))?;
        self.wait(&json!({"event": "heard"}))
    }

    /// What it logged.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn say(&mut self, line: &Value) -> Outcome<()> {
        let said = self.running.stdin().map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        match said {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(format!("{} has ended; its log is {}", self.name, self.log.display())),
        }
    }

    fn missed(&self, wanted: &Value, why: &str) -> String {
        let told: String = self.told.iter().map(|event| format!("  {event}\n")).collect();
        let log = self.log.display();
        format!("{} does not tell {wanted} ({why}); before that it told\n{told}its log is {log}", self.name)
    }
}

/// The scripts, and how to install what they run on.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/parties")
}

/// What `parties/install` has put under `target/`.
fn installed(file: &str) -> Outcome<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parties").join(file);
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is missing; tests/scenarios/parties/install makes it", path.display())),
    }
}
