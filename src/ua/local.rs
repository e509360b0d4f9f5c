//! How this daemon names itself to a peer: Via, Contact and From hosts of one listener.

use std::fmt;

use crate::base::Protocol;

/// The names of one listener, printed into every message sent through it.
#[derive(Clone, Debug)]
pub struct Local {
    pub protocol: Protocol,
    /// Host without port, IPv6 in brackets.
    pub host: String,
    pub port: u16,
    /// The address in origin lines of session descriptions.
    pub address: std::net::IpAddr,
}

impl Local {
    /// `host:port`, the sent-by of our Vias (RFC 3261 §18.1.1).
    pub fn sent_by(&self) -> impl fmt::Display + '_ {
        SentBy(self)
    }

    /// A Contact of ours: `<sip:user@host:port;transport=tcp>`; in a dialog that is `secure`, `<sips:user@host:port>`.
    pub fn contact<'a>(&'a self, user: &'a str, secure: bool) -> impl fmt::Display + 'a {
        ContactOf { local: self, user, secure }
    }
}

struct SentBy<'a>(&'a Local);

impl fmt::Display for SentBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host, self.0.port)
    }
}

struct ContactOf<'a> {
    local: &'a Local,
    user: &'a str,
    secure: bool,
}

impl fmt::Display for ContactOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "<sips:" } else { "<sip:" })?;
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        write!(f, "{}:{}", self.local.host, self.local.port)?;
        match self.local.protocol {
            Protocol::Udp => f.write_str(">"),
            // RFC 5630 §3.1.4: sips says it already.
            Protocol::Tcp | Protocol::Tls if self.secure => f.write_str(">"),
            // RFC 7118 §5.3: there is no token for WSS.
            Protocol::Ws | Protocol::Wss => f.write_str(";transport=ws>"),
            stream => write!(f, ";transport={}>", stream.uri_token()),
        }
    }
}
