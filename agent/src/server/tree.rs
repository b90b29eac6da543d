//! The health tree on pages: as JSON for other agents, and as nested lists for people.
//!
//! Several services may stand on the same one, so that a tree can have far more ways than nodes; a
//! page shows at most [`MAX_NODES`] nodes and [`MAX_LEVELS`] levels. A node that is cut off is
//! `unknown` to whoever reads it, which counts for nothing: what nobody sees can alarm nobody, and
//! cannot go round in a circle of hosts either.
//!
//! Invariant: the work for a page is bounded, whatever the tree is like.

use std::fmt::Write;
use std::sync::Arc;

use probes::Reason;
use serde_json::{Value, json};

use super::html::Escaped;
use crate::service::{Health, Kind, Node};

/// The most nodes of a page.
const MAX_NODES: usize = 400;
/// The most levels of a page; fewer than a reader takes.
const MAX_LEVELS: usize = 16;

/// The nodes as our own agents read them.
pub(super) fn to_json(nodes: &[Arc<Node>]) -> Value {
    let mut left = MAX_NODES;
    Value::Array(list(nodes, 0, false, &mut left))
}

/// A list of nodes, `level` levels below the page's own; `left` is how many may still be written.
fn list(nodes: &[Arc<Node>], level: usize, in_page: bool, left: &mut usize) -> Vec<Value> {
    let mut values = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        if *left == 0 {
            let output = format!("{} more are not shown", nodes.len() - n);
            values.push(json!({"name": "more", "status": "unknown", "output": output}));
            break;
        }
        *left -= 1;
        values.push(one(node, level, in_page, left));
    }
    values
}

fn one(node: &Node, level: usize, in_page: bool, left: &mut usize) -> Value {
    let mut value = json!({
        "name": node.name,
        "kind": node.kind.as_str(),
        "status": word(node),
    });
    if let Some(agent) = &node.agent {
        value["agent"] = json!(agent);
    }
    // What is well on the pages of others is nothing to be handed on, but for its name.
    let is_told = !(in_page && node.health == Health::Pass);
    if !node.needs.is_empty() && is_told && level + 1 < MAX_LEVELS {
        let in_page = node.kind != Kind::Service;
        value["needs"] = Value::Array(list(&node.needs, level + 1, in_page, left));
    } else if !node.needs.is_empty() && is_told {
        value["status"] = json!("unknown");
        value["output"] = json!("what it needs is not shown any further");
    } else if node.health != Health::Pass {
        value["reason"] = json!(node.reason.as_str());
        value["output"] = json!(node.output);
    }
    value
}

/// The status of a node: a check that has not run yet is no warning to others.
fn word(node: &Node) -> &'static str {
    match node.health {
        Health::Pending => "unknown",
        health => health.as_str(),
    }
}

/// Which part of what a service needs does not work, in a sentence; nothing where it has all.
pub(super) fn culprit(body: &mut String, node: &Node) {
    let Some((path, leaf)) = node.culprit() else { return };
    let path = path.get(1..).unwrap_or_default().join(" → ");
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "<p class=\"said\">It has not what it needs: <strong>{}</strong>: {} ({})</p>",
        Escaped(path),
        Escaped(&leaf.output),
        Escaped(leaf.reason),
    );
}

/// What a node needs, as a list in which what is broken is open and what is well is closed.
pub(super) fn needs(body: &mut String, node: &Node) {
    let mut left = MAX_NODES;
    items(body, &node.needs, 0, &mut left);
}

fn items(body: &mut String, nodes: &[Arc<Node>], level: usize, left: &mut usize) {
    if nodes.is_empty() {
        return;
    }
    body.push_str("<ul class=\"tree\">\n");
    for (n, node) in nodes.iter().enumerate() {
        if *left == 0 {
            let more = nodes.len() - n;
            let _ = writeln!(body, "<li class=\"faint\">{more} more are not shown</li>");
            break;
        }
        *left -= 1;
        item(body, node, level, left);
    }
    body.push_str("</ul>\n");
}

