//! Silences and windows of maintenance that are told of, end by themselves, and are recorded.
//!
//! Invariant: each story names the rule or fault of the catalogue that it tells.

use std::sync::Arc;
use std::time::Duration;

use alertmanager::hygiene::{Hygiene, Keeper, KeeperParts, Notices};
use alertmanager::mute::{Asked, ENDED_BECAUSE, MaintenanceConfig, Span, Window, build_windows};
use alertmanager::pushed::{Push, Pushed};
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::is_stale;
use storage::{Options, Storage};

use crate::simulation::{ROUTE, Simulation, alert, at, lanes, route};

/// A story with somebody who looks after silences.
struct Kept {
    story: Simulation,
    keeper: Keeper,
    storage: Arc<Storage>,
    settings: Hygiene,
    windows: &'static str,
}

async fn keeper(
    story: &Simulation,
    storage: &Arc<Storage>,
    settings: &Hygiene,
    windows: &str,
) -> Keeper {
    let pushed = Pushed::open(story.state.clone(), story.alerts.clone(), Duration::ZERO);
    keeper_with(story, storage, settings, windows, pushed.await.unwrap()).await
}

/// The same, where alerts are pushed.
async fn keeper_with(
    story: &Simulation,
    storage: &Arc<Storage>,
    settings: &Hygiene,
    windows: &str,
    pushed: Pushed,
) -> Keeper {
    let mut diagnostics = Diagnostics::new("story");
    let configs: Vec<Spanned<MaintenanceConfig>> =
        base::yaml::read(windows, &mut diagnostics).unwrap();
    let receivers = ["ops".to_owned(), "dev".to_owned()];
    let windows = build_windows(&configs, story.dir.path(), &receivers, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    story.mutes.maintenance.set_windows(windows);
    let parts = KeeperParts {
        settings: settings.clone(),
        route: Arc::new(route(&story.route)),
        lanes: lanes(true),
        alerts: story.alerts.clone(),
        pushed,
        mutes: story.mutes.clone(),
        outbox: story.outbox.clone(),
        storage: Arc::clone(storage),
        state: story.state.clone(),
        external_url: "http://v".into(),
    };
    Keeper::open(parts, Duration::ZERO).await.unwrap()
}

impl Kept {
    async fn begin(settings: Hygiene, windows: &'static str) -> Self {
        Self::with(ROUTE, settings, windows).await
    }

    async fn with(route: &str, settings: Hygiene, windows: &'static str) -> Self {
        // The receivers of stories are no service that is known.
        let settings = Hygiene { notices: Notices::All, ..settings };
        let story = Simulation::with(route, true).await;
        let storage = Arc::new(Storage::in_memory(Options::default()));
        let keeper = keeper(&story, &storage, &settings, windows).await;
        Self { story, keeper, storage, settings, windows }
    }

    async fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.keeper.step(at(self.story.now)).await.unwrap();
            self.story.pass(1).await;
        }
    }

    async fn restart(&mut self, down: i64, firing: &str) {
        self.story.restart(down, firing).await;
        self.keeper = keeper(&self.story, &self.storage, &self.settings, self.windows).await;
    }

    /// The value of the series of the one window that there is, as it was last recorded.
    fn recorded(&self) -> Option<f64> {
        let series = self.storage.last(&[Matcher::equal("__name__", "veilleur_maintenance")]);
        assert!(series.len() < 2, "{series:?}");
        let (labels, sample) = series.first()?;
        let expected = Labels::from_pairs([
            ("__name__", "veilleur_maintenance"),
            ("name", "w"),
            ("alertname", "a"),
        ]);
        assert_eq!(*labels, expected);
        (!is_stale(sample.value)).then_some(sample.value)
    }
}

