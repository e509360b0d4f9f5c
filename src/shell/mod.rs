//! The thin shell around the node: the only place with sockets, files, threads, tasks and clocks.
//!
//! One thread runs everything SIP (`run`); TLS, HTTP, logging and the store have their own.
#![allow(clippy::disallowed_methods, reason = "clocks, tasks and threads live here and nowhere else")]

pub mod ask;
pub mod cli;
pub mod clock;
pub mod connections;
pub mod credentials;
pub mod demo;
pub mod dns;
pub mod events;
pub mod explain;
pub mod file;
pub mod geography;
pub mod http;
pub mod log;
pub mod media;
pub mod mmsg;
mod ng;
pub mod post;
mod reload;
pub mod run;
pub mod secure;
pub mod serve;
pub mod sockets;
pub mod store;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod ws;
