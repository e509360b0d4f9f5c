//! The data plane of the simulator: it binds pairs, takes orders, and says what it played. What its orders come to is held
//! against what the parties have said to each other.

use std::net::SocketAddr;

use sosbridge::base::Rng;
use sosbridge::media::{Counters, News, Order, PairId, Ports};
use sosbridge::node::Input;

use crate::chance::{between, percent, pick, secs};
use crate::leg::State;
use crate::plane::Plane;
use crate::text::Msg;
use crate::world::{Event, World};

/// Where the relay is.
pub const RELAY: &str = "10.0.0.1";

/// The plane, and how well it is supplied.
pub struct Supply {
    pub plane: Plane,
    /// Pairs that are kept ready; 0: there is no relay.
    pub kept: usize,
    /// Pairs bound in the present life of the node.
    bound: usize,
    last: u16,
    /// Callbacks that wait are told so by a voice.
    pub announces: bool,
    /// Calls go through rtpengine, and through the relay where that is of no use.
    pub has_engine: bool,
    /// Of its own: without a relay everything is as it would be with one.
    rng: Rng,
}

impl Supply {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(!seed);
        let kept = *pick(&mut rng, &[0, 4, 100, 100, 100]);
        let announces = kept > 0 && percent(&mut rng, 50);
        let has_engine = kept >= 100 && percent(&mut rng, 25);
        Self { plane: Plane::default(), kept, bound: 0, last: 0, announces, has_engine, rng }
    }

    /// Ports never run short here.
    pub fn is_ample(&self) -> bool {
        self.kept >= 100
    }

    /// The node has forgotten all of them.
    pub fn restarted(&mut self) {
        (self.plane, self.bound) = (Plane::default(), 0);
    }

    fn bind(&mut self, count: usize) -> Vec<Ports> {
        let mut bound = Vec::new();
        for _ in 0..count {
            self.last = self.last.checked_add(1).filter(|last| *last < 20_000).unwrap_or(1);
            let (pair, rtp) = (PairId(u64::from(self.last)), 20_000 + 2 * self.last);
            bound.push(Ports { pair, address: RELAY.parse().unwrap(), rtp });
        }
        bound.iter().for_each(|ports| self.plane.bind(*ports));
        self.bound += count;
        bound
    }
}

impl World {
    pub fn ordered(&mut self, order: &Order) {
        self.supply.plane.order(order);
        if let Order::Play(pair, voice) = order
            && !voice.repeats
        {
            assert!(voice.prompts.len() > 20, "{voice:?}");
            let (life, after) = (self.life, between(&mut self.supply.rng, 2000, 6000));
            self.later(after, Event::News { life, news: News::Played(*pair) });
        }
    }

    /// The shell binds more after each round, here sometimes late.
    pub fn supply(&mut self) {
        let Some(node) = &self.node else { return };
        let missing = self.supply.kept.saturating_sub(node.ports_ready(true));
        if missing == 0 || (!self.supply.is_ample() && !self.calm && percent(&mut self.supply.rng, 70)) {
            return;
        }
        let bound = self.supply.bind(missing);
        self.feed(Input::Media(News::Bound(bound)));
    }

    /// Counts are told; nobody is heard for a while, so that nothing is kept up for its media.
    pub fn count_packets(&mut self) {
        let pairs: Vec<PairId> = self.supply.plane.pairs.keys().copied().collect();
        let counted = pairs.into_iter().map(|pair| {
            let silent = secs(20) + between(&mut self.supply.rng, 0, 200_000);
            (pair, Counters { packets: self.supply.rng.below(1000), silent, ..Counters::default() })
        });
        let counted: Vec<_> = counted.collect();
        if !counted.is_empty() {
            self.feed(Input::Media(News::Counted(counted)));
        }
    }

    /// No pair is lost, none is in use without a call.
    pub fn check_pairs(&self) {
        let Some(node) = &self.node else { return };
        let (ready, in_use, released) = (node.ports_ready(true), node.ports_in_use(), self.supply.plane.released());
        assert_eq!(ready + in_use + released, self.supply.bound, "ready {ready}, in use {in_use}, released {released}");
        assert!(node.sizes().0 > 0 || in_use == 0, "{in_use} pairs without a call");
    }

    /// What is told of media on a leg leads to whom that leg is joined with: every order is held against what was said.
    pub fn check_joins(&self) {
        for party in self.parties.iter().filter(|party| party.moved_at.is_none()) {
            for leg in party.legs.values().filter(|leg| leg.state == State::Up) {
                let pair =
                    leg.told.and_then(|port| self.supply.plane.pairs.values().find(|pair| pair.ports.rtp == port));
                let Some(pair) = pair else { continue };
                // What it has answered may not be there yet.
                let Some(peer) = &pair.peer else { continue };
                let said = party.media_of(leg);
                assert_eq!(peer.rtp, Some(said), "{} has said {said} in {}", party.name, leg.call_id);
                let Some(other) = pair.joined.and_then(|other| self.supply.plane.pairs.get(&other)) else { continue };
                let knows = |leg: &&crate::leg::Leg| leg.told == Some(other.ports.rtp);
                let peer = self.parties.iter().flat_map(|party| party.legs.values()).find(knows);
                let (one, two) = (leg.invite.get("X-Sim"), peer.map_or("", |peer| peer.invite.get("X-Sim")));
                assert!(one.is_empty() || two.is_empty() || one == two, "{one} is joined with {two}");
            }
        }
    }

    /// The call that a phone has made leads to the media of a trunk, and back.
    pub fn check_relayed(&self, phone: usize, call_id: &str) {
        if !self.supply.is_ample() || self.supply.has_engine {
            return;
        }
        let Some(leg) = self.parties[phone].legs.get(call_id).filter(|leg| leg.state == State::Up) else { return };
        let token = leg.invite.get("X-Sim");
        let trunks = self.trunks().into_iter().map(|trunk| &self.parties[trunk]);
        let mut legs = trunks.flat_map(|trunk| trunk.legs.values().map(move |leg| (trunk, leg)));
        let its = |(_, leg): &(_, &crate::leg::Leg)| leg.state == State::Up && leg.invite.get("X-Sim") == token;
        let Some((trunk, taken)) = legs.rfind(its) else { return };
        let is_there = |port: u16| self.supply.plane.pairs.values().any(|pair| pair.ports.rtp == port);
        if ![leg.told, taken.told].into_iter().flatten().all(is_there) {
            // A BYE is on its way.
            return;
        }
        let leads = |port: Option<u16>| port.and_then(|port| self.supply.plane.is_for(port));
        assert_eq!(leads(leg.told), Some(trunk.media_of(taken)), "what {call_id} says");
        assert_eq!(leads(taken.told), Some(self.parties[phone].media_of(leg)), "what {call_id} hears");
    }

    pub fn played(&mut self, news: News) {
        let is_silent = |pair: &PairId| self.supply.plane.pairs.get(pair).is_none_or(|pair| pair.voice.is_none());
        if !matches!(&news, News::Played(pair) if is_silent(pair)) {
            self.feed(Input::Media(news));
        }
    }
}

/// The port of the first stream that a message tells of.
pub fn told(message: &Msg) -> Option<u16> {
    message.body.lines().find_map(|line| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok())
}

/// Where the media of a party's leg goes.
pub fn place(host: std::net::IpAddr, marker: &str) -> SocketAddr {
    let port = marker.parse::<u64>().unwrap_or(9) % 20_000 + 20_000;
    SocketAddr::new(host, u16::try_from(port).unwrap())
}
