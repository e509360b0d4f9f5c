//! What led to a decision, in words: collected only where somebody asked for it (`sosbridge explain`).

use std::cell::RefCell;

/// A list of what decided, in its order; in a running daemon it is off and costs a comparison.
#[derive(Default)]
pub struct Trace(Option<RefCell<Vec<String>>>);

impl Trace {
    /// One that listens.
    pub fn on() -> Self {
        Self(Some(RefCell::default()))
    }

    pub(super) fn note(&self, words: impl FnOnce() -> String) {
        if let Some(notes) = &self.0 {
            notes.borrow_mut().push(words());
        }
    }

    /// What was noted since the last time.
    pub fn take(&self) -> Vec<String> {
        self.0.as_ref().map(RefCell::take).unwrap_or_default()
    }
}
