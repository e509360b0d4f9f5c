//! What is refused before it is a call. Of an emergency call that is refused a record is kept, and somebody on site is told (SPEC §9).

use compact_str::CompactString;

use super::history::{Dialled, Kind, Report};
use super::{Call, Calls, Parts, Stage};
use crate::config::Aor;
use crate::sip::Message;
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::Refusal;

/// A call that does not come to be.
pub(super) struct Refused {
    pub kind: Kind,
    /// Whose call it is, as far as that is known.
    pub user: Option<Aor>,
    pub dialled: CompactString,
    pub refusal: Refusal,
}

impl Calls {
    /// Refuses an INVITE; an emergency call hears why first, where the configuration wants it.
    pub(super) fn turn_away(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        refused: Refused,
    ) {
        let Refused { kind, user, dialled, refusal } = refused;
        if kind != Kind::Emergency {
            parts.ua.reply(&mut parts.context, server, invite, flow, &refusal);
            self.reports.push(Report::Refused { kind, dialled, refusal, source: flow, told: None });
            return;
        }
        let stage = Stage::Refusing(Box::new(refusal.clone()));
        let call = Call { user, dialled: dialled.clone(), stage, ..Call::new(kind, parts.context.now) };
        let id = self.calls.insert(call);
        let told = self.history(id).map(|history| Box::new(Dialled::new(history, false, None, invite)));
        self.reports.push(Report::Refused { kind, dialled, refusal: refusal.clone(), source: flow, told });
        if !self.announce_refusal(parts, id, server, invite, flow) {
            self.calls.remove(id);
            parts.ua.reply(&mut parts.context, server, invite, flow, &refusal);
        }
    }
}
