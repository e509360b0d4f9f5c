//! The 12 torture messages of RFC 5118, each sent to a node over IPv6, on UDP and TCP; the answer is judged by `rfc5118.tsv`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

use regex::Regex;
use world::torture::{self, Case};
use world::{Agent, Msg, Toml, World, authorized_with, psap6};

fn cases() -> Vec<Case> {
    torture::cases(include_str!("rfc5118.tsv"))
}

/// As the archive has it.
fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/rfc5118/messages/{name}.dat", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// As it goes over the wire: see `messages/README`.
fn wire(name: &str) -> String {
    let text = String::from_utf8(bytes_of(name)).unwrap().replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.trim_end(), ""));
    let length = format!("Content-Length: {}", body.len());
    let head = Regex::new("Content-Length: [0-9]+").unwrap().replace(head, length);
    format!("{head}\r\n\r\n{body}")
}

/// A node with listeners of both families, for the hosts of the messages.
fn world() -> World {
    let domains = "[\"example.com\", \"[2001:db8:0::10]\", \"[2001:DB8::192.0.2.1]\"]";
    let user =
        |aor: &str| format!("[[users]]\naor = \"{aor}\"\npassword = \"x\"\nresource = \"contoso\"\ninbound = true\n");
    let toml = Toml::dual()
        .change("domains = [\"example.com\"]", &format!("domains = {domains}"))
        .add(&user("sip:user@example.com"))
        .add(&user("sip:user@[2001:db8::10]"));
    let mut world = World::of(&toml);
    world.secrets.clear();
    world
}

fn outsider() -> Agent {
    Agent::new("mallory", "[2001:db8::9:1]:5060")
}

#[test]
fn na_8_every_message_of_rfc_5118() {
    let cases = cases();
    assert_eq!(cases.len(), 12);
    let mut faults = Vec::new();
    for (case, stream) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut world = world();
        faults.extend(case.judge(&mut world, outsider(), stream, wire(case.name).as_bytes()));
        faults.extend(case.aftermath(&mut world));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Line ends that no SIP message has: at most refused, and a call that is up stays so.
#[test]
fn na_8_the_archive_as_it_is_disturbs_nobody() {
    let mut world = world();
    world.register(&world::alice());
    let mut call = world.talking();
    for case in cases() {
        world.send_bytes(&outsider(), &bytes_of(case.name));
        let stream = world.connect(outsider());
        world.send_bytes(&stream, &bytes_of(case.name));
        for sent in world.wire.drain(..) {
            assert_eq!(sent.msg.code(), 400, "{}: {}", case.name, sent.text);
        }
    }
    world.run(70_000);
    assert_eq!(world.node.sizes().0, 1);
    world.wire.clear();
    world.hang_up(&mut call);
}

/// The final answer to a message from `from`, over UDP.
fn answer_to(world: &mut World, from: &Agent, name: &str) -> Msg {
    world.send_bytes(from, wire(name).as_bytes());
    let at = world.wire.iter().position(|sent| sent.msg.code() >= 200).expect("a final answer");
    world.wire.remove(at).msg
}

#[test]
fn na_8_vias_of_both_families_come_back() {
    // §4.5: what was in `received` is replaced by where it came from, without brackets.
    let sender = Agent::new("sender", "[2001:db8::abcd]:5060");
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let answer = answer_to(&mut world(), &sender, name);
        let via = answer.header("Via");
        assert!(via.starts_with("SIP/2.0/UDP [2001:db8::9:1];"), "{via}");
        assert_eq!((world::param(via, "received"), via.matches("received").count()), ("2001:db8::abcd", 1), "{via}");
    }
    // §4.7: the others byte for byte.
    let answer = answer_to(&mut world(), &Agent::new("sender", "[2001:db8::9:1]:6050"), "mult-ip-in-header");
    let expected = [
        "SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111",
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144",
        "SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
    ];
    assert_eq!(answer.values("Via"), expected);
}

#[test]
fn na_8_contacts_with_ipv6_references_come_back() {
    // The To says who registers, so that the slip of §4.3 in the Request-URI costs nobody the registration.
    for name in ["ipv6-good", "port-ambiguous", "port-unambiguous"] {
        let (mut world, phone) = (world(), outsider());
        let register = Msg::read(&wire(name));
        let challenge = world.ask(&phone, &register);
        let answer = world.ask(&phone, &authorized_with(&register, &challenge, "user", "x", "MD5"));
        assert_eq!(answer.code(), 200, "{name}: {answer}");
        assert!(answer.header("Contact").starts_with("<sip:caller@[2001:db8::1]>"), "{answer}");
    }
}

#[test]
fn na_8_descriptions_of_ipv6_cross_but_for_their_origin() {
    for name in ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"] {
        let mut world = world();
        let offer = Msg::read(&wire(name));
        let phone = Agent { name: "user", ..outsider() };
        let domain = offer.uri().split_once('@').unwrap().1;
        let aor = format!("<sip:user@{domain}>");
        let register =
            phone.request("REGISTER", &format!("sip:{domain}")).set("From", &format!("{aor};tag=r")).set("To", &aor);
        let challenge = world.ask(&phone, &register);
        let registered = world.ask(&phone, &authorized_with(&register, &challenge, "user", "x", "MD5"));
        assert_eq!(registered.code(), 200, "{registered}");
        world.send(&psap6(), &offer);
        let ring = world.take(&phone, "INVITE");
        let (theirs, ours): (Vec<&str>, Vec<&str>) = (offer.body.lines().collect(), ring.body.lines().collect());
        assert!(ours[1].starts_with("o=- ") && ours[1].ends_with(" IN IP6 2001:db8::1"), "{ring}");
        assert_eq!((theirs[0], &theirs[2..]), (ours[0], &ours[2..]), "{name}");
    }
}
