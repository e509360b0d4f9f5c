//! A certificate authority of a test's own.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Its own name: another authority is not mistaken for it.
        params.distinguished_name.push(DnType::CommonName, format!("{:x?}", key.public_key_raw()));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for host names, addresses, and URIs where there is a colon and no address.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(4096, names)
    }

    /// The same for one that ends with the beginning of that year.
    pub fn issue_until(&self, year: i32, names: &[&str]) -> Issued {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// Writes `ca.pem`.
    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("ca.pem"), &self.pem).unwrap();
    }

    /// Trusts this authority and shows `own`, if anything.
    pub fn client(&self, own: Option<&Issued>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).unwrap(),
        })
    }

    /// Shows `own`, and insists on a certificate of this authority when told to.
    pub fn server(&self, own: &Issued, insists: bool) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let verifier = || WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider()).build();
        let builder = match insists {
            true => builder.with_client_cert_verifier(verifier().unwrap()),
            false => builder.with_no_client_auth(),
        };
        Arc::new(builder.with_single_cert(own.chain(), own.key()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME-key.pem`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.cert).unwrap();
        std::fs::write(folder.join(format!("{name}-key.pem")), &self.key).unwrap();
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

fn alternative(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if name.contains(':') => SanType::URI(name.try_into().unwrap()),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
