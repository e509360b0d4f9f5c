//! The real daemon on the loopback, and parties with sockets of their own that write raw SIP.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

pub mod ports;
#[path = "../world/mod.rs"]
pub mod world;

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sosbridge::transport::ConnId;
use tempfile::TempDir;
use world::{Agent, Call, Dialog, Msg, authorized, register};

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything but listeners, trunk and admin address, which a test puts at the end.
pub const CONFIG: &str = r#"
[store]
url = "sqlite:real.db"
[sip]
domains = ["example.com"]
[registrar]
realm = "example.com"
[media]
mode = "pass"
[[resources]]
name = "contoso"
numbers = [{ number = "+14255550100", make_calls = true }]
[[users]]
aor = "sip:alice@example.com"
password = "wonderland"
resource = "contoso"
country = "US"
inbound = false
[[users]]
aor = "sip:bob@example.com"
password = "builder"
resource = "contoso"
country = "US"
[[pools]]
countries = ["US"]
numbers = ["+14255551000-+14255551009"]
[[routes]]
countries = ["US"]
trunks = ["psap"]
"#;

/// [`CONFIG`] for tests of what a crash leaves and of what is told: a call waits for the store however slow the disk is. With the
/// deadline that operators have, a busy disk is a store that fails: calls go out on leases in memory, and the webhook hears of it.
pub fn durable() -> String {
    CONFIG.replace("[store]\n", "[store]\nwrite_deadline = \"10s\"\n")
}

/// A `[[sip.listen]]`.
pub fn listen(transport: &str, address: SocketAddr) -> String {
    format!("[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n")
}

/// The call center, at a place that it also calls from.
pub fn trunk(place: SocketAddr, transport: &str) -> String {
    let (network, length) = (place.ip(), if place.is_ipv4() { 32 } else { 128 });
    format!(
        "[[trunks]]\nname = \"psap\"\ntargets = [{{ uri = \"sip:{place};transport={transport}\" }}]\n\
         accept_from = [\"{network}/{length}\"]\noptions_interval = \"0s\"\n"
    )
}

pub fn admin(address: SocketAddr) -> String {
    format!("[admin]\nlisten = \"{address}\"\n")
}

/// A port of this address that is free for UDP and TCP, and is given to nobody else.
pub fn free(ip: &str) -> SocketAddr {
    ports::free(ip.parse().unwrap())
}

pub struct Daemon {
    folder: TempDir,
    process: Child,
}

impl Daemon {
    /// Serves the configuration once it is ready.
    pub fn serve(config: &str) -> Self {
        Self::serve_with(config, command())
    }

