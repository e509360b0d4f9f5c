//! SPEC §9: whoever calls for help, and however, somebody on site is told.

use sosbridge::node::Hook;

use crate::world::{Agent, Msg, Toml, World, alice, authorized, bob, nomad, psap};

fn notifying() -> Toml {
    Toml::default().add("[notify]\nurl = \"http://127.0.0.1:1/hook\"\n")
}

/// What was told of the call that `invite` made.
fn told(world: &mut World, phone: &Agent, invite: &Msg) -> (String, String) {
    world.take_posts(Hook::Notify);
    world.send(phone, invite);
    let offered = world.take(&psap(), "INVITE");
    let posts = world.take_posts(Hook::Notify);
    assert_eq!(posts.iter().filter(|post| post.body["event"] == "emergency_call").count(), 1, "{posts:?}");
    let body = posts.into_iter().find(|post| post.body["event"] == "emergency_call").unwrap().body;
    let shown = crate::world::uri_of(offered.header("From"));
    let number = body["callback_number"].as_str().unwrap().to_owned();
    assert!(shown.contains(&number), "{number} is told, and {shown} is shown");
    (body["user"].as_str().unwrap().to_owned(), body["dialled"].as_str().unwrap().to_owned())
}

/// Rules 9.2a, 9.2b, 9.2d: with the number that the trunk sees.
#[test]
fn every_kind_of_emergency_call_is_told() {
    let dialled = ["sip:911@example.com", "sip:112@example.com", "sips:911@example.com", "urn:service:sos.fire"];
    for uri in dialled {
        let mut world = World::of(&notifying());
        world.register(&alice());
        let told = told(&mut world, &alice(), &alice().invite(uri));
        assert_eq!(told, ("sip:alice@example.com".to_owned(), "911".to_owned()), "{uri}");
    }
    // Who has not registered.
    let mut world = World::of(&notifying());
    let invite = alice().invite("sip:911@example.com");
    let challenge = world.ask(&alice(), &invite);
    assert!(world.take_posts(Hook::Notify).is_empty(), "nobody has called yet");
    assert_eq!(told(&mut world, &alice(), &authorized(&invite, &challenge, "alice", "MD5")).0, "sip:alice@example.com");
    // Behind a PBX.
    let pbx = Agent::new("desk", "198.51.100.9:5060");
    let hq = "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"198.51.100.9/32\"]\ntarget = \"sip:198.51.100.9\"\n";
    let mut world = World::of(&notifying().resource("unknown_country = \"US\"").add(hq));
    let invite = pbx.invite("sip:911@192.0.2.1").with("P-Asserted-Identity", "<sip:1001@pbx.internal>");
    assert_eq!(told(&mut world, &pbx, &invite).0, "sip:1001@hq");
    // Outside the supported countries, by best effort.
    let mut world = World::of(&notifying().resource("outside_countries = \"best-effort\""));
    world.register(&nomad());
    let invite = nomad().invite("sip:911@example.com").with("X-Country-Code", "FR");
    assert_eq!(told(&mut world, &nomad(), &invite).0, "sip:nomad@example.com");
    // On a number of last resort, and while the daemon shuts down.
    let mut world = World::of(&notifying().change("+14255551000-+14255551009", "+14255551000"));
    world.register(&alice());
    world.register(&bob());
    told(&mut world, &alice(), &alice().invite("sip:911@example.com"));
    world.input(sosbridge::node::Input::Drain);
    assert_eq!(told(&mut world, &bob(), &bob().invite("sip:911@example.com")).0, "sip:bob@example.com");
}
