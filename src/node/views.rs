//! What operators see of the node, as plain rows (INTERFACE: Admin HTTP). Nothing here changes anything.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::Node;
use crate::admin::{
    Attempt, CallView, LeaseState, LeaseView, MediaView, PAGE_ROWS, Page, Party, Readiness, Record, RegistrationState,
    RegistrationView, Stamp, TargetState, TargetView, TrunkRegistration, TrunkView,
};
use crate::base::{E164, Instant};
use crate::call::{History, MediaHealth, Outcome, State};
use crate::config::RouteAction;
use crate::lease;
use crate::registrar;
use crate::trunk;

impl Node {
    /// The cursor is the first number of the page: no page costs more than another.
    pub fn leases_view(&self, from: u64) -> Page<LeaseView> {
        let first = E164::from_digits(from).unwrap_or(E164::MIN);
        let mut page = page(self.leases.views_from(self.now, first), 0, |lease| LeaseView {
            number: lease.number,
            resource: lease.resource,
            country: Some(lease.country.as_str().into()),
            user: sip_uri(&lease.user),
            contact: Some(lease.contact),
            state: match lease.state {
                lease::State::Active => LeaseState::Active,
                lease::State::Held => LeaseState::Held,
                lease::State::Free | lease::State::Quarantined => LeaseState::Quarantined,
            },
            dialled_at: self.stamp(lease.dialled_at),
            expires_at: self.stamp(lease.expires_at),
            quarantine_until: Some(self.stamp(lease.quarantine_until)),
            calls: lease.calls,
            test: lease.test,
            origin: Some(lease.kind).filter(|kind| *kind != lease::Kind::Pooled).map(|kind| kind.as_str().into()),
            shared: lease.kind == lease::Kind::Overflow,
        });
        page.next = page.next.and(page.rows.last().map(|last| last.number.digits() + 1));
        page
    }

    pub fn calls_view(&self, from: u64) -> Page<CallView> {
        page(self.calls.views(), from, |history| call_view(&history, self.wall_offset_ms))
    }

    /// The cursor is behind the last user of the page before; a page ends with the last binding of a user.
    pub fn registrations_view(&self, from: u64) -> Page<RegistrationView> {
        let mut page = Page { rows: Vec::new(), next: None };
        for (cursor, bindings) in self.registrar.views_from(from) {
            page.rows.extend(bindings.map(|binding| self.registration_view(&binding)));
            if page.rows.len() >= PAGE_ROWS {
                page.next = Some(cursor);
                break;
            }
        }
        page
    }

    fn registration_view(&self, binding: &registrar::View<'_>) -> RegistrationView {
        RegistrationView {
            user: format_compact!("{}", binding.user),
            contact: binding.contact.into(),
            transport: binding.transport,
            source: format_compact!("{}", binding.source),
            expires_at: self.stamp(binding.expires_at),
            user_agent: Some(binding.user_agent).filter(|agent| !agent.is_empty()).map(CompactString::from),
        }
    }

    /// Ended calls, newest first.
    pub fn records_view(&self, limit: usize) -> Vec<Arc<Record>> {
        self.records.iter().rev().take(limit).map(|record| self.with_notifications(record)).collect()
    }

    pub fn trunks_view(&self) -> Vec<TrunkView> {
        let target = |target: trunk::TargetView<'_>| TargetView {
            uri: target.uri.into(),
            state: match target.state {
                trunk::State::Up => TargetState::Up,
                trunk::State::Down => TargetState::Down,
                trunk::State::Unknown => TargetState::Unknown,
            },
            last_ok: target.last_ok.map(|at| self.stamp(at)),
            last_status: target.last_status,
            last_error: target.last_error.map(CompactString::from),
        };
        let trunk = |trunk: trunk::View<'_>| TrunkView {
            name: trunk.name.into(),
            targets: trunk.targets.into_iter().map(target).collect(),
            registration: trunk.registration.map(|(standing, last_status)| {
                let (state, expires_at) = match standing {
                    trunk::Standing::Trying => (RegistrationState::Trying, None),
                    trunk::Standing::Registered { expires_at } => (RegistrationState::Registered, Some(expires_at)),
                    trunk::Standing::Failed => (RegistrationState::Failed, None),
                    trunk::Standing::Ended => (RegistrationState::Ended, None),
                };
                TrunkRegistration { state, expires_at: expires_at.map(|at| self.stamp(at)), last_status }
            }),
        };
        self.trunks.views().map(trunk).collect()
    }

    /// Ready when leases are loaded, while not draining and, where emergency routes lead to trunks, at least one of their targets is not
    /// known to be down.
    pub fn readiness(&self) -> Readiness {
        if self.draining {
            return Readiness::Draining;
        }
        if !self.knows_leases {
            return Readiness::NoLeases;
        }
        let routed = self.config.routes.iter().filter_map(|route| match &route.action {
            RouteAction::Trunks(trunks) => Some(trunks),
            RouteAction::TestLine => None,
        });
        let targets: Vec<_> = routed.flatten().flat_map(|trunk| self.trunks.targets_of(*trunk)).collect();
        let is_up = |id: &&trunk::TargetId| {
            self.trunks.target(**id).is_some_and(|target| target.state() == trunk::State::Up || !target.is_probed())
        };
        if targets.is_empty() || targets.iter().any(is_up) { Readiness::Ready } else { Readiness::NoTrunk }
    }

    fn stamp(&self, at: Instant) -> Stamp {
        stamp(at, self.wall_offset_ms)
    }
}

