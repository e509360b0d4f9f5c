//! A lease row as columns and back, the same in both engines. Times are milliseconds of the node clock.

use compact_str::{CompactString, format_compact};

use crate::base::{E164, Instant, Protocol};
use crate::config::Country;
use crate::lease::{Device, Kind, Lease, Row, State};
use crate::transport::{Flow, ListenerId};

/// One row of `leases`. A number that is free and has rested has its state, and `expires_at`: since when.
#[derive(Debug, serde::Serialize)]
pub(super) struct LeaseColumns<'a> {
    pub(super) number: i64,
    pub(super) state: &'a str,
    pub(super) kind: &'a str,
    pub(super) resource: &'a str,
    pub(super) country: &'a str,
    pub(super) user: &'a str,
    pub(super) device: &'a str,
    pub(super) contact: &'a str,
    pub(super) protocol: &'a str,
    pub(super) listener: u8,
    pub(super) remote: CompactString,
    pub(super) dialled_at: i64,
    pub(super) expires_at: i64,
    pub(super) calls: u32,
    pub(super) test: bool,
    pub(super) push: &'a str,
}

impl<'a> LeaseColumns<'a> {
    /// `None`: the row is to be deleted.
    pub(super) fn of(row: &'a Row) -> Option<Self> {
        match row {
            Row::Forget { .. } => None,
            Row::Rested { number, since } => Some(Self {
                number: signed(number.digits()),
                state: State::Free.as_str(),
                kind: "",
                resource: "",
                country: "",
                user: "",
                device: "",
                contact: "",
                protocol: "",
                listener: 0,
                remote: CompactString::default(),
                dialled_at: 0,
                expires_at: millis(*since),
                calls: 0,
                test: false,
                push: "",
            }),
            Row::Lease(lease) => Some(Self {
                number: signed(lease.number.digits()),
                state: lease.state.as_str(),
                kind: lease.kind.as_str(),
                resource: &lease.resource,
                country: lease.country.as_str(),
                user: &lease.user,
                device: &lease.device.key,
                contact: &lease.device.contact,
                protocol: lease.device.flow.protocol.uri_token(),
                listener: lease.device.flow.listener.0,
                remote: format_compact!("{}", lease.device.flow.remote),
                dialled_at: millis(lease.dialled),
                expires_at: millis(lease.expires),
                calls: lease.calls,
                test: lease.test,
                push: &lease.device.push,
            }),
        }
    }

    /// The error names a row that makes no sense.
    pub(super) fn row(&self) -> Result<Row, String> {
        let wrong = |what: &str| format!("leases: number {}: {what} makes no sense", self.number);
        let number = u64::try_from(self.number).ok().and_then(E164::from_digits).ok_or_else(|| wrong("the number"))?;
        let state = State::from_name(self.state).ok_or_else(|| wrong("state"))?;
        let expires = instant(self.expires_at);
        if state == State::Free {
            return Ok(Row::Rested { number, since: expires });
        }
        let flow = Flow {
            protocol: Protocol::from_token(self.protocol.as_bytes()).ok_or_else(|| wrong("protocol"))?,
            listener: ListenerId(self.listener),
            remote: self.remote.parse().map_err(|_| wrong("remote"))?,
            connection: None,
        };
        let device = Device { key: self.device.into(), contact: self.contact.into(), push: self.push.into(), flow };
        Ok(Row::Lease(Lease {
            number,
            kind: Kind::from_name(self.kind).ok_or_else(|| wrong("kind"))?,
            state,
            resource: self.resource.into(),
            country: Country::parse(self.country.as_bytes()).ok_or_else(|| wrong("country"))?,
            user: self.user.into(),
            device,
            dialled: instant(self.dialled_at),
            expires,
            calls: self.calls,
            test: self.test,
        }))
    }
}

fn millis(instant: Instant) -> i64 {
    signed(instant.as_millis())
}

fn instant(millis: i64) -> Instant {
    Instant::from_millis(unsigned(millis))
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
