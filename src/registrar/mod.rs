//! Who is reachable where: REGISTER (RFC 3261 §10.3, RFC 5626 §6) and authentication (`auth`).
//!
//! A REGISTER is carried out whole or not at all. What the store has to keep comes out of `take_rows`, in order.
//! Who may register is decided before (`auth`, the node); nobody is rung here.

pub mod auth;
pub mod binding;
pub mod gruu;
mod nonce;
pub mod push;
mod quirks;
mod request;
pub mod row;
mod table;
mod update;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use auth::{Auth, Verdict};
pub use binding::{Binding, Quality};
pub use row::{Change, Row, RowKey};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use compact_str::CompactString;
use gruu::{Gruus, Meaning, Wanted};
use request::{Asked, Refusal, Wish, refused};
use table::{Table, UserKey};
use update::{Effect, Visit};

use crate::base::{Instant, Protocol, limits};
use crate::config::{Aor, Country};
use crate::sip::{Message, Name, Uri, Writer};
use crate::transport::{ConnId, Flow};

/// Refreshes that only prolonged a binding are written together, this long after the first of them: a crash in between
/// costs a phone no more than that much of its registration.
const PROLONG_EVERY: Duration = Duration::from_secs(5);

/// `[registrar]` of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub min_expires: Duration,
    pub max_expires: Duration,
    pub default_expires: Duration,
}

/// The answer to a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200 with `Registrar::write_contacts`; `outbound`: and with `Require: outbound` (RFC 5626 §6).
    Accepted {
        outbound: bool,
    },
    /// 420 with `Unsupported`.
    Unsupported {
        extension: &'static str,
    },
    /// 423 with `Min-Expires`.
    TooBrief {
        min: Duration,
    },
    Refused {
        status: u16,
        why: &'static str,
    },
}

/// One binding as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub user: &'a Aor,
    pub contact: &'a str,
    pub transport: Protocol,
    pub source: SocketAddr,
    pub expires_at: Instant,
    pub user_agent: &'a str,
}

impl<'a> View<'a> {
    fn of(user: &'a Aor, binding: &'a Binding) -> Self {
        Self {
            user,
            contact: binding.contact(),
            transport: binding.flow.protocol,
            source: binding.flow.remote,
            expires_at: binding.expires_at,
            user_agent: binding.user_agent(),
        }
    }
}

/// All the bindings of this node.
pub struct Registrar {
    settings: Settings,
    table: Table,
    changes: Vec<Change>,
    /// Users with a binding that was prolonged and is not written yet.
    prolonged: Vec<UserKey>,
    prolonged_due: Option<Instant>,
    /// Phones that have left a connection, and where they are now.
    moves: Vec<(ConnId, Flow)>,
    gruus: Option<Gruus>,
}

