//! Whose time it is next.

use super::{Node, Why};
use crate::base::{Instant, limits};

impl Node {
    /// When `handle_timeout` has to be called, and for whom.
    pub fn poll_timeout(&mut self) -> Option<(Instant, Why)> {
        [
            (self.transactions.next_deadline(), Why::Transaction),
            (self.ua.next_deadline(), Why::Leg),
            (self.calls.next_deadline(), Why::Call),
            (self.leases.next_deadline(), Why::Lease),
            (self.registrar.next_deadline(), Why::Binding),
            (self.keep_alive.due(), Why::KeepAlive),
            (self.confirmations.next_deadline(), Why::Confirmation),
            (self.trunks.next_deadline(), Why::Trunk),
            (self.streams.next_deadline(), Why::HalfMessage),
            (self.notices.next_deadline().filter(|_| self.config.notify.url.is_some()), Why::Notice),
            (self.gauges_due, Why::Gauges),
            (self.calls.rtpengine_deadline(), Why::Media),
        ]
        .into_iter()
        .filter_map(|(at, why)| Some((at?, why)))
        .min_by_key(|(at, _)| *at)
    }

    /// Does everything that is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(event) = self.transactions.handle_timeout(self.now, &mut self.outbox) {
            self.transaction_event(event);
        }
        let (calls, mut parts) = self.parts();
        parts.ua.handle_timeout(&mut parts.context);
        calls.handle_timeout(&mut parts);
        calls.rtpengine_timeout(&mut parts);
        if self.leases.next_deadline().is_some_and(|at| at <= self.now) {
            self.leases.handle_timeout(self.now);
            self.gauges_due.get_or_insert(self.now);
        }
        while self.registrar.next_deadline().is_some_and(|at| at <= self.now) {
            self.registrar.handle_timeout(self.now);
        }
        self.confirm_overdue();
        self.keep_alive();
        for probe in self.trunks.handle_timeout(self.now, &mut self.rng) {
            self.probe(probe);
        }
        self.register_at_trunks();
        while let Some(connection) = self.streams.overdue(self.now) {
            let is_waited_for =
                || self.transactions.wait_over(connection) || self.trunks.are_registered_over(connection);
            if self.streams.is_slow(connection) && is_waited_for() {
                self.streams.limit(connection, self.now + limits::HALF_MESSAGE);
            } else if self.streams.doubt(self.now, connection) {
                self.transactions.doubted(self.now, connection, &mut self.outbox);
            } else {
                self.drop_connection(connection);
            }
        }
        if self.gauges_due.is_some_and(|due| due <= self.now) {
            self.gauges_due = None;
            self.set_gauges();
            self.tell_pools();
        }
        self.settle();
    }
}
