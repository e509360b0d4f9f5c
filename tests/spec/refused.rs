//! SPEC §9, §10: an emergency call that is refused is refused aloud: a record with the reason, and somebody on site is told.

use serde_json::Value;
use sosbridge::node::Hook;

use crate::world::{Agent, Msg, Posted, Toml, World, alice, authorized_with, bob, description, outsider, psap};

fn notifying() -> Toml {
    Toml::default().add("[notify]\nurl = \"http://127.0.0.1:1/hook\"\n")
}

/// Of a resource without a number enabled for outbound calls.
fn mute() -> Agent {
    Agent::new("mute", "198.51.100.74:5074")
}

fn told(world: &mut World) -> Vec<Posted> {
    let posts = world.take_posts(Hook::Notify);
    posts.iter().for_each(|post| world.answer_post(post, Some(200)));
    posts
}

fn records(world: &World) -> usize {
    world.node.records_view(100).len()
}

/// The one record and the one notice of a refused call.
#[track_caller]
fn one_of_each(world: &mut World) -> (sosbridge::admin::Record, Value) {
    let posts = told(world);
    assert_eq!((posts.len(), records(world)), (1, 1), "{posts:?}");
    let (record, body) = (world.record(), posts[0].body.clone());
    assert_eq!((record.outcome.as_str(), &body["outcome"]), ("refused", &"refused".into()));
    assert_eq!(body["call"], record.call.id.as_str());
    assert_eq!(record.reason.as_deref(), body["detail"].as_str());
    assert_eq!(body["status"], record.status.unwrap());
    (record, body)
}

/// Rules 9.1a, 9.2e.
#[test]
fn section_9_who_was_refused_why_and_where_the_caller_is() {
    let mut world = World::of(&notifying());
    world.register(&mute());
    world.rows.clear();
    let invite = mute().invite("sip:911@example.com").with("Geolocation", "<https://lis.example.com/1>");
    let refused = world.ask(&mute(), &invite);
    assert_eq!(refused.code(), 403);
    let (record, body) = one_of_each(&mut world);
    assert_eq!((record.call.kind.as_str(), record.status), ("emergency", Some(403)));
    assert!(record.reason.unwrap().contains("owns no number enabled for outbound calls"));
    assert_eq!(record.call.user.as_deref(), Some("sip:mute@example.com"));
    assert_eq!((&body["event"], &body["user"]), (&"emergency_refused".into(), &"sip:mute@example.com".into()));
    assert_eq!((&body["dialled"], &body["callback_number"]), (&"911".into(), &Value::Null));
    assert_eq!(body["location"]["call"]["geolocation"], "<https://lis.example.com/1>");
    assert!(world.rows.iter().any(|row| matches!(row, sosbridge::node::Row::Record(_))), "it is kept");
    assert_eq!(world.record().notifications[0].state.as_str(), "delivered");
    assert!(world.node.calls_view(0).rows.is_empty());
    world.over();
}

#[test]
fn section_9_a_caller_whose_country_is_not_served_or_has_no_route() {
    for (toml, country, why) in [
        (notifying(), "FR", "not available in FR"),
        (
            notifying().change("countries = [\"US\", \"PR\", \"CA\"]\ntrunks", "countries = [\"PR\"]\ntrunks"),
            "US",
            "No route",
        ),
    ] {
        let mut world = World::of(&toml);
        world.register(&alice());
        world.ask(&alice(), &alice().invite("sip:911@example.com").with("X-Country-Code", country));
        let (record, body) = one_of_each(&mut world);
        assert!(record.reason.as_ref().unwrap().contains(why), "{record:?}");
        let told = (record.call.country.as_deref(), record.country_source.as_deref());
        assert_eq!((told, &body["country"]), ((Some(country), Some("header")), &country.into()));
    }
}

#[test]
fn section_9_the_refusal_that_is_said_aloud_is_one_record_under_the_id_of_its_call() {
    let toml = notifying().relay().change("mode = \"relay\"", "mode = \"relay\"\nannounce_refusals = true");
    let mut world = World::of(&toml);
    world.register(&mute());
    world.send(&mute(), &mute().invite("sip:911@example.com"));
    world.take(&mute(), "183");
    let id = world.node.calls_view(0).rows[0].id.clone();
    let (record, _) = one_of_each(&mut world);
    assert_eq!(record.call.id, id);
    world.run(20_000);
    world.take(&mute(), "403");
    assert!(told(&mut world).is_empty() && records(&world) == 1);
}

