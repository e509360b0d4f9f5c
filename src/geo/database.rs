//! The country of an IP address, from a database in MaxMind's format (SPEC §1). Registries tell where an address was given out, not
//! where it is: so this comes after everything a caller or a configuration says.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use maxminddb::{PathElement, Reader};

use super::Country;

/// A database in memory.
pub struct Database {
    reader: Reader<Vec<u8>>,
}

/// The file is no database that can be read.
#[derive(Debug, thiserror::Error)]
#[error("no database in MaxMind format: {0}")]
pub struct DatabaseFault(String);

/// Where databases keep the code: those of MaxMind, of DB-IP and IPinfo, of ip-location-db.
const PATHS: [&[PathElement<'static>]; 3] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];

impl Database {
    /// # Errors
    /// `bytes` are cut off, or no such database.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DatabaseFault> {
        let reader = Reader::from_source(bytes).map_err(|error| DatabaseFault(error.to_string()))?;
        Ok(Self { reader })
    }

    /// The country an address belongs to; `None` for addresses of nobody and for networks in `unreliable`.
    pub fn country(&self, address: IpAddr, unreliable: &[IpNet]) -> Option<Country> {
        if is_in(address, unreliable) {
            return None;
        }
        let found = self.reader.lookup(address.to_canonical()).ok().filter(|found| found.has_data())?;
        let code = |path: &[PathElement<'_>]| found.decode_path::<&str>(path).ok().flatten();
        PATHS.into_iter().find_map(code).and_then(|code| Country::parse(code.as_bytes()))
    }
}

/// Whether an address is in one of the networks.
pub fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    // RFC 4291 §2.5.5.2: an IPv4 peer of a socket for both families.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Kind and age, for operators.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = self.reader.metadata();
        write!(f, "{}, {} nodes, built at {}", metadata.database_type, metadata.node_count, metadata.build_epoch)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}
