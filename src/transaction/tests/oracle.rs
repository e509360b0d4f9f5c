//! The four machines beside those of a stranger (sipx-sip): same inputs at the same times, same messages and events.
//! Where the two differ on purpose, the scripts keep away: our 100 is sent at once and not after 200 ms (TX-7), only a repeated
//! final response repeats the ACK (RFC 3261 §17.1.1.2), and a non-INVITE never answered ends after 64*T1 (RFC 4320 §4.2).

use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};
use sipx_sip::transaction::{ClientTransaction, Output, Reliability, ServerTransaction, Timer, TuEvent};
use sipx_sip::{Limits, parse_datagram};

use super::*;

enum Machine {
    Client(ClientTransaction),
    Server(ServerTransaction),
}

/// The stranger's machine, driven as `Bench` drives ours, with a log in the same words.
struct Oracle {
    machine: Machine,
    now: u64,
    timers: Vec<(u64, Timer)>,
    log: Vec<String>,
    over: bool,
}

fn stranger(text: &str) -> sipx_sip::Message {
    parse_datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
}

fn stranger_request(text: &str) -> sipx_sip::Request {
    match stranger(text) {
        sipx_sip::Message::Request(request) => request,
        sipx_sip::Message::Response(_) => panic!("a response"),
    }
}

fn stranger_response(text: &str) -> sipx_sip::Response {
    match stranger(text) {
        sipx_sip::Message::Response(response) => response,
        sipx_sip::Message::Request(_) => panic!("a request"),
    }
}

impl Oracle {
    fn new(text: &str, is_client: bool, reliable: bool) -> Self {
        let reliability = if reliable { Reliability::Reliable } else { Reliability::Unreliable };
        let (request, timers) = (stranger_request(text), sipx_sip::transaction::Timers::default());
        let (machine, outputs) = if is_client {
            let (machine, outputs) = ClientTransaction::new(request, reliability, timers);
            (Machine::Client(machine), outputs)
        } else {
            let (machine, outputs) = ServerTransaction::new(request, reliability, timers);
            (Machine::Server(machine), outputs)
        };
        let mut oracle = Self { machine, now: 0, timers: Vec::new(), log: Vec::new(), over: false };
        oracle.take(outputs);
        oracle
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let line = match output {
                Output::Send(message) => match *message {
                    sipx_sip::Message::Request(request) => format!("send {}", request.method),
                    sipx_sip::Message::Response(response) => format!("send {}", response.status.code()),
                },
                Output::SetTimer { timer, after } => {
                    self.timers.retain(|(_, running)| *running != timer);
                    self.timers.push((self.now + millis(after), timer));
                    continue;
                }
                Output::ClearTimer(timer) => {
                    self.timers.retain(|(_, running)| *running != timer);
                    continue;
                }
                Output::ToTu(event) => match *event {
                    TuEvent::Request(request) => format!("Request {}", request.method),
                    TuEvent::Response(response) => format!("Response {} to 1", response.status.code()),
                    TuEvent::Ack(_) => "Ack".into(),
                    TuEvent::Timeout => match self.machine {
                        Machine::Client(_) => "Timeout of 1".into(),
                        Machine::Server(_) => "AckMissing of None".into(),
                    },
                    other => panic!("{other:?}"),
                },
                Output::Terminated(_) => {
                    self.over = true;
                    continue;
                }
                other => panic!("{other:?}"),
            };
            self.log.push(format!("{} {line}", self.now));
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some(next) = self.timers.iter().map(|(at, _)| *at).min().filter(|at| *at <= end && !self.over) {
            self.now = next;
            let place = self.timers.iter().position(|(at, _)| *at == next).unwrap();
            let (_, timer) = self.timers.remove(place);
            let outputs = match &mut self.machine {
                Machine::Client(machine) => machine.on_timer(timer),
                Machine::Server(machine) => machine.on_timer(timer),
            };
            self.take(outputs);
        }
        self.now = end;
    }

    fn receive(&mut self, text: &str) {
        let outputs = match &mut self.machine {
            Machine::Client(machine) => machine.on_response(stranger_response(text)),
            Machine::Server(machine) => machine.on_request(&stranger_request(text)),
        };
        self.take(outputs);
        self.run_until(self.now);
    }

