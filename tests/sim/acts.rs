//! The play: storms in which anything happens, calms in which promises are called in, leaps of hours, and a quiet end.

use crate::chance::{between, percent, pick, secs};
use crate::net::Weather;
use crate::party::{Mood, Tick};
use crate::setup::USERS;
use crate::store::Health;
use crate::trace;
use crate::watch::Purpose;
use crate::world::{Event, World};

/// Everything that is done to the node under one seed.
pub fn play(seed: u64) {
    let mut world = World::new(seed);
    world.everybody_registers();
    world.run_for(secs(5));
    let acts = 2 + world.rng.below(3);
    for _ in 0..acts {
        world.storm();
        world.calm_down();
        world.trials();
        if percent(&mut world.rng, 40) {
            world.leap();
            world.trials();
        }
    }
    world.end();
}

impl World {
    pub fn phones(&self) -> Vec<usize> {
        (0..self.parties.len()).filter(|at| self.parties[*at].phone.is_some()).collect()
    }

    pub fn trunks(&self) -> Vec<usize> {
        (0..self.parties.len()).filter(|at| self.parties[*at].is_trunk()).collect()
    }

    pub fn everybody_registers(&mut self) {
        for phone in self.phones() {
            self.with(phone, |party, moment| party.register(moment));
        }
    }

    fn storm(&mut self) {
        let loss = *pick(&mut self.rng, &[0, 5, 15, 30]);
        let delay_ms = *pick(&mut self.rng, &[20, 100, 200]);
        self.weather = Weather { loss, doubling: loss / 2 + 2, delay_ms };
        self.calm = false;
        self.watch.weather_turns();
        trace::note(self.now, "===", &format!("storm: {:?}", self.weather));
        let end = self.now + between(&mut self.rng, 30_000, 120_000);
        while self.now < end {
            self.deed();
            self.engines_turn(10);
            let pause = between(&mut self.rng, 20, 3000);
            self.run_for(pause);
        }
    }

    fn deed(&mut self) {
        let phones = self.phones();
        let phone = *pick(&mut self.rng, &phones);
        let trunks = self.trunks();
        let trunk = *pick(&mut self.rng, &trunks);
        match self.rng.below(100) {
            0..30 => drop(self.dials_911(phone)),
            30..34 => drop(self.phone_dials(phone, "sip:933@example.com", Purpose::Test)),
            34..42 => {
                let (callee, ..) = *pick(&mut self.rng, &USERS);
                // Not itself: when it is away both ends of the call are, and nobody is left to end it.
                let own = self.user(phone);
                let callee = if callee == USERS[own].0 { USERS[(own + 1) % USERS.len()].0 } else { callee };
                self.phone_dials(phone, &format!("sip:{callee}@example.com"), Purpose::Internal);
            }
            42..54 => {
                if !self.watch.seen.is_empty() {
                    let recent = self.watch.seen.len().saturating_sub(6);
                    let number = pick(&mut self.rng, &self.watch.seen[recent..]).clone();
                    self.calls_back(trunk, &number);
                }
            }
            54..58 => {
                let user = *pick(&mut self.rng, &[0, 1, 2, 3, 4]);
                self.calls_user(trunk, user);
            }
            58..66 => self.goes_away(phone),
            66..72 => self.turn_moody(trunk),
            72..78 => self.turn_disk(),
            78..83 => self.crash_in = Some(self.rng.below(12)),
            83..87 => self.break_one_connection(),
            87..92 => self.mischief(),
            92..96 => self.garbage(phone),
            96..98 => self.feed(sosbridge::node::Input::Reload(self.stage.config.clone())),
            _ => self.everybody_registers(),
        }
    }

