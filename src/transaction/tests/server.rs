//! CONFORMANCE TX rows of server transactions.

use super::*;

#[test]
fn tx_1_invite_retransmitted_before_an_answer() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.run_until(500);
    bench.receive(&invite, udp());
    bench.respond(0, &invite, 180);
    bench.run_until(1500);
    bench.receive(&invite, udp());
    let expected = ["0 Request INVITE", "0 send 100", "500 send 100", "500 send 180", "1500 send 180"];
    assert_eq!(bench.log(), expected);
    assert_eq!(bench.table.request_of(bench.opened[0]).map(|kept| kept.method()), Some(Method::Invite));
    bench.respond(0, &invite, 486);
    assert!(bench.table.request_of(bench.opened[0]).is_none());
    bench.finish();
}

#[test]
fn tx_6_our_2xx_is_repeated_from_above_and_its_ack_goes_up() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.respond(0, &invite, 200);
    bench.receive(&invite, udp());
    bench.run_until(500);
    bench.respond(0, &invite, 200);
    bench.respond(0, &invite, 180);
    bench.respond(0, &invite, 500);
    bench.receive(&request("ACK", "z9hG4bKb", ""), udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    let expected = ["0 Request INVITE", "0 send 100", "0 send 200", "500 send 200", "500 Ack", "500 Ack"];
    assert_eq!(bench.log(), expected, "also the ACK of a peer that reuses the branch");
    bench.run_until(31_900);
    bench.receive(&invite, udp());
    assert_eq!(bench.log(), [""; 0], "absorbed until timer L");
    bench.run_until(32_000);
    assert!(bench.table.is_empty());
    bench.finish();
}

#[test]
fn tx_7_slow_decision() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "z9hG4bKa", "Timestamp: 54\r\n"), udp());
    assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100"], "at once");
    let trying = parse(bench.last());
    assert_eq!((trying.to_tag(), trying.header_named("Timestamp")), (None, Some(&b"54"[..])));
    bench.run_until(100_000);
    assert_eq!(bench.table.len(), 1, "an INVITE may wait for its answer as long as the caller does");
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.respond(0, &invite, 480);
    bench.finish();
}

#[test]
fn a_non_2xx_final_is_repeated_until_its_ack() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.respond(0, &invite, 404);
    bench.run_until(8_000);
    let expected = [
        "0 Request INVITE",
        "0 send 100",
        "0 send 404",
        "500 send 404",
        "1500 send 404",
        "3500 send 404",
        "7500 send 404",
    ];
    assert_eq!(bench.log(), expected);
    bench.run_until(8_100);
    bench.receive(&invite, udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    bench.receive(&invite, udp());
    bench.run_until(13_000);
    assert_eq!(bench.log(), ["8100 send 404"], "the ACK ends here, and so do repetitions for T4");
    bench.run_until(13_250);
    assert!(bench.table.is_empty());
    bench.finish();
}

/// Who may not be where it says gets no more than it asked for, unless a 100 has made it wait.
#[test]
fn a_refusal_to_who_is_not_trusted_is_not_repeated_unasked() {
    let invite = request("INVITE", "z9hG4bKa", "");
    let mut bench = Bench::new();
    bench.receive(&invite, udp());
    bench.table.distrust(bench.opened[0]);
    bench.respond(0, &invite, 404);
    bench.run_until(1_000);
    assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100", "0 send 404", "500 send 404"]);

    let (mut bench, mut out) = (Bench::new(), Outbox::new());
    let Some(Event::Request { transaction, .. }) = bench.table.receive(bench.now, parse(&invite), udp(), &mut out)
    else {
        panic!("an INVITE is a request");
    };
    bench.opened.push(transaction);
    bench.table.distrust(transaction);
    bench.respond(0, &invite, 404);
    bench.run_until(1_000);
    bench.receive(&invite, udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    bench.receive(&invite, udp());
    bench.run_until(1_000 + 5_000);
    assert_eq!(bench.log(), ["0 send 404", "1000 send 404"]);
    assert!(bench.table.is_empty());
}

#[test]
fn a_non_2xx_final_never_acknowledged() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.table.set_owner(bench.opened[0], 4);
    bench.respond(0, &invite, 404);
    bench.run_until(40_000);
    let log = bench.log();
    assert_eq!(log[log.len() - 2..], ["31500 send 404", "32000 AckMissing of Some(4)"]);
    bench.finish();
}

#[test]
fn tx_8_408_is_never_sent_to_a_non_invite() {
    let mut bench = Bench::new();
    let info = request("INFO", "z9hG4bKa", "");
    bench.receive(&info, udp());
    bench.respond(0, &info, 180);
    bench.respond(0, &info, 408);
    bench.respond(0, &info, 200);
    bench.receive(&info, udp());
    assert_eq!(bench.log(), ["0 Request INFO"], "nor any provisional but 100 (RFC 4320 §4.1)");
    bench.finish();
}

