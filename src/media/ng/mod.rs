//! The ng protocol of rtpengine, as its controller speaks it: a cookie, a blank, and a dictionary in bencode, in one datagram
//! each way. A command that is repeated with its cookie is carried out once (rtpengine's documentation of the ng protocol).

mod bencode;
mod client;
mod command;

pub use bencode::{Fault, Value};
pub use client::{AskId, Client, Heard};
pub use command::{Command, Counted, HASHES, Profile, Refused, Reply, Told};
