//! The 49 torture messages of RFC 4475, each sent to a node over the transport it asks for, the answer judged by `rfc4475.tsv`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

use world::torture::{self, Case};
use world::{Agent, Msg, Toml, World, outsider};

/// No legal answer can be built from these, so none is as good as the one the table names.
const MAY_BE_SILENT: [&str; 5] = ["badinv01", "badvers", "insuf", "multi01", "mcl01"];

fn cases() -> Vec<Case> {
    let mut cases = torture::cases(include_str!("rfc4475.tsv"));
    cases.iter_mut().for_each(|case| case.may_be_silent = MAY_BE_SILENT.contains(&case.name));
    cases
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

/// What is wrong with the answer to the message from `from`, at once and some time later.
fn faults_of(case: &Case, from: Agent) -> Vec<String> {
    let mut world = world();
    let mut faults = case.judge(&mut world, from, case.stream, &bytes_of(case.name));
    faults.extend(case.aftermath(&mut world));
    faults
}

#[test]
fn every_message_from_an_outsider() {
    let cases = cases();
    assert_eq!(cases.len(), 49);
    let faults: Vec<String> = cases.iter().flat_map(|case| faults_of(case, outsider())).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The same, from the address of a trunk, which is not challenged: the messages get further.
#[test]
fn every_message_from_a_trunk() {
    let faults: Vec<String> = cases().iter().flat_map(|case| faults_of(case, world::psap())).collect();
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
