//! The same message as rsip reads it: for tests that compare, never on the receive path.

use super::text::{unfold, values};
use super::{Message, Name};

/// Why rsip does not take a message that we take.
#[derive(Debug, thiserror::Error)]
#[error("rsip refuses the message: {0}")]
pub struct Refused(String);

/// Hands a message to rsip in the plain form it can read: long names, no folds, one value a line.
pub fn to_rsip(message: &Message) -> Result<rsip::SipMessage, Refused> {
    let mut plain = start_line(message);
    for header in message.headers() {
        let name = match header.name {
            Name::Other => header.raw_name,
            known => known.as_str().as_bytes(),
        };
        let value = unfold(header.value);
        let lists = matches!(header.name, Name::Via | Name::Contact | Name::Route | Name::RecordRoute);
        let whole = std::iter::once(&*value).filter(|_| !lists);
        for value in values(if lists { &value } else { b"" }).chain(whole) {
            plain.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
        }
    }
    plain.extend_from_slice(b"\r\n");
    plain.extend_from_slice(message.body());
    rsip::SipMessage::try_from(plain).map_err(|error| Refused(error.to_string()))
}

fn start_line(message: &Message) -> Vec<u8> {
    if message.is_request() {
        [message.method_name(), b" ", message.request_uri(), b" SIP/2.0\r\n"].concat()
    } else {
        [format!("SIP/2.0 {} ", message.code()).as_bytes(), message.reason(), b"\r\n"].concat()
    }
}
