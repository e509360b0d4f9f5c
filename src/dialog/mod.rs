//! Dialogs (RFC 3261 §12): who talks to whom under which identifiers, how the next request of one finds its way, what was
//! offered and answered in it, and the timer of its session.
//! One dialog belongs to one leg; nothing of it ever crosses to the other leg (RFC 7092).

mod offers;
mod route;
mod session_timer;

use std::fmt;

use crate::sip::uri::requestable;
use crate::sip::{Message, Name, Replaces, Writer};

pub use offers::{Exchange, Offers};
pub use route::RouteSet;
pub use session_timer::{Keeper, LEAST_INTERVAL, SessionTimer, Terms};

/// The state of RFC 3261 §12: identifiers, sequence numbers, remote target, route set.
pub struct Dialog {
    call_id: Box<[u8]>,
    /// Our From (To, where the peer began) with our tag, as it stands in requests we send.
    local: Box<[u8]>,
    /// The peer's header value; with its tag once known.
    remote: Box<[u8]>,
    local_tag: Box<[u8]>,
    /// Empty until the first response that carries one.
    remote_tag: Box<[u8]>,
    remote_target: Box<[u8]>,
    routes: RouteSet,
    local_cseq: u32,
    remote_cseq: u32,
    /// Number of the last reliable provisional response taken (RFC 3262 §4); 0 before the first.
    rseq: u32,
    pub offers: Offers,
    /// The exchange of the first INVITE is complete, or open in a reliable provisional response: its other responses carry
    /// no description that counts (RFC 6337 §3.1).
    pub negotiated: bool,
    /// The peer takes UPDATE (RFC 3311 §4).
    pub takes_update: bool,
}

/// How a received request stands to the numbering of its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    InOrder,
    /// RFC 3261 §12.2.2: lower than seen; answered 500.
    OutOfOrder,
}

impl Dialog {
    /// The dialog an INVITE from a peer will form (§12.1.1). `local_tag` is ours.
    pub fn from_request(invite: &Message, local_tag: &[u8]) -> Self {
        let mut local = unfolded(invite.header(Name::To)).into_vec();
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(local_tag);
        Self {
            call_id: invite.call_id().into(),
            local: local.into(),
            remote: unfolded(invite.header(Name::From)),
            local_tag: local_tag.into(),
            remote_tag: invite.from_tag().unwrap_or_default().into(),
            remote_target: target_of(invite).unwrap_or_else(|| invite.from().uri.into()),
            routes: RouteSet::from_request(invite),
            local_cseq: 0,
            remote_cseq: invite.cseq(),
            rseq: 0,
            offers: Offers::default(),
            negotiated: false,
            takes_update: false,
        }
    }

    /// The dialog an INVITE of ours will form (§12.1.2); `local` and `remote` are whole header values, `local` with our tag.
    pub fn to_target(call_id: &[u8], local: &[u8], local_tag: &[u8], remote: &[u8], target: &[u8]) -> Self {
        Self {
            call_id: call_id.into(),
            local: local.into(),
            remote: remote.into(),
            local_tag: local_tag.into(),
            remote_tag: Box::default(),
            remote_target: requestable(target).into(),
            routes: RouteSet::default(),
            local_cseq: 0,
            remote_cseq: 0,
            rseq: 0,
            offers: Offers::default(),
            negotiated: false,
            takes_update: false,
        }
    }

    /// Requests take this way until a response says which (RFC 3327 §5.4).
    pub fn preload(&mut self, path: &str) {
        if !path.is_empty() {
            self.routes = RouteSet::from_path(path);
        }
    }

    /// The dialog another branch of a forked INVITE of ours, of number `cseq`, forms (§13.2.2.4): our half of this one, and no
    /// peer yet. What the INVITE offered waits for its answer on each branch (RFC 6337 §2.1).
    pub fn fork(&self, cseq: u32, offered: bool) -> Self {
        let offers = match (self.negotiated, offered) {
            (false, _) => self.offers.clone(),
            (true, true) => Offers::open(self.offers.ours().clone()),
            (true, false) => Offers::default(),
        };
        Self {
            call_id: self.call_id.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            local_tag: self.local_tag.clone(),
            remote_tag: Box::default(),
            remote_target: self.remote_target.clone(),
            routes: RouteSet::default(),
            local_cseq: cseq,
            remote_cseq: 0,
            rseq: 0,
            offers,
            negotiated: false,
            takes_update: false,
        }
    }

