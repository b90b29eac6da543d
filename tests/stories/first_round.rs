//! What could be held back waits after a start until its cause would be known: F09.
//!
//! Invariant: what nothing could hold back, and what was told before, is as if there were no round.

use std::time::Duration;

use alertmanager::pushed::{Push, Pushed};

use crate::simulation::{Simulation, alert, at};

/// A story that has just been started; targets and rules have until 100 s, those who push until
/// `pushed_by`.
async fn begin(pushed_by: Option<i64>) -> (Simulation, Pushed) {
    let story = Simulation::begin().await;
    let pushed = story.begin_round(100, pushed_by).await;
    (story, pushed)
}

async fn push(pushed: &Pushed, name: &str, now: i64) {
    let labels = alert(name).labels;
    let push = Push {
        labels,
        annotations: Default::default(),
        starts_at: Some(at(now)),
        ends_at: None,
        generator_url: String::new(),
    };
    pushed.push(vec![push], at(now), Duration::from_secs(3600)).await.unwrap();
}

#[tokio::test]
async fn an_effect_that_is_found_before_its_cause_tells_nobody_f09() {
    // The target comes first, in every order of the two with the group's first look at 10 s.
    for cause_at in [0, 3, 9, 10, 11, 40] {
        let (mut story, _) = begin(None).await;
        story.fire("effect1 effect2");
        story.pass(cause_at).await;
        story.fire("cause");
        story.pass(50 - cause_at).await;
        story.mutes.first_round.judged();
        story.pass(300).await;
        // A cause that comes to a group that waits is told with the end of the round.
        let told_at = if cause_at < 10 { 10 } else { 51 };
        story.expect(&format!("{told_at} ops cause"));
        // What was held back by its cause is told when that is over, as ever.
        story.end("cause");
        story.pass(60).await;
        story.expect("370 ops CAUSE effect1 effect2");
    }
}

#[tokio::test]
async fn an_effect_without_a_cause_is_told_as_soon_as_the_round_is_over_f09() {
    let (mut story, _) = begin(None).await;
    story.fire("effect a");
    story.pass(42).await;
    // What nothing could hold back does not wait.
    story.expect("10 ops a");
    assert!(story.mutes.awaits_first_round(&alert("effect").labels).is_some());
    story.mutes.first_round.judged();
    story.pass(100).await;
    // At the next second, not at the next look at 70 s.
    story.expect("43 ops a effect");
    assert!(story.mutes.first_round.is_over());
    story.fire("effect2");
    story.pass(60).await;
    story.expect("190 ops a effect effect2");
}

#[tokio::test]
async fn a_round_that_is_over_before_a_group_is_due_changes_nothing_f09() {
    let (mut story, _) = begin(None).await;
    story.fire("effect");
    story.pass(3).await;
    story.mutes.first_round.judged();
    story.pass(100).await;
    story.expect("10 ops effect");
}

#[tokio::test]
async fn what_was_told_before_a_restart_does_not_wait_f09() {
    let mut story = Simulation::begin().await;
    story.fire("effect1 effect2");
    story.pass(20).await;
    story.expect("10 ops effect1 effect2");
    // A message that was decided before, to somebody who was away, is on its way as before, too.
    story.up = false;
    story.fire("effect3");
    story.pass(60).await;
    story.judged_by = Some(600);
    story.restart(5, "effect1 effect2 effect3 effect4").await;
    story.up = true;
    story.end("effect1");
    story.pass(90).await;
    story.expect("86 ops effect1 effect2 effect3, 130 ops EFFECT1 effect2 effect3");
    story.mutes.first_round.judged();
    story.pass(200).await;
    story.expect("176 ops effect2 effect3 effect4");
}

#[tokio::test]
async fn what_others_push_waits_for_them_to_push_again_after_a_restart_f09() {
    let (mut story, pushed) = begin(Some(75)).await;
    push(&pushed, "effect1", 0).await;
    story.fire("effect2");
    story.pass(20).await;
    story.expect("");
    story.mutes.first_round.judged();
    story.pass(1).await;
    story.expect("21 ops effect2");
    push(&pushed, "cause", 30).await;
    story.pass(20).await;
    story.mutes.first_round.pushed_again();
    assert!(story.mutes.first_round.is_over());
    story.pass(200).await;
    // The first effect is held by its cause now; of the second, somebody was told already.
    story.expect("42 ops cause");
}
