//! sosbridge: a SIP back-to-back user agent for emergency calls.

pub mod admin;
pub mod base;
pub mod config;
pub mod geo;
pub mod lease;
pub mod registrar;
pub mod shell;
pub mod sip;
pub mod transaction;
pub mod transport;
pub mod trunk;
