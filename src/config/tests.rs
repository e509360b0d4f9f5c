//! The loader as its users meet it: whole files in, configurations or pointed errors out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod media;
mod told;
mod warned;

use super::*;
use crate::base::Protocol;
use std::path::Path;
use std::time::Duration;

const SAMPLE: &str = include_str!("../../config.toml");

const BASE: &str = r#"
[[sip.listen]]
transport = "udp"
address = "127.0.0.1:0"
[[resources]]
name = "contoso"
numbers = [{ number = "+14255550100", make_calls = true }]
unknown_country = "US"
[[users]]
aor = "sip:alice@example.com"
password = "wonderland"
resource = "contoso"
[[pools]]
countries = ["US", "PR", "CA", "GB", "DK"]
numbers = ["+14255551000-+14255551099"]
[[trunks]]
name = "center"
targets = [{ uri = "sip:127.0.0.1:5080" }]
accept_from = ["127.0.0.1:5080"]
[[routes]]
countries = ["US", "PR", "CA", "GB", "DK"]
trunks = ["center"]
"#;

fn load(text: &str) -> Result<Loaded, Vec<Problem>> {
    super::load(text, Path::new("/etc/sosbridge"))
}

#[track_caller]
fn good(text: &str) -> Loaded {
    load(text).unwrap_or_else(|problems| panic!("{}", render(&problems, "config.toml", text)))
}

/// The problems of a file that must not load, as `line:column message | help`.
#[track_caller]
fn bad(text: &str) -> Vec<String> {
    let problems = load(text).expect_err("must be refused");
    lines(&problems, text)
}

fn lines(problems: &[Problem], text: &str) -> Vec<String> {
    let line = |problem: &Problem| {
        let (line, column) = problem.position(text);
        let help = problem.help.as_deref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{line}:{column} {}{help}", problem.message)
    };
    problems.iter().map(line).collect()
}

/// Problems of `BASE` with `addition` after it; the lines count from the addition.
#[track_caller]
fn bad_with(addition: &str) -> Vec<String> {
    let text = format!("{BASE}{addition}");
    let before = BASE.lines().count();
    let renumber = |line: String| {
        let (number, rest) = line.split_once(':').unwrap();
        format!("{}:{rest}", number.parse::<usize>().unwrap().saturating_sub(before))
    };
    bad(&text).into_iter().map(renumber).collect()
}

#[test]
fn the_sample_runs_as_it_is_without_a_warning() {
    let loaded = good(SAMPLE);
    assert_eq!(lines(&loaded.warnings, SAMPLE), Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.listeners[1].protocol, Protocol::Tcp);
    assert_eq!(config.store.place, StorePlace::Sqlite("/etc/sosbridge/data/sosbridge.db".into()));
    assert_eq!(config.pools[0].len(), 100);
    assert_eq!(config.media.mode, MediaMode::Relay);
    let alice = config.user(&"sip:alice@example.com".parse().unwrap()).unwrap();
    assert!(!alice.inbound && alice.resource.may_call());
    assert_eq!(config.user_by_number(alice.number.unwrap()).unwrap().aor, alice.aor);
    assert_eq!(config.user_served(&"sip:alice@127.0.0.1".parse().unwrap()).unwrap().aor, alice.aor);
    assert!(config.user_served(&"sip:alice@elsewhere.org".parse().unwrap()).is_none());
}

#[test]
fn every_commented_example_of_the_sample_is_accepted() {
    let all = SAMPLE.replace("#: ", "");
    let config = good(&all).config;
    assert!(config.geo.database.is_some() && config.notify.url.is_some() && config.pbxs.len() == 1);
    // And each alone: a key, or a section with its keys.
    for (at, line) in SAMPLE.lines().enumerate().filter(|(_, line)| line.starts_with("#: [")) {
        let section = SAMPLE.lines().skip(at).take_while(|line| line.starts_with("#:")).count();
        let uncomment = |(number, line): (usize, &str)| {
            if (at..at + section).contains(&number) { line.replace("#: ", "") } else { line.to_owned() }
        };
        let text: Vec<String> = SAMPLE.lines().enumerate().map(uncomment).collect();
        assert!(load(&text.join("\n")).is_ok(), "{line}");
    }
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let loaded = good(BASE);
    assert_eq!(lines(&loaded.warnings, BASE), Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.lease.window, Duration::from_secs(3600));
    assert_eq!(
        config.timers,
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    );
    assert_eq!(config.routing.retry, Duration::from_secs(30));
    assert_eq!(config.listeners[0].advertise_port, None);
    assert_eq!(config.sip.domains, ["127.0.0.1", "example.com"]);
    assert_eq!(config.media.mode, MediaMode::Relay);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8060");
    assert!(config.users[0].inbound);
}

