//! What the documents say of the code, held against the code.

use std::collections::BTreeSet;

use crate::code::{is_name, tokens};
use crate::floors;
use crate::tree::{Finding, Source, Text, Tree};

const ARCHITECTURE: &str = "docs/architecture.md";
const OPERATORS: &str = "docs/operators.md";
const COMMANDS: &str = "src/shell/cli.rs";
const METRICS: &[&str] = &["src/admin/metrics.rs", "src/admin/messages.rs"];
const HTTP: &str = "src/shell/http.rs";
/// Words between back-quotes that look like names of code and are none.
const NO_CODE: &[&str] = &["Warning", "Priority"];

/// A piece of a document that claims something of code: a span between back-quotes, or a line of a block.
struct Claim {
    line: usize,
    text: &'static str,
    is_block: bool,
}

fn documents(tree: &Tree) -> impl Iterator<Item = &Text> {
    tree.texts
        .iter()
        .filter(|text| text.path == "README.md" || (text.path.starts_with("docs/") && text.path.ends_with(".md")))
}

fn claims(text: &Text) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut is_block = false;
    for (line, text) in text.lines() {
        if text.starts_with("```") {
            is_block = !is_block;
        } else if is_block || text.starts_with("    ") {
            claims.push(Claim { line, text: text.trim(), is_block: true });
        } else {
            claims.extend(text.split('`').skip(1).step_by(2).map(|text| Claim { line, text, is_block }));
        }
    }
    claims
}

pub fn floors(tree: &Tree) -> Vec<Finding> {
    let (Some(drawn), Some(map)) = (tree.text(ARCHITECTURE), tree.text("src/lib.rs")) else {
        return missing(ARCHITECTURE);
    };
    let directories = floors::directories(tree);
    let mut order = floors::names(map).into_iter().map(|(_, name)| name);
    let shown = floors::names(drawn).into_iter().filter(|(_, name)| directories.contains(name));
    let mut findings = Vec::new();
    for (line, name) in shown {
        let expected = order.next();
        if expected != Some(name) {
            findings.push(
                drawn.finding(line, format!("{name} stands where src/lib.rs has {}", expected.unwrap_or("nothing"))),
            );
            return findings;
        }
    }
    findings.extend(order.map(|name| drawn.finding(1, format!("the floor {name} is not in the table"))));
    findings
}

/// Every span of the architecture page that looks like a type, a function or a module is one.
pub fn names(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(ARCHITECTURE) else { return missing(ARCHITECTURE) };
    let mut findings = Vec::new();
    for claim in claims(page).into_iter().filter(|claim| !claim.is_block && !NO_CODE.contains(&claim.text)) {
        let name = claim.text.trim_end_matches("()");
        let segments: Vec<&str> = name.split("::").collect();
        let is_path =
            segments.iter().all(|segment| is_name(segment) && segment.chars().all(|c| c.is_alphanumeric() || c == '_'));
        let is_of_code = name.contains("::")
            || name.contains('_')
            || name.starts_with(char::is_uppercase)
            || claim.text.ends_with("()");
        if is_path && is_of_code && !tree.daemon().any(|source| has_path(source, &segments)) {
            findings.push(page.finding(claim.line, format!("`{}` is not in src", claim.text)));
        }
    }
    findings
}

/// True when the last segment is a word of the file, and each before it is one too or part of where the file is.
fn has_path(source: &Source, segments: &[&str]) -> bool {
    let is_word = |segment: &str| source.tokens.iter().any(|token| token.text == segment);
    let is_place = |segment: &str| source.path.split(['/', '.']).any(|part| part == segment);
    let Some((last, before)) = segments.split_last() else { return false };
    is_word(last) && before.iter().all(|segment| is_place(segment) || is_word(segment))
}

/// Every `sosbridge COMMAND` in a block or a span is a command of the program.
pub fn commands(tree: &Tree) -> Vec<Finding> {
    let Some(cli) = tree.sources.iter().find(|source| source.path == COMMANDS) else { return missing(COMMANDS) };
    let mut findings = Vec::new();
    for document in documents(tree) {
        for claim in claims(document) {
            let text = claim.text.trim_start_matches("$ ");
            let starts = ["cargo run --release -- ", "target/release/sosbridge ", "sosbridge "];
            let Some(rest) = starts.iter().find_map(|start| text.strip_prefix(start)) else { continue };
            let word = rest.split(' ').next().unwrap_or_default();
            let variant = word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
            if is_name(word) && !cli.tokens.iter().any(|token| token.text == variant) {
                findings.push(document.finding(claim.line, format!("there is no command {word}")));
            }
        }
    }
    findings
}

