//! Plays one folder of `sip-scenarios/` against a daemon of its own.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::daemon::Daemon;
use crate::expect::expect_of;
use crate::plan::{Act, Digest, Plan, Play, Role, Step};
use crate::ports;
use crate::sipp::Party;
use crate::vars::Vars;
use crate::webhook::Webhook;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-scenarios")
}

/// The folders with a `story.toml`, in alphabetical order.
pub fn names() -> Outcome<Vec<String>> {
    let entries = std::fs::read_dir(folder()).map_err(|error| format!("sip-scenarios: {error}"))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("story.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Plays the story of that name.
pub fn play(name: &str) -> Outcome<()> {
    in_scratch(name, |scratch| Stage::open(name, scratch)?.play())
}

/// Gives `tell` a folder; on failure the folder stays, and the error says where.
pub fn in_scratch(name: &str, tell: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<()> {
    let scratch = tempfile::Builder::new().prefix(&format!("story-{name}-")).tempdir();
    let scratch = scratch.map_err(|error| format!("no temporary folder: {error}"))?;
    tell(scratch.path()).map_err(|error| {
        let kept = scratch.keep();
        let log = std::fs::read_to_string(kept.join("sosbridge.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        format!("{error}\n--- the last lines of the daemon\n{last}\n--- all files are in {}", kept.display())
    })
}

struct Stage {
    plan: Plan,
    story: PathBuf,
    common: PathBuf,
    scratch: PathBuf,
    vars: Vars,
    webhook: Webhook,
    playing: Vec<Party>,
    // After the parties, so that it goes last.
    daemon: Daemon,
}

impl Stage {
    fn open(name: &str, scratch: &Path) -> Outcome<Self> {
        let story = folder().join(name);
        let plan = Plan::read(&story)?;
        let mut vars = Vars::default();
        vars.set_address("sosbridge", ports::free(ports::SOSBRIDGE)?);
        vars.set_address("admin", ports::free(ports::SOSBRIDGE)?);
        // The trunk of base.toml, also where nobody plays it.
        vars.set_address("psap", ports::free(ports::TRUNK)?);
        let webhook = Webhook::start()?;
        vars.set_address("webhook", webhook.address);
        for (party, role) in &plan.parties {
            let ip = match role {
                Role::Phone => ports::PHONE,
                Role::Trunk => ports::TRUNK,
                Role::Stranger => ports::STRANGER,
            };
            vars.set_address(party, ports::free(ip)?);
        }
        let config = config(&plan.config)?;
        let daemon = Daemon::serve(scratch, &config, &vars)?;
        let common = folder().join("common");
        Ok(Self { plan, story, common, scratch: scratch.to_owned(), vars, webhook, playing: Vec::new(), daemon })
    }

    fn play(&mut self) -> Outcome<()> {
        let steps = std::mem::take(&mut self.plan.steps);
        for (at, step) in steps.iter().enumerate() {
            self.step(step).map_err(|error| format!("step {}: {error}{}", at + 1, self.others()))?;
        }
        while let Some(party) = self.playing.pop() {
            party.finish(&mut self.vars)?;
        }
        self.daemon.stop()
    }

    fn step(&mut self, step: &Step) -> Outcome<()> {
        match step {
            Step::Play(play) => match (&play.run, &play.start) {
                (Some(name), None) => self.party(name, play)?.finish(&mut self.vars),
                (None, Some(name)) => {
                    let party = self.party(name, play)?;
                    self.playing.push(party);
                    Ok(())
                }
                _ => Err("a party either runs or starts".to_owned()),
            },
            Step::Finish(finish) => {
                let at = self.playing.iter().position(|party| party.name() == finish.finish);
                let at = at.ok_or_else(|| format!("{} was not started", finish.finish))?;
                self.playing.remove(at).finish(&mut self.vars)
            }
            Step::Expect(wanted) => {
                let rows = || match wanted.expect.as_str() {
                    "posts" => Ok(self.webhook.rows()),
                    table => self.daemon.rows(table),
                };
                expect_of(rows, &wanted.expect, &wanted.are, &self.vars)
            }
            Step::Daemon(daemon) => match daemon.daemon {
                Act::Kill => {
                    self.daemon.kill();
                    Ok(())
                }
                Act::Start => self.daemon.restart(),
                Act::Stop => {
                    self.daemon.terminate();
                    Ok(())
                }
            },
            Step::Reload(reload) => {
                let mut config = config(&self.plan.config)?;
                merge(&mut config, &reload.reload);
                self.daemon.reload(&config, &self.vars, &reload.says)
            }
            Step::Digest(digest) => self.digest(digest),
        }
    }

    fn party(&self, name: &str, play: &Play) -> Outcome<Party> {
        Party::start(name, play, [&self.story, &self.common], &self.scratch, &self.vars)
    }

    fn digest(&mut self, digest: &Digest) -> Outcome<()> {
        let challenge = self.vars.fill(&digest.digest)?;
        let mut prompt = digest_auth::parse(&challenge).map_err(|error| format!("{challenge}: {error}"))?;
        let method = digest_auth::HttpMethod::from(digest.method.as_str());
        let context = digest_auth::AuthContext::new_with_method(
            &digest.user,
            &digest.password,
            &digest.uri,
            None::<&[u8]>,
            method,
        );
        let answer = prompt.respond(&context).map_err(|error| error.to_string())?;
        self.vars.set("authorization", &answer.to_string());
        Ok(())
    }

    /// What the parties that still play have seen, for the story of a failure.
    fn others(&self) -> String {
        self.playing.iter().map(|party| format!("\n=== meanwhile, {}", party.told("still playing"))).collect()
    }
}

/// `base.toml` with what the story changes.
pub fn config(changes: &toml::Table) -> Outcome<toml::Table> {
    let file = folder().join("base.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut config: toml::Table = toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    merge(&mut config, changes);
    Ok(config)
}

fn merge(into: &mut toml::Table, changes: &toml::Table) {
    for (key, change) in changes {
        match (into.get_mut(key), change) {
            (Some(toml::Value::Table(table)), toml::Value::Table(change)) => merge(table, change),
            (_, change) => {
                into.insert(key.clone(), change.clone());
            }
        }
    }
}
