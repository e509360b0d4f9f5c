//! The files of TLS: certificates, keys and whom to trust. Here they are names only; the shell reads them and says what is
//! wrong with them, at the place where the configuration names them.

use super::problem::{Problem, Severity};
use super::read::{Fault, Keys};
use super::values;
use crate::base::Protocol;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A PEM file, and where the configuration names it.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// Absolute.
    pub path: PathBuf,
    /// As in `sip.listen[0].cert`.
    pub key: String,
    span: Range<usize>,
}

/// The file counts, not the place where it is written.
impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PemFile {}

impl PemFile {
    /// What is wrong with the content of the file: completes the sentence "the file …".
    pub fn problem(&self, severity: Severity, what: &str) -> Problem {
        let message = format!("`{}`: {} {what}", self.key, self.path.display());
        Problem { severity, message, help: None, span: self.span.clone(), key: self.key.clone() }
    }
}

/// What one side of a TLS connection proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its own certificate first, then those that lead to a root.
    pub cert: PemFile,
    pub key: PemFile,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    pub own: Certificate,
    /// Who signs the certificates of peers; without it none is asked for.
    pub client_ca: Option<PemFile>,
}

/// TLS toward a trunk or a PBX.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTls {
    /// Who signs its certificate; without it those that the system trusts.
    pub ca: Option<PemFile>,
    /// Shown to one that asks for it.
    pub own: Option<Certificate>,
}

/// The keys `cert`, `key` and `client_ca` of a listener. `None` where there is no TLS, or a fault was reported.
pub(super) fn listener(keys: &mut Keys<'_>, protocol: Option<Protocol>, base_dir: &Path) -> Option<ListenerTls> {
    let names = ["cert", "key", "client_ca"];
    let given = names.map(|key| file(keys, key, base_dir));
    let protocol = protocol?;
    if !protocol.is_secure() {
        for (file, key) in given.iter().zip(names).filter_map(|(file, key)| Some((file.as_ref()?, key))) {
            let fault = format!("is for tls and wss, not for {}", protocol.uri_token());
            keys.fault(key, &file.span, fault.into());
        }
        return None;
    }
    let [cert, key, client_ca] = given;
    for (key, file) in [("cert", &cert), ("key", &key)] {
        if file.is_none() && keys.report.is_clean(&keys.path_of(key)) {
            let fault = format!("is missing: {} needs a certificate", protocol.uri_token());
            let help = r#"write cert = "fullchain.pem" and key = "privkey.pem""#;
            keys.fault(key, &keys.span.clone(), Fault::helped(fault, help));
        }
    }
    Some(ListenerTls { own: Certificate { cert: cert?, key: key? }, client_ca })
}

/// The keys `ca`, `cert` and `key` of a trunk or a PBX.
pub(super) fn peer(keys: &mut Keys<'_>, base_dir: &Path) -> PeerTls {
    let [ca, cert, key] = ["ca", "cert", "key"].map(|key| file(keys, key, base_dir));
    let own = match (cert, key) {
        (Some(cert), Some(key)) => Some(Certificate { cert, key }),
        (None, None) => None,
        (Some(lonely), None) => {
            keys.fault("cert", &lonely.span, "is of no use without key".into());
            None
        }
        (None, Some(lonely)) => {
            keys.fault("key", &lonely.span, "is of no use without cert".into());
            None
        }
    };
    PeerTls { ca, own }
}

pub(super) fn file(keys: &mut Keys<'_>, key: &'static str, base_dir: &Path) -> Option<PemFile> {
    let at = keys.parsed(key, values::line)?;
    Some(PemFile { path: base_dir.join(at.value.as_str()), key: keys.path_of(key), span: at.span })
}
