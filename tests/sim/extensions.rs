//! What newer parties do: provisional responses that must arrive (RFC 3262), UPDATE (RFC 3311), refreshed sessions (RFC 4028).

use std::time::Duration;

use crate::chance::{between, ms, percent, secs};
use crate::leg::State;
use crate::party::{Act, Effect, Moment, Party, Path, Tick, with_body};
use crate::text::Msg;

/// What a party knows of the provisional responses of one call.
#[derive(Default)]
pub struct Early {
    /// The number of the last one taken from them, or sent by us.
    rseq: u32,
    /// Ours, as long as it is not acknowledged.
    pub ringing: Vec<u8>,
    /// The exchange of the INVITE is complete before its answer.
    pub described: bool,
}

const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK\r\n";

impl Party {
    /// Header lines of an INVITE of this party.
    pub fn extension_lines(&self, moment: &mut Moment<'_>) -> String {
        if !self.modern {
            return String::new();
        }
        let insists = if percent(moment.rng, 10) { "Require: 100rel\r\n" } else { "" };
        format!("{ALLOW}{insists}Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uac\r\n")
    }

    /// A provisional response to our INVITE; a reliable one gets its PRACK, once.
    pub fn take_provisional(&mut self, moment: &mut Moment<'_>, response: &Msg) {
        let call_id = response.call_id();
        let Ok(rseq) = response.get("RSeq").parse::<u32>() else { return };
        assert!(self.modern, "a reliable response to a party that knows none: {}", response.start);
        let Some(leg) = self.legs.get_mut(call_id).filter(|leg| leg.state == State::Calling) else { return };
        if leg.early.rseq != 0 && rseq != leg.early.rseq + 1 {
            assert!(rseq <= leg.early.rseq + 1, "response {rseq} after {}", leg.early.rseq);
            return;
        }
        leg.early.rseq = rseq;
        leg.remote = response.get("To").to_owned();
        leg.target = response.contact().to_owned();
        let is_offer = leg.invite.body.is_empty() && !leg.early.described;
        assert!(!is_offer || !response.body.is_empty(), "no offer in the first reliable response");
        assert!(!leg.early.described || response.body.is_empty(), "another description after the answer");
        leg.early.described |= !response.body.is_empty();
        let body = if is_offer { self.description(&self.legs[call_id], "sendrecv") } else { String::new() };
        self.within(moment, call_id, "PRACK", &format!("RAck: {rseq} {}\r\n", response.get("CSeq")), &body);
    }

    /// Rings; reliably where both know how.
    pub fn ring(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        let Some(leg) = self.legs.get(call_id) else { return };
        let (invite, path) = (leg.invite.clone(), leg.path);
        if !self.modern || !invite.get("Supported").contains("100rel") || percent(moment.rng, 30) {
            return self.answer(moment, path, &invite, 180, "", "");
        }
        let described = invite.body.is_empty() || percent(moment.rng, 50);
        let body = if described { self.description(&self.legs[call_id], "sendrecv") } else { String::new() };
        let rseq = 1 + u32::try_from(moment.rng.below(1 << 30)).unwrap_or(1);
        let contact = self.contact(&self.contact_user(call_id));
        let lines = format!("{contact}{ALLOW}Require: 100rel\r\nRSeq: {rseq}\r\n");
        self.answer(moment, path, &invite, 183, &lines, &body);
        let ringing = self.last_response();
        if let Some(leg) = self.legs.get_mut(call_id) {
            leg.early = Early { rseq, ringing, described };
        }
        self.ring_again_in(moment, call_id, ms(500), secs(32));
    }

    fn ring_again_in(&mut self, moment: &mut Moment<'_>, call_id: &str, wait: Duration, left: Duration) {
        let wait = wait.min(left);
        let left = left.saturating_sub(wait);
        moment.later(wait, Tick::Ringing { call_id: call_id.to_owned(), wait, left });
    }

