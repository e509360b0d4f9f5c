//! Certificates for the phones that speak TLS: one authority, the daemon, the call center.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, SanType};
use sha2::{Digest, Sha256};

use crate::Outcome;
use crate::ports;

/// Writes `ca.pem`, `own.pem` and `own-key.pem` of the daemon with the hash of its public key, and `trunk.pem` of the call center and `pbx.pem` of a PBX, each with its key.
pub fn write(folder: &Path) -> Outcome<()> {
    made(folder).map_err(|error| format!("certificates: {error}"))
}

fn made(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of the stories");
    std::fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let issue = |ip: IpAddr, domain: &str| -> Result<_, rcgen::Error> {
        let mut params = CertificateParams::new(vec![domain.to_owned()])?;
        params.subject_alt_names.push(SanType::IpAddress(ip));
        // Linphone of this age looks for an address among the names.
        params.subject_alt_names.push(SanType::DnsName(ip.to_string().as_str().try_into()?));
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &issuer)?.pem(), key))
    };
    let (cert, key) = issue(ports::SOSBRIDGE.into(), "sosbridge.example")?;
    std::fs::write(folder.join("own.pem"), cert)?;
    std::fs::write(folder.join("own-key.pem"), key.serialize_pem())?;
    let hash = Sha256::digest(key.subject_public_key_info());
    std::fs::write(folder.join("own.sha256"), base64::engine::general_purpose::STANDARD.encode(hash))?;
    for (ip, domain, file) in [(ports::TRUNK, "center.example", "trunk.pem"), (ports::PBX, "pbx.example", "pbx.pem")] {
        let (cert, key) = issue(ip.into(), domain)?;
        std::fs::write(folder.join(file), key.serialize_pem() + &cert)?;
    }
    Ok(())
}

/// For a phone in a folder of its own, beside these files.
pub fn authority_beside(phone: &Path) -> PathBuf {
    phone.with_file_name("ca.pem")
}

/// Certificate and key in one file.
pub fn of_trunk_beside(phone: &Path) -> PathBuf {
    phone.with_file_name("trunk.pem")
}
