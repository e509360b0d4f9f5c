//! One binding: an address of record reached at a contact over a flow (RFC 3261 §10.3, RFC 5626 §6).

use std::cmp::Reverse;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::gruu;
use crate::base::Instant;
use crate::config::Country;
use crate::sip::Params;
use crate::transport::{ConnId, Flow, ListenerId};

/// Where a user can be reached. Its texts share one allocation: a daemon holds a hundred thousand of these.
#[derive(Clone, Debug)]
pub struct Binding {
    text: Text,
    /// Where the REGISTER came from; `connection` is `None` once that connection is gone.
    pub flow: Flow,
    /// The connection that was lost, until the phone registers again; only when it was this phone's alone.
    pub(super) lost: Option<ConnId>,
    /// No proxy stands between: its connection is the phone's own.
    pub(super) is_direct: bool,
    /// A proxy stood between, as its REGISTER said since the daemon began.
    pub(super) has_proxy: bool,
    pub expires_at: Instant,
    /// When the last REGISTER renewed it.
    pub refreshed_at: Instant,
    pub cseq: u32,
    /// `reg-id`, kept only beside a `+sip.instance` (RFC 5626 §6).
    pub reg_id: Option<NonZeroU32>,
    pub q: Quality,
    /// `X-Country-Code` of the last REGISTER (SPEC §1).
    pub country: Option<Country>,
    /// False for contacts that are not SIP (`mailto:`, `tel:`): listed, never rung.
    pub rings: bool,
    /// Names the row among those of the same user.
    pub(super) slot: u8,
    /// A refresh that only prolonged it waits to be written.
    pub(super) unwritten: bool,
}

/// The texts of a binding, as the phone wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Parts<'a> {
    pub uri: &'a str,
    /// Contact parameters without `expires`, each with its leading `;`.
    pub params: &'a str,
    pub call_id: &'a str,
    pub user_agent: &'a str,
    /// The proxies on the way to the phone, as Route values (RFC 3327 §5.3); mostly empty.
    pub path: &'a str,
}

#[derive(Clone)]
pub(super) struct Text {
    whole: Box<str>,
    /// Where each part ends; parts are bounded by `limits::KEPT_VALUE_BYTES`.
    ends: [u16; 4],
}

/// The `q` of a contact in thousandths (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Quality(pub u16);

impl Binding {
    pub(super) fn new(parts: Parts<'_>, flow: Flow, slot: u8) -> Self {
        Self {
            text: Text::new(parts),
            flow,
            lost: None,
            is_direct: false,
            has_proxy: false,
            expires_at: Instant::default(),
            refreshed_at: Instant::default(),
            cseq: 0,
            reg_id: None,
            q: Quality::MOST,
            country: None,
            rings: true,
            slot,
            unwritten: false,
        }
    }

    /// The contact URI, byte for byte as registered.
    pub fn contact(&self) -> &str {
        self.text.parts().uri
    }

    /// The Contact parameters other than `expires`, each with its leading `;`.
    pub fn params(&self) -> &str {
        self.text.parts().params
    }

    pub fn call_id(&self) -> &str {
        self.text.parts().call_id
    }

    pub fn user_agent(&self) -> &str {
        self.text.parts().user_agent
    }

    /// The Route that leads to the phone, behind proxies (RFC 3327 §5.4); empty where there are none.
    pub fn path(&self) -> &str {
        self.text.parts().path
    }

    /// `+sip.instance` without its quotes (RFC 5626 §4.1).
    pub fn instance(&self) -> Option<&[u8]> {
        gruu::instance(Params::new(self.params().as_bytes()))
    }

    /// True when this is a binding of the phone that a public GRUU names by `instance` (RFC 5627 §5.4).
    pub fn is_of(&self, instance: &str) -> bool {
        self.instance().is_some_and(|own| gruu::bare(own) == instance.as_bytes())
    }

    /// True when a request on `flow` comes from the very phone of this binding.
    pub fn is_on(&self, flow: &Flow) -> bool {
        FlowKey::of(flow).is_some_and(|key| FlowKey::of(&self.flow) == Some(key))
    }

    /// True when its flow leads to a proxy that finds the phone by its contact: another phone there has another contact. False where
    /// that is not known for certain.
    pub fn is_behind_proxy(&self) -> bool {
        self.has_proxy || !self.path().is_empty()
    }

