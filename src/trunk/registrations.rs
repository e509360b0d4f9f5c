//! The registrations at all trunks that want one.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::registration::{Outcome, Register, Registration, Standing};
use super::{TargetId, Trunks};
use crate::base::{Instant, Protocol, Rng};
use crate::config::{Config, TrunkIdx};
use crate::transport::{ConnId, Flow, Place};

impl Trunks {
    /// Those of the trunks in the configuration; one that stays keeps its registration.
    pub(super) fn reload_registrations(&mut self, was: &Config, now: Instant) {
        let mut old = std::mem::take(&mut self.registrations);
        for trunk in &self.config.trunks {
            let before = was.trunks.iter().zip(&mut old).find(|(known, _)| known.name == trunk.name);
            let kept = before.and_then(|(known, registration)| {
                let mut registration = registration.take()?;
                let is_same = (&known.username, &known.password, &known.targets)
                    == (&trunk.username, &trunk.password, &trunk.targets);
                if !is_same {
                    registration.begin_anew(now);
                }
                Some(registration)
            });
            self.registrations.push(trunk.register.then(|| kept.unwrap_or_else(|| Registration::new(now))));
        }
    }

    /// The REGISTERs that are due.
    pub fn registers(&mut self, now: Instant, rng: &mut Rng) -> SmallVec<[Register; 1]> {
        let mut due = SmallVec::new();
        for at in 0..self.registrations.len() {
            let is_due = |registration: &Registration| registration.deadline().is_some_and(|due| due <= now);
            if !self.registrations.get(at).is_some_and(|registration| registration.as_ref().is_some_and(is_due)) {
                continue;
            }
            let Ok(trunk) = u32::try_from(at).map(TrunkIdx) else { continue };
            let mut places: SmallVec<[(TargetId, Place); 4]> = SmallVec::new();
            for id in self.candidates(rng, &[trunk]) {
                let target = self.target(id);
                places.extend(target.into_iter().flat_map(|target| target.known()).map(|place| (id, place)));
            }
            if let Some(Some(registration)) = self.registrations.get_mut(at) {
                due.extend(registration.next(now, rng, &places));
            }
        }
        due
    }

    /// What became of the REGISTER to `target`, whose last number was `cseq`.
    pub fn register_over(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        target: TargetId,
        (flow, cseq): (Option<Flow>, u32),
        outcome: Outcome,
    ) {
        let trunk = self.target(target).and_then(super::Target::trunk);
        let at = trunk.and_then(|trunk| usize::try_from(trunk.0).ok());
        if let Some(Some(registration)) = at.and_then(|at| self.registrations.get_mut(at)) {
            registration.counted(cseq);
            registration.over(now, rng, flow, outcome);
        }
    }

    /// The trunk that we are registered at over a flow to `source`.
    /// Over its transport: anybody writes any address into a datagram.
    pub(super) fn registered_at(&self, protocol: Protocol, source: SocketAddr) -> Option<TrunkIdx> {
        self.all_registered_at(protocol, source).next()
    }

    /// All of them: there may be several accounts at one registrar.
    pub fn all_registered_at(&self, protocol: Protocol, source: SocketAddr) -> impl Iterator<Item = TrunkIdx> {
        let is_there = move |registration: &Option<Registration>| {
            let flow = registration.as_ref().and_then(|registration| registration.flow);
            flow.is_some_and(|flow| (flow.protocol, flow.remote) == (protocol, source))
        };
        let all = self.registrations.iter().zip(0..);
        all.filter(move |(registration, _)| is_there(registration)).map(|(_, at)| TrunkIdx(at))
    }

    /// Takes all registrations back.
    pub fn leave(&mut self) {
        self.registrations.iter_mut().flatten().for_each(Registration::leave);
    }

    /// True when none is left to be taken back.
    pub fn has_left(&self) -> bool {
        self.registrations.iter().flatten().all(|registration| registration.standing == Standing::Ended)
    }

    /// True when we are registered at a trunk over this connection: its calls come over it.
    pub fn are_registered_over(&self, connection: ConnId) -> bool {
        let flows = self.registrations.iter().flatten().filter_map(|registration| registration.flow);
        flows.into_iter().any(|flow| flow.connection == Some(connection))
    }

    pub fn connection_lost(&mut self, now: Instant, connection: ConnId) {
        self.registrations.iter_mut().flatten().for_each(|registration| registration.connection_lost(now, connection));
    }
}
