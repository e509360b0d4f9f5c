//! The subscription that a REFER makes (RFC 3515 §2.4.4, RFC 6665 §4.2): a leg tells its peer what became of it, by NOTIFY in
//! the same dialog. It outlives the peer's BYE until the last of them is answered (RFC 5057 §4.1).

use bytes::Bytes;

use super::leg::{Leg, Stage};
use super::uas::ALLOW_TRUNK;
use super::{Content, Context, Event, LegId, Ua};
use crate::base::limits;
use crate::sip::{self, Lines, Message, Method, Name, Replaces};
use crate::transaction::{ClientId, ServerId};
use crate::transport::Flow;

/// Who is told, and what was said.
pub struct Notifier {
    /// Of the REFER: tells its subscription from those of others (RFC 3515 §2.4.6).
    cseq: u32,
    /// The NOTIFY that has no answer yet.
    client: Option<ClientId>,
    /// What has happened meanwhile.
    next: Option<u16>,
    is_over: bool,
}

impl Ua {
    /// Takes a REFER with 202 and makes its subscription, unless its sender wants none (RFC 3515 §2.4.2, RFC 4488 §4).
    pub fn accept_refer(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let wants_none = request.header(Name::ReferSub).is_some_and(|value| {
            let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
            value.trim_ascii().eq_ignore_ascii_case(b"false")
        });
        let Some(leg) = self.legs.get_mut(id) else { return };
        let notifier = Notifier { cseq: request.cseq(), client: None, next: None, is_over: false };
        leg.notifier = (!wants_none).then(|| Box::new(notifier));
        sip::reply(&mut self.writer, request, flow.remote, 202, None, request.to_tag());
        if let Some(local) = self.settings.locals.get(usize::from(leg.flow.listener.0)) {
            self.writer.header_fmt("Contact", format_args!("{}", local.contact(&leg.contact_user, leg.secure)));
        }
        if wants_none {
            self.writer.header("Refer-Sub", b"false");
        }
        self.writer.header("Allow", ALLOW_TRUNK);
        self.writer.header("Server", self.settings.product.as_bytes());
        let bytes = self.writer.finish();
        context.transactions.respond(context.now, server, 202, bytes, context.out);
    }

    /// Tells the subscriber a status of the referred call; a final one ends the subscription, and its answer is an event.
    /// One NOTIFY at a time, so that none overtakes another; the last one does not wait.
    pub fn notify(&mut self, context: &mut Context<'_>, id: LegId, status: u16) {
        let Some(notifier) = self.legs.get_mut(id).and_then(|leg| leg.notifier.as_mut()) else { return };
        if notifier.is_over {
            return;
        }
        if notifier.client.is_some() && status < 200 {
            notifier.next = Some(status);
            return;
        }
        (notifier.next, notifier.is_over) = (None, status >= 200);
        let mut lines = Lines::default();
        lines.push(b"Event", format!("refer;id={}", notifier.cseq).as_bytes());
        let state = match notifier.is_over {
            true => "terminated;reason=noresource".to_owned(),
            false => format!("active;expires={}", limits::TRANSFER.as_secs()),
        };
        lines.push(b"Subscription-State", state.as_bytes());
        // RFC 3515 §2.4.5: a fragment of the response, its status line.
        let fragment = format!("SIP/2.0 {status} {}\r\n", sip::reason_phrase(status));
        let content = Content::fragment(Bytes::from(fragment));
        let client = self.request(context, id, Method::Notify, &lines, Some(&content));
        let Some(leg) = self.legs.get_mut(id) else { return };
        match (client, &mut leg.notifier) {
            (Some(_), Some(notifier)) => notifier.client = client,
            // There is no way to the subscriber.
            (_, notifier) => *notifier = None,
        }
        self.bury(id);
    }

    /// Drops a leg that has ended, once it waits for nothing more.
    pub(super) fn bury(&mut self, id: LegId) {
        let is_over = |leg: &Leg| leg.stage == Stage::Ending && leg.requests.is_empty() && leg.notifier.is_none();
        if self.legs.get(id).is_some_and(is_over) {
            self.legs.remove(id);
        }
    }

    /// True until the last NOTIFY is answered, or one was refused.
    pub fn is_notifying(&self, id: LegId) -> bool {
        self.legs.get(id).is_some_and(|leg| leg.notifier.is_some())
    }

    /// The answer to a NOTIFY, or none. A refusal ends the subscription (RFC 6665 §4.2.2), never the call.
    pub(super) fn notified(
        &mut self,
        context: &mut Context<'_>,
        id: LegId,
        client: ClientId,
        response: Result<&Message, u16>,
    ) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(notifier) = leg.notifier.as_mut().filter(|notifier| notifier.client == Some(client)) else { return };
        notifier.client = None;
        let is_taken = response.is_ok_and(|response| response.code() < 300);
        if let (true, false) = (is_taken, notifier.is_over) {
            if let Some(status) = notifier.next.take() {
                self.notify(context, id, status);
            }
            return;
        }
        leg.notifier = None;
        self.report(id, Event::Notified);
    }

    /// The leg whose dialog has that name.
    pub fn leg_named(&self, name: &Replaces<'_>) -> Option<LegId> {
        let id = super::uas::leg_of_tag(name.to_tag)?;
        self.legs.get(id).filter(|leg| leg.dialog.is_named(name)).map(|_| id)
    }

    /// Gives a leg to another call.
    pub fn adopt(&mut self, id: LegId, call: super::CallId) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.call = Some(call);
        }
    }
}
