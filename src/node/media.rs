//! What the data plane tells, and what it has to know.

use super::Node;
use crate::media::News;

impl Node {
    /// Pairs of one address family that are bound and wait for their use; the shell binds more below
    /// [`crate::base::limits::PORTS_READY`].
    pub fn ports_ready(&self, is_ipv4: bool) -> usize {
        self.ports.ready(is_ipv4)
    }

    pub(super) fn media_news(&mut self, news: News) {
        match news {
            News::Bound(pairs) => pairs.into_iter().for_each(|ports| self.ports.put(ports)),
            News::Scarce { reason } => tracing::warn!(reason, "media ports cannot be bound"),
            News::Played(_) | News::Counted(_) => {}
        }
    }
}
