//! Names to addresses, off the run loop: NAPTR, SRV, A and AAAA as RFC 3263 §4 wants them, asked by hickory.
//!
//! Nothing is cached here: the node keeps what it was told, asks again when the TTL is over, and goes on with what it has
//! when there is no answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::{CompactString, format_compact};
use futures_util::future::{join, join_all};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::{Semaphore, mpsc};

use super::events::Event;
use crate::admin::{Dropped, Metrics};
use crate::base::{Protocol, limits};
use crate::node::{Input, QueryId};
use crate::transport::finding::Naptr;
use crate::transport::{Found, Place, Question, Server};

/// How long one name server may take; each is asked twice.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long one look-up may take, whatever the name servers do; a question leads to at most four in a row.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions at once; further ones wait their turn.
const AT_ONCE: usize = 32;
/// How long one may wait for that: no longer than those before it can take.
const TURN: Duration = Duration::from_secs(20);

pub struct Resolver {
    dns: TokioResolver,
    slots: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    metrics: Metrics,
}

impl Resolver {
    /// Asks these name servers; those of the system where there are none.
    pub fn new(servers: &[SocketAddr], events: mpsc::Sender<Event>, metrics: Metrics) -> io::Result<Self> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::warn!(%error, "the name servers of the system are not known: names are found in its hosts file only");
                builder(ResolverConfig::default())
            })
        } else {
            let servers = servers.iter().map(name_server).collect();
            builder(ResolverConfig::from_parts(None, Vec::new(), servers))
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.cache_size = 0;
        let dns = builder.build().map_err(io::Error::other)?;
        Ok(Self { dns, slots: Arc::new(Semaphore::new(AT_ONCE)), events, metrics })
    }

    /// Answers with exactly one `Input::Resolved`, empty when there is no answer or too many are being asked.
    pub fn resolve(&self, query: QueryId, question: Question) {
        let (dns, events, metrics) = (self.dns.clone(), self.events.clone(), self.metrics.clone());
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.slots).acquire_owned());
        tokio::spawn(async move {
            let found = match turn.await {
                Ok(Ok(_slot)) => locate(&dns, &question).await,
                Ok(Err(_)) | Err(_) => {
                    metrics.dropped(Dropped::Resolve);
                    Found::nothing()
                }
            };
            let _ = events.send(Event::Input(Input::Resolved { query, found })).await;
        });
    }
}

fn builder(config: ResolverConfig) -> hickory_resolver::ResolverBuilder<TokioRuntimeProvider> {
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

async fn locate(dns: &TokioResolver, question: &Question) -> Found {
    let host = &question.host;
    let mut search = Search { dns, ttl: Duration::MAX, is_whole: true };
    let servers = search.run(question).await;
    let Search { ttl, mut is_whole, .. } = search;
    if servers.is_empty() {
        tracing::warn!(%host, "name not resolved");
        is_whole = false;
    } else if !is_whole {
        tracing::debug!(%host, "name resolved in part");
    }
    Found { servers, ttl, is_whole }
}

/// The questions one URI leads to, and how far their answers go.
struct Search<'a> {
    dns: &'a TokioResolver,
    ttl: Duration,
    is_whole: bool,
}

/// What came of one look-up.
struct Answer<T> {
    records: Vec<T>,
    ttl: Duration,
    is_whole: bool,
}

impl<T> Answer<T> {
    /// That there is none is an answer too.
    const NONE: Self = Self { records: Vec::new(), ttl: Duration::MAX, is_whole: true };
    const FAILED: Self = Self { records: Vec::new(), ttl: Duration::MAX, is_whole: false };
}

