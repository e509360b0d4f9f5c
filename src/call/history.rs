//! What is told of calls: live views, the history of an ended one, and events worth counting or an alarm (SPEC §9).

use std::sync::Arc;

use compact_str::CompactString;

use super::{Call, Calls, MediaHealth, Stage, name_of};
use crate::base::{E164, Instant, limits};
use crate::config::{Aor, Country};
use crate::sip::{Message, Name, mime};
use crate::transport::Flow;
use crate::ua::{CallId, Refusal};

/// An enum of words: `as_str` for metrics and tables, the same word in JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What a call is for.
    Kind {
        Emergency = "emergency",
        Test = "test",
        Callback = "callback",
        /// User to user.
        Internal = "internal",
        /// User to a trunk, not an emergency.
        Outbound = "outbound",
        /// Trunk to user, not a callback.
        Inbound = "inbound",
    }
}

words! {
    /// Where a call stands.
    State {
        /// Deciding: identity, number, the durable grant.
        Setup = "setup",
        /// An INVITE is out; no phone rings yet.
        Trying = "trying",
        Ringing = "ringing",
        /// Nobody to ring right now: a callback holds for a phone, an emergency call between rounds of its trunks.
        Waiting = "waiting",
        Answered = "answered",
        /// Only in records.
        Ended = "ended",
    }
}

words! {
    /// How a call ended.
    Outcome {
        /// Both sides spoke.
        Answered = "answered",
        /// The caller gave up before an answer.
        Cancelled = "cancelled",
        /// Nobody answered in time.
        Unanswered = "unanswered",
        /// This daemon, or the called party, said no.
        Refused = "refused",
        /// No path left to try.
        Failed = "failed",
    }
}

/// What decided the caller's country (SPEC §1), most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountrySource {
    /// `X-Country-Code` in the INVITE.
    CallHeader,
    /// The civic country of the PIDF-LO body.
    Location,
    /// `X-Country-Code` in the REGISTER.
    Registration,
    /// `[[users]] country`.
    User,
    /// The address the call came from, by `[geo] database`.
    Geolocation,
    /// `[[resources]] unknown_country`.
    Resource,
}

impl CountrySource {
    /// In the order in which they are asked.
    pub(super) const ALL: [Self; 6] =
        [Self::CallHeader, Self::Location, Self::Registration, Self::User, Self::Geolocation, Self::Resource];

    /// What it is, for `explain`.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::CallHeader => "the header X-Country-Code of the call",
            Self::Location => "the civic address in the call's body",
            Self::Registration => "X-Country-Code of the registration",
            Self::User => "the user's configuration",
            Self::Geolocation => "the IP address, by [geo] database,",
            Self::Resource => "unknown_country of the resource",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallHeader => "header",
            Self::Location => "pidf",
            Self::Registration => "registration",
            Self::User => "user",
            Self::Geolocation => "geolocation",
            Self::Resource => "resource",
        }
    }
}

/// One try to reach a target or a device.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Trunk name; empty toward a phone.
    pub trunk: CompactString,
    pub target: CompactString,
    /// Final status; 0 while it lasts, 408 when nothing came back.
    pub status: u16,
    pub started_at: Instant,
    pub ended_at: Option<Instant>,
    /// What the trunk found wrong with the location (RFC 6442 §4.4).
    pub location_error: Option<u16>,
}

/// A call as it is now, or as it was when it ended.
#[derive(Clone, Debug)]
pub struct History {
    pub id: CompactString,
    pub kind: Kind,
    pub user: Option<Aor>,
    pub number: Option<E164>,
    pub country: Option<Country>,
    pub country_source: Option<CountrySource>,
    pub dialled: CompactString,
    /// The trunk in use, or last used.
    pub trunk: CompactString,
    pub state: State,
    pub started_at: Instant,
    pub answered_at: Option<Instant>,
    pub attempts: Vec<Attempt>,
    pub callback_of: Option<CompactString>,
    pub media: Vec<MediaHealth>,
    /// The pattern of the direct route the call took, or took first (SPEC §5).
    pub direct_route: Option<CompactString>,
    /// What others call the call, and the incident it belongs to (NENA-STA-010).
    pub nena_call_id: Option<CompactString>,
    pub incident_id: Option<CompactString>,
    /// The number is the shared one of the resource: a callback reaches its most recent caller, who may be somebody else.
    pub shared: bool,
    /// A test number was dialled, or is called back.
    pub test: bool,
    /// What decided about it, in words and in its order.
    pub decisions: Arc<Vec<String>>,
    /// What is out of the ordinary about its route.
    pub note: Option<CompactString>,
}

/// What is told of a call for help at the moment it is dialled.
#[derive(Clone, Debug)]
pub struct Dialled {
    pub history: History,
    /// The number a call-back reaches.
    pub number: Option<E164>,
    /// Values of Geolocation (RFC 6442).
    pub geolocation: Option<CompactString>,
    /// The PIDF-LO that came with the call.
    pub pidf: Option<String>,
}

impl Dialled {
    pub(super) fn new(history: History, number: Option<E164>, invite: &Message) -> Self {
        let bound = limits::NOTICE_LOCATION_BYTES;
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let values: Vec<String> = invite.values(Name::Geolocation).map(lossy).collect();
        let geolocation = Some(values.join(", ")).filter(|joined| !joined.is_empty() && joined.len() <= bound);
        let content_type = invite.header(Name::ContentType).unwrap_or_default();
        let body = invite.body();
        let pidf = mime::locate(content_type, body, "application/pidf+xml").and_then(|place| body.get(place));
        let pidf = pidf.filter(|pidf| pidf.len() <= bound).map(lossy);
        Self { history, number, geolocation: geolocation.map(CompactString::from), pidf }
    }
}

