//! JsSIP in Chromium, whose media rtpengine converts, where it hears more than one in a call, or the daemon itself.

use std::net::{SocketAddr, UdpSocket};
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

/// What call centers play, in Hz.
const TONES: [u16; 2] = [800, 1200];

/// The message of the test line takes half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

type Play = fn() -> Outcome<()>;

/// Name and play of every trial.
pub fn all() -> [(&'static str, Play); 7] {
    [
        ("browser::hears-its-number", hears_its_number),
        ("browser::hears-the-second-trunk", hears_the_second_trunk),
        ("browser::is-transferred", is_transferred),
        ("browser::outlives-rtpengine", outlives_rtpengine),
        ("browser::outlives-a-silence", outlives_a_silence),
        ("browser::is-connected-without-rtpengine", is_connected_without),
        ("browser::is-answered-by-another-rtpengine", is_answered_by_another),
    ]
}

struct Scene {
    vars: Vars,
    browser: Party,
    daemon: Daemon,
    rtpengine: Rtpengine,
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
        for name in ["psap", "second"] {
            vars.set_address(name, ports::free(ports::TRUNK)?);
        }
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
            [[trunks]]
            name = "call-center"
            targets = [{ uri = "sip:{psap}" }]
            accept_from = ["{psap}"]
            options_interval = "0s"
            [[trunks]]
            name = "county"
            targets = [{ uri = "sip:{second}" }]
            accept_from = ["{second}"]
            options_interval = "0s"
            [[routes]]
            countries = ["US"]
            trunks = ["call-center", "county"]
        };
        let pools = changes.get_mut("pools").and_then(|pools| pools.get_mut(0)).and_then(toml::Value::as_table_mut);
        if let Some(first) = pools {
            first.insert("numbers".to_owned(), numbers().into());
        }
        let daemon = Daemon::serve(folder, &story::config(&changes)?, &vars)?;
        let alice = identity("alice", ("wss", vars.address("wss")?), ports::free(ports::PHONE)?, folder)?;
        let browser = Party::start(Make::Jssip, &alice, folder)?;
        Ok(Self { vars, browser, daemon, rtpengine })
    }

    /// A phone that answers where a trunk leads to, and plays one of [`TONES`].
    fn center(&self, user: &'static str, trunk: &str, tone: u16, folder: &Path) -> Outcome<Party> {
        Party::start(Make::Pjsip, &Identity { tone, ..self.identity(user, trunk, folder)? }, folder)
    }

    fn identity(&self, user: &'static str, trunk: &str, folder: &Path) -> Outcome<Identity> {
        identity(user, ("udp", self.vars.address("sosbridge")?), self.vars.address(trunk)?, folder)
    }

    /// From the agent to the PSAP, until the browser has talked with that one and hangs up.
    fn hand_on(&mut self, agent: &mut Party, psap: &mut Party) -> Outcome<()> {
        agent.act(&self.vars.fill("transfer sip:desk@{second}")?)?;
        psap.wait(&json!({"event": "incoming"}))?;
        agent.wait(&json!({"event": "ended"}))?;
        self.talk(psap, TONES[1])?;
        psap.act("hold")?;
        self.browser.wait_media("held")?;
        psap.act("resume")?;
        self.browser.wait_media("active")?;
        self.talk(psap, TONES[1])?;
        self.browser.act("hang up")?;
        self.browser.wait(&json!({"event": "ended"}))?;
        psap.wait(&json!({"event": "ended"})).map(|_| ())
    }

    /// The browser dials 911, `center` answers, and they talk.
    fn dial(&mut self, center: &mut Party) -> Outcome<()> {
        self.browser.act("dial sip:911@example.com")?;
        center.wait(&json!({"event": "incoming"}))?;
        self.browser.wait(&json!({"event": "answered"}))?;
        self.talk(center, TONES[0])
    }

    /// The browser hangs up.
    fn over(mut self, center: &mut Party) -> Outcome<()> {
        self.browser.act("hang up")?;
        center.wait(&json!({"event": "ended"}))?;
        self.daemon.stop()
    }

    /// Each hears the other.
    fn talk(&mut self, center: &mut Party, tone: u16) -> Outcome<()> {
        let heard = self.browser.heard()?;
        let peak = heard.get("peak").and_then(Value::as_f64).unwrap_or_default();
        if (peak - f64::from(tone)).abs() > 40.0 {
            return Err(format!("the browser hears {peak} Hz, and {tone} Hz are played"));
        }
        center.hears()
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
        tone: TONES[0],
        rings: false,
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

/// A trunk that lets the caller hear something and then does not take the call: the next one is heard all the same.
fn hears_the_second_trunk() -> Outcome<()> {
    story::in_scratch("browser-second-trunk", |folder| {
        let mut scene = Scene::open(folder)?;
        let first = UdpSocket::bind(scene.vars.address("psap")?).map_err(|error| error.to_string())?;
        let mut center = scene.center("911", "second", TONES[0], folder)?;
        scene.browser.act("dial sip:911@example.com")?;
        gives_up(&first).map_err(|error| error.to_string())?;
        center.wait(&json!({"event": "incoming"}))?;
        scene.browser.wait(&json!({"event": "answered"}))?;
        scene.talk(&mut center, TONES[0])?;
        scene.over(&mut center)
    })
}

/// SPEC §5: the call center hands the browser on to the PSAP, in its call and when it has called back, and then the two of them
/// hear each other.
fn is_transferred() -> Outcome<()> {
    story::in_scratch("browser-transferred", |folder| {
        let mut scene = Scene::open(folder)?;
        let mut agent = scene.center("911", "psap", TONES[0], folder)?;
        let mut psap = scene.center("desk", "second", TONES[1], folder)?;
        scene.dial(&mut agent)?;
        scene.hand_on(&mut agent, &mut psap)?;
        let leases = scene.daemon.rows("leases")?;
        let number = leases.first().and_then(|lease| lease.get("number")).and_then(Value::as_str);
        scene.vars.set("number", number.ok_or("no lease for the emergency call")?);
        agent.act(&scene.vars.fill("dial sip:{number}@{sosbridge}")?)?;
        scene.browser.wait(&json!({"event": "answered"}))?;
        scene.talk(&mut agent, TONES[0])?;
        scene.hand_on(&mut agent, &mut psap)?;
        scene.daemon.stop()
    })
}

/// 183 with a description to an INVITE, and 503 when there has been time for a handshake.
fn gives_up(socket: &UdpSocket) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = [0; 65_535];
    let (length, from) = socket.recv_from(&mut buffer)?;
    let invite = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
    let (head, _) = invite.split_once("\r\n\r\n").unwrap_or((&invite, ""));
    let tagged =
        |line: &str| if line.starts_with("To:") { format!("{line};tag=first\r\n") } else { format!("{line}\r\n") };
    let is_kept = |line: &&str| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
    let lines: String = head.lines().filter(is_kept).map(tagged).collect();
    let own = socket.local_addr()?;
    let (ip, port) = (own.ip(), ports::media().start);
    let sdp = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n");
    let body = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    let early = format!("SIP/2.0 183 Session Progress\r\n{lines}Contact: <sip:{own}>\r\n{body}");
    socket.send_to(early.as_bytes(), from)?;
    std::thread::sleep(Duration::from_secs(3));
    let refusal = format!("SIP/2.0 503 Service Unavailable\r\n{lines}Content-Length: 0\r\n\r\n");
    socket.send_to(refusal.as_bytes(), from)?;
    Ok(())
}

