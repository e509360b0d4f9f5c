//! The daemon as a process, with certificates of an authority of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::certs::Authority;

/// Listens on TLS, WS and WSS. `{listen}` are further keys of TLS and WSS, `{rest}` is what comes after the sections.
const CONFIG: &str = r#"
[store]
url = "sqlite:tls.db"
[sip]
domains = ["example.com"]
[[sip.listen]]
transport = "udp"
address = "127.0.0.1:0"
[[sip.listen]]
transport = "tls"
address = "127.0.0.1:0"
cert = "own.pem"
key = "own-key.pem"
{listen}
[[sip.listen]]
transport = "wss"
address = "127.0.0.1:0"
cert = "own.pem"
key = "own-key.pem"
[[sip.listen]]
transport = "ws"
address = "127.0.0.1:0"
[registrar]
realm = "example.com"
[media]
mode = "pass"
[admin]
listen = "127.0.0.1:0"
[[resources]]
name = "contoso"
numbers = [{ number = "+14255550100", make_calls = true }]
[[users]]
aor = "sip:alice@example.com"
password = "wonderland"
resource = "contoso"
country = "US"
[[pools]]
countries = ["US"]
numbers = ["+14255551000-+14255551009"]
{rest}
"#;

pub struct Daemon {
    pub folder: TempDir,
    pub authority: Authority,
    child: Option<Child>,
    admin: SocketAddr,
}

impl Daemon {
    pub async fn start(listen: &str, rest: &str) -> Self {
        let mut daemon = Self::prepare(listen, rest);
        daemon.serve().await;
        daemon
    }

    pub async fn serve(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = self.command("serve").stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        self.says("ready").await;
        self.admin = self.address("http");
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The files alone.
    pub fn prepare(listen: &str, rest: &str) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.write(folder.path());
        authority.issue(&["localhost", "127.0.0.1"]).write(folder.path(), "own");
        let config = CONFIG.replace("{listen}", listen).replace("{rest}", rest);
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        Self { folder, authority, child: None, admin: ([127, 0, 0, 1], 0).into() }
    }

    pub fn check(&self) -> Output {
        self.run("check")
    }

    /// A command that ends by itself.
    pub fn run(&self, what: &str) -> Output {
        self.command(what).output().unwrap()
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sosbridge"));
        command.args([what, "--config"]).arg(self.path().join("config.toml")).env("SOSBRIDGE_LOG", "sosbridge=debug");
        command
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens for this transport.
    pub fn address(&self, transport: &str) -> SocketAddr {
        let log = self.log();
        let told = format!("listening {transport} ");
        let line = log.lines().find_map(|line| line.split_once(&told)).unwrap_or_else(|| panic!("no {told} in\n{log}"));
        line.1.trim().parse().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Waits until its log has this.
    pub async fn says(&self, text: &str) {
        self.until(text, || self.log().contains(text)).await;
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..1600 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not within 40 s: {what}\n{}", self.log());
    }

    /// Waits until a row of `/api/v1/trunks` has a target of which `is_so`.
    pub async fn target(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1600 {
            let rows = self.get("/api/v1/trunks");
            let target = serde_json::from_str::<Value>(&rows).unwrap()[0]["targets"][0].clone();
            if is_so(&target) {
                return target;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not within 40 s: {what}: {}\n{}", self.get("/api/v1/trunks"), self.log());
    }

    pub fn get(&self, path: &str) -> String {
        let mut answer = ureq::get(format!("http://{}{path}", self.admin)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// The value of a metric by the start of its line.
    pub fn metric(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics");
        text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok())
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn hang_up(&self) {
        let child = self.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &child]).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.stop();
    }
}
