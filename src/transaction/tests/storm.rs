//! Random storms: whatever comes in whatever order, nothing panics, nothing leaks, and every request of ours gets one end.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

/// One thing that happens. Numbers choose among a few requests, so that they meet.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// A request of a peer: method, branch, RFC 2543 or not, stream or not.
    Request(usize, u8, bool, bool),
    /// Our answer to a request that came.
    Respond(usize, u16),
    /// A request of ours: method, stream or not.
    Send(usize, bool),
    /// The peer answers a request of ours.
    Answer(usize, u16),
    /// The peer answers our CANCEL.
    AnswerCancel(usize),
    Cancel(usize),
    Unreachable,
    Closed,
    Wait(u16),
}

const METHODS: [Method; 6] =
    [Method::Invite, Method::Ack, Method::Cancel, Method::Bye, Method::Options, Method::Register];
const CODES: [u16; 8] = [100, 180, 183, 200, 202, 302, 408, 487];

fn input() -> impl Strategy<Value = Input> {
    let nth = 0..12usize;
    let code = prop::sample::select(&CODES[..]);
    prop_oneof![
        4 => (0..METHODS.len(), 0..6u8, any::<bool>(), any::<bool>())
            .prop_map(|(method, branch, old, stream)| Input::Request(method, branch, old, stream)),
        3 => (nth.clone(), code.clone()).prop_map(|(nth, code)| Input::Respond(nth, code)),
        3 => (0..METHODS.len(), any::<bool>()).prop_map(|(method, stream)| Input::Send(method, stream)),
        4 => (nth.clone(), code).prop_map(|(nth, code)| Input::Answer(nth, code)),
        1 => nth.clone().prop_map(Input::AnswerCancel),
        2 => nth.clone().prop_map(Input::Cancel),
        1 => prop_oneof![proptest::strategy::Just(Input::Unreachable), proptest::strategy::Just(Input::Closed)],
        3 => any::<u16>().prop_map(Input::Wait),
    ]
}

/// A request of ours, and what is known of it.
struct Ours {
    id: ClientId,
    text: String,
    method: Method,
}

fn flow(stream: bool) -> Flow {
    if stream { tcp() } else { udp() }
}

fn act(bench: &mut Bench, ours: &mut Vec<Ours>, input: Input) {
    match input {
        Input::Request(method, branch, old, stream) => {
            let branch = if old { format!("{branch}") } else { format!("z9hG4bK{branch}") };
            bench.receive(&request(METHODS[method].as_str(), &branch, ""), flow(stream));
        }
        Input::Respond(nth, code) => {
            if nth < bench.opened.len() {
                bench.respond(nth, &request("INVITE", "z9hG4bKx", ""), code);
            }
        }
        Input::Send(method, stream) => {
            let method = METHODS[method];
            // ACK and CANCEL are never sent in a transaction of their own from above.
            if !matches!(method, Method::Ack | Method::Cancel) {
                let owner = u32::try_from(ours.len()).unwrap();
                let (id, _, text) = bench.send(method, flow(stream), owner);
                ours.push(Ours { id, text, method });
            }
        }
        Input::Answer(nth, code) => {
            if let Some(request) = ours.get(nth) {
                bench.receive(&response(&request.text, code), udp());
            }
        }
        Input::AnswerCancel(nth) => {
            if let Some(request) = ours.get(nth) {
                bench.receive(&response(&request.text.replace("INVITE", "CANCEL"), 200), udp());
            }
        }
        Input::Cancel(nth) => {
            if let Some(request) = ours.get(nth) {
                bench.cancel(request.id, None);
            }
        }
        Input::Unreachable => bench.unreachable(),
        Input::Closed => bench.closed(),
        Input::Wait(millis) => bench.run_until(bench.now.as_millis() + u64::from(millis)),
    }
}

/// What of a log line ends a request of ours: its owner; `is_2xx` when it may come again.
fn end(line: &str, ours: &[Ours]) -> Option<(usize, bool)> {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    match words[..] {
        ["Timeout", "of", owner] => Some((owner.parse().unwrap(), false)),
        ["Unreachable", "of", owner] => {
            let owner: usize = owner.parse().unwrap();
            // An INVITE may have been heard.
            (ours[owner].method != Method::Invite).then_some((owner, false))
        }
        ["Response", code, "to", owner] => {
            let code: u16 = code.parse().unwrap();
            (code >= 200).then(|| (owner.parse().unwrap(), code < 300))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn storms_leave_nothing_behind(inputs in prop::collection::vec(input(), 1..120)) {
        let (mut bench, mut ours) = (Bench::new(), Vec::new());
        bench.table.set_bound(8);
        for input in inputs {
            act(&mut bench, &mut ours, input);
        }
        // What still rings here is answered; what still rings there is cancelled.
        for nth in 0..bench.opened.len() {
            bench.respond(nth, &request("INVITE", "z9hG4bKx", ""), 503);
        }
        for request in &ours {
            bench.cancel(request.id, None);
        }
        bench.run_until(bench.now.as_millis() + 100_000);

        let mut ends: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        for (owner, is_2xx) in bench.log().iter().filter_map(|line| end(line, &ours)) {
            ends.entry(owner).or_default().push(is_2xx);
        }
        for (owner, request) in ours.iter().enumerate() {
            let ends = ends.remove(&owner).unwrap_or_default();
            let repeated_2xx = request.method == Method::Invite && ends.iter().all(|is_2xx| *is_2xx);
            prop_assert!(ends.len() <= 1 || repeated_2xx, "request {owner} ended {} times", ends.len());
            prop_assert!(!ends.is_empty(), "request {owner} has no end");
        }
        prop_assert_eq!(bench.table.len(), 0);
        prop_assert_eq!(bench.table.leftovers(), 0);
    }
}
