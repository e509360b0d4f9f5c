//! Session timers (RFC 4028): what the two ends of one dialog agree on, and when something is due.

use std::time::Duration;

use crate::base::Instant;
use crate::sip::{Extensions, Role, SessionExpires};

/// RFC 4028 §4: no interval is shorter, whatever a peer says.
pub const LEAST_INTERVAL: u32 = 90;

/// What this daemon wants. Seconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The interval asked for; 0: none is asked for.
    pub interval: u32,
    /// A shorter one is refused with 422.
    pub min_se: u32,
}

/// Who keeps the session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// We refresh.
    Us,
    /// The peer refreshes, and its refresh is missed.
    Peer,
    /// The peer knows no session timers: it is asked whether it is still there (OPTIONS inside the dialog).
    Nobody,
}

/// The timer of one dialog.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimer {
    pub seconds: u32,
    pub keeper: Keeper,
    /// When to refresh, to ask, or to miss the refresh.
    pub due: Instant,
}

impl Terms {
    /// The Session-Expires of a 2xx of ours, and who refreshes (RFC 4028 §9, table 2). The peer refreshes only if it wants
    /// to: our own refresh that fails is a surer sign than one of theirs that does not come.
    pub fn grant(self, asked: &Extensions) -> Option<(u32, Role)> {
        if !asked.timer {
            return None;
        }
        let floor = asked.min_se.unwrap_or(LEAST_INTERVAL).max(LEAST_INTERVAL);
        let wanted = if self.interval == 0 { None } else { Some(self.interval.max(floor)) };
        let SessionExpires { seconds, refresher } = match (asked.session_expires, wanted) {
            // Reduced, never increased, and not under what the peer takes.
            (Some(theirs), Some(ours)) => SessionExpires { seconds: theirs.seconds.min(ours), ..theirs },
            (Some(theirs), None) => theirs,
            (None, Some(seconds)) => SessionExpires { seconds, refresher: None },
            (None, None) => return None,
        };
        (seconds >= LEAST_INTERVAL).then_some((seconds, refresher.unwrap_or(Role::Uas)))
    }

    /// True when a request asks for less than we take (RFC 4028 §9); a peer that does not know the extension cannot be told.
    pub fn is_too_short(self, asked: &Extensions) -> bool {
        asked.timer && asked.session_expires.is_some_and(|expires| expires.seconds < self.min_se.max(LEAST_INTERVAL))
    }

    /// The timer after a 2xx of ours that granted `granted`.
    pub fn of_answer(self, now: Instant, granted: Option<(u32, Role)>) -> Option<SessionTimer> {
        self.timer(now, granted, Role::Uas)
    }

    /// The timer after a 2xx of the peer (RFC 4028 §7.2).
    pub fn of_response(self, now: Instant, response: &Extensions) -> Option<SessionTimer> {
        let agreed = response.session_expires.filter(|expires| expires.seconds >= LEAST_INTERVAL);
        self.timer(now, agreed.map(|agreed| (agreed.seconds, agreed.refresher.unwrap_or(Role::Uac))), Role::Uac)
    }

    fn timer(self, now: Instant, agreed: Option<(u32, Role)>, own: Role) -> Option<SessionTimer> {
        let timer = |seconds, keeper| SessionTimer::new(now, seconds, keeper);
        match agreed {
            Some((seconds, refresher)) if refresher == own => Some(timer(seconds, Keeper::Us)),
            Some((seconds, _)) => Some(timer(seconds, Keeper::Peer)),
            None if self.interval == 0 => None,
            None => Some(timer(self.interval, Keeper::Nobody)),
        }
    }
}

impl SessionTimer {
    pub fn new(now: Instant, seconds: u32, keeper: Keeper) -> Self {
        let mut timer = Self { seconds, keeper, due: now };
        timer.restart(now);
        timer
    }

    /// The session is alive as of `now` (RFC 4028 §10).
    pub fn restart(&mut self, now: Instant) {
        let interval = Duration::from_secs(u64::from(self.seconds));
        self.due = now
            + match self.keeper {
                Keeper::Us | Keeper::Nobody => interval / 2,
                Keeper::Peer => interval - (interval / 3).min(Duration::from_secs(32)),
            };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TERMS: Terms = Terms { interval: 1800, min_se: 120 };

    fn asked(timer: bool, expires: Option<(u32, Option<Role>)>, min_se: Option<u32>) -> Extensions {
        let session_expires = expires.map(|(seconds, refresher)| SessionExpires { seconds, refresher });
        Extensions { timer, session_expires, min_se, ..Extensions::default() }
    }

    #[test]
    fn st_1_table_2_of_rfc_4028() {
        let cases = [
            (asked(false, None, None), None),
            (asked(true, None, None), Some((1800, Role::Uas))),
            (asked(true, None, Some(3600)), Some((3600, Role::Uas))),
            (asked(true, Some((600, None)), None), Some((600, Role::Uas))),
            (asked(true, Some((600, Some(Role::Uac))), None), Some((600, Role::Uac))),
            (asked(true, Some((600, Some(Role::Uas))), None), Some((600, Role::Uas))),
            (asked(true, Some((7200, None)), None), Some((1800, Role::Uas))),
            (asked(true, Some((7200, None)), Some(3600)), Some((3600, Role::Uas))),
            (asked(true, Some((60, None)), None), None),
        ];
        for (asked, granted) in cases {
            assert_eq!(TERMS.grant(&asked), granted, "{asked:?}");
        }
        let silent = Terms { interval: 0, ..TERMS };
        assert_eq!(silent.grant(&asked(true, None, None)), None);
        assert_eq!(silent.grant(&asked(true, Some((600, None)), None)), Some((600, Role::Uas)));
    }

    #[test]
    fn st_2_too_short_for_us() {
        assert!(TERMS.is_too_short(&asked(true, Some((119, None)), None)));
        assert!(!TERMS.is_too_short(&asked(true, Some((120, None)), None)));
        assert!(!TERMS.is_too_short(&asked(false, Some((60, None)), None)));
    }

    #[test]
    fn st_3_half_the_interval_or_shortly_before_its_end() {
        let now = Instant::from_millis(1000);
        let due = |response: &Extensions| {
            TERMS.of_response(now, response).map(|timer| (timer.keeper, timer.due.since(now).as_secs()))
        };
        assert_eq!(due(&asked(true, Some((600, Some(Role::Uac))), None)), Some((Keeper::Us, 300)));
        assert_eq!(due(&asked(true, Some((600, None)), None)), Some((Keeper::Us, 300)));
        assert_eq!(due(&asked(true, Some((600, Some(Role::Uas))), None)), Some((Keeper::Peer, 568)));
        assert_eq!(due(&asked(true, Some((90, Some(Role::Uas))), None)), Some((Keeper::Peer, 60)));
        assert_eq!(due(&asked(false, None, None)), Some((Keeper::Nobody, 900)));
        assert_eq!(due(&asked(true, Some((5, Some(Role::Uas))), None)), Some((Keeper::Nobody, 900)));
    }
}