#[test]
fn section_9_of_people_nobody_knows_ten_a_minute_are_told_and_all_are_counted() {
    let mut world = World::of(&notifying());
    let wrong = |world: &mut World| {
        let invite = outsider().invite("sip:911@example.com").set("From", "<sip:alice@example.com>;tag=x");
        let challenge = world.ask(&outsider(), &invite);
        let refused = world.ask(&outsider(), &authorized_with(&invite, &challenge, "alice", "wrong", "MD5"));
        assert_eq!(refused.code(), 403);
    };
    (0..15).for_each(|_| wrong(&mut world));
    assert_eq!(records(&world), 10);
    world.run(60_000);
    wrong(&mut world);
    assert_eq!(records(&world), 11);
    assert_eq!(world.record().call.user, None, "what it says it is proves nothing");
    assert_eq!(world.metric("sosbridge_calls_total{kind=\"emergency\",outcome=\"refused\"}"), 16.0);
    // Somebody who is known is told of all the same.
    world.register(&mute());
    (0..15).for_each(|_| drop(world.ask(&mute(), &mute().invite("sip:911@example.com"))));
    assert_eq!(records(&world), 26);
}

#[test]
fn section_9_other_refusals_leave_no_record() {
    let mut world = World::of(&notifying());
    world.register(&alice());
    world.register(&bob());
    let mut call = world.talking();
    world.hang_up(&mut call);
    let known = records(&world);
    world.secrets.clear();
    told(&mut world);
    told(&mut world);
    let target = "sip:+14255551000@192.0.2.1";
    let refusals: [(Agent, Msg); 4] = [
        (outsider(), outsider().invite(target).set("From", "<sip:x@203.0.113.80>;tag=x")),
        (bob(), bob().invite(target)),
        (bob(), bob().invite("sip:+12065550000@example.com")),
        (psap(), psap().invite("sip:alice@example.com")),
    ];
    for (from, invite) in refusals {
        let code = world.ask(&from, &invite).code();
        assert!(matches!(code, 403 | 404), "{code} to\n{invite}");
    }
    assert!(told(&mut world).is_empty() && records(&world) == known);
}

#[test]
fn section_10_an_emergency_call_with_a_sloppy_description_goes_on() {
    let whole = description("alice", 1, &["m=audio 6000 RTP/AVP 0", "m=video 6002 RTP/AVP 31"]);
    for (sloppy, streams) in [
        (whole.replace("t=0 0\r\n", ""), 2),
        (whole.replace("v=0\r\n", ""), 2),
        (whole.replace("o=alice 77 1 IN IP4 198.51.100.7", "o=alice"), 2),
        (whole.replace("t=0 0\r\n", "t=0 0\r\nthis is no line\r\n"), 2),
        (whole.replace("m=video 6002 RTP/AVP 31", "m=video 99999 RTP/AVP 31"), 2),
    ] {
        for dialled in ["sip:911@example.com", "sip:933@example.com"] {
            let mut world = World::of(&notifying());
            world.register(&alice());
            let invite = alice().request("INVITE", dialled).sdp(&sloppy);
            if dialled.contains("933") {
                assert_eq!(
                    world.ask(&alice(), &invite).code(),
                    488,
                    "a test is refused for it, and tells the installer"
                );
                continue;
            }
            world.send(&alice(), &invite);
            world.take(&alice(), "100");
            let offered = world.take(&psap(), "INVITE");
            assert_eq!(offered.body.matches("m=").count(), streams, "{sloppy}\n{offered}");
            assert_eq!(offered.header("Content-Length"), offered.body.len().to_string());
            let mut call = world.answer(&alice(), &invite, &psap(), &offered);
            world.hang_up(&mut call);
            assert_eq!(world.record().outcome.as_str(), "answered");
        }
    }
}

