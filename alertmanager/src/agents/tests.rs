//! Agents that push, in simulated time.
//!
//! Invariant: what is compared is what rules read: the last sample of each series.

use base::family::MetricKind;
use base::own_metrics::OwnMetrics;
use base::remote_write::Series;
use base::sample::Sample;
use storage::Options;

use super::*;

/// What runs, with the time in seconds since its start.
struct Rig {
    agents: Agents,
    ingest: Ingest,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1000)
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", "far"), ("job", "veilleur-agent")])
}

/// What an agent sends that has collected at `times`; it passes on an `up` of another program, too.
fn message(times: &[i64]) -> Received {
    let series = |labels: Labels, value: f64| Series {
        labels,
        samples: times.iter().map(|&t| Sample { timestamp: at(t), value }).collect(),
        kind: MetricKind::Unknown,
        help: String::new(),
        unit: String::new(),
    };
    let series = vec![
        series(labels(UP), 1.0),
        series(labels(INFO).with("version", "1"), 1.0),
        series(labels("heat"), 21.0),
        series(labels(UP).with("job", "backup"), 1.0),
        series(labels(UP).with("check", "textfile"), 1.0),
    ];
    Received { starts: vec![0; series.len()], series, ..Received::default() }
}

impl Rig {
    async fn start() -> Self {
        let storage = Arc::new(Storage::in_memory(Options::default()));
        Self::over(storage, State::in_memory().await.unwrap(), at(0)).await
    }

    async fn over(storage: Arc<Storage>, state: State, now: Timestamp) -> Self {
        let metrics = OwnMetrics::new();
        let appended = metrics.counter("veilleur_appended_total", "x");
        let ingest = Ingest::new(Arc::clone(&storage), News::default(), appended.clone(), &metrics);
        let (targets, news) = (Targets::default(), News::default());
        let outputs = Outputs::default();
        let parts = AgentParts { storage, state, targets, outputs, news, appended };
        Self { agents: Agents::open(parts, now).await.unwrap(), ingest }
    }

    /// A message that comes at `now`, with what was collected at `times`.
    fn push(&self, times: &[i64], now: i64) {
        let written = self.agents.write(&self.ingest, message(times), at(now)).unwrap();
        assert_eq!(written.refused, [""; 0], "{times:?} at {now}");
    }

    /// Looks every second.
    fn tick(&self, seconds: std::ops::RangeInclusive<i64>) {
        seconds.for_each(|second| drop(self.agents.tick(at(second))));
    }

    /// `up`, `veilleur_agent_up` and `heat` as they are, and what the target shows.
    fn seen(&self) -> String {
        let last = |name: &str| {
            let found = self.agents.parts.storage.last(&equal(&labels(name)));
            found.iter().find(|(found, _)| *found == labels(name)).map_or_else(
                || "-".to_owned(),
                |(_, sample)| match Ended::from_value(sample.value) {
                    Some(end) => format!("{end:?}"),
                    None => sample.value.to_string(),
                },
            )
        };
        let health: Vec<_> =
            self.agents.parts.targets.all().values().map(|t| t.health.as_str()).collect();
        format!("{} {} {} {}", last(UP), last(AGENT_UP), last("heat"), health.join(","))
    }
}

#[tokio::test]
async fn one_that_falls_silent_is_down_and_comes_back() {
    let rig = Rig::start().await;
    for second in [0, 15, 30] {
        rig.push(&[second], second);
        rig.tick(second..=second + 14);
    }
    assert_eq!(rig.seen(), "1 1 21 up");
    rig.tick(45..=74);
    assert_eq!(rig.seen(), "1 1 21 up");
    rig.tick(75..=75);
    assert_eq!(rig.seen(), "0 0 Lost down");
    let (_, target) = rig.agents.parts.targets.all().pop_first().unwrap();
    assert_eq!(target.last_error, "it has pushed nothing for 45s, and is missed after 45s");
    // It goes on to be said: queries see it for as long as it lasts.
    rig.tick(76..=400);
    let zeros = rig.agents.parts.storage.select(&equal(&labels(UP)), at(0), at(400)).unwrap();
    let zeros = zeros.iter().find(|series| series.labels == labels(UP)).unwrap();
    assert_eq!(zeros.values.iter().filter(|value| **value == 0.0).count(), 22);
    rig.push(&[401], 401);
    assert_eq!(rig.seen(), "1 1 21 up");
    // The long pause is no habit.
    rig.push(&[416], 416);
    rig.tick(417..=461);
    assert_eq!(rig.seen(), "0 0 Lost down");
}

