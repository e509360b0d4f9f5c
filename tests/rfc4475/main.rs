//! The 49 torture messages of RFC 4475, each sent to a node over the transport it asks for, the answer judged by `rfc4475.tsv`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

use regex::Regex;
use world::{Agent, Msg, Toml, World, outsider};

/// No legal answer can be built from these, so none is as good as the one the table names.
const MAY_BE_SILENT: [&str; 5] = ["badinv01", "badvers", "insuf", "multi01", "mcl01"];

/// One line of the table.
struct Case {
    name: &'static str,
    request: bool,
    method: &'static str,
    stream: bool,
    drop: bool,
    allowed: Regex,
    forbidden: Option<Regex>,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("rfc4475.tsv").lines().filter(|line| !line.starts_with('#'));
    let case = |line: &'static str| {
        let row: Vec<&str> = line.split('\t').collect();
        let (kind, method) = row[2].split_once(' ').unwrap();
        let codes = |text: &str| Regex::new(&format!("^({text})$")).unwrap();
        let drop = row[4] == "drop-silent";
        Case {
            name: row[0],
            request: kind == "req",
            method,
            stream: row[3] != "UDP",
            drop,
            allowed: codes(if drop { "no answer" } else { row[5] }),
            forbidden: (!drop && row[6] != "-").then(|| codes(row[6])),
        }
    };
    lines.map(case).collect()
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/rfc4475/messages/{name}.dat", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A node that serves the domains of the messages, for users with and without the names in them.
fn world() -> World {
    let user = |name: &str, domain: &str| {
        format!("[[users]]\naor = \"sip:{name}@{domain}\"\npassword = \"x\"\nresource = \"contoso\"\ninbound = true\n")
    };
    let domains = "[\"example.com\", \"example.net\", \"example.org\", \"company.com\", \"192.0.2.1\"]";
    let toml = Toml::default()
        .change("domains = [\"example.com\"]", &format!("domains = {domains}"))
        .add(&user("user", "example.com"))
        .add(&user("caller", "example.net"))
        .add(&user("j_user", "example.com"));
    let mut world = World::of(&toml);
    world.secrets.clear();
    world
}

/// Sends the message from `from` and gives everything that was sent because of it, at once and in 40 s, with what is wrong.
fn judge(case: &Case, world: &mut World, from: Agent) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{}: {what}", case.name));
    let from = if case.stream { world.connect(from) } else { from };
    world.send_bytes(&from, &bytes_of(case.name));
    let answers: Vec<Msg> = world.wire.drain(..).map(|sent| sent.msg).collect();
    let requests: Vec<&str> = answers.iter().filter(|msg| msg.code() == 0).map(Msg::method).collect();
    let codes: Vec<String> = answers.iter().map(|msg| msg.code().to_string()).filter(|code| code != "0").collect();
    let finals: Vec<&String> = codes.iter().filter(|code| code.as_str() >= "200").collect();
    if !requests.is_empty() {
        fault(format!("made the node send {requests:?}"));
    }
    match (case.drop, finals.as_slice()) {
        (true, []) if codes.is_empty() => {}
        (true, _) => fault(format!("must be dropped, was answered {codes:?}")),
        (false, []) if MAY_BE_SILENT.contains(&case.name) => {}
        (false, []) => fault(format!("was not answered, but {codes:?}")),
        (false, [code]) if !case.allowed.is_match(code) => fault(format!("answered {code}, not {}", case.allowed)),
        (false, [_]) => {}
        (false, _) => fault(format!("answered {finals:?}: more than once")),
    }
    if let Some(code) = codes.iter().find(|code| case.forbidden.as_ref().is_some_and(|bad| bad.is_match(code))) {
        fault(format!("answered {code}, which is forbidden"));
    }
    for answer in answers.iter().filter(|msg| msg.code() >= 200 && case.request) {
        if case.method.starts_with(|c: char| c.is_ascii_uppercase()) && case.method != "NEWMETHOD" {
            let expected = if case.name == "mismatch01" { "INVITE" } else { case.method };
            if answer.method() != expected {
                fault(format!("answered as a {}", answer.method()));
            }
        }
        if answer.code() == 401 && !answer.has("WWW-Authenticate") {
            fault("401 without a challenge".into());
        }
    }
    faults
}

