//! A night in which nobody answers, or somebody does: who is told next, who has it, and what goes on over
//! mutes, restarts and reloads.
//!
//! Invariant: whoever was told that something fires hears of its end, also who was called late.

use base::own_metrics::OwnMetrics;

use crate::simulation::{GROUP, Simulation, at};

/// The phone after ten minutes, the boss after thirty.
const STEPS: &str = "[{after: 10m, receiver: phone}, {after: 30m, receiver: boss}]";

fn with(steps: &str) -> String {
    format!(
        "{{receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, repeat_interval: 4h, \
         escalate: {steps}}}"
    )
}

/// `a` fires at 0 s, and `ops` is told at 10 s: from then on steps count.
async fn begun() -> Simulation {
    let mut story = Simulation::with(&with(STEPS), true).await;
    story.fire("a");
    story.pass(10).await;
    story.expect("10 ops a");
    story
}

/// Lets time pass up to a second.
async fn until(story: &mut Simulation, second: i64) {
    story.pass(second - story.now).await;
}

#[tokio::test]
async fn nobody_answers_and_each_step_is_told_on_time_f15_a3_1() {
    let mut story = begun().await;
    until(&mut story, 1810).await;
    story.expect("610 phone a (escalated), 1810 boss a (escalated)");
    // Never silent: the last is told again (A3.5).
    until(&mut story, 5410).await;
    story.expect("3610 boss a (escalated), 5410 boss a (escalated)");
    assert!(story.escalations.get(GROUP).unwrap().exhausted);
    // What joins is told to everybody.
    until(&mut story, 5420).await;
    story.fire("b");
    story.pass(60).await;
    story.expect("5470 ops a b, 5470 phone a b (noted), 5470 boss a b (noted)");
    story.end("a b");
    story.pass(60).await;
    story.expect("5530 ops A B, 5530 phone A B, 5530 boss A B");
    assert!(story.escalations.all().is_empty());
    story.pass(10_000).await;
    story.expect("");
    // Another time is another bout.
    story.fire("a");
    story.pass(700).await;
    story.expect("15550 ops a, 16150 phone a (escalated)");
}

#[tokio::test]
async fn an_answer_at_any_point_stops_what_is_to_come_and_is_told_f20_a1_8() {
    for (second, told) in [
        (10, ""),
        (11, ""),
        (609, ""),
        (610, "610 phone a (escalated)"),
        (611, "610 phone a (escalated)"),
        (1809, "610 phone a (escalated)"),
        (1811, "610 phone a (escalated), 1810 boss a (escalated)"),
        (3700, "610 phone a (escalated), 1810 boss a (escalated), 3610 boss a (escalated)"),
    ] {
        let mut story = begun().await;
        until(&mut story, second).await;
        story.expect(told);
        story.acknowledge("anna", None).await;
        story.pass(20_000).await;
        let heard = std::mem::take(&mut story.heard);
        // Those who were told hear who has it, once, and nobody else hears anything.
        let mut names: Vec<_> = heard.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        names.sort_unstable();
        let mut expected = vec!["ops"];
        expected.extend(["phone", "boss"].iter().filter(|name| told.contains(**name)));
        expected.sort_unstable();
        let late = heard.iter().find(|line| !line.ends_with("a (acknowledged)"));
        // Told and answered in the same second: that nobody was told before it needs no notice.
        if second != 10 && second != 610 {
            assert_eq!(names, expected, "{second}: {heard:?}");
        }
        assert_eq!(late, None, "{second}");
        story.end("a");
        story.pass(60).await;
        let mut ends: Vec<_> =
            story.heard.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        ends.sort_unstable();
        let mut expected: Vec<_> = ["boss A", "ops A", "phone A"].to_vec();
        expected.retain(|end| *end == "ops A" || told.contains(end.trim_end_matches(" A")));
        assert_eq!(ends, expected, "{second}");
    }
}

#[tokio::test]
async fn what_waits_for_a_step_is_withdrawn_by_the_answer_f20() {
    let mut story = begun().await;
    until(&mut story, 609).await;
    // The phone's service is away: its message waits.
    story.up = false;
    until(&mut story, 700).await;
    assert!(story.outbox.waiting().contains_key("phone/sink/0"));
    story.acknowledge("anna", None).await;
    story.dispatcher.step(at(story.now)).await.unwrap();
    assert!(!story.outbox.waiting().contains_key("phone/sink/0"));
    story.up = true;
    story.pass(20_000).await;
    assert_eq!(story.heard.len(), 1, "{:?}", story.heard);
    assert!(story.heard[0].ends_with(" ops a (acknowledged)"));
}

