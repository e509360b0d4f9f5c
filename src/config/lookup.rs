//! What a call asks of the configuration: who is this, whose number is it, where does it go.

use super::types::{Config, Resource, Route, Trunk, TrunkIdx, User};
use super::{Aor, Country, CountryRow, NumberKind};
use crate::base::E164;
use compact_str::CompactString;
use std::net::SocketAddr;
use std::sync::Arc;

impl Config {
    /// The user with this address of record, as spelt in the configuration.
    pub fn user(&self, aor: &Aor) -> Option<&User> {
        self.index.user(aor).and_then(|at| self.users.get(at))
    }

    /// The user a phone means: the exact address, or the same user part at another domain served here, when only one user has it.
    pub fn user_served(&self, aor: &Aor) -> Option<&User> {
        self.user(aor).or_else(|| {
            let served = self.sip.domains.iter().any(|domain| domain == aor.domain());
            served.then(|| self.index.user_by_name(aor.user())).flatten().and_then(|at| self.users.get(at))
        })
    }

    /// The user whose own number this is.
    pub fn user_by_number(&self, number: E164) -> Option<&User> {
        self.index.user_by_number(number).and_then(|at| self.users.get(at))
    }

    /// `None` only for an index of another `Config`.
    pub fn trunk(&self, idx: TrunkIdx) -> Option<&Trunk> {
        self.trunks.get(usize::try_from(idx.0).ok()?)
    }

    pub fn trunk_named(&self, name: &str) -> Option<(TrunkIdx, &Trunk)> {
        let at = self.trunks.iter().position(|trunk| trunk.name == name)?;
        Some((TrunkIdx(u32::try_from(at).ok()?), self.trunks.get(at)?))
    }

    pub fn resource_named(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|resource| resource.name == name)
    }

    /// The trunk whose calls come from `source`: an exact address first, then the narrowest network.
    pub fn trunk_accepting(&self, source: SocketAddr) -> Option<TrunkIdx> {
        self.index.trunk_accepting(source)
    }

    /// The trunk that one of these names of a TLS certificate, in lower case, belongs to.
    pub fn trunk_certified(&self, names: &[CompactString]) -> Option<TrunkIdx> {
        self.index.trunk_certified(names)
    }

    /// The row of a supported country (normalised first).
    pub fn country(&self, country: Country) -> Option<&CountryRow> {
        let code = country.normalised();
        self.countries.binary_search_by_key(&code, |row| row.code).ok().and_then(|at| self.countries.get(at))
    }

    /// The first route for this number dialled in this country; a test number without one goes to the test line.
    pub fn route(&self, country: Country, number: &str, kind: NumberKind) -> Option<&Route> {
        let country = country.normalised();
        let serves = |route: &&Route| {
            route.countries.contains(&country)
                && match kind {
                    _ if route.numbers.iter().any(|served| served == number) => true,
                    NumberKind::Emergency => route.numbers.is_empty(),
                    NumberKind::Test => false,
                }
        };
        let fallback = match kind {
            NumberKind::Emergency => None,
            NumberKind::Test => Some(&self.test_line),
        };
        self.routes.iter().find(serves).or(fallback)
    }
}
