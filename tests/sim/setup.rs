//! The stage: the configuration, the phones, the trunks, and an outsider.

use std::sync::Arc;
use std::time::Duration;

use sosbridge::base::Rng;
use sosbridge::config::{self, Config};

use crate::chance::{percent, pick, secs};
use crate::model::Rules;
use crate::party::Party;
use crate::phone::Registration;

/// Name, display name, password, own number, inbound calling.
pub const USERS: [(&str, &str, &str, Option<&str>, bool); 5] = [
    ("quentin", "Quentin Quill", "q-secret", Some("+14255550121"), false),
    ("ophelia", "Ophelia Orr", "o-secret", None, false),
    ("barnaby", "Barnaby Boot", "b-secret", Some("+14255550123"), true),
    ("lucinda", "Lucinda Lark", "l-secret", None, true),
    ("thaddeus", "Thaddeus Thorn", "t-secret", Some("+14255550125"), true),
];

/// The trunk that is no target and only calls.
pub const CALLER_ONLY: &str = "east-caller";
pub const OVERFLOW: &str = "+14255550100";
const FIRST_NUMBER: u64 = 14_255_551_000;

/// What a seed decides before anything happens.
pub struct Stage {
    pub config: Arc<Config>,
    /// The same without probes, for the end.
    pub quiet_config: Arc<Config>,
    pub rules: Rules,
    pub parties: Vec<Party>,
}

impl Stage {
    pub fn new(rng: &mut Rng, mode: &str, announces: bool) -> Self {
        let scarce = percent(rng, 15);
        let quarantine = *pick(rng, &[secs(600), secs(3600), secs(24 * 3600)]);
        let last = FIRST_NUMBER + if scarce { 1 } else { 39 };
        let rules = Rules {
            pool: FIRST_NUMBER..=last,
            quarantine,
            scarce,
            own: USERS.iter().map(|user| user.3.map(str::to_owned)).collect(),
            overflow: OVERFLOW.to_owned(),
        };
        let ring = if percent(rng, 80) { "origin-first" } else { "all" };
        let pool = format!("+{FIRST_NUMBER}-+{last}");
        let text = |interval: &str| {
            config_text(&pool, quarantine, ring, interval)
                .replace("\"pass\"", mode)
                .replace("hold = \"60s\"", &format!("hold = \"60s\"\nannouncement = {announces}"))
        };
        let interval = *pick(rng, &["5s", "30s", "10m"]);
        Self { config: load(&text(interval)), quiet_config: load(&text("0s")), rules, parties: parties(rng) }
    }
}

fn load(text: &str) -> Arc<Config> {
    let loaded = config::load(text, std::path::Path::new("/nowhere"));
    Arc::new(loaded.unwrap_or_else(|problems| panic!("{}", config::render(&problems, "sim.toml", text))).config)
}

fn config_text(pool: &str, quarantine: Duration, ring: &str, interval: &str) -> String {
    let mut users = String::new();
    for (name, _, password, number, inbound) in USERS {
        let number = number.map(|number| format!("number = \"{number}\"\n")).unwrap_or_default();
        users.push_str(&format!(
            "[[users]]\naor = \"sip:{name}@example.com\"\npassword = \"{password}\"\nresource = \"contoso\"\n{number}inbound = {inbound}\n"
        ));
    }
    let quarantine = quarantine.as_secs();
    format!(
        r#"
[store]
url = "sqlite:unused.db"
write_deadline = "200ms"
[sip]
domains = ["example.com"]
[[sip.listen]]
transport = "udp"
address = "10.0.0.1:5060"
[[sip.listen]]
transport = "tcp"
address = "10.0.0.1:5060"
[registrar]
realm = "example.com"
[[resources]]
name = "contoso"
numbers = [{{ number = "{OVERFLOW}", make_calls = true }}]
overflow = "{OVERFLOW}"
unknown_country = "US"
{users}
[lease]
window = "60m"
quarantine = "{quarantine}s"
tests_per_hour = 1000
[[pools]]
countries = ["US"]
numbers = ["{pool}"]
[[trunks]]
name = "east"
targets = [
  {{ uri = "sip:10.9.0.1:5080", priority = 1 }},
  {{ uri = "sip:10.9.0.2:5080;transport=tcp", priority = 2 }},
]
accept_from = ["10.9.0.0/24"]
allow_headers = ["X-Sim"]
options_interval = "{interval}"
[[trunks]]
name = "west"
targets = [{{ uri = "sip:west.example.net:5070" }}]
accept_from = ["10.9.1.1:5070"]
allow_headers = ["X-Sim"]
identity = "both"
options_interval = "{interval}"
[[routes]]
countries = ["US"]
trunks = ["east", "west"]
[[routes]]
countries = ["US"]
numbers = ["933"]
service = "test-line"
[callback]
hold = "60s"
ring = "{ring}"
[media]
mode = "pass"
"#
    )
}

/// Phones first: one of each user, and a second one of the first user.
fn parties(rng: &mut Rng) -> Vec<Party> {
    let mut parties = Vec::new();
    for (at, user) in [0, 1, 2, 3, 4, 0].into_iter().enumerate() {
        let (name, display, password, ..) = USERS[user];
        let tcp = percent(rng, 35);
        let instance = percent(rng, 50).then(|| format!("{:08x}-0000-1000-8000-{at:012x}", rng.u32()));
        let mut party = Party::new(&format!("p{at}"), &format!("10.1.{at}.2:5062"), tcp);
        party.inner = percent(rng, 30).then(|| format!("192.168.{at}.7:5062").parse().unwrap());
        party.phone = Some(Registration::new(user, (name, display, password), percent(rng, 60), instance));
        parties.push(party);
    }
    parties.push(Party::new("east-1", "10.9.0.1:5080", false));
    parties.push(Party::new("east-2", "10.9.0.2:5080", true));
    parties.push(Party::new("west-1", "10.9.1.1:5070", false));
    parties.push(Party::new(CALLER_ONLY, "10.9.0.77:5062", false));
    parties.push(Party::new("outsider", "203.0.113.66:5060", false));
    for party in &mut parties {
        party.modern = percent(rng, 50);
        party.wordy = percent(rng, 35);
        party.listens |= percent(rng, 60);
    }
    parties
}
