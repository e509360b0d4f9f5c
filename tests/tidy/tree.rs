//! The files of the repository, and what a rule says about them.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::code::{Path as CodePath, Token, paths, tokens};

/// What no rule looks into.
const PASSED_OVER: &[&str] = &["target", ".git", "data", "corpus"];

pub struct Tree {
    pub sources: Vec<Source>,
    /// Every text file, the sources too.
    pub texts: Vec<Text>,
}

/// A Rust file. Lives as long as the test does, and so do the slices of it.
pub struct Source {
    pub path: String,
    pub text: &'static str,
    pub tokens: Vec<Token>,
    pub paths: Vec<CodePath>,
    /// The whole file is compiled for tests only.
    pub is_test: bool,
}

pub struct Text {
    /// Relative to the root, with slashes.
    pub path: String,
    pub text: &'static str,
}

#[derive(Debug, PartialEq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Tree {
    pub fn read(root: &str) -> Self {
        let mut files = Vec::new();
        walk(Path::new(root), "", &mut files);
        Self::of(files)
    }

    /// A tree made of snippets, for the tests of the rules.
    #[cfg(test)]
    pub fn from(files: &[(&str, &str)]) -> Self {
        Self::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn of(mut files: Vec<(String, String)>) -> Self {
        files.sort();
        let texts: Vec<Text> = files.into_iter().map(|(path, text)| Text { path, text: text.leak() }).collect();
        let mut sources: Vec<Source> = texts.iter().filter(|text| text.path.ends_with(".rs")).map(Source::of).collect();
        let modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            let stem = source.path.trim_end_matches(".rs");
            source.is_test |= modules.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")));
        }
        Self { sources, texts }
    }

    /// The code of the daemon, without its tests.
    pub fn daemon(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test)
    }

    pub fn text(&self, path: &str) -> Option<&Text> {
        self.texts.iter().find(|text| text.path == path)
    }
}

impl Source {
    fn of(text: &Text) -> Self {
        let tokens = tokens(text.text);
        let is_test = text.path.starts_with("tests/") || text.path.starts_with("benches/");
        Self { path: text.path.clone(), text: text.text, paths: paths(&tokens), tokens, is_test }
    }

    /// The floor of a file of src; `None` for main.rs and lib.rs, which stand above all floors.
    pub fn floor(&self) -> Option<&str> {
        let (floor, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(floor)
    }

    /// Paths, without suffix, of the files behind `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let directory = self.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib").to_owned();
        let names =
            self.tokens.windows(3).filter(|three| three[0].in_test && three[0].text == "mod" && three[2].text == ";");
        names.map(|three| format!("{directory}/{}", three[1].text)).collect()
    }

    pub fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }
}

impl Text {
    pub fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// Lines with their number, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }
}

fn walk(directory: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if PASSED_OVER.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file()
            && let Ok(text) = String::from_utf8(fs::read(entry.path()).unwrap())
        {
            files.push((path, text));
        }
    }
}

#[test]
fn tests_are_told_from_the_daemon() {
    let tree = Tree::from(&[
        ("src/lib.rs", "mod a;"),
        ("src/a/mod.rs", "#[cfg(test)]\nmod model;\n#[cfg(test)]\nmod tests { fn f() {} }\nmod b;"),
        ("src/a/model.rs", ""),
        ("src/a/b.rs", "#[cfg(test)]\nmod tests;"),
        ("src/a/b/tests.rs", ""),
        ("tests/x.rs", ""),
    ]);
    let daemon: Vec<_> = tree.daemon().map(|source| source.path.as_str()).collect();
    assert_eq!(daemon, ["src/a/b.rs", "src/a/mod.rs", "src/lib.rs"]);
}
