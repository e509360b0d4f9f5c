//! Which calls are emergency calls, and which country a caller is in (SPEC §1, RFC 5031, RFC 3966).
//!
//! The rows come from the configuration; nothing here knows users, routes or messages beyond a URI and a body.
//! Recognising comes before any other dial rule, and reads what is malformed as long as it can be read.

mod civic;
mod database;
mod pidf;
mod spelling;

pub use crate::config::{Country, NumberKind};
pub use civic::{Told, pidf_lo};
pub use database::{Database, DatabaseFault, is_in};
pub use pidf::{country_from_body, country_from_pidf};

use crate::config::{Config, CountryRow, ForeignNumbers};
use compact_str::CompactString;
use spelling::Spelling;

/// The table of SPEC §1, as configured.
#[derive(Clone, Debug)]
pub struct Countries {
    /// Sorted by code.
    rows: Vec<CountryRow>,
}

/// What the caller's resource wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Digits dialled for an outside line.
    pub outside_line_prefix: Option<&'a str>,
    pub foreign_numbers: ForeignNumbers,
}

/// A recognised emergency or test number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub kind: NumberKind,
    /// The number in the caller's country, digits only: routes and trunks speak of this one.
    pub number: CompactString,
    /// `urn:service:sos`, with the sub-service that was dialled, or `urn:service:test.sos`.
    pub urn: CompactString,
    /// Another country's emergency number was dialled.
    pub foreign: bool,
}

/// What a Request-URI asks for, for a caller in some country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// No emergency and no test number.
    Ordinary,
    /// To be served: kind and number say how.
    Emergency(Service),
    /// An emergency or test number, and the caller's country is not known: `number` is as dialled.
    NoCountry(Service),
    /// An emergency or test number, and the caller's country has no row: `number` is as dialled.
    Outside(Service),
    /// Another country's emergency number, which the resource does not treat as its own: `number` is as dialled.
    Foreign(Service),
}

impl Dialled {
    /// For `explain`.
    pub fn in_words(&self, dialled: &str) -> String {
        let Some(service) = self.service() else { return format!("{dialled} is no emergency number") };
        let what = match service.kind {
            NumberKind::Emergency => format!("{dialled} is an emergency number"),
            NumberKind::Test => format!("{dialled} is a test number"),
        };
        match self {
            Self::Emergency(Service { foreign: true, number, .. }) => {
                format!("{what} of another country, and means {number} here")
            }
            Self::Emergency(Service { number, urn, .. }) => format!("{what}: {number}, {urn}"),
            Self::NoCountry(_) => format!("{what}, and the country of the caller is not known"),
            Self::Outside(_) => format!("{what}, and the country of the caller is not a supported one"),
            Self::Foreign(_) => format!("{what} of another country, and the resource has foreign_numbers = \"reject\""),
            Self::Ordinary => what,
        }
    }

    /// The emergency or test number in it.
    pub const fn service(&self) -> Option<&Service> {
        match self {
            Self::Ordinary => None,
            Self::Emergency(service) | Self::NoCountry(service) | Self::Outside(service) | Self::Foreign(service) => {
                Some(service)
            }
        }
    }
}

/// The number known to every mobile network (3GPP TS 22.101 §10.1): what a URN means where no country tells its own.
const ANYWHERE: &str = "112";

impl Countries {
    pub fn new(config: &Config) -> Self {
        Self { rows: config.countries.clone() }
    }

    /// The row of a supported country; territories count as theirs.
    pub fn row(&self, country: Country) -> Option<&CountryRow> {
        let code = country.normalised();
        self.rows.iter().find(|row| row.code == code)
    }

