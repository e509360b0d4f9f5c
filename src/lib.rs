//! sosbridge: a SIP back-to-back user agent for emergency calls.
//!
//! The whole daemon is one pure state machine, [`node::Node`], inside a thin shell. Input and time go in, outputs come out:
//! no sockets, files, clocks, randomness, tasks or locks below [`shell`]. So the node that serves calls is the node that
//! runs in the simulator, with virtual time, a lossy network and a disk that forgets.
//!
//! Floors, each importing only from those below it:
//!
//! | floor | what it knows |
//! |---|---|
//! | [`shell`] | tokio, sockets, the store, the clock, HTTP, the command line |
//! | [`node`] | composition: dispatch, deadlines, persistence, views |
//! | [`admin`] | what operators see: rows and metrics |
//! | [`call`] | the B2BUA: classify, emergency, direct, dial, callback, ring, early, bridge, align, transfer, end |
//! | [`trunk`] | targets, their health, the next one to try |
//! | [`lease`] | temporary numbers: free, active, held, quarantined |
//! | [`registrar`] | bindings, REGISTER, digest |
//! | [`geo`] | countries and emergency numbers |
//! | [`media`] | ports, session descriptions of a relay, orders to the data plane |
//! | [`ua`] | legs: one dialog with an INVITE usage each |
//! | [`dialog`] | identifiers, numbering, route sets, offers, session timers |
//! | [`transaction`] | the four machines of RFC 3261 §17 |
//! | [`transport`] | flows, streams, response routing |
//! | [`config`] | TOML to checked types, with errors that point |
//! | [`sip`] | text to types and back |
//! | [`base`] | time, chance, numbers, limits |
//!
//! The run loop of any shell:
//!
//! ```
//! # use std::sync::Arc;
//! # use sosbridge::{admin::Metrics, base::Instant, config, node::{Boot, Input, Node, Output}};
//! # let text = r#"
//! # [[sip.listen]]
//! # transport = "udp"
//! # address = "127.0.0.1:5060"
//! # "#;
//! # let config = Arc::new(config::load(text, std::path::Path::new("/")).map_err(|problems| format!("{problems:?}"))?.config);
//! # let now = Instant::from_millis(0);
//! # let boot = Boot { now, seed: [0; 32], wall_offset_ms: 0, leases: vec![], bindings: vec![], records: vec![], notices: vec![] };
//! let mut node = Node::new(config, boot, Metrics::new());
//! # let inputs = vec![Input::Drain];
//! for input in inputs {
//!     node.handle(now, input);
//!     while let Some(output) = node.poll_output() {
//!         // send, connect, write, resolve
//!         # let _: Output = output;
//!     }
//!     if let Some((deadline, _why)) = node.poll_timeout() {
//!         // wait until then, or for the next input
//!         # assert!(deadline >= now);
//!     }
//! }
//! assert!(node.is_drained());
//! # Ok::<(), String>(())
//! ```

pub mod admin;
pub mod base;
pub mod call;
pub mod config;
pub mod dialog;
pub mod geo;
pub mod lease;
pub mod media;
pub mod node;
pub mod registrar;
pub mod shell;
pub mod sip;
pub mod transaction;
pub mod transport;
pub mod trunk;
pub mod ua;
