//! Routes in their order (SPEC §5): while no trunk of the first one takes a call, those of the others are paths too.

use super::types::{Config, Route, RouteAction, TrunkIdx};
use super::{Country, NumberKind};

impl Route {
    /// True when it takes this number dialled in this country.
    pub fn serves(&self, country: Country, number: &str, kind: NumberKind) -> bool {
        self.countries.contains(&country.normalised())
            && match kind {
                _ if self.numbers.iter().any(|served| served == number) => true,
                NumberKind::Emergency => self.numbers.is_empty(),
                NumberKind::Test => false,
            }
    }
}

impl Config {
    /// What `route` does with this number, and behind its trunks those of all routes that take the number too, each once.
    pub fn onward(&self, route: &Route, country: Country, number: &str, kind: NumberKind) -> RouteAction {
        let RouteAction::Trunks(first) = &route.action else { return route.action.clone() };
        let trunks_of = |other: &Route| match &other.action {
            RouteAction::Trunks(trunks) => trunks.clone(),
            RouteAction::TestLine => Vec::new(),
        };
        let others = self.routes.iter().filter(|other| other.serves(country, number, kind));
        let mut all: Vec<TrunkIdx> = Vec::new();
        for trunk in first.iter().copied().chain(others.flat_map(trunks_of)) {
            if !all.contains(&trunk) {
                all.push(trunk);
            }
        }
        RouteAction::Trunks(all)
    }
}
