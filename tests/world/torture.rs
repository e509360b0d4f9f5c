//! Torture messages: what each must get, by a table, and the judge of what the node made of it.

use regex::Regex;

use super::{Agent, Msg, World};

/// One line of a table: name, section, kind, transport, verdict, codes allowed, codes forbidden, the RFC in short.
pub struct Case {
    pub name: &'static str,
    pub stream: bool,
    /// No legal answer can be built, so none is as good as the one the table names.
    pub may_be_silent: bool,
    request: bool,
    method: &'static str,
    drop: bool,
    allowed: Regex,
    forbidden: Option<Regex>,
}

pub fn cases(table: &'static str) -> Vec<Case> {
    table.lines().filter(|line| !line.starts_with('#')).map(Case::of).collect()
}

impl Case {
    fn of(line: &'static str) -> Self {
        let row: Vec<&str> = line.split('\t').collect();
        let (kind, method) = row[2].split_once(' ').unwrap();
        let codes = |text: &str| Regex::new(&format!("^({text})$")).unwrap();
        let drop = row[4] == "drop-silent";
        Self {
            name: row[0],
            stream: row[3] != "UDP",
            may_be_silent: false,
            request: kind == "req",
            method,
            drop,
            allowed: codes(if drop { "no answer" } else { row[5] }),
            forbidden: (!drop && row[6] != "-").then(|| codes(row[6])),
        }
    }

    /// Sends the message, over UDP or a connection of its own, and says what is wrong with what was sent because of it.
    pub fn judge(&self, world: &mut World, from: Agent, stream: bool, bytes: &[u8]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("{}: {what}", self.name));
        let from = if stream { world.connect(from) } else { from };
        world.send_bytes(&from, bytes);
        let answers: Vec<Msg> = world.wire.drain(..).map(|sent| sent.msg).collect();
        let requests: Vec<&str> = answers.iter().filter(|msg| msg.code() == 0).map(Msg::method).collect();
        let codes: Vec<String> = answers.iter().map(|msg| msg.code().to_string()).filter(|code| code != "0").collect();
        let finals: Vec<&String> = codes.iter().filter(|code| code.as_str() >= "200").collect();
        if !requests.is_empty() {
            fault(format!("made the node send {requests:?}"));
        }
        match (self.drop, finals.as_slice()) {
            (true, []) if codes.is_empty() => {}
            (true, _) => fault(format!("must be dropped, was answered {codes:?}")),
            (false, []) if self.may_be_silent => {}
            (false, []) => fault(format!("was not answered, but {codes:?}")),
            (false, [code]) if !self.allowed.is_match(code) => fault(format!("answered {code}, not {}", self.allowed)),
            (false, [_]) => {}
            (false, _) => fault(format!("answered {finals:?}: more than once")),
        }
        if let Some(code) = codes.iter().find(|code| self.forbidden.as_ref().is_some_and(|bad| bad.is_match(code))) {
            fault(format!("answered {code}, which is forbidden"));
        }
        for answer in answers.iter().filter(|msg| msg.code() >= 200 && self.request) {
            let is_known = self.method.starts_with(|c: char| c.is_ascii_uppercase()) && self.method != "NEWMETHOD";
            if is_known && answer.method() != self.method {
                fault(format!("answered as a {}", answer.method()));
            }
            if answer.code() == 401 && !answer.has("WWW-Authenticate") {
                fault("401 without a challenge".into());
            }
        }
        faults
    }

    /// The node answers a good request, and some time later nothing is left.
    pub fn aftermath(&self, world: &mut World) -> Vec<String> {
        let mut faults = Vec::new();
        let good = Agent::new("good", "198.51.100.250:5060");
        if world.ask(&good, &good.request("OPTIONS", "sip:example.com")).code() != 200 {
            faults.push(format!("{}: afterwards a good OPTIONS is refused", self.name));
        }
        world.run(70_000);
        if !world.node.is_idle() {
            faults.push(format!("{}: afterwards this is left: {:?}", self.name, world.node.sizes()));
        }
        faults
    }
}
