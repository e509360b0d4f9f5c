//! SPEC §9: somebody on site is told of every emergency call, at once and until it is acknowledged (47 CFR 9.16); SPEC §5: no
//! path that fails, fails silently.

use sosbridge::node::Hook;

use crate::world::{Agent, Msg, Posted, Store, Toml, World, alice, backup, psap};

const NUMBER: &str = "+14255551000";

fn notifying() -> Toml {
    Toml::default().add("[notify]\nurl = \"http://127.0.0.1:1/hook\"\n")
}

fn world_of(toml: &Toml) -> World {
    let mut world = World::of(toml);
    world.register(&alice());
    world
}

fn events(posts: &[Posted]) -> Vec<&str> {
    posts.iter().map(|post| post.body["event"].as_str().unwrap()).collect()
}

/// Takes what was posted and acknowledges it, as long as there is more.
fn acknowledged(world: &mut World) -> Vec<Posted> {
    let mut all = Vec::new();
    while let posts = world.take_posts(Hook::Notify)
        && !posts.is_empty()
    {
        posts.iter().for_each(|post| world.answer_post(post, Some(204)));
        all.extend(posts);
    }
    all
}

fn busy(world: &mut World, trunk: &Agent) {
    let offered = world.take(trunk, "INVITE");
    world.send(trunk, &trunk.reply(&offered, 503));
}

/// Rules 9.2a, 9.2b, 9.2d, 9.2e.
#[test]
fn told_at_the_moment_of_dialling_with_the_number_to_call_back_and_the_location() {
    let mut world = world_of(&notifying());
    let pidf = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"/>";
    let invite = alice().invite("sip:911@example.com").with("Geolocation", "<https://lis.example.com/1>");
    let offer = alice().offer();
    let body = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{offer}\r\n--b\r\nContent-Type: application/pidf+xml\r\n\r\n{pidf}\r\n--b--\r\n"
    );
    world.send(&alice(), &invite.body("multipart/mixed;boundary=b", &body));
    let posts = world.take_posts(Hook::Notify);
    assert_eq!(events(&posts), ["emergency_call"]);
    let told = &posts[0].body;
    assert_eq!(told["callback_number"], NUMBER);
    assert_eq!(told["user"], "sip:alice@example.com");
    assert_eq!((&told["country"], &told["dialled"]), (&"US".into(), &"911".into()));
    assert_eq!((&told["test"], &told["kind"]), (&false.into(), &"emergency".into()));
    assert_eq!(told["location"]["call"]["geolocation"], "<https://lis.example.com/1>");
    assert_eq!(told["location"]["call"]["pidf"], pidf);
    assert_eq!(told["location"].get("configured"), None);
    assert!(told["id"].as_str().unwrap().len() == 32 && told["at"].as_str().unwrap().ends_with('Z'), "{told}");
    assert_eq!(told["call"], world.node.calls_view(0).rows[0].id.as_str());
}

/// Rule 9.2e.
#[test]
fn the_address_that_is_configured_is_told_as_that() {
    let address = "location = { country = \"US\", a1 = \"WA\", a3 = \"Redmond\" }\ninbound = false";
    let mut world = world_of(&notifying().change("inbound = false", address));
    world.dialled();
    let posts = world.take_posts(Hook::Notify);
    let location = &posts[0].body["location"];
    assert_eq!(location.get("call"), None);
    let configured = serde_json::json!({ "country": "US", "a1": "WA", "a3": "Redmond" });
    assert_eq!(location["configured"], configured, "under the keys of the configuration");
}

/// Rule 9.2c.
#[test]
fn a_webhook_that_says_nothing_delays_no_call() {
    let mut world = world_of(&notifying());
    // The order of events: the INVITE leaves while the post is unanswered, and so does all that follows.
    let mut call = world.talking();
    assert_eq!(events(&world.take_posts(Hook::Notify)), ["emergency_call"]);
    world.hang_up(&mut call);
    assert_eq!(world.record().outcome.as_str(), "answered");
    assert!(world.posts.is_empty(), "in order: the end waits for the beginning to be acknowledged");
}

/// Rules 9.2c, 9.2f.
#[test]
fn in_order_for_each_call_and_no_call_waits_for_another() {
    let mut world = world_of(&notifying());
    let mut call = world.talking();
    let first = world.take_posts(Hook::Notify).remove(0);
    world.hang_up(&mut call);
    world.answer_post(&first, Some(500));
    let mut call = world.talking();
    assert_eq!(events(&world.take_posts(Hook::Notify)), ["emergency_call"], "another call does not wait");
    world.run(1_000);
    let again = world.take_posts(Hook::Notify).remove(0);
    assert_eq!(again.body, first.body, "the same event under the same id");
    world.answer_post(&again, Some(200));
    let end = world.take_posts(Hook::Notify).remove(0);
    assert_eq!((&end.body["event"], &end.body["call"]), (&"call_ended".into(), &first.body["call"]));
    assert_eq!((&end.body["outcome"], &end.body["status"]), (&"answered".into(), &200.into()));
    world.hang_up(&mut call);
}

