//! Who is told what and when, over restarts, reloads and receivers that are away.
//!
//! Invariant: each story names the fault of the catalogue that it tells.

use alertmanager::alerts::{Alert, Ending};
use alertmanager::rules::Flapping;

use crate::simulation::{ROUTE, Simulation, alert, at};

#[tokio::test]
async fn a_group_waits_tells_of_changes_and_repeats() {
    let mut story = Simulation::begin().await;
    story.pass(5).await;
    story.fire("a");
    story.pass(5).await;
    story.fire("b");
    story.pass(50).await;
    story.expect("15 ops a b");
    story.fire("c");
    story.end("a");
    story.pass(100).await;
    story.expect("75 ops A b c");
    story.pass(3600).await;
    story.expect("3675 ops b c");
    story.end("b c");
    story.pass(120).await;
    story.expect("3795 ops B C");
    story.pass(7200).await;
    story.expect("");
}

#[tokio::test]
async fn what_is_over_before_anybody_was_told_is_told_to_nobody() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(5).await;
    story.end("a");
    story.pass(600).await;
    story.expect("");
    // F18: the same while the receiver is away; it hears only of what is true when it is back.
    story.up = false;
    story.fire("a b");
    story.pass(30).await;
    story.end("a");
    story.pass(100).await;
    story.up = true;
    story.pass(100).await;
    story.expect("740 ops b");
}

#[tokio::test]
async fn a_receiver_that_was_away_for_an_hour_is_told_the_present_once() {
    // F11, F18.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(20).await;
    story.expect("10 ops a");
    story.up = false;
    for _ in 0..20 {
        story.end("a");
        story.pass(90).await;
        story.fire("a b");
        story.pass(90).await;
    }
    story.up = true;
    story.pass(10).await;
    story.expect("3625 ops a b");
}

#[tokio::test]
async fn a_crash_repeats_nothing_and_loses_nothing() {
    // F01, F02: told, crash; queued, crash.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    story.restart(30, "a").await;
    story.pass(300).await;
    story.expect("");
    story.up = false;
    story.fire("b");
    story.pass(100).await;
    story.restart(1, "a b").await;
    story.up = true;
    story.pass(300).await;
    story.expect("445 ops a b");
}

#[tokio::test]
async fn an_ending_that_came_while_we_were_away_is_told_once() {
    // F04.
    let mut story = Simulation::begin().await;
    story.fire("a b");
    story.pass(11).await;
    story.expect("10 ops a b");
    story.restart(500, "").await;
    story.pass(300).await;
    story.expect("512 ops A B");
    story.restart(500, "").await;
    story.pass(7200).await;
    story.expect("");
}

#[tokio::test]
async fn an_intent_of_something_that_is_over_is_withdrawn_at_the_start() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a");
    story.pass(20).await;
    story.restart(500, "").await;
    story.up = true;
    story.pass(300).await;
    story.expect("");
}

#[tokio::test]
async fn reloads_tell_nobody_anything() {
    // F08: 100 reloads, the same and with another route for others.
    let mut story = Simulation::begin().await;
    story.fire("a b c");
    story.pass(11).await;
    story.expect("10 ops a b c");
    let other = ROUTE.replace(
        "repeat_interval: 1h",
        "repeat_interval: 1h, routes: [{matchers: [x=y], receiver: dev}]",
    );
    for n in 0..100 {
        story.configure(if n % 2 == 0 { &other } else { ROUTE }).await;
        story.pass(1).await;
    }
    story.expect("");
    story.end("b");
    story.pass(120).await;
    story.expect("130 ops a B c");
}

