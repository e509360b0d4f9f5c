//! What the database tells of the other nodes, before it is the node's: each has a clock of its own.

use compact_str::CompactString;

use crate::lease::{ElsewhereNews, Neighbour, Row};
use crate::shell::clock::Stored;

/// What a node tells the others of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign<'a> {
    /// Where it takes datagrams, separated by spaces; empty: that is not known yet.
    pub(super) addresses: &'a str,
    pub(super) clock: &'a Stored,
}

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
    /// Our clock minus that of its node.
    pub(super) ahead_ms: i64,
    pub(super) row: Row,
}

impl Neighbourhood {
    /// With the times of our clock.
    pub(super) fn news(self) -> ElsewhereNews {
        let rows = self.rows.into_iter().map(|Elsewhere { node, ahead_ms, mut row }| {
            row.instants_mut().for_each(|at| *at = at.moved_ms(ahead_ms));
            (node, row)
        });
        ElsewhereNews { rows: rows.collect(), nodes: self.nodes }
    }
}
