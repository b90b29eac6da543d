//! Looks over templates when the configuration is loaded, for what rendering would stumble on.
//!
//! Two things can be known before there are data: whether the templates that are called exist, and
//! whether a value stands in a place of an HTML document where none can.
//!
//! Invariant: what is reported fails whenever it is rendered; what is not may still fail, because
//! it depends on the data.

use std::sync::Arc;

use base::diagnostic::nearest;

use super::error::{Fault, TemplateError, place_of};
use super::evaluate::Trees;
use super::html::context::Tracker;
use super::print::quoted;
use super::syntax::{Node, Pipe, Tree};
use super::{Template, Templates};

/// More ways through a document than that are not told apart.
const MOST_WAYS: usize = 8;
/// After that many nodes a document is not followed on.
const MOST_NODES: usize = 100_000;

impl Templates {
    /// Calls of templates that the set does not have.
    pub fn check(&self) -> Vec<TemplateError> {
        let mut faults = Vec::new();
        for tree in self.trees.values() {
            calls(tree, &[&self.trees], &mut faults);
        }
        faults
    }

    /// Calls in `template` of templates that neither it nor the set has.
    pub fn check_template(&self, template: &Template) -> Vec<TemplateError> {
        let parsed = &template.0.parsed;
        let known = [&parsed.defines, &self.trees];
        let mut faults = Vec::new();
        for tree in [&parsed.body].into_iter().chain(parsed.defines.values()) {
            calls(tree, &known, &mut faults);
        }
        faults
    }

    /// Places in `template`, rendered as HTML, where no value can be written.
    pub fn check_html(&self, template: &Template) -> Vec<TemplateError> {
        let parsed = &template.0.parsed;
        let known = [&parsed.defines, &self.trees];
        let mut walk = Walk { known: &known, within: Vec::new(), nodes: 0, faults: Vec::new() };
        walk.nodes(&parsed.body, &parsed.body.body, vec![Tracker::default()]);
        walk.faults
    }
}

fn find<'t>(known: &[&'t Trees], name: &str) -> Option<&'t Arc<Tree>> {
    known.iter().find_map(|trees| trees.get(name))
}

fn calls(tree: &Tree, known: &[&Trees], faults: &mut Vec<TemplateError>) {
    each_call(&tree.body, &mut |at, name| {
        if find(known, name).is_some() {
            return;
        }
        let mut message = format!("template {} not defined", quoted(name));
        let names = known.iter().flat_map(|trees| trees.keys()).map(|name| &**name);
        if let Some(near) = nearest(name, names) {
            message.push_str(&format!("; did you mean `{near}`?"));
        }
        faults.push(fault(tree, at, message));
    });
}

fn each_call(nodes: &[Node], found: &mut impl FnMut(usize, &str)) {
    for node in nodes {
        match node {
            Node::Template(call) => found(call.at, &call.name),
            Node::If { branches, otherwise, .. } => {
                branches.iter().for_each(|(_, body)| each_call(body, found));
                each_call(otherwise, found);
            }
            Node::Range { body, otherwise, .. } => {
                each_call(body, found);
                each_call(otherwise, found);
            }
            Node::Text { .. } | Node::Action(_) | Node::Break | Node::Continue => {}
        }
    }
}

fn fault(tree: &Tree, at: usize, message: String) -> TemplateError {
    let (place, _) = place_of(&tree.source.text, at);
    let template = tree.source.name.to_string();
    TemplateError::Syntax(Fault { template, place, message, executing: None })
}

/// Follows a document along all ways that its branches offer.
struct Walk<'t> {
    known: &'t [&'t Trees],
    /// The templates that are being followed.
    within: Vec<Arc<str>>,
    nodes: usize,
    faults: Vec<TemplateError>,
}

