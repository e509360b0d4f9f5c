//! One REGISTER on the bindings of one user: first everything is checked, then everything is done (RFC 3261 §10.3).

use smallvec::SmallVec;

use super::binding::Binding;
use super::request::{Refusal, Wish, refused};
use crate::base::{Instant, limits};
use crate::config::Country;
use crate::transport::{ConnId, Flow};

/// The circumstances of a REGISTER.
pub(super) struct Visit<'a> {
    pub now: Instant,
    pub call_id: &'a str,
    pub cseq: u32,
    pub flow: Flow,
    pub user_agent: &'a str,
    pub path: &'a str,
    /// It came over a connection or from an address of the phone's own: through no proxy.
    pub is_direct: bool,
    pub country: Option<Country>,
}

/// What became of the binding in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// New, or reachable in another way than before; `from`: the connection it has left.
    Moved {
        slot: u8,
        from: Option<ConnId>,
    },
    /// Only its expiry, order and sender's details changed.
    Prolonged(u8),
    Removed(u8),
}

pub(super) type Effects = SmallVec<[Effect; 2]>;

impl Visit<'_> {
    /// RFC 3261 §10.3 steps 6 and 7: a request overtaken by a later one of the same phone changes nothing.
    pub fn check<'b>(&self, mut touched: impl Iterator<Item = &'b Binding>) -> Result<(), Refusal> {
        match touched.any(|binding| binding.call_id() == self.call_id && self.cseq <= binding.cseq) {
            true => Err(refused(500, "CSeq is not higher than in an earlier REGISTER")),
            false => Ok(()),
        }
    }

    /// The bindings that the wishes speak of, as they are now.
    pub fn touched<'b>(&self, bindings: &'b [Binding], wishes: &[Wish]) -> impl Iterator<Item = &'b Binding> {
        wishes.iter().filter_map(|wish| wish.find(bindings)).filter_map(|at| bindings.get(at))
    }

    /// Carries out what `check` has let pass. Where a phone names one binding to end and to live, it lives.
    pub fn apply(&self, bindings: &mut Vec<Binding>, wishes: &[Wish]) -> Effects {
        let slots = |ending: bool, bindings: &[Binding]| -> SmallVec<[u8; 4]> {
            let these = wishes.iter().filter(|wish| wish.lifetime.is_zero() == ending);
            these.filter_map(|wish| bindings.get(wish.find(bindings)?)).map(|binding| binding.slot).collect()
        };
        let renewed = slots(false, bindings);
        let mut effects = Effects::new();
        for slot in slots(true, bindings) {
            if !renewed.contains(&slot) {
                remove(bindings, slot, &mut effects);
            }
        }
        for wish in wishes.iter().filter(|wish| !wish.lifetime.is_zero()) {
            let known = wish.find(bindings).and_then(|at| bindings.get_mut(at));
            match known {
                Some(binding) => effects.push(self.renew(binding, wish)),
                None => self.add(bindings, wish, &mut effects),
            }
        }
        effects
    }

    fn renew(&self, binding: &mut Binding, wish: &Wish) -> Effect {
        let (was, is) = (&binding.flow, &self.flow);
        let same_way = (was.protocol, was.listener, was.remote) == (is.protocol, is.listener, is.remote)
            && binding.contact() == wish.uri
            && binding.params() == wish.params
            && binding.path() == self.path
            && binding.country == self.country;
        let from = self.left(binding);
        binding.set_parts(wish.parts(self));
        self.stamp(binding, wish);
        if same_way && from.is_none() {
            Effect::Prolonged(binding.slot)
        } else {
            Effect::Moved { slot: binding.slot, from }
        }
    }

    /// The connection that the phone of this binding no longer uses: one that is lost; or one that is still open, when the
    /// phone says by its instance id that it is the same (RFC 5626 §6). That of a proxy is not the phone's to leave.
    fn left(&self, binding: &Binding) -> Option<ConnId> {
        let own = binding.flow.connection.filter(|_| binding.is_direct);
        let open = own.filter(|open| self.flow.connection != Some(*open));
        binding.lost.or_else(|| open.filter(|_| binding.instance().is_some()))
    }

    fn add(&self, bindings: &mut Vec<Binding>, wish: &Wish, effects: &mut Effects) {
        if bindings.len() >= limits::BINDINGS_PER_USER {
            // The phone that just spoke is worth more than the one that has been silent longest.
            if let Some(oldest) = bindings.iter().min_by_key(|binding| (binding.refreshed_at, binding.slot)) {
                let silent = oldest.slot;
                remove(bindings, silent, effects);
            }
        }
        let taken = |slot: &u8| bindings.iter().any(|binding| binding.slot == *slot);
        let slot = (0..u8::MAX).find(|slot| !taken(slot)).unwrap_or(u8::MAX);
        let mut binding = Binding::new(wish.parts(self), self.flow, slot);
        self.stamp(&mut binding, wish);
        bindings.push(binding);
        effects.push(Effect::Moved { slot, from: None });
    }

    fn stamp(&self, binding: &mut Binding, wish: &Wish) {
        binding.flow = self.flow;
        binding.lost = None;
        binding.is_direct = self.is_direct;
        binding.has_proxy = !self.is_direct;
        binding.expires_at = self.now + wish.lifetime;
        binding.refreshed_at = self.now;
        binding.cseq = self.cseq;
        binding.reg_id = wish.reg_id;
        binding.q = wish.q;
        binding.country = self.country;
        binding.rings = wish.rings;
    }
}

fn remove(bindings: &mut Vec<Binding>, slot: u8, effects: &mut Effects) {
    if bindings.iter().any(|binding| binding.slot == slot) {
        bindings.retain(|binding| binding.slot != slot);
        effects.push(Effect::Removed(slot));
    }
}
