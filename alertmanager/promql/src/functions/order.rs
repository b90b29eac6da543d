//! `sort`, `sort_desc` and those by label.
//!
//! Invariant: only the order of an instant query's series changes; with steps series are sorted by
//! their labels anyway.

use std::cmp::Ordering;

use crate::evaluate::{Context, EvalError, Key, Table, TableCall};
use crate::fault::Span;

pub(super) fn ascending(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(sorted(call, |a, b| a.total_cmp(&b)))
}

pub(super) fn descending(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(sorted(call, |a, b| b.total_cmp(&a)))
}

/// The rows in the order of their values, those that are not a number last.
fn sorted(call: TableCall<'_>, compare: impl Fn(f64, f64) -> Ordering) -> Table {
    let TableCall { context, mut table, steps, spans, .. } = call;
    table.drop_native();
    warn_where_useless(context, spans.call);
    if steps.count != 1 {
        return table;
    }
    let mut rows: Vec<_> = (0..table.len()).collect();
    let value = |row: usize| table.row(row)[0];
    rows.sort_by(|&a, &b| {
        let (a, b) = (value(a), value(b));
        a.is_nan().cmp(&b.is_nan()).then_with(|| {
            // Zeros are equal, whatever their sign.
            if a == b { Ordering::Equal } else { compare(a, b) }
        })
    });
    table.with_rows(&rows)
}

fn warn_where_useless(context: &Context<'_>, span: Span) {
    if context.has_steps() {
        let message =
            "sort is ineffective for range queries since results are always ordered by labels";
        context.warn(span, message.to_owned());
    }
}

pub(super) fn by_label(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(labels_sorted(call, |order| order))
}

pub(super) fn by_label_descending(call: TableCall<'_>) -> Result<Table, EvalError> {
    Ok(labels_sorted(call, Ordering::reverse))
}

/// The rows in the order of the labels that are named, then of all labels.
fn labels_sorted(call: TableCall<'_>, turn: impl Fn(Ordering) -> Ordering) -> Table {
    let TableCall { context, table, texts, steps, spans, .. } = call;
    warn_where_useless(context, spans.call);
    if steps.count != 1 {
        return table;
    }
    let mut rows: Vec<_> = (0..table.len()).collect();
    let of = |key: &Key, name: &str| key.get(name).unwrap_or("").to_owned();
    rows.sort_by(|&a, &b| {
        let (a, b) = (table.key(a), table.key(b));
        let mut named = texts.iter().map(|name| natural(&of(a, name), &of(b, name)));
        let order = named.find(|order| order.is_ne());
        turn(order.unwrap_or_else(|| a.to_labels().cmp(&b.to_labels())))
    });
    table.with_rows(&rows)
}

/// The order in which people count: `x9` comes before `x10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((x, more_a), (y, more_b)) = (chunk(a), chunk(b));
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order.is_ne() || x.is_empty() {
            return order;
        }
        (a, b) = (more_a, more_b);
    }
}

/// The digits that a text begins with, or what stands before the next digit; and the rest.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_count_as_numbers() {
        let mut texts = ["x10", "x9b", "10", "x9", "", "x", "9", "x09a"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "9", "10", "x", "x9", "x09a", "x9b", "x10"]);
    }
}
