//! A final answer that is not a success, as it travels from one leg to the other.

use bytes::Bytes;

use crate::sip::{Message, Name};

/// Status and the headers that explain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 300..=699.
    pub status: u16,
    /// Reason phrase of our own; `None`: the standard one.
    pub phrase: Option<&'static str>,
    /// Text of a `Warning: 399`.
    pub warning: Option<String>,
    /// Value of a Reason header (RFC 3326).
    pub reason: Option<Bytes>,
    /// Seconds for Retry-After.
    pub retry_after: Option<u32>,
    /// Where a 3xx points: the URI of its first Contact.
    pub redirect: Option<Bytes>,
    /// Code of a Geolocation-Error (RFC 6442 §4.4); it is never told on.
    pub location_error: Option<u16>,
}

impl Refusal {
    /// The text of warning 380 (RFC 5630 §5.4).
    pub const SIPS_NOT_ALLOWED: &'static str = "SIPS Not Allowed";

    pub const fn new(status: u16) -> Self {
        Self {
            status,
            phrase: None,
            warning: None,
            reason: None,
            retry_after: None,
            redirect: None,
            location_error: None,
        }
    }

    pub fn warn(status: u16, warning: impl Into<String>) -> Self {
        Self { warning: Some(warning.into()), ..Self::new(status) }
    }

    /// What a peer's final response says.
    pub fn of(response: &Message) -> Self {
        let is_redirect = (300..400).contains(&response.code());
        let contact = response.contact().filter(|_| is_redirect);
        Self {
            reason: response.header(Name::Reason).map(Bytes::copy_from_slice),
            redirect: contact.map(|contact| Bytes::copy_from_slice(contact.uri)),
            location_error: location_error(response),
            ..Self::new(response.code())
        }
    }

    /// The Reason value that carries this status to the other leg (RFC 3326 §2): the peer's own, or one made of the status.
    pub fn as_reason(&self) -> Bytes {
        self.reason.clone().unwrap_or_else(|| {
            let text = crate::sip::reason_phrase(self.status);
            Bytes::from(format!("SIP;cause={};text=\"{text}\"", self.status))
        })
    }
}

/// What a response says is wrong with the location in its request (RFC 6442 §4.4): three digits.
pub fn location_error(response: &Message) -> Option<u16> {
    let code = response.header(Name::GeolocationError)?.split(|byte| b"; \t".contains(byte)).next()?;
    std::str::from_utf8(code).ok()?.parse().ok().filter(|code| (100..1000).contains(code))
}

impl Refusal {
    /// Prints the headers that explain the status: Warning (RFC 3261 §20.43), Reason, Retry-After, Allow.
    pub fn print(&self, writer: &mut crate::sip::Writer, agent: &str) {
        if let Some(warning) = &self.warning {
            let text = warning.replace(['"', '\\', '\r', '\n'], "'");
            let code = if text == Self::SIPS_NOT_ALLOWED { 380 } else { 399 };
            writer.header_fmt("Warning", format_args!("{code} {agent} \"{text}\""));
        }
        if let Some(reason) = &self.reason {
            writer.header("Reason", reason);
        }
        if let Some(seconds) = self.retry_after {
            writer.header_fmt("Retry-After", format_args!("{seconds}"));
        }
        if matches!(self.status, 405 | 501) {
            writer.header("Allow", super::uas::ALLOW);
        }
        if self.status == 415 {
            // RFC 3261 §8.1.3.5: the peer may try again with what is listed.
            writer.header("Accept", super::uas::ACCEPT).header("Accept-Encoding", b"identity");
        }
    }
}
