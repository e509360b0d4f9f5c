//! JSON to the webhooks of the configuration: threads of their own, so that no endpoint keeps a call waiting.
//!
//! One POST, one answer. What is to be tried again, and when, is the business of the node.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::events::Event;
use crate::base::limits;
use crate::config::{Config, Hidden};
use crate::node::{Hook, Input};

/// How long an endpoint may take, from its name to its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Posts that wait for a thread.
const QUEUE: usize = 64;
/// Threads that wake phones.
const WAKES: usize = 4;

/// The endpoints as they are configured now.
pub struct Posts {
    notify: Option<Endpoint>,
    wake: Option<Endpoint>,
    events: mpsc::Sender<Event>,
}

struct Job {
    post: u64,
    body: String,
}

/// Its threads end when it is dropped and what it has taken is posted.
struct Endpoint {
    jobs: SyncSender<Job>,
}

/// What one thread posts with.
#[derive(Clone)]
struct Poster {
    hook: Hook,
    agent: ureq::Agent,
    url: String,
    token: Option<Hidden>,
    events: mpsc::Sender<Event>,
}

impl Posts {
    /// `roots`: who signs the certificates of the endpoints.
    pub fn start(config: &Config, roots: &[CertificateDer<'_>], events: mpsc::Sender<Event>) -> io::Result<Self> {
        let mut posts = Self { notify: None, wake: None, events };
        posts.renew(config, roots)?;
        Ok(posts)
    }

    /// Posts from now on go where this configuration says.
    pub fn renew(&mut self, config: &Config, roots: &[CertificateDer<'_>]) -> io::Result<()> {
        let agent = agent(config, roots);
        let endpoint = |hook, url: Option<&_>, token: Option<&Hidden>, threads| {
            let Some(url) = url else { return Ok(None) };
            let (url, token, events) = (String::from(url), token.cloned(), self.events.clone());
            Endpoint::start(&Poster { hook, agent: agent.clone(), url, token, events }, threads).map(Some)
        };
        let (notify, callback) = (&config.notify, &config.callback);
        let url = notify.url.as_deref();
        let new = endpoint(Hook::Notify, url, notify.token.as_ref(), limits::NOTICES_AT_ONCE)?;
        let wake = endpoint(Hook::Wake, callback.wake_url.as_deref(), callback.wake_token.as_ref(), WAKES)?;
        (self.notify, self.wake) = (new, wake);
        Ok(())
    }

    /// Never waits.
    ///
    /// # Errors
    /// Why it is not even tried; no answer follows.
    pub fn post(&self, hook: Hook, post: u64, body: String) -> Result<(), String> {
        let endpoint = match hook {
            Hook::Notify => &self.notify,
            Hook::Wake => &self.wake,
        };
        let endpoint = endpoint.as_ref().ok_or("no url is configured")?;
        endpoint.jobs.try_send(Job { post, body }).map_err(|_| "too many posts wait for the endpoint".to_owned())
    }
}

impl Endpoint {
    fn start(poster: &Poster, threads: usize) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let (poster, waiting) = (poster.clone(), Arc::clone(&waiting));
            std::thread::Builder::new().name("post".to_owned()).spawn(move || poster.run(&waiting))?;
        }
        Ok(Self { jobs })
    }
}

impl Poster {
    fn run(&self, waiting: &Mutex<Receiver<Job>>) {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { post, body }) = next else { return };
            let result = self.post(&body);
            if self.events.blocking_send(Event::Input(Input::Posted { hook: self.hook, post, result })).is_err() {
                return;
            }
        }
    }

    fn post(&self, body: &str) -> Result<u16, String> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.0));
        }
        let response = request.send(body).map_err(|error| error.to_string())?;
        Ok(response.status().as_u16())
    }
}

fn agent(config: &Config, roots: &[CertificateDer<'_>]) -> ureq::Agent {
    let roots: Vec<_> = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        // Whatever the environment says of proxies.
        .proxy(None)
        // A redirection would turn the POST into a GET (RFC 9110 §15.4.3): it is no acknowledgement.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A connection that was kept may be gone by the time of the next call, which must not find that out first.
        .max_idle_connections(0)
        .user_agent(config.sip.user_agent.as_str())
        .tls_config(tls)
        .build()
        .into()
}
