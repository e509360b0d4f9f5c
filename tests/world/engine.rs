//! An rtpengine by script: it remembers calls and gives each stream of each side a port, as the real one does. Commands that
//! make no sense fail the test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sosbridge::media::ng::Value;

/// Where its instances take commands.
pub const NG: &str = "192.0.2.25:2223";
/// Where it has its ports.
pub const PLACE: &str = "192.0.2.25";
pub const PLACE6: &str = "2001:db8::25";

pub struct Engine {
    place: [String; 2],
    /// Its ports.
    range: (u16, u16),
    certificate: u64,
    /// By their names.
    pub calls: BTreeMap<String, Session>,
    /// What was answered to which cookie: a command that is repeated is carried out once.
    answered: BTreeMap<Vec<u8>, Bytes>,
    last: u16,
    /// Offers and answers that were carried out.
    pub offers: usize,
    pub answers: usize,
}

/// A pair of legs.
#[derive(Debug, Default)]
pub struct Session {
    /// Who made the last offer.
    offerer: String,
    /// Its protocols, stream by stream.
    protocols: Vec<String>,
    ports: BTreeMap<(String, usize), u16>,
    /// The last offer was answered.
    pub is_answered: bool,
    /// What each side said last.
    pub said: BTreeMap<String, String>,
    /// ICE toward each side: its name there, and ours.
    ice: BTreeMap<String, (String, u64)>,
    /// By what each side is told of the certificate, once it was offered so.
    hashes: BTreeMap<String, String>,
}

impl Session {
    /// A side that offers another name begins anew, and so do we; one that answers does so alone.
    fn hear(&mut self, side: &str, sdp: &str, is_offer: bool) {
        let Some(name) = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")) else { return };
        let (theirs, ours) = self.ice.entry(side.to_owned()).or_insert_with(|| (String::new(), fresh()));
        if is_offer && !theirs.is_empty() && theirs != name {
            *ours = fresh();
        }
        name.clone_into(theirs);
    }

    /// What a browser on a side is told.
    fn web(&mut self, side: &str, certificate: u64) -> String {
        let name = self.ice.entry(side.to_owned()).or_insert_with(|| (String::new(), fresh())).1;
        let hash = self.hashes.get(side).map_or("sha-256", String::as_str);
        let setup = if self.is_answered { "passive" } else { "actpass" };
        format!("\r\na=ice-ufrag:{name}\r\na=fingerprint:{hash} {certificate:02X}:{}\r\na=setup:{setup}", &hash[4..])
    }
}

/// No name of ICE is given twice, not by another engine either.
fn fresh() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn word<'v>(command: &'v Value<'_>, key: &str) -> &'v str {
    let text = command.get(key).and_then(Value::text).unwrap_or_default();
    std::str::from_utf8(text).unwrap()
}

impl Default for Engine {
    fn default() -> Self {
        Self::new([PLACE, PLACE6], (30_000, 49_999))
    }
}

impl Engine {
    /// An address of each family, and the first and last of its ports.
    pub fn new(place: [&str; 2], range: (u16, u16)) -> Self {
        Self {
            place: place.map(str::to_owned),
            range,
            certificate: fresh(),
            calls: BTreeMap::new(),
            answered: BTreeMap::new(),
            last: range.0,
            offers: 0,
            answers: 0,
        }
    }

    /// What it answers to a datagram.
    pub fn asked(&mut self, datagram: &[u8]) -> Bytes {
        let at = datagram.iter().position(|byte| *byte == b' ').expect("a cookie");
        let (cookie, command) = datagram.split_at(at);
        if let Some(answered) = self.answered.get(cookie) {
            return answered.clone();
        }
        let command = Value::read(&command[1..]).unwrap();
        let said = self.obey(&command);
        let mut reply = [cookie, b" "].concat();
        said.as_value().write(&mut reply);
        let reply = Bytes::from(reply);
        self.answered.insert(cookie.to_vec(), reply.clone());
        reply
    }

    fn obey(&mut self, command: &Value<'_>) -> Said {
        let call = word(command, "call-id").to_owned();
        match word(command, "command") {
            "ping" => Said::Word("pong"),
            "delete" => {
                // One that was asked for and never answered need not be here.
                self.calls.remove(&call);
                Said::Word("ok")
            }
            "query" if self.calls.contains_key(&call) => Said::Word("ok"),
            "offer" => {
                self.offers += 1;
                Said::Sdp(self.offer(call, command))
            }
            "answer" if self.calls.contains_key(&call) => {
                self.answers += 1;
                Said::Sdp(self.answer(&call, command))
            }
            "query" | "answer" => Said::Error("Unknown call-id"),
            other => panic!("{other}: {command:?}"),
        }
    }

