//! `sosbridge serve`: from a configuration to a running daemon, in the order in which things may fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use super::connections::Connections;
use super::dns::Resolver;
use super::file::Configuration;
use super::media::MediaPlane;
use super::post::Posts;
use super::run::Loop;
use super::secure::Secure;
use super::sockets::{self, BindFault, Bound};
use super::store::{self, Store};
use super::{events, http, mmsg};
use crate::admin::Metrics;
use crate::base::limits;
use crate::config::Config;
use crate::node::{Boot, Input, Node};

/// Answers of the store waiting for the loop: many times what one round can cause, so that the store never waits.
const STORE_ANSWERS: usize = 16 * 1024;

/// However low the limit on open files is.
const FEWEST_CONNECTIONS: usize = 64;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    #[error(transparent)]
    Bind(#[from] BindFault),
    #[error(transparent)]
    Store(#[from] store::OpenFault),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the daemon until a signal ends it. `config_path` is read again at SIGHUP.
pub fn serve(configuration: Configuration, config_path: PathBuf) -> Result<(), ServeFault> {
    let Configuration { mut config, tls, geography, .. } = configuration;
    let (connections, handshakes) = capacity();
    let bound = sockets::bind_all(&mut config.listeners, &tls.servers)?;
    let admin_socket = sockets::bind_admin(config.admin.listen)?;
    let metrics = Metrics::new();
    metrics.files_unusable(tls.unusable.count());
    let is_serving = Arc::new(AtomicBool::new(false));
    let (asks, asked) = mpsc::channel(http::QUEUE);
    let token = config.admin.token.as_ref().map(|token| token.0.to_string());
    http::start(
        admin_socket,
        http::Admin { asks, metrics: metrics.clone(), token, is_serving: Arc::clone(&is_serving) },
    )?;

    let (answers, written) = mpsc::channel(STORE_ANSWERS);
    let (store, clock, loaded) = Store::open_later(&config.store.place, &config.node.name, &config.pools, answers)?;
    store.keep_records(config.store.keep_records);
    store.is_reached_at(&config.datagram_addresses());
    for unreadable in &loaded.unreadable {
        tracing::error!("a row of the store cannot be read and stays there: {unreadable}");
    }
    let (leases, bindings) = (loaded.leases.len(), loaded.bindings.len());
    let config = Arc::new(config);
    let boot = Boot {
        now: clock.now(),
        seed: seed()?,
        wall_offset_ms: clock.wall_offset_ms(),
        leases: loaded.leases,
        bindings: loaded.bindings,
        records: loaded.records,
        notices: loaded.notices,
    };
    let roots = tls.web.clone();
    let secure = Secure::start(tls, handshakes)?;
    let mut node = Node::new(Arc::clone(&config), boot, metrics.clone());
    node.limit_connections(connections);
    if loaded.is_unknown {
        node.begin_without_leases();
    }
    if let Some(input) = geography.input() {
        node.handle(clock.now(), input);
    }
    if let Some(share) = loaded.share {
        node.handle(clock.now(), Input::Share(share));
    }
    node.handle(clock.now(), Input::Elsewhere(loaded.elsewhere));
    let random = u64::from_le_bytes(seed()?.first_chunk().copied().unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let parts = Parts { random, node, clock, store, config, config_path, secure, roots, metrics, written, asked };
        let running = assemble(parts, bound)?;
        is_serving.store(true, Ordering::Release);
        tracing::info!(leases, bindings, "ready");
        running.run().await
    })?;
    Ok(())
}

/// How many connections, and handshakes at one listener, the limit on open files allows: calls need files too.
fn capacity() -> (usize, usize) {
    let files = mmsg::raise_open_files().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit on open files stays as it is");
        mmsg::USUAL_OPEN_FILES
    });
    // A pair of ports is two files, of either address family.
    let files = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(4 * limits::PORTS_READY);
    let connections = (files / 2).clamp(FEWEST_CONNECTIONS, limits::CONNECTIONS);
    if connections < limits::CONNECTIONS {
        tracing::info!(files, connections, "the limit on open files is low: fewer connections are taken");
    }
    (connections, (files / 8).clamp(FEWEST_CONNECTIONS, limits::HANDSHAKES))
}

struct Parts {
    random: u64,
    node: Node,
    clock: super::clock::NodeClock,
    store: Store,
    config: Arc<Config>,
    config_path: PathBuf,
    secure: Secure,
    roots: Vec<CertificateDer<'static>>,
    metrics: Metrics,
    written: mpsc::Receiver<store::Done>,
    asked: mpsc::Receiver<http::Ask>,
}

/// Needs the runtime: sockets are registered with it.
fn assemble(parts: Parts, bound: Vec<Bound>) -> std::io::Result<Loop> {
    let (sender, events) = mpsc::channel(events::QUEUE);
    let (media, news) = MediaPlane::start(&parts.config.media, sender.clone(), parts.random)?;
    let mut node = parts.node;
    news.into_iter().for_each(|news| node.handle(parts.clock.now(), Input::Media(news)));
    let local = parts.config.listeners.iter().map(|listener| listener.address.ip()).collect();
    Ok(Loop {
        node,
        media,
        clock: parts.clock,
        store: parts.store,
        resolver: Resolver::new(&parts.config.sip.dns, sender.clone(), parts.metrics.clone())?,
        posts: Posts::start(&parts.config, &parts.roots, sender.clone())?,
        ng: super::ng::Ng::new(sender.clone()),
        config: parts.config,
        config_path: parts.config_path,
        udp: sockets::start_all(bound, &sender, &parts.secure, &parts.metrics)?,
        connections: Connections::new(sender.clone(), parts.metrics.clone(), parts.secure, local),
        metrics: parts.metrics,
        sender,
        events,
        written: parts.written,
        asks: parts.asked,
    })
}

/// Randomness of the operating system: tags, branches and nonces come from it.
fn seed() -> std::io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
