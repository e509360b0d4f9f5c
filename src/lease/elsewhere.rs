//! The leases of the other nodes that share the database, and where those nodes are: a callback comes to whichever node the trunk
//! chooses (SPEC §3, §6). What they hold is theirs: it is looked at here, never changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::machine::State;
use super::row::{Lease, Row};
use crate::base::{E164, Instant};
use crate::transport::Flow;

/// How often what is over is forgotten.
const CLEAR_EVERY: Duration = Duration::from_secs(60);

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub name: CompactString,
    /// Where it takes datagrams, and sends them from.
    pub addresses: SmallVec<[SocketAddr; 2]>,
    /// It has shown itself to the database in the last seconds.
    pub is_running: bool,
}

/// What the database told since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElsewhereNews {
    /// All other nodes.
    pub nodes: Vec<Neighbour>,
    /// Rows that changed, by the name of their node, with times of the clock of this node.
    pub rows: Vec<(CompactString, Row)>,
}

/// What is known of the other nodes. Without the database it stays what it was.
#[derive(Default)]
pub struct Elsewhere {
    nodes: Vec<Neighbour>,
    leases_by_number: BTreeMap<E164, SmallVec<[(CompactString, Lease); 1]>>,
    clear_due: Option<Instant>,
}

impl Elsewhere {
    /// `quarantine`: how long a number rests after its window; what has rested longer is forgotten.
    pub fn learn(&mut self, now: Instant, quarantine: Duration, news: ElsewhereNews) {
        self.nodes = news.nodes;
        for (node, row) in news.rows {
            let leases = self.leases_by_number.entry(row.number()).or_default();
            leases.retain(|(holder, _)| *holder != node);
            if let Row::Lease(lease) = row {
                leases.push((node, lease));
            }
        }
        if self.clear_due.is_none_or(|due| due <= now) {
            self.clear_due = Some(now + CLEAR_EVERY);
            self.leases_by_number.retain(|_, leases| {
                leases.retain(|(_, lease)| is_remembered(lease, now, quarantine));
                !leases.is_empty()
            });
        }
    }

    /// The newest lease of the number at another node.
    pub fn find(&self, now: Instant, quarantine: Duration, number: E164) -> Option<&Lease> {
        let leases = self.leases_by_number.get(&number)?.iter().map(|(_, lease)| lease);
        leases.filter(|lease| is_remembered(lease, now, quarantine)).max_by_key(|lease| lease.dialled)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Neighbour> {
        self.nodes.iter()
    }

    /// The nodes that run, as far as is known.
    pub fn running(&self) -> impl Iterator<Item = &Neighbour> {
        self.nodes.iter().filter(|node| node.is_running)
    }

    /// True when a datagram over this flow comes from another node.
    pub fn is_at(&self, flow: &Flow) -> bool {
        !flow.protocol.is_reliable() && self.nodes.iter().any(|node| node.addresses.contains(&flow.remote))
    }
}

/// A lease whose call is up stays until its node says otherwise: also when the node has died meanwhile.
fn is_remembered(lease: &Lease, now: Instant, quarantine: Duration) -> bool {
    lease.state == State::Active || lease.expires + quarantine > now
}