    pub fn ring_again(&mut self, moment: &mut Moment<'_>, call_id: &str, wait: Duration, left: Duration) {
        let waits = |leg: &&crate::leg::Leg| {
            leg.state == State::Called && leg.answer.is_empty() && !leg.early.ringing.is_empty()
        };
        let Some(leg) = self.legs.get(call_id).filter(waits) else { return };
        if left.is_zero() {
            return self.act(moment, call_id, Act::Refuse(504));
        }
        moment.effects.push(Effect::Send { path: leg.path, bytes: leg.early.ringing.clone() });
        self.ring_again_in(moment, call_id, wait * 2, left);
    }

    /// PRACK to our ringing.
    pub fn pracked(&mut self, moment: &mut Moment<'_>, path: Path, prack: &Msg) {
        let Some(leg) = self.legs.get_mut(prack.call_id()) else {
            return self.answer(moment, path, prack, 481, "", "");
        };
        let expected = format!("{} {}", leg.early.rseq, leg.invite.get("CSeq"));
        if leg.early.ringing.is_empty() || prack.get("RAck") != expected {
            return self.answer(moment, path, prack, 481, "", "");
        }
        assert!(!leg.invite.body.is_empty() || !prack.body.is_empty(), "an early offer without its answer");
        leg.early.ringing = Vec::new();
        self.answer(moment, path, prack, 200, "", "");
    }

    /// UPDATE of the other side: refused while ours is open, else agreed to.
    pub fn updated(&mut self, moment: &mut Moment<'_>, path: Path, update: &Msg) {
        assert!(self.modern, "an UPDATE to a party that does not allow it");
        let call_id = update.call_id();
        if !self.legs.contains_key(call_id) {
            return self.answer(moment, path, update, 481, "", "");
        }
        let open = |client: &crate::party::Client| {
            client.call_id == call_id && matches!(client.method.as_str(), "INVITE" | "UPDATE")
        };
        if !update.body.is_empty() && self.clients.values().any(open) {
            return self.answer(moment, path, update, 491, "", "");
        }
        let contact = self.contact(&self.contact_user(call_id));
        let body =
            if update.body.is_empty() { String::new() } else { self.description(&self.legs[call_id], "sendrecv") };
        self.answer(moment, path, update, 200, &format!("{contact}{ALLOW}"), &body);
    }

    /// UPDATE of ours: with an offer, or only to refresh the session.
    pub fn update(&mut self, moment: &mut Moment<'_>, call_id: &str, with_offer: bool) {
        let busy = |client: &crate::party::Client| client.call_id == call_id && client.method != "INFO";
        if !self.modern || self.clients.values().any(busy) {
            return;
        }
        let contact = self.contact(&self.contact_user(call_id));
        let lines = format!("{contact}{ALLOW}Supported: timer\r\nSession-Expires: 90\r\n");
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        leg.version += 1;
        let body = if with_offer { self.description(&self.legs[call_id], "sendonly") } else { String::new() };
        self.within(moment, call_id, "UPDATE", &lines, &body);
    }

    /// What newer parties do in a call that is up: UPDATE, and their refreshes.
    pub fn live_longer(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        if percent(moment.rng, 30) {
            let at = between(moment.rng, 100, 6000);
            moment.act(at, call_id, Act::Update);
        }
        for at in [40, 80] {
            moment.act(secs(at), call_id, Act::Refresh);
        }
    }

    /// A request inside the call.
    pub fn within(&mut self, moment: &mut Moment<'_>, call_id: &str, method: &str, lines: &str, body: &str) {
        let branch = format!("z9hG4bK{}", self.token("branch"));
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        leg.cseq += 1;
        let path = leg.path;
        let (target, local, remote, cseq) = (leg.target.clone(), leg.local.clone(), leg.remote.clone(), leg.cseq);
        let via = self.via(path, &branch);
        let text = format!(
            "{method} {target} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n{lines}{}",
            with_body(body)
        );
        self.request(moment, path, &branch, call_id, text);
    }
}
