//! Values that name a caller or a place: shown whole at debug, masked above (HOUSE, style 12).

use std::fmt;

/// Displays only the last two characters of what it holds: `…23`.
#[derive(Clone, Copy)]
pub struct Private<T>(pub T);

impl<T: fmt::Display> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.to_string();
        let tail = whole.char_indices().rev().nth(1).map_or("", |(at, _)| &whole[at..]);
        write!(f, "…{tail}")
    }
}

impl<T: fmt::Display> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_two_characters_show() {
        assert_eq!(Private("+14255550123").to_string(), "…23");
        assert_eq!(Private("é").to_string(), "…");
        assert_eq!(format!("{:?}", Private("")), "…");
    }
}
