//! Keys whose feature is not in this version: accepted and checked, and never believed in silently.
//! A feature that arrives takes its line out of the table.

use super::read::Report;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Key path through tables and lists of tables, and what does not happen.
const LATER: [(&[&str], &str); 1] = [(&["media", "rtpengine"], "media by rtpengine")];

/// Warns of every key that is set and has no effect yet.
pub(super) fn check(root: &DeTable<'_>, report: &Report) {
    for (path, feature) in LATER {
        let mut found = Vec::new();
        find(root, path, &mut found, &|value| is_set(value));
        let key = path.join(".");
        if let Some(first) = found.first() {
            let more = if found.len() > 1 { format!(" ({} times)", found.len()) } else { String::new() };
            let message = format!("`{key}`{more}: {feature} is not in this version, and the key has no effect");
            report.warning(&first.span(), key, message, None);
        }
    }
    media(root, report);
}

/// rtpengine is known by name only.
fn media(root: &DeTable<'_>, report: &Report) {
    for path in [&["media", "mode"][..], &["trunks", "media"]] {
        let mut found = Vec::new();
        find(root, path, &mut found, &|value| value.as_str() == Some("rtpengine"));
        for value in found {
            let key = path.join(".");
            let message = format!("`{key}`: media mode \"rtpengine\" is not in this version: the relay does its work");
            report.warning(&value.span(), key, message, None);
        }
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

fn find<'a>(
    table: &'a DeTable<'a>,
    path: &[&str],
    found: &mut Vec<&'a Value<'a>>,
    wanted: &dyn Fn(&DeValue<'_>) -> bool,
) {
    let Some((key, rest)) = path.split_first() else { return };
    let Some(value) = table.get(*key) else { return };
    match value.get_ref() {
        inner if rest.is_empty() && wanted(inner) => found.push(value),
        _ if rest.is_empty() => {}
        DeValue::Table(inner) => find(inner, rest, found, wanted),
        DeValue::Array(items) => {
            items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .for_each(|inner| find(inner, rest, found, wanted));
        }
        _ => {}
    }
}

fn is_set(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Boolean(flag) => *flag,
        DeValue::String(text) => !text.is_empty(),
        DeValue::Array(items) => !items.is_empty(),
        DeValue::Table(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => true,
    }
}
