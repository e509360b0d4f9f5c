//! By what a browser tells rtpengine's sessions apart. It makes no new association of DTLS for new ICE credentials while the fingerprint
//! stays the same (none knows the tls-id of RFC 8842 §4), and an rtpengine has one certificate for all calls. So what a leg is told by
//! a second session has the fingerprint of another hash (RFC 8122 §5). rtpengine tells that in offers alone: one is asked for by the way.
//! Nor does a browser hear a second session where it has met a first one: it knows that place by other credentials. An rtpengine that
//! begins anew lends its ports from the first one on again, so a place that was one before is not told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use smallvec::SmallVec;

use super::engine::{Purpose, Session, SessionId, tag};
use crate::base::limits;
use crate::call::{Calls, Parts};
use crate::media::Stream;
use crate::media::ng::{Command, HASHES, Profile, Refused, Reply, Told};
use crate::sip::sdp::Sdp;
use crate::ua::LegId;

/// Nobody is told of it.
const NOBODY: &[u8] = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

/// Places that are remembered of a leg.
const PLACES: usize = 8;

/// Where the browsers behind legs have had sessions that are over.
#[derive(Default)]
pub(super) struct Left(BTreeMap<LegId, SmallVec<[SocketAddr; 2]>>);

impl Left {
    /// A session is over.
    pub(super) fn note(&mut self, session: &Session) {
        for known in &session.known {
            let told = if known.by_hub { session.spoke } else { Some(session.hub) };
            let Some((leg, place)) = told.zip(place_of(&known.text)) else { continue };
            let places = self.0.entry(leg).or_default();
            if !places.contains(&place) && places.len() < PLACES {
                places.push(place);
            }
        }
    }

    /// True when what rtpengine has made for a leg leads to one of its places.
    pub(super) fn has(&self, leg: LegId, text: &[u8]) -> bool {
        self.0.get(&leg).zip(place_of(text)).is_some_and(|(places, place)| places.contains(&place))
    }

    /// A leg is over, after its sessions.
    pub(super) fn forget(&mut self, leg: LegId) {
        self.0.remove(&leg);
    }
}

fn place_of(description: &[u8]) -> Option<SocketAddr> {
    let streams = Stream::all(description);
    let stream = streams.iter().find(|stream| stream.port != 0 && stream.is_dtls())?;
    Some(SocketAddr::from((stream.address()?, stream.port)))
}

/// One certificate: `sha-256 …`, and the same by the other hashes where they are known.
pub(super) struct Certificate {
    usual: CompactString,
    others: [Option<CompactString>; 2],
}

impl Certificate {
    fn named(&self, turn: usize) -> Option<&CompactString> {
        let at = (turn % HASHES.len()).checked_sub(1)?;
        self.others.get(at)?.as_ref()
    }
}

impl Calls {
    /// The hash by which the peer of a leg is told of the certificate behind a session: always the same of one session.
    pub(super) fn hash_for(&mut self, leg: LegId, session: SessionId) -> &'static str {
        let legs = self.media.legs.get_mut(&leg);
        let (Some(media), Some(session)) = (legs, self.media.engine.sessions.get_mut(&session)) else {
            return HASHES[0];
        };
        let turn = session.turns.get_mut(usize::from(session.hub != leg)).map_or(0, |turn| {
            *turn.get_or_insert_with(|| {
                media.sessions += 1;
                media.sessions - 1
            })
        });
        HASHES.get(turn % HASHES.len()).copied().unwrap_or(HASHES[0])
    }

    /// What rtpengine has made for a browser, with the fingerprint that is its leg's turn.
    pub(super) fn fingerprinted(
        &mut self,
        parts: &mut Parts<'_>,
        session: SessionId,
        by_hub: bool,
        text: Bytes,
    ) -> Bytes {
        let is_dtls = Stream::all(&text).iter().any(Stream::is_dtls);
        let Some(usual) = fingerprint_of(&text, HASHES[0]).filter(|_| is_dtls) else { return text };
        let Some(state) = self.media.engine.sessions.get(&session) else { return text };
        let turn = state.turns.get(usize::from(by_hub)).copied().flatten().unwrap_or_default();
        let is_new = !state.known.iter().any(|known| known.by_hub == by_hub);
        let instance = state.instance.filter(|_| is_new);
        let known = self.media.engine.certificates.iter().find(|known| known.usual == usual);
        let other = known.and_then(|known| known.named(turn)).cloned();
        // One that is as old as its session.
        if let (None, Some(instance)) = (known, instance) {
            self.ask_certificate(parts, instance, usual.clone());
        }
        let Some(other) = other else {
            // Nor later, for DTLS would begin anew in the middle of it.
            let state = self.media.engine.sessions.get_mut(&session).filter(|_| is_new && turn > 0);
            if let Some(turn) = state.and_then(|state| state.turns.get_mut(usize::from(by_hub))) {
                *turn = Some(0);
            }
            return text;
        };
        String::from_utf8_lossy(&text).replace(&format!("fingerprint:{usual}"), &format!("fingerprint:{other}")).into()
    }

    fn ask_certificate(&mut self, parts: &mut Parts<'_>, instance: SocketAddr, usual: CompactString) {
        let engine = &mut self.media.engine;
        engine.certificates.truncate(limits::RTPENGINE_CERTIFICATES - 1);
        engine.certificates.insert(0, Certificate { usual: usual.clone(), others: [None, None] });
        for (at, hash) in HASHES.into_iter().skip(1).enumerate() {
            let name = format_compact!("sosbridge-{:016x}-{hash}", parts.context.rng.u64());
            let told = Told { description: NOBODY, profile: Profile::Browser, is_ipv4: true, hash };
            let command = Command::Offer { call: &name, from: tag(true), to: None, told };
            let ask = engine.client.ask(parts.context.now, parts.context.rng, Some(instance), &command);
            match ask {
                Some(ask) => {
                    engine.asks.insert(ask, Purpose::Certificate { name, usual: usual.clone(), at });
                }
                None => engine.certificates.retain(|known| known.usual != usual),
            }
        }
    }

    /// An instance has told of its certificate. One that has not is asked again, when it is seen to have it the next time.
    pub(super) fn certificate_told(&mut self, reply: Option<Result<Reply, Refused>>, usual: &CompactString, at: usize) {
        let certificates = &mut self.media.engine.certificates;
        let told = match &reply {
            Some(Ok(Reply::Described(text))) => HASHES.get(at + 1).and_then(|hash| fingerprint_of(text, hash)),
            _ => None,
        };
        match certificates.iter_mut().find(|known| known.usual == *usual).and_then(|known| known.others.get_mut(at)) {
            Some(other) if told.is_some() => *other = told,
            _ => certificates.retain(|known| known.usual != *usual),
        }
    }
}

/// Hash and value.
fn fingerprint_of(description: &[u8], hash: &str) -> Option<CompactString> {
    let mut lines = Sdp::new(description).lines().filter(|line| line.kind == b'a');
    let value = lines.find_map(|line| line.value.strip_prefix(b"fingerprint:")?.strip_prefix(hash.as_bytes()))?;
    let value = std::str::from_utf8(value).ok()?.trim();
    Some(format_compact!("{hash} {value}"))
}
