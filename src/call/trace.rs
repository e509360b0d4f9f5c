//! What led to a decision, in words: for the record of a call, and for `sosbridge explain`.

use std::cell::RefCell;

/// A list of what decided, in its order. It listens while an INVITE is decided on; for `explain` all the time.
#[derive(Default)]
pub struct Trace {
    explains: bool,
    /// `None` while it does not listen.
    notes: RefCell<Option<Vec<String>>>,
}

impl Trace {
    /// One that listens to everything.
    pub fn on() -> Self {
        Self { explains: true, notes: RefCell::new(Some(Vec::new())) }
    }

    pub(super) fn note(&self, words: impl FnOnce() -> String) {
        if self.notes.borrow().is_some() {
            let words = words();
            self.notes.borrow_mut().get_or_insert_default().push(words);
        }
    }

    /// Listens to what is decided about one call.
    pub(super) fn begin(&self) {
        if !self.explains {
            self.notes.replace(Some(Vec::new()));
        }
    }

    /// What has decided about the call so far.
    pub(super) fn so_far(&self) -> Vec<String> {
        self.notes.borrow().clone().unwrap_or_default()
    }

    pub(super) fn end(&self) {
        if !self.explains {
            self.notes.take();
        }
    }

    /// What was noted since the last time.
    pub fn take(&self) -> Vec<String> {
        self.notes.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }
}
