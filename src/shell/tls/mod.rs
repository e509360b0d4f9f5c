//! TLS by rustls: the files of the configuration, read and checked, become what handshakes are made with.
//!
//! Everything is read anew at start, at `check` and at SIGHUP; connections that are up keep what they were made with. A file that
//! cannot be used costs what needs it, and nothing else (SPEC §10).

mod certificate;
mod verify;

#[cfg(test)]
mod tests;

pub use certificate::Identities;
pub use verify::{explain, is_refusal};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use compact_str::CompactString;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::base::Protocol;
use crate::config::{Certificate, Config, ListenerTls, PeerTls, PemFile, Problem, Severity, Target};
use verify::DomainVerifier;

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
const DAY_SECONDS: u64 = 24 * 3600;

/// What handshakes are made with.
#[derive(Clone, Default)]
pub struct Material {
    /// By `ListenerId`; `None` where there is no TLS, or a file of it cannot be used.
    pub servers: Vec<Option<Arc<ServerConfig>>>,
    /// By name of the trunk, or of the PBX; only those with a target under TLS, and usable files.
    pub clients: BTreeMap<(CompactString, CompactString), Client>,
    /// Who signs the certificates of webhooks; empty when none of them is under TLS.
    pub web: Vec<CertificateDer<'static>>,
    pub own: Validities,
    /// Files that cannot be used.
    pub unusable: Unusable,
}

/// What connections to one trunk, or PBX, are made with.
#[derive(Clone)]
pub struct Client {
    pub usual: Arc<ClientConfig>,
    /// Of the last resort of an emergency call: it may have a certificate that does not hold today.
    pub last_resort: Arc<ClientConfig>,
}

/// Files that cannot be used, and why.
#[derive(Clone, Debug, Default)]
pub struct Unusable(Vec<(PathBuf, String)>);

impl Unusable {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What is wrong, each a sentence with the key and the file.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, what)| what.as_str())
    }

    /// True when the others lack no file that these do not.
    pub fn include(&self, others: &Self) -> bool {
        others.0.iter().all(|(file, _)| self.0.iter().any(|(own, _)| own == file))
    }
}

/// The files of our own certificates, and when each begins and ends to hold.
#[derive(Clone, Default)]
pub struct Validities(Vec<(PathBuf, (SystemTime, SystemTime))>);