#[tokio::test]
async fn a_silence_is_told_when_it_begins_before_it_ends_and_when_it_has_each_once() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    kept.story.fire("a b");
    kept.pass(20).await;
    kept.story.expect("10 ops a b");
    kept.story.silence("a", 20, 2000).await;
    kept.pass(100).await;
    kept.story.expect("21 ops Silence");
    // Whoever was told of a is told that it has ended when the silence has.
    kept.restart(1, "b").await;
    kept.pass(500).await;
    kept.story.expect("");
    // Nothing is left that it holds: nobody needs a reminder.
    kept.pass(1000).await;
    kept.story.expect("");
    kept.pass(460).await;
    kept.story.expect("2001 ops SILENCE, 2050 ops A b");
    kept.restart(1, "b").await;
    kept.pass(300).await;
    kept.story.expect("");
}

#[tokio::test]
async fn a_reminder_comes_once_and_a_longer_silence_is_told_again() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    kept.story.fire("a");
    let id = kept.story.silence("a", 0, 2000).await;
    kept.pass(1000).await;
    kept.story.expect("1 ops Silence");
    kept.pass(150).await;
    kept.story.expect("1101 ops Silence");
    kept.restart(1, "a").await;
    kept.pass(100).await;
    kept.story.expect("");
    let silence = kept.story.mutes.silences.get(&id).unwrap();
    let longer = alertmanager::mute::Silence { ends_at: at(9000), ..(*silence).clone() };
    kept.story.mutes.silences.set(longer, at(kept.story.now)).await.unwrap();
    kept.pass(100).await;
    kept.story.expect("1252 ops Silence");
    kept.story.mutes.silences.expire(&id, at(kept.story.now)).await.unwrap();
    kept.pass(60).await;
    kept.story.expect("1352 ops SILENCE, 1391 ops a");
}

#[tokio::test]
async fn a_begin_that_nobody_heard_has_no_end() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    kept.story.up = false;
    kept.story.fire("a");
    kept.story.silence("a", 0, 100).await;
    kept.pass(50).await;
    kept.story.end("a");
    kept.pass(100).await;
    kept.story.up = true;
    kept.pass(100).await;
    kept.story.expect("");
}

#[tokio::test]
async fn a_notice_that_is_refused_for_good_is_not_thrown_at_the_receiver_again_and_again() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    kept.story.fire("a");
    kept.story.silence("a", 0, 100_000).await;
    kept.keeper.step(at(0)).await.unwrap();
    let due = kept.story.outbox.next("ops/sink/0", at(0)).unwrap();
    kept.story.outbox.refused(&due, at(900), "no").await.unwrap();
    kept.pass(890).await;
    kept.story.expect("");
    kept.pass(30).await;
    kept.story.expect("900 ops Silence");
}

#[tokio::test]
async fn each_receiver_hears_of_its_own_alerts_only() {
    let route =
        "{receiver: dev, group_by: [g], routes: [{receiver: ops, matchers: [alertname=a]}]}";
    let mut kept = Kept::with(route, Hygiene::default(), "[]").await;
    kept.story.fire("a b c");
    let silence = alertmanager::mute::Silence {
        id: String::new(),
        matchers: vec![Matcher::equal("g", "1")],
        starts_at: at(0),
        ends_at: at(5000),
        created_by: "story".to_owned(),
        comment: String::new(),
        annotations: Default::default(),
        updated_at: at(0),
    };
    kept.story.mutes.silences.set(silence, at(0)).await.unwrap();
    kept.keeper.step(at(0)).await.unwrap();
    let told = |lane: &str| {
        let due = kept.story.outbox.next(lane, at(0)).unwrap();
        let texts = &due.flush.alerts[0].annotations;
        format!("{}; {}", texts["alerts"].replace('\n', ", "), texts["summary"])
    };
    let until = "of yours until 1970-01-01 01:23 UTC";
    let expected = format!("a {{g=\"1\"}}; a silence holds back 1 alert {until}");
    assert_eq!(told("ops/sink/0"), expected);
    let expected = format!("b {{g=\"1\"}}, c {{g=\"1\"}}; a silence holds back 2 alerts {until}");
    assert_eq!(told("dev/sink/0"), expected);
}

