//! CONFORMANCE CA rows.

use super::*;

#[test]
fn ca_1_cancel_to_the_trunk_follows_its_invite() {
    let mut bench = Bench::new();
    let (id, branch, invite) = bench.send(Method::Invite, udp(), 1);
    bench.receive(&response(&invite, 180), udp());
    bench.cancel(id, Some("Q.850;cause=16"));
    let cancel = parse(bench.last());
    assert_eq!(cancel.top_via().branch(), Some(branch.to_string().as_bytes()));
    assert_eq!((cancel.request_uri(), cancel.cseq()), (&b"sip:911@psap.example"[..], 7));
    assert_eq!((cancel.from_tag(), cancel.to_tag(), cancel.call_id()), (Some(&b"from1"[..]), None, &b"call-1"[..]));
    assert_eq!((cancel.max_forwards(), cancel.header_named("Reason")), (Some(70), Some(&b"Q.850;cause=16"[..])));
    assert_eq!(cancel.values(crate::sip::Name::Route).count(), 3);
    assert_eq!(cancel.values(crate::sip::Name::Via).count(), 1);
    let cancel = bench.last().to_owned();
    bench.cancel(id, None);
    bench.run_until(500);
    bench.receive(&response(&cancel, 200), udp());
    bench.receive(&response(&invite, 487), udp());
    bench.run_until(40_000);
    let expected = [
        "0 send INVITE",
        "0 Response 180 to 1",
        "0 send CANCEL",
        "500 send CANCEL",
        "500 send ACK",
        "500 Response 487 to 1",
    ];
    assert_eq!(bench.log(), expected, "the answer to the CANCEL is nobody's business");
    bench.finish();
}

#[test]
fn ca_1_caller_cancels() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "z9hG4bKa", "");
    bench.receive(&invite, udp());
    bench.table.set_owner(bench.opened[0], 3);
    bench.respond(0, &invite, 180);
    bench.receive(&request("CANCEL", "z9hG4bKa", ""), udp());
    assert_eq!(parse(bench.last()).to_tag(), Some(&b"to1"[..]), "RFC 3261 §9.2: the tag of the INVITE's responses");
    bench.respond(0, &invite, 487);
    bench.receive(&request("CANCEL", "z9hG4bKa", ""), udp());
    bench.receive(&request("ACK", "z9hG4bKa", ""), udp());
    let expected = [
        "0 Request INVITE",
        "0 send 100",
        "0 send 180",
        "0 send 200",
        "0 Cancel of Some(3)",
        "0 send 487",
        "0 send 200",
    ];
    assert_eq!(bench.log(), expected, "a repeated CANCEL is answered again and heard once");
    bench.finish();
}

#[test]
fn ca_2_cancelled_before_any_provisional() {
    let mut bench = Bench::new();
    let (id, _, invite) = bench.send(Method::Invite, udp(), 1);
    bench.cancel(id, Some("SIP;cause=487"));
    bench.cancel(id, None);
    bench.run_until(600);
    assert_eq!(bench.log(), ["0 send INVITE"], "the CANCEL waits, and the INVITE is not repeated");
    bench.receive(&response(&invite, 100), udp());
    assert_eq!(parse(bench.last()).header_named("Reason"), Some(&b"SIP;cause=487"[..]));
    bench.receive(&response(&invite, 180), udp());
    assert_eq!(bench.log(), ["600 send CANCEL", "600 Response 100 to 1", "600 Response 180 to 1"]);
    bench.run_until(40_000);
    assert_eq!(bench.log().last().unwrap(), "32600 Timeout of 1", "64*T1 after the CANCEL (RFC 3261 §9.1)");
    assert!(bench.table.is_empty());
    bench.finish();
}

#[test]
fn ca_2_final_response_comes_first() {
    let mut bench = Bench::new();
    let (id, _, invite) = bench.send(Method::Invite, udp(), 1);
    bench.cancel(id, None);
    bench.receive(&response(&invite, 603), udp());
    bench.cancel(id, None);
    bench.run_until(40_000);
    assert_eq!(bench.log(), ["0 send INVITE", "0 send ACK", "0 Response 603 to 1"], "nothing left to cancel");
    bench.finish();
}

#[test]
fn ca_2_silence_ends_it_by_timer_b() {
    let mut bench = Bench::new();
    let (id, _, _) = bench.send(Method::Invite, tcp(), 1);
    bench.cancel(id, None);
    bench.run_until(40_000);
    assert_eq!(bench.log(), ["0 send INVITE", "32000 Timeout of 1"]);
    bench.finish();
}

#[test]
fn ca_3_200_crosses_our_cancel() {
    for flow in [udp(), tcp()] {
        let mut bench = Bench::new();
        let (id, _, invite) = bench.send(Method::Invite, flow, 1);
        bench.receive(&response(&invite, 180), flow);
        bench.cancel(id, None);
        let cancel = bench.last().to_owned();
        bench.receive(&response(&invite, 200), flow);
        bench.receive(&response(&cancel, 481), flow);
        let expected = ["0 send INVITE", "0 Response 180 to 1", "0 send CANCEL", "0 Response 200 to 1"];
        assert_eq!(bench.log(), expected, "ua makes ACK and BYE of it");
        bench.finish();
    }
}

#[test]
fn ca_4_cancel_after_our_final_response() {
    for code in [200, 486] {
        let mut bench = Bench::new();
        let invite = request("INVITE", "z9hG4bKa", "");
        bench.receive(&invite, tcp());
        bench.respond(0, &invite, code);
        bench.receive(&request("CANCEL", "z9hG4bKa", ""), tcp());
        assert_eq!(bench.log(), ["0 Request INVITE", "0 send 100", &format!("0 send {code}"), "0 send 200"]);
        assert!(parse(bench.last()).to_tag().is_some());
        bench.finish();
    }
}

#[test]
fn ca_5_cancel_matching_nothing() {
    let mut bench = Bench::new();
    bench.receive(&request("REGISTER", "z9hG4bKa", ""), udp());
    bench.receive(&request("CANCEL", "z9hG4bKa", ""), udp());
    bench.receive(&request("CANCEL", "z9hG4bKb", ""), udp());
    assert_eq!(bench.log(), ["0 Request REGISTER", "0 send 481", "0 send 481"]);
    let refusal = parse(bench.last());
    assert_eq!((refusal.method(), refusal.to_tag().is_some()), (Method::Cancel, true));
    bench.finish();
}
