//! NA-7 against a real name server: what the resolver of the daemon makes of NAPTR, SRV, A and AAAA (RFC 3263 §4), served by
//! dnsmasq on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "real/ports.rs"]
mod ports;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sosbridge::admin::Metrics;
use sosbridge::base::Protocol;
use sosbridge::node::{Input, QueryId};
use sosbridge::shell::dns::Resolver;
use sosbridge::shell::events::Event;
use sosbridge::transport::{Found, Place, Question};

const ZONE: &[&str] = &[
    "--naptr-record=full.test,20,10,s,SIP+D2U,,_sip._udp.full.test",
    "--naptr-record=full.test,10,10,s,SIP+D2T,,_sip._tcp.full.test",
    "--srv-host=_sip._tcp.full.test,a.full.test,5070,10,60",
    "--srv-host=_sip._tcp.full.test,b.full.test,5071,10,40",
    "--srv-host=_sip._tcp.full.test,c.full.test,5072,20,0",
    "--srv-host=_sip._udp.full.test,a.full.test,5060,0,0",
    "--host-record=a.full.test,192.0.2.1,2001:db8::1",
    "--host-record=b.full.test,192.0.2.2",
    "--host-record=c.full.test,192.0.2.3",
    "--srv-host=_sip._udp.srv.test,b.full.test,5081,1,1",
    "--srv-host=_sip._tcp.srv.test,b.full.test,5082,1,1",
    "--host-record=srv.test,192.0.2.99",
    "--host-record=plain.test,192.0.2.7",
    "--naptr-record=secure.test,10,10,s,SIP+D2U,,_sip._udp.full.test",
    "--naptr-record=secure.test,20,10,s,SIPS+D2T,,_sips._tcp.elsewhere.test",
    "--srv-host=_sips._tcp.elsewhere.test,b.full.test,5065,1,1",
    "--host-record=secure.test,192.0.2.98",
    "--srv-host=_sip._udp.removed.test,removed-long-ago.test,5081,1,1",
    "--srv-host=_sip._udp.removed.test,b.full.test,5082,2,1",
    "--srv-host=_sip._udp.holes.test,gone.elsewhere.example,5081,1,1",
    "--srv-host=_sip._udp.holes.test,b.full.test,5082,2,1",
];

/// dnsmasq with these records; it answers for nothing else.
struct Dnsmasq {
    child: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    fn start() -> Self {
        let port = ports::free(Ipv4Addr::LOCALHOST.into()).port();
        let program = if std::path::Path::new("/usr/sbin/dnsmasq").exists() { "/usr/sbin/dnsmasq" } else { "dnsmasq" };
        let child = Command::new(program)
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"])
            .args(["--listen-address=127.0.0.1", "--pid-file=", "--user=", "--local=/test/", "--local-ttl=7"])
            .arg(format!("--port={port}"))
            .args(ZONE)
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq runs (Debian package dnsmasq-base)");
        Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn question(host: &str, port: Option<u16>, protocol: Option<Protocol>) -> Question {
    Question { host: host.into(), port, protocol, is_sips: false }
}

async fn ask(server: SocketAddr, question: Question) -> Found {
    let (events, mut answers) = tokio::sync::mpsc::channel(1);
    Resolver::new(&[server], events, Metrics::new()).unwrap().resolve(QueryId(1), question);
    match answers.recv().await.unwrap() {
        Event::Input(Input::Resolved { query: QueryId(1), found }) => found,
        other => panic!("{other:?}"),
    }
}

/// As [`ask`], once the name server has begun to answer.
async fn answer(dns: &Dnsmasq, asked: Question) -> Found {
    let until = Instant::now() + Duration::from_secs(20);
    while ask(dns.address, question("plain.test", Some(1), None)).await.servers.is_empty() {
        assert!(Instant::now() < until, "dnsmasq does not answer");
    }
    ask(dns.address, asked).await
}

fn places(found: &Found) -> Vec<(Place, u32, u16)> {
    found.servers.iter().map(|server| (server.place, server.priority, server.weight)).collect()
}

fn place(protocol: Protocol, remote: &str) -> Place {
    Place { protocol, remote: remote.parse().unwrap() }
}

#[tokio::test]
async fn na_7_naptr_leads_to_srv_and_srv_to_addresses_of_both_families() {
    let dns = Dnsmasq::start();
    let found = answer(&dns, question("full.test", None, None)).await;
    assert!(found.is_whole);
    assert!(found.ttl <= Duration::from_secs(7) && found.ttl > Duration::from_secs(3), "{:?}", found.ttl);
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let mut expected = vec![
        (place(tcp, "192.0.2.1:5070"), 10, 60),
        (place(tcp, "[2001:db8::1]:5070"), 10, 60),
        (place(tcp, "192.0.2.2:5071"), 10, 40),
        (place(tcp, "192.0.2.3:5072"), 20, 0),
        // What NAPTR likes less comes after all of that.
        (place(udp, "192.0.2.1:5060"), 1 << 16, 0),
        (place(udp, "[2001:db8::1]:5060"), 1 << 16, 0),
    ];
    let mut places = places(&found);
    places.sort_by_key(|(place, priority, _)| (*priority, *place));
    expected.sort_by_key(|(place, priority, _)| (*priority, *place));
    assert_eq!(places, expected);
    let of = |port: u16| found.servers.iter().filter(move |server| server.place.remote.port() == port);
    let records: Vec<u16> = of(5070).map(|server| server.record).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0], records[1], "both addresses belong to one record");
    assert_ne!(of(5071).next().unwrap().record, records[0]);
}