#[test]
fn records_show_what_was_delivered() {
    let mut world = world_of(&notifying());
    let mut call = world.talking();
    let first = world.take_posts(Hook::Notify).remove(0);
    world.answer_post(&first, None);
    world.run(1_000);
    acknowledged(&mut world);
    world.hang_up(&mut call);
    let states = |world: &World| {
        let told = |one: &sosbridge::admin::Notification| (one.event.as_str(), one.state.as_str(), one.attempts);
        world.record().notifications.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(states(&world), [("emergency_call", "delivered", 2), ("call_ended", "pending", 0)]);
    acknowledged(&mut world);
    assert_eq!(states(&world), [("emergency_call", "delivered", 2), ("call_ended", "delivered", 1)]);
    assert!(world.record().notifications.iter().all(|one| one.delivered_at.is_some()));
    assert_eq!(world.metric("sosbridge_notifications_total{event=\"emergency_call\",outcome=\"failed\"}"), 1.0);
    assert_eq!(world.metric("sosbridge_notifications_total{event=\"call_ended\",outcome=\"delivered\"}"), 1.0);
    assert_eq!(world.metric("sosbridge_notifications_pending"), 0.0);
}

/// Rule 9.2f.
#[test]
fn survives_kill_9_and_is_told_after_it() {
    let mut world = world_of(&notifying());
    world.dialled();
    let before = world.take_posts(Hook::Notify).remove(0);
    world.restart(&notifying());
    let after = world.take_posts(Hook::Notify);
    assert_eq!(after.iter().map(|post| &post.body).collect::<Vec<_>>(), [&before.body]);
    world.answer_post(&after[0], Some(200));
    world.restart(&notifying());
    assert!(world.posts.is_empty(), "what was acknowledged is not told again");
}

#[test]
fn the_notice_is_on_the_disk_with_the_number() {
    let mut world = world_of(&notifying());
    world.rows.clear();
    world.dialled();
    let is_notice = |row: &sosbridge::node::Row| matches!(row, sosbridge::node::Row::Notice(_));
    let is_lease = |row: &sosbridge::node::Row| matches!(row, sosbridge::node::Row::Lease(_));
    let (notice, lease) = (world.rows.iter().position(is_notice), world.rows.iter().position(is_lease));
    assert!(notice.unwrap() < lease.unwrap(), "the commit the call waits for takes the notice along");
}

/// Rules 3.8f, 9.2a.
#[test]
fn a_disk_that_fails_keeps_nobody_from_being_told() {
    let mut world = world_of(&notifying());
    world.store = Store::Fails;
    world.dialled();
    assert_eq!(events(&acknowledged(&mut world)), ["emergency_call", "store_failing"]);
    world.store = Store::Answers;
    world.run(60_000);
    world.dialled();
    let events_after = acknowledged(&mut world);
    assert!(events(&events_after).contains(&"store_back"), "{events_after:?}");
}

/// Rule 7.1h.
#[test]
fn a_test_call_is_told_as_one() {
    let mut world = world_of(&notifying());
    world.send(&alice(), &alice().invite("sip:933@example.com"));
    let posts = acknowledged(&mut world);
    assert_eq!((events(&posts), &posts[0].body["test"]), (vec!["test_call"], &true.into()));
}

#[test]
fn a_callback_that_reaches_nobody() {
    let mut world = world_of(&notifying());
    let mut call = world.talking();
    world.hang_up(&mut call);
    acknowledged(&mut world);
    let invite = world.call_back(&psap(), NUMBER);
    world.run(61_000);
    let refused = world.take(&psap(), "480");
    world.send(&psap(), &invite.ack_of(&refused));
    let posts = acknowledged(&mut world);
    assert_eq!(events(&posts), ["callback_received", "callback_missed"]);
    assert_eq!((&posts[1].body["callback_number"], &posts[1].body["status"]), (&NUMBER.into(), &480.into()));
    assert_eq!(posts[0].body["call"], posts[1].body["call"]);
    world.over();
}

#[test]
fn what_the_configuration_does_not_name_is_not_told() {
    let toml = notifying().add("events = [\"callback_missed\", \"all_trunks_failed\"]\n");
    let mut world = world_of(&toml);
    world.dialled();
    assert!(world.posts.is_empty());
    let mut world = world_of(&Toml::default());
    world.dialled();
    assert!(world.posts.is_empty() && !world.rows.iter().any(|row| matches!(row, sosbridge::node::Row::Notice(_))));
}

#[test]
fn a_webhook_that_refuses_for_ever_is_given_up_in_the_end() {
    let mut world = world_of(&notifying().add("give_up = \"10m\"\nevents = [\"emergency_call\"]\n"));
    world.dialled();
    let mut tries = 0;
    for _ in 0..1_000 {
        for post in world.take_posts(Hook::Notify) {
            tries += 1;
            world.answer_post(&post, Some(404));
        }
        world.run(1_000);
    }
    assert!((8..=14).contains(&tries), "{tries}");
    assert_eq!(world.metric("sosbridge_notifications_total{event=\"emergency_call\",outcome=\"given_up\"}"), 1.0);
    assert_eq!(world.metric("sosbridge_notifications_pending"), 0.0);
}

fn all_fail(world: &mut World) -> Msg {
    let invite = world.dial(&alice(), "sip:911@example.com");
    busy(world, &psap());
    busy(world, &backup());
    invite
}

/// Rules 5.4a, 5.4c.
#[test]
fn the_first_round_that_fails_is_an_alarm_and_the_caller_hears_that_it_is_held() {
    let mut world = world_of(&notifying());
    all_fail(&mut world);
    assert_eq!(events(&acknowledged(&mut world)), ["emergency_call", "all_trunks_failed"]);
    assert_eq!(world.metric("sosbridge_all_trunks_failed_total"), 1.0);
    world.take(&alice(), "182");
    // Once a call, however many rounds fail.
    world.run(1_000);
    busy(&mut world, &psap());
    busy(&mut world, &backup());
    assert!(acknowledged(&mut world).is_empty());
    world.none(&alice(), "182");
    // The next round is taken.
    world.run(2_000);
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 200).sdp(&psap().offer()));
    world.take(&alice(), "200");
}