    /// The same of a daemon that the administrator allows so many open files.
    pub fn serve_within(config: &str, files: usize) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\"")).arg(command().get_program());
        Self::serve_with(config, shell)
    }

    fn serve_with(config: &str, command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let process = spawn(&folder, command);
        let daemon = Self { folder, process };
        daemon.wait_ready(1);
        daemon
    }

    /// `kill -9`, and a start on what it left behind.
    pub fn crash(&mut self) {
        self.kill();
        self.start();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// As an operator ends it, when no call is up.
    pub fn stop(&mut self) {
        Command::new("kill").arg(self.id().to_string()).status().unwrap();
        self.process.wait().unwrap();
    }

    /// A start on what it left behind.
    pub fn start(&mut self) {
        let before = self.log().matches(" ready").count();
        self.process = spawn(&self.folder, command());
        self.wait_ready(before + 1);
    }

    fn wait_ready(&self, times: usize) {
        let end = Instant::now() + PATIENCE;
        while self.log().matches(" ready").count() < times {
            assert!(Instant::now() < end, "the daemon is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A file of its own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Waits until the log has `text`: a thread of its own writes it.
    pub fn says(&self, text: &str) {
        self.says_times(text, 1);
    }

    pub fn says_times(&self, text: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < end, "no {text} in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Another daemon in its folder, that ends by itself: its exit code and its log.
    pub fn serve_beside(&self, config: &str) -> (Option<i32>, String) {
        let mut beside = command();
        beside.args(["serve", "--config"]).arg(self.file(config)).stdin(Stdio::null()).stdout(Stdio::null());
        let mut beside = beside.stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while beside.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ended = beside.kill();
        let Output { status, stderr, .. } = beside.wait_with_output().unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `sosbridge COMMAND --json`, which asks it over its admin address.
    pub fn ask(&self, command: &str) -> serde_json::Value {
        let config = self.file("config.toml");
        let mut asking = Command::new(env!("CARGO_BIN_EXE_sosbridge"));
        let Output { status, stdout, stderr } =
            asking.arg(command).arg("--json").arg("--config").arg(config).output().unwrap();
        assert!(status.success(), "{command}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sosbridge"))
}

fn spawn(folder: &TempDir, mut command: Command) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    command.args(["serve", "--config"]).arg(folder.path().join("config.toml"));
    command.env("SOSBRIDGE_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

enum Wire {
    Udp(UdpSocket),
    /// Connected, and what has come of the next message.
    Tcp(TcpStream, Vec<u8>),
    /// Waits to be connected to.
    Waiting(TcpListener),
}

/// A phone or a trunk.
pub struct Party {
    pub agent: Agent,
    /// Where the daemon listens for it.
    daemon: SocketAddr,
    wire: Wire,
    heard: VecDeque<Msg>,
    /// All that has come, as text.
    known: BTreeSet<String>,
}

impl Party {
    /// On a port of its own, over UDP.
    pub fn udp(name: &'static str, own: SocketAddr, daemon: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let agent = Agent { name, address: socket.local_addr().unwrap(), connection: None };
        Self { agent, daemon, wire: Wire::Udp(socket), heard: VecDeque::new(), known: BTreeSet::new() }
    }

    /// Over a connection that it opens.
    pub fn connected(name: &'static str, daemon: SocketAddr) -> Self {
        let stream = TcpStream::connect(daemon).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let agent = Agent { name, address: stream.local_addr().unwrap(), connection: Some(ConnId(0)) };
        Self { agent, daemon, wire: Wire::Tcp(stream, Vec::new()), heard: VecDeque::new(), known: BTreeSet::new() }
    }

    /// Over the connection that the daemon will open to it.
    pub fn listening(name: &'static str, own: SocketAddr, daemon: SocketAddr) -> Self {
        let agent = Agent { name, address: own, connection: Some(ConnId(0)) };
        Self {
            agent,
            daemon,
            wire: Wire::Waiting(TcpListener::bind(own).unwrap()),
            heard: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    pub fn send(&mut self, message: &Msg) {
        let bytes = message.to_string();
        match &mut self.wire {
            Wire::Udp(socket) => drop(socket.send_to(bytes.as_bytes(), self.daemon).unwrap()),
            Wire::Tcp(stream, _) => stream.write_all(bytes.as_bytes()).unwrap(),
            Wire::Waiting(_) => panic!("{} has no connection", self.agent.name),
        }
    }

    /// The first message of this kind, now or soon: a method, or a status and the method it answers.
    pub fn take(&mut self, wanted: &str) -> Msg {
        let (first, method) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let fits = |message: &Msg| match message.code() {
            0 => message.method() == first,
            code => code.to_string() == first && (method.is_empty() || message.method() == method),
        };
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(fits) {
                return self.heard.remove(at).unwrap();
            }
            let heard = self.receive().filter(|_| Instant::now() < end);
            self.heard
                .push_back(heard.unwrap_or_else(|| panic!("no {wanted} to {}: {:?}", self.agent.name, self.heard)));
        }
    }

    /// Sends a request and takes the final answer to it, whatever that is.
    pub fn ask(&mut self, request: &Msg) -> Msg {
        self.send(request);
        loop {
            let answer = self.receive().unwrap_or_else(|| panic!("no answer to\n{request}"));
            match answer.code() >= 200 && answer.branch() == request.branch() {
                true => return answer,
                false => self.heard.push_back(answer),
            }
        }
    }

    pub fn register(&mut self) -> Msg {
        let request = register(&self.agent);
        let challenge = self.ask(&request);
        let answer = self.ask(&authorized(&request, &challenge, self.agent.name, "MD5"));
        assert_eq!(answer.code(), 200, "{answer}");
        answer
    }

    /// The next message that is no repetition of one before: how often something is said depends on how busy the machine is. `None`
    /// when none comes.
    fn receive(&mut self) -> Option<Msg> {
        loop {
            let message = self.next()?;
            if self.known.insert(message.to_string()) {
                return Some(message);
            }
        }
    }

    fn next(&mut self) -> Option<Msg> {
        if let Wire::Waiting(listener) = &self.wire {
            let stream = accept(listener)?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            self.wire = Wire::Tcp(stream, Vec::new());
        }
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut datagram = [0; 65_535];
                let length = socket.recv(&mut datagram).ok()?;
                Some(Msg::read(std::str::from_utf8(&datagram[..length]).unwrap()))
            }
            Wire::Tcp(stream, read) => loop {
                if let Some(message) = whole(read) {
                    return Some(message);
                }
                let mut chunk = [0; 4096];
                match stream.read(&mut chunk) {
                    Ok(0) => return None,
                    Ok(length) => read.extend_from_slice(&chunk[..length]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return None,
                }
            },
            Wire::Waiting(_) => None,
        }
    }
}

/// `None` when nobody connects.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(stream);
            }
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
}

/// Takes a message from the front of a stream, once it is all there.
fn whole(read: &mut Vec<u8>) -> Option<Msg> {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let length: usize =
        Msg::read(std::str::from_utf8(&read[..head]).unwrap()).header("Content-Length").parse().unwrap();
    let bytes: Vec<u8> = (read.len() >= head + length).then(|| read.drain(..head + length).collect())?;
    Some(Msg::read(std::str::from_utf8(&bytes).unwrap()))
}

/// `phone` calls 911 and `trunk` answers; the call, and how long the INVITE was on its way.
pub fn talk(phone: &mut Party, trunk: &mut Party) -> (Call, Duration) {
    talk_seen(phone, trunk, |_| ())
}

/// As `talk`; `seen` looks at the INVITE when it has come to the trunk, and nothing has been answered.
pub fn talk_seen(phone: &mut Party, trunk: &mut Party, seen: impl FnOnce(&Msg)) -> (Call, Duration) {
    let invite = phone.agent.invite("sip:911@example.com");
    let began = Instant::now();
    phone.send(&invite);
    let offered = trunk.take("INVITE");
    let took = began.elapsed();
    seen(&offered);
    let answer = trunk.agent.reply(&offered, 200).sdp(&trunk.agent.offer());
    trunk.send(&answer);
    let ok = phone.take("200 INVITE");
    let mut call = Call {
        phone: Dialog::caller(phone.agent, &invite, &ok),
        trunk: Dialog::callee(trunk.agent, &offered, &answer),
        invite,
        offered,
        ok,
    };
    phone.send(&call.phone.request("ACK"));
    trunk.take("ACK");
    (call, took)
}

/// The phone hangs up.
pub fn hang_up(call: &mut Call, phone: &mut Party, trunk: &mut Party) {
    phone.send(&call.phone.request("BYE"));
    phone.take("200 BYE");
    let bye = trunk.take("BYE");
    trunk.send(&trunk.agent.reply(&bye, 200));
}
