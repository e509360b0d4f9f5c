//! The main story on the bare node: register, 911, answer, hang up, callback.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Boot, Input, Node, Output};
use crate::admin::Metrics;
use crate::base::{Instant, limits};
use crate::config;
use crate::transport::{ConnId, ListenerId};

const CONFIG: &str = r#"
[sip]
domains = ["example.com"]
[[sip.listen]]
transport = "udp"
address = "127.0.0.1:5060"
[[sip.listen]]
transport = "tcp"
address = "127.0.0.1:5060"
[registrar]
realm = "example.com"
[[resources]]
name = "contoso"
numbers = [{ number = "+14255550100", make_calls = true }]
[[users]]
aor = "sip:alice@example.com"
password = "wonderland"
resource = "contoso"
number = "+14255550123"
inbound = false
country = "US"
[[pools]]
countries = ["US"]
numbers = ["+14255551000-+14255551009"]
[[trunks]]
name = "psap"
targets = [{ uri = "sip:127.0.0.1:5080" }]
accept_from = ["127.0.0.1:5080"]
options_interval = "0s"
[[routes]]
countries = ["US"]
trunks = ["psap"]
[media]
mode = "pass"
"#;

struct World {
    node: Node,
    now: Instant,
    sent: Vec<(SocketAddr, String)>,
    closed: Vec<ConnId>,
}

impl World {
    fn new() -> Self {
        let config = config::load(CONFIG, Path::new("/tmp")).unwrap().config;
        let now = Instant::from_millis(1_000_000_000);
        let boot = Boot {
            now,
            seed: [7; 32],
            wall_offset_ms: 0,
            leases: vec![],
            bindings: vec![],
            records: vec![],
            notices: vec![],
        };
        let mut world =
            Self { node: Node::new(Arc::new(config), boot, Metrics::new()), now, sent: Vec::new(), closed: Vec::new() };
        world.outputs();
        world
    }

    fn outputs(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    self.sent.push((transmit.flow.remote, String::from_utf8(transmit.bytes.to_vec()).unwrap()));
                }
                Output::Persist { write, .. } => self.node.handle(self.now, Input::Stored { write, result: Ok(()) }),
                Output::Close { connection } => self.closed.push(connection),
                other => panic!("{other:?}"),
            }
        }
    }

    fn accept(&mut self, number: u64) -> ConnId {
        let connection = ConnId(ConnId::ACCEPTED | number);
        let remote = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + number as u32), 5071));
        self.node.handle(self.now, Input::Accepted { connection, listener: ListenerId(1), remote, identities: vec![] });
        self.outputs();
        connection
    }

    fn receive(&mut self, remote: &str, text: &str) {
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        let remote: SocketAddr = remote.parse().unwrap();
        let input = match remote.ip() {
            IpAddr::V4(ip) if ip.octets()[0] == 10 => {
                Input::Stream { connection: ConnId(ConnId::ACCEPTED | u64::from(ip.to_bits() - 0x0a00_0000)), bytes }
            }
            _ => Input::Datagram { listener: ListenerId(0), remote, bytes },
        };
        self.node.handle(self.now, input);
        self.outputs();
    }

    fn sent(&mut self, remote: &str, start: &str) -> String {
        let remote: SocketAddr = remote.parse().unwrap();
        let at = self.sent.iter().position(|(to, text)| *to == remote && text.starts_with(start));
        let Some(at) = at else { panic!("no {start} to {remote} in {:#?}", self.sent) };
        self.sent.remove(at).1
    }

    fn run_for(&mut self, millis: u64) {
        let end = Instant::from_millis(self.now.as_millis() + millis);
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.outputs();
        }
        self.now = end;
    }

    fn register(&mut self) {
        self.register_from(PHONE);
    }

    fn register_from(&mut self, phone: &str) {
        let register = |cseq: u32, authorization: &str| {
            format!(
                "REGISTER sip:example.com SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bKr{cseq};rport\n\
                 From: <sip:alice@example.com>;tag=r\nTo: <sip:alice@example.com>\nCall-ID: reg\nCSeq: {cseq} REGISTER\n\
                 Contact: <sip:alice@127.0.0.1:5071>\n{authorization}Expires: 600\nContent-Length: 0\n\n"
            )
        };
        self.receive(phone, &register(1, ""));
        let challenge = self.sent(phone, "SIP/2.0 401");
        let line = challenge.lines().find(|line| line.contains("algorithm=MD5")).unwrap();
        let value = line.split_once(": ").unwrap().1;
        let mut prompt = digest_auth::parse(value).unwrap();
        let context = digest_auth::AuthContext::new_with_method(
            "alice",
            "wonderland",
            "sip:example.com",
            None::<&[u8]>,
            digest_auth::HttpMethod::from("REGISTER"),
        );
        let answer = prompt.respond(&context).unwrap().to_string();
        self.receive(phone, &register(2, &format!("Authorization: {answer}\n")));
        self.sent(phone, "SIP/2.0 200");
    }

    fn dial_911(&mut self) -> String {
        self.receive(PHONE, &format!(
            "INVITE sip:911@example.com SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bKi1;rport\n\
             From: \"Alice Liddell\" <sip:alice@example.com>;tag=a\nTo: <sip:911@example.com>\nCall-ID: secret-call-id\n\
             CSeq: 1 INVITE\nContact: <sip:alice@127.0.0.1:5071>\nMax-Forwards: 70\nSubject: help\n\
             Content-Type: application/sdp\nContent-Length: {}\n\n{}", SDP.replace('\n', "\r\n").len(), SDP
        ));
        self.sent(PHONE, "SIP/2.0 100");
        self.sent(TRUNK, "INVITE ")
    }

    fn acknowledge(&mut self, ok: &str) {
        self.receive(
            PHONE,
            &format!(
                "ACK sip:911@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bKk1;rport\n\
             From: <sip:alice@example.com>;tag=a\nTo: {}\nCall-ID: secret-call-id\nCSeq: 1 ACK\nContent-Length: 0\n\n",
                header(ok, "To")
            ),
        );
    }
}