fn item(body: &mut String, node: &Node, level: usize, left: &mut usize) {
    let (class, mark, name) = (node.health.as_str(), node.health.word(), Escaped(&node.name));
    let name = match node.kind {
        // A name that is fit for a URL, as all names of services are.
        Kind::Service => format!("<a class=\"name\" href=\"/health/{name}\">{name}</a>"),
        Kind::Check | Kind::Component => format!("<span class=\"name\">{name}</span>"),
    };
    let kind = node.kind.as_str();
    let line =
        format!("<span class=\"mark\">{mark}</span>{name} <span class=\"faint\">{kind}</span>");
    if node.needs.is_empty() {
        let _ = write!(body, "<li class=\"{class}\">{line}");
        if node.health != Health::Pass {
            let reason = match node.reason {
                Reason::None => String::new(),
                reason => format!(" ({reason})"),
            };
            let _ = write!(body, "<p class=\"said\">{}{reason}</p>", Escaped(&node.output));
        }
        body.push_str("</li>\n");
        return;
    }
    let open = if node.health == Health::Pass { "" } else { " open" };
    let _ = writeln!(body, "<li class=\"{class}\"><details{open}><summary>{line}</summary>");
    if level + 1 < MAX_LEVELS {
        items(body, &node.needs, level + 1, left);
    }
    body.push_str("</details></li>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, kind: Kind, health: Health, needs: Vec<Arc<Node>>) -> Arc<Node> {
        Arc::new(Node {
            name: name.to_owned(),
            kind,
            health,
            is_known: true,
            reason: if health == Health::Pass { Reason::None } else { Reason::Timeout },
            output: format!("{name} said"),
            agent: None,
            needs,
        })
    }

    #[test]
    fn only_leaves_say_why_and_markup_is_inert_x13() {
        let db = node("<b>db", Kind::Component, Health::Fail, Vec::new());
        let cache = node("cache", Kind::Component, Health::Pass, Vec::new());
        let page = node("page", Kind::Check, Health::Fail, vec![cache, db]);
        let shop = node("shop", Kind::Service, Health::Fail, vec![page]);
        assert_eq!(
            to_json(std::slice::from_ref(&shop)).to_string(),
            r#"[{"kind":"service","name":"shop","needs":[{"kind":"check","name":"page","needs":["#
                .to_owned()
                + r#"{"kind":"component","name":"cache","status":"pass"},"#
                + r#"{"kind":"component","name":"<b>db","output":"<b>db said","reason":"timeout","#
                + r#""status":"fail"}],"status":"fail"}],"status":"fail"}]"#
        );
        let mut body = String::new();
        culprit(&mut body, &shop);
        needs(&mut body, &shop);
        assert!(body.contains("<strong>page → &lt;b&gt;db</strong>: &lt;b&gt;db said (timeout)"));
        assert!(body.contains("<details open><summary>") && !body.contains("<b>"), "{body}");
    }

    #[test]
    fn a_page_is_bounded_whatever_the_tree_is_like() {
        let mut tree = node("leaf", Kind::Component, Health::Fail, Vec::new());
        for n in 0..40 {
            let needs = vec![Arc::clone(&tree), tree];
            tree = node(&n.to_string(), Kind::Component, Health::Fail, needs);
        }
        let text = to_json(std::slice::from_ref(&tree)).to_string();
        assert!(text.matches("\"name\"").count() <= MAX_NODES + MAX_LEVELS, "{}", text.len());
        assert!(text.contains("more are not shown") && text.contains("not shown any further"));
        let mut body = String::new();
        needs(&mut body, &tree);
        assert!(body.matches("<li").count() <= MAX_NODES + MAX_LEVELS);
        let (path, leaf) = tree.culprit().unwrap();
        assert_eq!((path.len(), leaf.name.as_str()), (41, "leaf"));
    }
}
