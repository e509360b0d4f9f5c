//! Rules of SPEC §1 to §7 that need a test of their own: dialling before all else, refusals in the log, times to the
//! millisecond, what is hidden.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Once;

use sosbridge::admin::LeaseState;
use sosbridge::node::{Hook, Input, Row};

use crate::numbers::ended;
use crate::world::{Agent, Dialog, Msg, Store, Toml, World, alice, authorized, backup, bob, nomad, psap};

const NUMBER: &str = "+14255551000";
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn state(world: &World) -> Option<LeaseState> {
    world.node.leases_view(0).rows.first().map(|lease| lease.state)
}

/// Rule 1.1f.
#[test]
fn a_test_number_elsewhere_is_one_more_row() {
    let britain =
        "[[countries]]\ncode = \"GB\"\nemergency = [\"999\", \"112\"]\ntest = [\"933\"]\ndial_code = \"44\"\n";
    for (toml, is_test) in [(Toml::default(), false), (Toml::default().add(britain), true)] {
        let mut world = World::of(&toml);
        world.register(&nomad());
        let invite = nomad().invite("sip:933@example.com").with("X-Country-Code", "GB");
        world.send(&nomad(), &invite);
        if is_test {
            let ok = world.take(&nomad(), "200 INVITE");
            assert!(ok.header("X-Emergency-Number").starts_with("+4420794600"), "{ok}");
            assert_eq!(world.node.calls_view(0).rows[0].kind.as_str(), "test");
        } else {
            world.take(&nomad(), "403");
        }
    }
}

/// Rule 1.3a: a user with that name or number, a trunk for all that users dial, a switch that forbids it.
#[test]
fn an_emergency_number_comes_before_whatever_else_it_could_mean() {
    let extension =
        "[[users]]\naor = \"sip:9911@example.com\"\npassword = \"no password of anybody\"\nresource = \"contoso\"\n";
    let toml = Toml::default()
        .resource("outside_line_prefix = \"9\"")
        .change("number = \"+14255550124\"", "number = \"+1911\"")
        .add(extension)
        .add("[other_calls]\ntrunk = \"backup\"\n");
    for dialled in ["sip:9911@example.com", "sip:+1911@example.com", "tel:+1911", "sip:911@example.com"] {
        let mut world = World::of(&toml);
        for phone in [alice(), bob(), Agent::new("9911", "198.51.100.75:5075")] {
            world.register(&phone);
        }
        world.dial(&alice(), dialled);
        assert_eq!(world.take(&psap(), "INVITE").uri(), "sip:911@203.0.113.80:5080", "{dialled}");
        world.silent();
    }
}

thread_local! {
    /// What is logged in this thread.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads: tests beside this one log too, and what is of interest is remembered for the whole process.
fn logged(act: impl FnOnce()) -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Lines).init());
    LINES.take();
    act();
    String::from_utf8(LINES.take()).unwrap()
}

/// Rules 1.6a, 1.6b, 1.6c.
#[test]
fn a_call_from_a_country_that_is_not_supported_is_logged_with_its_reason() {
    for (country, why) in
        [("FR", "Emergency calling is not available in FR"), ("", "country of the caller is not known")]
    {
        let mut world = World::new();
        world.register(&nomad());
        let invite = nomad().invite("sip:112@example.com").with("X-Country-Code", country);
        let log = logged(|| assert_eq!(world.ask(&nomad(), &invite).code(), 403));
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("call refused")).collect();
        assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains(why), "{log}");
        assert!(lines[0].contains("kind=emergency") && lines[0].contains("status=403"), "{log}");
    }
}

