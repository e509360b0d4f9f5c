//! Real phones: Linphone and baresip register, call 911, hear the call center, hold and resume, and are called back.
//!
//! The call center is a baresip too, or PJSIP, so nothing here but the daemon was written with this repository.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::toml;

use crate::Outcome;
use crate::certificates;
use crate::daemon::Daemon;
use crate::ears::Ears;
use crate::expect::expect;
use crate::party::{self, Party};
use crate::phone::{Identity, Make, Phone};
use crate::plan::Transport;
use crate::ports;
use crate::process::until;
use crate::story;
use crate::vars::Vars;

/// How long a phone takes to register.
const REGISTERS: Duration = Duration::from_secs(15);

/// How long a phone takes to notice that its connection is gone; a callback waits for it meanwhile.
const COMES_BACK: Duration = Duration::from_secs(75);

/// How the first call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    PhoneHangsUp,
    /// `kill -9` of the daemon in the call, and a start again.
    Crash,
}

/// Who calls whom, and how.
#[derive(Clone, Copy)]
pub struct Cast {
    make: Make,
    /// Of the phone, and of the trunk.
    transports: (Transport, Transport),
    end: End,
}

/// Name and cast of every trial: each phone over each transport against a call center on each, and a few in which we die.
pub fn all() -> Vec<(String, Cast)> {
    use Transport::{Tcp, Tls, Udp};
    let makes = [("linphone", Make::Linphone), ("baresip", Make::Baresip)];
    let mut all = Vec::new();
    for (name, make) in makes {
        for phone in [Udp, Tcp, Tls] {
            for center in [Udp, Tcp, Tls] {
                let cast = Cast { make, transports: (phone, center), end: End::PhoneHangsUp };
                all.push((format!("phones::{name}-{}-center-{}", phone.token(), center.token()), cast));
            }
            let cast = Cast { make, transports: (phone, Udp), end: End::Crash };
            all.push((format!("phones::{name}-{}-restart", phone.token()), cast));
        }
    }
    all
}

/// Who takes the calls.
enum Center {
    Baresip(Phone),
    /// Over TCP: baresip connects from 127.0.0.1 as every phone here does, and a call center is known by its address.
    Pjsip(Party),
}

impl Center {
    fn dial(&mut self, number: &str, server: SocketAddr) -> Outcome<()> {
        match self {
            Self::Baresip(phone) => phone.dial(&format!("sip:{number}@{}", server.ip())),
            Self::Pjsip(party) => party.act(&format!("dial sip:{number}@{server};transport=tcp")),
        }
    }

    fn hang_up(&mut self) -> Outcome<()> {
        match self {
            Self::Baresip(phone) => phone.hang_up(),
            Self::Pjsip(party) => party.act("hang up"),
        }
    }

    fn output(&self) -> String {
        match self {
            Self::Baresip(phone) => phone.output(),
            Self::Pjsip(party) => party.output(),
        }
    }
}

struct Scene {
    vars: Vars,
    ears: Ears,
    phone: Phone,
    center: Center,
    daemon: Daemon,
}

/// One phone, from its registration to the end of the callback.
pub fn play(cast: Cast) -> Outcome<()> {
    story::in_scratch("phones", |folder| {
        let mut scene = open(folder, cast)?;
        let told = scene.play(cast.end);
        let Scene { phone, center, .. } = &scene;
        told.map_err(|error| format!("{error}\n--- phone\n{}\n--- call center\n{}", phone.output(), center.output()))
    })
}

fn open(folder: &Path, cast: Cast) -> Outcome<Scene> {
    let Cast { make, transports: (transport, center), .. } = cast;
    certificates::write(folder)?;
    let mut vars = Vars::default();
    for name in ["sosbridge", "secure", "certified", "admin"] {
        vars.set_address(name, ports::free(ports::SOSBRIDGE)?);
    }
    vars.set_address("psap", ports::free(ports::TRUNK)?);
    let psap = vars.address("psap")?;
    // baresip listens for TLS on the port after.
    vars.set_address("psap_tls", (psap.ip(), psap.port() + 1).into());
    let mut changes = match make {
        // It takes the strongest algorithm that is offered.
        Make::Linphone => toml! {
            users = [{ aor = "sip:alice@example.com", password = "secret", resource = "contoso", inbound = false, country = "US" }]
        },
        // It is offered MD5 alone, since it says what it is.
        Make::Baresip => toml::Table::new(),
    };
    changes.extend(toml! {
        [sip]
        listen = [
            { transport = "udp", address = "{sosbridge}" },
            { transport = "tcp", address = "{sosbridge}" },
            { transport = "tls", address = "{secure}", cert = "own.pem", key = "own-key.pem" },
            { transport = "tls", address = "{certified}", cert = "own.pem", key = "own-key.pem", client_ca = "ca.pem" },
        ]
    });
    changes.extend(toml! { [callback] hold = "90s" });
    changes.extend(trunk_over(center));
    let daemon = Daemon::serve(folder, &story::config(&changes)?, &vars)?;
    // linphonec asks its user for a certificate when a server asks for one: the call center has a listener of its own.
    let server = |transport, secure| vars.address(if transport == Transport::Tls { secure } else { "sosbridge" });
    let center = match center {
        Transport::Tcp => Center::Pjsip(Party::start(party::Make::Pjsip, &of_center(folder, psap, &vars)?, folder)?),
        Transport::Udp | Transport::Tls => {
            let server = server(center, "certified")?;
            let identity =
                Identity { user: "911", server, transport: center, registers: false, codec: "PCMU", tone: 800 };
            Center::Baresip(Phone::start(Make::Baresip, &identity, psap, &folder.join("center"))?)
        }
    };
    let alice = Identity {
        user: "alice",
        server: server(transport, "secure")?,
        transport,
        registers: true,
        codec: "PCMU",
        tone: 800,
    };
    let phone = registered(&daemon, || Phone::start(make, &alice, ports::free(ports::PHONE)?, &folder.join("phone")))?;
    let ears = Ears::open(phone.media.clone(), folder)?;
    Ok(Scene { vars, ears, phone, center, daemon })
}

