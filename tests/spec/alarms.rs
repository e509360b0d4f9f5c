//! SPEC §3, §9: what the webhook is told of the daemon itself: pools that run low, numbers of last resort, a store that fails.

use sosbridge::node::Hook;

use crate::world::{Agent, Posted, Store, Toml, World, alice, bob, nomad, psap};

fn notifying(toml: Toml) -> World {
    World::of(&toml.add("[notify]\nurl = \"http://127.0.0.1:1/hook\"\n"))
}

fn told<'a>(posts: &'a [Posted], event: &str) -> Vec<&'a str> {
    let posts = posts.iter().filter(|post| post.body["event"] == event);
    posts.map(|post| post.body["detail"].as_str().unwrap()).collect()
}

/// Answers all that is posted; what is posted because of that too.
fn answered(world: &mut World, status: impl Fn(&Posted) -> u16) -> Vec<Posted> {
    let mut all = Vec::new();
    while let posts = world.take_posts(Hook::Notify)
        && !posts.is_empty()
    {
        posts.iter().for_each(|post| world.answer_post(post, Some(status(post))));
        all.extend(posts);
    }
    all
}

/// A phone of alice dials 911, is shown, and gives up.
fn dials(world: &mut World, phone: &Agent) {
    let invite = world.dial(phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 180));
    crate::numbers::ended(world, phone, &invite);
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.wire.clear();
}

#[test]
fn section_3_each_crossing_of_a_pool_is_told_though_the_one_before_is_refused_for_ever() {
    let mut world = notifying(Toml::default());
    let phones: Vec<Agent> =
        (0..10_u16).map(|at| Agent::new("alice", &format!("198.51.100.{}:5071", 110 + at))).collect();
    let mut posts = Vec::new();
    for phone in &phones {
        world.register(phone);
        dials(&mut world, phone);
        world.run(1_000);
        posts.extend(answered(&mut world, |post| if post.body["event"] == "pool_low" { 422 } else { 200 }));
    }
    let mut told: Vec<&str> = told(&posts, "pool_low");
    told.dedup();
    assert!(told.iter().any(|detail| detail.contains("0 of 10 numbers are free")), "{told:?}");
    assert!(told.iter().any(|detail| detail.contains("2 of 10 numbers are free")), "{told:?}");
}

/// Rule 3.7e.
#[test]
fn section_9_a_number_of_last_resort_is_told() {
    let toml = Toml::default().change("+14255551000-+14255551009", "+14255551000");
    let mut world = notifying(toml.resource("overflow = \"+14255550100\""));
    for phone in [alice(), bob(), nomad()] {
        world.register(&phone);
    }
    dials(&mut world, &alice());
    assert!(told(&answered(&mut world, |_| 200), "pool_exhausted").is_empty());
    dials(&mut world, &bob());
    let own = answered(&mut world, |_| 200);
    assert_eq!(told(&own, "pool_exhausted"), ["a call goes out on +14255550124 (own-number)"]);
    let invite = nomad().invite("sip:911@example.com").with("X-Country-Code", "US");
    world.send(&nomad(), &invite);
    let shared = answered(&mut world, |_| 200);
    assert_eq!(told(&shared, "pool_exhausted"), ["a call goes out on +14255550100 (overflow)"]);
}

/// Rule 3.8f.
#[test]
fn section_9_a_store_that_fails_is_told_with_its_fault_and_that_it_is_back() {
    let mut world = notifying(Toml::default());
    world.register(&alice());
    world.store = Store::Fails;
    dials(&mut world, &alice());
    let failing = answered(&mut world, |_| 200);
    let failing = told(&failing, "store_failing");
    assert!(failing.len() == 1 && failing[0].contains("no space is left"), "{failing:?}");
    world.store = Store::Answers;
    world.run(60_000);
    dials(&mut world, &alice());
    let back = answered(&mut world, |_| 200);
    assert_eq!(told(&back, "store_back"), ["what waited is written"]);
}
