//! Bodies of several parts (RFC 2046 §5.1, RFC 5621): where the parts of a type are, and a body with one part replaced.

use std::ops::Range;

use memchr::memmem;
use smallvec::SmallVec;

use super::Name;
use super::params::Params;
use super::text::{split_once, trim, unescape};

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

/// Where in a body the contents of one type are.
pub type Places = SmallVec<[Range<usize>; 1]>;

/// Content of the wanted type may be in the body where nobody can point at it: a multipart without boundary, nested too deep or
/// of too many parts, a part that is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be taken apart")]
pub struct Opaque;

/// Where the first content of type `wanted` is in `body`: all of it, or a part of a multipart at any depth up to a bound.
pub fn locate(content_type: &[u8], body: &[u8], wanted: &str) -> Option<Range<usize>> {
    locate_readable(content_type, body, wanted).into_iter().next()
}

/// Where those contents of type `wanted` are that can be found.
pub fn locate_readable(content_type: &[u8], body: &[u8], wanted: &str) -> Places {
    let mut found = Places::new();
    let _opaque = walk(content_type, body, 0..body.len(), wanted, DEPTH, &mut found);
    found
}

/// Where all contents of type `wanted` are, in their order.
///
/// # Errors
/// There may be more than can be found.
pub fn locate_all(content_type: &[u8], body: &[u8], wanted: &str) -> Result<Places, Opaque> {
    let mut found = Places::new();
    walk(content_type, body, 0..body.len(), wanted, DEPTH, &mut found)?;
    Ok(found)
}

/// `body` with the bytes at `range` replaced; every other byte as it was.
pub fn replace(body: &[u8], range: Range<usize>, new: &[u8]) -> Vec<u8> {
    let before = body.get(..range.start).unwrap_or(body);
    let after = body.get(range.end..).unwrap_or_default();
    [before, new, after].concat()
}

/// As [`replace`], where `range` is the content of a part: a length that its head tells becomes that of `new`. RFC 2045 knows no
/// such line, yet some write it, and some believe it.
pub fn replace_content(body: &[u8], range: Range<usize>, new: &[u8]) -> Vec<u8> {
    let told = head_line(body.get(..range.start).unwrap_or_default(), Name::ContentLength);
    let whole = replace(body, range, new);
    match told {
        Some(value) => replace(&whole, value, new.len().to_string().as_bytes()),
        None => whole,
    }
}

/// Where the value of a line of that name is in the head that `text` ends with.
fn head_line(text: &[u8], wanted: Name) -> Option<Range<usize>> {
    let mut end = text.len();
    // Backwards, from the empty line that ends the head to the delimiter that it begins after.
    for line in text.split_inclusive(|byte| *byte == b'\n').rev() {
        let start = end - line.len();
        if let Some((name, value)) =
            split_once(line, b':').filter(|(name, _)| Name::from_bytes(name.trim_ascii()) == wanted)
        {
            let at = start + name.len() + 1 + (value.len() - value.trim_ascii_start().len());
            return Some(at..at + value.trim_ascii().len());
        }
        if (line.trim_ascii().is_empty() && end != text.len()) || line.starts_with(b"--") {
            return None;
        }
        end = start;
    }
    None
}

/// A multipart/mixed `body` with one more part, head included, as its last; every other byte as it was. `None` where the body is
/// of another type, or its end cannot be found.
pub fn append(content_type: &[u8], body: &[u8], part: &[u8]) -> Option<Vec<u8>> {
    if !is_type(content_type, "multipart/mixed") {
        return None;
    }
    let delimiter = delimiter(content_type)?;
    let mut found = next_delimiter(body, 0, &delimiter)?;
    while let Some(next) = found.next {
        found = next_delimiter(body, next, &delimiter)?;
    }
    let (before, end) = body.split_at_checked(found.at).filter(|(_, end)| end.starts_with(b"\r\n"))?;
    Some([before, b"\r\n", &delimiter, b"\r\n", part, end].concat())
}

/// The boundary that a multipart `body` is divided by, where `content_type` tells none, or one that divides nothing.
pub fn untold_boundary<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let is_divided = |delimiter: Vec<u8>| next_delimiter(body, 0, &delimiter).is_some();
    if !is_multipart(content_type) || delimiter(content_type).is_some_and(is_divided) {
        return None;
    }
    // RFC 2046 §5.1.1 `bchars`; a space may not be the last of them.
    let is_boundary = |text: &&[u8]| {
        (1..=70).contains(&text.len())
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
    };
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.filter_map(|line| line.strip_prefix(b"--")).find(is_boundary)
}

