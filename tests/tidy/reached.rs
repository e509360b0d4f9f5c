//! Files that are part of a program: what no `mod` leads to is not compiled, and its tests test nothing.

use std::collections::BTreeSet;

use crate::tree::{Finding, Source, Tree};

pub fn files(tree: &Tree) -> Vec<Finding> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&Source> = tree.sources.iter().filter(|source| is_root(&source.path)).collect();
    while let Some(source) = open.pop() {
        if reached.insert(&source.path) {
            let paths = modules(source);
            open.extend(tree.sources.iter().filter(|other| paths.contains(&other.path)));
        }
    }
    let unreached = tree.sources.iter().filter(|source| !reached.contains(source.path.as_str()));
    unreached.map(|source| source.finding(1, "no mod leads to this file: it is not compiled")).collect()
}

/// Where a program or a library begins, as Cargo finds it.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["src", "lib.rs" | "main.rs"] | ["tests" | "benches", _] | ["tests" | "benches", _, "main.rs"])
}

/// The files that the `mod name;` of a file may mean.
fn modules(source: &Source) -> Vec<String> {
    let (directory, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let is_mod = is_root(&source.path) || file == "mod.rs";
    let below = if is_mod { directory.to_owned() } else { source.path.trim_end_matches(".rs").to_owned() };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let mut paths = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with("//")) {
        let Some(name) = line.rsplit_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';')) else { continue };
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let path = |line: &&str| Some(line.strip_prefix("#[path = \"")?.split_once('"')?.0.to_owned());
        match attributes.filter_map(path).next() {
            Some(path) => paths.push(joined(directory, &path)),
            None => paths.extend([format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")]),
        }
    }
    paths
}

/// `path` as seen from `directory`, without its `..`.
fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nothing_names_is_found() {
        let tree = Tree::from(&[
            ("src/lib.rs", "pub mod a;\n#[cfg(test)]\nmod b;\n// mod off;"),
            ("src/a/mod.rs", "pub(super) mod c;"),
            ("src/a/c.rs", "mod d;"),
            ("src/a/c/d.rs", ""),
            ("src/a/lost.rs", "// mod lost;"),
            ("src/b.rs", "mod gone;"),
            ("src/off.rs", ""),
            ("tests/x/main.rs", "#[path = \"../world/mod.rs\"]\n#[allow(dead_code)]\nmod world;\nmod y;"),
            ("tests/x/y.rs", ""),
            ("tests/x/z.rs", "#[test]\nfn f() {}"),
            ("tests/world/mod.rs", "mod agent;"),
            ("tests/world/agent.rs", ""),
            ("tests/single.rs", ""),
        ]);
        let found: Vec<_> = files(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["src/a/lost.rs", "src/off.rs", "tests/x/z.rs"]);
    }
}
