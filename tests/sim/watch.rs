//! What must hold of every single message, whatever else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sosbridge::base::Instant;
use sosbridge::transport::Transmit;

use crate::chance::secs;
use crate::leg::sender;
use crate::manners::Manners;
use crate::model::{Dialled, Kept};
use crate::setup::{OVERFLOW, USERS};
use crate::text::{Msg, user_of};
use crate::trace;
use crate::world::World;

/// By then an INVITE has its final response: callers here give up long before.
const FINAL_BY: Duration = secs(260);
/// How long an emergency call is tried before it may be refused (`[routing] retry`, less the last pause).
const RETRIED: Duration = secs(25);

/// What only phones know: none of it may reach a trunk. Lower case.
const SECRETS: [&str; 13] = [
    "quentin",
    "ophelia",
    "barnaby",
    "lucinda",
    "thaddeus",
    "phonecall-",
    "phonetag-",
    "secretphone",
    "phonebranch-",
    "@example.com",
    "sesame",
    "192.168.",
    "10.1.",
];

/// What a call was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Emergency,
    Test,
    /// Between users.
    Internal,
    /// From a trunk to a number that was shown.
    Callback {
        number: String,
    },
    /// From a trunk to a user, no callback.
    Ordinary {
        user: usize,
    },
    /// From somebody who is nobody.
    Evil,
}

/// A call that a party made.
#[derive(Clone, Debug)]
pub struct Made {
    pub purpose: Purpose,
    pub party: usize,
    pub at: Instant,
}

/// A phone that was sent an INVITE.
#[derive(Clone, Debug)]
pub struct Ring {
    pub at: Instant,
    pub token: String,
    pub phone: usize,
    /// It went to where the phone is now, not to where it once was.
    pub arrives: bool,
}

#[derive(Default)]
pub struct Watch {
    /// INVITEs without a final response, by branch.
    open: BTreeMap<String, (Instant, Option<u64>, String)>,
    /// Call-IDs of INVITEs that ring, by branch.
    ringing: BTreeMap<String, String>,
    /// Those that have one: the network may bring them once more.
    done: BTreeSet<String>,
    /// By token: the end of the Call-ID; of trunks the user in From, of phones what X-Sim says.
    pub made: BTreeMap<String, Made>,
    /// When the call came to the node, by token: what is repeated until the node is up again comes late.
    came: BTreeMap<String, Instant>,
    /// By Call-ID.
    pub outcomes: BTreeMap<String, u16>,
    pub rings: Vec<Ring>,
    /// Numbers that came with calls to a trunk, newest last.
    pub seen: Vec<String>,
    /// Emergency calls under way to trunks, by Call-ID: shown once, then only repeated.
    shown: BTreeMap<String, String>,
    manners: Manners,
    /// Of emergency calls: what each leg to a trunk is for, by Call-ID, and whose trunk has answered and hung up.
    tokens: BTreeMap<String, String>,
    hung_up: BTreeSet<String>,
    /// Calls to a number whose lease was over, by Call-ID: like any other call to a user's own number.
    ordinary: BTreeSet<String>,
    heard_of: BTreeSet<String>,
    /// Calls whose beginning the present life of the node has seen, while nothing disturbed.
    undisturbed: BTreeSet<String>,
}

impl Watch {
    /// An INVITE reaches the node.
    pub fn asked(&mut self, at: Instant, connection: Option<u64>, bytes: &[u8]) {
        let Some(message) = Msg::parse(bytes).filter(|message| message.code() == 0) else { return };
        if message.method() == "INVITE"
            && !message.branch().contains("garbage")
            && !self.done.contains(message.branch())
        {
            if message.begins_call() && !self.open.contains_key(message.branch()) {
                self.came.insert(message.get("X-Sim").to_owned(), at);
            }
            self.open.entry(message.branch().to_owned()).or_insert((at, connection, message.summary()));
        }
    }

    /// Nothing is lost from now on, or anything may be.
    pub fn weather_turns(&mut self) {
        self.undisturbed.clear();
    }

    pub fn connection_lost(&mut self, id: u64) {
        self.open.retain(|_, (_, connection, _)| *connection != Some(id));
        self.manners.connection_lost();
    }

    pub fn crashed(&mut self) {
        self.open.clear();
        self.done.clear();
        self.manners.crashed();
        self.undisturbed.clear();
    }

    /// A caller has heard nothing and gone. Where the node rings for it no CANCEL says so, and it goes on as long as a trunk may
    /// ring.
    fn given_up(&mut self, call_id: &str) {
        for (branch, _) in self.ringing.iter().filter(|(_, of)| *of == call_id) {
            self.open.remove(branch);
            self.done.insert(branch.clone());
        }
    }

