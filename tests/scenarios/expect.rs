//! What the admin API must say: so many rows, each with the fields that the story names.

use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::daemon::Daemon;
use crate::process::until;
use crate::vars::Vars;

/// The API may lag behind a SIP message by a moment: records are written in groups.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn expect(daemon: &Daemon, table: &str, wanted: &[toml::Table], vars: &Vars) -> Outcome<()> {
    expect_of(|| daemon.rows(table), table, wanted, vars)
}

/// The same of rows from anywhere.
pub fn expect_of(
    rows: impl Fn() -> Outcome<Vec<Value>>,
    table: &str,
    wanted: &[toml::Table],
    vars: &Vars,
) -> Outcome<()> {
    let wanted = wanted.iter().map(|row| row_of(row, vars)).collect::<Outcome<Vec<Value>>>()?;
    let mut last = Ok(Vec::new());
    let met = until(PATIENCE, || {
        last = rows();
        last.as_ref().is_ok_and(|rows| all_match(rows, &wanted)).then_some(())
    });
    met.ok_or_else(|| {
        let pretty = |rows: &[Value]| rows.iter().map(|row| format!("  {row}\n")).collect::<String>();
        match last {
            Ok(rows) => format!("{table} should be\n{}but are\n{}", pretty(&wanted), pretty(&rows)),
            Err(error) => error,
        }
    })
}

/// In whatever order; each wanted row has a row of its own.
fn all_match(rows: &[Value], wanted: &[Value]) -> bool {
    let mut left: Vec<&Value> = rows.iter().collect();
    let found = wanted.iter().all(|want| match left.iter().position(|row| contains(row, want)) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    });
    found && left.is_empty()
}

/// Objects may have more fields than wanted, lists not more items; `""` also stands for null, `"~…"` is a regular expression.
pub fn contains(row: &Value, want: &Value) -> bool {
    match (row, want) {
        (Value::Object(row), Value::Object(want)) => {
            want.iter().all(|(key, want)| row.get(key).is_some_and(|value| contains(value, want)))
        }
        (Value::Array(row), Value::Array(want)) => {
            row.len() == want.len() && row.iter().zip(want).all(|(row, want)| contains(row, want))
        }
        (Value::Null, Value::String(want)) => want.is_empty(),
        (Value::String(row), Value::String(want)) => match want.strip_prefix('~') {
            Some(pattern) => regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(row)),
            None => row == want,
        },
        (row, want) => row == want,
    }
}

fn row_of(row: &toml::Table, vars: &Vars) -> Outcome<Value> {
    let text = serde_json::to_string(row).map_err(|error| error.to_string())?;
    serde_json::from_str(&vars.fill(&text)?).map_err(|error| error.to_string())
}

/// The yardstick itself: what must be met, and what must not.
pub fn self_check() -> Outcome<()> {
    use serde_json::json;
    let rows = [
        json!({"kind": "callback", "number": "+44207", "trunk": null}),
        json!({"kind": "test", "tries": [{"status": 408}]}),
    ];
    let met = [
        vec![json!({"kind": "test"}), json!({"kind": "callback"})],
        vec![json!({"number": "~^[+]44", "trunk": ""}), json!({"tries": [{"status": 408}]})],
    ];
    let unmet = [
        vec![],
        vec![json!({"kind": "test"})],
        vec![json!({"kind": "test"}), json!({"kind": "test"})],
        vec![json!({"kind": "test"}), json!({"number": "~^[+]45"})],
        vec![json!({"tries": []}), json!({"kind": "callback"})],
        vec![json!({"tries": [{"status": 200}]}), json!({"kind": "callback"})],
        vec![json!({"absent": ""}), json!({"kind": "callback"})],
        vec![json!({}), json!({}), json!({})],
    ];
    let wrong_met = met.iter().find(|wanted| !all_match(&rows, wanted));
    let wrong_unmet = unmet.iter().find(|wanted| all_match(&rows, wanted));
    match wrong_met.or(wrong_unmet) {
        Some(wanted) => Err(format!("judged wrongly: {wanted:?}")),
        None => Ok(()),
    }
}
