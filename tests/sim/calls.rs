//! Who calls whom: every call the world makes is written down with its purpose.

use std::time::Duration;

use crate::chance::{between, ms, percent, pick, secs};
use crate::leg::Dial;
use crate::phone::DOMAIN;
use crate::setup::USERS;
use crate::trace;
use crate::watch::{Made, Purpose};
use crate::world::World;

impl World {
    /// Writes down a call; its token.
    fn note_call(&mut self, party: usize, purpose: Purpose) -> String {
        let token = format!("m{}", self.next_serial());
        trace::note(self.now, &self.parties[party].name, &format!("calls ({token}): {purpose:?}"));
        self.watch.made.insert(token.clone(), Made { purpose, party, at: self.now });
        token
    }

    /// A phone dials; the Call-ID.
    pub fn phone_dials(&mut self, party: usize, dialled: &str, purpose: Purpose) -> String {
        let Some(phone) = &self.parties[party].phone else { return String::new() };
        let (name, display) = (phone.name, phone.display);
        let token = self.note_call(party, purpose);
        let call_id = format!("phonecall-{}-{token}", self.parties[party].address.ip());
        let anonymous = !self.calm && percent(&mut self.rng, 5);
        let from = if anonymous {
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned()
        } else {
            format!("\"{display}\" <sip:{name}@{DOMAIN}>")
        };
        let address = self.parties[party].address;
        let lines = format!(
            "X-Sim: {token}\r\nX-Secret: sesame\r\nUser-Agent: SecretPhone {address}\r\nSubject: {display} calls\r\n\
             P-Preferred-Identity: <sip:{name}@{DOMAIN}>\r\nPrivacy: id\r\nPriority: psap-callback\r\n"
        );
        let with_offer = self.calm || percent(&mut self.rng, 90);
        let dial = Dial {
            call_id: call_id.clone(),
            uri: dialled.to_owned(),
            from,
            to: format!("<{dialled}>"),
            lines,
            with_offer,
            patience: self.patience(),
        };
        self.with(party, |party, moment| party.dial(moment, dial));
        call_id
    }

    /// How long a caller waits.
    fn patience(&mut self) -> Duration {
        match self.calm || percent(&mut self.rng, 60) {
            true => secs(70),
            false if percent(&mut self.rng, 30) => ms(1500) + between(&mut self.rng, 0, 1200),
            false => between(&mut self.rng, 0, 15_000),
        }
    }

    pub fn dials_911(&mut self, party: usize) -> String {
        let spelling = *pick(
            &mut self.rng,
            &["sip:911@example.com", "sip:+1911@example.com", "sip:9-1-1@example.com", "urn:service:sos"],
        );
        self.phone_dials(party, spelling, Purpose::Emergency)
    }

    /// A trunk calls a number it saw; the Call-ID.
    pub fn calls_back(&mut self, party: usize, number: &str) -> String {
        let token = self.note_call(party, Purpose::Callback { number: number.to_owned() });
        self.outside_call(party, &format!("sip:{number}@10.0.0.1"), "call", token)
    }

    /// A trunk calls a user as anybody would.
    pub fn calls_user(&mut self, party: usize, user: usize) -> String {
        let token = self.note_call(party, Purpose::Ordinary { user });
        let by_number = USERS[user].3.filter(|_| !self.stage.rules.scarce);
        let callee = by_number.unwrap_or(USERS[user].0);
        self.outside_call(party, &format!("sip:{callee}@{DOMAIN}"), "ordinary", token)
    }

    fn outside_call(&mut self, party: usize, uri: &str, kind: &str, token: String) -> String {
        let call_id = format!("{kind}-{token}");
        let with_offer = self.calm || percent(&mut self.rng, 85);
        let dial = Dial {
            call_id: call_id.clone(),
            uri: uri.to_owned(),
            from: format!("<sip:{token}@{}>", self.parties[party].address.ip()),
            to: format!("<{uri}>"),
            lines: "Priority: psap-callback\r\n".to_owned(),
            with_offer,
            patience: self.patience() + secs(5),
        };
        self.with(party, |party, moment| party.dial(moment, dial));
        call_id
    }

    /// Somebody from outside tries to get in.
    pub fn mischief(&mut self) {
        let outsider = self.party("outsider");
        let number = match self.watch.seen.is_empty() {
            true => "+14255551000".to_owned(),
            false => pick(&mut self.rng, &self.watch.seen).clone(),
        };
        let (victim, ..) = *pick(&mut self.rng, &USERS);
        let (callee, ..) = *pick(&mut self.rng, &USERS);
        let token = self.note_call(outsider, Purpose::Evil);
        let target = *pick(&mut self.rng, &[0, 1, 2]);
        let uri = match target {
            0 => format!("sip:{number}@10.0.0.1"),
            1 => format!("sip:{callee}@{DOMAIN}"),
            _ => "sip:911@example.com".to_owned(),
        };
        let forged = percent(&mut self.rng, 50);
        let from = if forged { format!("<sip:{victim}@{DOMAIN}>") } else { "<sip:evil@203.0.113.66>".to_owned() };
        let dial = Dial {
            call_id: format!("evil-{token}"),
            uri: uri.clone(),
            from,
            to: format!("<{uri}>"),
            lines: "Priority: psap-callback\r\nP-Asserted-Identity: <sip:+14255551000@10.9.0.1>\r\n".to_owned(),
            with_offer: true,
            patience: secs(20),
        };
        self.with(outsider, |party, moment| party.dial(moment, dial));
    }

    /// Bytes that make no sense, or a request that nobody expects.
    pub fn garbage(&mut self, party: usize) {
        let address = self.parties[party].address;
        let transport = if self.parties[party].tcp { "TCP" } else { "UDP" };
        let serial = self.next_serial();
        let head = format!("Via: SIP/2.0/{transport} {address};branch=z9hG4bKgarbage{serial};rport\r\n");
        let rest = format!(
            "From: <sip:x@example.com>;tag=g{serial}\r\nTo: <sip:911@example.com>\r\nCall-ID: garbage-{serial}\r\nMax-Forwards: 70\r\n"
        );
        let text = match self.rng.below(7) {
            0 => "\r\n\r\n".to_owned(),
            1 => format!("INVITE sip:911@example.com SIP/2.0\r\n{head}\r\n"),
            2 => {
                format!("INVITE sip:911@example.com SIP/2.0\r\n{head}{rest}CSeq: x INVITE\r\nContent-Length: 0\r\n\r\n")
            }
            3 => format!("BYE sip:911@10.0.0.1 SIP/2.0\r\n{head}{rest}CSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n"),
            4 => format!("CANCEL sip:911@10.0.0.1 SIP/2.0\r\n{head}{rest}CSeq: 7 CANCEL\r\nContent-Length: 0\r\n\r\n"),
            5 => format!("SIP/2.0 200 OK\r\n{head}{rest}CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"),
            _ => format!("ACK sip:911@10.0.0.1;tag=1 SIP/2.0\r\n{head}{rest}CSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"),
        };
        trace::note(self.now, &self.parties[party].name, "sends garbage");
        let path = self.parties[party].path();
        self.send_from(party, path, text.into_bytes());
    }
}
