//! Trunks as an operator would see them fail and come back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::base::limits;

const START: Instant = Instant::from_millis(1_700_000_000_000);

fn after(seconds: u64) -> Instant {
    START + Duration::from_secs(seconds)
}

/// `(name, keys, [(uri, priority, weight)])`
type Line<'a> = (&'a str, &'a str, &'a [(&'a str, u16, u16)]);

fn config(trunks: &[Line<'_>]) -> Arc<Config> {
    let mut text = String::from("[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n");
    for (name, keys, targets) in trunks {
        let target = |(uri, priority, weight): &(&str, u16, u16)| {
            format!("{{ uri = \"{uri}\", priority = {priority}, weight = {weight} }}")
        };
        let targets: Vec<String> = targets.iter().map(target).collect();
        text += &format!("[[trunks]]\nname = \"{name}\"\n{keys}\ntargets = [{}]\n", targets.join(", "));
    }
    Arc::new(crate::config::load(&text, Path::new("/")).unwrap().config)
}

const A: &str = "sip:10.0.0.1:5080";
const B: &str = "sip:10.0.0.2:5080";
const C: &str = "sip:10.0.0.3:5080";

fn address(uri: &str) -> SocketAddr {
    uri.strip_prefix("sip:").unwrap().parse().unwrap()
}

fn place(uri: &str) -> Place {
    Place { protocol: crate::base::Protocol::Udp, remote: address(uri) }
}

fn uris(trunks: &Trunks, order: &[TargetId]) -> Vec<String> {
    order.iter().map(|id| trunks.target(*id).unwrap().config.uri.to_string()).collect()
}

fn candidates(trunks: &Trunks, which: &[u32]) -> Vec<String> {
    let which: Vec<TrunkIdx> = which.iter().copied().map(TrunkIdx).collect();
    uris(trunks, &trunks.candidates(&mut Rng::from_u64(1), &which))
}

/// Tells the same of every target with this URI.
fn report(trunks: &mut Trunks, now: Instant, uri: &str, sign: Sign) {
    let all: Vec<TargetId> = trunks.ids.concat();
    for id in all {
        if trunks.target(id).unwrap().config.uri == uri {
            trunks.report(now, id, place(uri), sign);
        }
    }
}

fn states(trunks: &Trunks) -> Vec<State> {
    trunks.views().flat_map(|view| view.targets).map(|target| target.state).collect()
}

fn probed(trunks: &mut Trunks, now: Instant) -> Vec<SocketAddr> {
    trunks.handle_timeout(now, &mut Rng::from_u64(1)).into_iter().map(|probe| probe.place.remote).collect()
}

#[test]
fn trunk_by_trunk_and_those_that_are_down_last() {
    let mut trunks =
        Trunks::new(config(&[("first", "", &[(B, 2, 1), (A, 1, 1)]), ("second", "", &[(C, 1, 1)])]), START);
    assert_eq!(candidates(&trunks, &[0, 1]), [A, B, C]);
    assert_eq!(candidates(&trunks, &[1, 0, 1, 7]), [C, A, B]);
    report(&mut trunks, START, A, Sign::Silent);
    assert_eq!(candidates(&trunks, &[0, 1]), [B, C, A]);
    report(&mut trunks, START, B, Sign::Unreachable);
    report(&mut trunks, START, C, Sign::Answered(503));
    assert_eq!(candidates(&trunks, &[0, 1]), [A, B, C], "all are down: all are tried");
    report(&mut trunks, START, B, Sign::Answered(404));
    assert_eq!(candidates(&trunks, &[0, 1]), [B, A, C]);
    assert_eq!(states(&trunks), [State::Up, State::Down, State::Down]);
}

#[test]
fn one_that_lets_calls_wait_comes_last_until_it_has_rested_and_longer_each_time() {
    let mut trunks = Trunks::new(config(&[("t", "", &[(A, 1, 1), (B, 2, 1), (C, 3, 1)])]), START);
    report(&mut trunks, START, C, Sign::Silent);
    let mut now = START;
    for minutes in [5, 10, 20, 40, 60, 60] {
        report(&mut trunks, now, A, Sign::Stalled);
        report(&mut trunks, now, A, Sign::Alive(200));
        report(&mut trunks, now, A, Sign::Answered(100));
        let until = now + Duration::from_secs(minutes * 60);
        assert!(trunks.next_deadline().unwrap() <= until);
        for at in [now, until - Duration::from_millis(1)] {
            probed(&mut trunks, at);
            assert_eq!(candidates(&trunks, &[0]), [B, C, A], "{minutes}");
        }
        probed(&mut trunks, until);
        assert_eq!(candidates(&trunks, &[0]), [A, B, C], "{minutes}");
        now = until;
    }
    // A call that gets on ends it at once.
    report(&mut trunks, now, A, Sign::Stalled);
    report(&mut trunks, now, A, Sign::Answered(180));
    assert_eq!(candidates(&trunks, &[0]), [A, B, C]);
    report(&mut trunks, now, A, Sign::Stalled);
    report(&mut trunks, now, A, Sign::Alive(200));
    probed(&mut trunks, now + Duration::from_secs(300));
    assert_eq!(candidates(&trunks, &[0]), [A, B, C], "and the next rest is a short one again");
}

#[test]
fn what_a_sign_means() {
    let cases = [
        (Sign::Answered(100), State::Up),
        (Sign::Answered(200), State::Up),
        (Sign::Answered(401), State::Up),
        (Sign::Answered(405), State::Up),
        (Sign::Answered(486), State::Up),
        (Sign::Answered(500), State::Up),
        (Sign::Answered(603), State::Up),
        (Sign::Answered(408), State::Down),
        (Sign::Answered(430), State::Down),
        (Sign::Answered(503), State::Down),
        (Sign::Alive(200), State::Up),
        (Sign::Alive(503), State::Down),
        (Sign::Stalled, State::Down),
        (Sign::Silent, State::Down),
        (Sign::Unreachable, State::Down),
    ];
    for (sign, state) in cases {
        let mut trunks = Trunks::new(config(&[("t", "", &[(A, 1, 1)])]), START);
        assert_eq!(states(&trunks), [State::Unknown]);
        let id = trunks.targets_of(TrunkIdx(0))[0];
        trunks.report(after(1), id, place(A), sign);
        assert_eq!(trunks.take_changes(), [Change { target: id, from: State::Unknown, to: state }], "{sign:?}");
        trunks.report(after(2), id, place(A), sign);
        assert_eq!(trunks.take_changes(), [], "told once");
        let view = trunks.views().next().unwrap().targets.remove(0);
        assert_eq!(view.last_ok.is_some(), state == State::Up, "{sign:?}");
        assert_eq!(
            view.last_status,
            if let Sign::Answered(code) | Sign::Alive(code) = sign { Some(code) } else { None }
        );
    }
}

#[test]
fn probes_at_start_then_in_the_interval_and_faster_while_down() {
    let mut trunks = Trunks::new(config(&[("t", "options_interval = \"30s\"", &[(A, 1, 1)])]), START);
    assert_eq!(trunks.next_deadline(), Some(START));
    assert_eq!(probed(&mut trunks, START), [address(A)]);
    assert_eq!(probed(&mut trunks, START), []);
    report(&mut trunks, after(1), A, Sign::Answered(200));
    let next = trunks.next_deadline().unwrap();
    assert!((after(27)..=after(33)).contains(&next), "{next:?}");
    assert_eq!(probed(&mut trunks, next), [address(A)]);
    report(&mut trunks, next, A, Sign::Silent);
    let soon = trunks.next_deadline().unwrap();
    assert!(soon <= next + Duration::from_secs(5));
    assert_eq!(probed(&mut trunks, soon), [address(A)]);
    let again = trunks.next_deadline().unwrap();
    assert!(again <= soon + Duration::from_secs(6));
    assert_eq!(probed(&mut trunks, again), [], "one probe at a time");
    assert_eq!(
        probed(&mut trunks, again + Duration::from_secs(40)),
        [address(A)],
        "and no waiting for one that got lost"
    );
}

#[test]
fn without_probes_a_failure_is_forgiven() {
    let mut trunks = Trunks::new(config(&[("t", "options_interval = \"0s\"", &[(A, 1, 1)])]), START);
    assert_eq!((probed(&mut trunks, START), trunks.next_deadline()), (vec![], None));
    report(&mut trunks, START, A, Sign::Silent);
    assert_eq!(states(&trunks), [State::Down]);
    let forgiven = trunks.next_deadline().unwrap();
    assert_eq!(
        (probed(&mut trunks, forgiven), states(&trunks), trunks.next_deadline()),
        (vec![], vec![State::Unknown], None)
    );
}

fn tcp(address: &str) -> Place {
    Place { protocol: crate::base::Protocol::Tcp, remote: address.parse().unwrap() }
}

fn found(servers: &[(Place, u16, u32, u16)], ttl: u64) -> Found {
    let server = |&(place, record, priority, weight): &_| crate::transport::Server { place, record, priority, weight };
    Found { servers: servers.iter().map(server).collect(), ttl: Duration::from_secs(ttl), is_whole: true }
}

#[test]
fn na_7_old_answers_outlive_a_failing_dns() {
    let name = "sip:sbc.example.com;transport=tcp";
    let mut trunks = Trunks::new(config(&[("t", "", &[(name, 1, 1), (A, 2, 1)])]), START);
    assert_eq!(candidates(&trunks, &[0]), [A, name], "nowhere to send yet");
    let query = trunks.wants_resolve(START).unwrap();
    let protocol = Some(crate::base::Protocol::Tcp);
    let question = Question { host: "sbc.example.com".into(), port: None, protocol, is_sips: false };
    assert_eq!((query.question, trunks.wants_resolve(START)), (question, None));
    let places = [tcp("10.1.0.1:5060"), tcp("10.1.0.2:5060")];
    trunks.resolved(query.id, &found(&[(places[0], 0, 0, 0), (places[1], 1, 1, 0)], 60), after(1));
    assert_eq!(candidates(&trunks, &[0]), [name, A]);
    let id = trunks.targets_of(TrunkIdx(0))[0];
    let known = |trunks: &Trunks| trunks.target(id).unwrap().places(&mut Rng::from_u64(1)).to_vec();
    assert_eq!(known(&trunks), places);
    assert!(trunks.are_at(places[1].remote), "no phone is looked for there");

    trunks.report(after(2), id, places[0], Sign::Silent);
    assert_eq!(known(&trunks), [places[1], places[0]]);
    assert_eq!(trunks.target(id).unwrap().state(), State::Unknown, "the other address may live");
    trunks.report(after(2), id, places[1], Sign::Unreachable);
    assert_eq!((trunks.target(id).unwrap().state(), known(&trunks)), (State::Down, places.to_vec()));

    // The TTL is over: asked again, without an answer, and again soon.
    assert!(trunks.wants_resolve(after(60)).is_none());
    let again = trunks.wants_resolve(after(61)).unwrap();
    trunks.resolved(again.id, &Found::nothing(), after(62));
    assert_eq!(known(&trunks), places);
    assert!(trunks.wants_resolve(after(71)).is_none());
    let third = trunks.wants_resolve(after(72)).unwrap();
    trunks.resolved(query.id, &Found::nothing(), after(72)); // answered long ago
    // Half an answer is worse than a whole old one.
    let half = Found { is_whole: false, ..found(&[(places[1], 0, 0, 0)], 60) };
    trunks.resolved(third.id, &half, after(72));
    assert_eq!(known(&trunks), places);
    let fourth = trunks.wants_resolve(after(82)).unwrap();
    trunks.resolved(fourth.id, &found(&[(places[1], 0, 0, 0)], 0), after(82));
    assert_eq!(known(&trunks), places[1..]);
    assert_eq!(trunks.target(id).unwrap().state(), State::Down, "what is known of an address stays");
    assert!(trunks.wants_resolve(after(86)).is_none(), "not at once, whatever the TTL");
    assert!(trunks.wants_resolve(after(87)).is_some());
}

#[test]
fn na_7_half_an_answer_is_better_than_none() {
    let mut trunks = Trunks::new(config(&[("t", "", &[("sip:sbc.example.com", 1, 1)])]), START);
    let query = trunks.wants_resolve(START).unwrap();
    let half = Found { is_whole: false, ..found(&[(tcp("10.1.0.1:5060"), 0, 0, 0)], 600) };
    trunks.resolved(query.id, &half, START);
    let id = trunks.targets_of(TrunkIdx(0))[0];
    assert_eq!(trunks.target(id).unwrap().known().count(), 1);
    assert!(trunks.wants_resolve(after(10)).is_some(), "and asked again soon");
}

#[test]
fn na_7_what_half_an_answer_tells_comes_behind_what_a_whole_one_told() {
    let place = |last: u8| tcp(&format!("10.1.0.{last}:5060"));
    let mut trunks = Trunks::new(config(&[("t", "", &[("sip:sbc.example.com", 1, 1)])]), START);
    let id = trunks.targets_of(TrunkIdx(0))[0];
    let known = |trunks: &Trunks| trunks.target(id).unwrap().places(&mut Rng::from_u64(1)).to_vec();
    let seconds = std::cell::Cell::new(0);
    let answer = |trunks: &mut Trunks, places: &[u8], is_whole: bool| {
        seconds.set(seconds.get() + 5000);
        let now = after(seconds.get());
        let query = trunks.wants_resolve(now).unwrap();
        let servers: Vec<_> = places.iter().zip(0..).map(|(last, at)| (place(*last), at, u32::from(at), 0)).collect();
        trunks.resolved(query.id, &Found { is_whole, ..found(&servers, 60) }, now);
    };
    // Some of the questions have no answer, ever: the carrier can move all the same, and the last word counts first.
    answer(&mut trunks, &[1, 2], false);
    answer(&mut trunks, &[2, 3], false);
    assert_eq!(known(&trunks), [place(2), place(3), place(1)]);
    answer(&mut trunks, &[4, 5], true);
    assert_eq!(known(&trunks), [place(4), place(5)]);
    answer(&mut trunks, &[6, 5], false);
    assert_eq!(known(&trunks), [place(4), place(5), place(6)]);
    // What works is found, whatever its place in the order.
    trunks.report(after(seconds.get()), id, place(4), Sign::Silent);
    trunks.report(after(seconds.get()), id, place(5), Sign::Silent);
    assert_eq!(known(&trunks), [place(6), place(4), place(5)]);
    answer(&mut trunks, &[], false);
    assert_eq!(known(&trunks), [place(6), place(4), place(5)]);
    for many in 7..200 {
        answer(&mut trunks, &[many], false);
        assert!(known(&trunks).contains(&place(many)) && known(&trunks).len() <= limits::ADDRESSES_PER_TARGET);
    }
}

#[test]
fn na_7_records_by_priority_then_by_weight_and_each_with_all_its_addresses() {
    let mut trunks = Trunks::new(config(&[("t", "", &[("sip:sbc.example.com", 1, 1)])]), START);
    let query = trunks.wants_resolve(START).unwrap();
    let (a, a6) = (tcp("10.0.0.1:5060"), tcp("[2001:db8::1]:5060"));
    let (b, c) = (tcp("10.0.0.2:5060"), tcp("10.0.0.3:5060"));
    trunks.resolved(query.id, &found(&[(c, 9, 20, 0), (a, 0, 10, 75), (a6, 0, 10, 75), (b, 1, 10, 25)], 60), START);
    let id = trunks.targets_of(TrunkIdx(0))[0];
    let mut rng = Rng::from_u64(3);
    let mut first = 0;
    for _ in 0..1000 {
        let places = trunks.target(id).unwrap().places(&mut rng);
        match places.as_slice() {
            [one, two, three, last] if *last == c && [*one, *two] == [a, a6] && *three == b => first += 1,
            [one, two, three, last] if *last == c && *one == b && [*two, *three] == [a, a6] => {}
            other => assert_eq!(other, []),
        }
    }
    assert!((700..800).contains(&first), "{first} of 1000 for a weight of 75 in 100");
    // One that failed goes last, whatever its priority.
    trunks.report(START, id, a, Sign::Silent);
    assert_eq!(trunks.target(id).unwrap().places(&mut rng).last(), Some(&a));
}

#[test]
fn na_7_addresses_of_a_target_are_bounded() {
    let mut trunks = Trunks::new(config(&[("t", "", &[("sip:sbc.example.com", 1, 1)])]), START);
    let query = trunks.wants_resolve(START).unwrap();
    let many: Vec<_> = (0..200).map(|at| (tcp(&format!("10.0.0.{at}:5060")), at, 0, 0)).collect();
    trunks.resolved(query.id, &found(&many, 60), START);
    let id = trunks.targets_of(TrunkIdx(0))[0];
    assert_eq!(trunks.target(id).unwrap().known().count(), limits::ADDRESSES_PER_TARGET);
}

#[test]
fn a_reload_keeps_what_was_learnt() {
    let mut trunks = Trunks::new(config(&[("one", "", &[(A, 1, 1), (B, 2, 1)]), ("two", "", &[(A, 1, 1)])]), START);
    let before = trunks.ids.concat();
    trunks.report(after(1), before[0], place(A), Sign::Answered(200));
    trunks.report(after(1), before[2], place(A), Sign::Silent);
    trunks.reload(config(&[("new", "", &[(C, 1, 1)]), ("two", "", &[(A, 1, 1)]), ("one", "", &[(A, 9, 1)])]), after(2));
    assert_eq!(states(&trunks), [State::Unknown, State::Down, State::Up]);
    assert_eq!(trunks.targets_of(TrunkIdx(2)), [before[0]]);
    assert_eq!(
        trunks.target(before[0]).map(|target| (target.trunk(), target.config.priority)),
        Some((Some(TrunkIdx(2)), 9))
    );
    assert!(trunks.target(before[1]).is_none(), "gone from the config");
    trunks.take_changes();
    trunks.report(after(3), before[1], place(B), Sign::Silent);
    assert_eq!(trunks.take_changes(), []);
}

#[test]
fn calls_come_only_from_where_the_config_says() {
    let trunks =
        Trunks::new(config(&[("t", "accept_from = [\"10.0.0.1:5080\", \"10.2.0.0/16\"]", &[(A, 1, 1)])]), START);
    assert_eq!(trunks.accepts(crate::base::Protocol::Udp, address(A)), Some(TrunkIdx(0)));
    assert_eq!(trunks.accepts(crate::base::Protocol::Udp, "10.2.3.4:999".parse().unwrap()), Some(TrunkIdx(0)));
    assert_eq!(trunks.accepts(crate::base::Protocol::Udp, "10.0.0.1:5081".parse().unwrap()), None);
}

fn a_sign(kind: u8) -> Sign {
    match kind {
        0 => Sign::Silent,
        1 => Sign::Unreachable,
        2 => Sign::Answered(503),
        _ => Sign::Answered(200),
    }
}

proptest! {
    #[test]
    fn no_target_is_ever_lost(
        seed: u64,
        shape in prop::collection::vec(prop::collection::vec((1u16..4, 0u16..100), 1..4), 1..4),
        signs in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4), 0..20),
    ) {
        let uri = |trunk: usize, target: usize| format!("sip:10.0.{trunk}.{target}:5080");
        let targets: Vec<Vec<(String, u16, u16)>> = shape.iter().enumerate()
            .map(|(at, keys)| keys.iter().enumerate().map(|(place, key)| (uri(at, place), key.0, key.1)).collect())
            .collect();
        let targets: Vec<Vec<(&str, u16, u16)>> =
            targets.iter().map(|list| list.iter().map(|(uri, priority, weight)| (uri.as_str(), *priority, *weight)).collect()).collect();
        let names = ["a", "b", "c", "d"];
        let lines: Vec<Line<'_>> = targets.iter().zip(names).map(|(list, name)| (name, "", list.as_slice())).collect();
        let mut trunks = Trunks::new(config(&lines), START);
        let mut all = trunks.ids.concat();
        for (which, kind) in signs {
            let id = all[which.index(all.len())];
            let place = trunks.target(id).unwrap().known().next().unwrap();
            trunks.report(START, id, place, a_sign(kind));
        }
        let which: Vec<TrunkIdx> = (0..).take(shape.len()).map(TrunkIdx).collect();
        let mut rng = Rng::from_u64(seed);
        let order = trunks.candidates(&mut rng, &which);
        let key = |id: &TargetId| {
            let target = trunks.target(*id).unwrap();
            (target.state() == State::Down, target.trunk(), target.config.priority)
        };
        prop_assert!(order.is_sorted_by_key(key));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        all.sort_unstable();
        prop_assert_eq!(sorted, all);
    }
}