pub(super) fn stamp(at: Instant, wall_offset_ms: i64) -> Stamp {
    Stamp::new(at, wall_offset_ms)
}

pub(super) fn record_of(
    history: &History,
    outcome: Outcome,
    status: u16,
    ended_at: Stamp,
    wall_offset_ms: i64,
) -> Record {
    let attempt = |attempt: &crate::call::Attempt| Attempt {
        trunk: attempt.trunk.clone(),
        target: attempt.target.clone(),
        status: Some(attempt.status).filter(|status| *status != 0),
        started_at: stamp(attempt.started_at, wall_offset_ms),
        ended_at: attempt.ended_at.map(|at| stamp(at, wall_offset_ms)),
        location_error: attempt.location_error,
    };
    Record {
        call: CallView { state: State::Ended, ..call_view(history, wall_offset_ms) },
        ended_at,
        outcome,
        status: Some(status),
        attempts: history.attempts.iter().map(attempt).collect(),
        country_source: history.country_source.map(|source| source.as_str().into()),
        callback_of: history.callback_of.clone(),
        direct_route: history.direct_route.clone(),
        nena_call_id: history.nena_call_id.clone(),
        incident_id: history.incident_id.clone(),
        shared: history.shared,
        decisions: history.decisions.to_vec(),
        note: history.note.clone(),
        reason: None,
        notifications: Vec::new(),
    }
}

fn call_view(history: &History, wall_offset_ms: i64) -> CallView {
    CallView {
        id: history.id.clone(),
        kind: history.kind,
        user: history.user.as_ref().map(|user| format_compact!("{user}")),
        number: history.number,
        country: history.country.map(|country| country.as_str().into()),
        dialled: history.dialled.clone(),
        trunk: Some(history.trunk.clone()).filter(|trunk| !trunk.is_empty()),
        state: history.state,
        started_at: stamp(history.started_at, wall_offset_ms),
        answered_at: history.answered_at.map(|at| stamp(at, wall_offset_ms)),
        media: history.media.iter().map(media_view).collect(),
        test: history.test,
    }
}

fn media_view(health: &MediaHealth) -> MediaView {
    let MediaHealth { is_caller, kind, counters, clock_rate } = health;
    let millis = |ticks: u32| {
        let millis = u64::from(ticks) * 1000 / u64::from((*clock_rate).max(1));
        u32::try_from(millis).unwrap_or(u32::MAX)
    };
    MediaView {
        leg: if *is_caller { Party::Caller } else { Party::Called },
        kind: *kind,
        packets: counters.packets,
        bytes: counters.bytes,
        lost: counters.lost,
        strange: counters.strange,
        jitter_ms: millis(counters.jitter),
        // From 256ths.
        reported_lost: counters.reported_lost.map(|lost| u8::try_from(u32::from(lost) * 100 / 256).unwrap_or(100)),
        reported_jitter_ms: counters.reported_jitter.map(millis),
        silent_s: counters.silent.as_secs(),
    }
}

fn sip_uri(aor: &str) -> CompactString {
    format_compact!("sip:{aor}")
}

/// Rows `from` and on, at most a page of them.
fn page<I: Iterator, T>(rows: I, from: u64, row: impl Fn(I::Item) -> T) -> Page<T> {
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    let mut rows = rows.skip(skip);
    let taken: Vec<T> = rows.by_ref().take(PAGE_ROWS).map(row).collect();
    let next = (taken.len() == PAGE_ROWS && rows.next().is_some()).then(|| from.saturating_add(PAGE_ROWS as u64));
    Page { rows: taken, next }
}