const UNUSABLE: [(&str, &str); 3] = [
    (
        // Nothing tells where it is.
        "v=0\r\ns=-\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n",
        "no usable o= line",
    ),
    ("this is no description\r\n", "SDP line 1 is not"),
    ("v=0\r\no=a 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio\r\n", "unusable (line 6)"),
];

#[test]
fn section_9_a_description_that_cannot_be_used_is_refused_with_the_line_and_that_is_told() {
    for (unusable, why) in UNUSABLE {
        let mut world = World::of(&notifying());
        world.register(&alice());
        let refused = world.ask(&alice(), &alice().request("INVITE", "sip:911@example.com").sdp(unusable));
        assert_eq!(refused.code(), 488);
        assert!(refused.header("Warning").contains(why), "{refused}");
        let (record, body) = one_of_each(&mut world);
        assert_eq!((record.call.kind.as_str(), record.call.dialled.as_str()), ("emergency", "911"));
        assert!(record.reason.unwrap().contains(why));
        assert_eq!((&body["event"], &body["user"]), (&"emergency_refused".into(), &"sip:alice@example.com".into()));
        assert!(world.node.leases_view(0).rows.is_empty());
    }
}

/// Rule 3.3e.
#[test]
fn section_9_a_callback_with_a_description_that_cannot_be_used_is_a_missed_one_and_renews_the_lease() {
    let mut world = World::of(&notifying());
    world.register(&alice());
    let mut call = world.talking();
    world.hang_up(&mut call);
    while !told(&mut world).is_empty() {}
    let known = records(&world);
    world.run(1_800_000);
    world.wire.clear();
    let invite = psap().request("INVITE", "sip:+14255551000@192.0.2.1").sdp(UNUSABLE[0].0);
    assert_eq!(world.ask(&psap(), &invite).code(), 488);
    world.none(&alice(), "INVITE");
    let posts = told(&mut world);
    assert_eq!(posts.len(), 1, "{posts:?}");
    let body = &posts[0].body;
    assert_eq!((&body["event"], &body["callback_number"]), (&"callback_missed".into(), &"+14255551000".into()));
    assert_eq!((&body["user"], &body["status"]), (&"sip:alice@example.com".into(), &488.into()));
    assert_eq!(records(&world), known + 1);
    let record = world.record();
    assert_eq!((record.callback_of.as_deref(), record.outcome.as_str()), (Some("+14255551000"), "refused"));
    world.run(3_500_000);
    assert_eq!(world.node.leases_view(0).rows[0].state, sosbridge::admin::LeaseState::Held);
    // One that can be mended rings.
    let sloppy = psap().offer().replace("t=0 0\r\n", "");
    world.register(&alice());
    world.send(&psap(), &psap().request("INVITE", "sip:+14255551000@192.0.2.1").sdp(&sloppy));
    world.take(&alice(), "INVITE");
}

/// Whoever sees to it that tests are made can show why one failed.
#[test]
fn section_7_a_test_that_is_refused_has_a_record_and_alarms_nobody() {
    let mut world = World::of(&notifying());
    world.register(&mute());
    for count in 1..=12_usize {
        assert_eq!(world.ask(&mute(), &mute().invite("sip:933@example.com")).code(), 403);
        assert_eq!(records(&world), count.min(10));
    }
    let record = world.record();
    assert_eq!((record.call.kind.as_str(), record.call.test, record.status), ("test", true, Some(403)));
    assert!(record.reason.unwrap().contains("owns no number enabled for outbound calls"));
    assert!(told(&mut world).is_empty());
    // They leave room for what matters.
    assert_eq!(world.ask(&mute(), &mute().invite("sip:911@example.com")).code(), 403);
    assert_eq!((records(&world), told(&mut world).len()), (11, 1));
    world.over();
}

#[test]
fn section_10_an_emergency_call_that_cannot_be_read_is_counted() {
    let mut world = World::of(&notifying());
    world.register(&alice());
    for (uri, kind) in [("sip:911@example.com", "emergency"), ("sip:933@example.com", "test")] {
        assert_eq!(world.ask(&alice(), &alice().invite(uri).set("Contact", "<sip:alice")).code(), 400);
        assert_eq!(world.metric(&format!("sosbridge_calls_total{{kind=\"{kind}\",outcome=\"refused\"}}")), 1.0);
    }
}
