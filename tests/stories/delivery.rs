//! What people hear while the ways to them fail: in whose place, how often, and that nothing goes
//! round.
//!
//! Invariant: each story names the fault of the catalogue that it tells.

use alertmanager::state::AttemptFilter;

use crate::lanes::{House, Mood, TO_OPS};

/// Two receivers, one the fallback of the other, and a first route to a third.
const TO_OPS_BELOW: &str = "{receiver: root, group_by: [alertname], group_wait: 10s, group_interval: 60s, \
                            repeat_interval: 4h, routes: [{matchers: [g=~\".+\"], receiver: ops, \
                            group_by: [g]}]}";

/// What was heard, without the seconds.
fn told(house: &House) -> Vec<String> {
    let heard = house.heard();
    heard.iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[tokio::test]
async fn whom_a_refused_message_was_for_is_replaced_by_the_fallback_at_once() {
    let mut house = House::begin(TO_OPS, "ops>dev dev").await;
    house.mood("ops/0", Mood::Refuses);
    house.fire("a", "1");
    house.pass(20).await;
    let heard = house.heard();
    assert!(heard.iter().any(|line| line.ends_with(" dev/0 a")), "{heard:?}");
    house.pass(60).await;
    // That it was refused is told, too, and not to whoever refuses.
    assert!(told(&house).contains(&"dev/0 NotificationFailed".to_owned()));
    assert_eq!(house.firing(), ["NotificationFailed", "a"]);
    // Others join: the fallback hears of them; it hears of nothing twice.
    house.fire("b", "1");
    house.pass(120).await;
    assert_eq!(told(&house), ["dev/0 a b"]);
    house.pass(1800).await;
    assert!(told(&house).is_empty());

    // Mended: who it was for hears of it, and both hear of the end.
    house.mood("ops/0", Mood::Takes);
    house.pass(1000).await;
    assert_eq!(told(&house), ["ops/0 a b", "dev/0 NOTIFICATIONFAILED"]);
    house.end("a", "1");
    house.end("b", "1");
    house.pass(200).await;
    let mut ends = told(&house);
    ends.sort();
    assert_eq!(ends, ["dev/0 A B", "ops/0 A B"]);
    house.pass(5 * 3600).await;
    assert!(told(&house).is_empty());
}

#[tokio::test]
async fn a_lane_that_fails_for_five_minutes_is_replaced_until_it_works_again() {
    let mut house = House::begin(TO_OPS, "ops>dev dev").await;
    house.mood("ops/0", Mood::Fails);
    house.fire("a", "1");
    house.pass(130).await;
    // G1: within two minutes somebody hears that messages do not arrive.
    assert_eq!(told(&house), ["dev/0 NotificationFailed"]);
    house.pass(170).await;
    assert!(told(&house).is_empty());
    house.pass(120).await;
    assert_eq!(told(&house), ["dev/0 a"]);
    house.mood("ops/0", Mood::Takes);
    house.pass(300).await;
    let mut heard = told(&house);
    heard.sort();
    assert_eq!(heard, ["dev/0 NOTIFICATIONFAILED", "ops/0 a"]);
    // It is over for the fallback: what comes next goes where it belongs.
    house.fire("b", "1");
    house.pass(120).await;
    assert_eq!(told(&house), ["ops/0 a b"]);
    house.end("a", "1");
    house.end("b", "1");
    house.pass(200).await;
    let mut ends = told(&house);
    ends.sort();
    assert_eq!(ends, ["dev/0 A", "ops/0 A B"]);
}

#[tokio::test]
async fn a_crash_while_the_fallback_is_told_loses_nothing_f01() {
    let mut house = House::begin(TO_OPS, "ops>dev dev>last last").await;
    house.mood("ops/0", Mood::Refuses);
    house.mood("dev/0", Mood::Fails);
    house.fire("a", "1");
    house.pass(20).await;
    assert!(told(&house).is_empty());
    let mut house = house.restart("a/1").await;
    assert_eq!(house.outbox.waiting().len(), 2, "{:?}", house.outbox.waiting());
    // A chain of two: the fallback of the fallback.
    house.pass(400).await;
    assert!(told(&house).contains(&"last/0 a".to_owned()));
    house.mood("dev/0", Mood::Takes);
    house.pass(200).await;
    assert!(told(&house).contains(&"dev/0 a".to_owned()));
    let mut house = house.restart("a/1").await;
    house.pass(300).await;
    let heard = told(&house);
    assert!(!heard.iter().any(|line| line.ends_with(" a")), "{heard:?}");
}

#[tokio::test]
async fn that_a_way_fails_is_never_told_by_that_way_f60() {
    // By the first route, whatever the route of the alert says.
    let route = TO_OPS_BELOW.replace("g=~\".+\"", "alertname=~\".+\"");
    let cases = [
        // The receiver of the first route hears, where there is no fallback.
        (route.as_str(), "ops root", "ops/0", &["root/0"][..]),
        // The fallback comes first.
        (route.as_str(), "ops>dev dev root", "ops/0", &["dev/0"]),
        // There is only one receiver: its other way is another channel.
        (TO_OPS, "ops+2", "ops/0", &["ops/1"]),
        // There is no other way at all.
        (TO_OPS, "ops", "ops/0", &[]),
        // The receiver of the first route fails itself: its fallback.
        (TO_OPS, "ops>dev dev", "ops/0", &["dev/0"]),
    ];
    for (route, receivers, failing, expected) in cases {
        let mut house = House::begin(route, receivers).await;
        house.mood(failing, Mood::Refuses);
        house.fire("a", "1");
        house.pass(200).await;
        let heard = told(&house);
        let reports = heard.iter().filter(|line| line.contains("NotificationFailed"));
        let lanes: Vec<_> = reports.map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(lanes, expected, "{receivers}: {heard:?}");
    }
}

#[tokio::test]
async fn nothing_goes_round_where_every_way_fails() {
    for mood in [Mood::Refuses, Mood::Fails] {
        let mut house = House::begin(TO_OPS, "ops+2>dev dev>last last").await;
        let lanes = ["ops/0", "ops/1", "dev/0", "last/0"];
        lanes.iter().for_each(|lane| house.mood(lane, mood));
        house.fire("a", "1");
        house.pass(2 * 3600).await;
        assert!(house.heard().is_empty());
        // One alert of each lane that was tried, however long it lasts.
        let reports = house.firing().len() - 1;
        assert!((2..=lanes.len()).contains(&reports), "{reports} {mood:?}");
        let waiting = house.outbox.waiting();
        let intents: usize = waiting.values().map(|waiting| waiting.intents).sum();
        assert!(intents <= 3 * lanes.len(), "{waiting:?}");
        let filter = AttemptFilter { limit: 100_000, ..AttemptFilter::default() };
        let tries = house.state.attempts(&filter).await.unwrap().len();
        assert!(tries < lanes.len() * 150, "{tries} tries in two hours");
        // And all is told once it can be, each lane once of each thing.
        lanes.iter().for_each(|lane| house.mood(lane, Mood::Takes));
        house.pass(1200).await;
        let heard = told(&house);
        let about_a = heard.iter().filter(|line| line.ends_with(" a")).count();
        assert!((2..=4).contains(&about_a), "{heard:?}");
        assert_eq!(house.firing(), ["a"], "{heard:?}");
    }
}

#[tokio::test]
async fn ten_thousand_changes_while_a_receiver_is_away_are_told_once_each_f11_f18() {
    let route = TO_OPS.replace("group_interval: 60s", "group_interval: 300s");
    let mut house = House::begin(&route, "ops").await;
    house.mood("ops/0", Mood::Fails);
    let groups: Vec<String> = (0..50).map(|n| format!("g{n:02}")).collect();
    for round in 0..100 {
        for group in &groups {
            // Those of even groups fire at the end, the others do not.
            house.fire("a", group);
            house.end("b", group);
        }
        house.pass(18).await;
        for (n, group) in groups.iter().enumerate() {
            house.fire("b", group);
            if round < 99 || n % 2 == 1 {
                house.end("a", group);
                house.end("b", group);
            }
        }
        house.pass(18).await;
    }
    assert!(house.heard().is_empty());
    house.pass(310).await;
    assert_eq!(house.outbox.waiting()["ops/sink/0"].intents, 25);
    assert_eq!(house.outbox.overflows(), 0);
    house.mood("ops/0", Mood::Takes);
    house.pass(400).await;
    let heard = house.heard();
    let told: Vec<_> = heard.iter().filter(|line| line.ends_with("ops/0 a b")).collect();
    assert_eq!(told.len(), 25, "{heard:#?}");
    assert_eq!(heard.len(), 25, "{heard:#?}");
}

#[tokio::test]
async fn every_attempt_stands_in_the_history() {
    let mut house = House::begin(TO_OPS, "ops>dev dev").await;
    house.mood("ops/0", Mood::Refuses);
    house.fire("a", "1");
    house.pass(20).await;
    house.mood("ops/0", Mood::Takes);
    house.pass(600).await;
    let filter = AttemptFilter { alert: Some("a".to_owned()), limit: 10, ..Default::default() };
    let attempts = house.state.attempts(&filter).await.unwrap();
    let shown: Vec<String> = attempts
        .iter()
        .rev()
        .map(|a| format!("{} {} {} {}", a.lane, a.number, a.result.as_str(), a.reason))
        .collect();
    assert_eq!(
        shown,
        [
            "ops/sink/0 1 refused first",
            "dev/sink/0 1 delivered first",
            "ops/sink/0 2 delivered first"
        ]
    );
    assert_eq!(attempts[2].answer, "status 401");
    assert!(attempts.iter().all(|a| a.at <= house.timestamp()));
}

/// Of what a receiver was given without saying that it has it, it may have all or nothing.
#[tokio::test]
async fn of_what_was_swallowed_the_end_is_told_and_what_fires_again_too_f01_f04() {
    let mut house = House::begin(TO_OPS, "ops").await;
    house.mood("ops/0", Mood::Swallows);
    house.fire("a", "1");
    house.pass(12).await;
    house.end("a", "1");
    house.pass(140).await;
    let mut swallowed = told(&house);
    swallowed.dedup();
    assert_eq!(swallowed, ["ops/0 a", "ops/0 A"]);
    house.mood("ops/0", Mood::Takes);
    house.pass(200).await;
    assert_eq!(told(&house), ["ops/0 A"]);

    house.fire("b", "1");
    house.fire("c", "1");
    house.pass(70).await;
    assert_eq!(told(&house), ["ops/0 b c"]);
    house.mood("ops/0", Mood::Swallows);
    house.fire("a", "1");
    house.end("c", "1");
    house.pass(70).await;
    let mut swallowed = told(&house);
    swallowed.dedup();
    assert_eq!(swallowed, ["ops/0 a b C"]);
    house.end("a", "1");
    let mut house = house.restart("b/1").await;
    house.mood("ops/0", Mood::Takes);
    house.pass(1).await;
    // Whether it came that `a` fires nobody knows; that it is over is told with the rest.
    assert_eq!(told(&house), ["ops/0 b A C"]);
    house.fire("a", "1");
    house.pass(200).await;
    assert_eq!(told(&house), ["ops/0 a b"]);
    house.end("a", "1");
    house.end("b", "1");
    house.pass(200).await;
    assert_eq!(told(&house), ["ops/0 A B"]);
    house.pass(600).await;
    assert!(told(&house).is_empty());
}
