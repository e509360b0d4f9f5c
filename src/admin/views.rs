//! The rows of the admin API (INTERFACE.md, "Admin HTTP"): plain data, copied out of the node a page at a time.
//!
//! Field names here are the wire names. Reading tolerates unknown fields, so that a record written by a newer version,
//! or an answer of a newer daemon, is still shown.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Notification, Stamp};
use crate::base::{E164, Protocol};

/// An enum of words: `as_str` for metrics and tables, the same word in JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub use crate::call::{Kind as CallKind, Outcome, State as CallState};

words! {
    /// The life of a leased number (SPEC §3).
    LeaseState {
        /// A call is up on it.
        Active = "active",
        /// No call; callbacks reach its user.
        Held = "held",
        /// At rest; callbacks still reach its last holder.
        Quarantined = "quarantined",
    }
}

words! {
    /// What is known of a trunk target.
    TargetState { Up = "up", Down = "down", Unknown = "unknown" }
}

words! {
    /// Where our registration at a trunk stands.
    RegistrationState { Trying = "trying", Registered = "registered", Failed = "failed", Ended = "ended" }
}

/// One row of `/api/v1/leases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    pub number: E164,
    pub resource: CompactString,
    pub country: Option<CompactString>,
    /// The address of record, `sip:alice@example.com`.
    pub user: CompactString,
    /// The device that made the emergency call, and is rung first.
    pub contact: Option<CompactString>,
    pub state: LeaseState,
    pub dialled_at: Stamp,
    pub expires_at: Stamp,
    /// Until then nobody else gets the number, as things stand: later, when it is called before.
    pub quarantine_until: Option<Stamp>,
    /// Calls up on it now.
    pub calls: u32,
    pub test: bool,
    /// Where it came from when the pools were exhausted: `own-number`, or `overflow`, which is shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<CompactString>,
    /// Several callers may have this number: a callback reaches the most recent one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

words! {
    /// The side of a call whose packets are told of.
    Party { Caller = "caller", Called = "called" }
}

/// What has arrived from one party on one stream, by the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaView {
    pub leg: Party,
    pub kind: crate::media::Kind,
    pub packets: u64,
    pub bytes: u64,
    /// Missing by their numbers.
    pub lost: u64,
    /// Dropped: from elsewhere than the party, or neither RTP nor RTCP.
    #[serde(default)]
    pub strange: u64,
    pub jitter_ms: u32,
    /// What the party says of what it hears: percent lost.
    pub reported_lost: Option<u8>,
    pub reported_jitter_ms: Option<u32>,
    /// Since its last packet.
    pub silent_s: u64,
}

/// One row of `/api/v1/calls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    pub id: CompactString,
    pub kind: CallKind,
    pub user: Option<CompactString>,
    /// The number shown to the far side: the temporary one for emergency calls and callbacks.
    pub number: Option<E164>,
    pub country: Option<CompactString>,
    pub dialled: CompactString,
    pub trunk: Option<CompactString>,
    pub state: CallState,
    pub started_at: Stamp,
    pub answered_at: Option<Stamp>,
    /// Empty where media go between the parties.
    #[serde(default)]
    pub media: Vec<MediaView>,
    /// A test number was dialled, or is called back; `kind` says that only of those that the emergency service takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
}

/// One try to reach a trunk target or a phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub trunk: CompactString,
    pub target: CompactString,
    /// The final SIP status; `None` when none came.
    pub status: Option<u16>,
    pub started_at: Stamp,
    pub ended_at: Option<Stamp>,
    /// Code of the trunk's Geolocation-Error (RFC 6442 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location_error: Option<u16>,
}

/// An ended call: one row of `/api/v1/records`, kept in the store as this very JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub call: CallView,
    pub ended_at: Stamp,
    pub outcome: Outcome,
    /// The final SIP status the caller got; `None` when the caller left without one.
    pub status: Option<u16>,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// What told the country: `header`, `pidf`, `registration`, `user`, `geolocation`, `resource`; `None`: nothing did, and the
    /// country is the one that the call is served in (`outside_countries = "best-effort"`).
    #[serde(default)]
    pub country_source: Option<CompactString>,
    /// For a callback: the temporary number it is for, by which the emergency call it answers is found.
    #[serde(default)]
    pub callback_of: Option<CompactString>,
    /// The pattern of the direct route the call took, or took first; then it is a regular call, unless its kind says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_route: Option<CompactString>,
    /// The call, and the incident it belongs to, as trunks with `add_nena_ids` know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nena_call_id: Option<CompactString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<CompactString>,
    /// The number is the shared one of the resource: a callback reaches its most recent caller, who may be somebody else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What decided about it, in words and in its order: who called, what told the country, which number, route and pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<String>,
    /// What is out of the ordinary about its route: its number has none of its own, or it is outside the supported countries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<CompactString>,
    /// Why it was refused, when this daemon refused it before it was a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CompactString>,
    /// What the webhook was told of the call, and whether it took it; not in the store, which has `notice_list`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<Notification>,
}