impl<'t> Walk<'t> {
    /// The places in which `nodes` can end, for those in which they can begin.
    fn nodes(&mut self, tree: &Tree, nodes: &[Node], mut at: Vec<Tracker>) -> Vec<Tracker> {
        for node in nodes {
            self.nodes += 1;
            if self.nodes > MOST_NODES {
                return at;
            }
            match node {
                Node::Text { from, to } => {
                    let text = &tree.source.text[*from..*to];
                    for tracker in &mut at {
                        // Nothing is written, so nothing can fail.
                        let _ = tracker.feed(text, &mut |_| Ok(()));
                    }
                }
                Node::Action(pipe) if pipe.is_silent() => {}
                Node::Action(pipe) => self.value(tree, pipe, &mut at),
                Node::If { branches, otherwise, .. } => {
                    let mut ends = self.nodes(tree, otherwise, at.clone());
                    for (_, body) in branches {
                        ends.extend(self.nodes(tree, body, at.clone()));
                    }
                    at = distinct(ends);
                }
                Node::Range { body, otherwise, .. } => {
                    let mut ends = self.nodes(tree, otherwise, at.clone());
                    ends.extend(self.nodes(tree, body, at));
                    at = distinct(ends);
                }
                Node::Template(call) => {
                    let called = find(self.known, &call.name);
                    if let Some(called) = called
                        && !self.within.contains(&call.name)
                    {
                        self.within.push(Arc::clone(&call.name));
                        at = self.nodes(called, &called.body, at);
                        self.within.pop();
                    }
                }
                Node::Break | Node::Continue => {}
            }
        }
        at
    }

    fn value(&mut self, tree: &Tree, pipe: &Pipe, at: &mut [Tracker]) {
        for tracker in at {
            match tracker.context() {
                Ok(_) => tracker.value(""),
                Err(refused) => {
                    let fault = fault(tree, pipe.at, refused.message().to_owned());
                    if !self.faults.contains(&fault) {
                        self.faults.push(fault);
                    }
                }
            }
        }
    }
}

fn distinct(ways: Vec<Tracker>) -> Vec<Tracker> {
    let mut kept: Vec<Tracker> = Vec::new();
    for way in ways {
        if kept.len() < MOST_WAYS && !kept.contains(&way) {
            kept.push(way);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Template, TemplateError, Templates};

    fn told(errors: Vec<TemplateError>) -> Vec<String> {
        errors.iter().map(|e| format!("{}: {}", e.fault().place, e.fault().message)).collect()
    }

    #[test]
    fn a_template_that_is_not_there_is_named_with_what_is_near() {
        let mut templates = Templates::new(Dialect::Notification);
        templates.add("f", "{{ define \"subject\" }}{{ template \"missing\" }}{{ end }}").unwrap();
        assert_eq!(told(templates.check()), ["1:35: template \"missing\" not defined"]);
        let text = "{{ if . }}{{ template \"subjekt\" . }}{{ end }}\n{{ template \"own\" . }}{{ define \"own\" }}x{{ end }}";
        let template = Template::parse(Dialect::Notification, "t", text).unwrap();
        assert_eq!(
            told(templates.check_template(&template)),
            ["1:23: template \"subjekt\" not defined; did you mean `subject`?"]
        );
    }

    #[test]
    fn a_value_in_a_script_is_found_before_it_is_rendered() {
        let mut templates = Templates::new(Dialect::Notification);
        templates.add("f", "{{ define \"x\" }}{{ . }}{{ template \"x\" . }}{{ end }}").unwrap();
        let check = |text: &str, expected: &[&str]| {
            let template = Template::parse(Dialect::Notification, "t", text).unwrap();
            assert_eq!(told(templates.check_html(&template)), expected, "{text}");
        };
        check("<p title=\"{{ . }}\">{{ . }}</p>{{ template \"x\" . }}", &[]);
        check(
            "<script>{{ . }}</script>{{ . }}",
            &["1:12: a value cannot be written within a script"],
        );
        check(
            "<style>{{ template \"x\" . }}</style>",
            &["1:20: a value cannot be written within a style"],
        );
        check(
            "<p {{ if . }}style{{ else }}title{{ end }}=\"{{ . }}\">",
            &["1:48: a value cannot be written within a style"],
        );
        check(
            "{{ range . }}<p {{ end }}{{ . }}",
            &["1:29: a value cannot be written within a tag, but in an attribute's quotes"],
        );
        check("{{ $x := 1 }}<script>{{ $x = 2 }}</script>", &[]);
    }
}