    /// Takes the peer's tag, target and route set from a response that forms (or confirms) the dialog (§12.1.2, §13.2.2.4).
    pub fn establish(&mut self, response: &Message) {
        if let Some(tag) = response.to_tag() {
            self.remote_tag = tag.into();
            self.remote = unfolded(response.header(Name::To));
        }
        self.refresh_target(response);
        self.routes = RouteSet::from_response(response);
    }

    /// Target refresh by re-INVITE or UPDATE and their 2xx (§12.2.1.2, §12.2.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = target_of(message) {
            self.remote_target = target;
        }
    }

    /// True when `request` carries this dialog's identifiers, seen from our side (§12.2.2).
    pub fn owns(&self, request: &Message) -> bool {
        *request.call_id() == *self.call_id
            && request.to_tag() == Some(&*self.local_tag)
            && *request.from_tag().unwrap_or_default() == *self.remote_tag
    }

    /// True when these are its identifiers (RFC 3891 §3).
    pub fn is_named(&self, name: &Replaces<'_>) -> bool {
        *self.call_id == *name.call_id && *self.local_tag == *name.to_tag && *self.remote_tag == *name.from_tag
    }

    /// Checks and takes the CSeq of a request inside the dialog (§12.2.2).
    pub fn advance(&mut self, cseq: u32) -> Order {
        if cseq < self.remote_cseq {
            return Order::OutOfOrder;
        }
        self.remote_cseq = cseq;
        Order::InOrder
    }

    /// Goes on with the numbering of `other`, which is this dialog as it was before.
    pub fn skip_to(&mut self, other: &Self) {
        self.local_cseq = self.local_cseq.max(other.local_cseq);
    }

    /// Takes the number of a reliable provisional response: false for a repetition, and for one that overtook another (RFC 3262 §4).
    pub fn take_rseq(&mut self, rseq: u32) -> bool {
        let is_next = self.rseq == 0 || self.rseq.checked_add(1) == Some(rseq);
        if is_next {
            self.rseq = rseq;
        }
        is_next
    }

    /// True when a reliable provisional response has come in it.
    pub fn is_reliable(&self) -> bool {
        self.rseq > 0
    }

    /// The number for the next request of ours (§12.2.1.1).
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// True when proxies stand between.
    pub fn has_routes(&self) -> bool {
        self.routes.first_uri().is_some()
    }

    /// The peer's header value, its target and the Call-ID.
    pub fn peer(&self) -> (&[u8], &[u8], &[u8]) {
        (&self.remote, &self.remote_target, &self.call_id)
    }

    pub fn local_tag(&self) -> &[u8] {
        &self.local_tag
    }

    pub fn remote_tag(&self) -> &[u8] {
        &self.remote_tag
    }

    /// The URI the next request is sent towards: the first route, else the remote target (§12.2.1.1, §16.12).
    pub fn next_hop(&self) -> &[u8] {
        self.routes.first_uri().unwrap_or(&self.remote_target)
    }

    /// Prints request line and the headers every request of the dialog has, up to CSeq.
    pub fn print_request(&self, writer: &mut Writer, method: &str, cseq: u32, via: fmt::Arguments<'_>) {
        writer.request(method.as_bytes(), self.routes.request_uri(&self.remote_target));
        writer.header_fmt("Via", via);
        writer.header("Max-Forwards", b"70");
        self.routes.print(writer, &self.remote_target);
        writer.header("From", &self.local);
        writer.header("To", &self.remote);
        writer.header("Call-ID", &self.call_id);
        writer.header_fmt("CSeq", format_args!("{cseq} {method}"));
    }
}

fn target_of(message: &Message) -> Option<Box<[u8]>> {
    message.contact().map(|contact| requestable(contact.uri).into())
}

fn unfolded(value: Option<&[u8]>) -> Box<[u8]> {
    crate::sip::unfold(value.unwrap_or_default()).into_owned().into()
}

#[cfg(test)]
mod tests;
