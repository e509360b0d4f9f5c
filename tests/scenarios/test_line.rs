//! What the test line says (SPEC §7), as speech recognition understands what phones record: ten phones, ten random numbers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use toml::toml;

use crate::Outcome;
use crate::certificates;
use crate::daemon::Daemon;
use crate::phone::{Identity, Make, Phone};
use crate::plan::Transport;
use crate::ports;
use crate::process::{Running, tool, until};
use crate::story;
use crate::vars::Vars;

const PHONES: usize = 10;
/// The message takes half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn play() -> Outcome<()> {
    story::in_scratch("test-line", |folder| {
        certificates::write(folder)?;
        let mut vars = Vars::default();
        for name in ["sosbridge", "admin"] {
            vars.set_address(name, ports::free(ports::SOSBRIDGE)?);
        }
        vars.set_address("psap", ports::free(ports::TRUNK)?);
        let pool = numbers();
        let daemon = Daemon::serve(folder, &story::config(&changes(&pool))?, &vars)?;
        let mut phones = (0..PHONES).map(|at| phone(at, folder, &vars)).collect::<Outcome<Vec<Phone>>>()?;
        let told = call(&mut phones, &daemon).and_then(|numbers| understood(&phones, &numbers));
        let output = || phones.iter().map(|phone| format!("\n--- a phone\n{}", phone.output())).collect::<String>();
        told.map_err(|error| format!("{error}; the pool was {pool:?}{}", output()))
    })
}

/// Any ten digits behind +1, the first of an area code. A test does not get the last numbers of a pool, so there are more.
pub fn numbers() -> Vec<String> {
    let random = || RandomState::new().build_hasher().finish();
    let mut numbers = BTreeSet::new();
    while numbers.len() < 2 * PHONES {
        numbers.insert(format!("+1{}", 2_000_000_000 + random() % 8_000_000_000));
    }
    numbers.into_iter().collect()
}

fn user(at: usize) -> String {
    format!("phone{at}")
}

fn changes(pool: &[String]) -> toml::Table {
    let user = |at| {
        let mut table = toml! { password = "secret" resource = "contoso" inbound = false country = "US" };
        table.insert("aor".to_owned(), format!("sip:{}@example.com", user(at)).into());
        toml::Value::Table(table)
    };
    let mut changes = toml! { pools = [{ countries = ["US"] }] };
    changes.insert("users".to_owned(), (0..PHONES).map(user).collect::<Vec<_>>().into());
    let pools = changes.get_mut("pools").and_then(|pools| pools.get_mut(0)).and_then(toml::Value::as_table_mut);
    if let Some(first) = pools {
        first.insert("numbers".to_owned(), pool.to_vec().into());
    }
    changes
}

/// Every other one of them with A-law; one is a baresip.
fn phone(at: usize, folder: &Path, vars: &Vars) -> Outcome<Phone> {
    let make = if at == 1 { Make::Baresip } else { Make::Linphone };
    let codec = if at.is_multiple_of(2) { "PCMU" } else { "PCMA" };
    let name = user(at);
    let server = vars.address("sosbridge")?;
    let identity = Identity { user: &name, server, transport: Transport::Udp, registers: true, codec, tone: 800 };
    Phone::start(make, &identity, ports::free(ports::PHONE)?, &folder.join(&name))
}

/// Everybody dials 933 and listens to the end; the numbers that they had.
fn call(phones: &mut [Phone], daemon: &Daemon) -> Outcome<Vec<String>> {
    let all = |table: &str| {
        let full = until(PATIENCE, || daemon.rows(table).ok().filter(|rows| rows.len() == PHONES));
        full.ok_or_else(|| format!("{table} should be {PHONES}: {:?}", daemon.rows(table)))
    };
    all("registrations")?;
    for phone in phones.iter_mut() {
        phone.record()?;
        phone.dial("sip:933@example.com")?;
    }
    let records = all("records")?;
    let field = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |at| {
        let aor = format!("sip:{}@example.com", user(at));
        let row = records.iter().find(|row| field(row, "user") == aor && field(row, "kind") == "test");
        row.map(|row| field(row, "number")).ok_or_else(|| format!("{aor} made no test call: {records:?}"))
    };
    (0..phones.len()).map(number).collect()
}

/// Each phone has heard its own number twice, and nobody else's.
fn understood(phones: &[Phone], numbers: &[String]) -> Outcome<()> {
    if numbers.iter().collect::<BTreeSet<_>>().len() != PHONES {
        return Err(format!("two phones have one number: {numbers:?}"));
    }
    let mut wrong = String::new();
    for (phone, number) in phones.iter().zip(numbers) {
        let said = recognise(&phone.recording()?)?;
        if said != [number.as_str(); 2] {
            wrong.push_str(&format!("\n{number} was understood as {said:?}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// What is understood of a recording, in which a number is said twice.
pub fn recognise(recording: &Path) -> Outcome<Vec<String>> {
    tool("sox", "sox")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/parties/venv/bin/python");
    let mut command = Command::new(&python);
    command.arg(root.join("tests/scenarios/parties/hears.py")).arg(recording);
    command.arg(root.join("assets/prompts")).stdin(Stdio::null());
    let words: PathBuf = recording.with_extension("txt");
    let create = |file: &Path| std::fs::File::create(file).map_err(|error| error.to_string());
    command.stdout(create(&words)?).stderr(create(&recording.with_extension("errors"))?);
    let status = Running::start("hears.py", &mut command)?.finish(PATIENCE)?;
    let read = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    match status.success() {
        true => Ok(read(&words).lines().map(str::to_owned).collect()),
        false => Err(format!("{}: {}", recording.display(), read(&recording.with_extension("errors")))),
    }
}
