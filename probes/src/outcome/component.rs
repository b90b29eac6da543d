//! The parts of an application, by its own word: nodes of the health tree.
//!
//! ```text
//! Tree (whose page it is) ─▶ Component ─▶ Component ─▶ ...
//! ```
//!
//! Pages of our own agents may lead to one another, in circles too. Every page says who made it, and
//! whoever reads one leaves out what leads back to himself ([`Tree::leave_out`]); what is left has its
//! truth in its leaves, so that no failure can keep itself alive by going round.
//!
//! Invariant: a component with parts is as bad as the worst of them; only leaves say why.

use super::{Reason, Status};

/// What a health page says of the parts of an application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// The agent that made the page, where it is one of ours.
    pub agent: Option<String>,
    /// The parts, in the order of the page.
    pub components: Vec<Component>,
}

/// One part.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// What it is called, fit to be shown.
    pub name: String,
    /// How it is; [`Status::Unknown`] where the page does not say, which counts for nothing.
    pub status: Status,
    /// Why it is so.
    pub reason: Reason,
    /// One line for a person; may be empty.
    pub output: String,
    /// A number, with its unit, where the page gives one.
    pub value: Option<(f64, String)>,
    /// The agent whose page this part stands for, where it is one of ours.
    pub agent: Option<String>,
    /// The parts that it is made of.
    pub parts: Vec<Component>,
}

impl Component {
    /// A part without a number and without parts of its own.
    pub fn new(name: impl Into<String>, status: Status, output: impl Into<String>) -> Self {
        let reason = match status {
            Status::Ok => Reason::None,
            _ => Reason::ComponentFailed,
        };
        let (name, output) = (name.into(), output.into());
        Self { name, status, reason, output, value: None, agent: None, parts: Vec::new() }
    }

    /// How it is, by its leaves.
    pub fn standing(&self) -> Status {
        match self.parts.is_empty() {
            true => self.status,
            false => worst(&self.parts),
        }
    }

    /// The first leaf that is as bad as the whole, with the names on the way to it.
    fn culprit<'a>(&'a self, path: &mut Vec<&'a str>) -> &'a Self {
        path.push(&self.name);
        let status = self.standing();
        match self.parts.iter().find(|part| part.standing() == status) {
            Some(part) => part.culprit(path),
            None => self,
        }
    }
}

/// The worst of `components`: critical, then warning, then ok; what is not known counts for nothing.
fn worst(components: &[Component]) -> Status {
    let rank = |status: Status| match status {
        Status::Critical => 2,
        Status::Warning => 1,
        Status::Ok | Status::Unknown => 0,
    };
    let all = components.iter().map(Component::standing);
    all.max_by_key(|status| rank(*status)).filter(|status| rank(*status) > 0).unwrap_or(Status::Ok)
}

impl Tree {
    /// How it is, by all leaves.
    pub fn standing(&self) -> Status {
        worst(&self.components)
    }

    /// The first leaf that is as bad as the whole, with the path to it; none where all is well.
    pub fn culprit(&self) -> Option<(String, &Component)> {
        let status = self.standing();
        let first = self.components.iter().find(|part| part.standing() == status)?;
        let mut path = Vec::new();
        let culprit = first.culprit(&mut path);
        (status != Status::Ok).then(|| (path.join("/"), culprit))
    }

    /// Takes out every part that stands for a page of the agent `agent`.
    pub fn leave_out(&mut self, agent: &str) {
        leave_out(&mut self.components, agent);
    }

    /// Hands every component to `visit`, with the path to it: names with slashes between them.
    pub fn visit<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Component)) {
        visit_all(&self.components, "", visit);
    }
}

/// A part that had others, all of which led back, says nothing any more.
fn leave_out(components: &mut Vec<Component>, agent: &str) {
    components.retain_mut(|component| {
        if component.agent.as_deref() == Some(agent) {
            return false;
        }
        let had_parts = !component.parts.is_empty();
        leave_out(&mut component.parts, agent);
        !had_parts || !component.parts.is_empty()
    });
}

fn visit_all<'a>(
    components: &'a [Component],
    above: &str,
    visit: &mut dyn FnMut(&str, &'a Component),
) {
    for component in components {
        let path = match above {
            "" => component.name.clone(),
            above => format!("{above}/{}", component.name),
        };
        visit(&path, component);
        visit_all(&component.parts, &path, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str, status: Status) -> Component {
        Component::new(name, status, "")
    }

    fn node(name: &str, agent: &str, parts: Vec<Component>) -> Component {
        let agent = (!agent.is_empty()).then(|| agent.to_owned());
        Component { agent, parts, ..leaf(name, Status::Critical) }
    }

    fn tree(components: Vec<Component>) -> Tree {
        Tree { agent: None, components }
    }

    #[test]
    fn the_truth_is_in_the_leaves() {
        use Status::{Critical, Ok, Unknown, Warning};
        let check = |leaves: &[Status], expected| {
            let parts = leaves.iter().map(|status| leaf("x", *status)).collect();
            assert_eq!(tree(vec![node("all", "", parts)]).standing(), expected, "{leaves:?}");
        };
        check(&[Ok, Ok], Ok);
        check(&[Unknown, Ok], Ok);
        check(&[Unknown], Ok);
        check(&[Ok, Warning, Unknown], Warning);
        check(&[Warning, Critical, Ok], Critical);
    }

    #[test]
    fn the_culprit_is_the_first_of_the_worst() {
        let parts = vec![leaf("cache", Status::Warning), leaf("db", Status::Critical)];
        let tree =
            tree(vec![leaf("a", Status::Ok), node("b", "", parts), leaf("c", Status::Critical)]);
        assert_eq!(tree.culprit().map(|(path, _)| path).as_deref(), Some("b/db"));
        assert_eq!(super::Tree::default().culprit(), None);
    }

    #[test]
    fn what_leads_back_is_left_out_with_all_that_hangs_on_it_alone() {
        let back = || node("page of a", "a", vec![leaf("disk", Status::Critical)]);
        let mut both = tree(vec![
            node("shop", "", vec![leaf("db", Status::Ok), back()]),
            node("only", "", vec![back()]),
        ]);
        assert_eq!(both.standing(), Status::Critical);
        both.leave_out("a");
        assert_eq!(both.standing(), Status::Ok);
        let mut left = Vec::new();
        both.visit(&mut |path, _| left.push(path.to_owned()));
        assert_eq!(left, ["shop", "shop/db"]);
    }
}
