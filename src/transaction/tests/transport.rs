//! Transport errors, and where responses go.

use super::*;

#[test]
fn icmp_ends_requests_that_nobody_answered() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, udp(), 1);
    let (_, _, ringing) = bench.send(Method::Invite, udp(), 2);
    bench.send(Method::Options, udp(), 3);
    bench.send(Method::Options, tcp(), 4);
    let elsewhere = Flow { remote: "192.0.2.10:5070".parse().unwrap(), ..udp() };
    bench.send(Method::Options, elsewhere, 5);
    bench.receive(&response(&ringing, 180), udp());
    bench.log();
    bench.unreachable();
    assert_eq!(bench.log(), ["0 Unreachable of 1", "0 Unreachable of 3"]);
    bench.unreachable();
    assert_eq!(bench.log(), [""; 0]);
    bench.receive(&response(&ringing, 486), udp());
    bench.finish();
}

#[test]
fn a_closed_connection_is_told_to_requests_without_a_final_response() {
    let mut bench = Bench::new();
    bench.send(Method::Invite, tcp(), 1);
    let (_, _, ringing) = bench.send(Method::Invite, tcp(), 2);
    let (_, _, answered) = bench.send(Method::Invite, tcp(), 3);
    bench.send(Method::Bye, tcp(), 4);
    bench.send(Method::Bye, Flow { connection: Some(ConnId(10)), ..tcp() }, 5);
    bench.receive(&response(&ringing, 180), tcp());
    bench.receive(&response(&answered, 200), tcp());
    bench.log();
    bench.closed();
    assert_eq!(bench.log(), ["0 Unreachable of 1", "0 Unreachable of 2", "0 Unreachable of 4"]);
    bench.receive(&response(&answered, 200), tcp());
    assert_eq!(bench.log(), ["0 Response 200 to 3"]);
    // An INVITE may have been heard: its answer is still one.
    bench.receive(&response(&ringing, 200), tcp());
    assert_eq!(bench.log(), ["0 Response 200 to 2"]);
    bench.run_until(40_000);
    assert_eq!(bench.log(), ["32000 Timeout of 1", "32000 Timeout of 5"]);
    bench.finish();
}

#[test]
fn what_has_no_answer_goes_once_over_another_connection() {
    let mut bench = Bench::new();
    bench.reopened = Some(Flow { connection: Some(ConnId(10)), ..tcp() });
    let (_, _, invite) = bench.send(Method::Invite, tcp(), 1);
    let (_, _, ringing) = bench.send(Method::Invite, tcp(), 2);
    let (held, _, _) = bench.send(Method::Invite, tcp(), 3);
    let (_, _, bye) = bench.send(Method::Bye, tcp(), 4);
    bench.receive(&response(&ringing, 180), tcp());
    bench.cancel(held, None);
    bench.wire.clear();
    bench.closed();
    let again: Vec<_> = bench.wire.iter().map(|(flow, text)| (flow.connection, text.as_str())).collect();
    assert_eq!(again, [(Some(ConnId(10)), invite.as_str()), (Some(ConnId(10)), bye.as_str())]);
    bench.receive(&response(&bye, 200), tcp());
    bench.log();
    bench.reopened = Some(tcp());
    let mut out = crate::transport::Outbox::new();
    let events =
        bench.table.closed(bench.now, ConnId(10), |_| bench.reopened.map_or(Reopened::Gone, Reopened::Over), &mut out);
    assert!(out.is_empty() && events.len() == 1, "{out:?} {events:?}");
    bench.finish();
}

#[test]
fn a_cancel_is_sent_and_its_invite_waits_for_the_answer() {
    let mut bench = Bench::new();
    let (id, _, invite) = bench.send(Method::Invite, tcp(), 1);
    bench.receive(&response(&invite, 180), tcp());
    bench.cancel(id, None);
    bench.log();
    bench.closed();
    assert_eq!(bench.log(), ["0 Unreachable of 1"]);
    bench.receive(&response(&invite, 200), tcp());
    assert_eq!(bench.log(), ["0 Response 200 to 1"]);
    bench.finish();
}

#[test]
fn na_1_responses_go_back_to_where_the_request_came_from() {
    let mut bench = Bench::new();
    let source = Flow { remote: "198.51.100.7:31000".parse().unwrap(), ..udp() };
    let invite = request("INVITE", "z9hG4bKa;rport", "");
    bench.receive(&invite, source);
    assert_eq!(bench.wire[0].0, source);
    let via = parse(&bench.wire[0].1);
    assert_eq!(via.top_via().rport(), Some(Some(31000)));
    assert_eq!(via.top_via().received(), "198.51.100.7".parse().ok());
    let moved = Flow { remote: "198.51.100.7:32000".parse().unwrap(), ..source };
    bench.receive(&request("CANCEL", "z9hG4bKa;rport", ""), moved);
    assert_eq!(bench.wire[1].0, moved, "by its own Via and source");
    bench.respond(0, &invite, 200);
    bench.receive(&request("CANCEL", "z9hG4bKb", ""), source);
    assert_eq!(bench.wire[2].0, source);
    assert_eq!(bench.wire[3].0.remote, "198.51.100.7:5070".parse().unwrap(), "the port of sent-by");
    bench.finish();
}
