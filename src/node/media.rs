//! Between the calls and the data plane.

use super::{Node, Output};
use crate::media::News;

impl Node {
    /// Pairs of one address family that are bound and wait for their use; the shell binds more below
    /// [`crate::base::limits::PORTS_READY`].
    pub fn ports_ready(&self, is_ipv4: bool) -> usize {
        self.calls.ports_ready(is_ipv4)
    }

    /// Pairs that legs have, for invariants.
    pub fn ports_in_use(&self) -> usize {
        self.calls.ports_in_use()
    }

    pub(super) fn media_news(&mut self, news: News) {
        let (calls, mut parts) = self.parts();
        calls.media_news(&mut parts, news);
    }

    /// Before anything is sent: who answers at once is heard.
    pub(super) fn settle_media(&mut self) {
        let (calls, parts) = self.parts();
        calls.settle_media(&parts);
        let orders = self.calls.take_orders();
        self.outputs.extend(orders.into_iter().map(Output::Media));
    }
}
