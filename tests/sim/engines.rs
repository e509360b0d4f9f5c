//! Instances of rtpengine that answer late or not at all, refuse, and die. Calls go on all the same, and what was asked of one is
//! deleted there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sosbridge::base::{Instant, Rng};
use sosbridge::media::ng::Value;
use sosbridge::node::Input;

use crate::chance::{between, percent, pick};
use crate::engine::Engine;
use crate::leg::State;
use crate::trace;
use crate::world::{Event, World};

const INSTANCES: [(&str, (u16, u16)); 2] = [("10.0.0.25:2223", (60_002, 62_999)), ("10.0.0.26:2223", (63_000, 65_533))];

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Good,
    Late,
    Lossy,
    /// It has no port for anybody.
    Refusing,
    Nonsense,
    Dead,
}

struct Instance {
    address: SocketAddr,
    engine: Engine,
    range: (u16, u16),
    mood: Mood,
    /// When the last command sent so far arrives.
    arrives_at: Instant,
}

/// None where calls have no rtpengine.
pub struct Engines {
    instances: Vec<Instance>,
    /// What each was asked for in this life of the node, and not to delete.
    owed: BTreeSet<(SocketAddr, String)>,
    /// Seconds in which the two ends of a call were led to different places.
    astray: u32,
    rng: Rng,
}

impl Engines {
    pub fn new(seed: u64, is_used: bool) -> Self {
        let instance = |(address, range): (&str, (u16, u16))| Instance {
            address: address.parse().unwrap(),
            engine: engine(address, range),
            range,
            mood: Mood::Good,
            arrives_at: Instant::default(),
        };
        let instances = INSTANCES.into_iter().filter(|_| is_used).map(instance).collect();
        Self { instances, owed: BTreeSet::new(), astray: 0, rng: Rng::from_u64(seed.rotate_left(32) ^ 0x5eed) }
    }

    pub fn is_used(&self) -> bool {
        !self.instances.is_empty()
    }

    /// The node knows of nothing it has asked for.
    pub fn forgotten(&mut self) {
        self.owed.clear();
    }

    fn at(&self, address: SocketAddr) -> usize {
        self.instances
            .iter()
            .position(|instance| instance.address == address)
            .expect("an instance of the configuration")
    }

    fn set(&mut self, now: Instant, at: usize, mood: Mood) {
        let instance = &mut self.instances[at];
        if instance.mood == Mood::Dead && mood != Mood::Dead {
            instance.engine = engine(INSTANCES[at].0, instance.range);
            self.owed.retain(|(address, _)| *address != instance.address);
        }
        if instance.mood != mood {
            trace::note(now, "rtpengine", &format!("{} is {mood:?}", instance.address));
        }
        instance.mood = mood;
    }
}

/// How the configuration names them.
pub fn configured() -> String {
    let urls: Vec<String> = INSTANCES.iter().map(|(address, _)| format!("\"udp:{address}\"")).collect();
    format!("\"rtpengine\"\nrtpengine = [{}]", urls.join(", "))
}

fn engine(address: &str, range: (u16, u16)) -> Engine {
    Engine::new([address.split(':').next().unwrap(), "2001:db8::25"], range)
}

fn command_of(datagram: &[u8]) -> Option<(String, String)> {
    let at = datagram.iter().position(|byte| *byte == b' ')?;
    let command = Value::read(&datagram[at + 1..]).ok()?;
    let word = |key| Some(String::from_utf8_lossy(command.get(key)?.text()?).into_owned());
    Some((word("command")?, word("call-id").unwrap_or_default()))
}

impl World {
    /// The node has sent a command.
    pub fn engine_asked(&mut self, to: SocketAddr, bytes: Bytes) {
        let now = self.now;
        let (command, call) = command_of(&bytes).expect("a command");
        if command != "ping" {
            trace::note(now, "        node -> rtpengine", &format!("{command} {call} at {to}"));
        }
        let own = (to, call);
        match command.as_str() {
            "offer" | "answer" => drop(self.engines.owed.insert(own)),
            "delete" => drop(self.engines.owed.remove(&own)),
            _ => {}
        }
        let at = self.engines.at(to);
        let mood = self.engines.instances[at].mood;
        let rng = &mut self.engines.rng;
        if mood == Mood::Dead || (mood == Mood::Lossy && percent(rng, 40)) {
            return;
        }
        let arrives_at = self.engines.instances[at].arrives_at.max(now + between(rng, 0, 3));
        self.engines.instances[at].arrives_at = arrives_at;
        self.at(arrives_at, Event::ToEngine { at, bytes });
    }

