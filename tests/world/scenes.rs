//! What most tests begin with: a registered phone, a call that rings, a call that is up.

use super::{Agent, Dialog, Msg, Toml, World, alice, psap};

/// A call that is up, seen from its two ends.
pub struct Call {
    pub phone: Dialog,
    pub trunk: Dialog,
    /// The phone's INVITE.
    pub invite: Msg,
    /// The INVITE the trunk got.
    pub offered: Msg,
    /// The 200 the phone got.
    pub ok: Msg,
}

impl World {
    /// A world in which alice is registered.
    pub fn with_alice() -> Self {
        let mut world = Self::new();
        world.register(&alice());
        world
    }

    /// Alice has called 911 and hung up.
    pub fn after_a_call(toml: &Toml) -> Self {
        let mut world = Self::of(toml);
        world.register(&alice());
        let mut call = world.talking();
        world.hang_up(&mut call);
        world
    }

    /// REGISTER with the answer to the challenge; gives the 200.
    pub fn register(&mut self, agent: &Agent) -> Msg {
        self.register_as(agent, &register(agent))
    }

    /// As [`World::register`], with a REGISTER of the test's own.
    pub fn register_as(&mut self, agent: &Agent, register: &Msg) -> Msg {
        let challenge = self.ask(agent, register);
        assert_eq!(challenge.code(), 401, "{challenge}");
        let answered = self.ask(agent, &authorized(register, &challenge, agent.name, "MD5"));
        assert_eq!(answered.code(), 200, "{answered}");
        answered
    }

    /// Sends a request and takes its final answer; a refused INVITE is acknowledged.
    pub fn ask(&mut self, agent: &Agent, request: &Msg) -> Msg {
        self.send(agent, request);
        let branch = request.branch();
        let is_answer =
            |sent: &super::Sent| sent.to == agent.address && sent.msg.code() >= 200 && sent.msg.branch() == branch;
        let at = self.wire.iter().position(is_answer).unwrap_or_else(|| panic!("no answer to\n{request}"));
        let answer = self.wire.remove(at).msg;
        if request.method() == "INVITE" {
            self.wire
                .retain(|sent| !(sent.to == agent.address && sent.msg.code() == 100 && sent.msg.branch() == branch));
            if answer.code() >= 300 {
                self.send(agent, &request.ack_of(&answer));
            }
        }
        answer
    }

    /// Sends an INVITE of `agent` to `uri` and takes the 100.
    pub fn dial(&mut self, agent: &Agent, uri: &str) -> Msg {
        let invite = agent.invite(uri);
        self.send(agent, &invite);
        self.take(agent, "100");
        invite
    }

    /// Alice has dialled 911: her INVITE, and the one the call center got.
    pub fn dialled(&mut self) -> (Msg, Msg) {
        let invite = self.dial(&alice(), "sip:911@example.com");
        (invite, self.take(&psap(), "INVITE"))
    }

    /// Answers what the trunk got, and acknowledges what the phone got.
    pub fn answer(&mut self, phone: &Agent, invite: &Msg, trunk: &Agent, offered: &Msg) -> Call {
        let answer = trunk.reply(offered, 200).sdp(&trunk.offer());
        self.send(trunk, &answer);
        self.take(trunk, "ACK");
        let ok = self.take(phone, "200");
        let mut call = Call {
            phone: Dialog::caller(*phone, invite, &ok),
            trunk: Dialog::callee(*trunk, offered, &answer),
            invite: invite.clone(),
            offered: offered.clone(),
            ok,
        };
        let ack = call.phone.request("ACK");
        self.send(phone, &ack);
        call
    }

    /// Alice talks to the call center; nothing is left on the wire.
    pub fn talking(&mut self) -> Call {
        let (invite, offered) = self.dialled();
        let call = self.answer(&alice(), &invite, &psap(), &offered);
        self.silent();
        call
    }

    /// The phone hangs up, the trunk agrees, and nothing is left.
    #[track_caller]
    pub fn hang_up(&mut self, call: &mut Call) {
        let (phone, trunk) = (call.phone.agent, call.trunk.agent);
        let bye = call.phone.request("BYE");
        assert_eq!(self.ask(&phone, &bye).code(), 200);
        let bye = self.take(&trunk, "BYE");
        self.send(&trunk, &trunk.reply(&bye, 200));
        self.over();
        self.silent();
    }

    /// The trunk calls the number that `call` was made with.
    pub fn call_back(&mut self, trunk: &Agent, number: &str) -> Msg {
        let invite = trunk.invite(&format!("sip:{number}@192.0.2.1:5060"));
        let invite = invite.set("From", "<sip:+12065550000@203.0.113.80>;tag=cb");
        self.send(trunk, &invite);
        invite
    }
}

pub fn register(agent: &Agent) -> Msg {
    agent
        .request("REGISTER", "sip:example.com")
        .set("From", &format!("<{}>;tag=reg", agent.aor()))
        .set("To", &format!("<{}>", agent.aor()))
        .with("Expires", "3600")
}

fn password(name: &str) -> &'static str {
    match name {
        "alice" => "wonderland",
        "bob" => "builder",
        "nomad" => "tent",
        "mute" => "hush",
        _ => "no password of anybody",
    }
}

/// The request again with credentials of `user`, as the next of its Call-ID.
pub fn authorized(request: &Msg, challenge: &Msg, user: &str, algorithm: &str) -> Msg {
    authorized_with(request, challenge, user, password(user), algorithm)
}

pub fn authorized_with(request: &Msg, challenge: &Msg, user: &str, password: &str, algorithm: &str) -> Msg {
    let offers = challenge.values("WWW-Authenticate");
    let offer = offers.iter().find(|offer| offer.contains(&format!("algorithm={algorithm}")));
    let mut prompt = digest_auth::parse(offer.unwrap_or_else(|| panic!("no {algorithm} in {challenge}"))).unwrap();
    let context = digest_auth::AuthContext::new_with_method(
        user,
        password,
        request.uri(),
        None::<&[u8]>,
        digest_auth::HttpMethod::from(request.method().to_owned()),
    );
    let answer = prompt.respond(&context).unwrap().to_string();
    let cseq = format!("{} {}", request.cseq() + 1, request.method());
    let branch = format!("z9hG4bK-a{}", super::fresh());
    request.clone().branched(&branch).set("CSeq", &cseq).set("Authorization", &answer)
}