#[tokio::test]
async fn a_silence_that_holds_nothing_for_long_ends_with_a_note_x50() {
    let hour = Duration::from_secs(3600);
    let settings = Hygiene { expire_unused: Some(hour * 2), ..Hygiene::default() };
    let mut kept = Kept::begin(settings, "[]").await;
    let unused = kept.story.silence("x", 0, 1_000_000).await;
    let used = kept.story.silence("a", 0, 1_000_000).await;
    kept.story.fire("a");
    kept.pass(3600).await;
    kept.restart(10, "a").await;
    kept.pass(3500).await;
    let ends = |kept: &Kept, id: &str| kept.story.mutes.silences.get(id).unwrap().ends_at;
    assert_eq!(ends(&kept, &unused), at(1_000_000));
    kept.pass(120).await;
    // By then the one that is of use was of use at any time.
    assert_eq!(ends(&kept, &used), at(1_000_000));
    let silence = kept.story.mutes.silences.get(&unused).unwrap();
    assert!(silence.ends_at <= at(7210) && silence.ends_at >= at(7190), "{silence:?}");
    assert_eq!(silence.annotations[ENDED_BECAUSE], "it held no alert for 2h");
    assert!(!kept.story.heard.iter().any(|heard| heard.contains("SILENCE")));
}

/// Of the alerts `a`, from one minute past ten minutes on, for ten minutes.
const WINDOW: &str = "
- {name: w, matchers: [alertname=a], start: '1970-01-01T00:11:00', duration: 10m, announce: 5m}
";

#[tokio::test]
async fn a_window_is_announced_holds_settles_and_tells_the_difference_a5_2_f05_f06() {
    let mut kept = Kept::begin(Hygiene::default(), WINDOW).await;
    kept.pass(350).await;
    kept.story.expect("");
    kept.pass(250).await;
    kept.story.expect("361 ops Maintenance");
    assert_eq!(kept.recorded(), None);
    kept.pass(100).await;
    kept.story.expect("661 ops Maintenance");
    assert_eq!(kept.recorded(), Some(1.0));
    // What fires and ends within is told to nobody, over a restart too; others are.
    kept.story.fire("a b");
    kept.pass(60).await;
    kept.story.expect("710 ops b");
    kept.restart(1, "a b").await;
    kept.pass(100).await;
    kept.story.end("a");
    kept.pass(200).await;
    kept.story.expect("");
    kept.story.fire("a");
    kept.pass(200).await;
    assert_eq!(kept.story.now, 1261);
    // It has ended; what fires may still recover.
    kept.pass(60).await;
    kept.story.expect("1262 ops MAINTENANCE");
    assert_eq!(kept.recorded(), None);
    kept.pass(120).await;
    // Three minutes after the end at most (F06).
    let heard = kept.story.heard.join(", ");
    assert!(heard.ends_with(" ops a b"), "{heard}");
    let told: i64 = heard.split(' ').next().unwrap().parse().unwrap();
    assert!((1380..=1440).contains(&told), "{heard}");
    kept.story.heard.clear();
    kept.pass(600).await;
    kept.story.expect("");
}

