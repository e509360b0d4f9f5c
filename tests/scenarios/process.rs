//! Child processes: found or named by their Debian package, waited for no longer than told, and stopped by their id whatever happens.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often something that is waited for is looked at.
const TICK: Duration = Duration::from_millis(20);

/// A child that does not outlive this value.
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    pub fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> Option<&mut std::process::ChildStdin> {
        self.child.stdin.as_mut()
    }

    /// Its input, which ends when this is dropped; once.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// What it says, where its output is piped; once.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The exit status, or an error when it still runs at `patience`.
    pub fn finish(&mut self, patience: Duration) -> Outcome<ExitStatus> {
        let child = &mut self.child;
        let over = until(patience, || child.try_wait().ok().flatten());
        over.ok_or_else(|| format!("{} (process {}) is not done after {patience:?}", self.name, self.id()))
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its short name.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
    }

    /// SIGKILL to a child that leads a group, and to all of the group; the group's id stays taken while any of it lives.
    pub fn kill_group(&self) {
        let group = format!("-{}", self.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a tool is; where it is missing, the package to install.
pub fn tool(name: &str, package: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        format!("{name} is not installed; it is in the Debian package {package}: apt-get install {package}")
    })
}

/// Asks again and again until there is an answer, or until patience ends.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        sleep(TICK);
    }
}
