//! The bindings by user, by flow and by expiry. Says what is there; decides nothing.

use std::collections::{BTreeSet, HashMap};

use slotmap::{Key as _, KeyData};
use smallvec::SmallVec;

use super::binding::{Binding, FlowKey};
use crate::base::Instant;
use crate::config::Aor;
use crate::transport::{ConnId, Flow};

slotmap::new_key_type! {
    pub(super) struct UserKey;
}

#[derive(Default)]
pub(super) struct Table {
    users: slotmap::SlotMap<UserKey, User>,
    keys_by_user: HashMap<Aor, UserKey>,
    /// Sorted, so that their order does not depend on who spoke last.
    keys_by_flow: HashMap<FlowKey, SmallVec<[UserKey; 2]>>,
    /// All of them, for listings.
    order: BTreeSet<UserKey>,
    /// One entry for each user: its earliest expiry.
    expiries: BTreeSet<(Instant, UserKey)>,
    bindings: usize,
}

struct User {
    aor: Aor,
    /// Best first; never empty but while it is being changed.
    bindings: Vec<Binding>,
}

impl Table {
    pub fn find(&self, user: &Aor) -> Option<UserKey> {
        self.keys_by_user.get(user).copied()
    }

    pub fn aor(&self, key: UserKey) -> Option<&Aor> {
        self.users.get(key).map(|user| &user.aor)
    }

    pub fn bindings(&self, key: UserKey) -> &[Binding] {
        self.users.get(key).map_or(&[], |user| &user.bindings)
    }

    /// The only one may touch what no index is made of: not the flow, not the expiry.
    pub fn bindings_mut(&mut self, key: UserKey) -> &mut [Binding] {
        self.users.get_mut(key).map_or(&mut [], |user| &mut user.bindings)
    }

    pub fn users_on(&self, flow: &Flow) -> impl Iterator<Item = &Aor> {
        let keys = FlowKey::of(flow).and_then(|key| self.keys_by_flow.get(&key));
        keys.into_iter().flatten().filter_map(|&key| self.aor(key))
    }

    /// A key as a number that sorts as keys do: the place first, then how often it was taken.
    pub fn cursor_of(key: UserKey) -> u64 {
        key.data().as_ffi().rotate_left(32)
    }

    pub fn key_of(cursor: u64) -> UserKey {
        KeyData::from_ffi(cursor.rotate_left(32)).into()
    }

    /// Users and their bindings from `cursor` on, each with the cursor behind it. It only grows, and a user that comes or
    /// goes meanwhile moves no other.
    pub fn from(&self, cursor: u64) -> impl Iterator<Item = (u64, &Aor, &[Binding])> {
        let keys = self.order.range(Self::key_of(cursor)..);
        let user = |key: &UserKey| Some((Self::cursor_of(*key) + 1, self.users.get(*key)?));
        keys.filter_map(user).map(|(next, user)| (next, &user.aor, &user.bindings[..]))
    }

    pub fn len(&self) -> usize {
        self.bindings
    }

    pub fn next_expiry(&self) -> Option<(Instant, UserKey)> {
        self.expiries.first().copied()
    }

    /// Takes a user's bindings out to change them; they come back by `put_back`.
    pub fn take(&mut self, user: &Aor) -> (UserKey, Vec<Binding>) {
        let key = match self.find(user) {
            Some(key) => key,
            None => {
                let key = self.users.insert(User { aor: user.clone(), bindings: Vec::new() });
                self.keys_by_user.insert(user.clone(), key);
                self.order.insert(key);
                key
            }
        };
        (key, self.take_at(key))
    }

    pub fn take_at(&mut self, key: UserKey) -> Vec<Binding> {
        let bindings = self.users.get_mut(key).map(|user| std::mem::take(&mut user.bindings)).unwrap_or_default();
        self.bindings -= bindings.len();
        if let Some(expiry) = earliest(&bindings) {
            self.expiries.remove(&(expiry, key));
        }
        for flow in bindings.iter().filter_map(|binding| FlowKey::of(&binding.flow)) {
            self.unlink(flow, key);
        }
        bindings
    }

    /// Sorts and indexes them; a user without any is forgotten.
    pub fn put_back(&mut self, key: UserKey, mut bindings: Vec<Binding>) {
        let Some(user) = self.users.get_mut(key) else { return };
        let Some(expiry) = earliest(&bindings) else {
            self.keys_by_user.remove(&user.aor);
            self.order.remove(&key);
            self.users.remove(key);
            return;
        };
        bindings.sort_by_key(Binding::rank);
        bindings.shrink_to_fit(); // most users have one phone
        self.bindings += bindings.len();
        self.expiries.insert((expiry, key));
        for flow in bindings.iter().filter_map(|binding| FlowKey::of(&binding.flow)) {
            let keys = self.keys_by_flow.entry(flow).or_default();
            if let Err(place) = keys.binary_search(&key) {
                keys.insert(place, key);
            }
        }
        user.bindings = bindings;
    }

    /// Leaves the bindings of a closed connection without one. One that several users shared leads to none of them alone; one that
    /// was a phone's own, where it has another, to that.
    pub fn connection_closed(&mut self, connection: ConnId) -> Option<Flow> {
        let keys = self.keys_by_flow.remove(&FlowKey::Stream(connection)).unwrap_or_default();
        let is_shared = keys.len() > 1;
        let mut left = None;
        for key in keys {
            let Some(User { bindings, .. }) = self.users.get_mut(key) else { continue };
            for binding in bindings.iter_mut().filter(|binding| binding.flow.connection == Some(connection)) {
                binding.flow.connection = None;
                binding.lost = (binding.is_direct && !is_shared).then_some(connection);
            }
            bindings.sort_by_key(Binding::rank);
            let lost = bindings.iter().find(|binding| binding.lost == Some(connection));
            let beside =
                lost.and_then(|lost| bindings.iter().find(|other| lost.is_beside(other) && !other.is_cut_off()));
            left = beside.map(|other| other.flow).or(left);
        }
        left
    }

    /// True while anybody is registered over this connection.
    pub fn is_used(&self, connection: ConnId) -> bool {
        self.keys_by_flow.contains_key(&FlowKey::Stream(connection))
    }

    fn unlink(&mut self, flow: FlowKey, key: UserKey) {
        if let Some(keys) = self.keys_by_flow.get_mut(&flow) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.keys_by_flow.remove(&flow);
            }
        }
    }
}

fn earliest(bindings: &[Binding]) -> Option<Instant> {
    bindings.iter().map(|binding| binding.expires_at).min()
}