#[tokio::test]
async fn a_window_is_asked_for_ended_early_and_called_off_a5_3() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    let maintenance = kept.story.mutes.maintenance.clone();
    let ask = async |from: i64, to: i64, now: i64| {
        let span = Span { start: at(from), end: at(to) };
        let window = Window::once("w", vec![Matcher::equal("alertname", "a")], span);
        maintenance.ask(Asked { window, span }, at(now)).await
    };
    assert!(ask(50, 40, 0).await.is_err());
    assert!(ask(0, 100, 200).await.is_err());
    // One that began in the past begins now.
    kept.pass(100).await;
    let first = ask(50, 3000, 100).await.unwrap();
    let second = ask(8000, 9000, 100).await.unwrap();
    kept.story.fire("a");
    kept.pass(100).await;
    kept.story.expect("101 ops Maintenance");
    kept.restart(1, "a").await;
    kept.pass(60).await;
    kept.story.expect("");
    let maintenance = kept.story.mutes.maintenance.clone();
    maintenance.end(&first, at(kept.story.now)).await.unwrap();
    assert!(maintenance.end(&first, at(kept.story.now + 1)).await.is_err());
    kept.pass(180).await;
    assert_eq!(kept.story.heard[0], "262 ops MAINTENANCE");
    assert!(
        kept.story.heard[1].ends_with(" ops a") && kept.story.heard.len() == 2,
        "{:?}",
        kept.story.heard
    );
    kept.story.heard.clear();
    // Announced an hour before, and called off.
    kept.story.end("a");
    kept.pass(4100).await;
    let told = kept.story.heard.pop().unwrap();
    let (when, what) = told.split_once(' ').unwrap();
    assert!(what == "ops Maintenance" && when.starts_with("440"), "{told}");
    kept.story.heard.clear();
    maintenance.end(&second, at(kept.story.now)).await.unwrap();
    assert!(maintenance.end(&second, at(kept.story.now)).await.is_err());
    kept.pass(20).await;
    assert!(kept.story.heard[0].ends_with(" ops MAINTENANCE"), "{:?}", kept.story.heard);
    kept.story.heard.clear();
    kept.restart(1, "a").await;
    kept.pass(5000).await;
    // It does not come back.
    assert!(kept.story.heard.iter().all(|heard| !heard.to_lowercase().contains("maintenance")));
}

#[tokio::test]
async fn windows_that_overlap_hold_until_the_last_has_ended_a5_4() {
    let windows = "
- {name: one, matchers: [alertname=a], start: '1970-01-01T00:01:00', duration: 5m, settle: 0s, announce: 0s}
- {name: two, matchers: [g=1], start: '1970-01-01T00:02:00', duration: 10m, settle: 0s, announce: 0s}
";
    let settings = Hygiene::default();
    let mut kept = Kept::begin(settings, windows).await;
    kept.pass(70).await;
    kept.story.fire("a");
    kept.pass(600).await;
    let told = |kept: &Kept| kept.story.heard.iter().any(|heard| heard.ends_with(" ops a"));
    assert!(!told(&kept), "{:?}", kept.story.heard);
    assert_eq!(kept.story.mutes.maintenance.held_by(&alert("a").labels, at(200)), ["one", "two"]);
    kept.pass(180).await;
    assert!(told(&kept), "{:?}", kept.story.heard);
    assert_eq!(kept.story.route, ROUTE);
}

#[tokio::test]
async fn what_others_push_is_recorded_for_previews() {
    let mut kept = Kept::begin(Hygiene::default(), "[]").await;
    let pushed = Pushed::open(kept.story.state.clone(), kept.story.alerts.clone(), Duration::ZERO);
    let pushed = pushed.await.unwrap();
    let push = Push {
        labels: alert("a").labels,
        annotations: Default::default(),
        starts_at: None,
        ends_at: Some(at(100)),
        generator_url: String::new(),
    };
    pushed.push(vec![push], at(0), Duration::from_secs(300)).await.unwrap();
    let ours = pushed.clone();
    kept.keeper = keeper_with(&kept.story, &kept.storage, &kept.settings, "[]", ours).await;
    kept.pass(70).await;
    // While it fires, whoever asks sees that.
    assert!(kept.storage.last(&[Matcher::equal("alertname", "a")]).is_empty());
    kept.pass(50).await;
    let over = pushed.step(at(130)).await.unwrap();
    assert_eq!(over, None);
    kept.pass(30).await;
    let week = |matchers: &[Matcher]| {
        alertmanager::hygiene::history(&kept.storage, &Labels::empty(), matchers, at(1000)).unwrap()
    };
    let found = week(&[Matcher::equal("alertname", "a")]);
    assert_eq!((found.len(), found[0].labels.clone()), (1, alert("a").labels));
    assert!(week(&[Matcher::equal("alertname", "b")]).is_empty());
    // Nobody who asks for what is there now is told of it.
    let last = kept.storage.last(&[Matcher::equal("alertname", "a")]);
    assert!(base::sample::is_stale(last[0].1.value), "{last:?}");
}