/// The node answers a good request, and some time later nothing is left.
fn aftermath(case: &Case, world: &mut World) -> Vec<String> {
    let mut faults = Vec::new();
    let good = Agent::new("good", "198.51.100.250:5060");
    if world.ask(&good, &good.request("OPTIONS", "sip:example.com")).code() != 200 {
        faults.push(format!("{}: afterwards a good OPTIONS is refused", case.name));
    }
    world.run(70_000);
    if !world.node.is_idle() {
        faults.push(format!("{}: afterwards this is left: {:?}", case.name, world.node.sizes()));
    }
    faults
}

#[test]
fn every_message_from_an_outsider() {
    let cases = cases();
    assert_eq!(cases.len(), 49);
    let judged = cases.iter().flat_map(|case| {
        let mut world = world();
        let mut faults = judge(case, &mut world, outsider());
        faults.extend(aftermath(case, &mut world));
        faults
    });
    let faults: Vec<String> = judged.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The same, from the address of a trunk, which is not challenged: the messages get further.
#[test]
fn every_message_from_a_trunk() {
    let judged = cases().into_iter().flat_map(|case| {
        let mut world = world();
        let mut faults = judge(&case, &mut world, world::psap());
        faults.extend(aftermath(&case, &mut world));
        faults
    });
    let faults: Vec<String> = judged.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One after the other to one node, twice, with a call up all the while.
#[test]
fn a_call_outlives_them_all() {
    let mut world = world();
    world.register(&world::alice());
    let mut call = world.talking();
    for _ in 0..2 {
        for case in cases() {
            let from = Agent::new("somebody", &format!("198.51.100.{}:5060", 100 + world::fresh() % 100));
            let from = if case.stream { world.connect(from) } else { from };
            world.send_bytes(&from, &bytes_of(case.name));
            world.run(100);
            world.wire.clear();
        }
    }
    assert_eq!(world.node.sizes().0, 1);
    world.run(70_000);
    world.wire.clear();
    world.hang_up(&mut call);
}

#[test]
fn what_the_answers_must_hold() {
    let answer_to = |name: &str, stream: bool| {
        let mut world = world();
        let from = if stream { world.connect(outsider()) } else { outsider() };
        world.send_bytes(&from, &bytes_of(name));
        let answers: Vec<Msg> = world.wire.drain(..).map(|sent| sent.msg).filter(|msg| msg.code() >= 200).collect();
        assert_eq!(answers.len(), 1, "{name}: {answers:?}");
        answers[0].clone()
    };
    // 3.3.5: every tag that is not supported.
    let bext = answer_to("bext01", true);
    let unsupported = bext.values("Unsupported").join(",");
    for tag in ["nothingSupportsThis", "nothingSupportsThisEither"] {
        assert!(unsupported.split(',').any(|have| have.trim() == tag), "{bext}");
    }
    // 3.1.1.2, 3.1.1.5: an unknown method is told which ones are known.
    for name in ["intmeth", "esc02"] {
        let refused = answer_to(name, true);
        assert!(refused.has("Allow"), "{refused}");
    }
    // 3.1.1.7: an answer carries all the Vias of its request, in order.
    let longreq = answer_to("longreq", true);
    assert_eq!(longreq.values("Via").len(), 34, "{longreq}");
    // 3.3.7: a challenge of a scheme there is.
    assert!(answer_to("regaut01", true).header("WWW-Authenticate").starts_with("Digest "));
    // 3.1.1.8: one answer, to the REGISTER, none to the INVITE behind it.
    assert_eq!(answer_to("dblreq", false).method(), "REGISTER");
}