    pub fn overdue(&self, now: Instant) {
        if let Some((branch, (at, _, invite))) = self.open.iter().find(|(_, (at, ..))| now.since(*at) > FINAL_BY) {
            panic!("no final response to {invite}, which came at {} ms, branch {branch}", at.as_millis());
        }
    }

    pub fn saw(&mut self, number: String) {
        if number.starts_with('+') && self.seen.last() != Some(&number) {
            self.seen.push(number);
        }
    }
}

impl World {
    /// Everything the node says goes through here first.
    pub fn inspect_output(&mut self, transmit: &Transmit) {
        let Some(message) = Msg::parse(&transmit.bytes) else { return };
        let remote = transmit.flow.remote;
        let ip = remote.ip();
        let party = self.parties.iter().position(|party| party.address.ip() == ip);
        let name = party.map_or_else(|| remote.to_string(), |party| self.parties[party].name.clone());
        trace::note(self.now, &format!("        node -> {name}"), &message.summary());
        if message.code() >= 200 && message.method() == "INVITE" {
            self.watch.open.remove(message.branch());
            self.watch.done.insert(message.branch().to_owned());
        }
        if (180..200).contains(&message.code()) {
            self.watch.ringing.insert(message.branch().to_owned(), message.get("Call-ID").to_owned());
        }
        if let Err(sin) = self.watch.manners.check(&message) {
            panic!("{sin}");
        }
        let Some(party) = party else { return };
        self.ends_both_legs(&message);
        if self.supply.is_ample() {
            let place = ["10.1.", "10.9.", "192.168."].iter().find(|place| message.body.contains(**place));
            assert_eq!(place, None, "a place of the other side is told in {}: {}", message.start, message.body);
        }
        if self.parties[party].is_trunk() {
            if message.code() == 200 && message.method() == "BYE" {
                self.watch.hung_up.extend(self.watch.tokens.get(message.call_id()).cloned());
            }
            self.keeps_secrets(&message, &transmit.bytes);
            if message.begins_call() {
                self.check_shown(&message);
            }
        } else if message.begins_call() {
            assert!(self.parties[party].phone.is_some(), "an outsider is called");
            let at_home = self.parties[party].address == remote || transmit.flow.connection.is_some();
            self.check_ring(party, &message, at_home && self.parties[party].online);
        }
    }

    /// While nothing disturbs, nobody is left in a call that the other side has ended: a BYE always finds its call.
    fn ends_both_legs(&mut self, message: &Msg) {
        let call_id = message.call_id();
        let begins = message.method() == "INVITE" && message.to_tag().is_empty() && message.code() <= 100;
        if begins && self.watch.heard_of.insert(call_id.to_owned()) && self.calm {
            self.watch.undisturbed.insert(call_id.to_owned());
        }
        if message.start.starts_with("BYE ") {
            // From here on theirs may cross ours, and be overtaken by the answer to ours.
            self.watch.undisturbed.remove(call_id);
        }
        if message.code() == 481 && message.method() == "BYE" {
            assert!(!self.watch.undisturbed.contains(call_id), "the daemon has forgotten call {call_id}");
        }
    }

    /// SPEC §4: nothing that tells who calls, in any byte but the media address.
    fn keeps_secrets(&self, message: &Msg, bytes: &[u8]) {
        if message.call_id().starts_with("ordinary") || self.watch.ordinary.contains(message.call_id()) {
            return;
        }
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        let own = USERS.iter().filter(|_| !self.stage.rules.scarce).filter_map(|user| user.3);
        let own: Vec<&str> = own.map(|number| number.trim_start_matches('+')).collect();
        let is_media = |line: &&str| line.starts_with("c=") || line.starts_with("m=");
        for line in text.split("\r\n").filter(|line| self.supply.is_ample() || !is_media(line)) {
            if let Some(secret) = SECRETS.iter().chain(&own).find(|secret| line.contains(**secret)) {
                panic!("{secret:?} is told to a trunk in {:?}: {line}", message.start);
            }
        }
    }

