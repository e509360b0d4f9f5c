//! Those who share a place: users behind one proxy, trunks at one address. What is meant for one of them never goes to another.

use sosbridge::node::Input;

use crate::world::{Agent, Msg, World, alice, bob, nomad, psap, register};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\";reg-id=1";

/// `agent`, who has come through the same proxy as others do.
fn behind(proxy: &Agent, agent: Agent) -> Agent {
    Agent { address: proxy.address, connection: proxy.connection, ..agent }
}

fn with_instance(agent: &Agent) -> Msg {
    register(agent).set("Contact", &format!("{};{INSTANCE}", agent.contact())).with("Supported", "path, outbound")
}

#[test]
fn na_4_a_user_who_leaves_a_proxy_takes_nobody_along() {
    for via in [false, true] {
        let mut world = World::new();
        let proxy = world.connect(Agent::new("proxy", "198.51.100.50:5060"));
        let (near, far) = (behind(&proxy, bob()), behind(&proxy, alice()));
        world.register_as(&near, &register(&near).set("Contact", "<sip:bob@10.0.0.5>"));
        let through = with_instance(&far);
        let path = "<sip:198.51.100.50;transport=tcp;lr;ob>";
        world.register_as(&far, &if via { through.with("Path", path) } else { through });
        // The same phone, now by itself (RFC 5626 §6).
        let own = world.connect(alice());
        world.register_as(&own, &with_instance(&own));
        world.register(&nomad());
        world.dial(&nomad(), "sip:bob@example.com");
        world.none(&own, "INVITE");
        assert_eq!(world.take(&near, "INVITE").uri(), "sip:bob@10.0.0.5");
    }
}

#[test]
fn na_4_nobody_inherits_the_lost_connection_of_a_proxy() {
    // Bob's emergency call went through the proxy; its connection is lost, and only another user comes back by itself.
    let mut world = World::new();
    let proxy = world.connect(Agent::new("proxy", "198.51.100.50:5060"));
    let (near, far) = (behind(&proxy, bob()), behind(&proxy, alice()));
    world.register_as(&near, &register(&near).set("Contact", "<sip:bob@10.0.0.5>"));
    world.register_as(&far, &with_instance(&far));
    let invite = near.invite("sip:911@example.com");
    world.send(&near, &invite);
    world.take(&near, "100");
    let offered = world.take(&psap(), "INVITE");
    let mut call = world.answer(&near, &invite, &psap(), &offered);
    world.input(Input::Closed { connection: proxy.connection.unwrap() });
    let own = world.connect(alice());
    world.register_as(&own, &with_instance(&own));
    world.send(&psap(), &call.trunk.request("BYE"));
    world.none(&own, "*");
}
