//! Those who talk to the node: phones and trunks, and the dialogs they keep.

use std::net::SocketAddr;

use sosbridge::transport::ConnId;

use super::message::{Msg, fresh, uri_of};

/// Where the parties' media goes, whatever family their signalling has.
pub const MEDIA: &str = "198.51.100.99";

/// A party by name and place.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Over TCP, once it is connected.
    pub connection: Option<ConnId>,
}

impl Agent {
    pub fn new(name: &'static str, address: &str) -> Self {
        Self { name, address: address.parse().unwrap(), connection: None }
    }

    /// One thing for IPv4, another for IPv6.
    pub fn pick<T>(&self, v4: T, v6: T) -> T {
        if self.address.is_ipv4() { v4 } else { v6 }
    }

    pub fn transport(&self) -> &'static str {
        if self.connection.is_some() { "TCP" } else { "UDP" }
    }

    pub fn via(&self) -> String {
        format!("SIP/2.0/{} {};branch=z9hG4bK-t{};rport", self.transport(), self.address, fresh())
    }

    pub fn contact(&self) -> String {
        let transport = if self.connection.is_some() { ";transport=tcp" } else { "" };
        format!("<sip:{}@{}{transport}>", self.name, self.address)
    }

    pub fn aor(&self) -> String {
        format!("sip:{}@example.com", self.name)
    }

    /// A request outside any dialog. A phone has something to hide.
    pub fn request(&self, method: &str, uri: &str) -> Msg {
        let ip = self.address.ip().to_string();
        let is_trunk = ip.starts_with("203.0.113.") || ip.starts_with("2001:db8:80:");
        let (display, call_id) = if is_trunk { ("", "plain") } else { ("\"Alice Liddell\" ", "secret") };
        Msg::request(method, uri)
            .with("Via", &self.via())
            .with("Max-Forwards", "70")
            .with("From", &format!("{display}<{}>;tag=from-{}", self.aor(), fresh()))
            .with("To", &format!("<{uri}>"))
            .with("Call-ID", &format!("{}-{call_id}-{}", self.name, fresh()))
            .with("CSeq", &format!("1 {method}"))
            .with("Contact", &self.contact())
            .with("User-Agent", "Softphone of Alice")
    }

    /// An INVITE with an offer.
    pub fn invite(&self, uri: &str) -> Msg {
        self.request("INVITE", uri).sdp(&self.offer())
    }

    pub fn offer(&self) -> String {
        description(self.name, 1, &["m=audio 6000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=sendrecv"])
    }

    /// A response to `request`, with this party's tag and Contact.
    pub fn reply(&self, request: &Msg, code: u16) -> Msg {
        let response = request.respond(code);
        let to = response.header("To").to_owned();
        let to = if to.contains("tag=") { to } else { format!("{to};tag={}-tag", self.name) };
        response.set("To", &to).set("Contact", &self.contact())
    }
}

/// A session description with these media lines.
pub fn description(name: &str, version: u32, media: &[&str]) -> String {
    let media = media.join("\r\n");
    format!("v=0\r\no={name} 77 {version} IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 {MEDIA}\r\nt=0 0\r\n{media}\r\n")
}

/// One end's view of a dialog (RFC 3261 §12).
#[derive(Clone, Debug)]
pub struct Dialog {
    pub agent: Agent,
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
}

impl Dialog {
    /// Of the side that sent `invite` and got `answer`.
    pub fn caller(agent: Agent, invite: &Msg, answer: &Msg) -> Self {
        Self {
            agent,
            call_id: invite.header("Call-ID").to_owned(),
            local: invite.header("From").to_owned(),
            remote: answer.header("To").to_owned(),
            target: answer.contact(),
            routes: answer.values("Record-Route").into_iter().rev().map(str::to_owned).collect(),
            cseq: invite.cseq(),
        }
    }

    /// Of the side that got `invite` and gave `answer`.
    pub fn callee(agent: Agent, invite: &Msg, answer: &Msg) -> Self {
        Self {
            agent,
            call_id: invite.header("Call-ID").to_owned(),
            local: answer.header("To").to_owned(),
            remote: invite.header("From").to_owned(),
            target: invite.contact(),
            routes: Vec::new(),
            cseq: 0,
        }
    }

    /// The next request inside the dialog; an ACK or CANCEL keeps the number.
    pub fn request(&mut self, method: &str) -> Msg {
        if method != "ACK" {
            self.cseq += 1;
        }
        let mut request = Msg::request(method, &self.target)
            .with("Via", &self.agent.via())
            .with("Max-Forwards", "70")
            .with("From", &self.local)
            .with("To", &self.remote)
            .with("Call-ID", &self.call_id)
            .with("CSeq", &format!("{} {method}", self.cseq));
        for route in &self.routes {
            request = request.with("Route", route);
        }
        if ["INVITE", "UPDATE", "INFO"].contains(&method) {
            request.with("Contact", &self.agent.contact())
        } else {
            request
        }
    }

    /// The user part of the peer's target.
    pub fn target_user(&self) -> String {
        uri_of(&self.target)
            .split_once('@')
            .map_or(String::new(), |(user, _)| user.trim_start_matches("sip:").to_owned())
    }
}
