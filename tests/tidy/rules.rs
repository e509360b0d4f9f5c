//! docs/rules.md: the rules of emergency calling, and which tests show each.
//!
//! A test names the rules it shows in a line of its doc comment: `Rule 3.8a: …`, or `Rules 3.8d, 3.8f: …`. So do functions of
//! the simulator, and SIP stories in a comment of their story.toml.

use crate::spec::SECTIONS;
use crate::table::{Evidence, Table};
use crate::tree::{Finding, Text, Tree};

pub const TABLE: Table =
    Table { page: "docs/rules.md", head: HEAD, sections: SECTIONS, declined: DECLINED, cases: &[], evidence };

/// What this version does not have.
const DECLINED: &[(&str, &str)] = &[];

const HEAD: &str = "# Rules of emergency calling

What an emergency call, its number and its callback are held to, rule by rule, and where it is shown. A test says in its
documentation which rules it shows (`grep -rn 'Rules* .*3\\.8a' tests src`), and so do SIP stories. *Held*: a test asserts it.
*Open*: nothing shows it. *Declined*: this version does not have it, for the reason given.

This page is written by `SOSBRIDGE_WRITE_CONFORMANCE=1 cargo test --test tidy`, from the tests.
";

/// Where every function is part of one test.
const SIMULATOR: &str = "tests/sim/";
const STORIES: &str = "sip-scenarios/";

/// A line that names rules.
struct Tag {
    line: usize,
    /// As they are written.
    rules: Vec<&'static str>,
    /// The test it stands on; `None`: it stands on something else.
    test: Option<&'static str>,
}

/// Tags on what is no test, and of rules that there are not.
pub fn tags_are_true(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in &tree.texts {
        for tag in tags(text) {
            let unknown = tag.rules.iter().filter(|rule| !TABLE.rows().any(|row| row == **rule));
            findings.extend(unknown.map(|rule| text.finding(tag.line, format!("there is no rule {rule:?}"))));
            if tag.test.is_none() {
                findings.push(text.finding(tag.line, "rules are named where no test is"));
            }
        }
    }
    findings
}

fn evidence(tree: &Tree) -> Evidence {
    let mut evidence = Evidence::new();
    for text in &tree.texts {
        for (tag, test) in tags(text).into_iter().filter_map(|tag| tag.test.map(|test| (tag, test))) {
            for row in TABLE.rows().filter(|row| tag.rules.contains(row)) {
                let shown = evidence.entry(row).or_default();
                shown.places.insert(text.path.clone());
                shown.names.push(test);
            }
        }
    }
    evidence
}

fn tags(text: &Text) -> Vec<Tag> {
    let is_story = text.path.starts_with(STORIES) && text.path.ends_with("/story.toml");
    let mark = match (text.path.ends_with(".rs"), is_story) {
        (true, _) => "///",
        (_, true) => "#",
        (false, false) => return Vec::new(),
    };
    let lines: Vec<&str> = text.text.lines().collect();
    let tag = |at: usize| {
        let rules = rules_of(lines[at].trim_start().strip_prefix(mark)?)?;
        let test = if is_story { Some("story") } else { test_at(&lines[at + 1..], text.path.starts_with(SIMULATOR)) };
        Some(Tag { line: at + 1, rules, test })
    };
    (0..lines.len()).filter_map(tag).collect()
}

