//! Phones that sleep: what the webhook of `[callback] wake_url` is asked for (RFC 8599). Not kept: a wake-up that is late is none.

use serde::Serialize;

use super::views::stamp;
use super::{Hook, Node, Output};
use crate::admin::Stamp;
use crate::registrar::push;

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    event: &'static str,
    at: Stamp,
    node: &'a str,
    /// The callback, as in `calls`.
    call: &'a str,
    user: String,
    pn_provider: Option<String>,
    pn_param: Option<String>,
    pn_prid: Option<String>,
    /// When it is too late.
    until: Stamp,
}

impl Node {
    pub(super) fn wake_phones(&mut self) {
        for wake in self.calls.take_wakes() {
            let parameter = |name| push::value(&wake.push, name);
            let body = Body {
                event: "wake",
                at: stamp(self.now, self.wall_offset_ms),
                node: &self.config.node.name,
                call: &wake.call,
                user: wake.user.to_string(),
                pn_provider: parameter("pn-provider"),
                pn_param: parameter("pn-param"),
                pn_prid: parameter("pn-prid"),
                until: stamp(wake.until, self.wall_offset_ms),
            };
            // Its parts are strings, which no serializer refuses.
            let body = serde_json::to_string(&body).unwrap_or_default();
            self.outputs.push_back(Output::Post { hook: Hook::Wake, post: wake.post, body });
        }
    }

    /// Whoever pushes has answered.
    pub(super) fn woken(&mut self, post: u64, result: &Result<u16, String>) {
        let status = result.as_ref().ok().copied();
        self.calls.woken(self.now, post, status);
        if matches!(status, Some(200..=299)) {
            return self.metrics.wake("taken");
        }
        self.metrics.wake("failed");
        let reason = result.as_ref().err().map(String::as_str).unwrap_or_default();
        tracing::warn!(status, reason, "a phone could not be woken: the webhook does not take it");
    }
}
