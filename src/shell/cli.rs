//! The command line (INTERFACE.md, "Commands") and its exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::ask::{self, Table};
use super::{demo, explain, file, log, serve};
use crate::config::Config;

/// The configuration is wrong.
const BAD_CONFIG: u8 = 2;

/// A SIP back-to-back user agent for emergency calls: temporary numbers, durable callbacks.
#[derive(Parser)]
#[command(name = "sosbridge", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or SIGINT; SIGHUP reloads the configuration.
    Serve,
    /// Read and verify the configuration.
    Check,
    /// The main job on loopback in under 20 seconds: 911, a crash, and the callback, with nothing to install.
    Demo(demo::Options),
    /// What would happen if this user dialled that: every rule that decides, and the INVITE that would leave. Nothing is sent.
    Explain {
        /// The caller: sip:alice@example.com.
        #[arg(long, value_name = "AOR")]
        user: String,
        /// A number or a URI, as dialled.
        dialled: String,
        /// Where the call comes from; default: an address of which nothing is known.
        #[arg(long, value_name = "IP")]
        source: Option<std::net::IpAddr>,
        /// The country the phone tells, as ISO 3166-1 code.
        #[arg(long, value_name = "CC")]
        country: Option<String>,
    },
    /// The leased numbers of the running daemon.
    Leases(Format),
    /// The calls that are up.
    Calls(Format),
    /// The phones registered now.
    Registrations(Format),
    /// The trunks and what is known of their targets.
    Trunks(Format),
    /// The calls that have ended, newest first.
    Records {
        #[command(flatten)]
        format: Format,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Args)]
struct Format {
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    match command {
        Command::Serve => serve(&config),
        Command::Check => check(&config),
        Command::Demo(options) => demo::run(options),
        Command::Explain { user, dialled, source, country } => {
            explain(&config, &explain::Question { user, dialled, source, country })
        }
        Command::Leases(format) => ask(&config, Table::Leases, &format),
        Command::Calls(format) => ask(&config, Table::Calls, &format),
        Command::Registrations(format) => ask(&config, Table::Registrations, &format),
        Command::Trunks(format) => ask(&config, Table::Trunks, &format),
        Command::Records { format, limit } => ask(&config, Table::Records { limit }, &format),
    }
}

fn serve(path: &Path) -> ExitCode {
    let log = log::start();
    let configuration = match file::load_to_serve(path) {
        Ok(configuration) => configuration,
        Err(fault) => {
            // After what the log has to say.
            drop(log);
            return fail(&fault, BAD_CONFIG);
        }
    };
    match serve::serve(configuration, path.to_owned()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            drop(log);
            fail(&fault, 1)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    match file::load_with_warnings(path) {
        Ok((loaded, _)) if !loaded.faults.is_empty() => fail(&file::FileFault::Wrong(loaded.faults), BAD_CONFIG),
        Ok((loaded, warnings)) => {
            say(&mut std::io::stderr(), &warnings);
            say(&mut std::io::stdout(), &summary(path, &loaded.config));
            ExitCode::SUCCESS
        }
        Err(fault) => fail(&fault, BAD_CONFIG),
    }
}

fn explain(path: &Path, question: &explain::Question) -> ExitCode {
    let (configuration, _) = match file::load_with_warnings(path) {
        Ok(loaded) => loaded,
        Err(fault) => return fail(&fault, BAD_CONFIG),
    };
    match explain::explain(configuration, question) {
        Ok(explanation) => {
            say(&mut std::io::stdout(), &explanation.to_string());
            ExitCode::from(u8::from(explanation.is_refused()))
        }
        Err(fault) => fail(&fault, 1),
    }
}

/// One line that shows the file was understood.
fn summary(path: &Path, config: &Config) -> String {
    let numbers: u64 = config.pools.iter().map(crate::config::Pool::len).sum();
    format!(
        "{}: right. Listeners {}, resources {}, users {}, trunks {}, routes {}, pools {} with {numbers} numbers",
        path.display(),
        config.listeners.len(),
        config.resources.len(),
        config.users.len(),
        config.trunks.len(),
        config.routes.len(),
        config.pools.len(),
    )
}

fn ask(path: &Path, table: Table, format: &Format) -> ExitCode {
    let config = match file::load_config(path) {
        Ok(config) => config,
        Err(fault) => return fail(&fault, 1),
    };
    let token = config.admin.token.as_ref().map(|token| token.0.as_str());
    match ask::ask(config.admin.listen, token, table, format.json, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(&fault, 1),
    }
}

fn fail(fault: &dyn std::error::Error, code: u8) -> ExitCode {
    say(&mut std::io::stderr(), &format!("sosbridge: {fault}"));
    ExitCode::from(code)
}

/// Prints unless there is nothing to say; a closed terminal or pipe is not a failure.
fn say(output: &mut dyn std::io::Write, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(output, "{}", text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["sosbridge", "records", "--json", "--config", "x.toml"]).unwrap();
        assert_eq!(cli.config, PathBuf::from("x.toml"));
        assert!(matches!(cli.command, Command::Records { format: Format { json: true }, limit: 50 }));
    }
}
