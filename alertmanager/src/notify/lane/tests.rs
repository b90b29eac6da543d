//! A lane before a service that takes, fails, hangs and refuses, in simulated time.
//!
//! Invariant: the state is a real database; time is what the test says it is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base::labels::Labels;
use tempfile::TempDir;

use super::*;
use crate::alerts::Alert;
use crate::outbox::{Flush, LaneGroup, Reason};
use crate::state::{AttemptFilter, State};

const LANE: &str = "ops/sink/0";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

type Answer = dyn Fn(&Notification) -> Result<Receipt, DeliveryError> + Send + Sync;

/// Notes what it is given, and answers as the test says.
struct Sink {
    asked: Mutex<Vec<Notification>>,
    answer: Mutex<Box<Answer>>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

#[async_trait]
impl Notifier for Sink {
    fn integration(&self) -> &'static str {
        "sink"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        self.asked.lock().unwrap().push(notification.clone());
        (self.answer.lock().unwrap())(notification)
    }
}

struct Rig {
    _dir: TempDir,
    state: State,
    outbox: Outbox,
    sink: Arc<Sink>,
    runner: LaneRunner,
    pace: Pace,
    now: i64,
    /// When the lane goes on.
    resumes: i64,
}

impl Rig {
    async fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).await.unwrap();
        let outbox = Outbox::open(state.clone()).await.unwrap();
        let answer: Box<Answer> = Box::new(|_| Ok(Receipt::default()));
        let sink = Arc::new(Sink { asked: Mutex::default(), answer: Mutex::new(answer) });
        let runner = LaneRunner {
            lane: LANE.to_owned(),
            notifier: Arc::<Sink>::clone(&sink),
            timeout: Duration::from_secs(1),
            gate: None,
            recheck: None,
            outbox: outbox.clone(),
            states: LaneStates::default(),
            metrics: NotifyMetrics::new(&OwnMetrics::new()),
            external_url: "http://v".into(),
        };
        let pace = Pace::default();
        Self { _dir: dir, state, outbox, sink, runner, pace, now: 0, resumes: 0 }
    }

    fn answer(
        &self,
        answer: impl Fn(&Notification) -> Result<Receipt, DeliveryError> + Send + Sync + 'static,
    ) {
        *self.sink.answer.lock().unwrap() = Box::new(answer);
    }

    /// Queues a message for each group named.
    async fn queue(&self, groups: &str) {
        let flush = |name: &str| Flush {
            receiver: "ops".to_owned(),
            group_labels: Labels::from_pairs([("alertname", name)]),
            route_labels: Labels::empty(),
            reason: Reason::First,
            alerts: vec![Arc::new(Alert {
                labels: Labels::from_pairs([("alertname", name), ("instance", "x\ny")]),
                annotations: BTreeMap::from([("description".to_owned(), "z".repeat(9000))]),
                starts_at: at(0),
                ended: None,
                stale_since: None,
                generator_url: String::new(),
            })],
            kept: Vec::new(),
            answer: Default::default(),
        };
        let key = |name: &str| LaneGroup { lane: LANE.to_owned(), group_key: name.to_owned() };
        let flushes = groups.split(' ').map(|name| (key(name), flush(name))).collect();
        self.outbox.enqueue(flushes, at(self.now)).await.unwrap();
    }

    /// Lets time pass, a second a step.
    async fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            while self.now >= self.resumes {
                match self.runner.step(&mut self.pace, at(self.now)).await {
                    Next::AtOnce => {}
                    Next::After(rest) => self.resumes = self.now + rest.as_secs().max(1) as i64,
                    Next::WhenQueued(_) => break,
                }
            }
            self.now += 1;
        }
    }

    /// Names and seconds of what the sink was asked since the last call.
    fn asked(&self) -> Vec<(String, i64)> {
        let asked = std::mem::take(&mut *self.sink.asked.lock().unwrap());
        asked
            .iter()
            .map(|n| (n.alerts[0].name().to_owned(), n.at.millis().div_euclid(1000)))
            .collect()
    }

    async fn history(&self) -> String {
        let filter = AttemptFilter { limit: 1000, ..AttemptFilter::default() };
        let attempts = self.state.attempts(&filter).await.unwrap();
        let shown =
            |a: &Attempt| format!("{} {} {}", a.alerts[0].name, a.number, a.result.as_str());
        attempts.iter().rev().map(shown).collect::<Vec<_>>().join(", ")
    }
}

