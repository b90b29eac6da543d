//! The way of an alert through the tree of routes, node by node, for people.
//!
//! Invariant: the nodes that take an alert are those that [`Route::matching`] gives, in the same
//! order.

use base::labels::{Labels, escape_value};
use base::matcher::Matcher;
use base::period::Period;

use super::route::Route;
use crate::drill::{self, DRILL_RECEIVER};

/// A node, and what became of the alert there.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The node.
    pub route: &'a Route,
    /// How deep it stands; the first is 0.
    pub depth: usize,
    /// What became of the alert.
    pub verdict: Verdict<'a>,
}

/// The nodes that an alert goes to.
#[derive(Clone, Debug)]
pub enum Nodes<'a> {
    /// Those of the tree.
    Matching(Vec<&'a Route>),
    /// The way of a drill to its receiver.
    Drill(Box<Route>),
}

impl Nodes<'_> {
    /// Each of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        let (matching, drill) = match self {
            Self::Matching(routes) => (routes.as_slice(), None),
            Self::Drill(route) => (&[][..], Some(route.as_ref())),
        };
        matching.iter().copied().chain(drill)
    }
}

/// What became of an alert at a node.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The node takes it.
    Taken,
    /// A node below takes it.
    Below,
    /// The first matcher that does not accept it.
    Refused(&'a Matcher),
    /// It was not asked: a sibling before it takes the alert, and has no `continue`.
    NotAsked(&'a Route),
}

impl Route {
    /// What becomes of an alert at every node that could be asked; those below one that refuses it
    /// are left out.
    pub fn walk(&self, labels: &Labels) -> Vec<Visit<'_>> {
        let mut visits = Vec::new();
        self.visit(labels, 0, &mut visits);
        visits
    }

    /// Whether it, or a node below, takes the alert.
    fn visit<'a>(&'a self, labels: &Labels, depth: usize, visits: &mut Vec<Visit<'a>>) -> bool {
        let place = visits.len();
        if let Some(matcher) = self.matchers.iter().find(|m| !m.matches_labels(labels)) {
            visits.push(Visit { route: self, depth, verdict: Verdict::Refused(matcher) });
            return false;
        }
        visits.push(Visit { route: self, depth, verdict: Verdict::Taken });
        let mut ended_by = None;
        for route in &self.routes {
            if let Some(before) = ended_by {
                let verdict = Verdict::NotAsked(before);
                visits.push(Visit { route, depth: depth + 1, verdict });
                continue;
            }
            if route.visit(labels, depth + 1, visits) {
                visits[place].verdict = Verdict::Below;
                ended_by = (!route.goes_on).then_some(route);
            }
        }
        true
    }

    /// The nodes that an alert goes to: those that match, and for a drill of a receiver one that leads
    /// there at once.
    pub fn of(&self, labels: &Labels) -> Nodes<'_> {
        match labels.get(DRILL_RECEIVER).filter(|_| drill::id_of(labels).is_some()) {
            None => Nodes::Matching(self.matching(labels)),
            Some(receiver) => {
                let key = format!("{{{DRILL_RECEIVER}=\"{}\"}}", escape_value(receiver));
                // It is to be told at once, and of its end soon after.
                let (group_wait, group_interval) = (Period::default(), Period::from_secs(5));
                // It has no place in the tree: one of its own beyond all that there are.
                let own = Labels::from_pairs([(DRILL_RECEIVER, receiver)]).fingerprint();
                let place = usize::MAX ^ usize::try_from(own >> 1).unwrap_or_default();
                let route = Self { key, place, group_wait, group_interval, ..Self::to(receiver) };
                Nodes::Drill(Box::new(route))
            }
        }
    }

    /// Whether the next sibling is asked too.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Which alerts go here, by this node alone.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// The nodes below.
    pub fn routes(&self) -> &[Self] {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use base::diagnostic::{Diagnostics, Spanned};

    use super::*;
    use crate::dispatch::{RouteConfig, World};
    use crate::matchers;
    use crate::mute::TimeIntervals;

    const TREE: &str = "
receiver: r
routes:
- matchers: [a=1]
  continue: true
  routes:
  - matchers: [b=1, c=1]
  - matchers: [b=2]
    continue: true
  - matchers: ['b=~1|2']
- matchers: [a=~\"1|2\"]
- matchers: [c=1]
";

    fn tree() -> Route {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<RouteConfig> = base::yaml::read(TREE, &mut diagnostics).unwrap();
        let (receivers, intervals) = (["r".to_owned()], TimeIntervals::new());
        let world = World { receivers: &receivers, intervals: &intervals };
        let route = config.value.build(config.place, world, &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        route
    }

    #[track_caller]
    fn check(labels: &str, expected: &str) {
        let route = tree();
        let pairs = labels.split(' ').filter_map(|pair| pair.split_once('='));
        let labels = Labels::from_pairs(pairs);
        let tell = |visit: &Visit<'_>| {
            let verdict = match visit.verdict {
                Verdict::Taken => "taken".to_owned(),
                Verdict::Below => "below".to_owned(),
                Verdict::Refused(matcher) => format!("not {}", matchers::print(matcher)),
                Verdict::NotAsked(by) => format!("after {}", matchers::print_all(&by.matchers)),
            };
            format!("{} {verdict}", visit.depth)
        };
        let told: Vec<_> = route.walk(&labels).iter().map(tell).collect();
        assert_eq!(told.join(", "), expected, "{labels}");
    }

    #[test]
    fn tells_why_a_node_does_not_take_an_alert() {
        check("x=y", r#"0 taken, 1 not a="1", 1 not a=~"1|2", 1 not c="1""#);
        check("a=2", r#"0 below, 1 not a="1", 1 taken, 1 after {a=~"1|2"}"#);
        check(
            "a=1 b=1",
            r#"0 below, 1 below, 2 not c="1", 2 not b="2", 2 taken, 1 taken, 1 after {a=~"1|2"}"#,
        );
        check("c=1", r#"0 below, 1 not a="1", 1 not a=~"1|2", 1 taken"#);
    }

    #[test]
    fn takes_what_dispatch_takes() {
        let route = tree();
        // Every combination of four values of three labels.
        let values = ["", "1", "2", "3"];
        for n in 0..64 {
            let (a, b, c) = (values[n % 4], values[n / 4 % 4], values[n / 16]);
            let labels = Labels::from_pairs([("a", a), ("b", b), ("c", c)]);
            let taken = |visit: &Visit<'_>| matches!(visit.verdict, Verdict::Taken);
            let walked = route.walk(&labels).into_iter().filter(taken).map(|visit| visit.route);
            let walked: Vec<*const Route> = walked.map(std::ptr::from_ref).collect();
            let matching = route.matching(&labels).into_iter().map(std::ptr::from_ref);
            assert_eq!(walked, matching.collect::<Vec<_>>(), "{labels}");
        }
    }
}