/// Rules 2.3b, 2.3c, 2.3d: wherever it calls from; whoever cannot show it is nobody.
#[test]
fn a_pbx_is_known_by_its_certificate() {
    let toml = Toml::default().resource("unknown_country = \"US\"").add(
        "[[pbxs]]\nname = \"hq\"\nresource = \"contoso\"\naddresses = [\"pbx.example\"]\ntarget = \"sip:198.51.100.9:5070\"\n",
    );
    for (names, is_known) in [
        (&["pbx.example"][..], true),
        (&["www.example", "pbx.example"], true),
        (&["other.example"], false),
        (&[], false),
    ] {
        let mut world = World::of(&toml);
        let pbx = world.connect(Agent::new("desk", "198.51.100.9:40123"));
        let pbx = match names {
            [] => pbx,
            _ => world.connect_to(crate::world::TCP, pbx, names),
        };
        let invite = pbx.invite("sip:911@192.0.2.1").with("P-Asserted-Identity", "<sip:1001@pbx.internal>");
        if !is_known {
            assert_eq!(world.ask(&pbx, &invite).code(), 401, "{names:?}");
            assert!(world.on_wire(&psap(), "*").is_empty() && world.node.leases_view(0).rows.is_empty(), "{names:?}");
            continue;
        }
        world.send(&pbx, &invite);
        world.take(&psap(), "INVITE");
        let lease = world.node.leases_view(0).rows.remove(0);
        assert_eq!(lease.user, "sip:1001@hq");
        world.call_back(&psap(), &lease.number.to_string());
        let ring = world.take(&Agent::new("desk", "198.51.100.9:5070"), "INVITE");
        assert_eq!(ring.uri(), "sip:1001@198.51.100.9:5070");
    }
}

/// Rules 3.8e, 3.8f, 3.8g: an ERROR, the metric and the notice of a store that fails; the row is with it when it answers again.
#[test]
fn a_store_that_stalls_is_an_alarm() {
    let notify = "[notify]\nurl = \"http://127.0.0.1:1/hook\"\nevents = [\"store_failing\", \"store_back\"]\n";
    let mut world = World::of(&Toml::default().add(notify));
    let told = |world: &mut World| -> Vec<String> {
        let posts = world.take_posts(Hook::Notify);
        posts.iter().for_each(|post| world.answer_post(post, Some(200)));
        posts.iter().map(|post| post.body["event"].as_str().unwrap().to_owned()).collect()
    };
    world.register(&alice());
    world.store = Store::Silent;
    let before = world.metric("sosbridge_store_errors_total");
    let invite = world.dial(&alice(), "sip:911@example.com");
    let log = logged(|| world.run(199));
    assert!(!log.contains("in memory") && world.on_wire(&psap(), "INVITE").is_empty(), "{log}");
    let log = logged(|| world.run(1));
    let alarm = log.lines().find(|line| line.contains("emergency call on a lease that is only in memory"));
    assert!(alarm.is_some_and(|line| line.contains("ERROR") && line.contains("Deadline")), "{log}");
    assert_eq!(world.metric("sosbridge_store_errors_total"), before + 1.0);
    assert_eq!(told(&mut world), ["store_failing"]);
    let offered = world.take(&psap(), "INVITE");
    world.store = Store::Answers;
    for write in std::mem::take(&mut world.writes) {
        world.input(Input::Stored { write, result: Ok(()) });
    }
    let is_lease = |row: &Row| matches!(row, Row::Lease(row) if row.number().to_string() == NUMBER);
    assert!(world.rows.iter().any(is_lease), "{:?}", world.rows);
    assert_eq!(told(&mut world), ["store_back"]);
    let mut call = world.answer(&alice(), &invite, &psap(), &offered);
    world.hang_up(&mut call);
}

/// Rules 3.3a, 3.3b, 3.3c.
#[test]
fn a_number_is_held_to_the_millisecond() {
    for talked in [5_000, 50 * MINUTE, 90 * MINUTE] {
        let mut world = World::of(&Toml::default().sip("session_expires = \"0s\""));
        world.register(&alice());
        let dialled = world.clock();
        let mut call = world.talking();
        world.run(talked);
        assert_eq!(state(&world), Some(LeaseState::Active));
        let end = world.clock();
        world.hang_up(&mut call);
        world.run((dialled + HOUR).saturating_sub(world.clock()));
        assert_eq!(state(&world), Some(LeaseState::Held), "60 minutes from dialling, after {talked} ms");
        world.run(end + HOUR - 1 - world.clock());
        assert_eq!(state(&world), Some(LeaseState::Held), "60 minutes from the end, after {talked} ms");
        world.run(1);
        assert_eq!(state(&world), Some(LeaseState::Quarantined));
    }
}

