//! Another configuration in the middle of calls: what is not dialled yet goes by the new one, up calls stay as they are.

use super::history::Kind;
use super::{Call, Calls, Stage};
use crate::config::{Config, NumberKind, RouteAction, TrunkIdx};

impl Calls {
    /// A trunk is its place in the file, which a reload may give to another: calls that still look for a trunk keep theirs by
    /// name, and where all of them are gone take what the route now says.
    pub fn reload(&mut self, old: &Config, new: &Config) {
        for call in self.calls.values_mut() {
            let routed = routed(call, new);
            let trunks = match &mut call.stage {
                Stage::Granting(granting) => granting.trunks_mut(),
                Stage::Dialling(dialling) => Some(dialling.trunks_mut()),
                Stage::Ringing(_) | Stage::TestLine | Stage::Refusing(_) | Stage::Bridged => None,
            };
            let Some(trunks) = trunks else { continue };
            let name_of = |trunk: &TrunkIdx| old.trunk(*trunk).map(|trunk| trunk.name.clone());
            let names = trunks.iter().filter_map(name_of);
            let kept: Vec<TrunkIdx> = names.filter_map(|name| Some(new.trunk_named(&name)?.0)).collect();
            *trunks = if kept.is_empty() { routed } else { kept };
        }
    }
}

/// Where `config` sends a call like this one; empty when nowhere.
fn routed(call: &Call, config: &Config) -> Vec<TrunkIdx> {
    let kind = match call.kind {
        Kind::Emergency => NumberKind::Emergency,
        Kind::Test => NumberKind::Test,
        Kind::Outbound if call.direct_route.is_some() => return Vec::new(),
        Kind::Outbound => return config.other_calls.trunk.into_iter().collect(),
        Kind::Callback | Kind::Internal | Kind::Inbound => return Vec::new(),
    };
    let action =
        |country| Some(config.onward(config.route(country, &call.dialled, kind)?, country, &call.dialled, kind));
    match call.country.map(|country| config.serving(country)).and_then(action) {
        Some(RouteAction::Trunks(trunks)) => trunks,
        Some(RouteAction::TestLine) | None => Vec::new(),
    }
}
