//! A PostgreSQL server of its own for a test: Debian's programs, a folder that goes with it, a port on the loopback.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

// Most programs have it from their parties already, and those of the library have not.
#[allow(clippy::duplicate_mod)]
#[path = "ports.rs"]
mod ports;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Debian's `nobody` and `nogroup`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;
pub const PASSWORD: &str = "s:cr@t/1";
const PASSWORD_ESCAPED: &str = "s%3Acr%40t%2F1";

pub struct Server {
    folder: TempDir,
    port: u16,
    /// `None`: it is not running.
    process: Option<Child>,
}

impl Server {
    /// An empty database `sosbridge` of a user of that name.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        if is_root() {
            for path in [folder.path().to_owned(), folder.path().join("password")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let port = ports::free(Ipv4Addr::LOCALHOST.into()).port();
        let mut server = Self { folder, port, process: None };
        let mut init = server.command("initdb");
        init.args(["-N", "-U", "sosbridge", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--pwfile"]);
        init.arg(server.folder.path().join("password")).arg("-D").arg(server.data());
        let made = init.output().unwrap_or_else(|error| panic!("the tests need postgresql-15: {error}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.run();
        server.query_in("postgres", "CREATE DATABASE sosbridge");
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program, as somebody who may run it, and ended with the thread that started it.
    fn command(&self, program: &str) -> Command {
        let program = PathBuf::from(PROGRAMS).join(program);
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig", "INT", "--"]).arg(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }

    /// Starts it on what is in its folder, and waits until it answers.
    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).args(["-k", "", "-p", &self.port.to_string()]);
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
        self.process = Some(postgres.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        while !self.psql("postgres", "SELECT 1").output().unwrap().status.success() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "PostgreSQL does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self) -> String {
        self.url_to("sosbridge")
    }

    pub fn url_to(&self, database: &str) -> String {
        self.url_of("sosbridge", PASSWORD_ESCAPED, database)
    }

    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "sosbridge", "-c", sql]);
        psql.args(["-p", &self.port.to_string(), "-d", database]);
        psql.env("PGPASSWORD", PASSWORD).env("PGOPTIONS", "-c search_path=sosbridge").stdin(Stdio::null());
        psql
    }

    /// What an operator sees: rows as lines, columns between `|`. Tables are those of the schema `sosbridge`.
    pub fn query(&self, sql: &str) -> String {
        self.query_in("sosbridge", sql)
    }

    pub fn query_in(&self, database: &str, sql: &str) -> String {
        let asked = self.psql(database, sql).output().unwrap();
        assert!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    }

    /// A session that does `sql` and stays, for some seconds, in its transaction.
    pub fn hold(&self, sql: &str) -> Child {
        let sql = format!("BEGIN; {sql}; SELECT pg_sleep(60)");
        self.psql("sosbridge", &sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// `kill -9` of its first process, which the others follow.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        let others = children(process.id());
        process.kill().unwrap();
        process.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while others.iter().any(|id| std::fs::exists(format!("/proc/{id}")).unwrap()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// What is on its disk now is what a standby has.
    pub fn replicate(&mut self) {
        self.kill();
        let copied = Command::new("cp").arg("-a").args([self.data(), self.copy()]).status().unwrap();
        assert!(copied.success());
        self.run();
    }

    /// The standby takes its place, without what has come since.
    pub fn fail_over(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::rename(self.copy(), self.data()).unwrap();
        self.run();
    }

    /// `STOP` or `CONT` to all its processes.
    pub fn signal(&self, name: &str) {
        let first = self.process.as_ref().unwrap().id();
        let all = children(first).into_iter().chain([first]).map(|id| id.to_string());
        let _gone = Command::new("kill").arg(format!("-{name}")).args(all).stderr(Stdio::null()).status().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        // QUIT: at once, leaving nothing behind in shared memory. CONT: for one that is stopped.
        let id = process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &id]).status();
        self.signal("CONT");
        let _ = self.process.take().unwrap().wait();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn children(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().map(|id| id.parse().unwrap()).collect()
}
