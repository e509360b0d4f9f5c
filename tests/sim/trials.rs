//! Promises called in while nothing disturbs: a number rings its phone, an emergency call is answered, the rest is refused.

use std::time::Duration;

use crate::chance::{between, ms, percent, pick, secs};
use crate::model::{Kept, Promise};
use crate::party::Mood;
use crate::setup::{CALLER_ONLY, USERS};
use crate::trace;
use crate::watch::Purpose;
use crate::world::World;

impl World {
    pub fn trials(&mut self) {
        for _ in 0..2 {
            self.trial_callback();
        }
        self.trial_emergency();
        if percent(&mut self.rng, 40) {
            self.trial_inbound();
        }
        if percent(&mut self.rng, 30) {
            self.trial_between_users();
        }
        if percent(&mut self.rng, 30) {
            self.trial_test_call();
        }
    }

    /// Rules 6.1a, 6.2a.
    fn trial_callback(&mut self) {
        let live = self.model.live(self.now);
        if live.is_empty() {
            return;
        }
        let (number, promise) = pick(&mut self.rng, &live).clone();
        let trunks = self.trunks();
        let trunk = match percent(&mut self.rng, 50) {
            true => self.party(CALLER_ONLY),
            false => *pick(&mut self.rng, &trunks),
        };
        let phones: Vec<usize> = self.phones().into_iter().filter(|at| self.user(*at) == promise.user).collect();
        trace::note(self.now, "===", &format!("trial: {number} must ring {phones:?}, first {}", promise.by.phone));
        if phones.len() == 1 && percent(&mut self.rng, 30) {
            self.trial_offline(trunk, &number, phones[0]);
        } else if let Some(patience) = self.must_ring_within(&promise, &phones) {
            // A number of last resort may be under more than one phone at a time.
            let at_home = self.is_at_home(&promise) && self.model.is_pooled(&number);
            let call_id = self.calls_back(trunk, &number);
            let began = self.now;
            self.run_for(secs(25));
            let first = self.first_ring(&call_id).unwrap_or_else(|| panic!("{number} rings nobody"));
            assert!(
                first.0.as_millis() <= began.as_millis() + u64::try_from(patience.as_millis()).unwrap(),
                "{number} rings late: {first:?}"
            );
            let is_origin_first = self.stage.config.callback.ring == sosbridge::config::Ring::OriginFirst;
            if at_home && is_origin_first {
                assert_eq!(first.1, promise.by.phone, "{number} rings another phone than the one that called");
            }
            assert_eq!(self.watch.outcomes.get(&call_id), Some(&200), "callback to {number}");
        }
        self.run_for(secs(8));
    }

    /// The phone that called can be reached and is where it was.
    fn is_at_home(&self, promise: &Promise) -> bool {
        let party = &self.parties[promise.by.phone];
        let stayed = party.moved_at.is_none_or(|at| at < promise.by.at);
        promise.by.kept != Kept::Nowhere
            && self.is_reachable(promise.by.phone)
            && (stayed
                || party.inner.is_some()
                || party.phone.as_ref().is_some_and(|phone| !phone.instance().is_empty()))
    }

    /// How soon one of the phones must ring; `None`: nothing can be claimed.
    fn must_ring_within(&self, promise: &Promise, phones: &[usize]) -> Option<Duration> {
        match phones.iter().any(|phone| self.is_reachable(*phone)) {
            _ if self.is_at_home(promise) => Some(ms(500)),
            true => Some(secs(4)),
            false => None,
        }
    }

    /// A ring of the call: when, and which phone; the first one that got through.
    fn first_ring(&self, call_id: &str) -> Option<(sosbridge::base::Instant, usize)> {
        let token = call_id.rsplit('-').next().unwrap_or_default();
        let live = |ring: &&crate::watch::Ring| ring.token == token && ring.arrives;
        self.watch.rings.iter().find(live).map(|ring| (ring.at, ring.phone))
    }

