//! Calls of a party: dialling, being dialled, what is said inside a call, and its end.

use std::net::SocketAddr;
use std::time::Duration;

use sosbridge::base::Rng;

use crate::chance::{between, ms, percent, pick, secs};
use crate::extensions::Early;
use crate::media;
use crate::party::{Act, Client, Effect, Moment, Mood, Party, Path, Tick, with_body};
use crate::text::{Msg, user_of};

/// A line of a description that has many.
const CODECS: &str = "a=rtpmap:0 PCMU/8000 as ever\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// We dialled; no final answer yet.
    Calling,
    /// They dialled; we have not answered.
    Called,
    Up,
}

/// One call as this party sees it.
pub struct Leg {
    pub call_id: String,
    pub local_tag: String,
    /// Header values, with the tags as far as they are known.
    pub local: String,
    pub remote: String,
    pub target: String,
    pub cseq: u32,
    pub state: State,
    pub path: Path,
    /// The last INVITE of ours and its branch, or theirs.
    pub invite: Msg,
    branch: String,
    /// The last ACK of ours.
    ack: Vec<u8>,
    /// Our final answer to their INVITE, and whether it was acknowledged.
    pub answer: Vec<u8>,
    acked: bool,
    pub early: Early,
    marker: String,
    pub version: u32,
    /// The port it was told of last.
    pub told: Option<u16>,
    cancelling: bool,
    /// Challenges taken.
    tries: u32,
    /// Never acknowledges an answer.
    rude: bool,
    /// Answered when nobody waits any more, and never hangs up: that is for the daemon to do.
    patient: bool,
}

/// A call to be made.
pub struct Dial {
    pub call_id: String,
    pub uri: String,
    pub from: String,
    pub to: String,
    /// Header lines.
    pub lines: String,
    pub with_offer: bool,
    /// Gives up when it is not answered by then.
    pub patience: Duration,
}

impl Party {
    /// A session description that says too much.
    pub fn description(&self, leg: &Leg, direction: &str) -> String {
        let host = self.own_address().ip();
        let (user, display) = self.phone.as_ref().map_or(("-", "-"), |phone| (phone.name, phone.display));
        let (version, port) = (leg.version, self.media_of(leg).port());
        let contact = if self.phone.is_some() { format!("e={user}@example.com\r\n") } else { String::new() };
        let codecs = if self.wordy { CODECS.repeat(40) } else { String::new() };
        format!(
            "v=0\r\no={user} 1 {version} IN IP4 {host}\r\ns={display}\r\n{contact}c=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na={direction}\r\n{codecs}"
        )
    }

    /// Where it wants its media.
    pub fn media_of(&self, leg: &Leg) -> SocketAddr {
        media::place(self.own_address().ip(), &leg.marker)
    }

    pub fn dial(&mut self, moment: &mut Moment<'_>, dial: Dial) {
        let tag = self.token("tag");
        let leg = Leg {
            call_id: dial.call_id.clone(),
            local: format!("{};tag={tag}", dial.from),
            local_tag: tag,
            remote: dial.to,
            target: dial.uri,
            cseq: 0,
            state: State::Calling,
            path: self.path(),
            invite: Msg { start: String::new(), headers: Vec::new(), body: String::new() },
            branch: String::new(),
            ack: Vec::new(),
            answer: Vec::new(),
            acked: true,
            early: Early::default(),
            marker: moment.rng.below(20_000).to_string(),
            version: 1,
            told: None,
            cancelling: false,
            tries: 0,
            patient: false,
            rude: !moment.calm && percent(moment.rng, 4),
        };
        self.legs.insert(dial.call_id.clone(), leg);
        let lines = format!("{}{}", dial.lines, self.extension_lines(moment));
        self.send_invite(moment, &dial.call_id, &lines, dial.with_offer.then_some("sendrecv"));
        moment.act(dial.patience, &dial.call_id, Act::Cancel);
    }