/// Rule 3.3f.
#[test]
fn the_window_may_be_longer_and_not_shorter() {
    let with = |window: &str| Toml::default().add(&format!("[lease]\nwindow = \"{window}\"\n"));
    for window in ["59m", "3599s", "0s"] {
        let problems = sosbridge::config::load(&with(window).0, Path::new("/tmp")).err().unwrap();
        assert!(format!("{problems:?}").contains("lease.window"), "{window}: {problems:?}");
    }
    let mut world = World::of(&with("61m"));
    world.register(&alice());
    let mut call = world.talking();
    let end = world.clock();
    world.hang_up(&mut call);
    world.run(end + 61 * MINUTE - 1 - world.clock());
    assert_eq!(state(&world), Some(LeaseState::Held));
    world.run(1);
    assert_eq!(state(&world), Some(LeaseState::Quarantined));
}

/// Dials 911 and gives up; the number that was shown.
fn shown(world: &mut World, phone: &Agent) -> String {
    let invite = world.dial(phone, "sip:911@example.com");
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 180));
    ended(world, phone, &invite);
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    world.run(40_000);
    world.wire.clear();
    crate::world::uri_of(offered.header("From")).trim_start_matches("sip:").split('@').next().unwrap().to_owned()
}

/// Rules 3.4b, 3.6a: others call all day, and there are always numbers that have rested longer, or never were anybody's.
#[test]
fn a_number_rests_for_a_day_and_nobody_else_gets_it() {
    let mut world = World::new();
    world.register(&alice());
    assert_eq!(shown(&mut world, &alice()), NUMBER);
    let expires = world.node.leases_view(0).rows[0].expires_at;
    world.run(61 * MINUTE);
    let lease = world.node.leases_view(0).rows.remove(0);
    assert_eq!((lease.state, lease.number.to_string().as_str()), (LeaseState::Quarantined, NUMBER));
    let rests = lease.quarantine_until.unwrap().unix_millis() - expires.unix_millis();
    assert_eq!(rests, 24 * HOUR);
    // Every two and a half hours somebody else, until an hour before the end of the day.
    for at in 0..9_u16 {
        let phone = Agent::new("bob", &format!("198.51.100.{}:5072", 110 + at));
        world.register(&phone);
        assert_ne!(shown(&mut world, &phone), NUMBER);
        world.run(150 * MINUTE);
    }
    let has_it = |world: &World| world.node.leases_view(0).rows.iter().any(|lease| lease.number.to_string() == NUMBER);
    assert!(has_it(&world));
    world.run(3 * HOUR);
    assert!(!has_it(&world), "and then it is anybody's");
}

/// Rule 4.1g.
#[test]
fn user_phone_says_that_a_user_part_is_a_number() {
    let mut world = World::of(&Toml::default().add("[other_calls]\ntrunk = \"backup\"\n"));
    world.secrets.clear();
    world.register(&bob());
    world.register(&nomad());
    for (phone, is_number) in [(bob(), true), (nomad(), false)] {
        world.send(&phone, &phone.invite("sip:+12065550199@example.com"));
        let offered = world.take(&backup(), "INVITE");
        for name in ["From", "P-Asserted-Identity"] {
            let value = offered.header(name);
            assert_eq!(value.contains("<sip:+"), is_number, "{name} of\n{offered}");
            assert_eq!(value.contains(";user=phone"), is_number, "{name} of\n{offered}");
        }
    }
    // And on the temporary number, whatever the user is called.
    world.send(&nomad(), &nomad().invite("sip:911@example.com").with("X-Country-Code", "US"));
    let offered = world.take(&psap(), "INVITE");
    assert!(offered.header("From").starts_with(&format!("<sip:{NUMBER}@192.0.2.1;user=phone>")), "{offered}");
}

