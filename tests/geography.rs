//! `[geo] database` with a real database (ip-location-db, CC0), and with files that are none, by the real daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod real;

use std::path::Path;
use std::process::Command;

use sosbridge::geo::Database;

use real::{CONFIG, Daemon, admin, free, listen, trunk};

const REAL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/parties/node_modules/@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb"
);

/// Rules 1.4f, 1.4j.
#[test]
fn a_real_database_tells_countries_of_both_families() {
    let bytes = std::fs::read(REAL).expect("the database that tests/scenarios/parties/install gets");
    let database = Database::from_bytes(bytes).unwrap();
    let of = |address: &str| database.country(address.parse().unwrap(), &[]).map(|country| country.to_string());
    for (address, country) in [
        ("8.8.8.8", Some("US")),
        ("193.171.0.1", Some("AT")),
        ("::ffff:193.171.0.1", Some("AT")),
        ("2001:628::1", Some("AT")),
        ("130.225.0.1", Some("DK")),
        ("10.0.0.1", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("fd00::1", None),
    ] {
        assert_eq!(of(address).as_deref(), country, "{address}");
    }
    assert_eq!(database.country("8.8.8.8".parse().unwrap(), &["8.8.8.0/24".parse().unwrap()]), None);
}

fn config(database: &Path) -> String {
    let (sip, call_center, http) = (free("127.0.0.1"), free("127.0.0.1"), free("127.0.0.1"));
    let geo = format!("[geo]\ndatabase = {:?}\n", database.display().to_string());
    format!("{CONFIG}{geo}{}{}{}", listen("udp", sip), trunk(call_center, "udp"), admin(http))
}

#[test]
fn a_database_that_cannot_be_used_keeps_nobody_from_calling() {
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.mmdb");
    let whole = std::fs::read(REAL).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let cases =
        [(folder.path().join("none.mmdb"), "cannot be read: No such file"), (cut, "cannot be used: no database")];
    for (database, says) in cases {
        let daemon = Daemon::serve(&config(&database));
        assert!(daemon.log().contains(says), "{}", daemon.log());
        let file = folder.path().join("config.toml");
        std::fs::write(&file, config(&database)).unwrap();
        let check =
            Command::new(env!("CARGO_BIN_EXE_sosbridge")).args(["check", "--config"]).arg(&file).output().unwrap();
        assert!(check.status.success());
        let told = String::from_utf8_lossy(&check.stderr).replace(['\n', '│', '|'], " ");
        assert!(told.contains("`geo.database`"), "{told}");
    }
    let daemon = Daemon::serve(&config(Path::new(REAL)));
    assert!(daemon.log().contains("country by IP address"), "{}", daemon.log());
}