/// rtpengine is killed in the middle of a call and begins anew: browser and call center hear each other again, and after a hold.
fn outlives_rtpengine() -> Outcome<()> {
    story::in_scratch("browser-outlives", |folder| {
        let mut scene = Scene::open(folder)?;
        let mut center = scene.center("911", "psap", TONES[0], folder)?;
        scene.dial(&mut center)?;
        scene.rtpengine.restart(folder)?;
        scene.browser.wait(&json!({"event": "offered"}))?;
        scene.talk(&mut center, TONES[0])?;
        scene.browser.act("hold")?;
        scene.browser.wait_media("holds")?;
        center.wait_media("held")?;
        scene.browser.act("resume")?;
        center.wait_media("active")?;
        scene.talk(&mut center, TONES[0])?;
        scene.over(&mut center)
    })
}

/// The only rtpengine is away for longer than ICE waits, and comes back.
fn outlives_a_silence() -> Outcome<()> {
    story::in_scratch("browser-silence", |folder| {
        let mut scene = Scene::open(folder)?;
        let mut center = scene.center("911", "psap", TONES[0], folder)?;
        scene.dial(&mut center)?;
        scene.rtpengine.sleep(Duration::from_secs(8));
        scene.browser.wait(&json!({"event": "offered"}))?;
        scene.talk(&mut center, TONES[0])?;
        scene.over(&mut center)
    })
}

/// SPEC §10: it dials 911 while no rtpengine is there, and is heard when one is.
fn is_connected_without() -> Outcome<()> {
    story::in_scratch("browser-without", |folder| {
        let mut scene = Scene::open(folder)?;
        let mut center = scene.center("911", "psap", TONES[0], folder)?;
        scene.rtpengine.kill();
        scene.browser.act("dial sip:911@example.com")?;
        center.wait(&json!({"event": "incoming"}))?;
        scene.browser.wait(&json!({"event": "answered"}))?;
        scene.rtpengine.restart(folder)?;
        scene.browser.wait(&json!({"event": "offered"}))?;
        scene.talk(&mut center, TONES[0])?;
        scene.over(&mut center)
    })
}

/// The same as [`outlives_rtpengine`] while the call center rings.
fn is_answered_by_another() -> Outcome<()> {
    story::in_scratch("browser-another", |folder| {
        let mut scene = Scene::open(folder)?;
        let center = Identity { rings: true, ..scene.identity("911", "psap", folder)? };
        let mut center = Party::start(Make::Pjsip, &center, folder)?;
        scene.browser.act("dial sip:911@example.com")?;
        center.wait(&json!({"event": "incoming"}))?;
        scene.rtpengine.restart(folder)?;
        center.act("answer")?;
        scene.browser.wait(&json!({"event": "answered"}))?;
        scene.talk(&mut center, TONES[0])?;
        scene.over(&mut center)
    })
}