    fn respond(&mut self, text: &str) {
        let outputs = match &mut self.machine {
            Machine::Client(_) => panic!("a client does not respond"),
            Machine::Server(machine) => machine.on_tu_response(stranger_response(text)),
        };
        self.take(outputs);
        self.run_until(self.now);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

fn flow(reliable: bool) -> Flow {
    if reliable { tcp() } else { udp() }
}

/// Steps of a script: quarters of a second to wait (lingering ends fall on them), and which input then comes.
type Steps = Vec<(u64, usize)>;

fn client_run(method: Method, reliable: bool, codes: &[u16], steps: &Steps) -> Result<(), String> {
    let mut bench = Bench::new();
    let (_, _, text) = bench.send(method, flow(reliable), 1);
    let mut oracle = Oracle::new(&text, true, reliable);
    let mut refused = None;
    for &(quarters, choice) in steps {
        let at = oracle.now + quarters * 250;
        bench.run_until(at);
        oracle.run_until(at);
        let code = refused.unwrap_or(codes[choice % codes.len()]);
        refused = refused.or((code >= 300).then_some(code));
        bench.receive(&response(&text, code), flow(reliable));
        if !oracle.over {
            oracle.receive(&response(&text, code));
        }
        compare(&mut bench, &mut oracle)?;
    }
    end_together(bench, oracle)
}

fn server_run(method: Method, reliable: bool, codes: &[u16], steps: &Steps) -> Result<(), String> {
    let mut bench = Bench::new();
    let text = request(method.as_str(), "z9hG4bKa", "");
    bench.receive(&text, flow(reliable));
    let mut oracle = Oracle::new(&text, false, reliable);
    if method == Method::Invite {
        oracle.respond(&response(&text, 100));
    }
    let mut answered = false;
    for &(quarters, choice) in steps {
        let at = oracle.now + quarters * 250;
        if oracle.over || (!answered && at >= 32_000) {
            break;
        }
        bench.run_until(at);
        oracle.run_until(at);
        if oracle.over {
            break;
        }
        match choice % (codes.len() + 2) {
            0 => {
                bench.receive(&text, flow(reliable));
                oracle.receive(&text);
            }
            1 if method == Method::Invite => {
                let ack = request("ACK", "z9hG4bKa", "");
                bench.receive(&ack, flow(reliable));
                oracle.receive(&ack);
            }
            other => {
                let code = codes[other % codes.len()];
                answered |= code >= 200;
                bench.respond(0, &text, code);
                oracle.respond(&response(&text, code));
            }
        }
        compare(&mut bench, &mut oracle)?;
    }
    if !answered {
        bench.respond(0, &text, 503);
        oracle.respond(&response(&text, 503));
    }
    end_together(bench, oracle)
}

fn compare(bench: &mut Bench, oracle: &mut Oracle) -> Result<(), String> {
    let (ours, theirs) = (bench.log(), std::mem::take(&mut oracle.log));
    if ours != theirs {
        return Err(format!("ours {ours:?}\ntheirs {theirs:?}"));
    }
    if bench.table.is_empty() != oracle.over {
        return Err(format!("at {}: ours over {}, theirs {}", oracle.now, bench.table.is_empty(), oracle.over));
    }
    Ok(())
}

fn end_together(mut bench: Bench, mut oracle: Oracle) -> Result<(), String> {
    for _ in 0..400 {
        let at = oracle.now + 250;
        bench.run_until(at);
        oracle.run_until(at);
        compare(&mut bench, &mut oracle)?;
        // Theirs too rings forever: timer B does not outlive a provisional response.
        if oracle.over {
            bench.finish();
            return Ok(());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn same_as_a_stranger(steps in prop::collection::vec((0..30u64, any::<usize>()), 0..14), reliable in any::<bool>()) {
        prop_assert_eq!(client_run(Method::Invite, reliable, &[100, 180, 180, 200, 486], &steps), Ok(()));
        prop_assert_eq!(client_run(Method::Bye, reliable, &[100, 100, 200], &steps), Ok(()));
        prop_assert_eq!(server_run(Method::Invite, reliable, &[180, 200, 183, 486, 180], &steps), Ok(()));
        prop_assert_eq!(server_run(Method::Info, reliable, &[100, 200, 404], &steps), Ok(()));
    }
}
