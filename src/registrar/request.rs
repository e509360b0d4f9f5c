//! What a REGISTER asks for, read before anything is changed (RFC 3261 §10.3 steps 6 and 7, RFC 5626 §6).

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use smallvec::SmallVec;

use super::binding::{Binding, Parts, Quality};
use super::update::Visit;
use super::{Outcome, Settings, gruu};
use crate::base::limits;
use crate::sip::{Message, Name, NameAddr, Params, Uri, text::decimal, unfold};

/// A value that is not understood counts as one hour (RFC 3261 §20.10, §20.19).
const MALFORMED_EXPIRES: Duration = Duration::from_secs(3600);

/// A request that is not carried out, with the answer to give.
pub(super) type Refusal = Outcome;

pub(super) enum Asked {
    /// No Contact: the list of bindings is wanted.
    List,
    /// `Contact: *` with `Expires: 0`.
    RemoveAll,
    Update(SmallVec<[Wish; 2]>),
}

/// One Contact value.
pub(super) struct Wish {
    pub uri: String,
    /// Contact parameters without `expires`, each with its leading `;`.
    pub params: String,
    /// Zero: remove it.
    pub lifetime: Duration,
    pub reg_id: Option<NonZeroU32>,
    pub q: Quality,
    pub rings: bool,
}

pub(super) const fn refused(status: u16, why: &'static str) -> Refusal {
    Outcome::Refused { status, why }
}

/// Reads all the Contact values; the first bad one refuses the request.
pub(super) fn read(request: &Message, settings: &Settings) -> Result<Asked, Refusal> {
    let expires = request.header(Name::Expires).map(lifetime);
    let mut wishes = SmallVec::new();
    let mut star = false;
    for value in request.values(Name::Contact) {
        if value == b"*" {
            star = true;
            continue;
        }
        if wishes.len() == limits::BINDINGS_PER_USER {
            return Err(refused(403, "too many contacts in one REGISTER"));
        }
        wishes.push(wish(value, expires, settings)?);
    }
    if star {
        let alone = wishes.is_empty() && request.values(Name::Contact).count() == 1;
        return match expires {
            Some(Duration::ZERO) if alone => Ok(Asked::RemoveAll),
            _ => Err(refused(400, "Contact: * goes alone and with Expires: 0")), // RFC 3261 §10.3 step 6
        };
    }
    if wishes.is_empty() {
        return Ok(Asked::List);
    }
    check_outbound(request, &mut wishes)?;
    Ok(Asked::Update(wishes))
}

/// True when `outbound` is asked for: then the answer to a stream says `Require: outbound` (RFC 5626 §6).
pub(super) fn supports_outbound(request: &Message) -> bool {
    request.lists(Name::Supported, "outbound")
}

fn wish(value: &[u8], expires: Option<Duration>, settings: &Settings) -> Result<Wish, Refusal> {
    let bad = || refused(400, "bad Contact");
    let value = unfold(value);
    let address = NameAddr::parse(&value).map_err(|_| bad())?;
    let uri = text(address.uri).ok_or_else(bad)?;
    let params = other_params(address.params).ok_or_else(bad)?;
    let rings = Uri::parse(address.uri).map_err(|_| bad())?.is_sip();
    let requested = address.params.get("expires").map(|value| lifetime(value.unwrap_or_default()));
    let requested = requested.or(expires).unwrap_or(settings.default_expires);
    let instance = gruu::instance(address.params).is_some();
    let reg_id = address.params.value("reg-id").and_then(decimal).and_then(|id| u32::try_from(id).ok());
    Ok(Wish {
        uri: uri.to_owned(),
        params,
        lifetime: granted(requested, settings)?,
        reg_id: reg_id.and_then(NonZeroU32::new).filter(|_| instance), // RFC 5626 §6
        q: address.params.value("q").and_then(Quality::parse).unwrap_or(Quality::MOST),
        rings,
    })
}

/// RFC 3261 §10.3 step 7.
fn granted(requested: Duration, settings: &Settings) -> Result<Duration, Refusal> {
    if requested > Duration::ZERO && requested < Duration::from_secs(3600) && requested < settings.min_expires {
        return Err(Outcome::TooBrief { min: settings.min_expires });
    }
    Ok(requested.min(settings.max_expires))
}

fn lifetime(value: &[u8]) -> Duration {
    decimal(value).map_or(MALFORMED_EXPIRES, |seconds| Duration::from_secs(seconds.min(u64::from(u32::MAX))))
}

