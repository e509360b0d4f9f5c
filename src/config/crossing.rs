//! Which headers of a phone no `allow_headers` lets across to a trunk (SPEC §4).

use compact_str::CompactString;

use super::read::Fault;
use super::values::{Parsed, header_name};
use crate::sip::Name;

/// They say who calls, or what the caller's device is; or that nobody is to know it, which a PSAP is never told.
const TELL_WHO_CALLS: [Name; 27] = [
    Name::From,
    Name::Contact,
    Name::Via,
    Name::CallId,
    Name::UserAgent,
    Name::Server,
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::PAssociatedUri,
    Name::PCalledPartyId,
    Name::RemotePartyId,
    Name::Diversion,
    Name::HistoryInfo,
    Name::Identity,
    Name::IdentityInfo,
    Name::Privacy,
    Name::ReplyTo,
    Name::ReferredBy,
    Name::InReplyTo,
    Name::Organization,
    Name::Subject,
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::AuthenticationInfo,
    Name::SecurityClient,
    Name::SecurityServer,
    Name::SecurityVerify,
];

/// The same, of names that mean nothing else to this daemon.
const TELL_WHO_CALLS_TOO: [&str; 4] = ["P-Served-User", "P-User-Database", "P-Profile-Key", "X-Emergency-Number"];

/// Of the message, its dialog or its way: the other leg has its own, and two of them would break it.
const OF_THE_LEG: [Name; 33] = [
    Name::To,
    Name::CSeq,
    Name::MaxForwards,
    Name::MaxBreadth,
    Name::Route,
    Name::RecordRoute,
    Name::Path,
    Name::ServiceRoute,
    Name::ContentLength,
    Name::ContentType,
    Name::ContentDisposition,
    Name::ContentEncoding,
    Name::ContentLanguage,
    Name::ContentId,
    Name::MimeVersion,
    Name::Allow,
    Name::Supported,
    Name::Unsupported,
    Name::Require,
    Name::ProxyRequire,
    Name::SessionExpires,
    Name::MinSe,
    Name::RAck,
    Name::RSeq,
    Name::Replaces,
    Name::Join,
    Name::TargetDialog,
    Name::ReferTo,
    Name::Event,
    Name::Expires,
    Name::Timestamp,
    // A mark that only this daemon sets (SPEC §5, §6).
    Name::Priority,
    Name::ResourcePriority,
];

/// True for a header of a phone that may not cross, whatever is configured.
pub fn never_crosses(name: Name) -> bool {
    TELL_WHO_CALLS.contains(&name) || OF_THE_LEG.contains(&name)
}

/// An entry of `allow_headers`.
pub(super) fn allowed_header(text: &str) -> Parsed<CompactString> {
    let header = header_name(text)?;
    let name = Name::from_bytes(text.as_bytes());
    let tells = TELL_WHO_CALLS_TOO.iter().any(|other| other.eq_ignore_ascii_case(text));
    // The compact form is the same header.
    let long = if name == Name::Other { text } else { name.as_str() };
    if tells || TELL_WHO_CALLS.contains(&name) {
        let why = format!("{long} tells who calls: it never crosses to a trunk");
        return Err(Fault::helped(why, "the trunk sees the temporary number and nothing else of the caller"));
    }
    if OF_THE_LEG.contains(&name) {
        return Err(format!("{long} is set by this daemon itself, and never taken from a phone").into());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_4_what_tells_who_calls_or_is_of_the_leg_is_refused_in_either_form() {
        let names = TELL_WHO_CALLS.iter().chain(&OF_THE_LEG).map(|name| name.as_str());
        for name in names.chain(TELL_WHO_CALLS_TOO).chain(["s", "Y", "f", "m", "v", "i", "k", "privacy", "SUBJECT"]) {
            assert!(allowed_header(name).is_err(), "{name}");
        }
        for name in ["X-Site", "P-Access-Network-Info", "Call-Info", "User-to-User", "Geolocation", "Accept-Contact"] {
            assert_eq!(allowed_header(name).ok().as_deref(), Some(name));
        }
    }
}