#[tokio::test]
async fn na_7_without_naptr_srv_of_each_transport_and_without_srv_the_host_itself() {
    let dns = Dnsmasq::start();
    let found = answer(&dns, question("srv.test", None, None)).await;
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let wanted = [(place(udp, "192.0.2.2:5081"), 1, 1), (place(tcp, "192.0.2.2:5082"), (1 << 16) + 1, 1)];
    assert_eq!(places(&found), wanted);
    let found = answer(&dns, question("srv.test", None, Some(tcp))).await;
    assert_eq!(places(&found), [(place(tcp, "192.0.2.2:5082"), 1, 1)]);
    // A port in the URI: neither NAPTR nor SRV.
    let found = answer(&dns, question("srv.test", Some(5090), None)).await;
    assert_eq!(places(&found), [(place(udp, "192.0.2.99:5090"), 0, 0)]);
    let found = answer(&dns, question("plain.test", None, None)).await;
    assert_eq!((places(&found), found.is_whole), (vec![(place(udp, "192.0.2.7:5060"), 0, 0)], true));
    let found = answer(&dns, question("plain.test", None, Some(tcp))).await;
    assert_eq!(places(&found), [(place(tcp, "192.0.2.7:5060"), 0, 0)]);
}

#[tokio::test]
async fn na_7_a_sips_uri_is_led_by_naptr_to_what_is_under_tls() {
    let dns = Dnsmasq::start();
    let asked = Question { is_sips: true, ..question("secure.test", None, Some(Protocol::Tls)) };
    let found = answer(&dns, asked.clone()).await;
    assert_eq!(places(&found), [(place(Protocol::Tls, "192.0.2.2:5065"), 1, 1)]);
    let found = answer(&dns, Question { port: Some(5061), ..asked }).await;
    assert_eq!(places(&found), [(place(Protocol::Tls, "192.0.2.98:5061"), 0, 0)]);
}

#[tokio::test]
async fn na_7_a_record_that_leads_to_no_address_is_no_hole() {
    let dns = Dnsmasq::start();
    let found = answer(&dns, question("removed.test", None, Some(Protocol::Udp))).await;
    assert_eq!((places(&found), found.is_whole), (vec![(place(Protocol::Udp, "192.0.2.2:5082"), 2, 1)], true));
}

