//! The operator's commands: ask the running daemon over its admin address, print a table or the JSON as it came.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin::{
    CallView, LeaseView, MediaView, NoticeState, Notification, Party, Record, RegistrationView, Stamp, TrunkView,
};
use crate::media::Kind;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer read, in bytes: 100,000 leases are a third of it.
const ANSWER_BYTES: u64 = 128 << 20;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Leases,
    Calls,
    Registrations,
    Trunks,
    Records { limit: usize },
}

#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    #[error(
        "no daemon answers at http://{address} ([admin] listen of the config): {reason}. Start it with `sosbridge serve`"
    )]
    NotRunning { address: SocketAddr, reason: String },
    #[error("the daemon at http://{0} has another [admin] token than this config")]
    WrongToken(SocketAddr),
    #[error("the daemon at http://{address} answered {status}: {body}")]
    Refused { address: SocketAddr, status: u16, body: String },
    #[error("the daemon's answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// Asks the daemon that runs with `[admin] listen` and `token`, and prints its answer.
pub fn ask(
    listen: SocketAddr,
    token: Option<&str>,
    table: Table,
    json: bool,
    output: &mut impl Write,
) -> Result<(), AskFault> {
    let body = fetch(reachable(listen), token, table)?;
    let text = if json { body } else { render(table, &body)? };
    // A closed pipe (`| head`) is not a failure of the question.
    let _ = writeln!(output, "{}", text.trim_end());
    Ok(())
}

/// A daemon that listens on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn fetch(address: SocketAddr, token: Option<&str>, table: Table) -> Result<String, AskFault> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        // The daemon is asked directly, whatever the environment says of proxies.
        .proxy(None)
        .build()
        .into();
    let path = match table {
        Table::Leases => "leases".to_owned(),
        Table::Calls => "calls".to_owned(),
        Table::Registrations => "registrations".to_owned(),
        Table::Trunks => "trunks".to_owned(),
        Table::Records { limit } => format!("records?limit={limit}"),
    };
    let mut request = agent.get(format!("http://{address}/api/v1/{path}"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let not_running = |error: ureq::Error| AskFault::NotRunning { address, reason: error.to_string() };
    let mut response = request.call().map_err(not_running)?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string().map_err(not_running)?;
    match response.status().as_u16() {
        200 => Ok(body),
        401 => Err(AskFault::WrongToken(address)),
        status => Err(AskFault::Refused { address, status, body: body.trim().to_owned() }),
    }
}

fn render(table: Table, body: &str) -> Result<String, AskFault> {
    fn rows<T: DeserializeOwned>(body: &str) -> Result<Vec<T>, AskFault> {
        Ok(serde_json::from_str(body)?)
    }
    Ok(match table {
        Table::Leases => leases(&rows(body)?),
        Table::Calls => calls(&rows(body)?),
        Table::Registrations => registrations(&rows(body)?),
        Table::Trunks => trunks(&rows(body)?),
        Table::Records { .. } => records(&rows(body)?),
    })
}

fn leases(rows: &[LeaseView]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.number.to_string(),
            row.state.to_string(),
            row.user.to_string(),
            row.resource.to_string(),
            optional(row.country.as_ref()),
            row.calls.to_string(),
            short(Some(row.dialled_at)),
            short(Some(row.expires_at)),
            short(row.quarantine_until),
            test(row.test),
            optional(row.origin.as_ref()),
        ]
    });
    let head = [
        "NUMBER",
        "STATE",
        "USER",
        "RESOURCE",
        "COUNTRY",
        "CALLS",
        "DIALLED",
        "EXPIRES",
        "QUARANTINE UNTIL",
        "TEST",
        "ORIGIN",
    ];
    aligned(&head, cells, "no number is leased")
}

fn calls(rows: &[CallView]) -> String {
    let head = [
        "ID",
        "KIND",
        "STATE",
        "USER",
        "NUMBER",
        "COUNTRY",
        "DIALLED",
        "TRUNK",
        "STARTED",
        "ANSWERED",
        "LAST HEARD",
        "TEST",
    ];
    let cells = rows.iter().map(|row| {
        let mut cells = call(row, row.state.to_string(), row.answered_at);
        cells.push(each_party(row, last_heard));
        cells.push(test(row.test));
        cells
    });
    aligned(&head, cells, "no call is up")
}

