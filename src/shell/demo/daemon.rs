//! The real daemon as a child process, with a configuration and a store of its own in a temporary directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde::de::DeserializeOwned;

use super::script::fresh;
use super::stop::Stop;
use super::wrong::Wrong;
use crate::base::E164;
use crate::shell::ask::{self, Table};

/// The store, in the directory.
const STORE: &str = "demo.db";
/// How long the daemon may take to be ready.
const START: Duration = Duration::from_secs(6);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(10);
/// Ports tried: below those that Linux gives to whoever asks for any, so that a restart finds them free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The daemon, whether it runs or not. Dropped: it is ended, and its directory removed.
pub struct Daemon {
    program: PathBuf,
    directory: PathBuf,
    pub sip: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
    stop: Stop,
}

impl Daemon {
    /// A place for the daemon; it does not run yet.
    pub fn new(program: PathBuf, stop: Stop) -> Result<Self, Wrong> {
        let directory = std::env::temp_dir().join(format!("sosbridge-demo-{}", fresh()));
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|error| Wrong::system(&format!("to make the directory {}", directory.display()), &error))?;
        let mut daemon = Self { program, directory, sip: loopback(0), admin: loopback(0), child: None, stop };
        let (sip, admin) = free_ports().ok_or_else(|| {
            Wrong::new(format!("two free ports on loopback in {PORTS:?}"), "none of those tried is free")
        })?;
        (daemon.sip, daemon.admin) = (loopback(sip), loopback(admin));
        Ok(daemon)
    }

    /// Writes the configuration that starts with the given text: listeners and admin are added here.
    pub fn configure(&self, story: &str) -> Result<(), Wrong> {
        let (sip, admin) = (self.sip, self.admin);
        let text = format!(
            "[node]\ndrain = \"0s\"\n[store]\nurl = \"sqlite:{STORE}\"\n[admin]\nlisten = \"{admin}\"\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"{sip}\"\n{story}"
        );
        std::fs::write(self.config(), text).map_err(|error| Wrong::system("to write the configuration", &error))
    }

    /// Starts the daemon and waits until it is ready; how long that took.
    pub fn start(&mut self) -> Result<Duration, Wrong> {
        let began = Instant::now();
        let log = OpenOptions::new().create(true).append(true).open(self.log());
        let log: File = log.map_err(|error| Wrong::system("to open the daemon's log", &error))?;
        let child = Command::new(&self.program)
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .current_dir(&self.directory)
            .env("SOSBRIDGE_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C reaches the demo only, which then ends the daemon.
            .process_group(0)
            .spawn();
        let doing = format!("{} to start", self.program.display());
        self.child = Some(child.map_err(|error| Wrong::system(&doing, &error))?);
        while began.elapsed() < START {
            if self.stop.is_set() {
                return Err(Wrong::Stopped);
            }
            if let Some(status) = self.fate() {
                return Err(Wrong::new("the daemon to run", format!("it ended with {status}")));
            }
            if self.is_ready() {
                return Ok(began.elapsed());
            }
            std::thread::sleep(LOOK);
        }
        Err(Wrong::new(format!("200 from http://{}/readyz", self.admin), format!("none in {} s", START.as_secs())))
    }

    fn is_ready(&self) -> bool {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1))).proxy(None).build().into();
        agent.get(format!("http://{}/readyz", self.admin)).call().is_ok()
    }

    /// The process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, when it has ended by itself.
    pub fn fate(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The rows of a table of the admin API.
    pub fn rows<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, Wrong> {
        let mut json = Vec::new();
        let wrong = |error: &dyn std::error::Error| Wrong::new(format!("{table:?} from the daemon"), error.to_string());
        ask::ask(self.admin, None, table, true, &mut json).map_err(|fault| wrong(&fault))?;
        serde_json::from_slice(&json).map_err(|fault| wrong(&fault))
    }

    /// The state of a number's lease and its user as they stand in the store's file at this moment: what a crash leaves.
    pub fn lease_on_disk(&self, number: E164) -> Result<String, Wrong> {
        let digits = i64::try_from(number.digits()).unwrap_or_default();
        let row = Connection::open_with_flags(self.directory.join(STORE), OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(
            |store| {
                store.busy_timeout(Duration::from_secs(1))?;
                store.query_row("SELECT state || ' for ' || user FROM leases WHERE number = ?1", [digits], |row| {
                    row.get(0)
                })
            },
        );
        row.map_err(|fault| Wrong::new(format!("the lease of {number} in {STORE}"), fault.to_string()))
    }

    /// The end of the daemon's log.
    pub fn last_words(&self, lines: usize) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        // What cannot be removed is left to the system, which clears its temporary files.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A free UDP port for SIP, and a free TCP port for HTTP after it. Demos beside each other begin at different places.
fn free_ports() -> Option<(u16, u16)> {
    let count = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() * 16 % u32::from(count)).ok()?;
    let mut ports = (0..count).map(|step| PORTS.start + (start + step) % count);
    let is_free = |bound: io::Result<()>| bound.is_ok();
    let sip = ports.find(|port| is_free(UdpSocket::bind(loopback(*port)).map(drop)))?;
    let admin = ports.find(|port| is_free(TcpListener::bind(loopback(*port)).map(drop)))?;
    Some((sip, admin))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_daemon_that_ends_at_once_is_told_and_leaves_nothing_behind() {
        let mut daemon = Daemon::new("false".into(), Stop::default()).unwrap();
        let directory = daemon.directory.clone();
        let wrong = daemon.start().unwrap_err().to_string();
        assert!(wrong.contains("expected  the daemon to run\ncame      it ended with exit status: 1"), "{wrong}");
        assert!(directory.is_dir());
        drop(daemon);
        assert!(!directory.exists());
    }
}
