//! What every message of the daemon looks like to a stranger: whole, numbered in order, one session line a leg (RFC 3261 §8.1,
//! §12.2.1.1; RFC 3264 §8; CONFORMANCE DI-1, OA-9).

use std::collections::{BTreeMap, BTreeSet};

use crate::text::{Msg, bare};

/// One leg of the daemon, by Call-ID, as its peer sees it.
#[derive(Default)]
struct Side {
    cseq: u32,
    branch: String,
    invites: BTreeSet<u32>,
    /// Session id, version, and the description without its origin.
    session: Option<(String, u64, String)>,
    seen: BTreeSet<String>,
    /// A connection was lost, and perhaps a description that was for it.
    is_patchy: bool,
}

#[derive(Default)]
pub struct Manners {
    sides: BTreeMap<String, Side>,
}

impl Manners {
    pub fn crashed(&mut self) {
        self.sides.clear();
    }

    pub fn connection_lost(&mut self) {
        self.sides.values_mut().for_each(|side| side.is_patchy = true);
    }

    pub fn check(&mut self, message: &Msg) -> Result<(), String> {
        whole(message).map_err(|sin| format!("{sin} in {:?}", message.start))?;
        let side = self.sides.entry(message.call_id().to_owned()).or_default();
        if message.code() == 0 {
            side.count(message).map_err(|sin| format!("{sin} in {:?} of {}", message.start, message.call_id()))?;
        }
        if message.body.starts_with("v=0") && side.seen.insert(format!("{}{}", message.start, message.body)) {
            side.describe(&message.body).map_err(|sin| format!("{sin} in {:?}: {}", message.start, message.body))?;
        }
        Ok(())
    }
}

/// The headers that every message needs, each once, and a body as long as it says.
fn whole(message: &Msg) -> Result<(), String> {
    let method = message.method();
    for name in ["From", "To", "Call-ID", "CSeq", "Content-Length"] {
        if message.all(name).count() != 1 {
            return Err(format!("not one {name}"));
        }
    }
    if message.get("Content-Length") != message.body.len().to_string() {
        return Err("Content-Length lies".to_owned());
    }
    match message.code() {
        0 if message.get("Max-Forwards") != "70" => Err("Max-Forwards is not 70".to_owned()),
        0 if !message.branch().starts_with("z9hG4bK") => Err("a branch without cookie".to_owned()),
        0 if !message.get("From").contains(";tag=") => Err("From without tag".to_owned()),
        0 if message.all("Via").count() != 1 => Err("more than our own Via".to_owned()),
        101.. if message.to_tag().is_empty() => Err("To without tag".to_owned()),
        0 | 200..300 if method == "INVITE" && !message.contact().contains("10.0.0.1:5060") => {
            Err(format!("Contact is {}", bare(message.get("Contact"))))
        }
        _ => Ok(()),
    }
}

impl Side {
    fn count(&mut self, request: &Msg) -> Result<(), String> {
        let cseq = request.cseq();
        match request.method() {
            "ACK" | "CANCEL" if self.invites.contains(&cseq) => return Ok(()),
            "ACK" | "CANCEL" => return Err(format!("no INVITE has number {cseq}")),
            "INVITE" => drop(self.invites.insert(cseq)),
            _ => {}
        }
        if request.branch() == self.branch {
            return if cseq == self.cseq { Ok(()) } else { Err("one branch, two numbers".to_owned()) };
        }
        if cseq <= self.cseq {
            // A late repetition of an earlier request would have its branch.
            return match self.seen.contains(request.branch()) {
                true => Ok(()),
                false => Err(format!("number {cseq} after {}", self.cseq)),
            };
        }
        self.seen.insert(std::mem::replace(&mut self.branch, request.branch().to_owned()));
        self.cseq = cseq;
        Ok(())
    }

    fn describe(&mut self, body: &str) -> Result<(), String> {
        let origin = body.split("\r\n").find_map(|line| line.strip_prefix("o=")).ok_or("no o= line")?;
        let words: Vec<&str> = origin.split(' ').collect();
        let [user, id, version, "IN", "IP4", "10.0.0.1"] = words[..] else {
            return Err("a foreign o= line".to_owned());
        };
        let version: u64 = version.parse().map_err(|_| "no version")?;
        let rest: String = body.split("\r\n").filter(|line| !line.starts_with("o=")).collect();
        if user != "-" {
            return Err("a user in o=".to_owned());
        }
        let next = (id.to_owned(), version, rest);
        match self.session.replace(next) {
            Some((known, _, _)) if known != id => Err("another session id".to_owned()),
            Some((_, last, before)) => {
                let wanted = last + u64::from(self.session.as_ref().is_some_and(|(_, _, rest)| *rest != before));
                let is_patchy = std::mem::take(&mut self.is_patchy);
                if version == wanted || (is_patchy && version > wanted) {
                    Ok(())
                } else {
                    Err(format!("version {version}, not {wanted}"))
                }
            }
            None => Ok(()),
        }
    }
}
