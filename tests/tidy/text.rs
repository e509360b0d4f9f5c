//! Words that have no place in any file, code or not.

use crate::tree::{Finding, Tree};

/// Words of something unfinished. The dot is not part of them: it keeps this list from finding itself.
const UNFINISHED: &[&str] =
    &["TO.DO", "FIX.ME", "XX.X", "not im.plemented", "not yet im.plemented", "place.holder", "for n.ow"];
/// Where only somebody's own machine has something. Dots as above.
const MACHINES: &[&str] = &["/ro.ot/", "/ho.me/", "/Us.ers/", "/wo.rk/", "/fa.rm/", "C:.\\\\"];

pub fn unfinished(tree: &Tree) -> Vec<Finding> {
    words(tree, UNFINISHED)
}

pub fn machines(tree: &Tree) -> Vec<Finding> {
    words(tree, MACHINES)
}

fn words(tree: &Tree, list: &[&str]) -> Vec<Finding> {
    let list: Vec<String> = list.iter().map(|word| word.replace('.', "")).collect();
    let mut findings = Vec::new();
    for text in tree.texts.iter().filter(|text| !text.path.ends_with(".lock")) {
        if !list.iter().any(|word| text.text.contains(word.as_str())) {
            continue;
        }
        for (at, line) in text.lines() {
            let found = list.iter().find(|word| has_word(line, word));
            findings.extend(found.map(|word| text.finding(at, format!("the words {word:?}"))));
        }
    }
    findings
}

/// True when the word stands in the line, and is no part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_letter(before) && (!is_letter(after) || word.ends_with('/'))
    })
}

pub fn module_docs(tree: &Tree) -> Vec<Finding> {
    let has_none = |text: &str| !text.starts_with("//! ");
    let sources = tree.sources.iter().filter(|source| has_none(source.text));
    sources.map(|source| source.finding(1, "the file begins without a `//!` that says what it is")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found() {
        for (list, rule) in [(UNFINISHED, unfinished as fn(&Tree) -> _), (MACHINES, machines)] {
            for word in list.iter().map(|word| word.replace('.', "")) {
                let tree =
                    Tree::from(&[("docs/a.md", &format!("x\n ({word}) y")), ("docs/b.md", &format!("a{word}b"))]);
                let found: Vec<_> = rule(&tree).iter().map(Finding::to_string).collect();
                assert_eq!(found, [format!("docs/a.md:2: the words {word:?}")]);
            }
        }
    }

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        let tree = Tree::from(&[("src/a.rs", "//! a\n"), ("src/b.rs", "// b\n"), ("src/c.rs", "fn c() {}\n")]);
        let found: Vec<_> = module_docs(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["src/b.rs", "src/c.rs"]);
    }
}
