//! RFC 5922 by tables, and what is said of files that cannot be used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::ServerName;

use super::*;
use crate::config;

enum San {
    Dns(&'static str),
    Uri(&'static str),
    Ip(&'static str),
}

fn der(common: Option<&str>, alternatives: &[San]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(common) = common {
        params.distinguished_name.push(DnType::CommonName, common);
    }
    let san = |san: &San| match san {
        San::Dns(name) => SanType::DnsName((*name).try_into().unwrap()),
        San::Uri(uri) => SanType::URI((*uri).try_into().unwrap()),
        San::Ip(ip) => SanType::IpAddress(ip.parse().unwrap()),
    };
    params.subject_alt_names = alternatives.iter().map(san).collect();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
}

#[test]
fn rfc5922_7_1_finding_sip_identities_in_a_certificate() {
    use San::{Dns, Ip, Uri};
    let table: [(Option<&str>, &[San], &[&str]); 13] = [
        (None, &[Uri("sip:Example.com")], &["example.com"]),
        (None, &[Uri("SIP:example.com")], &["example.com"]),
        (None, &[Uri("sip:a.example"), Uri("sip:b.example")], &["a.example", "b.example"]),
        (None, &[Uri("sip:a.example"), Dns("b.example")], &["a.example"]),
        (None, &[Uri("sip:user@a.example"), Dns("b.example")], &["b.example"]),
        (None, &[Uri("sips:a.example")], &[]),
        (None, &[Uri("https://a.example")], &[]),
        (None, &[Dns("B.example"), Dns("c.example")], &["b.example", "c.example"]),
        (Some("cn.example"), &[Dns("b.example")], &["b.example"]),
        (Some("cn.example"), &[Ip("192.0.2.1")], &[]),
        (Some("cn.example"), &[], &["cn.example"]),
        (Some("Example Carrier Inc."), &[], &[]),
        (None, &[], &[]),
    ];
    for (at, (common, alternatives, expected)) in table.iter().enumerate() {
        assert_eq!(Identities::of(&der(*common, alternatives)).domains, *expected, "row {at}");
    }
    assert_eq!(Identities::of(b"no certificate"), Identities::default());
}

#[test]
fn rfc5922_7_2_comparing_sip_identities() {
    use San::{Dns, Ip, Uri};
    let table: [(San, &str, bool); 10] = [
        (Dns("sip.example.com"), "sip.example.com", true),
        (Dns("sip.example.com"), "SIP.Example.COM", true),
        (Dns("example.com"), "foo.example.com", false),
        (Dns("foo.example.com"), "example.com", false),
        (Dns("*.example.com"), "foo.example.com", false),
        (Uri("sip:example.com;transport=tls"), "example.com", true),
        (Uri("sip:example.com:5061"), "example.com", true),
        (Ip("192.0.2.1"), "192.0.2.1", true),
        (Ip("2001:db8::1"), "2001:db8::1", true),
        (Dns("192.0.2.1"), "192.0.2.1", false),
    ];
    for (san, wanted, expected) in table {
        let identities = Identities::of(&der(None, &[san]));
        assert_eq!(identities.include(&ServerName::try_from(wanted).unwrap()), expected, "{identities:?} {wanted}");
    }
}

/// Files of a configuration, all good: `cert.pem`, `key.pem`, `ca.pem`; and `old.pem`, which has expired.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["sip.example.com".to_owned()]).unwrap();
    params.not_after = date_time_ymd(4000, 1, 1);
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("cert.pem", params.self_signed(&key).unwrap().pem());
    write("key.pem", key.serialize_pem());
    params.not_after = date_time_ymd(2020, 1, 1);
    write("old.pem", params.self_signed(&key).unwrap().pem());
    write("other-key.pem", KeyPair::generate().unwrap().serialize_pem());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", ca.self_signed(&key).unwrap().pem());
    write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
    folder
}

fn configured(folder: &Path, keys: &str, trunk: &str) -> config::Config {
    let text = format!(
        "[[sip.listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\n{keys}\n\
         [[trunks]]\nname = \"t\"\ntargets = [{{ uri = \"sips:sip.example.com\" }}]\n{trunk}\n"
    );
    config::load(&text, folder).unwrap().config
}

fn told(keys: &str, trunk: &str) -> Result<Vec<String>, Vec<String>> {
    let folder = folder();
    let config = configured(folder.path(), keys, trunk);
    let words = |problems: Vec<Problem>| {
        let place = format!("{}/", folder.path().display());
        problems.into_iter().map(|problem| problem.message.replace(&place, "")).collect::<Vec<_>>()
    };
    let (material, problems) = load(&config, SystemTime::now());
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    // One fault costs what needs the file, and not the other.
    let have = [material.servers[0].is_some(), material.clients.contains_key(&("t".into(), "".into()))];
    assert_eq!(have.iter().filter(|has| !**has).count(), errors.len());
    assert_eq!(material.unusable.count(), errors.len());
    if errors.is_empty() { Ok(words(warnings)) } else { Err(words(errors)) }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_key() {
    const OWN: &str = "cert = \"cert.pem\"\nkey = \"key.pem\"";
    let (listener, trunk) = ("`sip.listen[0].", "`trunks[0].");
    assert_eq!(told(&format!("{OWN}\nclient_ca = \"ca.pem\""), &format!("ca = \"ca.pem\"\n{OWN}")), Ok(vec![]));
    let table = [
        (
            "cert = \"none.pem\"\nkey = \"key.pem\"",
            "",
            format!("{listener}cert`: none.pem cannot be read: No such file"),
        ),
        (
            "cert = \"key.pem\"\nkey = \"key.pem\"",
            "",
            format!("{listener}cert`: key.pem holds no certificate in PEM form"),
        ),
        (
            "cert = \"cert.pem\"\nkey = \"cert.pem\"",
            "",
            format!("{listener}key`: cert.pem holds no private key in PEM"),
        ),
        ("cert = \"cert.pem\"\nkey = \"other-key.pem\"", "", format!("{listener}key`: other-key.pem cannot be used: ")),
        ("cert = \"garbage.pem\"\nkey = \"key.pem\"", "", format!("{listener}key`: key.pem cannot be used: ")),
        (OWN, "ca = \"garbage.pem\"", format!("{trunk}ca`: garbage.pem holds 1 certificates that cannot be read")),
        (OWN, "ca = \"none.pem\"", format!("{trunk}ca`: none.pem cannot be read: No such file")),
        (OWN, "cert = \"cert.pem\"\nkey = \"none.pem\"", format!("{trunk}key`: none.pem cannot be read")),
    ];
    for (keys, trunk, expected) in table {
        let errors = told(keys, trunk).unwrap_err();
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{keys} {trunk}: {errors:?}");
    }
}

#[test]
fn a_certificate_that_ends_while_the_daemon_runs_is_warned_of() {
    let folder = folder();
    let config = configured(folder.path(), "cert = \"cert.pem\"\nkey = \"key.pem\"", "");
    let (material, warnings) = load(&config, SystemTime::now());
    assert!(warnings.is_empty() && material.own.ending(SystemTime::now()).next().is_none());
    let end: SystemTime = date_time_ymd(4000, 1, 1).into();
    for (before, said) in [(15, None), (13, Some("expires in 13 days")), (0, Some("expires in 0 days"))] {
        let now = end - Duration::from_secs(before * DAY_SECONDS);
        let ending: Vec<_> = material.own.ending(now).collect();
        assert_eq!(ending.first().map(|(_, what)| what.as_str()), said);
        assert!(ending.iter().all(|(file, _)| file.ends_with("cert.pem")));
    }
    let gone: Vec<_> = material.own.ending(end + Duration::from_secs(2 * DAY_SECONDS)).collect();
    assert_eq!(gone[0].1, "has expired 2 days ago");
}

#[test]
fn a_certificate_that_has_expired_is_warned_of() {
    let warnings = told("cert = \"old.pem\"\nkey = \"key.pem\"", "").unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("`sip.listen[0].cert`: old.pem has expired "),
        "{warnings:?}"
    );
}