/// A name server by script: `answers` says what to do with a question, by the name and the number of its type.
fn script(answers: impl Fn(&str, u16) -> Reply + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let (mut at, mut labels) = (12, Vec::new());
            while bytes[at] != 0 {
                let end = at + 1 + usize::from(bytes[at]);
                labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).to_lowercase());
                at = end;
            }
            let question = &bytes[12..at + 5];
            let mut kind = u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]);
            let mut flags = 0x81;
            assert!(length >= at + 5);
            let (code, records) = match answers(&labels.join("."), kind) {
                Reply::Silence => continue,
                Reply::Code(code) => (code, Vec::new()),
                Reply::Records(records) => (0, records),
                Reply::Alias(name) => {
                    kind = 5;
                    (0, vec![name])
                }
                Reply::Cut => {
                    flags = 0x83;
                    (0, Vec::new())
                }
            };
            let count = u8::try_from(records.len()).unwrap();
            let mut reply = vec![bytes[0], bytes[1], flags, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
            reply.extend_from_slice(question);
            for record in records {
                reply.extend_from_slice(&[0xc0, 12]);
                reply.extend_from_slice(&kind.to_be_bytes());
                reply.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                reply.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
                reply.extend_from_slice(&record);
            }
            socket.send_to(&reply, from).unwrap();
        }
    });
    address
}

#[derive(Clone, Debug)]
enum Reply {
    Silence,
    Code(u8),
    Records(Vec<Vec<u8>>),
    /// A CNAME to this name, and nothing of where that leads.
    Alias(Vec<u8>),
    /// Too long for a datagram; nobody answers over TCP.
    Cut,
}

/// Types of records (RFC 1035, RFC 3596, RFC 2782).
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

#[tokio::test]
async fn na_7_one_family_that_fails_is_a_hole() {
    for silent in [A, AAAA] {
        let six = std::net::Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]).octets().to_vec();
        let server = script(move |_, kind| match kind {
            _ if kind == silent => Reply::Code(2),
            A => Reply::Records(vec![vec![192, 0, 2, 1]]),
            AAAA => Reply::Records(vec![six.clone()]),
            _ => Reply::Code(0),
        });
        let found = ask(server, question("half.test", Some(5060), None)).await;
        assert_eq!((found.servers.len(), found.is_whole), (1, false), "{silent}: {found:?}");
    }
}

#[tokio::test]
async fn na_7_a_name_server_that_knows_addresses_only_and_is_silent_else_costs_little() {
    let server = script(|_, kind| match kind {
        A => Reply::Records(vec![vec![192, 0, 2, 1]]),
        _ => Reply::Silence,
    });
    let began = Instant::now();
    let found = ask(server, question("sbc.test", None, None)).await;
    assert_eq!((places(&found), found.is_whole), (vec![(place(Protocol::Udp, "192.0.2.1:5060"), 0, 0)], false));
    assert!(began.elapsed() < Duration::from_secs(17), "{:?}", began.elapsed());
}

#[tokio::test]
async fn na_7_what_is_cut_refused_or_leads_in_a_circle_costs_little_and_an_alias_is_followed() {
    let in_a_circle = vec![0xc0, 12];
    for odd in [Reply::Cut, Reply::Alias(in_a_circle), Reply::Code(3), Reply::Code(5)] {
        let shown = format!("{odd:?}");
        let server = script(move |name, kind| match (name.starts_with("_sip._udp"), kind) {
            (true, SRV) => odd.clone(),
            (false, A) => Reply::Records(vec![vec![192, 0, 2, 1]]),
            _ => Reply::Code(0),
        });
        let began = Instant::now();
        let found = ask(server, question("odd.example", None, None)).await;
        assert_eq!(places(&found), [(place(Protocol::Udp, "192.0.2.1:5060"), 0, 0)], "{shown}");
        assert!(began.elapsed() < Duration::from_secs(6), "{shown}: {:?}", began.elapsed());
    }
    // An alias is followed, whoever tells where it leads.
    let server = script(|name, kind| match (name, kind) {
        ("alias.example", A) => Reply::Alias(vec![1, b'a', 0]),
        ("a", A) => Reply::Records(vec![vec![192, 0, 2, 7]]),
        _ => Reply::Code(0),
    });
    let found = ask(server, question("alias.example", Some(5060), None)).await;
    assert_eq!(places(&found), [(place(Protocol::Udp, "192.0.2.7:5060"), 0, 0)]);
}