/// What a phone knows of its user and itself.
const HIDDEN: [&str; 11] = [
    "4255550123",
    "Liddell",
    "alice",
    "198.51.100.71",
    "secretcallid",
    "z9hG4bKsecretbranch",
    "secretproxy",
    "Softphone",
    "41414141",
    "198.51.100.66",
    "Digest",
];

fn offer(version: u32) -> String {
    format!(
        "v=0\r\no=alice 41414141 {version} IN IP4 198.51.100.66\r\ns=Alice Liddell\r\nc=IN IP4 198.51.100.99\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
    )
}

/// Rules 4.2a, 4.2b, 4.2c, 4.2d, 4.2e, 4.2f, 4.2g, 4.2h, 4.2k, 4.2p: from the first message to the last.
#[test]
fn nothing_of_the_caller_is_in_any_byte_of_a_call() {
    let mut world = World::new();
    let invite = alice()
        .invite("sip:911@example.com")
        .set("Call-ID", "secretcallid@198.51.100.71")
        .set("From", "\"Alice Liddell\" <sip:alice@example.com>;tag=alice1")
        .with("P-Asserted-Identity", "\"Alice Liddell\" <sip:+14255550123@example.com>")
        .sdp(&offer(7));
    let challenge = world.ask(&alice(), &invite);
    let invite = authorized(&invite, &challenge, "alice", "SHA-256");
    let proxied = "SIP/2.0/UDP secretproxy.example.com:5060;branch=z9hG4bK2";
    let invite = invite.branched("z9hG4bKsecretbranch").with("Via", proxied);
    for secret in HIDDEN {
        assert!(invite.to_string().contains(secret), "{secret} is not in\n{invite}");
    }
    let mut sent = Vec::new();
    let mut trunk = |world: &mut World, pattern: &str| {
        let message = world.take(&psap(), pattern);
        sent.push(message.to_string());
        message
    };
    world.send(&alice(), &invite);
    let offered = trunk(&mut world, "INVITE");
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    trunk(&mut world, "ACK");
    let ok = world.take(&alice(), "200");
    let mut phone = Dialog::caller(alice(), &invite, &ok);
    world.send(&alice(), &phone.request("ACK"));
    let named = |request: Msg| request.with("User-Agent", "Softphone of Alice").with("Subject", "Alice Liddell calls");
    world.send(&alice(), &named(phone.request("INVITE")).sdp(&offer(8)));
    let again = trunk(&mut world, "INVITE");
    world.send(&psap(), &psap().reply(&again, 200).sdp(&psap().offer()));
    world.take(&alice(), "200");
    world.send(&alice(), &phone.request("ACK"));
    trunk(&mut world, "ACK");
    let asks = Dialog::callee(psap(), &offered, &answer).request("OPTIONS");
    world.send(&psap(), &asks);
    if let Some(carried) = world.take_all(&alice(), "OPTIONS").pop() {
        world.send(&alice(), &alice().reply(&carried.msg, 200).with("Server", "Softphone of Alice"));
    }
    trunk(&mut world, "200 OPTIONS");
    world.send(&alice(), &named(phone.request("BYE")));
    trunk(&mut world, "BYE");
    assert_eq!(sent.len(), 6);
    for message in &sent {
        let message = message.replace("198.51.100.99", "");
        let told = HIDDEN.iter().find(|secret| message.contains(**secret));
        assert_eq!(told, None, "{message}");
    }
}

/// Rule 5.3g.
#[test]
fn a_caller_who_cancels_is_not_called_for_elsewhere() {
    for answers in [None, Some(180)] {
        let mut world = World::with_alice();
        let (invite, offered) = world.dialled();
        if let Some(code) = answers {
            world.send(&psap(), &psap().reply(&offered, code));
        }
        ended(&mut world, &alice(), &invite);
        if answers.is_some() {
            let cancel = world.take(&psap(), "CANCEL");
            world.send(&psap(), &psap().reply(&cancel, 200));
            world.send(&psap(), &psap().reply(&offered, 487));
        }
        world.run(120_000);
        world.none(&backup(), "*");
        assert_eq!(world.record().attempts.len(), 1, "{answers:?}");
    }
}