fn records(rows: &[Record]) -> String {
    let cells = rows.iter().map(|row| {
        let mut cells = call(&row.call, row.outcome.to_string(), Some(row.ended_at));
        cells.push(optional(row.status));
        cells.push(row.attempts.len().to_string());
        cells.push(notified(row));
        cells.push(each_party(&row.call, packets));
        cells.push(test(row.call.test));
        cells
    });
    let head = [
        "ID", "KIND", "OUTCOME", "USER", "NUMBER", "COUNTRY", "DIALLED", "TRUNK", "STARTED", "ENDED", "STATUS",
        "ATTEMPTS", "NOTIFIED", "PACKETS", "TEST",
    ];
    aligned(&head, cells, "no call has ended yet")
}

/// How many of the notifications of a call were acknowledged, of how many.
fn notified(row: &Record) -> String {
    let delivered = |one: &&Notification| one.state == NoticeState::Delivered;
    match row.notifications.len() {
        0 => "-".to_owned(),
        all => format!("{}/{all}", row.notifications.iter().filter(delivered).count()),
    }
}

/// `what` of the streams of each party that the relay carries for, those that are gone before those that are up.
fn each_party(row: &CallView, what: fn(&[&MediaView]) -> String) -> String {
    let of_party = |party: Party| {
        let streams: Vec<&MediaView> = row.media.iter().filter(|stream| stream.leg == party).collect();
        (!streams.is_empty()).then(|| format!("{party} {}", what(&streams)))
    };
    let parties: Vec<String> = [Party::Caller, Party::Called].into_iter().filter_map(of_party).collect();
    if parties.is_empty() { "-".to_owned() } else { parties.join(", ") }
}

/// How long ago, of its sound where it has any.
fn last_heard(streams: &[&MediaView]) -> String {
    let sound = streams.iter().rfind(|stream| stream.kind == Kind::Audio);
    match sound.or(streams.last()) {
        Some(stream) if stream.packets > 0 => format!("{} s ago", stream.silent_s),
        Some(_) | None => "never".to_owned(),
    }
}

fn packets(streams: &[&MediaView]) -> String {
    streams.iter().map(|stream| stream.packets).sum::<u64>().to_string()
}

fn test(is_test: bool) -> String {
    if is_test { "test" } else { "-" }.to_owned()
}

fn call(row: &CallView, state: String, until: Option<Stamp>) -> Vec<String> {
    vec![
        row.id.to_string(),
        row.kind.to_string(),
        state,
        optional(row.user.as_ref()),
        optional(row.number),
        optional(row.country.as_ref()),
        row.dialled.to_string(),
        optional(row.trunk.as_ref()),
        short(Some(row.started_at)),
        short(until),
    ]
}

fn registrations(rows: &[RegistrationView]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.user.to_string(),
            row.contact.to_string(),
            row.transport.uri_token().to_owned(),
            row.source.to_string(),
            short(Some(row.expires_at)),
            optional(row.user_agent.as_ref()),
        ]
    });
    aligned(&["USER", "CONTACT", "TRANSPORT", "SOURCE", "EXPIRES", "USER AGENT"], cells, "no phone is registered")
}

fn trunks(rows: &[TrunkView]) -> String {
    let cells = rows.iter().flat_map(|trunk| {
        trunk.targets.iter().map(move |target| {
            vec![
                trunk.name.to_string(),
                target.uri.to_string(),
                target.state.to_string(),
                short(target.last_ok),
                optional(target.last_status),
                optional(target.last_error.as_ref()),
                optional(trunk.registration.as_ref().map(|registration| registration.state)),
            ]
        })
    });
    let head = ["TRUNK", "TARGET", "STATE", "LAST OK", "LAST STATUS", "LAST ERROR", "REGISTERED"];
    aligned(&head, cells, "no trunk is configured")
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// To the second: `2026-11-22 15:04:05Z`.
fn short(stamp: Option<Stamp>) -> String {
    let whole = optional(stamp);
    match whole.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => whole,
    }
}

/// Columns as wide as their widest cell; control characters of peers (a User-Agent, a Contact) never reach the terminal.
fn aligned(head: &[&str], rows: impl Iterator<Item = Vec<String>>, when_empty: &str) -> String {
    let rows: Vec<Vec<String>> = rows.map(|row| row.into_iter().map(printable).collect()).collect();
    if rows.is_empty() {
        return when_empty.to_owned();
    }
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let start = text.len();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.truncate(start + text.get(start..).map_or(0, |line| line.trim_end().len()));
        text.push('\n');
    }
    text
}

