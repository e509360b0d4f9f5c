//! SIGHUP: read the configuration again. A wrong one is reported and the old one kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::events::Event;
use super::file::{self, Configuration};
use super::tls;
use crate::config::Config;

/// Reads `path` at every SIGHUP, off the run loop; what is right goes to `events`.
pub fn on_hangup(path: PathBuf, events: mpsc::Sender<Event>) -> std::io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let path = path.clone();
            let new = match tokio::task::spawn_blocking(move || file::load(&path)).await {
                Ok(Ok(new)) => new,
                Ok(Err(fault)) => {
                    tracing::error!("the new configuration is wrong, the old one stays:\n{fault}");
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "the new configuration could not be read, the old one stays");
                    continue;
                }
            };
            if events.send(Event::Reloaded(Box::new(new))).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Reads the files of TLS again, off the run loop. What comes of it is told in any case.
pub fn reread(config: Arc<Config>, events: mpsc::Sender<Event>) {
    tokio::task::spawn_blocking(move || {
        let (material, _) = tls::load(&config, SystemTime::now());
        let _ = events.blocking_send(Event::Reread(Box::new(material)));
    });
}

/// The new configuration with what cannot change while running taken from the `running` one, which is said in the log.
/// Certificates are renewed all the same: each listener that runs takes those of its successor.
pub fn adopt(running: &Config, new: Configuration) -> Configuration {
    let Configuration { config: mut new, mut tls, geography, faults } = new;
    let asked_same = |(old, new): (&crate::config::Listener, &crate::config::Listener)| {
        let mut bound = new.clone();
        // Port 0 asked for any port, and has one.
        if new.address.port() == 0 {
            bound.address.set_port(old.address.port());
        }
        bound.tls.clone_from(&old.tls);
        *old == bound
    };
    let same_listeners =
        running.listeners.len() == new.listeners.len() && running.listeners.iter().zip(&new.listeners).all(asked_same);
    let successor = |old| new.listeners.iter().position(|new| asked_same((old, new)));
    let renewed = |old| tls.servers.get(successor(old)?).cloned().flatten();
    tls.servers = running.listeners.iter().map(renewed).collect();
    let files = |old| new.listeners.get(successor(old)?).map(|new| new.tls.clone());
    let files: Vec<_> = running.listeners.iter().map(files).collect();
    if !same_listeners {
        tracing::warn!("[[sip.listen]] has changed: restart to listen there; the old listeners stay");
    }
    new.listeners.clone_from(&running.listeners);
    for (listener, files) in new.listeners.iter_mut().zip(files) {
        listener.tls = files.unwrap_or_else(|| listener.tls.take());
    }
    if running.admin.listen != new.admin.listen || running.admin.token != new.admin.token {
        tracing::warn!("[admin] has changed: restart for it");
        new.admin.clone_from(&running.admin);
    }
    if running.sip.dns != new.sip.dns {
        tracing::warn!("[sip] dns has changed: restart for it");
        new.sip.dns.clone_from(&running.sip.dns);
    }
    if running.store.place != new.store.place {
        tracing::warn!("[store] url has changed: restart for it");
        new.store.place.clone_from(&running.store.place);
    }
    Configuration { config: new, tls, geography, faults }
}
