//! A page that says row by row what is held, and which tests show it; written from the tests, and never claiming more than they do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::tree::{Finding, Tree};

/// Set, it has the pages written anew.
pub const REWRITE: &str = "SOSBRIDGE_WRITE_CONFORMANCE";

/// A title and its rows: the name of each, and in a few words what it is about.
pub type Section = (&'static str, &'static [(&'static str, &'static str)]);

pub struct Table {
    pub page: &'static str,
    /// What stands above the sections.
    pub head: &'static str,
    pub sections: &'static [Section],
    /// Rows that are not kept, each with its reason.
    pub declined: &'static [(&'static str, &'static str)],
    /// Rows of several cases: words that stand in the names of their tests, each for a case. A word that stands in none is a
    /// case that nothing shows.
    pub cases: &'static [(&'static str, &'static [&'static str])],
    pub evidence: fn(&Tree) -> Evidence,
}

/// What shows a row.
#[derive(Default)]
pub struct Shown {
    /// Files.
    pub places: BTreeSet<String>,
    /// Names of tests.
    pub names: Vec<&'static str>,
}

pub type Evidence = BTreeMap<&'static str, Shown>;

impl Table {
    /// The page as it should be.
    pub fn write(&self, tree: &Tree) -> String {
        let evidence = (self.evidence)(tree);
        let mut page = self.head.to_owned();
        for (title, rows) in self.sections {
            write!(page, "\n## {title}\n\n| row | case | shown by | verdict |\n|---|---|---|---|\n").unwrap();
            for (row, case) in *rows {
                let places = evidence.get(row).map(|shown| links(&shown.places)).unwrap_or_default();
                writeln!(page, "| {row} | {case} | {places} | {} |", self.verdict(row, &evidence)).unwrap();
            }
        }
        page
    }

    /// Differences between the page and the tests.
    pub fn is_true(&self, tree: &Tree) -> Vec<Finding> {
        let finding = |line, what: String| Finding { path: self.page.to_owned(), line, what };
        let lost = self.lost(tree);
        if !lost.is_empty() {
            return lost
                .into_iter()
                .map(|(line, row)| finding(line, format!("no test shows {row} any more")))
                .collect();
        }
        let (have, want) = (tree.text(self.page).map_or("", |page| page.text), self.write(tree));
        let differs = have.lines().zip(want.lines()).position(|(have, want)| have != want);
        let line = differs.unwrap_or(have.lines().count().min(want.lines().count())) + 1;
        let outdated =
            (have != want).then(|| finding(line, format!("out of date: {REWRITE}=1 cargo test --test tidy")));
        outdated.into_iter().collect()
    }

    /// Rows without any test that the page does not call open: what was shown once stays shown, and a new row begins with a
    /// test or a reason.
    pub fn lost(&self, tree: &Tree) -> Vec<(usize, &'static str)> {
        let Some(page) = tree.text(self.page) else { return Vec::new() };
        let evidence = (self.evidence)(tree);
        let told: BTreeMap<&str, (usize, &str)> = page
            .lines()
            .filter_map(|(at, line)| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                Some((*cells.get(1)?, (at, *cells.get(4)?)))
            })
            .collect();
        let is_lost =
            |row: &&str| self.verdict(row, &evidence) == "open" && told.get(*row).is_none_or(|told| told.1 != "open");
        self.rows().filter(is_lost).map(|row| (told.get(row).map_or(1, |told| told.0), row)).collect()
    }

    pub fn rows(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().flat_map(|(_, rows)| rows.iter().map(|(row, _)| *row))
    }

    fn verdict(&self, row: &str, evidence: &Evidence) -> String {
        if let Some((_, reason)) = self.declined.iter().find(|(declined, _)| *declined == row) {
            return format!("declined: {reason}");
        }
        let Some(shown) = evidence.get(row) else { return "open".to_owned() };
        let cases = self.cases.iter().find(|(of, _)| *of == row).map_or(&[][..], |(_, cases)| cases);
        let is_named = |case: &&&str| shown.names.iter().any(|name| name.contains(**case));
        let missing: Vec<&str> = cases.iter().filter(|case| !is_named(case)).copied().collect();
        if missing.is_empty() { "held".to_owned() } else { format!("partly: {}", missing.join(", ")) }
    }
}

/// Stories by their folder, other files by their path.
fn links(paths: &BTreeSet<String>) -> String {
    let link = |path: &String| {
        let place = match path.strip_prefix("sip-scenarios/").and_then(|rest| rest.split_once('/')) {
            Some((story, _)) => format!("sip-scenarios/{story}"),
            None => path.clone(),
        };
        let name = place.trim_start_matches("tests/").trim_start_matches("sip-scenarios/").trim_end_matches(".rs");
        format!("[{name}](../{place})")
    };
    paths.iter().map(link).collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(", ")
}