/// What is heard of 40 minutes with alerts, silences and causes, chosen by `seed`; `reload` says when
/// the same configuration is read again.
async fn hears(seed: u64, reload: impl Fn(u64) -> bool) -> String {
    let tree = ROUTE.replace(
        "repeat_interval: 1h",
        "repeat_interval: 5m, routes: [{matchers: ['alertname=~\"b|effect\"'], receiver: dev, \
         continue: true}, {matchers: [alertname=c], mute_time_intervals: [second hour]}]",
    );
    let mut story = Simulation::with(&tree, !seed.is_multiple_of(3)).await;
    story.now = 3600 - 600;
    let mut next = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for turn in 0..60 {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        let name = ["a", "b", "c", "cause", "effect"][(next >> 8) as usize % 5];
        match next % 7 {
            0..3 => story.fire(name),
            3 | 4 => story.end(name),
            5 => drop(story.silence(name, story.now, story.now + 100).await),
            _ => {}
        }
        if reload(turn) {
            story.configure(&tree).await;
        }
        story.pass(1 + (next >> 20) as i64 % 79).await;
    }
    story.heard.join(", ")
}

#[tokio::test]
async fn a_reload_that_changes_nothing_changes_nothing_f08() {
    let mut told = 0;
    for seed in 1..40 {
        let plain = hears(seed, |_| false).await;
        told += plain.len();
        assert_eq!(hears(seed, |turn: u64| turn.is_multiple_of(3)).await, plain, "seed {seed}");
    }
    assert!(told > 39 * 100, "stories in which nothing happens show nothing");
}

/// Whom `seed` leads through four trees in turn, each by a reload or, where `anew`, by a dispatcher that
/// knows only what is in the stores: what they know in the end.
async fn know(seed: u64, anew: bool) -> Vec<String> {
    let routes = [
        "",
        ", routes: [{matchers: [alertname=b], receiver: dev}]",
        ", routes: [{matchers: [alertname=c]}, {matchers: [alertname=b], receiver: dev}]",
        ", routes: [{matchers: [g=1], group_by: [...], routes: [{matchers: [alertname=a]}]}]",
    ];
    let tree =
        |n: u64| ROUTE.replace("interval: 1h", &format!("interval: 1h{}", routes[n as usize]));
    let mut story = Simulation::with(ROUTE, true).await;
    let mut next = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..40 {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        let name = ["a", "b", "c", "d"][(next >> 8) as usize % 4];
        match next % 5 {
            0..3 => story.fire(name),
            _ => story.end(name),
        }
        if (next >> 40).is_multiple_of(3) {
            let tree = tree((next >> 50) % 4);
            if anew {
                story.configure_anew(&tree).await;
            } else {
                story.configure(&tree).await;
            }
        }
        // Until everybody was told: a group that is made anew waits anew.
        story.pass(130 + (next >> 20) as i64 % 39).await;
    }
    story.pass(300).await;
    let mut known: Vec<String> = Vec::new();
    for key in story.outbox.told_keys() {
        let told = story.outbox.last_told(&key);
        let mut names: Vec<_> = told.iter().flat_map(|told| &told.firing).collect();
        names.sort_by(|a, b| a.labels.cmp(&b.labels));
        let names: Vec<_> = names.into_iter().map(|alert| alert.name()).collect();
        known.push(format!("{} {} {}", key.lane, key.group_key, names.join(" ")));
    }
    known.sort();
    known
}

#[tokio::test]
async fn after_reloads_people_know_what_they_would_know_without_groups_that_stay_f08() {
    let mut all = 0;
    for seed in 1..60 {
        let anew = know(seed, true).await;
        all += anew.len();
        assert_eq!(know(seed, false).await, anew, "seed {seed}");
    }
    assert!(all > 60, "stories in which nothing happens show nothing");
}

#[tokio::test]
async fn whoever_lost_the_route_still_hears_of_the_end() {
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    story.configure(&ROUTE.replace("ops", "dev")).await;
    story.pass(100).await;
    // The new receiver hears of what fires; the old one is not told again.
    story.expect("12 dev a");
    story.end("a");
    story.pass(100).await;
    story.expect("112 ops A, 131 dev A");
}

#[tokio::test]
async fn who_does_not_want_endings_hears_of_a_new_beginning() {
    // A4.3: an ending that is not sent counts as told all the same.
    let mut story = Simulation::with(ROUTE, false).await;
    for _ in 0..3 {
        story.fire("a");
        story.pass(100).await;
        story.end("a");
        story.pass(100).await;
    }
    story.expect("10 ops a, 210 ops a, 410 ops a");
}