#[tokio::test]
async fn na_7_what_is_no_place_of_a_server_is_no_place_to_send_to() {
    let server = script(|name, kind| match (name, kind) {
        ("_sip._udp.odd.test", SRV) => Reply::Records(vec![
            // Port 0; then one whose addresses are of nobody but the last.
            vec![0, 1, 0, 1, 0, 0, 1, b'a', 0],
            vec![0, 2, 0, 1, 0x13, 0xc4, 1, b'b', 0],
        ]),
        ("b", A) => Reply::Records([[0, 0, 0, 0], [239, 1, 1, 1], [255; 4], [192, 0, 2, 2]].map(Vec::from).to_vec()),
        ("b", AAAA) => Reply::Records(vec![vec![0; 16], [vec![0xff; 1], vec![2; 15]].concat()]),
        (_, A) => Reply::Records(vec![vec![192, 0, 2, 1]]),
        _ => Reply::Code(0),
    });
    let found = ask(server, question("odd.test", None, None)).await;
    assert_eq!((places(&found), found.is_whole), (vec![(place(Protocol::Udp, "192.0.2.2:5060"), 2, 1)], true));
}

#[tokio::test]
async fn na_7_of_hundreds_of_records_the_preferred_are_known() {
    let server = script(|name, kind| match kind {
        // The name server may put the best one last.
        SRV if name.starts_with("_sip._udp") => {
            let record = |priority: u8| [&[0, priority, 0, 1, 0x13, 0xc4, 1, b'a' + priority % 26, 0][..]].concat();
            Reply::Records((0..40).rev().map(record).collect())
        }
        A => Reply::Records(vec![vec![192, 0, 2, name.as_bytes()[0]]]),
        _ => Reply::Code(0),
    });
    let found = ask(server, question("many.test", None, None)).await;
    assert!(found.is_whole);
    assert_eq!(found.servers.iter().map(|server| server.priority).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
}

#[tokio::test]
async fn na_7_many_names_at_once_are_all_found() {
    let server = script(|_, kind| if kind == A { Reply::Records(vec![vec![192, 0, 2, 1]]) } else { Reply::Code(0) });
    let (events, mut answers) = tokio::sync::mpsc::channel(1);
    let resolver = Resolver::new(&[server], events, Metrics::new()).unwrap();
    for number in 0..100 {
        resolver.resolve(QueryId(number), question(&format!("sbc{number}.test"), Some(5060), None));
    }
    for _ in 0..100 {
        let Event::Input(Input::Resolved { found, .. }) = answers.recv().await.unwrap() else { panic!() };
        assert_eq!(found.servers.len(), 1);
    }
}

#[tokio::test]
async fn na_7_half_an_answer_says_so_and_no_answer_comes_in_time() {
    let dns = Dnsmasq::start();
    let found = answer(&dns, question("holes.test", None, Some(Protocol::Udp))).await;
    assert_eq!((found.servers.len(), found.is_whole), (1, false));
    let found = answer(&dns, question("nobody.test", None, None)).await;
    assert!(found.servers.is_empty() && !found.is_whole);
    // A name server that is silent.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let found = ask(silent.local_addr().unwrap(), question("plain.test", None, None)).await;
    assert!(found.servers.is_empty() && !found.is_whole);
    assert!(began.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn addresses_of_the_system_are_found_too() {
    let (events, mut answers) = tokio::sync::mpsc::channel(1);
    let resolver = Resolver::new(&[], events, Metrics::new()).unwrap();
    resolver.resolve(QueryId(1), question("localhost", Some(5060), None));
    let Event::Input(Input::Resolved { found, .. }) = answers.recv().await.unwrap() else { panic!() };
    assert!(found.servers.iter().any(|server| server.place.remote.ip().is_loopback()), "{found:?}");
}
