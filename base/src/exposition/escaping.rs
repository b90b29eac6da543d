//! How names outside `[a-zA-Z0-9_:]` are written for readers who know no others.
//!
//! Source: the escaping schemes of the Prometheus documentation.
//!
//! Invariant: what [`Escaping::escape`] gives is a classic name, except by `allow-utf-8`.

use std::borrow::Cow;

use crate::labels::is_legacy_metric_name;

/// A way to write names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// `_` in the place of what is not classic: `a.b` is `a_b`, and nobody can tell it from that.
    #[default]
    Underscores,
    /// `a.b_c` is `a_dot_b__c`; other characters are `__`.
    Dots,
    /// `a.b_c` is `U__a_2e_b__c`, from which the name can be had back.
    Values,
}

impl Escaping {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// Its name in headers and configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|escaping| escaping.as_str() == name)
    }

    /// A metric's name as it is written. By `dots` classic names change too, where they have an
    /// underscore; in an exposition they are left alone.
    pub fn escape(self, name: &str) -> Cow<'_, str> {
        self.escape_with(name, true)
    }

    /// The same of a label's name, which has no colon.
    pub fn escape_label(self, name: &str) -> Cow<'_, str> {
        self.escape_with(name, false)
    }

    fn escape_with(self, name: &str, colons: bool) -> Cow<'_, str> {
        let classic = is_legacy_metric_name(name) && (colons || !name.contains(':'));
        if name.is_empty() || self == Self::AllowUtf8 || classic && self != Self::Dots {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 16);
        if self == Self::Values {
            out.push_str("U__");
        }
        for (n, c) in name.chars().enumerate() {
            let digit = n > 0 && c.is_ascii_digit();
            let plain = c.is_ascii_alphabetic() || c == '_' || colons && c == ':' || digit;
            match self {
                Self::Dots | Self::Values if c == '_' => out.push_str("__"),
                _ if plain => out.push(c),
                Self::Dots if c == '.' => out.push_str("_dot_"),
                Self::Dots => out.push_str("__"),
                Self::Values => out.push_str(&format!("_{:x}_", u32::from(c))),
                Self::AllowUtf8 | Self::Underscores => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_no_colons() {
        let check = |escaping: Escaping, expected: &str| {
            assert_eq!(escaping.escape_label("a:b_c.d"), expected, "{escaping:?}");
        };
        check(Escaping::AllowUtf8, "a:b_c.d");
        check(Escaping::Underscores, "a_b_c_d");
        check(Escaping::Dots, "a__b__c_dot_d");
        check(Escaping::Values, "U__a_3a_b__c_2e_d");
        assert_eq!(Escaping::Values.escape("9a"), "U___39_a");
        assert_eq!(Escaping::Underscores.escape("9a"), "_a");
        assert_eq!(Escaping::Values.escape(""), "");
    }
}
