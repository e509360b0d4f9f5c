//! Route sets, loose and strict (RFC 3261 §12.1, §12.2.1.1).

use crate::sip::{Message, Name, NameAddr, Uri, Writer};

/// Route values in the order our requests carry them; empty for most dialogs.
#[derive(Default)]
pub struct RouteSet(Vec<Box<[u8]>>);

impl RouteSet {
    /// From a request: Record-Route in order (§12.1.1).
    pub fn from_request(request: &Message) -> Self {
        Self(request.values(Name::RecordRoute).map(Into::into).collect())
    }

    /// From a response: Record-Route in reverse order (§12.1.2).
    pub fn from_response(response: &Message) -> Self {
        let mut routes: Vec<_> = response.values(Name::RecordRoute).map(Into::into).collect();
        routes.reverse();
        Self(routes)
    }

    /// From the Path of a registration: one line of values (RFC 3327 §5.4).
    pub fn from_path(path: &str) -> Self {
        Self(crate::sip::list_values(path.as_bytes()).map(Into::into).collect())
    }

    pub fn first_uri(&self) -> Option<&[u8]> {
        self.0.first().map(|route| uri_of(route))
    }

    /// The Request-URI: the target, unless the first hop is a strict router, which wants its own (§12.2.1.1).
    pub fn request_uri<'a>(&'a self, target: &'a [u8]) -> &'a [u8] {
        match self.first_uri() {
            Some(first) if is_strict(first) => first,
            _ => target,
        }
    }

    /// Prints the Route headers; behind a strict router the target is the last of them.
    pub fn print(&self, writer: &mut Writer, target: &[u8]) {
        let strict = self.first_uri().is_some_and(is_strict);
        for route in self.0.iter().skip(usize::from(strict)) {
            writer.header("Route", route);
        }
        if strict {
            let mut last = Vec::with_capacity(target.len() + 2);
            last.push(b'<');
            last.extend_from_slice(target);
            last.push(b'>');
            writer.header("Route", &last);
        }
    }
}

fn uri_of(route: &[u8]) -> &[u8] {
    NameAddr::parse(route).map_or(route, |name_addr| name_addr.uri)
}

fn is_strict(uri: &[u8]) -> bool {
    !Uri::parse(uri).is_ok_and(|uri| uri.params.get("lr").is_some())
}
