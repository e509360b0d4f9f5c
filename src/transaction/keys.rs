//! By which bytes a request finds its server transaction (RFC 3261 §17.2.3, §8.2.2.2, §9.2).
//! Every part is preceded by its length, so that no two requests can be made to share a key.

use super::branch::COOKIE;
use crate::sip::{Message, Method, Name};

/// Which rule a key follows: its first byte.
#[derive(Clone, Copy)]
enum Rule {
    /// RFC 3261 §17.2.3: branch, sent-by, method.
    Branch = 1,
    /// RFC 3261 §17.2.3 for peers of RFC 2543: Request-URI, tags, Call-ID, CSeq, top Via.
    Old = 2,
    /// The ACK of such a peer: with the To tag of the response.
    OldAck = 3,
    /// RFC 3261 §8.2.2.2: From tag, Call-ID, CSeq.
    Merged = 4,
}

/// A buffer for one key after the other.
#[derive(Default)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key of the transaction that `request` belongs to; that of the INVITE for an ACK or a CANCEL.
    pub fn of(&mut self, request: &Message) -> &[u8] {
        let via = request.top_via();
        let Some(branch) = via.branch().filter(|branch| has_cookie(branch)) else {
            let is_ack = request.method() == Method::Ack;
            return self.old(if is_ack { Rule::OldAck } else { Rule::Old }, request, request.to_tag());
        };
        self.begin(Rule::Branch).part(branch).host(via.host).part(&via.port.unwrap_or(0).to_be_bytes());
        self.part(method(request));
        &self.0
    }

    /// The key by which the ACK of an RFC 2543 peer will come to the non-2xx response with `to_tag`.
    pub fn of_old_ack(&mut self, invite: &Message, to_tag: Option<&[u8]>) -> &[u8] {
        self.old(Rule::OldAck, invite, to_tag)
    }

    /// The key that all branches of one request share; `None` within dialogs, where nothing is merged.
    pub fn merged(&mut self, request: &Message) -> Option<&[u8]> {
        if request.to_tag().is_some() {
            return None;
        }
        self.begin(Rule::Merged).part(request.from_tag().unwrap_or_default()).part(request.call_id());
        self.part(&request.cseq().to_be_bytes()).part(method(request));
        Some(&self.0)
    }

    fn old(&mut self, rule: Rule, request: &Message, to_tag: Option<&[u8]>) -> &[u8] {
        self.begin(rule).part(request.request_uri()).part(request.from_tag().unwrap_or_default());
        self.part(to_tag.unwrap_or_default()).part(request.call_id()).part(&request.cseq().to_be_bytes());
        self.part(method(request)).part(request.header(Name::Via).unwrap_or_default());
        &self.0
    }

    fn begin(&mut self, rule: Rule) -> &mut Self {
        self.0.clear();
        self.0.push(rule as u8);
        self
    }

    fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&bytes.len().to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// A host name: case does not matter.
    fn host(&mut self, host: &[u8]) -> &mut Self {
        self.part(host);
        let start = self.0.len().saturating_sub(host.len());
        if let Some(written) = self.0.get_mut(start..) {
            written.make_ascii_lowercase();
        }
        self
    }
}

/// True where the branch alone tells transactions apart: the peer is one of RFC 3261.
pub(super) fn has_branch(request: &Message) -> bool {
    request.top_via().branch().is_some_and(has_cookie)
}

/// A branch that is the cookie alone is no better than none (RFC 4475 §3.2.1).
fn has_cookie(branch: &[u8]) -> bool {
    branch.len() > COOKIE.len() && branch.get(..COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE))
}

/// The method, where ACK and CANCEL stand for the INVITE they are about (RFC 3261 §9.2, §17.2.3).
fn method(request: &Message) -> &[u8] {
    match request.method() {
        Method::Ack | Method::Cancel => b"INVITE",
        _ => request.method_name(),
    }
}
