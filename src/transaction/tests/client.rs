//! CONFORMANCE TX rows of client transactions.

use super::*;

#[test]
fn tx_2_no_response_to_our_invite_on_udp() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, udp(), 1);
    bench.run_until(60_000);
    let expected = [
        "0 send INVITE",
        "500 send INVITE",
        "1500 send INVITE",
        "3500 send INVITE",
        "7500 send INVITE",
        "15500 send INVITE",
        "31500 send INVITE",
        "32000 Timeout of 1",
    ];
    assert_eq!(bench.log(), expected);
    bench.finish();
}

#[test]
fn tx_3_first_provisional_stops_retransmission() {
    let mut bench = Bench::new();
    let (_, _, invite) = bench.send(Method::Invite, udp(), 1);
    bench.run_until(600);
    bench.receive(&response(&invite, 100), udp());
    bench.run_until(200_000);
    bench.receive(&response(&invite, 180), udp());
    bench.receive(&response(&invite, 180), udp());
    bench.receive(&response(&invite, 200), udp());
    let expected = [
        "0 send INVITE",
        "500 send INVITE",
        "600 Response 100 to 1",
        "200000 Response 180 to 1",
        "200000 Response 180 to 1",
        "200000 Response 200 to 1",
    ];
    assert_eq!(bench.log(), expected, "and no timer B while it rings");
    bench.finish();
}

#[test]
fn tx_4_non_2xx_final_received_twice() {
    let mut bench = Bench::new();
    let (_, branch, invite) = bench.send(Method::Invite, udp(), 1);
    bench.receive(&response(&invite, 180), udp());
    bench.receive(&response(&invite, 486), udp());
    let ack = bench.last().to_owned();
    bench.run_until(31_000);
    bench.receive(&response(&invite, 486), udp());
    assert_eq!(bench.last(), ack);
    bench.receive(&response(&invite, 200), udp());
    let expected = ["0 send INVITE", "0 Response 180 to 1", "0 send ACK", "0 Response 486 to 1", "31000 send ACK"];
    assert_eq!(bench.log(), expected);
    bench.run_until(32_000);
    bench.receive(&response(&invite, 486), udp());
    assert_eq!(bench.log(), [""; 0], "timer D has ended it");

    let ack = parse(&ack);
    assert_eq!(ack.top_via().branch(), Some(branch.to_string().as_bytes()));
    assert_eq!((ack.request_uri(), ack.cseq()), (&b"sip:911@psap.example"[..], 7));
    assert_eq!((ack.from_tag(), ack.to_tag()), (Some(&b"from1"[..]), Some(&b"to1"[..])));
    assert_eq!((ack.call_id(), ack.max_forwards()), (&b"call-1"[..], Some(70)));
    let route: Vec<&[u8]> = ack.values(crate::sip::Name::Route).collect();
    assert_eq!(route, [b"<sip:a.example;lr>", b"<sip:b.example;lr>", b"<sip:c.example;lr>"]);
    bench.finish();
}

#[test]
fn tx_5_every_2xx_goes_up_and_none_is_acknowledged_here() {
    let mut bench = Bench::new();
    let (_, _, invite) = bench.send(Method::Invite, udp(), 1);
    bench.receive(&response(&invite, 200), udp());
    bench.run_until(31_900);
    bench.receive(&response(&invite, 200), udp());
    bench.receive(&response(&invite, 180), udp());
    bench.receive(&response(&invite, 486), udp());
    bench.run_until(32_000);
    bench.receive(&response(&invite, 200), udp());
    assert_eq!(bench.log(), ["0 send INVITE", "0 Response 200 to 1", "31900 Response 200 to 1"]);
    bench.finish();
}

#[test]
fn tx_14_several_2xx_from_a_forking_trunk() {
    let mut bench = Bench::new();
    let (_, _, invite) = bench.send(Method::Invite, tcp(), 1);
    bench.receive(&response(&invite, 200), tcp());
    bench.receive(&response(&invite, 200).replace("tag=to1", "tag=to2"), tcp());
    assert_eq!(bench.log(), ["0 send INVITE", "0 Response 200 to 1", "0 Response 200 to 1"]);
    bench.finish();
}