    fn offer(&mut self, call: String, command: &Value<'_>) -> String {
        let (from, sdp) = (word(command, "from-tag").to_owned(), word(command, "sdp"));
        let session = self.calls.entry(call).or_default();
        session.offerer.clone_from(&from);
        session.is_answered = false;
        session.said.insert(from.clone(), sdp.to_owned());
        session.hear(&from, sdp, true);
        session.protocols = protocols(sdp);
        let hash = word(command, "DTLS-fingerprint");
        if !hash.is_empty() {
            session.hashes.insert(other(&from).to_owned(), hash.to_owned());
        }
        let wanted = word(command, "transport-protocol");
        let protocols: Vec<String> = session.protocols.iter().map(|own| changed(own, wanted)).collect();
        let place = place(&self.place, word(command, "address-family"));
        rewrite(session, (&mut self.last, self.range), &from, sdp, &protocols, &place, self.certificate)
    }

    fn answer(&mut self, call: &str, command: &Value<'_>) -> String {
        let (from, to, sdp) = (word(command, "from-tag"), word(command, "to-tag"), word(command, "sdp"));
        let session = self.calls.get_mut(call).unwrap();
        assert_eq!(session.offerer, from, "whose offer is answered in {call}");
        session.is_answered = true;
        session.said.insert(to.to_owned(), sdp.to_owned());
        session.hear(to, sdp, false);
        let protocols = session.protocols.clone();
        let place = place(&self.place, word(command, "address-family"));
        rewrite(session, (&mut self.last, self.range), to, sdp, &protocols, &place, self.certificate)
    }

    /// Whose port this is: a call, and the side that is described by it.
    pub fn owner(&self, port: u16) -> Option<(&Session, &str)> {
        let its = |session: &'_ Session| {
            let own = session.ports.iter().find(|(_, own)| **own == port);
            own.map(|((side, _), _)| side.clone())
        };
        self.calls.values().find_map(|session| {
            let side = its(session)?;
            Some((session, if side == "hub" { "hub" } else { "spoke" }))
        })
    }
}

fn other(side: &str) -> &'static str {
    if side == "hub" { "spoke" } else { "hub" }
}

fn place(places: &[String; 2], family: &str) -> String {
    if family == "IP6" { format!("IN IP6 {}", places[1]) } else { format!("IN IP4 {}", places[0]) }
}

enum Said {
    Word(&'static str),
    Sdp(String),
    Error(&'static str),
}

impl Said {
    fn as_value(&self) -> Value<'_> {
        let result = |word: &'static str| (&b"result"[..], Value::Text(word.as_bytes()));
        Value::Table(match self {
            Self::Word(word) => vec![result(word)],
            Self::Sdp(text) => vec![(b"sdp", Value::Text(text.as_bytes())), result("ok")],
            Self::Error(reason) => {
                vec![(b"error-reason", Value::Text(reason.as_bytes())), result("error")]
            }
        })
    }
}

fn protocols(sdp: &str) -> Vec<String> {
    let streams = sdp.lines().filter(|line| line.starts_with("m="));
    streams.map(|line| line.split(' ').nth(2).unwrap_or_default().to_owned()).collect()
}

fn changed(own: &str, wanted: &str) -> String {
    let is_rtp = own.contains("RTP/") && !wanted.is_empty();
    if is_rtp { wanted.to_owned() } else { own.to_owned() }
}

fn rewrite(
    session: &mut Session,
    (last, range): (&mut u16, (u16, u16)),
    side: &str,
    sdp: &str,
    protocols: &[String],
    place: &str,
    certificate: u64,
) -> String {
    let mut text = String::new();
    let mut at = 0;
    // It knows of later candidates from the lines of a stream alone.
    let is_held = !sdp.split("\nm=").skip(1).any(|stream| stream.contains("a=ice-options:trickle"));
    for line in sdp.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let line = match fields[..] {
            [kind, port, _, ..] if kind.starts_with("m=") => {
                let own = (side.to_owned(), at);
                let port = match port.split('/').next() {
                    Some("0") => 0,
                    _ => *session.ports.entry(own).or_insert_with(|| {
                        *last = if *last + 3 < range.1 { *last + 2 } else { range.0 };
                        *last
                    }),
                };
                let protocol = protocols.get(at).map_or(fields[2], String::as_str);
                at += 1;
                let is_web = port != 0 && protocol.starts_with("UDP/TLS/");
                let web = if is_web { session.web(other(side), certificate) } else { String::new() };
                format!("{kind} {port} {protocol} {}{web}", fields[3..].join(" "))
            }
            _ if line.starts_with("c=") && !(is_held && (line.ends_with(" 0.0.0.0") || line.ends_with(" ::"))) => {
                format!("c={place}")
            }
            [_, id, version, ..] if line.starts_with("o=") => format!("o=- {id} {version} {place}"),
            _ if ["a=candidate", "a=ice-", "a=rtcp:", "a=end-of-candidates", "a=fingerprint:", "a=setup:"]
                .iter()
                .any(|own| line.starts_with(own)) =>
            {
                continue;
            }
            _ => line.to_owned(),
        };
        text += &format!("{line}\r\n");
    }
    text
}
