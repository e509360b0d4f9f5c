//! rtpengine as a process: in user space, on a loopback address of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::ports;
use crate::process::{Running, tool, until};

pub struct Rtpengine {
    /// Where it takes commands.
    pub ng: SocketAddr,
    running: Running,
}

impl Rtpengine {
    pub fn start(folder: &Path) -> Outcome<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let run = u8::try_from(std::process::id() % 200).unwrap_or_default() + 20;
        let ip = Ipv4Addr::new(127, run, 25, NEXT.fetch_add(1, Ordering::Relaxed));
        let ng = SocketAddr::from((ip, 2223));
        Ok(Self { ng, running: run_at(ng, folder)? })
    }

    /// It is killed, and another one takes its place that knows nothing of calls.
    pub fn restart(&mut self, folder: &Path) -> Outcome<()> {
        self.running.kill();
        self.running = run_at(self.ng, folder)?;
        Ok(())
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// It says nothing for so long, and carries nothing.
    pub fn sleep(&self, duration: Duration) {
        self.running.signal("STOP");
        std::thread::sleep(duration);
        self.running.signal("CONT");
    }
}

fn run_at(ng: SocketAddr, folder: &Path) -> Outcome<Running> {
    let ip = ng.ip();
    let program = tool("rtpengine", "rtpengine-daemon")?;
    let path = folder.join(format!("rtpengine-{ip}.log"));
    let log = std::fs::File::options().create(true).append(true).open(&path).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args([
        "--config-file=none",
        "--foreground",
        "--log-stderr",
        "--log-level=6",
        "--table=-1",
        "--num-threads=2",
    ]);
    command.arg(format!("--interface={ip}")).arg(format!("--listen-ng={ng}"));
    command.args(["--port-min=30000", "--port-max=30999"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut running = Running::start("rtpengine", &mut command)?;
    let ready = until(Duration::from_secs(30), || match running.has_ended() {
        true => Some(false),
        false => ports::is_bound(ng, false).then_some(true),
    });
    match ready {
        Some(true) => Ok(running),
        _ => Err(format!("rtpengine does not start; its log is {}", path.display())),
    }
}