/// Every file that a document links to, or names with its directory, is there.
pub fn files(tree: &Tree) -> Vec<Finding> {
    const PLACES: &[&str] = &["src/", "tests/", "docs/", "benches/", "sip-scenarios/", ".ci/"];
    let is_there = |path: &str| {
        tree.texts
            .iter()
            .any(|text| text.path == path || text.path.starts_with(&format!("{}/", path.trim_end_matches('/'))))
    };
    let mut findings = Vec::new();
    for document in documents(tree) {
        let directory = document.path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        for (at, line) in document.lines() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                let path = format!("{directory}{link}");
                let path = path.strip_prefix("docs/../").unwrap_or(&path);
                if !link.is_empty() && !link.contains("://") && !is_there(path) {
                    findings.push(document.finding(at, format!("there is no file {path}")));
                }
            }
        }
        for claim in claims(document).iter().filter(|claim| PLACES.iter().any(|place| claim.text.starts_with(place))) {
            let path = claim.text.split(' ').next().unwrap_or_default();
            if !is_there(path) {
                findings.push(document.finding(claim.line, format!("there is no file {path}")));
            }
        }
    }
    findings
}

/// Every span like `[store] write_deadline` names a section and keys that config.toml has, commented out or not.
pub fn keys(tree: &Tree) -> Vec<Finding> {
    let known: BTreeSet<&str> =
        tree.text("config.toml").map_or(Vec::new(), |text| tokens(text.text)).iter().map(|token| token.text).collect();
    let mut findings = Vec::new();
    for document in documents(tree) {
        for claim in claims(document).iter().filter(|claim| !claim.is_block && claim.text.starts_with('[')) {
            let words = claim.text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| is_name(word));
            let unknown = words.filter(|word| !known.contains(word));
            findings.extend(unknown.map(|word| document.finding(claim.line, format!("config.toml has no {word}"))));
        }
    }
    findings
}

/// The page for operators and the code name the same metrics and HTTP paths.
pub fn interface(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(OPERATORS) else { return missing(OPERATORS) };
    let literals = |path: &str, call: &str| -> Vec<&'static str> {
        let text = tree.text(path).map_or("", |text| text.text);
        text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
    };
    let mut metrics: BTreeSet<&str> = METRICS.iter().flat_map(|path| literals(path, ".register(")).collect();
    metrics.extend(METRICS.iter().flat_map(|path| literals(path, "encode_descriptor(")));
    let routes: BTreeSet<&str> = literals(HTTP, ".route(").into_iter().filter(|route| *route != "/").collect();
    let mut findings = Vec::new();
    let (mut told, mut told_routes) = (BTreeSet::new(), BTreeSet::new());
    for claim in claims(page) {
        for word in claim.text.split(|c: char| !c.is_alphanumeric() && !"_/".contains(c)) {
            if let Some(name) = word.strip_prefix("sosbridge_") {
                let name = ["_total", "_count", "_sum", "_bucket"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                told.insert(name);
                if !metrics.contains(name) {
                    findings.push(page.finding(claim.line, format!("there is no metric {word}")));
                }
            }
        }
        for path in claim
            .text
            .split([' ', '?', '"'])
            .filter(|word| word.starts_with("/api/") || word.ends_with("z") && word.starts_with('/'))
        {
            told_routes.insert(path);
            if !routes.contains(path) {
                findings.push(page.finding(claim.line, format!("there is no path {path}")));
            }
        }
    }
    let routes = routes.into_iter().filter(|route| route.starts_with("/api/") && !told_routes.contains(route));
    let untold = metrics.into_iter().filter(|name| !told.contains(name)).chain(routes);
    findings.extend(untold.map(|name| page.finding(1, format!("nothing is said of {name}"))));
    findings
}

/// Every span in the first column of the table of log lines is a text of the code.
pub fn log_lines(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(OPERATORS) else { return missing(OPERATORS) };
    let rows = page
        .lines()
        .skip_while(|(_, line)| !line.starts_with("| log line |"))
        .take_while(|(_, line)| line.starts_with('|'));
    let mut findings = Vec::new();
    for (at, row) in rows.skip(2) {
        let line = row.split('`').nth(1).unwrap_or_default();
        if line.is_empty() || !tree.daemon().any(|source| source.text.contains(line)) {
            findings.push(page.finding(at, format!("no log line {line:?}")));
        }
    }
    findings
}