    /// A phone is without network for a while, and comes back where it was or elsewhere.
    fn goes_away(&mut self, phone: usize) {
        if !self.parties[phone].online {
            return;
        }
        let after = between(&mut self.rng, 300, 40_000);
        let port = self.parties[phone].address.port() + u16::from(percent(&mut self.rng, 40));
        self.take_offline(phone);
        self.later(after, Event::Tick { party: phone, tick: Tick::Return { port } });
    }

    pub fn take_offline(&mut self, phone: usize) {
        trace::note(self.now, &self.parties[phone].name, "is away");
        self.parties[phone].online = false;
        if let Some(id) = self.parties[phone].connection {
            self.break_connection(id);
        }
    }

    fn turn_moody(&mut self, trunk: usize) {
        let moods = [
            Mood::Good,
            Mood::Good,
            Mood::Fickle,
            Mood::Silent,
            Mood::Late,
            Mood::Closed,
            Mood::Refusing(486),
            Mood::Refusing(503),
        ];
        let mood = *pick(&mut self.rng, &moods);
        self.set_mood(trunk, mood);
    }

    pub fn set_mood(&mut self, party: usize, mood: Mood) {
        trace::note(self.now, &self.parties[party].name, &format!("is now {mood:?}"));
        self.parties[party].mood = mood;
        if let (Mood::Closed, Some(id)) = (mood, self.parties[party].connection) {
            self.break_connection(id);
        }
    }

    fn turn_disk(&mut self) {
        let healths = [Health::Good, Health::Good, Health::Slow, Health::Failing, Health::Hung];
        self.store.health = *pick(&mut self.rng, &healths);
        trace::note(self.now, "disk", &format!("is {:?}", self.store.health));
    }

    fn break_one_connection(&mut self) {
        let open: Vec<u64> = self.connections.iter().filter(|(_, one)| one.open).map(|(id, _)| *id).collect();
        if !open.is_empty() {
            let id = *pick(&mut self.rng, &open);
            self.break_connection(id);
        }
    }

    /// No more loss, no more crashes, and time for what is under way to end.
    pub fn calm_down(&mut self) {
        trace::note(self.now, "===", "calm");
        self.weather = Weather::CALM;
        self.calm = true;
        self.watch.weather_turns();
        self.crash_in = None;
        self.store.health = Health::Good;
        self.engines_recover();
        self.wait_for_node();
        for trunk in self.trunks() {
            self.set_mood(trunk, Mood::Good);
        }
        let settle = between(&mut self.rng, 45_000, 70_000);
        self.run_for(settle);
        if percent(&mut self.rng, 50) {
            // A clean death: what was promised must be on the disk.
            self.run_for(secs(2));
            self.crash();
            self.wait_for_node();
        }
        if percent(&mut self.rng, 50) {
            self.everybody_registers();
        }
        self.run_for(secs(12));
    }

    /// Hours go by.
    fn leap(&mut self) {
        let span = between(&mut self.rng, 20 * 60_000, 100 * 60_000);
        trace::note(self.now, "===", &format!("{} minutes go by", span.as_secs() / 60));
        self.run_for(span);
    }

    /// All parties fall silent; nothing may be left.
    fn end(&mut self) {
        trace::note(self.now, "===", "the end");
        self.calm_down();
        self.closing = true;
        self.feed(sosbridge::node::Input::Reload(self.stage.quiet_config.clone()));
        for _ in 0..3 {
            for party in 0..self.parties.len() {
                self.with(party, |party, moment| party.close(moment));
            }
            self.run_for(secs(40));
        }
        self.run_for(secs(120));
        let node = self.node.as_ref().unwrap();
        let left = (node.sizes(), node.calls_view(0).rows);
        assert!(node.is_idle(), "(calls, legs, transactions) left at the end: {left:?}");
        self.check_owed();
        let leases = node.leases_view(0);
        let busy: Vec<_> = leases.rows.iter().filter(|lease| lease.calls > 0).collect();
        assert!(busy.is_empty(), "leases with calls at the end: {busy:?}");
        trace::note(self.now, "===", "over");
    }
}