/// Something the node counts, records or raises an alarm about.
#[derive(Debug)]
pub enum Report {
    Started {
        kind: Kind,
    },
    /// The first INVITE of a call left; microseconds after the caller's came in are `sent - started`.
    Sent {
        started: Instant,
        sent: Instant,
    },
    Refused {
        kind: Kind,
        dialled: CompactString,
        refusal: Refusal,
        source: Flow,
        /// Of an emergency call, or a callback that was for somebody: what is recorded and told of it.
        told: Option<Box<Dialled>>,
    },
    /// The session description of an emergency call or a callback was malformed, and was put right.
    Mended {
        kind: Kind,
        fault: String,
        source: Flow,
    },
    Ended {
        history: Box<History>,
        outcome: Outcome,
        status: u16,
        ended_at: Instant,
    },
    /// An emergency call left on a lease that is only in memory.
    VolatileGrant {
        number: E164,
        why: crate::lease::Overdue,
    },
    /// A pool came to another level: a fifth or less is free, or nothing, or enough again.
    PoolLow {
        pool: CompactString,
        level: crate::lease::Level,
        free: u64,
        capacity: u64,
    },
    /// The number is shared, or the user's own: the pools are exhausted.
    PoolExhausted {
        number: E164,
        kind: crate::lease::Kind,
    },
    /// A call goes by another route than one of its own number and country, which there is not.
    Rerouted {
        note: CompactString,
    },
    /// A party of an emergency call or a callback did not answer, or missed its refresh; the call stays up.
    Silent {
        kind: Kind,
        is_caller: bool,
        missed_refresh: bool,
    },
    /// No pair of media ports of that address family was ready: streams go between the parties.
    PortsShort {
        is_ipv4: bool,
    },
    /// A browser's media go through the relay, which cannot convert them.
    NotConverted {
        /// As in `calls`.
        id: CompactString,
        kind: Kind,
    },
    /// Nothing was heard on a stream for `[media] idle`; the call stays up.
    NoMedia {
        /// As in `calls`.
        id: CompactString,
        kind: Kind,
        is_caller: bool,
        stream: crate::media::Kind,
        silent: std::time::Duration,
    },
    /// Packets for a stream come from elsewhere than its party, and none from there: they are not let in.
    StrangeMedia {
        /// As in `calls`.
        id: CompactString,
        kind: Kind,
        is_caller: bool,
        stream: crate::media::Kind,
    },
    /// No trunk of a direct route took the call: the emergency service takes it.
    DirectFailed {
        history: Box<History>,
        to: Kind,
    },
    /// A trunk could not make use of the location; RFC 6442 §4.4 has the codes.
    LocationError {
        trunk: CompactString,
        code: u16,
    },
    /// Somebody has dialled an emergency number, or a test number, and the call goes on (47 CFR 9.16).
    Dialled(Box<Dialled>),
    /// A callback has come.
    CalledBack {
        history: Box<History>,
    },
    /// No trunk took an emergency call in a whole round, for the first time; they are tried again while the caller holds on.
    RoundFailed {
        history: Box<History>,
    },
    /// No trunk took an emergency call.
    NoPath {
        dialled: CompactString,
    },
}

impl Calls {
    /// The calls that are up, in the order of their keys.
    pub fn views(&self) -> impl Iterator<Item = History> {
        self.calls.keys().filter_map(|id| self.history(id))
    }

    /// The incident of the newest call that is up on `number`.
    pub fn incident_of(&self, number: E164) -> Option<CompactString> {
        let calls = self.calls.values().filter(|call| call.number == Some(number) && call.incident_id.is_some());
        calls.max_by_key(|call| call.started_at).and_then(|call| call.incident_id.clone())
    }

    pub(super) fn history(&self, id: CallId) -> Option<History> {
        let call = self.calls.get(id)?;
        Some(History {
            id: name_of(id, call.started_at),
            kind: call.kind,
            user: call.user.clone(),
            number: call.number,
            country: call.country,
            country_source: call.country_source,
            dialled: call.dialled.clone(),
            trunk: trunk_of(call),
            state: state_of(call),
            started_at: call.started_at,
            answered_at: call.answered_at,
            attempts: call.attempts.clone(),
            callback_of: call.callback_of.clone(),
            media: self.health(call),
            direct_route: call.direct_route.clone(),
            nena_call_id: call.nena_call_id.clone(),
            incident_id: call.incident_id.clone(),
            shared: call.shared,
            test: call.test,
            decisions: Arc::clone(&call.decisions),
            note: call.note.clone(),
        })
    }
}

/// The trunk that answered last, else the one tried last.
fn trunk_of(call: &Call) -> CompactString {
    let named = || call.attempts.iter().rev().filter(|attempt| !attempt.trunk.is_empty());
    let answered = named().find(|attempt| matches!(attempt.status, 200..=299));
    answered.or_else(|| named().next()).map(|attempt| attempt.trunk.clone()).unwrap_or_default()
}

fn state_of(call: &Call) -> State {
    let is_alerting = call.branches.iter().any(|branch| branch.alerting);
    match &call.stage {
        Stage::Granting(_) | Stage::Refusing(_) => State::Setup,
        Stage::TestLine if call.answered_at.is_none() => State::Setup,
        Stage::Dialling(_) | Stage::Ringing(_) if is_alerting => State::Ringing,
        Stage::Dialling(_) if call.branches.is_empty() => State::Waiting,
        Stage::Ringing(ringing) if ringing.is_holding() => State::Waiting,
        Stage::Dialling(_) | Stage::Ringing(_) => State::Trying,
        Stage::TestLine | Stage::Bridged => State::Answered,
    }
}