fn delimiter(content_type: &[u8]) -> Option<Vec<u8>> {
    let boundary = params(content_type).value("boundary").map(unescape).filter(|boundary| !boundary.is_empty())?;
    Some(with_dashes(&boundary))
}

fn with_dashes(boundary: &[u8]) -> Vec<u8> {
    [b"--", boundary].concat()
}

/// True for `type/subtype`; white space may stand around the slash (RFC 3261 §25.1, SLASH).
pub fn is_type(content_type: &[u8], wanted: &str) -> bool {
    let kind = media_type(content_type);
    if kind.eq_ignore_ascii_case(wanted.as_bytes()) {
        return true;
    }
    let (Some((kind, subkind)), Some((wanted, subwanted))) = (split_once(kind, b'/'), wanted.split_once('/')) else {
        return false;
    };
    trim(kind).eq_ignore_ascii_case(wanted.as_bytes()) && trim(subkind).eq_ignore_ascii_case(subwanted.as_bytes())
}

pub fn is_multipart(content_type: &[u8]) -> bool {
    split_once(media_type(content_type), b'/').is_some_and(|(kind, _)| trim(kind).eq_ignore_ascii_case(b"multipart"))
}

fn walk(
    content_type: &[u8],
    body: &[u8],
    range: Range<usize>,
    wanted: &str,
    depth: usize,
    found: &mut Places,
) -> Result<(), Opaque> {
    if is_type(content_type, wanted) {
        found.push(range);
        return Ok(());
    }
    if !is_multipart(content_type) {
        return Ok(());
    }
    let depth = depth.checked_sub(1).ok_or(Opaque)?;
    let text = body.get(range.clone()).unwrap_or_default();
    let delimiter = untold_boundary(content_type, text).map(with_dashes).or_else(|| delimiter(content_type));
    let mut parts = parts(body, range, delimiter.ok_or(Opaque)?);
    // What cannot be read hides itself, and not what comes after it.
    let mut all = Ok(());
    for part in parts.by_ref().take(PARTS) {
        let head = Head::of(body.get(part.clone()).ok_or(Opaque)?);
        let content = part.start + head.length..part.end;
        let of_part = match head.is_odd && (is_type(head.content_type, wanted) || is_multipart(head.content_type)) {
            true => Err(Opaque),
            false => walk(head.content_type, body, content, wanted, depth, found),
        };
        all = all.and(of_part);
    }
    if parts.next().is_some() { Err(Opaque) } else { all }
}

/// The parts between `--boundary` lines, heads included. A last part without its closing line counts to the end.
fn parts(body: &[u8], range: Range<usize>, delimiter: Vec<u8>) -> impl Iterator<Item = Range<usize>> {
    let text = body.get(..range.end).unwrap_or_default();
    let mut start = next_delimiter(text, range.start, &delimiter).and_then(|found| found.next);
    std::iter::from_fn(move || {
        let from = start?;
        let found = next_delimiter(text, from, &delimiter);
        start = found.as_ref().and_then(|found| found.next);
        Some(from..found.map_or(text.len(), |found| found.at))
    })
}

/// A delimiter line: where the text before it ends (its line break belongs to the delimiter), and where the next part starts.
struct Delimiter {
    at: usize,
    /// `None` behind the closing `--boundary--`.
    next: Option<usize>,
}

/// RFC 2046 §5.1.1: `--boundary` at the start of a line, then white space only. A bare LF ends a line too: others read it so.
fn next_delimiter(text: &[u8], from: usize, delimiter: &[u8]) -> Option<Delimiter> {
    let mut at = from;
    loop {
        at += memmem::find(text.get(at..)?, delimiter)?;
        let after = at + delimiter.len();
        let line = text.get(after..)?;
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        let rest = line.get(..end)?.trim_ascii_end();
        let before = text.get(from..at)?;
        if (before.is_empty() || before.ends_with(b"\n")) && (rest.is_empty() || rest == b"--") {
            let next = rest.is_empty().then(|| (after + end + 1).min(text.len()));
            let line_break = if before.ends_with(b"\r\n") { 2 } else { before.len().min(1) };
            return Some(Delimiter { at: at - line_break, next });
        }
        at = after;
    }
}

/// What stands before the content of a part.
struct Head<'a> {
    /// RFC 2046 §5.1: text/plain when not given.
    content_type: &'a [u8],
    /// Its content is not there as it is: encoded, or of two types at once.
    is_odd: bool,
    /// Where the content starts.
    length: usize,
}