const PHONE: &str = "127.0.0.1:5071";
const TRUNK: &str = "127.0.0.1:5080";
const SDP: &str = "v=0\no=alice 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 6000 RTP/AVP 0\n";

/// A response to `request` as its receiver would send it.
fn respond(request: &str, status: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for line in request.lines() {
        if line.starts_with("To:") && !line.contains("tag=") {
            text.push_str(&format!("{line};tag=peer\n"));
        } else if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
            text.push_str(&format!("{line}\n"));
        }
    }
    text.push_str("Contact: <sip:agent@127.0.0.1:5080>\n");
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\n");
    }
    text.push_str(&format!("Content-Length: {}\n\n{body}", body.replace('\n', "\r\n").len()));
    text
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default();
    line.split_once(": ").map_or("", |(_, value)| value)
}

#[test]
fn emergency_call_and_callback() {
    let mut world = World::new();
    world.register();
    let invite = world.dial_911();
    assert!(invite.starts_with("INVITE sip:911@127.0.0.1:5080 SIP/2.0"), "{invite}");
    assert!(header(&invite, "From").starts_with("<sip:+14255551000@127.0.0.1;user=phone>;tag="), "{invite}");
    assert_eq!(header(&invite, "P-Asserted-Identity"), "<sip:+14255551000@127.0.0.1;user=phone>");
    assert_eq!(header(&invite, "Contact"), "<sip:+14255551000@127.0.0.1:5060>");
    for secret in ["alice", "Alice", "Liddell", "4255550123", "5071", "secret-call-id", "help"] {
        assert!(!invite.contains(secret), "{secret} in {invite}");
    }

    world.receive(TRUNK, &respond(&invite, "180 Ringing", ""));
    world.sent(PHONE, "SIP/2.0 180");
    world.receive(TRUNK, &respond(&invite, "200 OK", SDP));
    let ok = world.sent(PHONE, "SIP/2.0 200");
    assert!(ok.contains("m=audio 6000"), "{ok}");
    let ack = world.sent(TRUNK, "ACK ");
    assert!(ack.starts_with("ACK sip:agent@127.0.0.1:5080 "), "{ack}");
    world.acknowledge(&ok);

    // The PSAP calls back while the first leg is still up.
    world.receive(
        TRUNK,
        &format!(
            "INVITE sip:+14255551000@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKcb\n\
         From: <sip:+12065550000@127.0.0.1>;tag=cb\nTo: <sip:+14255551000@127.0.0.1>\nCall-ID: cb1\nCSeq: 1 INVITE\n\
         Contact: <sip:psap@127.0.0.1:5080>\nContent-Type: application/sdp\nContent-Length: {}\n\n{}",
            SDP.replace('\n', "\r\n").len(),
            SDP
        ),
    );
    let ring = world.sent(PHONE, "INVITE ");
    assert!(ring.starts_with("INVITE sip:alice@127.0.0.1:5071 "), "{ring}");
    assert_eq!(header(&ring, "Priority"), "psap-callback");
    world.receive(PHONE, &respond(&ring, "180 Ringing", ""));
    world.receive(PHONE, &respond(&ring, "486 Busy Here", ""));
    world.sent(TRUNK, "SIP/2.0 486");

    world.receive(TRUNK, &format!(
        "BYE sip:+14255551000@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKbye\n\
         From: <sip:911@127.0.0.1:5080>;tag=peer\nTo: {}\nCall-ID: {}\nCSeq: 1 BYE\nReason: Q.850;cause=16\nContent-Length: 0\n\n",
        header(&invite, "From"), header(&invite, "Call-ID")
    ));
    world.sent(TRUNK, "SIP/2.0 200");
    let bye = world.sent(PHONE, "BYE ");
    assert_eq!(header(&bye, "Reason"), "Q.850;cause=16");
    world.receive(PHONE, &respond(&bye, "200 OK", ""));
    world.run_for(70_000);
    assert!(world.node.is_idle(), "{:?}", world.node.sizes());
    assert!(world.node.metrics.render().contains("sosbridge_store_write_seconds_count 1\n"), "the grant of the call");
    let records = world.node.records_view(10);
    assert_eq!(records.iter().map(|record| record.outcome.as_str()).collect::<Vec<_>>(), ["answered", "refused"]);
}

