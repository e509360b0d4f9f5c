//! Notification on site (SPEC §9, 47 CFR 9.16): what is told of calls and of the daemon, and how it fares.

use compact_str::{CompactString, format_compact};
use serde::Serialize;

use super::notices::Fate;
use super::views::stamp;
use super::{Hook, Node, Output, Row};
use crate::admin::{NoticeEvent, Notification, Record, Stamp};
use crate::base::E164;
use crate::call::{Dialled, History, Kind, Outcome};
use crate::config::User;

/// What is posted. Fields that an event does not have are left out.
#[derive(Serialize)]
struct Body<'a> {
    event: NoticeEvent,
    id: CompactString,
    at: Stamp,
    node: &'a str,
    test: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    call: &'a str,
    kind: Kind,
    user: Option<CompactString>,
    /// What the call center sees, and can call back.
    callback_number: Option<E164>,
    country: Option<&'a str>,
    dialled: &'a str,
    started_at: Stamp,
}

/// Where the caller is, by whom.
#[derive(Serialize)]
struct Location<'a> {
    /// As the call told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Told<'a>>,
    /// `[[users]] location`, under the keys it has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    configured: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    geolocation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidf: Option<&'a str>,
}

/// One event before it has an identifier.
#[derive(Default)]
struct News<'a> {
    test: bool,
    call: Option<Call<'a>>,
    location: Option<Location<'a>>,
    outcome: Option<Outcome>,
    status: Option<u16>,
    detail: Option<&'a str>,
}

impl Node {
    /// A call for help, or a test, was dialled.
    pub(super) fn notify_dialled(&mut self, dialled: &Dialled) {
        let event = if dialled.history.test { NoticeEvent::TestCall } else { NoticeEvent::EmergencyCall };
        let news = self.dialled_news(dialled);
        self.notify(event, &dialled.history.id, news);
    }

    /// A call for help was refused, or one that answers it.
    pub(super) fn notify_refused(&mut self, dialled: &Dialled, status: u16, why: Option<&str>) {
        let (outcome, status) = (Some(Outcome::Refused), Some(status));
        let news = News { outcome, status, detail: why, ..self.dialled_news(dialled) };
        let event = match dialled.history.kind {
            Kind::Callback => NoticeEvent::CallbackMissed,
            _ => NoticeEvent::EmergencyRefused,
        };
        self.notify(event, &dialled.history.id, news);
    }

