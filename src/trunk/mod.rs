//! Trunks: where calls may go, in which order, and whether anybody is there (SPEC §5, RFC 3263 §4.3).
//!
//! OPTIONS probes and the fate of calls reorder targets; nothing ever removes one. The next target is chosen here,
//! tried in `call`; messages are built above.

mod order;
mod target;

#[cfg(test)]
mod tests;

pub use target::{Sign, State, Target};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::base::{Instant, Protocol, Rng};
use crate::config::{Config, TrunkIdx};
use order::Choice;

slotmap::new_key_type! {
    /// A target; the same across reloads of the config that keep it (same trunk name and URI), never another one.
    pub struct TargetId;
}

impl TargetId {
    /// As a number, for floors that know no targets.
    pub fn number(self) -> u64 {
        slotmap::Key::data(&self).as_ffi()
    }

    pub fn of_number(number: u64) -> Self {
        slotmap::KeyData::from_ffi(number).into()
    }
}

/// A look-up asked of DNS; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub u64);

/// Addresses wanted for `host`, each with `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: QueryId,
    pub host: CompactString,
    pub port: u16,
}

/// An OPTIONS to send; its fate is to be told to `Trunks::report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub target: TargetId,
    pub remote: SocketAddr,
}

/// Who is at the other end of a TLS connection of ours: the certificate must say so (RFC 5922 §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose `ca`, `cert` and `key` count.
    pub trunk: CompactString,
    /// Host of the target's URI, in lower case, before DNS; IPv6 in brackets.
    pub host: CompactString,
}

/// One trunk as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub name: &'a str,
    pub targets: Vec<TargetView<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView<'a> {
    pub uri: &'a str,
    pub state: State,
    pub last_ok: Option<Instant>,
    pub last_status: Option<u16>,
    /// Why no connection could be made; `None` once it answers.
    pub last_error: Option<&'a str>,
}

/// All trunks of the config.
pub struct Trunks {
    config: Arc<Config>,
    targets: slotmap::SlotMap<TargetId, Target>,
    /// By `TrunkIdx`, in the order of the config.
    ids: Vec<Vec<TargetId>>,
    queries: VecDeque<(QueryId, TargetId)>,
    last_query: u64,
    changes: Vec<Change>,
}

/// A target that answers, or does so no more, whoever noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub target: TargetId,
    pub from: State,
    pub to: State,
}