    /// True when a REGISTER with one of them would renew the other (RFC 5626 §6, RFC 3261 §10.3 step 7).
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let by_flow = self.reg_id.is_some() && self.reg_id == other.reg_id;
        let by_contact = self.reg_id.is_none() || other.reg_id.is_none();
        (by_flow && self.instance().is_some() && self.instance() == other.instance())
            || (by_contact && self.contact() == other.contact())
    }

    /// True for two flows of one phone (RFC 5626 §6).
    pub fn is_beside(&self, other: &Self) -> bool {
        let are_two = self.reg_id.is_some() && other.reg_id.is_some() && self.reg_id != other.reg_id;
        are_two && self.instance() == other.instance()
    }

    /// Its connection is gone.
    pub(super) fn is_cut_off(&self) -> bool {
        self.flow.protocol.is_reliable() && self.flow.connection.is_none()
    }

    /// The order in which a user's bindings are rung.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let is_cut_off = self.is_cut_off();
        (Reverse(self.rings), is_cut_off, Reverse(self.q), Reverse(self.refreshed_at), self.slot)
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        self.text.parts()
    }

    pub(super) fn set_parts(&mut self, parts: Parts<'_>) {
        if self.text.parts() != parts {
            self.text = Text::new(parts);
        }
    }
}

impl Text {
    fn new(parts: Parts<'_>) -> Self {
        let Parts { uri, params, call_id, user_agent, path } = parts;
        let length = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX);
        let first = length(uri);
        let second = first.saturating_add(length(params));
        let third = second.saturating_add(length(call_id));
        let fourth = third.saturating_add(length(user_agent));
        let whole = [uri, params, call_id, user_agent, path].concat().into_boxed_str();
        Self { whole, ends: [first, second, third, fourth] }
    }

    fn parts(&self) -> Parts<'_> {
        let [first, second, third, fourth] = self.ends.map(usize::from);
        let part = |from: usize, to: usize| self.whole.get(from..to).unwrap_or_default();
        Parts {
            uri: part(0, first),
            params: part(first, second),
            call_id: part(second, third),
            user_agent: part(third, fourth),
            path: part(fourth, self.whole.len()),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.parts(), f)
    }
}

impl Quality {
    pub const MOST: Self = Self(1000);

    /// `0.5`, `1`, `0.333`; `None` when it is no qvalue (RFC 3261 §25.1).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (whole, rest) = text.split_first()?;
        let decimals = match rest.split_first() {
            None => rest,
            Some((b'.', decimals)) if decimals.len() <= 3 => decimals,
            Some(_) => return None,
        };
        let mut thousandths = match whole {
            b'0' => 0,
            b'1' => 1000,
            _ => return None,
        };
        let mut unit = 100;
        for digit in decimals {
            let digit = char::from(*digit).to_digit(10)?;
            thousandths += u16::try_from(digit).ok()? * unit;
            unit /= 10;
        }
        (thousandths <= 1000).then_some(Self(thousandths))
    }
}

/// What tells one flow from another: the connection for streams, the two addresses for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlowKey {
    Stream(ConnId),
    Datagram(ListenerId, SocketAddr),
}

impl FlowKey {
    /// `None` for a stream whose connection is gone: nothing can arrive on it.
    pub(super) fn of(flow: &Flow) -> Option<Self> {
        if flow.protocol.is_reliable() {
            flow.connection.map(Self::Stream)
        } else {
            Some(Self::Datagram(flow.listener, flow.remote))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_values_of_the_grammar() {
        let cases: &[(&str, Option<u16>)] = &[
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.333", Some(333)),
            ("0.05", Some(50)),
            ("1.001", None),
            ("0.1234", None),
            ("2", None),
            (".5", None),
            ("0,5", None),
            ("", None),
        ];
        for (text, thousandths) in cases {
            assert_eq!(Quality::parse(text.as_bytes()), thousandths.map(Quality), "{text}");
        }
    }

    #[test]
    fn texts_share_one_allocation_and_come_back_apart() {
        let parts = Parts { uri: "sip:a@b", params: ";q=0.5", call_id: "x", user_agent: "", path: "<sip:p;lr>" };
        assert_eq!(Text::new(parts).parts(), parts);
        assert_eq!(Text::new(Parts::default()).parts(), Parts::default());
    }
}
