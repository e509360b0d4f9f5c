//! Glyphs and colours: unicode and ANSI on a terminal, plain ASCII everywhere else.

use std::io::IsTerminal as _;

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Faint,
    Strong,
    Request,
    Waiting,
    Good,
    /// A refusal, which may be just what the story wants.
    Refused,
    /// A failure.
    Bad,
}

/// How the ladder looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: bool,
    pub bar: char,
    pub dash: char,
    pub to_right: char,
    pub to_left: char,
    pub rule: char,
    pub tick: &'static str,
    pub cross: &'static str,
    pub cut: &'static str,
}

impl Style {
    /// ASCII without colour: for pipes, files and `--plain`.
    pub const PLAIN: Self = Self {
        colour: false,
        bar: '|',
        dash: '-',
        to_right: '>',
        to_left: '<',
        rule: '=',
        tick: "ok",
        cross: "!!",
        cut: "..",
    };

    const TERMINAL: Self = Self {
        colour: true,
        bar: '│',
        dash: '─',
        to_right: '▶',
        to_left: '◀',
        rule: '━',
        tick: "✓",
        cross: "✗",
        cut: "…",
    };

    /// What standard output can show; `NO_COLOR` and a dumb terminal get the plain one.
    pub fn of_stdout(plain: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if plain || is_dumb || no_colour || !std::io::stdout().is_terminal() { Self::PLAIN } else { Self::TERMINAL }
    }

    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Faint => "2",
            Paint::Strong => "1",
            Paint::Request => "1;36",
            Paint::Waiting => "33",
            Paint::Good => "1;32",
            Paint::Refused => "31",
            Paint::Bad => "1;31",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `text` in at most `width` characters.
    pub fn fit(&self, text: &str, width: usize) -> String {
        if text.chars().count() <= width {
            return text.to_owned();
        }
        let kept: String = text.chars().take(width.saturating_sub(self.cut.chars().count())).collect();
        kept + self.cut
    }
}
