//! The real daemon over TLS and WebSocket, against parties made of rustls and tungstenite directly: what handshakes,
//! certificates and frames do (RFC 5922, RFC 7118; CONFORMANCE NA-2, NA-3, NA-9 on these transports).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod certs;
mod daemon;
mod families;
mod files;
mod listeners;
mod pbx;
mod peer;
mod reload;
mod sip;
mod trunks;
mod websocket;
