//! The demo as a newcomer runs it: the built program, the real daemon behind it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn demo(arguments: &[&str]) -> (Output, Duration) {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_sosbridge")).arg("demo").args(arguments).output().unwrap();
    (output, began.elapsed())
}

/// Where `text` stands after `from`, and the end of it.
fn find(ladder: &str, from: usize, text: &str) -> usize {
    let rest = ladder.get(from..).unwrap();
    let at = rest.find(text);
    assert!(at.is_some(), "no `{text}` after byte {from} of\n{ladder}");
    from + at.unwrap_or_default() + text.len()
}

#[test]
fn the_whole_story_goes_as_it_must() {
    let (output, took) = demo(&["--fast"]);
    let ladder = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{ladder}\n{errors}");
    assert_eq!(errors, "", "nothing but the ladder");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let story = [
        "REGISTER sip:example.com",
        "401 Unauthorized",
        "200 OK (REGISTER)",
        "INVITE +14255550123",
        "403 Forbidden",
        "phone stays silent",
        "INVITE 933",
        "X-Emergency-Number: +14255551000",
        "200 OK (BYE)",
        "INVITE 911",
        "From: +14255551000",
        "P-Asserted-Identity: +14255551000",
        "180 Ringing",
        "200 OK (INVITE)",
        "packets heard by Alice",
        "kill -9",
        "started again",
        "registration back from disk",
        "lease back from disk",
        "481 ",
        "INVITE +14255551000",
        "INVITE alice",
        "Priority: psap-callback",
        "200 OK (BYE)",
        "INVITE +14255551000",
        "403 Forbidden",
        "ok 7",
        "all as they must be",
    ];
    story.iter().fold(0, |from, text| find(&ladder, from, text));
    assert!(ladder.is_ascii(), "a pipe gets plain text");
    let long = ladder.lines().find(|line| line.len() > 100);
    assert_eq!(long, None, "every line fits a terminal of 100");
}