    fn send_invite(&mut self, moment: &mut Moment<'_>, call_id: &str, lines: &str, direction: Option<&str>) {
        let branch = format!("z9hG4bK{}", self.token("branch"));
        let authorization = {
            let Some(leg) = self.legs.get(call_id) else { return };
            let uri = leg.target.clone();
            let is_first = leg.state == State::Calling;
            let phone = self.phone.as_mut().filter(|_| is_first && !lines.contains("X-Fresh"));
            phone.map(|phone| phone.authorization("INVITE", &uri)).unwrap_or_default()
        };
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        leg.cseq += 1;
        leg.version += 1;
        leg.branch = branch.clone();
        let path = leg.path;
        let body = direction.map(|direction| self.description(&self.legs[call_id], direction)).unwrap_or_default();
        let user = self.contact_user(call_id);
        let (contact, via) = (self.contact(&user), self.via(path, &branch));
        let leg = &self.legs[call_id];
        let text = format!(
            "INVITE {} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {} INVITE\r\n\
             {contact}{lines}{authorization}{}",
            leg.target,
            leg.local,
            leg.remote,
            leg.cseq,
            with_body(&body)
        );
        let invite = Msg::parse(text.as_bytes()).unwrap();
        self.legs.get_mut(call_id).unwrap().invite = invite;
        self.request(moment, path, &branch, call_id, text);
    }

    pub fn contact_user(&self, call_id: &str) -> String {
        let own = self.legs.get(call_id).map(|leg| user_of(&leg.local).to_owned()).unwrap_or_default();
        self.phone.as_ref().map_or(own, |phone| phone.name.to_owned())
    }

    pub fn provisional(&mut self, moment: &mut Moment<'_>, response: &Msg) {
        if self.legs.get(response.call_id()).is_some_and(|leg| leg.cancelling) {
            self.send_cancel(moment, response.call_id());
        } else if response.method() == "INVITE" {
            self.take_provisional(moment, response);
        }
    }

    pub fn invite_answered(&mut self, moment: &mut Moment<'_>, client: &Client, response: &Msg) {
        let call_id = client.call_id.as_str();
        if response.code() >= 300 {
            self.acknowledge_refusal(moment, client, response);
            return self.refused(moment, call_id, response);
        }
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        let first = leg.state == State::Calling;
        leg.remote = response.get("To").to_owned();
        leg.target = response.contact().to_owned();
        leg.state = State::Up;
        let (rude, cancelling) = (leg.rude && first, leg.cancelling);
        if !rude {
            self.acknowledge(moment, response);
        }
        if first {
            moment.effects.push(Effect::Outcome { call_id: call_id.to_owned(), code: 200 });
            if cancelling || moment.closing {
                self.act(moment, call_id, Act::HangUp);
            } else {
                self.live(moment, call_id);
            }
        }
    }

    fn refused(&mut self, moment: &mut Moment<'_>, call_id: &str, response: &Msg) {
        let Some(leg) = self.legs.get(call_id) else { return };
        match (leg.state, response.code()) {
            (State::Calling, 401) => {
                let tries = &mut self.legs.get_mut(call_id).unwrap().tries;
                let taken = self.phone.as_mut().is_some_and(|phone| phone.take_challenge(response, tries));
                if taken && !self.legs[call_id].cancelling {
                    let marker = self.legs[call_id].invite.get("X-Sim").to_owned();
                    let lines = format!("X-Sim: {marker}\r\n{}", self.extension_lines(moment));
                    return self.send_invite(moment, call_id, &lines, Some("sendrecv"));
                }
                let code = if self.legs[call_id].cancelling { 487 } else { 401 };
                self.call_failed(moment, call_id, code);
            }
            (State::Calling, code) => self.call_failed(moment, call_id, code),
            (_, 408 | 481) => self.act(moment, call_id, Act::HangUp),
            (_, _) => {}
        }
    }

    pub fn call_failed(&mut self, moment: &mut Moment<'_>, call_id: &str, code: u16) {
        if self.legs.get(call_id).is_some_and(|leg| leg.state == State::Calling) {
            self.legs.remove(call_id);
            moment.effects.push(Effect::Outcome { call_id: call_id.to_owned(), code });
        } else {
            self.act(moment, call_id, Act::HangUp);
        }
    }

    fn acknowledge_refusal(&mut self, moment: &mut Moment<'_>, client: &Client, response: &Msg) {
        let Some(invite) = Msg::parse(&client.bytes) else { return };
        let text = format!(
            "ACK {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n{}",
            invite.uri(),
            invite.get("Via"),
            invite.get("From"),
            response.get("To"),
            invite.call_id(),
            invite.cseq(),
            with_body("")
        );
        moment.effects.push(Effect::Send { path: client.path, bytes: text.into_bytes() });
    }

