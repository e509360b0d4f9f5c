//! Pairs of ports that are bound and belong to nobody yet.

use std::collections::VecDeque;

use super::Ports;

/// Ready pairs of both address families, the oldest first. A pair that was given out comes back only unused.
#[derive(Debug, Default)]
pub struct Bank {
    v4: VecDeque<Ports>,
    v6: VecDeque<Ports>,
}

impl Bank {
    pub fn put(&mut self, ports: Ports) {
        self.of_mut(ports.address.is_ipv4()).push_back(ports);
    }

    pub fn take(&mut self, is_ipv4: bool) -> Option<Ports> {
        self.of_mut(is_ipv4).pop_front()
    }

    /// Gives up the pairs that are no longer to be told.
    pub fn keep(&mut self, is_kept: impl Fn(&Ports) -> bool) -> Vec<Ports> {
        let mut given_up = Vec::new();
        for ready in [&mut self.v4, &mut self.v6] {
            given_up.extend(ready.iter().filter(|ports| !is_kept(ports)));
            ready.retain(&is_kept);
        }
        given_up
    }

    /// How many wait for their use.
    pub fn ready(&self, is_ipv4: bool) -> usize {
        if is_ipv4 { self.v4.len() } else { self.v6.len() }
    }

    fn of_mut(&mut self, is_ipv4: bool) -> &mut VecDeque<Ports> {
        if is_ipv4 { &mut self.v4 } else { &mut self.v6 }
    }
}
