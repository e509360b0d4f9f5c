//! The configuration file: reading it, and saying what is wrong with it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::geography::{self, Geography};
use super::tls::{self, Material};
use crate::config::{self, Config, Loaded};

/// A configuration and the files it names, read and checked.
#[derive(Debug)]
pub struct Configuration {
    pub config: Config,
    pub tls: Material,
    pub geography: Geography,
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

/// Like [`load`], with the warnings as text ready to print; empty when there are none.
pub fn load_with_warnings(path: &Path) -> Result<(Configuration, String), FileFault> {
    let (text, loaded) = read(path)?;
    let Loaded { config, mut warnings } = loaded;
    let name = path.display().to_string();
    let wrong = |problems: Vec<_>| FileFault::Wrong(config::render(&problems, &name, &text));
    let (tls, of_certificates) = tls::load(&config, SystemTime::now()).map_err(wrong)?;
    warnings.extend(of_certificates);
    let (geography, of_geography) = geography::load(&config);
    warnings.extend(of_geography);
    Ok((Configuration { config, tls, geography }, config::render(&warnings, &name, &text)))
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
