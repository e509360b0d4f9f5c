//! Names to addresses, off the run loop: NAPTR, SRV, A and AAAA as RFC 3263 §4 wants them, asked by hickory.
//!
//! Nothing is cached here: the node keeps what it was told, asks again when the TTL is over, and goes on with what it has
//! when there is no answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::{CompactString, format_compact};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::{Semaphore, mpsc};

use super::events::Event;
use crate::admin::{Dropped, Metrics};
use crate::base::{Protocol, limits};
use crate::node::{Input, QueryId};
use crate::transport::finding::{self, Naptr};
use crate::transport::{Found, Place, Question, Server};

/// How long one name server may take; each is asked twice.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long all that one question leads to may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Questions at once.
const AT_ONCE: usize = 32;

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
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let dns = builder.build().map_err(io::Error::other)?;
        Ok(Self { dns, slots: Arc::new(Semaphore::new(AT_ONCE)), events, metrics })
    }

    /// Answers with exactly one `Input::Resolved`, empty when there is no answer or too many are being asked.
    pub fn resolve(&self, query: QueryId, question: Question) {
        let events = self.events.clone();
        let dns = self.dns.clone();
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        if slot.is_err() {
            self.metrics.dropped(Dropped::Resolve);
        }
        tokio::spawn(async move {
            let found = match slot {
                Ok(_slot) => locate(dns, &question).await,
                Err(_) => Found::nothing(),
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

async fn locate(dns: TokioResolver, question: &Question) -> Found {
    let host = &question.host;
    let mut search = Search { dns, found: Found { ttl: Duration::MAX, is_whole: true, ..Found::nothing() } };
    if tokio::time::timeout(PATIENCE, search.run(question)).await.is_err() {
        search.found.is_whole = false;
    }
    let Search { mut found, .. } = search;
    if found.servers.is_empty() {
        tracing::warn!(%host, "name not resolved");
        found.is_whole = false;
    } else if !found.is_whole {
        tracing::warn!(%host, "name resolved in part");
    }
    found
}

/// The questions one URI leads to, and what came of them.
struct Search {
    dns: TokioResolver,
    found: Found,
}

impl Search {
    async fn run(&mut self, question: &Question) {
        let mut services = Vec::new();
        if question.wants_naptr() {
            services = finding::services(self.naptr(&question.host).await);
        }
        if services.is_empty() {
            services = question.services();
        }
        let (mut records, mut level) = (0, 0);
        for (protocol, name) in services {
            // What NAPTR prefers goes before all SRV priorities of the next.
            for srv in self.srv(&name).await {
                let priority = level + u32::from(srv.priority);
                for address in self.addresses(&srv.target).await {
                    let place = Place { protocol, remote: SocketAddr::new(address, srv.port) };
                    self.add(Server { place, record: records, priority, weight: srv.weight });
                }
                records = records.saturating_add(1);
            }
            level += 1 << 16;
        }
        if self.found.servers.is_empty() {
            let (protocol, port) = question.direct();
            self.direct(&question.host, protocol, port).await;
        }
    }

    async fn direct(&mut self, host: &str, protocol: Protocol, port: u16) {
        for (address, record) in self.addresses(host).await.into_iter().zip(0..) {
            let place = Place { protocol, remote: SocketAddr::new(address, port) };
            self.add(Server { place, record, priority: u32::from(record), weight: 0 });
        }
    }

    fn add(&mut self, server: Server) {
        if self.found.servers.len() < limits::ADDRESSES_PER_TARGET {
            self.found.servers.push(server);
        }
    }

    async fn naptr(&mut self, host: &str) -> Vec<Naptr> {
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
        self.lookup(host, RecordType::NAPTR, naptr).await
    }

    async fn srv(&mut self, name: &str) -> Vec<Srv> {
        let srv = |data: &RData| match data {
            // RFC 2782: a target of "." means that the service is not there.
            RData::SRV(srv) if !srv.target.is_root() => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: format_compact!("{}", srv.target),
            }),
            _ => None,
        };
        self.lookup(name, RecordType::SRV, srv).await
    }

    async fn addresses(&mut self, host: &str) -> Vec<IpAddr> {
        match self.dns.lookup_ip(absolute(host).as_str()).await {
            Ok(answer) => {
                self.believe_until(answer.as_lookup().valid_until());
                answer.iter().collect()
            }
            Err(error) => {
                tracing::debug!(host, %error, "no address");
                self.found.is_whole = false;
                Vec::new()
            }
        }
    }

    async fn lookup<T>(&mut self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Vec<T> {
        match self.dns.lookup(absolute(name).as_str(), kind).await {
            Ok(answer) => {
                self.believe_until(answer.valid_until());
                answer.answers().iter().filter_map(|record| read(&record.data)).collect()
            }
            // That there is none is an answer too.
            Err(error) if says_there_is_none(&error) => Vec::new(),
            Err(error) => {
                tracing::debug!(name, %kind, %error, "no answer from DNS");
                self.found.is_whole = false;
                Vec::new()
            }
        }
    }

    fn believe_until(&mut self, end: Instant) {
        self.found.ttl = self.found.ttl.min(end.saturating_duration_since(Instant::now()));
    }
}

struct Srv {
    priority: u16,
    weight: u16,
    port: u16,
    target: CompactString,
}

/// No such record, or a name server that knows nothing of the kind: some answer NAPTR so.
fn says_there_is_none(error: &NetError) -> bool {
    use ResponseCode::{FormErr, NotImp, Refused};
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => true,
        NetError::Dns(DnsError::ResponseCode(code)) => matches!(code, FormErr | NotImp | Refused),
        _ => false,
    }
}

/// With the dot that keeps search domains away; a name of one label is left to them.
fn absolute(name: &str) -> CompactString {
    let is_short = !name.contains('.') || name.ends_with('.');
    if is_short { name.into() } else { format_compact!("{name}.") }
}
