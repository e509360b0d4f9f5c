//! The configuration of the tests, and changes to it by the text.

/// Two trunks in the US, one in Great Britain, tests on the test line; users with and without this and that.
const BASE: &str = r#"
[sip]
domains = ["example.com"]
[[sip.listen]]
transport = "udp"
address = "192.0.2.1:5060"
[[sip.listen]]
transport = "tcp"
address = "192.0.2.1:5060"
[registrar]
realm = "example.com"
[routing]
retry = "30s"
[callback]
hold = "60s"
ring = "origin-first"
[media]
mode = "pass"
[[resources]]
name = "contoso"
numbers = [{ number = "+14255550100", make_calls = true }]
# resource
[[resources]]
name = "mute"
numbers = [{ number = "+14255550200", make_calls = false }]
[[users]]
aor = "sip:alice@example.com"
password = "wonderland"
resource = "contoso"
number = "+14255550123"
inbound = false
country = "US"
[[users]]
aor = "sip:bob@example.com"
password = "builder"
resource = "contoso"
number = "+14255550124"
inbound = true
country = "US"
[[users]]
aor = "sip:nomad@example.com"
password = "tent"
resource = "contoso"
[[users]]
aor = "sip:mute@example.com"
password = "hush"
resource = "mute"
country = "US"
[[pools]]
countries = ["US", "PR", "CA"]
numbers = ["+14255551000-+14255551009"]
[[pools]]
countries = ["GB", "DK"]
numbers = ["+442079460000-+442079460009"]
[[trunks]]
name = "psap"
targets = [{ uri = "sip:203.0.113.80:5080" }]
accept_from = ["203.0.113.80:5080"]
options_interval = "0s"
# psap
[[trunks]]
name = "backup"
targets = [{ uri = "sip:203.0.113.81:5080" }]
accept_from = ["203.0.113.81/32"]
options_interval = "0s"
[[trunks]]
name = "carrier"
targets = [{ uri = "sip:203.0.113.82:5080" }]
accept_from = ["203.0.113.82:5080"]
options_interval = "0s"
request_uri = "urn"
identity = "both"
[[routes]]
countries = ["US", "PR", "CA"]
trunks = ["psap", "backup"]
[[routes]]
countries = ["GB", "DK"]
trunks = ["carrier"]
[[routes]]
countries = ["US"]
numbers = ["933"]
service = "test-line"
"#;

const SECURE: &str = r#"[[sip.listen]]
transport = "tls"
address = "192.0.2.1:5061"
cert = "own.pem"
key = "own-key.pem"
[[sip.listen]]
transport = "wss"
address = "192.0.2.1:8443"
cert = "own.pem"
key = "own-key.pem"
[[sip.listen]]
transport = "ws"
address = "192.0.2.1:8080"
[registrar]"#;

/// A configuration text.
#[derive(Clone, Debug)]
pub struct Toml(pub String);

impl Default for Toml {
    fn default() -> Self {
        let base = Self(BASE.to_owned());
        match super::relays() {
            true if super::has_engine() => base.engine(),
            true => base.relay(),
            false => base,
        }
    }
}

impl Toml {
    /// Media through the relay, which has addresses of both families.
    pub fn relay(self) -> Self {
        let addresses = format!("address = [\"{}\", \"{}\"]", super::RELAY, super::RELAY6);
        self.change("mode = \"pass\"", &format!("mode = \"relay\"\n{addresses}"))
    }

    /// Media through an rtpengine by script; the relay is there for what it does not take.
    pub fn engine(self) -> Self {
        let addresses = format!("address = [\"{}\", \"{}\"]", super::RELAY, super::RELAY6);
        let place = format!("rtpengine = \"udp:{}\"", super::engine::NG);
        self.change("mode = \"pass\"", &format!("mode = \"rtpengine\"\n{addresses}\n{place}"))
    }

    pub fn has_engine(&self) -> bool {
        self.0.contains(super::engine::NG)
    }

    pub fn relays(&self) -> bool {
        self.0.contains("mode = \"relay\"")
    }

    /// Only one trunk for the US, so that its failure is the end of a round.
    pub fn one_trunk() -> Self {
        Self::default().change("trunks = [\"psap\", \"backup\"]", "trunks = [\"psap\"]")
    }

    /// Listeners of IPv6 beside those of IPv4; the trunk `psap` is taken for itself from an IPv6 network too.
    pub fn dual() -> Self {
        let [udp, tcp] = ["udp", "tcp"].map(|transport| {
            format!("[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"[2001:db8::1]:5060\"\n")
        });
        let network = "accept_from = [\"2001:db8:80::/48\", \"203.0.113.80:5080\"]";
        Self::one_trunk()
            .change("[registrar]", &format!("{udp}{tcp}[registrar]"))
            .change("accept_from = [\"203.0.113.80:5080\"]", network)
    }

    /// The call center is where `agent` is.
    pub fn call_center_at(self, agent: &super::Agent, transport: &str) -> Self {
        self.change("sip:203.0.113.80:5080", &format!("sip:{};transport={transport}", agent.address))
    }

    /// Listeners of TLS, of WebSockets over it, and of WebSockets beside those of UDP and TCP.
    pub fn secure() -> Self {
        Self::default().change("[registrar]", SECURE)
    }

    /// Puts `to` in the place of `from`, which must be there.
    pub fn change(self, from: &str, to: &str) -> Self {
        assert!(self.0.contains(from), "{from} is not in the configuration");
        Self(self.0.replacen(from, to, 1))
    }

    /// Adds lines to `[sip]`.
    pub fn sip(self, lines: &str) -> Self {
        self.change("[sip]\n", &format!("[sip]\n{lines}\n"))
    }

    /// Adds lines to the trunk `psap`.
    pub fn psap(self, lines: &str) -> Self {
        self.change("# psap", &format!("{lines}\n# psap"))
    }

    /// Adds lines to the resource `contoso`.
    pub fn resource(self, lines: &str) -> Self {
        self.change("# resource", &format!("{lines}\n# resource"))
    }

    pub fn add(self, text: &str) -> Self {
        Self(self.0 + text)
    }
}
