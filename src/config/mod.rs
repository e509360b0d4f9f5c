//! The configuration: TOML text in, checked types out, with errors that point at the line (INTERFACE: config.toml).

mod aor;
mod country;
mod index;
mod types;

pub use aor::{Aor, NotAnAor};
pub use country::{Country, CountryRow, NotACountry, NumberKind};
pub use types::*;
