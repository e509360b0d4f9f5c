//! Look-ups over the configuration, built once at load.

use super::Aor;
use super::overflow::{self, Overflow};
use super::types::{AcceptFrom, Resource, Trunk, TrunkIdx, User};
use crate::base::E164;
use compact_str::CompactString;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Positions in the lists of `Config`.
#[derive(Debug, Default)]
pub(super) struct Index {
    users_by_aor: HashMap<Aor, u32>,
    /// Users by user part; `None` when two users share it.
    users_by_name: HashMap<CompactString, Option<u32>>,
    users_by_number: HashMap<E164, u32>,
    /// By the name of the resource.
    overflow_by_resource: HashMap<CompactString, Overflow>,
    trunks_by_address: HashMap<SocketAddr, TrunkIdx>,
    trunks_by_network: HashMap<IpNet, TrunkIdx>,
    trunks_by_certificate: HashMap<CompactString, TrunkIdx>,
    /// Every prefix length in `trunks_by_network`, longest first.
    prefix_lengths: Vec<u8>,
}

impl Index {
    /// Where two trunks accept the same source, the first in the file has it.
    pub fn new(users: &[User], trunks: &[Trunk], resources: &[Arc<Resource>]) -> Self {
        let mut index = Self {
            users_by_aor: HashMap::with_capacity(users.len()),
            users_by_name: HashMap::with_capacity(users.len()),
            ..Self::default()
        };
        for (user, at) in users.iter().zip(0u32..) {
            index.users_by_aor.entry(user.aor.clone()).or_insert(at);
            index.users_by_name.entry(user.aor.user().into()).and_modify(|other| *other = None).or_insert(Some(at));
            if let Some(number) = user.number {
                index.users_by_number.entry(number).or_insert(at);
            }
        }
        for (trunk, at) in trunks.iter().zip(0u32..) {
            trunk.accept_from.iter().for_each(|source| index.accept(source, TrunkIdx(at)));
        }
        let owned = overflow::owned(users);
        let shared = |resource: &Arc<Resource>| Some((resource.name.clone(), Overflow::of(resource, &owned)?));
        index.overflow_by_resource = resources.iter().filter_map(shared).collect();
        index.prefix_lengths.sort_unstable_by(|a, b| b.cmp(a));
        index.prefix_lengths.dedup();
        index
    }

    fn accept(&mut self, source: &AcceptFrom, trunk: TrunkIdx) {
        match source {
            AcceptFrom::Address(address) => {
                self.trunks_by_address.entry(*address).or_insert(trunk);
            }
            AcceptFrom::Network(network) => {
                self.trunks_by_network.entry(network.trunc()).or_insert(trunk);
                self.prefix_lengths.push(network.prefix_len());
            }
            AcceptFrom::Certificate(name) => {
                self.trunks_by_certificate.entry(name.clone()).or_insert(trunk);
            }
        }
    }

    pub fn user(&self, aor: &Aor) -> Option<usize> {
        self.users_by_aor.get(aor).and_then(|&at| usize::try_from(at).ok())
    }

    pub fn user_by_name(&self, name: &str) -> Option<usize> {
        self.users_by_name.get(name).copied().flatten().and_then(|at| usize::try_from(at).ok())
    }

    pub fn user_by_number(&self, number: E164) -> Option<usize> {
        self.users_by_number.get(&number).and_then(|&at| usize::try_from(at).ok())
    }

    pub fn overflow(&self, resource: &str) -> Option<&Overflow> {
        self.overflow_by_resource.get(resource)
    }

    pub fn trunk_certified(&self, names: &[CompactString]) -> Option<TrunkIdx> {
        names.iter().find_map(|name| self.trunks_by_certificate.get(name).copied())
    }

    pub fn trunk_accepting(&self, source: SocketAddr) -> Option<TrunkIdx> {
        // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
        let address = source.ip().to_canonical();
        if let Some(&trunk) = self.trunks_by_address.get(&SocketAddr::new(address, source.port())) {
            return Some(trunk);
        }
        let network = |&length: &u8| IpNet::new(address, length).ok().map(|network| network.trunc());
        self.prefix_lengths.iter().filter_map(network).find_map(|network| self.trunks_by_network.get(&network).copied())
    }
}
