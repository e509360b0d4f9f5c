//! Files that are read in one go, and functions that fit a screen.

use crate::code::Token;
use crate::tree::{Finding, Tree};

/// Lines of a file, by where it is.
const FILES: &[(&str, usize)] = &[("src/", 600), ("tests/", 700), ("benches/", 700)];
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 70;

pub fn files(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = source.text.lines().count();
        let bound =
            FILES.iter().find(|(place, _)| source.path.starts_with(place)).map_or(FILES[0].1, |(_, most)| *most);
        if lines > bound {
            findings.push(source.finding(lines, format!("{lines} lines, more than {bound}")));
        }
    }
    findings
}

pub fn functions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for at in (0..source.tokens.len()).filter(|at| source.tokens[*at].text == "fn") {
            let first = source.tokens[at].line;
            let lines = body_end(&source.tokens[at..]).map_or(0, |last| last - first + 1);
            if lines > FUNCTION {
                let name = source.tokens.get(at + 1).map_or("", |name| name.text);
                findings.push(source.finding(first, format!("{name} has {lines} lines, more than {FUNCTION}")));
            }
        }
    }
    findings
}

/// The line of the brace that closes the function at the start; `None` for one without a body, or a type.
fn body_end(tokens: &[Token]) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for token in tokens {
        match token.text {
            "{" => braces += 1,
            "}" if braces == 1 => return Some(token.line),
            "}" => braces -= 1,
            "(" | "[" => others += 1,
            ")" | "]" => others -= 1,
            ";" | "," if braces == 0 && others == 0 => return None,
            _ => {}
        }
        if braces < 0 || others < 0 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let long = "//\n".repeat(601);
        let tree = Tree::from(&[("src/a.rs", &long), ("tests/b.rs", &long), ("src/c.rs", "//\n")]);
        let found: Vec<_> = files(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["src/a.rs"]);
    }

    #[test]
    fn a_long_function_is_found() {
        let body = "{}\n".repeat(70);
        let code = format!("type F = fn(u8);\nfn short() {{}}\nfn long(x: [u8; 2])\n{{\n{body}}}\nfn last();");
        let found: Vec<_> = functions(&Tree::from(&[("src/a.rs", &code)])).iter().map(Finding::to_string).collect();
        assert_eq!(found, ["src/a.rs:3: long has 73 lines, more than 70"]);
    }
}
