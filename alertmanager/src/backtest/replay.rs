//! Recording rules of files that are tried, and the alerts that read them, step by step.
//!
//! ```text
//! recording rule of stored series ──asked──▶ values ─┐
//! series that other rules read    ──asked──▶ samples ┼─▶ [storage] ─▶ rules that read recorded series
//!                                                    └──────◀────────────┘
//! ```
//!
//! Invariant: at each step a rule sees what it would see in the rule loop: of the rules above it in its
//! group what they make of this step, of those below it what they made of the step before.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::sample::{Ended, Timestamp};
use promql::{Options, Query, Range, Reads, Value};
use storage::{Point, Storage};

use super::Patience;

/// How far an instant selector looks back.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);

/// A rule that is tried.
#[derive(Debug)]
pub struct Tried {
    /// The name of the alert, or of the metric.
    pub name: String,
    /// Its expression.
    pub query: Query,
    /// From one evaluation to the next; not zero.
    pub every: Duration,
    /// How old the data are that it looks at.
    pub offset: Duration,
    /// The most series that it may give; 0 is any number.
    pub limit: usize,
    /// What it makes.
    pub makes: Makes,
}

/// What a rule makes.
#[derive(Debug)]
pub enum Makes {
    /// Samples, with these labels added.
    Samples(BTreeMap<String, String>),
    /// Alerts.
    Alerts(Patience),
}

/// Where the values of a rule come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// No alert depends on it.
    Unneeded,
    /// It reads what is stored only: whoever stores it evaluates it.
    Asked,
    /// It reads what other rules record.
    Here,
}

/// Where the values of each rule come from.
pub fn ways(rules: &[Tried]) -> Vec<Way> {
    let names = recorded(rules);
    let reads_any = |rule: &Tried| names.iter().any(|name| reads(&rule.query, name));
    let is_alert = |rule: &Tried| matches!(rule.makes, Makes::Alerts(_));
    let mut ways: Vec<Way> = rules
        .iter()
        .map(|rule| match (is_alert(rule), reads_any(rule)) {
            (true, true) => Way::Here,
            (true, false) => Way::Asked,
            (false, _) => Way::Unneeded,
        })
        .collect();
    let mut waiting: Vec<usize> = (0..rules.len()).filter(|n| ways[*n] == Way::Here).collect();
    while let Some(reader) = waiting.pop() {
        for (n, rule) in rules.iter().enumerate() {
            if ways[n] == Way::Unneeded && reads(&rules[reader].query, &rule.name) {
                ways[n] = if reads_any(rule) { Way::Here } else { Way::Asked };
                waiting.extend((ways[n] == Way::Here).then_some(n));
            }
        }
    }
    ways
}

/// The names that rules record.
fn recorded(rules: &[Tried]) -> BTreeSet<&str> {
    let records = rules.iter().filter(|rule| matches!(rule.makes, Makes::Samples(_)));
    records.map(|rule| rule.name.as_str()).collect()
}

fn reads(query: &Query, name: &str) -> bool {
    query.reads().iter().any(|one| takes(one, name))
}

fn takes(reads: &Reads<'_>, name: &str) -> bool {
    let mut named = reads.matchers().iter().filter(|matcher| matcher.name() == METRIC_NAME);
    named.all(|matcher| matcher.matches(name))
}

/// Series that are stored and needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// As PromQL: `{__name__="up",job="x"}`.
    pub selector: String,
    /// Whether it is looked at step by step, and not over ranges.
    pub is_instant: bool,
    /// The step of the rule that reads it.
    pub every: Duration,
    /// From when to when, both included.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// From when on what is recorded is needed, where alerts are tried from `from` on.
pub fn begin(rules: &[Tried], ways: &[Way], from: Timestamp) -> Timestamp {
    let names = recorded(rules);
    let behind = |rule: &Tried| {
        let reads = rule.query.reads();
        let own = reads.iter().filter(|one| names.iter().any(|name| takes(one, name)));
        let first = own.map(|one| one.span(Range::instant(from), LOOKBACK).0).min();
        first.map_or(Duration::ZERO, |first| from.since(first) + rule.offset)
    };
    let here = rules.iter().zip(ways).filter(|(_, way)| **way == Way::Here);
    here.fold(from, |begin, (rule, _)| begin - behind(rule))
}

/// What the rules that are evaluated here read of what is stored. What is stored under a name that is
/// recorded is not: what the rule gives takes its place.
pub fn wanted(rules: &[Tried], ways: &[Way], from: Timestamp, to: Timestamp) -> Vec<Wanted> {
    let names = recorded(rules);
    let mut all = BTreeSet::new();
    for (rule, _) in rules.iter().zip(ways).filter(|(_, way)| **way == Way::Here) {
        for one in rule.query.reads() {
            if one.metric_name().is_some_and(|name| names.contains(name)) {
                continue;
            }
            let mut conditions: Vec<String> =
                one.matchers().iter().map(ToString::to_string).collect();
            let replaced = names.iter().filter(|name| takes(&one, name));
            conditions.extend(replaced.map(|name| format!("{METRIC_NAME}!={name:?}")));
            let span = |at: Timestamp| one.span(Range::instant(at - rule.offset), LOOKBACK);
            all.insert(Wanted {
                selector: format!("{{{}}}", conditions.join(",")),
                is_instant: one.is_instant(),
                every: rule.every,
                from: span(from).0,
                to: span(to).1,
            });
        }
    }
    all.into_iter().collect()
}