    /// What `request_uri` asks for when dialled in `country`. Every spelling of SPEC §1 is known; a text without scheme is a
    /// user part.
    pub fn classify(&self, request_uri: &[u8], country: Option<Country>, wishes: Wishes<'_>) -> Dialled {
        let row = country.and_then(|country| self.row(country));
        let found = match spelling::read(request_uri) {
            None => None,
            Some(Spelling::Urn { kind, urn }) => Some(self.of_urn(row, kind, urn)),
            Some(Spelling::Number(number)) => self.of_number(row, &number, wishes.outside_line_prefix),
        };
        match (found, row, country) {
            (None, _, _) => Dialled::Ordinary,
            (Some(service), None, None) => Dialled::NoCountry(service),
            (Some(service), None, Some(_)) => Dialled::Outside(service),
            (Some(service), Some(row), _) => match (service.foreign, wishes.foreign_numbers) {
                (true, ForeignNumbers::Reject) => Dialled::Foreign(service),
                (true, ForeignNumbers::Treat) => {
                    let number = row.emergency.first().cloned().unwrap_or_else(|| service.number.clone());
                    Dialled::Emergency(Service { number, ..service })
                }
                (false, _) => Dialled::Emergency(service),
            },
        }
    }

    /// True when the URI is an emergency number of any country, or the sos URN. Test numbers are not.
    pub fn is_emergency(&self, uri: &[u8], wishes: Wishes<'_>) -> bool {
        self.kind_anywhere(uri, wishes) == Some(NumberKind::Emergency)
    }

    /// True when no device may register as this: an emergency or test number of any country, in any spelling, or a service URN.
    pub fn is_reserved(&self, uri: &[u8]) -> bool {
        self.kind_anywhere(uri, Wishes::default()).is_some()
    }

    /// [`Countries::is_reserved`] of the user part alone, escapes still in it.
    pub fn is_emergency_user(&self, user: &[u8]) -> bool {
        spelling::read_user(user).is_some_and(|number| self.of_number(None, &number, None).is_some())
    }

    fn kind_anywhere(&self, uri: &[u8], wishes: Wishes<'_>) -> Option<NumberKind> {
        self.classify(uri, None, wishes).service().map(|service| service.kind)
    }

    fn of_urn(&self, row: Option<&CountryRow>, kind: NumberKind, urn: CompactString) -> Service {
        let anywhere_test = || self.rows.iter().find_map(|row| row.test.first()).cloned().unwrap_or_default();
        let number = match kind {
            NumberKind::Emergency => row.and_then(|row| row.emergency.first()).cloned().unwrap_or(ANYWHERE.into()),
            NumberKind::Test => row.and_then(|row| row.test.first()).cloned().unwrap_or_else(anywhere_test),
        };
        Service { kind, number, urn, foreign: false }
    }

    /// The caller's own numbers first, then every other country's.
    fn of_number(&self, row: Option<&CountryRow>, dialled: &spelling::Number, prefix: Option<&str>) -> Option<Service> {
        let emergency =
            |row: &CountryRow| row.emergency.iter().find(|&number| spells(dialled, row, number, prefix)).cloned();
        let test = |row: &CountryRow| row.test.iter().find(|&number| spells(dialled, row, number, prefix)).cloned();
        let own_emergency = || Some(service(NumberKind::Emergency, emergency(row?)?, false));
        let own_test = || Some(service(NumberKind::Test, test(row?)?, false));
        let any_emergency =
            || Some(service(NumberKind::Emergency, self.rows.iter().find_map(emergency)?, row.is_some()));
        let any_test = || match row {
            // A test number has a meaning in its own country only.
            Some(_) => None,
            None => Some(service(NumberKind::Test, self.rows.iter().find_map(test)?, false)),
        };
        own_emergency().or_else(own_test).or_else(any_emergency).or_else(any_test)
    }
}

fn service(kind: NumberKind, number: CompactString, foreign: bool) -> Service {
    let urn = match kind {
        NumberKind::Emergency => spelling::SOS,
        NumberKind::Test => spelling::TEST_SOS,
    };
    Service { kind, number, urn: urn.into(), foreign }
}

/// Whether `dialled` is `number` of the country `row`: bare, with `+`, with `+` and the country code, or behind the prefix.
fn spells(dialled: &spelling::Number, row: &CountryRow, number: &str, prefix: Option<&str>) -> bool {
    let digits = dialled.digits.as_str();
    let lead = if dialled.plus { Some(row.dial_code.as_str()) } else { prefix };
    digits == number || lead.is_some_and(|lead| digits.strip_prefix(lead) == Some(number))
}

#[cfg(test)]
mod tests;
