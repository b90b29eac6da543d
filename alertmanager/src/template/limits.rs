//! What rendering may cost (X20): steps, output, depth, queries, regular expressions.
//!
//! Time is not measured, since no clock is read here; a step stands for some tens of nanoseconds of
//! work, and whatever takes longer is charged for more than one.
//!
//! Invariant: no text, list or stack grows faster than what it is charged for, so that the limits
//! bound the memory too.

use super::error::Failure;

/// The bounds of one rendering. Passing one ends it with `template limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Actions, iterations, function calls, and every 32 bytes that a function makes.
    pub steps: u32,
    /// Bytes of the output, and of any text that is made on the way to it.
    pub output: usize,
    /// Blocks, templates and parentheses within each other.
    pub depth: u32,
    /// Calls of `query`.
    pub queries: u32,
    /// Bytes of a compiled regular expression.
    pub pattern: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 200_000, output: 64 << 10, depth: 100, queries: 100, pattern: 1 << 20 }
    }
}

/// How deep lists and maps made by a template may be within each other.
pub(super) const NESTING: u8 = 32;

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    steps: u32,
    depth: u32,
    queries: u32,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, steps: 0, depth: 0, queries: 0 }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Charges for `steps`.
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        exceeded(self.steps > self.limits.steps, || format!("{} steps", self.limits.steps))
    }

    /// Charges for making or reading `bytes`.
    pub(super) fn charge_bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.charge(1 + bytes / 32)
    }

    pub(super) fn charge_query(&mut self) -> Result<(), Failure> {
        self.queries += 1;
        exceeded(self.queries > self.limits.queries, || format!("{} queries", self.limits.queries))
    }

    /// Goes one level down; whoever calls it comes back by [`Budget::leave`].
    pub(super) fn enter(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        exceeded(self.depth > self.limits.depth, || format!("{} levels", self.limits.depth))
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// An empty text that may grow as long as the output may.
    pub(super) fn text(&self) -> Bounded {
        Bounded::new(self.limits.output)
    }
}

fn exceeded(yes: bool, what: impl Fn() -> String) -> Result<(), Failure> {
    if yes { Err(Failure::Limit(format!("template limit: more than {}", what()))) } else { Ok(()) }
}

/// A text that refuses to grow beyond its limit.
#[derive(Debug)]
pub(super) struct Bounded {
    text: String,
    limit: usize,
}

impl Bounded {
    pub(super) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    pub(super) fn push_str(&mut self, text: &str) -> Result<(), Failure> {
        self.room(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push(&mut self, c: char) -> Result<(), Failure> {
        self.push_str(c.encode_utf8(&mut [0; 4]))
    }

    /// Appends `c` `count` times.
    pub(super) fn pad(&mut self, c: char, count: usize) -> Result<(), Failure> {
        self.room(count.saturating_mul(c.len_utf8()))?;
        self.text.extend(std::iter::repeat_n(c, count));
        Ok(())
    }

    fn room(&self, more: usize) -> Result<(), Failure> {
        let over = more > self.limit.saturating_sub(self.text.len());
        exceeded(over, || format!("{} bytes", self.limit))
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_what_fits_and_nothing_more() {
        let mut text = Bounded::new(5);
        text.push_str("abc").unwrap();
        text.pad('é', 1).unwrap();
        assert!(matches!(text.push('x'), Err(Failure::Limit(m)) if m.contains("5 bytes")));
        assert!(text.pad('x', usize::MAX).is_err());
        assert_eq!(text.into_string(), "abcé");
    }

    #[test]
    fn steps_run_out() {
        let mut budget = Budget::new(Limits { steps: 10, ..Limits::default() });
        budget.charge(10).unwrap();
        assert!(budget.charge(1).is_err());
        assert!(budget.charge(usize::MAX).is_err());
    }
}