    /// ACK to a 2xx; with an answer where the offer came with it.
    fn acknowledge(&mut self, moment: &mut Moment<'_>, response: &Msg) {
        let call_id = response.call_id();
        let Some(leg) = self.legs.get(call_id) else { return };
        let is_due = leg.invite.body.is_empty() && !(leg.early.described && leg.invite.to_tag().is_empty());
        let body = if is_due { self.description(leg, "sendrecv") } else { String::new() };
        let path = leg.path;
        let branch = format!("z9hG4bK{}", self.token("branch"));
        let via = self.via(path, &branch);
        let leg = self.legs.get_mut(call_id).unwrap();
        let text = format!(
            "ACK {} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {} ACK\r\n{}",
            leg.target,
            leg.local,
            leg.remote,
            response.cseq(),
            with_body(&body)
        );
        leg.ack = text.clone().into_bytes();
        moment.effects.push(Effect::Send { path, bytes: text.into_bytes() });
    }

    pub fn acknowledge_again(&mut self, moment: &mut Moment<'_>, response: &Msg) {
        if let Some(leg) = self.legs.get(response.call_id()).filter(|leg| !leg.rude && !leg.ack.is_empty()) {
            moment.effects.push(Effect::Send { path: leg.path, bytes: leg.ack.clone() });
        }
    }

    fn send_cancel(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        let Some(leg) = self.legs.get(call_id).filter(|leg| leg.state == State::Calling) else { return };
        let (invite, branch, path) = (leg.invite.clone(), leg.branch.clone(), leg.path);
        if self.clients.contains_key(&format!("{branch} CANCEL")) {
            return;
        }
        let text = format!(
            "CANCEL {} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {call_id}\r\n\
             CSeq: {} CANCEL\r\nReason: SIP;cause=487\r\n{}",
            invite.uri(),
            invite.get("Via"),
            invite.get("From"),
            invite.get("To"),
            invite.cseq(),
            with_body("")
        );
        self.request(moment, path, &branch, call_id, text);
    }

    pub fn invited(&mut self, moment: &mut Moment<'_>, path: Path, invite: &Msg) {
        if !invite.to_tag().is_empty() {
            return self.reinvited(moment, path, invite);
        }
        if self.legs.contains_key(invite.call_id()) {
            return;
        }
        let tag = self.token("tag");
        let leg = Leg {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={tag}", invite.get("To")),
            local_tag: tag,
            remote: invite.get("From").to_owned(),
            target: invite.contact().to_owned(),
            cseq: 100,
            state: State::Called,
            path,
            invite: invite.clone(),
            branch: invite.branch().to_owned(),
            ack: Vec::new(),
            answer: Vec::new(),
            acked: false,
            early: Early::default(),
            marker: moment.rng.below(20_000).to_string(),
            version: 1,
            told: None,
            cancelling: false,
            tries: 0,
            rude: false,
            patient: false,
        };
        self.legs.insert(leg.call_id.clone(), leg);
        if self.is_trunk() {
            moment.effects.push(Effect::Saw { number: user_of(invite.get("From")).to_owned() });
        }
        self.plan_answer(moment, invite.call_id());
    }

    /// What becomes of a call that has arrived.
    fn plan_answer(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        let fickle =
            [Mood::Good, Mood::Good, Mood::Good, Mood::Refusing(486), Mood::Refusing(503), Mood::Silent, Mood::Late];
        let mood = if self.mood == Mood::Fickle { *pick(moment.rng, &fickle) } else { self.mood };
        let reaction = between(moment.rng, 1, 100);
        match mood {
            Mood::Good | Mood::Fickle => {
                moment.act(reaction, call_id, Act::Trying);
                let ring = reaction + between(moment.rng, 10, 900);
                moment.act(ring, call_id, Act::Ring);
                let answer = match moment.calm {
                    true => between(moment.rng, 300, 3000),
                    // At times when callers give up: CANCEL meets the 200.
                    false if percent(moment.rng, 20) => ms(1500) + between(moment.rng, 0, 200),
                    false => between(moment.rng, 50, 20_000),
                };
                let end = if !moment.calm && percent(moment.rng, 15) { Act::Refuse(480) } else { Act::Answer };
                moment.act(ring + answer, call_id, end);
            }
            Mood::Refusing(code) => moment.act(reaction, call_id, Act::Refuse(code)),
            Mood::Late => {
                self.legs.get_mut(call_id).unwrap().patient = true;
                let late = between(moment.rng, 1900, 12_000);
                moment.act(late, call_id, Act::Answer);
            }
            Mood::Silent | Mood::Closed => moment.act(secs(90), call_id, Act::Refuse(408)),
        }
    }

