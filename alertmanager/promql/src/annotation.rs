//! What a query's answer has to be taken with: warnings and remarks that do not make it wrong.
//!
//! Invariant: each is there once, however many series and steps it is true of.

use std::fmt;

use base::diagnostic::Place;

use crate::fault::Span;

/// How serious an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The answer may be wrong.
    Warning,
    /// The question may be wrong.
    Info,
}

/// One thing to know about an answer. Prints as Prometheus does:
/// `PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// How serious it is.
    pub severity: Severity,
    /// What there is to know.
    pub message: String,
    /// The part of the expression that it is about.
    pub span: Span,
    /// The line and column of that part.
    pub place: Place,
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "PromQL {severity}: {} ({})", self.message, self.place)
    }
}

/// The most annotations that one answer carries; a thousand metrics with the wrong name need not
/// be listed one by one, so the rest is left out.
const MOST: usize = 100;

/// The annotations of an evaluation so far.
#[derive(Debug, Default)]
pub(crate) struct Annotations(Vec<(Severity, String, Span)>);

impl Annotations {
    pub(crate) fn add(&mut self, severity: Severity, message: String, span: Span) {
        let annotation = (severity, message, span);
        if self.0.len() < MOST && !self.0.contains(&annotation) {
            self.0.push(annotation);
        }
    }

    /// The annotations of the expression `text`.
    pub(crate) fn finish(self, text: &str) -> Vec<Annotation> {
        self.0
            .into_iter()
            .map(|(severity, message, span)| {
                let place = span.place(text);
                Annotation { severity, message, span, place }
            })
            .collect()
    }
}
