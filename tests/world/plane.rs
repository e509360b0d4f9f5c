//! The data plane as the node orders it about: which pair leads where. An order that makes no sense fails the test.
#![allow(dead_code, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use sosbridge::media::{Order, PairId, Peer, Ports, Prompt, Reach, Voice};

#[derive(Default)]
pub struct Plane {
    ready: BTreeMap<PairId, Ports>,
    pub pairs: BTreeMap<PairId, Pair>,
    released: BTreeSet<PairId>,
}

/// A pair that was ordered about and not released.
#[derive(Debug)]
pub struct Pair {
    pub ports: Ports,
    pub peer: Option<Peer>,
    pub joined: Option<PairId>,
    pub voice: Option<Voice>,
}

impl Plane {
    pub fn bind(&mut self, ports: Ports) {
        self.ready.insert(ports.pair, ports);
    }

    pub fn order(&mut self, order: &Order) {
        match order {
            Order::Take(pair) => drop(self.pair(*pair)),
            Order::Serve(..) => {}
            Order::Join(one, other) => {
                assert_ne!(one, other);
                self.part(*one);
                self.part(*other);
                self.pair(*one).joined = Some(*other);
                self.pair(*other).joined = Some(*one);
            }
            Order::Part(pair) => self.part(*pair),
            Order::Point(pair, peer) => self.pair(*pair).peer = Some(peer.clone()),
            Order::Play(pair, voice) => self.pair(*pair).voice = Some(voice.clone()),
            Order::Silence(pair) => {
                assert!(self.pair(*pair).voice.take().is_some(), "silence where nothing is said");
            }
            Order::Release(pair) => {
                self.part(*pair);
                self.pairs.remove(pair);
                assert!(self.released.insert(*pair), "released twice");
            }
        }
    }

    fn part(&mut self, pair: PairId) {
        if let Some(other) = self.pair(pair).joined.take() {
            self.pair(other).joined = None;
        }
    }

    fn pair(&mut self, pair: PairId) -> &mut Pair {
        assert!(!self.released.contains(&pair), "{pair:?} was released");
        if let Some(ports) = self.ready.remove(&pair) {
            self.pairs.insert(pair, Pair { ports, peer: None, joined: None, voice: None });
        }
        self.pairs.get_mut(&pair).unwrap_or_else(|| panic!("{pair:?} was never bound"))
    }

    /// The pair that descriptions name by this port.
    #[track_caller]
    pub fn at(&self, rtp: u16) -> &Pair {
        self.pairs.values().find(|pair| pair.ports.rtp == rtp).unwrap_or_else(|| panic!("no pair at {rtp}"))
    }

    /// Where what arrives at this port goes, before anything has come from there.
    #[track_caller]
    pub fn leads_to(&self, rtp: u16) -> Option<SocketAddr> {
        let peer = self.pairs[&self.at(rtp).joined?].peer.as_ref()?;
        peer.rtp.filter(|_| peer.reach != Reach::Hidden)
    }

    /// What the party that hears this port has described.
    #[track_caller]
    pub fn is_for(&self, rtp: u16) -> Option<SocketAddr> {
        self.pairs[&self.at(rtp).joined?].peer.as_ref()?.rtp
    }

    /// How many pairs were given back.
    pub fn released(&self) -> usize {
        self.released.len()
    }

    /// The digits that are said, without what is said around them.
    pub fn digits(voice: &Voice) -> String {
        let digit = |prompt: &Prompt| match prompt {
            Prompt::Digit(digit) => Some(char::from(b'0' + digit)),
            _ => None,
        };
        voice.prompts.iter().filter_map(digit).collect()
    }
}