#[test]
fn a_non_invite_is_answered_once_and_the_answer_repeated() {
    let mut bench = Bench::new();
    let bye = request("BYE", "z9hG4bKa", "");
    bench.receive(&bye, udp());
    bench.receive(&bye, udp());
    bench.respond(0, &bye, 100);
    bench.receive(&bye, udp());
    bench.respond(0, &bye, 200);
    bench.respond(0, &bye, 500);
    bench.run_until(31_000);
    bench.receive(&bye, udp());
    let expected = ["0 Request BYE", "0 send 100", "0 send 100", "0 send 200", "31000 send 200"];
    assert_eq!(bench.log(), expected);
    bench.run_until(32_000);
    assert!(bench.table.is_empty(), "timer J");
    bench.finish();
}

#[test]
fn a_non_invite_that_we_never_answer_is_forgotten() {
    let mut bench = Bench::new();
    let info = request("INFO", "z9hG4bKa", "");
    bench.receive(&info, tcp());
    bench.run_until(32_000);
    assert!(bench.table.is_empty());
    bench.respond(0, &info, 200);
    assert_eq!(bench.log(), ["0 Request INFO"]);
    bench.finish();
}

#[test]
fn tx_9_merged_request() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.receive(&request("INVITE", "z9hG4bKb", ""), udp());
    bench.receive(&request("ACK", "z9hG4bKb", ""), udp());
    assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100", "0 send 482", "0 Ack"]);
    let refusal = parse(&bench.wire[1].1);
    assert_eq!(refusal.top_via().branch(), Some(&b"z9hG4bKb"[..]));
    assert!(refusal.to_tag().is_some());
    bench.receive(&request("INVITE", "z9hG4bKc", "").replace("CSeq: 7", "CSeq: 8"), udp());
    bench.receive(&request("INVITE", "z9hG4bKd", "").replace("tag=from1", "tag=from2"), udp());
    bench.receive(&request("OPTIONS", "z9hG4bKe", ""), udp());
    let in_dialog = request("INVITE", "z9hG4bKf", "").replace("psap.example>\r\nCall", "psap.example>;tag=x\r\nCall");
    bench.receive(&in_dialog, udp());
    assert_eq!(bench.opened.len(), 5, "another CSeq, From tag or method, or within a dialog, is another request");
    for index in [0, 1, 2, 4] {
        bench.respond(index, &invite, 480);
    }
    bench.finish();
}

#[test]
fn tx_9_forgotten_with_its_transaction() {
    let mut bench = Bench::new();
    let register = request("REGISTER", "z9hG4bKa", "");
    bench.receive(&register, tcp());
    bench.respond(0, &register, 401);
    bench.receive(&request("REGISTER", "z9hG4bKb", ""), tcp());
    assert_eq!(bench.log(), ["0 Request REGISTER", "0 send 401", "0 Request REGISTER"]);
    bench.finish();
}

/// The request of a peer that knows no magic cookie.
fn old(method: &str, to_tag: &str) -> String {
    request(method, "1", "").replace("psap.example>\r\nCall", &format!("psap.example>{to_tag}\r\nCall"))
}

#[test]
fn tx_10_branch_without_magic_cookie() {
    for branch in ["branch=1", "branch=z9hG4bK", "x=1"] {
        let text = |method, tag| old(method, tag).replace("branch=1", branch);
        let mut bench = Bench::new();
        bench.receive(&text("INVITE", ""), udp());
        bench.receive(&text("INVITE", ""), udp());
        bench.receive(&text("CANCEL", ""), udp());
        assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100", "0 send 100", "0 send 200", "0 Cancel of None"]);
        bench.respond(0, &text("INVITE", ""), 487);
        bench.receive(&text("ACK", ";tag=other"), udp());
        bench.run_until(500);
        bench.receive(&text("ACK", ";tag=to1"), udp());
        bench.run_until(4_000);
        assert_eq!(
            bench.log(),
            ["0 send 487", "0 Ack", "500 send 487"],
            "{branch}: the ACK has the tag of the response"
        );
        bench.finish();
    }
}

