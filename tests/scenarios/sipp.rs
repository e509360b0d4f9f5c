//! A party played by SIPp: one call of an XML file, with its traces at hand when it fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::plan::{Play, Transport};
use crate::ports;
use crate::process::{Running, tool, until};
use crate::vars::Vars;

/// One expected message may take so long (a callback that waits for its phone, a trunk that is silent).
const MESSAGE_MS: &str = "15000";
/// The Request-URI of every REGISTER, which the digest speaks of.
const DOMAIN: &str = "example.com";
/// A whole XML file; SIPp fails by itself then.
const WHOLE: &str = "40s";
const WHOLE_AND_A_BIT: Duration = Duration::from_secs(45);
/// Lines in its error file that tell of no error.
const HARMLESS: [&str; 2] = ["The following events occurred:", "using the out-of-call scenario"];
/// The end of a trace that is shown when a story fails.
const SHOWN: usize = 6000;

pub struct Party {
    name: String,
    xml: PathBuf,
    running: Running,
    /// It also takes calls that come in meanwhile.
    takes_calls: bool,
    /// Path without the last suffix: `.messages`, `.errors`, `.notes`, `.screen` stand beside each other.
    traces: PathBuf,
}

impl Party {
    /// Starts to play. `folders` are searched for the XML in order; traces go to `scratch`.
    pub fn start(name: &str, play: &Play, folders: [&Path; 2], scratch: &Path, vars: &Vars) -> Outcome<Self> {
        let own = vars.address(name)?;
        let find = |stem: &str| {
            let files = folders.map(|folder| folder.join(format!("{stem}.xml")));
            files.into_iter().find(|file| file.exists()).ok_or_else(|| format!("no {stem}.xml for {name}"))
        };
        let xml = find(&play.plays)?;
        let mut number = 1;
        let traces = loop {
            let traces = scratch.join(format!("{name}-{}-{number}", play.plays));
            if !traces.with_extension("screen").exists() {
                break traces;
            }
            number += 1;
        };
        let mut command = Command::new(tool("sipp", "sip-tester")?);
        command.arg(vars.fill("{sosbridge}")?).arg("-sf").arg(&xml).args(options(name, play, own)?);
        if let Some(meanwhile) = &play.meanwhile {
            command.arg("-oocsf").arg(find(meanwhile)?);
        }
        for (option, suffix) in [("-message_file", "messages"), ("-error_file", "errors"), ("-log_file", "notes")] {
            command.arg(option).arg(traces.with_extension(suffix));
        }
        for (key, value) in vars.iter() {
            command.args(["-key", key, value]);
        }
        for (key, value) in &play.keys {
            command.args(["-key", key, &vars.fill(value)?]);
        }
        let screen = std::fs::File::create(traces.with_extension("screen")).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(screen).env("TERM", "vt100").current_dir(scratch);
        let running = Running::start("sipp", &mut command)?;
        let mut party = Self { name: name.to_owned(), xml, running, takes_calls: play.meanwhile.is_some(), traces };
        party.wait_bound(own, play.transport)?;
        Ok(party)
    }

    /// A listener must be there before anybody calls it.
    fn wait_bound(&mut self, own: SocketAddr, transport: Transport) -> Outcome<()> {
        let is_tcp = transport != Transport::Udp;
        let running = &mut self.running;
        let bound =
            until(Duration::from_secs(20), || (ports::is_bound(own, is_tcp) || running.has_ended()).then_some(()));
        bound.ok_or_else(|| self.told("it does not listen"))
    }

    /// Plays to the end; then takes over what it noted.
    pub fn finish(mut self, vars: &mut Vars) -> Outcome<()> {
        let status = self.running.finish(WHOLE_AND_A_BIT).map_err(|error| self.told(&error))?;
        if !status.success() {
            return Err(self.told(&format!("sipp ended with {status}")));
        }
        if let Some(complaint) = self.complaint().filter(|_| self.takes_calls) {
            return Err(self.told(&format!("sipp complained: {complaint}")));
        }
        vars.learn(&std::fs::read_to_string(self.traces.with_extension("notes")).unwrap_or_default());
        Ok(())
    }

    /// What SIPp noted as an error and still ended well: it does not count the calls of `meanwhile`.
    fn complaint(&self) -> Option<String> {
        let errors = std::fs::read_to_string(self.traces.with_extension("errors")).unwrap_or_default();
        let is_harmless = |line: &&str| line.is_empty() || HARMLESS.iter().any(|harmless| line.contains(harmless));
        errors.lines().find(|line| !is_harmless(line)).map(str::to_owned)
    }

    /// What went wrong, with the errors and the messages of the trace.
    pub fn told(&self, what: &str) -> String {
        let read = |suffix: &str| {
            let bytes = std::fs::read(self.traces.with_extension(suffix)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let from = text.len().saturating_sub(SHOWN);
            let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(from);
            text.get(from..).unwrap_or_default().to_owned()
        };
        let (name, xml) = (&self.name, self.xml.display());
        // What SIPp says before it has an error file, or else the same once more.
        let errors = Some(read("errors")).filter(|errors| !errors.is_empty()).unwrap_or_else(|| read("screen"));
        format!("{name} plays {xml}: {what}\n--- errors\n{errors}\n--- messages of {name}\n{}", read("messages"))
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

fn options(name: &str, play: &Play, own: SocketAddr) -> Outcome<Vec<String>> {
    let ip = own.ip().to_string();
    let media = own.port().checked_add(1).ok_or("a party at the last port")?;
    let transport = match play.transport {
        Transport::Udp => "u1",
        Transport::Tcp => "t1",
        Transport::Tls => "l1",
    };
    let (port, media) = (own.port().to_string(), media.to_string());
    let mut all = vec!["-i", &ip, "-p", &port, "-mi", &ip, "-mp", &media, "-t", transport];
    let user = play.user.as_deref().unwrap_or(name);
    let auth_uri = play.auth_uri.as_deref().unwrap_or(DOMAIN);
    all.extend(["-s", user, "-au", user, "-ap", "secret", "-auth_uri", auth_uri, "-m", "1", "-nostdin"]);
    all.extend(["-timeout", WHOLE, "-timeout_error", "-recv_timeout", MESSAGE_MS]);
    all.extend(["-trace_msg", "-trace_err", "-trace_logs"]);
    Ok(all.into_iter().map(str::to_owned).collect())
}