#[test]
fn an_error_shows_file_line_column_the_line_and_a_caret() {
    let text = format!("{BASE}[lease]\nwindow = \"30m\"\n");
    let shown = render(&load(&text).unwrap_err(), "config.toml", &text);
    let expected =
        ["error: `lease.window` must be from 1h to 1year", "[config.toml:24:10]", "24 | window = \"30m\"", "^^"];
    for part in expected {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn broken_toml_is_pointed_at() {
    assert_eq!(bad("[node]\nname = \"a\nx = 1"), ["2:10 this is not TOML: invalid basic string, expected `\"`"]);
    assert!(bad("[node]\nname = 1\nname = 2")[0].starts_with("3:1 this is not TOML: duplicate key"));
    assert!(bad("a = \nb = \n").len() >= 2);
}

#[test]
fn a_file_without_listeners_is_refused() {
    let none = BASE.replace("[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n", "");
    for text in [none.clone(), format!("[sip]\nlisten = []\n{none}"), String::new()] {
        let problems = bad(&text);
        assert!(problems.iter().any(|problem| problem.contains("`sip.listen` is missing")), "{problems:?}");
    }
}

#[test]
fn unknown_keys_name_the_nearest_at_every_level() {
    let problems = bad_with(
        "[leese]\nx = 1\n[sip.timer]\nt1 = \"1s\"\n[lease]\nwindw = \"60m\"\n[[trunks]]\nname = \"b\"\ntargets = [{ uri = \"sip:h\", wieght = 2 }]\nzzz = 1\n",
    );
    assert_eq!(problems[0], "1:2 `leese` is not a known key | did you mean `lease`?");
    assert_eq!(problems[1], "3:6 `sip.timer` is not a known key | did you mean `timers`?");
    assert_eq!(problems[2], "6:1 `lease.windw` is not a known key | did you mean `window`?");
    assert_eq!(problems[3], "9:29 `trunks[1].targets[0].wieght` is not a known key | did you mean `weight`?");
    assert!(
        problems[4].starts_with("10:1 `trunks[1].zzz` is not a known key | the keys here are name, "),
        "{}",
        problems[4]
    );
}

#[test]
fn all_faults_are_found_in_one_run() {
    let problems =
        bad("[node]\nname = 7\ndrain = \"5 parsecs\"\n[[users]]\naor = \"alice\"\n[admin]\nlisten = \"nowhere\"\n");
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

/// One fault a row: what stands after the base file, and how the report begins.
const FAULTS: &[(&str, &str)] = &[
    ("[lease]\nwindow = \"59m\"\n", "2:10 `lease.window` must be from 1h to"),
    (
        "[lease]\nwindow = 60\n",
        "2:10 `lease.window` is an integer, and must be a duration | a duration is a number and its unit",
    ),
    ("[lease]\nquarantine = \"1 moon\"\n", "2:14 `lease.quarantine` is not a duration | a duration is"),
    ("[lease]\ntests_per_hour = -1\n", "2:18 `lease.tests_per_hour` must be from 0 to"),
    ("[store]\nurl = \"postgres://h/db\"\n", "2:7 `store.url` names no user | as in"),
    ("[store]\nurl = \"postgres://u:p@/db\"\n", "2:7 `store.url` names no host | as in"),
    ("[store]\nurl = \"postgres://u:p@h:0/db\"\n", "2:7 `store.url` has a port that is none: 0 | as in"),
    ("[store]\nurl = \"postgres://u:p@h/db?sslmode=require\"\n", "2:7 `store.url` wants sslmode=require, and this"),
    ("[store]\nurl = \"postgres://u:p@h/db?a=b\"\n", "2:7 `store.url` has a parameter that is not known: a |"),
    ("[store]\nurl = \"postgres://u:%00@h/db\"\n", "2:7 `store.url` has a password that is not UTF-8 text"),
    ("[store]\nurl = \"oracle:x\"\n", "2:7 `store.url` is not the address of a store"),
    (
        "[[sip.listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\nkey = \"a.pem\"\n",
        "1:1 `sip.listen[1].cert` is missing: tls needs a certificate | write cert =",
    ),
    (
        "[[sip.listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:8080\"\nkey = \"a.pem\"\n",
        "4:7 `sip.listen[1].key` is for tls and wss, not for ws",
    ),
    (
        "[[sip.listen]]\ntransport = \"sctp\"\naddress = \"127.0.0.1:5061\"\ncert = \"a.pem\"\n",
        "2:13 `sip.listen[1].transport` is not a transport: \"sctp\" | udp, tcp, tls, ws and wss are available",
    ),
    (
        "[[sip.listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n",
        "3:11 `sip.listen[1].address` is every address of the machine, so `advertise` is required",
    ),
    (
        "[[sip.listen]]\ntransport = \"udp\"\naddress = \"localhost\"\n",
        "3:11 `sip.listen[1].address` is not an address | an address is IP:port",
    ),
    (
        "[admin]\nlisten = \"0.0.0.0:8060\"\n",
        "2:10 `admin.listen` is not a loopback address, so `admin.token` is required",
    ),
    (
        "[[users]]\naor = \"sip:alice@EXAMPLE.com\"\npassword = \"x\"\nresource = \"contoso\"\n",
        "2:7 `users[1].aor` is sip:alice@example.com, another user already",
    ),
    (
        "[[users]]\naor = \"sip:911@example.com\"\npassword = \"x\"\nresource = \"contoso\"\n",
        "2:7 `users[1].aor` is an emergency or test number",
    ),
    (
        "[[users]]\naor = \"sip:b@h\"\npassword = \"x\"\nresource = \"contosa\"\n",
        "4:12 `users[1].resource` names no resource: \"contosa\" | did you mean \"contoso\"?",
    ),
    ("[[users]]\naor = \"sip:b@h\"\nresource = \"contoso\"\n", "1:1 `users[1].password` is missing"),
    (
        "[[users]]\naor = \"sip:b@h\"\nresource = \"contoso\"\npassword = \"x\"\nha1_md5 = \"00000000000000000000000000000000\"\n",
        "4:12 `users[1].password` stands beside an HA1",
    ),
    (
        "[[users]]\naor = \"sip:b@h\"\nresource = \"contoso\"\nha1_md5 = \"zz\"\n",
        "4:11 `users[1].ha1_md5` must be 32 hexadecimal digits",
    ),
    (
        "[[users]]\naor = \"sip:b@h\"\nresource = \"contoso\"\npassword = \"x\"\nnumber = \"0123\"\n",
        "5:10 `users[1].number` is not a number: an E.164 number starts with `+`",
    ),
    (
        "[[users]]\naor = \"sip:b@h\"\nresource = \"contoso\"\npassword = \"x\"\nnumber = \"+14255551050\"\n",
        "5:10 `users[1].number`: +14255551050 is in `pools[0].numbers[0]` too",
    ),
    ("[[resources]]\nname = \"contoso\"\n", "2:8 `resources[1].name` is \"contoso\", the name of another resource"),
    (
        "[[resources]]\nname = \"b\"\nnumbers = [{ number = \"+14255551001\" }]\n",
        "3:23 `resources[1].numbers[0].number`: +14255551001 is in `pools[0].numbers[0]` too",
    ),
    (
        "[[resources]]\nname = \"b\"\nnumbers = [{ number = \"+14255550100\" }]\n",
        "3:23 `resources[1].numbers[0].number`: +14255550100 is in `resources[0].numbers[0].number` too",
    ),
    ("[[resources]]\nname = \"b\"\noverflow = \"+14255551001\"\n", "3:12 `resources[1].overflow`: +14255551001 is in"),
    (
        "[[resources]]\nname = \"b\"\noverflow = [\"+14255550190\", \"+14255550190\"]\n",
        "3:29 `resources[1].overflow[1]` is listed already",
    ),
    (
        "[[resources]]\nname = \"b\"\noverflow = \"+14255550191\"\n[[users]]\naor = \"sip:b@h\"\nresource = \"b\"\npassword = \"x\"\nnumber = \"+14255550191\"\n",
        "8:10 `users[1].number`: +14255550191 is in `resources[1].overflow` too",
    ),
    (
        "[[resources]]\nname = \"b\"\noverflow = [\"+14255550190\", \"0191\"]\n",
        "3:29 `resources[1].overflow[1]` is not a number",
    ),
    (
        "[[resources]]\nname = \"b\"\n[[resources.direct_routes]]\npattern = \"(\"\ntrunks = [\"center\"]\n",
        "4:11 `resources[1].direct_routes[0].pattern` is not a regular expression: unclosed group",
    ),
    (
        "[[resources]]\nname = \"b\"\noutside_countries = \"maybe\"\n",
        "3:21 `resources[1].outside_countries` is \"maybe\", and must be one of: reject, best-effort",
    ),
    (
        "[[pools]]\ncountries = [\"US\"]\nnumbers = [\"+14255551099-+14255551200\"]\n",
        "3:12 `pools[1].numbers[0]`: +14255551099 is in `pools[0].numbers[0]` too",
    ),
    (
        "[[pools]]\ncountries = [\"US\"]\nnumbers = [\"+14255552000-+14255551999\"]\n",
        "3:12 `pools[1].numbers[0]` ends before it starts",
    ),
    (
        "[[pools]]\ncountries = [\"US\"]\nnumbers = [\"+999-+14255551999\"]\n",
        "3:12 `pools[1].numbers[0]` has ends of different length",
    ),
    (
        "[[pools]]\ncountries = [\"FR\"]\nnumbers = [\"+3312345678\"]\n",
        "2:14 `pools[1].countries[0]` is FR, whose emergency numbers are not known | add [[countries]]",
    ),
    (
        "[[pools]]\ncountries = [\"US\"]\nnumbers = [\"+100000000000-+199999999999\"]\n",
        "3:12 `pools[1].numbers[0]` brings the pools to more than",
    ),
    (
        "[[countries]]\ncode = \"Oz\"\nemergency = []\ndial_code = \"61\"\n",
        "3:13 `countries[0].emergency` has no number to dial for help",
    ),
    (
        "[[countries]]\ncode = \"AU\"\nemergency = [\"0-0\"]\ndial_code = \"61\"\n",
        "3:14 `countries[0].emergency[0]` must be 1 to 10 digits",
    ),
    ("[[countries]]\ncode = \"guam\"\n", "1:1 `countries[0].dial_code` is missing"),
    (
        "[[countries]]\ncode = \"GU\"\nemergency = [\"911\"]\ndial_code = \"1\"\n",
        "2:8 `countries[0].code` is a territory treated as US",
    ),
    ("[[trunks]]\nname = \"center\"\n", "2:8 `trunks[1].name` is \"center\", the name of another trunk"),
    (
        "[[trunks]]\nname = \"b\"\ntargets = [{ uri = \"http://h\" }]\n",
        "3:20 `trunks[1].targets[0].uri` is not a SIP URI to send calls to: it does not start with sip:",
    ),
    (
        "[[trunks]]\nname = \"b\"\ntargets = [{ uri = \"sip:h;maddr=192.0.2.1\" }]\n",
        "3:20 `trunks[1].targets[0].uri` is not a SIP URI to send calls to: it says maddr, where the host is to be",
    ),
    (
        "[[trunks]]\nname = \"b\"\ntargets = [{ uri = \"sip:h;transport=wss\" }]\n",
        "3:20 `trunks[1].targets[0].uri` has the transport of browsers: calls are sent over udp, tcp or tls",
    ),
    (
        "[[trunks]]\nname = \"b\"\ntargets = [{ uri = \"sips:h;transport=udp\" }]\n",
        "3:20 `trunks[1].targets[0].uri` is a sips URI over udp: sips is TLS",
    ),
    ("[[trunks]]\nname = \"b\"\ncert = \"a.pem\"\n", "3:8 `trunks[1].cert` is of no use without key"),
    (
        "[[trunks]]\nname = \"b\"\naccept_from = [\"10.0.0.0/33\"]\n",
        "3:16 `trunks[1].accept_from[0]` is not a source of calls",
    ),
    ("[[trunks]]\nname = \"b\"\nusername = \"u\"\n", "3:12 `trunks[1].username` is of no use without password"),
    (
        "[[routes]]\ncountries = [\"US\"]\ntrunks = [\"centre\"]\n",
        "3:11 `routes[1].trunks[0]` names no trunk: \"centre\" | did you mean \"center\"?",
    ),
    (
        "[[routes]]\ncountries = [\"US\"]\nnumbers = [\"112\"]\ntrunks = [\"center\"]\n",
        "3:12 `routes[1].numbers[0]` is \"112\", no emergency or test number of these countries | they have 911, 933",
    ),
    (
        "[[routes]]\ncountries = [\"US\"]\nnumbers = [\"911\"]\nservice = \"test-line\"\n",
        "3:12 `routes[1].numbers[0]` is an emergency number: a test line must not answer it",
    ),
    ("[[routes]]\ncountries = [\"US\"]\nservice = \"test-line\"\n", "3:11 `routes[1].service` needs `numbers`"),
    ("[[routes]]\ncountries = [\"US\"]\n", "1:1 `routes[1].trunks` names no trunk"),
    ("[callback]\nring = \"some\"\n", "2:8 `callback.ring` is \"some\", and must be one of: origin-first, all"),
    ("[callback]\nwake_url = \"ftp://h\"\n", "2:12 `callback.wake_url` is not a web address"),
    ("[media]\nports = \"80-90\"\n", "2:9 `media.ports` is not a range of ports"),
    ("[media]\nports = \"20001-20002\"\n", "2:9 `media.ports` is not a range of ports"),
    ("[media]\nports = \"65535-65535\"\n", "2:9 `media.ports` is not a range of ports"),
    ("[media]\nmode = \"mesh\"\n", "2:8 `media.mode` is \"mesh\", and must be one of: relay, pass, rtpengine"),
    ("[other_calls]\ntrunk = \"nobody\"\n", "2:9 `other_calls.trunk` names no trunk: \"nobody\""),
    ("[geo]\nunreliable = [\"here\"]\n", "2:15 `geo.unreliable[0]` is not a network"),
    ("[registrar]\nmin_expires = \"2h\"\n", "2:15 `registrar.min_expires` is longer than max_expires"),
    ("[sip]\ndomains = [\"a b\"]\n", "2:12 `sip.domains[0]` is not a host"),
    ("[pbxs]\nname = \"x\"\n", "1:1 `pbxs` is a table, and must be a list of tables | write [[pbxs]]"),
];

#[test]
fn each_fault_has_its_words() {
    for &(addition, begins) in FAULTS {
        let problems = if addition.starts_with("[sip]\n") { bad_with_sip(addition) } else { bad_with(addition) };
        assert!(
            problems.iter().any(|problem| problem.starts_with(begins)),
            "{addition}wanted {begins}\ngot {problems:#?}"
        );
    }
}

/// `[sip]` must stand before its `[[sip.listen]]`.
#[track_caller]
fn bad_with_sip(addition: &str) -> Vec<String> {
    bad(&format!("{addition}{BASE}"))
}

#[test]
fn trunks_are_known_by_address_then_by_the_narrowest_network() {
    let more = "[[trunks]]\nname = \"net\"\naccept_from = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n[[trunks]]\nname = \"narrow\"\naccept_from = [\"10.1.0.0/16\", \"10.9.9.9\", \"sbc.example.com\"]\n";
    let text = format!("{BASE}{more}");
    let config = good(&text).config;
    let name = |source: &str| {
        config.trunk_accepting(source.parse().unwrap()).and_then(|at| config.trunk(at)).map(|trunk| trunk.name.as_str())
    };
    assert_eq!(name("127.0.0.1:5080"), Some("center"));
    assert_eq!(name("127.0.0.1:5081"), None);
    assert_eq!(name("10.2.3.4:1"), Some("net"));
    assert_eq!(name("10.1.3.4:1"), Some("narrow"));
    assert_eq!(name("10.9.9.9:1"), Some("narrow"));
    assert_eq!(name("[::ffff:10.9.9.9]:1"), Some("narrow"));
    assert_eq!(name("[2001:db8::7]:5060"), Some("net"));
    assert_eq!(name("[2001:db9::7]:5060"), None);
}

#[test]
fn one_source_of_calls_has_one_owner() {
    let trunk = |name: &str, source: &str| format!("[[trunks]]\nname = \"{name}\"\naccept_from = [\"{source}\"]\n");
    let pbx = |name: &str, source: &str| {
        format!(
            "[[pbxs]]\nname = \"{name}\"\nresource = \"contoso\"\naddresses = [\"{source}\"]\ntarget = \"sip:127.0.0.9\"\n"
        )
    };
    let clashes = |more: String| {
        let text = format!("{BASE}{more}");
        let warnings = lines(&good(&text).warnings, &text);
        warnings.into_iter().filter(|warning| warning.contains("the same source")).collect::<Vec<_>>()
    };
    assert_eq!(clashes(trunk("a", "10.0.0.1/32") + &trunk("b", "10.0.0.2/32") + &pbx("c", "10.0.0.3")), [""; 0]);
    let two = clashes(trunk("a", "10.0.0.1/32") + &trunk("b", "10.0.0.1"));
    assert!(two.len() == 1 && two[0].contains("trunk \"b\"") && two[0].contains("trunk \"a\""), "{two:?}");
    let both = clashes(pbx("c", "127.0.0.1:5080"));
    assert!(both.len() == 1 && both[0].contains("trunk \"center\""), "{both:?}");
}

#[test]
fn a_pbx_in_the_network_of_a_trunk_is_warned_of() {
    let warned = |network: &str| {
        let text = format!(
            "{BASE}[[trunks]]\nname = \"wide\"\naccept_from = [\"{network}\"]\n[[pbxs]]\nname = \"c\"\n\
             resource = \"contoso\"\naddresses = [\"10.0.0.3\"]\ntarget = \"sip:127.0.0.9\"\n"
        );
        lines(&good(&text).warnings, &text).iter().any(|warning| warning.contains("in a network of trunk \"wide\""))
    };
    assert!(warned("10.0.0.0/8") && !warned("10.0.1.0/24") && !warned("10.0.0.3:5060"));
}

#[test]
fn pbxs_are_known_by_the_narrowest_network_and_share_no_domain() {
    let pbx = |name: &str, source: &str| {
        format!(
            "[[pbxs]]\nname = \"{name}\"\nresource = \"contoso\"\naddresses = [\"{source}\"]\ntarget = \"sip:127.0.0.9\"\n"
        )
    };
    let config = good(&format!("{BASE}{}{}", pbx("Far side", "10.0.0.0/8"), pbx("near", "10.1.0.0/16"))).config;
    let name = |source: &str| Some(config.pbx(config.pbx_accepting(source.parse().unwrap(), &[])?)?.domain.as_str());
    assert_eq!(name("10.1.2.3:999"), Some("near"));
    assert_eq!(name("[::ffff:10.2.2.3]:5060"), Some("far-side"));
    assert_eq!(name("11.1.2.3:999"), None);
    let alice: Aor = "sip:alice@far-side".parse().unwrap();
    assert_eq!(config.pbx_of(&alice).map(|(at, _)| at), Some(PbxIdx(0)));
    for (text, expected) in [
        (pbx("a b", "10.0.0.1") + &pbx("a-b", "10.0.0.2"), "too like the name of another PBX"),
        (pbx("example.com", "10.0.0.1"), "a domain of users"),
    ] {
        let text = format!("{BASE}{text}");
        let problems = load(&text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.message.contains(expected)), "{problems:?}");
    }
}

#[test]
fn routes_by_country_number_and_kind() {
    let config = good(SAMPLE).config;
    let trunk = |country: &str, number: &str, kind| {
        config.route(country.parse().unwrap(), number, kind).map(|route| route.action.clone())
    };
    let emergency = |country: &str, number: &str| match trunk(country, number, NumberKind::Emergency) {
        Some(RouteAction::Trunks(list)) => config.trunk(list[0]).map(|trunk| trunk.name.to_string()),
        _ => None,
    };
    assert_eq!(emergency("US", "911").as_deref(), Some("call-center-us"));
    assert_eq!(emergency("GU", "911").as_deref(), Some("call-center-us"));
    assert_eq!(emergency("GB", "999").as_deref(), Some("psap-gb"));
    assert_eq!(emergency("DK", "112").as_deref(), Some("psap-dk"));
    assert_eq!(emergency("FR", "112"), None);
    assert_eq!(trunk("US", "933", NumberKind::Test), Some(RouteAction::TestLine));
    assert_eq!(trunk("GB", "933", NumberKind::Test), Some(RouteAction::TestLine));
}

#[test]
fn country_rows_replace_what_they_name_and_add() {
    let text = format!(
        "{BASE}[[countries]]\ncode = \"gb\"\ntest = [\"933\"]\n[[countries]]\ncode = \"AU\"\nemergency = [\"000\"]\ndial_code = \"61\"\n"
    );
    let config = good(&text).config;
    let britain = config.country(Country::GB).unwrap();
    assert_eq!(
        (britain.emergency.as_slice(), britain.test.as_slice()),
        (&["999".into(), "112".into()][..], &["933".into()][..])
    );
    assert_eq!(config.country("AU".parse().unwrap()).unwrap().dial_code, "61");
    assert_eq!(config.countries.len(), 6);
}

#[test]
fn a_password_becomes_both_hashes() {
    // RFC 2617 §3.5: H("Mufasa:testrealm@host.com:Circle Of Life")
    let text = BASE.replace("alice", "Mufasa").replace("wonderland", "Circle Of Life")
        + "[registrar]\nrealm = \"testrealm@host.com\"\n";
    let config = good(&text).config;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&config.users[0].secret.ha1_md5.unwrap()), "939e7578ed9e3c518a452acee763bce9");
    assert!(config.users[0].secret.ha1_sha256.is_some());
    assert!(!format!("{config:?}").contains("Circle"));
}

