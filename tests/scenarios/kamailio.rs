//! Kamailio as a process: the edge of a call center, or a PBX. Its phones are registered with it.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::ports;
use crate::process::{Running, tool, until};
use crate::vars::Vars;

pub struct Kamailio(Running);

impl Kamailio {
    /// Listens at `own` on UDP, TCP and WebSocket, and on the port after it on TLS. `certificate` is the file of its
    /// certificate and key in `folder`, `server` where it sends what its phones dial, over `transport`; it takes calls from there
    /// on its `terms`, which are names in its configuration.
    pub fn start(
        own: SocketAddr,
        certificate: &str,
        server: SocketAddr,
        transport: &str,
        terms: Option<&str>,
        folder: &Path,
    ) -> Outcome<Self> {
        let program = tool("kamailio", "kamailio")?;
        let mut vars = Vars::default();
        for (name, address) in [("proxy", own), ("server", server)] {
            vars.set_address(name, address);
        }
        vars.set("transport", transport);
        vars.set("certificate", &folder.join(certificate).display().to_string());
        vars.set("authority", &folder.join("ca.pem").display().to_string());
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/parties/kamailio.cfg");
        let text = std::fs::read_to_string(&template).map_err(|error| error.to_string())?;
        let home = folder.join(format!("kamailio-{}", own.port()));
        std::fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        std::fs::write(home.join("kamailio.cfg"), vars.fill(&text)?).map_err(|error| error.to_string())?;
        let log = std::fs::File::create(home.join("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["-DD", "-E", "-m", "32", "-M", "8", "-f", "kamailio.cfg", "-Y", "."]).current_dir(&home);
        command.arg("-w").arg(&home);
        let secure = SocketAddr::new(own.ip(), own.port() + 1);
        for address in [format!("udp:{own}"), format!("tcp:{own}"), format!("tls:{secure}")] {
            command.args(["-l", &address]);
        }
        if let Some(terms) = terms {
            command.args(["-A", terms]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Its processes are one group, so that none is left over.
        let mut kamailio = Self(Running::start("kamailio", command.process_group(0))?);
        let listens = || [own, secure].iter().all(|address| ports::is_bound(*address, true));
        let ready = until(Duration::from_secs(30), || match kamailio.0.has_ended() {
            true => Some(false),
            false => listens().then_some(true),
        });
        match ready {
            Some(true) => Ok(kamailio),
            _ => Err(format!(
                "kamailio does not start (it needs kamailio-tls-modules and kamailio-websocket-modules too); its log is {}",
                home.join("log").display()
            )),
        }
    }
}

impl Drop for Kamailio {
    /// It takes its children along when it is asked to go; those it does not are killed.
    fn drop(&mut self) {
        self.0.signal("TERM");
        let _ = self.0.finish(Duration::from_secs(5));
        self.0.kill_group();
    }
}
