//! What a message says of the extensions its sender knows, read in one pass (RFC 3261 §20.5, §20.32, §20.37; RFC 3262 §7,
//! RFC 3311, RFC 4028 §3 to §5).

use memchr::memchr;

use super::params::Params;
use super::text::{decimal, trim, values};
use super::{Message, Name};
use crate::base::limits;

/// Option tags, Allow and session timer of one message. What is not there is `false` or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// 100rel in Supported or Require.
    pub reliable: bool,
    /// 100rel in Require.
    pub reliable_required: bool,
    /// timer in Supported or Require.
    pub timer: bool,
    /// UPDATE in Allow.
    pub update: bool,
    pub session_expires: Option<SessionExpires>,
    /// Seconds of Min-SE, at most [`limits::SESSION_INTERVAL_SECONDS`].
    pub min_se: Option<u32>,
}

/// The value of Session-Expires (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// At most [`limits::SESSION_INTERVAL_SECONDS`].
    pub seconds: u32,
    pub refresher: Option<Role>,
}

/// Which side of the transaction is to refresh the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Uac,
    Uas,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

impl Extensions {
    fn tags(&mut self, line: &[u8], required: bool) {
        for tag in values(line) {
            if tag.eq_ignore_ascii_case(b"100rel") {
                self.reliable = true;
                self.reliable_required |= required;
            } else if tag.eq_ignore_ascii_case(b"timer") {
                self.timer = true;
            }
        }
    }
}

impl Message {
    /// What the sender says of extensions.
    pub fn extensions(&self) -> Extensions {
        let mut found = Extensions::default();
        for line in &self.lines {
            let value = || line.value.of(&self.bytes);
            match line.name {
                Name::Supported => found.tags(value(), false),
                Name::Require => found.tags(value(), true),
                Name::Allow => found.update |= values(value()).any(|method| method == b"UPDATE"),
                Name::SessionExpires => found.session_expires = session_expires(value()),
                Name::MinSe => found.min_se = seconds(value()),
                _ => {}
            }
        }
        found
    }

    /// The number of a reliable provisional response (RFC 3262 §7.1); `None` where the response is none.
    pub fn rseq(&self) -> Option<u32> {
        let is_reliable = (101..200).contains(&self.code()) && self.lists(Name::Require, "100rel");
        self.header(Name::RSeq).filter(|_| is_reliable).and_then(number)
    }

    /// What a PRACK acknowledges: response number and CSeq of an INVITE (RFC 3262 §7.2).
    pub fn rack(&self) -> Option<(u32, u32)> {
        let mut fields = self.header(Name::RAck)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let (rseq, cseq) = (number(fields.next()?)?, number(fields.next()?)?);
        (fields.next()? == b"INVITE" && fields.next().is_none()).then_some((rseq, cseq))
    }
}

fn number(text: &[u8]) -> Option<u32> {
    u32::try_from(decimal(text)?).ok()
}

/// Delta-seconds before any parameter: whoever names a century gets a day, for its session is watched.
fn seconds(value: &[u8]) -> Option<u32> {
    let named = number(trim(value.get(..memchr(b';', value).unwrap_or(value.len()))?))?;
    Some(named.min(limits::SESSION_INTERVAL_SECONDS))
}

fn session_expires(value: &[u8]) -> Option<SessionExpires> {
    let params = Params::new(value.get(memchr(b';', value).unwrap_or(value.len())..)?);
    let refresher = match params.value("refresher") {
        Some(role) if role.eq_ignore_ascii_case(b"uac") => Some(Role::Uac),
        Some(role) if role.eq_ignore_ascii_case(b"uas") => Some(Role::Uas),
        _ => None,
    };
    Some(SessionExpires { seconds: seconds(value)?, refresher })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn message(start: &str, lines: &str) -> Message {
        let method = if start.starts_with("PRACK") { "PRACK" } else { "INVITE" };
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: c1\r\n\
             CSeq: 1 {method}\r\n{lines}\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    #[test]
    fn all_in_one_pass() {
        let invite = message(
            "INVITE sip:b@x SIP/2.0",
            "k: Timer, 100REL\r\nRequire: 100rel\r\nAllow: INVITE, UPDATE\r\nx: 1800 ; refresher=UAS\r\nMin-SE: 120;a=b\r\n",
        );
        let expected = Extensions {
            reliable: true,
            reliable_required: true,
            timer: true,
            update: true,
            session_expires: Some(SessionExpires { seconds: 1800, refresher: Some(Role::Uas) }),
            min_se: Some(120),
        };
        assert_eq!(invite.extensions(), expected);
        assert_eq!(message("INVITE sip:b@x SIP/2.0", "Allow: update\r\n").extensions(), Extensions::default());
        let odd = message("INVITE sip:b@x SIP/2.0", "Session-Expires: -1\r\nMin-SE: 99999999999\r\n");
        assert_eq!(odd.extensions(), Extensions::default());
        let long = message("INVITE sip:b@x SIP/2.0", "Session-Expires: 4294967295;refresher=uac\r\nMin-SE: 86401\r\n");
        let day = Some(SessionExpires { seconds: 86_400, refresher: Some(Role::Uac) });
        assert_eq!(
            long.extensions(),
            Extensions { session_expires: day, min_se: Some(86_400), ..Extensions::default() }
        );
    }

    #[test]
    fn numbers_of_reliable_responses() {
        let ringing = |lines: &str| message("SIP/2.0 180 Ringing", lines).rseq();
        assert_eq!(ringing("Require: 100rel\r\nRSeq: 4294967295\r\n"), Some(u32::MAX));
        assert_eq!(ringing("RSeq: 7\r\n"), None);
        assert_eq!(ringing("Require: 100rel\r\nRSeq: 4294967296\r\n"), None);
        assert_eq!(message("SIP/2.0 100 Trying", "Require: 100rel\r\nRSeq: 7\r\n").rseq(), None);
        let prack = |value: &str| message("PRACK sip:b@x SIP/2.0", &format!("RAck: {value}\r\n")).rack();
        assert_eq!(prack("776656  1 INVITE"), Some((776_656, 1)));
        for bad in ["1 INVITE", "1 1 OPTIONS", "1 1 INVITE 1", "x 1 INVITE", "1 99999999999 INVITE"] {
            assert_eq!(prack(bad), None, "{bad}");
        }
    }
}
