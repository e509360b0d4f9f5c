//! Rust as far as the rules need it: tokens without comments and literals, and the paths they spell.

/// An identifier, `::`, one character of punctuation, or `""` for any literal in quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    pub text: &'static str,
    /// From 1.
    pub line: usize,
    /// Inside an item under `#[cfg(test)]`.
    pub in_test: bool,
}

/// A path as written, groups of `use` taken apart: `a::{b, c::d}` is `a::b` and `a::c::d`. A macro keeps its `!`.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub text: String,
    pub line: usize,
    pub in_test: bool,
}

impl Path {
    /// True when the segments of `needle` stand in it side by side.
    pub fn contains(&self, needle: &str) -> bool {
        format!("::{}::", self.text).contains(&format!("::{needle}::"))
    }
}

pub fn tokens(text: &'static str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 4);
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let length = length(&text[at..], first);
        let piece = &text[at..at + length];
        let token = match first {
            _ if first.is_whitespace() || piece.starts_with("//") || piece.starts_with("/*") => None,
            '"' | '\'' if piece.len() > 1 && piece.ends_with(first) => Some("\"\""),
            'r' | 'b' | 'c' if piece.contains('"') => Some("\"\""),
            _ => Some(piece),
        };
        tokens.extend(token.map(|text| Token { text, line, in_test: false }));
        line += piece.matches('\n').count();
        at += length;
    }
    mark_tests(&mut tokens);
    tokens
}

/// How many bytes the token, comment or blank at the start of `text` takes.
fn length(text: &str, first: char) -> usize {
    let until = |end: &str, skip: usize| text[skip..].find(end).map_or(text.len(), |at| skip + at + end.len());
    match first {
        '/' if text.starts_with("//") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => until("*/", 2),
        '"' => quoted(text, 1),
        'b' | 'c' if text[1..].starts_with('"') => quoted(text, 2),
        'r' | 'b' | 'c' if raw_hashes(text).is_some() => {
            let (hashes, start) = raw_hashes(text).unwrap();
            until(&format!("\"{}", "#".repeat(hashes)), start)
        }
        '\'' => character(text),
        ':' if text.starts_with("::") => 2,
        _ if first.is_alphanumeric() || first == '_' => {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        }
        _ => first.len_utf8(),
    }
}

/// A string whose text begins at `start`, to the quote that is not escaped.
fn quoted(text: &str, start: usize) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'"' if !is_escaped => return at + 1,
            _ => is_escaped = byte == b'\\' && !is_escaped,
        }
    }
    text.len()
}

/// The hashes of a raw string and where its text begins.
fn raw_hashes(text: &str) -> Option<(usize, usize)> {
    let rest = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then(|| (hashes, text.len() - rest.len() + hashes + 1))
}

/// A character literal, or the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            text[after..].find('\'').map_or(1, |at| after + at + 1)
        }
        (Some((_, _)), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Marks every item that stands under `#[cfg(test)]`.
fn mark_tests(tokens: &mut [Token]) {
    const CFG: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut at = 0;
    while at + CFG.len() <= tokens.len() {
        if tokens[at..].iter().zip(CFG).all(|(token, text)| token.text == text) {
            let end = item_end(tokens, at + CFG.len());
            tokens[at..end].iter_mut().for_each(|token| token.in_test = true);
            at = end;
        } else {
            at += 1;
        }
    }
}

/// Behind the `;` or the block that ends the item at `start`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match is_name(tokens[at].text) {
            true => path(tokens, at, "", &mut paths),
            false => at + 1,
        };
    }
    paths
}

/// Takes the path at `at` apart, and returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &str, paths: &mut Vec<Path>) -> usize {
    let text_at = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let start = tokens[at];
    let mut text = prefix.to_owned();
    loop {
        text.push_str(text_at(at));
        at += 1;
        match (text_at(at), text_at(at + 1)) {
            ("!", next) if next != "=" => text.push('!'),
            ("::", "{") => {
                at += 2;
                text.push_str("::");
                while !matches!(text_at(at), "}" | "") {
                    at = match text_at(at) {
                        "as" => at + 2,
                        name if is_name(name) => path(tokens, at, &text, paths),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            ("::", next) if is_name(next) => {
                text.push_str("::");
                at += 1;
                continue;
            }
            _ => {}
        }
        paths.push(Path { text, line: start.line, in_test: start.in_test });
        return at;
    }
}

pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &'static str) -> Vec<&'static str> {
        tokens(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let code = "a // b\n /* c */ \"d \\\" e\" r#\"f \" g\"# b\"h\" 'i' '\\'' &'j k::l";
        assert_eq!(texts(code), ["a", "\"\"", "\"\"", "\"\"", "\"\"", "\"\"", "&", "'", "j", "k", "::", "l"]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let lines: Vec<_> = tokens("a\n\"x\ny\" b /*\n*/ c").into_iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
    }

    #[test]
    fn groups_are_taken_apart() {
        let found = paths(&tokens("use crate::{a, b::{self, C as D}, e::*}; panic!(); x != y"));
        let found: Vec<_> = found.iter().map(|path| path.text.as_str()).collect();
        assert_eq!(found, ["use", "crate::a", "crate::b::self", "crate::b::C", "crate::e", "panic!", "x", "y"]);
    }

    #[test]
    fn items_of_tests_are_marked() {
        let code = "fn a() {} #[cfg(test)] #[allow(x)] mod tests { fn b() {} } #[cfg(test)] mod c; fn d() {}";
        let marked: Vec<_> =
            tokens(code).into_iter().filter(|t| t.in_test && is_name(t.text)).map(|t| t.text).collect();
        assert_eq!(marked, ["cfg", "test", "allow", "x", "mod", "tests", "fn", "b", "cfg", "test", "mod", "c"]);
    }
}
