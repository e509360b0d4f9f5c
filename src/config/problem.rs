//! What is wrong with a configuration, and how it is shown: file, line, column, the line itself and a caret.

use super::store::without_passwords;
use super::types::GeoKeys;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use std::sync::Arc;

/// More than this many are counted, not shown.
const SHOWN: usize = 50;
const WIDTH: usize = 120;

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Names the key and says what is wrong with it; one sentence without full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Bytes of the file to point at.
    pub span: Range<usize>,
    /// The key as a path, `users[2].aor`; empty for a fault of the TOML itself.
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be run.
    Error,
    /// It can, and somebody should know.
    Warning,
}

impl Problem {
    /// `[geo] database` cannot be used, which no emergency call has to wait for: a warning.
    pub fn of_geography(geo: &GeoKeys, what: &str) -> Self {
        let path = geo.database.as_deref().unwrap_or(Path::new("")).display();
        Self {
            severity: Severity::Warning,
            message: format!("`geo.database`: {path} {what}: nobody's country is told by the address"),
            help: None,
            span: geo.span.clone(),
            key: "geo.database".to_owned(),
        }
    }

    /// Line and column of the span's start in `text`, both from 1; columns count characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        (line, before.get(line_start..).unwrap_or("").chars().count() + 1)
    }
}

/// Shows `problems` for a terminal or a log: no colour, plain ASCII frames.
///
/// `file_name` is printed as given; `text` is the text that was loaded.
pub fn render(problems: &[Problem], file_name: &str, text: &str) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none())
        .with_width(WIDTH)
        .with_context_lines(1)
        .with_links(false)
        .without_syntax_highlighting();
    let mut shown = String::new();
    let text: Arc<str> = without_passwords(text).into();
    for problem in problems.iter().take(SHOWN) {
        let report = report(problem).with_source_code(NamedSource::new(file_name, Arc::clone(&text)));
        if handler.render_report(&mut shown, report.as_ref()).is_err() {
            let (line, column) = problem.position(&text);
            let _ = writeln!(shown, "{file_name}:{line}:{column}: {}", problem.message);
        }
        shown.push('\n');
    }
    if problems.len() > SHOWN {
        let _ = writeln!(shown, "and {} more", problems.len() - SHOWN);
    }
    shown
}

fn report(problem: &Problem) -> Report {
    let (word, severity) = match problem.severity {
        Severity::Error => ("error", miette::Severity::Error),
        Severity::Warning => ("warning", miette::Severity::Warning),
    };
    // A caret needs something to stand under.
    let length = problem.span.len().max(1);
    let mut diagnostic = MietteDiagnostic::new(format!("{word}: {}", problem.message))
        .with_severity(severity)
        .with_label(LabeledSpan::new(None, problem.span.start, length));
    if let Some(help) = &problem.help {
        diagnostic = diagnostic.with_help(help.clone());
    }
    Report::new(diagnostic)
}