fn missing(path: &str) -> Vec<Finding> {
    vec![Finding { path: path.to_owned(), line: 1, what: "the file is missing".to_owned() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: (&str, &str) = ("src/lib.rs", "//! | [`call`] | x |\n//! | [`sip`] | y |\n");

    /// The findings of a rule on one document beside some code.
    fn found(rule: fn(&Tree) -> Vec<Finding>, path: &str, document: &str) -> Vec<String> {
        let tree = Tree::from(&[
            MAP,
            ("src/call/mod.rs", "struct Calls; impl Calls { fn incoming() { info!(\"call ended\") } }"),
            ("src/sip/uri.rs", "struct Uri;"),
            ("src/shell/cli.rs", "enum Command { Serve, Check }"),
            ("src/shell/http.rs", ".route(\"/healthz\", x).route(\"/api/v1/calls\", y)"),
            ("src/admin/metrics.rs", "registry.register(\"calls\", \"x\", y)"),
            ("config.toml", "[store]\n#: url = \"x\"\n"),
            (path, document),
        ]);
        rule(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_floor_out_of_place_is_found() {
        assert_eq!(found(floors, ARCHITECTURE, "| `call` | x |\n| `sip` | y |\n"), [""; 0]);
        let swapped = found(floors, ARCHITECTURE, "| `sip` | y |\n| `call` | x |\n");
        assert_eq!(swapped, ["docs/architecture.md:1: sip stands where src/lib.rs has call"]);
        let short = found(floors, ARCHITECTURE, "| `call` | x |\n");
        assert_eq!(short, ["docs/architecture.md:1: the floor sip is not in the table"]);
    }

    #[test]
    fn a_name_that_is_gone_is_found() {
        let good = "`Calls::incoming`, `call::Calls`, `sip::uri`\n`Uri`, `incoming()`, INVITE, `100 Trying`, `sip`\n";
        assert_eq!(found(names, ARCHITECTURE, &good.replace("sip::uri`", "sip::Uri`")), [""; 0]);
        let bad = found(names, ARCHITECTURE, "`Calls::outgoing`\n`sip::Calls`\n`Gone`, `gone()`, `gone_too`");
        assert_eq!(bad.len(), 5, "{bad:?}");
    }

    #[test]
    fn a_command_that_is_gone_is_found() {
        let page =
            "```\nsosbridge check --config x\nsosbridge dance\n```\n    cargo run --release -- leap\n`sosbridge sing`";
        let bad = found(commands, "README.md", page);
        let gone = [(3, "dance"), (5, "leap"), (6, "sing")];
        assert_eq!(bad, gone.map(|(line, word)| format!("README.md:{line}: there is no command {word}")));
    }

    #[test]
    fn a_file_that_is_gone_is_found() {
        let page = "[map](../src/lib.rs) [call](../src/call) [web](https://x) [up](#here) `src/sip/uri.rs`\n[no](no.md) `tests/no`";
        let bad = found(files, "docs/a.md", page);
        assert_eq!(bad, ["docs/a.md:2: there is no file docs/no.md", "docs/a.md:2: there is no file tests/no"]);
    }

    #[test]
    fn a_key_that_is_gone_is_found() {
        let bad = found(keys, "docs/a.md", "`[store] url` and `[store] colour`");
        assert_eq!(bad, ["docs/a.md:1: config.toml has no colour"]);
    }

    #[test]
    fn a_metric_or_path_that_is_gone_is_found() {
        assert_eq!(
            found(interface, OPERATORS, "`sosbridge_calls_total{kind}` `GET /api/v1/calls?x=1` `/healthz`"),
            [""; 0]
        );
        let bad = found(interface, OPERATORS, "`sosbridge_gone` `GET /api/v1/gone`");
        assert_eq!(bad.len(), 4, "{bad:?}");
    }

    #[test]
    fn a_log_line_that_is_gone_is_found() {
        let bad =
            found(log_lines, OPERATORS, "| log line | do |\n|---|---|\n| `call ended` | x |\n| `call began` | x |\n");
        assert_eq!(bad, ["docs/operators.md:4: no log line \"call began\""]);
    }
}
