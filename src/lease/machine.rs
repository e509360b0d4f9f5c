//! The life of a pool number as a table (SPEC §3). What each step does to deadlines and queues is in `leases`.

/// Where a number is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody's: never used, or rested long enough.
    Free,
    /// A call is up on it; it cannot expire.
    Active,
    /// No call is up; it stays its user's until the window is over.
    Held,
    /// Resting: still reaches its last holder, given to nobody else unless no other number is left.
    Quarantined,
}

/// What happens to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Given to an emergency or test call: to a new holder, or to its own holder again.
    Dialled,
    /// A call to the number, or a further call of its holder, begins.
    CallUp,
    /// Another node has had a call on it: it lasts as long as that promises.
    Prolonged,
    /// The last call on it ended.
    LastCallDown,
    /// The daemon came up again; calls of the former life are gone.
    Restarted,
    /// `max(dialled, last call's end) + window` has come.
    WindowOver,
    /// The quarantine is over.
    Rested,
}

impl State {
    /// The state after `event`; `None` where the event cannot happen.
    pub const fn after(self, event: Event) -> Option<Self> {
        match self {
            Self::Free => match event {
                Event::Dialled => Some(Self::Active),
                Event::Restarted => Some(Self::Free),
                Event::CallUp | Event::Prolonged | Event::LastCallDown | Event::WindowOver | Event::Rested => None,
            },
            Self::Active => match event {
                Event::Dialled | Event::CallUp | Event::Prolonged => Some(Self::Active),
                Event::LastCallDown | Event::Restarted => Some(Self::Held),
                Event::WindowOver | Event::Rested => None,
            },
            Self::Held => match event {
                Event::Dialled | Event::CallUp => Some(Self::Active),
                Event::Restarted | Event::Prolonged => Some(Self::Held),
                Event::WindowOver => Some(Self::Quarantined),
                Event::LastCallDown | Event::Rested => None,
            },
            Self::Quarantined => match event {
                Event::Dialled | Event::CallUp => Some(Self::Active),
                Event::Restarted => Some(Self::Quarantined),
                Event::Prolonged => Some(Self::Held),
                Event::Rested => Some(Self::Free),
                Event::LastCallDown | Event::WindowOver => None,
            },
        }
    }

    /// The name used in the store, the views and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Active => "active",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
        }
    }

    /// The reverse of `as_str`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Free, Self::Active, Self::Held, Self::Quarantined].into_iter().find(|state| state.as_str() == name)
    }
}
