//! Reading TOML tables key by key. Every fault is reported where it stands and reading goes on, so that one run finds
//! them all; keys nobody asked for are faults too.

use super::problem::{Problem, Severity};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::fmt::Display;
use std::iter::Enumerate;
use std::ops::{Range, RangeInclusive};
use std::slice;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the faults of one load are gathered.
#[derive(Default)]
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
}

/// Why a text is not what a key wants: completes the sentence "`key` …".
pub(super) struct Fault {
    pub message: String,
    pub help: Option<String>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// One table being read.
pub(super) struct Keys<'a> {
    /// `None`: a section that is not in the file.
    table: Option<&'a DeTable<'a>>,
    /// The header, for faults of the table as a whole.
    pub span: Range<usize>,
    pub path: String,
    pub report: &'a Report,
    known: SmallVec<[&'static str; 16]>,
}

/// A list of tables, one read at a time: there may be 100,000.
pub(super) struct Tables<'a> {
    items: Enumerate<slice::Iter<'a, Spanned<DeValue<'a>>>>,
    path: String,
    report: &'a Report,
}

type Entry<'a> = &'a Spanned<DeValue<'a>>;

impl Report {
    pub fn error(&self, span: &Range<usize>, key: String, message: String, help: Option<String>) {
        self.add(Severity::Error, span, key, message, help);
    }

    pub fn warning(&self, span: &Range<usize>, key: String, message: String, help: Option<String>) {
        self.add(Severity::Warning, span, key, message, help);
    }

    fn add(&self, severity: Severity, span: &Range<usize>, key: String, message: String, help: Option<String>) {
        self.problems.borrow_mut().push(Problem { severity, message, help, span: span.clone(), key });
    }

    /// True when no error was reported for `key` or inside it.
    pub fn is_clean(&self, key: &str) -> bool {
        let inside = |problem: &Problem| {
            problem
                .key
                .strip_prefix(key)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        // The faults of a table are the latest: a file with 100,000 of them must not be searched again for each.
        !self.problems.borrow().iter().rev().take(64).any(inside)
    }

    pub fn is_without_errors(&self) -> bool {
        !self.problems.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Errors, then warnings, each in file order.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.span.start);
        problems.into_iter().partition(|problem| problem.severity == Severity::Error)
    }
}

impl<E: Display> From<E> for Fault {
    fn from(message: E) -> Self {
        Self { message: message.to_string(), help: None }
    }
}