fn printable(cell: String) -> String {
    if cell.chars().any(char::is_control) {
        cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_line_up_and_peers_cannot_write_to_the_terminal() {
        let rows = vec![
            vec!["a".to_owned(), "long cell".to_owned(), "1".to_owned()],
            vec!["é\x1b[2J".to_owned(), "b".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            aligned(&["X", "NAME", "N"], rows.into_iter(), "none"),
            "X      NAME       N\na      long cell  1\né?[2J  b          22\n"
        );
        assert_eq!(aligned(&["X"], std::iter::empty(), "none"), "none");
    }

    #[test]
    fn a_lease_is_shown_in_full() {
        let body = r#"[{"number":"+14255551000","resource":"contoso","country":"US","user":"sip:alice@example.com","contact":null,"state":"held","dialled_at":"1970-01-01T00:00:00.000Z","expires_at":"1970-01-01T01:00:00.000Z","quarantine_until":null,"calls":0,"test":false,"new":1}]"#;
        let shown = render(Table::Leases, body).unwrap();
        let line = shown.lines().nth(1).unwrap();
        let cells: Vec<&str> = line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "+14255551000",
                "held",
                "sip:alice@example.com",
                "contoso",
                "US",
                "0",
                "1970-01-01 00:00:00Z",
                "1970-01-01 01:00:00Z",
                "-",
                "-",
                "-"
            ]
        );
    }

    /// Rule 7.1h.
    #[test]
    fn a_test_is_shown_as_one_whatever_its_kind() {
        let call = |kind: &str, test: &str| {
            format!(
                r#"{{"id":"1","kind":"{kind}","user":null,"number":null,"country":null,"dialled":"933","trunk":null,"state":"ended","started_at":"1970-01-01T00:00:00.000Z","answered_at":null{test}"#
            )
        };
        let (outbound, callback) = (call("outbound", r#","test":true"#), call("callback", ""));
        let last = |shown: &str| {
            shown.lines().map(|line| line.rsplit("  ").next().unwrap().trim().to_owned()).collect::<Vec<_>>()
        };
        let shown = render(Table::Calls, &format!("[{outbound}}},{callback}}}]")).unwrap();
        assert_eq!(last(&shown), ["TEST", "test", "-"], "{shown}");
        let end = r#","ended_at":"1970-01-01T00:00:01.000Z","outcome":"answered","status":200}"#;
        let shown = render(Table::Records { limit: 2 }, &format!("[{outbound}{end},{callback}{end}]")).unwrap();
        assert_eq!(last(&shown), ["TEST", "test", "-"], "{shown}");
    }

    /// SPEC §9: silence is shown.
    #[test]
    fn who_is_not_heard_is_shown() {
        let stream = |leg: &str, kind: &str, packets: u64, silent: u64| {
            format!(
                r#"{{"leg":"{leg}","kind":"{kind}","packets":{packets},"bytes":0,"lost":0,"jitter_ms":0,"reported_lost":null,"reported_jitter_ms":null,"silent_s":{silent}}}"#
            )
        };
        let row = |media: &[String]| {
            format!(
                r#"{{"id":"1","kind":"emergency","user":null,"number":null,"country":null,"dialled":"911","trunk":null,"state":"answered","started_at":"1970-01-01T00:00:00.000Z","answered_at":null,"media":[{}]"#,
                media.join(",")
            )
        };
        let left = stream("caller", "audio", 50, 0);
        let streams = [
            left,
            stream("caller", "audio", 7, 130),
            stream("caller", "video", 9, 1),
            stream("called", "audio", 0, 130),
        ];
        let shown = render(Table::Calls, &format!("[{}}},{}}}]", row(&streams), row(&[]))).unwrap();
        let mut lines = shown.lines().skip(1);
        assert!(lines.next().unwrap().contains("caller 130 s ago, called never"), "{shown}");
        assert!(!lines.next().unwrap().contains("never"), "{shown}");
        let end = r#","ended_at":"1970-01-01T00:00:01.000Z","outcome":"answered","status":200}"#;
        let shown = render(Table::Records { limit: 1 }, &format!("[{}{end}]", row(&streams))).unwrap();
        assert!(shown.contains("caller 66, called 0"), "{shown}");
    }

    #[test]
    fn a_daemon_that_does_not_run_is_said_to() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault = ask(nobody, None, Table::Calls, false, &mut Vec::new()).unwrap_err();
        assert!(fault.to_string().starts_with("no daemon answers at http://127.0.0.1:"), "{fault}");
    }

    #[test]
    fn the_unspecified_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8060".parse().unwrap()), "127.0.0.1:8060".parse().unwrap());
        assert_eq!(reachable("[::]:8060".parse().unwrap()), "[::1]:8060".parse().unwrap());
    }
}