    /// A command has arrived.
    pub fn engine_answers(&mut self, at: usize, bytes: &[u8]) {
        let instance = &mut self.engines.instances[at];
        if instance.mood == Mood::Dead {
            return;
        }
        let (command, _) = command_of(bytes).unwrap();
        let cookie = bytes.split(|byte| *byte == b' ').next().unwrap();
        let is_asked = matches!(command.as_str(), "offer" | "answer");
        let reply = match instance.mood {
            Mood::Refusing if is_asked => [cookie, b" d12:error-reason12:out of ports6:result5:errore"].concat().into(),
            Mood::Nonsense if is_asked => [cookie, b" d6:result5:maybee"].concat().into(),
            _ => instance.engine.asked(bytes),
        };
        let (mood, rng) = (instance.mood, &mut self.engines.rng);
        let after: Duration = match mood {
            Mood::Lossy if percent(rng, 40) => return,
            Mood::Late => between(rng, 50, 600),
            _ => between(rng, 0, 3),
        };
        self.later(after, Event::FromEngine { life: self.life, at, bytes: reply });
    }

    pub fn engine_said(&mut self, at: usize, bytes: Bytes) {
        let from = self.engines.instances[at].address;
        self.feed(Input::Ng { from, bytes });
    }

    /// Something becomes of an instance, at times.
    pub fn engines_turn(&mut self, likely: u64) {
        for at in 0..self.engines.instances.len() {
            if percent(&mut self.engines.rng, likely) {
                let moods = [Mood::Good, Mood::Late, Mood::Lossy, Mood::Refusing, Mood::Nonsense, Mood::Dead];
                let mood = *pick(&mut self.engines.rng, &moods);
                self.engines.set(self.now, at, mood);
            }
        }
    }

    pub fn engines_recover(&mut self) {
        for at in 0..self.engines.instances.len() {
            self.engines.set(self.now, at, Mood::Good);
        }
        self.engines.astray = 0;
    }

    /// The two ends of a call lead to each other, through one call of one instance or through the relay; for a moment they may not.
    pub fn check_engines(&mut self, phone: usize, call_id: &str) {
        let Some(leg) = self.parties[phone].legs.get(call_id).filter(|leg| leg.state == State::Up) else { return };
        let token = leg.invite.get("X-Sim");
        let trunks = self.trunks().into_iter().map(|trunk| &self.parties[trunk]);
        let mut legs = trunks.flat_map(|trunk| trunk.legs.values().map(move |leg| (trunk, leg)));
        let its = |(_, leg): &(_, &crate::leg::Leg)| leg.state == State::Up && leg.invite.get("X-Sim") == token;
        let Some((trunk, taken)) = legs.rfind(its) else { return };
        let (Some(hears), Some(says)) = (taken.told, leg.told) else { return };
        let places = [self.parties[phone].media_of(leg), trunk.media_of(taken)].map(|place| place.port());
        let lead = self.leads_to(says, places[1]) && self.leads_to(hears, places[0]);
        let is_one = self.engine_of(says) == self.engine_of(hears);
        self.engines.astray = if lead && is_one { 0 } else { self.engines.astray + 1 };
        let seconds = self.engines.astray;
        assert!(seconds < 10, "{call_id} says at {says} and hears at {hears}: {seconds} s not each other");
    }

    fn engine_of(&self, port: u16) -> Option<usize> {
        self.engines.instances.iter().position(|instance| (instance.range.0..=instance.range.1).contains(&port))
    }

    /// What is sent to this port of ours comes to who has described `place`.
    fn leads_to(&self, port: u16, place: u16) -> bool {
        let Some(at) = self.engine_of(port) else {
            let is_there = self.supply.plane.pairs.values().any(|pair| pair.ports.rtp == port && pair.joined.is_some());
            return is_there && self.supply.plane.is_for(port).is_some_and(|described| described.port() == place);
        };
        let instance = &self.engines.instances[at];
        let Some((session, side)) = instance.engine.owner(port).filter(|_| instance.mood != Mood::Dead) else {
            return false;
        };
        let said = session.said.get(side).map(String::as_str).unwrap_or_default();
        session.said.len() == 2 && said.lines().any(|line| line.starts_with(&format!("m=audio {place} ")))
    }

    /// No call is left with an instance that was not told of its end.
    pub fn check_owed(&self) {
        assert!(self.engines.owed.is_empty(), "nobody tells rtpengine that these are over: {:?}", self.engines.owed);
    }
}
