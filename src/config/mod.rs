//! The configuration: TOML text in, checked types out, with errors that point at the line (INTERFACE: config.toml).
//!
//! [`load`] is pure: the shell reads the file. What it returns needs no further checking anywhere: references are
//! resolved, numbers are E.164, durations are durations, relative paths are absolute. Nothing here knows SIP dialogs,
//! calls or sockets.

mod aor;
mod build;
mod civic;
mod country;
mod crossing;
mod index;
mod limits;
mod links;
mod lookup;
mod names;
mod onward;
mod overflow;
mod problem;
mod read;
mod sections;
mod security;
mod store;
mod tenants;
mod traffic;
mod types;
mod values;
mod warn;

#[cfg(test)]
mod tests;

pub use aor::{Aor, NotAnAor};
pub use civic::Civic;
pub use country::{Country, CountryRow, NotACountry, NumberKind};
pub use crossing::never_crosses;
pub use overflow::Overflow;
pub use problem::{Problem, Severity, render};
pub use security::{Certificate, ListenerTls, PeerTls, PemFile};
pub use store::{PostgresPlace, StorePlace};
pub use types::*;

use std::path::Path;

/// A configuration that may be run, and what its author should know about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// What would refuse an emergency call, and keys whose feature is not in this version.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a whole configuration.
///
/// `base_dir` is the directory of the file: relative paths in it are relative to that.
/// On failure every problem found is returned, in file order.
pub fn load(text: &str, base_dir: &Path) -> Result<Loaded, Vec<Problem>> {
    build::load(text, base_dir)
}