#[test]
fn tx_10_what_tells_old_transactions_apart() {
    let mut bench = Bench::new();
    let invite = old("INVITE", "");
    bench.receive(&invite, udp());
    bench.receive(&invite.replace("call-1", "call-2"), udp());
    bench.receive(&invite.replace("tag=from1", "tag=from2"), udp());
    bench.receive(&invite.replace("CSeq: 7", "CSeq: 8"), udp());
    bench.receive(&old("OPTIONS", ""), udp());
    bench.receive(&old("INVITE", ";tag=x"), udp());
    bench.receive(&invite.replace("INVITE sip:911", "INVITE sip:112"), udp());
    assert_eq!(bench.opened.len(), 6);
    assert_eq!(bench.log().last().unwrap(), "0 send 482", "same call, other Request-URI: merged");
    for index in [0, 1, 2, 3, 5] {
        bench.respond(index, &invite, 200);
    }
    bench.receive(&old("ACK", ";tag=to1"), udp());
    assert_eq!(bench.log().last().unwrap(), "0 Ack", "of a 2xx");
    bench.finish();
}

#[test]
fn rfc_3261_17_2_3_branch_sent_by_and_method() {
    let mut bench = Bench::new();
    let bye = request("BYE", "z9hG4bKa", "").replace("psap.example>\r\nCall", "psap.example>;tag=x\r\nCall");
    bench.receive(&bye, udp());
    bench.receive(&bye.replace("UDP 192.0.2.9:5070", "UDP 192.0.2.9:5071"), udp());
    bench.receive(&bye.replace("UDP 192.0.2.9:5070", "UDP Phone.example"), udp());
    bench.receive(&bye.replace("UDP 192.0.2.9:5070", "UDP phone.EXAMPLE"), udp());
    bench.receive(&bye.replace("BYE", "INFO"), udp());
    bench.receive(&bye.replace("BYE", "FOO"), udp());
    bench.receive(&bye.replace("BYE", "FOO"), udp());
    bench.receive(&bye.replace("BYE", "BAR"), udp());
    assert_eq!(bench.opened.len(), 6, "{:?}", bench.log());
    bench.finish();
}

#[test]
fn tx_12_ack_that_matches_nothing() {
    let mut bench = Bench::new();
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    assert_eq!(bench.log(), ["0 Ack"], "for the dialogs, which drop it");
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100"], "an ACK before any final response is none");
    assert!(bench.wire.iter().all(|(_, text)| text.starts_with("SIP/2.0 100")));
    bench.respond(0, &invite, 200);
    bench.finish();
}

#[test]
fn tx_13_reliable_transport_keeps_nothing_of_a_non_invite() {
    let mut bench = Bench::new();
    let bye = request("BYE", "z9hG4bKa", "");
    bench.receive(&bye, tcp());
    bench.respond(0, &bye, 200);
    assert!(bench.table.is_empty(), "timer J is zero");
    let invite = request("INVITE", "z9hG4bKb", "");
    bench.receive(&invite, tcp());
    bench.respond(1, &invite, 486);
    bench.run_until(10_000);
    bench.receive(&request("ACK", "z9hG4bKb", ""), tcp());
    assert!(bench.table.is_empty(), "timer I is zero");
    let expected = ["0 Request BYE", "0 send 200", "0 Request INVITE", "0 send 100", "0 send 486"];
    assert_eq!(bench.log(), expected, "timer G does not run");
    bench.finish();
}

#[test]
fn at_the_bound_requests_are_refused_and_invites_later_than_others() {
    let mut bench = Bench::new();
    bench.table.set_bound(2);
    let nth = |method: &str, index: u32| {
        request(method, &format!("z9hG4bK{index}"), "").replace("call-1", &format!("call-{index}"))
    };
    bench.receive(&nth("OPTIONS", 1), udp());
    bench.receive(&nth("OPTIONS", 2), udp());
    bench.receive(&nth("OPTIONS", 3), udp());
    bench.receive(&nth("OPTIONS", 2), udp());
    assert_eq!(bench.log(), ["0 Request OPTIONS", "0 Request OPTIONS", "0 send 503"]);
    assert_eq!(parse(bench.last()).header_named("Retry-After"), Some(&b"32"[..]));
    bench.receive(&nth("INVITE", 4), udp());
    bench.receive(&nth("CANCEL", 4), udp());
    bench.receive(&nth("INVITE", 5), udp());
    bench.receive(&nth("INVITE", 6), udp());
    bench.receive(&nth("INVITE", 6), udp());
    let expected = [
        "0 Request INVITE",
        "0 send 100",
        "0 send 200",
        "0 Cancel of None",
        "0 Request INVITE",
        "0 send 100",
        "0 send 503",
        "0 send 503",
    ];
    assert_eq!(bench.log(), expected);
    let (first, again) = (&bench.wire[bench.wire.len() - 2], &bench.wire[bench.wire.len() - 1]);
    assert_eq!(first, again, "RFC 3261 §8.2.7: a stateless answer is the same each time");
    bench.respond(2, &nth("INVITE", 4), 487);
    bench.respond(3, &nth("INVITE", 5), 480);
    bench.finish();
}
