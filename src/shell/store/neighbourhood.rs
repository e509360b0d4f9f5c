//! What the database tells of the other nodes, before it is the node's: each has a clock of its own.

use compact_str::CompactString;

use crate::base::Instant;
use crate::lease::{ElsewhereNews, Neighbour, Row};

/// All other nodes, and what they have changed.
#[derive(Debug, Default)]
pub(super) struct Neighbourhood {
    pub(super) nodes: Vec<Neighbour>,
    pub(super) rows: Vec<Elsewhere>,
}

/// A row of another node.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) node: CompactString,
    /// Wall clock minus the clock of that node.
    pub(super) wall_offset_ms: i64,
    pub(super) row: Row,
}

impl Neighbourhood {
    /// With the times of our clock, which `wall_offset_ms` tells from the wall clock.
    pub(super) fn news(self, wall_offset_ms: i64) -> ElsewhereNews {
        let rows = self.rows.into_iter().map(|Elsewhere { node, wall_offset_ms: theirs, mut row }| {
            let ours = |at: Instant| {
                Instant::from_millis(at.as_millis().saturating_add_signed(theirs.saturating_sub(wall_offset_ms)))
            };
            match &mut row {
                Row::Lease(lease) => (lease.dialled, lease.expires) = (ours(lease.dialled), ours(lease.expires)),
                Row::Rested { since, .. } => *since = ours(*since),
                Row::Forget { .. } => {}
            }
            (node, row)
        });
        ElsewhereNews { rows: rows.collect(), nodes: self.nodes }
    }
}