#[test]
fn tx_8_non_invite_with_no_answer() {
    let mut bench = Bench::new();
    bench.send(Method::Options, udp(), 2);
    bench.run_until(60_000);
    let log = bench.log();
    let sent: Vec<&str> = log.iter().filter_map(|line| line.strip_suffix(" send OPTIONS")).collect();
    let expected = ["0", "500", "1500", "3500", "7500", "11500", "15500", "19500", "23500", "27500", "31500"];
    assert_eq!(sent, expected, "doubling to T2");
    assert_eq!(log.last().unwrap(), "32000 Timeout of 2");
    bench.finish();
}

#[test]
fn tx_8_non_invite_proceeding_repeats_at_t2_until_timer_f() {
    let mut bench = Bench::new();
    let (_, _, bye) = bench.send(Method::Bye, udp(), 2);
    bench.receive(&response(&bye, 100), udp());
    bench.run_until(9_000);
    assert_eq!(bench.log(), ["0 send BYE", "0 Response 100 to 2", "500 send BYE", "4500 send BYE", "8500 send BYE"]);
    bench.run_until(32_000);
    assert_eq!(bench.log().last().unwrap(), "32000 Timeout of 2");
    bench.finish();
}

#[test]
fn tx_8_non_invite_final_is_heard_once() {
    let mut bench = Bench::new();
    let (_, _, bye) = bench.send(Method::Bye, udp(), 2);
    bench.run_until(100);
    bench.receive(&response(&bye, 200), udp());
    bench.receive(&response(&bye, 200), udp());
    bench.receive(&response(&bye, 100), udp());
    assert_eq!(bench.log(), ["0 send BYE", "100 Response 200 to 2"]);
    bench.run_until(5_000);
    assert_eq!(bench.table.len(), 1, "timer K");
    bench.run_until(5_250);
    assert!(bench.table.is_empty());
    bench.finish();
}

#[test]
fn tx_11_response_with_no_transaction() {
    let mut bench = Bench::new();
    let (_, branch, _) = bench.send(Method::Invite, udp(), 1);
    let other = Branch { random: branch.random ^ 1, ..branch };
    bench.log();
    bench.receive(&response(&request("INVITE", "z9hG4bKother", ""), 200), udp());
    bench.receive(&response(&request("INVITE", &other.to_string(), ""), 200), udp());
    bench.receive(&response(&request("BYE", &branch.to_string(), ""), 200), udp());
    bench.receive(&response(&request("CANCEL", &branch.to_string(), ""), 200), udp());
    assert_eq!(bench.log(), [""; 0]);
    bench.finish();
}

#[test]
fn tx_13_reliable_transport_sends_once_and_ends_at_once() {
    let mut bench = Bench::new();
    let (_, _, invite) = bench.send(Method::Invite, tcp(), 1);
    let (_, _, bye) = bench.send(Method::Bye, tcp(), 2);
    bench.run_until(30_000);
    bench.receive(&response(&invite, 503), tcp());
    bench.receive(&response(&bye, 481), tcp());
    let expected =
        ["0 send INVITE", "0 send BYE", "30000 send ACK", "30000 Response 503 to 1", "30000 Response 481 to 2"];
    assert_eq!(bench.log(), expected);
    assert!(bench.table.is_empty(), "timers D and K are zero");
    bench.send(Method::Invite, tcp(), 3);
    bench.send(Method::Info, tcp(), 4);
    bench.run_until(62_000);
    assert_eq!(bench.log()[2..], ["62000 Timeout of 3", "62000 Timeout of 4"]);
    bench.finish();
}

#[test]
fn a_request_is_sent_once_only() {
    let mut bench = Bench::new();
    let (id, _, text) = bench.send(Method::Invite, udp(), 1);
    let mut out = Outbox::new();
    bench.table.send(bench.now, id, Method::Bye, udp(), Bytes::from(text.into_bytes()), &mut out);
    assert!(out.is_empty());
    bench.finish();
}

#[test]
fn a_branch_of_ours_is_known_while_its_request_lives() {
    let mut bench = Bench::new();
    let (_, branch, _) = bench.send(Method::Invite, udp(), 1);
    assert!(bench.table.is_own_branch(branch.to_string().as_bytes()));
    assert!(!bench.table.is_own_branch(b"z9hG4bKother"));
    assert!(!bench.table.is_own_branch(Branch { random: branch.random ^ 1, ..branch }.to_string().as_bytes()));
    bench.run_until(32_000);
    assert!(!bench.table.is_own_branch(branch.to_string().as_bytes()));
    bench.finish();
}