#[test]
fn pools_know_their_numbers() {
    let config =
        good(&BASE.replace("\"+14255551000-+14255551099\"", "\"+14255553000\", \"+14255551000-+14255551099\"")).config;
    let pool = &config.pools[0];
    assert_eq!(pool.len(), 101);
    for (number, inside) in [
        ("+14255550999", false),
        ("+14255551000", true),
        ("+14255551099", true),
        ("+14255551100", false),
        ("+14255553000", true),
    ] {
        assert_eq!(pool.contains(number.parse().unwrap()), inside, "{number}");
    }
    assert_eq!(pool.numbers.iter().flat_map(NumberRange::iter).count(), 101);
}

#[test]
fn where_a_trunk_may_transfer_to() {
    let with = |list: &str| BASE.replacen("accept_from", &format!("transfer_to = {list}\naccept_from"), 1);
    assert!(good(BASE).config.trunks[0].transfer_to.is_none());
    assert!(good(&with("[]")).config.trunks[0].transfer_to.as_ref().is_some_and(Vec::is_empty));
    let config = good(&with(r#"["^\\+1206", "sip:Desk@PSAP.example:5080", "sip:[2001:db8::1]"]"#)).config;
    let shown = format!("{:?}", config.trunks[0].transfer_to);
    for part in ["^\\\\+1206", "\"Desk\"", "\"psap.example\"", "Some(5080)", "\"[2001:db8::1]\""] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for bad in [r#"["("]"#, r#"["sip:"]"#, r#"["sip:x?y=z"]"#] {
        assert!(load(&with(bad)).is_err(), "{bad}");
    }
}

/// 100,000 users and a pool of as many, and the same with a fault in each: neither is slow.
#[test]
fn a_hundred_thousand_users() {
    use std::fmt::Write as _;
    let mut text = BASE.replace("-+14255551099", "-+14255651099");
    for at in 0..100_000 {
        write!(text, "[[users]]\naor = \"sip:user{at}@example.com\"\npassword = \"secret{at}\"\nresource = \"contoso\"\nnumber = \"+1206{at:07}\"\ncountry = \"US\"\n").unwrap();
    }
    let config = good(&text).config;
    assert_eq!((config.users.len(), config.pools[0].len()), (100_001, 100_100));
    let user = config.user(&"sip:user77777@example.com".parse().unwrap()).unwrap();
    assert_eq!(config.user_by_number("+12060077777".parse().unwrap()).unwrap().aor, user.aor);
    let faulty = text.replace("password", "pasword");
    let problems = load(&faulty).unwrap_err();
    assert_eq!(problems.len(), 200_002);
    assert!(render(&problems, "config.toml", &faulty).ends_with("and 199952 more\n"));
}

/// Any mutation of the sample loads or is refused with problems that can be shown; never a panic.
#[test]
fn mutations_of_the_sample_never_panic() {
    let commented = SAMPLE.replace("#: ", "");
    bolero::check!().with_iterations(2_000).with_type::<(u16, u8, Vec<u8>)>().for_each(|(at, cut, insert)| {
        let mut bytes = commented.clone().into_bytes();
        let at = usize::from(*at) % bytes.len();
        let end = (at + usize::from(*cut) % 40).min(bytes.len());
        bytes.splice(at..end, insert.iter().copied());
        let text = String::from_utf8_lossy(&bytes);
        match load(&text) {
            Ok(loaded) => drop(render(&loaded.warnings, "config.toml", &text)),
            Err(problems) => {
                assert!(!problems.is_empty());
                drop(render(&problems[..1], "config.toml", &text));
            }
        }
    });
}
