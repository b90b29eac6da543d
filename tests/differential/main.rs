//! Random expressions over random series, evaluated by a real Prometheus and by us.
//!
//! ```text
//! data ──remote write──▶ Prometheus ◀──HTTP── expression ──▶ promql::evaluate ◀── data
//!                             └────────── compare ───────────────┘
//! ```
//!
//! Values agree where they differ by no more than [`compare::TOLERANCE`]: the two are built with
//! different mathematical libraries, and add in different orders. Everything else agrees to the
//! letter: labels, times, the words of errors, annotations and their places.
//!
//! `DIFFERENTIAL_CASES` and `DIFFERENTIAL_SEED` ask for more, or for others; `DIFFERENTIAL_TEXT` is tried
//! at as many times in place of random expressions. Prometheus is looked for
//! among the peers that `tests/peers/fetch.sh` unpacks. Without it the test says so and proves
//! nothing; under `CI` it fails then.
//!
//! Invariant: what is left out of the comparison is named in `compare`, with the reason.

mod random;
mod series;
mod native;
mod expression;
mod garbage;
mod prometheus;
mod cell;
mod compare;

use std::time::Duration;

use base::sample::Timestamp;
use promql::{Options, Output, Query, Range};
use storage::Storage;

use prometheus::Prometheus;
use random::Random;
use series::{END, START};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `case` as often as asked for, and shows what differs.
fn run(what: &str, most: u64, mut case: impl FnMut(&Prometheus, &mut Random) -> Option<String>) {
    let seed = number("DIFFERENTIAL_SEED", 1);
    let Some(prometheus) = Prometheus::start() else {
        assert!(std::env::var_os("CI").is_none(), "there is no Prometheus to compare with");
        println!("not run: there is no Prometheus; tests/peers/fetch.sh fetches it");
        return;
    };
    prometheus.write(&series::all(&mut Random::new(0)));
    let cases = number("DIFFERENTIAL_CASES", most);
    let mut random = Random::new(seed);
    let differ: Vec<_> = (0..cases).filter_map(|_| case(&prometheus, &mut random)).collect();
    println!("{what}: {} of {cases} agree", cases as usize - differ.len());
    assert!(differ.is_empty(), "seed {seed}:\n{}", differ.join("\n"));
}

#[test]
fn expressions_come_to_what_they_come_to_in_prometheus() {
    let storage = series::storage(&series::all(&mut Random::new(0)));
    run("values", 1000, |prometheus, random| {
        let text = expression::any(random);
        let text = std::env::var("DIFFERENTIAL_TEXT").unwrap_or(text);
        let range = if random.chance(0.35) {
            Range::instant(Timestamp::from_millis(random.between(START, END)))
        } else {
            let step = random.pick(&[300, 60, 30, 47]);
            let end = random.pick(&[END, START + 400_000]);
            let (start, end) = (Timestamp::from_millis(START), Timestamp::from_millis(end));
            Range::new(start, end, Duration::from_secs(step))
        };
        let ours = evaluate(&text, &storage, range);
        let differs = difference(&text, prometheus, range, &ours)?;
        if step_by_step(&text, &storage, prometheus, range, &ours) {
            return None;
        }
        Some(format!("{text}\n  {range:?}\n  {differs}"))
    });
}

/// What differs however often Prometheus is asked: histograms that it keeps for the next query may be
/// spoilt, and then it says something else when asked again.
fn difference(
    text: &str,
    prometheus: &Prometheus,
    range: Range,
    ours: &Result<Output, String>,
) -> Option<String> {
    let ask = || compare::answers(text, ours, &prometheus.evaluate(text, range));
    let first = ask()?;
    ask()?;
    ask()?;
    Some(first)
}

fn evaluate(text: &str, storage: &Storage, range: Range) -> Result<Output, String> {
    let query = Query::new(text).map_err(|faults| faults.to_string())?;
    promql::evaluate(&query, storage, range, &Options::default()).map_err(|e| e.to_string())
}

/// Whether, asked for each step alone, Prometheus says what we say, and we say the same as of all steps
/// at once. Then it contradicts itself: it spoils histograms that the next step looks at, too.
fn step_by_step(
    text: &str,
    storage: &Storage,
    prometheus: &Prometheus,
    range: Range,
    together: &Result<Output, String>,
) -> bool {
    let (Some(step), Ok(together)) = (range.step(), together) else { return false };
    let bound = |at: Timestamp| at.seconds().to_string();
    let text = text.replace("start()", &bound(range.start())).replace("end()", &bound(range.end()));
    let mut at = range.start();
    let mut singles = Vec::new();
    while at <= range.end() {
        let ours = evaluate(&text, storage, Range::instant(at));
        if difference(&text, prometheus, Range::instant(at), &ours).is_some() {
            return false;
        }
        let Ok(ours) = ours else { return false };
        singles.push((at, ours));
        at = at + step;
    }
    compare::is_made_of(together, &singles)
}

#[test]
fn texts_are_read_and_refused_as_prometheus_reads_and_refuses_them() {
    run("texts", 2000, |prometheus, random| {
        let text = garbage::any(random);
        let ours = Query::new(&text).map(|query| query.to_string());
        let differs = compare::readings(&ours, &prometheus.format(&text))?;
        Some(format!("{text:?}\n  {differs}"))
    });
}
