//! The rows of CONFORMANCE.md that have to do with descriptions, once more with media through an rtpengine by script, which keeps
//! account: the same tests, and at their ends every call was deleted there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

mod browser;
mod outage;
mod own_voice;
mod refused;

#[path = "../rfc3261/bodies.rs"]
mod bodies;
#[path = "../rfc3261/breaking.rs"]
mod breaking;
#[path = "../rfc3261/cancel.rs"]
mod cancel;
#[path = "../rfc3261/dialogs.rs"]
mod dialogs;
#[path = "../rfc3261/families.rs"]
mod families;
#[path = "../rfc3261/in_dialog.rs"]
mod in_dialog;
#[path = "../rfc3261/legs.rs"]
mod legs;
#[path = "../rfc3261/offer_answer.rs"]
mod offer_answer;
#[path = "../rfc3261/reliable.rs"]
mod reliable;
#[path = "../rfc3261/session_timers.rs"]
mod session_timers;
#[path = "../rfc3261/transactions.rs"]
mod transactions;
#[path = "../rfc3261/transfer.rs"]
mod transfer;
#[path = "../rfc3261/transfer_races.rs"]
mod transfer_races;
#[path = "../rfc3261/update.rs"]
mod update;