#[tokio::test]
async fn while_somebody_has_it_changes_and_ends_are_told_and_nothing_else_a4_2() {
    let mut story = begun().await;
    until(&mut story, 620).await;
    story.expect("610 phone a (escalated)");
    story.acknowledge("anna", None).await;
    story.pass(10).await;
    story.expect("621 ops a (acknowledged), 621 phone a (acknowledged)");
    // What is new is told to the route's own receiver, and does not begin it again.
    story.fire("b");
    story.pass(100).await;
    story.expect("670 ops a b (noted)");
    story.end("a");
    story.pass(100).await;
    story.expect("790 ops A b (noted), 790 phone A");
    // No repeats, however long it takes.
    story.pass(50_000).await;
    story.expect("");
    story.end("b");
    story.pass(100).await;
    let heard = std::mem::take(&mut story.heard);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].ends_with(" ops B"));
}

#[tokio::test]
async fn when_the_time_of_an_answer_is_over_it_begins_anew_a4_4() {
    let mut story = begun().await;
    until(&mut story, 700).await;
    story.acknowledge("anna", Some(3600)).await;
    until(&mut story, 4310).await;
    story.expect(
        "610 phone a (escalated), 701 ops a (acknowledged), 701 phone a (acknowledged), \
         4300 ops a (unacknowledged)",
    );
    until(&mut story, 6200).await;
    story.expect("4900 phone a (escalated), 6100 boss a (escalated)");
    // Given back, it begins anew as well (A3.2).
    story.acknowledge("bob", None).await;
    story.pass(10).await;
    story.heard.clear();
    story.release().await;
    story.pass(1800).await;
    story.expect("6211 ops a (unacknowledged), 6810 phone a (escalated), 8010 boss a (escalated)");
}

#[tokio::test]
async fn the_second_who_answers_is_told_who_was_first_a4_5() {
    let mut story = begun().await;
    let first = story.acknowledge("anna", Some(60)).await;
    story.pass(5).await;
    let second = story.acknowledge("bob", Some(9999)).await;
    assert!(!first.already && second.already);
    assert_eq!(second.has, first.has);
}

#[tokio::test]
async fn a_restart_at_any_step_goes_on_where_it_was_f21() {
    for down in [1, 30] {
        for boundary in [10, 610, 1810, 3610] {
            for second in [boundary - 1, boundary, boundary + 1] {
                let mut story = begun().await;
                until(&mut story, second).await;
                story.restart(down, "a").await;
                until(&mut story, 3700).await;
                let heard = story.heard.join(", ");
                // At most the time that it was away later, and nobody twice.
                for (name, due) in [("phone", 610), ("boss", 1810), ("boss", 3610)] {
                    let of = |line: &&String| line.contains(&format!(" {name} a (escalated)"));
                    let times = story
                        .heard
                        .iter()
                        .filter(of)
                        .map(|line| line.split_once(' ').unwrap().0.parse::<i64>().unwrap());
                    let on_time = times.filter(|at| (due..=due + down + 5).contains(at)).count();
                    assert_eq!(on_time, 1, "{second}+{down}: {name} at {due}: {heard}");
                }
                assert_eq!(story.heard.len(), 3, "{second}+{down}: {heard}");
            }
        }
    }
}

#[tokio::test]
async fn steps_that_came_due_while_we_were_away_are_told_once_each_f21() {
    let mut story = begun().await;
    story.restart(7200, "a").await;
    story.pass(100).await;
    story.expect("7211 phone a (escalated), 7211 boss a (escalated)");
    story.acknowledge("anna", Some(600)).await;
    story.pass(10).await;
    story.heard.clear();
    // An answer outlives it, too, and so does its end.
    story.restart(60, "a").await;
    story.pass(400).await;
    story.expect("");
    story.restart(1000, "a").await;
    story.pass(100).await;
    story.expect("8781 ops a (unacknowledged)");
}

#[tokio::test]
async fn it_is_over_also_when_it_ended_while_we_were_away_f04() {
    let mut story = begun().await;
    until(&mut story, 700).await;
    story.heard.clear();
    story.restart(60, "").await;
    story.pass(100).await;
    let mut ends: Vec<_> = story.heard.iter().map(|l| l.split_once(' ').unwrap().1).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["ops A", "phone A"]);
    assert!(story.escalations.all().is_empty());
}

