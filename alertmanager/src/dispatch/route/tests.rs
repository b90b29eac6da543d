//! Trees of routes as they are written, and as they are meant.
//!
//! Invariant: every tree here is read from the text that people write.

use std::sync::Arc;

use super::*;

fn build(yaml: &str) -> (Route, String) {
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: Spanned<RouteConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
    let receivers = ["a", "b", "ops"].map(str::to_owned);
    let intervals = TimeIntervals::from([("night".to_owned(), Arc::default())]);
    let world = World { receivers: &receivers, intervals: &intervals };
    let route = config.value.build(config.place, world, &mut diagnostics);
    (route, diagnostics.to_string())
}

const TREE: &str = "
receiver: ops
group_by: [alertname]
routes:
- matchers: ['team=\"db\"']
  receiver: a
  continue: true
  routes:
  - matchers: [severity=page]
    group_by: [...]
    repeat_interval: 1h
- match: {team: db}
  receiver: b
";

#[track_caller]
fn check(labels: &[(&str, &str)], expected: &str) {
    let (route, faults) = build(TREE);
    assert_eq!(faults, "");
    let labels = Labels::from_pairs(labels.iter().copied());
    let found = route.matching(&labels);
    let got: Vec<_> = found.iter().map(|r| format!("{} {}", r.receiver, r.key)).collect();
    assert_eq!(got.join(", "), expected);
}

#[test]
fn an_alert_goes_to_the_deepest_node() {
    check(&[("x", "y")], "ops {}");
    check(&[("team", "db")], r#"a {}/{team="db"}, b {}/{team="db"}"#);
    check(
        &[("team", "db"), ("severity", "page")],
        r#"a {}/{team="db"}/{severity="page"}, b {}/{team="db"}"#,
    );
}

#[test]
fn every_node_is_found_at_its_place() {
    let (route, _) = build(TREE);
    for (place, node) in route.all().into_iter().enumerate() {
        assert!(route.at(place).is_some_and(|found| std::ptr::eq(found, node)), "{place}");
    }
    assert!(route.at(4).is_none());
}

#[test]
fn trees_are_compared_by_where_they_lead_and_what_they_tell_f08() {
    let (tree, _) = build(TREE);
    // What is written in the place of what, whether it leads as before, and tells as before.
    for (before, after, leads, tells) in [
        ("", "", true, true),
        ("receiver: b", "receiver: a", true, false),
        ("repeat_interval: 1h", "repeat_interval: 2h", true, false),
        ("repeat_interval: 1h", "escalate: [{after: 1m, receiver: ops}]", true, false),
        ("repeat_interval: 1h", "acknowledge_timeout: 1h", true, false),
        ("severity=page", "severity=warn", false, true),
        ("continue: true", "continue: false", false, true),
        ("group_by: [...]", "group_by: [a]", false, true),
        ("- match: {team: db}", "- match: {x: y}\n- match: {team: db}", false, false),
    ] {
        let (other, _) = build(&TREE.replacen(before, after, 1));
        assert_eq!(tree.leads_as(&other), leads, "{after}");
        let tell = tree.all().into_iter().zip(other.all()).all(|(a, b)| a.tells_as(b));
        assert_eq!(tell, tells, "{after}");
    }
}

#[test]
fn a_node_has_from_its_parent_what_it_does_not_say() {
    let (route, _) = build(TREE);
    let page = &route.routes[0].routes[0];
    assert_eq!((page.receiver.as_str(), &page.group_by), ("a", &GroupBy::All));
    assert_eq!(
        (page.repeat_interval.to_string(), page.group_wait.to_string()),
        ("1h".into(), "30s".into())
    );
}

#[test]
fn reports_every_fault() {
    let text = "receiver: opps\nmatchers: [a=b]\ngroup_interval: 0s\nroutes:\n- receiver: a\n  \
                matchers: ['=x']\n  group_by: [a, a]\n  mute_time_intervals: [nigt]\n- match_re: {a: '('}\n";
    assert_eq!(
        build(text).1,
        "f.yml:1:1: the first route takes everything; it cannot have matchers\n\
         f.yml:1:11: there is no receiver `opps`\n  help: did you mean `ops`?\n\
         f.yml:3:17: `group_interval` cannot be zero\n\
         f.yml:6:14: 0:1: unexpected =: expected label name\n\
         f.yml:7:17: `a` is there twice\n\
         f.yml:8:25: there is no time interval `nigt`\n  help: did you mean `night`?\n\
         f.yml:9:17: `^(?:()$` is not a usable regular expression: unclosed group"
    );
}

#[test]
fn steps_are_inherited_changed_and_switched_off() {
    let (route, faults) = build(
        "
receiver: ops
escalate: [{after: 10m, receiver: a}, {after: 30m, receiver: b}]
routes:
- matchers: [x=1]
- matchers: [x=2]
  receiver: a
- matchers: [x=3]
  escalate: []
  acknowledge_timeout: 0s
- matchers: [x=4]
  escalate: [{after: 5m, receiver: b}]
  acknowledge_timeout: 1h
  routes:
  - matchers: [y=1]
",
    );
    assert_eq!(faults, "");
    let told = |x: &str, y: &str| {
        let labels = Labels::from_pairs([("x", x), ("y", y)]);
        let policy = &route.matching(&labels)[0].escalation;
        format!("{}; {}", policy.told().unwrap_or_default(), policy.timeout_told())
    };
    assert_eq!(told("1", ""), "a after 10m, b after 30m; for 2h");
    // Who is told at once is not told again as a step of the parent's.
    assert_eq!(told("2", ""), "b after 30m; for 2h");
    assert_eq!(told("3", ""), "; without end");
    assert_eq!(told("4", "1"), "b after 5m; for 1h");
}

#[test]
fn reports_every_fault_of_steps() {
    let text = "receiver: ops\nescalate:\n- {after: 0s, receiver: ops}\n- {after: 5m, receiver: bb}\n\
                - {after: 5m, receiver: b}\nroutes:\n- matchers: [x=1]\n  receiver: a\n  \
                escalate: [{after: 1m, receiver: a}]\n";
    assert_eq!(
        build(text).1,
        "f.yml:3:11: `after` cannot be zero\n  help: name somebody who is told at once as `receiver`, \
         or in a route of its own\n\
         f.yml:3:25: `ops` is the receiver of this route\n  help: it is told at once; name somebody \
         else here\n\
         f.yml:4:25: there is no receiver `bb`\n  help: did you mean `b`?\n\
         f.yml:5:11: 5m is not later than the step before, 5m\n  help: every `after` counts from the \
         first message on; let them rise\n\
         f.yml:9:36: `a` is the receiver of this route\n  help: it is told at once; name somebody else \
         here"
    );
}
