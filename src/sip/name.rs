//! Header field names: long and compact forms (RFC 3261 §7.3.3, §20 and the extensions we meet).

use std::sync::LazyLock;

macro_rules! names {
    ($($(#[single $single:tt])? $variant:ident $long:literal $($compact:literal)?,)*) => {
        /// A header name we know, or `Other`: the text of an unknown one is `Header::raw_name`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Name {
            $($variant,)*
            Other,
        }

        const ALL: &[Name] = &[$(Name::$variant,)*];

        impl Name {
            /// The long form; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                    Self::Other => "",
                }
            }

            /// True where a message may hold only one line of it, with one value.
            pub const fn is_single(self) -> bool {
                match self {
                    $(Self::$variant => names!(@single $($single)?),)*
                    Self::Other => false,
                }
            }

            const fn from_compact(letter: u8) -> Self {
                match letter {
                    $($($compact => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
    (@single yes) => { true };
    (@single) => { false };
}

names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" b'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AnswerMode "Answer-Mode",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    #[single yes] CSeq "CSeq",
    #[single yes] CallId "Call-ID" b'i',
    CallInfo "Call-Info",
    Contact "Contact" b'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentId "Content-ID",
    ContentLanguage "Content-Language",
    #[single yes] ContentLength "Content-Length" b'l',
    #[single yes] ContentType "Content-Type" b'c',
    Date "Date",
    Diversion "Diversion",
    ErrorInfo "Error-Info",
    #[single yes] Event "Event" b'o',
    #[single yes] Expires "Expires",
    FlowTimer "Flow-Timer",
    #[single yes] From "From" b'f',
    Geolocation "Geolocation",
    GeolocationError "Geolocation-Error",
    GeolocationRouting "Geolocation-Routing",
    HistoryInfo "History-Info",
    Identity "Identity" b'y',
    IdentityInfo "Identity-Info" b'n',
    InReplyTo "In-Reply-To",
    InfoPackage "Info-Package",
    Join "Join",
    MaxBreadth "Max-Breadth",
    #[single yes] MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    #[single yes] MinSe "Min-SE",
    Organization "Organization",
    PAccessNetworkInfo "P-Access-Network-Info",
    PAssertedIdentity "P-Asserted-Identity",
    PAssertedService "P-Asserted-Service",
    PAssociatedUri "P-Associated-URI",
    PCalledPartyId "P-Called-Party-ID",
    PChargingVector "P-Charging-Vector",
    PEarlyMedia "P-Early-Media",
    PPreferredIdentity "P-Preferred-Identity",
    PPreferredService "P-Preferred-Service",
    PVisitedNetworkId "P-Visited-Network-ID",
    Path "Path",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    #[single yes] RAck "RAck",
    #[single yes] RSeq "RSeq",
    Reason "Reason",
    RecordRoute "Record-Route",
    RecvInfo "Recv-Info",
    ReferSub "Refer-Sub",
    #[single yes] ReferTo "Refer-To" b'r',
    #[single yes] ReferredBy "Referred-By" b'b',
    RejectContact "Reject-Contact" b'j',
    RemotePartyId "Remote-Party-ID",
    #[single yes] Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" b'd',
    Require "Require",
    ResourcePriority "Resource-Priority",
    RetryAfter "Retry-After",
    Route "Route",
    SecurityClient "Security-Client",
    SecurityServer "Security-Server",
    SecurityVerify "Security-Verify",
    Server "Server",
    ServiceRoute "Service-Route",
    #[single yes] SessionExpires "Session-Expires" b'x',
    SessionId "Session-ID",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" b's',
    SubscriptionState "Subscription-State",
    Supported "Supported" b'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    #[single yes] To "To" b't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    UserToUser "User-to-User",
    Via "Via" b'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// The longest name in the table is shorter than this.
const LENGTHS: usize = 32;

type Known = (&'static [u8], Name);

/// The names of each length: few are left to compare with.
static BY_LENGTH: LazyLock<[Vec<Known>; LENGTHS]> = LazyLock::new(|| {
    let of_length = |length| ALL.iter().filter(move |name| name.as_str().len() == length);
    std::array::from_fn(|length| of_length(length).map(|&name| (name.as_str().as_bytes(), name)).collect())
});

impl Name {
    /// Case-insensitive; knows the compact forms.
    pub fn from_bytes(name: &[u8]) -> Self {
        let [first, ..] = name else { return Self::Other };
        if name.len() == 1 {
            return Self::from_compact(first.to_ascii_lowercase());
        }
        let Some(candidates) = BY_LENGTH.get(name.len()) else { return Self::Other };
        let same = |known: &[u8]| known.first().map(|letter| letter | 0x20) == Some(first | 0x20);
        let found = candidates.iter().find(|(known, _)| same(known) && known.eq_ignore_ascii_case(name));
        found.map_or(Self::Other, |&(_, name)| name)
    }

    /// This name as a bit of a set.
    pub(super) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in ALL {
            assert_eq!(Name::from_bytes(name.as_str().as_bytes()), name);
            assert_eq!(Name::from_bytes(name.as_str().to_lowercase().as_bytes()), name);
            assert_eq!(Name::from_bytes(name.as_str().to_uppercase().as_bytes()), name);
        }
    }

    #[test]
    fn compact_forms_and_strangers() {
        assert_eq!(Name::from_bytes(b"v"), Name::Via);
        assert_eq!(Name::from_bytes(b"L"), Name::ContentLength);
        assert_eq!(Name::from_bytes(b"z"), Name::Other);
        assert_eq!(Name::from_bytes(b""), Name::Other);
        assert_eq!(Name::from_bytes(b"C%6Fntact"), Name::Other);
        assert_eq!(Name::from_bytes(&[b'a'; 300]), Name::Other);
    }
}
