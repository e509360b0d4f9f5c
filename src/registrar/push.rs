//! How a phone that sleeps is woken: the `pn-` parameters of its contact (RFC 8599 §4.1).

use compact_str::CompactString;

use crate::base::limits;
use crate::sip::Uri;

const NAMES: [&str; 3] = ["pn-provider", "pn-param", "pn-prid"];

/// Those of a contact URI, each with its leading `;`; empty where there is no `pn-prid`, without which nobody can be woken.
pub fn parameters(contact: &[u8]) -> CompactString {
    let mut text = CompactString::default();
    let Ok(uri) = Uri::parse(contact) else { return text };
    if uri.params.value("pn-prid").is_none_or(<[u8]>::is_empty) {
        return text;
    }
    for name in NAMES {
        if let Some(value) = uri.params.value(name).filter(|value| value.len() <= limits::KEPT_VALUE_BYTES) {
            text.push(';');
            text.push_str(name);
            text.push('=');
            text.push_str(&String::from_utf8_lossy(value));
        }
    }
    text
}

/// One of them, with its escapes undone, as whoever pushes wants it.
pub fn value(parameters: &str, name: &str) -> Option<String> {
    let params = crate::sip::Params::new(parameters.as_bytes());
    let value = params.value(name)?;
    Some(String::from_utf8_lossy(&crate::sip::uri::unescape(value)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_contact() {
        let contact = "sip:a@10.0.0.1;pn-prid=ZTY4%3A1;ob;pn-provider=fcm;pn-param=proj";
        let kept = parameters(contact.as_bytes());
        assert_eq!(kept, ";pn-provider=fcm;pn-param=proj;pn-prid=ZTY4%3A1");
        assert_eq!(value(&kept, "pn-prid").as_deref(), Some("ZTY4:1"));
        assert_eq!(value(&kept, "pn-provider").as_deref(), Some("fcm"));
        for none in ["sip:a@10.0.0.1", "sip:a@10.0.0.1;pn-provider=fcm", "sip:a@h;pn-provider;pn-prid=", "mailto:a@b"] {
            assert_eq!(parameters(none.as_bytes()), "", "{none}");
        }
    }
}
