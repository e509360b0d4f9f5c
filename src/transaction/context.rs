//! What a transaction works with while one input is handled: the time, the timers, the printer, and where messages go.

use super::timers::{Agenda, Timers};
use crate::base::Instant;
use crate::sip::Writer;
use crate::transport::Outbox;

pub(super) struct Context<'a> {
    pub now: Instant,
    pub timers: &'a Timers,
    pub agenda: &'a mut Agenda,
    pub writer: &'a mut Writer,
    pub out: &'a mut Outbox,
}
