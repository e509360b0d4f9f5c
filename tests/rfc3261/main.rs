//! What a correct B2BUA does, row by row of CONFORMANCE.md, each test under the name of its row. Raw SIP on both sides of the
//! pure node, and virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

mod authentication;
mod bodies;
mod breaking;
mod cancel;
mod dialogs;
mod families;
mod finding;
mod forged;
mod framing;
mod hostile;
mod in_dialog;
mod large;
mod legs;
mod lost;
mod names;
mod offer_answer;
mod outbound;
mod reliable;
mod secure;
mod session_timers;
mod transactions;
mod transfer;
mod transfer_races;
mod trunk_auth;
mod trunk_register;
mod update;
