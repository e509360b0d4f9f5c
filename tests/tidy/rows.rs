//! The rows that a B2BUA is held to, by section: the name of each, and in a few words what it is about.

use crate::table::Section;

/// Rows that are not kept, each with its reason.
pub const DECLINED: &[(&str, &str)] = &[];

/// Rows of several cases, by words in the names of their tests.
pub const CASES: &[(&str, &[&str])] = &[
    ("DI-3", &["reinvite", "update"]),
    ("DI-12", &["reinvite", "update", "481"]),
    ("DI-13", &["methods", "extensions"]),
    ("OA-1", &["2xx", "reliable"]),
    ("OA-3", &["hold_and_resume", "without_description"]),
    ("OA-5", &["reinvite", "update"]),
    ("OA-6", &["update", "early", "reinvite"]),
    ("PR-4", &["offer_in_the_response", "offer_in_prack"]),
    ("ST-2", &["interval", "422"]),
    ("NA-3", &["keep_alive", "stun", "options"]),
    ("NA-4", &["instance", "contacts", "expir"]),
    ("NA-5", &["path", "gruu", "temporary"]),
    ("NA-7", &["naptr", "srv", "weight", "down", "next_record"]),
    ("NA-8", &["families", "ipv6"]),
    ("AU-1", &["invite", "algorithms", "stale", "replay", "unknown"]),
];

pub const SECTIONS: &[Section] = &[
    (
        "Transactions and ACK (RFC 3261 §17, RFC 6026, RFC 4320)",
        &[
            ("TX-1", "INVITE again before the answer"),
            ("TX-2", "our INVITE unanswered on UDP"),
            ("TX-3", "first provisional"),
            ("TX-4", "non-2xx twice"),
            ("TX-5", "2xx and its ACK"),
            ("TX-6", "ACK to our 2xx lost"),
            ("TX-7", "slow decision, 100"),
            ("TX-8", "non-INVITE unanswered"),
            ("TX-9", "merged request"),
            ("TX-10", "branch without cookie"),
            ("TX-11", "stray response"),
            ("TX-12", "stray ACK"),
            ("TX-13", "reliable transport"),
            ("TX-14", "several 2xx"),
        ],
    ),
    (
        "CANCEL (RFC 3261 §9)",
        &[
            ("CA-1", "cancelled while it rings"),
            ("CA-2", "cancelled before a provisional"),
            ("CA-3", "200 crosses CANCEL"),
            ("CA-4", "CANCEL after our 2xx"),
            ("CA-5", "CANCEL of nothing"),
            ("CA-6", "Reason"),
        ],
    ),
    (
        "Dialogs (RFC 3261 §12 to §15)",
        &[
            ("DI-1", "identities of each leg"),
            ("DI-2", "route sets, strict and loose"),
            ("DI-3", "target refresh"),
            ("DI-4", "CSeq too low"),
            ("DI-5", "unknown dialog"),
            ("DI-6", "BYE crosses BYE"),
            ("DI-7", "BYE during re-INVITE"),
            ("DI-8", "BYE before ACK"),
            ("DI-9", "our BYE unanswered"),
            ("DI-10", "several early dialogs"),
            ("DI-11", "bad message in a live dialog"),
            ("DI-12", "408 or 481 inside a dialog"),
            ("DI-13", "unknown extensions and methods"),
            ("DI-14", "3xx from a trunk"),
            ("DI-15", "a target that is ourselves"),
        ],
    ),
    (
        "Offer and answer (RFC 3264, 3262, 3311, 6337)",
        &[
            ("OA-1", "answer in 2xx or reliable 1xx"),
            ("OA-2", "delayed offer"),
            ("OA-3", "re-INVITE, hold, resume"),
            ("OA-4", "glare"),
            ("OA-5", "offer while one is pending"),
            ("OA-6", "UPDATE, and peers without it"),
            ("OA-7", "count and order of m= lines"),
            ("OA-8", "malformed description"),
            ("OA-9", "o= line per leg"),
            ("OA-10", "hold of an emergency call by the caller"),
        ],
    ),
    (
        "Reliable provisional responses (RFC 3262)",
        &[
            ("PR-1", "100rel on one leg"),
            ("PR-2", "100rel on both legs"),
            ("PR-3", "PRACK lost or repeated"),
            ("PR-4", "offers in 1xx and PRACK"),
            ("PR-5", "forks"),
            ("PR-6", "2xx before the PRACK"),
        ],
    ),
    (
        "Session timers (RFC 4028)",
        &[
            ("ST-1", "timers on one leg"),
            ("ST-2", "interval too small"),
            ("ST-3", "refresh missed"),
            ("ST-4", "refresh without change"),
        ],
    ),
    (
        "Transfer (RFC 3515, 5589, 3891, 4488, 6665, 3892)",
        &[
            ("RE-1", "blind transfer by the call center"),
            ("RE-2", "its target fails"),
            ("RE-3", "attended transfer"),
            ("RE-4", "target not allowed"),
            ("RE-5", "REFER from the caller"),
            ("RE-6", "REFERs that are one too many, or malformed"),
            ("RE-7", "Refer-Sub: false"),
            ("RE-8", "INVITE with Replaces"),
        ],
    ),
    (
        "Finding the way (RFC 3581, 3263, 5626, 5923, 3327)",
        &[
            ("NA-1", "rport, received, NAT"),
            ("NA-2", "phones on connections"),
            ("NA-3", "keep-alives"),
            ("NA-4", "instance-id, reg-id, q, several contacts"),
            ("NA-5", "GRUU, Path, Service-Route"),
            ("NA-6", "requests over 1300 bytes"),
            ("NA-7", "NAPTR, SRV, A, AAAA"),
            ("NA-8", "IPv6, both families"),
            ("NA-9", "framing on streams"),
        ],
    ),
    (
        "Authentication (RFC 3261 §22, 8760, 7616)",
        &[
            ("AU-1", "REGISTER and INVITE challenged"),
            ("AU-2", "emergency INVITE from a registered flow"),
            ("AU-3", "a trunk challenges us"),
            ("AU-4", "requests of phones inside a dialog"),
        ],
    ),
];