/// The Path values of a REGISTER, in their order (RFC 3327 §5.3). A phone that does not know of them may be the victim of a
/// proxy that it did not choose.
pub(super) fn path(request: &Message) -> Result<Cow<'_, str>, Refusal> {
    let mut values = request.values(Name::Path).peekable();
    if values.peek().is_none() {
        return Ok(Cow::Borrowed(""));
    }
    if !request.lists(Name::Supported, "path") {
        return Err(Outcome::Unsupported { extension: "path" });
    }
    let mut path = String::new();
    for value in values {
        let mut value = unfold(value);
        if !value.contains(&b'<') {
            // RFC 3327 §4 wants brackets: without them `lr` would be said of the value, and the proxy be a strict router.
            value = [&b"<"[..], &value[..], b">"].concat().into();
        }
        let is_sip = NameAddr::parse(&value).is_ok_and(|hop| Uri::parse(hop.uri).is_ok_and(|uri| uri.is_sip()));
        let value = text(&value).filter(|value| is_sip && path.len() + value.len() < limits::KEPT_VALUE_BYTES);
        if !path.is_empty() {
            path.push_str(", ");
        }
        path.push_str(value.ok_or_else(|| refused(400, "bad or too long Path"))?);
    }
    Ok(Cow::Owned(path))
}

/// RFC 5626 §6: the proxy that the phone talks to keeps the flow, and says so.
fn has_outbound_proxy(request: &Message) -> bool {
    let is_ob = |hop: &[u8]| {
        let uri = NameAddr::parse(hop).ok().and_then(|hop| Uri::parse(hop.uri).ok());
        uri.is_some_and(|uri| uri.params.get("ob").is_some())
    };
    request.values(Name::Path).any(is_ob)
}

/// A `reg-id` is one flow: other contacts may only leave beside it, and behind a proxy that one has to keep it (RFC 5626 §6).
fn check_outbound(request: &Message, wishes: &mut [Wish]) -> Result<(), Refusal> {
    if wishes.iter().all(|wish| wish.reg_id.is_none()) {
        return Ok(());
    }
    if request.values(Name::Via).count() > 1 && !has_outbound_proxy(request) {
        if supports_outbound(request) {
            return Err(refused(439, "the first hop lacks outbound support")); // RFC 5626 §11.6
        }
        for wish in wishes {
            wish.reg_id = None;
        }
        return Ok(());
    }
    if wishes.iter().filter(|wish| !wish.lifetime.is_zero()).count() > 1 {
        return Err(refused(400, "a contact with reg-id is registered alone"));
    }
    Ok(())
}

/// Text short enough to keep; URIs and parameters are ASCII or UTF-8 (RFC 3261 §25.1).
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > limits::KEPT_VALUE_BYTES {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// User-Agent as one printable line, cut to what we keep.
pub(super) fn user_agent(request: &Message) -> Cow<'_, str> {
    let value = request.header(Name::UserAgent).unwrap_or_default();
    let kept = String::from_utf8_lossy(value.get(..value.len().min(limits::KEPT_VALUE_BYTES)).unwrap_or_default());
    if kept.contains(char::is_control) {
        return Cow::Owned(kept.chars().filter(|letter| !letter.is_control()).collect());
    }
    kept
}

fn other_params(params: Params<'_>) -> Option<String> {
    let mut others = String::new();
    text(params.raw())?;
    // RFC 5627 §5.1: what its own URIs are is not for the phone to say.
    let ours: [&[u8]; 3] = [b"expires", b"pub-gruu", b"temp-gruu"];
    for param in params.iter().filter(|param| !ours.iter().any(|name| param.name.eq_ignore_ascii_case(name))) {
        others.push(';');
        others.push_str(text(param.raw)?);
    }
    Some(others)
}

impl Wish {
    pub fn parts<'a>(&'a self, visit: &Visit<'a>) -> Parts<'a> {
        let Visit { call_id, user_agent, path, .. } = *visit;
        Parts { uri: &self.uri, params: &self.params, call_id, user_agent, path }
    }

    /// The binding this Contact speaks of: same instance and `reg-id` (RFC 5626 §6), else an equal URI (RFC 3261 §19.1.4).
    pub fn find(&self, bindings: &[Binding]) -> Option<usize> {
        let same_flow_of_instance = |binding: &Binding| self.reg_id.is_some() && self.is_flow_of(binding);
        bindings
            .iter()
            .position(same_flow_of_instance)
            .or_else(|| bindings.iter().position(|binding| self.is_at(binding)))
    }

    fn is_flow_of(&self, binding: &Binding) -> bool {
        let instance = gruu::instance(Params::new(self.params.as_bytes()));
        binding.reg_id == self.reg_id && instance.is_some() && binding.instance() == instance
    }

    fn is_at(&self, binding: &Binding) -> bool {
        if binding.reg_id.is_some() && self.reg_id.is_some() {
            return false;
        }
        if self.uri == binding.contact() {
            return true;
        }
        match (Uri::parse(self.uri.as_bytes()), Uri::parse(binding.contact().as_bytes())) {
            (Ok(ours), Ok(theirs)) => ours.matches(&theirs),
            _ => false,
        }
    }
}
