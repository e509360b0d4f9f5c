//! What a trunk sees of a call: an allow list, the temporary number, and nothing else of the caller (SPEC §4).

use compact_str::CompactString;

use super::dialling::Dialling;
use crate::base::E164;
use crate::config::{Aor, Config, Identity, Trunk, never_crosses};
use crate::media::has_address;
use crate::sip::{Lines, Message, Name, NameAddr, Uri};
use crate::ua::Leg;

/// Texts that would tell who calls. Compared without case.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<Box<[u8]>>);

/// Shorter texts are everywhere and tell nothing.
const TELLING: usize = 3;

impl Secrets {
    /// What `message` of a phone and the configuration tell of its user: user part, own number, words of the display name, hosts, Call-ID.
    pub fn of(message: &Message, user: Option<&Aor>, number: Option<E164>) -> Self {
        let mut secrets = Self::default();
        let phone = if message.is_request() { message.from() } else { message.to() };
        for word in phone.display.split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric()) {
            secrets.add(word);
        }
        secrets.add_uri(phone.uri);
        if let Some(contact) = message.contact() {
            secrets.add_uri(contact.uri);
        }
        secrets.add(message.call_id());
        secrets.add_user(user, number);
        secrets
    }

    /// The same of the phone behind `leg`, from its dialog.
    pub fn of_peer(leg: &Leg, user: Option<&Aor>, number: Option<E164>) -> Self {
        let mut secrets = Self::default();
        let (address, target, call_id) = leg.peer();
        if let Ok(phone) = NameAddr::parse(address) {
            for word in phone.display.split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric()) {
                secrets.add(word);
            }
            secrets.add_uri(phone.uri);
        }
        secrets.add_uri(target);
        secrets.add(call_id);
        secrets.add_user(user, number);
        secrets
    }

    fn add_user(&mut self, user: Option<&Aor>, number: Option<E164>) {
        if let Some(user) = user {
            self.add(user.user().trim_start_matches('+').as_bytes());
        }
        if let Some(number) = number {
            self.add(number.to_string().trim_start_matches('+').as_bytes());
        }
    }

    fn add_uri(&mut self, uri: &[u8]) {
        let Ok(uri) = Uri::parse(uri) else { return };
        self.add(uri.user);
        // Without the brackets of an IPv6 address: session descriptions have none.
        self.add(uri.host.text().trim_matches(['[', ']']).as_bytes());
    }

    fn add(&mut self, text: &[u8]) {
        let text = text.trim_ascii();
        if text.len() >= TELLING && !self.0.iter().any(|known| **known == *text) {
            self.0.push(text.to_ascii_lowercase().into());
        }
    }

    fn told_by(&self, line: &[u8]) -> bool {
        let line = line.to_ascii_lowercase();
        self.0.iter().any(|secret| contains_word(&line, secret))
    }

    /// A session description without its lines that tell who calls; `None` when there are none. The media's own addresses
    /// stay (SPEC §4: the media address excepted where media is passed through). The o= line is replaced elsewhere.
    pub fn remove_from(&self, description: &[u8]) -> Option<Vec<u8>> {
        let tells = |line: &[u8]| match line {
            // RFC 8866 §5: a parser may throw all of it away for a letter that it does not know.
            [kind, b'=', ..] if !b"vosiuepcbtrzkam".contains(kind) => true,
            // What some parsers take for the end of a line.
            _ if line.trim_ascii_end().iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => true,
            // Names, addresses and texts for people: no call needs them. Nor keys in the clear (RFC 8866 §5.12).
            [b'e' | b'p' | b'i' | b'u' | b'k', b'=', ..] => true,
            [b's', b'=', name @ ..] => !matches!(name.trim_ascii(), b"-" | b""),
            [b'b', b'=', bandwidth @ ..] => !is_bandwidth(bandwidth),
            [b'a', b'=', attribute @ ..] if is_for_people(attribute) => true,
            [b'a', b'=', attribute @ ..] => {
                !is_of_media(attribute) && (self.told_by(attribute) || has_address(attribute))
            }
            _ => false,
        };
        let lines = || description.split_inclusive(|byte| *byte == b'\n');
        lines().any(tells).then(|| {
            let mut kept = Vec::with_capacity(description.len());
            for line in lines() {
                match (tells(line), line) {
                    (false, line) => kept.extend_from_slice(line),
                    // RFC 8866 §5.3: a session has one s= line.
                    (true, [b's', ..]) => kept.extend_from_slice(b"s=-\r\n"),
                    (true, _) => {}
                }
            }
            kept
        })
    }
}

/// The program that made it, and what it is about (RFC 8866 §6.1 to §6.3): User-Agent and Subject by another name.
fn is_for_people(attribute: &[u8]) -> bool {
    [&b"tool:"[..], b"keywds:", b"cat:"].iter().any(|name| attribute.starts_with(name))
}

/// RFC 8866 §5.8, RFC 3556, RFC 3890: of any other kind the name alone may tell something.
fn is_bandwidth(line: &[u8]) -> bool {
    let mut parts = line.trim_ascii_end().splitn(2, |byte| *byte == b':');
    let is_known = parts.next().is_some_and(|kind| [&b"AS"[..], b"CT", b"TIAS", b"RS", b"RR"].contains(&kind));
    is_known && parts.next().is_some_and(|bits| bits.iter().all(u8::is_ascii_digit))
}

