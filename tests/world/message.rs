//! SIP messages as a party of the tests writes and reads them: lines of text, by no code of the daemon.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A message taken apart at its colons, or about to be put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Msg {
    pub start: String,
    pub lines: Vec<(String, String)>,
    pub body: String,
}

impl Msg {
    /// A request line and nothing else.
    pub fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} SIP/2.0"), lines: Vec::new(), body: String::new() }
    }

    pub fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no empty line in {text:?}"));
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
            (long_form(name.trim()).to_owned(), value.trim().to_owned())
        };
        Self { start, lines: lines.map(header).collect(), body: body.to_owned() }
    }

    /// The method of a request; of a response the one in CSeq.
    pub fn method(&self) -> &str {
        match self.code() {
            0 => self.start.split(' ').next().unwrap_or_default(),
            _ => self.header("CSeq").split_whitespace().nth(1).unwrap_or_default(),
        }
    }

    /// 0 for a request.
    pub fn code(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of that name; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.values(name).into_iter().next().unwrap_or_default()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter(|line| line.0.eq_ignore_ascii_case(name)).map(|line| line.1.as_str()).collect()
    }

    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    pub fn branch(&self) -> &str {
        param(self.header("Via"), "branch")
    }

    /// The URI between the angle brackets of the first Contact.
    pub fn contact(&self) -> String {
        uri_of(self.header("Contact"))
    }

    /// Adds a line.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a line in place of all those of that name.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match self.lines.iter().position(|line| line.0.eq_ignore_ascii_case(name)) {
            Some(at) => self.lines[at].1 = value.to_owned(),
            None => self.lines.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.lines.retain(|line| !line.0.eq_ignore_ascii_case(name));
        self
    }

    /// Gives it a session description.
    pub fn sdp(self, body: &str) -> Self {
        self.body("application/sdp", body)
    }

    pub fn body(self, content_type: &str, body: &str) -> Self {
        let mut message = self.set("Content-Type", content_type);
        message.body = body.to_owned();
        message
    }

    pub fn branched(self, branch: &str) -> Self {
        let via = self.header("Via");
        let via = format!("{};branch={branch};rport", via.split(';').next().unwrap_or_default());
        self.set("Via", &via)
    }

    /// A response with what §8.2.6.2 copies; without a To tag where the request has none.
    pub fn respond(&self, code: u16) -> Self {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
        let is_copied = |line: &&(String, String)| copied.iter().any(|name| line.0.eq_ignore_ascii_case(name));
        let lines = self.lines.iter().filter(is_copied).cloned().collect();
        Self { start: format!("SIP/2.0 {code} Whatever"), lines, body: String::new() }
    }

    /// The CANCEL of this INVITE (§9.1).
    pub fn cancel(&self) -> Self {
        let copied = ["Via", "From", "To", "Call-ID", "Route", "Max-Forwards"];
        let mut cancel = Self::request("CANCEL", self.uri());
        cancel.lines = self.lines.iter().filter(|line| copied.contains(&line.0.as_str())).cloned().collect();
        cancel.with("CSeq", &format!("{} CANCEL", self.cseq()))
    }

    /// The ACK of a non-2xx answer to this INVITE (§17.1.1.3).
    pub fn ack_of(&self, response: &Self) -> Self {
        let mut ack = self.cancel().set("To", response.header("To")).set("CSeq", &format!("{} ACK", self.cseq()));
        ack.start = format!("ACK {} SIP/2.0", self.uri());
        ack
    }
}

impl fmt::Display for Msg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.start)?;
        for (name, value) in &self.lines {
            write!(f, "{name}: {value}\r\n")?;
        }
        if !self.has("Content-Length") {
            write!(f, "Content-Length: {}\r\n", self.body.len())?;
        }
        write!(f, "\r\n{}", self.body)
    }
}

/// The compact names of RFC 3261 §7.3.3 in full.
fn long_form(name: &str) -> &str {
    match name.to_ascii_lowercase().as_str() {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "c" => "Content-Type",
        "l" => "Content-Length",
        _ => name,
    }
}

/// A number never used before in this run, for branches and Call-IDs.
pub fn fresh() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// `;name=value` of a header value; empty when there is none.
pub fn param<'a>(value: &'a str, name: &str) -> &'a str {
    let after = value.rsplit_once('>').map_or(value, |(_, after)| after);
    let found = after.split(';').skip(1).find_map(|param| param.trim().strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default()
}

pub fn uri_of(value: &str) -> String {
    let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(uri, _)| uri);
    inner.unwrap_or_else(|| value.split(';').next().unwrap_or_default()).to_owned()
}
