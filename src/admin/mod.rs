//! What operators see: rows of leases, calls, records, registrations and trunks, and the metrics, under the names of
//! INTERFACE.md. No HTTP here: `shell::http` serves these, `shell::ask` prints them.

pub mod messages;
pub mod metrics;
pub mod notices;
pub mod stamp;
pub mod views;

pub use metrics::{Direction, Dropped, Metrics, PoolGauges, TargetGauge};
pub use notices::{Notice, NoticeEvent, NoticeState, Notification};
pub use stamp::Stamp;
pub use views::{
    Answer, Attempt, CallKind, CallState, CallView, LeaseState, LeaseView, MediaView, Outcome, PAGE_ROWS, Page, Party,
    Query, Readiness, Record, RegistrationState, RegistrationView, TargetState, TargetView, TrunkRegistration,
    TrunkView,
};
