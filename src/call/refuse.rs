//! What is refused before it is a call. Of an emergency call that is refused a record is kept, and somebody on site is told (SPEC §9).

use compact_str::{CompactString, format_compact};

use super::classify::Decision;
use super::history::{CountrySource, Dialled, Kind, Report};
use super::lent::Holder;
use super::{Call, Calls, Parts, Stage};
use crate::base::E164;
use crate::config::{Aor, Country};
use crate::sip::Message;
use crate::transaction::ServerId;
use crate::transport::Flow;
use crate::ua::Refusal;

/// A call that does not come to be.
pub(super) struct Refused {
    pub kind: Kind,
    /// Whose call it is, as far as that is known.
    pub user: Option<Aor>,
    /// The leased number that a trunk calls.
    pub called_back: Option<E164>,
    pub dialled: CompactString,
    pub refusal: Refusal,
    /// Where the caller is, and what told it.
    pub place: Option<(Country, CountrySource)>,
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
        let Refused { kind, user, called_back, dialled, refusal, place } = refused;
        if !matches!(kind, Kind::Emergency | Kind::Test) && called_back.is_none() {
            parts.ua.reply(&mut parts.context, server, invite, flow, &refusal);
            self.reports.push(Report::Refused { kind, dialled, refusal, source: flow, told: None });
            return;
        }
        let stage = Stage::Refusing(Box::new(refusal.clone()));
        let now = parts.context.now;
        let callback_of = called_back.map(|number| format_compact!("{number}"));
        let call = Call {
            user,
            number: called_back,
            country: place.map(|(country, _)| country),
            country_source: place.map(|(_, source)| source),
            callback_of,
            dialled: dialled.clone(),
            decisions: parts.trace.so_far().into(),
            stage,
            ..Call::new(kind, now)
        };
        let id = self.calls.insert(call);
        let told = self.history(id).map(|history| Box::new(Dialled::new(history, called_back, invite)));
        self.reports.push(Report::Refused { kind, dialled, refusal: refusal.clone(), source: flow, told });
        if kind != Kind::Emergency || !self.announce_refusal(parts, id, server, invite, flow) {
            self.calls.remove(id);
            parts.ua.reply(&mut parts.context, server, invite, flow, &refusal);
        }
    }

    /// Refuses an INVITE with a session description that cannot be used.
    pub(super) fn turn_away_malformed(
        &mut self,
        parts: &mut Parts<'_>,
        server: ServerId,
        invite: &Message,
        flow: Flow,
        (caller, decision): (Option<Aor>, Decision),
        refusal: Refusal,
    ) {
        let called_back = match decision {
            Decision::Callback(_, number) => Some(number),
            _ => None,
        };
        let holder = called_back
            .and_then(|number| Holder::of(parts, number))
            .map(|holder| format!("sip:{}", holder.lease().user));
        if let Some(number) = called_back
            && super::lent::call_up(parts, number)
        {
            // Every callback renews the lease (SPEC §3).
            parts.leases.call_down(parts.context.now, number);
        }
        let user = holder.and_then(|holder| holder.parse().ok()).or(caller);
        let (kind, dialled, place) = (decision.kind(), decision.dialled(), decision.place());
        self.turn_away(parts, server, invite, flow, Refused { kind, user, called_back, dialled, refusal, place });
    }
}
