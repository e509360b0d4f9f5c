//! Keeping a session alive and noticing that it is dead (RFC 4028): one timer a leg, whatever the other leg has
//! (CONFORMANCE ST-1 to ST-4). A peer without the extension is asked by OPTIONS inside its dialog, which changes nothing there.

use std::cmp::Reverse;
use std::time::Duration;

use super::leg::{Leg, Stage};
use super::uas::allow;
use super::{Content, Context, Event, LegId, Settings, Ua};
use crate::base::{Instant, Rng, limits};
use crate::dialog::{Exchange, Keeper, SessionTimer};
use crate::sip::{Extensions, Lines, Message, Method, Role, Writer};

/// Another try when the leg is in the middle of something.
const BUSY: Duration = Duration::from_secs(5);
/// Alarms beyond what the legs may have before those that are no longer true are looked for.
const ALARMS_LEFT: usize = 64;

impl Ua {
    /// The session of the leg is alive as of now, on these terms.
    pub(super) fn set_timer(&mut self, id: LegId, timer: Option<SessionTimer>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.timer = timer;
        if let Some(timer) = timer {
            self.alarm(timer.due, id);
        }
    }

    /// Something is due on the leg. A peer that refreshes without end leaves alarms behind that are no longer true.
    fn alarm(&mut self, at: Instant, id: LegId) {
        self.alarms.push(Reverse((at, id)));
        if self.alarms.len() <= limits::ALARMS_PER_LEG * self.legs.len() + ALARMS_LEFT {
            return;
        }
        let mut alarms = std::mem::take(&mut self.alarms).into_vec();
        alarms.sort_unstable();
        alarms.dedup();
        alarms.retain(|Reverse((at, id))| self.legs.get(*id).is_some_and(|leg| leg.is_due(*at)));
        self.alarms = alarms.into();
    }

    fn wake_timer(&mut self, id: LegId, at: Instant) {
        let Some(timer) = self.legs.get_mut(id).and_then(|leg| leg.timer.as_mut()) else { return };
        timer.due = at;
        self.alarm(at, id);
    }

    /// The session timer of a leg is due: refresh, ask, or miss the peer's refresh.
    pub(super) fn session_due(&mut self, context: &mut Context<'_>, id: LegId, at: Instant) {
        let Some(leg) = self.legs.get(id).filter(|leg| leg.call.is_some() && leg.stage != Stage::Ending) else {
            return;
        };
        let Some(timer) = leg.timer.filter(|timer| timer.due == at) else { return };
        let is_free = leg.asking.is_none() && leg.uac.is_none() && leg.uas.is_none() && leg.stage == Stage::Confirmed;
        match timer.keeper {
            Keeper::Peer => {
                self.wake_timer(id, at + Duration::from_secs(u64::from(timer.seconds)) / 2);
                self.report(id, Event::Silent { refresh: true });
            }
            // A re-INVITE of ours that gets no final answer at all is taken back.
            Keeper::Us | Keeper::Nobody if !is_free => {
                if let Some(client) = leg.uac.as_ref().filter(|uac| uac.own).map(|uac| uac.client) {
                    self.withdraw(context, id, client, None);
                }
                self.wake_timer(id, at + BUSY);
            }
            Keeper::Us => self.refresh(context, id, at),
            Keeper::Nobody => self.ask(context, id),
        }
    }

    /// The wait before another try after 491 on this leg.
    pub fn glare_wait(&self, rng: &mut Rng, id: LegId) -> Duration {
        glare_wait(rng, self.legs.get(id).is_none_or(|leg| leg.side == super::Side::Callee))
    }

    /// Asks the peer whether it is still there; the answer is an event.
    pub fn ask(&mut self, context: &mut Context<'_>, id: LegId) {
        let may_ask = |leg: &&Leg| leg.asking.is_none() && leg.stage == Stage::Confirmed;
        if self.legs.get(id).filter(may_ask).is_none() {
            return;
        }
        let client = self.request(context, id, Method::Options, &Lines::default(), None);
        if let Some(leg) = self.legs.get_mut(id) {
            leg.asking = client;
        }
        self.wake_timer(id, context.now + self.settings.t1 * 80);
    }

    /// UPDATE without an offer where the peer takes it, else a re-INVITE with the description that it has (RFC 4028 §7.4).
    fn refresh(&mut self, context: &mut Context<'_>, id: LegId, at: Instant) {
        self.wake_timer(id, at + self.settings.t1 * 80);
        let Some(leg) = self.legs.get(id) else { return };
        if leg.dialog.takes_update {
            let client = self.request(context, id, Method::Update, &Lines::default(), None);
            if let Some(leg) = self.legs.get_mut(id) {
                leg.asking = client;
            }
        } else if leg.exchange() == Exchange::Stable && !leg.dialog.offers.ours().is_empty() {
            let content = Content::own(leg.dialog.offers.ours().clone());
            self.reinvite(context, id, Some(&content));
            if let Some(uac) = self.legs.get_mut(id).and_then(|leg| leg.uac.as_mut()) {
                uac.own = true;
            }
        } else {
            self.ask(context, id);
        }
    }

