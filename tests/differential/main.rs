//! Random expressions over random series, evaluated by a real Prometheus and by us.
//!
//! ```text
//! data ──remote write──▶ Prometheus ◀──HTTP── expression ──▶ promql::evaluate ◀── data
//!                             └────────── compare ───────────────┘
//! ```
//!
//! Values agree to the last bit, but where `agreement` says why they need not; everything else agrees
//! to the letter: labels, times, the words of errors, annotations and their places.
//!
//! Every [`WORLD`] expressions there are other series, and a new Prometheus with them. A seed makes
//! both. `DIFFERENTIAL_CASES` and `DIFFERENTIAL_SEED` ask for more, or for others. `DIFFERENTIAL_TEXT` is
//! tried at as many times in place of random expressions, `DIFFERENTIAL_SERIES` names the series as
//! what differed does. Prometheus is looked for among the peers
//! that `tests/peers/fetch.sh` unpacks. Without it the test says so and proves nothing; under `CI` it
//! fails then.
//!
//! Invariant: what is left out of the comparison is named in `agreement` or `compare`, with the reason.

mod random;
mod series;
mod native;
mod expression;
mod garbage;
mod prometheus;
mod cell;
mod agreement;
mod compare;

use std::time::Duration;

use base::sample::Timestamp;
use promql::{Options, Output, Query, Range};
use storage::Storage;

use compare::Asked;
use prometheus::Prometheus;
use random::Random;
use series::{END, START};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How many expressions are evaluated over the same series.
const WORLD: u64 = 500;

/// What a case is tried with.
struct World {
    seed: u64,
    prometheus: Prometheus,
    storage: Storage,
}

impl World {
    /// One with the series of a seed; nothing where there is no Prometheus.
    fn new(seed: u64) -> Option<Self> {
        let series = series::all(&mut Random::new(seed));
        let prometheus = Prometheus::start()?;
        prometheus.write(&series);
        Some(Self { seed, prometheus, storage: series::storage(&series) })
    }
}

/// Runs `case` as often as asked for, and shows what differs.
fn run(what: &str, most: u64, mut case: impl FnMut(&World, &mut Random) -> Option<String>) {
    let (seed, cases) = (number("DIFFERENTIAL_SEED", 1), number("DIFFERENTIAL_CASES", most));
    let mut random = Random::new(seed);
    let mut differ = Vec::new();
    for begun in (0..cases).step_by(WORLD as usize) {
        let series = seed.wrapping_mul(1_000_003).wrapping_add(begun / WORLD);
        let series = number("DIFFERENTIAL_SERIES", series);
        let Some(world) = World::new(series) else {
            assert!(std::env::var_os("CI").is_none(), "there is no Prometheus to compare with");
            println!("not run: there is no Prometheus; tests/peers/fetch.sh fetches it");
            return;
        };
        let here = WORLD.min(cases - begun);
        let found = (0..here).filter_map(|_| case(&world, &mut random));
        differ.extend(found.map(|text| format!("series {series}: {text}")));
    }
    println!("{what}: {} of {cases} agree", cases as usize - differ.len());
    assert!(differ.is_empty(), "seed {seed}:\n{}", differ.join("\n"));
}

#[test]
fn expressions_come_to_what_they_come_to_in_prometheus() {
    let mut spoilt = 0;
    run("values", 1000, |world, random| {
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
        let ours = evaluate(&text, &world.storage, range);
        let differs = difference(&text, &world.prometheus, range, &ours)?;
        // One that has not been asked anything yet has spoilt nothing.
        let fresh = || World::new(world.seed).map(|world| world.prometheus);
        if step_by_step(&text, world, range, &ours)
            || fresh().is_some_and(|other| difference(&text, &other, range, &ours).is_none())
        {
            spoilt += 1;
            return None;
        }
        Some(format!("{text}\n  {range:?}\n  {differs}"))
    });
    println!("values: of these {spoilt} step by step only, or asked first");
}

/// What differs however often Prometheus is asked: histograms that it keeps for the next query may be
/// spoilt, and then it says something else when asked again.
fn difference(
    text: &str,
    prometheus: &Prometheus,
    range: Range,
    ours: &Result<Output, String>,
) -> Option<String> {
    let expr = promql::parse(text).ok();
    let asked = Asked { text, expr: expr.as_ref(), is_range: !range.is_instant() };
    let ask = || compare::answers(asked, ours, &prometheus.evaluate(text, range));
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
    world: &World,
    range: Range,
    together: &Result<Output, String>,
) -> bool {
    let (Some(step), Ok(together)) = (range.step(), together) else { return false };
    let bound = |at: Timestamp| at.seconds().to_string();
    let text = text.replace("start()", &bound(range.start())).replace("end()", &bound(range.end()));
    let mut at = range.start();
    let mut singles = Vec::new();
    while at <= range.end() {
        let ours = evaluate(&text, &world.storage, Range::instant(at));
        if difference(&text, &world.prometheus, Range::instant(at), &ours).is_some() {
            return false;
        }
        let Ok(ours) = ours else { return false };
        singles.push((at, ours));
        at = at + step;
    }
    let tolerance = promql::parse(&text).map_or(0.0, |expr| agreement::tolerance(&expr, true));
    compare::is_made_of(together, &singles, tolerance)
}

#[test]
fn texts_are_read_and_refused_as_prometheus_reads_and_refuses_them() {
    run("texts", 2000, |world, random| {
        let text = garbage::any(random);
        let ours = Query::new(&text).map(|query| query.to_string());
        let differs = compare::readings(&text, &ours, &world.prometheus.format(&text))?;
        Some(format!("{text:?}\n  {differs}"))
    });
}
