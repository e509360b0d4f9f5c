//! Trunks: where calls may go, in which order, and whether anybody is there (SPEC §5, RFC 3263 §4.3).
//!
//! OPTIONS probes and the fate of calls reorder targets; nothing ever removes one. The next target is chosen here,
//! tried in `call`; messages are built above.

mod order;
mod registration;
mod registrations;
mod target;

#[cfg(test)]
mod tests;

pub use registration::{Outcome, Register, Standing};
pub use target::{Sign, State, Target, Whose};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::base::{Instant, Protocol, Rng};
use crate::config::{self, Config, PbxIdx, TrunkIdx};
use crate::transport::{Flow, Found, Place, Question};
use order::Choice;

/// How long targets stay the last resort.
const LAST_RESORT: Duration = Duration::from_secs(60);

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

/// A question for DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: QueryId,
    pub question: Question,
}

/// An OPTIONS to send; its fate is to be told to `Trunks::report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub target: TargetId,
    pub place: Place,
}

/// Who is at the other end of a TLS connection of ours: the certificate must say so (RFC 5922 §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose `ca`, `cert` and `key` count: the name of a trunk, empty for a PBX,
    pub trunk: CompactString,
    /// or that of a PBX, empty for a trunk.
    pub pbx: CompactString,
    /// Host of the target's URI, in lower case, before DNS; IPv6 in brackets.
    pub host: CompactString,
    /// Whether its certificate holds today does not matter: an emergency call has no other way.
    pub is_last_resort: bool,
}

/// One trunk as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub name: &'a str,
    pub targets: Vec<TargetView<'a>>,
    /// Where it stands, and the last status; `None`: it wants none.
    pub registration: Option<(Standing, Option<u16>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView<'a> {
    pub uri: &'a str,
    pub state: State,
    pub last_ok: Option<Instant>,
    pub last_status: Option<u16>,
    /// Why no connection could be made, until it answers; else why calls go elsewhere first.
    pub last_error: Option<&'a str>,
}