    fn reinvited(&mut self, moment: &mut Moment<'_>, path: Path, invite: &Msg) {
        let call_id = invite.call_id();
        if self.legs.get(call_id).is_none_or(|leg| leg.state != State::Up) {
            return self.answer(moment, path, invite, 481, "", "");
        }
        if self.clients.values().any(|client| client.call_id == call_id && client.method == "INVITE") {
            return self.answer(moment, path, invite, 491, "", "");
        }
        if !moment.calm && percent(moment.rng, 8) {
            return self.answer(moment, path, invite, 488, "", "");
        }
        let leg = self.legs.get_mut(call_id).unwrap();
        leg.path = path;
        leg.target = invite.contact().to_owned();
        leg.version += 1;
        leg.invite = invite.clone();
        self.say_yes(moment, call_id);
    }

    /// 200 to their INVITE, repeated until the ACK.
    fn say_yes(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        let Some(leg) = self.legs.get_mut(call_id) else { return };
        leg.acked = false;
        leg.state = State::Up;
        let (invite, path) = (leg.invite.clone(), leg.path);
        let is_told = self.legs[call_id].early.described && invite.to_tag().is_empty();
        let body = if is_told { String::new() } else { self.description(&self.legs[call_id], "sendrecv") };
        let contact = self.contact(&self.contact_user(call_id));
        let allow = if self.modern { "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK\r\n" } else { "" };
        self.answer(moment, path, &invite, 200, &format!("{contact}{allow}"), &body);
        self.legs.get_mut(call_id).unwrap().answer = self.last_response();
        let tick = Tick::Answer { call_id: call_id.to_owned(), cseq: invite.cseq(), wait: ms(500), left: secs(32) };
        moment.later(ms(500), tick);
    }

    pub fn repeat_answer(&mut self, moment: &mut Moment<'_>, call_id: &str, cseq: u32, wait: Duration, left: Duration) {
        let Some(leg) = self.legs.get(call_id).filter(|leg| !leg.acked && leg.invite.cseq() == cseq) else { return };
        if left.is_zero() {
            return match leg.state {
                State::Up => self.act(moment, call_id, Act::HangUp),
                State::Calling | State::Called => drop(self.legs.remove(call_id)),
            };
        }
        moment.effects.push(Effect::Send { path: leg.path, bytes: leg.answer.clone() });
        let next = (wait * 2).min(secs(4)).min(left);
        moment.later(
            next,
            Tick::Answer { call_id: call_id.to_owned(), cseq, wait: next, left: left.saturating_sub(next) },
        );
    }

    pub fn acknowledged(&mut self, ack: &Msg) {
        let Some(leg) = self.legs.get_mut(ack.call_id()).filter(|leg| leg.invite.cseq() == ack.cseq()) else { return };
        leg.acked = true;
        if leg.state == State::Called {
            self.legs.remove(ack.call_id());
        }
    }

    pub fn cancelled(&mut self, moment: &mut Moment<'_>, path: Path, cancel: &Msg) {
        let call_id = cancel.call_id();
        let waiting = self.legs.get(call_id).is_some_and(|leg| leg.state == State::Called && leg.answer.is_empty());
        if !self.legs.contains_key(call_id) {
            return self.answer(moment, path, cancel, 481, "", "");
        }
        self.answer(moment, path, cancel, 200, "", "");
        if waiting && !moment.calm && percent(moment.rng, 10) {
            // Too late: somebody has just picked up.
            self.legs.get_mut(call_id).unwrap().patient = true;
            self.act(moment, call_id, Act::Answer);
        } else if waiting {
            self.act(moment, call_id, Act::Refuse(487));
        }
    }

    pub fn hung_up(&mut self, moment: &mut Moment<'_>, path: Path, bye: &Msg) {
        let code = if self.legs.contains_key(bye.call_id()) { 200 } else { 481 };
        self.answer(moment, path, bye, code, "", "");
        self.legs.remove(bye.call_id());
        self.clients.retain(|_, client| client.call_id != bye.call_id() || client.method == "BYE");
    }

