//! A target that has said 100 and nothing more; what rang and has gone silent.

use super::{Alarm, Calls, Parts, Stage};
use crate::base::limits;
use crate::trunk::{Sign, Target};
use crate::ua::{CallId, LegId, Refusal};

impl Calls {
    /// A target that said 100 has a while to say more: Timer C is for proxies, and a caller in danger cannot wait for ever.
    pub(super) fn watch_progress(&mut self, parts: &Parts<'_>, id: CallId, leg: LegId) {
        let Some(branch) = self.branch(id, leg).filter(|branch| !branch.alerting) else { return };
        let (target, attempt, since) = (branch.target, branch.attempt, branch.rang_at);
        let trunk = target.and_then(|(target, _)| parts.trunks.target(target)).and_then(Target::trunk);
        let wait = trunk.and_then(|trunk| parts.config.trunk(trunk)).map(|trunk| trunk.progress_wait);
        let started = self.calls.get(id).and_then(|call| call.attempts.get(attempt)).map(|attempt| attempt.started_at);
        match (wait, started) {
            (Some(wait), Some(started)) => {
                self.wake((started + wait).max(parts.context.now), id, Alarm::Stalled(leg));
            }
            // A phone that says 100 and dies of it is found out as one that rings and dies.
            (_, _) => self.wake(since + limits::RINGING, id, Alarm::Mute(leg)),
        }
    }

    /// It has said nothing more: to the next target. What rings, or is announced, is left alone.
    pub(super) fn branch_stalled(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let Some(branch) = self.branch(id, leg).filter(|branch| branch.heard && !branch.alerting) else { return };
        if let Some((target, place)) = branch.target {
            parts.trunks.report(parts.context.now, target, place, Sign::Stalled);
        }
        self.close_branch(parts, id, leg, 408);
        parts.ua.hang_up(&mut parts.context, leg, Some(b"SIP;cause=408;text=\"No progress\""));
        self.try_another(parts, id, Refusal::new(408));
    }

    /// What rang has said nothing for so long that it is gone, or its way to us: to the next one. An emergency call begins its rounds
    /// anew.
    pub(super) fn branch_mute(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId) {
        let now = parts.context.now;
        let Some(branch) = self.branch(id, leg) else { return };
        let trunk = branch.target.and_then(|(target, _)| parts.trunks.target(target)).and_then(Target::trunk);
        let wait = trunk.map_or(limits::RINGING, |_| limits::TRUNK_RINGING);
        let until = branch.rang_at + wait;
        if now < until {
            return self.wake(until, id, Alarm::Mute(leg));
        }
        let branch = self.close_branch(parts, id, leg, 408);
        parts.ua.hang_up(&mut parts.context, leg, Some(b"SIP;cause=408;text=\"No word while it rang\""));
        parts.ua.orphan(leg);
        if let Some(Stage::Dialling(dialling)) = self.calls.get_mut(id).map(|call| &mut call.stage) {
            dialling.begin_anew(now + parts.config.routing.retry);
        }
        self.tried(parts, id, branch, &Refusal::new(408));
    }
}