impl Search<'_> {
    async fn run(&mut self, question: &Question) -> Vec<Server> {
        let mut services = Vec::new();
        if question.wants_naptr() {
            let records = naptr(self.dns, &question.host).await;
            services = question.among(self.take(records));
        }
        if services.is_empty() {
            services = question.services();
        }
        services.truncate(limits::ADDRESSES_PER_TARGET);
        let mut servers = self.by_service(services).await;
        if servers.is_empty() {
            let (protocol, port) = question.direct();
            let addresses = addresses(self.dns, &question.host).await;
            for (address, record) in self.take(addresses).into_iter().zip(0..) {
                let place = Place { protocol, remote: SocketAddr::new(address, port) };
                servers.push(Server { place, record, priority: u32::from(record), weight: 0 });
            }
        }
        servers.truncate(limits::ADDRESSES_PER_TARGET);
        servers
    }

    async fn by_service(&mut self, services: Vec<(Protocol, CompactString)>) -> Vec<Server> {
        let asked = services.iter().map(|(_, name)| srv(self.dns, name));
        let (mut records, mut level) = (Vec::new(), 0);
        for (answer, (protocol, _)) in join_all(asked).await.into_iter().zip(&services) {
            let mut found = self.take(answer);
            found.sort_by_key(|srv| srv.priority);
            // What NAPTR prefers goes before all SRV priorities of the next.
            records.extend(found.into_iter().map(|srv| (*protocol, level + u32::from(srv.priority), srv)));
            level += 1 << 16;
        }
        records.truncate(limits::ADDRESSES_PER_TARGET);
        let asked = records.iter().map(|(_, _, srv)| addresses(self.dns, &srv.target));
        let mut servers = Vec::new();
        for (answer, (record, (protocol, priority, srv))) in join_all(asked).await.into_iter().zip((0..).zip(&records))
        {
            for address in self.take(answer) {
                let place = Place { protocol: *protocol, remote: SocketAddr::new(address, srv.port) };
                servers.push(Server { place, record, priority: *priority, weight: srv.weight });
            }
        }
        servers
    }

    fn take<T>(&mut self, answer: Answer<T>) -> Vec<T> {
        self.ttl = self.ttl.min(answer.ttl);
        self.is_whole &= answer.is_whole;
        answer.records
    }
}

async fn naptr(dns: &TokioResolver, host: &str) -> Answer<Naptr> {
    let text = |bytes: &[u8]| bytes.into();
    let naptr = |data: &RData| match data {
        RData::NAPTR(naptr) => Some(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            services: text(&naptr.services),
            replacement: format_compact!("{}", naptr.replacement),
        }),
        _ => None,
    };
    lookup(dns, host, RecordType::NAPTR, naptr).await
}

async fn srv(dns: &TokioResolver, name: &str) -> Answer<Srv> {
    let srv = |data: &RData| match data {
        // RFC 2782: a target of "." means that the service is not there. Nor is anything on port 0.
        RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: format_compact!("{}", srv.target),
        }),
        _ => None,
    };
    lookup(dns, name, RecordType::SRV, srv).await
}

/// Of both families, each by itself: one that fails is not to pass for one without addresses.
async fn addresses(dns: &TokioResolver, host: &str) -> Answer<IpAddr> {
    let address = |data: &RData| data.ip_addr().filter(is_of_somebody);
    let (mut both, six) =
        join(lookup(dns, host, RecordType::A, address), lookup(dns, host, RecordType::AAAA, address)).await;
    both.records.extend(six.records);
    Answer { records: both.records, ttl: both.ttl.min(six.ttl), is_whole: both.is_whole && six.is_whole }
}

async fn lookup<T>(dns: &TokioResolver, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Answer<T> {
    match tokio::time::timeout(PATIENCE, dns.lookup(absolute(name).as_str(), kind)).await {
        Ok(Ok(answer)) => Answer {
            records: answer.answers().iter().filter_map(|record| read(&record.data)).collect(),
            ttl: answer.valid_until().saturating_duration_since(Instant::now()),
            is_whole: true,
        },
        Ok(Err(error)) if says_there_is_none(&error, kind) => Answer::NONE,
        Ok(Err(error)) => {
            tracing::debug!(name, %kind, %error, "no answer from DNS");
            Answer::FAILED
        }
        Err(_) => {
            tracing::debug!(name, %kind, "no answer from DNS in time");
            Answer::FAILED
        }
    }
}

/// Filters that block a name answer 0.0.0.0, which to the system is ourselves.
fn is_of_somebody(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

struct Srv {
    priority: u16,
    weight: u16,
    port: u16,
    target: CompactString,
}

/// No such record, or a name server that knows nothing of the kind: some answer NAPTR so. Every one knows addresses.
fn says_there_is_none(error: &NetError, kind: RecordType) -> bool {
    use ResponseCode::{FormErr, NotImp, Refused};
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => true,
        NetError::Dns(DnsError::ResponseCode(FormErr | NotImp | Refused)) => !kind.is_ip_addr(),
        _ => false,
    }
}

/// With the dot that keeps search domains away; a name of one label is left to them.
fn absolute(name: &str) -> CompactString {
    let is_short = !name.contains('.') || name.ends_with('.');
    if is_short { name.into() } else { format_compact!("{name}.") }
}
