//! `info`: series with the labels of others that describe the same target.
//!
//! ```text
//! up{job="a",instance="x"}   target_info{job="a",instance="x",version="7"}
//!                       └─▶  up{job="a",instance="x",version="7"}
//! ```
//!
//! Invariant: values stay as they are, and no label that a series has is changed.

use std::collections::HashMap;

use base::histogram::is_tag;
use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::matcher::Matcher;

use super::key::{Key, KeyRef};
use super::select::Selections;
use super::table::{Table, is_absent};
use super::{ABSENT, Context, EvalError, Steps};
use crate::plan::InfoPlan;

/// What identifies a target.
const TARGET: [&str; 2] = ["instance", "job"];

/// The series of `table` with the labels of those that `plan` selects at `times`.
pub(crate) fn with_labels(
    context: &Context<'_>,
    selections: &Selections<'_>,
    plan: &InfoPlan,
    table: &Table,
    times: Steps,
) -> Result<Table, EvalError> {
    let mut seen = Table::new(context, table.steps());
    selections.last_values(context, &plan.info, times, &mut seen)?;
    if seen.has_native() {
        let native = (0..seen.len()).any(|row| seen.row(row).iter().any(|cell| is_tag(*cell)));
        if native {
            return Err(EvalError::Query("info sample should be float".to_owned()));
        }
    }
    let mut last = Table::new(context, table.steps());
    selections.last_times(context, &plan.info, times, &mut last)?;
    let targets = Targets::new(&last);
    let mut rows = Rows { table: Table::new(context, table.steps()), places: HashMap::new() };
    for row in 0..table.len() {
        context.check()?;
        let key = table.key(row);
        let name = key.metric_name();
        if plan.names.iter().all(|matcher| matcher.matches(name)) {
            rows.add(key.clone(), table.row(row))?;
            continue;
        }
        let mut labels_before: Option<Vec<usize>> = None;
        let mut cells = vec![ABSENT; table.steps()];
        let found = target_of(key.as_ref()).and_then(|target| targets.0.get(&target));
        for step in 0..table.steps() {
            let value = table.row(row)[step];
            if is_absent(value) {
                continue;
            }
            let now = match found {
                Some(candidates) => newest(&last, candidates, step)?,
                None => Vec::new(),
            };
            if labels_before.as_ref().is_some_and(|before| *before != now) {
                let before = labels_before.take().unwrap_or_default();
                rows.add_described(plan, key, &last, &before, &cells)?;
                cells.fill(ABSENT);
            }
            labels_before = Some(now);
            cells[step] = value;
        }
        if let Some(before) = labels_before {
            rows.add_described(plan, key, &last, &before, &cells)?;
        }
    }
    Ok(rows.table)
}

/// What identifies the target of a series, where something does.
fn target_of(key: KeyRef<'_>) -> Option<Labels> {
    let target = TARGET.map(|name| (name, key.get(name).unwrap_or("")));
    let any = target.iter().any(|(_, value)| !value.is_empty());
    any.then(|| target.into_iter().collect())
}

/// The series that describe a target.
struct Targets(HashMap<Labels, Vec<usize>>);

impl Targets {
    fn new(table: &Table) -> Self {
        let mut targets: HashMap<Labels, Vec<usize>> = HashMap::new();
        for row in 0..table.len() {
            if let Some(target) = target_of(table.key(row).as_ref()) {
                targets.entry(target).or_default().push(row);
            }
        }
        Self(targets)
    }
}

/// Of each metric the series with the newest sample at a step.
fn newest(times: &Table, candidates: &[usize], step: usize) -> Result<Vec<usize>, EvalError> {
    let mut chosen: Vec<usize> = Vec::new();
    for row in candidates {
        let time = times.row(*row)[step];
        if is_absent(time) {
            continue;
        }
        let name = |row: usize| times.key(row).as_ref().metadata()[0].unwrap_or("").to_owned();
        let same = chosen.iter_mut().find(|other| name(**other) == name(*row));
        let Some(other) = same else {
            chosen.push(*row);
            continue;
        };
        let before = times.row(*other)[step];
        if before == time {
            let millis = (time * 1000.0).round();
            return Err(EvalError::Query(format!(
                "found duplicate series for info metric: existing {} @ {millis}, new {} @ {millis}",
                times.key(*other).to_labels(),
                times.key(*row).to_labels(),
            )));
        }
        if before < time {
            *other = *row;
        }
    }
    Ok(chosen)
}

/// The result, in which a series is there once.
struct Rows {
    table: Table,
    places: HashMap<Labels, usize>,
}

impl Rows {
    fn add_described(
        &mut self,
        plan: &InfoPlan,
        key: &Key,
        described: &Table,
        by: &[usize],
        cells: &[f64],
    ) -> Result<(), EvalError> {
        if by.is_empty() && !plan.wanted.iter().all(|matcher| matcher.matches("")) {
            return Ok(());
        }
        let wanted = |name: &str| {
            let mut named = plan.wanted.iter().map(Matcher::name);
            plan.wanted.is_empty() || named.any(|other| other == name)
        };
        let mut labels = LabelsBuilder::default();
        let mut taken: Vec<(&str, &str)> = Vec::new();
        for row in by {
            for (name, value) in described.key(*row).as_ref().iter() {
                if name == METRIC_NAME || !wanted(name) {
                    continue;
                }
                match taken.iter().find(|(other, _)| *other == name) {
                    Some((_, other)) if *other != value => {
                        return Err(EvalError::Query(format!("conflicting label: {name}")));
                    }
                    Some(_) => {}
                    None if key.get(name).is_some() => {}
                    None => taken.push((name, value)),
                }
            }
        }
        let own = key.to_labels();
        for (name, value) in own.iter().chain(taken) {
            labels.set(name, value);
        }
        self.add(key.with_labels(labels.build()), cells)
    }

    fn add(&mut self, key: Key, cells: &[f64]) -> Result<(), EvalError> {
        let labels = key.to_labels();
        let Some(row) = self.places.get(&labels) else {
            self.places.insert(labels, self.table.len());
            return self.table.add(key, cells);
        };
        for (to, from) in self.table.row_mut(*row).iter_mut().zip(cells) {
            match (is_absent(*to), is_absent(*from)) {
                (_, true) => {}
                (true, false) => *to = *from,
                (false, false) => {
                    let message = "vector cannot contain metrics with the same labelset";
                    return Err(EvalError::Query(message.to_owned()));
                }
            }
        }
        Ok(())
    }
}