impl Validities {
    /// Those that do not hold, or soon will not, and what is to be said of each.
    pub fn ending(&self, now: SystemTime) -> impl Iterator<Item = (&Path, String)> {
        self.0.iter().filter_map(move |(file, validity)| Some((file.as_path(), ending(now, *validity)?)))
    }
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

/// Reads every file that the configuration names for TLS. Errors are of those that cannot be used, warnings of certificates that
/// end soon.
pub fn load(config: &Config, now: SystemTime) -> (Material, Vec<Problem>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (own, unusable) = (Validities::default(), Unusable::default());
    let mut reader = Reader { now, provider, problems: Vec::new(), own, unusable };
    let servers = config.listeners.iter().map(|listener| reader.server(listener.tls.as_ref()?)).collect();
    let is_secure = |target: &Target| target.protocol == Some(Protocol::Tls);
    let (mut clients, mut system) = (BTreeMap::new(), None);
    for trunk in config.trunks.iter().filter(|trunk| trunk.targets.iter().any(is_secure)) {
        let client = reader.client(&trunk.tls, &mut system);
        clients.extend(client.map(|client| ((trunk.name.clone(), CompactString::default()), client)));
    }
    for pbx in config.pbxs.iter().filter(|pbx| is_secure(&pbx.target)) {
        let client = reader.client(&pbx.tls, &mut system);
        clients.extend(client.map(|client| ((CompactString::default(), pbx.name.clone()), client)));
    }
    let urls = [&config.notify.url, &config.callback.wake_url];
    let is_secure = urls.into_iter().flatten().any(|url| url.starts_with("https:"));
    let web = match &config.notify.ca {
        Some(file) => reader.certificates(file).unwrap_or_default(),
        None if is_secure => native_roots(),
        None => Vec::new(),
    };
    let Reader { own, unusable, problems, .. } = reader;
    (Material { servers, clients, web, own, unusable }, problems)
}

struct Reader {
    now: SystemTime,
    provider: Arc<CryptoProvider>,
    problems: Vec<Problem>,
    own: Validities,
    unusable: Unusable,
}

impl Reader {
    fn server(&mut self, tls: &ListenerTls) -> Option<Arc<ServerConfig>> {
        let (chain, key) = self.own(&tls.own)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(self.roots(file)?);
                let provider = Arc::clone(&self.provider);
                // Asked for, verified when given: phones of the same listener have none (RFC 5922 §7.4).
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated().build();
                builder.with_client_cert_verifier(self.told(file, verifier)?)
            }
        };
        let config = builder.with_single_cert(chain, key);
        self.told(&tls.own.key, config).map(Arc::new)
    }

    /// `system`: the roots of the machine, read once when first wanted.
    fn client(&mut self, tls: &PeerTls, system: &mut Option<Arc<RootCertStore>>) -> Option<Client> {
        let roots = match &tls.ca {
            Some(file) => Arc::new(self.roots(file)?),
            None => Arc::clone(system.get_or_insert_with(|| Arc::new(system_roots()))),
        };
        let algorithms = self.provider.signature_verification_algorithms;
        let verifier = DomainVerifier { roots, algorithms, is_last_resort: false };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier.clone()));
        let config = match &tls.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = self.own(own)?;
                let config = builder.with_client_auth_cert(chain, key);
                self.told(&own.key, config)?
            }
        };
        let mut last_resort = config.clone();
        // What is resumed is not verified: none of it may come to use elsewhere.
        last_resort.resumption = Resumption::disabled();
        let verifier = DomainVerifier { is_last_resort: true, ..verifier };
        last_resort.dangerous().set_certificate_verifier(Arc::new(verifier));
        Some(Client { usual: Arc::new(config), last_resort: Arc::new(last_resort) })
    }

    fn own(&mut self, own: &Certificate) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = self.certificates(&own.cert);
        let key = PrivateKeyDer::from_pem_file(&own.key.path);
        let key = self.told_with(&own.key, key, |fault| pem_fault(&fault, "no private key"));
        let (chain, key) = (chain?, key?);
        if let Some(first) = chain.first() {
            self.warn_of_end(&own.cert, first);
        }
        Some((chain, key))
    }

    fn roots(&mut self, file: &PemFile) -> Option<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(self.certificates(file)?);
        if roots.is_empty() || unusable > 0 {
            self.lacks(file, &format!("holds {unusable} certificates that cannot be read"));
            return None;
        }
        Some(roots)
    }

    fn certificates(&mut self, file: &PemFile) -> Option<Vec<CertificateDer<'static>>> {
        let read = |path: &Path| CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
        let read =
            read(&file.path).and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
        self.told_with(file, read, |fault| pem_fault(&fault, "no certificate"))
    }

    fn warn_of_end(&mut self, file: &PemFile, der: &[u8]) {
        let Some(validity) = certificate::validity(der) else { return };
        self.own.0.push((file.path.clone(), validity));
        if let Some(what) = ending(self.now, validity) {
            self.problems.push(file.problem(Severity::Warning, &what));
        }
    }

    fn told<T, E: std::fmt::Display>(&mut self, file: &PemFile, result: Result<T, E>) -> Option<T> {
        self.told_with(file, result, |fault| format!("cannot be used: {fault}"))
    }

    fn told_with<T, E>(&mut self, file: &PemFile, result: Result<T, E>, words: impl Fn(E) -> String) -> Option<T> {
        result.map_err(|fault| self.lacks(file, &words(fault))).ok()
    }

    fn lacks(&mut self, file: &PemFile, what: &str) {
        let problem = file.problem(Severity::Error, what);
        self.unusable.0.push((file.path.clone(), problem.message.clone()));
        self.problems.push(problem);
    }
}

/// What is to be said of a certificate that does not hold, or soon will not.
fn ending(now: SystemTime, (from, until): (SystemTime, SystemTime)) -> Option<String> {
    let days = |time: Duration| time.as_secs() / DAY_SECONDS;
    match until.duration_since(now) {
        Err(past) => Some(format!("has expired {} days ago", days(past.duration()))),
        Ok(_) if from > now => Some("is not valid yet".to_owned()),
        Ok(left) if left <= SOON => Some(format!("expires in {} days", days(left))),
        Ok(_) => None,
    }
}

fn pem_fault(fault: &pem::Error, lacks: &str) -> String {
    match fault {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds {lacks} in PEM form"),
        other => format!("is not PEM: {other:?}"),
    }
}

/// Whom this machine trusts. Operators keep that list up to date with the system and add their own; one that is compiled in
/// ages with the program.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native_roots());
    roots
}

fn native_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for fault in &found.errors {
        tracing::warn!(%fault, "certificates that this machine trusts");
    }
    found.certs
}
