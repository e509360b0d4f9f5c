//! The variables of a story: addresses of its parties, and what the parties noted with `<log message="name=…"/>`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::Outcome;

#[derive(Default)]
pub struct Vars(BTreeMap<String, String>);

impl Vars {
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// `{name}`, `{name_ip}` and `{name_port}`.
    pub fn set_address(&mut self, name: &str, address: SocketAddr) {
        self.set(name, &address.to_string());
        self.set(&format!("{name}_ip"), &address.ip().to_string());
        self.set(&format!("{name}_port"), &address.port().to_string());
    }

    pub fn address(&self, name: &str) -> Outcome<SocketAddr> {
        let text = self.0.get(name).ok_or_else(|| format!("no party is called {name}"))?;
        text.parse().map_err(|_| format!("{name} is no party: {text}"))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// `text` with every `{name}` replaced; a name that is not known is an error, other braces stay.
    pub fn fill(&self, text: &str) -> Outcome<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
            match name {
                Some(name) => {
                    filled.push_str(self.0.get(name).ok_or_else(|| format!("nobody has told {{{name}}} yet"))?);
                    rest = after.get(name.len() + 1..).unwrap_or_default();
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Takes over every `name=value` line.
    pub fn learn(&mut self, noted: &str) {
        for (name, value) in noted.lines().filter_map(|line| line.trim().split_once('=')) {
            if is_name(name) {
                self.set(name, value.trim());
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
