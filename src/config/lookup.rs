//! What a call asks of the configuration: who is this, whose number is it, where does it go.

use super::sections::told_address;
use super::types::{AcceptFrom, Config, Listener, Pbx, PbxIdx, Resource, Route, RouteAction, Trunk, TrunkIdx, User};
use super::{Aor, Country, CountryRow, NumberKind, Overflow};
use crate::base::{E164, Protocol};
use compact_str::CompactString;
use std::net::SocketAddr;
use std::sync::Arc;

impl Config {
    /// Where this daemon takes datagrams, as other nodes on its network reach it: where it listens, else what it advertises.
    pub fn datagram_addresses(&self) -> Vec<SocketAddr> {
        let address_of = |listener: &Listener| match listener.address.ip().is_unspecified() {
            false => Some(listener.address),
            true => {
                let port = listener.advertise_port.unwrap_or(listener.address.port());
                Some(SocketAddr::new(told_address(listener)?, port))
            }
        };
        let listeners = self.listeners.iter().filter(|listener| listener.protocol == Protocol::Udp);
        let mut addresses: Vec<_> = listeners.filter_map(address_of).collect();
        // Of another machine a loopback address is its own.
        if addresses.iter().any(|address| !address.ip().is_loopback()) {
            addresses.retain(|address| !address.ip().is_loopback());
        }
        addresses
    }

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

    /// The shared numbers of a resource; `None` for one that makes no emergency calls, and has none configured.
    pub fn overflow(&self, resource: &Resource) -> Option<&Overflow> {
        self.index.overflow(&resource.name)
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

    /// The PBX whose calls come from `source`, or over a connection with a certificate of these `names`: the certificate and an
    /// exact address first, then the narrowest network.
    pub fn pbx_accepting(&self, source: SocketAddr, names: &[CompactString]) -> Option<PbxIdx> {
        // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let closeness = |address: &AcceptFrom| match address {
            AcceptFrom::Address(address) => (*address == source).then_some(u8::MAX),
            AcceptFrom::Network(network) => network.contains(&source.ip()).then(|| network.prefix_len()),
            AcceptFrom::Certificate(name) => names.contains(name).then_some(u8::MAX),
        };
        let close = |(pbx, at): (&Pbx, u32)| Some((pbx.addresses.iter().filter_map(closeness).max()?, PbxIdx(at)));
        let closest = self.pbxs.iter().zip(0..).filter_map(close).min_by_key(|(close, _)| std::cmp::Reverse(*close));
        closest.map(|(_, pbx)| pbx)
    }

    /// `None` only for an index of another `Config`.
    pub fn pbx(&self, idx: PbxIdx) -> Option<&Pbx> {
        self.pbxs.get(usize::try_from(idx.0).ok()?)
    }

    /// The PBX that this is a user of.
    pub fn pbx_of(&self, aor: &Aor) -> Option<(PbxIdx, &Pbx)> {
        let (pbx, at) = self.pbxs.iter().zip(0..).find(|(pbx, _)| pbx.domain == aor.domain())?;
        Some((PbxIdx(at), pbx))
    }

    /// The row of a supported country (normalised first).
    pub fn country(&self, country: Country) -> Option<&CountryRow> {
        let code = country.normalised();
        self.countries.binary_search_by_key(&code, |row| row.code).ok().and_then(|at| self.countries.get(at))
    }

    /// The first route for this number dialled in this country; a test number without one goes to the test line.
    pub fn route(&self, country: Country, number: &str, kind: NumberKind) -> Option<&Route> {
        let fallback = match kind {
            NumberKind::Emergency => None,
            NumberKind::Test => Some(&self.test_line),
        };
        self.routes.iter().find(|route| route.serves(country, number, kind)).or(fallback)
    }

    /// The route of this number, and the number it is asked for: where an emergency number has no route of its own, the first
    /// one to trunks that has another of the country is asked for that.
    pub fn route_or_instead<'a>(
        &'a self,
        country: Country,
        number: &'a str,
        kind: NumberKind,
    ) -> Option<(&'a Route, &'a str)> {
        let own = self.route(country, number, kind).map(|route| (route, number));
        own.or_else(|| {
            let instead = || self.routes.iter().find_map(|route| Some((route, self.served(route, country)?)));
            if kind == NumberKind::Emergency { instead() } else { None }
        })
    }

    /// For callers outside the supported countries: the first route with trunks for emergency calls, one of its countries, and
    /// the number it is asked for. A test number goes where that country's go.
    pub fn best_effort<'a>(&'a self, number: &'a str, kind: NumberKind) -> Option<(&'a Route, Country, &'a str)> {
        let first = |route: &'a Route| {
            let served = |country: &Country| Some((route, *country, self.served(route, *country)?));
            route.countries.iter().find_map(served)
        };
        let (route, country, instead) = self.routes.iter().find_map(first)?;
        match kind {
            NumberKind::Test => Some((self.route(country, number, kind)?, country, number)),
            NumberKind::Emergency => {
                let knows = self.country(country).is_some_and(|row| row.kind_of(number) == Some(kind));
                let is_its = knows && (route.numbers.is_empty() || route.numbers.iter().any(|own| own == number));
                Some((route, country, if is_its { number } else { instead }))
            }
        }
    }

    /// The country whose routes and pools serve a caller there: another one for callers outside the supported countries.
    pub fn serving(&self, country: Country) -> Country {
        let supported = self.country(country).map(|row| row.code);
        let by_best_effort = || self.best_effort("", NumberKind::Emergency).map(|(_, served, _)| served);
        supported.or_else(by_best_effort).unwrap_or(country)
    }

    /// The first emergency number of the country that this route takes to trunks.
    fn served(&self, route: &Route, country: Country) -> Option<&str> {
        let country = country.normalised();
        let is_to_trunks = matches!(route.action, RouteAction::Trunks(_)) && route.countries.contains(&country);
        let row = self.country(country).filter(|_| is_to_trunks)?;
        let mut numbers = row.emergency.iter();
        numbers.find(|number| route.numbers.is_empty() || route.numbers.contains(number)).map(CompactString::as_str)
    }
}
