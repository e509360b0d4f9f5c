//! Names that other keys refer to: each once, and a reference to no one names the nearest.

use super::read::{At, Fault, Keys, nearest};
use compact_str::CompactString;
use std::collections::BTreeMap;

/// The names of one kind of thing, with the place of each in its list.
pub(super) struct Names {
    /// `trunk`, `resource`: for messages.
    kind: &'static str,
    places_by_name: BTreeMap<CompactString, u32>,
}

impl Names {
    pub fn new(kind: &'static str) -> Self {
        Self { kind, places_by_name: BTreeMap::new() }
    }

    /// Enters the name under `keys`' key `name`; a second use is a fault.
    pub fn add(&mut self, keys: &Keys<'_>, name: &At<CompactString>, place: usize) {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        if self.places_by_name.contains_key(&name.value) {
            let fault = format!("is {:?}, the name of another {}", name.value, self.kind);
            keys.fault("name", &name.span, fault.into());
        } else {
            self.places_by_name.insert(name.value.clone(), place);
        }
    }

    /// The place of the thing `key` refers to.
    pub fn find(&self, keys: &Keys<'_>, key: &str, name: &At<CompactString>) -> Option<u32> {
        let found = self.places_by_name.get(&name.value).copied();
        if found.is_none() {
            let message = format!("names no {}: {:?}", self.kind, name.value);
            let near = nearest(&name.value, self.places_by_name.keys().map(CompactString::as_str));
            let help = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None if self.places_by_name.is_empty() => format!("there is no [[{}s]] in the file", self.kind),
                None => {
                    format!("known: {}", self.places_by_name.keys().take(10).cloned().collect::<Vec<_>>().join(", "))
                }
            };
            keys.fault(key, &name.span, Fault::helped(message, help));
        }
        found
    }
}
