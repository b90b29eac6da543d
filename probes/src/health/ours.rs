//! The health tree as our own agents write it into their pages, beside what
//! `application/health+json` has.
//!
//! ```json
//! {"status": "fail", "agent": "3f2a...", "tree": [
//!   {"name": "payments", "kind": "service", "status": "fail", "needs": [
//!     {"name": "db", "kind": "check", "status": "fail", "reason": "timeout", "output": "..."},
//!     {"name": "page of bank", "kind": "check", "status": "pass", "agent": "91c0..."}]}]}
//! ```
//!
//! Invariant: what cannot be read as a node of the tree is an error, so that no failure is lost.

use serde_json::{Map, Value};

use super::format::{MAX_DEPTH, Unreadable, component, invalid, status_of};
use crate::{Component, Reason};

/// The longest name that an agent may have.
const MAX_AGENT: usize = 64;

/// The agent that made the page, where one of ours has.
pub(super) fn agent_of(page: &Map<String, Value>) -> Option<String> {
    let is_ours = page.get("tree").is_some_and(Value::is_array);
    agent(page).filter(|_| is_ours)
}

fn agent(fields: &Map<String, Value>) -> Option<String> {
    let agent = fields.get("agent")?.as_str()?;
    let plain = agent.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (!agent.is_empty() && agent.len() <= MAX_AGENT && plain).then(|| agent.to_owned())
}

/// The nodes of a page.
pub(super) fn tree(page: &Map<String, Value>) -> Result<Vec<Component>, Unreadable> {
    nodes(page.get("tree"), 0)
}

fn nodes(list: Option<&Value>, depth: usize) -> Result<Vec<Component>, Unreadable> {
    let list = match list {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return invalid("a part of the page's tree is not a list"),
    };
    if depth > MAX_DEPTH {
        return invalid("the page is nested too deep");
    }
    let one = |node: &Value| {
        let Value::Object(fields) = node else {
            return invalid("a node of the page's tree is not an object");
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
        let mut one = component(text("name"), status_of(text("status")), text("output"));
        if one.reason != Reason::None {
            one.reason = Reason::from_label(text("reason")).unwrap_or(Reason::ComponentFailed);
        }
        one.agent = agent(fields);
        one.parts = nodes(fields.get("needs"), depth + 1)?;
        Ok(one)
    };
    list.iter().map(one).collect()
}