#[tokio::test]
async fn a_stale_alert_is_neither_ended_nor_told_again() {
    // F41.
    let mut story = Simulation::begin().await;
    story.fire("a");
    story.pass(11).await;
    story.expect("10 ops a");
    for _ in 0..50 {
        story.alerts.put([Alert { stale_since: Some(at(story.now)), ..alert("a") }]);
        story.pass(30).await;
        story.alerts.put([alert("a")]);
        story.pass(30).await;
    }
    story.expect("");
}

#[tokio::test]
async fn what_arrives_although_it_was_withdrawn_on_its_way_is_followed_by_its_end() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a");
    story.pass(68).await;
    let due = story.outbox.next("ops/sink/0", at(100)).unwrap();
    // It ends while the message is on its way, and the group's tick passes: nobody seems to know.
    story.end("a");
    story.pass(10).await;
    story.up = true;
    story.hand_over("ops/sink/0", &due).await;
    story.pass(300).await;
    story.expect("78 ops a, 79 ops A");
}

#[tokio::test]
async fn what_arrives_while_its_successor_waits_is_not_forgotten_f04() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a b");
    story.pass(20).await;
    let due = story.outbox.next("ops/sink/0", at(100)).unwrap();
    // While it is on its way another message is decided, which knows nothing of it.
    story.end("a");
    story.fire("c");
    story.pass(60).await;
    story.up = true;
    story.hand_over("ops/sink/0", &due).await;
    story.pass(300).await;
    story.expect("80 ops a b, 85 ops b c, 130 ops A b c");
}

#[tokio::test]
async fn an_ending_that_came_while_we_were_away_is_not_told_as_firing_f18() {
    let mut story = Simulation::begin().await;
    story.up = false;
    story.fire("a b");
    story.pass(20).await;
    story.up = true;
    story.restart(10, "b").await;
    story.pass(300).await;
    story.expect("31 ops b");
}

#[tokio::test]
async fn a_clock_that_is_set_back_an_hour_delays_nothing() {
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.fire("a");
    story.pass(20).await;
    story.expect("10010 ops a");
    story.fire("b");
    story.now -= 3600;
    story.pass(120).await;
    let heard = std::mem::take(&mut story.heard);
    assert!(heard.iter().any(|message| message.ends_with("ops a b")), "{heard:?}");
    // Also where the first message of a group is still to come.
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.fire("a");
    story.pass(2).await;
    story.now -= 3600;
    story.pass(20).await;
    story.expect("6412 ops a");
    // And where a receiver was away when the clock was set.
    let mut story = Simulation::begin().await;
    story.now = 10_000;
    story.up = false;
    story.fire("a");
    story.pass(20).await;
    story.now -= 3600;
    story.up = true;
    story.pass(2).await;
    story.expect("6421 ops a");
}

#[tokio::test]
async fn an_alert_that_flaps_is_told_four_times_at_most_and_truly_at_the_end_f19() {
    let route = ROUTE.replace("60s", "300s").replace("10s", "30s").replace("1h", "4h");
    for last in ["a", ""] {
        let mut story = Simulation::with(&route, true).await;
        let mut flapping = Flapping::default();
        // Twenty seconds a wave, for half an hour.
        for n in 0..180 {
            let fires = if n == 179 { last == "a" } else { n % 2 == 0 };
            let ended = (!fires).then(|| (at(story.now), Ending::Resolved));
            let found = vec![Alert { ended, starts_at: at(story.now), ..alert("a") }];
            story.alerts.put(flapping.pass(found, at(story.now)));
            story.pass(10).await;
        }
        for _ in 0..60 {
            story.alerts.put(flapping.pass(Vec::new(), at(story.now)));
            story.pass(60).await;
        }
        let heard = std::mem::take(&mut story.heard);
        assert!((1..=4).contains(&heard.len()), "{heard:?}");
        let is_firing = heard.last().unwrap().ends_with(" a");
        assert_eq!(is_firing, last == "a", "{heard:?}");
    }
}
