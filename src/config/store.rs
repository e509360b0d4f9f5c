//! `[store] url`: a file or a database, and how the address of each is written.

use super::read::Fault;
use crate::sip::uri::unescape;
use std::fmt;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = r#"as in "sqlite:data/sosbridge.db" or "postgres://sosbridge:password@db.example.net/sosbridge""#;
const DEFAULT_PORT: u16 = 5432;

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// Absolute path of a file.
    Sqlite(PathBuf),
    Postgres(PostgresPlace),
}

/// A PostgreSQL database. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresPlace {
    /// The first that takes writes is used. A host that begins with `/` is the directory of a socket.
    pub hosts: Vec<(String, u16)>,
    pub user: String,
    /// Empty: none is sent.
    pub password: String,
    pub database: String,
}

impl StorePlace {
    pub(super) fn parse(text: &str, base_dir: &Path) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.is_empty() {
                return Err(Fault::helped("names no file", EXAMPLE));
            }
            return Ok(Self::Sqlite(base_dir.join(path)));
        }
        let address = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        match address {
            Some(address) => PostgresPlace::parse(address).map(Self::Postgres),
            None => Err(Fault::helped("is not the address of a store", EXAMPLE)),
        }
    }
}

impl PostgresPlace {
    /// What follows `postgres://`: `user:password@host:port,host:port/database?sslmode=disable`. No message names the password.
    fn parse(address: &str) -> Result<Self, Fault> {
        let (address, parameters) = address.split_once('?').unwrap_or((address, ""));
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        let (account, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        let user = text(user, "user")?;
        if user.is_empty() {
            return Err(Fault::helped("names no user", EXAMPLE));
        }
        let mut hosts = hosts.split(',').filter(|host| !host.is_empty()).map(host).collect::<Result<Vec<_>, _>>()?;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("sslmode", "disable") => {}
                ("sslmode", mode) => {
                    let message =
                        format!("wants sslmode={mode}, and this version does not speak TLS with the database");
                    let help =
                        "sslmode=disable, in a network of your own or through a tunnel (stunnel, ssh, WireGuard)";
                    return Err(Fault::helped(message, help));
                }
                ("host", directory) => hosts.push((text(directory, "host")?, DEFAULT_PORT)),
                (key, _) => {
                    return Err(Fault::helped(
                        format!("has a parameter that is not known: {key}"),
                        "sslmode and host are",
                    ));
                }
            }
        }
        if hosts.is_empty() {
            return Err(Fault::helped("names no host", EXAMPLE));
        }
        let database = text(database, "database")?;
        let database = if database.is_empty() { user.clone() } else { database };
        Ok(Self { hosts, user, password: text(password, "password")?, database })
    }
}

fn host(text_of: &str) -> Result<(String, u16), Fault> {
    let after_address = text_of.rfind(']').map_or(0, |at| at + 1);
    let colon = text_of.get(after_address..).and_then(|rest| rest.rfind(':')).map(|at| at + after_address);
    let (name, port) = colon.and_then(|at| text_of.split_at_checked(at)).unwrap_or((text_of, ""));
    let port = match port.strip_prefix(':') {
        None | Some("") => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(Fault::helped(format!("has a port that is none: {port}"), EXAMPLE)),
        },
    };
    let name = text(name.trim_start_matches('[').trim_end_matches(']'), "host")?;
    if name.is_empty() {
        return Err(Fault::helped("names no host", EXAMPLE));
    }
    Ok((name, port))
}

/// A part of the address without its escapes.
fn text(part: &str, what: &str) -> Result<String, Fault> {
    let bytes = unescape(part.as_bytes());
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(format!("has a {what} that is not UTF-8 text").into()),
    }
}

impl fmt::Display for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user)?;
        for (at, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `text` with an asterisk for every byte of the password in each address of a database: for showing lines of a configuration.
pub(super) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        rest = address;
        let is_database = before.ends_with("postgres://") || before.ends_with("postgresql://");
        let line = address.split(['"', '\'', '\n', ' ']).next().unwrap_or_default();
        let password = line.rsplit_once('@').and_then(|(account, _)| Some(account.find(':')? + 1..account.len()));
        if let Some(range) = password.filter(|_| is_database) {
            shown.push_str(address.get(..range.start).unwrap_or_default());
            shown.extend(std::iter::repeat_n('*', range.len()));
            rest = address.get(range.end..).unwrap_or_default();
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn parsed(text: &str) -> PostgresPlace {
        match StorePlace::parse(text, Path::new("/")) {
            Ok(StorePlace::Postgres(place)) => place,
            Ok(other) => panic!("{other:?}"),
            Err(fault) => panic!("{}", fault.message),
        }
    }

    #[test]
    fn addresses_of_databases_are_read() {
        let place = parsed("postgres://sos:p%40%3A%2f@db.example.net:6432/emergency?sslmode=disable");
        assert_eq!((place.user.as_str(), place.password.as_str()), ("sos", "p@:/"));
        assert_eq!(
            (place.hosts.as_slice(), place.database.as_str()),
            (&[("db.example.net".to_owned(), 6432)][..], "emergency")
        );
        assert_eq!(format!("{place} {place:?}").matches("p@").count(), 0);
        let place = parsed("postgresql://sos@a,[::1]:7,10.0.0.1:8");
        let hosts = [("a".to_owned(), 5432), ("::1".to_owned(), 7), ("10.0.0.1".to_owned(), 8)];
        assert_eq!((place.hosts.as_slice(), place.database.as_str(), place.password.as_str()), (&hosts[..], "sos", ""));
        assert_eq!(place.to_string(), "postgres://sos@a:5432,[::1]:7,10.0.0.1:8/sos");
        for socket in ["postgres://sos@%2Frun%2Fpostgresql/sos", "postgres://sos@/sos?host=/run/postgresql"] {
            assert_eq!(parsed(socket).hosts, [("/run/postgresql".to_owned(), 5432)]);
        }
    }

    #[test]
    fn a_password_is_not_shown_with_its_line() {
        let text = "url = \"postgres://sos:se:c@ret@h/d\"\nuri = \"http://a:b@c\"\nx = 'postgresql://u@h'";
        let shown = "url = \"postgres://sos:********@h/d\"\nuri = \"http://a:b@c\"\nx = 'postgresql://u@h'";
        assert_eq!(without_passwords(text), shown);
    }
}