#[tokio::test]
async fn what_waited_for_us_is_kept_and_says_nothing_of_the_present() {
    let rig = Rig::start().await;
    (0..=3).for_each(|n| rig.push(&[n * 15], n * 15));
    rig.tick(46..=300);
    assert_eq!(rig.seen(), "0 0 Lost down");
    // The oldest comes first.
    rig.push(&[60, 75, 90], 301);
    assert_eq!(rig.seen(), "0 0 21 down");
    rig.tick(302..=302);
    let (_, target) = rig.agents.parts.targets.all().pop_first().unwrap();
    let why = "what it pushes is 3m32s old: it sends what waited, or its clock is wrong";
    assert_eq!(target.last_error, why);
    // It dies meanwhile: what came since ends, too.
    rig.tick(303..=350);
    assert_eq!(rig.seen(), "0 0 Lost down");
    rig.push(&[105, 120, 135, 360], 361);
    assert_eq!(rig.seen(), "1 1 21 up");
    let heat = rig.agents.parts.storage.select(&equal(&labels("heat")), at(0), at(361)).unwrap();
    let kept = heat[0].values.iter().filter(|value| **value == 21.0).count();
    assert_eq!(kept, 4 + 3 + 4, "{heat:?}");
}

#[tokio::test]
async fn is_remembered_over_a_restart_and_forgotten_as_removed() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("state.db")).await.unwrap();
    let storage = Arc::new(Storage::in_memory(Options::default()));
    let before = Rig::over(Arc::clone(&storage), state.clone(), at(0)).await;
    // That it is there is noted at once, how often it pushes as soon as that is known.
    before.push(&[0], 0);
    let (notes, _) = before.agents.tick(at(1));
    assert_eq!(notes[0].body, "0");
    before.agents.noted(&notes);
    assert_eq!(before.agents.tick(at(2)).0, []);
    (1..=2).for_each(|n| before.push(&[n * 60], n * 60));
    // Again and again until it is written down.
    assert_eq!(before.agents.tick(at(120)).0.len(), 1);
    let (notes, forgotten) = before.agents.tick(at(121));
    assert_eq!((notes[0].body.as_str(), forgotten), ("60000", None));
    state.save_notes(NoteKind::Agent, &notes).await.unwrap();
    drop(before);
    // Nobody could push to us before: it has its time again.
    let rig = Rig::over(storage, state, at(1000)).await;
    assert_eq!(rig.seen(), "1 1 21 unknown");
    rig.tick(1000..=1179);
    assert_eq!(rig.seen(), "1 1 21 unknown");
    rig.tick(1180..=1180);
    assert_eq!(rig.seen(), "0 0 Lost down");
    rig.agents.set_forget_after(Duration::from_secs(2000));
    rig.tick(1181..=2119);
    assert_eq!(rig.seen(), "0 0 Lost down");
    let check = labels("x").with("check", "disk");
    rig.agents.parts.outputs.push(&check, "full");
    assert!(rig.agents.tick(at(2120)).1.is_some());
    assert_eq!(rig.seen(), "Removed Removed Removed ");
    assert_eq!(rig.agents.parts.outputs.get(&check), None);
}

#[tokio::test]
async fn one_that_is_scraped_too_is_not_missed() {
    let rig = Rig::start().await;
    let target = labels(UP).without_name();
    rig.push(&[0], 0);
    let (_, state) = rig.agents.parts.targets.all().pop_first().unwrap();
    let key = TargetKey { url: "http://far:1/metrics".to_owned(), ..key(&target) };
    rig.agents.parts.targets.set(&key, state);
    rig.tick(1..=600);
    assert_eq!(rig.seen(), "1 1 21 up");
    rig.push(&[601], 601);
    assert_eq!(rig.agents.parts.targets.all().len(), 1);
}