impl Registrar {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            table: Table::default(),
            changes: Vec::new(),
            prolonged: Vec::new(),
            prolonged_due: None,
            moves: Vec::new(),
            gruus: None,
        }
    }

    /// Phones that ask for them get URIs of their own (RFC 5627); `secret` makes the temporary ones.
    pub fn with_gruus(self, secret: [u8; 64]) -> Self {
        Self { gruus: Some(Gruus::new(secret)), ..self }
    }

    /// After a reload of the config; bindings keep the expiry they were promised.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes back at start what the store kept; what expired meanwhile is to be deleted there.
    pub fn load(&mut self, rows: impl IntoIterator<Item = Row>, now: Instant) {
        for row in rows {
            if row.expires_at_ms <= now.as_millis() {
                self.changes.push(Change::Delete { key: row.key(), urgent: false });
                continue;
            }
            let (key, mut bindings) = self.table.take(&row.user);
            bindings.retain(|binding| binding.slot != row.slot);
            bindings.push(row.binding());
            self.table.put_back(key, bindings);
        }
    }

    /// Takes back what the store kept and could not be asked for at start. What phones have said since counts more.
    pub fn recall(&mut self, rows: impl IntoIterator<Item = Row>, now: Instant) {
        for row in rows {
            let (key, mut bindings) = self.table.take(&row.user);
            let taken = |slot: &u8| bindings.iter().any(|binding| binding.slot == *slot);
            let free =
                (0..limits::BINDINGS_PER_USER).filter_map(|slot| u8::try_from(slot).ok()).find(|slot| !taken(slot));
            let (is_taken, mut binding) = (taken(&row.slot), row.binding());
            let is_known = bindings.iter().any(|known| known.is_same(&binding));
            let slot = if is_taken { free } else { Some(row.slot) };
            match slot.filter(|_| !is_known && binding.expires_at > now) {
                Some(slot) => {
                    binding.slot = slot;
                    if is_taken {
                        self.changes.push(Change::Put { row: Row::of(&row.user, &binding), urgent: false });
                    }
                    bindings.push(binding);
                }
                None if is_taken => {}
                None => self.changes.push(Change::Delete { key: row.key(), urgent: false }),
            }
            self.table.put_back(key, bindings);
        }
    }

    /// Carries out a REGISTER for `user`, whom the node has authenticated and found in To (else 403, RFC 3261 §10.3 step 4).
    /// Retransmissions must not get here.
    pub fn register(&mut self, now: Instant, user: &Aor, request: &Message, flow: Flow) -> Outcome {
        match self.try_register(now, user, request, flow) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn try_register(&mut self, now: Instant, user: &Aor, request: &Message, flow: Flow) -> Result<Outcome, Refusal> {
        let call_id = request::text(request.call_id()).ok_or_else(|| refused(400, "bad Call-ID"))?;
        let asked = request::read(request, &self.settings)?;
        let user_agent = request::user_agent(request);
        let country = request.header_named("X-Country-Code").and_then(Country::parse);
        let path = request::path(request)?;
        let is_direct = path.is_empty() && request.values(Name::Via).count() == 1;
        let (user_agent, path) = (&user_agent[..], &path[..]);
        let visit = Visit { now, call_id, cseq: request.cseq(), flow, user_agent, path, is_direct, country };
        match asked {
            Asked::List => Ok(Outcome::Accepted { outbound: false }),
            Asked::RemoveAll => self.remove_all(user, &visit),
            Asked::Update(wishes) => {
                // RFC 5627 §5.1: it would lead to itself.
                if wishes.iter().any(|wish| is_own_gruu(user, &wish.uri)) {
                    return Err(refused(403, "the contact is the address of the user itself"));
                }
                self.update(user, &visit, &wishes)?;
                let by_flow = wishes.iter().any(|wish| wish.reg_id.is_some() && !wish.lifetime.is_zero());
                Ok(Outcome::Accepted { outbound: by_flow && request::supports_outbound(request) })
            }
        }
    }

    fn remove_all(&mut self, user: &Aor, visit: &Visit<'_>) -> Result<Outcome, Refusal> {
        visit.check(self.listed(user).iter())?;
        if let Some(key) = self.table.find(user) {
            for binding in self.table.take_at(key) {
                let key = RowKey { user: user.clone(), slot: binding.slot };
                self.changes.push(Change::Delete { key, urgent: true });
            }
            self.table.put_back(key, Vec::new());
        }
        Ok(Outcome::Accepted { outbound: false })
    }

    fn update(&mut self, user: &Aor, visit: &Visit<'_>, wishes: &[Wish]) -> Result<(), Refusal> {
        visit.check(visit.touched(self.listed(user), wishes))?;
        let (key, mut bindings) = self.table.take(user);
        let effects = visit.apply(&mut bindings, wishes);
        for effect in effects {
            let at = |slot: u8| move |binding: &&mut Binding| binding.slot == slot;
            match effect {
                Effect::Removed(slot) => {
                    let key = RowKey { user: user.clone(), slot };
                    self.changes.push(Change::Delete { key, urgent: true });
                }
                Effect::Moved { slot, from } => {
                    // What others too are reached over does not move with one of them.
                    let is_left = |left: &ConnId| {
                        !self.table.is_used(*left) && bindings.iter().all(|other| other.flow.connection != Some(*left))
                    };
                    self.moves.extend(from.filter(is_left).map(|connection| (connection, visit.flow)));
                    for binding in bindings.iter_mut().filter(at(slot)) {
                        binding.unwritten = false;
                        self.changes.push(Change::Put { row: Row::of(user, binding), urgent: true });
                    }
                }
                Effect::Prolonged(slot) => {
                    for binding in bindings.iter_mut().filter(at(slot)).filter(|binding| !binding.unwritten) {
                        binding.unwritten = true;
                        self.prolonged.push(key);
                        self.prolonged_due.get_or_insert(visit.now + PROLONG_EVERY);
                    }
                }
            }
        }
        self.table.put_back(key, bindings);
        Ok(())
    }

    /// The Contact headers of the 200: every binding with the time it has left (RFC 3261 §10.3 step 8), and its own URIs where the
    /// phone asked for them (RFC 5627 §5.2).
    pub fn write_contacts(&mut self, now: Instant, user: &Aor, asks_gruu: bool, writer: &mut Writer) {
        let Some(key) = self.table.find(user) else { return };
        let mut gruus = self.gruus.as_mut().filter(|_| asks_gruu);
        for binding in self.table.bindings(key) {
            let (uri, params) = (binding.contact(), binding.params());
            let left = (binding.expires_at.since(now) + Duration::from_millis(500)).as_secs();
            match gruus.as_mut().zip(binding.instance()) {
                Some((gruus, instance)) => {
                    let public = gruu::public(user, instance);
                    let meaning = Meaning { user: Table::cursor_of(key), registration: gruus.registration(binding) };
                    let temporary = format_args!("sip:{}@{};gr", gruus.temporary(meaning), user.domain()).to_string();
                    let own = format_args!(";pub-gruu=\"{public}\";temp-gruu=\"{temporary}\"").to_string();
                    writer.header_fmt("Contact", format_args!("<{uri}>{params}{own};expires={left}"));
                }
                None => {
                    writer.header_fmt("Contact", format_args!("<{uri}>{params};expires={left}"));
                }
            }
        }
    }

    /// The user and the instance id that a temporary GRUU stands for, while its registration lasts (RFC 5627 §5.3).
    pub fn meant_by(&self, token: &str) -> Option<(&Aor, CompactString)> {
        let gruus = self.gruus.as_ref()?;
        let meaning = gruus.read(token)?;
        let key = Table::key_of(meaning.user);
        let mut bindings = self.table.bindings(key).iter();
        let binding = bindings.find(|binding| gruus.registration(binding) == meaning.registration)?;
        let instance = CompactString::from_utf8_lossy(gruu::bare(binding.instance()?));
        Some((self.table.aor(key)?, instance))
    }

    /// The phone of `user` that gives this URI of its own for its Contact (RFC 5627 §4.4.1): it leads to us, not to the phone.
    pub fn named(&self, user: &Aor, uri: &[u8]) -> Option<&Binding> {
        let instance = match Wanted::of(&Uri::parse(uri).ok()?)? {
            Wanted::Public(instance) => instance,
            Wanted::Temporary(token) => self.meant_by(token).filter(|(meant, _)| *meant == user)?.1,
        };
        self.listed(user).iter().find(|binding| binding.is_of(&instance))
    }

    /// Where `user` can be rung, best first: by q, then the most recently refreshed.
    pub fn bindings(&self, user: &Aor) -> &[Binding] {
        let all = self.listed(user);
        let ringing = all.partition_point(|binding| binding.rings);
        all.get(..ringing).unwrap_or_default()
    }

    /// Every binding of `user`, those that can never be rung last.
    pub fn listed(&self, user: &Aor) -> &[Binding] {
        self.table.find(user).map_or(&[], |key| self.table.bindings(key))
    }

    /// The binding of `user` whose REGISTER came over exactly this flow.
    pub fn binding_on_flow(&self, flow: &Flow, user: &Aor) -> Option<&Binding> {
        self.listed(user).iter().find(|binding| binding.is_on(flow))
    }

    /// The binding that this REGISTER of `user` has made or renewed over `flow`.
    pub fn made_by(&self, request: &Message, flow: &Flow, user: &Aor) -> Option<&Binding> {
        let is_its = |binding: &&Binding| binding.is_on(flow) && binding.call_id().as_bytes() == request.call_id();
        self.listed(user).iter().find(is_its)
    }

    /// Who is registered from exactly this flow.
    pub fn users_on_flow(&self, flow: &Flow) -> impl Iterator<Item = &Aor> {
        self.table.users_on(flow)
    }

    /// Whose phone registered from `ip` under a contact that `is_meant`. Looks at everybody: for what is rare.
    pub fn users_with(&self, ip: IpAddr, is_meant: impl Fn(&Binding) -> bool) -> impl Iterator<Item = &Aor> {
        let has = move |binding: &Binding| binding.flow.remote.ip() == ip && is_meant(binding);
        self.table.from(0).filter(move |(_, _, bindings)| bindings.iter().any(&has)).map(|(_, user, _)| user)
    }

    /// True while anybody is registered over this connection.
    pub fn is_used(&self, connection: ConnId) -> bool {
        self.table.is_used(connection)
    }

    /// The connection is gone; its bindings stay, and are tried anew at `flow.remote`.
    pub fn connection_closed(&mut self, connection: ConnId) {
        let left = self.table.connection_closed(connection);
        self.moves.extend(left.map(|flow| (connection, flow)));
    }

    /// Connections that phones have left since the last call, each with the flow that its phone has registered over since, or has
    /// beside it (RFC 5626 §4.2).
    pub fn take_moves(&mut self) -> Vec<(ConnId, Flow)> {
        std::mem::take(&mut self.moves)
    }

    /// When `handle_timeout` wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.table.next_expiry().map(|(expiry, _)| expiry);
        [expiry, self.prolonged_due].into_iter().flatten().min()
    }

    /// Ends the bindings of one user that have expired, and lets out writes that were held back. To be called until
    /// `next_deadline` is later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.prolonged_due.is_some_and(|due| due <= now) {
            self.flush_prolonged();
        }
        let Some((_, key)) = self.table.next_expiry().filter(|(expiry, _)| *expiry <= now) else { return };
        let mut bindings = self.table.take_at(key);
        let user = self.table.aor(key).cloned();
        bindings.retain(|binding| {
            let alive = binding.expires_at > now;
            if let (false, Some(user)) = (alive, &user) {
                let key = RowKey { user: user.clone(), slot: binding.slot };
                self.changes.push(Change::Delete { key, urgent: false });
            }
            alive
        });
        self.table.put_back(key, bindings);
    }

    /// Lets out at once the writes held back: before the process ends.
    pub fn flush_prolonged(&mut self) {
        self.prolonged_due = None;
        for key in std::mem::take(&mut self.prolonged) {
            let Some(user) = self.table.aor(key).cloned() else { continue };
            for binding in self.table.bindings_mut(key).iter_mut().filter(|binding| binding.unwritten) {
                binding.unwritten = false;
                self.changes.push(Change::Put { row: Row::of(&user, binding), urgent: false });
            }
        }
    }

    /// True while `take_rows` has what a phone could not do without after a restart.
    pub fn is_urgent(&self) -> bool {
        let is_urgent = |change: &Change| match change {
            Change::Put { urgent, .. } | Change::Delete { urgent, .. } => *urgent,
        };
        self.changes.iter().any(is_urgent)
    }

    /// What the store has to do since the last call, to be done in this order.
    pub fn take_rows(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Users from the cursor on, each with the cursor behind it: no page costs more than another.
    pub fn users_from(&self, cursor: u64) -> impl Iterator<Item = (u64, &Aor, &[Binding])> {
        self.table.from(cursor)
    }

    /// As [`Registrar::users_from`], as operators see them.
    pub fn views_from(&self, cursor: u64) -> impl Iterator<Item = (u64, impl Iterator<Item = View<'_>>)> {
        self.table
            .from(cursor)
            .map(|(next, user, bindings)| (next, bindings.iter().map(|binding| View::of(user, binding))))
    }

    /// Every binding, in an order that does not change by itself.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.views_from(0).flat_map(|(_, bindings)| bindings)
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn is_own_gruu(user: &Aor, contact: &str) -> bool {
    let uri = Uri::parse(contact.as_bytes()).ok().filter(|uri| uri.params.get("gr").is_some());
    uri.and_then(|uri| Aor::from_uri(&uri)).is_some_and(|aor| aor == *user)
}
