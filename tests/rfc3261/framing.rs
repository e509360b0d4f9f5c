//! NA-9: streams cut anywhere (RFC 3261 §18.3, RFC 5626 §3.5.1).

use crate::world::{Agent, Dialog, World, alice, bob, psap};

fn options(agent: &Agent) -> String {
    agent.request("OPTIONS", "sip:example.com").body("text/plain", "some\r\n\r\nbody").to_string()
}

#[test]
fn na_9_cut_at_every_byte() {
    let mut world = World::new();
    let phone = world.connect(bob());
    let text = options(&phone);
    for at in 1..text.len() {
        let text = text
            .replace(";branch=", &format!(";branch=z9hG4bKcut{at}"))
            .replace("\r\nCall-ID: ", &format!("\r\nCall-ID: {at}"));
        let (start, rest) = text.as_bytes().split_at(at);
        world.send_bytes(&phone, start);
        world.silent();
        world.send_bytes(&phone, rest);
        world.take(&phone, "200");
    }
}

#[test]
fn na_9_byte_by_byte_and_pipelined() {
    let mut world = World::new();
    let phone = world.connect(bob());
    for byte in options(&phone).as_bytes() {
        world.send_bytes(&phone, &[*byte]);
    }
    world.take(&phone, "200");
    let many: String = (0..50).map(|_| options(&phone)).collect();
    world.send_bytes(&phone, many.as_bytes());
    assert_eq!(world.take_all(&phone, "200").len(), 50);
    // Line ends between messages are allowed (§7.5).
    world.send_bytes(&phone, format!("\r\n{}\r\n\r\n{}", options(&phone), options(&phone)).as_bytes());
    assert_eq!(world.take_all(&phone, "200").len(), 2);
}

#[test]
fn na_9_ping_and_pong() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.send_bytes(&phone, b"\r\n");
    assert_eq!(world.pongs, 0);
    world.send_bytes(&phone, b"\r\n");
    assert_eq!(world.pongs, 1);
    world.send_bytes(&phone, format!("{}\r\n\r\n", options(&phone)).as_bytes());
    world.take(&phone, "200");
    assert_eq!(world.pongs, 2);
}

#[test]
fn na_9_lies_close_that_connection_only() {
    let lies: [fn(&Agent) -> String; 5] = [
        |phone| options(phone).replace("Content-Length: 12", "Content-Length: -1"),
        |phone| options(phone).replace("Content-Length: 12", "Content-Length: 99999999999"),
        |phone| options(phone).replace("Content-Length: 12", "Content-Length: twelve"),
        |_| "GET / HTTP/1.1\r\nHost: sip.example.com\r\n\r\n".into(),
        |_| "X".repeat(70_000),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        let mut world = World::new();
        let (liar, honest) = (world.connect(bob()), world.connect(alice()));
        world.register(&honest);
        assert!(!lie(&liar).contains("Content-Length: 12\r\n"), "lie {at} is told");
        world.send_bytes(&liar, lie(&liar).as_bytes());
        assert_eq!(world.closed, [liar.connection.unwrap()], "lie {at}");
        world.take_all(&bob(), "*");
        // Nothing more is heard of it.
        world.send_bytes(&liar, options(&liar).as_bytes());
        world.silent();
        world.send(&honest, &honest.invite("sip:911@example.com"));
        world.take(&psap(), "INVITE");
    }
}

#[test]
fn na_9_length_too_short_leaves_rubbish() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.send_bytes(&phone, options(&phone).replace("Content-Length: 12", "Content-Length: 4").as_bytes());
    world.take(&phone, "200");
    // What is left is `\r\n\r\nbody`: the beginning of a message that never ends.
    world.run(40_000);
    assert_eq!(world.closed, [phone.connection.unwrap()]);
}

#[test]
fn na_9_half_a_message_is_not_waited_for_for_ever() {
    let mut world = World::new();
    let phone = world.connect(bob());
    world.send_bytes(&phone, b"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 1.2.3.4;branch=z9hG4bKhalf\r\n");
    world.run(31_000);
    assert!(world.closed.is_empty());
    world.run(1_500);
    assert_eq!(world.closed, [phone.connection.unwrap()]);
}

#[test]
fn na_9_closing_ends_no_call() {
    // The phone's connection breaks during a call: the call stays up and goes on over the next one.
    let mut world = World::new();
    let phone = world.connect(alice());
    world.register(&phone);
    let invite = phone.invite("sip:911@example.com");
    world.send(&phone, &invite);
    world.take(&phone, "100");
    let offered = world.take(&psap(), "INVITE");
    let call = world.answer(&phone, &invite, &psap(), &offered);
    world.send_bytes(&phone, b"rubbish\r\n\r\n");
    assert_eq!(world.closed, [phone.connection.unwrap()]);
    assert_eq!(world.node.sizes().0, 1);
    let back = world.connect(alice());
    let mut dialog = Dialog { agent: back, ..call.phone };
    let bye = dialog.request("BYE");
    assert_eq!(world.ask(&back, &bye).code(), 200);
    world.take(&psap(), "BYE");
}
