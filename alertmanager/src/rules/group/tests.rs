//! How a group asks another store whether its rules find anything.
//!
//! Invariant: what is compared is what that store is asked.

use std::cell::RefCell;

use base::diagnostic::Diagnostics;

use super::*;
use crate::rules::RuleFile;

#[test]
fn another_store_is_asked_a_little_in_each_round_and_of_every_rule() {
    let rules: Vec<_> = (0..25).map(|n| format!("{{record: r{n}, expr: a{n} + b{n}}}")).collect();
    let text = format!("groups: [{{name: g, rules: [{}]}}]", rules.join(", "));
    let mut diagnostics = Diagnostics::new("r.yml");
    let file: RuleFile = base::yaml::read(&text, &mut diagnostics).unwrap();
    let group = file.build("r.yml", Period::from_secs(60), &mut diagnostics).remove(0);
    let mut state = group.restore(&[], Duration::ZERO);
    let asked = RefCell::new(Vec::new());
    let ask = |query: &Query| {
        asked.borrow_mut().push(query.to_string());
        Ok(vec![(Labels::default(), 1.0)])
    };
    let mut round = |minute: i64, is_late: &dyn Fn() -> bool| {
        let now = Timestamp::from_millis(minute * 60_000);
        group.look(&mut state, Place::Elsewhere(&ask), now, is_late);
        std::mem::take(&mut *asked.borrow_mut())
    };
    assert_eq!(round(0, &|| true), [""; 0]);
    let mut all = HashSet::new();
    for minute in 1..=5 {
        let queries = round(minute, &|| false);
        assert_eq!(queries.len(), MOST_ASKED);
        all.extend(queries);
    }
    assert_eq!(all.len(), 50, "{all:?}");
    // The first are due again.
    assert_eq!(round(6, &|| false)[0], "topk(1, a0)");
    assert_eq!(round(11, &|| true).len(), 0);
}
