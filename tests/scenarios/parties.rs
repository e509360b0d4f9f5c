//! Parties that were not written with this repository, over each transport they have: PJSIP, JsSIP in Chromium, Kamailio.
//!
//! Each registers, calls 911, is held and holds, hangs up, and is called back on its number; at every step both hear the other.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use toml::toml;

use crate::Outcome;
use crate::certificates;
use crate::daemon::Daemon;
use crate::expect::expect;
use crate::kamailio::Kamailio;
use crate::party::{Identity, Make, Party};
use crate::ports;
use crate::rtpengine::Rtpengine;
use crate::story;
use crate::vars::Vars;

/// What a phone of PJSIP plays, in Hz.
pub const TONE: u16 = 800;

/// Where the phone is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Sosbridge,
    /// Kamailio, which is a PBX to the daemon.
    Pbx,
}

/// What a trunk leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Center {
    /// A phone of the same make, which is the call center.
    Phone,
    /// Kamailio, with which the phone of an agent is registered.
    Edge,
    /// The same, and it wants a password from the daemon.
    Challenging,
}

/// Who calls, and who is called.
#[derive(Clone, Copy)]
pub struct Cast {
    /// Of the phone and of the call center, where what goes between the two crosses as it is.
    make: Make,
    /// Of the call center, where it is another one: what goes between the two goes through rtpengine.
    foreign: Option<Make>,
    home: Home,
    center: Center,
    /// Of the phone or its PBX, and of the trunk.
    transports: (&'static str, &'static str),
}

/// Name and cast of every trial.
pub fn all() -> Vec<(String, Cast)> {
    let trunks = ["udp", "tcp", "tls"];
    let pairs = |phones: &[&'static str]| -> Vec<_> {
        phones.iter().flat_map(|phone| trunks.map(|trunk| (*phone, trunk))).collect()
    };
    let groups = [
        ("pjsip", Make::Pjsip, Home::Sosbridge, Center::Phone, pairs(&["udp", "tcp", "tls"])),
        ("jssip", Make::Jssip, Home::Sosbridge, Center::Edge, pairs(&["ws", "wss"])),
        (
            "kamailio-challenges",
            Make::Pjsip,
            Home::Sosbridge,
            Center::Challenging,
            trunks.map(|both| (both, both)).to_vec(),
        ),
        ("rtpengine-jssip", Make::Jssip, Home::Sosbridge, Center::Phone, vec![("wss", "udp"), ("ws", "tls")]),
        ("rtpengine-pjsip", Make::Pjsip, Home::Sosbridge, Center::Phone, vec![("udp", "udp")]),
        ("behind-kamailio", Make::Pjsip, Home::Pbx, Center::Phone, trunks.map(|both| (both, both)).to_vec()),
    ];
    let named = |(name, make, home, center, pairs): (&str, _, _, _, Vec<(&'static str, &'static str)>)| {
        let foreign = name.starts_with("rtpengine-").then_some(Make::Pjsip);
        let cast = move |transports| Cast { make, foreign, home, center, transports };
        let name = name.to_owned();
        pairs
            .into_iter()
            .map(move |(phone, trunk)| (format!("parties::{name}-{phone}-to-{trunk}"), cast((phone, trunk))))
    };
    groups.into_iter().flat_map(named).collect()
}

struct Scene {
    cast: Cast,
    vars: Vars,
    phone: Party,
    center: Party,
    _edge: Option<Kamailio>,
    _pbx: Option<Kamailio>,
    _rtpengine: Option<Rtpengine>,
    daemon: Daemon,
}

/// From the registration to the end of the callback.
pub fn play(cast: Cast) -> Outcome<()> {
    story::in_scratch("parties", |folder| Scene::open(cast, folder)?.play())
}

