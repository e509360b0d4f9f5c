//! Reads the source tree as text and fails, with file and line, on what neither the compiler nor clippy looks at: imports
//! that climb, files and functions that outgrow a screen, clocks and sockets below the shell, documents that are not true.
//!
//! A rule is a function from the tree to its findings, and has a test that shows it failing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bans;
mod code;
mod conformance;
mod docs;
mod floors;
mod reached;
mod rows;
mod rules;
mod sizes;
mod spec;
mod table;
mod text;
mod tree;

use std::fmt::Write as _;

use table::{REWRITE, Table};
use tree::{Finding, Tree};

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[(&str, Rule)] = &[
    ("floors: the table in src/lib.rs names the directories of src", floors::table),
    ("floors: each imports only from those below it", floors::imports),
    ("sizes: a file is read in one go", sizes::files),
    ("sizes: a function fits a screen", sizes::functions),
    ("bans: what has no place here", bans::paths),
    ("bans: a test that is ignored tests nothing", bans::ignored),
    ("bans: the order of a HashMap differs from run to run", bans::unordered),
    ("reached: every file is part of a program", reached::files),
    ("text: nothing is left for later", text::unfinished),
    ("text: no path of somebody's machine", text::machines),
    ("text: a file says what it is", text::module_docs),
    ("docs: the floors of the architecture are those of the code", docs::floors),
    ("docs: names of code exist", docs::names),
    ("docs: commands exist", docs::commands),
    ("docs: files exist", docs::files),
    ("docs: keys of the configuration exist", docs::keys),
    ("docs: metrics and HTTP paths are those of the code", docs::interface),
    ("docs: log lines are those of the code", docs::log_lines),
    ("docs: the table of conformance is that of the tests", |tree| conformance::TABLE.is_true(tree)),
    ("docs: the table of rules is that of the tests", |tree| rules::TABLE.is_true(tree)),
    ("rules: they are named by tests", rules::tags_are_true),
];

const TABLES: [Table; 2] = [conformance::TABLE, rules::TABLE];

#[test]
fn the_tree_is_tidy() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut tree = Tree::read(root);
    if std::env::var_os(REWRITE).is_some() {
        for table in TABLES.iter().filter(|table| table.lost(&tree).is_empty()) {
            std::fs::write(format!("{root}/{}", table.page), table.write(&tree)).unwrap();
        }
        tree = Tree::read(root);
    }
    let mut report = String::new();
    let mut count = 0;
    for (name, rule) in RULES {
        let findings = rule(&tree);
        if !findings.is_empty() {
            writeln!(report, "{name}").unwrap();
        }
        for finding in &findings {
            writeln!(report, "  {finding}").unwrap();
        }
        count += findings.len();
    }
    assert!(count == 0, "{count} findings\n{report}");
}
