//! What a message must have before anybody above looks at it (RFC 3261 §8.1.1, §8.2, RFC 4475).

use super::scan::Span;
use super::text::{decimal, is_space, is_token, trim_start, values};
use super::{Fault, Message, Method, Name, NameAddr, Uri, Via};

/// Fills in what only checking finds (CSeq, Max-Forwards, the end of the body). `fault` is what the scan found.
pub(super) fn run(message: &mut Message, fault: Option<Fault>) -> Result<(), Fault> {
    let cseq = cseq(message); // even when faulty: an answer is made from it
    if let Some(fault) = fault {
        return Err(fault);
    }
    singles(message)?;
    cseq?;
    if message.is_request() {
        request_uri(message.request_uri())?;
    }
    via(message)?;
    address(message, Name::From)?;
    address(message, Name::To)?;
    call_id(message)?;
    max_forwards(message)?;
    if message.is_request() {
        contacts(message)?;
    }
    body(message)
}

/// True for a request, other than ACK, with all that an answer copies (RFC 3261 §8.2.6.2) and a Via to send it by.
pub(super) fn answerable(message: &Message) -> bool {
    let filled = |name: &Name| message.header(*name).is_some_and(|value| !value.is_empty());
    message.is_request()
        && message.method != Method::Ack
        && !message.method_name().is_empty()
        && [Name::From, Name::To, Name::CallId, Name::CSeq].iter().all(filled)
        && via(message).is_ok()
}

fn singles(message: &Message) -> Result<(), Fault> {
    let mut seen = 0_u128;
    for line in message.lines.iter().filter(|line| line.name.is_single()) {
        if seen & line.name.bit() != 0 {
            return Err(Fault::Duplicate(line.name));
        }
        seen |= line.name.bit();
    }
    Ok(())
}

/// RFC 3261 §8.1.1.5, §20.16: a 32-bit number, white space, the method.
fn cseq(message: &mut Message) -> Result<(), Fault> {
    let fault = Fault::Value(Name::CSeq);
    let value = message.header(Name::CSeq).ok_or(Fault::Missing(Name::CSeq))?;
    let gap = value.iter().position(|&byte| is_space(byte)).ok_or(fault)?;
    let (number, rest) = value.split_at_checked(gap).ok_or(fault)?;
    let number = decimal(number).and_then(|number| u32::try_from(number).ok()).ok_or(fault)?;
    let token = trim_start(rest);
    if !is_token(token) {
        return Err(fault);
    }
    if message.is_request() {
        if token != message.method_name() {
            return Err(Fault::CseqMethod { known: message.method != Method::Other });
        }
    } else {
        let end =
            message.lines.iter().find(|line| line.name == Name::CSeq).map_or(0, |line| usize::from(line.value.end));
        let (method, name) = (Method::from_bytes(token), Span::new(end - token.len().min(end), end));
        (message.method, message.method_name) = (method, name);
    }
    message.cseq = number;
    Ok(())
}

/// A URI of any scheme; of `sip` and `sips`, well-formed and without headers (RFC 3261 §19.1.1, RFC 4475 §3.1.2.11).
fn request_uri(text: &[u8]) -> Result<(), Fault> {
    let uri = Uri::parse(text).map_err(|_| Fault::RequestUri)?;
    if uri.is_sip() && !uri.headers.is_empty() { Err(Fault::RequestUri) } else { Ok(()) }
}

fn via(message: &Message) -> Result<(), Fault> {
    let line = message.header(Name::Via).ok_or(Fault::Missing(Name::Via))?;
    let first = values(line).next().ok_or(Fault::Value(Name::Via))?;
    Via::parse(first).map(|_| ()).map_err(|_| Fault::Value(Name::Via))
}

/// From or To. A tag without a value would hide the one that an answer adds (RFC 3261 §25.1 `tag-param`).
fn address(message: &Message, name: Name) -> Result<(), Fault> {
    let value = message.header(name).ok_or(Fault::Missing(name))?;
    let address = NameAddr::parse(value).map_err(|_| Fault::Value(name))?;
    let empty = address.params.has("tag") && address.tag().is_none();
    if empty { Err(Fault::Value(name)) } else { Ok(()) }
}

/// `word [ "@" word ]`: here, anything without white space.
fn call_id(message: &Message) -> Result<(), Fault> {
    let value = message.header(Name::CallId).ok_or(Fault::Missing(Name::CallId))?;
    let good = !value.is_empty() && value.iter().all(|&byte| byte > b' ');
    good.then_some(()).ok_or(Fault::Value(Name::CallId))
}

/// RFC 3261 §20.22: 0 to 255. A peer of RFC 2543 sends none.
fn max_forwards(message: &mut Message) -> Result<(), Fault> {
    let Some(value) = message.header(Name::MaxForwards) else { return Ok(()) };
    let hops = decimal(value).and_then(|hops| u8::try_from(hops).ok());
    message.max_forwards = Some(hops.ok_or(Fault::Value(Name::MaxForwards))?);
    Ok(())
}

fn contacts(message: &Message) -> Result<(), Fault> {
    let good = |value: &[u8]| value == b"*" || NameAddr::parse(value).is_ok();
    message.values(Name::Contact).all(good).then_some(()).ok_or(Fault::Value(Name::Contact))
}

/// RFC 3261 §18.3: shorter than promised is an error; what is behind the promised end is dropped.
fn body(message: &mut Message) -> Result<(), Fault> {
    let Some(value) = message.header(Name::ContentLength) else { return Ok(()) };
    let length = decimal(value).ok_or(Fault::Value(Name::ContentLength))?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(usize::from(message.body)));
    match end.filter(|&end| end <= message.bytes.len()) {
        Some(end) => {
            message.bytes.truncate(end);
            Ok(())
        }
        None => Err(Fault::ShortBody),
    }
}
