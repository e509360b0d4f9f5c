//! How requests of ours leave: as a datagram, or over TCP in its place where they are too long for one toward a trunk or a PBX
//! (RFC 3261 §18.1.1; CONFORMANCE NA-6).
//!
//! A phone is reached over the flow it registered from and no other (RFC 5626 §5.3): what is behind a NAT takes no connection, and
//! a callback must not wait for finding that out.

use bytes::Bytes;

use super::{Context, Leg, LegId, Settings, Ua};
use crate::base::{Protocol, limits};
use crate::sip::{Message, Method};
use crate::transaction::ClientId;
use crate::transport::{Flow, Transmit, retold};

/// A request of ours, printed for its flow and settled in a transaction.
pub(super) struct Outgoing {
    pub client: ClientId,
    pub method: Method,
    pub flow: Flow,
    pub bytes: Bytes,
}

impl Ua {
    /// Sends a request toward a trunk or a PBX that is not of a leg.
    pub fn send(&self, context: &mut Context<'_>, client: ClientId, method: Method, flow: Flow, bytes: Bytes) {
        send(context, &self.settings, true, Outgoing { client, method, flow, bytes });
    }

    /// Many a carrier takes connections from anybody and knows its customers by datagrams only: what it refuses over TCP it is asked
    /// by datagrams from now on. True when it did not know the dialog there, which is no word on the dialog.
    pub(super) fn is_unknown_instead(&self, context: &mut Context<'_>, id: LegId, response: &Message) -> bool {
        let status = response.code();
        let Some(leg) = self.legs.get(id).filter(|_| status >= 300 && !is_of_the_request(status)) else { return false };
        let flow = leg.next_flow(context.streams);
        let is_instead = leg.is_server() && flow.protocol == Protocol::Udp && is_over_tcp(response);
        if is_instead {
            context.streams.refused_instead(context.now, flow.remote);
        }
        is_instead && status == 481
    }
}

/// Sends a request; `is_server`: toward a trunk or a PBX.
pub(super) fn send(context: &mut Context<'_>, settings: &Settings, is_server: bool, request: Outgoing) {
    let Outgoing { client, method, flow, bytes } = request;
    let instead = match is_server {
        true => context.streams.instead(context.now, flow, bytes.len()),
        false => None,
    };
    let local = instead.and_then(|instead| settings.locals.get(usize::from(instead.listener.0)));
    match (instead, local) {
        (Some(instead), Some(local)) => {
            let over = (instead, retold(&bytes, instead.protocol, local.sent_by()));
            let otherwise = (bytes.len() <= limits::DATAGRAM_BYTES).then_some((flow, bytes));
            context.transactions.send_instead(context.now, client, method, over, otherwise, context.out);
        }
        _ => context.transactions.send(context.now, client, method, flow, bytes, context.out),
    }
}

/// Sends the ACK to a 2xx, which nothing repeats: over TCP only where that is known to arrive.
pub(super) fn send_ack(context: &mut Context<'_>, settings: &Settings, leg: &Leg, flow: Flow, bytes: Bytes) {
    let instead = context.streams.connected_instead(flow, bytes.len()).filter(|_| leg.is_server());
    let local = instead.and_then(|instead| settings.locals.get(usize::from(instead.listener.0)));
    let (flow, bytes) = match (instead, local) {
        (Some(instead), Some(local)) => (instead, retold(&bytes, instead.protocol, local.sent_by())),
        _ => (flow, bytes),
    };
    context.out.push(Transmit { flow, bytes });
}

/// By the top Via, which is ours.
fn is_over_tcp(response: &Message) -> bool {
    response.top_via().protocol == Some(Protocol::Tcp)
}

/// Statuses that say nothing of whether the peer knows us over the transport they came by: redirections, challenges, what a request
/// lacks, and what a person says.
const fn is_of_the_request(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 407 | 420 | 422 | 484 | 486 | 487 | 491 | 600 | 603)
}