/// Rules 7.1b, 7.1c, 7.1d: what a trunk sees of a test is what it sees of a call, but for the number that is dialled.
#[test]
fn a_test_is_rewritten_as_a_call_is() {
    let toml = Toml::default().change("service = \"test-line\"", "trunks = [\"psap\"]");
    let offered = |dialled: &str| {
        let mut world = World::of(&toml);
        world.register(&alice());
        let invite = alice()
            .invite(&format!("sip:{dialled}@example.com"))
            .with("P-Asserted-Identity", "<sip:+14255550123@example.com>")
            .with("Subject", "a test")
            .with("Geolocation", "<https://lis.example.org/1>");
        world.send(&alice(), &invite);
        assert_eq!(world.node.leases_view(0).rows.len(), 1);
        world.take(&psap(), "INVITE")
    };
    let (test, call) = (offered("933"), offered("911"));
    assert_eq!((test.uri(), call.uri()), ("sip:933@203.0.113.80:5080", "sip:911@203.0.113.80:5080"));
    let lines = |message: &Msg| -> Vec<(String, String)> {
        let without_tag =
            |(name, value): &(String, String)| (name.clone(), value.split(";tag=").next().unwrap().to_owned());
        let chance = ["Via", "Call-ID", "To"];
        message.lines.iter().filter(|(name, _)| !chance.contains(&name.as_str())).map(without_tag).collect()
    };
    assert_eq!(lines(&test), lines(&call));
    assert_eq!(test.values("P-Asserted-Identity"), [format!("<sip:{NUMBER}@192.0.2.1;user=phone>")]);
}

/// Rules 1.2f, 1.2g: whatever the phone speaks, toward a trunk on UDP.
#[test]
fn sips_911_is_an_emergency_call_on_every_transport() {
    let [tls, wss, ws] = [2, 3, 4].map(sosbridge::transport::ListenerId);
    let connects: [fn(&mut World, [sosbridge::transport::ListenerId; 3]) -> Agent; 5] = [
        |_, _| alice(),
        |world, _| world.connect(alice()),
        |world, [tls, ..]| world.connect_to(tls, alice(), &[]),
        |world, [_, wss, _]| world.connect_web(wss, alice()),
        |world, [.., ws]| world.connect_web(ws, alice()),
    ];
    for connect in connects {
        let mut world = World::of(&Toml::secure());
        let phone = connect(&mut world, [tls, wss, ws]);
        world.register(&phone);
        world.send(&phone, &phone.invite("sips:911@example.com"));
        assert_eq!(world.take(&psap(), "INVITE").uri(), "sip:911@203.0.113.80:5080");
        assert_eq!(world.node.calls_view(0).rows[0].kind.as_str(), "emergency");
    }
}

/// Rules 3.1a, 3.1b: a pool of its own first, then one of all; those of others are not for it.
#[test]
fn each_resource_has_numbers_of_its_own_pools() {
    let base = "[[pools]]\ncountries = [\"US\", \"PR\", \"CA\"]\nnumbers = [\"+14255551000-+14255551009\"]";
    let of = |resource: &str, numbers: &str| {
        format!("[[pools]]\ncountries = [\"US\"]\nresource = \"{resource}\"\nnumbers = [\"{numbers}\"]\n")
    };
    let pools = of("mute", "+14255553000") + base + "\n" + &of("contoso", "+14255552000");
    let toml = Toml::default().change("make_calls = false", "make_calls = true").change(base, &pools);
    let mut world = World::of(&toml);
    let mute = Agent::new("mute", "198.51.100.74:5074");
    let mut given = |phone: &Agent| {
        world.register(phone);
        world.send(phone, &phone.invite("sip:911@example.com"));
        let offered = world.take(&psap(), "INVITE");
        crate::world::uri_of(offered.header("From")).trim_start_matches("sip:").split('@').next().unwrap().to_owned()
    };
    assert_eq!(given(&alice()), "+14255552000");
    assert_eq!(given(&bob()), "+14255551000");
    assert_eq!(given(&mute), "+14255553000");
    let second = Agent::new("mute", "198.51.100.75:5075");
    assert_eq!(given(&second), "+14255551001");
}
