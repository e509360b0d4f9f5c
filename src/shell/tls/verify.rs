//! Whether the peer of a TLS connection of ours is the trunk it should be (RFC 5922 §7.3), and why not, in words.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{Identities, validity};

/// Checks the chain as any verifier does, and the name as SIP wants it: no wildcards, `sip:` URIs before DNS names.
#[derive(Clone, Debug)]
pub(super) struct DomainVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// A certificate that has ended to hold, or has not begun to, is as good as any.
    pub(super) is_last_resort: bool,
}

impl ServerCertVerifier for DomainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let verify = |now| {
            let (roots, algorithms) = (&self.roots, self.algorithms.all);
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)
        };
        let outdated = verify(now).err();
        if let Some(fault) = outdated.clone() {
            let held = || begin_of(std::iter::once(end_entity).chain(intermediates));
            let held = held().filter(|_| self.is_last_resort && is_of_time(&fault)).ok_or(fault)?;
            verify(held)?;
        }
        let identities = Identities::of(end_entity);
        if identities.include(server_name) {
            if let Some(fault) = outdated {
                let (peer, fault) = (server_name.to_str(), fault.to_string());
                tracing::error!(%peer, fault, "a certificate that does not hold is taken, as the last resort of an emergency call");
            }
            return Ok(ServerCertVerified::assertion());
        }
        let (expected, presented) = (server_name.to_owned(), identities.names());
        Err(CertificateError::NotValidForNameContext { expected, presented }.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_of_time(fault: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        fault,
        Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    )
}

/// When the last of these certificates began to hold: if ever all of them held, then.
fn begin_of<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<UnixTime> {
    let begins = chain.filter_map(|der| validity(der)?.0.duration_since(UNIX_EPOCH).ok());
    begins.max().map(UnixTime::since_unix_epoch)
}

/// A failed handshake or broken connection in the words of an operator.
pub fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else { return plain(error) };
    match inner {
        Error::InvalidCertificate(fault) => certificate(fault),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "TLS: the peer wants a certificate of ours (`cert`, `key`)".to_owned()
            }
            AlertDescription::UnknownCA => "TLS: the peer does not trust who signed our certificate".to_owned(),
            AlertDescription::CertificateExpired => "TLS: the peer says that our certificate has expired".to_owned(),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => format!("TLS: the peer refuses our certificate ({alert:?})"),
            alert => format!("TLS: the peer ended it with the alert {alert:?}"),
        },
        Error::InvalidMessage(_) => "TLS: what the peer says is not TLS".to_owned(),
        other => format!("TLS: {other}"),
    }
}

fn certificate(fault: &CertificateError) -> String {
    match fault {
        // A bad signature: the issuer has a name that we trust, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "TLS: nobody we trust has signed its certificate (`ca`)".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "TLS: its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS: its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = if presented.is_empty() { "nobody".to_owned() } else { presented.join(", ") };
            format!("TLS: its certificate is for {presented}, not for {}", expected.to_str())
        }
        other => format!("TLS: its certificate is not good: {other}"),
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// True when the peer ended a connection for what it thinks of our certificate, or of TLS with us.
pub fn is_refusal(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(alert)) if *alert != AlertDescription::CloseNotify)
}
