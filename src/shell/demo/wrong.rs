//! What went wrong in the demo: what was expected, and what came instead.

use crate::sip::Message;

/// Why a step did not go as it must.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("expected  {expected}\ncame      {came}")]
    Unexpected { expected: String, came: String },
    #[error("stopped by a signal")]
    Stopped,
}

impl Wrong {
    pub fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self::Unexpected { expected: expected.into(), came: came.into() }
    }

    /// The whole message came instead.
    pub fn message(expected: impl Into<String>, message: &Message) -> Self {
        let text = String::from_utf8_lossy(message.bytes()).replace('\r', "");
        Self::new(expected, text.trim_end().replace('\n', "\n          "))
    }

    /// Something of the operating system failed.
    pub fn system(doing: &str, error: &std::io::Error) -> Self {
        Self::new(doing, error.to_string())
    }
}

/// A part of the demo that failed: a step of the story, or what goes before and after.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n{wrong}")]
pub struct Failure {
    /// `step 4 failed: …`
    pub what: String,
    pub wrong: Wrong,
}

impl Failure {
    pub fn new(what: impl Into<String>, wrong: Wrong) -> Self {
        Self { what: what.into(), wrong }
    }
}
