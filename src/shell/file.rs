//! The configuration file: reading it, and saying what is wrong with it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::geography::{self, Geography};
use super::tls::{self, Material};
use crate::config::{self, Config, Listener, Loaded, Severity};

/// A configuration and the files it names, read and checked.
#[derive(Debug)]
pub struct Configuration {
    pub config: Config,
    pub tls: Material,
    pub geography: Geography,
    /// What is wrong with the files of `tls.unusable`, ready for a terminal or a log.
    pub faults: String,
}

impl Configuration {
    /// No call could come in.
    fn listens_nowhere(&self) -> bool {
        let is_closed = |(at, listener): (usize, &Listener)| {
            listener.protocol.is_secure() && self.tls.servers.get(at).is_none_or(Option::is_none)
        };
        self.config.listeners.iter().enumerate().all(is_closed)
    }
}

/// Why a file cannot be used; prints ready for a terminal or a log.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error("cannot read {path}: {reason}")]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{0}")]
    Wrong(String),
}

/// Reads and checks `path`. Warnings go to the log.
pub fn load(path: &Path) -> Result<Configuration, FileFault> {
    let (configuration, warnings) = load_with_warnings(path)?;
    if !warnings.is_empty() {
        tracing::warn!("the configuration may be run, but:\n{}", warnings.trim_end());
    }
    Ok(configuration)
}

/// Like [`load`], to start with: SPEC §10, a file of TLS that cannot be used costs what needs it, which is in the log as an error.
///
/// # Errors
/// As [`load`]; or no listener is left.
pub fn load_to_serve(path: &Path) -> Result<Configuration, FileFault> {
    let configuration = load(path)?;
    if !configuration.tls.unusable.is_empty() {
        if configuration.listens_nowhere() {
            return Err(FileFault::Wrong(configuration.faults));
        }
        tracing::error!("files cannot be used, what needs them waits, all else goes on:\n{}", configuration.faults);
    }
    Ok(configuration)
}

/// Like [`load`], with the warnings as text ready to print; empty when there are none.
pub fn load_with_warnings(path: &Path) -> Result<(Configuration, String), FileFault> {
    let (text, loaded) = read(path)?;
    let Loaded { config, mut warnings } = loaded;
    let name = path.display().to_string();
    let (tls, of_certificates) = tls::load(&config, SystemTime::now());
    let (errors, of_certificates): (Vec<_>, Vec<_>) =
        of_certificates.into_iter().partition(|problem| problem.severity == Severity::Error);
    warnings.extend(of_certificates);
    let (geography, of_geography) = geography::load(&config);
    warnings.extend(of_geography);
    let faults = config::render(&errors, &name, &text).trim_end().to_owned();
    Ok((Configuration { config, tls, geography, faults }, config::render(&warnings, &name, &text)))
}

/// The configuration alone: whoever only asks the daemon need not be able to read its keys.
pub fn load_config(path: &Path) -> Result<Config, FileFault> {
    read(path).map(|(_, loaded)| loaded.config)
}

fn read(path: &Path) -> Result<(String, Loaded), FileFault> {
    let unreadable = |reason| FileFault::Unreadable { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let whole = std::path::absolute(path).map_err(unreadable)?;
    match config::load(&text, whole.parent().unwrap_or(&whole)) {
        Ok(loaded) => Ok((text, loaded)),
        Err(problems) => Err(FileFault::Wrong(config::render(&problems, &path.display().to_string(), &text))),
    }
}