#[tokio::test]
async fn one_that_restarts_is_not_missed() {
    let rig = Rig::start().await;
    let mut before = 0;
    for second in [0, 15, 30, 33, 48, 63] {
        rig.tick(before..=second);
        rig.push(&[second], second);
        assert_eq!(rig.seen(), "1 1 21 up", "{second}");
        before = second;
    }
    let ups = rig.agents.parts.storage.select(&equal(&labels(AGENT_UP)), at(0), at(70)).unwrap();
    assert!(ups[0].values.iter().all(|value| *value == 1.0), "{ups:?}");
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_is_in_nobodys_way_f30() {
    let day = 86_400;
    let rig = Rig::start().await;
    (0..=3).for_each(|n| rig.push(&[n * 15], n * 15));
    for second in 46..=95 {
        if second % 15 == 0 {
            let message = message(&[second + day]);
            let written = rig.agents.write(&rig.ingest, message, at(second)).unwrap();
            assert!(written.refused[0].contains("too far ahead"), "{written:?}");
        }
        rig.tick(second..=second);
    }
    assert_eq!(rig.seen(), "0 0 Lost down");
    let (_, target) = rig.agents.parts.targets.all().pop_first().unwrap();
    let why = "all that it pushes is too far ahead of our clock: one of them is wrong";
    assert_eq!(target.last_error, why);
    assert!(rig.agents.parts.storage.max_time().unwrap() <= at(95));
    // A little ahead is taken, and that it is missed is known by our clock.
    rig.push(&[100 + 500], 100);
    assert_eq!(rig.seen(), "1 1 21 up");
    rig.tick(101..=1000);
    assert_eq!(rig.seen(), "0 0 Lost down");
    let ups =
        rig.agents.parts.storage.select(&equal(&labels(AGENT_UP)), at(100), at(1000)).unwrap();
    let first = ups[0].times.iter().zip(&ups[0].values).find(|(_, value)| **value == 0.0).unwrap();
    assert_eq!(*first.0, at(145).millis());
}

#[tokio::test]
async fn a_full_disk_makes_nobody_late_f35() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(Storage::open(dir.path(), Options::default()).unwrap());
    let rig = Rig::over(storage, State::in_memory().await.unwrap(), at(0)).await;
    // The log goes on in the next file at 800.
    let first = [755, 770, 785];
    first.iter().for_each(|&second| rig.push(&[second], second));
    let next = dir.path().join("log/00000002.log");
    std::fs::create_dir(&next).unwrap();
    for second in 786..=1100 {
        if second % 15 == 5 {
            // What waits goes first.
            let taken = rig.agents.write(&rig.ingest, message(&[800]), at(second));
            assert!(taken.is_err(), "{second}");
        }
        rig.tick(second..=second);
        let seen = rig.seen();
        assert_eq!(seen, "1 1 21 up", "{second}");
    }
    // Who says nothing is missed all the same, and that is not forgotten.
    rig.tick(1101..=1150);
    assert_eq!(rig.seen(), "0 0 Lost down");
    std::fs::remove_dir(&next).unwrap();
    rig.push(&[1151], 1151);
    assert_eq!(rig.seen(), "1 1 21 up");
}

#[tokio::test]
async fn what_is_ahead_of_a_clock_that_is_held_back_comes_again_f24() {
    let rig = Rig::start().await;
    (0..=3).for_each(|n| rig.push(&[n * 15], n * 15));
    let hour = Duration::from_secs(3600);
    // Our machine slept for an hour, and its clock is not believed yet.
    for second in 46..=150 {
        assert!(rig.agents.puts_off(&message(&[3600 + second]), at(second), hour));
        rig.tick(second..=second);
    }
    assert_eq!(rig.seen(), "1 1 21 up");
    // Nothing is put off that is right by our clock, or is not by a clock that nobody doubts.
    assert!(!rig.agents.puts_off(&message(&[150]), at(150), hour));
    assert!(!rig.agents.puts_off(&message(&[3750]), at(150), Duration::ZERO));
}