/// Rules 5.4b, 5.4c.
#[test]
fn where_no_trunk_can_even_be_tried_it_is_the_same() {
    // Nobody knows the name; no listener has the family.
    for target in ["sip:psap.invalid", "sip:[2001:db8::80]:5080"] {
        let toml = notifying().change("trunks = [\"psap\", \"backup\"]", "trunks = [\"psap\"]");
        let mut world = world_of(&toml.change("sip:203.0.113.80:5080\" }]", &format!("{target}\" }}]")));
        let invite = world.dial(&alice(), "sip:911@example.com");
        assert_eq!(events(&acknowledged(&mut world)), ["emergency_call", "all_trunks_failed"], "{target}");
        world.take(&alice(), "182");
        world.run(29_000);
        world.none(&alice(), "503");
        world.run(2_000);
        let refused = world.take(&alice(), "503");
        assert_eq!(refused.header("Retry-After"), "5");
        world.send(&alice(), &invite.ack_of(&refused));
        let ended = acknowledged(&mut world);
        assert_eq!((events(&ended), &ended[0].body["outcome"]), (vec!["call_ended"], &"failed".into()));
    }
}

/// Rule 5.4a.
#[test]
fn trunks_are_tried_for_all_of_the_time_however_many_attempts_that_takes() {
    let mut world = world_of(&notifying().change("retry = \"30s\"", "retry = \"180s\""));
    world.dial(&alice(), "sip:911@example.com");
    let (mut attempts, mut last) = (0, 0);
    for second in 0..178 {
        for trunk in [psap(), backup()] {
            for offered in world.take_all(&trunk, "INVITE") {
                (attempts, last) = (attempts + 1, second);
                world.send(&trunk, &trunk.reply(&offered.msg, 503));
            }
        }
        world.none(&alice(), "503");
        world.run(1_000);
    }
    assert!(attempts > 64 && last >= 170, "{attempts} attempts, the last after {last} s");
    world.run(10_000);
    world.take(&alice(), "503");
    assert_eq!(world.record().attempts.len(), 64);
}

/// Rule 9.2a.
#[test]
fn a_direct_route_is_told_too_and_again_when_the_emergency_service_takes_over() {
    let trunk =
        "[[trunks]]\nname = \"sbc\"\ntargets = [{ uri = \"sip:192.0.2.90:5090\" }]\noptions_interval = \"0s\"\n";
    let route = "[[resources.direct_routes]]\npattern = '^911$'\ntrunks = [\"sbc\"]";
    let mut world =
        world_of(&Toml::default().resource(route).add(trunk).add("[notify]\nurl = \"http://127.0.0.1:1\"\n"));
    world.dial(&alice(), "sip:911@example.com");
    let sbc = Agent::new("sbc", "192.0.2.90:5090");
    busy(&mut world, &sbc);
    let posts = acknowledged(&mut world);
    assert_eq!(events(&posts), ["emergency_call", "all_trunks_failed", "emergency_call"]);
    assert_eq!(posts[0].body["callback_number"], "+14255550123");
    assert_eq!(posts[2].body["callback_number"], NUMBER);
    assert_eq!(posts[0].body["call"], posts[2].body["call"]);
}
