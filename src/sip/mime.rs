//! Bodies of several parts (RFC 2046 §5.1, RFC 5621): where a part is, and a body with one part replaced.

use std::ops::Range;

use memchr::memmem;

use super::Name;
use super::params::Params;
use super::text::{line_end, split_once, trim, trim_end, unescape};

/// How deep multipart bodies may be nested.
const DEPTH: usize = 5;
/// Most parts looked at on one level.
const PARTS: usize = 64;

/// `type/subtype` of a Content-Type value, without its parameters.
pub fn media_type(content_type: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    trim(content_type.get(..end).unwrap_or_default())
}

/// The parameters of a Content-Type value.
pub fn params(content_type: &[u8]) -> Params<'_> {
    let start = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    Params::new(content_type.get(start..).unwrap_or_default())
}

/// Where the first content of type `wanted` is in `body`: all of it, or a part of a multipart at any depth up to a bound.
pub fn locate(content_type: &[u8], body: &[u8], wanted: &str) -> Option<Range<usize>> {
    within(content_type, body, 0..body.len(), wanted.as_bytes(), DEPTH)
}

/// `body` with the bytes at `range` replaced; every other byte as it was.
pub fn replace(body: &[u8], range: Range<usize>, new: &[u8]) -> Vec<u8> {
    let before = body.get(..range.start).unwrap_or(body);
    let after = body.get(range.end..).unwrap_or_default();
    [before, new, after].concat()
}

fn within(content_type: &[u8], body: &[u8], range: Range<usize>, wanted: &[u8], depth: usize) -> Option<Range<usize>> {
    let kind = media_type(content_type);
    if kind.eq_ignore_ascii_case(wanted) {
        return Some(range);
    }
    let multipart = kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    if !multipart || depth == 0 {
        return None;
    }
    let boundary = params(content_type).value("boundary").map(unescape)?;
    parts(body, range, &boundary).find_map(|part| {
        let text = body.get(part.clone())?;
        let (content_type, content) = part_head(text);
        within(content_type, body, part.start + content..part.end, wanted, depth - 1)
    })
}

/// The parts between `--boundary` lines, heads included. A last part without its closing line counts to the end.
fn parts<'a>(body: &'a [u8], range: Range<usize>, boundary: &[u8]) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let delimiter = [b"--", boundary].concat();
    let text = body.get(..range.end).unwrap_or_default();
    let mut start = next_delimiter(text, range.start, &delimiter).and_then(|found| found.next);
    std::iter::from_fn(move || {
        let from = start?;
        let found = next_delimiter(text, from, &delimiter);
        start = found.as_ref().and_then(|found| found.next);
        Some(from..found.map_or(text.len(), |found| found.at))
    })
    .take(PARTS)
}

/// A delimiter line: where the text before it ends (its CRLF belongs to the delimiter), and where the next part starts.
struct Delimiter {
    at: usize,
    /// `None` behind the closing `--boundary--`.
    next: Option<usize>,
}

/// RFC 2046 §5.1.1: `--boundary` at the start of a line, then white space only.
fn next_delimiter(text: &[u8], from: usize, delimiter: &[u8]) -> Option<Delimiter> {
    let mut at = from;
    loop {
        at += memmem::find(text.get(at..)?, delimiter)?;
        let after = at + delimiter.len();
        let line = text.get(after..)?;
        let end = memmem::find(line, b"\r\n").unwrap_or(line.len());
        let rest = trim_end(line.get(..end)?);
        let before = text.get(from..at)?;
        if (before.is_empty() || before.ends_with(b"\r\n")) && (rest.is_empty() || rest == b"--") {
            let next = rest.is_empty().then(|| (after + end + 2).min(text.len()));
            return Some(Delimiter { at: at - before.len().min(2), next });
        }
        at = after;
    }
}

/// The Content-Type of a part (RFC 2046 §5.1: text/plain when not given), and where its content starts.
fn part_head(part: &[u8]) -> (&[u8], usize) {
    let mut content_type: &[u8] = b"text/plain";
    let mut at = 0;
    while let Some(end) = part.get(at..).and_then(line_end) {
        let line = part.get(at..at + end).unwrap_or_default();
        at += end + 2;
        if line.is_empty() {
            return (content_type, at);
        }
        if let Some((name, value)) = split_once(line, b':')
            && Name::from_bytes(name.trim_ascii_end()) == Name::ContentType
        {
            content_type = trim(value);
        }
    }
    (content_type, part.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIXED: &str = "multipart/mixed; boundary=\"b1\"";
    const BODY: &str = "preamble --b1\r\n--b1  \r\nContent-Type: application/pidf+xml\r\n\r\n<xml/>\r\n--b1\r\nc:\r\n application/sdp;x=y\r\n\r\n\
        v=0\r\n--b10\r\n\r\n--b1--\r\nepilogue\r\n--b1\r\nContent-Type: text/late\r\n\r\nx";

    fn found(content_type: &str, body: &str, wanted: &str) -> Option<String> {
        locate(content_type.as_bytes(), body.as_bytes(), wanted).map(|range| body.get(range).unwrap().to_owned())
    }

    #[test]
    fn parts_are_found_by_type() {
        assert_eq!(found(MIXED, BODY, "application/sdp").unwrap(), "v=0\r\n--b10\r\n");
        assert_eq!(found(MIXED, BODY, "application/pidf+xml").unwrap(), "<xml/>");
        assert_eq!(found(MIXED, BODY, "text/late"), None);
        assert_eq!(found("Application/SDP ; charset=x", "v=0", "application/sdp").unwrap(), "v=0");
        assert_eq!(found("multipart/mixed", BODY, "application/sdp"), None);
        assert_eq!(found(MIXED, "--b1\r\n\r\nplain", "text/plain").unwrap(), "plain");
        assert_eq!(found(MIXED, "--b1\r\nContent-Type: application/sdp\r\n\r\n--b1--", "application/sdp").unwrap(), "");
        assert_eq!(found(MIXED, "--b1\r\nContent-Type: application/sdp", "application/sdp"), None);
    }

    #[test]
    fn nesting_is_followed_to_a_bound() {
        let nest = |depth: usize| {
            (0..depth).fold(("application/sdp".to_owned(), "v=0\r\n".to_owned()), |(kind, body), level| {
                let body = format!("--n{level}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--n{level}--\r\n");
                (format!("multipart/alternative;boundary=n{level}"), body)
            })
        };
        let (kind, body) = nest(DEPTH);
        assert_eq!(found(&kind, &body, "application/sdp").unwrap(), "v=0\r\n");
        let (kind, body) = nest(DEPTH + 1);
        assert_eq!(found(&kind, &body, "application/sdp"), None);
    }

    #[test]
    fn replacing_a_part_leaves_the_others_alone() {
        let range = locate(MIXED.as_bytes(), BODY.as_bytes(), "application/sdp").unwrap();
        let new = replace(BODY.as_bytes(), range, b"v=0\r\no=x\r\n");
        assert_eq!(new, BODY.replace("v=0\r\n--b10\r\n", "v=0\r\no=x\r\n").into_bytes());
    }
}
