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
//! `DIFFERENTIAL_CASES` and `DIFFERENTIAL_SEED` ask for more, or for others. Prometheus is looked for
//! among the peers that `tests/peers/fetch.sh` unpacks. Without it the test says so and proves
//! nothing; under `CI` it fails then.
//!
//! Invariant: what is left out of the comparison is named in `compare`, with the reason.

mod random;
mod series;
mod expression;
mod garbage;
mod prometheus;
mod compare;

use std::time::Duration;

use base::sample::Timestamp;
use promql::{Options, Query, Range};

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
        let range = if random.chance(0.35) {
            Range::instant(Timestamp::from_millis(random.between(START, END)))
        } else {
            let step = random.pick(&[300, 60, 30, 47]);
            let end = random.pick(&[END, START + 400_000]);
            let (start, end) = (Timestamp::from_millis(START), Timestamp::from_millis(end));
            Range::new(start, end, Duration::from_secs(step))
        };
        let theirs = prometheus.evaluate(&text, range);
        let options = Options::default();
        let ours = Query::new(&text).map_err(|faults| faults.to_string()).and_then(|q| {
            promql::evaluate(&q, &storage, range, &options).map_err(|e| e.to_string())
        });
        let differs = compare::answers(&text, &ours, &theirs)?;
        Some(format!("{text}\n  {range:?}\n  {differs}"))
    });
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
