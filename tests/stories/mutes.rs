//! What is held back by silences, by causes that fire and by times of the day, and what is told of it
//! afterwards.
//!
//! Invariant: each story names the fault of the catalogue that it tells.

use crate::simulation::{Simulation, at};

/// Tells at any time but in the second hour of a day.
const BY_DAY: &str = "{receiver: dev, routes: [{receiver: ops, group_by: [g], group_wait: 10s, \
                      group_interval: 60s, repeat_interval: 4h, mute_time_intervals: [second hour]}]}";

#[tokio::test]
async fn what_ends_in_a_silence_is_told_once_when_the_silence_ends() {
    // F05.
    let mut story = Simulation::begin().await;
    story.fire("a b");
    story.pass(20).await;
    story.expect("10 ops a b");
    story.silence("a", 20, 1000).await;
    story.pass(80).await;
    story.end("a");
    story.pass(800).await;
    story.expect("");
    // Not even a restart makes it forget.
    story.restart(1, "b").await;
    story.pass(300).await;
    story.expect("1030 ops A b");
}

#[tokio::test]
async fn what_begins_in_a_silence_is_told_when_it_ends() {
    // F06, A5.7.
    let mut story = Simulation::begin().await;
    let id = story.silence("a", 0, 100_000).await;
    story.fire("a");
    story.pass(500).await;
    story.expect("");
    story.mutes.silences.expire(&id, at(story.now)).await.unwrap();
    story.pass(60).await;
    story.expect("550 ops a");
    story.pass(120).await;
    story.expect("");
}

#[tokio::test]
async fn what_is_the_same_after_a_silence_is_not_told_again() {
    // F07.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(20).await;
    story.expect("10 ops a");
    story.silence("a", 20, 1000).await;
    story.pass(1500).await;
    story.expect("");
    story.pass(2500).await;
    story.expect("3610 ops a");
}

#[tokio::test]
async fn others_in_the_group_are_told_and_the_silenced_one_is_left_out() {
    let mut story = Simulation::begin().await;
    story.fire("a b");
    story.pass(20).await;
    story.expect("10 ops a b");
    story.silence("a", 20, 500).await;
    story.fire("c");
    story.pass(60).await;
    story.expect("70 ops b c");
    story.pass(500).await;
    // It was told before, and nothing has changed.
    story.expect("");
    story.end("a b c");
    story.pass(60).await;
    story.expect("610 ops A B C");
}

#[tokio::test]
async fn a_cause_holds_back_its_effects_while_it_fires() {
    // F05 to F07, and F09: the cause is known again before anybody is told.
    let mut story = Simulation::begin().await;
    story.fire("cause effect1");
    story.pass(20).await;
    story.expect("10 ops cause");
    story.fire("effect2");
    story.restart(1, "cause effect1 effect2").await;
    story.pass(200).await;
    story.expect("");
    story.end("cause effect1");
    story.pass(60).await;
    story.expect("250 ops CAUSE effect2");
}

#[tokio::test]
async fn a_route_is_mute_at_its_time_of_the_day_and_tells_the_difference_after_it() {
    let mut story = Simulation::with(BY_DAY, true).await;
    story.fire("a");
    story.pass(3600).await;
    story.expect("10 ops a");
    story.end("a");
    story.fire("b");
    story.pass(3599).await;
    story.expect("");
    story.pass(100).await;
    story.expect("7210 ops A b");
}

#[tokio::test]
async fn a_silence_stops_a_message_that_waits_long_before_the_group_is_due_f20() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a b");
    story.pass(15).await;
    // The group is looked at again at 70 s; the receiver is back at 17 s.
    story.silence("a", 15, 500).await;
    story.pass(2).await;
    story.up = true;
    story.pass(20).await;
    story.expect("21 ops b");
    story.up = false;
    story.fire("c");
    story.pass(40).await;
    story.silence("b", 77, 500).await;
    story.silence("c", 77, 500).await;
    story.up = true;
    story.pass(300).await;
    story.expect("");
    // Nobody was told of these, so they are told when the silences end.
    story.pass(200).await;
    let heard = std::mem::take(&mut story.heard).join(", ");
    assert!(heard.ends_with("ops a b c"), "{heard}");
}