    /// A request that asked or refreshed has its answer; `status` where there is no response.
    pub(super) fn asked(&mut self, context: &mut Context<'_>, id: LegId, answer: Result<&Message, u16>) {
        let now = context.now;
        let status = answer.map_or_else(|status| status, Message::code);
        let refused = answer.ok().filter(|response| response.method() != Method::Options && status >= 300);
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.asking = None;
        let Some(timer) = &mut leg.timer else { return };
        let half = Duration::from_secs(u64::from(timer.seconds)) / 2;
        match status {
            481 => return self.gone(context, id, status),
            408 => {
                self.wake_timer(id, now + half);
                return self.report(id, Event::Silent { refresh: false });
            }
            // No way there at the moment.
            503 if answer.is_err() => return self.wake_timer(id, now + half / 2),
            _ => {}
        }
        match (refused.map(Message::code), answer) {
            // RFC 3311 §5.1: it does not take UPDATE after all.
            (Some(405 | 501), _) if leg.dialog.takes_update => {
                leg.dialog.takes_update = false;
                self.wake_timer(id, now);
            }
            (Some(422), Ok(response)) => {
                let min_se = response.extensions().min_se.unwrap_or(0);
                let is_news = min_se > timer.seconds;
                timer.seconds = timer.seconds.max(min_se);
                let again = leg.takes_longer(min_se) && is_news;
                self.wake_timer(id, if again { now } else { now + half / 2 });
            }
            (Some(491), _) => {
                let wait = glare_wait(context.rng, leg.side == super::Side::Callee);
                self.wake_timer(id, now + wait);
            }
            (Some(_), _) => self.wake_timer(id, now + half / 2),
            (None, Ok(response)) if response.method() != Method::Options => {
                self.refreshed(now, id, &response.extensions());
            }
            (None, _) => {
                timer.restart(now);
                let due = timer.due;
                self.wake_timer(id, due);
            }
        }
        self.report(id, Event::Alive);
    }

    /// A 2xx of the peer to an INVITE or UPDATE of ours (RFC 4028 §7.2).
    pub(super) fn refreshed(&mut self, now: Instant, id: LegId, response: &Extensions) {
        let timer = self.settings.session.of_response(now, response);
        self.set_timer(id, timer);
    }
}

/// RFC 3261 §14.1, RFC 3311 §5.3: who made the Call-ID waits longer.
fn glare_wait(rng: &mut Rng, owns_call_id: bool) -> Duration {
    let steps = if owns_call_id { 210 + rng.below(191) } else { rng.below(201) };
    Duration::from_millis(10 * steps)
}

/// Supported, Session-Expires and Min-SE of an INVITE or UPDATE of ours (RFC 4028 §7.1, §7.4). `reliable`: the peer may send
/// reliable provisional responses.
pub(super) fn print_terms(writer: &mut Writer, settings: &Settings, leg: &Leg, reliable: bool) {
    writer.header("Allow", allow(leg));
    let supported: &[u8] = match (reliable, leg.is_server()) {
        (true, true) => b"100rel, timer, replaces, norefersub",
        (false, true) => b"timer, replaces, norefersub",
        (true, false) => b"100rel, timer",
        (false, false) => b"timer",
    };
    writer.header("Supported", supported);
    let own = settings.session;
    let (seconds, refresher) = match leg.timer {
        Some(SessionTimer { seconds, keeper: Keeper::Us, .. }) => (seconds, ";refresher=uac"),
        Some(SessionTimer { seconds, keeper: Keeper::Peer, .. }) => (seconds, ";refresher=uas"),
        Some(SessionTimer { keeper: Keeper::Nobody, .. }) | None => (own.interval, ""),
    };
    if seconds == 0 {
        return;
    }
    let floor = leg.min_se.max(own.min_se);
    writer.header_fmt("Session-Expires", format_args!("{}{refresher}", seconds.max(floor)));
    if floor > crate::dialog::LEAST_INTERVAL {
        writer.header_fmt("Min-SE", format_args!("{floor}"));
    }
}

/// Session-Expires of a 2xx of ours (RFC 4028 §9).
pub(super) fn print_grant(writer: &mut Writer, granted: Option<(u32, Role)>) {
    writer.header("Supported", b"timer");
    if let Some((seconds, refresher)) = granted {
        writer.header("Require", b"timer");
        writer.header_fmt("Session-Expires", format_args!("{seconds};refresher={}", refresher.as_str()));
    }
}
