//! SPEC.md rule by rule at the level of the node: raw SIP on both sides, virtual time, a store that a test holds in its hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../world/mod.rs"]
mod world;

mod alarms;
mod all_the_same;
mod announcement;
mod browsers;
mod callback;
mod callers;
mod direct_routes;
mod explain;
mod fax;
mod geolocation;
mod heard;
mod i3;
mod leaks;
mod lease;
mod lease_rules;
mod location;
mod media;
mod neighbours;
mod nodes_apart;
mod notification;
mod numbers;
mod odd;
mod offline;
mod other_calls;
mod outside;
mod overflow;
mod pbx;
mod races;
mod records;
mod refused;
mod registering;
mod rewrite;
mod routes;
mod routes_in_order;
mod routing;
mod running;
mod single_rules;
mod sources;
mod test_line;
mod test_line_voice;
mod told;
mod unwilling;
mod whose_phone;