impl<'a> Head<'a> {
    fn of(part: &'a [u8]) -> Self {
        let mut head = Self { content_type: b"text/plain", is_odd: false, length: 0 };
        let mut has_type = false;
        loop {
            let rest = part.get(head.length..).unwrap_or_default();
            let line = rest.get(..line_length(rest)).unwrap_or_default();
            head.length += line.len();
            if line.trim_ascii().is_empty() {
                return head;
            }
            let Some((name, value)) = split_once(line, b':') else { continue };
            let (name, value) = (name.trim_ascii(), trim(value));
            if Name::from_bytes(name) == Name::ContentType {
                head.content_type = value;
                head.is_odd |= std::mem::replace(&mut has_type, true);
            } else if Name::from_bytes(name) == Name::ContentEncoding
                || name.eq_ignore_ascii_case(b"Content-Transfer-Encoding")
            {
                head.is_odd |= !is_plain(value);
            }
        }
    }
}

/// Up to the LF that ends a line and those that continue it.
fn line_length(text: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    let is_blank = |end: usize| text.get(..end).unwrap_or_default().trim_ascii().is_empty();
    let goes_on = |end: usize| matches!(text.get(end), Some(b' ' | b'\t'));
    ends.into_iter().find(|end| is_blank(*end) || !goes_on(*end)).unwrap_or(text.len())
}

