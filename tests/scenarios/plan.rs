//! `story.toml`: the parties of a story, what they do one after the other, and what must be true of the daemon in between.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Outcome;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// One sentence: what is shown.
    pub title: String,
    /// Name and role; each gets an address, `{name}` in the configuration and `[name]` in the XML.
    pub parties: BTreeMap<String, Role>,
    /// What differs from `sip-scenarios/base.toml`: tables are merged, everything else is replaced.
    #[serde(default)]
    pub config: toml::Table,
    pub steps: Vec<Step>,
}

/// What the daemon takes a party for, by its address.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Phone,
    Trunk,
    Stranger,
}

/// One line of a story.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Step {
    Play(Play),
    Finish(Finish),
    Expect(Expect),
    Daemon(Daemon),
    Reload(Reload),
    Digest(Digest),
}

/// A party plays an XML file: `run` to its end, `start` while the story goes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    pub run: Option<String>,
    pub start: Option<String>,
    /// An XML file of the story, else of `common/`, without `.xml`.
    pub plays: String,
    /// Whose phone it is, where not the party's own: `[service]` in the XML, and the name for its password.
    pub user: Option<String>,
    /// The URI of its digest without `sip:`, where not that of a REGISTER.
    pub auth_uri: Option<String>,
    /// XML for a call that comes in while this one is up.
    pub meanwhile: Option<String>,
    #[serde(default)]
    pub transport: Transport,
    /// `[key]` in the XML, beside the variables of the story.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// As it stands in a URI.
    pub fn token(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A party that was started must reach its end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    pub finish: String,
}

/// Rows of the admin API: exactly so many, each with these fields among its own, within a few seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `leases`, `calls`, `records`, `registrations` or `trunks`; `posts`: what the webhook has taken.
    pub expect: String,
    pub are: Vec<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    pub daemon: Act,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// `kill -9`.
    Kill,
    /// Starts it again on the same store.
    Start,
    /// SIGTERM, and the story goes on; at its end the daemon must have gone by itself.
    Stop,
}

/// Another configuration: `base.toml`, then `[config]`, then this; SIGHUP; and the log must say so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    pub reload: toml::Table,
    pub says: String,
}

/// Computes `{authorization}`, the answer to a challenge that SIPp itself cannot give (it knows no SHA-256).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// The challenge, as a `WWW-Authenticate` header has it.
    pub digest: String,
    pub user: String,
    pub password: String,
    pub method: String,
    pub uri: String,
}

impl Plan {
    pub fn read(folder: &Path) -> Outcome<Self> {
        let file = folder.join("story.toml");
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let plan: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let asserts = |step: &Step| matches!(step, Step::Expect(_));
        if plan.title.is_empty() || !plan.steps.iter().any(asserts) {
            return Err(format!("{}: a story has a title and expects something of the daemon", file.display()));
        }
        Ok(plan)
    }
}
