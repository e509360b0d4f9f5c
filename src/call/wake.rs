//! Phones that sleep are woken by a webhook when a callback looks for them (SPEC §6, RFC 8599).

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use smallvec::SmallVec;

use super::history::Attempt;
use super::{Alarm, Calls, Parts, Stage, name_of};
use crate::base::{Instant, limits};
use crate::config::Aor;
use crate::registrar::push;
use crate::ua::CallId;

/// Between two wake-ups of phones while a callback waits for them.
const AGAIN: Duration = Duration::from_secs(15);

/// What whoever pushes has to know.
#[derive(Clone, Debug)]
pub struct Wake {
    /// Ties the answer to it.
    pub post: u64,
    /// The callback, as in `calls`.
    pub call: CompactString,
    pub user: Aor,
    /// The `pn-` parameters of the phone, each with its leading `;`.
    pub push: CompactString,
    /// How long it is worth waking the phone for.
    pub until: Instant,
}

impl Calls {
    /// Wakes the phone that called, then the user's others too, again and again while none of them rings.
    pub(super) fn wake_phones(&mut self, parts: &Parts<'_>, id: CallId) {
        if parts.config.callback.wake_url.is_none() {
            return;
        }
        let now = parts.context.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        let Some(hold) = ringing.hold.as_ref().filter(|hold| now < hold.until) else { return };
        if call.branches.iter().any(|branch| branch.alerting) {
            return self.wake(now + AGAIN, id, Alarm::Wake);
        }
        let bindings = parts.registrar.bindings(&ringing.user);
        let is_meant = |key: &str| hold.others_rung || key == hold.origin.key;
        let devices = bindings.iter().map(super::ring::device_of).filter(|device| is_meant(&device.key));
        let mut pushes: SmallVec<[CompactString; 2]> = SmallVec::new();
        for push in devices.map(|device| device.push).chain([hold.origin.push.clone()]) {
            if !push.is_empty() && !pushes.contains(&push) {
                pushes.push(push);
            }
        }
        let (user, until) = (ringing.user.clone(), hold.until);
        for push in pushes {
            self.last_wake += 1;
            // A record that is full tells of the first ones only.
            if call.attempts.len() < limits::ATTEMPTS_PER_CALL {
                self.woken.insert(self.last_wake, (id, call.attempts.len()));
                call.attempts.push(Attempt {
                    trunk: CompactString::default(),
                    target: target_of(&push),
                    status: 0,
                    started_at: now,
                    ended_at: None,
                    location_error: None,
                });
            }
            let name = name_of(id, call.started_at);
            self.wakes.push(Wake { post: self.last_wake, call: name, user: user.clone(), push, until });
        }
        self.wake(now + AGAIN, id, Alarm::Wake);
    }

    /// What the webhook has answered: its HTTP status, if any.
    pub fn woken(&mut self, now: Instant, post: u64, status: Option<u16>) {
        let Some((id, attempt)) = self.woken.remove(&post) else { return };
        let attempt = self.calls.get_mut(id).and_then(|call| call.attempts.get_mut(attempt));
        if let Some(attempt) = attempt.filter(|attempt| attempt.target.starts_with("wake:")) {
            attempt.status = status.unwrap_or(0);
            attempt.ended_at = Some(now);
        }
    }

    /// Phones to be woken now.
    pub fn take_wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }
}

/// What stands in the record of the call.
fn target_of(push: &str) -> CompactString {
    format_compact!("wake:{}", push::value(push, "pn-provider").unwrap_or_default())
}