impl Trunks {
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let mut trunks = Self {
            config: Arc::clone(&config),
            targets: slotmap::SlotMap::default(),
            ids: Vec::new(),
            queries: VecDeque::new(),
            last_query: 0,
            changes: Vec::new(),
        };
        trunks.reload(config, now);
        trunks
    }

    /// Takes another config; targets that stay keep their id and what is known of them.
    pub fn reload(&mut self, config: Arc<Config>, now: Instant) {
        let was = std::mem::replace(&mut self.config, config);
        let old_ids = std::mem::take(&mut self.ids);
        let mut old: Vec<(&str, TargetId)> = was
            .trunks
            .iter()
            .zip(&old_ids)
            .flat_map(|(trunk, ids)| ids.iter().map(|id| (trunk.name.as_str(), *id)))
            .collect();
        for (trunk, at) in self.config.trunks.iter().zip(0..) {
            let mut ids = Vec::with_capacity(trunk.targets.len());
            for target in &trunk.targets {
                let same = |(name, id): &(&str, TargetId)| {
                    *name == trunk.name && self.targets.get(*id).is_some_and(|known| known.config.uri == target.uri)
                };
                let kept = old.iter().position(same).map(|place| old.swap_remove(place).1);
                let fresh = || Target::new(TrunkIdx(at), target, trunk.options_interval, now);
                let id = match kept {
                    Some(id) => id,
                    None => self.targets.insert(fresh()),
                };
                if let Some(known) = self.targets.get_mut(id) {
                    known.carry_over(TrunkIdx(at), target, trunk.options_interval, now);
                }
                ids.push(id);
            }
            self.ids.push(ids);
        }
        for (_, gone) in old {
            self.targets.remove(gone);
        }
    }

    /// The targets of these trunks, each once, in the order to try: trunk by trunk, by priority and weight; those that
    /// are down or have no address yet come last.
    pub fn candidates(&self, rng: &mut Rng, trunks: &[TrunkIdx]) -> Vec<TargetId> {
        let mut ordered: Vec<TargetId> = Vec::new();
        for (at, trunk) in trunks.iter().enumerate() {
            if trunks.iter().take(at).any(|earlier| earlier == trunk) {
                continue;
            }
            let choice = |id: &TargetId| {
                let config = &self.targets.get(*id)?.config;
                Some(Choice { item: *id, priority: config.priority, weight: config.weight })
            };
            ordered.extend(order::order(rng, self.targets_of(*trunk).iter().filter_map(choice).collect()));
        }
        ordered.sort_by_key(|id| self.target(*id).map_or(u8::MAX, hopelessness));
        ordered
    }

    /// `None` once the config has dropped it.
    pub fn target(&self, id: TargetId) -> Option<&Target> {
        self.targets.get(id)
    }

    pub fn targets_of(&self, trunk: TrunkIdx) -> &[TargetId] {
        let at = usize::try_from(trunk.0).unwrap_or(usize::MAX);
        self.ids.get(at).map_or(&[], Vec::as_slice)
    }

    /// What became of a probe or of a call's request to `remote`.
    pub fn report(&mut self, now: Instant, id: TargetId, remote: SocketAddr, sign: Sign) {
        let Some(target) = self.targets.get_mut(id) else { return };
        let from = target.state();
        target.report(now, remote, sign);
        let to = target.state();
        if from != to {
            self.changes.push(Change { target: id, from, to });
        }
    }

    /// Whom to expect where a call to this target goes; `None` once the config has dropped it.
    pub fn peer(&self, id: TargetId) -> Option<Peer> {
        self.targets.get(id).and_then(|target| self.peer_of(target))
    }

    /// Whom to expect at `remote`, when nothing else tells: the trunk with a target there, else one with a target on that host,
    /// whose Contact may name another port. `None` where it could be one or the other.
    pub fn peer_at(&self, protocol: Protocol, remote: SocketAddr) -> Option<Peer> {
        let find = |fits: &dyn Fn(SocketAddr) -> bool| {
            let all = self.ids.iter().flatten().filter_map(|id| self.targets.get(*id));
            let mut there = all.filter(|target| target.protocol() == protocol && target.addresses().any(fits));
            let first = there.next()?;
            Some((first, there.all(|other| other.trunk == first.trunk)))
        };
        let found = find(&|address| address == remote).or_else(|| find(&|address| address.ip() == remote.ip()));
        found.filter(|(_, is_only)| *is_only).and_then(|(target, _)| self.peer_of(target))
    }

    fn peer_of(&self, target: &Target) -> Option<Peer> {
        let trunk = self.config.trunk(target.trunk)?.name.clone();
        Some(Peer { trunk, host: target.config.host.clone() })
    }

    /// True when a target has this address, whatever its transport.
    pub fn are_at(&self, address: SocketAddr) -> bool {
        self.targets.values().any(|target| target.addresses().any(|known| known == address))
    }

    /// No connection to `remote` could be made. What that means for its state is told by what was to be sent.
    pub fn failed(&mut self, protocol: Protocol, remote: SocketAddr, reason: &str) {
        for target in self.targets.values_mut().filter(|target| target.protocol() == protocol) {
            target.failed(remote, reason);
        }
    }

    /// What has changed since the last time, oldest first.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The trunk that may send calls from `source`; `None`: an outsider.
    pub fn accepts(&self, source: SocketAddr) -> Option<TrunkIdx> {
        self.config.trunk_accepting(source)
    }

    /// When `handle_timeout` and `wants_resolve` want to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.targets.values().filter_map(Target::deadline).min()
    }

    /// The probes that are due.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (id, target) in &mut self.targets {
            probes.extend(target.probes(now, rng).into_iter().map(|remote| Probe { target: id, remote }));
        }
        probes
    }

    /// The next look-up that is due; to be called until `None`.
    pub fn wants_resolve(&mut self, now: Instant) -> Option<Query> {
        let (id, target) =
            self.targets.iter_mut().find_map(|(id, target)| target.starts_resolving(now).then_some((id, target)))?;
        self.last_query += 1;
        let query = QueryId(self.last_query);
        let answer = Query { id: query, host: target.config.host.clone(), port: target.port() };
        self.queries.retain(|(_, asked)| *asked != id);
        self.queries.push_back((query, id));
        Some(answer)
    }

    /// What DNS said; empty when it failed, which leaves the addresses known before. Answers to older queries are ignored.
    pub fn resolved(&mut self, query: QueryId, addresses: &[SocketAddr], now: Instant) {
        let Some(at) = self.queries.iter().position(|(asked, _)| *asked == query) else { return };
        let target = self.queries.remove(at).and_then(|(_, id)| self.targets.get_mut(id));
        if let Some(target) = target {
            target.resolved(addresses, now);
        }
    }

    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.config.trunks.iter().zip(&self.ids).map(|(trunk, ids)| View {
            name: &trunk.name,
            targets: ids.iter().filter_map(|id| self.target(*id)).map(view).collect(),
        })
    }
}

/// What moves a target behind the others.
fn hopelessness(target: &Target) -> u8 {
    match target.state() {
        _ if target.addresses().next().is_none() => 2,
        State::Up | State::Unknown => 0,
        State::Down => 1,
    }
}

fn view(target: &Target) -> TargetView<'_> {
    TargetView {
        uri: &target.config.uri,
        state: target.state(),
        last_ok: target.last_ok,
        last_status: target.last_status,
        last_error: target.last_error.as_deref(),
    }
}