#[tokio::test]
async fn the_time_in_which_everything_is_held_back_does_not_count() {
    let mut story = begun().await;
    story.silence("a", 310, 910).await;
    until(&mut story, 1300).await;
    // Five minutes before the silence, five after it.
    story.expect("1210 phone a (escalated)");
    story.silence("a", 1310, 99_999).await;
    story.restart(10, "a").await;
    until(&mut story, 9_000).await;
    story.expect("");
    // Only part of it is held back: it goes on with the rest.
    story.fire("b");
    until(&mut story, 9_100).await;
    let heard = story.heard.join(", ");
    assert!(heard.contains("phone b") && heard.contains("ops b"), "{heard}");
}

#[tokio::test]
async fn a_route_that_is_mute_calls_nobody_until_it_tells_again() {
    let route = "{receiver: dev, routes: [{receiver: ops, group_by: [g], group_wait: 10s, \
                 group_interval: 60s, mute_time_intervals: [second hour], \
                 escalate: [{after: 10m, receiver: phone}]}]}";
    let mut story = Simulation::with(route, true).await;
    until(&mut story, 3300).await;
    story.fire("a");
    until(&mut story, 9000).await;
    // From 3600 s to 7200 s it is mute: of the ten minutes 290 seconds were over before.
    story.expect("3310 ops a, 7510 phone a (escalated)");
}

#[tokio::test]
async fn a_reload_goes_on_with_the_steps_that_it_keeps_and_takes_those_it_changes() {
    let mut story = begun().await;
    until(&mut story, 300).await;
    story.configure(&with(STEPS)).await;
    until(&mut story, 620).await;
    story.expect("610 phone a (escalated)");
    // The boss sooner: eleven minutes are over before the reload is.
    until(&mut story, 800).await;
    story.configure(&with("[{after: 10m, receiver: phone}, {after: 11m, receiver: boss}]")).await;
    story.pass(100).await;
    story.expect("801 boss a (escalated)");
    // Another in his place: he hears of the end, and of nothing else.
    story.configure(&with("[{after: 10m, receiver: phone}, {after: 20m, receiver: dev}]")).await;
    until(&mut story, 1300).await;
    story.expect("1210 dev a (escalated)");
    // Nobody any more; then again: that is another bout.
    story.configure(&with("[]")).await;
    until(&mut story, 9000).await;
    story.expect("");
    story.configure(&with(STEPS)).await;
    story.pass(700).await;
    let heard = std::mem::take(&mut story.heard);
    assert_eq!(heard.len(), 1, "{heard:?}");
    story.end("a");
    story.pass(100).await;
    let mut ends: Vec<_> = story.heard.iter().map(|l| l.split_once(' ').unwrap().1).collect();
    ends.sort_unstable();
    assert_eq!(ends, ["boss A", "dev A", "ops A", "phone A"]);
}

#[tokio::test]
async fn a_group_without_steps_can_be_taken_too_and_is_not_repeated() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(100).await;
    story.expect("10 ops a");
    story.acknowledge("anna", Some(7200)).await;
    until(&mut story, 7300).await;
    story.expect("101 ops a (acknowledged), 7300 ops a (unacknowledged)");
    story.pass(3700).await;
    story.expect("10930 ops a (noted)");
    story.end("a");
    story.pass(100).await;
    assert!(story.escalations.all().is_empty());
}

#[tokio::test]
async fn what_was_noted_and_not_queued_before_a_crash_is_told_at_once_f21() {
    let mut story = begun().await;
    until(&mut story, 609).await;
    // The step is run, and the process dies before its message is in the queue.
    let policy = alertmanager::escalation::Policy {
        steps: vec![alertmanager::escalation::Step {
            after: "10m".parse().unwrap(),
            receiver: "phone".to_owned(),
        }],
        ..Default::default()
    };
    let seen = alertmanager::escalation::Seen::Firing;
    let advance =
        |bout: &mut alertmanager::escalation::Bout| bout.advance(&policy, seen, &|_| true, at(610));
    assert!(story.escalations.advance(GROUP, advance).unwrap().is_news());
    story.restart(2, "a").await;
    story.pass(2).await;
    story.expect("612 phone a (escalated)");
}

#[tokio::test]
async fn steps_are_counted_by_their_number() {
    let mut story = begun().await;
    let metrics = OwnMetrics::new();
    story.escalations =
        alertmanager::escalation::Escalations::open(&story.state, &metrics).unwrap();
    story.configure_anew(&with(STEPS)).await;
    until(&mut story, 3700).await;
    let mut text = String::new();
    let encoding = base::exposition::Encoding::negotiate("");
    base::exposition::encode(&metrics.families(), encoding, &mut text);
    for line in [
        "veilleur_escalations_total{step=\"1\"} 1",
        "veilleur_escalations_total{step=\"2\"} 1",
        "veilleur_escalation_reminders_total 1",
        "veilleur_escalation_unreachable_total 0",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}
