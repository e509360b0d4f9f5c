//! Paths that have no place in a part of the tree.

use std::collections::BTreeSet;

use crate::tree::{Finding, Source, Tree};

struct Ban {
    paths: &'static [&'static str],
    /// Where it holds: the beginning of a path.
    within: &'static str,
    /// Where it does not.
    except: &'static [&'static str],
    why: &'static str,
}

const SHELL: &[&str] = &["src/shell/", "src/main.rs"];

const BANS: &[Ban] = &[
    Ban {
        paths: &["tokio", "axum", "rusqlite", "socket2", "libc", "std::os", "std::process", "std::env"],
        within: "src/",
        except: SHELL,
        why: "the operating system is the business of the shell",
    },
    Ban {
        paths: &["std::fs", "File", "UdpSocket", "TcpStream", "TcpListener", "UnixStream", "UnixListener"],
        within: "src/",
        except: SHELL,
        why: "files and sockets are the business of the shell",
    },
    Ban {
        paths: &["Instant::now", "SystemTime", "OsRng", "ThreadRng", "thread_rng"],
        within: "src/",
        except: SHELL,
        why: "time and randomness come in as arguments",
    },
    Ban {
        paths: &["std::thread", "thread_local!", "Mutex", "RwLock", "Condvar", "mpsc", "OnceLock"],
        within: "src/",
        except: SHELL,
        why: "below the shell there is one thread",
    },
    Ban {
        paths: &["println!", "print!", "eprintln!", "eprint!"],
        within: "src/",
        except: SHELL,
        why: "only the shell talks to the terminal",
    },
    Ban { paths: &["todo!", "unimplemented!", "dbg!"], within: "", except: &[], why: "nothing is left for later" },
    Ban {
        paths: &["unsafe"],
        within: "",
        except: &["src/shell/mmsg.rs", "benches/"],
        why: "one file of the daemon has it, for batches of datagrams",
    },
];

pub fn paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS {
        let holds = |source: &&Source| {
            source.path.starts_with(ban.within) && !ban.except.iter().any(|place| source.path.starts_with(place))
        };
        for source in tree.sources.iter().filter(holds) {
            // A ban on a part of src is about the daemon: its tests may do more.
            let is_exempt = |in_test: bool| !ban.within.is_empty() && (in_test || source.is_test);
            for path in source.paths.iter().filter(|path| !is_exempt(path.in_test)) {
                if let Some(banned) = ban.paths.iter().find(|banned| path.contains(banned)) {
                    findings.push(source.finding(path.line, format!("{banned}: {}", ban.why)));
                }
            }
        }
    }
    findings
}

pub fn ignored(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let attributes = source
            .tokens
            .windows(3)
            .filter(|three| three[0].text == "#" && three[1].text == "[" && three[2].text == "ignore");
        findings.extend(attributes.map(|three| source.finding(three[0].line, "a test is ignored")));
    }
    findings
}

/// Loops over a map or set that was declared, in the same file, as a hashed one. clippy.toml bans most of the methods;
/// this finds the loops, and what a type behind a reference hides from it.
pub fn unordered(tree: &Tree) -> Vec<Finding> {
    const METHODS: &[&str] = &[
        "iter",
        "iter_mut",
        "keys",
        "values",
        "values_mut",
        "drain",
        "retain",
        "into_iter",
        "into_keys",
        "into_values",
    ];
    let mut findings = Vec::new();
    for source in tree.daemon().filter(|source| source.floor() != Some("shell")) {
        let code: Vec<_> = source.tokens.iter().filter(|token| !token.in_test).collect();
        let text = |at: usize| code.get(at).map_or("", |token| token.text);
        let hashed: BTreeSet<&str> = (0..code.len())
            .filter(|at| matches!(text(at + 2), "HashMap" | "HashSet") && matches!(text(at + 1), ":" | "="))
            .map(text)
            .collect();
        for at in (0..code.len()).filter(|at| hashed.contains(text(*at))) {
            let is_walked = text(at + 1) == "." && METHODS.contains(&text(at + 2));
            let before = (0..at).rev().map(text).find(|token| !matches!(*token, "&" | "mut" | "self" | "."));
            let is_looped = before == Some("in") && text(at + 1) == "{";
            if is_walked || is_looped {
                findings.push(source.finding(code[at].line, format!("{} is a hashed map or set", text(at))));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(findings: Vec<Finding>) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }

    #[test]
    fn every_ban_finds_what_it_bans() {
        for ban in BANS {
            for path in ban.paths {
                let code = format!("//! x\nfn f() {{ {path}(); }}\n#[cfg(test)] mod tests {{ fn g() {{ {path}() }} }}");
                let tree = Tree::from(&[("src/sip/a.rs", &code), ("src/main.rs", &code), ("tests/b.rs", &code)]);
                let found = shown(paths(&tree));
                assert!(found.contains(&"src/sip/a.rs:2".to_owned()), "{path}: {found:?}");
                assert_eq!(found.len(), if ban.within.is_empty() { 6 } else { 1 }, "{path}: {found:?}");
            }
        }
    }

    #[test]
    fn groups_and_long_paths_are_seen_through() {
        let code =
            "use std::{fs, net::{IpAddr, UdpSocket}};\nlet t = std::time::Instant::now();\nlet ok = Instant::from(0);";
        let found = shown(paths(&Tree::from(&[("src/sip/a.rs", code)])));
        assert_eq!(found, ["src/sip/a.rs:1", "src/sip/a.rs:1", "src/sip/a.rs:2"]);
    }

    #[test]
    fn an_ignored_test_is_found() {
        let tree =
            Tree::from(&[("src/a.rs", "#[test]\n#[ ignore = \"slow\"]\nfn f() {}"), ("src/b.rs", "fn ignore() {}")]);
        assert_eq!(shown(ignored(&tree)), ["src/a.rs:2"]);
    }

    #[test]
    fn a_walk_over_a_hashed_map_is_found() {
        let code = "struct S { m: HashMap<u8, u8>, v: Vec<u8> }\nfn f(s: S) { s.m.get(&1); s.v.iter(); }\n\
                    fn g(&self) { for x in &self.m {} }\nfn h(&self) { self.m.keys() }\n\
                    #[cfg(test)] mod tests { fn t() { s.m.iter() } }";
        let tree = Tree::from(&[("src/sip/a.rs", code), ("src/shell/b.rs", code)]);
        assert_eq!(shown(unordered(&tree)), ["src/sip/a.rs:3", "src/sip/a.rs:4"]);
    }
}
