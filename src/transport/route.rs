//! Where responses go (RFC 3261 §18.2.2, RFC 3581 §4), and which listener sends a request (§18.1.1).

use std::net::{IpAddr, SocketAddr};

use super::{Flow, ListenerId};
use crate::base::Protocol;
use crate::sip::Via;

/// The port of SIP over UDP when sent-by names none (RFC 3261 §18.2.2).
const DEFAULT_PORT: u16 = 5060;

/// The flow for the responses to a request that came over `flow` with `via` on top: on streams the same connection, on
/// datagrams the source address with the source port when `rport` was asked for, else with the port of sent-by.
/// `maddr` is not followed: it would let a request point its responses at anybody.
pub fn response_flow(via: &Via<'_>, mut flow: Flow) -> Flow {
    if !flow.protocol.is_reliable() && via.rport().is_none() {
        // In the zone that it has, where it is of a link (RFC 4007).
        flow.remote.set_port(via.port.unwrap_or(DEFAULT_PORT));
    }
    flow
}

/// The listener for requests to `ip` over `protocol`, among all of them in their order; `None` when none has the address family,
/// or for datagrams none that has it speaks UDP.
pub fn listener_toward(
    mut listeners: impl Iterator<Item = (Protocol, SocketAddr)> + Clone,
    protocol: Protocol,
    ip: IpAddr,
) -> Option<ListenerId> {
    let family = |address: SocketAddr| address.is_ipv4() == ip.is_ipv4();
    let speaks = listeners.clone().position(|(spoken, address)| spoken == protocol && family(address));
    let at = match protocol {
        Protocol::Udp => speaks,
        // A connection can be opened without a listener of its kind; Via then names one of another kind.
        _ => speaks.or_else(|| listeners.position(|(_, address)| family(address))),
    };
    at.and_then(|at| u8::try_from(at).ok()).map(ListenerId)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::ConnId;

    fn answer(protocol: Protocol, via: &str) -> String {
        let connection = protocol.is_reliable().then_some(ConnId(7));
        let flow = Flow { protocol, listener: ListenerId(1), remote: "192.0.2.9:40000".parse().unwrap(), connection };
        let answer = response_flow(&Via::parse(via.as_bytes()).unwrap(), flow);
        assert_eq!((answer.listener, answer.connection), (flow.listener, flow.connection));
        answer.remote.to_string()
    }

    #[test]
    fn na_1_rport_absent_or_present() {
        let udp = |via| answer(Protocol::Udp, via);
        assert_eq!(udp("SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bKa"), "192.0.2.9:40000");
        assert_eq!(
            udp("SIP/2.0/UDP 10.0.0.1:5062;rport=1;branch=z9hG4bKa"),
            "192.0.2.9:40000",
            "not the one it claims"
        );
        assert_eq!(udp("SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa"), "192.0.2.9:5062");
        assert_eq!(udp("SIP/2.0/UDP phone.example;branch=z9hG4bKa"), "192.0.2.9:5060");
        assert_eq!(udp("SIP/2.0/UDP 10.0.0.1;maddr=198.51.100.1;branch=z9hG4bKa"), "192.0.2.9:5060");
    }

    #[test]
    fn na_1_streams_answer_on_their_connection() {
        assert_eq!(answer(Protocol::Tcp, "SIP/2.0/TCP 10.0.0.1:5062;branch=z9hG4bKa"), "192.0.2.9:40000");
    }

    #[test]
    fn na_8_a_listener_for_each_family_and_transport() {
        let all = [
            (Protocol::Udp, "192.0.2.1:5060"),
            (Protocol::Tcp, "192.0.2.1:5060"),
            (Protocol::Udp, "[2001:db8::1]:5060"),
        ];
        let all = all.map(|(protocol, address)| (protocol, address.parse().unwrap()));
        let toward = |count: usize, protocol, ip: &str| {
            listener_toward(all.into_iter().take(count), protocol, ip.parse().unwrap()).map(|id| id.0)
        };
        assert_eq!(toward(3, Protocol::Udp, "192.0.2.9"), Some(0));
        assert_eq!(toward(3, Protocol::Tcp, "192.0.2.9"), Some(1));
        assert_eq!(toward(3, Protocol::Udp, "2001:db8::9"), Some(2));
        assert_eq!(toward(3, Protocol::Tcp, "2001:db8::9"), Some(2), "of another kind, for its name");
        assert_eq!(toward(2, Protocol::Udp, "2001:db8::9"), None);
        assert_eq!(toward(2, Protocol::Tls, "2001:db8::9"), None);
    }
}
