//! Two phones, each behind a NAT of its own and both with the same private address: they hear the call center and are heard,
//! in their call and in the callback, as their recordings tell.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use toml::toml;

use crate::Outcome;
use crate::certificates;
use crate::daemon::Daemon;
use crate::expect::expect;
use crate::network::{Namespace, Network, PRIVATE, PUBLIC};
use crate::phone::{Identity, Make, Phone};
use crate::plan::Transport;
use crate::process::until;
use crate::sound::seconds_of;
use crate::story;
use crate::vars::Vars;

/// Users, and what each plays in Hz.
const PHONES: [(&str, Make, u32); 2] = [("alice", Make::Linphone, 800), ("bob", Make::Baresip, 1100)];
const CENTER: u32 = 500;
/// A call lasts so long, and of that so much has to be heard: the rest is setup and buffers of the phones.
const TALK: Duration = Duration::from_secs(4);
const HEARD: f64 = 2.0;

pub fn play() -> Outcome<()> {
    let network = Network::build(2)?;
    story::in_scratch("nat", |folder| network.public.inside(|| Scene::open(folder, &network)?.play()))
}

struct Scene<'a> {
    phones: Vec<Caller<'a>>,
    center: Phone,
    neighbour: &'a Namespace,
    daemon: Daemon,
    vars: Vars,
}

struct Caller<'a> {
    aor: String,
    phone: Phone,
    home: &'a Namespace,
    tone: u32,
}

impl<'a> Scene<'a> {
    fn open(folder: &Path, network: &'a Network) -> Outcome<Self> {
        certificates::write(folder)?;
        let [own, psap] = PUBLIC.map(|ip| SocketAddr::from((ip, 5060)));
        let mut vars = Vars::default();
        vars.set_address("sosbridge", own);
        vars.set_address("psap", psap);
        vars.set_address("admin", (Ipv4Addr::LOCALHOST, 8080).into());
        let daemon = Daemon::serve(folder, &story::config(&changes())?, &vars)?;
        let udp = Transport::Udp;
        let identity =
            Identity { user: "911", server: own, transport: udp, registers: false, codec: "PCMU", tone: CENTER };
        let center =
            network.neighbour.inside(|| Phone::start(Make::Baresip, &identity, psap, &folder.join("center")))?;
        let mut phones = Vec::new();
        for ((user, make, tone), home) in PHONES.into_iter().zip(&network.homes) {
            let identity = Identity { user, server: own, transport: udp, registers: true, codec: "PCMU", tone };
            let at = SocketAddr::new(PRIVATE, 5062);
            let phone = home.inside(|| Phone::start(make, &identity, at, &folder.join(user)))?;
            let file = folder.join(user).join("tone.wav");
            if seconds_of(&file, tone)? < HEARD || seconds_of(&file, CENTER)? > 0.0 {
                return Err("the ears do not know one tone from another".to_owned());
            }
            phones.push(Caller { aor: format!("sip:{user}@example.com"), phone, home, tone });
        }
        Ok(Self { phones, center, neighbour: &network.neighbour, daemon, vars })
    }

    fn play(&mut self) -> Outcome<()> {
        let all: Vec<_> = self.phones.iter().map(|caller| one("user", &caller.aor)).collect();
        expect(&self.daemon, "registrations", &all, &self.vars)?;
        let mut phones = std::mem::take(&mut self.phones);
        for caller in &mut phones {
            let told = self.call(caller).map_err(|error| format!("the call of {}: {error}", caller.aor));
            let told = told.and_then(|()| {
                self.call_back(caller).map_err(|error| format!("the callback to {}: {error}", caller.aor))
            });
            told.map_err(|error| {
                format!("{error}\n--- phone\n{}\n--- call center\n{}", caller.phone.output(), self.center.output())
            })?;
        }
        Ok(())
    }

    fn call(&mut self, caller: &mut Caller<'_>) -> Outcome<()> {
        self.record(caller)?;
        caller.home.inside(|| caller.phone.dial("sip:911@example.com"))?;
        self.talk("emergency", caller)?;
        caller.home.inside(|| caller.phone.hang_up())?;
        self.heard(caller)
    }

    fn call_back(&mut self, caller: &mut Caller<'_>) -> Outcome<()> {
        let leases = self.daemon.rows("leases")?;
        let field =
            |row: &serde_json::Value, name: &str| row.get(name).and_then(|value| value.as_str().map(str::to_owned));
        let lease = leases.iter().find(|lease| field(lease, "user").as_ref() == Some(&caller.aor));
        let number = lease.and_then(|lease| field(lease, "number")).ok_or("no lease for the emergency call")?;
        self.record(caller)?;
        self.neighbour.inside(|| self.center.dial(&format!("sip:{number}@{}", PUBLIC[0])))?;
        self.talk("callback", caller)?;
        self.neighbour.inside(|| self.center.hang_up())?;
        self.heard(caller)
    }

    fn record(&mut self, caller: &mut Caller<'_>) -> Outcome<()> {
        caller.phone.record()?;
        self.center.record()
    }

    fn talk(&self, kind: &str, caller: &Caller<'_>) -> Outcome<()> {
        let mut row = toml! { state = "answered" };
        row.extend(one("kind", kind));
        row.extend(one("user", &caller.aor));
        expect(&self.daemon, "calls", &[row], &self.vars)?;
        sleep(TALK);
        Ok(())
    }

    /// The call is over; each has heard what the other played.
    fn heard(&self, caller: &Caller<'_>) -> Outcome<()> {
        expect(&self.daemon, "calls", &[], &self.vars)?;
        for (who, phone, tone) in [("the phone", &caller.phone, CENTER), ("the call center", &self.center, caller.tone)]
        {
            let mut last = Ok(0.0);
            let enough = until(Duration::from_secs(20), || {
                last = phone.recording().and_then(|recording| seconds_of(&recording, tone));
                last.as_ref().is_ok_and(|seconds| *seconds >= HEARD).then_some(())
            });
            enough.ok_or_else(|| format!("{who} should hear {HEARD} s of {tone} Hz at the level played: {last:?}"))?;
        }
        Ok(())
    }
}

fn one(key: &str, value: &str) -> toml::Table {
    toml::Table::from_iter([(key.to_owned(), value.into())])
}

fn changes() -> toml::Table {
    toml! {
        users = [
            { aor = "sip:alice@example.com", password = "secret", resource = "contoso", inbound = false, country = "US" },
            { aor = "sip:bob@example.com", password = "secret", resource = "contoso", inbound = false, country = "US" },
        ]
        [[trunks]]
        name = "call-center"
        targets = [{ uri = "sip:{psap};transport=udp" }]
        accept_from = ["203.0.113.2/32"]
        options_interval = "0s"
    }
}