    /// SPEC §6: the callback is held and rings the phone the moment it registers again.
    /// Rule 6.4c.
    fn trial_offline(&mut self, trunk: usize, number: &str, phone: usize) {
        self.take_offline(phone);
        self.run_for(secs(2));
        let call_id = self.calls_back(trunk, number);
        let away = between(&mut self.rng, 3000, 40_000);
        self.run_for(away);
        let port = self.parties[phone].address.port() + u16::from(percent(&mut self.rng, 50));
        let back = self.now;
        self.return_party(phone, port);
        self.run_for(secs(8));
        if !self.is_reachable(phone) {
            return;
        }
        let token = call_id.rsplit('-').next().unwrap_or_default().to_owned();
        let ring = self.watch.rings.iter().rev().find(|ring| ring.token == token && ring.arrives);
        let rung = ring.is_some_and(|ring| ring.at >= back && ring.at < back + secs(6));
        assert!(rung, "{number} does not ring the phone that is back: {ring:?}");
        self.run_for(secs(6));
        assert_eq!(self.watch.outcomes.get(&call_id), Some(&200), "callback to {number} held for its phone");
    }

    /// SPEC §10: no emergency call is refused while a trunk is up.
    /// Rule 5.3f.
    fn trial_emergency(&mut self) {
        let able: Vec<usize> = self.phones().into_iter().filter(|phone| self.is_reachable(*phone)).collect();
        if able.is_empty() {
            return;
        }
        let phone = *pick(&mut self.rng, &able);
        let targets: Vec<usize> = ["east-1", "east-2", "west-1"].into_iter().map(|name| self.party(name)).collect();
        let good = *pick(&mut self.rng, &targets);
        let moods = [Mood::Good, Mood::Silent, Mood::Late, Mood::Closed, Mood::Refusing(486), Mood::Refusing(503)];
        for target in targets {
            let mood = *pick(&mut self.rng, &moods);
            self.set_mood(target, if target == good { Mood::Good } else { mood });
        }
        trace::note(self.now, "===", &format!("trial: {} takes the call", self.parties[good].name));
        self.engines_turn(50);
        let call_id = self.dials_911(phone);
        for _ in 0..14 {
            self.run_for(secs(1));
            self.check_relayed(phone, &call_id);
            self.check_engines(phone, &call_id);
            self.check_joins();
            self.engines_turn(5);
        }
        self.engines_recover();
        assert_eq!(self.watch.outcomes.get(&call_id), Some(&200), "an emergency call while a trunk is up");
        for trunk in self.trunks() {
            self.set_mood(trunk, Mood::Good);
        }
        self.run_for(secs(15));
    }

    /// Rule 5.5b.
    fn trial_inbound(&mut self) {
        let user = *pick(&mut self.rng, &[0, 1, 2, 3, 4]);
        let trunk = self.party(CALLER_ONLY);
        let there = self.phones().into_iter().any(|phone| self.user(phone) == user && self.is_reachable(phone));
        let call_id = self.calls_user(trunk, user);
        self.run_for(secs(8));
        let code = self.watch.outcomes.get(&call_id).copied();
        match (USERS[user].4, there) {
            (false, _) => assert_eq!(code, Some(403), "an ordinary call to {}", USERS[user].0),
            (true, true) => assert_eq!(code, Some(200), "an ordinary call to {}", USERS[user].0),
            (true, false) => {}
        }
        self.run_for(secs(8));
    }

    /// Rule 5.5a.
    fn trial_between_users(&mut self) {
        let able: Vec<usize> = self.phones().into_iter().filter(|phone| self.is_reachable(*phone)).collect();
        if able.len() < 2 {
            return;
        }
        let (caller, callee) = (*pick(&mut self.rng, &able), *pick(&mut self.rng, &able));
        let user = self.user(callee);
        let call_id = self.phone_dials(caller, &format!("sip:{}@example.com", USERS[user].0), Purpose::Internal);
        self.run_for(secs(8));
        let wanted = if USERS[user].4 { 200 } else { 403 };
        assert_eq!(self.watch.outcomes.get(&call_id), Some(&wanted), "a call to {}", USERS[user].0);
        self.run_for(secs(8));
    }

    /// Rule 7.1g.
    fn trial_test_call(&mut self) {
        let able: Vec<usize> = self.phones().into_iter().filter(|phone| self.is_reachable(*phone)).collect();
        if able.is_empty() || self.stage.rules.scarce {
            return;
        }
        let phone = *pick(&mut self.rng, &able);
        let call_id = self.phone_dials(phone, "sip:933@example.com", Purpose::Test);
        self.run_for(secs(10));
        assert_eq!(self.watch.outcomes.get(&call_id), Some(&200), "a test call");
        assert!(!self.parties[phone].legs.contains_key(&call_id), "the test line does not hang up");
    }
}