impl Fault {
    pub fn helped(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

impl<'a> Keys<'a> {
    pub fn root(table: &'a DeTable<'a>, report: &'a Report) -> Self {
        Self { table: Some(table), span: 0..0, path: String::new(), report, known: SmallVec::new() }
    }

    fn inner(&self, table: Option<&'a DeTable<'a>>, span: Range<usize>, path: String) -> Self {
        Self { table, span, path, report: self.report, known: SmallVec::new() }
    }

    fn get(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        self.table?.get(key)
    }

    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a fault of `key`, pointing at `span`.
    pub fn fault(&self, key: &str, span: &Range<usize>, fault: Fault) {
        let path = self.path_of(key);
        self.report.error(span, path.clone(), format!("`{path}` {}", fault.message), fault.help);
    }

    fn wrong_type(&self, key: &str, entry: Entry<'a>, wanted: &str) {
        let found = entry.get_ref().type_str();
        self.fault(key, &entry.span(), format!("is {}, and must be {wanted}", with_article(found)).into());
    }

    /// Where the value of `key` stands, or else the table.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get(key)).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A string as the type it means. An empty string is the same as no key.
    pub fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<At<T>> {
        let entry = self.get(key)?;
        let Some(text) = entry.get_ref().as_str() else {
            self.wrong_type(key, entry, "a string");
            return None;
        };
        if text.is_empty() {
            return None;
        }
        self.checked(key, entry, parse(text))
    }

    /// As [`Keys::parsed`]; a missing or empty key is a fault.
    pub fn required<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<At<T>> {
        match self.table.and_then(|table| table.get(key)).map(Spanned::get_ref) {
            None => self.fault(key, &self.span.clone(), "is missing".into()),
            Some(value) if value.as_str() == Some("") => self.fault(key, &self.span_of(key), "is empty".into()),
            Some(_) => return self.parsed(key, parse),
        }
        self.known.push(key);
        None
    }

    fn checked<T>(&self, key: &str, entry: Entry<'a>, result: Result<T, Fault>) -> Option<At<T>> {
        match result {
            Ok(value) => Some(At { value, span: entry.span() }),
            Err(fault) => {
                self.fault(key, &entry.span(), fault);
                None
            }
        }
    }

    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.get(key) else { return default };
        entry.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, entry, "true or false");
            default
        })
    }

    pub fn integer(&mut self, key: &'static str, default: u32, allowed: RangeInclusive<u32>) -> u32 {
        let Some(entry) = self.get(key) else { return default };
        let Some(integer) = entry.get_ref().as_integer() else {
            self.wrong_type(key, entry, "an integer");
            return default;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|value| allowed.contains(value));
        value.unwrap_or_else(|| {
            let (low, high) = (allowed.start(), allowed.end());
            self.fault(key, &entry.span(), format!("must be from {low} to {high}").into());
            default
        })
    }

    /// A duration, written with its unit.
    pub fn duration(&mut self, key: &'static str, default: Duration, allowed: RangeInclusive<Duration>) -> Duration {
        let Some(entry) = self.get(key) else { return default };
        let Some(text) = entry.get_ref().as_str() else {
            let fault = format!("is {}, and must be a duration", with_article(entry.get_ref().type_str()));
            self.fault(key, &entry.span(), Fault::helped(fault, DURATIONS));
            return default;
        };
        let read = humantime::parse_duration(text).map_err(|_| Fault::helped("is not a duration", DURATIONS));
        let in_range = read.and_then(|value| {
            let (low, high) = (*allowed.start(), *allowed.end());
            let limits = || format!("must be from {} to {}", spell(low), spell(high));
            allowed.contains(&value).then_some(value).ok_or_else(|| limits().into())
        });
        self.checked(key, entry, in_range).map_or(default, |at| at.value)
    }

    /// A string, or a list of them, each as the type it means. An empty string is the same as no key.
    pub fn one_or_more<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<At<T>> {
        let is_list = self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_array());
        if is_list { self.list(key, parse) } else { self.parsed(key, parse).into_iter().collect() }
    }

    /// A list of strings, each as the type it means.
    pub fn list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<At<T>> {
        let Some(entry) = self.get(key) else { return Vec::new() };
        let Some(array) = entry.get_ref().as_array() else {
            self.wrong_type(key, entry, "a list of strings");
            return Vec::new();
        };
        let read = |(at, item): (usize, Entry<'a>)| {
            let key = format!("{key}[{at}]");
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(&key, item, "a string");
                return None;
            };
            self.checked(&key, item, parse(text))
        };
        array.iter().enumerate().filter_map(read).collect()
    }

    /// A `[section]`; empty when it is not in the file.
    pub fn section(&mut self, key: &'static str) -> Self {
        let path = self.path_of(key);
        let Some(entry) = self.get(key) else { return self.inner(None, self.span.clone(), path) };
        let table = entry.get_ref().as_table();
        if table.is_none() {
            let fault = format!("is {}, and must be a table", with_article(entry.get_ref().type_str()));
            self.fault(key, &entry.span(), Fault::helped(fault, format!("write [{path}]")));
        }
        self.inner(table, entry.span(), path)
    }

    /// As [`Keys::section`]; `None` when it is not in the file.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let section = self.section(key);
        section.table.is_some().then_some(section)
    }

    /// The `[[tables]]` of a list, in file order.
    pub fn tables(&mut self, key: &'static str) -> Tables<'a> {
        let path = self.path_of(key);
        let entry = self.get(key);
        let array = entry.and_then(|entry| entry.get_ref().as_array());
        if let (Some(entry), None) = (entry, array) {
            let fault = format!("is {}, and must be a list of tables", with_article(entry.get_ref().type_str()));
            self.fault(key, &entry.span(), Fault::helped(fault, format!("write [[{path}]]")));
        }
        Tables { items: array.map_or(&[][..], |array| array).iter().enumerate(), path, report: self.report }
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        if table.keys().all(|key| self.known.contains(&key.get_ref().as_ref())) {
            return;
        }
        for key in table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let path = self.path_of(key.get_ref());
            let help = match nearest(key.get_ref(), self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            self.report.error(&key.span(), path.clone(), format!("`{path}` is not a known key"), Some(help));
        }
    }
}

impl<'a> Iterator for Tables<'a> {
    type Item = Keys<'a>;

    fn next(&mut self) -> Option<Keys<'a>> {
        loop {
            let (at, item) = self.items.next()?;
            let path = format!("{}[{at}]", self.path);
            if let Some(table) = item.get_ref().as_table() {
                let (span, report) = (item.span(), self.report);
                return Some(Keys { table: Some(table), span, path, report, known: SmallVec::new() });
            }
            let fault = format!("`{path}` is {}, and must be a table", with_article(item.get_ref().type_str()));
            self.report.error(&item.span(), path, fault, None);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.items.len()))
    }
}

const DURATIONS: &str =
    r#"a duration is a number and its unit in quotes, such as "500ms", "32s", "60m", "24h" or "7d""#;

/// The one of `known` most like `word`, if any is like it at all.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let likeness = |candidate: &str| {
        let letters = strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
        letters.max(strsim::jaro_winkler(&word, &candidate.to_lowercase()) - 0.15)
    };
    known
        .map(|near| (likeness(near), near))
        .filter(|(score, _)| *score > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|best| best.1)
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

fn spell(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