impl Scene {
    fn open(cast: Cast, folder: &Path) -> Outcome<Self> {
        certificates::write(folder)?;
        let (of_phone, of_trunk) = cast.transports;
        let mut vars = addresses(cast)?;
        let rtpengine = cast.foreign.map(|_| Rtpengine::start(folder)).transpose()?;
        let ng = rtpengine.as_ref().map_or_else(|| "127.0.0.1:2223".to_owned(), |rtpengine| rtpengine.ng.to_string());
        vars.set("ng", &ng);
        let daemon = Daemon::serve(folder, &story::config(&changes())?, &vars)?;
        let trunk = vars.address("psap")?;
        let edge = match cast.center {
            Center::Phone => None,
            Center::Edge | Center::Challenging => {
                let terms = (cast.center == Center::Challenging).then_some("CHALLENGES");
                Some(Kamailio::start(trunk, "trunk.pem", vars.address("server")?, of_trunk, terms, folder)?)
            }
        };
        let pbx = match cast.home {
            Home::Sosbridge => None,
            Home::Pbx => {
                // Over TLS it is known by its certificate, to a listener that asks for one, and asks for ours.
                let (listener, terms) = match of_phone {
                    "tls" => ("certified", Some("CERTIFIED")),
                    _ => (of_phone, None),
                };
                let (own, server) = (vars.address("pbx")?, vars.address(listener)?);
                Some(Kamailio::start(own, "pbx.pem", server, of_phone, terms, folder)?)
            }
        };
        // Browsers have no transport but WebSocket, which Kamailio has on the port of TCP.
        let beside = |kamailio: SocketAddr, transport| match (cast.make, transport) {
            (Make::Jssip, _) => ("ws", kamailio),
            (Make::Pjsip, "tls") => ("tls", SocketAddr::new(kamailio.ip(), kamailio.port() + 1)),
            (Make::Pjsip, other) => (other, kamailio),
        };
        let own = if edge.is_some() { ports::free(ports::TRUNK)? } else { trunk };
        let (transport, server) = match edge {
            Some(_) => beside(trunk, of_trunk),
            None => (of_trunk, vars.address("server")?),
        };
        let identity = |user, domain: &str, transport, server, registers, own| -> Outcome<Identity> {
            let read = std::fs::read_to_string(folder.join("own.sha256"));
            Ok(Identity {
                user,
                domain: domain.to_owned(),
                server,
                transport,
                registers,
                own,
                media: ports::media().start,
                tone: TONE,
                rings: false,
                ca: folder.join("ca.pem"),
                cert: folder.join("trunk.pem"),
                server_key: read.map_err(|error| error.to_string())?,
            })
        };
        let center = identity("911", &trunk.to_string(), transport, server, edge.is_some(), own)?;
        let center = Party::start(cast.foreign.unwrap_or(cast.make), &center, folder)?;
        let (domain, (transport, server)) = match cast.home {
            Home::Sosbridge => ("example.com".to_owned(), (of_phone, vars.address(of_phone)?)),
            Home::Pbx => (vars.fill("{pbx}")?, beside(vars.address("pbx")?, of_phone)),
        };
        let phone = identity("alice", &domain, transport, server, true, ports::free(ports::PHONE)?)?;
        let phone = Party::start(cast.make, &phone, folder)?;
        Ok(Self { cast, vars, phone, center, _edge: edge, _pbx: pbx, _rtpengine: rtpengine, daemon })
    }

    fn play(&mut self) -> Outcome<()> {
        if self.cast.home == Home::Sosbridge {
            self.expect("registrations", toml! { user = "{user}" transport = "{phone_transport}" })?;
        }
        self.phone.act("dial sip:911@example.com")?;
        self.center.wait(&json!({"event": "incoming"}))?;
        self.talk("emergency")?;
        let leases = self.daemon.rows("leases")?;
        let number = leases.first().and_then(|lease| lease.get("number")).and_then(|number| number.as_str());
        self.vars.set("number", number.ok_or("no lease for the emergency call")?);
        self.phone.act("hang up")?;
        self.over()?;
        self.expect("leases", toml! { number = "{number}" user = "{user}" state = "held" })?;

        // An agent dials what it has been shown; a call center of its own knows where that is.
        let callback = match self.cast.center {
            Center::Phone => "dial sip:{number}@{server};transport={trunk_transport}",
            Center::Edge | Center::Challenging => "dial sip:{number}@{psap}",
        };
        self.center.act(&self.vars.fill(callback)?)?;
        // RFC 7090 §5: the phone is told what this call is.
        self.phone.wait(&json!({"event": "incoming", "message": "~(?m)^Priority: psap-callback"}))?;
        self.talk("callback")?;
        self.center.act("hang up")?;
        self.over()?;
        let callback = toml! { kind = "callback" number = "{number}" outcome = "answered" };
        let emergency = toml! { kind = "emergency" number = "{number}" outcome = "answered" };
        expect(&self.daemon, "records", &[callback, emergency], &self.vars)?;
        self.daemon.stop()
    }

    /// They have just been connected: each hears the other; the phone holds and resumes; the call center does.
    fn talk(&mut self, kind: &str) -> Outcome<()> {
        let call = toml::Table::from_iter([("kind".to_owned(), kind.into()), ("state".to_owned(), "answered".into())]);
        self.expect("calls", call)?;
        self.hear()?;
        for phone_holds in [true, false] {
            let (one, other) = match phone_holds {
                true => (&mut self.phone, &mut self.center),
                false => (&mut self.center, &mut self.phone),
            };
            one.act("hold")?;
            one.wait_media("holds")?;
            other.wait_media("held")?;
            one.act("resume")?;
            one.wait_media("active")?;
            other.wait_media("active")?;
        }
        self.hear()
    }

