//! docs/conformance.md: the rows a B2BUA is held to, and which tests show each, by the names of the tests.
//!
//! A row is shown by functions of tests whose name begins with its own (`tx_1_…` of TX-1; several may stand at the
//! beginning), by SIP stories that name it, and by rules of the simulator that do.

use std::collections::BTreeSet;

use crate::rows::{CASES, DECLINED, SECTIONS};
use crate::table::{Evidence, Table};
use crate::tree::Tree;

/// Where a row is named in the text, not by a function.
const NAMED_IN_TEXT: &[&str] = &["sip-scenarios/", "tests/sim/"];

pub const TABLE: Table =
    Table { page: "docs/conformance.md", head: HEAD, sections: SECTIONS, declined: DECLINED, cases: CASES, evidence };

const HEAD: &str = "# Conformance

What a correct B2BUA does where it is not obvious, row by row, and where it is shown. `cargo test tx_1_` runs the tests of TX-1;
a SIP story or a rule of the simulator names its rows in its text. *Held*: such tests are there, for each of its cases, and what
they show stands in them. *Partly*: none of them names these cases. *Open*: nothing shows it.

This page is written by `SOSBRIDGE_WRITE_CONFORMANCE=1 cargo test --test tidy`, from the names of the tests.
";

fn evidence(tree: &Tree) -> Evidence {
    let mut evidence = Evidence::new();
    for source in &tree.sources {
        for two in source.tokens.windows(2).filter(|two| two[0].text == "fn" && (source.is_test || two[0].in_test)) {
            for row in rows_of(two[1].text) {
                let shown = evidence.entry(row).or_default();
                shown.places.insert(source.path.clone());
                shown.names.push(two[1].text);
            }
        }
    }
    for text in tree.texts.iter().filter(|text| NAMED_IN_TEXT.iter().any(|place| text.path.starts_with(place))) {
        let words: BTreeSet<&str> = text.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for row in TABLE.rows().filter(|row| words.contains(row)) {
            evidence.entry(row).or_default().places.insert(text.path.clone());
        }
    }
    evidence
}

/// The rows at the beginning of the name of a function.
fn rows_of(mut name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    while let Some((row, rest)) = TABLE.rows().find_map(|row| {
        let prefix = format!("{}_", row.to_ascii_lowercase().replace('-', "_"));
        Some((row, name.strip_prefix(prefix.as_str())?))
    }) {
        found.push(row);
        name = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Finding;

    const TESTS: &[(&str, &str)] = &[
        ("tests/rfc3261/cancel.rs", "#[test]\nfn ca_1_x() {}\n#[test]\nfn ca_2_tx_14_y() {}\nfn ca_30_z() {}"),
        ("tests/rfc3261/stun.rs", "fn na_3_stun() {}"),
        ("src/transport/route.rs", "fn na_1_x() {}\n#[cfg(test)]\nmod tests { fn na_9_x() {} }"),
        ("sip-scenarios/hold/holds.xml", "<!-- (CONFORMANCE OA-3, OA-10; SHA-256). -->"),
        ("tests/sim/watch.rs", "// DI-1"),
        ("tests/spec/rules.rs", "// DI-2"),
    ];

    fn tree(page: Option<&str>) -> Tree {
        let files: Vec<_> = TESTS.iter().copied().chain(page.map(|page| (TABLE.page, page))).collect();
        Tree::from(&files)
    }

    #[test]
    fn rows_are_shown_by_names_and_stories() {
        let evidence = evidence(&tree(None));
        let shown: Vec<&str> = evidence.keys().copied().collect();
        assert_eq!(shown, ["CA-1", "CA-2", "DI-1", "NA-3", "NA-9", "OA-10", "OA-3", "TX-14"]);
        let page = TABLE.write(&tree(None));
        let story = "| OA-10 | hold of an emergency call by the caller | [hold](../sip-scenarios/hold) | held |\n";
        assert!(page.contains(story), "{page}");
        assert!(page.contains("(../tests/rfc3261/stun.rs) | partly: keep_alive, options |\n"), "{page}");
        assert!(
            page.contains(
                "| CA-1 | cancelled while it rings | [rfc3261/cancel](../tests/rfc3261/cancel.rs) | held |\n"
            )
        );
        assert!(page.contains("| NA-1 | rport, received, NAT |  | open |\n"), "{page}");
    }

    #[test]
    fn a_page_that_is_out_of_date_is_found() {
        let good = TABLE.write(&tree(None));
        assert_eq!(TABLE.is_true(&tree(Some(&good))), []);
        let old = good.replace("[hold](../sip-scenarios/hold) | held", "[hold](../sip-scenarios/hold) | open");
        let found: Vec<_> = TABLE.is_true(&tree(Some(&old))).iter().map(Finding::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("out of date"), "{found:?}");
        assert_eq!(TABLE.is_true(&tree(None)).len(), 1, "no page at all");
    }

    #[test]
    fn a_row_without_test_or_reason_is_found() {
        let lost = TABLE.write(&tree(None)).replace("NAT |  | open", "NAT | [gone](../tests/gone.rs) | held");
        let found: Vec<_> = TABLE.is_true(&tree(Some(&lost))).iter().map(|finding| finding.what.clone()).collect();
        assert_eq!(found, ["no test shows NA-1 any more"]);
        let new = TABLE.write(&tree(None)).replace("| NA-1 |", "| NA-0 |");
        let found: Vec<_> = TABLE.is_true(&tree(Some(&new))).iter().map(|finding| finding.what.clone()).collect();
        assert_eq!(found, ["no test shows NA-1 any more"]);
    }
}