/// The call center where it is on another transport than in the base.
fn trunk_over(transport: Transport) -> toml::Table {
    match transport {
        Transport::Udp => toml::Table::new(),
        Transport::Tcp => toml! {
            [[trunks]]
            name = "call-center"
            targets = [{ uri = "sip:{psap};transport=tcp" }]
            accept_from = ["127.0.0.22/32"]
            options_interval = "0s"
        },
        // It is known by its certificate alone, and so are we sure of it.
        Transport::Tls => toml! {
            [[trunks]]
            name = "call-center"
            targets = [{ uri = "sip:{psap_tls};transport=tls" }]
            ca = "ca.pem"
            accept_from = ["center.example"]
            options_interval = "0s"
        },
    }
}

fn of_center(folder: &Path, own: SocketAddr, vars: &Vars) -> Outcome<party::Identity> {
    Ok(party::Identity {
        user: "911",
        domain: own.to_string(),
        server: vars.address("sosbridge")?,
        transport: Transport::Tcp.token(),
        registers: false,
        own,
        media: ports::media().start,
        tone: crate::parties::TONE,
        rings: false,
        ca: folder.join("ca.pem"),
        cert: folder.join("trunk.pem"),
        server_key: String::new(),
    })
}

/// A phone that has registered. On a busy machine linphonec now and then opens no connection at all, and never will.
fn registered(daemon: &Daemon, start: impl Fn() -> Outcome<Phone>) -> Outcome<Phone> {
    for _ in 0..2 {
        let phone = start()?;
        let is_there = || daemon.rows("registrations").is_ok_and(|rows| !rows.is_empty()).then_some(());
        if until(REGISTERS, is_there).is_some() {
            return Ok(phone);
        }
    }
    start()
}

impl Scene {
    fn play(&mut self, end: End) -> Outcome<()> {
        self.expect("registrations", toml! { are = [{ user = "sip:alice@example.com" }] })?;
        let start = self.ears.heard();
        self.phone.dial("sip:911@example.com")?;
        self.expect(
            "calls",
            toml! { are = [{ kind = "emergency", user = "sip:alice@example.com", state = "answered" }] },
        )?;
        self.ears.both_ways(start)?;
        let leases = self.daemon.rows("leases")?;
        let number = leases.first().and_then(|lease| lease.get("number")).and_then(|number| number.as_str());
        let number = number.ok_or("no lease for the emergency call")?.to_owned();
        self.vars.set("number", &number);

        match end {
            End::PhoneHangsUp => {
                self.phone.hold()?;
                self.ears.nothing_to_phone()?;
                let start = self.ears.heard();
                self.phone.resume()?;
                self.ears.both_ways(start)?;
                self.phone.hang_up()?;
            }
            End::Crash => {
                self.daemon.kill();
                self.phone.hang_up()?;
                self.center.hang_up()?;
                self.daemon.restart()?;
            }
        }
        self.expect("calls", toml! { are = [] })?;
        self.expect(
            "leases",
            toml! { are = [{ number = "{number}", user = "sip:alice@example.com", state = "held" }] },
        )?;

        let start = self.ears.heard();
        let server = self.vars.address("sosbridge")?;
        self.center.dial(&number, server)?;
        if end == End::Crash {
            let is_answered = |call: &serde_json::Value| call.get("state").is_some_and(|state| state == "answered");
            until(COMES_BACK, || self.daemon.rows("calls").ok()?.iter().any(is_answered).then_some(()));
        }
        self.expect("calls", toml! { are = [{ kind = "callback", number = "{number}", state = "answered" }] })?;
        self.ears.both_ways(start)?;
        self.center.hang_up()?;
        self.expect("calls", toml! { are = [] })?;
        let callback = toml! { kind = "callback" number = "{number}" outcome = "answered" };
        let emergency = toml! { kind = "emergency" number = "{number}" outcome = "answered" };
        match end {
            End::PhoneHangsUp => expect(&self.daemon, "records", &[callback, emergency], &self.vars),
            End::Crash => expect(&self.daemon, "records", &[callback], &self.vars),
        }
    }

    fn expect(&self, table: &str, wanted: toml::Table) -> Outcome<()> {
        let rows = wanted.get("are").and_then(|rows| rows.clone().try_into::<Vec<toml::Table>>().ok());
        expect(&self.daemon, table, &rows.unwrap_or_default(), &self.vars)
    }
}