#[test]
fn at_the_bound_the_oldest_connection_that_carried_nothing_goes() {
    let mut world = World::new();
    let phone = world.accept(0);
    world.register_from("10.0.0.0:5071");
    let idle = world.accept(1);
    for number in 2..limits::CONNECTIONS as u64 {
        world.accept(number);
    }
    assert_eq!((world.closed.len(), world.node.streams.len()), (0, limits::CONNECTIONS));
    world.accept(limits::CONNECTIONS as u64);
    assert_eq!(world.closed, [idle], "not {phone:?}, which is older and registered");
    assert_eq!(world.node.streams.len(), limits::CONNECTIONS);
}

#[test]
fn leases_are_listed_page_by_page_each_once() {
    use crate::base::Protocol;
    use crate::lease::{Device, Kind, Lease, Row, State};
    let now = Instant::from_millis(1_000_000_000);
    let flow = crate::transport::Flow {
        protocol: Protocol::Udp,
        listener: ListenerId(0),
        remote: PHONE.parse().unwrap(),
        connection: None,
    };
    let row = |at: u64| {
        Row::Lease(Lease {
            number: crate::base::E164::from_digits(14_250_000_000 + 7 * at).unwrap(),
            kind: Kind::Pooled,
            state: State::Held,
            resource: "contoso".into(),
            country: crate::config::Country::US,
            user: "alice@example.com".into(),
            device: Device { key: "k".into(), contact: "sip:alice@h".into(), push: "".into(), flow },
            dialled: now,
            expires: now + std::time::Duration::from_secs(60),
            calls: 0,
            test: false,
        })
    };
    let config = Arc::new(config::load(CONFIG, Path::new("/tmp")).unwrap().config);
    let leases = (0..2_500).map(row).collect();
    let boot =
        Boot { now, seed: [7; 32], wall_offset_ms: 0, leases, bindings: vec![], records: vec![], notices: vec![] };
    let node = Node::new(config, boot, Metrics::new());
    let (mut from, mut numbers, mut pages) = (Some(0), Vec::new(), 0);
    while let Some(start) = from {
        let page = node.leases_view(start);
        numbers.extend(page.rows.iter().map(|row| row.number.digits()));
        (from, pages) = (page.next, pages + 1);
    }
    assert_eq!((numbers.len(), pages), (2_500, 3));
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 7));
}