/// Samples by series and time.
pub type Stored = BTreeMap<Labels, BTreeMap<Timestamp, f64>>;

/// Marks where series have ended: where they were not there at a step of `steps` (in `present`), though
/// their last sample is not old.
pub fn mark_ends(
    stored: &mut Stored,
    present: &BTreeMap<Labels, BTreeSet<Timestamp>>,
    steps: &[Timestamp],
) {
    for (labels, samples) in stored {
        let none = BTreeSet::new();
        let present = present.get(labels).unwrap_or(&none);
        for step in steps.iter().filter(|step| !present.contains(step)) {
            let last = samples.range(..=*step).next_back().map(|(at, value)| (*at, *value));
            let Some((at, value)) = last else { continue };
            let marker = at + Duration::from_millis(1);
            if step.since(at) < LOOKBACK && !base::sample::is_stale(value) && marker <= *step {
                samples.insert(marker, Ended::Gone.value());
            }
        }
    }
}

/// The values that a rule has by the time.
pub type Given = BTreeMap<Timestamp, Vec<(Labels, f64)>>;

/// When the series of each rule's expression are there, for those that make alerts.
pub type Presence = Vec<BTreeMap<Labels, BTreeSet<Timestamp>>>;

/// Evaluates the rules over `stored`, from `from` to `to`; `given` are the values of those that were
/// asked for.
///
/// # Errors
///
/// What went wrong, with the name of the rule.
pub fn replay(
    rules: &[Tried],
    ways: &[Way],
    (stored, given): (&Stored, &[Given]),
    (from, to): (Timestamp, Timestamp),
) -> Result<Presence, String> {
    let storage = Storage::in_memory(storage::Options::default());
    for (labels, samples) in stored {
        for (at, value) in samples {
            append(&storage, &[(labels.clone(), *value)], *at)?;
        }
    }
    let mut presence: Presence = rules.iter().map(|_| BTreeMap::new()).collect();
    let mut written: Vec<HashSet<Labels>> = vec![HashSet::new(); rules.len()];
    let mut times = BTreeSet::new();
    for every in rules.iter().map(|rule| millis(rule.every)).collect::<BTreeSet<_>>() {
        let first = from.millis().div_euclid(every) * every + every;
        times.extend((first..=to.millis()).step_by(usize::try_from(every).unwrap_or(usize::MAX)));
    }
    for time in times {
        let now = Timestamp::from_millis(time);
        for (n, rule) in rules.iter().enumerate() {
            if ways[n] == Way::Unneeded || time % millis(rule.every) != 0 {
                continue;
            }
            let failed = |fault: String| format!("`{}`: {fault}", rule.name);
            let values = match (ways[n], &rule.makes) {
                (Way::Here, _) => evaluate(&storage, &rule.query, now - rule.offset),
                (_, Makes::Samples(_)) => Ok(given[n].get(&now).cloned().unwrap_or_default()),
                (_, Makes::Alerts(_)) => continue,
            };
            let values = values.map_err(failed)?;
            if rule.limit > 0 && values.len() > rule.limit {
                continue;
            }
            match &rule.makes {
                Makes::Alerts(_) => {
                    for (labels, _) in values {
                        let labels = labels.without_name();
                        presence[n].entry(labels).or_default().insert(now);
                    }
                }
                Makes::Samples(added) => {
                    let named = values
                        .into_iter()
                        .map(|(labels, value)| (labelled(&labels, &rule.name, added), value));
                    let mut named: Vec<_> = named.collect();
                    let there: HashSet<Labels> = named.iter().map(|(l, _)| l.clone()).collect();
                    if there.len() < named.len() {
                        let what = "two of its series have the same labels".to_owned();
                        return Err(failed(what));
                    }
                    let gone = written[n].difference(&there);
                    named.extend(gone.map(|labels| (labels.clone(), Ended::Gone.value())));
                    append(&storage, &named, now - rule.offset).map_err(failed)?;
                    written[n] = there;
                }
            }
        }
    }
    Ok(presence)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

fn labelled(labels: &Labels, name: &str, added: &BTreeMap<String, String>) -> Labels {
    let mut builder = LabelsBuilder::from(labels);
    builder.set(METRIC_NAME, name);
    added.iter().for_each(|(name, value)| {
        builder.set(name, value);
    });
    builder.build()
}

fn append(storage: &Storage, values: &[(Labels, f64)], at: Timestamp) -> Result<(), String> {
    let mut points = Vec::with_capacity(values.len());
    for (labels, value) in values {
        let series = storage.series(labels).map_err(|error| error.to_string())?;
        points.push(Point { series, timestamp: at, value: *value });
    }
    storage.append(&points).map(|_| ()).map_err(|error| error.to_string())
}

fn evaluate(storage: &Storage, query: &Query, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
    let options = Options { lookback: LOOKBACK, ..Options::default() };
    let output = promql::evaluate(query, storage, Range::instant(at), &options);
    match output.map_err(|error| error.to_string())?.value {
        Value::Vector(series) => Ok(series.into_iter().map(|(l, s)| (l, s.value)).collect()),
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), sample.value)]),
        Value::Matrix(_) | Value::String(_) => Err("gives neither series nor a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn rule(name: &str, query: &str, makes: Makes) -> Tried {
        let (every, offset) = (SECOND, Duration::ZERO);
        let query = Query::new(query).unwrap();
        Tried { name: name.to_owned(), query, every, offset, limit: 0, makes }
    }

    fn records(name: &str, query: &str) -> Tried {
        let added = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
        rule(name, query, Makes::Samples(added))
    }

    fn alerts(name: &str, query: &str) -> Tried {
        rule(name, query, Makes::Alerts(Patience::default()))
    }

    fn series(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn what_no_alert_reads_is_not_evaluated_and_what_reads_only_stored_series_is_asked_for() {
        let rules = [
            records("a", "sum(x)"),
            records("b", "a * 2"),
            records("c", "sum(y)"),
            alerts("B", "b > 1"),
            alerts("X", "x > 1"),
            alerts("Any", "{__name__=~\"c|z\"} > 1"),
        ];
        use Way::{Asked, Here};
        assert_eq!(ways(&rules), [Asked, Here, Asked, Here, Asked, Here]);
        let rules = [records("a", "sum(x)"), alerts("X", "x > 1")];
        assert_eq!(ways(&rules), [Way::Unneeded, Asked]);
        // Rules that read each other end, too.
        let rules = [records("a", "b"), records("b", "a"), alerts("A", "a > 1")];
        assert_eq!(ways(&rules), [Here; 3]);
    }

    #[test]
    fn what_is_stored_under_a_recorded_name_is_not_wanted() {
        let rules = [
            records("a", "sum(x)"),
            alerts("A", "a > on (job) rate(x{job=\"j\"}[1m]) and on () {job=\"k\"} offset 10s"),
        ];
        let found = wanted(&rules, &ways(&rules), at(1000), at(2000));
        let selectors: Vec<_> = found.iter().map(|w| (w.selector.as_str(), w.is_instant)).collect();
        let any = ("{job=\"k\",__name__!=\"a\"}", true);
        assert_eq!(selectors, [("{job=\"j\",__name__=\"x\"}", false), any]);
        let (rate, other) = (&found[0], &found[1]);
        assert!(rate.from <= at(941) && rate.to == at(2000), "{rate:?}");
        assert!(other.from <= at(691) && other.to == at(1990), "{other:?}");
        let deep = [records("a", "sum(x)"), records("b", "sum_over_time(a[1h])"), alerts("B", "b")];
        assert!(begin(&deep, &ways(&deep), at(10_000)) <= at(6400));
    }

    #[test]
    fn rules_see_those_above_them_now_and_those_below_them_a_step_later() {
        let rules = [
            alerts("Before", "a == 1"),
            records("a", "sum by (g) (x)"),
            alerts("After", "a == 1"),
            alerts("Ended", "absent(a)"),
            records("b", "a + 1"),
            alerts("Second", "b{team=\"web\"} == 2"),
        ];
        let ways = ways(&rules);
        let mut given = vec![Given::new(); rules.len()];
        for (second, value) in [(1, 0.0), (2, 1.0), (3, 1.0), (4, 0.0)] {
            given[1].insert(at(second), vec![(series(&[("g", "1")]), value)]);
        }
        let span = (at(0), at(6));
        let presence = replay(&rules, &ways, (&Stored::new(), &given), span).unwrap();
        let drawn = |n: usize| -> String {
            let times: BTreeSet<_> = presence[n].values().flatten().copied().collect();
            (1..=6).map(|second| if times.contains(&at(second)) { 'x' } else { '.' }).collect()
        };
        assert_eq!(drawn(0), "..xx..");
        assert_eq!(drawn(2), ".xx...");
        assert_eq!(drawn(3), "....xx", "a series that is not given any more has ended");
        assert_eq!(drawn(5), ".xx...");
        assert_eq!(presence[5].keys().next(), Some(&series(&[("g", "1"), ("team", "web")])));
    }

    #[test]
    fn a_series_that_was_not_there_at_a_step_has_ended_before_it() {
        let labels = series(&[("__name__", "x")]);
        let samples = BTreeMap::from([(at(10), 1.0), (at(20), 1.0), (at(400), 1.0)]);
        let mut stored = Stored::from([(labels.clone(), samples)]);
        let present = BTreeMap::from([(labels.clone(), BTreeSet::from([at(15), at(410)]))]);
        mark_ends(&mut stored, &present, &[at(15), at(30), at(45), at(390), at(410)]);
        let marks: Vec<_> = stored[&labels]
            .iter()
            .filter(|(_, value)| base::sample::is_stale(**value))
            .map(|(at, _)| at.millis())
            .collect();
        assert_eq!(marks, [20_001]);
    }
}