    /// SPEC §3: the number is unique, and durable before it is shown.
    fn check_shown(&mut self, message: &Msg) {
        let number = sender(message).to_owned();
        let call_id = message.call_id().to_owned();
        if self.watch.shown.insert(call_id, number.clone()).is_some() {
            return;
        }
        let token = message.get("X-Sim").to_owned();
        let made = self.watch.made.get(&token).cloned();
        let came = self.watch.came.get(&token).copied();
        self.watch.tokens.insert(message.call_id().to_owned(), token);
        let made = made.unwrap_or_else(|| panic!("nobody made this call: {message:?}"));
        assert_eq!(made.purpose, Purpose::Emergency, "{} goes to a trunk", message.start);
        let user = self.user(made.party);
        for asserted in message.all("P-Asserted-Identity") {
            assert!(asserted.contains(&number), "{asserted} is asserted beside {number}");
        }
        let sound = self.store.is_sound(self.now);
        let holder = format!("{}@example.com", USERS[user].0);
        if sound && number != OVERFLOW {
            assert_eq!(self.store.holder(&number), Some(holder.as_str()), "{number} is shown but not on the disk");
        }
        let kept = if sound { Kept::OnDisk } else { Kept::InMemory };
        let dialled = Dialled { phone: made.party, at: made.at, came: came.unwrap_or(made.at), kept };
        if let Err(broken) = self.model.shown(self.now, &number, user, dialled, sound) {
            panic!("{broken}");
        }
    }

    /// SPEC §6, §10: a callback rings its user and nobody else, with its mark; other calls respect `inbound` and have no mark.
    fn check_ring(&mut self, phone: usize, message: &Msg, arrives: bool) {
        let token = sender(message).to_owned();
        let user = self.user(phone);
        let mark = message.get("Priority") == "psap-callback";
        assert!(!message.body.contains("m=audio 666 "), "an outsider reaches {}", self.parties[phone].name);
        let made = self.watch.made.get(&token).cloned();
        match made.map(|made| made.purpose) {
            Some(Purpose::Callback { number }) if mark => {
                let sound = self.store.is_sound(self.now);
                if let Err(broken) = self.model.rang(self.now, &number, user, sound) {
                    panic!("{broken}");
                }
                self.watch.rings.push(Ring { at: self.now, token, phone, arrives });
            }
            // The number was a user's own, and its lease is over: an ordinary call.
            Some(Purpose::Callback { number }) => {
                assert_eq!(USERS[user].3, Some(number.as_str()), "a callback without its mark");
                assert!(USERS[user].4, "an ordinary call reaches {}", USERS[user].0);
                self.watch.ordinary.insert(format!("call-{token}"));
            }
            Some(Purpose::Ordinary { user: wanted }) => {
                assert!(wanted == user && USERS[user].4 && !mark, "an ordinary call reaches {}, {mark}", USERS[user].0);
                self.watch.rings.push(Ring { at: self.now, token, phone, arrives });
            }
            Some(purpose) => panic!("{purpose:?} of {token} reaches {}", self.parties[phone].name),
            None => {
                let caller = USERS.iter().position(|known| known.0 == token);
                assert!(caller.is_some() || token == "anonymous", "{token} reaches {}", self.parties[phone].name);
                assert!(USERS[user].4 && !mark, "a call of {token} reaches {}, {mark}", USERS[user].0);
                assert_eq!(user_of(message.get("To")), USERS[user].0, "{}", message.start);
                self.watch.rings.push(Ring { at: self.now, token, phone, arrives });
            }
        }
    }

    /// A party's call has its final answer.
    pub fn outcome(&mut self, party: usize, call_id: &str, code: u16) {
        trace::note(self.now, &self.parties[party].name, &format!("{call_id} comes to {code}"));
        self.watch.outcomes.insert(call_id.to_owned(), code);
        if code == 408 {
            self.watch.given_up(call_id);
        }
        let token = call_id.rsplit('-').next().unwrap_or_default();
        let made = self.watch.made.get(token).cloned();
        let Some(made) = made else { return };
        match made.purpose {
            Purpose::Emergency if code >= 300 => {
                let tried = self.now.since(made.at);
                // 504: a caller that went away and acknowledges nothing (CONFORMANCE PR-3).
                let own_doing = matches!(code, 487 | 408) || (code == 504 && tried >= secs(32));
                // 480: the call taker answered, and hung up before the caller had acknowledged its ringing (CONFORMANCE PR-6).
                let own_doing = own_doing || (code == 480 && self.watch.hung_up.contains(token));
                assert!(
                    own_doing || (code == 503 && tried >= RETRIED),
                    "emergency call refused {code} after {tried:?}"
                );
            }
            Purpose::Evil => assert!(code >= 300, "an outsider's call succeeds"),
            Purpose::Callback { number } if matches!(code, 403 | 404) => {
                let live = self
                    .model
                    .live(self.now)
                    .into_iter()
                    .find(|(live, held)| *live == number && !held.weak && held.shown < made.at);
                assert!(live.is_none(), "callback to {number} refused {code}: {live:?}");
            }
            _ => {}
        }
    }

    pub fn user(&self, phone: usize) -> usize {
        self.parties[phone].phone.as_ref().map_or(0, |phone| phone.user)
    }
}
