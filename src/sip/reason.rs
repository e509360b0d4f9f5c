//! Reason phrases (RFC 3261 §21 and the IANA registry).

/// Ordered by code.
#[rustfmt::skip] // a table
const PHRASES: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (182, "Queued"),
    (183, "Session Progress"),
    (199, "Early Dialog Terminated"),
    (200, "OK"),
    (201, "Accepted"),
    (204, "No Notification"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Moved Temporarily"),
    (305, "Use Proxy"),
    (380, "Alternative Service"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Conditional Request Failed"),
    (413, "Request Entity Too Large"),
    (414, "Request-URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (417, "Unknown Resource-Priority"),
    (420, "Bad Extension"),
    (421, "Extension Required"),
    (422, "Session Interval Too Small"),
    (423, "Interval Too Brief"),
    (424, "Bad Location Information"),
    (425, "Bad Alert Message"), // RFC 8876 §5.1
    (428, "Use Identity Header"),
    (429, "Provide Referrer Identity"),
    (430, "Flow Failed"), // RFC 5626 §11.3.5
    (433, "Anonymity Disallowed"),
    (436, "Bad Identity Info"),
    (437, "Unsupported Certificate"),
    (438, "Invalid Identity Header"),
    (439, "First Hop Lacks Outbound Support"),
    (440, "Max-Breadth Exceeded"),
    (469, "Bad Info Package"),
    (470, "Consent Needed"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (485, "Ambiguous"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (493, "Undecipherable"),
    (494, "Security Agreement Required"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (580, "Precondition Failure"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
    (607, "Unwanted"),
    (608, "Rejected"), // RFC 8688
];

/// The phrase to print behind `code`; one word for its class when the code is in no list.
pub fn reason_phrase(code: u16) -> &'static str {
    let known = PHRASES.binary_search_by_key(&code, |(code, _)| *code).ok().and_then(|at| PHRASES.get(at));
    known.map_or_else(|| class(code), |(_, phrase)| phrase)
}

fn class(code: u16) -> &'static str {
    match code {
        100..=199 => "Progress",
        200..=299 => "Success",
        300..=399 => "Redirection",
        400..=499 => "Request Failure",
        500..=599 => "Server Failure",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_of_known_and_unknown_codes() {
        assert_eq!(reason_phrase(180), "Ringing");
        assert_eq!(reason_phrase(481), "Call/Transaction Does Not Exist");
        assert_eq!(reason_phrase(608), "Rejected");
        assert_eq!(reason_phrase(499), "Request Failure");
        assert_eq!(reason_phrase(699), "Global Failure");
    }

    #[test]
    fn every_code_of_the_list_is_found() {
        assert!(PHRASES.windows(2).all(|two| matches!(two, [(before, _), (after, _)] if before < after)));
    }

    #[test]
    fn every_code_that_rsip_knows_has_a_phrase() {
        let known = (100..700).filter(|code| !matches!(rsip::StatusCode::from(*code), rsip::StatusCode::Other(..)));
        assert!(known.clone().count() > 60);
        assert!(known.into_iter().all(|code| PHRASES.iter().any(|(listed, _)| *listed == code)));
    }
}
