//! The one beginning and the one end of every call: what is counted up here is counted down here.

use std::sync::Arc;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::history::{Kind, Outcome, Report};
use super::{Call, Calls, Parts, Stage};
use crate::base::Instant;
use crate::config::TrunkIdx;
use crate::sip::Message;
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::{CallId, LegId, Refusal};

impl Call {
    /// Something was decided about it after it had begun.
    pub(super) fn decide(&mut self, parts: &Parts<'_>, words: String) {
        parts.trace.note(|| words.clone());
        Arc::make_mut(&mut self.decisions).push(words);
    }

    /// A call of which only its kind is known; the leg comes with [`Calls::admit`].
    pub(super) fn new(kind: Kind, now: Instant) -> Self {
        Self {
            kind,
            user: None,
            number: None,
            country: None,
            country_source: None,
            dialled: CompactString::default(),
            started_at: now,
            answered_at: None,
            callback_of: None,
            direct_route: None,
            nena_call_id: None,
            incident_id: None,
            for_neighbour: false,
            is_elsewhere: false,
            shared: false,
            test: kind == Kind::Test,
            decisions: Arc::default(),
            note: None,
            caller: LegId::default(),
            callee: None,
            legs: SmallVec::new(),
            past_media: Vec::new(),
            announced: None,
            early: None,
            unconfirmed: SmallVec::new(),
            alignment: super::align::Alignment::default(),
            transfer: None,
            invite: None,
            joined: None,
            without_trunk: false,
            silent: None,
            branches: SmallVec::new(),
            asking: SmallVec::new(),
            attempts: Vec::new(),
            crossings: SmallVec::new(),
            stage: Stage::Bridged,
        }
    }

    /// Somebody dialled an emergency number, or tries whether that would work: trunks are tried as long as the caller waits.
    pub(super) fn is_help(&self) -> bool {
        matches!(self.kind, Kind::Emergency | Kind::Test) || self.direct_route.is_some()
    }

    /// That, or the answer to it: no count of attempts ends it, though its record has room for so many only.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_help() || self.kind == Kind::Callback
    }
}

impl Calls {
    /// Takes a call in, with the leg of its caller.
    pub(super) fn admit(
        &mut self,
        parts: &mut Parts<'_>,
        call: Call,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        is_trunk: bool,
    ) -> CallId {
        if !call.for_neighbour {
            self.reports.push(Report::Started { kind: call.kind });
        }
        let id = self.calls.insert(Call { decisions: parts.trace.so_far().into(), ..call });
        let caller = parts.ua.accept(&mut parts.context, id, server, invite, flow, is_trunk);
        if let Some(call) = self.calls.get_mut(id) {
            call.caller = caller;
        }
        self.open_media(id, caller, None);
        id
    }

    /// Our requests toward a trunk that calls are answered for with the account there.
    pub(super) fn sign_caller(&mut self, parts: &mut Parts<'_>, id: CallId, trunk: Option<TrunkIdx>) {
        let account = trunk.and_then(|trunk| parts.ua.accounts().of_trunk(trunk));
        if let Some(caller) = self.calls.get(id).map(|call| call.caller) {
            parts.ua.sign_as(caller, account);
            self.set_media_mode(caller, trunk.and_then(|trunk| parts.config.trunk(trunk)?.media));
        }
    }

    /// The caller cancelled, or hung up before the answer; its leg is gone.
    pub(super) fn caller_gave_up(&mut self, parts: &mut Parts<'_>, id: CallId, reason: Option<&[u8]>) {
        let answered = self.calls.get(id).is_some_and(|call| call.answered_at.is_some());
        let to_trunk = self.calls.get(id).is_some_and(|call| matches!(call.kind, Kind::Emergency | Kind::Test));
        let bare = reason.filter(|_| to_trunk).map(super::rewrite::bare_reason);
        self.hang_up_branches(parts, id, bare.as_deref().or(reason), None);
        // Answered, and the 200 to the caller was held for its PRACK.
        if let Some(callee) = self.calls.get(id).and_then(|call| call.callee) {
            parts.ua.hang_up(&mut parts.context, callee, bare.as_deref().or(reason));
            parts.ua.orphan(callee);
        }
        match answered {
            true => self.finish(parts, id, Outcome::Answered, 200),
            false => self.finish(parts, id, Outcome::Cancelled, 487),
        }
    }

    /// Refuses the caller's INVITE, and the call is over.
    pub(super) fn refuse_caller(&mut self, parts: &mut Parts<'_>, id: CallId, refusal: &Refusal, outcome: Outcome) {
        let Some(caller) = self.calls.get(id).map(|call| call.caller) else { return };
        parts.ua.refuse(&mut parts.context, caller, refusal);
        self.finish(parts, id, outcome, refusal.status);
    }

    /// Takes back every INVITE that is not answered. `elsewhere`: because another one was (RFC 3326 §3).
    pub(super) fn hang_up_branches(
        &mut self,
        parts: &mut Parts<'_>,
        id: CallId,
        reason: Option<&[u8]>,
        elsewhere: Option<u16>,
    ) {
        let Some(call) = self.calls.get(id) else { return };
        let legs: SmallVec<[LegId; 4]> = call.branches.iter().map(|branch| branch.leg).collect();
        let elsewhere = elsewhere.map(|status| super::reason_bytes(status, "Call completed elsewhere"));
        let own = super::reason_bytes(487, "Call cancelled");
        let reason = reason.or(elsewhere.as_deref()).unwrap_or(&own);
        for leg in legs {
            self.close_branch(parts, id, leg, 487);
            parts.ua.hang_up(&mut parts.context, leg, Some(reason));
            parts.ua.orphan(leg);
        }
    }

    /// A callback no longer looks for its phone.
    pub(super) fn stop_waiting(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        if let Some(waiting) = self.waiting.get_mut(&ringing.user) {
            waiting.retain(|waiting| *waiting != id);
            if waiting.is_empty() {
                self.waiting.remove(&ringing.user);
            }
        }
    }

    /// Ends the call: its lease begins to run out, its history is told.
    pub(super) fn finish(&mut self, parts: &mut Parts<'_>, id: CallId, outcome: Outcome, status: u16) {
        self.stop_waiting(id);
        self.drop_transfer(parts, id, 487);
        let Some(history) = self.history(id) else { return };
        let Some(call) = self.calls.remove(id) else { return };
        self.close_all_media(id, &call);
        for number in call.number.filter(|_| !call.is_elsewhere).into_iter().chain(call.joined) {
            parts.leases.call_down(parts.context.now, number);
        }
        if matches!(call.stage, Stage::Refusing(_)) {
            // It was told as a refusal when it came.
            self.refusing = self.refusing.saturating_sub(1);
            return;
        }
        if call.for_neighbour {
            return;
        }
        let history = Box::new(history);
        self.reports.push(Report::Ended { history, outcome, status, ended_at: parts.context.now });
    }
}