/// Attributes the media cannot do without, whatever word the caller's name is.
fn is_of_media(attribute: &[u8]) -> bool {
    const OF_MEDIA: [&[u8]; 21] = [
        b"rtpmap",
        b"fmtp",
        b"ptime",
        b"maxptime",
        b"sendrecv",
        b"sendonly",
        b"recvonly",
        b"inactive",
        b"rtcp",
        b"rtcp-mux",
        b"rtcp-fb",
        b"crypto",
        b"fingerprint",
        b"setup",
        b"mid",
        b"candidate",
        b"remote-candidates",
        b"path",
        b"source-filter",
        b"ice-ufrag",
        b"ice-pwd",
    ];
    let name = attribute.split(|byte| b": \r\n".contains(byte)).next().unwrap_or_default();
    OF_MEDIA.contains(&name)
}

fn contains_word(line: &[u8], word: &[u8]) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    memchr::memmem::find_iter(line, word).any(|at| {
        let before = at.checked_sub(1).and_then(|at| line.get(at));
        is_edge(before) && is_edge(line.get(at + word.len()))
    })
}

/// The header lines an INVITE to `trunk` carries beyond those every INVITE has: identity and what the allow list lets pass. A bare
/// one has nothing that tells where the caller is, or points into a body.
pub(super) fn lines_for(trunk: &Trunk, dialling: &Dialling, host: &str, is_bare: bool) -> Lines {
    let mut lines = Lines::default();
    let user = dialling.identity();
    let is_number = user.starts_with('+');
    if matches!(trunk.identity, Identity::Sip | Identity::Both) || !is_number {
        lines.push(b"P-Asserted-Identity", format!("<{}>", sip_identity(user, host)).as_bytes());
    }
    if matches!(trunk.identity, Identity::Tel | Identity::Both) && is_number {
        lines.push(b"P-Asserted-Identity", format!("<tel:{user}>").as_bytes());
    }
    let Some(invite) = &dialling.invite else { return lines };
    for header in invite.headers() {
        match header.name {
            Name::Geolocation | Name::GeolocationRouting if is_bare => {}
            Name::Geolocation | Name::GeolocationRouting | Name::AcceptLanguage => {
                lines.push(header.raw_name, header.value);
            }
            name if never_crosses(name) || name == Name::CallInfo => {}
            _ => {
                let listed = |allowed: &CompactString| header.raw_name.eq_ignore_ascii_case(allowed.as_bytes());
                if trunk.allow_headers.iter().any(listed) {
                    lines.push(header.raw_name, header.value);
                }
            }
        }
    }
    // RFC 7852 §4: emergency call data by reference may cross; other Call-Info tells of the caller.
    let is_listed = trunk.allow_headers.iter().any(|allowed| allowed.eq_ignore_ascii_case("Call-Info"));
    for value in invite.values(Name::CallInfo) {
        let is_wanted = is_emergency_data(value) || (is_listed && !super::i3::is_identifier(value));
        if is_wanted && !(is_bare && pointed_at(value).is_some()) {
            lines.push(b"Call-Info", value);
        }
    }
    lines
}

/// True when an INVITE carries more than its identity and its media to a trunk, which a transfer has to take along.
pub(super) fn is_telling(config: &Config, invite: &Message) -> bool {
    const KEPT: [Name; 4] = [Name::Geolocation, Name::GeolocationRouting, Name::AcceptLanguage, Name::CallInfo];
    let is_multipart = || {
        let kind = invite.content_type().unwrap_or(b"application/sdp");
        !kind.get(..15).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/sdp"))
    };
    let listed = || config.trunks.iter().flat_map(|trunk| &trunk.allow_headers);
    KEPT.iter().any(|name| invite.header(*name).is_some())
        || is_multipart()
        || listed().any(|name| invite.header_named(name).is_some())
}

/// A phone's Reason as a trunk may see it: protocol and cause. Its text is for people, and may name some (RFC 3326 §2); so may a
/// protocol that nobody knows.
pub(super) fn bare_reason(reason: &[u8]) -> Vec<u8> {
    let mut parts = reason.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let is_known = |said: &&[u8]| ["SIP", "Q.850"].iter().any(|known| said.eq_ignore_ascii_case(known.as_bytes()));
    let Some(protocol) = parts.next().filter(is_known) else { return b"SIP".to_vec() };
    let mut bare = protocol.to_vec();
    let digits = |part: &[u8]| {
        let cause = part.strip_prefix(b"cause=")?;
        (cause.len() <= 3 && cause.iter().all(u8::is_ascii_digit)).then(|| cause.to_vec())
    };
    if let Some(cause) = parts.find_map(digits) {
        bare.extend_from_slice(b";cause=");
        bare.extend_from_slice(&cause);
    }
    bare
}

/// The identifier of the part of the body that it points at (RFC 2392).
pub(super) fn pointed_at(value: &[u8]) -> Option<&[u8]> {
    let (scheme, id) = NameAddr::parse(value).ok()?.uri.split_at_checked(4)?;
    scheme.eq_ignore_ascii_case(b"cid:").then_some(id)
}

/// By its purpose, not by what else stands in the value.
fn is_emergency_data(call_info: &[u8]) -> bool {
    const PURPOSE: &[u8] = b"emergencycalldata.";
    let purpose = NameAddr::parse(call_info).ok().and_then(|info| info.params.value("purpose"));
    purpose.and_then(|purpose| purpose.get(..PURPOSE.len())).is_some_and(|start| start.eq_ignore_ascii_case(PURPOSE))
}

/// `sip:+14255551000@host;user=phone`; the parameter on numbers only (RFC 3261 §19.1.1).
pub(super) fn sip_identity(user: &str, host: &str) -> CompactString {
    let phone = if user.starts_with('+') { ";user=phone" } else { "" };
    compact_str::format_compact!("sip:{user}@{host}{phone}")
}