/// All trunks of the config.
pub struct Trunks {
    config: Arc<Config>,
    targets: slotmap::SlotMap<TargetId, Target>,
    /// By `TrunkIdx`, in the order of the config.
    ids: Vec<Vec<TargetId>>,
    /// By `PbxIdx`.
    pbx_ids: Vec<TargetId>,
    /// By `TrunkIdx`; `None`: this one wants none.
    registrations: Vec<Option<registration::Registration>>,
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
            pbx_ids: Vec::new(),
            registrations: Vec::new(),
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
        let config = Arc::clone(&self.config);
        let (old_ids, old_pbxs) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.pbx_ids));
        let of_trunks = was.trunks.iter().zip(&old_ids);
        let mut old: Vec<(&str, TargetId)> =
            of_trunks.flat_map(|(trunk, ids)| ids.iter().map(|id| (trunk.name.as_str(), *id))).collect();
        for (trunk, at) in config.trunks.iter().zip(0..) {
            let interval = trunk.options_interval;
            let mut keep = |target| self.keep(&mut old, &trunk.name, Whose::Trunk(TrunkIdx(at)), target, interval, now);
            let ids = trunk.targets.iter().map(&mut keep).collect();
            self.ids.push(ids);
        }
        let mut old_pbxs: Vec<(&str, TargetId)> =
            was.pbxs.iter().zip(&old_pbxs).map(|(pbx, id)| (pbx.name.as_str(), *id)).collect();
        for (pbx, at) in config.pbxs.iter().zip(0..) {
            let id = self.keep(&mut old_pbxs, &pbx.name, Whose::Pbx(PbxIdx(at)), &pbx.target, None, now);
            self.pbx_ids.push(id);
        }
        for (_, gone) in old.into_iter().chain(old_pbxs) {
            self.targets.remove(gone);
        }
        self.reload_registrations(&was, now);
    }

    /// The target among the `old` ones of the same name and URI, taken from there; else a new one.
    fn keep(
        &mut self,
        old: &mut Vec<(&str, TargetId)>,
        name: &str,
        whose: Whose,
        target: &config::Target,
        interval: Option<Duration>,
        now: Instant,
    ) -> TargetId {
        let same = |(of, id): &(&str, TargetId)| {
            *of == name && self.targets.get(*id).is_some_and(|known| known.config.uri == target.uri)
        };
        let kept = old.iter().position(same).map(|place| old.swap_remove(place).1);
        let id = kept.unwrap_or_else(|| self.targets.insert(Target::new(whose, target, interval, now)));
        if let Some(known) = self.targets.get_mut(id) {
            known.carry_over(whose, target, interval, now);
        }
        id
    }

    /// The targets of these trunks, each once, in the order to try: trunk by trunk, by priority and weight; then those that
    /// are down, those that let calls wait, and those without an address.
    pub fn candidates(&self, rng: &mut Rng, trunks: &[TrunkIdx]) -> Vec<TargetId> {
        let mut ordered: Vec<TargetId> = Vec::new();
        for (at, trunk) in trunks.iter().enumerate() {
            if trunks.iter().take(at).any(|earlier| earlier == trunk) {
                continue;
            }
            let choice = |id: &TargetId| {
                let config = &self.targets.get(*id)?.config;
                Some(Choice { item: *id, priority: config.priority.into(), weight: config.weight })
            };
            ordered.extend(order::order(rng, self.targets_of(*trunk).iter().filter_map(choice).collect()));
        }
        ordered.sort_by_key(|id| self.target(*id).map_or(u8::MAX, Target::hopelessness));
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

    /// Where the callbacks of a PBX go.
    pub fn target_of_pbx(&self, pbx: PbxIdx) -> Option<TargetId> {
        self.pbx_ids.get(usize::try_from(pbx.0).ok()?).copied()
    }

    /// What became of a probe or of a call's request to `place`.
    pub fn report(&mut self, now: Instant, id: TargetId, place: Place, sign: Sign) {
        let Some(target) = self.targets.get_mut(id) else { return };
        let from = target.state();
        target.report(now, place, sign);
        let to = target.state();
        if from != to {
            self.changes.push(Change { target: id, from, to });
        }
    }

    /// Whom to expect where a call to this target goes; `None` once the config has dropped it.
    pub fn peer(&self, now: Instant, id: TargetId) -> Option<Peer> {
        let target = self.targets.get(id)?;
        let is_last_resort = target.last_resort_until.is_some_and(|until| now < until);
        Some(Peer { is_last_resort, ..self.peer_of(target)? })
    }

    /// Every path has failed an emergency call, or the callback to this PBX: for a while these may have certificates that do not
    /// hold. Our own clock may be what is wrong (SPEC §10).
    pub fn are_last_resort(&mut self, now: Instant, whose: impl Fn(Whose) -> bool) {
        for target in self.targets.values_mut().filter(|target| whose(target.whose)) {
            target.last_resort_until = Some(now + LAST_RESORT);
        }
    }

    /// Whom to expect at `remote`, when nothing else tells: the trunk with a target there, else one with a target on that host,
    /// whose Contact may name another port. `None` where it could be one or the other.
    pub fn peer_at(&self, protocol: Protocol, remote: SocketAddr) -> Option<Peer> {
        let find = |fits: &dyn Fn(SocketAddr) -> bool| {
            let all = self.ids.iter().flatten().chain(&self.pbx_ids).filter_map(|id| self.targets.get(*id));
            let is_there =
                |target: &&Target| target.known().any(|place| place.protocol == protocol && fits(place.remote));
            let mut there = all.filter(is_there);
            let first = there.next()?;
            Some((first, there.all(|other| other.whose == first.whose)))
        };
        let found = find(&|address| address == remote).or_else(|| find(&|address| address.ip() == remote.ip()));
        found.filter(|(_, is_only)| *is_only).and_then(|(target, _)| self.peer_of(target))
    }

    fn peer_of(&self, target: &Target) -> Option<Peer> {
        let name = |name: &CompactString| name.clone();
        let (trunk, pbx) = match target.whose {
            Whose::Trunk(trunk) => (self.config.trunk(trunk).map(|trunk| name(&trunk.name)), None),
            Whose::Pbx(pbx) => (None, self.config.pbx(pbx).map(|pbx| name(&pbx.name))),
        };
        let (trunk, pbx) = (trunk.unwrap_or_default(), pbx.unwrap_or_default());
        Some(Peer { trunk, pbx, host: target.config.host.clone(), is_last_resort: false })
    }

    /// True when a target of a trunk has this address, whatever its transport.
    pub fn is_trunk_at(&self, address: SocketAddr) -> bool {
        self.targets.values().any(|target| target.trunk().is_some() && target.is_at(address))
    }

    /// True when a target, of a trunk or a PBX, has this address, whatever its transport.
    pub fn are_at(&self, address: SocketAddr) -> bool {
        self.targets.values().any(|target| target.is_at(address))
    }

    /// True when a datagram over `flow` goes to a target of a trunk. A stream that comes from there was not forged, and the
    /// target of a PBX may be where its phones register through it.
    pub fn would_take_datagrams_of(&self, flow: &Flow) -> bool {
        let is_there = |target: &Target| target.trunk().is_some() && target.is_at(flow.remote);
        !flow.protocol.is_reliable() && self.targets.values().any(is_there)
    }

    /// No connection to `remote` could be made. What that means for its state is told by what was to be sent.
    pub fn failed(&mut self, protocol: Protocol, remote: SocketAddr, reason: &str) {
        for target in self.targets.values_mut() {
            target.failed(Place { protocol, remote }, reason);
        }
    }

    /// What has changed since the last time, oldest first.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The trunk that may send calls from `source` over this transport; `None`: an outsider.
    pub fn accepts(&self, protocol: Protocol, source: SocketAddr) -> Option<TrunkIdx> {
        self.config.trunk_accepting(source).or_else(|| self.registered_at(protocol, source))
    }

    /// When `handle_timeout` and `wants_resolve` want to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let registrations = self.registrations.iter().flatten().filter_map(registration::Registration::deadline);
        self.targets.values().filter_map(Target::deadline).chain(registrations).min()
    }

    /// The probes that are due.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (id, target) in &mut self.targets {
            probes.extend(target.probes(now, rng).into_iter().map(|place| Probe { target: id, place }));
        }
        probes
    }

    /// The next look-up that is due; to be called until `None`.
    pub fn wants_resolve(&mut self, now: Instant) -> Option<Query> {
        let (id, question) =
            self.targets.iter_mut().find_map(|(id, target)| target.question(now).map(|question| (id, question)))?;
        self.last_query += 1;
        let query = QueryId(self.last_query);
        self.queries.retain(|(_, asked)| *asked != id);
        self.queries.push_back((query, id));
        Some(Query { id: query, question })
    }

    /// What DNS said; where it failed, the addresses known before stay. Answers to older queries are ignored.
    pub fn resolved(&mut self, query: QueryId, found: &Found, now: Instant) {
        let Some(at) = self.queries.iter().position(|(asked, _)| *asked == query) else { return };
        let target = self.queries.remove(at).and_then(|(_, id)| self.targets.get_mut(id));
        if let Some(target) = target {
            target.resolved(found, now);
        }
    }

    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        let standing = |registration: &registration::Registration| (registration.standing, registration.last_status);
        self.config.trunks.iter().zip(&self.ids).zip(&self.registrations).map(move |((trunk, ids), registration)| {
            View {
                name: &trunk.name,
                targets: ids.iter().filter_map(|id| self.target(*id)).map(view).collect(),
                registration: registration.as_ref().map(standing),
            }
        })
    }
}

fn view(target: &Target) -> TargetView<'_> {
    TargetView {
        uri: &target.config.uri,
        state: target.state(),
        last_ok: target.last_ok,
        last_status: target.last_status,
        last_error: target.last_error.as_deref().or(target.rests()),
    }
}