/// The rules that a line of documentation begins with.
fn rules_of(line: &'static str) -> Option<Vec<&'static str>> {
    let line = line.trim_start();
    let rest = line.strip_prefix("Rules ").or_else(|| line.strip_prefix("Rule "))?;
    let list = rest.split(": ").next().unwrap_or(rest).trim_end_matches([':', '.', ' ']);
    rest.starts_with(|c: char| c.is_ascii_digit()).then(|| list.split(", ").collect())
}

/// The name of the function whose documentation and attributes these lines begin with, if it is a test.
fn test_at(lines: &[&'static str], is_simulator: bool) -> Option<&'static str> {
    let mut is_test = is_simulator;
    for line in lines.iter().map(|line| line.trim_start()) {
        if line.starts_with("#[") {
            is_test |= ["#[test]", "#[tokio::test]", "#[tokio::test("].iter().any(|start| line.starts_with(start));
        } else if !line.starts_with("///") {
            let words = line.split_once("fn ").filter(|(before, _)| matches!(*before, "" | "async " | "pub "));
            let name = words.and_then(|(_, rest)| rest.split(['(', '<']).next());
            return name.filter(|_| is_test);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &[(&str, &str)] = &[
        (
            "tests/spec/a.rs",
            "/// Rule 1.1a: x\n#[test]\nfn a() {}\n/// Two.\n/// Rules 1.1b, 1.1c.\n#[test]\nfn b() {}",
        ),
        ("src/geo/b.rs", "proptest! {\n    /// Rules 1.1c, 1.1d: y: z\n    #[test]\n    fn c(x in 0..1) {}\n}"),
        ("tests/tls/c.rs", "/// Rule 2.3b\n#[tokio::test]\nasync fn d() {}"),
        ("sip-scenarios/callback/story.toml", "# Rule 6.1a: it rings.\ntitle = \"x\""),
        ("sip-scenarios/callback/calls.xml", "# Rule 6.1b\n"),
        ("tests/sim/trials.rs", "/// Rule 6.1c: x\nfn e() {}\n/// Rules of thumb.\nfn f() {}"),
        ("docs/a.md", "# Rule 6.1d: nothing"),
    ];

    fn tree(more: &[(&str, &str)]) -> Tree {
        Tree::from(&TESTS.iter().chain(more).copied().collect::<Vec<_>>())
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        tags_are_true(&tree(&[(path, text)])).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn rules_are_shown_by_what_tests_say_of_themselves() {
        let evidence = evidence(&tree(&[]));
        let shown: Vec<_> = evidence.iter().map(|(rule, shown)| (*rule, shown.names.join(" "))).collect();
        let wanted = [
            ("1.1a", "a"),
            ("1.1b", "b"),
            ("1.1c", "c b"),
            ("1.1d", "c"),
            ("2.3b", "d"),
            ("6.1a", "story"),
            ("6.1c", "e"),
        ];
        assert_eq!(shown, wanted.map(|(rule, names)| (rule, names.to_owned())));
        let page = TABLE.write(&tree(&[]));
        assert!(
            page.contains(
                "| 6.1a | a trunk calls a leased number: a callback | [callback](../sip-scenarios/callback) | held |\n"
            ),
            "{page}"
        );
        assert!(page.contains("| 6.1b | or a number in quarantine |  | open |\n"), "{page}");
        assert_eq!(tags_are_true(&tree(&[])), []);
    }

    #[test]
    fn a_tag_that_stands_on_no_test_is_found() {
        let bad = [
            "/// Rule 1.1f: x\nfn helper() {}",
            "/// Rule 1.1f: x\n#[derive(Debug)]\nstruct X;\n#[test]\nfn f() {}",
            "/// Rule 1.1f: x\n\n#[test]\nfn f() {}",
            "/// Rule 1.1f: x",
        ];
        for text in bad {
            assert_eq!(
                found("tests/spec/z.rs", text),
                ["tests/spec/z.rs:1: rules are named where no test is"],
                "{text}"
            );
            assert!(!evidence(&tree(&[("tests/spec/z.rs", text)])).contains_key("1.1f"), "{text}");
        }
    }

    #[test]
    fn a_rule_that_does_not_exist_is_found() {
        for (text, rule) in
            [("/// Rule 1.99: x", "1.99"), ("/// Rules 1.1a 1.1b: x", "1.1a 1.1b"), ("/// Rules 1.1a, 1.1z", "1.1z")]
        {
            let text = format!("{text}\n#[test]\nfn f() {{}}");
            assert_eq!(found("tests/spec/z.rs", &text), [format!("tests/spec/z.rs:1: there is no rule {rule:?}")]);
        }
    }

    #[test]
    fn a_rule_that_is_lost_is_found() {
        let page = TABLE.write(&tree(&[]));
        assert_eq!(TABLE.is_true(&tree(&[(TABLE.page, &page)])), []);
        let held =
            page.replace("number in quarantine |  | open |", "number in quarantine | [x](../tests/x.rs) | held |");
        let found: Vec<_> =
            TABLE.is_true(&tree(&[(TABLE.page, &held)])).into_iter().map(|finding| finding.what).collect();
        assert_eq!(found, ["no test shows 6.1b any more"]);
    }

    #[test]
    fn every_rule_has_one_number() {
        let mut rows: Vec<_> = TABLE.rows().collect();
        let count = rows.len();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }
}