    fn hear(&mut self) -> Outcome<()> {
        if self.cast.foreign.is_some() && self.cast.make == Make::Jssip {
            // The tone of the call center, as the page measures it.
            let heard = self.phone.heard()?;
            let peak = heard.get("peak").and_then(serde_json::Value::as_f64).unwrap_or_default();
            if (peak - f64::from(TONE)).abs() > 40.0 {
                return Err(format!("the browser hears {peak} Hz, and {TONE} Hz are played"));
            }
        } else {
            self.phone.hears()?;
        }
        self.center.hears()
    }

    /// Both know that the call is over, and so does the daemon.
    fn over(&mut self) -> Outcome<()> {
        self.phone.wait(&json!({"event": "ended"}))?;
        self.center.wait(&json!({"event": "ended"}))?;
        expect(&self.daemon, "calls", &[], &self.vars)
    }

    fn expect(&self, table: &str, row: toml::Table) -> Outcome<()> {
        expect(&self.daemon, table, &[row], &self.vars)
    }
}

fn addresses(cast: Cast) -> Outcome<Vars> {
    let mut vars = Vars::default();
    for name in ["udp", "tls", "ws", "wss", "certified", "admin"] {
        vars.set_address(name, ports::free(ports::SOSBRIDGE)?);
    }
    vars.set_address("tcp", vars.address("udp")?);
    let (of_phone, of_trunk) = cast.transports;
    vars.set("phone_transport", of_phone);
    // Between browsers media needs ICE, which a relay takes out.
    let media = match (cast.foreign, cast.make) {
        (Some(_), _) => "rtpengine",
        (None, Make::Jssip) => "pass",
        (None, Make::Pjsip) => "relay",
    };
    vars.set("media", media);
    vars.set("trunk_transport", of_trunk);
    // Where nobody is a PBX, one stands in the configuration all the same.
    vars.set("pbx_transport", if cast.home == Home::Pbx { of_phone } else { "udp" });
    let psap = ports::free(ports::TRUNK)?;
    vars.set_address("psap", psap);
    let pbx = ports::free(ports::PBX)?;
    vars.set_address("pbx", pbx);
    // Kamailio listens for TLS on the port after.
    let after = |address: SocketAddr, is_tls| SocketAddr::new(address.ip(), address.port() + u16::from(is_tls));
    vars.set_address("target", after(psap, of_trunk == "tls" && cast.center != Center::Phone));
    let pbx_is_tls = cast.home == Home::Pbx && of_phone == "tls";
    vars.set_address("pbx_target", after(pbx, pbx_is_tls));
    vars.set("pbx_trusted", if pbx_is_tls { "pbx.example" } else { "127.0.0.24/32" });
    // A trunk on TLS is known by its certificate alone, to a listener that asks for one.
    let (listener, trusted) = match of_trunk {
        "tls" => ("certified", "center.example"),
        _ => (of_trunk, "127.0.0.22/32"),
    };
    vars.set_address("server", vars.address(listener)?);
    vars.set("trusted", trusted);
    vars.set("user", if cast.home == Home::Pbx { "sip:alice@hq-pbx" } else { "sip:alice@example.com" });
    let secret = if cast.center == Center::Challenging { ["sosbridge", "trunk-secret"] } else { ["", ""] };
    vars.set("trunk_username", secret[0]);
    vars.set("trunk_password", secret[1]);
    Ok(vars)
}

/// A listener of each kind.
fn changes() -> toml::Table {
    toml! {
        users = [{ aor = "sip:alice@example.com", password = "secret", resource = "contoso", inbound = false, country = "US" }]
        resources = [{ name = "contoso", numbers = [{ number = "+14255550100", make_calls = true }], unknown_country = "US" }]
        [sip]
        listen = [
            { transport = "udp", address = "{udp}" },
            { transport = "tcp", address = "{tcp}" },
            { transport = "tls", address = "{tls}", cert = "own.pem", key = "own-key.pem" },
            { transport = "tls", address = "{certified}", cert = "own.pem", key = "own-key.pem", client_ca = "ca.pem" },
            { transport = "ws", address = "{ws}" },
            { transport = "wss", address = "{wss}", cert = "own.pem", key = "own-key.pem" },
        ]
        [[trunks]]
        name = "call-center"
        targets = [{ uri = "sip:{target};transport={trunk_transport}" }]
        ca = "ca.pem"
        accept_from = ["{trusted}"]
        options_interval = "0s"
        username = "{trunk_username}"
        password = "{trunk_password}"
        [media]
        mode = "{media}"
        rtpengine = "udp:{ng}"
        [[pbxs]]
        name = "hq-pbx"
        resource = "contoso"
        addresses = ["{pbx_trusted}"]
        target = "sip:{pbx_target};transport={pbx_transport}"
        ca = "ca.pem"
        cert = "own.pem"
        key = "own-key.pem"
    }
}
