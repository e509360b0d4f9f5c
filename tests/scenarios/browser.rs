//! JsSIP in Chromium, whose media rtpengine converts, where it hears the daemon itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use toml::toml;

use crate::Outcome;
use crate::certificates;
use crate::daemon::Daemon;
use crate::party::{Identity, Make, Party};
use crate::ports;
use crate::process::until;
use crate::rtpengine::Rtpengine;
use crate::story;
use crate::test_line::{numbers, recognise};
use crate::vars::Vars;

/// The message of the test line takes half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

type Play = fn() -> Outcome<()>;

/// Name and play of every trial.
pub fn all() -> [(&'static str, Play); 1] {
    [("browser::hears-its-number", hears_its_number)]
}

struct Scene {
    browser: Party,
    daemon: Daemon,
    _rtpengine: Rtpengine,
}

impl Scene {
    /// A browser that has registered as alice over a secure WebSocket.
    fn open(folder: &Path) -> Outcome<Self> {
        certificates::write(folder)?;
        let rtpengine = Rtpengine::start(folder)?;
        let mut vars = Vars::default();
        for name in ["sosbridge", "wss", "admin"] {
            vars.set_address(name, ports::free(ports::SOSBRIDGE)?);
        }
        vars.set_address("psap", ports::free(ports::TRUNK)?);
        vars.set("ng", &rtpengine.ng.to_string());
        let mut changes = toml! {
            pools = [{ countries = ["US"] }]
            [sip]
            listen = [
                { transport = "udp", address = "{sosbridge}" },
                { transport = "wss", address = "{wss}", cert = "own.pem", key = "own-key.pem" },
            ]
            [media]
            mode = "rtpengine"
            rtpengine = "udp:{ng}"
        };
        let pools = changes.get_mut("pools").and_then(|pools| pools.get_mut(0)).and_then(toml::Value::as_table_mut);
        if let Some(first) = pools {
            first.insert("numbers".to_owned(), numbers().into());
        }
        let daemon = Daemon::serve(folder, &story::config(&changes)?, &vars)?;
        let alice = identity("alice", ("wss", vars.address("wss")?), ports::free(ports::PHONE)?, folder)?;
        let browser = Party::start(Make::Jssip, &alice, folder)?;
        Ok(Self { browser, daemon, _rtpengine: rtpengine })
    }
}

fn identity(
    user: &'static str,
    (transport, server): (&'static str, SocketAddr),
    own: SocketAddr,
    folder: &Path,
) -> Outcome<Identity> {
    let server_key = std::fs::read_to_string(folder.join("own.sha256")).map_err(|error| error.to_string())?;
    Ok(Identity {
        user,
        domain: "example.com".to_owned(),
        server,
        transport,
        registers: transport == "wss",
        own,
        media: ports::media().start,
        ca: folder.join("ca.pem"),
        cert: folder.join("trunk.pem"),
        server_key,
    })
}

/// SPEC §7: a browser dials 933 and hears its temporary number, twice.
fn hears_its_number() -> Outcome<()> {
    story::in_scratch("browser-test-line", |folder| {
        let mut scene = Scene::open(folder)?;
        scene.browser.act("dial sip:933@example.com")?;
        scene.browser.wait(&json!({"event": "answered"}))?;
        let record = until(PATIENCE, || scene.daemon.rows("records").ok()?.pop()).ok_or("the test call has no end")?;
        scene.browser.wait(&json!({"event": "ended"}))?;
        scene.browser.act("recording")?;
        let told = scene.browser.wait(&json!({"event": "recording"}))?;
        let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (number, said) = (field(&record, "number"), recognise(Path::new(&field(&told, "file")))?);
        match said == [number.as_str(); 2] {
            true => scene.daemon.stop(),
            false => Err(format!("{number} was understood as {said:?}")),
        }
    })
}
