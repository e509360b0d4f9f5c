//! What is wrong with a message, and what to answer.

use std::fmt;

use super::{Message, Name};

/// The first sin found in a text from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but line breaks: a keep-alive.
    Empty,
    /// Longer than `limits::MESSAGE_BYTES`.
    TooLong,
    /// More header lines than `limits::HEADER_LINES`.
    TooManyLines,
    /// A CR without LF or a LF without CR, at this byte.
    BareLineBreak {
        at: u16,
    },
    /// The empty line after the headers is missing.
    Unfinished,
    StartLine,
    /// Not SIP/2.0.
    Version,
    RequestUri,
    /// No `name:` in the header line with this number (1 is the first below the start line).
    HeaderLine {
        line: u16,
    },
    Missing(Name),
    Duplicate(Name),
    /// The value is not what the grammar of this header allows.
    Value(Name),
    /// CSeq has another method than the request line.
    CseqMethod {
        known: bool,
    },
    /// Content-Length promises more than came.
    ShortBody,
    /// A `name-addr` or `addr-spec` that is neither.
    Address,
    Via,
    UriScheme,
    UriUser,
    UriHost,
    UriPort,
    UriParams,
}

impl Fault {
    /// The status code to refuse a request with.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLong | Self::TooManyLines => 513, // RFC 3261 §21.5.7
            Self::Version => 505,                      // RFC 3261 §21.5.6
            Self::CseqMethod { known: false } => 501,  // RFC 4475 §3.1.2.18
            Self::Empty
            | Self::BareLineBreak { .. }
            | Self::Unfinished
            | Self::StartLine
            | Self::RequestUri
            | Self::HeaderLine { .. }
            | Self::Missing(_)
            | Self::Duplicate(_)
            | Self::Value(_)
            | Self::CseqMethod { known: true }
            | Self::ShortBody
            | Self::Address
            | Self::Via
            | Self::UriScheme
            | Self::UriUser
            | Self::UriHost
            | Self::UriPort
            | Self::UriParams => 400,
        }
    }

    /// For metrics: one word, few different ones.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::TooManyLines => "too_many_lines",
            Self::BareLineBreak { .. } => "bare_line_break",
            Self::Unfinished => "unfinished",
            Self::StartLine => "start_line",
            Self::Version => "version",
            Self::RequestUri => "request_uri",
            Self::HeaderLine { .. } => "header_line",
            Self::Missing(_) => "missing_header",
            Self::Duplicate(_) => "duplicate_header",
            Self::Value(_) => "header_value",
            Self::CseqMethod { .. } => "cseq_method",
            Self::ShortBody => "short_body",
            Self::Address => "address",
            Self::Via => "via",
            Self::UriScheme | Self::UriUser | Self::UriHost | Self::UriPort | Self::UriParams => "uri",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing but line breaks"),
            Self::TooLong => f.write_str("message too long"),
            Self::TooManyLines => f.write_str("too many header lines"),
            Self::BareLineBreak { at } => write!(f, "CR or LF alone at byte {at}"),
            Self::Unfinished => f.write_str("no empty line after the headers"),
            Self::StartLine => f.write_str("bad start line"),
            Self::Version => f.write_str("not SIP/2.0"),
            Self::RequestUri => f.write_str("bad Request-URI"),
            Self::HeaderLine { line } => write!(f, "header line {line} has no name"),
            Self::Missing(name) => write!(f, "no {} header", name.as_str()),
            Self::Duplicate(name) => write!(f, "more than one {} header", name.as_str()),
            Self::Value(name) => write!(f, "bad {} header", name.as_str()),
            Self::CseqMethod { .. } => f.write_str("CSeq method is not the request's"),
            Self::ShortBody => f.write_str("body shorter than Content-Length"),
            Self::Address => f.write_str("bad address"),
            Self::Via => f.write_str("bad Via"),
            Self::UriScheme => f.write_str("URI without a scheme"),
            Self::UriUser => f.write_str("bad user part of a URI"),
            Self::UriHost => f.write_str("bad host of a URI"),
            Self::UriPort => f.write_str("bad port of a URI"),
            Self::UriParams => f.write_str("bad parameters of a URI"),
        }
    }
}

impl std::error::Error for Fault {}

/// A message that is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{fault}")]
pub struct Malformed {
    /// What a request is answered with.
    pub status: u16,
    pub fault: Fault,
    /// A request other than ACK whose Via, From, To, Call-ID and CSeq can be copied into an answer; else `None`: silence.
    pub message: Option<Box<Message>>,
}