#[test]
fn registrations_are_listed_page_by_page_each_once() {
    use crate::registrar::Row;
    let now = Instant::from_millis(1_000_000_000);
    let row = |at: u32| Row {
        user: format!("sip:user{}@example.com", at / 3).parse().unwrap(),
        slot: (at % 3) as u8,
        contact: format!("sip:{at}@h"),
        params: String::new(),
        call_id: "c".into(),
        cseq: 1,
        user_agent: String::new(),
        protocol: crate::base::Protocol::Udp,
        listener: 0,
        remote: PHONE.parse().unwrap(),
        expires_at_ms: now.as_millis() + 60_000,
        refreshed_at_ms: now.as_millis(),
        q: crate::registrar::Quality::MOST,
        reg_id: None,
        country: None,
        path: String::new(),
        never_rings: false,
    };
    let config = Arc::new(config::load(CONFIG, Path::new("/tmp")).unwrap().config);
    let bindings = (0..3_600).map(row).collect();
    let boot =
        Boot { now, seed: [7; 32], wall_offset_ms: 0, leases: vec![], bindings, records: vec![], notices: vec![] };
    let node = Node::new(config, boot, Metrics::new());
    let (mut from, mut contacts, mut pages) = (Some(0), std::collections::BTreeSet::new(), 0);
    while let Some(start) = from {
        let page = node.registrations_view(start);
        assert!(page.next.is_none_or(|next| next > start));
        page.rows.iter().for_each(|row| assert!(contacts.insert(row.contact.clone()), "{row:?} twice"));
        (from, pages) = (page.next, pages + 1);
    }
    assert_eq!((contacts.len(), pages), (3_600, 4));
}

/// limits::CALLS: beyond it an ordinary call is refused, an emergency call never.
/// Rules 2.4a, 6.2g.
#[test]
fn the_bound_of_calls_stops_no_emergency() {
    let mut world = World::new();
    world.register();
    world.node.calls.set_bound(0);
    world.dial_911();
    let ordinary = |number: &str| {
        format!(
            "INVITE sip:alice@example.com SIP/2.0\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bKo{number};rport\n\
             From: <sip:+12065550000@{TRUNK}>;tag=o{number}\nTo: <sip:alice@example.com>\nCall-ID: o{number}\n\
             CSeq: 1 INVITE\nContact: <sip:{TRUNK}>\nMax-Forwards: 70\nContent-Length: 0\n\n"
        )
    };
    let open = CONFIG.replace("inbound = false", "inbound = true");
    let config = Arc::new(config::load(&open, Path::new("/tmp")).unwrap().config);
    world.node.handle(world.now, Input::Reload(config));
    world.receive(TRUNK, &ordinary("1"));
    world.sent(TRUNK, "SIP/2.0 503");
    let callback = ordinary("2").replace("sip:alice@", "sip:+14255551000@");
    world.receive(TRUNK, &callback);
    world.sent(PHONE, "INVITE");
    world.node.calls.set_bound(3);
    world.receive(TRUNK, &ordinary("3"));
    world.sent(PHONE, "INVITE");
}

/// What a refresh makes untrue does not heap up, and what is true is not lost with it.
#[test]
fn a_peer_that_refreshes_without_end_leaves_no_alarms_behind() {
    let mut world = World::new();
    world.register();
    let invite = world.dial_911();
    world.receive(TRUNK, &respond(&invite, "200 OK", SDP));
    let ok = world.sent(PHONE, "SIP/2.0 200");
    world.acknowledge(&ok);
    for cseq in 1..=1000 {
        world.run_for(1);
        world.receive(
            TRUNK,
            &format!(
                "UPDATE sip:+14255551000@127.0.0.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKu{cseq}\n\
                 From: {};tag=peer\nTo: {}\nCall-ID: {}\nCSeq: {cseq} UPDATE\nContact: <sip:agent@127.0.0.1:5080>\n\
                 Supported: timer\nSession-Expires: 1800;refresher=uac\nContent-Length: 0\n\n",
                header(&invite, "To"),
                header(&invite, "From"),
                header(&invite, "Call-ID"),
            ),
        );
        let ok = world.sent(TRUNK, "SIP/2.0 200");
        assert_eq!(header(&ok, "Session-Expires"), "1800;refresher=uac");
    }
    assert!(world.node.ua.alarms() <= 2 * limits::ALARMS_PER_LEG + 65, "{}", world.node.ua.alarms());
    world.sent.clear();
    world.run_for(1_800_000);
    world.sent(TRUNK, "OPTIONS ");
}
