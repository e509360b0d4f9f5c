//! Bindings as the store keeps them.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::binding::{Binding, Parts, Quality};
use crate::base::{Instant, Protocol};
use crate::config::{Aor, Country};
use crate::transport::{Flow, ListenerId};

/// Which row: a user has at most `limits::BINDINGS_PER_USER` of them, numbered from 0; a number is used again when free.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    pub user: Aor,
    pub slot: u8,
}

/// One binding on disk. Times are milliseconds of the node clock. The names are short: there is a row for each phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub user: Aor,
    pub slot: u8,
    #[serde(rename = "uri")]
    pub contact: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub params: String,
    #[serde(rename = "cid")]
    pub call_id: String,
    pub cseq: u32,
    #[serde(rename = "ua", default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(rename = "via")]
    pub protocol: Protocol,
    #[serde(rename = "on")]
    pub listener: u8,
    #[serde(rename = "from")]
    pub remote: SocketAddr,
    #[serde(rename = "until")]
    pub expires_at_ms: u64,
    #[serde(rename = "seen")]
    pub refreshed_at_ms: u64,
    pub q: Quality,
    #[serde(rename = "reg", default, skip_serializing_if = "Option::is_none")]
    pub reg_id: Option<NonZeroU32>,
    #[serde(rename = "cc", default, skip_serializing_if = "Option::is_none")]
    pub country: Option<CompactString>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(rename = "mute", default, skip_serializing_if = "std::ops::Not::not")]
    pub never_rings: bool,
}

/// What the store has to do, in the order of the list it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `urgent`: a new binding or a changed flow, without which a phone would be out of reach after a restart.
    Put {
        row: Row,
        urgent: bool,
    },
    Delete {
        key: RowKey,
        urgent: bool,
    },
}

impl Row {
    pub fn key(&self) -> RowKey {
        RowKey { user: self.user.clone(), slot: self.slot }
    }

    pub(super) fn of(user: &Aor, binding: &Binding) -> Self {
        let Parts { uri, params, call_id, user_agent, path } = binding.parts();
        Self {
            user: user.clone(),
            slot: binding.slot,
            contact: uri.to_owned(),
            params: params.to_owned(),
            call_id: call_id.to_owned(),
            cseq: binding.cseq,
            user_agent: user_agent.to_owned(),
            protocol: binding.flow.protocol,
            listener: binding.flow.listener.0,
            remote: binding.flow.remote,
            expires_at_ms: binding.expires_at.as_millis(),
            refreshed_at_ms: binding.refreshed_at.as_millis(),
            q: binding.q,
            reg_id: binding.reg_id,
            country: binding.country.map(|country| country.as_str().into()),
            path: path.to_owned(),
            never_rings: !binding.rings,
        }
    }

    pub(super) fn binding(&self) -> Binding {
        let flow = Flow {
            protocol: self.protocol,
            listener: ListenerId(self.listener),
            remote: self.remote,
            connection: None,
        };
        let parts = Parts {
            uri: &self.contact,
            params: &self.params,
            call_id: &self.call_id,
            user_agent: &self.user_agent,
            path: &self.path,
        };
        let mut binding = Binding::new(parts, flow, self.slot);
        binding.expires_at = Instant::from_millis(self.expires_at_ms);
        binding.refreshed_at = Instant::from_millis(self.refreshed_at_ms);
        binding.cseq = self.cseq;
        binding.reg_id = self.reg_id;
        binding.q = self.q;
        binding.country = self.country.as_deref().and_then(|code| Country::parse(code.as_bytes()));
        binding.rings = !self.never_rings;
        binding
    }
}