    /// Who has dialled what, and where that is.
    fn dialled_news<'a>(&self, dialled: &'a Dialled) -> News<'a> {
        let Dialled { history, number, geolocation, pidf } = dialled;
        let user = history.user.as_ref().and_then(|user| self.config.user(user));
        let is_told = geolocation.is_some() || pidf.is_some();
        let told = is_told.then_some(Told { geolocation: geolocation.as_deref(), pidf: pidf.as_deref() });
        let location = Location { call: told, configured: user.and_then(configured) };
        let location = Some(location).filter(|location| location.call.is_some() || location.configured.is_some());
        let call = Call { callback_number: *number, ..self.call_told(history) };
        News { test: history.test, call: Some(call), location, ..News::default() }
    }

    /// Something has become of a call that may have been told of.
    pub(super) fn notify_call(&mut self, event: NoticeEvent, history: &History, end: Option<(Outcome, u16)>) {
        let call = Some(self.call_told(history));
        let (outcome, status) = (end.map(|(outcome, _)| outcome), end.map(|(_, status)| status));
        self.notify(event, &history.id, News { test: history.test, call, outcome, status, ..News::default() });
    }

    pub(super) fn notify_ended(&mut self, history: &History, outcome: Outcome, status: u16) {
        let event = match history.kind {
            Kind::Emergency | Kind::Test => NoticeEvent::CallEnded,
            Kind::Outbound if history.direct_route.is_some() => NoticeEvent::CallEnded,
            Kind::Callback if outcome == Outcome::Answered => NoticeEvent::CallEnded,
            Kind::Callback => NoticeEvent::CallbackMissed,
            Kind::Outbound | Kind::Internal | Kind::Inbound => return,
        };
        self.notify_call(event, history, Some((outcome, status)));
    }

    /// Something of the daemon itself. What is `about` the same is told in order.
    pub(super) fn notify_fact(&mut self, event: NoticeEvent, about: &str, detail: &str) {
        self.notify(event, about, News { detail: Some(detail), ..News::default() });
    }

    fn notify(&mut self, event: NoticeEvent, about: &str, news: News<'_>) {
        if !self.config.notify.tells(event.as_str()) {
            return;
        }
        let News { test, call, location, outcome, status, detail } = news;
        let (first, second) = (self.rng.u64(), self.rng.u64());
        let body = Body {
            event,
            id: format_compact!("{first:016x}{second:016x}"),
            at: stamp(self.now, self.wall_offset_ms),
            node: &self.config.node.name,
            test,
            call,
            location,
            outcome,
            status,
            detail,
        };
        // Its parts are strings and numbers, which no serializer refuses.
        let body = serde_json::to_string(&body).unwrap_or_default();
        for dropped in self.notices.add(self.now, event, about, body) {
            self.metrics.notification(dropped.event.as_str(), "dropped");
            tracing::error!(event = dropped.event.as_str(), id = %dropped.about, "too many notifications wait: one is dropped");
        }
    }

    fn call_told<'a>(&self, history: &'a History) -> Call<'a> {
        Call {
            call: &history.id,
            kind: history.kind,
            user: history.user.as_ref().map(|user| format_compact!("{user}")),
            callback_number: history.number,
            country: history.country.as_ref().map(|country| country.as_str()),
            dialled: &history.dialled,
            started_at: stamp(history.started_at, self.wall_offset_ms),
        }
    }

    /// Posts what is due, and has the store remember what has changed.
    pub(super) fn tell_webhook(&mut self) {
        while self.config.notify.url.is_some()
            && let Some((post, body)) = self.notices.post(self.now)
        {
            self.outputs.push_back(Output::Post { hook: Hook::Notify, post, body });
        }
        let changes = self.notices.take_changes();
        if changes.is_empty() {
            return;
        }
        self.metrics.notifications_pending(self.notices.waiting());
        let row = |change: Result<_, u64>| change.map_or_else(Row::Unnotice, |notice| Row::Notice(Box::new(notice)));
        self.hand_over(changes.into_iter().map(row).collect(), false, Vec::new());
    }

    /// The webhook has answered.
    pub(super) fn notified(&mut self, seq: u64, result: &Result<u16, String>) {
        let event = self.notices.event(seq).map_or("", NoticeEvent::as_str);
        let now = (self.now, stamp(self.now, self.wall_offset_ms));
        let status = result.as_ref().ok().copied();
        let reason = result.as_ref().err().map(String::as_str).unwrap_or_default();
        let fate = self.notices.answered(now, &mut self.rng, self.config.notify.give_up, seq, status);
        match fate {
            Fate::Delivered { back } => {
                self.metrics.notification(event, "delivered");
                if back {
                    tracing::info!("the webhook takes notifications again");
                }
            }
            Fate::Failed { news } => {
                self.metrics.notification(event, "failed");
                if news {
                    tracing::warn!(
                        event,
                        status,
                        reason,
                        "the webhook does not take notifications: they are tried again"
                    );
                } else {
                    tracing::debug!(event, status, reason, "the webhook does not take a notification");
                }
            }
            Fate::GivenUp => {
                self.metrics.notification(event, "given_up");
                tracing::error!(event, status, reason, "a notification was given up: nobody has acknowledged it");
            }
            Fate::Unknown => {}
        }
    }

    /// A record with what is known of its notifications now.
    pub(super) fn with_notifications(&self, record: &std::sync::Arc<Record>) -> std::sync::Arc<Record> {
        let notifications: Vec<_> = self.notices.about(&record.call.id).map(Notification::from).collect();
        match notifications.is_empty() {
            true => std::sync::Arc::clone(record),
            false => std::sync::Arc::new(Record { notifications, ..record.as_ref().clone() }),
        }
    }
}

fn configured(user: &User) -> Option<serde_json::Value> {
    let address = user.location.as_ref()?;
    Some(address.elements.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_string())).collect())
}
