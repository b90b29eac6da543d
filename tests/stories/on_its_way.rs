//! What becomes of a message that is on its way while what it tells changes, or while we crash.
//!
//! Invariant: whoever may have heard that something fires hears of its end, and nobody hears what they
//! know.

use alertmanager::outbox::Due;

use crate::simulation::{Simulation, at};

const OPS: &str = "ops/sink/0";

/// The lane takes what is due, and hands it over; its answer is still to come.
async fn send(story: &Simulation) -> Due {
    let due = story.outbox.next(OPS, at(story.now)).unwrap();
    story.outbox.handing_over(&due).await.unwrap();
    due
}

/// `a` fires, and the message that tells so is on its way.
async fn with_message_on_its_way() -> (Simulation, Due) {
    let mut story = Simulation::begin().await;
    story.fire("a");
    step(&mut story, 10).await;
    let due = send(&story).await;
    (story, due)
}

/// Lets dispatch look once a second, while nothing is delivered.
async fn step(story: &mut Simulation, seconds: i64) {
    for _ in 0..seconds {
        story.dispatcher.step(at(story.now)).await.unwrap();
        story.now += 1;
    }
    story.dispatcher.step(at(story.now)).await.unwrap();
}

#[tokio::test]
async fn withdrawn_on_its_way_and_killed_its_end_is_told_f01_f04() {
    let (mut story, _due) = with_message_on_its_way().await;
    story.end("a");
    step(&mut story, 61).await;
    assert!(story.outbox.waiting().is_empty(), "there is nothing to tell any more");
    // The receiver has it; that is not noted.
    story.restart(1, "").await;
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["A"]);
    story.restart(1, "").await;
    story.pass(4000).await;
    assert!(heard(&mut story).is_empty());
}

#[tokio::test]
async fn withdrawn_on_its_way_and_killed_it_is_told_when_it_fires_again_f01() {
    let (mut story, _due) = with_message_on_its_way().await;
    story.end("a");
    step(&mut story, 61).await;
    story.restart(1, "a").await;
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["a"]);
    story.end("a");
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["A"]);
}

#[tokio::test]
async fn withdrawn_on_its_way_without_an_answer_its_end_is_told_f04() {
    let (mut story, due) = with_message_on_its_way().await;
    story.end("a");
    step(&mut story, 61).await;
    let due = Due { may_have_arrived: true, ..due };
    story.outbox.postponed(&due, at(story.now + 5), "no answer").await.unwrap();
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["A"]);
    story.pass(4000).await;
    assert!(heard(&mut story).is_empty());
}

#[tokio::test]
async fn withdrawn_on_its_way_and_refused_nobody_hears_of_an_end() {
    let (mut story, due) = with_message_on_its_way().await;
    story.end("a");
    step(&mut story, 61).await;
    story.outbox.postponed(&due, at(story.now + 5), "status 500").await.unwrap();
    story.pass(200).await;
    story.restart(1, "").await;
    story.pass(200).await;
    assert!(heard(&mut story).is_empty());
}

#[tokio::test]
async fn another_message_on_its_way_after_one_without_an_answer_both_ends_are_told_f04() {
    let (mut story, due) = with_message_on_its_way().await;
    let due = Due { may_have_arrived: true, ..due };
    story.outbox.postponed(&due, at(story.now + 1), "no answer").await.unwrap();
    story.fire("b");
    step(&mut story, 61).await;
    let due = send(&story).await;
    assert_eq!(due.flush.alerts.len(), 2);
    story.end("a b");
    step(&mut story, 61).await;
    story.restart(1, "").await;
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["A B"]);
    // A second crash before its receipt.
    story.restart(1, "").await;
    story.pass(4000).await;
    assert!(heard(&mut story).is_empty());
}

#[tokio::test]
async fn what_a_lane_that_was_cut_off_left_may_have_arrived_f04() {
    let (mut story, _due) = with_message_on_its_way().await;
    story.end("a");
    step(&mut story, 61).await;
    // Its task ended without a word; another takes its place.
    story.outbox.begin_lane(OPS);
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["A"]);
}

#[tokio::test]
async fn what_the_message_before_has_told_is_not_told_again_g2() {
    let mut story = Simulation::begin().await;
    story.fire("a b");
    step(&mut story, 10).await;
    let due = send(&story).await;
    // Decided while nobody knows whether the first will arrive: `a` alone fires.
    story.end("b");
    step(&mut story, 61).await;
    assert_eq!(story.outbox.next(OPS, at(story.now)).unwrap().flush.alerts.len(), 1);
    story.outbox.delivered(&due, None, at(story.now)).await.unwrap();
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["a B"]);
    story.restart(1, "a").await;
    story.pass(70).await;
    assert!(heard(&mut story).is_empty());
}

#[tokio::test]
async fn what_arrives_between_the_look_and_the_queue_is_not_told_again_g2() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    step(&mut story, 10).await;
    let due = send(&story).await;
    story.outbox.delivered(&due, None, at(story.now)).await.unwrap();
    // Dispatch looked a moment before: to it the same was news.
    let flush = (*due.flush).clone();
    story.outbox.enqueue(vec![(due.key.clone(), flush)], at(story.now)).await.unwrap();
    assert!(story.outbox.waiting().is_empty());
    story.restart(1, "a").await;
    assert!(story.outbox.waiting().is_empty());
    story.pass(200).await;
    assert!(heard(&mut story).is_empty());
    // It is to be told again where somebody wants to hear it again.
    story.pass(3600).await;
    assert_eq!(heard(&mut story), ["a"]);
}

#[tokio::test]
async fn an_end_that_was_told_does_not_stand_in_the_next_message_g2() {
    let mut story = Simulation::begin().await;
    story.fire("a b");
    story.pass(70).await;
    heard(&mut story);
    story.end("a");
    step(&mut story, 61).await;
    let due = send(&story).await;
    // Decided while nobody knows whether that arrives.
    story.fire("c");
    step(&mut story, 61).await;
    let ends = |alerts: &[_]| {
        alerts
            .iter()
            .filter(|alert: &&std::sync::Arc<alertmanager::alerts::Alert>| !alert.is_firing())
            .count()
    };
    assert_eq!(ends(&story.outbox.next(OPS, at(story.now)).unwrap().flush.alerts), 1);
    story.outbox.delivered(&due, None, at(story.now)).await.unwrap();
    story.restart(1, "b c").await;
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["b c"]);
    story.end("b c");
    story.pass(70).await;
    assert_eq!(heard(&mut story), ["B C"]);
}

#[tokio::test]
async fn what_may_have_arrived_is_told_with_its_end_at_once_g2() {
    let mut story = Simulation::begin().await;
    story.fire("a b");
    step(&mut story, 10).await;
    // The receiver has it; that is not noted. When we are there again, `b` is over.
    send(&story).await;
    story.restart(1, "a").await;
    story.pass(100).await;
    assert_eq!(heard(&mut story), ["a B"]);
    story.restart(1, "a").await;
    story.pass(100).await;
    assert!(heard(&mut story).is_empty());
}

/// What was heard since the last call, without the seconds and the receiver.
fn heard(story: &mut Simulation) -> Vec<String> {
    let heard = std::mem::take(&mut story.heard);
    heard.iter().map(|line| line.splitn(3, ' ').last().unwrap().to_owned()).collect()
}
