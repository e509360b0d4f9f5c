//! The floors of the house: each imports only from those below it. Their order is the table in src/lib.rs.

use std::collections::BTreeSet;

use crate::tree::{Finding, Source, Text, Tree};

/// The names in the first column of a table of floors, top floor first, with their lines.
pub fn names(text: &Text) -> Vec<(usize, &'static str)> {
    let name = |line: &'static str| {
        let cell = line.trim_start_matches("//! ").strip_prefix("| ")?.split_once(" |")?.0;
        cell.trim_matches(['[', ']']).strip_prefix('`')?.strip_suffix('`')
    };
    text.lines().filter_map(|(at, line)| Some((at, name(line)?))).collect()
}

fn order(tree: &Tree) -> Vec<&'static str> {
    tree.text("src/lib.rs").map(names).unwrap_or_default().into_iter().map(|(_, name)| name).collect()
}

pub fn directories(tree: &Tree) -> BTreeSet<&str> {
    tree.sources.iter().filter_map(Source::floor).collect()
}

pub fn table(tree: &Tree) -> Vec<Finding> {
    let (order, directories) = (order(tree), directories(tree));
    let finding = |what| Finding { path: "src/lib.rs".into(), line: 1, what };
    let unnamed = directories.iter().filter(|name| !order.contains(name));
    let missing = order.iter().filter(|name| !directories.contains(*name));
    let unnamed = unnamed.map(|name| finding(format!("src/{name} is not in the table of floors")));
    unnamed.chain(missing.map(|name| finding(format!("there is no floor src/{name}")))).collect()
}

pub fn imports(tree: &Tree) -> Vec<Finding> {
    let order = order(tree);
    let rank = |name: &str| order.iter().position(|floor| *floor == name);
    let mut findings = Vec::new();
    for source in tree.daemon() {
        let Some((floor, own)) = source.floor().and_then(|floor| Some((floor, rank(floor)?))) else { continue };
        for path in source.paths.iter().filter(|path| !path.in_test) {
            let Some(named) = floor_named(source, &path.text) else { continue };
            if rank(named).is_some_and(|rank| rank < own) {
                findings.push(source.finding(path.line, format!("{floor} imports from {named}, which is above it")));
            }
        }
    }
    findings
}

/// The segment of the path that follows the root of the crate, reached by `crate` or by enough `super`.
fn floor_named<'a>(source: &Source, path: &'a str) -> Option<&'a str> {
    let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
    let climbed = path.split("::").take_while(|segment| *segment == "super").count();
    let skip = match path.starts_with("crate::") {
        true => 1,
        false => (climbed == depth).then_some(climbed)?,
    };
    path.split("::").nth(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: (&str, &str) = ("src/lib.rs", "//! | floor | what |\n//! | [`call`] | x |\n//! | [`sip`] | y |\n");

    fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn climbing_is_found() {
        let bad = "use crate::{base::X, call::Y};\nuse super::super::call::Z;\nfn f() { crate::call::g() }\n\
                   use crate::sip::V;\nuse super::call;\n// crate::call\n#[cfg(test)]\nmod tests { use crate::call::Y; }";
        let tree = Tree::from(&[MAP, ("src/sip/uri.rs", bad), ("src/call/mod.rs", "use crate::sip::X;")]);
        assert_eq!(lines(imports(&tree)), [1, 2, 3]);
        let tree = Tree::from(&[MAP, ("src/sip/mod.rs", "use super::call::X;"), ("src/call/mod.rs", "")]);
        assert_eq!(lines(imports(&tree)), [1]);
    }

    #[test]
    fn a_floor_that_is_not_drawn_is_found() {
        let tree = Tree::from(&[MAP, ("src/sip/mod.rs", ""), ("src/geo/mod.rs", "")]);
        let found: Vec<_> = table(&tree).into_iter().map(|finding| finding.what).collect();
        assert_eq!(found, ["src/geo is not in the table of floors", "there is no floor src/call"]);
    }
}
