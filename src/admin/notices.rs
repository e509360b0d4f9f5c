//! What the webhook of `[notify]` is told: one notice an event, kept until it is acknowledged and then for records.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::Stamp;

/// What has happened; the names are those of `[notify] events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeEvent {
    EmergencyCall,
    /// It was refused.
    EmergencyRefused,
    TestCall,
    /// An emergency call, a test or a callback that was told of is over.
    CallEnded,
    CallbackReceived,
    /// The callback reached nobody.
    CallbackMissed,
    /// No trunk took the call in a whole round; the caller holds on and they are tried again.
    AllTrunksFailed,
    /// A pool has a fifth or less free, or nothing, or enough again.
    PoolLow,
    /// The call goes out on a number of last resort.
    PoolExhausted,
    StoreFailing,
    StoreBack,
}

impl NoticeEvent {
    pub const ALL: [Self; 11] = [
        Self::EmergencyCall,
        Self::EmergencyRefused,
        Self::TestCall,
        Self::CallEnded,
        Self::CallbackReceived,
        Self::CallbackMissed,
        Self::AllTrunksFailed,
        Self::PoolLow,
        Self::PoolExhausted,
        Self::StoreFailing,
        Self::StoreBack,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EmergencyCall => "emergency_call",
            Self::EmergencyRefused => "emergency_refused",
            Self::TestCall => "test_call",
            Self::CallEnded => "call_ended",
            Self::CallbackReceived => "callback_received",
            Self::CallbackMissed => "callback_missed",
            Self::AllTrunksFailed => "all_trunks_failed",
            Self::PoolLow => "pool_low",
            Self::PoolExhausted => "pool_exhausted",
            Self::StoreFailing => "store_failing",
            Self::StoreBack => "store_back",
        }
    }
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    Pending,
    /// The webhook has answered 2xx.
    Delivered,
    /// `[notify] give_up` has passed.
    GivenUp,
}

impl NoticeState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

/// One notice, kept in the store as this very JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The order in which they came to be.
    pub seq: u64,
    pub event: NoticeEvent,
    /// The call it is about, or what else it is in order with.
    pub about: CompactString,
    /// On the node clock, in milliseconds.
    pub at_ms: u64,
    pub state: NoticeState,
    pub attempts: u32,
    #[serde(default)]
    pub delivered_at: Option<Stamp>,
    /// What is posted; empty once nobody waits for it any more.
    #[serde(default)]
    pub body: String,
}

/// How a notice of a call fared, in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub event: NoticeEvent,
    pub state: NoticeState,
    pub attempts: u32,
    pub delivered_at: Option<Stamp>,
}

impl From<&Notice> for Notification {
    fn from(notice: &Notice) -> Self {
        let Notice { event, state, attempts, delivered_at, .. } = *notice;
        Self { event, state, attempts, delivered_at }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_names_are_those_of_the_configuration() {
        let names = NoticeEvent::ALL.map(NoticeEvent::as_str);
        assert_eq!(names, crate::config::EVENTS);
        let in_json = NoticeEvent::ALL.map(|event| serde_json::to_string(&event).unwrap());
        assert_eq!(in_json, names.map(|name| format!("{name:?}")));
    }
}
