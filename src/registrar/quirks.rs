//! What some phones cannot read in a challenge (RFC 8760 §2.4 expects them to skip it; they fail instead).

use crate::sip::Message;

/// How much of a challenge with several algorithms the sender of a request understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// As the RFCs have it: the strongest it knows.
    All,
    /// Looks at the first challenge only, and knows MD5.
    FirstMd5,
    /// Gives up where anything but MD5 is offered.
    OnlyMd5,
}

impl Reads {
    /// Judged by what the sender says it is, or how it writes.
    pub fn of(request: &Message) -> Self {
        let agent = request.header_named("User-Agent").unwrap_or_default();
        let branch = request.top_via().branch().unwrap_or_default();
        // baresip before 2.0 answers no 401 in which SHA-256 stands.
        if agent.starts_with(b"baresip v0") || agent.starts_with(b"baresip v1") {
            Self::OnlyMd5
        } else if agent.starts_with(b"SIPp") || is_branch_of_sipp(branch) {
            Self::FirstMd5
        } else {
            Self::All
        }
    }
}

/// SIPp's keyword `[branch]`: the cookie, then process, call and message number, each after a hyphen.
fn is_branch_of_sipp(branch: &[u8]) -> bool {
    let Some(numbers) = branch.strip_prefix(b"z9hG4bK-") else { return false };
    let mut parts = numbers.split(|byte| *byte == b'-');
    let is_number =
        |part: Option<&[u8]>| part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    is_number(parts.next()) && is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    #[test]
    fn phones_by_what_they_say_and_how_they_write() {
        let of = |branch: &str, agent: &str| {
            let text = format!(
                "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n\
                 Call-ID: c\r\nCSeq: 1 REGISTER\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
            );
            Reads::of(&Message::parse(Bytes::from(text)).unwrap())
        };
        assert_eq!(of("z9hG4bK-1234-1-0", "x"), Reads::FirstMd5);
        assert_eq!(of("z9hG4bKa", "SIPp/3.6"), Reads::FirstMd5);
        assert_eq!(of("z9hG4bKa", "baresip v1.0.0 (x86_64/linux)"), Reads::OnlyMd5);
        for branch in ["z9hG4bK-1234-1", "z9hG4bK-1234-1-0-2", "z9hG4bK-1234-1-x", "z9hG4bK-1234--0", "1234-1-0"] {
            assert_eq!(of(branch, "Linphone/5.1"), Reads::All, "{branch}");
        }
    }
}
