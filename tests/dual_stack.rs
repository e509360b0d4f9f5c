//! The real daemon with listeners of both address families: phone on one, call center on the other (CONFORMANCE NA-8).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod real;

use real::{CONFIG, Daemon, Party, admin, durable, free, hang_up, listen, talk, trunk};

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

fn main_story(phone_ip: &str, trunk_ip: &str, transport: &str) {
    let [toward_phone, toward_trunk, center] = [phone_ip, trunk_ip, trunk_ip].map(free);
    let config = [
        durable(),
        listen("udp", toward_phone),
        listen("tcp", toward_phone),
        listen("udp", toward_trunk),
        listen("tcp", toward_trunk),
        trunk(center, transport),
        admin(free(phone_ip)),
    ];
    let mut daemon = Daemon::serve(&config.concat());
    let (mut phone, mut psap) = match transport {
        "udp" => (Party::udp("alice", free(phone_ip), toward_phone), Party::udp("psap", center, toward_trunk)),
        _ => (Party::connected("alice", toward_phone), Party::listening("psap", center, toward_trunk)),
    };
    phone.register();
    let registered = daemon.ask("registrations");
    assert_eq!(registered[0]["source"], phone.agent.address.to_string(), "{registered}");

    let (mut call, _) = talk(&mut phone, &mut psap);
    let family = |ip: &str| format!(" IN IP{} {ip}\r\n", if ip == V6 { 6 } else { 4 });
    for (message, party, ip) in [(&call.offered, toward_trunk, trunk_ip), (&call.ok, toward_phone, phone_ip)] {
        assert!(message.header("Contact").contains(&format!("@{party}")), "{message}");
        let origin = message.body.lines().find(|line| line.starts_with("o=")).unwrap();
        assert!(format!("{origin}\r\n").ends_with(&family(ip)), "{message}");
    }
    let via = format!("SIP/2.0/{} {toward_trunk};branch=", transport.to_uppercase());
    assert!(call.offered.header("Via").starts_with(&via), "{}", call.offered);
    hang_up(&mut call, &mut phone, &mut psap);

    // A phone on UDP is found again after a crash, by what the store kept of it.
    if transport == "udp" {
        daemon.crash();
    }
    let number = call.offered.contact();
    let number = number.trim_start_matches("sip:").split('@').next().unwrap();
    let callback = psap.agent.invite(&format!("sip:{number}@{toward_trunk}"));
    psap.send(&callback);
    let ring = phone.take("INVITE");
    assert_eq!(ring.header("Priority"), "psap-callback");
    assert!(ring.header("Via").contains(&format!(" {toward_phone};")), "{ring}");
    phone.send(&phone.agent.reply(&ring, 180));
    phone.send(&phone.agent.reply(&ring, 486));
    psap.take("486 INVITE");
    let leases = daemon.ask("leases");
    assert_eq!(
        (&leases[0]["number"], &leases[0]["user"]),
        (&number.into(), &"sip:alice@example.com".into()),
        "{leases}"
    );
}

#[test]
fn na_8_phone_on_ipv6_and_call_center_on_ipv4() {
    main_story(V6, V4, "udp");
    main_story(V6, V4, "tcp");
}

#[test]
fn na_8_phone_on_ipv4_and_call_center_on_ipv6() {
    main_story(V4, V6, "udp");
    main_story(V4, V6, "tcp");
}

#[test]
fn na_8_a_call_center_that_is_not_there_is_known_at_once() {
    // ICMPv6 tells, and the next target is tried without waiting (SPEC §5).
    let [toward_phone, toward_trunk, nobody, center] = [V4, V6, V6, V6].map(free);
    let first = format!("targets = [{{ uri = \"sip:{nobody};transport=udp\" }}, ");
    let targets = trunk(center, "udp").replace("udp\" }", "udp\", priority = 2 }").replace("targets = [", &first);
    let config = [CONFIG, &listen("udp", toward_phone), &listen("udp", toward_trunk), &targets, &admin(free(V4))];
    let _daemon = Daemon::serve(&config.concat());
    let mut phone = Party::udp("alice", free(V4), toward_phone);
    let mut psap = Party::udp("psap", center, toward_trunk);
    phone.register();
    let (mut call, took) = talk(&mut phone, &mut psap);
    assert!(took.as_millis() < 1500, "{took:?}: the silence of the first target was waited for");
    hang_up(&mut call, &mut phone, &mut psap);
}
