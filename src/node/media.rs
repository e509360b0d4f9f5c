//! Between the calls and the data plane.

use std::net::SocketAddr;

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
        let (calls, mut parts) = self.parts();
        calls.settle_media(&parts);
        calls.delete_sessions(&mut parts);
        let orders = self.calls.take_orders();
        self.outputs.extend(orders.into_iter().map(Output::Media));
        while let Some((to, bytes)) = self.calls.poll_rtpengine() {
            self.outputs.push_back(Output::Ng { to, bytes });
        }
    }

    pub(super) fn rtpengine_sent(&mut self, from: SocketAddr, bytes: &[u8]) {
        let (calls, mut parts) = self.parts();
        calls.rtpengine_sent(&mut parts, from, bytes);
    }
}