/// Encodings that leave every byte as it is (RFC 2045 §6.2, RFC 3261 §20.12).
pub fn is_plain(encoding: &[u8]) -> bool {
    ["", "identity", "7bit", "8bit", "binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain.as_bytes()))
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
        // Divided by what its type does not tell.
        for untold in ["multipart/mixed", "multipart/mixed;boundary=\"\"", "multipart/mixed;boundary=c"] {
            assert_eq!(found(untold, BODY, "application/sdp"), found(MIXED, BODY, "application/sdp"));
        }
        assert_eq!(found("multipart/mixed", "no line --b1\r\n--\r\n--\"\r\n\r\nv=0", "application/sdp"), None);
        assert_eq!(found(MIXED, "--b1\r\n\r\nplain", "text/plain").unwrap(), "plain");
        assert_eq!(found(MIXED, "--b1\r\nContent-Type: application/sdp\r\n\r\n--b1--", "application/sdp").unwrap(), "");
        assert_eq!(found(MIXED, "--b1\r\nContent-Type: application/sdp", "application/sdp").unwrap(), "");
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
        assert_eq!(locate_all(kind.as_bytes(), body.as_bytes(), "application/sdp"), Err(Opaque));
    }

    #[test]
    fn every_part_of_a_type_is_found_or_said_to_be_hidden() {
        let all = |content_type: &str, body: &str| {
            let places = locate_all(content_type.as_bytes(), body.as_bytes(), "application/sdp");
            places.map(|places| places.into_iter().map(|at| body.get(at).unwrap().to_owned()).collect::<Vec<_>>())
        };
        let part = |head: &str, text: &str| format!("--b1\r\n{head}\r\n\r\n{text}\r\n");
        let sdp = |text: &str| part("Content-Type: application/sdp", text);
        let two = sdp("v=0") + &part("Content-Type: text/plain", "x") + &sdp("v=1") + "--b1--";
        assert_eq!(all(MIXED, &two).unwrap(), ["v=0", "v=1"]);
        let inner = "--i\r\nc: application/sdp\r\n\r\nv=2\r\n--i--";
        let nested = sdp("v=0") + &part("Content-Type: multipart/alternative;boundary=i", inner) + "--b1--";
        assert_eq!(all(MIXED, &nested).unwrap(), ["v=0", "v=2"]);
        // Others would read these as SDP too.
        assert_eq!(all("Application / SDP", "v=0").unwrap(), ["v=0"]);
        assert_eq!(all(MIXED, &two.replace("\r\n", "\n")).unwrap(), ["v=0", "v=1"]);
        assert_eq!(all(MIXED, &part("content-type :\r\n application/sdp", "v=0")).unwrap(), ["v=0\r\n"]);
        // Nobody can point at these.
        for head in [
            "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64",
            "Content-Type: application/sdp\r\nContent-Encoding: gzip",
            "Content-Type: text/plain\r\nContent-Type: application/sdp",
            "Content-Type: multipart/mixed;boundary=i\r\nContent-Transfer-Encoding: quoted-printable",
            "Content-Type: multipart/mixed",
        ] {
            assert_eq!(all(MIXED, &part(head, "v=0")), Err(Opaque), "{head}");
        }
        assert_eq!(all(MIXED, &sdp("v=0").repeat(PARTS)).unwrap().len(), PARTS);
        assert_eq!(all(MIXED, &sdp("v=0").repeat(PARTS + 1)), Err(Opaque));
        let plain = part("Content-Type: application/sdp\r\nContent-Transfer-Encoding: 8BIT", "v=0");
        assert_eq!(all(MIXED, &plain).unwrap(), ["v=0\r\n"]);
    }

    #[test]
    fn a_part_more_leaves_the_others_alone() {
        let part = "Content-Type: text/more\r\n\r\nmore";
        let more = |content_type: &str, body: &str| {
            append(content_type.as_bytes(), body.as_bytes(), part.as_bytes())
                .map(|body| String::from_utf8(body).unwrap())
        };
        let whole = more(MIXED, BODY).unwrap();
        assert_eq!(whole, BODY.replace("\r\n--b1--", &format!("\r\n--b1\r\n{part}\r\n--b1--")));
        assert_eq!(found(MIXED, &whole, "text/more").unwrap(), "more");
        assert_eq!(found(MIXED, &whole, "application/sdp"), found(MIXED, BODY, "application/sdp"));
        let inner = "--b1\r\nContent-Type: multipart/mixed;boundary=i\r\n\r\n--i\r\n\r\nx\r\n--i--\r\n--b1--";
        assert_eq!(found(MIXED, &more(MIXED, inner).unwrap(), "text/more").unwrap(), "more");
        for (content_type, body) in [
            ("multipart/mixed", BODY),
            ("multipart/alternative;boundary=b1", BODY),
            ("application/sdp", "v=0"),
            (MIXED, "--b1\r\n\r\nwithout an end"),
            (MIXED, "--b1--"),
            (MIXED, ""),
        ] {
            assert_eq!(more(content_type, body), None, "{content_type} {body}");
        }
    }

    #[test]
    fn a_part_more_is_found_in_any_body_that_takes_it() {
        let part = b"Content-Type: text/more\r\n\r\nmore";
        let lines = ["--b1", "--b1--", "--b1 ", "Content-Type: text/plain", "", "x", "--b10"];
        bolero::check!().with_iterations(20_000).with_type::<Vec<u8>>().for_each(|choices| {
            let chosen = choices.iter().map(|at| lines.get(usize::from(at % 8)).copied().unwrap_or("\u{0}--"));
            let body = chosen.collect::<Vec<_>>().join("\r\n");
            let content_type = MIXED.as_bytes();
            let Some(whole) = append(content_type, body.as_bytes(), part) else { return };
            // Of too many parts.
            let Ok(places) = locate_all(content_type, &whole, "text/more") else { return };
            let found: Vec<_> = places.iter().map(|at| whole.get(at.clone()).unwrap()).collect();
            assert_eq!(found, [b"more"], "{body:?}");
        });
    }

    #[test]
    fn a_length_in_the_head_of_a_part_is_that_of_its_content() {
        let part = |length: &str| {
            format!(
                "--b1\r\nl: 7\r\n\r\nContent-Length: 9\r\n--b1\r\nContent-Length:  {length}\r\nContent-Type: application/sdp\r\n\r\n"
            )
        };
        let before = format!("{}v=0\r\n--b1\r\nContent-Length: 8\r\n\r\n--b1--", part("3"));
        let range = locate(MIXED.as_bytes(), before.as_bytes(), "application/sdp").unwrap();
        let after = replace_content(before.as_bytes(), range, b"v=0\r\no=a longer one");
        assert_eq!(
            String::from_utf8(after).unwrap(),
            before.replace(&part("3"), &part("19")).replace("v=0", "v=0\r\no=a longer one")
        );
        for plain in [
            "--b1\r\nc: application/sdp\r\n\r\nv=0\r\n--b1--",
            "Content-Length: 4\r\n--b1\r\nc: application/sdp\r\n\r\nv=0\r\n--b1--",
        ] {
            let range = locate(MIXED.as_bytes(), plain.as_bytes(), "application/sdp").unwrap();
            assert_eq!(
                replace_content(plain.as_bytes(), range, b"v=1").as_slice(),
                plain.replace("v=0", "v=1").as_bytes()
            );
        }
    }

    #[test]
    fn replacing_a_part_leaves_the_others_alone() {
        let range = locate(MIXED.as_bytes(), BODY.as_bytes(), "application/sdp").unwrap();
        let new = replace(BODY.as_bytes(), range, b"v=0\r\no=x\r\n");
        assert_eq!(new, BODY.replace("v=0\r\n--b10\r\n", "v=0\r\no=x\r\n").into_bytes());
    }
}
