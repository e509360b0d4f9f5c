//! Those who share a place: users behind one proxy, trunks at one address. What is meant for one of them never goes to another.

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Msg, Toml, World, alice, bob, nomad, psap, register};

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

/// The call center and its backup behind one address under TLS, each to be known by certificates of its own.
fn at_one_address() -> Toml {
    let listener = "[[sip.listen]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\ncert = \"own.pem\"\nkey = \"own-key.pem\"\n";
    let tls = "sip:203.0.113.80:5080;transport=tls";
    Toml::default()
        .change("[registrar]", &format!("{listener}[registrar]"))
        .change("sip:203.0.113.80:5080", tls)
        .change("sip:203.0.113.81:5080", tls)
}

#[test]
fn au_3_trunks_at_one_address_have_a_connection_each() {
    let mut world = World::of(&at_one_address());
    world.register(&alice());
    let (invite, offered) = world.dialled();
    let [first] = &world.opened[..] else { panic!("{:?}", world.opened) };
    let over = |connection| Agent { connection: Some(connection), ..psap() };
    let first = over(first.connection);
    world.send(&first, &first.reply(&offered, 503));
    world.take(&first, "ACK");
    let [_, second] = &world.opened[..] else { panic!("one verified as another trunk: {:?}", world.opened) };
    assert_eq!(second.peer.as_ref().expect("somebody").trunk, "backup");
    let second = over(second.connection);
    let offered = world.take(&second, "INVITE");
    // The connection is lost in the call: the next one leads to the same trunk.
    let answer = second.reply(&offered, 200).sdp(&second.offer());
    world.send(&second, &answer.set("Contact", "<sip:psap@203.0.113.80:5080;transport=tls>"));
    world.take(&second, "ACK");
    let mut phone = Dialog::caller(alice(), &invite, &world.take(&alice(), "200"));
    world.send(&alice(), &phone.request("ACK"));
    world.input(Input::Closed { connection: second.connection.unwrap() });
    assert_eq!(world.ask(&alice(), &phone.request("BYE")).code(), 200);
    let third = world.opened.last().unwrap().clone();
    assert_eq!((world.opened.len(), &third.peer.expect("somebody").trunk[..]), (3, "backup"));
    world.take(&over(third.connection), "BYE");
    // And each is used again.
    world.dialled();
    assert_eq!(world.opened.len(), 3);
}
