//! sosbridge: a SIP back-to-back user agent for emergency calls.

pub mod admin;
pub mod base;
pub mod call;
pub mod config;
pub mod dialog;
pub mod geo;
pub mod lease;
pub mod node;
pub mod registrar;
pub mod shell;
pub mod sip;
pub mod transaction;
pub mod transport;
pub mod trunk;
pub mod ua;