fn names(asked: &[(String, i64)]) -> String {
    asked.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_service_that_fails_is_tried_once_a_minute_at_most_and_for_ever_f13() {
    let mut rig = Rig::begin().await;
    rig.answer(|_| Err(DeliveryError::transient("status 500")));
    rig.queue("a b c d e f g h i j").await;
    rig.pass(300).await;
    let early = rig.asked().len();
    assert!((5..=10).contains(&early), "{early}");
    rig.pass(3 * 3600).await;
    let tries = rig.asked();
    let gaps: Vec<i64> = tries.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(gaps.iter().all(|gap| (59..=81).contains(gap)), "{gaps:?}");
    assert!(tries.len() > 100, "{}", tries.len());
    // It is back: all hear within a little more than a minute, each once.
    rig.answer(|_| Ok(Receipt::default()));
    rig.pass(85).await;
    assert_eq!(rig.asked().len(), 10);
    assert!(rig.outbox.waiting().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_in_the_pause_that_a_service_asks_for_f12() {
    let mut rig = Rig::begin().await;
    let wait = Some(Duration::from_secs(7));
    let answer = move |_: &Notification| {
        Err(DeliveryError::Transient {
            reason: "status 429".to_owned(),
            retry_after: wait,
            in_doubt: false,
        })
    };
    rig.answer(answer);
    rig.queue("a").await;
    rig.pass(1).await;
    rig.queue("b c").await;
    rig.answer(|_| Ok(Receipt::default()));
    rig.pass(20).await;
    let asked = rig.asked();
    assert_eq!(asked[0], ("a".to_owned(), 0));
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[1..].iter().all(|(_, second)| *second >= 7), "{asked:?}");
}

#[tokio::test]
async fn a_message_that_is_refused_goes_in_its_minimal_form_and_others_go_on_f16() {
    let mut rig = Rig::begin().await;
    rig.answer(|notification| match notification.alerts[0].annotations.contains_key("shortened") {
        true => Ok(Receipt::default()),
        false if notification.alerts[0].name() == "poison" => {
            Err(DeliveryError::bad_message("status 400: too long"))
        }
        false => Ok(Receipt::default()),
    });
    rig.queue("poison").await;
    rig.queue("next").await;
    rig.pass(5).await;
    let mut asked = rig.asked();
    asked.sort();
    assert_eq!(names(&asked), "next poison poison");
    assert!(rig.outbox.waiting().is_empty());
    let history = rig.history().await;
    assert!(history.contains("poison 1 refused, poison 2 shortened"), "{history}");
    assert!(rig.runner.states.all()[LANE].shortened_at.is_some());
}

#[tokio::test]
async fn a_message_that_is_never_taken_holds_up_no_other_f16() {
    for refusal in [DeliveryError::bad_message("no"), DeliveryError::transient("500")] {
        let mut rig = Rig::begin().await;
        rig.answer(move |notification| match notification.alerts[0].name() {
            "poison" => Err(refusal.clone()),
            _ => Ok(Receipt::default()),
        });
        rig.queue("poison").await;
        for n in 0..20 {
            rig.queue(&format!("good{n}")).await;
            let begun = rig.now;
            rig.pass(5).await;
            let asked = rig.asked();
            let good = asked.iter().find(|(name, _)| name.starts_with("good"));
            let (_, second) = good.unwrap_or_else(|| panic!("round {n}: {asked:?}"));
            assert!(second - begun <= 5, "{asked:?}");
        }
        // It is still there, and tried again: nobody is told that it was delivered.
        assert_eq!(rig.outbox.waiting()[LANE].intents, 1);
        rig.pass(900).await;
        assert!(names(&rig.asked()).contains("poison"));
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_message_is_not_sent_again_at_once() {
    let mut rig = Rig::begin().await;
    rig.answer(|_| Err(DeliveryError::permanent("status 401")));
    rig.queue("a").await;
    rig.pass(40).await;
    assert_eq!(rig.asked().len(), 1);
    assert_eq!(rig.outbox.waiting()[LANE].refused, 1);
    // Whoever mends it within the hour need not do anything more.
    rig.answer(|_| Ok(Receipt::default()));
    rig.pass(900).await;
    assert_eq!(rig.asked().len(), 1);
    assert_eq!(rig.history().await, "a 1 refused, a 2 delivered");
}

#[tokio::test]
async fn what_hangs_is_given_up_and_comes_again() {
    let mut rig = Rig::begin().await;
    rig.runner.timeout = Duration::from_millis(20);
    let hanging = Arc::new(Hanging);
    rig.runner.notifier = hanging;
    rig.queue("a").await;
    rig.pass(1).await;
    assert_eq!(rig.history().await, "a 1 failed");
    let filter = AttemptFilter { limit: 1, ..AttemptFilter::default() };
    let attempt = rig.state.attempts(&filter).await.unwrap().remove(0);
    assert!(attempt.answer.contains("no answer within 20ms"), "{attempt:?}");
    assert!(attempt.took >= Duration::from_millis(20), "{attempt:?}");
}

#[derive(Debug)]
struct Hanging;

#[async_trait]
impl Notifier for Hanging {
    fn integration(&self) -> &'static str {
        "sink"
    }

    async fn notify(&self, _: &Notification) -> Result<Receipt, DeliveryError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again_because_the_disk_is_full_f32() {
    let mut rig = Rig::begin().await;
    rig.queue("a").await;
    rig.state.journal().fill();
    rig.pass(60).await;
    assert_eq!(rig.asked().len(), 1);
    assert!(rig.pace.unnoted.is_some());
}

#[tokio::test]
async fn nothing_is_handed_over_while_the_gate_is_closed() {
    let mut rig = Rig::begin().await;
    let closed = Arc::new(AtomicBool::new(true));
    let is_closed = Arc::clone(&closed);
    let why_not = move |_| is_closed.load(Ordering::SeqCst).then(|| "rules are late".to_owned());
    rig.runner.gate = Some(Gate::new(why_not));
    rig.queue("a").await;
    rig.pass(30).await;
    assert!(rig.asked().is_empty());
    closed.store(false, Ordering::SeqCst);
    rig.pass(3).await;
    assert_eq!(rig.asked().len(), 1);
}

#[tokio::test]
async fn what_was_just_silenced_waits_for_dispatch_and_no_longer_than_its_turns_f20() {
    let mut rig = Rig::begin().await;
    rig.runner.recheck = Some(Recheck::new(|due, _| {
        due.flush.alerts.iter().any(|alert| alert.name() == "silenced")
    }));
    rig.queue("silenced").await;
    rig.pass(20).await;
    assert_eq!(rig.asked(), []);
    // Dispatch takes it out: nothing was sent, and others are not held up.
    let key = LaneGroup { lane: LANE.to_owned(), group_key: "silenced".to_owned() };
    rig.outbox.withdraw(&key).await.unwrap();
    rig.queue("other").await;
    rig.pass(5).await;
    assert_eq!(names(&rig.asked()), "other");
    // What dispatch leaves as it is goes out after its turns: an end that is told late, say.
    rig.queue("silenced").await;
    rig.pass(i64::from(MOST_RECHECKS) + 10).await;
    assert_eq!(names(&rig.asked()), "silenced");
}