    /// What is done in a call that is up, until somebody hangs up.
    fn live(&mut self, moment: &mut Moment<'_>, call_id: &str) {
        if self.legs.get(call_id).is_some_and(|leg| leg.patient) {
            return;
        }
        if moment.calm {
            let end = between(moment.rng, 2000, 6000);
            return moment.act(end, call_id, Act::HangUp);
        }
        if percent(moment.rng, 30) {
            let hold = between(moment.rng, 200, 5000);
            moment.act(hold, call_id, Act::Hold);
            let resume = hold + between(moment.rng, 100, 8000);
            moment.act(resume, call_id, Act::Resume);
        }
        if percent(moment.rng, 20) {
            let info = between(moment.rng, 100, 6000);
            moment.act(info, call_id, Act::Info);
        }
        if self.modern {
            self.live_longer(moment, call_id);
        }
        let was_called = self.legs.get(call_id).is_some_and(|leg| !leg.answer.is_empty());
        if self.is_trunk() && was_called && percent(moment.rng, 20) {
            // Twice, and at times while somebody hangs up.
            let refer = between(moment.rng, 200, 4200);
            moment.act(refer, call_id, Act::Refer);
            let again = refer + between(moment.rng, 0, 4000);
            moment.act(again, call_id, Act::Refer);
        }
        // Nearly the same times on both sides: offer meets offer, BYE crosses BYE.
        if percent(moment.rng, 20) {
            let hold = secs(1) + between(moment.rng, 0, 200);
            moment.act(hold, call_id, Act::Hold);
        }
        let end = secs(*pick(moment.rng, &[1, 4, 4, 8, 15, 30, 60, 90])) + between(moment.rng, 0, 200);
        moment.act(end, call_id, Act::HangUp);
    }

    pub fn act(&mut self, moment: &mut Moment<'_>, call_id: &str, act: Act) {
        let is_ending = self.clients.values().any(|client| client.call_id == call_id && client.method == "BYE");
        let Some(leg) = self.legs.get_mut(call_id).filter(|_| !is_ending) else { return };
        let (state, path, invite) = (leg.state, leg.path, leg.invite.clone());
        let fresh = leg.answer.is_empty();
        match (act, state) {
            (Act::Trying, State::Called) if fresh => self.answer(moment, path, &invite, 100, "", ""),
            (Act::Ring, State::Called) if fresh => self.ring(moment, call_id),
            // RFC 3262 §3: not before the PRACK.
            (Act::Answer, State::Called) if fresh && !leg.early.ringing.is_empty() => {
                moment.act(ms(200), call_id, Act::Answer);
            }
            (Act::Answer, State::Called) if fresh => {
                self.say_yes(moment, call_id);
                self.live(moment, call_id);
            }
            (Act::Refuse(code), State::Called) if fresh => {
                self.answer(moment, path, &invite, code, "", "");
                self.legs.get_mut(call_id).unwrap().answer = self.last_response();
                let tick =
                    Tick::Answer { call_id: call_id.to_owned(), cseq: invite.cseq(), wait: ms(500), left: secs(32) };
                moment.later(ms(500), tick);
            }
            (Act::Cancel, State::Calling) => {
                leg.cancelling = true;
                let heard = self.clients.values().any(|client| client.call_id == call_id && client.heard);
                if heard {
                    self.send_cancel(moment, call_id);
                }
            }
            (Act::Hold, State::Up) => self.send_invite(moment, call_id, "X-Fresh: 1\r\n", Some("sendonly")),
            (Act::Resume, State::Up) => self.send_invite(moment, call_id, "X-Fresh: 1\r\n", Some("sendrecv")),
            (Act::Update, State::Up) => self.update(moment, call_id, true),
            (Act::Refresh, State::Up) => self.update(moment, call_id, false),
            (Act::Info, State::Up) => self.within(moment, call_id, "INFO", "", ""),
            (Act::Refer, State::Up) => {
                let lines = refer_line(moment.rng);
                self.within(moment, call_id, "REFER", lines, "");
            }
            (Act::HangUp, State::Up) => self.within(moment, call_id, "BYE", "Reason: Q.850;cause=16\r\n", ""),
            (_, _) => {}
        }
    }

    /// Ends everything this party has under way.
    pub fn close(&mut self, moment: &mut Moment<'_>) {
        for call_id in self.legs.keys().cloned().collect::<Vec<_>>() {
            match self.legs[&call_id].state {
                State::Calling => self.act(moment, &call_id, Act::Cancel),
                State::Called => self.act(moment, &call_id, Act::Refuse(480)),
                State::Up if self.legs[&call_id].patient => {}
                State::Up => self.act(moment, &call_id, Act::HangUp),
            }
        }
    }
}

/// Somebody at a trunk that may be asked, with and without a subscription, or at one that may not.
fn refer_line(rng: &mut Rng) -> &'static str {
    const LINES: [&str; 4] = [
        "Refer-To: <sip:desk@10.9.0.1:5080>\r\n",
        "Refer-To: <sip:desk@10.9.0.2:5080;transport=tcp>\r\n",
        "Refer-To: <tel:911>\r\nRefer-Sub: false\r\n",
        "Refer-To: <sip:desk@198.51.100.1>\r\n",
    ];
    pick::<&'static str>(rng, &LINES)
}

/// Who a message is from, by the user part of its From.
pub fn sender(message: &Msg) -> &str {
    user_of(message.get("From"))
}
