//! The real daemon on a configuration of its own, and what it tells operators.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::process::{Running, until};
use crate::vars::Vars;

/// How long it may take to be ready, to reload and to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to end when calls are over: less than the `[node] drain` of the story of that name.
const SOON: Duration = Duration::from_secs(15);

pub struct Daemon {
    running: Running,
    folder: PathBuf,
    admin: SocketAddr,
    /// SIGTERM was sent.
    stopping: bool,
}

impl Daemon {
    /// Writes `config.toml` into `folder` and serves it. `vars` knows `sosbridge` and `admin`.
    pub fn serve(folder: &Path, config: &toml::Table, vars: &Vars) -> Outcome<Self> {
        configure(folder, config, vars)?;
        let admin = vars.address("admin")?;
        let mut daemon = Self { running: spawn(folder)?, folder: folder.to_owned(), admin, stopping: false };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// SIGKILL, as a power cut would end it.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Starts it again on what it left behind.
    pub fn restart(&mut self) -> Outcome<()> {
        self.running.kill();
        self.running = spawn(&self.folder)?;
        self.wait_ready()
    }

    /// Another configuration and SIGHUP; it must then say `says` in its log.
    pub fn reload(&mut self, config: &toml::Table, vars: &Vars, says: &str) -> Outcome<()> {
        configure(&self.folder, config, vars)?;
        let file = self.folder.join("sosbridge.log");
        let log = || std::fs::read_to_string(&file).unwrap_or_default();
        let before = log().len();
        self.running.signal("HUP");
        let said = until(PATIENCE, || log().get(before..)?.contains(says).then_some(()));
        said.ok_or_else(|| format!("after SIGHUP the daemon does not say \"{says}\""))
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        self.stopping = true;
        self.running.signal("TERM");
    }

    /// The end of a story: the calls are over, so it must go soon, and without complaint.
    pub fn stop(&mut self) -> Outcome<()> {
        if !self.stopping {
            if self.running.has_ended() {
                return Err("the daemon has ended before the story".to_owned());
            }
            self.terminate();
        }
        let status = self.running.finish(SOON)?;
        status.success().then_some(()).ok_or_else(|| format!("the daemon ended with {status}"))
    }

    fn wait_ready(&mut self) -> Outcome<()> {
        let (running, admin) = (&mut self.running, self.admin);
        let ready = until(PATIENCE, || match running.has_ended() {
            true => Some(false),
            false => get(admin, "/readyz").ok().map(|_| true),
        });
        match ready {
            Some(true) => Ok(()),
            Some(false) => Err("the daemon ended instead of starting".to_owned()),
            None => Err(format!("the daemon is not ready after {PATIENCE:?}")),
        }
    }

    /// The rows of `/api/v1/TABLE`.
    pub fn rows(&self, table: &str) -> Outcome<Vec<Value>> {
        let text = get(self.admin, &format!("/api/v1/{table}"))?;
        serde_json::from_str(&text).map_err(|error| format!("/api/v1/{table}: {error}: {text}"))
    }
}

fn configure(folder: &Path, config: &toml::Table, vars: &Vars) -> Outcome<()> {
    let text = toml::to_string(config).map_err(|error| error.to_string())?;
    std::fs::write(folder.join("config.toml"), vars.fill(&text)?).map_err(|error| error.to_string())
}

fn spawn(folder: &Path) -> Outcome<Running> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("sosbridge.log"));
    let log = log.map_err(|error| error.to_string())?;
    let mut command = Command::new(program());
    command.args(["serve", "--config"]).arg(folder.join("config.toml"));
    command.env("SOSBRIDGE_LOG", "sosbridge=debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Running::start("sosbridge", &mut command)
}

/// The program under test; `SOSBRIDGE` names another build of it.
pub fn program() -> PathBuf {
    std::env::var_os("SOSBRIDGE").map_or_else(|| env!("CARGO_BIN_EXE_sosbridge").into(), PathBuf::from)
}

fn get(admin: SocketAddr, path: &str) -> Outcome<String> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
    let answer = agent.get(format!("http://{admin}{path}")).call();
    let mut answer = answer.map_err(|error| format!("{path}: {error}"))?;
    answer.body_mut().read_to_string().map_err(|error| format!("{path}: {error}"))
}