/// One row of `/api/v1/registrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationView {
    pub user: CompactString,
    pub contact: CompactString,
    pub transport: Protocol,
    /// Address and port the REGISTER came from.
    pub source: CompactString,
    pub expires_at: Stamp,
    pub user_agent: Option<CompactString>,
}

/// One row of `/api/v1/trunks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkView {
    pub name: CompactString,
    pub targets: Vec<TargetView>,
    /// Ours at the trunk; there where `register` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<TrunkRegistration>,
}

/// Our registration at a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkRegistration {
    pub state: RegistrationState,
    pub expires_at: Option<Stamp>,
    pub last_status: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    pub uri: CompactString,
    pub state: TargetState,
    pub last_ok: Option<Stamp>,
    pub last_status: Option<u16>,
    /// Why the last connection to it failed, until it answers; else why calls go elsewhere first.
    #[serde(default)]
    pub last_error: Option<CompactString>,
}

/// Whether this node should get traffic (`/readyz`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Draining,
    /// The store could not be read yet.
    NoLeases,
    /// No trunk of an emergency route answers.
    NoTrunk,
}

/// A question of an operator to the node.
///
/// Tables that grow with the load are asked for page by page (`from`: 0, then [`Page::next`]), so that a listing of
/// 100,000 leases holds the node for one page at a time and SIP goes on in between. A row is always right by itself;
/// rows that come or go during a listing may or may not be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    Leases {
        from: u64,
    },
    Calls {
        from: u64,
    },
    Registrations {
        from: u64,
    },
    /// Newest first, at most `limit`.
    Records {
        limit: usize,
    },
    Trunks,
    Readiness,
}

/// Rows of one page: about 0.2 ms of the node's time.
pub const PAGE_ROWS: usize = 1000;

/// Rows of a table, and where the next page starts; `next` is opaque and `None` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub next: Option<u64>,
}

/// The answer to the [`Query`] of the same name.
#[derive(Clone, Debug)]
pub enum Answer {
    Leases(Page<LeaseView>),
    Calls(Page<CallView>),
    Registrations(Page<RegistrationView>),
    Records(Vec<std::sync::Arc<Record>>),
    Trunks(Vec<TrunkView>),
    Readiness(Readiness),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn stamp(ms: u64) -> Stamp {
        Stamp::from_unix_millis(ms)
    }

    fn record() -> Record {
        Record {
            call: CallView {
                id: "c1".into(),
                kind: CallKind::Emergency,
                user: Some("sip:alice@example.com".into()),
                number: "+14255551000".parse().ok(),
                country: Some("US".into()),
                dialled: "911".into(),
                trunk: Some("psap".into()),
                state: CallState::Ended,
                started_at: stamp(0),
                answered_at: None,
                media: Vec::new(),
                test: false,
            },
            ended_at: stamp(1500),
            outcome: Outcome::Cancelled,
            status: Some(487),
            attempts: vec![Attempt {
                trunk: "psap".into(),
                target: "sip:127.0.0.1:5080".into(),
                status: None,
                started_at: stamp(1),
                ended_at: Some(stamp(1500)),
                location_error: None,
            }],
            country_source: Some("header".into()),
            callback_of: None,
            direct_route: None,
            nena_call_id: None,
            incident_id: None,
            shared: false,
            decisions: Vec::new(),
            note: None,
            reason: None,
            notifications: Vec::new(),
        }
    }

    #[test]
    fn a_record_has_exactly_the_fields_of_the_interface() {
        let json: serde_json::Value = serde_json::to_value(record()).unwrap();
        let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            [
                "answered_at",
                "attempts",
                "callback_of",
                "country",
                "country_source",
                "dialled",
                "ended_at",
                "id",
                "kind",
                "media",
                "number",
                "outcome",
                "started_at",
                "state",
                "status",
                "trunk",
                "user"
            ]
        );
        assert_eq!(json["attempts"][0]["status"], serde_json::Value::Null);
        assert_eq!(json["kind"], "emergency");
        assert_eq!(json["started_at"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_record_of_a_newer_version_is_still_read() {
        let mut json: serde_json::Value = serde_json::to_value(record()).unwrap();
        json["mos"] = 4.2.into();
        json["attempts"][0]["cause"] = "icmp".into();
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record());
    }

    #[test]
    fn a_lease_has_exactly_the_fields_of_the_interface() {
        let lease = LeaseView {
            number: "+14255551000".parse().unwrap(),
            resource: "contoso".into(),
            country: Some("US".into()),
            user: "sip:alice@example.com".into(),
            contact: None,
            state: LeaseState::Held,
            dialled_at: stamp(0),
            expires_at: stamp(3_600_000),
            quarantine_until: None,
            calls: 0,
            test: false,
            origin: None,
            shared: false,
        };
        assert_eq!(
            serde_json::to_string(&lease).unwrap(),
            r#"{"number":"+14255551000","resource":"contoso","country":"US","user":"sip:alice@example.com","contact":null,"state":"held","dialled_at":"1970-01-01T00:00:00.000Z","expires_at":"1970-01-01T01:00:00.000Z","quarantine_until":null,"calls":0,"test":false}"#
        );
    }
}
